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


LONG = os.environ.get("WEIR_LONG") == "1"
_findings = []


def check(cond, what):
    """Note a finding and go on: one broken row must not hide the others."""
    if not cond:
        _findings.append(what)
        frame = sys._getframe(1)
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


def main(namespace):
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
    cases = [(n, f) for n, f in namespace.items() if n.startswith("test_") and callable(f)]
    ran = failed = skipped = 0
    for name, fn in cases:
        if wanted and not any(w in name for w in wanted):
            continue
        _findings.clear()
        start = time.monotonic()
        word, detail = "ok", ""
        # the case itself closes its lab, so what weir has to say is collected while it still lives
        weir_report = []
        netns.Lab.on_failure = staticmethod(lambda: weir_report.extend(w.report() for w in weir.live))
        netns.Lab.has_failed = staticmethod(lambda: bool(_findings))
        try:
            fn()
        except Skip as e:
            word, detail = "skip", f": {e}"
        except Failed as e:
            check(False, str(e))
        except Exception:
            traceback.print_exc(file=sys.stdout)
            _findings.append("exception")
        if _findings:
            word = "FAIL"
            for r in weir_report:
                print(r)
        ran += word == "ok"
        failed += word == "FAIL"
        skipped += word == "skip"
        print(f"{word} {name} ({time.monotonic() - start:.1f} s){detail}", flush=True)
    print(f"{ran} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not (ran or skipped) else 0 if ran else 77)
