/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The expensive parts of a judgement as global functions: the verifier checks each once, whatever calls
 * it, so their loops do not multiply with the callers' branches. State stands in the scratch map.
 */
#include "bpf/image_maps.h"

/* The binary searches; n is an argument so that the verifier takes it for unknown. */
__noinline int weir_search4(uint32_t n, uint32_t key)
{
	return (int)weir_class4(0, n, key);
}

__noinline int weir_search6(uint32_t n, uint64_t hi, uint64_t lo)
{
	return (int)weir_class6(0, n, hi, lo);
}

__noinline int weir_search_port(uint32_t n, uint32_t port)
{
	return (int)weir_class_port(0, n, port);
}

/* One conjunction of one rule. */
__noinline int weir_match(uint32_t at, uint32_t which, uint32_t neg)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_rule *r = weir_img_rule(0, which, at);

	if (!s || !r)
		return WEIR_FALSE;
	return weir_cond_eval(0, neg ? &r->neg : &r->pos, &s->facts, weir_config()->conds_used);
}

/* One stretch of rules; see weir_scan_chunk. */
__noinline int weir_scan_rules(uint32_t from, uint32_t skip)
{
	struct weir_scratch *s = weir_scratch_get();

	if (!s)
		return (int)WEIR_SCAN_END;
	return (int)weir_scan_chunk(0, weir_config(), WEIR_RULES, &s->facts, from, skip);
}

__noinline int weir_scan_failsafe(uint32_t from, uint32_t skip)
{
	struct weir_scratch *s = weir_scratch_get();

	if (!s)
		return (int)WEIR_SCAN_END;
	return (int)weir_scan_chunk(0, weir_config(), WEIR_FAILSAFE, &s->facts, from, skip);
}

/* Look up the classes of the facts' addresses and ports. */
__noinline int weir_prepare(void)
{
	struct weir_scratch *s = weir_scratch_get();

	if (s)
		weir_classify_prepare(0, weir_config(), &s->facts);
	return 0;
}

/* Stage 2 on the facts (the packet's own view). 1: admitted, result in res. */
__noinline int weir_failsafe_stage(uint32_t opens)
{
	struct weir_scratch *s = weir_scratch_get();

	return s && weir_judge_failsafe(0, weir_config(), &s->facts, opens, &s->res);
}

/* Stage 6 on the facts, result in res. */
__noinline int weir_rules_stage(uint32_t staged)
{
	struct weir_scratch *s = weir_scratch_get();

	if (s)
		weir_judge_rules(0, weir_config(), &s->facts, staged, &s->res);
	return 0;
}

__noinline int weir_reverse(void)
{
	struct weir_scratch *s = weir_scratch_get();

	if (s)
		weir_facts_reverse(&s->facts);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
