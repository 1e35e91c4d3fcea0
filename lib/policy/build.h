/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy on its way into an image: numbered lists, rules in evaluation order, and beside each rule the
 * source that it came from. Shared by the compiler and by lint, which asks the same questions.
 */
#pragma once
#include "lib/policy/blocklist.h"
#include "lib/policy/flat.h"

/* Entries by their hash: open addressing, entry + 1, at most half full. */
struct weir_by_hash {
	uint32_t *slots;
	uint64_t *hash; /* of each entry */
	uint32_t n_slots, n;
};

struct weir_lists {
	struct weir_ranges v[WEIR_LISTS_MAX];
	const char *names[WEIR_LISTS_MAX]; /* "$office", or "" */
	struct weir_by_hash index;
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
	struct weir_flat_when when; /* of the group whose rules are compiled */
	struct weir_lists addrs, ports;
	struct weir_space addr_space, port_space;
	char ifpats[WEIR_IFPAT_MAX][16];
	uint32_t n_ifpats;
	struct weir_rule *rules, failsafe[WEIR_FAILSAFE_MAX];
	const struct weir_p_rule **source; /* of each rule */
	uint32_t n_rules, room_rules, n_failsafe;
	struct weir_cond *negs; /* negated groups */
	uint32_t n_negs, room_negs;
	struct weir_span *spans;
	uint32_t room_spans;
	struct weir_by_hash span_index; /* its n: how many spans */
	struct weir_times times[WEIR_TIMES_MAX];
	uint32_t n_times;
	struct weir_limit limits[WEIR_LIMITS_MAX];
	uint32_t n_limits;
	struct weir_p_limit *rule_limits[WEIR_LIMITS_MAX]; /* of rules, behind those of the policy */
	uint32_t n_rule_limits;
	struct weir_blocklist block;
	struct weir_list_info *block_sets;
	uint32_t n_block_sets;
	char *strings;
	size_t n_strings, room_strings;
	struct weir_config config;
};

/* Everything but the blob. Free with weir_build_free in any case. */
int weir_build_make(struct weir_build *b);
void weir_build_free(struct weir_build *b);
/* One rule of the overlay and what it refers to, and nothing else. */
int weir_build_alone(struct weir_build *b, const struct weir_overlay_rule *o);

/* Cut the numbers at every end of a list, and at `forced` (ascending, the first is 0). */
int weir_space_make(struct weir_arena *a, const struct weir_ranges *lists, uint32_t n_lists, const weir_u128 *forced,
		    size_t n_forced, struct weir_space *ret);

/* The built-in failsafe entries, then the policy's own. failsafe.c */
int weir_build_failsafe(struct weir_build *b);

/* What the blocklists hold and is not excepted. sets.c */
int weir_build_blocklists(struct weir_build *b);
/*
 * A set with its edits, or what of it lies within a window, which is in normal form; NULL: all. The ranges of the set itself
 * may be shared. -EINVAL: `why` says what is wrong with an edit.
 */
int weir_set_now(struct weir_arena *a, const struct weir_p_set *s, const struct weir_overlay *o,
		 const struct weir_ranges *window, struct weir_ranges *ret, struct weir_why *why);

/* The policy's limits. limits.c */
int weir_build_limits(struct weir_build *b);
/* The limit of a rule gets its number + 1, 0: it has none. Before weir_build_limits. */
int weir_build_rule_limit(struct weir_build *b, const struct weir_p_rule *r, uint8_t mode, uint32_t *ret);
int weir_limits_lint(const struct weir_build *b); /* returns how many findings */

/* How a condition refers to addresses (a list or a span) and to ports. `name` of a list must live as long as b. lists.c */
int weir_build_list(struct weir_build *b, const struct weir_ranges *r, const char *name, uint16_t *ret);
int weir_build_addrs(struct weir_build *b, const struct weir_ranges *r, uint32_t *ret);
int weir_build_ports(struct weir_build *b, const struct weir_ranges *r, struct weir_ports *ret);

/* Told and refused when the image does not fit into the memory that the policy may take. memory.c */
int weir_memory_check(struct weir_build *b, const struct weir_image_header *h);

/* From compile.c, for failsafe.c: a string; a rule, which may become several, among the rules or the failsafe. */
int weir_build_string(struct weir_build *b, const char *s, uint32_t *ret);
enum weir_build_to { WEIR_TO_RULES, WEIR_TO_FAILSAFE };
int weir_build_rule(struct weir_build *b, const struct weir_flat_rule *f, enum weir_build_to to,
		    const struct weir_rule *model);
int weir_build_tell(struct weir_build *b, const char *hint, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
