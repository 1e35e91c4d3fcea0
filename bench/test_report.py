#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The report: rows, budgets, comparison; and docs/performance.md holds what `make bench` prints, with verdicts that its
own figures bear out."""
import contextlib
import io
import json
import os
import re
import tempfile
import unittest

import compare
import page
import report

PAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "performance.md")
ABOUT = {"machine": "one", "date": "2026-01-01", "version": "1", "seconds": 1}


def one(value, group="B1", name="acl, IPv4, 100000 rules, match", spread=1.0):
    r = report.Report(ABOUT)
    r.put(group, name, "ns", value, value - spread, value + spread, 7)
    return r.as_json()


def run_compare(old, new):
    with tempfile.TemporaryDirectory() as d:
        for name, r in (("old", old), ("new", new)):
            with open(f"{d}/{name}", "w", encoding="utf-8") as f:
                json.dump(r, f)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            return compare.main(["compare", f"{d}/old", f"{d}/new"]), said.getvalue()


class Rows(unittest.TestCase):
    def test_rows(self):
        r = report.Report(ABOUT)
        found = r.rows("noise\n| B1 | acl, IPv4, 100000 rules, match | ns | 50.00 | 40.00 | 60.00 | 7 |\n"
                       "| B3 | x | ns | missing | no memory |\n| half | a row |\n")
        self.assertEqual(found, 2)
        s = r.as_json()["B1"]["acl, IPv4, 100,000 rules, match"]
        self.assertEqual(s, {"value": 50, "unit": "ns", "must": 80, "aim": 40, "min": 40, "max": 60, "n": 7})
        self.assertEqual(r.as_json()["B3"]["x"]["missing"], "no memory")
        self.assertIsNone(r.as_json()["B3"]["x"]["value"])

    def test_ratio(self):
        r = report.Report(ABOUT)
        r.put("B1", "a", "ns", 30, 20, 40, 7)
        r.put("B2", "b", "ns", 10, 8, 10, 5)
        r.ratio("B2", "a by b, times", ("B1", "a"), ("B2", "b"))
        r.ratio("B2", "a by c, times", ("B1", "a"), ("B2", "c"))
        s = r.as_json()["B2"]
        self.assertEqual([s["a by b, times"][k] for k in ("value", "min", "max", "n")], [3, 2, 5, 5])
        self.assertIn("needs B2: c", s["a by c, times"]["missing"])

    def test_verdicts(self):
        for value, want in ((81, "MISSED"), (80, "must"), (41, "must"), (40, "aim")):
            self.assertEqual(report.verdict(one(value)["B1"]["acl, IPv4, 100,000 rules, match"]), want)

    def test_sizes(self):
        for name, must in (("acl1_100000, 99,792 rules, match", 80), ("fw1_100000, 96,466 rules, mixed", 150),
                           ("acl1_10000, 9,782 rules, match", None), ("acl, IPv4, 1,100,000 rules, random", None)):
            self.assertEqual(report.bounds("B1", name)[0], must)

    def test_what_rounds_onto_its_bound(self):
        for value, want in ((80.04, "80.040"), (80.0004, "80.0004"), (80.06, "80.1"), (80, "80.0"), (79.96, "80.0")):
            s = one(value, spread=0)["B1"]["acl, IPv4, 100,000 rules, match"]
            self.assertEqual(report.figures(s), [want] * 3)
            self.assertEqual(report.verdict(dict(s, value=float(want))), report.verdict(s))
        for value, want in ((0.39, "MISSED"), (0.4, "must"), (0.8, "aim")):
            name = "weir, part of its rate, net of making the frame"
            self.assertEqual(report.verdict(one(value, "B4", name, 0)["B4"][name]), want)


class Compare(unittest.TestCase):
    def test_status(self):
        for old, new, status, word in ((one(50), one(50), 0, "nothing became worse"), (one(50), one(60), 1, "worse"),
                                       (one(60), one(50), 0, "better"), (one(50), one(60, spread=20), 0, "nothing"),
                                       (one(79), one(81, spread=9), 1, "missed"), (one(90), one(91), 0, "nothing"),
                                       (one(50), one(50, "B3"), 1, "gone")):
            got, said = run_compare(old, new)
            self.assertEqual(got, status, said)
            self.assertIn(word, said)

    def test_from_zero(self):
        for new, name, status, word in ((100, "x", 1, "from 0  worse"), (-100, "x", 0, "from 0  better"),
                                        (0, "x", 0, "+0.0 %\nnothing"), (0.5, "x", 0, "from 0\nnothing"),
                                        (100, "events taken", 0, "from 0  better")):
            got, said = run_compare(one(0, "B11", name), one(new, "B11", name))
            self.assertEqual(got, status, said)
            self.assertIn(word, said)
        self.assertEqual(run_compare(one(-1e308), one(10**308))[0], 1)

    def test_not_measured(self):
        r = report.Report(ABOUT)
        r.put("B1", "a", "ns", 5, 4, 6, 7)
        gone = report.Report(ABOUT)
        gone.miss("B1", "a", "ns", "no\x1b memory")
        for old, new, status, word in ((r, gone, 1, "gone"), (gone, r, 0, "new"), (gone, gone, 0, "nothing became worse")):
            got, said = run_compare(old.as_json(), new.as_json())
            self.assertEqual(got, status, said)
            self.assertIn(word, said)

    def refused(self, text, word):
        """Status 2, and one line that names the file and the place; as the old one and as the new one."""
        with tempfile.TemporaryDirectory() as d:
            for name, content in (("good", json.dumps(one(50))), ("broken", text)):
                with open(f"{d}/{name}", "w", encoding="utf-8", errors="surrogatepass") as f:
                    f.write(content)
            for names in (("good", "broken"), ("broken", "good")):
                said = io.StringIO()
                with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                    status = compare.main(["compare", *(f"{d}/{n}" for n in names)])
                self.assertEqual(status, 2, text[:200])
                self.assertRegex(said.getvalue(), rf"\A{re.escape(d)}/broken: .*{re.escape(word)}.*\n\Z")

    def test_shape(self):
        good = {"value": 1.0, "unit": "ns", "must": 80, "aim": None, "min": 1, "max": 1, "n": 3}
        self.assertEqual(run_compare({"B1": {"x": good}}, {"B1": {"x": good}})[0], 0)
        for s in (None, 1, "x", [], {}, {"value": 1}):
            self.refused(json.dumps({"B1": {"x": s}}), "B1, x: ")
        for key in good:
            self.refused(json.dumps({"B1": {"x": {k: v for k, v in good.items() if k != key}}}), "B1, x: ")
            for v in (True, [], {}, float("nan"), float("inf"), -float("inf")):
                self.refused(json.dumps({"B1": {"x": dict(good, **{key: v})}}), "B1, x: ")
        for key in ("value", "min", "max", "must", "aim"):
            for v in ("1", 10**400):
                self.refused(json.dumps({"B1": {"x": dict(good, **{key: v})}}), f"B1, x: {key} is no finite number")
        for more in ({"value": None}, {"min": None}, {"max": None}, {"n": None}, {"n": "1"}, {"n": -1}, {"n": 1.5},
                     {"unit": None}, {"unit": 1}, {"unit": "n\ns"}, {"more_is_better": 1}):
            self.refused(json.dumps({"B1": {"x": dict(good, **more)}}), "B1, x: ")
        self.refused(json.dumps({"B1": {"x": good}}).replace("1.0", "1e999"), "B1, x: value is no finite number")
        for name in ("x\ny", "\ud800", "\x1b[2J"):
            self.refused(json.dumps({"B1": {name: good}}), "cannot be printed")
        for group in (None, 1, "x", [1]):
            self.refused(json.dumps(dict(one(1), B3=group)), "B3 ")
        for key in ("machine", "date", "version"):
            self.refused(json.dumps(dict(one(1), **{key: ["x"]})), key)

    def test_not_a_report(self):
        for text in ("", "{", "[1]", "null", "{}", '"B1"', '{"B99": {}}', '{"B1": {"x": %s}}' % ("9" * 5000), "\ud800"):
            self.refused(text, "")
        for text in ("[" * 100000, '{"B1":' * 100000, '{"machine": ' + "[" * 100000):
            self.refused(text, "nested too deeply")

    def test_unreadable(self):
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(compare.main(["compare", "/nonexistent", "/nonexistent"]), 2)
            self.assertEqual(compare.main(["compare"]), 2)


def number(cell):
    return None if cell == "-" else float(cell.replace(",", ""))


class Page(unittest.TestCase):
    def setUp(self):
        with open(PAGE, encoding="utf-8") as f:
            _, self.text = page.split(f.read())

    def rows(self):
        group = None
        titles = {report.title(g): g for g in report.WHAT}
        for line in self.text.splitlines():
            group = titles.get(line, group)
            if line.startswith("| ") and line != report.HEAD:
                cells = [c.strip() for c in line[1:-1].split("|")]
                self.assertEqual(len(cells), 8, line)
                yield group, cells

    def test_form(self):
        self.assertRegex(self.text.splitlines()[0], r"^.+, \d+ CPUs, Linux .+, \d{4}-\d\d-\d\d, weir .+, \d+ s$")
        self.assertEqual(self.text.count(report.HEAD), self.text.count(report.RULE))
        groups = {g for g, _ in self.rows()}
        self.assertEqual({g for g in report.WHAT if g.startswith("B")} - groups, set(), "budgets that the page does not name")

    def test_figures(self):
        told = {"Missed": [], "Not measured": []}
        for group, (name, median, spread, n, _, must, aim, result) in self.rows():
            want = dict(zip(("must", "aim", "more"), report.bounds(group, name)))
            self.assertEqual((must, aim), (report.figure(want["must"]), report.figure(want["aim"])), name)
            if result.startswith("missing: "):
                self.assertEqual((median, n), ("-", "0"), name)
                told["Not measured"].append(f"{group}: {name}")
                continue
            low, high = map(number, spread.split(" .. "))
            self.assertTrue(low <= number(median) <= high and int(n) > 0, name)
            s = {"value": number(median), "must": want["must"], "aim": want["aim"], "more_is_better": want["more"]}
            self.assertEqual(result, report.verdict(s), name)
            if result == "MISSED":
                told["Missed"].append(f"{group}: {name}")
        for word, names in told.items():
            part = re.search(rf"\*\*{word}: (\d+|nothing)\*\*\n\n((?:\* .+\n)*)", self.text)
            self.assertIsNotNone(part, word)
            self.assertEqual([x[2:] for x in part[2].splitlines()], names, word)


if __name__ == "__main__":
    unittest.main()
