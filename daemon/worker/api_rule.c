/* SPDX-License-Identifier: Apache-2.0 */
/* rule add, list, delete, clear, export: the overlay. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/reason.h"
#include "daemon/worker/api.h"
#include "lib/util/cleanup.h"

static const char *const actions[] = { "allow", "drop", "reject", "log", "ban", "?", "?", "?" };

static int commit(struct weir_worker *w, const struct weir_request *rq, bool force, struct weir_overlay_store *edited,
		  struct weir_reply *rp)
{
	struct weir_caller by = weir_request_caller(rq, force);
	char why[512] = "";
	int r = weir_worker_overlay(w, edited, &by, &rp->diags, why, sizeof why);

	if (r && why[0])
		weir_reply_fail(rp, r, by.hint, "%s", why);
	weir_overlay_store_clear(edited);
	return r;
}

#define BEATS_MAX 100 /* denials that are named; where there are more, so many say enough */

/* An allow of the overlay stands before the file's rules: who adds it should see which denials it beats. */
static json_t *beats(const struct weir_worker *w, uint32_t at)
{
	const struct weir_rule *r = weir_img_rule(&w->img, 0, at);
	json_t *list = json_array();
	char label[256];

	if (r->action != WEIR_ACT_ALLOW)
		return list;
	for (uint32_t i = at + 1; i < w->img.cfg->n_rules && json_array_size(list) < BEATS_MAX; i++) {
		const struct weir_rule *o = weir_img_rule(&w->img, 0, i);

		if (!(o->flags & WEIR_RF_GONE) && (o->action == WEIR_ACT_DROP || o->action == WEIR_ACT_REJECT) &&
		    weir_rules_overlap(&w->img, r, o))
			json_array_append_new(list, weir_words_json(weir_rule_label(&w->img, i, WEIR_REASON_RULE,
										     label, sizeof label)));
	}
	return list;
}

/* Names are unique in a file, too: what is exported shall be a policy. Those of the file the policy knows. */
static int refuse_taken(const struct weir_worker *w, const json_t *rule, struct weir_reply *rp)
{
	const char *name = json_string_value(json_object_get(rule, "name"));
	char have[320], hint[96];

	for (uint32_t i = 0; name && i < w->img.cfg->n_rules; i++) {
		const struct weir_rule *r = weir_img_rule(&w->img, 0, i);

		if (!r->overlay_id || r->flags & WEIR_RF_GONE || strcmp(weir_rule_name(&w->img, i, have, sizeof have), name))
			continue;
		snprintf(hint, sizeof hint, "choose another name, or: weir rule delete --id %u", r->overlay_id);
		return weir_reply_fail(rp, -EEXIST, hint, "the name '%s' is taken by the added rule %u", name, r->overlay_id);
	}
	return 0;
}

static int do_add(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct weir_overlay_store edited;
	_cleanup_free_ char *json = NULL;
	const char *why = NULL;
	json_int_t seconds = 0, before = 0;
	uint32_t id = 0, at;
	json_t *rule = NULL;
	char match[512];
	int force = 0;
	int r = WEIR_ARGS(rq, rp, "{s:o, s?I, s?I, s?s, s?b}", "rule", &rule, "for", &seconds, "before", &before, "why", &why,
			  "force", &force);

	if (r)
		return r;
	if (seconds < 0 || seconds > WEIR_SPAN_MAX)
		return weir_reply_fail(rp, -EINVAL, NULL, "no time: 0 is for ever, 10 years are the most");
	if (before < 0 || before > UINT32_MAX)
		return weir_reply_fail(rp, -EINVAL, NULL, "no id of a rule: %" JSON_INTEGER_FORMAT, before);
	json = json_dumps(rule, JSON_COMPACT | JSON_ENCODE_ANY);
	if (!json)
		return -ENOMEM;
	r = weir_policy_check_rule(w->policy, json, &rp->diags);
	if (r < 0)
		return weir_reply_fail(rp, r, NULL, "the rule was not added");
	r = refuse_taken(w, rule, rp);
	if (r)
		return r;
	r = weir_overlay_store_copy(&w->overlay, &edited);
	if (r)
		return r;
	r = weir_overlay_add(&edited, json, why, seconds ? (uint64_t)time(NULL) + (uint64_t)seconds : 0, (uint32_t)before,
			     &id);
	if (r) {
		weir_overlay_store_clear(&edited);
		return weir_reply_fail(rp, r, "weir rule list", r == -ENOENT ? "no overlay rule has the id %u" :
				       "the overlay is full; rule %u was not added", (uint32_t)before);
	}
	r = commit(w, rq, force, &edited, rp);
	if (r)
		return r;
	at = weir_worker_rule_at(w, id);
	if (at == w->img.cfg->n_rules)
		return weir_reply_fail(rp, -EBADMSG, NULL, "rule %u is saved, but the image lacks it", id);
	weir_reply_detail(rp, "id %u: %s %s", id, actions[weir_img_rule(&w->img, 0, at)->action % 8],
			  weir_rule_match(&w->img, weir_img_rule(&w->img, 0, at), match, sizeof match));
	rp->result = json_pack("{s:I, s:s, s:s, s:b, s:o}", "id", (json_int_t)id, "action",
			       actions[weir_img_rule(&w->img, 0, at)->action % 8], "match", match, "blocking",
			       weir_img_rule(&w->img, 0, at)->mode == WEIR_PREVENT, "beats", beats(w, at));
	return 0;
}

static json_t *rule_json(struct weir_worker *w, uint32_t i, uint64_t hits)
{
	const struct weir_rule *r = weir_img_rule(&w->img, 0, i);
	const struct weir_overlay_rule *o = r->overlay_id ? weir_overlay_find(&w->overlay, r->overlay_id) : NULL;
	char match[512], name[128], place[512];
	json_t *j = json_pack("{s:o, s:o, s:s, s:s, s:s, s:I, s:b}", "place",
			      weir_words_json(weir_rule_place(&w->img, i, place, sizeof place)), "name",
			      weir_words_json(weir_rule_name(&w->img, i, name, sizeof name)), "action",
			      actions[r->action % 8], "mode", weir_mode_name(r->mode), "match",
			      weir_rule_match(&w->img, r, match, sizeof match), "hits", (json_int_t)hits, "log",
			      (r->flags & WEIR_RF_LOG) != 0);

	if (r->overlay_id)
		json_object_set_new(j, "id", json_integer(r->overlay_id));
	if (o && o->expires)
		json_object_set_new(j, "expires", json_integer((json_int_t)o->expires));
	if (o && o->why)
		json_object_set_new(j, "why", json_string(o->why));
	return j;
}

/* What decides beside the rules; `key` says which of its kind it is. */
static void add_other(json_t *list, const char *key, const char *name, const struct weir_fixed *f, uint64_t hits)
{
	json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I}", key, name, "action", actions[f->action % 8], "mode",
					      weir_mode_name(f->mode), "hits", (json_int_t)hits));
}

static void add_others(const struct weir_worker *w, const uint64_t *hits, json_t *defaults, json_t *limits, json_t *blocklists)
{
	static const char *const dirs[] = { "inbound", "outbound", "forward" };
	const struct weir_config *c = w->img.cfg;
	const uint64_t *at = hits + c->n_rules;

	for (uint32_t d = 0; d < 3; d++)
		add_other(defaults, "direction", dirs[d], &c->defaults[d], *at++);
	for (uint32_t i = 0; i < c->n_limits; i++) {
		const struct weir_limit *l = weir_img_limit(&w->img, i);
		const struct weir_fixed f = { .action = l->action, .mode = l->mode };

		add_other(limits, "name", weir_img_string(&w->img, l->name), &f, *at++);
	}
	for (uint32_t i = 0; i < weir_image_blocklists(w->img.h); i++) {
		const char *set = weir_blocklist_name(&w->img, WEIR_RULE_BLOCKLIST + i);

		add_other(blocklists, "set", set ? set + 1 : "", &c->blocklist, *at++);
	}
}

static int do_list(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	uint32_t n = w->img.cfg->n_rules, counters = weir_image_counters(w->img.h);
	_cleanup_free_ uint64_t *hits = calloc(counters, sizeof *hits);
	json_t *rules, *defaults, *limits, *blocklists;

	if (!hits)
		return -ENOMEM;
	rules = json_array();
	defaults = json_array();
	limits = json_array();
	blocklists = json_array();
	weir_worker_hits(w, hits, counters);
	for (uint32_t i = 0; i < n; i++)
		if (!(weir_img_rule(&w->img, 0, i)->flags & WEIR_RF_GONE))
			json_array_append_new(rules, rule_json(w, i, hits[i]));
	add_others(w, hits, defaults, limits, blocklists);
	rp->result = json_pack("{s:o, s:o, s:o, s:o, s:I}", "rules", rules, "defaults", defaults, "limits", limits, "blocklists",
			       blocklists, "generation", (json_int_t)w->generation);
	return 0;
}

/* A file rule is the user's text: weir never writes there, so say where it stands. */
static int not_overlay(struct weir_worker *w, const char *name, struct weir_reply *rp)
{
	char have[128], place[512], hint[640];

	for (uint32_t i = 0; i < w->img.cfg->n_rules; i++) {
		const struct weir_rule *rule = weir_img_rule(&w->img, 0, i);

		if (rule->flags & WEIR_RF_GONE)
			continue;
		if (strcmp(weir_rule_name(&w->img, i, have, sizeof have), name) &&
		    strcmp(weir_rule_place(&w->img, i, place, sizeof place), name))
			continue;
		if (rule->flags & WEIR_RF_OVERLAY) {
			snprintf(hint, sizeof hint, "weir rule delete --id %u", rule->overlay_id);
			return weir_reply_fail(rp, -EINVAL, hint, "'%s' is a name; rules are deleted by their id", have);
		}
		weir_rule_place(&w->img, i, place, sizeof place);
		snprintf(hint, sizeof hint, "edit the file at %s, then: weir apply", place);
		return weir_reply_fail(rp, -EPERM, hint, "rule '%s' stands in the policy file (%s)", have, place);
	}
	return weir_reply_fail(rp, -ENOENT, "weir rule list shows ids and places", "there is no rule '%s'", name);
}

static int do_delete(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct weir_overlay_store edited;
	const char *which = NULL;
	char *end;
	unsigned long id;
	int force = 0, r = WEIR_ARGS(rq, rp, "{s:s, s?b}", "id", &which, "force", &force);

	if (r)
		return r;
	id = strtoul(which, &end, 10);
	if (!*which || *end || *which < '0' || *which > '9')
		return not_overlay(w, which, rp);
	r = weir_overlay_store_copy(&w->overlay, &edited);
	if (r)
		return r;
	if (id > UINT32_MAX || weir_overlay_delete(&edited, (uint32_t)id)) {
		weir_overlay_store_clear(&edited);
		return weir_reply_fail(rp, -ENOENT, "only rules made by 'weir rule add' have ids: weir rule list",
				       "no overlay rule has the id %s", which);
	}
	weir_reply_detail(rp, "id %lu", id);
	r = commit(w, rq, force, &edited, rp);
	if (!r)
		rp->result = json_pack("{s:I}", "id", (json_int_t)id);
	return r;
}

static int do_clear(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct weir_overlay_store edited;
	size_t n = w->overlay.list.n_rules;
	int force = 0, r = WEIR_ARGS(rq, rp, "{s?b}", "force", &force);

	if (!r)
		r = weir_overlay_store_copy(&w->overlay, &edited);
	while (!r && edited.list.n_rules)
		r = weir_overlay_delete(&edited, edited.list.rules[0].id);
	if (r)
		return r;
	weir_reply_detail(rp, "%zu rules", n);
	r = commit(w, rq, force, &edited, rp);
	if (!r)
		rp->result = json_pack("{s:I}", "removed", (json_int_t)n);
	return r;
}

static int do_export(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int r;

	if (!f)
		return -ENOMEM;
	r = weir_policy_export(f, &w->overlay.list);
	if (fclose(f) || r < 0)
		return r < 0 ? r : -ENOMEM;
	rp->result = json_pack("{s:s%}", "yaml", text, len);
	return rp->result ? 0 : -ENOMEM;
}

const struct weir_handler weir_handlers_rule[] = {
	{ "rule add", WEIR_RIGHT_CHANGE, do_add },
	{ "rule list", WEIR_RIGHT_READ, do_list },
	{ "rule delete", WEIR_RIGHT_CHANGE, do_delete },
	{ "rule clear", WEIR_RIGHT_CHANGE, do_clear },
	{ "rule export", WEIR_RIGHT_READ, do_export },
	{ NULL },
};
