/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int weir_ranges_add(struct weir_arena *a, struct weir_ranges *r, struct weir_range one)
{
	if (r->n == r->room) {
		size_t room = r->room ? r->room * 2 : 1;
		struct weir_range *v = weir_arena_array(a, room, sizeof *v);

		if (!v)
			return -ENOMEM;
		if (r->n)
			memcpy(v, r->v, r->n * sizeof *v);
		r->v = v;
		r->room = room;
	}
	r->v[r->n++] = one;
	return 0;
}

int weir_ranges_append(struct weir_arena *a, struct weir_ranges *r, const struct weir_ranges *more)
{
	int err = 0;

	for (size_t i = 0; i < more->n && !err; i++)
		err = weir_ranges_add(a, r, more->v[i]);
	return err;
}

static int by_low(const void *x, const void *y)
{
	const struct weir_range *a = x, *b = y;

	return a->lo < b->lo ? -1 : a->lo > b->lo;
}

int weir_ranges_normal(struct weir_arena *a, struct weir_ranges *r)
{
	size_t n = r->n, out = 0;

	for (size_t i = 0; i < n; i++) {
		struct weir_range *x = &r->v[i];

		if (x->lo < WEIR_V4_LOW && x->hi >= WEIR_V4_LOW) {
			struct weir_range above = { WEIR_V4_HIGH + 1, x->hi };

			x->hi = WEIR_V4_LOW - 1;
			if (above.hi >= above.lo && weir_ranges_add(a, r, above) < 0)
				return -ENOMEM;
		}
	}
	if (r->n)
		qsort(r->v, r->n, sizeof *r->v, by_low);
	for (size_t i = 0; i < r->n; i++) {
		struct weir_range *last = out ? &r->v[out - 1] : NULL, x = r->v[i];

		if (last && weir_u128_is_v4(last->lo) == weir_u128_is_v4(x.lo) &&
		    (x.lo <= last->hi || x.lo == last->hi + 1)) {
			if (x.hi > last->hi)
				last->hi = x.hi;
		} else {
			r->v[out++] = x;
		}
	}
	r->n = out;
	return 0;
}

/* The first of r, from `from` on, that reaches as far as `lo`. */
static size_t first_reaching(const struct weir_ranges *r, size_t from, weir_u128 lo)
{
	size_t n = r->n - from;

	while (n) {
		size_t half = n / 2;

		if (r->v[from + half].hi < lo) {
			from += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return from;
}

/* A short list against a long one costs what the short one and the result cost: sets may hold a million. */
int weir_ranges_and(struct weir_arena *a, const struct weir_ranges *x, const struct weir_ranges *y,
		    struct weir_ranges *ret)
{
	const struct weir_ranges *s = x->n < y->n ? x : y, *l = x->n < y->n ? y : x;
	struct weir_ranges r = { 0 };
	size_t k = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct weir_range *v = &s->v[i];

		for (k = first_reaching(l, k, v->lo); k < l->n && l->v[k].lo <= v->hi; k++) {
			weir_u128 lo = l->v[k].lo > v->lo ? l->v[k].lo : v->lo;
			weir_u128 hi = l->v[k].hi < v->hi ? l->v[k].hi : v->hi;

			if (weir_ranges_add(a, &r, (struct weir_range){ lo, hi }) < 0)
				return -ENOMEM;
			if (l->v[k].hi > v->hi)
				break;
		}
	}
	*ret = r;
	return 0;
}

int weir_ranges_minus(struct weir_arena *a, const struct weir_ranges *x, struct weir_range y, struct weir_ranges *ret)
{
	struct weir_ranges r = { 0 };

	for (size_t i = 0; i < x->n; i++) {
		struct weir_range v = x->v[i];

		if (v.hi < y.lo || v.lo > y.hi) {
			if (weir_ranges_add(a, &r, v) < 0)
				return -ENOMEM;
			continue;
		}
		if (v.lo < y.lo && weir_ranges_add(a, &r, (struct weir_range){ v.lo, y.lo - 1 }) < 0)
			return -ENOMEM;
		if (v.hi > y.hi && weir_ranges_add(a, &r, (struct weir_range){ y.hi + 1, v.hi }) < 0)
			return -ENOMEM;
	}
	*ret = r;
	return 0;
}

bool weir_ranges_equal(const struct weir_ranges *x, const struct weir_ranges *y)
{
	return x->n == y->n && (!x->n || !memcmp(x->v, y->v, x->n * sizeof *x->v));
}

uint64_t weir_ranges_hash(const struct weir_ranges *r)
{
	uint64_t h = 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < r->n; i++) {
		const uint64_t *w = (const uint64_t *)&r->v[i];

		for (size_t k = 0; k < sizeof r->v[i] / 8; k++) {
			h = (h ^ w[k]) * 0xff51afd7ed558ccdu;
			h ^= h >> 32;
		}
	}
	return h;
}

bool weir_ranges_within(const struct weir_ranges *x, const struct weir_ranges *y)
{
	size_t k = 0;

	if (x->v == y->v && x->n == y->n)
		return true;
	for (size_t i = 0; i < x->n; i++) {
		k = first_reaching(y, k, x->v[i].lo);
		if (k == y->n || y->v[k].lo > x->v[i].lo || y->v[k].hi < x->v[i].hi)
			return false;
	}
	return true;
}

bool weir_ranges_touch(const struct weir_ranges *x, const struct weir_ranges *y)
{
	const struct weir_ranges *s = x->n < y->n ? x : y, *l = x->n < y->n ? y : x;
	size_t k = 0;

	for (size_t i = 0; i < s->n; i++) {
		k = first_reaching(l, k, s->v[i].lo);
		if (k < l->n && l->v[k].lo <= s->v[i].hi)
			return true;
	}
	return false;
}

bool weir_ranges_hull(const struct weir_ranges *r, uint8_t family, struct weir_range *ret)
{
	size_t v4 = first_reaching(r, 0, WEIR_V4_LOW), end = first_reaching(r, 0, WEIR_V4_HIGH + 1);
	size_t first = v4, last = end;

	if (family != 4) {
		first = v4 ? 0 : end;
		last = end < r->n ? r->n : v4;
	}
	if (first >= last)
		return false;
	*ret = (struct weir_range){ r->v[first].lo, r->v[last - 1].hi };
	return true;
}

unsigned weir_ranges_families(const struct weir_ranges *r)
{
	struct weir_range hull;

	return (weir_ranges_hull(r, 4, &hull) ? 1u : 0) | (weir_ranges_hull(r, 6, &hull) ? 2u : 0);
}
