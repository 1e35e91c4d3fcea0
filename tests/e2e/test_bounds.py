#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bounds of connections: what lasts too long, has too many bytes or is silent for too long is stopped in the kernel, with
the daemon dead, too; nothing else is, and a new connection begins with new bounds."""
import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp  # noqa: E402
from test_established import Pair  # noqa: E402

FENCE = "- { name: fence, action: allow, protocol: udp, ports: 9999 }\n"


def policy(rules, mode="prevent", extra=""):
    return Policy.text(FENCE + "".join(f"- {{ {r} }}\n" for r in rules), mode=mode, inbound="drop", outbound="drop",
                       forward="drop", extra=extra)


class Ways:
    """Conversations of each kind, and whether they are heard."""

    def __init__(self, lab):
        self.lab = lab
        self.where = {"inbound": (lab.client, lab.dut, lab.DUT), "outbound": (lab.dut, lab.server, lab.SERVER),
                      "forward": (lab.client, lab.server, lab.SERVER)}
        self.addr = {lab.client: lab.CLIENT, lab.dut: lab.DUT, lab.server: lab.SERVER}
        self.fences = {ns: Listener(lab, ns, "udp", 9999) for ns in self.addr}

    def converse(self, port):
        return {(way, v, proto): Pair(self.lab, proto, a, b, addrs[v], port)
                for way, (a, b, addrs) in self.where.items() for v in (4, 6) for proto in ("tcp", "udp")}

    def silent(self, key, pair, what):
        """Neither end hears the other."""
        a, b, _ = self.where[key[0]]
        for who in pair.ends:
            pair.say(who)
        for here, there in ((a, b), (b, a)):
            must(fence(here, self.addr[there][key[1]], self.fences[there], 9999), f"fence {key}")
        for who in pair.ends:
            equal(pair.heard(who), None, f"{what}, {key}: the {who} heard")


def test_duration_with_the_daemon_dead():
    """Every kind of connection ends in its time, counted from its beginning, with no process of weir alive."""
    for masquerade in (False, True):
        with Router() as lab:
            if masquerade:
                lab.masquerade()
            w, ways = Weir(lab, lab.dut), Ways(lab)
            w.run(policy(["name: short, action: allow, ports: 5000, max_duration: 4s", "name: long, action: allow, ports: 5001"]))
            start = time.monotonic()
            short, free = ways.converse(5000), ways.converse(5001)
            born = time.monotonic()
            flows = w.json("flows", "--all")["flows"]
            equal({f["bound"] for f in flows if f["dport"] == 5000}, {"for 4s at most"}, "what weir flows says of the bound")
            check(not any("bound" in f for f in flows if f["dport"] == 5001), "a bound where there is none")
            w.kill()
            equal(w("status", check=False).returncode, 4, "status with the daemon dead")
            if time.monotonic() < start + 3:
                for key, p in short.items():
                    check(p.talks("opener") and p.talks("answerer"), f"{key} ended too soon")
            while time.monotonic() < born + 4.1:
                time.sleep(0.1)
            for key, p in short.items():
                ways.silent(key, p, "after its time")
                ways.silent(key, p, "and once more")
            for key, p in free.items():
                check(p.talks("opener") and p.talks("answerer"), f"{key} has no bound and was cut")
            again = ways.converse(5000)  # each is heard at least once
            check(len(again) == len(short), "new connections begin anew")


def test_bytes():
    """Not one byte more than allowed, from the first packet that does not fit on nothing at all."""
    for way in ("inbound", "forward"):
        with Router() as lab:
            there, addr = (lab.dut, lab.DUT[4]) if way == "inbound" else (lab.server, lab.SERVER[4])
            d = Listener(lab, there, "udp", 5000, answer=False)
            f = Listener(lab, there, "udp", 9999)
            w = Weir(lab, lab.dut)
            w.run(policy(["name: little, action: allow, ports: 5000, max_bytes: 10k"]))
            w.kill()
            with lab.client:
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.connect((addr, 5000))
            for i in range(200):
                s.send(b"%3d" % i + b"x" * 97)
            for _ in range(3):
                s.send(b"tiny")  # would fit: the bound is passed all the same
            must(fence(lab.client, addr, f, 9999), "fence")
            got = d.payloads(5000)
            equal(len(got), 10000 // 128, f"{way}: datagrams of 128 bytes within 10,000")
            equal(got[-1][:3], b" 77", f"{way}: the last one")
            s.close()
            equal(ask(lab.client, "udp", addr, 5000, timeout=1), "silence", "the listener answers nobody")
            check(len(d.payloads(5000)) == 79, f"{way}: a new flow was not heard: {len(d.payloads(5000))}")


def fragments(lab, wire, dst, number, dport, size, cuts, order):
    """The frames of one datagram of `size` bytes, cut at `cuts` (of 8 bytes), in this order."""
    data = struct.pack("!HHHH", 5555, dport, 8 + size, 0) + b"z" * size  # no checksum
    edges = [0, *cuts, len(data)]
    frames = []
    for a, b in zip(edges, edges[1:]):
        frames.append(bytes(sp.Ether(src=wire.mac, dst=lab.dut.mac("in0"))
                            / sp.IP(src=lab.CLIENT[4], dst=dst, proto=17, id=number, frag=a // 8,
                                    flags="MF" if b < len(data) else 0) / sp.Raw(data[a:b])))
    return [frames[i] for i in order(len(frames))]


def test_bytes_in_fragments():
    """Fragments count in whatever order they come, and under whatever flow of the sender the first one names."""
    cuts = [8, *range(8 + 1480, 20000, 1480)]
    orders = {"in order": lambda n: range(n), "the first last": lambda n: [*range(1, n), 0],
              "backwards": lambda n: reversed(range(n))}
    for way, name in [("inbound", x) for x in orders] + [("forward", "in order")]:  # a forward's first goes first
        with Router() as lab:
            there, addr = (lab.dut, lab.DUT[4]) if way == "inbound" else (lab.server, lab.SERVER[4])
            d = Listener(lab, there, "udp", 5000, 5001, 5002, answer=False)
            f = Listener(lab, there, "udp", 9999)
            wire = Wire(lab, lab.client, "cl0", sniff=False)
            w = Weir(lab, lab.dut)
            w.run(policy(["name: little, action: allow, ports: 5000, max_bytes: 50k",
                          "name: tiny, action: allow, ports: 5002, max_bytes: 5k",
                          "name: free, action: allow, ports: 5001"]))
            w.kill()
            for number, port in enumerate([5000] * 20 + [5001, 5002], 1):
                wire.send(*fragments(lab, wire, addr, number, port, 20000, cuts, orders[name]))
            must(fence(lab.client, addr, f, 9999), "fence")
            got = {port: [len(x) for x in d.payloads(port)] for port in (5000, 5001, 5002)}
            equal(got, {5000: [20000] * 2, 5001: [20000], 5002: []},
                  f"{way}, {name}: two fit into 50,000 bytes, none into 5,000, and one flow has no bound")


def test_bytes_of_two_firsts():
    """A second first of a flow without a bound does not take over the datagram of one that has a bound."""
    cuts = [8, *range(8 + 1480, 20000, 1480)]
    with Router() as lab:
        d = Listener(lab, lab.dut, "udp", 5000, 5001, answer=False)
        f = Listener(lab, lab.dut, "udp", 9999)
        wire = Wire(lab, lab.client, "cl0", sniff=False)
        w = Weir(lab, lab.dut)
        w.run(policy(["name: little, action: allow, ports: 5000, max_bytes: 50k", "name: free, action: allow, ports: 5001"]))
        for i in range(20):
            one = fragments(lab, wire, lab.DUT[4], 100 + i, 5000, 20000, cuts, range)
            two = fragments(lab, wire, lab.DUT[4], 100 + i, 5001, 20000, cuts, range)
            wire.send(one[0], two[0], *one[1:])
        must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
        check(sum(map(len, d.payloads(5000))) <= 50000, f"{sum(map(len, d.payloads(5000)))} bytes within 50,000")


def test_bytes_of_a_stream():
    """TCP both ways together, large segments counted by their bytes."""
    with Router() as lab:
        ways = Ways(lab)
        w = Weir(lab, lab.dut)
        w.run(policy(["name: little, action: allow, ports: 5000, max_bytes: 1M", "name: rest, action: allow, ports: 5001"]))
        for v in (4, 6):
            p = Pair(lab, "tcp", lab.client, lab.server, lab.SERVER[v], 5000)
            a, b = p.ends["opener"], p.ends["answerer"]
            a.setblocking(False)
            got, deadline = 0, time.monotonic() + PATIENCE
            flow = {}
            while flow.get("verdict") != "drop" and time.monotonic() < deadline:
                try:
                    a.send(b"x" * 65536)
                except BlockingIOError:
                    pass
                b.settimeout(0.05)
                try:
                    got += len(b.recv(1 << 20))
                except TimeoutError:
                    flow = next((f for f in w.json("flows")["flows"] if f["dport"] == 5000 and (":" in f["dst"]) == (v == 6)), {})
            equal(flow.get("verdict"), "drop", f"v{v}: the flow after {got} bytes")
            equal(flow.get("reason"), "flow_bound", "its reason")
            check(800000 < got < 1000000, f"v{v}: {got} bytes of a million were received")
            check(flow.get("sent", 0) + flow.get("received", 0) <= 1000000, f"v{v}: counted {flow}")
            ways.silent(("forward", v), p, "beyond its bytes")
        seen = [e for e in w.records("events") if e.get("reason") == "flow_bound"]
        check(any("little" in str(e.get("rule")) for e in seen), f"no event names the rule: {w.records('events')[-3:]}")
        stats = w.json("status", "stats")
        check("flow_bound" in str(stats), f"the reason is not counted: {stats}")


def test_idle():
    """A silent connection is forgotten in the rule's own time, and no other."""
    with Router() as lab:
        ways = Ways(lab)
        w = Weir(lab, lab.dut)
        w.run(policy(["name: restless, action: allow, ports: 5000, idle: 2s", "name: patient, action: allow, ports: 5001"],
                     extra="flows: { adopt_window: 1s }\n"))
        p, q, busy = (Pair(lab, "tcp", lab.client, lab.dut, lab.DUT[4], port) for port in (5000, 5001, 5000))
        w.kill()
        until = time.monotonic() + 4.5
        while time.monotonic() < until:
            check(busy.talks("opener"), "a connection that is not silent was cut")
            time.sleep(0.2)
        check(busy.talks("answerer"), "a connection that is not silent was cut")
        ways.silent(("inbound", 4), p, "after its silence")
        check(q.talks("opener"), "a connection with no such bound was forgotten")


def test_detect_stops_nothing():
    """A staged rule and a staged policy: all is heard; the event tells what would have been, once."""
    for mode, staged in (("prevent", ", mode: detect"), ("detect", "")):
        with Router() as lab:
            w = Weir(lab, lab.dut)
            rules = [f"name: little, action: allow, ports: 5000, max_bytes: 2k, max_duration: 1s, idle: 1s{staged}"]
            if staged:
                rules.append("name: open, action: allow, ports: 5000")
            w.run(policy(rules, mode=mode))
            pairs = [Pair(lab, "tcp", lab.client, there, addr, 5000) for there, addr in
                     ((lab.dut, lab.DUT[4]), (lab.server, lab.SERVER[4]))]
            time.sleep(2.2)
            for p in pairs:
                for _ in range(30):
                    must(p.talks("opener") and p.talks("answerer"), f"{mode}{staged}: a packet was lost")
            seen = [e for e in w.records("events") if "flow_bound" in str(e)]
            equal(len(seen), 2, f"{mode}{staged}: events of the bound, {w.records('events')[-4:]}")


def test_change_of_the_policy():
    """recheck: the new bounds count, and a higher one lets the connection go on; keep: it keeps those that it had."""
    with Router() as lab:
        ways = Ways(lab)
        w = Weir(lab, lab.dut)
        def text(rest, word):
            return policy([f"name: r, action: allow, ports: 5000{rest}"], extra=f"flows: {{ established: {word} }}\n")
        w.run(text(", max_bytes: 3k", "recheck"))
        p = Pair(lab, "tcp", lab.client, lab.dut, lab.DUT[4], 5000)
        p.ends["opener"].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        p.ends["opener"].send(b"x" * 1400)
        p.ends["opener"].send(b"y" * 1400)  # does not fit
        sent = time.monotonic()
        must(p.ends["answerer"].recv(1400) == b"x" * 1400, "the first was not heard")
        ways.silent(("inbound", 4), p, "beyond 3,000 bytes")
        w.apply(text(", max_bytes: 100k", "recheck"))
        p.ends["answerer"].settimeout(PATIENCE + 2 * (time.monotonic() - sent))  # TCP waits twice as long each time
        equal(p.ends["answerer"].recv(1400)[:1], b"y", "with a higher bound its retransmission")
        q = Pair(lab, "tcp", lab.client, lab.dut, lab.DUT[4], 5000)
        w.apply(policy(["name: r, action: allow, ports: 5001"], extra="flows: { established: keep }\n"))
        check(q.talks("opener"), "a kept connection was cut")
        q.ends["opener"].send(b"z" * 120000)
        got, q_end = 0, q.ends["answerer"]
        q_end.settimeout(1)
        try:
            while got < 120000:
                got += len(q_end.recv(65536))
        except TimeoutError:
            pass
        check(got < 100000, f"a kept connection lost its bound: {got}")


def test_bytes_of_the_first():
    """A first datagram that is larger than the bound does not arrive either."""
    for v in (4, 6):
        with Router() as lab:
            w = Weir(lab, lab.dut)
            w.run(policy(["name: tiny, action: allow, ports: 5000, max_bytes: 100"]))
            for there, addr in ((lab.dut, lab.DUT[v]), (lab.server, lab.SERVER[v])):
                d = Listener(lab, there, "udp", 5000, 9999, answer=False)
                Probe(lab.client, "udp", addr, 5000, payload=b"y" * 1400).close()
                Probe(lab.client, "udp", addr, 5000, payload=b"fits").close()
                must(fence(lab.client, addr, d, 9999), "fence")
                equal([len(x) for x in d.payloads(5000)], [4], f"v{v}, {addr}: of 1,400 bytes and 4, with 100 allowed")


def test_bytes_and_forged_syn():
    """A SYN with the ports of the connection does not begin its count anew."""
    with Router() as lab:
        wire = Wire(lab, lab.client, "cl0", sniff=False)
        w = Weir(lab, lab.dut)
        w.run(policy(["name: little, action: allow, ports: 5000, max_bytes: 100k"]))
        p = Pair(lab, "tcp", lab.client, lab.dut, lab.DUT[4], 5000)
        a, b = p.ends["opener"], p.ends["answerer"]
        syn = bytes(sp.Ether(src=wire.mac, dst=lab.dut.mac("in0")) / sp.IP(src=lab.CLIENT[4], dst=lab.DUT[4])
                    / sp.TCP(sport=a.getsockname()[1], dport=5000, flags="S", seq=12345))
        a.setblocking(False)
        b.settimeout(0.1)
        got, until = 0, time.monotonic() + 4  # its retransmissions fall into this time
        while time.monotonic() < until:
            try:
                a.send(b"x" * 65536)
            except BlockingIOError:
                pass
            try:
                got += len(b.recv(1 << 20))
            except TimeoutError:
                wire.send(syn)
        check(50000 < got < 100000, f"{got} bytes of 100,000 were received")


def test_bytes_under_a_time_rule():
    """A rule with a time keeps its bound, also after an unrelated ban: no later rule takes over."""
    for ban in (False, True):
        with Router() as lab:
            d = Listener(lab, lab.dut, "udp", 5000, 9999, answer=False)
            w = Weir(lab, lab.dut)
            both = "action: allow, direction: inbound, protocol: udp, ports: 5000"
            w.run(policy([f'name: little, {both}, max_bytes: 3k, time: "00:00-24:00"', f"name: later, {both}"]))
            p = Probe(lab.client, "udp", lab.DUT[4], 5000, payload=b"a" * 472)
            if ban:
                w("ban", "add", "203.0.113.9")
            for _ in range(19):
                p.s.send(b"a" * 472)
            must(fence(lab.client, lab.DUT[4], d, 9999), "fence")
            n = len(d.payloads(5000))
            check(n in (5, 6), f"ban {ban}: {n} of 20 times 500 bytes within 3,000")
            p.close()


if __name__ == "__main__":
    main(globals())
