/* SPDX-License-Identifier: Apache-2.0 */
/* A policy as it was read: what the walker fills, and what read.c makes of it (groups flattened, names known). */
#pragma once
#include "lib/policy/policy.h"
#include "lib/policy/ranges.h"
#include "lib/policy/spec.h"
#include "lib/policy/value.h"
#include "lib/util/dict.h"

struct weir_p_addr { /* one entry of an address list: a range, a set, or any */
	const struct weir_node *node;
	const char *set; /* without the $ */
	struct weir_range range;
	bool any;
};

struct weir_p_ports {
	uint16_t lo, hi; /* any: 0, 65535 */
};

struct weir_p_icmp {
	struct weir_icmp_match m[2]; /* family 0: unused */
};

struct weir_p_mark {
	uint32_t value, mask;
	bool set;
};

struct weir_p_cond {
	const struct weir_node *node;
	struct weir_values direction;				   /* uint8_t WEIR_DIR_* */
	struct weir_values from, to, peer;			   /* struct weir_p_addr */
	struct weir_values ports, source_ports;			   /* struct weir_p_ports */
	struct weir_values protocol;				   /* uint8_t */
	struct weir_values icmp, icmpv6;			   /* struct weir_p_icmp */
	struct weir_values interface, in_interface, out_interface; /* const char * */
	struct weir_values vlan;				   /* uint32_t */
	struct weir_values mac;					   /* uint64_t */
	struct weir_p_mark mark;
	struct weir_values time; /* struct weir_window */
};

/* Modes and actions are kept + 1: 0 = the key is absent. */
struct weir_p_rule {
	const struct weir_node *node;
	const char *name;
	uint8_t action, mode;
	bool log, remove;
	uint32_t max_duration, idle, ban; /* seconds, 0: absent */
	uint64_t max_bytes;
	struct weir_p_limit *limit; /* NULL: none */
	struct weir_p_cond pos, *neg; /* NULL: no `not` */
	/* filled when the groups are flattened */
	const struct weir_p_group *group;
	const char *place; /* "policy.yaml:26" */
	uint32_t overlay_id;
};

struct weir_p_group {
	const struct weir_node *node;
	const char *name;
	uint8_t mode;
	struct weir_p_cond when;
	struct weir_values rules; /* struct weir_p_rule */
	struct weir_p_rule otherwise;
};

struct weir_p_entry { /* of rules: a group, or else the rule */
	struct weir_p_rule rule;
	struct weir_p_group *group;
};

struct weir_p_fixed { /* action stands first: a word alone lands there */
	uint8_t action, mode;
	bool log;
};

struct weir_p_defaults {
	struct weir_p_fixed all, in, out, fwd;
};

struct weir_p_set {
	const char *name;
	const struct weir_node *node;
	struct weir_values addresses; /* struct weir_p_addr */
	const char *file, *path; /* as it is named; as it was opened */
	uint64_t mark;             /* of the file as it was read */
	uint8_t sha[32];	   /* of its text */
	const char *stale;	   /* why not the file but its copy was taken; NULL: the file was */
	struct weir_ranges ranges; /* normal form, the lines of the file included */
	uint32_t number;	   /* in weir_policy.sets */
	bool used, ruled; /* named anywhere; by something else than a blocklist */
};

struct weir_p_interface {
	const char *name;
	uint8_t xdp;
};

struct weir_p_failures {
	uint8_t choice[WEIR_FAILURE_COUNT]; /* by enum weir_failure, kept + 1 */
	uint32_t daemon_after;
};

#define WEIR_BAN_S 3600 /* what a rule or a limit bans for, if it does not say */

struct weir_p_rate {
	uint64_t n;
	uint32_t seconds;
};

struct weir_p_limit {
	const struct weir_node *node;
	const char *name;
	uint8_t per, count, action, mode; /* kept + 1 */
	struct weir_p_rate rate;
	uint64_t burst;
	uint32_t ban;	 /* seconds, 0: absent */
	uint32_t v4, v6; /* prefix lengths, 0: absent */
	uint64_t said;	 /* of a rule without a name: what it is known by; 0: the name */
	bool log;
};

struct weir_p_doc {
	const struct weir_node *node;
	uint32_t version;
	uint8_t mode;
	struct weir_p_defaults defaults;
	struct weir_values failsafe; /* struct weir_p_rule */
	struct weir_p_fixed on_error, malformed, fragments, unknown_l2;
	uint32_t idle, adopt_window;
	uint8_t established, recheck_unknown, unparsable, xdp;
	struct weir_p_failures failures;
	struct weir_values interfaces; /* struct weir_p_interface */
	struct weir_values include;    /* const char * */
	struct weir_values sets;       /* struct weir_p_set */
	struct weir_values blocklists; /* struct weir_p_addr, sets only */
	struct weir_values blocklist_except; /* struct weir_p_addr */
	struct weir_values rules;      /* struct weir_p_entry */
	struct weir_values limits;     /* struct weir_p_limit */
	uint32_t memory_mb;            /* performance.max_memory_mb; 0: absent */
};

struct weir_policy {
	struct weir_arena arena;
	char *path, *dir;
	bool bare; /* without the files of addresses */
	const struct weir_list_keep *keep; /* the copies of these, while a start reads them; NULL: none is taken */
	const struct weir_source *main;
	struct weir_source **sources; /* main, then what it includes */
	size_t n_sources;
	const struct weir_policy *old; /* while it is read: what it is the same text as; NULL: its files are read */
	const char *const *held; /* likewise: as in weir_policy_again */
	uint8_t digest[32];
	uint8_t lists[32]; /* of the address files of the sets, in the order of the sets; zero: none */
	struct weir_p_doc doc;
	struct weir_p_rule **rules; /* of the file and its includes, in order */
	size_t n_rules;
	struct weir_p_set **sets;
	size_t n_sets;
	struct weir_dict rule_names, set_names; /* struct weir_p_rule, struct weir_p_set */
};

/* See weir_policy_said. 0: it has a name, or was added. */
uint64_t weir_rule_said(const struct weir_p_rule *r);

#define WEIR_SET_LINES_MAX 4000000u

struct weir_p_set *weir_policy_set(const struct weir_policy *p, const char *name);

/* When all is read: are the names unique, does each rule make sense? */
int weir_policy_check(struct weir_policy *p, struct weir_diags *diags);

/* Read the addresses of a set, from the policy and from its file. */
bool weir_set_blocks(const struct weir_policy *p, const struct weir_p_set *s); /* is it one of the blocklists? */
/* All of a family: what no blocklist may hold; `why` says so. */
bool weir_range_everybody(const struct weir_range *r, struct weir_why *why);
int weir_set_load(struct weir_policy *p, struct weir_p_set *s, struct weir_diags *diags);

/* The copy of its file. -ENOENT: none is kept; -EBADMSG: it is damaged; then the ranges are as they were. *ret_mark: of
 * the file that it was made of. */
int weir_list_kept(struct weir_policy *p, struct weir_p_set *s, uint64_t *ret_mark);

/* A path of the policy, seen from its folder; and why a file cannot be read. */
char *weir_policy_beside(struct weir_arena *a, const char *dir, const char *path);
const char *weir_policy_file_trouble(int err, const char *most);

/* Parse one rule from JSON text. *ret lives in the arena. */
int weir_rule_read(struct weir_arena *a, const struct weir_policy *p, const char *json, struct weir_p_rule **ret,
		   struct weir_diags *diags);
