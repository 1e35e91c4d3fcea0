/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/block_spans.h"

#include <errno.h>
#include <stdlib.h>

int weir_block_spans_add(struct weir_block_spans *s, struct weir_block_span x)
{
	struct weir_block_span *last = s->n ? &s->v[s->n - 1] : NULL;

	if (last && last->list == x.list && last->hi + 1 == x.lo && weir_u128_is_v4(last->hi) == weir_u128_is_v4(x.lo)) {
		last->hi = x.hi;
		return 0;
	}
	if (s->n == s->room) {
		size_t room = s->room ? s->room + s->room / 2 : 64;
		struct weir_block_span *v = reallocarray(s->v, room, sizeof *v);

		if (!v)
			return -ENOMEM;
		s->v = v;
		s->room = room;
	}
	s->v[s->n++] = x;
	return 0;
}

void weir_block_spans_free(struct weir_block_spans *s)
{
	free(s->v);
	*s = (struct weir_block_spans){ 0 };
}

bool weir_block_spans_equal(const struct weir_block_spans *a, const struct weir_block_spans *b)
{
	bool same = a->n == b->n;

	for (size_t i = 0; i < a->n && same; i++)
		same = a->v[i].lo == b->v[i].lo && a->v[i].hi == b->v[i].hi && a->v[i].list == b->v[i].list;
	return same;
}

static int done(struct weir_block_spans *s, int err)
{
	if (err)
		weir_block_spans_free(s);
	return err;
}

int weir_block_spans_of(const struct weir_ranges *r, uint8_t list, struct weir_block_spans *ret)
{
	int err = 0;

	*ret = (struct weir_block_spans){ 0 };
	for (size_t i = 0; i < r->n && !err; i++)
		err = weir_block_spans_add(ret, (struct weir_block_span){ r->v[i].lo, r->v[i].hi, list });
	return done(ret, err);
}

/* A piece of `then` around those of `first` from *at on; those that end before it does are put where they belong. */
static int put_between(struct weir_block_spans *ret, const struct weir_block_spans *first, size_t *at, struct weir_block_span x)
{
	int err = 0;

	while (!err && *at < first->n && first->v[*at].lo <= x.hi) {
		const struct weir_block_span *f = &first->v[*at];

		if (f->lo > x.lo)
			err = weir_block_spans_add(ret, (struct weir_block_span){ x.lo, f->lo - 1, x.list });
		if (err || f->hi >= x.hi)
			return err;
		x.lo = f->hi + 1 > x.lo ? f->hi + 1 : x.lo;
		err = weir_block_spans_add(ret, *f);
		++*at;
	}
	return err ? err : weir_block_spans_add(ret, x);
}

int weir_block_spans_over(const struct weir_block_spans *first, const struct weir_block_spans *then,
			  struct weir_block_spans *ret)
{
	size_t at = 0;
	int err = 0;

	*ret = (struct weir_block_spans){ 0 };
	for (size_t i = 0; i < then->n && !err; i++)
		err = put_between(ret, first, &at, then->v[i]);
	for (; at < first->n && !err; at++)
		err = weir_block_spans_add(ret, first->v[at]);
	return done(ret, err);
}

int weir_block_spans_minus(const struct weir_block_spans *s, const struct weir_ranges *less, struct weir_block_spans *ret)
{
	size_t at = 0;
	int err = 0;

	*ret = (struct weir_block_spans){ 0 };
	for (size_t i = 0; i < s->n && !err; i++) {
		struct weir_block_span x = s->v[i];
		bool left = true;

		while (at < less->n && less->v[at].hi < x.lo)
			at++;
		for (size_t k = at; !err && left && k < less->n && less->v[k].lo <= x.hi; k++) {
			if (less->v[k].lo > x.lo)
				err = weir_block_spans_add(ret, (struct weir_block_span){ x.lo, less->v[k].lo - 1, x.list });
			left = less->v[k].hi < x.hi;
			x.lo = less->v[k].hi + 1;
		}
		if (!err && left)
			err = weir_block_spans_add(ret, x);
	}
	return done(ret, err);
}
