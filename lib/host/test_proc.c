/* SPDX-License-Identifier: Apache-2.0 */
/* lib/host/proc.h: the words for a process. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/host/host.h"
#include "lib/host/proc.h"

#define CMD(s) s, sizeof(s)

static void expect_program(const char *comm, const char *exe, const char *cmd, size_t len, const char *want)
{
	char buf[64];

	weir_proc_program_of(comm, exe, cmd, len, buf, sizeof buf);
	assert_string_equal(buf, want);
}

static void test_program(void **state)
{
	expect_program("sshd", "/usr/sbin/sshd", CMD("sshd: root@pts/0"), "sshd");
	expect_program("python3", "", CMD("/usr/bin/python3\0-u\0/opt/x.py\0--port"), "python3 x.py");
	expect_program("x.py", "", CMD("/usr/bin/python3.11\0./x.py"), "python3.11 x.py");
	expect_program("python3", "", CMD("python3\0-m\0http.server"), "python3 -m http.server");
	expect_program("python3", "", CMD("python3\0-c\0import os; evil"), "python3 -c");
	expect_program("java", "", CMD("java\0-Xmx1g\0-jar\0/srv/app.jar"), "java -jar app.jar");
	expect_program("bash", "", CMD("-bash"), "bash");
	expect_program("MainThread", "/usr/bin/node", CMD("node\0/srv/agent.js"), "node agent.js");
	expect_program("systemd-resolve", "/usr/lib/systemd/systemd-resolved", CMD("/lib/systemd/systemd-resolved"),
		       "systemd-resolved");
	expect_program("systemd-resolve", "/usr/lib/systemd/systemd-resolved (deleted)", "", 0, "systemd-resolved");
	expect_program("systemd-resolve", "/tmp/other", "", 0, "systemd-resolve");
	expect_program("pythonista", "", CMD("pythonista\0x"), "pythonista");
	expect_program("kworker/0:1", "", "", 0, "kworker/0:1");
	expect_program("python3", "", "python3", 7, "python3"); /* arguments cut off right there */
}

static void expect_unit(const char *cgroup, const char *want)
{
	char buf[64];

	weir_proc_unit_of(cgroup, buf, sizeof buf);
	assert_string_equal(buf, want);
}

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_unit(void **state)
{
	expect_unit("0::/system.slice/nginx.service\n", "nginx.service");
	expect_unit("0::/\n", "");
	expect_unit("0::/user.slice/user-0.slice/session-3.scope\n", "");
	expect_unit("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", "");
	expect_unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service\n", "foo.service");
	expect_unit("0::/system.slice/docker-" HEX64 ".scope\n", "container 0123456789ab");
	expect_unit("12:memory:/docker/" HEX64 "\n1:name=systemd:/docker/" HEX64 "\n", "container 0123456789ab");
	expect_unit("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" HEX64 ".scope/x\n", "container 0123456789ab");
	expect_unit("0::/\n1:name=systemd:/system.slice/cron.service\n", "cron.service");
	expect_unit("0::/system.slice/a\\x2db.service", "a\\x2db.service");
	expect_unit("", "");
	expect_unit(":\n::\n0:/\n", "");
	expect_unit("0::/" HEX64 HEX64, "container 0123456789ab");
}

static void test_self(void **state)
{
	uint32_t *pids = NULL;
	size_t n = 0, i;
	char buf[64];

	assert_int_equal(weir_proc_pids(&pids, &n), 0);
	for (i = 0; i < n && pids[i] != (uint32_t)getpid(); i++)
		;
	assert_true(i < n);
	weir_proc_program((uint32_t)getpid(), buf, sizeof buf);
	assert_string_equal(buf, "test_proc");
	weir_host_user(0, buf, sizeof buf);
	assert_string_equal(buf, "root");
	weir_host_user(4000000000u, buf, sizeof buf);
	assert_string_equal(buf, "uid 4000000000");
	free(pids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_program),
		cmocka_unit_test(test_unit),
		cmocka_unit_test(test_self),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
