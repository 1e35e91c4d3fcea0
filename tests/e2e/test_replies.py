#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Replies and related errors under a default drop: curl, dig, iperf3 and ping work outward with nothing
allowed inward; an ICMP error passes only when it belongs to a known flow, and then PMTU discovery works."""
import json
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp

# what a client needs, and the fence inward; nothing else in either direction
CLIENT_RULES = """
    - { name: fence, action: allow, protocol: udp, ports: 9999 }
    - { name: web, action: allow, direction: outbound, protocol: tcp, ports: [80, 5201] }
    - { name: names, action: allow, direction: outbound, ports: 53 }
    - { name: ping, action: allow, direction: outbound, icmp: echo-request }
"""


def closed(rules=CLIENT_RULES):
    return Policy.text(rules, inbound="drop", outbound="drop", forward="drop")


def wait_port(ns, addr, port, proto="tcp"):
    """A program that was just started begins to listen when it does."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with ns, socket.socket(family_of(addr), socket.SOCK_STREAM) as s:
            if s.connect_ex((addr, port)) == 0:
                return True
        time.sleep(0.02)
    return False


def test_curl_from_nginx():
    need("nginx", "curl")
    with Router() as lab:
        w = Weir(lab, lab.dut)
        os.mkdir(f"{w.dir}/www", 0o755)
        os.chmod(w.dir, 0o755)
        body = os.urandom(3_000_000)
        with open(f"{w.dir}/www/big", "wb") as f:
            f.write(body)
        conf = w.write(f"""
            pid {w.dir}/nginx.pid; error_log {w.dir}/nginx.err; worker_processes 1; user root;
            events {{ }}
            http {{ access_log off; client_body_temp_path {w.dir}/t1; proxy_temp_path {w.dir}/t2;
                fastcgi_temp_path {w.dir}/t3; uwsgi_temp_path {w.dir}/t4; scgi_temp_path {w.dir}/t5;
                server {{ listen 80; listen [::]:80; listen 8080; root {w.dir}/www; }} }}""", "nginx.conf")
        lab.server.spawn("nginx", "-e", f"{w.dir}/nginx.err", "-c", conf, "-g", "daemon off;")
        must(wait_port(lab.server, "10.2.0.2", 80), "nginx does not listen")
        w.run(closed())
        for host in ("10.2.0.2", "[fd02::2]"):
            p = lab.dut.sh("curl", "-gsS", "-m", "30", "-o", f"{w.dir}/got", f"http://{host}/big", check=False)
            equal(p.returncode, 0, f"curl {host}: {p.stderr.strip()}")
            with open(f"{w.dir}/got", "rb") as f:
                check(f.read() == body, f"curl {host}: another body")
        # the same server on a port that no rule allows: no answer, and not the server's fault
        p = Probe(lab.dut, "tcp", "10.2.0.2", 8080)
        equal(lab.dut.sh("curl", "-gsS", "-m", "30", "http://10.2.0.2/", check=False).returncode, 0, "curl again")
        check(p.quiet(), "port 8080 is not allowed, and answers")
        p.close()


def test_dig():
    need("dnsmasq", "dig")
    with Router() as lab:
        w = Weir(lab, lab.dut)
        lab.server.spawn("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                         "--bind-interfaces", "--user=root", "--pid-file=",
                         "--host-record=host.example.test,192.0.2.17,2001:db8::17")
        must(wait_port(lab.server, "10.2.0.2", 53), "dnsmasq does not listen")
        w.run(closed())
        for server in ("10.2.0.2", "fd02::2"):
            for args, want in ((["A"], "192.0.2.17"), (["AAAA"], "2001:db8::17"), (["A", "+tcp"], "192.0.2.17")):
                p = lab.dut.sh("dig", f"@{server}", "+short", "+time=10", "+tries=2", "host.example.test", *args,
                               check=False)
                equal(p.stdout.strip(), want, f"dig @{server} {' '.join(args)}")


def test_iperf3():
    need("iperf3")
    with Router() as lab:
        w = Weir(lab, lab.dut)
        w.run(closed())
        for extra in ([], ["-R"], ["-6"]):
            lab.server.spawn("iperf3", "-s", "-1")
            must(wait_listening(lab.server, 5201), "iperf3 does not listen")
            host = "fd02::2" if "-6" in extra else "10.2.0.2"
            p = lab.dut.sh("iperf3", "-J", "-n", "200M", "-c", host, *extra, check=False)
            if equal(p.returncode, 0, f"iperf3 {extra}: {p.stdout[-300:]}"):
                got = json.loads(p.stdout)["end"]["sum_received"]["bytes"]
                # who sends ends when it has written; what lies in the buffers then (32 MB and more) the other one leaves
                check(got >= 100_000_000, f"iperf3 {extra}: only {got} bytes arrived")


def wait_listening(ns, port):
    """Like wait_port, for servers that take one connection only: looks, does not connect."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if ns.sh("ss", "-Hltn", f"sport = :{port}").stdout.strip():
            return True
        time.sleep(0.02)
    return False


def test_ping():
    with Router() as lab:
        Weir(lab, lab.dut).run(closed())
        for v in (4, 6):
            equal(ping(lab.dut, lab.SERVER[v], 5), 5, f"v{v}: answers to outbound ping")


def icmp_sockets(ns):
    """What the dut's stack gets as ICMP: after the filter, unlike a packet socket."""
    with ns:
        s4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        s6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    for s in (s4, s6):
        s.setblocking(False)
    return {4: s4, 6: s6}


def drain(s):
    out = []
    while True:
        try:
            out.append(s.recv(4096))
        except BlockingIOError:
            return out


def unreachable(v, src, dst, inner):
    ip = sp.IP if v == 4 else sp.IPv6
    icmp = sp.ICMP(type=3, code=3) if v == 4 else sp.ICMPv6DestUnreach(code=4)
    return ip(src=src, dst=dst) / icmp / inner


def too_big(v, src, dst, inner, mtu=1280):
    if v == 4:
        return sp.IP(src=src, dst=dst) / sp.ICMP(type=3, code=4, nexthopmtu=mtu) / inner
    return sp.IPv6(src=src, dst=dst) / sp.ICMPv6PacketTooBig(mtu=mtu) / inner


def test_icmp_errors_of_known_flows_only():
    with Router() as lab:
        at = Listener(lab, lab.dut, "udp", 9999)
        Listener(lab, lab.server, "udp", 53)
        w = Weir(lab, lab.dut)
        w.run(closed())
        raw = icmp_sockets(lab.dut)
        wire = Wire(lab, lab.server, "sv0", sniff=False)
        to = sp.Ether(dst=lab.dut.mac("out0"), src=wire.mac)
        for v in (4, 6):
            ip = sp.IP if v == 4 else sp.IPv6
            dut, server = lab.DUT_OUT[v], lab.SERVER[v]
            known = Probe(lab.dut, "udp", server, 53)
            must(known.wait() == "open", f"v{v}: the DNS question gets no answer")
            sport = known.s.getsockname()[1]
            drain(raw[v])
            forged = {
                "udp, no such flow": ip(src=dut, dst=server) / sp.UDP(sport=5555, dport=6666) / (b"x" * 8),
                "udp, other source port": ip(src=dut, dst=server) / sp.UDP(sport=sport ^ 1, dport=53) / (b"x" * 8),
                "tcp, no such flow": ip(src=dut, dst=server) / sp.TCP(sport=5555, dport=80, seq=7),
                "not ours": ip(src="192.0.2.1" if v == 4 else "2001:db8::1", dst=server) / sp.UDP(sport=sport, dport=53),
                "allowed port, never used": ip(src=dut, dst=server) / sp.UDP(sport=4321, dport=9999),
            }
            for inner in forged.values():
                wire.send(to / unreachable(v, server, dut, inner), to / too_big(v, server, dut, inner))
            must(fence(lab.server, dut, at, 9999), "fence")
            got = [b for b in drain(raw[v]) if (b[b[0] % 16 * 4] if v == 4 else b[0]) in ((3,) if v == 4 else (1, 2))]
            equal(len(got), 0, f"v{v}: forged ICMP errors that reached the stack (of {2 * len(forged)})")
            check(known.quiet(), f"v{v}: a forged error hurt a live socket")
            inner = ip(src=dut, dst=server) / sp.UDP(sport=sport, dport=53) / (b"x" * 8)
            wire.send(to / unreachable(v, server, dut, inner))
            equal(known.wait(), "refused", f"v{v}: the error of a known flow")
            known.close()


def transfer(ns, listener, dst, port, size=2_000_000):
    """Bytes that the other side got of one TCP stream."""
    with ns:
        s = socket.create_connection((dst, port), timeout=PATIENCE)
    with s:
        s.sendall(b"z" * size)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(PATIENCE)
        try:
            while s.recv(65536):
                pass
        except OSError:
            pass
    return sum(len(d) for d in listener.payloads(port))


def test_pmtu():
    """A large transfer over a smaller link further on: works only when 'too big' of the flow comes through."""
    for role in ("endpoint", "router"):
        with Router() as lab:
            lab.far(mtu=1300)
            heard = Listener(lab, lab.far_ns, "tcp", 80, answer=False)
            w = Weir(lab, lab.dut)
            w.run(closed(CLIENT_RULES + "    - { name: through, action: allow, direction: forward, "
                                        "protocol: tcp, ports: 80 }\n"))
            src = lab.dut if role == "endpoint" else lab.client
            for v in (4, 6):
                heard.clear()
                try:
                    equal(transfer(src, heard, lab.FAR[v], 80), 2_000_000, f"{role} v{v}: bytes over MTU 1300")
                except OSError as e:
                    check(False, f"{role} v{v}: {e}")
                cache = src.ip("-6" if v == 6 else "-4", "route", "get", lab.FAR[v]).stdout
                check("mtu 1300" in cache, f"{role} v{v}: the path MTU was not learned: {cache.strip()}")


def test_errors_of_a_listed_router():
    """A router on the way may be on a blocklist: what it says of a known flow is heard, and nothing else of it."""
    with Router() as lab:
        lab.far(mtu=1300)
        heard = Listener(lab, lab.far_ns, "tcp", 80, answer=False)
        at = Listener(lab, lab.dut, "udp", 9999)
        Listener(lab, lab.far_ns, "udp", 53)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(CLIENT_RULES, inbound="drop", outbound="drop", forward="drop",
                          extra='sets: { bad: { addresses: [10.2.0.2, "fd02::2"] } }\nblocklists: [$bad]\n'))
        raw = icmp_sockets(lab.dut)
        wire = Wire(lab, lab.server, "sv0", sniff=False)
        to = sp.Ether(dst=lab.dut.mac("out0"), src=wire.mac)
        for v in (4, 6):
            ip = sp.IP if v == 4 else sp.IPv6
            known = Probe(lab.dut, "udp", lab.FAR[v], 53)
            must(known.wait() == "open", f"v{v}: the DNS question gets no answer")
            drain(raw[v])
            sport, dut = known.s.getsockname()[1], lab.DUT_OUT[v]
            inner = ip(src=dut, dst=lab.FAR[v]) / sp.UDP(sport=5, dport=53) / (b"x" * 8)
            wire.send(to / unreachable(v, lab.SERVER[v], dut, inner))
            must(fence(lab.far_ns, dut, at, 9999), "fence")
            got = [b for b in drain(raw[v]) if (b[b[0] % 16 * 4] if v == 4 else b[0]) in (1, 3)]
            equal(got, [], f"v{v}: of no flow")
            inner = ip(src=dut, dst=lab.FAR[v]) / sp.UDP(sport=sport, dport=53) / (b"x" * 8)
            wire.send(to / unreachable(v, lab.SERVER[v], dut, inner))
            equal(known.wait(5), "refused", f"v{v}: port unreachable of a known flow")
            known.close()
            heard.clear()
            with lab.dut:
                s = socket.create_connection((lab.FAR[v], 80), timeout=PATIENCE)
            with s:
                s.sendall(b"z" * 20000)
                eventually(lambda: sum(map(len, heard.payloads(80))) >= 20000, 4)
            equal(sum(map(len, heard.payloads(80))), 20000, f"v{v}: bytes over MTU 1300")


if __name__ == "__main__":
    main(globals())
