#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A SYN flood from random sources, as fast as this machine makes it, to the port that honest clients use: connections that
stand go on, newcomers get in. With and without limits. And what a sender's kernel puts together (GSO) counts as what it is."""
import ctypes
import heapq
import multiprocessing
import os
import random
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp
from test_limits import Sink, policy, within  # noqa: E402

SECONDS = long_or(30, 5)
LIVE = long_or(1000, 300)
UDP_SEGMENT = 103
BATCH, FRAMES = 512, 65536


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.c_void_p), ("iovlen", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int)]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", Msghdr), ("len", ctypes.c_uint32)]


def sum16(data):
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    s = (s & 0xffff) + (s >> 16)
    return ~(s + (s >> 16)) & 0xffff


def syns(lab, mac, dport):
    """Frames from sources all over 198.18.0.0/15 and ports, checksums right."""
    base = bytes(sp.Ether(src=mac, dst=lab.dut.mac("in0")) / sp.IP(src="198.18.0.1", dst=lab.DUT[4]) /
                 sp.TCP(sport=1234, dport=dport, flags="S", seq=1))
    rnd, out = random.Random(5), bytearray()
    for _ in range(FRAMES):
        p = bytearray(base)
        p[26:30] = struct.pack("!I", 0xc6120000 | rnd.getrandbits(17))
        p[34:36] = struct.pack("!H", rnd.randrange(1024, 65536))
        p[24:26] = p[50:52] = b"\0\0"
        p[24:26] = struct.pack("!H", sum16(bytes(p[14:34])))
        p[50:52] = struct.pack("!H", sum16(bytes(p[26:34]) + struct.pack("!HH", 6, len(p) - 34) + bytes(p[34:])))
        out += p
    return bytes(out), len(base)


def pour(frames, size, sock, sent, stop):
    """Many frames a system call, on any CPU."""
    os.sched_setaffinity(0, range(os.cpu_count()))
    libc = ctypes.CDLL(None, use_errno=True)
    buf = ctypes.create_string_buffer(frames, len(frames))
    at = ctypes.addressof(buf)
    n = len(frames) // size
    iov = (Iovec * n)(*[(at + i * size, size) for i in range(n)])
    msgs = (Mmsghdr * n)()
    for i in range(n):
        msgs[i].hdr.iov = ctypes.addressof(iov) + i * ctypes.sizeof(Iovec)
        msgs[i].hdr.iovlen = 1
    i = 0
    while not stop.value:
        r = libc.sendmmsg(sock.fileno(), ctypes.byref(msgs, i * ctypes.sizeof(Mmsghdr)), min(BATCH, n - i), 0)
        if r > 0:
            sent.value += r
            i = (i + r) % n


class SynFlood:
    def __init__(self, lab, dport):
        wire = Wire(lab, lab.client, "cl0", sniff=False)
        frames, size = syns(lab, wire.mac, dport)
        self.sent, self.stop_flag = multiprocessing.Value("Q", 0), multiprocessing.Value("b", 0)
        with lab.client:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            s.bind(("cl0", 0))
        s.setsockopt(263, 20, 1)  # PACKET_QDISC_BYPASS: straight into the device
        self.p = multiprocessing.Process(target=pour, args=(frames, size, s, self.sent, self.stop_flag), daemon=True)
        self.p.start()
        lab.on_close(self.stop)

    def stop(self):
        self.stop_flag.value = 1
        self.p.join(PATIENCE)
        return self.sent.value


def flooded(limits, what):
    with Router() as lab:
        d = Listener(lab, lab.dut, "tcp", 80)
        lab.dut.ip("route", "add", "blackhole", "198.18.0.0/15")
        lab.dut.sysctl("net.ipv4.tcp_syncookies", 1)
        w = Weir(lab, lab.dut)
        w.run(policy(limits) if limits else Policy.text("- { name: web, action: allow, direction: inbound, ports: 80 }\n",
                                                        inbound="drop", forward="drop"))
        live = [Probe(lab.client, "tcp", lab.DUT[4], 80) for _ in range(LIVE)]
        must(all(p.wait() == "open" for p in live), "no connections")
        flood = SynFlood(lab, 80)
        while not flood.sent.value:
            time.sleep(0.01)
        start, opened, tried = time.monotonic(), 0, 0
        while time.monotonic() < start + SECONDS:
            tried += 1
            opened += ask(lab.client, "tcp", lab.DUT[4], 80) == "open"
        took = time.monotonic() - start
        words = []
        for p in live:  # they have been silent all the while; the flood goes on
            t = token("live")
            p.s.send(t)
            words.append(t)
        alive = sum(bool(d.wait(t)) for t in words)
        sent = flood.stop()
        print(f"| {what}: {sent / took:,.0f} SYNs a second for {took:.1f} s; {alive} of {LIVE} idle connections live, "
              f"{opened} of {tried} new ones opened")
        must(sent > 100000 * took / max(1, SLOW * 4), f"no flood: {sent} in {took:.1f} s")
        check(alive >= LIVE * 0.999, f"{what}: {alive} of {LIVE} survived")
        check(opened >= tried * 0.95, f"{what}: {opened} of {tried} new connections")
        for p in live:
            p.close()


def test_syn_flood():
    flooded([], "no limits")


def test_syn_flood_with_limits():
    flooded(["name: flood, per: source, count: packets, rate: 1000/s, burst: 2000",
             "name: new, per: source, count: connections, rate: 200/s, burst: 3000"], "limits by source")


def test_segments_count():
    """Datagrams that one call sends as one large packet: as many as they are, at TC and behind generic XDP."""
    size, per_call = 1000, 20
    for xdp, count in (("off", "packets"), ("generic", "packets"), ("off", "bytes")):
        with Router() as lab:
            sink = Sink(lab, lab.dut, 80)
            with lab.dut:
                tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
                tap.bind(("in0", 0))
            tap.setblocking(False)
            lab.on_close(tap.close)
            rate, burst = (500, 1000) if count == "packets" else (500000, 1000000)  # a busy sender may pause
            w = Weir(lab, lab.dut)
            w.run(policy([f"name: flood, per: source, count: {count}, rate: {rate}/s, burst: {burst}"],
                         extra=f"interfaces: {{ in0: {{ xdp: {xdp} }} }}\n"))
            with lab.client:
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
            s.connect((lab.DUT[4], 80))
            start, sent, took = time.monotonic(), 0, 0
            while took < long_or(20, 10):
                took = time.monotonic() - start
                while sent < took * 2500:
                    s.send(b"x" * (size * per_call))
                    sent += per_call
                    took = time.monotonic() - start
                sink.read()
                time.sleep(0.001)
            time.sleep(0.05)
            sink.read()
            largest = 0
            try:
                while True:
                    largest = max(largest, len(tap.recv(65536)))
            except BlockingIOError:
                pass
            cut = f"the sender's kernel cut them: {largest} bytes is the largest frame"
            if largest <= size * 2 and [int(x) for x in os.uname().release.split(".")[:2]] < [6, 1]:
                raise Skip(f"{cut} (5.10 gives a veth no UDP packets of many segments)")
            must(largest > size * 2, cut)
            got = sink.n if count == "packets" else sink.bytes
            within(got, rate * took + burst, sent * (1 if count == "packets" else size + 28),
                   f"{count} in packets of {largest} bytes, XDP {xdp}")
            s.close()


def forged(lab, mac, kind, n):
    """Echo requests, UDP queries, or SYNs in turn with ACKs or answers of servers, from sources all over 198.18.0.0/15."""
    head = bytes.fromhex((lab.dut.mac("in0") + mac).replace(":", "")) + b"\x08\x00"
    proto = {"ping": 1, "ack": 6, "answer": 6}.get(kind, 17)
    for i in range(n):
        if proto == 6:
            sport, dport = 1024 + i % 60000, 80
            if kind == "answer" and i & 1:
                sport, dport = 443, sport
            flags = (16 if kind == "ack" else 18) if i & 1 else 2
            body = struct.pack("!HHIIBBHHH", sport, dport, i, i & 1, 0x50, flags, 1000, 0, 0)
            ends = struct.pack("!I4sHH", 0xc6120000 + (i & 0x1ffff), socket.inet_aton(lab.DUT[4]), 6, 20)
            body = body[:16] + struct.pack("!H", sum16(ends + body)) + body[18:]
        elif kind == "ping":
            body = struct.pack("!BBHHH", 8, 0, 0, i & 0xffff, 1)
            body = body[:2] + struct.pack("!H", sum16(body)) + body[4:]
        else:
            body = struct.pack("!HHHH4s", 1024 + i % 60000, 5300, 12, 0, b"what")
        ip = struct.pack("!BBHHHBBHI4s", 0x45, 0, 20 + len(body), i & 0xffff, 0, 64, proto, 0, 0xc6120000 + (i & 0x1ffff),
                         socket.inet_aton(lab.DUT[4]))
        yield head + ip[:10] + struct.pack("!H", sum16(ip)) + ip[12:] + body


def return_path(lab):
    """Answers to forged sources leave the dut and end at the client."""
    lab.dut.ip("route", "add", "198.18.0.0/15", "via", lab.CLIENT[4])
    lab.client.ip("route", "add", "blackhole", "198.18.0.0/15")


def test_answered_floods():
    """Forged pings, queries, ACKs and answers of servers (which a flood of SYNs lets in), every one answered, more than the
    table holds: live connections stay."""
    for kind, n in (("ping", 100000), ("udp", 100000), ("ack", 200000), ("answer", 200000)):
        with Router() as lab:
            return_path(lab)
            wire = Wire(lab, lab.client, "cl0", sniff=False)
            d = Listener(lab, lab.dut, "tcp", 80)
            Listener(lab, lab.dut, "udp", 5300)
            w = Weir(lab, lab.dut)
            w.run(Policy.text("""
                - { name: ping, action: allow, direction: inbound, icmp: echo-request }
                - { name: dns, action: allow, direction: inbound, protocol: udp, ports: 5300 }
                - { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }
                - { name: out, action: allow, direction: outbound, protocol: tcp, ports: 443 }
            """, inbound="drop", outbound="drop", forward="drop", extra="flows: { adopt_window: 1s }"))
            ended = time.monotonic() + 1
            live = [Probe(lab.client, "tcp", lab.DUT[4], 80) for _ in range(100)]
            must(all(p.wait() == "open" for p in live), "no connections")
            for frame in forged(lab, wire.mac, kind, n):
                wire.send(frame)
            eventually(lambda: time.monotonic() > ended)  # the window of adoption
            if kind in ("ack", "answer"):  # within a flood what was pushed out is taken up again: so it is counted, too
                equal(w.json("status", "stats")["counters"]["flows_promoted"], len(live), "connections of a handshake")
            words = [token("live") for _ in live]
            for p, t in zip(live, words):
                p.s.send(t)
            eventually(lambda: set(words) <= set(d.payloads(80)), 3)
            equal(len(set(words) & set(d.payloads(80))), len(live), f"{kind}: connections that live")
            for p in live:
                p.close()


def only_to(lab, addr):
    """A packet socket at the client that hears what goes to this address, and nothing of the flood."""
    code = struct.pack("=" + "HBBI" * 4, 0x20, 0, 0, 30, 0x15, 0, 1, struct.unpack("!I", socket.inet_aton(addr))[0],
                       0x06, 0, 0, 0xffff, 0x06, 0, 0, 0)  # ip daddr == addr
    buf = ctypes.create_string_buffer(code)
    with lab.client:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxQ", 4, ctypes.addressof(buf)))  # SO_ATTACH_FILTER
    s.bind(("cl0", 0x0800))
    lab.on_close(s.close)
    return s


def handshake(lab, wire, rx, src, sport, rtt):
    """A client far away, in raw packets: SYN until it is answered, and its ACK after a round trip."""
    to = sp.Ether(src=wire.mac, dst=lab.dut.mac("in0")) / sp.IP(src=src, dst=lab.DUT[4])
    for _ in range(5):
        wire.send(to / sp.TCP(sport=sport, dport=80, flags="S", seq=1000, options=[("MSS", 1460)]))
        deadline = time.monotonic() + 1
        while (left := deadline - time.monotonic()) > 0:
            rx.settimeout(left)
            try:
                got = rx.recv(200)
            except TimeoutError:
                break
            if got[23] == 6 and got[47] == 0x12 and struct.unpack("!H", got[36:38])[0] == sport:
                time.sleep(rtt)  # this is the round trip
                seq = struct.unpack("!I", got[38:42])[0]
                for _ in range(5):  # under a flood the queues of this machine lose packets that weir never sees
                    wire.send(to / sp.TCP(sport=sport, dport=80, flags="A", seq=1001, ack=(seq + 1) & 0xffffffff))
                    time.sleep(0.02)
                return True
    return False


def test_syn_flood_far_client():
    """The half-open connection of a client 0.8 s away outlives the flood around it."""
    with Router() as lab:
        return_path(lab)
        lab.dut.sysctl("net.ipv4.tcp_syncookies", 2)
        wire, far = Wire(lab, lab.client, "cl0", sniff=False), "10.1.0.99"
        lab.dut.ip("neigh", "replace", far, "lladdr", wire.mac, "dev", "in0")
        rx = only_to(lab, far)
        with lab.dut:
            heard = socket.create_server(("", 80), backlog=1000)
        lab.on_close(heard.close)
        w = Weir(lab, lab.dut)
        w.run(Policy.text("- { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }\n",
                          inbound="drop", outbound="drop", forward="drop", extra="flows: { adopt_window: 1s }"))
        ended = time.monotonic() + 1
        flood = SynFlood(lab, 80)
        must(eventually(lambda: flood.sent.value > 2 * FRAMES and time.monotonic() > ended), "no flood")
        opened = 0
        for i in range(10):
            must(handshake(lab, wire, rx, far, 20000 + i, 0.8), "no answer to a SYN")
            heard.settimeout(0.5)
            try:
                heard.accept()[0].close()
                opened += 1
            except TimeoutError:
                pass
        flood.stop()
        check(opened >= 9, f"{opened} of 10 handshakes came to their end")


class FarServer(threading.Thread):
    """A host of the server's network, in raw packets. It answers the first SYN of each conversation after a round trip, and no
    other; some copies of the answer, for under a flood the queues of this machine lose packets that weir never sees."""

    def __init__(self, lab, rtt):
        super().__init__(daemon=True)
        self.ip, self.rtt, self.asked, self.over = "10.2.0.99", rtt, set(), threading.Event()
        self.wire = Wire(lab, lab.server, "sv0")
        lab.dut.ip("neigh", "replace", self.ip, "lladdr", self.wire.mac, "dev", "out0")
        self.to = sp.Ether(src=self.wire.mac, dst=lab.dut.mac("out0"))
        self.start()
        lab.on_close(self.close)

    def run(self):
        due = []
        while not self.over.is_set():
            for p in self.wire.packets():
                who = (p[sp.IP].src, p[sp.TCP].sport) if sp.TCP in p else None
                if who and p[sp.IP].dst == self.ip and p[sp.TCP].flags == "S" and who not in self.asked:
                    self.asked.add(who)
                    answer = bytes(self.to / sp.IP(src=self.ip, dst=who[0]) /
                                   sp.TCP(sport=443, dport=who[1], flags="SA", seq=9, ack=p[sp.TCP].seq + 1))
                    for copy in range(5):
                        heapq.heappush(due, (time.monotonic() + self.rtt + 0.02 * copy, answer))
            while due and due[0][0] <= time.monotonic():
                self.wire.send(heapq.heappop(due)[1])
            self.over.wait(0.01)

    def close(self):
        self.over.set()
        self.join(PATIENCE)


def test_syn_flood_far_server():
    """What this host and those behind it open to a server 0.8 s away opens, while a flood of SYNs comes in."""
    with Router() as lab:
        return_path(lab)
        lab.dut.sysctl("net.ipv4.tcp_syncookies", 2)
        Listener(lab, lab.dut, "tcp", 80)
        w = Weir(lab, lab.dut)
        w.run(Policy.text("- { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }\n"
                          "- { name: out, action: allow, direction: [outbound, forward], protocol: tcp, ports: 443 }\n",
                          inbound="drop", outbound="drop", forward="drop", extra="flows: { adopt_window: 1s }"))
        ended = time.monotonic() + 1
        far = FarServer(lab, 0.8)  # a second SYN goes out after a second
        flood = SynFlood(lab, 80)
        must(eventually(lambda: flood.sent.value > 2 * FRAMES and time.monotonic() > ended), "no flood")
        for who, ns in (("this host", lab.dut), ("a host behind it", lab.client)):
            before = len(far.asked)
            calls = [Probe(ns, "tcp", far.ip, 443) for _ in range(20)]
            opened = sum(c.opens(4) for c in calls)
            must(len(far.asked) - before == len(calls), f"only {len(far.asked) - before} SYNs of {who} came to the server")
            check(opened >= 19, f"{opened} of {len(calls)} connections of {who} opened")
        flood.stop()


if __name__ == "__main__":
    main(globals())
