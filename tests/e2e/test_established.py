#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""flows.established: what a change of the policy does to conversations that it would not allow any more. keep lets
them go on, recheck cuts them, kill also ends their sockets on this host. TCP and UDP, IPv4 and IPv6, opened from
outside, from here, and forwarded. What the change allows is never touched."""
import errno
import os
import socket
import time
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import *  # noqa: F403

PORTS = {"inbound": (5000, 5001), "outbound": (5100, 5101), "forward": (5200, 5201)}  # the first stays allowed
FENCE = "- { name: fence, action: allow, protocol: udp, ports: 9999 }\n"


def policy(word, both):
    rules = FENCE + "".join(f"- {{ name: {way}, action: allow, direction: {way}, "
                            f"ports: [{', '.join(map(str, ports if both else ports[:1]))}] }}\n"
                            for way, ports in PORTS.items())
    return Policy.text(rules, inbound="drop", outbound="drop", forward="drop",
                       extra=f"flows: {{ established: {word}, adopt_window: 1s }}")


class Pair:
    """Two connected sockets: `opener` in one namespace, `answerer` in another."""

    def __init__(self, lab, proto, opener, answerer, addr, port):
        self.proto = proto
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        with answerer:
            ls = socket.socket(family_of(addr), kind)
        ls.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ls.settimeout(PATIENCE)
        ls.bind((addr, port))
        with opener:
            a = socket.socket(family_of(addr), kind)
        a.settimeout(PATIENCE)
        if proto == "tcp":
            ls.listen(1)
            a.connect((addr, port))
            b, _ = ls.accept()
            ls.close()
        else:
            a.connect((addr, port))
            a.send(b"hello")
            b = ls
            b.connect(b.recvfrom(100)[1])
        self.ends = {"opener": a, "answerer": b}
        for s in self.ends.values():
            s.settimeout(PATIENCE)
            lab.on_close(s.close)
        for who in self.ends:
            must(self.talks(who), f"{proto} {addr} {port}: the {who} is not heard before the change")

    def talks(self, who):
        """What this end says is heard at the other."""
        t = token("talk")
        other = self.ends["answerer" if who == "opener" else "opener"]
        try:
            self.ends[who].sendall(t) if self.proto == "tcp" else self.ends[who].send(t)
            return other.recv(4096) == t
        except OSError:
            return False

    def say(self, who):
        try:
            self.ends[who].send(b"denied")
        except OSError:
            pass

    def heard(self, who):
        """What an end has received without waiting: bytes, or the error that its socket reports, or nothing."""
        s = self.ends[who]
        s.setblocking(False)
        try:
            return s.recv(4096)
        except BlockingIOError:
            return None
        except OSError as e:
            return e.errno
        finally:
            s.settimeout(PATIENCE)


class Ways:
    """The conversations of all kinds, and fences in every direction that they take."""

    def __init__(self, lab):
        self.lab = lab
        self.where = {"inbound": (lab.client, lab.dut, lab.DUT), "outbound": (lab.dut, lab.server, lab.SERVER),
                      "forward": (lab.client, lab.server, lab.SERVER)}
        self.fences = {ns: Listener(lab, ns, "udp", 9999) for ns in (lab.client, lab.dut, lab.server)}
        self.addr = {lab.client: lab.CLIENT, lab.dut: lab.DUT, lab.server: lab.SERVER}

    def converse(self, which):
        return {(way, v, proto): Pair(self.lab, proto, a, b, addrs[v], PORTS[way][which])
                for way, (a, b, addrs) in self.where.items() for v in (4, 6) for proto in ("tcp", "udp")}

    def fence(self, way, v):
        """What was sent either way before has arrived or never will."""
        a, b, _ = self.where[way]
        for here, there in ((a, b), (b, a)):
            must(fence(here, self.addr[there][v], self.fences[there], 9999), f"fence {way} v{v}")

    def cut(self, way, v, pair, what, own=()):
        """Neither end hears the other. `own`: ends whose socket must have been ended here."""
        for who in pair.ends:
            pair.say(who)
        self.fence(way, v)
        for who in pair.ends:
            got = pair.heard(who)
            if who in own: # the error is told once, to what was said just now; then it is the end
                check(got in (b"", errno.ECONNABORTED, errno.ECONNRESET, errno.EPIPE), f"{what}: the socket of the {who} "
                      f"still lives: {got}")
            else:
                check(got is None or isinstance(got, int), f"{what}: the {who} hears {got!r}")


def change(word):
    lab = Router()
    with lab:
        ways = Ways(lab)
        w = Weir(lab, lab.dut)
        w.run(policy(word, True))
        staying, going = ways.converse(0), ways.converse(1)
        w.apply(policy(word, False))
        for (way, v, proto), pair in staying.items():
            for who in pair.ends:
                check(pair.talks(who), f"{word} {way} v{v} {proto}: allowed, and the {who} is not heard")
        yield lab, ways, w, going
        # a new one is denied whatever the word says
        for way, (a, _, addrs) in ways.where.items():
            for v in (4, 6):
                p = Probe(a, "tcp", addrs[v], PORTS[way][1])
                ways.fence(way, v)
                check(p.quiet() or p.error, f"{word} {way} v{v}: a new conversation is let through")
                p.close()


def test_keep():
    for _, _, _, going in change("keep"):
        for (way, v, proto), pair in going.items():
            for n in range(2):
                for who in pair.ends:
                    check(pair.talks(who), f"keep {way} v{v} {proto}: the {who} is not heard")


def test_recheck():
    for _, ways, _, going in change("recheck"):
        for (way, v, proto), pair in going.items():
            ways.cut(way, v, pair, f"recheck {way} v{v} {proto}")


def tries(pair, who):
    """What TCP thinks of what it sent last: times that it sent it again, and times that this host did not take it."""
    info = pair.ends[who].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    return info[2], info[3]  # tcpi_retransmits, tcpi_probes


def test_cut_is_lost_not_refused():
    """To a socket of this host what is dropped is lost, as in a network: it goes on as TCP does, for minutes. What the
    queueing layer refuses TCP gives up after 8 seconds, before a mistaken change has gone back."""
    for _, ways, _, going in change("recheck"):
        for (way, v, proto), pair in going.items():
            who = {"inbound": "answerer", "outbound": "opener"}.get(way)
            if proto == "tcp" and who:
                pair.say(who)
                check(eventually(lambda: max(tries(pair, who)) > 1), f"{way} v{v}: it is not sent again")
                check(tries(pair, who)[1] == 0, f"{way} v{v}: this host refused it: {tries(pair, who)}")


def test_kill():
    """The dut's own sockets end; what is forwarded is cut, for its sockets are another host's."""
    own = {"inbound": ("answerer",), "outbound": ("opener",), "forward": ()}
    for _, ways, w, going in change("kill"):
        for (way, v, proto), pair in going.items():
            ways.cut(way, v, pair, f"kill {way} v{v} {proto}", own[way])
        with open(f"{w.log}/audit.log") as f:
            told = [x for x in f if "conversation ended" in x]
        equal(len(told), 8, "ended conversations that the audit log tells of")


def test_kill_spares_servers():
    """A UDP server that is not connected and a listening socket serve others: they are never ended."""
    with Router() as lab:
        tcp, udp = Listener(lab, lab.dut, "tcp", 5000, 5001), Listener(lab, lab.dut, "udp", 5000, 5001, 9999)
        w = Weir(lab, lab.dut)
        w.run(policy("kill", True))
        for proto in ("tcp", "udp"):
            equal(ask(lab.client, proto, lab.DUT[4], 5001), "open", f"{proto} before")
        w.apply(policy("kill", False))
        w.apply(policy("kill", True))
        for proto in ("tcp", "udp"):
            for v in (4, 6):
                equal(ask(lab.client, proto, lab.DUT[v], 5001), "open", f"{proto} v{v} after")
        must(tcp.accepted and udp.got, "nobody was served")


def test_edits_cut_whatever_the_word():
    """An edit of the overlay or of a set looks at the live conversations that it touches again, under keep, too."""
    text = Policy.text(FENCE + """
- { name: friends, action: allow, direction: inbound, from: $friends, ports: 5000 }
- { name: others, action: allow, direction: inbound, ports: 5001 }
""", inbound="drop", extra="""
flows: { established: keep, adopt_window: 1s }
sets: { friends: { addresses: [10.1.0.2, "fd01::2"] } }
""")
    with Router() as lab:
        ways = Ways(lab)
        w = Weir(lab, lab.dut)
        w.run(text)
        for v in (4, 6):
            in_set = Pair(lab, "tcp", lab.client, lab.dut, lab.DUT[v], 5000)
            other = Pair(lab, "udp", lab.client, lab.dut, lab.DUT[v], 5001)
            w("set", "remove", "friends", lab.CLIENT[v])
            ways.cut("inbound", v, in_set, f"v{v}: its address left the set")
            check(other.talks("opener") and other.talks("answerer"), f"v{v}: untouched by the edit of the set")
            rule = w.json("rule", "add", "--src", lab.CLIENT[v], "--port", "5001", "--proto", "udp", "--direction",
                          "inbound", "--action", "drop")["id"]
            ways.cut("inbound", v, other, f"v{v}: a new rule of the overlay denies it")
            w("rule", "delete", "--id", str(rule))
            check(other.talks("opener") and other.talks("answerer"), f"v{v}: allowed again")


def test_edits_that_ask_for_what_is_lost():
    """An added rule that asks for a MAC address, a mark or the time of day is not known to touch what lives: recheck_unknown
    says what then, as it does of rules of the file."""
    far = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(time.localtime().tm_wday + 3) % 7]
    for word in ("keep", "drop"):
        with Router() as lab:
            ways = Ways(lab)
            w = Weir(lab, lab.dut)
            w.run(Policy.text(FENCE + "- { name: ok, action: allow, direction: [inbound, forward], ports: [5000-5005] }",
                              inbound="drop", forward="drop",
                              extra=f"flows: {{ adopt_window: 1s, recheck_unknown: {word} }}"))
            for n, what in enumerate((("--mac", "02:00:00:00:00:09"), ("--mark", "77"), ("--time", far))):
                lives = [(way, v, proto, Pair(lab, proto, a, b, addrs[v], 5000 + 2 * n))
                         for way, (a, b, addrs) in ways.where.items() if way != "outbound" for v, proto in ((4, "tcp"), (6, "udp"))]
                w("rule", "add", "--action", "drop", "--port", "5000-5005", *what, "--force")
                for way, v, proto, pair in lives:
                    if word == "drop":
                        ways.cut(way, v, pair, f"{what} {way} {proto}, recheck_unknown: drop")
                    else:
                        check(pair.talks("opener") and pair.talks("answerer"), f"{what} {way} {proto}: lives")
                    Pair(lab, proto, *ways.where[way][:2], ways.where[way][2][v], 5001 + 2 * n)
                w("rule", "add", "--action", "allow", "--port", "9", "--proto", "tcp", "--force")
                for way, v, proto, pair in lives:
                    check(word == "drop" or pair.talks("opener"), f"{what} {way} {proto}: after an edit that is about something else")
                w("rule", "clear", "--force")



def test_an_edit_about_somebody_else():
    """A ban of another, and one that ends, cut no flow of a rule with a time, whatever recheck_unknown says."""
    for word in ("drop", "keep"):
        with Router() as lab:
            w = Weir(lab, lab.dut)
            w.run(Policy.text('- { name: day, action: allow, direction: inbound, ports: 5000, time: "00:00-24:00" }',
                              inbound="drop", extra=f"flows: {{ recheck_unknown: {word} }}"))
            p = Pair(lab, "udp", lab.client, lab.dut, lab.DUT[4], 5000)
            must(p.talks("opener"), f"{word}: no conversation")
            w("ban", "add", "203.0.113.9")
            check(p.talks("opener"), f"{word}: a ban of another address cut it")
            w("ban", "add", lab.CLIENT[4], "--force")
            p.say("opener")  # it is stopped, and the flow says so
            w("ban", "remove", lab.CLIENT[4])
            check(p.talks("opener"), f"{word}: after its own ban it is cut for good")


if __name__ == "__main__":
    main(globals())
