#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Put a report of `make bench` into the page.

    page.py build/bench.json docs/performance.md
"""
import sys

import report

MARK = "<!-- below: make bench, by bench/page.py -->\n"


def split(text):
    """What people wrote, and the table."""
    head, mark, rest = text.partition(MARK)
    if not mark:
        raise ValueError(f"no line {MARK.strip()!r} in the page")
    return head + mark, rest.lstrip("\n")


def main(argv):
    if len(argv) != 3:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    table = report.table(report.load(argv[1]))
    with open(argv[2], encoding="utf-8") as f:
        head, _ = split(f.read())
    with open(argv[2], "w", encoding="utf-8") as f:
        f.write(f"{head}\n{table}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
