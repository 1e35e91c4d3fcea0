#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Packets that come in and say that this host sent them. Its stack throws them away; the flows must not believe them before
that: they neither end a connection nor prove one."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

FENCE = "- { name: fence, action: allow, protocol: udp, ports: 9999 }\n"
WEB = FENCE + "    - { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }\n"


def closed(rules, **kw):
    return Policy.text("    " + rules, **{**dict(inbound="drop", outbound="drop", forward="drop"), **kw},
                       extra="flows: { adopt_window: 1s }")


def frame(lab, wire, v, src, dst, l4):
    return bytes(sp.Ether(src=wire.mac, dst=lab.dut.mac("in0")) / (sp.IP if v == 4 else sp.IPv6)(src=src, dst=dst) / l4)


def tcp(sport, dport, flags, seq=0, ack=0):
    return sp.TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack)


def test_nobody_ends_a_connection():
    """Who knows the ports of a connection, and none of its numbers, says in the name of both ends that it is over."""
    for direction in ("inbound", "outbound"):
        with Router() as lab:
            here, there = (lab.dut, lab.client) if direction == "inbound" else (lab.client, lab.dut)
            heard = Listener(lab, here, "tcp", 80)
            ends = Listener(lab, lab.dut, "udp", 9999)
            wire = Wire(lab, lab.client, "cl0", sniff=False)
            w = Weir(lab, lab.dut)
            w.run(closed(WEB.replace("inbound", direction)))
            started = time.monotonic()
            for v in (4, 6):
                to = lab.DUT[v] if direction == "inbound" else lab.CLIENT[v]
                live = [Probe(there, "tcp", to, 80) for _ in range(3)]
                must(all(p.wait() == "open" for p in live), "no connection")
                time.sleep(max(0, started + 1.5 - time.monotonic()))  # the window of adoption
                for p, way in zip(live, ("fin", "rst", "syn")):
                    a, b = (lab.CLIENT[v], lab.DUT[v]) if direction == "inbound" else (lab.DUT[v], lab.CLIENT[v])
                    port = p.s.getsockname()[1]
                    asks = lambda *x: frame(lab, wire, v, a, b, tcp(port, 80, *x))  # noqa: B023, E731
                    says = lambda *x: frame(lab, wire, v, b, a, tcp(80, port, *x))  # noqa: B023, E731
                    if way == "fin":
                        wire.send(asks("FA", 7, 7), says("FA", 7, 7))
                    elif way == "rst":
                        wire.send(asks("A", 7, 7), says("A", 7, 7), asks("R", 7), says("R", 7))
                    wire.send(says("S", 7) if direction == "inbound" else asks("S", 7))  # of this host, all the same
                must(fence(lab.client, lab.DUT[v], ends, 9999), "fence")
                for p, way in zip(live, ("fin", "rst", "syn")):
                    t = token(way)
                    p.s.send(t)
                    check(heard.wait(t), f"{direction} v{v}: a connection died of a forged {way}")
                    p.close()


def test_nobody_proves_a_handshake():
    """Forged sources that answer their own SYNs in this host's name do not fill the table of live connections."""
    with Router() as lab:
        lab.dut.ip("route", "add", "blackhole", "198.18.0.0/15")
        lab.dut.ip("route", "add", "blackhole", "fd99::/64")
        Listener(lab, lab.dut, "tcp", 80)
        ends = Listener(lab, lab.dut, "udp", 9999)
        wire = Wire(lab, lab.client, "cl0", sniff=False)
        w = Weir(lab, lab.dut)
        w.run(closed(WEB))
        time.sleep(1.5)
        for v, far in ((4, "198.18.0.%d"), (6, "fd99::%d")):
            for i in range(1, 101):
                src, dst = far % i, lab.DUT[v]
                wire.send(frame(lab, wire, v, src, dst, tcp(4000, 80, "S", 1)),
                          frame(lab, wire, v, dst, src, tcp(80, 4000, "SA", 100, 2)),
                          frame(lab, wire, v, src, dst, tcp(4000, 80, "A", 2, 101)))
            must(fence(lab.client, lab.DUT[v], ends, 9999), "fence")
            promoted = w.json("status", "stats")["counters"]["flows_promoted"]
            check(promoted <= v, f"v{v}: {promoted} connections were proved by nobody")  # the fences are some


def test_nobody_is_this_host_behind_it():
    """IPv6 routes what comes in with an address of the router itself: a conversation of this host's lets nothing by."""
    with Router() as lab:
        heard = Listener(lab, lab.server, "udp", 123)
        ends = Listener(lab, lab.dut, "udp", 9999)
        wire = Wire(lab, lab.client, "cl0", sniff=False)
        w = Weir(lab, lab.dut)
        forged = frame(lab, wire, 6, lab.DUT_OUT[6], lab.SERVER[6], sp.UDP(sport=123, dport=123) / b"forged-0")
        wire.send(forged)
        must(heard.wait(b"forged-0"), "without weir it arrives (if not: this test shows nothing)")
        w.run(closed(FENCE + "    - { name: ntp, action: allow, direction: outbound, protocol: udp, ports: 123 }\n"))
        heard.clear()
        p = Probe(lab.dut, "udp", lab.SERVER[6], 123, sport=123)
        must(p.wait() == "open", "no conversation")
        wire.send(forged)
        must(fence(lab.client, lab.DUT[6], ends, 9999), "fence")
        behind = token("behind")
        p.s.send(behind)
        must(heard.wait(behind), "what leaves for the server behind it")
        check(b"forged-0" not in heard.payloads(123), "the server heard the client in this host's name")
        p.close()


if __name__ == "__main__":
    main(globals())
