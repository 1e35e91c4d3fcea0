#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""IPv6 extension headers in many orders in front of a UDP header: a denied port gets nothing, an allowed one
gets what Linux itself accepts (the same packets are sent first without weir)."""
import itertools
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

RULES = """
    - { name: fence, action: allow, protocol: udp, ports: 9999 }
    - { name: yes, action: allow, protocol: udp, ports: 80 }
"""

HBH, ROUTING, FRAGMENT, AH, DST = 0, 43, 44, 51, 60
# each header: its type, and the body after "next header" (the fragment header carries a fresh id)
UNKNOWN_SKIP = bytes([0x1e, 4, 1, 2, 3, 4])  # an option that nobody knows, "skip over it": not padding only
HEADERS = {
    "hbh": (HBH, bytes([0]) + UNKNOWN_SKIP),
    "dst": (DST, bytes([0]) + UNKNOWN_SKIP),
    "dst16": (DST, bytes([1, 0x1e, 12]) + bytes(12)),
    "rh": (ROUTING, bytes([0, 4, 0, 0, 0, 0, 0])),       # segment routing, no segments left
    "rh253": (ROUTING, bytes([0, 253, 0, 0, 0, 0, 0])),  # experimental type, no segments left
    "ah": (AH, bytes([4, 0, 0]) + struct.pack("!II", 0x1234, 1) + bytes(12)),  # length in units of 4
    "frag": (FRAGMENT, None),                            # atomic: offset 0, no more
}
_ids = itertools.count(0x10000)


def chain(src, dst, names, port, payload, nh=17):
    """Ethernet payload: IPv6, the named headers in order, UDP."""
    udp = bytes(sp.IPv6(bytes(sp.IPv6(src=src, dst=dst) / sp.UDP(sport=1000, dport=port) / payload))[sp.UDP])
    kinds = [HEADERS[n][0] for n in names]
    after = kinds[1:] + [nh]
    body = b""
    for n, nxt in zip(names, after):
        rest = HEADERS[n][1]
        if rest is None:
            rest = bytes([0, 0, 0]) + struct.pack("!I", next(_ids))
        body += bytes([nxt]) + rest
    return sp.IPv6(src=src, dst=dst, nh=kinds[0] if kinds else nh) / sp.Raw(body + udp)


def chains():
    names = list(HEADERS)
    yield ()
    for n in (1, 2):
        yield from itertools.permutations(names, n)
    yield from itertools.islice(itertools.permutations(("hbh", "dst", "rh", "frag"), 3), long_or(99, 12))
    yield ("hbh", "dst", "rh", "frag", "ah", "dst16")
    yield ("hbh", "dst", "rh", "frag", "dst16")
    yield ("dst",) * 8
    yield ("dst",) * 9
    yield ("frag", "frag")
    yield ("dst16",) * 6


def deliver(lab, wire, addr, port, heard):
    sent = {}
    for names in chains():
        payload = token("ext")
        sent[payload] = names
        wire.send(sp.Ether(src=wire.mac, dst=lab.dut.mac("in0")) / chain(lab.CLIENT[6], addr, names, port, payload))
    must(fence(lab.client, addr, heard, 9999), "fence")
    return {sent[p] for p in heard.payloads(port) if p in sent}


def test_chains():
    for where in ("inbound", "forward"):
        with Router() as lab:
            ns, addr = (lab.dut, lab.DUT[6]) if where == "inbound" else (lab.server, lab.SERVER[6])
            heard = Listener(lab, ns, "udp", 80, 82, 9999, answer=False)
            wire = Wire(lab, lab.client, "cl0", sniff=False)
            must(ping(lab.client, addr, 1) == 1, "no path")
            bare = deliver(lab, wire, addr, 80, heard)
            must(() in bare and ("dst",) in bare, f"without weir nothing arrives: {bare}")
            Weir(lab, lab.dut).run(Policy.text(RULES, inbound="drop", outbound="drop", forward="drop"))
            heard.clear()
            got = deliver(lab, wire, addr, 80, heard)
            equal(got - bare, set(), f"{where}: delivered only with weir")
            # what weir calls malformed it may refuse although Linux is lenient: too many headers, a second
            # fragment header, hop-by-hop options that do not stand first
            lost = {c for c in bare - got if len(c) <= 6 and c.count("frag") < 2 and "hbh" not in c[1:]}
            equal(lost, set(), f"{where}: allowed, delivered without weir but not with it")
            heard.clear()
            equal(deliver(lab, wire, addr, 82, heard), set(), f"{where}: denied port, delivered")


def test_unknown_next_header():
    """A protocol that is no UDP but looks like it: the bytes must not be read as ports of an allowed rule."""
    import socket
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 80, 9999, answer=False)
        with lab.dut:
            raw = {n: socket.socket(socket.AF_INET6, socket.SOCK_RAW, n) for n in (47, 99, 132, 253)}
        for s in raw.values():
            s.setblocking(False)
        wire = Wire(lab, lab.client, "cl0", sniff=False)
        Weir(lab, lab.dut).run(Policy.text(RULES, inbound="drop", outbound="drop", forward="drop"))
        for nh in raw:
            for names in ((), ("dst",), ("hbh", "dst")):
                wire.send(sp.Ether(src=wire.mac, dst=lab.dut.mac("in0")) /
                          chain(lab.CLIENT[6], lab.DUT[6], names, 80, token("nh"), nh=nh))
        must(fence(lab.client, lab.DUT[6], heard, 9999), "fence")
        for nh, s in raw.items():
            got = 0
            try:
                while s.recv(4096):
                    got += 1
            except BlockingIOError:
                pass
            equal(got, 0, f"packets of protocol {nh} that an allow for udp port 80 let in")
            s.close()


if __name__ == "__main__":
    main(globals())
