# SPDX-License-Identifier: Apache-2.0
"""The dut that most tests of commands want: a router with listeners, and weir with three open ports."""
from .case import check, equal, must
from .talk import Listener, Probe, ask, fence
from .weir import Policy, Weir

OPEN = Policy.text("""
- { name: fence, action: allow, protocol: udp, ports: 9999 }
- { name: web, action: allow, direction: inbound, ports: 80 }
- { name: office only, action: allow, direction: inbound, from: $office, ports: 81 }
""", inbound="drop", forward="drop", extra="sets: { office: { addresses: [192.0.2.0/24] } }")


class Dut:
    """Listeners on 80-82, and weir with the policy above (or another one that allows the fence)."""

    def __init__(self, lab, policy=OPEN, *args):
        self.lab = lab
        self.tcp = Listener(lab, lab.dut, "tcp", 80, 81, 82)
        self.udp = Listener(lab, lab.dut, "udp", 80, 81, 82, 9999)
        self.weir = Weir(lab, lab.dut)
        self.weir.run(policy, *args)

    def opens(self, port, what, v=4, proto="tcp"):
        equal(ask(self.lab.client, proto, self.lab.DUT[v], port), "open", f"{what}: {proto} v{v} port {port}")

    def silent(self, port, what, v=4, protos=("tcp", "udp")):
        for proto in protos:
            heard = getattr(self, proto)
            heard.clear()
            p = Probe(self.lab.client, proto, self.lab.DUT[v], port)
            must(fence(self.lab.client, self.lab.DUT[v], self.udp, 9999), f"{what}: fence")
            check(p.quiet(), f"{what}: {proto} v{v} port {port} answers: {p.wait(0)}")
            equal((heard.accepted, heard.payloads(port)), (0, []), f"{what}: {proto} v{v} port {port} delivered")
            p.close()
