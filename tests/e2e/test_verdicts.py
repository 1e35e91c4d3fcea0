#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""allow, drop and reject: inbound, outbound and forward; TCP, UDP and ICMP; IPv4 and IPv6.

Ports of every host: 80 allowed, 81 rejected, 82 dropped, 83 left to the default; 9999 is the fence.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, checksums_valid, sp

REFUSED = ("refused", "unreachable", "prohibited")

RULES = """
    - { name: fence, action: allow, protocol: udp, ports: 9999 }
    - { name: yes, action: allow, ports: 80 }
    - { name: no, action: reject, ports: 81 }
    - { name: away, action: drop, ports: 82 }
"""


def paths(lab):
    """(direction, who asks, whom) for every direction of the dut."""
    return (("inbound", lab.client, lab.dut, lab.DUT), ("outbound", lab.dut, lab.server, lab.SERVER),
            ("forward", lab.client, lab.server, lab.SERVER))


def listen(lab):
    return {ns: {p: Listener(lab, ns, p, 80, 81, 82, 83, *([9999] if p == "udp" else [])) for p in ("tcp", "udp")}
            for ns in (lab.dut, lab.server)}


def test_tcp_udp():
    with Router() as lab:
        at = listen(lab)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(RULES, inbound="drop", outbound="drop", forward="drop"))
        for direction, src, dst, addrs in paths(lab):
            for v in (4, 6):
                for proto in ("tcp", "udp"):
                    what = f"{direction} {proto} v{v}"
                    heard = at[dst][proto]
                    heard.clear()
                    equal(ask(src, proto, addrs[v], 80), "open", f"{what}: allow")
                    word = ask(src, proto, addrs[v], 81)
                    check(word == "refused" if proto == "tcp" else word in REFUSED, f"{what}: reject gave {word}")
                    silent = [Probe(src, proto, addrs[v], port) for port in (82, 83)]
                    must(fence(src, addrs[v], at[dst]["udp"], 9999), f"{what}: the allowed port gets nothing")
                    for p, port in zip(silent, (82, 83)):
                        check(p.quiet(), f"{what}: port {port} is not silent: {p.wait(0)}")
                        p.close()
                    for port in (81, 82, 83):
                        equal(heard.payloads(port), [], f"{what}: port {port} heard")
                    if proto == "tcp":
                        equal(heard.accepted, 1, f"{what}: connections accepted")


def test_reject_on_the_wire():
    """The RST comes at once, fits the SYN, and its checksum is right even where no driver repairs it."""
    need("ethtool")
    with Router() as lab:
        for ns, dev in ((lab.client, "cl0"), (lab.dut, "in0"), (lab.dut, "out0"), (lab.server, "sv0")):
            ns.sh("ethtool", "-K", dev, "tx", "off")
        listen(lab)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(RULES, inbound="drop", outbound="drop", forward="drop"))
        wire = Wire(lab, lab.client, "cl0")
        for direction, src, _, addrs in paths(lab):
            if src is not lab.client:
                continue
            for v in (4, 6):
                wire.packets()
                ask(src, "tcp", addrs[v], 81)
                seen = [p for p in wire.packets(incoming=False) if sp.TCP in p]
                syns = [p for p in seen if p[sp.TCP].flags == "S"]
                rsts = [p for p in seen if "R" in p[sp.TCP].flags]
                what = f"{direction} v{v}"
                equal(len(syns), 1, f"{what}: SYNs that it took to be refused")
                if not check(len(rsts) == 1, f"{what}: {len(rsts)} RST came"):
                    continue
                check(checksums_valid(rsts[0]), f"{what}: bad checksum in {rsts[0].summary()}")
                equal(rsts[0][sp.TCP].ack, (syns[0][sp.TCP].seq + 1) & 0xffffffff, f"{what}: RST acknowledges")
                ask(src, "udp", addrs[v], 81)
                icmp = [p for p in wire.packets() if sp.ICMP in p or sp.ICMPv6DestUnreach in p]
                if check(len(icmp) == 1, f"{what}: {len(icmp)} ICMP errors for UDP"):
                    check(checksums_valid(icmp[0]), f"{what}: bad checksum in {icmp[0].summary()}")


def test_reject_nobody():
    """No answer to an address that is no single host that could have asked."""
    with Router() as lab:
        listen(lab)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(RULES, inbound="drop", outbound="drop", forward="drop"))
        wire = Wire(lab, lab.client, "cl0")
        eth = sp.Ether(src=wire.mac, dst=lab.dut.mac("in0"))
        all_ones = sp.Ether(src=wire.mac, dst="ff:ff:ff:ff:ff:ff")
        for v, ip, nobody in ((4, sp.IP, ("0.0.0.0", "127.0.0.1", "240.0.0.1")), (6, sp.IPv6, ("::", "::1"))):
            dst = lab.DUT[v]
            for l4 in (sp.UDP(sport=700, dport=81) / b"x", sp.TCP(sport=700, dport=81, flags="S", seq=1)):
                wire.packets()
                wire.send(*(eth / ip(src=a, dst=dst) / l4 for a in nobody), all_ones / ip(src=lab.CLIENT[v], dst=dst) / l4)
                # what the same hook answers afterwards is the fence
                wire.send(eth / ip(src=lab.CLIENT[v], dst=dst) / sp.UDP(sport=701, dport=81) / b"x")
                seen = []

                def fenced(p):
                    if ip in p and p[ip].src == dst and not any("ICMPv6ND" in x.__name__ for x in p.layers()):
                        seen.append(p)
                        return b"\x02\xbd\x00Q" in bytes(p)  # ports 701 and 81, quoted

                must(wire.expect(fenced) is not None, f"v{v}: no answer to an honest packet")
                equal([p.summary() for p in seen[:-1]], [], f"v{v}: answers")


def test_icmp():
    with Router() as lab:
        at = listen(lab)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(RULES + "    - { name: ping, action: allow, icmp: echo-request }", inbound="drop",
                          outbound="drop", forward="drop"))
        for direction, src, _, addrs in paths(lab):
            for v in (4, 6):
                equal(ping(src, addrs[v]), 3, f"{direction} v{v}: answers to ping, allowed")
        w.apply(Policy.text(RULES, inbound="drop", outbound="drop", forward="drop"))
        for direction, src, dst, addrs in paths(lab):
            for v in (4, 6):
                heard = Wire(lab, dst, {"inbound": "in0"}.get(direction, "sv0"))
                ask_ping = ping(src, addrs[v], timeout=0.01)
                must(fence(src, addrs[v], at[dst]["udp"], 9999), "fence")
                equal(ask_ping, 0, f"{direction} v{v}: answers to ping, dropped")
                if direction != "inbound":  # a sniffer in the dut sits before the filter
                    got = [p for p in heard.packets() if sp.ICMP in p or sp.ICMPv6EchoRequest in p]
                    equal(got, [], f"{direction} v{v}: pings that arrived")
        w.apply(Policy.text(RULES + "    - { name: no ping, action: reject, icmp: echo-request }", inbound="drop",
                            outbound="drop", forward="drop"))
        wire = Wire(lab, lab.client, "cl0")
        for direction, src, _, addrs in paths(lab)[::2]:
            for v in (4, 6):
                ping(src, addrs[v], count=1, timeout=0.01)
                err = wire.expect(lambda p: sp.ICMPv6DestUnreach in p or (sp.ICMP in p and p[sp.ICMP].type == 3))
                check(err, f"{direction} v{v}: no ICMP error for a rejected ping")


if __name__ == "__main__":
    main(globals())
