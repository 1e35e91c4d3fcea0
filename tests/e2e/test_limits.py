#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Limits: what a listener receives in the long run is the rate, live conversations go on under floods of forged sources, and
detect drops nothing."""
import fcntl
import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

RULES = """
- { name: fence, action: allow, protocol: udp, ports: 9999 }
- { name: web, action: allow, direction: [inbound, forward], ports: [80, 81] }
"""
SECONDS = long_or(30, 10)


def policy(limits, mode="prevent", extra=""):
    return Policy.text(RULES, mode=mode, inbound="drop", forward="drop", extra="limits:\n" + "".join(f"- {{ {x} }}\n" for x in limits) + extra)


class Sink:
    """A UDP socket that only counts."""

    def __init__(self, lab, ns, port, family=socket.AF_INET):
        with ns:
            self.s = socket.socket(family, socket.SOCK_DGRAM)
        self.s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        self.s.bind(("", port))
        self.s.setblocking(False)
        self.n = self.bytes = 0
        lab.on_close(self.s.close)

    def read(self):
        while True:
            try:
                self.bytes += 28 + len(self.s.recv(65536))
                self.n += 1
            except BlockingIOError:
                return self.n


class Bucket:
    """What a bucket lets through of what is offered at these times: it gains nothing while it is full, which it is when the
    sender stood still for long."""

    def __init__(self, rate, burst, spent=0):
        self.rate, self.burst, self.tokens, self.at, self.let = rate, burst, burst - spent, time.monotonic(), 0

    def offer(self, cost=1):
        now = time.monotonic()
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= cost:
            self.tokens -= cost
            self.let += cost


def offer(ns, dst, port, rate, seconds, sink, payload=b"x" * 100, sources=(None,), buckets=(), cost=1):
    """About `rate` datagrams a second, evenly; how many were sent. The sources take turns, and so do the buckets that say
    what shall arrive."""
    out = []
    for src in sources:
        with ns:
            s = socket.socket(socket.AF_INET6 if ":" in dst else socket.AF_INET, socket.SOCK_DGRAM)
        if src:
            s.bind((src, 0))
        s.connect((dst, port))
        out.append(s)
    start, sent = time.monotonic(), 0
    while True:
        now = time.monotonic() - start
        if now >= seconds:
            break
        while sent < now * rate:
            if buckets:
                buckets[sent % len(buckets)].offer(cost)
            try:
                out[sent % len(out)].send(payload)
            except OSError:
                pass
            sent += 1
        sink.read()
        time.sleep(0.001)
    for s in out:
        s.close()
    time.sleep(0.05)
    sink.read()
    return sent


def within(got, want, sent, what):
    """2 % of what the rate gives, and more than that was offered."""
    must(sent > want * 1.5, f"{what}: only {sent} were offered")
    print(f"| {what}: {got} of {want:.0f}, {(got / want - 1) * 100:+.2f} % ({sent} offered)")
    check(abs(got - want) <= want * 0.02 + 2, f"{what}: {got} arrived, the rate gives {want:.0f}")


def test_rate():
    """Packets by source: each its own, both families, at TC and early at XDP."""
    for xdp, v, seconds in (("off", 4, SECONDS), ("generic", 6, SECONDS / 4)):
        with Router() as lab:
            sink = Sink(lab, lab.dut, 80, socket.AF_INET6 if v == 6 else socket.AF_INET)
            w = Weir(lab, lab.dut)
            w.run(policy(["name: flood, per: source, count: packets, rate: 500/s, burst: 100"],
                         extra=f"interfaces: {{ in0: {{ xdp: {xdp} }} }}\n"))
            b = Bucket(500, 100)
            sent = offer(lab.client, lab.DUT[v], 80, 2500, seconds, sink, buckets=[b])
            within(sink.n, b.let, sent, f"500 packets a second, v{v}, XDP {xdp}")


def test_sources_and_all():
    """Two sources get twice as much; one bucket for all does not care; a prefix is one source."""
    other = {"source": 2, "prefix": 1, "all": 1}
    for per, times in other.items():
        with Router() as lab:
            lab.alias(lab.client, "cl0", "10.1.0.77/24")
            sink = Sink(lab, lab.dut, 80)
            w = Weir(lab, lab.dut)
            w.run(policy([f"name: flood, per: {per}, count: packets, rate: 300/s, burst: 50"]))
            b = [Bucket(300, 50) for _ in range(times)]
            sent = offer(lab.client, lab.DUT[4], 80, 2500, SECONDS / 4, sink, sources=(lab.CLIENT[4], "10.1.0.77"), buckets=b)
            within(sink.n, sum(x.let for x in b), sent, f"two sources, per {per}")


def test_bytes():
    with Router() as lab:
        sink = Sink(lab, lab.dut, 80)
        w = Weir(lab, lab.dut)
        w.run(policy(["name: flood, per: source, count: bytes, rate: 500k/s, burst: 100k"]))
        b = Bucket(500000, 100000)
        sent = offer(lab.client, lab.DUT[4], 80, 2000, SECONDS / 4, sink, payload=b"x" * 972, buckets=[b], cost=1000)
        within(sink.bytes, b.let, sent * 1000, "500,000 bytes a second")


def test_connections():
    """New ones only: those that stand go on, and answers to this host's own are not counted."""
    with Router() as lab:
        d = Listener(lab, lab.dut, "tcp", 80)
        sink = Sink(lab, lab.dut, 81)
        Listener(lab, lab.client, "udp", 5353)
        w = Weir(lab, lab.dut)
        live = None
        w.run(policy(["name: new, per: source, count: connections, rate: 20/s, burst: 10, action: reject"]))
        live = Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(live.wait() == "open", "no connection")
        start, sent, socks = time.monotonic(), 0, []
        b = Bucket(20, 10, spent=1)
        while time.monotonic() < start + SECONDS / 3:
            with lab.client:
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("", 10000 + sent))  # another port for each: one that the stack chooses is sometimes that of a live flow
            b.offer()
            try:
                s.sendto(b"x", (lab.DUT[4], 81))
            except OSError:
                pass
            socks.append(s)
            sent += 1
            if len(socks) > 300:
                socks.pop(0).close()
            time.sleep(0.005)
        time.sleep(0.05)
        sink.read()
        within(sink.n, b.let, sent, "20 connections a second")
        t = token("live")
        live.s.send(t)
        check(d.wait(t), "a live connection was lost to a limit of new ones")
        for i in range(40):
            equal(ask(lab.dut, "udp", lab.CLIENT[4], 5353), "open", f"what the dut opens itself, {i}")
        more = [Probe(lab.client, "udp", lab.DUT[4], 82) for _ in range(60)]  # above the limit: an answer; below: a drop
        check(any(p.wait() == "refused" for p in more[20:40]), "nothing above the limit was rejected")
        for p in more:
            p.close()
        for s in socks:
            s.close()
        live.close()


class Forged:
    """SYNs from random sources, as fast as this machine makes them."""

    def __init__(self, lab, flags="S", dport=81):
        self.wire = Wire(lab, lab.client, "cl0", sniff=False)
        base = bytes(sp.Ether(src=self.wire.mac, dst=lab.dut.mac("in0")) /
                     sp.IP(src="198.18.0.1", dst=lab.DUT[4]) / sp.TCP(sport=1234, dport=dport, flags=flags, seq=1))
        self.frames = []
        import random
        rnd = random.Random(3)
        for _ in range(20000):
            p = bytearray(base)
            p[26:30] = struct.pack("!I", 0xc6120000 | rnd.getrandbits(17))
            p[34:36] = struct.pack("!H", rnd.randrange(1024, 65536))
            p[24:26] = p[50:52] = b"\0\0"
            p[24:26] = struct.pack("!H", self.sum(bytes(p[14:34])))
            p[50:52] = struct.pack("!H", self.sum(bytes(p[26:34]) + struct.pack("!HH", 6, len(p) - 34) + bytes(p[34:])))
            self.frames.append(bytes(p))
        self.sent = 0

    @staticmethod
    def sum(data):
        s = sum(struct.unpack(f"!{len(data) // 2}H", data))
        s = (s & 0xffff) + (s >> 16)
        return ~(s + (s >> 16)) & 0xffff

    def send(self, n):
        for _ in range(n):
            self.wire.send(self.frames[self.sent % len(self.frames)])
            self.sent += 1


def knock(lab, port, n, src):
    """n datagrams to a port, each a conversation of its own."""
    for _ in range(n):
        with lab.client:
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((src, 0))
        s.sendto(b"x", (lab.DUT[4], port))
        s.close()


def test_what_a_rule_lets_in():
    """By source, all together, and only of that rule; who stands goes on; staged, it drops nothing."""
    rule = "- {{ name: few, action: allow, direction: inbound, protocol: udp, ports: 90, limit: {{ rate: 1/h, burst: 5{} }}{} }}\n"
    for per, extra, want in (("", "", 5), (", per: source", "", 10), (", per: prefix", "", 5), ("", ", mode: detect", 0)):
        with Router() as lab:
            lab.alias(lab.client, "cl0", "10.1.0.77/24")
            few, many = Sink(lab, lab.dut, 90), Sink(lab, lab.dut, 91)
            f = Listener(lab, lab.dut, "udp", 9999)
            w = Weir(lab, lab.dut)
            w.run(Policy.text(RULES + rule.format(per, extra) +
                              "- { name: many, action: allow, direction: inbound, protocol: udp, ports: 91 }\n", inbound="drop"))
            for src in (lab.CLIENT[4], "10.1.0.77"):
                knock(lab, 90, 20, src)
                knock(lab, 91, 20, src)
            must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
            equal(few.read(), want, f"conversations that the rule let in{per}{extra}")
            equal(many.read(), 40, "those of another rule")
            if want == 5 and not per:
                seen = [e for e in w.records("events") if e.get("reason") == "limit"]
                check(any("few" in str(e.get("rule", "")) for e in seen), f"no event names the limit: {w.records('events')[-3:]}")
                check("limit: { rate: 1/h, per: rule, burst: 5, action: drop }" in w("show", "effective").stdout, "not shown")
                must(all(e.get("fix") for e in seen), f"no command lets it by: {seen[-1:]}")
                fix = [e["fix"] for e in seen if e["src"]["address"] == "10.1.0.77"][-1]
                w(*fix.split()[1:])
                knock(lab, 90, 20, "10.1.0.77")
                must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
                equal(few.read(), 25, f"with '{fix}'")


def test_a_line_above():
    """A rule without a name keeps its bucket and its hits when a line comes before it; the new one has none of them."""
    limited = "- {{ action: allow, direction: inbound, protocol: udp, ports: {}, limit: {{ rate: 3/h, burst: 3 }} }}\n"
    rest = "- { action: allow, direction: inbound, protocol: udp, ports: 9999 }\n"
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 5000, 5001, 9999, answer=False)
        w = Weir(lab, lab.dut)

        def let_in(port):
            heard.clear()
            for _ in range(6):
                Probe(lab.client, "udp", lab.DUT[4], port).close()
            must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
            return len(heard.payloads(port))

        def hits():
            return {r["match"].split(";")[0]: r["hits"] for r in w.json("rule", "list")["rules"]}

        w.run(Policy.text(limited.format(5000) + rest, inbound="drop"))
        equal(let_in(5000), 3, "by a new bucket")
        before = hits()
        must(before.get("inbound port 5000 udp"), f"no hits: {before}")
        w.apply(Policy.text(limited.format(5001) + limited.format(5000) + rest, inbound="drop"))
        after = hits()
        equal(after.pop("inbound port 5001 udp"), 0, "the hits of the new one")
        equal(after, before, "the hits of the others")
        equal(let_in(5001), 3, "by the new one's bucket")
        equal(let_in(5000), 0, "by the bucket that was used up")


def test_an_added_rule():
    """The same of a rule that is added while it runs; what is no limit is refused, and nothing is added."""
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 90, 9999, answer=False)
        w = Weir(lab, lab.dut)
        w.run(Policy.text("- { name: fence, action: allow, protocol: udp, ports: 9999 }\n", inbound="drop"))
        add = ("rule", "add", "--action", "allow", "--direction", "inbound", "--proto", "udp", "--port", "90")
        for wrong, why in ((("--limit", "often"), "rate"), (("--per", "source"), "rate"), (("--limit", "1/h", "--burst", "0"), "burst"),
                           (("--time", "sometimes"), "time")):
            p = w(*add, *wrong, check=False)
            check(p.returncode and why in p.stderr, f"{wrong}: {p.stderr}")
        equal(w.json("rule", "list")["rules"][0]["name"], "fence", "nothing was added")
        w(*add, "--limit", "1/h", "--burst", "5", "--per", "source", "--name", "few", "--time", "00:00-24:00")
        for _ in range(9):
            p = Probe(lab.client, "udp", lab.DUT[4], 90, payload=b"one of nine")
            must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
            p.close()
        equal(heard.payloads(90).count(b"one of nine"), 5, "connections let in")
        p = Probe(lab.client, "udp", lab.DUT[4], 91)
        must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        p.close()
        for again in (False, True):  # what an image before counted is kept
            now = w.json("rule", "list")
            equal([(x["name"], x["hits"]) for x in now["limits"]], [("few", 4)], "stopped by the limit")
            equal(now["defaults"][0]["hits"], 1, "stopped by the default")
            if not again:
                w("rule", "add", "--action", "drop", "--mark", "7")  # compiles all


def test_flood_of_random_sources():
    """With limits by source: live flows and honest newcomers go on, and a heavy source is not forgotten."""
    n_live = long_or(1000, 200)
    with Router() as lab:
        lab.alias(lab.client, "cl0", "10.1.0.77/24")
        d = Listener(lab, lab.dut, "tcp", 80, 81)
        sink = Sink(lab, lab.dut, 80)
        lab.dut.ip("route", "add", "blackhole", "198.18.0.0/15")
        lab.dut.sysctl("net.ipv4.tcp_syncookies", 1)
        w = Weir(lab, lab.dut)
        w.run(policy(["name: flood, per: source, count: packets, rate: 1000/s, burst: 2000",
                      "name: new, per: source, count: connections, rate: 50/s, burst: 3000"]))
        live = [Probe(lab.client, "tcp", lab.DUT[4], 80) for _ in range(n_live)]
        must(all(p.wait() == "open" for p in live), "no connections")
        forged, seconds = Forged(lab), long_or(30, 5)
        with lab.client:
            heavy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        heavy.bind(("10.1.0.77", 0))
        heavy.connect((lab.DUT[4], 80))
        start, opened, tried, sent = time.monotonic(), 0, 0, 0
        while time.monotonic() < start + seconds:
            # more than its bucket holds at once: one that is full gains nothing
            for n in range(2500 + int((time.monotonic() - start) * 4000) - sent):
                heavy.send(b"heavy")
                sent += 1
                if n % 64 == 0:  # on a slow machine these are many, and a socket holds few
                    sink.read()
            last = time.monotonic()  # what fills up after that, nobody asked for
            sink.read()
            forged.send(int(2000 / SLOW))
            tried += 1
            opened += ask(lab.client, "tcp", lab.DUT[4], 80) == "open"
        took = time.monotonic() - start
        sink.read()
        print(f"| {forged.sent} forged SYNs in {took:.1f} s: {opened} of {tried} new connections")
        check(opened >= tried * 0.95, f"new connections: {opened} of {tried}")
        within(sink.n, 1000 * (last - start) + 2000, sent, "a heavy source within the flood")
        words = []
        for i, p in enumerate(live):
            t = token("live")
            p.s.send(t)
            words.append(t)
        alive = sum(bool(d.wait(t)) for t in words)
        print(f"| {alive} of {n_live} live connections survived")
        check(alive >= n_live * 0.999, f"{alive} of {n_live} live connections survived")
        for p in live:
            p.close()
        heavy.close()


def test_detect_drops_nothing():
    """A staged limit, and a staged policy: everything arrives, and the event says what would have been."""
    for mode, staged in (("prevent", ", mode: detect"), ("detect", "")):
        with Router() as lab:
            sink = Sink(lab, lab.dut, 80)
            w = Weir(lab, lab.dut)
            w.run(policy([f"name: flood, per: source, count: packets, rate: 10/s, burst: 5{staged}",
                          f"name: new, per: all, count: connections, rate: 1/h, burst: 1{staged}"], mode=mode))
            sent = offer(lab.client, lab.DUT[4], 80, 500, 2, sink)
            equal(sink.n, sent, f"policy {mode}{staged}: what arrived")
            seen = [e for e in w.records("events") if e.get("reason") == "limit" or e.get("would") == "drop"]
            check(any("flood" in str(e.get("rule", "")) for e in seen), f"{mode}: no event of the limit: {w.records('events')[-3:]}")


def test_failsafe_and_events():
    """The failsafe is not counted; a drop names the limit, also after a policy change, which keeps the buckets."""
    with Router() as lab:
        lab.alias(lab.client, "cl0", "10.1.0.77/24")
        sink, free = Sink(lab, lab.dut, 80), Sink(lab, lab.dut, 22)
        w = Weir(lab, lab.dut)
        text = policy(["name: flood, per: all, count: packets, rate: 1/m, burst: 10"],
                      extra="failsafe: [ { name: mgmt, direction: inbound, protocol: udp, ports: 22, from: 10.1.0.77 } ]\n")
        w.run(text)
        sent = offer(lab.client, lab.DUT[4], 22, 500, 1, free, sources=("10.1.0.77",))
        equal(free.n, sent, "the failsafe")
        offer(lab.client, lab.DUT[4], 80, 200, 1, sink)
        check(9 <= sink.n <= 11, f"{sink.n} passed of a burst of 10")
        w.apply(text.replace("ports: [80, 81]", "ports: [80, 81, 82]"))
        sent = offer(lab.client, lab.DUT[4], 22, 500, 1, free, sources=("10.1.0.77",))
        before = sink.n
        offer(lab.client, lab.DUT[4], 80, 200, 1, sink)
        check(sink.n - before <= 1, f"{sink.n - before} passed after a change: the bucket was new")
        seen = [e for e in w.records("events") if e.get("reason") == "limit"]
        check(any("flood" in str(e.get("rule", "")) for e in seen), f"no event names the limit: {w.records('events')[-3:]}")


def tap_frame(mac, segments, size):
    """One frame for a tap: UDP segments that the kernel shall cut (virtio_net_hdr, GSO_UDP_L4)."""
    data = b"q" * (segments * size)
    raw = bytearray(bytes(sp.Ether(src="02:00:00:00:00:09", dst=mac) / sp.IP(src="10.9.0.2", dst="10.9.0.1")
                          / sp.UDP(sport=1234, dport=80) / sp.Raw(data)))
    pseudo = raw[26:34] + struct.pack("!BBH", 0, 17, 8 + len(data))
    raw[40:42] = struct.pack("!H", ~Forged.sum(bytes(pseudo)) & 0xffff)
    return struct.pack("<BBHHHH", 1, 5, 42, size, 34, 6) + bytes(raw)


def test_segments_of_a_tap():
    """What a guest writes to its tap as one packet counts as the datagrams that it is."""
    with Router() as lab:
        with lab.dut:
            fd = os.open("/dev/net/tun", os.O_RDWR)
            try:
                fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"tap0", 0x2 | 0x1000 | 0x4000))  # with vnet_hdr
                fcntl.ioctl(fd, 0x400454d0, 0x01 | 0x02 | 0x04 | 0x20 | 0x40)  # TUNSETOFFLOAD: checksum, TSO, USO
            except OSError as e:
                os.close(fd)
                raise Skip(f"a tap of this kernel takes no UDP segments: {e}")
        lab.on_close(lambda: os.close(fd))
        lab.dut.ip("addr", "add", "10.9.0.1/24", "dev", "tap0")
        lab.dut.ip("link", "set", "tap0", "up")
        lab.dut.ip("neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:09", "dev", "tap0")
        frame = tap_frame(lab.dut.mac("tap0"), 40, 100)
        sink = Sink(lab, lab.dut, 80)
        os.write(fd, frame)
        must(eventually(lambda: sink.read() == 40, 5), f"{sink.n} of 40 segments arrive without weir")
        w = Weir(lab, lab.dut)
        w.run(policy(["name: p, per: source, count: packets, rate: 1/h, burst: 50"]))
        sink.n = 0
        for _ in range(200):
            os.write(fd, frame)
        time.sleep(0.2)
        check(40 <= sink.read() <= 89, f"{sink.n} of 8,000 arrived with a burst of 50 (the last packet may pass it)")


def rule_limit(port, rate, burst, extra=""):
    return Policy.text(RULES + f"- {{ name: few, action: allow, direction: inbound, protocol: udp, ports: {port}, "
                       f"limit: {{ rate: {rate}, burst: {burst}, per: source }} }}\n", inbound="drop", extra=extra)


def test_rule_limit_of_a_new_daemon():
    """While a new daemon adopts what was there before, a rule's limit holds for a service on a high port."""
    with Router() as lab:
        sink, f = Sink(lab, lab.dut, 51820), Listener(lab, lab.dut, "udp", 9999)
        w = Weir(lab, lab.dut)
        w.run(rule_limit(51820, "1/h", 5))
        knock(lab, 51820, 30, lab.CLIENT[4])
        must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
        equal(sink.read(), 5, "new ones of 30 with a burst of 5")


def test_rate_raised():
    """A higher rate counts from now on: nobody pays the debt of the old one."""
    with Router() as lab:
        sink, f = Sink(lab, lab.dut, 90), Listener(lab, lab.dut, "udp", 9999)
        w = Weir(lab, lab.dut)
        w.run(rule_limit(90, "10/h", 10, "flows: { adopt_window: 1s }\n"))
        knock(lab, 90, 30, lab.CLIENT[4])
        must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
        must(10 <= sink.read() <= 11, f"{sink.n} of 30 with a burst of 10")
        w.apply(rule_limit(90, "10/m", 10, "flows: { adopt_window: 1s }\n"))
        before = sink.n

        def let_in():
            knock(lab, 90, 1, lab.CLIENT[4])
            return sink.read() > before

        check(eventually(let_in, 9), "nothing came in within 9 s at one in 6 s")


if __name__ == "__main__":
    main(globals())
