#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bans that rules and limits make in the kernel: who touched what he should not is not heard any more, anywhere, with the
daemon dead, too; after its time he is; nobody else is touched, nor is the failsafe."""
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.wire import Wire, sp  # noqa: E402

RULES = """
- { name: fence, action: allow, protocol: udp, ports: 9999 }
- { name: trap, action: ban, direction: [inbound, forward], ports: 23, ban: 4s }
- { name: web, action: allow, ports: [80, 23] }
"""
OTHER = {4: "10.1.0.77", 6: "fd01:0:0:1::77"}


def policy(mode="prevent", rules=RULES, extra=""):
    return Policy.text(rules, mode=mode, inbound="drop", forward="drop", extra=extra)


def two_clients(lab):
    """A second address that a ban of the first must not touch: in IPv6 another /64."""
    lab.alias(lab.client, "cl0", "10.1.0.77/24", "fd01:0:0:1::77/64")
    lab.dut.ip("-6", "route", "add", "fd01:0:0:1::/64", "dev", "in0")
    lab.server.ip("-6", "route", "add", "fd01:0:0:1::/64", "via", "fd02::1")


def banned(w):
    return {b["address"]: b for b in w.json("ban", "list")["bans"]}


def test_rule():
    """A trap inbound and forwarded, both families; the open connection ends too; the other address goes on."""
    for way in ("inbound", "forward"):
        for v in (4, 6):
            with Router() as lab:
                two_clients(lab)
                there, addr = (lab.dut, lab.DUT) if way == "inbound" else (lab.server, lab.SERVER)
                d = Listener(lab, there, "tcp", 80, 23)
                f = Listener(lab, there, "udp", 9999)
                w = Weir(lab, lab.dut)
                w.run(policy())
                mine = Probe(lab.client, "tcp", addr[v], 80, src=lab.CLIENT[v])
                others = Probe(lab.client, "tcp", addr[v], 80, src=OTHER[v])
                must(mine.wait() == "open" and others.wait() == "open", "no connections")
                equal(banned(w), {}, "nobody is banned at first")
                w.kill()
                start = time.monotonic()
                Probe(lab.client, "tcp", addr[v], 23, src=lab.CLIENT[v]).close()
                others.s.send(b"still here")
                check(d.wait(b"still here"), f"{way} v{v}: the other address was banned")
                mine.s.send(b"banned?")
                must(fence_from(lab, OTHER[v], addr[v], f), "fence")
                check(b"banned?" not in d.payloads(), f"{way} v{v}: a banned one was heard on his open connection")
                p = Probe(lab.client, "tcp", addr[v], 80, src=lab.CLIENT[v])
                must(fence_from(lab, OTHER[v], addr[v], f), "fence")
                check(p.quiet(), f"{way} v{v}: a banned one could connect")
                check(d.wait(b"banned?"), f"{way} v{v}: the ban did not end")  # TCP sends it again
                took = time.monotonic() - start
                check(3.9 < took, f"{way} v{v}: the ban of 4 s ended after {took:.1f} s")
                equal(p.wait(), "open", f"{way} v{v}: a connection after the ban")


def fence_from(lab, src, dst, listener):
    with lab.client:
        s = socket.socket(family_of(dst), socket.SOCK_DGRAM)
    s.bind((src, 0))
    with s:
        for _ in range(100):
            t = token("fence")
            s.sendto(t, (dst, 9999))
            if listener.wait(t, PATIENCE / 30):
                listener.sync()
                return True
    return False


def test_list_and_remove():
    """weir ban list names the rule, ban remove ends it; an own ban of the same address stays in its place."""
    with Router() as lab:
        two_clients(lab)
        Listener(lab, lab.dut, "tcp", 80, 23)
        w = Weir(lab, lab.dut)
        w.run(policy(rules=RULES.replace("ban: 4s", "ban: 1h")))
        for v in (4, 6):
            p = Probe(lab.client, "tcp", lab.DUT[v], 23, src=lab.CLIENT[v])
            shown = lab.CLIENT[v]  # in a /64 of the host's own: alone
            deadline = time.monotonic() + PATIENCE
            while shown not in banned(w) and time.monotonic() < deadline:
                pass
            b = banned(w).get(shown, {})
            check("trap" in b.get("why", "") and 3500 < b["expires"] - time.time() < 3602, f"v{v}: {b}")
            w("ban", "remove", lab.CLIENT[v])
            equal(banned(w), {}, f"v{v}: after the removal")
            equal(p.wait(), "open", f"v{v}: what waited goes on")
            p.close()
        check(any(e.get("log") == "trap" for e in w.records("events")), f"no event names the trap: {w.records('events')[-3:]}")
        hits = {r["name"]: r["hits"] for r in w.json("rule", "list")["rules"]}
        check(hits["trap"] >= 2, f"the trap was met twice: {hits}")
        r = w("ban", "remove", "10.1.0.99", check=False)
        check(r.returncode != 0 and "not banned" in r.stderr, f"removing nothing: {r.stderr}")
        w("ban", "add", OTHER[4])
        w("ban", "add", "10.1.0.76/31")
        said = w("ban", "remove", OTHER[4]).stdout
        equal(said, f"the ban of {OTHER[4]} is lifted; 10.1.0.76/31 still covers it: weir ban remove 10.1.0.76/31\n", "what stays")
        r = w("ban", "remove", OTHER[4], check=False)
        check(r.returncode == 1 and "10.1.0.76/31 covers it" in r.stderr, f"of a banned network: {r.returncode} {r.stderr}")
        check("is not banned any more" in w("ban", "remove", "10.1.0.76/31").stdout, "the network")


def test_removal_after_the_end():
    """A ban by a rule that has ended is none, although the kernel still has its entry; of a /64, that is said."""
    with Router() as lab:
        two_clients(lab)
        Listener(lab, lab.dut, "tcp", 80, 23)
        w = Weir(lab, lab.dut)
        w.run(policy(rules=RULES.replace("ban: 4s", "ban: 2s")))
        Probe(lab.client, "tcp", lab.DUT[4], 23, src=OTHER[4]).close()
        deadline = time.monotonic() + PATIENCE
        while OTHER[4] not in banned(w) and time.monotonic() < deadline:
            pass
        while banned(w) and time.monotonic() < deadline:
            pass
        r = w("ban", "remove", OTHER[4], check=False)
        check(r.returncode == 1 and "not banned" in r.stderr, f"one that has ended: {r.returncode} {r.stdout}{r.stderr}")
        w.apply(w.write(policy(rules=RULES.replace("ban: 4s", "ban: 1h"))))
        Probe(lab.client, "tcp", lab.DUT[6], 23, src=OTHER[6]).close()
        deadline = time.monotonic() + PATIENCE
        while not banned(w) and time.monotonic() < deadline:
            pass
        equal(w("ban", "remove", OTHER[6]).stdout, "fd01:0:0:1::/64 is not banned any more\n", "what is lifted")
        equal(banned(w), {}, "after the removal")


def test_a_narrow_ban_within_a_wide_one():
    """The narrow one ends first: the wide one holds, with the daemon dead; taken away in time it does not."""
    wide, narrow, alone = "10.1.0.64/28", "10.1.0.66", "10.1.0.99"
    for order in ((wide, narrow), (narrow, wide)):
        for removed in (False, True):
            with Router() as lab:
                lab.alias(lab.client, "cl0", f"{narrow}/24", f"{alone}/24")
                d = Listener(lab, lab.dut, "udp", 80, answer=False)
                f = Listener(lab, lab.dut, "udp", 9999)
                w = Weir(lab, lab.dut)
                w.run(policy())
                for addr in order:
                    w("ban", "add", addr, *([] if addr == wide else ["--for", "3s"]))
                if removed:
                    w("ban", "remove", wide)
                w("ban", "add", alone, "--for", "3s")  # is heard again when the narrow one has ended
                w.kill()
                s = {}
                for src in (narrow, alone):
                    with lab.client:
                        s[src] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    s[src].bind((src, 0))
                deadline = time.monotonic() + PATIENCE
                while b"alone" not in d.payloads(80) and time.monotonic() < deadline:
                    s[alone].sendto(b"alone", (lab.DUT[4], 80))
                must(b"alone" in d.payloads(80), "a ban that stands alone did not end")
                s[narrow].sendto(b"narrow", (lab.DUT[4], 80))
                must(fence_from(lab, lab.CLIENT[4], lab.DUT[4], f), "fence")
                equal(b"narrow" in d.payloads(80), removed, f"added {order}, wide one removed: {removed}; heard")


def test_limit():
    """Above the limit: banned, at TC and early at XDP; the failsafe is not."""
    for xdp in ("off", "generic"):
        with Router() as lab:
            two_clients(lab)
            d = Listener(lab, lab.dut, "udp", 80, 22, answer=False)
            w = Weir(lab, lab.dut)
            w.run(policy(extra="limits: [ { name: flood, per: source, count: packets, rate: 10/s, burst: 50, action: ban, "
                               "ban: 3s } ]\n"
                               "failsafe: [ { name: mgmt, direction: inbound, protocol: udp, ports: 22, from: 10.1.0.0/24 } ]\n"
                               f"interfaces: {{ in0: {{ xdp: {xdp} }} }}\n"))
            s = {}
            for src in (lab.CLIENT[4], OTHER[4]):
                with lab.client:
                    s[src] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s[src].bind((src, 0))
            heavy, calm = s[lab.CLIENT[4]], s[OTHER[4]]
            for i in range(100):
                heavy.sendto(b"flood", (lab.DUT[4], 80))
            check("10.1.0.2" in banned(w), f"{xdp}: {banned(w)}")
            before = len(d.payloads(80))
            check(45 <= before <= 60, f"{xdp}: {before} passed of a burst of 50")
            heavy.sendto(b"management", (lab.DUT[4], 22))
            check(d.wait(b"management"), f"{xdp}: the failsafe was stopped by a ban")
            calm.sendto(b"calm", (lab.DUT[4], 80))
            check(d.wait(b"calm"), f"{xdp}: another was banned")
            start = time.monotonic()
            while time.monotonic() < start + 2:  # a bucket would have given 20 by now
                time.sleep(0.3)
                heavy.sendto(b"again", (lab.DUT[4], 80))
            calm.sendto(b"calm2", (lab.DUT[4], 80))
            must(d.wait(b"calm2"), f"{xdp}: the calm one is lost")
            check(b"again" not in d.payloads(80), f"{xdp}: a banned source was heard")
            deadline = time.monotonic() + PATIENCE
            heard = False
            while not heard and time.monotonic() < deadline:
                heavy.sendto(b"later", (lab.DUT[4], 80))
                heard = d.wait(b"later", 0.3)
            check(heard, f"{xdp}: the ban never ended")


def test_the_host_itself_and_its_neighbours():
    """Forged sources ban none of this host's addresses, nor the networks that it is in; a stranger's /64 they do."""
    with Router() as lab:
        two_clients(lab)
        Listener(lab, lab.server, "udp", 80)
        w = Weir(lab, lab.dut)
        w.run(policy(rules=RULES.replace("ports: 23, ban: 4s", "protocol: udp, ports: 23, ban: 1h")))
        lab.dut.ip("addr", "add", "fd07::1/64", "dev", "out0", "nodad")  # an address that came later
        wire = Wire(lab, lab.client, "cl0", sniff=False)
        ether = sp.Ether(src=wire.mac, dst=lab.dut.mac("in0"))
        spared = ["::", "::1", "::5", "ff02::1", "fd01::1", "fd02::1", "fd01::", "fe80::", "10.1.0.1", "10.2.0.1", "0.0.0.0", "127.0.0.1",
                  "224.0.0.1", "255.255.255.255"]
        alone = {"fd01::666": "fd01::666", "fd02::99": "fd02::99", "fe80::dead": "fe80::dead", "10.1.0.66": "10.1.0.66",
                 "fd01:0:0:1::5": "fd01:0:0:1::/64", "2001:db8::1": "2001:db8::/64"}
        ports = iter(range(1024, 60000))

        def knock(src):
            ip = sp.IPv6(src=src, dst=lab.DUT[6]) if ":" in src else sp.IP(src=src, dst=lab.DUT[4])
            wire.send(bytes(ether / ip / sp.UDP(sport=next(ports), dport=23) / b"x"))
        deadline = time.monotonic() + PATIENCE
        while "fd07::7" not in banned(w) and time.monotonic() < deadline:
            knock("fd07::7")
            w("ban", "remove", "fd07::/64", check=False)
        for src in [*spared, *alone]:
            knock(src)
        while not set(alone.values()) <= set(banned(w)) and time.monotonic() < deadline:
            pass
        equal(set(banned(w)), {*alone.values(), "fd07::7"}, "who is banned")
        equal(ask(lab.client, "udp", lab.SERVER[6], 80, src=lab.CLIENT[6]), "open", "a neighbour of one that is banned")
        w("ban", "remove", "fd01::666")
        check("fd01::666" not in banned(w), "a single address was not taken out")


def test_more_addresses_than_can_be_spared():
    """Who has more of them than the programs keep is told so, and no more when they are gone."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        w.run(policy())
        text = "".join(f"addr {{}} 10.64.{i >> 8}.{i & 255}/32 dev out0\n" for i in range(4200))
        for word, want in (("add", True), ("del", False)):
            subprocess.run(lab.dut.argv("ip", "-batch", "-"), input=text.replace("{}", word), text=True, check=True)
            deadline = time.monotonic() + PATIENCE
            while ("may hit" in str(w.status()["degraded"])) != want:
                must(time.monotonic() < deadline, f"addr {word}: told: {not want}")
                time.sleep(0.1)


def test_detect_bans_nobody():
    for mode, rules in (("detect", RULES), ("prevent", RULES.replace("ban: 4s", "ban: 1h, mode: detect"))):
        with Router() as lab:
            d = Listener(lab, lab.dut, "tcp", 80, 23)
            w = Weir(lab, lab.dut)
            w.run(policy(mode, rules))
            for port in (23, 80, 23, 80):
                equal(ask(lab.client, "tcp", lab.DUT[4], port), "open", f"{mode}: port {port}")
            equal(banned(w), {}, f"{mode}: bans")
            check(any(e.get("log") == "trap" for e in w.records("events")), f"{mode}: no event: {w.records('events')[-3:]}")


def test_own_traffic_bans_nobody():
    """A trap without a direction: what this host opens is no one else's fault."""
    with Router() as lab:
        Listener(lab, lab.server, "tcp", 80, 23)
        w = Weir(lab, lab.dut)
        w.run(policy(rules=RULES.replace("direction: [inbound, forward], ", "")))
        for port in (23, 80):
            equal(ask(lab.dut, "tcp", lab.SERVER[4], port), "open", f"outbound {port}")
        equal(banned(w), {}, "bans")


def test_bounded():
    """Forged sources cannot fill the table against a person's ban, nor end the own connections."""
    from test_limits import Forged
    with Router() as lab:
        d = Listener(lab, lab.dut, "tcp", 80)
        lab.dut.ip("route", "add", "blackhole", "198.18.0.0/15")
        w = Weir(lab, lab.dut)
        w.run(policy())
        live = Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(live.wait() == "open", "no connection")
        forged = Forged(lab, dport=23)
        forged.send(long_or(60000, 20000))
        n = len(banned(w))
        check(1000 < n <= 16384, f"{n} bans")
        w("ban", "add", "10.1.0.99", "--for", "1h")
        check("10.1.0.99" in banned(w), "a person's ban has no room")
        live.s.send(b"alive")
        check(d.wait(b"alive"), "a live connection was lost")
        live.close()


if __name__ == "__main__":
    main(globals())
