/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The decision on one parsed packet, for TC in both directions. In: s->pkt, s->parsed and what the hook
 * knows. Out: s->res, and 0 to let it pass, 1 to drop, 2 to reject. The stages and their order are those of
 * core/policy.h; this file adds what needs maps: flows, fragments, bans, notes.
 *
 * Global functions, each verified once. weir_judge_known runs first and leaves the rest to weir_judge_new, which is slower;
 * both are called by the hook itself, for the kernel takes eight frames at most. The stages themselves stand in rooms of
 * their own, see bpf/stages.h.
 */
#include "bpf/flow_table.h"
#include "bpf/fragment.h"
#include "bpf/gate.h"
#include "bpf/limit.h"
#include "bpf/note.h"
#include "bpf/stages.h"

enum { WEIR_GO_ON = 0, WEIR_DONE = 1 };

/* flow_table_full: pass. For so long after a refusal packets without a flow are judged one by one, as either side's. */
#define STATELESS_S 60

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
	if (first == WEIR_FRAG_PASSED || first == WEIR_FRAG_ADMITTED) {
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

/* A late packet of a handshake is judged; an answer that nobody may have asked for is left as it was. 1: done. */
__noinline int weir_late_stage(uint32_t late)
{
	struct weir_scratch *s = weir_scratch_get();

	if (!s || !late)
		return 0;
	s->res2 = s->res;
	if (late == WEIR_LATE_ANSWER)
		weir_reverse();
	weir_rules_stage(weir_result_staged(&s->res));
	if (late == WEIR_LATE_ACK || s->res.enforced == WEIR_PASS)
		return 1;
	weir_reverse();
	s->res = s->res2;
	return 0;
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
	f = weir_flow_find(s, &s->okey, oside, &half);
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

/* A rule bans who opens: when the packet's verdict is told, see weir_report. */
WEIR_INLINE void weir_ban_due(struct weir_scratch *s)
{
	const struct weir_rule *r = s->res.ban ? weir_img_rule(0, WEIR_RULES, s->res.log_rule) : 0;

	if (!r)
		return;
	s->ban_s = r->max_duration;
	s->ban_rule = s->res.log_rule;
}

/* Asked of the end that a packet comes from: where it leaves the other end is asked, and nothing else counts this one. */
WEIR_INLINE bool weir_of_this_end(uint32_t reason)
{
	return reason == WEIR_REASON_LIMIT || reason == WEIR_REASON_BLOCKLIST || reason == WEIR_REASON_BAN;
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
	bool open, stateless, related, asked;
	uint64_t now;

	if (!s || !ctl)
		return WEIR_DROP;
	dir = (uint32_t)weir_dir(skb);
	if (s->pkt.frag == WEIR_FRAG_LATER) {
		weir_gather(dir);
		if (weir_frag_first() == WEIR_FRAG_ADMITTED ||
		    (!weir_lists_stage() && !(weir_limit_here(s) && weir_limit_stage(WEIR_LIMIT_FLOOD))))
			weir_stage_later(skb, s, dir);
		return weir_report(0);
	}
	weir_gather(dir);
	if (weir_config()->conds_used & WEIR_C_TIME)
		weir_tell_time();
	stateless = (s->pkt.has & WEIR_HAS_ICMP) && !(s->pkt.has & WEIR_HAS_ECHO);
	mid = 0;
	open = weir_opens(&s->pkt);
	if (weir_failsafe_stage(open) || weir_asker_stage())
		goto settled;
	related = weir_related_stage();
	if (!related && weir_lists_stage())
		goto settled;
	if (!related && weir_limit_here(s) && weir_limit_stage(WEIR_LIMIT_FLOOD))
		goto settled;
	if (s->hook == WEIR_HOOK_TC_IN && dir == WEIR_DIR_FWD) {
		if (weir_of_this_end(s->res.wanted_reason)) /* staged */
			weir_report(0);
		weir_note_leave(skb, s);
		return WEIR_PASS; /* judged where it leaves */
	}
	if (related)
		goto settled;
	if (s->note.kind == WEIR_NOTE_LOST && dir == WEIR_DIR_FWD) { /* it may have been another's before translation */
		weir_judge_error(weir_config(), &s->res);
		goto settled;
	}
	if (weir_stage_face(s))
		goto settled;
	now = s->time = bpf_ktime_get_boot_ns();
	if (weir_judge_blocked(weir_config(), ctl->table_full, now, &s->res))
		goto settled;
	open = ctl->adopt_until > now ||
	       (weir_config()->failures.choice[WEIR_FAILURE_TABLE_FULL] == WEIR_TABLE_PASS &&
		weir_table_full(ctl->table_full, now, STATELESS_S));
	mid = weir_midstream(s, open);
	asked = mid != 0;
	if (mid == 2 && !open && weir_late_stage(weir_flow_late(&s->pkt, s->facts.dir, ctl->crowded, now))) {
		flags |= WEIR_FF_ADOPTED;
	} else if (mid) {
		if (weir_adopt(open, mid == 2))
			flags |= WEIR_FF_ADOPTED;
		mid = mid == 2 || (flags & WEIR_FF_ADOPTED);
	}
	if (!mid) { /* it opens, or may: a datagram that nobody's rules take for an answer is no older conversation's */
		if ((weir_config()->limit_counts & WEIR_LIMIT_NEW) && dir != WEIR_DIR_OUT && !stateless &&
		    weir_limit_stage(WEIR_LIMIT_NEW))
			goto settled;
		if (!asked)
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
	weir_asker_remember();
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
	if (s->flow_id && s->flow.max_bytes &&
	    (s->pkt.frag ? weir_frag_begun() != 0 : s->pkt.ip_len > s->flow.max_bytes) && weir_bound_stop(1)) {
		weir_frag_remember(0);
		return weir_report(0);
	}
	if (s->hook == WEIR_HOOK_TC_IN)
		weir_note_leave(skb, s);
	return weir_report(s->flow_id);
}

WEIR_INLINE bool weir_echo_asks(const struct weir_pkt *p)
{
	return p->icmp_type == (p->family == 4 ? 8 : 128);
}

/*
 * It came in from outside and says that this host sent it. The stack throws such a packet away, or routes it (IPv6), after
 * this hook: a flow that believed it would let anybody answer his own SYN, or close a connection of which he knows the ports.
 * What really comes back to this host, over lo, a VRF or a wire between two of its devices, goes to an address of its own. An
 * answer from behind a translation has this host's name only where it leaves, and came in with another.
 */
WEIR_INLINE bool weir_masked(struct weir_scratch *s, const struct weir_flow *f)
{
	if (!s->in_ifindex || !weir_flow_ours(f, s->side) || (s->ifflags & WEIR_IF_LO))
		return false;
	if (s->hook == WEIR_HOOK_TC_IN ? f->flags & WEIR_FF_FAR :
					 s->note.kind != WEIR_NOTE_INGRESS || !weir_tuple_equal(&s->note.t, &s->pkt.t))
		return false;
	__builtin_memcpy(s->caught_key.addr, s->pkt.t.dst, 16);
	return !bpf_map_lookup_elem(&weir_own, &s->caught_key);
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
		if (!weir_lists_stage())
			s->res = s->res2;
		return 1;
	}
	s->res = s->res2;
	weir_report(0);
	weir_result_init(&s->res);
	return 0;
}

/* A packet of a known flow; WEIR_UNDECIDED: there is none that speaks for it. */
__noinline int weir_judge_known(struct __sk_buff *skb)
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
	f = weir_flow_find(s, &s->key, s->side, &half);
	if (!f || s->pkt.frag == WEIR_FRAG_LATER)
		return WEIR_UNDECIDED;
	/* an echo flow with the identifier 0 has no say over ICMP that has none, nor one over who asks the other way */
	if ((s->pkt.has & WEIR_HAS_ICMP) &&
	    (!(s->pkt.has & WEIR_HAS_ECHO) || (weir_echo_asks(&s->pkt) && s->side != weir_flow_orig(f))))
		return WEIR_UNDECIDED;
	if (weir_masked(s, f) && !(s->ifflags & WEIR_IF_BRIDGE_PORT))
		return WEIR_UNDECIDED;
	/* ingress took it for one of this host's, and it leaves again, not translated: the routes say otherwise */
	if (s->hook == WEIR_HOOK_TC_OUT && s->in_ifindex && f->dir == WEIR_DIR_IN && !(f->flags & WEIR_FF_NAT) &&
	    s->side == weir_flow_orig(f))
		return WEIR_UNDECIDED;
	/* a SYN that opens: a port used again, or the other side's own conversation */
	if (weir_opens(&s->pkt)) {
		bool other = s->side != weir_flow_orig(f), over = other ? weir_flow_closing(f) : weir_flow_left(f);

		if (over)
			weir_flow_forget(&s->key);
		if (over || other)
			return WEIR_UNDECIDED;
	}
	if (weir_limit_here(s) && weir_limit_flow(f->enforced_reason == WEIR_REASON_FAILSAFE, weir_flow_way(s, f)))
		return weir_report(0);
	again = f->epoch != cfg->epoch || f->edit != s->edit ||
		(f->enforced != WEIR_PASS && f->enforced_reason != WEIR_REASON_FLOW_BOUND) || (s->caught && weir_is_caught());
	if (s->hook == WEIR_HOOK_TC_IN && (f->dir == WEIR_DIR_FWD || (s->ifflags & WEIR_IF_BRIDGE_PORT))) {
		if (again) {
			weir_gather(f->dir);
			if (!weir_failsafe_stage(0) && weir_lists_stage())
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
		weir_frag_remember((f->max_bytes != 0) | (f->enforced_reason == WEIR_REASON_FAILSAFE) << 1);
	if (stopped)
		return weir_report(0);
	/* between ports: or this host's own, by a veth, and counted there */
	return (s->ifflags & WEIR_IF_BRIDGE_PORT) && weir_masked(s, f) ? WEIR_PASS : weir_flow_packet(skb, s, f, half);
}
