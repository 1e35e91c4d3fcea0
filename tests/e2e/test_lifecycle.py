#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""stop, flush, restart, a second instance, Ctrl-C in prevent, and what comes back after a reboot."""
import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness.dut import OPEN, Dut

CLOSED_80 = OPEN.replace("ports: 80 }", "ports: 82 }")


def test_stop_keeps_enforcing():
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        live = Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(live.wait() == "open", "no connection")
        r = w.stop()
        check("flush" in r.stdout + r.stderr, f"stop does not say how to remove it: {r.stdout}{r.stderr}")
        equal(w("status", check=False).returncode, 4, "exit status of status")
        for v in (4, 6):
            d.silent(82, "after stop", v=v)
            d.opens(80, "after stop", v=v)
        t = token("live")
        live.s.send(t)
        check(d.tcp.wait(t), "a live flow was cut by stop")
        for args in (["rule", "list"], ["apply", w.write(OPEN), "--no-confirm"]):
            p = w(*args, check=False)
            check(p.returncode == 1 and p.stderr.strip(), f"{args} without a daemon: {p.returncode} {p.stderr}")
        w.run(OPEN)
        d.silent(82, "after the restart")
        d.opens(80, "after the restart")
        t = token("live")
        live.s.send(t)
        check(d.tcp.wait(t), "a live flow was cut by the restart")
        live.close()


def test_flush_removes_everything():
    for running in (True, False):
        with Router() as lab:
            d = Dut(lab, OPEN.replace("192.0.2.0/24] } }", "192.0.2.0/24] } }\nblocklists: [$office]") +
                    "interfaces: { in0: { xdp: generic } }\n")
            w = d.weir
            if not running:
                w.kill()
            r = w("flush")
            check(r.stdout.strip() or r.stderr.strip(), "flush says nothing")
            if running:
                equal(w.daemon.wait(30 * SLOW), 0, "exit status of the daemon after flush")
            equal(w("status", check=False).returncode, 5, "exit status of status")
            equal(w.traces("lo", "in0", "out0"), [], f"traces after flush (daemon {'running' if running else 'killed'})")
            d.opens(82, "after flush")
            equal(w("flush", check=False).returncode, 0, "a second flush")


def test_ctrl_c_in_prevent():
    with Router() as lab:
        d = Dut(lab)
        equal(d.weir.signal(signal.SIGINT), 0, "exit status after Ctrl-C")
        check("weir flush" in d.weir.said(), f"Ctrl-C does not say how to remove it:\n{d.weir.said()[-1000:]}")
        equal(d.weir("status", check=False).returncode, 4, "exit status of status")
        d.silent(82, "after Ctrl-C")
        d.opens(80, "after Ctrl-C")


def test_killed():
    with Router() as lab:
        d = Dut(lab)
        d.weir.kill()
        equal(d.weir("status", check=False).returncode, 4, "exit status of status")
        d.silent(82, "after kill -9")
        d.opens(80, "after kill -9")
        d.weir.run(OPEN)
        equal(d.weir("status", check=False).returncode, 0, "exit status of status after the restart")
        d.silent(82, "after the restart")


def test_pins_of_a_mount_namespace():
    """What is pinned in a mount namespace ends with it: weir says so where it enforces, and only there."""
    for mode, before in (("prevent", "unshare -m"), ("prevent", ""), ("detect", "unshare -m"),
                         ("prevent", "mkdir -m 700 $D/bpf; mount -t bpf -o mode=0700 weir $D/bpf; unshare -m")):
        with Router() as lab:
            w = Weir(lab, lab.dut)
            # a shell is init: that of this machine may not be looked at
            script = f"D={w.runtime}; {before} \"$@\" & wait"
            with open(w.output, "ab") as out:
                w.daemon = subprocess.Popen(
                    lab.dut.argv("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh", BIN,
                                 "run", "--no-live", "--policy", w.write(Policy.text(mode=mode))),
                    env=w.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            w.wait_ready()
            w.stop()
            told = before == "unshare -m" and mode == "prevent"
            for words in ("mount namespace of their own", "until the last process of this mount namespace ends"):
                equal(words in w.said(), told, f"{mode}, {before!r}: {words}: {w.said()}")


def test_second_instance_is_refused():
    with Router() as lab:
        d = Dut(lab)
        first = d.weir.daemon
        other = d.weir.write(CLOSED_80)
        p = d.weir("run", "--no-live", "--policy", other, check=False, timeout=30)
        check(p.returncode == 1 and p.stderr.strip(), f"a second weir in the same directory: {p.returncode} {p.stderr}")
        check(first.poll() is None, "the first one ended")
        equal(d.weir("status", check=False).returncode, 0, "status of the first")
        d.opens(80, "the first one's policy")
        d.silent(82, "the first one's policy")
        # another instance elsewhere is welcome
        with Router() as other_lab:
            e = Dut(other_lab, CLOSED_80)
            e.opens(82, "another instance")
            e.silent(80, "another instance")
            d.opens(80, "the first one beside another")


def reboot(w):
    """What a reboot leaves: files of the state directory; no process, no pin, no runtime directory."""
    w.kill()
    w("flush", check=False)
    shutil.rmtree(w.runtime, ignore_errors=True)


def test_reboot():
    with Router() as lab:
        d = Dut(lab)  # run --policy is for this run only
        w = d.weir
        w.apply(OPEN, "--save")
        w("rule", "add", "--port", "81", "--proto", "tcp", "--action", "allow")
        w("ban", "add", "fd01::77")
        w.apply(CLOSED_80)  # in force, but not kept
        d.opens(82, "applied, not saved")
        d.silent(80, "applied, not saved")
        reboot(w)
        d.opens(80, "nothing is in force")
        w.run()
        equal(w("status", check=False).returncode, 0, "exit status of status after the reboot")
        d.opens(80, "the saved policy")
        d.silent(82, "the saved policy")
        d.opens(81, "the overlay came back")
        check("fd01::77" in w("ban", "list").stdout, "the ban did not come back")
        lab.alias(lab.client, "cl0", "fd01::77/64")
        p = Probe(lab.client, "tcp", lab.DUT[6], 80, src="fd01::77")
        must(fence(lab.client, lab.DUT[6], d.udp, 9999), "fence")
        check(p.quiet(), "a ban from before the reboot is not in force")
        p.close()


def test_reboot_with_the_file_of_the_system():
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        path = w.write(CLOSED_80, f"{w.config}/policy.yaml")
        w("apply", "--no-confirm")
        d.opens(82, "apply without a file takes the one of the system")
        reboot(w)
        w.run()
        d.opens(82, "the file of the system")
        d.silent(80, "the file of the system")
        with open(path, "a") as f:
            f.write("# changed by hand\n")
        text = w("status", check=False).stdout
        check("differs" in text, f"status does not say that the file differs:\n{text}")
        # an edit that nobody applied, valid or half done, decides nothing at the next boot
        for edit in (OPEN, "version: 1\nrules: ["):
            w.write(edit, path)
            reboot(w)
            w.run()
            d.opens(82, "what was confirmed")
            d.silent(80, "what was confirmed")


def test_damaged_state():
    """A torn or forged file in the state directory never opens the host: what can be read counts, what cannot is
    set aside and told; where the copy of the policy cannot be read, its text in the history is taken."""
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        w("rule", "add", "--port", "82", "--proto", "tcp", "--action", "allow")
        w("ban", "add", "192.0.2.7")
        w.apply(OPEN, "--save")
        w.stop()
        # texts of earlier policies are read when one is asked for again, and then refused: test_confirm. boot-guard is
        # one word for `weir run --boot`, which takes anything else as none; each start writes it anew
        names = [n for n in os.listdir(w.state) if os.path.isfile(f"{w.state}/{n}") and n != "boot-guard"
                 and not n.startswith("generation-")]
        must({"policy.yaml", "origin.json", "overlay.json", "bans.json"} <= set(names), f"the state is {names}")
        whole = {n: open(f"{w.state}/{n}", "rb").read() for n in names}
        for n in names:
            for junk in (b"", b"[]", b"\0" * 64, b'{"version": 99}', whole[n][:len(whole[n]) // 2]):
                with open(f"{w.state}/{n}", "wb") as f:
                    f.write(junk)
                what = f"{n} is {junk[:16]!r}"
                w.run()
                p = w("status", check=False)
                check(p.returncode == 3 and n in p.stdout, f"{what}: status {p.returncode} does not tell it:\n{p.stdout}")
                d.silent(82, f"{what}: running", protos=("udp",))
                d.opens(80, f"{what}: running")
                w.stop()
                with open(f"{w.state}/{n}", "wb") as f:
                    f.write(whole[n])


def test_a_start_goes_on_with_what_is_enforced():
    """weir stop and a crash say "watch it again: weir run": that changes nothing, also where nothing was saved."""
    with Router() as lab:
        tcp = Listener(lab, lab.dut, "tcp", 80, 82)
        w = Weir(lab, lab.dut)
        w.run()  # the built-in policy
        path = w.write(CLOSED_80)
        p = w.apply(path)
        check("until the next boot" in p.stdout, f"apply:\n{p.stdout}")
        for end in (w.stop, w.kill):
            end()
            before = w.json("status", check=False)["generation"]
            w.run()
            s = w.status()
            equal((s["mode"], s["generation"], s["path"]), ("prevent", before, path), f"after {end.__name__} and weir run")
            equal(ask(lab.client, "tcp", lab.DUT[4], 82), "open", "what it allows")
            p = Probe(lab.client, "tcp", lab.DUT[4], 80)
            equal(ask(lab.client, "tcp", lab.DUT[4], 82), "open", "fence")
            check(p.quiet(), f"after {end.__name__} and weir run nothing is denied any more")
            p.close()
        tcp.clear()
        # what the command line says goes before
        w.stop()
        w.run(None, "--mode", "detect")
        s = w.status()
        equal((s["mode"], s["path"]), ("detect", path), "weir run --mode detect")
        check(s["generation"] > before, f"another mode is another generation: {s['generation']}")
        w.stop()
        w.run()
        equal(w.status()["origin"], "builtin", "a start after detect, which leaves nothing in the kernel")
        w.apply(path)
        reboot(w)
        w.run()
        equal(w.status()["origin"], "builtin", "a boot takes what was saved")


def test_what_is_enforced_cannot_be_taken_up():
    """An unsaved policy is enforced, and what was written down of it is gone: a start that only looks would open everything."""
    with Router() as lab:
        tcp = Listener(lab, lab.dut, "tcp", 80, 82)
        for name in ("history.json", "generation-2.yaml", None):
            w = Weir(lab, lab.dut)
            w.run()
            w.apply(w.write(CLOSED_80))
            w.kill()
            for damaged in [name] if name else os.listdir(w.state):
                os.unlink(f"{w.state}/{damaged}")
            w.run()
            for port in (80, 82):
                equal(ask(lab.client, "tcp", lab.DUT[4], port, timeout=1 * SLOW), "silence", f"without {name}: port {port}")
            s = w.json("status", check=False)
            equal(s["mode"], "prevent", f"without {name}: the mode")
            check(any("generation 2" in x and "in force: management access only" in x for x in s["degraded"]),
                  f"without {name} it is not told: {s['degraded']}")
            check("\\x0a" not in w.said(), f"a line break is escaped:\n{w.said()}")
            w.stop()
            w("flush")
        equal(tcp.accepted, 0, "connections")


LISTED = CLOSED_80.replace("sets: {", "blocklists: [$bad]\nsets: { bad: { addresses: { file: bad.txt } },")


def test_lists_of_what_goes_on():
    """The policy that goes on was not saved, and its list is not to be had: it counts as it did when it was read last."""
    def gone(path):
        os.unlink(path)

    def broken(path):
        with open(path, "w") as f:
            f.write("nonsense\n")

    def empty(path):
        open(path, "w").close()

    def fifo(path):
        os.unlink(path)
        os.mkfifo(path)

    def everybody(path):
        with open(path, "w") as f:
            f.write("0.0.0.0/1\n128.0.0.0/1\n")

    with Router() as lab:
        tcp = Listener(lab, lab.dut, "tcp", 80, 82)
        for wrong in (gone, broken, empty, fifo, everybody):
            w = Weir(lab, lab.dut)
            w.run()
            path = f"{w.dir}/bad.txt"
            with open(path, "w") as f:
                f.write(lab.CLIENT[4] + "\n")
            w.apply(w.write(LISTED), "--force")
            must(eventually(lambda: any(x.startswith("list-") for x in os.listdir(w.state))), "a copy of the list")
            w.stop()
            wrong(path)
            w.run()
            said = f"list {wrong.__name__}: "
            equal(w.json("status", check=False)["generation"], 2, said + "the generation")
            equal(ask(lab.client, "tcp", lab.DUT[4], 82, timeout=1 * SLOW), "silence", said + "who is listed")
            equal(ask(lab.server, "tcp", lab.DUT[4], 82), "open", said + "who is not")
            check("lists in force are older" in str(w.json("status", check=False)["degraded"]), said + "not told")
            w.stop()
            w("flush")
        tcp.clear()


def test_the_same_text_elsewhere():
    """Relative lists make the same text another policy; what history says of the generation in force is what status says."""
    with Router() as lab:
        w = Weir(lab, lab.dut)

        def look(what):
            s, h = w.status(), w.json("history")
            g = next(x for x in h["generations"] if x["generation"] == s["generation"])
            equal((g["path"], g["sha256"], g["mode"]), (s["path"], s["sha256"], s["mode"]), f"{what}: history beside status")
            return s["generation"], s["path"]

        paths = {}
        for lists in (True, False):
            text = Policy.text("- { name: web, action: allow, direction: inbound, from: $x, ports: 80 }", extra="sets: { x: { "
                               "addresses: %s } }" % ("{ file: ips.txt }" if lists else "[192.0.2.1]"))
            for name in ("a", "b"):
                os.makedirs(f"{w.dir}/{name}", exist_ok=True)
                w.write(f"192.0.2.{len(name)}\n", f"{w.dir}/{name}/ips.txt")
                paths[name] = w.write(text, f"{w.dir}/{name}/policy.yaml")
            w.run(paths["a"])
            first = look("a")[0]
            w.stop()
            w.run(paths["b"])
            now, path = look("b")
            equal((now > first, path), (lists, paths["b"]), f"another place, {'with' if lists else 'without'} lists")
            w.stop()
            w.run()
            equal(look("a start without --policy"), (now, paths["b"]), "what is in force")
            w.stop()


def read_only(path):
    sh("mount", "--bind", path, path)
    sh("mount", "-o", "remount,ro,bind", path)


def test_read_only_directories():
    """A disk that became read-only keeps no start from guarding; what cannot be written is told."""
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        w.apply(OPEN, "--save")
        w.stop()
        for path in (w.state, w.log):
            read_only(path)
        w.run()
        d.opens(80, "state and log are read-only")
        d.silent(82, "state and log are read-only", protos=("udp",))
        p = w("status", check=False)
        check(p.returncode == 3 and "Read-only" in p.stdout, f"status does not tell it: {p.returncode} {p.stdout}")
        check("cannot be made the worker's" not in w.said(), f"they are the worker's already:\n{w.said()}")
        w.stop()
        # never the worker's: the log may miss, the state not, it says what was confirmed
        for name, comes in (("log", True), ("state", False)):
            path = f"{w.dir}/new-{name}"
            os.mkdir(path, 0o700)
            read_only(path)
            w.env[f"WEIR_{name.upper()}_DIR"] = path
            for other, was in (("STATE", w.state), ("LOG", w.log)):
                if other != name.upper():
                    w.env[f"WEIR_{other}_DIR"] = was
            if comes:
                w.run(OPEN)
                d.opens(80, "a log that is root's and read-only")
                check(f"{path} is read-only and cannot be made the worker's" in w.said(), f"it is not told:\n{w.said()}")
                w.stop()
            else:
                w.run(OPEN, wait=False)
                equal(w.daemon.wait(60 * SLOW), 1, "exit status with a state that nobody can read")
                check(f"may not read {path}" in w.said(), f"a state that nobody can read:\n{w.said()}")
                d.opens(80, "what was in force stays")


def test_no_policy_at_all():
    """The builtin policy only watches."""
    with Router() as lab:
        tcp = Listener(lab, lab.dut, "tcp", 80)
        w = Weir(lab, lab.dut)
        w.run()
        equal(ask(lab.client, "tcp", lab.DUT[4], 80), "open", "detect")
        check("detect" in w("status", check=False).stdout.lower(), "status does not say detect")
        check(tcp.accepted == 1, "not delivered")


def test_directories_by_options():
    """--runtime-dir and its sisters do what WEIR_*_DIR do."""
    with Router() as lab:
        d = Dut(lab)
        w = d.weir
        for k in list(w.env):
            if k.startswith("WEIR_") and k.endswith("_DIR"):
                del w.env[k]
        dirs = ["--config-dir", w.config, "--runtime-dir", w.runtime, "--state-dir", w.state, "--log-dir", w.log]
        equal(w("status", *dirs).returncode, 0, "status with options behind")
        # what is proposed to be typed has them, too
        chosen = " ".join(dirs)
        p = w("ban", "add", "192.0.2.9", *dirs)
        check(f"undo: weir {chosen} ban remove 192.0.2.9" in p.stdout, f"ban add:\n{p.stdout}")
        p = w("apply", w.write(OPEN), *dirs)
        check(f"; weir {chosen} apply --save" in p.stdout, f"apply:\n{p.stdout}")
        equal(w(*dirs, "status").returncode, 0, "status with options before")
        w("apply", w.write(OPEN), "--confirm", "600s", *dirs)
        p = w("status", *dirs, check=False)
        check(f"   weir {chosen} confirm keeps it, weir {chosen} rollback takes it back" in p.stdout, f"status, waiting:\n{p.stdout}")
        w("confirm", *dirs)
        ask(lab.client, "tcp", lab.DUT[4], 83, timeout=0.3)
        must(eventually(lambda: "fix " in w("why", f"{lab.CLIENT[4]}", *dirs, check=False).stdout), "it is refused and told")
        p = w("why", f"{lab.CLIENT[4]}", *dirs)
        check(f"weir {chosen} rule add" in p.stdout, f"why:\n{p.stdout}")
        w("rule", "add", "--port", "82", "--action", "allow", *dirs)
        d.opens(82, "a rule by options")
        p = w("stop", *dirs)
        check(f"sudo weir {chosen} run" in p.stdout and f"sudo weir {chosen} flush" in p.stdout, f"stop:\n{p.stdout}")
        w.daemon.wait(30 * SLOW)
        p = w("status", *dirs, check=False)
        check(f"sudo weir {chosen} flush" in p.stdout, f"status, stopped:\n{p.stdout}")
        p = w("doctor", *dirs, check=False)
        check(f"sudo weir {chosen} run" in p.stdout, f"doctor:\n{p.stdout}")
        w.run(None, *dirs, wait=False)
        must(eventually(lambda: w("status", *dirs, check=False).returncode == 0), "a start by options")
        w("stop", *dirs)
        w.daemon.wait(30 * SLOW)
        check(f"watch it again: weir {chosen} run      remove it: weir {chosen} flush" in w.said(), f"its end:\n{w.said()}")
        w("flush", *dirs)


if __name__ == "__main__":
    main(globals())
