#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does the runner count right? Records as meson writes them, and what the report must make of them."""
import contextlib
import io
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import run  # noqa: E402

CMOCKA = "[==========] Running 3 test(s).\n[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n[  SKIPPED ] b\n" \
         "[ RUN      ] c\n[  FAILED  ] c\n[  PASSED  ] 1 test(s).\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] c\n"
# (result, stdout, stderr, passed, failed, skipped, a word of the report)
RECORDS = [
    ("OK", "fine\n", "", 1, 0, 0, ""),
    ("FAIL", "oops\n", "", 0, 1, 0, "FAILED   x: fail"),
    ("TIMEOUT", "ok 1 - early\n", "", 1, 1, 0, "FAILED   x: timeout"),
    ("ERROR", "", None, 0, 1, 0, "FAILED   x: error"),
    ("SKIP", "starting\nskip: needs root\n", "", 0, 0, 1, "skipped  x: needs root"),
    ("SKIP", "", "", 0, 0, 1, "no reason given"),
    ("OK", "1..3\nok 1 - a\nok 2 - b # SKIP no qemu\nok 3 - c\n", "", 2, 0, 1, "skipped  x: b: no qemu"),
    ("FAIL", "1..2\nok 1 - a\nnot ok 2 - b: why\n", "", 1, 1, 0, "FAILED   x: b: why"),
    ("OK", "", CMOCKA.split("[ RUN      ] b")[0], 1, 0, 0, ""),
    ("OK", "[ RUN      ] b\nskipped: no vlan\n[  SKIPPED ] b\n[       OK ] c\n", "", 1, 0, 1, "skipped  x: b: no vlan"),
    ("FAIL", "", CMOCKA, 1, 1, 1, "FAILED   x: c"),
    ("FAIL", "", CMOCKA.split("[ RUN      ] b")[0], 1, 1, 0, "FAILED   x: fail"),  # crashed behind its cases
]


def main():
    wrong = 0
    for result, out, err, passed, failed, skipped, word in RECORDS:
        tally = run.Tally()
        record = {"name": "weir:unit / x", "result": result, "stdout": out, "stderr": err, "duration": 0.1, "returncode": 1}
        tally.add_program("", record)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = tally.report()
        report = said.getvalue()
        line = f"{passed} passed, {failed} failed, {skipped} skipped"
        if report.splitlines()[-1] != line or word not in report or status != (1 if failed or not passed else 0):
            wrong += 1
            print(f"{result} {out!r} {err!r}\n  want {line}, '{word}'\n  got  {report!r}, status {status}")
    print(f"{len(RECORDS)} records, {wrong} counted wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
