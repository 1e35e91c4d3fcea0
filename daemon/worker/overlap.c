/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can one packet match both rules? Cheap and on the safe side: it may say yes where a condition that is not
 * looked at (interface, mark, a negated group) keeps them apart.
 */
#include "daemon/worker/worker.h"
#include "core/classify.h"

/* Does the list hold anything of the span? Each piece that lies in both. */
static bool span_meets_list(const struct weir_img *img, const struct weir_span *s, uint32_t list)
{
	const struct weir_bound4 *b4;
	const struct weir_bound6 *b6;

	if (!s->lo_hi && s->lo_lo >> 32 == 0xffff) {
		for (uint32_t i = 0; (b4 = weir_img_bound4(img, i)); i++)
			if (b4->low > (uint32_t)s->lo_lo && b4->low <= (uint32_t)s->hi_lo &&
			    weir_in_list(img, b4->class_id, list))
				return true;
		return weir_in_list(img, weir_find4(img, img->cfg->n_bounds4, (uint32_t)s->lo_lo), list);
	}
	for (uint32_t i = 0; (b6 = weir_img_bound6(img, i)); i++)
		if ((b6->hi > s->lo_hi || (b6->hi == s->lo_hi && b6->lo > s->lo_lo)) &&
		    (b6->hi < s->hi_hi || (b6->hi == s->hi_hi && b6->lo <= s->hi_lo)) &&
		    weir_in_list(img, b6->class_id, list))
			return true;
	return weir_in_list(img, weir_find6(img, img->cfg->n_bounds6, s->lo_hi, s->lo_lo), list);
}

static bool spans_meet(const struct weir_span *a, const struct weir_span *b)
{
	bool after = a->lo_hi > b->hi_hi || (a->lo_hi == b->hi_hi && a->lo_lo > b->hi_lo);
	bool before = a->hi_hi < b->lo_hi || (a->hi_hi == b->lo_hi && a->hi_lo < b->lo_lo);

	return !after && !before;
}

static bool addrs_meet(const struct weir_img *img, bool both, uint32_t a, uint32_t b)
{
	const struct weir_span *s = a & WEIR_SPAN ? weir_img_span(img, a & ~WEIR_SPAN) : NULL;
	const struct weir_span *t = b & WEIR_SPAN ? weir_img_span(img, b & ~WEIR_SPAN) : NULL;

	if (!both || (s && t))
		return !both || spans_meet(s, t);
	if (s || t)
		return span_meets_list(img, s ? s : t, s ? b : a);
	for (uint32_t row = 0; row < img->cfg->n_addr_rows; row++)
		if (weir_in_list(img, row, a) && weir_in_list(img, row, b))
			return true;
	return false;
}

/* In each piece of the ports where a list changes, and where a range begins, one port speaks for what follows. */
static bool ports_meet(const struct weir_img *img, bool both, const struct weir_ports *a, const struct weir_ports *b)
{
	const struct weir_bound4 *p;

	if (!both)
		return true;
	for (uint32_t i = 0; (p = weir_img_bound_port(img, i)); i++)
		if (weir_in_ports(img, p->low, p->class_id, a) && weir_in_ports(img, p->low, p->class_id, b))
			return true;
	for (int i = 0; i < 2; i++) {
		uint32_t low = (i ? b : a)->lo, class_id = weir_find_port(img, img->cfg->n_bounds_port, low);

		if ((i ? b : a)->list == WEIR_NO_LIST && weir_in_ports(img, low, class_id, a) &&
		    weir_in_ports(img, low, class_id, b))
			return true;
	}
	return false;
}

bool weir_rules_overlap(const struct weir_img *img, const struct weir_rule *a, const struct weir_rule *b)
{
	const struct weir_cond *x = &a->pos, *y = &b->pos;
	uint32_t both = x->set & y->set;
	bool proto = !(both & WEIR_C_PROTO);

	for (int i = 0; i < 4; i++)
		proto |= (x->protos[i] & y->protos[i]) != 0;
	if (!proto || ((both & WEIR_C_DIR) && !(x->dirs & y->dirs)) ||
	    ((both & WEIR_C_FAMILY) && x->family != y->family))
		return false;
	return addrs_meet(img, both & WEIR_C_FROM, x->from, y->from) && addrs_meet(img, both & WEIR_C_TO, x->to, y->to) &&
	       ports_meet(img, both & WEIR_C_PORTS, &x->ports, &y->ports) &&
	       ports_meet(img, both & WEIR_C_SPORTS, &x->sports, &y->sports);
}
