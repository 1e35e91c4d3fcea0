/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bans for a time, made here because a rule or a limit says so, with nobody else alive. They end by themselves; the flows
 * of who is banned are judged again as long as they last. What this host sends itself bans nobody.
 */
#include "bpf/lists.h"

__noinline int weir_is_caught(void)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_caught *c;
	const uint8_t *addr;

	if (!s)
		return 0;
	addr = s->hook == WEIR_HOOK_TC_OUT ? s->pkt.t.dst : s->pkt.t.src;
	weir_caught_key(addr, &s->caught_key);
	c = bpf_map_lookup_elem(&weir_caught, &s->caught_key);
	if (c && c->until > bpf_ktime_get_boot_ns())
		return 1;
	if (weir_addr_is_v4(addr))
		return 0;
	__builtin_memcpy(s->caught_key.addr, addr, 16);
	c = bpf_map_lookup_elem(&weir_caught, &s->caught_key);
	return c && c->until > bpf_ktime_get_boot_ns();
}

/* Whom a ban of this source hits: in s->caught_key. 0: nobody, it is this host's or nobody's. */
WEIR_INLINE int weir_catch_whom(struct weir_scratch *s, const uint8_t *addr)
{
	struct weir_caught_key *k = &s->caught_key;

	__builtin_memcpy(k->addr, addr, 16);
	if (weir_caught_never(k->addr) || bpf_map_lookup_elem(&weir_own, k))
		return 0;
	weir_caught_key(addr, k);
	if (!weir_addr_is_v4(addr) && (weir_caught_link_local(addr) || bpf_map_lookup_elem(&weir_own, k)))
		__builtin_memcpy(k->addr, addr, 16);
	return weir_caught_alone(addr) || !weir_caught_link_local(addr);
}

__noinline int weir_catch(void)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_control *ctl = weir_control_get();
	struct weir_caught c = { 0 };
	bool out;

	if (!s || !ctl)
		return 0;
	out = s->hook == WEIR_HOOK_TC_OUT;
	if (!s->ban_s || (s->ifflags & WEIR_IF_TEST) || (out && !s->in_ifindex))
		return 0;
	c.until = bpf_ktime_get_boot_ns() + s->ban_s * 1000000000ull;
	c.rule = s->ban_rule;
	c.epoch = weir_config()->epoch;
	s->ban_s = 0;
	if (!weir_catch_whom(s, out && s->facts.has_orig ? s->facts.orig.src : s->pkt.t.src))
		return 0;
	if (bpf_map_update_elem(&weir_caught, &s->caught_key, &c, BPF_ANY)) {
		weir_stat(WEIR_STAT_ERROR);
		return 0;
	}
	for (int i = 0; i < 2; i++) { /* another CPU may have written an earlier end over it */
		if (*(volatile uint64_t *)&ctl->caught_until < c.until)
			*(volatile uint64_t *)&ctl->caught_until = c.until;
	}
	return 1;
}

/* Stage 3 at TC. 1: it is stopped. */
__noinline int weir_lists_stage(void)
{
	struct weir_scratch *s = weir_scratch_get();

	return s && weir_stage_lists(s, false);
}
