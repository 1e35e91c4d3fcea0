/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process can still do behind the sandbox, tried by a child that is put into it. The children leave by
 * _exit: what a sanitizer does at the end is among what is forbidden.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/sandbox/sandbox.h"

static int dir_make(void **state)
{
	char path[] = "/tmp/weir-test-XXXXXX";

	*state = mkdtemp(path) ? strdup(path) : NULL;
	return *state ? 0 : -1;
}

static int one_remove(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path);
}

static int dir_remove(void **state)
{
	nftw(*state, one_remove, 16, FTW_DEPTH | FTW_PHYS);
	free(*state);
	return 0;
}

static const char *dir; /* the one that the worker may write in */

/* A child does it; its answer: 0, the line that failed, or minus the signal that ended it. */
static int in_child(int (*what)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(what());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#define CHECK(x)                                                      \
	do {                                                          \
		if (!(x)) {                                           \
			dprintf(2, "not: %s\n", #x);                  \
			return __LINE__ & 0x7f ? __LINE__ & 0x7f : 1; \
		}                                                     \
	} while (0)

static int worker_enter(struct weir_sandbox *s)
{
	struct weir_user u = weir_user_find(WEIR_WORKER_USER, WEIR_WORKER_UID);
	struct weir_sandbox_dir d[] = { { dir, true } };

	return weir_sandbox_give(dir, &u) || weir_sandbox_worker(d, 1, s);
}

static int file_make(const char *name)
{
	char path[300];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return unlink(path) < 0 ? -errno : 0;
}

static int worker_is_small(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	pid_t parent = getppid();
	struct weir_sandbox s;
	struct rlimit core;
	int fd, death, root = open("/", O_PATH | O_DIRECTORY);

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	CHECK(!worker_enter(&s));
	CHECK(s.user && s.caps && s.no_new_privs && s.seccomp);
	CHECK(getuid() && geteuid() && getgid() && getegid() && getgroups(0, NULL) == 0);
	CHECK(!weir_caps_held());
	CHECK(!getrlimit(RLIMIT_CORE, &core) && core.rlim_cur == 0 && core.rlim_max == 0);
	/* its work */
	CHECK(!file_make("state.json"));
	snprintf(a.sun_path, sizeof a.sun_path, "%s/s.sock", dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a) && !listen(fd, 1) && !unlink(a.sun_path));
	CHECK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG) >= 0);
	CHECK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE) >= 0);
	CHECK(!prctl(PR_GET_PDEATHSIG, &death) && death == SIGTERM);
	CHECK(open("/etc/passwd", O_RDONLY) >= 0 && open("/proc/sys/net/ipv4/ip_local_port_range", O_RDONLY) >= 0);
	CHECK(malloc(8 << 20));
	/* nobody else's */
	CHECK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC) < 0 && errno == EPERM);
	CHECK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER) < 0 && errno == EPERM);
	CHECK(socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM);
	CHECK(socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EPERM);
	CHECK(open("/etc/shadow", O_RDONLY) < 0);
	CHECK(openat(root, "etc/shadow", O_RDONLY) < 0);
	CHECK(open("/etc/passwd", O_WRONLY) < 0);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	CHECK(kill(parent, 0) < 0 && errno == EPERM);
	if (s.landlock) {
		CHECK(open("/etc/hostname", O_RDONLY) < 0 && errno == EACCES); /* that everybody may read */
		CHECK(open("/", O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES);
		CHECK(open("/tmp/weir-sandbox-out", O_WRONLY | O_CREAT, 0600) < 0 && errno == EACCES);
	}
	return 0;
}

static int worker_execs(void)
{
	struct weir_sandbox s;
	char *none[] = { NULL };

	CHECK(!worker_enter(&s));
	execve("/bin/true", none, none);
	return 1;
}

static int worker_traces(void)
{
	struct weir_sandbox s;

	CHECK(!worker_enter(&s));
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	return 1;
}

static int worker_forks(void)
{
	struct weir_sandbox s;

	CHECK(!worker_enter(&s));
	return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) ? 1 : 2;
}

static int worker_enters(void)
{
	struct weir_sandbox s;

	CHECK(!worker_enter(&s));
	setns(0, CLONE_NEWNET);
	return 1;
}

static int worker_loads(void)
{
	struct weir_sandbox s;

	CHECK(!worker_enter(&s));
	syscall(SYS_bpf, 0, NULL, 0);
	return 1;
}

static int helper_is_small(void)
{
	uint64_t want =
		1ull << CAP_SYS_PTRACE | 1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_SYS_ADMIN | 1ull << CAP_NET_ADMIN;
	struct weir_sandbox s;
	char link[64], fd[64], exe[64], net[64];
	pid_t pid, parent = getppid();
	int ns, status;

	snprintf(fd, sizeof fd, "/proc/%d/fd", parent);
	snprintf(exe, sizeof exe, "/proc/%d/exe", parent);
	snprintf(net, sizeof net, "/proc/%d/ns/net", parent);
	CHECK(!weir_sandbox_helper(&s));
	CHECK(s.user && s.caps && s.no_new_privs && s.seccomp);
	CHECK(weir_caps_held() == want && getuid());
	/* its work: other processes, other namespaces of the network, a child */
	CHECK(open(fd, O_RDONLY | O_DIRECTORY) >= 0 && readlink(exe, link, sizeof link) > 0);
	ns = open(net, O_RDONLY);
	CHECK(ns >= 0 && !setns(ns, CLONE_NEWNET));
	pid = fork();
	if (!pid)
		_exit(0);
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && !status);
	CHECK(open("/etc/shadow", O_RDONLY) >= 0);
	CHECK(!weir_caps_use(1ull << CAP_DAC_READ_SEARCH, false));
	CHECK(open("/etc/shadow", O_RDONLY) < 0 && errno == EACCES);
	CHECK(!weir_caps_use(1ull << CAP_DAC_READ_SEARCH, true) && open("/etc/shadow", O_RDONLY) >= 0);
	/* it changes nothing */
	CHECK(open("/etc/shadow", O_WRONLY) < 0);
	CHECK(open("/etc/weir-sandbox-out", O_WRONLY | O_CREAT, 0600) < 0);
	CHECK(unlink("/etc/passwd") < 0 && rename("/etc/passwd", "/etc/x") < 0 &&
	      mkdir("/tmp/weir-sandbox-out", 0700) < 0);
	CHECK(kill(parent, 15) < 0 && errno == EPERM);
	CHECK(socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM);
	CHECK(setns(ns, CLONE_NEWNS) < 0 && errno == EPERM);
	return 0;
}

static int helper_mounts(void)
{
	struct weir_sandbox s;

	CHECK(!weir_sandbox_helper(&s));
	syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL);
	return 1;
}

static int helper_execs(void)
{
	struct weir_sandbox s;
	char *none[] = { NULL };

	CHECK(!weir_sandbox_helper(&s));
	execve("/bin/true", none, none);
	return 1;
}

static void need_root(void)
{
	if (geteuid()) {
		print_message("not root\n");
		skip();
	}
}

static void test_worker(void **state)
{
	need_root();
	dir = *state;
	assert_int_equal(in_child(worker_is_small), 0);
	assert_int_equal(in_child(worker_execs), -SIGSYS);
	assert_int_equal(in_child(worker_traces), -SIGSYS);
	assert_int_equal(in_child(worker_forks), -SIGSYS);
	assert_int_equal(in_child(worker_enters), -SIGSYS);
	assert_int_equal(in_child(worker_loads), -SIGSYS);
}

static void test_helper(void **state)
{
	need_root();
	assert_int_equal(in_child(helper_is_small), 0);
	assert_int_equal(in_child(helper_mounts), -SIGSYS);
	assert_int_equal(in_child(helper_execs), -SIGSYS);
}

static void test_give(void **state)
{
	struct weir_user u = { 60997, 60997 }, other = { 60996, 60996 };
	char path[300], file[310], link[310];
	struct stat st;

	need_root();
	snprintf(path, sizeof path, "%s/a/b", (char *)*state);
	snprintf(file, sizeof file, "%s/x.json", path);
	snprintf(link, sizeof link, "%s/link", path);
	assert_int_equal(weir_sandbox_give(path, &u), 0);
	assert_int_equal(close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)),
			 0); /* of an earlier life that was root */
	assert_int_equal(symlink("/etc/hosts", link), 0);
	assert_int_equal(weir_sandbox_give(path, &u), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 60997);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_uid, 60997);
	assert_int_equal(lstat(link, &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(stat("/etc/hosts", &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(weir_sandbox_give(path, &other), -EPERM);
	assert_int_equal(weir_sandbox_give(link, &u), -ENOTDIR);
}

static void test_user(void **state)
{
	assert_int_equal(weir_user_find("nobody-of-this-name", 4711).uid, 4711);
	assert_int_equal(weir_user_find("root", 4711).uid, 4711); /* would be no sandbox */
	assert_int_not_equal(weir_user_find("daemon", 4711).uid, 4711);
	assert_int_equal(weir_user_find("daemo", 4711).uid, 4711);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_worker, dir_make, dir_remove),
		cmocka_unit_test(test_helper),
		cmocka_unit_test_setup_teardown(test_give, dir_make, dir_remove),
		cmocka_unit_test(test_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
