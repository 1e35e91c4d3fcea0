/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness/packet.h"

#include <stdlib.h>
#include <string.h>

#include "core/wire.h"

static uint8_t *append(struct weir_frame *f, uint32_t n)
{
	uint8_t *at = f->b + f->len;

	if (f->len + n > sizeof f->b)
		abort();
	memset(at, 0, n);
	f->len += n;
	return at;
}

/* The header that begins here is called `proto` by the one before it. */
static uint8_t *append_l4(struct weir_frame *f, uint8_t proto, uint32_t n)
{
	if (f->next_at)
		f->b[f->next_at] = proto;
	f->l4 = f->len;
	return append(f, n);
}

void weir_frame_bytes(struct weir_frame *f, const void *bytes, uint32_t n)
{
	uint8_t *at = append(f, n);

	for (uint32_t i = 0; i < n; i++)
		at[i] = bytes ? ((const uint8_t *)bytes)[i] : (uint8_t)i;
}

void weir_frame_eth(struct weir_frame *f, uint16_t type)
{
	uint8_t *h;

	memset(f, 0, offsetof(struct weir_frame, len));
	f->len = f->l3 = f->l4 = f->pppoe = f->udp = f->next_at = f->family = 0;
	h = append(f, 14);
	memcpy(h, "\x02\0\0\0\0\x02\x02\0\0\0\0\x01", 12);
	weir_put16(h + 12, type);
}

void weir_frame_vlan(struct weir_frame *f, uint16_t tpid, uint16_t tci)
{
	uint16_t type = weir_be16(f->b + f->len - 2);
	uint8_t *h;

	weir_put16(f->b + f->len - 2, tpid);
	h = append(f, 4);
	weir_put16(h, tci);
	weir_put16(h + 2, type);
}

void weir_frame_pppoe(struct weir_frame *f)
{
	uint16_t type = weir_be16(f->b + f->len - 2);
	uint8_t *h;

	weir_put16(f->b + f->len - 2, WEIR_ETH_PPPOE);
	f->pppoe = f->len;
	h = append(f, 8);
	h[0] = 0x11;
	h[3] = 1;
	weir_put16(h + 6, type == WEIR_ETH_IP4 ? 0x21 : type == WEIR_ETH_IP6 ? 0x57 : 0xc021);
}

void weir_frame_ip4(struct weir_frame *f, uint32_t src, uint32_t dst, uint16_t frag, const void *options, uint32_t n)
{
	uint8_t *h;

	f->l3 = f->len;
	h = append(f, 20 + n);
	h[0] = (uint8_t)(0x45 + n / 4);
	weir_put16(h + 4, 0x1234);
	weir_put16(h + 6, frag);
	h[8] = 64;
	weir_put32(h + 12, src);
	weir_put32(h + 16, dst);
	if (n)
		memcpy(h + 20, options, n);
	f->next_at = f->l3 + 9;
	f->family = 4;
}

void weir_frame_ip6(struct weir_frame *f, const uint8_t src[16], const uint8_t dst[16])
{
	uint8_t *h;

	f->l3 = f->len;
	h = append(f, 40);
	h[0] = 0x60;
	h[6] = 59;
	h[7] = 64;
	memcpy(h + 8, src, 16);
	memcpy(h + 24, dst, 16);
	f->next_at = f->l3 + 6;
	f->family = 6;
}

void weir_frame_ext(struct weir_frame *f, uint8_t kind, uint32_t n, uint8_t third, uint8_t fourth)
{
	uint8_t *h = append_l4(f, kind, n);

	h[0] = 59;
	h[1] = (uint8_t)(kind == 51 ? n / 4 - 2 : n / 8 - 1);
	h[2] = third;
	h[3] = fourth;
	f->next_at = (uint32_t)(h - f->b);
}

void weir_frame_frag6(struct weir_frame *f, uint16_t off_flags, uint32_t id)
{
	uint8_t *h = append_l4(f, 44, 8);

	h[0] = 59;
	h[1] = 0xff; /* reserved: nobody may read a length here */
	weir_put16(h + 2, off_flags);
	weir_put32(h + 4, id);
	f->next_at = (uint32_t)(h - f->b);
}

void weir_frame_tcp(struct weir_frame *f, uint16_t sport, uint16_t dport, uint8_t flags, uint32_t seq, uint32_t ack)
{
	uint8_t *h = append_l4(f, WEIR_IPPROTO_TCP, 20);

	weir_put16(h, sport);
	weir_put16(h + 2, dport);
	weir_put32(h + 4, seq);
	weir_put32(h + 8, ack);
	h[12] = 0x50;
	h[13] = flags;
}

void weir_frame_udp(struct weir_frame *f, uint8_t proto, uint16_t sport, uint16_t dport)
{
	uint8_t *h = append_l4(f, proto, 8);

	weir_put16(h, sport);
	weir_put16(h + 2, dport);
	f->udp = f->l4;
}

void weir_frame_sctp(struct weir_frame *f, uint16_t sport, uint16_t dport)
{
	uint8_t *h = append_l4(f, WEIR_IPPROTO_SCTP, 12);

	weir_put16(h, sport);
	weir_put16(h + 2, dport);
}

void weir_frame_icmp(struct weir_frame *f, uint8_t type, uint8_t code, uint16_t id)
{
	uint8_t *h = append_l4(f, f->family == 4 ? WEIR_IPPROTO_ICMP : WEIR_IPPROTO_ICMPV6, 8);

	h[0] = type;
	h[1] = code;
	weir_put16(h + 4, id);
}

void weir_frame_proto(struct weir_frame *f, uint8_t proto)
{
	append_l4(f, proto, 0);
}

void weir_frame_end(struct weir_frame *f)
{
	if (f->family == 4)
		weir_put16(f->b + f->l3 + 2, f->len - f->l3);
	else if (f->family == 6)
		weir_put16(f->b + f->l3 + 4, f->len - f->l3 - 40);
	if (f->pppoe)
		weir_put16(f->b + f->pppoe + 4, f->len - f->pppoe - 6);
	if (f->udp)
		weir_put16(f->b + f->udp + 4, f->len - f->udp);
}
