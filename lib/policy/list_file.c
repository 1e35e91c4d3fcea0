/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses of a set: from the policy, and from a file of one a line. */
#include <errno.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/model.h"
#include "lib/util/cleanup.h"
#include "lib/util/digest.h"
#include "lib/util/file.h"

#define RANGE_TEXT_MAX 128
#define LIST_LARGE "it is larger than 128 MiB"

bool weir_set_blocks(const struct weir_policy *p, const struct weir_p_set *s)
{
	const struct weir_p_addr *a = p->doc.blocklists.v;

	for (uint32_t i = 0; i < p->doc.blocklists.n; i++)
		if (a[i].set && !strcmp(a[i].set, s->name))
			return true;
	return false;
}

bool weir_range_everybody(const struct weir_range *r, struct weir_why *why)
{
	bool six = !r->lo && !~r->hi;

	if (!six && (r->lo > WEIR_V4_LOW || r->hi < WEIR_V4_HIGH))
		return false;
	if (!six && (r->lo < WEIR_V4_LOW || r->hi > WEIR_V4_HIGH))
		snprintf(why->message, sizeof why->message,
			 "it holds ::ffff:0:0/96, where IPv4 addresses stand among those of "
			 "IPv6: a blocklist is not for everybody");
	else
		snprintf(why->message, sizeof why->message, "every IPv%c address: a blocklist is not for everybody", six ? '6' : '4');
	snprintf(why->hint, sizeof why->hint, "what happens to everybody is said by 'default'");
	return true;
}

/* How much of a line stands in front of a comment: behind '#', or behind ';' as in Spamhaus' lists. */
static size_t before_comment(const char *text, size_t n)
{
	const char *hash = memchr(text, '#', n), *semicolon;

	n = hash ? (size_t)(hash - text) : n;
	semicolon = memchr(text, ';', n);
	return semicolon ? (size_t)(semicolon - text) : n;
}

/* One line of a file of addresses; its text is changed and put back. */
static int add_range(struct weir_policy *p, struct weir_p_set *s, bool blocks, const struct weir_source *src, unsigned line,
		     char *text, size_t n, struct weir_diags *diags)
{
	size_t lead = strspn(text, " \t");
	struct weir_range r;
	struct weir_why why;
	struct weir_diag *d;
	char end;
	int bad = -EINVAL;

	lead = lead < n ? lead : n;
	text += lead;
	n = before_comment(text, n - lead);
	while (n && (text[n - 1] == ' ' || text[n - 1] == '\t' || text[n - 1] == '\r'))
		n--;
	if (!n)
		return 0;
	if (n < RANGE_TEXT_MAX && !memchr(text, 0, n)) {
		end = text[n];
		text[n] = 0;
		bad = weir_range_parse(text, &r, &why);
		text[n] = end;
		if (!bad && !(blocks && weir_range_everybody(&r, &why)))
			return weir_ranges_add(&p->arena, &s->ranges, r);
	} else {
		snprintf(why.message, sizeof why.message, "not an address%s", n < RANGE_TEXT_MAX ? ": a byte 0 in a text" : "");
		why.hint[0] = 0;
	}
	d = weir_source_diag(diags, WEIR_ERROR, src, line, (unsigned)lead, (unsigned)n, "%s", why.message);
	if (why.hint[0])
		weir_diag_hint(d, "%s", why.hint);
	return -EINVAL;
}

static void lists_digest_add(struct weir_policy *p, const uint8_t text[32])
{
	SHA2_CTX sha;

	SHA256Init(&sha);
	weir_sha256_update(&sha, p->lists, sizeof p->lists);
	weir_sha256_update(&sha, text, 32);
	SHA256Final(p->lists, &sha);
}

static size_t count_lines(const char *t, size_t len)
{
	const char *end = t + len;
	size_t n = 0;

	for (; t < end; n++) {
		const char *nl = memchr(t, '\n', (size_t)(end - t));

		t = nl ? nl + 1 : end;
	}
	return n;
}

/* What editors of Windows put in front of UTF-8. */
static size_t byte_order_mark(const char *t, size_t len)
{
	return len >= 3 && !memcmp(t, "\xef\xbb\xbf", 3) ? 3 : 0;
}

/* The text of such a file may be much: it is let go when it has been read. */
static int load_file(struct weir_policy *p, struct weir_p_set *s, struct weir_diags *diags)
{
	const struct weir_node *at = weir_node_get(weir_node_get(s->node, "addresses"), "file");
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	struct weir_source src = { 0 };
	bool blocks = weir_set_blocks(p, s);
	unsigned line = 0;
	SHA2_CTX sha;
	size_t lines;
	int err, bad = 0;

	if (!p->dir) {
		weir_node_error(diags, at, "a file of addresses has no place here: the policy itself is no file");
		return -EINVAL;
	}
	src.name = s->path = weir_policy_beside(&p->arena, p->dir, s->file);
	if (!src.name)
		return -ENOMEM;
	fd = weir_file_open(src.name);
	s->mark = weir_fd_mark(fd);
	err = fd < 0 ? fd : weir_fd_read(fd, WEIR_LIST_FILE_MAX, &text, &src.len);
	if (err < 0) {
		weir_node_error(diags, at, "cannot read '%s': %s", src.name, weir_policy_file_trouble(err, LIST_LARGE));
		return err;
	}
	src.text = text;
	SHA256Init(&sha);
	weir_sha256_update(&sha, text, src.len);
	SHA256Final(s->sha, &sha);
	lines = count_lines(text, src.len);
	if (lines > WEIR_SET_LINES_MAX) {
		weir_node_error(diags, at, "'%s' has %zu lines, at most %u", src.name, lines, WEIR_SET_LINES_MAX);
		return -EINVAL;
	}
	if (weir_ranges_reserve(&p->arena, &s->ranges, s->ranges.n + lines) < 0)
		return -ENOMEM;
	for (char *t = text + byte_order_mark(text, src.len), *end = text + src.len; t < end;) {
		char *nl = memchr(t, '\n', (size_t)(end - t));
		size_t n = (size_t)((nl ? nl : end) - t);

		err = add_range(p, s, blocks, &src, ++line, t, n, diags);
		if (err == -ENOMEM)
			return err;
		if (err < 0)
			bad = err;
		if (diags->dropped)
			return -EINVAL;
		t += n + 1;
	}
	return bad;
}

/* The copy, and the file is not read: that could not be survived. -ENOENT: there is none. */
static int keep_only(struct weir_policy *p, struct weir_p_set *s)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	uint64_t mark;
	int n;

	s->path = p->dir ? weir_policy_beside(&p->arena, p->dir, s->file) : NULL;
	if (!s->path || weir_list_kept(p, s, &mark) < 0)
		return -ENOENT;
	fd = weir_file_open(s->path);
	s->mark = weir_fd_mark(fd);
	n = s->mark == mark ? 0 : asprintf(&text, "%s: %s", s->path, p->keep->instead);
	s->stale = n > 0 ? weir_arena_text(&p->arena, text, (size_t)n) : NULL;
	if (n < 0 || (n && !s->stale))
		return -ENOMEM;
	lists_digest_add(p, s->sha);
	return 0;
}

/* What the set held when the same text was read before. */
static int list_of_before(struct weir_policy *p, struct weir_p_set *s)
{
	for (size_t i = 0; i < p->old->n_sets; i++) {
		const struct weir_p_set *was = p->old->sets[i];

		if (!was->path || strcmp(was->name, s->name))
			continue;
		s->ranges.n = 0;
		if (weir_ranges_reserve(&p->arena, &s->ranges, was->ranges.n) < 0)
			return -ENOMEM;
		if (was->ranges.n)
			memcpy(s->ranges.v, was->ranges.v, was->ranges.n * sizeof *s->ranges.v);
		s->ranges.n = was->ranges.n;
		memcpy(s->sha, was->sha, sizeof s->sha);
		return 0;
	}
	return -ENOENT;
}

/* The file is left alone. -ENOENT: it is to be read. */
static int held(struct weir_policy *p, struct weir_p_set *s)
{
	_cleanup_close_ int fd = -1;
	const char *why = NULL;
	char *text = NULL;
	size_t i = 0;
	int err;

	while (i < p->old->n_sets && (!p->old->sets[i]->path || strcmp(p->old->sets[i]->name, s->name)))
		i++;
	why = i < p->old->n_sets ? p->held[i] : NULL;
	if (!why)
		return -ENOENT;
	s->path = p->dir ? weir_policy_beside(&p->arena, p->dir, s->file) : NULL;
	err = s->path ? list_of_before(p, s) : -ENOMEM;
	if (err)
		return err;
	s->mark = p->old->sets[i]->mark;
	if (*why) {
		fd = weir_file_open(s->path);
		s->mark = weir_fd_mark(fd);
		if (asprintf(&text, "%s: %s", s->path, why) < 0)
			return -ENOMEM;
		s->stale = weir_arena_text(&p->arena, text, strlen(text));
		free(text);
	} else if (p->old->sets[i]->stale) {
		s->stale = weir_arena_text(&p->arena, p->old->sets[i]->stale, strlen(p->old->sets[i]->stale));
	}
	lists_digest_add(p, s->sha);
	return 0;
}

/* One file must not cost the others: a start, and who reads them again, goes on with what was in force. */
static int load_or_keep(struct weir_policy *p, struct weir_p_set *s, struct weir_diags *diags)
{
	_cleanup_free_ char *text = NULL;
	struct weir_diags own = { 0 };
	uint64_t mark;
	int err = p->keep && p->keep->instead ? keep_only(p, s) : p->held ? held(p, s) : -ENOENT, kept, n;

	if (err != -ENOENT)
		return err;
	err = load_file(p, s, p->keep || p->old ? &own : diags);
	if ((!p->keep && !p->old) || !s->path || (!err && s->ranges.n) || err == -ENOMEM)
		goto out;
	kept = p->keep ? weir_list_kept(p, s, &mark) : list_of_before(p, s);
	if (!err && (kept || !s->ranges.n))
		goto out; /* it was empty before */
	if (kept)
		s->ranges.n = 0;
	n = !err ? asprintf(&text, "%s " WEIR_LIST_EMPTY, s->path) :
	    own.n ? asprintf(&text, "%s:%u: %s%s", own.v[0].file, own.v[0].line, own.v[0].message,
			     kept ? "; no copy is kept, it counts as empty" : "") :
		    asprintf(&text, "%s: %s%s", s->path, strerror(-err), kept ? "; no copy is kept, it counts as empty" : "");
	s->stale = n < 0 ? NULL : weir_arena_text(&p->arena, text, (size_t)n);
	err = s->stale ? 0 : -ENOMEM;
out:
	weir_diags_free(&own);
	if (!err)
		lists_digest_add(p, s->sha);
	return err;
}

int weir_set_load(struct weir_policy *p, struct weir_p_set *s, struct weir_diags *diags)
{
	const struct weir_p_addr *a = s->addresses.v;
	int err = 0;

	for (uint32_t i = 0; i < s->addresses.n && !err; i++)
		err = weir_ranges_add(&p->arena, &s->ranges, a[i].range);
	if (!err && s->file && !p->bare)
		err = load_or_keep(p, s, diags);
	return err < 0 ? err : weir_ranges_normal(&p->arena, &s->ranges);
}

static uint64_t files_mark(const struct weir_policy *p, bool now)
{
	uint64_t h = 0;

	for (size_t i = 0; i < p->n_sets; i++) {
		uint64_t mark = p->sets[i]->mark;

		if (!p->sets[i]->path)
			continue;
		if (now) {
			_cleanup_close_ int fd = weir_file_open(p->sets[i]->path);

			mark = weir_fd_mark(fd);
		}
		h = (h ^ mark) * 0xff51afd7ed558ccdu | 1;
	}
	return h;
}

size_t weir_policy_sets(const struct weir_policy *p)
{
	return p->n_sets;
}

const char *weir_policy_list_changed(const struct weir_policy *p, size_t i)
{
	const struct weir_p_set *s = p->sets[i];
	_cleanup_close_ int fd = s->path ? weir_file_open(s->path) : -1;

	return s->path && (s->stale || weir_fd_mark(fd) != s->mark) ? s->path : NULL;
}

uint64_t weir_policy_files_read(const struct weir_policy *p)
{
	return files_mark(p, false);
}

uint64_t weir_policy_files_now(const struct weir_policy *p)
{
	return files_mark(p, true);
}
