#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Interfaces that appear under a flood: under a default drop not one packet is delivered to a port that is not
allowed, from the first moment of the interface on; and the interface does get covered: an allowed port hears."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

POLICY = Policy.text("- { name: fence, action: allow, protocol: udp, ports: 9999 }", inbound="drop", outbound="drop",
                     forward="drop")
MAC = "02:00:00:00:07:01"


def batch(ns, *lines):
    import subprocess
    subprocess.run(["ip", "-n", ns.name, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True,
                   stdout=subprocess.DEVNULL, timeout=60 * SLOW)


def peer_up(peer, dev):
    """The flooding side is complete before the dut's side comes up: no neighbour has to be asked for."""
    batch(peer, f"addr add 10.7.0.2/24 dev {dev}", f"addr add fd07::2/64 dev {dev} nodad", f"link set {dev} up",
          f"neigh replace 10.7.0.1 lladdr {MAC} nud permanent dev {dev}",
          f"neigh replace fd07::1 lladdr {MAC} nud permanent dev {dev}")


def appear(how, dut, peer, dev):
    """A new interface in the dut, by several ways; returns its name."""
    addrs = [f"addr add 10.7.0.1/24 dev {dev}", f"addr add fd07::1/64 dev {dev} nodad"]
    if how == "created":
        sh("ip", "link", "add", dev, "address", MAC, "netns", dut.name, "type", "veth", "peer", "name", "px",
           "netns", peer.name)
        peer_up(peer, "px")
        batch(dut, *addrs, f"link set {dev} up")
    elif how == "moved":
        # born, addressed and up elsewhere, then moved into the dut
        sh("ip", "link", "add", dev, "address", MAC, "netns", peer.name, "type", "veth", "peer", "name", "px",
           "netns", peer.name)
        peer_up(peer, "px")
        batch(peer, f"link set {dev} netns {dut.name}")
        batch(dut, f"link set {dev} up", *addrs)
    else:
        # up before it has its address, renamed while up
        sh("ip", "link", "add", "tmp0", "address", MAC, "netns", dut.name, "type", "veth", "peer", "name", "px",
           "netns", peer.name)
        peer_up(peer, "px")
        batch(dut, "addr add 10.7.0.1/24 dev tmp0", "addr add fd07::1/64 dev tmp0 nodad", "link set tmp0 up",
              "link set tmp0 down", f"link set tmp0 name {dev}", f"link set {dev} up",
              f"addr replace fd07::1/64 dev {dev} nodad")
    return dev


def test_flood_of_new_interfaces():
    cycles = times(1000, 50)
    with Lab() as lab:
        dut, peer = lab.space("d"), lab.space("c")
        denied = Listener(lab, dut, "udp", 80, answer=False)
        allowed = Listener(lab, dut, "udp", 9999, answer=False)
        w = Weir(lab, dut)
        w.run(POLICY)
        floods = [Flood(lab, peer, addr, 80, every=0.0005) for addr in ("10.7.0.1", "fd07::1")]
        marks = [Flood(lab, peer, addr, 9999, payload=addr.encode(), every=0.002) for addr in ("10.7.0.1", "fd07::1")]
        for n in range(cycles):
            allowed.clear()
            dev = appear(("created", "moved", "renamed")[n % 3], dut, peer, f"nx{n}")
            for addr in (b"10.7.0.1", b"fd07::1"):
                if not allowed.wait(addr):
                    w("status", check=False)
                    must(False, f"cycle {n}: {dev} is never covered: nothing arrives at {addr.decode()}:9999")
            if not check(not denied.payloads(80), f"cycle {n} ({('created', 'moved', 'renamed')[n % 3]}): "
                                                  f"{len(denied.got)} packets delivered to a denied port"):
                denied.clear()
            batch(dut, f"link del {dev}")
        sent = sum(f.stop() for f in floods)
        for m in marks:
            m.stop()
        must(sent > cycles * 32, f"no flood: {sent} packets sent")
        equal(len(denied.payloads(80)), 0, f"delivered of {sent}")


def test_interfaces_that_were_not_asked_for():
    """`--interface in0`: what weir was not asked to filter is left alone, also when it appears later."""
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 80, 9999)
        Weir(lab, lab.dut).run(POLICY, "--interface", "in0")
        equal(ask(lab.server, "udp", lab.DUT_OUT[4], 80), "open", "an interface that was not asked for")
        p = Probe(lab.client, "udp", lab.DUT[4], 80)
        must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        check(p.quiet(), "the interface that was asked for")
        p.close()
        peer = lab.space("p")
        appear("created", lab.dut, peer, "late0")
        equal(ask(peer, "udp", "10.7.0.1", 80), "open", "an interface that appeared and was not asked for")


def test_an_interface_changes_its_place():
    """What the programs know of an interface that packets came by already changes with it: as a bridge's port it is the
    bridge that is judged. On each CPU: each remembers for itself, so the first packets tell."""
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 80, 9999)
        w = Weir(lab, lab.dut)
        w.run(Policy.text("- { name: fence, action: allow, protocol: udp, ports: 9999 }\n"
                          "- { name: office, action: allow, interface: br0, ports: 80 }"))
        address = f"{lab.DUT[4]}/24"

        def known(name, what):
            return any(i["name"] == name and i["covered"] and what in i["why"] for i in w.status()["interfaces"])

        def on_each_cpu(what):
            cpus = os.sched_getaffinity(0)
            try:
                for cpu in cpus:
                    os.sched_setaffinity(0, {cpu})
                    what(cpu)
            finally:
                os.sched_setaffinity(0, cpus)

        def silent(cpu):
            heard.clear()
            p = Probe(lab.client, "udp", lab.DUT[4], 80)
            must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
            check(p.quiet() and not heard.payloads(80), f"CPU {cpu}: in0 lets through what is br0's")
            p.close()

        batch(lab.dut, f"link add br0 address {lab.dut.mac('in0')} type bridge")
        must(eventually(lambda: known("br0", "")), "br0 is not covered")
        on_each_cpu(silent)
        batch(lab.dut, "addr flush dev in0", "link set br0 up", "link set in0 master br0", f"addr add {address} dev br0")
        must(eventually(lambda: known("in0", "bridge port")), "in0 is not known as a bridge's port")
        on_each_cpu(lambda cpu: equal(ask(lab.client, "udp", lab.DUT[4], 80, timeout=5), "open", f"CPU {cpu}: in0 as a port of br0"))
        batch(lab.dut, "addr flush dev br0", "link set in0 nomaster", f"addr add {address} dev in0")
        must(eventually(lambda: known("in0", "veth")), "in0 is still known as a bridge's port")
        on_each_cpu(silent)


if __name__ == "__main__":
    main(globals())
