/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/blocklist.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/block_lines.h"

#define DENSE 400000u    /* IPv4 addresses from which on there are dense lines: they are the smaller ones from 350,000 on */
#define DENSE_FILLED 10u /* in each half */
#define DENSE_OVER 32u   /* room in the table for one of so many: one of 96 has none in its half, of 45 with an eighth more */
#define FILTERED 16384u /* addresses from which on a table has a filter */
#define FILTER_BITS 10u /* for each */

struct parts { /* of one family */
	bool six;
	size_t n_exact, n_bounds;
	struct weir_block_spans wide; /* what the bounds are to say, as numbers of the family */
	uint32_t n_table;
};

/* A piece as numbers of its family; true: its addresses stand in the table, one by one. */
static bool is_exact(struct weir_block_span *x)
{
	if (weir_u128_is_v4(x->lo)) {
		x->lo -= WEIR_V4_LOW;
		x->hi -= WEIR_V4_LOW;
	}
	return x->lo && x->hi - x->lo < BLOCK_SMALL;
}

/* One piece that is in a list, in ascending order. */
static int take(struct parts parts[2], struct weir_block_span x)
{
	struct parts *p = &parts[!weir_u128_is_v4(x.lo)];

	if (is_exact(&x)) {
		p->n_exact += (size_t)(x.hi - x.lo) + 1;
		return 0;
	}
	p->n_bounds += 1 + (x.hi != (p->six ? ~(weir_u128)0 : 0xffffffffu));
	return weir_block_spans_add(&p->wide, x);
}

/* Up in steps of about an eighth, so that a little more of it leaves everything where it is. */
static size_t in_steps(size_t n)
{
	size_t step = 1;

	while (step * 16 <= n)
		step *= 2;
	return (n / step + 1) * step;
}

static uint32_t dense_lines(const struct parts *p)
{
	size_t need = p->n_exact / (2 * DENSE_FILLED);

	if (p->six || p->n_exact < DENSE)
		return 0;
	return (uint32_t)in_steps(need < WEIR_BLOCK_DENSE_LINES ? WEIR_BLOCK_DENSE_LINES : need);
}

/* Filled to three quarters, or with room for what dense lines have none for. */
static uint32_t table_lines(const struct parts *p)
{
	uint32_t slots = p->six ? WEIR_BLOCK_SLOTS6 : WEIR_BLOCK_SLOTS4;
	size_t n = dense_lines(p) ? p->n_exact / DENSE_OVER : p->n_exact, need = (n + slots - 1) / slots;

	return p->n_exact ? (uint32_t)in_steps(need + need / 3) : 0;
}

static uint32_t filter_lines(const struct parts *p)
{
	return p->n_exact < FILTERED || dense_lines(p) ? 0 : (uint32_t)in_steps(p->n_exact * FILTER_BITS / 512);
}

/* How many there is room for, with what an edit or the next version of a file may add. */
static uint32_t bounds_room(size_t n)
{
	size_t room = in_steps(n + n / 8 + 48);

	return room < WEIR_BLOCK_BOUNDS ? (uint32_t)room : WEIR_BLOCK_BOUNDS;
}

static uint32_t index_room(size_t n_bounds)
{
	uint32_t most = 16;

	while (most < BLOCK_CELLS_MAX && most < 4 * n_bounds)
		most *= 2;
	return most;
}

static bool fill_tables(struct weir_block_line *lines, const struct weir_block_spans *block)
{
	for (size_t i = 0; i < block->n; i++) {
		struct weir_block_span x = block->v[i];
		struct block_family f = { .lines = lines, .six = !weir_u128_is_v4(x.lo) };

		if (!is_exact(&x))
			continue;
		for (weir_u128 k = 0; k <= x.hi - x.lo; k++)
			if (!block_table_put(&f, x.lo + k, x.list))
				return false;
	}
	return true;
}

/* Lay out both families behind the heads and fill them. -EAGAIN: the key was unlucky, or the tables too small. */
static int build(struct parts parts[2], const struct weir_block_spans *block, bool listed, const uint64_t key[2],
		 struct weir_blocklist *ret)
{
	struct weir_block_head head[2] = { 0 };
	uint64_t at = 2; /* from the head of IPv4 on */

	for (int f = 0; f < 2; f++) {
		struct parts *p = &parts[f];

		head[f] = (struct weir_block_head){ .key = { key[0], key[1] }, .dense = dense_lines(p),
						    .filter = filter_lines(p), .n_table = p->n_table, .index_room = index_room(p->n_bounds),
						    .bounds_room = bounds_room(p->n_bounds), .listed = listed };
		block_index_shape(&head[f], f, &p->wide, head[f].index_room);
		at += head[f].dense + head[f].filter;
		head[f].table = (uint32_t)at;
		at += p->n_table;
		at += weir_block_index_lines(&head[f]);
		head[f].bounds = (uint32_t)at;
		at += weir_block_bounds_lines(&head[f], f);
		at += weir_block_list_lines(&head[f], f);
	}
	at++;
	if (at > WEIR_BLOCK_LINES)
		return -E2BIG;
	ret->lines = calloc(at, sizeof *ret->lines);
	if (!ret->lines)
		return -ENOMEM;
	ret->n = (uint32_t)at;
	ret->lines[0].w[0] = 1;
	ret->lines[1].head = head[0];
	ret->lines[2].head = head[1];
	for (int f = 0; f < 2; f++)
		block_bounds_put(&(struct block_family){ .lines = ret->lines + 1, .six = f }, &parts[f].wide);
	block_dense_clear(&(struct block_family){ .lines = ret->lines + 1 });
	if (fill_tables(ret->lines + 1, block))
		return 0;
	weir_blocklist_free(ret);
	return -EAGAIN;
}

int weir_blocklist_build(const struct weir_block_spans *block, bool listed, const uint64_t key[2],
			 struct weir_blocklist *ret, struct weir_why *why)
{
	struct parts parts[2] = { { .six = false }, { .six = true } };
	int err = 0;

	*ret = (struct weir_blocklist){ 0 };
	for (size_t i = 0; i < block->n && !err; i++)
		err = take(parts, block->v[i]);
	for (int f = 0; f < 2 && !err; f++) {
		if (parts[f].n_bounds > WEIR_BLOCK_BOUNDS || parts[f].n_exact > UINT32_MAX)
			err = -E2BIG;
		else
			parts[f].n_table = table_lines(&parts[f]);
	}
	for (int tries = 0; !err && tries < 4; tries++) {
		uint64_t other[2] = { key[0] + (uint64_t)tries * 0x9e3779b97f4a7c15u, key[1] };

		err = build(parts, block, listed, other, ret);
		if (err != -EAGAIN)
			break;
		err = tries < 3 ? 0 : -E2BIG;
		parts[0].n_table += parts[0].n_table / 4;
		parts[1].n_table += parts[1].n_table / 4;
	}
	if (err == -E2BIG) {
		snprintf(why->message, sizeof why->message, "more addresses than the %u MB of a blocklist hold",
			 WEIR_BLOCK_LINES >> 14);
		why->hint[0] = 0;
	}
	if (!err) {
		ret->n_exact4 = (uint32_t)parts[0].n_exact;
		ret->n_exact6 = (uint32_t)parts[1].n_exact;
		ret->n_bounds4 = (uint32_t)parts[0].n_bounds;
		ret->n_bounds6 = (uint32_t)parts[1].n_bounds;
	}
	for (int f = 0; f < 2; f++) {
		weir_block_spans_free(&parts[f].wide);
	}
	return err;
}

void weir_blocklist_free(struct weir_blocklist *b)
{
	free(b->lines);
	*b = (struct weir_blocklist){ 0 };
}

/* One family of the lines, by slots and by bounds, as ranges of this list; -1: of all. */
static int family_ranges(const struct block_family *f, int list, struct weir_arena *a, struct weir_ranges *ret)
{
	const struct weir_block_head *h = block_head(f);
	uint64_t n = block_table_places(f);
	weir_u128 v4 = f->six ? 0 : WEIR_V4_LOW;
	int err = 0;

	for (uint64_t i = 0; i < n && !err; i++) {
		weir_u128 x = block_table_at(f, i);

		if (x && (list < 0 || list == block_table_list(f, i)))
			err = weir_ranges_add(a, ret, (struct weir_range){ x | v4, x | v4 });
	}
	for (uint32_t i = 0; i < (h->n_bounds + 1) / 2 && !err; i++) {
		struct weir_block_span x = block_bounds_span(f, i);

		if (list < 0 || list == x.list)
			err = weir_ranges_add(a, ret, (struct weir_range){ x.lo | v4, x.hi | v4 });
	}
	return err;
}

int weir_blocklist_ranges(const struct weir_block_line *lines, uint32_t n, int list, struct weir_arena *a,
			  struct weir_ranges *ret)
{
	struct weir_ranges all = { 0 };
	int err = 0;

	for (int six = 0; six < 2 && n && !err; six++) {
		struct block_family f = { .lines = (struct weir_block_line *)lines + 1, .six = six };

		err = family_ranges(&f, list, a, &all);
	}
	if (!err)
		err = weir_ranges_normal(a, &all);
	if (!err)
		*ret = all;
	return err;
}

uint32_t weir_blocklist_differs(const struct weir_blocklist *a, const struct weir_blocklist *b, uint32_t from)
{
	uint32_t both = a->n < b->n ? a->n : b->n, all = a->n < b->n ? b->n : a->n;

	for (; from < both; from++)
		if (memcmp(&a->lines[from], &b->lines[from], 64))
			return from;
	return from < all ? from : all;
}
