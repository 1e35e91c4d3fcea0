#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`weir status coverage` against the truth: on each topology something that the policy denies is sent to a real
listener. Whatever arrives must be listed as not filtered; whatever is listed as filtered must not arrive."""
import fcntl
import json
import os
import re
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp  # noqa: E402

FENCE = "- { name: fence, action: allow, protocol: udp, ports: 9999 }\n"
DENY = Policy.text(FENCE, inbound="drop", outbound="drop", forward="drop")
OPEN, SHUT = ("no", "bans only"), ("yes", "blocked", "off")
PACKET_QDISC_BYPASS, SOL_PACKET = 20, 263


class Coverage:
    def __init__(self, w):
        p = w("status", "coverage", "--output", "json", check=False)
        self.code, self.j = p.returncode, json.loads(p.stdout)
        self.rows = self.j["paths"]
        opens = [x for x in self.rows if x["filtered"] in OPEN]
        equal((self.code, self.j["open"]), (3 if opens else 0, len(opens)), "exit status and count")
        text = w("status", "coverage", check=False).stdout
        check(text.startswith("PATH"), f"the table: {text}")

    def row(self, pattern):
        return [x for x in self.rows if re.search(pattern, x["path"])]

    def show(self):
        return "\n".join(f"    {x['path']}: {x['filtered']} ({x['by']}) {x['why']}" for x in self.rows)


def judge(w, pattern, delivered, what):
    """Never neither: delivered and not listed as open; listed as filtered and delivered."""
    end = time.monotonic() + PATIENCE
    c = Coverage(w)
    while not c.row(pattern) and time.monotonic() < end:  # whose a socket is, is looked for now and then
        c = Coverage(w)
    rows = c.row(pattern)
    if not check(rows, f"{what}: no row for {pattern}:\n{c.show()}"):
        return
    if delivered:
        check(any(x["filtered"] in OPEN for x in rows), f"{what}: delivered, and not listed as open: {rows}")
    else:
        check(all(x["filtered"] in SHUT for x in rows), f"{what}: blocked, and listed as open: {rows}")


def delivered(ns, dst, listener, port=5000, fence_dst=None, fences=None):
    """Does a denied datagram arrive? The fence goes behind it where a way is allowed."""
    p = Probe(ns, "udp", dst, port)
    try:
        if fence_dst:
            must(fence(ns, fence_dst, fences or listener, 9999), "the fence arrives")
            return p.payload in listener.payloads(port)
        return listener.wait(p.payload, 0.7)
    finally:
        p.close()


def can(ns, *args):
    return ns.sh("ip", "link", "add", *args, check=False).returncode == 0


def test_host_and_router():
    """Ethernet devices: inbound, outbound and forwarded with masquerade, all blocked; then without a hook on one."""
    with Router() as lab:
        lab.masquerade()
        dut, server = Listener(lab, lab.dut, "udp", 5000, 9999), Listener(lab, lab.server, "udp", 5000, 9999)
        w = Weir(lab, lab.dut).run(DENY)
        for v in (4, 6):
            judge(w, "^in0$", delivered(lab.client, lab.DUT[v], dut, fence_dst=lab.DUT[v]), f"v{v} inbound")
            judge(w, "^out0$", delivered(lab.dut, lab.SERVER[v], server, fence_dst=lab.SERVER[v]), f"v{v} outbound")
            judge(w, f"^forwarded IPv{v}$", delivered(lab.client, lab.SERVER[v], server, fence_dst=lab.SERVER[v]),
                  f"v{v} forwarded")
        equal(Coverage(w).code, 0, "all is filtered")
        w.stop()
        w("flush")
        w.run(DENY, "--interface", "in0")
        judge(w, "^out0$", delivered(lab.server, lab.DUT_OUT[4], dut), "not asked for")


def test_bridge():
    with Bridge() as lab:
        dut, server = Listener(lab, lab.dut, "udp", 5000, 9999), Listener(lab, lab.server, "udp", 5000, 9999)
        w = Weir(lab, lab.dut).run(DENY)
        judge(w, "^bridged frames$", delivered(lab.client, lab.SERVER[4], server, fence_dst=lab.SERVER[4]), "bridged")
        judge(w, "^br0$", delivered(lab.client, lab.DUT[4], dut, fence_dst=lab.DUT[4]), "to the bridge")
        judge(w, "^p1$", False, "port")


def test_bond():
    with Router() as lab:
        if not can(lab.dut, "bond0", "type", "bond", "mode", "active-backup"):
            raise Skip("this kernel has no bonding")
        lab.dut.ip("link", "set", "in0", "down")
        lab.dut.ip("link", "set", "in0", "master", "bond0")
        lab.dut.ip("link", "set", "bond0", "up")
        lab.dut.ip("addr", "flush", "dev", "in0")
        lab.address(lab.dut, "bond0", "10.1.0.1/24")
        dut = Listener(lab, lab.dut, "udp", 5000, 9999)
        w = Weir(lab, lab.dut).run(DENY)
        judge(w, "^(bond0|in0)$", delivered(lab.client, lab.DUT[4], dut, fence_dst=lab.DUT[4]), "bond")


def test_container_and_published_port():
    """A container behind a veth pair, its port published by nft: both ways blocked."""
    with Router() as lab:
        lab.containers()
        lab.publish(5000, 5000)
        heard = Listener(lab, lab.container, "udp", 5000, 9999)
        w = Weir(lab, lab.dut).run(DENY)
        judge(w, "^dnat of nft", delivered(lab.client, lab.DUT[4], heard), "published")
        judge(w, "^ct0$", delivered(lab.client, lab.CONTAINER[4], heard, fence_dst=lab.CONTAINER[4]), "container")


def test_redirect():
    """nft takes what is on its way to another host for a local program: it arrives, and is listed."""
    with Router() as lab:
        lab.nft("""
            table ip wtredir {
                chain pre { type nat hook prerouting priority dstnat; udp dport 5000 redirect to :5001; }
            }""")
        heard = Listener(lab, lab.dut, "udp", 5001)
        w = Weir(lab, lab.dut).run(DENY)
        p = Probe(lab.client, "udp", lab.SERVER[4], 5000)
        came = check(heard.wait(p.payload), "what is redirected on its way arrives (if not: say in the docs that it is filtered)")
        judge(w, "^redirect of nft", came, "redirected on its way")
        p.close()
        # a host that does not route: then all of it is inbound
        lab.dut.sysctl("net.ipv4.ip_forward", 0)
        lab.dut.sysctl("net.ipv6.conf.all.forwarding", 0)
        p = Probe(lab.client, "udp", lab.DUT[4], 5000)
        judge(w, "^redirect of nft", heard.wait(p.payload, 0.7), "redirected at its address")
        p.close()


def test_macvlan_moved_away():
    """A macvlan in a container talks through its parent past the rules."""
    with Router() as lab:
        k = lab.space("k")
        if not can(lab.dut, "link", "out0", "name", "mv0", "type", "macvlan", "mode", "bridge"):
            raise Skip("this kernel has no macvlan")
        lab.dut.ip("link", "set", "mv0", "netns", k.name)
        k.ip("link", "set", "mv0", "up")
        lab.address(k, "mv0", "10.2.0.9/24")
        inside, server = Listener(lab, k, "udp", 5000), Listener(lab, lab.server, "udp", 5000)
        w = Weir(lab, lab.dut).run(DENY)
        came = delivered(lab.server, "10.2.0.9", inside) or delivered(k, lab.SERVER[4], server)
        c = Coverage(w)
        rows = c.row("^mv0 ")
        must(rows, f"it is not listed:\n{c.show()}")
        check(rows[0]["filtered"] == "bans only", f"{rows}")
        print(f"# macvlan in a namespace: denied traffic {'arrives' if came else 'is blocked'}")


def test_tun():
    """What a program puts into a tun device is inbound there."""
    with Router() as lab:
        if not os.path.exists("/dev/net/tun"):
            raise Skip("no /dev/net/tun")
        heard = Listener(lab, lab.dut, "udp", 5000, 9999)
        w = Weir(lab, lab.dut).run(DENY)
        with lab.dut:
            tun = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22s", b"tun7", 0x1001, b""))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
        lab.on_close(lambda: os.close(tun))
        lab.address(lab.dut, "tun7", "10.7.0.1/24")
        lab.dut.ip("link", "set", "tun7", "up")

        def put(port, payload):
            os.write(tun, bytes(sp.IP(src="10.7.0.2", dst="10.7.0.1") / sp.UDP(sport=4000, dport=port) / payload))

        deadline, fenced = time.monotonic() + PATIENCE, False
        t = token("denied")
        while not fenced and time.monotonic() < deadline:  # until the new interface is covered: the guard blocks
            put(5000, t)
            f = token("fence")
            put(9999, f)
            fenced = heard.wait(f, 0.1)
        must(fenced, "the fence arrives")
        judge(w, "^tun7$", t in heard.payloads(5000), "into a tun device")


def test_vxlan():
    """Inside a tunnel; the packets around it are allowed."""
    with Router() as lab:
        args = ("type", "vxlan", "id", "7", "dstport", "4789")
        if not can(lab.dut, "vx0", *args, "remote", lab.SERVER[4], "local", lab.DUT_OUT[4]):
            raise Skip("this kernel has no vxlan")
        lab.server.ip("link", "add", "vx0", *args, "remote", lab.DUT_OUT[4], "local", lab.SERVER[4])
        for ns, addr in ((lab.dut, "10.8.0.1/24"), (lab.server, "10.8.0.2/24")):
            lab.address(ns, "vx0", addr)
            ns.ip("link", "set", "vx0", "up")
        heard = Listener(lab, lab.dut, "udp", 5000, 9999)
        w = Weir(lab, lab.dut).run(Policy.text(FENCE + "- { name: tunnel, action: allow, protocol: udp, ports: 4789 }",
                                               inbound="drop", outbound="drop", forward="drop"))
        judge(w, "^vx0$", delivered(lab.server, "10.8.0.1", heard, fence_dst="10.8.0.1"), "inside the tunnel")


def test_packet_sender():
    """A packet socket: with the queues it is blocked, past them it is not; the kernel does not tell which it does."""
    with Router() as lab:
        heard = Listener(lab, lab.server, "udp", 5000, 5001, 9999)
        w = Weir(lab, lab.dut).run(DENY)
        check(not Coverage(w).row("^packet socket"), "weir's own socket is no path")
        got = {}
        for bypass in (0, 1):
            with lab.dut:
                s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            lab.on_close(s.close)
            s.bind(("out0", 0))
            s.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, bypass)
            t = token("raw")
            frame = sp.Ether(dst=lab.server.mac("sv0"), src=lab.dut.mac("out0")) / \
                sp.IP(src=lab.DUT_OUT[4], dst=lab.SERVER[4]) / sp.UDP(sport=4000, dport=5000) / t
            try:
                s.send(bytes(frame))
            except OSError:
                pass  # ENOBUFS: it was dropped on its way
            must(fence(lab.dut, lab.SERVER[4], heard, 9999), "the fence arrives")
            got[bypass] = t in heard.payloads(5000)
        equal(got, {0: False, 1: True}, "blocked through the queues, delivered past them")
        judge(w, "^packet socket of python3.* on out0", got[1], "a sender past the queues")


def test_sniffer_program():
    """What TC drops a packet socket still reads (and a TCP/IP stack in user space with it): listed."""
    with Router() as lab:
        Listener(lab, lab.dut, "udp", 9999)
        w = Weir(lab, lab.dut).run(DENY)
        wire = Wire(lab, lab.dut, "in0")
        p = Probe(lab.client, "udp", lab.DUT[4], 5000)
        deadline = time.monotonic() + PATIENCE
        seen = False
        while not seen and time.monotonic() < deadline:
            seen = any(p.payload in f for f in map(bytes, wire.frames()))
        p.close()
        judge(w, "^packet socket of python3.* on in0", seen, "a reader in front of TC")


def test_af_xdp():
    with Router() as lab:
        with lab.dut:
            try:
                s = socket.socket(44, socket.SOCK_RAW, 0)
            except OSError as e:
                raise Skip(f"this kernel has no AF_XDP: {e}")
        lab.on_close(s.close)
        w = Weir(lab, lab.dut).run(DENY)
        rows = Coverage(w).row("^AF_XDP sockets")
        check(rows and rows[0]["filtered"] == "no", f"an AF_XDP socket: {rows}")


def test_ifb():
    """Ingress turned to another device for shaping."""
    with Router() as lab:
        if not can(lab.dut, "ifb7", "type", "ifb"):
            raise Skip("this kernel has no ifb")
        lab.dut.ip("link", "set", "ifb7", "up")
        lab.dut.sh("tc", "qdisc", "add", "dev", "in0", "clsact")
        turned = lab.dut.sh("tc", "filter", "add", "dev", "in0", "ingress", "matchall", "action", "mirred", "egress",
                            "redirect", "dev", "ifb7", check=False)
        heard = Listener(lab, lab.dut, "udp", 5000, 9999)
        w = Weir(lab, lab.dut).run(DENY)
        print("# ingress is turned to ifb7" if not turned.returncode else "# no mirred here: ifb7 stands alone")
        judge(w, "^(in0|ifb7)$", delivered(lab.client, lab.DUT[4], heard, fence_dst=lab.DUT[4]), "by way of ifb")


def test_detached():
    """A hook that somebody took away is open, and says so."""
    need("bpftool")
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 5000)
        w = Weir(lab, lab.dut).run(DENY)
        pin = f"{w.runtime}/bpf/links/in_{lab.dut.ifindex('in0')}"
        if not os.path.exists(pin):
            raise Skip("no links on this kernel")
        link = json.loads(lab.dut.sh("bpftool", "-j", "link", "show", "pinned", pin).stdout)["id"]
        lab.dut.sh("bpftool", "link", "detach", "id", link)
        judge(w, "^in0$", delivered(lab.client, lab.DUT[4], heard), "detached")


if __name__ == "__main__":
    main(globals())
