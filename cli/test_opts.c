/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/opts.h"
#include "cli/table.h"

static const struct weir_cmd cmd = { .name = "test", .args = "", .summary = "" };

static int parse(const struct weir_opt *o, const char *line, char **argv, char *buf)
{
	int argc = 0;

	strcpy(buf, line);
	for (char *save = NULL, *p = strtok_r(buf, " ", &save); p; p = strtok_r(NULL, " ", &save))
		argv[argc++] = p;
	argv[argc] = NULL;
	return weir_opts_parse(&cmd, o, argc, argv);
}

static void takes_options_and_leaves_words(void **state)
{
	const char *value = NULL, *list[WEIR_OPT_LIST_MAX + 1] = { NULL };
	bool flag = false;
	const struct weir_opt o[] = { { "--value", .value = &value }, { "--flag", .flag = &flag }, { "--list", .list = list },
				      { NULL } };
	char *argv[16], buf[200];

	assert_int_equal(parse(o, "test a --value 1 b --list=x --flag --list y -- --value", argv, buf), 3);
	assert_string_equal(argv[1], "a");
	assert_string_equal(argv[2], "b");
	assert_string_equal(argv[3], "--value");
	assert_string_equal(value, "1");
	assert_true(flag);
	assert_string_equal(list[0], "x");
	assert_string_equal(list[1], "y");
	assert_null(list[2]);
	value = NULL;
	assert_int_equal(parse(o, "test --value -1", argv, buf), 0); /* a value may begin with a dash */
	assert_string_equal(value, "-1");
}

static void refuses_what_is_wrong(void **state)
{
	static const char *const bad[] = { "test --valu 1", "test --value", "test --flag=1", "test --value 1 --value 2", "test -x",
					   "test --value1 2" };
	char *argv[16], buf[200];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const char *value = NULL;
		bool flag = false;
		const struct weir_opt o[] = { { "--value", .value = &value }, { "--flag", .flag = &flag }, { NULL } };

		assert_int_equal(parse(o, bad[i], argv, buf), -WEIR_EXIT_USAGE);
	}
}

static void a_list_is_bounded(void **state)
{
	const char *list[WEIR_OPT_LIST_MAX + 1] = { NULL };
	const struct weir_opt o[] = { { "--list", .list = list }, { NULL } };
	char *argv[WEIR_OPT_LIST_MAX + 4];

	for (int i = 0; i < WEIR_OPT_LIST_MAX + 2; i++)
		argv[i] = "--list=x";
	argv[WEIR_OPT_LIST_MAX + 2] = NULL;
	assert_int_equal(weir_opts_parse(&cmd, o, WEIR_OPT_LIST_MAX + 2, argv), -WEIR_EXIT_USAGE);
	assert_null(list[WEIR_OPT_LIST_MAX]);
}

static void the_nearest_word_is_found(void **state)
{
	static const char *const words[] = { "status", "rule add", "rule list", "events", NULL };
	static const char *const options[] = { "--port", "--proto", NULL };
	char far[300];

	assert_string_equal(weir_nearest("--prot", options), "--proto");
	assert_string_equal(weir_nearest("--prt", options), "--port");
	assert_string_equal(weir_nearest("statsu", words), "status");
	assert_string_equal(weir_nearest("rul lst", words), "rule list");
	assert_null(weir_nearest("zebra", words));
	memset(far, 'x', sizeof far);
	far[sizeof far - 1] = 0;
	assert_null(weir_nearest(far, words));
}

static void times_are_strict(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds;
	} good[] = { { "90", 90 }, { "90s", 90 }, { "5m", 300 }, { "1h", 3600 }, { "2d", 172800 } };
	static const char *const bad[] = { "", "0", "0s", "-1", "1w", "1hh", "h", "1.5h", " 1h", "99999999999999999999s", "4000d" };
	uint64_t s;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(weir_seconds_parse(good[i].text, &s), 0);
		assert_int_equal(s, good[i].seconds);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(weir_seconds_parse(bad[i], &s), -EINVAL);
}

static void numbers_are_for_people(void **state)
{
	char b[32];

	assert_string_equal(weir_count(0, b, sizeof b), "0");
	assert_string_equal(weir_count(1204, b, sizeof b), "1,204");
	assert_string_equal(weir_count(18446744073709551615ull, b, sizeof b), "18,446,744,073,709,551,615");
	assert_string_equal(weir_span(119, b, sizeof b), "119 s");
	assert_string_equal(weir_span(3 * 86400, b, sizeof b), "3 d");
	weir_end_put("2001:db8::1", 443, "", b, sizeof b);
	assert_string_equal(b, "[2001:db8::1]:443");
	weir_end_put("10.0.0.1", 80, "a.example", b, sizeof b);
	assert_string_equal(b, "a.example (10.0.0.1):80");
	weir_end_put("10.0.0.1", 0, "", b, sizeof b);
	assert_string_equal(b, "10.0.0.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_options_and_leaves_words), cmocka_unit_test(refuses_what_is_wrong),
		cmocka_unit_test(a_list_is_bounded),		  cmocka_unit_test(the_nearest_word_is_found),
		cmocka_unit_test(times_are_strict),		  cmocka_unit_test(numbers_are_for_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
