/* SPDX-License-Identifier: Apache-2.0 */
/* Who was told when: once a second for each, nobody is silenced by another, and nothing is held back for good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/draw.h"
#include "core/told.h"

#define SECOND 250u

static struct weir_told *table;
static uint64_t seed = 0x2545f4914f6cdd1dull;

static int setup(void **state)
{
	table = calloc(WEIR_TOLD_SETS, sizeof *table);
	return table ? 0 : -1;
}

static int teardown(void **state)
{
	free(table);
	return 0;
}

static struct weir_flow_key key_of(uint32_t n)
{
	struct weir_flow_key k = { .aport = (uint16_t)n, .bport = 80, .zone = 6u << 24 };

	memcpy(k.a, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x01", 14);
	k.a[14] = (uint8_t)(n >> 16);
	k.a[15] = (uint8_t)(n >> 24);
	return k;
}

static uint32_t due(const struct weir_flow_key *k, uint32_t now)
{
	uint64_t hash = weir_told_hash(k);

	return weir_told_due(&table[weir_told_set(hash)], hash, k, now, SECOND);
}

static void test_once_a_second(void **state)
{
	/* also over the turn of the counter, and at the time that an empty slot seems to have */
	static const uint32_t starts[] = { 0, 1, 1000, ~0u - SECOND / 2, ~0u };

	for (uint32_t i = 0; i < sizeof starts / sizeof *starts; i++) {
		struct weir_flow_key k = key_of(i + 1);

		assert_int_equal(due(&k, starts[i]), 1);
		for (uint32_t t = 1; t < SECOND; t++)
			assert_int_equal(due(&k, starts[i] + t), 0);
		assert_int_equal(due(&k, starts[i] + SECOND), SECOND); /* 1, and 249 held back */
		assert_int_equal(due(&k, starts[i] + SECOND), 0);
		assert_int_equal(due(&k, starts[i] + 5 * SECOND), 2);
		assert_int_equal(due(&k, starts[i] + 9 * SECOND), 1);
	}
}

/* Whatever the hash makes of them: a conversation is silenced by its own reports only. */
static void test_nobody_elses(void **state)
{
	struct weir_flow_key k = key_of(7), other;
	uint64_t hash = weir_told_hash(&k);
	struct weir_told *set = &table[weir_told_set(hash)];

	assert_int_equal(due(&k, 1000), 1);
	for (uint32_t byte = 0; byte < sizeof k; byte++) {
		other = k;
		((uint8_t *)&other)[byte] ^= 0x10;
		assert_int_equal(weir_told_due(set, hash, &other, 1000, SECOND), 1); /* with the same hash */
		assert_true(weir_told_hash(&other) != hash);
		memset(set, 0, sizeof *set);
		assert_int_equal(due(&k, 1000), 1);
	}
}

/* A hash whose lower half is zero must not look like a free slot. */
static void test_tag_of_zero(void **state)
{
	struct weir_told set = { 0 };
	struct weir_flow_key zero = { 0 }, k = key_of(3);

	assert_int_equal(weir_told_due(&set, 5ull << 32, &zero, 0, SECOND), 1);
	assert_int_equal(weir_told_due(&set, 5ull << 32, &zero, 1, SECOND), 0);
	assert_int_equal(weir_told_due(&set, 5ull << 32, &k, 1, SECOND), 1);
	assert_int_equal(weir_told_due(&set, 5ull << 32, &zero, 2, SECOND), 0); /* it kept its place */
}

static void test_the_oldest_goes(void **state)
{
	struct weir_told set = { 0 };
	struct weir_flow_key k[WEIR_TOLD_WAYS + 1];

	for (uint32_t i = 0; i <= WEIR_TOLD_WAYS; i++)
		k[i] = key_of(i);
	for (uint32_t i = 0; i < WEIR_TOLD_WAYS; i++)
		assert_int_equal(weir_told_due(&set, 9, &k[i], 100, SECOND), 1);
	for (uint32_t i = 0; i < WEIR_TOLD_WAYS; i++) {
		if (i != 2)
			assert_int_equal(weir_told_due(&set, 9, &k[i], 100 + SECOND, SECOND), 1);
	}
	assert_int_equal(weir_told_due(&set, 9, &k[WEIR_TOLD_WAYS], 101 + SECOND, SECOND), 1);
	for (uint32_t i = 0; i <= WEIR_TOLD_WAYS; i++) {
		if (i != 2)
			assert_int_equal(weir_told_due(&set, 9, &k[i], 102 + SECOND, SECOND), 0);
	}
	assert_int_equal(weir_told_due(&set, 9, &k[2], 102 + SECOND, SECOND), 1);
}

/* What repeats keeps its place, however many new ones come. */
static void test_a_flood_makes_no_room(void **state)
{
	struct weir_told set = { 0 };
	struct weir_flow_key loud = key_of(1);
	uint32_t told = 0;

	for (uint32_t i = 0; i < 5 * SECOND; i++) { /* a new one and the loud one, ten times each jiffy */
		for (uint32_t n = 0; n < 10; n++) {
			struct weir_flow_key k = key_of(2 + i * 10 + n);

			assert_int_equal(weir_told_due(&set, 9, &k, 1000 + i, SECOND), 1);
			told += weir_told_due(&set, 9, &loud, 1000 + i, SECOND) != 0;
		}
	}
	assert_in_range(told, 5, 10); /* where its second is over a new one may come first */
}

/* Whatever two conversations differ in, they are spread over the sets. */
static void test_spread(void **state)
{
	static const uint32_t at[] = { offsetof(struct weir_flow_key, aport), offsetof(struct weir_flow_key, bport), 0, 2, 14, 16, 30 };

	for (uint32_t n = 0; n < sizeof at / sizeof *at; n++) {
		static bool used[WEIR_TOLD_SETS];
		uint32_t sets = 0;

		memset(used, 0, sizeof used);
		for (uint32_t i = 0; i < 65536; i++) {
			struct weir_flow_key k = key_of(7);

			memcpy((uint8_t *)&k + at[n], &(uint16_t){ (uint16_t)i }, 2);
			sets += !used[weir_told_set(weir_told_hash(&k))];
			used[weir_told_set(weir_told_hash(&k))] = true;
		}
		assert_true(sets > WEIR_TOLD_SETS * 9 / 10);
	}
}

/* Some hundreds at a time are all remembered, and a second of a flood forgets them at most: told and held add up. */
static void test_many(void **state)
{
	uint64_t told = 0, held = 0, again = 0;

	for (uint32_t i = 0; i < 400; i++) {
		struct weir_flow_key k = key_of(i * 2654435761u);

		told += due(&k, 5000) == 1;
	}
	assert_int_equal(told, 400);
	for (uint32_t i = 0; i < 400; i++) {
		struct weir_flow_key k = key_of(i * 2654435761u);

		again += due(&k, 5001) != 0;
	}
	assert_true(again <= 4); /* four of one set beside another: by chance 0.0002 times in all */
	told = 0;
	for (uint32_t i = 0; i < 200000; i++) {
		struct weir_flow_key k = key_of(weir_draw_below(&seed, 2000) * 2246822519u);
		uint32_t r = due(&k, 10000 + i / 100);

		told += r != 0;
		held += r ? r - 1 : 0;
	}
	for (uint32_t i = 0; i < WEIR_TOLD_SETS; i++) {
		for (uint32_t w = 0; w < WEIR_TOLD_WAYS; w++)
			held += table[i].held[w];
	}
	assert_true(told + held <= 200000);
	assert_true(told + held > 190000); /* what was held back goes along with who is forgotten */
	assert_true(told < 24000); /* 2,000 of them, for 8 seconds, are 16,000; five of one set push each other out */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_once_a_second, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_elses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tag_of_zero, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_oldest_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_flood_makes_no_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spread, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
