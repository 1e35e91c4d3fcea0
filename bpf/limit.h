/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The stage of the limits, for the hooks. limit.bpf.c */
#pragma once
#include "bpf/emit.h"

#define WEIR_LIMIT_FLOOD (1u << WEIR_LIMIT_PACKETS | 1u << WEIR_LIMIT_BYTES) /* counted before the flow's verdict */
#define WEIR_LIMIT_NEW (1u << WEIR_LIMIT_CONNECTIONS)
#define WEIR_LIMIT_OF_RULE (1u << WEIR_LIMIT_RULE) /* counted when a rule lets a connection in */
#define WEIR_LIMIT_PEEK (1u << 8) /* take nothing */

int weir_limit_stage(uint32_t what);
int weir_limit_rule(void); /* the rule that lets the connection in, or would, has a limit, and it is used up: 1 when enforced */

/* Bans that the programs make. ban.bpf.c */
int weir_is_caught(void); /* is the packet's remote end banned so? */
int weir_catch(void);     /* s->ban_s and s->ban_rule are set: ban the packet's source */

/* Are packets counted where this one is? A bridge's came in by one of its ports, which has counted them. */
WEIR_INLINE bool weir_limit_here(const struct weir_scratch *s)
{
	return (weir_config()->limit_counts & WEIR_LIMIT_FLOOD) && s->hook != WEIR_HOOK_TC_OUT &&
	       !(s->ifflags & WEIR_IF_BRIDGE);
}
