/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/blocklist.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/block_line.h"

#define SMALL 4u       /* a range of so many addresses still goes to the table, one by one */
#define MOVES 500u     /* addresses that one may push aside before a table counts as full */
#define CELLS_MAX (1u << 20) /* of an index: 4 MB */

struct parts { /* of one family */
	bool six;
	weir_u128 *exact, *bounds;
	size_t n_exact, n_bounds;
	size_t room_exact, room_bounds;
	uint64_t base;
	uint32_t n_table, n_cells, shift;
};

static int push(weir_u128 **v, size_t *n, size_t *room, weir_u128 x)
{
	if (*n == *room) {
		size_t more = *room ? *room * 2 : 1024;
		weir_u128 *p = reallocarray(*v, more, sizeof *p);

		if (!p)
			return -ENOMEM;
		*v = p;
		*room = more;
	}
	(*v)[(*n)++] = x;
	return 0;
}

/* One range that is in the set, in ascending order. */
static int take(struct parts parts[2], weir_u128 lo, weir_u128 hi)
{
	struct parts *p = &parts[!weir_u128_is_v4(lo)];
	weir_u128 last = p->six ? ~(weir_u128)0 : 0xffffffffu;
	int err = 0;

	if (!p->six) {
		lo -= WEIR_V4_LOW;
		hi -= WEIR_V4_LOW;
	}
	if (lo && hi - lo < SMALL) {
		for (weir_u128 a = lo;; a++) {
			err = push(&p->exact, &p->n_exact, &p->room_exact, a);
			if (err || a == hi)
				return err;
		}
	}
	err = push(&p->bounds, &p->n_bounds, &p->room_bounds, lo);
	if (!err && hi != last)
		err = push(&p->bounds, &p->n_bounds, &p->room_bounds, hi + 1);
	return err;
}

/* The part of an address that the index is over. */
static uint64_t upper(const struct parts *p, weir_u128 a)
{
	return p->six ? (uint64_t)(a >> 64) : (uint64_t)a;
}

static void measure(struct parts *p)
{
	uint32_t slots = p->six ? WEIR_BLOCK_SLOTS6 : WEIR_BLOCK_SLOTS4;
	size_t need = (p->n_exact + slots - 1) / slots, step, most;

	/* Filled to three quarters, and in steps of about an eighth, so that a few more addresses leave it as it is. */
	need += need / 3;
	for (step = 1; step * 16 <= need;)
		step *= 2;
	p->n_table = p->n_exact ? (uint32_t)((need / step + 1) * step) : 0;
	if (!p->n_bounds)
		return;
	p->base = upper(p, p->bounds[0]);
	for (most = 16; most < CELLS_MAX && most < 4 * p->n_bounds;)
		most *= 2;
	while ((upper(p, p->bounds[p->n_bounds - 1]) - p->base) >> p->shift >= most)
		p->shift++;
	p->n_cells = (uint32_t)((upper(p, p->bounds[p->n_bounds - 1]) - p->base) >> p->shift) + 1;
}

static bool line_put(struct weir_block_line *l, bool six, weir_u128 a)
{
	for (uint32_t i = 0; i < (six ? WEIR_BLOCK_SLOTS6 : WEIR_BLOCK_SLOTS4); i++) {
		if (six ? l->w[2 * i] | l->w[2 * i + 1] : l->d[i])
			continue;
		if (six) {
			l->w[2 * i] = (uint64_t)(a >> 64);
			l->w[2 * i + 1] = (uint64_t)a;
		} else {
			l->d[i] = (uint32_t)a;
		}
		return true;
	}
	return false;
}

static weir_u128 line_swap(struct weir_block_line *l, bool six, uint32_t i, weir_u128 a)
{
	weir_u128 old;

	if (six) {
		old = (weir_u128)l->w[2 * i] << 64 | l->w[2 * i + 1];
		l->w[2 * i] = (uint64_t)(a >> 64);
		l->w[2 * i + 1] = (uint64_t)a;
	} else {
		old = l->d[i];
		l->d[i] = (uint32_t)a;
	}
	return old;
}

static uint64_t hash(const struct weir_block_head *h, bool six, weir_u128 a)
{
	return six ? weir_block_hash6(h, (uint64_t)(a >> 64), (uint64_t)a) : weir_block_hash4(h, (uint32_t)a);
}

/* Into one of its two lines; when both are full another address moves to its other line, and so on. */
static bool table_put(struct weir_block_line *table, const struct weir_block_head *h, bool six, weir_u128 a)
{
	uint32_t slots = six ? WEIR_BLOCK_SLOTS6 : WEIR_BLOCK_SLOTS4, n = h->n_table, at, first, second;
	uint64_t x = hash(h, six, a);

	first = weir_block_place(x, n);
	second = weir_block_place(x >> 32, n);
	if (line_put(&table[first], six, a) || line_put(&table[second], six, a))
		return true;
	at = first;
	for (uint32_t i = 0; i < MOVES; i++) {
		a = line_swap(&table[at], six, (i * 7 + (uint32_t)(x >> 20)) % slots, a);
		x = hash(h, six, a);
		first = weir_block_place(x, n);
		second = weir_block_place(x >> 32, n);
		at = at == first ? second : first;
		if (line_put(&table[at], six, a))
			return true;
	}
	return false;
}

static void fill_bounds(struct weir_block_line *lines, const struct weir_block_head *h, const struct parts *p)
{
	uint32_t k = 0;

	for (uint32_t i = 0; i < h->n_bounds; i++) {
		if (p->six) {
			lines[h->bounds + i / 4].w[i % 4 * 2] = (uint64_t)(p->bounds[i] >> 64);
			lines[h->bounds + i / 4].w[i % 4 * 2 + 1] = (uint64_t)p->bounds[i];
		} else {
			lines[h->bounds + i / 16].d[i % 16] = (uint32_t)p->bounds[i];
		}
	}
	for (uint32_t c = 0; h->n_index && c <= h->n_index; c++) {
		while (k < h->n_bounds && (c == h->n_index || (upper(p, p->bounds[k]) - h->base) >> h->shift < c))
			k++;
		lines[h->index + c / 16].d[c % 16] = k;
	}
}

static bool fill(struct weir_block_line *lines, const struct parts *p)
{
	const struct weir_block_head *h = &lines[p->six].head;

	for (size_t i = 0; i < p->n_exact; i++)
		if (!table_put(&lines[h->table], h, p->six, p->exact[i]))
			return false;
	fill_bounds(lines, h, p);
	return true;
}

/* Lay out both families behind the heads and fill them. -EAGAIN: the key was unlucky, or the tables too small. */
static int build(struct parts parts[2], const uint64_t key[2], struct weir_blocklist *ret)
{
	struct weir_block_head head[2] = { 0 };
	uint64_t at = 2; /* from the head of IPv4 on */

	for (int f = 0; f < 2; f++) {
		struct parts *p = &parts[f];

		head[f] = (struct weir_block_head){ .key = { key[0], key[1] }, .base = p->base, .shift = p->shift };
		head[f].table = (uint32_t)at;
		head[f].n_table = p->n_table;
		at += p->n_table;
		head[f].index = (uint32_t)at;
		head[f].n_index = p->n_cells;
		at += p->n_cells ? p->n_cells / 16 + 1 : 0;
		head[f].bounds = (uint32_t)at;
		head[f].n_bounds = (uint32_t)p->n_bounds;
		at += (p->n_bounds + (f ? 3 : 15)) / (f ? 4 : 16);
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
	if (fill(ret->lines + 1, &parts[0]) && fill(ret->lines + 1, &parts[1]))
		return 0;
	weir_blocklist_free(ret);
	return -EAGAIN;
}

int weir_blocklist_build(const struct weir_ranges *block, const uint64_t key[2], struct weir_blocklist *ret,
			 struct weir_why *why)
{
	struct parts parts[2] = { { .six = false }, { .six = true } };
	int err = 0;

	*ret = (struct weir_blocklist){ 0 };
	for (size_t i = 0; i < block->n && !err; i++)
		err = take(parts, block->v[i].lo, block->v[i].hi);
	for (int f = 0; f < 2 && !err; f++) {
		if (parts[f].n_bounds > WEIR_BLOCK_BOUNDS || parts[f].n_exact > (size_t)WEIR_BLOCK_LINES * 8)
			err = -E2BIG;
		else
			measure(&parts[f]);
	}
	for (int tries = 0; !err && tries < 4; tries++) {
		uint64_t other[2] = { key[0] + (uint64_t)tries * 0x9e3779b97f4a7c15u, key[1] };

		err = build(parts, other, ret);
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
		free(parts[f].exact);
		free(parts[f].bounds);
	}
	return err;
}

void weir_blocklist_free(struct weir_blocklist *b)
{
	free(b->lines);
	*b = (struct weir_blocklist){ 0 };
}

static int table_ranges(const struct weir_block_line *l, const struct weir_block_head *h, bool six,
			struct weir_arena *a, struct weir_ranges *ret)
{
	int err = 0;

	for (uint64_t i = 0; i < (uint64_t)h->n_table * (six ? WEIR_BLOCK_SLOTS6 : WEIR_BLOCK_SLOTS4) && !err; i++) {
		const struct weir_block_line *at = &l[h->table + i / (six ? WEIR_BLOCK_SLOTS6 : WEIR_BLOCK_SLOTS4)];
		const uint64_t *w = &at->w[i % WEIR_BLOCK_SLOTS6 * 2];
		weir_u128 x = six ? (weir_u128)w[0] << 64 | w[1] : at->d[i % WEIR_BLOCK_SLOTS4];

		if (x && !six)
			x |= WEIR_V4_LOW;
		if (x)
			err = weir_ranges_add(a, ret, (struct weir_range){ x, x });
	}
	return err;
}

static weir_u128 bound(const struct weir_block_line *l, const struct weir_block_head *h, bool six, uint32_t i)
{
	const uint64_t *w = &l[h->bounds + i / (six ? 4 : 16)].w[i % 4 * 2];

	return six ? (weir_u128)w[0] << 64 | w[1] : WEIR_V4_LOW | l[h->bounds + i / 16].d[i % 16];
}

int weir_blocklist_ranges(const struct weir_block_line *lines, uint32_t n, struct weir_arena *a,
			  struct weir_ranges *ret)
{
	struct weir_ranges all = { 0 };
	int err = 0;

	for (int six = 0; six < 2 && n && !err; six++) {
		const struct weir_block_head *h = &lines[1 + six].head;

		err = table_ranges(lines + 1, h, six, a, &all);
		for (uint32_t i = 0; i < h->n_bounds && !err; i += 2) {
			weir_u128 last = six ? ~(weir_u128)0 : WEIR_V4_HIGH;
			struct weir_range r = { bound(lines + 1, h, six, i), last };

			if (i + 1 < h->n_bounds)
				r.hi = bound(lines + 1, h, six, i + 1) - 1;
			err = weir_ranges_add(a, &all, r);
		}
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
