/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what is wanted to what is in force: compile, install, take over. Until the keeper has installed the
 * new image nothing of the old one is given up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/worker/worker.h"
#include "lib/state/file.h"
#include "lib/util/cleanup.h"
#include "lib/util/file.h"

bool weir_worker_has_policy(const struct weir_worker *w)
{
	return !w->img.cfg || !memcmp(w->img.h->source_digest, weir_policy_digest(w->policy), 32);
}

enum weir_mode weir_worker_mode(const struct weir_worker *w)
{
	return w->img.cfg && w->img.cfg->mode == WEIR_PREVENT ? WEIR_PREVENT : WEIR_DETECT;
}

enum weir_mode weir_worker_requested(const struct weir_worker *w)
{
	return w->has_ceiling ? w->ceiling : weir_policy_mode(w->policy);
}

/*
 * The same rule in two images has the same key, wherever it and its file stand: names of rules are unique, and one without
 * is known by what it says. An added one is another when it is added again. *at: see weir_policy_said.
 */
static json_t *hit_of(struct weir_worker *w, uint32_t rule, size_t *at, char *key, size_t size)
{
	bool limit = rule >= WEIR_RULE_LIMIT && rule < WEIR_RULE_FAILSAFE;
	const struct weir_limit *l = limit ? weir_img_limit(&w->img, rule - WEIR_RULE_LIMIT) : NULL;
	char buf[128], kind[32] = "";
	const char *name = weir_rule_name(&w->img, rule, buf, sizeof buf);
	uint64_t said = rule < w->img.cfg->n_rules ? weir_policy_said(w->policy, name, at) : 0;

	if (l) /* two may have one name: that of a rule, and one of the policy */
		name = "", snprintf(kind, sizeof kind, "limit %u", l->id);
	else if (rule < w->img.cfg->n_rules)
		snprintf(kind, sizeof kind, "rule %u", weir_img_rule(&w->img, 0, rule)->overlay_id);
	if (said)
		snprintf(key, size, "%016llx\n%s", (unsigned long long)said, kind);
	else
		snprintf(key, size, "%s\n%s", name, kind);
	return json_object_get(w->hits, key);
}

void weir_worker_hits(struct weir_worker *w, uint64_t *ret, size_t counters)
{
	struct weir_counter *now = calloc(counters + 1, sizeof *now);
	int n = now ? weir_port_rule_hits(w->port, now, counters) : 0;
	bool kept = json_object_size(w->hits);
	size_t at = 0;
	char key[400];

	for (size_t i = 0; i < counters; i++) {
		uint32_t rule = weir_counter_rule(w->img.cfg, (uint32_t)i);

		ret[i] = kept ? (uint64_t)json_integer_value(hit_of(w, rule, &at, key, sizeof key)) : 0;
		if ((int)i < n)
			ret[i] += now[i].packets;
	}
	free(now);
}

/* A new image counts from zero: what the old one counted is kept by the rule's name. Most of many rules count nothing. */
static void hits_keep(struct weir_worker *w)
{
	size_t n = w->img.cfg ? weir_image_counters(w->img.h) : 0;
	_cleanup_free_ uint64_t *hits = n ? calloc(n, sizeof *hits) : NULL;
	size_t at = 0;
	json_t *kept;
	char key[400];

	if (!hits || !(kept = json_object()))
		return;
	weir_worker_hits(w, hits, n);
	for (size_t i = 0; i < n; i++) {
		if (!hits[i])
			continue;
		hit_of(w, weir_counter_rule(w->img.cfg, (uint32_t)i), &at, key, sizeof key);
		json_object_set_new(kept, key, json_integer((json_int_t)hits[i]));
	}
	json_decref(w->hits);
	w->hits = kept;
}

/* Records that the old image explains must be put into words by it. Those of the next one wait for that. */
void weir_recent_settle(struct weir_worker *w)
{
	struct weir_recent_ring *rings[] = { &w->recent.verdicts, &w->recent.flows };
	struct weir_recent_entry *e;

	weir_worker_catch_up(w);
	for (int r = 0; r < 2; r++) {
		for (size_t i = 0; (e = weir_recent_at(rings[r], i)); i++) {
			if (!e->json && e->ev.h.epoch == w->epoch)
				e->json = weir_worker_event_json(w, &e->ev);
		}
	}
}

/* Conversations that are older than the first enforcement: known ones are seeded, others adopted for a time. */
static void seed(struct weir_worker *w, const struct weir_config *cfg)
{
	if (w->seeded || cfg->mode != WEIR_PREVENT)
		return;
	w->seeded = true;
	/* a restart: the table was kept, and a window would open again what is closed */
	if (!w->img.cfg && weir_port_before(w->port)->attached &&
	    weir_port_before(w->port)->mode == WEIR_PREVENT)
		return;
	weir_port_seed(w->port, cfg->adopt_s);
}

static uint32_t generation_next(const struct weir_worker *w, const struct weir_change *c)
{
	uint32_t last = w->history.last > w->generation ? w->history.last : w->generation;

	return c->generation ? c->generation : c->new_generation || !w->generation ? last + 1 : w->generation;
}

int weir_worker_compile(struct weir_worker *w, const struct weir_stand *of, const struct weir_change *c,
			struct weir_image *ret, struct weir_diags *diags, char *why, size_t why_size)
{
	struct weir_sshd sshd = { 0 };
	bool has = of ? of->has_ceiling : c->set_ceiling ? c->has_ceiling : w->has_ceiling;
	struct weir_compile_options o = {
		.generation = of ? of->generation : generation_next(w, c),
		.epoch = ++w->epoch_max,
		.mode_ceiling = !has ? WEIR_PREVENT : of ? of->ceiling : c->set_ceiling ? c->ceiling : w->ceiling,
		.overlay = c->overlay ? &c->overlay->list : &w->overlay.list,
		.block_key = w->block_key,
		.simulate = w->o.simulate,
		.disk_full = w->audit_why[0],
		.cpus = w->o.cpus,
		.late = true,
		.any_memory = c->any_memory,
		.unfit = c->new_generation && c->by,
		.management = weir_failures_management(w, of ? of->policy : c->policy ? c->policy : w->policy),
	};
	int r;

	weir_port_busy(w->port);
	if (!weir_helper_sshd(w->helper, &sshd)) {
		o.session_addrs = (const char **)sshd.addrs;
		o.n_session_addrs = sshd.n_addrs;
		o.sshd_ports = sshd.ports;
		o.n_sshd_ports = sshd.n_ports;
	}
	r = weir_policy_compile(of ? of->policy : c->policy ? c->policy : w->policy, &o, &ret->blob, &ret->size, diags);
	weir_sshd_free(&sshd);
	if (r < 0)
		return r;
	if (weir_image_open(&ret->img, ret->blob, ret->size)) {
		snprintf(why, why_size, "the compiler made a damaged image");
		return -EBADMSG;
	}
	return 0;
}

static uint32_t ms_since(const struct timespec *from)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)((now.tv_sec - from->tv_sec) * 1000 + (now.tv_nsec - from->tv_nsec) / 1000000);
}

void weir_stand_clear(struct weir_worker *w)
{
	struct weir_stand *b = &w->pending.back;

	if (b->policy != w->policy)
		weir_policy_free(b->policy);
	free(b->blob);
	json_decref(b->hits);
	json_decref(b->hits_then);
	memset(&w->pending, 0, sizeof w->pending);
}

void weir_worker_stand(struct weir_worker *w, struct weir_policy *policy, struct weir_image *m)
{
	if (policy && policy != w->policy) {
		if (w->policy != w->pending.back.policy)
			weir_policy_free(w->policy);
		w->policy = policy;
		weir_lists_exchanged(w);
	}
	free(w->blob);
	w->blob = TAKE_PTR(m->blob);
	w->img = m->img;
	w->generation = m->img.cfg->generation;
	w->epoch = m->img.cfg->epoch;
	w->late = false;
	w->taken = true;
	w->lines_edited = 0;
	w->late_why[0] = 0;
	weir_failures_put(w);
}

/* What is in force becomes what the change goes back to. `hits`: counts without its own. */
static void stand_aside(struct weir_worker *w, json_t *hits)
{
	struct weir_stand *b = &w->pending.back;

	*b = (struct weir_stand){ .policy = w->policy, .source = w->source, .has_ceiling = w->has_ceiling,
				  .ceiling = w->ceiling, .blob = TAKE_PTR(w->blob), .img = w->img,
				  .generation = w->generation, .epoch = w->epoch, .hits = json_incref(hits),
				  .hits_then = json_incref(w->hits) };
	snprintf(b->path, sizeof b->path, "%s", w->path);
	w->pending.on = true;
	w->pending.boot = -1;
}

/* An edit beside a change that waits: the other of the two has it now, too. */
static void back_edited(struct weir_worker *w, struct weir_change *c, struct weir_image *m)
{
	struct weir_stand *b = &w->pending.back;

	if (c->back) {
		if (w->failing.stand_in == b->policy)
			w->failing.stand_in = c->back;
		if (b->policy != w->policy)
			weir_policy_free(b->policy);
		b->policy = TAKE_PTR(c->back);
	}
	free(b->blob);
	b->blob = TAKE_PTR(m->blob);
	b->img = m->img;
	b->epoch = m->img.cfg->epoch;
	json_decref(b->hits);
	b->hits = json_incref(b->hits_then); /* its counters begin again */
}

static void take_over(struct weir_worker *w, struct weir_change *c, struct weir_image *now, json_t *hits)
{
	struct weir_pending *p = &w->pending;

	if (c->confirm_s && !p->on)
		stand_aside(w, hits);
	weir_worker_stand(w, c->policy, now);
	w->taken = false;
	c->policy = NULL;
	if (c->set_ceiling) {
		w->has_ceiling = c->has_ceiling;
		w->ceiling = c->ceiling;
	}
	if (c->path) {
		w->source = c->source;
		snprintf(w->path, sizeof w->path, "%s", c->path);
	}
	if (!c->new_generation)
		return;
	for (size_t i = 0; c->by && i < w->overlay.list.n_rules; i++)
		w->overlay.list.rules[i].unfit = false;
	if (!c->confirm_s) {
		if (p->on)
			weir_stand_clear(w);
		return;
	}
	p->span = c->confirm_s;
	weir_pending_clock(w);
	p->boot = c->path ? c->boot : p->boot;
	p->mode |= c->keep_mode;
	p->rollback = c->rollback;
	p->n_from = c->by ? c->by->n_from : 0;
	if (c->by)
		memcpy(p->from, c->by->from, sizeof p->from);
}

/* What would come back: with its files as they stand now, else as they were read for it. */
static int back_make(struct weir_worker *w, struct weir_change *c, struct weir_image *ret, struct weir_diags *diags,
		     char *why, size_t why_size)
{
	struct weir_stand with = w->pending.back;
	struct weir_diags own = { 0 };
	int r;

	if (c->back) {
		with.policy = c->back;
		r = weir_worker_compile(w, &with, c, ret, &own, why, why_size);
		weir_diags_free(&own);
		if (!r)
			return 0;
		free(TAKE_PTR(ret->blob));
		why[0] = 0;
		if (c->back != c->policy)
			weir_policy_free(c->back);
		c->back = NULL;
	}
	return weir_worker_compile(w, &w->pending.back, c, ret, diags, why, why_size);
}

/* Both of a pair, or the one; nothing of what is in force is given up. */
static int images_make(struct weir_worker *w, struct weir_change *c, struct weir_image *now, struct weir_image *back,
		       struct weir_diags *diags, char *why, size_t why_size)
{
	struct weir_diags other = { 0 };
	struct timespec from;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &from);
	r = weir_worker_compile(w, NULL, c, now, diags, why, why_size);
	c->ms = ms_since(&from);
	if (!r && c->by)
		r = weir_lockout_check(w, &now->img, NULL, c->by, why, why_size);
	if (r || c->new_generation || !w->pending.on)
		return r;
	r = back_make(w, c, back, &other, why, why_size);
	if (r && !why[0])
		snprintf(why, why_size, "generation %u, which would come back unless you confirm, does not take it: %s",
			 w->pending.back.generation, other.n ? other.v[0].message : strerror(-r));
	weir_diags_free(&other);
	if (!r && c->by)
		r = weir_lockout_check(w, &back->img, NULL, c->by, why, why_size);
	return r;
}

/*
 * An edit that changes nothing but what the blocklists hold: the programs in force stay, and with them the number of
 * this edit of them. False: it is more, or the keeper cannot.
 */
static bool blocks_install(struct weir_worker *w, struct weir_change *c, struct weir_image *now)
{
	struct weir_config *cfg = (struct weir_config *)((uint8_t *)now->blob + now->img.h->config.off);
	uint32_t epoch = cfg->epoch;

	if (!w->img.cfg || c->new_generation || w->pending.on)
		return false;
	cfg->epoch = w->epoch;
	if (!weir_image_blocks_only(&w->img, &now->img)) {
		cfg->epoch = epoch;
		return false;
	}
	weir_image_seal(now->blob, now->size);
	if (weir_port_blocks(w->port, now->blob, now->size) >= 0)
		return true;
	cfg->epoch = epoch;
	weir_image_seal(now->blob, now->size);
	return false;
}

struct difference {
	const struct weir_img *from, *to;
	struct weir_change *c;
};

static void difference(void *data)
{
	struct difference *d = data;

	weir_rules_diff(d->from, d->to, &d->c->added, &d->c->removed);
}

static int images_install(struct weir_worker *w, struct weir_change *c, struct weir_image *now, struct weir_image *back,
			  char *why, size_t why_size)
{
	struct weir_kern_change k = { .blob = now->blob, .size = now->size, .back = back->blob, .back_size = back->size };
	struct difference d = { &w->img, &now->img, c };
	json_t *hits = json_incref(w->hits);
	int r;

	if (blocks_install(w, c, now)) {
		take_over(w, c, now, hits);
		json_decref(hits);
		return 0;
	}
	k.span = c->new_generation ? (uint64_t)c->confirm_s * 1000000000u : 0;
	k.deadline = c->new_generation ? 0 : w->pending.deadline;
	seed(w, now->img.cfg);
	if (w->img.cfg) {
		weir_recent_settle(w);
		hits_keep(w);
	}
	r = weir_port_install(w->port, &k, w->img.cfg ? difference : NULL, &d, why, why_size);
	if (!r) {
		if (w->img.cfg)
			weir_recent_settle(w); /* it judged until now */
		take_over(w, c, now, hits);
		if (back->blob)
			back_edited(w, c, back);
	}
	json_decref(hits);
	return r;
}

static int put_once(struct weir_worker *w, struct weir_change *c, struct weir_diags *diags, char *why, size_t why_size)
{
	struct weir_image now = { 0 }, back = { 0 };
	uint32_t last = w->history.last;
	bool noted = false;
	int r;

	why[0] = 0;
	r = weir_late_try(w, c, why, why_size);
	if (r != -EAGAIN)
		return r;
	why[0] = 0;
	if (!c->policy && !weir_worker_has_policy(w)) {
		snprintf(why, why_size, "the policy of generation %u, which is in force, cannot be read again since a crash, so it "
			 "cannot be edited: weir apply puts one in its place", w->generation);
		return -ESTALE;
	}
	r = images_make(w, c, &now, &back, diags, why, why_size);
	if (!r && (c->new_generation || !weir_history_find(&w->history, now.img.cfg->generation))) {
		r = weir_history_note(w, c, &now.img, why, why_size);
		noted = !r;
		/* a full disk must not keep the host open, nor an edit away; a change that a person makes is refused */
		if (r && (!w->img.cfg || !c->new_generation))
			r = weir_failures_unsaved(w, r);
	}
	if (!r)
		r = images_install(w, c, &now, &back, why, why_size);
	if (!r && c->new_generation)
		weir_history_settle(w, c->rollback);
	if (r && noted) {
		weir_history_drop(w->o.state_dir, &w->history, last);
		weir_pending_save(w);
	}
	free(now.blob);
	free(back.blob);
	return r;
}

int weir_worker_put(struct weir_worker *w, struct weir_change *c, struct weir_diags *diags, char *why,
		    size_t why_size)
{
	const struct weir_policy *stood = w->policy;
	int r = put_once(w, c, diags, why, why_size);

	if (r != -ECANCELED || !w->pending.on)
		return r;
	/* a command decided it in the kernel: an edit holds for what is in force now, lists for the policy that names them */
	weir_pending_tick(w);
	return c->new_generation || w->pending.on || (c->policy && w->policy != stood) ? r :
		       put_once(w, c, diags, why, why_size);
}

void weir_worker_source(struct weir_worker *w, enum weir_policy_source source)
{
	struct weir_gen *g = weir_history_find(&w->history, w->generation);

	w->source = source;
	if (!g || g->source == source)
		return;
	g->source = source;
	weir_failures_saved(w, weir_history_save(w->o.state_dir, &w->history));
}

uint32_t weir_worker_rule_at(const struct weir_worker *w, uint32_t id)
{
	uint32_t i = 0;

	for (; i < w->img.cfg->n_rules; i++) {
		const struct weir_rule *r = weir_img_rule(&w->img, 0, i);

		if (r->overlay_id == id && !(r->flags & WEIR_RF_GONE))
			break;
	}
	return i;
}

bool weir_worker_unfit(struct weir_worker *w)
{
	bool any = false;

	for (size_t i = 0; i < w->overlay.list.n_rules; i++) {
		struct weir_overlay_rule *o = &w->overlay.list.rules[i];
		struct weir_diags own = { 0 };

		o->unfit = (!w->img.cfg || weir_worker_rule_at(w, o->id) == w->img.cfg->n_rules) &&
			   weir_policy_check_rule(w->policy, o->json, &own) == -EINVAL;
		any |= o->unfit;
		weir_diags_free(&own);
	}
	return any;
}

int weir_worker_put_fitting(struct weir_worker *w, struct weir_change *c, int r, struct weir_diags *diags, char *why,
			    size_t why_size)
{
	char sum[160] = "";

	if (w->o.policy) /* who names a file is told */
		return r;
	if (weir_worker_unfit(w)) {
		weir_diags_free(diags);
		*diags = (struct weir_diags){ 0 };
		r = weir_worker_put(w, c, diags, why, why_size);
	}
	if (r != -EINVAL || c->new_generation)
		return r;
	snprintf(sum, sizeof sum, "%s", diags->n ? diags->v[0].message : strerror(-r));
	c->any_memory = true;
	weir_diags_free(diags);
	*diags = (struct weir_diags){ 0 };
	r = weir_worker_put(w, c, diags, why, why_size);
	if (!r)
		snprintf(w->late_why, sizeof w->late_why, "with its edits and lists %s..; it is in force all the same", sum);
	return r;
}

int weir_worker_overlay(struct weir_worker *w, struct weir_overlay_store *edited, struct weir_caller *by,
			struct weir_diags *diags, char *why, size_t why_size)
{
	struct weir_change c = { .overlay = edited, .by = by };
	int r, undone;

	weir_edit_begin(w);
	r = weir_worker_put(w, &c, diags, why, why_size);
	if (r) {
		weir_edit_end(w);
		return r;
	}
	edited->changes++;
	r = weir_failures_saved(w, weir_overlay_save(w->o.state_dir, edited));
	if (r) {
		char again[128];

		snprintf(why, why_size, "cannot save to %s: %s; nothing was changed", w->o.state_name, strerror(-r));
		c = (struct weir_change){ .overlay = &w->overlay };
		w->overlay.next_id = edited->next_id; /* what was in force for a moment shares its number with nothing */
		undone = weir_worker_put(w, &c, diags, again, sizeof again);
		if (undone)
			snprintf(why, why_size, "cannot save to %s: %s; it is in force until the next start",
				 w->o.state_name, strerror(-r));
		weir_edit_end(w);
		return r;
	}
	weir_edit_end(w);
	weir_overlay_store_clear(&w->overlay);
	w->overlay = *edited;
	memset(edited, 0, sizeof *edited);
	weir_worker_kill(w);
	return 0;
}

/* The very bytes that are in force, and no other text belongs to them: a large policy is not read anew to see that. */
static bool file_is_in_force(const struct weir_worker *w)
{
	_cleanup_free_ char *text = NULL;
	size_t len, now_len;
	const char *now = weir_policy_text(w->policy, &now_len);

	return weir_policy_alone(w->policy) && !weir_file_read(w->path, now_len, &text, &len) && len == now_len &&
	       !memcmp(text, now, len);
}

const char *weir_worker_drift(const struct weir_worker *w, char *buf, size_t size)
{
	_cleanup_policy_ struct weir_policy *now = NULL;
	struct weir_diags diags = { 0 };
	int r;

	buf[0] = 0;
	if (w->source == WEIR_SOURCE_BUILTIN || file_is_in_force(w))
		return buf;
	r = weir_policy_read_bare(w->path, &now, &diags);
	if (r && w->source == WEIR_SOURCE_SAVED && !weir_file_exists(w->path))
		; /* the copy is what counts */
	else if (r)
		snprintf(buf, size, "the file does not check any more: weir check %s", w->path);
	else if (memcmp(weir_policy_digest(now), weir_policy_digest(w->policy), 32))
		snprintf(buf, size, "differs from the file: weir apply");
	weir_diags_free(&diags);
	return buf;
}
