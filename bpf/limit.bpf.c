/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Limits, asked in their order; what a bucket is stands in core/limit.h. TC takes tokens. XDP only looks, and drops what
 * TC would find refused: so nothing counts twice. Packets of the self-test find no limits.
 */
#include "bpf/limit.h"

/* How much of what the limit counts the packet is. What was put together (GSO, GRO) counts as what was sent. */
WEIR_INLINE uint64_t weir_limit_amount(const struct weir_scratch *s, uint32_t count)
{
	uint64_t len = s->pkt.ip_len, heads = s->pkt.ip_len - s->pkt.payload_len;

	if (count >= WEIR_LIMIT_CONNECTIONS)
		return 1;
	if (count == WEIR_LIMIT_PACKETS)
		return s->segs;
	return s->segs > 1 && heads < 256 ? len + heads * (s->segs - 1) : len;
}

/* Limit i counts the packet, and its bucket is empty: 1. */
__noinline int weir_limit_one(uint32_t i, uint32_t what)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_control *ctl = weir_control_get();
	const struct weir_limit *l = weir_img_limit(0, i);
	struct weir_limit_line *a, *b;
	struct weir_limit_slot *slot;
	const uint8_t *src;
	uint64_t now, key, n;
	uint32_t line, at;
	bool passed;

	if (!s || !ctl || !l || !(what >> (l->count & 7) & 1))
		return 0;
	src = s->hook == WEIR_HOOK_TC_OUT && s->facts.has_orig ? s->facts.orig.src : s->pkt.t.src;
	key = weir_limit_key(l, weir_be64(src), weir_be64(src + 8), ctl->limit_seed);
	line = weir_limit_line(l, key, 0);
	a = bpf_map_lookup_elem(&weir_buckets, &line);
	line = weir_limit_line(l, key, 1);
	b = bpf_map_lookup_elem(&weir_buckets, &line);
	if (!a || !b)
		return 0;
	now = weir_limit_clock(bpf_ktime_get_boot_ns());
	at = weir_limit_pick(l, a->slot, b->slot, key, now);
	if (at >= WEIR_LIMIT_WAYS) {
		at -= WEIR_LIMIT_WAYS;
		a = b;
	}
	if (at >= WEIR_LIMIT_WAYS)
		return 0;
	slot = &a->slot[at];
	if (slot->key == key && weir_limit_refuses(l, slot->full, now))
		return 1;
	if (what & WEIR_LIMIT_PEEK)
		return 0;
	n = weir_limit_amount(s, l->count);
	bpf_spin_lock(&a->lock);
	passed = weir_limit_take(l, slot, key, now, n);
	bpf_spin_unlock(&a->lock);
	return !passed;
}

/* Stage 4, and the first of stage 6. `what`: a bit for each WEIR_LIMIT_PACKETS ...; 1: stopped, the result is set. */
__noinline int weir_limit_stage(uint32_t what)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_config *cfg = weir_config();

	if (!s || (s->ifflags & WEIR_IF_TEST))
		return 0;
	for (uint32_t i = 0; i < WEIR_LIMITS_MAX; i++) {
		const struct weir_limit *l;
		struct weir_fixed x = { 0 };

		if (i >= cfg->n_limits)
			break;
		l = weir_img_limit(0, i);
		if (!l || l->count == WEIR_LIMIT_RULE) /* these stand last */
			break;
		if (!weir_limit_one(i, what))
			continue;
		x.action = l->action;
		x.mode = l->mode;
		x.log = l->log;
		weir_result_fixed(&s->res, &x, WEIR_REASON_LIMIT, WEIR_RULE_LIMIT + i);
		if (l->ban_s && l->mode == WEIR_PREVENT) {
			s->ban_s = l->ban_s;
			s->ban_rule = WEIR_RULE_LIMIT + i;
		}
		if (s->res.enforced != WEIR_PASS)
			return 1;
	}
	return 0;
}

__noinline int weir_limit_rule(void)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_rule *r;
	const struct weir_limit *l;
	uint32_t i;

	if (!s || s->res.enforced != WEIR_PASS || (s->ifflags & WEIR_IF_TEST))
		return 0;
	r = weir_img_rule(0, WEIR_RULES, s->res.enforced_reason == WEIR_REASON_RULE ? s->res.enforced_rule : s->res.wanted_rule);
	if (!r || r->action != WEIR_ACT_ALLOW || !r->limit)
		return 0;
	i = r->limit - 1;
	l = weir_img_limit(0, i);
	if (!l || !weir_limit_one(i, WEIR_LIMIT_OF_RULE))
		return 0;
	if (l->log)
		s->res.log = 1;
	if (s->res.wanted == WEIR_PASS) {
		s->res.wanted = weir_action_verdict(l->action);
		s->res.wanted_reason = WEIR_REASON_LIMIT;
		s->res.wanted_rule = WEIR_RULE_LIMIT + i;
	}
	if (l->mode != WEIR_PREVENT)
		return 0;
	weir_result_enforce(&s->res, weir_action_verdict(l->action), WEIR_REASON_LIMIT, WEIR_RULE_LIMIT + i);
	return 1;
}
