#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The first thirty seconds: `weir run` on a terminal of its own. The picture says DETECT, is filled from what
is already there, and Ctrl-C gives the terminal back and leaves nothing running."""
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403


class Terminal:
    """A program on a pseudo terminal; what it has written so far is in .text."""

    def __init__(self, argv, env, rows=40, cols=140):
        import fcntl
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.text = ""
        env = dict(env, TERM="xterm-256color")
        env.pop("NO_COLOR", None)
        self.p = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
                                  preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def read(self, until, timeout=60):
        """True when the pattern has been written."""
        deadline = time.monotonic() + timeout * SLOW
        while not re.search(until, self.plain()):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                return False
            try:
                self.text += os.read(self.master, 65536).decode(errors="replace")
            except OSError:
                return bool(re.search(until, self.plain()))
        return True

    def plain(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text)

    def end(self, timeout=30):
        """Wait for the end while reading, as a terminal does."""
        deadline = time.monotonic() + timeout * SLOW
        while self.p.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    break
        return self.p.wait(5 * SLOW)

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        os.close(self.slave)
        os.close(self.master)


def test_first_thirty_seconds():
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80, 5432)
        Listener(lab, lab.server, "tcp", 443)
        # conversations that are older than weir: the first picture is made from them
        out, inward = Probe(lab.dut, "tcp", lab.SERVER[4], 443), Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(out.wait() == "open" and inward.wait() == "open", "no connections to begin with")
        w = Weir(lab, lab.dut)
        t = Terminal(w.ns.argv(BIN, "run"), w.env)
        lab.on_close(t.close)
        check(t.read("DETECT"), f"the picture does not say DETECT:\n{t.plain()[-2000:]}")
        check(t.read(r"nothing is blocked"), f"it does not say that nothing is blocked:\n{t.plain()[-2000:]}")
        check(t.read(r"10\.2\.0\.2"), f"the outbound connection is not in the picture:\n{t.plain()[-2000:]}")
        check(t.read(r"5432"), f"what listens to the world is not in the picture:\n{t.plain()[-2000:]}")
        check(t.read(r"[0-9]+ interfaces? (watched|covered)"), f"it does not say how many interfaces:\n{t.plain()[-2000:]}")
        check(t.read(r"weir (why|learn|init|status|apply|rule)"), f"no next command is named:\n{t.plain()[-2000:]}")
        # only commands that exist are named
        for name in set(re.findall(r"weir ([a-z]+)", t.plain())) - {"run"}:
            equal(sh(BIN, name, "--help", check=False).returncode, 0, f"the picture names 'weir {name}'")
        # a new conversation appears
        new = Probe(lab.dut, "tcp", lab.SERVER[6], 443)
        must(new.wait() == "open", "no new connection")
        check(t.read(r"fd02::2"), f"a new connection does not appear:\n{t.plain()[-2000:]}")
        os.write(t.master, b"\x03")
        equal(t.end(), 0, f"exit status after Ctrl-C:\n{t.plain()[-500:]}")
        equal(termios.tcgetattr(t.slave)[:4], t.before[:4], "terminal settings after Ctrl-C")
        check(t.text.count("\x1b[?25l") <= t.text.count("\x1b[?25h"), "the cursor stays hidden")
        equal(w.traces("lo", "in0", "out0"), [], "traces")
        for p in (out, inward, new):
            p.close()


def test_in_a_pipe():
    """Plain lines, no colour, no cursor movement; the picture comes once."""
    with Router() as lab:
        Listener(lab, lab.server, "tcp", 443)
        out = Probe(lab.dut, "tcp", lab.SERVER[4], 443)
        must(out.wait() == "open", "no connection")
        w = Weir(lab, lab.dut)
        with open(w.output, "ab") as f:
            w.daemon = subprocess.Popen(w.ns.argv(BIN, "run"), env=w.env, stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        w.wait_ready()
        deadline = time.monotonic() + PATIENCE
        while "10.2.0.2" not in w.said() and time.monotonic() < deadline:
            time.sleep(0.1)
        check("DETECT" in w.said() and "10.2.0.2" in w.said(), f"the picture:\n{w.said()[-2000:]}")
        check("\x1b" not in w.said(), "escape sequences in a pipe")
        equal(w.signal(), 0, "exit status")
        out.close()


def test_a_reader_that_waits():
    """A pager that has not been read to its end holds the picture, and not the daemon."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
        with open(w.output, "ab") as f:
            w.daemon = subprocess.Popen(w.ns.argv(BIN, "run"), env=w.env, stdin=subprocess.DEVNULL, stdout=writer, stderr=f)
        os.close(writer)
        w.wait_ready()
        equal(w("flows").returncode, 0, "flows, with nobody to take the picture")
        equal(w.signal(), 0, "exit status")
        os.close(reader)


if __name__ == "__main__":
    main(globals())
