/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the two TC hooks share: from a socket buffer to a parsed packet in the scratch map. */
#pragma once
#include "bpf/emit.h"
#include "bpf/stages.h"
#include "core/plain.h"

/* decide.bpf.c: what the hook does, enum weir_verdict; the first of them also WEIR_UNDECIDED */
int weir_judge_known(struct __sk_buff *skb);
int weir_judge_new(struct __sk_buff *skb);
int weir_reject(struct __sk_buff *skb);

/*
 * Verdicts: tcx wants NEXT (-1), a clsact filter UNSPEC (-1): "mine lets it pass, ask the next program".
 * OK (0) would end the chain and with it the programs of others.
 */
#define WEIR_TC_NEXT (-1)
#define WEIR_TC_SHOT 2

/* EtherType of a device without an Ethernet header; 0 for one that has it. */
WEIR_INLINE uint32_t weir_skb_l3(const struct __sk_buff *skb, uint32_t ifflags)
{
	uint32_t proto = skb->protocol;

	return ifflags & WEIR_IF_L3 ? (proto & 0xff) << 8 | (proto >> 8 & 0xff) : 0;
}

/* Where the packet of a device without an Ethernet header begins. Only there is kernel memory read: it may be locked. */
WEIR_INLINE uint32_t weir_skb_begin(const struct __sk_buff *skb, uint32_t hook, uint32_t ifflags)
{
	uint16_t len = 0;

	if (weir_mac_len_at && hook == WEIR_HOOK_TC_IN && ifflags & WEIR_IF_L3)
		bpf_probe_read_kernel(&len, sizeof len, (const uint8_t *)skb + weir_mac_len_at);
	return len;
}

/* The tags that the device itself stands for come before those of the frame. */
WEIR_INLINE void weir_skb_vlans(struct weir_pkt *p, const struct weir_iface *i)
{
	if (!i->vlan[0])
		return;
	p->vlan[1] = i->vlan[1] ? i->vlan[1] : p->vlan[0];
	p->vlan[0] = i->vlan[0];
	p->t.zone = weir_zone(p->proto, p->vlan[0], p->vlan[1]);
	p->inner.zone = weir_zone(p->inner.zone >> 24, p->vlan[0], p->vlan[1]);
}

/* What is known of the interface. Most packets of a hook come by the same few. */
WEIR_INLINE const struct weir_iface *weir_skb_iface(struct weir_scratch *s, const struct weir_control *ctl, uint32_t ifindex,
						    uint32_t hook)
{
	struct weir_iface_seen *seen = &s->seen[(hook == WEIR_HOOK_TC_OUT) << 2 | (ifindex & 3)];
	uint32_t as_of = ctl->ifaces; /* before the map is asked: what changes meanwhile is asked for again */
	const struct weir_iface *i;

	if (seen->ifindex == ifindex && seen->as_of == as_of)
		return &seen->v;
	seen->ifindex = 0;
	i = bpf_map_lookup_elem(&weir_ifaces, &ifindex);
	if (i)
		seen->v = *i;
	else
		__builtin_memset(&seen->v, 0, sizeof seen->v);
	if (i && !(i->flags & WEIR_IF_TEST)) { /* that one ends without a change being told */
		seen->as_of = as_of;
		seen->ifindex = ifindex;
	}
	return &seen->v;
}

/*
 * What the parser reads must stand in the linear part of the buffer. Of most packets it does, though their payload does not:
 * to pull that in, too, would copy the head of every packet that TCP keeps for its retransmission.
 */
WEIR_INLINE void weir_skb_pull(struct __sk_buff *skb, uint32_t begin, uint32_t l3)
{
	const uint8_t *data = (const uint8_t *)(long)skb->data, *end = (const uint8_t *)(long)skb->data_end;
	uint32_t n = skb->len;

	if (n > WEIR_HEAD_MAX)
		n = WEIR_HEAD_MAX;
	if (data + n > end && (begin || !weir_plain_head(data, end, l3)))
		bpf_skb_pull_data(skb, n);
}

/* How many packets a payload becomes that is cut at size bytes; one where there is none. */
WEIR_INLINE uint32_t weir_segs(uint32_t payload, uint32_t size)
{
	return payload && size ? (payload - 1) / size + 1 : 1;
}

/* Parse the packet into the scratch map. NULL only when there is no scratch map. */
WEIR_INLINE struct weir_scratch *weir_skb_parse(struct __sk_buff *skb, uint32_t hook)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_control *ctl = weir_control_get();
	uint32_t ifindex = skb->ifindex, begin, l3, meta;
	const struct weir_iface *i;
	struct weir_cursor c;

	if (!s || !ctl)
		return 0;
	i = weir_skb_iface(s, ctl, ifindex, hook);
	s->ifflags = i->flags;
	l3 = weir_skb_l3(skb, s->ifflags);
	begin = weir_skb_begin(skb, hook, s->ifflags);
	weir_skb_pull(skb, begin, l3);
	/* no branch: 5.10 would believe that the tag is always there, and make a jump of what asks for it */
	_Static_assert(WEIR_META_TAG == 1 << 16, "vlan_present is 0 or 1");
	meta = skb->vlan_present << 16 | (skb->vlan_tci & 0xffff);
	s->hook = hook;
	s->ifindex = ifindex;
	s->in_ifindex = hook == WEIR_HOOK_TC_IN ? ifindex : skb->ingress_ifindex;
	s->mark = skb->mark;
	s->len = skb->len;
	s->segs = skb->gso_size ? skb->gso_segs : 1;
	s->now = (uint32_t)bpf_jiffies64();
	s->edit = ctl->edit;
	s->caught = ctl->caught_until && ctl->caught_until > bpf_ktime_get_boot_ns();
	s->time = 0;
	s->ban_s = 0;
	s->note.kind = 0;
	s->facts.dir = 0;
	s->seq++;
	__builtin_memset(&s->pkt, 0, sizeof s->pkt);
	c.data = (const uint8_t *)(long)skb->data;
	c.end = (const uint8_t *)(long)skb->data_end;
	c.off = begin;
	c.frame_len = skb->len;
	s->parsed = weir_parse(&c, &s->pkt, l3, meta);
	weir_skb_vlans(&s->pkt, i);
	if (!s->segs) /* a guest's own (tun, virtio): nobody has counted them yet */
		s->segs = weir_segs(s->pkt.payload_len, skb->gso_size);
	__builtin_memset(&s->fkey, 0, sizeof s->fkey);
	if (s->pkt.frag) {
		__builtin_memcpy(s->fkey.src, s->pkt.t.src, 32);
		s->fkey.id = s->pkt.frag_id;
		/* IPv6: the protocol of a later fragment is not known, the identification is 32 bits */
		s->fkey.zone = s->pkt.family == 4 ? s->pkt.t.zone : s->pkt.t.zone & 0xffffff;
	}
	return s;
}

WEIR_INLINE int weir_decide(struct __sk_buff *skb)
{
	int v = weir_judge_known(skb);

	return v == WEIR_UNDECIDED ? weir_judge_new(skb) : v;
}
