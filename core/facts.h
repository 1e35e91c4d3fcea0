/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is known about a conversation when it is judged. Always the originator's view: `t.src` opened,
 * `t.dst` was asked, whoever sent the packet at hand.
 */
#pragma once
#include "core/pkt.h"

/* weir_facts.known: which facts have been seen. A condition over an unseen fact is UNKNOWN, one over a
 * fact that cannot exist (ports of an ICMP packet) is FALSE. */
enum {
	WEIR_K_PORTS = 1,
	WEIR_K_ICMP = 2,
	WEIR_K_MAC = 4,
	WEIR_K_MARK = 8,
	WEIR_K_IN_IF = 16,
	WEIR_K_OUT_IF = 32,
	WEIR_K_VLAN = 64,
	WEIR_K_TTL = 128,
	WEIR_K_TIME = 256,
};

struct weir_facts {
	struct weir_tuple t;
	struct weir_tuple orig; /* before NAT; equals t when there was none */
	uint64_t in_if, out_if; /* pattern bits of the interfaces themselves */
	uint64_t in_lower, out_lower; /* pattern bits of what they stand on (the parent of a VLAN) */
	uint64_t mac;           /* source MAC as the frame came in, 48 bits */
	uint32_t known;
	uint32_t mark;
	uint32_t src_class, dst_class;   /* address classes of t; filled by weir_classify_prepare */
	uint32_t osrc_class, odst_class; /* of orig */
	uint32_t sport_class, dport_class;
	uint16_t vlan[2];
	uint8_t dir;    /* one WEIR_DIR_* */
	uint8_t proto, family, icmp_type, icmp_code, ttl, has_orig, pad;
	uint64_t times; /* bit n: it is in the windows of list n of the image; see core/clock.h */
};
