/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/flat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROTO_BIT(p) ((uint64_t)1 << ((p)&63))

static const uint64_t port_protos[4] = {
	PROTO_BIT(WEIR_IPPROTO_TCP) | PROTO_BIT(WEIR_IPPROTO_UDP),
	0,
	PROTO_BIT(WEIR_IPPROTO_SCTP) | PROTO_BIT(WEIR_IPPROTO_UDPLITE),
	0,
};
static const uint64_t tcp_udp[4] = { PROTO_BIT(WEIR_IPPROTO_TCP) | PROTO_BIT(WEIR_IPPROTO_UDP), 0, 0, 0 };

bool weir_rule_unnamed(const char *name)
{
	return !strncmp(name, "rule at ", 8);
}

/* `key`: say it there, if the map has it. */
static int refuse(const struct weir_flat_context *c, const struct weir_node *at, const char *key, const char *message,
		  const char *hint)
{
	const struct weir_node *value = key ? weir_node_get(at, key) : NULL;
	struct weir_diag *d = weir_node_error(c->diags, value ? value : at, "%s", message);

	if (hint)
		weir_diag_hint(d, "%s", hint);
	return -EINVAL;
}

const struct weir_ranges *weir_set_find(const struct weir_flat_context *c, const struct weir_p_addr *a)
{
	const struct weir_policy *p = c->policy;
	struct weir_p_set *s = weir_policy_set(p, a->set);
	const char *names[1025], *meant;
	struct weir_diag *d;
	size_t n = 0;

	if (s) {
		s->used = true;
		return c->sets ? &c->sets[s->number] : &s->ranges;
	}
	for (; n < p->n_sets && n < 1024; n++)
		names[n] = p->sets[n]->name;
	names[n] = NULL;
	d = weir_node_error(c->diags, a->node, "unknown set '$%s'", a->set);
	meant = weir_did_you_mean(a->set, names);
	if (meant)
		weir_diag_hint(d, "did you mean '$%s'?", meant);
	else
		weir_diag_hint(d, "define it under 'sets'");
	return NULL;
}

/* --- one map of conditions --- */

/* A set that a rule names is one of the lists whose pieces have classes: see core/image.h. */
static const struct weir_ranges *rule_set(const struct weir_flat_context *c, const struct weir_p_addr *a)
{
	const struct weir_ranges *r = weir_set_find(c, a);

	if (r)
		weir_policy_set(c->policy, a->set)->ruled = true;
	return r;
}

bool *weir_ruled_keep(const struct weir_policy *p)
{
	bool *kept = calloc(p->n_sets + 1, sizeof *kept);

	for (size_t i = 0; kept && i < p->n_sets; i++)
		kept[i] = p->sets[i]->ruled;
	return kept;
}

void weir_ruled_back(const struct weir_policy *p, bool *kept)
{
	for (size_t i = 0; i < p->n_sets; i++)
		p->sets[i]->ruled = kept[i];
	free(kept);
}

static int lower_addrs(const struct weir_flat_context *c, const struct weir_values *v, uint32_t bit, bool negated,
		       struct weir_flat_cond *f, struct weir_ranges *ret)
{
	const struct weir_p_addr *a = v->v;
	int err = 0;

	if (!v->n)
		return 0;
	if (a[0].any) {
		if (negated)
			return refuse(c, a[0].node, NULL, "'not' any address can never match", "take it away");
		return 0;
	}
	f->set |= bit;
	if (v->n == 1 && a[0].set) {
		const struct weir_ranges *r = rule_set(c, &a[0]);

		if (r)
			*ret = *r;
		return r ? 0 : -EINVAL;
	}
	for (uint32_t i = 0; i < v->n && !err; i++) {
		const struct weir_ranges *r = a[i].set ? rule_set(c, &a[i]) : NULL;

		if (a[i].set)
			err = r ? weir_ranges_append(c->arena, ret, r) : -EINVAL;
		else
			err = weir_ranges_add(c->arena, ret, a[i].range);
	}
	return err < 0 ? err : weir_ranges_normal(c->arena, ret);
}

static int lower_ports(const struct weir_flat_context *c, const struct weir_values *v, uint32_t bit, bool negated,
		       struct weir_flat_cond *f, struct weir_ranges *ret)
{
	const struct weir_p_ports *p = v->v;
	int err = 0;

	if (!v->n)
		return 0;
	if (!p[0].lo) {
		if (negated)
			return refuse(c, v->node, NULL, "'not' any port can never match", "take it away");
		return 0;
	}
	f->set |= bit;
	for (uint32_t i = 0; i < v->n && !err; i++)
		err = weir_ranges_add(c->arena, ret, (struct weir_range){ p[i].lo, p[i].hi });
	return err < 0 ? err : weir_ranges_normal(c->arena, ret);
}

static int lower_icmp(const struct weir_flat_context *c, const struct weir_p_cond *s, struct weir_flat_cond *f)
{
	const struct weir_values *lists[] = { &s->icmp, &s->icmpv6 };

	if (!s->icmp.n && !s->icmpv6.n)
		return 0;
	f->set |= WEIR_C_ICMP;
	f->icmp = weir_arena_array(c->arena, (s->icmp.n + s->icmpv6.n) * 2, sizeof *f->icmp);
	if (!f->icmp)
		return -ENOMEM;
	for (size_t l = 0; l < 2; l++) {
		const struct weir_p_icmp *v = lists[l]->v;

		for (uint32_t i = 0; i < lists[l]->n; i++)
			for (size_t k = 0; k < 2; k++)
				if (v[i].m[k].family)
					f->icmp[f->n_icmp++] = v[i].m[k];
	}
	return 0;
}

static void lower_values(const struct weir_values *from, uint32_t bit, struct weir_flat_cond *f,
			 struct weir_values *ret)
{
	*ret = *from;
	if (from->n)
		f->set |= bit;
}

static int lower(const struct weir_flat_context *c, const struct weir_p_cond *s, bool negated, struct weir_flat_cond *f)
{
	const uint8_t *dirs = s->direction.v, *protos = s->protocol.v;
	int err;

	for (uint32_t i = 0; i < s->direction.n; i++)
		f->dirs |= dirs[i];
	if (s->direction.n)
		f->set |= WEIR_C_DIR;
	for (uint32_t i = 0; i < s->protocol.n; i++)
		f->protos[protos[i] >> 6] |= PROTO_BIT(protos[i]);
	if (s->protocol.n)
		f->set |= WEIR_C_PROTO;
	lower_values(&s->interface, WEIR_C_ANY_IF, f, &f->any_if);
	lower_values(&s->in_interface, WEIR_C_IN_IF, f, &f->in_if);
	lower_values(&s->out_interface, WEIR_C_OUT_IF, f, &f->out_if);
	lower_values(&s->vlan, WEIR_C_VLAN, f, &f->vlan);
	lower_values(&s->mac, WEIR_C_MAC, f, &f->mac);
	lower_values(&s->time, WEIR_C_TIME, f, &f->time);
	if (s->mark.set) {
		f->set |= WEIR_C_MARK;
		f->mark = s->mark.value;
		f->mark_mask = s->mark.mask;
	}
	err = lower_icmp(c, s, f);
	if (!err)
		err = lower_addrs(c, &s->from, WEIR_C_FROM, negated, f, &f->from);
	if (!err)
		err = lower_addrs(c, &s->to, WEIR_C_TO, negated, f, &f->to);
	if (!err)
		err = lower_addrs(c, &s->peer, WEIR_C_PEER, negated, f, &f->peer);
	if (!err)
		err = lower_ports(c, &s->ports, WEIR_C_PORTS, negated, f, &f->ports);
	if (!err)
		err = lower_ports(c, &s->source_ports, WEIR_C_SPORTS, negated, f, &f->sports);
	return err;
}

/* --- the group's conditions --- */

/*
 * Are these addresses what they will be? A set whose file somebody else writes, or which is edited, holds other ones
 * tomorrow: a rule that matches nothing today is then no mistake, and to refuse it would refuse the edit.
 */
static bool lasting(const struct weir_flat_context *c, const struct weir_values *v)
{
	const struct weir_p_addr *a = v->v;

	for (uint32_t i = 0; i < v->n; i++)
		if (a[i].set && (!c->written || weir_policy_set(c->policy, a[i].set)->file))
			return false;
	return true;
}

/* `may_be_none`: that they have nothing in common is no mistake. */
static int and_ranges(const struct weir_flat_context *c, const struct weir_flat_cond *g, uint32_t bit, const char *key,
		      const struct weir_ranges *gr, struct weir_flat_cond *f, struct weir_ranges *fr,
		      const struct weir_node *at, bool may_be_none)
{
	struct weir_ranges both;
	bool empty = !gr->n || !fr->n || may_be_none;

	if (!(g->set & bit))
		return 0;
	if (!(f->set & bit)) {
		f->set |= bit;
		*fr = *gr;
		return 0;
	}
	if (weir_ranges_and(c->arena, fr, gr, &both) < 0)
		return -ENOMEM;
	if (!both.n && !empty) {
		weir_node_error(c->diags, weir_node_get(at, key) ?: at,
				"'%s' here and in the group's 'when' have nothing in common", key);
		return -EINVAL;
	}
	*fr = both;
	return 0;
}

/* What cannot be intersected (a frame has two tags, a glob has many names) may stand in one place only. */
static int take_over(const struct weir_flat_context *c, const struct weir_flat_cond *g, struct weir_flat_cond *f,
		     const struct weir_node *at)
{
	static const struct {
		uint32_t bit;
		const char *key;
	} single[] = { { WEIR_C_PEER, "peer" },		 { WEIR_C_ANY_IF, "interface" },
		       { WEIR_C_IN_IF, "in_interface" }, { WEIR_C_OUT_IF, "out_interface" },
		       { WEIR_C_VLAN, "vlan" },		 { WEIR_C_MAC, "mac" },
		       { WEIR_C_MARK, "mark" },		 { WEIR_C_ICMP, "icmp" },
		       { WEIR_C_TIME, "time" } };

	for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
		if (!(g->set & f->set & single[i].bit))
			continue;
		weir_diag_hint(weir_node_error(c->diags, weir_node_get(at, single[i].key) ?: at,
					       "'%s' stands in the rule and in the group's 'when'", single[i].key),
			       "keep one of them");
		return -EINVAL;
	}
#define TAKE_OVER(BIT, FIELD)                \
	do {                                 \
		if (g->set & (BIT)) {        \
			f->set |= (BIT);     \
			f->FIELD = g->FIELD; \
		}                            \
	} while (0)
	TAKE_OVER(WEIR_C_PEER, peer);
	TAKE_OVER(WEIR_C_ANY_IF, any_if);
	TAKE_OVER(WEIR_C_IN_IF, in_if);
	TAKE_OVER(WEIR_C_OUT_IF, out_if);
	TAKE_OVER(WEIR_C_VLAN, vlan);
	TAKE_OVER(WEIR_C_MAC, mac);
	TAKE_OVER(WEIR_C_TIME, time);
	TAKE_OVER(WEIR_C_MARK, mark);
	TAKE_OVER(WEIR_C_MARK, mark_mask);
	TAKE_OVER(WEIR_C_ICMP, icmp);
	TAKE_OVER(WEIR_C_ICMP, n_icmp);
#undef TAKE_OVER
	return 0;
}

static int when_of(const struct weir_flat_context *c, const struct weir_p_group *group, struct weir_flat_cond *ret)
{
	struct weir_flat_context own = *c;
	struct weir_flat_when *w = c->when;

	if (!w)
		return lower(c, &group->when, false, ret);
	if (w->group != group) {
		own.arena = w->arena;
		w->group = group;
		w->cond = (struct weir_flat_cond){ 0 };
		w->err = lower(&own, &group->when, false, &w->cond);
	}
	*ret = w->cond;
	return w->err;
}

static int and_group(const struct weir_flat_context *c, const struct weir_p_rule *r, struct weir_flat_cond *f)
{
	struct weir_flat_cond g = { 0 };
	const struct weir_node *at = r->node;
	uint64_t any = 0;
	int err;

	err = when_of(c, r->group, &g);
	if (!err)
		err = take_over(c, &g, f, at);
	if (!err)
		err = and_ranges(c, &g, WEIR_C_FROM, "from", &g.from, f, &f->from, at,
				 !lasting(c, &r->pos.from) || !lasting(c, &r->group->when.from));
	if (!err)
		err = and_ranges(c, &g, WEIR_C_TO, "to", &g.to, f, &f->to, at,
				 !lasting(c, &r->pos.to) || !lasting(c, &r->group->when.to));
	if (!err)
		err = and_ranges(c, &g, WEIR_C_PORTS, "ports", &g.ports, f, &f->ports, at, false);
	if (!err)
		err = and_ranges(c, &g, WEIR_C_SPORTS, "source_ports", &g.sports, f, &f->sports, at, false);
	if (err < 0)
		return err;
	if (g.set & WEIR_C_DIR) {
		f->dirs = f->set & WEIR_C_DIR ? f->dirs & g.dirs : g.dirs;
		f->set |= WEIR_C_DIR;
		if (!f->dirs)
			return refuse(c, at, "direction",
				      "'direction' here and in the group's 'when' have nothing in common", NULL);
	}
	if (g.set & WEIR_C_PROTO) {
		for (int i = 0; i < 4; i++) {
			f->protos[i] = f->set & WEIR_C_PROTO ? f->protos[i] & g.protos[i] : g.protos[i];
			any |= f->protos[i];
		}
		f->set |= WEIR_C_PROTO;
		if (!any)
			return refuse(c, at, "protocol",
				      "'protocol' here and in the group's 'when' have nothing in common", NULL);
	}
	return 0;
}

/* --- implied protocols --- */

static bool any_proto(const uint64_t p[static 4])
{
	return p[0] | p[1] | p[2] | p[3];
}

/* Narrow f's protocols to `allowed`; false when nothing is left. */
static bool narrow(struct weir_flat_cond *f, const uint64_t allowed[static 4])
{
	uint64_t r[4];

	for (int i = 0; i < 4; i++)
		r[i] = f->set & WEIR_C_PROTO ? f->protos[i] & allowed[i] : allowed[i];
	if (!any_proto(r))
		return false;
	memcpy(f->protos, r, sizeof r);
	f->set |= WEIR_C_PROTO;
	return true;
}

static bool outside(const uint64_t p[static 4], const uint64_t allowed[static 4])
{
	return (p[0] & ~allowed[0]) | (p[1] & ~allowed[1]) | (p[2] & ~allowed[2]) | (p[3] & ~allowed[3]);
}

/*
 * Ports mean tcp and udp, ICMP types mean ICMP, unless the rule or its group says a protocol. What a negated group
 * implies stands outside it: `not: { ports: 22 }` is still about tcp and udp.
 */
static int imply(const struct weir_flat_context *c, const struct weir_p_rule *r, struct weir_flat_rule *f)
{
	const uint32_t ports = WEIR_C_PORTS | WEIR_C_SPORTS;
	uint32_t neg = f->has_neg && !(f->neg.set & WEIR_C_PROTO) ? f->neg.set : 0;
	const struct weir_node *at = r->node;
	uint64_t icmp[4] = { 0 };

	if (((f->pos.set | neg) & ports) && ((f->pos.set | neg) & WEIR_C_ICMP))
		return refuse(c, at, "ports",
			      "ICMP has no ports: 'icmp' and ports in one rule", "make two rules of it");
	if (f->has_neg && (f->neg.set & WEIR_C_PROTO) && (f->neg.set & ports) && outside(f->neg.protos, port_protos))
		return refuse(c, r->neg->node, "protocol", "this protocol has no ports",
			      "ports go with tcp, udp, sctp and udplite");
	if ((f->pos.set | neg) & ports) {
		if (r->pos.protocol.n && outside(f->pos.protos, port_protos))
			return refuse(c, at, "protocol", "this protocol has no ports", "ports go with tcp, udp, sctp and udplite");
		/* said, and not by the rule: by its group */
		if (!r->pos.protocol.n && !narrow(&f->pos, f->pos.set & WEIR_C_PROTO ? port_protos : tcp_udp))
			return refuse(c, at, "protocol", "the group's protocol has no ports", NULL);
	}
	for (uint32_t i = 0; i < f->pos.n_icmp; i++)
		icmp[0] |= PROTO_BIT(f->pos.icmp[i].family == 4 ? WEIR_IPPROTO_ICMP : WEIR_IPPROTO_ICMPV6);
	for (uint32_t i = 0; neg && i < f->neg.n_icmp; i++)
		icmp[0] |= PROTO_BIT(f->neg.icmp[i].family == 4 ? WEIR_IPPROTO_ICMP : WEIR_IPPROTO_ICMPV6);
	if (!icmp[0])
		return 0;
	if (r->pos.protocol.n && outside(f->pos.protos, (uint64_t[4]){ PROTO_BIT(1) | PROTO_BIT(58), 0, 0, 0 }))
		return refuse(c, at, "protocol", "'icmp' with another protocol can never match", "leave 'protocol' out");
	if (!narrow(&f->pos, icmp))
		return refuse(c, at, "protocol", "this protocol has no such ICMP type", "leave 'protocol' out");
	return 0;
}

static bool lasting_all(const struct weir_flat_context *c, const struct weir_p_cond *s)
{
	return lasting(c, &s->from) && lasting(c, &s->to) && lasting(c, &s->peer);
}

static int check_families(const struct weir_flat_context *c, const struct weir_p_rule *r,
			  const struct weir_flat_cond *f)
{
	unsigned fam = 3, protos = 0;

	if (!lasting_all(c, &r->pos) || (r->group && !lasting_all(c, &r->group->when)))
		return 0;
	if ((f->set & WEIR_C_FROM) && f->from.n)
		fam &= weir_ranges_families(&f->from);
	if ((f->set & WEIR_C_TO) && f->to.n)
		fam &= weir_ranges_families(&f->to);
	if ((f->set & WEIR_C_PEER) && f->peer.n)
		fam &= weir_ranges_families(&f->peer);
	if (!fam)
		return refuse(c, r->node, NULL, "one address is IPv4, the other IPv6: the rule can match nothing", NULL);
	if (!(f->set & WEIR_C_PROTO))
		return 0;
	protos = (f->protos[0] & PROTO_BIT(WEIR_IPPROTO_ICMP) ? 1u : 0) |
		 (f->protos[0] & PROTO_BIT(WEIR_IPPROTO_ICMPV6) ? 2u : 0);
	if (!outside(f->protos, (uint64_t[4]){ PROTO_BIT(1) | PROTO_BIT(58), 0, 0, 0 }) && !(protos & fam))
		return refuse(c, r->node, NULL,
			      fam == 1 ? "ICMPv6 with IPv4 addresses can match nothing"
				       : "ICMP with IPv6 addresses can match nothing",
			      fam == 1 ? "IPv4 has 'icmp'" : "IPv6 has 'icmpv6'");
	return 0;
}

/* Facts that cannot exist in the directions that the rule names. */
static int check_directions(const struct weir_flat_context *c, const struct weir_p_rule *r,
			    const struct weir_flat_cond *f)
{
	if (!(f->set & WEIR_C_DIR))
		return 0;
	if (f->dirs == WEIR_DIR_OUT && (f->set & WEIR_C_IN_IF))
		return refuse(c, r->node, "in_interface",
			      "what this host opens comes in by no interface", "write 'out_interface', or 'interface'");
	if (f->dirs == WEIR_DIR_OUT && (f->set & WEIR_C_MAC))
		return refuse(c, r->node, "mac",
			      "what this host opens has no source MAC as it came in", NULL);
	if (f->dirs == WEIR_DIR_IN && (f->set & WEIR_C_OUT_IF))
		return refuse(c, r->node, "out_interface",
			      "what is for this host leaves by no interface", "write 'in_interface', or 'interface'");
	return 0;
}

static int check_negated(const struct weir_flat_context *c, const struct weir_p_rule *r, const struct weir_flat_cond *f)
{
	if (f->n_icmp > WEIR_ICMP_MAX)
		return refuse(c, r->neg->node, NULL, "more than 8 ICMP types in a 'not'",
			      "put rules for them in front instead");
	if (f->vlan.n > WEIR_VLAN_MAX)
		return refuse(c, r->neg->node, NULL, "more than 8 VLANs in a 'not'", "put rules for them in front instead");
	if (f->mac.n > WEIR_MAC_MAX)
		return refuse(c, r->neg->node, NULL, "more than 4 MAC addresses in a 'not'",
			      "put rules for them in front instead");
	return 0;
}

int weir_rule_flatten(const struct weir_flat_context *c, const struct weir_p_rule *r, struct weir_flat_rule *ret)
{
	struct weir_flat_rule f = { .rule = r, .has_neg = r->neg };
	int err;

	err = lower(c, &r->pos, false, &f.pos);
	if (!err && f.has_neg)
		err = lower(c, r->neg, true, &f.neg);
	if (!err && r->group && r->group->when.node)
		err = and_group(c, r, &f.pos);
	if (!err)
		err = imply(c, r, &f);
	if (!err)
		err = check_families(c, r, &f.pos);
	if (!err)
		err = check_directions(c, r, &f.pos);
	if (!err && f.has_neg)
		err = check_negated(c, r, &f.neg);
	if (err < 0)
		return err;
	*ret = f;
	return 0;
}

const char *weir_rule_names_lo(const struct weir_p_rule *r)
{
	const struct weir_p_cond *conds[] = { &r->pos, r->group ? &r->group->when : NULL };

	for (size_t c = 0; c < 2 && conds[c]; c++) {
		const struct {
			const char *key;
			const struct weir_values *v;
		} lists[] = { { "interface", &conds[c]->interface },
			      { "in_interface", &conds[c]->in_interface },
			      { "out_interface", &conds[c]->out_interface } };

		for (size_t l = 0; l < 3; l++) {
			const char *const *names = lists[l].v->v;

			for (uint32_t k = 0; k < lists[l].v->n; k++)
				if (!strcmp(names[k], "lo"))
					return lists[l].key;
		}
	}
	return NULL;
}

const struct weir_p_rule *weir_rule_naming_lo(const struct weir_policy *p, const char **ret_key)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		const char *key = weir_rule_names_lo(p->rules[i]);

		if (key && ret_key)
			*ret_key = key;
		if (key)
			return p->rules[i];
	}
	return NULL;
}
