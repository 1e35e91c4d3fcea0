/* SPDX-License-Identifier: Apache-2.0 */
/* ban add, list, remove; set add, remove, reset, list: addresses, changed at run time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/worker/api.h"
#include "lib/util/cleanup.h"

#define CAUGHT_MAX 16384 /* as many as the kernel keeps */

static int parse_key(const char *text, struct weir_ban_key *ret, struct weir_reply *rp)
{
	char why[160];
	int r = weir_ban_key_parse(text, ret, why, sizeof why);

	return r ? weir_reply_fail(rp, r, "an address or a network: 192.0.2.1, 192.0.2.0/24, 2001:db8::/32", "%s", why) : 0;
}

/* A ban of one's own address, or of a network around it, would cut this host from its neighbours by a slip. */
static int refuse_own(const struct weir_ban_key *k, struct weir_reply *rp)
{
	_cleanup_free_ uint8_t(*v)[16] = NULL;
	char text[64];
	size_t n = 0;
	int r = weir_addrs_read(&v, &n);

	if (r < 0)
		return weir_reply_fail(rp, r, NULL, "cannot read this host's addresses: %s", strerror(-r));
	for (size_t i = 0; i < n; i++) {
		struct weir_ban_key own = { .prefixlen = 128 };

		if (!weir_ban_key_covers(k, v[i]))
			continue;
		memcpy(own.addr, v[i], 16);
		return weir_reply_fail(rp, -EINVAL, NULL, "%s is an address of this host",
				       weir_ban_key_format(&own, text, sizeof text));
	}
	return 0;
}

static json_t *ban_json(const struct weir_ban_entry *e)
{
	char addr[64];
	json_t *j = json_pack("{s:I, s:s, s:s}", "id", (json_int_t)e->id, "address",
			      weir_ban_key_format(&e->key, addr, sizeof addr), "why", e->why);

	if (e->expires)
		json_object_set_new(j, "expires", json_integer((json_int_t)e->expires));
	return j;
}

static bool bans_block(const struct weir_worker *w)
{
	return weir_worker_mode(w) == WEIR_PREVENT && w->img.cfg->ban.mode == WEIR_PREVENT;
}

/* The caller's own address is refused as any other that a policy would cut him off by. */
static int refuse_self(struct weir_worker *w, const struct weir_request *rq, bool force, const struct weir_ban_key *k,
		       struct weir_reply *rp)
{
	struct weir_caller by = weir_request_caller(rq, force);
	char why[512] = "";
	int r = weir_lockout_check(w, &w->img, k, &by, why, sizeof why);

	if (!r && w->pending.on)
		r = weir_lockout_check(w, &w->pending.back.img, k, &by, why, sizeof why);
	return r ? weir_reply_fail(rp, r, by.hint, "%s", why) : 0;
}

static int do_ban_add(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	const struct weir_ban_entry *e;
	const char *addr = NULL, *why = "";
	json_int_t seconds = 0;
	struct weir_ban_key k;
	char text[64];
	size_t before = w->bans.n;
	int force = 0;
	int r = WEIR_ARGS(rq, rp, "{s:s, s?I, s?s, s?b}", "address", &addr, "for", &seconds, "why", &why, "force", &force);

	if (!r && (seconds < 0 || seconds > WEIR_SPAN_MAX))
		r = weir_reply_fail(rp, -EINVAL, NULL, "no time: 0 is for ever, 10 years are the most");
	if (!r)
		r = parse_key(addr, &k, rp);
	if (!r)
		r = refuse_own(&k, rp);
	if (!r)
		r = refuse_self(w, rq, force, &k, rp);
	if (r)
		return r;
	r = weir_bans_add(&w->bans, &k, seconds ? (uint64_t)(time(NULL) + seconds) : 0, why, &e);
	if (r)
		return r == -ENOSPC ? weir_reply_fail(rp, r, "weir ban list", "there are %zu bans, and no more can be kept", w->bans.n) :
				      weir_reply_fail(rp, r, "weir ban list", "%s", strerror(-r));
	r = weir_port_ban(w->port, &(struct weir_keeper_ban){ k, e->id, weir_bans_end(&w->bans, &k) });
	if (!r && weir_bans_within(&w->bans, &k))
		r = weir_worker_bans(w); /* each of those holds as long as this at least */
	if (r && w->bans.n > before) { /* one that was there before stays */
		weir_bans_remove(&w->bans, &k);
		weir_port_unban(w->port, &k);
		weir_worker_bans(w);
	}
	if (r)
		return weir_reply_fail(rp, r, NULL, "the kernel did not take the ban: %s", strerror(-r));
	rp->result = ban_json(e);
	json_object_set_new(rp->result, "blocking", json_boolean(bans_block(w)));
	json_object_set_new(rp->result, "replaced", json_boolean(w->bans.n == before));
	weir_worker_kill(w);
	weir_reply_detail(rp, "%s%s%s", weir_ban_key_format(&k, text, sizeof text), *why ? ": " : "", why);
	r = weir_failures_saved(w, weir_bans_save(w->o.state_dir, &w->bans));
	return r ? weir_reply_fail(rp, r, NULL, "in force, but not saved to %s: %s", w->o.state_name, strerror(-r)) : 0;
}

static void caught_ban_key(const struct weir_kern_caught *c, struct weir_ban_key *ret)
{
	*ret = (struct weir_ban_key){ .prefixlen = weir_caught_alone(c->key.addr) ? 128 : 64 };
	memcpy(ret->addr, c->key.addr, 16);
}

/*
 * What the kernel lets go of with this key: the ban as it was made, by a command or by a rule. A rule bans the /64 of an
 * address of IPv6, and names it by the address. -ENOENT: none that has not ended.
 */
static int ban_lifted(struct weir_worker *w, const struct weir_ban_key *k, struct weir_ban_key *ret)
{
	_cleanup_free_ struct weir_kern_caught *v = calloc(CAUGHT_MAX, sizeof *v);
	const struct weir_ban_entry *e = weir_bans_around(&w->bans, k, (uint64_t)time(NULL));
	int n = v ? weir_port_caught(w->port, v, CAUGHT_MAX) : -ENOMEM, r = -ENOENT;

	*ret = *k;
	if (e && e->key.prefixlen == k->prefixlen)
		return 0;
	for (int i = 0; i < n; i++) {
		struct weir_ban_key c;

		caught_ban_key(&v[i], &c);
		if (c.prefixlen > k->prefixlen || (k->prefixlen != 128 && c.prefixlen != k->prefixlen) ||
		    !weir_ban_key_covers(&c, k->addr))
			continue;
		*ret = c;
		r = 0;
	}
	return n < 0 ? n : r;
}

/* What still covers it, or "". */
static const char *ban_around(const struct weir_worker *w, const struct weir_ban_key *k, char *buf, size_t size)
{
	const struct weir_ban_entry *e = weir_bans_around(&w->bans, k, (uint64_t)time(NULL));

	buf[0] = 0;
	return e ? weir_ban_key_format(&e->key, buf, size) : buf;
}

static int refuse_no_ban(const struct weir_worker *w, const struct weir_ban_key *k, const char *text, struct weir_reply *rp)
{
	char around[64], hint[128];

	if (!*ban_around(w, k, around, sizeof around))
		return weir_reply_fail(rp, -ENOENT, "weir ban list", "%s is not banned", text);
	snprintf(hint, sizeof hint, "weir ban remove %s", around);
	return weir_reply_fail(rp, -ENOENT, hint, "%s has no ban of its own; %s covers it", text, around);
}

static int do_ban_remove(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	const char *addr = NULL;
	struct weir_ban_key k, lifted;
	char text[64], around[64];
	int r = WEIR_ARGS(rq, rp, "{s:s}", "address", &addr), none;

	if (!r)
		r = parse_key(addr, &k, rp);
	if (r)
		return r;
	weir_ban_key_format(&k, text, sizeof text);
	weir_reply_detail(rp, "%s", text);
	none = ban_lifted(w, &k, &lifted);
	if (none && none != -ENOENT)
		return weir_reply_fail(rp, none, NULL, "cannot read the bans that rules made: %s", strerror(-none));
	/* the kernel first: a ban that it keeps must stay in the list */
	r = weir_port_unban(w->port, &k);
	if (r && r != -ENOENT)
		return weir_reply_fail(rp, r, NULL, "the kernel did not forget the ban: %s", strerror(-r));
	if (none)
		return refuse_no_ban(w, &k, text, rp);
	weir_bans_remove(&w->bans, &k); /* it may be one of a rule: then it is not there */
	r = weir_bans_within(&w->bans, &k) ? weir_worker_bans(w) : 0; /* those end in their own time again */
	if (r)
		weir_reply_fail(rp, r, "weir reload", "removed, but what lies within it stays banned as long: %s", strerror(-r));
	if (r)
		return r;
	r = weir_failures_saved(w, weir_bans_save(w->o.state_dir, &w->bans));
	if (r)
		return weir_reply_fail(rp, r, NULL, "removed, but not saved to %s: %s", w->o.state_name, strerror(-r));
	rp->result = json_pack("{s:s}", "address", weir_ban_key_format(&lifted, text, sizeof text));
	if (*ban_around(w, &k, around, sizeof around))
		json_object_set_new(rp->result, "covered_by", json_string(around));
	return 0;
}

/* A rule number means nothing in another image than its own. */
static json_t *caught_json(struct weir_worker *w, const struct weir_kern_caught *c)
{
	struct weir_ban_key k;
	uint64_t now = weir_kern_now(), left = c->ban.until > now ? (c->ban.until - now + 999999999) / 1000000000 : 0;
	char addr[64], label[256] = "a rule of before the last change";

	caught_ban_key(c, &k);
	if (c->ban.epoch == w->epoch)
		weir_rule_label(&w->img, c->ban.rule, WEIR_REASON_BAN, label, sizeof label);
	return json_pack("{s:s, s:s, s:b, s:I}", "address", weir_ban_key_format(&k, addr, sizeof addr), "why", label,
			 "by_rule", 1, "expires", (json_int_t)(time(NULL) + (time_t)left));
}

static int do_ban_list(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	_cleanup_free_ struct weir_kern_caught *v = calloc(CAUGHT_MAX, sizeof *v);
	json_t *list = json_array();
	int n;

	for (size_t i = 0; i < w->bans.n; i++)
		json_array_append_new(list, ban_json(&w->bans.v[i]));
	n = v ? weir_port_caught(w->port, v, CAUGHT_MAX) : -ENOMEM;
	for (int i = 0; i < n; i++)
		json_array_append_new(list, caught_json(w, &v[i]));
	if (n < 0) {
		json_decref(list);
		return weir_reply_fail(rp, n, NULL, "cannot read the bans that rules made: %s", strerror(-n));
	}
	rp->result = json_pack("{s:o, s:b}", "bans", list, "blocking", bans_block(w));
	return 0;
}

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

	if (e->n++ < SET_SHOWN_MAX)
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
	{ "ban add", WEIR_RIGHT_CHANGE, do_ban_add },
	{ "ban remove", WEIR_RIGHT_CHANGE, do_ban_remove },
	{ "ban list", WEIR_RIGHT_READ, do_ban_list },
	{ "set add", WEIR_RIGHT_CHANGE, do_set_add },
	{ "set remove", WEIR_RIGHT_CHANGE, do_set_remove },
	{ "set reset", WEIR_RIGHT_CHANGE, do_set_reset },
	{ "set list", WEIR_RIGHT_READ, do_set_list },
	{ NULL },
};
