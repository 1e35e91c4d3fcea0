/* SPDX-License-Identifier: Apache-2.0 */
/* Packets that differ: what bench/traffic.bpf.c writes into a frame, one after the other. */
#pragma once
#include "core/types.h"

#define WEIR_BENCH_HEADS (1u << 17)
#define WEIR_BENCH_HEAD_AT 24 /* in an Ethernet frame with IPv4, without options */
#define WEIR_BENCH_HEAD_LEN 14
#define WEIR_BENCH_SOURCE_AT 26
#define WEIR_BENCH_FLOWS (1u << 16)
#define WEIR_BENCH_COLD (1u << 16) /* lines */

/* As on the wire. */
struct weir_bench_head {
	uint8_t sum[2], src[4], dst[4], sport[2], dport[2];
	uint8_t pad[2];
};

struct weir_bench_line {
	uint64_t w[8];
};
