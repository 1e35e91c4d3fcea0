/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Headers as they stand on the wire. Byte arrays only: no alignment, no padding, no endianness, so a
 * pointer to any byte of a packet may be read as one of these.
 */
#pragma once
#include "core/types.h"

struct weir_wire_eth {
	uint8_t dst[6], src[6], type[2];
};

struct weir_wire_vlan { /* IEEE 802.1Q, after the TPID */
	uint8_t tci[2], type[2];
};

struct weir_wire_pppoe { /* RFC 2516 section 4, session stage, with the two PPP protocol bytes */
	uint8_t ver_type, code, session[2], len[2], ppp[2];
};

struct weir_wire_ip4 { /* RFC 791 */
	uint8_t ver_ihl, tos, len[2], id[2], frag[2], ttl, proto, csum[2], src[4], dst[4];
};

struct weir_wire_ip6 { /* RFC 8200 section 3 */
	uint8_t vtc[4], len[2], next, hop, src[16], dst[16];
};

struct weir_wire_ext { /* RFC 8200: hop-by-hop, destination options, routing; RFC 4302: AH */
	uint8_t next, len, type, segments;
};

struct weir_wire_frag { /* RFC 8200 section 4.5; the second byte is reserved and never trusted */
	uint8_t next, reserved, off[2], id[4];
};

struct weir_wire_tcp { /* RFC 9293 */
	uint8_t sport[2], dport[2], seq[4], ack[4], off, flags, win[2], csum[2], urg[2];
};

struct weir_wire_udp { /* RFC 768; UDP-Lite, RFC 3828, has the coverage in place of the length */
	uint8_t sport[2], dport[2], len[2], csum[2];
};

struct weir_wire_sctp { /* RFC 9260 */
	uint8_t sport[2], dport[2], tag[4], csum[4];
};

struct weir_wire_icmp { /* RFC 792, RFC 4443 */
	uint8_t type, code, csum[2], rest[4];
};

_Static_assert(sizeof(struct weir_wire_eth) == 14, "eth");
_Static_assert(sizeof(struct weir_wire_pppoe) == 8, "pppoe");
_Static_assert(sizeof(struct weir_wire_ip4) == 20, "ip4");
_Static_assert(sizeof(struct weir_wire_ip6) == 40, "ip6");
_Static_assert(sizeof(struct weir_wire_frag) == 8, "frag");
_Static_assert(sizeof(struct weir_wire_tcp) == 20, "tcp");
_Static_assert(sizeof(struct weir_wire_udp) == 8, "udp");
_Static_assert(sizeof(struct weir_wire_sctp) == 12, "sctp");
_Static_assert(sizeof(struct weir_wire_icmp) == 8, "icmp");

/* EtherTypes */
#define WEIR_ETH_IP4 0x0800
#define WEIR_ETH_ARP 0x0806
#define WEIR_ETH_VLAN 0x8100
#define WEIR_ETH_QINQ 0x88a8
#define WEIR_ETH_QINQ_OLD 0x9100
#define WEIR_ETH_IP6 0x86dd
#define WEIR_ETH_PPPOE 0x8864 /* session; discovery (0x8863) carries no IP */

/* TCP flags */
#define WEIR_TCP_FIN 0x01
#define WEIR_TCP_SYN 0x02
#define WEIR_TCP_RST 0x04
#define WEIR_TCP_PSH 0x08
#define WEIR_TCP_ACK 0x10
#define WEIR_TCP_URG 0x20
