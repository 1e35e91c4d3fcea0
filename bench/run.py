#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: floors, weir and its peers in one run; a table, and build/bench.json.

    run.py [--build DIR] [--sets DIR] [--rules N,...] [STEP...]

Everything happens in mount, process and network namespaces of its own, which end with the process whatever ends it:
nothing is left behind. What cannot be measured here is in the report with the reason. Exit status 1 when a step
failed, 0 otherwise, also when a budget is missed: budgets are the report's, not a test's. 77 without root.
"""
import argparse
import datetime
import glob
import json
import lzma
import os
import platform
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "tests")]
import live  # noqa: E402
import report as rp  # noqa: E402

INSIDE = "WEIR_BENCH_INSIDE"


class Bench:
    def __init__(self, args):
        self.args, self.failed = args, []
        self.report = rp.Report({"machine": machine(), "kernel": platform.release(),
                                 "date": datetime.date.today().isoformat(), "version": version(args.build)})

    def path(self, name):
        return os.path.join(self.args.build, "bench", name)

    def program(self, name, *args, **kw):
        """Run a program of bench/ and take its rows. An error is one of the step."""
        p = subprocess.run([self.path(name), *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, errors="replace", timeout=280, **kw)
        rows = self.report.rows(p.stdout)
        said = [x for x in p.stdout.splitlines() if x and not x.startswith("| ")]
        if p.returncode or not rows:
            raise RuntimeError(f"{name} {' '.join(map(str, args))}: status {p.returncode}: {' '.join(said[-3:])}")

    def step(self, name, fn, promised):
        """promised: (group, series, unit) that stand in the report as missing when the step fails."""
        start = time.monotonic()
        print(f"{name} ...", file=sys.stderr, end="", flush=True)
        try:
            fn(self)
        except Exception as e:  # a step that fails is named in the report; the others go on
            why = rp.reason(e, 300)
            self.failed.append(f"{name}: {why}")
            for group, series, unit in promised:
                if not self.report.get(group, series):
                    self.report.miss(group, series, unit, why)
        print(f" {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)


def filter_sets(folder):
    """The sets of a folder, by name: files that begin as ClassBench's do, also compressed with xz."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*"))):
        if not os.path.isfile(path):
            continue
        with (lzma.open if path.endswith(".xz") else open)(path, "rb") as f:
            if f.read(1) == b"@":
                found[os.path.basename(path).removesuffix(".xz")] = b"@" + f.read()
    return found


def machine():
    model = next((x.split(":", 1)[1].strip() for x in open("/proc/cpuinfo") if x.startswith(("model name", "CPU part"))),
                 platform.machine())
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def version(build):
    p = subprocess.run([f"{build}/weir", "--version"], capture_output=True, text=True)
    return (p.stdout.split() or ["", "?"])[-1]


def packet(b):
    b.program("bench_packet", b.path("traffic.bpf.o"), b.path("accounting.bpf.o"))


def classifier(b):
    files = []
    for name, text in b.args.sets.items():
        files.append(os.path.join("/tmp", name))
        with open(files[-1], "wb") as f:
            f.write(text)
    b.program("bench_classifier_kernel", "-r", 7, b.path("classifier.bpf.o"), *files)


def rules(b):
    """The trees alone; B1 has measured the last."""
    counts = [n for n in b.args.rules if n != 100000]
    for n in counts:
        b.program("bench_classifier_kernel", "-g", "B2", "-k", "acl", "-f", 4, "-n", n, "-r", 7, b.path("classifier.bpf.o"))
    for kind in ("match", "mixed"):
        b.report.ratio("B2", f"acl, IPv4, {kind}, 100,000 rules by {counts[0]}, times",
                       ("B1", f"acl, IPv4, 100,000 rules, {kind}"), ("B2", f"acl, IPv4, {counts[0]} rules, {kind}"))


def blocklist(b):
    b.program("bench_blocklist", b.path("blocklist.bpf.o"), "B3", 1000000, 0, 200000)
    for n in (1, 1000, 100000):
        b.program("bench_blocklist", b.path("blocklist.bpf.o"), "growth", n, 0)
    for v in (4, 6):
        b.report.ratio("growth", f"blocklist, IPv{v}, random, 1,000,000 addresses by 1, times",
                       ("B3", f"blocklist, IPv{v}, 1,000,000 addresses, random"),
                       ("growth", f"blocklist, IPv{v}, 1 addresses, random"))


def missing(group, *names, unit="ns"):
    return [(group, n, unit) for n in names]


STEPS = [
    ("packet", packet, [("B5", "TC, established flow, 1 flows", "ns"), ("B8", "statistics and flow accounting, 1 flows", "ns"), ("floors", "parse only, at XDP, net", "ns")]),
    ("classifier", classifier, [("B1", f"acl, IPv4, 100,000 rules, {k}", "ns") for k in ("match", "mixed")]),
    ("rules", rules, [("B2", "acl, IPv4, match, 100,000 rules by 10, times", "times")]),
    ("blocklist", blocklist, [("B3", "blocklist, IPv4, 1,000,000 addresses, random", "ns")]),
    ("drop", live.drop, missing("B4", "weir, part of its rate, net of making the frame", unit="times")),
    ("same-rules", live.same_rules, missing("peers", "nftables by weir, 1000 rules, times", unit="times")),
    ("swap", live.swap, missing("B9", "weir apply, 100000 rules, in force", unit="s")),
    ("edits", live.edits, missing("edits", "weir rule add, in force", "weir set add, 1,000 addresses, in force", unit="ms")),
    ("events", live.events, missing("B11", "events taken in a burst", unit="k/s")),
    ("throughput", live.throughput, missing("throughput", *(
        f"TCP {way}, weir {mode}, part of the rate without" for way in ("local", "forwarded") for mode in ("detect", "prevent")),
        unit="times")),
    ("memory", live.memory, missing("B10", "keeper, worker and helper, resident", unit="MB")),
    ("interfaces", live.interfaces, missing("growth", *(f"weir up with {n} interfaces" for n in live.INTERFACES), unit="s")),
]


def inside(argv):
    """The same program in namespaces that end with it."""
    os.execvpe("unshare", ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc",
                           "--propagation", "private", sys.executable, os.path.abspath(__file__), *argv],
               dict(os.environ, **{INSIDE: "1"}))


def own_mounts():
    """What programs leave in these folders is ours and goes with us."""
    os.makedirs("/run/netns", exist_ok=True)
    for kind, where in (("tmpfs", "/run/netns"), ("tmpfs", "/tmp"), ("bpf", "/sys/fs/bpf")):
        subprocess.run(["mount", "-t", kind, "bench", where], check=True)
    os.environ.pop("TMPDIR", None)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default=os.path.join(os.path.dirname(HERE), "build"))
    p.add_argument("--sets", metavar="DIR", help="filter sets of ClassBench (plain or .xz) to measure besides the generated ones")
    p.add_argument("--rules", default="10,100,1000,10000,100000", help="how many rules to grow through")
    p.add_argument("steps", nargs="*", help="only these: " + ", ".join(s[0] for s in STEPS))
    args = p.parse_args()
    unknown = set(args.steps) - {s[0] for s in STEPS}
    if unknown:
        p.error(f"no step {', '.join(sorted(unknown))}; there are {', '.join(s[0] for s in STEPS)}")
    if os.geteuid():
        print("skip: measuring loads programs into the kernel and needs root: sudo make bench")
        return 77
    args.build = os.path.abspath(args.build)
    if args.sets and not filter_sets(args.sets):
        p.error(f"no filter set in {args.sets}: each of its rules begins with '@', as ClassBench writes them")
    os.environ["WEIR_BIN"] = f"{args.build}/weir"
    if INSIDE not in os.environ:
        os.environ["WEIR_BENCH_SCHEDSTAT"] = str(live.schedstat())
        inside(sys.argv[1:])
    args.schedstat = int(os.environ["WEIR_BENCH_SCHEDSTAT"])
    args.sets = filter_sets(args.sets) if args.sets else {}  # before /tmp is another
    own_mounts()
    args.rules = [int(n) for n in args.rules.split(",")]
    start, b = time.monotonic(), Bench(args)
    for name, fn, promised in STEPS:
        if not args.steps or name in args.steps:
            b.step(name, fn, promised)
    for row in rp.UNMEASURED:
        b.report.miss(*row)
    b.report.about["seconds"] = round(time.monotonic() - start)
    result = b.report.as_json()
    with open(f"{args.build}/bench.json", "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    print(rp.table(result), end="")
    print("".join(f"\nfailed: {x}" for x in b.failed), end="\n" if b.failed else "")
    return 1 if b.failed else 0


if __name__ == "__main__":
    sys.exit(main())
