/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One family of the lines of core/block_line.h, to be filled (blocklist.c) or changed (block_edit.c). Addresses are
 * numbers of the family: IPv4 ones below 2^32. The table is here what has single addresses: the dense lines, too.
 */
#pragma once
#include "core/block_line.h"
#include "lib/policy/block_spans.h"

#define BLOCK_SMALL 4u              /* a range of so many addresses still goes to the table, one by one */
#define BLOCK_CELLS_MAX (1u << 20) /* of an index: 4 MB */

struct block_family {
	struct weir_block_line *lines; /* from the head of IPv4 on */
	bool six;
	bool (*touch)(void *data, uint32_t line); /* asked before a line changes: false, and it does not; NULL: all may */
	void *data;
};

static inline struct weir_block_head *block_head(const struct block_family *f)
{
	return &f->lines[f->six].head;
}

/* Gives an address to a list. False: the table does not have it. */
bool block_table_give(const struct block_family *f, weir_u128 a, uint8_t list);
/* Into the table, which does not have it. False: it is full, and others may have been moved. */
bool block_table_put(const struct block_family *f, weir_u128 a, uint8_t list);
void block_table_take(const struct block_family *f, weir_u128 a);
/* Dense lines in which nothing stands. */
void block_dense_clear(const struct block_family *f);
/* What stands in a place, counted through all dense lines and then through those of the table; 0: nothing. */
uint64_t block_table_places(const struct block_family *f);
weir_u128 block_table_at(const struct block_family *f, uint64_t place);
uint8_t block_table_list(const struct block_family *f, uint64_t place);

/* How many bounds these pieces have: two each, but nothing ends at the highest address. */
size_t block_bounds_count(bool six, const struct weir_block_spans *wide);
/* Where the index of their bounds begins, and how wide its cells are so that there are `most` at most. */
void block_index_shape(struct weir_block_head *h, bool six, const struct weir_block_spans *wide, size_t most);
/* The bounds, their index in the shape that the head says, and their lists. Lines that are as they should be are not touched. */
void block_bounds_put(const struct block_family *f, const struct weir_block_spans *wide);
/* Piece `i` of them. */
struct weir_block_span block_bounds_span(const struct block_family *f, uint32_t i);
