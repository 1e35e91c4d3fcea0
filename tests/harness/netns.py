# SPDX-License-Identifier: Apache-2.0
"""Network namespaces for tests.

One process sees many namespaces: a socket stays in the namespace where it was made, so a test enters a
namespace, opens its sockets and leaves. Programs are started through `nsenter --net`, never through
`ip netns exec`, which remounts /sys and hides the pins of weir.

Names begin with wt<pid>, so that parallel tests cannot meet; what a killed test left behind is swept by the
next one. Interfaces are born inside their namespaces and never appear in the host's.
"""
import atexit
import ctypes
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

RUN_NETNS = "/run/netns"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _slowness():
    """How many times slower this machine is right now than a quiet one, 1 to 5, by what tests do most: start a program."""
    took = []
    for _ in range(40):
        start = time.monotonic()
        subprocess.run(["/bin/true"])
        took.append(time.monotonic() - start)
    return round(min(max(statistics.median(took) / 0.001, 1), 5), 1)  # quiet: 0.6 to 1 ms


SLOW = float(os.environ.get("WEIR_TEST_SLOW") or _slowness())


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


class ProgramFailed(Exception):
    pass


def sh(*argv, check=True, timeout=60, **kw):
    """Run a program to its end; returns CompletedProcess with text output."""
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, errors="replace", timeout=timeout * SLOW, **kw)
    if check and p.returncode:
        raise ProgramFailed(f"{' '.join(argv)}: exit {p.returncode}\n{p.stdout}{p.stderr}")
    return p


class Netns:
    """One namespace. `with ns:` moves the calling thread into it."""

    def __init__(self, name):
        self.name = name
        self.path = f"{RUN_NETNS}/{name}"
        self._saved = threading.local()
        self._programs = []
        sh("ip", "netns", "add", name)
        self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self.sysctl("net.ipv6.conf.all.disable_ipv6", 0)
        for which in ("all", "default"):
            for key, value in (("accept_dad", 0), ("autoconf", 0), ("accept_ra", 0), ("router_solicitations", 0)):
                self.sysctl(f"net.ipv6.conf.{which}.{key}", value)
            self.sysctl(f"net.ipv4.conf.{which}.rp_filter", 0)
        # answers that weir does not limit must not be limited by the kernel under test either
        self.sysctl("net.ipv4.icmp_ratelimit", 0)
        self.sysctl("net.ipv6.icmp.ratelimit", 0)
        self.sysctl("net.ipv4.ping_group_range", "0 2147483647")
        self.ip("link", "set", "lo", "up")

    def __enter__(self):
        stack = self._saved.__dict__.setdefault("stack", [])
        stack.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        _setns(self.fd)
        return self

    def __exit__(self, *exc):
        fd = self._saved.stack.pop()
        _setns(fd)
        os.close(fd)

    def argv(self, *argv):
        return ["nsenter", f"--net={self.path}", *map(str, argv)]

    def sh(self, *argv, **kw):
        return sh(*self.argv(*argv), **kw)

    def ip(self, *args):
        return sh("ip", "-n", self.name, *map(str, args))

    def spawn(self, *argv, **kw):
        """Start a program that lives until the lab is torn down (or until the test stops it)."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.DEVNULL)
        kw.setdefault("stderr", subprocess.DEVNULL)
        p = subprocess.Popen(self.argv(*argv), **kw)
        self._programs.append(p)
        return p

    def sysctl(self, key, value):
        with self:
            with open("/proc/sys/" + key.replace(".", "/"), "w") as f:
                f.write(str(value))

    def ifindex(self, name):
        import socket
        with self:
            return socket.if_nametoindex(name)

    def mac(self, name):
        import fcntl
        import socket
        import struct
        with self, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            r = fcntl.ioctl(s, 0x8927, struct.pack("256s", name.encode()))  # SIOCGIFHWADDR
        return ":".join(f"{b:02x}" for b in r[18:24])

    def destroy(self):
        for p in self._programs:
            if p.poll() is None:
                p.kill()
            p.wait()
            for f in (p.stdin, p.stdout, p.stderr):
                if f:
                    f.close()
        os.close(self.fd)
        sh("ip", "netns", "del", self.name, check=False)


class Lab:
    """A set of namespaces that live as long as the `with` block.

    Names by letter: c client, d dut (where weir runs), s server, f far, k container.
    """

    _count = 0

    def __init__(self):
        Lab._count += 1
        self.prefix = f"wt{os.getpid()}-{Lab._count}"
        self.spaces = []
        self.closers = []

    def space(self, letter):
        ns = Netns(self.prefix + letter)
        self.spaces.append(ns)
        return ns

    def link(self, a, a_if, b, b_if):
        """A veth pair between two namespaces, both ends up."""
        sh("ip", "link", "add", a_if, "netns", a.name, "type", "veth", "peer", "name", b_if, "netns", b.name)
        a.ip("link", "set", a_if, "up")
        b.ip("link", "set", b_if, "up")

    def address(self, ns, ifname, *addrs):
        for x in addrs:
            ns.ip("addr", "add", x, "dev", ifname, *(["nodad"] if ":" in x else []))

    def alias(self, ns, ifname, *addrs):
        """More addresses, used only by who asks for them (IPv6 would else prefer the newest)."""
        for x in addrs:
            ns.ip("addr", "add", x, "dev", ifname, *(["nodad", "preferred_lft", "0"] if ":" in x else []))

    def on_close(self, fn):
        self.closers.append(fn)

    def __enter__(self):
        return self

    on_failure = staticmethod(lambda: None)
    has_failed = staticmethod(lambda: False)

    def __exit__(self, kind, *_):
        # a failed case is explained while the instances under test still live
        if self.has_failed() or (kind and kind.__name__ != "Skip"):
            Lab.on_failure()
        self.close()

    def close(self):
        while self.closers:
            fn = self.closers.pop()
            try:
                fn()
            except Exception as e:  # one broken cleanup must not keep the others from running
                print(f"# cleanup: {e}", file=sys.stderr)
        while self.spaces:
            self.spaces.pop().destroy()


class Router(Lab):
    """client - dut - server. The dut is both an endpoint and the router between the two.

    client cl0 10.1.0.2  -  dut in0 10.1.0.1 / out0 10.2.0.1  -  server sv0 10.2.0.2; v6: fd01::, fd02::
    """

    def __init__(self):
        super().__init__()
        self.client, self.dut, self.server = self.space("c"), self.space("d"), self.space("s")
        self.link(self.client, "cl0", self.dut, "in0")
        self.link(self.server, "sv0", self.dut, "out0")
        self.address(self.client, "cl0", "10.1.0.2/24", "fd01::2/64")
        self.address(self.dut, "in0", "10.1.0.1/24", "fd01::1/64")
        self.address(self.dut, "out0", "10.2.0.1/24", "fd02::1/64")
        self.address(self.server, "sv0", "10.2.0.2/24", "fd02::2/64")
        for ns, v4, v6 in ((self.client, "10.1.0.1", "fd01::1"), (self.server, "10.2.0.1", "fd02::1")):
            ns.ip("route", "add", "default", "via", v4)
            ns.ip("-6", "route", "add", "default", "via", v6)
        self.dut.sysctl("net.ipv4.ip_forward", 1)
        self.dut.sysctl("net.ipv6.conf.all.forwarding", 1)

    CLIENT = {4: "10.1.0.2", 6: "fd01::2"}
    DUT = {4: "10.1.0.1", 6: "fd01::1"}
    DUT_OUT = {4: "10.2.0.1", 6: "fd02::1"}
    SERVER = {4: "10.2.0.2", 6: "fd02::2"}

    def nft(self, text):
        subprocess.run(self.dut.argv("nft", "-f", "-"), input=text, text=True, check=True, timeout=60 * SLOW)

    def masquerade(self):
        self.nft("""
            table inet wtnat {
                chain post { type nat hook postrouting priority srcnat;
                    oifname "out0" masquerade
                }
            }""")

    def containers(self):
        """A container behind the dut: eth0 10.3.0.2, fd03::2."""
        self.container = self.space("k")
        self.link(self.container, "eth0", self.dut, "ct0")
        self.address(self.container, "eth0", "10.3.0.2/24", "fd03::2/64")
        self.address(self.dut, "ct0", "10.3.0.1/24", "fd03::1/64")
        self.container.ip("route", "add", "default", "via", "10.3.0.1")
        self.container.ip("-6", "route", "add", "default", "via", "fd03::1")

    def publish(self, port, to_port):
        """Ports of the dut's inner address that lead to the container, TCP and UDP."""
        self.nft(f"""
            table inet wtpub{port} {{
                chain pre {{ type nat hook prerouting priority dstnat;
                    iifname "in0" ip daddr 10.1.0.1 meta l4proto {{ tcp, udp }} th dport {port} dnat ip to 10.3.0.2:{to_port}
                    iifname "in0" ip6 daddr fd01::1 meta l4proto {{ tcp, udp }} th dport {port} dnat ip6 to [fd03::2]:{to_port}
                }}
            }}""")

    CONTAINER = {4: "10.3.0.2", 6: "fd03::2"}

    def far(self, mtu):
        """A host behind the server, over a link of a smaller MTU: the server becomes a router."""
        self.far_ns = self.space("f")
        self.link(self.far_ns, "far0", self.server, "sf0")
        # only the way there is narrow: the far host must not announce it in its MSS
        self.server.ip("link", "set", "sf0", "mtu", mtu)
        self.address(self.far_ns, "far0", "10.4.0.2/24", "fd04::2/64")
        self.address(self.server, "sf0", "10.4.0.1/24", "fd04::1/64")
        self.far_ns.ip("route", "add", "default", "via", "10.4.0.1")
        self.far_ns.ip("-6", "route", "add", "default", "via", "fd04::1")
        self.server.sysctl("net.ipv4.ip_forward", 1)
        self.server.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.dut.ip("route", "add", "10.4.0.0/24", "via", "10.2.0.2")
        self.dut.ip("-6", "route", "add", "fd04::/64", "via", "fd02::2")

    FAR = {4: "10.4.0.2", 6: "fd04::2"}


class Bridge(Lab):
    """client and server on two ports of a bridge in the dut; the dut has an address on the bridge."""

    CLIENT = {4: "10.5.0.2", 6: "fd05::2"}
    DUT = {4: "10.5.0.1", 6: "fd05::1"}
    SERVER = {4: "10.5.0.3", 6: "fd05::3"}

    def __init__(self):
        super().__init__()
        self.client, self.dut, self.server = self.space("c"), self.space("d"), self.space("s")
        self.dut.ip("link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        self.link(self.client, "cl0", self.dut, "p1")
        self.link(self.server, "sv0", self.dut, "p2")
        for port in ("p1", "p2"):
            self.dut.ip("link", "set", port, "master", "br0")
        self.dut.ip("link", "set", "br0", "up")
        self.address(self.client, "cl0", "10.5.0.2/24", "fd05::2/64")
        self.address(self.dut, "br0", "10.5.0.1/24", "fd05::1/64")
        self.address(self.server, "sv0", "10.5.0.3/24", "fd05::3/64")


def _sweep():
    """Remove namespaces of test processes that are no more."""
    if not os.path.isdir(RUN_NETNS):
        return
    for name in os.listdir(RUN_NETNS):
        m = re.match(r"wt(\d+)-\d+[a-z]$", name)
        if m and not os.path.exists(f"/proc/{m.group(1)}"):
            sh("ip", "netns", "del", name, check=False)


def need(*programs):
    """The first of the programs that is not installed, or None."""
    return next((p for p in programs if not shutil.which(p)), None)


def setup():
    """Once per test process: a killed test still cleans up, and nothing of a dead one is in the way."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    _sweep()
    atexit.register(_sweep)
