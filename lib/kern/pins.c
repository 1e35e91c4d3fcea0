/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pins: a bpffs of weir's own, mounted at <runtime_dir>/bpf, so that what is enforced outlives the
 * process. maps/NAME are the shared maps, links/HOOK_IFINDEX the attachments, links/guard_N the guard.
 * The directory must be root's and nobody's symlink: whoever may write here, may take the firewall off.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "lib/kern/clock.h"
#include "lib/kern/internal.h"

#ifndef BPF_FS_MAGIC
#define BPF_FS_MAGIC 0xcafe4a11
#endif

int weir_pins_path(const struct weir_kern *k, char *path, size_t size, const char *fmt, ...)
{
	int n = snprintf(path, size, "%s/", k->bpffs), m;
	va_list ap;

	if (n < 0 || (size_t)n >= size)
		return -ENAMETOOLONG;
	va_start(ap, fmt);
	m = vsnprintf(path + n, size - (size_t)n, fmt, ap);
	va_end(ap);
	return m < 0 || (size_t)(n + m) >= size ? -ENAMETOOLONG : 0;
}

/* dir/name; a name that does not fit becomes one that does not exist. */
static const char *join(char path[static PATH_MAX], const char *dir, const char *name)
{
	int n = snprintf(path, PATH_MAX, "%s/%s", dir, name);

	if (n < 0 || n >= PATH_MAX)
		path[0] = 0;
	return path;
}

static bool is_bpffs(const char *path)
{
	struct statfs s;

	return !statfs(path, &s) && (unsigned long)s.f_type == BPF_FS_MAGIC;
}

/* A directory of root's, not writable by others, and not a symlink. Made when missing. */
static int own_dir(const char *path, char *why, size_t size)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return weir_why(why, size, -errno, "%s: %s", path, strerror(errno));
	if (lstat(path, &st))
		return weir_why(why, size, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return weir_why(why, size, -ENOTDIR, "%s is not a directory", path);
	if (st.st_uid || (st.st_mode & 022))
		return weir_why(why, size, -EPERM, "%s must belong to root and be writable by root only", path);
	return 0;
}

int weir_pins_mount(struct weir_kern *k, char *why, size_t size)
{
	char path[PATH_MAX];
	int r = own_dir(k->runtime_dir, why, size);

	if (r < 0)
		return r;
	if (snprintf(k->bpffs, sizeof k->bpffs, "%s/bpf", k->runtime_dir) >= (int)sizeof k->bpffs)
		return weir_why(why, size, -ENAMETOOLONG, "runtime directory: name too long");
	r = own_dir(k->bpffs, why, size);
	if (r < 0)
		return r;
	if (!is_bpffs(k->bpffs)) {
		if (mount("weir", k->bpffs, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
			return weir_why(why, size, -errno, "mounting a bpffs at %s: %s", k->bpffs, strerror(errno));
	}
	for (const char *const *d = (const char *const[]){ "maps", "links", NULL }; *d; d++) {
		r = weir_pins_path(k, path, sizeof path, "%s", *d);
		if (r < 0 || (mkdir(path, 0700) && errno != EEXIST))
			return weir_why(why, size, r < 0 ? r : -errno, "%s: %s", path, strerror(r < 0 ? -r : errno));
	}
	return 0;
}

bool weir_pins_exist(const char *runtime_dir)
{
	char path[PATH_MAX];

	return is_bpffs(join(path, runtime_dir, "bpf")) && !access(join(path, runtime_dir, "bpf/maps/weir_control"), F_OK);
}

/* What decides now, by the word and the clock. */
static void pinned_read(const struct weir_control *c, struct weir_kern_pinned *ret)
{
	uint64_t deadline = weir_word_deadline(c->word), now = weir_kern_now() / 1000000;
	bool two = c->word && c->back_slot < WEIR_GEN_SLOTS, back = two && weir_word_slot(c->word, now) == c->back_slot;

	ret->generation = back ? c->back_generation : c->generation;
	ret->epoch = back ? c->back_epoch : c->epoch;
	ret->mode = back ? c->back_mode : c->mode;
	ret->epoch_max = c->epoch_max;
	ret->other_generation = !two ? 0 : back ? c->generation : c->back_generation;
	ret->pending = two && deadline != WEIR_WORD_NEVER && now < deadline;
	ret->settled_back = back;
	ret->deadline = ret->pending ? deadline * 1000000 : 0;
	weir_clock_told(c, now / 1000, &ret->clock);
}

int weir_kern_pinned(const char *runtime_dir, struct weir_kern_pinned *ret)
{
	_cleanup_closedir_ DIR *d = NULL;
	_cleanup_close_ int fd = -1;
	struct bpf_map_info info = { 0 };
	struct weir_control c = { 0 };
	uint32_t zero = 0, len = sizeof info;
	char path[PATH_MAX];

	*ret = (struct weir_kern_pinned){ 0 };
	if (is_bpffs(join(path, runtime_dir, "bpf")))
		ret->guard = weir_guard_stands(path);
	if (!weir_pins_exist(runtime_dir))
		return 0;
	fd = bpf_obj_get(join(path, runtime_dir, "bpf/maps/weir_control"));
	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	if (info.value_size != sizeof c || info.key_size != sizeof zero) /* of another build: what is attached is found below */
		c.mode = WEIR_PREVENT;
	else if (bpf_map_lookup_elem(fd, &zero, &c))
		return -errno;
	pinned_read(&c, ret);
	d = opendir(join(path, runtime_dir, "bpf/links"));
	for (struct dirent *e; d && (e = readdir(d));)
		if (!strncmp(e->d_name, "in_", 3) || (!strncmp(e->d_name, "clsact_", 7) && strstr(e->d_name, "_in")))
			ret->n_interfaces++;
	ret->attached = ret->n_interfaces > 0;
	return 0;
}

/* Unlink every pin below <bpffs>/<sub>. */
static int unlink_all(const char *bpffs, const char *sub)
{
	_cleanup_closedir_ DIR *d = NULL;
	char path[PATH_MAX];
	int n = 0;

	d = opendir(join(path, bpffs, sub));
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		if (!unlinkat(dirfd(d), e->d_name, 0))
			n++;
	}
	return n;
}

int weir_kern_flush(const char *runtime_dir, char *report, size_t report_size)
{
	char bpffs[PATH_MAX], path[PATH_MAX];
	int links, maps, filters;

	if (!is_bpffs(join(bpffs, runtime_dir, "bpf"))) {
		rmdir(bpffs);
		return weir_why(report, report_size, 0, "nothing was attached");
	}
	filters = weir_clsact_remove_all(bpffs);
	weir_guard_remove_nft();
	links = unlink_all(bpffs, "links");
	maps = unlink_all(bpffs, "maps");
	rmdir(join(path, bpffs, "maps"));
	rmdir(join(path, bpffs, "links"));
	if (umount2(bpffs, MNT_DETACH))
		return weir_why(report, report_size, -errno, "unmounting %s: %s", bpffs, strerror(errno));
	rmdir(bpffs);
	return weir_why(report, report_size, links + filters, "%d links, %d filters, %d maps", links, filters, maps);
}
