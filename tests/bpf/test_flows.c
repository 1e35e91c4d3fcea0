/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversations through the loaded programs, packet by packet: what only maps can decide (flows, fragments,
 * bans, a change of the policy). One line of TAP for each packet that is judged.
 */
#include "tests/bpf/kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/policy.h"
#include "core/wire.h"
#include "tests/harness/packet.h"

#define HERE 0x0a000001u
#define PEER 0x0a000002u
#define SYN WEIR_TCP_SYN
#define ACK WEIR_TCP_ACK
#define IN "weir_tc_in"
#define OUT "weir_tc_out"

static struct weir_runner runner;
static struct weir_imgbuild build;
static struct weir_frame f;
static int line, failed;

static void say(bool ok, const char *name)
{
	printf("%sok %d - %s\n", ok ? "" : "not ", ++line, name);
	failed += !ok;
}

/* Runs the frame; says whether it was dropped or passed as it should be, and for the right reason. */
static void expect(const char *name, const char *prog, enum weir_verdict verdict, enum weir_reason reason)
{
	struct weir_run x = { .prog = prog, .frame = f.b, .len = f.len };
	const struct weir_scratch *last;
	bool ok;

	weir_frame_end(&f);
	x.len = f.len;
	if (weir_runner_run(&runner, &x) || !(last = weir_runner_last(&runner))) {
		say(false, name);
		return;
	}
	/* the short path of a settled flow writes no result: then passing is all there is to see */
	ok = (x.ret == -1) == (verdict == WEIR_PASS) &&
	     (last->res.enforced_reason == reason || (verdict == WEIR_PASS && reason == WEIR_REASON_FLOW));
	say(ok, name);
	if (!ok)
		printf("# returned %d, enforced %u, reason %u\n", x.ret, last->res.enforced, last->res.enforced_reason);
}

/* Default drop both ways; in: tcp 443; out: udp 53. */
static int install(uint32_t generation, bool allow, uint8_t established)
{
	struct weir_rule *r;
	uint32_t size;
	void *blob;
	int err;

	weir_imgbuild_init(&build);
	build.cfg.generation = build.cfg.epoch = generation;
	build.cfg.established = established;
	build.cfg.essentials = WEIR_ESS_ARP | WEIR_ESS_ICMP_ERRORS;
	for (int i = 0; i < 3; i++)
		build.cfg.defaults[i].action = WEIR_ACT_DROP;
	for (int i = 0; i < 2; i++) {
		r = weir_imgbuild_rule(&build, allow ? WEIR_ACT_ALLOW : WEIR_ACT_DROP);
		r->pos.set = WEIR_C_DIR | WEIR_C_PORTS;
		r->pos.dirs = i ? WEIR_DIR_OUT : WEIR_DIR_IN;
		r->pos.ports = weir_imgbuild_ports(&build, i ? 53 : 443, i ? 53 : 443);
		weir_cond_proto(&r->pos, i ? WEIR_IPPROTO_UDP : WEIR_IPPROTO_TCP);
	}
	blob = weir_imgbuild_make(&build, &size);
	err = weir_runner_install(&runner, blob, size, 1, 0, 0);
	free(blob);
	return err;
}

static void ip(uint32_t src, uint32_t dst, uint16_t frag)
{
	weir_frame_eth(&f, WEIR_ETH_IP4);
	weir_frame_ip4(&f, src, dst, frag, NULL, 0);
}

static void tcp_in(uint16_t sport, uint8_t flags, uint32_t seq, uint32_t ack)
{
	ip(PEER, HERE, 0);
	weir_frame_tcp(&f, sport, 443, flags, seq, ack);
}

static void tcp_out(uint16_t dport, uint8_t flags, uint32_t seq, uint32_t ack)
{
	ip(HERE, PEER, 0);
	weir_frame_tcp(&f, 443, dport, flags, seq, ack);
}

static void handshake(uint16_t port)
{
	tcp_in(port, SYN, 100, 0);
	expect("a SYN is judged by the rules", IN, WEIR_PASS, WEIR_REASON_RULE);
	tcp_out(port, SYN | ACK, 500, 101);
	expect("its answer passes under default drop", OUT, WEIR_PASS, WEIR_REASON_FLOW);
	tcp_in(port, ACK, 101, 501);
	expect("the third segment passes", IN, WEIR_PASS, WEIR_REASON_FLOW);
	tcp_out(port, ACK, 501, 101);
	weir_frame_bytes(&f, NULL, 50);
	expect("data outward passes", OUT, WEIR_PASS, WEIR_REASON_FLOW);
}

struct seen {
	uint32_t flows, half;
	uint64_t packets;
};

static void count_flow(const struct weir_flow_key *k, const struct weir_flow *w, bool half, bool expired, void *data)
{
	struct seen *s = data;

	s->flows += !half;
	s->half += half;
	s->packets += w->half[0].packets + w->half[1].packets;
}

static void conversations(void)
{
	struct seen seen = { 0 };

	tcp_in(4000, ACK, 1, 1);
	expect("a segment of no known connection is refused", IN, WEIR_DROP, WEIR_REASON_NO_FLOW);
	tcp_out(4000, SYN | ACK, 1, 1);
	expect("so is an answer to nothing", OUT, WEIR_DROP, WEIR_REASON_NO_FLOW);
	handshake(4000);
	weir_kern_flow_each(runner.kern, count_flow, &seen);
	say(seen.flows == 1 && !seen.half && seen.packets == 4, "one promoted flow has counted four packets");
	if (seen.flows != 1 || seen.half || seen.packets != 4)
		printf("# flows %u, half %u, packets %lu\n", seen.flows, seen.half, seen.packets);
	tcp_out(22, SYN, 1, 0);
	expect("what the peer may do this host may not", OUT, WEIR_DROP, WEIR_REASON_DEFAULT);
	ip(HERE, PEER, 0);
	weir_frame_udp(&f, 17, 40000, 53);
	expect("a query is judged by the rules", OUT, WEIR_PASS, WEIR_REASON_RULE);
	ip(PEER, HERE, 0);
	weir_frame_udp(&f, 17, 53, 40000);
	expect("its answer passes", IN, WEIR_PASS, WEIR_REASON_FLOW);
	ip(PEER, HERE, 0);
	weir_frame_udp(&f, 17, 53, 40001);
	expect("an answer that nobody asked for does not", IN, WEIR_DROP, WEIR_REASON_DEFAULT);
}

static void icmp_error(uint16_t quoted_port)
{
	struct weir_frame in;

	weir_frame_eth(&in, WEIR_ETH_IP4);
	weir_frame_ip4(&in, HERE, PEER, 0, NULL, 0);
	weir_frame_tcp(&in, 443, quoted_port, ACK, 501, 101);
	weir_frame_end(&in);
	ip(0x0a0000fe, HERE, 0); /* a router between them */
	weir_frame_icmp(&f, 3, 4, 0);
	weir_frame_bytes(&f, in.b + 14, in.len - 14);
}

static void icmp_errors(void)
{
	icmp_error(4000);
	expect("an ICMP error of a known flow is related", IN, WEIR_PASS, WEIR_REASON_RELATED);
	icmp_error(4001);
	expect("one of an unknown flow is not", IN, WEIR_DROP, WEIR_REASON_DEFAULT);
	icmp_error(4000);
	f.b[f.l4] = 5;
	expect("a redirect is no error", IN, WEIR_DROP, WEIR_REASON_DEFAULT);
}

static void fragments(void)
{
	for (int denied = 0; denied < 2; denied++) {
		ip(PEER, HERE, 0x2000);
		weir_put16(f.b + f.l3 + 4, 0x4000 + denied);
		weir_frame_tcp(&f, 4002, denied ? 25 : 443, SYN, 1, 0);
		weir_frame_bytes(&f, NULL, 12);
		expect("a first fragment is judged by its ports", IN, denied ? WEIR_DROP : WEIR_PASS,
		       denied ? WEIR_REASON_DEFAULT : WEIR_REASON_RULE);
		ip(PEER, HERE, 4);
		weir_put16(f.b + f.l3 + 4, 0x4000 + denied);
		weir_frame_proto(&f, WEIR_IPPROTO_TCP);
		weir_frame_bytes(&f, NULL, 16);
		expect("a later one follows it", IN, denied ? WEIR_DROP : WEIR_PASS,
		       denied ? WEIR_REASON_FRAG_FIRST_DENIED : WEIR_REASON_FLOW);
	}
}

static void bans(void)
{
	struct weir_ban_key key = { .prefixlen = 128, .addr = { [10] = 0xff, 0xff, 10, 0, 0, 2 } };
	struct weir_ban ban = { .mode = WEIR_PREVENT };

	say(!weir_kern_ban_add(runner.kern, &key, &ban), "ban the peer");
	tcp_in(4000, ACK, 101, 551);
	expect("a ban ends a live flow at once", IN, WEIR_DROP, WEIR_REASON_BAN);
	tcp_in(4003, SYN, 1, 0);
	expect("and refuses a new one", IN, WEIR_DROP, WEIR_REASON_BAN);
	say(!weir_kern_ban_remove(runner.kern, &key), "lift the ban");
	tcp_in(4000, ACK, 101, 551);
	expect("then the live flow goes on", IN, WEIR_PASS, WEIR_REASON_FLOW);
	tcp_in(4003, SYN, 1, 0);
	expect("then it may come again", IN, WEIR_PASS, WEIR_REASON_RULE);
}

static int policy_changes(void)
{
	int err;

	handshake(4010);
	handshake(4011);
	err = install(2, false, WEIR_EST_KEEP);
	if (err)
		return err;
	tcp_in(4010, ACK, 101, 551);
	expect("keep: a live flow outlives a policy that denies it", IN, WEIR_PASS, WEIR_REASON_FLOW);
	tcp_in(4012, SYN, 1, 0);
	expect("a new one does not begin", IN, WEIR_DROP, WEIR_REASON_RULE);
	err = install(3, false, WEIR_EST_RECHECK);
	if (err)
		return err;
	tcp_in(4011, ACK, 101, 551);
	expect("recheck: it is judged again", IN, WEIR_DROP, WEIR_REASON_RULE);
	tcp_out(4011, ACK, 551, 101);
	expect("from both sides", OUT, WEIR_DROP, WEIR_REASON_RULE);
	err = install(4, true, WEIR_EST_KEEP);
	if (err)
		return err;
	tcp_in(4011, ACK, 101, 551);
	expect("allowed again, it goes on", IN, WEIR_PASS, WEIR_REASON_FLOW);
	err = install(5, false, WEIR_EST_RECHECK);
	if (err)
		return err;
	tcp_in(4011, ACK, 101, 551);
	expect("denied", IN, WEIR_DROP, WEIR_REASON_RULE);
	err = install(6, false, WEIR_EST_KEEP);
	if (err)
		return err;
	tcp_in(4011, ACK, 101, 551);
	expect("keep: what was denied is not kept", IN, WEIR_DROP, WEIR_REASON_RULE);
	return 0;
}

int main(void)
{
	int err = weir_runner_open(&runner);

	if (err) {
		weir_runner_close(&runner);
		return err == -EPERM ? 77 : 1;
	}
	err = install(1, true, WEIR_EST_RECHECK);
	if (!err) {
		conversations();
		icmp_errors();
		fragments();
		bans();
		err = policy_changes();
	}
	weir_runner_close(&runner);
	if (err)
		say(false, strerror(-err));
	printf("1..%d\n", line);
	return failed != 0;
}
