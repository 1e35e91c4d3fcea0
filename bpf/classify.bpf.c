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

/* In which blocklist is it? */
__noinline int weir_block_search4(uint32_t a)
{
	return (int)weir_block_list4(0, a);
}

__noinline int weir_block_search6(uint64_t hi, uint64_t lo)
{
	return (int)weir_block_list6(0, hi, lo);
}

/* One address of the facts (WEIR_OF_*) against a list or a span. */
__noinline int weir_addr_match(uint32_t of, uint32_t ref)
{
	struct weir_scratch *s = weir_scratch_get();

	return s && weir_addr_holds(0, &s->facts, of, ref);
}

/* One conjunction of one rule, or a negated group. */
__noinline int weir_match(uint32_t at, uint32_t which, uint32_t neg)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_rule *r = 0;
	const struct weir_cond *c;

	if (neg) {
		c = weir_img_neg(0, at);
		WEIR_APART(c);
	} else {
		r = weir_img_rule(0, which, at);
		c = r ? &r->pos : 0;
	}
	if (!s || !c)
		return WEIR_FALSE;
	return weir_cond_eval(0, c, &s->facts, weir_config()->conds_used);
}

/* The parts of core/tree.h, on the key in the scratch map. */
__noinline int weir_tree_scan_lines(uint32_t line, uint32_t end)
{
	struct weir_scratch *s = weir_scratch_get();

	return !s || weir_tree_scan(0, &s->tree_key, line, end);
}

__noinline int weir_tree_skip_lines(uint32_t line, uint32_t end)
{
	struct weir_scratch *s = weir_scratch_get();

	return s ? (int)weir_tree_skip(0, line, end, s->tree_key.from, s->tree_key.family == 6) : (int)line;
}

__noinline int weir_tree_roots(void)
{
	struct weir_scratch *s = weir_scratch_get();

	if (s)
		weir_tree_lowest(0, &s->tree_key);
	return 0;
}

__noinline int weir_tree_addresses(uint32_t pair)
{
	struct weir_scratch *s = weir_scratch_get();

	if (s)
		weir_tree_pair(&s->tree_key, &s->facts, pair);
	return 0;
}

/* One stretch of what the trees find; it begins at s->scan_from, and leaves there where to go on. */
__noinline int weir_sieve_rules(uint32_t skip)
{
	struct weir_scratch *s = weir_scratch_get();

	uint32_t c;

	if (!s)
		return (int)WEIR_SCAN_END;
	c = weir_sieve_chunk(0, weir_config(), &s->tree_key, &s->facts, &s->scan_from, skip);
	return (int)(c == WEIR_SCAN_MORE ? c : weir_first_of(s->scan_late, c));
}

/* What comes first among the later rules, for weir_sieve_rules. In memory: a register would split its states. */
__noinline int weir_scan_later(uint32_t from, uint32_t skip)
{
	struct weir_scratch *s = weir_scratch_get();

	if (s && weir_late_ahead(weir_config(), weir_late_used, from))
		s->scan_late = weir_scan_late(0, weir_config(), &s->facts, from, skip);
	return 0;
}

/* One stretch of rules; see weir_scan_chunk. */
__noinline int weir_scan_rules(uint32_t from, uint32_t skip)
{
	struct weir_scratch *s = weir_scratch_get();

	if (!s)
		return (int)WEIR_SCAN_END;
	return (int)weir_scan_chunk(0, weir_config(), WEIR_RULES, &s->facts, from, skip);
}

/* Rules never see a later fragment, so ports are known. */
WEIR_INLINE int weir_next_by_trees(uint32_t from, uint32_t skip)
{
	struct weir_scratch *s = weir_scratch_get();
	uint32_t c;

	if (!s)
		return (int)WEIR_SCAN_END;
	s->scan_from = from;
	s->scan_late = WEIR_SCAN_END;
	if (weir_config()->n_late)
		weir_scan_later(from, skip);
	for (int k = 0; k < WEIR_SIEVE_CALLS; k++) {
		c = (uint32_t)weir_sieve_rules(skip);
		if (c != WEIR_SCAN_MORE)
			return (int)c;
	}
	return (int)s->scan_late;
}

/*
 * The first candidate from `from` on, or WEIR_SCAN_END. Verified by itself: within the loop over candidates the verifier
 * would go through these loops for each.
 */
__noinline int weir_next_rule(uint32_t from, uint32_t skip)
{
	uint32_t c;

	if (weir_config()->tree_lines)
		return weir_next_by_trees(from, skip);
	for (int k = 0; k < (WEIR_LINEAR_MAX + WEIR_LATE_MAX) / WEIR_SCAN_CHUNK; k++) {
		if (from >= weir_config()->n_rules)
			break;
		c = (uint32_t)weir_scan_rules(from, skip);
		if (c != WEIR_SCAN_END)
			return (int)c;
		from += WEIR_SCAN_CHUNK;
	}
	return (int)WEIR_SCAN_END;
}

/* Look up the classes of the facts' addresses and ports. */
__noinline int weir_prepare(void)
{
	struct weir_scratch *s = weir_scratch_get();

	if (s)
		weir_classify_prepare(0, weir_config(), &s->facts);
	return 0;
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
