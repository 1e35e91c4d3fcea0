/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rule that comes or goes while the programs run: core/late.h. What comes is written into a place that no program
 * looks at before one store says that it is there; of what goes, one byte changes, in its head and in itself.
 */
#include "lib/kern/internal.h"

static int put(const struct weir_kern *k, const char *map, uint32_t at, const void *value)
{
	return bpf_map_update_elem(weir_gen_map_fd(&k->gen, map), &at, value, BPF_ANY) ? -errno : 0;
}

/* A rule and its head. No packet sees the one without the other: see weir_late_used, and weir_boxed_candidate. */
static int put_rule(const struct weir_kern *k, uint32_t at, const struct weir_rule *rule)
{
	uint32_t line = at / WEIR_HEADS;
	struct weir_heads heads;
	int r;

	if (bpf_map_lookup_elem(weir_gen_map_fd(&k->gen, "weir_heads"), &line, &heads))
		return -errno;
	heads.v[at % WEIR_HEADS] = rule->head;
	r = put(k, "weir_heads", line, &heads);
	return r ? r : put(k, "weir_rules", at, rule);
}

static int comes(const struct weir_kern *k, const struct weir_late *l)
{
	const struct weir_config *c = &k->gen.cfg;
	int r = 0;

	for (uint32_t i = 0; i < WEIR_LATE_SPANS && !r; i++)
		r = put(k, "weir_spans", weir_late_span(c, l->add) + i, &l->spans[i]);
	r = r ? r : put(k, "weir_negs", weir_late_neg(c, l->add), &l->neg);
	r = r ? r : put_rule(k, l->add, &l->rule);
	if (!r)
		__atomic_store_n(weir_gen_late(&k->gen), l->add - c->late + 1, __ATOMIC_RELEASE);
	return r;
}

static int goes(const struct weir_kern *k, uint32_t at)
{
	struct weir_rule rule;

	if (bpf_map_lookup_elem(weir_gen_map_fd(&k->gen, "weir_rules"), &at, &rule))
		return -errno;
	rule.flags |= WEIR_RF_GONE;
	return put_rule(k, at, &rule);
}

int weir_kern_late(struct weir_kern *k, const struct weir_late *l)
{
	int r;

	if (k->pending || !k->gen.skel)
		return -EBUSY;
	if (!weir_late_ok(&k->gen.cfg, *weir_gen_late(&k->gen), l))
		return -ESTALE;
	r = l->gone == WEIR_RULE_NONE ? comes(k, l) : goes(k, l->gone);
	if (!r)
		weir_kern_edited(k);
	return r;
}
