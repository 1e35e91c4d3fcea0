/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images for tests, from rules and lists as they stand: no policy text, no merging of classes, none of the
 * code of lib/policy. What both builders must agree on is core/image.h alone.
 */
#pragma once
#include "core/image_blob.h"

#define WEIR_IMGBUILD_RANGES 16
#define WEIR_IMGBUILD_LISTS 128

struct weir_addr_range {
	uint8_t lo[16], hi[16]; /* both inclusive, of one family */
};

struct weir_port_range {
	uint16_t lo, hi; /* both inclusive */
};

struct weir_addr_list {
	struct weir_addr_range r[WEIR_IMGBUILD_RANGES];
	uint32_t n;
};

struct weir_port_list {
	struct weir_port_range r[WEIR_IMGBUILD_RANGES];
	uint32_t n;
};

struct weir_imgbuild {
	struct weir_config cfg; /* counts and WEIR_C_* in use are filled by weir_imgbuild_make */
	struct weir_rule rules[WEIR_LINEAR_MAX], failsafe[WEIR_FAILSAFE_MAX];
	struct weir_cond negs[WEIR_LINEAR_MAX + WEIR_FAILSAFE_MAX];
	struct weir_addr_list addrs[WEIR_IMGBUILD_LISTS];
	struct weir_port_list ports[WEIR_IMGBUILD_LISTS];
	struct weir_span spans[WEIR_IMGBUILD_LISTS];
	struct weir_ifpat ifpats[WEIR_IFPAT_MAX];
	struct weir_times times[WEIR_TIMES_MAX];
	struct weir_limit limits[WEIR_LIMITS_MAX]; /* costs are filled by weir_limit_make */
	uint32_t n_limits, n_times, n_rules, n_failsafe, n_negs, n_spans, n_addrs, n_ports, n_ifpats;
	uint16_t block; /* number of the address list that is the blocklist, or WEIR_NO_LIST */
};

/* Everything allowed, everything in prevent, nothing else. */
void weir_imgbuild_init(struct weir_imgbuild *b);

/* "10.0.0.0/8", "192.0.2.1-192.0.2.9", "2001:db8::/32"; several, NULL at the end. Returns the list's number. */
uint16_t weir_imgbuild_addrs(struct weir_imgbuild *b, ...) __attribute__((sentinel));
/* The same as a span, of one range. */
uint32_t weir_imgbuild_span(struct weir_imgbuild *b, const char *range);
struct weir_ports weir_imgbuild_ports(struct weir_imgbuild *b, uint16_t lo, uint16_t hi);
/* A rule in prevent that the caller completes. */
struct weir_rule *weir_imgbuild_rule(struct weir_imgbuild *b, uint8_t action);
struct weir_rule *weir_imgbuild_failsafe(struct weir_imgbuild *b);
/* The negated group of this rule, empty as yet. */
struct weir_cond *weir_imgbuild_neg(struct weir_imgbuild *b, struct weir_rule *r);

/* The blob (free it) with its digest; its size in *ret_size. Aborts on what no test should ask for. */
void *weir_imgbuild_make(const struct weir_imgbuild *b, uint32_t *ret_size);

/* Lines of core/block_line.h that hold a list. Returns their number; `to` has room for WEIR_IMGBLOCK_LINES. */
#define WEIR_IMGBLOCK_LINES 64
#define WEIR_IMGBLOCK_LISTS 3u /* that its parts are of, in turn */
uint32_t weir_imgblock_make(const struct weir_addr_list *l, struct weir_block_line *to);

static inline void weir_cond_proto(struct weir_cond *c, uint8_t proto)
{
	c->set |= WEIR_C_PROTO;
	c->protos[proto >> 6] |= 1ull << (proto & 63);
}
