#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian package: its files, its unit, and what it does to a system.

The system is a small Debian in a chroot with its own mounts, processes and network, without systemd: test_systemd.py
has one with."""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from debian import NOT_OURS, build, newer, tree
from harness import *  # noqa: F403

SHUT = Policy.text("- { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }")


def packed(deb):
    """{path: (mode and owner, size)} of what is in it."""
    rows = [x.split(None, 5) for x in sh("dpkg-deb", "-c", deb).stdout.splitlines()]
    return {r[5].lstrip("."): f"{r[0]} {r[1]}" for r in rows}


def test_package():
    with tempfile.TemporaryDirectory() as d:
        deb = build(f"{d}/a")
        files = packed(deb)
        for path, want in (("/usr/bin/weir", "-rwxr-xr-x root/root"), ("/etc/weir/", "drwx------ root/root"),
                           ("/var/lib/weir/", "drwx------ root/root"), ("/var/log/weir/", "drwx------ root/root"),
                           ("/lib/systemd/system/weir.service", "-rw-r--r-- root/root"),
                           ("/lib/systemd/system/run-weir-bpf.mount", "-rw-r--r-- root/root"),
                           ("/usr/share/man/man8/weir.8.gz", "-rw-r--r-- root/root"),
                           ("/usr/share/bash-completion/completions/weir", "-rw-r--r-- root/root")):
            equal(files.get(path), want, path)
        equal([f for f in files if f.startswith("/etc/") and not f.endswith("/")], [], "configuration that is installed")
        depends = sh("dpkg-deb", "-f", deb, "Depends").stdout
        for name in ("libbpf1", "libc6", "nftables", "adduser"):
            check(re.search(rf"\b{name}\b", depends), f"does not depend on {name}: {depends}")
        sh("dpkg-deb", "-x", deb, f"{d}/x")
        sh("dpkg-deb", "-e", deb, f"{d}/x/DEBIAN")
        page = sh("zcat", f"{d}/x/usr/share/man/man8/weir.8.gz").stdout
        for words in (".SH NAME", 'SS "weir apply"', 'SS "weir rule add"', "weir=off"):
            check(words.replace("-", "\\-") in page, f"the manual page has no '{words}'")
        check("__" not in page, "the manual page shows hidden commands")
        if shutil.which("groff"):
            equal(sh("groff", "-man", "-Tutf8", "-ww", "-z", stdin_text(page)).stderr, "", "groff about the page")
        p = subprocess.run(["bash", "-n", f"{d}/x/usr/share/bash-completion/completions/weir"], capture_output=True, text=True)
        equal((p.returncode, p.stderr), (0, ""), "bash about the completion")
        if shutil.which("shellcheck"):
            p = sh("shellcheck", f"{ROOT}/packaging/deb/build.sh", *(f"{d}/x/DEBIAN/{s}" for s in ("postinst", "prerm", "postrm")),
                   check=False)
            equal(p.stdout, "", "shellcheck")
        again = build(f"{d}/b")
        equal(digest(again), digest(deb), "the same tree gives the same package")
        if shutil.which("lintian"):
            p = sh("lintian", "--fail-on", "warning", deb, check=False, timeout=120)
            equal(p.returncode, 0, f"lintian: {p.stdout}")


def stdin_text(text):
    """A file that holds the text, for programs that are run without a standard input."""
    f = tempfile.NamedTemporaryFile("w", delete=False, suffix=".8")
    with f:
        f.write(text)
    return f.name


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def test_unit():
    need("systemd-analyze")
    with tempfile.TemporaryDirectory() as d:
        with open(f"{ROOT}/packaging/systemd/weir.service.in") as f:
            text = f.read().replace("@BINDIR@", d)
        os.symlink(BIN, f"{d}/weir")
        with open(f"{d}/weir.service", "w") as f:
            f.write(text)
        shutil.copy(f"{ROOT}/packaging/systemd/run-weir-bpf.mount", d)
        p = sh("systemd-analyze", "verify", "--man=no", f"{d}/weir.service", f"{d}/run-weir-bpf.mount", check=False)
        lines = [x for x in p.stderr.splitlines() if "weir" in x]  # of this host's units it may complain, too
        equal(lines, [], "systemd-analyze verify")
        p = sh("systemd-analyze", "security", "--offline=true", "--threshold=43", f"{d}/weir.service", check=False)
        equal(p.returncode, 0, f"exposure above 4.3: {p.stdout[-200:]}")


# -- a system

class System:
    """A root shell in the chroot, in the network of `ns`."""

    def __init__(self, lab, ns):
        archive = tree()
        self.root = tempfile.mkdtemp(prefix="weir-deb-")
        lab.on_close(self.close)
        sh("tar", "-C", self.root, "-xf", archive)
        # no start by a package, as in any chroot
        self.file("/usr/sbin/policy-rc.d", "#!/bin/sh\necho \"$@\" >> /root/asked\nexit 101\n", 0o755)
        self.shell = subprocess.Popen(ns.argv("unshare", "--mount", "--pid", "--fork", "--kill-child", "chroot", self.root, "sh"),
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                      env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "NO_COLOR": "1"})
        self("mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run; mount -t devtmpfs dev /dev")

    def __call__(self, command, check=True):
        """(exit status, output)"""
        end = token("end").decode()
        self.shell.stdin.write(f"{{ {command}\n}} 2>&1; r=$?; echo; echo {end} $r\n")
        self.shell.stdin.flush()
        out = []
        for line in self.shell.stdout:
            if line.startswith(end):
                status = int(line.split()[1])
                must(not check or not status, f"{command}: exit {status}\n{''.join(out)}")
                return status, "".join(out).strip()
            out.append(line)
        must(False, f"the shell is gone: {command}\n{''.join(out)}")

    def file(self, path, text, mode=0o600):
        with open(self.root + path, "w") as f:
            f.write(text)
        os.chmod(self.root + path, mode)

    def files(self):
        """Everything that is there, users and groups too, but what dpkg keeps of its own."""
        found = set(self("find / -xdev")[1].splitlines()) | set(self("find /run -xdev")[1].splitlines())
        return {f for f in found if not NOT_OURS.search(f)} | set(self("cat /etc/passwd /etc/group")[1].splitlines())

    def install(self, deb):
        shutil.copy(deb, f"{self.root}/root/weir.deb")
        return self("dpkg -i /root/weir.deb")[1]

    def close(self):
        self.shell.kill()
        self.shell.wait()
        self.shell.stdin.close()
        self.shell.stdout.close()
        shutil.rmtree(self.root, ignore_errors=True)


def test_installed_and_purged():
    with Lab() as lab, tempfile.TemporaryDirectory() as d:
        s = System(lab, lab.space("d"))
        deb = build(d)
        before = s.files()
        s.install(deb)
        equal(s("id -un weir; id -un weir-helper")[1].split(), ["weir", "weir-helper"], "users")
        equal(s("readlink /etc/systemd/system/sysinit.target.wants/weir.service")[1], "/lib/systemd/system/weir.service",
              "enabled for the next boot")
        equal(s("weir status", check=False)[0], 5, "something runs or is in force after the installation")
        equal(s("weir --version; weir check /usr/share/doc/weir/examples/ten-lines.yaml >/dev/null")[0], 0, "it runs")
        s("touch /etc/weir/policy.yaml /var/lib/weir/x /var/log/weir/audit.log; mkdir -p /run/weir")
        s("dpkg -r weir")
        equal(s("ls /etc/weir /var/lib/weir")[1].split(), ["/etc/weir:", "policy.yaml", "/var/lib/weir:", "x"],
              "after remove: what is the administrator's")
        s.install(deb)
        s("dpkg -P weir")
        after = s.files()
        equal(sorted(after - before), [], "left after the purge")
        equal(sorted(before - after), [], "taken away by the purge")


def test_installed_while_it_enforces():
    """Upgrade, remove and purge of a weir that runs and enforces, under a flood of a denied port."""
    with Router() as lab, tempfile.TemporaryDirectory() as d:
        s = System(lab, lab.dut)
        deb = build(d)
        s.install(deb)
        Listener(lab, lab.dut, "tcp", 80)
        udp = Listener(lab, lab.dut, "udp", 82, answer=False)
        flood = Flood(lab, lab.client, lab.DUT[4], 82, every=0.001)
        must(udp.wait(b"flood"), "the flood does not arrive")
        s.file("/etc/weir/policy.yaml", SHUT)
        s("weir run --boot >/root/weir.out 2>&1 &")
        deadline = time.monotonic() + 60
        while s("weir status", check=False)[0] not in (0, 3):
            must(time.monotonic() < deadline, f"weir does not start: {s('cat /root/weir.out', check=False)[1]}")
            time.sleep(0.1)
        udp.sync()
        udp.clear()
        equal(ask(lab.client, "tcp", lab.DUT[4], 80), "open", "an allowed port")
        s.install(newer(deb, d))
        equal(s("dpkg-query -W -f '${Version}' weir")[1], "99", "the new version")
        equal(ask(lab.client, "tcp", lab.DUT[4], 80), "open", "an allowed port after the upgrade")
        check(s("weir status", check=False)[0] in (0, 3), "it does not run after the upgrade")
        s("weir stop")
        equal(s("weir status", check=False)[0], 4, "stopped, and still enforcing")
        udp.sync()
        equal(len(udp.payloads(82)), 0, "delivered to a denied port")
        s("dpkg -P weir")
        check(udp.wait(b"flood"), "after the purge something is still held back")
        flood.stop()
        for dev in ("lo", "in0", "out0"):
            for hook in ("ingress", "egress"):
                equal(lab.dut.sh("tc", "filter", "show", "dev", dev, hook, check=False).stdout, "", f"tc {dev} {hook}")
        equal(lab.dut.sh("nft", "list", "ruleset").stdout, "", "nft")
        equal(s("mount | grep weir", check=False)[1], "", "mounts")
        equal(s("ls -d /etc/weir /var/lib/weir /var/log/weir /run/weir /usr/bin/weir 2>/dev/null", check=False)[1], "", "files")


if __name__ == "__main__":
    main(globals())
