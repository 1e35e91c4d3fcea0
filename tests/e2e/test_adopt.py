#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Conversations that are older than weir go on when it starts in prevent: as an endpoint and through a router,
TCP busy and idle, UDP. After the adoption window what nobody knows is no conversation any more."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

FENCE = "    - { name: fence, action: allow, protocol: udp, ports: 9999 }\n"


class Talk:
    """A pair of sockets that can say something in either direction and be heard."""

    def __init__(self, lab, proto, opener, server_ns, addr, port, connected=True):
        self.proto, self.connected = proto, connected
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        with server_ns:
            ls = socket.socket(family_of(addr), kind)
            ls.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            ls.bind((addr, port))
        with opener:
            self.a = socket.socket(family_of(addr), kind)
        self.a.settimeout(PATIENCE)
        ls.settimeout(PATIENCE)
        if proto == "tcp":
            ls.listen(1)
            self.a.connect((addr, port))
            self.b, _ = ls.accept()
            self.b.settimeout(PATIENCE)
            ls.close()
        else:
            self.b, self.to_b = ls, (addr, port)
            if connected:
                self.a.connect(self.to_b)
            self.a.sendto(b"hello", self.to_b) if not connected else self.a.send(b"hello")
            _, self.to_a = self.b.recvfrom(100)
        lab.on_close(self.a.close)
        lab.on_close(self.b.close)

    def says(self, who):
        """One side says something; does the other hear it?"""
        t = token("talk")
        me, other = (self.a, self.b) if who == "opener" else (self.b, self.a)
        try:
            if self.proto == "tcp":
                me.sendall(t)
            elif who == "opener":
                me.send(t) if self.connected else me.sendto(t, self.to_b)
            else:
                me.sendto(t, self.to_a)
            return other.recv(4096) == t
        except OSError:
            return False


class Busy:
    """A TCP conversation that never rests: a thread sends, another reads; counts and never ends early."""

    def __init__(self, lab, talk):
        import threading
        self.bytes, self.error, self.go = 0, None, True
        self.t = talk

        def send():
            try:
                while self.go:
                    self.t.a.sendall(b"b" * 4096)
                    time.sleep(0.001)
            except OSError as e:
                self.error = e

        def read():
            try:
                while self.go:
                    self.bytes += len(self.t.b.recv(65536))
            except OSError as e:
                if self.go:
                    self.error = e

        self.threads = [threading.Thread(target=f, daemon=True) for f in (send, read)]
        for t in self.threads:
            t.start()
        lab.on_close(self.stop)

    def stop(self):
        self.go = False
        for s in (self.t.a, self.t.b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for t in self.threads:
            t.join(PATIENCE)

    def goes_on(self):
        """More bytes than could have been in flight arrive from now on."""
        start, deadline = self.bytes, time.monotonic() + PATIENCE
        while self.bytes < start + 200_000 and not self.error and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.bytes >= start + 200_000 and not self.error


def conversations(lab, opener, server_ns, addrs, tag):
    out, port = {}, {"in": 6000, "out": 6100, "fwd": 6200}[tag]
    for v in (4, 6):
        for kind, proto, connected in (("tcp idle", "tcp", True), ("tcp", "tcp", True), ("udp", "udp", True),
                                       ("udp unconnected", "udp", False)):
            port += 1
            out[f"{tag} v{v} {kind}"] = Talk(lab, proto, opener, server_ns, addrs[v], port, connected)
        port += 1
        out[f"{tag} v{v} busy"] = Talk(lab, "tcp", opener, server_ns, addrs[v], port)
    return out


def go_on(lab, talks, first):
    busy = {k: Busy(lab, t) for k, t in talks.items() if k.endswith("busy")}
    for name, b in busy.items():
        must(b.goes_on(), f"{name}: does not even start")

    def still():
        for name, t in talks.items():
            if name in busy:
                check(busy[name].goes_on(), f"{name}: stopped: {busy[name].error}")
                continue
            # who speaks first after the start differs: a mid-stream packet has no direction of its own
            for who in (first, "server" if first == "opener" else "opener"):
                check(t.says(who), f"{name}: what the {who} says is not heard")
    return still


def policy(extra="", **kw):
    """Outward everything, inward only what is named: the conversations of the tests are allowed one way."""
    d = dict(inbound="drop", outbound="allow", forward="drop")
    d.update(kw)
    return Policy.text(FENCE + """
    - { name: services, action: allow, direction: inbound, ports: 6000-6099 }
    - { name: through, action: allow, direction: forward, from: ["10.1.0.0/24", "fd01::/64"], ports: 6200-6299 }
""", extra=extra, **d)


def test_endpoint():
    for first in ("opener", "server"):
        with Router() as lab:
            talks = conversations(lab, lab.client, lab.dut, lab.DUT, "in")
            talks.update(conversations(lab, lab.dut, lab.server, lab.SERVER, "out"))
            still = go_on(lab, talks, first)
            w = Weir(lab, lab.dut)
            w.run(policy(), "--mode", "prevent")
            still()
            # and a change of the policy that allows them still does not hurt
            w.apply(policy())
            still()


def test_router():
    for first in ("opener", "server"):
        with Router() as lab:
            talks = conversations(lab, lab.client, lab.server, lab.SERVER, "fwd")
            still = go_on(lab, talks, first)
            Weir(lab, lab.dut).run(policy(), "--mode", "prevent")
            still()


def test_masquerading_router():
    with Router() as lab:
        lab.masquerade()
        talks = conversations(lab, lab.client, lab.server, lab.SERVER, "fwd")
        still = go_on(lab, talks, "opener")
        Weir(lab, lab.dut).run(policy(), "--mode", "prevent")
        still()


def test_restart_keeps_flows():
    """A daemon that is killed and started again finds the flows that the kernel kept."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        text = policy()
        w.run(text)
        talks = conversations(lab, lab.client, lab.dut, lab.DUT, "in")
        talks.update(conversations(lab, lab.dut, lab.server, lab.SERVER, "out"))
        still = go_on(lab, talks, "server")
        w.kill()
        still()
        w.run(text)
        still()


def test_idle_beyond_the_window():
    """Seeding: an idle connection that says nothing until the adoption window is over still lives."""
    with Router() as lab:
        talks = {"in": Talk(lab, "tcp", lab.client, lab.dut, lab.DUT[4], 6001),
                 "out": Talk(lab, "tcp", lab.dut, lab.server, lab.SERVER[6], 6101)}
        heard = Listener(lab, lab.dut, "udp", 9999)
        Listener(lab, lab.dut, "tcp", 6050)
        Weir(lab, lab.dut).run(policy(extra="flows: { adopt_window: 1s }"), "--mode", "prevent")
        after_window(lab, heard)
        for name, t in talks.items():
            check(t.says("server"), f"{name}: what the server says is not heard")
            check(t.says("opener"), f"{name}: what the opener says is not heard")


def after_window(lab, heard):
    """Wait until a mid-stream packet of nobody's conversation is dropped: the kernel's RST stays away."""
    wire = Wire(lab, lab.client, "cl0")
    deadline = time.monotonic() + PATIENCE
    port = 20000
    while time.monotonic() < deadline:
        port += 1
        wire.packets()
        wire.send(sp.Ether(src=wire.mac, dst=lab.dut.mac("in0")) / sp.IP(src=lab.CLIENT[4], dst=lab.DUT[4]) /
                  sp.TCP(sport=port, dport=6050, flags="PA", seq=1, ack=1) / b"nobody")
        must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        if not any(sp.TCP in p and p[sp.TCP].dport == port for p in wire.packets()):
            return
        time.sleep(0.1)
    raise Failed("30 s after a window of 1 s unknown mid-stream packets still pass")


def test_nothing_denied_is_adopted():
    """In the window too: a mid-stream packet that no orientation allows is dropped."""
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 9999)
        Listener(lab, lab.dut, "tcp", 7000)
        Weir(lab, lab.dut).run(policy(outbound="drop"), "--mode", "prevent")
        wire = Wire(lab, lab.client, "cl0")
        for v in (4, 6):
            ip = sp.IP if v == 4 else sp.IPv6
            for flags in ("A", "PA", "FA", "SA", "R", "RA"):
                wire.send(sp.Ether(src=wire.mac, dst=lab.dut.mac("in0")) / ip(src=lab.CLIENT[v], dst=lab.DUT[v]) /
                          sp.TCP(sport=30000, dport=7000, flags=flags, seq=1, ack=1) / b"x")
            must(fence(lab.client, lab.DUT[v], heard, 9999), "fence")
        answers = [p.summary() for p in wire.packets() if sp.TCP in p]
        equal(answers, [], "answers of the dut's stack to denied mid-stream packets")


if __name__ == "__main__":
    main(globals())
