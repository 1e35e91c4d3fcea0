/* SPDX-License-Identifier: Apache-2.0 */
/* Drops of the last minute by reason, from samples every five seconds. */
#pragma once
#include "core/reason.h"
#include "lib/kern/kern.h"

#define WEIR_RATES_SLOTS 12
#define WEIR_RATES_EVERY_S 5

struct weir_rates {
	uint64_t drops[WEIR_RATES_SLOTS][WEIR_REASON_COUNT];
	uint64_t lost[WEIR_RATES_SLOTS]; /* records that no ring took */
	size_t next, n;
};

/* Packets dropped or rejected for a reason, of a read-out of weir_kern_stats. */
uint64_t weir_stats_dropped(const struct weir_counter *stats, uint32_t reason);
void weir_rates_sample(struct weir_rates *r, const struct weir_counter *stats);
/* Records lost of both rings; and those lost since the oldest sample. */
uint64_t weir_stats_lost(const struct weir_counter *stats);
uint64_t weir_rates_lost(const struct weir_rates *r, const struct weir_counter *stats);
/* Since the oldest sample, which is up to a minute old. *ret_seconds: how old; 0 = no sample yet. */
uint64_t weir_rates_since(const struct weir_rates *r, const struct weir_counter *stats, uint32_t reason,
			  uint32_t *ret_seconds);
