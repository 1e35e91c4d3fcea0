/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames for tests, built front to back: each call appends a header and makes the one before it name it.
 * weir_frame_end writes the lengths; what a test wants to lie about it overwrites afterwards. Checksums
 * stay zero: nothing under test reads them.
 */
#pragma once
#include <stdint.h>

#include "core/types.h"

struct weir_frame {
	uint8_t b[4096];
	uint32_t len;
	uint32_t l3, l4;     /* where these headers begin */
	uint32_t pppoe, udp; /* likewise; 0 = none */
	uint32_t next_at;    /* the byte that names the next header */
	uint8_t family;
};

void weir_frame_bytes(struct weir_frame *f, const void *bytes, uint32_t n); /* NULL: n counting bytes */
void weir_frame_eth(struct weir_frame *f, uint16_t type);
/* These two go between the Ethernet header and what it carries. */
void weir_frame_vlan(struct weir_frame *f, uint16_t tpid, uint16_t tci);
void weir_frame_pppoe(struct weir_frame *f);
/* frag: the flags and offset field. options: a multiple of 4 bytes. */
void weir_frame_ip4(struct weir_frame *f, uint32_t src, uint32_t dst, uint16_t frag, const void *options, uint32_t n);
void weir_frame_ip6(struct weir_frame *f, const uint8_t src[16], const uint8_t dst[16]);
/* An extension header (0, 43, 51, 60 ...) of n bytes; its third and fourth byte are given. */
void weir_frame_ext(struct weir_frame *f, uint8_t kind, uint32_t n, uint8_t third, uint8_t fourth);
void weir_frame_frag6(struct weir_frame *f, uint16_t off_flags, uint32_t id);
void weir_frame_tcp(struct weir_frame *f, uint16_t sport, uint16_t dport, uint8_t flags, uint32_t seq, uint32_t ack);
void weir_frame_udp(struct weir_frame *f, uint8_t proto, uint16_t sport, uint16_t dport);
void weir_frame_sctp(struct weir_frame *f, uint16_t sport, uint16_t dport);
void weir_frame_icmp(struct weir_frame *f, uint8_t type, uint8_t code, uint16_t id);
void weir_frame_proto(struct weir_frame *f, uint8_t proto);
void weir_frame_end(struct weir_frame *f);

static inline void weir_put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static inline void weir_put32(uint8_t *at, uint32_t v)
{
	weir_put16(at, v >> 16);
	weir_put16(at + 2, v);
}
