/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/event/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/event/event.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

#define FIELD_MAX 4096

struct weir_audit {
	char *path;
	int fd;
	bool torn; /* the last record was cut short: the next begins on a line of its own */
};

/* A file of ours that only we can have put there: not a link, not a pipe, not another user's. */
static int audit_file(const char *path, int *ret, bool *ret_torn)
{
	/* O_NONBLOCK: no fifo may hold us here; read: did an earlier life end in the middle of a record? */
	_cleanup_close_ int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	struct stat st;
	char last = '\n';

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return -EINVAL;
	if (st.st_uid != geteuid())
		return -EPERM;
	if ((st.st_mode & 07777) != 0600 && fchmod(fd, 0600) < 0)
		return -errno;
	if (st.st_size && pread(fd, &last, 1, st.st_size - 1) < 0)
		return -errno;
	*ret_torn = last != '\n';
	*ret = TAKE_FD(fd);
	return 0;
}

static bool disk_trouble(int e)
{
	return e == -ENOSPC || e == -EDQUOT || e == -EROFS || e == -EIO;
}

int weir_audit_open(const char *log_dir, struct weir_audit **ret)
{
	struct weir_audit *a = calloc(1, sizeof *a);
	int e;

	if (!a)
		return -ENOMEM;
	a->fd = -1;
	if (asprintf(&a->path, "%s/audit.log", log_dir) < 0) {
		a->path = NULL;
		e = -ENOMEM;
	} else {
		e = audit_file(a->path, &a->fd, &a->torn);
	}
	if (e == -EACCES && access(log_dir, X_OK))
		e = -EROFS; /* it cannot be entered: nothing was put in our way there */
	if (e < 0 && !disk_trouble(e)) {
		weir_audit_free(a);
		return e;
	}
	*ret = a;
	return 0;
}

void weir_audit_free(struct weir_audit *a)
{
	if (!a)
		return;
	weir_closep(&a->fd);
	free(a->path);
	free(a);
}

/* Rotated away, or removed: the name no longer leads to our file. */
static int audit_follow(struct weir_audit *a)
{
	struct stat mine, there;
	bool torn = false;
	int fd = -1, e;

	if (a->fd >= 0 && fstat(a->fd, &mine) == 0 && lstat(a->path, &there) == 0 && mine.st_ino == there.st_ino &&
	    mine.st_dev == there.st_dev)
		return 0;
	e = audit_file(a->path, &fd, &torn);
	if (e < 0)
		return e;
	weir_closep(&a->fd);
	a->fd = fd;
	a->torn = torn;
	return 0;
}

int weir_audit_room(struct weir_audit *a)
{
	struct stat st;
	int e = audit_follow(a);

	if (e < 0)
		return e;
	/* the blocks that the next records will take, the length of the file stays */
	if (fstat(a->fd, &st) < 0)
		return -errno;
	if (fallocate(a->fd, FALLOC_FL_KEEP_SIZE, st.st_size, 4 * FIELD_MAX) < 0 && disk_trouble(-errno))
		return -errno;
	return 0;
}

static void field(FILE *f, const char *s)
{
	char buf[FIELD_MAX];

	fprintf(f, "  %s", s && *s ? weir_escape(s, strlen(s), buf, sizeof buf) : "-");
}

int weir_audit_write(struct weir_audit *a, const char *actor, const char *action, const char *detail,
		     const char *result)
{
	_cleanup_free_ char *line = NULL;
	struct timespec now;
	char when[32];
	size_t len = 0;
	ssize_t n;
	FILE *f;
	int e = audit_follow(a);

	if (e < 0)
		return e;
	f = open_memstream(&line, &len);
	if (!f)
		return -ENOMEM;
	clock_gettime(CLOCK_REALTIME, &now);
	fprintf(f, "%s%s", a->torn ? "\n" : "",
		weir_time_text((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, when));
	field(f, actor);
	field(f, action);
	field(f, detail);
	field(f, result);
	fputc('\n', f);
	if (fclose(f))
		return -ENOMEM;
	/* one write for one record: O_APPEND keeps those of several writers apart */
	do
		n = write(a->fd, line, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n < len) {
		a->torn = a->torn || n > 0;
		return -ENOSPC;
	}
	a->torn = false;
	return fdatasync(a->fd) < 0 ? -errno : 0;
}
