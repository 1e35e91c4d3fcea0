/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the builder share: tree.c (tries), tree_shapes.c (in which shapes), tree_cut.c (where to cut),
 * tree_node.c (nodes and leaves).
 */
#pragma once
#include "lib/policy/tree.h"

#define TREE_DIMS 8
#define TREE_HALVES 1024
#define TREE_PACKED_WIDTH 8u /* from so wide a root on its cells may be packed, */
#define TREE_PACKED_REST 4u  /* if all but one of so many fit */

/* One number of the key that can be cut: 64 bits of an IPv6 address, a port. */
struct tree_dim {
	uint64_t *lo, *hi;         /* by box */
	uint8_t bits, word, shift; /* where it stands in the key */
};

/* The boxes of one family, in the order of their rules. */
struct tree_boxes {
	uint32_t n, n_dims;
	bool six;
	struct tree_dim dim[TREE_DIMS];
	uint32_t *rule;
	uint8_t *dirs;
};

/* Of which values a node still has to tell apart. */
struct tree_region {
	uint64_t lo[TREE_DIMS], hi[TREE_DIMS];
};

/* What is varied between tries. */
struct tree_shape {
	uint32_t src_len, dst_len; /* from this length on a prefix counts as long; 0: all in one tree */
	uint32_t leaf;             /* boxes that need no further cut */
	double copies;             /* a cut may multiply the boxes by this */
	double copy_cost;          /* what a doubling of the boxes has to gain, in levels */
	double spare;              /* part of all boxes: copies that are few beside it are cheap */
	double gain;               /* levels that a cut must gain */
	double left;               /* what a level costs that is still to come */
	double table, table_all;   /* price of a cell by box that it parts; part of all boxes that counts as parted, too */
};

#define TREE_GOOD_SHAPES 6
#define TREE_LAST_SHAPES 3 /* for boxes that overlap so much that none of the good ones fits */
#define TREE_SHAPES (TREE_GOOD_SHAPES + TREE_LAST_SHAPES)
#define TREE_MANY 20000 /* so many boxes have shapes of their own */
const struct tree_shape *tree_shape_of(const struct tree_boxes *x, uint32_t i); /* the order in which they are tried */

struct tree_cut {
	uint32_t dim, width, shift;
	uint64_t base; /* lowest value of the first cell */
};

struct tree_leaf {
	uint64_t word;
	uint32_t first, n; /* in pool */
};

struct tree_builder {
	const struct tree_boxes *boxes;
	const struct tree_shape *shape;
	struct weir_tree_line *lines;
	uint32_t n, room;       /* lines */
	uint32_t limit, leaf_limit;
	uint32_t part, part_end; /* words of a line that small nodes share */
	uint32_t halves[TREE_HALVES], n_halves; /* lines of leaves of IPv4 with room for one more box */
	uint64_t work, work_limit;
	uint32_t depth, leaf, node_lines, leaf_lines;
	struct tree_leaf *leaves; /* by hash: the same boxes are stored once */
	uint32_t n_leaves, leaves_size;
	uint32_t *pool;
	uint32_t n_pool, pool_room;
	uint32_t *starts, *ends; /* of tree_cut.c */
	const struct weir_tree_limits *limits; /* for the names of rules */
	struct weir_why *why;
};

/* log2 in 1/256, the same on every machine. */
uint32_t tree_log2(uint64_t x);
int tree_cut_choose(struct tree_builder *b, const uint32_t *list, uint32_t n, const struct tree_region *r,
		    struct tree_cut *ret); /* 0: none is worth it, 1: one */
void tree_cut_cells(const struct tree_builder *b, const struct tree_cut *c, const struct tree_region *r, uint32_t box,
		    uint32_t *ret_first, uint32_t *ret_last);
int tree_grow(struct tree_builder *b, const uint32_t *list, uint32_t n, struct tree_region *r, uint32_t depth,
	      uint64_t *ret_word);
void tree_refuse_widest(struct tree_builder *b); /* behind a message of too much memory or work: who takes it */
int tree_lines_reserve(struct tree_builder *b, uint32_t more);
