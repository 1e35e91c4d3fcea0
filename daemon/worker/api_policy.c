/* SPDX-License-Identifier: Apache-2.0 */
/* apply, mode, show effective: what is in force as a whole. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/worker/api.h"
#include "lib/state/file.h"
#include "lib/util/cleanup.h"

/* Built-in failsafe entries that this image has not. Taking one away can lock people out. */
static int failsafe_kept(const struct weir_worker *w, const struct weir_policy *p, bool console,
			 struct weir_reply *rp)
{
	const char *missing[16];
	size_t n = weir_policy_failsafe_removed(p, missing, 16);

	if (!n || console)
		return 0;
	return weir_reply_fail(rp, -EPERM, "weir apply --i-have-console, when you can reach this host another way",
			       "the policy removes the built-in failsafe entry '%s'%s", missing[0],
			       n > 1 ? " and others" : "");
}

static json_t *put_result(const struct weir_worker *w, const struct weir_change *c)
{
	const struct weir_list_info *l;
	uint64_t ranges = 0;
	char digest[65];

	for (uint32_t i = 0; (l = weir_img_at(&w->img, &w->img.h->lists, i, sizeof *l)); i++)
		ranges += l->ranges;
	weir_hex(weir_policy_digest(w->policy), 32, digest);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:o, s:s}", "generation", (json_int_t)w->generation,
			 "rules", (json_int_t)w->img.cfg->n_rules, "ranges", (json_int_t)ranges, "ms",
			 (json_int_t)c->ms, "added", (json_int_t)c->added, "removed", (json_int_t)c->removed, "mode",
			 weir_mode_name(weir_worker_mode(w)), "requested", weir_mode_name(weir_worker_requested(w)),
			 "path", weir_text_json(w->path), "sha256", digest);
}

/* Keep a copy for the next start. Includes and list files are still read where they stand. */
static int save_copy(struct weir_worker *w, const char *path, struct weir_reply *rp)
{
	int r = weir_worker_keep(w, path);

	if (r == -ESTALE)
		return weir_reply_fail(rp, r, "weir apply", "in force, but not kept for the next start: %s changed meanwhile",
				       path);
	return r ? weir_reply_fail(rp, r, NULL, "in force, but not saved to %s: %s", w->o.state_dir, strerror(-r)) : 0;
}

static int remember(struct weir_worker *w, struct weir_reply *rp)
{
	int r;

	w->origin.generation = w->generation;
	memcpy(w->origin.digest, weir_policy_digest(w->policy), 32);
	r = weir_origin_save(w->o.state_dir, &w->origin);
	return r ? weir_reply_fail(rp, r, NULL, "in force, but %s cannot be written: %s", w->o.state_dir, strerror(-r))
		 : 0;
}

static int apply_put(struct weir_worker *w, const char *path, bool console, struct weir_change *c,
		     struct weir_reply *rp)
{
	_cleanup_policy_ struct weir_policy *p = NULL;
	char why[512] = "";
	int r = weir_policy_read(path, &p, &rp->diags);

	if (!r)
		r = failsafe_kept(w, p, console, rp);
	if (r)
		return r;
	*c = (struct weir_change){ .policy = p, .new_generation = true };
	r = weir_worker_put(w, c, &rp->diags, why, sizeof why);
	if (r)
		return why[0] ? weir_reply_fail(rp, r, NULL, "%s", why) : r;
	p = NULL; /* taken over */
	return 0;
}

static int keep_hint(struct weir_reply *rp, int r, const char *hint)
{
	rp->hint = strdup(hint);
	return r;
}

static int do_apply(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	const char *path = NULL;
	char file[PATH_MAX];
	struct weir_change c;
	int save = 0, console = 0, boot;
	int r = WEIR_ARGS(rq, rp, "{s?s, s?b, s?b}", "path", &path, "save", &save, "console", &console);

	if (r)
		return r;
	snprintf(file, sizeof file, "%s/policy.yaml", w->o.config_dir);
	if (!path)
		path = file;
	if (path[0] != '/')
		return weir_reply_fail(rp, -EINVAL, NULL, "the path must be absolute");
	weir_reply_detail(rp, "%s%s", path, save ? " saved" : "");
	r = apply_put(w, path, console, &c, rp);
	if (r) {
		char kept[96];

		snprintf(kept, sizeof kept, "The policy in force (generation %u) is unchanged.", w->generation);
		if (rp->hint)
			return r;
		return rp->message ? keep_hint(rp, r, kept) :
				     weir_reply_fail(rp, r, NULL, "%zu error%s. %s", rp->diags.errors,
						     rp->diags.errors == 1 ? "" : "s", kept);
	}
	w->source = strcmp(path, file) ? WEIR_SOURCE_OTHER : WEIR_SOURCE_FILE;
	snprintf(w->path, sizeof w->path, "%s", path);
	boot = w->source == WEIR_SOURCE_FILE ? WEIR_SOURCE_FILE : save ? WEIR_SOURCE_SAVED : -1;
	if (boot >= 0) {
		r = save_copy(w, path, rp);
		if (r)
			return r;
		w->source = (enum weir_policy_source)boot;
		w->origin.boot = (enum weir_policy_source)boot;
		snprintf(w->origin.path, sizeof w->origin.path, "%s", path);
	}
	r = remember(w, rp);
	if (r)
		return r;
	weir_reply_detail(rp, "generation %u from %s%s", w->generation, path, save ? " (saved)" : "");
	rp->result = put_result(w, &c);
	json_object_set_new(rp->result, "kept", json_boolean(boot >= 0));
	return 0;
}

static int do_mode(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct weir_change c = { .has_ceiling = true, .new_generation = true };
	const char *mode = NULL;
	char why[512];
	int r = WEIR_ARGS(rq, rp, "{s:s}", "mode", &mode);

	if (r)
		return r;
	if (strcmp(mode, "detect") && strcmp(mode, "prevent"))
		return weir_reply_fail(rp, -EINVAL, "weir mode detect, or weir mode prevent", "unknown mode '%s'", mode);
	c.ceiling = strcmp(mode, "detect") ? WEIR_PREVENT : WEIR_DETECT;
	r = weir_worker_put(w, &c, &rp->diags, why, sizeof why);
	if (r)
		return why[0] ? weir_reply_fail(rp, r, NULL, "%s", why) : r;
	w->origin.has_mode = true;
	w->origin.mode = c.ceiling;
	weir_reply_detail(rp, "%s (effective %s), generation %u", mode, weir_mode_name(weir_worker_mode(w)),
			  w->generation);
	r = remember(w, rp);
	if (r)
		return r;
	rp->result = put_result(w, &c);
	json_object_set_new(rp->result, "policy_mode", json_string(weir_mode_name(weir_policy_mode(w->policy))));
	return 0;
}

static int do_mode_show(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	rp->result = json_pack("{s:s, s:s, s:s, s:o}", "requested", weir_mode_name(weir_worker_requested(w)), "mode",
			       weir_mode_name(weir_worker_mode(w)), "policy_mode",
			       weir_mode_name(weir_policy_mode(w->policy)), "path", weir_text_json(w->path));
	return 0;
}

static int do_show(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return -ENOMEM;
	weir_policy_show_effective(f, &w->img);
	if (fclose(f))
		return -ENOMEM;
	rp->result = json_pack("{s:I, s:s%}", "generation", (json_int_t)w->generation, "yaml", text, len);
	return rp->result ? 0 : -ENOMEM;
}

static int do_stop(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	size_t n, covered = 0;
	const struct weir_kern_if *ifs = weir_port_ifs(w->port, &n);

	for (size_t i = 0; i < n; i++)
		covered += ifs[i].covered;
	rp->result = json_pack("{s:I, s:s, s:b, s:I}", "generation", (json_int_t)w->generation, "mode",
			       weir_mode_name(weir_worker_mode(w)), "enforcing", weir_worker_mode(w) == WEIR_PREVENT,
			       "interfaces", (json_int_t)covered);
	w->end = WEIR_END_STOP;
	return 0;
}

static int do_flush(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	int r = do_stop(w, rq, rp);

	w->end = WEIR_END_FLUSH;
	return r;
}

const struct weir_handler weir_handlers_policy[] = {
	{ "apply", WEIR_RIGHT_CHANGE, do_apply },
	{ "mode", WEIR_RIGHT_CHANGE, do_mode },
	{ "mode show", WEIR_RIGHT_READ, do_mode_show },
	{ "show effective", WEIR_RIGHT_READ, do_show },
	{ "stop", WEIR_RIGHT_CHANGE, do_stop },
	{ "flush", WEIR_RIGHT_CHANGE, do_flush },
	{ NULL },
};
