#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What `weir explain` says is what happens: random policies, random conversations, one UDP datagram each;
explain's verdict against what the listener received."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

PORTS = [70, 71, 72, 73, 74]
SOURCES = {4: ["10.1.0.2", "10.1.0.3", "10.1.0.4"], 6: ["fd01::2", "fd01::3", "fd01::4"]}
NETS = ["10.1.0.2", "10.1.0.0/30", "10.1.0.3-10.1.0.9", "10.0.0.0/8", "fd01::/64", "fd01::3", "fd01::2-fd01::3",
        "10.2.0.0/24", "fd02::2", "10.1.0.1", "fd01::1", "$some"]


def random_rule(rnd, n):
    r = [f"name: r{n}", f"action: {rnd.choice(('allow', 'allow', 'drop', 'reject', 'log'))}"]

    def some(key, values, most=3):
        picked = rnd.sample(values, rnd.randrange(1, most + 1))
        return f"{key}: [{', '.join(chr(34) + str(v) + chr(34) if isinstance(v, str) else str(v) for v in picked)}]"

    for p, make in ((0.5, lambda: some("from", NETS)), (0.3, lambda: some("to", NETS)), (0.2, lambda: some("peer", NETS, 2)),
                    (0.6, lambda: some("ports", PORTS + ["70-72", "73-9000"])), (0.3, lambda: some("protocol", ["tcp", "udp"], 2)),
                    (0.4, lambda: some("direction", ["inbound", "outbound", "forward"])),
                    (0.2, lambda: some("interface", ["in0", "out0", "in*", "eth9"])),
                    (0.1, lambda: some("in_interface", ["in0", "out0"], 1)),
                    (0.1, lambda: some("source_ports", ["1024-30000", "30001-65535"], 1)),
                    (0.2, lambda: "not: { " + some("from", NETS, 2) + " }"),
                    (0.1, lambda: "not: { " + some("ports", PORTS, 2) + " }"),
                    (0.15, lambda: "mode: detect"), (0.15, lambda: "log: true")):
        if rnd.random() < p:
            part = make()
            if not any(x.split(":")[0] == part.split(":")[0] for x in r):
                r.append(part)
    return "- { " + ", ".join(r) + " }\n"


def random_policy(rnd):
    rules = "- { name: fence, action: allow, protocol: udp, ports: 9999 }\n"
    rules += "".join(random_rule(rnd, n) for n in range(rnd.randrange(1, 12)))
    word = lambda: rnd.choice(("allow", "drop", "reject", "{ action: drop, mode: detect }"))  # noqa: E731
    extra = "sets: { some: { addresses: [10.1.0.4, fd01::4, 10.2.0.2] }, bad: { addresses: [10.1.0.9, fd01::9, 192.0.2.0/24] } }\n"
    if rnd.random() < 0.3:
        extra = extra.replace("10.1.0.9", "10.1.0.4") + "blocklists: [$bad]\n"
    return Policy.text(rules, inbound=word(), outbound=word(), forward=word(),
                       mode=rnd.choice(("prevent", "prevent", "prevent", "detect")), extra=extra)


def test_explain_is_what_happens():
    import socket
    rnd = random.Random(int(os.environ.get("WEIR_SEED", "3")))
    with Router() as lab:
        lab.alias(lab.client, "cl0", "10.1.0.3/24", "10.1.0.4/24", "fd01::3/64", "fd01::4/64")
        heard = {ns: Listener(lab, ns, "udp", *PORTS, 9999, answer=False) for ns in (lab.dut, lab.server)}
        w = Weir(lab, lab.dut)
        seen = {"allow": 0, "drop": 0, "reject": 0}
        rounds = times(300, 12)
        for n in range(max(rounds, 60)):
            if n >= rounds and all(seen.values()):
                break
            text = random_policy(rnd)
            path = w.write(text)
            while w("check", path, check=False).returncode:  # conditions that cannot go together
                text = random_policy(rnd)
                path = w.write(text)
            if n == 0:
                w.run(path)
            else:
                w.apply(path)
            for _ in range(8):
                v, port = rnd.choice((4, 6)), rnd.choice(PORTS)
                direction = rnd.choice(("inbound", "outbound", "forward"))
                src_ns, dst_ns, src, dst = {
                    "inbound": (lab.client, lab.dut, rnd.choice(SOURCES[v]), lab.DUT[v]),
                    "outbound": (lab.dut, lab.server, lab.DUT_OUT[v], lab.SERVER[v]),
                    "forward": (lab.client, lab.server, rnd.choice(SOURCES[v]), lab.SERVER[v])}[direction]
                where = {"inbound": "on in0", "outbound": "on out0", "forward": "in in0 out out0"}[direction]
                with src_ns:
                    s = socket.socket(family_of(src), socket.SOCK_DGRAM)
                s.bind((src, 0))
                a, b = ("%s", "%s") if v == 4 else ("[%s]", "[%s]")
                spec = f"udp {a % src}:{s.getsockname()[1]} > {b % dst}:{port} {direction} {where}"
                said = w.json("explain", path, "--packet", spec)["enforced"]["verdict"]
                seen["allow" if said in ("pass", "allow") else said] += 1
                t = token("explain")
                heard[dst_ns].clear()
                try:
                    s.sendto(t, (dst, port))
                except OSError:
                    pass
                must(fence(src_ns, dst, heard[dst_ns], 9999), f"policy {n}: fence\n{text}")
                got = t in heard[dst_ns].payloads(port)
                if not check(got == (said in ("pass", "allow")), f"policy {n}: explain says {said}, delivered is {got}: {spec}"):
                    print(text)
                s.close()
        must(all(seen.values()), f"the policies do not even differ: {seen}")


if __name__ == "__main__":
    main(globals())
