/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/host/proc.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "lib/util/cleanup.h"

#define PIDS_MAX 131072

static int pid_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

int weir_proc_pids(uint32_t **ret, size_t *ret_n)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	_cleanup_free_ uint32_t *v = NULL;
	size_t n = 0, room = 0;
	const struct dirent *e;

	if (!d)
		return -errno;
	while (n < PIDS_MAX && (e = readdir(d))) {
		char *end;
		unsigned long pid = strtoul(e->d_name, &end, 10);

		if (!isdigit((unsigned char)e->d_name[0]) || *end || pid > UINT32_MAX)
			continue;
		if (n == room) {
			uint32_t *w = reallocarray(v, room ? room * 2 : 256, sizeof *v);

			if (!w)
				return -ENOMEM;
			v = w;
			room = room ? room * 2 : 256;
		}
		v[n++] = (uint32_t)pid;
	}
	if (n)
		qsort(v, n, sizeof *v, pid_cmp);
	*ret = TAKE_PTR(v);
	*ret_n = n;
	return 0;
}

ssize_t weir_proc_read(uint32_t pid, const char *file, char *buf, size_t size)
{
	_cleanup_close_ int fd = -1;
	char path[64];
	size_t n = 0;

	snprintf(path, sizeof path, "/proc/%u/%s", pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (n < size - 1) {
		ssize_t r = read(fd, buf + n, size - 1 - n);

		if (r < 0)
			return -errno;
		if (!r)
			break;
		n += (size_t)r;
	}
	buf[n] = 0;
	return (ssize_t)n;
}

size_t weir_proc_links(uint32_t pid, size_t budget, weir_proc_link_cb cb, void *data)
{
	_cleanup_closedir_ DIR *d = NULL;
	const struct dirent *e;
	char path[64], link[64];
	size_t seen = 0;

	snprintf(path, sizeof path, "/proc/%u/fd", pid);
	d = opendir(path);
	if (!d)
		return 0;
	while (seen < budget && (e = readdir(d))) {
		ssize_t n;

		if (e->d_name[0] == '.')
			continue;
		seen++;
		n = readlinkat(dirfd(d), e->d_name, link, sizeof link - 1);
		if (n <= 0)
			continue;
		link[n] = 0;
		cb(e->d_name, link, data);
	}
	return seen;
}

struct socket_call {
	void (*cb)(uint32_t inode, uint32_t pid, void *data);
	uint32_t pid;
	void *data;
};

static void socket_link(const char *fd, const char *link, void *data)
{
	const struct socket_call *c = data;
	unsigned long inode;
	char *end;

	if (strncmp(link, "socket:[", 8))
		return;
	inode = strtoul(link + 8, &end, 10);
	if (*end == ']' && inode <= UINT32_MAX)
		c->cb((uint32_t)inode, c->pid, c->data);
}

size_t weir_proc_sockets(uint32_t pid, size_t budget, void (*cb)(uint32_t inode, uint32_t pid, void *data), void *data)
{
	struct socket_call c = { cb, pid, data };

	return weir_proc_links(pid, budget, socket_link, &c);
}

static const char *base_name(const char *path)
{
	const char *s = strrchr(path, '/');

	return s && s[1] ? s + 1 : path;
}

/* "python3.11" is python: a known name, then at most a version. */
static bool is_interpreter(const char *base)
{
	static const char *const known[] = { "python", "perl", "ruby", "node", "nodejs", "bash", "sh",
					     "dash",   "zsh",  "php",  "lua",  "java",   "deno", "bun" };

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		size_t n = strlen(known[i]);

		if (!strncmp(base, known[i], n) && strspn(base + n, "0123456789.") == strlen(base + n))
			return true;
	}
	return false;
}

/*
 * The script in the arguments of an interpreter: the first that is no option. "-m MODULE" and "-jar FILE"
 * name what runs; after "-c" or "-e" comes a program text, which is not a name.
 */
static void script_of(const char *args, const char *end, char *buf, size_t size)
{
	buf[0] = 0;
	for (const char *a = args; a < end; a += strlen(a) + 1) {
		const char *next = a + strlen(a) + 1;

		if (a[0] != '-') {
			if (a[0])
				snprintf(buf, size, "%s", base_name(a));
			return;
		}
		if (!strcmp(a, "-c") || !strcmp(a, "-e") || !strcmp(a, "-")) {
			snprintf(buf, size, "%s", a);
			return;
		}
		if ((!strcmp(a, "-m") || !strcmp(a, "-jar")) && next < end) {
			snprintf(buf, size, "%s %s", a, base_name(next));
			return;
		}
	}
}

void weir_proc_program_of(const char *comm, const char *exe, const char *cmdline, size_t len, char *buf, size_t size)
{
	const char *base = len ? base_name(cmdline) : "";
	char script[48], first[16];

	if (*base == '-') /* a login shell */
		base++;
	if (is_interpreter(base)) {
		script_of(cmdline + strlen(cmdline) + 1, cmdline + len, script, sizeof script);
		snprintf(first, sizeof first, "%s", base);
		snprintf(buf, size, script[0] ? "%s %s" : "%s", first, script);
		return;
	}
	/* comm is cut at 15 bytes; the executable's own name may say the rest */
	if (strlen(comm) == 15 && !strncmp(base_name(exe), comm, 15)) {
		const char *name = base_name(exe), *gone = strstr(name, " (deleted)");

		snprintf(buf, size, "%.*s", gone ? (int)(gone - name) : (int)strlen(name), name);
		return;
	}
	snprintf(buf, size, "%s", comm);
}

void weir_proc_program(uint32_t pid, char *buf, size_t size)
{
	char comm[32], cmdline[1024], exe[256], path[64];
	ssize_t n = weir_proc_read(pid, "comm", comm, sizeof comm), len, e;

	if (n > 0 && comm[n - 1] == '\n')
		comm[n - 1] = 0;
	len = weir_proc_read(pid, "cmdline", cmdline, sizeof cmdline);
	snprintf(path, sizeof path, "/proc/%u/exe", pid);
	e = readlink(path, exe, sizeof exe - 1);
	exe[e > 0 ? e : 0] = 0;
	weir_proc_program_of(n > 0 ? comm : "", exe, cmdline, len > 0 ? (size_t)len : 0, buf, size);
}

/* The id in "docker-<64 hex>.scope", "cri-containerd-<64 hex>.scope" or a bare "<64 hex>". */
static const char *container_id(const char *c, size_t len)
{
	for (size_t i = 0; i + 64 <= len; i++) {
		size_t n = 0;

		while (n < 64 && isxdigit((unsigned char)c[i + n]))
			n++;
		if (n == 64 && (i == 0 || c[i - 1] == '-'))
			return c + i;
	}
	return NULL;
}

static bool ends_with(const char *s, size_t n, const char *suffix)
{
	size_t k = strlen(suffix);

	return n > k && !memcmp(s + n - k, suffix, k);
}

/* From the leaf upwards: the innermost container or service. */
static bool unit_of_path(const char *path, size_t len, char *buf, size_t size)
{
	while (len) {
		size_t start = len;
		const char *c, *id;

		while (start && path[start - 1] != '/')
			start--;
		c = path + start;
		id = container_id(c, len - start);
		if (id) {
			snprintf(buf, size, "container %.12s", id);
			return true;
		}
		if (ends_with(c, len - start, ".service")) {
			/* the user's own manager says less than the user's name */
			if (!strncmp(c, "user@", 5))
				return false;
			snprintf(buf, size, "%.*s", (int)(len - start), c);
			return true;
		}
		len = start ? start - 1 : 0;
	}
	return false;
}

void weir_proc_unit_of(const char *cgroup, char *buf, size_t size)
{
	buf[0] = 0;
	/* "0::/a/b" of cgroup v2, "1:name=systemd:/a/b" and its like of v1: the first line that tells something */
	while (*cgroup) {
		size_t len = strcspn(cgroup, "\n");
		const char *path = memchr(cgroup, ':', len);

		path = path ? memchr(path + 1, ':', len - (size_t)(path + 1 - cgroup)) : NULL;
		if (path && unit_of_path(path + 1, len - (size_t)(path + 1 - cgroup), buf, size))
			return;
		cgroup += len + (cgroup[len] == '\n');
	}
}

void weir_proc_unit(uint32_t pid, char *buf, size_t size)
{
	char text[4096] = "";

	buf[0] = 0;
	if (weir_proc_read(pid, "cgroup", text, sizeof text) > 0)
		weir_proc_unit_of(text, buf, size);
}
