/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The image: a compiled policy. One flat blob, versioned, with a digest; the keeper checks it and copies
 * its sections into maps, the oracle and the browser read it in place. Nothing in it is a pointer.
 *
 *   header | config | rules | failsafe rules | negated groups | single ranges | bounds4 | bounds6 | bounds_port |
 *   addr_rows | port_rows | interface patterns | limits | times | strings (names and places of rules; for people, never
 *   for a decision) | trees | block
 *
 * How a list of addresses becomes a bit. Every address list of the policy (a `from`, a `$set`)
 * has a number. The address space is cut where any list begins or ends; each piece has a class; a class has
 * a row of bits, bit n = "list n holds it". Finding an address is one binary search, testing a list one
 * bit. Ports work in the same way. A range that stands alone and has no name is no list: it is compared. What the
 * blocklists hold stands apart, in `block`: see core/block_line.h.
 *
 * How a rule is found among many: by the trees of core/tree_line.h over what of each rule can be said in ranges.
 * Few rules may come without (WEIR_LINEAR_MAX), and are then asked one after the other.
 */
#pragma once
#include "core/block_line.h"
#include "core/clock.h"
#include "core/limit.h"
#include "core/types.h"

#define WEIR_IMAGE_MAGIC 0x72696577u /* "weir", little endian */
#define WEIR_IMAGE_VERSION 12u

#define WEIR_RULES_MAX (1u << 17) /* rules, overlay included */
#define WEIR_LINEAR_MAX 1024u   /* rules of an image without trees, places of late ones not counted */
#define WEIR_LATE_MAX 64u      /* rules that may come after the image was compiled, see core/late.h */
#define WEIR_SCAN_CHUNK 64u    /* rules that one call looks at */
#define WEIR_SCAN_END 0xffffffffu
#define WEIR_SIEVE_CHUNK 32u  /* rules out of the trees that are no candidates, that one call goes past */
#define WEIR_SIEVE_CALLS 1024u /* 4 trees with leaves of 2,048 boxes, for 4 pairs of addresses: no packet needs more */
#define WEIR_SCAN_MORE 0xfffffffeu /* and there may be more */
/* A candidate: index in bits 0..29, UNKNOWN in bit 30. WEIR_SCAN_END: no further one. */
#define WEIR_CAND_UNKNOWN 0x40000000u
#define WEIR_CAND_INDEX(c) ((c) & 0x3fffffffu)
#define WEIR_SPANS_MAX (1u << 19)
#define WEIR_SPAN 0x80000000u   /* an address list that is one range: + index of the span */
#define WEIR_FAILSAFE_MAX 64
#define WEIR_LISTS_MAX 1024     /* address lists; port lists likewise */
#define WEIR_ROW_WORDS (WEIR_LISTS_MAX / 64)
#define WEIR_BOUNDS_MAX (1u << 18)
#define WEIR_SEARCH_STEPS 19    /* 2^18 bounds: 18 halvings and the last look */
#define WEIR_IFPAT_MAX 63       /* interface patterns; bit 63 is kept free */
#define WEIR_IFXDP_MAX 4096     /* words about XDP */
#define WEIR_NO_LIST 0xffffu

/* Places of rules that are no rule: what weir_result.rule may hold besides an index. */
#define WEIR_RULE_NONE 0xffffffffu
#define WEIR_RULE_DEFAULT_IN 0xfffffff1u
#define WEIR_RULE_DEFAULT_OUT 0xfffffff2u
#define WEIR_RULE_DEFAULT_FWD 0xfffffff3u
#define WEIR_RULE_FAILSAFE 0xffff0000u /* + index of the failsafe entry */
#define WEIR_RULE_LIMIT 0xfffe0000u    /* + index of the limit */
#define WEIR_RULE_BLOCKLIST 0xfffd0000u /* + index of the first of `blocklists` that has the address, see WEIR_BLOCK_LISTS */

enum weir_action {
	WEIR_ACT_ALLOW = 0,
	WEIR_ACT_DROP = 1,
	WEIR_ACT_REJECT = 2,
	WEIR_ACT_LOG = 3, /* continues */
	WEIR_ACT_BAN = 4, /* continues; of a limit: drops */
};

/* weir_cond.set: which conditions are present. Absent = TRUE. */
enum {
	WEIR_C_FROM = 1 << 0,
	WEIR_C_TO = 1 << 1,
	WEIR_C_PEER = 1 << 2,
	WEIR_C_PROTO = 1 << 3,
	WEIR_C_PORTS = 1 << 4,
	WEIR_C_SPORTS = 1 << 5,
	WEIR_C_ICMP = 1 << 6,
	WEIR_C_VLAN = 1 << 7,
	WEIR_C_MAC = 1 << 8,
	WEIR_C_MARK = 1 << 9,
	WEIR_C_IN_IF = 1 << 10,
	WEIR_C_OUT_IF = 1 << 11,
	WEIR_C_ANY_IF = 1 << 12,
	WEIR_C_FAMILY = 1 << 13,
	WEIR_C_TTL = 1 << 14, /* hop limit exactly ttl (ND: 255, RFC 4861 section 6.1) */
	WEIR_C_DIR = 1 << 15,
	WEIR_C_TIME = 1 << 16,
};

#define WEIR_ICMP_MAX 8
#define WEIR_VLAN_MAX 8
#define WEIR_MAC_MAX 4

struct weir_icmp_match {
	uint8_t family, type, code_min, code_max;
};

/* Ports: a list, or with WEIR_NO_LIST the one range beside it. */
struct weir_ports {
	uint16_t list, lo, hi;
};

/* A conjunction: every condition that is present must hold. */
struct weir_cond {
	uint32_t set;                 /* WEIR_C_* */
	uint32_t from, to, peer;      /* address list numbers, or WEIR_SPAN + index */
	struct weir_ports ports, sports; /* responder's, originator's */
	uint32_t mark, mark_mask;
	uint8_t dirs, family, ttl, n_icmp, n_vlan, n_mac;
	uint16_t time; /* number of a list of windows, below WEIR_TIMES_MAX */
	uint16_t pad[2];
	uint64_t in_if, out_if, any_if; /* bits of interface patterns */
	uint64_t protos[4];           /* a bit per IP protocol */
	struct weir_icmp_match icmp[WEIR_ICMP_MAX];
	uint16_t vlan[WEIR_VLAN_MAX];
	uint64_t mac[WEIR_MAC_MAX];   /* 48 bits, the first byte on the wire highest */
};
_Static_assert(sizeof(struct weir_cond) == 184, "ABI");

WEIR_INLINE bool weir_cond_ok(const struct weir_cond *c)
{
	return c->n_icmp <= WEIR_ICMP_MAX && c->n_vlan <= WEIR_VLAN_MAX && c->n_mac <= WEIR_MAC_MAX && c->time < WEIR_TIMES_MAX;
}

/* weir_rule.flags */
enum {
	WEIR_RF_NOT = 1,     /* `neg` is the number of a negated group */
	WEIR_RF_LOG = 2,     /* log: true */
	WEIR_RF_OVERLAY = 4, /* from the overlay, not from the file */
	WEIR_RF_REPLY = 8,   /* failsafe only: replies of what it admits pass too */
	WEIR_RF_HELD = 16,   /* says mode: prevent itself, and something above it holds it at detect */
	WEIR_RF_BOXED = 32,  /* its boxes in the trees say all of it: a packet in one of them matches */
	WEIR_RF_GONE = 64,   /* no rule: it was deleted, or nobody has come to this place yet */
};

/* What is asked of a rule by everybody who meets it. In the kernel these stand by themselves, see struct weir_heads. */
struct weir_rule_head {
	uint8_t action, mode, flags, pad0; /* enum weir_action, enum weir_mode, WEIR_RF_* */
};

struct weir_rule {
	union {
		struct {
			uint8_t action, mode, flags, pad0;
		};
		struct weir_rule_head head;
	};
	uint32_t overlay_id;       /* 0 for rules of the file */
	uint32_t name, place;      /* offsets into strings: name; file:line or overlay id */
	uint32_t neg;              /* TRUE when pos and not this negated group */
	uint32_t limit;            /* of an allow: 1 + number of the limit of what it lets in; 0: none */
	uint32_t max_duration, idle; /* seconds, 0 = none: bounds of the flows that an allow lets in, see core/flow.h; a
				       * ban lasts max_duration */
	uint64_t max_bytes;        /* of IP packets, both directions; 0 = none */
	struct weir_cond pos;
};
_Static_assert(sizeof(struct weir_rule) == 224, "ABI");

/*
 * The heads of so many rules in a row: a packet in a rule's box needs no more of most rules, and 100,000 of them stay in the
 * nearer caches, where 100,000 rules do not.
 */
#define WEIR_HEADS 16u
struct weir_heads {
	struct weir_rule_head v[WEIR_HEADS];
};
_Static_assert(sizeof(struct weir_heads) == 64, "one line");

/* A range of addresses of one family, both ends within; IPv4 at its place in the IPv6 numbers, ::ffff:0:0/96. */
struct weir_span {
	uint64_t lo_hi, lo_lo, hi_hi, hi_lo;
};

/* Does the rule bound the flows that it lets in? */
WEIR_INLINE bool weir_rule_bounds(const struct weir_rule *r)
{
	return r->action == WEIR_ACT_ALLOW && (r->max_duration || r->idle || r->max_bytes);
}

struct weir_bound4 { /* IPv4 addresses and ports: from `low` up to the next bound */
	uint32_t low, class_id;
};

struct weir_bound6 {
	uint64_t hi, lo;
	uint32_t class_id, pad;
};

/* A default, or another fixed verdict of the policy. */
struct weir_fixed {
	uint8_t action, mode, log, pad;
};

/* weir_config.essentials: which parts of the built-in failsafe are in force. */
enum {
	WEIR_ESS_LO = 1,
	WEIR_ESS_ARP = 2,
	WEIR_ESS_ICMP_ERRORS = 4,
	WEIR_ESS_MCAST_REPLIES = 8,
};

enum { WEIR_EST_KEEP = 0, WEIR_EST_RECHECK = 1, WEIR_EST_KILL = 2 };

/* flows.recheck_unknown: a live flow whose verdict hangs on a fact that is gone. */
enum { WEIR_UNKNOWN_KEEP = 0, WEIR_UNKNOWN_DROP = 1 };

/*
 * `failures` of the policy: what happens when a part of weir fails. 0 is the default everywhere. Under mode detect
 * nothing is dropped, whatever fails and whatever stands here.
 */
enum weir_failure {
	WEIR_FAILURE_DAEMON_DEAD,
	WEIR_FAILURE_NO_POLICY,
	WEIR_FAILURE_TABLE_FULL,
	WEIR_FAILURE_FRAGMENT,
	WEIR_FAILURE_RING_FULL,
	WEIR_FAILURE_DISK_FULL,
	WEIR_FAILURE_HOOK_MISSING,
	WEIR_FAILURE_UNPARSABLE, /* its choice is packets.malformed and packets.unknown_l2 */
	WEIR_FAILURE_COUNT,
};
enum { WEIR_DAEMON_KEEP = 0, WEIR_DAEMON_OPEN = 1, WEIR_DAEMON_CLOSED = 2 };
enum { WEIR_NO_POLICY_LAST_GOOD = 0, WEIR_NO_POLICY_MANAGEMENT = 1, WEIR_NO_POLICY_OPEN = 2 };
enum { WEIR_TABLE_DROP_NEW = 0, WEIR_TABLE_PASS = 1, WEIR_TABLE_DROP_ALL = 2 };
enum { WEIR_FRAGMENT_DROP = 0, WEIR_FRAGMENT_PASS = 1 };
enum { WEIR_RING_COUNT = 0, WEIR_RING_THROTTLE = 1 };
enum { WEIR_DISK_REFUSE_CHANGES = 0, WEIR_DISK_CONTINUE = 1, WEIR_DISK_DROP = 2 };
enum { WEIR_HOOK_DEGRADE = 0, WEIR_HOOK_REFUSE = 1 };

struct weir_failures {
	uint8_t choice[WEIR_FAILURE_COUNT]; /* by enum weir_failure */
	uint32_t daemon_after_s;            /* open or closed: this long after the last sign of life */
	uint32_t simulate;                  /* bit per enum weir_failure: behave as if it had happened */
};
_Static_assert(sizeof(struct weir_failures) == 16, "ABI");

/* What the programs are specialised by: lands in .rodata, so what is unused folds away. */
struct weir_config {
	uint32_t generation, epoch;   /* epoch: raised by every install; generation only by a policy change */
	uint32_t n_rules, n_failsafe, n_bounds4, n_bounds6, n_bounds_port;
	uint32_t n_addr_rows, n_port_rows, row_words_addr, row_words_port;
	uint32_t mode;                /* enum weir_mode, the ceiling, already applied to rules */
	uint32_t essentials;
	uint32_t conds_used;          /* WEIR_C_* of all rules together */
	uint32_t proto_features;      /* WEIR_FEAT_* */
	struct weir_fixed defaults[3]; /* in, out, fwd */
	struct weir_fixed malformed, fragments, unknown_l2, on_error, blocklist, ban;
	uint32_t established;         /* WEIR_EST_* */
	uint32_t idle_s;              /* flows.idle */
	uint32_t adopt_s;             /* flows.adopt_window */
	uint32_t hz;                  /* jiffies per second; filled by the keeper */
	uint32_t port_eph_min;        /* lowest ephemeral port of this host; filled by the keeper */
	uint32_t test_flags;          /* WEIR_TEST_*; filled by tests */
	uint32_t recheck_unknown;     /* WEIR_UNKNOWN_* */
	struct weir_failures failures;
	uint32_t block_new;           /* a reason: new flows but the failsafe's are dropped with it; 0: none */
	uint32_t n_limits;
	uint32_t limit_counts;        /* a bit per WEIR_LIMIT_PACKETS ... that some limit counts */
	uint32_t tree_lines;          /* 0: no trees, WEIR_LINEAR_MAX rules at most */
	uint32_t memory_mb;           /* performance.max_memory_mb, 0: not said; core/memory.h */
	uint32_t late, n_late;        /* the places of rules that come later: the first one, and how many */
	uint32_t late_used;           /* so many of them were given away; in the kernel a word of its own says it */
	uint32_t late_negs, late_spans, late_strings; /* their negated groups, ranges and texts begin here */
};
_Static_assert(sizeof(struct weir_config) == 184, "ABI");

/* The counter of a blocklist, by its place in `blocklists`. */
WEIR_INLINE uint32_t weir_counter_list(const struct weir_config *c, uint32_t list)
{
	return c->n_rules + 3 + c->n_limits + list;
}

/*
 * The counters of an image: of its rules, of the three defaults, of its limits, of its blocklists; see weir_image_counters.
 * Which of them counts what this decided? Past the end: none does.
 */
WEIR_INLINE uint32_t weir_counter_of(const struct weir_config *c, uint32_t rule)
{
	if (rule >= WEIR_RULE_DEFAULT_IN && rule <= WEIR_RULE_DEFAULT_FWD)
		return c->n_rules + (rule - WEIR_RULE_DEFAULT_IN);
	if (rule >= WEIR_RULE_LIMIT && rule < WEIR_RULE_FAILSAFE)
		return c->n_rules + 3 + (rule - WEIR_RULE_LIMIT);
	if (rule >= WEIR_RULE_BLOCKLIST && rule < WEIR_RULE_LIMIT)
		return weir_counter_list(c, rule - WEIR_RULE_BLOCKLIST);
	return rule < c->n_rules ? rule : WEIR_RULE_NONE;
}

/* And the other way round. */
WEIR_INLINE uint32_t weir_counter_rule(const struct weir_config *c, uint32_t counter)
{
	if (counter < c->n_rules)
		return counter;
	counter -= c->n_rules;
	if (counter < 3)
		return WEIR_RULE_DEFAULT_IN + counter;
	counter -= 3;
	return counter < c->n_limits ? WEIR_RULE_LIMIT + counter : WEIR_RULE_BLOCKLIST + (counter - c->n_limits);
}

enum {
	WEIR_FEAT_REJECT = 1,    /* some rule or default rejects */
	WEIR_FEAT_BLOCKLIST = 2, /* blocklists is not empty */
	WEIR_FEAT_XDP_DROP = 4,  /* XDP has something to drop early */
	WEIR_FEAT_FORWARD = 8,   /* reserved */
	WEIR_FEAT_BOUNDS = 16,   /* some rule bounds its flows */
};

struct weir_section {
	uint32_t off, count; /* bytes from the start of the blob; entries */
};

struct weir_image_header {
	uint32_t magic, version;
	uint32_t size;     /* of the whole blob */
	uint32_t pad;
	uint8_t digest[32]; /* SHA-256 over the blob with this field zeroed */
	uint8_t source_digest[32]; /* SHA-256 over the policy text that it came from */
	struct weir_section config, rules, failsafe;
	struct weir_section negs;   /* struct weir_cond */
	struct weir_section spans;  /* struct weir_span */
	struct weir_section bounds4, bounds6, bounds_port;
	struct weir_section addr_rows, port_rows; /* uint64_t words: rows * row_words */
	struct weir_section ifpats; /* char[16] each: an interface name or glob, NUL padded */
	struct weir_section xdp;    /* struct weir_ifxdp: how XDP is used, first match by name wins */
	struct weir_section lists;  /* struct weir_list_info, one per address list; for people */
	struct weir_section limits; /* struct weir_limit, in the order of the policy */
	struct weir_section times;  /* struct weir_times */
	struct weir_section block_sets; /* struct weir_list_info: of which sets the blocklists are made, in their order */
	struct weir_section block;  /* struct weir_block_line: what is in them and not excepted; none: nothing */
	struct weir_section strings; /* NUL-terminated, offset 0 is "" */
	struct weir_section tree;   /* struct weir_tree_line */
};

/* So many blocklists are told apart. */
WEIR_INLINE uint32_t weir_image_blocklists(const struct weir_image_header *h)
{
	return h->block_sets.count < WEIR_BLOCK_LISTS ? h->block_sets.count : WEIR_BLOCK_LISTS;
}

/* What counts in it: see weir_counter_of. */
WEIR_INLINE uint32_t weir_image_counters(const struct weir_image_header *h)
{
	return h->rules.count + 3 + h->limits.count + weir_image_blocklists(h);
}

struct weir_ifpat {
	char glob[16];
};

struct weir_ifxdp {
	char glob[16];
	uint32_t mode; /* enum weir_xdp_mode of lib/kern/kern.h */
};

struct weir_list_info {
	uint32_t name; /* offset into strings: "$set" or "" for an inline list */
	uint32_t ranges;
};
