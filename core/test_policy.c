/* SPDX-License-Identifier: Apache-2.0 */
/* The order of evaluation: each stage, and what staging (mode detect) may and may not change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness/imgbuild.h" /* brings the accessors that core/classify.h builds on */

#include "core/policy.h"

static struct weir_imgbuild b;
static struct weir_img img;
static struct weir_result res;
static void *blob;

static void build(void)
{
	uint32_t size;

	free(blob);
	blob = weir_imgbuild_make(&b, &size);
	assert_int_equal(weir_image_open(&img, blob, size), 0);
	weir_result_init(&res);
}

static struct weir_facts facts(uint8_t proto, uint16_t dport)
{
	struct weir_pkt p = {
		.proto = proto, .family = 4, .has = WEIR_HAS_MAC, .ttl = 64, .t = { .sport = 4000, .dport = dport }
	};
	struct weir_facts f;

	memcpy(p.t.src, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\1", 16);
	memcpy(p.t.dst, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\2", 16);
	weir_facts_init(&f, &p, WEIR_DIR_IN);
	weir_classify_prepare(&img, img.cfg, &f);
	return f;
}

static void assert_wanted(uint32_t verdict, uint32_t reason, uint32_t rule)
{
	assert_int_equal(res.wanted, verdict);
	assert_int_equal(res.wanted_reason, reason);
	assert_int_equal(res.wanted_rule, rule);
}

static void assert_enforced(uint32_t verdict, uint32_t reason, uint32_t rule)
{
	assert_int_equal(res.enforced, verdict);
	assert_int_equal(res.enforced_reason, reason);
	assert_int_equal(res.enforced_rule, rule);
}

/* Rules for all traffic, one letter each: a, d, r (allow, drop, reject), l (log); upper case: staged. */
static void judge(const char *rules, bool staged)
{
	weir_imgbuild_init(&b);
	b.cfg.defaults[0].action = WEIR_ACT_DROP;
	for (const char *c = rules; *c; c++) {
		struct weir_rule *r = weir_imgbuild_rule(&b, (uint8_t)(strchr("adrlb", *c | 32) - "adrlb"));

		r->mode = *c & 32 ? WEIR_PREVENT : WEIR_DETECT;
	}
	build();
	if (staged) {
		b.cfg.blocklist.mode = WEIR_DETECT;
		weir_result_fixed(&res, &b.cfg.blocklist, WEIR_REASON_BLOCKLIST, WEIR_RULE_NONE);
	}
	struct weir_facts f = facts(6, 80);

	weir_judge_rules(&img, img.cfg, &f, staged, &res);
}

static void wanted_and_enforced_walks(void **state)
{
	static const struct {
		const char *rules;
		uint8_t wanted, enforced;
		uint32_t wanted_rule, enforced_rule, log_rule;
	} v[] = {
		{ "", 1, 1, WEIR_RULE_DEFAULT_IN, WEIR_RULE_DEFAULT_IN, WEIR_RULE_NONE },
		{ "ad", 0, 0, 0, 0, WEIR_RULE_NONE },
		{ "ra", 2, 2, 0, 0, WEIR_RULE_NONE },
		{ "Da", 1, 0, 0, 1, WEIR_RULE_NONE }, /* staging a drop does not stop traffic */
		{ "Ad", 0, 1, 0, 1, WEIR_RULE_NONE }, /* staging an allow does not open a hole */
		{ "A", 0, 1, 0, WEIR_RULE_DEFAULT_IN, WEIR_RULE_NONE },
		{ "DARa", 1, 0, 0, 3, WEIR_RULE_NONE },
		{ "ld", 1, 1, 1, 1, 0 },
		{ "llLlAlld", 0, 1, 4, 7, 0 },
		{ "Dla", 1, 0, 0, 2, 1 },	       /* a log rule that the enforced walk comes by */
		{ "DLa", 1, 0, 0, 2, WEIR_RULE_NONE }, /* a staged one behind what was wanted: on no walk */
		{ "al", 0, 0, 0, 0, WEIR_RULE_NONE },
		{ "lba", 0, 0, 2, 2, 1 },    /* a ban is told before a log */
		{ "bld", 1, 1, 2, 2, 0 },
		{ "BBbbDlad", 1, 0, 4, 6, 2 }, /* a staged one does not hide the one that is enforced */
		{ "bBd", 1, 1, 2, 2, 0 },
		{ "Ba", 0, 0, 1, 1, 0 },
		{ "ab", 0, 0, 0, 0, WEIR_RULE_NONE },
	};

	for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
		judge(v[i].rules, false);
		if (res.wanted != v[i].wanted || res.enforced != v[i].enforced || res.wanted_rule != v[i].wanted_rule ||
		    res.enforced_rule != v[i].enforced_rule || res.log_rule != v[i].log_rule ||
		    res.log != (v[i].log_rule != WEIR_RULE_NONE))
			fail_msg("\"%s\"", v[i].rules);
		if (res.ban != (res.log_rule != WEIR_RULE_NONE && v[i].rules[res.log_rule] == 'b'))
			fail_msg("\"%s\": ban %u", v[i].rules, res.ban);
	}
}

static void what_was_wanted_first_stays(void **state)
{
	judge("a", true);
	assert_wanted(WEIR_DROP, WEIR_REASON_BLOCKLIST, WEIR_RULE_NONE);
	assert_enforced(WEIR_PASS, WEIR_REASON_RULE, 0);
	judge("Ad", true); /* the staged rule is on neither walk */
	assert_wanted(WEIR_DROP, WEIR_REASON_BLOCKLIST, WEIR_RULE_NONE);
	assert_enforced(WEIR_DROP, WEIR_REASON_RULE, 1);
	judge("", true);
	assert_wanted(WEIR_DROP, WEIR_REASON_BLOCKLIST, WEIR_RULE_NONE);
	assert_enforced(WEIR_DROP, WEIR_REASON_DEFAULT, WEIR_RULE_DEFAULT_IN);
	/* failsafe behind a staged fragment verdict: passes, and says what prevent would do */
	weir_imgbuild_init(&b);
	b.cfg.fragments = (struct weir_fixed){ WEIR_ACT_DROP, WEIR_DETECT, 1, 0 };
	weir_imgbuild_failsafe(&b);
	build();
	struct weir_facts f = facts(6, 80);

	assert_false(weir_judge_fragment(img.cfg, WEIR_FRAG_FIRST, &res));
	assert_true(weir_judge_failsafe(&img, img.cfg, &f, true, &res));
	assert_wanted(WEIR_DROP, WEIR_REASON_FRAGMENT, WEIR_RULE_NONE);
	assert_enforced(WEIR_PASS, WEIR_REASON_FAILSAFE, WEIR_RULE_FAILSAFE);
	assert_int_equal(res.log, 1);
}

static void defaults_by_direction(void **state)
{
	static const uint8_t dirs[] = { WEIR_DIR_IN, WEIR_DIR_OUT, WEIR_DIR_FWD };

	for (uint32_t i = 0; i < 3; i++)
		for (uint8_t mode = 0; mode < 2; mode++) {
			weir_imgbuild_init(&b);
			b.cfg.defaults[i] = (struct weir_fixed){ WEIR_ACT_REJECT, mode, 1, 0 };
			build();
			struct weir_facts f = facts(6, 80);

			f.dir = dirs[i];
			weir_judge_rules(&img, img.cfg, &f, false, &res);
			assert_wanted(WEIR_REJECT, WEIR_REASON_DEFAULT, WEIR_RULE_DEFAULT_IN + i);
			assert_enforced(mode ? WEIR_REJECT : WEIR_PASS, WEIR_REASON_DEFAULT, WEIR_RULE_DEFAULT_IN + i);
			assert_int_equal(res.log, 1);
		}
}

static void what_was_not_parsed(void **state)
{
	weir_imgbuild_init(&b);
	b.cfg.malformed.mode = WEIR_DETECT;
	b.cfg.unknown_l2 = (struct weir_fixed){ WEIR_ACT_DROP, WEIR_PREVENT, 0, 0 };
	build();
	assert_false(weir_judge_unparsed(img.cfg, WEIR_REASON_NONE, &res));
	assert_true(weir_judge_unparsed(img.cfg, WEIR_REASON_TCP_FLAGS, &res));
	assert_wanted(WEIR_DROP, WEIR_REASON_TCP_FLAGS, WEIR_RULE_NONE);
	assert_enforced(WEIR_PASS, WEIR_REASON_TCP_FLAGS, WEIR_RULE_NONE);
	weir_result_init(&res);
	assert_true(weir_judge_unparsed(img.cfg, WEIR_REASON_UNKNOWN_L2, &res));
	assert_enforced(WEIR_DROP, WEIR_REASON_UNKNOWN_L2, WEIR_RULE_NONE);
	weir_result_init(&res);
	assert_true(weir_judge_unparsed(img.cfg, WEIR_REASON_NOT_IP, &res));
	assert_enforced(WEIR_PASS, WEIR_REASON_NOT_IP, WEIR_RULE_NONE);
	b.cfg.essentials = 0; /* ARP taken out of the essentials */
	build();
	assert_true(weir_judge_unparsed(img.cfg, WEIR_REASON_NOT_IP, &res));
	assert_enforced(WEIR_DROP, WEIR_REASON_NOT_IP, WEIR_RULE_NONE);
}

static void fragments_as_the_policy_says(void **state)
{
	weir_imgbuild_init(&b);
	build();
	assert_false(weir_judge_fragment(img.cfg, WEIR_FRAG_LATER, &res));
	assert_false(weir_result_staged(&res));
	b.cfg.fragments.action = WEIR_ACT_DROP;
	build();
	assert_false(weir_judge_fragment(img.cfg, WEIR_FRAG_NONE, &res));
	assert_true(weir_judge_fragment(img.cfg, WEIR_FRAG_LATER, &res));
	assert_enforced(WEIR_DROP, WEIR_REASON_FRAGMENT, WEIR_RULE_NONE);
}

static void blocklist(void **state)
{
	weir_imgbuild_init(&b);
	b.block = weir_imgbuild_addrs(&b, "10.0.0.1", NULL);
	build();
	struct weir_facts f = facts(6, 80);

	assert_false(weir_judge_blocklist(&img, img.cfg, f.t.src, &res)); /* not switched on */
	b.cfg.proto_features = WEIR_FEAT_BLOCKLIST;
	build();
	assert_false(weir_judge_blocklist(&img, img.cfg, f.t.dst, &res));
	assert_true(weir_judge_blocklist(&img, img.cfg, f.t.src, &res));
	assert_enforced(WEIR_DROP, WEIR_REASON_BLOCKLIST, WEIR_RULE_BLOCKLIST); /* by the first of them */
	assert_int_equal(weir_counter_of(img.cfg, res.wanted_rule), img.cfg->n_rules + 3);
	assert_int_equal(weir_counter_rule(img.cfg, img.cfg->n_rules + 3), WEIR_RULE_BLOCKLIST);
	assert_int_equal(weir_image_counters(img.h), img.cfg->n_rules + 3 + WEIR_IMGBLOCK_LISTS);
}

static void failsafe_admits_both_ways(void **state)
{
	struct weir_rule *r;
	struct weir_facts f, before;

	weir_imgbuild_init(&b);
	r = weir_imgbuild_failsafe(&b); /* one way, and hides nothing behind it */
	r->pos.set = WEIR_C_DIR;
	r->pos.dirs = WEIR_DIR_FWD;
	r = weir_imgbuild_failsafe(&b);
	r->flags = WEIR_RF_REPLY;
	r->pos.set = WEIR_C_DIR | WEIR_C_PORTS;
	r->pos.dirs = WEIR_DIR_IN;
	r->pos.ports = weir_imgbuild_ports(&b, 22, 22);
	weir_cond_proto(&r->pos, 6);
	build();
	f = facts(6, 22);
	assert_true(weir_judge_failsafe(&img, img.cfg, &f, true, &res));
	assert_enforced(WEIR_PASS, WEIR_REASON_FAILSAFE, WEIR_RULE_FAILSAFE + 1);
	/* its answer, from port 22 outward */
	f = facts(6, 4000);
	f.t.sport = 22;
	f.dir = WEIR_DIR_OUT;
	weir_classify_prepare(&img, img.cfg, &f);
	before = f;
	weir_result_init(&res);
	assert_false(weir_judge_failsafe(&img, img.cfg, &f, true, &res)); /* a SYN answers nothing */
	assert_true(weir_judge_failsafe(&img, img.cfg, &f, false, &res));
	assert_memory_equal(&f, &before, sizeof f);
	b.failsafe[1].flags = 0;
	build();
	assert_false(weir_judge_failsafe(&img, img.cfg, &f, false, &res));
	/* a one-way entry that the reversed view fits does not hide one that admits replies */
	b.failsafe[0].pos.dirs = WEIR_DIR_IN;
	b.failsafe[1].flags = WEIR_RF_REPLY;
	build();
	assert_true(weir_judge_failsafe(&img, img.cfg, &f, false, &res));
	assert_enforced(WEIR_PASS, WEIR_REASON_FAILSAFE, WEIR_RULE_FAILSAFE + 1);
	assert_memory_equal(&f, &before, sizeof f);
}

static void failsafe_past_what_is_unknown(void **state)
{
	struct weir_rule *r;
	struct weir_facts f;

	weir_imgbuild_init(&b);
	r = weir_imgbuild_failsafe(&b);
	r->pos.set = WEIR_C_PORTS;
	r->pos.ports = weir_imgbuild_ports(&b, 22, 22);
	build();
	f = facts(6, 0);
	f.known &= ~(uint32_t)WEIR_K_PORTS; /* a later fragment */
	assert_false(weir_judge_failsafe(&img, img.cfg, &f, false, &res));
	weir_imgbuild_failsafe(&b);
	build();
	assert_true(weir_judge_failsafe(&img, img.cfg, &f, false, &res));
	assert_enforced(WEIR_PASS, WEIR_REASON_FAILSAFE, WEIR_RULE_FAILSAFE + 1);
}

/* Many allow rules over ports that a later fragment does not have: no error, the walk goes by them all. */
static void unknown_for_ever(void **state)
{
	struct weir_facts f;

	weir_imgbuild_init(&b);
	b.cfg.defaults[0].action = WEIR_ACT_DROP;
	for (uint16_t i = 0; i < 100; i++) {
		struct weir_rule *r = weir_imgbuild_rule(&b, i == 50 ? WEIR_ACT_LOG : WEIR_ACT_ALLOW);

		r->pos.set = WEIR_C_PORTS;
		r->pos.ports = weir_imgbuild_ports(&b, i, i);
	}
	build();
	f = facts(6, 0);
	f.known &= ~(uint32_t)WEIR_K_PORTS;
	weir_judge_rules(&img, img.cfg, &f, false, &res);
	assert_enforced(WEIR_DROP, WEIR_REASON_DEFAULT, WEIR_RULE_DEFAULT_IN);
	assert_int_equal(res.log, 0);
	b.rules[70].action = WEIR_ACT_REJECT; /* a denial over it holds */
	build();
	weir_judge_rules(&img, img.cfg, &f, false, &res);
	assert_enforced(WEIR_REJECT, WEIR_REASON_RULE, 70);
}

static void reversed_facts(void **state)
{
	struct weir_facts f, back;

	weir_imgbuild_init(&b);
	build();
	f = facts(WEIR_IPPROTO_ICMP, 4000);
	f.icmp_type = 8;
	f.in_if = 1;
	f.in_lower = 2;
	f.known |= WEIR_K_IN_IF;
	back = f;
	weir_facts_reverse(&back);
	assert_int_equal(back.icmp_type, 0); /* the other side would have sent the reply */
	assert_int_equal(back.dir, WEIR_DIR_OUT);
	assert_int_equal(back.out_if, 1);
	assert_int_equal(back.out_lower, 2);
	assert_int_equal(back.t.src[15], 2);
	assert_int_equal(back.src_class, f.dst_class);
	assert_false(back.known & (WEIR_K_IN_IF | WEIR_K_MAC)); /* nobody saw the other side's address */
	assert_true(back.known & WEIR_K_OUT_IF);
	weir_facts_reverse(&back);
	back.known |= WEIR_K_MAC;
	assert_memory_equal(&back, &f, sizeof f);
	f.dir = WEIR_DIR_FWD;
	weir_facts_reverse(&f);
	assert_int_equal(f.dir, WEIR_DIR_FWD);
	f.family = 6;
	f.icmp_type = 128;
	weir_facts_reverse(&f);
	assert_int_equal(f.icmp_type, 129);
}

/* Whatever the packet and the policy: where all is staged, nothing is enforced but passing. */
static void mode_detect_never_denies(void **state)
{
	static const struct weir_fixed deny = { WEIR_ACT_DROP, WEIR_DETECT, 0, 0 };

	weir_imgbuild_init(&b);
	b.cfg.defaults[0] = b.cfg.malformed = b.cfg.fragments = b.cfg.unknown_l2 = b.cfg.on_error = b.cfg.blocklist =
		deny;
	b.cfg.essentials = 0;
	b.cfg.proto_features = WEIR_FEAT_BLOCKLIST;
	b.block = weir_imgbuild_addrs(&b, "0.0.0.0/0", NULL);
	weir_imgbuild_rule(&b, WEIR_ACT_DROP)->mode = WEIR_DETECT;
	build();
	struct weir_facts f = facts(6, 80);

	for (uint32_t reason = 1; reason < WEIR_REASON_COUNT; reason++) {
		weir_result_init(&res);
		assert_true(weir_judge_unparsed(img.cfg, reason, &res));
		assert_int_equal(res.enforced, WEIR_PASS);
	}
	weir_result_init(&res);
	assert_false(weir_judge_fragment(img.cfg, WEIR_FRAG_FIRST, &res));
	assert_false(weir_judge_blocklist(&img, img.cfg, f.t.src, &res));
	weir_judge_rules(&img, img.cfg, &f, weir_result_staged(&res), &res);
	assert_wanted(WEIR_DROP, WEIR_REASON_FRAGMENT, WEIR_RULE_NONE);
	assert_int_equal(res.enforced, WEIR_PASS);
	weir_judge_error(img.cfg, &res);
	assert_int_equal(res.enforced, WEIR_PASS);
}

static void daemon_dead(void **state)
{
	const uint64_t s = 1000000000u, now = 1000 * s;

	weir_imgbuild_init(&b);
	b.cfg.failures.daemon_after_s = 10;
	assert_false(weir_daemon_dead(&b.cfg, 1, now)); /* keep */
	b.cfg.failures.simulate = 1u << WEIR_FAILURE_DAEMON_DEAD;
	assert_false(weir_daemon_dead(&b.cfg, 1, now));
	b.cfg.failures.choice[WEIR_FAILURE_DAEMON_DEAD] = WEIR_DAEMON_CLOSED;
	assert_true(weir_daemon_dead(&b.cfg, now, now));
	b.cfg.failures.simulate = 0;
	assert_false(weir_daemon_dead(&b.cfg, now, now));
	assert_false(weir_daemon_dead(&b.cfg, now - 10 * s, now));
	assert_true(weir_daemon_dead(&b.cfg, now - 10 * s - 1, now));
	assert_false(weir_daemon_dead(&b.cfg, now + s, now)); /* it was written after the packet looked at the clock */
	assert_false(weir_daemon_dead(&b.cfg, 0, now));	      /* nobody has written yet */
	assert_false(weir_daemon_dead(&b.cfg, UINT64_MAX, now)); /* ended on purpose */
	b.cfg.failures.daemon_after_s = UINT32_MAX;
	assert_false(weir_daemon_dead(&b.cfg, 1, now));
}

static void lost_fragments(void **state)
{
	for (uint32_t mode = WEIR_DETECT; mode <= WEIR_PREVENT; mode++) {
		for (uint8_t pass = 0; pass < 2; pass++) {
			weir_imgbuild_init(&b);
			b.cfg.mode = mode;
			b.cfg.failures.choice[WEIR_FAILURE_FRAGMENT] = pass;
			weir_result_init(&res);
			weir_judge_lost(&b.cfg, &res);
			assert_wanted(pass ? WEIR_PASS : WEIR_DROP, WEIR_REASON_FRAG_NO_FIRST, WEIR_RULE_NONE);
			assert_enforced(pass || mode == WEIR_DETECT ? WEIR_PASS : WEIR_DROP, WEIR_REASON_FRAG_NO_FIRST,
					WEIR_RULE_NONE);
		}
	}
}

static void refused_flows(void **state)
{
	for (uint32_t mode = WEIR_DETECT; mode <= WEIR_PREVENT; mode++) {
		for (uint8_t choice = 0; choice <= WEIR_TABLE_DROP_ALL; choice++) {
			bool drop = choice != WEIR_TABLE_PASS;

			weir_imgbuild_init(&b);
			b.cfg.mode = mode;
			b.cfg.failures.choice[WEIR_FAILURE_TABLE_FULL] = choice;
			weir_result_init(&res);
			weir_result_set(&res, WEIR_PASS, WEIR_REASON_RULE, 3);
			weir_judge_refused(&b.cfg, &res);
			assert_int_equal(res.wanted, drop ? WEIR_DROP : WEIR_PASS);
			assert_int_equal(res.enforced, drop && mode == WEIR_PREVENT ? WEIR_DROP : WEIR_PASS);
			assert_int_equal(res.wanted_reason, drop ? WEIR_REASON_TABLE_FULL : WEIR_REASON_RULE);
			weir_result_set(&res, WEIR_PASS, WEIR_REASON_FAILSAFE, WEIR_RULE_FAILSAFE);
			weir_judge_refused(&b.cfg, &res);
			assert_enforced(WEIR_PASS, WEIR_REASON_FAILSAFE, WEIR_RULE_FAILSAFE);
		}
	}
}

static void blocked_flows(void **state)
{
	const uint64_t s = 1000000000u, now = 1000 * s;

	weir_imgbuild_init(&b);
	b.cfg.mode = WEIR_PREVENT;
	weir_result_init(&res);
	assert_false(weir_judge_blocked(&b.cfg, now, now, &res)); /* drop_new blocks only who was refused */
	b.cfg.failures.choice[WEIR_FAILURE_TABLE_FULL] = WEIR_TABLE_DROP_ALL;
	assert_false(weir_judge_blocked(&b.cfg, 0, now, &res));
	assert_false(weir_judge_blocked(&b.cfg, now - s, now, &res));
	assert_int_equal(res.wanted_reason, WEIR_REASON_NONE);
	assert_true(weir_judge_blocked(&b.cfg, now - s + 1, now, &res));
	assert_enforced(WEIR_DROP, WEIR_REASON_TABLE_FULL, WEIR_RULE_NONE);
	b.cfg.block_new = WEIR_REASON_DISK_FULL;
	weir_result_init(&res);
	assert_true(weir_judge_blocked(&b.cfg, 0, now, &res));
	assert_enforced(WEIR_DROP, WEIR_REASON_DISK_FULL, WEIR_RULE_NONE);
	b.cfg.mode = WEIR_DETECT;
	weir_result_init(&res);
	assert_false(weir_judge_blocked(&b.cfg, now, now, &res));
	assert_wanted(WEIR_DROP, WEIR_REASON_DISK_FULL, WEIR_RULE_NONE);
	assert_int_equal(res.enforced, WEIR_PASS);
}

static int done(void **state)
{
	free(blob);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wanted_and_enforced_walks),
		cmocka_unit_test(what_was_wanted_first_stays),
		cmocka_unit_test(defaults_by_direction),
		cmocka_unit_test(what_was_not_parsed),
		cmocka_unit_test(fragments_as_the_policy_says),
		cmocka_unit_test(blocklist),
		cmocka_unit_test(failsafe_admits_both_ways),
		cmocka_unit_test(failsafe_past_what_is_unknown),
		cmocka_unit_test(unknown_for_ever),
		cmocka_unit_test(reversed_facts),
		cmocka_unit_test(mode_detect_never_denies),
		cmocka_unit_test(daemon_dead),
		cmocka_unit_test(lost_fragments),
		cmocka_unit_test(refused_flows),
		cmocka_unit_test(blocked_flows),
	};

	return cmocka_run_group_tests_name("core/policy", tests, NULL, done);
}
