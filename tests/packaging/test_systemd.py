#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The unit under a systemd: what an installed weir does when it is started, stopped, killed, hangs, and at boot.

The machine is a small Debian in a container of its own, with the kernel of this host; a boot is a new first process
with new mounts, so that, as by a real one, nothing of the kernel's things is left."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from debian import NOT_OURS, build, tree
from harness import *  # noqa: F403

HERE = os.path.dirname(os.path.abspath(__file__))
FENCE = "- { name: fence, action: allow, protocol: udp, ports: 9999 }"
SHUT = Policy.text(FENCE, inbound="drop", outbound="allow", forward="drop")
NETWORK = "[Match]\nName=in0\n[Network]\nAddress=10.1.0.1/24\nAddress=fd01::1/64\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
KEEPER = 1 << 12 | 1 << 38 | 1 << 39           # NET_ADMIN, PERFMON, BPF
HELPER = 1 << 2 | 1 << 12 | 1 << 19 | 1 << 21  # DAC_READ_SEARCH, NET_ADMIN, SYS_PTRACE, SYS_ADMIN
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "NO_COLOR": "1"}


def cgroups():
    for line in open("/proc/self/mounts"):
        words = line.split()
        if words[2] == "cgroup2":
            return words[1]
    raise Skip("no cgroup2 is mounted here: systemd cannot be started")


class Machine:
    """A Debian with systemd in the network of the router; in0 is configured by its systemd-networkd."""

    def __init__(self, lab):
        need("setpriv", "pivot_root", "nsenter")
        self.lab, self.first, self.process = lab, None, None
        self.group = f"{cgroups()}/{lab.prefix}"
        archive = tree("systemd,systemd-sysv")
        self.root = tempfile.mkdtemp(prefix="weir-systemd-")
        lab.on_close(self.close)
        sh("mount", "-t", "tmpfs", "-o", "mode=755,size=1g", "machine", self.root)
        sh("tar", "-C", self.root, "-xf", archive, timeout=300)
        os.makedirs(f"{self.root}/etc/systemd/network", exist_ok=True)
        self.file("/etc/systemd/network/in0.network", NETWORK, 0o644)
        self.file("/etc/machine-id", "", 0o644)
        sh("chroot", self.root, "systemctl", "enable", "systemd-networkd")
        sh("chroot", self.root, "systemctl", "mask", "apt-daily.timer", "apt-daily-upgrade.timer", "systemd-resolved")

    def file(self, path, text, mode=0o600):
        with open(self.root + path, "w") as f:
            f.write(text)
        os.chmod(self.root + path, mode)

    def boot(self, *words, unplugged=lambda: None):
        self.lab.dut.ip("link", "set", "in0", "down")
        self.lab.dut.ip("addr", "flush", "dev", "in0")
        unplugged()
        self.process = subprocess.Popen(self.lab.dut.argv("sh", f"{HERE}/machine.sh", self.root, self.group, *words),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True, env=ENV)
        self.until(self._systemd, "systemd")
        self.until(lambda: self("systemctl is-system-running --wait", check=False)[1] in ("running", "degraded"), "the boot")

    def _systemd(self):
        """The child, when it has become systemd: before it, the script has others."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            self.first = next(iter(f.read().split()), None)
        with open(f"/proc/{self.first}/comm") as f:
            return f.read().strip() == "systemd"

    def until(self, true, what, patience=60):
        deadline = time.monotonic() + patience
        while True:
            try:
                if true():
                    return
            except (FileNotFoundError, ProcessLookupError):
                pass  # of a process that is no more
            if self.process.poll() is not None:
                must(False, f"{what}: the machine ended: {self.process.returncode}: {self.process.stderr.read()}")
            if time.monotonic() > deadline:
                must(False, f"{what}: not after {patience} s\n{self.journal()}")
            time.sleep(0.02)

    def __call__(self, command, check=True):
        """(exit status, output) of a shell command of the machine's root."""
        p = sh("nsenter", f"--target={self.first}", "--all", "--root", "--wd", "sh", "-c", f"exec 2>&1; {command}", check=False,
               env=ENV, timeout=120)
        if check and p.returncode:
            must(False, f"{command}: exit {p.returncode}\n{p.stdout}{p.stderr}\n{self.journal()}")
        return p.returncode, p.stdout.strip()

    def journal(self):
        p = sh("nsenter", f"--target={self.first}", "--all", "--root", "--wd", "journalctl", "-b", "--no-pager", "-n", "60",
               check=False, env=ENV)
        return p.stdout + p.stderr

    def show(self, name, unit="weir"):
        return self(f"systemctl show -P {name} {unit}")[1]

    def pids(self):
        """{name: pid, as the machine sees it} of weir's processes."""
        rows = self("grep -H ^Name: $(sed 's,^,/proc/,; s,$,/status,' /sys/fs/cgroup/system.slice/weir.service/cgroup.procs)")[1]
        return {m.group(2): int(m.group(1)) for m in re.finditer(r"/proc/(\d+)/status:Name:\s+(\S+)", rows)}

    def off(self):
        """Power off, as systemd does it; what the kernel still had is gone with the mounts."""
        self("systemctl poweroff", check=False)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            check(False, "systemctl poweroff does not end the machine")
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        self.group_remove()

    def group_remove(self):
        if not os.path.isdir(self.group):
            return
        for d, _, _ in os.walk(self.group, topdown=False):
            os.rmdir(d)

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()  # and with it, its first child
            self.process.wait()
            deadline = time.monotonic() + 10
            while "populated 1" in open(f"{self.group}/cgroup.events").read() and time.monotonic() < deadline:
                time.sleep(0.02)
        if self.process:
            self.process.stderr.close()
        self.group_remove()
        sh("umount", "-l", self.root, check=False)
        shutil.rmtree(self.root, ignore_errors=True)


class Host:
    """The machine with an installed weir, listeners in its network, and a flood of a denied and an allowed port."""

    def __init__(self, lab, scratch):
        self.machine = m = Machine(lab)
        self.denied = Listener(lab, lab.dut, "udp", 82, answer=False)
        self.allowed = Listener(lab, lab.dut, "udp", 9999, answer=False)
        m.boot()
        self.files = self.everything()
        shutil.copy(build(scratch), f"{m.root}/root/weir.deb")
        self.floods = [Flood(lab, lab.client, a, port, every=0.001) for a in lab.DUT.values() for port in (82, 9999)]
        must(self.denied.wait(b"flood"), "nothing is delivered without weir: the flood proves nothing")
        m("dpkg -i /root/weir.deb")
        m.until(lambda: m.show("ActiveState") == "active", "active after the installation")

    def everything(self):
        m = self.machine
        found = set(m("find / -xdev -not -path '/var/log/journal/*'; cat /etc/passwd /etc/group; mount")[1].splitlines())
        return {f for f in found if not NOT_OURS.search(f)}

    def shut(self):
        self.machine.file("/etc/weir/policy.yaml", SHUT)
        self.machine("weir apply --force --no-confirm")
        self.denied.clear()

    def leaked(self):
        """What came to the denied port since, with the proof that meanwhile packets did come."""
        self.allowed.clear()
        must(self.allowed.wait(b"flood"), "the allowed flood does not arrive")
        return len(self.denied.payloads(82))

    def flows(self, what):
        self.denied.clear()
        check(self.denied.wait(b"flood"), f"{what}: something is held back")


def status(m):
    return m("weir status", check=False)[0]


def test_life_of_the_unit():
    """Installed it watches; what enforces then survives restart, stop, kill -9 and a hang, under a flood."""
    with Router() as lab, tempfile.TemporaryDirectory() as d:
        h = Host(lab, d)
        m = h.machine
        h.flows("installed, in detect")
        equal(status(m), 0, "status in detect")
        equal(m("weir mode")[1].split()[0:1] and "detect" in m("weir mode")[1], True, "the mode after the installation")
        equal(sorted(m.pids()), ["weir", "weir-helper", "weir-spawner", "weir-worker"], "processes")
        confined(m)
        h.shut()
        for n in range(long_or(20, 5)):
            before = m.show("MainPID")
            m("systemctl restart weir")
            check(m.show("MainPID") != before, "restart: the same process")
        equal(h.leaked(), 0, "delivered to a denied port during restarts")

        m("systemctl stop weir")
        equal((m.show("ActiveState"), m.show("Result"), status(m)), ("inactive", "success", 4), "stopped, and still enforcing")
        equal(m("cat /sys/fs/cgroup/system.slice/weir.service/cgroup.procs 2>/dev/null", check=False)[1], "", "processes after stop")
        equal(h.leaked(), 0, "delivered to a denied port after stop")
        m("systemctl start weir")
        killed(h)
        hung(h)
        equal(h.leaked(), 0, "delivered to a denied port")
        before = m.show("NRestarts")
        m("weir flush")
        m.until(lambda: m.show("ActiveState") == "inactive", "inactive after flush")
        h.flows("after flush")
        equal((m.show("ActiveState"), m.show("NRestarts"), status(m)), ("inactive", before, 5), "after flush")


def confined(m):
    """Each process is who it should be, and the unit's own filters let the sandboxes stand."""
    filters = {}
    for name, user, caps in (("weir", "root", KEEPER), ("weir-worker", "weir", 0), ("weir-helper", "weir-helper", HELPER)):
        text = m(f"cat /proc/{m.pids()[name]}/status")[1]
        fields = dict(x.split(":\t", 1) for x in text.splitlines() if ":\t" in x)
        equal(m(f"id -un {fields['Uid'].split()[1]}")[1], user, f"user of {name}")
        equal(int(fields["CapPrm"], 16) & ~caps, 0, f"capabilities of {name} beyond its own")
        equal((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"), f"no new privileges, seccomp of {name}")
        filters[name] = int(fields["Seccomp_filters"])
    check(filters["weir-worker"] > filters["weir"] < filters["weir-helper"], f"own filters on top of the unit's: {filters}")
    life = json.loads(m("weir status --output json")[1])["processes"]
    equal((life["keeper_dropped"], life["restarts"], life["helper_restarts"]), (True, 0, 0), "what status tells of them")
    equal(m("stat -c '%U %a' /var/lib/weir /var/log/weir /etc/weir")[1].splitlines(), ["weir 700", "weir 700", "root 700"], "directories")


def killed(h):
    m = h.machine
    for name in ("weir-worker", "weir-helper"):
        before = m.pids()
        m(f"kill -9 {before[name]}")
        m.until(lambda: m.pids().get(name, before[name]) != before[name], f"another {name}")
        m.until(lambda: status(m) == 0, f"status after {name}")
        equal((m.show("MainPID"), m.show("NRestarts"), m.show("ActiveState")), (str(before["weir"]), "0", "active"),
              f"the unit after kill -9 of {name}")
    for n, name in enumerate(("weir-spawner", "weir"), 1):
        before = m.pids()
        m(f"kill -9 {before[name]}")
        m.until(lambda: m.show("NRestarts") == str(n) and m.show("ActiveState") == "active", f"started again after {name}")
        m.until(lambda: status(m) == 0, f"status after {name}")
        check(not set(before.values()) & set(m.pids().values()), f"kill -9 of {name}: {before} and {m.pids()}")
    equal(h.leaked(), 0, "delivered to a denied port after kill -9")


def hung(h):
    m, before = h.machine, h.machine.pids()
    equal(m.show("WatchdogUSec"), "10s", "the watchdog's patience, which is longer within an apply")
    m(f"kill -STOP {' '.join(map(str, before.values()))}")
    m.until(lambda: m.show("NRestarts") == "3" and m.show("ActiveState") == "active", "started again by the watchdog")
    check("watchdog" in m("journalctl -u weir --no-pager -n 200")[1].lower(), "the journal does not tell of the watchdog")
    check(not set(before.values()) & set(m.pids().values()), f"a hang: {before} and {m.pids()}")


def test_boots():
    """A boot puts in force what was confirmed, before a network is; weir=off does not, and keeps nothing from it."""
    with Router() as lab, tempfile.TemporaryDirectory() as d:
        h = Host(lab, d)
        m = h.machine
        h.shut()
        m.off()
        for _ in range(long_or(5, 1)):
            h.flows("while it was off")  # nobody filters: what is held back later is so by the boot
            m.boot(unplugged=h.denied.clear)
            equal((m.show("ActiveState"), status(m)), ("active", 0), "after a boot")
            equal(h.leaked(), 0, "delivered to a denied port by a boot")
            began = {u: int(m.show("ActiveEnterTimestampMonotonic", u)) for u in ("weir", "network-pre.target", "systemd-networkd")}
            check(0 < began["weir"] <= began["network-pre.target"] <= began["systemd-networkd"], f"order: {began}")
            m.off()
        m.boot("weir=off")
        equal((m.show("ActiveState"), m.show("ConditionResult"), status(m)), ("inactive", "no", 5), "with weir=off")
        equal((m.show("ActiveState", "run-weir-bpf.mount"), m("mount | grep weir", check=False)[1]), ("inactive", ""), "the mount")
        h.flows("weir=off")
        m.off()


def test_purged():
    """What was installed, applied, booted and then purged left nothing: files, users, links, mounts."""
    with Router() as lab, tempfile.TemporaryDirectory() as d:
        h = Host(lab, d)
        m = h.machine
        h.shut()
        m("systemctl restart weir")
        equal(h.leaked(), 0, "delivered to a denied port")
        m("dpkg -P weir")
        h.flows("after the purge")
        equal(sorted(x for x in h.everything() - h.files if not x.startswith(("/var/lib/systemd", "/run/systemd"))), [], "left")
        equal(sorted(x for x in h.files - h.everything() if "weir" in x), [], "taken away")
        for dev in ("lo", "in0", "out0"):
            for hook in ("ingress", "egress"):
                equal(lab.dut.sh("tc", "filter", "show", "dev", dev, hook, check=False).stdout, "", f"tc {dev} {hook}")
        equal(lab.dut.sh("nft", "list", "ruleset").stdout, "", "nft")
        equal(m("systemctl list-units --all --plain --no-legend '*weir*'")[1], "", "units")
        equal(m("grep -c weir /etc/passwd /etc/group /etc/shadow", check=False)[1].split(), [f"/etc/{f}:0" for f in
              ("passwd", "group", "shadow")], "users")


if __name__ == "__main__":
    main(globals())
