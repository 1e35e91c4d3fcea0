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

enum weir_mode weir_worker_mode(const struct weir_worker *w)
{
	return w->img.cfg && w->img.cfg->mode == WEIR_PREVENT ? WEIR_PREVENT : WEIR_DETECT;
}

enum weir_mode weir_worker_requested(const struct weir_worker *w)
{
	return w->has_ceiling ? w->ceiling : weir_policy_mode(w->policy);
}

/* The same rule in two images has the same key, wherever it stands in them. */
static json_t *hit_of(struct weir_worker *w, uint32_t rule, char *key, size_t size)
{
	char name[128], place[256];

	snprintf(key, size, "%s\n%s", weir_rule_name(&w->img, rule, name, sizeof name),
		 weir_rule_place(&w->img, rule, place, sizeof place));
	return json_object_get(w->hits, key);
}

void weir_worker_hits(struct weir_worker *w, uint64_t *ret, size_t n_rules)
{
	struct weir_counter *now = calloc(n_rules + 3, sizeof *now);
	int n = now ? weir_port_rule_hits(w->port, now, n_rules + 3) : 0;
	char key[400];

	for (size_t i = 0; i < n_rules; i++) {
		ret[i] = (uint64_t)json_integer_value(hit_of(w, (uint32_t)i, key, sizeof key));
		if ((int)i < n)
			ret[i] += now[i].packets;
	}
	free(now);
}

/* A new image counts from zero: what the old one counted is kept by the rule's name. */
static void hits_keep(struct weir_worker *w)
{
	size_t n = w->img.cfg ? w->img.cfg->n_rules : 0;
	_cleanup_free_ uint64_t *hits = n ? calloc(n, sizeof *hits) : NULL;
	json_t *kept;
	char key[400];

	if (!hits || !(kept = json_object()))
		return;
	weir_worker_hits(w, hits, n);
	for (size_t i = 0; i < n; i++) {
		hit_of(w, (uint32_t)i, key, sizeof key);
		json_object_set_new(kept, key, json_integer((json_int_t)hits[i]));
	}
	json_decref(w->hits);
	w->hits = kept;
}

/* Records that the old image explains must be put into words by it. */
static void recent_settle(struct weir_worker *w)
{
	struct weir_recent_ring *rings[] = { &w->recent.verdicts, &w->recent.flows };
	struct weir_recent_entry *e;

	for (int r = 0; r < 2; r++) {
		for (size_t i = 0; (e = weir_recent_at(rings[r], i)); i++) {
			if (!e->json)
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
	return c->new_generation || !w->generation ? w->generation + 1 : w->generation;
}

static int compile(struct weir_worker *w, const struct weir_change *c, void **ret_blob, uint32_t *ret_size,
		   struct weir_diags *diags)
{
	struct weir_sshd sshd = { 0 };
	bool has_ceiling = c->has_ceiling || w->has_ceiling;
	struct weir_compile_options o = {
		.generation = generation_next(w, c),
		.epoch = w->epoch + 1,
		.mode_ceiling = !has_ceiling ? WEIR_PREVENT : c->has_ceiling ? c->ceiling : w->ceiling,
		.overlay = c->overlay ? &c->overlay->list : &w->overlay.list,
	};
	int r;

	if (!weir_helper_sshd(w->helper, &sshd)) {
		o.session_addrs = (const char **)sshd.addrs;
		o.n_session_addrs = sshd.n_addrs;
		o.sshd_ports = sshd.ports;
		o.n_sshd_ports = sshd.n_ports;
	}
	r = weir_policy_compile(c->policy ? c->policy : w->policy, &o, ret_blob, ret_size, diags);
	weir_sshd_free(&sshd);
	return r;
}

static uint32_t ms_since(const struct timespec *from)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)((now.tv_sec - from->tv_sec) * 1000 + (now.tv_nsec - from->tv_nsec) / 1000000);
}

static void take_over(struct weir_worker *w, struct weir_change *c, void *blob, const struct weir_img *img)
{
	free(w->blob);
	w->blob = blob;
	w->img = *img;
	w->generation = img->cfg->generation;
	w->epoch = img->cfg->epoch;
	if (c->policy && c->policy != w->policy) {
		weir_policy_free(w->policy);
		w->policy = c->policy;
	}
	if (c->has_ceiling) {
		w->has_ceiling = true;
		w->ceiling = c->ceiling;
	}
	c->policy = NULL;
}

int weir_worker_put(struct weir_worker *w, struct weir_change *c, struct weir_diags *diags, char *why,
		    size_t why_size)
{
	_cleanup_free_ void *blob = NULL;
	struct weir_img img;
	struct timespec from;
	uint32_t size = 0;
	int r;

	why[0] = 0;
	clock_gettime(CLOCK_MONOTONIC, &from);
	r = compile(w, c, &blob, &size, diags);
	if (r < 0)
		return r;
	c->ms = ms_since(&from);
	if (weir_image_open(&img, blob, size)) {
		snprintf(why, why_size, "the compiler made a damaged image");
		return -EBADMSG;
	}
	seed(w, img.cfg);
	if (w->img.cfg) {
		weir_rules_diff(&w->img, &img, &c->added, &c->removed);
		recent_settle(w);
		hits_keep(w);
	}
	r = weir_port_install(w->port, &(struct weir_kern_change){ .blob = blob, .size = size }, why, why_size);
	if (r)
		return r;
	take_over(w, c, TAKE_PTR(blob), &img);
	return 0;
}

int weir_worker_overlay(struct weir_worker *w, struct weir_overlay_store *edited, struct weir_diags *diags, char *why,
			size_t why_size)
{
	struct weir_change c = { .overlay = edited };
	int r = weir_worker_put(w, &c, diags, why, why_size), undone;

	if (r)
		return r;
	r = weir_overlay_save(w->o.state_dir, edited);
	if (r) {
		char again[128];

		snprintf(why, why_size, "cannot save to %s: %s; nothing was changed", w->o.state_dir, strerror(-r));
		c = (struct weir_change){ .overlay = &w->overlay };
		undone = weir_worker_put(w, &c, diags, again, sizeof again);
		if (undone)
			snprintf(why, why_size, "cannot save to %s: %s; it is in force until the next start",
				 w->o.state_dir, strerror(-r));
		return r;
	}
	weir_overlay_store_clear(&w->overlay);
	w->overlay = *edited;
	memset(edited, 0, sizeof *edited);
	return 0;
}

const char *weir_worker_drift(const struct weir_worker *w, char *buf, size_t size)
{
	_cleanup_policy_ struct weir_policy *now = NULL;
	struct weir_diags diags = { 0 };
	int r;

	buf[0] = 0;
	if (w->source == WEIR_SOURCE_BUILTIN)
		return buf;
	r = weir_policy_read(w->path, &now, &diags);
	if (r && w->source == WEIR_SOURCE_SAVED && !weir_file_exists(w->path))
		; /* the copy is what counts */
	else if (r)
		snprintf(buf, size, "the file does not check any more: weir check %s", w->path);
	else if (memcmp(weir_policy_digest(now), weir_policy_digest(w->policy), 32))
		snprintf(buf, size, "differs from the file: weir apply");
	weir_diags_free(&diags);
	return buf;
}
