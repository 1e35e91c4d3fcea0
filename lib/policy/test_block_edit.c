/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that are changed in place hold what lines that are built anew hold, and what fails leaves no trace. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/block_dense.h"
#include "core/draw.h"
#include "lib/policy/blocklist.h"

static const uint64_t key[2] = { 0x0123456789abcdefu, 0xfedcba9876543211u };
static struct weir_arena arena;
static uint64_t seed = 88172645463325252u;

/* Close together, so that what is drawn meets: addresses, small ranges and wide ones, at both ends of the space, too. */
static struct weir_range random_range(uint32_t spread)
{
	static const weir_u128 bases[] = { WEIR_V4_LOW | 0x0a000000, WEIR_V4_LOW, WEIR_V4_HIGH - 0xffff, 0,
					   (weir_u128)0x20010db8 << 96, ~(weir_u128)0 - 0xffff, WEIR_V4_HIGH + 1 };
	static const uint32_t wide[] = { 0, 0, 0, 1, 3, 4, 255, 4095 };
	weir_u128 lo = bases[weir_draw_below(&seed, 7)], hi;
	uint32_t at = weir_draw_below(&seed, spread), n = wide[weir_draw_below(&seed, 8)];

	if (!weir_u128_is_v4(lo) && weir_draw_below(&seed, 2))
		lo ^= (weir_u128)weir_draw_below(&seed, 16) << 64; /* another cell of the index */
	hi = lo + at + n;
	lo += at;
	if (hi < lo)
		hi = ~(weir_u128)0;
	if (weir_u128_is_v4(lo) && hi > WEIR_V4_HIGH)
		hi = WEIR_V4_HIGH;
	return (struct weir_range){ lo, hi };
}

#define LISTS 3

static void draw_ranges(struct weir_ranges *r, uint32_t n, uint32_t spread)
{
	*r = (struct weir_ranges){ 0 };
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(weir_ranges_add(&arena, r, random_range(spread)), 0);
	assert_int_equal(weir_ranges_normal(&arena, r), 0);
}

/* Of so many lists, each with about n ranges, what lies within a window; NULL: all of it. */
static void draw_spans(struct weir_block_spans *ret, uint32_t lists, uint32_t n, uint32_t spread,
		       const struct weir_ranges *window)
{
	*ret = (struct weir_block_spans){ 0 };
	for (uint32_t i = 0; i < lists; i++) {
		struct weir_block_spans one, both;
		struct weir_ranges r;

		draw_ranges(&r, weir_draw_below(&seed, n), spread);
		if (window)
			assert_int_equal(weir_ranges_and(&arena, &r, window, &r), 0);
		assert_int_equal(weir_block_spans_of(&r, (uint8_t)i, &one), 0);
		assert_int_equal(weir_block_spans_over(ret, &one, &both), 0);
		weir_block_spans_free(&one);
		weir_block_spans_free(ret);
		*ret = both;
	}
}

static void build(const struct weir_ranges *r, struct weir_blocklist *b)
{
	struct weir_block_spans s;
	struct weir_why why;

	assert_int_equal(weir_block_spans_of(r, 0, &s), 0);
	assert_int_equal(weir_blocklist_build(&s, false, key, b, &why), 0);
	weir_block_spans_free(&s);
}

static void holds(const struct weir_blocklist *b, int list, const struct weir_ranges *want)
{
	struct weir_ranges got = { 0 };

	assert_true(weir_block_ok(b->lines, b->n));
	assert_int_equal(weir_blocklist_ranges(b->lines, b->n, list, &arena, &got), 0);
	assert_true(weir_ranges_equal(&got, want));
}

static void holds_spans(const struct weir_blocklist *b, const struct weir_block_spans *want)
{
	for (int list = 0; list < LISTS; list++) {
		struct weir_ranges r = { 0 };

		for (size_t i = 0; i < want->n; i++)
			if (want->v[i].list == list)
				assert_int_equal(weir_ranges_add(&arena, &r, (struct weir_range){ want->v[i].lo, want->v[i].hi }), 0);
		holds(b, list, &r);
	}
}

/* Each line once, as it was before, and no other one: `b` is what an edit made of `before`. */
static void patch_is_whole(struct weir_blocklist *b, struct weir_block_line *before, const struct weir_block_patch *p)
{
	size_t bytes = b->n * sizeof *b->lines;
	struct weir_block_line *after = malloc(bytes);

	assert_non_null(after);
	memcpy(after, b->lines, bytes);
	for (size_t i = 0; i < p->n; i++) {
		assert_memory_equal(&before[1 + p->v[i].at], &p->v[i].line, sizeof *before);
		before[1 + p->v[i].at] = after[1 + p->v[i].at];
	}
	assert_memory_equal(before, after, bytes);
	weir_blocklist_undo(b->lines, p);
	weir_blocklist_undo(after, p);
	assert_memory_equal(b->lines, after, bytes);
	memcpy(b->lines, before, bytes);
	free(after);
}

/* One edit: taken and right, or refused for want of room and nothing is changed. True when it was taken. */
static bool edit(struct weir_blocklist *b, struct weir_block_spans *now, uint32_t lists, uint32_t spread)
{
	size_t bytes = b->n * sizeof *b->lines;
	struct weir_block_line *before = malloc(bytes);
	struct weir_block_spans held, rest;
	struct weir_ranges window;
	struct weir_block_patch p;
	int err;

	assert_non_null(before);
	memcpy(before, b->lines, bytes);
	draw_ranges(&window, 1 + weir_draw_below(&seed, 6), spread);
	draw_spans(&held, lists, 12 / lists, spread, &window);
	err = weir_blocklist_edit(b->lines, b->n, &window, &held, &p);
	if (err) {
		assert_int_equal(err, -EAGAIN);
		assert_memory_equal(b->lines, before, bytes);
		assert_int_equal(p.n, 0);
	} else {
		assert_int_equal(weir_block_spans_minus(now, &window, &rest), 0);
		weir_block_spans_free(now);
		assert_int_equal(weir_block_spans_over(&rest, &held, now), 0);
		weir_block_spans_free(&rest);
		holds_spans(b, now);
		patch_is_whole(b, before, &p);
	}
	weir_block_patch_free(&p);
	weir_block_spans_free(&held);
	free(before);
	return !err;
}

static void edits_are_what_a_build_is(void **unused)
{
	uint32_t taken = 0, refused = 0;

	for (uint32_t i = 0; i < 400; i++) {
		uint32_t n = i % 3 ? 200 : 12, spread = i % 2 ? 400 : 60000, lists = i % 4 < 2 ? 1 : LISTS;
		struct weir_block_spans now;
		struct weir_blocklist b;
		struct weir_why why;

		draw_spans(&now, lists, n / lists, spread, NULL);
		assert_int_equal(weir_blocklist_build(&now, lists > 1, key, &b, &why), 0);
		for (uint32_t k = 0; k < 100; k++) {
			if (edit(&b, &now, lists, spread))
				taken++;
			else
				refused++;
		}
		weir_block_spans_free(&now);
		weir_blocklist_free(&b);
		weir_arena_reset(&arena);
	}
	print_message("%u edits taken, %u refused\n", taken, refused);
	assert_true(taken > 20000 && refused > 10);
}

/* Single addresses alone: there is room for some, and the table is the only thing that changes. */
static void single_addresses(void **unused)
{
	struct weir_ranges now = { 0 }, more = { 0 }, hold = { 0 };
	struct weir_block_spans held, none = { 0 };
	struct weir_block_patch p;
	struct weir_blocklist b;

	for (uint32_t i = 0; i < 20000; i++)
		assert_int_equal(weir_ranges_add(&arena, &now, (struct weir_range){ WEIR_V4_LOW + i * 7 + 8, WEIR_V4_LOW + i * 7 + 8 }), 0);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(weir_ranges_add(&arena, &more, (struct weir_range){ WEIR_V4_LOW + i * 91 + 10, WEIR_V4_LOW + i * 91 + 10 }), 0);
	build(&now, &b);
	assert_true(b.lines[1].head.filter && !b.lines[2].head.filter);
	assert_int_equal(weir_block_spans_of(&more, 0, &held), 0);
	assert_int_equal(weir_blocklist_edit(b.lines, b.n, &more, &held, &p), 0);
	for (size_t i = 0; i < p.n; i++)
		assert_true(p.v[i].at >= b.lines[1].head.table - b.lines[1].head.filter &&
			    p.v[i].at < b.lines[1].head.table + b.lines[1].head.n_table);
	weir_block_patch_free(&p);
	assert_int_equal(weir_ranges_or(&arena, &now, &more, &hold), 0);
	holds(&b, -1, &hold);
	assert_int_equal(weir_blocklist_edit(b.lines, b.n, &more, &held, &p), 0); /* again: nothing to do */
	assert_int_equal(p.n, 0);
	weir_block_patch_free(&p);
	assert_int_equal(weir_blocklist_edit(b.lines, b.n, &more, &none, &p), 0);
	weir_block_patch_free(&p);
	holds(&b, -1, &now);
	weir_block_spans_free(&held);
	weir_blocklist_free(&b);
	weir_arena_free(&arena);
}

#define MANY 410000u

/*
 * So many that they stand in dense lines: as many come as a half has no room for, and go again. What is gone from a full
 * half makes room, and what stands in the table behind it is found nevertheless.
 */
static void very_many(void **unused)
{
	struct weir_ranges now = { 0 }, more = { 0 }, hold = { 0 }, less = { 0 };
	struct weir_block_spans held, none = { 0 };
	struct weir_block_line *before;
	struct weir_block_patch p;
	struct weir_blocklist b;
	uint32_t over = 0;

	for (uint32_t i = 0; i < MANY; i++)
		assert_int_equal(weir_ranges_add(&arena, &now, (struct weir_range){ WEIR_V4_LOW + i * 7 + 8, WEIR_V4_LOW + i * 7 + 8 }), 0);
	for (uint32_t i = 0; i < 60000; i++)
		assert_int_equal(weir_ranges_add(&arena, &more, (struct weir_range){ WEIR_V4_LOW + i * 35 + 10, WEIR_V4_LOW + i * 35 + 10 }), 0);
	for (uint32_t i = 0; i < 3; i++) /* by the piece, and by going through all */
		assert_int_equal(weir_ranges_add(&arena, &less, (struct weir_range){ WEIR_V4_LOW + i * 70000, WEIR_V4_LOW + i * 70000 + (i ? 9999 : 99) }), 0);
	build(&now, &b);
	assert_true(b.lines[1].head.dense);
	before = malloc(b.n * sizeof *before);
	assert_non_null(before);
	memcpy(before, b.lines, b.n * sizeof *before);
	assert_int_equal(weir_block_spans_of(&more, 0, &held), 0);
	assert_int_equal(weir_blocklist_edit(b.lines, b.n, &more, &held, &p), 0);
	patch_is_whole(&b, before, &p);
	free(before);
	weir_block_patch_free(&p);
	for (uint32_t half = 0; half < 2 * b.lines[1].head.dense; half++)
		over += weir_block_overflows(&b.lines[1 + weir_block_dense(&b.lines[1].head) + half / 2], half);
	assert_in_range(over, 20, MANY / 100);
	assert_int_equal(weir_ranges_or(&arena, &now, &more, &hold), 0);
	holds(&b, -1, &hold);
	assert_int_equal(weir_blocklist_edit(b.lines, b.n, &more, &held, &p), 0); /* again: nothing to do */
	assert_int_equal(p.n, 0);
	weir_block_patch_free(&p);
	assert_int_equal(weir_blocklist_edit(b.lines, b.n, &less, &none, &p), 0);
	weir_block_patch_free(&p);
	assert_int_equal(weir_ranges_minus(&arena, &hold, &less, &hold), 0);
	holds(&b, -1, &hold);
	weir_block_spans_free(&held);
	weir_blocklist_free(&b);
	weir_arena_free(&arena);
}

static void no_lines_at_all(void **unused)
{
	struct weir_block_patch p;
	struct weir_block_spans nothing = { 0 };
	struct weir_ranges none = { 0 };

	assert_int_equal(weir_blocklist_edit(NULL, 0, &none, &nothing, &p), -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edits_are_what_a_build_is),
		cmocka_unit_test(single_addresses),
		cmocka_unit_test(very_many),
		cmocka_unit_test(no_lines_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
