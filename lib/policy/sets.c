/* SPDX-License-Identifier: Apache-2.0 */
/* The sets as they are now, edits included, and what the blocklists make of them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/block_line.h"
#include "lib/policy/build.h"
#include "lib/util/cleanup.h"

struct edited { /* the later edit is the one that counts */
	struct weir_range r;
	size_t order;
	bool remove;
};

struct edits { /* of one set: by their lowest address; and a heap of those that reach to where we are, the last on top */
	struct edited *v;
	struct edited **heap;
	size_t n, n_heap;
};

static int by_low(const void *x, const void *y)
{
	const struct edited *a = x, *b = y;

	return a->r.lo < b->r.lo ? -1 : a->r.lo > b->r.lo;
}

static void push(struct edits *e, struct edited *x)
{
	size_t i = e->n_heap++;

	for (; i && e->heap[(i - 1) / 2]->order < x->order; i = (i - 1) / 2)
		e->heap[i] = e->heap[(i - 1) / 2];
	e->heap[i] = x;
}

static void pop(struct edits *e)
{
	struct edited *x = e->heap[--e->n_heap];
	size_t i = 0, k;

	while ((k = i * 2 + 1) < e->n_heap) {
		k += k + 1 < e->n_heap && e->heap[k + 1]->order > e->heap[k]->order;
		if (e->heap[k]->order < x->order)
			break;
		e->heap[i] = e->heap[k];
		i = k;
	}
	e->heap[i] = x;
}

/* Those that touch the window, NULL: all. */
static int edits_of(struct weir_arena *a, const struct weir_p_set *s, const struct weir_overlay *o,
		    const struct weir_ranges *window, struct edits *ret, struct weir_why *why)
{
	size_t n = 0;

	*ret = (struct edits){ 0 };
	for (size_t i = 0; o && i < o->n_edits; i++)
		n += !strcmp(s->name, o->edits[i].set);
	if (!n)
		return 0;
	ret->v = weir_arena_array(a, n * 2, sizeof *ret->v);
	ret->heap = weir_arena_array(a, n * 2, sizeof *ret->heap);
	if (!ret->v || !ret->heap)
		return -ENOMEM;
	for (size_t i = 0; i < o->n_edits; i++) {
		struct edited x = { .order = i, .remove = o->edits[i].remove };

		if (strcmp(s->name, o->edits[i].set))
			continue;
		if (weir_range_parse(o->edits[i].element, &x.r, why) < 0)
			return -EINVAL;
		if (window && !weir_ranges_touch(window, &(struct weir_ranges){ .v = &x.r, .n = 1 }))
			continue;
		ret->v[ret->n++] = x;
		if (x.r.lo >= WEIR_V4_LOW || x.r.hi < WEIR_V4_LOW)
			continue;
		ret->v[ret->n - 1].r.hi = WEIR_V4_LOW - 1; /* IPv4 is not meant: lib/policy/ranges.h */
		x.r.lo = WEIR_V4_HIGH + 1;
		if (x.r.hi >= x.r.lo)
			ret->v[ret->n++] = x;
	}
	qsort(ret->v, ret->n, sizeof *ret->v, by_low);
	return 0;
}

/* Once through all edits, in the order of the addresses: what the last word on each of them is. */
static int last_words(struct weir_arena *a, struct edits *e, struct weir_ranges *added, struct weir_ranges *removed)
{
	struct weir_range piece = { 0 };
	size_t i = 0;
	int err = 0;

	while (!err && (i < e->n || e->n_heap)) {
		const struct edited *top;

		if (!e->n_heap)
			piece.lo = e->v[i].r.lo;
		while (i < e->n && e->v[i].r.lo <= piece.lo)
			push(e, &e->v[i++]);
		while (e->n_heap && e->heap[0]->r.hi < piece.lo)
			pop(e);
		if (!e->n_heap)
			continue;
		top = e->heap[0];
		piece.hi = i < e->n && e->v[i].r.lo <= top->r.hi ? e->v[i].r.lo - 1 : top->r.hi;
		err = weir_ranges_add(a, top->remove ? removed : added, piece);
		if (piece.hi == ~(weir_u128)0)
			break;
		piece.lo = piece.hi + 1;
	}
	if (!err)
		err = weir_ranges_normal(a, added);
	return err ? err : weir_ranges_normal(a, removed);
}

int weir_set_now(struct weir_arena *a, const struct weir_p_set *s, const struct weir_overlay *o,
		 const struct weir_ranges *window, struct weir_ranges *ret, struct weir_why *why)
{
	struct weir_ranges added = { 0 }, removed = { 0 }, now = s->ranges;
	struct edits e;
	int err = window ? weir_ranges_and(a, &s->ranges, window, &now) : 0;

	if (!err)
		err = edits_of(a, s, o, window, &e, why);
	if (!err)
		err = last_words(a, &e, &added, &removed);
	if (!err && window)
		err = weir_ranges_and(a, &added, window, &added);
	if (!err && removed.n)
		err = weir_ranges_minus(a, &now, &removed, &now);
	if (!err && added.n)
		err = weir_ranges_or(a, &now, &added, &now);
	if (!err)
		*ret = now;
	return err;
}

int weir_policy_set_each(const struct weir_policy *p, const struct weir_overlay *o, const char *set,
			 void (*cb)(const char *range, void *data), void *data)
{
	const struct weir_p_set *s = weir_policy_set(p, set);
	struct weir_arena arena = { .limit = (size_t)1 << 30 };
	struct weir_ranges now = { 0 };
	struct weir_why why;
	char text[128];
	int r = s ? weir_set_now(&arena, s, o, NULL, &now, &why) : -ENOENT;

	for (size_t i = 0; !r && i < now.n; i++)
		cb(weir_range_format(&now.v[i], text, sizeof text), data);
	weir_arena_free(&arena);
	return r;
}

const char *weir_policy_excepted(const struct weir_policy *p, size_t i)
{
	const struct weir_p_addr *a = p->doc.blocklist_except.v;

	for (uint32_t k = 0; k < p->doc.blocklist_except.n; k++)
		if (a[k].set && !i--)
			return a[k].set;
	return NULL;
}

int weir_policy_set_holds(const struct weir_policy *p, const struct weir_overlay *o, const char *set,
			  const char *const *elements, size_t n, enum weir_held *ret)
{
	const struct weir_p_set *s = weir_policy_set(p, set);
	struct weir_arena arena = { .limit = (size_t)1 << 30 };
	struct weir_ranges now = { 0 }, window = { 0 };
	struct weir_range x;
	struct weir_why why;
	int r = s ? 0 : -ENOENT;

	for (size_t i = 0; i < n && !r; i++) {
		r = weir_range_parse(elements[i], &x, &why);
		r = r ? r : weir_ranges_add(&arena, &window, x);
	}
	if (!r)
		r = weir_ranges_normal(&arena, &window);
	if (!r)
		r = weir_set_now(&arena, s, o, &window, &now, &why);
	for (size_t i = 0; i < n && !r; i++) {
		struct weir_ranges one = { 0 };

		weir_range_parse(elements[i], &x, &why);
		r = weir_ranges_add(&arena, &one, x);
		r = r ? r : weir_ranges_normal(&arena, &one);
		ret[i] = weir_ranges_within(&one, &now) ? WEIR_HELD_ALL :
			 weir_ranges_touch(&one, &now)	? WEIR_HELD_PARTLY :
							  WEIR_HELD_NOT;
	}
	weir_arena_free(&arena);
	return r;
}

/* All that `n` lists hold, which are normal each: two and two, so that none is gone through often. */
static int unite(struct weir_arena *a, struct weir_ranges *v, uint32_t n, struct weir_ranges *ret)
{
	int err = 0;

	for (; n > 1 && !err; n = (n + 1) / 2) {
		for (uint32_t i = 0; i + 1 < n && !err; i += 2)
			err = weir_ranges_or(a, &v[i], &v[i + 1], &v[i / 2]);
		if (n % 2)
			v[n / 2] = v[n - 1];
	}
	*ret = v[0];
	return err;
}

/* All that a list of sets and addresses holds. */
static int together(struct weir_build *b, const struct weir_values *v, struct weir_ranges *ret)
{
	struct weir_flat_context c = { .policy = b->policy, .arena = &b->arena, .diags = b->diags, .sets = b->sets };
	struct weir_ranges *parts = weir_arena_array(&b->arena, v->n + 1, sizeof *parts);
	const struct weir_p_addr *a = v->v;
	uint32_t n = 0;
	int err = 0;

	if (!parts)
		return -ENOMEM;
	for (uint32_t i = 0; i < v->n && !err; i++) {
		const struct weir_ranges *r = a[i].set ? weir_set_find(&c, &a[i]) : NULL;

		if (a[i].set && !r)
			return -EINVAL;
		if (r)
			parts[++n] = *r;
		else
			err = weir_ranges_add(&b->arena, &parts[0], a[i].range);
	}
	if (!err)
		err = weir_ranges_normal(&b->arena, &parts[0]);
	if (err < 0)
		return err;
	return parts[0].n || !n ? unite(&b->arena, parts, n + 1, ret) : unite(&b->arena, parts + 1, n, ret);
}

static int name_sets(struct weir_build *b)
{
	struct weir_flat_context c = { .policy = b->policy, .arena = &b->arena, .diags = b->diags, .sets = b->sets };
	const struct weir_values *v = &b->policy->doc.blocklists;
	const struct weir_p_addr *a = v->v;
	int err = 0;

	b->block_sets = weir_arena_array(&b->arena, v->n, sizeof *b->block_sets);
	if (!b->block_sets)
		return -ENOMEM;
	for (uint32_t i = 0; i < v->n && !err; i++) {
		struct weir_list_info *info = &b->block_sets[b->n_block_sets];
		_cleanup_free_ char *name = NULL;

		if (b->n_block_sets == WEIR_LISTS_MAX)
			return weir_build_tell(b, "put them into one file", "more than %d sets in 'blocklists'",
					       WEIR_LISTS_MAX);
		if (asprintf(&name, "$%s", a[i].set) < 0)
			return -ENOMEM;
		err = weir_build_string(b, name, &info->name);
		info->ranges = (uint32_t)weir_set_find(&c, &a[i])->n;
		b->n_block_sets++;
	}
	return err;
}

/* All of them as one, neighbours first, so that none is gone through often. All but v[0] is empty then. */
static int unite_spans(struct weir_block_spans *v, uint32_t n)
{
	int err = 0;

	for (; n > 1 && !err; n = (n + 1) / 2) {
		for (uint32_t i = 0; i + 1 < n && !err; i += 2) {
			struct weir_block_spans both;

			err = weir_block_spans_over(&v[i], &v[i + 1], &both);
			weir_block_spans_free(&v[i]);
			weir_block_spans_free(&v[i + 1]);
			v[i / 2] = both;
		}
		if (n % 2 && !err) {
			v[n / 2] = v[n - 1];
			v[n - 1] = (struct weir_block_spans){ 0 };
		}
	}
	return err;
}

/* A line that names everybody is refused where it stands; the same may come about line by line, and set by set. */
static int not_everybody(struct weir_build *b, const struct weir_block_spans *s)
{
	const weir_u128 all4 = WEIR_V4_HIGH - WEIR_V4_LOW + 1;
	const struct weir_p_addr *first = b->policy->doc.blocklists.v;
	weir_u128 held[2] = { 0 }; /* how many addresses of IPv6 and of IPv4: pieces do not overlap */

	for (size_t i = 0; i < s->n; i++)
		held[s->v[i].lo >= WEIR_V4_LOW && s->v[i].hi <= WEIR_V4_HIGH] += s->v[i].hi - s->v[i].lo + 1;
	if (held[1] != all4 && held[0] != -all4)
		return 0;
	weir_diag_hint(weir_node_error(b->diags, first->node, "together the blocklists hold every IPv%c address: they are not for "
				       "everybody", held[1] == all4 ? '4' : '6'),
		       "what happens to everybody is said by 'default'");
	return -EINVAL;
}

/* What is in the blocklists and not excepted, by list. The caller's. */
static int blocked_by(struct weir_build *b, struct weir_block_spans *ret)
{
	struct weir_flat_context c = { .policy = b->policy, .arena = &b->arena, .diags = b->diags, .sets = b->sets };
	const struct weir_values *v = &b->policy->doc.blocklists;
	struct weir_block_spans *parts = calloc(v->n, sizeof *parts);
	const struct weir_p_addr *a = v->v;
	struct weir_ranges except = { 0 };
	int err = parts ? together(b, &b->policy->doc.blocklist_except, &except) : -ENOMEM;

	*ret = (struct weir_block_spans){ 0 };
	for (uint32_t i = 0; i < v->n && !err; i++) {
		const struct weir_ranges *r = weir_set_find(&c, &a[i]);

		err = r ? weir_block_spans_of(r, weir_block_list_number(i), &parts[i]) : -EINVAL;
	}
	err = err ? err : unite_spans(parts, v->n);
	err = err ? err : not_everybody(b, &parts[0]);
	err = err ? err : weir_block_spans_minus(&parts[0], &except, ret);
	for (uint32_t i = 0; parts && i < v->n; i++)
		weir_block_spans_free(&parts[i]);
	free(parts);
	return err;
}

int weir_build_blocklists(struct weir_build *b)
{
	static const uint64_t plain[2] = { 0x9ae16a3b2f90404fu, 0xc949d7c7509e6557u };
	const struct weir_values *v = &b->policy->doc.blocklists;
	struct weir_block_spans blocked = { 0 };
	struct weir_why why;
	int err;

	if (!v->n)
		return 0;
	err = blocked_by(b, &blocked);
	err = err ? err : name_sets(b);
	if (!err)
		err = weir_blocklist_build(&blocked, v->n > 1, b->options->block_key ?: plain, &b->block, &why);
	weir_block_spans_free(&blocked);
	if (err == -E2BIG)
		return weir_build_tell(b, NULL, "%s", why.message);
	if (!err)
		b->config.proto_features |= WEIR_FEAT_BLOCKLIST;
	return err;
}
