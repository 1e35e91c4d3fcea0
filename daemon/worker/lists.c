/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of addresses that the policy names. Once a second it is looked whether they are still what was read; who
 * writes one may need a while, so what has changed is read when it was the same at two looks. What cannot be read, or
 * has a broken line, stays as it is in force, whatever the others hold; status says so until the file is sound again.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/worker/api.h"
#include "daemon/worker/worker.h"
#include "lib/state/file.h"
#include "lib/util/cleanup.h"

#define DEATHS_MAX 2
#define RETRY_MIN_S 60
#define RETRY_MAX_S 3600
#define LATEST_S 10 /* ticks after the first write that was seen */
#define KEEP_AGAIN_S 30 /* a disk that is full is not written to every second */

bool weir_lists_elsewhere(const struct weir_worker *w)
{
	const struct weir_gen *g = weir_history_find(&w->history, w->generation);

	return g && strcmp(g->path, w->path) && weir_policy_files_read(w->policy);
}

/* The generation is the same, with other lists, or read elsewhere: a restart that finds these takes it for what it is. */
void weir_lists_note(struct weir_worker *w)
{
	struct weir_gen *g = weir_history_find(&w->history, w->generation);
	struct weir_gen *back = w->pending.on ? weir_history_find(&w->history, w->pending.back.generation) : NULL;

	if (g) {
		memcpy(g->lists, weir_policy_lists_digest(w->policy), sizeof g->lists);
		snprintf(g->path, sizeof g->path, "%s", w->path);
		g->source = w->source;
	}
	if (back)
		memcpy(back->lists, weir_policy_lists_digest(w->pending.back.policy), sizeof back->lists);
}

#define READING_NAME "lists-reading" /* in the state directory: how many have begun to read them and did not end it */

void weir_lists_begin(struct weir_worker *w)
{
	_cleanup_free_ char *text = NULL;
	unsigned deaths = 0;
	char now[16];
	size_t len;

	if (!weir_state_read(w->o.state_dir, READING_NAME, sizeof now, &text, &len) && sscanf(text, "%u", &deaths) != 1)
		deaths = 0;
	w->lists.keep.dir = w->o.state_dir;
	if (deaths >= DEATHS_MAX) {
		snprintf(w->lists.instead, sizeof w->lists.instead, "%u workers ended while they read it (%.80s)", deaths,
			 w->o.cause ?: "the cause is not known");
		w->lists.keep.instead = w->lists.instead;
	}
	snprintf(now, sizeof now, "%u\n", deaths < 1000 ? deaths + 1 : deaths);
	w->lists.reading = !weir_state_replace(w->o.state_dir, READING_NAME, now, strlen(now));
}

void weir_lists_end(struct weir_worker *w)
{
	char path[PATH_MAX];

	if (!w->lists.reading)
		return;
	w->lists.reading = false;
	snprintf(path, sizeof path, "%s/" READING_NAME, w->o.state_dir);
	unlink(path);
}

/* Which files something older stands in for; else "". */
static void tell_stale(const struct weir_policy *p, char *why, size_t size)
{
	uint32_t more;
	const char *first = weir_policy_lists_stale(p, &more);

	if (first && more)
		snprintf(why, size, "%s (and %u more)", first, more);
	else
		snprintf(why, size, "%s", first ?: "");
}

static void say_stale(struct weir_worker *w, const char *why)
{
	snprintf(w->lists.why, sizeof w->lists.why, "%s%s", why[0] ? "lists in force are older than their files: " : "", why);
}

void weir_lists_stale(struct weir_worker *w)
{
	char why[sizeof w->lists.why - 64];

	tell_stale(w->policy, why, sizeof why);
	say_stale(w, why);
}

/* Copies of files that the policy names no more: they may be large. */
static void lists_forget(const struct weir_worker *w)
{
	DIR *dir = opendir(w->o.state_dir);
	const struct dirent *e;

	while (dir && (e = readdir(dir))) {
		if (!strncmp(e->d_name, "list-", 5) && !weir_policy_list_named(w->policy, e->d_name))
			unlinkat(dirfd(dir), e->d_name, 0);
	}
	if (dir)
		closedir(dir);
}

/* Copies for the next start, once nothing may go back to what was before. */
static void lists_keep(struct weir_worker *w, uint64_t read)
{
	uint64_t now = (uint64_t)time(NULL);
	int r = 0;

	if (w->lists.kept == read || w->pending.on || now < w->lists.keep_again)
		return;
	for (size_t i = 0; r != -ENOENT; i++) {
		_cleanup_free_ void *copy = NULL;
		char name[WEIR_LIST_COPY_NAME];
		size_t len;

		r = weir_policy_list_copy(w->policy, i, w->o.state_dir, name, &copy, &len);
		if (!r)
			r = weir_state_replace(w->o.state_dir, name, copy, len);
		if (r && r != -ENOENT && r != -EALREADY) {
			weir_failures_saved(w, r);
			w->lists.keep_again = now + KEEP_AGAIN_S;
			return;
		}
		weir_port_busy(w->port);
	}
	lists_forget(w);
	w->lists.kept = read;
}

void weir_lists_exchanged(struct weir_worker *w)
{
	w->lists.tried = 0;
	w->lists.delay = 0;
	w->lists.again = false;
}

void weir_lists_came_back(struct weir_worker *w)
{
	const struct weir_gen *g = weir_history_find(&w->history, w->generation);

	w->lists.again = !g || weir_policy_lists_stale(w->policy, NULL) ||
			 memcmp(g->lists, weir_policy_lists_digest(w->policy), sizeof g->lists);
}

/*
 * The same files for what a change that waits goes back to: it has the lists of today, even when the kernel goes back and
 * nobody of us lives. NULL: it cannot have them; it reads them once it stands again, and says why.
 */
static struct weir_policy *back_again(struct weir_worker *w, struct weir_policy *now)
{
	_cleanup_policy_ struct weir_policy *p = NULL;
	const struct weir_policy *old = w->pending.back.policy;
	struct weir_diags diags = { 0 };
	int r;

	if (!w->pending.on || old == w->policy)
		return w->pending.on ? now : NULL;
	if (weir_policy_files_read(old) == weir_policy_files_now(old) && !weir_policy_lists_stale(old, NULL))
		return NULL;
	r = weir_policy_again(old, NULL, &p, &diags);
	weir_diags_free(&diags);
	return r ? NULL : TAKE_PTR(p);
}

/* Nothing came of it but who is to blame. */
static bool as_before(const struct weir_policy *p, const struct weir_policy *now)
{
	return weir_policy_lists_stale(now, NULL) && !memcmp(weir_policy_lists_digest(p), weir_policy_lists_digest(now), 32);
}

/* *why: what it failed for; on success, which files stay as they were. `held`: see weir_policy_again. */
static int lists_take(struct weir_worker *w, const char *const *held, char *why, size_t size)
{
	struct weir_diags diags = { 0 };
	struct weir_change c = { 0 };
	char failed[512] = "";
	bool both = false;
	int r;

	why[0] = 0;
	weir_port_busy(w->port);
	r = weir_policy_again(w->policy, held, &c.policy, &diags);
	if (!r)
		tell_stale(c.policy, why, size);
	if (!r && !w->pending.on && as_before(w->policy, c.policy))
		r = -ENODATA;
	if (!r && weir_late_files(w, c.policy)) {
		c.back = back_again(w, c.policy);
		both = c.back == c.policy;
		r = weir_worker_put(w, &c, &diags, failed, sizeof failed);
		if (r)
			snprintf(why, size, "%s", failed);
	}
	if (r && !why[0] && diags.n && diags.v[0].file)
		snprintf(why, size, "%s:%u: %s", diags.v[0].file, diags.v[0].line, diags.v[0].message);
	else if (r && !why[0])
		snprintf(why, size, "%s", diags.n ? diags.v[0].message : strerror(-r));
	if (!both) /* what was not taken */
		weir_policy_free(c.back);
	if (r)
		weir_policy_free(c.policy);
	weir_diags_free(&diags);
	return r;
}

#define UNFIT "with it the policy cannot be put in force: %.200s"

/*
 * Together they cannot be put in force, as `r` and *why say: one after the other. A file that reads well and is too large,
 * or for everybody, costs itself alone.
 */
static int lists_apart(struct weir_worker *w, int r, char *why, size_t size)
{
	size_t n = weir_policy_sets(w->policy), changed = 0, refused = 0;
	const char **held = calloc(n + 1, sizeof *held);
	char **said = calloc(n + 1, sizeof *said), one[512];
	uint8_t text[32];

	memcpy(text, weir_policy_digest(w->policy), sizeof text);
	for (size_t i = 0; held && i < n; i++) {
		held[i] = weir_policy_list_changed(w->policy, i) ? "" : NULL;
		changed += held[i] != NULL;
	}
	for (size_t i = 0; held && said && changed && i < n; i++) {
		int own;

		if (!held[i])
			continue;
		held[i] = NULL;
		own = changed > 1 ? lists_take(w, held, one, sizeof one) : r;
		if ((own && own != -ENODATA && own != -EINVAL) || memcmp(text, weir_policy_digest(w->policy), sizeof text)) {
			r = own ? own : r; /* no fault of the file, or another policy stands, whose sets are others */
			refused = 0;
			break;
		}
		if (!own || own == -ENODATA) {
			r = own ? r : 0;
			continue;
		}
		if (asprintf(&said[i], UNFIT, changed > 1 ? one : why) < 0)
			said[i] = NULL;
		held[i] = said[i] ?: UNFIT;
		refused++;
	}
	if (refused && lists_take(w, held, why, size) == 0)
		r = 0; /* what is in force knows why */
	for (size_t i = 0; said && i < n; i++)
		free(said[i]);
	free(said);
	free(held);
	return r;
}

static int lists_read(struct weir_worker *w, char *why, size_t size)
{
	int r = lists_take(w, NULL, why, size);

	/* others are no fault of a file, and another policy may stand after them */
	return r == -EINVAL ? lists_apart(w, r, why, size) : r;
}

/* As they were read and as they stand now, of what a change that waits goes back to, too. */
static uint64_t marks(const struct weir_worker *w, uint64_t (*of)(const struct weir_policy *p))
{
	const struct weir_policy *back = w->pending.on ? w->pending.back.policy : NULL;

	return back && back != w->policy ? of(w->policy) * 0x9e3779b97f4a7c15u + of(back) : of(w->policy);
}

/* What is not in the file itself may pass: a helper that died, no memory, a kernel that refused. */
static bool retry_now(const struct weir_worker *w, uint64_t now)
{
	return now != w->lists.tried || (w->lists.delay && w->ticks >= w->lists.retry);
}

static void retry_later(struct weir_worker *w, bool same)
{
	w->lists.delay = !same ? RETRY_MIN_S : w->lists.delay < RETRY_MAX_S ? w->lists.delay * 2 : RETRY_MAX_S;
	w->lists.retry = w->ticks + w->lists.delay;
}

void weir_lists_tick(struct weir_worker *w)
{
	uint64_t read = marks(w, weir_policy_files_read), now;
	char why[sizeof w->lists.why - 64];
	bool same, due;
	int r;

	/* after a crash the policy in force may not be to be had: then what is in force stays */
	if (!read || memcmp(w->img.h->source_digest, weir_policy_digest(w->policy), 32)) {
		w->lists.why[0] = 0;
		return;
	}
	now = marks(w, weir_policy_files_now);
	due = now != read || w->lists.again;
	if (!due)
		weir_lists_stale(w);
	if (now == read)
		w->lists.latest = w->ticks + LATEST_S;
	lists_keep(w, read); /* of what is in force, whatever stands in the files by now */
	if (!due || (now != w->lists.seen && w->ticks < w->lists.latest) || !retry_now(w, now)) {
		w->lists.seen = now;
		return;
	}
	w->lists.latest = w->ticks + LATEST_S;
	same = w->lists.delay && now == w->lists.tried;
	w->lists.tried = now;
	weir_lists_begin(w);
	r = lists_read(w, why, sizeof why);
	weir_lists_end(w);
	w->lists.tried = now; /* also where something else was taken: that does not fit any better now */
	say_stale(w, why);
	w->lists.again = why[0];
	if (why[0])
		retry_later(w, same);
	else
		w->lists.delay = 0;
	weir_api_audit(w, 0, getpid(), "lists read again", w->path, why[0] ? why : "ok");
	if (r)
		return;
	weir_lists_note(w);
	weir_failures_saved(w, weir_history_save(w->o.state_dir, &w->history));
	weir_worker_kill(w);
}
