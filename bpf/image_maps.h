/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The accessors of core/classify.h over maps, and the calls into the functions that are verified once. */
#pragma once
#include "bpf/maps.h"
#include "core/late.h"

/* generation: how many rules came since it was compiled (core/late.h); the keeper has it mapped and writes it */
__weak volatile uint32_t weir_late_used SEC(".bss");

struct weir_img {
	char none; /* the image is the maps; pass NULL */
};

/*
 * Behind a call whose map depends on what came before: merged with its sister it would be one call with either map, of which
 * the kernel cannot make the short way into an array or a table.
 */
#define WEIR_APART(found) __asm__ volatile("" : "+r"(found))

static inline const struct weir_rule *weir_img_rule(const struct weir_img *img, uint32_t which, uint32_t i)
{
	uint32_t key = i; /* never the address of a loop counter: the verifier forgets what it knew of it */
	const struct weir_rule *r;

	if (!which)
		return bpf_map_lookup_elem(&weir_rules, &key);
	r = bpf_map_lookup_elem(&weir_failsafe, &key);
	WEIR_APART(r);
	return r;
}

static inline const struct weir_rule_head *weir_img_head(const struct weir_img *img, uint32_t i)
{
	uint32_t key = i / WEIR_HEADS;
	const struct weir_heads *h = bpf_map_lookup_elem(&weir_heads, &key);

	return h ? &h->v[i % WEIR_HEADS] : 0;
}

/* Part `i` of a map, or NULL behind its end. */
#define WEIR_IMG_AT(name, map, type)                                           \
	static inline const type *name(const struct weir_img *img, uint32_t i) \
	{                                                                      \
		return bpf_map_lookup_elem(&map, &i);                          \
	}

WEIR_IMG_AT(weir_img_neg, weir_negs, struct weir_cond)
WEIR_IMG_AT(weir_img_span, weir_spans, struct weir_span)
WEIR_IMG_AT(weir_img_tree_line, weir_tree, struct weir_tree_line)
WEIR_IMG_AT(weir_img_bound4, weir_bounds4, struct weir_bound4)
WEIR_IMG_AT(weir_img_bound6, weir_bounds6, struct weir_bound6)
WEIR_IMG_AT(weir_img_bound_port, weir_bounds_p, struct weir_bound4)
WEIR_IMG_AT(weir_img_block_line, weir_block, struct weir_block_line)
WEIR_IMG_AT(weir_img_limit, weir_limits, struct weir_limit)
#undef WEIR_IMG_AT

static inline uint64_t weir_img_times_at(const struct weir_img *img, uint32_t minute)
{
	uint64_t *bits = bpf_map_lookup_elem(&weir_times, &minute);

	return bits ? *bits : 0;
}

static inline uint32_t weir_img_late_used(const struct weir_img *img)
{
	return weir_late_used;
}

static inline uint64_t weir_img_addr_word(const struct weir_img *img, uint32_t row, uint32_t word)
{
	uint32_t key = row * weir_config()->row_words_addr + word;
	const uint64_t *w = bpf_map_lookup_elem(&weir_addr_rows, &key);

	return w ? *w : 0;
}

static inline uint64_t weir_img_port_word(const struct weir_img *img, uint32_t row, uint32_t word)
{
	uint32_t key = row * weir_config()->row_words_port + word;
	const uint64_t *w = bpf_map_lookup_elem(&weir_port_rows, &key);

	return w ? *w : 0;
}

WEIR_INLINE struct weir_scratch *weir_scratch_get(void)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(&weir_scratch, &zero);
}

/* classify.bpf.c: verified once each, on the facts in the scratch map */
int weir_search4(uint32_t n, uint32_t key);
int weir_search6(uint32_t n, uint64_t hi, uint64_t lo);
int weir_search_port(uint32_t n, uint32_t port);
int weir_addr_match(uint32_t of, uint32_t ref);
int weir_block_search4(uint32_t a);
int weir_block_search6(uint64_t hi, uint64_t lo);
int weir_match(uint32_t at, uint32_t which, uint32_t neg);
int weir_tree_scan_lines(uint32_t line, uint32_t end);
int weir_tree_skip_lines(uint32_t line, uint32_t end);
int weir_tree_roots(void);
int weir_tree_addresses(uint32_t pair);
int weir_next_rule(uint32_t from, uint32_t skip);
int weir_sieve_rules(uint32_t skip);
int weir_scan_rules(uint32_t from, uint32_t skip);
int weir_scan_later(uint32_t from, uint32_t skip);
int weir_scan_failsafe(uint32_t skip);
int weir_prepare(void);
int weir_rules_stage(uint32_t staged);
int weir_reverse(void);

#define WEIR_FIND_PROVIDED
WEIR_INLINE uint32_t weir_find4(const struct weir_img *img, uint32_t n, uint32_t key)
{
	return (uint32_t)weir_search4(n, key);
}

WEIR_INLINE uint32_t weir_find6(const struct weir_img *img, uint32_t n, uint64_t hi, uint64_t lo)
{
	return (uint32_t)weir_search6(n, hi, lo);
}

WEIR_INLINE uint32_t weir_find_port(const struct weir_img *img, uint32_t n, uint32_t port)
{
	return (uint32_t)weir_search_port(n, port);
}

#define WEIR_BLOCK_FIND_PROVIDED
WEIR_INLINE uint32_t weir_block_find4(const struct weir_img *img, uint32_t a)
{
	return (uint32_t)weir_block_search4(a);
}

WEIR_INLINE uint32_t weir_block_find6(const struct weir_img *img, uint64_t hi, uint64_t lo)
{
	return (uint32_t)weir_block_search6(hi, lo);
}

#define WEIR_TREE_PARTS_PROVIDED
WEIR_INLINE bool weir_tree_scan_part(const struct weir_img *img, struct weir_tree_key *k, uint32_t line, uint32_t end)
{
	return weir_tree_scan_lines(line, end);
}

WEIR_INLINE uint32_t weir_tree_skip_part(const struct weir_img *img, const struct weir_tree_key *k, uint32_t line,
					 uint32_t end)
{
	return (uint32_t)weir_tree_skip_lines(line, end);
}

WEIR_INLINE void weir_tree_lowest_part(const struct weir_img *img, struct weir_tree_key *k)
{
	weir_tree_roots();
}

WEIR_INLINE void weir_tree_pair_part(struct weir_tree_key *k, const struct weir_facts *f, uint32_t pair)
{
	weir_tree_addresses(pair);
}

#define WEIR_ADDR_IN_PROVIDED
WEIR_INLINE bool weir_addr_in(const struct weir_img *img, const struct weir_facts *f, uint32_t of, uint32_t ref)
{
	return weir_addr_match(of, ref);
}

#define WEIR_COND_MATCH_PROVIDED
WEIR_INLINE enum weir_tri weir_cond_match(const struct weir_img *img, const struct weir_config *cfg, uint32_t which,
					  uint32_t at, bool neg, const struct weir_facts *f)
{
	return (enum weir_tri)weir_match(at, which, neg);
}

#define WEIR_CLASSIFY_NEXT_PROVIDED
WEIR_INLINE uint32_t weir_classify_next(const struct weir_img *img, const struct weir_config *cfg, uint32_t which,
					const struct weir_facts *f, uint32_t from, uint32_t skip)
{
	/* of the failsafe the first is all that anybody asks for */
	return (uint32_t)(which ? weir_scan_failsafe(skip) : weir_next_rule(from, skip));
}

#define WEIR_TURN_PROVIDED
WEIR_INLINE void weir_turn(struct weir_facts *f)
{
	weir_reverse(); /* of the facts in the scratch map: there are no others */
}

#include "core/policy.h"

WEIR_INLINE struct weir_control *weir_control_get(void)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(&weir_control, &zero);
}
