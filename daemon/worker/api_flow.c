/* SPDX-License-Identifier: Apache-2.0 */
/* flows, events, why: what passed, what did not, and by which rule. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/reason.h"
#include "daemon/worker/api.h"
#include "lib/event/event.h"
#include "lib/util/cleanup.h"

#define FLOWS_MAX 20000    /* of one answer; more are counted */
#define WOULD_SPORT 40000  /* of a conversation that is only thought of: a client's port, */
#define WOULD_DPORT 443    /* and the service that is asked for most */

struct flow_walk {
	struct weir_worker *w;
	json_t *list;
	size_t total;
	bool all;
};

/* Who is at the other end: the originator of what came in, the target of what went out. */
static const uint8_t *remote_of(const struct weir_tuple *t, uint32_t dir)
{
	return dir == WEIR_DIR_IN ? t->src : t->dst;
}

static void add_people(struct weir_worker *w, json_t *j, const struct weir_tuple *t, uint32_t dir)
{
	struct weir_owner owner;
	struct weir_name name;

	if (!weir_names_find(w->names, remote_of(t, dir), (uint64_t)time(NULL), &name))
		json_object_set_new(j, "name", weir_text_json(name.name));
	if (weir_owners_find(w->owners, t, dir, &owner))
		return;
	json_object_set_new(j, "program", weir_text_json(owner.program));
	json_object_set_new(j, "unit", weir_text_json(owner.unit));
	if (owner.pid)
		json_object_set_new(j, "pid", json_integer(owner.pid));
}

/* What a flow was judged by. A rule number means nothing in another image than its own. */
static const char *flow_rule(const struct weir_worker *w, const struct weir_flow *f, char *buf, size_t size)
{
	bool by_number = f->wanted_rule < WEIR_RULE_DEFAULT_IN;

	if (f->epoch == w->epoch || !by_number)
		return weir_rule_label(&w->img, f->wanted_rule, f->wanted_reason, buf, size);
	snprintf(buf, size, "a rule of before the last change");
	return buf;
}

/* The bounds that the flow carries; what it has used of them are its age and its bytes. */
static void add_bounds(json_t *j, const struct weir_flow *f)
{
	char text[WEIR_BOUNDS_TEXT];

	if (f->max_duration)
		json_object_set_new(j, "max_duration_s", json_integer(f->max_duration));
	if (f->idle)
		json_object_set_new(j, "max_idle_s", json_integer(f->idle));
	if (f->max_bytes)
		json_object_set_new(j, "max_bytes", json_integer((json_int_t)f->max_bytes));
	json_object_set_new(j, "bound", json_sprintf("%s%s",
			    weir_bounds_text(f->max_duration, f->idle, f->max_bytes, text, sizeof text),
			    f->bound & WEIR_FB_STAGED ? ", staged" : ""));
}

static json_t *flow_json(struct weir_worker *w, const struct weir_flow_key *k, const struct weir_flow *f, bool half)
{
	char src[WEIR_ADDR_MAX], dst[WEIR_ADDR_MAX], proto[8], label[256];
	uint32_t o = weir_flow_orig(f);
	struct weir_tuple t;
	json_t *j;

	weir_flow_tuple(k, f->flags, &t);
	j = json_pack("{s:s, s:s, s:I, s:s, s:I, s:s, s:s, s:s, s:o, s:s, s:b, s:b, s:I, s:I, s:I, s:I}", "protocol",
		      weir_proto_text(t.zone >> 24, proto), "src", weir_addr_text(t.src, src), "sport",
		      (json_int_t)t.sport, "dst", weir_addr_text(t.dst, dst), "dport", (json_int_t)t.dport, "direction",
		      weir_dir_text(f->dir), "verdict", weir_verdict_name(f->enforced), "would_be",
		      weir_verdict_name(f->wanted), "rule",
		      weir_words_json(flow_rule(w, f, label, sizeof label)), "reason",
		      weir_reason_name(f->wanted_reason), "half_open", (int)half, "adopted",
		      (f->flags & WEIR_FF_ADOPTED) != 0, "sent_packets", (json_int_t)f->half[o].packets, "sent",
		      (json_int_t)f->half[o].bytes, "received", (json_int_t)f->half[1 - o].bytes, "age_s",
		      (json_int_t)((weir_kern_now() - f->created) / 1000000000u));
	if (j)
		add_people(w, j, &t, f->dir);
	if (j && (f->max_duration || f->idle || f->max_bytes))
		add_bounds(j, f);
	return j;
}

static void walk_flow(const struct weir_flow_key *k, const struct weir_flow *f, bool half, bool expired, void *data)
{
	struct flow_walk *x = data;

	if (expired || (half && !x->all))
		return;
	if (x->total++ < FLOWS_MAX)
		json_array_append_new(x->list, flow_json(x->w, k, f, half));
}

static int do_flows(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct flow_walk x = { .w = w, .list = json_array() };
	int all = 0, r = WEIR_ARGS(rq, rp, "{s?b}", "all", &all);

	x.all = all;
	if (!r) {
		weir_owners_refresh(w->owners);
		r = weir_port_flow_each(w->port, walk_flow, &x);
	}
	if (r < 0) {
		json_decref(x.list);
		return rp->message ? r : weir_reply_fail(rp, r, NULL, "cannot read the flow table: %s", strerror(-r));
	}
	rp->result = json_pack("{s:o, s:I}", "flows", x.list, "total", (json_int_t)x.total);
	return 0;
}

static json_t *entry_json(struct weir_worker *w, struct weir_recent_entry *e)
{
	if (!e->json)
		e->json = weir_worker_event_json(w, &e->ev);
	return e->json;
}

/* The newest `count`, oldest first, as a log is read. */
static json_t *newest(struct weir_worker *w, struct weir_recent_ring *ring, size_t count)
{
	json_t *list = json_array();

	if (count > ring->n)
		count = ring->n;
	for (size_t i = count; i-- > 0;) {
		json_t *j = entry_json(w, weir_recent_at(ring, i));

		if (j)
			json_array_append(list, j);
	}
	return list;
}

static int do_events(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	json_int_t count = WEIR_RECENT_MAX;
	int follow = 0, flows = 0;
	int r = WEIR_ARGS(rq, rp, "{s?b, s?b, s?I}", "follow", &follow, "flows", &flows, "count", &count);

	if (r)
		return r;
	if (count < 0)
		return weir_reply_fail(rp, -EINVAL, NULL, "a negative count");
	if (follow && rq->client)
		weir_client_follow(rq->client);
	rp->result = json_pack("{s:o}", "events", newest(w, flows ? &w->recent.flows : &w->recent.verdicts, (size_t)count));
	return 0;
}

struct target {
	uint8_t addr[16];
	bool has_port;
	uint16_t port;
};

static bool end_is(const struct target *t, const uint8_t addr[16], uint16_t port)
{
	return !memcmp(t->addr, addr, 16) && (!t->has_port || t->port == port);
}

/* The port beside an address is what a person saw: the one of that end, or, from who came in, the one he asked for. */
static bool tuple_has(const struct target *t, const struct weir_tuple *u)
{
	return end_is(t, u->dst, u->dport) || end_is(t, u->src, u->sport) || end_is(t, u->src, u->dport);
}

static struct weir_recent_entry *find_recent(struct weir_recent_ring *ring, const struct target *t)
{
	struct weir_recent_entry *e;

	for (size_t i = 0; (e = weir_recent_at(ring, i)); i++) {
		if (tuple_has(t, &e->ev.t) || tuple_has(t, &e->ev.orig))
			return e;
	}
	return NULL;
}

struct flow_find {
	const struct target *t;
	struct weir_flow_key key;
	struct weir_flow flow;
	bool found, half;
};

static void match_flow(const struct weir_flow_key *k, const struct weir_flow *f, bool half, bool expired, void *data)
{
	struct flow_find *x = data;
	struct weir_tuple t;

	weir_flow_tuple(k, f->flags, &t);
	if (expired || !tuple_has(x->t, &t) || (x->found && f->created < x->flow.created))
		return;
	x->key = *k;
	x->flow = *f;
	x->half = half;
	x->found = true;
}

/* "ADDR", "ADDR:PORT", "[v6]:PORT" */
static int parse_target(const char *text, struct target *t, struct weir_reply *rp)
{
	const char *colon = strrchr(text, ':'), *port = NULL;
	struct weir_ban_key k;
	char addr[64], why[160], *end;
	size_t len = strlen(text);

	if (*text == '[' && (port = strchr(text, ']'))) {
		len = (size_t)(port - text) - 1;
		text++;
		port = port[1] == ':' ? port + 2 : port[1] ? "" : NULL;
	} else if (colon && strchr(text, ':') == colon) {
		len = (size_t)(colon - text);
		port = colon + 1;
	}
	snprintf(addr, sizeof addr, "%.*s", (int)len, text);
	if (strchr(addr, '/') || weir_ban_key_parse(addr, &k, why, sizeof why))
		return weir_reply_fail(rp, -EINVAL, "weir why 192.0.2.1:443, or weir why '[2001:db8::1]:443'",
				       "'%s' is no address", addr);
	memcpy(t->addr, k.addr, 16);
	t->has_port = port;
	if (port) {
		unsigned long n = strtoul(port, &end, 10);

		if (*port < '0' || *port > '9' || *end || n > 65535)
			return weir_reply_fail(rp, -EINVAL, NULL, "'%s' is no port", port);
		t->port = (uint16_t)n;
	}
	return 0;
}

static json_t *rule_words(const struct weir_worker *w, uint32_t rule, uint8_t reason)
{
	char label[256];

	return weir_words_json(weir_rule_label(&w->img, rule, reason, label, sizeof label));
}

/* Nothing was seen: what the policy in force would say, for a TCP connection to or from there. */
static json_t *would(struct weir_worker *w, const struct target *t)
{
	static const uint32_t dirs[] = { WEIR_DIR_OUT, WEIR_DIR_IN };
	json_t *list = json_array();

	for (int d = 0; d < 2; d++) {
		struct weir_packet_spec s = { .dir = (uint8_t)dirs[d], .proto = WEIR_IPPROTO_TCP };
		bool v4 = weir_addr_is_v4(t->addr), out = dirs[d] == WEIR_DIR_OUT;
		struct weir_result res, told;
		struct weir_facts f;
		json_t *j;
		uint8_t own[16] = { [10] = v4 ? 0xff : 0, [11] = v4 ? 0xff : 0, [15] = 1 };

		s.family = v4 ? 4 : 6;
		memcpy(s.t.src, out ? own : t->addr, 16);
		memcpy(s.t.dst, out ? t->addr : own, 16);
		s.t.sport = WOULD_SPORT;
		s.t.dport = t->has_port ? t->port : WOULD_DPORT;
		s.t.zone = weir_zone(s.proto, 0, 0);
		weir_packet_facts(&w->img, &s, &f);
		weir_packet_judge(&w->img, &f, false, &res);
		told = weir_event_told(&res);
		j = json_pack("{s:s, s:I, s:s, s:s, s:o}", "direction", weir_dir_text(dirs[d]), "port", (json_int_t)s.t.dport,
			      "verdict", weir_verdict_name(res.enforced), "would_be", weir_verdict_name(res.wanted), "rule",
			      rule_words(w, told.wanted_rule, told.wanted_reason));
		if (told.wanted_rule != res.wanted_rule) /* it is stopped, and this is staged beside it */
			json_object_set_new(j, "would_by", rule_words(w, res.wanted_rule, res.wanted_reason));
		json_array_append_new(list, j);
	}
	return list;
}

/* The same for one pair of ends, and for an hour: what a careful person types. */
static json_t *narrower(const struct weir_ev_verdict *ev, const json_t *event)
{
	const struct weir_result told = weir_event_told(&ev->res);
	struct weir_packet_spec s = weir_event_packet(ev);
	char buf[256] = "";
	FILE *f;

	/* a rule helps only where a rule, or the want of one, decided */
	if ((ev->proto != WEIR_IPPROTO_TCP && ev->proto != WEIR_IPPROTO_UDP) ||
	    (told.wanted_reason != WEIR_REASON_RULE && told.wanted_reason != WEIR_REASON_DEFAULT))
		return NULL;
	f = fmemopen(buf, sizeof buf, "w");
	if (!f)
		return NULL;
	weir_fix_rule(f, &s, weir_event_added_rule(event), true);
	fclose(f);
	return *buf ? json_string(buf) : NULL;
}

static json_t *why_event(struct weir_worker *w, struct weir_recent_entry *e)
{
	const struct weir_result told = weir_event_told(&e->ev.res);
	json_t *fix, *more;
	json_t *j = json_pack("{s:O, s:s, s:s, s:s, s:I}", "event", entry_json(w, e), "verdict",
			      weir_verdict_name(e->ev.res.enforced), "would_be", weir_verdict_name(e->ev.res.wanted), "reason",
			      weir_reason_name(told.wanted_reason), "generation", (json_int_t)e->ev.h.generation);

	if (!j)
		return NULL;
	/* a record of an older image names its rule in the event; numbers of this image would be another's */
	if (e->ev.h.epoch == w->epoch)
		json_object_set_new(j, "rule", rule_words(w, told.wanted_rule, told.wanted_reason));
	fix = json_object_get(json_object_get(j, "event"), "fix");
	if (fix) {
		json_object_set(j, "fix", fix);
		if ((more = narrower(&e->ev, json_object_get(j, "event"))))
			json_object_set_new(j, "narrower", more);
	}
	return j;
}

static int do_why(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct flow_find x = { 0 };
	struct weir_recent_entry *e;
	const char *text = NULL;
	struct target t = { 0 };
	int r = WEIR_ARGS(rq, rp, "{s:s}", "target", &text);

	if (!r)
		r = parse_target(text, &t, rp);
	if (r)
		return r;
	e = find_recent(&w->recent.verdicts, &t);
	if (!e)
		e = find_recent(&w->recent.flows, &t);
	if (e) {
		rp->result = why_event(w, e);
	} else {
		x.t = &t;
		weir_owners_refresh(w->owners);
		weir_port_flow_each(w->port, match_flow, &x);
		rp->result = x.found ? json_pack("{s:o}", "flow", flow_json(w, &x.key, &x.flow, x.half)) :
				       json_pack("{s:o}", "would", would(w, &t));
	}
	if (!rp->result)
		return -ENOMEM;
	json_object_set_new(rp->result, "target", json_string(text));
	json_object_set_new(rp->result, "banned", json_boolean(weir_worker_banned(w, NULL, t.addr)));
	return 0;
}

const struct weir_handler weir_handlers_flow[] = {
	{ "flows", WEIR_RIGHT_READ, do_flows },
	{ "events", WEIR_RIGHT_READ, do_events },
	{ "why", WEIR_RIGHT_READ, do_why },
	{ NULL },
};
