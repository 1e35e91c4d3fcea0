/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules as ClassBench (Taylor and Turner, INFOCOM 2005) makes them of its seeds acl1, fw1 and ipc1: lengths of prefixes in
 * pairs, classes of ports in pairs, how often which protocol, and addresses that are far apart, as its db_generator leaves
 * them in sets of 100,000. Shares are those of such sets, rounded; a seed of our own shifts each by up to a half.
 */
#pragma once
#include "tests/harness/rulesets.h"

/* Family and directions of the box are set, all else is drawn. `set`: the same for all rules of a set of `n`. */
void weir_classbench_box(uint64_t *seed, enum weir_set_kind kind, uint64_t set, size_t n, struct weir_box *b);
/* The longer the prefixes the earlier the rule: what is wide comes behind what lies in it. Rules are numbered anew. */
void weir_classbench_order(struct weir_box *v, size_t n);
