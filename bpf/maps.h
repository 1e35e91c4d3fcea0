/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * All maps, one line each on who writes and who reads. __weak: several objects name them, the linker
 * merges them. "Generation" maps are made anew, at exact size, for every image; "shared" ones are pinned
 * and live on across generations, restarts and the daemon's death.
 */
#pragma once
#include "bpf/vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "bpf/scratch.h"
#include "core/gate_table.h"
#include "core/told.h"

#define WEIR_MAP(map_type, n, key_type, value_type, map_name) \
	struct {                                              \
		__uint(type, map_type);                       \
		__uint(max_entries, n);                       \
		__type(key, key_type);                        \
		__type(value, value_type);                    \
	} map_name __weak SEC(".maps")

/* What the programs are specialised by: the verifier knows every value and removes what they rule out. */
__weak const volatile struct weir_config weir_cfg SEC(".rodata");

WEIR_INLINE const struct weir_config *weir_config(void)
{
	const struct weir_config *cfg = (const struct weir_config *)&weir_cfg;

	asm volatile("" : "+r"(cfg)); /* else clang folds the zeros that it sees here (weak_odr constant) */
	return cfg;
}

/*
 * Before Linux 5.14 ingress sees what a tunnel received with its outer headers, in the place of a hardware header: where
 * sk_buff.mac_len, their length, lies. 0: nothing to skip. Told by the keeper, so that no program has to be relocated.
 */
__weak const volatile uint32_t weir_mac_len_at SEC(".rodata");

/* generation: the sections of the image; written by the keeper before the programs run, then only read */
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_rule, weir_rules);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_heads, weir_heads);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_rule, weir_failsafe);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_gate, weir_gates);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_cond, weir_negs);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_span, weir_spans);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_tree_line, weir_tree);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_bound4, weir_bounds4);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_bound6, weir_bounds6);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_bound4, weir_bounds_p);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, uint64_t, weir_addr_rows);
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, uint64_t, weir_port_rows);
/*
 * generation: what the blocklists hold, in one of two places (core/block_line.h). The keeper writes the lines that
 * differ into the place that is not asked, and then says in line 0 that it is.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, uint32_t);
	__type(value, struct weir_block_line);
} weir_block __weak SEC(".maps");
/* generation: the limits of the image */
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_limit, weir_limits);
/* generation: for each minute of the week, a bit per list of windows that holds then */
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, uint64_t, weir_times);
/* shared: the buckets, see core/limit.h; programs write. Larger when the policy has limits */
WEIR_MAP(BPF_MAP_TYPE_ARRAY, 1, uint32_t, struct weir_limit_line, weir_buckets);
/* generation: hits per rule, then the three defaults, then the limits; programs write, the keeper reads */
WEIR_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 4, uint32_t, struct weir_counter, weir_hits);
/* generation: what the image's interface patterns say of each interface; the keeper writes */
WEIR_MAP(BPF_MAP_TYPE_HASH, 4096, uint32_t, struct weir_iface, weir_ifaces);
/*
 * generation: the working memory of one packet; TC and XDP never interrupt each other on one CPU. A generation under
 * test runs outside of the softirq that the others run in, so they must not share it.
 */
WEIR_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 1, uint32_t, struct weir_scratch, weir_scratch);

/* shared: tags that VLAN devices take; the keeper writes */
WEIR_MAP(BPF_MAP_TYPE_HASH, 4096, struct weir_vlan_key, uint32_t, weir_vlans);
/* shared: promoted flows and half-open ones; programs write, the keeper seeds and reads */
WEIR_MAP(BPF_MAP_TYPE_LRU_HASH, 65536, struct weir_flow_key, struct weir_flow, weir_flows);
WEIR_MAP(BPF_MAP_TYPE_LRU_HASH, 16384, struct weir_flow_key, struct weir_flow, weir_talks);
WEIR_MAP(BPF_MAP_TYPE_LRU_HASH, 16384, struct weir_flow_key, struct weir_flow, weir_half);
/* shared: verdicts of first fragments, for the later ones */
WEIR_MAP(BPF_MAP_TYPE_LRU_HASH, 8192, struct weir_frag_key, struct weir_frag, weir_frags);
/* shared: own multicast queries of the last seconds; key: address and port that asked; value: jiffies */
WEIR_MAP(BPF_MAP_TYPE_LRU_HASH, 1024, struct weir_asker, uint32_t, weir_askers);
/* shared: when a denied conversation was last reported */
WEIR_MAP(BPF_MAP_TYPE_ARRAY, WEIR_TOLD_SETS, uint32_t, struct weir_told, weir_told);
/* shared: what ingress knew of a packet, for egress; the index travels in skb->tc_index */
WEIR_MAP(BPF_MAP_TYPE_ARRAY, WEIR_NOTES, uint32_t, struct weir_note, weir_notes);
/* shared: bans; the keeper writes */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_ban_key);
	__type(value, struct weir_ban);
} weir_bans __weak SEC(".maps");
/* shared: bans by rules and limits; programs write, the keeper reads and takes away */
WEIR_MAP(BPF_MAP_TYPE_LRU_HASH, 16384, struct weir_caught_key, struct weir_caught, weir_caught);
/* shared: this host's addresses, and with the last half zero the /64 of those of IPv6; the keeper writes */
WEIR_MAP(BPF_MAP_TYPE_HASH, WEIR_OWN_MAX, struct weir_caught_key, uint32_t, weir_own);
/* shared: changeable state; the keeper has it mapped and writes it field by field */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, uint32_t);
	__type(value, struct weir_control);
} weir_control __weak SEC(".maps");
/* shared: counters, see core/event.h */
WEIR_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, WEIR_STATS_MAX, uint32_t, struct weir_counter, weir_stats);
/* shared: per-CPU odds and ends */
WEIR_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 1, uint32_t, struct weir_local, weir_local);
/* shared: the two rings */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} weir_verdicts __weak SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} weir_telemetry __weak SEC(".maps");
/* shared: interfaces that the guard lets through */
WEIR_MAP(BPF_MAP_TYPE_HASH, 4096, uint32_t, uint32_t, weir_covered);
