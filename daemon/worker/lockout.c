/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Would a change cut off the one who asks for it? Asked of the image that is about to be in force, with the code that
 * the kernel runs: his conversation as it lives, and a new one from where he is to the port that he came in by.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "daemon/worker/worker.h"
#include "lib/event/event.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

const char *weir_session_words(const struct weir_session *s, char *buf, size_t size)
{
	char addr[WEIR_ADDR_MAX], program[4 * sizeof s->program + 1];

	weir_escape(s->program, strlen(s->program), program, sizeof program);
	if (!strncmp(program, "sshd", 4) || !strcmp(program, "dropbear"))
		strcpy(program, "ssh");
	snprintf(buf, size, "%s from %s", program, weir_addr_text(s->t.src, addr));
	return buf;
}

int weir_lockout_sessions(struct weir_worker *w, struct weir_caller *c, char *why, size_t why_size)
{
	int n;

	if (c->known)
		return 0;
	n = weir_helper_sessions(w->helper, c->pid, c->from);
	if (n < 0 && !c->force) {
		snprintf(c->hint, sizeof c->hint, "when you can reach this host another way, add --force");
		snprintf(why, why_size, "cannot tell over which connection you work here: %s", strerror(-n));
		return -EPERM;
	}
	c->n_from = n > 0 ? n : 0;
	c->known = true;
	return 0;
}

const struct weir_ban_key *weir_worker_ban(const struct weir_worker *w, const uint8_t addr[16])
{
	for (size_t i = 0; i < w->bans.n; i++) {
		if (weir_ban_key_covers(&w->bans.v[i].key, addr))
			return &w->bans.v[i].key;
	}
	return NULL;
}

bool weir_worker_banned(const struct weir_worker *w, const struct weir_ban_key *also, const uint8_t addr[16])
{
	return (also && weir_ban_key_covers(also, addr)) || weir_worker_ban(w, addr);
}

struct find {
	struct weir_flow_key key;
	uint32_t ifindex, zone;
};

static void find_flow(const struct weir_flow_key *k, const struct weir_flow *f, bool half, bool expired, void *data)
{
	struct find *x = data;

	/* which VLAN it came by only the flow knows */
	if (expired || memcmp(k, &x->key, offsetof(struct weir_flow_key, zone)) || (k->zone ^ x->key.zone) >> 24 ||
	    !f->in_ifindex)
		return;
	x->ifindex = f->in_ifindex;
	x->zone = k->zone;
}

static bool is_loopback(const uint8_t a[16])
{
	static const uint8_t one[16] = { [15] = 1 };

	return weir_addr_is_v4(a) ? a[12] == 127 : !memcmp(a, one, 16);
}

/* He came from this very host: his packets run over lo. */
static bool is_own(const uint8_t addr[16])
{
	_cleanup_free_ uint8_t(*v)[16] = NULL;
	size_t n = 0;

	if (is_loopback(addr))
		return true;
	return weir_addrs_read(&v, &n) >= 0 && weir_addrs_have((const uint8_t(*)[16])v, n, addr);
}

struct fate {
	struct weir_result fresh, live; /* a new connection; the one that lives */
	struct weir_result at_times; /* a new one, were it the time for every rule that has one */
	bool cut, denied;
};

static void judge_on(const struct weir_worker *w, const struct weir_img *img, const struct weir_tuple *t, const char *in_if,
		     bool banned, struct fate *ret)
{
	struct weir_packet_spec s = { .t = *t, .proto = WEIR_IPPROTO_TCP, .dir = WEIR_DIR_IN, .ttl = 64,
				      .family = weir_addr_is_v4(t->src) ? 4 : 6 };
	/* only another generation keeps what lives against its rules */
	bool keep = img->cfg->generation != w->generation && img->cfg->established == WEIR_EST_KEEP;
	const struct weir_rule *r;
	struct weir_facts f, lost;

	s.vlan[0] = t->zone >> 12 & 0xfff;
	s.vlan[1] = t->zone & 0xfff;
	snprintf(s.in_if, sizeof s.in_if, "%s", in_if);
	weir_packet_facts(img, &s, &f);
	weir_packet_judge(img, &f, banned, &ret->fresh);
	lost = f;
	lost.known &= ~(uint32_t)WEIR_K_MARK; /* of a new connection it is taken for 0; of one that lives nobody kept it */
	weir_flow_judge(img, &lost, banned, &ret->live);
	ret->denied = ret->fresh.enforced != WEIR_PASS;
	ret->cut = ret->live.enforced != WEIR_PASS;
	f.known |= WEIR_K_TIME; /* what holds now and not tonight lets nobody in: it does not count above */
	f.times = UINT64_MAX;
	weir_packet_judge(img, &f, banned, &ret->at_times);
	lost.known |= WEIR_K_IN_IF; /* that the kernel does know */
	if (img->cfg->recheck_unknown == WEIR_UNKNOWN_KEEP && weir_flow_hangs_on_unknown(img, &lost, &ret->live))
		ret->cut = false;
	if (!ret->cut || !keep)
		return;
	r = ret->live.enforced_reason == WEIR_REASON_RULE ? weir_img_rule(img, WEIR_RULES, ret->live.enforced_rule) : NULL;
	ret->cut = ret->live.enforced_reason == WEIR_REASON_BAN || ret->live.enforced_reason == WEIR_REASON_BLOCKLIST ||
		   (r && (r->flags & WEIR_RF_OVERLAY));
}

/* By the interface that he came in by; where that is not known, by the one that is kindest to him. */
static void judge(struct weir_worker *w, const struct weir_img *img, const struct weir_tuple *t, bool banned,
		  struct fate *ret)
{
	struct find x = { .zone = t->zone };
	struct weir_tuple u = *t;
	const struct weir_kern_if *ifs;
	const char *name;
	size_t n;

	if (is_own(t->src)) {
		*ret = (struct fate){ 0 };
		if (!(img->cfg->essentials & WEIR_ESS_LO))
			judge_on(w, img, t, "lo", banned, ret);
		else
			weir_result_set(&ret->fresh, WEIR_PASS, WEIR_REASON_FAILSAFE, WEIR_RULE_NONE);
		return;
	}
	weir_flow_key_of(t, &x.key);
	weir_port_flow_each(w->port, find_flow, &x);
	u.zone = x.zone;
	name = weir_port_if_name(w->port, x.ifindex);
	judge_on(w, img, &u, name ? name : "", banned, ret);
	ifs = weir_port_ifs(w->port, &n);
	for (size_t i = 0; !name && i < n && (ret->cut || ret->denied); i++) {
		struct fate by;

		if (!strcmp(ifs[i].name, "lo"))
			continue;
		judge_on(w, img, &u, ifs[i].name, banned, &by);
		if (by.cut + by.denied < ret->cut + ret->denied)
			*ret = by;
	}
}

static int refuse(const struct weir_img *img, const struct weir_session *s, const struct fate *x, struct weir_caller *c,
		  char *why, size_t why_size)
{
	const struct weir_result *r = x->cut ? &x->live : &x->fresh;
	char who[192], label[256], addr[WEIR_ADDR_MAX];
	size_t used;

	weir_rule_label(img, r->enforced_rule, r->enforced_reason, label, sizeof label);
	weir_session_words(s, who, sizeof who);
	if (x->cut)
		snprintf(why, why_size, "this would cut your session (%s): %s", who, label);
	else
		snprintf(why, why_size, "your session (%s) would stay, but a new connection from there to port %u would be denied: %s",
			 who, s->t.dport, label);
	used = strlen(why);
	if (x->at_times.enforced == WEIR_PASS) {
		weir_rule_label(img, x->at_times.enforced_rule, x->at_times.enforced_reason, label, sizeof label);
		snprintf(why + used, why_size - used, "; %s holds only at some times, and does not count here", label);
	}
	weir_text_whole(why);
	snprintf(c->hint, sizeof c->hint, "allow %s to port %u first, or add --force; with --confirm 120s it goes back by itself",
		 weir_addr_text(s->t.src, addr), s->t.dport);
	return -EPERM;
}

int weir_lockout_check(struct weir_worker *w, const struct weir_img *img, const struct weir_ban_key *ban,
		       struct weir_caller *c, char *why, size_t why_size)
{
	int r = weir_lockout_sessions(w, c, why, why_size);
	char who[96], label[128];
	struct fate x;

	if (r || img->cfg->mode != WEIR_PREVENT)
		return r;
	for (int i = 0; i < c->n_from; i++) {
		const struct weir_session *s = &c->from[i];

		judge(w, img, &s->t, weir_worker_banned(w, ban, s->t.src), &x);
		if ((x.cut || x.denied) && !c->force)
			return refuse(img, s, &x, c, why, why_size);
		if (i)
			continue;
		weir_rule_label(img, x.fresh.enforced_rule, x.fresh.enforced_reason, label, sizeof label);
		snprintf(c->words, sizeof c->words, "your session (%s) %s; a new login from there would be %s by %s",
			 weir_session_words(s, who, sizeof who), x.cut ? "is cut" : "stays",
			 x.denied ? "denied" : "allowed", label);
		weir_text_whole(c->words);
	}
	return 0;
}

struct seen {
	const struct weir_worker *w;
	const struct weir_sshd *sshd;
	int best;
};

static void see(const struct weir_flow_key *k, const struct weir_flow *f, bool half, bool expired, void *data)
{
	struct seen *x = data;
	const struct weir_pending *p = &x->w->pending;
	struct weir_tuple t;
	bool port = false, place = false;

	if (half || f->created < p->since || f->dir != WEIR_DIR_IN || f->enforced != WEIR_PASS)
		return;
	weir_flow_tuple(k, f->flags, &t);
	if (t.zone >> 24 != WEIR_IPPROTO_TCP)
		return;
	for (int i = 0; i < p->n_from; i++) {
		port |= t.dport == p->from[i].t.dport;
		place |= !memcmp(t.src, p->from[i].t.src, 16);
	}
	for (size_t i = 0; i < x->sshd->n_ports; i++)
		port |= t.dport == x->sshd->ports[i];
	if (port && x->best < 1 + place)
		x->best = 1 + place;
}

int weir_lockout_seen(struct weir_worker *w)
{
	struct weir_sshd sshd = { 0 };
	struct seen x = { w, &sshd, 0 };

	if (weir_helper_sshd(w->helper, &sshd))
		memset(&sshd, 0, sizeof sshd);
	weir_port_flow_each(w->port, see, &x);
	weir_sshd_free(&sshd);
	return x.best;
}
