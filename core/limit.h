/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Limits: token buckets, and the table that they stand in.
 *
 * A bucket is one moment: when it will be full again ("full"). What it owes now is full - now, in 1/1024 ns; each token
 * costs `per`; one passes while the debt leaves room for a token. Whatever costs more than that (a packet of many segments,
 * many bytes) passes into debt and is paid back, so the rate in the long run is exact. A refusal costs nothing.
 * Moments wrap after 208 days. What lies further ahead than a bucket can owe is an old one, or the clock went back: full.
 *
 * The table is bounded. A source has a 64-bit key, made with a secret, and six slots where it may stand: three in each of
 * two lines. A new one takes the slot that owes least, so that a flood of new sources replaces its own kind, and an old
 * heavy one is not forgotten for them.
 */
#pragma once
#include "core/types.h"

#define WEIR_LIMITS_MAX 64 /* those of rules included, which stand last */
#define WEIR_LIMIT_WAYS 3            /* slots of a line */
#define WEIR_LIMIT_OWN 1024u         /* lines of limits of one bucket, so many that few want the same one */
#define WEIR_LIMIT_LINES (1u << 16)  /* behind them those of all limits by source together; 64 bytes each */
#define WEIR_LIMIT_SHIFT 10
#define WEIR_LIMIT_ROOM_MAX (1ull << 60) /* 13 days: what a bucket may hold */

enum { WEIR_LIMIT_PACKETS, WEIR_LIMIT_BYTES, WEIR_LIMIT_CONNECTIONS, WEIR_LIMIT_RULE }; /* the last: what a rule lets in */
enum { WEIR_PER_SOURCE, WEIR_PER_PREFIX, WEIR_PER_ALL };

struct weir_limit {
	uint64_t per;  /* what one token costs */
	uint64_t room; /* a token passes while the debt is not above: (burst - 1) * per */
	uint64_t most; /* tokens that one packet may take, so that nothing overflows */
	uint64_t rate, rate_s, burst; /* as written: rate tokens in rate_s seconds */
	uint32_t id;   /* of its buckets, the same in each image that has this limit */
	uint32_t first, mask; /* its lines */
	uint32_t name; /* offset into strings */
	uint8_t count, per_what, bits4, bits6; /* bits of the source that count */
	uint8_t action, mode, log, pad;
	uint32_t ban_s; /* seconds that who is above it is banned for; 0: not */
	uint32_t rule; /* whose connections it counts: 1 + its number; 0: what comes in, whatever rule lets it in */
};
_Static_assert(sizeof(struct weir_limit) == 80, "ABI");

struct weir_limit_slot {
	uint64_t key; /* 0: never used */
	uint64_t full;
};

WEIR_INLINE uint64_t weir_limit_clock(uint64_t ns)
{
	return ns << WEIR_LIMIT_SHIFT;
}

/* What the bucket owes. */
WEIR_INLINE uint64_t weir_limit_debt(const struct weir_limit *l, uint64_t full, uint64_t now)
{
	uint64_t debt = full - now;

	return debt > l->room + l->most * l->per ? 0 : debt;
}

WEIR_INLINE bool weir_limit_refuses(const struct weir_limit *l, uint64_t full, uint64_t now)
{
	return weir_limit_debt(l, full, now) > l->room;
}

/* Take n tokens for `key` from the slot, whoever stood there. False: refused, nothing is taken. */
WEIR_INLINE bool weir_limit_take(const struct weir_limit *l, struct weir_limit_slot *s, uint64_t key, uint64_t now,
				 uint64_t n)
{
	uint64_t debt = s->key == key ? weir_limit_debt(l, s->full, now) : 0;

	if (debt > l->room)
		return false;
	s->full = now + debt + (n > l->most ? l->most : n) * l->per;
	WEIR_REREAD(); /* who looks without the lock must not see the new key with the debt of the old one */
	s->key = key;
	return true;
}

/* Where the key stands, else the slot that owes least: 0 .. WEIR_LIMIT_WAYS - 1 of line a, then of b. */
WEIR_INLINE uint32_t weir_limit_pick(const struct weir_limit *l, const struct weir_limit_slot *a,
				     const struct weir_limit_slot *b, uint64_t key, uint64_t now)
{
	uint64_t least = UINT64_MAX;
	uint32_t at = 0;

	for (uint32_t i = 0; i < 2 * WEIR_LIMIT_WAYS; i++) {
		const struct weir_limit_slot *s = i < WEIR_LIMIT_WAYS ? &a[i] : &b[i - WEIR_LIMIT_WAYS];
		uint64_t debt;

		if (s->key == key)
			return i;
		debt = s->key ? weir_limit_debt(l, s->full, now) : 0;
		if (debt < least) {
			least = debt;
			at = i;
		}
	}
	return at;
}

/* Two sources of one limit share a key only by the chance of 64 bits, IPv4 never; without the seed nobody finds two. */
WEIR_INLINE uint64_t weir_limit_key(const struct weir_limit *l, uint64_t hi, uint64_t lo, uint64_t seed)
{
	bool v4 = !hi && lo >> 32 == 0xffff;
	uint32_t bits = v4 ? l->bits4 : l->bits6;
	uint64_t x;

	if (!v4) {
		if (bits <= 64)
			lo = 0;
		else if (bits < 128)
			lo &= ~(uint64_t)0 << (128 - bits);
		if (!bits)
			hi = 0;
		else if (bits < 64)
			hi &= ~(uint64_t)0 << (64 - bits);
	} else if (!bits) {
		hi = lo = 0; /* one for all, of both families */
	} else if (bits < 32) {
		lo &= ~(uint64_t)0 << (32 - bits);
	}
	x = (hi ^ seed ^ l->id) * 0x9e3779b97f4a7c15ull;
	x ^= x >> 32;
	x = (x ^ lo) * 0xbf58476d1ce4e5b9ull;
	x ^= x >> 29;
	x = (x ^ seed) * 0x94d049bb133111ebull;
	x ^= x >> 32;
	return x ? x : 1;
}

/* The two lines where a key may stand. */
WEIR_INLINE uint32_t weir_limit_line(const struct weir_limit *l, uint64_t key, uint32_t which)
{
	return l->first + ((uint32_t)(which ? key >> 32 : key) & l->mask);
}

/* Costs from rate and burst, as the compiler writes them. False: such a bucket would hold more than two weeks. */
static inline bool weir_limit_make(struct weir_limit *l)
{
	uint64_t unit = l->rate_s * 1000000000ull << WEIR_LIMIT_SHIFT;

	if (!l->rate || !l->burst || !l->rate_s || l->rate_s > 86400)
		return false;
	l->per = (unit + l->rate / 2) / l->rate;
	if (!l->per || (l->burst - 1) > WEIR_LIMIT_ROOM_MAX / l->per)
		return false;
	l->room = (l->burst - 1) * l->per;
	l->most = WEIR_LIMIT_ROOM_MAX / l->per;
	if (l->most > (l->count == WEIR_LIMIT_BYTES ? 1u << 20 : 1u << 10))
		l->most = l->count == WEIR_LIMIT_BYTES ? 1u << 20 : 1u << 10; /* more than the largest packet has */
	return l->most > 0;
}

static inline bool weir_limit_ok(const struct weir_limit *l)
{
	return l->per && l->most && l->room <= WEIR_LIMIT_ROOM_MAX && l->most <= WEIR_LIMIT_ROOM_MAX / l->per &&
	       l->count <= WEIR_LIMIT_RULE && l->per_what <= WEIR_PER_ALL && l->bits4 <= 32 && l->bits6 <= 128 &&
	       l->action >= 1 && l->action <= 2 && l->ban_s <= 366 * 86400 && l->mode <= WEIR_PREVENT && !(l->mask & (l->mask + 1)) &&
	       l->first <= WEIR_LIMIT_OWN + WEIR_LIMIT_LINES && l->mask < WEIR_LIMIT_LINES &&
	       l->first + l->mask < WEIR_LIMIT_OWN + WEIR_LIMIT_LINES;
}
