/* SPDX-License-Identifier: Apache-2.0 */
/* Building the lines of core/block_line.h, changing them in place, and what differs between two builds. */
#pragma once
#include "core/block_line.h"
#include "lib/policy/block_spans.h"

struct weir_blocklist {
	struct weir_block_line *lines;
	uint32_t n;
	uint32_t n_exact4, n_exact6, n_bounds4, n_bounds6;
};

/*
 * `listed`: the lines say of which list each address is; without it all are of one. `key`: random, secret; the same key and
 * the same pieces give the same lines. 0; -E2BIG with `why` when there are too many; -ENOMEM.
 */
int weir_blocklist_build(const struct weir_block_spans *block, bool listed, const uint64_t key[2],
			 struct weir_blocklist *ret, struct weir_why *why);
void weir_blocklist_free(struct weir_blocklist *b);

/* What such lines hold of one list, or -1 of all, in normal form. They are sound: weir_block_ok. -ENOMEM. */
int weir_blocklist_ranges(const struct weir_block_line *lines, uint32_t n, int list, struct weir_arena *a,
			  struct weir_ranges *ret);

/* The first line at or after `from` in which the two differ; the larger number of lines when none does. */
uint32_t weir_blocklist_differs(const struct weir_blocklist *a, const struct weir_blocklist *b, uint32_t from);

/* What an edit changed: what stood in each of these lines before. */
struct weir_block_patch {
	struct weir_block_change *v;
	size_t n, room;
};

/*
 * Within `window` the lines hold what `held` says from now on, and outside of it what they held; the window is normal, and
 * held lies within it. -EAGAIN: there is no room for it; also -ENOMEM. Nothing is changed then.
 */
int weir_blocklist_edit(struct weir_block_line *lines, uint32_t n, const struct weir_ranges *window,
			const struct weir_block_spans *held, struct weir_block_patch *ret);
void weir_blocklist_undo(struct weir_block_line *lines, const struct weir_block_patch *p);
void weir_block_patch_free(struct weir_block_patch *p);
