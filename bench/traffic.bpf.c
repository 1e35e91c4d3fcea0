/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every run makes another packet of the same frame, so that neither caches nor predictors learn it, and hands it to
 * a program of weir's (by a tail call) or to a device. The floors do the same and stop there.
 */
#include "bpf/vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "bench/traffic.h"
#include "core/parse.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_BENCH_HEADS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, uint32_t);
	__type(value, struct weir_bench_head);
} heads SEC(".maps");

/* What a packet goes to: an XDP program, a TC program. One map can hold only one kind. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, uint32_t);
} next_xdp SEC(".maps"), next_tc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct weir_pkt);
} parsed SEC(".maps");

/* As large as a blocklist of a million addresses can hardly be smaller: 4 MiB. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_BENCH_COLD);
	__type(key, uint32_t);
	__type(value, struct weir_bench_line);
} cold SEC(".maps");

uint64_t at;
const volatile uint32_t out; /* the device that frames are sent to */

WEIR_INLINE int rotate(uint8_t *data, const uint8_t *end)
{
	uint32_t i = at++ & (WEIR_BENCH_HEADS - 1);
	const struct weir_bench_head *h = bpf_map_lookup_elem(&heads, &i);

	if (!h || data + WEIR_BENCH_HEAD_AT + WEIR_BENCH_HEAD_LEN > end)
		return 0;
	__builtin_memcpy(data + WEIR_BENCH_HEAD_AT, h, WEIR_BENCH_HEAD_LEN);
	return 1;
}

SEC("xdp")
int rotate_xdp(struct xdp_md *ctx)
{
	if (rotate((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		bpf_tail_call(ctx, &next_xdp, 0);
	return 0; /* XDP_ABORTED */
}

SEC("xdp")
int send_xdp(struct xdp_md *ctx)
{
	if (rotate((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return (int)bpf_redirect(out, 0);
	return 0;
}

SEC("xdp")
int send_nowhere(struct xdp_md *ctx)
{
	return rotate((void *)(long)ctx->data, (void *)(long)ctx->data_end);
}

SEC("xdp")
int drop_xdp(struct xdp_md *ctx)
{
	return 1; /* XDP_DROP */
}

/* The least that any list of many addresses can do: one line of the cache, chosen by the source, decides. */
SEC("xdp")
int drop_cold_xdp(struct xdp_md *ctx)
{
	const uint8_t *data = (const uint8_t *)(long)ctx->data, *end = (const uint8_t *)(long)ctx->data_end;
	const struct weir_bench_line *l;
	uint32_t i;

	if (data + WEIR_BENCH_SOURCE_AT + 4 > end)
		return 0;
	i = weir_be32(data + WEIR_BENCH_SOURCE_AT) * 0x9e3779b1u >> 16 & (WEIR_BENCH_COLD - 1);
	l = bpf_map_lookup_elem(&cold, &i);
	return l && !l->w[0] ? 1 : 2; /* XDP_DROP, XDP_PASS: nothing is written into it */
}

SEC("xdp")
int parse_xdp(struct xdp_md *ctx)
{
	struct weir_cursor c = { 0 };
	struct weir_pkt *p;
	uint32_t zero = 0;

	p = bpf_map_lookup_elem(&parsed, &zero);
	if (!p)
		return 0;
	__builtin_memset(p, 0, sizeof *p);
	c.data = (const uint8_t *)(long)ctx->data;
	c.end = (const uint8_t *)(long)ctx->data_end;
	c.frame_len = (uint32_t)(ctx->data_end - ctx->data);
	return weir_parse(&c, p, 0, 0) == WEIR_REASON_NONE;
}

SEC("tc")
int rotate_tc(struct __sk_buff *skb)
{
	if (rotate((void *)(long)skb->data, (void *)(long)skb->data_end))
		bpf_tail_call(skb, &next_tc, 0);
	return 2; /* TC_ACT_SHOT */
}

SEC("tc")
int pass_tc(struct __sk_buff *skb)
{
	return -1; /* what weir says when it lets a packet pass */
}

char _license[] SEC("license") = "Dual BSD/GPL";
