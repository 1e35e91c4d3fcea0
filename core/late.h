/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A rule that comes or goes while an image is in force, without compiling the image again.
 *
 * Behind the rules of the overlay an image keeps WEIR_LATE_MAX places free, and for each a negated group and some
 * ranges. A new rule is written into the next place, and then one word (late_used) says that it is there. No tree
 * knows it: the places that are taken are asked one after the other. A place is never given away twice, so a number of
 * a rule means the same as long as the image lives. A rule that goes stays where it is, with one flag more. Whoever
 * judges a packet in the meantime sees all of such a change or nothing of it.
 */
#pragma once
#include "core/image.h"

#define WEIR_LATE_TEXT 304u /* bytes for the texts of one: name and place */
/* What programs can be asked about by a rule that comes, whatever the policy says. */
#define WEIR_LATE_CONDS                                                                                              \
	((uint32_t)(WEIR_C_FROM | WEIR_C_TO | WEIR_C_PEER | WEIR_C_PROTO | WEIR_C_PORTS | WEIR_C_SPORTS | WEIR_C_ICMP | \
		    WEIR_C_FAMILY | WEIR_C_DIR))
#define WEIR_LATE_SPANS 6u /* from, to and peer of a rule, and of its negated group */

/* One change: a rule that comes, or one that goes. */
struct weir_late {
	uint32_t epoch;    /* of the image that it is for */
	uint32_t add, gone; /* numbers of rules; WEIR_RULE_NONE: none */
	uint32_t n_text;       /* of text, terminators included */
	struct weir_rule rule; /* what comes; refers to its place's own negated group and ranges, and to the image's lists */
	struct weir_cond neg;
	struct weir_span spans[WEIR_LATE_SPANS];
	char text[WEIR_LATE_TEXT]; /* its name and its place, for people; the rule counts them from here */
};
_Static_assert(sizeof(struct weir_late) == 920, "ABI");

WEIR_INLINE uint32_t weir_late_neg(const struct weir_config *c, uint32_t rule)
{
	return c->late_negs + (rule - c->late);
}

/* The first of its ranges. */
WEIR_INLINE uint32_t weir_late_span(const struct weir_config *c, uint32_t rule)
{
	return c->late_spans + (rule - c->late) * WEIR_LATE_SPANS;
}

/* Is there one at or behind `from`? */
WEIR_INLINE bool weir_late_ahead(const struct weir_config *c, uint32_t used, uint32_t from)
{
	return c->n_late && from < c->late + c->n_late && used;
}

/* Which of two candidates comes first? WEIR_SCAN_END comes last. */
WEIR_INLINE uint32_t weir_first_of(uint32_t a, uint32_t b)
{
	return WEIR_CAND_INDEX(a) < WEIR_CAND_INDEX(b) ? a : b;
}

/*
 * Does this change fit an image with `used` places given away? The programs were made without what no rule of the
 * image said, so a rule that says more must not come this way. In an image without trees there are no places: its scan
 * asks every rule that is there, and would see one of which a half is written.
 */
WEIR_INLINE bool weir_late_ok(const struct weir_config *c, uint32_t used, const struct weir_late *l)
{
	const struct weir_rule *r = &l->rule;
	bool comes = l->add != WEIR_RULE_NONE, goes = l->gone != WEIR_RULE_NONE;

	if (l->epoch != c->epoch || comes == goes)
		return false;
	if (goes)
		return l->gone < c->n_rules;
	return used < c->n_late && c->tree_lines && l->add == c->late + used && l->n_text && l->n_text <= WEIR_LATE_TEXT &&
	       !l->text[l->n_text - 1] && r->name < l->n_text && r->place < l->n_text && weir_cond_ok(&r->pos) &&
	       weir_cond_ok(&l->neg) && r->action <= WEIR_ACT_BAN && r->mode <= c->mode &&
	       !(r->flags & (WEIR_RF_GONE | WEIR_RF_BOXED)) && !r->limit && (r->flags & WEIR_RF_OVERLAY) &&
	       !((r->pos.set | l->neg.set) & ~c->conds_used) &&
	       (!(r->flags & WEIR_RF_NOT) || r->neg == weir_late_neg(c, l->add)) &&
	       (r->action != WEIR_ACT_REJECT || (c->proto_features & WEIR_FEAT_REJECT)) &&
	       (!weir_rule_bounds(r) || (c->proto_features & WEIR_FEAT_BOUNDS));
}
