/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir notes of a packet of a settled flow, taken out of its programs: the counters of its reason and of its rule,
 * and the flow's own step. The same without, which touches the flow as the lookup does, is subtracted.
 */
#include "bpf/emit.h"

#include "bench/traffic.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_BENCH_FLOWS);
	__type(key, uint32_t);
	__type(value, struct weir_flow);
} bench_flows SEC(".maps");

WEIR_INLINE int settled(struct __sk_buff *skb, bool noted)
{
	const uint8_t *data = (const uint8_t *)(long)skb->data, *src = data + WEIR_BENCH_HEAD_AT + 2;
	struct weir_scratch *s = weir_scratch_get();
	struct weir_flow *f;
	uint32_t i;

	if (src + 4 > (const uint8_t *)(long)skb->data_end)
		return 2; /* TC_ACT_SHOT */
	i = (uint32_t)src[2] << 8 | src[3]; /* the source address says which flow */
	f = bpf_map_lookup_elem(&bench_flows, &i);
	if (!s || !f)
		return 2;
	s->len = skb->len;
	s->segs = 1;
	s->now = i;
	s->flow_id = f->id + f->generation;
	if (!noted)
		return -1;
	s->pkt.proto = WEIR_IPPROTO_TCP;
	s->pkt.tcp_flags = WEIR_TCP_ACK;
	s->pkt.ip_len = (uint16_t)s->len;
	s->res.enforced = WEIR_PASS;
	s->res.enforced_reason = WEIR_REASON_FLOW;
	s->res.wanted_rule = WEIR_RULE_DEFAULT_IN;
	weir_flow_step(f, &s->pkt, 0, s->now, s->segs);
	weir_count_result(s);
	weir_count_hit(s);
	return -1;
}

SEC("tc")
int settled_tc(struct __sk_buff *skb)
{
	return settled(skb, false);
}

SEC("tc")
int noted_tc(struct __sk_buff *skb)
{
	return settled(skb, true);
}

char _license[] SEC("license") = "Dual BSD/GPL";
