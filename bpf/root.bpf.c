/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the hooks lead while a change waits for its confirmation: read the one word that says which of two
 * generations decides until when, look at the clock, and go there. No process has to live for a change to go back.
 * What decides afterwards is attached itself: this costs nothing on an ordinary day. Minimum kernel 5.10.
 */
#include "bpf/maps.h"

/* shared: the generations, by slot; pinned, for a program array is emptied with its last user */
WEIR_MAP(BPF_MAP_TYPE_PROG_ARRAY, WEIR_GEN_SLOTS * 2, uint32_t, uint32_t, weir_gens_tc); /* slot * 2, + 1 for egress */
WEIR_MAP(BPF_MAP_TYPE_PROG_ARRAY, WEIR_GEN_SLOTS, uint32_t, uint32_t, weir_gens_xdp);

/* The slot that decides now; in *ret_mode the mode of what stands there. */
WEIR_INLINE uint32_t weir_root_slot(uint32_t *ret_mode)
{
	uint32_t zero = 0, slot;
	struct weir_control *c = bpf_map_lookup_elem(&weir_control, &zero);
	uint64_t word;

	*ret_mode = WEIR_PREVENT;
	if (!c)
		return WEIR_GEN_SLOTS;
	word = *(volatile uint64_t *)&c->word;
	slot = weir_word_slot(word, bpf_ktime_get_boot_ns() / 1000000);
	*ret_mode = slot == c->back_slot ? c->back_mode : c->mode;
	return slot;
}

/* Nobody stood in the slot. */
WEIR_INLINE void weir_root_failed(void)
{
	uint32_t key = WEIR_REASON_COUNT * 3 + WEIR_STAT_FAIL_STUB;
	struct weir_counter *n = bpf_map_lookup_elem(&weir_stats, &key);

	if (n)
		n->packets++;
}

WEIR_INLINE int weir_root_tc(struct __sk_buff *skb, uint32_t egress)
{
	uint32_t mode, slot = weir_root_slot(&mode);

	bpf_tail_call(skb, &weir_gens_tc, slot * 2 + egress);
	weir_root_failed();
	return mode == WEIR_DETECT ? -1 /* TCX_NEXT, TC_ACT_UNSPEC */ : 2 /* SHOT */;
}

SEC("tc")
int weir_root_in(struct __sk_buff *skb)
{
	return weir_root_tc(skb, 0);
}

SEC("tc")
int weir_root_out(struct __sk_buff *skb)
{
	return weir_root_tc(skb, 1);
}

/* XDP only drops early what TC would drop: without a program TC decides it all. */
SEC("xdp")
int weir_root_xdp(struct xdp_md *ctx)
{
	uint32_t mode, slot = weir_root_slot(&mode);

	bpf_tail_call(ctx, &weir_gens_xdp, slot);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
