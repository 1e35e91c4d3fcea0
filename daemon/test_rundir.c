/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/rundir.h"

static char top[] = "/tmp/weir-test-rundir-XXXXXX";
static char dir[64];
static char why[512];

static int setup(void **state)
{
	if (!mkdtemp(top))
		return -1;
	snprintf(dir, sizeof dir, "%s/run", top);
	return 0;
}

static int teardown(void **state)
{
	return rmdir(top); /* fails when weir left something behind */
}

static void test_one_holds_it(void **state)
{
	int fd, other;

	assert_int_equal(weir_rundir_owner(dir), 0);
	fd = weir_rundir_open(dir, why, sizeof why);
	assert_true(fd >= 0);
	assert_int_equal(weir_rundir_owner(dir), getpid());
	other = weir_rundir_open(dir, why, sizeof why);
	assert_int_equal(other, -EBUSY);
	assert_non_null(strstr(why, "already running"));
	close(fd);
	assert_int_equal(weir_rundir_owner(dir), 0); /* died without a word: the file is there, nobody holds it */
	fd = weir_rundir_open(dir, why, sizeof why);
	assert_true(fd >= 0);
	assert_int_equal(weir_rundir_clear(dir), 2); /* the lock and the directory that weir made */
	close(fd);
	assert_int_equal(access(dir, F_OK), -1);
}

/* `weir status` every moment must not keep `weir run` from starting. */
static void test_who_looks_is_not_in_the_way(void **state)
{
	int fd = weir_rundir_open(dir, why, sizeof why), refused = 0;
	pid_t child;

	assert_true(fd >= 0);
	close(fd);
	child = fork();
	if (!child) {
		for (;;)
			weir_rundir_owner(dir);
	}
	assert_true(child > 0);
	for (int i = 0; i < 20000; i++) {
		fd = weir_rundir_open(dir, why, sizeof why);
		refused += fd < 0;
		if (fd >= 0)
			close(fd);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	assert_int_equal(refused, 0);
	weir_rundir_clear(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_holds_it),
		cmocka_unit_test(test_who_looks_is_not_in_the_way),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
