/* SPDX-License-Identifier: Apache-2.0 */
/* lib/host/names.h: what is learned from an answer, what is not, and that the table stays bounded. */
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/host/names.h"

/* www.shop.example: alias to cdn.example (60 s), which is 192.0.2.1 (300 s); and an address nobody asked for. */
static const uint8_t answer[] = "\x12\x34\x81\x80\0\1\0\3\0\0\0\0"
				"\3www\4shop\7example\0\0\1\0\1"
				"\300\14\0\5\0\1\0\0\0\74\0\6\3cdn\300\25"
				"\300\56\0\1\0\1\0\0\1\54\0\4\300\0\2\1"
				"\5other\300\25\0\1\0\1\0\0\1\54\0\4\300\0\2\2";

static void map4(uint8_t out[16], uint32_t v4)
{
	memset(out, 0, 10);
	memset(out + 10, 0xff, 2);
	for (int i = 0; i < 4; i++)
		out[12 + i] = (uint8_t)(v4 >> (24 - 8 * i));
}

static void test_learn(void **state)
{
	struct weir_names *n = NULL;
	struct weir_name got;
	uint8_t addr[16];

	assert_int_equal(weir_names_new(16, &n), 0);
	assert_int_equal(weir_names_learn(n, answer, sizeof answer - 1, 1000), 1);
	map4(addr, 0xc0000201);
	assert_int_equal(weir_names_find(n, addr, 1060, &got), 0);
	assert_string_equal(got.name, "www.shop.example"); /* the name that was asked, not the alias */
	assert_int_equal(got.ttl, 60); /* of the chain, not of the address */
	assert_false(got.expired);
	assert_int_equal(weir_names_find(n, addr, 1061, &got), 0);
	assert_true(got.expired);
	map4(addr, 0xc0000202);
	assert_int_equal(weir_names_find(n, addr, 1000, &got), -ENOENT);
	weir_names_free(n);
}

static void test_refuse(void **state)
{
	uint8_t bad[sizeof answer];
	struct weir_names *n = NULL;

	assert_int_equal(weir_names_new(0, &n), -EINVAL);
	assert_int_equal(weir_names_new(WEIR_NAMES_MAX + 1, &n), -EINVAL);
	assert_int_equal(weir_names_new(16, &n), 0);
	for (size_t len = 0; len < sizeof answer - 1; len++)
		assert_int_equal(weir_names_learn(n, answer, len, 1), -EBADMSG);
	memcpy(bad, answer, sizeof bad);
	bad[2] &= 0x7f; /* a query */
	assert_int_equal(weir_names_learn(n, bad, sizeof bad - 1, 1), -EBADMSG);
	assert_int_equal(weir_names_count(n), 0);
	weir_names_free(n);
}

static void test_no_such_name(void **state)
{
	static const uint8_t gone[] = "\x12\x34\x81\x83\0\1\0\0\0\0\0\0\3www\4shop\7example\0\0\1\0\1";
	static const uint8_t nodata[] = "\x12\x34\x81\x80\0\1\0\0\0\0\0\0\3www\4shop\7example\0\0\34\0\1";
	struct weir_names *n = NULL;

	assert_int_equal(weir_names_new(16, &n), 0);
	assert_int_equal(weir_names_learn(n, nodata, sizeof nodata - 1, 1), 0);
	assert_int_equal(weir_names_learn(n, gone, sizeof gone - 1, 1), 0);
	assert_int_equal(weir_names_count(n), 0); /* whoever asks for what is not there pushes nothing out */
	assert_int_equal(weir_names_learn(n, answer, sizeof answer - 1, 2), 1);
	weir_names_free(n);
}

static void test_bounded(void **state)
{
	uint8_t m[] = "\x12\x34\x81\x80\0\1\0\1\0\0\0\0\1a\0\0\1\0\1\300\14\0\1\0\1\0\0\1\54\0\4\12\0\0\0";
	struct weir_names *n = NULL;
	struct weir_name got;
	uint8_t first[16], addr[16];

	assert_int_equal(weir_names_new(64, &n), 0);
	map4(first, 0x0a000000);
	for (uint32_t i = 0; i < 1000; i++) {
		m[sizeof m - 3] = (uint8_t)(i >> 8);
		m[sizeof m - 2] = (uint8_t)i;
		assert_int_equal(weir_names_learn(n, m, sizeof m - 1, i), 1);
		/* what is looked at stays */
		assert_int_equal(weir_names_find(n, first, i, &got), 0);
	}
	assert_int_equal(weir_names_count(n), 64);
	for (uint32_t i = 1; i < 1000; i++) {
		map4(addr, 0x0a000000 + i);
		assert_int_equal(weir_names_find(n, addr, i, &got), i >= 1000 - 63 ? 0 : -ENOENT);
	}
	weir_names_free(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_learn),
		cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_no_such_name),
		cmocka_unit_test(test_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
