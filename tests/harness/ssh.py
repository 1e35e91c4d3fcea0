# SPDX-License-Identifier: Apache-2.0
"""A real sshd in a namespace, with keys and a configuration of its own, and sessions that a test types into."""
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

from .case import must, need
from .netns import sh
from .talk import PATIENCE, Probe


class Sshd:
    """Listens on port 22 of a namespace; lets root in by one key. Not the host's: another configuration, other keys."""

    def __init__(self, lab, ns):
        need("sshd", "ssh", "ssh-keygen")
        self.lab, self.ns = lab, ns
        self.dir = tempfile.mkdtemp(prefix="weir-sshd-")
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # where sshd shuts in what has not logged in yet
        for name in ("host", "user"):
            sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.dir}/{name}")
        with open(f"{self.dir}/conf", "w") as f:
            f.write(f"HostKey {self.dir}/host\nAuthorizedKeysFile {self.dir}/user.pub\nPermitRootLogin prohibit-password\n"
                    "StrictModes no\nUsePAM no\nPasswordAuthentication no\nUseDNS no\nPrintMotd no\nPidFile none\n"
                    "MaxStartups 100\n")
        log = open(f"{self.dir}/log", "w")
        self.program = ns.spawn("/usr/sbin/sshd", "-D", "-e", "-f", f"{self.dir}/conf", stderr=log)
        log.close()
        lab.on_close(self.close)
        deadline = time.monotonic() + PATIENCE
        while (got := Probe(ns, "tcp", "127.0.0.1", 22).wait(1)) != "open":
            must(time.monotonic() < deadline and self.program.poll() is None,
                 f"sshd does not listen ({got}): {open(self.dir + '/log').read()}")
            time.sleep(0.05)

    def argv(self, client, addr, *command, tty=False):
        return client.argv("ssh", "-F", "none", "-i", f"{self.dir}/user", "-o", "StrictHostKeyChecking=no", "-o",
                           "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o",
                           "ServerAliveInterval=0", "-o", "ConnectTimeout=15", *(["-tt"] if tty else []), f"root@{addr}",
                           *command)

    def close(self):
        self.program.kill()
        self.program.wait()
        sh("rm", "-rf", self.dir)


class Shell:
    """One ssh session with a shell in it: commands go in, and their output comes back, as long as it lives."""

    def __init__(self, sshd, client, addr, tty=False, env=None):
        self._cv = threading.Condition()
        self.heard = ""
        self._n = 0
        self.p = subprocess.Popen(sshd.argv(client, addr, "exec bash --norc" if tty else "exec bash", tty=tty),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        sshd.lab.on_close(self.close)
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()
        if tty:
            self.type("stty -echo; PS1=\n")
        for key, value in (env or {}).items():
            self.type(f"export {key}='{value}'\n")
        self.run("true")

    def _listen(self):
        while data := self.p.stdout.read(65536):
            with self._cv:
                self.heard += data.decode(errors="replace")
                self._cv.notify_all()

    def type(self, text):
        self.p.stdin.write(text.encode())

    def wait(self, pattern, timeout=PATIENCE, start=0):
        """The match of a pattern in what was heard since `start`, or None."""
        with self._cv:
            self._cv.wait_for(lambda: re.search(pattern, self.heard[start:]), timeout)
            return re.search(pattern, self.heard[start:])

    def run(self, command, timeout=60):
        """(exit status, output) of a command."""
        self._n += 1
        start = len(self.heard)
        self.type(f"{command} < /dev/null 2>&1; echo \"end-{self._n}-$?\"\n")
        m = self.wait(rf"end-{self._n}-(\d+)\r?\n", timeout, start)
        must(m, f"the session does not answer: {command}\n{self.heard[start:]}")
        return int(m.group(1)), self.heard[start:start + m.start()]

    def echoes(self, timeout=PATIENCE):
        """New bytes make it there and back."""
        self._n += 1
        start = len(self.heard)
        self.type(f"echo there-{self._n}-and-back\n")
        return self.wait(rf"there-{self._n}-and-back", timeout, start) is not None

    def hang_up(self):
        """The terminal goes away."""
        self.p.send_signal(signal.SIGTERM)
        self.p.wait(PATIENCE)

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        self.p.stdin.close()
        self._ear.join()  # else it may go on reading what the next session opens under this number
        self.p.stdout.close()
