/* SPDX-License-Identifier: Apache-2.0 */
/* lib/host/session.h, and the search itself where nobody came over the network. */
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/host/host.h"
#include "lib/host/session.h"

static void test_stat(void **state)
{
	uint32_t parent = 7, tty = 7;

	assert_int_equal(weir_session_stat_parse("1234 (bash) S 1233 1234 1234 34818 1234 4194304", &parent, &tty), 0);
	assert_int_equal(parent, 1233);
	assert_int_equal(tty, 34818);
	/* a process may call itself whatever it likes */
	assert_int_equal(weir_session_stat_parse("5 (a) S 1 1 1 1) R 42 5 5 0 -1 4194560", &parent, &tty), 0);
	assert_int_equal(parent, 42);
	assert_int_equal(tty, 0);
	assert_int_equal(weir_session_stat_parse("5 (x", &parent, &tty), -EBADMSG);
	assert_int_equal(weir_session_stat_parse("5 (x) S", &parent, &tty), -EBADMSG);
	assert_int_equal(weir_session_stat_parse("", &parent, &tty), -EBADMSG);
	assert_int_equal(parent, 42);
}

static void test_tty(void **state)
{
	assert_int_equal(weir_session_tty(0), 34816);
	assert_int_equal(weir_session_tty(2), 34818);
	assert_int_equal(weir_session_tty(255), 34816 + 255);
	assert_int_equal(weir_session_tty(256), 34816 + (1 << 20)); /* the upper bits of the minor stand above */
}

static void test_names(void **state)
{
	assert_true(weir_session_is_sshd("sshd"));
	assert_true(weir_session_is_sshd("sshd-session"));
	assert_true(weir_session_is_sshd("dropbear"));
	assert_false(weir_session_is_sshd("ssh"));
	assert_true(weir_session_is_server("tmux: server"));
	assert_false(weir_session_is_server("tmux: client"));
}

static void test_nobody(void **state)
{
	struct weir_session v[WEIR_SESSIONS_MAX];

	assert_int_equal(weir_sessions_read(0, v), -ESRCH);
	assert_int_equal(weir_sessions_read(0x7ffffff0, v), -ESRCH);
	assert_true(weir_sessions_read((uint32_t)getpid(), v) >= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stat),
		cmocka_unit_test(test_tty),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
