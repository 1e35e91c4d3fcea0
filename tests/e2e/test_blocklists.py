#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Blocklists of a million addresses from files: what is in them reaches nothing, what is not or is excepted does."""
import os
import random
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.netns import SLOW

MANY = 1000000
BAD = {4: "10.1.0.70", 6: "fd01::b:7"}       # single addresses of the lists
NET = {4: "10.1.0.130", 6: "fd01::c:1:9"}    # of networks of the lists
FINE = {4: "10.1.0.71", 6: "fd01::b:8"}      # in none
MORE = {4: "10.1.0.72", 6: "fd01::b:9"}      # in none until they are added
EXCEPTED = {4: "10.1.0.131", 6: "fd01::c:1:a"}


def write_lists(w, many=MANY):
    rnd = random.Random(5)
    with open(f"{w.dir}/four.txt", "w", newline="") as f:
        f.write("# IPv4\r\n")
        f.writelines(socket.inet_ntoa(rnd.randrange(0x10000000, 0xdfffffff).to_bytes(4, "big")) + "\r\n" for _ in range(many))
        f.write(f"{BAD[4]} # the one\r\n{BAD[4]}\r\n")
    with open(f"{w.dir}/six.txt", "w") as f:
        f.write(f"{BAD[6]}\n\n")
        f.writelines(socket.inet_ntop(socket.AF_INET6, (0x2 << 124 | rnd.getrandbits(124)).to_bytes(16, "big")) + "\n" for _ in range(many))
    with open(f"{w.dir}/nets.txt", "w") as f:
        f.write("10.1.0.128/28\n10.1.0.130/31\nfd01::c:1:0/112\n")
        for _ in range(many // 10):
            n = rnd.randrange(14, 31)
            f.write(f"{socket.inet_ntoa((rnd.randrange(0x10000000, 0xdfffffff) >> 32 - n << 32 - n).to_bytes(4, 'big'))}/{n}\n")
            n = rnd.randrange(32, 64)
            f.write(f"{socket.inet_ntop(socket.AF_INET6, ((0x2 << 124 | rnd.getrandbits(124)) >> 128 - n << 128 - n).to_bytes(16, 'big'))}/{n}\n")


def policy(xdp="off"):
    return Policy.text("""
    - { name: fence, action: allow, protocol: udp, ports: 9999 }
    - { name: web, action: allow, direction: inbound, ports: 80 }
    """, inbound="drop", forward="drop", extra=f"""
sets:
  four: {{ addresses: {{ file: four.txt }} }}
  six: {{ addresses: {{ file: six.txt }} }}
  nets: {{ addresses: {{ file: nets.txt }} }}
  partners: {{ addresses: [{EXCEPTED[4]}, '{EXCEPTED[6]}'] }}
blocklists: [$four, $six, $nets]
blocklist_except: [$partners]
interfaces: {{ in0: {{ xdp: {xdp} }} }}
""")


def programs(w):
    return {p["name"]: p["id"] for p in w.json("features")["programs"]}


def pid_of(w, name):
    return {p["name"]: p["pid"] for p in w.json("status", check=False).get("processes", {}).get("list", [])}.get(name, 0)


class Site:
    """A router with a listener on port 80, and clients of all kinds."""

    def __init__(self, lab, many=MANY, xdp="off"):
        self.lab = lab
        for a in (BAD, NET, FINE, EXCEPTED):
            lab.alias(lab.client, "cl0", f"{a[4]}/24", f"{a[6]}/64")
        self.heard = Listener(lab, lab.dut, "udp", 80, 9999)
        self.w = Weir(lab, lab.dut)
        write_lists(self.w, many)
        self.w.run(policy(xdp))

    def arrives(self, src, v):
        """Does the listener hear what such a source sends?"""
        t = token("to80")
        p = Probe(self.lab.client, "udp", self.lab.DUT[v], 80, payload=t, src=src)
        must(fence(self.lab.client, self.lab.DUT[v], self.heard, 9999), "fence")
        p.close()
        return t in self.heard.payloads(80)


def test_a_million():
    for xdp in ("off", "generic"):
        with Router() as lab:
            s = Site(lab, xdp=xdp)
            for v in (4, 6):
                check(s.arrives(FINE[v], v), f"xdp {xdp}, v{v}: a source that no list holds")
                check(not s.arrives(BAD[v], v), f"xdp {xdp}, v{v}: an address of the list")
                check(not s.arrives(NET[v], v), f"xdp {xdp}, v{v}: an address of a network of the list")
                check(s.arrives(EXCEPTED[v], v), f"xdp {xdp}, v{v}: what is excepted")
            sets = {x["set"]: x["ranges"] for x in s.w.json("set", "list")["sets"]}
            check(sets["four"] > MANY * 0.99 and sets["six"] == MANY + 1, f"sets: {sets}")
            reason = s.w("explain", s.w.write(policy(xdp)), "--packet", f"tcp {BAD[4]}:1 > 10.1.0.1:80 inbound").stdout
            check("weir set remove four 10.1.0.70" in reason, f"explain names the set: {reason}")


def hits(w):
    """By the two commands that show it."""
    of = {x["set"]: x["hits"] for x in w.json("set", "list")["sets"] if "hits" in x}
    equal({x["set"]: x["hits"] for x in w.json("rule", "list")["blocklists"]}, of, "rule list, beside set list")
    return of


def test_hits():
    """What each list stopped is counted, whichever hook stops it; of several that hold an address the first has it."""
    for xdp in ("off", "generic"):
        with Router() as lab:
            s = Site(lab, many=1000, xdp=xdp)
            want = {"four": 0, "six": 0, "nets": 0}

            def sends(src, v, name, n):
                for _ in range(n):
                    check(not s.arrives(src, v), f"xdp {xdp}: {src} is in {name}")
                want[name] += n
                equal(hits(s.w), want, f"xdp {xdp}: after {n} of {src}")

            equal(hits(s.w), want, f"xdp {xdp}: before")
            sends(BAD[4], 4, "four", 3)
            sends(BAD[6], 6, "six", 2)
            sends(NET[4], 4, "nets", 1)
            sends(NET[6], 6, "nets", 4)
            s.w("set", "add", "nets", BAD[4], "fd01::b:6/127", "10.1.0.68/30")
            sends(BAD[4], 4, "four", 1)
            sends(BAD[6], 6, "six", 1)
            sends("10.1.0.71", 4, "nets", 1)
            s.w("set", "remove", "four", BAD[4])
            sends(BAD[4], 4, "nets", 2)
            if xdp == "off":  # XDP tells only what the policy asks it to
                check("blocklist $nets" in s.w("events").stdout, "events name the list")
            s.w("set", "reset", "four")
            sends(BAD[4], 4, "four", 1)
            s.w("apply", s.w.write(policy(xdp) + "# another text\n"), "--no-confirm")
            sends(NET[4], 4, "nets", 1)
            s.w("apply", s.w.write(policy(xdp).replace("[$four, $six, $nets]", "[$nets, $four, $six]")), "--no-confirm")
            sends(BAD[4], 4, "nets", 1)
            s.w("ban", "add", BAD[4])
            check(not s.arrives(BAD[4], 4), f"xdp {xdp}: banned and listed")
            equal(hits(s.w), want, f"xdp {xdp}: a ban has its say before the lists")
            s.w("ban", "remove", BAD[4])
            sends(BAD[4], 4, "nets", 1)


def test_hits_in_detect():
    """What each list, or a ban, would stop is counted and told, of what comes in and of what is forwarded."""
    with Router() as lab:
        s = Site(lab, many=1000)
        far = Listener(lab, lab.server, "udp", 80)
        s.w("mode", "detect", "--no-confirm")
        for v, name in ((4, "four"), (6, "six")):
            check(s.arrives(BAD[v], v), f"v{v}: nothing is stopped")
            equal(hits(s.w)[name], 1, f"v{v}: of what came in")
            for n in range(2):
                t = token("far")
                p = Probe(lab.client, "udp", lab.SERVER[v], 80, payload=t, src=BAD[v])
                must(far.wait(t), f"v{v}: what is forwarded")
                equal(hits(s.w)[name], 2 + n, f"v{v}: of what is forwarded")
                p.close()
        told = [e for e in s.w.records("events") if e.get("rule") == "blocklist $four"]
        equal([(e["verdict"], e["would"]) for e in told], [("pass", "drop")] * len(told), "what events say")
        check(len(told) >= 3, f"an event of each: {told}")

        def by_list():
            return {f["rule"] for f in s.w.json("flows")["flows"] if f["src"] == BAD[4] and f["direction"] == "inbound"}

        equal(by_list(), {"blocklist $four"}, "what its flow is under")
        s.w("apply", s.w.write(policy("off").replace("$four, $six, $nets", "$six, $four, $nets")), "--no-confirm")
        equal(by_list(), {"a rule of before the last change"}, "no list's name by a number that is another's now")
        for v in (4, 6):
            s.w("ban", "add", FINE[v])
            t = token("banned")
            p = Probe(lab.client, "udp", lab.SERVER[v], 80, payload=t, src=FINE[v])
            must(far.wait(t), f"v{v}: a ban stops nothing")
            p.close()
            # a machine that stands still for a second between ingress and egress has a second one, of the default of forward
            told = [(e["reason"], e["verdict"], e["would"]) for e in s.w.records("events") if e["src"]["address"] == FINE[v]]
            equal(told[:1], [("ban", "pass", "drop")], f"v{v}: the ban's event")


def test_edit():
    """An edit counts at once, both ways."""
    with Router() as lab:
        s = Site(lab, many=1000)
        for v in (4, 6):
            name = "four" if v == 4 else "six"
            s.w("set", "add", name, FINE[v])
            check(not s.arrives(FINE[v], v), f"v{v}: what was added")
            s.w("set", "remove", name, FINE[v])
            check(s.arrives(FINE[v], v), f"v{v}: what was added and taken out again")
            equal(s.w.json("set", "list")["edits"], [], f"v{v}: no edit is left of that")
            check(not s.arrives(BAD[v], v), f"v{v}: an address of the list")
            check(eventually(lambda: f"weir set remove {name} {BAD[v]}" in s.w("why", BAD[v]).stdout),
                  f"v{v}: why names the command that takes it out: " + s.w("why", BAD[v]).stdout)
            s.w("set", "remove", name, BAD[v])
            check(s.arrives(BAD[v], v), f"v{v}: what was taken out")
            equal(s.w("set", "reset", name).stdout, f"1 edit of ${name} forgotten\n", f"v{v}: reset")
            check(not s.arrives(BAD[v], v), f"v{v}: the file counts again")


def test_many_edits():
    """A thousand addresses and networks at one moment, into lists of hundreds of thousands: the programs stay, what was listed
    all the time never gets through, and the death of the worker changes nothing."""
    with Router() as lab:
        s = Site(lab, many=MANY // 2)  # so many IPv4 addresses stand in dense lines, and the IPv6 ones in a table
        before = programs(s.w)
        must(before, "programs are listed")
        floods = [Flood(lab, lab.client, lab.DUT[v], 80, payload=b"bad", src=src[v], every=0.01) for v in (4, 6) for src in (BAD, NET)]
        fill = {4: [f"198.18.{i >> 8}.{i & 255}" for i in range(900)] + [f"198.19.{i}.0/26" for i in range(99)],
                6: [f"2001:db8:5::{i:x}" for i in range(900)] + [f"2001:db8:6:{i:x}::/64" for i in range(99)]}
        near = {4: "10.1.0.64-10.1.0.72", 6: "fd01::b:8/127"}  # with FINE, and for IPv4 with BAD
        for turn in range(3):
            for v, name in ((4, "four"), (6, "six")):
                must(s.arrives(FINE[v], v), f"turn {turn}, v{v}: before")
                equal(s.w.json("set", "add", name, near[v], *fill[v])["changed"], 1000, f"turn {turn}, v{v}: changed")
                check(not s.arrives(FINE[v], v), f"turn {turn}, v{v}: what was added")
                check(not s.arrives(BAD[v], v) and not s.arrives(NET[v], v), f"turn {turn}, v{v}: what the list held")
            if turn == 1:
                worker = pid_of(s.w, "worker")
                os.kill(worker, signal.SIGKILL)
                must(eventually(lambda: pid_of(s.w, "worker") not in (0, worker)), "a new worker")
                for v in (4, 6):
                    check(not s.arrives(FINE[v], v), f"v{v}: after the worker's death")
                before = programs(s.w)
            for v, name in ((4, "four"), (6, "six")):
                if turn == 2:
                    s.w("set", "reset", name)
                else:
                    s.w("set", "remove", name, *fill[v][:500])
                    check(not s.arrives(FINE[v], v), f"turn {turn}, v{v}: others were taken out")
                    s.w("set", "reset", name)
                check(s.arrives(FINE[v], v), f"turn {turn}, v{v}: the file counts again")
                check(not s.arrives(BAD[v], v), f"turn {turn}, v{v}: an address of the list")
            equal(programs(s.w), before, f"turn {turn}: the programs")
        sent = [f.stop() for f in floods]
        must(all(n > 100 for n in sent), f"the listed sources were sending: {sent}")
        check(b"bad" not in s.heard.payloads(80), "something of a source that was listed all the time came through")


def test_live():
    """A conversation that is open ends when its other end is listed: by an edit and by the file, whatever `established` says."""
    for keep in ("keep", "recheck"):
        with Router() as lab:
            for a in (FINE, MORE):
                lab.alias(lab.client, "cl0", f"{a[4]}/24", f"{a[6]}/64")
            heard = Listener(lab, lab.dut, "tcp", 80)
            w = Weir(lab, lab.dut)
            write_lists(w, 1000)
            w.run(policy() + f"flows: {{ established: {keep} }}\n")
            for v, name in ((4, "four"), (6, "six")):
                for by in ("edit", "file"):
                    src = FINE[v] if by == "edit" else MORE[v]
                    p = Probe(lab.client, "tcp", lab.DUT[v], 80, src=src)
                    equal(p.wait(), "open", f"{keep}, v{v}, {by}: before")
                    if by == "edit":
                        w("set", "add", name, src)
                    else:
                        with open(f"{w.dir}/{name}.txt", "a") as f:
                            f.write(src + "\n")
                        must(eventually(lambda: ask(lab.client, "tcp", lab.DUT[v], 80, src=src, timeout=0.3) == "silence"),
                             f"{keep}, v{v}: read again")
                    t = token("late")
                    p.s.send(t)
                    check(not heard.wait(t, 1), f"{keep}, v{v}, {by}: heard from a source that is listed now")
                    p.close()


def test_not_everybody():
    """Line by line a list may come to hold everybody: by the file and by edits that is refused, and what was in force stays."""
    with Router() as lab:
        heard = Listener(lab, lab.dut, "tcp", 80)
        w = Weir(lab, lab.dut)
        write_lists(w, 1000)
        w.run(policy())
        with open(f"{w.dir}/four.txt", "a", encoding="ascii") as f:
            f.write("0.0.0.0/2\n64.0.0.0/2\n128.0.0.0/1\n")
        must(eventually(lambda: "every IPv4 address" in w("status", check=False).stdout), "status names it")
        for part in ("64.0.0.0/2", "128.0.0.0/1"):
            w("set", "add", "nets", part)
        p = w("set", "add", "six", "0.0.0.0/2", check=False)
        check(p.returncode and "every IPv4 address" in p.stderr, f"edits that are everybody: {p.returncode} {p.stdout}{p.stderr}")
        equal(ask(lab.client, "tcp", lab.DUT[4], 80), "open", "IPv4, after the file that holds everybody")
        check(heard.accepted, "not delivered")


def test_reload():
    """A file that changes is read again: the programs stay, and nothing of a list that stays gets through meanwhile."""
    with Router() as lab:
        s = Site(lab)
        before, was = programs(s.w), s.w.status()
        must(before, "programs are listed")
        floods = [Flood(lab, lab.client, lab.DUT[v], 80, payload=b"bad", src=src[v], every=0.01) for v in (4, 6) for src in (BAD, NET)]
        files = [(v, f"{s.w.dir}/{name}.txt") for v, name in ((4, "four"), (6, "six"))]
        # few changes are written into the lines in force; of so many the lines are made anew
        lot = {4: "".join(f"10.{192 + (i >> 15)}.{i >> 7 & 255}.{i << 1 & 255}\n" for i in range(70000)),
               6: "".join(f"2001:db8:77::{i >> 14:x}:{i << 1 & 0x7fff:x}\n" for i in range(70000))}
        for turn in range(3):
            texts = {path: open(path, newline="").read() for _, path in files}
            for add in (True, False):
                for v, path in files:
                    must(eventually(lambda: s.arrives(FINE[v], v) == add), f"turn {turn}, v{v}: as it was")
                    with open(path + ".new", "w", newline="") as f:
                        f.write(texts[path] + (FINE[v] + "\n" + (lot[v] if turn == 1 else "") if add else ""))
                    os.rename(path + ".new", path)
                for v, path in files:
                    must(eventually(lambda: s.arrives(FINE[v], v) != add), f"turn {turn}, v{v}: in the list: {add}")
        sent = [f.stop() for f in floods]
        must(all(n > 1000 for n in sent), f"the listed sources were sending: {sent}")
        check(b"bad" not in s.heard.payloads(80), "something of a source that was listed all the time came through")
        equal(programs(s.w), before, "the programs are the same ones")
        now = s.w.status()
        equal((now["generation"], now["edit"]), (was["generation"], was["edit"]), "generation and edit")

        with open(f"{s.w.dir}/nets.txt", "a") as f:
            f.write("10.1.0.300\n")
        line = sum(1 for _ in open(f"{s.w.dir}/nets.txt"))
        must(eventually(lambda: f"nets.txt:{line}: bad address '10.1.0.300'" in str(s.w.status()["degraded"])),
             "status names the broken line")
        for v in (4, 6):
            check(not s.arrives(NET[v], v), f"v{v}: what is in force stays")


def test_the_reason_is_that_of_now():
    """A file that was gone and is a FIFO: status says so, by the change, not by the next try, which comes after a minute."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        nets = w.write("192.0.2.1\n", "nets.txt")
        w.run(Policy.text(extra="sets: { x: { addresses: { file: nets.txt } } }\nblocklists: [$x]"))
        os.unlink(nets)
        must(eventually(lambda: "nets.txt': No such file" in str(w.status()["degraded"])), "status says that it is gone")
        os.mkfifo(nets)
        must(eventually(lambda: "a FIFO" in str(w.status()["degraded"]), 20 / SLOW), "status says that it is a FIFO now")


def test_start():
    """A file that is broken, gone or empty when weir starts takes neither the policy away nor what it held."""
    with Router() as lab:
        s = Site(lab, many=1000)
        w, four = s.w, f"{s.w.dir}/four.txt"
        w.write(policy(), f"{w.config}/policy.yaml")
        sound = open(four, newline="").read()
        for name in ("four", "six", "nets"):
            os.rename(f"{w.dir}/{name}.txt", f"{w.config}/{name}.txt")
        four = f"{w.config}/four.txt"
        before = [n for n in os.listdir(w.state) if n.startswith("list-")]
        w("apply")
        kept = lambda: len([n for n in os.listdir(w.state) if n.startswith("list-") and n not in before])
        must(eventually(lambda: kept() == 3), "copies of these lists, beside those of their first places")
        check(eventually(lambda: not set(before) & set(os.listdir(w.state))), "which are of no use any more")
        generation = w.status()["generation"]
        lines = sound.count("\n") + 1
        for text, why in ((sound + "10.1.0.300\n", f"four.txt:{lines}: bad address '10.1.0.300'"), (None, "cannot read"),
                          ("", "four.txt holds no address any more")):
            os.unlink(four)
            if text is not None:
                with open(four, "w", newline="") as f:
                    f.write(text)
            w.kill()
            w.run()
            now = w.status()
            check(why in str(now["degraded"]), f"status says {why}: {now['degraded']}")
            equal(now["generation"], generation, "generation")
            check(s.arrives(FINE[4], 4), f"{why}: a rule still holds")
            check(not s.arrives(BAD[4], 4) and not s.arrives(NET[4], 4), f"{why}: what was listed")
            with open(four + ".new", "w", newline="") as f:
                f.write(sound)
            os.rename(four + ".new", four)
            must(eventually(lambda: why not in str(w.status()["degraded"])), f"{why}: mended")
            check(not s.arrives(BAD[4], 4), f"{why}: mended: what is listed")


if __name__ == "__main__":
    main(globals())
