/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules that do nothing. What is reported is sure; what cannot be shown is not reported. How long it looks is bounded:
 * where very many rules lie over each other it stops, and says from which rule on it did not look.
 */
#include "lib/policy/lint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/build.h"
#include "lib/util/cleanup.h"

#define WORK (64u << 20) /* steps of comparing rules: about two seconds */

struct lint {
	struct weir_build *b;
	struct weir_lint_rule *rules;
	uint32_t n;
	struct weir_lint_finder *find;
	uint64_t work;
	int findings;
	struct weir_ranges blocked; /* what the blocklists hold and is not excepted */
};

/* --- what is told --- */

static const char *label(const struct weir_p_rule *r, char *buf, size_t size)
{
	if (weir_rule_unnamed(r->name))
		snprintf(buf, size, "the %s", r->name);
	else
		snprintf(buf, size, "'%s' (%s)", r->name, r->place);
	return buf;
}

static void tell(struct lint *l, uint32_t i, const char *kind, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void tell(struct lint *l, uint32_t i, const char *kind, const char *fmt, ...)
{
	const struct weir_p_rule *r = l->rules[i].source;
	char text[512], name[96];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (weir_rule_unnamed(r->name))
		snprintf(name, sizeof name, "this rule");
	else
		snprintf(name, sizeof name, "rule '%s'", r->name);
	if (r->overlay_id)
		weir_diags_add(l->b->diags, WEIR_WARNING, r->place, 0, 0, 1, "%s: %s %s", kind, name, text);
	else
		weir_node_warn(l->b->diags, r->node, "%s: %s %s", kind, name, text);
	l->findings++;
}

/* --- shadowed --- */

/* Does b, where its conditions hold, decide about whatever a would? A staged rule ends only staged ones. */
static bool ends_before(const struct weir_lint_rule *a, const struct weir_lint_rule *b)
{
	bool same = true;

	if (b->action == WEIR_ACT_LOG || b->action == WEIR_ACT_BAN || b->mode < a->mode)
		return false;
	if (!b->neg || !weir_cond_overlap(&a->pos, b->neg))
		return true;
	/* b's `not` takes away what a does not take either */
	for (int d = 0; d < WEIR_LINT_DIMS && same; d++)
		same = a->neg && weir_cond_within(b->neg, a->neg, (enum weir_lint_dim)d);
	return same;
}

/* In how many dimensions is b short of a? One: *ret_dim. A second one ends the count. */
static int short_of(const struct weir_lint_rule *a, const struct weir_lint_rule *b, enum weir_lint_dim *ret_dim)
{
	int n = 0;

	for (int d = 0; d < WEIR_LINT_DIMS && n < 2; d++)
		if (!weir_cond_within(&a->pos, &b->pos, (enum weir_lint_dim)d)) {
			*ret_dim = (enum weir_lint_dim)d;
			n++;
		}
	return n;
}

/* The next rule in front of a that may hold p; each costs work. */
static bool next(struct lint *l, const struct weir_lint_point *p, uint32_t a, uint32_t *at)
{
	*at = weir_lint_next(l->find, p, *at);
	if (*at >= a || l->work > WORK)
		return false;
	l->work += weir_cond_size(&l->rules[a].pos);
	return true;
}

static const struct weir_ranges *ranges_in(const struct weir_flat_cond *c, enum weir_lint_dim d)
{
	return d == WEIR_LINT_FROM ? &c->from : d == WEIR_LINT_TO ? &c->to : &c->ports;
}

/* The end of the range that holds v. */
static bool reach(const struct weir_ranges *r, weir_u128 v, weir_u128 *far)
{
	struct weir_range one = { v, v };
	struct weir_ranges only = { &one, 1, 1 };
	size_t i = 0, n = r->n;

	if (!weir_ranges_within(&only, r))
		return false;
	while (n > 1) { /* the last that begins at v or before */
		size_t half = n / 2;

		if (r->v[i + half].lo <= v) {
			i += half;
			n -= half;
		} else {
			n = half;
		}
	}
	if (r->v[i].hi > *far)
		*far = r->v[i].hi;
	return true;
}

/* What the rules in front of a that are short of it in d only take at p, as bits or up to where. */
struct taken {
	uint8_t dirs;
	uint64_t protos[4];
	weir_u128 far;
	bool any;
};

static void take_at(struct lint *l, uint32_t a, enum weir_lint_dim d, const struct weir_lint_point *p, weir_u128 v,
		    struct taken *t)
{
	enum weir_lint_dim which = d;

	for (uint32_t k = 0; next(l, p, a, &k); k++) {
		const struct weir_lint_rule *b = &l->rules[k];

		if (short_of(&l->rules[a], b, &which) != 1 || which != d || !ends_before(&l->rules[a], b))
			continue;
		t->dirs |= b->pos.dirs;
		for (int w = 0; w < 4; w++)
			t->protos[w] |= b->pos.protos[w];
		if (d >= WEIR_LINT_FROM && reach(ranges_in(&b->pos, d), v, &t->far))
			t->any = true;
	}
}

static bool bits_taken(struct lint *l, uint32_t a, enum weir_lint_dim d, struct weir_lint_point p)
{
	const struct weir_flat_cond *c = &l->rules[a].pos;
	struct taken t = { 0 };

	for (unsigned i = 0; d == WEIR_LINT_PROTO && i < 256; i++) {
		if (((c->set & WEIR_C_PROTO) && !(c->protos[i >> 6] >> (i & 63) & 1)) || t.protos[i >> 6] >> (i & 63) & 1)
			continue;
		p.proto = (uint8_t)i;
		take_at(l, a, d, &p, 0, &t);
		if (!(t.protos[i >> 6] >> (i & 63) & 1))
			return false;
	}
	for (uint8_t dir = 1; d == WEIR_LINT_DIR && dir <= WEIR_DIR_ANY; dir = (uint8_t)(dir << 1)) {
		if (((c->set & WEIR_C_DIR) && !(c->dirs & dir)) || (t.dirs & dir))
			continue;
		p.dir = dir;
		take_at(l, a, d, &p, 0, &t);
		if (!(t.dirs & dir))
			return false;
	}
	return true;
}

/* Each of a's ranges from its beginning on: as far as one rule takes it, from there as far as the next does. */
static bool ranges_taken(struct lint *l, uint32_t a, enum weir_lint_dim d, struct weir_lint_point p)
{
	const struct weir_ranges *own = ranges_in(&l->rules[a].pos, d);

	for (size_t i = 0; i < own->n; i++) {
		weir_u128 v = own->v[i].lo;

		if (d != WEIR_LINT_PORTS && weir_u128_is_v4(v) != (p.family == 4))
			continue;
		for (;;) {
			struct taken t = { .far = v };

			if (d == WEIR_LINT_FROM)
				p.src = v;
			else if (d == WEIR_LINT_TO)
				p.dst = v;
			else
				p.dport = (uint16_t)v;
			take_at(l, a, d, &p, v, &t);
			if (!t.any)
				return false;
			if (t.far >= own->v[i].hi)
				break;
			v = t.far + 1;
		}
	}
	return true;
}

/* Do the rules in front take all of a together, each short of it in the one dimension d only? */
static bool taken_together(struct lint *l, uint32_t a, enum weir_lint_dim d)
{
	static const uint32_t bits[] = { [WEIR_LINT_FROM] = WEIR_C_FROM, [WEIR_LINT_TO] = WEIR_C_TO,
					 [WEIR_LINT_PORTS] = WEIR_C_PORTS };
	const struct weir_flat_cond *c = &l->rules[a].pos;
	struct weir_lint_point p;
	bool found = false;

	if (d >= WEIR_LINT_FROM && !(c->set & bits[d]))
		return false;
	for (uint8_t family = 4; family <= 6; family = (uint8_t)(family + 2)) {
		if (!weir_cond_corner(c, family, &p))
			continue;
		found = true;
		if (!(d < WEIR_LINT_FROM ? bits_taken(l, a, d, p) : ranges_taken(l, a, d, p)))
			return false;
	}
	return found && l->work <= WORK;
}

static bool shadowed(struct lint *l, uint32_t a)
{
	const struct weir_lint_rule *r = &l->rules[a];
	bool maybe[WEIR_LINT_DIMS] = { false };
	enum weir_lint_dim which = WEIR_LINT_OTHER;
	struct weir_lint_point p;
	char text[200];

	if (!weir_cond_corner(&r->pos, 4, &p) && !weir_cond_corner(&r->pos, 6, &p))
		return false;
	for (uint32_t k = 0; next(l, &p, a, &k); k++) {
		int n = short_of(r, &l->rules[k], &which);

		if (n > 1 || !ends_before(r, &l->rules[k]))
			continue;
		if (!n) {
			tell(l, a, "shadowed", "can match nothing: %s takes all of it",
			     label(l->rules[k].source, text, sizeof text));
			return true;
		}
		maybe[which] = true;
	}
	for (int d = 0; d < WEIR_LINT_OTHER; d++) {
		if (!maybe[d] || !taken_together(l, a, (enum weir_lint_dim)d))
			continue;
		tell(l, a, "shadowed", "can match nothing: the rules in front of it take all of it together");
		return true;
	}
	return false;
}

/* --- without effect --- */

static bool empty_list(const struct weir_lint_rule *r)
{
	const struct weir_flat_cond *c = &r->pos;

	return ((c->set & WEIR_C_FROM) && !c->from.n) || ((c->set & WEIR_C_TO) && !c->to.n) ||
	       ((c->set & WEIR_C_PEER) && !c->peer.n);
}

struct behind {
	struct lint *l;
	uint32_t a;
};

/* Is this one behind a, and may it meet it? Work that is used up counts as yes: nothing is told then. */
static bool meets(void *data, uint32_t k)
{
	struct behind *x = data;
	const struct weir_flat_cond *a = &x->l->rules[x->a].pos;

	x->l->work += weir_cond_size(a);
	return x->l->work > WORK || (k > x->a && weir_cond_overlap(a, &x->l->rules[k].pos));
}

/* An allow where the default allows too, and nothing behind it denies what it matches. */
static bool allow_for_nothing(struct lint *l, uint32_t a)
{
	static const uint8_t dirs[] = { WEIR_DIR_IN, WEIR_DIR_OUT, WEIR_DIR_FWD };
	const struct weir_fixed *defaults = l->b->config.defaults;
	const struct weir_lint_rule *r = &l->rules[a];
	struct behind x = { l, a };

	if (r->action != WEIR_ACT_ALLOW || r->log || r->bounds)
		return false;
	for (int d = 0; d < 3; d++)
		if ((!(r->pos.set & WEIR_C_DIR) || (r->pos.dirs & dirs[d])) &&
		    (defaults[d].action != WEIR_ACT_ALLOW || defaults[d].log))
			return false;
	return !weir_lint_denials(l->find, &r->pos, meets, &x);
}

static void lint_sets(struct lint *l)
{
	const struct weir_policy *p = l->b->policy;

	for (size_t i = 0; i < p->n_sets; i++) {
		const struct weir_p_set *s = p->sets[i];

		if (!l->b->sets[i].n)
			weir_node_warn(l->b->diags, s->node->key, "empty: the set '%s' holds no address", s->name);
		else if (!s->used)
			weir_node_warn(l->b->diags, s->node->key, "unused: no rule and no blocklist names $%s",
				       s->name);
		else
			continue;
		l->findings++;
	}
}

static const struct weir_ranges *set_of(const struct lint *l, const char *name)
{
	for (size_t k = 0; name && k < l->b->policy->n_sets; k++)
		if (!strcmp(l->b->policy->sets[k]->name, name))
			return &l->b->sets[k];
	return NULL;
}

/* An exception that is in no blocklist does nothing. */
static void lint_excepted(struct lint *l)
{
	const struct weir_values *v = &l->b->policy->doc.blocklist_except, *lists = &l->b->policy->doc.blocklists;
	const struct weir_p_addr *a = v->v, *b = lists->v;

	for (uint32_t i = 0; i < v->n; i++) {
		struct weir_ranges one = { .v = (struct weir_range *)&a[i].range, .n = 1 };
		const struct weir_ranges *r = set_of(l, a[i].set) ?: &one;
		bool held = false;

		for (uint32_t k = 0; k < lists->n && !held; k++)
			held = weir_ranges_touch(r, set_of(l, b[k].set) ?: r);
		if (held)
			continue;
		weir_node_warn(l->b->diags, a[i].node, "ineffective: no blocklist holds what is excepted here");
		l->findings++;
	}
}

static bool all_blocked(const struct lint *l, const struct weir_ranges *r)
{
	for (size_t k = 0; k < r->n; k++)
		if (!weir_ranges_cover(&l->blocked, &r->v[k]))
			return false;
	return r->n > 0;
}

/* The blocklists stop what comes from them or goes to them before any rule: what only they hold never reaches one. */
static bool blocked(const struct lint *l, uint32_t i)
{
	const struct weir_flat_cond *c = &l->rules[i].pos;
	uint32_t dirs = c->set & WEIR_C_DIR ? c->dirs : WEIR_DIR_IN | WEIR_DIR_OUT | WEIR_DIR_FWD;

	if (l->b->config.blocklist.mode != WEIR_PREVENT || !l->blocked.n)
		return false;
	return ((c->set & WEIR_C_PEER) && !(dirs & WEIR_DIR_FWD) && all_blocked(l, &c->peer)) ||
	       ((c->set & WEIR_C_FROM) && !(dirs & WEIR_DIR_OUT) && all_blocked(l, &c->from)) ||
	       ((c->set & WEIR_C_TO) && dirs == WEIR_DIR_OUT && all_blocked(l, &c->to));
}

/* --- all of it --- */

/* The rules once more, each by itself: one that became several in the image is one here. */
static int read_rules(struct lint *l)
{
	struct weir_build *b = l->b;
	struct weir_flat_when when = { .arena = &b->arena };
	struct weir_flat_context c = {
		.policy = b->policy, .arena = &b->arena, .diags = b->diags, .sets = b->sets, .when = &when,
	};

	l->rules = weir_arena_array(&b->arena, b->n_rules, sizeof *l->rules);
	if (!l->rules)
		return -ENOMEM;
	for (uint32_t i = 0; i < b->n_rules; i++) {
		struct weir_lint_rule *r = &l->rules[l->n];
		const struct weir_p_rule *p = b->source[i];
		struct weir_flat_rule flat;
		int err;

		if (i && p == b->source[i - 1])
			continue;
		err = weir_rule_flatten(&c, p, &flat);
		if (err < 0)
			return err;
		*r = (struct weir_lint_rule){ .source = p, .pos = flat.pos, .action = p->action - 1,
					      .mode = b->rules[i].mode, .log = p->log,
					      .bounds = p->max_duration || p->idle || p->max_bytes || p->limit };
		if (flat.has_neg) {
			struct weir_flat_cond *neg = weir_arena_alloc(&b->arena, sizeof *neg);

			if (!neg)
				return -ENOMEM;
			*neg = flat.neg;
			r->neg = neg;
		}
		l->n++;
	}
	return 0;
}

static int lint(struct weir_build *b)
{
	struct lint l = { .b = b };
	int err = read_rules(&l);
	uint32_t i;

	if (!err)
		err = weir_blocklist_ranges(b->block.lines, b->block.n, -1, &b->arena, &l.blocked);
	if (!err)
		err = weir_lint_finder_new(l.rules, l.n, &l.find);
	if (err < 0)
		return err;
	for (i = 0; i < l.n && l.work <= WORK; i++) {
		if (empty_list(&l.rules[i]))
			tell(&l, i, "empty", "can match nothing: a set that it names holds no address");
		else if (blocked(&l, i))
			tell(&l, i, "shadowed", "can match nothing: the blocklists stop all of its addresses");
		else if (!shadowed(&l, i) && allow_for_nothing(&l, i))
			tell(&l, i, "ineffective", "changes nothing: the default allows the same");
	}
	if (l.work > WORK)
		tell(&l, i - 1, "not looked at", "and the %u rules behind it: too many rules lie over each other", l.n - i);
	lint_sets(&l);
	lint_excepted(&l);
	weir_lint_finder_free(l.find);
	return l.findings + weir_limits_lint(b);
}

int weir_policy_lint(const struct weir_policy *p, const struct weir_compile_options *o, struct weir_diags *diags)
{
	struct weir_build *b = calloc(1, sizeof *b);
	int r;

	if (!b)
		return -ENOMEM;
	b->policy = p;
	b->options = o;
	b->diags = diags;
	r = weir_build_make(b);
	if (!r)
		r = lint(b);
	weir_build_free(b);
	return r;
}
