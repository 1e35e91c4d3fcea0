/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules that do nothing. Works on the compiled rules, where "this list lies within that one" is a question
 * about rows of bits: list a lies within b when every row that has a has b too. What is reported is sure;
 * what cannot be shown cheaply is not reported.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/build.h"

/* For each list of a space, the lists that hold all of it and the lists that hold some of it. */
struct relation {
	const struct weir_space *space;
	uint64_t *within, *touches; /* n * words */
	uint32_t n, words;
};

struct lint {
	struct weir_build *b;
	struct relation addrs, ports;
	int findings;
};

static int relate(struct weir_arena *a, const struct weir_space *s, uint32_t n, struct relation *ret)
{
	struct relation r = { .space = s, .n = n, .words = s->words };

	r.within = weir_arena_array(a, (size_t)n * s->words, 8);
	r.touches = weir_arena_array(a, (size_t)n * s->words, 8);
	if (!r.within || !r.touches)
		return -ENOMEM;
	memset(r.within, 0xff, (size_t)n * s->words * 8);
	for (uint32_t row = 1; row < s->n_rows; row++) {
		const uint64_t *bits = s->rows + (size_t)row * s->words;

		for (uint32_t w = 0; w < s->words; w++)
			for (uint64_t left = bits[w]; left; left &= left - 1) {
				uint32_t list = w * 64 + (uint32_t)__builtin_ctzll(left);

				for (uint32_t k = 0; k < s->words; k++) {
					r.within[(size_t)list * s->words + k] &= bits[k];
					r.touches[(size_t)list * s->words + k] |= bits[k];
				}
			}
	}
	*ret = r;
	return 0;
}

static bool list_within(const struct relation *r, uint32_t a, uint32_t b)
{
	return r->within[(size_t)a * r->words + (b >> 6)] >> (b & 63) & 1;
}

static bool list_touches(const struct relation *r, uint32_t a, uint32_t b)
{
	return r->touches[(size_t)a * r->words + (b >> 6)] >> (b & 63) & 1;
}

/* --- conditions against conditions --- */

/* The conditions that one list decides, so that several rules can take it together. */
enum dimension { D_DIR, D_PROTO, D_FROM, D_TO, D_PORTS, D_OTHER, D_COUNT };

static bool subset16(const uint16_t *a, uint32_t n, const uint16_t *b, uint32_t m)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = 0;

		while (k < m && b[k] != a[i])
			k++;
		if (k == m)
			return false;
	}
	return true;
}

static bool subset64(const uint64_t *a, uint32_t n, const uint64_t *b, uint32_t m)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = 0;

		while (k < m && b[k] != a[i])
			k++;
		if (k == m)
			return false;
	}
	return true;
}

static bool icmp_within(const struct weir_cond *a, const struct weir_cond *b)
{
	for (uint32_t i = 0; i < a->n_icmp; i++) {
		uint32_t k = 0;

		for (; k < b->n_icmp; k++)
			if (b->icmp[k].family == a->icmp[i].family && b->icmp[k].type == a->icmp[i].type &&
			    b->icmp[k].code_min <= a->icmp[i].code_min && b->icmp[k].code_max >= a->icmp[i].code_max)
				break;
		if (k == b->n_icmp)
			return false;
	}
	return true;
}

/* Does everything that a takes, b take, as far as dimension d goes? */
static bool within(const struct lint *l, const struct weir_cond *a, const struct weir_cond *b, enum dimension d)
{
#define HOLDS(BIT, TEST) (!(b->set & (BIT)) || ((a->set & (BIT)) && (TEST)))
	switch (d) {
	case D_DIR:
		return HOLDS(WEIR_C_DIR, !(a->dirs & ~b->dirs));
	case D_PROTO:
		return HOLDS(WEIR_C_PROTO, !((a->protos[0] & ~b->protos[0]) | (a->protos[1] & ~b->protos[1]) |
					     (a->protos[2] & ~b->protos[2]) | (a->protos[3] & ~b->protos[3])));
	case D_FROM:
		return HOLDS(WEIR_C_FROM, list_within(&l->addrs, a->from, b->from));
	case D_TO:
		return HOLDS(WEIR_C_TO, list_within(&l->addrs, a->to, b->to));
	case D_PORTS:
		return HOLDS(WEIR_C_PORTS, list_within(&l->ports, a->ports, b->ports));
	default:
		return HOLDS(WEIR_C_PEER, list_within(&l->addrs, a->peer, b->peer)) &&
		       HOLDS(WEIR_C_SPORTS, list_within(&l->ports, a->sports, b->sports)) &&
		       HOLDS(WEIR_C_ICMP, icmp_within(a, b)) &&
		       HOLDS(WEIR_C_VLAN, subset16(a->vlan, a->n_vlan, b->vlan, b->n_vlan)) &&
		       HOLDS(WEIR_C_MAC, subset64(a->mac, a->n_mac, b->mac, b->n_mac)) &&
		       HOLDS(WEIR_C_MARK, !(b->mark_mask & ~a->mark_mask) && (a->mark & b->mark_mask) == b->mark) &&
		       HOLDS(WEIR_C_IN_IF, !(a->in_if & ~b->in_if)) &&
		       HOLDS(WEIR_C_OUT_IF, !(a->out_if & ~b->out_if)) &&
		       HOLDS(WEIR_C_ANY_IF, !(a->any_if & ~b->any_if));
	}
#undef HOLDS
}

/* Can a and b hold for one packet? true when in doubt. */
static bool overlap(const struct lint *l, const struct weir_cond *a, const struct weir_cond *b)
{
	uint32_t both = a->set & b->set;

	if ((both & WEIR_C_DIR) && !(a->dirs & b->dirs))
		return false;
	if ((both & WEIR_C_PROTO) && !((a->protos[0] & b->protos[0]) | (a->protos[1] & b->protos[1]) |
				       (a->protos[2] & b->protos[2]) | (a->protos[3] & b->protos[3])))
		return false;
	if ((both & WEIR_C_FROM) && !list_touches(&l->addrs, a->from, b->from))
		return false;
	if ((both & WEIR_C_TO) && !list_touches(&l->addrs, a->to, b->to))
		return false;
	return !(both & WEIR_C_PORTS) || list_touches(&l->ports, a->ports, b->ports);
}

/* b takes its `not` away again: it takes all of a only if that cannot touch a, or a has the same `not`. */
static bool not_harmless(const struct lint *l, const struct weir_rule *a, const struct weir_rule *b)
{
	if (!(b->flags & WEIR_RF_NOT) || !overlap(l, &a->pos, &b->neg))
		return true;
	return (a->flags & WEIR_RF_NOT) && !memcmp(&a->neg, &b->neg, sizeof a->neg);
}

/* In front of a and as hard, b ends the walk for whatever it matches. A staged rule ends only staged ones. */
static bool ends_before(const struct weir_rule *a, const struct weir_rule *b)
{
	return b->action != WEIR_ACT_LOG && b->mode >= a->mode && !(b->pos.set & ~a->pos.set & WEIR_C_MAC);
}

/* --- shadowed --- */

static const char *list_label(const struct weir_build *b, uint32_t i, char *buf, size_t size)
{
	const char *name = b->strings + b->rules[i].name;

	if (weir_rule_unnamed(name))
		snprintf(buf, size, "the %s", name);
	else
		snprintf(buf, size, "'%s' (%s)", name, b->strings + b->rules[i].place);
	return buf;
}

static void tell(struct lint *l, uint32_t i, const char *kind, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void tell(struct lint *l, uint32_t i, const char *kind, const char *fmt, ...)
{
	const struct weir_p_rule *r = l->b->source[i];
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

/* Do the rules in front take all of rule i together, each short of it in the one dimension d only? */
static bool taken_together(const struct lint *l, uint32_t i, enum dimension d)
{
	const struct weir_rule *a = &l->b->rules[i];
	uint64_t protos[4] = { 0 }, lists[WEIR_ROW_WORDS] = { 0 };
	const struct relation *rel = d == D_PORTS ? &l->ports : &l->addrs;
	uint32_t list = d == D_FROM ? a->pos.from : d == D_TO ? a->pos.to : a->pos.ports;
	uint8_t dirs = 0;
	bool left = false;

	for (uint32_t k = 0; k < i; k++) {
		const struct weir_rule *b = &l->b->rules[k];
		bool fits = ends_before(a, b) && not_harmless(l, a, b);

		for (int e = 0; e < D_COUNT && fits; e++)
			fits = (enum dimension)e == d || within(l, &a->pos, &b->pos, (enum dimension)e);
		if (!fits)
			continue;
		dirs |= b->pos.dirs;
		for (int w = 0; w < 4; w++)
			protos[w] |= b->pos.protos[w];
		if (d >= D_FROM) {
			uint32_t n = d == D_FROM ? b->pos.from : d == D_TO ? b->pos.to : b->pos.ports;

			lists[n >> 6] |= (uint64_t)1 << (n & 63);
		}
	}
	if (d == D_DIR)
		return dirs && !((a->pos.set & WEIR_C_DIR ? a->pos.dirs : WEIR_DIR_ANY) & ~dirs);
	if (d == D_PROTO) {
		for (int w = 0; w < 4; w++)
			left |= (a->pos.set & WEIR_C_PROTO ? a->pos.protos[w] : UINT64_MAX) & ~protos[w];
		return !left;
	}
	/* every piece of a's list must lie in one of theirs */
	for (uint32_t row = 1; row < rel->space->n_rows && list != WEIR_NO_LIST; row++) {
		const uint64_t *bits = rel->space->rows + (size_t)row * rel->words;
		uint64_t any = 0;

		if (!(bits[list >> 6] >> (list & 63) & 1))
			continue;
		for (uint32_t w = 0; w < rel->words; w++)
			any |= bits[w] & lists[w];
		if (!any)
			return false;
	}
	return list != WEIR_NO_LIST;
}

static bool shadowed(struct lint *l, uint32_t i)
{
	const struct weir_rule *a = &l->b->rules[i];
	char label[200];

	for (uint32_t k = 0; k < i; k++) {
		const struct weir_rule *b = &l->b->rules[k];
		bool all = ends_before(a, b) && not_harmless(l, a, b) && l->b->source[k] != l->b->source[i];

		for (int d = 0; d < D_COUNT && all; d++)
			all = within(l, &a->pos, &b->pos, (enum dimension)d);
		if (!all)
			continue;
		tell(l, i, "shadowed", "can match nothing: %s takes all of it",
		     list_label(l->b, k, label, sizeof label));
		return true;
	}
	for (int d = D_DIR; d < D_OTHER; d++) {
		if (!taken_together(l, i, (enum dimension)d))
			continue;
		tell(l, i, "shadowed", "can match nothing: the rules in front of it take all of it together");
		return true;
	}
	return false;
}

/* --- without effect --- */

static bool empty_list(const struct weir_build *b, const struct weir_rule *r)
{
	const struct weir_cond *c = &r->pos;

	return ((c->set & WEIR_C_FROM) && !b->addrs.v[c->from].n) || ((c->set & WEIR_C_TO) && !b->addrs.v[c->to].n) ||
	       ((c->set & WEIR_C_PEER) && !b->addrs.v[c->peer].n);
}

/* An allow where the default allows too, and nothing behind it denies what it matches. */
static bool allow_for_nothing(const struct lint *l, uint32_t i)
{
	const struct weir_build *b = l->b;
	const struct weir_rule *a = &b->rules[i];
	static const uint8_t dirs[] = { WEIR_DIR_IN, WEIR_DIR_OUT, WEIR_DIR_FWD };

	if (a->action != WEIR_ACT_ALLOW || (a->flags & WEIR_RF_LOG) || weir_rule_bounds(a))
		return false;
	for (int d = 0; d < 3; d++)
		if ((!(a->pos.set & WEIR_C_DIR) || (a->pos.dirs & dirs[d])) &&
		    (b->config.defaults[d].action != WEIR_ACT_ALLOW || b->config.defaults[d].log))
			return false;
	for (uint32_t k = i + 1; k < b->n_rules; k++)
		if ((b->rules[k].action != WEIR_ACT_ALLOW || (b->rules[k].flags & WEIR_RF_LOG)) &&
		    overlap(l, &a->pos, &b->rules[k].pos))
			return false;
	return true;
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

static int lint(struct weir_build *b)
{
	struct lint l = { .b = b };
	int err = relate(&b->arena, &b->addr_space, b->addrs.n, &l.addrs);

	if (!err)
		err = relate(&b->arena, &b->port_space, b->ports.n, &l.ports);
	if (err < 0)
		return err;
	for (uint32_t i = 0; i < b->n_rules; i++) {
		if (i && b->source[i] == b->source[i - 1])
			continue; /* the rest of a rule that became several */
		if (empty_list(b, &b->rules[i]))
			tell(&l, i, "empty", "can match nothing: a set that it names holds no address");
		else if (!shadowed(&l, i) && allow_for_nothing(&l, i))
			tell(&l, i, "ineffective", "changes nothing: the default allows the same");
	}
	lint_sets(&l);
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
