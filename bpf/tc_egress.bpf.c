/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TC egress: sees every frame that leaves through an interface, after routing and translation. Judges what
 * this host sends and what it forwards. What a device above has judged (the VLAN, the bridge, the bond) is
 * not judged again by the device below. Packets of AF_PACKET senders that bypass the queueing layer do not
 * come here. Minimum kernel 5.10 (clsact), tcx from 6.6.
 */
#include "bpf/note.h"
#include "bpf/tc.h"

/* tc_index is believed when it was written here or at an ingress of ours, never from another namespace. */
WEIR_INLINE bool weir_index_ours(struct __sk_buff *skb)
{
	uint32_t in = skb->ingress_ifindex;

	return !in || bpf_map_lookup_elem(&weir_ifaces, &in);
}

/*
 * Dropped, and the sender on this host learns as much as if the network had lost it: a redirect to no device. What the
 * queueing layer says that it drops, TCP takes for congestion of this host: it tries again twice a second and gives the
 * connection up after tcp_retries2 tries (15: 8 seconds), so that an ssh session that an unconfirmed change cut would
 * be dead before the change goes back (tcp_send_probe0, tcp_retransmit_timer; seen on 6.18).
 */
WEIR_INLINE int weir_lost(const struct weir_scratch *s)
{
	return s->in_ifindex ? WEIR_TC_SHOT : (int)bpf_redirect(0, 0);
}

SEC("tc")
int weir_tc_out(struct __sk_buff *skb)
{
	struct weir_scratch *s;
	int v;

	if (skb->tc_index && !weir_index_ours(skb))
		skb->tc_index = 0;
	s = weir_skb_parse(skb, WEIR_HOOK_TC_OUT);
	if (!s)
		return WEIR_TC_SHOT;
	if (weir_note_is_own(skb, s)) {
		weir_note_judged(skb, s);
		return WEIR_TC_NEXT;
	}
	if (weir_note_was_judged(skb, s))
		return WEIR_TC_NEXT;
	weir_note_read(skb, s);
	v = weir_decide(skb);
	if (v == WEIR_PASS) {
		weir_note_judged(skb, s);
		return WEIR_TC_NEXT;
	}
	v = v == WEIR_REJECT && (weir_config()->proto_features & WEIR_FEAT_REJECT) ? weir_reject(skb) : WEIR_TC_SHOT;
	return v == WEIR_TC_SHOT ? weir_lost(s) : v;
}
