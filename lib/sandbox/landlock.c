/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock by its system calls: what libc and the headers of an older system do not know yet is named here. Every
 * right that the kernel knows is taken, and given back only below the directories of the caller.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/sandbox/internal.h"
#include "lib/util/cleanup.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

/* The kernel's numbers: rights of version 1, then what each version added. */
#define FS_1 ((1ull << 13) - 1)
#define FS_WRITE_FILE (1ull << 1)
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR (1ull << 3)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_REG (1ull << 8)
#define FS_MAKE_SOCK (1ull << 9)
#define FS_REFER (1ull << 13)	  /* 2 */
#define FS_TRUNCATE (1ull << 14)  /* 3 */
#define NET_TCP 3ull		  /* 4: bind and connect */
#define FS_IOCTL_DEV (1ull << 15) /* 5 */
#define SCOPED 3ull		  /* 6: abstract sockets and signals of those outside */

#define READ (FS_READ_FILE | FS_READ_DIR)
#define WRITE (READ | FS_WRITE_FILE | FS_REMOVE_FILE | FS_MAKE_REG | FS_MAKE_SOCK | FS_TRUNCATE)
#define OF_FILE (FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

struct attr {
	uint64_t fs, net, scoped;
};

static int rule_add(int ruleset, const char *path, uint64_t access)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr a;
	struct stat st;

	if (fd < 0)
		return errno == ENOENT || errno == EACCES ? 0 : -errno; /* what is closed to us needs no rule */
	if (fstat(fd, &st) < 0)
		return -errno;
	a = (struct landlock_path_beneath_attr){
		.allowed_access = S_ISDIR(st.st_mode) ? access : access & OF_FILE,
		.parent_fd = fd,
	};
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &a, 0) < 0 ? -errno : 0;
}

static int rules_add(int ruleset, uint64_t known, const struct weir_sandbox_dir *dirs, size_t n)
{
	/* which ports are handed out, and the names of users */
	static const char *const plain[] = { "/proc/sys/net/ipv4", "/etc/passwd" };
	int e = 0;

	for (size_t i = 0; !e && i < sizeof plain / sizeof *plain; i++)
		e = rule_add(ruleset, plain[i], READ & known);
	for (size_t i = 0; !e && i < n; i++)
		e = rule_add(ruleset, dirs[i].path, (dirs[i].write ? WRITE : READ) & known);
	return e;
}

int weir_landlock_worker(const struct weir_sandbox_dir *dirs, size_t n, struct weir_sandbox *ret)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	_cleanup_close_ int ruleset = -1;
	struct attr a = { .fs = FS_1 };
	int e;

	if (abi <= 0) {
		weir_sandbox_lacks(ret, abi < 0 && errno == EOPNOTSUPP ? "Landlock is off in this kernel (lsm=)"
								       : "this kernel has no Landlock (5.13)");
		return 0;
	}
	ret->landlock_abi = (int)abi;
	a.fs |= (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0);
	a.net = abi >= 4 ? NET_TCP : 0;
	a.scoped = abi >= 6 ? SCOPED : 0;
	/* an older kernel takes the longer structure as long as what it does not know is 0 */
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &a, sizeof a, 0);
	if (ruleset < 0)
		return -errno;
	e = rules_add(ruleset, a.fs, dirs, n);
	if (e < 0)
		return e;
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return -errno;
	ret->landlock = true;
	return 0;
}
