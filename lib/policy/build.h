/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy on its way into an image: numbered lists, rules in evaluation order, and beside each rule the
 * source that it came from. Shared by the compiler and by lint, which asks the same questions.
 */
#pragma once
#include "lib/policy/flat.h"

struct weir_lists {
	struct weir_ranges v[WEIR_LISTS_MAX];
	const char *names[WEIR_LISTS_MAX]; /* "$office", or "" */
	uint64_t hash[WEIR_LISTS_MAX];
	uint32_t n;
};

/* Where each list begins and ends, and which lists hold each piece. */
struct weir_space {
	weir_u128 *at;	    /* pieces, ascending; each reaches to the next */
	uint32_t *class_id; /* of each piece */
	size_t n;
	uint64_t *rows; /* n_rows * words; row 0 is all zero */
	uint32_t n_rows, words;
};

struct weir_build {
	const struct weir_policy *policy;
	const struct weir_compile_options *options;
	struct weir_diags *diags;
	struct weir_arena arena;
	struct weir_ranges *sets; /* beside policy->sets, edits applied */
	struct weir_lists addrs, ports;
	struct weir_space addr_space, port_space;
	char ifpats[WEIR_IFPAT_MAX][16];
	uint32_t n_ifpats;
	struct weir_rule rules[WEIR_RULES_MAX], failsafe[WEIR_FAILSAFE_MAX];
	const struct weir_p_rule *source[WEIR_RULES_MAX]; /* of each rule */
	uint32_t n_rules, n_failsafe;
	struct weir_limit limits[WEIR_LIMITS_MAX];
	uint32_t n_limits;
	char *strings;
	size_t n_strings, room_strings;
	struct weir_config config;
};

/* Everything but the blob. Free with weir_build_free in any case. */
int weir_build_make(struct weir_build *b);
void weir_build_free(struct weir_build *b);

/* Cut the numbers at every end of a list, and at `forced` (ascending, the first is 0). */
int weir_space_make(struct weir_arena *a, const struct weir_ranges *lists, uint32_t n_lists, const weir_u128 *forced,
		    size_t n_forced, struct weir_space *ret);

/* The built-in failsafe entries, then the policy's own. failsafe.c */
int weir_build_failsafe(struct weir_build *b);

/* The policy's limits. limits.c */
int weir_build_limits(struct weir_build *b);
int weir_limits_lint(const struct weir_build *b); /* returns how many findings */

/* From compile.c, for failsafe.c: the number of a list, a string, one rule. */
int weir_build_addrs(struct weir_build *b, const struct weir_ranges *r, uint16_t *ret);
int weir_build_ports(struct weir_build *b, const struct weir_ranges *r, uint16_t *ret);
int weir_build_string(struct weir_build *b, const char *s, uint32_t *ret);
int weir_build_rule(struct weir_build *b, const struct weir_flat_rule *f, struct weir_rule *to, uint32_t *n,
		    uint32_t max, const struct weir_p_rule **source, const struct weir_rule *model);
int weir_build_tell(struct weir_build *b, const char *hint, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
