# SPDX-License-Identifier: Apache-2.0
"""weir as a user meets it: the binary, its files, its exit status."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

from .netns import SLOW, sh
from .talk import eventually

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("WEIR_BIN") or os.path.join(ROOT, "build", "weir")
READY = 60.0 * SLOW

live = []  # for the report of a failed case


def unattended(args):
    """What a program adds that is sure of what it does. A listener of the test in the dut's namespace is a parent of the
    command, so the connections that it accepted would count as the session of whoever types it."""
    if tuple(args[:2]) in {("rule", "add"), ("rule", "delete"), ("rule", "clear"), ("ban", "add"), ("set", "add"),
                           ("set", "remove")} or (args and args[0] in ("apply", "rollback")) or args[:1] == ("mode",) != args:
        chosen = {"--help", "--confirm", "--no-confirm", "--replace"} & set(args) or args[0] in ("rule", "ban", "set")
        return [x for x in ("--force", *(() if chosen else ("--no-confirm",))) if x not in args and "--help" not in args]
    return []


class Weir:
    """One instance in one namespace, with directories of its own."""

    def __init__(self, lab, ns, prefix="weir-e2e-"):
        self.ns = ns
        self.dir = tempfile.mkdtemp(prefix=prefix)
        self.runtime, self.state = f"{self.dir}/run", f"{self.dir}/state"
        self.log, self.config = f"{self.dir}/log", f"{self.dir}/etc"
        for d in (self.runtime, self.state, self.log, self.config):
            os.mkdir(d, 0o700)
        self.env = dict(os.environ, WEIR_RUNTIME_DIR=self.runtime, WEIR_STATE_DIR=self.state,
                        WEIR_LOG_DIR=self.log, WEIR_CONFIG_DIR=self.config, NO_COLOR="1")
        self.env.pop("SSH_CONNECTION", None)
        self.daemon = None
        self.output = f"{self.dir}/daemon.out"
        self._n = 0
        live.append(self)
        lab.on_close(self.destroy)

    # -- files
    def write(self, text, name=None):
        """A policy file; returns its path."""
        self._n += 1
        path = name if name and name.startswith("/") else f"{self.dir}/{name or f'policy{self._n}.yaml'}"
        with open(path, "w") as f:
            f.write(textwrap.dedent(text))
        return path

    # -- commands
    def __call__(self, *args, check=True, stdin=None, timeout=60):
        """Run `weir args`; CompletedProcess. With check, anything but 0 is an error of the test."""
        p = subprocess.run(self.ns.argv(BIN, *args, *unattended(args)), env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           input=stdin, stdin=None if stdin else subprocess.DEVNULL, text=True, errors="replace",
                           timeout=timeout * SLOW)
        if check and p.returncode:
            raise RuntimeError(f"weir {' '.join(map(str, args))}: exit {p.returncode}\n{p.stdout}{p.stderr}")
        return p

    def json(self, *args, **kw):
        """The JSON that a command prints: one value, or a list of the values of its lines."""
        text = self(*args, "--output", "json", **kw).stdout
        try:
            return json.loads(text)
        except ValueError:
            return [json.loads(x) for x in text.splitlines() if x.strip()]

    def status(self):
        """What status says, once somebody answers: by itself it waits a few seconds, and a machine may stand still longer."""
        said = {}

        def answered():
            said.update(self.json("status", check=False))
            return said.get("answers", True)

        eventually(answered)
        return said

    def records(self, *args):
        """Events or flows as a list, whatever shape the command prints them in."""
        v = self.json(*args)
        if isinstance(v, dict):
            v = next((x for x in v.values() if isinstance(x, list)), [v])
        return v

    # -- life
    def run(self, policy=None, *args, wait=True):
        """Start the daemon in the foreground of a process of its own; return when it is ready."""
        argv = ["run", "--no-live", *args]
        if policy is not None:
            argv += ["--policy", policy if policy.startswith("/") else self.write(policy)]
        with open(self.output, "ab") as out:
            self.daemon = subprocess.Popen(self.ns.argv(BIN, *argv), env=self.env, stdin=subprocess.DEVNULL,
                                           stdout=out, stderr=out)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + READY
        while True:
            if self.daemon.poll() is not None:
                raise RuntimeError(f"weir run ended with {self.daemon.returncode}:\n{self.said()}")
            p = self("status", check=False)
            # 3 is also said of one that does not answer yet
            if p.returncode in (0, 3) and "does not answer" not in p.stdout + p.stderr:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"weir is not ready after {READY} s: status says {p.returncode}\n"
                                   f"{p.stdout}{p.stderr}{self.said()}")
            time.sleep(0.05)

    def said(self):
        try:
            with open(self.output, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def apply(self, policy, *args, **kw):
        path = policy if policy.startswith("/") else self.write(policy)
        return self("apply", path, *args, **kw)

    def signal(self, sig=signal.SIGINT, timeout=30):
        """Send a signal to the daemon and wait for its end; its exit status."""
        self.daemon.send_signal(sig)
        return self.daemon.wait(timeout * SLOW)

    def kill(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()

    def stop(self):
        r = self("stop")
        self.daemon.wait(30 * SLOW)
        return r

    def traces(self, *devices):
        """What this instance has left on these devices of its namespace and in its directories."""
        out = [f"mount: {x.strip()}" for x in open("/proc/self/mounts") if self.dir in x]
        for dev in devices:
            for hook in ("ingress", "egress"):
                text = self.ns.sh("tc", "filter", "show", "dev", dev, hook, check=False).stdout.strip()
                out += [f"tc {dev} {hook}: {text}"] if text else []
            out += [f"clsact on {dev}"] if "clsact" in self.ns.sh("tc", "qdisc", "show", "dev", dev).stdout else []
            out += [f"xdp on {dev}"] if "xdp" in self.ns.ip("link", "show", dev).stdout else []
        text = self.ns.sh("nft", "list", "ruleset", check=False).stdout.strip()
        out += [f"nft: {text}"] if text else []
        left = [os.path.join(d, f) for d, _, fs in os.walk(self.runtime) for f in fs]
        return out + ([f"runtime dir: {left}"] if left else [])

    def destroy(self):
        live.remove(self)
        self.kill()
        try:
            self("flush", check=False)
        except (OSError, subprocess.SubprocessError) as e:
            print(f"# flush: {e}", file=sys.stderr)
        for line in open("/proc/self/mounts").read().splitlines():
            where = line.split()[1]
            if where.startswith(self.dir + "/"):
                sh("umount", "-l", where, check=False)
        if not os.environ.get("WEIR_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def report(self):
        """What a person needs when a case failed."""
        out = [f"--- {self.dir}: output of the daemon", self.said()[-3000:]]
        for args in (("status",), ("events",), ("flows",)):
            try:
                p = self(*args, check=False, timeout=20)
                out += [f"--- weir {' '.join(args)}: exit {p.returncode}", p.stdout[-3000:], p.stderr[-1000:]]
            except (OSError, subprocess.SubprocessError) as e:
                out += [f"--- weir {' '.join(args)}: {e}"]
        return "\n".join(out)


class Policy:
    """Pieces that most test policies share."""

    @staticmethod
    def text(rules="", inbound="drop", outbound="allow", forward="allow", mode="prevent", extra=""):
        out = f"version: 1\nmode: {mode}\ndefault: {{ inbound: {inbound}, outbound: {outbound}, forward: {forward} }}\n"
        out += textwrap.dedent(extra).strip("\n") + "\n" if extra else ""
        if rules:
            out += "rules:\n" + textwrap.indent(textwrap.dedent(rules).strip("\n"), "  ") + "\n"
        return out
