/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rule that is added or deleted while an image is in force: compiled alone, and put into words of that image
 * (core/late.h). Whatever needs more than the image and its programs have is refused here; it is compiled with all.
 */
#include "lib/policy/late.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/late.h"
#include "lib/policy/build.h"
#include "lib/util/cleanup.h"

static void build_freep(struct weir_build **b)
{
	weir_build_free(*b);
}

/* --- what changes --- */

/* The next rule of the overlay in the image, from *at on; a rule may stand there as several. */
static uint32_t next_id(const struct weir_img *img, uint32_t *at, uint32_t last)
{
	const struct weir_rule *r;

	while (*at < img->cfg->n_rules && (r = weir_img_rule(img, 0, *at)) && (r->flags & WEIR_RF_OVERLAY)) {
		++*at;
		if (!(r->flags & WEIR_RF_GONE) && r->overlay_id != last)
			return r->overlay_id;
	}
	return 0;
}

/*
 * What is to be: the same, or with one more at its end (*ret_new), or with one less (*ret_gone, an id). Anything else
 * is more than one change.
 */
static int difference(const struct weir_img *img, const struct weir_overlay *now,
		      const struct weir_overlay_rule **ret_new, uint32_t *ret_gone)
{
	uint32_t at = 0, id = 0;
	size_t i = 0;

	*ret_new = NULL;
	*ret_gone = 0;
	while ((id = next_id(img, &at, id))) {
		if (i < now->n_rules && now->rules[i].id == id)
			i++;
		else if (*ret_gone)
			return -EAGAIN;
		else
			*ret_gone = id;
	}
	if (i + 1 == now->n_rules)
		*ret_new = &now->rules[i++];
	return i == now->n_rules && !*ret_new != !*ret_gone ? 0 : -EAGAIN;
}

/* --- one rule in words of the image --- */

/* A list of the rule is a set that the image has under the same name; a single range is the rule's own. */
static int refer(const struct weir_build *b, const struct weir_img *img, uint32_t *ref, uint32_t span,
		 struct weir_span *ret)
{
	const struct weir_list_info *l;

	if (*ref == WEIR_NO_LIST)
		return 0;
	if (*ref & WEIR_SPAN) {
		*ret = b->spans[*ref & ~WEIR_SPAN];
		*ref = WEIR_SPAN | span;
		return 0;
	}
	for (uint32_t i = 0; *b->addrs.names[*ref] && (l = weir_img_at(img, &img->h->lists, i, sizeof *l)); i++) {
		if (strcmp(weir_img_string(img, l->name), b->addrs.names[*ref]))
			continue;
		*ref = i;
		return 0;
	}
	return -EAGAIN;
}

static int pattern_bits(const struct weir_build *b, const struct weir_img *img, uint64_t *bits)
{
	uint64_t ret = 0;

	for (uint32_t k = 0; k < b->n_ifpats; k++) {
		const struct weir_ifpat *p;
		uint32_t i = 0;

		if (!(*bits >> k & 1))
			continue;
		while ((p = weir_img_at(img, &img->h->ifpats, i, sizeof *p)) && strcmp(p->glob, b->ifpats[k]))
			i++;
		if (!p)
			return -EAGAIN;
		ret |= (uint64_t)1 << i;
	}
	*bits = ret;
	return 0;
}

static int cond_of(const struct weir_build *b, const struct weir_img *img, struct weir_cond *c, uint32_t span,
		   struct weir_span *spans)
{
	uint32_t *refs[] = { &c->from, &c->to, &c->peer };
	uint64_t *bits[] = { &c->in_if, &c->out_if, &c->any_if };
	int r = c->ports.list == WEIR_NO_LIST && c->sports.list == WEIR_NO_LIST && !(c->set & WEIR_C_TIME) ? 0 : -EAGAIN;

	for (uint32_t i = 0; i < 3 && !r; i++) {
		r = refer(b, img, refs[i], span + i, &spans[i]);
		r = r ? r : pattern_bits(b, img, bits[i]);
	}
	return r;
}

static int rule_of(const struct weir_build *b, const struct weir_img *img, struct weir_late *ret)
{
	uint32_t span = weir_late_span(img->cfg, ret->add);
	int r;

	if (b->n_rules != 1 || b->rules[0].limit)
		return -EAGAIN;
	ret->rule = b->rules[0];
	r = cond_of(b, img, &ret->rule.pos, span, ret->spans);
	if (!r && (ret->rule.flags & WEIR_RF_NOT)) {
		ret->neg = b->negs[ret->rule.neg];
		ret->rule.neg = weir_late_neg(img->cfg, ret->add);
		r = cond_of(b, img, &ret->neg, span + 3, ret->spans + 3);
	}
	return r;
}

static int texts_of(const struct weir_build *b, struct weir_late *ret)
{
	const char *name = b->strings + b->rules[0].name, *place = b->strings + b->rules[0].place;
	size_t n = strlen(name) + 1, more = name == place ? 0 : strlen(place) + 1;

	if (n + more > sizeof ret->text)
		return -EAGAIN;
	memcpy(ret->text, name, n);
	memcpy(ret->text + n, place, more);
	ret->n_text = (uint32_t)(n + more);
	ret->rule.name = 0;
	ret->rule.place = more ? (uint32_t)n : 0;
	return 0;
}

static int rule_comes(const struct weir_policy *p, const struct weir_compile_options *o,
		      const struct weir_overlay_rule *rule, const struct weir_img *img, struct weir_late *ret)
{
	_cleanup_(build_freep) struct weir_build *b = calloc(1, sizeof *b);
	struct weir_diags diags = { 0 };
	int r;

	if (!b)
		return -ENOMEM;
	b->policy = p;
	b->options = o;
	b->diags = &diags;
	r = weir_build_alone(b, rule);
	weir_diags_free(&diags); /* whoever compiles it with all the others is told the same */
	if (!r)
		r = rule_of(b, img, ret);
	return r ? r : texts_of(b, ret);
}

int weir_late_make(const struct weir_policy *p, const struct weir_compile_options *o, const struct weir_img *img,
		   struct weir_late *ret)
{
	const struct weir_overlay_rule *rule;
	uint32_t id, found = 0;
	int r;

	*ret = (struct weir_late){ .epoch = img->cfg->epoch, .add = WEIR_RULE_NONE, .gone = WEIR_RULE_NONE };
	r = img->cfg->n_late ? difference(img, o->overlay, &rule, &id) : -EAGAIN;
	if (r)
		return r;
	if (rule) {
		ret->add = img->cfg->late + img->cfg->late_used;
		r = rule_comes(p, o, rule, img, ret);
	}
	for (uint32_t i = 0; !rule && i < img->cfg->n_rules; i++) {
		const struct weir_rule *x = weir_img_rule(img, 0, i);

		if (x->overlay_id != id || (x->flags & WEIR_RF_GONE))
			continue;
		ret->gone = i;
		found++;
	}
	if (!r && (found > 1 || !weir_late_ok(img->cfg, img->cfg->late_used, ret)))
		r = -EAGAIN; /* it stands there as several rules, or asks what the programs do not look at */
	return r;
}
