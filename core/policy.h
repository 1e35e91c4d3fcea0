/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The order of evaluation, stage by stage. A stage either decides (returns true and fills the result) or
 * lets the packet go on to the next:
 *
 *   1 unparsed   malformed, not IP, fragments        weir_judge_unparsed, weir_judge_fragment
 *   2 failsafe   essentials and management access    weir_judge_failsafe
 *   3 lists      bans and blocklists                 weir_judge_blocklist (bans are a map of the kernel)
 *   4 limits     packets and bytes above a rate      core/limit.h (buckets are a map of the kernel)
 *   5 flow       a settled verdict                   core/flow.h
 *   6 rules      connections above a rate; overlay, file, default    weir_judge_rules
 *
 * Every stage gives two results at once: `wanted`, as if everything were in mode prevent, and `enforced`,
 * where whatever is staged (mode detect) lets the packet by. A staged rule is absent from the enforced
 * walk, so that staging can neither stop traffic nor open a hole in front of the rules behind it.
 */
#pragma once
#include "core/blocklist.h"
#include "core/classify.h"
#include "core/gate.h"
#include "core/reason.h"
#include "core/result.h"

/* Candidates of one walk: one log rule, two bans, one staged, one that decides, and the look that finds no more. */
#define WEIR_WALK_MAX 6

WEIR_INLINE uint8_t weir_action_verdict(uint32_t action)
{
	return action == WEIR_ACT_DROP ? WEIR_DROP : action == WEIR_ACT_REJECT ? WEIR_REJECT : WEIR_PASS;
}

WEIR_INLINE void weir_result_init(struct weir_result *res)
{
	__builtin_memset(res, 0, sizeof *res);
	res->wanted_rule = res->enforced_rule = res->log_rule = WEIR_RULE_NONE;
}

WEIR_INLINE void weir_result_set(struct weir_result *res, uint32_t verdict, uint32_t reason, uint32_t rule)
{
	res->wanted = res->enforced = (uint8_t)verdict;
	res->wanted_reason = res->enforced_reason = (uint8_t)reason;
	res->wanted_rule = res->enforced_rule = rule;
}

/* An earlier, staged stage has said what it wanted: the first word stays. */
WEIR_INLINE bool weir_result_staged(const struct weir_result *res)
{
	return res->wanted_reason != WEIR_REASON_NONE;
}

WEIR_INLINE void weir_result_want(struct weir_result *res, uint32_t verdict, uint32_t reason, uint32_t rule)
{
	if (weir_result_staged(res))
		return;
	res->wanted = (uint8_t)verdict;
	res->wanted_reason = (uint8_t)reason;
	res->wanted_rule = rule;
}

WEIR_INLINE void weir_result_enforce(struct weir_result *res, uint32_t verdict, uint32_t reason, uint32_t rule)
{
	res->enforced = (uint8_t)verdict;
	res->enforced_reason = (uint8_t)reason;
	res->enforced_rule = rule;
}

/* Something lets the packet pass that no staging touches. */
WEIR_INLINE void weir_result_pass(struct weir_result *res, uint32_t reason, uint32_t rule)
{
	weir_result_want(res, WEIR_PASS, reason, rule);
	weir_result_enforce(res, WEIR_PASS, reason, rule);
}

/* A verdict fixed by the policy for a kind of packet. In detect it enforces as pass. */
WEIR_INLINE void weir_result_fixed(struct weir_result *res, const struct weir_fixed *x, uint32_t reason,
				   uint32_t rule)
{
	weir_result_want(res, weir_action_verdict(x->action), reason, rule);
	weir_result_enforce(res, x->mode == WEIR_DETECT ? WEIR_PASS : weir_action_verdict(x->action), reason, rule);
	if (x->log)
		res->log = 1;
}

/* Stage 1. `r` is what weir_parse returned; true when the packet is decided by that alone. */
WEIR_INLINE bool weir_judge_unparsed(const struct weir_config *cfg, uint32_t r, struct weir_result *res)
{
	if (r == WEIR_REASON_NONE)
		return false;
	if (weir_reason_malformed(r))
		weir_result_fixed(res, &cfg->malformed, r, WEIR_RULE_NONE);
	else if (r == WEIR_REASON_NOT_IP && (cfg->essentials & WEIR_ESS_ARP))
		weir_result_set(res, WEIR_PASS, WEIR_REASON_NOT_IP, WEIR_RULE_NONE);
	else
		weir_result_fixed(res, &cfg->unknown_l2, r == WEIR_REASON_NOT_IP ? r : WEIR_REASON_UNKNOWN_L2,
				  WEIR_RULE_NONE);
	return true;
}

/* Stage 1, fragments: decided here only when the policy refuses them. */
WEIR_INLINE bool weir_judge_fragment(const struct weir_config *cfg, uint32_t frag, struct weir_result *res)
{
	if (frag == WEIR_FRAG_NONE || cfg->fragments.action == WEIR_ACT_ALLOW)
		return false;
	weir_result_fixed(res, &cfg->fragments, WEIR_REASON_FRAGMENT, WEIR_RULE_NONE);
	return res->enforced != WEIR_PASS;
}

/*
 * The same conversation as the other side would have opened it. The MAC address that is known is then the
 * responder's: what the originator's was, nobody saw.
 */
WEIR_INLINE void weir_facts_reverse(struct weir_facts *f)
{
#define SWAP(T, x, y)            \
	do {                     \
		T swap_tmp = x;  \
		x = y;           \
		y = swap_tmp;    \
	} while (0)
#define SWAP_TUPLE(u)                                               \
	do {                                                        \
		uint8_t a[16];                                      \
		__builtin_memcpy(a, (u).src, 16);                   \
		__builtin_memcpy((u).src, (u).dst, 16);             \
		__builtin_memcpy((u).dst, a, 16);                   \
		SWAP(uint16_t, (u).sport, (u).dport);               \
	} while (0)
	SWAP_TUPLE(f->t);
	SWAP_TUPLE(f->orig);
	SWAP(uint64_t, f->in_if, f->out_if);
	SWAP(uint64_t, f->in_lower, f->out_lower);
	SWAP(uint32_t, f->src_class, f->dst_class);
	SWAP(uint32_t, f->osrc_class, f->odst_class);
	SWAP(uint32_t, f->sport_class, f->dport_class);
#undef SWAP_TUPLE
#undef SWAP
	f->icmp_type = weir_echo_reverse(f->family, f->icmp_type);
	f->known = (f->known & ~(uint32_t)(WEIR_K_IN_IF | WEIR_K_OUT_IF | WEIR_K_MAC)) |
		   (f->known & WEIR_K_IN_IF ? WEIR_K_OUT_IF : 0) | (f->known & WEIR_K_OUT_IF ? WEIR_K_IN_IF : 0);
	if (f->dir != WEIR_DIR_FWD)
		f->dir = f->dir == WEIR_DIR_IN ? WEIR_DIR_OUT : WEIR_DIR_IN;
}

/*
 * Facts of a packet, seen as if its sender opened the conversation. Interface bits, mark and orig are the
 * hook's to add. A packet that carries no ICMP or no ports has those facts known and absent: a condition
 * on them is FALSE. Only a later fragment does not know.
 */
WEIR_INLINE void weir_facts_init(struct weir_facts *f, const struct weir_pkt *p, uint32_t dir)
{
	__builtin_memset(f, 0, sizeof *f);
	f->t = p->t;
	f->dir = (uint8_t)dir;
	f->proto = p->proto;
	f->family = p->family;
	f->icmp_type = p->icmp_type;
	f->icmp_code = p->icmp_code;
	f->ttl = p->ttl;
	f->vlan[0] = p->vlan[0];
	f->vlan[1] = p->vlan[1];
	f->known = WEIR_K_VLAN | WEIR_K_TTL;
	if (p->frag != WEIR_FRAG_LATER)
		f->known |= WEIR_K_PORTS | WEIR_K_ICMP;
	if (p->has & WEIR_HAS_MAC) {
		f->mac = (uint64_t)weir_be32(p->smac) << 16 | weir_be16(p->smac + 4);
		f->known |= WEIR_K_MAC;
	}
}

/* The kernel programs bring their own: a function that is verified once and has its stack for itself. */
#ifndef WEIR_TURN_PROVIDED
WEIR_INLINE void weir_turn(struct weir_facts *f)
{
	weir_facts_reverse(f);
}
#endif

/*
 * Stage 2. `f` is the packet's own view (sender = originator), prepared. `opens` says that the packet can
 * only open a conversation (TCP SYN), so it is no reply. f is left as it was.
 */
WEIR_INLINE bool weir_judge_failsafe(const struct weir_img *img, const struct weir_config *cfg,
				     struct weir_facts *f, bool opens, struct weir_result *res)
{
	uint32_t c, known = f->known;

	if (!cfg->n_failsafe)
		return false;
	c = weir_classify_next(img, cfg, WEIR_FAILSAFE, f, 0, WEIR_SKIP_UNKNOWN);
	if (c == WEIR_SCAN_END && !opens) {
		weir_turn(f);
		c = weir_classify_next(img, cfg, WEIR_FAILSAFE, f, 0, WEIR_SKIP_UNKNOWN | WEIR_SKIP_ONE_WAY);
		weir_turn(f);
		f->known = known;
	}
	if (c == WEIR_SCAN_END || (c & WEIR_CAND_UNKNOWN))
		return false;
	weir_result_pass(res, WEIR_REASON_FAILSAFE, WEIR_RULE_FAILSAFE + WEIR_CAND_INDEX(c));
	return true;
}

/* Stage 3, blocklists: `remote` is the packet's source at ingress, its destination at egress. */
WEIR_INLINE bool weir_judge_blocklist(const struct weir_img *img, const struct weir_config *cfg,
				      const uint8_t remote[static 16], struct weir_result *res)
{
	uint32_t list = cfg->proto_features & WEIR_FEAT_BLOCKLIST ? weir_block_find(img, remote) : 0;

	if (!list)
		return false;
	weir_result_fixed(res, &cfg->blocklist, WEIR_REASON_BLOCKLIST, WEIR_RULE_BLOCKLIST + list - 1);
	return res->enforced != WEIR_PASS;
}

WEIR_INLINE uint32_t weir_dir_index(uint32_t dir)
{
	return dir == WEIR_DIR_IN ? 0 : dir == WEIR_DIR_OUT ? 1 : 2;
}

/* Something failed in the kernel while this packet was judged. */
WEIR_INLINE void weir_judge_error(const struct weir_config *cfg, struct weir_result *res)
{
	weir_result_fixed(res, &cfg->on_error, WEIR_REASON_ON_ERROR, WEIR_RULE_NONE);
}

WEIR_INLINE bool weir_simulates(const struct weir_config *cfg, uint32_t failure)
{
	return cfg->failures.simulate >> failure & 1;
}

/* failures.daemon_dead: has nobody given a sign of life for too long, and does the policy say what then? */
WEIR_INLINE bool weir_daemon_dead(const struct weir_config *cfg, uint64_t alive, uint64_t now)
{
	if (cfg->failures.choice[WEIR_FAILURE_DAEMON_DEAD] == WEIR_DAEMON_KEEP)
		return false;
	if (weir_simulates(cfg, WEIR_FAILURE_DAEMON_DEAD))
		return true;
	return alive && alive != UINT64_MAX && now > alive &&
	       now - alive > cfg->failures.daemon_after_s * 1000000000ull;
}

/* A verdict of weir's own failing, whatever an earlier stage said. In mode detect it is only wanted. */
WEIR_INLINE void weir_judge_failed(const struct weir_config *cfg, uint32_t reason, struct weir_result *res)
{
	struct weir_fixed x = { .action = WEIR_ACT_DROP, .mode = (uint8_t)cfg->mode };

	res->wanted_reason = WEIR_REASON_NONE;
	weir_result_fixed(res, &x, reason, WEIR_RULE_NONE);
}

/* failures.fragment_lost: a later fragment is to be forwarded, and its first is not known. */
WEIR_INLINE void weir_judge_lost(const struct weir_config *cfg, struct weir_result *res)
{
	struct weir_fixed x = { .action = WEIR_ACT_DROP, .mode = (uint8_t)cfg->mode };

	if (cfg->failures.choice[WEIR_FAILURE_FRAGMENT] == WEIR_FRAGMENT_PASS)
		weir_result_pass(res, WEIR_REASON_FRAG_NO_FIRST, WEIR_RULE_NONE);
	else
		weir_result_fixed(res, &x, WEIR_REASON_FRAG_NO_FIRST, WEIR_RULE_NONE);
}

/* failures.flow_table_full: the packet was to pass, and no table took its flow. The failsafe needs no flow. */
WEIR_INLINE void weir_judge_refused(const struct weir_config *cfg, struct weir_result *res)
{
	if (cfg->failures.choice[WEIR_FAILURE_TABLE_FULL] != WEIR_TABLE_PASS &&
	    res->enforced_reason != WEIR_REASON_FAILSAFE)
		weir_judge_failed(cfg, WEIR_REASON_TABLE_FULL, res);
}

/* Was a flow refused within the last so many seconds? `table_full`: when the last was, 0: none. */
WEIR_INLINE bool weir_table_full(uint64_t table_full, uint64_t now, uint32_t seconds)
{
	return table_full && (int64_t)(now - table_full) < (int64_t)(seconds * 1000000000ull); /* another CPU may be ahead */
}

/*
 * Does a failure forbid every new conversation: the audit log cannot be written (a flag of the image), or a table was
 * full within the last second (drop_all)? True when the packet is stopped by it.
 */
WEIR_INLINE bool weir_judge_blocked(const struct weir_config *cfg, uint64_t table_full, uint64_t now,
				    struct weir_result *res)
{
	struct weir_fixed x = { .action = WEIR_ACT_DROP, .mode = (uint8_t)cfg->mode };
	uint32_t reason = cfg->block_new;

	if (!reason && cfg->failures.choice[WEIR_FAILURE_TABLE_FULL] == WEIR_TABLE_DROP_ALL &&
	    weir_table_full(table_full, now, 1))
		reason = WEIR_REASON_TABLE_FULL;
	if (!reason)
		return false;
	weir_result_fixed(res, &x, reason, WEIR_RULE_NONE);
	return res->enforced != WEIR_PASS;
}

/*
 * Stage 6. What an earlier, staged stage wanted (a blocklist, a ban, a fragment verdict in mode detect) stays
 * wanted; `staged` = weir_result_staged(res) then spares the walk the staged rules. What stays unknown for
 * ever: an allow does not match, a denial does.
 */
WEIR_INLINE void weir_judge_rules(const struct weir_img *img, const struct weir_config *cfg,
				  const struct weir_facts *f, bool staged, struct weir_result *res)
{
	const struct weir_fixed *d;
	uint32_t at = 0, skip = WEIR_SKIP_UNKNOWN | (staged ? WEIR_SKIP_DETECT : 0), rule;

	for (int i = 0; i < WEIR_WALK_MAX; i++) {
		uint32_t c = weir_classify_next(img, cfg, WEIR_RULES, f, at, skip);
		const struct weir_rule_head *r;

		if (c == WEIR_SCAN_END)
			goto defaults;
		at = WEIR_CAND_INDEX(c) + 1;
		r = weir_img_head(img, WEIR_CAND_INDEX(c));
		if (!r)
			break;
		if ((r->flags & WEIR_RF_LOG) || r->action == WEIR_ACT_LOG) {
			if (res->log_rule == WEIR_RULE_NONE)
				res->log_rule = WEIR_CAND_INDEX(c);
			res->log = 1;
			if (r->action == WEIR_ACT_LOG) {
				skip |= WEIR_SKIP_LOG;
				continue;
			}
		}
		if (r->action == WEIR_ACT_BAN) { /* staged: the event says that it would */
			res->log_rule = WEIR_CAND_INDEX(c);
			res->log = 1;
			res->ban = r->mode == WEIR_PREVENT;
			skip |= WEIR_SKIP_STAGED_BAN | (r->mode == WEIR_PREVENT ? WEIR_SKIP_BAN : 0);
			continue;
		}
		weir_result_want(res, weir_action_verdict(r->action), WEIR_REASON_RULE, WEIR_CAND_INDEX(c));
		if (r->mode == WEIR_PREVENT) {
			weir_result_enforce(res, weir_action_verdict(r->action), WEIR_REASON_RULE, WEIR_CAND_INDEX(c));
			return;
		}
		skip |= WEIR_SKIP_DETECT;
	}
	weir_judge_error(cfg, res);
	return;
defaults:
	d = &cfg->defaults[weir_dir_index(f->dir)];
	rule = WEIR_RULE_DEFAULT_IN + weir_dir_index(f->dir);
	weir_result_fixed(res, d, WEIR_REASON_DEFAULT, rule);
}
