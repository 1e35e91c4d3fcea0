#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The built-in failsafe under a default drop in all directions: lo, ARP, ND, DHCP and PMTU stay alive. Nothing
is allowed by a rule here, so whatever works, works by the failsafe."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

ALL_CLOSED = Policy.text(inbound="drop", outbound="drop", forward="drop")


def test_loopback():
    with Router() as lab:
        tcp, udp = (Listener(lab, lab.dut, p, 80) for p in ("tcp", "udp"))
        Weir(lab, lab.dut).run(ALL_CLOSED)
        # its own addresses are reached over lo too
        for addr in ("127.0.0.1", "::1", *lab.DUT.values(), *lab.DUT_OUT.values()):
            equal(ask(lab.dut, "tcp", addr, 80), "open", f"tcp to {addr}")
            equal(ask(lab.dut, "udp", addr, 80), "open", f"udp to {addr}")
            equal(ping(lab.dut, addr), 3, f"ping of {addr}")
        equal(ask(lab.dut, "tcp", "127.0.0.1", 81), "refused", "a closed port on lo")


def neighbour(ns, dev, addr):
    """The state of a neighbour after the kernel was made to look for it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with ns, socket.socket(family_of(addr), socket.SOCK_DGRAM) as s:
            try:
                s.sendto(b"anybody?", (addr, 9))
            except OSError:
                pass
        line = ns.ip("neigh", "show", addr, "dev", dev).stdout
        if "lladdr" in line and "FAILED" not in line:
            return "found"
        time.sleep(0.02)
    return f"not found: {line.strip()}"


def test_neighbours():
    with Router() as lab:
        Weir(lab, lab.dut).run(ALL_CLOSED)
        heard = Listener(lab, lab.dut, "udp", 80)
        for v in (4, 6):
            for ns, dev, addr in ((lab.dut, "out0", lab.SERVER[v]), (lab.dut, "in0", lab.CLIENT[v]),
                                  (lab.client, "cl0", lab.DUT[v]), (lab.server, "sv0", lab.DUT_OUT[v])):
                ns.ip("neigh", "flush", "dev", dev)
                equal(neighbour(ns, dev, addr), "found", f"v{v} {addr} looked up on {dev}")
        # and the policy is what it says: nothing else passes
        p = Probe(lab.client, "udp", lab.DUT[4], 80)
        lab.client.ip("neigh", "flush", "dev", "cl0")
        equal(neighbour(lab.client, "cl0", lab.DUT[4]), "found", "again")
        check(p.quiet() and not heard.payloads(), "a datagram passed under default drop")
        p.close()


def test_dhcp_renewals():
    """A lease of a few seconds is got and renewed again and again; the server is busybox udhcpd."""
    need("busybox", "dhclient")
    seconds = long_or(60, 25)
    with Lab() as lab:
        dut, server = lab.space("d"), lab.space("s")
        lab.link(server, "sv0", dut, "eth0")
        lab.address(server, "sv0", "10.6.0.1/24")
        w = Weir(lab, dut)
        heard = Listener(lab, dut, "udp", 80, addrs=("0.0.0.0",))
        w.run(ALL_CLOSED)
        conf = w.write(f"""
            start 10.6.0.100
            end 10.6.0.110
            interface sv0
            min_lease 4
            lease_file {w.dir}/leases
            pidfile {w.dir}/udhcpd.pid
            opt subnet 255.255.255.0
            opt router 10.6.0.1
            opt lease 6
            """, "udhcpd.conf")
        open(f"{w.dir}/leases", "w").close()
        said = open(f"{w.dir}/udhcpd.out", "w+b")
        lab.on_close(said.close)
        server.spawn("busybox", "udhcpd", "-f", conf, stdout=said, stderr=said)
        script = w.write(f"""\
            #!/bin/sh
            echo "$reason" >>{w.dir}/leases.log
            case $reason in
            BOUND) ip addr add $new_ip_address/24 dev $interface ;;
            EXPIRE | FAIL | STOP) ip addr flush dev $interface scope global ;;
            esac
            exit 0
            """, "script")
        os.chmod(script, 0o755)
        dut.spawn("dhclient", "-d", "-sf", script, "-lf", f"{w.dir}/client.leases", "-pf", f"{w.dir}/client.pid",
                  "-cf", "/dev/null", "eth0")

        def log():
            try:
                return open(f"{w.dir}/leases.log").read().split()
            except FileNotFoundError:
                return []

        start = time.monotonic()
        while "BOUND" not in log() and time.monotonic() - start < 60:
            time.sleep(0.1)
        must("BOUND" in log(), f"no lease: {log()} {open(said.name).read()}")
        # renewed every 4 s or so; unicast, and a lost lease would be told
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            time.sleep(0.5)
        after = log()[log().index("BOUND") + 1:]
        check(after.count("RENEW") >= seconds // 6, f"renewals in {seconds} s of a lease of 6 s: {after}")
        check(set(after) == {"RENEW"}, f"the lease was lost: {after}")
        # the failsafe lets DHCP in, not its neighbours
        addr = [x for x in dut.ip("-4", "-o", "addr", "show", "dev", "eth0").stdout.split() if x.startswith("10.6.")]
        if check(addr, "the leased address is not there"):
            p = Probe(server, "udp", addr[0].split("/")[0], 80)
            renewed = len(log())
            deadline = time.monotonic() + PATIENCE * 2
            while len(log()) == renewed and time.monotonic() < deadline:
                time.sleep(0.1)  # the next renewal is the fence
            check(not heard.payloads(), "a datagram passed under default drop")
            p.close()


def test_router_advertisement():
    """RA and MLD pass: a host under default drop gets its address by SLAAC."""
    with Lab() as lab:
        dut, router = lab.space("d"), lab.space("s")
        lab.link(router, "sv0", dut, "eth0")
        for key, value in (("accept_ra", 2), ("autoconf", 1)):
            dut.sysctl(f"net.ipv6.conf.eth0.{key}", value)
        Weir(lab, dut).run(ALL_CLOSED)
        wire = Wire(lab, router, "sv0", sniff=False)
        ra = (sp.Ether(src=wire.mac, dst="33:33:00:00:00:01") / sp.IPv6(src="fe80::1", dst="ff02::1", hlim=255) /
              sp.ICMPv6ND_RA(routerlifetime=1800) /
              sp.ICMPv6NDOptPrefixInfo(prefix="fd77::", prefixlen=64, validlifetime=3600, preferredlifetime=1800))
        deadline = time.monotonic() + PATIENCE
        while "fd77:" not in (got := dut.ip("-6", "addr", "show", "dev", "eth0").stdout):
            if time.monotonic() > deadline:
                break
            wire.send(ra)
            time.sleep(0.1)
        check("fd77:" in got, "no address from a router advertisement")


def test_icmp_errors_of_allowed_flows():
    """PMTU is built in: one allowed flow, all else closed, a narrow link behind the next router."""
    with Router() as lab:
        lab.far(mtu=1300)
        heard = Listener(lab, lab.far_ns, "tcp", 80, answer=False)
        Weir(lab, lab.dut).run(Policy.text("- { name: one, action: allow, direction: outbound, protocol: tcp, ports: 80 }",
                                           inbound="drop", outbound="drop", forward="drop"))
        for v in (4, 6):
            with lab.dut:
                s = socket.create_connection((lab.FAR[v], 80), timeout=PATIENCE)
            with s:
                data = token("pmtu") + b"." * 500_000
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                s.settimeout(PATIENCE)
                try:
                    equal(s.recv(1), b"", f"v{v}: end of the stream")
                except OSError as e:
                    check(False, f"v{v}: {e}")
            equal(sum(map(len, heard.payloads())), len(data), f"v{v}: bytes that arrived")
            heard.clear()


if __name__ == "__main__":
    main(globals())
