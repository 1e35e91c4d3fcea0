#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What weir's maps take of the kernel's memory: as it was said before, and no policy that does not fit."""
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

PAGE = 4096


def bpf_map(*which, run=sh):
    return json.loads(run("bpftool", "-j", "map", "show", *which).stdout)


def kernel_maps(pid):
    """name -> bytes of the maps that a process holds, as the kernel counts them (Linux 6.4 and newer)."""
    need("bpftool")
    ids, out = set(), {}
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            with open(f"/proc/{pid}/fdinfo/{fd}") as f:
                info = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
        except OSError:
            continue
        if "map_id" in info and info["map_id"] not in ids:
            ids.add(info["map_id"])
            name = bpf_map("id", info["map_id"].strip())["name"]
            out.setdefault(name, []).append(int(info["memlock"]))
    return out


def table(w):
    """What people see: a number under each heading, in rows of one form."""
    rows = w("features").stdout.split("MEMORY OF THE KERNEL", 1)[1].split("\n\n", 1)[0].splitlines()
    equal(rows[0].split(), "ENTRIES BYTES EACH BYTES FOR".split(), "the headings")
    must(len(rows) > 2, f"rows: {rows}")
    for row in rows[1:]:
        check(re.fullmatch(r"\S.*\S +[\d,]+ +[\d,]+ +[\d,]+  (all images|this image)", row), f"a row: {row}")


def compare(w, what):
    """Each map on its own: the words are not above the kernel's by more than 2 % and four pages, and never below it."""
    said = {m["map"]: m for m in w.json("features")["memory"]["maps"]}
    table(w)
    found = kernel_maps(w.status()["pid"])
    must(len(found) > 25, f"{what}: only {sorted(found)}")
    for name, m in said.items():
        for real in found.get(name, [None]):
            if not check(real is not None, f"{what}: the keeper holds no {name}"):
                continue
            if name == "weir_bans":  # grows as they are set
                check(real <= m["bytes"], f"{what}: {name} takes {real}, {m['bytes']} at most")
                continue
            check(real <= m["bytes"] <= real * 1.02 + 4 * PAGE, f"{what}: {name} takes {real}, said were {m['bytes']}")
    others = {n: v for n, v in found.items() if n not in said}
    check(sum(map(sum, others.values())) < 64 * PAGE, f"{what}: maps that nobody speaks of: {others}")
    return {n: sum(v) for n, v in found.items()}


def memory_of(w):
    return w.status()["memory"]


LISTS = """
sets: {{ bad: {{ addresses: {{ file: bad.txt }} }} }}
blocklists: [$bad]
limits: [ {{ name: flood, per: source, count: packets, rate: 10k/s }} ]
performance: {{ max_memory_mb: {mb} }}
"""


def test_said_is_taken():
    """Empty, with many rules, with limits and a blocklist: each map takes what was said."""
    if tuple(int(x) for x in os.uname().release.split(".")[:2]) < (6, 4):
        raise Skip("before Linux 6.4 the kernel does not count what its maps take")
    with Router() as lab:
        w = Weir(lab, lab.dut).run(Policy.text())
        first = compare(w, "no rules")
        rules = "\n".join(f"- {{ name: r{i}, action: drop, protocol: udp, from: 10.{i >> 8}.{i & 255}.0/24, ports: {1 + i} }}"
                          for i in range(3000))
        with open(f"{w.dir}/bad.txt", "w") as f:
            f.writelines(f"10.{i >> 15}.{i >> 7 & 255}.{i << 1 & 255}\n" for i in range(50000))
        w.apply(Policy.text(rules, extra=LISTS.format(mb=256)))
        second = compare(w, "rules, a list, a limit")
        check(second["weir_rules"] > 3000 * 200 and second["weir_tree"] > first["weir_tree"] + 3000 * 20,
              f"the rules are in the kernel: {second}")
        check(second["weir_block"] > 50000 * 4 * 2 and second["weir_buckets"] > 4000000, f"list and limit: {second}")


def test_too_much():
    """What does not fit is refused by check and by apply, with the sum; what is in force stays, byte for byte."""
    with Router() as lab:
        w = Weir(lab, lab.dut).run(Policy.text("- { name: dns, action: allow, protocol: udp, ports: 5353 }"))
        listener = Listener(lab, lab.dut, "udp", 5353)
        before = w.status()
        with open(f"{w.dir}/bad.txt", "w") as f:
            f.writelines(f"10.{i >> 15}.{i >> 7 & 255}.{i << 1 & 255}\n" for i in range(200000))
        path = w.write(Policy.text(extra=LISTS.format(mb=24)))
        for command in ("check", "apply"):
            p = w(command, path, check=False)
            equal(p.returncode, 1, f"{command}: exit status")
            check(f"{os.path.basename(path)}:" in p.stderr and "MB of the kernel's memory" in p.stderr and
                  " x 64 B = " in p.stderr and "or make the blocklists shorter" in p.stderr, f"{command}: {p.stderr}")
        after = w.status()
        for key in ("generation", "edit", "sha256", "memory"):
            equal(after[key], before[key], f"{key} after the refusal")
        equal(ask(lab.client, "udp", lab.DUT[4], 5353), "open", "what was allowed is")
        check(listener.payloads(5353), "the listener heard it")
        p = w("check", w.write(Policy.text(extra=LISTS.format(mb=100))))
        check("of 100 MB" in p.stdout, f"check says how much: {p.stdout}")
        w.apply(Policy.text(extra=LISTS.format(mb=100)))
        check(memory_of(w)["image"] > before["memory"]["image"] and memory_of(w)["limit"] == 100000000,
              f"with room it is taken: {memory_of(w)}")


def test_flows_fit():
    """With the key the table of flows has the size that fits, once it is made."""
    with Router() as lab:
        w = Weir(lab, lab.dut).run(Policy.text(extra="performance: { max_memory_mb: 64 }"))
        said = {m["map"]: m["entries"] for m in w.json("features")["memory"]["maps"]}
        equal((said["weir_flows"], said["weir_half"]), (16384, 4096), "flows of 64 MB")
        need("bpftool")
        shown = bpf_map("pinned", f"{w.runtime}/bpf/maps/weir_flows", run=lab.dut.sh)
        equal(shown["max_entries"], 16384, "the table in the kernel")


if __name__ == "__main__":
    main(globals())
