/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/dir.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* mkdir -p for the parents; the last part is the caller's. */
static int parents_make(const char *path)
{
	char part[PATH_MAX];

	if (strlen(path) >= sizeof part)
		return -ENAMETOOLONG;
	for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
		if (mkdir(part, 0755) && errno != EEXIST)
			return -errno;
	}
	return 0;
}

int weir_dir_prepare_for(const char *path, uid_t user, char *why, size_t why_size)
{
	struct stat st;
	int r;

	if (lstat(path, &st)) {
		r = errno == ENOENT ? parents_make(path) : -errno;
		if (!r && mkdir(path, 0700) && errno != EEXIST)
			r = -errno;
		if (!r && lstat(path, &st))
			r = -errno;
		if (r) {
			snprintf(why, why_size, "cannot make %s: %s", path, strerror(-r));
			return r;
		}
	}
	if (S_ISLNK(st.st_mode)) {
		snprintf(why, why_size, "%s is a symbolic link: refused", path);
		return -ELOOP;
	}
	if (!S_ISDIR(st.st_mode)) {
		snprintf(why, why_size, "%s is no directory", path);
		return -ENOTDIR;
	}
	if (st.st_uid != geteuid() && st.st_uid != 0 && st.st_uid != user) {
		snprintf(why, why_size, "%s belongs to user %u, not to root: refused", path, st.st_uid);
		return -EPERM;
	}
	if (st.st_mode & (S_IWGRP | S_IWOTH)) {
		snprintf(why, why_size, "%s may be written by others (mode %04o): chmod go-w it", path,
			 st.st_mode & 07777);
		return -EACCES;
	}
	return 0;
}

int weir_dir_prepare(const char *path, char *why, size_t why_size)
{
	return weir_dir_prepare_for(path, 0, why, why_size);
}
