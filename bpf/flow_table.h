/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The flow tables: find, begin, promote, forget. What a flow is stands in core/flow.h. */
#pragma once
#include "bpf/emit.h"

/* A change that waits must not take flows away that would still be there after it went back. */
WEIR_INLINE uint32_t weir_flow_idle(const struct weir_flow *f)
{
	struct weir_control *c = weir_control_get();
	uint32_t idle_s = weir_config()->idle_s;

	if (c && weir_control_waits(c, c->word))
		return c->back_idle_s > idle_s ? c->back_idle_s : idle_s;
	return weir_flow_idle_of(f, idle_s);
}

/* The entry under this key, of the half-open ones or of the others. Each packet passes here. */
WEIR_INLINE struct weir_flow *weir_flow_at(const struct weir_flow_key *key, bool half)
{
	struct weir_flow *f;

	if (half) {
		f = bpf_map_lookup_elem(&weir_half, key);
		WEIR_APART(f);
		return f;
	}
	if (key->zone >> 24 == WEIR_IPPROTO_TCP) {
		f = bpf_map_lookup_elem(&weir_flows, key);
		WEIR_APART(f);
		return f;
	}
	return bpf_map_lookup_elem(&weir_talks, key);
}

WEIR_INLINE void weir_flow_drop(const struct weir_flow_key *key, bool half)
{
	if (half)
		bpf_map_delete_elem(&weir_half, key);
	else if (key->zone >> 24 == WEIR_IPPROTO_TCP)
		bpf_map_delete_elem(&weir_flows, key);
	else
		bpf_map_delete_elem(&weir_talks, key);
}

/* The live entry of a conversation whose end `side` sent the packet, or NULL. Sets *half. */
WEIR_INLINE struct weir_flow *weir_flow_find(struct weir_scratch *s, const struct weir_flow_key *key, uint32_t side, bool *half)
{
	const struct weir_config *cfg = weir_config();
	uint32_t proto = key->zone >> 24;
	struct weir_flow *f;
	uint32_t idle_s;

	if ((cfg->test_flags & WEIR_TEST_NO_FLOW) || (s->ifflags & WEIR_IF_TEST))
		return 0;
	*half = false;
	f = weir_flow_at(key, false);
	if (!f) {
		*half = true;
		f = weir_flow_at(key, true);
		if (!f)
			return 0;
	}
	idle_s = weir_flow_idle(f);
	if (weir_flow_young(f, side, idle_s, s->now, cfg->hz) || !weir_flow_expired(f, proto, *half, idle_s, s->now, cfg->hz))
		return f;
	weir_flow_drop(key, *half);
	return 0;
}

/* failures.flow_table_full, or its drill. All programs learn of it. */
WEIR_INLINE void weir_flow_refused(struct weir_scratch *s)
{
	struct weir_control *ctl = weir_control_get();

	weir_stat(WEIR_STAT_FAIL_TABLE);
	s->refused = 1;
	if (ctl)
		ctl->table_full = bpf_ktime_get_boot_ns();
}

WEIR_INLINE void weir_flow_forget(const struct weir_flow_key *key)
{
	weir_flow_drop(key, false);
	weir_flow_drop(key, true);
}

/* Count the packet; move a half-open flow that proved itself into the table of promoted flows. */
WEIR_INLINE void weir_flow_advance(struct weir_scratch *s, struct weir_flow *f, bool half)
{
	weir_flow_step(f, &s->pkt, s->side, s->now, s->segs);
	if (!half || !weir_flow_proved(f, &s->pkt, s->side))
		return;
	s->flow = *f;
	if (s->key.zone >> 24 == WEIR_IPPROTO_TCP ? bpf_map_update_elem(&weir_flows, &s->key, &s->flow, BPF_ANY) :
						    bpf_map_update_elem(&weir_talks, &s->key, &s->flow, BPF_ANY)) {
		weir_stat(WEIR_STAT_FAIL_TABLE); /* it goes on as a half-open one */
		return;
	}
	bpf_map_delete_elem(&weir_half, &s->key);
	weir_stat(WEIR_STAT_FLOW_PROMOTED);
}

/* Also counts them: a flood of first packets is noticed here. */
WEIR_INLINE uint64_t weir_flow_next_id(const struct weir_scratch *s)
{
	uint32_t zero = 0;
	struct weir_local *l = bpf_map_lookup_elem(&weir_local, &zero);
	struct weir_control *ctl = weir_control_get();

	if (!l || !ctl)
		return 0;
	if (s->now - l->began_at >= weir_config()->hz) {
		l->began_at = s->now;
		l->began = 0;
	}
	if (++l->began > WEIR_CROWD)
		ctl->crowded = weir_time(s);
	return (uint64_t)(bpf_get_smp_processor_id() + 1) << 48 | ++l->flow_id;
}

/* The bounds that the verdict in s->res brings: of the rule that is enforced, else of one that is staged. */
WEIR_INLINE void weir_flow_bounds(const struct weir_scratch *s, struct weir_flow *f)
{
	const struct weir_rule *r = 0;
	bool staged = false;

	if (s->res.enforced != WEIR_PASS) /* it keeps those that it had, for when it goes on */
		return;
	if (!(weir_config()->proto_features & WEIR_FEAT_BOUNDS) && !f->bound && !weir_flow_bounded(f))
		return;
	if (s->res.enforced_reason == WEIR_REASON_RULE)
		r = weir_img_rule(0, WEIR_RULES, s->res.enforced_rule);
	if ((!r || !weir_rule_bounds(r)) && s->res.wanted == WEIR_PASS &&
	    s->res.wanted_reason == WEIR_REASON_RULE) {
		r = weir_img_rule(0, WEIR_RULES, s->res.wanted_rule);
		staged = r && r->mode == WEIR_DETECT;
	}
	weir_flow_bind(f, r, staged);
}

/* Write the verdict in s->res into an entry, as given by this image. */
WEIR_INLINE void weir_flow_settle(const struct weir_scratch *s, struct weir_flow *f)
{
	f->generation = weir_config()->generation;
	f->epoch = weir_config()->epoch;
	f->edit = s->edit;
	f->wanted_rule = s->res.wanted_rule;
	f->enforced_rule = s->res.enforced_rule;
	f->wanted = s->res.wanted;
	f->enforced = s->res.enforced;
	f->wanted_reason = s->res.wanted_reason;
	f->enforced_reason = s->res.enforced_reason;
	weir_flow_bounds(s, f);
}

/*
 * Begin a flow under `key` from s->facts and s->res. `from_b`: end b opened it. Returns its id, 0 when the
 * table refused it (s->refused).
 */
WEIR_INLINE uint64_t weir_flow_begin(struct weir_scratch *s, const struct weir_flow_key *key, bool from_b,
				     uint32_t flags, const struct weir_flow_key *peer)
{
	struct weir_flow *f = &s->flow;

	if (weir_config()->test_flags & WEIR_TEST_NO_FLOW)
		return 0;
	__builtin_memset(f, 0, sizeof *f);
	f->id = weir_flow_next_id(s);
	f->created = weir_time(s);
	f->dir = s->facts.dir;
	f->family = s->pkt.family;
	f->flags = (uint8_t)(flags | (from_b ? WEIR_FF_ORIG_B : 0));
	f->in_ifindex = s->in_ifindex;
	f->out_ifindex = s->hook == WEIR_HOOK_TC_OUT ? s->ifindex : 0;
	f->half[0].last = f->half[1].last = s->now;
	if (peer) {
		f->peer = *peer;
		f->flags |= WEIR_FF_NAT;
	}
	weir_flow_settle(s, f);
	weir_flow_step(f, &s->pkt, s->side, s->now, s->segs);
	weir_flow_over(f, 0, 0); /* its first packet alone may be more than it may have */
	if (weir_simulates(weir_config(), WEIR_FAILURE_TABLE_FULL) || bpf_map_update_elem(&weir_half, key, f, BPF_ANY)) {
		weir_flow_refused(s);
		return 0;
	}
	weir_stat(WEIR_STAT_FLOW_NEW);
	return f->id;
}

/* The failsafe sees a packet as its sender's: what answers somebody who came in goes out. */
WEIR_INLINE uint32_t weir_flow_way(const struct weir_scratch *s, const struct weir_flow *f)
{
	return f->dir == WEIR_DIR_FWD ? f->dir : weir_flow_ours(f, s->side) ? WEIR_DIR_OUT : WEIR_DIR_IN;
}
