/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Stage 3, for TC and XDP: who is banned or listed. */
#pragma once
#include "bpf/emit.h"
#include "bpf/limit.h"

/* Bans of the packet's remote end, then blocklists. True when it is stopped. `unlisted`: the blocklists were asked already. */
WEIR_INLINE bool weir_stage_lists(struct weir_scratch *s, bool unlisted)
{
	const struct weir_config *cfg = weir_config();
	bool in = s->hook != WEIR_HOOK_TC_OUT;
	struct weir_ban_key *k = &s->ban_key;
	struct weir_ban *b = 0;

	k->prefixlen = 128;
	weir_copy16(k->addr, in ? s->pkt.t.src : s->pkt.t.dst);
	if (s->edit) /* no ban was ever set: no lookup */
		b = bpf_map_lookup_elem(&weir_bans, k);
	if (b && (!b->until || b->until > bpf_ktime_get_boot_ns())) {
		struct weir_fixed x = cfg->ban;

		if (b->mode == WEIR_DETECT)
			x.mode = WEIR_DETECT;
		weir_result_fixed(&s->res, &x, WEIR_REASON_BAN, WEIR_RULE_NONE);
		if (s->res.enforced != WEIR_PASS)
			return true;
	}
	if (s->caught && weir_is_caught()) {
		weir_result_fixed(&s->res, &cfg->ban, WEIR_REASON_BAN, WEIR_RULE_NONE);
		if (s->res.enforced != WEIR_PASS)
			return true;
	}
	return !unlisted && weir_judge_blocklist(0, cfg, k->addr, &s->res);
}
