/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Walking the trees of core/tree_line.h. The including file defines the accessor first, NULL past the end:
 *
 *   const struct weir_tree_line *weir_img_tree_line(const struct weir_img *, uint32_t i);
 *
 * The key stands where an index may be a variable: in the kernel in a map, never on the stack (5.10). A damaged tree
 * finds other rules or none, but every read is within the lines and every loop ends.
 */
#pragma once
#include "core/tree_line.h"

/* From the root's word down to the word of a leaf; 0 when the tree is not sound. */
WEIR_INLINE uint64_t weir_tree_walk(const struct weir_img *img, const struct weir_tree_key *k, uint64_t word)
{
	for (uint32_t i = 0; i <= WEIR_TREE_DEPTH; i++) {
		const struct weir_tree_line *l;
		uint64_t x;
		uint32_t at;

		if (word >> 63)
			return word;
		x = k->w[word >> 43 & 7] >> (word >> 32 & 63);
		at = (uint32_t)word + (uint32_t)(x & ((1ull << (word >> 38 & 31)) - 1));
		l = weir_img_tree_line(img, at >> 3);
		if (!l)
			return 0;
		word = l->w[at & 7];
	}
	return 0;
}

/* Up to WEIR_TREE_CHUNK lines of a leaf: the lowest rule in [from, best) that holds the key, else `best`. */
WEIR_INLINE uint32_t weir_tree_scan(const struct weir_img *img, const struct weir_tree_key *k, uint32_t line,
				    uint32_t end, uint32_t from, uint32_t best)
{
	bool six = k->family == 6;

	for (uint32_t i = 0; i < WEIR_TREE_CHUNK; i++) {
		const struct weir_tree_line *l;
		uint32_t r;

		if (line + i >= end)
			break;
		l = weir_img_tree_line(img, line + i);
		if (!l)
			break;
		r = six ? weir_tree_line6(l, k, from) : weir_tree_line4(l, k, from);
		if (r < best)
			return r;
		if (weir_tree_first_rule(l, six) >= best)
			break;
	}
	return best;
}

/* Where in a long leaf to begin: the last line that begins with a rule below `from`. */
WEIR_INLINE uint32_t weir_tree_skip(const struct weir_img *img, uint32_t line, uint32_t end, uint32_t from, bool six)
{
	for (uint32_t i = 0; i < 11; i++) { /* 1,024 lines */
		uint32_t mid = line + ((end - line) >> 1);
		const struct weir_tree_line *l;

		if (end - line <= 1)
			break;
		l = weir_img_tree_line(img, mid);
		if (!l)
			break;
		if (weir_tree_first_rule(l, six) < from)
			line = mid;
		else
			end = mid;
	}
	return line;
}

/* The kernel programs bring their own: functions that are verified once each, whatever calls them. */
#ifndef WEIR_TREE_PARTS_PROVIDED
static inline uint32_t weir_tree_scan_part(const struct weir_img *img, const struct weir_tree_key *k, uint32_t line,
					   uint32_t end, uint32_t from, uint32_t best)
{
	return weir_tree_scan(img, k, line, end, from, best);
}

static inline uint32_t weir_tree_skip_part(const struct weir_img *img, const struct weir_tree_key *k, uint32_t line,
					   uint32_t end, uint32_t from)
{
	return weir_tree_skip(img, line, end, from, k->family == 6);
}
#endif

/*
 * One tree: the lowest rule in [from, best) that holds the key, else `best`. Most leaves are a line or two, so the
 * first is looked at here, without a call.
 */
WEIR_INLINE uint32_t weir_tree_find(const struct weir_img *img, const struct weir_tree_key *k, uint64_t word,
				    uint32_t from, uint32_t best)
{
	const struct weir_tree_line *l;
	uint32_t line, end, r;

	word = weir_tree_walk(img, k, word);
	line = (uint32_t)word & (WEIR_TREE_LINES - 1);
	end = line + (uint32_t)(word >> 26 & 0x7ff);
	if (line == end || (word >> 37 & (WEIR_TREE_RULES - 1)) >= best)
		return best;
	if (from && end - line > 4)
		line = weir_tree_skip_part(img, k, line, end, from);
	l = weir_img_tree_line(img, line);
	if (!l)
		return best;
	r = k->family == 6 ? weir_tree_line6(l, k, from) : weir_tree_line4(l, k, from);
	if (r < best)
		return r;
	line++;
	for (uint32_t i = 0; i <= WEIR_TREE_LEAF / WEIR_TREE_CHUNK && line < end; i++) {
		r = weir_tree_scan_part(img, k, line, end, from, best);
		if (r < best)
			return r;
		line += WEIR_TREE_CHUNK;
	}
	return best;
}

/*
 * The lowest rule >= from with a box that holds the key, else WEIR_TREE_END. The next one: again with the result
 * plus 1.
 */
WEIR_INLINE uint32_t weir_tree_next(const struct weir_img *img, const struct weir_tree_key *k, uint32_t from)
{
	uint32_t best = WEIR_TREE_END, first = k->family == 6 ? WEIR_TREE_HEAD / 2 : 0;

	for (uint32_t t = 0; t < WEIR_TREE_ROOTS; t++) {
		const struct weir_tree_line *l = weir_img_tree_line(img, first + (t >> 2));
		uint64_t range;

		if (!l)
			break;
		range = l->w[(t & 3) * 2 + 1]; /* min, max of a root, little endian */
		if ((uint32_t)range >= best)
			break;
		if (range >> 32 < from)
			continue;
		best = weir_tree_find(img, k, l->w[(t & 3) * 2], from, best);
	}
	return best;
}
