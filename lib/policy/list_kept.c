/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file of addresses held when it was read last, as a copy that a start takes when it finds the file broken,
 * missing or empty. A copy belongs to the path of the file, and is taken whole or not at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/model.h"
#include "lib/util/cleanup.h"
#include "lib/util/digest.h"
#include "lib/util/file.h"

#define MAGIC 0x315453494c524557u /* "WERLIST1" */

struct head {
	uint64_t magic, mark, n; /* mark: of the file as it was read */
	uint8_t text[32], ranges[32]; /* SHA-256 of its text, and of the ranges that follow */
};

static void digest(const void *data, size_t len, uint8_t ret[32])
{
	SHA2_CTX sha;

	SHA256Init(&sha);
	weir_sha256_update(&sha, data, len);
	SHA256Final(ret, &sha);
}

static void name_of(const struct weir_p_set *s, char name[WEIR_LIST_COPY_NAME])
{
	uint8_t d[32];
	uint64_t h;

	digest(s->path, strlen(s->path), d);
	memcpy(&h, d, sizeof h);
	snprintf(name, WEIR_LIST_COPY_NAME, "list-%016llx", (unsigned long long)h);
}

static int copy_open(const char *dir, const struct weir_p_set *s)
{
	_cleanup_close_ int dfd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char name[WEIR_LIST_COPY_NAME];
	int fd;

	if (dfd < 0)
		return -errno;
	name_of(s, name);
	fd = openat(dfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

int weir_list_kept(struct weir_policy *p, struct weir_p_set *s, uint64_t *ret_mark)
{
	_cleanup_close_ int fd = copy_open(p->keep->dir, s);
	_cleanup_free_ char *data = NULL;
	uint8_t found[32];
	struct head h;
	size_t len;
	int err = fd < 0 ? fd : weir_fd_read(fd, sizeof h + WEIR_SET_LINES_MAX * sizeof *s->ranges.v, &data, &len);

	if (err < 0)
		return err;
	if (len < sizeof h)
		return -EBADMSG;
	memcpy(&h, data, sizeof h);
	if (h.magic != MAGIC || h.n > WEIR_SET_LINES_MAX || len != sizeof h + h.n * sizeof *s->ranges.v)
		return -EBADMSG;
	digest(data + sizeof h, len - sizeof h, found);
	if (memcmp(found, h.ranges, sizeof found))
		return -EBADMSG;
	s->ranges.n = 0;
	if (weir_ranges_reserve(&p->arena, &s->ranges, h.n) < 0)
		return -ENOMEM;
	if (h.n)
		memcpy(s->ranges.v, data + sizeof h, len - sizeof h);
	s->ranges.n = h.n;
	memcpy(s->sha, h.text, sizeof s->sha);
	*ret_mark = h.mark;
	return 0;
}

/* The copy there was made of the file as it was read for this policy. */
static bool is_kept(const char *dir, const struct weir_p_set *s)
{
	_cleanup_close_ int fd = copy_open(dir, s);
	struct head h;

	return fd >= 0 && read(fd, &h, sizeof h) == sizeof h && h.magic == MAGIC && h.mark == s->mark &&
	       !memcmp(h.text, s->sha, sizeof h.text);
}

int weir_policy_list_copy(const struct weir_policy *p, size_t i, const char *dir, char name[WEIR_LIST_COPY_NAME],
			  void **ret, size_t *ret_len)
{
	const struct weir_p_set *s;
	struct head h = { .magic = MAGIC };
	size_t len;
	char *data;

	if (i >= p->n_sets)
		return -ENOENT;
	s = p->sets[i];
	if (!s->path || s->stale)
		return -EALREADY;
	name_of(s, name);
	if (is_kept(dir, s))
		return -EALREADY;
	len = s->ranges.n * sizeof *s->ranges.v;
	data = malloc(sizeof h + len);
	if (!data)
		return -ENOMEM;
	h.mark = s->mark;
	h.n = s->ranges.n;
	memcpy(h.text, s->sha, sizeof h.text);
	if (len)
		memcpy(data + sizeof h, s->ranges.v, len);
	digest(data + sizeof h, len, h.ranges);
	memcpy(data, &h, sizeof h);
	*ret = data;
	*ret_len = sizeof h + len;
	return 0;
}

bool weir_policy_list_named(const struct weir_policy *p, const char *name)
{
	char own[WEIR_LIST_COPY_NAME];

	for (size_t i = 0; i < p->n_sets; i++) {
		if (!p->sets[i]->path)
			continue;
		name_of(p->sets[i], own);
		if (!strcmp(own, name))
			return true;
	}
	return false;
}

const char *weir_policy_lists_stale(const struct weir_policy *p, uint32_t *ret_more)
{
	const char *first = NULL;
	uint32_t more = 0;

	for (size_t i = 0; i < p->n_sets; i++) {
		if (!p->sets[i]->stale)
			continue;
		more += first != NULL;
		first = first ?: p->sets[i]->stale;
	}
	if (ret_more)
		*ret_more = more;
	return first;
}
