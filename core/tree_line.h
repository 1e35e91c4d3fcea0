/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finding rules: which rules' boxes hold this packet, in rule order, without looking at each rule.
 *
 * A box is what of a rule can be said in ranges: family, directions, source, destination, both ports, protocol.
 * Boxes lie in the leaves of a few decision trees per family (lib/policy/tree.c builds them). A tree is only a
 * sieve: whatever a box cannot say is asked of the rule afterwards. It may let a rule through that does not hold,
 * it never keeps one back that does.
 *
 * All of it is one array of lines of 64 bytes, so that one step touches one cache line and so that no value of a
 * map is large (Linux 5.10 takes 4 MiB at most). Lines 0-1 are the roots of IPv4, 2-3 those of IPv6, what follows
 * are nodes (2^width words; small ones share a line) and leaves (whole lines).
 *
 *   word of a node: base 0..31 (of words) | shift 32..37 | width 38..42 | which word of the key 43..45
 *   word of a leaf: base 0..25 (of lines) | lines 26..36 | lowest rule in it 37..62 | 1 in bit 63
 * This file: the layout, the key, and one line against it. core/tree.h walks.
 */
#pragma once
#include "core/facts.h"

#define WEIR_TREE_END 0xffffffffu
#define WEIR_TREE_ROOTS 8u        /* trees per family */
#define WEIR_TREE_DEPTH 24u       /* nodes above a leaf */
#define WEIR_TREE_LEAF 1024u      /* lines of a leaf */
#define WEIR_TREE_CHUNK 32u       /* lines that one call of weir_tree_scan looks at */
#define WEIR_TREE_HEAD 4u         /* lines of roots */
#define WEIR_TREE_RULES (1u << 26)
#define WEIR_TREE_LINES (1u << 26)

struct weir_tree_line {
	uint64_t w[8];
};

/* Two to a line; those of one family by ascending `min`. No tree: min is WEIR_TREE_END. */
struct weir_tree_root {
	uint64_t word;
	uint32_t min, max; /* the rules that it holds lie between these */
};

/* A box of IPv4 in a leaf. A span is the highest value minus the lowest. Nothing: dirs is 0. */
struct weir_tree_box4 {
	uint32_t src, src_span, dst, dst_span;
	uint16_t sport, sport_span, dport, dport_span;
	uint32_t rule;
	uint8_t proto, proto_span, dirs, pad;
};
_Static_assert(sizeof(struct weir_tree_box4) == 32, "two to a line");

/* A box of IPv6 in a leaf: addresses are prefixes; skip = how many low bits of the word are not compared. */
struct weir_tree_box6 {
	uint64_t addr[4]; /* source, destination: high word, low word */
	uint16_t sport, sport_span, dport, dport_span;
	uint32_t rule;
	uint8_t proto, proto_span, dirs, pad;
	uint8_t skip[4]; /* 0..64 */
	uint32_t pad2[3];
};
_Static_assert(sizeof(struct weir_tree_box6) == 64, "one line");

struct weir_tree_key {
	uint64_t w[8]; /* IPv4: src << 32 | dst, fields; IPv6: src, dst as two words each, fields */
	uint32_t src, dst; /* IPv4 */
	uint32_t sport, dport, proto, dir, family;
	uint32_t from, best; /* which rules are looked for: from this on; the lowest found as yet, WEIR_TREE_END: none */
	uint32_t pad;
};

/* fields: protocol 0..7, responder's port 8..23, originator's port 24..39, direction 40..41 */
WEIR_INLINE uint64_t weir_tree_fields(uint32_t sport, uint32_t dport, uint32_t proto, uint32_t dir)
{
	/* in 0, forwarded 1, out 2: so that "in or forwarded" is a range, too */
	uint64_t d = dir == WEIR_DIR_IN ? 0 : dir == WEIR_DIR_FWD ? 1 : 2;

	return proto | (uint64_t)dport << 8 | (uint64_t)sport << 24 | d << 40;
}

WEIR_INLINE void weir_tree_key4(struct weir_tree_key *k, uint32_t src, uint32_t dst)
{
	k->family = 4;
	k->src = src;
	k->dst = dst;
	k->w[0] = (uint64_t)src << 32 | dst;
	k->w[1] = weir_tree_fields(k->sport, k->dport, k->proto, k->dir);
}

/*
 * The addresses are the caller's to choose: before NAT and after it, a rule may mean either. Ports that are not known
 * yet are no 0: boxes with ports would be missed, though their rules may hold. Such a packet has to be asked another way.
 */
WEIR_INLINE void weir_tree_key_make(struct weir_tree_key *k, const struct weir_facts *f, const uint8_t src[static 16],
				    const uint8_t dst[static 16])
{
	k->sport = f->t.sport;
	k->dport = f->t.dport;
	k->proto = f->proto;
	k->dir = f->dir;
	if (f->family != 6) {
		weir_tree_key4(k, weir_be32(src + 12), weir_be32(dst + 12));
		return;
	}
	k->family = 6;
	k->w[0] = weir_be64(src);
	k->w[1] = weir_be64(src + 8);
	k->w[2] = weir_be64(dst);
	k->w[3] = weir_be64(dst + 8);
	k->w[4] = weir_tree_fields(k->sport, k->dport, k->proto, k->dir);
}

/*
 * What does not hold sets bit 63. No branches: which field fails is as good as random. A value below the range
 * wraps at 32 bits and is then above every span.
 */
WEIR_INLINE uint64_t weir_tree_outside(uint32_t value, uint32_t low, uint32_t span)
{
	uint32_t above = value - low;

	return (uint64_t)span - (uint64_t)above;
}

/* One after the other: clang would load all fields first, and keep them on a stack that has no room (BPF). */
#define WEIR_TREE_OR(miss, term)                         \
	do {                                             \
		(miss) |= (term);                        \
		__asm__ volatile("" : "+r"(miss) : : "memory"); \
	} while (0)

WEIR_INLINE uint64_t weir_tree_miss4(const struct weir_tree_box4 *b, const struct weir_tree_key *k, uint64_t miss)
{
	WEIR_TREE_OR(miss, weir_tree_outside(k->src, b->src, b->src_span));
	WEIR_TREE_OR(miss, weir_tree_outside(k->dst, b->dst, b->dst_span));
	WEIR_TREE_OR(miss, weir_tree_outside(k->dport, b->dport, b->dport_span));
	WEIR_TREE_OR(miss, weir_tree_outside(k->sport, b->sport, b->sport_span));
	WEIR_TREE_OR(miss, weir_tree_outside(k->proto, b->proto, b->proto_span));
	WEIR_TREE_OR(miss, (uint64_t)(b->dirs & k->dir) - 1);
	return miss;
}

WEIR_INLINE uint64_t weir_tree_differ(uint64_t x, uint32_t skip)
{
	uint32_t half = skip >> 1 & 63;

	x = x >> half >> ((skip - half) & 63); /* two shifts: one of 64 is none */
	return x | (0 - x);                     /* bit 63 unless x is 0 */
}

WEIR_INLINE uint64_t weir_tree_miss6(const struct weir_tree_box6 *b, const struct weir_tree_key *k, uint64_t miss)
{
	WEIR_TREE_OR(miss, weir_tree_differ(k->w[0] ^ b->addr[0], b->skip[0]));
	WEIR_TREE_OR(miss, weir_tree_differ(k->w[1] ^ b->addr[1], b->skip[1]));
	WEIR_TREE_OR(miss, weir_tree_differ(k->w[2] ^ b->addr[2], b->skip[2]));
	WEIR_TREE_OR(miss, weir_tree_differ(k->w[3] ^ b->addr[3], b->skip[3]));
	WEIR_TREE_OR(miss, weir_tree_outside(k->dport, b->dport, b->dport_span));
	WEIR_TREE_OR(miss, weir_tree_outside(k->sport, b->sport, b->sport_span));
	WEIR_TREE_OR(miss, weir_tree_outside(k->proto, b->proto, b->proto_span));
	WEIR_TREE_OR(miss, (uint64_t)(b->dirs & k->dir) - 1);
	return miss;
}

/* The lowest rule from `from` on of which a box in this line holds the key. Rules ascend within a leaf. */
WEIR_INLINE uint32_t weir_tree_line4(const struct weir_tree_line *l, const struct weir_tree_key *k, uint32_t from)
{
	const struct weir_tree_box4 *b = (const struct weir_tree_box4 *)l;
	uint64_t miss0 = weir_tree_miss4(b, k, (uint64_t)b[0].rule - from);
	uint64_t miss1 = weir_tree_miss4(b + 1, k, (uint64_t)b[1].rule - from);
	uint32_t not0 = (uint32_t)((int64_t)miss0 >> 63), not1 = (uint32_t)((int64_t)miss1 >> 63);

	/* the first unless it misses: a comparison would be a branch in the kernel */
	return (b[0].rule & ~not0) | ((b[1].rule | not1) & not0);
}

WEIR_INLINE uint32_t weir_tree_line6(const struct weir_tree_line *l, const struct weir_tree_key *k, uint32_t from)
{
	const struct weir_tree_box6 *b = (const struct weir_tree_box6 *)l;
	uint64_t miss = weir_tree_miss6(b, k, (uint64_t)b->rule - from);

	return b->rule | (uint32_t)((int64_t)miss >> 63);
}

WEIR_INLINE uint32_t weir_tree_first_rule(const struct weir_tree_line *l, bool six)
{
	return six ? ((const struct weir_tree_box6 *)l)->rule : ((const struct weir_tree_box4 *)l)->rule;
}

/* Takes what the line has. True when the lines after it have nothing that counts. */
WEIR_INLINE bool weir_tree_line(const struct weir_tree_line *l, struct weir_tree_key *k)
{
	bool six = k->family == 6;
	uint32_t r = six ? weir_tree_line6(l, k, k->from) : weir_tree_line4(l, k, k->from);

	if (r >= k->best)
		return weir_tree_first_rule(l, six) >= k->best;
	k->best = r;
	return true;
}
