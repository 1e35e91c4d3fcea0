/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe of core/blocklist.h in the kernel. Every run takes the next address of a trace, so that neither caches
 * nor predictors learn it; `base` does the same and looks for nothing, and is subtracted. `bare` only drops.
 */
#include "bpf/vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "bench/blocklist.h"
#include "core/types.h"

struct weir_img;
struct weir_block_line;
WEIR_INLINE const struct weir_block_line *weir_img_block_line(const struct weir_img *img, uint32_t i);
#include "core/blocklist.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct weir_block_line);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_BENCH_ADDRS);
	__type(key, uint32_t);
	__type(value, struct weir_bench_addr);
} trace SEC(".maps");

uint64_t at, hits;

WEIR_INLINE const struct weir_block_line *weir_img_block_line(const struct weir_img *img, uint32_t i)
{
	uint32_t key = i;

	return bpf_map_lookup_elem(&lines, &key);
}

WEIR_INLINE const struct weir_bench_addr *next_addr(void)
{
	uint32_t i = at++ & (WEIR_BENCH_ADDRS - 1);

	return bpf_map_lookup_elem(&trace, &i);
}

SEC("xdp")
int bare(struct xdp_md *ctx)
{
	return 1; /* XDP_DROP */
}

SEC("xdp")
int base(struct xdp_md *ctx)
{
	const struct weir_bench_addr *a = next_addr();

	if (!a)
		return 0;
	hits += (a->hi ^ a->lo) & 1;
	return 1;
}

SEC("xdp")
int probe4(struct xdp_md *ctx)
{
	const struct weir_bench_addr *a = next_addr();

	if (!a)
		return 0;
	hits += weir_block_list4(0, (uint32_t)a->lo);
	return 1;
}

SEC("xdp")
int probe6(struct xdp_md *ctx)
{
	const struct weir_bench_addr *a = next_addr();

	if (!a)
		return 0;
	hits += weir_block_list6(0, a->hi, a->lo);
	return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
