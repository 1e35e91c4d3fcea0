/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/state/file.h"
#include "lib/util/dir.h"
#include "lib/state/origin.h"
#include "lib/state/test_dir.h"

static void replaces_whole_and_private(void **state)
{
	struct stat st;
	char path[300];
	char *text;
	size_t len;

	assert_int_equal(weir_state_replace(*state, "x", "one", 3), 0);
	assert_int_equal(weir_state_replace(*state, "x", "second", 6), 0);
	assert_int_equal(weir_state_read(*state, "x", 100, &text, &len), 0);
	assert_int_equal(len, 6);
	assert_string_equal(text, "second");
	free(text);
	snprintf(path, sizeof path, "%s/x", (char *)*state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	snprintf(path, sizeof path, "%s/.x.new", (char *)*state);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_link_is_replaced_not_followed(void **state)
{
	char victim[300], link[300], *text;
	size_t len;

	snprintf(victim, sizeof victim, "%s/victim", (char *)*state);
	snprintf(link, sizeof link, "%s/x", (char *)*state);
	test_file(victim, "keep me");
	assert_int_equal(symlink(victim, link), 0);
	assert_int_equal(weir_state_read(*state, "x", 100, &text, &len), -ELOOP);
	assert_int_equal(weir_state_replace(*state, "x", "new", 3), 0);
	assert_int_equal(weir_state_read(*state, "victim", 100, &text, &len), 0);
	assert_string_equal(text, "keep me");
	free(text);
}

static void big_and_special_files_are_refused(void **state)
{
	char path[300], *text;
	size_t len;

	assert_int_equal(weir_state_replace(*state, "x", "12345", 5), 0);
	assert_int_equal(weir_state_read(*state, "x", 4, &text, &len), -EFBIG);
	snprintf(path, sizeof path, "%s/fifo", (char *)*state);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(weir_state_read(*state, "fifo", 100, &text, &len), -ENODEV); /* and does not wait */
}

static void directories_of_strangers_are_refused(void **state)
{
	char path[300], link[300], why[256];

	snprintf(path, sizeof path, "%s/a/b/run", (char *)*state);
	assert_int_equal(weir_dir_prepare(path, why, sizeof why), 0);
	assert_int_equal(weir_dir_prepare(path, why, sizeof why), 0);
	snprintf(link, sizeof link, "%s/link", (char *)*state);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(weir_dir_prepare(link, why, sizeof why), -ELOOP);
	assert_non_null(strstr(why, "symbolic link"));
	assert_int_equal(chmod(path, 0777), 0);
	assert_int_equal(weir_dir_prepare(path, why, sizeof why), -EACCES);
	test_file(strcat(link, "2"), "");
	assert_int_equal(weir_dir_prepare(link, why, sizeof why), -ENOTDIR);
}

static void damaged_json_is_set_aside(void **state)
{
	static const char *const bad[] = { "", "{", "[1]", "{\"a\":1,\"a\":2}", "\xff\xfe", "{\"a\": 1} x" };
	char note[300] = "", path[300];
	json_t *j;

	assert_int_equal(weir_json_load(*state, "none", &j, note, sizeof note), -ENOENT);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(weir_state_replace(*state, "x", bad[i], strlen(bad[i])), 0);
		assert_int_equal(weir_json_load(*state, "x", &j, note, sizeof note), -EBADMSG);
		assert_non_null(strstr(note, "set aside as"));
		snprintf(path, sizeof path, "%s/x", (char *)*state);
		assert_int_equal(access(path, F_OK), -1);
	}
}

static void what_could_not_be_read_again_is_not_written(void **state)
{
	size_t n = WEIR_STATE_FILE_MAX;
	char *big = malloc(n + 1), *text;
	json_t *j;
	size_t len;

	memset(big, 'a', n);
	big[n] = 0;
	j = json_pack("{s:s}", "why", big);
	assert_int_equal(weir_state_replace(*state, "x", "kept", 4), 0);
	assert_int_equal(weir_json_save(*state, "x", j), -EFBIG);
	assert_int_equal(weir_state_read(*state, "x", 100, &text, &len), 0);
	assert_string_equal(text, "kept");
	free(text);
	free(big);
	json_decref(j);
}

static void origin_comes_back(void **state)
{
	struct weir_origin o = { .boot = WEIR_SOURCE_SAVED, .path = "/tmp/p.yaml", .generation = 7, .digest = { 1, 2, 255 },
				 .has_mode = true, .mode = WEIR_PREVENT, .guard = WEIR_BOOT_GUARD_OPEN }, back;
	char note[300];

	assert_int_equal(weir_origin_load(*state, &back, note, sizeof note), 0);
	assert_int_equal(back.boot, WEIR_SOURCE_BUILTIN);
	assert_int_equal(weir_origin_save(*state, &o), 0);
	assert_int_equal(weir_origin_load(*state, &back, note, sizeof note), 0);
	assert_string_equal(note, "");
	assert_memory_equal(&o, &back, sizeof o);
}

/* What the keeper finds at boot: "" when there is no such file. */
static const char *guard_word(const char *state, char *buf, size_t size)
{
	char *text = NULL;
	size_t len;

	buf[0] = 0;
	if (!weir_state_read(state, "boot-guard", size - 1, &text, &len))
		snprintf(buf, size, "%.*s", (int)len, text);
	free(text);
	return buf;
}

static void the_keeper_is_told_of_the_guard(void **state)
{
	struct weir_origin o = { .guard = WEIR_BOOT_GUARD_CLOSED };
	char word[16];

	assert_int_equal(weir_origin_save(*state, &o), 0);
	assert_string_equal(guard_word(*state, word, sizeof word), "closed");
	o.guard = WEIR_BOOT_GUARD_OPEN;
	assert_int_equal(weir_origin_save(*state, &o), 0);
	assert_string_equal(guard_word(*state, word, sizeof word), "open");
	o.has_mode = true; /* a ceiling of detect: nothing may be blocked */
	assert_int_equal(weir_origin_save(*state, &o), 0);
	assert_string_equal(guard_word(*state, word, sizeof word), "");
	o.mode = WEIR_PREVENT;
	assert_int_equal(weir_origin_save(*state, &o), 0);
	assert_string_equal(guard_word(*state, word, sizeof word), "open");
	o.guard = WEIR_BOOT_GUARD_NONE;
	assert_int_equal(weir_origin_save(*state, &o), 0);
	assert_string_equal(guard_word(*state, word, sizeof word), "");
}

static void a_strange_origin_is_set_aside(void **state)
{
	static const char *const bad[] = {
		"{}",
		"{\"boot\":\"other\",\"generation\":1,\"digest\":\"00\"}",
		"{\"boot\":\"file\",\"generation\":-1,\"digest\":\"00\"}",
		"{\"boot\":\"file\",\"generation\":1,\"digest\":\"zz\"}",
	};
	struct weir_origin back;
	char note[300];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(weir_state_replace(*state, "origin.json", bad[i], strlen(bad[i])), 0);
		assert_int_equal(weir_origin_load(*state, &back, note, sizeof note), 0);
		assert_int_equal(back.generation, 0);
		assert_non_null(strstr(note, "damaged"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(replaces_whole_and_private, test_dir_make, test_dir_remove),
		cmocka_unit_test_setup_teardown(a_link_is_replaced_not_followed, test_dir_make, test_dir_remove),
		cmocka_unit_test_setup_teardown(big_and_special_files_are_refused, test_dir_make, test_dir_remove),
		cmocka_unit_test_setup_teardown(directories_of_strangers_are_refused, test_dir_make, test_dir_remove),
		cmocka_unit_test_setup_teardown(damaged_json_is_set_aside, test_dir_make, test_dir_remove),
		cmocka_unit_test_setup_teardown(what_could_not_be_read_again_is_not_written, test_dir_make, test_dir_remove),
		cmocka_unit_test_setup_teardown(origin_comes_back, test_dir_make, test_dir_remove),
		cmocka_unit_test_setup_teardown(the_keeper_is_told_of_the_guard, test_dir_make, test_dir_remove),
		cmocka_unit_test_setup_teardown(a_strange_origin_is_set_aside, test_dir_make, test_dir_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
