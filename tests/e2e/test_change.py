#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Conversations that live through a change: what the new policy allows goes on, what it denies stops at once, in
both directions, whoever of the two goes on talking."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

FENCE = "- { name: fence, action: allow, protocol: udp, ports: 9999 }\n"
SERVICE = FENCE + "- { name: service, action: allow, direction: inbound, ports: [5000, 5001] }\n"


class Talk:
    """A UDP conversation of two sockets, each of which speaks when told to."""

    def __init__(self, lab, client, client_addr, server, server_addr, port):
        self.socks = []
        for ns, addr, p in ((client, client_addr, 40000), (server, server_addr, port)):
            with ns:
                s = socket.socket(family_of(addr), socket.SOCK_DGRAM)
            s.bind((addr, p))
            s.setblocking(False)
            self.socks.append(s)
            lab.on_close(s.close)
        self.client, self.server = self.socks
        self.to_server, self.to_client = (server_addr, port), (client_addr, 40000)

    def say(self, client):
        t = token("talk")
        (self.client if client else self.server).sendto(t, self.to_server if client else self.to_client)
        return t

    def got(self, client):
        s, out = (self.client if client else self.server), []
        while True:
            try:
                out.append(s.recv(2048))
            except BlockingIOError:
                return out

    def heard(self, client, what):
        """What one side says is heard by the other within the patience of a test."""
        s = self.server if client else self.client
        s.settimeout(PATIENCE)
        t = self.say(client)
        try:
            return check(s.recv(2048) == t, what)
        except OSError:
            return check(False, what)
        finally:
            s.setblocking(False)


def test_udp_both_talk():
    """The server's own packets, which the policy lets out, must not open the way in again."""
    with Router() as lab:
        fences = Listener(lab, lab.dut, "udp", 9999)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(SERVICE))
        for v in (4, 6):
            talk = Talk(lab, lab.client, lab.CLIENT[v], lab.dut, lab.DUT[v], 5000)
            for _ in range(3):
                talk.heard(True, f"v{v}: before")
                talk.heard(False, f"v{v}: before, back")
            rule = w.json("rule", "add", "--direction", "inbound", "--port", "5000", "--proto", "udp", "--action", "drop")
            for n in range(10):
                talk.say(n % 3 == 0)
                talk.say(n % 3 != 0)
                must(fence(lab.client, lab.DUT[v], fences, 9999), "fence")
            equal(talk.got(False), [], f"v{v}: the server still hears")
            equal(talk.got(True), [], f"v{v}: the client still hears")
            w("rule", "delete", "--id", str(rule["id"]))
            talk.heard(True, f"v{v}: allowed again")
            talk.heard(False, f"v{v}: allowed again, back")


def test_tcp_stays_denied():
    """Also while connections that are older than weir are still taken over."""
    with Router() as lab:
        fences = Listener(lab, lab.dut, "udp", 9999)
        heard = Listener(lab, lab.dut, "tcp", 5000)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(SERVICE))
        for v in (4, 6):
            p = Probe(lab.client, "tcp", lab.DUT[v], 5000)
            equal(p.wait(), "open", f"v{v}: before")
            with lab.dut, socket.socket(family_of(lab.DUT[v]), socket.SOCK_STREAM) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((lab.DUT[v], 5001))
                s.listen()
                down = Probe(lab.client, "tcp", lab.DUT[v], 5001)
                server, _ = s.accept()
            lab.on_close(server.close)
            rule = w.json("rule", "add", "--direction", "inbound", "--port", "5000-5001", "--proto", "tcp", "--action", "drop")
            heard.clear()
            for _ in range(8):
                p.s.send(b"denied")
                down.s.send(b"denied")
                server.send(b"denied")
                must(fence(lab.client, lab.DUT[v], fences, 9999), "fence")
            equal(heard.payloads(), [], f"v{v}: delivered")
            for s, who in ((down.s, "client"), (server, "server")):
                s.setblocking(False)
                try:
                    check(False, f"v{v}: the {who} still hears {s.recv(2000)}")
                except BlockingIOError:
                    pass
            w("rule", "delete", "--id", str(rule["id"]))
            equal(ask(lab.client, "tcp", lab.DUT[v], 5000), "open", f"v{v}: a new connection")


def test_masquerade_goes_on():
    """A translated conversation is judged by both of its faces, whatever the order of their addresses."""
    with Router() as lab:
        lab.masquerade()
        lab.alias(lab.server, "sv0", "10.1.5.5/32", "10.200.0.5/32", "fd01:5::5/128", "fdff::5/128")
        lab.dut.ip("route", "add", "10.1.5.5", "via", "10.2.0.2")
        lab.dut.ip("route", "add", "10.200.0.5", "via", "10.2.0.2")
        lab.dut.ip("-6", "route", "add", "fd01:5::5", "via", "fd02::2")
        lab.dut.ip("-6", "route", "add", "fdff::5", "via", "fd02::2")
        heard = Listener(lab, lab.server, "tcp", 80)
        w = Weir(lab, lab.dut)
        rules = "- { name: one, action: allow, direction: forward, from: [10.1.0.2, \"fd01::2\"], ports: 80 }\n"
        flows = "flows: { established: recheck, adopt_window: 1s }"
        w.run(Policy.text(rules, inbound="drop", outbound="drop", forward="drop", extra=flows))
        time.sleep(1.1)  # nothing tells that nobody is taken over any more
        probes = [Probe(lab.client, "tcp", a, 80) for a in ("10.1.5.5", "10.200.0.5", "10.2.0.2", "fd01:5::5",
                                                            "fdff::5", "fd02::2")]
        for p in probes:
            equal(p.wait(), "open", f"{p.s.getpeername()}: before")
        for n in range(2):
            w.apply(Policy.text(rules + f"- {{ name: other, action: allow, from: 192.0.2.{n} }}\n", inbound="drop",
                                outbound="drop", forward="drop", extra=flows))
            for p in probes:
                t = token("on")
                p.s.send(t)
                check(heard.wait(t), f"{p.s.getpeername()}: cut by a policy that allows it")
                p.s.settimeout(PATIENCE)
                try:
                    check(p.s.recv(2000), f"{p.s.getpeername()}: the answer")
                except OSError:
                    check(False, f"{p.s.getpeername()}: the answer is cut")


def talks(pair, what):
    """Both sides of a TCP or UDP conversation hear each other."""
    client, server = pair
    for a, b in ((client, server), (server, client)):
        t = token("talk")
        b.settimeout(PATIENCE)
        try:
            a.send(t)
            check(b.recv(2000) == t, what)
        except OSError as e:
            check(False, f"{what}: {e}")


def converse(lab, ns, proto, dst, port, listen_port):
    """A conversation of the client with a program in ns: its two connected sockets."""
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with ns:
        listener = socket.socket(family_of(dst), kind)
    if ":" in dst:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("::" if ":" in dst else "0.0.0.0", listen_port))
    if proto == "tcp":
        listener.listen()
    with lab.client:
        client = socket.socket(family_of(dst), kind)
    for s in (listener, client):
        s.settimeout(PATIENCE)
        lab.on_close(s.close)
    client.connect((dst, port))
    if proto == "tcp":
        server, _ = listener.accept()
        lab.on_close(server.close)
    else:
        client.send(b"hello")
        server = listener
        server.connect(listener.recvfrom(100)[1])
    return client, server


def test_translated_ports():
    """A change looks at a published port as the first packet did: as it was before its translation."""
    with Router() as lab:
        lab.masquerade()
        lab.containers()
        lab.publish(8080, 80)
        fences = Listener(lab, lab.dut, "udp", 9999)
        rules = FENCE + """
- { name: out, action: allow, direction: forward, ports: 7000 }
- { name: published, action: allow, direction: inbound, ports: 8080 }
"""
        policy = dict(inbound="drop", outbound="allow", forward="drop", extra="flows: { adopt_window: 1s }")
        w = Weir(lab, lab.dut)
        w.run(Policy.text(rules, **policy))
        time.sleep(1.1)  # nothing tells that nobody is taken over any more
        for v in (4, 6):
            for proto in ("tcp", "udp"):
                pairs = {"published": converse(lab, lab.container, proto, lab.DUT[v], 8080, 80),
                         "out": converse(lab, lab.server, proto, lab.SERVER[v], 7000, 7000)}
                for n in range(2):
                    for name, pair in pairs.items():
                        talks(pair, f"v{v} {proto} {name}: {'after a change' if n else 'before'}")
                    w.apply(Policy.text(rules + f"- {{ name: other, action: drop, from: 192.0.2.{n} }}\n", **policy))
                for name, pair in pairs.items():
                    pair[1].send(b"server first")
                    check(pair[0].recv(100) == b"server first", f"v{v} {proto} {name}: the server first")
                if proto == "tcp":
                    continue
                ids = [w.json("rule", "add", "--direction", way, "--port", port, "--proto", "udp", "--action", "drop")["id"]
                       for way, port in (("inbound", "8080"), ("forward", "7000"))]
                for name, pair in pairs.items():
                    for n in range(4):
                        pair[n % 2].send(b"denied")
                        must(fence(lab.client, lab.DUT[v], fences, 9999), "fence")
                    for s in pair:
                        s.setblocking(False)
                        try:
                            check(False, f"v{v} {name}: heard {s.recv(100)}")
                        except BlockingIOError:
                            pass
                for i in ids:
                    w("rule", "delete", "--id", str(i))
                for name, pair in pairs.items():
                    talks(pair, f"v{v} {name}: allowed again")


if __name__ == "__main__":
    main(globals())
