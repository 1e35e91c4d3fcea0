/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the failsafe could admit, found without asking its entries: the gate, and whether this host asked anybody. */
#pragma once
#include "bpf/emit.h"
#include "core/gate.h"

WEIR_INLINE const struct weir_gate *weir_gate_get(void)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(&weir_gates, &zero);
}

WEIR_INLINE bool weir_opens(const struct weir_pkt *p)
{
	return p->proto == WEIR_IPPROTO_TCP && (p->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == WEIR_TCP_SYN;
}

/*
 * May an entry of the failsafe admit this packet, or one that it answers? `dirs`: the directions that it can have. False is
 * certain. Not for a later fragment.
 */
WEIR_INLINE bool weir_gate_open(const struct weir_pkt *p, uint32_t dirs, bool opens)
{
	const struct weir_gate *g = weir_gate_get();

	if (!weir_config()->n_failsafe)
		return false;
	return !g || weir_gate_admits(g, p, dirs, opens);
}

/* May this host have sent a multicast query within the last five seconds, which a packet of this protocol answers? */
WEIR_INLINE bool weir_asked(uint32_t proto)
{
	const struct weir_config *cfg = weir_config();
	struct weir_control *ctl = weir_control_get();

	return (cfg->essentials & WEIR_ESS_MCAST_REPLIES) && proto == WEIR_IPPROTO_UDP && ctl && ctl->asked &&
	       (uint32_t)bpf_jiffies64() - ctl->asked <= 5 * cfg->hz;
}
