/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boxes into decision trees (core/tree.h). The same boxes give the same bytes on every machine; what would take
 * too much time, memory or look at too many rules per packet is refused, and `why` says which rules do it.
 */
#pragma once
#include "core/image.h"
#include "core/tree_line.h"
#include "lib/policy/value.h"

struct weir_img; /* core/image_blob.h */

/* All ends are within. A family is one box: what holds for both is two. */
struct weir_box {
	weir_u128 src_lo, src_hi, dst_lo, dst_hi; /* IPv4 at its place in the IPv6 numbers, as in ranges.h */
	uint16_t sport_lo, sport_hi, dport_lo, dport_hi; /* originator's, responder's */
	uint8_t proto_lo, proto_hi, dirs, family;        /* dirs: WEIR_DIR_* together; family: 4 or 6 */
	uint32_t rule;
};

/* 0 = the default. */
struct weir_tree_limits {
	uint64_t bytes; /* 128 a box and 8 MB */
	uint64_t work;  /* looks at a box, in all tries together: 80 million and 200 a box, about a second for 100,000 */
	uint32_t leaf;  /* lines of a leaf, at most WEIR_TREE_LEAF */
	/* what a refusal calls a rule; NULL: "rule 7" */
	const char *(*label)(const struct weir_img *img, uint32_t rule, uint32_t reason, char *buf, size_t size);
	const struct weir_img *img;
};

struct weir_tree_stats {
	uint32_t trees[2], boxes[2];    /* IPv4, IPv6 */
	uint32_t depth, leaf;           /* greatest: nodes above a leaf; boxes in one */
	uint32_t node_lines, leaf_lines;
	uint32_t tries;
	uint64_t work, cost;            /* cost: mean of sampled packets, in 1/15 ns as its model has them */
};

struct weir_tree {
	struct weir_tree_line *lines;
	uint32_t n;
	struct weir_tree_stats stats;
};

/*
 * -EINVAL: a box makes no sense; -E2BIG: refused by a limit; -ENOMEM. Boxes may come in any order. An IPv6 range
 * that is no prefix counts as the smallest prefix around it (weir_box_cover).
 */
int weir_tree_build(const struct weir_box *boxes, size_t n, const struct weir_tree_limits *limits,
		    struct weir_tree *ret, struct weir_why *why);
void weir_tree_free(struct weir_tree *t);

/* The box as the tree knows it: equal to it, or larger. */
struct weir_box weir_box_cover(const struct weir_box *b);
