#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Failures that are real: a daemon that was killed, a disk that is full, a policy that is damaged or gone."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from failing import *  # noqa: F403
from harness import *  # noqa: F403


def test_daemon_really_dead():
    """Killed: open or closed so many seconds later, and a new start judges again. Ended on purpose: it stays."""
    for choice in ("open", "closed"):
        with Router() as lab:
            text = policy(f"daemon_dead: {choice}, daemon_dead_after: 5s")
            h = Host(lab, text)
            port = 82 if choice == "open" else 80
            before, then = (h.silent, h.opens) if choice == "open" else (h.opens, h.silent)
            before(port, f"{choice}: alive")
            h.weir.kill()
            before(port, f"{choice}: dead, not yet believed")
            wait(f"{choice}: after 5 seconds nothing changed", lambda: works(lab, port) == (choice == "open"))
            then(port, f"{choice}: dead")
            h.opens(81, f"{choice}: dead, failsafe")
            h.weir.run(text)
            wait(f"{choice}: a new start changes nothing", lambda: works(lab, port) != (choice == "open"))
            before(port, f"{choice}: alive again")
            told(h.weir, "daemon_dead")
            if choice == "closed":
                h.weir.stop()
                time.sleep(long_or(8, 6))  # that nothing changes can only be waited for
                h.opens(80, "ended on purpose")


def fill(path):
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"\0" * 4096)
        except OSError:
            pass


def test_disk_really_full():
    """State and log on a disk of 1 MiB that fills up and is emptied again."""
    with Router() as lab:
        h = Host(lab, run=False)
        w = h.weir
        for d in (w.state, w.log):
            sh("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "weir-test", d)
            lab.on_close(lambda d=d: sh("umount", "-l", d, check=False))
        w.run(policy("audit_full: drop"))
        live = Probe(lab.client, "tcp", lab.DUT[4], 80)
        equal(live.wait(), "open", "with room")
        for d in (w.state, w.log):
            fill(f"{d}/fill")
        for i in range(80):  # until the last page of the log is full, too
            r = w("ban", "add", f"192.0.2.{i}", check=False)
            check(r.returncode, f"a ban that cannot be saved is told as done:\n{r.stdout}")
            if failure(w, "audit_full")["count"]:
                break
        p = w("status", check=False)
        check(p.returncode == 3 and w.state in p.stdout and w.log in p.stdout, f"status names not both:\n{p.stdout}")
        wait("new connections are not dropped", lambda: not works(lab, 80))
        h.silent(80, "full: a new connection")
        h.opens(81, "full: failsafe")
        live.s.send(live.payload)
        check(live._poll(1, time.monotonic() + PATIENCE), "full: the live connection does not go on")
        # what is enforced does not depend on the disk, nor does a start
        w.stop()
        w.run(policy("audit_full: drop"))
        wait("new connections are not dropped after a start", lambda: not works(lab, 80))
        for d in (w.state, w.log):
            os.unlink(f"{d}/fill")
        wait("with room again: still dropped", lambda: works(lab, 80))
        h.opens(80, "with room again")
        wait("the audit log does not say what it missed", lambda: "audit resumed" in audit(w))
        equal(w("ban", "add", "192.0.2.9").returncode, 0, "a change, with room again")


def test_no_policy():
    """The policy of the system is damaged or gone at a start."""
    for choice in ("last_good", "management", "open"):
        with Router() as lab:
            Listener(lab, lab.dut, "tcp", 22)
            h = Host(lab, run=False)
            w = h.weir
            path = w.write(policy(f"no_policy: {choice}"), f"{w.config}/policy.yaml")
            short = {"last_good": ("damaged",), "management": ("gone", "simulated"), "open": ("damaged",)}[choice]
            for how in long_or(("damaged", "gone", "simulated"), short):
                what = f"{choice}, {how}"
                w.write(policy(f"no_policy: {choice}"), path)
                w.run()
                w("apply", "--no-confirm")
                w("flush")
                w.daemon.wait(30 * SLOW)
                if how == "damaged":
                    w.write("version: 1\nrules: [", path)
                elif how == "gone":
                    os.unlink(path)
                w.run(None, *(["--simulate", "no_policy"] if how == "simulated" else []))
                p = w("status", check=False)
                check(p.returncode == 3 and "cannot be read" in p.stdout, f"{what}: status:\n{p.stdout}")
                told(w, "no_policy")
                if choice != "last_good":
                    equal(ask(lab.client, "tcp", lab.DUT[4], 22), "open", f"{what}: ssh")
                if choice == "last_good":
                    h.opens(80, f"{what}: allowed by what was confirmed")
                    h.silent(82, f"{what}: denied by it")
                elif choice == "management":
                    p80 = Probe(lab.client, "tcp", lab.DUT[4], 80)
                    equal(ask(lab.client, "tcp", lab.DUT[4], 22), "open", f"{what}: ssh behind it")
                    check(p80.quiet(), f"{what}: port 80 answers")
                    p80.close()
                    server = Listener(lab, lab.server, "udp", 53)
                    equal(ask(lab.dut, "udp", lab.SERVER[4], 53), "open", f"{what}: outbound")
                    server.close()
                    lab.closers.remove(server.close)
                else:
                    h.opens(82, f"{what}: nothing is blocked")
                # a policy that is applied ends it
                w.write(policy(f"no_policy: {choice}"), path)
                w("apply", "--no-confirm")
                h.opens(80, f"{what}: after an apply")
                h.silent(82, f"{what}: after an apply")
                w("flush")
                w.daemon.wait(30 * SLOW)


def test_broken_and_never_saved():
    """The policy of the system does not check, and none was ever saved: what a stopped daemon left enforced goes on."""
    with Router() as lab:
        h = Host(lab, policy("audit_full: continue"))
        w = h.weir
        broken = "version: 1\nrules: ["
        no_list = "version: 1\nsets: { bad: { addresses: { file: gone.txt } } }\nblocklists: [$bad]\nrules: []\n"
        for end, text in ((w.stop, broken), (w.kill, broken), (w.stop, no_list), (w.kill, no_list)):
            end()
            w.write(text, f"{w.config}/policy.yaml")
            w.run()
            told(w, "no_policy")
            h.opens(80, f"{end.__name__}: allowed by what is enforced")
            h.silent(82, f"{end.__name__}: denied by it")


def test_first_start():
    """Where no policy ever was, none is missing."""
    with Router() as lab:
        h = Host(lab)
        h.opens(82, "the built-in policy")
        equal(failure(h.weir, "no_policy")["count"], 0, "counted as a failure")


if __name__ == "__main__":
    main(globals())
