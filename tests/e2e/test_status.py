#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An honest status: whatever was asked for and is not in force is named, and the exit status is 3."""
import ctypes
import os
import re
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

CANARY = 0x88b5
BPF_PROG_LOAD, BPF_LINK_CREATE, SCHED_CLS, TCX_EGRESS, F_BEFORE = 5, 28, 3, 47, 1 << 3
SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine)


def bpf(cmd, attr):
    buf = ctypes.create_string_buffer(attr, len(attr))
    fd = ctypes.CDLL(None, use_errno=True).syscall(SYS_BPF, cmd, buf, len(attr))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def foreign_program(ns, dev):
    """A program of somebody else in front of ours, which lets everything pass and ends the chain. Fd of its link."""
    insns = ctypes.create_string_buffer(struct.pack("<BBhi", 0xb7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0), 16)
    license = ctypes.create_string_buffer(b"GPL")
    prog = bpf(BPF_PROG_LOAD, struct.pack("<IIQQIIQII16s", SCHED_CLS, 2, ctypes.addressof(insns),
                                          ctypes.addressof(license), 0, 0, 0, 0, 0, b"stranger"))
    with ns:
        return bpf(BPF_LINK_CREATE, struct.pack("<IIIIIIQ", prog, socket.if_nametoindex(dev), TCX_EGRESS, F_BEFORE,
                                                0, 0, 0))


class Status:
    def __init__(self, w):
        p = w("status", "--output", "json", check=False)
        import json
        self.code, self.j = p.returncode, json.loads(p.stdout)
        self.degraded = self.j.get("degraded", [])
        self.text = w("status", check=False).stdout

    def names(self, pattern, what):
        check(any(re.search(pattern, x) for x in self.degraded), f"{what}: not named: {self.degraded}")
        equal(self.code, 3, f"{what}: exit status")

    def clean(self, what):
        equal((self.degraded, self.code), ([], 0), what)


def soon(w, good, what, seconds=10):
    """What a reader may expect at once, give or take a netlink message."""
    deadline = time.monotonic() + seconds
    while True:
        s = Status(w)
        if good(s) or time.monotonic() > deadline:
            check(good(s), f"{what}: {s.degraded}, exit {s.code}")
            return s
        time.sleep(0.05)


def link_ids(w, ns, dev):
    """Ids of weir's own tcx links on a device, by hook: read from the pins of this instance."""
    import json
    out = {}
    if not os.path.exists(f"{w.runtime}/bpf/links/in_{ns.ifindex(dev)}"):
        raise Skip("this kernel has no tcx links; clsact: test_filter_gone")
    for way in ("in", "out"):
        text = ns.sh("bpftool", "-j", "link", "show", "pinned", f"{w.runtime}/bpf/links/{way}_{ns.ifindex(dev)}").stdout
        out[way] = json.loads(text)["id"]
    return out


def test_proven():
    """The self-test ran, the canaries were heard, and none of their frames ever left, in either mode."""
    for mode in ("prevent", "detect"):
        with Router() as lab:
            with lab.client:
                sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(CANARY))
                sniffer.bind(("cl0", CANARY))
                sniffer.setblocking(False)
            lab.on_close(sniffer.close)
            w = Weir(lab, lab.dut).run(Policy.text("- { name: web, action: allow, ports: 80 }", mode=mode))
            time.sleep(1.1)  # canaries are sent at most once a second: this status sends its own
            s = Status(w)
            s.clean(f"{mode}: nothing is wrong")
            h = s.j["health"]
            check(h["tested"] >= 32 and not h["failed"] and h["proven"], f"{mode}: self-test {h}")
            check(h["hooks"] == 2 and not h["silent"], f"{mode}: canaries {h}")
            check(("ENFORCING" in s.text) == (mode == "prevent"), f"{mode}: {s.text}")
            check(w.json("status", "stats")["counters"].get("canaries", 0) >= 2, f"{mode}: canaries are not counted")
            try:
                check(False, f"{mode}: a canary left: {sniffer.recv(100)!r}")
            except BlockingIOError:
                pass
            equal([e for e in w.records("events") if e.get("reason") == "unknown_l2"], [], f"{mode}: a canary as an event")
            with lab.dut:  # the sniffer works: the same frame without the secret passes
                t = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
            t.sendto(b"no secret".ljust(46), ("in0", CANARY, 0, 0, b"\xff" * 6))
            sniffer.settimeout(PATIENCE)
            check(b"no secret" in sniffer.recv(100), f"{mode}: a frame of the same type without the secret")
            t.close()


def test_hook_detached():
    """A link that somebody else detaches: named at once, with the hook."""
    need("bpftool")
    with Router() as lab:
        w = Weir(lab, lab.dut).run(Policy.text())
        listener = Listener(lab, lab.dut, "udp", 5000)
        equal(ask(lab.client, "udp", lab.DUT[4], 5000, timeout=0.3), "silence", "before: it is blocked")
        ids = link_ids(w, lab.dut, "in0")
        lab.dut.sh("bpftool", "link", "detach", "id", ids["in"])
        Status(w).names(r"in0 ingress \(the program was detached\)", "ingress")
        equal(ask(lab.client, "udp", lab.DUT[4], 5000), "open", "indeed it is open")
        lab.dut.sh("bpftool", "link", "detach", "id", ids["out"])
        Status(w).names(r"in0 egress \(the program was detached\)", "egress")
        equal(listener.payloads(5000) != [], True, "the listener heard it")


def test_program_ahead():
    """A stranger's program that ends the chain before ours: the canary does not come through."""
    with Router() as lab:
        w = Weir(lab, lab.dut).run(Policy.text(outbound="drop"))
        try:
            fd = foreign_program(lab.dut, "out0")
        except OSError as e:
            raise Skip(f"no tcx here: {e}")
        listener = Listener(lab, lab.server, "udp", 5000)
        p = Probe(lab.dut, "udp", lab.SERVER[4], 5000)
        check(listener.wait(p.payload), "indeed what is denied leaves")
        p.close()
        soon(w, lambda s: any("out0 egress" in x and "another program runs before it" in x for x in s.degraded)
             and s.code == 3, "the program ahead is named")
        os.close(fd)


def test_filter_gone():
    """The same at clsact: the filter, then the whole qdisc."""
    with Router() as lab:
        os.environ["WEIR_TEST_WITHOUT"] = "tcx"
        try:
            w = Weir(lab, lab.dut).run(Policy.text(outbound="drop"))
        finally:
            del os.environ["WEIR_TEST_WITHOUT"]
        Status(w).clean("before")
        lab.dut.sh("tc", "filter", "del", "dev", "out0", "egress")
        soon(w, lambda s: any("out0 egress (the filter is gone)" in x for x in s.degraded) and s.code == 3, "filter")
        lab.dut.sh("tc", "qdisc", "del", "dev", "in0", "clsact")
        s = Status(w)
        s.names(r"in0 ingress \(the filter is gone\)", "qdisc")
        s.names(r"in0 egress \(the filter is gone\)", "qdisc")


def test_hook_never_runs():
    """Where an ingress qdisc stands in the place of clsact the kernel takes the egress filter, and never runs it."""
    with Router() as lab:
        lab.dut.sh("tc", "qdisc", "add", "dev", "out0", "ingress")
        os.environ["WEIR_TEST_WITHOUT"] = "tcx"
        try:
            w = Weir(lab, lab.dut).run(Policy.text(outbound="drop"))
        finally:
            del os.environ["WEIR_TEST_WITHOUT"]
        listener = Listener(lab, lab.server, "udp", 5000)
        word = ask(lab.dut, "udp", lab.SERVER[4], 5000, timeout=1)
        s = soon(w, lambda s: s.code == 3, "something is wrong")
        if listener.payloads(5000):
            s.names(r"out0 egress \(a test frame did not reach it\)", f"it leaves ({word})")
        else:
            s.names(r"out0 is not covered", "it is refused, and blocked by the guard")


def test_mode_differs():
    """A policy, a rule or a command line asks for more than is in force."""
    with Router() as lab:
        w = Weir(lab, lab.dut).run(Policy.text("- { name: hard, mode: prevent, action: drop, ports: 81 }", mode="detect"))
        Status(w).names(r"rule 'hard' \(policy1\.yaml:\d+\) says prevent, and detect is in force", "rule")
        w.apply(Policy.text("- { name: soft, action: drop, ports: 81 }", mode="detect"))
        Status(w).clean("nothing asks for more")
        w.apply(Policy.text("- group: g\n  mode: detect\n  rules:\n"
                            "  - { name: inner, mode: prevent, action: drop, ports: 81 }"))
        Status(w).names(r"'inner' .*says prevent, and detect is in force: its group", "group")
        w.stop()
    with Router() as lab:
        w = Weir(lab, lab.dut).run(Policy.text(), "--mode", "detect")
        Status(w).names(r"the policy asks for prevent", "command line")


INERT = """
- { name: nowhere, action: allow, direction: inbound, interface: [wan9], ports: 81 }
- group: lan
  when: { in_interface: ["lan*"] }
  rules:
  - { name: of a group, action: allow, ports: 82 }
- { name: tagged, action: allow, vlan: 99, ports: 83 }
- { name: nobody, action: allow, from: $empty, ports: 84 }
- { name: fine, action: allow, interface: ["in*"], ports: 85 }
"""


def test_inert_rules():
    """Rules that can match nothing here are named with their place; once they can, they are not."""
    with Router() as lab:
        w = Weir(lab, lab.dut).run(Policy.text(INERT, extra="sets: { empty: { addresses: [] } }"))
        s = Status(w)
        s.names(r"rule 'nowhere' \(policy1\.yaml:\d+\) can match nothing here: interface: no interface is called wan9", "name")
        s.names(r"'of a group' \(policy1\.yaml:\d+\) can match nothing here: in_interface: no interface is called lan\*", "group")
        s.names(r"'tagged' .* the tag 99", "VLAN")
        s.names(r"'nobody' .*: from: \$empty is empty", "set")
        equal(len(s.degraded), 4, f"nothing else: {s.degraded}")
        lab.dut.ip("link", "add", "lan0", "type", "veth", "peer", "name", "far0")
        soon(w, lambda s: not any("of a group" in x for x in s.degraded), "an interface came")
        vlan = lab.dut.sh("ip", "link", "add", "link", "in0", "name", "in0.99", "type", "vlan", "id", "99", check=False)
        if vlan.returncode:
            print("# no VLAN devices here")
        else:
            soon(w, lambda s: not any("tagged" in x for x in s.degraded), "a VLAN came")


def test_not_asked_for():
    """A rule for an interface that --interface leaves out."""
    with Router() as lab:
        w = Weir(lab, lab.dut).run(Policy.text("- { name: other, action: drop, interface: [out0], ports: 81 }"),
                                   "--interface", "in0")
        Status(w).names(r"'other' .*: out0 is not filtered \(it was not asked for\)", "left out")


if __name__ == "__main__":
    main(globals())
