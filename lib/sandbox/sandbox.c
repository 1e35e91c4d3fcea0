/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/sandbox/internal.h"
#include "lib/util/cleanup.h"

#define CAP(x) (1ull << CAP_##x)
#define HELPER_CAPS (CAP(SYS_PTRACE) | CAP(DAC_READ_SEARCH) | CAP(SYS_ADMIN) | CAP(NET_ADMIN))

void weir_sandbox_lacks(struct weir_sandbox *s, const char *what)
{
	if (!s->why[0])
		snprintf(s->why, sizeof s->why, "%s", what);
}

struct weir_user weir_user_find(const char *name, uid_t fallback)
{
	_cleanup_fclose_ FILE *f = fopen("/etc/passwd", "re");
	struct weir_user u = { fallback, fallback };
	size_t n = strlen(name);
	char line[1024];

	while (f && fgets(line, sizeof line, f)) {
		unsigned uid, gid;
		const char *rest = !strncmp(line, name, n) && line[n] == ':' ? strchr(line + n + 1, ':') : NULL;

		/* root by another name would be no sandbox */
		if (rest && sscanf(rest, ":%u:%u:", &uid, &gid) == 2 && uid && gid)
			return (struct weir_user){ uid, gid };
	}
	return u;
}

static int dir_make(const char *path)
{
	_cleanup_free_ char *p = strdup(path);

	if (!p)
		return -ENOMEM;
	for (char *s = p + 1; *s; s++) {
		if (*s != '/')
			continue;
		*s = 0;
		if (mkdir(p, 0755) < 0 && errno != EEXIST)
			return -errno;
		*s = '/';
	}
	return mkdir(p, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int weir_sandbox_give(const char *path, const struct weir_user *to)
{
	_cleanup_closedir_ DIR *d = NULL;
	const struct dirent *e;
	struct stat st;
	int r = dir_make(path), fd;

	if (r < 0 && r != -EROFS) /* where it is missing, open tells */
		return r;
	r = 0;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid && st.st_uid != to->uid)
		return -EPERM; /* a stranger's: whoever prepared it does not get our files */
	while ((e = readdir(d))) {
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
		    st.st_uid)
			continue;
		if (fchownat(fd, e->d_name, to->uid, to->gid, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno != EROFS)
				return -errno;
			r = -EROFS;
		}
	}
	/* the directory last: until here nobody else could change what is in it. What is right is not touched: it may be read-only */
	if (fstat(fd, &st) < 0 || ((st.st_mode & 07777) != 0700 && fchmod(fd, 0700) < 0))
		return -errno;
	if ((st.st_uid != to->uid || st.st_gid != to->gid) && fchown(fd, to->uid, to->gid) < 0)
		return -errno;
	return r;
}

int weir_sandbox_user(const struct weir_user *to, uint64_t keep, struct weir_sandbox *ret)
{
	struct rlimit none = { 0, 0 };
	int death = 0;

	if (prctl(PR_GET_PDEATHSIG, &death, 0, 0, 0) < 0)
		return -errno;
	/* capabilities would go with the user id, and some are to stay */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;
	if (geteuid()) {
		weir_sandbox_lacks(ret, "not started by root: the user stays the same");
	} else if (setgroups(0, NULL) < 0 || setresgid(to->gid, to->gid, to->gid) < 0 ||
		   setresuid(to->uid, to->uid, to->uid) < 0) {
		/* EINVAL: this user namespace has no such user; EPERM: a container that took the right away */
		if (errno != EINVAL && errno != EPERM)
			return -errno;
		weir_sandbox_lacks(ret, "this container has no other user: the process stays root without rights");
	} else {
		ret->user = true;
	}
	/* a change of user forgets which signal the parent's death is */
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, death, 0, 0, 0) < 0)
		return -errno;
	if (weir_caps_keep(keep) < 0)
		return -EPERM;
	ret->caps = !(weir_caps_held() & ~keep);
	if (!ret->caps)
		return -EPERM;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	ret->no_new_privs = true;
	return 0;
}

int weir_sandbox_worker(const struct weir_sandbox_dir *dirs, size_t n, struct weir_sandbox *ret)
{
	struct weir_user u = weir_user_find(WEIR_WORKER_USER, WEIR_WORKER_UID);
	int e;

	*ret = (struct weir_sandbox){ 0 };
	tzset(); /* its file is out of reach soon */
	e = weir_sandbox_user(&u, 0, ret);
	if (!e)
		e = weir_landlock_worker(dirs, n, ret);
	return e ? e : weir_seccomp_worker(ret);
}

int weir_sandbox_helper(struct weir_sandbox *ret)
{
	struct weir_user u = weir_user_find(WEIR_HELPER_USER, WEIR_HELPER_UID);
	int e;

	*ret = (struct weir_sandbox){ 0 };
	e = weir_sandbox_user(&u, HELPER_CAPS, ret);
	/* no Landlock: a process in such a domain cannot look into one outside of it, whatever rights it holds */
	return e ? e : weir_seccomp_helper(ret);
}
