/* SPDX-License-Identifier: Apache-2.0 */
/* What bench/classifier_kernel.c and its program share. */
#pragma once
#include "core/types.h"

#define WEIR_BENCH_KEYS (1u << 17)

struct weir_bench_packet {
	uint64_t addr[4]; /* source, destination; IPv4 in the first of each two */
	uint16_t sport, dport;
	uint8_t proto, dir, family, pad;
};
