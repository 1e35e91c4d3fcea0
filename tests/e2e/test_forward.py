#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A dut that forwards: with masquerade, with published ports, as a bridge. Rules see the conversation as its
opener does: `from` is the client also after masquerade, a published port is inbound to the dut's port."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

FENCE = "    - { name: fence, action: allow, protocol: udp, ports: 9999 }\n"


def denied(lab, asker, dst_addr, port, heard, fences, protos=("tcp", "udp"), fence_addr=None, **kw):
    """Nothing of this is delivered and nothing comes back."""
    for proto in protos:
        heard[proto].clear()
        p = Probe(asker, proto, dst_addr, port, **kw)
        must(fence(asker, fence_addr or dst_addr, fences, 9999), "the fence does not arrive")
        what = f"{proto} {dst_addr}:{port} {kw or ''}"
        check(p.quiet(), f"{what}: an answer: {p.wait(0)}")
        p.close()
        heard[proto].sync()
        equal((heard[proto].accepted, [d for q, d in heard[proto].got if q != 9999]), (0, []), f"{what}: delivered")


def listen(lab, ns, *ports):
    return {"tcp": Listener(lab, ns, "tcp", *ports), "udp": Listener(lab, ns, "udp", *ports, 9999)}


def test_masquerade():
    with Router() as lab:
        lab.masquerade()
        # without the dut's help the server has no way back to the client: only masqueraded packets are answered
        for v in ("-4", "-6"):
            lab.server.ip(v, "route", "del", "default")
        lab.alias(lab.client, "cl0", "10.1.0.3/24", "fd01::3/64")
        heard = listen(lab, lab.server, 80, 82)
        w = Weir(lab, lab.dut)
        rules = FENCE + """
    - { name: one client, action: allow, direction: forward, from: [10.1.0.2, "fd01::2"], ports: 80 }
"""
        w.run(Policy.text(rules, inbound="drop", outbound="drop", forward="drop"))
        for v in (4, 6):
            for proto in ("tcp", "udp"):
                equal(ask(lab.client, proto, lab.SERVER[v], 80, src=lab.CLIENT[v]), "open", f"{proto} v{v}: the client")
            denied(lab, lab.client, lab.SERVER[v], 82, heard, heard["udp"])
            other = {4: "10.1.0.3", 6: "fd01::3"}[v]
            denied(lab, lab.client, lab.SERVER[v], 80, heard, heard["udp"], src=other)
        # the translated address is the other face of the same conversation: either matches
        w.apply(Policy.text(FENCE + """
    - { name: translated, action: allow, direction: forward, from: [10.2.0.1, "fd02::1"], ports: 80 }
""", inbound="drop", outbound="drop", forward="drop"))
        for v in (4, 6):
            equal(ask(lab.client, "tcp", lab.SERVER[v], 80), "open", f"v{v}: by the translated address")
        # a drop by the original client too
        w.apply(Policy.text(FENCE + """
    - { name: not him, action: drop, from: [10.1.0.2, "fd01::2"], ports: 80 }
""", inbound="drop", outbound="allow", forward="allow"))
        for v in (4, 6):
            denied(lab, lab.client, lab.SERVER[v], 80, heard, heard["udp"], src=lab.CLIENT[v])
            equal(ask(lab.client, "tcp", lab.SERVER[v], 80, src={4: "10.1.0.3", 6: "fd01::3"}[v]), "open",
                  f"v{v}: the other client")


def test_published_port():
    with Router() as lab:
        lab.containers()
        lab.publish(8080, 80)
        lab.publish(8082, 82)
        heard = listen(lab, lab.container, 80, 82)
        fences = Listener(lab, lab.dut, "udp", 9999)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(FENCE + """
    - { name: web, action: allow, direction: inbound, ports: 8080 }
""", inbound="drop", outbound="drop", forward="drop"))
        kept = []
        for v in (4, 6):
            for proto in ("tcp", "udp"):
                p = Probe(lab.client, proto, lab.DUT[v], 8080)
                equal(p.wait(), "open", f"{proto} v{v}: published and allowed")
                kept.append(p)  # whose port comes again would belong to this conversation, also straight to the container
            denied(lab, lab.client, lab.DUT[v], 8082, heard, fences)
            # around the publication, straight to the container: that is forward, and dropped
            denied(lab, lab.client, lab.CONTAINER[v], 80, heard, fences, fence_addr=lab.DUT[v])
        # reject at the published port
        w.apply(Policy.text(FENCE + """
    - { name: web, action: reject, direction: inbound, ports: 8080 }
""", inbound="drop", outbound="drop", forward="allow"))
        for v in (4, 6):
            equal(ask(lab.client, "tcp", lab.DUT[v], 8080), "refused", f"v{v}: published and rejected")


def test_bridge():
    with Bridge() as lab:
        heard = listen(lab, lab.server, 80, 82)
        at_dut = listen(lab, lab.dut, 80, 82)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(FENCE + """
    - { name: through, action: allow, direction: forward, ports: 80 }
    - { name: to us, action: allow, direction: inbound, ports: 82 }
    - { name: refused, action: reject, direction: forward, ports: 81 }
""", inbound="drop", outbound="drop", forward="drop"))
        for v in (4, 6):
            # neighbours have to be found through the bridge under the default drop
            for ns, dev in ((lab.client, "cl0"), (lab.server, "sv0"), (lab.dut, "br0")):
                ns.ip("-4" if v == 4 else "-6", "neigh", "flush", "dev", dev)
            for proto in ("tcp", "udp"):
                equal(ask(lab.client, proto, lab.SERVER[v], 80), "open", f"{proto} v{v}: through the bridge")
                equal(ask(lab.client, proto, lab.DUT[v], 82), "open", f"{proto} v{v}: to the bridge's own address")
            denied(lab, lab.client, lab.SERVER[v], 82, heard, heard["udp"])
            denied(lab, lab.client, lab.DUT[v], 80, at_dut, at_dut["udp"])
            equal(ask(lab.client, "tcp", lab.SERVER[v], 81), "refused", f"v{v}: rejected on the bridge")


def test_router_interfaces():
    """Rules of a router by where a packet comes in and goes out."""
    with Router() as lab:
        heard = listen(lab, lab.server, 80, 82)
        at_client = listen(lab, lab.client, 80, 82)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(FENCE + """
    - { name: inside out, action: allow, direction: forward, in_interface: in0, out_interface: out0, ports: 80 }
    - { name: outside in, action: allow, direction: forward, in_interface: [out0], ports: 82 }
""", inbound="drop", outbound="drop", forward="drop"))
        for v in (4, 6):
            equal(ask(lab.client, "tcp", lab.SERVER[v], 80), "open", f"v{v}: inside out")
            equal(ask(lab.server, "tcp", lab.CLIENT[v], 82), "open", f"v{v}: outside in")
            denied(lab, lab.client, lab.SERVER[v], 82, heard, heard["udp"])
            denied(lab, lab.server, lab.CLIENT[v], 80, at_client, at_client["udp"])


def test_routed_by_mark():
    """The routes that a mark leads to are not known before netfilter has set it: what ingress took for this
    host's own is judged as forwarded when it leaves again."""
    with Router() as lab:
        lab.server.ip("addr", "add", "10.9.9.9/32", "dev", "sv0")
        lab.dut.ip("route", "add", "10.9.9.9/32", "via", "10.2.0.2", "table", "100")
        lab.dut.ip("rule", "add", "fwmark", "1", "lookup", "100")
        lab.nft("""
            table inet wtmark {
                chain pre { type filter hook prerouting priority mangle;
                    ip daddr 10.9.9.9 meta mark set 1
                }
            }""")
        heard = {p: Listener(lab, lab.server, p, 80, 82, addrs=("10.9.9.9",)) for p in ("tcp", "udp")}
        fences = Listener(lab, lab.server, "udp", 9999)
        w = Weir(lab, lab.dut)
        w.run(Policy.text(FENCE + """
    - { name: through, action: allow, direction: forward, ports: 80 }
""", inbound="allow", outbound="drop", forward="drop"))
        denied(lab, lab.client, "10.9.9.9", 82, heard, fences, fence_addr=lab.SERVER[4])
        for proto in ("tcp", "udp"):
            equal(ask(lab.client, proto, "10.9.9.9", 80), "open", f"{proto}: allowed as forwarded")


if __name__ == "__main__":
    main(globals())
