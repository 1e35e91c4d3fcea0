/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/state/bans.h"
#include "lib/state/file.h"
#include "lib/state/test_dir.h"

static void parses_what_is_an_address(void **state)
{
	static const struct {
		const char *text, *shown;
		uint32_t prefixlen;
	} good[] = {
		{ "192.0.2.1", "192.0.2.1", 128 },	     { "192.0.2.0/24", "192.0.2.0/24", 120 },
		{ "2001:db8::1", "2001:db8::1", 128 },	     { "2001:db8::/32", "2001:db8::/32", 32 },
		{ "192.0.2.1/32", "192.0.2.1", 128 },	     { "128.0.0.0/1", "128.0.0.0/1", 97 },
		{ "::ffff:192.0.2.1", "192.0.2.1", 128 },
	};
	struct weir_ban_key k;
	char why[200], text[64];

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(weir_ban_key_parse(good[i].text, &k, why, sizeof why), 0);
		assert_int_equal(k.prefixlen, good[i].prefixlen);
		assert_string_equal(weir_ban_key_format(&k, text, sizeof text), good[i].shown);
	}
}

static void refuses_what_is_none_or_everybody(void **state)
{
	static const char *const bad[] = { "",		 "x",		  "0.0.0.0",	"::",		 "0.0.0.0/0",
					   "::/0",	 "192.0.2.1/33", "192.0.2.1/24", "192.0.2.0/", "192.0.2.0/024",
					   "192.0.2.0/-1", "010.0.0.1",	  "192.0.2.1 ", "2001:db8::/129", "192.0.2",
					   "192.0.2.0/24/24", "1.2.3.4.5",
					   "111111111111111111111111111111111111111111111111111111111111111111111111111111" };
	struct weir_ban_key k;
	char why[200];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		why[0] = 0;
		assert_int_equal(weir_ban_key_parse(bad[i], &k, why, sizeof why), -EINVAL);
		assert_string_not_equal(why, "");
	}
}

static void covers_what_it_says(void **state)
{
	struct weir_ban_key net, one;
	char why[200];

	assert_int_equal(weir_ban_key_parse("192.0.2.0/25", &net, why, sizeof why), 0);
	assert_int_equal(weir_ban_key_parse("192.0.2.127", &one, why, sizeof why), 0);
	assert_true(weir_ban_key_covers(&net, one.addr));
	assert_int_equal(weir_ban_key_parse("192.0.2.128", &one, why, sizeof why), 0);
	assert_false(weir_ban_key_covers(&net, one.addr));
}

static void put(struct weir_bans *b, const char *addr, uint64_t expires)
{
	const struct weir_ban_entry *e;
	struct weir_ban_key k;
	char why[200];

	assert_int_equal(weir_ban_key_parse(addr, &k, why, sizeof why), 0);
	assert_int_equal(weir_bans_add(b, &k, expires, "scan", &e), 0);
}

static void survives_and_keeps_its_ids(void **state)
{
	struct weir_bans b = { .next_id = 1 }, back;
	char note[300];

	put(&b, "192.0.2.1", 100);
	put(&b, "2001:db8::/32", 0);
	put(&b, "192.0.2.1", 500); /* again: a new end, no second entry */
	assert_int_equal(b.n, 2);
	assert_int_equal(weir_bans_save(*state, &b), 0);
	assert_int_equal(weir_bans_load(*state, &back, note, sizeof note), 0);
	assert_string_equal(note, "");
	assert_int_equal(back.n, 2);
	assert_int_equal(back.v[0].id, 1);
	assert_int_equal(back.v[0].expires, 500);
	assert_string_equal(back.v[0].why, "scan");
	assert_int_equal(back.next_id, 3);
	assert_int_equal(back.changes, 3);
	weir_bans_clear(&b);
	weir_bans_clear(&back);
}

static void a_narrow_one_ends_no_sooner_than_a_wide_one(void **state)
{
	static const struct {
		const char *addr;
		uint64_t expires, end;
	} all[] = {
		{ "192.0.2.0/24", 100, 100 },     { "192.0.2.64/26", 50, 100 }, { "192.0.2.66", 200, 200 },
		{ "192.0.2.67", 70, 100 },	  { "192.0.3.0/24", 30, 30 },	{ "192.0.3.1", 0, 0 },
		{ "198.51.100.0/24", 0, 0 },	  { "198.51.100.0", 9, 0 },	{ "198.51.100.255", 9, 0 },
		{ "198.51.101.0", 9, 9 },	  { "2001:db8::/32", 60, 60 },	{ "2001:db8:1::/48", 80, 80 },
		{ "2001:db8:1:2::/64", 70, 80 },  { "2001:db8:2::1", 5, 60 },	{ "2001:db9::1", 5, 5 },
	};
	enum { N = sizeof all / sizeof *all };
	uint64_t ends[N];

	for (unsigned first = 0; first < N; first++) {
		for (unsigned step = 1; step < N; step += 1 + (step % 3 == 1)) { /* those that reach every entry */
			struct weir_bans b = { .next_id = 1 };

			for (unsigned i = 0, at = first; i < N; i++, at = (at + step) % N)
				put(&b, all[at].addr, all[at].expires);
			if (b.n == N) {
				assert_int_equal(weir_bans_ends(&b, ends), 0);
				for (unsigned i = 0, at = first; i < N; i++, at = (at + step) % N) {
					assert_int_equal(ends[i], all[at].end);
					assert_int_equal(weir_bans_end(&b, &b.v[i].key), all[at].end);
				}
			}
			weir_bans_clear(&b);
		}
	}
}

static void count_gone(const struct weir_ban_key *k, void *data)
{
	++*(int *)data;
}

static void expires(void **state)
{
	struct weir_bans b = { .next_id = 1 };
	int gone = 0;

	put(&b, "192.0.2.1", 100);
	put(&b, "192.0.2.2", 0);
	put(&b, "192.0.2.3", 50);
	assert_int_equal(weir_bans_expire(&b, 60, count_gone, &gone), 1);
	assert_int_equal(weir_bans_expire(&b, 100, count_gone, &gone), 1);
	assert_int_equal(gone, 2);
	assert_int_equal(b.n, 1);
	assert_int_equal(weir_bans_remove(&b, &b.v[0].key), 0);
	weir_bans_clear(&b);
}

static void a_strange_file_is_set_aside(void **state)
{
	static const char *const bad[] = {
		"{}",
		"{\"version\":1,\"next_id\":5,\"bans\":[{\"id\":5,\"address\":\"192.0.2.1\"}]}",
		"{\"version\":1,\"next_id\":5,\"bans\":[{\"id\":1,\"address\":\"0.0.0.0/0\"}]}",
	};
	struct weir_bans b;
	char note[300];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(weir_state_replace(*state, "bans.json", bad[i], strlen(bad[i])), 0);
		assert_int_equal(weir_bans_load(*state, &b, note, sizeof note), 0);
		assert_non_null(strstr(note, "damaged"));
		assert_int_equal(b.n, 0);
		weir_bans_clear(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_what_is_an_address),
		cmocka_unit_test(refuses_what_is_none_or_everybody),
		cmocka_unit_test(covers_what_it_says),
		cmocka_unit_test_setup_teardown(survives_and_keeps_its_ids, test_dir_make, test_dir_remove),
		cmocka_unit_test(a_narrow_one_ends_no_sooner_than_a_wide_one),
		cmocka_unit_test(expires),
		cmocka_unit_test_setup_teardown(a_strange_file_is_set_aside, test_dir_make, test_dir_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
