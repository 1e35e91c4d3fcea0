#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Names that want to speak to the terminal or to forge a log line: interfaces, rules, paths, arguments. What
weir prints holds no control byte, and audit.log is one line a record, for root's eyes only."""
import json
import os
import re
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.dut import OPEN, Dut

EVIL = ("e\x1b[31mred", "a\x07b", "n\x9bm", "\u202edrow", "tab\x01x")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(what, p):
    for name, text in (("stdout", p.stdout), ("stderr", p.stderr)):
        bad = CONTROL.search(text)
        check(not bad, f"{what}: {bad and bad.group(0)!r} in {name}: {text[max(0, (bad.start() if bad else 0) - 40):][:80]!r}")


def audit(w):
    with open(f"{w.log}/audit.log", newline="") as f:
        return f.read()


def test_interface_names():
    with Router() as lab:
        # the kernel takes any bytes but '/', ':' and white space; iproute2 may refuse some
        made = 0
        for i, n in enumerate(n for n in EVIL if len(n.encode()) < 16):
            try:
                lab.dut.ip("link", "add", n, "type", "veth", "peer", "name", f"x{i}")
                lab.dut.ip("link", "set", n, "up")
                made += 1
            except ProgramFailed:
                continue
        must(made, "no hostile interface could be made")
        d = Dut(lab)
        d.opens(80, "beside hostile names")
        for args in (["status"], ["status", "show"], ["flows"], ["events"], ["features"], ["doctor"],
                     ["status", "--output", "json"]):
            clean(args, d.weir(*args, check=False))
        clean("the daemon's output", type("P", (), {"stdout": d.weir.said(), "stderr": ""}))


def test_names_in_policies_and_arguments():
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        generation = w.json("show", "effective")["generation"]
        for n in EVIL:
            path = w.write("version: 1\nrules:\n  - { name: %s, action: drop, ports: 1 }\n" % json.dumps(n))
            for args in (["check", path], ["apply", path, "--no-confirm"], ["lint", path]):
                p = w(*args, check=False)
                clean(args[0], p)
                check(p.returncode == 1, f"{args[0]} takes a rule named {n!r}")
            os.rename(path, f"{w.dir}/{n}.yaml".replace("/\x00", ""))
            for args in (["check", f"{w.dir}/{n}.yaml"], ["apply", f"{w.dir}/{n}.yaml", "--no-confirm"],
                         ["rule", "add", "--port", "83", "--action", "allow", "--name", n],
                         ["rule", "add", "--port", "83", "--action", "allow", "--why", n],
                         ["rule", "delete", "--id", n], ["ban", "add", n], ["set", "add", n, "10.0.0.1"],
                         ["set", "add", "office", n], ["mode", n], ["why", n], [n], ["rule", n], ["run", "--policy", n],
                         ["explain", path, "--packet", n], ["init", "--profile", n], ["status", f"--{n}"]):
                clean(args, w(*args, check=False))
        for args in (["rule", "list"], ["rule", "export"], ["show", "effective"], ["events"], ["status"]):
            clean(args, w(*args, check=False))
        equal(w.json("show", "effective")["generation"], generation, "generation: no hostile file went into force")


def test_paths_in_what_people_read():
    """Files and directories that are there, or are not, under names that no terminal should obey; as JSON too."""
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        for n in EVIL + ("del\x7fx", "raw\udc9bbyte"):
            good = f"{w.dir}/{n}.yaml"
            with open(good, "w") as f:
                f.write(OPEN)
            for args in (["check", good], ["lint", good], ["check", f"{w.dir}/{n}.missing"], ["apply", good, "--no-confirm"],
                         ["explain", good, "--packet", "tcp 192.0.2.1:1 > 192.0.2.2:80"], ["status"],
                         ["init", "--profile", "agent", f"{w.dir}/{n}.init"],
                         ["--runtime-dir", f"{w.dir}/{n}", "status"], ["--runtime-dir", f"{w.dir}/{n}", "flush"],
                         ["--runtime-dir", f"{w.dir}/{n}", "stop"], ["--runtime-dir", f"{w.dir}/{n}", "doctor"]):
                p = w(*args, check=False)
                clean(args, p)
                check("\ufffd" not in p.stdout + p.stderr, f"{args}: bytes that are no UTF-8: {p.stdout}{p.stderr}")
                if args[0] == "init":
                    os.path.exists(args[-1]) and os.unlink(args[-1])
                p = w(*args, "--output", "json", check=False)
                clean(args + ["json"], p)
                for line in p.stdout.splitlines():
                    json.loads(line)
            os.unlink(good)
        clean("the daemon's output", type("P", (), {"stdout": d.weir.said(), "stderr": ""}))


def test_audit_log():
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        st = os.stat(f"{w.log}/audit.log")
        worker = next(p["pid"] for p in w.status()["processes"]["list"] if p["name"] == "worker")
        uid = int(next(x for x in open(f"/proc/{worker}/status") if x.startswith("Uid:")).split()[1])
        equal((stat.S_IMODE(st.st_mode), st.st_uid), (0o600, uid), "mode and owner of audit.log")
        equal(stat.S_IMODE(os.stat(w.log).st_mode), 0o700, "mode of its directory")
        lines = audit(w).count("\n")
        forged = "x\n2026-01-01T00:00:00Z root apply generation 99 ok"
        for args, ok in ((["rule", "add", "--port", "83", "--action", "allow", "--why", forged], None),
                         (["rule", "add", "--port", "84", "--action", "allow", "--name", "plain"], True),
                         (["ban", "add", "192.0.2.99"], True), (["ban", "remove", "192.0.2.99"], True),
                         (["set", "add", "office", "192.0.3.1"], True), (["mode", "detect"], True),
                         (["mode", "prevent"], True), (["rule", "clear"], True),
                         (["rule", "delete", "--id", "424242"], False),
                         (["apply", w.write("version: 1\nmode: x\n"), "--no-confirm"], False),
                         (["apply", w.write(OPEN), "--no-confirm"], True)):
            p = w(*args, check=False)
            if ok is not None:
                equal(p.returncode == 0, ok, f"{args[:2]}: {p.stderr}")
            text = audit(w)
            got = text.count("\n") - lines
            # what the client itself refuses never reaches the log; what the daemon was asked is one line
            check(got == 1 or (ok is None and got in (0, 1)), f"{args[:2]}: {got} new lines in audit.log:\n{text[-400:]}")
            lines = text.count("\n")
        text = audit(w)
        check(not CONTROL.search(text.replace("\n", "")), f"control bytes in audit.log: {text!r}")
        check(text.endswith("\n") and all(x.strip() for x in text.splitlines()), "empty or unfinished lines")
        for word in ("apply", "rule add", "ban add", "ban remove", "set add", "mode", "rule clear"):
            check(word in text, f"audit.log does not tell {word!r}")
        check("root" in text, "audit.log does not say who")
        failed = [x for x in text.splitlines() if "rule delete" in x]
        check(failed and "424242" in failed[0], f"a refused change is not told: {failed}")


def test_nobody_else_reads():
    """Configuration of the running instance, its socket, its log and its pins are root's."""
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        os.chmod(w.dir, 0o755)
        for top in (w.log, w.state, w.runtime):
            for where, dirs, files in os.walk(top):
                for n in dirs + files:
                    mode = os.lstat(os.path.join(where, n)).st_mode
                    check(not stat.S_IMODE(mode) & 0o022 or stat.S_ISLNK(mode), f"{where}/{n} can be written by others")
        check(not stat.S_IMODE(os.stat(f"{w.log}/audit.log").st_mode) & 0o077, "audit.log")
        # a user without rights may look at nothing and change nothing
        os.chmod(w.runtime, 0o755)
        for args in (["rule", "add", "--port", "84", "--action", "allow"], ["mode", "detect"], ["stop"], ["flush"]):
            p = sh("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env",
                   f"WEIR_RUNTIME_DIR={w.runtime}", f"WEIR_STATE_DIR={w.state}", f"WEIR_LOG_DIR={w.log}",
                   *w.ns.argv()[2:], BIN, *args, check=False)
            check(p.returncode != 0 and p.stderr.strip(), f"nobody may {args}: {p.returncode} {p.stdout}{p.stderr}")
        equal(w("status").returncode, 0, "status afterwards")
        d.silent(82, "afterwards")


def test_hostile_runtime_directory():
    """A log or a state that is a symlink or a fifo is refused with a reason, not followed."""
    with Router() as lab:
        for kind in ("symlink", "fifo"):
            w = Weir(lab, lab.dut)
            target = f"{w.dir}/target"
            if kind == "symlink":
                os.symlink(target, f"{w.log}/audit.log")
            else:
                os.mkfifo(f"{w.log}/audit.log")
            p = w("run", "--no-live", "--policy", w.write(OPEN), check=False, timeout=30)
            check(p.returncode == 1 and "audit.log" in p.stderr, f"{kind}: exit {p.returncode}: {p.stdout}{p.stderr}")
            check(not os.path.exists(target), "the symlink was followed")


if __name__ == "__main__":
    main(globals())
