#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rules that hold at a time of day, in local time: a window that opens and one that closes while nobody of weir is alive,
because summer time begins or ends."""
import os
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403


def zone(change_in, summer=True):
    """A TZ in which the clock goes an hour forward (or back) in so many seconds from now; UTC before that."""
    at = int(time.time()) + change_in
    t = time.gmtime(at)
    if not summer:  # back to standard time: the rule counts in the summer time that ends
        t = time.gmtime(at)
        return (f"WWW1SSS0,{time.gmtime(at - 100 * 86400).tm_yday - 1}/00:00:00,"
                f"{t.tm_yday - 1}/{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}")
    end = time.gmtime(at + 100 * 86400)
    return f"WWW0SSS-1,{t.tm_yday - 1}/{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02},{end.tm_yday - 1}/00:00:00"


def clock(offset_s):
    return time.strftime("%H:%M", time.gmtime(time.time() + offset_s))


def policy(rules, mode="prevent"):
    return Policy.text("- { name: fence, action: allow, protocol: udp, ports: 9999 }\n" +
                       "".join(f"- {{ {r}, direction: inbound }}\n" for r in rules), mode=mode, inbound="drop")


def run_in(tz, lab, text, **env):
    w = Weir(lab, lab.dut)
    w.env.update(env, TZ=tz)
    w.run(text)
    return w


def test_now_and_not_now():
    """Windows around now, beside it, over midnight, on other days; negated; and detect."""
    day = time.strftime("%a", time.gmtime()).lower()
    other = time.strftime("%a", time.gmtime(time.time() + 3 * 86400)).lower()
    around = f"{clock(-7200)}-{clock(7200)}"
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80, 81, 82, 83, 84, 85)
        f = Listener(lab, lab.dut, "udp", 9999)
        run_in("UTC0", lab, policy([f'name: around, action: allow, ports: 80, time: "{around}"',
                                    f'name: later, action: allow, ports: 81, time: "{clock(7200)}-{clock(14400)}"',
                                    f'name: today, action: allow, ports: 82, time: [{other}, "{day}"]',
                                    f'name: other day, action: allow, ports: 83, time: {other}',
                                    f'name: not now, action: allow, ports: 84, not: {{ time: "{around}" }}',
                                    f'name: not later, action: allow, ports: 85, not: {{ time: {other} }}']))
        for port, opens in ((80, True), (81, False), (82, True), (83, False), (84, False), (85, True)):
            if opens:
                equal(ask(lab.client, "tcp", lab.DUT[4], port), "open", f"port {port}")
            else:
                p = Probe(lab.client, "tcp", lab.DUT[4], port)
                must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
                check(p.quiet(), f"port {port} answered")
                p.close()


def test_explain_names_what_holds_at_other_times():
    with Router() as lab:
        w = Weir(lab, lab.dut)
        path = w.write(policy(['name: hours, action: allow, ports: 80, time: "mon-fri 08:00-18:00"',
                               'name: nights, action: allow, ports: 81, not: { time: "08:00-18:00" }']))
        for port, at, hint in ((80, "sat 10:00", "'hours'"), (80, "mon 10:00", ""), (81, "mon 10:00", "'nights'"),
                               (82, "sat 10:00", "")):
            text = w("explain", path, "--packet", f"tcp 10.0.0.1:4000 > 10.0.0.2:{port} inbound at {at}").stdout
            said = [line for line in text.splitlines() if "not at this time" in line]
            equal((len(said), all(hint in line for line in said)), (bool(hint), True), f"port {port} at {at}:\n{text}")


def test_summer_time_with_the_daemon_dead():
    """The hour jumps under a dead daemon: one window opens, one closes; what began in the old one goes on."""
    for summer in (True, False):
        with Router() as lab:
            d = Listener(lab, lab.dut, "tcp", 80, 81)
            f = Listener(lab, lab.dut, "udp", 9999)
            wait = 12 if summer else 12
            begun = time.time()
            jump = 3600 if summer else -3600
            w = run_in(zone(wait, summer), lab, policy([
                f'name: old, action: allow, ports: 80, time: "{clock(-1200)}-{clock(1200)}"',
                f'name: new, action: allow, ports: 81, time: "{clock(jump - 1200)}-{clock(jump + 1200)}"']))
            if time.time() > begun + wait - 3:
                print("# too slow a machine to see the time before the change")
                continue
            old = Probe(lab.client, "tcp", lab.DUT[4], 80)
            equal(old.wait(), "open", f"summer {summer}: the old window before the change")
            p = Probe(lab.client, "tcp", lab.DUT[4], 81)
            must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
            check(p.quiet(), f"summer {summer}: the new window was open before the change")
            w.kill()
            equal(p.wait(PATIENCE + wait), "open", f"summer {summer}: the new window after the change")
            check(time.time() >= begun + wait - 1, f"summer {summer}: it opened after {time.time() - begun:.1f} s")
            q = Probe(lab.client, "tcp", lab.DUT[4], 80)
            must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
            check(q.quiet(), f"summer {summer}: the old window is open after the change")
            old.s.send(b"still talking")
            check(d.wait(b"still talking"), f"summer {summer}: a connection that began in time was cut")


def told(w):
    """What the programs take the time for, as status says it."""
    j = w.json("status", check=False)
    return j.get("clock") or j["health"].get("clock") or {}


def test_a_clock_that_is_set():
    """The daemon tells the programs within a second or so; a dead one does not, and status says what they go by."""
    if not os.environ.get("WEIR_SKEW_LIB"):
        raise Skip("the clock that can be set was not built")
    with Router() as lab:
        fd, skew = tempfile.mkstemp()
        lab.on_close(lambda: (os.close(fd), os.unlink(skew)))
        os.fchmod(fd, 0o644)

        def set_clock(seconds):
            os.pwrite(fd, struct.pack("q", seconds), 0)

        set_clock(0)
        Listener(lab, lab.dut, "tcp", 80, 81)
        f = Listener(lab, lab.dut, "udp", 9999)
        later = 5 * 3600
        w = run_in("UTC0", lab, policy([
            f'name: now, action: allow, ports: 80, time: "{clock(-1200)}-{clock(1200)}"',
            f'name: later, action: allow, ports: 81, time: "{clock(later - 1200)}-{clock(later + 1200)}"']),
            LD_PRELOAD=os.environ["WEIR_SKEW_LIB"], WEIR_SKEW=skew)
        equal(ask(lab.client, "tcp", lab.DUT[4], 80), "open", "the window of now")
        p = Probe(lab.client, "tcp", lab.DUT[4], 81)
        must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
        check(p.quiet(), "the later window was open")
        before = told(w)["local"]
        check(told(w)["ahead_s"] > 390 * 86400, f"known for {told(w)['ahead_s']} s")
        set_clock(later)
        equal(p.wait(PATIENCE), "open", "the later window after the clock was set")
        check(told(w)["local"] != before, f"status still says {before}")
        q = Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
        check(q.quiet(), "the window of before is open after the clock was set")
        w.kill()
        said = told(w)["local"]
        set_clock(0)
        equal(ask(lab.client, "tcp", lab.DUT[4], 81), "open", "the daemon is dead, nobody noticed the clock")
        check(said[:6] == told(w)["local"][:6] and said != before, f"{before}, {said}, {told(w)['local']}")


def test_a_zone_with_a_name():
    """Zones come from files, in a process that may read little."""
    if not os.path.exists("/usr/share/zoneinfo/Asia/Kathmandu"):
        raise Skip("no zoneinfo here")
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80)
        at = 5 * 3600 + 45 * 60
        w = run_in("Asia/Kathmandu", lab, policy([
            f'name: web, action: allow, ports: 80, time: "{clock(at - 1200)}-{clock(at + 1200)}"']))
        equal(ask(lab.client, "tcp", lab.DUT[4], 80), "open", "a window in the time of Nepal")
        check("the programs" not in str(w.status()["degraded"]), "degraded")


def test_what_changed():
    """Other windows are another rule; the same ones at another place of the image are not."""
    with Router() as lab:
        w = run_in("UTC0", lab, policy(['name: a, action: allow, ports: 80, time: "mon-fri 08:00-18:00"']))
        said = w.apply(policy(['name: a, action: allow, ports: 80, time: "mon-fri 08:00-19:00"'])).stdout
        check("+1 rule, -1 rule" in said, said)
        said = w.apply(policy(['name: b, action: allow, ports: 81, time: sat',
                               'name: a, action: allow, ports: 80, time: "mon-fri 08:00-19:00"'])).stdout
        check("+1 rule, -0 rules" in said, said)


def test_policy_change():
    """What began in its time outlives a change of the policy, unless recheck_unknown: drop."""
    for word, lives in (("keep", True), ("drop", False)):
        with Router() as lab:
            d = Listener(lab, lab.dut, "tcp", 80)
            f = Listener(lab, lab.dut, "udp", 9999)
            def text(extra):
                return policy([f'name: web, action: allow, ports: 80, time: "{clock(-7200)}-{clock(7200)}"'] + extra) + \
                    f"flows: {{ recheck_unknown: {word} }}\n"
            w = run_in("UTC0", lab, text([]))
            p = Probe(lab.client, "tcp", lab.DUT[4], 80)
            must(p.wait() == "open", "no connection")
            w.apply(text(["name: more, action: allow, ports: 81"]))
            p.s.send(b"after the change")
            if lives:
                check(d.wait(b"after the change"), "keep: cut")
            else:
                must(fence(lab.client, lab.DUT[4], f, 9999), "fence")
                check(b"after the change" not in d.payloads(), "drop: heard")


if __name__ == "__main__":
    main(globals())
