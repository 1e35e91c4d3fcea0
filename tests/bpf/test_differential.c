/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel programs against the oracle: random policies, random frames; verdicts, reasons, rules and logs
 * must be equal at TC ingress and egress, and what XDP drops must be what TC drops, for the same reason.
 *
 * test_differential [POLICIES FRAMES]   the counts; else 100 x 1,000, or 1,000 x 1,000 with WEIR_TEST_LONG=1
 * WEIR_SEED=N                           another stream of random numbers
 * WEIR_PLANT=1                          the oracle reads every port bound one too high: must be found; exit 0
 *                                       then means that it was
 */
#include "tests/bpf/kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string.h>

#include "lib/policy/boxes.h"
#include "tests/bpf/oracle.h"
#include "tests/bpf/random.h"

#define WEIR_EPHEMERAL 32768 /* of a new network namespace */
#define WEIR_XDP_DROPS 1     /* XDP_DROP; XDP_PASS is 2 */

struct trial {
	struct weir_runner runner;
	struct weir_random random;
	struct weir_imgbuild build;
	struct weir_img img;
	bool adopting, banning;
	uint32_t minute;
	struct weir_ban_key ban_key;
	struct weir_ban ban;
	uint64_t tc, tc_refused, xdp, xdp_drops, drops, differences;
	uint64_t reasons[WEIR_REASON_COUNT];
	uint64_t trees; /* policies with trees */
	uint64_t lists[2]; /* frames of who is banned or listed: left to TC, dropped at XDP */
};

static struct trial t;

static void print_result(const char *who, const struct weir_result *r)
{
	printf("  %s: wanted %u reason %u rule %#x, enforced %u reason %u rule %#x, log %u rule %#x\n", who, r->wanted,
	       r->wanted_reason, r->wanted_rule, r->enforced, r->enforced_reason, r->enforced_rule, r->log,
	       r->log_rule);
}

/* Counts a difference; shows the first few. */
static bool differs(const char *what, const struct weir_run *x)
{
	if (++t.differences > 5 || getenv("WEIR_PLANT"))
		return false;
	printf("%s: %s, mark %u, in_ifindex %u, %u bytes:\n  ", x->prog, what, x->mark, x->in_ifindex, x->len);
	for (uint32_t i = 0; i < x->len; i++)
		printf("%02x", ((const uint8_t *)x->frame)[i]);
	printf("\n  returned %d\n", x->ret);
	return true;
}

static void compare_tc(const struct weir_run *x, const struct weir_result *want)
{
	const struct weir_scratch *last = weir_runner_last(&t.runner);

	t.tc++;
	t.drops += want->enforced != WEIR_PASS;
	t.reasons[want->enforced_reason]++;
	if (last && !memcmp(&last->res, want, sizeof *want) && (x->ret == -1) == (want->enforced == WEIR_PASS))
		return;
	if (differs("verdicts differ", x)) {
		print_result("oracle", want);
		if (last)
			print_result("kernel", &last->res);
	}
}

static void compare_xdp(const struct weir_run *x, const struct weir_oracle_in *in, const struct weir_result *tc)
{
	enum weir_oracle_xdp want = weir_oracle_xdp(&t.img, in, tc);
	const struct weir_scratch *last = weir_runner_last(&t.runner);
	bool drop = x->ret == WEIR_XDP_DROPS;

	t.xdp++;
	t.xdp_drops += drop;
	t.lists[drop] += tc->enforced_reason == WEIR_REASON_BLOCKLIST || tc->enforced_reason == WEIR_REASON_BAN;
	if (drop ? want == WEIR_XDP_MUST_PASS : want == WEIR_XDP_MUST_DROP) {
		if (differs(drop ? "dropped what TC lets pass" : "let pass what it must drop", x))
			print_result("oracle for TC", tc);
	} else if (drop && (!last || last->res.enforced_reason != tc->enforced_reason)) {
		if (differs("dropped for another reason than TC", x)) {
			print_result("oracle for TC", tc);
			if (last)
				print_result("kernel", &last->res);
		}
	}
}

/* What BPF_PROG_TEST_RUN keeps from a TC program. */
static bool too_short_for_tc(const struct weir_frame *f)
{
	uint32_t type = f->len < 14 ? 0 : weir_be16(f->b + 12);

	return f->len < 14u + (type == WEIR_ETH_IP4 ? 20 : type == WEIR_ETH_IP6 ? 40 : 1);
}

/* One frame through all hooks. A frame that the kernel lets into no TC program still goes through XDP. */
static void try_frame(const struct weir_frame *f)
{
	struct weir_oracle_in in = { .frame = f->b,
				     .len = f->len,
				     .mark = weir_random(&t.random, 4),
				     .adopting = t.adopting,
				     .lower = WEIR_RANDOM_LOWER,
				     .port_eph_min = WEIR_EPHEMERAL,
				     .minute = t.minute };
	struct weir_run x = { .frame = f->b, .len = f->len, .mark = in.mark };
	struct weir_result res, xdp_res;

	if (t.banning) {
		in.ban = &t.ban_key;
		in.ban_mode = t.ban.mode;
	}

	/* ingress; egress from here; egress of what is forwarded */
	for (int hook = 0; hook < (t.runner.no_way_in ? 2 : 3); hook++) {
		in.hook = hook ? WEIR_HOOK_TC_OUT : WEIR_HOOK_TC_IN;
		in.in_if = hook == 0 ? WEIR_RANDOM_PAT : hook == 2 ? WEIR_RANDOM_PAT_IN : 0;
		in.out_if = hook ? WEIR_RANDOM_PAT : 0;
		in.forward = hook == 2;
		x.prog = hook ? "weir_tc_out" : "weir_tc_in";
		x.in_ifindex = hook == 2 ? WEIR_RUN_IN_IFINDEX : 0;
		weir_oracle_tc(&t.img, &in, &res);
		if (!hook)
			xdp_res = res;
		if (!weir_runner_run(&t.runner, &x))
			compare_tc(&x, &res);
		else if (too_short_for_tc(f))
			t.tc_refused++;
		else
			differs("could not be run", &x);
	}
	in.hook = WEIR_HOOK_XDP;
	in.in_if = WEIR_RANDOM_PAT;
	in.out_if = 0;
	in.forward = false;
	x.prog = "weir_xdp_in";
	x.in_ifindex = 0;
	if (f->len < 14)
		return; /* no Ethernet header: no kernel hands it to a program */
	if (weir_runner_run(&t.runner, &x))
		differs("could not be run", &x);
	else
		compare_xdp(&x, &in, &xdp_res);
}

/* The planted mistake: one constant in the oracle. */
static void plant(const struct weir_img *img)
{
	struct weir_bound4 *b = (void *)(uintptr_t)(img->blob + img->h->bounds_port.off);

	for (uint32_t i = 1; i < img->cfg->n_bounds_port; i++)
		b[i].low++;
}

/* In every third policy one prefix is banned. */
static int random_ban(void)
{
	static const struct weir_ban_key keys[] = {
		{ 128, { [10] = 0xff, 0xff, 10, 0, 0, 2 } },
		{ 126, { [10] = 0xff, 0xff, 10, 0, 0, 4 } },
		{ 127, { 0x20, 1, 0xd, 0xb8, [15] = 4 } },
		{ 0, { 0 } },
	};
	struct weir_kern *k = t.runner.kern;
	int err = t.banning ? weir_kern_ban_remove(k, &t.ban_key) : 0;

	t.banning = !weir_random(&t.random, 3);
	t.ban_key = keys[weir_random(&t.random, sizeof keys / sizeof keys[0])];
	t.ban.mode = weir_random(&t.random, 4) ? WEIR_PREVENT : WEIR_DETECT;
	return err || !t.banning ? err : weir_kern_ban_add(k, &t.ban_key, &t.ban);
}

/* The kernel's image may have trees; the oracle asks rule by rule. NULL: as it is. */
static void *with_trees(const void *blob, uint32_t size, uint32_t *ret_size)
{
	struct weir_why why = { 0 };
	void *copy;

	if (weir_random(&t.random, 3) == 0)
		return NULL;
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, blob, size);
	*ret_size = size;
	if (weir_image_add_trees(&copy, ret_size, &why)) {
		printf("# trees: %s\n", why.message);
		abort();
	}
	t.trees += *ret_size > size;
	return copy;
}

/* 0, or a negative errno when the machinery failed: that is no difference. */
static int try_policy(uint32_t frames)
{
	static struct weir_frame f;
	uint32_t size, tree_size;
	void *blob, *trees;
	int err;

	weir_random_image(&t.random, &t.build);
	t.build.cfg.test_flags = WEIR_TEST_NO_FLOW;
	blob = weir_imgbuild_make(&t.build, &size);
	trees = with_trees(blob, size, &tree_size);
	t.adopting = weir_random(&t.random, 3) == 0;
	err = weir_runner_install(&t.runner, trees ? trees : blob, trees ? tree_size : size, WEIR_RANDOM_PAT, WEIR_RANDOM_LOWER, WEIR_RANDOM_PAT_IN);
	if (!err)
		err = weir_kern_adopt(t.runner.kern, t.adopting ? 3600 : 0);
	if (!err)
		err = random_ban();
	t.minute = weir_random(&t.random, 5) ? weir_random(&t.random, WEIR_WEEK_MINUTES) : WEIR_WEEK_MINUTES;
	if (!err && weir_image_open(&t.img, blob, size))
		err = -EINVAL;
	if (!err && getenv("WEIR_PLANT"))
		plant(&t.img);
	for (uint32_t i = 0; i < frames && !err; i++) {
		weir_random_frame(&t.random, &f);
		if (i % 100 == 0) /* the clock goes on meanwhile, by less than a minute */
			err = weir_runner_clock(&t.runner, t.minute);
		try_frame(&f);
		if (i % 100)
			continue;
		for (uint32_t cut = f.len; cut-- > 0;) { /* the same frame, ended at every byte */
			f.len = cut;
			try_frame(&f);
		}
	}
	free(blob);
	free(trees);
	return err;
}

static int summary(uint32_t policies)
{
	bool planted = getenv("WEIR_PLANT"), found = t.differences;
	uint32_t reasons = 0;

	for (int i = 0; i < WEIR_REASON_COUNT; i++)
		reasons += t.reasons[i] != 0;
	printf("%u policies (%lu with trees): TC %lu verdicts (%lu not passed, %u reasons), %lu frames too short for TC, XDP %lu (%lu "
	       "drops; of who is listed %lu, and left to TC %lu), admitted by the failsafe %lu, %lu differences\n",
	       policies, t.trees, t.tc, t.drops, reasons, t.tc_refused, t.xdp, t.xdp_drops, t.lists[1],
	       t.lists[0], t.reasons[WEIR_REASON_FAILSAFE], t.differences);
	if (planted && !found)
		printf("the planted mistake was not found\n");
	/* a run that judged nothing proves nothing */
	if (!t.drops || t.drops == t.tc || !t.xdp_drops || reasons < 15 || !t.trees || !t.lists[0] || !t.lists[1] ||
	    !t.reasons[WEIR_REASON_FAILSAFE])
		return 1;
	return planted ? !found : found;
}

int main(int argc, char **argv)
{
	const char *seed = getenv("WEIR_SEED"), *longer = getenv("WEIR_TEST_LONG");
	uint32_t policies = longer && atoi(longer) ? 1000 : 100, frames = 1000, i;
	int err;

	if (argc == 3) {
		policies = (uint32_t)atoi(argv[1]);
		frames = (uint32_t)atoi(argv[2]);
	}
	t.random.state = seed ? strtoull(seed, NULL, 0) : 0x9e3779b97f4a7c15ull;
	if (!t.random.state)
		t.random.state = 1;
	err = weir_runner_open(&t.runner);
	if (err) {
		weir_runner_close(&t.runner);
		return err == -EPERM ? 77 : 1;
	}
	for (i = 0; i < policies && !err; i++)
		err = try_policy(frames);
	if (t.runner.no_way_in)
		printf("# the test run of this kernel takes no way in: forwarded packets are not compared\n");
	weir_runner_close(&t.runner);
	if (err) {
		printf("policy %u: %s\n", i, strerror(-err));
		return 1;
	}
	return summary(policies);
}
