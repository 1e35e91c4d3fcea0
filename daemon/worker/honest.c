/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/worker/honest.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/worker/api.h"
#include "lib/event/event.h"
#include "lib/policy/daytime.h"
#include "lib/util/text.h"

#define INERT_SHOWN 8 /* rules that are named one by one; the rest is counted */

void weir_degrade(json_t *list, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	json_array_append_new(list, weir_text_json(text));
}

struct here {
	const struct weir_img *img;
	const struct weir_kern_if *ifs;
	size_t n;
	bool relays; /* frames with any tag may pass: a bridge */
	uint64_t live;			    /* patterns that name an interface which is filtered */
	const char *open[WEIR_IFPAT_MAX]; /* one that each pattern names and that is not */
};

/* Once for all rules: which patterns name what. */
static void patterns_match(struct here *h)
{
	const struct weir_ifpat *pats = (const void *)(h->img->blob + h->img->h->ifpats.off);

	for (uint32_t p = 0; p < h->img->h->ifpats.count && p < WEIR_IFPAT_MAX; p++) {
		for (size_t i = 0; i < h->n; i++) {
			if (fnmatch(pats[p].glob, h->ifs[i].name, 0))
				continue;
			if (h->ifs[i].wanted)
				h->live |= (uint64_t)1 << p;
			h->open[p] = h->ifs[i].name;
		}
	}
}

/*
 * Is there an interface that one of these patterns names? `text`: why not. One that is there and is not covered does
 * not count, unless a covered VLAN device stands on it: then its name means the same frame.
 */
static bool ifs_match(const struct here *h, uint64_t bits, const char *key, char *text, size_t size)
{
	const struct weir_ifpat *pats = (const void *)(h->img->blob + h->img->h->ifpats.off);
	const char *first = "?", *open = NULL;

	if (bits & h->live)
		return true;
	for (uint32_t p = 0; p < h->img->h->ifpats.count && p < WEIR_IFPAT_MAX; p++) {
		if (!(bits >> p & 1))
			continue;
		first = pats[p].glob;
		open = h->open[p] ? h->open[p] : open;
	}
	if (open)
		snprintf(text, size, "%s: %s is not filtered (%s)", key, open,
			 strcmp(open, "lo") ? "it was not asked for" : "the failsafe lets it pass");
	else
		snprintf(text, size, "%s: no interface is called %s", key, first);
	return false;
}

static bool vlan_match(const struct here *h, const struct weir_cond *c, char *text, size_t size)
{
	for (uint32_t v = 0; v < c->n_vlan && v < WEIR_VLAN_MAX; v++) {
		for (size_t i = 0; i < h->n; i++) {
			if (h->ifs[i].vlan_id == c->vlan[v])
				return true;
		}
	}
	snprintf(text, size, "vlan: no interface takes the tag %u", c->n_vlan ? c->vlan[0] : 0);
	return h->relays;
}

static bool list_match(const struct here *h, uint32_t list, const char *key, char *text, size_t size)
{
	const struct weir_list_info *l = (const void *)(h->img->blob + h->img->h->lists.off);

	if (list >= h->img->h->lists.count || l[list].ranges)
		return true;
	snprintf(text, size, "%s: %s%sis empty", key, weir_img_string(h->img, l[list].name), l[list].name ? " " : "the list ");
	return false;
}

/* Can any packet of this host, as it is now, match? `text`: why none. */
static bool can_match(const struct here *h, const struct weir_rule *r, char *text, size_t size)
{
	const struct weir_cond *c = &r->pos;
	uint32_t dirs = c->set & WEIR_C_DIR ? c->dirs : WEIR_DIR_ANY;

	if (r->flags & WEIR_RF_GONE)
		return true; /* nobody waits for it */
	if ((c->set & WEIR_C_IN_IF) && !(dirs & (WEIR_DIR_IN | WEIR_DIR_FWD))) {
		snprintf(text, size, "in_interface: what is outbound came in by none");
		return false;
	}
	if ((c->set & WEIR_C_OUT_IF) && !(dirs & (WEIR_DIR_OUT | WEIR_DIR_FWD))) {
		snprintf(text, size, "out_interface: what is inbound leaves by none");
		return false;
	}
	return (!(c->set & WEIR_C_IN_IF) || ifs_match(h, c->in_if, "in_interface", text, size)) &&
	       (!(c->set & WEIR_C_OUT_IF) || ifs_match(h, c->out_if, "out_interface", text, size)) &&
	       (!(c->set & WEIR_C_ANY_IF) || ifs_match(h, c->any_if, "interface", text, size)) &&
	       (!(c->set & WEIR_C_VLAN) || vlan_match(h, c, text, size)) &&
	       (!(c->set & WEIR_C_FROM) || list_match(h, c->from, "from", text, size)) &&
	       (!(c->set & WEIR_C_TO) || list_match(h, c->to, "to", text, size)) &&
	       (!(c->set & WEIR_C_PEER) || list_match(h, c->peer, "peer", text, size));
}

static void label(const struct weir_img *img, uint32_t which, uint32_t i, char *buf, size_t size)
{
	if (which)
		weir_rule_label(img, WEIR_RULE_FAILSAFE + i, WEIR_REASON_FAILSAFE, buf, size);
	else
		weir_rule_label(img, i, WEIR_REASON_RULE, buf, size);
}

/* A rule of a list of ports or ICMP types can stand in the image several times: it is told once. */
static void inert_rules(const struct weir_worker *w, const struct here *h, json_t *degraded)
{
	char name[192], before[192] = "", text[128];
	uint32_t more = 0;

	for (uint32_t which = 0; which < 2; which++) {
		uint32_t n = which ? w->img.cfg->n_failsafe : w->img.cfg->n_rules, shown = 0;

		for (uint32_t i = 0; i < n; i++) {
			if (can_match(h, weir_img_rule(&w->img, which, i), text, sizeof text))
				continue;
			label(&w->img, which, i, name, sizeof name);
			if (!strcmp(name, before))
				continue;
			memcpy(before, name, sizeof before);
			if (shown++ < INERT_SHOWN)
				weir_degrade(degraded, "%s can match nothing here: %s", name, text);
			else
				more++;
		}
	}
	if (more)
		weir_degrade(degraded, "%u more rules can match nothing here", more);
}

static void modes(const struct weir_worker *w, json_t *degraded)
{
	uint32_t held = 0, first = 0;
	char name[192];

	if (weir_worker_requested(w) != weir_worker_mode(w))
		weir_degrade(degraded, "mode %s was asked for, %s is in force: %s says mode: %s",
			     weir_mode_name(weir_worker_requested(w)), weir_mode_name(weir_worker_mode(w)), w->path,
			     weir_mode_name(weir_policy_mode(w->policy)));
	else if (weir_policy_mode(w->policy) != weir_worker_mode(w))
		weir_degrade(degraded, "the policy asks for prevent, the ceiling of 'weir mode' or --mode is detect");
	for (uint32_t i = 0; i < w->img.cfg->n_rules; i++) {
		if ((weir_img_rule(&w->img, 0, i)->flags & (WEIR_RF_HELD | WEIR_RF_GONE)) != WEIR_RF_HELD)
			continue;
		first = held ? first : i;
		held++;
	}
	/* where the policy as a whole asks for prevent, that was told above */
	if (!held || weir_policy_mode(w->policy) != weir_worker_mode(w))
		return;
	label(&w->img, 0, first, name, sizeof name);
	weir_degrade(degraded, "%s says prevent, and detect is in force: %s%s", name,
		     weir_worker_mode(w) == WEIR_DETECT ? "the policy's own mode is the softer one" : "its group's mode is the softer one",
		     held > 1 ? "; others likewise" : "");
}

/* What the programs take the time of day for, where a rule asks; NULL: none does. */
static json_t *clock_json(const struct weir_kern_clock *c, json_t *degraded)
{
	time_t now = time(NULL);
	uint32_t apart = 0;
	char told[16], here[16];
	struct tm tm;

	if (!c->used)
		return NULL;
	tzset();
	if (c->minute >= WEIR_WEEK_MINUTES) {
		weir_degrade(degraded, "the programs do not know the time of day: no allow with a time holds, each drop with one does");
		return json_pack("{s:n, s:i}", "local", "ahead_s", 0);
	}
	if (localtime_r(&now, &tm))
		apart = (weir_minute_of(&tm) + WEIR_WEEK_MINUTES - c->minute) % WEIR_WEEK_MINUTES;
	if (apart > 1 && apart < WEIR_WEEK_MINUTES - 1)
		weir_degrade(degraded, "the programs take the time of day for %s, and it is %s: they are told within a minute",
			     weir_minute_text(c->minute, told, sizeof told), weir_minute_text(weir_minute_of(&tm), here, sizeof here));
	return json_pack("{s:s, s:I}", "local", weir_minute_text(c->minute, told, sizeof told), "ahead_s", (json_int_t)c->ahead_s);
}

static json_t *health(const struct weir_worker *w, json_t *degraded)
{
	struct weir_kern_health h = { 0 };

	weir_port_health(w->port, &h);
	if (!h.tested)
		weir_degrade(degraded, "the programs were not tested: nothing proves that they do what the policy says");
	else if (h.failed)
		weir_degrade(degraded, "%s", h.why);
	if (h.silent)
		weir_degrade(degraded, "%u hook%s not what %s should: %s", h.silent, h.silent == 1 ? " does" : "s do",
			     h.silent == 1 ? "it" : "they", h.silent_names);
	if (h.canary_why[0])
		weir_degrade(degraded, "nothing proves that the hooks run: %s", h.canary_why);
	if (h.unspared)
		weir_degrade(degraded, "a ban by a rule may hit %u addresses of this host: the programs keep %u, networks included", h.unspared,
			     WEIR_OWN_MAX);
	return json_pack("{s:I, s:I, s:I, s:b, s:I, s:I, s:o, s:o*}", "tested", (json_int_t)h.tested, "failed", (json_int_t)h.failed,
			 "microseconds", (json_int_t)h.us, "proven", h.tested && !h.failed, "hooks", (json_int_t)h.hooks, "silent",
			 (json_int_t)h.silent, "silent_hooks", weir_text_json(h.silent_names), "clock",
			 clock_json(&h.clock, degraded));
}

json_t *weir_honest(struct weir_worker *w, const struct weir_counter *stats, json_t *degraded)
{
	struct here h = { .img = &w->img };
	uint64_t lost = weir_rates_lost(&w->rates, stats);
	json_t *j = health(w, degraded);

	h.ifs = weir_port_ifs(w->port, &h.n);
	for (size_t i = 0; i < h.n; i++)
		h.relays |= !strcmp(h.ifs[i].kind, "bridge") || !strcmp(h.ifs[i].kind, "openvswitch");
	patterns_match(&h);
	modes(w, degraded);
	inert_rules(w, &h, degraded);
	for (size_t i = 0; i < sizeof w->notes / sizeof *w->notes; i++) {
		if (w->notes[i][0])
			weir_degrade(degraded, "%s", w->notes[i]);
	}
	for (size_t i = 0; i < w->overlay.list.n_rules; i++) {
		if (w->overlay.list.rules[i].unfit)
			weir_degrade(degraded, "rule %u that was added does not fit this policy and is not in force: weir rule delete "
				     "--id %u, or weir apply with one that it fits", w->overlay.list.rules[i].id,
				     w->overlay.list.rules[i].id);
	}
	if (w->bans_why[0])
		weir_degrade(degraded, "%s", w->bans_why);
	if (w->lists.why[0])
		weir_degrade(degraded, "%s", w->lists.why);
	if (w->late_why[0])
		weir_degrade(degraded, "%s", w->late_why);
	weir_failures_degraded(w, degraded);
	if (lost)
		weir_degrade(degraded, "%llu events were lost within the last minute: a ring was full", (unsigned long long)lost);
	if (stats[WEIR_REASON_COUNT * 3 + WEIR_STAT_ERROR].packets)
		weir_degrade(degraded, "%llu map operations failed in the kernel (on_error)",
			     (unsigned long long)stats[WEIR_REASON_COUNT * 3 + WEIR_STAT_ERROR].packets);
	return j;
}
