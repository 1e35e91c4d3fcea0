#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Related packets through translation, multicast questions, and devices that come, go, are renamed or stand
on others: whatever path a packet takes, the policy is the same."""
import os
import select
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

FENCE = "    - { name: fence, action: allow, protocol: udp, ports: 9999 }\n"


def closed(rules=""):
    return Policy.text(FENCE + rules, inbound="drop", outbound="drop", forward="drop")


def silent(lab, src, dst, port, heard, what, **kw):
    heard.clear()
    p = Probe(src, "udp", dst, port, **kw)
    must(fence(src, dst, heard, 9999), f"{what}: fence")
    equal(heard.payloads(port), [], f"{what}: delivered")
    p.close()


def stream(ns, listener, dst, port, size):
    """Bytes of a TCP stream that arrive."""
    listener.clear()
    with ns:
        s = socket.create_connection((dst, port), timeout=PATIENCE)
    with s:
        s.sendall(b"m" * size)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(PATIENCE)
        try:
            s.recv(1)
        except OSError:
            pass
    return sum(len(d) for d in listener.payloads(port))


def test_pmtu_through_masquerade():
    with Router() as lab:
        lab.far(mtu=1300)
        lab.masquerade()
        heard = Listener(lab, lab.far_ns, "tcp", 80, answer=False)
        Weir(lab, lab.dut).run(closed("    - { name: out, action: allow, direction: forward, from: [10.1.0.0/24, "
                                      "'fd01::/64'], protocol: tcp, ports: 80 }\n"))
        for v in (4, 6):
            equal(stream(lab.client, heard, lab.FAR[v], 80, 1_000_000), 1_000_000, f"v{v}: bytes over MTU 1300")


def test_pmtu_of_large_datagrams():
    """Datagrams in fragments that are too big on the way: the error quotes a fragment, and smaller ones arrive then."""
    for v in (4, 6):
        for way in ("outbound", "forward", "masquerade"):
            with Router() as lab:
                lab.far(mtu=1300)
                if way == "masquerade":
                    lab.masquerade()
                here = lab.dut if way == "outbound" else lab.client
                heard = Listener(lab, lab.far_ns, "udp", 80, answer=False)
                Weir(lab, lab.dut).run(closed(f"    - {{ name: out, action: allow, direction: "
                                              f"{'outbound' if way == 'outbound' else 'forward'}, protocol: udp, ports: 80 }}\n"))
                with here:
                    s = socket.socket(family_of(lab.FAR[v]), socket.SOCK_DGRAM)
                s.connect((lab.FAR[v], 80))
                arrived = False
                for _ in range(8):
                    t = token("large") + b"x" * 3000
                    try:
                        s.send(t)
                    except OSError:  # IPv4 is told the size
                        s.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: fragments, please
                        continue
                    arrived = arrived or heard.wait(t, PATIENCE / 20)
                check(arrived, f"v{v} {way}: no datagram of 3,000 bytes arrives over MTU 1300")
                s.close()


def test_pmtu_of_a_published_port():
    """The container sends much to a client behind a narrow link: 'too big' finds its way back to it."""
    with Router() as lab:
        lab.containers()
        lab.publish(8080, 80)
        client2 = lab.space("n")
        lab.link(client2, "n0", lab.client, "cn0")
        lab.client.ip("link", "set", "cn0", "mtu", 1300)
        lab.address(client2, "n0", "10.8.0.2/24", "fd08::2/64")
        lab.address(lab.client, "cn0", "10.8.0.1/24", "fd08::1/64")
        client2.ip("route", "add", "default", "via", "10.8.0.1")
        client2.ip("-6", "route", "add", "default", "via", "fd08::1")
        lab.client.sysctl("net.ipv4.ip_forward", 1)
        lab.client.sysctl("net.ipv6.conf.all.forwarding", 1)
        lab.dut.ip("route", "add", "10.8.0.0/24", "via", lab.CLIENT[4])
        lab.dut.ip("-6", "route", "add", "fd08::/64", "via", lab.CLIENT[6])
        with lab.container:
            servers = {}
            for v, any_ in ((4, "0.0.0.0"), (6, "::")):
                servers[v] = socket.socket(family_of(any_), socket.SOCK_STREAM)
                if v == 6:
                    servers[v].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                servers[v].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                servers[v].bind((any_, 80))
                servers[v].listen(1)
                servers[v].settimeout(PATIENCE)
        Weir(lab, lab.dut).run(closed("    - { name: web, action: allow, direction: inbound, protocol: tcp, ports: 8080 }\n"))
        for v in (4, 6):
            with client2:
                s = socket.create_connection((lab.DUT[v], 8080), timeout=PATIENCE)
            conn, _ = servers[v].accept()
            size, got = 1_000_000, 0
            import threading
            t = threading.Thread(target=lambda: (conn.sendall(b"p" * size), conn.close()), daemon=True)
            t.start()
            s.settimeout(PATIENCE)
            try:
                while data := s.recv(65536):
                    got += len(data)
            except OSError as e:
                check(False, f"v{v}: {e}")
            equal(got, size, f"v{v}: bytes from the container over MTU 1300")
            s.close()
            conn.close()
            t.join(PATIENCE)
            servers[v].close()


def test_time_exceeded():
    """traceroute's answers: the ICMP errors of an allowed flow from a router on the way, also un-translated."""
    for masquerade in (False, True):
        with Router() as lab:
            lab.far(mtu=1500)
            if masquerade:
                lab.masquerade()
            Listener(lab, lab.far_ns, "udp", 9999)
            Weir(lab, lab.dut).run(closed("    - { name: out, action: allow, direction: [forward, outbound], "
                                          "protocol: udp, ports: 33434 }\n"))
            for role, ns, ttl in (("endpoint", lab.dut, 1), ("router", lab.client, 2)):
                for v in (4, 6):
                    with ns:
                        s = socket.socket(family_of(lab.FAR[v]), socket.SOCK_DGRAM)
                    with s:
                        if v == 4:
                            s.setsockopt(socket.SOL_IP, socket.IP_TTL, ttl)
                            s.setsockopt(socket.SOL_IP, 11, 1)  # IP_RECVERR
                        else:
                            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
                            s.setsockopt(socket.IPPROTO_IPV6, 25, 1)  # IPV6_RECVERR
                        s.connect((lab.FAR[v], 33434))
                        s.send(b"trace")
                        p = select.poll()
                        p.register(s, 0)
                        got = p.poll(PATIENCE * 1000)
                        check(got and got[0][1] & select.POLLERR, f"masquerade {masquerade} {role} v{v}: no time exceeded")


def test_ping_through_masquerade():
    with Router() as lab:
        lab.masquerade()
        Weir(lab, lab.dut).run(closed("    - { name: ping, action: allow, direction: forward, from: [10.1.0.2, "
                                      "'fd01::2'], icmp: echo-request }\n"))
        for v in (4, 6):
            equal(ping(lab.client, lab.SERVER[v], 5), 5, f"v{v}: answers")
            equal(ping(lab.server, lab.DUT_OUT[v], 1, timeout=0.2), 0, f"v{v}: answers to who may not ask")


def test_multicast():
    """The unicast answers to a multicast question (mDNS), and multicast that a rule lets in."""
    with Router() as lab:
        here = Listener(lab, lab.dut, "udp", 9999)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(FENCE + "    - { name: mdns, action: allow, direction: inbound, to: [224.0.0.251], "
                                  "ports: 5353 }\n", inbound="drop", outbound="allow", forward="drop",
                          extra="flows: { adopt_window: 1s }"))
        with lab.dut:
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setblocking(False)
        s.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_IF, socket.inet_aton(lab.DUT_OUT[4]))
        s.bind(("0.0.0.0", 40000))
        with lab.server:
            r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        r.bind((lab.SERVER[4], 5353))
        # nobody has asked yet (but what looks like an answer is taken for one while flows are adopted)
        deadline, heard, port = time.monotonic() + PATIENCE, True, 4000
        while heard and time.monotonic() < deadline:
            heard = False
            port += 1
            with lab.server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as o:
                o.bind((lab.SERVER[4], port))
                o.sendto(b"unasked", (lab.DUT_OUT[4], 40000))
            must(fence(lab.server, lab.DUT_OUT[4], here, 9999), "fence")
            while select.select([s], [], [], 0)[0]:
                heard = bool(s.recv(100))
            time.sleep(0.1)
        check(not heard, "an answer that nobody asked for is delivered")
        s.sendto(b"who is there?", ("224.0.0.251", 5353))
        t = token("answer")
        r.sendto(t, (lab.DUT_OUT[4], 40000))
        ready = select.select([s], [], [], PATIENCE)[0]
        check(ready and s.recv(100) == t, "the unicast answer to our multicast question is dropped")
        # multicast inward, by rule
        with lab.dut:
            m = {g: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for g in ("224.0.0.251", "224.0.0.252")}
        for g, x in m.items():
            x.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            x.bind((g, 5353))
            x.setsockopt(socket.SOL_IP, socket.IP_ADD_MEMBERSHIP,
                         socket.inet_aton(g) + socket.inet_aton(lab.DUT_OUT[4]))
            x.setblocking(False)
        r.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_IF, socket.inet_aton(lab.SERVER[4]))
        for g in m:
            r.sendto(g.encode(), (g, 5353))
        must(fence(lab.server, lab.DUT_OUT[4], here, 9999), "fence")
        check(select.select([m["224.0.0.251"]], [], [], PATIENCE)[0], "multicast that a rule allows is dropped")
        check(not select.select([m["224.0.0.252"]], [], [], 0)[0], "multicast that no rule allows is delivered")
        for x in (s, r, *m.values()):
            x.close()


def test_interface_down_up_and_rename():
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 80, 81, 9999)
        w = Weir(lab, lab.dut)
        policy = closed("    - { name: by name, action: allow, interface: in0, ports: 80 }\n"
                        "    - { name: by new name, action: allow, interface: lan7, ports: 81 }\n")
        w.run(policy)

        def state(what, may80, may81):
            for v in (4, 6):
                for port, may in ((80, may80), (81, may81)):
                    if may:
                        equal(ask(lab.client, "udp", lab.DUT[v], port), "open", f"{what} v{v} port {port}")
                    else:
                        silent(lab, lab.client, lab.DUT[v], port, heard, f"{what} v{v} port {port}")

        def back(name):
            # the kernel forgets IPv6 addresses of a device that goes down
            lab.dut.ip("addr", "replace", "fd01::1/64", "dev", name, "nodad")
            must(fence(lab.client, lab.DUT[6], heard, 9999), "the device does not come back")

        state("as it was", True, False)
        lab.dut.ip("link", "set", "in0", "down")
        lab.dut.ip("link", "set", "in0", "up")
        back("in0")
        state("down and up", True, False)
        lab.dut.ip("link", "set", "in0", "down")
        lab.dut.ip("link", "set", "in0", "name", "lan7")
        lab.dut.ip("link", "set", "lan7", "up")
        back("lan7")
        # the daemon hears of it; until then the old name counts, and nothing else is let in
        deadline = time.monotonic() + PATIENCE
        while "lan7" not in w("status", check=False).stdout and time.monotonic() < deadline:
            time.sleep(0.05)
        state("renamed", False, True)
        # someone who tidies up queueing disciplines does not take the filter away
        need("tc")
        lab.dut.sh("tc", "qdisc", "add", "dev", "lan7", "clsact", check=False)
        lab.dut.sh("tc", "qdisc", "del", "dev", "lan7", "clsact", check=False)
        if not any(x.startswith("clsact_") for x in os.listdir(f"{w.runtime}/bpf/links")):
            state("clsact deleted", False, True)
            return
        # before tcx the filter hangs on it: that is told, and the next change brings it back
        p = w("status", check=False)
        check(p.returncode == 3 and "filter is gone" in p.stdout, f"status {p.returncode} does not tell it: {p.stdout}")
        w.apply(policy)
        state("clsact deleted and brought back", False, True)


def devices(lab):
    """(kind, function that makes it in the dut (10.7.0.1) and in the peer (10.7.0.2), interface name)."""
    def tunnel(kind, *more):
        def make():
            for ns, local, remote, addr in ((lab.dut, lab.DUT[4], lab.CLIENT[4], "10.7.0.1/24"),
                                            (lab.client, lab.CLIENT[4], lab.DUT[4], "10.7.0.2/24")):
                ns.ip("link", "add", "tn0", "type", kind, "local", local, "remote", remote, *more)
                ns.ip("addr", "add", addr, "dev", "tn0")
                ns.ip("link", "set", "tn0", "up")
        return make

    def macvlan():
        lab.dut.sysctl("net.ipv4.conf.all.arp_ignore", 1)  # each device answers for its own address only
        lab.dut.ip("link", "add", "link", "in0", "name", "tn0", "type", "macvlan", "mode", "bridge")
        lab.dut.ip("addr", "add", "10.7.0.1/24", "dev", "tn0")
        lab.dut.ip("link", "set", "tn0", "up")
        lab.client.ip("addr", "add", "10.7.0.2/24", "dev", "cl0")

    def bridge():
        lab.dut.ip("link", "add", "tn0", "type", "bridge", "forward_delay", "0")
        lab.link(lab.client, "cb0", lab.dut, "bp0")
        lab.dut.ip("link", "set", "bp0", "master", "tn0")
        lab.dut.ip("addr", "add", "10.7.0.1/24", "dev", "tn0")
        lab.dut.ip("link", "set", "tn0", "up")
        lab.client.ip("addr", "add", "10.7.0.2/24", "dev", "cb0")

    yield "gre", tunnel("gre")
    yield "gretap", tunnel("gretap")
    yield "ipip", tunnel("ipip")
    yield "vxlan", tunnel("vxlan", "id", "7", "dstport", "4789")
    yield "macvlan", macvlan
    yield "bridge", bridge


def test_devices_on_devices():
    """Inner packets are judged at the inner device, whether it came before or after weir."""
    tried = 0
    for late in (False, True):
        for kind in ("gre", "gretap", "ipip", "vxlan", "macvlan", "bridge"):
            with Router() as lab:
                make = dict(devices(lab))[kind]
                heard = Listener(lab, lab.dut, "udp", 80, 81, 9999)
                w = Weir(lab, lab.dut)
                rules = """
    - { name: carriers, action: allow, protocol: [gre, ipip] }
    - { name: vxlan, action: allow, protocol: udp, ports: 4789 }
    - { name: inner, action: allow, interface: tn0, ports: 80 }
"""
                try:
                    if late:
                        w.run(closed(rules))
                    make()
                    if not late:
                        w.run(closed(rules))
                except ProgramFailed as e:
                    if "Unknown device type" in str(e) or "Operation not supported" in str(e):
                        continue
                    raise
                tried += 1
                what = f"{kind}, {'after' if late else 'before'} weir"
                if not check(fence(lab.client, "10.7.0.1", heard, 9999), f"{what}: nothing passes"):
                    continue
                equal(ask(lab.client, "udp", "10.7.0.1", 80), "open", f"{what}: allowed by the inner device")
                silent(lab, lab.client, "10.7.0.1", 81, heard, f"{what}: denied port")
                silent(lab, lab.client, lab.DUT[4], 80, heard, f"{what}: the outer device is not the inner one")
    if not tried:
        raise Skip("this kernel has none of these devices")


IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 1, 0x1000, 0x4000


def tun7(lab, flags=0, mtu="1500"):
    """A tun device of the dut, the first address of 10.7.0.0/24 and fd07::/64, with a firewall. Its fd, and a listener."""
    import fcntl
    if not os.path.exists("/dev/net/tun"):
        raise Skip("no /dev/net/tun")
    heard = Listener(lab, lab.dut, "udp", 80, 81, answer=False)
    w = Weir(lab, lab.dut)
    w.run(closed("    - { name: inner, action: allow, interface: tun7, ports: 80 }\n"))
    with lab.dut:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        lab.on_close(lambda: os.close(fd))
        fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"tun7", IFF_TUN | IFF_NO_PI | flags))  # TUNSETIFF
    for args in (("link", "set", "tun7", "mtu", mtu, "up"), ("addr", "add", "10.7.0.1/24", "dev", "tun7"),
                 ("addr", "add", "fd07::1/64", "dev", "tun7", "nodad")):
        lab.dut.ip(*args)
    return fd, heard


def test_tun():
    """A device without Ethernet headers, fed by a program."""
    with Router() as lab:
        fd, heard = tun7(lab)
        for v in (4, 6):
            ip = sp.IP(src="10.7.0.2", dst="10.7.0.1") if v == 4 else sp.IPv6(src="fd07::2", dst="fd07::1")
            bad, deadline = token("bad"), time.monotonic() + PATIENCE
            while True:
                t = token("tun")
                os.write(fd, bytes(ip / sp.UDP(sport=5, dport=81) / bad))
                os.write(fd, bytes(ip / sp.UDP(sport=5, dport=80) / t))
                if heard.wait(t, 0.2) or time.monotonic() > deadline:
                    break
            check(t in heard.payloads(80), f"v{v}: an allowed datagram through tun")
            equal(heard.payloads(81), [], f"v{v}: denied, delivered through tun")


def test_heads_elsewhere():
    """A large packet of which only the first bytes stand in the linear part of its buffer: its headers are found all the same."""
    with Router() as lab:
        fd, heard = tun7(lab, IFF_VNET_HDR, "9000")
        few = struct.pack("=BBHHHH", 0, 0, 1, 0, 0, 0)  # struct virtio_net_hdr; hdr_len: one byte is linear

        def arrived(port):
            return [d for d in heard.payloads(port) if len(d) > 1000]
        for v in (4, 6):
            ip = sp.IP(src="10.7.0.2", dst="10.7.0.1") if v == 4 else sp.IPv6(src="fd07::2", dst="fd07::1")
            heard.clear()

            def sent():
                for port in (81, 80):
                    os.write(fd, few + bytes(ip / sp.UDP(sport=5, dport=port) / bytes(6000)))
                return arrived(80)
            check(eventually(sent, 10), f"v{v}: an allowed datagram whose headers are not linear")
            equal(arrived(81), [], f"v{v}: denied, and delivered")


if __name__ == "__main__":
    main(globals())
