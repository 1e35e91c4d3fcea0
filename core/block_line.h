/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A large set of addresses, laid out in lines of 64 bytes, one to a cache line.
 *
 * Line 0 says at which line the set begins: in the kernel there is room for two, and one store changes from one to
 * the other. There stands the head of IPv4, behind it that of IPv6. A single address stands in one of two lines of a
 * table, which a hash under a secret key names: who fills the list cannot aim at a line. An empty slot is 0; the
 * address 0 is never in the table. In front of a large table stands a filter, small enough for the nearer caches: four bits
 * of one word for each address, so that nearly all that is in no list is told from it without a look into the table; what
 * was taken out of the table leaves its bits behind. Very many IPv4 addresses stand in dense lines instead, and only
 * those that find no room there in the table, which has no filter then (core/block_dense.h).
 *
 * What is wider stands in bounds, ascending: with an odd number of them at or below an address it is in the set. An index
 * over the upper bits names the few bounds to look at. Behind the bounds and the index there is room: a set that changes a
 * little is written over where it stands (lib/policy/block_edit.c).
 *
 * Of several lists each address belongs to the first that names it. Then a byte for each place in dense lines and in the
 * table, and one for each stretch between two bounds, says which: lines behind the bounds, that only a hit looks at.
 * Stretches of two lists may meet in a bound that stands there twice.
 */
#pragma once
#include "core/types.h"

#define WEIR_BLOCK_LINES (1u << 21)  /* 128 MB */
#define WEIR_BLOCK_BOUNDS (1u << 22)
#define WEIR_BLOCK_STEPS 23          /* halvings of so many bounds, and the last look */
#define WEIR_BLOCK_SLOTS4 16u
#define WEIR_BLOCK_SLOTS6 4u
#define WEIR_BLOCK_DENSE_LINES 32769u /* there are none, or so many: see core/block_dense.h */
#define WEIR_BLOCK_LISTS 256u        /* that are told apart; those behind them count as the last */

struct weir_block_head {
	uint64_t key[2];
	uint64_t base;               /* where the index begins: an IPv4 address, or the upper half of an IPv6 one */
	uint32_t table, n_table;     /* first line, counted from the head of IPv4; lines */
	uint32_t dense, n_index;     /* lines in front of the filter; cells of the index: see weir_block_index */
	uint32_t bounds, n_bounds;   /* first line, bounds: uint32_t, or two uint64_t, the upper first */
	uint8_t shift;
	uint8_t listed;              /* 1: behind the bounds stands which list everything is of; 0: there is one list */
	uint16_t pad;
	uint32_t index_room, bounds_room; /* so many cells and bounds have their place */
	uint32_t filter;                  /* lines in front of the table; 0: none */
};

struct weir_block_line {
	union {
		struct weir_block_head head;
		uint64_t w[8];
		uint32_t d[16];
		uint16_t h[32];
		uint8_t b[64];
	};
};
_Static_assert(sizeof(struct weir_block_line) == 64, "a cache line");

/* What one line becomes. */
struct weir_block_change {
	uint64_t at; /* counted from the head of IPv4 */
	struct weir_block_line line;
};

/* First line of the index: cells + 1 entries, each how many bounds are below the cell. */
WEIR_INLINE uint32_t weir_block_index(const struct weir_block_head *h)
{
	return h->table + h->n_table;
}

WEIR_INLINE uint32_t weir_block_dense(const struct weir_block_head *h)
{
	return h->table - h->filter - h->dense;
}

WEIR_INLINE uint32_t weir_block_index_lines(const struct weir_block_head *h)
{
	return h->index_room ? h->index_room / 16 + 1 : 0;
}

WEIR_INLINE uint32_t weir_block_bounds_lines(const struct weir_block_head *h, bool six)
{
	return six ? h->bounds_room / 4 + (h->bounds_room % 4 != 0) : h->bounds_room / 16 + (h->bounds_room % 16 != 0);
}

/* Lines of bytes for the lanes of the dense lines. */
WEIR_INLINE uint32_t weir_block_lane_lines(const struct weir_block_head *h)
{
	return (h->dense + 1) / 2;
}

/* The place of the first slot of the table: those of the lanes are in front. */
WEIR_INLINE uint64_t weir_block_first_slot(const struct weir_block_head *h)
{
	return (uint64_t)weir_block_lane_lines(h) << 6;
}

/* The same, and those for the slots of the table; those for the stretches of the bounds follow. */
WEIR_INLINE uint32_t weir_block_slot_lines(const struct weir_block_head *h, bool six)
{
	return weir_block_lane_lines(h) + (six ? (h->n_table + 15) / 16 : (h->n_table + 3) / 4);
}

WEIR_INLINE uint64_t weir_block_list_lines(const struct weir_block_head *h, bool six)
{
	return h->listed ? (uint64_t)weir_block_slot_lines(h, six) + h->bounds_room / 128 + 1 : 0;
}

/* Where they begin. */
WEIR_INLINE uint32_t weir_block_list_line(const struct weir_block_head *h, bool six)
{
	return h->bounds + weir_block_bounds_lines(h, six);
}

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

/* The word of the filter for this hash, counted through its lines, and the bits in it. */
WEIR_INLINE uint32_t weir_block_filter(uint64_t hash, uint32_t lines, uint64_t *ret_bits)
{
	uint64_t g = hash * 0x9e3779b97f4a7c15ull;

	*ret_bits = 1ull << (g & 63) | 1ull << (g >> 6 & 63) | 1ull << (g >> 12 & 63) | 1ull << (g >> 18 & 63);
	return weir_block_place(g >> 32, lines * 8);
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

/* All ones when x is 0, without a branch: the verifier would go both ways at each slot. */
WEIR_INLINE uint32_t weir_block_if_zero(uint64_t x)
{
	__asm__ volatile("" : "+r"(x));
	return (uint32_t)((int64_t)((x - 1) & ~x) >> 63);
}

/* The slot in which a stands. */
WEIR_INLINE uint32_t weir_block_slot4(const struct weir_block_line *l, uint32_t a)
{
	uint32_t slot = 0;

	for (uint32_t i = 1; i < WEIR_BLOCK_SLOTS4; i++)
		slot |= i & weir_block_if_zero(l->d[i] ^ a);
	return slot;
}

WEIR_INLINE uint32_t weir_block_slot6(const struct weir_block_line *l, uint64_t hi, uint64_t lo)
{
	uint32_t slot = 0;

	for (uint32_t i = 1; i < WEIR_BLOCK_SLOTS6; i++)
		slot |= i & weir_block_if_zero((l->w[2 * i] ^ hi) | (l->w[2 * i + 1] ^ lo));
	return slot;
}

/* How many lines, the heads included, are in use; `l`: from the head of IPv4 on. */
WEIR_INLINE uint64_t weir_block_used(const struct weir_block_line *l)
{
	uint64_t used = 2;

	for (uint32_t f = 0; f < 2; f++) {
		const struct weir_block_head *h = &l[f].head;
		uint64_t ends[2] = { (uint64_t)weir_block_index(h) + weir_block_index_lines(h),
				     (uint64_t)weir_block_list_line(h, f) + weir_block_list_lines(h, f) };

		for (uint32_t i = 0; i < 2; i++)
			used = ends[i] > used ? ends[i] : used;
	}
	return used;
}

/* May bound i and the next be the same? Where the stretch of one list ends and that of another begins. */
WEIR_INLINE bool weir_block_may_meet(const struct weir_block_head *h, uint32_t i)
{
	return h->listed && (i & 1);
}

/* The index names stretches of the bounds in their order, and the bounds ascend. `l`: from the head of IPv4 on. */
static inline bool weir_block_bounds_ok(const struct weir_block_line *l, const struct weir_block_head *h, bool six)
{
	uint32_t last = 0;

	for (uint32_t c = 0; h->n_index && c <= h->n_index; c++) {
		uint32_t k = l[weir_block_index(h) + c / 16].d[c % 16];

		if (k < last || k > h->n_bounds)
			return false;
		last = k;
	}
	for (uint32_t i = 1, k = 0; six && i < h->n_bounds; k = i++) {
		const uint64_t *a = &l[h->bounds + k / 4].w[k % 4 * 2], *b = &l[h->bounds + i / 4].w[i % 4 * 2];

		if (a[0] > b[0] || (a[0] == b[0] && (a[1] > b[1] || (a[1] == b[1] && !weir_block_may_meet(h, k)))))
			return false;
	}
	for (uint32_t i = 1, k = 0; !six && i < h->n_bounds; k = i++) {
		uint32_t a = l[h->bounds + k / 16].d[k % 16], b = l[h->bounds + i / 16].d[i % 16];

		if (a > b || (a == b && !weir_block_may_meet(h, k)))
			return false;
	}
	return true;
}

/* Do `lines` lines stand at `first`, at or behind *at and before line `end`? *at is behind them then. */
WEIR_INLINE bool weir_block_next(uint64_t *at, uint32_t first, uint64_t lines, uint32_t end)
{
	if ((lines && first < *at) || first + lines > end)
		return false;
	*at = lines ? first + lines : *at;
	return true;
}

/* `n` lines from the head of IPv4 on: is everything where the heads say, one behind the other? */
static inline bool weir_block_set_ok(const struct weir_block_line *l, uint32_t n)
{
	uint64_t at = 2;

	if (n < 2 || n > WEIR_BLOCK_LINES)
		return false;
	for (uint32_t f = 0; f < 2; f++) {
		const struct weir_block_head *h = &l[f].head;

		if (h->shift > 63 || h->listed > 1 || h->bounds_room > WEIR_BLOCK_BOUNDS || h->n_bounds > h->bounds_room || h->index_room == 1 ||
		    h->n_index > h->index_room || !h->n_bounds != !h->n_index || h->filter > n || h->dense > n ||
		    (h->dense && (f || !h->n_table || h->dense < WEIR_BLOCK_DENSE_LINES)) || h->table < h->filter + h->dense ||
		    !weir_block_next(&at, weir_block_dense(h), (uint64_t)h->dense + h->filter + h->n_table, n) ||
		    !weir_block_next(&at, weir_block_index(h), weir_block_index_lines(h), n) ||
		    !weir_block_next(&at, h->bounds, weir_block_bounds_lines(h, f), n) ||
		    !weir_block_next(&at, weir_block_list_line(h, f), weir_block_list_lines(h, f), n) ||
		    !weir_block_bounds_ok(l, h, f))
			return false;
	}
	return true;
}

/* Lines as a builder lays them out: the first names the second. */
static inline bool weir_block_ok(const struct weir_block_line *lines, uint32_t n)
{
	return !n || (n >= 3 && n <= WEIR_BLOCK_LINES && lines[0].w[0] == 1 && weir_block_set_ok(lines + 1, n - 1));
}
