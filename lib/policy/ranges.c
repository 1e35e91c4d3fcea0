/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util/cleanup.h"

int weir_ranges_reserve(struct weir_arena *a, struct weir_ranges *r, size_t room)
{
	struct weir_range *v;

	if (room <= r->room)
		return 0;
	v = weir_arena_array(a, room, sizeof *v);
	if (!v)
		return -ENOMEM;
	if (r->n)
		memcpy(v, r->v, r->n * sizeof *v);
	r->v = v;
	r->room = room;
	return 0;
}

int weir_ranges_add(struct weir_arena *a, struct weir_ranges *r, struct weir_range one)
{
	if (r->n == r->room && weir_ranges_reserve(a, r, r->room ? r->room * 2 : 1) < 0)
		return -ENOMEM;
	r->v[r->n++] = one;
	return 0;
}

int weir_ranges_append(struct weir_arena *a, struct weir_ranges *r, const struct weir_ranges *more)
{
	size_t need = r->n + more->n, half = r->room + r->room / 2;

	if (need > r->room && weir_ranges_reserve(a, r, need > half ? need : half) < 0)
		return -ENOMEM;
	if (more->n)
		memcpy(r->v + r->n, more->v, more->n * sizeof *r->v);
	r->n += more->n;
	return 0;
}

static int by_low(const void *x, const void *y)
{
	const struct weir_range *a = x, *b = y;

	return a->lo < b->lo ? -1 : a->lo > b->lo;
}

#define RADIX_FROM 4096u /* so many are worth the tables */

/*
 * The same for many: by 16 bits at a time, the lowest first. What is alike in all is passed over, so that IPv4 takes
 * two turns. False: no memory.
 */
static bool sort_many(struct weir_range *v, size_t n)
{
	_cleanup_free_ struct weir_range *other = malloc(n * sizeof *v);
	_cleanup_free_ uint32_t *at = malloc(65536 * sizeof *at);
	struct weir_range *from = v, *to = other;

	if (!other || !at || n > UINT32_MAX)
		return false;
	for (int shift = 0; shift < 128; shift += 16) {
		uint32_t sum = 0;

		memset(at, 0, 65536 * sizeof *at);
		for (size_t i = 0; i < n; i++)
			at[(uint16_t)(from[i].lo >> shift)]++;
		if (at[(uint16_t)(from[0].lo >> shift)] == n)
			continue;
		for (uint32_t k = 0; k < 65536; k++) {
			uint32_t here = at[k];

			at[k] = sum;
			sum += here;
		}
		for (size_t i = 0; i < n; i++)
			to[at[(uint16_t)(from[i].lo >> shift)]++] = from[i];
		to = from;
		from = from == v ? other : v;
	}
	if (from != v)
		memcpy(v, from, n * sizeof *v);
	return true;
}

/* What is in order already is most of what is asked for. */
static void sort(struct weir_range *v, size_t n)
{
	size_t i = 1;

	while (i < n && v[i].lo >= v[i - 1].lo)
		i++;
	if (i < n && !(n >= RADIX_FROM && sort_many(v, n)))
		qsort(v, n, sizeof *v, by_low);
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
	sort(r->v, r->n);
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

int weir_ranges_or(struct weir_arena *a, const struct weir_ranges *x, const struct weir_ranges *y,
		   struct weir_ranges *ret)
{
	struct weir_ranges r = { 0 };
	size_t i = 0, k = 0;

	if (weir_ranges_reserve(a, &r, x->n + y->n) < 0)
		return -ENOMEM;
	while (i < x->n || k < y->n)
		r.v[r.n++] = k == y->n || (i < x->n && x->v[i].lo <= y->v[k].lo) ? x->v[i++] : y->v[k++];
	*ret = r;
	return weir_ranges_normal(a, ret);
}

int weir_ranges_minus(struct weir_arena *a, const struct weir_ranges *x, const struct weir_ranges *y,
		      struct weir_ranges *ret)
{
	struct weir_ranges r = { 0 };
	size_t k = 0;

	if (weir_ranges_reserve(a, &r, x->n + y->n) < 0) /* each hole makes one more at most */
		return -ENOMEM;
	for (size_t i = 0; i < x->n; i++) {
		struct weir_range v = x->v[i];
		bool rest = true;

		while (k < y->n && y->v[k].hi < v.lo)
			k++;
		for (size_t j = k; j < y->n && y->v[j].lo <= v.hi && rest; j++) {
			if (y->v[j].lo > v.lo)
				r.v[r.n++] = (struct weir_range){ v.lo, y->v[j].lo - 1 };
			rest = y->v[j].hi < v.hi;
			v.lo = y->v[j].hi + 1;
		}
		if (rest)
			r.v[r.n++] = v;
	}
	*ret = r;
	return 0;
}

bool weir_ranges_cover(const struct weir_ranges *r, const struct weir_range *x)
{
	size_t lo = 0, hi = r->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->v[mid].hi < x->lo)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->n && r->v[lo].lo <= x->lo && x->hi <= r->v[lo].hi;
}

bool weir_ranges_hold(const struct weir_ranges *r, weir_u128 x)
{
	return weir_ranges_cover(r, &(struct weir_range){ x, x });
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
