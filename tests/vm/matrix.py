#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads every BPF program on the kernels that weir promises: boots Debian's cloud kernels in qemu.

    matrix.py WORK PROGRAM      WORK: a scratch folder; PROGRAM: what runs in the machine (weir-loadtest)

debian.py has the kernels and keeps them, machine.py the emulator. Here the machine is an initramfs with busybox, the
program and its libraries.

Speaks TAP: a case per kernel, which is skipped by name when its kernel cannot be had. PROGRAM prints
`NAME key=number ...` per BPF program; those lines become the table at the end.
"""
import os
import re
import shutil
import subprocess
import sys

import debian
import machine

# (suite, what its kernel must be, what the program must have found there: a fallback must not go unseen)
FULL = ("tc=tcx", "xdp=generic", "guard: bpf netfilter")
CLSACT = ("tc=clsact", "xdp=generic")
MATRIX = [("bullseye", "5.10", CLSACT), ("bookworm", "6.1", CLSACT), ("trixie", "6.12", FULL), ("sid", "newest", FULL)]
BOOT_TIMEOUT = 400  # of a machine that hangs; a slow one needs more than 120
KEYS = ("verified", "xlated", "jited")
# The verifier gives up after a million instructions; a program that is near grows over it on some other kernel.
BUDGET = 800_000


def boot(work, suite, kernel, initrd):
    """(exit status or None, output of the program, console)"""
    p, out, console = machine.start(work, suite, kernel, initrd)
    end = ""
    try:
        said = p.communicate(timeout=BOOT_TIMEOUT)[1]
        if p.returncode:
            end = f"qemu: {(said.strip().splitlines() or ['?'])[-1]}\n"
    except subprocess.TimeoutExpired:
        p.kill()
        p.communicate()
        end = f"no end after {BOOT_TIMEOUT} s\n"
    text = machine.read(out)
    status = re.search(r"^status (\d+)$", text, re.M)
    return int(status.group(1)) if status else None, text, machine.read(console) + end


def numbers(text):
    """{program: {key: number}} of the lines `NAME key=number ...`; the largest of a name counts."""
    found = {}
    for line in text.splitlines():
        m = re.match(r"(\w+)((?: +\w+=\d+)+)\s*$", line)
        if m:
            row = found.setdefault(m.group(1), {})
            for key, value in re.findall(r"(\w+)=(\d+)", m.group(2)):
                row[key] = max(row.get(key, 0), int(value))
    return found


def print_table(results):
    """Lines that begin with '| ' are repeated by the test runner in its report."""
    programs = sorted({p for rows in results.values() for p in rows})
    if not programs:
        return
    width = max(map(len, programs + ["program"]))
    columns = [max(len(kernel), 20) for kernel in results]
    print(f"| instructions: {'/'.join(KEYS)}; verified at most {BUDGET}")
    print("| " + "  ".join([f"{'program':{width}}"] + [f"{k:>{w}}" for k, w in zip(results, columns)]))
    for program in programs:
        cells = []
        for rows, w in zip(results.values(), columns):
            row = rows.get(program)
            cells.append(f"{'/'.join(str(row.get(k) or '-') for k in KEYS) if row else 'not there':>{w}}")
        print("| " + "  ".join([f"{program:{width}}"] + cells))


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    work, program = sys.argv[1:]
    if not shutil.which("qemu-system-x86_64"):
        print("skipped: no qemu-system-x86_64 (package qemu-system-x86)")
        return 77
    if os.uname().machine != "x86_64":
        print("skipped: the programs of this host do not run in an x86_64 machine")
        return 77
    os.makedirs(work, exist_ok=True)
    try:
        initrd = machine.initramfs(work, program)
    except debian.Unavailable as e:
        print(f"skipped: {e}")
        return 77
    results, failed = {}, 0
    print(f"1..{len(MATRIX)}", flush=True)
    for i, (suite, version, must_say) in enumerate(MATRIX, 1):
        try:
            kernel = debian.kernel(suite)
        except debian.Unavailable as e:
            print(f"ok {i} - {suite} ({version}) # SKIP {e}", flush=True)
            continue
        release = machine.read(f"{kernel}/release").strip()
        for _ in range(3):
            status, text, console = boot(work, suite, kernel, initrd)
            if status is not None or text.strip():
                break
            # under emulation 6.12 dies now and then in its own early boot, before anything of ours has run
            print(f"# {suite}: the machine died before the program began; again", flush=True)
        wrong, found = None, numbers(text)
        over = [f"{name} ({row['verified']})" for name, row in found.items() if row.get("verified", 0) > BUDGET]
        if status is None:
            wrong = "the machine did not come to its end"
        elif status:
            wrong = f"the program failed with status {status}"
        elif version != "newest" and not release.startswith(version + "."):
            wrong = f"this is {release}, not {version}"
        elif any(words not in text for words in must_say):
            wrong = f"did not say {', '.join(words for words in must_say if words not in text)}"
        elif over:
            wrong = f"the verifier counts more than {BUDGET} instructions in {', '.join(over)}"
        print(f"{'not ok' if wrong else 'ok'} {i} - {suite} {release}{': ' + wrong if wrong else ''}", flush=True)
        if wrong:
            failed += 1
            print("\n".join("  " + line for line in (console + text).splitlines()[-60:]), flush=True)
        results[release.replace("-cloud-amd64", "")] = found
    print_table(results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
