/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The guard: a netfilter program that drops IP packets of interfaces that are not covered yet. User space
 * cannot win the race after a new interface appears; this is in force before it does. Attached at
 * PRE_ROUTING and POST_ROUTING while a drop default is enforced. Minimum kernel 6.4; older ones get the
 * same from one nftables table. While a change waits for its confirmation it stands only for the one of the two
 * that needs it.
 */
#include "bpf/maps.h"
#include <bpf/bpf_core_read.h>

#define WEIR_NF_DROP 0
#define WEIR_NF_ACCEPT 1

/* Does what decides now want a guard? */
WEIR_INLINE bool weir_guard_wanted(void)
{
	uint32_t zero = 0;
	struct weir_control *c = bpf_map_lookup_elem(&weir_control, &zero);
	uint64_t word = c ? *(volatile uint64_t *)&c->word : 0;

	if (!word) /* it was attached because it is needed */
		return true;
	return weir_word_slot(word, bpf_ktime_get_boot_ns() / 1000000) == c->back_slot ? c->back_guard : c->guard;
}

SEC("netfilter")
int weir_guard(struct bpf_nf_ctx *ctx)
{
	const struct nf_hook_state *state = ctx->state;
	struct net_device *dev = state->hook == 4 ? state->out : state->in;
	uint32_t ifindex, key = WEIR_REASON_COUNT * 3 + WEIR_STAT_GUARD;
	struct weir_counter *c;

	if (!dev)
		return WEIR_NF_ACCEPT;
	ifindex = (uint32_t)dev->ifindex;
	if (bpf_map_lookup_elem(&weir_covered, &ifindex) || !weir_guard_wanted())
		return WEIR_NF_ACCEPT;
	c = bpf_map_lookup_elem(&weir_stats, &key);
	if (c)
		c->packets++;
	return WEIR_NF_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
