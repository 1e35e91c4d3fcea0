#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Enforcement outlives the processes: killed and started again under a flood, with every process dead, with pins
that are stale, half written or somebody else's. The listener says what passed."""
import json
import os
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

POLICY = Policy.text("""
- { name: fence, action: allow, protocol: udp, ports: 9999 }
- { name: web, action: allow, direction: inbound, ports: 80 }
""", inbound="drop", outbound="allow", forward="drop", extra="flows: { adopt_window: 1s }")


def descendants(pid):
    """A process and all that come from it, the oldest first."""
    parents = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/stat") as f:
                parents.setdefault(int(f.read().rpartition(")")[2].split()[1]), []).append(int(p))
        except OSError:
            pass
    out, at = [pid], 0
    while at < len(out):
        out += parents.get(out[at], [])
        at += 1
    return out


def kill_all(w, sig=signal.SIGKILL):
    """Every process of an instance; the keeper first, so that it starts nobody again."""
    pids = descendants(w.daemon.pid)
    for pid in pids:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass
    if sig == signal.SIGKILL:
        w.daemon.wait(30 * SLOW)
        for pid in pids[1:]:
            deadline = time.monotonic() + PATIENCE
            while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
                time.sleep(0.005)
    return len(pids)


def received(ns, dev):
    return json.loads(ns.sh("ip", "-s", "-j", "link", "show", dev).stdout)[0]["stats64"]["rx"]["packets"]


def hears(lab, heard, v):
    """A control packet of this phase arrives; it is sent again, for the flood fills queues."""
    deadline = time.monotonic() + PATIENCE
    t = token("phase")
    with lab.client, socket.socket(family_of(lab.DUT[v]), socket.SOCK_DGRAM) as s:
        while time.monotonic() < deadline:
            try:
                s.sendto(t, (lab.DUT[v], 9999))
            except OSError:
                pass
            if heard.wait(t, 0.1):
                return True
    return False


def test_killed_under_flood():
    """kill -9 of every process, and a start over what is pinned, again and again."""
    need("hping3")
    rounds = times(200, 50)
    with Router() as lab:
        denied = Listener(lab, lab.dut, "udp", 81, answer=False)
        control = Listener(lab, lab.dut, "udp", 9999, answer=False)
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        policy = w.write(POLICY)
        must(hears(lab, control, 4), "the control packet does not arrive")
        flood = lab.client.spawn("hping3", "--udp", "--flood", "-p", "81", "-d", "8", lab.DUT[4])
        start, at = received(lab.dut, "in0"), time.monotonic()
        for n in range(rounds):
            kill_all(w)
            must(hears(lab, control, 4), f"round {n}: with every process dead the control packet does not arrive")
            w.run(policy)
            must(hears(lab, control, 4), f"round {n}: after the start the control packet does not arrive")
            if not equal(len(denied.payloads()), 0, f"round {n}: denied packets delivered"):
                break
        must(flood.poll() is None, "the flood ended early")
        packets = received(lab.dut, "in0") - start
        print(f"# {rounds} kills and starts under {packets / (time.monotonic() - at):,.0f} packets a second, {packets:,} in all")
        must(packets > rounds * 1000, f"no flood: {packets} packets")
        equal(len(denied.payloads()), 0, f"delivered of {packets} denied packets")
        flood.kill()


def test_restart_keeps_flows_and_counters():
    """A start over pins: the same flows with their ids and bytes, counters that only grow."""
    with Router() as lab:
        heard = Listener(lab, lab.dut, "tcp", 80)
        Listener(lab, lab.dut, "udp", 9999)
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        p = Probe(lab.client, "tcp", lab.DUT[4], 80)
        must(p.wait() == "open", "no connection")

        def look():
            flow = [x for x in w.records("flows") if str(p.s.getsockname()[1]) in json.dumps(x)]
            must(len(flow) == 1, f"one flow is there: {flow}")
            stats = {x["reason"]: x["pass"] + x["drop"] + x["reject"] for x in w.json("status", "stats")["reasons"]}
            return flow[0], stats

        for how in (kill_all, lambda i: i.stop()):
            flow, stats = look()
            how(w)
            t = token("dead")
            p.s.send(t)
            check(heard.wait(t), "a live connection stops with the daemon dead")
            w.run(POLICY)
            now, counted = look()
            equal(now.get("id"), flow.get("id"), "the flow's id after a start")
            for reason, n in stats.items():
                check(counted.get(reason, 0) >= n, f"counter {reason}: {counted.get(reason)} after a start, {n} before")
        p.close()


def test_stopped_processes():
    """SIGSTOP is as good as dead for the packets: what is enforced goes on."""
    with Router() as lab:
        denied = Listener(lab, lab.dut, "udp", 81, answer=False)
        control = Listener(lab, lab.dut, "udp", 9999, answer=False)
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        pids = descendants(w.daemon.pid)
        kill_all(w, signal.SIGSTOP)
        flood = Flood(lab, lab.client, lab.DUT[4], 81)
        deadline = time.monotonic() + PATIENCE
        while flood.sent < 20000 and time.monotonic() < deadline:
            must(hears(lab, control, 4), "the control packet does not arrive")
        must(flood.stop() > 1000, "no flood")
        must(hears(lab, control, 4), "fence")
        equal(len(denied.payloads()), 0, "denied packets delivered while all were stopped")
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        w.wait_ready()


def test_the_last_of_many_connects():
    """Nobody is alive to clean up: three times as many short honest connections as the table holds, and the last."""
    flows = 65536
    n = 3 * flows
    with Router() as lab:
        Listener(lab, lab.dut, "udp", 9999, answer=False)
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        live = None
        with lab.dut:
            server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((lab.DUT[4], 80))
        server.listen(512)
        lab.on_close(server.close)
        # many sources: one has only 28,000 ports, and TIME-WAIT holds them
        sources = [f"10.1.0.{i}" for i in range(10, 30)]
        lab.alias(lab.client, "cl0", *(f"{x}/24" for x in sources))
        served = 0

        def serve():
            nonlocal served
            while True:
                try:
                    conn, _ = server.accept()
                except OSError:
                    return
                try:
                    data = conn.recv(10)
                    if data:
                        conn.send(data)
                        served += 1
                        conn.recv(1)  # the client closes first
                except OSError:
                    pass
                conn.close()

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(3)]
        for t in threads:
            t.start()
        with lab.client:
            live = socket.create_connection((lab.DUT[4], 80), PATIENCE)
        live.send(b"first")
        must(live.recv(10) == b"first", "the first connection")
        kill_all(w)
        failed = 0
        for i in range(n):
            with lab.client:
                s = socket.socket()
            s.settimeout(PATIENCE)
            try:
                s.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
                s.bind((sources[i % len(sources)], 0))
                s.connect((lab.DUT[4], 80))
                s.send(b"x")
                failed += s.recv(10) != b"x"
            except OSError as e:
                failed += 1
                if not check(failed < 3, f"connection {i} of {n}: {e}"):
                    break
            s.close()
        equal(failed, 0, f"short connections of {n} that failed")
        print(f"# {n:,} connections with every process dead; the table holds {flows:,}")
        must(served > n * 0.9, f"only {served} were served")
        live.close()


def refused_or_taken(lab, w, what):
    """A start over odd pins: it enforces, or it says why not and lets nothing denied through that was stopped before."""
    w.run(POLICY, wait=False)
    try:
        w.wait_ready()
    except RuntimeError as e:
        text = str(e)
        check("weir: error:" in text, f"{what}: refused without a reason: {text}")
        return False
    return True


def test_odd_pins():
    """Pins of a dead instance that were tampered with: some missing, others of a foreign shape, a stranger's file."""
    need("bpftool")
    with Router() as lab:
        denied = Listener(lab, lab.dut, "udp", 81, answer=False)
        control = Listener(lab, lab.dut, "udp", 9999, answer=False)
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        pins = f"{w.runtime}/bpf"

        def half_written():
            os.unlink(f"{pins}/maps/weir_flows")
            os.unlink(f"{pins}/maps/weir_control")

        def no_links():
            for name in os.listdir(f"{pins}/links"):
                if name.startswith("in_") or re.match(r"clsact_\d+_in$", name):
                    os.unlink(f"{pins}/links/{name}")

        def foreign_map():
            os.unlink(f"{pins}/maps/weir_bans")
            sh("bpftool", "map", "create", f"{pins}/maps/weir_bans", "type", "hash", "key", "4", "value", "8", "entries",
               "16", "name", "foreign")

        def foreign_link():
            name = next(x for x in os.listdir(f"{pins}/links") if x.startswith("out_") or re.match(r"clsact_\d+_out$", x))
            os.unlink(f"{pins}/links/{name}")
            sh("bpftool", "map", "create", f"{pins}/links/{name}", "type", "hash", "key", "4", "value", "8", "entries", "16",
               "name", "foreign")

        def stranger():
            os.mkdir(f"{pins}/links/in_4711")
            sh("bpftool", "map", "create", f"{pins}/maps/stranger", "type", "hash", "key", "4", "value", "8", "entries", "16",
               "name", "stranger")

        for n, odd in enumerate((half_written, no_links, foreign_map, foreign_link, stranger)):
            kill_all(w)
            odd()
            flood = Flood(lab, lab.client, lab.DUT[4], 81)
            # a link whose last pin went ends there and then: what comes before the start is not weir's to stop
            if odd in (no_links, foreign_link):
                flood.stop()
                denied.clear()
                flood = None
            taken = refused_or_taken(lab, w, odd.__name__)
            check(taken, f"{odd.__name__}: an instance over these pins should start")
            if taken:
                if not flood:
                    denied.clear()
                    flood = Flood(lab, lab.client, lab.DUT[4], 81)
                deadline = time.monotonic() + PATIENCE
                must(hears(lab, control, 4), f"{odd.__name__}: the control packet does not arrive")
                while flood.sent < 1000 and time.monotonic() < deadline:
                    time.sleep(0.01)
                must(flood.stop() >= 1000, "no flood")
                must(hears(lab, control, 4), f"{odd.__name__}: fence")
                equal(len(denied.payloads()), 0, f"{odd.__name__}: denied packets delivered")
            else:
                flood and flood.stop()
                w.run(POLICY)
        w("flush")
        w.daemon.wait(30 * SLOW)
        equal(w.traces("in0", "out0"), [], "left after flush")


def test_pins_of_strangers():
    """The place of the pins is a symbolic link, another's directory, or no directory: refused, with the reason."""
    with Router() as lab:
        w = Weir(lab, lab.dut)
        elsewhere = f"{w.dir}/elsewhere"
        os.mkdir(elsewhere, 0o700)
        pins = f"{w.runtime}/bpf"

        def symlink():
            os.symlink(elsewhere, pins)

        def stranger():
            os.mkdir(pins, 0o700)
            os.chown(pins, 12345, 12345)

        def writable():
            os.mkdir(pins)
            os.chmod(pins, 0o777)

        def plain_file():
            with open(pins, "w") as f:
                f.write("pins\n")

        for odd in (symlink, stranger, writable, plain_file):
            odd()
            w.run(POLICY, wait=False)
            equal(w.daemon.wait(30 * SLOW), 1, f"{odd.__name__}: exit status")
            check(pins in w.said(), f"{odd.__name__}: the reason does not name {pins}: {w.said()[-300:]}")
            equal(os.listdir(elsewhere), [], f"{odd.__name__}: written elsewhere")
            if os.path.isdir(pins) and not os.path.islink(pins):
                os.rmdir(pins)
            elif os.path.lexists(pins):
                os.unlink(pins)
            open(w.output, "w").close()
        w.run(POLICY)


if __name__ == "__main__":
    main(globals())
