/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The gate of the failsafe (core/gate_table.h): how it is made, and how it is asked. */
#pragma once
#include "core/classify.h"
#include "core/cursor.h"
#include "core/gate_table.h"

/* What a direction is to the side that answers, as in weir_facts_reverse; of several. */
WEIR_INLINE uint32_t weir_dirs_reverse(uint32_t dirs)
{
	_Static_assert(WEIR_DIR_IN == 1 && WEIR_DIR_OUT == 2, "as used");
	return (dirs & WEIR_DIR_FWD) | (dirs & 1) << 1 | (dirs >> 1 & 1);
}

WEIR_INLINE void weir_gate_port_range(uint64_t table[2][256], uint32_t lo, uint32_t hi, uint64_t bit)
{
	for (uint32_t high = lo >> 8; high <= hi >> 8; high++)
		table[1][high & 255] |= bit;
	for (uint32_t p = lo; p <= hi && p < lo + 256; p++)
		table[0][p & 255] |= bit;
}

/* `listed`: ports are a condition of the entry. */
static inline void weir_gate_ports(const struct weir_img *img, const struct weir_config *cfg, uint64_t table[2][256],
				   bool listed, const struct weir_ports *p, uint64_t bit)
{
	if (!listed) {
		weir_gate_port_range(table, 0, 65535, bit);
	} else if (p->list == WEIR_NO_LIST) {
		if (p->lo <= p->hi)
			weir_gate_port_range(table, p->lo, p->hi, bit);
	} else {
		for (uint32_t i = 0; !i || i < cfg->n_bounds_port; i++) { /* no bounds: all ports have class 0 */
			const struct weir_bound4 *b = weir_img_bound_port(img, i), *next = weir_img_bound_port(img, i + 1);

			if (weir_in_ports(img, 0, b ? b->class_id : 0, p))
				weir_gate_port_range(table, b ? b->low : 0, next ? next->low - 1 : 65535, bit);
		}
	}
}

WEIR_INLINE bool weir_gate_proto(const struct weir_cond *c, uint32_t set, uint32_t proto)
{
	if ((set & WEIR_C_PROTO) && !(c->protos[proto >> 6 & 3] >> (proto & 63) & 1))
		return false;
	if ((set & WEIR_C_ICMP) && proto != WEIR_IPPROTO_ICMP && proto != WEIR_IPPROTO_ICMPV6)
		return false;
	return !(set & (WEIR_C_PORTS | WEIR_C_SPORTS)) || weir_proto_has_ports(proto);
}

WEIR_INLINE bool weir_gate_type(const struct weir_cond *c, uint32_t type)
{
	for (uint32_t i = 0; i < c->n_icmp && i < WEIR_ICMP_MAX; i++)
		if (c->icmp[i].type == type)
			return true;
	return false;
}

static inline void weir_gate_entry(const struct weir_img *img, const struct weir_config *cfg, const struct weir_rule *r,
				   uint64_t bit, struct weir_gate *g)
{
	const struct weir_cond *c = &r->pos;
	uint32_t set = c->set & cfg->conds_used;

	for (uint32_t i = 0; i < 256; i++) {
		g->proto[i] |= weir_gate_proto(c, set, i) ? bit : 0;
		g->icmp[i] |= !(set & WEIR_C_ICMP) || weir_gate_type(c, i) ? bit : 0;
	}
	weir_gate_ports(img, cfg, g->sport, set & WEIR_C_SPORTS, &c->sports, bit);
	weir_gate_ports(img, cfg, g->dport, set & WEIR_C_PORTS, &c->ports, bit);
	for (uint32_t i = 0; i < 2; i++)
		g->family[i] |= !(set & WEIR_C_FAMILY) || c->family == (i ? 6 : 4) ? bit : 0;
	for (uint32_t i = 0; i < 8; i++) {
		g->dir[i] |= !(set & WEIR_C_DIR) || (c->dirs & i) ? bit : 0;
		if ((r->flags & WEIR_RF_REPLY) && (!(set & WEIR_C_DIR) || (c->dirs & weir_dirs_reverse(i))))
			g->answers[i] |= bit;
	}
}

/* `g` is zeroed. The accessors of core/classify.h read the image. */
static inline void weir_gate_make(const struct weir_img *img, const struct weir_config *cfg, struct weir_gate *g)
{
	for (uint32_t i = 0; i < cfg->n_failsafe && i < WEIR_FAILSAFE_MAX; i++) {
		const struct weir_rule *r = weir_img_rule(img, WEIR_FAILSAFE, i);

		if (r)
			weir_gate_entry(img, cfg, r, (uint64_t)1 << i, g);
	}
}

WEIR_INLINE uint64_t weir_gate_fields(const struct weir_gate *g, uint32_t proto, uint32_t family, uint32_t type,
				      uint32_t sport, uint32_t dport)
{
	return g->proto[proto & 255] & g->family[family == 6] & g->icmp[type & 255] & g->sport[0][sport & 255] &
	       g->sport[1][sport >> 8 & 255] & g->dport[0][dport & 255] & g->dport[1][dport >> 8 & 255];
}

/* The entries that may match these facts. Their ports have to be known. */
WEIR_INLINE uint64_t weir_gate_facts(const struct weir_gate *g, const struct weir_facts *f)
{
	return weir_gate_fields(g, f->proto, f->family, f->icmp_type, f->t.sport, f->t.dport) & g->dir[f->dir & 7];
}

/* The number of the lowest bit that is set. Arithmetic: the programs go from entry to entry, and the verifier with them. */
WEIR_INLINE uint32_t weir_gate_lowest(uint64_t x)
{
	uint64_t n = (x & -x) - 1;

	n -= n >> 1 & 0x5555555555555555ull;
	n = (n & 0x3333333333333333ull) + (n >> 2 & 0x3333333333333333ull);
	n = (n + (n >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return (uint32_t)(n * 0x0101010101010101ull >> 56);
}

/* An echo reply is to its request what a packet is to its answer. */
WEIR_INLINE uint8_t weir_echo_reverse(uint32_t family, uint8_t type)
{
	if (family == 4)
		return type == 0 ? 8 : type == 8 ? 0 : type;
	return type == 128 ? 129 : type == 129 ? 128 : type;
}

/* The entries for what goes to this port. */
WEIR_INLINE uint64_t weir_gate_to(const struct weir_gate *g, uint32_t port)
{
	return g->dport[0][port & 255] & g->dport[1][port >> 8 & 255];
}

/* The entries for this port, or for an answer from it: for nearly every packet there is none. */
WEIR_INLINE uint64_t weir_gate_near(const struct weir_gate *g, uint32_t proto, bool six, uint32_t sport, uint32_t dport, bool opens)
{
	WEIR_BOUND(sport, 65535); /* clang knows that they are ports, and the verifier forgets it */
	WEIR_BOUND(dport, 65535);
	return g->proto[proto & 255] & g->family[six] & (weir_gate_to(g, dport) | (opens ? 0 : weir_gate_to(g, sport)));
}

/* Is there an entry that may admit this packet, or one that it answers? `dirs`: those that it can have. */
WEIR_INLINE bool weir_gate_admits(const struct weir_gate *g, const struct weir_pkt *p, uint32_t dirs, bool opens)
{
	uint64_t may = g->dir[dirs & 7], answers = g->answers[dirs & 7];

	if (!weir_gate_near(g, p->proto, p->family == 6, p->t.sport, p->t.dport, opens))
		return false;
	may &= weir_gate_fields(g, p->proto, p->family, p->icmp_type, p->t.sport, p->t.dport);
	if (!opens && answers)
		may |= answers & weir_gate_fields(g, p->proto, p->family, weir_echo_reverse(p->family, p->icmp_type), p->t.dport,
						  p->t.sport);
	return may;
}
