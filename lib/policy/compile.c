/* SPDX-License-Identifier: Apache-2.0 */
/* A policy, the overlay and this host's facts become numbered lists and rules in evaluation order. */
#include "lib/policy/build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/late.h"
#include "lib/util/cleanup.h"

int weir_build_tell(struct weir_build *b, const char *hint, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (r < 0)
		return -ENOMEM;
	struct weir_diag *d = weir_diags_add(b->diags, WEIR_ERROR, b->policy->path, 0, 0, 1, "%s", text);
	if (hint)
		weir_diag_hint(d, "%s", hint);
	return -EINVAL;
}

int weir_build_string(struct weir_build *b, const char *s, uint32_t *ret)
{
	size_t n = strlen(s) + 1;

	if (!*s && b->n_strings) { /* offset 0 is "" */
		*ret = 0;
		return 0;
	}
	if (b->n_strings + n > b->room_strings) {
		size_t room = (b->room_strings + n) * 2 + 1024;
		char *more = realloc(b->strings, room);

		if (!more)
			return -ENOMEM;
		b->strings = more;
		b->room_strings = room;
	}
	memcpy(b->strings + b->n_strings, s, n);
	*ret = (uint32_t)b->n_strings;
	b->n_strings += n;
	return 0;
}

/* --- sets and interfaces --- */

/* The sets as they are now: what was read, with the edits in their order. */
static int build_sets(struct weir_build *b)
{
	const struct weir_policy *p = b->policy;
	const struct weir_overlay *o = b->options->overlay;
	struct weir_why why;
	uint16_t number;
	int err = 0;

	b->sets = weir_arena_array(&b->arena, p->n_sets, sizeof *b->sets);
	if (!b->sets)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_sets && !err; i++) { /* an edit of a set that the file no longer has sleeps */
		err = weir_set_now(&b->arena, p->sets[i], o, NULL, &b->sets[i], &why);
		if (err == -EINVAL)
			return weir_build_tell(b, NULL, "edit of $%s: %s", p->sets[i]->name, why.message);
	}
	for (size_t i = 0; i < p->n_sets && !err; i++) {
		_cleanup_free_ char *name = NULL;

		if (!p->sets[i]->ruled)
			continue;
		if (asprintf(&name, "$%s", p->sets[i]->name) < 0)
			return -ENOMEM;
		const char *kept = weir_arena_text(&b->arena, name, strlen(name));
		err = kept ? weir_build_list(b, &b->sets[i], kept, &number) : -ENOMEM;
	}
	return err;
}

static int if_bits(struct weir_build *b, const struct weir_values *names, uint64_t *ret)
{
	const char *const *v = names->v;
	uint64_t bits = 0;

	for (uint32_t i = 0; i < names->n; i++) {
		uint32_t k = 0;

		while (k < b->n_ifpats && strcmp(b->ifpats[k], v[i]))
			k++;
		if (k == WEIR_IFPAT_MAX)
			return weir_build_tell(b, "use globs", "more than %d different interface names and globs",
					       WEIR_IFPAT_MAX);
		if (k == b->n_ifpats)
			snprintf(b->ifpats[b->n_ifpats++], sizeof b->ifpats[k], "%s", v[i]);
		bits |= (uint64_t)1 << k;
	}
	*ret = bits;
	return 0;
}

/* Equal lists of windows are one. */
static int time_number(struct weir_build *b, const struct weir_values *v, uint16_t *ret)
{
	struct weir_times t = { 0 };
	uint32_t i = 0;

	if (!v->n)
		return 0;
	memcpy(t.w, v->v, v->n * sizeof t.w[0]);
	while (i < b->n_times && memcmp(&b->times[i], &t, sizeof t))
		i++;
	if (i == WEIR_TIMES_MAX)
		return weir_build_tell(b, "rules that share their times count once", "more than %d different lists of times",
				       WEIR_TIMES_MAX);
	if (i == b->n_times)
		b->times[b->n_times++] = t;
	*ret = (uint16_t)i;
	return 0;
}

/* --- conditions and rules --- */

/* All of a condition but the lists that a rule holds only a few of (icmp, vlan, mac). */
static int build_cond(struct weir_build *b, const struct weir_flat_cond *f, struct weir_cond *ret)
{
	struct weir_cond c = { .set = f->set,
			       .from = WEIR_NO_LIST,
			       .to = WEIR_NO_LIST,
			       .peer = WEIR_NO_LIST,
			       .ports = { .list = WEIR_NO_LIST },
			       .sports = { .list = WEIR_NO_LIST },
			       .dirs = f->dirs,
			       .mark = f->mark,
			       .mark_mask = f->mark_mask };
	int err = 0;

	memcpy(c.protos, f->protos, sizeof c.protos);
	if (f->set & WEIR_C_FROM)
		err = weir_build_addrs(b, &f->from, &c.from);
	if (!err && (f->set & WEIR_C_TO))
		err = weir_build_addrs(b, &f->to, &c.to);
	if (!err && (f->set & WEIR_C_PEER))
		err = weir_build_addrs(b, &f->peer, &c.peer);
	if (!err && (f->set & WEIR_C_PORTS))
		err = weir_build_ports(b, &f->ports, &c.ports);
	if (!err && (f->set & WEIR_C_SPORTS))
		err = weir_build_ports(b, &f->sports, &c.sports);
	if (!err)
		err = if_bits(b, &f->in_if, &c.in_if);
	if (!err)
		err = if_bits(b, &f->out_if, &c.out_if);
	if (!err)
		err = if_bits(b, &f->any_if, &c.any_if);
	if (!err)
		err = time_number(b, &f->time, &c.time);
	if (err < 0)
		return err;
	*ret = c;
	return 0;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The few-entry lists of c, from the given places on. */
static void fill_lists(const struct weir_flat_cond *f, struct weir_cond *c, uint32_t icmp, uint32_t vlan, uint32_t mac)
{
	const uint32_t *vlans = f->vlan.v;
	const uint64_t *macs = f->mac.v;

	c->n_icmp = (uint8_t)least(f->n_icmp - icmp, WEIR_ICMP_MAX);
	c->n_vlan = (uint8_t)least(f->vlan.n - vlan, WEIR_VLAN_MAX);
	c->n_mac = (uint8_t)least(f->mac.n - mac, WEIR_MAC_MAX);
	for (uint32_t i = 0; i < WEIR_ICMP_MAX; i++)
		c->icmp[i] = i < c->n_icmp ? f->icmp[icmp + i] : (struct weir_icmp_match){ 0 };
	for (uint32_t i = 0; i < WEIR_VLAN_MAX; i++)
		c->vlan[i] = (uint16_t)(i < c->n_vlan ? vlans[vlan + i] : 0);
	for (uint32_t i = 0; i < WEIR_MAC_MAX; i++)
		c->mac[i] = i < c->n_mac ? macs[mac + i] : 0;
}

/* The array with room for one more; NULL without memory, and v stays. */
static void *room_for(void *v, uint32_t n, uint32_t *room, size_t size)
{
	uint32_t more = *room * 2 + 64;
	void *p = v;

	if (n == *room) {
		p = realloc(v, more * size);
		*room = p ? more : *room;
	}
	return p;
}

static int add_neg(struct weir_build *b, const struct weir_flat_rule *f, uint32_t *ret)
{
	struct weir_cond *v = room_for(b->negs, b->n_negs, &b->room_negs, sizeof *v);
	int err;

	if (!v)
		return -ENOMEM;
	b->negs = v;
	err = build_cond(b, &f->neg, &v[b->n_negs]);
	if (err < 0)
		return err;
	fill_lists(&f->neg, &v[b->n_negs], 0, 0, 0);
	*ret = b->n_negs++;
	return 0;
}

static int add_one(struct weir_build *b, const struct weir_flat_rule *f, enum weir_build_to to,
		   const struct weir_rule *r)
{
	uint32_t room = b->room_rules, max = to == WEIR_TO_RULES ? WEIR_RULES_MAX : WEIR_FAILSAFE_MAX;
	const struct weir_p_rule **source;
	struct weir_rule *rules;

	if ((to == WEIR_TO_RULES ? b->n_rules : b->n_failsafe) == max)
		return weir_build_tell(b, "many addresses or ports fit into one rule: use lists and sets",
				       "more than %u %s (a rule counts once for each 8 ICMP types, 8 VLANs "
				       "and 4 MAC addresses)",
				       max, to == WEIR_TO_RULES ? "rules, overlay included" : "failsafe entries");
	if (to == WEIR_TO_FAILSAFE) {
		b->failsafe[b->n_failsafe++] = *r;
		return 0;
	}
	source = room_for(b->source, b->n_rules, &room, sizeof *source);
	b->source = source ? source : b->source;
	rules = room_for(b->rules, b->n_rules, &b->room_rules, sizeof *rules);
	if (!source || !rules)
		return -ENOMEM;
	b->rules = rules;
	b->source[b->n_rules] = f->rule;
	b->rules[b->n_rules++] = *r;
	return 0;
}

int weir_build_rule(struct weir_build *b, const struct weir_flat_rule *f, enum weir_build_to to,
		    const struct weir_rule *model)
{
	struct weir_rule r = *model;
	int err = build_cond(b, &f->pos, &r.pos);

	if (!err && f->has_neg)
		err = add_neg(b, f, &r.neg);
	if (!err)
		err = weir_build_string(b, f->rule->name, &r.name);
	if (!err)
		err = weir_build_string(b, f->rule->place, &r.place);
	r.flags |= f->has_neg ? WEIR_RF_NOT : 0;
	/* a rule with more ICMP types, VLANs or MACs than fit becomes several with one name */
	for (uint32_t i = 0; !err && (i == 0 || i < f->pos.n_icmp); i += WEIR_ICMP_MAX)
		for (uint32_t v = 0; !err && (v == 0 || v < f->pos.vlan.n); v += WEIR_VLAN_MAX)
			for (uint32_t m = 0; !err && (m == 0 || m < f->pos.mac.n); m += WEIR_MAC_MAX) {
				fill_lists(&f->pos, &r.pos, i, v, m);
				err = add_one(b, f, to, &r);
			}
	return err;
}

static uint8_t softest(uint8_t a, uint8_t b)
{
	return a < b ? a : b;
}

/* mode as kept by the model: + 1, 0 = absent */
static uint8_t ceiling(uint8_t policy, uint8_t mode)
{
	return mode ? softest(policy, mode - 1) : policy;
}

/* Places for rules that come while the image is in force: core/late.h. */
static int keep_places(struct weir_build *b)
{
	struct weir_flat_rule f = { 0 };
	struct weir_rule none = { .flags = WEIR_RF_GONE | WEIR_RF_OVERLAY };
	int err = 0;

	if (!b->options->late || b->n_rules + b->policy->n_rules > WEIR_RULES_MAX / 8 * 7)
		return 0;
	b->config.late = b->n_rules;
	b->config.n_late = WEIR_LATE_MAX;
	for (uint32_t i = 0; i < WEIR_LATE_MAX && !err; i++)
		err = add_one(b, &f, WEIR_TO_RULES, &none);
	return err;
}

static int build_rule(struct weir_build *b, const struct weir_p_rule *r)
{
	struct weir_flat_context c = { .policy = b->policy, .arena = &b->arena, .diags = b->diags, .sets = b->sets,
				       .when = &b->when };
	struct weir_rule model = { .action = r->action - 1, .overlay_id = r->overlay_id,
				   .max_duration = r->action == WEIR_ACT_BAN + 1 ? (r->ban ? r->ban : WEIR_BAN_S) : r->max_duration,
				   .idle = r->idle, .max_bytes = r->max_bytes };
	struct weir_flat_rule f;
	int err = weir_rule_flatten(&c, r, &f);

	if (err < 0)
		return err;
	model.mode = ceiling((uint8_t)b->config.mode, r->mode);
	if (r->group)
		model.mode = ceiling(model.mode, r->group->mode);
	model.flags = (r->log ? WEIR_RF_LOG : 0) | (r->overlay_id ? WEIR_RF_OVERLAY : 0);
	if (model.mode == WEIR_DETECT && r->mode == WEIR_PREVENT + 1)
		model.flags |= WEIR_RF_HELD;
	err = weir_build_rule_limit(b, r, model.mode, &model.limit);
	return err < 0 ? err : weir_build_rule(b, &f, WEIR_TO_RULES, &model);
}

static int build_overlay_rule(struct weir_build *b, const struct weir_overlay_rule *o)
{
	struct weir_p_rule *r;
	char place[24];
	int err;

	snprintf(place, sizeof place, "overlay %u", o->id);
	err = weir_rule_read(&b->arena, b->policy, o->json, &r, b->diags);
	if (err)
		return err;
	r->overlay_id = o->id;
	r->place = weir_arena_text(&b->arena, place, strlen(place));
	if (!r->name)
		r->name = r->place;
	return r->place ? build_rule(b, r) : -ENOMEM;
}

static int build_overlay(struct weir_build *b)
{
	const struct weir_overlay *o = b->options->overlay;
	int err = 0;

	for (size_t i = 0; o && i < o->n_rules && !err; i++) {
		if (o->rules[i].unfit && !b->options->unfit)
			continue;
		err = build_overlay_rule(b, &o->rules[i]);
		if (err == -EINVAL)
			err = weir_build_tell(b, "take it away with 'weir rule delete', or change the policy",
					      "overlay %u does not fit this policy", o->rules[i].id);
	}
	return err;
}

static struct weir_fixed fixed(const struct weir_build *b, const struct weir_p_fixed *f, uint8_t action)
{
	return (struct weir_fixed){ .action = f->action ? f->action - 1 : action,
				    .mode = ceiling((uint8_t)b->config.mode, f->mode),
				    .log = f->log };
}

/* The action of one direction's default as build_config has it: the one for all, else its own, else the standard. */
static bool shuts(const struct weir_p_defaults *def, const struct weir_p_fixed *own, uint8_t standard)
{
	const struct weir_p_fixed *f = def->all.action ? &def->all : own;
	uint8_t action = f->action ? f->action - 1 : standard;

	return ceiling(WEIR_PREVENT, f->mode) == WEIR_PREVENT && (action == WEIR_ACT_DROP || action == WEIR_ACT_REJECT);
}

bool weir_policy_shuts(const struct weir_policy *p)
{
	const struct weir_p_defaults *def = &p->doc.defaults;

	return weir_policy_mode(p) == WEIR_PREVENT &&
	       (shuts(def, &def->in, WEIR_ACT_DROP) || shuts(def, &def->out, WEIR_ACT_ALLOW) ||
		shuts(def, &def->fwd, WEIR_ACT_DROP));
}

static void build_config(struct weir_build *b)
{
	const struct weir_p_doc *d = &b->policy->doc;
	const struct weir_p_defaults *def = &d->defaults;
	struct weir_config *c = &b->config;

	c->generation = b->options->generation;
	c->epoch = b->options->epoch;
	c->mode = softest((uint8_t)weir_policy_mode(b->policy), (uint8_t)b->options->mode_ceiling);
	c->defaults[0] = fixed(b, def->all.action ? &def->all : &def->in, WEIR_ACT_DROP);
	c->defaults[1] = fixed(b, def->all.action ? &def->all : &def->out, WEIR_ACT_ALLOW);
	c->defaults[2] = fixed(b, def->all.action ? &def->all : &def->fwd, WEIR_ACT_DROP);
	c->malformed = fixed(b, &d->malformed, WEIR_ACT_DROP);
	c->fragments = fixed(b, &d->fragments, WEIR_ACT_ALLOW);
	c->unknown_l2 = fixed(b, &d->unknown_l2, WEIR_ACT_ALLOW);
	c->on_error = fixed(b, &d->on_error, WEIR_ACT_DROP);
	c->blocklist = c->ban = fixed(b, &(struct weir_p_fixed){ 0 }, WEIR_ACT_DROP);
	c->established = d->established ? d->established - 1 : WEIR_EST_RECHECK;
	c->recheck_unknown = d->recheck_unknown ? d->recheck_unknown - 1 : WEIR_UNKNOWN_KEEP;
	c->idle_s = d->idle ? d->idle : 3600;
	c->adopt_s = d->adopt_window ? d->adopt_window : 60;
	c->memory_mb = d->memory_mb;
	for (int i = 0; i < WEIR_FAILURE_COUNT; i++)
		c->failures.choice[i] = (uint8_t)(d->failures.choice[i] ? d->failures.choice[i] - 1 : 0);
	c->failures.daemon_after_s = d->failures.daemon_after ? d->failures.daemon_after : 60;
	c->failures.simulate = b->options->simulate;
	if (b->options->disk_full && c->failures.choice[WEIR_FAILURE_DISK_FULL] == WEIR_DISK_DROP)
		c->block_new = WEIR_REASON_DISK_FULL;
}

/* What the programs may fold away. */
static void build_features(struct weir_build *b)
{
	struct weir_config *c = &b->config;

	for (uint32_t i = 0; i < b->n_rules; i++) {
		c->conds_used |= b->rules[i].pos.set;
		if (b->rules[i].action == WEIR_ACT_REJECT)
			c->proto_features |= WEIR_FEAT_REJECT;
		if (weir_rule_bounds(&b->rules[i]))
			c->proto_features |= WEIR_FEAT_BOUNDS;
	}
	for (uint32_t i = 0; i < b->n_failsafe; i++)
		c->conds_used |= b->failsafe[i].pos.set;
	for (uint32_t i = 0; i < b->n_negs; i++)
		c->conds_used |= b->negs[i].set;
	for (int i = 0; i < 3; i++)
		if (c->defaults[i].action == WEIR_ACT_REJECT)
			c->proto_features |= WEIR_FEAT_REJECT;
	if (c->n_late) { /* what people say in the rules that they add */
		c->conds_used |= WEIR_LATE_CONDS;
		c->proto_features |= WEIR_FEAT_REJECT;
	}
	if (c->mode == WEIR_PREVENT) /* bans come and go while the image stays */
		c->proto_features |= WEIR_FEAT_XDP_DROP;
}

static int build_spaces(struct weir_build *b)
{
	static const weir_u128 addr_forced[] = { 0, WEIR_V4_LOW, WEIR_V4_HIGH + 1 }, port_forced[] = { 0 };
	int err = weir_space_make(&b->arena, b->addrs.v, b->addrs.n, addr_forced, 3, &b->addr_space);

	return err < 0 ? err : weir_space_make(&b->arena, b->ports.v, b->ports.n, port_forced, 1, &b->port_space);
}

static int build_begin(struct weir_build *b)
{
	uint32_t empty;
	int err;

	b->arena.limit = (size_t)1 << 30;
	b->when.arena = &b->arena;
	build_config(b);
	err = weir_build_string(b, "", &empty);
	return err ? err : build_sets(b);
}

int weir_build_alone(struct weir_build *b, const struct weir_overlay_rule *o)
{
	int err = build_begin(b);

	return err ? err : build_overlay_rule(b, o);
}

int weir_build_make(struct weir_build *b)
{
	int err = build_begin(b);

	if (!err)
		err = weir_build_failsafe(b);
	if (!err)
		err = build_overlay(b);
	if (!err)
		err = keep_places(b);
	for (size_t i = 0; i < b->policy->n_rules && !err; i++)
		err = build_rule(b, b->policy->rules[i]);
	if (!err)
		err = weir_build_blocklists(b);
	if (!err)
		err = weir_build_limits(b);
	if (!err)
		err = build_spaces(b);
	if (!err)
		build_features(b);
	return err;
}

void weir_build_free(struct weir_build *b)
{
	if (!b)
		return;
	weir_arena_free(&b->arena);
	free(b->rules);
	free(b->source);
	free(b->negs);
	weir_blocklist_free(&b->block);
	free(b->strings);
	free(b);
}
