/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The failsafe: its entries, which the gate keeps from being asked for nothing, and what it admits without entries; and what
 * is left when the daemon is dead and the policy lets nothing else by.
 */
#include "bpf/flow_table.h"
#include "bpf/fragment.h"
#include "bpf/gate.h"
#include "bpf/stages.h"

/* The first candidate of the failsafe, of those that the gate leaves. */
__noinline int weir_scan_failsafe(uint32_t skip)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_gate *g = weir_gate_get();
	uint64_t may;

	if (!s || !g)
		return (int)WEIR_SCAN_END;
	may = weir_gate_facts(g, &s->facts);
	for (uint32_t i = 0; i < WEIR_FAILSAFE_MAX; i++) {
		uint32_t at = weir_gate_lowest(may), c;
		const struct weir_rule *r;

		if (!may)
			break;
		may &= may - 1;
		r = weir_img_rule(0, WEIR_FAILSAFE, at);
		if (!r)
			break;
		c = weir_candidate(0, weir_config(), WEIR_FAILSAFE, at, r, &s->facts, skip);
		if (c != WEIR_SCAN_END)
			return (int)c;
	}
	return (int)WEIR_SCAN_END;
}

/* Stage 2 on the facts, which are the packet's own view. 1: admitted, result in res. */
__noinline int weir_failsafe_stage(uint32_t opens)
{
	struct weir_scratch *s = weir_scratch_get();

	return s && weir_gate_open(&s->pkt, s->facts.dir, opens) &&
	       weir_judge_failsafe(0, weir_config(), &s->facts, opens, &s->res);
}

/* A reply to a multicast query that this host sent within the last five seconds. */
__noinline int weir_asker_stage(void)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_asker *a;
	uint32_t *then;

	if (!s || s->facts.dir != WEIR_DIR_IN || (s->pkt.has & WEIR_HAS_MCAST) || (s->ifflags & WEIR_IF_TEST) || !weir_asked(s->pkt.proto))
		return 0;
	a = &s->asker;
	a->port = s->pkt.t.dport;
	__builtin_memcpy(a->addr, s->pkt.t.dst, 16);
	then = bpf_map_lookup_elem(&weir_askers, a);
	if (!then || weir_jiffies_since(*then, s->now, weir_config()->hz) > 5 * weir_config()->hz)
		return 0;
	weir_result_pass(&s->res, WEIR_REASON_FAILSAFE, WEIR_RULE_NONE);
	return 1;
}

__noinline int weir_asker_remember(void)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_control *ctl = weir_control_get();
	struct weir_asker *a;
	uint32_t asked;

	if (!s || !(weir_config()->essentials & WEIR_ESS_MCAST_REPLIES) || s->pkt.proto != WEIR_IPPROTO_UDP ||
	    s->facts.dir != WEIR_DIR_OUT || !(s->pkt.has & WEIR_HAS_MCAST))
		return 0;
	a = &s->asker;
	asked = s->now ? s->now : 1; /* 0: never */
	a->port = s->pkt.t.sport;
	__builtin_memcpy(a->addr, s->pkt.t.src, 16);
	bpf_map_update_elem(&weir_askers, a, &s->now, BPF_ANY);
	if (ctl && ctl->asked != asked)
		ctl->asked = asked;
	return 1;
}

/* An ICMP error about a flow that is known and let through, sent to the side that caused it. */
__noinline int weir_related_stage(void)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_flow *f;
	uint32_t type, side;
	bool half;

	if (!s || !(s->pkt.has & WEIR_HAS_INNER) || !(weir_config()->essentials & WEIR_ESS_ICMP_ERRORS))
		return 0;
	type = s->pkt.icmp_type;
	if (s->pkt.family == 4 ? type != 3 && type != 11 && type != 12 : type > 4)
		return 0;
	if (!weir_addr_equal(s->pkt.inner.src, s->pkt.t.dst))
		return 0;
	side = weir_flow_key_of(&s->pkt.inner, &s->okey);
	f = weir_flow_find(s, &s->okey, side, &half);
	if (!f || f->enforced != WEIR_PASS)
		return 0;
	weir_result_pass(&s->res, WEIR_REASON_RELATED, f->enforced_rule);
	return 1;
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
		return weir_frag_first() == WEIR_FRAG_PASSED || weir_frag_first() == WEIR_FRAG_ADMITTED;
	return weir_asker_stage() || weir_related_stage();
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
