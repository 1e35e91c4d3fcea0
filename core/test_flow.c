/* SPDX-License-Identifier: Apache-2.0 */
/* Flows: one key for both directions, what promotes a half-open one, what ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/draw.h"
#include "core/flow.h"

#define SYN WEIR_TCP_SYN
#define ACK WEIR_TCP_ACK
#define RST WEIR_TCP_RST
#define FIN WEIR_TCP_FIN

static void both_directions_have_one_key(void **state)
{
	uint64_t seed = 7;

	for (int i = 0; i < 20000; i++) {
		struct weir_tuple t = { .zone = weir_zone(6, 1, 2) }, r, back;
		struct weir_flow_key k, kr;
		uint32_t side, rside;

		/* few values, so that equal addresses and equal ports come up too */
		for (int n = 0; n < 16; n++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			t.src[n] = seed >> 60 ? 0 : (uint8_t)(seed >> 40);
			t.dst[n] = seed >> 52 & 15 ? 0 : (uint8_t)(seed >> 32);
		}
		t.sport = seed >> 30 & 3;
		t.dport = seed >> 20 & 3;
		r = t;
		memcpy(r.src, t.dst, 16);
		memcpy(r.dst, t.src, 16);
		r.sport = t.dport;
		r.dport = t.sport;
		side = weir_flow_key_of(&t, &k);
		rside = weir_flow_key_of(&r, &kr);
		assert_memory_equal(&k, &kr, sizeof k);
		if (memcmp(&t, &r, sizeof t))
			assert_int_equal(side, !rside);
		weir_flow_tuple(&k, side ? WEIR_FF_ORIG_B : 0, &back);
		assert_memory_equal(&back, &t, sizeof t);
		t.zone = weir_zone(6, 1, 3);
		weir_flow_key_of(&t, &kr);
		assert_memory_not_equal(&k, &kr, sizeof k);
	}
}

static bool step(struct weir_flow *f, uint32_t side, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t payload)
{
	struct weir_pkt p = {
		.proto = 6, .tcp_flags = flags, .seq = seq, .ack = ack, .payload_len = payload, .ip_len = 40 + payload
	};

	weir_flow_step(f, &p, side, 1000, 1);
	return weir_flow_proved(f, &p, side);
}

static void handshake_promotes_when_its_numbers_fit(void **state)
{
	for (uint32_t o = 0; o < 2; o++) { /* whichever end opened */
		const uint8_t orig = o ? WEIR_FF_ORIG_B : 0;
		struct weir_flow f = { .flags = orig };

		assert_false(step(&f, o, SYN, 0xffffffff, 0, 0)); /* numbers wrap */
		assert_false(step(&f, !o, SYN | ACK, 5000, 0, 0));
		assert_true(step(&f, o, ACK, 0, 5001, 0));
		/* an answer to something else than this SYN */
		f = (struct weir_flow){ .flags = orig };
		step(&f, o, SYN, 100, 0, 0);
		step(&f, !o, SYN | ACK, 5000, 100, 0);
		assert_false(step(&f, o, ACK, 101, 5001, 0));
		/* a forged source does not know what it was answered */
		f = (struct weir_flow){ .flags = orig };
		step(&f, o, SYN, 100, 0, 0);
		step(&f, !o, SYN | ACK, 5000, 101, 0);
		assert_false(step(&f, o, ACK, 101, 5000, 0));
		assert_false(step(&f, o, ACK, 101, 0x80000000, 0));
		assert_false(step(&f, o, RST, 101, 5001, 0));
		assert_false(step(&f, o, SYN | ACK, 101, 5001, 0));
		assert_false(step(&f, !o, ACK, 5001, 101, 0)); /* the responder cannot promote */
		assert_true(step(&f, o, ACK | FIN, 101, 5001, 0));
		/* without any answer */
		f = (struct weir_flow){ .flags = orig };
		step(&f, o, SYN, 100, 0, 0);
		assert_false(step(&f, o, ACK, 101, 1, 0));
		/* fast open: the answer acknowledges data of the SYN */
		f = (struct weir_flow){ .flags = orig };
		step(&f, o, SYN, 100, 0, 1000);
		step(&f, !o, SYN | ACK, 5000, 1101, 0);
		assert_false(step(&f, o, ACK, 1101, 5001 + 3000, 0)); /* nobody sent so much */
		step(&f, !o, ACK, 5001, 1101, 3000);
		assert_true(step(&f, o, ACK, 1101, 5001 + 3000, 0));
	}
}

static void other_protocols_promote_on_an_answer(void **state)
{
	struct weir_pkt p = { .proto = 17, .ip_len = 100 };
	struct weir_flow f = { 0 };

	weir_flow_step(&f, &p, 0, 1, 1);
	assert_false(weir_flow_proved(&f, &p, 0));
	weir_flow_step(&f, &p, 0, 1, 3);
	assert_false(weir_flow_proved(&f, &p, 0));
	assert_int_equal(f.half[0].packets, 4);
	assert_int_equal(f.half[0].bytes, 200);
	assert_int_equal(f.half[1].packets, 0);
	weir_flow_step(&f, &p, 1, 1, 1);
	assert_true(weir_flow_proved(&f, &p, 1));
}

static void adopted_flows_promote_when_both_spoke(void **state)
{
	struct weir_flow f = { .flags = WEIR_FF_ADOPTED };

	assert_false(step(&f, 0, ACK, 1, 2, 3));
	assert_false(step(&f, 0, ACK, 1, 2, 3));
	assert_true(step(&f, 1, ACK, 2, 4, 0));
	/* what is answered by a RST was nobody's, and may be forged: also when more of it comes */
	f = (struct weir_flow){ .flags = WEIR_FF_ADOPTED };
	assert_false(step(&f, 0, ACK, 1, 2, 0));
	assert_false(step(&f, 1, RST, 2, 0, 0));
	assert_false(step(&f, 0, ACK, 1, 2, 0));
	assert_false(step(&f, 1, RST, 2, 0, 0));
}

static struct weir_flow established(void)
{
	struct weir_flow f = { 0 };

	step(&f, 0, SYN, 100, 0, 0);
	step(&f, 1, SYN | ACK, 5000, 101, 0);
	assert_true(step(&f, 0, ACK, 101, 5001, 0));
	return f;
}

static void closing(void **state)
{
	struct weir_flow f = established();

	step(&f, 0, FIN | ACK, 101, 5001, 0);
	assert_false(weir_flow_closing(&f)); /* half closed may live long */
	step(&f, 1, FIN | ACK, 5001, 102, 0);
	assert_true(weir_flow_closing(&f));
	f = established();
	step(&f, 1, RST, 5001, 0, 0);
	assert_true(weir_flow_closing(&f));
	step(&f, 1, ACK, 5001, 101, 0); /* whoever goes on to speak has not reset */
	assert_false(weir_flow_closing(&f));
	for (uint32_t sent = 0; sent < 60000; sent += 1000)
		step(&f, 1, ACK, 5001 + sent, 101, 1000);
	step(&f, 1, RST, 5001 + 60000, 0, 0); /* behind data in flight */
	assert_true(weir_flow_closing(&f));
	f = established();
	step(&f, 1, RST, 5001 - 10, 0, 0); /* forged: not what the receiver waits for */
	step(&f, 1, RST, 5001 + (1u << 24), 0, 0);
	assert_false(weir_flow_closing(&f));
	for (uint32_t off = 1; off < 1u << 20; off += 1460) { /* one who cannot see it tries each number and each segment */
		step(&f, 1, RST, 5001 + off, 0, 0);
		assert_false(weir_flow_closing(&f));
		step(&f, 1, ACK, 5001 + off + 1460, 101, 1460);
		step(&f, 1, RST, 5001 + off + 2920, 0, 0);
		assert_false(weir_flow_closing(&f));
	}
	step(&f, 1, RST, 5001, 0, 0); /* the real one is believed all the same */
	assert_true(weir_flow_closing(&f));
	f = established(); /* a gap: what the other end waits for goes on */
	step(&f, 1, ACK, 5001 + 1000, 101, 1000);
	step(&f, 1, RST, 5001 + 2000, 0, 0);
	assert_false(weir_flow_closing(&f));
	step(&f, 1, ACK, 5001, 101, 1000);
	step(&f, 0, ACK, 101, 5001 + 2000, 0);
	step(&f, 1, ACK, 5001 + 2000, 101, 1000);
	step(&f, 1, RST, 5001 + 3000, 0, 0);
	assert_true(weir_flow_closing(&f));
	f = established(); /* nobody waits for these ends */
	step(&f, 0, FIN | ACK, 101 + (2u << 20), 5001, 0);
	step(&f, 1, FIN | ACK, 5001 + (2u << 20), 101, 0);
	assert_false(weir_flow_closing(&f));
	f = (struct weir_flow){ 0 }; /* a refused connection: nothing was acknowledged yet */
	step(&f, 0, SYN, 100, 0, 0);
	step(&f, 1, RST | ACK, 0, 101, 0);
	assert_true(weir_flow_closing(&f));
	f = established(); /* the same ends again, refused now */
	step(&f, 0, SYN, 999, 0, 0);
	step(&f, 1, RST | ACK, 0, 1000, 0);
	assert_true(weir_flow_closing(&f));
}

static void expiry(void **state)
{
	const uint32_t hz = 1000, idle = 3600;
	struct weir_flow f = { .epoch = 1, .half = { { .flags = WEIR_FH_SEEN } } };

	for (uint32_t base = 0xfffffff0u; base != 0x10; base += 0x10) { /* the clock wraps */
		f.half[0].last = base;
		assert_false(weir_flow_expired(&f, 6, true, idle, base + WEIR_HALF_TCP_S * hz, hz));
		assert_true(weir_flow_expired(&f, 6, true, idle, base + (WEIR_HALF_TCP_S + 1) * hz, hz));
		assert_true(weir_flow_expired(&f, 17, true, idle, base + (WEIR_HALF_OTHER_S + 1) * hz, hz));
		assert_false(weir_flow_expired(&f, 6, false, idle, base + idle * hz, hz));
		assert_true(weir_flow_expired(&f, 6, false, idle, base + (idle + 1) * hz, hz));
		assert_true(weir_flow_expired(&f, 17, false, idle, base + (WEIR_UDP_S + 1) * hz, hz));
		assert_true(weir_flow_expired(&f, 6, false, idle, base + 0x80000001u, hz)); /* old stays old */
		assert_false(weir_flow_expired(&f, 6, true, 5, base - 3, hz));	   /* written by a CPU that is ahead */
		assert_true(weir_flow_expired(&f, 6, true, 5, base + 6 * hz, hz)); /* a short idle bounds all */
	}
	/* the younger of both halves counts, also when it is ahead of this CPU */
	f.half[1].flags = WEIR_FH_SEEN;
	f.half[0].last = 1000;
	f.half[1].last = 5000000;
	assert_false(weir_flow_expired(&f, 6, false, idle, 5000001, hz));
	assert_false(weir_flow_expired(&f, 6, false, idle, 4999999, hz));
	f.half[0].flags |= WEIR_FH_FIN;
	f.half[1].flags |= WEIR_FH_FIN;
	assert_true(weir_flow_expired(&f, 6, false, idle, 5000000 + (WEIR_CLOSED_S + 1) * hz, hz));
	assert_true(weir_flow_expired(&f, 6, false, idle, 5000000 + (WEIR_CLOSED_S + 1) * hz, 0)); /* no rate: 1 */
	f.epoch = 0; /* seeded, and not judged yet */
	assert_false(weir_flow_expired(&f, 6, false, idle, 5000000 + (WEIR_CLOSED_S + 1) * hz, hz));
}

/* The short cut says of no entry that it lives that the long way finds expired, and of whoever speaks all the time it does. */
static void young_never_outlives(void **state)
{
	uint64_t seed = 88172645463325252ull;
	uint32_t young = 0;

	for (uint32_t i = 0; i < 400000; i++) {
		const uint32_t hz = (const uint32_t[]){ 100, 250, 1000 }[weir_draw_below(&seed, 3)];
		const uint32_t idle = (const uint32_t[]){ 1, 5, 29, 30, 31, 3600, ~0u }[weir_draw_below(&seed, 7)];
		const uint32_t now = weir_draw_below(&seed, 2) ? (uint32_t)weir_draw(&seed) : weir_draw_below(&seed, 100);
		const uint32_t side = weir_draw_below(&seed, 2), proto = weir_draw_below(&seed, 2) ? 6 : 17;
		struct weir_flow f = { .epoch = 1 };

		for (int h = 0; h < 2; h++) {
			f.half[h].last = now + 10 * hz - weir_draw_below(&seed, 200 * hz);
			f.half[h].flags = (uint32_t)weir_draw(&seed) & 31;
		}
		if (weir_flow_young(&f, side, idle, now, hz)) {
			young++;
			assert_false(weir_flow_expired(&f, proto, weir_draw_below(&seed, 2), idle, now, hz));
		}
		f.half[side].flags |= WEIR_FH_SEEN;
		f.half[side].last = now - weir_draw_below(&seed, 2) * hz;
		assert_true(weir_flow_young(&f, side, idle, now, hz));
	}
	assert_in_range(young, 10000, 200000);
}

static void who_is_this_host(void **state)
{
	static const struct { uint8_t dir, flags; uint32_t side; bool ours; } t[] = {
		{ WEIR_DIR_IN, 0, 0, false }, { WEIR_DIR_IN, 0, 1, true },
		{ WEIR_DIR_IN, WEIR_FF_ORIG_B, 0, true }, { WEIR_DIR_IN, WEIR_FF_ORIG_B, 1, false },
		{ WEIR_DIR_OUT, 0, 0, true }, { WEIR_DIR_OUT, 0, 1, false },
		{ WEIR_DIR_OUT, WEIR_FF_ORIG_B, 0, false }, { WEIR_DIR_OUT, WEIR_FF_ORIG_B, 1, true },
		{ WEIR_DIR_FWD, 0, 0, false }, { WEIR_DIR_FWD, 0, 1, false },
	};

	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		struct weir_flow f = { .dir = t[i].dir, .flags = t[i].flags };

		assert_int_equal(weir_flow_ours(&f, t[i].side), t[i].ours);
	}
}

static void bounds(void **state)
{
	const uint64_t s = 1000000000ull;
	struct weir_rule r = { .max_duration = 10, .idle = 5, .max_bytes = 1000 }, wide = { .max_bytes = 2000 };
	struct weir_flow f = { .created = 100 * s };

	assert_true(weir_rule_bounds(&r) && weir_rule_bounds(&wide) && !weir_rule_bounds(&(struct weir_rule){ 0 }));
	weir_flow_bind(&f, &r, false);
	assert_int_equal(weir_flow_idle_of(&f, 3600), 5);
	assert_int_equal(weir_flow_idle_of(&f, 3), 3);
	assert_false(weir_flow_over(&f, 1000, 110 * s)); /* both exactly used up */
	assert_true(weir_flow_over(&f, 1, 110 * s + 1));
	assert_false(weir_flow_over(&f, 1, 90 * s)); /* younger than this CPU's clock */
	f.half[0].bytes = 600;
	f.half[1].bytes = 399;
	assert_false(weir_flow_over(&f, 1, 101 * s));
	assert_true(weir_flow_over(&f, 2, 101 * s));
	assert_true(weir_flow_over(&f, 1, 101 * s)); /* what would still fit, too */
	weir_flow_bind(&f, &r, false); /* judged again, by the same */
	assert_true(weir_flow_over(&f, 1, 101 * s));
	weir_flow_bind(&f, &wide, true);
	assert_false(weir_flow_over(&f, 1, 10000 * s)); /* no longer any time */
	assert_int_equal(weir_flow_idle_of(&f, 3600), 3600);
	f.idle = 5; /* staged */
	assert_int_equal(weir_flow_idle_of(&f, 3600), 3600);
	weir_flow_bind(&f, NULL, false);
	assert_false(weir_flow_over(&f, UINT32_MAX, UINT64_MAX));
	f.max_duration = UINT32_MAX; /* nothing overflows */
	assert_false(weir_flow_over(&f, 1, f.created + UINT32_MAX * s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_directions_have_one_key),
		cmocka_unit_test(handshake_promotes_when_its_numbers_fit),
		cmocka_unit_test(other_protocols_promote_on_an_answer),
		cmocka_unit_test(adopted_flows_promote_when_both_spoke),
		cmocka_unit_test(closing),
		cmocka_unit_test(expiry),
		cmocka_unit_test(young_never_outlives),
		cmocka_unit_test(who_is_this_host),
		cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests_name("core/flow", tests, NULL, NULL);
}
