/* SPDX-License-Identifier: Apache-2.0 */
/* The promise between programs and reader: no record waits longer than WEIR_WAKE_MS for a look, and few wake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/wake.h"

/* A host with one CPU, in microseconds; and a reader as lib/event/ring.c has one. */
struct host {
	uint32_t hz, state;
	uint64_t timer, oldest; /* when he looks again, when the oldest record was written that he has not seen; 0: none */
	uint64_t looks, wakes, longest;
};

static void look(struct host *h, uint64_t now)
{
	h->looks++;
	if (h->oldest && now - h->oldest > h->longest)
		h->longest = now - h->oldest;
	h->timer = h->oldest ? now + WEIR_WAKE_MS * 1000 : 0;
	h->oldest = 0;
}

static void record(struct host *h, uint64_t now, uint64_t first_jiffy)
{
	while (h->timer && h->timer <= now)
		look(h, h->timer);
	if (!h->oldest)
		h->oldest = now;
	if (weir_wake_due(&h->state, (uint32_t)(first_jiffy + now * h->hz / 1000000), h->hz) == WEIR_WAKE_YES) {
		h->wakes++;
		look(h, now);
	}
}

static void test_none_waits_long(void **state)
{
	static const uint32_t rates[] = { 100, 250, 300, 1000 };
	static const uint64_t starts[] = { 1000000, 0xffffffffu - 500, (1u << 26) - 3 };

	for (uint32_t i = 0; i < 4 * 3; i++) {
		struct host h = { .hz = rates[i % 4] };
		uint64_t now = 1;

		srand(i);
		for (int n = 0; n < 200000; n++) {
			now += (uint64_t)rand() % (n % 1000 < 500 ? 30000 : 300); /* sparse, dense */
			record(&h, now, starts[i / 4]);
		}
		while (h.timer)
			look(&h, h.timer);
		assert_int_equal(h.oldest, 0);
		assert_true(h.longest <= WEIR_WAKE_MS * 1000);
	}
}

static void test_few_wake(void **state)
{
	struct host h = { .hz = 250 };

	for (uint64_t now = 1; now < 10000000; now += 1000)
		record(&h, now, 4000);
	assert_int_equal(h.wakes, 1);
	assert_true(h.looks <= 10000 / WEIR_WAKE_MS + 2);
	for (uint64_t now = 10000001; now < 20000000; now += 25000) /* each after a pause: told at once */
		record(&h, now, 4000);
	assert_int_equal(h.wakes, 400); /* the first of them follows closely */
}

static void test_asks_how_full(void **state)
{
	uint32_t word = 0, asked = 0;

	assert_int_equal(weir_wake_due(&word, 5000, 250), WEIR_WAKE_YES);
	for (uint32_t n = 1; n <= 640; n++) {
		enum weir_wake w = weir_wake_due(&word, 5000 + n / 200, 250);

		assert_int_not_equal(w, WEIR_WAKE_YES);
		asked += w == WEIR_WAKE_IF_FULL;
		assert_int_equal(asked, n / 64);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none_waits_long),
		cmocka_unit_test(test_few_wake),
		cmocka_unit_test(test_asks_how_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
