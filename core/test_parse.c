/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser: what each frame means, and that each reason to call one malformed has a frame that shows it.
 * This file is long because its last test must have seen the frames of all the others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/parse.h"
#include "tests/harness/packet.h"

#define SYN WEIR_TCP_SYN
#define ACK WEIR_TCP_ACK
#define A4 0x0a000001
#define B4 0x0a000002

static const uint8_t a6[16] = { 0x20, 1, 0xd, 0xb8, [15] = 1 }, b6[16] = { 0x20, 1, 0xd, 0xb8, [15] = 2 };
static struct weir_pkt p;
static uint8_t shown[WEIR_REASON_COUNT];

/* On a copy of exactly n bytes, so that the sanitizer sees a read of the next one. */
static enum weir_reason parse_n(const struct weir_frame *f, uint32_t n, uint32_t l3, uint32_t meta)
{
	uint8_t *copy = malloc(n ? n : 1);
	struct weir_cursor c = { .data = copy, .end = copy + n, .frame_len = n };
	enum weir_reason r;

	assert_non_null(copy);
	memcpy(copy, f->b, n);
	memset(&p, 0, sizeof p);
	r = weir_parse(&c, &p, l3, meta);
	shown[r] = 1;
	free(copy);
	return r;
}

static enum weir_reason parse(const struct weir_frame *f)
{
	return parse_n(f, f->len, 0, 0);
}

static void start4(struct weir_frame *f, uint16_t frag)
{
	weir_frame_eth(f, WEIR_ETH_IP4);
	weir_frame_ip4(f, A4, B4, frag, NULL, 0);
}

static void start6(struct weir_frame *f)
{
	weir_frame_eth(f, WEIR_ETH_IP6);
	weir_frame_ip6(f, a6, b6);
}

static void tcp4(struct weir_frame *f)
{
	start4(f, 0);
	weir_frame_tcp(f, 4000, 80, SYN, 7, 0);
	weir_frame_bytes(f, NULL, 5);
	weir_frame_end(f);
}

static void fields_of_a_plain_segment(void **state)
{
	static const uint8_t src[16] = { [10] = 0xff, 0xff, 10, 0, 0, 1 };
	struct weir_frame f;

	tcp4(&f);
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_memory_equal(p.t.src, src, 16);
	assert_int_equal(p.t.sport, 4000);
	assert_int_equal(p.t.dport, 80);
	assert_int_equal(p.t.zone, weir_zone(6, 0, 0));
	assert_int_equal(p.tcp_flags, SYN);
	assert_int_equal(p.seq, 7);
	assert_int_equal(p.payload_len, 5);
	assert_int_equal(p.ip_len, 45);
	assert_int_equal(p.l3_off, 14);
	assert_int_equal(p.l4_off, 34);
	assert_int_equal(p.has, WEIR_HAS_MAC | WEIR_HAS_PORTS);
	start6(&f);
	weir_frame_udp(&f, 17, 5, 53);
	weir_frame_bytes(&f, NULL, 9);
	weir_frame_end(&f);
	weir_frame_bytes(&f, NULL, 6); /* padding of the frame */
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.family, 6);
	assert_int_equal(p.payload_len, 9);
	assert_memory_equal(p.t.dst, b6, 16);
	weir_put16(f.b + f.udp + 4, 12); /* the datagram ends before the packet */
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.payload_len, 4);
	start6(&f);
	weir_frame_sctp(&f, 9, 10);
	weir_frame_bytes(&f, NULL, 4);
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.t.dport, 10);
	assert_int_equal(p.payload_len, 4);
}

/* A frame cut anywhere in its headers is malformed; one cut in its payload lies about its length. */
static void truncation_at_every_byte(void **state)
{
	struct weir_frame f;

	for (int v = 0; v < 6; v++) {
		uint8_t nops[8] = { 1, 1, 1, 1, 1, 1, 1, 0 };

		weir_frame_eth(&f, v < 3 ? WEIR_ETH_IP4 : WEIR_ETH_IP6);
		weir_frame_vlan(&f, WEIR_ETH_QINQ, 5);
		weir_frame_vlan(&f, WEIR_ETH_VLAN, 6);
		if (v % 2)
			weir_frame_pppoe(&f);
		if (v < 3) {
			weir_frame_ip4(&f, A4, B4, 0, nops, 8);
		} else {
			weir_frame_ip6(&f, a6, b6);
			weir_frame_ext(&f, 0, 8, 1, 4);
			weir_frame_ext(&f, 60, 16, 1, 12);
		}
		if (v % 3 == 0)
			weir_frame_tcp(&f, 1, 2, ACK, 1, 1);
		else if (v % 3 == 1)
			weir_frame_udp(&f, 17, 1, 2);
		else
			weir_frame_icmp(&f, v < 3 ? 8 : 128, 0, 1);
		weir_frame_bytes(&f, NULL, 20);
		weir_frame_end(&f);
		assert_int_equal(parse(&f), WEIR_REASON_NONE);
		for (uint32_t n = 0; n < f.len; n++)
			assert_true(weir_reason_malformed(parse_n(&f, n, 0, 0)));
	}
}

static void tags_and_metadata(void **state)
{
	struct weir_frame f;

	weir_frame_eth(&f, WEIR_ETH_IP4);
	weir_frame_vlan(&f, WEIR_ETH_QINQ, 0x2005);
	weir_frame_vlan(&f, WEIR_ETH_VLAN, 6);
	weir_frame_ip4(&f, A4, B4, 0, NULL, 0);
	weir_frame_udp(&f, 17, 1, 2);
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.t.zone, weir_zone(17, 5, 6));
	assert_int_equal(parse_n(&f, f.len, 0, WEIR_META_TAG | 7), WEIR_REASON_VLAN_TOO_DEEP);
	/* the same two tags, one of them in the socket buffer */
	weir_frame_eth(&f, WEIR_ETH_IP4);
	weir_frame_vlan(&f, WEIR_ETH_VLAN, 6);
	weir_frame_ip4(&f, A4, B4, 0, NULL, 0);
	weir_frame_udp(&f, 17, 1, 2);
	weir_frame_end(&f);
	assert_int_equal(parse_n(&f, f.len, 0, WEIR_META_TAG | 0x2005), WEIR_REASON_NONE);
	assert_int_equal(p.t.zone, weir_zone(17, 5, 6));
	/* VLAN 0 is a priority: in front of a real tag, alone, and in metadata */
	assert_int_equal(parse_n(&f, f.len, 0, WEIR_META_TAG | 0xe000), WEIR_REASON_NONE);
	assert_int_equal(p.t.zone, weir_zone(17, 6, 0));
	weir_put16(f.b + 14, 0x6000);
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.t.zone, weir_zone(17, 0, 0));
	weir_frame_eth(&f, WEIR_ETH_IP4);
	for (int i = 0; i < 3; i++)
		weir_frame_vlan(&f, i ? WEIR_ETH_VLAN : WEIR_ETH_QINQ_OLD, 1);
	assert_int_equal(parse(&f), WEIR_REASON_VLAN_TOO_DEEP);
}

static void not_ip(void **state)
{
	struct weir_frame f;

	weir_frame_eth(&f, WEIR_ETH_ARP);
	assert_int_equal(parse(&f), WEIR_REASON_NOT_IP);
	weir_frame_eth(&f, 0x88cc);
	assert_int_equal(parse(&f), WEIR_REASON_UNKNOWN_L2);
	weir_frame_eth(&f, 38); /* 802.3 with a length: spanning tree */
	assert_int_equal(parse(&f), WEIR_REASON_UNKNOWN_L2);
	/* a device without Ethernet header */
	tcp4(&f);
	memmove(f.b, f.b + 14, f.len - 14);
	assert_int_equal(parse_n(&f, f.len - 14, WEIR_ETH_IP4, 0), WEIR_REASON_NONE);
	assert_int_equal(p.l3_off, 0);
	assert_int_equal(p.has, WEIR_HAS_PORTS);
}

static void pppoe(void **state)
{
	struct weir_frame f;

	for (int v6 = 0; v6 < 2; v6++) {
		weir_frame_eth(&f, v6 ? WEIR_ETH_IP6 : WEIR_ETH_IP4);
		weir_frame_vlan(&f, WEIR_ETH_VLAN, 7);
		weir_frame_pppoe(&f);
		if (v6)
			weir_frame_ip6(&f, a6, b6);
		else
			weir_frame_ip4(&f, A4, B4, 0, NULL, 0);
		weir_frame_udp(&f, 17, 1, 2);
		weir_frame_end(&f);
		weir_frame_bytes(&f, NULL, 3);
		assert_int_equal(parse(&f), WEIR_REASON_NONE);
		assert_int_equal(p.family, v6 ? 6 : 4);
		assert_int_equal(p.vlan[0], 7);
		/* every shorter length ends the packet inside itself */
		for (uint32_t n = weir_be16(f.b + f.pppoe + 4); n-- > 0;) {
			weir_put16(f.b + f.pppoe + 4, n);
			assert_int_equal(parse(&f), n < 2 ? WEIR_REASON_PPPOE_HEADER : WEIR_REASON_IP_TOTAL_LEN);
		}
		weir_put16(f.b + f.pppoe + 4, f.len - f.pppoe - 5);
		assert_int_equal(parse(&f), WEIR_REASON_PPPOE_HEADER);
	}
	weir_frame_eth(&f, 0xffff); /* a control protocol */
	weir_frame_pppoe(&f);
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_UNKNOWN_L2);
	f.b[f.pppoe + 6] = 0x21; /* IPv4 in a compressed protocol field, as Linux would read it */
	assert_int_equal(parse(&f), WEIR_REASON_PPPOE_HEADER);
	f.b[f.pppoe + 6] = 0xc0;
	f.b[f.pppoe] = 0x12;
	assert_int_equal(parse(&f), WEIR_REASON_PPPOE_HEADER);
}

/* One byte of a good frame changed: what it becomes. */
static void one_byte_wrong(void **state)
{
	static const struct {
		uint32_t at; /* from the start of IPv4 */
		uint8_t value;
		enum weir_reason reason;
	} v[] = {
		{ 0, 0x65, WEIR_REASON_IP_VERSION },
		{ 0, 0x44, WEIR_REASON_IP_HEADER_LEN },
		{ 0, 0x4f, WEIR_REASON_IP_TOTAL_LEN },
		{ 3, 19, WEIR_REASON_IP_TOTAL_LEN },
		{ 3, 46, WEIR_REASON_IP_TOTAL_LEN },
		{ 3, 39, WEIR_REASON_TCP_OFFSET },
		{ 12, 224, WEIR_REASON_BAD_SOURCE },
		{ 32, 0x40, WEIR_REASON_TCP_OFFSET },
		{ 32, 0xf0, WEIR_REASON_TCP_OFFSET },
		{ 33, 0, WEIR_REASON_TCP_FLAGS },
		{ 33, SYN | WEIR_TCP_FIN, WEIR_REASON_TCP_FLAGS },
		{ 33, SYN | WEIR_TCP_RST, WEIR_REASON_TCP_FLAGS },
		{ 33, 0xff, WEIR_REASON_TCP_FLAGS },
		{ 33, WEIR_TCP_FIN, WEIR_REASON_TCP_FLAGS },
		{ 33, 0xc2, WEIR_REASON_NONE },
		{ 33, ACK | WEIR_TCP_PSH | WEIR_TCP_URG, WEIR_REASON_NONE },
		{ 9, 58, WEIR_REASON_ICMP_FAMILY },
		{ 9, 50, WEIR_REASON_NONE },
		{ 6, 0x80, WEIR_REASON_NONE }, /* the reserved bit, RFC 3514 */
	};
	struct weir_frame f;

	for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
		tcp4(&f);
		f.b[14 + v[i].at] = v[i].value;
		if (parse(&f) != v[i].reason)
			fail_msg("vector %zu", i);
	}
	tcp4(&f);
	memset(f.b + f.l3 + 12, 0xff, 4);
	assert_int_equal(parse(&f), WEIR_REASON_BAD_SOURCE);
	tcp4(&f);
	weir_put16(f.b + f.l4 + 2, 0);
	assert_int_equal(parse(&f), WEIR_REASON_PORT_ZERO);
	tcp4(&f); /* LAND */
	memcpy(f.b + f.l3 + 16, f.b + f.l3 + 12, 4);
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	weir_put16(f.b + f.l4, 80);
	assert_int_equal(parse(&f), WEIR_REASON_BAD_SOURCE);
	start4(&f, 0);
	weir_frame_sctp(&f, 0, 1);
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_PORT_ZERO);
}

static enum weir_reason with_options(const uint8_t *o, uint32_t n)
{
	struct weir_frame f;

	weir_frame_eth(&f, WEIR_ETH_IP4);
	weir_frame_ip4(&f, A4, B4, 0, o, n);
	weir_frame_udp(&f, 17, 1, 2);
	weir_frame_end(&f);
	return parse(&f);
}

static void ip4_options(void **state)
{
	uint8_t nops[40];

	memset(nops, 1, sizeof nops);
	assert_int_equal(with_options(nops, 40), WEIR_REASON_NONE);
	assert_int_equal(p.t.dport, 2);
	nops[39] = 131; /* the last byte: no room for a length, yet what it is is plain */
	assert_int_equal(with_options(nops, 40), WEIR_REASON_IP_SOURCE_ROUTE);
	nops[39] = 7;
	assert_int_equal(with_options(nops, 40), WEIR_REASON_IP_OPTION);
	assert_int_equal(with_options((const uint8_t *)"\x94\x04\0\0", 4), WEIR_REASON_NONE); /* router alert */
	assert_int_equal(with_options((const uint8_t *)"\x94\x05\0\0", 4), WEIR_REASON_IP_OPTION);
	assert_int_equal(with_options((const uint8_t *)"\x94\x01\0\0", 4), WEIR_REASON_IP_OPTION);
	assert_int_equal(with_options((const uint8_t *)"\x01\x89\x03\x04", 4), WEIR_REASON_IP_SOURCE_ROUTE);
	assert_int_equal(with_options((const uint8_t *)"\x07\x07\x83\x83\x83\x83\x83\0", 8), WEIR_REASON_NONE);
	assert_int_equal(with_options((const uint8_t *)"\0\x83\x04\0", 4), WEIR_REASON_NONE); /* behind the end */
	assert_int_equal(p.l4_off, 38);
}

static void udp_lengths(void **state)
{
	struct weir_frame f;

	start4(&f, 0);
	weir_frame_udp(&f, 17, 0, 53); /* port 0 may send, RFC 768 */
	weir_frame_bytes(&f, NULL, 4);
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	weir_put16(f.b + f.udp + 4, 7);
	assert_int_equal(parse(&f), WEIR_REASON_UDP_LENGTH);
	weir_put16(f.b + f.udp + 4, 0);
	assert_int_equal(parse(&f), WEIR_REASON_UDP_LENGTH);
	weir_put16(f.b + f.udp + 4, 13);
	assert_int_equal(parse(&f), WEIR_REASON_UDP_LENGTH);
	f.b[f.l3 + 9] = WEIR_IPPROTO_UDPLITE; /* the same field is a coverage there */
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	weir_put16(f.b + f.l4 + 2, 0);
	assert_int_equal(parse(&f), WEIR_REASON_PORT_ZERO);
}

static void ip4_fragments(void **state)
{
	struct weir_frame f;

	start4(&f, 0x2000);
	weir_frame_udp(&f, 17, 1, 2);
	weir_frame_bytes(&f, NULL, 8);
	weir_frame_end(&f);
	weir_put16(f.b + f.udp + 4, 3000); /* of the whole datagram */
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.frag, WEIR_FRAG_FIRST);
	assert_int_equal(p.t.dport, 2);
	assert_int_equal(p.frag_id, 0x1234);
	weir_put16(f.b + f.l3 + 6, 2);
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.frag, WEIR_FRAG_LATER);
	assert_int_equal(p.has, WEIR_HAS_MAC);
	assert_int_equal(p.t.dport, 0);
	weir_put16(f.b + f.l3 + 6, 0x1fff);
	assert_int_equal(parse(&f), WEIR_REASON_FRAG_OVERFLOW);
	/* a TCP header must be whole in the first fragment, and no later one may write over it */
	for (uint32_t n = 0; n < 24; n++) {
		start4(&f, 0x2000);
		weir_frame_tcp(&f, 1, 2, SYN, 0, 0);
		f.b[f.l4 + 12] = 0x60;
		weir_frame_bytes(&f, NULL, 4);
		f.len -= 24 - n;
		weir_frame_end(&f);
		assert_int_equal(parse(&f), WEIR_REASON_FRAG_TINY);
	}
	for (uint16_t off = 1; off < 5; off++) {
		start4(&f, off);
		weir_frame_tcp(&f, 1, 2, SYN, 0, 0);
		weir_frame_end(&f);
		assert_int_equal(parse(&f), off < 3 ? WEIR_REASON_FRAG_TINY : WEIR_REASON_NONE);
	}
}

/* All orders of three headers in front of TCP, each also cut at every byte. */
static void ip6_chains(void **state)
{
	static const uint8_t kinds[] = { 0, 43, 51, 60, 44 };
	struct weir_frame f;

	for (int code = 0; code < 125; code++) {
		uint8_t k[3] = { kinds[code % 5], kinds[code / 5 % 5], kinds[code / 25] };
		bool hop = !k[1] || !k[2], frags = (k[0] == 44) + (k[1] == 44) + (k[2] == 44) > 1;
		enum weir_reason r;

		start6(&f);
		for (int i = 0; i < 3; i++) {
			if (k[i] == 44)
				weir_frame_frag6(&f, 0, 9); /* atomic, RFC 6946 */
			else
				weir_frame_ext(&f, k[i], k[i] == 51 ? 24 : 16, k[i] == 43 ? 4 : 1, 0);
		}
		weir_frame_tcp(&f, 1, 443, SYN, 1, 0);
		weir_frame_end(&f);
		r = parse(&f);
		if (hop || frags) {
			assert_int_equal(r, WEIR_REASON_EXT_ORDER);
			continue;
		}
		assert_int_equal(r, WEIR_REASON_NONE);
		assert_int_equal(p.t.dport, 443);
		assert_int_equal(p.frag, WEIR_FRAG_NONE);
		assert_int_equal(p.l4_off, f.l4);
		for (uint32_t n = 0; n < f.len; n++) {
			assert_true(weir_reason_malformed(parse_n(&f, n, 0, 0)));
			if (n < f.l3 + 40)
				continue;
			weir_put16(f.b + f.l3 + 4, n - f.l3 - 40); /* an honest length of a cut packet */
			assert_true(weir_reason_malformed(parse_n(&f, n, 0, 0)));
			weir_frame_end(&f);
		}
	}
}

static enum weir_reason ext_then_tcp(uint8_t kind, uint32_t n, uint8_t third, uint8_t fourth)
{
	struct weir_frame f;

	start6(&f);
	weir_frame_ext(&f, kind, n, third, fourth);
	weir_frame_tcp(&f, 1, 2, SYN, 1, 0);
	weir_frame_end(&f);
	return parse(&f);
}

static void ip6_single_headers(void **state)
{
	struct weir_frame f;

	assert_int_equal(ext_then_tcp(43, 24, 0, 1), WEIR_REASON_IP_SOURCE_ROUTE);
	assert_int_equal(ext_then_tcp(43, 24, 0, 0), WEIR_REASON_NONE); /* RFC 5095: ignored */
	assert_int_equal(ext_then_tcp(51, 8, 0, 0), WEIR_REASON_IP_TOTAL_LEN);
	assert_int_equal(ext_then_tcp(51, 12, 0, 0), WEIR_REASON_NONE);
	assert_int_equal(ext_then_tcp(60, 504, 0, 0), WEIR_REASON_HEADERS_TOO_LONG);
	/* protocols that Linux does not walk through: what follows them is not TCP to anybody */
	static const uint8_t ends[] = { 50, 59, 135, 139, 140, 253 };

	for (size_t i = 0; i < sizeof ends; i++) {
		assert_int_equal(ext_then_tcp(ends[i], 8, 0, 0), WEIR_REASON_NONE);
		assert_int_equal(p.proto, ends[i]);
		assert_int_equal(p.has, WEIR_HAS_MAC);
	}
	for (int n = 0; n < 11; n++) {
		start6(&f);
		for (int i = 0; i < n; i++)
			weir_frame_ext(&f, 60, 8, 1, 4);
		weir_frame_tcp(&f, 1, 2, SYN, 1, 0);
		weir_frame_end(&f);
		assert_int_equal(parse(&f), n <= WEIR_EXT_MAX ? WEIR_REASON_NONE : WEIR_REASON_EXT_TOO_MANY);
	}
	start6(&f);
	f.b[f.l3 + 8] = 0xff;
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_BAD_SOURCE);
	start6(&f);
	memcpy(f.b + f.l3 + 24, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\1", 16);
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_BAD_SOURCE);
	start6(&f);
	weir_frame_end(&f);
	f.b[f.l3] = 0x45;
	assert_int_equal(parse(&f), WEIR_REASON_IP_VERSION);
}

static void ip6_fragments(void **state)
{
	struct weir_frame f;

	start6(&f);
	weir_frame_frag6(&f, 1, 77);
	weir_frame_ext(&f, 60, 8, 1, 4);
	weir_frame_udp(&f, 17, 1, 2);
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.frag, WEIR_FRAG_FIRST);
	assert_int_equal(p.frag_id, 77);
	assert_int_equal(p.t.dport, 2);
	for (uint32_t cut = 1; cut <= 16; cut++) { /* RFC 7112: the whole chain or nothing */
		f.len--;
		weir_put16(f.b + f.l3 + 4, f.len - f.l3 - 40);
		assert_int_equal(parse(&f), WEIR_REASON_FRAG_TINY);
	}
	start6(&f);
	weir_frame_frag6(&f, 0x100, 77);
	weir_frame_proto(&f, 60); /* in a later fragment that is data, whatever it looks like */
	weir_frame_bytes(&f, NULL, 8);
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.frag, WEIR_FRAG_LATER);
	weir_put16(f.b + f.l3 + 42, 0xfff8);
	assert_int_equal(parse(&f), WEIR_REASON_FRAG_OVERFLOW);
	weir_put16(f.b + f.l3 + 42, 0x0010);
	f.b[f.next_at] = 6;
	assert_int_equal(parse(&f), WEIR_REASON_FRAG_TINY);
	weir_put16(f.b + f.l3 + 42, 0x0006); /* reserved bits are no fragment */
	f.b[f.next_at] = 59;
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.frag, WEIR_FRAG_NONE);
}

static void icmp(void **state)
{
	struct weir_frame f;

	start4(&f, 0);
	weir_frame_icmp(&f, 8, 0, 0xbeef);
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_NONE);
	assert_int_equal(p.has, WEIR_HAS_MAC | WEIR_HAS_ICMP | WEIR_HAS_ECHO);
	assert_int_equal(p.t.sport, 0xbeef);
	weir_put16(f.b + f.l3 + 2, 27);
	assert_int_equal(parse(&f), WEIR_REASON_ICMP_LENGTH);
	start6(&f);
	weir_frame_proto(&f, WEIR_IPPROTO_ICMP);
	weir_frame_bytes(&f, NULL, 8);
	weir_frame_end(&f);
	assert_int_equal(parse(&f), WEIR_REASON_ICMP_FAMILY);
}

/* An ICMP error, with what it quotes cut at every byte: 8 bytes behind the quoted IP header are enough. */
static void icmp_quotes(void **state)
{
	struct weir_frame f, in;

	for (int v = 0; v < 4; v++) {
		uint32_t need;

		weir_frame_eth(&in, v & 1 ? WEIR_ETH_IP6 : WEIR_ETH_IP4);
		if (v & 1)
			weir_frame_ip6(&in, b6, a6);
		else
			weir_frame_ip4(&in, B4, A4, 0, "\1\1\1\0", v == 0 ? 4 : 0);
		if (v < 2)
			weir_frame_tcp(&in, 80, 4000, ACK, 1, 1);
		else
			weir_frame_icmp(&in, v & 1 ? 128 : 8, 0, 99);
		weir_frame_end(&in);
		need = in.l4 - 14 + 8;
		for (uint32_t n = 0; n <= in.len - 14; n++) {
			if (v & 1)
				start6(&f);
			else
				start4(&f, 0);
			weir_frame_icmp(&f, v & 1 ? 2 : 3, 4, 0);
			weir_frame_bytes(&f, in.b + 14, n);
			weir_frame_end(&f);
			weir_frame_bytes(&f, in.b + 14 + n, in.len - 14 - n); /* behind the end: nobody's */
			assert_int_equal(parse(&f), WEIR_REASON_NONE);
			assert_int_equal(!!(p.has & WEIR_HAS_INNER), n >= need);
			if (n < need)
				continue;
			assert_int_equal(p.inner.sport, v < 2 ? 80 : 99);
			assert_int_equal(p.inner.dport, v < 2 ? 4000 : 99);
			assert_memory_equal(p.inner.dst, p.t.src, 16);
			assert_memory_equal(p.inner.src, p.t.dst, 16);
		}
	}
}

/* A quoted first fragment of IPv6 is whose datagram it is; a later one is nobody's. */
static void icmp_quotes_fragment(void **state)
{
	struct weir_frame f, in;

	for (uint32_t later = 0; later < 2; later++) {
		weir_frame_eth(&in, WEIR_ETH_IP6);
		weir_frame_ip6(&in, b6, a6);
		weir_frame_frag6(&in, (uint16_t)(later * 8 | 1), 7);
		weir_frame_udp(&in, 17, 80, 4000);
		weir_frame_end(&in);
		for (uint32_t n = 0; n <= in.len - 14; n++) {
			start6(&f);
			weir_frame_icmp(&f, 2, 0, 0);
			weir_frame_bytes(&f, in.b + 14, n);
			weir_frame_end(&f);
			weir_frame_bytes(&f, in.b + 14 + n, in.len - 14 - n);
			assert_int_equal(parse(&f), WEIR_REASON_NONE);
			assert_int_equal(!!(p.has & WEIR_HAS_INNER), !later && n >= 40 + 8 + 8);
			if (p.has & WEIR_HAS_INNER)
				assert_true(p.inner.sport == 80 && p.inner.dport == 4000 && p.inner.zone >> 24 == 17);
		}
	}
}

/* What GRO and TSO build: lengths that do not fit their fields. */
static void big_tcp(void **state)
{
	const uint32_t size = 70000;
	uint8_t *b = calloc(1, size);
	struct weir_frame f;
	struct weir_cursor c;

	assert_non_null(b);
	tcp4(&f);
	memcpy(b, f.b, f.len);
	weir_put16(b + 16, 0);
	c = (struct weir_cursor){ .data = b, .end = b + 100, .frame_len = size };
	memset(&p, 0, sizeof p);
	assert_int_equal(weir_parse(&c, &p, 0, 0), WEIR_REASON_NONE);
	assert_int_equal(p.ip_len, size - 14);
	assert_int_equal(p.payload_len, size - 54);
	c = (struct weir_cursor){ .data = b, .end = b + 100, .frame_len = 65535 + 14 };
	memset(&p, 0, sizeof p);
	assert_int_equal(weir_parse(&c, &p, 0, 0), WEIR_REASON_IP_TOTAL_LEN);
	start6(&f);
	weir_frame_ext(&f, 0, 8, 0xc2, 4);
	weir_frame_tcp(&f, 1, 2, ACK, 1, 1);
	memcpy(b, f.b, f.len);
	c = (struct weir_cursor){ .data = b, .end = b + 100, .frame_len = size };
	memset(&p, 0, sizeof p);
	assert_int_equal(weir_parse(&c, &p, 0, 0), WEIR_REASON_NONE);
	assert_int_equal(p.ip_len, size - 14);
	assert_int_equal(p.payload_len, size - 14 - 40 - 8 - 20);
	/* the linear head ends early although the frame goes on */
	c = (struct weir_cursor){ .data = b, .end = b + 70, .frame_len = 512 };
	memset(&p, 0, sizeof p);
	assert_int_equal(weir_parse(&c, &p, 0, 0), WEIR_REASON_IP_TOTAL_LEN);
	free(b);
}

/* Runs last: the table of reasons has no malformed entry that nothing above produced. */
static void every_reason_was_shown(void **state)
{
	static const struct {
		uint32_t number;
		const char *name;
	} all[] = {
#define X(NAME, number, name, meaning) { number, name },
#include "core/reason.def"
#undef X
	};

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		if (weir_reason_malformed(all[i].number) && !shown[all[i].number])
			fail_msg("no vector for %s", all[i].name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_of_a_plain_segment),
		cmocka_unit_test(truncation_at_every_byte),
		cmocka_unit_test(tags_and_metadata),
		cmocka_unit_test(not_ip),
		cmocka_unit_test(pppoe),
		cmocka_unit_test(one_byte_wrong),
		cmocka_unit_test(ip4_options),
		cmocka_unit_test(udp_lengths),
		cmocka_unit_test(ip4_fragments),
		cmocka_unit_test(ip6_chains),
		cmocka_unit_test(ip6_single_headers),
		cmocka_unit_test(ip6_fragments),
		cmocka_unit_test(icmp),
		cmocka_unit_test(icmp_quotes),
		cmocka_unit_test(icmp_quotes_fragment),
		cmocka_unit_test(big_tcp),
		cmocka_unit_test(every_reason_was_shown),
	};

	return cmocka_run_group_tests_name("core/parse", tests, NULL, NULL);
}
