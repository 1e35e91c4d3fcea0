#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two reports of `make bench`: what became slower, what faster, what came and went.

    compare.py OLD.json NEW.json

A series differs when its spreads (min .. max) do not overlap and the median moved by more than 5 %, or at all from 0. Exit
status 1 when one became worse, a measured one is missing now, or a budget that was kept is missed now; 2 when a file
cannot be read.
"""
import math
import sys

import report


def change(old, new):
    """(how the median moved in per cent, "worse" | "better" | "")"""
    was, moved = float(old["value"]), float(new["value"]) - float(old["value"])
    percent = 100 * moved / abs(was) if was else math.copysign(math.inf, moved) if moved else 0.0
    apart = new["min"] > old["max"] or new["max"] < old["min"]
    if not apart or abs(percent) <= 5:
        return percent, ""
    more_is_better = new.get("more_is_better", False)
    return percent, "better" if (percent > 0) == more_is_better else "worse"


def compare(old, new):
    """Lines to print, and what went wrong."""
    was = {(g, n): s for g, n, s in report.walk(old) if s}
    now = {(g, n): s for g, n, s in report.walk(new) if s}
    lines, bad = [], []
    width = max((len(n) for _, n in {**was, **now}), default=0)
    for key in {**was, **now}:
        a, b = was.get(key), now.get(key)
        had, has = a is not None and a["value"] is not None, b is not None and b["value"] is not None
        if not had and not has:
            continue
        moved, word = "", "new" if not had else "gone"
        if had and has:
            percent, word = change(a, b)
            moved = f"{percent:+.1f} %" if a["value"] or not b["value"] else "from 0"
            if report.verdict(b) == "MISSED" and report.verdict(a) != "MISSED":
                word += " and its budget is missed now" if word else "its budget is missed now"
        lines.append(f"{key[0]:10} {key[1]:{width}} {report.figure(a and a['value']):>9} {report.figure(b and b['value']):>9} "
                     f"{(a or b)['unit']:5} {moved:>9}  {word}".rstrip())
        if word.startswith("worse") or word == "gone" or "missed" in word:
            bad.append(f"{key[0]}, {key[1]}")
    return lines, bad


def main(argv):
    if len(argv) != 3:
        print("usage: make bench-compare OLD=old.json NEW=new.json", file=sys.stderr)
        return 2
    try:
        old, new = report.load(argv[1]), report.load(argv[2])
    except (OSError, ValueError) as e:
        print(e, file=sys.stderr)
        return 2
    for r in (old, new):
        print(f"{r.get('date')}: weir {r.get('version')} on {r.get('machine')}")
    if old.get("machine") != new.get("machine"):
        print("Different machines: only ratios mean something.")
    lines, bad = compare(old, new)
    print("\n".join(lines))
    print(f"{len(bad)} of {len(lines)} worse, gone or over budget" if bad else "nothing became worse")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
