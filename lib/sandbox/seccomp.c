/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which system calls a process may make. Three answers: allowed; EPERM, which a program survives and which is the
 * answer to what a later libc may try; and the end of the process, for what none of ours does and an intruder would.
 * Names that this libseccomp does not know are left out: then EPERM is the answer, or the program would not be built.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "lib/sandbox/internal.h"

#define NAMESPACES \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

/* One name a line would be pages. */
/* clang-format off */

/* Ours never do; who does has taken over. */
static const char *const deadly[] = {
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "bpf",
	"perf_event_open", "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fspick", "mount_setattr",
	"pivot_root", "chroot", "unshare", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load",
	"reboot", "swapon", "swapoff", "keyctl", "add_key", "request_key", "userfaultfd", "io_uring_setup",
	"io_uring_enter", "io_uring_register", "open_by_handle_at", "acct", "quotactl", "iopl", "ioperm", "modify_ldt",
	"personality", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid",
	"setfsgid", "mknod", "mknodat", "sethostname", "setdomainname", "settimeofday", "clock_settime", "adjtimex",
	"clock_adjtime", "syslog", "vhangup", "kcmp", "lookup_dcookie", "uselib", NULL
};

/* What both need to be a program at all. */
static const char *const common[] = {
	/* memory; mmap and mprotect stand below */
	"munmap", "mremap", "brk", "madvise", "memfd_create",
	/* files that are open, and looking */
	"close", "close_range", "read", "readv", "write", "writev", "pread64", "pwrite64", "lseek", "_llseek", "fstat",
	"fstat64", "newfstatat", "fstatat64", "stat", "stat64", "lstat", "lstat64", "statx", "fstatfs", "fstatfs64",
	"statfs", "statfs64", "access", "faccessat", "faccessat2", "open", "openat", "readlink", "readlinkat", "getdents64",
	"fcntl", "fcntl64", "dup", "dup2", "dup3", "ftruncate", "ftruncate64", "getcwd", "pipe2", "pipe",
	/* waiting */
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "ppoll_time64",
	"select", "pselect6", "pselect6_time64", "eventfd2", "signalfd4", "timerfd_create", "timerfd_settime",
	"timerfd_settime64", "timerfd_gettime", "timerfd_gettime64", "nanosleep", "clock_nanosleep",
	"clock_nanosleep_time64", "restart_syscall", "sched_yield", "futex", "futex_time64",
	/* signals to oneself */
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "sigaltstack",
	/* sockets; socket() stands below */
	"bind", "getsockname", "getpeername", "getsockopt", "setsockopt", "sendto", "send", "sendmsg", "sendmmsg",
	"recvfrom", "recv", "recvmsg", "recvmmsg", "shutdown",
	/* oneself */
	"getpid", "getppid", "gettid", "getuid", "getuid32", "geteuid", "geteuid32", "getgid", "getgid32", "getegid",
	"getegid32", "getresuid", "getresgid", "getgroups", "getrlimit", "ugetrlimit", "getrusage", "times", "uname",
	"sysinfo", "sched_getaffinity", "getcpu", "capget", "clock_gettime", "clock_gettime64", "clock_getres",
	"clock_getres_time64", "gettimeofday", "time", "getrandom", "set_robust_list", "set_tid_address", "rseq",
	"exit", "exit_group", NULL
};

static const char *const worker_calls[] = {
	"listen", "accept", "accept4", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir",
	"fsync", "fdatasync", "fallocate", "fchmod", "fchmodat", "chmod", "umask", "flock", NULL
};

static const char *const worker_deadly[] = { "setns", "fork", "vfork", "clone", NULL };

static const char *const helper_calls[] = {
	"openat2", "capset", "wait4", "waitid", "waitpid", "vfork", NULL
};

/* clang-format on */

static int calls_add(scmp_filter_ctx c, uint32_t action, const char *const *names)
{
	for (; *names; names++) {
		int nr = seccomp_syscall_resolve_name(*names);
		int e = nr == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(c, action, nr, 0);

		/* EDOM: another architecture's */
		if (e < 0 && e != -EDOM && e != -EACCES)
			return e;
	}
	return 0;
}

/* A call that this architecture does not have (mmap2, clone3 of others) is no fault. */
static int allow_if(scmp_filter_ctx c, int call, struct scmp_arg_cmp when)
{
	int e = seccomp_rule_add_array(c, SCMP_ACT_ALLOW, call, 1, &when);

	return e == -EDOM ? 0 : e;
}

#define ALLOW_IF(c, call, arg, op, ...) allow_if(c, SCMP_SYS(call), SCMP_CMP(arg, op, __VA_ARGS__))

/* Those that depend on what is asked. */
static int common_args(scmp_filter_ctx c)
{
	static const int terminal[] = { TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGWINSZ, FIONREAD };
	int e = ALLOW_IF(c, mmap, 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);

	if (!e)
		e = ALLOW_IF(c, mmap2, 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	if (!e)
		e = ALLOW_IF(c, mprotect, 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	for (size_t i = 0; !e && i < sizeof terminal / sizeof *terminal; i++)
		e = ALLOW_IF(c, ioctl, 1, SCMP_CMP_EQ, (scmp_datum_t)terminal[i]);
	if (!e)
		e = ALLOW_IF(c, prctl, 0, SCMP_CMP_EQ, PR_SET_NAME);
	if (!e)
		e = ALLOW_IF(c, prctl, 0, SCMP_CMP_EQ, PR_GET_PDEATHSIG);
	if (!e) /* reading limits, not setting them */
		e = ALLOW_IF(c, prlimit64, 2, SCMP_CMP_EQ, 0);
	if (!e) /* abort() */
		e = ALLOW_IF(c, tgkill, 0, SCMP_CMP_EQ, (scmp_datum_t)getpid());
	if (!e) /* libc falls back to what is older */
		e = seccomp_rule_add(c, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return e;
}

static int filter_load(const char *const *own, int (*args)(scmp_filter_ctx c), struct weir_sandbox *ret)
{
	scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int e;

	if (!c)
		return -ENOMEM;
	e = calls_add(c, SCMP_ACT_KILL_PROCESS, deadly);
	if (!e)
		e = calls_add(c, SCMP_ACT_ALLOW, common);
	if (!e)
		e = calls_add(c, SCMP_ACT_ALLOW, own);
	if (!e)
		e = common_args(c);
	if (!e)
		e = args(c);
	if (!e)
		e = seccomp_load(c);
	seccomp_release(c);
	if (e == -EINVAL || e == -ENOSYS) {
		weir_sandbox_lacks(ret, "this kernel has no seccomp filters");
		return 0;
	}
	ret->seccomp = !e;
	return e;
}

static int netlink_add(scmp_filter_ctx c, int bus)
{
	return seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, SCMP_CMP(0, SCMP_CMP_EQ, AF_NETLINK),
				SCMP_CMP(2, SCMP_CMP_EQ, (scmp_datum_t)bus));
}

/* Clients, this host's addresses, its sockets. */
static int worker_args(scmp_filter_ctx c)
{
	int e = ALLOW_IF(c, socket, 0, SCMP_CMP_EQ, AF_UNIX);

	if (!e)
		e = netlink_add(c, NETLINK_ROUTE);
	if (!e)
		e = netlink_add(c, NETLINK_SOCK_DIAG);
	return e ? e : calls_add(c, SCMP_ACT_KILL_PROCESS, worker_deadly);
}

/* Sockets, interfaces, tables of other firewalls. A child, in no namespace of its own making; others of the network
 * only. */
static int helper_args(scmp_filter_ctx c)
{
	int e = ALLOW_IF(c, clone, 0, SCMP_CMP_MASKED_EQ, NAMESPACES | CLONE_THREAD, 0);

	if (!e)
		e = netlink_add(c, NETLINK_SOCK_DIAG);
	if (!e)
		e = netlink_add(c, NETLINK_NETFILTER);
	if (!e)
		e = netlink_add(c, NETLINK_ROUTE);
	if (!e)
		e = ALLOW_IF(c, setns, 1, SCMP_CMP_EQ, CLONE_NEWNET);
	if (!e) /* a child that takes too long */
		e = ALLOW_IF(c, kill, 1, SCMP_CMP_EQ, 9);
	return e;
}

int weir_seccomp_worker(struct weir_sandbox *ret)
{
	return filter_load(worker_calls, worker_args, ret);
}

int weir_seccomp_helper(struct weir_sandbox *ret)
{
	return filter_load(helper_calls, helper_args, ret);
}
