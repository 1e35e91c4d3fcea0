#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Mode detect: nothing is dropped, delayed or changed, whatever the policy says; what would have been is told;
Ctrl-C leaves no trace."""
import glob
import os
import random
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

HOSTILE = Policy.text("""
- { name: no web, action: reject, ports: 80 }
- { name: no ping, action: drop, icmp: echo-request }
- { name: staged anyway, action: drop, mode: detect, ports: 81 }
""", inbound="drop", outbound="drop", forward="drop", mode="detect", extra="""
packets: { malformed: drop, fragments: drop, unknown_l2: drop }
on_error: drop
sets: { bad: { addresses: [10.1.0.2, 10.2.0.2, "fd01::2", "fd02::2", 10.5.0.2, "fd05::2"] } }
blocklists: [$bad]
""")


def everything_works(lab, what):
    for src, addrs in ((lab.client, lab.DUT), (lab.dut, lab.SERVER), (lab.client, lab.SERVER)):
        for v in (4, 6):
            for proto in ("tcp", "udp"):
                for port in (80, 81):
                    equal(ask(src, proto, addrs[v], port), "open", f"{what}: {proto} {addrs[v]}:{port}")
            equal(ping(src, addrs[v], 2), 2, f"{what}: ping {addrs[v]}")


def listen(lab):
    for ns in (lab.dut, lab.server):
        for proto in ("tcp", "udp"):
            Listener(lab, ns, proto, 80, 81, 9999)


def test_nothing_is_dropped():
    with Router() as lab:
        listen(lab)
        w = Weir(lab, lab.dut)
        w.run(HOSTILE)
        everything_works(lab, "detect by the policy")
        w("ban", "add", "10.1.0.2")
        everything_works(lab, "with a ban")
        w("rule", "add", "--port", "81", "--action", "drop")
        everything_works(lab, "with an overlay drop")
        # the ceiling of the command line wins over a policy that says prevent
        w.apply(HOSTILE.replace("mode: detect\ndefault", "mode: prevent\ndefault"))
        p = Probe(lab.client, "udp", lab.DUT[4], 80)
        w("mode", "detect")
        everything_works(lab, "weir mode detect")
        p.close()


def strange_frames(src, dst, n):
    """Whatever may come by: broken, fragmented, tagged, unknown; each carries a token."""
    rnd = random.Random(11)
    eth = sp.Ether(src=src, dst=dst)
    out = []
    for i in range(n):
        t = token("odd") + b"." * 40
        v4 = sp.IP(src="10.5.0.2", dst="10.5.0.3", id=i + 1)
        v6 = sp.IPv6(src="fd05::2", dst="fd05::3")
        f = rnd.choice((
            lambda: eth / v4 / sp.UDP(sport=1, dport=80) / t,
            lambda: eth / v6 / sp.TCP(sport=1, dport=80, flags=rnd.choice(("S", "SF", "", "FPU", "R", "A"))) / t,
            lambda: eth / sp.IP(src="10.5.0.2", dst="10.5.0.3", ihl=rnd.choice((3, 4, 15))) / t,
            lambda: eth / sp.IP(src="10.5.0.2", dst="10.5.0.3", len=rnd.choice((0, 19, 21, 9000))) / t,
            lambda: eth / sp.IP(src="224.0.0.1", dst="10.5.0.3") / sp.UDP(dport=5) / t,
            lambda: eth / sp.IP(src="10.5.0.2", dst="10.5.0.3", frag=rnd.randrange(1, 100), flags="MF", proto=17) / t,
            lambda: eth / v6 / sp.IPv6ExtHdrFragment(offset=rnd.randrange(8), m=1, nh=17, id=i) / t,
            lambda: eth / v6 / sp.IPv6ExtHdrDestOpt() / sp.IPv6ExtHdrHopByHop() / sp.UDP(dport=9) / t,
            lambda: eth / sp.Dot1Q(vlan=rnd.randrange(1, 4095)) / v4 / sp.UDP(dport=80) / t,
            lambda: eth / sp.Dot1Q(vlan=7) / sp.Dot1Q(vlan=8) / sp.Dot1Q(vlan=9) / v4 / sp.UDP(dport=80) / t,
            lambda: sp.Ether(src=src, dst=dst, type=0x88b5) / t,
            lambda: sp.Ether(src=src, dst=dst, type=0x8864) / b"\x11\x00\x00\x01\x00\x08\x00\x21" / t,
            lambda: sp.Ether(src=src, dst=dst, type=0x0800) / t[:rnd.randrange(46, len(t))],
        ))()
        f = bytes(f)
        out.append(f + bytes(max(0, 60 - len(f))))
    return out


def replay(lab, tx, rx, fences, frames):
    rx.frames()
    for i in range(0, len(frames), 50):
        tx.send(*frames[i:i + 50])
        must(fence(lab.client, lab.SERVER[4], fences, 9999), "fence")
    return [f for f in rx.frames() if b"odd-" in f]


def test_nothing_is_changed():
    """Strange frames over a bridge: byte for byte, in order, the same with weir as without."""
    with Bridge() as lab:
        fences = Listener(lab, lab.server, "udp", 9999)
        tx, rx = Wire(lab, lab.client, "cl0", sniff=False), Wire(lab, lab.server, "sv0")
        must(ping(lab.client, lab.SERVER[4], 1) == 1, "no path")
        frames = strange_frames(tx.mac, rx.mac, long_or(2000, 400))
        bare = replay(lab, tx, rx, fences, frames)
        must(len(bare) > len(frames) // 2, f"without weir only {len(bare)} of {len(frames)} arrive")
        Weir(lab, lab.dut).run(HOSTILE)
        got = replay(lab, tx, rx, fences, frames)
        equal(len(got), len(bare), "frames that arrived")
        equal([i for i, (a, b) in enumerate(zip(bare, got)) if a != b][:5], [], "frames that changed (index)")


def test_would_drop_is_told():
    with Router() as lab:
        listen(lab)
        w = Weir(lab, lab.dut)
        w.run(Policy.text("""
            - { name: no web, action: reject, ports: 80 }
            - { name: fine, action: allow, ports: 81 }
            """, inbound="drop", outbound="drop", forward="drop", mode="detect"))
        equal(ask(lab.client, "tcp", lab.DUT[4], 80), "open", "would be rejected")
        equal(ask(lab.client, "udp", lab.DUT[6], 9999), "open", "would be dropped by default")
        equal(ask(lab.client, "tcp", lab.DUT[4], 81), "open", "allowed")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            text = w("events").stdout
            if "no web" in text and "default inbound" in text:
                break
            time.sleep(0.1)
        check("no web" in text and "default inbound" in text, f"events do not name both rules:\n{text}")
        check(re.search(r"would", text, re.I), f"events do not say that it is only what would be:\n{text}")
        ours = [e for e in w.records("events") if "no web" in str(e)]
        check(ours and all("reject" in str(e) for e in ours), f"the event of 'no web' lacks its verdict: {ours}")
        flows = w("flows").stdout
        check("10.1.0.2" in flows and "no web" in flows, f"flows do not show the rule:\n{flows}")
        why = w("why", "10.1.0.1:80").stdout
        check("no web" in why and "policy" in why, f"why does not name rule and place:\n{why}")
        check("fix" in why and "weir rule add" in why, f"why shows no fix:\n{why}")
        status = w("status", check=False)
        check("detect" in status.stdout.lower(), f"status does not say detect:\n{status.stdout}")


def kernel_ids(pid):
    """The BPF objects that a process holds, from its file descriptors: (kind, id)."""
    out = set()
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        try:
            text = open(path).read()
        except OSError:
            continue
        for kind in ("prog", "map", "link"):
            m = re.search(rf"^{kind}_id:\s*(\d+)", text, re.M)
            if m:
                out.add((kind, m.group(1)))
    return out


def alive(ids):
    return {(kind, i) for kind, i in ids if sh("bpftool", kind, "show", "id", i, check=False).returncode == 0}


def test_ctrl_c_leaves_no_trace():
    need("bpftool", "tc", "nft")
    for sig in (signal.SIGINT, signal.SIGTERM):
        with Router() as lab:
            listen(lab)
            w = Weir(lab, lab.dut)
            w.run(HOSTILE)
            equal(ask(lab.client, "tcp", lab.DUT[4], 80), "open", "while it runs")
            ids = kernel_ids(w.daemon.pid)
            kinds = {k for k, _ in ids}
            must({"prog", "map"} <= kinds, f"the daemon holds no programs: {kinds}")
            must(alive(ids) == ids, "the objects cannot be looked up")
            equal(w.signal(sig), 0, f"exit status after {sig.name}: {w.said()[-500:]}")
            deadline = time.monotonic() + PATIENCE
            while alive(ids) and time.monotonic() < deadline:
                time.sleep(0.1)  # freed after a grace period
            equal(alive(ids), set(), f"{sig.name}: BPF objects that still live")
            equal(w.traces("lo", "in0", "out0"), [], f"{sig.name}: traces")
            equal(w("status", check=False).returncode, 5, f"{sig.name}: exit status of status")
            everything_works(lab, f"after {sig.name}")


if __name__ == "__main__":
    main(globals())
