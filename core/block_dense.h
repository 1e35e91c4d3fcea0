/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The dense lines of core/block_line.h, in which an IPv4 address takes two bytes. Under the secret key each address
 * becomes another number, one to one, and who fills the list cannot aim. The upper part of the number names half
 * a line: 15 lanes of 16 bits, and one that is 1 when others of this half found no room and stand in the table. From
 * 65,538 halves on each has fewer than 65,536 numbers, so that their low 16 bits tell them apart, and one value is none of
 * theirs: that of a lane that is free. The mark of a half stays when what it was set for is gone.
 */
#pragma once
#include "core/block_line.h"

#define WEIR_BLOCK_LANES 15u /* in half a line; the place of each is 16 * half + lane */
_Static_assert(2ull * WEIR_BLOCK_DENSE_LINES * 65535 > 1ull << 32, "as said above");

/* The number that an address becomes. */
WEIR_INLINE uint32_t weir_block_turn4(const struct weir_block_head *h, uint32_t a)
{
	uint32_t x = (a ^ (uint32_t)h->key[0]) * ((uint32_t)h->key[1] | 1);

	x = (x ^ x >> 16) * ((uint32_t)(h->key[1] >> 32) | 1);
	x = (x ^ x >> 15) + (uint32_t)(h->key[0] >> 32);
	x *= 0x9e3779b1u;
	x = (x ^ x >> 16) * 0x85ebca6bu;
	return x;
}

WEIR_INLINE uint32_t weir_block_odd_inverse(uint32_t odd)
{
	uint32_t x = odd; /* right in its lowest three bits, and in twice as many after each step */

	for (int i = 0; i < 4; i++)
		x *= 2 - odd * x;
	return x;
}

/* Back again. */
static inline uint32_t weir_block_unturn4(const struct weir_block_head *h, uint32_t x)
{
	x *= weir_block_odd_inverse(0x85ebca6bu);
	x = (x ^ x >> 16) * weir_block_odd_inverse(0x9e3779b1u);
	x -= (uint32_t)(h->key[0] >> 32);
	x = (x ^ x >> 15 ^ x >> 30) * weir_block_odd_inverse((uint32_t)(h->key[1] >> 32) | 1);
	x = (x ^ x >> 16) * weir_block_odd_inverse((uint32_t)h->key[1] | 1);
	return x ^ (uint32_t)h->key[0];
}

/* The half of a dense line, of 2 * `lines`. */
WEIR_INLINE uint32_t weir_block_half(uint32_t turned, uint32_t lines)
{
	return (uint32_t)((uint64_t)turned * lines >> 31);
}

/* The lowest number that belongs to a half. One less is none of it, nor are its low 16 bits of one: a lane that is free. */
static inline uint32_t weir_block_half_first(uint32_t half, uint32_t lines)
{
	return (uint32_t)((((uint64_t)half << 31) + lines - 1) / lines);
}

static inline uint16_t weir_block_lane_free(uint32_t half, uint32_t lines)
{
	return (uint16_t)(weir_block_half_first(half, lines) - 1);
}

/* The address that stands in a lane; 0: none. */
static inline uint32_t weir_block_lane_addr(const struct weir_block_head *h, const struct weir_block_line *l, uint32_t half,
					    uint32_t lane)
{
	uint32_t first = weir_block_half_first(half, h->dense), low = l->h[(half & 1) * 16 + lane];

	return low == weir_block_lane_free(half, h->dense) ? 0 : weir_block_unturn4(h, first + ((low - first) & 0xffff));
}

/* Nonzero when this number stands in its half, which is one of this line. Four lanes at a time, as weir_block_line4. */
WEIR_INLINE uint64_t weir_block_lanes(const struct weir_block_line *l, uint32_t half, uint32_t turned)
{
	uint64_t all = (turned & 0xffff) * 0x0001000100010001ull, found = 0, x;
	const uint64_t *w = &l->w[(half & 1) * 4];

	for (int i = 0; i < 3; i++) {
		x = w[i] ^ all;
		found |= (x - 0x0001000100010001ull) & ~x;
	}
	x = w[3] ^ all;
	found |= (x - 0x0001000100010001ull) & ~x & 0x0000ffffffffffffull;
	return found & 0x8000800080008000ull;
}

WEIR_INLINE bool weir_block_overflows(const struct weir_block_line *l, uint32_t half)
{
	return l->h[(half & 1) * 16 + WEIR_BLOCK_LANES];
}

/* The lane in which it stands. */
WEIR_INLINE uint32_t weir_block_lane(const struct weir_block_line *l, uint32_t half, uint32_t turned)
{
	uint32_t lane = 0;

	for (uint32_t i = 1; i < WEIR_BLOCK_LANES; i++)
		lane |= i & weir_block_if_zero((l->h[(half & 1) * 16 + i] ^ turned) & 0xffff);
	return lane;
}
