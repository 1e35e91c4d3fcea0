/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TC ingress: sees every frame that an interface receives, before routing, reassembly and translation.
 * Judges what is for this host; what is forwarded gets its early stages here and the rest at egress.
 * Minimum kernel 5.10 (clsact), tcx from 6.6.
 */
#include "bpf/note.h"
#include "bpf/tc.h"

#define PACKET_OTHERHOST 3 /* skb->pkt_type: the address is not the device's; its own stack will not take it */

/* Is the frame another device's to judge: a VLAN device or macvlan on this one, a bond above it, PPPoE? */
WEIR_INLINE bool weir_judged_above(const struct __sk_buff *skb, struct weir_scratch *s)
{
	if ((s->ifflags & WEIR_IF_MACVLAN) && skb->pkt_type == PACKET_OTHERHOST)
		return true;
	if ((s->ifflags & WEIR_IF_SLAVE) || ((s->pkt.has & WEIR_HAS_PPPOE) && (s->ifflags & WEIR_IF_PPPOE)))
		return true;
	/* the outermost tag of the frame itself: a VLAN device's own comes before it */
	s->vlan_key.vid = s->pkt.vlan[s->ifflags & WEIR_IF_VLAN ? 1 : 0];
	s->vlan_key.ifindex = s->ifindex;
	return s->vlan_key.vid && bpf_map_lookup_elem(&weir_vlans, &s->vlan_key);
}

/*
 * 01:80:c2:00:00:00 to 0f: a bridge does not bridge them and a bond may not hand them up, their port's own stack gets them,
 * IP packets to any address of this host among them. Where somebody has them bridged they are judged at egress, too.
 */
WEIR_INLINE bool weir_for_the_port(const struct weir_pkt *p)
{
	return p->family && (p->has & WEIR_HAS_MAC) && weir_be32(p->dmac) == 0x0180c200 && !p->dmac[4] && p->dmac[5] < 16;
}

SEC("tc")
int weir_tc_in(struct __sk_buff *skb)
{
	struct weir_scratch *s = weir_skb_parse(skb, WEIR_HOOK_TC_IN);
	int v;

	if (!s)
		return WEIR_TC_SHOT;
	if (weir_note_is_own(skb, s))
		return WEIR_TC_NEXT;
	skb->tc_index = 0; /* nothing that another namespace left is believed */
	if (weir_for_the_port(&s->pkt))
		s->ifflags &= ~(uint32_t)(WEIR_IF_BRIDGE_PORT | WEIR_IF_SLAVE);
	if (s->parsed == WEIR_REASON_NONE && weir_judged_above(skb, s))
		return WEIR_TC_NEXT;
	v = weir_decide(skb);
	if (v == WEIR_PASS) {
		weir_emit_dns(skb, s);
		return WEIR_TC_NEXT;
	}
	if (v == WEIR_REJECT && (weir_config()->proto_features & WEIR_FEAT_REJECT))
		return weir_reject(skb);
	return WEIR_TC_SHOT;
}
