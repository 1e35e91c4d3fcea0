#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""When a part of weir fails: each failure with each choice does what the policy says, is counted and told; and in
mode detect nothing is lost, though everything fails at once. The failures are simulated: weir run --simulate."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from failing import *  # noqa: F403
from harness import *  # noqa: F403
from harness.wire import Wire, sp


def test_daemon_dead():
    for choice in ("keep", "open", "closed"):
        with Router() as lab:
            h = Host(lab, policy(f"daemon_dead: {choice}"), "daemon_dead")
            what = f"simulated, {choice}"
            h.opens(81, f"{what}: failsafe")
            if choice == "open":
                h.opens(82, f"{what}: denied by the rules")
            else:
                h.silent(82, f"{what}: denied by the rules")
            if choice == "closed":
                h.silent(80, f"{what}: allowed by the rules")
            else:
                h.opens(80, f"{what}: allowed by the rules")
            check("SIMULATED" in h.weir.said(), "the ready line does not say that it simulates")
            p = h.weir("status", check=False)
            check(p.returncode == 3 and "SIMULATED failures: daemon_dead" in p.stdout, f"status does not say it:\n{p.stdout}")
            if choice != "keep":
                told(h.weir, "daemon_dead")


def test_flow_table_full():
    with Router() as lab:  # live flows first, then the drill begins by a new start
        text = policy("flow_table_full: drop_new")
        h = Host(lab, text)
        live = Probe(lab.client, "tcp", lab.DUT[4], 80)
        equal(live.wait(), "open", "a live connection")
        h.weir.stop()
        for choice in ("drop_new", "drop_all"):
            h.weir.run(policy(f"flow_table_full: {choice}"), "--simulate", "flow_table_full")
            h.silent(80, f"{choice}: a new connection")
            h.silent(80, f"{choice}: a new question", proto="udp")
            live.s.send(live.payload)
            check(live._poll(1, time.monotonic() + PATIENCE) and live.s.recv(1000) == b"re:" + live.payload,
                  f"{choice}: the live connection does not go on")
            h.opens(81, f"{choice}: failsafe")
            told(h.weir, "flow_table_full")
            wait(f"{choice}: status is not degraded",
                 lambda: "flow table is full" in h.weir("status", check=False).stdout)
            h.weir.stop()
        live.close()
    with Router() as lab:
        h = Host(lab, policy("flow_table_full: pass"), "flow_table_full")
        h.opens(80, "pass: a new connection")
        h.opens(80, "pass: a new question", proto="udp")
        h.silent(82, "pass: a denied one")
        told(h.weir, "flow_table_full")


def fragments(lab, wire, v, port, ident):
    """A datagram to the server in two fragments; returns payload and frames."""
    t = token("frag") + b"." * 1000
    src, dst = lab.CLIENT[v], lab.SERVER[v]
    udp = sp.UDP(sport=1000, dport=port) / t
    if v == 4:
        data = bytes(sp.IP(bytes(sp.IP(src=src, dst=dst) / udp))[sp.UDP])
        parts = [sp.IP(src=src, dst=dst, id=ident, proto=17, flags="MF") / data[:512],
                 sp.IP(src=src, dst=dst, id=ident, proto=17, frag=64) / data[512:]]
    else:
        data = bytes(sp.IPv6(bytes(sp.IPv6(src=src, dst=dst) / udp))[sp.UDP])
        parts = [sp.IPv6(src=src, dst=dst) / sp.IPv6ExtHdrFragment(nh=17, id=ident, offset=0, m=1) / sp.Raw(data[:512]),
                 sp.IPv6(src=src, dst=dst) / sp.IPv6ExtHdrFragment(nh=17, id=ident, offset=64) / sp.Raw(data[512:])]
    eth = sp.Ether(src=wire.mac, dst=lab.dut.mac("in0"))
    return t, [eth / p for p in parts]


def test_fragment_lost():
    for choice in ("drop", "pass"):
        with Router() as lab:
            heard = Listener(lab, lab.server, "udp", 80, 9999)
            for v in (4, 6):
                must(ping(lab.client, lab.SERVER[v], 1) == 1, "no path")
            wire = Wire(lab, lab.client, "cl0", sniff=False)
            h = Host(lab, policy(f"fragment_lost: {choice}"), "fragment_lost")
            for v in (4, 6):
                t, frames = fragments(lab, wire, v, 80, 4711)
                wire.send(*frames)
                must(fence(lab.client, lab.SERVER[v], heard, 9999), "fence")
                equal(t in heard.payloads(80), choice == "pass", f"{choice} v{v}: delivered")
            told(h.weir, "fragment_lost")


def test_ring_full():
    """The verdicts are the same; throttled, a flood of one source does not hide what another does."""
    for choice in ("count", "throttle"):
        with Router() as lab:
            lab.alias(lab.client, "cl0", "10.1.0.7/24")
            h = Host(lab, policy(f"ring_full: {choice}"), "ring_full")
            w = h.weir
            h.opens(80, f"{choice}: allowed")
            h.silent(82, f"{choice}: denied")
            for port in range(2000, 2050):
                Probe(lab.client, "udp", lab.DUT[4], port).close()
            must(fence(lab.client, lab.DUT[4], h.udp, 9999), "fence")
            Probe(lab.client, "udp", lab.DUT[4], 82, src="10.1.0.7").close()
            must(fence(lab.client, lab.DUT[4], h.udp, 9999), "fence")
            told(w, "ring_full")
            events = [e for e in w.records("events") if e.get("verdict") == "drop"]
            if choice == "count":
                equal(events, [], "count: events out of a ring without room")
            else:
                check(any("10.1.0.7" in str(e) for e in events), f"throttle: the quiet source is not told: {events}")
                flood = [e for e in events if 2000 <= int(e.get("port", e.get("dport", 0)) or 0) < 2050 or "10.1.0.2" in str(e)]
                check(len(flood) < 20, f"throttle: {len(flood)} events of the flood")
            check(failure(w, "ring_full")["count"] >= 30, f"{choice}: counted {failure(w, 'ring_full')}")


def test_audit_full():
    for choice in ("refuse_changes", "continue", "drop"):
        with Router() as lab:
            h = Host(lab, policy(f"audit_full: {choice}"), "audit_full")
            w = h.weir
            r = w("rule", "add", "--port", "82", "--action", "allow", check=False)
            refused = choice == "refuse_changes"
            equal(r.returncode != 0, refused, f"{choice}: rule add: {r.stdout}{r.stderr}")
            check(not refused or "No space left" in r.stderr, f"{choice}: the refusal does not say why: {r.stderr}")
            p = w("status", check=False)
            check(p.returncode == 3 and "audit" in p.stdout and "No space left" in p.stdout, f"{choice}: status:\n{p.stdout}")
            wait(f"{choice}: not counted", lambda: failure(w, "audit_full")["count"] > 0)
            if choice == "drop":
                h.silent(80, f"{choice}: a new connection")
                h.opens(81, f"{choice}: failsafe")
            else:
                h.opens(80, f"{choice}: allowed")
                (h.silent if refused else h.opens)(82, f"{choice}: the rule")


def test_hook_missing():
    with Router() as lab:
        h = Host(lab, run=False)
        w = h.weir
        w.run(policy("hook_missing: refuse"), "--simulate", "hook_missing", wait=False)
        equal(w.daemon.wait(60 * SLOW) != 0, True, "refuse: it starts")
        check("cannot be covered" in w.said() and "refuse" in w.said(), f"refuse: does not say why:\n{w.said()}")
        h.opens(82, "refuse: nothing was started")
        equal(w.traces("in0", "out0"), [], "refuse: traces")
        w.run(policy("hook_missing: degrade"), "--simulate", "hook_missing")
        p = w("status", check=False)
        check(p.returncode == 3 and "in0" in p.stdout and "simulated" in p.stdout, f"degrade: status:\n{p.stdout}")
        told(w, "hook_missing")
        equal(works(lab, 80), False, "degrade: what cannot be covered is blocked by the guard")
        # a change that wants all hooks is refused, and nothing is changed
        r = w("apply", w.write(policy("hook_missing: refuse")), "--no-confirm", check=False)
        check(r.returncode and "cannot be covered" in r.stderr, f"apply: {r.returncode} {r.stderr}")
        equal(w.status()["generation"], 1, "generation after a refused apply")


def test_unparsable():
    with Router() as lab:
        h = Host(lab, policy(), "unparsable")
        equal(works(lab, 80), False, "drop: delivered")
        told(h.weir, "unparsable")
    with Router() as lab:
        h = Host(lab, Policy.text(RULES, extra="packets: { malformed: pass }"), "unparsable")
        h.opens(82, "pass")
        told(h.weir, "unparsable")


def everything(lab, wire, heard, what):
    """What arrives, as a list of what did not."""
    lost = []
    for src, addrs in ((lab.client, lab.DUT), (lab.dut, lab.SERVER), (lab.client, lab.SERVER), (lab.server, lab.CLIENT)):
        for v in (4, 6):
            for proto in ("tcp", "udp"):
                for port in (80, 81):
                    word = ask(src, proto, addrs[v], port)
                    lost += [] if word == "open" else [f"{proto} {addrs[v]}:{port} {word}"]
            lost += [] if ping(src, addrs[v], 3) == 3 else [f"ping {addrs[v]}"]
    for v in (4, 6):
        for reverse in (False, True):
            t, frames = fragments(lab, wire, v, 80, len(what) + 100 * v + 7 * reverse)
            wire.send(*(reversed(frames) if reverse else frames))
            lost += [] if heard.wait(t) else [f"fragments v{v}, reversed: {reverse}"]
    return lost


def test_detect_loses_nothing():
    """All failures at once, each with the choice that drops most."""
    hardest = ("daemon_dead: closed, daemon_dead_after: 5s, no_policy: management, flow_table_full: drop_all, "
               "fragment_lost: drop, ring_full: throttle, audit_full: drop, hook_missing: degrade")
    with Router() as lab:
        heard = Listener(lab, lab.server, "udp", 80, 81)
        Listener(lab, lab.server, "tcp", 80, 81)
        for ns in (lab.dut, lab.client):
            for proto in ("tcp", "udp"):
                Listener(lab, ns, proto, 80, 81)
        wire = Wire(lab, lab.client, "cl0", sniff=False)
        equal(everything(lab, wire, heard, "bare"), [], "without weir")
        w = Weir(lab, lab.dut)
        hostile = Policy.text("- { name: none, action: drop, ports: 80 }", inbound="drop", outbound="drop", forward="drop",
                              mode="detect", extra=f"""
            packets: {{ malformed: drop, fragments: drop, unknown_l2: drop }}
            on_error: drop
            failures: {{ {hardest} }}
            """)
        for names in (ALL, ALL.replace(",hook_missing", ""), ALL.replace(",hook_missing", "").replace(",unparsable", "")):
            w.run(hostile, "--simulate", names)
            equal(everything(lab, wire, heard, names), [], f"with {names}")
            if "hook_missing" not in names:
                check(failure(w, "daemon_dead")["count"] > 50, f"the drill does not run: {failure(w, 'daemon_dead')}")
            if "unparsable" not in names:
                for name in ("flow_table_full", "fragment_lost", "ring_full"):
                    check(failure(w, name)["count"] > 0, f"{name} was not played: {failure(w, name)}")
            equal(w.signal(signal.SIGINT), 0, f"exit status: {w.said()[-300:]}")
        equal(w.traces("lo", "in0", "out0"), [], "traces")


def test_names_are_checked():
    with Router() as lab:
        w = Weir(lab, lab.dut)
        p = w("run", "--simulate", "ring_ful", check=False)
        check(p.returncode == 2 and "did you mean 'ring_full'" in p.stderr, f"{p.returncode}: {p.stderr}")


if __name__ == "__main__":
    main(globals())
