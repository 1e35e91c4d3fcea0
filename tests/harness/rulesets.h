/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of boxes for tests and measurements, and packets for them. Everything comes from a seed: the same name, size
 * and seed give the same set everywhere.
 */
#pragma once
#include <stddef.h>

#include "lib/policy/tree.h"

enum weir_set_kind {
	WEIR_SET_ACL,    /* narrow destinations, one port, few wide rules; in all three networks stand close together */
	WEIR_SET_FW,     /* many wide addresses and port ranges */
	WEIR_SET_IPC,    /* between: pairs of prefixes of many lengths */
	WEIR_SET_WIDE,   /* adversarial: wide ranges that overlap everywhere */
	WEIR_SET_NESTED, /* prefixes within prefixes, from /0 on */
	WEIR_SET_SAME,   /* few different boxes, many times each */
	WEIR_SET_PORTS,  /* any address, port ranges only */
	WEIR_SET_CB_ACL, /* as ClassBench makes them of its seeds: tests/harness/classbench.h */
	WEIR_SET_CB_FW,
	WEIR_SET_CB_IPC,
	WEIR_SET_KINDS,
};
extern const char *const weir_set_names[WEIR_SET_KINDS];

enum weir_trace_kind { WEIR_TRACE_MATCH, WEIR_TRACE_MIXED, WEIR_TRACE_RANDOM, WEIR_TRACE_KINDS };
extern const char *const weir_trace_names[WEIR_TRACE_KINDS];

struct weir_set {
	struct weir_box *v;
	size_t n;
};

/* Both 0, or -ENOMEM; the file: -errno, -EINVAL when it holds no rule. family: 4, 6, or 0 = both. */
int weir_set_make(struct weir_set *s, enum weir_set_kind kind, uint8_t family, size_t n, uint64_t seed);
int weir_set_read(struct weir_set *s, const char *path); /* ClassBench */
void weir_set_free(struct weir_set *s);

/* A packet of this kind, as a key of the walk. */
void weir_trace_key(const struct weir_set *s, enum weir_trace_kind kind, uint64_t *seed, struct weir_tree_key *k);
/* Does the box hold it? By numbers, not by the code under test. */
bool weir_box_holds(const struct weir_box *b, const struct weir_tree_key *k);

/* All boxes a packet is in, by looking at them one by one, but only at those that the first bits of its addresses allow. */
struct weir_oracle;
struct weir_oracle *weir_oracle_new(const struct weir_set *s); /* NULL: no memory */
void weir_oracle_free(struct weir_oracle *o);
/* Their rules, ascending, as far as there is room; how many. The set's rules must ascend. */
uint32_t weir_oracle_find(const struct weir_oracle *o, const struct weir_tree_key *k, uint32_t *rules, uint32_t max);
