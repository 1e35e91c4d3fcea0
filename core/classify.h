/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Matching: which rules may hold for these facts, in rule order.
 *
 * The image is reached through the accessors below, which the including file defines first: over maps in
 * the kernel (bpf/image_maps.h), over the flat blob elsewhere (core/image_blob.h). Each returns NULL past
 * the end. `which` is WEIR_RULES or WEIR_FAILSAFE.
 *
 *   const struct weir_rule   *weir_img_rule(const struct weir_img *, uint32_t which, uint32_t i);
 *   const struct weir_rule_head *weir_img_head(const struct weir_img *, uint32_t i); that of WEIR_RULES
 *   const struct weir_cond   *weir_img_neg(const struct weir_img *, uint32_t i);
 *   const struct weir_span   *weir_img_span(const struct weir_img *, uint32_t i);
 *   const struct weir_tree_line *weir_img_tree_line(const struct weir_img *, uint32_t i);
 *   const struct weir_bound4 *weir_img_bound4(const struct weir_img *, uint32_t i);
 *   const struct weir_bound6 *weir_img_bound6(const struct weir_img *, uint32_t i);
 *   const struct weir_bound4 *weir_img_bound_port(const struct weir_img *, uint32_t i);
 *   uint64_t weir_img_times_at(const struct weir_img *, uint32_t minute);
 *   uint32_t weir_img_late_used(const struct weir_img *);
 *   uint64_t weir_img_addr_word(const struct weir_img *, uint32_t row, uint32_t word);
 *   uint64_t weir_img_port_word(const struct weir_img *, uint32_t row, uint32_t word);
 */
#pragma once
#include "core/facts.h"
#include "core/image.h"
#include "core/late.h"
#include "core/tree.h"

enum { WEIR_RULES = 0, WEIR_FAILSAFE = 1 };


/*
 * What is no candidate: what the walk has already (a staged rule, a log rule, a ban), an allow, a log or a ban over facts
 * that stay unknown for ever, an entry of the failsafe that admits no replies.
 */
enum {
	WEIR_SKIP_DETECT = 1,
	WEIR_SKIP_LOG = 2,
	WEIR_SKIP_UNKNOWN = 4,
	WEIR_SKIP_ONE_WAY = 8,
	WEIR_SKIP_BAN = 16,
	WEIR_SKIP_STAGED_BAN = 32,
};

WEIR_INLINE uint32_t weir_class4(const struct weir_img *img, uint32_t n, uint32_t key)
{
	const struct weir_bound4 *b;
	uint32_t lo = 0, hi = n;

	for (int step = 0; step < WEIR_SEARCH_STEPS; step++) {
		uint32_t mid = (lo + hi) >> 1;

		if (hi - lo <= 1 || hi < lo)
			break;
		b = weir_img_bound4(img, mid);
		if (!b)
			return 0;
		if (b->low <= key)
			lo = mid;
		else
			hi = mid;
	}
	b = weir_img_bound4(img, lo);
	return b ? b->class_id : 0;
}

WEIR_INLINE uint32_t weir_class_port(const struct weir_img *img, uint32_t n, uint32_t key)
{
	const struct weir_bound4 *b;
	uint32_t lo = 0, hi = n;

	for (int step = 0; step < 17; step++) { /* 65,536 ports at most */
		uint32_t mid = (lo + hi) >> 1;

		if (hi - lo <= 1 || hi < lo)
			break;
		b = weir_img_bound_port(img, mid);
		if (!b)
			return 0;
		if (b->low <= key)
			lo = mid;
		else
			hi = mid;
	}
	b = weir_img_bound_port(img, lo);
	return b ? b->class_id : 0;
}

WEIR_INLINE uint32_t weir_class6(const struct weir_img *img, uint32_t n, uint64_t khi, uint64_t klo)
{
	const struct weir_bound6 *b;
	uint32_t lo = 0, hi = n;

	for (int step = 0; step < WEIR_SEARCH_STEPS; step++) {
		uint32_t mid = (lo + hi) >> 1;

		if (hi - lo <= 1 || hi < lo)
			break;
		b = weir_img_bound6(img, mid);
		if (!b)
			return 0;
		if (b->hi < khi || (b->hi == khi && b->lo <= klo))
			lo = mid;
		else
			hi = mid;
	}
	b = weir_img_bound6(img, lo);
	return b ? b->class_id : 0;
}

/*
 * The kernel programs bring their own searches: global functions, to whose verifier `n` is a number like any
 * other. With the constant of the policy in its place it follows each way through the table by itself, and
 * gives up at a million instructions from 100 bounds on (6.18).
 */
#ifndef WEIR_FIND_PROVIDED
static inline uint32_t weir_find4(const struct weir_img *img, uint32_t n, uint32_t key)
{
	return weir_class4(img, n, key);
}

static inline uint32_t weir_find6(const struct weir_img *img, uint32_t n, uint64_t hi, uint64_t lo)
{
	return weir_class6(img, n, hi, lo);
}

static inline uint32_t weir_find_port(const struct weir_img *img, uint32_t n, uint32_t port)
{
	return weir_class_port(img, n, port);
}
#endif

/* The class of an address: v4 and v6 have one numbering. */
WEIR_INLINE uint32_t weir_class_addr(const struct weir_img *img, const struct weir_config *cfg,
				     const uint8_t a[static 16])
{
	if (weir_addr_is_v4(a))
		return weir_find4(img, cfg->n_bounds4, weir_be32(a + 12));
	return weir_find6(img, cfg->n_bounds6, weir_be64(a), weir_be64(a + 8));
}

WEIR_INLINE bool weir_in_list(const struct weir_img *img, uint32_t class_id, uint32_t list)
{
	return list < WEIR_LISTS_MAX && (weir_img_addr_word(img, class_id, list >> 6) >> (list & 63) & 1);
}

/* Which address of the facts is asked about. */
enum { WEIR_OF_SRC = 0, WEIR_OF_DST = 1, WEIR_OF_ORIG = 2 };

/* Is a within? One comparison of two 128-bit numbers at each end, without branches. */
WEIR_INLINE bool weir_in_span(const struct weir_span *s, const uint8_t a[static 16])
{
	uint64_t hi = weir_be64(a), lo = weir_be64(a + 8);
	uint32_t below = (hi < s->lo_hi) | ((hi == s->lo_hi) & (lo < s->lo_lo));
	uint32_t above = (hi > s->hi_hi) | ((hi == s->hi_hi) & (lo > s->hi_lo));

	return !(below | above);
}

/* `ref`: an address list, or a span. `of`: WEIR_OF_*. */
WEIR_INLINE bool weir_addr_holds(const struct weir_img *img, const struct weir_facts *f, uint32_t of, uint32_t ref)
{
	const struct weir_tuple *t = of & WEIR_OF_ORIG ? &f->orig : &f->t;
	const struct weir_span *s;

	if (!(ref & WEIR_SPAN))
		return weir_in_list(img, of & WEIR_OF_ORIG ? (of & WEIR_OF_DST ? f->odst_class : f->osrc_class)
							   : (of & WEIR_OF_DST ? f->dst_class : f->src_class), ref);
	s = weir_img_span(img, ref & ~WEIR_SPAN);
	return s && weir_in_span(s, of & WEIR_OF_DST ? t->dst : t->src);
}

/* The kernel programs bring their own: a function that is verified once. */
#ifndef WEIR_ADDR_IN_PROVIDED
static inline bool weir_addr_in(const struct weir_img *img, const struct weir_facts *f, uint32_t of, uint32_t ref)
{
	return weir_addr_holds(img, f, of, ref);
}
#endif

WEIR_INLINE bool weir_in_ports(const struct weir_img *img, uint32_t port, uint32_t class_id, const struct weir_ports *p)
{
	if (p->list == WEIR_NO_LIST)
		return port >= p->lo && port <= p->hi;
	return p->list < WEIR_LISTS_MAX && (weir_img_port_word(img, class_id, p->list >> 6) >> (p->list & 63) & 1);
}

WEIR_INLINE bool weir_src_in(const struct weir_img *img, const struct weir_facts *f, uint32_t ref)
{
	return weir_addr_in(img, f, WEIR_OF_SRC, ref) ||
	       (f->has_orig && weir_addr_in(img, f, WEIR_OF_SRC | WEIR_OF_ORIG, ref));
}

WEIR_INLINE bool weir_dst_in(const struct weir_img *img, const struct weir_facts *f, uint32_t ref)
{
	return weir_addr_in(img, f, WEIR_OF_DST, ref) ||
	       (f->has_orig && weir_addr_in(img, f, WEIR_OF_DST | WEIR_OF_ORIG, ref));
}

WEIR_INLINE bool weir_peer_in(const struct weir_img *img, const struct weir_facts *f, uint32_t ref)
{
	if (f->dir == WEIR_DIR_IN)
		return weir_src_in(img, f, ref);
	if (f->dir == WEIR_DIR_OUT)
		return weir_dst_in(img, f, ref);
	return weir_src_in(img, f, ref) || weir_dst_in(img, f, ref);
}

WEIR_INLINE bool weir_icmp_in(const struct weir_cond *c, const struct weir_facts *f)
{
	for (uint32_t i = 0; i < WEIR_ICMP_MAX; i++) {
		const struct weir_icmp_match *m = &c->icmp[i];

		if (i >= c->n_icmp)
			break;
		if (m->family == f->family && m->type == f->icmp_type && f->icmp_code >= m->code_min &&
		    f->icmp_code <= m->code_max)
			return true;
	}
	return false;
}

WEIR_INLINE bool weir_vlan_in(const struct weir_cond *c, const struct weir_facts *f)
{
	for (uint32_t i = 0; i < WEIR_VLAN_MAX; i++) {
		if (i >= c->n_vlan)
			break;
		if (c->vlan[i] && (c->vlan[i] == f->vlan[0] || c->vlan[i] == f->vlan[1]))
			return true;
	}
	return false;
}

WEIR_INLINE bool weir_mac_in(const struct weir_cond *c, const struct weir_facts *f)
{
	for (uint32_t i = 0; i < WEIR_MAC_MAX; i++) {
		if (i >= c->n_mac)
			break;
		if (c->mac[i] == f->mac)
			return true;
	}
	return false;
}

WEIR_INLINE bool weir_proto_has_ports(uint32_t proto)
{
	return proto == WEIR_IPPROTO_TCP || proto == WEIR_IPPROTO_UDP || proto == WEIR_IPPROTO_SCTP ||
	       proto == WEIR_IPPROTO_UDPLITE;
}

/* A condition whose fact may be missing: FALSE when it is known and does not hold, UNKNOWN when not known. */
#define WEIR_NEED(bit, expression)                    \
	do {                                          \
		if (!(f->known & (bit)))              \
			t = WEIR_UNKNOWN;             \
		else if (!(expression))               \
			return WEIR_FALSE;            \
	} while (0)

/* The interfaces that a packet of this direction has. XDP knows none. Arithmetic: no branch for the verifier to follow. */
WEIR_INLINE uint32_t weir_ifs_needed(uint32_t dir)
{
	_Static_assert(WEIR_DIR_IN == 1 && WEIR_DIR_OUT == 2 && WEIR_DIR_FWD == 4, "as used");
	_Static_assert(WEIR_K_IN_IF == 16 && WEIR_K_OUT_IF == 32, "as used");
	return ((dir | (0u - (dir >> 2))) & 3) << 4;
}

/* Kleene AND over the present conditions; `used` (WEIR_C_*) folds away what no rule of the policy has. */
WEIR_INLINE enum weir_tri weir_cond_eval(const struct weir_img *img, const struct weir_cond *c,
					 const struct weir_facts *f, uint32_t used)
{
	enum weir_tri t = WEIR_TRUE;
	uint32_t set = c->set & used;
	uint64_t lower_in = 0, lower_out = 0;

	if ((set & WEIR_C_DIR) && !(c->dirs & f->dir))
		return WEIR_FALSE;
	if ((set & WEIR_C_PROTO) && !(c->protos[f->proto >> 6 & 3] >> (f->proto & 63) & 1))
		return WEIR_FALSE;
	if ((set & WEIR_C_FAMILY) && c->family != f->family)
		return WEIR_FALSE;
	if ((set & WEIR_C_FROM) && !weir_src_in(img, f, c->from))
		return WEIR_FALSE;
	if ((set & WEIR_C_TO) && !weir_dst_in(img, f, c->to))
		return WEIR_FALSE;
	if ((set & WEIR_C_PEER) && !weir_peer_in(img, f, c->peer))
		return WEIR_FALSE;
	/* an absent fact is FALSE, whatever number stands in its place: an echo's identifier is no port */
	if ((set & (WEIR_C_PORTS | WEIR_C_SPORTS)) && !weir_proto_has_ports(f->proto))
		return WEIR_FALSE;
	if ((set & WEIR_C_ICMP) && f->proto != (f->family == 4 ? WEIR_IPPROTO_ICMP : WEIR_IPPROTO_ICMPV6))
		return WEIR_FALSE;
	if (set & WEIR_C_PORTS)
		WEIR_NEED(WEIR_K_PORTS, weir_in_ports(img, f->t.dport, f->dport_class, &c->ports));
	if (set & WEIR_C_SPORTS)
		WEIR_NEED(WEIR_K_PORTS, weir_in_ports(img, f->t.sport, f->sport_class, &c->sports));
	if (set & WEIR_C_ICMP)
		WEIR_NEED(WEIR_K_ICMP, weir_icmp_in(c, f));
	if (set & WEIR_C_VLAN) {
		WEIR_NEED(WEIR_K_VLAN, weir_vlan_in(c, f));
		lower_in = f->in_lower; /* with a VLAN named, the parent's name means the same frame */
		lower_out = f->out_lower;
	}
	if (set & WEIR_C_IN_IF)
		WEIR_NEED(WEIR_K_IN_IF, c->in_if & (f->in_if | lower_in));
	if (set & WEIR_C_OUT_IF)
		WEIR_NEED(WEIR_K_OUT_IF, c->out_if & (f->out_if | lower_out));
	if ((set & WEIR_C_ANY_IF) && !(c->any_if & (f->in_if | f->out_if | lower_in | lower_out))) {
		if (!(weir_ifs_needed(f->dir) & ~f->known))
			return WEIR_FALSE;
		t = WEIR_UNKNOWN;
	}
	if (set & WEIR_C_MAC)
		WEIR_NEED(WEIR_K_MAC, weir_mac_in(c, f));
	if (set & WEIR_C_MARK)
		WEIR_NEED(WEIR_K_MARK, (f->mark & c->mark_mask) == c->mark);
	if (set & WEIR_C_TIME)
		WEIR_NEED(WEIR_K_TIME, f->times >> (c->time & 63) & 1);
	if (set & WEIR_C_TTL)
		WEIR_NEED(WEIR_K_TTL, f->ttl == c->ttl);
	return t;
}
#undef WEIR_NEED

/*
 * One conjunction: that of a rule, or with `neg` the negated group of this number. The kernel programs bring their
 * own (a global function, verified once: inlined into a loop over rules its branches multiply past what any kernel's
 * verifier follows).
 */
#ifndef WEIR_COND_MATCH_PROVIDED
static inline enum weir_tri weir_cond_match(const struct weir_img *img, const struct weir_config *cfg, uint32_t which,
					    uint32_t at, bool neg, const struct weir_facts *f)
{
	const struct weir_rule *r = neg ? NULL : weir_img_rule(img, which, at);
	const struct weir_cond *c = neg ? weir_img_neg(img, at) : r ? &r->pos : NULL;

	return c ? weir_cond_eval(img, c, f, cfg->conds_used) : WEIR_FALSE;
}
#endif

WEIR_INLINE enum weir_tri weir_rule_eval(const struct weir_img *img, const struct weir_config *cfg, uint32_t which,
					 uint32_t at, const struct weir_rule *r, const struct weir_facts *f)
{
	enum weir_tri pos, neg;

	if (r->flags & WEIR_RF_GONE)
		return WEIR_FALSE;
	pos = weir_cond_match(img, cfg, which, at, false, f);
	if (pos == WEIR_FALSE || !(r->flags & WEIR_RF_NOT))
		return pos;
	neg = weir_cond_match(img, cfg, which, r->neg, true, f);
	if (neg == WEIR_TRUE)
		return WEIR_FALSE;
	return neg == WEIR_FALSE ? pos : WEIR_UNKNOWN;
}

/*
 * The bits of WEIR_SKIP_* that would pass this rule over. Arithmetic and not branches: what the verifier
 * learns of `skip` from a branch it keeps for the rest of the loop, and the states multiply.
 */
WEIR_INLINE uint32_t weir_rule_kind(const struct weir_rule_head *r)
{
	uint32_t both = r->action & (uint32_t)r->action >> 1 & 1, odd = (r->action ^ (uint32_t)r->action >> 1) & 1;

	_Static_assert(WEIR_ACT_ALLOW == 0 && WEIR_ACT_LOG == 3 && WEIR_ACT_BAN == 4 && WEIR_DETECT == 0 && WEIR_PREVENT == 1, "as used");
	_Static_assert(WEIR_SKIP_ONE_WAY == (int)WEIR_RF_REPLY, "as used");
	return ((r->mode ^ 1u) & 1) * WEIR_SKIP_DETECT | both * WEIR_SKIP_LOG | (odd ^ 1) * WEIR_SKIP_UNKNOWN |
	       (~(uint32_t)r->flags & WEIR_RF_REPLY) | ((uint32_t)r->action >> 2 & 1) * (WEIR_SKIP_STAGED_BAN >> (r->mode & 1));
}

/* Is this rule a candidate? WEIR_SCAN_END: no. `skip` (WEIR_SKIP_*) says which rules are none. */
WEIR_INLINE uint32_t weir_candidate(const struct weir_img *img, const struct weir_config *cfg, uint32_t which,
				    uint32_t at, const struct weir_rule *r, const struct weir_facts *f, uint32_t skip)
{
	uint32_t kind = weir_rule_kind(&r->head);
	enum weir_tri t;

	if (skip & kind & ~(uint32_t)WEIR_SKIP_UNKNOWN)
		return WEIR_SCAN_END;
	t = weir_rule_eval(img, cfg, which, at, r, f);
	if (t == WEIR_FALSE || (t == WEIR_UNKNOWN && (skip & kind & WEIR_SKIP_UNKNOWN)))
		return WEIR_SCAN_END;
	return at | (t == WEIR_UNKNOWN ? WEIR_CAND_UNKNOWN : 0);
}

/*
 * The same where the facts lie in one of the rule's boxes: mostly that is all. A rule that goes has it in its head and in
 * itself; whichever comes first, it is gone with the second.
 */
WEIR_INLINE uint32_t weir_boxed_candidate(const struct weir_img *img, const struct weir_config *cfg, uint32_t at,
					  const struct weir_rule_head *h, const struct weir_facts *f, uint32_t skip)
{
	const struct weir_rule *r;

	if (skip & weir_rule_kind(h) & ~(uint32_t)WEIR_SKIP_UNKNOWN)
		return WEIR_SCAN_END;
	if ((h->flags & (WEIR_RF_BOXED | WEIR_RF_GONE)) == WEIR_RF_BOXED)
		return at;
	r = weir_img_rule(img, WEIR_RULES, at);
	return r ? weir_candidate(img, cfg, WEIR_RULES, at, r, f, skip) : WEIR_SCAN_END;
}

/*
 * One stretch of the linear scan: the first candidate in [from, from + WEIR_SCAN_CHUNK). Returns it, or
 * WEIR_SCAN_END when the stretch holds none.
 */
WEIR_INLINE uint32_t weir_scan_chunk(const struct weir_img *img, const struct weir_config *cfg, uint32_t which,
				     const struct weir_facts *f, uint32_t from, uint32_t skip)
{
	uint32_t n = which == WEIR_RULES ? cfg->n_rules : cfg->n_failsafe;

	for (uint32_t i = 0; i < WEIR_SCAN_CHUNK; i++) {
		uint32_t at = from + i, c;
		const struct weir_rule *r;

		if (at >= n)
			break;
		r = weir_img_rule(img, which, at);
		if (!r)
			break;
		c = weir_candidate(img, cfg, which, at, r, f, skip);
		if (c != WEIR_SCAN_END)
			return c;
	}
	return WEIR_SCAN_END;
}

/* Are the rules found by their trees? Not for a later fragment, whose ports could be any. */
WEIR_INLINE bool weir_sieved(const struct weir_config *cfg, uint32_t which, const struct weir_facts *f)
{
	return which == WEIR_RULES && cfg->tree_lines && (f->known & WEIR_K_PORTS);
}

/* The same by the trees, from *from on; with WEIR_SCAN_MORE *from says where to go on. */
WEIR_INLINE uint32_t weir_sieve_chunk(const struct weir_img *img, const struct weir_config *cfg,
				      struct weir_tree_key *k, const struct weir_facts *f, uint32_t *from, uint32_t skip)
{
	for (uint32_t i = 0; i < WEIR_SIEVE_CHUNK; i++) {
		uint32_t at = weir_tree_sieve(img, k, f, *from), c;
		const struct weir_rule_head *h;

		h = at < cfg->n_rules ? weir_img_head(img, at) : 0;
		if (!h)
			return WEIR_SCAN_END;
		c = weir_boxed_candidate(img, cfg, at, h, f, skip);
		if (c != WEIR_SCAN_END)
			return c;
		*from = at + 1;
	}
	return WEIR_SCAN_MORE;
}

/* What the time of day is, for all lists of windows at once: a rule then asks for one bit. */
WEIR_INLINE void weir_classify_time(const struct weir_img *img, struct weir_facts *f, uint32_t minute)
{
	f->times = weir_img_times_at(img, minute);
	f->known |= WEIR_K_TIME;
}

/* The first candidate among the rules that came after the trees were made: few, asked one after the other. */
WEIR_INLINE uint32_t weir_scan_late(const struct weir_img *img, const struct weir_config *cfg,
				    const struct weir_facts *f, uint32_t from, uint32_t skip)
{
	uint32_t used = weir_img_late_used(img);

	for (uint32_t i = 0; i < WEIR_LATE_MAX; i++) {
		uint32_t at = cfg->late + i, c;
		const struct weir_rule *r;

		if (i >= used)
			break;
		r = at < from ? 0 : weir_img_rule(img, WEIR_RULES, at);
		if (!r)
			continue;
		c = weir_candidate(img, cfg, WEIR_RULES, at, r, f, skip);
		if (c != WEIR_SCAN_END)
			return c;
	}
	return WEIR_SCAN_END;
}

/* Look up the classes of all addresses and ports once; needed before any rule is evaluated. */
WEIR_INLINE void weir_classify_prepare(const struct weir_img *img, const struct weir_config *cfg,
				       struct weir_facts *f)
{
	f->src_class = weir_class_addr(img, cfg, f->t.src);
	f->dst_class = weir_class_addr(img, cfg, f->t.dst);
	if (f->has_orig) {
		f->osrc_class = weir_class_addr(img, cfg, f->orig.src);
		f->odst_class = weir_class_addr(img, cfg, f->orig.dst);
	}
	f->sport_class = weir_find_port(img, cfg->n_bounds_port, f->t.sport);
	f->dport_class = weir_find_port(img, cfg->n_bounds_port, f->t.dport);
}

/*
 * The iterator, in rule order: the first candidate at or after `from`. The kernel programs bring their own
 * (a global function per stretch, verified once); what it returns is the same.
 */
#ifndef WEIR_CLASSIFY_NEXT_PROVIDED
static inline uint32_t weir_classify_next(const struct weir_img *img, const struct weir_config *cfg, uint32_t which,
					  const struct weir_facts *f, uint32_t from, uint32_t skip)
{
	uint32_t n = which == WEIR_RULES ? cfg->n_rules : cfg->n_failsafe;
	uint32_t late = WEIR_SCAN_END;
	struct weir_tree_key k = { 0 };

	if (weir_sieved(cfg, which, f) && weir_late_ahead(cfg, weir_img_late_used(img), from))
		late = weir_scan_late(img, cfg, f, from, skip);
	while (weir_sieved(cfg, which, f)) {
		uint32_t c = weir_sieve_chunk(img, cfg, &k, f, &from, skip);

		if (c != WEIR_SCAN_MORE)
			return weir_first_of(late, c);
	}
	for (; from < n; from += WEIR_SCAN_CHUNK) {
		uint32_t c = weir_scan_chunk(img, cfg, which, f, from, skip);

		if (c != WEIR_SCAN_END)
			return c;
	}
	return WEIR_SCAN_END;
}
#endif
