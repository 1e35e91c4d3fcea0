/* SPDX-License-Identifier: Apache-2.0 */
/* weir_escape */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/util/text.h"

static void expect(const char *in, size_t n, const char *want)
{
	char out[256];

	assert_string_equal(weir_escape(in, n, out, sizeof out), want);
}

static void test_escape(void **state)
{
	expect("plain", 5, "plain");
	expect("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", 11, "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80");
	expect("a\0b\n\x7f", 5, "a\\x00b\\x0a\\x7f");
	expect("\\x41", 4, "\\\\x41");
	expect("\xc2\x9b", 2, "\\xc2\\x9b");         /* C1: CSI in one character */
	expect("\xe2\x80\xae", 3, "\\xe2\\x80\\xae"); /* right-to-left override */
	expect("\xe2\x81\xa6", 3, "\\xe2\\x81\\xa6"); /* isolate */
	expect("\xe2\x80\x8b", 3, "\\xe2\\x80\\x8b"); /* no width */
	expect("\xd8\x9c", 2, "\\xd8\\x9c");         /* Arabic letter mark: it reorders, too */
	expect("\xc0\x80", 2, "\\xc0\\x80");         /* overlong */
	expect("\xed\xa0\x80", 3, "\\xed\\xa0\\x80"); /* surrogate */
	expect("\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80");
	expect("\xe2\x82", 2, "\\xe2\\x82");         /* cut off */
	expect("", 0, "");
}

static void test_cut(void **state)
{
	char out[8];

	/* never inside a character or an escape */
	assert_string_equal(weir_escape("abcdef\n", 7, out, sizeof out), "abcdef");
	assert_string_equal(weir_escape("abcdef\xc3\xa4", 8, out, sizeof out), "abcdef");
	assert_string_equal(weir_escape("abcdefgh", 8, out, sizeof out), "abcdefg");
	out[0] = 'x';
	weir_escape("a", 1, out, 0);
	assert_int_equal(out[0], 'x');
	assert_string_equal(weir_escape("a", 1, out, 1), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
