/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A large set of addresses. Lines of 64 bytes, one to a cache line, reached through an accessor that the including
 * file defines first, NULL past the end:
 *
 *   const struct weir_block_line *weir_img_block_line(const struct weir_img *, uint32_t i);
 *
 * Line 0 is the head of IPv4, line 1 that of IPv6. A single address stands in one of two lines of a table, which a
 * hash under a secret key names: who fills the list cannot aim at a line. An empty slot is 0; the address 0 is never
 * in the table. What is wider stands in bounds, ascending: with an odd number of them at or below an address it is
 * in the set. An index over the upper bits names the few bounds to look at.
 *
 * Lines that are damaged make the answer wrong, but every read is within them and every loop ends.
 */
#pragma once
#include "core/types.h"

#define WEIR_BLOCK_LINES (1u << 22)  /* 256 MB */
#define WEIR_BLOCK_BOUNDS (1u << 22)
#define WEIR_BLOCK_STEPS 23          /* halvings of so many bounds, and the last look */
#define WEIR_BLOCK_SLOTS4 16u
#define WEIR_BLOCK_SLOTS6 4u

struct weir_block_head {
	uint64_t key[2];
	uint64_t base;               /* where the index begins: an IPv4 address, or the upper half of an IPv6 one */
	uint32_t table, n_table;     /* first line, lines */
	uint32_t index, n_index;     /* first line, cells; cells + 1 entries: bounds below the cell */
	uint32_t bounds, n_bounds;   /* first line, bounds: uint32_t, or two uint64_t, the upper first */
	uint32_t shift, pad[3];
};

struct weir_block_line {
	union {
		struct weir_block_head head;
		uint64_t w[8];
		uint32_t d[16];
	};
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct weir_block_line) == 64, "a cache line");

WEIR_INLINE uint64_t weir_block_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return x ^ x >> 32;
}

/* Both halves name a line: see weir_block_place. */
WEIR_INLINE uint64_t weir_block_hash4(const struct weir_block_head *h, uint32_t a)
{
	return weir_block_mix((a ^ h->key[0]) * (h->key[1] | 1));
}

WEIR_INLINE uint64_t weir_block_hash6(const struct weir_block_head *h, uint64_t hi, uint64_t lo)
{
	return weir_block_mix(weir_block_mix((hi ^ h->key[0]) * (h->key[1] | 1)) ^ lo ^ h->key[1]);
}

WEIR_INLINE uint32_t weir_block_place(uint64_t hash, uint32_t n)
{
	return (uint32_t)((hash & 0xffffffffu) * n >> 32);
}

/* Nonzero when one of the 16 slots is a. Two slots at a time: a word with no zero half stays without a top bit. */
WEIR_INLINE uint64_t weir_block_line4(const struct weir_block_line *l, uint32_t a)
{
	uint64_t both = (uint64_t)a << 32 | a, found = 0;

	for (int i = 0; i < 8; i++) {
		uint64_t x = l->w[i] ^ both;

		found |= (x - 0x0000000100000001ull) & ~x;
	}
	return found & 0x8000000080000000ull;
}

WEIR_INLINE uint64_t weir_block_line6(const struct weir_block_line *l, uint64_t hi, uint64_t lo)
{
	uint64_t found = 0;

	for (int i = 0; i < 4; i++) {
		uint64_t x = (l->w[2 * i] ^ hi) | (l->w[2 * i + 1] ^ lo);

		found |= (x - 1) & ~x;
	}
	return found >> 63;
}

/* The stretch of bounds that the index names for k; false: the answer is the parity of *lo already. */
WEIR_INLINE bool weir_block_stretch(const struct weir_img *img, const struct weir_block_head *h, uint64_t k,
				    uint32_t *lo, uint32_t *hi)
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
	l = weir_img_block_line(img, h->index + (uint32_t)(cell >> 4));
	if (!l)
		return false;
	*lo = l->d[cell & 15];
	cell++;
	l = weir_img_block_line(img, h->index + (uint32_t)(cell >> 4));
	if (!l)
		return false;
	*hi = l->d[cell & 15];
	return *hi > *lo;
}

/* Is the IPv4 address, as a number, in the set? */
WEIR_INLINE bool weir_block_has4(const struct weir_img *img, uint32_t a)
{
	const struct weir_block_line *head = weir_img_block_line(img, 0), *x, *y, *l;
	uint32_t lo, hi;

	if (!head)
		return false;
	if (head->head.n_table && a) {
		uint64_t h = weir_block_hash4(&head->head, a);

		x = weir_img_block_line(img, head->head.table + weir_block_place(h, head->head.n_table));
		y = weir_img_block_line(img, head->head.table + weir_block_place(h >> 32, head->head.n_table));
		if (x && y && (weir_block_line4(x, a) | weir_block_line4(y, a)))
			return true;
	}
	if (!weir_block_stretch(img, &head->head, a, &lo, &hi))
		return lo & 1;
	for (int i = 0; i < WEIR_BLOCK_STEPS && lo < hi; i++) {
		uint32_t mid = lo + ((hi - lo) >> 1);

		l = weir_img_block_line(img, head->head.bounds + (mid >> 4));
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
	const struct weir_block_line *head = weir_img_block_line(img, 1), *x, *y, *l;
	uint32_t lo, hi;

	if (!head)
		return false;
	if (head->head.n_table && (ahi | alo)) {
		uint64_t h = weir_block_hash6(&head->head, ahi, alo);

		x = weir_img_block_line(img, head->head.table + weir_block_place(h, head->head.n_table));
		y = weir_img_block_line(img, head->head.table + weir_block_place(h >> 32, head->head.n_table));
		if (x && y && (weir_block_line6(x, ahi, alo) | weir_block_line6(y, ahi, alo)))
			return true;
	}
	if (!weir_block_stretch(img, &head->head, ahi, &lo, &hi))
		return lo & 1;
	for (int i = 0; i < WEIR_BLOCK_STEPS && lo < hi; i++) {
		uint32_t mid = lo + ((hi - lo) >> 1), at = (mid & 3) * 2;

		l = weir_img_block_line(img, head->head.bounds + (mid >> 2));
		if (!l)
			return false;
		if (l->w[at] < ahi || (l->w[at] == ahi && l->w[at + 1] <= alo))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo & 1;
}
