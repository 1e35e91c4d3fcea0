/* SPDX-License-Identifier: Apache-2.0 */
/* lib/event/audit.h: one record one line, 0600, refuses what is no file of ours, follows rotation. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/event/audit.h"

static char dir[] = "/tmp/weir-test-audit-XXXXXX";
static char path[64], old[64];

static int setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/audit.log", dir);
	snprintf(old, sizeof old, "%s/audit.log.1", dir);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	unlink(old);
	return rmdir(dir);
}

static size_t slurp(const char *file, char *buf, size_t size)
{
	FILE *f = fopen(file, "r");
	size_t n;

	assert_non_null(f);
	n = fread(buf, 1, size - 1, f);
	buf[n] = 0;
	fclose(f);
	return n;
}

static void test_record(void **state)
{
	struct weir_audit *a = NULL;
	char text[1024];
	struct stat st;

	umask(0);
	assert_int_equal(weir_audit_open(dir, &a), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(weir_audit_write(a, "root (uid 0, pid 812)", "apply", "evil\n2026-01-01T00:00:00.000Z  root", "ok"), 0);
	assert_int_equal(weir_audit_write(a, "root", "flush", NULL, "failed: \033[2J"), 0);
	slurp(path, text, sizeof text);
	assert_non_null(strstr(text, "Z  root (uid 0, pid 812)  apply  evil\\x0a2026-01-01T00:00:00.000Z  root  ok\n"));
	assert_non_null(strstr(text, "Z  root  flush  -  failed: \\x1b[2J\n"));
	weir_audit_free(a);
}

static void test_rotation(void **state)
{
	struct weir_audit *a = NULL;
	char text[1024];

	assert_int_equal(weir_audit_open(dir, &a), 0);
	assert_int_equal(rename(path, old), 0);
	assert_int_equal(weir_audit_write(a, "x", "after", "", "ok"), 0);
	slurp(path, text, sizeof text);
	assert_non_null(strstr(text, "  x  after  -  ok\n"));
	slurp(old, text, sizeof text);
	assert_null(strstr(text, "after"));
	weir_audit_free(a);
}

static void test_a_record_cut_short_in_an_earlier_life(void **state)
{
	struct weir_audit *a = NULL;
	char text[1024];
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs("2026-01-01T00:00:00.000Z  root  rule add  id 4", f);
	fclose(f);
	assert_int_equal(weir_audit_open(dir, &a), 0);
	assert_int_equal(weir_audit_write(a, "x", "next", "", "ok"), 0);
	slurp(path, text, sizeof text);
	assert_non_null(strstr(text, "  id 4\n2"));
	assert_null(strstr(text, "\n\n"));
	weir_audit_free(a);
}

static void test_refuse(void **state)
{
	struct weir_audit *a = NULL;

	unlink(path);
	assert_int_equal(weir_audit_open("/nonexistent/dir", &a), -ENOENT);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(weir_audit_open(dir, &a), -ELOOP);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(weir_audit_open(dir, &a), -EINVAL);
	unlink(path);
	/* a hard link: what is appended would land in another file */
	assert_true(close(open(old, O_CREAT | O_WRONLY, 0600)) == 0);
	assert_int_equal(link(old, path), 0);
	assert_int_equal(weir_audit_open(dir, &a), -EINVAL);
	unlink(path);
	assert_null(a);
	/* the failure comes back to whoever writes */
	assert_int_equal(weir_audit_open(dir, &a), 0);
	unlink(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(weir_audit_write(a, "x", "y", "z", "ok"), -ELOOP);
	weir_audit_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_a_record_cut_short_in_an_earlier_life),
		cmocka_unit_test(test_refuse),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
