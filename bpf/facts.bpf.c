/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The facts of a packet, and the direction of what it may open. */
#include "bpf/facts.h"
#include "bpf/stages.h"

/* Inbound or forward, as the kernel will route it. */
WEIR_INLINE uint32_t weir_route_dir(struct __sk_buff *skb, struct weir_scratch *s)
{
	struct bpf_fib_lookup *q = &s->fib;
	long r;

	if (s->ifflags & (WEIR_IF_BRIDGE_PORT | WEIR_IF_TEST))
		return s->ifflags & WEIR_IF_TEST ? WEIR_DIR_IN : WEIR_DIR_FWD;
	__builtin_memset(q, 0, sizeof *q);
	q->ifindex = s->ifindex;
	q->l4_protocol = s->pkt.proto;
	q->sport = (uint16_t)(s->pkt.t.sport << 8 | s->pkt.t.sport >> 8); /* rules of the routes can ask for ports */
	q->dport = (uint16_t)(s->pkt.t.dport << 8 | s->pkt.t.dport >> 8);
	if (s->pkt.family == 4) {
		q->family = 2;
		__builtin_memcpy(&q->ipv4_src, s->pkt.t.src + 12, 4);
		__builtin_memcpy(&q->ipv4_dst, s->pkt.t.dst + 12, 4);
	} else {
		q->family = 10;
		__builtin_memcpy(q->ipv6_src, s->pkt.t.src, 16);
		__builtin_memcpy(q->ipv6_dst, s->pkt.t.dst, 16);
	}
	r = bpf_fib_lookup(skb, q, sizeof *q, 0);
	return r == BPF_FIB_LKUP_RET_SUCCESS || r == BPF_FIB_LKUP_RET_UNSUPP_LWT || r == BPF_FIB_LKUP_RET_NO_NEIGH ||
			       r == BPF_FIB_LKUP_RET_FRAG_NEEDED
		       ? WEIR_DIR_FWD
		       : WEIR_DIR_IN;
}

__noinline int weir_dir(struct __sk_buff *skb)
{
	struct weir_scratch *s = weir_scratch_get();

	if (!s)
		return WEIR_DIR_IN;
	if (s->hook == WEIR_HOOK_TC_OUT)
		return s->in_ifindex ? WEIR_DIR_FWD : WEIR_DIR_OUT;
	return (int)weir_route_dir(skb, s);
}

/* The time of day, of the packet that opens. Packets of the self-test have none: its oracle has no clock. */
__noinline int weir_tell_time(void)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_control *ctl = weir_control_get();
	uint32_t minute;

	if (!s || !ctl || (s->ifflags & WEIR_IF_TEST))
		return 0;
	minute = weir_clock_minute(&ctl->clock[ctl->clock_at & 1], bpf_ktime_get_boot_ns() / 1000000000);
	if (minute < WEIR_WEEK_MINUTES)
		weir_classify_time(0, &s->facts, minute);
	return 0;
}

/* Facts of the packet as its sender's conversation, ready for the stages. */
__noinline int weir_gather(uint32_t dir)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_facts *f;
	bool out;

	if (!s)
		return 0;
	f = &s->facts;
	out = s->hook == WEIR_HOOK_TC_OUT;
	weir_facts_init(f, &s->pkt, dir);
	if (out) {
		f->mac = 0; /* the source is this host; forward: the note knows the sender */
		if (dir == WEIR_DIR_FWD && s->note.kind == WEIR_NOTE_INGRESS) {
			f->mac = (uint64_t)weir_be32(s->note.smac) << 16 | weir_be16(s->note.smac + 4);
			f->orig = s->note.t;
			f->has_orig = !weir_tuple_equal(&f->orig, &f->t);
			if (!f->vlan[0]) {
				f->vlan[0] = s->note.vlan[0];
				f->vlan[1] = s->note.vlan[1];
			}
		} else if (dir == WEIR_DIR_FWD) {
			f->known &= ~(uint32_t)WEIR_K_MAC;
		}
	}
	f->mark = s->mark;
	f->known |= WEIR_K_MARK;
	weir_iface_facts(f, s->in_ifindex, out ? s->ifindex : 0);
	return weir_prepare();
}

int weir_bound_stop(uint32_t half);
