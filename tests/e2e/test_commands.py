#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the commands that change the policy do to traffic: rule, ban, set, mode, apply; the listener tells."""
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.dut import OPEN, Dut

def test_rules_as_the_specification_writes_them():
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        w(*"rule add --src 192.168.1.0/24 --dst 10.0.0.5 --port 80 --proto tcp --action drop".split())
        text = w("rule", "list").stdout
        check("192.168.1.0/24" in text and "10.0.0.5" in text, f"rule list does not show it:\n{text}")
        check("web" in text, f"rule list does not show the file's rules:\n{text}")
        w(*"rule add --from 192.168.2.0/24 --to 10.0.0.6 --ports 81 --source-ports 7 --protocol udp --action drop".split())
        said = w.json("rule", "list")["rules"][1]["match"]
        equal(said, "from 192.168.2.0/24 to 10.0.0.6 port 81 source port 7 udp", "a rule in the policy's words")
        d.silent(82, "before")
        r = w.json("rule", "add", "--port", "82", "--proto", "tcp", "--action", "allow", "--name", "mine", "--why",
                   "a test")
        d.opens(82, "allowed by the overlay")
        d.silent(82, "udp was not named", protos=("udp",))
        d.opens(82, "allowed by the overlay", v=6)
        # order: the overlay stands before the file's rules; --before puts a rule before another one
        drop = w.json("rule", "add", "--port", "82", "--action", "drop", "--before", str(r["id"]))
        d.silent(82, "a drop before the allow")
        w("rule", "delete", "--id", str(drop["id"]))
        d.opens(82, "the drop is deleted")
        late = w.json("rule", "add", "--port", "82", "--action", "drop")
        d.opens(82, "a new rule stands last in the overlay")
        check(late["id"] > drop["id"] > r["id"], f"ids are reused: {r['id']}, {drop['id']}, {late['id']}")
        exported = w("rule", "export").stdout
        check("mine" in exported and "82" in exported, f"export:\n{exported}")
        # what is exported is a policy's rules: it can be checked
        again = w.write(Policy.text() + exported[exported.index("rules:"):] if "rules:" in exported
                        else Policy.text(exported))
        equal(w("check", again, check=False).returncode, 0, "check of the exported rules")
        w("rule", "clear")
        d.silent(82, "the overlay is cleared")
        d.opens(80, "the file's rules are still there")
        p = w("rule", "delete", "--id", str(late["id"]), check=False)
        check(p.returncode == 1 and str(late["id"]) in p.stderr, f"an id that is gone: {p.returncode} {p.stderr}")
        p = w("rule", "delete", "--id", "web", check=False)
        check(p.returncode == 1 and ".yaml:" in p.stderr, f"a rule of the file: {p.returncode} {p.stderr}")


def test_an_overlay_rule_cuts_a_live_flow():
    with Router() as lab:
        d = Dut(lab)
        p = Probe(lab.client, "tcp", lab.DUT[4], 80)
        other = Probe(lab.client, "udp", lab.DUT[4], 80)
        must(p.wait() == "open" and other.wait() == "open", "no connection to begin with")
        d.weir("rule", "add", "--port", "80", "--proto", "tcp", "--action", "drop")
        d.tcp.clear()
        p.s.send(b"after the rule")
        must(fence(lab.client, lab.DUT[4], d.udp, 9999), "fence")
        equal(d.tcp.payloads(80), [], "bytes of a live flow after a rule against it")
        t = token("other")
        other.s.send(t)
        check(d.udp.wait(t), "a flow that the rule does not touch was cut")
        d.weir("rule", "clear")
        check(d.tcp.wait(b"after the rule", 60), "the retransmission does not pass after the rule is gone")


def test_rule_for_a_time():
    with Router() as lab:
        d = Dut(lab)
        d.weir("rule", "add", "--port", "82", "--action", "allow", "--for", "3s")
        d.opens(82, "while it lasts")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and "82" in d.weir("rule", "list").stdout:
            time.sleep(0.2)
        d.silent(82, "after its time")


def test_detect_says_recorded():
    with Router() as lab:
        d = Dut(lab, OPEN.replace("mode: prevent", "mode: detect"))
        p = d.weir("rule", "add", "--port", "80", "--action", "drop")
        check("NOT blocking" in p.stdout + p.stderr, f"rule add in detect: {p.stdout}{p.stderr}")
        d.opens(80, "detect")


def test_bans():
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        live = Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(live.wait() == "open", "no connection to begin with")
        lab.alias(lab.client, "cl0", "10.1.0.9/24", "fd01::9/64")
        w("ban", "add", "10.1.0.2")
        w("ban", "add", "fd01::2")
        text = w("ban", "list").stdout
        check("10.1.0.2" in text and "fd01::2" in text, f"ban list:\n{text}")
        for v, ok in ((4, "10.1.0.9"), (6, "fd01::9")):
            d.tcp.clear()
            p = Probe(lab.client, "tcp", lab.DUT[v], 80, src={4: "10.1.0.2", 6: "fd01::2"}[v])
            equal(ask(lab.client, "tcp", lab.DUT[v], 80, src=ok), "open", f"v{v}: who is not banned")
            check(p.quiet(), f"v{v}: who is banned gets an answer")
            equal(d.tcp.accepted, 1, f"v{v}: connections accepted")
            p.close()
            # outward too
            banned = {4: "10.1.0.2", 6: "fd01::2"}[v]
            out = Listener(lab, lab.client, "udp", 5353 + v, addrs=(banned, ok))
            q = Probe(lab.dut, "udp", banned, 5353 + v)
            equal(ask(lab.dut, "udp", ok, 5353 + v), "open", f"v{v}: out to who is not banned")
            check(q.quiet(), f"v{v}: the banned one answers")
            equal(len(out.payloads()), 1, f"v{v}: datagrams that left")
            q.close()
        d.tcp.clear()
        live.s.send(b"while banned")
        equal(ask(lab.client, "tcp", lab.DUT[4], 80, src="10.1.0.9"), "open", "who is not banned, again")
        check(b"while banned" not in d.tcp.payloads(80), "a live flow of a banned address goes on")
        w("ban", "remove", "10.1.0.2")
        check(d.tcp.wait(b"while banned", 60), "the live flow does not come back after the ban")
        d.opens(80, "after the ban")
        w("ban", "remove", "fd01::2")
        d.opens(80, "after the ban", v=6)
        # a prefix, and a time
        p = w("ban", "add", "10.1.0.0/24", check=False)
        check(p.returncode == 1 and "10.1.0.1" in p.stderr, f"a ban of our own address: {p.returncode} {p.stderr}")
        w("ban", "add", "10.1.0.2/31", "--for", "2s")
        p = Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(fence(lab.client, lab.DUT[6], d.udp, 9999), "fence")
        check(p.quiet(), "a banned prefix answers")
        equal(p.wait(60 * SLOW), "open", "the connection that waited for the end of the ban")
        p.close()


def test_sets():
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        d.silent(81, "not in the set")
        w("set", "add", "office", "10.1.0.2")
        d.opens(81, "in the set")
        text = w("set", "list").stdout
        check("office" in text, f"set list:\n{text}")
        live = Probe(lab.client, "tcp", lab.DUT[4], 81)
        must(live.wait() == "open", "no connection")
        w("set", "remove", "office", "10.1.0.2")
        d.silent(81, "taken out of the set")
        d.tcp.clear()
        live.s.send(b"after")
        must(fence(lab.client, lab.DUT[4], d.udp, 9999), "fence")
        equal(d.tcp.payloads(81), [], "bytes of a live flow after its set shrank")
        live.close()
        w("set", "add", "office", "::/0")
        text = w("set", "list", "office").stdout
        check("::/0\n" in text and "more" not in text, f"all of IPv6 in a set:\n{text}")
        equal({x["ranges"] for x in w.json("set", "list")["sets"] if x["set"] == "office"}, {len(text.splitlines())},
              "as many in the list of all sets")
        for words, said in (
                (("remove", "office", "203.0.113.9"),
                 "203.0.113.9 was not in $office, and stays out though a file of it may list it later"),
                (("add", "office", "203.0.113.9/32"), "203.0.113.9/32 is in $office"),
                (("add", "office", "203.0.113.9", "2001:DB8::9", "2001:db8::9"),
                 "1 of 2 elements are put into $office; the others were so already"),
                (("remove", "office", "203.0.113.9", "203.0.113.9/32"), "203.0.113.9 is taken out of $office"),
                (("remove", "office", "2001:db8::9", "203.0.113.10"),
                 "1 of 2 elements are taken out of $office; 1 was not in it, and stays out though a file of it may list it later")):
            equal(w("set", *words).stdout, said + "\n", f"set {' '.join(words)}")
        p = w("set", "add", "nosuch", "10.1.0.2", check=False)
        check(p.returncode == 1 and "nosuch" in p.stderr, f"an unknown set: {p.returncode} {p.stderr}")


def test_mode():
    with Router() as lab:
        d = Dut(lab)
        d.silent(82, "prevent")
        d.weir("mode", "detect")
        d.opens(82, "detect")
        check("detect" in d.weir("mode").stdout, "weir mode does not say detect")
        d.weir("mode", "prevent")
        d.silent(82, "prevent again")
        equal(d.weir("status").returncode, 0, "status")
        # the softest counts: a policy that says detect is not made harder from outside, and status tells it
        d.weir.apply(OPEN.replace("mode: prevent", "mode: detect"))
        d.opens(82, "mode prevent over a policy in detect")
        p = d.weir("status", check=False)
        check(p.returncode == 3 and "detect" in p.stdout, f"status: {p.returncode}\n{p.stdout}")


def test_apply():
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        before = w.json("show", "effective")["generation"]
        for bad in ("version: 1\nmode: prevnt\n", "version: 1\nrules:\n  - { name: x, action: dorp }\n",
                    "version: 1\nrules: [ { name: a, action: allow, from: 010.0.0.1 } ]\n", "version: 2\n", "", "{",
                    "version: 1\ndetections: []\n", "version: 1\nversion: 1\n"):
            p = w.apply(bad, check=False)
            check(p.returncode == 1 and ".yaml:" in p.stderr and "error" in p.stderr,
                  f"apply of {bad!r}: exit {p.returncode}, {p.stderr!r}")
        p = w("apply", "/nonexistent.yaml", "--no-confirm", check=False)
        check(p.returncode == 1 and "/nonexistent.yaml" in p.stderr, f"apply of no file: {p.returncode} {p.stderr}")
        equal(w.json("show", "effective")["generation"], before, "generation after wrong files")
        d.opens(80, "after wrong files")
        d.silent(82, "after wrong files")
        w.apply(OPEN.replace("ports: 80 }", "ports: 82 }"))
        d.opens(82, "the new policy")
        d.silent(80, "the new policy")
        check(w.json("show", "effective")["generation"] > before, "the generation did not grow")


def test_live_flows_at_apply():
    """flows.established: recheck cuts what the new policy denies, keep keeps it."""
    for how, goes_on in (("recheck", False), ("keep", True)):
        with Router() as lab:
            d = Dut(lab, OPEN + f"flows: {{ established: {how} }}\n")
            live = Probe(lab.client, "tcp", lab.DUT[4], 80)
            must(live.wait() == "open", "no connection")
            d.weir.apply(OPEN.replace("ports: 80 }", "ports: 82 }") + f"flows: {{ established: {how} }}\n")
            t = token("live")
            live.s.send(t)
            must(fence(lab.client, lab.DUT[4], d.udp, 9999), "fence")
            if goes_on:
                check(d.tcp.wait(t), "keep: a live flow was cut")
            else:
                check(t not in d.tcp.payloads(80), "recheck: a live flow that the new policy denies goes on")
            d.silent(80, f"{how}: new connections")
            live.close()


def test_screens():
    """What prints, prints JSON too, and status and stats speak as written."""
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        d.opens(80, "something to see")
        for args in (["status"], ["status", "show"], ["flows"], ["events"], ["rule", "list"], ["ban", "list"],
                     ["set", "list"], ["show", "effective"], ["mode"], ["features"], ["doctor"]):
            p = w(*args, check=False)
            # 1: the doctor may find that this machine lacks something
            check(args != ["doctor"] or "belongs to user" not in p.stdout, f"its own directories are not right: {p.stdout}")
            check(p.returncode in ((0, 1, 3) if args == ["doctor"] else (0,)), f"{args}: exit {p.returncode} {p.stderr}")
            check("\x1b" not in p.stdout, f"{args}: colour in a pipe")
            p = w(*args, "--output", "json", check=False)
            try:
                [json.loads(x) for x in ([p.stdout] if p.stdout.lstrip().startswith(("{\n", "[\n")) else
                                         p.stdout.splitlines())]
            except ValueError as e:
                check(False, f"{args}: not JSON: {e}: {p.stdout[:200]!r}")
        text = w("status").stdout
        for want in ("prevent", "generation", "in0", "out0"):
            check(want in text, f"status lacks {want!r}:\n{text}")
        stats = subprocess.Popen(lab.dut.argv(BIN, "status", "stats", "--interval", "1s"), env=w.env,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = [stats.stdout.readline() for _ in range(3)]
        stats.send_signal(signal.SIGINT)
        stats.wait(30 * SLOW)
        stats.stdout.close()
        check(all(x.strip() for x in lines[:2]), f"status stats: {lines}")


def test_events_follow():
    with Router() as lab:
        d = Dut(lab)
        follow = subprocess.Popen(lab.dut.argv(BIN, "events", "--follow", "--output", "json"), env=d.weir.env,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = []
        seen = threading.Event()

        def read():
            for line in follow.stdout:
                lines.append(line)
                if "default inbound" in line:
                    seen.set()
        t = threading.Thread(target=read, daemon=True)
        t.start()
        deadline = time.monotonic() + PATIENCE
        while not seen.is_set() and time.monotonic() < deadline:
            d.silent(82, "a drop to be told", protos=("udp",))
            seen.wait(0.5)
        follow.send_signal(signal.SIGINT)
        follow.wait(30 * SLOW)
        t.join(PATIENCE)
        check(seen.is_set(), f"events --follow does not tell the drop: {lines[-3:]}")
        for line in lines:
            try:
                json.loads(line)
            except ValueError:
                check(False, f"not a JSON line: {line!r}")
        event = next((json.loads(x) for x in lines if "default inbound" in x), {})
        check("weir rule add" in str(event.get("fix")), f"a drop without a fix: {event}")


def test_events_follow_a_burst():
    """Of records that come at once the programs announce only the first: the others are told, too, and nobody has to ask."""
    with Router() as lab, contextlib.ExitStack() as ends:
        d = Dut(lab)
        with lab.client:
            senders = [ends.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(200)]
        follow = subprocess.Popen(lab.dut.argv(BIN, "events", "--follow", "--output", "json"), env=d.weir.env,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        told = {82: set(), 83: set()}

        def read():
            for line in follow.stdout:
                e = json.loads(line)
                told.get(e["dst"].get("port"), set()).add(e["src"]["port"])
        t = threading.Thread(target=read, daemon=True)
        t.start()

        def streams():
            with lab.client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.sendto(b"are you there", (lab.DUT[4], 83))
            return told[83]
        must(eventually(streams), "events --follow tells nothing")
        for i in range(0, len(senders), 5):
            for s in senders[i:i + 5]:
                s.sendto(b"burst", (lab.DUT[4], 82))
            ports = {s.getsockname()[1] for s in senders[:i + 5]}
            if not check(eventually(lambda p=ports: told[82] == p, 10), f"{len(ports - told[82])} of {len(ports)} were not told"):
                break
        follow.send_signal(signal.SIGINT)
        follow.wait(30 * SLOW)
        t.join(PATIENCE)


def test_a_log_rule_is_told():
    with Router() as lab:
        d = Dut(lab, OPEN.replace("rules:\n", "rules:\n  - { name: note it, action: log, ports: 80 }\n"))
        d.opens(80, "log goes on")
        deadline = time.monotonic() + PATIENCE
        while "note it" not in (text := d.weir("events").stdout) and time.monotonic() < deadline:
            time.sleep(0.1)
        check("note it" in text and "web" in text, f"the event names the log rule and the one that decided:\n{text}")
        hits = {r["name"]: r["hits"] for r in d.weir.json("rule", "list")["rules"]}
        equal((hits["note it"], hits["web"]), (1, 1), "hits of the rule that logs, and of the one that decided")


def test_hits_behind_what_is_staged():
    """A staged rule counts what it would decide, and the rule behind it what it does decide; of detect only the first."""
    staged = "rules:\n  - { name: try it, action: drop, mode: detect, ports: 80 }\n"
    for mode, web in (("prevent", 1), ("detect", 0)):
        with Router() as lab:
            d = Dut(lab, OPEN.replace("rules:\n", staged).replace("mode: prevent", f"mode: {mode}"))
            d.opens(80, f"staged in {mode}")
            hits = {r["name"]: r["hits"] for r in d.weir.json("rule", "list")["rules"]}
            equal((hits["try it"], hits["web"]), (1, web), f"hits in {mode}")


def test_why_of_nobody_names_who_decides():
    """Of an address that was not seen: the default stops it, whatever is staged in front of it."""
    staged = "rules:\n  - { name: try it, action: allow, mode: detect, ports: 443 }\n"
    with Router() as lab:
        d = Dut(lab, OPEN.replace("rules:\n", staged))
        told = d.weir("why", "198.51.100.9:443").stdout
        check("from there, port 443: drop, by default inbound (staged: pass by rule 'try it'" in told, told)


def test_many_clients():
    """Commands that come at the same time: none is lost, none is mixed up."""
    with Router() as lab:
        d = Dut(lab)
        errors = []

        def work(k):
            try:
                for _ in range(long_or(20, 4)):
                    r = d.weir.json("rule", "add", "--port", str(2000 + k), "--action", "allow")
                    check(str(2000 + k) in d.weir("rule", "list").stdout, "a rule that was just added is not listed")
                    d.weir("rule", "delete", "--id", str(r["id"]))
            except Exception as e:
                errors.append(e)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        equal(errors, [], "errors of commands")
        equal(d.weir.json("rule", "list")["rules"][0]["name"], "fence", "the first rule: the overlay is empty again")
        d.silent(82, "afterwards")


def test_options_that_are_none():
    """What a value of `rule add` is told can be typed."""
    with Router() as lab:
        d = Dut(lab)
        for option, value, hint in (
                ("--max-bytes", "5 MB", "no blank and no B: write 5M or 5MiB"),
                ("--port", "ssh", "write its number"),
                ("--port", "80:90", "write 80-90"),
                ("--max-duration", "1h30m", "one unit: write 90m"),
                ("--port", "!22", "such a rule goes into the policy file, with not: { ports: 22 }"),
                ):
            p = d.weir("rule", "add", "--action", "allow", option, value, check=False)
            check(p.returncode == 1 and hint in p.stderr, f"{option} {value}: exit {p.returncode}: {p.stderr}")
        d.weir("rule", "add", "--action", "allow", "--port", "80", "--max-bytes", "20000000000")
        w2 = d.weir.json("rule", "add", "--action", "allow", "--port", "81", "--name", "w2")["id"]
        for name, hint in (("w2", f"or: weir rule delete --id {w2}"), ("fence", "names of rules are unique")):
            p = d.weir("rule", "add", "--action", "allow", "--port", "82", "--name", name, check=False)
            check(p.returncode == 1 and "is taken" in p.stderr and hint in p.stderr, f"{name} again: {p.returncode} {p.stderr}")
        d.weir("rule", "delete", "--id", str(w2))
        d.weir("rule", "add", "--action", "allow", "--port", "81", "--name", "w2")


def test_check_strict():
    """A warning refuses under --strict, and what is said is that; without it the file is a policy."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        f.write("version: 1\nrules:\n- { name: x, action: allow, interface: lo }\n")
        f.flush()
        run = lambda *args: subprocess.run([BIN, "check", f.name, *args], capture_output=True, text=True)  # noqa: E731
        equal((run().returncode, ": ok: " in run().stdout), (0, True), "a warning")
        p = run("--strict")
        check(p.returncode == 1 and "ok" not in p.stdout and "refused because of the warning" in p.stderr, f"{p}")
        p = run("--strict", "--output", "json")
        check(p.returncode == 1 and json.loads(p.stdout)["ok"] is False, f"{p}")


def test_words_that_are_meant():
    """A word of other programs leads to the command that does the same, never to its opposite; one too many is named."""
    for typed, hint in {
            "ban rm 192.0.2.1": "did you mean 'weir ban remove'?",
            "ban 192.0.2.1": "weir ban takes one of these: add, list, remove",
            "unban 192.0.2.1": "did you mean 'weir ban remove'?",
            "rule del 3": "did you mean 'weir rule delete'?",
            "rule ls": "did you mean 'weir rule list'?",
            "set show": "did you mean 'weir set list'?",
            "set ad office 192.0.2.1": "did you mean 'weir set add'?",
            "rul lst": "did you mean 'weir rule list'?",
            "start": "did you mean 'weir run'?",
            "frobnicate": "weir --help lists the commands",
            "ban add 192.0.2.1 --for 10 min": "one address at a time, not 'min' too",
            "set add office": "a set and an element",
            "why 192.0.2.1 443": "one word, not '443' too: weir why 192.0.2.1:443",
            "explain policy.yaml --packet tcp 192.0.2.1": "put it in quotes"}.items():
        p = subprocess.run([BIN, *typed.split()], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        equal(p.returncode, 2, f"weir {typed}: exit status")
        check(hint in p.stderr, f"weir {typed}: {p.stderr}")


def test_output_that_cannot_be_written():
    """A full disk, or a reader that went away, hides no change: stderr says that it was made, and the exit status is 6."""
    with Router() as lab:
        d = Dut(lab)
        w = d.weir

        def to(out, *args):
            return subprocess.run(lab.dut.argv(BIN, *args), env=w.env, stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=subprocess.PIPE, text=True)

        other = w.write(OPEN.replace("ports: 80 }", "ports: 82 }"))
        changes = (["ban", "add", "192.0.2.9"], ["rule", "add", "--port", "8123", "--action", "drop"],
                   ["set", "add", "office", "198.51.100.7"], ["apply", other, "--no-confirm", "--force"],
                   ["init", "--profile", "server", f"{w.dir}/new.yaml"])
        with open("/dev/full", "wb") as full:
            for args in changes:
                p = to(full, *args)
                equal(p.returncode, 6, f"{args} > /dev/full: exit status")
                check("stdout: No space left on device; the change was made" in p.stderr, f"{args}: {p.stderr!r}")
            for args in (["ban", "list"], ["--help"], ["help", "apply"], ["rule", "--help"], ["--version"]):
                p = to(full, *args)
                equal(p.returncode, 1, f"{args} > /dev/full: exit status")
                check("stdout: No space" in p.stderr and "change" not in p.stderr, f"{args}: {p.stderr!r}")
            p = to(full, "ban", "add", "not an address")
            check(p.returncode == 1 and "change was made" not in p.stderr, f"a ban that is none: {p.returncode} {p.stderr!r}")
        r, wr = os.pipe()
        os.close(r)
        p = to(wr, "ban", "remove", "192.0.2.9")
        os.close(wr)
        check(p.returncode == 6 and "Broken pipe; the change was made" in p.stderr, f"nobody reads: {p.returncode} {p.stderr!r}")
        check("8123" in w("rule", "list").stdout and "198.51.100.7" in w("set", "list", "office").stdout, "they were not made")
        d.opens(82, "the policy that was applied")


def test_init_on_a_full_disk():
    with tempfile.TemporaryDirectory() as at:
        sh("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", at)
        try:
            with contextlib.suppress(OSError), open(f"{at}/filler", "wb", buffering=0) as f:
                while True:
                    f.write(b"x" * 4096)
            p = subprocess.run([BIN, "init", "--profile", "server", f"{at}/policy.yaml"], capture_output=True, text=True)
            check(p.returncode == 1 and "No space left" in p.stderr, f"{p.returncode} {p.stderr}")
            equal(os.listdir(at), ["filler"], "what is left of it")
            os.unlink(f"{at}/filler")
            equal(subprocess.run([BIN, "init", "--profile", "server", f"{at}/policy.yaml"], capture_output=True).returncode, 0,
                  "with room again")
        finally:
            sh("umount", at)


def test_doctor_says_the_same_in_detect():
    """In mode detect there is no guard. Whether the kernel has links of netfilter does not hang on that."""
    with Router() as lab:
        d = Dut(lab, OPEN.replace("mode: prevent", "mode: detect"))

        def netfilter():
            return next(x for x in d.weir.json("doctor", check=False) if x["check"] == "netfilter link")

        detect = netfilter()
        check("not tried" not in detect["found"] and "off" in detect["found"], f"in detect: {detect}")
        d.weir.apply(OPEN)
        equal(netfilter()["result"], detect["result"], "with the guard on, which has tried it")


def fixed(d, target):
    """Run the command of the fix line of `weir why`, as it stands; returns it."""
    why, deadline = "", time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        why = d.weir("why", target, check=False).stdout
        fix = next((x.split("fix", 1)[1].strip() for x in why.splitlines() if x.startswith("fix")), "")
        if fix.startswith("weir "):
            for line in why.splitlines():
                check("rule add" not in line or "--direction inbound" in line, f"opens more than it says: {line}")
            d.weir(*shlex.split(fix)[1:])
            return fix
    raise Failed(f"no fix for {target}:\n{why}")


def test_the_fix_fixes():
    """The command of the fix line allows what was dropped: by the default, by an added rule, by a ban of a network."""
    with Router() as lab:
        d = Dut(lab)
        banned = {4: ("10.1.0.200", "10.1.0.128/25"), 6: ("fd01::1:5", "fd01::1:0/112")}
        lab.alias(lab.client, "cl0", f"{banned[4][0]}/24", f"{banned[6][0]}/64")
        for v in (4, 6):
            there = lab.DUT[v] if v == 4 else f"[{lab.DUT[v]}]"
            for proto in ("tcp", "udp"):
                d.silent(82, "before the fix", v=v, protos=(proto,))
                fix = fixed(d, f"{there}:82")
                d.opens(82, f"after {fix}", v=v, proto=proto)
                d.weir("rule", "clear")
            d.weir("rule", "add", "--port", "80", "--action", "drop")
            d.silent(80, "an added rule", v=v, protos=("tcp",))
            fix = fixed(d, f"{there}:80")
            d.opens(80, f"after {fix}", v=v)
            d.weir("rule", "clear")
            d.weir("ban", "add", banned[v][1])
            p = Probe(lab.client, "tcp", lab.DUT[v], 80, src=banned[v][0])
            must(fence(lab.client, lab.DUT[v], d.udp, 9999), "fence")
            check(p.quiet(), f"v{v}: a banned network is heard")
            p.close()
            fix = fixed(d, banned[v][0])
            equal(ask(lab.client, "tcp", lab.DUT[v], 80, src=banned[v][0]), "open", f"v{v}: after {fix}")


if __name__ == "__main__":
    main(globals())
