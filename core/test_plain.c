/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/plain.h against the parser: what is plain to it is whole to weir_parse and means the same, whatever bytes are
 * changed; and the packets that floods are made of are plain.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/draw.h"
#include "core/plain.h"
#include "tests/harness/packet.h"

#define SYN WEIR_TCP_SYN
#define ACK WEIR_TCP_ACK

static const uint8_t a6[16] = { 0x20, 1, 0xd, 0xb8, [15] = 1 }, b6[16] = { 0x20, 1, 0xd, 0xb8, [15] = 2 };
static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint32_t rnd(uint32_t n)
{
	return weir_draw_below(&seed, n);
}

/* On a copy of exactly n bytes: is it plain, and if it is, does the parser agree in everything? */
static bool plain_n(const struct weir_frame *f, uint32_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	struct weir_cursor c = { .data = copy, .end = copy + n, .frame_len = n };
	struct weir_plain q = { 0 };
	struct weir_pkt p = { 0 };
	uint8_t source[16];
	bool plain;

	assert_non_null(copy);
	memcpy(copy, f->b, n);
	plain = weir_plain(copy, copy + n, n, &q);
	if (plain) {
		assert_int_equal(weir_parse(&c, &p, 0, 0), WEIR_REASON_NONE);
		assert_int_equal(p.family, q.six ? 6 : 4);
		assert_int_equal(p.proto, q.proto);
		assert_int_equal(p.t.sport, q.sport);
		assert_int_equal(p.t.dport, q.dport);
		assert_int_equal(p.frag, WEIR_FRAG_NONE);
		assert_int_equal(p.vlan[0], 0);
		assert_int_equal(p.has & WEIR_HAS_PPPOE, 0);
		assert_int_equal(p.proto == WEIR_IPPROTO_TCP && (p.tcp_flags & (SYN | ACK)) == SYN, q.opens);
		weir_plain_source(&q, source);
		assert_memory_equal(p.t.src, source, 16);
	}
	free(copy);
	return plain;
}

static void make(struct weir_frame *f, bool six, uint8_t proto, uint8_t flags, uint16_t sport, uint16_t dport)
{
	weir_frame_eth(f, six ? WEIR_ETH_IP6 : WEIR_ETH_IP4);
	if (six)
		weir_frame_ip6(f, a6, b6);
	else
		weir_frame_ip4(f, 0x0a000001, 0x0a000002, 0, NULL, 0);
	if (proto == WEIR_IPPROTO_TCP)
		weir_frame_tcp(f, sport, dport, flags, 7, 0);
	else
		weir_frame_udp(f, proto, sport, dport);
}

static void what_floods_are_made_of(void **state)
{
	for (int six = 0; six < 2; six++) {
		struct weir_frame f;
		uint32_t least;

		make(&f, six, WEIR_IPPROTO_UDP, 0, 53, 80);
		least = f.len;
		weir_frame_end(&f);
		assert_true(plain_n(&f, f.len));
		assert_true(plain_n(&f, f.len + 18)); /* padding */
		assert_false(plain_n(&f, least - 1));
		for (int flags = 0; flags < 2; flags++) {
			make(&f, six, WEIR_IPPROTO_TCP, flags ? ACK : SYN, 4000, 80);
			weir_frame_end(&f);
			assert_true(plain_n(&f, f.len));
			assert_false(plain_n(&f, f.len - 1));
		}
	}
}

/* What only looks like it; the same in every field but one. */
static void what_is_not(void **state)
{
	for (int six = 0; six < 2; six++) {
		static const struct {
			uint8_t proto, flags;
			uint16_t sport, dport;
		} not[] = { { 6, SYN | WEIR_TCP_FIN, 4000, 80 }, { 6, 0, 4000, 80 }, { 6, SYN, 0, 80 }, { 6, SYN, 4000, 0 },
			    { 6, SYN, 80, 80 }, { 17, 0, 4000, 0 }, { 136, 0, 4000, 80 } };
		struct weir_frame f;

		for (size_t i = 0; i < sizeof not / sizeof not[0]; i++) {
			make(&f, six, not[i].proto, not[i].flags, not[i].sport, not[i].dport);
			weir_frame_end(&f);
			assert_false(plain_n(&f, f.len));
		}
		for (uint32_t at = 8; six && at <= 24; at += 16) { /* an IPv4 address as source, as destination */
			make(&f, six, WEIR_IPPROTO_UDP, 0, 53, 80);
			weir_frame_end(&f);
			memcpy(f.b + f.l3 + at, (uint8_t[16]){ [10] = 0xff, [11] = 0xff, [12] = 10, [15] = 1 }, 16);
			assert_false(plain_n(&f, f.len));
		}
		weir_frame_eth(&f, six ? WEIR_ETH_IP6 : WEIR_ETH_IP4);
		weir_frame_vlan(&f, WEIR_ETH_VLAN, 5);
		assert_false(plain_n(&f, f.len));
	}
}

/* Bytes changed and ends cut off: weir_parse has the last word each time. */
static void nothing_that_the_parser_refuses(void **state)
{
	uint32_t plain = 0, not = 0;

	for (int i = 0; i < 400000; i++) {
		static const uint8_t flags[] = { SYN, ACK, SYN | ACK, WEIR_TCP_RST };
		struct weir_frame f;
		uint32_t n;

		make(&f, rnd(2), rnd(2) ? WEIR_IPPROTO_TCP : WEIR_IPPROTO_UDP, flags[rnd(4)], (uint16_t)rnd(4), (uint16_t)rnd(4));
		weir_frame_bytes(&f, NULL, rnd(20));
		weir_frame_end(&f);
		n = rnd(4) ? f.len : rnd(f.len + 1);
		for (uint32_t k = rnd(3); k; k--)
			f.b[12 + rnd(f.len - 12)] = (uint8_t)(rnd(2) ? rnd(256) : rnd(8));
		if (plain_n(&f, n))
			plain++;
		else
			not++;
	}
	assert_true(plain > 50000 && not > 50000);
}

/* A frame of which only the first n bytes are at hand: if they are said to be enough, the parser finds in them what it finds
 * in all of it. Any IP protocol, options, fragments, with and without an Ethernet header. */
static bool heads_n(const struct weir_frame *f, uint32_t from, uint32_t n, uint32_t l3)
{
	uint32_t len = f->len - from;
	uint8_t *head = malloc(n ? n : 1);
	struct weir_cursor c = { .data = head, .end = head + n, .frame_len = len };
	struct weir_cursor whole = { .data = f->b + from, .end = f->b + f->len, .frame_len = len };
	struct weir_pkt p = { 0 }, q = { 0 };
	bool enough;

	assert_non_null(head);
	memcpy(head, f->b + from, n);
	enough = weir_plain_head(head, head + n, l3);
	if (enough) {
		assert_int_equal(weir_parse(&c, &p, l3, 0), weir_parse(&whole, &q, l3, 0));
		assert_memory_equal(&p, &q, sizeof p);
	}
	free(head);
	return enough;
}

static void heads_are_enough(void **state)
{
	uint32_t enough = 0, not = 0;

	for (int i = 0; i < 400000; i++) {
		static const uint8_t protos[] = { 6, 6, 17, 17, 136, 1, 58, 132, 44, 0, 50 };
		struct weir_frame f;
		uint32_t six = rnd(2), proto = protos[rnd(sizeof protos)], from = 0, l3 = 0;

		make(&f, six, (uint8_t)proto, SYN, 4000, 80);
		weir_frame_bytes(&f, NULL, 20 + rnd(40));
		weir_frame_end(&f);
		for (uint32_t k = rnd(4); k; k--)
			f.b[12 + rnd(f.len - 12)] = (uint8_t)(rnd(2) ? rnd(256) : rnd(8));
		if (rnd(3) == 0) {
			from = f.l3;
			l3 = six ? WEIR_ETH_IP6 : WEIR_ETH_IP4;
		}
		if (heads_n(&f, from, rnd(f.len - from + 1), l3))
			enough++;
		else
			not++;
	}
	assert_true(enough > 50000 && not > 50000);
	/* what TCP hands to its device: all headers, and nothing else */
	for (int six = 0; six < 2; six++) {
		struct weir_frame f;

		make(&f, six, WEIR_IPPROTO_TCP, ACK, 4000, 80);
		weir_frame_bytes(&f, NULL, 600);
		weir_frame_end(&f);
		assert_true(heads_n(&f, 0, six ? 74 : 54, 0));
		assert_false(heads_n(&f, 0, six ? 73 : 53, 0));
		assert_true(heads_n(&f, f.l3, six ? 60 : 40, six ? WEIR_ETH_IP6 : WEIR_ETH_IP4));
		assert_false(heads_n(&f, f.l3, six ? 59 : 39, six ? WEIR_ETH_IP6 : WEIR_ETH_IP4));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_floods_are_made_of),
		cmocka_unit_test(what_is_not),
		cmocka_unit_test(nothing_that_the_parser_refuses),
		cmocka_unit_test(heads_are_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
