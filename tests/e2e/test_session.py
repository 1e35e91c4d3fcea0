#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Over which connection somebody works here: a real sshd, reached over a veth pair; what runs in the session tells its
process, and the helper finds the connection, also through sudo, su, tmux and screen, which hide it."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

ASK = os.environ.get("WEIR_ASK", os.path.join(ROOT, "build/tests/harness/weir-ask"))
SSHD = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin") or ""
PORT = 2222


class Ssh:
    """A client and a host with an sshd of its own."""

    def __init__(self, lab, pam):
        need("ssh", "ssh-keygen")
        if not SSHD:
            raise Skip("sshd is not installed")
        self.dir = tempfile.mkdtemp(prefix="weir-ssh-")
        lab.on_close(lambda: shutil.rmtree(self.dir, ignore_errors=True))
        self.client, self.host = lab.space("c"), lab.space("d")
        lab.link(self.client, "cl0", self.host, "in0")
        for ns, name, n in ((self.client, "cl0", 2), (self.host, "in0", 1)):
            lab.address(ns, name, f"10.1.0.{n}/24", f"fd01::{n}/64")
        for name in ("host", "user"):
            sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.dir}/{name}")
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        with open(f"{self.dir}/sshd_config", "w") as f:
            f.write(f"Port {PORT}\nHostKey {self.dir}/host\nPidFile none\nAuthorizedKeysFile {self.dir}/user.pub\n"
                    "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
                    f"PermitRootLogin prohibit-password\nUsePAM {pam}\nGatewayPorts clientspecified\nPrintMotd no\n")
        self.log = open(f"{self.dir}/log", "w+")
        lab.on_close(self.log.close)
        self.sshd = self.host.spawn(SSHD, "-D", "-e", "-f", f"{self.dir}/sshd_config", stderr=self.log)
        with self.client:
            until(lambda: socket.create_connection(("10.1.0.1", PORT), 1).close() is None, "sshd listens")
        self.lab = lab

    def run(self, command, addr="10.1.0.1", tty=False, options=()):
        """Start a command in a session of its own; it prints `pid N` and stays. Returns its process."""
        p = self.client.spawn("ssh", "-F", "none", *options, "-i", f"{self.dir}/user", "-p", PORT, "-o", "StrictHostKeyChecking=no",
                              "-o", f"UserKnownHostsFile={self.dir}/known", "-o", "BatchMode=yes", "-o",
                              "LogLevel=ERROR", *(["-tt"] if tty else []), f"root@{addr}", command,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = b""
        while not re.search(rb"pid \d+", text):
            line = p.stdout.readline()
            if not line:
                self.log.seek(0)
                raise Failed(f"{command}: {text!r}; sshd: {self.log.read()[-600:]}")
            text += line
        return int(re.search(rb"pid (\d+)", text).group(1))

    def sessions(self, pid):
        r = self.host.sh(ASK, "sessions", pid)
        return [line.split() for line in r.stdout.splitlines()]


def until(fn, what):
    """A program is starting: what it will do cannot be waited for by an event."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if fn():
                return
        except OSError:
            pass
        must(time.monotonic() < end, what)
        time.sleep(0.05)


def found(ssh, pid, row, client="10.1.0.2", host="10.1.0.1"):
    got = ssh.sessions(pid)
    if equal(len(got), 1, f"{row}: connections {got}"):
        from_, _, to, port, _, program = got[0]
        equal((from_, to, port, program[:4]), (client, host, str(PORT), "sshd"), row)


STAY = "echo pid $$; exec sleep 100"


def through(pam):
    with Lab() as lab:
        ssh = Ssh(lab, pam)
        found(ssh, ssh.run(STAY), f"UsePAM {pam}: the session's own process")
        found(ssh, ssh.run(STAY, tty=True), f"UsePAM {pam}: with a terminal")
        found(ssh, ssh.run(STAY, addr="fd01::1"), f"UsePAM {pam}: IPv6", "fd01::2", "fd01::1")
        found(ssh, ssh.run(f"su -s /bin/sh nobody -c '{STAY}'"), f"UsePAM {pam}: su -c")
        found(ssh, ssh.run(f"su - -c '{STAY}'"), f"UsePAM {pam}: su -")
        orphan = ssh.run(f"(setsid sh -c '{STAY}' &)")
        until(lambda: parents(orphan) == [orphan], "its parents have left it")
        if login_session(orphan):  # pam_loginuid could say it; else nothing leads back
            found(ssh, orphan, f"UsePAM {pam}: a process that left its parents")
        if netns_has("sudo"):
            found(ssh, ssh.run(f"sudo -n sh -c '{STAY}'"), f"UsePAM {pam}: sudo")
            found(ssh, ssh.run(f"sudo -n sh -c '{STAY}'", tty=True), f"UsePAM {pam}: sudo with a terminal")
            pid = ssh.run("sudo -n sh -c 'echo env ${SSH_CONNECTION:-none}; " + STAY + "'")
            check("SSH_CONNECTION" not in environ(pid), "sudo hides the connection from the environment")
        else:
            print("# sudo is not installed: not tried")


def netns_has(program):
    return shutil.which(program) is not None


def login_session(pid):
    try:
        with open(f"/proc/{pid}/sessionid") as f:
            return f.read().strip() != "4294967295"
    except FileNotFoundError:
        return False


def environ(pid):
    with open(f"/proc/{pid}/environ", "rb") as f:
        return [v.split(b"=")[0].decode() for v in f.read().split(b"\0")]


def test_pam_no():
    through("no")


def test_pam_yes():
    if not os.path.exists("/etc/pam.d/sshd"):
        raise Skip("no /etc/pam.d/sshd")
    through("yes")


def test_local():
    """Who did not come over the network has no session, also while others have one."""
    with Lab() as lab:
        ssh = Ssh(lab, "no")
        ssh.run(STAY)
        here = lab.spaces[1].spawn("sleep", "100")
        equal(ssh.sessions(here.pid), [], "a process of this host")
        equal(ssh.sessions(ssh.sshd.pid), [], "sshd itself, which listens")


def test_forwarded_ports():
    """Who comes in by a port that the session forwards does not work here."""
    with Lab() as lab:
        ssh = Ssh(lab, "no")
        with ssh.client:
            target = socket.create_server(("10.1.0.2", 9000))
        target.settimeout(PATIENCE)
        lab.on_close(target.close)
        pid = ssh.run(STAY, options=("-R", "10.1.0.1:8080:10.1.0.2:9000"))
        with ssh.client:
            guest = socket.create_connection(("10.1.0.1", 8080), 5)
        lab.on_close(guest.close)
        lab.on_close(target.accept()[0].close)  # sshd holds the guest's connection now
        found(ssh, pid, "a forwarded port")


def test_redirected_port():
    """The packets name the port that the client asked for, and so must the session: they are what is filtered."""
    need("nft")
    with Lab() as lab:
        ssh = Ssh(lab, "no")
        subprocess.run(ssh.host.argv("nft", "-f", "-"), text=True, check=True, input="""
            table inet wtnat {
                chain pre { type nat hook prerouting priority dstnat;
                    tcp dport 2022 redirect to :2222
                }
            }""")
        for addr, client in (("10.1.0.1", "10.1.0.2"), ("fd01::1", "fd01::2")):
            pid = ssh.run(STAY, addr=addr, options=("-p", "2022"))  # of two ports ssh takes the first
            got = [(x[0], x[2], x[3]) for x in ssh.sessions(pid)]
            equal(got, [(client, addr, "2022")], "a redirected port")


def terminals(program, start):
    """The server of terminals is nobody's child: who works in it is found through the terminal that he sits at."""
    need(program)
    with Lab() as lab:
        ssh = Ssh(lab, "no")
        out = f"{ssh.dir}/inner"
        inner = f"echo $$ > {out}; exec sleep 100"
        pid = ssh.run("echo pid $$; export TERM=xterm; " + start.format(dir=ssh.dir, inner=inner), tty=True)
        until(lambda: os.path.exists(out) and open(out).read().strip(), f"{program} has started")
        inner = int(open(out).read())

        def end():
            try:
                os.kill(inner, signal.SIGKILL)
            except ProcessLookupError:
                pass
        lab.on_close(end)
        must(pid not in parents(inner), f"in {program} the shell is no descendant of the session")
        until(lambda: ssh.sessions(inner), f"{program} has been attached to")
        found(ssh, inner, f"in {program}")


def parents(pid):
    seen = []
    while pid > 1:
        seen.append(pid)
        with open(f"/proc/{pid}/stat") as f:
            pid = int(f.read().rsplit(")", 1)[1].split()[1])
    return seen


def test_tmux():
    terminals("tmux", "tmux -S {dir}/tmux -f /dev/null new-session '{inner}'")


def test_screen():
    terminals("screen", "export SCREENDIR={dir}/screens; screen -c /dev/null -dmS x sh -c '{inner}'; exec screen -r x")


if __name__ == "__main__":
    main(globals())
