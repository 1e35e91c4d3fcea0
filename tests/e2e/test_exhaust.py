#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tables that are made to overflow: live connections go on, new ones are served, and what fills the tables
buys no way around the policy."""
import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

POLICY = Policy.text("""
- { name: fence, action: allow, protocol: udp, ports: 9999 }
- { name: web, action: allow, direction: inbound, ports: [80, 81] }
""", inbound="drop", forward="drop", extra="flows: { adopt_window: 1s }")


def checksum(data):
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    s = (s & 0xffff) + (s >> 16)
    return ~(s + (s >> 16)) & 0xffff


class Forger:
    """IPv4 frames from random sources, cut from one template: scapy would be too slow."""

    def __init__(self, lab, l4):
        self.wire = Wire(lab, lab.client, "cl0", sniff=False)
        self.frame = bytearray(bytes(sp.Ether(src=self.wire.mac, dst=lab.dut.mac("in0")) /
                                     sp.IP(src="198.18.0.1", dst=lab.DUT[4]) / l4))
        self.tcp = self.frame[23] == 6
        self.rnd = random.Random(9)

    def send(self, n, dport):
        f, at = self.frame, 50 if self.tcp else 40
        for _ in range(n):
            f[26:30] = struct.pack("!I", 0xc6120000 | self.rnd.getrandbits(17))
            f[34:38] = struct.pack("!HH", self.rnd.randrange(1024, 65536), dport)
            f[24:26] = b"\0\0"
            f[24:26] = struct.pack("!H", checksum(bytes(f[14:34])))
            f[at:at + 2] = b"\0\0"
            if self.tcp:
                pseudo = bytes(f[26:34]) + struct.pack("!HH", 6, len(f) - 34)
                f[at:at + 2] = struct.pack("!H", checksum(pseudo + bytes(f[34:])))
            self.wire.send(f)


def flood(lab, forger, n, fences):
    """At least n frames to port 81, and longer than the adoption window (1 s): nothing is adopted anew."""
    start, sent = time.monotonic(), 0
    while sent < n or time.monotonic() < start + 2.5:
        forger.send(5000, 81)
        sent += 5000
        must(fence(lab.client, lab.DUT[4], fences, 9999), f"after {sent} frames: the fence does not arrive")


def lives(lab, d, live, what):
    t = token("live")
    live.s.send(t)
    check(d.wait(t), f"{what}: a live connection was lost")
    equal(ask(lab.client, "tcp", lab.DUT[4], 80, timeout=4 * PATIENCE), "open", f"{what}: a new connection")


def test_syn_flood():
    """More forged SYNs than all tables hold; answered ones that never complete."""
    n = long_or(300_000, 100_000)
    with Router() as lab:
        tcp = Listener(lab, lab.dut, "tcp", 80, 81, 82)
        udp = Listener(lab, lab.dut, "udp", 9999)
        # the dut answers forged sources into nothing, without asking for neighbours
        lab.dut.ip("route", "add", "blackhole", "198.18.0.0/15")
        lab.dut.sysctl("net.ipv4.tcp_syncookies", 1)
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        live = Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(live.wait() == "open", "no connection")
        flood(lab, Forger(lab, sp.TCP(flags="S", seq=1)), n, udp)
        half = w.status()["flows"]["half_open"]
        must(half > 5000, f"the flood did not fill anything: {half} half open flows")
        lives(lab, tcp, live, f"after {n} SYNs")
        p = Probe(lab.client, "tcp", lab.DUT[4], 82)
        must(fence(lab.client, lab.DUT[4], udp, 9999), "fence")
        check(p.quiet(), "a denied port answers after the flood")
        p.close()
        live.close()


def test_udp_flood():
    """The same with datagrams to an open port: unanswered, they never reach the table of live flows."""
    n = long_or(300_000, 100_000)
    with Router() as lab:
        tcp = Listener(lab, lab.dut, "tcp", 80)
        udp = Listener(lab, lab.dut, "udp", 81, 9999, answer=False)
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        live = Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(live.wait() == "open", "no connection")
        flood(lab, Forger(lab, sp.UDP(chksum=0) / b"flood"), n, udp)
        udp.clear()
        half = w.status()["flows"]["half_open"]
        must(half > 5000, f"the flood did not fill anything: {half} half open flows")
        lives(lab, tcp, live, f"after {n} datagrams")
        live.close()


def test_answered_udp_flood():
    """A service that answers forged sources: each answer makes a flow, and still live connections go on."""
    n = long_or(300_000, 100_000)
    with Router() as lab:
        tcp = Listener(lab, lab.dut, "tcp", 80)
        udp = Listener(lab, lab.dut, "udp", 9999, answer=False)
        Listener(lab, lab.dut, "udp", 81)
        lab.dut.ip("neigh", "replace", lab.CLIENT[4], "lladdr", lab.client.mac("cl0"), "nud", "permanent", "dev", "in0")
        lab.dut.ip("route", "add", "198.18.0.0/15", "via", lab.CLIENT[4])
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        live = Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(live.wait() == "open", "no connection")
        flood(lab, Forger(lab, sp.UDP(chksum=0) / b"flood"), n, udp)
        flows = w.status()["flows"]
        must(flows["live"] > 5000, f"the flood did not fill anything: {flows}")
        lives(lab, tcp, live, f"after {n} answered datagrams ({flows})")
        live.close()


def test_fragment_flood():
    """8,193 and more open fragment sets: none passes without a verdict, honest ones pass afterwards."""
    n = long_or(50_000, 10_000)
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 80, 82, 9999, answer=False)
        # the kernel's own memory for reassembly is not what is tested here
        lab.dut.sysctl("net.ipv4.ipfrag_high_thresh", 256 << 20)
        Weir(lab, lab.dut).run(POLICY)
        tx = Wire(lab, lab.client, "cl0", sniff=False)
        mac = lab.dut.mac("in0")

        def parts(ident, port, payload):
            whole = bytes(sp.IP(bytes(sp.IP(src=lab.CLIENT[4], dst=lab.DUT[4]) / sp.UDP(sport=1, dport=port) / payload))[sp.UDP])
            for a, b in ((0, 16), (16, len(whole))):
                yield bytes(sp.Ether(src=tx.mac, dst=mac) / sp.IP(src=lab.CLIENT[4], dst=lab.DUT[4], id=ident, proto=17,
                            frag=a // 8, flags="MF" if b < len(whole) else 0) / whole[a:b])

        first, last = (bytearray(x) for x in parts(1, 82, token("f") + b"." * 64))
        for i in range(n):
            f = first if i % 2 else last
            f[18:20] = struct.pack("!H", i & 0xffff)
            f[26:30] = socket.inet_aton(f"198.18.{i >> 8 & 255}.{i & 255}")
            f[24:26] = b"\0\0"
            f[24:26] = struct.pack("!H", checksum(bytes(f[14:34])))
            tx.send(f)
        must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        good, bad = token("good") + b"." * 64, token("bad") + b"." * 64
        tx.send(*parts(60001, 80, good), *parts(60002, 82, bad))
        must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        equal(heard.payloads(82), [], "delivered to the denied port")
        check(good in heard.payloads(80), "an honest fragmented datagram after the flood")


if __name__ == "__main__":
    main(globals())
