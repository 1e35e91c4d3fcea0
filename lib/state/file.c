/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/state/file.h"
#include "lib/util/cleanup.h"
#include "lib/util/file.h"

static int write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return fsync(fd) ? -errno : 0;
}

int weir_state_replace(const char *dir, const char *name, const void *data, size_t len)
{
	char tmp[NAME_MAX + 1];
	_cleanup_close_ int dfd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int fd = -1;
	int r;

	if (dfd < 0)
		return -errno;
	if ((size_t)snprintf(tmp, sizeof tmp, ".%s.new", name) >= sizeof tmp)
		return -ENAMETOOLONG;
	unlinkat(dfd, tmp, 0); /* left by a crash */
	fd = openat(dfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, data, len);
	if (!r && renameat(dfd, tmp, dfd, name))
		r = -errno;
	if (r) {
		unlinkat(dfd, tmp, 0);
		return r;
	}
	return fsync(dfd) ? -errno : 0;
}

int weir_state_read(const char *dir, const char *name, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_close_ int dfd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int fd = -1;

	if (dfd < 0)
		return -errno;
	fd = openat(dfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : weir_fd_read(fd, max, ret, ret_len);
}

void weir_file_set_aside(const char *dir, const char *name, const char *what, char *note, size_t note_size)
{
	char from[PATH_MAX], to[PATH_MAX + 64];

	snprintf(from, sizeof from, "%s/%s", dir, name);
	snprintf(to, sizeof to, "%s.damaged-%lld", from, (long long)time(NULL));
	if (rename(from, to))
		snprintf(note, note_size, "%s is damaged (%s) and cannot be set aside: %s", from, what, strerror(errno));
	else
		snprintf(note, note_size, "%s was damaged (%s); set aside as %s, begun empty", from, what, to);
}

int weir_json_load(const char *dir, const char *name, json_t **ret, char *note, size_t note_size)
{
	_cleanup_free_ char *text = NULL;
	json_error_t e;
	json_t *j;
	size_t len = 0;
	int r = weir_state_read(dir, name, WEIR_STATE_FILE_MAX, &text, &len);

	if (r == -EISDIR || r == -ENODEV || r == -EFBIG || r == -ELOOP) {
		weir_file_set_aside(dir, name, strerror(-r), note, note_size);
		return -EBADMSG;
	}
	if (r)
		return r;
	j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (!json_is_object(j)) {
		json_decref(j);
		weir_file_set_aside(dir, name, j ? "no object" : e.text, note, note_size);
		return -EBADMSG;
	}
	*ret = j;
	return 0;
}

int weir_json_save(const char *dir, const char *name, const json_t *j)
{
	_cleanup_free_ char *text = json_dumps(j, JSON_INDENT(1));

	if (!text)
		return -ENOMEM;
	/* what is longer would be set aside as damaged at the next start */
	return strlen(text) > WEIR_STATE_FILE_MAX ? -EFBIG : weir_state_replace(dir, name, text, strlen(text));
}
