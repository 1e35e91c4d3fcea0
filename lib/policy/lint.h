/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of lint share: lint.c (what is told), lint_cond.c (conditions compared), lint_find.c (with which). */
#pragma once
#include "lib/policy/flat.h"

#define WEIR_LINT_NONE UINT32_MAX

struct weir_lint_rule {
	const struct weir_p_rule *source;
	struct weir_flat_cond pos;
	const struct weir_flat_cond *neg; /* NULL: no `not` */
	uint8_t action, mode;
	bool log, bounds;
};

/* The conditions that one list decides, so that several rules can take it together; the rest is one. */
enum weir_lint_dim {
	WEIR_LINT_DIR,
	WEIR_LINT_PROTO,
	WEIR_LINT_FROM,
	WEIR_LINT_TO,
	WEIR_LINT_PORTS,
	WEIR_LINT_OTHER,
	WEIR_LINT_DIMS
};

/* Does b take everything that a takes, as far as dimension d goes? */
bool weir_cond_within(const struct weir_flat_cond *a, const struct weir_flat_cond *b, enum weir_lint_dim d);
/* Can a and b hold for one packet? true when in doubt. */
bool weir_cond_overlap(const struct weir_flat_cond *a, const struct weir_flat_cond *b);
/* What comparing a with something may cost, in steps. */
uint64_t weir_cond_size(const struct weir_flat_cond *a);

/* A packet, as far as boxes know it. */
struct weir_lint_point {
	weir_u128 src, dst;
	uint16_t sport, dport;
	uint8_t proto, dir, family;
};

/* The lowest packet of this family that a condition takes; false: it takes none of it. */
bool weir_cond_corner(const struct weir_flat_cond *c, uint8_t family, struct weir_lint_point *ret);

/* Which rules may hold a packet, and which may lie over one another. */
struct weir_lint_finder;
int weir_lint_finder_new(const struct weir_lint_rule *rules, uint32_t n, struct weir_lint_finder **ret);
void weir_lint_finder_free(struct weir_lint_finder *f);
/* The first rule from `from` on that may hold the packet, or WEIR_LINT_NONE. None that does is left out. */
uint32_t weir_lint_next(const struct weir_lint_finder *f, const struct weir_lint_point *p, uint32_t from);

/*
 * Those of the rules that deny or log and may overlap c by their addresses, in no order: asked one by one until
 * `each` says true, which is returned.
 */
bool weir_lint_denials(const struct weir_lint_finder *f, const struct weir_flat_cond *c,
		       bool (*each)(void *data, uint32_t rule), void *data);
