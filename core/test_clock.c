/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/clock.h"

#define AT(DAY, H, M) ((DAY) * 1440u + (H) * 60u + (M))

static void minutes(void **state)
{
	struct weir_clock c = { .n = 0 };

	assert_int_equal(weir_clock_minute(&c, 5), WEIR_WEEK_MINUTES); /* nobody knows */
	c.n = 3;
	c.step[0].add_s = 3600;				  /* 0 s since boot: Monday, 01:00 */
	c.step[1] = (struct weir_clock_step){ 7200, 7200 }; /* then summer time */
	c.step[2] = (struct weir_clock_step){ 100000, 3600 };
	c.step[3] = (struct weir_clock_step){ 1, 999999 }; /* not counted: n says 3 */
	assert_int_equal(weir_clock_minute(&c, 0), AT(0, 1, 0));
	assert_int_equal(weir_clock_minute(&c, 7199), AT(0, 2, 59));
	assert_int_equal(weir_clock_minute(&c, 7200), AT(0, 4, 0));
	assert_int_equal(weir_clock_minute(&c, 99999), AT(1, 5, 46));
	assert_int_equal(weir_clock_minute(&c, 100000), AT(1, 4, 46));
	assert_int_equal(weir_clock_minute(&c, 7 * 86400), AT(0, 1, 0));
	assert_true(weir_clock_minute(&c, UINT64_MAX / 2) < WEIR_WEEK_MINUTES);
}

static void windows(void **state)
{
	static const struct {
		struct weir_window w;
		uint32_t minute;
		bool holds;
	} v[] = {
		{ { 31, 0, 480, 1080, 0 }, AT(0, 8, 0), true },	   { { 31, 0, 480, 1080, 0 }, AT(0, 7, 59), false },
		{ { 31, 0, 480, 1080, 0 }, AT(4, 17, 59), true },  { { 31, 0, 480, 1080, 0 }, AT(4, 18, 0), false },
		{ { 31, 0, 480, 1080, 0 }, AT(5, 12, 0), false },  { { 96, 0, 0, 1440, 0 }, AT(6, 23, 59), true },
		{ { 96, 0, 0, 1440, 0 }, AT(0, 0, 0), false },	   { { 96, 0, 0, 1440, 0 }, AT(5, 0, 0), true },
		{ { 127, 0, 1320, 360, 0 }, AT(3, 22, 0), true },  { { 127, 0, 1320, 360, 0 }, AT(3, 5, 59), true },
		{ { 127, 0, 1320, 360, 0 }, AT(3, 6, 0), false },  { { 127, 0, 1320, 360, 0 }, AT(3, 21, 59), false },
		{ { 16, 0, 1320, 360, 0 }, AT(4, 23, 0), true },   { { 16, 0, 1320, 360, 0 }, AT(5, 3, 0), true },
		{ { 16, 0, 1320, 360, 0 }, AT(4, 3, 0), false },   { { 64, 0, 1320, 360, 0 }, AT(0, 3, 0), true },
		{ { 0, 0, 0, 0, 0 }, AT(0, 0, 0), false },	   { { 127, 0, 600, 0, 0 }, AT(2, 23, 59), true },
		{ { 127, 0, 600, 0, 0 }, AT(2, 0, 0), false },
	};

	for (size_t i = 0; i < sizeof v / sizeof *v; i++)
		for (uint32_t at = 0; at < WEIR_WINDOWS_MAX; at++) {
			struct weir_times t = { 0 };

			t.w[at] = v[i].w;
			assert_true(weir_times_ok(&t));
			if (weir_times_hold(&t, v[i].minute) != v[i].holds)
				fail_msg("window %zu at place %u", i, at);
		}
	assert_false(weir_times_ok(&(struct weir_times){ .w[7] = { .days = 128 } }));
	assert_false(weir_times_ok(&(struct weir_times){ .w[7] = { .to = 1441 } }));
	assert_false(weir_times_ok(&(struct weir_times){ .w[0] = { .from = 1440 } }));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(minutes), cmocka_unit_test(windows) };

	return cmocka_run_group_tests_name("core/clock", tests, NULL, NULL);
}
