/* SPDX-License-Identifier: Apache-2.0 */
/* A record of the kernel as a JSON object. */
#include "lib/event/event.h"

#include <string.h>

#include "lib/policy/policy.h"
#include "lib/util/text.h"

/*
 * Setting a member fails only when memory is gone; then the object goes too. So the members are written
 * without a check each, and one flag is looked at in the end.
 */
struct obj {
	json_t *j;
	bool failed;
};

static void set(struct obj *o, const char *key, json_t *v)
{
	if (json_object_set_new(o->j, key, v) < 0)
		o->failed = true;
}

static void set_text(struct obj *o, const char *key, const char *raw)
{
	char buf[1024];

	if (raw && *raw)
		set(o, key, json_string(weir_escape(raw, strlen(raw), buf, sizeof buf)));
}

static void set_int(struct obj *o, const char *key, uint64_t v)
{
	set(o, key, json_integer((json_int_t)v));
}

static bool has_ports(uint32_t proto)
{
	return proto == WEIR_IPPROTO_TCP || proto == WEIR_IPPROTO_UDP || proto == WEIR_IPPROTO_SCTP ||
	       proto == WEIR_IPPROTO_UDPLITE;
}

static void set_end(struct obj *o, const char *key, const uint8_t addr[16], uint32_t port, bool ports)
{
	struct obj end = { .j = json_object() };
	char buf[WEIR_ADDR_MAX];

	set_text(&end, "address", weir_addr_text(addr, buf));
	if (ports)
		set_int(&end, "port", port);
	o->failed |= end.failed;
	set(o, key, end.j);
}

static void set_mac(struct obj *o, const char *key, const uint8_t m[6])
{
	static const uint8_t none[6];
	char buf[18];

	if (!memcmp(m, none, 6))
		return;
	snprintf(buf, sizeof buf, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
	set_text(o, key, buf);
}

static const char *hook_text(uint32_t hook)
{
	return hook == WEIR_HOOK_XDP	? "xdp" :
	       hook == WEIR_HOOK_TC_IN	? "tc ingress" :
	       hook == WEIR_HOOK_TC_OUT ? "tc egress" :
	       hook == WEIR_HOOK_GUARD	? "guard" :
					  "";
}

struct weir_result weir_event_told(const struct weir_result *res)
{
	struct weir_result r = *res;

	if (r.enforced == WEIR_PASS)
		return r;
	r.wanted = r.enforced;
	r.wanted_reason = r.enforced_reason;
	r.wanted_rule = r.enforced_rule;
	return r;
}

static void set_verdict(struct obj *o, const struct weir_ev_verdict *ev, const struct weir_img *img)
{
	static const char *const done[] = { "passed", "dropped", "rejected" };
	const struct weir_result r = weir_event_told(&ev->res);
	char buf[256];

	set_text(o, "verdict", weir_verdict_name(r.enforced));
	if (ev->res.wanted != r.enforced)
		set_text(o, "would", weir_verdict_name(ev->res.wanted));
	set_text(o, "action", done[r.enforced <= WEIR_REJECT ? r.enforced : WEIR_DROP]);
	set_text(o, "reason", weir_reason_name(r.wanted_reason));
	if (!img)
		return;
	if (*weir_rule_name(img, r.wanted_rule, buf, sizeof buf))
		set_text(o, "rule", buf);
	set_text(o, "place", weir_rule_place(img, r.wanted_rule, buf, sizeof buf));
	if (ev->res.wanted_rule != r.wanted_rule)
		set_text(o, "would_by", weir_rule_name(img, ev->res.wanted_rule, buf, sizeof buf));
	if (r.log && r.log_rule != WEIR_RULE_NONE)
		set_text(o, "log", weir_rule_name(img, r.log_rule, buf, sizeof buf));
}

static void set_packet(struct obj *o, const struct weir_ev_verdict *ev)
{
	static const struct weir_tuple none;
	bool ports = has_ports(ev->proto);
	char buf[8];

	set_text(o, "direction", weir_dir_text(ev->dir));
	if (ev->family) {
		set_text(o, "protocol", weir_proto_text(ev->proto, buf));
		set_end(o, "src", ev->t.src, ev->t.sport, ports);
		set_end(o, "dst", ev->t.dst, ev->t.dport, ports);
	} else {
		snprintf(buf, sizeof buf, "0x%04x", ev->ethertype);
		set_text(o, "ethertype", buf);
	}
	if (memcmp(&ev->orig, &none, sizeof none) && memcmp(&ev->orig, &ev->t, sizeof none)) {
		set_end(o, "orig_src", ev->orig.src, ev->orig.sport, ports);
		set_end(o, "orig_dst", ev->orig.dst, ev->orig.dport, ports);
	}
	if (ev->from_responder)
		set(o, "from_responder", json_true());
	if (ev->proto == WEIR_IPPROTO_ICMP || ev->proto == WEIR_IPPROTO_ICMPV6)
		set(o, "icmp", json_pack("{s:i,s:i}", "type", ev->icmp_type, "code", ev->icmp_code));
	if (ev->proto == WEIR_IPPROTO_TCP)
		set_int(o, "tcp_flags", ev->tcp_flags);
	if (ev->vlan[1])
		set(o, "vlan", json_pack("[i,i]", ev->vlan[0], ev->vlan[1]));
	else if (ev->vlan[0])
		set(o, "vlan", json_pack("[i]", ev->vlan[0]));
	set_mac(o, "mac", ev->smac);
	set_mac(o, "dst_mac", ev->dmac);
}

unsigned weir_event_added_rule(const json_t *event)
{
	const char *place = json_string_value(json_object_get(event, "place"));
	unsigned id;

	return place && sscanf(place, "overlay %u", &id) == 1 ? id : 0;
}

struct weir_packet_spec weir_event_packet(const struct weir_ev_verdict *ev)
{
	return (struct weir_packet_spec){ .t = ev->t, .proto = ev->proto, .family = ev->family, .dir = ev->dir,
					  .icmp_type = ev->icmp_type, .icmp_code = ev->icmp_code };
}

/* The shortest command that would allow it; nothing when none would. */
static void put_fix(FILE *f, const struct weir_ev_verdict *ev, const struct weir_event_words *w, unsigned before)
{
	struct weir_packet_spec s = weir_event_packet(ev);
	const struct weir_result r = weir_event_told(&ev->res);
	char remote[WEIR_ADDR_MAX];

	if (r.wanted == WEIR_PASS || !ev->family || !*weir_dir_text(ev->dir))
		return;
	switch (r.wanted_reason) {
	case WEIR_REASON_BAN:
		weir_addr_text(ev->dir == WEIR_DIR_OUT ? ev->t.dst : ev->t.src, remote);
		fprintf(f, "weir ban remove %s", w->ban ? w->ban : remote);
		break;
	case WEIR_REASON_BLOCKLIST: /* what it holds is known by the image alone */
		if (w->img)
			weir_packet_fix(f, w->img, &s, &r);
		break;
	case WEIR_REASON_LIMIT: /* a rule before the one that it belongs to; what counts all that comes in asks no rule */
		if (w->img && weir_limit_of_rule(w->img, r.wanted_rule))
			weir_fix_rule(f, &s, before, false);
		break;
	case WEIR_REASON_RULE:
	case WEIR_REASON_DEFAULT:
		weir_fix_rule(f, &s, before, false);
		break;
	default: /* whatever else stops a packet stands before the rules, or is no matter of one */
		break;
	}
}

static void set_fix(struct obj *o, const struct weir_ev_verdict *ev, const struct weir_event_words *w)
{
	char buf[256] = "";
	FILE *f = fmemopen(buf, sizeof buf, "w");

	if (!f) {
		o->failed = true;
		return;
	}
	put_fix(f, ev, w, weir_event_added_rule(o->j));
	fclose(f);
	set_text(o, "fix", buf);
}

json_t *weir_event_json(const struct weir_ev_verdict *ev, const struct weir_event_words *w)
{
	struct obj o = { .j = json_object() };
	char buf[256];

	if (!o.j)
		return NULL;
	set_text(&o, "time", weir_time_text(ev->h.time + w->boot_ns, buf));
	set_text(&o, "event", ev->h.type == WEIR_EV_FLOW ? "flow" : "verdict");
	set_verdict(&o, ev, w->img);
	set_packet(&o, ev);
	set_text(&o, "in_interface", w->in_if);
	set_text(&o, "out_interface", w->out_if);
	set_int(&o, "bytes", ev->len);
	set_text(&o, "hook", hook_text(ev->hook));
	set_int(&o, "generation", ev->h.generation);
	if (ev->flow_id) {
		snprintf(buf, sizeof buf, "%llu", (unsigned long long)ev->flow_id); /* beyond what JSON numbers hold */
		set_text(&o, "flow", buf);
	}
	if (ev->suppressed)
		set_int(&o, "suppressed", ev->suppressed);
	set_text(&o, "name", w->name);
	if (w->owner) {
		set_text(&o, "program", w->owner->program);
		set_text(&o, "unit", w->owner->unit);
		if (w->owner->pid)
			set_int(&o, "pid", w->owner->pid);
		set_text(&o, "process_from", "proc"); /* a look from outside, not the kernel's word */
	}
	set_fix(&o, ev, w);
	if (o.failed) {
		json_decref(o.j);
		return NULL;
	}
	return o.j;
}
