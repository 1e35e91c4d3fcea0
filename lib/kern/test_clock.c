/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "lib/kern/clock.h"

static uint32_t libc_minute(time_t t)
{
	struct tm tm;

	assert_non_null(localtime_r(&t, &tm));
	return (uint32_t)((tm.tm_wday + 6) % 7 * 1440 + tm.tm_hour * 60 + tm.tm_min);
}

/* What the table says is what the C library says, over more than a year, to the second around each change. */
static void follows_the_zone(void **state)
{
	static const char *const zones[] = { "UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0",
					     "AEST-10AEDT,M10.1.0,M4.1.0/3", "<+0545>-5:45", "<-12>12" };
	const int64_t boot = 1790000000; /* 2026-09-21 */

	for (size_t z = 0; z < sizeof zones / sizeof *zones; z++)
		for (int64_t up = 0; up < 200 * 86400; up += 50 * 86400 + 12345) {
			struct weir_clock c;

			setenv("TZ", zones[z], 1);
			weir_clock_make(boot + up, (uint64_t)up, &c);
			assert_true(c.n >= 1 && c.n <= WEIR_CLOCK_STEPS);
			for (int64_t s = up; s < up + 300 * 86400; s += 599)
				if (weir_clock_minute(&c, (uint64_t)s) != libc_minute((time_t)(boot + s)))
					fail_msg("%s: %ld s after boot", zones[z], (long)s);
			assert_true(c.until_s > (uint64_t)(up + 390 * 86400));
			for (uint32_t i = 1; i < c.n; i++)
				for (int64_t s = (int64_t)c.step[i].from_s - 2; s < (int64_t)c.step[i].from_s + 2; s++)
					assert_int_equal(weir_clock_minute(&c, (uint64_t)s), libc_minute((time_t)(boot + s)));
		}
}

/* A clock before 1970, a clock that nobody set: no crash, and still a minute. */
static void odd_clocks(void **state)
{
	struct weir_clock c;

	setenv("TZ", "UTC0", 1);
	weir_clock_make(0, 1000000, &c);
	assert_int_equal(weir_clock_minute(&c, 1000000), 3 * 1440); /* a Thursday */
	weir_clock_make(-5 * 86400, 100, &c);
	assert_int_equal(weir_clock_minute(&c, 100), 5 * 1440);
}

static char zone_dir[] = "/tmp/weir-zones-XXXXXX";

static void zone_file(const char *name, const void *bytes, size_t n)
{
	char path[64], tz[80];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", zone_dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
	snprintf(tz, sizeof tz, ":%s", path);
	setenv("TZ", tz, 1);
}

/* A compiled zone that goes an hour forward or back each two hours, a hundred times. */
static size_t restless(uint8_t *to, int64_t from)
{
	static const uint8_t head[44] = { 'T', 'Z', 'i', 'f', [35] = 100, [39] = 2, [43] = 4 };
	static const uint8_t rest[16] = { 0, 0, 0, 0, 0, 0, 0, 0, 14, 16, 1, 0, 'R', 'S', 'T', 0 };
	size_t n = sizeof head;

	memcpy(to, head, sizeof head);
	for (int i = 0; i < 100; i++, n += 4)
		for (int b = 0; b < 4; b++)
			to[n + (size_t)b] = (uint8_t)((from + i * 7200) >> (24 - b * 8));
	for (int i = 0; i < 100; i++)
		to[n++] = (uint8_t)(i % 2);
	memcpy(to + n, rest, sizeof rest);
	return n + sizeof rest;
}

/* A zone that nobody knows, a file that is none, that ends in the middle, that changes all the time: a minute in any case. */
static void odd_zones(void **state)
{
	const int64_t now = 1790000000;
	uint8_t bytes[1024];
	struct weir_clock c;
	size_t n;

	assert_non_null(mkdtemp(zone_dir));
	setenv("TZ", "Mars/Olympus", 1);
	weir_clock_make(now, 1000, &c);
	assert_int_equal(c.n, 1);
	assert_int_equal(weir_clock_minute(&c, 1000), libc_minute(now)); /* that of UTC */
	zone_file("garbage", "TZif2 and then nothing", 22);
	weir_clock_make(now, 1000, &c);
	assert_int_equal(c.n, 1);
	n = restless(bytes, now + 1800);
	for (size_t cut = n; cut > 40; cut -= 7) {
		char name[16];

		snprintf(name, sizeof name, "cut%zu", cut);
		zone_file(name, bytes, cut);
		weir_clock_make(now, 1000, &c);
		assert_true(c.n >= 1 && c.n <= WEIR_CLOCK_STEPS);
		assert_int_equal(weir_clock_minute(&c, 1000), libc_minute(now));
	}
	zone_file("restless", bytes, n);
	weir_clock_make(now, 1000, &c);
	assert_int_equal(c.n, WEIR_CLOCK_STEPS);
	assert_true(c.until_s > 1000 + 4 * 7200 && c.until_s < 1000 + 6 * 7200); /* and it says how far it saw */
	for (uint64_t s = 1000; s < c.until_s; s += 60)
		assert_int_equal(weir_clock_minute(&c, s), libc_minute((time_t)(now + (int64_t)s - 1000)));
	snprintf((char *)bytes, sizeof bytes, "rm -r %s", zone_dir);
	assert_int_equal(system((char *)bytes), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(follows_the_zone), cmocka_unit_test(odd_clocks), cmocka_unit_test(odd_zones) };

	return cmocka_run_group_tests_name("lib/kern/clock", tests, NULL, NULL);
}
