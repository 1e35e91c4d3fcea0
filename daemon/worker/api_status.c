/* SPDX-License-Identifier: Apache-2.0 */
/* status, stats, features: what is in force here, what is not, and what it did. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/memory.h"
#include "daemon/worker/api.h"
#include "daemon/worker/honest.h"
#include "lib/event/event.h"
#include "lib/util/cleanup.h"
#include "lib/util/version.h"

static json_t *interfaces_json(const struct weir_worker *w, json_t *degraded)
{
	size_t n;
	const struct weir_kern_if *ifs = weir_port_ifs(w->port, &n);
	const char *why, *guard = weir_port_guard(w->port, &why);
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		const struct weir_kern_if *x = &ifs[i];
		bool wanted = x->wanted;

		json_array_append_new(list, json_pack("{s:o, s:I, s:s, s:b, s:b, s:b, s:s, s:s, s:o, s:o}", "name",
						      weir_text_json(x->name), "ifindex", (json_int_t)x->ifindex, "kind", x->kind,
						      "covered", x->covered, "wanted", wanted, "blocked",
						      wanted && !x->covered && *guard, "tc", x->tc, "xdp", x->xdp, "why",
						      weir_text_json(x->why), "others", weir_text_json(x->others)));
		if (wanted && !x->covered)
			weir_degrade(degraded, "%s is not covered: %s%s", x->name, x->why,
				*guard ? "; blocked by the guard" : "; its traffic passes");
	}
	if (*why)
		weir_degrade(degraded, "the guard for new interfaces does not stand: %s", why);
	return list;
}

struct flow_counts {
	json_int_t live, half;
};

static void count_flow(const struct weir_flow_key *k, const struct weir_flow *f, bool half, bool expired, void *data)
{
	struct flow_counts *c = data;

	if (!expired)
		++*(half ? &c->half : &c->live);
}

static json_t *drops_json(const struct weir_worker *w, const struct weir_counter *stats)
{
	json_t *reasons = json_array();
	json_int_t total = 0;
	uint32_t seconds = 0;

	for (uint32_t i = 0; i < WEIR_REASON_COUNT; i++) {
		uint64_t n = weir_rates_since(&w->rates, stats, i, &seconds);

		if (!n)
			continue;
		total += (json_int_t)n;
		json_array_append_new(reasons, json_pack("{s:s, s:I}", "reason", weir_reason_name(i), "packets",
							 (json_int_t)n));
	}
	return json_pack("{s:I, s:I, s:o}", "packets", total, "seconds", (json_int_t)seconds, "reasons", reasons);
}

static json_t *firewalls_json(const struct weir_worker *w)
{
	struct weir_firewall fw[WEIR_FIREWALLS_MAX];
	json_t *list = json_array();
	size_t n = 0;

	if (weir_helper_firewalls(w->helper, fw, &n) < 0)
		n = 0;
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:o}", "name", fw[i].name, "detail", weir_text_json(fw[i].detail)));
	return list;
}

static uint64_t stat_of(const struct weir_counter *stats, enum weir_stat s)
{
	return stats[WEIR_REASON_COUNT * 3 + s].packets;
}

static json_t *events_json(const struct weir_worker *w, const struct weir_counter *stats)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "taken", (json_int_t)weir_port_event_taken(w->port), "verdicts",
			 (json_int_t)stat_of(stats, WEIR_STAT_EV_VERDICT), "telemetry", (json_int_t)stat_of(stats, WEIR_STAT_EV_TELEMETRY), "lost",
			 (json_int_t)(stat_of(stats, WEIR_STAT_LOST_VERDICT) + stat_of(stats, WEIR_STAT_LOST_TELEMETRY)));
}

/* Who runs here, how much memory it takes, and how often it had to be started again. */
static json_t *processes_json(struct weir_worker *w, const struct weir_life *l)
{
	static const char *const names[] = { "keeper", "worker", "helper" };
	const struct weir_sandbox *s = w->sandbox;
	json_t *list = json_array();

	for (int i = 0; i < 3; i++)
		json_array_append_new(list, json_pack("{s:s, s:i, s:I}", "name", names[i], "pid", (int)l->pid[i], "rss_kb",
						      (json_int_t)l->rss_kb[i]));
	return json_pack("{s:o, s:I, s:I, s:s, s:b, s:b}", "list", list, "restarts", (json_int_t)l->restarts,
			 "helper_restarts", (json_int_t)l->helper_restarts, "cause", l->cause, "keeper_dropped",
			 (int)l->sandboxed, "worker_confined",
			 s && s->user && s->caps && s->seccomp && s->landlock);
}

/* What the image's maps take; `maps`: each of them. */
static json_t *memory_json(const struct weir_worker *w, bool maps)
{
	struct weir_memory m;
	json_t *list, *j;

	weir_memory_image(&w->img, w->o.cpus, &m);
	j = json_pack("{s:I, s:I, s:I, s:I}", "image", (json_int_t)m.image, "shared", (json_int_t)m.shared, "most",
		      (json_int_t)m.most, "limit", (json_int_t)m.limit);
	if (!maps)
		return j;
	list = json_array();
	for (uint32_t i = 0; i < WEIR_MEM_COUNT; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I, s:b}", "map", weir_memory_names[i], "what",
						      weir_memory_words[i], "entries", (json_int_t)m.map[i].entries, "each",
						      (json_int_t)m.map[i].each, "bytes", (json_int_t)m.map[i].bytes,
						      "shared", i >= WEIR_MEM_SHARED));
	json_object_set_new(j, "maps", list);
	return j;
}

static int do_status(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct weir_counter stats[WEIR_STATS_MAX] = { 0 };
	struct flow_counts flows = { 0 };
	struct weir_life life = { 0 };
	json_t *degraded = json_array(), *j = json_object();
	const struct weir_server_counts *sc = w->server ? weir_server_counts(w->server) : NULL;
	const char *guard_why;
	char drift[PATH_MAX + 64], digest[65];

	weir_port_stats(w->port, stats, WEIR_STATS_MAX);
	weir_port_flow_each(w->port, count_flow, &flows);
	weir_hex(weir_policy_digest(w->policy), 32, digest);
	json_object_set_new(j, "version", json_string(weir_version()));
	weir_port_life(w->port, &life);
	json_object_set_new(j, "pid", json_integer(life.pid[0] ? life.pid[0] : getpid()));
	if (life.pid[0])
		json_object_set_new(j, "processes", processes_json(w, &life));
	json_object_set_new(j, "up", json_integer((json_int_t)((uint64_t)time(NULL) - w->started)));
	json_object_set_new(j, "generation", json_integer(w->generation));
	json_object_set_new(j, "edit", json_integer((json_int_t)(w->overlay.changes + w->bans.changes)));
	json_object_set_new(j, "mode", json_string(weir_mode_name(weir_worker_mode(w))));
	json_object_set_new(j, "requested", json_string(weir_mode_name(weir_worker_requested(w))));
	json_object_set_new(j, "origin", json_string(weir_source_name(w->source)));
	json_object_set_new(j, "path", weir_text_json(w->path));
	json_object_set_new(j, "sha256", json_string(digest));
	json_object_set_new(j, "drift", weir_text_json(weir_worker_drift(w, drift, sizeof drift)));
	json_object_set_new(j, "rules", json_integer(weir_img_rule_count(&w->img)));
	json_object_set_new(j, "overlay_rules", json_integer((json_int_t)w->overlay.list.n_rules));
	json_object_set_new(j, "set_edits", json_integer((json_int_t)w->overlay.list.n_edits));
	json_object_set_new(j, "bans", json_integer((json_int_t)w->bans.n));
	json_object_set_new(j, "interfaces", interfaces_json(w, degraded));
	json_object_set_new(j, "guard", weir_text_json(weir_port_guard(w->port, &guard_why)));
	json_object_set_new(j, "firewalls", firewalls_json(w));
	json_object_set_new(j, "flows", json_pack("{s:I, s:I}", "live", flows.live, "half_open", flows.half));
	json_object_set_new(j, "memory", memory_json(w, false));
	json_object_set_new(j, "drops", drops_json(w, stats));
	json_object_set_new(j, "events", events_json(w, stats));
	weir_failures_stats(w, stats);
	json_object_set_new(j, "failures", weir_failures_json(w));
	if (sc)
		json_object_set_new(j, "clients", json_pack("{s:I, s:I, s:I, s:I}", "requests", (json_int_t)sc->requests,
							    "refused", (json_int_t)sc->refused, "bad", (json_int_t)sc->bad,
							    "cut", (json_int_t)sc->cut));
	if (w->pending.on)
		json_object_set_new(j, "pending", weir_pending_json(w));
	json_object_set_new(j, "health", weir_honest(w, stats, degraded));
	json_object_set_new(j, "degraded", degraded);
	rp->result = j;
	return 0;
}

static const char *const stat_names[] = {
	[WEIR_STAT_EV_VERDICT] = "events_verdict",
	[WEIR_STAT_EV_TELEMETRY] = "events_telemetry",
	[WEIR_STAT_LOST_VERDICT] = "lost_verdict",
	[WEIR_STAT_LOST_TELEMETRY] = "lost_telemetry",
	[WEIR_STAT_SUPPRESSED] = "events_suppressed",
	[WEIR_STAT_FLOW_NEW] = "flows_new",
	[WEIR_STAT_FLOW_PROMOTED] = "flows_promoted",
	[WEIR_STAT_FLOW_ADOPTED] = "flows_adopted",
	[WEIR_STAT_FLOW_FAST] = "packets_settled",
	[WEIR_STAT_ERROR] = "map_errors",
	[WEIR_STAT_REJECT_SENT] = "rejects_sent",
	[WEIR_STAT_REJECT_LIMITED] = "rejects_limited",
	[WEIR_STAT_GUARD] = "guard_drops",
	[WEIR_STAT_CANARY] = "canaries",
	[WEIR_STAT_FAIL_DAEMON] = "failed_daemon_dead",
	[WEIR_STAT_FAIL_TABLE] = "failed_flow_table",
	[WEIR_STAT_FAIL_FRAGMENT] = "failed_fragment_lost",
	[WEIR_STAT_FAIL_RING] = "failed_ring_held_back",
};

static int do_stats(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct weir_counter stats[WEIR_STATS_MAX] = { 0 };
	json_t *reasons, *others;
	int r = weir_port_stats(w->port, stats, WEIR_STATS_MAX);

	if (r < 0)
		return weir_reply_fail(rp, r, NULL, "cannot read the counters: %s", strerror(-r));
	reasons = json_array();
	others = json_object();
	for (uint32_t i = 0; i < WEIR_REASON_COUNT; i++) {
		const struct weir_counter *c = &stats[i * 3];

		if (!c[0].packets && !c[1].packets && !c[2].packets)
			continue;
		json_array_append_new(reasons, json_pack("{s:s, s:I, s:I, s:I, s:I}", "reason", weir_reason_name(i), "pass",
							 (json_int_t)c[WEIR_PASS].packets, "drop",
							 (json_int_t)c[WEIR_DROP].packets, "reject",
							 (json_int_t)c[WEIR_REJECT].packets, "bytes",
							 (json_int_t)(c[0].bytes + c[1].bytes + c[2].bytes)));
	}
	for (size_t i = 0; i < sizeof stat_names / sizeof *stat_names; i++)
		if (stat_names[i])
			json_object_set_new(others, stat_names[i], json_integer((json_int_t)stat_of(stats, (enum weir_stat)i)));
	rp->result = json_pack("{s:o, s:o, s:I}", "reasons", reasons, "counters", others, "time_ns",
			       (json_int_t)weir_kern_now());
	return 0;
}

/* A bit that no rule of the policy uses: its code was taken out of the programs before they were loaded. */
static json_t *folded_json(const struct weir_config *c)
{
	static const char *const conds[] = { "from", "to", "peer", "protocol", "ports", "source_ports", "icmp", "vlan",
					     "mac", "mark", "in_interface", "out_interface", "interface", "family", "ttl",
					     "direction", "time" };
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof conds / sizeof *conds; i++) {
		if (!(c->conds_used >> i & 1))
			json_array_append_new(list, json_string(conds[i]));
	}
	if (!(c->proto_features & WEIR_FEAT_REJECT))
		json_array_append_new(list, json_string("reject"));
	if (!(c->proto_features & WEIR_FEAT_BLOCKLIST))
		json_array_append_new(list, json_string("blocklists"));
	if (!(c->proto_features & WEIR_FEAT_XDP_DROP))
		json_array_append_new(list, json_string("early drop at XDP"));
	return list;
}

static int do_features(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	const struct weir_kern_feature *f = NULL;
	struct weir_kern_prog progs[64] = { 0 };
	json_t *features = json_array(), *list = json_array();
	int n = weir_port_features(w->port, &f);

	for (int i = 0; i < n; i++)
		json_array_append_new(features, json_pack("{s:s, s:b, s:o}", "name", f[i].name, "have", (int)f[i].have, "why",
							  weir_text_json(f[i].why)));
	n = weir_port_progs(w->port, progs, 64);
	for (int i = 0; i < n && i < 64; i++)
		json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "name", progs[i].name, "id",
						      (json_int_t)progs[i].id, "verified",
						      (json_int_t)progs[i].insns_verified, "instructions",
						      (json_int_t)progs[i].insns_xlated, "jited_bytes",
						      (json_int_t)progs[i].insns_jited_bytes, "attached",
						      (json_int_t)progs[i].attached));
	rp->result = json_pack("{s:o, s:o, s:o, s:o}", "kernel", features, "programs", list, "folded_away",
			       folded_json(w->img.cfg), "memory", memory_json(w, true));
	return 0;
}

const struct weir_handler weir_handlers_status[] = {
	{ "status", WEIR_RIGHT_READ, do_status },
	{ "status stats", WEIR_RIGHT_READ, do_stats },
	{ "features", WEIR_RIGHT_READ, do_features },
	{ NULL },
};
