/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The decision on one parsed packet, for TC in both directions. In: s->pkt, s->parsed and what the hook
 * knows. Out: s->res, and 0 to let it pass, 1 to drop, 2 to reject. The stages and their order are those of
 * core/policy.h; this file adds what needs maps: flows, fragments, bans, notes.
 *
 * This file is long because it is the one way of a packet, and read from stage to stage.
 *
 * Global functions, each verified once. weir_decide runs first and leaves the rest to the slower ones.
 */
#include "bpf/flow_table.h"
#include "bpf/fragment.h"
#include "bpf/gate.h"
#include "bpf/limit.h"
#include "bpf/lists.h"
#include "bpf/note.h"

enum { WEIR_GO_ON = 0, WEIR_DONE = 1 };

/* flow_table_full: pass. For so long after a refusal packets without a flow are judged one by one, as either side's. */
#define STATELESS_S 60

/*
 * failures.ring_full: throttle. While less than an eighth of a ring is free, one remote end gets one record a second.
 * A function of its own: inlined, it would grow the frame of the hooks themselves. Uses s->okey.
 */
__noinline int weir_ring_admits(uint32_t ring)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_recent *r, fresh = { .last = (uint32_t)bpf_jiffies64() };
	uint64_t used, size;

	if (!s)
		return 0;
	if (ring == WEIR_RING_VERDICTS) {
		used = bpf_ringbuf_query(&weir_verdicts, BPF_RB_AVAIL_DATA);
		size = bpf_ringbuf_query(&weir_verdicts, BPF_RB_RING_SIZE);
	} else {
		used = bpf_ringbuf_query(&weir_telemetry, BPF_RB_AVAIL_DATA);
		size = bpf_ringbuf_query(&weir_telemetry, BPF_RB_RING_SIZE);
	}
	if (!weir_simulates(weir_config(), WEIR_FAILURE_RING_FULL) && used <= size / 8 * 7)
		return 1;
	__builtin_memset(&s->okey, 0, sizeof s->okey);
	__builtin_memcpy(s->okey.a, s->hook == WEIR_HOOK_TC_OUT ? s->pkt.t.dst : s->pkt.t.src, 16);
	s->okey.zone = 0xfffffff0u + ring; /* of no conversation: a number above all protocols */
	r = bpf_map_lookup_elem(&weir_recent, &s->okey);
	if (!r) {
		bpf_map_update_elem(&weir_recent, &s->okey, &fresh, BPF_ANY);
		return 1;
	}
	if (fresh.last - r->last < weir_config()->hz) {
		weir_stat(WEIR_STAT_FAIL_RING);
		return 0;
	}
	r->last = fresh.last;
	return 1;
}

/* A verdict stands: count it, tell it. `id`: the flow, 0 for none. */
__noinline int weir_report(uint64_t id)
{
	struct weir_scratch *s = weir_scratch_get();
	uint32_t suppressed = 0;

	if (!s)
		return 0;
	if (s->ifflags & WEIR_IF_TEST)
		return s->res.enforced;
	if (s->ban_s)
		weir_catch();
	weir_count_result(s);
	weir_count_hit(s);
	if (id)
		weir_emit_flow(s, id);
	if ((s->res.enforced != WEIR_PASS || s->res.wanted != WEIR_PASS || s->res.log) &&
	    weir_report_due(s, &suppressed))
		weir_emit_verdict(s, suppressed, id);
	return s->res.enforced;
}

WEIR_INLINE void weir_iface_facts(struct weir_facts *f, uint32_t in, uint32_t out)
{
	const struct weir_iface *i;

	if (in) {
		i = bpf_map_lookup_elem(&weir_ifaces, &in);
		if (i) {
			f->in_if = i->pat;
			f->in_lower = i->lower;
		}
		f->known |= WEIR_K_IN_IF;
	}
	if (out) {
		i = bpf_map_lookup_elem(&weir_ifaces, &out);
		if (i) {
			f->out_if = i->pat;
			f->out_lower = i->lower;
		}
		f->known |= WEIR_K_OUT_IF;
	}
	/* an inbound packet has no way out, an outbound one no way in: known, and matching nothing */
	if (f->dir != WEIR_DIR_FWD)
		f->known |= WEIR_K_IN_IF | WEIR_K_OUT_IF;
}

/* Inbound or forward, as the kernel will route it. */
WEIR_INLINE uint32_t weir_route_dir(struct __sk_buff *skb, struct weir_scratch *s)
{
	struct bpf_fib_lookup *q = &s->fib;
	long r;

	if (s->ifflags & (WEIR_IF_BRIDGE_PORT | WEIR_IF_TEST))
		return s->ifflags & WEIR_IF_TEST ? WEIR_DIR_IN : WEIR_DIR_FWD;
	__builtin_memset(q, 0, sizeof *q);
	q->ifindex = s->ifindex;
	q->l4_protocol = s->pkt.proto;
	q->sport = (uint16_t)(s->pkt.t.sport << 8 | s->pkt.t.sport >> 8); /* rules of the routes can ask for ports */
	q->dport = (uint16_t)(s->pkt.t.dport << 8 | s->pkt.t.dport >> 8);
	if (s->pkt.family == 4) {
		q->family = 2;
		__builtin_memcpy(&q->ipv4_src, s->pkt.t.src + 12, 4);
		__builtin_memcpy(&q->ipv4_dst, s->pkt.t.dst + 12, 4);
	} else {
		q->family = 10;
		__builtin_memcpy(q->ipv6_src, s->pkt.t.src, 16);
		__builtin_memcpy(q->ipv6_dst, s->pkt.t.dst, 16);
	}
	r = bpf_fib_lookup(skb, q, sizeof *q, 0);
	return r == BPF_FIB_LKUP_RET_SUCCESS || r == BPF_FIB_LKUP_RET_UNSUPP_LWT || r == BPF_FIB_LKUP_RET_NO_NEIGH ||
			       r == BPF_FIB_LKUP_RET_FRAG_NEEDED
		       ? WEIR_DIR_FWD
		       : WEIR_DIR_IN;
}

__noinline int weir_dir(struct __sk_buff *skb)
{
	struct weir_scratch *s = weir_scratch_get();

	if (!s)
		return WEIR_DIR_IN;
	if (s->hook == WEIR_HOOK_TC_OUT)
		return s->in_ifindex ? WEIR_DIR_FWD : WEIR_DIR_OUT;
	return (int)weir_route_dir(skb, s);
}

/* The time of day, of the packet that opens. Packets of the self-test have none: its oracle has no clock. */
__noinline int weir_tell_time(void)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_control *ctl = weir_control_get();
	uint32_t minute;

	if (!s || !ctl || (s->ifflags & WEIR_IF_TEST))
		return 0;
	minute = weir_clock_minute(&ctl->clock[ctl->clock_at & 1], bpf_ktime_get_boot_ns() / 1000000000);
	if (minute < WEIR_WEEK_MINUTES)
		weir_classify_time(0, &s->facts, minute);
	return 0;
}

/* Facts of the packet as its sender's conversation, ready for the stages. */
__noinline int weir_gather(uint32_t dir)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_facts *f;
	bool out;

	if (!s)
		return 0;
	f = &s->facts;
	out = s->hook == WEIR_HOOK_TC_OUT;
	weir_facts_init(f, &s->pkt, dir);
	if (out) {
		f->mac = 0; /* the source is this host; forward: the note knows the sender */
		if (dir == WEIR_DIR_FWD && s->note.kind == WEIR_NOTE_INGRESS) {
			f->mac = (uint64_t)weir_be32(s->note.smac) << 16 | weir_be16(s->note.smac + 4);
			f->orig = s->note.t;
			f->has_orig = !weir_tuple_equal(&f->orig, &f->t);
			if (!f->vlan[0]) {
				f->vlan[0] = s->note.vlan[0];
				f->vlan[1] = s->note.vlan[1];
			}
		} else if (dir == WEIR_DIR_FWD) {
			f->known &= ~(uint32_t)WEIR_K_MAC;
		}
	}
	f->mark = s->mark;
	f->known |= WEIR_K_MARK;
	weir_iface_facts(f, s->in_ifindex, out ? s->ifindex : 0);
	return weir_prepare();
}

int weir_bound_stop(uint32_t half);

/* Later fragments follow their first, and count as its flow's. Returns WEIR_DONE with the result set. */
WEIR_INLINE int weir_stage_later(struct __sk_buff *skb, struct weir_scratch *s, uint32_t dir)
{
	const struct weir_config *cfg = weir_config();
	struct weir_fixed x = { .action = WEIR_ACT_DROP, .mode = (uint8_t)cfg->mode };
	uint32_t over;
	int first = weir_frag_first();

	/* what is forwarded is counted where it leaves */
	if (s->hook != WEIR_HOOK_TC_IN || dir == WEIR_DIR_IN) {
		over = weir_frag_count((uint32_t)first);
		if (over && weir_bound_stop(over - 1))
			return WEIR_DONE;
	}
	if (first == WEIR_FRAG_PASSED) {
		weir_result_pass(&s->res, WEIR_REASON_FLOW, WEIR_RULE_NONE);
	} else if (first == WEIR_FRAG_DENIED) {
		weir_result_fixed(&s->res, &x, WEIR_REASON_FRAG_FIRST_DENIED, WEIR_RULE_NONE);
	} else if (dir == WEIR_DIR_IN || s->hook == WEIR_HOOK_TC_IN) {
		/* without its first it is nothing; the first will be judged, at egress if it is forwarded */
		weir_result_pass(&s->res, WEIR_REASON_FLOW, WEIR_RULE_NONE);
	} else {
		if (!(s->ifflags & WEIR_IF_TEST))
			weir_stat(WEIR_STAT_FAIL_FRAGMENT);
		weir_judge_lost(cfg, &s->res);
	}
	return WEIR_DONE;
}

/* A reply to a multicast query that this host sent within the last five seconds. */
WEIR_INLINE bool weir_stage_asker(struct weir_scratch *s)
{
	struct weir_asker *a = &s->asker;
	uint32_t *then;

	if (s->facts.dir != WEIR_DIR_IN || (s->pkt.has & WEIR_HAS_MCAST) || (s->ifflags & WEIR_IF_TEST) || !weir_asked(s))
		return false;
	a->port = s->pkt.t.dport;
	__builtin_memcpy(a->addr, s->pkt.t.dst, 16);
	then = bpf_map_lookup_elem(&weir_askers, a);
	if (!then || s->now - *then > 5 * weir_config()->hz)
		return false;
	weir_result_pass(&s->res, WEIR_REASON_FAILSAFE, WEIR_RULE_NONE);
	return true;
}

WEIR_INLINE void weir_asker_remember(struct weir_scratch *s)
{
	struct weir_control *ctl = weir_control_get();
	uint32_t asked = s->now ? s->now : 1; /* 0: never */
	struct weir_asker *a = &s->asker;

	if (!(weir_config()->essentials & WEIR_ESS_MCAST_REPLIES) || s->pkt.proto != WEIR_IPPROTO_UDP ||
	    s->facts.dir != WEIR_DIR_OUT || !(s->pkt.has & WEIR_HAS_MCAST))
		return;
	a->port = s->pkt.t.sport;
	__builtin_memcpy(a->addr, s->pkt.t.src, 16);
	bpf_map_update_elem(&weir_askers, a, &s->now, BPF_ANY);
	if (ctl && ctl->asked != asked)
		ctl->asked = asked;
}

/* An ICMP error about a flow that is known and let through, sent to the side that caused it. */
WEIR_INLINE bool weir_stage_related(struct weir_scratch *s)
{
	struct weir_flow *f;
	bool half;
	uint32_t type = s->pkt.icmp_type;

	if (!(s->pkt.has & WEIR_HAS_INNER) || !(weir_config()->essentials & WEIR_ESS_ICMP_ERRORS))
		return false;
	if (s->pkt.family == 4 ? type != 3 && type != 11 && type != 12 : type > 4)
		return false;
	if (!weir_addr_equal(s->pkt.inner.src, s->pkt.t.dst))
		return false;
	weir_flow_key_of(&s->pkt.inner, &s->okey);
	f = weir_flow_find(s, &s->okey, &half);
	if (!f || f->enforced != WEIR_PASS)
		return false;
	weir_result_pass(&s->res, WEIR_REASON_RELATED, f->enforced_rule);
	return true;
}

/*
 * A packet from the middle of a conversation that nobody knows. While the adoption window is open it is
 * judged as either side's and adopted where one is allowed; after it, it is refused.
 */
__noinline int weir_adopt(uint32_t open, uint32_t tcp)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_config *cfg = weir_config();

	if (!s)
		return 0;
	if (!open) {
		struct weir_fixed x = { .action = WEIR_ACT_DROP, .mode = (uint8_t)cfg->mode };

		weir_result_fixed(&s->res, &x, WEIR_REASON_NO_FLOW, WEIR_RULE_NONE);
		return 0;
	}
	weir_rules_stage(weir_result_staged(&s->res));
	if (s->res.wanted == WEIR_PASS && s->res.enforced == WEIR_PASS)
		return tcp ? 1 : 0;
	s->res2 = s->res;
	weir_result_init(&s->res);
	weir_reverse();
	weir_rules_stage(0);
	if (s->res.enforced == WEIR_PASS && (s->res.wanted == WEIR_PASS || s->res2.enforced != WEIR_PASS)) {
		if (!(s->ifflags & WEIR_IF_TEST))
			weir_stat(WEIR_STAT_FLOW_ADOPTED);
		return 2; /* the other side opened it */
	}
	weir_reverse();
	s->res = s->res2;
	return tcp ? 1 : 0;
}

/* May this packet belong to a conversation that began before weir looked? 0 no, 1 UDP or echo, 2 TCP. */
WEIR_INLINE uint32_t weir_midstream(const struct weir_scratch *s, bool window)
{
	const struct weir_pkt *p = &s->pkt;

	if (p->proto == WEIR_IPPROTO_TCP)
		return (p->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == WEIR_TCP_SYN ? 0 : 2;
	if (!window || (p->has & WEIR_HAS_MCAST))
		return 0;
	if (p->has & WEIR_HAS_ECHO)
		return p->icmp_type == 0 || p->icmp_type == 129;
	/* for UDP only towards an ephemeral port: a service's port is no one's reply */
	return p->proto == WEIR_IPPROTO_UDP && s->facts.dir != WEIR_DIR_OUT &&
	       p->t.dport >= weir_config()->port_eph_min;
}

/*
 * The other face of a translated conversation: the packet came in as s->note.t, and that flow is settled.
 * This face takes over its verdict. 1: done.
 */
WEIR_INLINE int weir_stage_face(struct weir_scratch *s)
{
	struct weir_flow *f;
	uint32_t oside;
	bool half;

	if (!s->facts.has_orig)
		return WEIR_GO_ON;
	oside = weir_flow_key_of(&s->note.t, &s->okey);
	f = weir_flow_find(s, &s->okey, &half);
	if (!f || f->epoch != weir_config()->epoch || f->edit != s->edit)
		return WEIR_GO_ON;
	s->res.wanted = f->wanted;
	s->res.enforced = f->enforced;
	s->res.wanted_rule = f->wanted_rule;
	s->res.enforced_rule = f->enforced_rule;
	s->res.wanted_reason = f->wanted_reason;
	s->res.enforced_reason = f->enforced_reason;
	f->peer = s->key;
	f->flags = (uint8_t)((f->flags & ~WEIR_FF_PEER_B) | WEIR_FF_NAT);
	if ((oside == weir_flow_orig(f)) == s->side) /* end b, unless the responder sent this */
		f->flags |= WEIR_FF_PEER_B;
	if (oside != weir_flow_orig(f))
		weir_reverse();
	s->facts.dir = f->dir;
	return WEIR_DONE;
}

/* From the packet's view to the originator's; a fact that only the first packet had is unknown now. */
WEIR_INLINE void weir_flow_facts(struct weir_scratch *s, const struct weir_flow *f)
{
	if (s->side != weir_flow_orig(f))
		weir_reverse();
	s->facts.dir = f->dir;
	s->facts.known &= ~(uint32_t)(WEIR_K_MAC | WEIR_K_MARK | WEIR_K_TTL | WEIR_K_TIME);
	if (f->flags & WEIR_FF_NAT) {
		struct weir_tuple *t = f->flags & WEIR_FF_FAR ? &s->facts.t : &s->facts.orig;

		s->facts.orig = s->facts.t;
		weir_flow_tuple(&f->peer, f->flags & WEIR_FF_PEER_B ? WEIR_FF_ORIG_B : 0, t);
		s->facts.has_orig = f->dir == WEIR_DIR_FWD; /* inbound was judged before any translation */
		weir_prepare();
	}
	s->facts.in_if = s->facts.out_if = s->facts.in_lower = s->facts.out_lower = 0;
	weir_iface_facts(&s->facts, f->in_ifindex, f->dir == WEIR_DIR_IN ? 0 : f->out_ifindex);
}

/* Does this image wait for its confirmation? Then what it does to flows that are older must leave no trace. */
WEIR_INLINE bool weir_unconfirmed(void)
{
	struct weir_control *c = weir_control_get();

	return c && weir_control_waits(c, c->word) && c->generation == weir_config()->generation;
}

/* A rule, by its distance from the end: the overlay's rules come and go before those of the file. */
WEIR_INLINE uint32_t weir_rule_id(uint32_t rule)
{
	return rule < weir_config()->n_rules ? weir_config()->n_rules - rule : rule;
}

/* Does the verdict on this flow hang on a condition whose fact only its first packet had? */
WEIR_INLINE bool weir_hangs_on_lost(struct weir_scratch *s)
{
	const struct weir_config *cfg = weir_config();
	uint32_t at = 0, skip = WEIR_SKIP_DETECT | WEIR_SKIP_LOG | WEIR_SKIP_BAN, c;

	if (!(cfg->conds_used & (WEIR_C_MAC | WEIR_C_MARK | WEIR_C_TTL | WEIR_C_TIME)))
		return false;
	c = weir_classify_next(0, cfg, WEIR_RULES, &s->facts, at, skip);
	return c != WEIR_SCAN_END && (c & WEIR_CAND_UNKNOWN);
}

/*
 * What flows.established and flows.recheck_unknown keep although the rules deny it now. An edit of the overlay, a set
 * or the bans cuts what it touches all the same: a kept flow that another rule denies than did when it was kept.
 */
WEIR_INLINE bool weir_stays(struct weir_scratch *s, struct weir_flow *f)
{
	const struct weir_config *cfg = weir_config();
	bool older = f->generation != cfg->generation;

	if (f->enforced != WEIR_PASS)
		return false;
	if (s->res.enforced_rule < cfg->n_rules) {
		const struct weir_rule *r = weir_img_rule(0, WEIR_RULES, s->res.enforced_rule);

		if (r && (r->flags & WEIR_RF_OVERLAY))
			return false;
	}
	if (!older && (f->flags & WEIR_FF_KEPT) && f->kept_by == weir_rule_id(s->res.enforced_rule))
		return true;
	if (cfg->established == WEIR_EST_KEEP && older)
		return true;
	return cfg->recheck_unknown == WEIR_UNKNOWN_KEEP && weir_hangs_on_lost(s);
}

/* The failsafe sees a packet as its sender's: what answers somebody who came in goes out. */
WEIR_INLINE uint32_t weir_flow_way(const struct weir_scratch *s, const struct weir_flow *f)
{
	if (f->dir == WEIR_DIR_FWD || s->side == weir_flow_orig(f))
		return f->dir;
	return f->dir == WEIR_DIR_IN ? WEIR_DIR_OUT : WEIR_DIR_IN;
}

/* A flow that this image has not judged yet, or denies: judge it, in its originator's view. 1: it may go on. */
__noinline int weir_rejudge(uint32_t half)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_config *cfg = weir_config();
	struct weir_flow *f;
	bool adopted;

	if (!s)
		return 0;
	f = half ? bpf_map_lookup_elem(&weir_half, &s->key) : bpf_map_lookup_elem(&weir_flows, &s->key);
	if (!f)
		return 0;
	weir_gather(weir_flow_way(s, f));
	if (weir_failsafe_stage(0))
		goto pass;
	if (weir_stage_lists(s))
		goto denied;
	adopted = !f->epoch;
	weir_flow_facts(s, f);
	weir_rules_stage(weir_result_staged(&s->res));
	if (s->res.enforced == WEIR_PASS && !adopted)
		goto pass;
	if (adopted) {
		if (s->res.enforced == WEIR_PASS && s->res.wanted == WEIR_PASS)
			goto pass;
		s->res2 = s->res;
		weir_result_init(&s->res);
		weir_reverse();
		weir_rules_stage(0);
		if (s->res.enforced == WEIR_PASS && (s->res.wanted == WEIR_PASS || s->res2.enforced != WEIR_PASS)) {
			f->flags ^= WEIR_FF_ORIG_B | WEIR_FF_PEER_B;
			f->dir = s->facts.dir;
			goto pass;
		}
		weir_reverse();
		s->res = s->res2;
		if (s->res.enforced == WEIR_PASS)
			goto pass;
	}
	if (adopted || !weir_stays(s, f))
		goto denied;
	f->flags |= WEIR_FF_KEPT;
	f->kept_by = weir_rule_id(s->res.enforced_rule);
	weir_result_set(&s->res, WEIR_PASS, WEIR_REASON_FLOW, f->enforced_rule);
	f->generation = cfg->generation;
	f->epoch = cfg->epoch;
	f->edit = s->edit;
	return 1;
pass:
	f->flags &= (uint8_t)~WEIR_FF_KEPT;
	weir_flow_settle(s, f);
	return 1;
denied:
	if (f->generation != cfg->generation && weir_unconfirmed()) {
		/* it may go back: the flow must be found as it was, and its ends must not be told that it is over */
		if (s->res.enforced == WEIR_REJECT)
			s->res.enforced = WEIR_DROP;
		f->half[s->side & 1].last = s->now;
		return 0;
	}
	/* it stays known, and is judged at each packet: what the responder goes on to send opens nothing new */
	weir_flow_settle(s, f);
	f->half[s->side & 1].last = s->now;
	return 0;
}

/*
 * A new conversation passes: remember it under the key that this hook sees and, when it was translated, under
 * the one that the other side's packets show. The id stands in s->flow_id.
 */
__noinline int weir_remember(uint32_t flags)
{
	struct weir_scratch *s = weir_scratch_get();
	uint32_t side, oside;
	uint64_t id;
	bool half;

	if (!s)
		return 0;
	side = weir_flow_key_of(&s->facts.t, &s->key);
	if (!s->facts.has_orig) {
		s->flow_id = weir_flow_begin(s, &s->key, side, flags, 0);
		return 0;
	}
	oside = weir_flow_key_of(&s->facts.orig, &s->okey);
	id = weir_flow_begin(s, &s->key, side, flags | (oside ? WEIR_FF_PEER_B : 0) |
			     (s->facts.dir != WEIR_DIR_FWD ? WEIR_FF_FAR : 0), &s->okey);
	if (s->facts.dir == WEIR_DIR_FWD && !weir_flow_find(s, &s->okey, &half)) {
		s->side = weir_flow_key_of(&s->note.t, &s->okey);
		weir_flow_begin(s, &s->okey, oside, flags | (side ? WEIR_FF_PEER_B : 0) | WEIR_FF_FAR, &s->key);
	}
	s->flow_id = id;
	return 0;
}

/* A rule bans who opens: when the packet's verdict is told, see weir_report. */
WEIR_INLINE void weir_ban_due(struct weir_scratch *s)
{
	const struct weir_rule *r = s->res.ban ? weir_img_rule(0, WEIR_RULES, s->res.log_rule) : 0;

	if (!r)
		return;
	s->ban_s = r->max_duration;
	s->ban_rule = s->res.log_rule;
}

/*
 * No flow knows the packet: the whole order of evaluation.
 *
 * This function is long because it is that order, stage by stage.
 */
__noinline int weir_judge_new(struct __sk_buff *skb)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_control *ctl = weir_control_get();
	uint32_t dir, mid, flags = 0;
	bool open, stateless;
	uint64_t now;

	if (!s || !ctl)
		return WEIR_DROP;
	dir = (uint32_t)weir_dir(skb);
	if (s->pkt.frag == WEIR_FRAG_LATER) {
		weir_gather(dir);
		if (!weir_stage_lists(s) && !(weir_limit_here(s) && weir_limit_stage(WEIR_LIMIT_FLOOD)))
			weir_stage_later(skb, s, dir);
		return weir_report(0);
	}
	weir_gather(dir);
	if (weir_config()->conds_used & WEIR_C_TIME)
		weir_tell_time();
	stateless = (s->pkt.has & WEIR_HAS_ICMP) && !(s->pkt.has & WEIR_HAS_ECHO);
	mid = 0;
	open = weir_opens(&s->pkt);
	if (weir_failsafe_stage(open) || weir_stage_asker(s))
		goto settled;
	if (weir_stage_lists(s))
		goto settled;
	if (weir_limit_here(s) && weir_limit_stage(WEIR_LIMIT_FLOOD))
		goto settled;
	if (s->hook == WEIR_HOOK_TC_IN && dir == WEIR_DIR_FWD) {
		if (s->res.wanted_reason == WEIR_REASON_LIMIT) /* staged, and counted nowhere else */
			weir_report(0);
		weir_note_leave(skb, s);
		return WEIR_PASS; /* judged where it leaves */
	}
	if (weir_stage_related(s))
		goto settled;
	if (s->note.kind == WEIR_NOTE_LOST && dir == WEIR_DIR_FWD) { /* it may have been another's before translation */
		weir_judge_error(weir_config(), &s->res);
		goto settled;
	}
	if (weir_stage_face(s))
		goto settled;
	now = bpf_ktime_get_boot_ns();
	if (weir_judge_blocked(weir_config(), ctl->table_full, now, &s->res))
		goto settled;
	open = ctl->adopt_until > now ||
	       (weir_config()->failures.choice[WEIR_FAILURE_TABLE_FULL] == WEIR_TABLE_PASS &&
		weir_table_full(ctl->table_full, now, STATELESS_S));
	mid = weir_midstream(s, open);
	if (mid) {
		if (weir_adopt(open, mid == 2))
			flags |= WEIR_FF_ADOPTED;
	} else {
		if ((weir_config()->limit_counts & WEIR_LIMIT_NEW) && dir != WEIR_DIR_OUT && !stateless &&
		    weir_limit_stage(WEIR_LIMIT_NEW))
			goto settled;
		weir_rules_stage(weir_result_staged(&s->res));
		if ((weir_config()->limit_counts & WEIR_LIMIT_OF_RULE) && !stateless)
			weir_limit_rule();
		weir_ban_due(s);
	}
settled:
	if (s->pkt.frag) {
		weir_frag_gather();
		weir_frag_remember(0);
	}
	if (s->res.enforced != WEIR_PASS || stateless || s->res.enforced_reason == WEIR_REASON_RELATED ||
	    (s->ifflags & WEIR_IF_TEST))
		return weir_report(0);
	weir_asker_remember(s);
	if (s->hook == WEIR_HOOK_TC_IN && s->facts.dir == WEIR_DIR_FWD) { /* admitted by the failsafe on its way in */
		weir_note_leave(skb, s);
		return weir_report(0);
	}
	s->flow_id = 0;
	s->refused = 0;
	weir_remember(flags);
	if (s->refused) {
		weir_judge_refused(weir_config(), &s->res);
		if (s->res.enforced != WEIR_PASS)
			return weir_report(0);
	}
	if (s->pkt.frag && s->flow_id && s->flow.max_bytes && weir_frag_begun() && weir_bound_stop(1)) {
		weir_frag_remember(0);
		return weir_report(0);
	}
	if (s->hook == WEIR_HOOK_TC_IN)
		weir_note_leave(skb, s);
	return weir_report(s->flow_id);
}

/* What the failsafe admits without its list of entries. A first fragment speaks for a later one. */
__noinline int weir_failsafe_rest(void)
{
	struct weir_scratch *s = weir_scratch_get();

	if (!s)
		return 0;
	if (s->parsed != WEIR_REASON_NONE)
		return s->parsed == WEIR_REASON_NOT_IP && (weir_config()->essentials & WEIR_ESS_ARP);
	if (s->pkt.frag == WEIR_FRAG_LATER)
		return weir_frag_first() == WEIR_FRAG_PASSED;
	return weir_stage_asker(s) || weir_stage_related(s);
}

/* The verdict on a packet that nothing else judges while the daemon is dead. */
__noinline int weir_dead_verdict(uint32_t verdict)
{
	struct weir_scratch *s = weir_scratch_get();

	if (!s)
		return 1;
	weir_result_init(&s->res);
	weir_result_set(&s->res, verdict, WEIR_REASON_DAEMON_DEAD, WEIR_RULE_NONE);
	weir_flow_key_of(&s->pkt.t, &s->key);
	return 1;
}

/*
 * failures.daemon_dead, when the policy says more than keep: 1 when that alone decides. Calls only, for its frame
 * stands under the longest chain of them.
 */
__noinline int weir_stage_dead(struct __sk_buff *skb)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_control *ctl = weir_control_get();
	const struct weir_config *cfg = weir_config();

	if (!s || !ctl || (s->ifflags & WEIR_IF_TEST) || !weir_daemon_dead(cfg, ctl->alive, bpf_ktime_get_boot_ns()))
		return 0;
	if (s->hook == WEIR_HOOK_TC_OUT && s->pkt.ethertype == WEIR_CANARY_TYPE) /* it tells that the hook runs */
		return 0;
	weir_stat(WEIR_STAT_FAIL_DAEMON);
	if (cfg->mode == WEIR_DETECT)
		return 0;
	if (cfg->failures.choice[WEIR_FAILURE_DAEMON_DEAD] == WEIR_DAEMON_OPEN)
		return weir_dead_verdict(WEIR_PASS);
	if (s->parsed == WEIR_REASON_NONE && s->pkt.frag != WEIR_FRAG_LATER) {
		weir_gather((uint32_t)weir_dir(skb));
		if (weir_failsafe_stage(weir_opens(&s->pkt)))
			goto admitted;
	}
	if (!weir_failsafe_rest())
		return weir_dead_verdict(WEIR_DROP);
admitted:
	weir_result_init(&s->res);
	return 0;
}

/* What a known and settled flow does with one more packet. */
WEIR_INLINE int weir_flow_packet(struct __sk_buff *skb, struct weir_scratch *s, struct weir_flow *f, bool half)
{
	weir_stat(WEIR_STAT_FLOW_FAST);
	weir_flow_advance(s, f, half);
	if (s->hook == WEIR_HOOK_TC_IN && (half || (f->flags & WEIR_FF_NAT)))
		weir_note_leave(skb, s);
	return WEIR_PASS;
}

/* A test frame of the keeper's own? It proves that this hook runs, and ends here in every mode. */
WEIR_INLINE bool weir_stage_canary(struct __sk_buff *skb, const struct weir_scratch *s)
{
	struct weir_control *ctl = weir_control_get();
	uint64_t secret = 0;

	if (s->hook != WEIR_HOOK_TC_OUT || s->in_ifindex || s->pkt.ethertype != WEIR_CANARY_TYPE || !ctl || !ctl->canary)
		return false;
	if (bpf_skb_load_bytes_relative(skb, 0, &secret, sizeof secret, BPF_HDR_START_NET) || secret != ctl->canary)
		return false;
	weir_stat(WEIR_STAT_CANARY);
	return true;
}

/*
 * Stage 4 for a packet of a known flow: 1, it is stopped. What the failsafe or a list says of it stands before that, and is
 * asked only where a bucket is empty. What is staged is told by itself: it is the packet's, not the flow's.
 */
__noinline int weir_limit_flow(uint32_t failsafe, uint32_t dir)
{
	struct weir_scratch *s = weir_scratch_get();
	bool stopped;

	if (!s || failsafe)
		return 0;
	stopped = weir_limit_stage(WEIR_LIMIT_FLOOD);
	if (!weir_result_staged(&s->res))
		return 0;
	s->res2 = s->res;
	weir_result_init(&s->res);
	weir_gather(dir);
	if (weir_failsafe_stage(0)) {
		weir_result_init(&s->res);
		s->ban_s = 0;
		return 0;
	}
	if (stopped) {
		if (!weir_stage_lists(s))
			s->res = s->res2;
		return 1;
	}
	s->res = s->res2;
	weir_report(0);
	weir_result_init(&s->res);
	return 0;
}

/*
 * A packet beyond a bound of its flow: 1, it is stopped, and so is what follows, whoever sends it; the entry stays and says
 * so. A staged bound is told once.
 */
__noinline int weir_bound_stop(uint32_t half)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_flow *f;
	uint32_t rule;

	if (!s)
		return 1;
	f = half ? bpf_map_lookup_elem(&weir_half, &s->key) : bpf_map_lookup_elem(&weir_flows, &s->key);
	if (!f || ((f->bound & WEIR_FB_STAGED) && f->wanted_reason == WEIR_REASON_FLOW_BOUND))
		return 0;
	weir_gather(weir_flow_way(s, f));
	weir_flow_facts(s, f);
	weir_result_init(&s->res);
	rule = f->flags & WEIR_FF_KEPT ? WEIR_RULE_NONE : f->bound & WEIR_FB_STAGED ? f->wanted_rule : f->enforced_rule;
	weir_result_want(&s->res, WEIR_DROP, WEIR_REASON_FLOW_BOUND, rule);
	f->wanted = WEIR_DROP;
	f->wanted_reason = WEIR_REASON_FLOW_BOUND;
	if (f->bound & WEIR_FB_STAGED) {
		weir_result_enforce(&s->res, WEIR_PASS, WEIR_REASON_FLOW, f->enforced_rule);
		weir_report(0);
		weir_result_init(&s->res);
		return 0;
	}
	weir_result_enforce(&s->res, WEIR_DROP, WEIR_REASON_FLOW_BOUND, rule);
	f->wanted_rule = f->enforced_rule;
	f->enforced = WEIR_DROP;
	f->enforced_reason = WEIR_REASON_FLOW_BOUND;
	f->half[s->side & 1].last = s->now;
	return 1;
}

__noinline int weir_decide(struct __sk_buff *skb)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_config *cfg = weir_config();
	struct weir_flow *f;
	bool half = false, again, stopped = false;

	if (!s)
		return WEIR_DROP;
	weir_result_init(&s->res);
	if (cfg->failures.choice[WEIR_FAILURE_DAEMON_DEAD] != WEIR_DAEMON_KEEP && weir_stage_dead(skb))
		return weir_report(0);
	if (weir_simulates(cfg, WEIR_FAILURE_UNPARSABLE) && s->parsed == WEIR_REASON_NONE && !(s->ifflags & WEIR_IF_TEST))
		s->parsed = WEIR_REASON_TRUNCATED;
	if (weir_judge_unparsed(cfg, s->parsed, &s->res))
		return weir_stage_canary(skb, s) ? WEIR_DROP : weir_report(0);
	if (s->pkt.frag && weir_judge_fragment(cfg, s->pkt.frag, &s->res))
		return weir_report(0);
	s->side = weir_flow_key_of(&s->pkt.t, &s->key);
	f = weir_flow_find(s, &s->key, &half);
	if (!f || s->pkt.frag == WEIR_FRAG_LATER)
		return weir_judge_new(skb);
	/* ingress took it for one of this host's, and it leaves again, not translated: the routes say otherwise */
	if (s->hook == WEIR_HOOK_TC_OUT && s->in_ifindex && f->dir == WEIR_DIR_IN && !(f->flags & WEIR_FF_NAT) &&
	    s->side == weir_flow_orig(f))
		return weir_judge_new(skb);
	/* a SYN that opens: a port used again, or the other side's own conversation */
	if (weir_opens(&s->pkt)) {
		bool other = s->side != weir_flow_orig(f), over = weir_flow_closing(f);
		bool denied = !other && f->enforced != WEIR_PASS;

		if (over || denied)
			weir_flow_forget(&s->key);
		if (over || denied || other)
			return weir_judge_new(skb);
	}
	if (weir_limit_here(s) && weir_limit_flow(f->enforced_reason == WEIR_REASON_FAILSAFE, weir_flow_way(s, f)))
		return weir_report(0);
	again = f->epoch != cfg->epoch || f->edit != s->edit || f->enforced != WEIR_PASS || (s->caught && weir_is_caught());
	if (s->hook == WEIR_HOOK_TC_IN && (f->dir == WEIR_DIR_FWD || (s->ifflags & WEIR_IF_BRIDGE_PORT))) {
		if (again) {
			weir_gather(f->dir);
			if (!weir_failsafe_stage(0) && weir_stage_lists(s))
				return weir_report(0);
		}
		/* judged and counted where it leaves; a translated flow shows this face only here */
		if (f->dir == WEIR_DIR_FWD && (f->flags & WEIR_FF_NAT) && !(s->ifflags & WEIR_IF_BRIDGE_PORT))
			weir_flow_advance(s, f, half);
		/* a settled flow that nothing translates is known there, too; of one older than weir, who knows */
		if (again || half || (f->flags & (WEIR_FF_NAT | WEIR_FF_ADOPTED)) || f->dir != WEIR_DIR_FWD)
			weir_note_leave(skb, s);
		return WEIR_PASS;
	}
	if (again && !weir_rejudge(half))
		return weir_report(0);
	if (s->pkt.frag)
		weir_frag_gather();
	if ((f->max_duration || f->max_bytes) &&
	    weir_flow_over(f, s->pkt.ip_len, f->max_duration ? bpf_ktime_get_boot_ns() : 0))
		stopped = weir_bound_stop(half);
	if (s->pkt.frag)
		weir_frag_remember(f->max_bytes != 0);
	if (stopped)
		return weir_report(0);
	return weir_flow_packet(skb, s, f, half);
}
