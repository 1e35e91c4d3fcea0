/* SPDX-License-Identifier: Apache-2.0 */
/* set add, remove, reset, list: elements of sets, changed at run time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/worker/api.h"
#include "lib/util/cleanup.h"

/* Several elements of one set, and what becomes of them. */
struct elements_in {
	const char *set, **v; /* no two alike, each written in the one way */
	json_t *seen;	      /* has them as keys */
	size_t n;
	bool remove;
	enum weir_edited *edited;    /* beside v: what was said of it before, */
	enum weir_held *before;	     /* and what the set held of it then */
	const char **back, **kept;   /* those that take back an earlier edit; those of which an edit is kept */
	enum weir_held *held, *file; /* beside back: what the set holds of it without that edit, and without any */
	size_t n_back, n_kept;
};

static void elements_free(struct elements_in *e)
{
	json_decref(e->seen);
	free(e->v);
	free(e->edited);
	free(e->before);
	free(e->back);
	free(e->kept);
	free(e->held);
	free(e->file);
}
#define _cleanup_elements_ __attribute__((cleanup(elements_free)))

/* Room for n of each. */
static bool elements_room(struct elements_in *e, size_t n)
{
	e->seen = json_object();
	e->v = calloc(n + 1, sizeof *e->v);
	e->edited = calloc(n + 1, sizeof *e->edited);
	e->before = calloc(n + 1, sizeof *e->before);
	e->back = calloc(n + 1, sizeof *e->back);
	e->kept = calloc(n + 1, sizeof *e->kept);
	e->held = calloc(n + 1, sizeof *e->held);
	e->file = calloc(n + 1, sizeof *e->file);
	return e->seen && e->v && e->edited && e->before && e->back && e->kept && e->held && e->file;
}

static int elements_read(struct weir_worker *w, const json_t *list, struct elements_in *e, struct weir_reply *rp)
{
	const json_t *one;
	size_t i;
	int r = 0;

	if (!elements_room(e, json_array_size(list)))
		return -ENOMEM;
	json_array_foreach (list, i, one) {
		const char *element = json_string_value(one);
		char text[WEIR_ELEMENT_SIZE];

		if (!element)
			return weir_reply_fail(rp, -EINVAL, NULL, "an element is a string");
		r = weir_policy_check_edit(w->policy, e->set, element, e->remove, &rp->diags);
		if (r)
			return weir_reply_fail(rp, r, "weir set list", "the set was not changed");
		element = weir_policy_element(element, text);
		if (json_object_get(e->seen, element)) /* named twice, it is meant once */
			continue;
		if (json_object_set_new(e->seen, element, json_true()))
			return -ENOMEM;
		e->v[e->n++] = json_object_iter_key(json_object_iter_at(e->seen, element));
	}
	return 0;
}

/*
 * What was said of the elements before; and does that count? A later edit of other addresses may be over it. Who takes
 * elements out is told, too, which of them the set did not hold.
 */
static int elements_look(struct weir_worker *w, const struct weir_overlay_store *edited, struct elements_in *e)
{
	int r = weir_overlay_look(edited, e->set, e->v, e->n, e->edited);
	bool look = e->remove;

	for (size_t i = 0; i < e->n && !look; i++)
		look = e->edited[i] == (e->remove ? WEIR_EDITED_OUT : WEIR_EDITED_IN);
	return r || !look ? r : weir_policy_set_holds(w->policy, &edited->list, e->set, e->v, e->n, e->before);
}

/* Forget the edits that are taken back, and look what the policy says then: of all of them at once. */
static int elements_back(struct weir_worker *w, struct weir_overlay_store *edited, struct elements_in *e, struct weir_reply *rp)
{
	enum weir_edited opposite = e->remove ? WEIR_EDITED_IN : WEIR_EDITED_OUT;
	int r = elements_look(w, edited, e);
	bool file = false;

	for (size_t i = 0; !r && i < e->n; i++)
		if (e->edited[i] == opposite)
			e->back[e->n_back++] = e->v[i];
	if (!r && e->n_back)
		r = weir_overlay_forget(edited, e->set, e->back, e->n_back);
	if (!r && e->n_back)
		r = weir_policy_set_holds(w->policy, &edited->list, e->set, e->back, e->n_back, e->held);
	for (size_t i = 0; e->remove && i < e->n_back && !file; i++)
		file = e->held[i] != WEIR_HELD_NOT;
	if (!r && file)
		r = weir_policy_set_holds(w->policy, NULL, e->set, e->back, e->n_back, e->file);
	return r ? weir_reply_fail(rp, r, NULL, "cannot look into $%s: %s", e->set, strerror(-r)) : 0;
}

/*
 * Is an edit to be kept of this element? What takes back an earlier one of it only forgets that, where the policy says the
 * same without it: a file that holds it later counts then. `k`: which of those that are taken back is next.
 */
static int edit_note(struct elements_in *e, size_t i, size_t *k, struct weir_reply *rp)
{
	enum weir_held want = e->remove ? WEIR_HELD_NOT : WEIR_HELD_ALL;
	const char *element = e->v[i];

	if (e->edited[i] == (e->remove ? WEIR_EDITED_OUT : WEIR_EDITED_IN)) {
		if (e->before[i] == want)
			return weir_reply_fail(rp, -EALREADY, "weir set list", "%s was %s $%s already", element,
					       e->remove ? "taken out of" : "added to", e->set);
	} else if (e->edited[i] != WEIR_EDITED_NOT) {
		size_t at = (*k)++;

		if (e->held[at] == want)
			return 0;
		if (e->remove && e->file[at] == WEIR_HELD_PARTLY) {
			char hint[256];

			snprintf(hint, sizeof hint, "'weir set reset %.60s %.60s' takes back what was added; 'weir set remove' after "
				 "that takes out what the policy holds, too", e->set, element);
			return weir_reply_fail(rp, -EINVAL, hint, "the policy holds a part of %s in $%s itself", element, e->set);
		}
	}
	e->kept[e->n_kept++] = element;
	return 0;
}

static int edits_keep(struct weir_overlay_store *edited, const struct elements_in *e, struct weir_reply *rp)
{
	int r = weir_overlay_edit(edited, e->set, e->kept, e->n_kept, e->remove);

	if (r == -ENOSPC)
		return weir_reply_fail(rp, r, "write them into the policy or a file of it", "there are %d edits of sets, and no more can be "
				       "kept", WEIR_OVERLAY_EDITS_MAX);
	return r ? weir_reply_fail(rp, r, "weir set list", "cannot keep the edit: %s", strerror(-r)) : 0;
}

/* Put the edits in force, if `r` says that they are noted; they are taken over, or cleared. */
static int edits_put(struct weir_worker *w, const struct weir_request *rq, bool force, struct weir_overlay_store *edited,
		     int r, struct weir_reply *rp)
{
	struct weir_caller by = weir_request_caller(rq, force);
	char why[512] = "";

	if (!r)
		r = weir_worker_overlay(w, edited, &by, &rp->diags, why, sizeof why);
	if (r && why[0])
		weir_reply_fail(rp, r, by.hint, "%s", why);
	weir_overlay_store_clear(edited);
	return r;
}

struct edits_done {
	size_t named, changed, absent; /* absent: taken out, and not in the set before */
};

/* Of several elements those that are there already are passed over: one that is named alone was meant. */
static int edits_note(struct weir_worker *w, struct weir_overlay_store *edited, const char *set, const json_t *elements,
		      bool remove, struct weir_reply *rp, struct edits_done *ret)
{
	_cleanup_elements_ struct elements_in e = { .set = set, .remove = remove };
	int r = elements_read(w, elements, &e, rp);
	size_t k = 0;

	*ret = (struct edits_done){ .named = e.n };
	r = r ? r : elements_back(w, edited, &e, rp);
	if (r)
		return r;
	for (size_t i = 0; i < e.n; i++) {
		r = edit_note(&e, i, &k, rp);
		if (r && (r != -EALREADY || e.n == 1))
			return r;
		ret->changed += !r;
		ret->absent += !r && remove && e.before[i] == WEIR_HELD_NOT;
	}
	return ret->changed ? edits_keep(edited, &e, rp) :
			      weir_reply_fail(rp, -EALREADY, "weir set list", "nothing of that changes $%s", set);
}

#define ELEMENTS_MAX 16384

/* "element": one, or "elements": an array of them, which take force at one moment or not at all. */
static int set_edit(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp, bool remove)
{
	struct weir_overlay_store edited;
	const char *set = NULL, *element = NULL;
	json_t *list = NULL, *elements;
	struct edits_done done = { 0 };
	int force = 0, r = WEIR_ARGS(rq, rp, "{s:s, s?s, s?o, s?b}", "set", &set, "element", &element, "elements", &list, "force",
				     &force);

	if (!r && (!element == !list || (list && !json_array_size(list))))
		r = weir_reply_fail(rp, -EINVAL, NULL, "bad arguments: either 'element' or 'elements'");
	if (!r && json_array_size(list) > ELEMENTS_MAX)
		r = weir_reply_fail(rp, -E2BIG, "a file of addresses takes more", "%zu elements at once, at most %d",
				    json_array_size(list), ELEMENTS_MAX);
	if (r)
		return r;
	set += *set == '$';
	elements = list ? json_incref(list) : json_pack("[s]", element);
	element = json_string_value(json_array_get(elements, 0));
	if (json_array_size(elements) == 1)
		weir_reply_detail(rp, "%s %s", set, element ?: "");
	else
		weir_reply_detail(rp, "%s %s and %zu more", set, element ?: "", json_array_size(elements) - 1);
	weir_port_busy(w->port);
	r = weir_overlay_store_copy(&w->overlay, &edited);
	if (!r)
		r = edits_put(w, rq, force, &edited, edits_note(w, &edited, set, elements, remove, rp, &done), rp);
	if (!r)
		rp->result = json_pack("{s:s, s:s*, s:O*, s:I, s:I, s:I, s:b}", "set", set, "element", list ? NULL : element, "elements",
				       list, "named", (json_int_t)done.named, "changed", (json_int_t)done.changed, "absent",
				       (json_int_t)done.absent, "removed", (int)remove);
	json_decref(elements);
	return r;
}

static int do_set_add(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	return set_edit(w, rq, rp, false);
}

static int do_set_remove(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	return set_edit(w, rq, rp, true);
}

/* What the policy says counts again. Also of a set that it has no more. */
static int do_set_reset(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	const char *set = NULL, *element = NULL;
	int force = 0, r = WEIR_ARGS(rq, rp, "{s:s, s?s, s?b}", "set", &set, "element", &element, "force", &force);
	struct weir_overlay_store edited;
	char text[WEIR_ELEMENT_SIZE];
	size_t n;

	if (!r)
		r = weir_overlay_store_copy(&w->overlay, &edited);
	if (r)
		return r;
	set += *set == '$';
	weir_reply_detail(rp, "%s%s%s", set, element ? " " : "", element ?: "");
	n = weir_overlay_reset(&edited, set, element ? weir_policy_element(element, text) : NULL);
	if (!n)
		r = weir_reply_fail(rp, -ENOENT, "weir set list", "no edit %s%s%s$%s is kept", element ? "of " : "", element ?: "",
				    element ? " in " : "of ", set);
	r = edits_put(w, rq, force, &edited, r, rp);
	if (!r)
		rp->result = json_pack("{s:s, s:s*, s:I}", "set", set, "element", element, "forgotten", (json_int_t)n);
	return r;
}

#define SET_SHOWN_MAX 10000 /* elements */

static json_t *edits_json(const struct weir_worker *w, const char *set)
{
	json_t *list = json_array();

	for (size_t i = 0; i < w->overlay.list.n_edits; i++) {
		const struct weir_set_edit *e = &w->overlay.list.edits[i];

		if (!set || !strcmp(e->set, set))
			json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "set", e->set, "element", e->element,
							      "removed", (int)e->remove));
	}
	return list;
}

struct elements {
	json_t *list;
	size_t n;
};

static void element_add(const char *range, void *data)
{
	struct elements *e = data;

	if (e->n++ < SET_SHOWN_MAX && e->list)
		json_array_append_new(e->list, json_string(range));
}

/* The sets of the image, then those that only blocklists name: their addresses are in no list of it. */
static const struct weir_list_info *set_at(const struct weir_worker *w, uint32_t i, bool *ret_block)
{
	const struct weir_section *lists = &w->img.h->lists;

	*ret_block = i >= lists->count;
	return *ret_block ? weir_img_at(&w->img, &w->img.h->block_sets, i - lists->count, sizeof(struct weir_list_info)) :
			    weir_img_at(&w->img, lists, i, sizeof(struct weir_list_info));
}

static bool told(const json_t *sets, const char *name)
{
	const json_t *j;
	size_t i;

	json_array_foreach(sets, i, j)
		if (!strcmp(json_string_value(json_object_get(j, "set")), name))
			return true;
	return false;
}

/* How often each blocklist stopped something, or would have. The caller frees it; NULL: there are none. */
static uint64_t *blocklist_hits(struct weir_worker *w)
{
	uint32_t counters = weir_image_counters(w->img.h), n = weir_image_blocklists(w->img.h);
	uint64_t *hits = n ? calloc(counters, sizeof *hits) : NULL;

	if (!hits)
		return NULL;
	weir_worker_hits(w, hits, counters);
	memmove(hits, hits + counters - n, n * sizeof *hits);
	return hits;
}

/* The number of the blocklist that is made of this set, or -1. */
static int64_t blocklist_at(const struct weir_worker *w, const char *set)
{
	const char *name;

	for (uint32_t i = 0; i < weir_image_blocklists(w->img.h); i++) {
		name = weir_blocklist_name(&w->img, WEIR_RULE_BLOCKLIST + i);
		if (name && !strcmp(name + 1, set))
			return i;
	}
	return -1;
}

/* Sets that only say what no blocklist stops are in no list of the image: there they are taken out of the others. */
static int excepted_add(const struct weir_worker *w, const char *set, json_t *sets)
{
	const char *name;
	int r = 0;

	for (size_t i = 0; !r && w->policy && (name = weir_policy_excepted(w->policy, i)); i++) {
		struct elements e = { .list = set ? json_array() : NULL };
		json_t *j;

		if (told(sets, name) || (set && strcmp(set, name))) {
			json_decref(e.list);
			continue;
		}
		r = weir_policy_set_each(w->policy, &w->overlay.list, name, element_add, &e);
		j = json_pack("{s:s, s:I}", "set", name, "ranges", (json_int_t)e.n);
		if (e.list)
			json_object_set_new(j, "elements", e.list);
		json_array_append_new(sets, j);
	}
	return r;
}

static int do_set_list(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	const struct weir_list_info *l;
	const char *set = NULL;
	json_t *sets = json_array();
	int r = WEIR_ARGS(rq, rp, "{s?s}", "set", &set);
	_cleanup_free_ uint64_t *hits = blocklist_hits(w);
	bool block;

	if (set && *set == '$')
		set++;
	for (uint32_t i = 0; !r && (l = set_at(w, i, &block)); i++) {
		struct elements e = { 0 };
		const char *name = weir_img_string(&w->img, l->name);
		int64_t at;
		json_t *j;

		name += *name == '$';
		if (!*name || (set && strcmp(set, name)) || (block && told(sets, name)))
			continue;
		j = json_pack("{s:s, s:I}", "set", name, "ranges", (json_int_t)l->ranges);
		at = hits ? blocklist_at(w, name) : -1;
		if (at >= 0)
			json_object_set_new(j, "hits", json_integer((json_int_t)hits[at]));
		if (set) {
			e.list = block ? json_array() : weir_list_json(&w->img, i, SET_SHOWN_MAX);
			if (block)
				r = weir_policy_set_each(w->policy, &w->overlay.list, name, element_add, &e);
			json_object_set_new(j, "elements", e.list);
		}
		json_array_append_new(sets, j);
	}
	r = r ? r : excepted_add(w, set, sets);
	if (!r && set && !json_array_size(sets))
		r = weir_reply_fail(rp, -ENOENT, "weir set list", "no rule or blocklist uses a set '%s'", set);
	if (r) {
		json_decref(sets);
		return r;
	}
	rp->result = json_pack("{s:o, s:o}", "sets", sets, "edits", edits_json(w, set));
	return 0;
}

const struct weir_handler weir_handlers_lists[] = {
	{ "set add", WEIR_RIGHT_CHANGE, do_set_add },
	{ "set remove", WEIR_RIGHT_CHANGE, do_set_remove },
	{ "set reset", WEIR_RIGHT_CHANGE, do_set_reset },
	{ "set list", WEIR_RIGHT_READ, do_set_list },
	{ NULL },
};
