#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of both builds and says how it went, in one line that a machine can read too.

The plain build runs everything; the unit tests run again, with the fuzz targets, in a second build by
clang with ASan and UBSan, at low priority beside the others, which wait for something most of the time. `meson test`
does the running. Its JSON logs are read afterwards: a program that speaks TAP or cmocka counts with each of its cases,
any other one as a whole. A skip never goes unseen: it is listed with the last words of the program that skipped. Lines
that begin with `| ` are a table for the report.
Exit status 1 when anything failed or nothing ran.

Suites: unit (no rights), check (of the source), bpf and e2e (root), vm (qemu), fuzz; a test of the suite
`long` runs with --long only. WEIR_TEST_LONG=1 tells the others to use full counts.
"""
import argparse
import concurrent.futures
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

CASE_PATTERNS = [
    # TAP, then what cmocka says by itself
    re.compile(r"^(?P<result>ok|not ok) \d+(?: - (?P<name>[^#\n]*))?(?P<skip> *# *SKIP *(?P<why>.*))?", re.I | re.M),
    re.compile(r"^\[ +(?P<result>OK|FAILED|SKIPPED) +\] (?P<name>[A-Za-z0-9_]+)$", re.M),
]
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
}


class Tally:
    def __init__(self):
        self.passed = self.programs = 0
        self.failed, self.skipped, self.slow, self.tables = [], [], [], []

    def add_program(self, where, record):
        """One line of testlog.json."""
        self.programs += 1
        name = where + record["name"].split(" / ")[-1].split(":")[-1]
        self.slow.append((record["duration"], name))
        result = record["result"]
        output = "\n".join(filter(None, (record.get("stdout"), record.get("stderr"))))
        self.tables += [line for line in output.splitlines() if line.startswith("| ")]
        if result == "SKIP":
            self.skipped.append((name, last_words(output)))
            return
        cases = list(cases_of(output))
        failures = [case for case, verdict, _ in cases if verdict == "failed"]
        self.passed += sum(verdict == "passed" for _, verdict, _ in cases)
        self.skipped += [(f"{name}: {case}", why) for case, verdict, why in cases if verdict == "skipped"]
        self.failed += [f"{name}: {case}" for case in failures]
        if result in ("OK", "EXPECTEDFAIL"):
            if not cases:
                self.passed += 1
        elif not failures:  # a crash, a time-out, a failure outside of the cases
            self.failed.append(f"{name}: {result.lower()} (status {record.get('returncode')})")

    def report(self):
        print("\n".join(self.tables + [""]) if self.tables else "", end="")
        for seconds, name in sorted(self.slow, reverse=True)[:5]:
            if seconds >= 5:
                print(f"slow     {seconds:6.1f} s  {name}")
        for name, why in self.skipped:
            print(f"skipped  {name}: {why}")
        for name in self.failed:
            print(f"FAILED   {name}")
        print(f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped", flush=True)
        return 1 if self.failed or not self.passed else 0


def cases_of(output):
    # cmocka names what failed or was skipped a second time in its summary
    output = re.sub(r"listed below:\n(\[ +(FAILED|SKIPPED) +\] \w+\n?)+", "", output)
    for pattern in CASE_PATTERNS:
        found = False
        for m in pattern.finditer(output):
            found = True
            groups = m.groupdict()
            result = groups["result"].lower()
            if groups.get("skip") or result == "skipped":
                verdict = "skipped"
            else:
                verdict = "passed" if result == "ok" else "failed"
            why = groups.get("why")
            if verdict == "skipped" and not why:  # cmocka: what the case said before it gave up
                said = output[:m.start()].rstrip("\n").rpartition("\n")[2]
                why = last_words("" if said.startswith("[") else said)
            yield (groups.get("name") or "?").strip(" -"), verdict, (why or "").strip()
        if found:
            return


def last_words(output):
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    spoken = [line for line in lines if re.search(r"\bskip", line, re.I)] or lines
    return re.sub(r"^skip(ped)?:? *", "", spoken[-1], flags=re.I) if spoken else "no reason given: a bug of the test"


class Runner:
    def __init__(self, args):
        self.args = args
        self.build = args.build
        self.san = args.build.rstrip("/") + ("-san" if args.fuzz is None else "-fuzz")
        self.as_owner = ["runuser", "-u", args.owner, "--"] if args.owner else []
        self.tally = Tally()
        self.env = dict(os.environ, **({"WEIR_TEST_LONG": "1"} if args.long else {}))
        # administrators' folders hold ip, nft and bpftool
        self.env["PATH"] = self.env.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
        # what hangs ends at some time; a slow machine, or one that stands still for a while, is no hang
        self.patience = "60" if args.long else "4"

    def refresh(self, build):
        """Configure again when a room is new to the tree, or a test library new to the system."""
        made = os.path.getmtime(f"{build}/build.ninja")
        rooms = [f for depth in ("", "*/", "*/*/") for f in glob.glob(f"{depth}meson.build")]
        out = subprocess.run(["meson", "introspect", "--dependencies", build], check=True, capture_output=True, text=True)
        cmocka = any(d["name"] == "cmocka" for d in json.loads(out.stdout))
        if max(map(os.path.getmtime, rooms)) > made or \
                (not cmocka and not subprocess.run(["pkg-config", "--exists", "cmocka"]).returncode):
            subprocess.run(self.as_owner + ["meson", "setup", "--reconfigure", build], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(self.as_owner + ["touch", f"{build}/build.ninja"], check=True)

    def make_san(self):
        """The sanitizer build, or False with a skip that says why not."""
        if not os.path.exists(f"{self.san}/build.ninja"):
            clang = next((c for c in ["clang"] + [f"clang-{n}" for n in range(22, 13, -1)] if shutil.which(c)), None)
            if not clang:
                self.tally.skipped.append(("sanitizer build", "no clang"))
                return False
            probe = subprocess.run([clang, "-fsanitize=fuzzer,address,undefined", "-x", "c", "-", "-o", "/dev/null"],
                                   input=b"int LLVMFuzzerTestOneInput(void){return 0;}", stderr=subprocess.DEVNULL)
            if probe.returncode:
                self.tally.skipped.append(("sanitizer build", "clang has no sanitizer runtime: install libclang-rt-dev"))
                return False
            werror = ["-Dwerror=true"] if os.environ.get("CI") == "true" else []
            subprocess.run(self.as_owner + ["env", f"CC={clang}", "meson", "setup", self.san, "-Dbuildtype=debug",
                           "-Doptimization=1", "-Db_sanitize=address,undefined", "-Db_lundef=false",
                           "-Dsanitize_fuzz=" + ("short" if self.args.fuzz is None else "long")] + werror,
                           check=True, stdout=subprocess.DEVNULL)
        self.refresh(self.san)
        return True

    def tests(self, build):
        out = subprocess.run(["meson", "introspect", "--tests", build], check=True, capture_output=True, text=True)
        for test in json.loads(out.stdout):
            # ["weir:unit"] or ["weir"]; a test without a suite is a unit test
            yield test["name"], {s.split(":")[1] for s in test["suite"] if ":" in s} or {"unit"}, test

    def meson_test(self, build, names, processes, before=(), env=None, stdout=None):
        """The records of the log that `meson test` leaves."""
        log = f"{build}/meson-logs/testlog.json"
        if os.path.exists(log):
            os.unlink(log)
        if not names:
            return []
        subprocess.run([*before, "meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", "--num-processes",
                        str(processes), "--timeout-multiplier", self.patience, *sorted(set(names))],
                       env=dict(self.env, **(env or {})), stdout=stdout)
        if not os.path.exists(log):
            self.tally.failed.append(f"{build}: meson test left no log")
            return []
        with open(log, encoding="utf-8", errors="replace") as f:
            return [json.loads(line) for line in f]

    def build_san(self, chosen):
        """Only what these tests need: the second build must not cost as much as the first."""
        want = {dep.split("@@")[0] for _, _, test in chosen for dep in test.get("depends", [])}
        out = subprocess.run(["meson", "introspect", "--targets", self.san], check=True, capture_output=True, text=True)
        ids = {dep for _, _, test in chosen for dep in test.get("depends", [])}
        files = [os.path.relpath(f, os.path.abspath(self.san)) for t in json.loads(out.stdout)
                 if t["id"] in ids or t["name"] in want for f in t["filename"]]
        if files:
            subprocess.run(["nice"] + self.as_owner + ["ninja", "-C", self.san, "--quiet"] + sorted(set(files)),
                           check=True)

    def test_san(self, wanted, said):
        """All of the sanitizer run. What its tests say stands in the file `said`."""
        if not self.make_san():
            return []
        chosen = [t for t in self.tests(self.san) if wanted(t[0], t[1]) and t[1] & {"unit", "fuzz"}]
        self.build_san(chosen)
        return self.meson_test(self.san, [t[0] for t in chosen], os.cpu_count() or 1, ["nice"], SANITIZER_OPTIONS, said)

    def run(self):
        args = self.args

        def wanted(name, suites):
            if args.names and not any(n in name for n in args.names):
                return False
            if args.vm:
                return "vm" in suites
            return args.long or "long" not in suites

        self.refresh(self.build)
        names = [n for n, _, _ in self.tests(self.build)]
        for name in sorted({n for n in names if names.count(n) > 1}):
            self.tally.failed.append(f"{name}: two tests of this name")
        subprocess.run(self.as_owner + ["ninja", "-C", self.build, "--quiet"], check=True)
        plain = [n for n, s, _ in self.tests(self.build) if wanted(n, s) and "fuzz" not in s]
        with tempfile.TemporaryFile("w+") as said, concurrent.futures.ThreadPoolExecutor(1) as beside:
            san = None if args.vm else beside.submit(self.test_san, wanted, said)
            for record in self.meson_test(self.build, plain, 2 * (os.cpu_count() or 1)):
                self.tally.add_program("", record)
            for record in san.result() if san else ():
                self.tally.add_program("san/", record)
            said.seek(0)
            shutil.copyfileobj(said, sys.stdout)

    def fuzz(self):
        """Each target alone, with its committed corpus and a growing one in the build folder."""
        if not self.make_san():
            return
        chosen = [t for t in self.tests(self.san) if "fuzz" in t[1]
                  and (not self.args.names or any(n in t[0] for n in self.args.names))]
        self.build_san(chosen)
        for name, _, test in chosen:
            grown = f"{self.san}/corpus/{name}"
            os.makedirs(grown, exist_ok=True)
            committed = [a for a in test["cmd"][1:] if not a.startswith("-")]
            cmd = [test["cmd"][0], f"-max_total_time={self.args.fuzz}", f"-artifact_prefix={self.san}/",
                   "-print_final_stats=1", grown, *committed]
            print("+", " ".join(cmd), flush=True)
            if subprocess.run(cmd, env=dict(self.env, **SANITIZER_OPTIONS)).returncode:
                self.tally.failed.append(f"{name}: the input that shows it is in {self.san}/")
            else:
                self.tally.passed += 1

    def give_back(self):
        if self.args.owner:
            subprocess.run(["chown", "-R", self.args.owner] + [d for d in (self.build, self.san) if os.path.isdir(d)])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default="build")
    p.add_argument("--owner", help="compile as this user, give him the logs")
    p.add_argument("--long", action="store_true")
    p.add_argument("--vm", action="store_true")
    p.add_argument("--bench", action="store_true")
    p.add_argument("--fuzz", type=int, metavar="SECONDS")
    p.add_argument("names", nargs="*", help="only tests whose name contains one of these")
    args, others = p.parse_known_args()
    if others and not args.bench:
        p.error(f"unknown: {' '.join(others)}")
    r = Runner(args)
    try:
        if args.bench:
            return subprocess.run([sys.executable, "bench/run.py", "--build", args.build, *others, *args.names],
                                  env=r.env).returncode
        if args.fuzz is not None:
            r.fuzz()
        else:
            r.run()
    except subprocess.CalledProcessError as e:
        r.tally.failed.append(f"{' '.join(e.cmd[:6])}: status {e.returncode}")
    finally:
        r.give_back()
    return r.tally.report()


if __name__ == "__main__":
    sys.exit(main())
