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

WEIR_INLINE uint64_t weir_tree_word(const struct weir_img *img, uint32_t at)
{
	const struct weir_tree_line *l = weir_img_tree_line(img, at >> 3);

	return l ? l->w[at & 7] : 0;
}

/* From the word of a root whose cells are packed to the next word. */
WEIR_INLINE uint64_t weir_tree_step_packed(const struct weir_img *img, const struct weir_tree_key *k, uint64_t word)
{
	uint32_t at = weir_tree_cell(word, k), cell;
	const struct weir_tree_line *l = weir_img_tree_line(img, at >> 4);

	if (!l)
		return 0;
	cell = (uint32_t)(l->w[at >> 1 & 7] >> (at & 1) * 32);
	return cell & WEIR_TREE_CELL_LEAF ? weir_tree_unpack(cell) : weir_tree_word(img, cell);
}

/* From the root's word down to the word of a leaf; 0 when the tree is not sound. */
WEIR_INLINE uint64_t weir_tree_walk(const struct weir_img *img, const struct weir_tree_key *k, uint64_t word)
{
	if (word & WEIR_TREE_PACKED)
		word = weir_tree_step_packed(img, k, word);
	for (uint32_t i = 0; i <= WEIR_TREE_DEPTH; i++) {
		const struct weir_tree_line *l;
		uint32_t at;

		if (word >> 63)
			return word;
		at = weir_tree_cell(word, k);
		l = weir_img_tree_line(img, at >> 3);
		if (!l)
			return 0;
		word = l->w[at & 7];
	}
	return 0;
}

/*
 * Up to WEIR_TREE_CHUNK lines of a leaf, for a rule in [k->from, k->best): the first found becomes k->best. True when
 * the rest of the leaf has none.
 */
WEIR_INLINE bool weir_tree_scan_of(const struct weir_img *img, struct weir_tree_key *k, uint32_t line, uint32_t end,
				   bool six)
{
	for (uint32_t i = 0; i < WEIR_TREE_CHUNK; i++, line++) {
		const struct weir_tree_line *l;

		WEIR_REREAD(); /* else the key would be kept on the stack, which is short of room */
		if (line >= end)
			break;
		l = weir_img_tree_line(img, line);
		if (!l)
			break;
		if (weir_tree_line(l, k, six))
			return true;
	}
	return line >= end;
}

WEIR_INLINE bool weir_tree_scan(const struct weir_img *img, struct weir_tree_key *k, uint32_t line, uint32_t end)
{
	if (k->family == 6)
		return weir_tree_scan_of(img, k, line, end, true);
	return weir_tree_scan_of(img, k, line, end, false);
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
static inline bool weir_tree_scan_part(const struct weir_img *img, struct weir_tree_key *k, uint32_t line, uint32_t end)
{
	return weir_tree_scan(img, k, line, end);
}

static inline uint32_t weir_tree_skip_part(const struct weir_img *img, const struct weir_tree_key *k, uint32_t line,
					   uint32_t end)
{
	return weir_tree_skip(img, line, end, k->from, k->family == 6);
}
#endif

/* A leaf. Most are a few lines, which are looked at here, without a call. */
WEIR_INLINE void weir_tree_leaf(const struct weir_img *img, struct weir_tree_key *k, uint64_t word, bool six)
{
	uint32_t line = weir_tree_leaf_line(word), end = line + weir_tree_leaf_lines(word);

	if (weir_tree_leaf_rule(word) >= k->best)
		return;
	if (k->from && end - line > WEIR_TREE_SHORT)
		line = weir_tree_skip_part(img, k, line, end);
	for (uint32_t i = 0; i < WEIR_TREE_SHORT; i++, line++) {
		const struct weir_tree_line *l = line < end ? weir_img_tree_line(img, line) : 0;

		WEIR_REREAD(); /* else the key would be kept on the stack, which is short of room */
		if (!l || weir_tree_line(l, k, six))
			return;
	}
	for (uint32_t i = 0; i < WEIR_TREE_LEAF / WEIR_TREE_CHUNK; i++, line += WEIR_TREE_CHUNK)
		if (line >= end || weir_tree_scan_part(img, k, line, end))
			break;
}

/*
 * Down tree `t`, whose roots stand in `l`; then the leaves from that of *first on, unless the next tree is walked with this
 * one. False: the trees behind have nothing.
 */
WEIR_INLINE bool weir_tree_one(const struct weir_img *img, struct weir_tree_key *k, const struct weir_tree_line *l,
			       uint32_t t, uint32_t *first, bool six)
{
	uint64_t range = l->w[t * 2 + 1]; /* min, max of a root, little endian */
	bool lower = (uint32_t)range < k->best;

	WEIR_REREAD();
	if (!lower && *first == t)
		return false;
	k->leaf[t] = lower && (range >> 32 & ~(uint64_t)WEIR_TREE_MORE) >= k->from ? weir_tree_walk(img, k, l->w[t * 2])
										   : 0;
	if (range >> 63)
		return true;
	for (; *first <= t; ++*first)
		weir_tree_leaf(img, k, k->leaf[*first & (WEIR_TREE_ROOTS - 1)], six);
	return true;
}

/* No loop: the kernel's compiler keeps what a loop counts in memory (a match of ClassBench's fw1: 79 instead of 74 ns). */
WEIR_INLINE void weir_tree_all(const struct weir_img *img, struct weir_tree_key *k, bool six)
{
	const struct weir_tree_line *l = weir_img_tree_line(img, six);
	uint32_t first = 0;

	_Static_assert(WEIR_TREE_ROOTS == 4, "as many as there are calls");
	if (l && weir_tree_one(img, k, l, 0, &first, six) && weir_tree_one(img, k, l, 1, &first, six) &&
	    weir_tree_one(img, k, l, 2, &first, six))
		weir_tree_one(img, k, l, 3, &first, six);
}

/*
 * All trees of the family: the lowest rule in [k->from, k->best) with a box that holds the key becomes k->best. Down
 * several trees first and then their leaves (WEIR_TREE_MORE), so that what one of them waits for overlaps with the
 * others.
 */
WEIR_INLINE void weir_tree_lowest(const struct weir_img *img, struct weir_tree_key *k)
{
	if (k->family == 6)
		weir_tree_all(img, k, true);
	else
		weir_tree_all(img, k, false);
}

#ifndef WEIR_TREE_PARTS_PROVIDED
static inline void weir_tree_lowest_part(const struct weir_img *img, struct weir_tree_key *k)
{
	weir_tree_lowest(img, k);
}
#endif

/* The lowest rule >= from, else WEIR_TREE_END. The next one: again with the result plus 1. */
WEIR_INLINE uint32_t weir_tree_next(const struct weir_img *img, struct weir_tree_key *k, uint32_t from)
{
	k->from = from;
	k->best = WEIR_TREE_END;
	weir_tree_lowest(img, k);
	return k->best;
}

/* The key of one pair of addresses: bit 0 of `pair` is the source before translation, bit 1 the destination. */
WEIR_INLINE void weir_tree_pair(struct weir_tree_key *k, const struct weir_facts *f, uint32_t pair)
{
	weir_tree_key_make(k, f, pair & 1 ? f->orig.src : f->t.src, pair & 2 ? f->orig.dst : f->t.dst);
}

#ifndef WEIR_TREE_PARTS_PROVIDED
static inline void weir_tree_pair_part(struct weir_tree_key *k, const struct weir_facts *f, uint32_t pair)
{
	weir_tree_pair(k, f, pair);
}
#endif

/*
 * The lowest rule >= from with a box that holds the facts, else WEIR_TREE_END. Where addresses were translated a rule
 * may mean the one or the other, so each pair is looked for.
 */
WEIR_INLINE uint32_t weir_tree_sieve(const struct weir_img *img, struct weir_tree_key *k, const struct weir_facts *f,
				     uint32_t from)
{
	k->from = from;
	k->best = WEIR_TREE_END;
	for (uint32_t i = 0; i < 4; i++) {
		if (i && !f->has_orig)
			break;
		weir_tree_pair_part(k, f, i);
		weir_tree_lowest_part(img, k);
	}
	return k->best;
}
