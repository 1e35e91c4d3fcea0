/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The global functions that TC's way of a packet is made of: verified once each, their state in the scratch map. */
#pragma once
#include "bpf/image_maps.h"

#define WEIR_UNDECIDED (-1) /* beside enum weir_verdict */

/* facts.bpf.c */
int weir_dir(struct __sk_buff *skb);
int weir_tell_time(void);
int weir_gather(uint32_t dir);
/* failsafe.bpf.c: 1, the packet is admitted. weir_stage_dead: 1, the death of the daemon decides */
int weir_failsafe_stage(uint32_t opens);
int weir_asker_stage(void);
int weir_asker_remember(void);
int weir_related_stage(void);
int weir_stage_dead(struct __sk_buff *skb);
/* ban.bpf.c: 1, its remote end is banned or listed, and it is stopped */
int weir_lists_stage(void);
/* flow.bpf.c */
int weir_rejudge(uint32_t half);
int weir_bound_stop(uint32_t half);
int weir_remember(uint32_t flags);
/* report.bpf.c: what the hook does, enum weir_verdict */
int weir_report(uint64_t id);
