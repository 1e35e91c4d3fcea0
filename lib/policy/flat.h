/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rule by itself: the conditions of its group added, sets put in their place, implied protocols made
 * plain, contradictions refused. What the compiler and the checks work on.
 */
#pragma once
#include "lib/policy/model.h"

struct weir_flat_cond {
	uint32_t set; /* WEIR_C_* */
	struct weir_ranges from, to, peer, ports, sports;
	uint64_t protos[4];
	uint8_t dirs;
	struct weir_icmp_match *icmp;
	uint32_t n_icmp;
	struct weir_values any_if, in_if, out_if, vlan, mac, time;
	uint32_t mark, mark_mask;
};

struct weir_flat_rule {
	const struct weir_p_rule *rule;
	struct weir_flat_cond pos, neg;
	bool has_neg;
};

/* What the `when` of a group says, kept for the next rule of the group: it may name many addresses. */
struct weir_flat_when {
	struct weir_arena *arena; /* what the flat rules point into, so it lives as long as they */
	const struct weir_p_group *group;
	struct weir_flat_cond cond;
	int err; /* told already */
};

struct weir_flat_context {
	const struct weir_policy *policy;
	struct weir_arena *arena;
	struct weir_diags *diags;
	const struct weir_ranges *sets; /* beside policy->sets, edited; NULL: as they were read */
	bool written;			/* the sets are as the file spells them: what contradicts them is a mistake */
	struct weir_flat_when *when;	/* NULL: each rule reads its group anew */
};

/* -EINVAL (told) when the rule makes no sense, -ENOMEM. */
int weir_rule_flatten(const struct weir_flat_context *c, const struct weir_p_rule *r, struct weir_flat_rule *ret);

/*
 * Which sets rules name is noted while rules are read. What is only tried must leave no note: keep before, give back after.
 * keep: NULL, out of memory. back takes it.
 */
bool *weir_ruled_keep(const struct weir_policy *p);
void weir_ruled_back(const struct weir_policy *p, bool *kept);

/* The ranges of a `$set`; unknown: told, NULL. */
const struct weir_ranges *weir_set_find(const struct weir_flat_context *c, const struct weir_p_addr *a);

/* The key of a rule, or of its group, that names the interface lo itself; NULL: none does. */
const char *weir_rule_names_lo(const struct weir_p_rule *r);
/* The first rule that does, and the key. */
const struct weir_p_rule *weir_rule_naming_lo(const struct weir_policy *p, const char **ret_key);

/* Is this one of the names that weir gives ("rule at policy.yaml:12")? */
bool weir_rule_unnamed(const char *name);
