/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files for the worker, within the bounds that helper.h tells. The path is looked up once (O_PATH), judged by what it
 * led to, and that very file is opened: nothing can be exchanged in between. A device is never opened, only looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "daemon/helper/answer.h"
#include "lib/sandbox/sandbox.h"
#include "lib/util/cleanup.h"
#include "lib/util/file.h"

#define READ_ALL (1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_DAC_OVERRIDE)
#define LOOK_ALL (READ_ALL | 1ull << CAP_SYS_PTRACE)
#define ENTRIES_MAX 100000 /* that one pattern may look at */

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

bool weir_answer_name_fits(const char *path)
{
	static const char *const ends[] = { ".yaml", ".yml", ".list", ".netset", ".ipset", ".txt" };
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');

	for (size_t i = 0; dot && dot != name && i < sizeof ends / sizeof *ends; i++)
		if (!strcmp(dot, ends[i]))
			return true;
	return false;
}

/* A disk, or what stands for one. Files of the kernel say what they like to who holds rights. */
static bool is_kernels(int fd)
{
	static const uint32_t known[] = {
		0x9fa0,	    /* proc */
		0x62656572, /* sysfs */
		0x64626720, /* debugfs */
		0x74726163, /* tracefs */
		0x0027e0eb, /* cgroup */
		0x63677270, /* cgroup2 */
		0xcafe4a11, /* bpf */
		0x73636673, /* securityfs */
		0xf97cff8c, /* selinux */
		0x43415d53, /* smack */
		0xde5e81e4, /* efivarfs */
		0x62656570, /* configfs */
		0x6165676c, /* pstore */
		0x42494e4d, /* binfmt_misc */
		0x1cd1,	    /* devpts */
		0x19800202, /* mqueue */
		0x6e736673, /* nsfs */
		0x50495045, /* pipefs */
		0x534f434b, /* sockfs */
		0x09041934, /* anonymous inodes */
	};
	struct statfs f;

	if (fstatfs(fd, &f) < 0)
		return true;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if ((uint32_t)f.f_type == known[i])
			return true;
	return false;
}

/* The file that the path leads to, not opened yet. */
static int look_up(const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS };
	_cleanup_close_ int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -ENODEV;
	return is_kernels(fd) ? -EACCES : TAKE_FD(fd);
}

static int open_for_real(int fd)
{
	char path[48];
	int r;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	r = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return r < 0 ? -errno : r;
}

static bool below(const char *dir, const char *path)
{
	size_t n = dir ? strlen(dir) : 0;

	return n && !strncmp(path, dir, n) && path[n] == '/';
}

/* May it be read with a right that not everybody has? */
static bool is_served(const struct weir_answerer *by, int fd)
{
	char link[48], path[PATH_MAX];
	struct stat st;
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	if (n <= 0 || path[0] != '/' || fstat(fd, &st) < 0)
		return false;
	path[n] = 0;
	if (below(by->dirs[0], path) || below(by->dirs[1], path))
		return true;
	return !st.st_uid && !(st.st_mode & 022) && weir_answer_name_fits(path);
}

static int open_as_anybody(const char *path)
{
	_cleanup_close_ int fd = look_up(path);

	return fd < 0 ? fd : open_for_real(fd);
}

int weir_answer_open(const struct weir_answerer *by, const char *path)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (!by->bounded)
		return weir_file_open(path);
	r = weir_caps_use(LOOK_ALL, false);
	if (r < 0)
		return r;
	r = open_as_anybody(path);
	weir_caps_use(READ_ALL, true);
	if (r == -EACCES || r == -EPERM) {
		fd = look_up(path);
		r = fd < 0 ? fd : is_served(by, fd) ? open_for_real(fd) : -EACCES;
	}
	weir_caps_use(LOOK_ALL, true);
	return r;
}

static size_t entries_left;

static struct dirent *entry_next(void *d)
{
	return entries_left ? entries_left--, readdir(d) : NULL;
}

static void dir_close(void *d)
{
	closedir(d);
}

static void *dir_open(const char *path)
{
	return opendir(path);
}

int weir_answer_list(const struct weir_answerer *by, const char *pattern, struct weir_ask_path **ret, size_t *ret_n)
{
	glob_t g = { .gl_closedir = dir_close,
		     .gl_readdir = entry_next,
		     .gl_opendir = dir_open,
		     .gl_lstat = lstat,
		     .gl_stat = stat };
	struct weir_ask_path *v;
	size_t n = 0;
	int r;

	entries_left = ENTRIES_MAX;
	r = glob(pattern, GLOB_ERR | GLOB_ALTDIRFUNC, NULL, &g);
	if (r)
		return r == GLOB_NOMATCH ? -ENOENT : r == GLOB_NOSPACE ? -ENOMEM : -EACCES;
	v = calloc(g.gl_pathc, sizeof *v);
	for (size_t i = 0; v && i < g.gl_pathc && n < WEIR_HELPER_PATHS_MAX; i++) {
		int fd = by->bounded ? weir_answer_open(by, g.gl_pathv[i]) : -1;

		/* what is no file is named, too: the policy's author shall hear of it. Only what is not served is not
		 * there */
		if (fd != -EACCES && strlen(g.gl_pathv[i]) < sizeof v->path)
			strcpy(v[n++].path, g.gl_pathv[i]);
		weir_closep(&fd);
	}
	globfree(&g);
	if (!v)
		return -ENOMEM;
	if (!n) {
		free(v);
		return -ENOENT;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}
