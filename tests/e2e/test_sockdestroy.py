#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The end of conversations by SOCK_DESTROY: both ends hear of it at once, listeners and their other conversations do
not, whatever family the socket is of; forwarded ones end in the namespaces where their sockets are."""
import errno
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

ASK = os.environ.get("WEIR_ASK", os.path.join(ROOT, "build/tests/harness/weir-ask"))
ABORTED, RESET = errno.ECONNABORTED, errno.ECONNRESET


class Talk:
    """A client's and a server's socket, and the listener, which goes on."""

    def __init__(self, lab, client_ns, server_ns, addr, proto="tcp", bind=None):
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        self.proto = proto
        with server_ns:
            self.listener = socket.socket(family_of(bind or addr), kind)
            if bind == "::":
                self.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.listener.bind((bind or addr, 0))
        self.to = (addr, self.listener.getsockname()[1])
        if proto == "tcp":
            self.listener.listen(5)
        self.listener.settimeout(PATIENCE)
        self.client_ns = client_ns
        self.client, self.server = self.another()
        for s in (self.listener, self.client, self.server):
            if s:
                lab.on_close(s.close)

    def another(self):
        with self.client_ns:
            c = socket.socket(family_of(self.to[0]), self.listener.type)
        c.settimeout(PATIENCE)
        c.connect(self.to)
        if self.proto == "udp":
            return c, None
        s, _ = self.listener.accept()
        s.settimeout(PATIENCE)
        return c, s

    def ends(self):
        return (*self.client.getsockname()[:2], *self.to)

    def listens(self):
        """Does the server still take new ones?"""
        c, s = self.another()
        c.send(b"new")
        got = s.recv(10) if s else self.listener.recv(10)
        c.close()
        if s:
            s.close()
        return got == b"new"


def kill(ns, direction, proto, ends):
    r = ns.sh(ASK, "kill", direction, proto, *ends)
    must(r.stdout.strip() and not r.stderr, f"weir-ask answers: {r.stdout!r} {r.stderr!r}")
    n = int(r.stdout)
    if n == -errno.EOPNOTSUPP:
        raise Skip("this kernel has no CONFIG_INET_DIAG_DESTROY")
    return n


def death(sock):
    """The errno that a blocked reader gets; 0: an end of stream, None: it waits on."""
    try:
        sock.recv(10)
        return 0
    except socket.timeout:
        return None
    except OSError as e:
        return e.errno


def ended(lab, talk, at, direction, row, both=False):
    other, _ = talk.another()
    lab.on_close(other.close)
    n = kill(at, direction, "tcp", talk.ends())
    check(n in ((1, 2) if both else (1,)), f"{row}: {n} sockets ended")
    got = [death(talk.client), death(talk.server)]
    check(set(got) <= {ABORTED, RESET} and ABORTED in got, f"{row}: the readers heard {got}")
    check(talk.listens(), f"{row}: the listener goes on")
    other.send(b"x")
    equal(other.getpeername()[1], talk.to[1], f"{row}: another conversation with the same listener goes on")


def test_local():
    """Sockets of this host, as server and as client, of each family and of a dual-stack listener."""
    with Router() as lab:
        for addr, bind in (("10.1.0.1", None), ("fd01::1", None), ("10.1.0.1", "::")):
            row = f"{addr} at {bind or addr}"
            ended(lab, Talk(lab, lab.client, lab.dut, addr, bind=bind), lab.dut, "in", f"in, {row}")
        for addr in ("10.1.0.2", "fd01::2"):
            ended(lab, Talk(lab, lab.dut, lab.client, addr), lab.dut, "out", f"out, {addr}")


def test_orientation():
    """Ends that are told the other way round are the same conversation; ends that nobody has are none."""
    with Router() as lab:
        talk = Talk(lab, lab.client, lab.dut, "10.1.0.1")
        a, ap, b, bp = talk.ends()
        equal(kill(lab.dut, "in", "tcp", (a, ap, b, bp - 1)), -errno.ENOENT, "another port")
        equal(kill(lab.dut, "in", "tcp", ("10.1.0.9", ap, b, bp)), -errno.ENOENT, "another client")
        equal(kill(lab.dut, "in", "udp", (a, ap, b, bp)), -errno.ENOENT, "another protocol")
        talk.client.send(b"on")
        equal(talk.server.recv(10), b"on", "the conversation goes on")
        equal(kill(lab.dut, "out", "tcp", (b, bp, a, ap)), 1, "the other way round")
        equal(death(talk.server), ABORTED, "the reader")


def test_udp():
    """A connected UDP socket ends; one that anybody may send to never does."""
    with Router() as lab:
        for addr in ("10.1.0.2", "fd01::2"):
            talk = Talk(lab, lab.dut, lab.client, addr, "udp")
            equal(kill(lab.client, "in", "udp", talk.ends()), -errno.ENOENT, f"{addr}: the server's socket")
            check(talk.listens(), f"{addr}: the server goes on")
            equal(kill(lab.dut, "out", "udp", talk.ends()), 1, f"{addr}: the client's socket")
            equal(death(talk.client), ABORTED, f"{addr}: the client")


def test_forwarded():
    """The sockets are in two other namespaces, of which this host's processes are."""
    with Router() as lab:
        for ns in (lab.client, lab.server):
            ns.spawn("sleep", "100")
        for addr in ("10.2.0.2", "fd02::2"):
            talk = Talk(lab, lab.client, lab.server, addr)
            equal(kill(lab.dut, "in", "tcp", talk.ends()), -errno.ENOENT, f"{addr}: not of this host itself")
            ended(lab, talk, lab.dut, "forward", f"forwarded, {addr}", both=True)


if __name__ == "__main__":
    main(globals())
