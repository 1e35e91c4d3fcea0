/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A flow that is known: judged again, stopped at a bound; and how a new one is remembered. */
#include "bpf/facts.h"
#include "bpf/flow_table.h"
#include "bpf/stages.h"

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

/* Does the first rule from `from` on that may decide hang on a condition whose fact only a flow's first packet had? */
__noinline int weir_hangs_on_lost(uint32_t from)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_config *cfg = weir_config();
	uint32_t skip = WEIR_SKIP_DETECT | WEIR_SKIP_LOG | WEIR_SKIP_BAN, c;

	if (!s || !(cfg->conds_used & (WEIR_C_MAC | WEIR_C_MARK | WEIR_C_TTL | WEIR_C_TIME)))
		return 0;
	c = weir_classify_next(0, cfg, WEIR_RULES, &s->facts, from, skip);
	return c != WEIR_SCAN_END && (c & WEIR_CAND_UNKNOWN);
}

/*
 * What flows.established and flows.recheck_unknown keep although the rules deny it now. An edit of the overlay, a set
 * or the bans cuts what it touches all the same: a kept flow that another rule denies than did when it was kept. A rule
 * that asks for what is lost does not touch for certain.
 */
WEIR_INLINE bool weir_stays(struct weir_scratch *s, struct weir_flow *f)
{
	const struct weir_config *cfg = weir_config();
	bool older = f->generation != cfg->generation, added = false;

	if (!weir_flow_let_in(f))
		return false;
	if (s->res.enforced_rule < cfg->n_rules) {
		const struct weir_rule *r = weir_img_rule(0, WEIR_RULES, s->res.enforced_rule);

		added = r && (r->flags & WEIR_RF_OVERLAY);
		if (added && !weir_hangs_on_lost(s->res.enforced_rule))
			return false;
	}
	if (!older && (f->flags & WEIR_FF_KEPT) && f->kept_by == weir_rule_id(s->res.enforced_rule))
		return true;
	if (cfg->established == WEIR_EST_KEEP && older)
		return true;
	/* an edit that has nothing to do with the flow asks it for nothing that is lost */
	return (cfg->recheck_unknown == WEIR_UNKNOWN_KEEP || (!older && !added)) && weir_hangs_on_lost(0);
}

/*
 * The rules let the flow pass, but the first of them that may decide asks for what is lost: it may be the one that let it
 * in, so its bounds hold on, whoever else would let it in without.
 */
WEIR_INLINE bool weir_bounds_stay(const struct weir_flow *f)
{
	const struct weir_config *cfg = weir_config();

	return weir_flow_bounded(f) && weir_flow_let_in(f) &&
	       (cfg->recheck_unknown == WEIR_UNKNOWN_KEEP || f->generation == cfg->generation) && weir_hangs_on_lost(0);
}

/* It goes on as it was. Who stopped it in the meantime is forgotten, and with him the rule that had let it in. */
WEIR_INLINE void weir_flow_keep(struct weir_scratch *s, struct weir_flow *f)
{
	uint32_t rule = f->enforced == WEIR_PASS || f->enforced_reason == WEIR_REASON_FLOW_BOUND ? f->enforced_rule :
												 WEIR_RULE_NONE;

	if (f->enforced != WEIR_PASS) {
		f->wanted = f->enforced = WEIR_PASS;
		f->wanted_reason = f->enforced_reason = rule == WEIR_RULE_NONE ? WEIR_REASON_FLOW : WEIR_REASON_RULE;
		f->wanted_rule = f->enforced_rule = rule;
	}
	f->flags &= (uint8_t)~WEIR_FF_LISTED;
	f->generation = weir_config()->generation;
	f->epoch = weir_config()->epoch;
	f->edit = s->edit;
	weir_result_set(&s->res, WEIR_PASS, WEIR_REASON_FLOW, rule);
}

/* A flow that this image has not judged yet, or denies: judge it, in its originator's view. 1: it may go on. */
__noinline int weir_rejudge(uint32_t half)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_config *cfg = weir_config();
	struct weir_flow *f;
	bool adopted, listed = false;

	if (!s)
		return 0;
	f = weir_flow_at(&s->key, half);
	if (!f)
		return 0;
	weir_gather(weir_flow_way(s, f));
	if (weir_failsafe_stage(0))
		goto pass;
	if (weir_lists_stage()) {
		listed = weir_flow_let_in(f);
		goto denied;
	}
	adopted = !f->epoch;
	weir_flow_facts(s, f);
	weir_rules_stage(weir_result_staged(&s->res));
	if (s->res.enforced == WEIR_PASS && !adopted) {
		if (!weir_bounds_stay(f))
			goto pass;
		f->flags &= (uint8_t)~WEIR_FF_KEPT;
		weir_flow_keep(s, f);
		return 1;
	}
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
	weir_flow_keep(s, f);
	return 1;
pass:
	f->flags &= (uint8_t)~(WEIR_FF_KEPT | WEIR_FF_LISTED);
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
	f->flags = (uint8_t)((f->flags & ~WEIR_FF_LISTED) | (listed ? WEIR_FF_LISTED : 0));
	weir_flow_settle(s, f);
	f->half[s->side & 1].last = s->now;
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
	f = weir_flow_at(&s->key, half);
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
	weir_flow_stopped(f, &s->pkt, s->side, s->now);
	return 1;
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
	if (s->facts.dir == WEIR_DIR_FWD && !weir_flow_find(s, &s->okey, oside, &half)) {
		s->side = weir_flow_key_of(&s->note.t, &s->okey);
		weir_flow_begin(s, &s->okey, oside, flags | (side ? WEIR_FF_PEER_B : 0) | WEIR_FF_FAR, &s->key);
	}
	s->flow_id = id;
	return 0;
}
