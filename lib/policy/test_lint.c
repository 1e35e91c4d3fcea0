/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lint against what it replaced, each rule compared with each, over random sets of rules; and as many rules as there
 * may be, where that would not end before the test is stopped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/draw.h"
#include "lib/policy/policy.h"
#include "lib/util/cleanup.h"
#include "tests/harness/policies.h"
#include "tests/harness/rounds.h"

#define FIRST_LINE 4 /* of the rules, as they are written */

/* The box as the language has it: ports mean tcp and udp, and a direction is one or all. */
static struct weir_box meant(const struct weir_box *b, bool *ret_ported)
{
	struct weir_box m = *b;
	bool one = b->proto_lo == b->proto_hi, ports = !one || b->proto_lo == 6 || b->proto_lo == 17;

	if (m.dirs != WEIR_DIR_IN && m.dirs != WEIR_DIR_OUT && m.dirs != WEIR_DIR_FWD)
		m.dirs = WEIR_DIR_ANY;
	if (!ports) {
		m.sport_lo = m.dport_lo = 0;
		m.sport_hi = m.dport_hi = 65535;
	}
	if (m.sport_lo == 0 && m.sport_hi != 65535)
		m.sport_lo = 1;
	if (m.dport_lo == 0 && m.dport_hi != 65535)
		m.dport_lo = 1;
	*ret_ported = !one && (m.sport_hi - m.sport_lo != 65535 || m.dport_hi - m.dport_lo != 65535);
	return m;
}

static bool takes(const struct weir_box *x, const struct weir_box *y)
{
	bool xp, yp;
	struct weir_box a = meant(x, &xp), b = meant(y, &yp);
	bool proto = a.proto_lo >= b.proto_lo && a.proto_hi <= b.proto_hi;

	if (yp) /* tcp and udp */
		proto = xp || (a.proto_lo == a.proto_hi && (a.proto_lo == 6 || a.proto_lo == 17));
	return a.family == b.family && proto && !(a.dirs & ~b.dirs) && a.src_lo >= b.src_lo && a.src_hi <= b.src_hi &&
	       a.dst_lo >= b.dst_lo && a.dst_hi <= b.dst_hi && a.sport_lo >= b.sport_lo && a.sport_hi <= b.sport_hi &&
	       a.dport_lo >= b.dport_lo && a.dport_hi <= b.dport_hi;
}

static int lint(const struct weir_set *s, struct weir_diags *diags)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT };
	_cleanup_policy_ struct weir_policy *p = NULL;
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int n;

	assert_int_equal(weir_policy_write(f, s, WEIR_STYLE_FLOW), 0);
	fclose(f);
	*diags = (struct weir_diags){ 0 };
	n = weir_policy_read_text("p.yaml", NULL, text, len, &p, diags);
	if (n < 0)
		weir_diags_format(stderr, diags, false);
	assert_int_equal(n, 0);
	n = weir_policy_lint(p, &o, diags);
	if (n < 0)
		weir_diags_format(stderr, diags, false);
	return n;
}

/* The finding about rule i among those that are listed, or NULL. */
static const struct weir_diag *told(const struct weir_diags *d, uint32_t i)
{
	for (size_t k = 0; k < d->n; k++)
		if (d->v[k].line == i + FIRST_LINE)
			return &d->v[k];
	return NULL;
}

static uint64_t within(uint64_t *seed, uint64_t lo, uint64_t hi)
{
	return lo + weir_draw(seed) % (hi - lo + 1);
}

static weir_u128 address(uint64_t *seed, weir_u128 lo, weir_u128 hi)
{
	weir_u128 r = (weir_u128)weir_draw(seed) << 64;

	r |= weir_draw(seed);
	return hi - lo == ~(weir_u128)0 ? r : lo + r % (hi - lo + 1);
}

/* Any packet of a rule that others take together is one of an earlier rule. */
static void check_together(const struct weir_set *s, uint32_t i, uint64_t *seed)
{
	for (int n = 0; n < 50; n++) {
		bool ported, taken = false;
		struct weir_box a = meant(&s->v[i], &ported), p = a;

		p.src_lo = p.src_hi = address(seed, a.src_lo, a.src_hi);
		p.dst_lo = p.dst_hi = address(seed, a.dst_lo, a.dst_hi);
		p.sport_lo = p.sport_hi = (uint16_t)within(seed, a.sport_lo, a.sport_hi);
		p.dport_lo = p.dport_hi = (uint16_t)within(seed, a.dport_lo, a.dport_hi);
		p.proto_lo = p.proto_hi = ported ? (n & 1 ? 6 : 17) : (uint8_t)within(seed, a.proto_lo, a.proto_hi);
		do
			p.dirs = (uint8_t)(1u << within(seed, 0, 2));
		while (!(p.dirs & a.dirs));
		if (p.sport_lo == 0 || p.dport_lo == 0)
			continue;
		for (uint32_t k = 0; k < i && !taken; k++)
			taken = takes(&p, &s->v[k]);
		if (!taken)
			fail_msg("rule %u: not taken together", i + 1);
	}
}

static void compare(enum weir_set_kind kind, uint8_t family, uint64_t seed)
{
	uint32_t last = 0, n = 300;
	struct weir_diags d;
	struct weir_set s;

	assert_int_equal(weir_set_make(&s, kind, family, n, seed), 0);
	assert_true(lint(&s, &d) >= 0);
	for (size_t k = 0; k < d.n; k++)
		last = d.v[k].line > last ? d.v[k].line : last;
	for (uint32_t i = 0; i < (d.dropped ? last - FIRST_LINE : n); i++) {
		const struct weir_diag *x = told(&d, i);
		uint32_t k = 0;
		char name[40];

		while (k < i && !takes(&s.v[i], &s.v[k]))
			k++;
		snprintf(name, sizeof name, ": 'rule %u' (", k + 1);
		if (k < i && (!x || !strstr(x->message, name)))
			fail_msg("%s %u %llu: rule %u lies in rule %u: %s", weir_set_names[kind], family,
				 (unsigned long long)seed, i + 1, k + 1, x ? x->message : "not told");
		if (k == i && x && strstr(x->message, "takes all of it"))
			fail_msg("%s %u %llu: rule %u: %s", weir_set_names[kind], family, (unsigned long long)seed, i + 1,
				 x->message);
		if (k == i && x && strstr(x->message, "together"))
			check_together(&s, i, &seed);
	}
	weir_diags_free(&d);
	weir_set_free(&s);
}

static void test_the_same_as_each_with_each(void **state)
{
	for (uint64_t seed = 1; seed <= 2; seed++)
		for (int kind = 0; kind < WEIR_SET_KINDS; kind++)
			for (uint8_t family = 4; family <= 6; family += 2)
				compare((enum weir_set_kind)kind, family, seed);
}

static void test_many_rules(void **state)
{
	for (int kind = weir_long_run() ? 0 : 1; kind < WEIR_SET_KINDS; kind += weir_long_run() ? 1 : 2) {
		/* a rule may have two lists of its own; where lists are few, so are such rules */
		size_t n = WEIR_RULES_MAX > WEIR_LISTS_MAX ? WEIR_RULES_MAX : WEIR_LISTS_MAX / 3;
		bool stopped = false;
		struct weir_diags d;
		struct weir_set s;
		int found;

		assert_int_equal(weir_set_make(&s, (enum weir_set_kind)kind, 0, n, 3), 0);
		found = lint(&s, &d);
		if (found < 0)
			fail_msg("%s", weir_set_names[kind]);
		if (kind == WEIR_SET_SAME)
			assert_true(found > (int)n - 100);
		assert_true(d.n <= WEIR_DIAGS_MAX);
		for (size_t k = 0; k < d.n; k++)
			stopped |= !strncmp(d.v[k].message, "not looked at: ", 15);
		if (kind <= WEIR_SET_IPC)
			assert_false(stopped);
		weir_diags_free(&d);
		weir_set_free(&s);
	}
}

/* A chain: each rule takes a little more of the last one. */
static void test_a_rule_that_many_take_together(void **state)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT };
	struct weir_policy *p = NULL;
	struct weir_diags d = { 0 };
	_cleanup_free_ char *text = NULL;
	size_t len;

	for (int gap = 0; gap < 2; gap++) {
		FILE *f = open_memstream(&text, &len);

		fputs("version: 1\nmode: prevent\nrules:\n", f);
		for (int i = 0; i < 256; i++)
			if (!gap || i != 200)
				fprintf(f, "  - { name: r%d, action: drop, from: 10.0.%d.0/24 }\n", i, i);
		fputs("  - { name: all, action: drop, from: 10.0.0.0/16 }\n", f);
		fclose(f);
		assert_int_equal(weir_policy_read_text("p.yaml", NULL, text, len, &p, &d), 0);
		assert_int_equal(weir_policy_lint(p, &o, &d), !gap);
		if (!gap)
			assert_non_null(strstr(d.v[0].message, "rule 'all' can match nothing: the rules in front of it take "
							       "all of it together"));
		weir_policy_free(p);
		weir_diags_free(&d);
		free(TAKE_PTR(text));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_same_as_each_with_each),
		cmocka_unit_test(test_many_rules),
		cmocka_unit_test(test_a_rule_that_many_take_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
