#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The start of the system: between the first moment of weir and its policy nothing passes, where that policy shuts
what it does not name; weir=off on the kernel command line; what stays when such a start fails."""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

FENCE = "- { name: fence, action: allow, protocol: udp, ports: 9999 }"
SHUT = Policy.text(FENCE, inbound="drop", outbound="drop", forward="drop")
ADDR = {4: "10.7.0.1", 6: "fd07::1"}
MAC = "02:00:00:00:07:01"


class Host:
    """A dut whose one interface is down, a peer that floods it, and weir with a policy that was confirmed before."""

    def __init__(self, lab, policy, without=""):
        self.dut, self.peer = lab.space("d"), lab.space("c")
        self.denied = Listener(lab, self.dut, "udp", 80, answer=False)
        self.allowed = Listener(lab, self.dut, "udp", 9999, answer=False)
        sh("ip", "link", "add", "net0", "address", MAC, "netns", self.dut.name, "type", "veth", "peer", "name", "px",
           "netns", self.peer.name)
        for ns, dev, host in ((self.dut, "net0", 1), (self.peer, "px", 2)):
            ns.ip("addr", "add", f"10.7.0.{host}/24", "dev", dev)
            ns.ip("addr", "add", f"fd07::{host}/64", "dev", dev, "nodad")
        self.peer.ip("link", "set", "px", "up")
        for a in ADDR.values():
            self.peer.ip("neigh", "replace", a, "lladdr", MAC, "nud", "permanent", "dev", "px")
        self.weir = w = Weir(lab, self.dut)
        if without:
            w.env["WEIR_TEST_WITHOUT"] = without
        w.write(policy, f"{w.config}/policy.yaml")
        w.run()
        w.stop()
        w("flush")  # the machine goes down: of the kernel's things nothing is left
        self.floods = [Flood(lab, self.peer, a, port, every=0.001) for a in ADDR.values() for port in (80, 9999)]

    def up(self):
        self.dut.ip("link", "set", "net0", "up")
        self.dut.ip("addr", "replace", f"{ADDR[6]}/64", "dev", "net0", "nodad")  # link down took it away

    def down(self):
        self.dut.ip("link", "set", "net0", "down")
        for x in (self.denied, self.allowed):
            x.sync()
            x.clear()

    def received(self):
        link = json.loads(self.dut.sh("ip", "-s", "-j", "link", "show", "net0").stdout)[0]
        return link["stats64"]["rx"]["packets"]

    def delivered(self):
        for x in (self.denied, self.allowed):
            x.sync()
        return len(self.denied.got), len(self.allowed.got)

    def heard(self, n=100):
        """Wait until n more frames of the flood came in."""
        until, deadline = self.received() + n, time.monotonic() + PATIENCE
        while self.received() < until:
            must(time.monotonic() < deadline, "the flood does not reach the interface")
            time.sleep(0.01)
        return self.delivered()

    def says(self, word):
        deadline = time.monotonic() + PATIENCE
        while word not in self.weir.said():
            must(time.monotonic() < deadline and self.weir.daemon.poll() is None,
                 f"does not say '{word}':\n{self.weir.said()}")
            time.sleep(0.002)


def boot(without):
    with Lab() as lab:
        h = Host(lab, SHUT, without)
        h.up()
        must(h.denied.wait(b"flood"), "nothing is delivered without weir: the flood proves nothing")
        h.down()
        h.weir.run(None, "--boot", wait=False)
        h.says("guard: nothing but lo passes")
        h.weir.daemon.send_signal(signal.SIGSTOP)  # as slow a start as can be
        must(h.weir.said().count("ready:") == 1, "it was ready before it could be stopped")
        h.up()
        equal(h.heard(300), (0, 0), "delivered before the policy is in force")
        t = token("lo")
        with h.dut:
            import socket
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.sendto(t, ("127.0.0.1", 80))
            s.close()
        check(h.denied.wait(t), "lo is shut, too")
        h.denied.clear()
        h.weir.daemon.send_signal(signal.SIGCONT)
        h.weir.wait_ready()
        check(h.allowed.wait(b"flood"), "the policy is in force, and what it allows does not arrive")
        equal(h.heard()[0], 0, "delivered to a denied port")


def test_nothing_passes_before_the_policy():
    boot("")


def test_nothing_passes_before_the_policy_nft():
    need("nft")
    boot("netfilter")


def test_a_start_that_fails_stays_shut():
    for word, policy in (("closed", SHUT), ("open", SHUT + "failures: { no_policy: open }\n")):
        with Lab() as lab:
            h = Host(lab, policy)
            w = h.weir
            for _ in range(2):  # systemd tries again
                w.run(None, "--boot", "--interface", "nope0", wait=False)
                equal(w.daemon.wait(30 * SLOW), 1, "exit status of a start that fails")
            h.up()
            p = w("status", check=False)
            if word == "closed":
                equal(h.heard(), (0, 0), "delivered after a start that failed")
                equal(p.returncode, 4, f"exit status of status: {p.stdout}")
                check("SHUTS" in p.stdout, f"status does not tell of the guard: {p.stdout}")
                check("weir=off" in w.said(), f"it does not say the way out:\n{w.said()}")
                w("flush")
            else:
                equal(p.returncode, 5, f"exit status of status: {p.stdout}")
            equal(w.traces("lo", "net0"), [], f"{word}: traces")
            check(h.denied.wait(b"flood"), f"{word}: still shut")


def test_no_guard_where_nothing_is_shut():
    """In detect nothing is blocked; nor by a policy that enforces no drop default; nor under `weir mode detect`."""
    open_in = Policy.text(FENCE, inbound="allow", outbound="allow", forward="allow")
    with Lab() as lab:
        h = Host(lab, SHUT.replace("prevent", "detect"))
        w = h.weir
        for what, policy, mode, guarded in (("detect", None, None, False), ("prevent", SHUT, None, True),
                                            ("a ceiling", None, "detect", False), ("again", None, "prevent", True),
                                            ("open", open_in, None, False)):
            w.run(None, "--boot")
            if policy:
                w.apply(w.write(policy, f"{w.config}/policy.yaml"))
            if mode:
                w("mode", mode)
            w.stop()
            w("flush")
            before = w.said()
            w.run(None, "--boot")
            equal("guard: nothing" in w.said()[len(before):], guarded, f"{what}: the guard")
            w.stop()
            w("flush")


def test_weir_off():
    with Lab() as lab:
        h = Host(lab, SHUT)
        w = h.weir
        line = w.write("BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro weir=off quiet\n")
        argv = w.ns.argv("unshare", "--mount", "sh", "-c", 'mount --bind "$1" /proc/cmdline && exec "$2" run --boot', "-",
                         line, BIN)
        p = subprocess.run(argv, env=w.env, capture_output=True, text=True, timeout=60 * SLOW)
        equal(p.returncode, 0, f"exit status with weir=off: {p.stderr}")
        check("weir=off" in p.stdout + p.stderr, f"does not say why it did not start: {p.stdout}{p.stderr}")
        equal(w("status", check=False).returncode, 5, "status with weir=off")
        h.up()
        check(h.denied.wait(b"flood"), "weir=off, and something is held back")
        for words in ("weir=offline", "noweir=off"):
            w.write(f"ro {words}\n", line)
            with subprocess.Popen(argv, env=w.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
                w.daemon = daemon
                w.wait_ready()
                w("flush")
                equal(daemon.wait(30 * SLOW), 0, f"{words}: the end")


if __name__ == "__main__":
    main(globals())
