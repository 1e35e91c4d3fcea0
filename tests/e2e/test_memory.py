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


def addresses(n):
    """Different ones, in no network of the lab."""
    return [f"{20 + (x >> 24)}.{x >> 16 & 255}.{x >> 8 & 255}.{x & 255}" for x in (i * 2654435761 % 0x4fffffff for i in range(n))]


def copies(w):
    """How many bytes weir's own copies of lists have."""
    return sum(os.stat(f"{w.state}/{x}").st_size for x in os.listdir(w.state) if x.startswith("list-"))


def test_what_has_grown_stands():
    """A list grows in force beyond what a change may take: that is no reason for a start to stand without any policy."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        listener = Listener(lab, lab.dut, "tcp", 80)
        many = addresses(260000)
        text = Policy.text("- { action: allow, direction: inbound, ports: 80 }", inbound="drop", extra="""
performance: { max_memory_mb: 31 }
sets: { bad: { addresses: { file: bad.txt } } }
blocklists: [$bad]
""")

        def write(folder, n):
            w.write(text, f"{folder}/policy.yaml")
            with open(f"{folder}/new", "w") as f:
                f.write("\n".join(many[:n]) + (f"\n{lab.CLIENT[4]}" if n > low else "") + "\n")
            os.rename(f"{folder}/new", f"{folder}/bad.txt")

        def fits(n):
            write(w.dir, n)
            return not w("check", f"{w.dir}/policy.yaml", check=False).returncode

        low, high = 1000, 260000
        must(fits(low) and not fits(high), "the edge is not between")
        while high - low > 500:
            low, high = ((low + high) // 2, high) if fits((low + high) // 2) else (low, (low + high) // 2)
        write(w.config, low)
        w.run()
        equal(ask(lab.client, "tcp", lab.DUT[4], 80), "open", "before")
        must(eventually(lambda: copies(w)), "there is no copy")
        first = copies(w)
        must(not fits(low + 20000), "all of it fits")
        for n in (low + 10000, low + 20000):
            write(w.config, n)
            must(eventually(lambda: w.json("set", "list")["sets"][0]["ranges"] > n - 200), f"{n} addresses are not in force")
            must(eventually(lambda: copies(w) > first * (n - 1000) / low), "there is no copy for a start")
        before = len(listener.payloads())
        w.kill()
        w("flush")
        w.run()
        check(any("max_memory_mb is 31" in x and "in force all the same" in x for x in w.status()["degraded"]),
              f"what status says: {w.status()['degraded']}")
        equal(ask(lab.client, "tcp", lab.DUT[4], 80, timeout=1), "silence", "a listed one, after the start")
        equal(len(listener.payloads()), before, "what the listener heard")
        check(w.json("set", "list")["sets"][0]["ranges"] > low + 20000 - 200, "all of the list")


def test_check_and_run_agree():
    """The most rules that check takes are taken by run, which keeps places for later ones, too."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        name = f"{w.dir}/many.yaml"

        def fits(n):
            w.write(Policy.text("".join(f"- {{ name: m{i}, action: drop, from: 198.18.{i >> 8}.{i & 255}, protocol: tcp, ports: "
                                        f"{1 + i % 900} }}\n" for i in range(n)), extra="performance: { max_memory_mb: 32 }"), name)
            return not w("check", name, check=False).returncode

        low, high = 1000, 20000
        must(fits(low) and not fits(high), "the edge is not between")
        while high - low > 8:
            low, high = ((low + high) // 2, high) if fits((low + high) // 2) else (low, (low + high) // 2)
        must(fits(low), "the most")
        check(f" {low} rules," in w("check", name).stdout, "the rules that check counts")
        w.run(name)
        equal(w.status()["mode"], "prevent", "in force")


if __name__ == "__main__":
    main(globals())
