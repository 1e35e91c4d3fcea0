# SPDX-License-Identifier: Apache-2.0
"""What the measuring programs print, as one report: rows in, build/bench.json and a table out.

A row is `| group | name | unit | median | min | max | n |`, or `| group | name | unit | missing | why |`. A group is
the id of a budget, or edits, peers, floors, growth, throughput, whole.
"""
import json
import math
import re

# (group, name, must, aim, more is better); the first that fits. Values net of the harness, per packet on one core.
BUDGETS = [
    ("B1", r"\b(100|9\d),\d{3} rules, match", 80, 40, False),  # ClassBench leaves out what says the same twice
    ("B1", r"\b(100|9\d),\d{3} rules, mixed", 150, 80, False),
    ("B2", r"times", 3, 1.5, False),
    ("B3", r"random", 100, 30, False),
    ("B4", r"of its rate, net", 0.4, 0.8, True),
    ("B5", r"established", 80, 40, False),
    ("B8", r"accounting", 5, None, False),
    ("B9", r"100,000 rules, in force", 1, 0.2, False),
    ("B10", r"resident", 25, 10, False),
    ("B11", r"events taken", 300, 1000, True),
    ("B11", r"neither reported", 0, 0, False),
    ("edits", r"in force", None, 20, False),
    ("throughput", r"of the rate without", 0.95, 1, True),
]
WHAT = {
    "B1": "finding a rule, net of the harness",
    "B2": "the same while rules grow",
    "B3": "blocklist at XDP, net of the harness",
    "B4": "live veth, drop at XDP, against a bare XDP_DROP",
    "B5": "established flow through TC",
    "B6": "TLS and HTTP in the kernel",
    "B7": "domain names",
    "B8": "statistics and flow accounting",
    "B9": "a policy of 100,000 rules into force",
    "edits": "changes beside 100,000 rules and 1,000,000 addresses",
    "B10": "memory of the daemon",
    "B11": "events",
    "whole": "whole programs, net of the harness",
    "growth": "how cost grows",
    "throughput": "TCP over veth",
    "floors": "floors",
    "peers": "others with the same work",
}
# Budgets that nothing measures yet, and why. They are named in the report like everything that is missing.
UNMEASURED = [
    ("B6", "TLS ClientHello, HTTP request head", "us", "weir does not look into connections yet"),
    ("B7", "1,000,000 domain names", "ns", "weir knows no domain names yet"),
]


def commas(name):
    """100000 rules -> 100,000 rules; ports and addresses keep their digits."""
    return re.sub(r"\b(\d{4,})(?= (rules|flows|addresses|interfaces|events))", lambda m: f"{int(m[1]):,}", name)


def bounds(group, name):
    for g, pattern, must, aim, more in BUDGETS:
        if g == group and re.search(pattern, name):
            return must, aim, more
    return None, None, False


def reason(e, most=200):
    """One line out of what a program or an exception said: its first error, paths of the run left out."""
    lines = [x for x in str(e).splitlines() if x.strip()]
    text = next((x.partition("error: ")[2] for x in lines if "error: " in x), " ".join(lines))
    text = re.sub(r"/tmp/\S+", "...", " ".join(text.split()).replace("|", "/"))
    return text if len(text) <= most else text[:most - 4] + " ..."


class Report:
    def __init__(self, about):
        self.about, self.groups = about, {}

    def put(self, group, name, unit, value, low, high, n):
        name = commas(name)
        must, aim, more = bounds(group, name)
        s = {"value": value, "unit": unit, "must": must, "aim": aim, "min": low, "max": high, "n": n}
        if more:
            s["more_is_better"] = True
        self.groups.setdefault(group, {})[name] = s

    def median(self, group, name, unit, values):
        v = sorted(round(x, 3) for x in values)
        self.put(group, name, unit, v[len(v) // 2], v[0], v[-1], len(v))

    def miss(self, group, name, unit, why):
        name = commas(name)
        self.put(group, name, unit, None, None, None, 0)
        self.groups[group][name]["missing"] = reason(why)

    def rows(self, text):
        """Take the rows of a program's output; how many there were."""
        found = 0
        for line in text.splitlines():
            cells = [c.strip() for c in line.strip().strip("|").split("|")] if line.startswith("| ") else []
            if len(cells) == 7:
                self.put(*cells[:3], *map(float, cells[3:6]), int(cells[6]))
            elif len(cells) == 5 and cells[3] == "missing":
                self.miss(*cells[:3], cells[4])
            else:
                continue
            found += 1
        return found

    def get(self, group, name):
        s = self.groups.get(group, {}).get(commas(name))
        return s if s and s["value"] is not None else None

    def ratio(self, group, name, above, below):
        """Of two series, each (group, name). Their spread counts fully against it."""
        a, b = self.get(*above), self.get(*below)
        if not a or not b or b["min"] <= 0:
            gone = above if not a else below
            self.miss(group, name, "times", f"needs {gone[0]}: {commas(gone[1])}")
        else:
            self.put(group, name, "times", round(a["value"] / b["value"], 3), round(a["min"] / b["max"], 3),
                     round(a["max"] / b["min"], 3), min(a["n"], b["n"]))

    def as_json(self):
        order = [g for g in WHAT if g in self.groups]
        return dict(self.about, **{g: self.groups[g] for g in order})


def verdict(s):
    """missed, must, aim or nothing; a missing series with a budget is missing, not missed."""
    if s["value"] is None:
        return "missing"
    sign = -1 if s.get("more_is_better") else 1
    if s["must"] is not None and sign * s["value"] > sign * s["must"]:
        return "MISSED"
    if s["aim"] is not None and sign * s["value"] <= sign * s["aim"]:
        return "aim"
    return "" if s["must"] is None else "must"


def figure(v):
    if v is None:
        return "-"
    return f"{v:,.0f}" if abs(v) >= 1000 else f"{v:.1f}" if abs(v) >= 10 else f"{v:.2f}"


def figures(s):
    """Median, lowest and highest: as short as they say the same. What rounds onto its bound is told to more places."""
    v = s["value"], s["min"], s["max"]
    out = [figure(x) for x in v]
    for places in range(3, 12):
        if verdict(dict(s, value=float(out[0].replace(",", "")))) == verdict(s):
            break
        out = [f"{x:,.{places}f}" for x in v]
    return out


def title(group):
    return f"**{group}: {WHAT[group]}**" if re.match(r"B\d", group) else f"**{WHAT[group]}**"


HEAD = "| series | median | min .. max | n | unit | must | aim | result |"
RULE = "|---|--:|--:|--:|---|--:|--:|---|"


def table(report):
    """The report as Markdown, and as readable in a terminal."""
    out = [f"{report['machine']}, {report['date']}, weir {report['version']}, {report['seconds']} s", ""]
    rows = [("group", g) if s is None else (g, n, s) for g, n, s in walk(report)]
    width = max((len(r[1]) for r in rows if len(r) == 3), default=0)
    for r in rows:
        if len(r) == 2:
            out += ["", title(r[1]), "", HEAD, RULE]
            continue
        s = r[2]
        if s["value"] is None:
            out.append(f"| {r[1]:{width}} | - | - | 0 | {s['unit']} | {figure(s['must'])} | {figure(s['aim'])} "
                       f"| missing: {s['missing']} |")
        else:
            median, low, high = figures(s)
            out.append(f"| {r[1]:{width}} | {median:>8} | {low} .. {high} | {s['n']} "
                       f"| {s['unit']} | {figure(s['must'])} | {figure(s['aim'])} | {verdict(s)} |")
    for word, chosen in (("Missed", "MISSED"), ("Not measured", "missing")):
        names = [f"{g}: {n}" for g, n, s in walk(report) if s and verdict(s) == chosen]
        out += ["", f"**{word}: {len(names) or 'nothing'}**", ""] + [f"* {n}" for n in names]
    return "\n".join(out) + "\n"


def walk(report):
    """(group, None, None) in front of each group's (group, name, series)."""
    for g in WHAT:
        if g in report:
            yield g, None, None
            for name, s in report[g].items():
                yield g, name, s


def is_number(v):
    try:
        return type(v) in (int, float) and math.isfinite(v)
    except OverflowError:  # an integer beyond what a float holds
        return False


def is_text(v):
    return isinstance(v, str) and v.isprintable()


def flaw(s):
    """What is wrong with a series, or nothing. One that could not be measured has null for numbers, and the reason."""
    if not isinstance(s, dict):
        return "is no series"
    measured = s.get("value") is not None
    for key in ("value", "min", "max", "must", "aim"):
        if key not in s:
            return f"has no {key}"
        if not is_number(s[key]) and (s[key] is not None or measured and key in ("min", "max")):
            return f"{key} is no finite number"
    if type(s.get("n")) is not int or s["n"] < 0:
        return "n is no count"
    if not is_text(s.get("unit")):
        return "unit is no text"
    if not measured and not isinstance(s.get("missing"), str):
        return "has neither a value nor the reason why it is missing"
    return "" if isinstance(s.get("more_is_better", False), bool) else "more_is_better is neither true nor false"


def check(r):
    """That a report has the shape in which the rest of this file takes it. ValueError tells the first place that has not."""
    if not isinstance(r, dict) or not any(g in r for g in WHAT):
        raise ValueError("not a report of make bench")
    for key in ("machine", "date", "version"):
        if not is_text(r.get(key, "")):
            raise ValueError(f"{key} is no text")
    for g in WHAT:
        if not isinstance(r.get(g, {}), dict):
            raise ValueError(f"{g} is no group of series")
    for g, name, s in walk(r):
        if name is not None and not is_text(name):
            raise ValueError(f"{g}, {name!a}: the name cannot be printed")
        if name is not None and flaw(s):
            raise ValueError(f"{g}, {name}: {flaw(s)}")


def load(path):
    """A report that holds to its shape, or OSError or ValueError with one line that names the file and the place."""
    with open(path, encoding="utf-8") as f:
        try:
            r = json.load(f)
            check(r)
        except RecursionError:
            raise ValueError(f"{path}: nested too deeply") from None
        except ValueError as e:
            raise ValueError(f"{path}: {e}") from None
    return r
