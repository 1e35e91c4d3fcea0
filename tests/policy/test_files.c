/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole files: each of bad/ is refused at the place and with the words that its first line expects, each of
 * good/ is accepted, and what can be a trap for a reader of files is refused fast.
 * Usage: test_files SOURCE_ROOT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/image_blob.h"
#include "lib/policy/policy.h"
#include "lib/util/cleanup.h"
#include "lib/util/file.h"

static const char *root;

struct outcome {
	int err;
	struct weir_diags diags;
	struct weir_policy *policy;
	void *blob;
	struct weir_img img;
};

static void compile(struct outcome *o)
{
	struct weir_compile_options options = { .mode_ceiling = WEIR_PREVENT };
	uint32_t size;

	if (!o->err)
		o->err = weir_policy_compile(o->policy, &options, &o->blob, &size, &o->diags);
	if (!o->err)
		assert_int_equal(weir_image_open(&o->img, o->blob, size), 0);
}

static void check_path(const char *path, struct outcome *o)
{
	*o = (struct outcome){ 0 };
	o->err = weir_policy_read(path, &o->policy, &o->diags);
	compile(o);
}

static void check_text(const char *text, size_t len, struct outcome *o)
{
	*o = (struct outcome){ 0 };
	o->err = weir_policy_read_text("text.yaml", NULL, text, len, &o->policy, &o->diags);
	compile(o);
}

static void done(struct outcome *o)
{
	/* refused and said why, or accepted without an error: nothing in between */
	assert_int_equal(o->err != 0, o->diags.errors != 0);
	assert_int_equal(o->err != 0, o->blob == NULL);
	weir_policy_free(o->policy);
	weir_diags_free(&o->diags);
	free(o->blob);
}

static void files(const char *pattern, glob_t *g)
{
	_cleanup_free_ char *full = NULL;

	assert_true(asprintf(&full, "%s/%s", root, pattern) > 0);
	assert_int_equal(glob(full, 0, NULL, g), 0);
}

/* "# expect [FILE:]LINE:COL MESSAGE[; HINT]" against the first error. */
static bool as_expected(const char *path, const struct outcome *o)
{
	_cleanup_free_ char *text = NULL;
	const struct weir_diag *d = NULL;
	char got[1024], folder[512], *want, *end;
	const char *file;
	size_t len;

	assert_int_equal(weir_file_read(path, 1 << 20, &text, &len), 0);
	assert_int_equal(strncmp(text, "# expect ", 9), 0);
	want = text + 9;
	end = strchr(want, '\n');
	assert_non_null(end);
	*end = 0;
	for (size_t i = 0; i < o->diags.n && !d; i++)
		if (o->diags.v[i].severity == WEIR_ERROR)
			d = &o->diags.v[i];
	if (!o->err || !d) {
		print_error("%s: accepted\n", path);
		return false;
	}
	file = d->file ? strstr(d->file, "/lists/") : NULL;
	snprintf(got, sizeof got, "%s%s%u:%u %s%s%s", file ? file + 1 : "", file ? ":" : "", d->line, d->col,
		 d->message, d->hint ? "; " : "", d->hint ? d->hint : "");
	snprintf(folder, sizeof folder, "%s/tests/policy/bad/", root);
	for (char *p; (p = strstr(got, folder));) /* messages name files as the user did */
		memmove(p, p + strlen(folder), strlen(p + strlen(folder)) + 1);
	if (!strcmp(got, want) && (d->source || file))
		return true;
	print_error("%s:\n  expected %s\n  got      %s\n", path, want, got);
	return false;
}

static void test_bad_files_are_refused_with_their_place(void **state)
{
	size_t wrong = 0;
	glob_t g;

	files("tests/policy/bad/*.yaml", &g);
	assert_true(g.gl_pathc >= 130);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct outcome o;

		check_path(g.gl_pathv[i], &o);
		wrong += !as_expected(g.gl_pathv[i], &o);
		done(&o);
	}
	globfree(&g);
	assert_int_equal(wrong, 0);
}

static void accept_all(const char *pattern, bool lint)
{
	struct weir_compile_options options = { .mode_ceiling = WEIR_PREVENT };
	glob_t g;

	files(pattern, &g);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct outcome o;

		check_path(g.gl_pathv[i], &o);
		if (!o.err && lint && weir_policy_lint(o.policy, &options, &o.diags))
			o.err = -EEXIST;
		if (o.err || o.diags.n) {
			weir_diags_format(stderr, &o.diags, false);
			fail_msg("%s is not accepted", g.gl_pathv[i]);
		}
		done(&o);
	}
	globfree(&g);
}

static void test_good_files_are_accepted(void **state)
{
	accept_all("tests/policy/good/*.yaml", false);
}

static void test_profiles_and_examples_pass_check_and_lint(void **state)
{
	accept_all("lib/policy/profiles/*.yaml", true);
	accept_all("examples/*.yaml", true);
}

/* `show effective` speaks the language: what it prints is accepted, and means as many rules. */
static void test_the_policy_shown_is_a_policy(void **state)
{
	static const char *const patterns[] = { "tests/policy/good/*.yaml", "lib/policy/profiles/*.yaml",
						"examples/*.yaml" };

	for (size_t k = 0; k < 3; k++) {
		glob_t g;

		files(patterns[k], &g);
		for (size_t i = 0; i < g.gl_pathc; i++) {
			_cleanup_free_ char *text = NULL;
			struct outcome o, again;
			size_t size;
			FILE *f = open_memstream(&text, &size);

			check_path(g.gl_pathv[i], &o);
			assert_int_equal(o.err, 0);
			weir_policy_show_effective(f, &o.img);
			fclose(f);
			check_text(text, size, &again);
			if (again.err) {
				weir_diags_format(stderr, &again.diags, false);
				fail_msg("shown of %s:\n%s", g.gl_pathv[i], text);
			}
			assert_memory_equal(&again.img.cfg->failures, &o.img.cfg->failures, sizeof o.img.cfg->failures);
			assert_int_equal(again.img.cfg->n_rules, o.img.cfg->n_rules);
			assert_int_equal(again.img.cfg->n_addr_rows, o.img.cfg->n_addr_rows);
			assert_int_equal(again.img.cfg->n_port_rows, o.img.cfg->n_port_rows);
			done(&o);
			done(&again);
		}
		globfree(&g);
	}
}

static void test_every_prefix_of_a_profile_is_refused(void **state)
{
	for (size_t p = 0; weir_policy_profiles[p]; p++) {
		_cleanup_free_ char *text = NULL;
		struct outcome o;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		assert_int_equal(weir_policy_profile(f, weir_policy_profiles[p]), 0);
		fclose(f);
		check_text(text, size, &o);
		assert_int_equal(o.err, 0);
		done(&o);
		for (size_t n = 0; n < size; n++) {
			check_text(text, n, &o);
			if (!o.err)
				fail_msg("%zu of %zu bytes of %s are accepted", n, size, weir_policy_profiles[p]);
			done(&o);
		}
	}
}

static void test_the_built_in_policy_is_one(void **state)
{
	struct outcome o;

	check_text(weir_policy_builtin, strlen(weir_policy_builtin), &o);
	assert_int_equal(o.err, 0);
	assert_int_equal(o.img.cfg->mode, WEIR_DETECT);
	done(&o);
}

static void refuse_fast(const char *path)
{
	struct timespec a, b;
	struct outcome o;

	clock_gettime(CLOCK_MONOTONIC, &a);
	check_path(path, &o);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_int_not_equal(o.err, 0);
	/* generous: what is meant is "does not wait and does not read it all" */
	assert_true((b.tv_sec - a.tv_sec) < 5);
	done(&o);
}

static void test_files_that_are_no_files_are_refused(void **state)
{
	char dir[] = "/tmp/weir-files-XXXXXX", path[64], link[64];
	struct outcome o;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	refuse_fast(dir);
	refuse_fast("/dev/zero");
	refuse_fast("/dev/null");
	refuse_fast("/nonexistent/policy.yaml");
	snprintf(path, sizeof path, "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	refuse_fast(path);
	unlink(path);
	snprintf(path, sizeof path, "%s/sparse", dir);
	f = fopen(path, "w");
	assert_int_equal(ftruncate(fileno(f), 1 << 30), 0);
	fclose(f);
	refuse_fast(path);
	f = fopen(path, "w");
	fputs("version: 1\n", f);
	fclose(f);
	snprintf(link, sizeof link, "%s/link", dir);
	assert_int_equal(symlink(path, link), 0);
	check_path(link, &o); /* a symbolic link to a file is a file */
	assert_int_equal(o.err, 0);
	done(&o);
	unlink(link);
	unlink(path);
	rmdir(dir);
}

static void refuse_repeated(const char *head, const char *part, size_t times)
{
	_cleanup_free_ char *text = NULL;
	struct outcome o;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	fputs(head, f);
	for (size_t i = 0; i < times; i++)
		fputs(part, f);
	fclose(f);
	check_text(text, size, &o);
	assert_int_not_equal(o.err, 0);
	done(&o);
}

static void test_deep_and_endless_text_is_refused(void **state)
{
	struct outcome o;

	check_text("version: 1\n\0", 12, &o); /* what stands behind a NUL is not overlooked */
	assert_int_not_equal(o.err, 0);
	done(&o);
	refuse_repeated("version: 1\nrules: ", "[", 10000);
	refuse_repeated("version: 1\nrules: ", "{a: ", 10000);
	refuse_repeated("version: 1\nrules: ", "- ", 10000);
	refuse_repeated("version: 1\nrules:\n  ", "? ", 10000);
	refuse_repeated("version: 1\nrules: ", "[", 1 << 20);
	refuse_repeated("version: 1\nx", "x", 1 << 20);
	refuse_repeated("version: 1\nrules: [", "a,", 1 << 20);
	refuse_repeated("version: 1\n", "a: b\n", 1 << 18);
	refuse_repeated("version: 1\nrules:\n", "  - {action: drop}\n", 1025);
	refuse_repeated("", "\xff", 1);
	refuse_repeated("%\xff", "", 0);
	refuse_repeated("\xef\xbb\xbfversion: 1", "", 0);
}

static void compare(const char *name, void (*print)(FILE *))
{
	_cleanup_free_ char *made = NULL, *kept = NULL, *path = NULL;
	size_t size, len;
	FILE *f = open_memstream(&made, &size);

	print(f);
	fclose(f);
	assert_true(asprintf(&path, "%s/docs/%s", root, name) > 0);
	assert_int_equal(weir_file_read(path, 1 << 20, &kept, &len), 0);
	if (size != len || memcmp(made, kept, len))
		fail_msg("docs/%s is not what the table says: make it again with `weir schema`", name);
}

static void test_the_published_pages_are_what_the_table_says(void **state)
{
	compare("policy.schema.json", weir_policy_schema);
	compare("policy.md", weir_policy_reference);
}

/* Each fenced policy of the page passes check and lint. */
static void test_examples_of_the_pages_pass_check_and_lint(void **state)
{
	struct weir_compile_options options = { .mode_ceiling = WEIR_PREVENT };
	size_t found = 0;
	glob_t g;

	files("docs/*.md", &g);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		_cleanup_free_ char *text = NULL;
		size_t len;

		assert_int_equal(weir_file_read(g.gl_pathv[i], 4 << 20, &text, &len), 0);
		for (char *p = text, *end; (p = strstr(p, "```yaml\nversion: ")); p = end) {
			struct outcome o;

			p += strlen("```yaml\n");
			end = strstr(p, "```");
			assert_non_null(end);
			check_text(p, (size_t)(end - p), &o);
			if (o.err || weir_policy_lint(o.policy, &options, &o.diags)) {
				weir_diags_format(stderr, &o.diags, false);
				fail_msg("an example of %s", g.gl_pathv[i]);
			}
			done(&o);
			found++;
		}
	}
	globfree(&g);
	assert_true(found >= 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_files_are_refused_with_their_place),
		cmocka_unit_test(test_good_files_are_accepted),
		cmocka_unit_test(test_profiles_and_examples_pass_check_and_lint),
		cmocka_unit_test(test_the_policy_shown_is_a_policy),
		cmocka_unit_test(test_every_prefix_of_a_profile_is_refused),
		cmocka_unit_test(test_the_built_in_policy_is_one),
		cmocka_unit_test(test_files_that_are_no_files_are_refused),
		cmocka_unit_test(test_deep_and_endless_text_is_refused),
		cmocka_unit_test(test_the_published_pages_are_what_the_table_says),
		cmocka_unit_test(test_examples_of_the_pages_pass_check_and_lint),
	};

	root = argc > 1 ? argv[1] : ".";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
