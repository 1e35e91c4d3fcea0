/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What conditions refer to: numbered lists, one for equal lists, and single ranges. Names first, so that an equal list
 * inside a rule shows the name of the set.
 */
#include <errno.h>
#include <string.h>

#include "lib/policy/build.h"

static uint32_t *slot_of(struct weir_by_hash *x, uint64_t hash)
{
	return &x->slots[hash & (x->n_slots - 1)];
}

/* Room for one more. */
static int index_grow(struct weir_arena *a, struct weir_by_hash *x)
{
	struct weir_by_hash more = { .n_slots = x->n_slots ? x->n_slots * 4 : 256, .n = x->n };

	if (x->n * 2 < x->n_slots)
		return 0;
	more.slots = weir_arena_array(a, more.n_slots, sizeof *more.slots);
	more.hash = weir_arena_array(a, more.n_slots / 2, sizeof *more.hash);
	if (!more.slots || !more.hash)
		return -ENOMEM;
	for (uint32_t i = 0; i < x->n; i++) {
		uint32_t *s = slot_of(&more, more.hash[i] = x->hash[i]);

		while (*s)
			s = s + 1 == more.slots + more.n_slots ? more.slots : s + 1;
		*s = i + 1;
	}
	*x = more;
	return 0;
}

/* The entry after `s` with this hash, or the empty one where it would stand. */
static uint32_t *probe(struct weir_by_hash *x, uint32_t *s, uint64_t hash)
{
	while (*s && x->hash[*s - 1] != hash)
		s = s + 1 == x->slots + x->n_slots ? x->slots : s + 1;
	return s;
}

static uint32_t *after(struct weir_by_hash *x, uint32_t *s, uint64_t hash)
{
	return probe(x, s + 1 == x->slots + x->n_slots ? x->slots : s + 1, hash);
}

/* The number of the list with these ranges; WEIR_NO_LIST: none yet, and *ret_slot is where it would stand. */
static uint32_t list_find(struct weir_lists *l, const struct weir_ranges *r, uint64_t hash, uint32_t **ret_slot)
{
	uint32_t *s = probe(&l->index, slot_of(&l->index, hash), hash);

	while (*s && !weir_ranges_equal(&l->v[*s - 1], r))
		s = after(&l->index, s, hash);
	*ret_slot = s;
	return *s ? *s - 1 : WEIR_NO_LIST;
}

static int list_number(struct weir_build *b, struct weir_lists *l, const struct weir_ranges *r, const char *name,
		       const char *what, uint16_t *ret)
{
	uint64_t hash = weir_ranges_hash(r);
	uint32_t *slot, number;

	if (index_grow(&b->arena, &l->index) < 0)
		return -ENOMEM;
	number = list_find(l, r, hash, &slot);
	if (number != WEIR_NO_LIST) {
		if (!*l->names[number])
			l->names[number] = name;
		*ret = (uint16_t)number;
		return 0;
	}
	if (l->n == WEIR_LISTS_MAX)
		return weir_build_tell(b, "rules that share a list should share a $set",
				       "more than %d different lists of %s, each of more than one range", WEIR_LISTS_MAX,
				       what);
	l->v[l->n] = *r;
	l->names[l->n] = name;
	l->index.hash[l->index.n++] = hash;
	*ret = (uint16_t)l->n++;
	*slot = l->n;
	return 0;
}

int weir_build_list(struct weir_build *b, const struct weir_ranges *r, const char *name, uint16_t *ret)
{
	return list_number(b, &b->addrs, r, name, "addresses", ret);
}

static bool span_is(const struct weir_span *s, const struct weir_range *r)
{
	return s->lo_hi == (uint64_t)(r->lo >> 64) && s->lo_lo == (uint64_t)r->lo &&
	       s->hi_hi == (uint64_t)(r->hi >> 64) && s->hi_lo == (uint64_t)r->hi;
}

static int span_number(struct weir_build *b, const struct weir_ranges *r, uint64_t hash, uint32_t *ret)
{
	const struct weir_range *one = &r->v[0];
	struct weir_by_hash *x = &b->span_index;
	uint32_t *s;

	if (index_grow(&b->arena, x) < 0)
		return -ENOMEM;
	s = probe(x, slot_of(x, hash), hash);
	while (*s && !span_is(&b->spans[*s - 1], one))
		s = after(x, s, hash);
	if (!*s) {
		if (x->n == WEIR_SPANS_MAX)
			return weir_build_tell(b, "name whole networks, or use sets",
					       "more than %u different ranges of addresses", WEIR_SPANS_MAX);
		if (x->n == b->room_spans) {
			struct weir_span *more = weir_arena_array(&b->arena, b->room_spans * 2u + 64, sizeof *more);

			if (!more)
				return -ENOMEM;
			if (x->n)
				memcpy(more, b->spans, x->n * sizeof *more);
			b->spans = more;
			b->room_spans = b->room_spans * 2 + 64;
		}
		b->spans[x->n] = (struct weir_span){ (uint64_t)(one->lo >> 64), (uint64_t)one->lo,
						     (uint64_t)(one->hi >> 64), (uint64_t)one->hi };
		x->hash[x->n++] = hash;
		*s = x->n;
	}
	*ret = WEIR_SPAN | (*s - 1);
	return 0;
}

int weir_build_addrs(struct weir_build *b, const struct weir_ranges *r, uint32_t *ret)
{
	uint64_t hash = weir_ranges_hash(r);
	uint32_t *slot, number = WEIR_NO_LIST;
	uint16_t list;
	int err;

	if (r->n == 1) {
		if (b->addrs.index.n_slots)
			number = list_find(&b->addrs, r, hash, &slot);
		if (number == WEIR_NO_LIST)
			return span_number(b, r, hash, ret);
	}
	err = weir_build_list(b, r, "", &list);
	*ret = list;
	return err;
}

int weir_build_ports(struct weir_build *b, const struct weir_ranges *r, struct weir_ports *ret)
{
	*ret = (struct weir_ports){ .list = WEIR_NO_LIST };
	if (r->n != 1)
		return list_number(b, &b->ports, r, "", "ports", &ret->list);
	ret->lo = (uint16_t)r->v[0].lo;
	ret->hi = (uint16_t)r->v[0].hi;
	return 0;
}
