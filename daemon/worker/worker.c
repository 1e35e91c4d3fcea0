/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "daemon/worker/api.h"
#include "daemon/worker/worker.h"
#include "lib/event/event.h"
#include "lib/event/ring.h"
#include "lib/state/file.h"
#include "lib/util/cleanup.h"
#include "lib/util/dir.h"
#include "lib/util/file.h"

#define OWNERS_EVERY_MS 2000
#define EXPIRE_RETRY_S 30
#define CATCH_UP_TURNS 16 /* of WEIR_RING_TURN records */

#define SAVED_NAME "policy.yaml" /* in the state directory: the copy of what was confirmed last */

static void policy_place(struct weir_worker *w, enum weir_policy_source source, const char *path)
{
	w->source = source;
	snprintf(w->path, sizeof w->path, "%s", path);
}

/* A file of ours that is there but cannot be entered is an error too: only "there is none" goes on. */
static bool exists(const char *path)
{
	return !access(path, F_OK) || errno != ENOENT;
}

/* Who names a file is told its mistakes, and where nothing was in force nothing is lost. */
const struct weir_list_keep *weir_worker_kept_lists(const struct weir_worker *w)
{
	bool ours = w->o.resume || w->lists.standing || (!w->o.policy && w->origin.boot != WEIR_SOURCE_BUILTIN);

	return w->lists.starting && ours ? &w->lists.keep : NULL;
}

int weir_worker_text_read(const struct weir_worker *w, const char *path, const char *text, size_t len,
			  struct weir_policy **ret, struct weir_diags *diags)
{
	_cleanup_free_ char *dir = strdup(path);
	char *slash = dir ? strrchr(dir, '/') : NULL;

	if (slash)
		*(slash == dir ? slash + 1 : slash) = 0;
	return weir_policy_read_text_kept(slash ? path : SAVED_NAME, slash ? dir : NULL, text, len, weir_worker_kept_lists(w),
					  ret, diags);
}

void weir_worker_known(const struct weir_worker *w, char *text, size_t size)
{
	const char *at, *dir = w->o.state_dir, *name = w->o.state_name;
	char out[PATH_MAX + 256];

	if (!strcmp(dir, name))
		return;
	for (char *from = text; (at = strstr(from, dir));) {
		size_t n = (size_t)(at - text);

		snprintf(out, sizeof out, "%.*s%s%s", (int)n, text, name, at + strlen(dir));
		snprintf(text, size, "%s", out);
		from = n + strlen(name) < size ? text + n + strlen(name) : text + strlen(text);
	}
}

/*
 * The copy of what was confirmed last. Its includes and lists stand beside the file that it was copied from, which
 * need not be there any more itself, or may have been edited since and never applied.
 */
static int saved_read(struct weir_worker *w, struct weir_diags *diags)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = weir_state_read(w->o.state_dir, SAVED_NAME, WEIR_STATE_FILE_MAX, &text, &len);

	if (r) {
		weir_diags_add(diags, WEIR_ERROR, w->o.state_name, 0, 0, 0, "the saved policy cannot be read: %s", strerror(-r));
		return r;
	}
	return weir_worker_text_read(w, w->origin.path, text, len, &w->policy, diags);
}

int weir_worker_keep(struct weir_worker *w)
{
	size_t len;
	const char *text = weir_policy_text(w->policy, &len);

	return weir_failures_saved(w, weir_state_replace(w->o.state_dir, SAVED_NAME, text, len));
}

/* The command line's; else what was confirmed last; else what there is; else the built-in one, which only looks. */
static int policy_choose(struct weir_worker *w, struct weir_diags *diags)
{
	char file[PATH_MAX], saved[PATH_MAX];
	bool copy = false;

	snprintf(file, sizeof file, "%s/policy.yaml", w->o.config_dir);
	snprintf(saved, sizeof saved, "%s/" SAVED_NAME, w->o.state_dir);
	if (w->o.policy)
		policy_place(w, strcmp(w->o.policy, file) ? WEIR_SOURCE_OTHER : WEIR_SOURCE_FILE, w->o.policy);
	else if (w->origin.boot == WEIR_SOURCE_SAVED)
		policy_place(w, WEIR_SOURCE_SAVED, *w->origin.path ? w->origin.path : SAVED_NAME);
	else if (w->origin.boot == WEIR_SOURCE_FILE && !strcmp(w->origin.path, file) && exists(saved))
		policy_place(w, WEIR_SOURCE_FILE, file), copy = true;
	else if (w->origin.boot == WEIR_SOURCE_FILE || weir_file_exists(file))
		policy_place(w, WEIR_SOURCE_FILE, file);
	else if (exists(saved)) /* the note of where the policy came from was lost, what was saved was not */
		policy_place(w, WEIR_SOURCE_SAVED, saved), weir_worker_known(w, w->path, sizeof w->path);
	else
		policy_place(w, WEIR_SOURCE_BUILTIN, "built-in");
	if (w->source == WEIR_SOURCE_BUILTIN)
		return weir_policy_read_text("built-in", NULL, weir_policy_builtin, strlen(weir_policy_builtin), &w->policy,
					     diags);
	w->saved_copy = copy || w->source == WEIR_SOURCE_SAVED;
	return w->saved_copy ? saved_read(w, diags) :
			       weir_policy_read_kept(w->path, weir_worker_kept_lists(w), &w->policy, diags);
}

/* What is in force was made from a policy that is not to be had here: that is looked for in the history. */
static int policy_none(struct weir_worker *w, struct weir_diags *diags)
{
	weir_diags_free(diags);
	*diags = (struct weir_diags){ 0 };
	return weir_policy_read_text("built-in", NULL, weir_policy_builtin, strlen(weir_policy_builtin), &w->policy, diags);
}

static int state_open(struct weir_worker *w, char *why, size_t why_size)
{
	const char *dir = w->o.state_dir;
	int r = weir_dir_prepare(dir, why, why_size);

	if (r == -EACCES && access(dir, X_OK)) /* it says what was confirmed: without it another policy would be taken */
		snprintf(why, why_size, "the worker (user %u) may not read %s: chown -R it", geteuid(), w->o.state_name);
	if (r)
		return r;
	r = weir_origin_load(dir, &w->origin, w->notes[0], sizeof w->notes[0]);
	if (!r)
		r = weir_overlay_load(dir, &w->overlay, w->notes[1], sizeof w->notes[1]);
	if (!r)
		r = weir_bans_load(dir, &w->bans, w->notes[2], sizeof w->notes[2]);
	if (!r)
		r = weir_history_load(dir, &w->history, w->notes[3], sizeof w->notes[3]);
	for (size_t i = 0; i < sizeof w->notes / sizeof *w->notes; i++)
		weir_worker_known(w, w->notes[i], sizeof w->notes[i]);
	if (r) {
		snprintf(why, why_size, "cannot read the state in %s: %s", w->o.state_name, strerror(-r));
		return r;
	}
	if (!w->o.resume) /* what is in force goes on with them, until they are taken out of it */
		weir_overlay_expire(&w->overlay, (uint64_t)time(NULL));
	weir_bans_expire(&w->bans, (uint64_t)time(NULL), NULL, NULL);
	return 0;
}

static int audit_open(struct weir_worker *w, char *why, size_t why_size)
{
	int r = weir_dir_prepare(w->o.log_dir, why, why_size);

	if (r && (r != -EACCES || !access(w->o.log_dir, X_OK))) /* what cannot be entered cannot be written: audit_full */
		return r;
	r = weir_audit_open(w->o.log_dir, &w->audit);
	if (r)
		snprintf(why, why_size, "cannot open %s/audit.log: %s", w->o.log_name, strerror(-r));
	return r;
}

/* The number of an earlier life goes on; it is the same generation only when policy and mode are the same. */
static void numbers_continue(struct weir_worker *w)
{
	const struct weir_kern_pinned *before = weir_port_before(w->port);

	w->generation = w->origin.generation;
	if (before->attached && before->generation > w->generation)
		w->generation = before->generation;
	if (before->attached)
		w->epoch_max = before->epoch_max > before->epoch ? before->epoch_max : before->epoch;
	if (w->history.last < w->generation)
		w->history.last = w->generation;
	if (before->attached && w->history.last < before->other_generation)
		w->history.last = before->other_generation;
}

/* Without a helper process: its work is done here. */
static int helper_take(struct weir_worker *w)
{
	int r = w->o.helper ? 0 : weir_helper_new_local(&w->own_helper);

	w->helper = w->o.helper ? w->o.helper : w->own_helper;
	if (!r)
		weir_helper_use(w->helper, w->owners);
	return r;
}

int weir_worker_open(const struct weir_worker_options *o, struct weir_port *p, struct weir_worker **ret,
		     struct weir_diags *diags, char *why, size_t why_size)
{
	struct weir_worker *w = calloc(1, sizeof *w);
	int r;

	why[0] = 0;
	if (!w)
		return -ENOMEM;
	w->o = *o;
	w->o.state_name = o->state_name ?: o->state_dir;
	w->o.log_name = o->log_name ?: o->log_dir;
	w->port = p;
	w->boot_ns = weir_host_boot_ns();
	w->started = (uint64_t)time(NULL);
	w->lists.starting = true;
	w->hits = json_object();
	r = w->hits ? weir_recent_init(&w->recent) : -ENOMEM;
	if (!r && getrandom(w->block_key, sizeof w->block_key, 0) != sizeof w->block_key)
		r = -errno;
	if (!r)
		r = weir_names_new(WEIR_NAMES_MAX, &w->names);
	if (!r)
		r = weir_owners_new(OWNERS_EVERY_MS, &w->owners);
	if (!r)
		r = helper_take(w);
	if (!r)
		r = state_open(w, why, why_size);
	if (!r)
		r = audit_open(w, why, why_size);
	if (!r)
		weir_lists_begin(w);
	if (!r)
		r = policy_choose(w, diags);
	if (w->audit) /* what is in force goes on: nothing has to stand in for what a start would take */
		r = !o->resume ? weir_failures_policy(w, r, diags) : r ? policy_none(w, diags) : 0;
	if (r) {
		weir_worker_free(w);
		return r;
	}
	if (o->has_mode || w->origin.has_mode) {
		w->has_ceiling = true;
		w->ceiling = o->has_mode ? o->mode : w->origin.mode;
	}
	numbers_continue(w);
	*ret = w;
	return 0;
}

int weir_worker_bans(struct weir_worker *w)
{
	_cleanup_free_ struct weir_keeper_ban *v = calloc(w->bans.n + 1, sizeof *v);
	_cleanup_free_ uint64_t *ends = calloc(w->bans.n + 1, sizeof *ends);
	int r = v && ends ? weir_bans_ends(&w->bans, ends) : -ENOMEM;

	if (r)
		return r;
	for (size_t i = 0; i < w->bans.n; i++)
		v[i] = (struct weir_keeper_ban){ w->bans.v[i].key, w->bans.v[i].id, ends[i] };
	return weir_port_bans(w->port, v, w->bans.n);
}

/* What the kernel shall know of bans, whatever an earlier life left there. */
static int bans_restore(struct weir_worker *w)
{
	int r = weir_worker_bans(w);

	if (r == -ENOMEM)
		return r;
	if (r)
		snprintf(w->bans_why, sizeof w->bans_why, "some bans are not in force: %s", strerror(-r));
	return 0;
}

int weir_worker_remember(struct weir_worker *w)
{
	w->origin.generation = w->generation;
	memcpy(w->origin.digest, weir_policy_digest(w->policy), 32);
	/* else the next start takes another one than what is in force, or nothing is in force yet */
	if (w->source == w->origin.boot && w->img.cfg)
		w->origin.guard = !weir_policy_shuts(w->policy) ? WEIR_BOOT_GUARD_NONE
				  : w->img.cfg->failures.choice[WEIR_FAILURE_NO_POLICY] == WEIR_NO_POLICY_OPEN ?
						 WEIR_BOOT_GUARD_OPEN :
						 WEIR_BOOT_GUARD_CLOSED;
	return weir_failures_saved(w, weir_origin_save(w->o.state_dir, &w->origin));
}

/* A disk that is full keeps the next start from knowing, not this one from guarding. */
static void origin_write(struct weir_worker *w)
{

	/* the first start with the file of the system confirms it */
	if (w->source == WEIR_SOURCE_FILE && !w->o.policy && w->origin.boot != WEIR_SOURCE_FILE && !weir_worker_keep(w)) {
		w->origin.boot = WEIR_SOURCE_FILE;
		snprintf(w->origin.path, sizeof w->origin.path, "%s", w->path);
	}
	weir_worker_remember(w);
}

static int started(struct weir_worker *w)
{
	char detail[PATH_MAX + 64];

	snprintf(detail, sizeof detail, "generation %u from %s, mode %s", w->generation, w->path,
		 weir_mode_name(weir_worker_mode(w)));
	weir_api_audit(w, 0, getpid(), "start", detail, "ok");
	weir_failures_tick(w);
	return 0;
}

/*
 * A worker before this one died. What it put in force stays, to the byte: the image comes from the keeper. `found`: its
 * policy was found, too, so that an edit can be made again.
 */
static int go_on(struct weir_worker *w, bool found, char *why, size_t why_size)
{
	struct weir_image now = { 0 };
	_cleanup_free_ void *back = NULL;
	uint32_t back_size;
	int r = weir_port_image(w->port, &now.blob, &now.size, &back, &back_size);

	if (!r && weir_image_open(&now.img, now.blob, now.size))
		r = -EBADMSG;
	if (r) {
		snprintf(why, why_size, "the keeper does not tell what is in force: %s", strerror(-r));
		free(now.blob);
		return r;
	}
	if (!found)
		snprintf(w->notes[4], sizeof w->notes[4],
			 "generation %u goes on after a crash, but its policy cannot be read again (%.120s): weir apply",
			 now.img.cfg->generation, why[0] ? why : "it is not kept");
	why[0] = 0;
	w->seeded = true;
	weir_worker_stand(w, NULL, &now);
	return 0;
}

/*
 * What was chosen cannot be put in force, as `r` says, maybe for what a file has become: sound, and too large, say.
 * A start takes the copies then, as it does for files that are broken.
 */
static int put_kept(struct weir_worker *w, struct weir_change *c, int r, struct weir_diags *diags, char *why,
		    size_t why_size)
{
	_cleanup_policy_ struct weir_policy *p = NULL;
	struct weir_diags own = { 0 };
	char again[256];
	const char *text;
	size_t len;
	int kept;

	if (w->lists.keep.instead || !weir_worker_kept_lists(w) || !weir_policy_files_read(w->policy))
		return r;
	snprintf(w->lists.instead, sizeof w->lists.instead, "with it the policy cannot be put in force: %.100s",
		 why[0] ? why : diags->n ? diags->v[0].message : strerror(-r));
	text = weir_policy_text(w->policy, &len);
	w->lists.keep.instead = w->lists.instead;
	kept = weir_worker_text_read(w, w->path, text, len, &p, &own);
	w->lists.keep.instead = NULL;
	if (!kept && !memcmp(weir_policy_digest(p), weir_policy_digest(w->policy), 32) &&
	    memcmp(weir_policy_lists_digest(p), weir_policy_lists_digest(w->policy), 32)) {
		weir_failures_again(w, p);
		weir_policy_free(w->policy);
		w->policy = TAKE_PTR(p);
		kept = weir_worker_put(w, c, &own, again, sizeof again);
		if (!kept) {
			weir_diags_free(diags);
			*diags = (struct weir_diags){ 0 };
			snprintf(why, why_size, "%s", "");
			w->lists.again = true; /* it may pass */
			r = 0;
		}
	}
	weir_diags_free(&own);
	return r;
}

static int begin(struct weir_worker *w, struct weir_diags *diags, char *why, size_t why_size)
{
	const struct weir_kern_pinned *before = weir_port_before(w->port);
	struct weir_change c = { 0 };
	bool same;
	int r = bans_restore(w), found;

	if (r)
		return r;
	found = weir_pending_resume(w, diags, why, why_size);
	if (found < 0)
		return found;
	if (found == 1) { /* what the next start takes is decided when it is confirmed */
		w->seeded = true;
		return started(w);
	}
	if (w->o.resume)
		return go_on(w, found == 2, why, why_size);
	same = found == 2 || !memcmp(w->origin.digest, weir_policy_digest(w->policy), 32);
	if ((found != 2 || w->o.has_mode) && before->attached && before->mode != (uint32_t)weir_worker_requested(w))
		same = false;
	same = same && !weir_lists_elsewhere(w);
	c.new_generation = !same;
	c.generation = found == 2 && same ? w->generation : 0;
	r = weir_worker_put(w, &c, diags, why, why_size);
	if (r)
		r = put_kept(w, &c, r, diags, why, why_size);
	if (r == -EINVAL)
		r = weir_worker_put_fitting(w, &c, r, diags, why, why_size);
	if (r)
		return r;
	weir_lists_note(w); /* of the same generation they may be others */
	weir_history_settle(w, false);
	origin_write(w);
	if (!w->failing.final)
		weir_pending_forget(w);
	return started(w);
}

int weir_worker_start(struct weir_worker *w, struct weir_diags *diags, char *why, size_t why_size)
{
	int r = begin(w, diags, why, why_size);

	if (!r && w->o.resume) {
		if (weir_worker_has_policy(w))
			weir_worker_unfit(w);
		weir_edit_cut(w);
	} else if (!r) { /* it was made of what is written down */
		weir_edit_end(w);
	}
	w->lists.starting = false;
	weir_lists_end(w);
	if (!r)
		weir_lists_stale(w);
	return r;
}

static void on_request(struct weir_client *client, const json_t *request, void *data)
{
	weir_api_request(data, client, request);
}

static void on_refused(uid_t uid, pid_t pid, void *data)
{
	weir_api_audit(data, uid, pid, "connect", "control socket", "refused: only root may talk to weir");
}

int weir_worker_listen(struct weir_worker *w, struct weir_loop *l, int fd)
{
	struct weir_server_calls calls = { .request = on_request, .refused = on_refused, .data = w };

	return weir_server_new(l, fd, &calls, &w->server);
}

void weir_worker_free(struct weir_worker *w)
{
	if (!w)
		return;
	weir_lists_end(w);
	weir_server_free(w->server);
	weir_audit_free(w->audit);
	weir_names_free(w->names);
	weir_helper_use(NULL, NULL);
	weir_owners_free(w->owners);
	weir_helper_free(w->own_helper);
	weir_overlay_store_clear(&w->overlay);
	weir_bans_clear(&w->bans);
	weir_stand_clear(w);
	weir_policy_free(w->policy);
	weir_history_clear(&w->history);
	weir_recent_clear(&w->recent);
	json_decref(w->hits);
	free(w->blob);
	free(w);
}

/* The image that judged: the one in force, or the one that it goes back to. NULL: numbers of rules mean nothing any more. */
static const struct weir_img *image_of(const struct weir_worker *w, uint32_t epoch)
{
	if (w->img.cfg && epoch == w->epoch)
		return &w->img;
	return w->pending.on && w->pending.back.blob && epoch == w->pending.back.epoch ? &w->pending.back.img : NULL;
}

json_t *weir_worker_event_json(struct weir_worker *w, const struct weir_ev_verdict *ev)
{
	const uint8_t *remote = ev->dir == WEIR_DIR_IN ? ev->t.src : ev->t.dst;
	uint32_t in = ev->in_ifindex ? ev->in_ifindex : ev->ifindex;
	struct weir_event_words words = {
		.img = image_of(w, ev->h.epoch),
		.in_if = weir_port_if_name(w->port, in),
		.out_if = weir_port_if_name(w->port, ev->out_ifindex),
		.boot_ns = w->boot_ns,
	};
	const struct weir_ban_key *ban;
	char banned[WEIR_ADDR_MAX];
	struct weir_owner owner;
	struct weir_name name;

	if (ev->res.wanted_reason == WEIR_REASON_BAN) {
		ban = weir_worker_ban(w, remote);
		if (!ban && ev->dir == WEIR_DIR_FWD)
			ban = weir_worker_ban(w, ev->t.src);
		words.ban = ban ? weir_ban_key_format(ban, banned, sizeof banned) : NULL;
	}
	if (!weir_names_find(w->names, remote, (uint64_t)time(NULL), &name))
		words.name = name.name;
	weir_owners_refresh(w->owners);
	if (!weir_owners_find(w->owners, &ev->t, ev->dir, &owner))
		words.owner = &owner;
	return weir_event_json(ev, &words);
}

static void on_verdict(struct weir_worker *w, const struct weir_ev_verdict *ev)
{
	struct weir_recent_entry *e = weir_recent_put(&w->recent, ev);

	if (ev->h.type == WEIR_EV_VERDICT && weir_server_followed(w->server)) {
		e->json = weir_worker_event_json(w, ev);
		if (e->json)
			weir_server_stream(w->server, e->json);
	}
}

void weir_worker_event(const struct weir_event *ev, void *data)
{
	struct weir_worker *w = data;

	if ((ev->type == WEIR_EV_VERDICT || ev->type == WEIR_EV_FLOW) && ev->size >= sizeof(struct weir_ev_verdict)) {
		on_verdict(w, (const struct weir_ev_verdict *)ev);
	} else if (ev->type == WEIR_EV_DNS && ev->size >= offsetof(struct weir_ev_dns, data)) {
		const struct weir_ev_dns *dns = (const struct weir_ev_dns *)ev;
		size_t len = ev->size - offsetof(struct weir_ev_dns, data);

		if (len > dns->len)
			len = dns->len;
		if (len > WEIR_DNS_MAX)
			len = WEIR_DNS_MAX;
		w->plain_dns++;
		weir_names_learn(w->names, dns->data, len, (uint64_t)time(NULL));
	}
}

void weir_worker_catch_up(struct weir_worker *w)
{
	for (int turn = 0; turn < CATCH_UP_TURNS; turn++) {
		if (weir_port_event_dispatch(w->port, weir_worker_event, w) < WEIR_RING_TURN)
			return;
	}
}

static void ban_gone(const struct weir_ban_key *key, void *data)
{
	struct weir_worker *w = data;
	char addr[64], detail[96];

	weir_port_unban(w->port, key);
	snprintf(detail, sizeof detail, "%s", weir_ban_key_format(key, addr, sizeof addr));
	weir_api_audit(w, 0, getpid(), "ban expired", detail, "ok");
}

/* Rules and bans whose time has come. The kernel forgets bans by itself; this keeps the lists true. */
static void expire(struct weir_worker *w, uint64_t now)
{
	uint64_t next = weir_overlay_next_expiry(&w->overlay);
	struct weir_overlay_store edited;
	struct weir_diags diags = { 0 };
	char why[256], detail[64];

	if (weir_bans_expire(&w->bans, now, ban_gone, w))
		weir_failures_saved(w, weir_bans_save(w->o.state_dir, &w->bans));
	if (!next || next > now || now < w->expire_again || weir_overlay_store_copy(&w->overlay, &edited))
		return;
	snprintf(detail, sizeof detail, "%zu", weir_overlay_expire(&edited, now));
	w->expire_again = now + EXPIRE_RETRY_S; /* should it fail: a full disk must not cost an install a second */
	if (weir_worker_overlay(w, &edited, NULL, &diags, why, sizeof why)) {
		weir_overlay_store_clear(&edited);
	} else {
		w->expire_again = 0;
		weir_api_audit(w, 0, getpid(), "rules expired", detail, "ok");
	}
	weir_diags_free(&diags);
}

void weir_worker_tick(struct weir_worker *w)
{
	struct weir_counter stats[WEIR_STATS_MAX];

	weir_pending_tick(w);
	weir_lists_tick(w);
	expire(w, (uint64_t)time(NULL));
	weir_late_tick(w);
	if (w->ticks++ % WEIR_RATES_EVERY_S == 0 && weir_port_stats(w->port, stats, WEIR_STATS_MAX) >= 0) {
		weir_rates_sample(&w->rates, stats);
		weir_failures_stats(w, stats);
	}
	weir_failures_tick(w);
}
