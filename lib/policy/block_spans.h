/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What several blocklists hold, as pieces that do not overlap: each belongs to the first list that has it. IPv4 stands at
 * its place in the IPv6 numbers, as in ranges.h; pieces of one list that touch are one, and none reaches over the end of IPv4.
 */
#pragma once
#include "core/block_line.h"
#include "lib/policy/ranges.h"

struct weir_block_span {
	weir_u128 lo, hi;
	uint8_t list;
};

/* Ascending. The caller's: weir_block_spans_free. */
struct weir_block_spans {
	struct weir_block_span *v;
	size_t n, room;
};

/* The number by which the `i`th of all blocklists is counted. */
static inline uint8_t weir_block_list_number(size_t i)
{
	return (uint8_t)(i < WEIR_BLOCK_LISTS ? i : WEIR_BLOCK_LISTS - 1);
}

/* Each returns 0 or -ENOMEM; *ret is valid then, and empty otherwise. It is none of the arguments. */
int weir_block_spans_of(const struct weir_ranges *r, uint8_t list, struct weir_block_spans *ret); /* r: normal */
int weir_block_spans_over(const struct weir_block_spans *first, const struct weir_block_spans *then,
			  struct weir_block_spans *ret);
int weir_block_spans_minus(const struct weir_block_spans *s, const struct weir_ranges *less, struct weir_block_spans *ret);
/* Puts one behind the others. */
int weir_block_spans_add(struct weir_block_spans *s, struct weir_block_span x);
bool weir_block_spans_equal(const struct weir_block_spans *a, const struct weir_block_spans *b);
void weir_block_spans_free(struct weir_block_spans *s);
