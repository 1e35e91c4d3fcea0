# SPDX-License-Identifier: Apache-2.0
"""Real packets over veth: what weir and its peers cost where they stand, and how fast TCP is with and without weir."""
import contextlib
import json
import os
import random
import shutil
import subprocess
import time

from harness.netns import ProgramFailed, Router, sh
from harness.weir import Policy, Weir

CPU = 0
BLOCKED = (1000000, 100000, 1000)              # addresses; the first number is the budget's
PAIRS = (10, 100, 1000, 10000, 100000)         # rules for weir and nftables alike
TRACE = 1 << 17
INTERFACES = (2, 16, 64, 256)


def addr(n):
    return f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"


def traced(name, trace):
    """The file that bench_live reads."""
    path = f"/tmp/{name}"
    with open(path, "w") as f:
        f.writelines(f"{addr(s)} {d} {p}\n" for s, d, p in trace)
    return path


def schedstat():
    """What counts the CPU time of the ksoftirqd of our CPU. Opened before the namespaces hide it."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as f:
                if f.read().strip() == f"ksoftirqd/{CPU}":
                    fd = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY)
                    os.set_inheritable(fd, True)
                    return fd
        except OSError:
            pass
    return -1


class Lane(Router):
    """The client sends, the dut's in0 takes."""

    def __init__(self, bench):
        super().__init__()
        self.bench = bench
        for ns, dev in ((self.dut, "in0"), (self.client, "cl0")):
            ns.sh("ethtool", "-K", dev, "gro", "on", check=False)  # NAPI: without, frames sent by XDP are lost
        self.mac = self.dut.mac("in0")
        self.rng = random.Random(1)
        self.measure("floors", "a frame made, with no device", [(1 << 24, "10.1.0.1", 80)], device="none")

    def received(self):
        s = json.loads(self.dut.ip("-s", "-j", "link", "show", "in0").stdout)[0]["stats64"]["rx"]
        return s["packets"]

    def send(self, group, name, path, device, frames, rounds):
        """The rows that it prints. Fails when frames do not arrive."""
        before = self.received()
        argv = [self.bench.path("bench_live"), "-c", CPU, "-s", self.bench.args.schedstat, "-m", self.mac, "-n", frames,
                "-r", rounds, "-t", path, self.bench.path("traffic.bpf.o"), device, group, name]
        p = subprocess.run(self.client.argv(*argv), capture_output=True, text=True, timeout=120, close_fds=False)
        if p.returncode:
            raise RuntimeError(f"{name}: {p.stderr.strip()[-200:]}")
        arrived, sent = self.received() - before, (rounds + 1) * frames
        if device != "none" and arrived < 0.99 * sent:
            raise RuntimeError(f"{name}: {arrived} of {sent} frames arrived")
        return p.stdout

    def measure(self, group, name, trace, device="cl0", frames=200000):
        """trace: (source as a number, destination, port)."""
        self.bench.report.rows(self.send(group, name, traced("trace", trace), device, frames, 7))

    def once(self, path, device="cl0"):
        """Nanoseconds a frame, of one short round."""
        return float(self.send("-", "-", path, device, 40000, 3).split("|")[4])

    def peer(self, name, setup, trace, clear, **kw):
        """Measure another program; a reason instead when it cannot be set up here."""
        try:
            setup()
            self.measure("peers", name, trace, **kw)
        except (RuntimeError, OSError, ProgramFailed, subprocess.SubprocessError) as e:
            self.bench.report.miss("peers", name, "ns", e)
        finally:
            clear()

    def nft_clear(self):
        self.dut.sh("nft", "flush", "ruleset", check=False)

    def nft_file(self, text):
        with open("/tmp/rules.nft", "w") as f:
            f.write(text)
        self.dut.sh("nft", "-f", "/tmp/rules.nft", timeout=120)

    def nft_chain(self, body, sets=""):
        self.nft_file(f"table netdev bench {{\n{sets}\nchain in {{ type filter hook ingress device \"in0\" priority 0; "
                      f"policy drop;\n{body}\n}}\n}}\n")

    def weir(self, policy):
        """An instance with this policy in force, or the reason why not as an exception."""
        w = Weir(self, self.dut, prefix="bench-")
        try:
            w.run(policy)
        except RuntimeError:
            w.destroy()
            self.closers.remove(w.destroy)
            raise
        return w

    def end(self, w):
        w.destroy()
        self.closers.remove(w.destroy)


def listed(lane, n):
    """n addresses without a pattern, and a trace of them."""
    blocked = lane.rng.sample(range(0x0B000000, 0x7E000000), n)
    return blocked, [(lane.rng.choice(blocked), "10.1.0.1", 80) for _ in range(TRACE)]


def blocked_by_weir(lane, blocked):
    path = f"/tmp/blocked-{len(blocked)}.txt"  # each instance reads its own again when it changes
    with open(path, "w") as f:
        f.writelines(addr(a) + "\n" for a in blocked)
    return lane.weir(Policy.text("- { name: web, action: allow, direction: inbound, ports: 80 }", extra=(
        f"sets: {{ bad: {{ addresses: {{ file: {path} }} }} }}\nblocklists: [$bad]\ninterfaces: {{ in0: {{ xdp: native }} }}")))


BARE = "bare XDP_DROP, live veth"
COLD = "XDP_DROP after reading one line of 4 MiB, live veth"
MADE = "a frame made, with no device"


def drop(b, rounds=15):
    """
    B4: the whole program with a blocklist, beside a bare XDP_DROP and one that reads as little of a large table as can be
    read. A place of its own for each, and many short rounds in turn: what else the machine does falls on all of them. Then
    the peers, over the device of the bare one.
    """
    took = {}
    with contextlib.ExitStack() as stack:
        floor, cold = stack.enter_context(Lane(b)), stack.enter_context(Lane(b))
        lists = {n: listed(floor, n) for n in BLOCKED}
        paths = {n: traced(f"trace-{n}", trace) for n, (_, trace) in lists.items()}
        lanes = {n: stack.enter_context(Lane(b)) for n in BLOCKED}
        for n, lane in lanes.items():
            blocked_by_weir(lane, lists[n][0])
        with dropping(floor, "drop_xdp"), dropping(cold, "drop_cold_xdp"):
            for _ in range(rounds):
                took.setdefault(MADE, []).append(floor.once(paths[BLOCKED[0]], "none"))
                took.setdefault(BARE, []).append(floor.once(paths[BLOCKED[0]]))
                took.setdefault(COLD, []).append(cold.once(paths[BLOCKED[0]]))
                for n, lane in lanes.items():
                    took.setdefault(n, []).append(lane.once(paths[n]))
        b.report.median("floors", BARE, "ns", took[BARE])
        b.report.median("floors", COLD, "ns", took[COLD])
        b.report.median("floors", "the same, part of the rate of a bare one, net of making the frame", "times",
                        net(took[MADE], took[BARE], took[COLD]))
        for n in BLOCKED:
            b.report.median("B4", f"weir at XDP, {n} addresses, listed source", "ns", took[n])
            ratios(b, "weir" if n == BLOCKED[0] else f"weir, {n} addresses", took[MADE], took[BARE], took[n])
        peers(floor, BLOCKED[0], *lists[BLOCKED[0]])


@contextlib.contextmanager
def dropping(lane, name):
    """One of the bench's programs on its device."""
    pins = f"/sys/fs/bpf/bench-{name}"
    sh("bpftool", "prog", "loadall", lane.bench.path("traffic.bpf.o"), pins)
    lane.dut.sh("ip", "link", "set", "in0", "xdpdrv", "pinned", f"{pins}/{name}")  # `ip -n` would not see the pin
    yield
    lane.dut.ip("link", "set", "in0", "xdpdrv", "off")
    shutil.rmtree(pins)


def net(made, bare, ours):
    """Rates as ratios, round by round, without what the generator takes."""
    return [(x - m) / (y - m) for m, x, y in zip(made, bare, ours) if y > m]


def ratios(b, who, made, bare, ours):
    """Rates as ratios, round by round: a bare drop's time by ours, with and without what the generator takes."""
    b.report.median("B4", f"{who}, part of its rate, net of making the frame", "times", net(made, bare, ours))
    b.report.median("B4", f"{who}, part of its rate, with making the frame", "times", [x / y for x, y in zip(bare, ours)])


def peers(lane, n, blocked, trace):
    elements = ",\n".join(map(addr, blocked))
    lane.peer("nftables, chain without rules, policy drop", lambda: lane.nft_chain(""), trace, lane.nft_clear)
    lane.peer(f"nftables, set of {n} addresses, listed source", lambda: lane.nft_chain(
        "ip saddr @s drop", f"set s {{ type ipv4_addr; elements = {{ {elements} }} }}"), trace, lane.nft_clear)
    lane.peer(f"nftables, interval set of {n} addresses, listed source", lambda: lane.nft_chain(
        "ip saddr @s drop", f"set s {{ type ipv4_addr; flags interval; elements = {{ {elements} }} }}"), trace,
        lane.nft_clear)
    lane.peer(f"ipset, {n} addresses, listed source, raw table", lambda: ipset(lane, blocked), trace, lambda: ipset_clear(lane))
    few = blocked[:1000]  # its tool loads one address at a time
    lane.peer(f"xdp-filter, {len(few)} addresses, listed source", lambda: xdp_filter(lane, few),
              [(lane.rng.choice(few), "10.1.0.1", 80) for _ in range(TRACE)], lambda: xdp_filter_clear(lane))


def ipset(lane, blocked):
    if not shutil.which("ipset") or not shutil.which("iptables"):
        raise RuntimeError("ipset or iptables is not installed")
    with open("/tmp/ipset", "w") as f:
        f.write(f"create s hash:ip maxelem {len(blocked) + 1} hashsize {len(blocked)}\n")
        f.writelines(f"add s {addr(a)}\n" for a in blocked)
    lane.dut.sh("ipset", "restore", "-file", "/tmp/ipset", timeout=120)
    lane.dut.sh("iptables", "-t", "raw", "-A", "PREROUTING", "-m", "set", "--match-set", "s", "src", "-j", "DROP")


def ipset_clear(lane):
    if shutil.which("ipset") and shutil.which("iptables"):
        lane.dut.sh("iptables", "-t", "raw", "-F", check=False)
        lane.dut.sh("ipset", "destroy", check=False)
    lane.nft_clear()


def xdp_filter(lane, blocked):
    if not shutil.which("xdp-filter"):
        raise RuntimeError("xdp-filter is not installed")
    lane.dut.sh("xdp-filter", "load", "-m", "native", "-f", "ipv4", "in0")
    for a in blocked:
        lane.dut.sh("xdp-filter", "ip", "-m", "src", addr(a))


def xdp_filter_clear(lane):
    if shutil.which("xdp-filter"):
        lane.dut.sh("xdp-filter", "unload", "in0", check=False)


def pair_rules(rng, n):
    """Rules that do not overlap, so that both languages can say them: source network, destination, range of ports, below
    the ephemeral ones: what goes there may answer a conversation that is older than weir."""
    return [(rng.randrange(0x0C0000, 0x7E0000) << 8, 0x0B000000 + i, p := rng.randrange(1, 32000),
             p + rng.randrange(0, 50)) for i in range(n)]


def rule_text(pairs):
    return "\n".join(f"- {{ name: r{i}, action: drop, protocol: udp, from: {addr(s)}/24, to: {addr(d)}, ports: {lo}-{hi} }}"
                     for i, (s, d, lo, hi) in enumerate(pairs))


def swap(b, counts=(1000, 10000, 100000), rounds=5):
    """B9: two policies in turn, each time from the command to what every hook judges by; as the user waits for it."""
    with Lane(b) as lane:
        for n in counts:
            w = lane.weir(Policy.text())
            paths = [w.write(Policy.text(rule_text(pair_rules(lane.rng, n)))) for _ in range(2)]
            taken = []
            for i in range(rounds):
                start = time.monotonic()
                w.apply(paths[i % 2])
                taken.append(round(time.monotonic() - start, 3))
            taken.sort()
            b.report.put("B9", f"weir apply, {n} rules, in force", "s", taken[rounds // 2], taken[0], taken[-1], rounds)
            lane.end(w)


def edits(b, n_rules=100000, n_addresses=1000000, rounds=7):
    """A rule more and one less, 1,000 addresses more and as many less, beside all the others: from the command to its
    answer, when every hook judges by it. A second lies between two, so that what came before is over."""
    with Lane(b) as lane:
        blocked = lane.rng.sample(range(0x0B000000, 0x7E000000), n_addresses + 1000)
        w = lane.weir(Policy.text())
        with open(f"{w.dir}/blocked.txt", "w") as f:
            f.writelines(addr(a) + "\n" for a in blocked[1000:])
        w.apply(w.write(Policy.text(rule_text(pair_rules(lane.rng, n_rules)),
                                    extra="sets: { bad: { addresses: { file: blocked.txt } } }\nblocklists: [$bad]\n")))
        more = [addr(a) for a in blocked[:1000]]
        taken = {"rule add": [], "rule delete": [], "set add, 1,000 addresses": [], "set remove, 1,000 addresses": []}

        def timed(what, *args):
            time.sleep(1)
            start = time.monotonic()
            out = w.json(*args)
            taken[what].append(round((time.monotonic() - start) * 1000, 1))
            return out

        for _ in range(rounds):
            out = timed("rule add", "rule", "add", "--direction", "inbound", "--proto", "udp", "--port", "7", "--action", "drop")
            timed("rule delete", "rule", "delete", "--id", str(out["id"]))
            timed("set add, 1,000 addresses", "set", "add", "bad", *more)
            timed("set remove, 1,000 addresses", "set", "remove", "bad", *more)
        for what, v in taken.items():
            v.sort()
            b.report.put("edits", f"weir {what}, in force", "ms", v[rounds // 2], v[0], v[-1], rounds)
        lane.end(w)


def events(b, burst=1000000):
    """B11: that many packets at once, each of a conversation of its own that is refused and reported. What the daemon did
    not take is counted: nothing else may be missing."""
    with Lane(b) as lane:
        w = lane.weir(Policy.text())
        trace = [(s, "10.1.0.1", 81) for s in lane.rng.sample(range(0x0B000000, 0x7E000000), TRACE)]
        before, start = w.json("status", "stats"), time.monotonic()
        lane.measure("B11", "a packet that is refused and reported, while the daemon reads", trace, frames=burst // 8)
        after = w.json("status", "stats")  # what it did not read by now is in the ring: 1 MiB at most
        seconds = time.monotonic() - start
        lane.end(w)

        def more(name):
            return after["counters"].get(name, 0) - before["counters"].get(name, 0)

        dropped = sum(x["drop"] for x in after["reasons"]) - sum(x["drop"] for x in before["reasons"])
        made = [more(name) for name in ("events_verdict", "lost_verdict", "events_suppressed")]
        for name, unit, value in (
                ("events of a burst", "events", made[0] + made[1]),
                ("events taken in a burst", "k/s", made[0] / seconds / 1000),
                ("events lost and counted in a burst, of all", "times", made[1] / max(1, made[0] + made[1])),
                ("packets of a burst that are neither reported, nor counted as lost or held back", "events",
                 abs(dropped - sum(made)))):
            b.report.put("B11", name, unit, *[round(value, 3)] * 3, 1)


def same_rules(b):
    """The same rules and the same packets for weir and for an nftables verdict map of intervals (pipapo), at ingress."""
    with Lane(b) as lane:
        lane.dut.ip("route", "add", "local", "11.0.0.0/8", "dev", "lo")  # their destinations: else weir judges where they leave
        for n in PAIRS:
            v = pair_rules(lane.rng, n)
            trace = [(s + lane.rng.randrange(256), addr(d), lane.rng.randint(lo, hi))
                     for s, d, lo, hi in (lane.rng.choice(v) for _ in range(TRACE))]
            frames = 100000 if n < 10000 else 30000
            elements = ",\n".join(f"{addr(s)}/24 . {addr(d)} . {lo}-{hi} : drop" for s, d, lo, hi in v)
            theirs, mine = f"nftables, verdict map of {n} rules (pipapo)", f"weir at TC, {n} rules, the same"
            lane.peer(theirs, lambda: lane.nft_chain(
                "ip saddr . ip daddr . udp dport vmap @m",
                f"map m {{ type ipv4_addr . ipv4_addr . inet_service : verdict; flags interval; elements = {{ {elements} }} }}"),
                trace, lane.nft_clear, frames=frames)
            text = rule_text(v)
            try:
                w = lane.weir(Policy.text())
            except RuntimeError as e:
                b.report.miss("whole", mine, "ns", e)
                continue
            try:
                w.apply(w.write(Policy.text(text)))
                lane.measure("whole", mine, trace, frames=frames)
            except RuntimeError as e:
                b.report.miss("whole", mine, "ns", e)
            lane.end(w)
            b.report.ratio("peers", f"nftables by weir, {n} rules, times", ("peers", theirs), ("whole", mine))
        b.report.ratio("B2", "whole packet at TC, 100,000 rules by 10, times", *(
            ("whole", f"weir at TC, {n:,} rules, the same") for n in (PAIRS[-1], PAIRS[0])))


def busy():
    """
    Seconds that the processors did not idle, of everyone, without what was stolen from them. The kernel keeps idle time by
    the clock; how much of the rest was whose it counts in ticks, which is too coarse for one short transfer.
    """
    with open("/proc/stat") as f:
        _, _, _, idle, iowait, _, _, steal = map(int, f.readline().split()[1:9])
    return time.monotonic() * os.cpu_count() - (idle + iowait + steal) / os.sysconf("SC_CLK_TCK")


def tcp_rate(lane, server, address):
    """
    Gbit/s of one TCP connection, and Gbit per second of a processor: on veth all of it is work, and this does not move
    with what a neighbour takes. The server listens when its port is bound: iperf3 says so.
    """
    s = server.spawn("iperf3", "-s", "-1", "--forceflush", stdout=subprocess.PIPE, text=True)
    while "listening" not in (line := s.stdout.readline()):
        if not line:
            raise RuntimeError("iperf3 -s did not start")
    worked = busy()
    p = lane.client.sh("iperf3", "-c", address, "-n", "768M", "-J", timeout=30)
    s.wait(10)
    worked = busy() - worked
    s.stdout.close()
    got = json.loads(p.stdout)["end"]["sum_received"]
    return got["bits_per_second"] / 1e9, got["bytes"] * 8 / 1e9 / worked


def throughput(b, rounds=20):
    """A place of its own for each mode, and many short rounds in turn: what else the machine does falls on all of them."""
    if not shutil.which("iperf3"):
        raise RuntimeError("iperf3 is not installed")
    rates = {}
    with contextlib.ExitStack() as stack:
        lanes = {mode: stack.enter_context(Lane(b)) for mode in ("off", "detect", "prevent")}
        for mode in ("detect", "prevent"):
            lanes[mode].weir(Policy.text(
                "- { name: iperf, action: allow, direction: [inbound, forward], protocol: tcp, ports: 5201 }",
                forward="drop", mode=mode))
        for _ in range(rounds):
            for mode, lane in lanes.items():
                for way, server, address in (("local", lane.dut, lane.DUT[4]), ("forwarded", lane.server, lane.SERVER[4])):
                    rates.setdefault((way, mode), []).append(tcp_rate(lane, server, address))
    for (way, mode), v in rates.items():
        b.report.median("throughput", f"TCP {way}, weir {mode}", "Gbit/s", [wall for wall, _ in v])
    for way in ("local", "forwarded"):
        for mode in ("detect", "prevent"):
            pairs = list(zip(rates[way, mode], rates[way, "off"]))
            b.report.median("throughput", f"TCP {way}, weir {mode}, part of the rate without", "times",
                            [x / y for (_, x), (_, y) in pairs])
            b.report.median("throughput", f"TCP {way}, weir {mode}, by the wall clock", "times", [x / y for (x, _), (y, _) in pairs])


def memory(b):
    """B10: what the daemon's processes have resident, default policy; and what attaching many interfaces takes."""
    with Lane(b) as lane:
        w = lane.weir(None)
        pids = [w.daemon.pid] + children(w.daemon.pid)
        each = {}
        for pid in pids:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                kb = next(int(x.split()[1]) for x in f if x.startswith("Rss:"))
            each[pid] = kb
        total = sum(each.values()) / 1024
        b.report.put("B10", "keeper, worker and helper, resident", "MB", total, total, total, 1)
        lane.end(w)


def children(pid):
    out = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(x) for x in out] + [y for x in out for y in children(int(x))]


def interfaces(b):
    """How long weir takes until it covers so many interfaces, and what a packet costs then."""
    for n in INTERFACES:
        with Lane(b) as lane:
            text = "".join(f"link add p{i} type veth peer name q{i}\nlink set p{i} up\nlink set q{i} up\n"
                           for i in range((n - 2) // 2))  # in0 and out0 are there
            subprocess.run(["ip", "-n", lane.dut.name, "-batch", "-"], input=text, text=True, check=True, timeout=60)
            start = time.monotonic()
            w = lane.weir(Policy.text("- { name: web, action: allow, direction: inbound, ports: 80 }"))
            b.report.put("growth", f"weir up with {n} interfaces", "s", *[round(time.monotonic() - start, 3)] * 3, 1)
            mine = f"drop by the default at TC, {n} interfaces"
            trace = [(lane.rng.randrange(0x0B000000, 0x7E000000), "10.1.0.1", 81) for _ in range(TRACE)]
            lane.measure("growth", mine, trace)
            lane.end(w)
            if n == INTERFACES[0]:  # the same from one that keeps flows, too, and tells nobody
                theirs = "nftables with conntrack, input hook, drop by the default"
                lane.peer(theirs, lambda: lane.nft_file(
                    "table inet bench {\nchain in {\ntype filter hook input priority 0; policy drop;\n"
                    "ct state established,related accept\nudp dport 80 accept\n}\n}\n"), trace, lane.nft_clear)
                b.report.ratio("peers", "nftables with conntrack by weir, drop by the default, times", ("peers", theirs),
                               ("growth", mine))
