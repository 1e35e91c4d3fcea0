/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sweep over all ends of all lists, in order: the row of bits changes where a list begins or ends, and
 * equal rows get one class. Cost: a sort of the ends, then a constant number of words per end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/build.h"

struct end {
	weir_u128 at;
	uint32_t list;
};

static int by_place(const void *x, const void *y)
{
	const struct end *a = x, *b = y;

	return a->at < b->at ? -1 : a->at > b->at;
}

/* Equal rows, found by hash. */
struct rows {
	struct weir_space *space;
	uint32_t *slots; /* class + 1, open addressing */
	size_t n_slots, room;
};

static uint64_t row_hash(const uint64_t *row, uint32_t words)
{
	uint64_t h = 0x9e3779b97f4a7c15u;

	for (uint32_t i = 0; i < words; i++) {
		h = (h ^ row[i]) * 0xff51afd7ed558ccdu;
		h ^= h >> 33;
	}
	return h;
}

static int row_class(struct weir_arena *a, struct rows *t, const uint64_t *row, uint32_t *ret)
{
	struct weir_space *s = t->space;
	size_t bytes = s->words * sizeof *row, at = row_hash(row, s->words) & (t->n_slots - 1);

	for (; t->slots[at]; at = (at + 1) & (t->n_slots - 1)) {
		if (memcmp(s->rows + (size_t)(t->slots[at] - 1) * s->words, row, bytes))
			continue;
		*ret = t->slots[at] - 1;
		return 0;
	}
	if (s->n_rows == t->room) {
		uint64_t *more = weir_arena_array(a, t->room * 2, bytes);

		if (!more)
			return -ENOMEM;
		memcpy(more, s->rows, s->n_rows * bytes);
		s->rows = more;
		t->room *= 2;
	}
	memcpy(s->rows + (size_t)s->n_rows * s->words, row, bytes);
	t->slots[at] = s->n_rows + 1;
	*ret = s->n_rows++;
	return 0;
}

static struct end *collect(struct weir_arena *a, const struct weir_ranges *lists, uint32_t n_lists, size_t *ret_n)
{
	size_t total = 0, n = 0;
	struct end *e;

	for (uint32_t l = 0; l < n_lists; l++)
		total += lists[l].n * 2;
	e = weir_arena_array(a, total, sizeof *e);
	for (uint32_t l = 0; e && l < n_lists; l++) {
		for (size_t i = 0; i < lists[l].n; i++) {
			e[n++] = (struct end){ lists[l].v[i].lo, l };
			if (lists[l].v[i].hi != ~(weir_u128)0)
				e[n++] = (struct end){ lists[l].v[i].hi + 1, l };
		}
	}
	*ret_n = n;
	return e;
}

int weir_space_make(struct weir_arena *a, const struct weir_ranges *lists, uint32_t n_lists, const weir_u128 *forced,
		    size_t n_forced, struct weir_space *ret)
{
	struct weir_space s = { .words = (n_lists + 63) / 64 ?: 1 };
	struct rows t = { .space = &s, .room = 64 };
	uint64_t row[WEIR_ROW_WORDS] = { 0 };
	struct end *ends;
	size_t n_ends, i = 0, f = 0;
	uint32_t id;

	ends = collect(a, lists, n_lists, &n_ends);
	if (!ends)
		return -ENOMEM;
	if (n_ends)
		qsort(ends, n_ends, sizeof *ends, by_place);
	for (t.n_slots = 128; t.n_slots < 2 * (n_ends + n_forced + 1);)
		t.n_slots *= 2;
	t.slots = weir_arena_array(a, t.n_slots, sizeof *t.slots);
	s.rows = weir_arena_array(a, t.room, s.words * sizeof *s.rows);
	s.at = weir_arena_array(a, n_ends + n_forced, sizeof *s.at);
	s.class_id = weir_arena_array(a, n_ends + n_forced, sizeof *s.class_id);
	if (!t.slots || !s.rows || !s.at || !s.class_id)
		return -ENOMEM;
	if (row_class(a, &t, row, &id) < 0) /* class 0: in no list */
		return -ENOMEM;
	while (i < n_ends || f < n_forced) {
		bool force = f < n_forced && (i == n_ends || forced[f] <= ends[i].at);
		weir_u128 at = force ? forced[f] : ends[i].at;

		f += force;
		for (; i < n_ends && ends[i].at == at; i++)
			row[ends[i].list >> 6] ^= (uint64_t)1 << (ends[i].list & 63);
		if (row_class(a, &t, row, &id) < 0)
			return -ENOMEM;
		if (!force && s.n && s.class_id[s.n - 1] == id)
			continue;
		s.at[s.n] = at;
		s.class_id[s.n++] = id;
	}
	*ret = s;
	return 0;
}
