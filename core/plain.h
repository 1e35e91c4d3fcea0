/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Most packets are plain: Ethernet without tags, an IP header with nothing behind it, all of a TCP or UDP header. What a
 * blocklist has to know of such a packet stands at fixed places. True only for what weir_parse takes for whole, and with
 * the same meaning; all else, and some packets that are whole, are left to it.
 */
#pragma once
#include "core/parse.h"

struct weir_plain {
	uint64_t hi, lo; /* source, as numbers; IPv4: in lo */
	uint16_t sport, dport;
	uint8_t proto;
	bool six, opens; /* opens: a SYN */
};

/* Its source as the tables of addresses have it, 16 bytes at `to`, which is no stack. */
WEIR_INLINE void weir_plain_source(const struct weir_plain *p, uint8_t *to)
{
	weir_put64(to, p->hi);
	weir_put64(to + 8, p->six ? p->lo : 0xffffull << 32 | p->lo);
}

/* `left`: bytes of the IP packet from `h` on, at least 8 of them before `end`. */
WEIR_INLINE bool weir_plain_l4(const uint8_t *h, const uint8_t *end, uint32_t left, struct weir_plain *p)
{
	const struct weir_wire_udp *u = (const void *)h;
	const struct weir_wire_tcp *t = (const void *)h;
	uint32_t len;

	p->sport = weir_be16(u->sport);
	p->dport = weir_be16(u->dport);
	p->opens = false;
	if (p->proto == WEIR_IPPROTO_UDP) {
		len = weir_be16(u->len);
		return len >= sizeof *u && len <= left && p->dport;
	}
	if (p->proto != WEIR_IPPROTO_TCP || h + sizeof *t > end)
		return false;
	len = (uint32_t)(t->off >> 4) * 4;
	p->opens = (t->flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == WEIR_TCP_SYN;
	/* the same port at both ends may be LAND: weir_parse looks at the addresses */
	return len >= sizeof *t && len <= left && weir_tcp_flags_ok(t->flags) && p->sport && p->dport && p->sport != p->dport;
}

/* From the Ethernet header at `data` on; the frame has `n` bytes. */
WEIR_INLINE bool weir_plain(const uint8_t *data, const uint8_t *end, uint32_t n, struct weir_plain *p)
{
	const struct weir_wire_eth *eth = (const void *)data;
	const struct weir_wire_ip4 *ip4 = (const void *)(data + sizeof *eth);
	const struct weir_wire_ip6 *ip6 = (const void *)(data + sizeof *eth);
	uint32_t type, len;

	if (data + sizeof *eth + sizeof *ip4 + sizeof(struct weir_wire_udp) > end)
		return false;
	type = weir_be16(eth->type);
	if (type == WEIR_ETH_IP4) {
		len = weir_be16(ip4->len);
		p->six = false;
		p->proto = ip4->proto;
		p->hi = 0;
		p->lo = weir_be32(ip4->src);
		if (ip4->ver_ihl != 0x45 || (weir_be16(ip4->frag) & 0x3fff) || len < sizeof *ip4 || len > n - sizeof *eth ||
		    p->lo >> 28 == 0xe || p->lo == 0xffffffff)
			return false;
		return weir_plain_l4(data + sizeof *eth + sizeof *ip4, end, len - (uint32_t)sizeof *ip4, p);
	}
	if (type != WEIR_ETH_IP6 || data + sizeof *eth + sizeof *ip6 + sizeof(struct weir_wire_udp) > end)
		return false;
	len = weir_be16(ip6->len);
	p->six = true;
	p->proto = ip6->next;
	p->hi = weir_be64(ip6->src);
	p->lo = weir_be64(ip6->src + 8);
	/* an upper half of zeros: perhaps an IPv4 address, which has no business here */
	if (ip6->vtc[0] >> 4 != 6 || len > n - sizeof *eth - sizeof *ip6 || ip6->src[0] == 0xff || !p->hi || !weir_be64(ip6->dst))
		return false;
	return weir_plain_l4(data + sizeof *eth + sizeof *ip6, end, len, p);
}

/*
 * Does all that weir_parse reads of a packet stand before `end`? `ip`: where it begins; `type`: its EtherType. True only for
 * TCP and UDP in an IP header with nothing behind it, sound or not.
 */
WEIR_INLINE bool weir_plain_heads(const uint8_t *ip, const uint8_t *end, uint32_t type)
{
	const struct weir_wire_ip4 *ip4 = (const void *)ip;
	const struct weir_wire_ip6 *ip6 = (const void *)ip;

	if (type == WEIR_ETH_IP4) {
		if (ip + sizeof *ip4 + sizeof(struct weir_wire_udp) > end || ip4->ver_ihl != 0x45)
			return false;
		return ip4->proto == WEIR_IPPROTO_UDP ||
		       (ip4->proto == WEIR_IPPROTO_TCP && ip + sizeof *ip4 + sizeof(struct weir_wire_tcp) <= end);
	}
	if (type != WEIR_ETH_IP6 || ip + sizeof *ip6 + sizeof(struct weir_wire_udp) > end)
		return false;
	return ip6->next == WEIR_IPPROTO_UDP ||
	       (ip6->next == WEIR_IPPROTO_TCP && ip + sizeof *ip6 + sizeof(struct weir_wire_tcp) <= end);
}

/* The same for a whole frame; `l3` as for weir_parse. */
WEIR_INLINE bool weir_plain_head(const uint8_t *data, const uint8_t *end, uint32_t l3)
{
	const struct weir_wire_eth *eth = (const void *)data;

	if (l3)
		return weir_plain_heads(data, end, l3);
	return data + sizeof *eth <= end && weir_plain_heads(data + sizeof *eth, end, weir_be16(eth->type));
}
