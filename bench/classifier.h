/* SPDX-License-Identifier: Apache-2.0 */
/* What bench/classifier_kernel.c and its program share. */
#pragma once
#include "core/types.h"

#define WEIR_BENCH_KEYS (1u << 18)

/* What of a packet is looked at, as small as it goes: what it takes of the caches is the trace's cost, not the tree's. */
struct weir_bench_packet4 {
	uint32_t src, dst;
	uint16_t sport, dport;
	uint8_t proto, dir, pad[2];
};

struct weir_bench_packet6 {
	uint64_t addr[4]; /* source, destination */
	uint16_t sport, dport;
	uint8_t proto, dir, pad[2];
};
