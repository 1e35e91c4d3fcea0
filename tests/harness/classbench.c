/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness/classbench.h"

#include <stddef.h>
#include <stdlib.h>

#include "core/draw.h"

#define ROWS_MAX 48
#define SERVICES_MAX 16

enum ports { ANY, HIGH, ONE, SOME };

struct lengths { /* of the source from .. to .., of the destination likewise */
	uint8_t src_min, src_max, dst_min, dst_max;
	uint16_t share; /* 1/100 % */
};

struct services {
	uint8_t sport, dport, proto; /* enum ports; proto 0: any */
	uint16_t share;
};

struct profile {
	struct lengths lengths[ROWS_MAX];
	struct services services[SERVICES_MAX];
	uint16_t port;	    /* the one that is named most, and how much of those that name one, in percent */
	uint8_t port_share;
	uint8_t ports;	    /* how many others there are */
	uint32_t dst_every; /* one of so many rules brings another destination; 1: each */
};

static const struct profile profiles[] = {
	{ /* acl1: nearly every source is another one, few destinations */
	  { { 32, 32, 32, 32, 5073 }, { 31, 31, 32, 32, 1281 }, { 32, 32, 31, 31, 1090 }, { 32, 32, 21, 24, 434 },
	    { 21, 24, 32, 32, 293 }, { 31, 31, 31, 31, 268 }, { 31, 31, 21, 24, 251 }, { 32, 32, 30, 30, 197 },
	    { 30, 30, 32, 32, 155 }, { 21, 24, 31, 31, 146 }, { 21, 24, 9, 16, 123 }, { 30, 30, 21, 24, 103 },
	    { 32, 32, 25, 28, 102 }, { 31, 31, 25, 28, 70 }, { 21, 24, 6, 8, 66 }, { 21, 24, 25, 28, 47 },
	    { 25, 28, 32, 32, 46 }, { 21, 24, 17, 20, 37 }, { 29, 29, 21, 24, 34 }, { 21, 24, 1, 2, 24 },
	    { 30, 30, 31, 31, 21 }, { 31, 31, 30, 30, 17 }, { 21, 24, 21, 24, 12 }, { 21, 24, 0, 0, 11 },
	    { 29, 29, 32, 32, 11 }, { 21, 24, 30, 30, 10 }, { 21, 24, 29, 29, 9 }, { 6, 8, 0, 0, 6 },
	    { 32, 32, 29, 29, 6 }, { 25, 28, 21, 24, 3 }, { 6, 8, 1, 2, 3 }, { 0, 0, 6, 8, 2 }, { 1, 2, 6, 8, 2 },
	    { 0, 0, 1, 2, 1 }, { 1, 2, 0, 0, 1 }, { 0, 0, 0, 0, 1 } },
	  { { ANY, ONE, 6, 110 }, { ANY, ANY, 6, 41 }, { ANY, SOME, 6, 24 }, { ANY, ANY, 0, 17 },
	    { ANY, ANY, 1, 6 }, { ANY, ONE, 17, 2 } },
	  1521, 19, 100, 36 },
	{ /* fw1: one end is anybody, or half of them */
	  { { 1, 2, 32, 32, 2369 }, { 0, 0, 32, 32, 1336 }, { 0, 0, 31, 31, 1076 }, { 1, 2, 31, 31, 674 },
	    { 32, 32, 1, 2, 599 }, { 32, 32, 32, 32, 441 }, { 32, 32, 0, 0, 354 }, { 31, 31, 0, 0, 305 },
	    { 0, 0, 30, 30, 250 }, { 31, 31, 32, 32, 180 }, { 31, 31, 1, 2, 179 }, { 32, 32, 31, 31, 178 },
	    { 25, 28, 0, 0, 139 }, { 21, 24, 0, 0, 126 }, { 32, 32, 21, 24, 123 }, { 30, 30, 0, 0, 117 },
	    { 25, 28, 1, 2, 97 }, { 31, 31, 31, 31, 93 }, { 32, 32, 30, 30, 91 }, { 30, 30, 32, 32, 90 },
	    { 32, 32, 25, 28, 77 }, { 29, 29, 32, 32, 75 }, { 25, 28, 32, 32, 74 }, { 32, 32, 29, 29, 73 },
	    { 21, 24, 1, 2, 68 }, { 29, 29, 0, 0, 58 }, { 31, 31, 21, 24, 50 }, { 25, 28, 21, 24, 49 },
	    { 30, 30, 1, 2, 47 }, { 29, 29, 1, 2, 44 }, { 17, 20, 0, 0, 43 }, { 25, 28, 25, 28, 38 },
	    { 9, 16, 0, 0, 32 }, { 1, 2, 0, 0, 20 }, { 0, 0, 1, 2, 20 }, { 17, 20, 1, 2, 18 }, { 9, 16, 1, 2, 17 },
	    { 6, 8, 0, 0, 12 }, { 0, 0, 0, 0, 11 }, { 1, 2, 1, 2, 7 }, { 6, 8, 1, 2, 5 } },
	  { { ANY, ONE, 6, 84 }, { ANY, ONE, 17, 29 }, { ANY, ANY, 6, 22 }, { ONE, ANY, 17, 19 }, { ANY, ANY, 47, 11 },
	    { HIGH, HIGH, 6, 8 }, { ANY, ANY, 1, 7 }, { HIGH, HIGH, 17, 5 }, { ONE, ONE, 17, 4 }, { HIGH, ONE, 17, 3 },
	    { ONE, HIGH, 17, 3 }, { ANY, ANY, 0, 2 } },
	  22, 17, 40, 1 },
	{ /* ipc1: prefixes of all lengths at both ends */
	  { { 32, 32, 32, 32, 1670 }, { 21, 24, 25, 28, 939 }, { 21, 24, 21, 24, 825 }, { 25, 28, 21, 24, 629 },
	    { 21, 24, 32, 32, 571 }, { 25, 28, 25, 28, 531 }, { 31, 31, 32, 32, 487 }, { 32, 32, 25, 28, 423 },
	    { 25, 28, 32, 32, 387 }, { 32, 32, 31, 31, 333 }, { 25, 28, 31, 31, 258 }, { 31, 31, 25, 28, 217 },
	    { 32, 32, 21, 24, 197 }, { 21, 24, 9, 16, 192 }, { 21, 24, 31, 31, 175 }, { 21, 24, 0, 0, 122 },
	    { 17, 20, 21, 24, 105 }, { 25, 28, 9, 16, 102 }, { 30, 30, 32, 32, 97 }, { 1, 2, 32, 32, 90 },
	    { 21, 24, 17, 20, 88 }, { 31, 31, 31, 31, 85 }, { 9, 16, 25, 28, 84 }, { 0, 0, 31, 31, 75 },
	    { 0, 0, 32, 32, 75 }, { 0, 0, 25, 28, 75 }, { 21, 24, 29, 29, 74 }, { 0, 0, 21, 24, 72 },
	    { 21, 24, 1, 2, 67 }, { 1, 2, 21, 24, 58 }, { 17, 20, 25, 28, 53 }, { 9, 16, 21, 24, 51 },
	    { 1, 2, 31, 31, 39 }, { 9, 16, 32, 32, 39 }, { 25, 28, 0, 0, 33 }, { 32, 32, 1, 2, 29 },
	    { 32, 32, 9, 16, 28 }, { 32, 32, 0, 0, 25 }, { 9, 16, 9, 16, 24 }, { 17, 20, 9, 16, 23 },
	    { 0, 0, 9, 16, 13 }, { 9, 16, 0, 0, 10 }, { 0, 0, 0, 0, 3 }, { 0, 0, 1, 2, 2 }, { 1, 2, 0, 0, 1 } },
	  { { ANY, ANY, 0, 69 }, { ANY, ONE, 17, 44 }, { ANY, ONE, 6, 26 }, { ANY, HIGH, 17, 14 }, { ONE, ANY, 17, 14 },
	    { ONE, ANY, 6, 13 }, { ANY, ANY, 6, 5 }, { ANY, SOME, 6, 4 }, { SOME, ANY, 6, 4 }, { ANY, ANY, 1, 2 },
	    { ANY, SOME, 17, 2 }, { ONE, ONE, 17, 1 } },
	  514, 18, 50, 1 },
};

/* A number that belongs to this thing in this set. */
static uint64_t of_set(uint64_t set, uint64_t what)
{
	uint64_t x = (set ^ what * 0x9e3779b97f4a7c15u) | 1;

	return weir_draw(&x);
}

/* The share of this row in this set: a half to one and a half. */
static uint32_t shifted(uint64_t set, uint32_t row, uint32_t share)
{
	return share * (50 + (uint32_t)(of_set(set, row) % 101));
}

/* One of `n` rows, by their shares, of which the first stands at `share` and the next ones `step` bytes apart. */
static uint32_t draw_row(uint64_t *seed, uint64_t set, uint32_t first, const uint16_t *share, size_t step, uint32_t n)
{
	uint32_t sum[ROWS_MAX + 1] = { 0 }, at, i;

	for (i = 0; i < n; i++)
		sum[i + 1] = sum[i] + shifted(set, first + i, *(const uint16_t *)((const char *)share + i * step));
	at = weir_draw_below(seed, sum[n]);
	for (i = 0; sum[i + 1] <= at; i++)
		;
	return i;
}

static void draw_ports(uint64_t *seed, uint64_t set, const struct profile *p, enum ports kind, uint16_t *lo, uint16_t *hi)
{
	uint64_t which = of_set(set, 200 + weir_draw_below(seed, p->ports));

	*lo = 0;
	*hi = 65535;
	if (kind == HIGH)
		*lo = 1024;
	if (kind == ONE)
		*lo = *hi = weir_draw_below(seed, 100) < p->port_share ? p->port : (uint16_t)(which % (which >> 32 & 1 ? 1024 : 30000));
	if (kind == SOME) { /* a dozen of ranges */
		which = of_set(set, 400 + weir_draw_below(seed, 12));
		*lo = (uint16_t)(which % 60000);
		*hi = (uint16_t)(*lo + 1 + (which >> 32) % 100);
	}
}

/* Some thousands of addresses in a dozen of networks, a few of them often. */
static uint32_t pooled(uint64_t *seed, uint64_t set, uint32_t pool)
{
	uint32_t r = weir_draw_below(seed, 100), i = weir_draw_below(seed, r < 17 ? 4 : r < 40 ? 16 : pool ? pool : 1);

	return (uint32_t)(of_set(set, 500 + i % 13) << 16) | (uint16_t)of_set(set, 1000 + i);
}

/*
 * An end of the rule from 32 bits and a length. Of IPv6, below 2000::/3: what is a host of IPv4 is one there, what is
 * nearly one is a network of 64 bits, and shorter ones are the longer the more of them there are.
 */
static void put(uint64_t *seed, uint8_t family, uint32_t a, uint32_t len, weir_u128 *lo, weir_u128 *hi)
{
	uint32_t bits = family == 4 ? 32 : 128;
	weir_u128 at = WEIR_V4_LOW | a, rest;
	uint64_t low = a;

	if (family == 6) {
		len = !len ? 0 : len == 32 ? 128 : len > 28 ? 64 : len < 4 ? 3 + len : 3 + 2 * len;
		at = (weir_u128)(1ull << 61 | (uint64_t)a << 29 | (weir_draw(&low) & 0x1fffffff)) << 64 | weir_draw(seed);
	}
	rest = len ? ((weir_u128)1 << (bits - len)) - 1 : ~(weir_u128)0;
	if (family == 4)
		rest &= 0xffffffffu;
	*lo = len || family == 4 ? at & ~rest : 0;
	*hi = len || family == 4 ? at | rest : ~(weir_u128)0;
}

void weir_classbench_box(uint64_t *seed, enum weir_set_kind kind, uint64_t set, size_t n, struct weir_box *b)
{
	const struct profile *p = &profiles[kind - WEIR_SET_CB_ACL];
	const struct lengths *l = p->lengths + draw_row(seed, set, 0, &p->lengths->share, sizeof *p->lengths, ROWS_MAX);
	const struct services *s = p->services + draw_row(seed, set, 100, &p->services->share, sizeof *p->services, SERVICES_MAX);
	uint32_t src = (uint32_t)weir_draw(seed), dst = (uint32_t)weir_draw(seed);
	uint32_t src_len = l->src_min + weir_draw_below(seed, 1u + l->src_max - l->src_min);
	uint32_t dst_len = l->dst_min + weir_draw_below(seed, 1u + l->dst_max - l->dst_min);

	if (p->dst_every > 1)
		dst = pooled(seed, set, (uint32_t)(n / p->dst_every));
	put(seed, b->family, src, src_len, &b->src_lo, &b->src_hi);
	put(seed, b->family, dst, dst_len, &b->dst_lo, &b->dst_hi);
	draw_ports(seed, set, p, s->sport, &b->sport_lo, &b->sport_hi);
	draw_ports(seed, set, p, s->dport, &b->dport_lo, &b->dport_hi);
	if (s->proto)
		b->proto_lo = b->proto_hi = s->proto;
}

/* Bits of both addresses that are free. */
static int width(const struct weir_box *b)
{
	int bits = 0;

	for (weir_u128 x = b->src_hi - b->src_lo; x; x >>= 1)
		bits++;
	for (weir_u128 x = b->dst_hi - b->dst_lo; x; x >>= 1)
		bits++;
	return b->family == 4 ? bits * 4 : bits;
}

static int by_width(const void *a, const void *b)
{
	const struct weir_box *x = a, *y = b;
	int d = width(x) - width(y);

	return d ? d : x->rule < y->rule ? -1 : x->rule > y->rule;
}

void weir_classbench_order(struct weir_box *v, size_t n)
{
	qsort(v, n, sizeof *v, by_width);
	for (size_t i = 0; i < n; i++)
		v[i].rule = (uint32_t)i;
}
