/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/rundir.h"
#include "lib/util/cleanup.h"
#include "lib/util/dir.h"

#define LOCK_NAME "lock"

/* Written by the holder of the lock: for people, the lock itself is what counts. */
static pid_t pid_read(int fd)
{
	char text[32] = "";
	int pid = 0;

	if (pread(fd, text, sizeof text - 1, 0) <= 0 || sscanf(text, "%d", &pid) != 1)
		return 0;
	return pid;
}

/* Did weir make the directory? Noted behind the pid, so that only what was made is taken away. */
static bool made_read(int fd)
{
	char text[32] = "";

	return pread(fd, text, sizeof text - 1, 0) > 0 && strstr(text, "\nmade");
}

static int lock_path(const char *dir, char ret[PATH_MAX])
{
	return snprintf(ret, PATH_MAX, "%s/" LOCK_NAME, dir) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* A lock that can be asked about without being taken: who only looks must never stand in a start's way. */
static bool lock_do(int fd, int what, struct flock *l)
{
	*l = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
	return !fcntl(fd, what, l);
}

/* Is the file still the one of that name? Who ends takes the name away before he lets go of the lock. */
static bool still_there(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !lstat(path, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

int weir_rundir_open(const char *path, char *why, size_t why_size)
{
	_cleanup_close_ int fd = -1;
	char lock[PATH_MAX], pid[32];
	bool made = access(path, F_OK) && errno == ENOENT;
	struct flock l;
	int r = weir_dir_prepare(path, why, why_size);

	if (r)
		return r;
	r = lock_path(path, lock);
	if (r)
		return r;
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		r = -errno;
		snprintf(why, why_size, "cannot open %s: %s", lock, strerror(-r));
		return r;
	}
	if (!lock_do(fd, F_OFD_SETLK, &l)) {
		r = errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
		if (r == -EBUSY)
			snprintf(why, why_size, "weir is already running in %s, pid %d", path, pid_read(fd));
		else
			snprintf(why, why_size, "cannot lock %s: %s", lock, strerror(-r));
		return r;
	}
	if (!still_there(fd, lock)) {
		snprintf(why, why_size, "weir was just ending in %s; try it again", path);
		return -EAGAIN;
	}
	snprintf(pid, sizeof pid, "%d\n%s", getpid(), made || made_read(fd) ? "made\n" : "");
	if (ftruncate(fd, 0) || pwrite(fd, pid, strlen(pid), 0) < 0) {
		r = -errno;
		snprintf(why, why_size, "cannot write %s: %s", lock, strerror(-r));
		return r;
	}
	return TAKE_FD(fd);
}

pid_t weir_rundir_owner(const char *path)
{
	_cleanup_close_ int fd = -1;
	char lock[PATH_MAX];
	int r = lock_path(path, lock);
	struct flock l;
	pid_t pid;

	if (r)
		return r;
	fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	if (!lock_do(fd, F_OFD_GETLK, &l))
		return -errno;
	if (l.l_type == F_UNLCK)
		return 0;
	pid = pid_read(fd);
	return pid > 0 ? pid : -EBUSY;
}

int weir_rundir_clear(const char *path)
{
	static const char *const names[] = { "control.sock", LOCK_NAME };
	_cleanup_close_ int dfd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int lock = -1;
	bool made;
	int n = 0;

	if (dfd < 0)
		return 0;
	lock = openat(dfd, LOCK_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	made = lock >= 0 && made_read(lock);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		n += !unlinkat(dfd, names[i], 0);
	n += !unlinkat(dfd, "bpf", AT_REMOVEDIR); /* the mount point, when nothing is mounted on it */
	if (made)
		n += !rmdir(path);
	return n;
}
