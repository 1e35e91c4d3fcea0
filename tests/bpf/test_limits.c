/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits in the loaded programs. The oracle is core/limit.h over a table of our own, asked packet by packet with the
 * kernel's secret: each verdict, and after a flood of random sources each slot of the table, must be the same. Rates here
 * give nothing back while the test runs, so that the moments do not matter but for their order; the long run is measured
 * by itself, against the clock, from one CPU and from two.
 */
#include "tests/bpf/kernel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/wire.h"
#include "tests/bpf/random.h"
#include "tests/harness/packet.h"

#define HERE 0x0a000001u
#define LINES 64u /* of a limit: few, so that a flood fills them */
#define IN "weir_tc_in"

struct line { /* as in bpf/scratch.h, whose lock only programs know */
	uint32_t lock, pad;
	struct weir_limit_slot slot[WEIR_LIMIT_WAYS];
	uint64_t pad1;
};
_Static_assert(sizeof(struct line) == 64, "one line");

static struct weir_runner runner;
static struct weir_imgbuild build;
static struct weir_random rnd = { 88172645463325252ull };
static struct line table[WEIR_LIMITS_MAX + LINES * 2]; /* the oracle's */
static int line_no, failed;

static void say(bool ok, const char *name)
{
	printf("%sok %d - %s\n", ok ? "" : "not ", ++line_no, name);
	failed += !ok;
}

/* Behind one another in the image, each with lines of its own. */
static void add(uint8_t per, uint8_t count, uint64_t rate, uint32_t rate_s, uint64_t burst)
{
	struct weir_limit *l = &build.limits[build.n_limits];
	bool all = per == WEIR_PER_ALL;

	*l = (struct weir_limit){ .rate = rate, .rate_s = rate_s, .burst = burst, .id = 77 + build.n_limits, .count = count,
				  .per_what = per, .action = WEIR_ACT_DROP, .mode = WEIR_PREVENT,
				  .first = all ? build.n_limits : WEIR_LIMITS_MAX + build.n_limits * LINES,
				  .mask = all ? 0 : LINES - 1,
				  .bits4 = per == WEIR_PER_SOURCE ? 32 : all ? 0 : 24,
				  .bits6 = per == WEIR_PER_SOURCE ? 128 : all ? 0 : 64 };
	if (!weir_limit_make(l))
		abort();
	build.n_limits++;
}

static void begin(void)
{
	static uint32_t generation;

	weir_imgbuild_init(&build);
	build.cfg.generation = build.cfg.epoch = ++generation;
	build.cfg.test_flags = WEIR_TEST_NO_FLOW; /* each packet opens */
}

/* Install; both tables are empty then. */
static bool install(void)
{
	static const struct line none;
	uint32_t size;
	void *blob = weir_imgbuild_make(&build, &size);
	int err = weir_runner_install(&runner, blob, size, 1, 0, 0), fd = weir_kern_map_fd(runner.kern, "weir_buckets");

	free(blob);
	memset(table, 0, sizeof table);
	for (uint32_t i = 0; !err && i < sizeof table / sizeof *table; i++)
		err = bpf_map_update_elem(fd, &i, &none, BPF_ANY);
	if (err)
		say(false, "install");
	return !err;
}

static uint64_t secret(void)
{
	struct weir_control c = { 0 };
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(weir_kern_map_fd(runner.kern, "weir_control"), &zero, &c))
		return 0;
	return c.limit_seed;
}

/* One packet: its source, and how many bytes lie behind its UDP header. */
static void packet(struct weir_frame *f, uint64_t hi, uint64_t lo, uint32_t bytes)
{
	uint8_t src[16], dst[16] = { 0x20, 1, 0xd, 0xb8, [15] = 1 };
	static uint16_t port;

	weir_put32(src, (uint32_t)(hi >> 32));
	weir_put32(src + 4, (uint32_t)hi);
	weir_put32(src + 8, (uint32_t)(lo >> 32));
	weir_put32(src + 12, (uint32_t)lo);
	weir_frame_eth(f, weir_addr_is_v4(src) ? WEIR_ETH_IP4 : WEIR_ETH_IP6);
	if (weir_addr_is_v4(src))
		weir_frame_ip4(f, (uint32_t)lo, HERE, 0, NULL, 0);
	else
		weir_frame_ip6(f, src, dst);
	weir_frame_udp(f, 17, (uint16_t)(1024 + ++port % 60000), 80);
	weir_frame_bytes(f, NULL, bytes);
	weir_frame_end(f);
}

static bool uncounted; /* no limit is that of the rule that lets it in */

/* What core/limit.h says of it, all limits in their order. True: passes. */
static bool oracle(uint64_t hi, uint64_t lo, uint32_t ip_len, uint32_t *ret_limit)
{
	uint64_t seed = secret(), now = weir_limit_clock(weir_kern_now());

	for (uint32_t pass = 0; pass < 2 && !uncounted; pass++) /* packets and bytes stand before connections */
		for (uint32_t i = 0; i < build.n_limits; i++) {
			const struct weir_limit *l = &build.limits[i];
			uint64_t key = weir_limit_key(l, hi, lo, seed);
			struct line *a = &table[weir_limit_line(l, key, 0)], *b = &table[weir_limit_line(l, key, 1)];
			uint32_t at = weir_limit_pick(l, a->slot, b->slot, key, now);

			if (pass != (l->count >= WEIR_LIMIT_CONNECTIONS))
				continue;
			if (weir_limit_take(l, at < WEIR_LIMIT_WAYS ? &a->slot[at] : &b->slot[at - WEIR_LIMIT_WAYS], key, now,
					    l->count == WEIR_LIMIT_BYTES ? ip_len : 1))
				continue;
			*ret_limit = i;
			return false;
		}
	return true;
}

static uint64_t passed, refused, wrong;

static void send(uint64_t hi, uint64_t lo, uint32_t bytes)
{
	static struct weir_frame f;
	struct weir_run x = { .prog = IN, .frame = f.b };
	const struct weir_scratch *last;
	uint32_t limit = 0;
	bool want;

	packet(&f, hi, lo, bytes);
	x.len = f.len;
	want = oracle(hi, lo, f.len - 14, &limit);
	if (weir_runner_run(&runner, &x) || !(last = weir_runner_last(&runner))) {
		wrong++;
		return;
	}
	passed += want;
	refused += !want;
	if ((x.ret == -1) == want &&
	    (want || (last->res.enforced_reason == WEIR_REASON_LIMIT && last->res.enforced_rule == WEIR_RULE_LIMIT + limit)))
		return;
	if (!wrong++)
		printf("# packet %lu: returned %d, reason %u, rule %#x; the oracle says %s by limit %u\n", passed + refused, x.ret,
		       last->res.enforced_reason, last->res.enforced_rule, want ? "pass" : "drop", limit);
}

#define V4(A) (0xffff00000000ull | (A))
#define V6 0x20010db800000000ull

static void said(const char *name, uint64_t want_passed)
{
	say(!wrong && passed == want_passed && refused, name);
	if (wrong || passed != want_passed)
		printf("# %lu passed, not %lu; %lu refused, %lu verdicts differ\n", passed, want_passed, refused, wrong);
	passed = refused = wrong = 0;
}

static void who_shares_a_bucket(void)
{
	static const struct {
		const char *name;
		uint8_t per;
		uint64_t passed; /* bursts of five: of how many buckets, in both families */
	} v[] = { { "per source: eight addresses, eight buckets", WEIR_PER_SOURCE, 40 },
		  { "per prefix: two networks of each family, four buckets", WEIR_PER_PREFIX, 20 },
		  { "per all: one bucket for both families", WEIR_PER_ALL, 5 } };

	for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
		begin();
		add(v[i].per, WEIR_LIMIT_PACKETS, 1, 86400, 5);
		if (!install())
			continue;
		for (int round = 0; round < 8; round++)
			for (uint32_t a = 0; a < 4; a++) {
				send(0, V4(0x0a000002 + (a & 1) + (a >> 1) * 256), 10);
				send(V6 + (a >> 1), 2 + (a & 1), 10);
			}
		said(v[i].name, v[i].passed);
	}
}

static void what_is_counted(void)
{
	begin();
	add(WEIR_PER_SOURCE, WEIR_LIMIT_CONNECTIONS, 1, 86400, 3);
	add(WEIR_PER_SOURCE, WEIR_LIMIT_BYTES, 1, 1, 1000);
	add(WEIR_PER_ALL, WEIR_LIMIT_PACKETS, 1, 86400, 9);
	if (install()) {
		for (int n = 0; n < 6; n++)
			send(0, V4(0x0a000002), 10); /* three connections; the packets are taken all the same */
		for (int n = 0; n < 2; n++)
			send(0, V4(0x0a000003), 1172); /* 1,200 bytes into debt, and nothing more */
		for (int n = 0; n < 4; n++)
			send(0, V4(0x0a000004), 10); /* two of the nine packets for all are left */
		said("connections, bytes and packets, in the order of the stages", 6);
	}
}

/* A rule's limit: of what it lets in, by source or all together, and of nothing that another rule lets in. */
static void what_a_rule_lets_in(void)
{
	for (int per = 0; per < 2; per++) {
		struct weir_rule *r;

		begin();
		add(per ? WEIR_PER_ALL : WEIR_PER_SOURCE, WEIR_LIMIT_RULE, 1, 86400, 3);
		r = weir_imgbuild_rule(&build, WEIR_ACT_ALLOW);
		r->pos.set = WEIR_C_PORTS;
		r->pos.ports = (struct weir_ports){ WEIR_NO_LIST, 80, 80 };
		r->limit = 1;
		if (!install())
			continue;
		for (int n = 0; n < 5; n++)
			for (uint32_t a = 0; a < 4; a++)
				send(0, V4(0x0a000002 + a), 10);
		said(per ? "a rule's limit, per rule" : "a rule's limit, per source", per ? 3 : 12);
	}
	begin();
	add(WEIR_PER_ALL, WEIR_LIMIT_RULE, 1, 86400, 3);
	weir_imgbuild_rule(&build, WEIR_ACT_ALLOW); /* takes all of it, and has none */
	weir_imgbuild_rule(&build, WEIR_ACT_ALLOW)->limit = 1;
	uncounted = true;
	if (install()) {
		for (int n = 0; n < 20; n++)
			send(0, V4(0x0a000002), 10);
		say(!wrong && passed == 20, "what another rule lets in is not counted");
		passed = refused = wrong = 0;
	}
	uncounted = false;
}

static void all_slots(bool *same, bool *beyond)
{
	int fd = weir_kern_map_fd(runner.kern, "weir_buckets");
	uint32_t own = WEIR_LIMITS_MAX + build.n_limits * LINES;
	struct line l;

	*same = *beyond = true;
	for (uint32_t i = 0; i < own; i++) {
		if (bpf_map_lookup_elem(fd, &i, &l)) {
			*same = false;
			return;
		}
		for (int s = 0; s < WEIR_LIMIT_WAYS; s++)
			*same &= l.slot[s].key == table[i].slot[s].key;
	}
	for (uint32_t i = own; i < own + 4 * LINES; i++)
		for (int s = 0; s < WEIR_LIMIT_WAYS && !bpf_map_lookup_elem(fd, &i, &l); s++)
			*beyond &= !l.slot[s].key;
}

/* Who is above his rate stays there while ten thousands of others come and go; the table does not grow. */
static void random_sources(void)
{
	const uint32_t heavy = WEIR_LIMIT_WAYS - 1, flood = 20000; /* so few never fill a line, whatever the secret is */
	uint64_t bad = 0, honest = 0;
	bool same, beyond;

	begin();
	add(WEIR_PER_SOURCE, WEIR_LIMIT_PACKETS, 1, 3600, 5);
	if (!install())
		return;
	for (uint32_t a = 0; a < heavy; a++)
		for (int n = 0; n < 5; n++)
			send(0, V4(0x0a000002 + a), 10);
	for (uint32_t i = 0; i < flood; i++) {
		uint64_t before = passed;

		if (i % 2)
			send(0, V4(0x0b000000 + weir_random(&rnd, 1u << 24)), 10);
		else
			send(V6 + weir_random(&rnd, 1u << 30), weir_random(&rnd, 1u << 30), 10);
		honest += passed - before;
		if (i % 10)
			continue;
		before = passed;
		send(0, V4(0x0a000002 + i / 10 % heavy), 10);
		bad += passed - before;
	}
	all_slots(&same, &beyond);
	printf("# %lu of %u packets of new sources passed; %lu of %u of sources that were above their rate\n", honest, flood, bad,
	       flood / 10);
	say(!wrong, "each verdict under 20,000 random sources in 192 slots is the oracle's");
	say(honest == flood, "a source that is new is let in, whoever has to go");
	say(!bad, "none that was above its rate is forgotten for them");
	say(same, "each slot holds whom the oracle holds there: the one that owes least went");
	say(beyond, "no line beyond those of the limit was touched");
	passed = refused = wrong = 0;
}

/* --- the long run --- */

#define RATE 5000u
#define BURST 5000u /* a CPU that others take for less than a second loses nothing */
#define SECONDS 10u

struct runner {
	pthread_t thread;
	int cpu, fd;
	uint64_t passed, sent, until, gap; /* gap: the longest that it was kept from its work, ns */
	struct weir_frame f;
};

static void *offer(void *data)
{
	struct runner *r = data;
	struct __sk_buff skb = { 0 };
	char out[256];
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(r->cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
	for (uint64_t last = weir_kern_now(), now = last; now < r->until; last = now, now = weir_kern_now()) {
		LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = r->f.b, .data_size_in = r->f.len, .data_out = out,
			    .data_size_out = sizeof out, .ctx_in = &skb, .ctx_size_in = sizeof skb, .repeat = 1);

		r->gap = now - last > r->gap ? now - last : r->gap;
		if (bpf_prog_test_run_opts(r->fd, &o))
			break;
		r->passed += (int32_t)o.retval == -1;
		r->sent++;
	}
	return NULL;
}

static void in_the_long_run(uint8_t per, int cpus)
{
	struct runner r[2] = { 0 };
	double want, took;
	uint64_t start, sum = 0, sent = 0, gap = 0;
	char name[128];

	begin();
	add(per, WEIR_LIMIT_PACKETS, RATE, 1, BURST);
	if (!install())
		return;
	start = weir_kern_now();
	for (int i = 0; i < cpus; i++) {
		r[i].cpu = i;
		r[i].fd = weir_kern_prog_fd(runner.kern, IN);
		r[i].until = start + SECONDS * 1000000000ull;
		packet(&r[i].f, 0, V4(0x0a000002), 10);
		if (pthread_create(&r[i].thread, NULL, offer, &r[i]))
			abort();
	}
	for (int i = 0; i < cpus; i++) {
		pthread_join(r[i].thread, NULL);
		sum += r[i].passed;
		sent += r[i].sent;
		gap = r[i].gap > gap ? r[i].gap : gap;
	}
	took = SECONDS;
	want = RATE * took + BURST;
	printf("# per %s, %d CPU%s: %lu of %.0f, %+.3f %% (%lu offered in %.1f s)\n", per == WEIR_PER_ALL ? "all" : "source", cpus,
	       cpus > 1 ? "s at once" : "", sum, want, ((double)sum / want - 1) * 100, sent, took);
	snprintf(name, sizeof name, "within 2 %% of the rate in %u s, %d CPU%s", SECONDS, cpus, cpus > 1 ? "s on one bucket" : "");
	if (sent < 1.5 * want || gap > 1000000000ull * BURST / RATE / 2)
		printf("ok %d # SKIP too slow a machine: %lu offered, and none for %lu ms\n", ++line_no, sent, gap / 1000000);
	else
		say((double)sum > want * 0.98 && (double)sum < want * 1.02, name);
}

int main(void)
{
	int err = weir_runner_open(&runner), cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);

	if (err) {
		weir_runner_close(&runner);
		return err == -EPERM ? 77 : 1;
	}
	who_shares_a_bucket();
	what_is_counted();
	what_a_rule_lets_in();
	random_sources();
	in_the_long_run(WEIR_PER_SOURCE, 1);
	if (cpus > 1)
		in_the_long_run(WEIR_PER_ALL, 2);
	weir_runner_close(&runner);
	printf("1..%d\n", line_no);
	return failed != 0;
}
