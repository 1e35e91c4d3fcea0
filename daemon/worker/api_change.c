/* SPDX-License-Identifier: Apache-2.0 */
/* apply, mode, confirm, rollback, history: what is in force as a whole, how it came and how it goes back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/worker/api.h"
#include "lib/state/file.h"
#include "lib/util/cleanup.h"

#define CONFIRM_MAX_S 3600
#define CONFIRM_USUAL_S 120

/* How a change may be undone. */
struct terms {
	json_int_t confirm;
	int no_confirm, force, replace, terminal;
};
#define TERMS_FORMAT "s?I, s?b, s?b, s?b, s?b"
#define TERMS(t) "confirm", &(t)->confirm, "no_confirm", &(t)->no_confirm, "force", &(t)->force, "replace", \
		 &(t)->replace, "terminal", &(t)->terminal

struct weir_caller weir_request_caller(const struct weir_request *rq, bool force)
{
	return (struct weir_caller){ .uid = rq->uid, .pid = rq->pid, .force = force };
}

static json_int_t seconds_left(const struct weir_worker *w)
{
	uint64_t now = weir_kern_now();

	return w->pending.deadline > now ? (json_int_t)((w->pending.deadline - now + 999999999u) / 1000000000u) : 0;
}

json_t *weir_pending_json(struct weir_worker *w)
{
	if (!w->pending.on)
		return NULL;
	return json_pack("{s:I, s:I, s:I}", "generation", (json_int_t)w->generation, "back",
			 (json_int_t)w->pending.back.generation, "seconds", seconds_left(w));
}

/* Built-in failsafe entries that this image has not. Taking one away can lock people out. */
static int failsafe_kept(const struct weir_policy *p, bool console, struct weir_reply *rp)
{
	const char *missing[16];
	size_t n = weir_policy_failsafe_removed(p, missing, 16);

	if (!n || console)
		return 0;
	return weir_reply_fail(rp, -EPERM, "weir apply --i-have-console, when you can reach this host another way",
			       "the policy removes the built-in failsafe entry '%s'%s", missing[0],
			       n > 1 ? " and others" : "");
}

static int terms_check(const struct terms *t, struct weir_reply *rp)
{
	if (t->confirm < 0 || t->confirm > CONFIRM_MAX_S)
		return weir_reply_fail(rp, -EINVAL, NULL, "a confirmation takes at least 1 second and at most 1 hour");
	if (t->confirm && t->no_confirm)
		return weir_reply_fail(rp, -EINVAL, NULL, "--confirm and --no-confirm exclude each other");
	return 0;
}

/*
 * Does it wait for a confirmation, and how long? Who came over the network can lock himself out: without a word
 * about it he has two minutes at a terminal, and a program must say what it wants.
 */
static int terms_apply(struct weir_worker *w, const struct terms *t, enum weir_mode mode, struct weir_caller *by,
		       struct weir_change *c, struct weir_reply *rp)
{
	char why[256] = "", hint[160];
	int r;

	if (w->pending.on && !t->replace) {
		snprintf(hint, sizeof hint, "weir confirm keeps it, weir rollback takes it back; --replace puts this in its place");
		return weir_reply_fail(rp, -EBUSY, hint, "generation %u waits for its confirmation, %" JSON_INTEGER_FORMAT " s are left",
				       w->generation, seconds_left(w));
	}
	r = weir_lockout_sessions(w, by, why, sizeof why);
	if (r)
		return weir_reply_fail(rp, r, by->hint, "%s", why);
	c->by = by;
	if (t->no_confirm)
		return 0;
	if (t->confirm)
		c->confirm_s = (uint32_t)t->confirm;
	else if (w->pending.on)
		c->confirm_s = w->pending.span;
	else if (mode == WEIR_PREVENT && by->n_from && t->terminal)
		c->confirm_s = CONFIRM_USUAL_S;
	else if (mode == WEIR_PREVENT && by->n_from)
		return weir_reply_fail(rp, -EINVAL, "--confirm 120s: it goes back by itself unless you say 'weir confirm'; or --no-confirm",
				       "you work over the network and not at a terminal: say whether this waits for a confirmation");
	return 0;
}

static enum weir_mode mode_of(const struct weir_policy *p, bool has_ceiling, enum weir_mode ceiling)
{
	return has_ceiling && ceiling == WEIR_DETECT ? WEIR_DETECT : weir_policy_mode(p);
}

static json_t *put_result(struct weir_worker *w, const struct weir_change *c)
{
	const struct weir_list_info *l;
	uint64_t ranges = 0;
	char digest[65];
	json_t *j;

	for (uint32_t i = 0; (l = weir_img_at(&w->img, &w->img.h->lists, i, sizeof *l)); i++)
		ranges += l->ranges;
	for (uint32_t i = 0; (l = weir_img_at(&w->img, &w->img.h->block_sets, i, sizeof *l)); i++)
		ranges += l->ranges;
	weir_hex(weir_policy_digest(w->policy), 32, digest);
	j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:o, s:s, s:I}", "generation", (json_int_t)w->generation,
		      "rules", (json_int_t)weir_img_rule_count(&w->img), "ranges", (json_int_t)ranges, "ms", (json_int_t)c->ms,
		      "added", (json_int_t)c->added, "removed", (json_int_t)c->removed, "mode",
		      weir_mode_name(weir_worker_mode(w)), "requested", weir_mode_name(weir_worker_requested(w)), "path",
		      weir_text_json(w->path), "sha256", digest, "killed", (json_int_t)c->killed);
	if (j && c->by && c->by->words[0])
		json_object_set_new(j, "session", weir_words_json(c->by->words));
	if (j && c->by)
		json_object_set_new(j, "network", json_boolean(c->by->n_from));
	if (j && w->pending.on)
		json_object_set_new(j, "pending", weir_pending_json(w));
	return j;
}

/* Put in force; what is to stay is written down at once. */
static int put(struct weir_worker *w, struct weir_change *c, struct weir_reply *rp)
{
	char why[512] = "";
	int r = weir_worker_put(w, c, &rp->diags, why, sizeof why);

	if (r)
		return why[0] ? weir_reply_fail(rp, r, c->by ? c->by->hint : NULL, "%s", why) : r;
	if (!w->pending.on) {
		r = weir_pending_final(w, c->path ? c->boot : -1, c->keep_mode, why, sizeof why);
		if (r)
			return weir_reply_fail(rp, r, NULL, "%s", why);
		c->killed = weir_worker_kill(w);
	}
	rp->result = put_result(w, c);
	return rp->result ? 0 : -ENOMEM;
}

static int unchanged(const struct weir_worker *w, int r, struct weir_reply *rp)
{
	char kept[96];

	snprintf(kept, sizeof kept, "The policy in force (generation %u) is unchanged.", w->generation);
	if (rp->hint)
		return r;
	if (!rp->message)
		return weir_reply_fail(rp, r, NULL, "%zu error%s. %s", rp->diags.errors, rp->diags.errors == 1 ? "" : "s", kept);
	rp->hint = strdup(kept);
	return r;
}

static int do_apply(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct weir_change c = { .new_generation = true, .boot = -1 };
	struct weir_policy *p = NULL;
	struct weir_caller by;
	const char *path = NULL;
	char file[PATH_MAX];
	struct terms t = { 0 };
	int save = 0, console = 0;
	bool taken;
	int r = WEIR_ARGS(rq, rp, "{s?s, s?b, s?b, " TERMS_FORMAT "}", "path", &path, "save", &save, "console", &console,
			  TERMS(&t));

	if (!r)
		r = terms_check(&t, rp);
	if (r)
		return r;
	snprintf(file, sizeof file, "%s/policy.yaml", w->o.config_dir);
	if (!path)
		path = file;
	if (path[0] != '/')
		return weir_reply_fail(rp, -EINVAL, NULL, "the path must be absolute");
	weir_reply_detail(rp, "%s%s", path, save ? " saved" : "");
	by = weir_request_caller(rq, t.force);
	weir_port_busy(w->port);
	r = weir_policy_read(path, &p, &rp->diags);
	if (!r)
		r = failsafe_kept(p, console, rp);
	if (!r)
		r = terms_apply(w, &t, mode_of(p, w->has_ceiling, w->ceiling), &by, &c, rp);
	c.policy = p;
	c.path = path;
	c.source = strcmp(path, file) ? WEIR_SOURCE_OTHER : WEIR_SOURCE_FILE;
	c.boot = c.source == WEIR_SOURCE_FILE ? WEIR_SOURCE_FILE : save ? WEIR_SOURCE_SAVED : -1;
	if (!r)
		r = put(w, &c, rp);
	taken = p && !c.policy;
	weir_policy_free(c.policy);
	if (r)
		return taken ? r : unchanged(w, r, rp);
	weir_reply_detail(rp, "generation %u from %s%s%s", w->generation, path, save ? " (saved)" : "",
			  w->pending.on ? ", waits for its confirmation" : "");
	json_object_set_new(rp->result, "kept", json_boolean(c.boot >= 0));
	return 0;
}

static int do_mode(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct weir_change c = { .set_ceiling = true, .has_ceiling = true, .new_generation = true, .keep_mode = true };
	const char *mode = NULL;
	struct weir_caller by;
	struct terms t = { 0 };
	int r = WEIR_ARGS(rq, rp, "{s:s, " TERMS_FORMAT "}", "mode", &mode, TERMS(&t));

	if (!r)
		r = terms_check(&t, rp);
	if (r)
		return r;
	if (strcmp(mode, "detect") && strcmp(mode, "prevent"))
		return weir_reply_fail(rp, -EINVAL, "weir mode detect, or weir mode prevent", "unknown mode '%s'", mode);
	c.ceiling = strcmp(mode, "detect") ? WEIR_PREVENT : WEIR_DETECT;
	by = weir_request_caller(rq, t.force);
	r = terms_apply(w, &t, mode_of(w->policy, true, c.ceiling), &by, &c, rp);
	if (!r)
		r = put(w, &c, rp);
	if (r)
		return r;
	weir_reply_detail(rp, "%s (effective %s), generation %u%s", mode, weir_mode_name(weir_worker_mode(w)),
			  w->generation, w->pending.on ? ", waits for its confirmation" : "");
	json_object_set_new(rp->result, "policy_mode", json_string(weir_mode_name(weir_policy_mode(w->policy))));
	return 0;
}

static int nothing_waits(const struct weir_worker *w, struct weir_reply *rp)
{
	const struct weir_gen *last = w->history.n ? &w->history.v[w->history.n - 1] : NULL;

	if (last && last->generation > w->generation && last->end == WEIR_GEN_WENT_BACK)
		return weir_reply_fail(rp, -ENOENT, "apply it again: weir apply, or weir rollback with its number",
				       "nothing waits for a confirmation: generation %u went back by itself, generation %u is in force",
				       last->generation, w->generation);
	return weir_reply_fail(rp, -ENOENT, "weir history", "nothing waits for a confirmation; generation %u is in force",
			       w->generation);
}

static int do_confirm(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	uint32_t killed = 0, generation = w->generation;
	char why[256] = "";
	int r = WEIR_ARGS(rq, rp, "{}"), seen;

	if (r)
		return r;
	seen = w->pending.on ? weir_lockout_seen(w) : 0;
	r = weir_pending_confirm(w, &killed, why, sizeof why);
	if (r == -ENOENT && !why[0])
		return nothing_waits(w, rp);
	weir_reply_detail(rp, "generation %u", generation);
	if (r)
		return weir_reply_fail(rp, r, NULL, "%s", why[0] ? why : strerror(-r));
	rp->result = json_pack("{s:I, s:s, s:I}", "generation", (json_int_t)w->generation, "new_login",
			       seen == 2 ? "here" : seen ? "elsewhere" : "none", "killed", (json_int_t)killed);
	return rp->result ? 0 : -ENOMEM;
}

static int back_to(struct weir_worker *w, const struct weir_request *rq, const struct terms *t, int console, uint32_t n,
		   struct weir_reply *rp)
{
	const struct weir_gen *g = n ? weir_history_find(&w->history, n) : weir_history_previous(&w->history, w->generation);
	struct weir_change c = { .new_generation = true, .set_ceiling = true, .keep_mode = true, .rollback = true };
	struct weir_caller by = weir_request_caller(rq, t->force);
	struct weir_gen to;
	char why[512] = "";
	int r;

	if (!g && n)
		return weir_reply_fail(rp, -ENOENT, "weir history", "there is no generation %u in the history", n);
	if (!g)
		return weir_reply_fail(rp, -ENOENT, "weir history", "no generation before %u is known", w->generation);
	if (g->generation == w->generation)
		return weir_reply_fail(rp, -EALREADY, NULL, "generation %u is in force", g->generation);
	to = *g; /* the list changes */
	r = weir_history_policy(w, &to, &c.policy, &rp->diags, why, sizeof why);
	if (r)
		return weir_reply_fail(rp, r, "weir history; a policy file is put in force by weir apply", "%s", why);
	c.has_ceiling = to.has_ceiling;
	c.ceiling = to.ceiling;
	c.path = to.path;
	c.source = to.source;
	c.boot = to.source == WEIR_SOURCE_FILE || to.source == WEIR_SOURCE_SAVED ? (int)to.source : -1;
	r = failsafe_kept(c.policy, console, rp);
	if (!r)
		r = terms_apply(w, t, mode_of(c.policy, c.has_ceiling, c.ceiling), &by, &c, rp);
	if (!r)
		r = put(w, &c, rp);
	weir_policy_free(c.policy);
	if (r)
		return r;
	weir_reply_detail(rp, "to the policy of generation %u, as generation %u", to.generation, w->generation);
	json_object_set_new(rp->result, "of", json_integer(to.generation));
	return 0;
}

static int do_rollback(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	uint32_t from = w->generation;
	json_int_t n = 0;
	struct terms t = { 0 };
	int console = 0;
	int r = WEIR_ARGS(rq, rp, "{s?I, s?b, " TERMS_FORMAT "}", "generation", &n, "console", &console, TERMS(&t));

	if (!r)
		r = terms_check(&t, rp);
	if (r)
		return r;
	if (n < 0 || n > UINT32_MAX)
		return weir_reply_fail(rp, -EINVAL, "weir history", "no number of a generation: %" JSON_INTEGER_FORMAT, n);
	if (!w->pending.on || (n && n != (json_int_t)w->pending.back.generation))
		return back_to(w, rq, &t, console, (uint32_t)n, rp);
	r = weir_pending_revert(w);
	if (r && r != -ENOENT)
		return weir_reply_fail(rp, r, NULL, "cannot go back: %s", strerror(-r));
	weir_reply_detail(rp, "generation %u was taken back; generation %u is in force", from, w->generation);
	rp->result = json_pack("{s:I, s:I, s:b, s:s}", "generation", (json_int_t)w->generation, "from", (json_int_t)from,
			       "waited", 1, "mode", weir_mode_name(weir_worker_mode(w)));
	return rp->result ? 0 : -ENOMEM;
}

static json_t *gen_json(const struct weir_gen *g)
{
	char user[64], digest[65];
	json_t *j;

	if (g->pid)
		weir_host_user(g->uid, user, sizeof user);
	else
		snprintf(user, sizeof user, "weir run");
	weir_hex(g->digest, 32, digest);
	j = json_pack("{s:I, s:I, s:I, s:o, s:I, s:I, s:o, s:o, s:s, s:s, s:I, s:s, s:b, s:b}", "generation",
		      (json_int_t)g->generation, "time", (json_int_t)g->time, "ended", (json_int_t)g->ended, "user",
		      weir_text_json(user), "uid", (json_int_t)g->uid, "pid", (json_int_t)g->pid, "via",
		      weir_text_json(g->via), "path", weir_text_json(g->path), "sha256", digest, "mode",
		      weir_mode_name(g->mode), "rules", (json_int_t)g->rules, "state", weir_gen_end_name(g->end),
		      "confirmed", (int)g->confirmed, "kept", (int)g->text);
	return j;
}

static int do_history(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	json_t *list;
	int r = WEIR_ARGS(rq, rp, "{}");

	if (r)
		return r;
	list = json_array();
	for (size_t i = w->history.n; i-- > 0;)
		json_array_append_new(list, gen_json(&w->history.v[i]));
	rp->result = json_pack("{s:o, s:I}", "generations", list, "in_force", (json_int_t)w->generation);
	if (rp->result && w->pending.on)
		json_object_set_new(rp->result, "pending", weir_pending_json(w));
	return rp->result ? 0 : -ENOMEM;
}

static int do_pending(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	weir_pending_tick(w);
	rp->result = json_pack("{s:I, s:o*}", "in_force", (json_int_t)w->generation, "pending", weir_pending_json(w));
	return rp->result ? 0 : -ENOMEM;
}

const struct weir_handler weir_handlers_change[] = {
	{ "apply", WEIR_RIGHT_CHANGE, do_apply },
	{ "mode", WEIR_RIGHT_CHANGE, do_mode },
	{ "confirm", WEIR_RIGHT_CHANGE, do_confirm },
	{ "rollback", WEIR_RIGHT_CHANGE, do_rollback },
	{ "history", WEIR_RIGHT_READ, do_history },
	{ "pending", WEIR_RIGHT_READ, do_pending },
	{ NULL },
};
