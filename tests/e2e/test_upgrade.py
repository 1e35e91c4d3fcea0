#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Upgrade and downgrade between two builds under clients that never pause: no reset, no lost datagram, no refused
connection, nothing dropped. The other build has another version and working memory of another shape."""
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403
from harness import weir as weir_module

OTHER = os.environ.get("WEIR_BIN_OTHER") or os.path.join(os.path.dirname(os.path.realpath(BIN)), "..", "tests", "upgrade",
                                                         "weir-other")
POLICY = Policy.text("""
- { name: web, action: allow, direction: inbound, ports: 80 }
- { name: through, action: allow, direction: forward, ports: 80 }
""", inbound="drop", outbound="drop", forward="drop", extra="flows: { adopt_window: 1s }")


class Client(threading.Thread):
    """Asks and asks again without a pause, over one conversation or over a new one each time."""

    def __init__(self, lab, proto, addr, fresh):
        super().__init__(daemon=True)
        self.name = f"{proto} {addr} {'new' if fresh else 'lasting'}"
        self.proto, self.fresh, self.addr, self.ns = proto, fresh, addr, lab.client
        self.answers, self.wrong, self.go = 0, [], True
        self.s = None
        lab.on_close(self.end)
        self.start()

    def open(self):
        kind = socket.SOCK_STREAM if self.proto == "tcp" else socket.SOCK_DGRAM
        with self.ns:
            self.s = socket.socket(family_of(self.addr), kind)
        self.s.settimeout(PATIENCE)
        self.s.connect((self.addr, 80))

    def run(self):
        while self.go:
            try:
                if not self.s:
                    self.open()
                t = token("up")
                self.s.send(t)
                if self.s.recv(2000) == b"re:" + t:
                    self.answers += 1
                else:
                    self.wrong.append("another answer")
            except OSError as e:
                self.wrong.append(repr(e))
                self.s = self.s and self.s.close()
            if self.fresh and self.s:
                # no TIME-WAIT: a port is free again at once
                self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.s = self.s.close()
            if len(self.wrong) > 20:
                break

    def end(self):
        self.go = False
        self.join(PATIENCE)
        if self.s:
            self.s.close()


def answered(clients, what):
    """Each of the clients goes on from here."""
    before = {c: c.answers for c in clients}
    deadline = time.monotonic() + PATIENCE
    while any(c.answers < before[c] + 20 for c in clients) and time.monotonic() < deadline:
        time.sleep(0.01)
    for c in clients:
        check(c.answers >= before[c] + 20, f"{what}: {c.name} stopped: {c.wrong[:2]}")


def test_upgrade_and_downgrade():
    if not os.access(OTHER, os.X_OK):
        raise Skip(f"there is no other build at {OTHER}: ninja -C build tests/upgrade/weir-other")
    rounds = long_or(50, 5)
    ours = weir_module.BIN
    with Router() as lab:
        for ns in (lab.dut, lab.server):
            for proto in ("tcp", "udp"):
                Listener(lab, ns, proto, 80)
        w = Weir(lab, lab.dut)
        w.run(POLICY)
        equal(w.json("status", check=False)["version"], w("--version").stdout.split()[1], "the version in force")
        clients = [Client(lab, proto, addr, fresh) for proto in ("tcp", "udp") for fresh in (False, True)
                   for addr in (lab.DUT[4], lab.DUT[6], lab.SERVER[4])]
        answered(clients, "at the start")
        seen = set()
        try:
            for n in range(2 * rounds):
                weir_module.BIN = (OTHER, ours)[n % 2]
                if n % 4 < 2:
                    w.stop()
                else:
                    w.kill()
                answered(clients, f"change {n}: nobody runs")
                w.run(POLICY)
                answered(clients, f"change {n}")
                seen.add(w.json("status", check=False)["version"])
        finally:
            weir_module.BIN = ours
        equal(len(seen), 2, f"two versions ran: {seen}")
        for c in clients:
            c.end()
            equal(c.wrong, [], f"{c.name}: of {c.answers} answers")
        drops = {x["reason"]: x["drop"] + x["reject"] for x in w.json("status", "stats")["reasons"]
                 if x["drop"] + x["reject"]}
        equal(drops, {}, "dropped under the clients")
        print(f"# {2 * rounds} changes of the build, {sum(c.answers for c in clients):,} answers")


if __name__ == "__main__":
    main(globals())
