#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rules that are added and deleted among thousands: the programs in the kernel stay, the next packet is judged by what
was said, a conversation that lives is judged again, and whoever dies, nothing of it is lost."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

N = 3000
FENCE = "- { name: fence, action: allow, protocol: udp, ports: 9999 }\n"
WEB = "- { name: web, action: allow, direction: inbound, protocol: tcp, ports: [80, 81] }\n"


def many(n=N):
    """Rules that no packet of this test meets, in front of those that some do."""
    return "".join(f"- {{ name: m{i}, action: drop, from: 198.18.{i >> 8}.{i & 255}, protocol: tcp, ports: {1 + i % 900} }}\n"
                   for i in range(n)) + FENCE + WEB


def programs(w):
    return sorted(p["id"] for p in w.json("features")["programs"])


def add(w, *args):
    return w.json("rule", "add", "--direction", "inbound", "--proto", "tcp", *args)["id"]


def worker_of(w):
    j = w.json("status", check=False)
    return {p["name"]: p["pid"] for p in j.get("processes", {}).get("list", [])}.get("worker", 0)


def kill_worker(w):
    """Another one is there after that."""
    worker = worker_of(w)
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE * 4
    while worker_of(w) in (0, worker):
        must(time.monotonic() < deadline, "no new worker")
        time.sleep(0.05)


def edit_of(w):
    return w.status()["edit"]


def listed(w):
    return [r["id"] for r in w.json("rule", "list")["rules"] if "id" in r]


def opens(lab, port, want, what):
    for v in (4, 6):
        seconds = 1 * SLOW if want == "silence" else PATIENCE
        equal(ask(lab.client, "tcp", lab.DUT[v], port, timeout=seconds), want, f"v{v} port {port}: {what}")


def ended(probe, what):
    """A reset or an end came, and no answer."""
    probe.s.settimeout(PATIENCE)
    try:
        equal(probe.s.recv(100), b"", what)
    except ConnectionResetError:
        pass


def test_come_and_go():
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80, 81, 82)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(many(), inbound="drop"))
        before = programs(w)
        lives = {v: Probe(lab.client, "tcp", lab.DUT[v], 80) for v in (4, 6)}
        for v, p in lives.items():
            equal(p.wait(), "open", f"v{v}: before")
        opens(lab, 82, "silence", "nobody allows it")
        no = add(w, "--port", "80", "--action", "reject")
        opens(lab, 80, "refused", "the rule that came")
        opens(lab, 81, "open", "what it does not name")
        for v, p in lives.items():
            p.s.send(token("dead"))
            ended(p, f"v{v}: the conversation that lived")
        yes = add(w, "--port", "82", "--action", "allow")
        opens(lab, 82, "open", "a second rule")
        w("rule", "delete", "--id", str(no))
        opens(lab, 80, "open", "the rule went")
        hits = {r["id"]: r["hits"] for r in w.json("rule", "list")["rules"] if "id" in r}
        equal(list(hits), [yes], "the overlay")
        check(hits[yes] > 0, "its packets were counted")
        why = w("why", lab.CLIENT[4]).stdout
        check(f"overlay {no}" in why, f"why names the rule that is gone: {why}")
        equal(programs(w), before, "the programs of the start")
        w("rule", "delete", "--id", str(yes))
        opens(lab, 82, "silence", "this one went, too")
        equal(programs(w), before, "the programs of the start")


def test_death():
    """Of the worker, whose successor knows them; of all, with the rule in force while nobody lives, and at the next start."""
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80, 81)
        w = Weir(lab, lab.dut)
        policy = Policy.text(many(400), inbound="drop")
        w.run(policy)
        before, edit = programs(w), edit_of(w)
        no = add(w, "--port", "80", "--action", "drop")
        w("ban", "add", "198.51.100.7")
        equal(programs(w), before, "the programs of the start")
        equal(edit_of(w), edit + 2, "the number of the edit")
        kill_worker(w)
        equal(listed(w), [no], "the next worker's list")
        equal(edit_of(w), edit + 2, "the number of the edit, after the worker's death")
        opens(lab, 80, "silence", "after the worker's death")
        again = add(w, "--port", "81", "--action", "drop")
        opens(lab, 81, "silence", "the next worker's rule")
        w.kill()
        opens(lab, 80, "silence", "with nobody alive")
        opens(lab, 81, "silence", "with nobody alive")
        w.run(policy)
        equal(listed(w), [no, again], "after a start")
        equal(edit_of(w), edit + 3, "the number of the edit, after a start")
        w("rule", "delete", "--id", str(no))
        opens(lab, 80, "open", "deleted")
        opens(lab, 81, "silence", "the other one stays")


def test_what_cannot_be_saved_has_its_number_alone():
    """A rule was in force for a moment and could not be saved: the next one is told by its own number and words."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        sh("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "weir-test", w.state)
        lab.on_close(lambda: sh("umount", "-l", w.state, check=False))
        w.run(Policy.text(many(400), inbound="drop"))
        with open(f"{w.state}/fill", "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass
        p = w("rule", "add", "--direction", "inbound", "--proto", "tcp", "--port", "80", "--action", "drop", check=False)
        check(p.returncode == 1 and "nothing was changed" in p.stderr, f"with no room: {p.returncode} {p.stderr}")
        equal(listed(w), [], "with no room")
        os.unlink(f"{w.state}/fill")
        said = w("rule", "add", "--direction", "inbound", "--proto", "udp", "--port", "8082", "--action", "allow").stdout
        check(said.startswith("rule 2: allow inbound port 8082 udp"), f"what is told: {said}")
        equal(listed(w), [2], "with room again")


def test_hits_are_its_own():
    """A rule of the same name that was added again counts from zero, also when all is compiled anew."""
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(many(400), inbound="drop"))

        def hits():
            return {r["name"]: r["hits"] for r in w.json("rule", "list")["rules"]}["again"]

        no = add(w, "--name", "again", "--port", "80", "--action", "reject")
        opens(lab, 80, "refused", "rejected")
        must(hits() >= 2, f"hits: {hits()}")
        w("rule", "delete", "--id", str(no))
        add(w, "--name", "again", "--port", "81", "--action", "reject")
        equal(hits(), 0, "added again")
        before = programs(w)
        w.apply(Policy.text(many(401), inbound="drop"))
        must(programs(w) != before, "it was not compiled anew")
        equal(hits(), 0, "compiled anew")


def test_what_is_saved_is_said_to_be():
    """After a death of the worker, too, which reads in the history where its policy came from."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        path = w.write(Policy.text(WEB))
        w.run(path)
        equal(w.status()["origin"], "other", "of a command line")
        w("apply", path, "--save", "--no-confirm")
        equal(w.status()["origin"], "saved", "saved")
        kill_worker(w)
        equal(w.status()["origin"], "saved", "after the worker's death")
        w.kill()
        w.run()
        equal(w.status()["origin"], "saved", "after a start")


def test_a_set_that_only_an_added_rule_names():
    """The worker that comes after a death has compiled nothing: an edit of the set means the rule all the same."""
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80)
        w = Weir(lab, lab.dut)
        w.run(Policy.text("- { name: fence, action: allow, protocol: udp, ports: 9999 }\n", inbound="drop", extra=f"""
sets: {{ office: {{ addresses: [{lab.CLIENT[4]}, '{lab.CLIENT[6]}'] }}, bad: {{ addresses: 192.0.2.1 }} }}
blocklists: [$bad]
"""))
        add(w, "--port", "80", "--action", "allow", "--src", "$office")
        opens(lab, 80, "open", "who is in the set")
        kill_worker(w)
        for v in (4, 6):
            w("set", "remove", "office", lab.CLIENT[v])
        opens(lab, 80, "silence", "taken out of it")
        w("set", "add", "bad", "192.0.2.2")
        for v in (4, 6):
            w("set", "add", "office", lab.CLIENT[v])
        opens(lab, 80, "open", "in it again")


def test_under_flood():
    """Each edit takes force at once under a flood of what it is about; and when the places are used up, too."""
    with Router() as lab:
        heard = Listener(lab, lab.dut, "udp", 5000, 9999, answer=False)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(many(300) + "- { name: five, action: allow, protocol: udp, ports: 5000 }\n", inbound="drop"))
        before = programs(w)
        flood = Flood(lab, lab.client, lab.DUT[4], 5000, b"flood", src_ports=4, every=0.002)
        for n in range(max(60, times(160, 80))):  # more than the places that are given away before all is compiled
            rule = w.json("rule", "add", "--direction", "inbound", "--proto", "udp", "--port", "5000", "--action", "drop")["id"]
            first = len(heard.payloads(5000))
            for _ in range(3):
                must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
            equal(len(heard.payloads(5000)), first, f"{n}: heard after the rule came")
            w("rule", "delete", "--id", str(rule))
            deadline = time.monotonic() + PATIENCE
            while len(heard.payloads(5000)) == first:
                must(time.monotonic() < deadline, f"{n}: not heard again after the rule went")
                time.sleep(0.005)
        flood.stop()
        check(eventually(lambda: programs(w) != before), "all of it was compiled once, behind the edits")


if __name__ == "__main__":
    main(globals())
