/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Is an address in the set of core/block_line.h? Its lines are reached through an accessor that the including file
 * defines first, NULL past the end:
 *
 *   const struct weir_block_line *weir_img_block_line(const struct weir_img *, uint32_t i);
 *
 * Lines that are damaged make the answer wrong, but every read is within them and every loop ends.
 */
#pragma once
#include "core/block_line.h"
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
	l = weir_img_block_line(img, base + h->index + (uint32_t)(cell >> 4));
	if (!l)
		return false;
	*lo = l->d[cell & 15];
	cell++;
	l = weir_img_block_line(img, base + h->index + (uint32_t)(cell >> 4));
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

/* Is the IPv4 address, as a number, in the set? */
WEIR_INLINE bool weir_block_has4(const struct weir_img *img, uint32_t a)
{
	uint32_t base = weir_block_base(img), lo, hi;
	const struct weir_block_line *head = weir_img_block_line(img, base), *x, *y, *l;

	if (!head)
		return false;
	if (head->head.n_table && a) {
		uint64_t h = weir_block_hash4(&head->head, a);

		if (weir_block_filtered(img, &head->head, base, h)) {
			x = weir_img_block_line(img, base + head->head.table + weir_block_place(h, head->head.n_table));
			y = weir_img_block_line(img, base + head->head.table + weir_block_place(h >> 32, head->head.n_table));
			/* nearly all stand in the first: the other is another miss of the caches for what is dropped most */
			if (x && weir_block_line4(x, a))
				return true;
			if (y && weir_block_line4(y, a))
				return true;
		}
	}
	if (!weir_block_stretch(img, &head->head, base, a, &lo, &hi))
		return lo & 1;
	for (int i = 0; i < WEIR_BLOCK_STEPS && lo < hi; i++) {
		uint32_t mid = lo + ((hi - lo) >> 1);

		l = weir_img_block_line(img, base + head->head.bounds + (mid >> 4));
		if (!l)
			return false;
		if (l->d[mid & 15] <= a)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo & 1;
}

/* Is the IPv6 address, as two numbers, in the set? */
WEIR_INLINE bool weir_block_has6(const struct weir_img *img, uint64_t ahi, uint64_t alo)
{
	uint32_t base = weir_block_base(img), lo, hi;
	const struct weir_block_line *head = weir_img_block_line(img, base + 1), *x, *y, *l;

	if (!head)
		return false;
	if (head->head.n_table && (ahi | alo)) {
		uint64_t h = weir_block_hash6(&head->head, ahi, alo);

		if (weir_block_filtered(img, &head->head, base, h)) {
			x = weir_img_block_line(img, base + head->head.table + weir_block_place(h, head->head.n_table));
			y = weir_img_block_line(img, base + head->head.table + weir_block_place(h >> 32, head->head.n_table));
			if (x && weir_block_line6(x, ahi, alo))
				return true;
			if (y && weir_block_line6(y, ahi, alo))
				return true;
		}
	}
	if (!weir_block_stretch(img, &head->head, base, ahi, &lo, &hi))
		return lo & 1;
	for (int i = 0; i < WEIR_BLOCK_STEPS && lo < hi; i++) {
		uint32_t mid = lo + ((hi - lo) >> 1), at = (mid & 3) * 2;

		l = weir_img_block_line(img, base + head->head.bounds + (mid >> 2));
		if (!l)
			return false;
		if (l->w[at] < ahi || (l->w[at] == ahi && l->w[at + 1] <= alo))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo & 1;
}

#ifndef WEIR_BLOCK_FIND_PROVIDED
static inline bool weir_block_find4(const struct weir_img *img, uint32_t a)
{
	return weir_block_has4(img, a);
}

static inline bool weir_block_find6(const struct weir_img *img, uint64_t hi, uint64_t lo)
{
	return weir_block_has6(img, hi, lo);
}
#endif

WEIR_INLINE bool weir_block_find(const struct weir_img *img, const uint8_t a[static 16])
{
	return weir_addr_is_v4(a) ? weir_block_find4(img, weir_be32(a + 12)) :
				    weir_block_find6(img, weir_be64(a), weir_be64(a + 8));
}
