/* SPDX-License-Identifier: Apache-2.0 */
/* Blocklists against an oracle that knows only intervals: every edge, random addresses, what was excepted. */
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

#include "core/block_dense.h"
#include "core/draw.h"
#include "lib/policy/blocklist.h"

struct weir_img {
	const struct weir_blocklist *b;
};

static inline const struct weir_block_line *weir_img_block_line(const struct weir_img *img, uint32_t i);
#include "core/blocklist.h"

static inline const struct weir_block_line *weir_img_block_line(const struct weir_img *img, uint32_t i)
{
	return i < img->b->n ? &img->b->lines[i] : NULL;
}

static const uint64_t key[2] = { 0x0123456789abcdefu, 0xfedcba9876543211u };
static struct weir_arena arena;
static uint64_t seed = 88172645463325252u;

static uint64_t rnd(void)
{
	return weir_draw(&seed);
}

static void add(struct weir_ranges *r, weir_u128 lo, weir_u128 hi)
{
	assert_int_equal(weir_ranges_add(&arena, r, (struct weir_range){ lo, hi }), 0);
}

static void add4(struct weir_ranges *r, uint32_t a, int len)
{
	uint32_t mask = len ? ~0u << (32 - len) : 0;

	add(r, WEIR_V4_LOW | (a & mask), WEIR_V4_LOW | (a & mask) | (uint32_t)~mask);
}

static void add6(struct weir_ranges *r, weir_u128 a, int len)
{
	weir_u128 mask = len ? ~(weir_u128)0 << (128 - len) : 0;

	add(r, a & mask, (a & mask) | ~mask);
}

/* Two halves of the space that random prefixes crowd in. */
static weir_u128 random6(void)
{
	weir_u128 a = (weir_u128)rnd() << 64 | rnd();

	return (a & ~(weir_u128)0 >> 12) | (weir_u128)0x200 << 116;
}

struct set {
	struct weir_ranges block, except;
	struct weir_blocklist b;
};

static void ask(const struct set *s, weir_u128 a)
{
	struct weir_img img = { &s->b };
	bool want = weir_ranges_hold(&s->block, a) && !weir_ranges_hold(&s->except, a), got;

	got = weir_u128_is_v4(a) ? weir_block_list4(&img, (uint32_t)a)
				 : weir_block_list6(&img, (uint64_t)(a >> 64), (uint64_t)a);
	if (got != want) {
		char text[64];

		fail_msg("%s: %d, wanted %d", weir_addr_format(a, text, sizeof text), got, want);
	}
}

static void edges(const struct set *s, const struct weir_ranges *r)
{
	for (size_t i = 0; i < r->n; i++) {
		ask(s, r->v[i].lo);
		ask(s, r->v[i].lo - 1);
		ask(s, r->v[i].hi);
		ask(s, r->v[i].hi + 1);
	}
}

static void build(struct set *s)
{
	struct weir_ranges rest = { 0 }, again = { 0 };
	struct weir_block_spans spans;
	struct weir_why why = { 0 };

	assert_int_equal(weir_ranges_normal(&arena, &s->block), 0);
	assert_int_equal(weir_ranges_normal(&arena, &s->except), 0);
	assert_int_equal(weir_ranges_minus(&arena, &s->block, &s->except, &rest), 0);
	assert_int_equal(weir_block_spans_of(&rest, 0, &spans), 0);
	assert_int_equal(weir_blocklist_build(&spans, false, key, &s->b, &why), 0);
	weir_block_spans_free(&spans);
	assert_true(weir_block_ok(s->b.lines, s->b.n));
	assert_int_equal(weir_blocklist_ranges(s->b.lines, s->b.n, -1, &arena, &again), 0);
	assert_true(weir_ranges_equal(&again, &rest));
}

static void check(struct set *s, uint32_t n)
{
	edges(s, &s->block);
	edges(s, &s->except);
	for (uint32_t i = 0; i < n; i++) {
		ask(s, WEIR_V4_LOW | (uint32_t)rnd());
		ask(s, random6());
	}
	ask(s, WEIR_V4_LOW);
	ask(s, WEIR_V4_HIGH);
	ask(s, 0);
	ask(s, ~(weir_u128)0);
}

static void drop(struct set *s)
{
	weir_blocklist_free(&s->b);
	weir_arena_free(&arena);
	*s = (struct set){ 0 };
}

static void test_edges(void **state)
{
	struct set s = { 0 };

	(void)state;
	build(&s); /* nothing at all */
	check(&s, 1000);
	drop(&s);
	add4(&s.block, 0, 0);
	add6(&s.block, 0, 0);
	build(&s);
	check(&s, 1000);
	drop(&s);
	add4(&s.block, 0, 0);
	add4(&s.except, 0x0a000001, 32);
	add4(&s.except, 0, 32);
	add4(&s.except, ~0u, 32);
	build(&s);
	check(&s, 1000);
	drop(&s);
	for (int len = 0; len <= 128; len++) { /* every length, nested and alone, with holes */
		if (len <= 32)
			add4(&s.except, 0xc6336455, 32);
		add6(&s.block, (weir_u128)0x20010db8 << 96 | (weir_u128)len << 40 | 0x55, 128 - len / 4);
		add4(&s.block, 0xc6336455u + ((uint32_t)len << 20), len % 28 + 5);
	}
	add4(&s.block, 0, 32);
	add4(&s.block, ~0u, 32);
	add6(&s.block, 0, 128);
	add6(&s.block, ~(weir_u128)0, 128);
	build(&s);
	check(&s, 100000);
	drop(&s);
}

static double since(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - t->tv_sec) + (double)(now.tv_nsec - t->tv_nsec) / 1e9;
}

static void large(struct set *s)
{
	for (uint32_t i = 0; i < 1000000; i++) {
		add4(&s->block, (uint32_t)rnd(), 32);
		add6(&s->block, random6(), 128);
	}
	for (uint32_t i = 0; i < 100000; i++) {
		add4(&s->block, (uint32_t)rnd(), 18 + (int)(rnd() % 14));
		add6(&s->block, random6(), 32 + (int)(rnd() % 96));
	}
	for (uint32_t i = 0; i < 1000; i++) {
		add4(&s->except, (uint32_t)rnd(), 12 + (int)(rnd() % 21));
		add6(&s->except, random6(), 20 + (int)(rnd() % 109));
	}
}

static void test_large(void **state)
{
	struct set s = { 0 };
	struct timespec t;

	(void)state;
	large(&s);
	clock_gettime(CLOCK_MONOTONIC, &t);
	build(&s);
	print_message("%u + %u addresses, %u + %u bounds: %.1f MB in %.2f s\n", s.b.n_exact4, s.b.n_exact6,
		      s.b.n_bounds4, s.b.n_bounds6, s.b.n / 16384.0, since(&t));
	assert_true(s.b.n < 40u << 14); /* 40 MB */
	check(&s, 1000000);
	drop(&s);
}

/* The numbers under the key are one to one, and those of a half are told apart by 16 bits, of which a free lane has none. */
static void test_turn(void **state)
{
	static const uint32_t lines[] = { WEIR_BLOCK_DENSE_LINES, 36864, 53248, 65536, WEIR_BLOCK_LINES };
	struct weir_block_head h = { .key = { rnd(), rnd() } };

	(void)state;
	for (uint32_t i = 0; i < 100000; i++) {
		uint32_t a = i < 3 ? 0 - i : (uint32_t)rnd();

		assert_int_equal(weir_block_unturn4(&h, weir_block_turn4(&h, a)), a);
	}
	for (uint32_t k = 0; k < 5; k++)
		for (uint32_t i = 0; i < 100000; i++) {
			uint32_t half = i < 3 ? i : i < 6 ? 2 * lines[k] + 2 - i : weir_draw_below(&seed, 2 * lines[k]);
			uint32_t first = weir_block_half_first(half, lines[k]);
			uint32_t last = (half + 1 < 2 * lines[k] ? weir_block_half_first(half + 1, lines[k]) : 0) - 1;

			assert_int_equal(weir_block_half(first, lines[k]), half);
			assert_int_equal(weir_block_half(last, lines[k]), half);
			assert_true(last - first < 65535);
			assert_true((uint16_t)(weir_block_lane_free(half, lines[k]) - first) > last - first);
		}
}

/* Runs, the last byte, multiples of 64 K: what a weak hash sends to few lines. */
static void test_hostile(void **state)
{
	struct set s = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 60000; i++) {
		add4(&s.block, i << 16 | 7, 32);
		add4(&s.block, 0x0a000000 + i * 2, 32);
		add6(&s.block, (weir_u128)i << 112 | 1, 128);
		add6(&s.block, (weir_u128)0x20010db8 << 96 | (weir_u128)i << 33, 128);
	}
	build(&s);
	check(&s, 100000);
	drop(&s);
}

#define LISTS 5

/* Of several lists the first that has an address, and nothing of what is excepted. */
static void ask_lists(const struct weir_img *img, const struct weir_ranges lists[LISTS], const struct weir_ranges *except,
		      weir_u128 a)
{
	uint32_t want = 0, got = weir_u128_is_v4(a) ? weir_block_list4(img, (uint32_t)a)
						    : weir_block_list6(img, (uint64_t)(a >> 64), (uint64_t)a);

	while (want < LISTS && !weir_ranges_hold(&lists[want], a))
		want++;
	assert_int_equal(got, want == LISTS || weir_ranges_hold(except, a) ? 0 : want + 1);
}

static void draw_list(struct weir_ranges *r, uint32_t spread, uint32_t n)
{
	*r = (struct weir_ranges){ 0 };
	for (uint32_t i = 0; i < n; i++) {
		add4(r, weir_draw_below(&seed, spread), 32 - (int)(weir_draw_below(&seed, 3) ? 0 : weir_draw_below(&seed, 8)));
		add6(r, (weir_u128)0x20010db8 << 96 | weir_draw_below(&seed, spread),
		     128 - (int)(weir_draw_below(&seed, 3) ? 0 : weir_draw_below(&seed, 8)));
	}
	assert_int_equal(weir_ranges_normal(&arena, r), 0);
}

static void test_lists(void **state)
{
	for (uint32_t i = 0; i < 200; i++) {
		uint32_t spread = i % 4 ? 2000 : 40;
		struct weir_ranges lists[LISTS], except;
		struct weir_block_spans all = { 0 }, one, both;
		struct weir_blocklist b;
		const struct weir_img img = { &b };
		struct weir_why why;

		for (uint32_t k = 0; k < LISTS; k++) {
			draw_list(&lists[k], spread, weir_draw_below(&seed, i % 3 ? 100 : 3));
			assert_int_equal(weir_block_spans_of(&lists[k], (uint8_t)k, &one), 0);
			assert_int_equal(weir_block_spans_over(&all, &one, &both), 0);
			weir_block_spans_free(&one);
			weir_block_spans_free(&all);
			all = both;
		}
		draw_list(&except, spread, weir_draw_below(&seed, 20));
		assert_int_equal(weir_block_spans_minus(&all, &except, &both), 0);
		assert_int_equal(weir_blocklist_build(&both, true, key, &b, &why), 0);
		assert_true(weir_block_ok(b.lines, b.n));
		for (uint32_t a = 0; a < spread + 300; a++) {
			ask_lists(&img, lists, &except, WEIR_V4_LOW | a);
			ask_lists(&img, lists, &except, (weir_u128)0x20010db8 << 96 | a);
		}
		weir_block_spans_free(&all);
		weir_block_spans_free(&both);
		weir_blocklist_free(&b);
		weir_arena_reset(&arena);
	}
	weir_arena_free(&arena);
}

#define MANY 420000u

/* So many addresses that they stand in dense lines: of two lists, in runs and far apart, with some in the table behind. */
static void test_dense(void **state)
{
	struct weir_ranges lists[LISTS] = { 0 }, except = { 0 };
	struct weir_block_spans all = { 0 }, one, both;
	struct weir_blocklist b;
	const struct weir_img img = { &b };
	uint32_t over = 0, table = 0;
	struct weir_block_head good;
	struct weir_why why;

	(void)state;
	for (uint32_t i = 0; i < MANY; i++)
		add4(&lists[i % 2], i % 3 ? (uint32_t)rnd() : 0x0a000000 + 2 * i, 32);
	for (uint32_t k = 0; k < 2; k++) {
		assert_int_equal(weir_ranges_normal(&arena, &lists[k]), 0);
		assert_int_equal(weir_block_spans_of(&lists[k], (uint8_t)k, &one), 0);
		assert_int_equal(weir_block_spans_over(&all, &one, &both), 0);
		weir_block_spans_free(&one);
		weir_block_spans_free(&all);
		all = both;
	}
	assert_int_equal(weir_blocklist_build(&all, true, key, &b, &why), 0);
	assert_true(weir_block_ok(b.lines, b.n));
	assert_in_range(b.lines[1].head.dense, WEIR_BLOCK_DENSE_LINES, MANY / 8);
	good = b.lines[1].head;
	b.lines[1].head.filter = good.n_table; /* nowhere to look for what a half has no room for */
	b.lines[1].head.table += good.n_table;
	b.lines[1].head.n_table = 0;
	assert_false(weir_block_ok(b.lines, b.n));
	b.lines[1].head = good;
	for (uint32_t half = 0; half < 2 * b.lines[1].head.dense; half++)
		over += weir_block_overflows(&b.lines[1 + weir_block_dense(&b.lines[1].head) + half / 2], half);
	for (uint32_t i = 0; i < 16 * b.lines[1].head.n_table; i++)
		table += b.lines[1 + b.lines[1].head.table + i / 16].d[i % 16] != 0;
	print_message("%u addresses: %u lines, %u halves that overflow by %u\n", b.n_exact4, b.n, over, table);
	assert_true(over && table >= over);
	for (uint32_t k = 0; k < 2; k++)
		for (size_t i = 0; i < lists[k].n; i++)
			ask_lists(&img, lists, &except, lists[k].v[i].lo);
	for (uint32_t i = 0; i < 300000; i++)
		ask_lists(&img, lists, &except, WEIR_V4_LOW | (i % 2 ? (uint32_t)rnd() : 0x0a000000 + 3 * i));
	weir_block_spans_free(&all);
	weir_blocklist_free(&b);
	weir_arena_free(&arena);
}

/* One address more or less touches a handful of lines; the same set, none. */
static void test_differs(void **state)
{
	struct set a = { 0 }, b = { 0 };
	uint32_t lines = 0;

	(void)state;
	for (uint32_t i = 0; i < 100000; i++) {
		uint32_t x = (uint32_t)rnd();

		add4(&a.block, x, 32);
		add4(&b.block, x, 32);
	}
	build(&a);
	build(&b);
	assert_int_equal(weir_blocklist_differs(&a.b, &b.b, 0), a.b.n);
	weir_blocklist_free(&b.b);
	add4(&b.block, 0x01020305, 32);
	build(&b);
	for (uint32_t i = 0; (i = weir_blocklist_differs(&a.b, &b.b, i)) < b.b.n; i++)
		lines++;
	assert_in_range(lines, 1, 64);
	weir_blocklist_free(&b.b);
	drop(&a);
}

/* What would lead a reader out of the lines, or never to an end, is refused. */
static void test_damaged(void **state)
{
	struct weir_block_head *h, good[2];
	struct set s = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		add4(&s.block, (uint32_t)rnd(), i % 2 ? 32 : 24);
		add6(&s.block, random6(), i % 2 ? 128 : 48);
	}
	build(&s);
	for (int f = 0; f < 2; f++) {
		h = &s.b.lines[1 + f].head;
		good[0] = *h;
#define BAD(change)                                              \
	do {                                                     \
		change;                                          \
		assert_false(weir_block_ok(s.b.lines, s.b.n));   \
		*h = good[0];                                    \
		assert_true(weir_block_ok(s.b.lines, s.b.n));    \
	} while (0)
		BAD(h->table = s.b.n - h->n_table);
		BAD(h->table = 1);
		BAD(h->table = UINT32_MAX);
		BAD(h->n_table = UINT32_MAX);
		BAD(h->bounds = weir_block_index(h)); /* over each other */
		BAD(h->index_room = h->n_index = 1);
		BAD(h->n_table = h->filter = 0; h->table = s.b.n); /* empty, and behind all */
		BAD(h->filter = h->table - 1);
		BAD(h->filter = UINT32_MAX);
		BAD(h->dense = 1); /* too few, and before the heads */
		BAD(h->dense = UINT32_MAX);
		BAD(h->n_index = UINT32_MAX);
		BAD(h->n_index = 0);
		BAD(h->bounds = s.b.n - 1);
		BAD(h->n_bounds = UINT32_MAX);
		BAD(h->n_bounds = 0);
		BAD(h->bounds_room = UINT32_MAX);
		BAD(h->bounds_room = h->n_bounds - 1);
		BAD(h->index_room = UINT32_MAX);
		BAD(h->index_room = h->n_index - 1);
		BAD(h->shift = 64);
		BAD(h->listed = 2);
		BAD(h->listed = 1); /* with no lines for it */
		BAD(h->n_bounds--); /* the index names more */
	}
	h = &s.b.lines[1].head;
	s.b.lines[1 + weir_block_index(h)].d[1] = UINT32_MAX;
	assert_false(weir_block_ok(s.b.lines, s.b.n));
	s.b.lines[1 + weir_block_index(h)].d[1] = s.b.lines[1 + weir_block_index(h)].d[0];
	assert_true(weir_block_ok(s.b.lines, s.b.n));
	s.b.lines[1 + h->bounds].d[1] = s.b.lines[1 + h->bounds].d[0];
	assert_false(weir_block_ok(s.b.lines, s.b.n));
	assert_false(weir_block_ok(s.b.lines, 2));
	drop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_turn),
		cmocka_unit_test(test_dense),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_differs),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
