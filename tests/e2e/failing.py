# SPDX-License-Identifier: Apache-2.0
"""What the tests of failures share: a host with listeners, one port that the rules allow (80), one that the failsafe
admits (81) and one that is denied (82)."""
import time

from harness import *  # noqa: F403

RULES = """
- { name: fence, action: allow, protocol: udp, ports: 9999 }
- { name: web, action: allow, ports: 80 }
"""
FRIEND = "failsafe: [ { name: friend, direction: inbound, protocol: [tcp, udp], ports: [81, 9998], from: [10.1.0.2, 'fd01::2'] } ]\n"
ALL = "daemon_dead,no_policy,flow_table_full,fragment_lost,ring_full,audit_full,hook_missing,unparsable"


def policy(choices="", mode="prevent", forward="allow", rules=RULES, extra=FRIEND):
    return Policy.text(rules, mode=mode, forward=forward, extra=extra + (f"failures: {{ {choices} }}\n" if choices else ""))


class Host:
    """A router with listeners and a weir that simulates something."""

    def __init__(self, lab, text=None, simulate=None, *args, run=True):
        self.lab = lab
        self.tcp = Listener(lab, lab.dut, "tcp", 80, 81, 82)
        self.udp = Listener(lab, lab.dut, "udp", 80, 81, 82, 9998, 9999)
        self.weir = Weir(lab, lab.dut)
        if run:
            self.weir.run(text, *(["--simulate", simulate] if simulate else []), *args)

    def opens(self, port, what, proto="tcp"):
        for v in (4, 6):
            equal(ask(self.lab.client, proto, self.lab.DUT[v], port), "open", f"{what}: {proto} v{v} {port}")

    def silent(self, port, what, proto="tcp", through=9998):
        """Nothing comes through; proved by a fence behind it, on a port of the failsafe."""
        heard = getattr(self, proto)
        for v in (4, 6):
            heard.clear()
            p = Probe(self.lab.client, proto, self.lab.DUT[v], port)
            must(fence(self.lab.client, self.lab.DUT[v], self.udp, through), f"{what}: the fence does not arrive")
            check(p.quiet(), f"{what}: {proto} v{v} {port} answers")
            equal((heard.accepted, heard.payloads(port)), (0, []), f"{what}: {proto} v{v} {port} delivered")
            p.close()


def failure(w, name):
    return next(f for f in w.status()["failures"] if f["name"] == name)


def wait(what, test):
    """A thing that the daemon does by itself, at its next tick."""
    deadline = time.monotonic() + PATIENCE
    while True:
        v = test()
        if v or time.monotonic() > deadline:
            return check(v, what)
        time.sleep(0.1)


def audit(w):
    with open(f"{w.log}/audit.log") as f:
        return f.read()


def told(w, name):
    wait(f"{name}: status does not count it", lambda: failure(w, name)["count"] > 0)
    wait(f"{name}: the audit log does not tell it", lambda: f"failure  {name}:" in audit(w))


def works(lab, port):
    return ask(lab.client, "udp", lab.DUT[4], port, timeout=0.5) == "open"
