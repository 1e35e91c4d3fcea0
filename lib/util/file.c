/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/util/cleanup.h"

#define FILE_STEP 4096 /* room beyond the size that was told */

int weir_fd_read(int fd, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *buf = NULL;
	struct stat st;
	size_t size, len = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -ENODEV;
	if ((unsigned long long)st.st_size > max)
		return -EFBIG;
	/* a file of /proc says size 0 and has content; one that grows is read to the end, or refused */
	size = (size_t)st.st_size + FILE_STEP;
	buf = malloc(size + 1);
	if (!buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
		if (!n)
			break;
		if (len == size) {
			char *more = realloc(buf, size * 2 + 1);

			if (!more)
				return -ENOMEM;
			buf = more;
			size *= 2;
		}
	}
	buf[len] = 0;
	*ret = TAKE_PTR(buf);
	*ret_len = len;
	return 0;
}

uint64_t weir_fd_mark(int fd)
{
	struct stat st;
	uint64_t h = 0x9e3779b97f4a7c15u;

	if (fd < 0) /* missing, a FIFO, closed to us: one may become the other */
		return (uint64_t)-fd << 2 | 1;
	if (fstat(fd, &st) < 0)
		return 1;
	const uint64_t v[] = { st.st_dev, st.st_ino, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec,
			       (uint64_t)st.st_mtim.tv_nsec, (uint64_t)st.st_ctim.tv_sec, (uint64_t)st.st_ctim.tv_nsec };
	for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
		h = (h ^ v[i]) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	return h | 2;
}

static struct weir_file_source source;

void weir_file_ask(const struct weir_file_source *s)
{
	source = s ? *s : (struct weir_file_source){ 0 };
}

bool weir_file_asks(void)
{
	return source.open;
}

int weir_file_open(const char *path)
{
	int fd;

	if (source.open)
		return source.open(path, source.data);
	/* O_NONBLOCK: opening a FIFO or a modem must not wait for the other end */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

int weir_file_read(const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd = weir_file_open(path);

	return fd < 0 ? fd : weir_fd_read(fd, max, ret, ret_len);
}

bool weir_file_exists(const char *path)
{
	_cleanup_close_ int fd = -1;

	if (!source.open)
		return !access(path, F_OK) || errno != ENOENT;
	fd = source.open(path, source.data);
	return fd != -ENOENT;
}

void weir_file_list_free(char **v, size_t n)
{
	for (size_t i = 0; v && i < n; i++)
		free(v[i]);
	free(v);
}

int weir_file_list(const char *pattern, char ***ret, size_t *ret_n)
{
	glob_t g;
	char **v;
	int r;

	if (source.list)
		return source.list(pattern, ret, ret_n, source.data);
	r = glob(pattern, GLOB_ERR, NULL, &g);
	if (r)
		return r == GLOB_NOMATCH ? -ENOENT : r == GLOB_NOSPACE ? -ENOMEM : -EACCES;
	v = calloc(g.gl_pathc + 1, sizeof *v);
	for (size_t i = 0; v && i < g.gl_pathc; i++) {
		v[i] = strdup(g.gl_pathv[i]);
		if (!v[i]) {
			weir_file_list_free(v, i);
			v = NULL;
		}
	}
	*ret_n = g.gl_pathc;
	globfree(&g);
	if (!v)
		return -ENOMEM;
	*ret = v;
	return 0;
}
