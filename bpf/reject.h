/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reject: the denied packet is turned around in place and becomes the answer: a RST for TCP, an ICMP
 * "administratively prohibited" or "port unreachable" for the rest. It leaves through the device that it came in by;
 * seen at egress it goes back into the stack, which routes (and un-translates) it to who sent it.
 *
 * A socket buffer may say that the device is still to fill in the checksum (a local sender, a veth, a
 * guest), and a program cannot see whether it says so. So the RST carries a checksum that is right under
 * both readings: the window field, which a RST does not use, is chosen such that the sum over the segment
 * equals the partial sum that the device would start from.
 */
#pragma once
#include "bpf/note.h"
#include "core/parse.h"

struct weir_csum {
	uint32_t sum;
};

WEIR_INLINE uint32_t weir_csum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum & 0xffff;
}

/* Ones' complement sum over an even number of bytes, in host order of big-endian words. */
WEIR_INLINE uint32_t weir_csum_add(uint32_t sum, const uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

WEIR_INLINE void weir_put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

WEIR_INLINE void weir_put32(uint8_t *p, uint32_t v)
{
	weir_put16(p, v >> 16);
	weir_put16(p + 2, v & 0xffff);
}

/* At most a thousand a second for each CPU: an answer must not become a weapon. */
WEIR_INLINE bool weir_reject_allowed(const struct weir_scratch *s)
{
	uint32_t zero = 0, hz = weir_config()->hz;
	struct weir_local *l = bpf_map_lookup_elem(&weir_local, &zero);

	if (!l)
		return false;
	if (s->now - l->refilled >= hz) {
		l->refilled = s->now;
		l->tokens = 1000;
	}
	if (!l->tokens) {
		weir_stat(WEIR_STAT_REJECT_LIMITED);
		return false;
	}
	l->tokens--;
	return true;
}

/* Does the address name one host that can be reached? Not 0.0.0.0/8, loopback, class E; not :: nor ::1. */
WEIR_INLINE bool weir_reject_reaches(const struct weir_pkt *p)
{
	const uint8_t *a = p->t.src;

	if (p->family == 4)
		return a[12] && a[12] != 127 && a[12] < 240;
	return weir_be64(a) || weir_be64(a + 8) > 1;
}

/* Never answered: broadcast and multicast, RST, ICMP errors, later fragments (RFC 1122 section 3.2.2). */
WEIR_INLINE bool weir_reject_fit(struct __sk_buff *skb, const struct weir_scratch *s)
{
	const struct weir_pkt *p = &s->pkt;

	if (p->has & WEIR_HAS_MCAST || p->frag == WEIR_FRAG_LATER || skb->pkt_type == 1 || skb->pkt_type == 2)
		return false;
	/* 1: the loopback device */
	if (s->hook == WEIR_HOOK_TC_IN && s->ifindex != 1 && !weir_reject_reaches(p))
		return false;
	if ((p->has & WEIR_HAS_MAC) && (p->dmac[0] & 1))
		return false;
	if (p->proto == WEIR_IPPROTO_TCP)
		return !(p->tcp_flags & WEIR_TCP_RST);
	if (p->has & WEIR_HAS_ICMP)
		return !weir_icmp_is_error(p->family, p->icmp_type) && p->icmp_type != 137;
	return true;
}

/* IPv4 or IPv6 header of the answer at `l3`; `len` counts the bytes behind it. Returns the pseudo-header sum. */
WEIR_INLINE uint32_t weir_reject_ip(struct __sk_buff *skb, const struct weir_pkt *p, uint32_t len, uint32_t proto,
				    long *err)
{
	uint32_t sum = proto + len;

	if (p->family == 4) {
		uint8_t h[20] = { 0x45 };

		weir_put16(h + 2, 20 + len);
		h[6] = 0x40;
		h[8] = 64;
		h[9] = (uint8_t)proto;
		__builtin_memcpy(h + 12, p->t.dst + 12, 4);
		__builtin_memcpy(h + 16, p->t.src + 12, 4);
		weir_put16(h + 10, ~weir_csum_fold(weir_csum_add(0, h, 20)) & 0xffff);
		*err |= bpf_skb_store_bytes(skb, p->l3_off, h, 20, 0);
		sum = weir_csum_add(sum, p->t.dst + 12, 4);
		return weir_csum_add(sum, p->t.src + 12, 4);
	} else {
		uint8_t h[40] = { 0x60 };

		weir_put16(h + 4, len);
		h[6] = (uint8_t)proto;
		h[7] = 64;
		__builtin_memcpy(h + 8, p->t.dst, 16);
		__builtin_memcpy(h + 24, p->t.src, 16);
		*err |= bpf_skb_store_bytes(skb, p->l3_off, h, 40, 0);
		sum = weir_csum_add(sum, p->t.dst, 16);
		return weir_csum_add(sum, p->t.src, 16);
	}
}

WEIR_INLINE void weir_reject_macs(struct __sk_buff *skb, const struct weir_pkt *p, long *err)
{
	uint8_t m[12];

	if (!(p->has & WEIR_HAS_MAC))
		return;
	__builtin_memcpy(m, p->smac, 6);
	__builtin_memcpy(m + 6, p->dmac, 6);
	*err |= bpf_skb_store_bytes(skb, 0, m, 12, 0);
}

/* RFC 9293 section 3.10.7: an acknowledgement takes its number, anything else is acknowledged. */
WEIR_INLINE long weir_reject_tcp(struct __sk_buff *skb, const struct weir_pkt *p)
{
	uint32_t l4 = p->l3_off + (p->family == 4 ? 20u : 40u), pseudo, sum, fill;
	uint8_t t[20] = { 0 };
	long err = bpf_skb_change_tail(skb, l4 + 20, 0);

	if (err)
		return err;
	weir_put16(t, p->t.dport);
	weir_put16(t + 2, p->t.sport);
	t[12] = 0x50;
	if (p->tcp_flags & WEIR_TCP_ACK) {
		weir_put32(t + 4, p->ack);
		t[13] = WEIR_TCP_RST;
	} else {
		weir_put32(t + 8, p->seq + p->payload_len + (p->tcp_flags & WEIR_TCP_SYN ? 1u : 0) +
					  (p->tcp_flags & WEIR_TCP_FIN ? 1u : 0));
		t[13] = WEIR_TCP_RST | WEIR_TCP_ACK;
	}
	pseudo = weir_csum_fold(weir_reject_ip(skb, p, 20, WEIR_IPPROTO_TCP, &err));
	/* checksum field = pseudo; window chosen so that pseudo + segment + pseudo = 0xffff */
	sum = weir_csum_fold(weir_csum_add(0, t, 20) + 2 * pseudo);
	fill = ~sum & 0xffff;
	weir_put16(t + 14, fill);
	weir_put16(t + 16, pseudo);
	err |= bpf_skb_store_bytes(skb, l4, t, 20, 0);
	return err;
}

/* The bytes of the denied packet that the ICMP error quotes: its IP header and 8 of L4. */
#define WEIR_QUOTE4 28
#define WEIR_QUOTE6 48

/* RFC 792, RFC 4443: port unreachable for UDP, else administratively prohibited. */
WEIR_INLINE long weir_reject_icmp4(struct __sk_buff *skb, const struct weir_pkt *p)
{
	uint8_t b[8 + WEIR_QUOTE4] = { 3 };
	long err;

	b[1] = p->proto == WEIR_IPPROTO_UDP ? 3 : 13;
	err = bpf_skb_load_bytes(skb, p->l3_off, b + 8, 20);
	if (p->l4_off != p->l3_off + 20) /* options: the quote leaves them out */
		b[8] = 0x45;
	err |= bpf_skb_load_bytes(skb, p->l4_off, b + 28, 8);
	if (err)
		return err;
	weir_put16(b + 2, ~weir_csum_fold(weir_csum_add(0, b, sizeof b)) & 0xffff);
	err = bpf_skb_change_tail(skb, p->l3_off + 20 + sizeof b, 0);
	if (err)
		return err;
	weir_reject_ip(skb, p, sizeof b, WEIR_IPPROTO_ICMP, &err);
	err |= bpf_skb_store_bytes(skb, p->l3_off + 20u, b, sizeof b, 0);
	return err;
}

WEIR_INLINE long weir_reject_icmp6(struct __sk_buff *skb, const struct weir_pkt *p)
{
	uint8_t b[8 + WEIR_QUOTE6] = { 1 };
	uint32_t sum;
	long err;

	b[1] = p->proto == WEIR_IPPROTO_UDP ? 4 : 1;
	err = bpf_skb_load_bytes(skb, p->l3_off, b + 8, 40);
	err |= bpf_skb_load_bytes(skb, p->l4_off, b + 48, 8);
	if (err)
		return err;
	b[8 + 6] = p->proto; /* extension headers are left out of the quote */
	err = bpf_skb_change_tail(skb, p->l3_off + 40 + sizeof b, 0);
	if (err)
		return err;
	sum = weir_reject_ip(skb, p, sizeof b, WEIR_IPPROTO_ICMPV6, &err);
	/* where a device still fills in a UDP checksum: the pseudo-header sum, which it then finds there again */
	weir_put16(b + 6, weir_csum_fold(sum));
	weir_put16(b + 2, ~weir_csum_fold(weir_csum_fold(sum) + weir_csum_add(0, b, sizeof b)) & 0xffff);
	err |= bpf_skb_store_bytes(skb, p->l3_off + 40u, b, sizeof b, 0);
	return err;
}
