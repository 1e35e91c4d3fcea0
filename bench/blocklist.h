/* SPDX-License-Identifier: Apache-2.0 */
/* What bench/blocklist.c and its program share. */
#pragma once
#include <stdint.h>

#define WEIR_BENCH_ADDRS (1u << 18)

struct weir_bench_addr {
	uint64_t hi, lo; /* IPv4 in lo */
};
