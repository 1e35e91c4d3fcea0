/* SPDX-License-Identifier: Apache-2.0 */
/* The decision trees against a linear oracle: every candidate, sets of all kinds, and what must be refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/draw.h"
#include "tests/harness/rounds.h"
#include "tests/harness/rulesets.h"

struct weir_img {
	const struct weir_tree_line *lines;
	uint32_t n;
};

static inline const struct weir_tree_line *weir_img_tree_line(const struct weir_img *img, uint32_t i)
{
	return i < img->n ? &img->lines[i] : NULL;
}

#include "core/tree.h"

/* All candidates of a packet, or the first ones of very many; then from somewhere in between. */
static void check_packet(const struct weir_img *img, const struct weir_oracle *o, struct weir_tree_key *k,
			 uint64_t *seed)
{
	uint32_t rules[64], n = weir_oracle_find(o, k, rules, 64), from = 0;

	for (uint32_t i = 0; i <= n; i++) {
		uint32_t want = i < n ? rules[i] : WEIR_TREE_END, got;

		if (i == n && n == 64)
			break;
		got = weir_tree_next(img, k, from);
		if (got != want)
			fail_msg("from rule %u: %u, not %u", from, got, want);
		from = got + 1;
	}
	if (n) {
		uint32_t i = weir_draw_below(seed, n), low = i ? rules[i - 1] + 1 : 0;

		from = low + weir_draw_below(seed, rules[i] - low + 1);
		assert_int_equal(weir_tree_next(img, k, from), rules[i]);
	}
}

static void check_set(const struct weir_set *s, uint32_t packets)
{
	struct weir_tree t;
	struct weir_why why;
	struct weir_img img;
	struct weir_oracle *o = weir_oracle_new(s);
	uint64_t seed = 0x2545f4914f6cdd1dull;

	if (weir_tree_build(s->v, s->n, NULL, &t, &why))
		fail_msg("refused: %s", why.message);
	assert_true((uint64_t)t.n * sizeof *t.lines <= 128ull * s->n + (8 << 20));
	assert_true(t.stats.depth <= WEIR_TREE_DEPTH);
	assert_true(t.stats.leaf <= 2 * WEIR_TREE_LEAF);
	img = (struct weir_img){ t.lines, t.n };
	assert_non_null(o);
	for (int kind = 0; kind < WEIR_TRACE_KINDS && s->n; kind++)
		for (uint32_t i = 0; i < packets; i++) {
			struct weir_tree_key k;

			weir_trace_key(s, (enum weir_trace_kind)kind, &seed, &k);
			check_packet(&img, o, &k, &seed);
		}
	weir_oracle_free(o);
	weir_tree_free(&t);
}

static void check_kind(enum weir_set_kind kind, uint8_t family, size_t n, uint64_t seed)
{
	struct weir_set s;

	assert_int_equal(weir_set_make(&s, kind, family, n, seed), 0);
	check_set(&s, weir_rounds(2000, 100000));
	weir_set_free(&s);
}

static void test_sets(void **state)
{
	static const size_t sizes[] = { 1, 2, 3, 9, 50, 700, 5000 };

	for (int kind = 0; kind <= WEIR_SET_IPC; kind++)
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
			for (uint8_t family = 0; family <= 6; family = (uint8_t)(family ? family + 2 : 4))
				check_kind((enum weir_set_kind)kind, family, sizes[i], i + 10);
}

/* Many sets of several trees: what stands beside a box in its line must not be another tree's. */
static void test_seeds(void **state)
{
	for (uint64_t seed = 1; seed <= weir_rounds(5, 400); seed++)
		check_kind(WEIR_SET_FW, 4, 3000, seed);
}

/* Ranges that are no prefixes, in lines that leaves share. */
static void test_ranges(void **state)
{
	for (uint64_t seed = 1; seed <= weir_rounds(3, 100); seed++) {
		struct weir_set s;

		assert_int_equal(weir_set_make(&s, seed & 1 ? WEIR_SET_ACL : WEIR_SET_FW, 4, 3000, seed), 0);
		for (size_t i = 0; i < s.n; i += 3) {
			s.v[i].src_lo += s.v[i].src_hi - s.v[i].src_lo > 2;
			s.v[i].dst_hi -= s.v[i].dst_hi - s.v[i].dst_lo > 2;
		}
		check_set(&s, weir_rounds(2000, 100000));
		weir_set_free(&s);
	}
}

/* Of a word that fits into 32 bits all comes back but the last bits of the lowest rule; one that does not is refused. */
static void test_pack(void **state)
{
	uint64_t seed = 3;

	for (uint32_t i = 0; i < 100000; i++) {
		uint64_t word = weir_draw(&seed) >> weir_draw_below(&seed, 20) | 1ull << 63, back;
		uint32_t line = weir_tree_leaf_line(word), lines, rule;

		word &= ~(weir_draw_below(&seed, 2) ? 0x7f8ull << 26 : 0); /* else hardly one has few lines */
		lines = weir_tree_leaf_lines(word);
		rule = weir_tree_leaf_rule(word);
		if (line > 0xfffff || lines > 7) {
			assert_int_equal(weir_tree_pack(word), 0);
			continue;
		}
		back = weir_tree_unpack(weir_tree_pack(word));
		assert_true(back >> 63);
		assert_int_equal(weir_tree_leaf_line(back), line);
		assert_int_equal(weir_tree_leaf_lines(back), lines);
		assert_int_equal(weir_tree_leaf_rule(back), rule < 255 * 512 ? rule - rule % 512 : 255 * 512);
	}
	assert_int_equal(weir_tree_pack(0x8000000000000000ull), 0x80000000u);
	assert_int_equal(weir_tree_pack(0x1ull), 0); /* a node */
}

/* Cells of the root of this family that are leaves, and that lead on to a word. -1: they are not packed. */
static int packed_cells(const struct weir_tree *t, bool six, int *ret_leaves)
{
	const struct weir_tree_root *root = (const struct weir_tree_root *)(t->lines + six);
	uint64_t word = root->word;
	uint32_t n = 1u << (64 - (word >> 38 & 63)), rest = 0;

	*ret_leaves = 0;
	if (word >> 63 || !(word & WEIR_TREE_PACKED))
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t cell = ((const uint32_t *)t->lines)[(uint32_t)word + i];

		*ret_leaves += cell >> 31;
		rest += !(cell >> 31);
	}
	return (int)rest;
}

/* Addresses in a row, of which each seventh has so many rules that they fit into no packed cell. */
static void test_packed(void **state)
{
	for (uint8_t family = 4; family <= 6; family = (uint8_t)(family + 2)) {
		const weir_u128 low = family == 4 ? WEIR_V4_LOW : 0, any = family == 4 ? WEIR_V4_HIGH : ~(weir_u128)0;
		struct weir_set s = { .v = calloc(8000, sizeof *s.v) };
		struct weir_tree t;
		struct weir_why why;
		int rest, leaves;

		assert_non_null(s.v);
		for (uint32_t i = 0; i < 2048; i++)
			for (uint32_t k = 0; k < (i % 7 ? 1 : 18); k++) {
				weir_u128 dst = low + ((weir_u128)i << (family == 4 ? 0 : 64));

				s.v[s.n] = (struct weir_box){ .src_lo = low, .src_hi = any, .dst_lo = dst, .dst_hi = dst,
							      .sport_hi = 65535, .dport_lo = k * 3, .dport_hi = 65535 - k,
							      .proto_hi = 255, .dirs = WEIR_DIR_ANY, .family = family,
							      .rule = (uint32_t)s.n * 260 };
				s.n++;
			}
		check_set(&s, weir_rounds(2000, 100000));
		assert_int_equal(weir_tree_build(s.v, s.n, NULL, &t, &why), 0);
		rest = packed_cells(&t, family == 6, &leaves);
		print_message("IPv%u: %d cells are leaves, %d lead on\n", family, leaves, rest);
		assert_true(rest > 100 && leaves > 1000);
		weir_tree_free(&t);
		weir_set_free(&s);
	}
}

static void test_large(void **state)
{
	for (int kind = 0; kind <= WEIR_SET_IPC; kind++)
		for (uint8_t family = 4; family <= 6; family = (uint8_t)(family + 2))
			check_kind((enum weir_set_kind)kind, family, weir_rounds(20000, 100000), 7);
}

static void test_odd(void **state)
{
	for (uint8_t family = 0; family <= 6; family = (uint8_t)(family ? family + 2 : 4)) {
		check_kind(WEIR_SET_WIDE, family, 900, 1);
		check_kind(WEIR_SET_NESTED, family, 1000, 2);
		check_kind(WEIR_SET_SAME, family, 900, 3);
		check_kind(WEIR_SET_PORTS, family, 3000, 4);
	}
}

static void test_empty(void **state)
{
	struct weir_tree t;
	struct weir_why why;
	struct weir_tree_key k = { .family = 6 };

	assert_int_equal(weir_tree_build(NULL, 0, NULL, &t, &why), 0);
	assert_int_equal(t.n, WEIR_TREE_HEAD);
	assert_int_equal(weir_tree_next(&(struct weir_img){ t.lines, t.n }, &k, 0), WEIR_TREE_END);
	weir_tree_key4(&k, 1, 2);
	assert_int_equal(weir_tree_next(&(struct weir_img){ t.lines, t.n }, &k, 0), WEIR_TREE_END);
	weir_tree_free(&t);
}

/* A range of IPv6 that is no prefix: candidates may be more than the range has, never less. */
static void test_cover(void **state)
{
	struct weir_box b = { .src_lo = 5,
			      .src_hi = 9,
			      .dst_hi = ~(weir_u128)0,
			      .sport_hi = 65535,
			      .dport_hi = 65535,
			      .proto_hi = 255,
			      .dirs = WEIR_DIR_ANY,
			      .family = 6 };
	struct weir_box c = weir_box_cover(&b);

	assert_true(c.src_lo == 0 && c.src_hi == 15 && c.dst_lo == 0 && c.dst_hi == ~(weir_u128)0);
	b.src_lo = ((weir_u128)1 << 64) - 1;
	b.src_hi = (weir_u128)1 << 64;
	c = weir_box_cover(&b);
	assert_true(c.src_lo == 0 && c.src_hi == ((weir_u128)1 << 65) - 1);
}

static void test_same_bytes(void **state)
{
	struct weir_set s;
	struct weir_tree a, b;
	struct weir_why why;

	assert_int_equal(weir_set_make(&s, WEIR_SET_FW, 0, 3000, 3), 0);
	assert_int_equal(weir_tree_build(s.v, s.n, NULL, &a, &why), 0);
	assert_int_equal(weir_tree_build(s.v, s.n, NULL, &b, &why), 0);
	assert_int_equal(a.n, b.n);
	assert_memory_equal(a.lines, b.lines, a.n * sizeof *a.lines);
	weir_tree_free(&b);
	for (size_t i = 0; i < s.n / 2; i++) { /* the order of the boxes is not the order of the rules */
		struct weir_box x = s.v[i];

		s.v[i] = s.v[s.n - 1 - i];
		s.v[s.n - 1 - i] = x;
	}
	assert_int_equal(weir_tree_build(s.v, s.n, NULL, &b, &why), 0);
	assert_int_equal(a.n, b.n);
	assert_memory_equal(a.lines, b.lines, a.n * sizeof *a.lines);
	weir_tree_free(&a);
	weir_tree_free(&b);
	weir_set_free(&s);
}

/* Sets as ClassBench makes them: right, and the few rules for everybody do not stand in the leaves of all others. */
static void test_like_classbench(void **state)
{
	for (int kind = WEIR_SET_CB_ACL; kind <= WEIR_SET_CB_IPC; kind++)
		for (uint8_t family = 4; family <= 6; family = (uint8_t)(family + 2)) {
			struct weir_set s;
			struct weir_tree t;
			struct weir_why why;

			check_kind((enum weir_set_kind)kind, family, 5000, 7);
			assert_int_equal(weir_set_make(&s, (enum weir_set_kind)kind, family, 20000, 3), 0);
			assert_int_equal(weir_tree_build(s.v, s.n, NULL, &t, &why), 0);
			print_message("%s, IPv%u: %u lines\n", weir_set_names[kind], family, t.n);
			assert_true(t.n < 30000);
			weir_tree_free(&t);
			weir_set_free(&s);
		}
}

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* What overlaps everywhere is refused, in bounded work, and says why. */
static void test_refused(void **state)
{
	static const enum weir_set_kind kinds[] = { WEIR_SET_WIDE, WEIR_SET_SAME };

	for (int i = 0; i < 4; i++) {
		struct weir_set s;
		struct weir_tree t;
		struct weir_why why;
		double start;

		assert_int_equal(weir_set_make(&s, kinds[i / 2], i & 1 ? 6 : 4, 50000, 1), 0);
		start = cpu_seconds();
		assert_int_equal(weir_tree_build(s.v, s.n, NULL, &t, &why), -E2BIG);
		print_message("%s (%.1f s)\n", why.message, cpu_seconds() - start);
		assert_non_null(strstr(why.message, "overlap"));
		weir_set_free(&s);
	}
}

static const char *letter(const struct weir_img *img, uint32_t rule, uint32_t reason, char *buf, size_t size)
{
	snprintf(buf, size, "<%c>", 'a' + (int)rule);
	return buf;
}

/* Who stands in the way is called by name, and a rule of many boxes counts once. */
static void test_names(void **state)
{
	struct weir_tree_limits l = { .leaf = 4, .label = letter };
	struct weir_box b[12];
	struct weir_tree t;
	struct weir_why why;

	for (uint32_t i = 0; i < 12; i++)
		b[i] = (struct weir_box){ .src_lo = WEIR_V4_LOW,
					  .src_hi = WEIR_V4_HIGH,
					  .dst_lo = WEIR_V4_LOW,
					  .dst_hi = WEIR_V4_HIGH,
					  .dport_lo = 80,
					  .dport_hi = 90,
					  .sport_hi = 65535,
					  .proto_lo = 6,
					  .proto_hi = 6,
					  .dirs = 1,
					  .family = 4,
					  .rule = i / 3 };
	assert_int_equal(weir_tree_build(b, 12, &l, &t, &why), -E2BIG);
	assert_non_null(strstr(why.message, "4 rules overlap"));
	assert_non_null(strstr(why.message, "(12 comparisons, 8 at most): <a>, <b> ... <d>"));
}

static void test_limits(void **state)
{
	struct weir_set s;
	struct weir_tree t;
	struct weir_why why;
	struct weir_tree_limits l = { .leaf = 2 };

	assert_int_equal(weir_set_make(&s, WEIR_SET_SAME, 4, 100, 1), 0);
	assert_int_equal(weir_tree_build(s.v, s.n, &l, &t, &why), -E2BIG);
	assert_non_null(strstr(why.message, "4 at most"));
	l = (struct weir_tree_limits){ .bytes = 1024 };
	assert_int_equal(weir_tree_build(s.v, s.n, &l, &t, &why), -E2BIG);
	assert_non_null(strstr(why.message, "kB"));
	weir_set_free(&s);
	assert_int_equal(weir_set_make(&s, WEIR_SET_FW, 4, 5000, 1), 0);
	l = (struct weir_tree_limits){ .work = 1000 };
	assert_int_equal(weir_tree_build(s.v, s.n, &l, &t, &why), -E2BIG);
	assert_non_null(strstr(why.message, "too long"));
	weir_set_free(&s);
}

static void test_nonsense(void **state)
{
	const struct weir_box good = { .src_hi = 1, .dst_hi = 1, .sport_hi = 1, .dport_hi = 1, .dirs = 1, .family = 6 };
	struct weir_box b;
	struct weir_tree t;
	struct weir_why why;

#define REFUSED(change)                                                            \
	do {                                                                       \
		b = good;                                                          \
		change;                                                            \
		assert_int_equal(weir_tree_build(&b, 1, NULL, &t, &why), -EINVAL); \
		assert_non_null(strstr(why.message, "makes no sense"));            \
	} while (0)
	REFUSED(b.src_lo = 2);
	REFUSED(b.dst_lo = 2);
	REFUSED(b.sport_lo = 2);
	REFUSED(b.dport_lo = 2);
	REFUSED(b.proto_lo = 2);
	REFUSED(b.dirs = 0);
	REFUSED(b.dirs = 8);
	REFUSED(b.family = 5);
	REFUSED(b.family = 4);
	REFUSED(b.rule = WEIR_TREE_RULES - 1);
}

/* Whatever bytes stand in the lines, the walk ends and stays within them. */
static void test_damaged(void **state)
{
	struct weir_set s;
	struct weir_tree t;
	struct weir_why why;
	uint64_t seed = 1;

	assert_int_equal(weir_set_make(&s, WEIR_SET_IPC, 0, 500, 3), 0);
	assert_int_equal(weir_tree_build(s.v, s.n, NULL, &t, &why), 0);
	for (int i = 0; i < 20000; i++) {
		struct weir_tree_key k;
		uint64_t *w = (uint64_t *)t.lines + (weir_draw(&seed) >> 8) % (t.n * 8);

		*w = i & 1 ? weir_draw(&seed) : *w ^ 1ull << (weir_draw(&seed) >> 58);
		weir_trace_key(&s, (enum weir_trace_kind)(i % 3), &seed, &k);
		weir_tree_next(&(struct weir_img){ t.lines, t.n }, &k, i % 5 ? 0 : (uint32_t)i);
	}
	weir_tree_free(&t);
	weir_set_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),	cmocka_unit_test(test_cover),	   cmocka_unit_test(test_sets),
		cmocka_unit_test(test_seeds),	cmocka_unit_test(test_ranges),	   cmocka_unit_test(test_large),
		cmocka_unit_test(test_pack),	cmocka_unit_test(test_packed),
		cmocka_unit_test(test_odd),	cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_like_classbench),
		cmocka_unit_test(test_limits),	cmocka_unit_test(test_nonsense),   cmocka_unit_test(test_names),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
