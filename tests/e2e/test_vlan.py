#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""VLAN and QinQ, with the tag in the frame and in the metadata of the packet (ethtool rxvlan/txvlan).

On a bridge in the dut tagged frames are forwarded as they are; where the kernel has VLAN devices the dut
also ends the VLAN. A denied VLAN delivers nothing."""
import itertools
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

RULES = """
    - { name: fence, action: allow, protocol: udp, ports: 9999 }
    - { name: ten, action: allow, direction: forward, vlan: 10, protocol: udp, ports: 80 }
    - { name: not twenty, action: drop, direction: forward, vlan: 20 }
    - { name: any web of thirty, action: allow, direction: forward, vlan: 30, ports: [80, 81] }
"""

# tags, port, whether it may pass under a default drop
CASES = (
    ((10,), 80, True), ((10,), 81, False), ((20,), 80, False), ((30,), 81, True), ((40,), 80, False),
    ((), 80, False), ((0,), 80, False), ((4095,), 80, False), ((10, 20, 30), 80, False),
)


def frame(src, dst, v, tags, port, payload, outer=0x8100):
    f = sp.Ether(src=src, dst=dst)
    for i, vid in enumerate(tags):
        # the type field of a tag says what follows it
        more = i + 1 < len(tags)
        f.type = outer if i == 0 else f.type
        f /= sp.Dot1Q(vlan=vid, type=0x8100 if more else 0x0800 if v == 4 else 0x86dd)
    ip = sp.IP(src="10.5.0.2", dst="10.5.0.3") if v == 4 else sp.IPv6(src="fd05::2", dst="fd05::3")
    return f / ip / sp.UDP(sport=1000, dport=port) / payload


def offload(lab, state):
    for ns, dev in ((lab.client, "cl0"), (lab.dut, "p1"), (lab.dut, "p2"), (lab.server, "sv0")):
        ns.sh("ethtool", "-K", dev, "rxvlan", state, "txvlan", state, check=False)


def bridge_lab(lab, rules=RULES, **kw):
    heard = Listener(lab, lab.server, "udp", 9999)
    tx, rx = Wire(lab, lab.client, "cl0", sniff=False), Wire(lab, lab.server, "sv0")
    must(ping(lab.client, lab.SERVER[4], 1) == 1 and ping(lab.client, lab.SERVER[6], 1) == 1, "no path yet")
    Weir(lab, lab.dut).run(Policy.text(rules, inbound="drop", outbound="drop", forward="drop", **kw))
    return heard, tx, rx


def test_tags_on_a_bridge():
    need("ethtool")
    for state in ("on", "off"):
        with Bridge() as lab:
            heard, tx, rx = bridge_lab(lab)
            offload(lab, state)
            to = lab.server.mac("sv0")
            for v, (tags, port, may) in itertools.product((4, 6), CASES):
                payload = token("vlan")
                tx.send(frame(tx.mac, to, v, tags, port, payload))
                must(fence(lab.client, lab.SERVER[v], heard, 9999), "fence")
                got = any(payload in f for f in rx.frames())
                equal(got, may, f"rxvlan {state} v{v} tags {tags} port {port}: delivered")


def test_qinq_on_a_bridge():
    """Two tags. A rule by `vlan` means the inner tag or the outer one, and a port cannot hide behind a tag."""
    need("ethtool")
    rules = RULES + "    - { name: customer, action: allow, direction: forward, vlan: 100, protocol: udp, ports: 85 }\n"
    for state in ("on", "off"):
        with Bridge() as lab:
            heard, tx, rx = bridge_lab(lab, rules)
            offload(lab, state)
            to = lab.server.mac("sv0")
            for v, outer in itertools.product((4, 6), (0x88a8, 0x8100)):
                for tags, port, may in (((100, 10), 81, False), ((100, 20), 80, False), ((100, 40), 80, False),
                                        ((200, 40), 85, False), ((100, 40), 85, True), ((10, 40), 80, True)):
                    payload = token("qinq")
                    tx.send(frame(tx.mac, to, v, tags, port, payload, outer))
                    must(fence(lab.client, lab.SERVER[v], heard, 9999), "fence")
                    got = any(payload in f for f in rx.frames())
                    equal(got, may, f"rxvlan {state} v{v} {outer:#x} tags {tags} port {port}: delivered")


def test_tagged_frames_of_the_dut_itself():
    """A program with a packet socket cannot leave by writing the tag itself."""
    with Bridge() as lab:
        heard, _, rx = bridge_lab(lab)
        own = Wire(lab, lab.dut, "p2", sniff=False)
        for v in (4, 6):
            for tags, port in (((10,), 80), ((20,), 80), ((), 80), ((100, 40), 80)):
                payload = token("own")
                try:
                    own.s.send(bytes(frame(own.mac, rx.mac, v, tags, port, payload)))
                except OSError:
                    pass  # the filter's drop is told to a packet socket: ENOBUFS
                must(fence(lab.client, lab.SERVER[v], heard, 9999), "fence")
                check(not any(payload in f for f in rx.frames()), f"v{v} tags {tags} port {port}: it left")


def has_vlan_devices(ns):
    try:
        ns.ip("link", "add", "link", "lo", "name", "wtprobe", "type", "vlan", "id", "5")
    except ProgramFailed as e:
        return "Unknown device type" not in str(e)
    ns.ip("link", "del", "wtprobe")
    return True


def test_vlan_devices():
    """The dut ends VLANs 10, 20 and QinQ 100.30: rules by id, by the device's name and by its parent."""
    need("ethtool")
    for state in ("on", "off"):
        with Router() as lab:
            if not has_vlan_devices(lab.dut):
                raise Skip("this kernel has no VLAN devices (CONFIG_VLAN_8021Q)")
            for ns, dev, host in ((lab.client, "cl0", 2), (lab.dut, "in0", 1)):
                ns.sh("ethtool", "-K", dev, "rxvlan", state, "txvlan", state, check=False)
                for vid in (10, 20, 40):
                    ns.ip("link", "add", "link", dev, "name", f"{dev}.{vid}", "type", "vlan", "id", vid)
                    ns.ip("link", "set", f"{dev}.{vid}", "up")
                    lab.address(ns, f"{dev}.{vid}", f"10.9.{vid}.{host}/24", f"fd09:{vid}::{host}/64")
                ns.ip("link", "add", "link", dev, "name", f"{dev}.s", "type", "vlan", "protocol", "802.1ad", "id", 100)
                ns.ip("link", "set", f"{dev}.s", "up")
                ns.ip("link", "add", "link", f"{dev}.s", "name", f"{dev}.q", "type", "vlan", "id", 30)
                ns.ip("link", "set", f"{dev}.q", "up")
                lab.address(ns, f"{dev}.q", f"10.9.30.{host}/24", f"fd09:30::{host}/64")
            heard = Listener(lab, lab.dut, "udp", 80, 81, 82, 9999)
            Weir(lab, lab.dut).run(Policy.text("""
    - { name: fence, action: allow, protocol: udp, ports: 9999 }
    - { name: by id, action: allow, vlan: 10, ports: 80 }
    - { name: by device, action: allow, interface: in0.20, ports: 81 }
    - { name: by inner id, action: allow, vlan: 30, ports: 82 }
""", inbound="drop", outbound="drop", forward="drop"))
            for vid, port, may in ((10, 80, True), (10, 81, False), (20, 81, True), (20, 80, False), (40, 80, False),
                                   (40, 81, False), (30, 82, True), (30, 80, False)):
                for addr in (f"10.9.{vid}.1", f"fd09:{vid}::1"):
                    heard.clear()
                    p = Probe(lab.client, "udp", addr, port)
                    if may:
                        equal(p.wait(), "open", f"rxvlan {state} {addr}:{port}")
                    else:
                        must(fence(lab.client, addr, heard, 9999), "fence")
                        equal(heard.payloads(port), [], f"rxvlan {state} {addr}:{port}: delivered")
                    p.close()


if __name__ == "__main__":
    main(globals())
