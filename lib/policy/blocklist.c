/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/blocklist.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct weir_img; /* the builder reads through none */
static inline const struct weir_block_line *weir_img_block_line(const struct weir_img *img, uint32_t i);
#include "core/blocklist.h"

static inline const struct weir_block_line *weir_img_block_line(const struct weir_img *img, uint32_t i)
{
	(void)img;
	(void)i;
	return NULL;
}

#define SMALL 4u       /* a range of so many addresses still goes to the table, one by one */
#define MOVES 500u     /* addresses that one may push aside before a table counts as full */
#define CELLS_MAX 65536u

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

/* `block` without `except`, in one pass over both. */
static int split(const struct weir_ranges *block, const struct weir_ranges *except, struct parts parts[2])
{
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; i < block->n && !err; i++) {
		weir_u128 lo = block->v[i].lo, hi = block->v[i].hi;
		bool rest = true;

		while (k < except->n && except->v[k].hi < lo)
			k++;
		for (size_t j = k; j < except->n && except->v[j].lo <= hi && !err; j++) {
			if (except->v[j].lo > lo)
				err = take(parts, lo, except->v[j].lo - 1);
			if (except->v[j].hi >= hi) {
				rest = false;
				break;
			}
			lo = except->v[j].hi + 1;
		}
		if (rest && !err)
			err = take(parts, lo, hi);
	}
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
	size_t need = (p->n_exact + slots - 1) / slots, step;

	/* Filled to three quarters, and in steps of about an eighth, so that a few more addresses leave it as it is. */
	need += need / 3;
	for (step = 1; step * 16 <= need;)
		step *= 2;
	p->n_table = p->n_exact ? (uint32_t)((need / step + 1) * step) : 0;
	if (!p->n_bounds)
		return;
	p->base = upper(p, p->bounds[0]);
	while ((upper(p, p->bounds[p->n_bounds - 1]) - p->base) >> p->shift >= CELLS_MAX)
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
	uint64_t at = 2;

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
	if (at > WEIR_BLOCK_LINES)
		return -E2BIG;
	ret->lines = aligned_alloc(64, at * 64);
	if (!ret->lines)
		return -ENOMEM;
	memset(ret->lines, 0, at * 64);
	ret->n = (uint32_t)at;
	ret->lines[0].head = head[0];
	ret->lines[1].head = head[1];
	if (fill(ret->lines, &parts[0]) && fill(ret->lines, &parts[1]))
		return 0;
	weir_blocklist_free(ret);
	return -EAGAIN;
}

int weir_blocklist_build(const struct weir_ranges *block, const struct weir_ranges *except, const uint64_t key[2],
			 struct weir_blocklist *ret, struct weir_why *why)
{
	struct parts parts[2] = { { .six = false }, { .six = true } };
	int err = split(block, except, parts);

	*ret = (struct weir_blocklist){ 0 };
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

uint32_t weir_blocklist_differs(const struct weir_blocklist *a, const struct weir_blocklist *b, uint32_t from)
{
	uint32_t both = a->n < b->n ? a->n : b->n, all = a->n < b->n ? b->n : a->n;

	for (; from < both; from++)
		if (memcmp(&a->lines[from], &b->lines[from], 64))
			return from;
	return from < all ? from : all;
}
