/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/policy/daytime.h"

static void words(void **state)
{
	static const struct {
		const char *text;
		struct weir_window w;
	} good[] = {
		{ "mon-fri 08:00-18:00", { 31, 0, 480, 1080, 0 } }, { "sat-sun", { 96, 0, 0, 1440, 0 } },
		{ "22:00-06:00", { 127, 0, 1320, 360, 0 } },	    { "fri-mon 00:00-24:00", { 113, 0, 0, 1440, 0 } },
		{ "tue", { 2, 0, 0, 1440, 0 } },		    { "mon-sun", { 127, 0, 0, 1440, 0 } },
		{ "sun-sat 23:59-00:00", { 127, 0, 1439, 0, 0 } },  { "wed-wed 00:00-00:01", { 4, 0, 0, 1, 0 } },
	};
	static const char *const bad[] = { "", " ", "-", "mon-", "-fri", "monday", "Mon", "mon-fri-sun", "mon,tue", "mon  08:00-18:00",
					   "mon ", "mon 08:00", "08:00", "08:00-", "8:00-18:00", "08:00-18:00 ", "08:00-18:00x",
					   "25:00-26:00", "08:00-25:00", "08:60-09:00", "24:00-08:00", "08:00-24:01", "08:00-08:00",
					   "08:00-1", "mon-fri 08:00-18:00-19:00", "08:00 - 18:00", "08.00-18.00", "\xff", "mo" };
	struct weir_window w;
	struct weir_why why;
	char text[32];

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct weir_window again;

		assert_int_equal(weir_window_parse(good[i].text, &w, &why), 0);
		assert_memory_equal(&w, &good[i].w, sizeof w);
		assert_int_equal(weir_window_parse(weir_window_text(&w, text, sizeof text), &again, &why), 0);
		assert_memory_equal(&again, &w, sizeof w);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		memset(&why, 0, sizeof why);
		if (weir_window_parse(bad[i], &w, &why) >= 0 || !why.message[0] || !why.hint[0])
			fail_msg("'%s' was taken", bad[i]);
	}
	assert_string_equal(weir_minute_text(5 * 1440 + 22 * 60 + 5, text, sizeof text), "sat 22:05");
}

static struct weir_times random_times(uint64_t *state)
{
	struct weir_times t = { 0 };

	for (int i = 0; i < 3; i++) {
		*state = *state * 6364136223846793005ull + 1442695040888963407ull;
		t.w[i].days = (uint8_t)(*state >> 33 & *state >> 43 & 127);
		t.w[i].from = (uint16_t)((*state >> 40) % 4 * 480 % 1440);
		t.w[i].to = (uint16_t)((*state >> 50) % 4 * 480);
	}
	return t;
}

/* As every minute of the week says. */
static void within(void **state)
{
	uint64_t random = 7, found = 0;

	for (int i = 0; i < 4000; i++) {
		struct weir_times a = random_times(&random), b = random_times(&random);
		bool want = true;

		for (uint32_t m = 0; m < WEIR_WEEK_MINUTES; m += 10)
			want &= !weir_times_hold(&a, m) || weir_times_hold(&b, m);
		assert_int_equal(weir_times_within(&a, &b), want);
		found += want;
	}
	assert_true(found > 50 && found < 3900);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(words), cmocka_unit_test(within) };

	return cmocka_run_group_tests_name("lib/policy/daytime", tests, NULL, NULL);
}
