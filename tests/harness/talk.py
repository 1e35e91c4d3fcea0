# SPDX-License-Identifier: Apache-2.0
"""Who talks and who listens: the truth of a test is what a listener really received.

A refusal must come at once, and that nothing arrives is proved by order, not by waiting: after the packets
that must not arrive, a fence packet goes the same way to a port that is allowed. Packets of one CPU keep
their order through veth and a router, so when the fence has arrived, what was sent before it has arrived
too or never will. `main` of case.py pins the test to one CPU for this.
"""
import errno
import os
import select
import selectors
import socket
import struct
import threading
import time

from .netns import SLOW

PATIENCE = 45.0 * SLOW  # how long something that must happen may take on a busy machine; it stands still at times
SO_RCVBUFFORCE = 33

_token = 0


def token(word="t"):
    """A payload that occurs once."""
    global _token
    _token += 1
    return f"{word}-{os.getpid()}-{_token}".encode()


class Stalls(threading.Thread):
    """For how long this machine stood still: what its own clock promised and the CPU did not keep, in seconds."""

    def __init__(self, every=0.02):
        super().__init__(daemon=True)
        self.total, self._every, self._end = 0.0, every, threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self.join()

    def run(self):
        at = time.monotonic()
        while not self._end.wait(self._every):
            now = time.monotonic()
            self.total += max(0.0, now - at - 2 * self._every)
            at = now


def eventually(what, seconds=60):
    """For what no event tells of: asked again and again, until it is so. False: it was not, within these seconds."""
    end = time.monotonic() + seconds * SLOW
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def family_of(addr):
    return socket.AF_INET6 if ":" in addr else socket.AF_INET


class Listener:
    """TCP or UDP servers on some ports of one namespace; remembers every payload, answers b're:' + payload."""

    def __init__(self, lab, ns, proto, *ports, addrs=("0.0.0.0", "::"), answer=True):
        self.proto, self.answer = proto, answer
        self.got = []            # (port, payload), in order
        self.accepted = 0
        self._cv = threading.Condition()
        self._sel = selectors.DefaultSelector()
        self._wake_r, self._wake_w = os.pipe()
        self._syncs = 0
        self._stop = False
        self._sel.register(self._wake_r, selectors.EVENT_READ, None)
        self._open = []
        with ns:
            for addr in addrs:
                for port in ports:
                    s = socket.socket(family_of(addr), socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if s.family == socket.AF_INET6:
                        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    s.bind((addr, port))
                    if proto == "tcp":
                        s.listen(128)
                    else:
                        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
                    s.setblocking(False)
                    self._sel.register(s, selectors.EVENT_READ, port)
                    self._open.append(s)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        lab.on_close(self.close)

    def _note(self, port, data):
        with self._cv:
            self.got.append((port, data))
            self._cv.notify_all()

    def _ready(self, s, port):
        try:
            if s.type == socket.SOCK_DGRAM:
                while True:
                    data, peer = s.recvfrom(65535)
                    self._note(port, data)
                    if self.answer:
                        s.sendto(b"re:" + data[:1000], peer)
            if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                conn, _ = s.accept()
                conn.setblocking(False)
                with self._cv:
                    self.accepted += 1
                    self._cv.notify_all()
                self._sel.register(conn, selectors.EVENT_READ, port)
                self._open.append(conn)
                return
            data = s.recv(65536)
            if data:
                self._note(port, data)
                if self.answer:
                    s.sendall(b"re:" + data[:1000])
                return
        except BlockingIOError:
            return
        except OSError:
            if s.type == socket.SOCK_DGRAM:
                return
        self._sel.unregister(s)
        s.close()
        self._open.remove(s)

    def _serve(self):
        while not self._stop:
            # sockets first: when the wake byte is seen, everything before it has been read
            ready = self._sel.select()
            wakes = 0
            for key, _ in ready:
                if key.fileobj == self._wake_r:
                    wakes = len(os.read(self._wake_r, 4096))
            if wakes:
                ready = self._sel.select(0)
            while ready:
                for key, _ in ready:
                    if key.data is not None:
                        self._ready(key.fileobj, key.data)
                ready = self._sel.select(0) if wakes else []
            if wakes:
                with self._cv:
                    self._syncs += wakes
                    self._cv.notify_all()

    def sync(self):
        """Return when everything that the kernel has handed over so far has been noted."""
        with self._cv:
            want = self._syncs + 1
            os.write(self._wake_w, b"x")
            for _ in range(10):  # while it still reads what lay there before, it has only not come so far
                read = len(self.got)
                if self._cv.wait_for(lambda: self._syncs >= want, PATIENCE):
                    return
                if len(self.got) == read:
                    break
            raise RuntimeError("listener thread does not answer")

    def wait(self, payload, timeout=PATIENCE):
        """True when the payload arrives."""
        with self._cv:
            return self._cv.wait_for(lambda: any(payload == d for _, d in self.got), timeout)

    def wait_accepted(self, n, timeout=PATIENCE):
        with self._cv:
            return self._cv.wait_for(lambda: self.accepted >= n, timeout)

    def payloads(self, port=None):
        self.sync()
        with self._cv:
            return [d for p, d in self.got if port is None or p == port]

    def clear(self):
        self.sync()
        with self._cv:
            self.got.clear()
            self.accepted = 0

    def close(self):
        self._stop = True
        os.write(self._wake_w, b"x")
        self._thread.join(PATIENCE)
        for s in self._open:
            s.close()
        self._sel.close()
        os.close(self._wake_r)
        os.close(self._wake_w)


class Probe:
    """One TCP connect or one UDP question, and what became of it."""

    def __init__(self, ns, proto, dst, port, payload=None, src=None, sport=0):
        self.proto, self.payload = proto, payload or token(proto)
        self.start = time.monotonic()
        with ns:
            self.s = socket.socket(family_of(dst), socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
        self.s.setblocking(False)
        self.error = 0
        if src or sport:
            self.s.bind((src or ("::" if ":" in dst else "0.0.0.0"), sport))
        try:
            self.s.connect((dst, port))
            if proto == "udp":
                self.s.send(self.payload)
        except BlockingIOError:
            pass
        except OSError as e:
            self.error = e.errno

    def wait(self, timeout=PATIENCE):
        """open (an answer came), refused, unreachable, prohibited, or silence; sets .elapsed and .reply."""
        self.reply = b""
        try:
            return self._wait(timeout)
        finally:
            self.elapsed = time.monotonic() - self.start

    def opens(self, timeout=PATIENCE):
        """Did the handshake come to its end, this long after it began? Nothing is asked over the connection."""
        ready = self._poll(select.POLLOUT, self.start + timeout)
        return bool(ready) and not self.s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _poll(self, events, deadline):
        p = select.poll()
        p.register(self.s, events)
        return p.poll(max(0, (deadline - time.monotonic()) * 1000))

    def _wait(self, timeout):
        deadline = time.monotonic() + timeout
        if self.error:
            return self._name(self.error)
        if self.proto == "tcp":
            if not self._poll(select.POLLOUT, deadline):
                return "silence"
            err = self.s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if err:
                return self._name(err)
        try:
            if self.proto == "tcp":
                self.s.send(self.payload)
            if not self._poll(select.POLLIN, deadline):
                return "silence"
            self.reply = self.s.recv(65536)
            return "open" if self.reply else "closed"
        except OSError as e:
            return self._name(e.errno)

    @staticmethod
    def _name(err):
        return {errno.ECONNREFUSED: "refused", errno.ETIMEDOUT: "silence", errno.EHOSTUNREACH: "unreachable",
                errno.ENETUNREACH: "unreachable", errno.EACCES: "prohibited", errno.ECONNRESET: "reset",
                errno.EPERM: "eperm"}.get(err, errno.errorcode.get(err, str(err)))

    def quiet(self):
        """Right now: no answer, no error, no connection."""
        return not self.error and not self._poll(select.POLLIN | (select.POLLOUT if self.proto == "tcp" else 0), 0)

    def close(self):
        self.s.close()


def ask(ns, proto, dst, port, timeout=PATIENCE, **kw):
    """One probe to its end; returns its answer word. 'open' means that the listener answered our payload."""
    p = Probe(ns, proto, dst, port, **kw)
    try:
        word = p.wait(timeout)
        return "garbled" if word == "open" and p.reply != b"re:" + p.payload else word
    finally:
        p.close()


def fence(ns, dst, listener, port, tries=300):
    """Send on an allowed path until it arrives: then everything sent before has arrived or never will."""
    with ns:
        s = socket.socket(family_of(dst), socket.SOCK_DGRAM)
    with s:
        for _ in range(tries):
            t = token("fence")
            try:
                s.sendto(t, (dst, port))
            except OSError:
                pass
            if listener.wait(t, PATIENCE / 100):
                listener.sync()
                return True
    return False


def ping(ns, dst, count=3, timeout=None):
    """Number of answers to `count` echo requests (one every 20 ms). Ends with the last answer or the timeout."""
    v6 = ":" in dst
    got = set()
    with ns:
        s = socket.socket(family_of(dst), socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    with s:
        deadline = time.monotonic() + (timeout or PATIENCE)
        for seq in range(count):
            try:
                s.sendto(struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 0, seq) + b"weir", (dst, 0))
            except OSError:
                pass
        while len(got) < count and time.monotonic() < deadline:
            s.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = s.recv(2048)
            except OSError:
                continue
            got.add(struct.unpack("!H", data[6:8])[0])
    return len(got)


class Flood(threading.Thread):
    """Sends UDP to an address as fast as one thread can, until stopped; counts what it sent. With `every`
    seconds between two bursts of 32; on a slower machine fewer and further between, as it is slower. Runs on any CPU: its
    packets have no order among the test's."""

    def __init__(self, lab, ns, dst, port, payload=b"flood", src_ports=1, src=None, every=0.0):
        super().__init__(daemon=True)
        self.sent, self._stop_flag = 0, False
        self._socks = []
        with ns:
            for _ in range(src_ports):
                s = socket.socket(family_of(dst), socket.SOCK_DGRAM)
                s.setblocking(False)
                if src:
                    s.bind((src, 0))
                self._socks.append(s)
        self._every, self._burst = every * SLOW, max(4, int(32 / SLOW)) if every else 32
        self._dst, self._payload = (dst, port), payload
        lab.on_close(self.stop)
        self.start()

    def run(self):
        os.sched_setaffinity(0, range(os.cpu_count()))
        while not self._stop_flag:
            if self._every:
                time.sleep(self._every)
            for s in self._socks:
                for _ in range(self._burst):
                    try:
                        s.sendto(self._payload, self._dst)
                        self.sent += 1
                    except OSError:
                        time.sleep(0.0005)  # no route or no neighbour at the moment: do not burn the CPU

    def stop(self):
        self._stop_flag = True
        if self.is_alive():
            self.join(PATIENCE)
        for s in self._socks:
            s.close()
        return self.sent
