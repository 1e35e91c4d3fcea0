/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process gives up before it meets anything from outside. One way: nothing here can be taken back.
 *
 * The worker becomes a user of its own without any capability; may read and write in the directories that it is
 * given and nowhere else, run nothing, speak only AF_UNIX and netlink (routes, sockets), and signal nobody (seccomp,
 * Landlock). The helper becomes another user with four capabilities, and may change nothing in any file system.
 * What a process still wants with rights (limits, opened files, its name) it does before.
 *
 * A call that neither needs is refused with EPERM. One that only an intruder makes (execve, ptrace, bpf, mount, ...)
 * ends the process at once. What the kernel, or the container around, does not have is left out and told; what was
 * there and failed is an error, and the caller must not go on.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Without a user of this name the fixed numbers are taken, from a range that systemd keeps free (60706 to 61183) and
 * Debian gives to nobody. Two users: who may signal a process, or own a file, is decided by it.
 */
#define WEIR_WORKER_USER "weir"
#define WEIR_WORKER_UID 60999
#define WEIR_HELPER_USER "weir-helper"
#define WEIR_HELPER_UID 60998

struct weir_user {
	uid_t uid;
	gid_t gid;
};
/* From /etc/passwd alone: no other source of names is loaded into a process with rights. */
struct weir_user weir_user_find(const char *name, uid_t fallback);

/* What stands. */
struct weir_sandbox {
	bool user; /* another user than root; false: not root, or a container that has no other */
	bool caps; /* none but those that are needed */
	bool no_new_privs;
	bool seccomp;
	bool landlock;
	int landlock_abi; /* 0: the kernel has none */
	char why[128];	  /* what is missing first; "": nothing */
};

struct weir_sandbox_dir {
	const char *path;
	bool write; /* files and sockets may be made, changed and removed in it */
};

/*
 * Make `path` the user's: a directory of 0700 with what stands directly in it; files with two names and links stay
 * what they are, and what is right is not touched. Parents are created with 0755. As root, before weir_sandbox_worker.
 * 0 or negative errno; -EROFS: some of it is another's and stays so.
 */
int weir_sandbox_give(const char *path, const struct weir_user *to);

/* A directory that is not there, or closed to the user, is left out. 0, or negative errno: some of it could not be done, end yourself. */
int weir_sandbox_worker(const struct weir_sandbox_dir *dirs, size_t n, struct weir_sandbox *ret);
int weir_sandbox_helper(struct weir_sandbox *ret);

/* Keep the capabilities of this mask (1 << CAP_x) as far as we have them: the bounding and ambient sets go, too. */
int weir_caps_keep(uint64_t mask);
/* Take held ones into use, or out of it: what is out of use does not count when the kernel asks. */
int weir_caps_use(uint64_t mask, bool on);
uint64_t weir_caps_held(void);

/* The pieces, for tests. */
int weir_sandbox_user(const struct weir_user *to, uint64_t keep, struct weir_sandbox *ret);
int weir_landlock_worker(const struct weir_sandbox_dir *dirs, size_t n, struct weir_sandbox *ret);
int weir_seccomp_worker(struct weir_sandbox *ret);
int weir_seccomp_helper(struct weir_sandbox *ret);
