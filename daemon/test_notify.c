/* SPDX-License-Identifier: Apache-2.0 */
/* What the service manager reads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/notify.h"

static int manager(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), n;
	char name[64];

	assert_true(fd >= 0);
	n = snprintf(name, sizeof name, "@weir-test-notify-%d", (int)getpid());
	memcpy(a.sun_path + 1, name + 1, (size_t)n - 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static const char *said(int fd)
{
	static char buf[128];
	ssize_t n = recv(fd, buf, sizeof buf - 1, 0);

	buf[n > 0 ? n : 0] = 0;
	return buf;
}

static void test_state(void **state)
{
	int fd = manager();

	(void)state;
	weir_notify("READY=1");
	assert_string_equal(said(fd), "READY=1");
	close(fd);
}

/* The patience of the unit is back behind a long call; without a watchdog nothing is said. */
static void test_busy(void **state)
{
	int fd = manager();

	(void)state;
	unsetenv("WATCHDOG_USEC");
	weir_notify_busy(true);
	assert_string_equal(said(fd), "");
	setenv("WATCHDOG_USEC", "10000000", 1);
	weir_notify_busy(true);
	assert_string_equal(said(fd), "WATCHDOG=1\nWATCHDOG_USEC=60000000");
	weir_notify_busy(false);
	assert_string_equal(said(fd), "WATCHDOG=1\nWATCHDOG_USEC=10000000");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_state), cmocka_unit_test(test_busy) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
