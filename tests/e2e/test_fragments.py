#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fragments in any order: to an allowed port they are delivered, to a denied port never. What Linux itself
refuses (an overlap) may stay refused: the same datagrams are sent first without weir, for comparison."""
import itertools
import os
import random
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

RULES = """
    - { name: fence, action: allow, protocol: udp, ports: 9999 }
    - { name: yes, action: allow, protocol: udp, ports: 80 }
"""
_ident = itertools.count(0x1000)


def datagram(v, src, dst, port, payload):
    """The bytes of a UDP datagram with a right checksum."""
    ip = sp.IP(src=src, dst=dst) if v == 4 else sp.IPv6(src=src, dst=dst)
    udp = sp.UDP(sport=1000, dport=port) / payload
    whole = (sp.IP if v == 4 else sp.IPv6)(bytes(ip / udp))
    return bytes(whole[sp.UDP])


def fragment(v, src, dst, ident, data, start, end, last):
    """Bytes start..end of the datagram as one fragment; start is a multiple of 8."""
    if v == 4:
        return sp.IP(src=src, dst=dst, id=ident & 0xffff, proto=17, frag=start // 8,
                     flags=0 if last else "MF") / data[start:end]
    return (sp.IPv6(src=src, dst=dst) / sp.IPv6ExtHdrFragment(nh=17, id=ident, offset=start // 8, m=0 if last else 1)
            / sp.Raw(data[start:end]))


def cuts(data, n):
    step = len(data) // n // 8 * 8
    at = [i * step for i in range(n)] + [len(data)]
    return list(zip(at, at[1:]))


def shapes(v, src, dst, port):
    """(name, payload, fragments in the order in which they are sent)."""
    for name, n, order in (("2 in order", 2, (0, 1)), ("2 reversed", 2, (1, 0)), ("2, first twice", 2, (0, 0, 1)),
                           ("2, last twice", 2, (1, 1, 0)), ("3 in order", 3, (0, 1, 2)),
                           ("3 reversed", 3, (2, 1, 0)), ("3, first last", 3, (1, 2, 0)),
                           ("3, middle last", 3, (0, 2, 1))):
        payload = token("frag") + b"." * 80
        data = datagram(v, src, dst, port, payload)
        ident = next(_ident)
        c = cuts(data, n)
        yield name, payload, [fragment(v, src, dst, ident, data, *c[i], c[i][1] == len(data)) for i in order]
    payload = token("frag") + b"." * 80
    data = datagram(v, src, dst, port, payload)
    ident = next(_ident)
    yield "overlap by 8", payload, [fragment(v, src, dst, ident, data, 0, 40, False),
                                    fragment(v, src, dst, ident, data, 32, len(data), True)]
    # the second says that the first 8 bytes (the UDP header) are those of the allowed port
    other = datagram(v, src, dst, 80, payload)
    ident = next(_ident)
    yield "overlapping header", payload, [fragment(v, src, dst, ident, data, 0, 40, False),
                                          fragment(v, src, dst, ident, other, 0, 40, False),
                                          fragment(v, src, dst, ident, data, 40, len(data), True)]
    ident = next(_ident)
    yield "two first fragments, allowed one first", payload, [
        fragment(v, src, dst, ident, other, 0, 40, False), fragment(v, src, dst, ident, data, 0, 40, False),
        fragment(v, src, dst, ident, data, 40, len(data), True)]
    ident = next(_ident)
    yield "8-byte first fragment", payload, [fragment(v, src, dst, ident, data, 0, 8, False),
                                             fragment(v, src, dst, ident, data, 8, len(data), True)]


def deliver(lab, wire, dst_mac, v, addrs, port, heard):
    """Names of the shapes whose payload the listener got whole."""
    out = set()
    for name, payload, frags in shapes(v, lab.CLIENT[v], addrs[v], port):
        heard.clear()
        wire.send(*[sp.Ether(src=wire.mac, dst=dst_mac) / f for f in frags])
        must(fence(lab.client, addrs[v], heard, 9999), "fence")
        if payload in heard.payloads(port):
            out.add(name)
        elif heard.payloads(port):
            out.add(f"{name}: something else")
    return out


def compare(extra=""):
    for where in ("inbound", "forward"):
        with Router() as lab:
            ns, addrs = (lab.dut, lab.DUT) if where == "inbound" else (lab.server, lab.SERVER)
            heard = Listener(lab, ns, "udp", 80, 82, 9999, answer=False)
            wire = Wire(lab, lab.client, "cl0", sniff=False)
            mac = lab.dut.mac("in0")
            for v in (4, 6):
                must(ping(lab.client, addrs[v], 1) == 1, "no path")
            bare = {v: deliver(lab, wire, mac, v, addrs, 80, heard) for v in (4, 6)}
            w = Weir(lab, lab.dut)
            w.run(Policy.text(RULES, inbound="drop", outbound="drop", forward="drop", extra=extra))
            yield lab, w, where, addrs, heard, wire, mac, bare


def test_any_order():
    for lab, w, where, addrs, heard, wire, mac, bare in compare():
        for v in (4, 6):
            got = deliver(lab, wire, mac, v, addrs, 80, heard)
            missing = bare[v] - got
            if where == "forward":
                # a router cannot judge a later fragment before its first: dropped with the reason frag_no_first
                missing = {m for m in missing if not ("reversed" in m or "last twice" in m or "first last" in m)}
            equal(missing, set(), f"{where} v{v}: allowed, delivered without weir but not with it")
            equal(got - bare[v], set(), f"{where} v{v}: delivered only with weir")
            must("2 in order" in got and "3 in order" in got, f"{where} v{v}: fragments do not pass at all: {got}")
            if where == "inbound":
                check("3 reversed" in got, f"{where} v{v}: reversed fragments do not pass")
            equal(deliver(lab, wire, mac, v, addrs, 82, heard), set(), f"{where} v{v}: denied port, delivered")


def test_fragments_drop():
    """packets: { fragments: drop } refuses them all, and only them."""
    for lab, w, where, addrs, heard, wire, mac, _ in compare("packets: { fragments: drop }"):
        for v in (4, 6):
            equal(deliver(lab, wire, mac, v, addrs, 80, heard), set(), f"{where} v{v}: delivered")


def test_random_cuts():
    """Random cuts in random order with duplicates, to the denied port: not one byte arrives."""
    rnd = random.Random(7)
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 80, 82, 9999, answer=False)
        wire = Wire(lab, lab.client, "cl0", sniff=False)
        Weir(lab, lab.dut).run(Policy.text(RULES, inbound="drop", outbound="drop", forward="drop"))
        allowed = []
        for _ in range(times(1000, 150)):
            v, port = rnd.choice((4, 6)), rnd.choice((80, 82, 82))
            payload = token("cut") + b"." * rnd.randrange(200)
            data = datagram(v, lab.CLIENT[v], lab.DUT[v], port, payload)
            at = sorted({0, *(8 * rnd.randrange(1, len(data) // 8 + 1) for _ in range(rnd.randrange(1, 5)))})
            at = [a for a in at if a < len(data)] + [len(data)]
            ident = next(_ident)
            frags = [fragment(v, lab.CLIENT[v], lab.DUT[v], ident, data, a, b, b == len(data))
                     for a, b in zip(at, at[1:])]
            rnd.shuffle(frags)
            wire.send(*[sp.Ether(src=wire.mac, dst=lab.dut.mac("in0")) / f for f in frags])
            if port == 80:
                allowed.append(payload)
        for v in (4, 6):
            must(fence(lab.client, lab.DUT[v], heard, 9999), "fence")
        equal(heard.payloads(82), [], "delivered to the denied port")
        got = set(heard.payloads(80))
        equal(sum(p not in got for p in allowed), 0, f"of {len(allowed)} allowed datagrams, lost")


def test_translated():
    """The first datagram of a conversation comes in pieces and is translated: rules still see its opener."""
    with Router() as lab:
        lab.masquerade()
        lab.alias(lab.client, "cl0", "10.1.0.3/24", "fd01::3/64")
        heard = Listener(lab, lab.server, "udp", 80, 9999)
        w = Weir(lab, lab.dut)
        w.run(Policy.text("""
    - { name: fence, action: allow, protocol: udp, ports: 9999 }
    - { name: not him, action: drop, from: [10.1.0.3, "fd01::3"] }
    - { name: yes, action: allow, direction: forward, from: [10.1.0.2, "fd01::2"], ports: 80 }
""", inbound="drop", forward="drop"))
        for v, other in ((4, "10.1.0.3"), (6, "fd01::3")):
            for src in (lab.CLIENT[v], other):
                with lab.client, socket.socket(family_of(src), socket.SOCK_DGRAM) as s:
                    s.bind((src, 0))
                    s.sendto(token("big") + bytes(3000), (lab.SERVER[v], 80))
                must(fence(lab.client, lab.SERVER[v], heard, 9999), "fence")
                equal(len(heard.payloads(80)), int(src != other), f"v{v}: from {src}, delivered")
                heard.clear()


def test_held():
    """A first fragment waits for the rest while its sender fills every note of the ingress with an allowed
    conversation of his: it must not pass for that one."""
    with Router() as lab:
        lab.containers()
        lab.publish(8080, 80)
        heard = Listener(lab, lab.container, "udp", 80, 82)
        fences = Listener(lab, lab.dut, "udp", 9999)
        w = Weir(lab, lab.dut)
        w.run(Policy.text("""
    - { name: fence, action: allow, protocol: udp, ports: 9999 }
    - { name: web, action: allow, direction: inbound, protocol: udp, ports: 8080 }
""", inbound="drop", outbound="drop", forward="drop"))
        wire = Wire(lab, lab.client, "cl0", sniff=False)
        eth = sp.Ether(src=wire.mac, dst=lab.dut.mac("in0"))
        for v in (4, 6):
            src, to = lab.CLIENT[v], lab.CONTAINER[v]
            equal(ask(lab.client, "udp", lab.DUT[v], 8080), "open", f"v{v}: published")
            data = datagram(v, src, to, 82, b"x" * 80)
            ident = next(_ident)
            wire.send(eth / fragment(v, src, to, ident, data, 0, 40, False))
            ip = sp.IP(src=src, dst=lab.DUT[v]) if v == 4 else sp.IPv6(src=src, dst=lab.DUT[v])
            cover = bytes(eth / ip / sp.UDP(sport=5556, dport=8080) / b"x")
            for _ in range(40000):
                wire.send(cover)
            wire.send(eth / fragment(v, src, to, ident, data, 40, len(data), True))
            must(fence(lab.client, lab.DUT[v], fences, 9999), "fence")
            equal(heard.payloads(82), [], f"v{v}: delivered to a port that is not published")


def test_failsafe():
    """What a failsafe entry lets in comes in pieces, too, though its source is banned, listed or above a limit."""
    for what, extra in (("ban", ""), ("blocklist", "sets: { bad: { addresses: [10.1.0.2] } }\nblocklists: [$bad]\n"),
                        ("limit", "limits: [ { name: flood, per: source, count: packets, rate: 1/h, burst: 3 } ]\n")):
        with Router() as lab:
            heard = Listener(lab, lab.dut, "udp", 5000, 9999, answer=False)
            w = Weir(lab, lab.dut)
            w.run(Policy.text(RULES, inbound="drop", forward="drop", extra=extra +
                              "failsafe: [ { name: mgmt, direction: inbound, from: 10.1.0.2 } ]\n"))
            if what == "ban":
                w("ban", "add", lab.CLIENT[4])
            for size in [100, 4000] * 10:
                Probe(lab.client, "udp", lab.DUT[4], 5000, payload=b"y" * size).close()
            must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
            sizes = [len(x) for x in heard.payloads(5000)]
            equal((sizes.count(100), sizes.count(4000)), (10, 10), f"{what}: small and large datagrams of 10 each")


if __name__ == "__main__":
    main(globals())
