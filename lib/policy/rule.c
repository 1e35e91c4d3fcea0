/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that do not come from a file: the overlay's, kept as JSON objects in the language of the policy. */
#include <errno.h>
#include <string.h>

#include "lib/policy/flat.h"
#include "lib/policy/take.h"

int weir_rule_read(struct weir_arena *a, const struct weir_policy *p, const char *json, struct weir_p_rule **ret,
		   struct weir_diags *diags)
{
	struct weir_walk w = { .arena = a, .diags = diags, .policy = p };
	struct weir_source *s = weir_arena_alloc(a, sizeof *s);
	struct weir_p_rule *r = weir_arena_alloc(a, sizeof *r);
	struct weir_node *root;
	int err;

	if (!s || !r)
		return -ENOMEM;
	s->len = strlen(json);
	s->text = weir_arena_text(a, json, s->len); /* nodes and messages point into it */
	if (!s->text)
		return -ENOMEM;
	err = weir_yaml_read(a, s, &root, diags);
	if (!err)
		err = weir_walk(&w, &weir_type_rule, root, r);
	if (err < 0)
		return err;
	*ret = r;
	return 0;
}

/*
 * What is on lo passes by the failsafe, and no program is there, unless the file says otherwise. A rule that is added
 * does not say it: from one command to the next all of lo would be judged by the default.
 */
static int check_lo(const struct weir_policy *p, const struct weir_p_rule *r, struct weir_diags *diags)
{
	const char *removed[WEIR_FAILSAFE_MAX], *key = weir_rule_names_lo(r);
	size_t n = weir_policy_failsafe_removed(p, removed, WEIR_FAILSAFE_MAX);

	for (size_t i = 0; i < n && i < WEIR_FAILSAFE_MAX && key; i++)
		if (!strcmp(removed[i], "lo"))
			key = NULL;
	if (!key || weir_rule_naming_lo(p, NULL))
		return 0;
	weir_diag_hint(weir_diags_add(diags, WEIR_ERROR, NULL, 0, 0, 1,
				      "%s: everything on lo passes by the failsafe, whatever an added rule says", key),
		       "write the rule into the policy file: that takes the entry 'lo' away");
	return -EINVAL;
}

int weir_policy_check_rule(const struct weir_policy *p, const char *json, struct weir_diags *diags)
{
	struct weir_arena a = { .limit = 16 << 20 };
	struct weir_flat_context c = { .policy = p, .arena = &a, .diags = diags };
	struct weir_flat_rule flat;
	struct weir_p_rule *r;
	const struct weir_p_rule *other = NULL;
	bool *ruled = weir_ruled_keep(p);
	int err = ruled ? weir_rule_read(&a, p, json, &r, diags) : -ENOMEM;

	if (!err)
		err = weir_rule_flatten(&c, r, &flat);
	if (!err)
		err = check_lo(p, r, diags);
	if (!err && r->name)
		other = weir_dict_find(&p->rule_names, r->name);
	if (other) {
		weir_diag_hint(weir_diags_add(diags, WEIR_ERROR, NULL, 0, 0, 1, "name: '%s' is taken by the rule at %s",
					      r->name, other->place),
			       "names of rules are unique");
		err = -EINVAL;
	}
	if (ruled)
		weir_ruled_back(p, ruled);
	weir_arena_free(&a);
	return err;
}
