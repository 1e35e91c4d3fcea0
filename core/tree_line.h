/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finding rules: which rules' boxes hold this packet, in rule order, without looking at each rule.
 *
 * A box is what of a rule can be said in ranges: family, directions, source, destination, both ports, protocol.
 * Boxes lie in the leaves of a few decision trees per family (lib/policy/tree.c builds them). A tree is only a
 * sieve: whatever a box cannot say is asked of the rule afterwards. A box may be larger than its rule,
 * never smaller; what is said of a box is exact (WEIR_RF_BOXED counts on it).
 *
 * All of it is one array of lines of 64 bytes, so that one step touches one cache line and so that no value of a
 * map is large (Linux 5.10 takes 4 MiB at most). Line 0 is the roots of IPv4, line 1 those of IPv6, what follows
 * are nodes (2^width words; small ones share a line) and leaves (whole lines).
 *
 *   word of a node: base 0..31 (of words) | shift to the left 32..37, to the right 38..43 | word of the key 44..46
 *   word of a leaf: base 0..25 (of lines) | lines 26..36 | lowest rule in it 37..57 | 1 in bit 63
 *
 * The widest tables are those of the roots, and what of them is looked at is hardly ever in a near cache. So a root may
 * have its cells packed in 32 bits (WEIR_TREE_PACKED in its word, whose base then counts cells):
 *
 *   cell: base 0..19 (of lines) | lines 20..22 | lowest rule in it 23..30 (in units of 512, rounded down, 255 at
 *   most) | 1 in bit 31
 *   cell of what does not fit into that: which word of the array is meant
 *
 * Ports and protocol stand side by side in one word, each with a free bit above it, and are compared together: adding
 * what is missing from the highest value to all ones carries into the free bit what is above it; subtracting from the
 * lowest value plus all ones leaves there what is below it.
 *
 *   lanes: protocol 0..7, responder's port 9..24, originator's port 26..41; free bits 8, 25, 42; then see the boxes
 *
 * This file: the layout, the key, and one line against it. core/tree.h walks.
 */
#pragma once
#include "core/facts.h"

#define WEIR_TREE_END 0xffffffffu
#define WEIR_TREE_ROOTS 4u        /* trees per family */
#define WEIR_TREE_DEPTH 24u       /* nodes above a leaf */
#define WEIR_TREE_LEAF 1024u      /* lines of a leaf */
#define WEIR_TREE_CHUNK 32u       /* lines that one call of weir_tree_scan looks at */
#define WEIR_TREE_SHORT 4u        /* lines of a leaf that is not searched, and that are looked at without a call */
#define WEIR_TREE_HEAD 2u         /* lines of roots */
#define WEIR_TREE_RULES (1u << 21) /* rules are below this, less the last number: the empty leaf */
#define WEIR_TREE_LINES (1u << 26)
#define WEIR_TREE_PACKED (1ull << 62) /* in no word of a leaf */
#define WEIR_TREE_CELL_LEAF (1u << 31)
#define WEIR_TREE_CELL_LINES (1u << 20) /* the lines of a packed cell are below this, */
#define WEIR_TREE_CELL_COUNT 7u         /* at most so many, */
#define WEIR_TREE_CELL_UNIT 512u        /* and their lowest rule is rounded to these, */
#define WEIR_TREE_CELL_UNITS 255u       /* of which there may be more */

struct weir_tree_line {
	uint64_t w[8];
};

/* Four to a line; those of one family by ascending `min`. No tree: min is WEIR_TREE_END. */
struct weir_tree_root {
	uint64_t word;
	uint32_t min, max; /* the rules that it holds lie between these; in max also WEIR_TREE_MORE */
};
#define WEIR_TREE_MORE (1u << 31) /* the next tree is mostly asked, too: all the way down both, then their leaves */

#define WEIR_TREE_FREE (1ull << 8 | 1ull << 25 | 1ull << 42)
#define WEIR_TREE_DIRS_AT 43
#define WEIR_TREE_RULE_AT 43
#define WEIR_TREE_RANGE (1ull << 46) /* IPv4, in either box of the line: `mask` of both is to be taken for a range */
#define WEIR_TREE_SRC_LONG_AT 46     /* IPv6: the prefix ends in the low word */
#define WEIR_TREE_DST_LONG_AT 47
_Static_assert(WEIR_TREE_RULES == 1u << (64 - WEIR_TREE_RULE_AT), "a rule's number fits above the lanes");

/* A box of IPv4 in a leaf. None: the free bits of `above` are set, which no sum can clear. */
struct weir_tree_box4 {
	uint64_t addr;  /* lowest source << 32 | lowest destination */
	uint64_t mask;  /* which of their bits count. Of a range: ~(highest minus lowest), as it is for a prefix */
	uint64_t above; /* lanes: all ones minus the highest | directions it is not for 43..45 | WEIR_TREE_RANGE */
	uint64_t below; /* lanes: the lowest plus all ones | rule 43..63 */
};
_Static_assert(sizeof(struct weir_tree_box4) == 32, "two to a line");

/* A box of IPv6 in a leaf: addresses are prefixes. */
struct weir_tree_box6 {
	uint64_t addr[4];      /* source, destination: high word, low word */
	uint64_t mask[2];      /* source, destination: which bits count of the word in which the prefix ends */
	uint64_t above, below; /* as for IPv4; with a bit at WEIR_TREE_SRC_LONG_AT, WEIR_TREE_DST_LONG_AT */
};
_Static_assert(sizeof(struct weir_tree_box6) == 64, "one line");

struct weir_tree_key {
	uint64_t w[8];                  /* IPv4: src << 32 | dst, fields; IPv6: src, dst as two words each, fields */
	uint64_t lanes, dirs;           /* ports and protocol in their lanes; the direction where boxes have theirs */
	uint64_t leaf[WEIR_TREE_ROOTS]; /* of each tree, on the way */
	uint32_t sport, dport, proto, dir, family;
	uint32_t from, best; /* the lowest rule that is looked for; the lowest found as yet, WEIR_TREE_END: none */
	uint32_t pad;
};

WEIR_INLINE uint64_t weir_tree_lanes(uint32_t sport, uint32_t dport, uint32_t proto)
{
	return proto | (uint64_t)dport << 9 | (uint64_t)sport << 26;
}

/* fields: protocol 0..7, responder's port 8..23, originator's port 24..39, direction 40..41 */
WEIR_INLINE uint64_t weir_tree_fields(uint32_t sport, uint32_t dport, uint32_t proto, uint32_t dir)
{
	/* in 0, forwarded 1, out 2: so that "in or forwarded" is a range, too */
	uint64_t d = dir == WEIR_DIR_IN ? 0 : dir == WEIR_DIR_FWD ? 1 : 2;

	return proto | (uint64_t)dport << 8 | (uint64_t)sport << 24 | d << 40;
}

/* Ports, protocol and direction of the key are set. */
WEIR_INLINE uint64_t weir_tree_key_fields(struct weir_tree_key *k)
{
	k->lanes = weir_tree_lanes(k->sport, k->dport, k->proto);
	k->dirs = (uint64_t)k->dir << WEIR_TREE_DIRS_AT;
	return weir_tree_fields(k->sport, k->dport, k->proto, k->dir);
}

WEIR_INLINE void weir_tree_key4(struct weir_tree_key *k, uint32_t src, uint32_t dst)
{
	k->family = 4;
	k->w[0] = (uint64_t)src << 32 | dst;
	k->w[1] = weir_tree_key_fields(k);
}

/* Source and destination, high word and low word of each. */
WEIR_INLINE void weir_tree_key6(struct weir_tree_key *k, uint64_t src, uint64_t src_low, uint64_t dst, uint64_t dst_low)
{
	k->family = 6;
	k->w[0] = src;
	k->w[1] = src_low;
	k->w[2] = dst;
	k->w[3] = dst_low;
	k->w[4] = weir_tree_key_fields(k);
}

/*
 * The addresses are the caller's to choose: before NAT and after it, a rule may mean either. Ports that are not known
 * yet are no 0: boxes with ports would be missed, though their rules may hold. Such a packet has to be asked another
 * way.
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
	weir_tree_key6(k, weir_be64(src), weir_be64(src + 8), weir_be64(dst), weir_be64(dst + 8));
}

/* The word to which that of a node leads. */
WEIR_INLINE uint32_t weir_tree_cell(uint64_t word, const struct weir_tree_key *k)
{
	return (uint32_t)word + (uint32_t)(k->w[word >> 44 & 7] << (word >> 32 & 63) >> (word >> 38 & 63));
}

/* Of the word of a leaf: its first line, how many there are, the lowest rule in them. */
WEIR_INLINE uint32_t weir_tree_leaf_line(uint64_t word)
{
	return (uint32_t)word & (WEIR_TREE_LINES - 1);
}

WEIR_INLINE uint32_t weir_tree_leaf_lines(uint64_t word)
{
	return (uint32_t)(word >> 26 & 0x7ff);
}

WEIR_INLINE uint32_t weir_tree_leaf_rule(uint64_t word)
{
	return (uint32_t)(word >> 37 & (WEIR_TREE_RULES - 1));
}

/* The packed cell of a leaf; 0: it does not fit into one. */
static inline uint32_t weir_tree_pack(uint64_t word)
{
	uint32_t line = weir_tree_leaf_line(word), lines = weir_tree_leaf_lines(word);
	uint32_t unit = weir_tree_leaf_rule(word) / WEIR_TREE_CELL_UNIT;

	if (!(word >> 63) || line >= WEIR_TREE_CELL_LINES || lines > WEIR_TREE_CELL_COUNT)
		return 0;
	return line | lines << 20 | (unit > WEIR_TREE_CELL_UNITS ? WEIR_TREE_CELL_UNITS : unit) << 23 | WEIR_TREE_CELL_LEAF;
}

/* The word of a leaf from its packed cell. */
WEIR_INLINE uint64_t weir_tree_unpack(uint32_t cell)
{
	return (cell & 0xfffff) | (uint64_t)(cell & 0x700000) << 6 | (uint64_t)(cell & 0x7f800000) << 23 | 1ull << 63;
}

/* Bits where ports, protocol or direction do not hold. No branches: which of them fails is as good as random. */
WEIR_INLINE uint64_t weir_tree_outside(uint64_t above, uint64_t below, const struct weir_tree_key *k)
{
	return (((above + k->lanes) | (below - k->lanes)) & WEIR_TREE_FREE) | (above & k->dirs);
}

/* Bit 63 unless the address is within; a value below the lowest wraps at 32 bits and is then above every span.
 */
WEIR_INLINE uint64_t weir_tree_beyond(uint32_t value, uint32_t low, uint32_t span)
{
	uint32_t above = value - low;

	return (uint64_t)span - (uint64_t)above;
}

WEIR_INLINE uint64_t weir_tree_miss4(const struct weir_tree_box4 *b, const struct weir_tree_key *k)
{
	return ((b->addr ^ k->w[0]) & b->mask) | weir_tree_outside(b->above, b->below, k);
}

/* The same of a box whose addresses may be ranges. */
WEIR_INLINE uint64_t weir_tree_miss4_range(const struct weir_tree_box4 *b, const struct weir_tree_key *k)
{
	uint64_t a = b->addr, span = ~b->mask;
	uint64_t beyond = weir_tree_beyond((uint32_t)(k->w[0] >> 32), (uint32_t)(a >> 32), (uint32_t)(span >> 32)) |
			  weir_tree_beyond((uint32_t)k->w[0], (uint32_t)a, (uint32_t)span);

	return beyond >> 63 | weir_tree_outside(b->above, b->below, k);
}

/* A prefix that ends in the high word says nothing of the low one; one that ends in the low has all of the high. */
WEIR_INLINE uint64_t weir_tree_apart(uint64_t high, uint64_t low, uint64_t mask, uint64_t is_long)
{
	uint64_t both = 0 - is_long;

	return (high & (mask | both)) | (low & (mask & both));
}

WEIR_INLINE uint64_t weir_tree_miss6(const struct weir_tree_box6 *b, const struct weir_tree_key *k)
{
	uint64_t miss = weir_tree_outside(b->above, b->below, k);

	miss |= weir_tree_apart(b->addr[0] ^ k->w[0], b->addr[1] ^ k->w[1], b->mask[0],
				b->above >> WEIR_TREE_SRC_LONG_AT & 1);
	miss |= weir_tree_apart(b->addr[2] ^ k->w[2], b->addr[3] ^ k->w[3], b->mask[1],
				b->above >> WEIR_TREE_DST_LONG_AT & 1);
	return miss;
}

/* All bits unless `miss` is 0 and the rule is not below `from`. In a register of its own: else it becomes a branch. */
WEIR_INLINE uint32_t weir_tree_not(uint64_t miss, uint32_t rule, uint32_t from)
{
	uint64_t r = (miss | (0 - miss)) | ((uint64_t)rule - from);

	r = (uint64_t)((int64_t)r >> 63);
	__asm__ volatile("" : "+r"(r));
	return (uint32_t)r;
}

WEIR_INLINE uint32_t weir_tree_rule(uint64_t below)
{
	return (uint32_t)(below >> WEIR_TREE_RULE_AT);
}

/* The lowest rule from `from` on of which a box in this line holds the key. Rules ascend within a leaf. */
WEIR_INLINE uint32_t weir_tree_line4(const struct weir_tree_line *l, const struct weir_tree_key *k, uint32_t from)
{
	const struct weir_tree_box4 *b = (const struct weir_tree_box4 *)l;
	uint32_t rule0 = weir_tree_rule(b[0].below), rule1 = weir_tree_rule(b[1].below), not0, not1;

	if ((b[0].above | b[1].above) & WEIR_TREE_RANGE) {
		not0 = weir_tree_not(weir_tree_miss4_range(b, k), rule0, from);
		not1 = weir_tree_not(weir_tree_miss4_range(b + 1, k), rule1, from);
	} else {
		not0 = weir_tree_not(weir_tree_miss4(b, k), rule0, from);
		not1 = weir_tree_not(weir_tree_miss4(b + 1, k), rule1, from);
	}
	return (rule0 & ~not0) | ((rule1 | not1) & not0); /* the first unless it misses */
}

WEIR_INLINE uint32_t weir_tree_line6(const struct weir_tree_line *l, const struct weir_tree_key *k, uint32_t from)
{
	const struct weir_tree_box6 *b = (const struct weir_tree_box6 *)l;
	uint32_t rule = weir_tree_rule(b->below);

	return rule | weir_tree_not(weir_tree_miss6(b, k), rule, from);
}

WEIR_INLINE uint32_t weir_tree_first_rule(const struct weir_tree_line *l, bool six)
{
	return weir_tree_rule(six ? ((const struct weir_tree_box6 *)l)->below
				  : ((const struct weir_tree_box4 *)l)->below);
}

/* Takes what the line has. True when the lines after it have nothing that counts. */
WEIR_INLINE bool weir_tree_line(const struct weir_tree_line *l, struct weir_tree_key *k, bool six)
{
	uint32_t r = six ? weir_tree_line6(l, k, k->from) : weir_tree_line4(l, k, k->from);

	if (r >= k->best)
		return weir_tree_first_rule(l, six) >= k->best;
	k->best = r;
	return true;
}
