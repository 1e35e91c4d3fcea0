/* SPDX-License-Identifier: Apache-2.0 */
/* ban add, list, remove: addresses that are stopped whatever the policy says. */
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

const struct weir_handler weir_handlers_bans[] = {
	{ "ban add", WEIR_RIGHT_CHANGE, do_ban_add },
	{ "ban remove", WEIR_RIGHT_CHANGE, do_ban_remove },
	{ "ban list", WEIR_RIGHT_READ, do_ban_list },
	{ NULL },
};
