/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few addresses more or less in lines that are laid out already: what is to be held within a window takes the place of
 * what is held there, and everything else stays where it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/block_lines.h"
#include "lib/policy/blocklist.h"

#define ONE_BY_ONE 256u /* a piece of the window with more addresses is looked for in the whole table */

struct edit {
	struct block_family f;
	struct weir_ranges window; /* of the family, as its numbers */
	struct weir_block_spans held; /* likewise */
	struct weir_block_patch *patch;
	uint8_t *touched; /* a bit per line */
	int err;
};

/* What stands in a line is kept before it changes for the first time; without memory for it nothing changes any more. */
static bool touch(void *data, uint32_t line)
{
	struct edit *e = data;
	struct weir_block_patch *p = e->patch;

	if (e->err || (e->touched[line / 8] >> line % 8 & 1))
		return !e->err;
	if (p->n == p->room) {
		size_t room = p->room ? p->room * 2 : 256;
		struct weir_block_change *v = reallocarray(p->v, room, sizeof *v);

		if (!v) {
			e->err = -ENOMEM;
			return false;
		}
		p->v = v;
		p->room = room;
	}
	e->touched[line / 8] |= (uint8_t)(1u << line % 8);
	p->v[p->n++] = (struct weir_block_change){ .at = line, .line = e->f.lines[line] };
	return true;
}

static bool is_small(const struct weir_block_span *x)
{
	return x->lo && x->hi - x->lo < BLOCK_SMALL;
}

/* Is it one that the table is to have? Without a table all stands in the bounds. */
static bool wanted(const struct edit *e, weir_u128 a)
{
	for (size_t lo = 0, hi = e->held.n; lo < hi;) {
		size_t mid = lo + (hi - lo) / 2;
		const struct weir_block_span *r = &e->held.v[mid];

		if (a >= r->lo && a <= r->hi)
			return is_small(r);
		if (a < r->lo)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

/* What of the window the table is not to have any more. */
static void table_clear(const struct edit *e)
{
	uint64_t places = block_table_places(&e->f);
	bool large = false;

	for (size_t i = 0; i < e->window.n; i++) {
		const struct weir_range *w = &e->window.v[i];

		if (w->hi - w->lo >= ONE_BY_ONE) {
			large = true;
			continue;
		}
		for (weir_u128 a = w->lo;; a++) {
			if (a && !wanted(e, a))
				block_table_take(&e->f, a);
			if (a == w->hi)
				break;
		}
	}
	for (uint64_t i = 0; large && i < places; i++) {
		weir_u128 a = block_table_at(&e->f, i);

		if (a && weir_ranges_hold(&e->window, a) && !wanted(e, a))
			block_table_take(&e->f, a);
	}
}

static int table_fill(const struct edit *e)
{
	for (size_t i = 0; i < e->held.n; i++) {
		const struct weir_block_span *x = &e->held.v[i];

		for (weir_u128 k = 0; is_small(x) && k <= x->hi - x->lo; k++)
			if (!block_table_give(&e->f, x->lo + k, x->list) && !block_table_put(&e->f, x->lo + k, x->list))
				return -EAGAIN;
	}
	return 0;
}

/* These pieces as the bounds, if they have room. */
static int bounds_put(struct edit *e, const struct weir_block_spans *wide)
{
	struct weir_block_head head = *block_head(&e->f);
	size_t n = block_bounds_count(e->f.six, wide);

	if (n > head.bounds_room || (n && !head.index_room))
		return -EAGAIN;
	block_index_shape(&head, e->f.six, wide, head.index_room);
	if (memcmp(&head, block_head(&e->f), sizeof head) && touch(e, e->f.six))
		*block_head(&e->f) = head;
	if (e->err)
		return e->err;
	block_bounds_put(&e->f, wide);
	return 0;
}

/* Within the window the bounds are to say what is wide of it, or all of it where there is no table. */
static int bounds_edit(struct edit *e, bool table)
{
	struct weir_block_spans now = { 0 }, rest = { 0 }, wide = { 0 }, all = { 0 };
	uint32_t n = (block_head(&e->f)->n_bounds + 1) / 2;
	int err = 0;

	for (uint32_t i = 0; i < n && !err; i++)
		err = weir_block_spans_add(&now, block_bounds_span(&e->f, i));
	for (size_t i = 0; i < e->held.n && !err; i++)
		if (!table || !is_small(&e->held.v[i]))
			err = weir_block_spans_add(&wide, e->held.v[i]);
	err = err ? err : weir_block_spans_minus(&now, &e->window, &rest);
	err = err ? err : weir_block_spans_over(&wide, &rest, &all);
	if (!err && (wide.n || !weir_block_spans_equal(&now, &rest)))
		err = bounds_put(e, &all);
	weir_block_spans_free(&now);
	weir_block_spans_free(&rest);
	weir_block_spans_free(&wide);
	weir_block_spans_free(&all);
	return err;
}

/* The part of the family, which in normal form no range reaches over. */
static int part_of(struct weir_arena *a, const struct weir_ranges *r, bool six, struct weir_ranges *ret)
{
	int err = 0;

	for (size_t i = 0; i < r->n && !err; i++) {
		weir_u128 less = six ? 0 : WEIR_V4_LOW;

		if (weir_u128_is_v4(r->v[i].lo) != six)
			err = weir_ranges_add(a, ret, (struct weir_range){ r->v[i].lo - less, r->v[i].hi - less });
	}
	return err;
}

static int held_of(const struct weir_block_spans *held, bool six, struct weir_block_spans *ret)
{
	weir_u128 less = six ? 0 : WEIR_V4_LOW;
	int err = 0;

	*ret = (struct weir_block_spans){ 0 };
	for (size_t i = 0; i < held->n && !err; i++) {
		struct weir_block_span x = held->v[i];

		if (weir_u128_is_v4(x.lo) != six)
			err = weir_block_spans_add(ret, (struct weir_block_span){ x.lo - less, x.hi - less, x.list });
	}
	return err;
}

static int family_edit(struct edit *e)
{
	bool table = block_head(&e->f)->n_table;
	int err = 0;

	if (!e->window.n)
		return 0;
	if (table) {
		table_clear(e);
		err = table_fill(e);
	}
	err = err ? err : bounds_edit(e, table);
	return err ? err : e->err;
}

int weir_blocklist_edit(struct weir_block_line *lines, uint32_t n, const struct weir_ranges *window,
			const struct weir_block_spans *held, struct weir_block_patch *ret)
{
	struct weir_arena arena = { .limit = (size_t)1 << 30 };
	struct edit e = { .patch = ret, .touched = n ? calloc(n / 8 + 1, 1) : NULL };
	int err = n < 3 ? -EAGAIN : e.touched ? 0 : -ENOMEM;

	*ret = (struct weir_block_patch){ 0 };
	for (int six = 0; six < 2 && !err; six++) {
		e.f = (struct block_family){ .lines = lines + 1, .six = six, .touch = touch, .data = &e };
		e.window = (struct weir_ranges){ 0 };
		err = part_of(&arena, window, six, &e.window);
		err = err ? err : held_of(held, six, &e.held);
		err = err ? err : family_edit(&e);
		weir_block_spans_free(&e.held);
	}
	if (err) {
		weir_blocklist_undo(lines, ret);
		weir_block_patch_free(ret);
	}
	free(e.touched);
	weir_arena_free(&arena);
	return err;
}

void weir_blocklist_undo(struct weir_block_line *lines, const struct weir_block_patch *p)
{
	for (size_t i = 0; i < p->n; i++)
		lines[1 + p->v[i].at] = p->v[i].line;
}

void weir_block_patch_free(struct weir_block_patch *p)
{
	free(p->v);
	*p = (struct weir_block_patch){ 0 };
}
