/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "lib/util/arena.h"
#include "lib/util/cleanup.h"
#include "lib/util/diag.h"
#include "lib/util/dict.h"
#include "lib/util/digest.h"
#include "lib/util/text.h"

static void test_utf8_is_strict(void **state)
{
	static const char *const good[] = { "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80" };
	static const char *const bad[] = { "\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
					   "\xff", "\xc3" };

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_int_equal(weir_utf8_next(good[i], strlen(good[i]), NULL), strlen(good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(weir_utf8_next(bad[i], strlen(bad[i]), NULL), 0);
	assert_int_equal(weir_utf8_next("\xe2\x82\xac", 2, NULL), 0);
}

static void test_nothing_talks_to_the_terminal(void **state)
{
	static const char hostile[] = "a\x1b[31m\xc2\x9b\xe2\x80\xae\xff z";
	_cleanup_free_ char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);
	size_t cols = weir_text_put(f, hostile, sizeof hostile - 1);

	fclose(f);
	assert_string_equal(out, "a\\x1b[31m\\xc2\\x9b\\xe2\\x80\\xae\\xff z");
	assert_int_equal(cols, size);
	assert_int_equal(weir_text_put(NULL, hostile, sizeof hostile - 1), cols);
}

static void test_a_cut_character_is_dropped(void **state)
{
	static const char text[] = "a\xf0\x9f\x98\x80\xc3\xa9";
	static const size_t whole[] = { 0, 1, 1, 1, 1, 5, 5, 7 };
	char buf[sizeof text];

	for (size_t n = 0; n < sizeof text; n++) {
		snprintf(buf, n + 1, "%s", text);
		assert_int_equal(strlen(weir_text_whole(buf)), whole[n]);
	}
	strcpy(buf, "\x80\x80");
	assert_int_equal(strlen(weir_text_whole(buf)), 2); /* never was a character: not ours to mend */
}

static void test_distance_counts_edits(void **state)
{
	assert_int_equal(weir_text_distance("drop", "drop", 3), 0);
	assert_int_equal(weir_text_distance("dorp", "drop", 3), 1);
	assert_int_equal(weir_text_distance("DROP", "drop", 3), 0);
	assert_int_equal(weir_text_distance("inbuond", "inbound", 3), 1);
	assert_int_equal(weir_text_distance("prevnt", "prevent", 3), 1);
	assert_int_equal(weir_text_distance("allow", "reject", 2), 3);
	assert_int_equal(weir_text_distance("", "abc", 3), 3);
}

static void test_globs(void **state)
{
	assert_true(weir_glob_match("eth*", "eth0"));
	assert_true(weir_glob_match("*", ""));
	assert_true(weir_glob_match("v?th*x", "veth123x"));
	assert_true(weir_glob_match("a*b*c", "aXbXbXc"));
	assert_false(weir_glob_match("eth?", "eth"));
	assert_false(weir_glob_match("eth", "eth0"));
	assert_false(weir_glob_match("a*b", "aXc"));
}

static void test_arena_zeroes_and_keeps_its_limit(void **state)
{
	struct weir_arena a = { .limit = 1 << 20 };
	unsigned char *p = weir_arena_alloc(&a, 100000);

	assert_non_null(p);
	for (size_t i = 0; i < 100000; i++)
		assert_int_equal(p[i], 0);
	assert_null(weir_arena_alloc(&a, 1 << 20));
	assert_null(weir_arena_array(&a, SIZE_MAX / 2, 4));
	weir_arena_free(&a);
	assert_null(a.top);
}

static void test_arena_begins_anew_in_its_first_block(void **state)
{
	struct weir_arena a = { .limit = 1 << 20 };
	char *first = weir_arena_alloc(&a, 100);

	memset(first, 1, 100);
	assert_int_equal(weir_arena_reset(&a), 0);
	assert_ptr_equal(weir_arena_alloc(&a, 100), first);
	assert_int_equal(first[0] | first[99], 0);
	for (int i = 0; i < 100; i++) { /* more than the limit in all, never at once */
		assert_non_null(weir_arena_alloc(&a, 500000));
		assert_true(weir_arena_reset(&a) >= 500000);
	}
	weir_arena_free(&a);
}

static void test_names_are_found(void **state)
{
	static char text[3000][8];
	struct weir_arena a = { 0 };
	struct weir_dict t = { 0 };

	assert_null(weir_dict_find(&t, "x"));
	assert_int_equal(weir_dict_init(&a, &t, 3000), 0);
	for (int i = 0; i < 3000; i++) {
		snprintf(text[i], sizeof text[i], "%d", i);
		assert_null(weir_dict_put(&t, text[i], text[i]));
	}
	for (int i = 0; i < 3000; i++)
		assert_ptr_equal(weir_dict_find(&t, text[i]), text[i]);
	assert_ptr_equal(weir_dict_put(&t, "17", &a), text[17]); /* the first stays */
	assert_ptr_equal(weir_dict_find(&t, "17"), text[17]);
	assert_null(weir_dict_find(&t, "3000"));
	assert_null(weir_dict_find(&t, "a name of more than eight bytes"));
	assert_null(weir_dict_put(&t, "a name of more than eight bytes", &a));
	assert_ptr_equal(weir_dict_find(&t, "a name of more than eight bytes"), &a);
	assert_null(weir_dict_find(&t, ""));
	weir_arena_free(&a);
}

static void test_plain_text_ends_where_it_ends(void **state)
{
	static const unsigned char others[] = { 0, '\t', '\n', 0x1f, 0x7f, 0x80, 0xc3, 0xff };
	char s[40];

	for (size_t n = 0; n < sizeof s; n++)
		for (size_t at = 0; at <= n; at++)
			for (size_t o = 0; o < sizeof others; o++) {
				memset(s, at & 1 ? ' ' : '~', sizeof s);
				if (at < n)
					s[at] = (char)others[o];
				assert_int_equal(weir_text_plain(s, n), at);
			}
}

static void test_sha256_is_that_of_libmd(void **state)
{
	static uint8_t data[5000];
	uint8_t want[32], have[32];
	SHA2_CTX a, b;

	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 131 + i / 7);
	for (size_t len = 0; len < sizeof data; len += 1 + len / 40) {
		SHA256Init(&a);
		SHA256Init(&b);
		SHA256Update(&a, data, len);
		for (size_t at = 0, step = len % 300 + 1; at < len; at += step) /* in pieces of one length */
			weir_sha256_update(&b, data + at, at + step < len ? step : len - at);
		SHA256Final(want, &a);
		SHA256Final(have, &b);
		assert_memory_equal(want, have, 32);
	}
}

static void test_the_caret_stands_under_the_word(void **state)
{
	struct weir_diags d = { 0 };
	_cleanup_free_ char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);
	struct weir_diag *x = weir_diags_add(&d, WEIR_ERROR, "p.yaml", 12, 8, 4, "unknown action '%s'", "dorp");

	x->source = strdup("\t\xc3\xa9t: [dorp]");
	x->col = 8;
	weir_diag_hint(x, "did you mean '%s'?", "drop");
	for (int i = 0; i < 200; i++)
		weir_diags_add(&d, WEIR_WARNING, NULL, 0, 0, 0, "more");
	assert_int_equal(d.n, WEIR_DIAGS_MAX);
	assert_int_equal(d.dropped, 201 - WEIR_DIAGS_MAX);
	assert_int_equal(d.errors, 1);
	weir_diags_format(f, &d, false);
	fclose(f);
	assert_non_null(strstr(out, "There are more: these are the first 100.\n"));
	assert_ptr_equal(strstr(out, "p.yaml:12:8: error: unknown action 'dorp'; did you mean 'drop'?\n"
				     "   12 | \t\xc3\xa9t: [dorp]\n"
				     "      | \t     ^~~~\n"),
			 out);
	weir_diags_add(&d, WEIR_ERROR, NULL, 0, 0, 0, "late"); /* no warning hides it */
	assert_int_equal(d.n, WEIR_DIAGS_MAX);
	assert_string_equal(d.v[WEIR_DIAGS_MAX - 1].message, "late");
	assert_int_equal(d.v[0].severity, WEIR_ERROR);
	weir_diags_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8_is_strict),
		cmocka_unit_test(test_nothing_talks_to_the_terminal),
		cmocka_unit_test(test_a_cut_character_is_dropped),
		cmocka_unit_test(test_distance_counts_edits),
		cmocka_unit_test(test_globs),
		cmocka_unit_test(test_arena_zeroes_and_keeps_its_limit),
		cmocka_unit_test(test_arena_begins_anew_in_its_first_block),
		cmocka_unit_test(test_names_are_found),
		cmocka_unit_test(test_plain_text_ends_where_it_ends),
		cmocka_unit_test(test_sha256_is_that_of_libmd),
		cmocka_unit_test(test_the_caret_stands_under_the_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
