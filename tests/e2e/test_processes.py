#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Keeper, worker and helper: what each may do, that each may die, and that the keeper listens to no nonsense."""
import array
import atexit
import ctypes
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.weir import BIN

POLICY = Policy.text("""
- { name: control, action: allow, protocol: udp, ports: 9999 }
""", inbound="drop", forward="drop")
HELLO, PING, READY, INSTALL, IMAGE = 1, 2, 3, 6, 7
CAP_BPF_NET_PERF = 1 << 39 | 1 << 38 | 1 << 12


def setup(lab, *args):
    heard = Listener(lab, lab.dut, "udp", 80, 9999, answer=False)
    w = Weir(lab, lab.dut)
    w.run(POLICY, *args)
    flood = Flood(lab, lab.client, lab.DUT[4], 80, b"denied", src_ports=100, every=0.02)
    return heard, w, flood


def denied(heard):
    return [d for _, d in list(heard.got) if d == b"denied"]


def processes(w):
    j = w.json("status", check=False)
    return {p["name"]: p["pid"] for p in j["processes"]["list"]}, j


def status_of(pid):
    return dict(line.rstrip("\n").split(":\t", 1) for line in open(f"/proc/{pid}/status") if ":\t" in line)


def until(what, fn, seconds=60.0):
    deadline = time.monotonic() + seconds * SLOW
    while time.monotonic() < deadline:
        v = fn()
        if v:
            return v
        time.sleep(0.05)
    raise Failed(f"{what}: not in {seconds} s")


def again(w, old, name="worker"):
    """Another one runs and answers."""
    def there():
        now, j = processes(w)
        return (now, j) if now[name] not in (0, old) else None
    return until(f"another {name}", there)


def stands(j):
    return {k: j[k] for k in ("generation", "edit", "mode", "sha256", "path")}


def landlock():
    """Has this kernel Landlock (5.13, and not left out at boot)?"""
    return ctypes.CDLL(None).syscall(444, None, 0, 1) > 0  # landlock_create_ruleset: the version


SLOW_DAEMON = """
import fcntl, os, socket, sys, time
lock = open("lock", "w")
lock.write(f"{os.getpid()}\\n")
lock.flush()
fcntl.lockf(lock, fcntl.LOCK_EX)
s = socket.socket(socket.AF_UNIX)
s.bind("control.sock")
s.listen()
print("ready", flush=True)
c, _ = s.accept()
c.recv(65536)
print("asked", flush=True)
time.sleep(33)
c.send(b'{"ok": true, "result": {"rules": []}}\\n')
c.recv(1)
"""


asked = []  # (was its daemon stopped, who asks it)


def test_a_slow_daemon_is_asked():
    """What becomes of it is seen at the end: its time passes beside that of the other cases."""
    for stop in (False, True):
        d = tempfile.mkdtemp(prefix="weir-e2e-")
        daemon = subprocess.Popen([sys.executable, "-c", SLOW_DAEMON], cwd=d, stdout=subprocess.PIPE, text=True)
        atexit.register(slow_end, d, daemon)
        equal(daemon.stdout.readline(), "ready\n", "the daemon of this test")
        p = subprocess.Popen([BIN, "rule", "list", "--runtime-dir", d], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        equal(daemon.stdout.readline(), "asked\n", "the daemon of this test")
        if stop:
            os.kill(daemon.pid, signal.SIGSTOP)
        asked.append((stop, p))


def slow_end(d, daemon):
    daemon.kill()
    daemon.wait()
    shutil.rmtree(d)


def test_rights():
    with Router() as lab:
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        pids, j = processes(w)
        st = {name: status_of(pid) for name, pid in pids.items()}
        caps = {name: int(s["CapEff"], 16) for name, s in st.items()}
        equal(pids["keeper"], w.daemon.pid, "the keeper is what was started")
        equal(caps["keeper"], CAP_BPF_NET_PERF, "capabilities of the keeper")
        equal(int(st["keeper"]["CapPrm"], 16), CAP_BPF_NET_PERF, "what the keeper could take into use")
        equal(int(st["keeper"]["CapBnd"], 16), CAP_BPF_NET_PERF, "what the keeper could get by a program")
        for field in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            equal(int(st["worker"][field], 16), 0, f"{field} of the worker")
        check(int(st["worker"]["Uid"].split()[0]) != 0, "the worker is root")
        check(st["worker"]["Uid"] != st["helper"]["Uid"], "worker and helper are one user")
        check(not caps["helper"] & (1 << 39 | 1 << 38 | 1 << 6 | 1 << 7), "the helper may use BPF, or change its user")
        for name, s in st.items():
            equal(s["NoNewPrivs"], "1", f"NoNewPrivs of the {name}")
        for name in ("worker", "helper"):
            equal(st[name]["Seccomp"], "2", f"seccomp of the {name}")
        check(j["processes"]["worker_confined"] or not landlock(), "status: not confined")
        rss = {p["name"]: p["rss_kb"] for p in j["processes"]["list"]}
        print(f"| resident memory: keeper {rss['keeper']} kB, worker {rss['worker']} kB, helper {rss['helper']} kB")
        check(rss["keeper"] + rss["worker"] < 25 * 1024, f"more than 25 MB: {rss}")


def test_roles_are_for_weir_run_alone():
    for args in (["--role=worker"], ["--role=helper"], ["--role=worker"] + ["x"] * 7, ["--role=", "x"]):
        p = subprocess.run([BIN, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        equal(p.returncode, 2, f"{args}: {p.stderr}")


def test_killed_workers():
    kills = long_or(100, 5)
    with Router() as lab:
        heard, w, flood = setup(lab)
        pids, j = processes(w)
        before, keeper = stands(j), pids["keeper"]
        fds = len(os.listdir(f"/proc/{keeper}/fd"))
        for n in range(kills):
            os.kill(pids["worker"], signal.SIGKILL)
            pids, j = again(w, pids["worker"])
            equal(stands(j), before, f"kill {n}: what is in force")
        until("the last helper", lambda: processes(w)[0]["helper"])
        equal(j["processes"]["restarts"], kills, "restarts that status tells")
        check("signal 9" in j["processes"]["cause"], f"cause: {j['processes']['cause']!r}")
        # a client that has just gone may still have its own
        until("no more fds of the keeper than before", lambda: len(os.listdir(f"/proc/{keeper}/fd")) <= fds)
        check("worker started again" in open(f"{w.log}/audit.log").read(), "the audit log does not tell")
        # an edit after it: nothing of the policy was lost
        w("rule", "add", "--port", "81", "--proto", "udp", "--action", "allow")
        equal(w.status()["overlay_rules"], 1, "an edit afterwards")
        flood.stop()
        must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        equal(denied(heard), [], "delivered over the kills")

        def settled():
            e = w.status()["events"]
            return e if e["taken"] == e["verdicts"] + e["telemetry"] else None
        e = until("taken = handed to the rings", settled, 10)
        check(e["taken"] > 0, "no record at all")
        print(f"| records over {kills} kills: generated {e['taken'] + e['lost']}, taken {e['taken']}, lost {e['lost']}")


def test_followed_over_a_killed_worker():
    """Who follows the events goes on with those of the next worker, is told that some may be missing, and ends with weir."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        with open(f"{w.dir}/followed", "w+") as told, open(f"{w.dir}/cut", "w+") as cut:
            follow = subprocess.Popen(lab.dut.argv(BIN, "events", "--follow", "--output", "json"), env=w.env, stdout=told,
                                      stderr=cut)

            def tells(port):
                def once():
                    with lab.client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                        s.sendto(b"denied", (lab.DUT[4], port))
                    told.seek(0)
                    return [x for x in map(json.loads, told) if x["dst"]["port"] == port]
                return until(f"a drop of port {port} is told", once)
            tells(81)
            for port in (82, 83):
                old = processes(w)[0]["worker"]
                os.kill(old, signal.SIGKILL)
                again(w, old)
                tells(port)
            told.seek(0)
            first = [json.loads(x)["dst"]["port"] for x in told]
            equal(first, sorted(first), "an event was told again after a later one")
            w.stop()
            equal(follow.wait(30 * SLOW), 1, "the exit status of who followed")
            cut.seek(0)
            said = cut.read().splitlines()
            equal(["cut off here" in x for x in said], [True, True, False, False], f"what was said about it: {said}")
            check("weir stopped" in said[2], f"the last word: {said[2:]}")


def test_killed_while_a_change_waits():
    with Router() as lab:
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        for n, decide in ((2, "confirm"), (3, "rollback")):
            w("apply", w.write(POLICY.replace("9999", str(9999 - n))), "--confirm", "300s")
            pids, j = processes(w)
            before = stands(j)
            os.kill(pids["worker"], signal.SIGKILL)
            _, j = again(w, pids["worker"])
            equal(stands(j), before, "what is in force")
            equal((j["pending"]["generation"], j["pending"]["back"]), (n, n - 1), "what waits")
            w(decide)
            equal(w.json("status", check=False)["generation"], 2, f"after {decide}")


def test_killed_with_another_note():
    """The note of what waits is gone, nonsense, or of a change that was never put in force: what the kernel does counts."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        for n, note in enumerate((None, "{", '"generation": 77'), 2):
            w("apply", w.write(POLICY.replace("9999", str(9999 - n))), "--confirm", "300s")
            path = f"{w.state}/pending.json"
            with open(path) as f:
                was = f.read()
            if note is None:
                os.unlink(path)
            else:
                with open(path, "w") as f:
                    f.write(re.sub(r'"generation": *\d+', note, was) if len(note) > 1 else note)
            pids, j = processes(w)
            before = stands(j)
            os.kill(pids["worker"], signal.SIGKILL)
            _, j = again(w, pids["worker"])
            equal(stands(j), before, "what is in force")
            if check(j.get("pending"), f"{note}: nothing waits"):
                equal((j["pending"]["generation"], j["pending"]["back"]), (n, 1), "what waits")
            w("rollback", check=False)
            equal(w.json("status", check=False)["generation"], 1, f"{note}: taken back")


def test_killed_helper():
    with Router() as lab:
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        pids, _ = processes(w)
        os.kill(pids["helper"], signal.SIGKILL)
        now, j = again(w, pids["helper"], "helper")
        equal(now["worker"], pids["worker"], "the worker went with it")
        equal(j["processes"]["helper_restarts"], 1, "restarts of the helper")

        def applies():
            return w("apply", w.write(POLICY), "--no-confirm", check=False).returncode == 0
        until("apply through the new helper", applies)


def test_a_worker_that_hangs():
    with Router() as lab:
        heard, w, flood = setup(lab)
        pids, j = processes(w)
        before = stands(j)
        os.kill(pids["worker"], signal.SIGSTOP)
        p = w("status", check=False, timeout=20)
        equal(p.returncode, 3, f"status meanwhile: {p.stdout}{p.stderr}")
        check("does not answer" in p.stdout and "ENFORCING" in p.stdout, f"status meanwhile: {p.stdout}{p.stderr}")
        until("the hung worker is ended", lambda: not os.path.exists(f"/proc/{pids['worker']}"), 25)
        _, j = again(w, pids["worker"])
        check("said nothing" in j["processes"]["cause"], f"cause: {j['processes']['cause']!r}")
        equal(stands(j), before, "what is in force")
        flood.stop()
        must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        equal(denied(heard), [], "delivered meanwhile")


def test_without_standard_fds():
    with Router() as lab:
        w = Weir(lab, lab.dut)
        p = subprocess.Popen(lab.dut.argv("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', BIN, "run", "--no-live", "--policy",
                                          w.write(POLICY)), env=w.env)
        w.daemon = p
        w.wait_ready()
        pids, _ = processes(w)
        for fd in "012":
            equal(os.readlink(f"/proc/{pids['worker']}/fd/{fd}"), "/dev/null", f"fd {fd} of the worker")


class Stolen:
    """The worker's end of the keeper's socket, while the worker is stopped. ProcessLookupError: it ended before that."""

    def __init__(self, pid):
        self.pid = pid
        os.kill(pid, signal.SIGSTOP)
        state = until("stopped", lambda: (s := status_of(pid)["State"]) and s[0] in "TZX" and s[0])
        fd = ctypes.CDLL(None, use_errno=True).syscall(438, os.pidfd_open(pid), 3, 0) if state == "T" else -1  # pidfd_getfd
        if fd < 0 and (state != "T" or ctypes.get_errno() == errno.ESRCH):
            raise ProcessLookupError(pid)
        if fd < 0:
            raise Skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
        self.s = socket.socket(fileno=fd)
        self.s.settimeout(10)

    def send(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.s.sendmsg([data], control)

    def ask(self, data, fds=()):
        """(result, fds) of the receipt, or None: we were cut off. What the worker itself had asked for is passed over."""
        try:
            self.send(data, fds)
            while True:
                got, control, _, _ = self.s.recvmsg(8192, 256)
                if not got or got[:8] == data[:8]:
                    break
        except OSError:
            return None
        if not got:
            return None
        out = array.array("i")
        for _, _, d in control:
            out.frombytes(d)
        return struct.unpack_from("=IIi", got)[2], list(out)


def steal(w):
    """From a worker that lives: one whose receipt was taken away before gives up, and another one comes."""
    def there():
        try:
            now, j = processes(w)
            return now["worker"] and (Stolen(now["worker"]), j)
        except (ProcessLookupError, FileNotFoundError, KeyError, ValueError):
            return None
    return until("a worker to steal from", there)


def plain(call):
    return struct.pack("=II", call, 1)


def memfd(data, seals=0xf):
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def install(blob, digest=None):
    return struct.pack("=IIIIQQ32s32x", INSTALL, 1, len(blob), 0, 0, 0, digest or blob[16:48])


def hostile(s, what):
    """Play one; the result of the receipt, or None when we were cut off."""
    blob = None
    if what.startswith("image"):
        _, fds = s.ask(plain(IMAGE))
        blob = bytearray(os.pread(fds[0], 1 << 24, 0))
    match what:
        case "wrong size":
            return s.ask(plain(PING) + b"x")
        case "too long":
            return s.ask(b"x" * 65536)
        case "empty head":
            return s.ask(b"abc")
        case "unknown call":
            return s.ask(plain(4711))
        case "hello again":
            return s.ask(struct.pack("=IIIIII", HELLO, 1, 0x6b726577, 2, 2, 0))
        case "no fd":
            return s.ask(install(b"\0" * 64))
        case "fd flood":
            return s.ask(plain(PING), [0] * 200)
        case "fd with a ping":
            return s.ask(plain(PING), [0])
        case "image unsealed":
            return s.ask(install(blob), [memfd(blob, 0)])
        case "image half sealed":
            return s.ask(install(blob), [memfd(blob, 0x7)])
        case "image of another digest":
            return s.ask(install(blob, b"\1" * 32), [memfd(blob)])
        case "image of an old version":
            blob[4] -= 1
            return s.ask(install(blob), [memfd(blob)])
        case "image cut":
            return s.ask(install(blob), [memfd(blob[:-8])])
        case "image with a flipped bit":
            blob[-3] ^= 1
            return s.ask(install(blob), [memfd(blob)])
        case "image that is a pipe":
            return s.ask(install(blob), [os.pipe()[0]])
    raise AssertionError(what)


CUT = ("wrong size", "too long", "hello again", "empty head", "fd flood", "fd with a ping", "unknown call", "no fd")
REFUSED = ("image unsealed", "image half sealed", "image of another digest", "image of an old version", "image cut",
           "image with a flipped bit", "image that is a pipe")


def test_nonsense_is_refused():
    with Router() as lab:
        heard, w, flood = setup(lab)
        pids, j = processes(w)
        before, keeper = stands(j), pids["keeper"]
        fds = len(os.listdir(f"/proc/{keeper}/fd"))
        s, _ = steal(w)
        for what in REFUSED:
            got = hostile(s, what)
            check(got is not None and got[0] < 0, f"{what}: {got}")
        s.s.close()
        os.kill(s.pid, signal.SIGCONT)
        for what in long_or(CUT, CUT[::2]):
            s, j = steal(w)
            equal(stands(j), before, f"before '{what}'")
            equal(hostile(s, what), None, what)
            s.s.close()
            until(f"{what}: the worker is ended", lambda: not os.path.exists(f"/proc/{s.pid}"))
            _, j = again(w, s.pid)
            equal(stands(j), before, f"after '{what}'")
            check("protocol" in j["processes"]["cause"], f"{what}: cause {j['processes']['cause']!r}")
        until("the last helper", lambda: processes(w)[0]["helper"])
        # one is open for a moment now and then, for what the keeper looks up
        until("no more fds of the keeper than before", lambda: len(os.listdir(f"/proc/{keeper}/fd")) <= fds)
        flood.stop()
        must(fence(lab.client, lab.DUT[4], heard, 9999), "fence")
        equal(denied(heard), [], "delivered meanwhile")


def test_who_is_behind_others_waits():
    """A daemon that is busy with what others want is waited for; one that was stopped is called so after 30 s."""
    if not asked:
        test_a_slow_daemon_is_asked()
    for stop, p in asked:
        out, err = p.communicate(timeout=60)
        if stop:
            check(p.returncode == 1 and "does not answer" in err, f"stopped: exit {p.returncode}: {out}{err}")
        else:
            check(p.returncode == 0 and not err, f"busy: exit {p.returncode}: {out}{err}")


if __name__ == "__main__":
    main(globals())
