#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Policies that change under a flood: what both the old and the new one drop is never delivered, and no packet
is judged by half of each. The same through kill, restart, stop and an edit of the overlay."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

# Sources and ports change places: half of A with half of B would allow what both drop.
A = Policy.text("""
- { name: control, action: allow, protocol: udp, ports: 9999 }
- { name: one, action: allow, direction: inbound, from: [10.1.0.2, "fd01::2"], protocol: udp, ports: 8001 }
""", inbound="drop", forward="drop")
B = Policy.text("""
- { name: noise, action: drop, from: 192.0.2.0/24, ports: [1-7999, 8003-9000] }
- { name: other, action: allow, direction: inbound, from: [10.1.0.3, "fd01::3"], protocol: udp, ports: 8002 }
- { name: control, action: allow, protocol: udp, ports: 9999 }
""", inbound="drop", forward="drop")
ONE, OTHER = {4: "10.1.0.2", 6: "fd01::2"}, {4: "10.1.0.3", 6: "fd01::3"}


def flood_lab(lab):
    """Floods that both policies drop, to the listener on 8001, 8002 and 80; in v4 and v6."""
    lab.alias(lab.client, "cl0", "10.1.0.3/24", "fd01::3/64")
    heard = Listener(lab, lab.dut, "udp", 80, 8001, 8002, 9999, answer=False)
    w = Weir(lab, lab.dut)
    w.run(A)
    floods = []
    for v in (4, 6):
        for src, port in ((ONE, 8002), (OTHER, 8001), (ONE, 80)):
            floods.append(Flood(lab, lab.client, lab.DUT[v], port, b"denied", src_ports=2, src=src[v], every=0.002))
    return heard, w, floods


def denied(heard):
    return [d for _, d in list(heard.got) if d == b"denied"]


def hears(lab, heard, v, src, port):
    """An allowed datagram of this phase arrives (it is sent again: the flood may fill a queue)."""
    import socket
    deadline = time.monotonic() + PATIENCE
    t = token("phase")
    with lab.client, socket.socket(family_of(src), socket.SOCK_DGRAM) as s:
        s.bind((src, 0))
        while time.monotonic() < deadline:
            try:
                s.sendto(t, (lab.DUT[v], port))
            except OSError:
                pass
            if heard.wait(t, 0.2):
                return True
    return False


def test_swap_under_flood():
    swaps = times(1000, 100)
    with Router() as lab:
        heard, w, floods = flood_lab(lab)
        files = {"A": w.write(A, "a.yaml"), "B": w.write(B, "b.yaml")}
        for n in range(swaps):
            name = "BA"[n % 2]
            w.apply(files[name])
            v = (4, 6)[n // 2 % 2]
            ok = hears(lab, heard, v, ONE[v], 8001) if name == "A" else hears(lab, heard, v, OTHER[v], 8002)
            must(ok, f"swap {n}: what {name} allows does not arrive")
            must(hears(lab, heard, v, ONE[v], 9999), f"swap {n}: the control port is silent")
            if not check(not denied(heard), f"swap {n}: {len(denied(heard))} packets that both policies drop arrived"):
                break
        sent = sum(f.stop() for f in floods)
        must(sent > swaps * 32, f"no flood: {sent} packets sent")
        heard.sync()
        equal(len(denied(heard)), 0, f"delivered of {sent} that both policies drop")


def test_restart_under_flood():
    """kill -9, start again; stop, start again: enforcement never pauses."""
    with Router() as lab:
        heard, w, floods = flood_lab(lab)
        path = w.write(A, "a.yaml")
        for n in range(times(50, 5)):
            if n % 2:
                w.stop()
            else:
                w.kill()
            must(hears(lab, heard, 4, ONE[4], 8001), f"round {n}: without a daemon the policy is not in force")
            w.run(path)
            must(hears(lab, heard, 6, ONE[6], 8001), f"round {n}: after the start the policy is not in force")
            if not check(not denied(heard), f"round {n}: {len(denied(heard))} denied packets arrived"):
                break
        sent = sum(f.stop() for f in floods)
        must(sent > 1000, "no flood")
        heard.sync()
        equal(len(denied(heard)), 0, f"delivered of {sent}")


def test_edits_under_flood():
    """rule add and delete, ban and set edits raise no gap either."""
    with Router() as lab:
        heard, w, floods = flood_lab(lab)
        for n in range(times(200, 10)):
            rule = w.json("rule", "add", "--src", "203.0.113.0/24", "--port", str(1000 + n), "--proto", "udp",
                          "--action", "allow")
            w("ban", "add", f"203.0.113.{n % 250 + 1}")
            must(hears(lab, heard, 4, ONE[4], 8001), f"edit {n}: what is allowed does not arrive")
            w("rule", "delete", "--id", str(rule["id"]))
            if not check(not denied(heard), f"edit {n}: {len(denied(heard))} denied packets arrived"):
                break
        sent = sum(f.stop() for f in floods)
        must(sent > 1000, "no flood")
        heard.sync()
        equal(len(denied(heard)), 0, f"delivered of {sent}")


if __name__ == "__main__":
    main(globals())
