/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rules have to be compared at all. One that takes all of another holds every packet of it, so the trees of the
 * classifier find it by any one of them. What only overlaps has no packet that is known beforehand: there the rules
 * stand in the order of their lowest address, and a block of them that ends too early is passed at once.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/policy/lint.h"
#include "lib/policy/tree.h"
#include "lib/util/cleanup.h"

struct weir_img {
	const struct weir_tree_line *lines;
	uint32_t n;
};

static inline const struct weir_tree_line *weir_img_tree_line(const struct weir_img *img, uint32_t i)
{
	return i < img->n ? &img->lines[i] : NULL;
}

#include "core/tree.h"

#define BLOCK 64

struct stretch { /* from the lowest to the highest address of a rule */
	struct weir_range r;
	uint32_t rule;
};

struct stretches {
	struct stretch *v;
	weir_u128 *hi; /* highest of each block */
	uint32_t n;
};

struct weir_lint_finder {
	struct weir_tree tree; /* no lines: it was refused */
	struct stretches from, to;
	uint32_t n;
};

/* --- boxes --- */

static bool hull(const struct weir_flat_cond *c, uint32_t bit, const struct weir_ranges *r, uint8_t family,
		 struct weir_range *ret)
{
	if (c->set & bit)
		return weir_ranges_hull(r, family, ret);
	*ret = family == 4 ? (struct weir_range){ WEIR_V4_LOW, WEIR_V4_HIGH } : (struct weir_range){ 0, ~(weir_u128)0 };
	return true;
}

static void port_hull(const struct weir_flat_cond *c, uint32_t bit, const struct weir_ranges *r, uint16_t *lo,
		      uint16_t *hi)
{
	bool some = (c->set & bit) && r->n;

	*lo = (uint16_t)(some ? r->v[0].lo : 0);
	*hi = (uint16_t)(some ? r->v[r->n - 1].hi : 65535);
}

static bool box_of(const struct weir_flat_cond *c, uint8_t family, uint32_t rule, struct weir_box *ret)
{
	struct weir_box b = { .family = family, .rule = rule, .proto_hi = 255,
			      .dirs = c->set & WEIR_C_DIR ? c->dirs : WEIR_DIR_ANY };
	struct weir_range src, dst;
	unsigned lo = 0, hi = 255;

	if (!hull(c, WEIR_C_FROM, &c->from, family, &src) || !hull(c, WEIR_C_TO, &c->to, family, &dst))
		return false;
	b.src_lo = src.lo;
	b.src_hi = src.hi;
	b.dst_lo = dst.lo;
	b.dst_hi = dst.hi;
	port_hull(c, WEIR_C_SPORTS, &c->sports, &b.sport_lo, &b.sport_hi);
	port_hull(c, WEIR_C_PORTS, &c->ports, &b.dport_lo, &b.dport_hi);
	if (c->set & WEIR_C_PROTO) {
		while (lo < 255 && !(c->protos[lo >> 6] >> (lo & 63) & 1))
			lo++;
		while (hi > lo && !(c->protos[hi >> 6] >> (hi & 63) & 1))
			hi--;
	}
	b.proto_lo = (uint8_t)lo;
	b.proto_hi = (uint8_t)hi;
	*ret = b;
	return true;
}

static int make_tree(struct weir_lint_finder *f, const struct weir_lint_rule *rules)
{
	_cleanup_free_ struct weir_box *boxes = calloc((size_t)f->n * 2 + 1, sizeof *boxes);
	struct weir_why why;
	size_t n = 0;
	int err;

	if (!boxes)
		return -ENOMEM;
	for (uint32_t i = 0; i < f->n; i++)
		for (uint8_t family = 4; family <= 6; family = (uint8_t)(family + 2))
			n += box_of(&rules[i].pos, family, i, &boxes[n]);
	err = weir_tree_build(boxes, n, NULL, &f->tree, &why);
	return err == -ENOMEM ? err : 0; /* refused: every rule is a candidate then */
}

uint32_t weir_lint_next(const struct weir_lint_finder *f, const struct weir_lint_point *p, uint32_t from)
{
	struct weir_img img = { f->tree.lines, f->tree.n };
	struct weir_tree_key k = { .sport = p->sport, .dport = p->dport, .proto = p->proto, .dir = p->dir };
	uint32_t rule;

	if (!f->tree.n)
		return from < f->n ? from : WEIR_LINT_NONE;
	if (p->family == 4)
		weir_tree_key4(&k, (uint32_t)p->src, (uint32_t)p->dst);
	else
		weir_tree_key6(&k, (uint64_t)(p->src >> 64), (uint64_t)p->src, (uint64_t)(p->dst >> 64), (uint64_t)p->dst);
	rule = weir_tree_next(&img, &k, from);
	return rule < f->n ? rule : WEIR_LINT_NONE;
}

/* --- stretches --- */

static struct weir_range stretch_of(const struct weir_flat_cond *c, uint32_t bit, const struct weir_ranges *r)
{
	if (!(c->set & bit))
		return (struct weir_range){ 0, ~(weir_u128)0 };
	return r->n ? (struct weir_range){ r->v[0].lo, r->v[r->n - 1].hi } : (struct weir_range){ 1, 0 };
}

static int by_low(const void *x, const void *y)
{
	const struct stretch *a = x, *b = y;

	return a->r.lo != b->r.lo ? (a->r.lo < b->r.lo ? -1 : 1) : a->rule < b->rule ? -1 : a->rule > b->rule;
}

static int make_stretches(struct weir_lint_finder *f, const struct weir_lint_rule *rules, bool to, struct stretches *s)
{
	s->v = calloc((size_t)f->n + 1, sizeof *s->v);
	s->hi = calloc((size_t)f->n / BLOCK + 1, sizeof *s->hi);
	if (!s->v || !s->hi)
		return -ENOMEM;
	for (uint32_t i = 0; i < f->n; i++) {
		const struct weir_flat_cond *c = &rules[i].pos;

		if (rules[i].action == WEIR_ACT_ALLOW && !rules[i].log)
			continue;
		s->v[s->n].r = stretch_of(c, to ? WEIR_C_TO : WEIR_C_FROM, to ? &c->to : &c->from);
		s->v[s->n++].rule = i;
	}
	if (s->n)
		qsort(s->v, s->n, sizeof *s->v, by_low);
	for (uint32_t i = 0; i < s->n; i++)
		if (s->v[i].r.hi > s->hi[i / BLOCK])
			s->hi[i / BLOCK] = s->v[i].r.hi;
	return 0;
}

bool weir_lint_denials(const struct weir_lint_finder *f, const struct weir_flat_cond *c,
		       bool (*each)(void *data, uint32_t rule), void *data)
{
	struct weir_range from = stretch_of(c, WEIR_C_FROM, &c->from), to = stretch_of(c, WEIR_C_TO, &c->to);
	bool by_to = to.hi - to.lo <= from.hi - from.lo;
	const struct stretches *s = by_to ? &f->to : &f->from;
	struct weir_range r = by_to ? to : from;

	for (uint32_t i = 0; i < s->n && s->v[i].r.lo <= r.hi; i++) {
		if (i % BLOCK == 0 && s->hi[i / BLOCK] < r.lo)
			i += BLOCK - 1;
		else if (s->v[i].r.hi >= r.lo && s->v[i].r.lo <= s->v[i].r.hi && each(data, s->v[i].rule))
			return true;
	}
	return false;
}

int weir_lint_finder_new(const struct weir_lint_rule *rules, uint32_t n, struct weir_lint_finder **ret)
{
	struct weir_lint_finder *f = calloc(1, sizeof *f);
	int err;

	if (!f)
		return -ENOMEM;
	f->n = n;
	err = make_tree(f, rules);
	if (!err)
		err = make_stretches(f, rules, false, &f->from);
	if (!err)
		err = make_stretches(f, rules, true, &f->to);
	if (err < 0)
		weir_lint_finder_free(f);
	else
		*ret = f;
	return err;
}

void weir_lint_finder_free(struct weir_lint_finder *f)
{
	if (!f)
		return;
	weir_tree_free(&f->tree);
	free(f->from.v);
	free(f->from.hi);
	free(f->to.v);
	free(f->to.hi);
	free(f);
}
