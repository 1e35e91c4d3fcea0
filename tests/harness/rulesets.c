/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness/rulesets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/draw.h"
#include "lib/util/cleanup.h"
#include "tests/harness/classbench.h"

const char *const weir_set_names[] = { "acl", "fw", "ipc", "wide", "nested", "same", "ports",
				       "acl1-like", "fw1-like", "ipc1-like" };
const char *const weir_trace_names[] = { "match", "mixed", "random" };

static bool chance(uint64_t *seed, uint32_t percent)
{
	return weir_draw_below(seed, 100) < percent;
}

static weir_u128 draw128(uint64_t *seed)
{
	weir_u128 high = weir_draw(seed);

	return high << 64 | weir_draw(seed);
}

/* An address within one of a set's few hundred networks: real rules stand close together. */
static weir_u128 site(uint64_t *seed, uint8_t family, uint64_t set, uint32_t sites)
{
	uint64_t which = (set ^ weir_draw_below(seed, 1 + weir_draw_below(seed, sites))) * 0x9e3779b97f4a7c15u | 1;
	weir_u128 net = draw128(&which);

	if (family == 4)
		return WEIR_V4_LOW | ((uint32_t)net & 0xffffff00u) | (weir_draw_below(seed, 8) ? weir_draw_below(seed, 256) : 0);
	net = ((weir_u128)0x20010db8 << 96) | (net >> 36 << 64 & (((weir_u128)1 << 96) - 1));
	return net | (chance(seed, 60) ? weir_draw_below(seed, 4096) : (uint64_t)weir_draw(seed));
}

static void prefix(weir_u128 a, uint8_t family, uint32_t len, weir_u128 *lo, weir_u128 *hi)
{
	uint32_t bits = family == 4 ? 32 : 128;
	weir_u128 mask = len == 0 ? ~(weir_u128)0 : ((weir_u128)1 << (bits - len)) - 1;

	if (family == 4)
		mask &= 0xffffffffu;
	*lo = a & ~mask;
	*hi = a | mask;
}

/* What a prefix of IPv4 of this length is among the networks below 2001:db8::/32. */
static uint32_t length(uint64_t *seed, uint8_t family, uint32_t l)
{
	if (family == 4 || !l)
		return l;
	return l == 32 ? 128 : l > 28 ? 64 : 32 + l + (chance(seed, 20) ? 4 : 0);
}

static const uint16_t usual_ports[] = { 22, 25, 53, 80, 110, 123, 135, 139, 143, 161, 389, 443, 445, 514, 636, 993,
					995, 1433, 1521, 1723, 3128, 3306, 3389, 5060, 5432, 6379, 8080, 8443, 9090 };

static void one_port(uint64_t *seed, uint16_t *lo, uint16_t *hi)
{
	size_t n = sizeof usual_ports / sizeof *usual_ports;

	*lo = *hi = chance(seed, 70) ? usual_ports[weir_draw_below(seed, (uint32_t)n)] : (uint16_t)weir_draw_below(seed, 65536);
}

static void some_ports(uint64_t *seed, uint32_t any, uint32_t range, uint16_t *lo, uint16_t *hi)
{
	uint32_t r = weir_draw_below(seed, 100);

	*lo = 0;
	*hi = 65535;
	if (r < any)
		return;
	if (r < any + range) {
		if (chance(seed, 50)) {
			*lo = 1024;
			return;
		}
		*lo = (uint16_t)weir_draw_below(seed, 65000);
		*hi = (uint16_t)(*lo + weir_draw_below(seed, chance(seed, 80) ? 20 : 535));
		return;
	}
	one_port(seed, lo, hi);
}

static void some_proto(uint64_t *seed, uint32_t any, struct weir_box *b)
{
	uint8_t p = weir_draw_below(seed, 100) < 65 ? 6 : 17;

	b->proto_lo = b->proto_hi = chance(seed, 4) ? 1 : p;
	if (chance(seed, any)) {
		b->proto_lo = 0;
		b->proto_hi = 255;
	}
}

static void draw_box(uint64_t *seed, enum weir_set_kind kind, uint64_t set, struct weir_box *b)
{
	static const uint8_t src[3][8] = { { 0, 8, 16, 22, 24, 27, 30, 32 }, { 0, 0, 8, 16, 24, 28, 29, 32 },
					   { 12, 16, 21, 24, 26, 28, 32, 32 } };
	static const uint8_t dst[3][8] = { { 16, 23, 24, 27, 28, 32, 32, 32 }, { 0, 4, 12, 24, 28, 30, 32, 32 },
					   { 8, 16, 22, 24, 27, 32, 32, 32 } };
	uint32_t s = src[kind][chance(seed, 2) ? 0 : 1 + weir_draw_below(seed, 7)];
	uint32_t d = dst[kind][chance(seed, 2) ? 0 : 1 + weir_draw_below(seed, 7)];
	weir_u128 at;

	if (kind == WEIR_SET_FW && s < 8 && d < 8 && chance(seed, 97))
		d = 32;
	at = site(seed, b->family, set, 400); /* one draw to a statement: arguments have no order */
	prefix(at, b->family, length(seed, b->family, s), &b->src_lo, &b->src_hi);
	at = site(seed, b->family, ~set, 2000);
	prefix(at, b->family, length(seed, b->family, d), &b->dst_lo, &b->dst_hi);
	some_ports(seed, kind == WEIR_SET_FW ? 70 : 95, 10, &b->sport_lo, &b->sport_hi);
	some_ports(seed, kind == WEIR_SET_ACL ? 8 : 20, kind == WEIR_SET_FW ? 30 : 12, &b->dport_lo, &b->dport_hi);
	some_proto(seed, kind == WEIR_SET_ACL ? 2 : 10, b);
	if (chance(seed, 30))
		b->dirs = (uint8_t)(1 + weir_draw_below(seed, 7));
}

static void wide(uint64_t *seed, weir_u128 *lo, weir_u128 *hi, uint8_t family)
{
	weir_u128 a = draw128(seed), z = draw128(seed);

	if (family == 4) {
		a = WEIR_V4_LOW | (uint32_t)a;
		z = WEIR_V4_LOW | (uint32_t)z;
	}
	*lo = a < z ? a : z;
	*hi = a < z ? z : a;
}

static void wide_ports(uint64_t *seed, uint16_t *lo, uint16_t *hi)
{
	uint16_t a = (uint16_t)weir_draw_below(seed, 65536), z = (uint16_t)weir_draw_below(seed, 65536);

	*lo = a < z ? a : z;
	*hi = a < z ? z : a;
}

static void any_box(struct weir_box *b)
{
	prefix(b->family == 4 ? WEIR_V4_LOW : 0, b->family, 0, &b->src_lo, &b->src_hi);
	b->dst_lo = b->src_lo;
	b->dst_hi = b->src_hi;
	b->sport_lo = b->dport_lo = 0;
	b->sport_hi = b->dport_hi = 65535;
	b->proto_lo = 0;
	b->proto_hi = 255;
	b->dirs = WEIR_DIR_ANY;
}

static void odd_box(uint64_t *seed, enum weir_set_kind kind, uint64_t set, struct weir_box *b)
{
	uint32_t bits = b->family == 4 ? 32 : 128;
	uint64_t few;

	switch (kind) {
	case WEIR_SET_WIDE:
		wide(seed, &b->src_lo, &b->src_hi, b->family);
		wide(seed, &b->dst_lo, &b->dst_hi, b->family);
		wide_ports(seed, &b->sport_lo, &b->sport_hi);
		wide_ports(seed, &b->dport_lo, &b->dport_hi);
		break;
	case WEIR_SET_NESTED:
		few = set;
		prefix(site(&few, b->family, set, 1), b->family, weir_draw_below(seed, bits + 1), &b->src_lo, &b->src_hi);
		prefix(site(&few, b->family, set, 1), b->family, weir_draw_below(seed, bits + 1), &b->dst_lo, &b->dst_hi);
		one_port(seed, &b->dport_lo, &b->dport_hi);
		break;
	case WEIR_SET_SAME:
		few = (set ^ weir_draw_below(seed, 7)) * 0x9e3779b97f4a7c15u | 1;
		draw_box(&few, WEIR_SET_ACL, set, b);
		break;
	default:
		wide_ports(seed, &b->dport_lo, &b->dport_hi);
		b->dport_hi = b->dport_lo + 300 < b->dport_hi ? (uint16_t)(b->dport_lo + 300) : b->dport_hi;
		some_proto(seed, 5, b);
	}
}

int weir_set_make(struct weir_set *s, enum weir_set_kind kind, uint8_t family, size_t n, uint64_t seed)
{
	uint64_t set = (seed + 1) * 0x9e3779b97f4a7c15u;
	uint64_t draws = (set ^ ((uint64_t)kind << 8 | family)) | 1;

	s->v = calloc(n + 1, sizeof *s->v);
	s->n = n;
	if (!s->v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct weir_box *b = &s->v[i];

		b->family = family ? family : chance(&draws, 50) ? 4 : 6;
		any_box(b);
		b->rule = (uint32_t)i;
		if (kind >= WEIR_SET_CB_ACL)
			weir_classbench_box(&draws, kind, set, n, b);
		else if (kind <= WEIR_SET_IPC)
			draw_box(&draws, kind, set, b);
		else
			odd_box(&draws, kind, set, b);
	}
	if (kind >= WEIR_SET_CB_ACL)
		weir_classbench_order(s->v, n);
	return 0;
}

static bool read_line(const char *line, struct weir_box *b)
{
	unsigned a[4], c[4], sl, dl, port[4], proto, mask;

	if (sscanf(line, "@%u.%u.%u.%u/%u %u.%u.%u.%u/%u %u : %u %u : %u %x/%x", &a[0], &a[1], &a[2], &a[3], &sl, &c[0],
		   &c[1], &c[2], &c[3], &dl, &port[0], &port[1], &port[2], &port[3], &proto, &mask) != 16 ||
	    sl > 32 || dl > 32)
		return false;
	*b = (struct weir_box){ .family = 4 };
	any_box(b);
	prefix(WEIR_V4_LOW | a[0] << 24 | a[1] << 16 | a[2] << 8 | a[3], 4, sl, &b->src_lo, &b->src_hi);
	prefix(WEIR_V4_LOW | c[0] << 24 | c[1] << 16 | c[2] << 8 | c[3], 4, dl, &b->dst_lo, &b->dst_hi);
	b->sport_lo = (uint16_t)port[0];
	b->sport_hi = (uint16_t)port[1];
	b->dport_lo = (uint16_t)port[2];
	b->dport_hi = (uint16_t)port[3];
	if (mask)
		b->proto_lo = b->proto_hi = (uint8_t)proto;
	return true;
}

int weir_set_read(struct weir_set *s, const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char line[512];
	size_t room = 0;

	*s = (struct weir_set){ 0 };
	if (!f)
		return -errno;
	while (fgets(line, sizeof line, f)) {
		struct weir_box b;

		if (!read_line(line, &b))
			continue;
		if (s->n == room) {
			struct weir_box *v = reallocarray(s->v, room ? room * 2 : 1024, sizeof *v);

			if (!v)
				return -ENOMEM;
			room = room ? room * 2 : 1024;
			s->v = v;
		}
		b.rule = (uint32_t)s->n;
		s->v[s->n++] = b;
	}
	return s->n ? 0 : -EINVAL;
}

void weir_set_free(struct weir_set *s)
{
	free(s->v);
	*s = (struct weir_set){ 0 };
}

/* A number of the range; its ends more often than chance would. */
static weir_u128 within(uint64_t *seed, weir_u128 lo, weir_u128 hi)
{
	weir_u128 span = hi - lo;

	if (chance(seed, 2))
		return chance(seed, 50) ? lo : hi;
	return span == ~(weir_u128)0 ? draw128(seed) : lo + draw128(seed) % (span + 1);
}

static void set_key(struct weir_tree_key *k, uint8_t family, weir_u128 src, weir_u128 dst)
{
	if (family == 4)
		weir_tree_key4(k, (uint32_t)src, (uint32_t)dst);
	else
		weir_tree_key6(k, (uint64_t)(src >> 64), (uint64_t)src, (uint64_t)(dst >> 64), (uint64_t)dst);
}

/* Another box of the same family, so that a mixed packet is one that can be. */
static const struct weir_box *other(const struct weir_set *s, uint64_t *seed, const struct weir_box *b, bool mixed)
{
	for (int i = 0; mixed && i < 8; i++) {
		const struct weir_box *o = &s->v[weir_draw_below(seed, (uint32_t)s->n)];

		if (o->family == b->family)
			return o;
	}
	return b;
}

void weir_trace_key(const struct weir_set *s, enum weir_trace_kind kind, uint64_t *seed, struct weir_tree_key *k)
{
	static const uint8_t dirs[] = { WEIR_DIR_IN, WEIR_DIR_OUT, WEIR_DIR_FWD };
	bool mixed = kind == WEIR_TRACE_MIXED;
	const struct weir_box *b = &s->v[weir_draw_below(seed, (uint32_t)s->n)], *o;
	weir_u128 src, dst;

	memset(k, 0, sizeof *k);
	if (kind == WEIR_TRACE_RANDOM) {
		k->sport = weir_draw_below(seed, 65536);
		k->dport = weir_draw_below(seed, 65536);
		k->proto = chance(seed, 50) ? 6 : 17;
		k->dir = dirs[weir_draw_below(seed, 3)];
		src = draw128(seed);
		dst = draw128(seed);
		set_key(k, b->family, src, dst);
		return;
	}
	src = within(seed, b->src_lo, b->src_hi);
	o = other(s, seed, b, mixed);
	dst = within(seed, o->dst_lo, o->dst_hi);
	o = other(s, seed, b, mixed);
	k->sport = (uint32_t)within(seed, o->sport_lo, o->sport_hi);
	o = other(s, seed, b, mixed);
	k->dport = (uint32_t)within(seed, o->dport_lo, o->dport_hi);
	o = other(s, seed, b, mixed);
	k->proto = (uint32_t)within(seed, o->proto_lo, o->proto_hi);
	do
		k->dir = dirs[weir_draw_below(seed, 3)];
	while (!mixed && !(k->dir & b->dirs));
	set_key(k, b->family, src, dst);
}

bool weir_box_holds(const struct weir_box *b, const struct weir_tree_key *k)
{
	weir_u128 src = WEIR_V4_LOW | k->w[0] >> 32, dst = WEIR_V4_LOW | (uint32_t)k->w[0];

	if (k->family == 6) {
		src = (weir_u128)k->w[0] << 64 | k->w[1];
		dst = (weir_u128)k->w[2] << 64 | k->w[3];
	}
	return b->family == k->family && (b->dirs & k->dir) && src >= b->src_lo && src <= b->src_hi &&
	       dst >= b->dst_lo && dst <= b->dst_hi && k->sport >= b->sport_lo && k->sport <= b->sport_hi &&
	       k->dport >= b->dport_lo && k->dport <= b->dport_hi && k->proto >= b->proto_lo && k->proto <= b->proto_hi;
}

#define BUCKETS 4096

/* A box as far as it is seen without looking at it: of each address 32 bits, of IPv6 the first. */
struct entry {
	uint32_t src_lo, src_hi, dst_lo, dst_hi, box;
};

struct weir_oracle {
	struct weir_box *covered; /* the boxes as the trees know them */
	struct entry *list[BUCKETS];
	uint32_t n[BUCKETS], room[BUCKETS];
};

static int oracle_add(struct weir_oracle *o, uint32_t at, const struct entry *e)
{
	if (o->n[at] == o->room[at]) {
		uint32_t room = o->room[at] ? o->room[at] * 2 : 64;
		struct entry *p = realloc(o->list[at], room * sizeof *p);

		if (!p)
			return -ENOMEM;
		o->list[at] = p;
		o->room[at] = room;
	}
	o->list[at][o->n[at]++] = *e;
	return 0;
}

/* Into each bucket that some destination of the box falls into. */
static int oracle_take(struct weir_oracle *o, uint32_t i)
{
	const struct weir_box *b = &o->covered[i];
	uint32_t shift = b->family == 4 ? 0 : 96, bit = b->family == 4 ? 21 : 64, base = b->family == 4 ? 0 : 2048;
	weir_u128 first = b->dst_lo >> bit, span = (b->dst_hi >> bit) - first;
	struct entry e = { (uint32_t)(b->src_lo >> shift), (uint32_t)(b->src_hi >> shift), (uint32_t)(b->dst_lo >> shift),
			   (uint32_t)(b->dst_hi >> shift), i };
	int err = 0;

	for (uint32_t k = 0; k < 2048 && k <= span && !err; k++)
		err = oracle_add(o, base + (((uint32_t)first + k) & 2047), &e);
	return err;
}

struct weir_oracle *weir_oracle_new(const struct weir_set *s)
{
	struct weir_oracle *o = calloc(1, sizeof *o);
	int err = 0;

	if (!o)
		return NULL;
	o->covered = calloc(s->n + 1, sizeof *o->covered);
	err = o->covered ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < s->n && !err; i++) {
		o->covered[i] = weir_box_cover(&s->v[i]);
		err = oracle_take(o, i);
	}
	if (!err)
		return o;
	weir_oracle_free(o);
	return NULL;
}

void weir_oracle_free(struct weir_oracle *o)
{
	for (int i = 0; o && i < BUCKETS; i++)
		free(o->list[i]);
	if (o)
		free(o->covered);
	free(o);
}

uint32_t weir_oracle_find(const struct weir_oracle *o, const struct weir_tree_key *k, uint32_t *rules, uint32_t max)
{
	uint32_t at = k->family == 4 ? (uint32_t)k->w[0] >> 21 : 2048 + (uint32_t)(k->w[2] & 2047), n = 0;
	uint32_t src = (uint32_t)(k->w[0] >> 32), dst = k->family == 4 ? (uint32_t)k->w[0] : (uint32_t)(k->w[2] >> 32);

	for (uint32_t i = 0; i < o->n[at] && n < max; i++) {
		const struct entry *e = &o->list[at][i];
		const struct weir_box *b = &o->covered[e->box];

		if (src < e->src_lo || src > e->src_hi || dst < e->dst_lo || dst > e->dst_hi)
			continue;
		if (weir_box_holds(b, k) && (!n || rules[n - 1] != b->rule))
			rules[n++] = b->rule;
	}
	return n;
}
