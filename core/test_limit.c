/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets over fake time, and the table under random sources. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/draw.h"
#include "core/limit.h"
#include "tests/harness/rounds.h"

#define S 1000000000ull
#define LINES 1024u

static uint64_t rnd_state = 88172645463325252ull;

static uint64_t rnd(void)
{
	return weir_draw(&rnd_state);
}

static struct weir_limit limit(uint64_t rate, uint64_t rate_s, uint64_t burst)
{
	struct weir_limit l = { .rate = rate, .rate_s = rate_s, .burst = burst, .bits4 = 32, .bits6 = 128, .action = 1,
				.mask = LINES - 1, .id = 7 };

	assert_true(weir_limit_make(&l));
	assert_true(weir_limit_ok(&l));
	return l;
}

static bool take(const struct weir_limit *l, struct weir_limit_slot *s, uint64_t ns, uint64_t n)
{
	return weir_limit_take(l, s, 1, weir_limit_clock(ns), n);
}

/* Offered `over` times the rate from `start` on, for `seconds`: how many passed. */
static double run(const struct weir_limit *l, uint64_t start, uint64_t seconds, double over, uint64_t n)
{
	struct weir_limit_slot s = { 0 };
	double step = 1e9 * (double)l->rate_s * (double)n / ((double)l->rate * over), at = 0;
	uint64_t passed = 0;

	for (; at < (double)seconds * 1e9; at += step * (0.5 + (double)(rnd() % 1000) / 1000.0))
		passed += take(l, &s, start + (uint64_t)at, n) ? n : 0;
	return (double)passed;
}

static void test_rate(void **state)
{
	double most = weir_rounds(6000000, 100000000);
	static const uint64_t rates[] = { 1, 3, 7, 10, 100, 333, 1000, 12345, 100000, 1000000, 10000000 };

	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		uint64_t seconds[] = { 10, 3600, 0 };

		for (uint64_t *s = seconds; *s; s++) {
			struct weir_limit l = limit(rates[i], 1, rates[i] / 2 + 5);
			double total = (double)rates[i] * (double)*s + (double)l.burst, got;

			if (total > most) /* an hour at 10M/s is too long even for fake time */
				*s = (uint64_t)(most / (double)rates[i]) + 1;
			total = (double)rates[i] * (double)*s + (double)l.burst;
			got = run(&l, 12345, *s, 3, 1);
			if (got < total * 0.98 - 1 || got > total * 1.02 + 1)
				fail_msg("%llu/s for %llu s: %.0f passed of %.0f", (unsigned long long)rates[i],
					 (unsigned long long)*s, got, total);
		}
	}
}

static void test_an_hour(void **state)
{
	struct weir_limit l = limit(10000000, 1, 1000);
	struct weir_limit_slot s = { 0 };
	uint64_t passed = 0;

	/* many tokens at a time: the whole hour at 10M/s */
	for (uint64_t ns = 0; ns < 3600 * S; ns += 50000)
		passed += take(&l, &s, ns, 1000) ? 1000 : 0;
	assert_in_range(passed, 3600ull * 10000000 * 98 / 100, 3600ull * 10000000 * 102 / 100);
}

static void test_slow_rates(void **state)
{
	struct weir_limit hour = limit(5, 3600, 3), minute = limit(10, 60, 10);

	assert_in_range((uint64_t)run(&hour, 0, 100 * 3600, 20, 1), 493, 508);
	assert_in_range((uint64_t)run(&minute, 0, 3600, 20, 1), 598, 622);
}

static void test_under_the_rate_nothing_is_refused(void **state)
{
	struct weir_limit l = limit(1000, 1, 1);
	struct weir_limit_slot s = { 0 };

	for (uint64_t i = 0; i < 100000; i++)
		assert_true(take(&l, &s, i * 1000001, 1));
}

static void test_burst(void **state)
{
	struct weir_limit l = limit(10, 1, 20);
	struct weir_limit_slot s = { 0 };
	int passed = 0;

	for (int i = 0; i < 1000; i++) /* the clock stands still */
		passed += take(&l, &s, 5 * S, 1);
	assert_int_equal(passed, 20);
	assert_false(take(&l, &s, 5 * S + 99 * S / 1000, 1));
	assert_true(take(&l, &s, 5 * S + 101 * S / 1000, 1));
	assert_false(take(&l, &s, 5 * S + 101 * S / 1000, 1));
	for (int i = passed = 0; i < 1000; i++) /* never more than the burst, however long nobody came */
		passed += take(&l, &s, 9000000 * S, 1);
	assert_int_equal(passed, 20);
}

static void test_segments_and_bytes(void **state)
{
	struct weir_limit l = limit(100, 1, 70), bytes = limit(1000000, 1, 200000), small = limit(100, 1, 10);
	struct weir_limit_slot owes = { 0 };

	bytes.count = WEIR_LIMIT_BYTES;
	assert_true(weir_limit_make(&bytes));
	/* 64 segments pass a bucket of 10 into debt, and the debt is paid back before the next one */
	assert_true(take(&small, &owes, 0, 64));
	assert_false(take(&small, &owes, 540 * S / 1000, 1));
	assert_true(take(&small, &owes, 560 * S / 1000, 1));
	assert_in_range((uint64_t)run(&l, 0, 100, 5, 64), 9800, 10200);
	assert_in_range((uint64_t)run(&bytes, 0, 100, 5, 65536), 98000000, 102000000);
	/* more tokens than a bucket can owe: nothing overflows, it is refused for the time of a bucket */
	struct weir_limit slow = limit(1, 86400, 5);
	struct weir_limit_slot s = { 0 };

	assert_true(take(&slow, &s, 0, 1ull << 40));
	assert_false(take(&slow, &s, 86400 * S, 1));
}

static void test_clock(void **state)
{
	struct weir_limit l = limit(10, 1, 20);
	struct weir_limit_slot s = { 0 };
	int passed = 0;

	for (int i = 0; i < 100; i++)
		take(&l, &s, 1000 * S, 1);
	assert_false(take(&l, &s, 1000 * S - 1000, 1)); /* another CPU's clock is a little behind */
	for (int i = 0; i < 100; i++) /* back to the boot: one new burst, no lock-out */
		passed += take(&l, &s, 1 * S, 1);
	assert_int_equal(passed, 20);
	assert_true(take(&l, &s, 2 * S, 1));
}

static void test_wrap(void **state)
{
	struct weir_limit l = limit(1000, 1, 100);
	uint64_t wrap = (1ull << (64 - WEIR_LIMIT_SHIFT)) - 5 * S;
	double got = run(&l, wrap, 10, 3, 1);

	assert_in_range((uint64_t)got, 9900, 10300);
}

static void test_make(void **state)
{
	struct weir_limit l = { .rate = 1, .rate_s = 3600, .burst = 1000000 };

	assert_false(weir_limit_make(&l)); /* 114 years */
	l = (struct weir_limit){ .rate = 0, .rate_s = 1, .burst = 1 };
	assert_false(weir_limit_make(&l));
	l = (struct weir_limit){ .rate = 10000000000ull, .rate_s = 1, .burst = 100000 };
	assert_true(weir_limit_make(&l));
	assert_in_range(l.per, 101, 103);
	/* every rate that can be written */
	for (int i = 0; i < 100000; i++) {
		l = (struct weir_limit){ .rate = rnd() % 10000000000ull + 1, .rate_s = 1 + rnd() % 86400,
					 .burst = rnd() % 1000000 + 1, .action = 1 };
		if (weir_limit_make(&l)) {
			assert_true(weir_limit_ok(&l));
			assert_true(l.most * l.per <= WEIR_LIMIT_ROOM_MAX);
		}
	}
}

/* --- the table --- */

static struct weir_limit_slot table[LINES][WEIR_LIMIT_WAYS];

static bool source(const struct weir_limit *l, uint64_t hi, uint64_t lo, uint64_t ns)
{
	uint64_t key = weir_limit_key(l, hi, lo, 0x1234567890abcdefull), now = weir_limit_clock(ns);
	struct weir_limit_slot *a = table[weir_limit_line(l, key, 0)], *b = table[weir_limit_line(l, key, 1)];
	uint32_t at = weir_limit_pick(l, a, b, key, now);

	return weir_limit_take(l, at < WEIR_LIMIT_WAYS ? &a[at] : &b[at - WEIR_LIMIT_WAYS], key, now, 1);
}

static void test_random_sources(void **state)
{
	struct weir_limit l = limit(100, 1, 50);
	uint64_t ns = 1000 * S, heavy[20] = { 0 }, fresh = 0, end = ns + 10 * S;

	memset(table, 0, sizeof table);
	/* 20 heavy sources at ten times the rate; 1,000,000 forged ones a second; one that is new each time and honest */
	for (uint64_t i = 0; ns < end; i++, ns += 1000) {
		source(&l, 0, 0xffff00000000ull | (rnd() & 0xffffffff), ns);
		if (i % 50 == 0) {
			uint32_t h = (uint32_t)(i / 50 % 20);

			heavy[h] += source(&l, 0x20010db800000000ull, h, ns);
		}
		if (i % 1000 == 0)
			fresh += source(&l, 0x20010db8ffff0000ull, i, ns);
	}
	for (int h = 0; h < 20; h++)
		assert_in_range(heavy[h], 1000, 1000 * 102 / 100 + 50);
	assert_int_equal(fresh, 10000);
}

static void test_keys(void **state)
{
	struct weir_limit l = limit(1, 1, 1), other = l;
	uint64_t v4 = 0xffff00000000ull;

	other.id++;
	assert_int_not_equal(weir_limit_key(&l, 0, v4 | 1, 9), weir_limit_key(&l, 0, v4 | 2, 9));
	assert_int_not_equal(weir_limit_key(&l, 0, v4 | 1, 9), weir_limit_key(&l, 0, v4 | 1, 8));
	assert_int_not_equal(weir_limit_key(&l, 0, v4 | 1, 9), weir_limit_key(&other, 0, v4 | 1, 9));
	l.bits4 = 24;
	l.bits6 = 64;
	assert_int_equal(weir_limit_key(&l, 0, v4 | 1, 9), weir_limit_key(&l, 0, v4 | 255, 9));
	assert_int_not_equal(weir_limit_key(&l, 0, v4 | 1, 9), weir_limit_key(&l, 0, v4 | 256, 9));
	assert_int_equal(weir_limit_key(&l, 5, 1, 9), weir_limit_key(&l, 5, ~0ull, 9));
	assert_int_not_equal(weir_limit_key(&l, 5, 1, 9), weir_limit_key(&l, 6, 1, 9));
	l.bits6 = 48;
	assert_int_equal(weir_limit_key(&l, 0x50000, 1, 9), weir_limit_key(&l, 0x5ffff, 2, 9));
	l.bits6 = 72;
	assert_int_equal(weir_limit_key(&l, 5, 1, 9), weir_limit_key(&l, 5, 2, 9));
	assert_int_not_equal(weir_limit_key(&l, 5, 1ull << 56, 9), weir_limit_key(&l, 5, 2ull << 56, 9));
	l.bits4 = l.bits6 = 0; /* one for all */
	assert_int_equal(weir_limit_key(&l, 0, v4 | 1, 9), weir_limit_key(&l, 77, 2, 9));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate),	  cmocka_unit_test(test_an_hour),
		cmocka_unit_test(test_slow_rates), cmocka_unit_test(test_under_the_rate_nothing_is_refused),
		cmocka_unit_test(test_burst),	  cmocka_unit_test(test_segments_and_bytes),
		cmocka_unit_test(test_clock),	  cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_make),	  cmocka_unit_test(test_random_sources),
		cmocka_unit_test(test_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
