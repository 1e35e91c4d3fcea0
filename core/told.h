/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which denied conversations were reported a moment ago: each is told once a second; what is held back in between is
 * counted, and told with its next report.
 *
 * A table of sets that are written in place, by all CPUs and without locks. A conversation holds back its own reports and
 * nobody else's: the whole key is compared. When a set is full, one goes whose second is over, else the one that held back
 * least, so that no flood of new ones makes room for what repeats: who goes may be told again early, and never too late.
 * Two CPUs that write one slot at the same time leave a key that fits neither: both are told again.
 */
#pragma once
#include "core/flow.h"

#define WEIR_TOLD_WAYS 4u
#define WEIR_TOLD_SETS 2048u /* a power of two */

struct weir_told {
	uint32_t tag[WEIR_TOLD_WAYS];  /* 0: free */
	uint32_t last[WEIR_TOLD_WAYS]; /* jiffies of the last report */
	uint32_t held[WEIR_TOLD_WAYS]; /* back since then */
	uint32_t pad[4];
	struct weir_flow_key key[WEIR_TOLD_WAYS];
	uint64_t pad1[4];
};
_Static_assert(sizeof(struct weir_told) == 256, "whole lines; what every packet asks for is in the first");

/* The lower half is the tag, the top says which set. Nobody gains by finding two that meet. */
WEIR_INLINE uint64_t weir_told_hash(const struct weir_flow_key *k)
{
	uint64_t w[5] = { weir_be64(k->a), weir_be64(k->a + 8), weir_be64(k->b), weir_be64(k->b + 8),
			  (uint64_t)k->aport << 48 | (uint64_t)k->bport << 32 | k->zone };
	uint64_t x = 0;

	for (int i = 0; i < 5; i++) {
		x = (x ^ w[i]) * 0x9e3779b97f4a7c15ull;
		x ^= x >> 32;
	}
	return x;
}

WEIR_INLINE uint32_t weir_told_set(uint64_t hash)
{
	return (uint32_t)(hash >> 32) / (uint32_t)((1ull << 32) / WEIR_TOLD_SETS); /* what came last into the hash reaches only its top */
}

WEIR_INLINE bool weir_told_same(const struct weir_flow_key *x, const struct weir_flow_key *y)
{
	uint64_t ends = (weir_be64(x->a) ^ weir_be64(y->a)) | (weir_be64(x->a + 8) ^ weir_be64(y->a + 8)) |
			(weir_be64(x->b) ^ weir_be64(y->b)) | (weir_be64(x->b + 8) ^ weir_be64(y->b + 8));

	return !ends && x->aport == y->aport && x->bport == y->bport && x->zone == y->zone;
}

/*
 * May it be told now? `set`: that of weir_told_set, `second` and `now` in jiffies. 0: no, and so it is counted. Else it is
 * noted as told: 1 and how many were held back since the last time.
 */
WEIR_INLINE uint32_t weir_told_due(struct weir_told *set, uint64_t hash, const struct weir_flow_key *key, uint32_t now,
				   uint32_t second)
{
	uint32_t tag = (uint32_t)hash, at = 0, held;
	uint64_t least = ~0ull;

	tag += !tag;
	for (uint32_t i = 0; i < WEIR_TOLD_WAYS; i++) {
		uint32_t age = now - set->last[i];
		uint64_t worth = !set->tag[i] || age >= second ? 0 : (set->held[i] + 1ull) << 32 | (~age & 0xffffffffu);

		if (set->tag[i] == tag && weir_told_same(&set->key[i], key)) {
			if (age < second) {
				set->held[i]++;
				return 0;
			}
			held = set->held[i];
			set->held[i] = 0;
			set->last[i] = now;
			return held + 1;
		}
		if (worth < least) {
			least = worth;
			at = i;
		}
	}
	at &= WEIR_TOLD_WAYS - 1;
	set->key[at] = *key;
	set->held[at] = 0;
	set->last[at] = now;
	set->tag[at] = tag;
	return 1;
}
