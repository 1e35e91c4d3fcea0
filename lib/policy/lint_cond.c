/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions of flat rules against each other. What is not sure counts against the finding. */
#include <string.h>

#include "lib/policy/daytime.h"
#include "lib/policy/lint.h"

static bool strings_within(const struct weir_values *a, const struct weir_values *b)
{
	const char *const *x = a->v, *const *y = b->v;

	for (uint32_t i = 0; i < a->n; i++) {
		uint32_t k = 0;

		while (k < b->n && strcmp(x[i], y[k]))
			k++;
		if (k == b->n)
			return false;
	}
	return true;
}

static bool numbers_within(const struct weir_values *a, const struct weir_values *b, size_t size)
{
	for (uint32_t i = 0; i < a->n; i++) {
		uint32_t k = 0;

		while (k < b->n && memcmp((const char *)a->v + i * size, (const char *)b->v + k * size, size))
			k++;
		if (k == b->n)
			return false;
	}
	return true;
}

static bool times_within(const struct weir_values *a, const struct weir_values *b)
{
	struct weir_times x = { 0 }, y = { 0 };

	memcpy(x.w, a->v, a->n * sizeof x.w[0]);
	memcpy(y.w, b->v, b->n * sizeof y.w[0]);
	return weir_times_within(&x, &y);
}

static bool icmp_within(const struct weir_flat_cond *a, const struct weir_flat_cond *b)
{
	for (uint32_t i = 0; i < a->n_icmp; i++) {
		uint32_t k = 0;

		for (; k < b->n_icmp; k++)
			if (b->icmp[k].family == a->icmp[i].family && b->icmp[k].type == a->icmp[i].type &&
			    b->icmp[k].code_min <= a->icmp[i].code_min && b->icmp[k].code_max >= a->icmp[i].code_max)
				break;
		if (k == b->n_icmp)
			return false;
	}
	return true;
}

bool weir_cond_within(const struct weir_flat_cond *a, const struct weir_flat_cond *b, enum weir_lint_dim d)
{
#define HOLDS(BIT, TEST) (!(b->set & (BIT)) || ((a->set & (BIT)) && (TEST)))
	switch (d) {
	case WEIR_LINT_DIR:
		return HOLDS(WEIR_C_DIR, !(a->dirs & ~b->dirs));
	case WEIR_LINT_PROTO:
		return HOLDS(WEIR_C_PROTO, !((a->protos[0] & ~b->protos[0]) | (a->protos[1] & ~b->protos[1]) |
					     (a->protos[2] & ~b->protos[2]) | (a->protos[3] & ~b->protos[3])));
	case WEIR_LINT_FROM:
		return HOLDS(WEIR_C_FROM, weir_ranges_within(&a->from, &b->from));
	case WEIR_LINT_TO:
		return HOLDS(WEIR_C_TO, weir_ranges_within(&a->to, &b->to));
	case WEIR_LINT_PORTS:
		return HOLDS(WEIR_C_PORTS, weir_ranges_within(&a->ports, &b->ports));
	default:
		return HOLDS(WEIR_C_PEER, weir_ranges_within(&a->peer, &b->peer)) &&
		       HOLDS(WEIR_C_SPORTS, weir_ranges_within(&a->sports, &b->sports)) &&
		       HOLDS(WEIR_C_ICMP, icmp_within(a, b)) &&
		       HOLDS(WEIR_C_VLAN, numbers_within(&a->vlan, &b->vlan, sizeof(uint32_t))) &&
		       HOLDS(WEIR_C_MAC, numbers_within(&a->mac, &b->mac, sizeof(uint64_t))) &&
		       HOLDS(WEIR_C_TIME, times_within(&a->time, &b->time)) &&
		       HOLDS(WEIR_C_MARK, !(b->mark_mask & ~a->mark_mask) && (a->mark & b->mark_mask) == b->mark) &&
		       HOLDS(WEIR_C_IN_IF, strings_within(&a->in_if, &b->in_if)) &&
		       HOLDS(WEIR_C_OUT_IF, strings_within(&a->out_if, &b->out_if)) &&
		       HOLDS(WEIR_C_ANY_IF, strings_within(&a->any_if, &b->any_if));
	}
#undef HOLDS
}

bool weir_cond_overlap(const struct weir_flat_cond *a, const struct weir_flat_cond *b)
{
	uint32_t both = a->set & b->set;

	if ((both & WEIR_C_DIR) && !(a->dirs & b->dirs))
		return false;
	if ((both & WEIR_C_PROTO) && !((a->protos[0] & b->protos[0]) | (a->protos[1] & b->protos[1]) |
				       (a->protos[2] & b->protos[2]) | (a->protos[3] & b->protos[3])))
		return false;
	if ((both & WEIR_C_FROM) && !weir_ranges_touch(&a->from, &b->from))
		return false;
	if ((both & WEIR_C_TO) && !weir_ranges_touch(&a->to, &b->to))
		return false;
	return !(both & WEIR_C_PORTS) || weir_ranges_touch(&a->ports, &b->ports);
}

uint64_t weir_cond_size(const struct weir_flat_cond *a)
{
	return 1 + (a->from.n + a->to.n + a->peer.n + a->ports.n + a->sports.n) / 8 + a->n_icmp + a->vlan.n + a->mac.n;
}

static bool lowest(const struct weir_flat_cond *c, uint32_t bit, const struct weir_ranges *r, uint8_t family,
		   weir_u128 *ret)
{
	struct weir_range hull;

	*ret = family == 4 ? WEIR_V4_LOW : 0;
	if (!(c->set & bit))
		return true;
	if (!weir_ranges_hull(r, family, &hull))
		return false;
	*ret = hull.lo;
	return true;
}

bool weir_cond_corner(const struct weir_flat_cond *c, uint8_t family, struct weir_lint_point *ret)
{
	struct weir_lint_point p = { .family = family, .dir = WEIR_DIR_IN };
	uint8_t dirs = c->set & WEIR_C_DIR ? c->dirs : WEIR_DIR_ANY;

	if (!lowest(c, WEIR_C_FROM, &c->from, family, &p.src) || !lowest(c, WEIR_C_TO, &c->to, family, &p.dst))
		return false;
	p.dir = dirs & -dirs;
	p.sport = (uint16_t)((c->set & WEIR_C_SPORTS) && c->sports.n ? c->sports.v[0].lo : 0);
	p.dport = (uint16_t)((c->set & WEIR_C_PORTS) && c->ports.n ? c->ports.v[0].lo : 0);
	for (unsigned i = 0; (c->set & WEIR_C_PROTO) && i < 4; i++)
		if (c->protos[i]) {
			p.proto = (uint8_t)(i * 64 + (unsigned)__builtin_ctzll(c->protos[i]));
			break;
		}
	*ret = p;
	return true;
}
