#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the suites bpf and e2e inside of machines with the kernels of the matrix, and prints a table kernel x test.

    suites.py WORK SOURCE BUILD PROGRAM     WORK: a scratch folder; PROGRAM: weir-loadtest

Which tests there are is what Meson knows of these suites, so a new one comes by itself. The machine has a root file
system of this host's release with the packages of tools/deps.sh, the checkout and the built programs on a second
disk under the paths that they have here, and all modules of its kernel on a third (debian.py, machine.py). Two
machines run at a time. Where a machine dies, the next one goes on with the test it died in, and then the rest.

    WEIR_LONG=1         every test on every kernel; else those of SOME only on the oldest and on the newest kernel
    WEIR_VM_KERNEL      only these Debian suites, e.g. "bullseye sid"
    WEIR_VM_TEST        only tests whose name holds one of these words, in this order
    WEIR_VM_SLOW        how many times slower than this host a machine may be (default 4)

Speaks TAP: a case per kernel and test.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import debian
import machine
from matrix import MATRIX

SUITES = {"weir:bpf", "weir:e2e"}
SLOW = int(os.environ.get("WEIR_VM_SLOW") or 4)
LONG = os.environ.get("WEIR_LONG") == "1"
MEMORY, CPUS, AT_ONCE = 1536, 2, 2
DEATHS = 4  # of machines, per kernel
# A clsact test on a kernel that has nothing else is the same test twice.
TWICE = ("-clsact", {"bullseye", "bookworm"})
# Counts that emulation can pay for.
ARGUMENTS = {"differential": ["20", "400"], "differential-planted": ["5", "200"]}
SOME = ()


def tests_of(build):
    """What Meson would run, and every file of the build folder that it takes."""
    def introspect(what):
        return json.loads(debian.run("meson", "introspect", f"--{what}", build))
    targets = {t["id"]: t["filename"] for t in introspect("targets")}
    tests, files = [], set()
    for t in introspect("tests"):
        if not SUITES & set(t["suite"]) or "weir:long" in t["suite"]:
            continue
        cmd = [os.path.normpath(a) if a.startswith("/") else a for a in t["cmd"]]
        if os.path.basename(cmd[0]).startswith("python3"):
            cmd[0] = "/usr/bin/python3"
        name = t["name"].removeprefix("e2e-")
        if not LONG and name in ARGUMENTS:
            cmd = [cmd[0], *ARGUMENTS[name]]
        tests.append({"name": name, "cmd": cmd, "env": t["env"], "timeout": t["timeout"]})
        files |= {f for d in t.get("depends", []) for f in targets.get(d, [])}
        files |= {a for a in cmd if a.startswith(build + "/") and os.path.exists(a)}
    words = os.environ.get("WEIR_VM_TEST", "").split()
    if words:
        tests = [t for t in tests if any(w in t["name"] for w in words)]
        tests.sort(key=lambda t: next(i for i, w in enumerate(words) if w in t["name"]))
    return tests, files


def stage(work, source, build, files):
    """The disk with the checkout and what was built."""
    tree = f"{work}/tree"
    shutil.rmtree(tree, ignore_errors=True)
    try:
        names = debian.run("git", "-c", "safe.directory=*", "-C", source, "ls-files", "-co", "--exclude-standard").splitlines()
    except (OSError, subprocess.CalledProcessError):
        names = [os.path.relpath(os.path.join(d, f), source) for top in ("tests", "docs", "examples", "core", "bpf")
                 for d, _, fs in os.walk(f"{source}/{top}") for f in fs]
    copies = [(f"{source}/{n}", f"{tree}/source/{n}") for n in names]
    copies += [(f, f"{tree}/build/{os.path.relpath(f, build)}") for f in files]
    for src, dst in copies:
        if os.path.isfile(src):
            os.makedirs(os.path.dirname(dst), exist_ok=True)
            shutil.copy2(src, dst)
    os.symlink("cli/weir", f"{tree}/build/weir")
    debian.image(tree, f"{work}/checkout.img", 256)
    return f"{work}/checkout.img"


class Kernel:
    """One kernel of the matrix and what became of each test on it."""

    def __init__(self, suite, version, tests):
        self.suite, self.version, self.todo = suite, version, list(tests)
        self.release, self.features, self.results = suite, {}, {}
        self.why = None

    def skip(self, why):
        self.why = why
        for t in self.todo:
            self.results[t["name"]] = ("skip", why, 0, "")
        self.todo = []


class Table:
    """Says each result as it comes, and all of them at the end."""

    def __init__(self):
        self.lock, self.count, self.failed = threading.Lock(), 0, 0

    def say(self, k, name, word, why, seconds, output):
        with self.lock:
            self.count += 1
            self.failed += word == "FAIL"
            k.results[name] = (word, why, seconds, output)
            end = f" # SKIP {why}" if word == "skip" else f": {why}" if word == "FAIL" else ""
            print(f"{'not ok' if word == 'FAIL' else 'ok'} {self.count} - {k.suite} {name}{end}", flush=True)
            print(f"# {seconds} s", flush=True)
            if word == "FAIL":
                print("\n".join("  " + line for line in output.splitlines()), flush=True)

    def note(self, text):
        with self.lock:
            print(f"# {text}", flush=True)


def judge(m):
    """(word, why) of a test: what its exit status says, and its own words."""
    cases = re.findall(r"^not ok \d+ - (\S+)", m["output"], re.M)
    if m["status"] == 0:
        return "ok", ""
    if m["status"] == 77:
        said = [x for x in m["output"].splitlines() if re.search(r"\bskip", x, re.I)]
        return "skip", re.sub(r"^skip(ped)?:? *", "", said[-1], flags=re.I) if said else "no reason given"
    if m["status"] == "timeout":
        return "FAIL", "timeout"
    return "FAIL", ", ".join(cases) or f"status {m['status']}"


def one_machine(work, k, folder, initrd, disks, table, manifest):
    """A machine from its start to its end; takes what it has done off the list. True when it said its end itself."""
    blob = json.dumps(dict(manifest, tests=k.todo)).encode()
    with open(f"{work}/{k.suite}.manifest", "wb") as f:
        f.write(blob + b"\0" * (4096 - len(blob) % 4096))
    p, out, console = machine.start(work, k.suite, folder, initrd, [disks[0], disks[1], f"{folder}/modules.img",
                                    f"{work}/{k.suite}.manifest"], MEMORY, CPUS)
    begun, limit, ended, pending = None, time.monotonic() + 40 * SLOW, False, ""
    with open(out, encoding="utf-8", errors="replace") as f:
        while not ended:
            gone = p.poll() is not None or time.monotonic() > limit
            pending += f.read()
            *lines, pending = pending.split("\n")
            for line in lines:
                try:
                    m = json.loads(line)
                except ValueError:
                    continue
                if "features" in m:
                    k.features, k.release = m["features"], m["features"]["kernel"]
                elif "start" in m:
                    begun = next(t for t in k.todo if t["name"] == m["start"])
                    limit = time.monotonic() + begun["timeout"] * SLOW + 120
                elif "done" in m:
                    table.say(k, m["done"], *judge(m), m["seconds"], m["output"])
                    k.todo.remove(begun)
                    begun = None
                ended = ended or "end" in m
            if gone:
                break
            time.sleep(0.2)
    p.kill() if not ended else None
    try:
        p.wait(60)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
    p.stderr.close()
    if ended:
        return True
    table.note(f"{k.suite}: the machine died in {begun['name'] if begun else 'its boot'}")
    for line in machine.read(console).splitlines()[-25:]:
        table.note(f"  {line}")
    if begun:
        if begun.get("died"):
            table.say(k, begun["name"], "FAIL", "the machine died in it, twice", 0, machine.read(console)[-8000:])
            k.todo.remove(begun)
        begun["died"] = True
    return False


def run_kernel(work, k, initrd, disks, table, manifest):
    try:
        folder = debian.kernel(k.suite)
        k.release = machine.read(f"{folder}/release").strip()
        for _ in range(DEATHS):
            if not k.todo or one_machine(work, k, folder, initrd, disks, table, manifest):
                break
    except debian.Unavailable as e:
        k.skip(str(e))
    except Exception as e:  # the other kernels go on, and this one is not forgotten
        table.note(f"{k.suite}: {e!r}")
    for t in k.todo:
        table.say(k, t["name"], "FAIL", "no machine came to it", 0, "")


def cell(k, name):
    word, _, seconds, output = k.results.get(name, ("-", "", 0, ""))
    skips = len(re.findall(r"^ok \d+ .*# SKIP", output, re.M))
    if word == "ok":
        return f"ok {seconds} s" + (f" ({skips} skipped)" if skips else "")
    return word


def print_tables(kernels, names):
    """Lines that begin with '| ' are repeated by the test runner in its report."""
    def row(first, cells):
        print("| " + "  ".join([f"{first:24}"] + [f"{c:22}" for c in cells]).rstrip())
    row("", [f"{k.suite} {k.release.replace('-cloud-amd64', '')}" for k in kernels])
    for key in dict.fromkeys(key for k in kernels for key in k.features if key != "kernel"):
        row(key, [k.features.get(key, "?") for k in kernels])
    for name in names:
        row(name, [cell(k, name) for k in kernels])
    whys = {}
    for k in kernels:
        for name, (word, why, _, output) in k.results.items():
            if word in ("skip", "FAIL"):
                whys.setdefault(f"{name}: {word}: {why}", []).append(k.suite)
            for case, reason in re.findall(r"^ok \d+ - (\S+) # SKIP (.*)$", output, re.M) if word == "ok" else ():
                whys.setdefault(f"{name}: {case}: skip: {reason}", []).append(k.suite)
    for why, where in whys.items():
        print(f"| {why} [{', '.join(where)}]")
    if any(k.results.get(n, "-") == "-" for k in kernels for n in names):
        print("| -: not run in the short form; WEIR_LONG=1 runs every test on every kernel")


def chosen(suite, tests):
    out = [t for t in tests if not (t["name"].endswith(TWICE[0]) and suite in TWICE[1])]
    if not LONG:
        out = [t for t in out if t["name"] not in SOME or suite in (MATRIX[0][0], MATRIX[-1][0])]
    return [dict(t) for t in out]


def main():
    if len(sys.argv) != 5:
        print(__doc__, file=sys.stderr)
        return 2
    work, source, build, program = (os.path.realpath(a) for a in sys.argv[1:])
    if not shutil.which("qemu-system-x86_64"):
        print("skipped: no qemu-system-x86_64 (package qemu-system-x86)")
        return 77
    if os.uname().machine != "x86_64":
        print("skipped: the programs of this host do not run in an x86_64 machine")
        return 77
    os.makedirs(work, exist_ok=True)
    started = time.monotonic()
    tests, files = tests_of(build)
    only = os.environ.get("WEIR_VM_KERNEL", "").split()
    kernels = [Kernel(suite, version, chosen(suite, tests)) for suite, version, _ in MATRIX if not only or suite in only]
    try:
        initrd = machine.initramfs(work)
        disks = [debian.root(source), stage(work, source, build, files | {program})]
    except debian.Unavailable as e:
        print(f"skipped: {e}")
        return 77
    manifest = {"source": source, "build": build, "loadtest": program, "slow": SLOW}
    table, waiting = Table(), list(kernels)

    def worker():
        while True:
            with table.lock:
                if not waiting:
                    return
                k = waiting.pop(0)
            run_kernel(work, k, initrd, disks, table, manifest)
    threads = [threading.Thread(target=worker) for _ in range(AT_ONCE)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(f"1..{table.count}")
    print_tables(kernels, list(dict.fromkeys(t["name"] for t in tests)))
    print(f"| {len(kernels)} kernels in {(time.monotonic() - started) / 60:.0f} minutes")
    return 1 if table.failed or not table.count else 0


if __name__ == "__main__":
    sys.exit(main())
