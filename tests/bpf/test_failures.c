/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs do when a part of weir fails: each failure simulated, with each choice, in both modes. One line
 * of TAP for each packet that is judged.
 */
#include "tests/bpf/kernel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/policy.h"
#include "core/wire.h"
#include "tests/harness/packet.h"

#define HERE 0x0a000001u
#define PEER 0x0a000002u
#define FRIEND 0x0a000003u /* admitted by the failsafe */
#define SYN WEIR_TCP_SYN
#define ACK WEIR_TCP_ACK
#define IN "weir_tc_in"
#define OUT "weir_tc_out"

static struct weir_runner runner;
static struct weir_frame f;
static uint32_t generation;
static int line, failed;

static void say(bool ok, const char *what, const char *name)
{
	printf("%sok %d - %s: %s\n", ok ? "" : "not ", ++line, what, name);
	failed += !ok;
}

static const char *what;

static void expect(const char *name, const char *prog, uint32_t in_ifindex, bool pass, enum weir_reason reason)
{
	struct weir_run x = { .prog = prog, .frame = f.b, .in_ifindex = in_ifindex };
	const struct weir_scratch *last;

	weir_frame_end(&f);
	x.len = f.len;
	if (weir_runner_run(&runner, &x) || !(last = weir_runner_last(&runner))) {
		say(false, what, name);
		return;
	}
	if ((x.ret == -1) == pass && (pass || last->res.enforced_reason == reason)) {
		say(true, what, name);
		return;
	}
	say(false, what, name);
	printf("# returned %d, enforced %u, reason %u\n", x.ret, last->res.enforced, last->res.enforced_reason);
}

/* Default drop; tcp 443 inwards is allowed; the friend is in the failsafe. */
static void install(enum weir_mode mode, enum weir_failure failure, uint8_t choice, bool simulate, uint32_t block)
{
	static struct weir_imgbuild build;
	struct weir_rule *r;
	uint32_t size;
	void *blob;

	weir_imgbuild_init(&build);
	build.cfg.mode = mode;
	build.cfg.generation = build.cfg.epoch = ++generation;
	build.cfg.essentials = WEIR_ESS_ARP;
	build.cfg.failures.choice[failure] = choice;
	build.cfg.failures.daemon_after_s = 5;
	build.cfg.failures.simulate = simulate ? 1u << failure : 0;
	build.cfg.block_new = block;
	build.cfg.malformed = (struct weir_fixed){ .action = WEIR_ACT_DROP, .mode = (uint8_t)mode };
	for (int i = 0; i < 3; i++)
		build.cfg.defaults[i] = (struct weir_fixed){ .action = WEIR_ACT_DROP, .mode = (uint8_t)mode };
	r = weir_imgbuild_rule(&build, WEIR_ACT_ALLOW);
	r->mode = (uint8_t)mode;
	r->pos.set = WEIR_C_PORTS;
	r->pos.ports = weir_imgbuild_ports(&build, 443, 443);
	weir_cond_proto(&r->pos, WEIR_IPPROTO_TCP);
	r = weir_imgbuild_failsafe(&build);
	r->pos.set = WEIR_C_FROM;
	r->pos.from = weir_imgbuild_addrs(&build, "10.0.0.3", NULL);
	blob = weir_imgbuild_make(&build, &size);
	if (weir_runner_install(&runner, blob, size, 1, 0, 0))
		say(false, what, "install");
	free(blob);
}

static void tcp(uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport, uint8_t flags)
{
	weir_frame_eth(&f, WEIR_ETH_IP4);
	weir_frame_ip4(&f, src, dst, 0, NULL, 0);
	weir_frame_tcp(&f, sport, dport, flags, flags == SYN ? 100 : 101, flags & ACK ? 501 : 0);
}

static void handshake(uint16_t port)
{
	tcp(PEER, HERE, port, 443, SYN);
	expect("a live flow, SYN", IN, 0, true, 0);
	tcp(HERE, PEER, 443, port, SYN | ACK);
	weir_put32(f.b + f.l4 + 4, 500);
	weir_put32(f.b + f.l4 + 8, 101);
	expect("a live flow, SYN-ACK", OUT, 0, true, 0);
	tcp(PEER, HERE, port, 443, ACK);
	expect("a live flow, ACK", IN, 0, true, 0);
}

static void arp(void)
{
	weir_frame_eth(&f, 0x0806);
	weir_frame_bytes(&f, NULL, 28);
}

static struct weir_control control(void)
{
	struct weir_control c = { 0 };
	uint32_t zero = 0;

	bpf_map_lookup_elem(weir_kern_map_fd(runner.kern, "weir_control"), &zero, &c);
	return c;
}

static void control_put(const struct weir_control *c)
{
	uint32_t zero = 0;

	bpf_map_update_elem(weir_kern_map_fd(runner.kern, "weir_control"), &zero, c, BPF_ANY);
}

static uint64_t counted(enum weir_stat s)
{
	struct weir_counter v[WEIR_STATS_MAX] = { 0 };

	weir_kern_stats(runner.kern, v, WEIR_STATS_MAX);
	return v[WEIR_REASON_COUNT * 3 + s].packets;
}

/* The alternatives of a dead daemon; `now`: seconds that the last sign of life is old. */
static void daemon_packets(bool denied_pass, bool allowed_pass, bool prevent)
{
	tcp(PEER, HERE, 5000, 25, SYN);
	expect("denied by the rules", IN, 0, denied_pass, allowed_pass ? WEIR_REASON_DEFAULT : WEIR_REASON_DAEMON_DEAD);
	tcp(PEER, HERE, 4000, 443, ACK);
	expect("of a live flow", IN, 0, allowed_pass, WEIR_REASON_DAEMON_DEAD);
	tcp(PEER, HERE, 5001, 443, SYN);
	expect("allowed by the rules", IN, 0, allowed_pass, WEIR_REASON_DAEMON_DEAD);
	tcp(HERE, PEER, 443, 4000, ACK);
	expect("answer of a live flow", OUT, 0, allowed_pass, WEIR_REASON_DAEMON_DEAD);
	tcp(FRIEND, HERE, 5002, 22, SYN);
	expect("of the failsafe", IN, 0, true, 0);
	arp();
	expect("ARP", IN, 0, true, 0);
	weir_frame_eth(&f, 0x9999);
	weir_frame_bytes(&f, NULL, 50);
	expect("no IP", IN, 0, allowed_pass, WEIR_REASON_DAEMON_DEAD);
	tcp(PEER, HERE, 0, 443, SYN);
	expect("malformed", IN, 0, denied_pass || !prevent, allowed_pass ? WEIR_REASON_PORT_ZERO : WEIR_REASON_DAEMON_DEAD);
}

static void daemon_dead(void)
{
	uint64_t before;

	what = "daemon dead, keep";
	install(WEIR_PREVENT, WEIR_FAILURE_DAEMON_DEAD, WEIR_DAEMON_KEEP, true, 0);
	handshake(4000);
	daemon_packets(false, true, true);
	say(!counted(WEIR_STAT_FAIL_DAEMON), what, "nothing is counted");
	what = "daemon dead, open";
	install(WEIR_PREVENT, WEIR_FAILURE_DAEMON_DEAD, WEIR_DAEMON_OPEN, true, 0);
	daemon_packets(true, true, true);
	what = "daemon dead, closed";
	install(WEIR_PREVENT, WEIR_FAILURE_DAEMON_DEAD, WEIR_DAEMON_CLOSED, true, 0);
	before = counted(WEIR_STAT_FAIL_DAEMON);
	daemon_packets(false, false, true);
	say(counted(WEIR_STAT_FAIL_DAEMON) == before + 8, what, "each packet is counted");
	what = "daemon dead, closed, in detect";
	install(WEIR_DETECT, WEIR_FAILURE_DAEMON_DEAD, WEIR_DAEMON_CLOSED, true, 0);
	daemon_packets(true, true, false);
}

/* The clock decides, not the drill. */
static void daemon_clock(void)
{
	static const struct {
		const char *name;
		uint64_t age; /* ns; 0, 1: what the word itself says */
		bool dead;
	} cases[] = { { "no sign of life yet", 0, false },
		      { "ended on purpose", 1, false },
		      { "a second ago", 1000000000u, false },
		      { "six seconds ago", 6000000000u, true } };
	struct weir_control c;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		what = cases[i].name;
		install(WEIR_PREVENT, WEIR_FAILURE_DAEMON_DEAD, WEIR_DAEMON_CLOSED, false, 0);
		c = control();
		c.alive = !cases[i].age ? 0 : cases[i].age == 1 ? UINT64_MAX : weir_kern_now() - cases[i].age;
		control_put(&c);
		tcp(PEER, HERE, (uint16_t)(5100 + i), 443, SYN);
		expect("closed", IN, 0, !cases[i].dead, WEIR_REASON_DAEMON_DEAD);
	}
	c.alive = UINT64_MAX;
	control_put(&c);
}

static void table_full(void)
{
	struct weir_control c;
	uint64_t before;

	what = "table full, drop_new";
	install(WEIR_PREVENT, WEIR_FAILURE_TABLE_FULL, WEIR_TABLE_DROP_NEW, false, 0);
	handshake(4001);
	install(WEIR_PREVENT, WEIR_FAILURE_TABLE_FULL, WEIR_TABLE_DROP_NEW, true, 0);
	before = counted(WEIR_STAT_FAIL_TABLE);
	tcp(PEER, HERE, 5200, 443, SYN);
	expect("a new flow", IN, 0, false, WEIR_REASON_TABLE_FULL);
	say(counted(WEIR_STAT_FAIL_TABLE) == before + 1, what, "it is counted");
	tcp(PEER, HERE, 4001, 443, ACK);
	expect("a live one", IN, 0, true, 0);
	tcp(FRIEND, HERE, 5201, 22, SYN);
	expect("the failsafe's", IN, 0, true, 0);
	tcp(PEER, HERE, 5202, 25, SYN);
	expect("a denied one", IN, 0, false, WEIR_REASON_DEFAULT);

	what = "table full, pass";
	install(WEIR_PREVENT, WEIR_FAILURE_TABLE_FULL, WEIR_TABLE_PASS, true, 0);
	tcp(PEER, HERE, 5203, 443, SYN);
	expect("a new flow", IN, 0, true, 0);
	tcp(HERE, PEER, 443, 5203, SYN | ACK);
	expect("its answer, as the asked one's", OUT, 0, true, 0);
	tcp(PEER, HERE, 5203, 443, ACK);
	expect("its third segment", IN, 0, true, 0);
	tcp(PEER, HERE, 5204, 25, ACK);
	expect("the middle of a denied one", IN, 0, false, WEIR_REASON_DEFAULT);

	what = "table full, drop_all";
	install(WEIR_PREVENT, WEIR_FAILURE_TABLE_FULL, WEIR_TABLE_DROP_ALL, true, 0);
	tcp(PEER, HERE, 5205, 443, SYN);
	expect("a new flow", IN, 0, false, WEIR_REASON_TABLE_FULL);
	install(WEIR_PREVENT, WEIR_FAILURE_TABLE_FULL, WEIR_TABLE_DROP_ALL, false, 0);
	c = control();
	c.table_full = weir_kern_now();
	control_put(&c);
	tcp(PEER, HERE, 5206, 443, SYN);
	expect("another one within the second", IN, 0, false, WEIR_REASON_TABLE_FULL);
	tcp(PEER, HERE, 4001, 443, ACK);
	expect("a live one", IN, 0, true, 0);
	tcp(FRIEND, HERE, 5207, 22, SYN);
	expect("the failsafe's", IN, 0, true, 0);
	c.table_full -= 1000000000u;
	control_put(&c);
	tcp(PEER, HERE, 5208, 443, SYN);
	expect("a new one after the second", IN, 0, true, 0);

	for (uint8_t choice = 0; choice <= WEIR_TABLE_DROP_ALL; choice++) {
		what = "table full, in detect";
		install(WEIR_DETECT, WEIR_FAILURE_TABLE_FULL, choice, true, 0);
		for (uint16_t i = 0; i < 3; i++) {
			tcp(PEER, HERE, (uint16_t)(5300 + i), i ? 443 : 25, i == 2 ? ACK : SYN);
			expect("any packet", IN, 0, true, 0);
		}
	}
	c = control();
	c.table_full = 0;
	control_put(&c);
}

static void blocked(void)
{
	what = "disk full";
	install(WEIR_PREVENT, WEIR_FAILURE_DISK_FULL, WEIR_DISK_DROP, false, 0);
	handshake(4002);
	install(WEIR_PREVENT, WEIR_FAILURE_DISK_FULL, WEIR_DISK_DROP, false, WEIR_REASON_DISK_FULL);
	tcp(PEER, HERE, 5400, 443, SYN);
	expect("a new flow", IN, 0, false, WEIR_REASON_DISK_FULL);
	tcp(PEER, HERE, 4002, 443, ACK);
	expect("a live one", IN, 0, true, 0);
	tcp(FRIEND, HERE, 5401, 22, SYN);
	expect("the failsafe's", IN, 0, true, 0);
	install(WEIR_DETECT, WEIR_FAILURE_DISK_FULL, WEIR_DISK_DROP, false, WEIR_REASON_DISK_FULL);
	tcp(PEER, HERE, 5402, 443, SYN);
	expect("a new flow, in detect", IN, 0, true, 0);
}

static void later_fragment(uint16_t id)
{
	weir_frame_eth(&f, WEIR_ETH_IP4);
	weir_frame_ip4(&f, PEER, 0x0a020002, 4, NULL, 0);
	weir_put16(f.b + f.l3 + 4, id);
	weir_frame_proto(&f, WEIR_IPPROTO_TCP);
	weir_frame_bytes(&f, NULL, 16);
}

static void fragments(void)
{
	for (int mode = WEIR_DETECT; mode <= WEIR_PREVENT; mode++) {
		for (uint8_t choice = 0; choice <= WEIR_FRAGMENT_PASS; choice++) {
			uint64_t before;

			what = choice ? "fragment lost, pass" : "fragment lost, drop";
			install((enum weir_mode)mode, WEIR_FAILURE_FRAGMENT, choice, true, 0);
			before = counted(WEIR_STAT_FAIL_FRAGMENT);
			later_fragment(7);
			if (runner.no_way_in) {
				printf("ok %d - %s: a forwarded one # SKIP the test run of this kernel takes no way in\n",
				       ++line, what);
			} else {
				expect("a forwarded one", OUT, WEIR_RUN_IN_IFINDEX, choice || mode == WEIR_DETECT,
				       WEIR_REASON_FRAG_NO_FIRST);
				say(counted(WEIR_STAT_FAIL_FRAGMENT) == before + 1, what, "it is counted");
			}
			expect("one for this host", IN, 0, true, 0);
		}
	}
}

static void ring(void)
{
	uint64_t lost, held, sent;

	what = "ring full, count";
	install(WEIR_PREVENT, WEIR_FAILURE_RING_FULL, WEIR_RING_COUNT, true, 0);
	lost = counted(WEIR_STAT_LOST_VERDICT);
	for (uint16_t i = 0; i < 10; i++) {
		tcp(PEER, HERE, (uint16_t)(5500 + i), 25, SYN);
		expect("a denied one", IN, 0, false, WEIR_REASON_DEFAULT);
	}
	say(counted(WEIR_STAT_LOST_VERDICT) == lost + 10, what, "each record is counted as lost");
	what = "ring full, throttle";
	install(WEIR_PREVENT, WEIR_FAILURE_RING_FULL, WEIR_RING_THROTTLE, true, 0);
	held = counted(WEIR_STAT_FAIL_RING);
	sent = counted(WEIR_STAT_EV_VERDICT);
	for (uint16_t i = 0; i < 10; i++) {
		tcp(PEER, HERE, (uint16_t)(5600 + i), 25, SYN);
		expect("a denied one", IN, 0, false, WEIR_REASON_DEFAULT);
	}
	tcp(0x0a000004, HERE, 5600, 25, SYN);
	expect("one of another source", IN, 0, false, WEIR_REASON_DEFAULT);
	held = counted(WEIR_STAT_FAIL_RING) - held;
	sent = counted(WEIR_STAT_EV_VERDICT) - sent;
	say(held + sent == 11, what, "each record was sent or held back");
	say(sent >= 2 && sent <= 3, what, "one of each source was sent (three: a second went by)");
	what = "ring not full, throttle";
	install(WEIR_PREVENT, WEIR_FAILURE_RING_FULL, WEIR_RING_THROTTLE, false, 0);
	sent = counted(WEIR_STAT_EV_VERDICT);
	for (uint16_t i = 0; i < 10; i++) {
		tcp(PEER, HERE, (uint16_t)(5700 + i), 25, SYN);
		expect("a denied one", IN, 0, false, WEIR_REASON_DEFAULT);
	}
	say(counted(WEIR_STAT_EV_VERDICT) == sent + 10, what, "each record is sent");
	/* nobody reads: more than the ring holds */
	held = counted(WEIR_STAT_FAIL_RING);
	for (uint32_t i = 0; i < 20000 && counted(WEIR_STAT_FAIL_RING) == held; i++) {
		for (uint32_t k = 0; k < 64; k++) {
			struct weir_run x = { .prog = IN, .frame = f.b };

			tcp(PEER, HERE, (uint16_t)(1024 + i * 64 + k), 25, SYN);
			weir_frame_end(&f);
			x.len = f.len;
			weir_runner_run(&runner, &x);
		}
	}
	weir_runner_last(&runner);
	say(counted(WEIR_STAT_FAIL_RING) > held, what, "a flood fills it, and is held back then");
	sent = counted(WEIR_STAT_EV_VERDICT);
	tcp(0x0a000005, HERE, 5800, 25, SYN);
	expect("one of another source", IN, 0, false, WEIR_REASON_DEFAULT);
	say(counted(WEIR_STAT_EV_VERDICT) == sent + 1, what, "is still told");
	say(!(counted(WEIR_STAT_LOST_VERDICT) - lost - 10), what, "and none was lost");
}

static void unparsable(void)
{
	for (int mode = WEIR_DETECT; mode <= WEIR_PREVENT; mode++) {
		what = "unparsable";
		install((enum weir_mode)mode, WEIR_FAILURE_UNPARSABLE, 0, true, 0);
		tcp(PEER, HERE, 5900, 443, SYN);
		expect("any packet", IN, 0, mode == WEIR_DETECT, WEIR_REASON_TRUNCATED);
		arp();
		expect("ARP", IN, 0, true, 0);
	}
}

int main(void)
{
	int err = weir_runner_open(&runner);

	if (err) {
		weir_runner_close(&runner);
		return err == -EPERM ? 77 : 1;
	}
	daemon_dead();
	daemon_clock();
	table_full();
	blocked();
	fragments();
	ring();
	unparsable();
	weir_runner_close(&runner);
	printf("1..%d\n", line);
	return failed != 0;
}
