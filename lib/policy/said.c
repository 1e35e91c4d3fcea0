/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a rule without a name is known by from one text of the policy to the next: what is written, wherever it stands. Its
 * line would hand its counts and its buckets to the next one when a line comes before it.
 */
#include <string.h>

#include "lib/policy/flat.h"
#include "lib/policy/model.h"

/* FNV-1a, with the NUL: "a", "bc" is not "ab", "c". */
static uint64_t add_text(uint64_t h, const char *s)
{
	do
		h = (h ^ (uint8_t)*s) * 0x100000001b3ull;
	while (*s++);
	return h;
}

/* The reader bounds how deep it goes. */
static uint64_t add_node(uint64_t h, const struct weir_node *n)
{
	h = (h ^ n->kind) * 0x100000001b3ull;
	if (n->kind == WEIR_SCALAR)
		return add_text(h, n->text);
	for (const struct weir_node *c = n->child; c; c = c->next) {
		if (n->kind == WEIR_MAP)
			h = add_text(h, c->key->text);
		h = add_node(h, c);
	}
	return (h ^ n->n) * 0x100000001b3ull;
}

uint64_t weir_rule_said(const struct weir_p_rule *r)
{
	const struct weir_node *when = r->group ? weir_node_get(r->group->node, "when") : NULL;
	uint64_t h = 0xcbf29ce484222325ull;

	if (r->overlay_id || !r->node || !r->name || !weir_rule_unnamed(r->name))
		return 0;
	h = add_node(h, r->node);
	if (r->group && r->group->name)
		h = add_text(h, r->group->name);
	if (when)
		h = add_node(h, when);
	return h ? h : 1;
}

uint64_t weir_policy_said(const struct weir_policy *p, const char *name, size_t *at)
{
	if (!p || !weir_rule_unnamed(name))
		return 0;
	for (size_t i = 0; i < p->n_rules; i++) {
		size_t k = (*at + i) % p->n_rules;

		if (!strcmp(p->rules[k]->name, name)) {
			*at = k;
			return weir_rule_said(p->rules[k]);
		}
	}
	return 0;
}
