/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change that waits for its confirmation. The kernel decides when it goes back; here is what goes with it: the
 * note that a restart finds (<state-dir>/pending.json), the history, and what the next start takes, which changes
 * only once a policy is there to stay.
 */
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

#define PENDING_FILE "pending.json"

static uint64_t unix_now(void)
{
	return (uint64_t)time(NULL);
}

static const char *boot_name(int boot)
{
	return boot < 0 ? NULL : weir_source_name((enum weir_policy_source)boot);
}

void weir_pending_forget(const struct weir_worker *w)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/" PENDING_FILE, w->o.state_dir);
	unlink(path);
}

static int note_write(const struct weir_worker *w, const struct weir_pending *p, uint32_t generation, uint32_t back)
{
	json_t *j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "generation", (json_int_t)generation, "back",
			      (json_int_t)back, "deadline", (json_int_t)p->deadline, "since", (json_int_t)p->since, "span",
			      (json_int_t)p->span, "mode", (int)p->mode, "rollback", (int)p->rollback);
	int r;

	if (j && p->boot >= 0)
		json_object_set_new(j, "boot", json_string(boot_name(p->boot)));
	r = j ? weir_json_save(w->o.state_dir, PENDING_FILE, j) : -ENOMEM;
	json_decref(j);
	return r;
}

uint64_t weir_pending_span(const struct weir_pending *p)
{
	return (uint64_t)p->span * 1000000000u;
}

void weir_pending_clock(struct weir_worker *w)
{
	struct weir_pending *p = &w->pending;
	struct weir_kern_pending k;

	weir_port_pending(w->port, &k);
	p->deadline = k.pending ? k.deadline : weir_kern_now(); /* over already, or the keeper is gone: so are we */
	p->since = p->deadline - weir_pending_span(p);
}

int weir_pending_save(const struct weir_worker *w)
{
	if (w->pending.on)
		return note_write(w, &w->pending, w->generation, w->pending.back.generation);
	weir_pending_forget(w);
	return 0;
}

int weir_history_note(struct weir_worker *w, const struct weir_change *c, const struct weir_img *img, char *why,
		      size_t why_size)
{
	const struct weir_policy *p = c->policy ? c->policy : w->policy;
	struct weir_gen g = {
		.generation = img->cfg->generation,
		.time = unix_now(),
		.uid = c->by ? c->by->uid : 0,
		.pid = (uint32_t)(c->by ? c->by->pid : 0), /* nobody: weir itself, when it started */
		.source = c->path ? c->source : w->source,
		.mode = img->cfg->mode == WEIR_PREVENT ? WEIR_PREVENT : WEIR_DETECT,
		.has_ceiling = c->set_ceiling ? c->has_ceiling : w->has_ceiling,
		.ceiling = c->set_ceiling ? c->ceiling : w->ceiling,
		.rules = weir_img_rule_count(img),
		.end = c->confirm_s ? WEIR_GEN_WAITING : WEIR_GEN_IN_FORCE,
	};
	struct weir_pending will = w->pending;
	uint32_t last = w->history.last;
	size_t len;
	const char *text = weir_policy_text(p, &len);
	int r;

	if (c->by && c->by->n_from)
		weir_session_words(&c->by->from[0], g.via, sizeof g.via);
	snprintf(g.path, sizeof g.path, "%s", c->path ? c->path : w->path);
	memcpy(g.digest, weir_policy_digest(p), 32);
	memcpy(g.lists, weir_policy_lists_digest(p), 32);
	r = weir_history_add(w->o.state_dir, &w->history, &g, text, len);
	/* one that does not wait has a note until the next start would take it, too: its maker may die before that */
	if (!r && c->new_generation && (c->confirm_s || c->by)) {
		will.since = weir_kern_now();
		will.span = c->confirm_s;
		will.deadline = will.since + weir_pending_span(&will); /* the earliest: it is written again once it is in force */
		will.boot = c->path ? c->boot : w->pending.on && c->confirm_s ? w->pending.boot : -1;
		will.mode = c->keep_mode || (will.mode && c->confirm_s);
		will.rollback = c->rollback;
		r = note_write(w, &will, g.generation, w->pending.on ? w->pending.back.generation : w->generation);
		if (r)
			weir_history_drop(w->o.state_dir, &w->history, last);
	}
	if (r)
		snprintf(why, why_size, "cannot save to %s: %s; nothing was changed", w->o.state_name, strerror(-r));
	return r;
}

void weir_history_settle(struct weir_worker *w, bool rollback)
{
	const struct weir_pending *p = &w->pending;
	uint64_t now = unix_now();

	for (size_t i = 0; i < w->history.n; i++) {
		struct weir_gen *g = &w->history.v[i];
		bool lives = g->end == WEIR_GEN_IN_FORCE || g->end == WEIR_GEN_WAITING || g->end == WEIR_GEN_SUSPENDED;

		if (g->generation == w->generation) {
			weir_history_end(g, p->on ? WEIR_GEN_WAITING : WEIR_GEN_IN_FORCE, now);
			g->confirmed |= !p->on;
		} else if (p->on && g->generation == p->back.generation) {
			weir_history_end(g, WEIR_GEN_SUSPENDED, now);
		} else if (lives) {
			weir_history_end(g, g->end == WEIR_GEN_WAITING ? WEIR_GEN_NEVER_CONFIRMED :
					 rollback ? WEIR_GEN_ROLLED_BACK : WEIR_GEN_REPLACED, now);
		}
	}
	weir_failures_saved(w, weir_history_save(w->o.state_dir, &w->history)); /* if not, the next change says so: it cannot be noted either */
	if (p->on)
		weir_pending_save(w);
}

static int final_write(struct weir_worker *w, int boot, bool keep_mode, char *why, size_t why_size)
{
	int r = 0;

	if (boot >= 0) {
		r = weir_worker_keep(w);
		if (r) {
			snprintf(why, why_size, "in force, but not saved to %s: %s", w->o.state_name, strerror(-r));
			return r;
		}
		weir_worker_source(w, (enum weir_policy_source)boot);
		w->origin.boot = (enum weir_policy_source)boot;
		snprintf(w->origin.path, sizeof w->origin.path, "%s", w->path);
	}
	if (keep_mode) {
		w->origin.has_mode = w->has_ceiling;
		w->origin.mode = w->ceiling;
	}
	r = weir_worker_remember(w);
	if (r)
		snprintf(why, why_size, "in force, but %s cannot be written: %s", w->o.state_name, strerror(-r));
	return r;
}

int weir_pending_final(struct weir_worker *w, int boot, bool keep_mode, char *why, size_t why_size)
{
	int r = final_write(w, boot, keep_mode, why, why_size);

	w->failing.final = r != 0;
	w->failing.final_boot = boot;
	w->failing.final_mode = keep_mode;
	if (!r)
		weir_pending_forget(w);
	return r;
}

int weir_pending_final_again(struct weir_worker *w)
{
	char why[256];

	if (!w->failing.final)
		return 0;
	/* what waits is not to be written down yet; it, or what it goes back to, is when that is decided */
	return w->pending.on ? -EBUSY : weir_pending_final(w, w->failing.final_boot, w->failing.final_mode, why, sizeof why);
}

/* A line for those who follow the events. */
static void tell(struct weir_worker *w, const char *what)
{
	struct timespec now;
	char stamp[40], day[24];
	struct tm tm;
	json_t *j;

	if (!weir_server_followed(w->server))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(stamp, sizeof stamp, "%s.%03uZ", day, (unsigned)(now.tv_nsec / 1000000) % 1000);
	j = json_pack("{s:s, s:s, s:s, s:I}", "time", stamp, "type", "change", "message", what, "generation",
		      (json_int_t)w->generation);
	if (j)
		weir_server_stream(w->server, j);
	json_decref(j);
}

/* The kernel has gone back already: so do we. */
static void taken_back(struct weir_worker *w, enum weir_gen_end end, const char *how)
{
	struct weir_stand *b = &w->pending.back;
	struct weir_image m = { .blob = TAKE_PTR(b->blob), .img = b->img };
	uint32_t from = w->generation;
	char text[160];

	weir_recent_settle(w);
	weir_worker_stand(w, b->policy, &m);
	w->source = b->source;
	snprintf(w->path, sizeof w->path, "%s", b->path);
	w->has_ceiling = b->has_ceiling;
	w->ceiling = b->ceiling;
	json_decref(w->hits);
	w->hits = json_incref(b->hits);
	weir_stand_clear(w);
	weir_lists_came_back(w);
	weir_history_end(weir_history_find(&w->history, from), end, unix_now());
	weir_history_settle(w, false);
	weir_pending_forget(w);
	snprintf(text, sizeof text, "generation %u %s; generation %u is in force", from, how, w->generation);
	tell(w, text);
}

static int confirmed(struct weir_worker *w, uint32_t *ret_killed, char *why, size_t why_size)
{
	bool rollback = w->pending.rollback, mode = w->pending.mode;
	int boot = w->pending.boot, r;
	char text[96];

	weir_stand_clear(w);
	weir_history_settle(w, rollback);
	r = weir_pending_final(w, boot, mode, why, why_size);
	*ret_killed = weir_worker_kill(w);
	snprintf(text, sizeof text, "generation %u was confirmed", w->generation);
	tell(w, text);
	return r;
}

int weir_pending_confirm(struct weir_worker *w, uint32_t *ret_killed, char *why, size_t why_size)
{
	int r = w->pending.on ? weir_port_confirm(w->port) : -ENOENT;

	if (r == -ENOENT && w->pending.on)
		weir_pending_tick(w); /* its time has just passed */
	return r ? r : confirmed(w, ret_killed, why, why_size);
}

int weir_pending_revert(struct weir_worker *w)
{
	int r = w->pending.on ? weir_port_revert(w->port) : -ENOENT;

	if (r == -ENOENT && w->pending.on)
		weir_pending_tick(w);
	if (!r)
		taken_back(w, WEIR_GEN_ROLLED_BACK, "was rolled back");
	return r;
}

void weir_pending_tick(struct weir_worker *w)
{
	struct weir_kern_pending k;
	uint32_t generation = w->generation, killed = 0;
	char detail[96], why[256] = "";

	if (!w->pending.on)
		return;
	weir_port_pending(w->port, &k);
	if (k.pending || !k.generation) /* or nobody answers: then nobody knows */
		return;
	snprintf(detail, sizeof detail, "generation %u", generation);
	if (k.generation == generation) { /* by a command that asked nobody */
		confirmed(w, &killed, why, sizeof why);
		weir_api_audit(w, 0, getpid(), "confirm", detail, why[0] ? why : "ok");
		return;
	}
	taken_back(w, WEIR_GEN_WENT_BACK, "went back by itself");
	weir_api_audit(w, 0, getpid(), "went back by itself", detail, "ok");
}

bool weir_worker_enforces(const struct weir_worker *w)
{
	return weir_worker_mode(w) == WEIR_PREVENT ||
	       (w->pending.on && w->pending.back.img.cfg && w->pending.back.img.cfg->mode == WEIR_PREVENT);
}

/* --- after a restart --- */

/* A generation's policy, whole and unchanged, as it was kept; with ret_lists its files of addresses may be others. */
static int history_policy(const struct weir_worker *w, const struct weir_gen *g, struct weir_policy **ret, bool *ret_lists,
			  struct weir_diags *diags, char *why, size_t why_size)
{
	_cleanup_policy_ struct weir_policy *p = NULL;
	_cleanup_free_ char *text = NULL;
	bool lists;
	size_t len = 0;
	int r = weir_history_text(w->o.state_dir, g, &text, &len);

	if (r) {
		snprintf(why, why_size, r == -ENOENT ? "the policy of generation %u is not kept any more" :
			 "the policy of generation %u cannot be read: %s", g->generation, strerror(-r));
		return r;
	}
	r = weir_worker_text_read(w, g->path, text, len, &p, diags);
	if (r) {
		snprintf(why, why_size, "the policy of generation %u does not check any more", g->generation);
		return r;
	}
	lists = memcmp(weir_policy_lists_digest(p), g->lists, 32);
	if (memcmp(weir_policy_digest(p), g->digest, 32) || (lists && !ret_lists)) {
		snprintf(why, why_size, "a file that generation %u includes or takes addresses from has changed since (%s)",
			 g->generation, g->path);
		return -ESTALE;
	}
	if (ret_lists)
		*ret_lists = lists;
	*ret = TAKE_PTR(p);
	return 0;
}

int weir_history_policy(const struct weir_worker *w, const struct weir_gen *g, struct weir_policy **ret,
			struct weir_diags *diags, char *why, size_t why_size)
{
	return history_policy(w, g, ret, NULL, diags, why, why_size);
}

struct note {
	uint32_t generation, back;
	struct weir_pending p;
};

static int note_read(struct weir_worker *w, struct note *n)
{
	json_int_t generation = 0, back = 0, deadline = 0, since = 0, span = 0;
	const char *boot = NULL;
	int mode = 0, rollback = 0, r;
	json_t *j = NULL;

	r = weir_json_load(w->o.state_dir, PENDING_FILE, &j, w->notes[4], sizeof w->notes[4]);
	weir_worker_known(w, w->notes[4], sizeof w->notes[4]);
	if (r)
		return r;
	if (json_unpack(j, "{s:I, s:I, s:I, s:I, s:I, s:b, s:b, s?s}", "generation", &generation, "back", &back, "deadline",
			&deadline, "since", &since, "span", &span, "mode", &mode, "rollback", &rollback, "boot", &boot) ||
	    generation < 1 || generation > UINT32_MAX || back < 1 || back > UINT32_MAX || deadline < 1 || span < 0) {
		weir_file_set_aside(w->o.state_dir, PENDING_FILE, "not what weir writes", w->notes[4], sizeof w->notes[4]);
		weir_worker_known(w, w->notes[4], sizeof w->notes[4]);
		r = -EBADMSG;
	}
	*n = (struct note){ (uint32_t)generation, (uint32_t)back,
			    { .deadline = (uint64_t)deadline, .since = (uint64_t)since, .span = (uint32_t)span,
			      .mode = mode, .rollback = rollback, .boot = -1 } };
	if (boot)
		n->p.boot = !strcmp(boot, "saved") ? WEIR_SOURCE_SAVED : WEIR_SOURCE_FILE;
	json_decref(j);
	return r;
}

/*
 * After a crash: with the copies of its lists, where those are what is in force. An edit holds for that, whatever
 * became of the files; they are read in their turn. NULL: they are not.
 */
static struct weir_policy *policy_as_it_stands(struct weir_worker *w, const struct weir_gen *g)
{
	const char *instead = w->lists.keep.instead;
	struct weir_diags diags = { 0 };
	struct weir_policy *p = NULL;
	char why[256];

	w->lists.keep.instead = instead ?: "it has changed since";
	if (!weir_history_policy(w, g, &p, &diags, why, sizeof why))
		w->lists.again = !instead && weir_policy_lists_stale(p, NULL);
	w->lists.keep.instead = instead;
	weir_diags_free(&diags);
	return p;
}

/* This generation, from the history, as what is in force here. */
static int resume(struct weir_worker *w, uint32_t generation, char *why, size_t why_size)
{
	const struct weir_gen *g = weir_history_find(&w->history, generation);
	struct weir_policy *p = g && w->o.resume ? policy_as_it_stands(w, g) : NULL;
	struct weir_diags diags = { 0 };
	int r = 0;

	if (g && !p)
		r = history_policy(w, g, &p, &w->lists.again, &diags, why, why_size);
	if (!g) {
		r = -ENOENT;
		snprintf(why, why_size, "the history does not know generation %u", generation);
	}
	weir_diags_free(&diags);
	if (r)
		return r;
	if (w->policy != w->pending.back.policy)
		weir_policy_free(w->policy);
	w->policy = p;
	w->source = g->source;
	snprintf(w->path, sizeof w->path, "%s", g->path);
	w->has_ceiling = g->has_ceiling;
	w->ceiling = g->ceiling;
	w->generation = generation;
	return 0;
}

/* After a crash of ours the kernel has both images already: what it has counts, to the byte. */
static int pair_fetch(struct weir_worker *w, struct weir_image *now, struct weir_image *back)
{
	int r = weir_port_image(w->port, &now->blob, &now->size, &back->blob, &back->size);

	if (!r && (!back->blob || weir_image_open(&now->img, now->blob, now->size) ||
		   weir_image_open(&back->img, back->blob, back->size)))
		r = -EBADMSG;
	return r;
}

/* Both policies again, as a pair with the same deadline. */
static int resume_pair(struct weir_worker *w, const struct note *n, uint64_t deadline, struct weir_diags *diags, char *why,
		       size_t why_size)
{
	struct weir_image now = { 0 }, back = { 0 };
	struct weir_stand *b = &w->pending.back;
	struct weir_kern_change k;
	int r = resume(w, n->back, why, why_size);

	if (r)
		return r;
	w->pending = n->p;
	w->pending.on = true;
	w->pending.deadline = deadline;
	if (w->pending.since + weir_pending_span(&n->p) < deadline) /* a note from before it took force */
		w->pending.since = deadline - weir_pending_span(&n->p);
	*b = (struct weir_stand){ .policy = w->policy, .source = w->source, .has_ceiling = w->has_ceiling,
				  .ceiling = w->ceiling, .generation = n->back, .hits = json_object(),
				  .hits_then = json_object() };
	snprintf(b->path, sizeof b->path, "%s", w->path);
	r = resume(w, n->generation, why, why_size);
	if (!r && w->o.resume)
		r = pair_fetch(w, &now, &back);
	if (!r && !w->o.resume)
		r = weir_worker_compile(w, b, &(struct weir_change){ 0 }, &back, diags, why, why_size);
	if (!r && !w->o.resume)
		r = weir_worker_compile(w, NULL, &(struct weir_change){ .generation = n->generation }, &now, diags, why,
					why_size);
	k = (struct weir_kern_change){ .blob = now.blob, .size = now.size, .back_size = back.size, .deadline = deadline,
				       .back = back.blob };
	if (!r && !w->o.resume)
		r = weir_port_install(w->port, &k, NULL, NULL, why, why_size);
	if (!r) {
		weir_worker_stand(w, NULL, &now);
		b->blob = TAKE_PTR(back.blob);
		b->img = back.img;
		b->epoch = back.img.cfg->epoch;
		weir_history_settle(w, false);
	} else {
		if (w->policy != b->policy) { /* the one to go back to is the one that counts */
			weir_policy_free(w->policy);
			w->policy = b->policy;
		}
		weir_stand_clear(w);
	}
	free(now.blob);
	free(back.blob);
	return r;
}

static void decided_meanwhile(struct weir_worker *w, const struct note *n, enum weir_gen_end end, const char *what)
{
	char detail[96];

	weir_history_end(weir_history_find(&w->history, n->generation), end, unix_now());
	snprintf(detail, sizeof detail, "generation %u, while no weir was running", n->generation);
	weir_api_audit(w, 0, getpid(), what, detail, "ok");
}

/*
 * The note is gone, or tells of a change that was never put in force (whoever wrote it died before): what waits is
 * what the kernel says. What the next start takes is known only where the policy came from its usual place.
 */
static void note_of(const struct weir_worker *w, const struct weir_kern_pending *k, struct note *ret)
{
	const struct weir_gen *g = weir_history_find(&w->history, k->generation);
	uint64_t now = weir_kern_now(), left = k->deadline > now ? k->deadline - now : 0;

	*ret = (struct note){ k->generation, k->back_generation,
			      { .deadline = k->deadline, .since = now, .span = (uint32_t)(left / 1000000000u) + 1,
				.boot = g && g->source == WEIR_SOURCE_FILE ? WEIR_SOURCE_FILE : -1 } };
}

/* What is enforced is not to be had. A start takes its own; where that only looks, what stands in for one that is broken. */
static int go_without(struct weir_worker *w, char *why)
{
	int r = 0;

	if (!w->o.resume && weir_port_before(w->port)->mode == WEIR_PREVENT && w->source == WEIR_SOURCE_BUILTIN &&
	    !w->failing.policy_why[0])
		r = weir_failures_lost(w, why);
	else if (w->o.resume || memcmp(w->origin.digest, weir_policy_digest(w->policy), 32)) /* else it is the one in force */
		snprintf(w->notes[4], sizeof w->notes[4], "%.200s; the policy that a start takes is in force instead", why);
	w->lists.standing = false;
	why[0] = 0;
	return r;
}

/*
 * Without a change that waits: 2 when what is in force is taken up as it is, as by a worker after another, or by a start
 * over what is enforced that names no policy, also one that nobody saved. A stop, an upgrade, a crash change nothing.
 */
static int stands_on(struct weir_worker *w, char *why, size_t why_size)
{
	const struct weir_kern_pinned *before = weir_port_before(w->port);
	bool start = !w->o.resume;

	if (!before->attached || (start && (w->o.policy || before->mode != WEIR_PREVENT || w->failing.policy_why[0])))
		return 0;
	w->lists.standing = start;
	if (!resume(w, before->generation, why, why_size)) {
		if (start)
			w->lists.again = false; /* it has read them, and is about to put them in force */
		if (start && w->o.has_mode) {
			w->has_ceiling = true;
			w->ceiling = w->o.mode;
		}
		return 2;
	}
	return start ? go_without(w, why) : 0;
}

int weir_pending_resume(struct weir_worker *w, struct weir_diags *diags, char *why, size_t why_size)
{
	const struct weir_kern_pinned *before = weir_port_before(w->port);
	struct weir_kern_pending k;
	struct note n = { 0 };
	int r = note_read(w, &n);
	uint32_t stands;

	if (r == -ENOMEM)
		return r;
	if (w->o.resume)
		weir_port_pending(w->port, &k);
	else /* a keeper that has installed nothing yet knows only what it found */
		k = (struct weir_kern_pending){ before->pending, before->deadline, before->generation,
						before->other_generation };
	if (k.pending && (r ? w->o.resume : k.generation != n.generation)) {
		note_of(w, &k, &n);
		r = 0;
	}
	stands = n.back;
	if (r)
		return stands_on(w, why, why_size);
	if (!before->attached || (w->o.policy && !w->o.resume)) { /* a new start with a policy of its own, or after a reboot */
		decided_meanwhile(w, &n, before->attached ? WEIR_GEN_NEVER_CONFIRMED : WEIR_GEN_WENT_BACK,
				  n.p.span ? "never confirmed" : "never saved");
		weir_pending_forget(w);
		return 0;
	}
	w->lists.standing = !w->o.resume;
	if (k.pending && k.generation == n.generation) {
		r = resume_pair(w, &n, k.deadline, diags, why, why_size);
		if (!r)
			return 1;
		snprintf(w->notes[4], sizeof w->notes[4], "generation %u was taken back: %.180s", n.generation, why);
		decided_meanwhile(w, &n, WEIR_GEN_ROLLED_BACK, "taken back");
		if (w->o.resume)
			weir_port_revert(w->port);
	} else if (!before->settled_back && before->generation == n.generation) {
		/* confirmed by a command that asked nobody */
		decided_meanwhile(w, &n, WEIR_GEN_IN_FORCE, n.p.span ? "confirm" : "saved");
		stands = n.generation;
	} else if (n.p.span) {
		decided_meanwhile(w, &n, WEIR_GEN_WENT_BACK, "went back by itself");
	} else { /* who made it died before it was in force */
		stands = before->generation;
		if (w->history.n && w->history.v[w->history.n - 1].generation == n.generation)
			weir_history_drop(w->o.state_dir, &w->history, n.generation - 1);
	}
	r = resume(w, stands, why, why_size);
	if (r) {
		weir_pending_forget(w);
		return go_without(w, why);
	}
	if (stands != n.generation)
		weir_pending_forget(w);
	else if (weir_pending_final(w, n.p.boot, n.p.mode, why, why_size))
		why[0] = 0; /* a disk that is full keeps nobody from guarding; it is tried again */
	return 2;
}
