/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Numbers that look random and come again with the same seed: for tests, benchmarks and trials. xorshift64*, Vigna 2016. */
#pragma once
#include <stdint.h>

/* *seed: not 0. */
static inline uint64_t weir_draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed * 0x2545f4914f6cdd1dull;
}

/* 0 .. n - 1 */
static inline uint32_t weir_draw_below(uint64_t *seed, uint32_t n)
{
	return (uint32_t)(weir_draw(seed) >> 32) % n;
}
