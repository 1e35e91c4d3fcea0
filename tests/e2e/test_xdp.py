#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""XDP only speeds up: what it drops TC would drop too, with or without it the same packets arrive. Programs of
others on the same hooks are neither removed nor broken, and status names them."""
import ipaddress
import os
import random
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

BLOCKED = ("10.1.0.64/26", "192.0.2.0/24", "fd01::b:0/112", "2001:db8::/32")
LISTS = f"sets: {{ bad: {{ addresses: [{', '.join(repr(b) for b in BLOCKED)}] }} }}\nblocklists: [$bad]\n"
RULES = """
    - { name: fence, action: allow, protocol: udp, ports: 9999 }
    - { name: ten, action: allow, vlan: 10, protocol: udp }
    - { name: web, action: allow, direction: [inbound, forward], protocol: udp, ports: 80 }
    - { name: tcp, action: allow, direction: [inbound, forward], protocol: tcp, ports: [80, 443] }
"""


def policy(xdp, rules=RULES, **kw):
    d = dict(inbound="drop", outbound="allow", forward="drop")
    d.update(kw)
    return Policy.text(rules, extra=LISTS + f"interfaces: {{ in0: {{ xdp: {xdp} }} }}", **d)


def status_of(w, dev):
    """The interface's entry in status, as one string."""
    def walk(v):
        if isinstance(v, dict):
            if v.get("name") == dev or v.get("interface") == dev:
                yield v
            for x in v.values():
                yield from walk(x)
        elif isinstance(v, list):
            for x in v:
                yield from walk(x)
    return next(walk(w.json("status", check=False)), {})


def attached(ns, dev):
    """(mode, program id) of XDP on a device, or None."""
    import json
    link = json.loads(sh("ip", "-j", "-n", ns.name, "-d", "link", "show", dev).stdout)[0]
    x = link.get("xdp")
    if not x:
        return None
    prog = x.get("prog") or (x.get("attached") or [{}])[0].get("prog", {})
    return {1: "native", 2: "generic", 3: "offload"}.get(x.get("mode"), x.get("mode")), prog.get("id")


def test_blocklist_at_xdp():
    for xdp in ("native", "generic"):
        with Router() as lab:
            heard = Listener(lab, lab.dut, "udp", 80, 9999, answer=False)
            lab.alias(lab.client, "cl0", "10.1.0.70/24", "fd01::b:7/64")
            w = Weir(lab, lab.dut)
            w.run(policy(xdp))
            at = attached(lab.dut, "in0")
            if not check(at and at[0] == xdp, f"{xdp}: attached is {at}; status: {status_of(w, 'in0')}"):
                continue
            check(xdp in str(status_of(w, "in0")), f"{xdp}: status says {status_of(w, 'in0')}")
            check(attached(lab.dut, "out0") is None, f"{xdp}: veth got XDP without being asked for")
            # a sniffer in the dut stands behind XDP and before TC: it tells who dropped
            behind = Wire(lab, lab.dut, "in0")
            for v, bad in ((4, "10.1.0.70"), (6, "fd01::b:7")):
                heard.clear()
                t = token("blocked")
                p = Probe(lab.client, "udp", lab.DUT[v], 80, payload=t, src=bad)
                must(fence(lab.client, lab.DUT[v], heard, 9999), "fence")
                equal(heard.payloads(80), [], f"{xdp} v{v}: delivered from a blocked source")
                check(not any(t in f for f in behind.frames()), f"{xdp} v{v}: XDP let it pass to TC")
                p.close()
            # and detect takes it away
            w("mode", "detect")
            equal(attached(lab.dut, "in0"), None, f"{xdp}: XDP in mode detect")


def test_failsafe_beats_the_blocklist():
    """Who the failsafe lets in is let in from a blocked address, too: XDP must not be early."""
    for xdp in ("native", "generic", "off"):
        with Router() as lab:
            lab.alias(lab.client, "cl0", "10.1.0.70/24", "fd01::b:7/64")
            Listener(lab, lab.dut, "tcp", 22, 80)
            heard = Listener(lab, lab.dut, "udp", 9999)
            out = Listener(lab, lab.client, "udp", 443)
            w = Weir(lab, lab.dut)
            w.run(policy(xdp) + "failsafe: [ { name: mgmt, direction: inbound, protocol: tcp, ports: 22, "
                                "from: [10.1.0.70, 'fd01::b:7'] } ]\n")
            for v, bad in ((4, "10.1.0.70"), (6, "fd01::b:7")):
                equal(ask(lab.client, "tcp", lab.DUT[v], 22, src=bad), "open", f"{xdp} v{v}: the failsafe")
                p, q = Probe(lab.client, "tcp", lab.DUT[v], 80, src=bad), Probe(lab.dut, "udp", bad, 443)
                must(fence(lab.client, lab.DUT[v], heard, 9999), "fence")
                check(p.quiet(), f"{xdp} v{v}: a blocked source gets an answer")
                equal(out.payloads(), [], f"{xdp} v{v}: sent to a blocked address")
                p.close()
                q.close()


def test_limit_of_a_bridge():
    """A packet that its port has counted, and let by, is not asked for a token again where the bridge takes it."""
    for xdp in ("off", "generic"):
        with Bridge() as lab:
            heard = Listener(lab, lab.dut, "udp", 80, answer=False)
            w = Weir(lab, lab.dut)
            w.run(Policy.text("- { name: web, action: allow, direction: inbound, protocol: udp, ports: 80 }\n",
                              extra=f"xdp: {xdp}\nlimits: [ {{ name: few, per: source, count: packets, rate: 1/h, burst: 5 }} ]"))
            equal(attached(lab.dut, "br0") is not None, xdp == "generic", f"xdp: {xdp}: a program at the bridge")
            for v in (4, 6):
                with lab.client:
                    s = socket.socket(family_of(lab.DUT[v]), socket.SOCK_DGRAM)
                for i in range(20):
                    s.sendto(b"%d" % i, (lab.DUT[v], 80))
                s.close()
                eventually(lambda: len(heard.payloads(80)) >= 5, 3)
                equal(heard.payloads(80), [b"%d" % i for i in range(5)], f"xdp: {xdp}, v{v}: of 20 datagrams with a burst of 5")
                heard.clear()


def random_frames(rnd, src, dst, n):
    """Frames to the dut and through it: blocked and unblocked sources, and everything that may look odd."""
    def addr(net):
        net = ipaddress.ip_network(net)
        return str(net[rnd.randrange(1, min(net.num_addresses - 1, 60000))])

    out = []
    for i in range(n):
        v = rnd.choice((4, 6))
        if v == 4:
            s = rnd.choice(("10.1.0.2", addr("10.1.0.64/26"), addr("192.0.2.0/24"), addr("10.1.0.0/24"), addr("198.51.100.0/24")))
            d = rnd.choice(("10.1.0.1", "10.2.0.2", "10.1.0.1", addr("192.0.2.0/24")))
            ip = sp.IP(src=s, dst=d, id=i & 0xffff)
        else:
            s = rnd.choice(("fd01::2", addr("fd01::b:0/112"), addr("2001:db8::/112"), addr("fd01::/112")))
            d = rnd.choice(("fd01::1", "fd02::2", "fd01::1", addr("2001:db8::/112")))
            ip = sp.IPv6(src=s, dst=d)
        t = token("rnd") + b"." * rnd.randrange(60)
        sport = rnd.choice((1000 + i, 53, 9999))
        body = rnd.choice((sp.UDP(sport=sport, dport=rnd.choice((80, 81, 53, 443))) / t,
                           sp.UDP(sport=sport, dport=80) / t,
                           sp.TCP(sport=sport, dport=rnd.choice((80, 443, 22)), flags=rnd.choice(("S", "A", "SA", "F", "SF", ""))) / t,
                           (sp.ICMP() if v == 4 else sp.ICMPv6EchoRequest(data=t)) if v == 6 else sp.ICMP() / t))
        kind = rnd.randrange(10)
        pkt = ip / body
        if kind == 0:
            pkt = sp.fragment(pkt, 40)[rnd.randrange(2)] if v == 4 and len(pkt) > 100 else pkt
        elif kind == 1 and v == 6:
            pkt = ip / rnd.choice((sp.IPv6ExtHdrDestOpt(), sp.IPv6ExtHdrHopByHop(), sp.IPv6ExtHdrFragment(id=i))) / body
        f = sp.Ether(src=src, dst=dst) / pkt
        if kind == 2:
            f = sp.Ether(src=src, dst=dst) / sp.Dot1Q(vlan=rnd.choice((10, 20))) / pkt
        data = bytes(f)
        if kind == 3:
            data = data[:rnd.randrange(20, len(data))]
        elif kind == 4:
            at = rnd.randrange(14, min(len(data), 54))
            data = data[:at] + bytes([rnd.randrange(256)]) + data[at + 1:]
        out.append(data + bytes(max(0, 60 - len(data))))
    return out


def delivered(xdp, n, seed):
    """What of the same random frames arrives at the dut's sockets and behind it."""
    rnd = random.Random(seed)
    with Router() as lab:
        for ns, dev, mac in ((lab.client, "cl0", "02:00:00:00:00:0c"), (lab.dut, "in0", "02:00:00:00:00:0d")):
            ns.ip("link", "set", dev, "address", mac)
        heard = Listener(lab, lab.dut, "udp", 53, 80, 81, 443, 9999, answer=False)
        Listener(lab, lab.dut, "tcp", 22, 80, 443)
        tx = Wire(lab, lab.client, "cl0")
        rx = Wire(lab, lab.server, "sv0")
        for ns, other in ((lab.client, lab.DUT), (lab.dut, lab.SERVER)):
            for v in (4, 6):
                must(ping(ns, other[v], 1) == 1, "no path")
        w = Weir(lab, lab.dut)
        w.run(policy(xdp))
        must((attached(lab.dut, "in0") is not None) == (xdp != "off"), f"{xdp}: attached {attached(lab.dut, 'in0')}")
        tx.frames()
        rx.frames()
        frames = random_frames(rnd, tx.mac, "02:00:00:00:00:0d", n)
        for i in range(0, n, 50):
            tx.send(*frames[i:i + 50])
            must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        # answers tell what the dut's own TCP and ICMP got: (what came back, for which port)
        answers = {(p.summary().split(" > ")[0], p.summary()) for p in tx.packets() if sp.TCP in p or sp.ICMP in p}
        return ({d.split(b"-", 2)[2] for d in heard.payloads() if d.startswith(b"rnd")},
                {f[f.index(b"rnd-"):] for f in rx.frames() if b"rnd-" in f}, answers)


def test_the_same_arrives_with_and_without():
    n = long_or(20000, 1500)
    from harness import talk
    seen = {}
    for xdp in ("off", "native", "generic"):
        talk._token = 10 ** 6  # the same frames each time
        seen[xdp] = delivered(xdp, n, seed=5)
    must(len(seen["off"][0]) > n // 50 and len(seen["off"][1]) > n // 100, f"hardly anything arrives at all: "
         f"{[len(x) for x in seen['off']]}")
    for xdp in ("native", "generic"):
        for i, where in ((0, "the dut's sockets"), (1, "behind the dut")):
            lost, more = seen["off"][i] - seen[xdp][i], seen[xdp][i] - seen["off"][i]
            equal((len(lost), len(more)), (0, 0), f"{xdp}: (lost, gained) at {where} of {len(seen['off'][i])}: "
                                                  f"{sorted(lost)[:2]} {sorted(more)[:2]}")


PROGRAM = """
typedef unsigned int u32; typedef unsigned short u16; typedef unsigned char u8; typedef unsigned long long u64;
struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
struct __sk_buff { u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority,
        ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end; };
/* UDP over IPv4 without options, to one port */
static inline int hit(u8 *p, u8 *end, u16 port)
{
        return p + 42 <= end && p[12] == 8 && p[13] == 0 && p[23] == 17 && (p[36] << 8 | p[37]) == port;
}
__attribute__((section("xdp"), used)) int foreign_xdp(struct xdp_md *c)
{
        return hit((u8 *)(long)c->data, (u8 *)(long)c->data_end, 7777) ? 1 : 2;
}
__attribute__((section("classifier"), used)) int foreign_tc(struct __sk_buff *c)
{
        return hit((u8 *)(long)c->data, (u8 *)(long)c->data_end, 7778) ? 2 : -1;
}
__attribute__((section("license"), used)) char foreign_license[] = "GPL";
"""


def build(w):
    src = w.write(PROGRAM, "foreign.c")
    obj = f"{w.dir}/foreign.o"
    subprocess.run(["clang", "-O2", "-g", "-target", "bpf", "-c", src, "-o", obj], check=True)
    return obj


def test_programs_of_others():
    need("clang", "tc", "ip")
    with Router() as lab:
        w = Weir(lab, lab.dut)
        obj = build(w)
        heard = Listener(lab, lab.dut, "udp", 80, 7777, 7778, 9999)
        try:
            lab.dut.sh("ip", "link", "set", "dev", "in0", "xdpgeneric", "obj", obj, "sec", "xdp")  # -n would hide the bpffs
        except ProgramFailed as e:
            raise Skip(f"ip cannot load an XDP program here: {e}")
        lab.dut.sh("tc", "qdisc", "add", "dev", "in0", "clsact")
        lab.dut.sh("tc", "filter", "add", "dev", "in0", "ingress", "prio", "7", "bpf", "da", "obj", obj, "sec", "classifier")
        before = attached(lab.dut, "in0")
        must(before, "the foreign XDP program is not there")

        def theirs(what):
            equal(attached(lab.dut, "in0"), before, f"{what}: the foreign XDP program")
            check("foreign_tc" in lab.dut.sh("tc", "filter", "show", "dev", "in0", "ingress").stdout,
                  f"{what}: the foreign TC program is gone")
            probes = [Probe(lab.client, "udp", lab.DUT[4], port) for port in (7777, 7778)]
            must(fence(lab.client, lab.DUT[4], heard, 9999), f"{what}: fence")
            equal([p.quiet() for p in probes], [True, True], f"{what}: the foreign programs still drop")
            for p in probes:
                p.close()

        theirs("before")
        rules = RULES + "    - { name: not ours to drop, action: allow, protocol: udp, ports: [7777, 7778] }\n"
        w.run(policy("auto", rules=rules))
        theirs("with weir")
        text = str(status_of(w, "in0"))
        check("foreign" in text or str(before[1]) in text, f"status does not name the foreign program: {text}")
        equal(ask(lab.client, "udp", lab.DUT[4], 80), "open", "what both allow")
        equal(ask(lab.client, "udp", lab.DUT[6], 7777), "open", "what they do not touch")
        # weir's own verdicts stand beside: the blocklist works in TC
        lab.alias(lab.client, "cl0", "10.1.0.70/24")
        heard.clear()
        p = Probe(lab.client, "udp", lab.DUT[4], 80, src="10.1.0.70")
        must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        equal(heard.payloads(80), [], "from a blocked source")
        p.close()
        w.apply(policy("auto", rules=rules))
        theirs("after apply")
        w("flush")
        theirs("after flush")


if __name__ == "__main__":
    main(globals())
