# SPDX-License-Identifier: Apache-2.0
"""Runs the test_* functions of one file. Exit 0: all held; 1: one did not; 77: nothing could be run here.

    python3 tests/e2e/test_x.py             all
    python3 tests/e2e/test_x.py vlan        those whose name holds "vlan"
"""
import faulthandler
import os
import signal
import sys
import time
import traceback

from . import netns, weir


class Skip(Exception):
    pass


class Failed(Exception):
    pass


LONG = "1" in (os.environ.get("WEIR_LONG"), os.environ.get("WEIR_TEST_LONG"))
_findings = []


def check(cond, what):
    """Note a finding and go on: one broken row must not hide the others."""
    if not cond:
        _findings.append(what)
        frame = sys._getframe(1)
        while os.path.basename(frame.f_code.co_filename) == "case.py" and frame.f_back:
            frame = frame.f_back
        print(f"  FAIL {what}  [line {frame.f_lineno}]", flush=True)
    return bool(cond)


def equal(got, want, what):
    return check(got == want, f"{what}: got {got!r}, want {want!r}")


def must(cond, what):
    """Without this the rest of the case means nothing."""
    if not cond:
        raise Failed(what)


def need(*programs):
    missing = netns.need(*programs)
    if missing:
        raise Skip(f"{missing} is not installed")


def long_or(long, short):
    """The full count under WEIR_LONG=1, the short one in `make test`."""
    return long if LONG else short


def times(long, short):
    """How often to do the same thing again. A machine that is N times slower does it N times less, at least 3 times."""
    return long if LONG else max(3, int(short / netns.SLOW))


def _run(fn):
    """Run one case; returns ("ok" | "not ok" | "skip", why skipped, what weir had to say when it failed)."""
    _findings.clear()
    reports = []
    # a lab tears weir down when the case leaves it, so what weir has to say is collected before that
    netns.Lab.on_failure = staticmethod(lambda: reports.extend(w.report() for w in weir.live))
    netns.Lab.has_failed = staticmethod(lambda: bool(_findings))
    try:
        fn()
    except Skip as e:
        if not _findings:
            return "skip", str(e), []
    except Failed as e:
        check(False, str(e))
    except Exception:
        traceback.print_exc(file=sys.stdout)
        _findings.append("exception")
    return ("not ok" if _findings else "ok"), "", reports


def main(namespace):
    """TAP, so that the runner counts every case."""
    faulthandler.register(signal.SIGUSR1)
    if os.geteuid():
        print("skip: needs root (network namespaces, BPF)")
        sys.exit(77)
    if not os.access(weir.BIN, os.X_OK):
        print(f"skip: no binary at {weir.BIN}")
        sys.exit(77)
    netns.setup()
    # packets of one CPU keep their order: see talk.py
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[os.getpid() % len(cpus)]})
    wanted = sys.argv[1:]
    cases = [(n, f) for n, f in namespace.items() if n.startswith("test_") and callable(f)
             and (not wanted or any(w in n for w in wanted))]
    print(f"1..{len(cases)}", flush=True)
    if netns.SLOW > 1:
        print(f"# a machine that is {netns.SLOW:g} times slower than a quiet one: longer waits, fewer rounds")
    words, whys = [], []
    for number, (name, fn) in enumerate(cases, 1):
        start = time.monotonic()
        word, why, reports = _run(fn)
        for r in reports:
            print(r)
        words.append(word)
        whys.append(why)
        print(f"{'ok' if word == 'skip' else word} {number} - {name}" + (f" # SKIP {why}" if word == "skip" else ""))
        print(f"# {time.monotonic() - start:.1f} s", flush=True)
    if words and all(w == "skip" for w in words):
        print(f"skip: {'; '.join(dict.fromkeys(whys))}")
        sys.exit(77)
    sys.exit(1 if "not ok" in words or not words else 0)
