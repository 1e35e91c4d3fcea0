/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Notes from ingress to egress. Forwarded traffic is judged on its way out, when translation has already
 * changed it; what it was on its way in travels as an index in skb->tc_index, the one field of a socket
 * buffer that routing, bridging and netfilter leave alone.
 *
 * A packet can be held on its way (fragments wait for the others, a queue for its program) until its note has been
 * written over by others, and whoever sent it may choose by what. So the low bits of its hash, which nothing
 * that forwards it changes, carry for that time which use of the note it is; egress puts the hash right again. Enough
 * of the high bits stay for a choice between several routes.
 */
#pragma once
#include "bpf/emit.h"

#define WEIR_STAMP_MASK 0xfffffu

/* `base`: where its half of the notes begins. The stamp tells the uses of one note apart. */
WEIR_INLINE struct weir_note *weir_note_new(uint32_t base, uint32_t *ret_index, uint32_t *ret_stamp)
{
	uint32_t zero = 0, cpu = bpf_get_smp_processor_id(), index;
	struct weir_local *l = bpf_map_lookup_elem(&weir_local, &zero);

	if (!l)
		return 0;
	/* CPUs take turns in blocks of 64, so no two write one note in the same lap */
	l->note++;
	index = base + (((l->note >> 6 << 6) * 8 + (cpu & 7) * 64 + (l->note & 63)) & (WEIR_NOTES_IN - 1));
	if (!index)
		index = 1;
	*ret_index = index;
	/* a CPU is back at a note after 2,048 others: 65,536 laps, and up to 128 CPUs */
	*ret_stamp = ((l->note >> 11) << 4 | (cpu >> 3 & 15)) & WEIR_STAMP_MASK;
	return bpf_map_lookup_elem(&weir_notes, &index);
}

/* Ingress: leave what the packet is now. */
WEIR_INLINE void weir_note_leave(struct __sk_buff *skb, const struct weir_scratch *s)
{
	uint32_t index = 0, stamp = 0;
	struct weir_note *n = weir_note_new(0, &index, &stamp);

	if (!n)
		return;
	n->t = s->pkt.t;
	n->ifindex = s->ifindex;
	n->kind = WEIR_NOTE_INGRESS;
	n->hash = bpf_get_hash_recalc(skb);
	n->stamp = (n->hash & ~WEIR_STAMP_MASK) | stamp;
	bpf_set_hash(skb, n->stamp);
	__builtin_memcpy(n->smac, s->pkt.smac, 6);
	n->vlan[0] = s->pkt.vlan[0];
	n->vlan[1] = s->pkt.vlan[1];
	skb->tc_index = (uint16_t)index;
}

/* Egress: what ingress left for this packet goes to s->note; kind NONE when it left nothing that concerns it. */
WEIR_INLINE void weir_note_read(struct __sk_buff *skb, struct weir_scratch *s)
{
	uint32_t index = skb->tc_index;
	struct weir_note *n;

	s->note.kind = WEIR_NOTE_NONE;
	if (!s->in_ifindex || !index || index >= WEIR_NOTES_IN)
		return;
	n = bpf_map_lookup_elem(&weir_notes, &index);
	if (!n || n->kind != WEIR_NOTE_INGRESS || skb->hash != n->stamp) {
		s->note.kind = WEIR_NOTE_LOST;
		return;
	}
	bpf_set_hash(skb, n->hash);
	/* another protocol: the packet was wrapped into one of this host's own */
	if (n->ifindex != s->in_ifindex || (n->t.zone ^ s->pkt.t.zone) >> 24)
		return;
	s->note = *n;
}

/* Egress of a VLAN, a bridge, a bond: the device below need not judge the packet again. */
WEIR_INLINE void weir_note_judged(struct __sk_buff *skb, const struct weir_scratch *s)
{
	uint32_t index = 0, stamp;
	struct weir_note *n;

	if (!(s->ifflags & WEIR_IF_UPPER))
		return;
	n = weir_note_new(WEIR_NOTES_IN, &index, &stamp);
	if (!n)
		return;
	n->t = s->pkt.t;
	n->ifindex = s->ifindex;
	n->kind = WEIR_NOTE_JUDGED;
	skb->tc_index = (uint16_t)index;
}

/*
 * Was this very conversation let through above? The whole tuple must fit: a tunnel's outer packet still
 * carries the note of the inner one, and a container can write tc_index below a macvlan.
 */
WEIR_INLINE bool weir_note_was_judged(struct __sk_buff *skb, const struct weir_scratch *s)
{
	uint32_t index = skb->tc_index;
	struct weir_note *n;

	if (!index || index >= WEIR_NOTES || s->parsed != WEIR_REASON_NONE)
		return false;
	n = bpf_map_lookup_elem(&weir_notes, &index);
	return n && n->kind == WEIR_NOTE_JUDGED && n->ifindex != s->ifindex &&
	       weir_tuple_equal(&n->t, &s->pkt.t);
}

/* A packet that weir built itself and sends past its own hook at `ifindex`. */
WEIR_INLINE void weir_note_own(struct __sk_buff *skb, const struct weir_tuple *t, uint32_t ifindex)
{
	uint32_t index = 0, stamp;
	struct weir_note *n = weir_note_new(WEIR_NOTES_IN, &index, &stamp);

	if (!n)
		return;
	n->t = *t;
	n->ifindex = ifindex;
	n->kind = WEIR_NOTE_OWN;
	skb->tc_index = (uint16_t)index;
}

/*
 * Is this such a packet? At egress the note is used up by asking. At ingress it becomes one for the way on:
 * the answer to a forwarded packet is forwarded itself, un-translated, through a device not known yet.
 */
WEIR_INLINE bool weir_note_is_own(struct __sk_buff *skb, const struct weir_scratch *s)
{
	uint32_t index = skb->tc_index;
	struct weir_note *n;

	if (!index || index >= WEIR_NOTES)
		return false;
	n = bpf_map_lookup_elem(&weir_notes, &index);
	if (!n)
		return false;
	if (s->hook == WEIR_HOOK_TC_OUT && n->kind == WEIR_NOTE_OWN_ON && n->ifindex == s->in_ifindex &&
	    !((n->t.zone ^ s->pkt.t.zone) >> 24)) {
		n->kind = WEIR_NOTE_NONE;
		return true;
	}
	if (n->kind != WEIR_NOTE_OWN || n->ifindex != s->ifindex ||
	    !weir_addr_equal(n->t.src, s->pkt.t.src) ||
	    !weir_addr_equal(n->t.dst, s->pkt.t.dst))
		return false;
	n->t.zone = s->pkt.t.zone;
	n->kind = s->hook == WEIR_HOOK_TC_IN ? WEIR_NOTE_OWN_ON : WEIR_NOTE_NONE;
	return true;
}
