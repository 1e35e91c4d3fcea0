/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which list of core/block_line.h is an address in? The lines are reached through an accessor that the including file
 * defines first, NULL past the end:
 *
 *   const struct weir_block_line *weir_img_block_line(const struct weir_img *, uint32_t i);
 *
 * Lines that are damaged make the answer wrong, but every read is within them and every loop ends.
 */
#pragma once
#include "core/block_dense.h"
#include "core/pkt.h"

/* Where the set begins now. Read once for each question: the answer is of one set, whatever is written meanwhile. */
WEIR_INLINE uint32_t weir_block_base(const struct weir_img *img)
{
	const struct weir_block_line *l = weir_img_block_line(img, 0);

	return l ? (uint32_t)*(const volatile uint64_t *)&l->w[0] : 0xffffffffu;
}

/* The stretch of bounds that the index names for k; false: the answer is the parity of *lo already. */
WEIR_INLINE bool weir_block_stretch(const struct weir_img *img, const struct weir_block_head *h, uint32_t base,
				    uint64_t k, uint32_t *lo, uint32_t *hi)
{
	const struct weir_block_line *l;
	uint64_t cell;

	*lo = *hi = 0;
	if (!h->n_bounds || k < h->base)
		return false;
	cell = (k - h->base) >> (h->shift & 63);
	if (cell >= h->n_index) {
		*lo = h->n_bounds;
		return false;
	}
	l = weir_img_block_line(img, base + weir_block_index(h) + (uint32_t)(cell >> 4));
	if (!l)
		return false;
	*lo = l->d[cell & 15];
	cell++;
	l = weir_img_block_line(img, base + weir_block_index(h) + (uint32_t)(cell >> 4));
	if (!l)
		return false;
	*hi = l->d[cell & 15];
	return *hi > *lo;
}

/* May the table have it? */
WEIR_INLINE bool weir_block_filtered(const struct weir_img *img, const struct weir_block_head *h, uint32_t base, uint64_t hash)
{
	const struct weir_block_line *l;
	uint64_t bits;
	uint32_t word;

	if (!h->filter)
		return true;
	word = weir_block_filter(hash, h->filter, &bits);
	l = weir_img_block_line(img, base + h->table - h->filter + (word >> 3));
	return l && (l->w[word & 7] & bits) == bits;
}

/* Which list is what stands at this place of? First come the lanes, then the slots, then the stretches of the bounds. */
WEIR_INLINE uint32_t weir_block_list(const struct weir_img *img, const struct weir_block_head *h, uint32_t base, bool six,
				     uint64_t place)
{
	const struct weir_block_line *l = weir_img_block_line(img, base + weir_block_list_line(h, six) + (uint32_t)(place >> 6));

	__asm__ volatile("" : "+r"(place)); /* clang knows the bound of some parts, which the verifier of 6.1 does not */
	return l ? 1 + l->b[place & 63] : 1;
}

/* The same for one stretch of the bounds; 0 when `below`, the bounds at or below an address, says that it is in none. */
WEIR_INLINE uint32_t weir_block_bound_list(const struct weir_img *img, const struct weir_block_head *h, uint32_t base, bool six,
					   uint32_t below)
{
	if (!(below & 1))
		return 0;
	return h->listed ? weir_block_list(img, h, base, six, ((uint64_t)weir_block_slot_lines(h, six) << 6) + (below >> 1)) : 1;
}

/* A line of the table, and the place of its first slot. */
WEIR_INLINE const struct weir_block_line *weir_block_table(const struct weir_img *img, const struct weir_block_head *h,
							   uint32_t base, uint64_t hash, uint32_t *ret_line)
{
	*ret_line = weir_block_place(hash, h->n_table);
	return weir_img_block_line(img, base + h->table + *ret_line);
}

/* By the dense lines: as weir_block_list4; WEIR_BLOCK_TABLE: look into the table. */
#define WEIR_BLOCK_TABLE 0xffffffffu
WEIR_INLINE uint32_t weir_block_dense4(const struct weir_img *img, const struct weir_block_head *h, uint32_t base, uint32_t a)
{
	uint32_t turned = weir_block_turn4(h, a), half = weir_block_half(turned, h->dense);
	const struct weir_block_line *l = weir_img_block_line(img, base + weir_block_dense(h) + (half >> 1));

	if (!l)
		return 0;
	if (!weir_block_lanes(l, half, turned))
		return weir_block_overflows(l, half) ? WEIR_BLOCK_TABLE : 0;
	return h->listed ? weir_block_list(img, h, base, false, (uint64_t)half * 16 + weir_block_lane(l, half, turned)) : 1;
}

/* Of a single address, by the table. Nearly all stand in the first line: the other is another miss of the caches. */
WEIR_INLINE uint32_t weir_block_single4(const struct weir_img *img, const struct weir_block_head *h, uint32_t base, uint32_t a)
{
	uint64_t hash = weir_block_hash4(h, a), found = 0;
	const struct weir_block_line *l;
	uint32_t line;

	if (!weir_block_filtered(img, h, base, hash))
		return 0;
	l = weir_block_table(img, h, base, hash, &line);
	if (l)
		found = weir_block_line4(l, a);
	if (!found)
		l = weir_block_table(img, h, base, hash >> 32, &line);
	if (l && !found)
		found = weir_block_line4(l, a);
	if (!l || !found)
		return 0;
	return h->listed ? weir_block_list(img, h, base, false, weir_block_first_slot(h) + (uint64_t)line * WEIR_BLOCK_SLOTS4 +
								 weir_block_slot4(l, a)) : 1;
}

WEIR_INLINE uint32_t weir_block_single6(const struct weir_img *img, const struct weir_block_head *h, uint32_t base,
					uint64_t ahi, uint64_t alo)
{
	uint64_t hash = weir_block_hash6(h, ahi, alo), found = 0;
	const struct weir_block_line *l;
	uint32_t line;

	if (!weir_block_filtered(img, h, base, hash))
		return 0;
	l = weir_block_table(img, h, base, hash, &line);
	if (l)
		found = weir_block_line6(l, ahi, alo);
	if (!found)
		l = weir_block_table(img, h, base, hash >> 32, &line);
	if (l && !found)
		found = weir_block_line6(l, ahi, alo);
	if (!l || !found)
		return 0;
	return h->listed ? weir_block_list(img, h, base, true, (uint64_t)line * WEIR_BLOCK_SLOTS6 + weir_block_slot6(l, ahi, alo)) : 1;
}

/* 0: the IPv4 address, as a number, is in no list; else 1 and the number of the first that has it. */
WEIR_INLINE uint32_t weir_block_list4(const struct weir_img *img, uint32_t a)
{
	uint32_t base = weir_block_base(img), lo, hi, list;
	const struct weir_block_line *head = weir_img_block_line(img, base), *l;

	if (!head)
		return 0;
	list = head->head.dense ? weir_block_dense4(img, &head->head, base, a) : WEIR_BLOCK_TABLE;
	if (list == WEIR_BLOCK_TABLE)
		list = head->head.n_table && a ? weir_block_single4(img, &head->head, base, a) : 0;
	if (list)
		return list;
	if (!weir_block_stretch(img, &head->head, base, a, &lo, &hi))
		return weir_block_bound_list(img, &head->head, base, false, lo);
	for (int i = 0; i < WEIR_BLOCK_STEPS && lo < hi; i++) {
		uint32_t mid = lo + ((hi - lo) >> 1);

		l = weir_img_block_line(img, base + head->head.bounds + (mid >> 4));
		if (!l)
			return 0;
		if (l->d[mid & 15] <= a)
			lo = mid + 1;
		else
			hi = mid;
	}
	return weir_block_bound_list(img, &head->head, base, false, lo);
}

/* The same for an IPv6 address, as two numbers. */
WEIR_INLINE uint32_t weir_block_list6(const struct weir_img *img, uint64_t ahi, uint64_t alo)
{
	uint32_t base = weir_block_base(img), lo, hi, list;
	const struct weir_block_line *head = weir_img_block_line(img, base + 1), *l;

	if (!head)
		return 0;
	list = head->head.n_table && (ahi | alo) ? weir_block_single6(img, &head->head, base, ahi, alo) : 0;
	if (list)
		return list;
	if (!weir_block_stretch(img, &head->head, base, ahi, &lo, &hi))
		return weir_block_bound_list(img, &head->head, base, true, lo);
	for (int i = 0; i < WEIR_BLOCK_STEPS && lo < hi; i++) {
		uint32_t mid = lo + ((hi - lo) >> 1), at = (mid & 3) * 2;

		l = weir_img_block_line(img, base + head->head.bounds + (mid >> 2));
		if (!l)
			return 0;
		if (l->w[at] < ahi || (l->w[at] == ahi && l->w[at + 1] <= alo))
			lo = mid + 1;
		else
			hi = mid;
	}
	return weir_block_bound_list(img, &head->head, base, true, lo);
}

#ifndef WEIR_BLOCK_FIND_PROVIDED
static inline uint32_t weir_block_find4(const struct weir_img *img, uint32_t a)
{
	return weir_block_list4(img, a);
}

static inline uint32_t weir_block_find6(const struct weir_img *img, uint64_t hi, uint64_t lo)
{
	return weir_block_list6(img, hi, lo);
}
#endif

WEIR_INLINE uint32_t weir_block_find(const struct weir_img *img, const uint8_t a[static 16])
{
	return weir_addr_is_v4(a) ? weir_block_find4(img, weir_be32(a + 12)) :
				    weir_block_find6(img, weir_be64(a), weir_be64(a + 8));
}
