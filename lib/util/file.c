/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/file.h"

#include <errno.h>
#include <fcntl.h>
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

int weir_file_read(const char *path, size_t max, char **ret, size_t *ret_len)
{
	/* O_NONBLOCK: opening a FIFO or a modem must not wait for the other end */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? -errno : weir_fd_read(fd, max, ret, ret_len);
}
