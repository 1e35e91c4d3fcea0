/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/state/history.h"
#include "lib/state/test_dir.h"

static struct weir_gen gen(uint32_t n, enum weir_gen_end end)
{
	return (struct weir_gen){ .generation = n, .time = 1000 + n, .uid = 1, .pid = 2, .via = "weir",
				  .path = "/etc/weir/policy.yaml", .source = WEIR_SOURCE_FILE, .mode = WEIR_PREVENT,
				  .rules = 3, .end = end, .confirmed = end == WEIR_GEN_IN_FORCE };
}

/* As the worker does it: the new one in force, the one before it replaced. */
static void add(const char *dir, struct weir_history *h, uint32_t n)
{
	struct weir_gen g = gen(n, WEIR_GEN_IN_FORCE);

	if (h->n)
		weir_history_end(&h->v[h->n - 1], WEIR_GEN_REPLACED, 1000 + n);
	assert_int_equal(weir_history_add(dir, h, &g, "version: 1\n", 11), 0);
}

static void it_is_the_same_after_a_restart(void **state)
{
	struct weir_history h = { 0 }, again = { 0 };
	struct weir_gen g = gen(7, WEIR_GEN_WAITING);
	char note[256], *text = NULL;
	size_t len = 0;

	g.has_ceiling = true;
	g.ceiling = WEIR_PREVENT;
	memset(g.digest, 0xab, 32);
	strcpy(g.via, "a\x01\xff");
	assert_int_equal(weir_history_add(*state, &h, &g, "version: 1\n", 11), 0);
	assert_int_equal(weir_history_load(*state, &again, note, sizeof note), 0);
	assert_int_equal(again.n, 1);
	assert_int_equal(again.last, 7);
	assert_int_equal(again.v[0].end, WEIR_GEN_WAITING);
	assert_true(again.v[0].has_ceiling && again.v[0].ceiling == WEIR_PREVENT && !again.v[0].confirmed);
	assert_memory_equal(again.v[0].digest, g.digest, 32);
	assert_int_equal(weir_history_text(*state, &again.v[0], &text, &len), 0);
	assert_string_equal(text, "version: 1\n");
	free(text);
	weir_history_clear(&h);
	weir_history_clear(&again);
}

static void it_is_bounded_and_keeps_what_lives(void **state)
{
	struct weir_history h = { 0 };
	struct weir_gen first = gen(1, WEIR_GEN_SUSPENDED);
	size_t texts = 0;
	char *text = NULL;
	size_t len;

	assert_int_equal(weir_history_add(*state, &h, &first, "version: 1\n", 11), 0);
	for (uint32_t n = 2; n < 100; n++) {
		struct weir_gen g = gen(n, WEIR_GEN_REPLACED);

		assert_int_equal(weir_history_add(*state, &h, &g, "version: 1\n", 11), 0);
	}
	assert_int_equal(h.n, WEIR_HISTORY_MAX);
	assert_int_equal(h.last, 99);
	assert_int_equal(h.v[0].generation, 1); /* what a change that waits goes back to */
	for (size_t i = 0; i < h.n; i++)
		texts += h.v[i].text;
	assert_int_equal(texts, WEIR_HISTORY_TEXTS + 1);
	assert_int_equal(weir_history_text(*state, &h.v[0], &text, &len), 0);
	free(text);
	assert_int_equal(weir_history_text(*state, &h.v[1], &text, &len), -ENOENT);
	assert_int_equal(weir_history_text(*state, &h.v[h.n - 1], &text, &len), 0);
	free(text);
	weir_history_clear(&h);
}

static void the_one_before_was_in_force_for_good(void **state)
{
	struct weir_history h = { 0 };
	struct weir_gen tried = gen(3, WEIR_GEN_WENT_BACK);

	add(*state, &h, 1);
	assert_null(weir_history_previous(&h, 1));
	add(*state, &h, 2);
	tried.ended = 5000;
	assert_int_equal(weir_history_add(*state, &h, &tried, "x", 1), 0);
	assert_int_equal(weir_history_previous(&h, 2)->generation, 1);
	weir_history_end(weir_history_find(&h, 2), WEIR_GEN_ROLLED_BACK, 6000);
	assert_int_equal(weir_history_previous(&h, 4)->generation, 2); /* there and back again */
	weir_history_clear(&h);
}

static void what_did_not_come_into_force_leaves_nothing(void **state)
{
	struct weir_history h = { 0 };

	add(*state, &h, 1);
	add(*state, &h, 2);
	weir_history_drop(*state, &h, 1);
	assert_int_equal(h.n, 1);
	assert_int_equal(h.last, 1);
	weir_history_clear(&h);
}

static void what_is_damaged_is_set_aside(void **state)
{
	static const char *const bad[] = { "{", "{\"last\": 1}", "{\"last\": 0, \"generations\": [{}]}",
					   "{\"last\": -1, \"generations\": []}" };
	char path[300], note[400];
	struct weir_history h;

	snprintf(path, sizeof path, "%s/history.json", (char *)*state);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		test_file(path, bad[i]);
		assert_int_equal(weir_history_load(*state, &h, note, sizeof note), 0);
		assert_int_equal(h.n, 0);
		assert_non_null(strstr(note, "set aside"));
		assert_int_not_equal(access(path, F_OK), 0);
	}
	assert_int_equal(weir_history_load(*state, &h, note, sizeof note), 0);
	assert_string_equal(note, "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, test_dir_make, test_dir_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_is_the_same_after_a_restart),
		T(it_is_bounded_and_keeps_what_lives),
		T(the_one_before_was_in_force_for_good),
		T(what_did_not_come_into_force_leaves_nothing),
		T(what_is_damaged_is_set_aside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
