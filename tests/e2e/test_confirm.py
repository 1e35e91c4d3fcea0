#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Nobody locks himself out: over a real ssh session, a change that would cut it is refused, and one that is forced goes
back by itself, whoever of weir is still alive."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.ssh import Shell, Sshd

CONSOLE = "failsafe: [ { name: sshd, remove: true } ]"
FENCE = "- { name: fence, action: allow, protocol: udp, ports: 9999 }\n"
SSH = FENCE + "- { name: ssh, action: allow, direction: inbound, protocol: tcp, ports: 22 }\n"
OPEN = Policy.text(SSH + "- { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }", extra=CONSOLE)
CUT = Policy.text(FENCE, extra=CONSOLE)
NO_NEW = Policy.text(FENCE, extra=CONSOLE + "\nflows: { established: keep }")
FORCED = ("--force", "--i-have-console")


def slow(seconds):
    """A time to confirm in which a test does something: as much longer as the machine is slower."""
    return f"{int(seconds * SLOW)}s"


class Host:
    """The dut with sshd and weir, and what is typed into a session there."""

    def __init__(self, lab, policy=OPEN):
        self.lab = lab
        self.sshd = Sshd(lab, lab.dut)
        self.weir = Weir(lab, lab.dut)
        self.weir.run(policy)
        self.env = {k: v for k, v in self.weir.env.items() if k.startswith("WEIR_") or k == "NO_COLOR"}

    def shell(self, v=4, tty=False):
        return Shell(self.sshd, self.lab.client, self.lab.DUT[v], tty=tty, env=self.env)

    def write(self, policy):
        return self.weir.write(policy)

    def generation(self):
        return self.weir.json("status", check=False)["generation"]

    def waits(self):
        return self.weir.json("status", check=False).get("pending")

    def wait_back(self, generation, seconds=PATIENCE):
        """It has gone back, as the history tells it."""
        deadline = time.monotonic() + seconds
        while self.state(generation) == "waits for its confirmation":
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return self.state(generation) == "went back by itself"

    def state(self, generation):
        return next((g["state"] for g in self.weir.json("history")["generations"] if g["generation"] == generation), None)

    def pids(self):
        """Every process of this weir."""
        out = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.path.realpath(f"/proc/{pid}/exe") == os.path.realpath(BIN) and \
                        os.stat(f"/proc/{pid}/ns/net").st_ino == os.fstat(self.lab.dut.fd).st_ino:
                    out.append(int(pid))
            except OSError:
                pass
        return out

    def signal_all(self, sig):
        while pids := self.pids():
            for pid in pids:
                try:
                    os.kill(pid, sig)
                except ProcessLookupError:
                    pass
            if sig != signal.SIGKILL:
                return
            self.weir.daemon.wait(PATIENCE)


def test_what_cuts_the_session_is_refused():
    with Router() as lab:
        h = Host(lab)
        cut, no_new, same = h.write(CUT), h.write(NO_NEW), h.write(OPEN)
        ways = [("", 4), ("", 6)]
        if shutil.which("sudo"):
            ways.append(("sudo -n --preserve-env=" + ",".join(h.env) + " ", 4))
        else:
            print("# sudo is not installed: not tried through it")
        for prefix, v in ways:
            shell, before = h.shell(v), h.generation()
            who = f"ssh from {lab.CLIENT[v]}"
            for path, words in ((cut, f"this would cut your session ({who})"),
                                (no_new, f"your session ({who}) would stay, but a new connection")):
                for how in ("--no-confirm", "--confirm 60s"):
                    status, text = shell.run(f"{prefix}{BIN} apply {path} --i-have-console {how}")
                    check(status == 1 and words in text and "default inbound" in text and "--force" in text,
                          f"v{v} {prefix}{how}: exit {status}: {text}")
            status, text = shell.run(f"{prefix}{BIN} apply {same} --i-have-console")
            check(status == 1 and "--confirm" in text and "--no-confirm" in text, f"without a terminal: {status} {text}")
            for edit in ("rule add --action drop --port 22 --proto tcp", f"ban add {lab.CLIENT[v]}",
                         f"rule add --action reject --src {lab.CLIENT[v]}"):
                status, text = shell.run(f"{prefix}{BIN} {edit}")
                check(status == 1 and f"cut your session ({who})" in text, f"v{v} {prefix}{edit}: exit {status}: {text}")
            equal(h.generation(), before, "the generation in force")
            status, text = shell.run(f"{prefix}{BIN} apply {same} --i-have-console --no-confirm")
            check(status == 0 and "stays" in text and "would be allowed by rule 'ssh'" in text, f"{status} {text}")
            check(shell.echoes(), f"v{v} {prefix}: the session lives")
            shell.close()


def test_the_failsafe_lets_in_who_is_logged_in():
    with Router() as lab:
        h = Host(lab)
        shell = h.shell()
        status, text = shell.run(f"{BIN} apply {h.write(Policy.text())} --no-confirm")
        check(status == 0 and "a new login from there would be allowed by failsafe 'sshd'" in text, f"{status}: {text}")
        check(shell.echoes(), "the session was cut")
        check(h.shell().echoes(), "no new session")


def said(h):
    """What the apply of the round printed: nobody at the other end of the session can read it."""
    try:
        with open(f"{h.weir.dir}/said") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def go_back_round(h, sig, out):
    """Cut oneself off and be let in again. Notes for how long nothing came, counted from the last look at which the
    apply had not yet said that it is in force."""
    shell = h.shell()
    path = h.write(CUT)
    fences = Listener(h.lab, h.lab.dut, "udp", 9999)
    start = time.monotonic()
    # the answer cannot come back: what is asked next is the next thing that is heard
    shell.type(f"{BIN} apply {path} {' '.join(FORCED)} --confirm 5s > {h.weir.dir}/said 2>&1\n")
    cut = start
    while "goes back to generation" not in said(h):  # as long as the old policy is in force
        must(time.monotonic() < start + PATIENCE, f"not in force: {said(h)}")
        cut = time.monotonic()
        time.sleep(0.02)
    if sig:
        h.signal_all(sig)
    must(fence(h.lab.client, h.lab.DUT[4], fences, 9999), "fence")
    early = shell.echoes(1.0)
    back = shell.wait("there-2-and-back") if not early else None
    out.append((sig, early, time.monotonic() - cut if back else None, cut - start))
    if sig == signal.SIGSTOP:
        h.signal_all(signal.SIGCONT)


def test_it_goes_back_by_itself():
    """5 s to go, from when it is in force: new bytes within twice that time, whoever of weir lives. TCP asks again after
    twice the time each time; how long the machine stood still meanwhile is no time of weir's."""
    rounds = long_or(20, 2)
    variants = [None, signal.SIGKILL, signal.SIGSTOP]
    for n in range(rounds):
        labs, out, threads = [Router() for _ in variants], [], []
        try:
            hosts = [Host(lab) for lab in labs]
            for lab in labs:
                Listener(lab, lab.dut, "tcp", 80)
            for h, sig in zip(hosts, variants):
                threads.append(threading.Thread(target=go_back_round, args=(h, sig, out)))
                threads[-1].start()
            with Stalls() as stalls:
                for t in threads:
                    t.join()
            equal(len(out), len(variants), f"round {n}: rounds that came to their end")
            for sig, early, seconds, cut in out:
                name = f"round {n}, {sig.name if sig else 'weir alive'}"
                check(not early, f"{name}: the session was not cut")
                if check(seconds is not None, f"{name}: no new bytes, in force after {cut:.1f} s"):
                    check(seconds <= 10.0 + stalls.total, f"{name}: new bytes after {seconds:.1f} s; stood still {stalls.total:.1f} s")
                    print(f"| {name}: new bytes after {seconds:.1f} s of a deadline of 5 s; the machine stood still {stalls.total:.1f} s")
            alive = hosts[0]
            check(alive.wait_back(2), f"round {n}: the history says {alive.state(2)}")
            check(alive.weir.status()["generation"] == 1, "generation 1 is in force again")
        finally:
            for lab in labs:
                lab.close()


def test_who_is_let_in_meanwhile():
    with Router() as lab:
        h = Host(lab)
        path = h.write(OPEN)
        shell = h.shell()
        for new, words in ((False, "no new login was seen"), (True, "a new login from where you are")):
            status, text = shell.run(f"{BIN} apply {path} --i-have-console --confirm 60s")
            check(status == 0 and "in force now; goes back to generation" in text and "weir confirm" in text,
                  f"apply: {status}: {text}")
            check("goes back to generation" in h.weir("status", check=False).stdout, "status names what waits")
            if new:
                check(h.shell().echoes(), "a new login")
            status, text = shell.run(f"{BIN} confirm")
            check(status == 0 and words in text, f"confirm: {status}: {text}")
        status, text = shell.run(f"{BIN} confirm")
        check(status == 1 and "nothing waits" in text, f"a second confirm: {status}: {text}")


def test_on_a_terminal():
    """Enter keeps it, Ctrl-C goes back, and whoever loses his terminal has decided nothing."""
    with Router() as lab:
        h = Host(lab)
        path = h.write(OPEN)
        shell = h.shell(tty=True)
        for key, state in (("\n", "in force"), ("\x03", "rolled back")):
            before, start = h.generation(), len(shell.heard)
            shell.type(f"{BIN} apply {path} --i-have-console\n")
            must(shell.wait(r"goes back to generation \d+ in 0[12]:\d\d.*Enter keeps it", start=start),
                 f"no countdown: {shell.heard[start:]}")
            shell.type(key)
            must(shell.wait(r"generation \d+ (stays in force|is in force again)", start=start), shell.heard[start:])
            equal(h.state(before + 1), state, f"after {key!r}")
            equal(h.waits(), None, f"what waits after {key!r}")
            shell.type("\n")
        start, before = len(shell.heard), h.generation()
        shell.type(f"{BIN} apply {path} --i-have-console --confirm {slow(4)}\n")
        must(shell.wait("Enter keeps it", start=start), shell.heard[start:])
        shell.hang_up()
        last = max(g["generation"] for g in h.weir.json("history")["generations"])
        check(h.waits() or h.state(last) == "went back by itself", "a closed terminal decided")
        check(h.wait_back(last), f"after a closed terminal: {h.state(last)}")
        equal(h.generation(), before, "the generation in force")


def test_replace_and_edits():
    with Router() as lab:
        w = Weir(lab, lab.dut)
        tcp = Listener(lab, lab.dut, "tcp", 80, 81, 82, 83)
        udp = Listener(lab, lab.dut, "udp", 9999)

        def allows(port):
            return Policy.text(FENCE + f"- {{ name: one, action: allow, protocol: tcp, ports: {port} }}")

        def opens(port, want, what):
            equal(ask(lab.client, "tcp", lab.DUT[4], port, timeout=PATIENCE if want else 0.5) == "open", want, f"{what}: port {port}")

        w.run(allows(80))
        opens(80, True, "at first")
        w("apply", w.write(allows(81)), "--confirm", "300s")
        opens(81, True, "unconfirmed")
        p = w("apply", w.write(allows(82)), "--confirm", "300s", check=False)
        check(p.returncode == 1 and "--replace" in p.stderr, f"a second apply: {p.returncode} {p.stderr}")
        p = w("mode", "detect", check=False)
        check(p.returncode == 1 and "waits" in p.stderr, f"mode while one waits: {p.returncode} {p.stderr}")
        w("rule", "add", "--port", "83", "--proto", "tcp", "--action", "allow")
        w("apply", w.write(allows(82)), "--confirm", slow(6), "--replace")
        for port, want in ((80, False), (81, False), (82, True), (83, True)):
            opens(port, want, "replaced")
        w("ban", "add", "192.0.2.1")
        deadline = time.monotonic() + PATIENCE
        while w.json("status", check=False).get("pending") and time.monotonic() < deadline:
            time.sleep(0.05)
        for port, want in ((80, True), (81, False), (82, False), (83, True)):
            opens(port, want, "gone back to the first")
        equal(w.json("status", check=False)["generation"], 1, "the generation in force")
        states = {g["generation"]: g["state"] for g in w.json("history")["generations"]}
        equal(states, {1: "in force", 2: "never confirmed", 3: "went back by itself"}, "the history")
        w("apply", w.write(allows(81)), "--no-confirm")
        w("rollback")
        opens(80, True, "rolled back")
        w("rollback", "4", "--confirm", "60s")
        opens(81, True, "rolled back to a number")
        w("rollback")
        opens(80, True, "taken back")
        with open(f"{w.state}/generation-4.yaml", "w") as f:
            f.write("version: 1\nmode:")
        p = w("rollback", "4", check=False)
        check(p.returncode == 1 and "generation 4 does not check" in p.stderr, f"a damaged text: {p.stderr}")
        check(tcp and udp, "")


def test_reject_waits_too():
    """Until it is confirmed a denial is only silence for what is older, so that nothing is lost when it goes back."""
    with Router() as lab:
        tcp = Listener(lab, lab.dut, "tcp", 80)
        w = Weir(lab, lab.dut)
        w.run(Policy.text("- { name: web, action: allow, direction: inbound, ports: 80 }"))
        rejects = w.write(Policy.text("- { name: no web, action: reject, direction: inbound, ports: 80 }"))
        live = Probe(lab.client, "tcp", lab.DUT[4], 80)
        equal(live.wait(), "open", "before")
        w("apply", rejects, "--confirm", slow(4))
        t = token("waits")
        live.s.send(t)
        equal(ask(lab.client, "tcp", lab.DUT[4], 80), "refused", "a new connection")
        check(not tcp.payloads(80).count(t), "what is denied was delivered")
        check(tcp.wait(t), "the older connection did not outlive the change")
        w("apply", rejects, "--confirm", "60s")
        w("confirm")
        live.s.send(b"again")
        live.s.settimeout(PATIENCE)
        try:
            while live.s.recv(2000):
                pass
            check(False, "the end of the connection is no reset")
        except ConnectionResetError:
            pass
        except socket.timeout:
            check(False, "confirmed, and still no reset")


def test_kill_waits_for_the_confirmation():
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80, 81)
        w = Weir(lab, lab.dut)
        w.run(Policy.text("- { name: web, action: allow, direction: inbound, ports: [80, 81] }"))
        kills = w.write(Policy.text("- { name: web, action: allow, direction: inbound, ports: 81 }",
                                    extra="flows: { established: kill }"))
        gone, stays = [Probe(lab.client, "tcp", lab.DUT[4], port) for port in (80, 81)]
        equal([gone.wait(), stays.wait()], ["open", "open"], "before")
        w("apply", kills, "--confirm", "60s")

        def sockets():
            return sum(":80" in x.split()[3] for x in lab.dut.sh("ss", "-tnH", "state", "established").stdout.splitlines()
                       if len(x.split()) > 3) + sum(x.split()[2].endswith(":80") for x in
                                                    lab.dut.sh("ss", "-tnH", "state", "established").stdout.splitlines())

        equal(sockets(), 1, "unconfirmed: sockets at port 80")
        text = w("confirm").stdout
        check("1 conversation that it denies was ended" in text, f"confirm says: {text}")
        equal(sockets(), 0, "confirmed: sockets at port 80")
        equal(stays.s.send(b"on"), 2, "the one that is allowed")
        with open(f"{w.log}/audit.log") as f:
            check("conversation ended" in f.read(), "no record of it")


def test_a_start_goes_on_waiting():
    """Who starts weir again has confirmed nothing: the change still goes back, at its old deadline."""
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80)
        h = Host(lab)
        w, closed = h.weir, h.write(CUT)
        ends = [lambda: h.signal_all(signal.SIGKILL), w.stop]
        for n, end in enumerate(long_or(ends, ends[:1]), 2):
            w("apply", closed, "--confirm", slow(10), "--i-have-console")
            end()
            w.run()
            waits = h.waits()
            if check(waits, f"after {n - 1} starts nothing waits"):
                equal((waits["generation"], waits["back"]), (n, 1), "what waits")
            check(h.wait_back(n, 2 * PATIENCE), f"the history says {h.state(n)}")
            equal(ask(lab.client, "tcp", lab.DUT[4], 80), "open", "gone back: port 80")
            equal(h.generation(), 1, "the generation in force")


def test_an_edit_does_not_undo_a_decision():
    """What a command decided in the kernel while weir hung stays decided, whatever weir was about to do, or had been asked."""
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80)
        h = Host(lab)
        w, closed = h.weir, h.write(CUT)
        for command, word in (("rollback", "open"), ("confirm", "silence")):
            w("apply", closed, "--confirm", "120s", "--i-have-console")
            keeper = next(p["pid"] for p in w.status()["processes"]["list"] if p["name"] == "keeper")
            os.kill(keeper, signal.SIGSTOP)
            edit = subprocess.Popen(w.ns.argv(BIN, "rule", "add", "--port", "99", "--proto", "tcp", "--action", "allow", "--force"),
                                    env=w.env, stdout=subprocess.DEVNULL)
            p = w(command, check=False)
            os.kill(keeper, signal.SIGCONT)
            check(p.returncode == 0 and "decided in the kernel" in p.stdout, f"{command}: {p.stdout}{p.stderr}")
            equal(edit.wait(PATIENCE), 0, "the edit")
            equal(ask(lab.client, "tcp", lab.DUT[4], 80, timeout=PATIENCE if word == "open" else 0.5), word, f"{command}: port 80")
            equal(h.waits(), None, f"{command}: what waits")
            w("rule", "clear")


def test_without_a_daemon():
    """confirm and rollback decide in the kernel, by themselves, when every process of weir is dead or hangs."""
    with Router() as lab:
        Listener(lab, lab.dut, "tcp", 80)
        fences = Listener(lab, lab.dut, "udp", 9999)
        h = Host(lab, Policy.text(FENCE + "- { name: web, action: allow, protocol: tcp, ports: 80 }", extra=CONSOLE))
        w = h.weir
        closed = w.write(CUT)
        generation = 1
        for sig in (signal.SIGSTOP, signal.SIGKILL):
            for command, opened in (("rollback", True), ("confirm", False)):
                w("apply", closed, "--confirm", "120s", "--i-have-console")
                generation += 1
                h.signal_all(sig)
                if sig == signal.SIGKILL:
                    p = w("status", check=False)
                    check(p.returncode == 4 and "goes back to generation" in p.stdout, f"status: {p.returncode} {p.stdout}")
                p = w(command, check=False)
                check(p.returncode == 0 and ("not running" if sig == signal.SIGKILL else "does not answer") in p.stdout,
                      f"{sig.name} {command}: {p.returncode} {p.stdout}{p.stderr}")
                probe = Probe(lab.client, "tcp", lab.DUT[4], 80)
                must(fence(lab.client, lab.DUT[4], fences, 9999), "fence")
                equal(probe.wait(PATIENCE if opened else 1) == "open", opened, f"{sig.name} {command}: port 80")
                probe.close()
                equal(w(command, check=False).returncode, 1, f"{sig.name}: a second {command}")
                if sig == signal.SIGSTOP:
                    h.signal_all(signal.SIGCONT)
                else:
                    w.run()
                deadline = time.monotonic() + PATIENCE
                want = "rolled back" if opened else "in force"
                while h.state(generation) not in (want, "went back by itself") and time.monotonic() < deadline:
                    time.sleep(0.05)
                check(h.state(generation) in ((want, "went back by itself") if opened else (want,)),
                      f"{sig.name} {command}: the history says {h.state(generation)}")
                if not opened:
                    w("rollback", "1", "--no-confirm", "--i-have-console")
                    generation += 1


if __name__ == "__main__":
    main(globals())
