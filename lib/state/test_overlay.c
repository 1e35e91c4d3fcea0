/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lib/state/file.h"
#include "lib/state/overlay.h"
#include "lib/state/test_dir.h"

#define RULE "{\"action\":\"drop\"}"

static uint32_t add(struct weir_overlay_store *s, uint64_t expires, uint32_t before)
{
	uint32_t id = 0;

	assert_int_equal(weir_overlay_add(s, RULE, "reason", expires, before, &id), 0);
	return id;
}

static int edit(struct weir_overlay_store *s, const char *set, const char *element, bool remove)
{
	return weir_overlay_edit(s, set, &element, 1, remove);
}

static void ids_of(const struct weir_overlay_store *s, uint32_t *ret)
{
	for (size_t i = 0; i < s->list.n_rules; i++)
		ret[i] = s->list.rules[i].id;
}

static void new_ones_stand_last_unless_told(void **state)
{
	struct weir_overlay_store s = { .next_id = 1 };
	uint32_t ids[4], none;

	add(&s, 0, 0);
	add(&s, 0, 0);
	add(&s, 0, 2);
	add(&s, 0, 1);
	ids_of(&s, ids);
	assert_memory_equal(ids, ((uint32_t[]){ 4, 1, 3, 2 }), sizeof ids);
	assert_int_equal(weir_overlay_add(&s, RULE, NULL, 0, 99, &none), -ENOENT);
	assert_int_equal(s.list.n_rules, 4);
	weir_overlay_store_clear(&s);
}

static void ids_are_never_reused(void **state)
{
	struct weir_overlay_store s = { .next_id = 1 }, back;
	char note[300];

	add(&s, 0, 0);
	add(&s, 0, 0);
	assert_int_equal(weir_overlay_delete(&s, 2), 0);
	assert_int_equal(weir_overlay_delete(&s, 2), -ENOENT);
	assert_int_equal(weir_overlay_delete(&s, 1), 0);
	s.changes = 4;
	assert_int_equal(weir_overlay_save(*state, &s), 0);
	assert_int_equal(weir_overlay_load(*state, &back, note, sizeof note), 0);
	assert_int_equal(back.changes, 4);
	assert_int_equal(back.list.n_rules, 0);
	assert_int_equal(add(&back, 0, 0), 3);
	weir_overlay_store_clear(&s);
	weir_overlay_store_clear(&back);
}

static void order_edits_and_reasons_survive(void **state)
{
	struct weir_overlay_store s = { .next_id = 1 }, back;
	char note[300];

	add(&s, 0, 0);
	add(&s, 5000, 1);
	assert_int_equal(edit(&s, "office", "192.0.2.7", false), 0);
	assert_int_equal(weir_overlay_save(*state, &s), 0);
	assert_int_equal(weir_overlay_load(*state, &back, note, sizeof note), 0);
	assert_string_equal(note, "");
	assert_int_equal(back.list.n_rules, 2);
	assert_int_equal(back.list.rules[0].id, 2);
	assert_int_equal(back.list.rules[0].expires, 5000);
	assert_string_equal(back.list.rules[0].json, RULE);
	assert_string_equal(back.list.rules[0].why, "reason");
	assert_int_equal(back.list.n_edits, 1);
	assert_string_equal(back.list.edits[0].element, "192.0.2.7");
	weir_overlay_store_clear(&s);
	weir_overlay_store_clear(&back);
}

static void expiry_takes_what_ended(void **state)
{
	struct weir_overlay_store s = { .next_id = 1 };

	assert_int_equal(weir_overlay_next_expiry(&s), 0);
	add(&s, 0, 0);
	add(&s, 200, 0);
	add(&s, 100, 0);
	assert_int_equal(weir_overlay_next_expiry(&s), 100);
	assert_int_equal(weir_overlay_expire(&s, 99), 0);
	assert_int_equal(weir_overlay_expire(&s, 100), 1);
	assert_null(weir_overlay_find(&s, 3));
	assert_int_equal(weir_overlay_expire(&s, 1000), 1);
	assert_non_null(weir_overlay_find(&s, 1));
	assert_int_equal(weir_overlay_next_expiry(&s), 0);
	weir_overlay_store_clear(&s);
}

static void an_edit_takes_the_place_of_its_opposite(void **state)
{
	struct weir_overlay_store s = { .next_id = 1 };

	assert_int_equal(edit(&s, "a", "192.0.2.1", false), 0);
	assert_int_equal(edit(&s, "b", "192.0.2.1", false), 0);
	assert_int_equal(edit(&s, "a", "192.0.2.1", true), 0);
	assert_int_equal(s.list.n_edits, 2);
	assert_true(s.list.edits[1].remove);
	assert_string_equal(s.list.edits[1].set, "a");
	weir_overlay_store_clear(&s);
}

/* Many among as many as may be: each list is gone through once, not once for each of them. */
static void many_edits_at_once(void **state)
{
	enum { N = WEIR_OVERLAY_EDITS_MAX, SOME = N / 4 };
	struct weir_overlay_store s = { .next_id = 1 };
	char(*text)[16] = calloc(N, sizeof *text);
	const char **v = calloc(N, sizeof *v);
	enum weir_edited *what = calloc(N, sizeof *what);
	clock_t began = clock();

	assert_true(text && v && what);
	for (uint32_t i = 0; i < N; i++) {
		snprintf(text[i], sizeof text[i], "10.0.%u.%u", i >> 8, i & 255);
		v[i] = text[i];
	}
	assert_int_equal(weir_overlay_edit(&s, "a", v, N, false), 0);
	assert_int_equal(edit(&s, "b", "10.0.0.1", false), -ENOSPC);
	assert_int_equal(weir_overlay_edit(&s, "a", v, SOME, true), 0); /* to the end */
	assert_int_equal(s.list.n_edits, N);
	assert_string_equal(s.list.edits[N - 1].element, v[SOME - 1]);
	assert_int_equal(weir_overlay_look(&s, "b", v, N, what), 0);
	assert_int_equal(what[0], WEIR_EDITED_NOT);
	assert_int_equal(weir_overlay_look(&s, "a", v, N, what), 0);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(what[i], i < SOME ? WEIR_EDITED_OUT : WEIR_EDITED_IN);
	assert_int_equal(weir_overlay_forget(&s, "b", v, N), 0);
	assert_int_equal(s.list.n_edits, N);
	assert_int_equal(weir_overlay_forget(&s, "a", v, SOME), 0);
	assert_int_equal(s.list.n_edits, N - SOME);
	assert_string_equal(s.list.edits[0].element, v[SOME]);
	assert_int_equal(weir_overlay_forget(&s, "a", NULL, 0), 0);
	assert_true((clock() - began) / CLOCKS_PER_SEC < 3); /* 0.1 */
	weir_overlay_store_clear(&s);
	free(text);
	free(v);
	free(what);
}

static void a_copy_is_its_own(void **state)
{
	struct weir_overlay_store s = { .next_id = 1 }, c;

	add(&s, 0, 0);
	assert_int_equal(weir_overlay_store_copy(&s, &c), 0);
	assert_int_equal(weir_overlay_delete(&c, 1), 0);
	assert_non_null(weir_overlay_find(&s, 1));
	weir_overlay_store_clear(&s);
	weir_overlay_store_clear(&c);
}

static void it_is_bounded(void **state)
{
	struct weir_overlay_store s = { .next_id = 1 };
	uint32_t id;

	for (int i = 0; i < WEIR_OVERLAY_RULES_MAX; i++)
		add(&s, 0, 0);
	assert_int_equal(weir_overlay_add(&s, RULE, NULL, 0, 0, &id), -ENOSPC);
	weir_overlay_store_clear(&s);
}

/* A file of before elements were written in one way. */
static void elements_of_an_older_file(void **state)
{
	static const char text[] = "{\"version\":1,\"next_id\":1,\"changes\":0,\"rules\":[],\"sets\":["
				   "{\"set\":\"a\",\"element\":\"2001:DB8::1\",\"remove\":false},"
				   "{\"set\":\"a\",\"element\":\"192.0.2.7/32\",\"remove\":false},"
				   "{\"set\":\"a\",\"element\":\"192.0.2.7\",\"remove\":true}]}";
	struct weir_overlay_store s;
	enum weir_edited what;
	char note[300];

	assert_int_equal(weir_state_replace(*state, "overlay.json", text, strlen(text)), 0);
	assert_int_equal(weir_overlay_load(*state, &s, note, sizeof note), 0);
	assert_string_equal(s.list.edits[0].element, "2001:db8::1");
	assert_int_equal(weir_overlay_look(&s, "a", (const char *[]){ "192.0.2.7" }, 1, &what), 0);
	assert_int_equal(what, WEIR_EDITED_OUT); /* the later one */
	assert_int_equal(edit(&s, "a", "192.0.2.7", false), 0);
	assert_int_equal(s.list.n_edits, 2);
	weir_overlay_store_clear(&s);
}

static void a_strange_file_is_set_aside(void **state)
{
	static const char *const bad[] = {
		"{}",
		"{\"version\":2,\"next_id\":1,\"rules\":[],\"sets\":[]}",
		"{\"version\":1,\"next_id\":0,\"rules\":[],\"sets\":[]}",
		"{\"version\":1,\"next_id\":2,\"rules\":[{\"id\":2,\"rule\":{}}],\"sets\":[]}",
		"{\"version\":1,\"next_id\":9,\"rules\":[{\"id\":2,\"rule\":{}},{\"id\":2,\"rule\":{}}],\"sets\":[]}",
		"{\"version\":1,\"next_id\":9,\"rules\":[{\"id\":2,\"rule\":7}],\"sets\":[]}",
		"{\"version\":1,\"next_id\":9,\"rules\":[],\"sets\":[{\"set\":1}]}",
	};
	struct weir_overlay_store s;
	char note[300];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(weir_state_replace(*state, "overlay.json", bad[i], strlen(bad[i])), 0);
		assert_int_equal(weir_overlay_load(*state, &s, note, sizeof note), 0);
		assert_non_null(strstr(note, "damaged"));
		assert_int_equal(s.list.n_rules, 0);
		assert_int_equal(s.next_id, 1);
		weir_overlay_store_clear(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_ones_stand_last_unless_told),
		cmocka_unit_test_setup_teardown(ids_are_never_reused, test_dir_make, test_dir_remove),
		cmocka_unit_test_setup_teardown(order_edits_and_reasons_survive, test_dir_make, test_dir_remove),
		cmocka_unit_test(expiry_takes_what_ended),
		cmocka_unit_test(an_edit_takes_the_place_of_its_opposite),
		cmocka_unit_test(many_edits_at_once),
		cmocka_unit_test(a_copy_is_its_own),
		cmocka_unit_test(it_is_bounded),
		cmocka_unit_test_setup_teardown(elements_of_an_older_file, test_dir_make, test_dir_remove),
		cmocka_unit_test_setup_teardown(a_strange_file_is_set_aside, test_dir_make, test_dir_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
