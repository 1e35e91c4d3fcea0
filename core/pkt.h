/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the parser saw in one frame. Plain data in host byte order, addresses as 16 bytes on the wire
 * order (IPv4 is stored v4-mapped, ::ffff:a.b.c.d, so that one table serves both families).
 */
#pragma once
#include "core/types.h"

/* Kinds of fragment. An IPv6 atomic fragment (RFC 6946) is whole. */
enum { WEIR_FRAG_NONE = 0, WEIR_FRAG_FIRST = 1, WEIR_FRAG_LATER = 2 };

/* weir_pkt.has */
enum {
	WEIR_HAS_MAC = 1,    /* smac and dmac are real */
	WEIR_HAS_PORTS = 2,  /* sport and dport are real */
	WEIR_HAS_ICMP = 4,   /* icmp_type and icmp_code are real */
	WEIR_HAS_INNER = 8,  /* an ICMP error whose quoted packet could be read */
	WEIR_HAS_ECHO = 16,  /* ICMP echo: sport and dport both hold the identifier */
	WEIR_HAS_MCAST = 32, /* dst is an IP multicast or the limited broadcast address */
	WEIR_HAS_PPPOE = 128, /* the packet stood in a PPPoE session frame */
	WEIR_HAS_FRAG_HEADER = 64, /* an IPv6 fragment header, if only an atomic one */
};

/* A conversation as one packet names it: who sends, who is sent to. 40 bytes. */
struct weir_tuple {
	uint8_t src[16], dst[16];
	uint16_t sport, dport;
	uint32_t zone; /* bits 31..24 IP protocol, 23..12 outer VLAN id, 11..0 inner VLAN id */
};
_Static_assert(sizeof(struct weir_tuple) == 40, "ABI");

struct weir_pkt {
	struct weir_tuple t;
	struct weir_tuple inner; /* of an ICMP error: the packet that it complains about */
	uint32_t frag_id;
	uint32_t seq, ack;      /* TCP */
	uint32_t payload_len;   /* bytes behind the L4 header */
	uint32_t ip_len;        /* bytes of the IP packet, headers included */
	uint16_t l3_off, l4_off; /* from the start of the frame */
	uint16_t ethertype;     /* of the innermost L2 header */
	uint16_t vlan[2];       /* tags of this frame, outer first; 0 = none (VLAN id 0 is a priority, not a VLAN) */
	uint8_t smac[6], dmac[6];
	uint8_t family;         /* 4, 6, or 0 for what is not IP */
	uint8_t proto, tcp_flags, frag, icmp_type, icmp_code, ttl, has, ip_hlen, pad;
};
_Static_assert(sizeof(struct weir_pkt) == 132, "ABI");

WEIR_INLINE uint32_t weir_zone(uint32_t proto, uint32_t outer, uint32_t inner)
{
	return proto << 24 | (outer & 0xfff) << 12 | (inner & 0xfff);
}

/* Not memcmp: clang 14 makes a call of it for BPF. */
WEIR_INLINE bool weir_addr_equal(const uint8_t a[static 16], const uint8_t b[static 16])
{
	return weir_be64(a) == weir_be64(b) && weir_be64(a + 8) == weir_be64(b + 8);
}

WEIR_INLINE bool weir_tuple_equal(const struct weir_tuple *a, const struct weir_tuple *b)
{
	return weir_addr_equal(a->src, b->src) && weir_addr_equal(a->dst, b->dst) && a->sport == b->sport &&
	       a->dport == b->dport && a->zone == b->zone;
}

WEIR_INLINE bool weir_addr_is_v4(const uint8_t a[static 16])
{
	return !(weir_be64(a) | (weir_be32(a + 8) ^ 0x0000ffffu));
}
