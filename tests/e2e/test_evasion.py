#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Other ways in and out than TCP and UDP sockets: raw and packet sockets, UDP-Lite, MPTCP, fast open, mapped
addresses, other protocols, frames that carry no IP. The policy holds for them all."""
import errno
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

FENCE = "    - { name: fence, action: allow, protocol: udp, ports: 9999 }\n"
CLOSED = Policy.text(FENCE, inbound="drop", outbound="drop", forward="drop")


def senders(lab, v, t):
    """(name, function that tries to send t from the dut to the server)."""
    dst, src = lab.SERVER[v], lab.DUT_OUT[v]
    fam = family_of(dst)
    ip = (sp.IP if v == 4 else sp.IPv6)(src=src, dst=dst)
    eth = sp.Ether(src=lab.dut.mac("out0"), dst=lab.server.mac("sv0"))

    def sock(kind, proto=0):
        with lab.dut:
            return socket.socket(fam, kind, proto)

    def udp(connected):
        with sock(socket.SOCK_DGRAM) as s:
            if connected:
                s.connect((dst, 80))
                s.send(t)
            else:
                s.sendto(t, (dst, 80))

    def stream(proto=0, fastopen=False):
        with sock(socket.SOCK_STREAM, proto) as s:
            s.setblocking(False)
            if fastopen:
                s.sendto(t, 0x20000000, (dst, 80))  # MSG_FASTOPEN: data in the SYN
            else:
                s.connect_ex((dst, 80))

    def udplite():
        with sock(socket.SOCK_DGRAM, 136) as s:
            s.sendto(t, (dst, 80))

    def mapped():
        with lab.dut:
            s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with s:
            s.sendto(t, ("::ffff:" + dst, 80))

    def raw(proto):
        with sock(socket.SOCK_RAW, proto) as s:
            s.sendto(t + bytes(8), (dst, 0))

    def hdrincl():
        with sock(socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
            s.sendto(bytes(ip / sp.UDP(sport=1, dport=80) / t), (dst, 0))

    def packet(bypass):
        with lab.dut:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with s:
            s.bind(("out0", 0))
            s.send(bytes(eth / ip / sp.UDP(sport=1, dport=80) / t))

    yield "udp, connected", lambda: udp(True)
    yield "udp, unconnected", lambda: udp(False)
    yield "tcp", stream
    yield "tcp fast open", lambda: stream(fastopen=True)
    yield "mptcp", lambda: stream(262)
    yield "udp-lite", udplite
    if v == 4:
        yield "v4-mapped v6 socket", mapped
    yield "raw gre", lambda: raw(47)
    yield "raw protocol 253", lambda: raw(253)
    yield "raw with own header", hdrincl
    yield "packet socket", lambda: packet(False)


def test_outbound():
    with Router() as lab:
        heard = Listener(lab, lab.server, "udp", 9999)
        for v in (4, 6):
            must(ping(lab.dut, lab.SERVER[v], 1) == 1, "no path")  # neighbours are known
        rx = Wire(lab, lab.server, "sv0")
        sent = 0
        w = Weir(lab, lab.dut)
        for phase in ("open", "closed"):
            if phase == "closed":
                w.run(CLOSED)
            for v in (4, 6):
                for name, send in senders(lab, v, t := token("out")):
                    rx.frames()
                    try:
                        send()
                        sent += 1
                    except OSError as e:
                        # told to the sender at once, or a kind of socket that this kernel has not
                        if e.errno not in (errno.ENOBUFS, errno.EPERM, errno.EACCES, errno.EPROTONOSUPPORT,
                                           errno.EINPROGRESS, errno.ECONNREFUSED, errno.EHOSTUNREACH):
                            raise
                        if e.errno == errno.EPROTONOSUPPORT:
                            continue
                    must(fence(lab.dut, lab.SERVER[v], heard, 9999), "fence")
                    got = [f for f in rx.frames() if b"fence-" not in f and f[12:14] in (b"\x08\x00", b"\x86\xdd")
                           and not (f[12:14] == b"\x86\xdd" and 58 in (f[20], f[54] if f[20] == 0 else 0))  # ND, MLD
                           and not (f[12:14] == b"\x08\x00" and f[23] == 1)]
                    if phase == "open":
                        must(got, f"v{v} {name}: not even without weir does it arrive")
                    else:
                        equal(len(got), 0, f"v{v} {name}: frames that left")


def test_inbound_protocols():
    """A default drop means every IP protocol, not only those with ports."""
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 80, 9999)
        protos = (0x2f, 4, 41, 132, 136, 33, 50, 89, 103, 253)
        with lab.dut:
            raw = {}
            for p in protos:
                for fam in (socket.AF_INET, socket.AF_INET6):
                    try:
                        raw[p, fam] = socket.socket(fam, socket.SOCK_RAW, p)
                        raw[p, fam].setblocking(False)
                    except OSError:
                        continue
        tx = Wire(lab, lab.client, "cl0", sniff=False)
        eth = sp.Ether(src=tx.mac, dst=lab.dut.mac("in0"))
        w = Weir(lab, lab.dut)

        def arrived():
            for p in protos:
                body = struct.pack("!HHHH", 1000, 80, 0, 0) + b"looks like udp to 80"
                tx.send(eth / sp.IP(src=lab.CLIENT[4], dst=lab.DUT[4], proto=p) / body,
                        eth / sp.IPv6(src=lab.CLIENT[6], dst=lab.DUT[6], nh=p) / body)
            must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
            out = set()
            for (p, fam), s in raw.items():
                try:
                    while s.recv(4096):
                        out.add((p, fam == socket.AF_INET))
                except OSError:
                    pass
            return out

        must(len(arrived()) > len(protos), "raw sockets hear nothing without weir")
        w.run(CLOSED)
        equal(arrived(), set(), "(protocol, is v4) that arrived under default drop")
        w.apply(Policy.text(FENCE + "    - { name: gre, action: allow, protocol: [47, ospf] }\n", inbound="drop",
                            outbound="drop", forward="drop"))
        check({p for p, _ in arrived()} == {47, 89}, "allowed by protocol number and name")
        for s in raw.values():
            s.close()


def test_unknown_l2():
    """Frames that carry no IP: packets.unknown_l2 decides; ARP is the failsafe's."""
    frames = {"0x88b5": (0x88b5, b"local experimental"), "lldp": (0x88cc, b"\x02\x07\x04"), "mpls": (0x8847, b"\x00\x01\x41\x40"),
              "pppoe discovery": (0x8863, b"\x11\x09\x00\x00\x00\x00")}
    for how, may in (("pass", True), ("drop", False)):
        with Bridge() as lab:
            heard = Listener(lab, lab.server, "udp", 9999)
            tx, rx = Wire(lab, lab.client, "cl0", sniff=False), Wire(lab, lab.server, "sv0")
            must(ping(lab.client, lab.SERVER[4], 1) == 1, "no path")
            Weir(lab, lab.dut).run(Policy.text(FENCE, inbound="drop", outbound="drop", forward="drop",
                                               extra=f"packets: {{ unknown_l2: {how} }}"))
            for name, (kind, head) in frames.items():
                t = token("l2")
                tx.send(sp.Ether(src=tx.mac, dst=rx.mac, type=kind) / sp.Raw(head + t + bytes(40)))
                must(fence(lab.client, lab.SERVER[4], heard, 9999), "fence")
                equal(any(t in f for f in rx.frames()), may, f"unknown_l2: {how}: {name} delivered")
            # IP inside of PPPoE is IP: no way around the rules
            for proto, ip in ((0x0021, sp.IP(src="10.5.0.2", dst="10.5.0.3")), (0x0057, sp.IPv6(src="fd05::2", dst="fd05::3"))):
                t = token("pppoe")
                inner = bytes(ip / sp.UDP(sport=1, dport=80) / t)
                tx.send(sp.Ether(src=tx.mac, dst=rx.mac, type=0x8864) /
                        sp.Raw(struct.pack("!BBHHH", 0x11, 0, 1, len(inner) + 2, proto) + inner))
                must(fence(lab.client, lab.SERVER[4], heard, 9999), "fence")
                check(not any(t in f for f in rx.frames()), f"unknown_l2: {how}: IP in PPPoE to a denied port delivered")
            lab.client.ip("neigh", "flush", "dev", "cl0")
            check(fence(lab.client, lab.SERVER[4], heard, 9999), f"unknown_l2: {how}: ARP died")


def test_bridge_group_address():
    """What a bridge does not bridge, whatever is in it, gets to the stack of its port, not by way of the bridge."""
    with Bridge() as lab:
        heard = Listener(lab, lab.dut, "udp", 5000, 9999)
        tx = Wire(lab, lab.client, "cl0", sniff=False)

        def put(last, v, port):
            t = token(f"group{last:x}v{v}")
            tx.send(sp.Ether(src=tx.mac, dst=f"01:80:c2:00:00:{last:02x}") / (sp.IP if v == 4 else sp.IPv6)(
                src=lab.CLIENT[v], dst=lab.DUT[v]) / sp.UDP(sport=4000, dport=port) / t)
            return t

        check(heard.wait(put(0xe, 4, 5000)), "without weir it arrives (if not: this test shows nothing)")
        Weir(lab, lab.dut).run(CLOSED)
        for stp in (0, 1):
            lab.dut.ip("link", "set", "br0", "type", "bridge", "stp_state", stp)
            for v in (4, 6):
                denied = [put(last, v, 5000) for last in range(16)]
                check(heard.wait(put(0xe, v, 9999)), f"v{v}: an allowed port by a group address")
                must(fence(lab.client, lab.DUT[v], heard, 9999), "fence")
                came = [t for t in denied if t in heard.payloads(5000)]
                equal(came, [], f"v{v}, stp {stp}: denied, by a group address, delivered")


def test_mark_and_mac():
    """F7: rules by the mark that another program put on the packet, and by the source MAC."""
    with Router() as lab:
        lab.nft("""
            table inet wtmark {
                chain out { type filter hook output priority mangle;
                    udp dport 85 meta mark set 0x10
                }
            }""")
        at = Listener(lab, lab.server, "udp", 85, 86, 9999)
        here = Listener(lab, lab.dut, "udp", 87, 88, 9999)
        w = Weir(lab, lab.dut)
        mac, other = lab.client.mac("cl0"), "02:00:00:00:00:99"
        w.run(Policy.text(FENCE + f"""
    - {{ name: marked, action: allow, direction: outbound, mark: 0x10/0xff, ports: [85, 86] }}
    - {{ name: his, action: allow, direction: inbound, mac: "{mac}", ports: 87 }}
    - {{ name: not his, action: allow, direction: inbound, mac: "{other}", ports: 88 }}
""", inbound="drop", outbound="drop", forward="drop"))
        for v in (4, 6):
            equal(ask(lab.dut, "udp", lab.SERVER[v], 85), "open", f"v{v}: marked")
            p = Probe(lab.dut, "udp", lab.SERVER[v], 86)
            must(fence(lab.dut, lab.SERVER[v], at, 9999), "fence")
            equal(at.payloads(86), [], f"v{v}: not marked, delivered")
            p.close()
            equal(ask(lab.client, "udp", lab.DUT[v], 87), "open", f"v{v}: his MAC")
            p = Probe(lab.client, "udp", lab.DUT[v], 88)
            must(fence(lab.client, lab.DUT[v], here, 9999), "fence")
            equal(here.payloads(88), [], f"v{v}: another MAC, delivered")
            p.close()


def icmp_case(lab, direction):
    wire = Wire(lab, lab.client, "cl0")
    heard = Listener(lab, lab.dut, "udp", 9999)

    def answers(icmp):
        """What the dut says to it."""
        wire.frames()
        wire.send(sp.Ether(src=wire.mac, dst=lab.dut.mac("in0")) / sp.IP(src=lab.CLIENT[4], dst=lab.DUT[4]) / icmp)
        must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        return [p[sp.ICMP].type for p in wire.packets() if sp.ICMP in p and p[sp.IP].src == lab.DUT[4]
                and p[sp.ICMP].type in (0, 14)]

    equal(answers(sp.ICMP(type=13, id=7)), [14], "a timestamp without weir")
    Weir(lab, lab.dut).run(Policy.text(FENCE + f"    - {{ name: ping, action: allow, direction: {direction}, "
                                       "icmp: echo-request }\n", inbound="drop", outbound="drop", forward="drop"))
    return wire, answers


def test_ping_id_0():
    """A ping opens nothing but its answer, whatever its id is."""
    with Router() as lab:
        _, answers = icmp_case(lab, "inbound")
        equal(answers(sp.ICMP(type=13, id=7)), [], "a timestamp before any ping")
        for number in (5, 0):
            equal(answers(sp.ICMP(type=8, id=number)), [0], f"a ping with id {number}")
            for kind, other in ((13, 7), (13, number), (17, 0)):
                equal(answers(sp.ICMP(type=kind, id=other)), [], f"type {kind} id {other} after the id {number}")


def test_ping_back():
    """Who is pinged may answer, not ping with the same id."""
    with Router() as lab:
        wire, answers = icmp_case(lab, "outbound")
        equal(answers(sp.ICMP(type=8, id=77)), [], "a ping before any")
        with lab.dut, socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
            s.settimeout(PATIENCE)
            wire.frames()
            s.sendto(bytes(sp.ICMP(type=8, id=77, seq=1)), (lab.CLIENT[4], 0))
            must(wire.expect(lambda p: sp.ICMP in p and (p[sp.ICMP].type, p[sp.ICMP].id) == (8, 77)), "no ping outward")
            got = s.recv(200)
            while got[20] != 0:
                got = s.recv(200)
        equal(answers(sp.ICMP(type=8, id=77)), [], "the pinged one pings back")


if __name__ == "__main__":
    main(globals())
