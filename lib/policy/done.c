/* SPDX-License-Identifier: Apache-2.0 */
/* Checks across the keys of one map, called by the walker when all keys of it are read. */
#include <errno.h>
#include <string.h>

#include "lib/policy/model.h"
#include "lib/policy/take.h"

static int refuse(struct weir_walk *w, const struct weir_node *n, const char *message, const char *hint)
{
	struct weir_diag *d = weir_node_error(w->diags, n, "%s", message);

	if (hint)
		weir_diag_hint(d, "%s", hint);
	return -EINVAL;
}

/* `any` stands alone: beside it nothing else would count. */
static int check_any(struct weir_walk *w, const struct weir_p_cond *c)
{
	const struct weir_values *lists[] = { &c->from, &c->to, &c->peer }, *ports[] = { &c->ports, &c->source_ports };

	for (size_t i = 0; i < 3; i++) {
		const struct weir_p_addr *a = lists[i]->v;

		for (uint32_t k = 0; k < lists[i]->n && lists[i]->n > 1; k++)
			if (a[k].any)
				return refuse(w, a[k].node, "'any' beside other addresses",
					      "write 'any' alone, or leave it out");
	}
	for (size_t i = 0; i < 2; i++) {
		const struct weir_p_ports *p = ports[i]->v;

		for (uint32_t k = 0; k < ports[i]->n && ports[i]->n > 1; k++)
			if (!p[k].lo)
				return refuse(w, ports[i]->node, "'any' beside other ports", "write 'any' alone");
	}
	return 0;
}

int weir_done_cond(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_p_cond *c = dst;

	c->node = n;
	if (!n->n)
		return refuse(w, n, "no condition stands here", "take the key away, or name a condition");
	return check_any(w, c);
}

int weir_done_rule(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_p_rule *r = dst;

	r->node = r->pos.node = n;
	if (++w->rules == WEIR_RULES_MAX + 1) {
		weir_diag_hint(weir_node_error(w->diags, n, "more than %u rules, groups and includes counted through",
					       WEIR_RULES_MAX),
			       "many addresses or ports fit into one rule: use lists and sets");
		return -EINVAL;
	}
	if (r->ban && r->action != WEIR_ACT_BAN + 1)
		return refuse(w, weir_node_get(n, "ban"), "'ban' without 'action: ban'",
			      "a rule of its own before this one bans, and goes on to it");
	if ((r->max_duration || r->idle || r->max_bytes) && r->action != WEIR_ACT_ALLOW + 1)
		return refuse(w, weir_node_get(n, r->max_duration ? "max_duration" : r->idle ? "idle" : "max_bytes"),
			      "a bound on a rule that does not allow",
			      "write it on the rules that let these connections in");
	if (r->limit && r->action != WEIR_ACT_ALLOW + 1)
		return refuse(w, weir_node_get(n, "limit"), "a limit on a rule that does not allow",
			      "write it on the rules that let these connections in");
	return check_any(w, &r->pos);
}

int weir_done_group(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_p_group *g = dst;

	g->node = n;
	if (!g->rules.node && !g->otherwise.node)
		return refuse(w, n, "a group without 'rules' and without 'otherwise'", NULL);
	return 0;
}

static const char *const builtin[] = { "lo", "arp", "nd", "dhcp", "icmp-errors", "multicast-replies", "sshd", NULL };

int weir_done_failsafe(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	const struct weir_node *remove = weir_node_get(n, "remove");
	struct weir_p_rule *r = dst;
	bool known = false;

	r->node = r->pos.node = n;
	for (const char *const *b = builtin; *b; b++)
		known |= !strcmp(*b, r->name);
	if (!remove) {
		if (known)
			return refuse(w, n, "a built-in failsafe entry has this name",
				      "choose another name; 'remove: true' takes the built-in one away");
		if (n->n < 2)
			return refuse(w, n, "a failsafe entry without a condition would let everything by",
				      "name a direction, a port and addresses");
		if (r->pos.time.n)
			return refuse(w, weir_node_get(n, "time"), "a failsafe entry holds at any time",
				      "write a rule with this time");
		return check_any(w, &r->pos);
	}
	if (!r->remove)
		return refuse(w, remove, "'remove' can only be true", "take the entry away");
	if (n->n > 2)
		return refuse(w, n, "an entry that removes a built-in one takes no conditions", NULL);
	if (!known) {
		const char *meant = weir_did_you_mean(r->name, builtin);
		struct weir_diag *d = weir_node_error(w->diags, n,
						      "no built-in failsafe entry has the name '%s' (lo, arp, "
						      "nd, dhcp, icmp-errors, multicast-replies, sshd)",
						      r->name);

		if (meant)
			weir_diag_hint(d, "did you mean '%s'?", meant);
		return -EINVAL;
	}
	return 0;
}

int weir_done_set(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_p_set *s = dst;

	s->node = n;
	if (!s->addresses.node && !s->file)
		return refuse(w, n, "a set without 'addresses'", "write addresses: [10.1.0.0/16]");
	return 0;
}

int weir_done_doc(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	((struct weir_p_doc *)dst)->node = n;
	return 0;
}
