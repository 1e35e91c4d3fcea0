/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/worker/rates.h"

uint64_t weir_stats_dropped(const struct weir_counter *stats, uint32_t reason)
{
	return stats[reason * 3 + WEIR_DROP].packets + stats[reason * 3 + WEIR_REJECT].packets;
}

void weir_rates_sample(struct weir_rates *r, const struct weir_counter *stats)
{
	for (uint32_t i = 0; i < WEIR_REASON_COUNT; i++)
		r->drops[r->next][i] = weir_stats_dropped(stats, i);
	r->lost[r->next] = weir_stats_lost(stats);
	r->next = (r->next + 1) % WEIR_RATES_SLOTS;
	if (r->n < WEIR_RATES_SLOTS)
		r->n++;
}

uint64_t weir_stats_lost(const struct weir_counter *stats)
{
	return stats[WEIR_REASON_COUNT * 3 + WEIR_STAT_LOST_VERDICT].packets +
	       stats[WEIR_REASON_COUNT * 3 + WEIR_STAT_LOST_TELEMETRY].packets;
}

uint64_t weir_rates_lost(const struct weir_rates *r, const struct weir_counter *stats)
{
	size_t oldest = (r->next + WEIR_RATES_SLOTS - r->n) % WEIR_RATES_SLOTS;
	uint64_t now = weir_stats_lost(stats);

	return r->n && now >= r->lost[oldest] ? now - r->lost[oldest] : 0;
}

uint64_t weir_rates_since(const struct weir_rates *r, const struct weir_counter *stats, uint32_t reason,
			  uint32_t *ret_seconds)
{
	size_t oldest = (r->next + WEIR_RATES_SLOTS - r->n) % WEIR_RATES_SLOTS;
	uint64_t now = weir_stats_dropped(stats, reason);

	*ret_seconds = (uint32_t)r->n * WEIR_RATES_EVERY_S;
	/* counters of a new image may begin again */
	return r->n && now >= r->drops[oldest][reason] ? now - r->drops[oldest][reason] : 0;
}
