/* SPDX-License-Identifier: Apache-2.0 */
/* What can be checked only when all files are read: names, sets, and whether each rule makes sense with its group. */
#include <errno.h>
#include <string.h>

#include "lib/policy/flat.h"
#include "lib/policy/model.h"

struct weir_p_set *weir_policy_set(const struct weir_policy *p, const char *name)
{
	return weir_dict_find(&p->set_names, name);
}

static int check_sets(struct weir_policy *p, struct weir_diags *diags)
{
	int err = weir_dict_init(&p->arena, &p->set_names, p->n_sets);

	for (size_t i = 0; i < p->n_sets && err != -ENOMEM; i++) {
		const struct weir_p_set *s = p->sets[i], *first = weir_dict_put(&p->set_names, s->name, p->sets[i]);

		if (!first)
			continue;
		weir_node_error(diags, s->node->key, "the set '%s' stands in %s:%u too", s->name,
				first->node->source->name, first->node->line);
		err = -EINVAL;
	}
	return err;
}

static int check_rule_names(struct weir_policy *p, struct weir_diags *diags)
{
	int err = weir_dict_init(&p->arena, &p->rule_names, p->n_rules);

	for (size_t i = 0; i < p->n_rules && err != -ENOMEM && diags->errors <= WEIR_DIAGS_MAX; i++) {
		struct weir_p_rule *r = p->rules[i], *first;

		first = weir_rule_unnamed(r->name) ? NULL : weir_dict_put(&p->rule_names, r->name, r);
		if (!first)
			continue;
		weir_diag_hint(weir_node_error(diags, weir_node_get(r->node, "name") ?: r->node,
					       "the name '%s' is taken by the rule at %s", r->name, first->place),
			       "names of rules are unique");
		err = -EINVAL;
	}
	return err;
}

/* Few of each: a failsafe has 64 entries at most. */
static int check_other_names(struct weir_policy *p, struct weir_diags *diags)
{
	const struct weir_p_rule *fs = p->doc.failsafe.v;
	const struct weir_p_limit *limits = p->doc.limits.v;
	int err = 0;

	for (uint32_t i = 0; i < p->doc.limits.n; i++)
		for (uint32_t k = 0; k < i; k++)
			if (!strcmp(limits[i].name, limits[k].name)) {
				weir_node_error(diags, limits[i].node, "two limits have the name '%s'", limits[i].name);
				err = -EINVAL;
			}
	for (uint32_t i = 0; i < p->doc.failsafe.n; i++) {
		for (uint32_t k = 0; k < i; k++) {
			if (strcmp(fs[i].name, fs[k].name))
				continue;
			weir_node_error(diags, fs[i].node, "two failsafe entries have the name '%s'", fs[i].name);
			err = -EINVAL;
		}
	}
	return err;
}

/* The rules' own lists, put together, may take this much: the compiler needs all of them at once. */
#define LISTS_MAX ((size_t)1 << 30)

static int check_room(const struct weir_p_rule *r, size_t used, struct weir_diags *diags)
{
	if (used <= LISTS_MAX)
		return 0;
	weir_diag_hint(weir_node_error(diags, r->node, "up to here the rules spell out more than %zu million ranges",
				       LISTS_MAX / sizeof(struct weir_range) / 1000000),
		       "give the addresses that several rules share one $set");
	return -E2BIG;
}

/* Each counts what it stops: a set that is two of them would be counted under one name twice. */
static int check_twice(const struct weir_policy *p, struct weir_diags *diags)
{
	const struct weir_p_addr *b = p->doc.blocklists.v;
	int err = 0;

	for (uint32_t i = 0; i < p->doc.blocklists.n; i++)
		for (uint32_t k = 0; k < i; k++)
			if (!strcmp(b[i].set, b[k].set)) {
				weir_diag_hint(weir_node_error(diags, b[i].node, "'$%s' stands in 'blocklists' twice", b[i].set),
					       "take one of them away");
				err = -EINVAL;
				break;
			}
	return err;
}

static int check_excepted(const struct weir_flat_context *c, const struct weir_policy *p)
{
	const struct weir_p_addr *e = p->doc.blocklist_except.v;
	int err = 0;

	for (uint32_t i = 0; i < p->doc.blocklist_except.n; i++) {
		if (e[i].any) {
			weir_diag_hint(weir_node_error(c->diags, e[i].node, "'any' would except every address"),
				       "take 'blocklists' away");
			err = -EINVAL;
		} else if (e[i].set && !weir_set_find(c, &e[i])) {
			err = -EINVAL;
		}
	}
	return err;
}

static int check_rules(struct weir_policy *p, struct weir_diags *diags)
{
	struct weir_p_rule *fs = p->doc.failsafe.v;
	const struct weir_p_addr *b = p->doc.blocklists.v;
	struct weir_arena scratch = { .limit = p->arena.limit }, groups = { .limit = p->arena.limit };
	struct weir_flat_when when = { .arena = &groups };
	struct weir_flat_context c = { .policy = p, .arena = &scratch, .diags = diags, .written = true, .when = &when };
	struct weir_flat_rule flat;
	size_t large = 0;
	int err = 0;

	for (size_t i = 0; i < p->n_rules && err != -E2BIG && err != -ENOMEM && diags->errors <= WEIR_DIAGS_MAX; i++) {
		int r = weir_rule_flatten(&c, p->rules[i], &flat);

		err = r < 0 && err != -ENOMEM ? r : err;
		large += weir_arena_reset(&scratch);
		if (check_room(p->rules[i], large, diags) < 0)
			err = -E2BIG;
	}
	for (uint32_t i = 0; i < p->doc.failsafe.n; i++)
		if (!fs[i].remove && weir_rule_flatten(&c, &fs[i], &flat) < 0)
			err = err < 0 ? err : -EINVAL;
	for (uint32_t i = 0; i < p->doc.blocklists.n; i++)
		if (!weir_set_find(&c, &b[i]))
			err = err < 0 ? err : -EINVAL;
	if (check_twice(p, diags) < 0 || check_excepted(&c, p) < 0)
		err = err < 0 ? err : -EINVAL;
	weir_arena_free(&scratch);
	weir_arena_free(&groups);
	return err;
}

static void check_lo(const struct weir_policy *p, struct weir_diags *diags)
{
	const char *name;
	const struct weir_p_rule *r = weir_rule_naming_lo(p, &name);

	if (r)
		weir_diag_hint(weir_node_warn(diags, weir_node_get(r->node, name) ?: r->node,
					      "rule '%s' names lo: the failsafe entry 'lo' is removed by that",
					      r->name),
			       "everything on lo is judged by the rules now");
}

int weir_policy_check(struct weir_policy *p, struct weir_diags *diags)
{
	int sets = check_sets(p, diags), names = check_rule_names(p, diags), others = check_other_names(p, diags);

	int rules;

	if (sets == -ENOMEM || names == -ENOMEM)
		return -ENOMEM;
	rules = check_rules(p, diags);
	if (rules == -ENOMEM)
		return -ENOMEM;
	if (rules < 0 || sets < 0 || names < 0 || others < 0)
		return -EINVAL;
	check_lo(p, diags);
	return 0;
}
