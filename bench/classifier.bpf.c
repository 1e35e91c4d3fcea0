/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk of core/tree.h in the kernel. Every run takes the next packet of a trace, so that neither caches nor
 * predictors learn it; `base` does the same and looks for nothing, and is subtracted.
 */
#include "bpf/vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "bench/classifier.h"
#include "core/tree_line.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct weir_tree_line);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_BENCH_KEYS);
	__type(key, uint32_t);
	__type(value, struct weir_bench_packet4);
} trace4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_BENCH_KEYS);
	__type(key, uint32_t);
	__type(value, struct weir_bench_packet6);
} trace6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_BENCH_KEYS);
	__type(key, uint32_t);
	__type(value, uint32_t);
} results SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct weir_tree_key);
} keys SEC(".maps");

uint64_t at;

struct weir_img {
	char none;
};

WEIR_INLINE const struct weir_tree_line *weir_img_tree_line(const struct weir_img *img, uint32_t i)
{
	uint32_t key = i;

	return bpf_map_lookup_elem(&lines, &key);
}

WEIR_INLINE struct weir_tree_key *key_get(void)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(&keys, &zero);
}

int scan_part(uint32_t line, uint32_t end);
int skip_part(uint32_t line, uint32_t end);

#define WEIR_TREE_PARTS_PROVIDED
WEIR_INLINE bool weir_tree_scan_part(const struct weir_img *img, struct weir_tree_key *k, uint32_t line, uint32_t end)
{
	return scan_part(line, end);
}

WEIR_INLINE uint32_t weir_tree_skip_part(const struct weir_img *img, const struct weir_tree_key *k, uint32_t line,
					 uint32_t end)
{
	return (uint32_t)skip_part(line, end);
}

WEIR_INLINE void weir_tree_lowest_part(const struct weir_img *img, struct weir_tree_key *k);
WEIR_INLINE void weir_tree_pair_part(struct weir_tree_key *k, const struct weir_facts *f, uint32_t pair);

#include "core/tree.h"

WEIR_INLINE void weir_tree_lowest_part(const struct weir_img *img, struct weir_tree_key *k)
{
	weir_tree_lowest(img, k);
}

WEIR_INLINE void weir_tree_pair_part(struct weir_tree_key *k, const struct weir_facts *f, uint32_t pair)
{
	weir_tree_pair(k, f, pair);
}

__noinline int scan_part(uint32_t line, uint32_t end)
{
	struct weir_tree_key *k = key_get();

	return !k || weir_tree_scan(0, k, line, end);
}

__noinline int skip_part(uint32_t line, uint32_t end)
{
	struct weir_tree_key *k = key_get();

	return k ? (int)weir_tree_skip(0, line, end, k->from, k->family == 6) : (int)line;
}

#define PACKET_TAKE(k, p)            \
	do {                         \
		(k)->sport = (p)->sport; \
		(k)->dport = (p)->dport; \
		(k)->proto = (p)->proto; \
		(k)->dir = (p)->dir;     \
	} while (0)

WEIR_INLINE struct weir_tree_key *next_packet4(uint32_t *ret_at)
{
	uint32_t i = at++ & (WEIR_BENCH_KEYS - 1);
	const struct weir_bench_packet4 *p = bpf_map_lookup_elem(&trace4, &i);
	struct weir_tree_key *k = key_get();

	if (!p || !k)
		return 0;
	PACKET_TAKE(k, p);
	weir_tree_key4(k, p->src, p->dst);
	*ret_at = i;
	return k;
}

WEIR_INLINE struct weir_tree_key *next_packet6(uint32_t *ret_at)
{
	uint32_t i = at++ & (WEIR_BENCH_KEYS - 1);
	const struct weir_bench_packet6 *p = bpf_map_lookup_elem(&trace6, &i);
	struct weir_tree_key *k = key_get();

	if (!p || !k)
		return 0;
	PACKET_TAKE(k, p);
	weir_tree_key6(k, p->addr[0], p->addr[1], p->addr[2], p->addr[3]);
	*ret_at = i;
	return k;
}

WEIR_INLINE int put_result(uint32_t i, uint32_t result)
{
	uint32_t *r = bpf_map_lookup_elem(&results, &i);

	if (r)
		*r = result;
	return 1; /* XDP_DROP */
}

#define PROGRAMS(family)                                                     \
	SEC("xdp")                                                           \
	int base##family(struct xdp_md *ctx)                                 \
	{                                                                    \
		uint32_t i;                                                  \
		struct weir_tree_key *k = next_packet##family(&i);           \
                                                                             \
		return k ? put_result(i, (uint32_t)k->w[1]) : 0;             \
	}                                                                    \
                                                                             \
	SEC("xdp")                                                           \
	int tree##family(struct xdp_md *ctx)                                 \
	{                                                                    \
		uint32_t i;                                                  \
		struct weir_tree_key *k = next_packet##family(&i);           \
                                                                             \
		return k ? put_result(i, weir_tree_next(0, k, 0)) : 0;       \
	}

PROGRAMS(4)
PROGRAMS(6)

char _license[] SEC("license") = "Dual BSD/GPL";
