/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of addresses or ports as intervals. Normal form: sorted, apart from each other, and no interval
 * reaches over the place of IPv4 in the IPv6 numbers (::ffff:0:0/96), so that ::/0 never means IPv4.
 */
#pragma once
#include "lib/policy/value.h"
#include "lib/util/arena.h"

struct weir_ranges {
	struct weir_range *v;
	size_t n, room; /* room: allocated */
};

/* Append; grows in the arena by doubling. -ENOMEM. */
int weir_ranges_add(struct weir_arena *a, struct weir_ranges *r, struct weir_range one);
int weir_ranges_append(struct weir_arena *a, struct weir_ranges *r, const struct weir_ranges *more);
/* Bring into normal form, in place but for the split at IPv4. */
int weir_ranges_normal(struct weir_arena *a, struct weir_ranges *r);
/* Both normal; the result is normal. */
int weir_ranges_and(struct weir_arena *a, const struct weir_ranges *x, const struct weir_ranges *y,
		    struct weir_ranges *ret);
int weir_ranges_or(struct weir_arena *a, const struct weir_ranges *x, const struct weir_ranges *y,
		   struct weir_ranges *ret);
int weir_ranges_minus(struct weir_arena *a, const struct weir_ranges *x, const struct weir_ranges *y,
		      struct weir_ranges *ret);
/* Room for so many in all. */
int weir_ranges_reserve(struct weir_arena *a, struct weir_ranges *r, size_t room);
/* In normal form: does one of them hold the number? */
bool weir_ranges_hold(const struct weir_ranges *r, weir_u128 x);
/* In normal form: does one of them hold all of `x`? */
bool weir_ranges_cover(const struct weir_ranges *r, const struct weir_range *x);
/* Both normal: does y hold all of x; has y anything of x? */
bool weir_ranges_within(const struct weir_ranges *x, const struct weir_ranges *y);
bool weir_ranges_touch(const struct weir_ranges *x, const struct weir_ranges *y);
/* From the lowest to the highest of what is IPv4 (4) or IPv6 (6) in it; false: nothing is. r is normal. */
bool weir_ranges_hull(const struct weir_ranges *r, uint8_t family, struct weir_range *ret);
bool weir_ranges_equal(const struct weir_ranges *x, const struct weir_ranges *y);
uint64_t weir_ranges_hash(const struct weir_ranges *r);
/* Bit 1: holds IPv4, bit 2: holds IPv6. r is normal. */
unsigned weir_ranges_families(const struct weir_ranges *r);
