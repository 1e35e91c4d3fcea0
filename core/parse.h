/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From bytes to struct weir_pkt, for XDP, TC, user space and the browser alike.
 *
 * Returns WEIR_REASON_NONE for an IP packet that is understood as far as it can be (a later fragment has
 * no ports), NOT_IP for ARP, UNKNOWN_L2 for a frame that is neither, or the reason why it is malformed.
 * What is read is the receiver's reading: Linux drops the same packets, or reads the same fields.
 *
 * Stages and not one recursive descent: each protocol is parsed at exactly one place in the program text
 * (two inlined copies of the L4 stage doubled the verifier's work). What one stage or one turn of a loop hands
 * to the next stands in *p, which is a map value in the kernel, behind WEIR_REREAD: without it the walks over
 * IPv4 options and IPv6 headers passed a million instructions on 6.18.
 */
#pragma once
#include "core/cursor.h"
#include "core/pkt.h"
#include "core/reason.h"
#include "core/wire.h"

#define WEIR_EXT_MAX 8 /* IPv6 extension headers that are walked; RFC 8200 section 4.1 names six in a row */

WEIR_INLINE bool weir_is_vlan(uint32_t type)
{
	return type == WEIR_ETH_VLAN || type == WEIR_ETH_QINQ || type == WEIR_ETH_QINQ_OLD;
}

WEIR_INLINE enum weir_reason weir_short(const struct weir_cursor *c, uint32_t n)
{
	return c->off + n > c->frame_len ? WEIR_REASON_TRUNCATED : WEIR_REASON_HEADERS_TOO_LONG;
}

/* A VLAN tag was seen: in the frame, or in the metadata of a socket buffer. */
WEIR_INLINE bool weir_push_vlan(struct weir_pkt *p, uint32_t *depth, uint32_t tci)
{
	if (*depth == 0)
		p->vlan[0] = tci & 0xfff;
	else if (*depth == 1)
		p->vlan[1] = tci & 0xfff;
	else
		return false;
	*depth += 1;
	return true;
}

/* Ethernet, tags, PPPoE. Leaves p->ethertype at what the payload is. */
WEIR_INLINE enum weir_reason weir_parse_l2(struct weir_cursor *c, struct weir_pkt *p, uint32_t depth)
{
	const struct weir_wire_eth *h = weir_take(c, sizeof *h);
	uint32_t type;

	if (!h)
		return WEIR_REASON_TRUNCATED;
	weir_copy6(p->dmac, h->dst);
	weir_copy6(p->smac, h->src);
	p->has |= WEIR_HAS_MAC;
	type = weir_be16(h->type);
	for (int i = 0; i < 2 && weir_is_vlan(type); i++) {
		const struct weir_wire_vlan *v = weir_take(c, sizeof *v);

		if (!v)
			return WEIR_REASON_TRUNCATED;
		type = weir_be16(v->type);
		if (!weir_push_vlan(p, &depth, weir_be16(v->tci)))
			return WEIR_REASON_VLAN_TOO_DEEP;
	}
	if (weir_is_vlan(type))
		return WEIR_REASON_VLAN_TOO_DEEP;
	if (!p->vlan[0]) { /* a priority tag in front of a real one */
		p->vlan[0] = p->vlan[1];
		p->vlan[1] = 0;
	}
	if (type == WEIR_ETH_PPPOE) {
		const struct weir_wire_pppoe *s = weir_take(c, sizeof *s);
		uint32_t ppp, len;

		if (!s)
			return WEIR_REASON_TRUNCATED;
		p->has |= WEIR_HAS_PPPOE;
		ppp = weir_be16(s->ppp);
		len = weir_be16(s->len);
		/* an odd first byte is a compressed protocol field: Linux reads it, RFC 2516 section 7 forbids it */
		if (s->ver_type != 0x11 || s->code || (ppp & 0x100) || len < sizeof s->ppp ||
		    len - (uint32_t)sizeof s->ppp > c->frame_len - c->off)
			return WEIR_REASON_PPPOE_HEADER;
		c->frame_len = c->off + len - (uint32_t)sizeof s->ppp; /* the receiver cuts the rest off */
		type = ppp == 0x0021 ? WEIR_ETH_IP4 : ppp == 0x0057 ? WEIR_ETH_IP6 : WEIR_ETH_PPPOE;
	}
	p->ethertype = (uint16_t)type;
	return WEIR_REASON_NONE;
}

/*
 * IPv4 options that matter: source routes (RFC 7126) and lengths that run past the header, which ends at
 * `end`. Reads the packet in place: 5.10 refuses a read of the stack at a variable offset.
 */
WEIR_INLINE enum weir_reason weir_parse_ip4_options(struct weir_cursor *c, struct weir_pkt *p, uint32_t end)
{
	p->l4_off = (uint16_t)c->off;
	for (int n = 0; n < 40; n++) {
		const uint8_t *o;

		WEIR_REREAD();
		c->off = p->l4_off;
		if (c->off >= end)
			break;
		o = weir_take(c, 1);
		if (!o)
			return weir_short(c, 1);
		if (o[0] == 0)
			break;
		if (o[0] == 131 || o[0] == 137)
			return WEIR_REASON_IP_SOURCE_ROUTE;
		if (o[0] != 1) {
			const uint8_t *l;

			if (c->off >= end)
				return WEIR_REASON_IP_OPTION;
			l = weir_take(c, 1);
			if (!l)
				return weir_short(c, 1);
			if (l[0] < 2 || p->l4_off + l[0] > end)
				return WEIR_REASON_IP_OPTION;
			c->off = p->l4_off + l[0];
		}
		p->l4_off = (uint16_t)c->off;
	}
	c->off = end;
	return WEIR_REASON_NONE;
}

/* A later fragment that can only be there to write over the TCP header of the first (RFC 1858, RFC 3128). */
WEIR_INLINE bool weir_frag_overlaps(uint32_t proto, uint32_t off)
{
	return proto == WEIR_IPPROTO_TCP && off && off < 24;
}

WEIR_INLINE enum weir_reason weir_parse_ip4(struct weir_cursor *c, struct weir_pkt *p)
{
	const struct weir_wire_ip4 *h = weir_take(c, sizeof *h);
	uint32_t hlen, total, frag, have;

	if (!h)
		return weir_short(c, sizeof *h);
	if (h->ver_ihl >> 4 != 4)
		return WEIR_REASON_IP_VERSION;
	hlen = (h->ver_ihl & 0x0fu) * 4;
	if (hlen < sizeof *h)
		return WEIR_REASON_IP_HEADER_LEN;
	total = weir_be16(h->len);
	have = c->frame_len - p->l3_off;
	if (total == 0 && have > 65535)
		total = have; /* BIG TCP: the length does not fit the field (Linux 6.3) */
	if (total < hlen || total > have)
		return WEIR_REASON_IP_TOTAL_LEN;
	p->family = 4;
	p->proto = h->proto;
	p->ttl = h->ttl;
	p->ip_len = total;
	p->ip_hlen = (uint8_t)hlen;
	weir_map4(p->t.src, h->src);
	weir_map4(p->t.dst, h->dst);
	frag = weir_be16(h->frag);
	p->frag_id = weir_be16(h->id);
	p->payload_len = total - hlen;
	if (frag & 0x3fff) {
		p->frag = frag & 0x1fff ? WEIR_FRAG_LATER : WEIR_FRAG_FIRST;
		if ((frag & 0x1fff) * 8 + p->payload_len > 65535)
			return WEIR_REASON_FRAG_OVERFLOW;
		if (weir_frag_overlaps(h->proto, (frag & 0x1fff) * 8))
			return WEIR_REASON_FRAG_TINY;
	}
	if ((h->src[0] & 0xf0) == 0xe0 || weir_be32(h->src) == 0xffffffff)
		return WEIR_REASON_BAD_SOURCE;
	if ((h->dst[0] & 0xf0) == 0xe0 || weir_be32(h->dst) == 0xffffffff)
		p->has |= WEIR_HAS_MCAST;
	return hlen > sizeof *h ? weir_parse_ip4_options(c, p, p->l3_off + hlen) : WEIR_REASON_NONE;
}

/* The headers that Linux walks. Mobility, HIP and Shim6 are protocols of their own to it, and so to weir. */
WEIR_INLINE bool weir_is_ext(uint32_t next)
{
	return next == 0 || next == 43 || next == 44 || next == 51 || next == 60;
}

/* A fragment header, taken off already. */
WEIR_INLINE enum weir_reason weir_parse_ip6_frag(struct weir_pkt *p, const struct weir_wire_frag *f)
{
	uint32_t off = weir_be16(f->off);

	if (p->has & WEIR_HAS_FRAG_HEADER)
		return WEIR_REASON_EXT_ORDER;
	p->has |= WEIR_HAS_FRAG_HEADER;
	if (!(off & 0xfff9))
		return WEIR_REASON_NONE;
	p->frag_id = weir_be32(f->id);
	p->frag = off & 0xfff8 ? WEIR_FRAG_LATER : WEIR_FRAG_FIRST;
	if ((off & 0xfff8) + p->payload_len > 65535)
		return WEIR_REASON_FRAG_OVERFLOW;
	return weir_frag_overlaps(f->next, off & 0xfff8) ? WEIR_REASON_FRAG_TINY : WEIR_REASON_NONE;
}

/*
 * The walk over the real extension headers. Reserved bytes are never part of a length. p->proto is the next
 * header, p->payload_len what is left, p->l4_off where it begins.
 */
WEIR_INLINE enum weir_reason weir_parse_ip6_ext(struct weir_cursor *c, struct weir_pkt *p)
{
	p->l4_off = (uint16_t)c->off;
	for (int i = 0; i < WEIR_EXT_MAX; i++) {
		const struct weir_wire_ext *e;
		uint32_t next, len;

		WEIR_REREAD();
		c->off = p->l4_off;
		next = p->proto;
		if (!weir_is_ext(next) || p->frag == WEIR_FRAG_LATER)
			return WEIR_REASON_NONE;
		if (p->payload_len < 8)
			return p->frag ? WEIR_REASON_FRAG_TINY : WEIR_REASON_IP_TOTAL_LEN;
		e = weir_take(c, 8);
		if (!e)
			return weir_short(c, 8);
		if (next == 0 && i > 0)
			return WEIR_REASON_EXT_ORDER;
		if (next == 43 && e->type == 0 && e->segments)
			return WEIR_REASON_IP_SOURCE_ROUTE;
		if (next == 51 && !e->len) /* AH has 12 bytes before its ICV begins */
			return WEIR_REASON_IP_TOTAL_LEN;
		len = next == 44 ? 8 : next == 51 ? (e->len + 2u) * 4 : (e->len + 1u) * 8;
		if (p->payload_len < len)
			return p->frag ? WEIR_REASON_FRAG_TINY : WEIR_REASON_IP_TOTAL_LEN;
		p->payload_len -= len;
		p->proto = e->next;
		if (next == 44) {
			enum weir_reason r = weir_parse_ip6_frag(p, (const void *)e);

			if (r != WEIR_REASON_NONE)
				return r;
		}
		c->off += len - 8;
		if (c->off > WEIR_HEAD_MAX)
			return WEIR_REASON_HEADERS_TOO_LONG;
		p->l4_off = (uint16_t)c->off;
	}
	WEIR_REREAD();
	c->off = p->l4_off;
	return p->frag != WEIR_FRAG_LATER && weir_is_ext(p->proto) ? WEIR_REASON_EXT_TOO_MANY : WEIR_REASON_NONE;
}

WEIR_INLINE enum weir_reason weir_parse_ip6(struct weir_cursor *c, struct weir_pkt *p)
{
	const struct weir_wire_ip6 *h = weir_take(c, sizeof *h);
	uint32_t len, have;

	if (!h)
		return weir_short(c, sizeof *h);
	if (h->vtc[0] >> 4 != 6)
		return WEIR_REASON_IP_VERSION;
	if (c->off > c->frame_len)
		return WEIR_REASON_IP_TOTAL_LEN; /* PPPoE says that the packet ends inside this header */
	have = c->frame_len - p->l3_off - (uint32_t)sizeof *h;
	len = weir_be16(h->len);
	if (len == 0 && have > 65535)
		len = have; /* jumbogram, RFC 2675, as GRO builds them */
	if (len > have)
		return WEIR_REASON_IP_TOTAL_LEN;
	p->family = 6;
	p->proto = h->next;
	p->ttl = h->hop;
	p->ip_hlen = sizeof *h;
	p->ip_len = len + (uint32_t)sizeof *h;
	p->payload_len = len;
	weir_copy16(p->t.src, h->src);
	weir_copy16(p->t.dst, h->dst);
	if (h->src[0] == 0xff)
		return WEIR_REASON_BAD_SOURCE;
	if (weir_addr_is_v4(p->t.src) || weir_addr_is_v4(p->t.dst))
		return WEIR_REASON_BAD_SOURCE; /* v4-mapped on the wire would pass as IPv4 in the tables */
	if (h->dst[0] == 0xff)
		p->has |= WEIR_HAS_MCAST;
	return weir_parse_ip6_ext(c, p);
}

/* The flags that can stand together, ECE, CWR and PSH left aside. */
WEIR_INLINE bool weir_tcp_flags_ok(uint32_t f)
{
	f &= WEIR_TCP_FIN | WEIR_TCP_SYN | WEIR_TCP_RST | WEIR_TCP_ACK;
	return f == WEIR_TCP_SYN || f == (WEIR_TCP_SYN | WEIR_TCP_ACK) || f == WEIR_TCP_RST ||
	       f == (WEIR_TCP_RST | WEIR_TCP_ACK) || f == (WEIR_TCP_FIN | WEIR_TCP_ACK) || f == WEIR_TCP_ACK;
}

WEIR_INLINE bool weir_icmp_is_error(uint32_t family, uint32_t type)
{
	return family == 4 ? type == 3 || type == 4 || type == 5 || type == 11 || type == 12 : type < 128;
}

/* The packet that an ICMP error quotes: its addresses, and its ports where 8 bytes of L4 are there. */
WEIR_INLINE void weir_parse_inner(struct weir_cursor *c, struct weir_pkt *p)
{
	const uint8_t *l4;
	uint32_t proto, left = p->payload_len; /* bytes behind the packet's end are nobody's quote */

	if (p->family == 4) {
		const struct weir_wire_ip4 *h = weir_take(c, sizeof *h);
		uint32_t hlen;

		if (left < sizeof *h || !h || h->ver_ihl >> 4 != 4)
			return;
		hlen = (h->ver_ihl & 0x0fu) * 4;
		if (hlen < sizeof *h || left < hlen + 8 || (weir_be16(h->frag) & 0x1fff))
			return;
		weir_map4(p->inner.src, h->src);
		weir_map4(p->inner.dst, h->dst);
		proto = h->proto;
		if (hlen > sizeof *h && !weir_take(c, hlen - (uint32_t)sizeof *h))
			return;
	} else {
		const struct weir_wire_ip6 *h = weir_take(c, sizeof *h);

		if (left < sizeof *h + 8 || !h || h->vtc[0] >> 4 != 6)
			return;
		weir_copy16(p->inner.src, h->src);
		weir_copy16(p->inner.dst, h->dst);
		proto = h->next; /* other quoted extension headers are not walked: such an error is not related */
		if (proto == 44) { /* too big is what a first fragment is: without this error none of its size arrives any more */
			const struct weir_wire_frag *g = weir_take(c, sizeof *g);

			if (left < sizeof *h + sizeof *g + 8 || !g || (weir_be16(g->off) & 0xfff8))
				return;
			proto = g->next;
		}
	}
	l4 = weir_take(c, 8);
	if (!l4)
		return;
	if (proto == WEIR_IPPROTO_TCP || proto == WEIR_IPPROTO_UDP || proto == WEIR_IPPROTO_SCTP ||
	    proto == WEIR_IPPROTO_UDPLITE) {
		p->inner.sport = weir_be16(l4);
		p->inner.dport = weir_be16(l4 + 2);
	} else if ((proto == WEIR_IPPROTO_ICMP && (l4[0] == 8 || l4[0] == 0)) ||
		   (proto == WEIR_IPPROTO_ICMPV6 && (l4[0] == 128 || l4[0] == 129))) {
		p->inner.sport = p->inner.dport = weir_be16(l4 + 4);
	}
	p->inner.zone = weir_zone(proto, p->vlan[0], p->vlan[1]);
	p->has |= WEIR_HAS_INNER;
}

WEIR_INLINE enum weir_reason weir_parse_tcp(struct weir_cursor *c, struct weir_pkt *p)
{
	const struct weir_wire_tcp *h;
	uint32_t hlen;

	if (p->payload_len < sizeof *h)
		return p->frag ? WEIR_REASON_FRAG_TINY : WEIR_REASON_TCP_OFFSET;
	h = weir_take(c, sizeof *h);
	if (!h)
		return weir_short(c, sizeof *h);
	hlen = (uint32_t)(h->off >> 4) * 4;
	if (hlen < sizeof *h || hlen > p->payload_len)
		return p->frag && hlen >= sizeof *h ? WEIR_REASON_FRAG_TINY : WEIR_REASON_TCP_OFFSET;
	p->t.sport = weir_be16(h->sport);
	p->t.dport = weir_be16(h->dport);
	p->has |= WEIR_HAS_PORTS;
	p->tcp_flags = h->flags;
	p->seq = weir_be32(h->seq);
	p->ack = weir_be32(h->ack);
	p->payload_len -= hlen;
	if (!weir_tcp_flags_ok(h->flags))
		return WEIR_REASON_TCP_FLAGS;
	return p->t.sport && p->t.dport ? WEIR_REASON_NONE : WEIR_REASON_PORT_ZERO;
}

WEIR_INLINE enum weir_reason weir_parse_udp(struct weir_cursor *c, struct weir_pkt *p)
{
	const struct weir_wire_udp *h;
	uint32_t len;

	if (p->payload_len < sizeof *h)
		return p->frag ? WEIR_REASON_FRAG_TINY : WEIR_REASON_UDP_LENGTH;
	h = weir_take(c, sizeof *h);
	if (!h)
		return weir_short(c, sizeof *h);
	p->t.sport = weir_be16(h->sport);
	p->t.dport = weir_be16(h->dport);
	p->has |= WEIR_HAS_PORTS;
	len = weir_be16(h->len);
	/* UDP-Lite carries the checksum coverage here: 0 or at least 8 */
	if (p->proto == WEIR_IPPROTO_UDP) {
		if (len < sizeof *h && !(len == 0 && p->payload_len > 65535))
			return WEIR_REASON_UDP_LENGTH;
		if (!p->frag && len > p->payload_len)
			return WEIR_REASON_UDP_LENGTH;
	}
	p->payload_len -= (uint32_t)sizeof *h;
	if (p->proto == WEIR_IPPROTO_UDP && !p->frag && len)
		p->payload_len = len - (uint32_t)sizeof *h; /* what stands behind the datagram is not its payload */
	return p->t.dport ? WEIR_REASON_NONE : WEIR_REASON_PORT_ZERO;
}

WEIR_INLINE enum weir_reason weir_parse_icmp(struct weir_cursor *c, struct weir_pkt *p)
{
	const struct weir_wire_icmp *h;

	if ((p->proto == WEIR_IPPROTO_ICMP) != (p->family == 4))
		return WEIR_REASON_ICMP_FAMILY;
	if (p->payload_len < sizeof *h)
		return p->frag ? WEIR_REASON_FRAG_TINY : WEIR_REASON_ICMP_LENGTH;
	h = weir_take(c, sizeof *h);
	if (!h)
		return weir_short(c, sizeof *h);
	p->icmp_type = h->type;
	p->icmp_code = h->code;
	p->has |= WEIR_HAS_ICMP;
	p->payload_len -= (uint32_t)sizeof *h;
	if (p->family == 4 ? h->type == 8 || h->type == 0 : h->type == 128 || h->type == 129) {
		p->t.sport = p->t.dport = weir_be16(h->rest);
		p->has |= WEIR_HAS_ECHO;
	} else if (weir_icmp_is_error(p->family, h->type)) {
		weir_parse_inner(c, p);
	}
	return WEIR_REASON_NONE;
}

WEIR_INLINE enum weir_reason weir_parse_l4(struct weir_cursor *c, struct weir_pkt *p)
{
	switch (p->proto) {
	case WEIR_IPPROTO_TCP:
		return weir_parse_tcp(c, p);
	case WEIR_IPPROTO_UDP:
	case WEIR_IPPROTO_UDPLITE:
		return weir_parse_udp(c, p);
	case WEIR_IPPROTO_ICMP:
	case WEIR_IPPROTO_ICMPV6:
		return weir_parse_icmp(c, p);
	case WEIR_IPPROTO_SCTP: {
		const struct weir_wire_sctp *h;

		if (p->payload_len < sizeof *h)
			return p->frag ? WEIR_REASON_FRAG_TINY : WEIR_REASON_TRUNCATED;
		h = weir_take(c, sizeof *h);
		if (!h)
			return weir_short(c, sizeof *h);
		p->t.sport = weir_be16(h->sport);
		p->t.dport = weir_be16(h->dport);
		p->has |= WEIR_HAS_PORTS;
		p->payload_len -= (uint32_t)sizeof *h;
		return p->t.sport && p->t.dport ? WEIR_REASON_NONE : WEIR_REASON_PORT_ZERO;
	}
	default:
		return WEIR_REASON_NONE;
	}
}

/*
 * One frame. `p` must be zeroed. `l3` is 0 for a frame with an Ethernet header, else the EtherType of a
 * device that has none (tun, wireguard). `meta_tci` is the tag that a socket buffer carries beside the
 * frame, with WEIR_META_TAG set; 0 when there is none.
 */
#define WEIR_META_TAG 0x10000u

WEIR_INLINE enum weir_reason weir_parse(struct weir_cursor *c, struct weir_pkt *p, uint32_t l3, uint32_t meta_tci)
{
	enum weir_reason r;
	uint32_t depth = 0;

	if (meta_tci & WEIR_META_TAG)
		weir_push_vlan(p, &depth, meta_tci & 0xfff);
	if (l3) {
		p->ethertype = (uint16_t)l3;
	} else {
		r = weir_parse_l2(c, p, depth);
		if (r != WEIR_REASON_NONE)
			return r;
	}
	p->l3_off = (uint16_t)c->off;
	WEIR_REREAD();
	c->off = p->l3_off;
	if (p->ethertype == WEIR_ETH_IP4)
		r = weir_parse_ip4(c, p);
	else if (p->ethertype == WEIR_ETH_IP6)
		r = weir_parse_ip6(c, p);
	else
		return p->ethertype == WEIR_ETH_ARP ? WEIR_REASON_NOT_IP : WEIR_REASON_UNKNOWN_L2;
	if (r != WEIR_REASON_NONE)
		return r;
	p->l4_off = (uint16_t)c->off;
	WEIR_REREAD();
	c->off = p->l4_off;
	p->t.zone = weir_zone(p->proto, p->vlan[0], p->vlan[1]);
	if (p->frag == WEIR_FRAG_LATER)
		return WEIR_REASON_NONE;
	r = weir_parse_l4(c, p);
	if (r == WEIR_REASON_NONE && (p->tcp_flags & WEIR_TCP_SYN) && p->t.sport == p->t.dport &&
	    weir_addr_equal(p->t.src, p->t.dst))
		r = WEIR_REASON_BAD_SOURCE; /* LAND, CERT CA-1997-28 */
	return r;
}
