/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "bpf/reject.h"

#define WEIR_TC_SHOT 2

/* Answer the denied packet of the scratch map. Returns the TC verdict; whatever fails, the packet is gone. */
__noinline int weir_reject(struct __sk_buff *skb)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_tuple t;
	long err;

	if (!s || (s->ifflags & WEIR_IF_TEST) || !weir_reject_fit(skb, s) || s->pkt.payload_len + 8 < 8 || !weir_reject_allowed(s))
		return WEIR_TC_SHOT;
	if (s->pkt.proto == WEIR_IPPROTO_TCP)
		err = weir_reject_tcp(skb, &s->pkt);
	else if (s->pkt.family == 4)
		err = weir_reject_icmp4(skb, &s->pkt);
	else
		err = weir_reject_icmp6(skb, &s->pkt);
	weir_reject_macs(skb, &s->pkt, &err);
	if (err)
		return WEIR_TC_SHOT;
	__builtin_memcpy(t.src, s->pkt.t.dst, 16);
	__builtin_memcpy(t.dst, s->pkt.t.src, 16);
	t.sport = t.dport = 0;
	t.zone = 0;
	weir_note_own(skb, &t, s->ifindex);
	weir_stat(WEIR_STAT_REJECT_SENT);
	return (int)bpf_redirect(s->ifindex, s->hook == WEIR_HOOK_TC_OUT ? BPF_F_INGRESS : 0);
}
