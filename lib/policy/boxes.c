/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of each rule can be said in ranges, taken from the image itself: so whoever has an image can make its trees. A
 * box may be larger than its rule (a list of many ranges counts as one from its lowest to its highest address), never
 * smaller. A rule of which the boxes say everything is marked (WEIR_RF_BOXED), and the programs ask it nothing more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/image_blob.h"
#include "core/classify.h"
#include "lib/policy/boxes.h"
#include "lib/policy/ranges.h"
#include "lib/util/cleanup.h"

#define RANGES 8 /* of a list that are kept apart */
#define BOXES 32 /* of one rule, in a family; fewer where all rules together would have more than: */
#define BOXES_ALL (4 * WEIR_RULES_MAX) /* two families, two orientations of a peer: what one box of each comes to */

/* Up to RANGES ranges, ascending; more become one around all of them. */
struct few {
	struct weir_range v[RANGES];
	uint32_t n;
	bool around;
};

struct lists {
	struct few addr[WEIR_LISTS_MAX][2], port[WEIR_LISTS_MAX]; /* IPv4, IPv6 */
};

struct maker {
	const struct weir_img *img;
	struct lists *lists;
	struct weir_box *v;
	size_t n, room;
	uint32_t most; /* boxes of one rule */
};

/* Where a rule may lie: one combination of its ranges. */
struct place {
	struct few src, dst, sport, dport, proto;
	uint8_t dirs, family;
};

static void few_around(struct few *f)
{
	f->v[0].hi = f->v[f->n - 1].hi;
	f->around |= f->n > 1;
	f->n = 1;
}

/* Ranges come ascending; one that goes on where the last ended is one with it. */
static void few_add(struct few *f, weir_u128 lo, weir_u128 hi)
{
	if (f->n && (f->around || f->v[f->n - 1].hi + 1 == lo)) {
		f->v[f->n - 1].hi = hi;
		return;
	}
	if (f->n == RANGES) {
		few_around(f);
		f->v[0].hi = hi;
		return;
	}
	f->v[f->n++] = (struct weir_range){ lo, hi };
}

/* One piece of the addresses or ports: it belongs to each list whose bit its class has. `step`: how many few a list has. */
static void add_piece(struct few *lists, size_t step, uint64_t (*word)(const struct weir_img *, uint32_t, uint32_t),
		      const struct weir_img *img, uint32_t words, uint32_t class_id, weir_u128 lo, weir_u128 hi)
{
	for (uint32_t w = 0; w < words; w++)
		for (uint64_t left = word(img, class_id, w); left; left &= left - 1)
			few_add(&lists[(w * 64 + (uint32_t)__builtin_ctzll(left)) * step], lo, hi);
}

static void read_lists(const struct weir_img *img, struct lists *l)
{
	const struct weir_config *c = img->cfg;
	const struct weir_bound4 *b4 = weir_img_bound4(img, 0), *p = weir_img_bound_port(img, 0);
	const struct weir_bound6 *b6 = weir_img_bound6(img, 0);

	for (uint32_t i = 0; i < c->n_bounds4; i++)
		add_piece(&l->addr[0][0], 2, weir_img_addr_word, img, c->row_words_addr, b4[i].class_id,
			  WEIR_V4_LOW + b4[i].low, i + 1 < c->n_bounds4 ? WEIR_V4_LOW + b4[i + 1].low - 1 : WEIR_V4_HIGH);
	for (uint32_t i = 0; i < c->n_bounds6; i++) {
		weir_u128 lo = (weir_u128)b6[i].hi << 64 | b6[i].lo, hi = ~(weir_u128)0;

		if (i + 1 < c->n_bounds6)
			hi = ((weir_u128)b6[i + 1].hi << 64 | b6[i + 1].lo) - 1;
		add_piece(&l->addr[0][1], 2, weir_img_addr_word, img, c->row_words_addr, b6[i].class_id, lo, hi);
	}
	for (uint32_t i = 0; i < c->n_bounds_port; i++)
		add_piece(&l->port[0], 1, weir_img_port_word, img, c->row_words_port, p[i].class_id, p[i].low,
			  i + 1 < c->n_bounds_port ? p[i + 1].low - 1 : 65535);
}

/* --- the parts of a box --- */

static struct few one(weir_u128 lo, weir_u128 hi)
{
	return (struct few){ .v = { { lo, hi } }, .n = 1 };
}

static struct few addrs_of(const struct maker *m, bool given, uint32_t ref, uint8_t family)
{
	const struct weir_span *s;
	struct weir_range r;

	if (!given)
		return family == 4 ? one(WEIR_V4_LOW, WEIR_V4_HIGH) : one(0, ~(weir_u128)0);
	if (!(ref & WEIR_SPAN))
		return ref < WEIR_LISTS_MAX ? m->lists->addr[ref][family == 6] : (struct few){ 0 };
	s = weir_img_span(m->img, ref & ~WEIR_SPAN);
	if (!s)
		return (struct few){ 0 };
	r.lo = (weir_u128)s->lo_hi << 64 | s->lo_lo;
	r.hi = (weir_u128)s->hi_hi << 64 | s->hi_lo;
	return r.hi < r.lo || weir_u128_is_v4(r.lo) != (family == 4) ? (struct few){ 0 } : one(r.lo, r.hi);
}

static struct few ports_of(const struct maker *m, bool given, const struct weir_ports *p)
{
	if (!given)
		return one(0, 65535);
	if (p->list == WEIR_NO_LIST)
		return p->lo <= p->hi ? one(p->lo, p->hi) : (struct few){ 0 };
	return p->list < WEIR_LISTS_MAX ? m->lists->port[p->list] : (struct few){ 0 };
}

static struct few protos_of(const struct weir_cond *c)
{
	struct few f = { 0 };

	for (uint32_t p = 0; p < 256; p++) {
		if ((c->set & WEIR_C_PROTO) && !(c->protos[p >> 6] >> (p & 63) & 1))
			continue;
		if ((c->set & (WEIR_C_PORTS | WEIR_C_SPORTS)) && !weir_proto_has_ports(p))
			continue;
		few_add(&f, p, p);
	}
	return f;
}

/* --- boxes --- */

static int add_box(struct maker *m, const struct weir_box *b, bool *exact)
{
	if (m->n == m->room) {
		size_t room = m->room * 2 + 1024;
		struct weir_box *more = realloc(m->v, room * sizeof *more);

		if (!more)
			return -ENOMEM;
		m->v = more;
		m->room = room;
	}
	m->v[m->n++] = *b;
	if (b->family == 6) { /* addresses of IPv6 are prefixes in the trees */
		struct weir_box c = weir_box_cover(b);

		*exact &= c.src_lo == b->src_lo && c.src_hi == b->src_hi && c.dst_lo == b->dst_lo && c.dst_hi == b->dst_hi;
	}
	return 0;
}

/* All combinations; where they would be too many, the part with the most ranges becomes one. */
static int add_place(struct maker *m, struct place *p, uint32_t rule, bool *exact)
{
	struct few *parts[] = { &p->src, &p->dst, &p->sport, &p->dport, &p->proto };
	uint32_t total;

	for (;;) {
		struct few *most = parts[0];

		total = 1;
		for (int i = 0; i < 5; i++) {
			total *= parts[i]->n;
			most = parts[i]->n > most->n ? parts[i] : most;
		}
		if (total <= m->most)
			break;
		few_around(most);
	}
	for (int i = 0; i < 5; i++)
		*exact &= !parts[i]->around;
	for (uint32_t i = 0; i < total; i++) {
		uint32_t k = i;
		struct weir_range r[5];
		struct weir_box b;
		int err;

		for (int d = 0; d < 5; k /= parts[d]->n, d++)
			r[d] = parts[d]->v[k % parts[d]->n];
		memset(&b, 0, sizeof b);
		b.src_lo = r[0].lo, b.src_hi = r[0].hi, b.dst_lo = r[1].lo, b.dst_hi = r[1].hi;
		b.sport_lo = (uint16_t)r[2].lo, b.sport_hi = (uint16_t)r[2].hi;
		b.dport_lo = (uint16_t)r[3].lo, b.dport_hi = (uint16_t)r[3].hi;
		b.proto_lo = (uint8_t)r[4].lo, b.proto_hi = (uint8_t)r[4].hi;
		b.dirs = p->dirs;
		b.family = p->family;
		b.rule = rule;
		err = add_box(m, &b, exact);
		if (err < 0)
			return err;
	}
	return 0;
}

#define SAID (WEIR_C_FROM | WEIR_C_TO | WEIR_C_PEER | WEIR_C_PROTO | WEIR_C_PORTS | WEIR_C_SPORTS | WEIR_C_DIR | WEIR_C_FAMILY)

static int add_rule(struct maker *m, uint32_t at, struct weir_rule *r)
{
	const struct weir_cond *c = &r->pos;
	uint8_t dirs = c->set & WEIR_C_DIR ? c->dirs & WEIR_DIR_ANY : WEIR_DIR_ANY;
	bool from = c->set & WEIR_C_FROM, to = c->set & WEIR_C_TO, peer = (c->set & WEIR_C_PEER) && !from && !to;
	bool exact = !(c->set & ~(uint32_t)SAID) && !(r->flags & WEIR_RF_NOT) && peer == !!(c->set & WEIR_C_PEER);
	struct few proto = protos_of(c);
	int err = 0;

	for (uint8_t family = 4; family <= 6 && !err; family += 2) {
		struct place p = { .sport = ports_of(m, c->set & WEIR_C_SPORTS, &c->sports),
				   .dport = ports_of(m, c->set & WEIR_C_PORTS, &c->ports),
				   .proto = proto,
				   .family = family };
		struct place q = p;

		if ((c->set & WEIR_C_FAMILY) && c->family != family)
			continue;
		/* the peer is the source of what comes in, the destination of what goes out, either of what is forwarded */
		p.dirs = peer ? dirs & (WEIR_DIR_IN | WEIR_DIR_FWD) : dirs;
		p.src = addrs_of(m, from || peer, peer ? c->peer : c->from, family);
		p.dst = addrs_of(m, to, c->to, family);
		if (p.dirs)
			err = add_place(m, &p, at, &exact);
		q.dirs = peer ? dirs & (WEIR_DIR_OUT | WEIR_DIR_FWD) : 0;
		q.src = addrs_of(m, false, 0, family);
		q.dst = addrs_of(m, true, c->peer, family);
		if (q.dirs && !err)
			err = add_place(m, &q, at, &exact);
	}
	r->flags = (uint8_t)((r->flags & ~WEIR_RF_BOXED) | (exact ? WEIR_RF_BOXED : 0));
	return err;
}

int weir_boxes_make(const struct weir_img *img, struct weir_rule *rules, struct weir_box **ret, size_t *ret_n)
{
	_cleanup_free_ struct lists *lists = calloc(1, sizeof *lists);
	struct maker m = { .img = img, .lists = lists };
	int err = lists ? 0 : -ENOMEM;

	if (!err)
		read_lists(img, lists);
	for (m.most = BOXES; !err && m.most; m.most = m.n > BOXES_ALL ? m.most / 2 : 0) {
		m.n = 0;
		for (uint32_t i = 0; i < img->cfg->n_rules && m.n <= BOXES_ALL && !err; i++)
			err = rules[i].flags & WEIR_RF_GONE ? 0 : add_rule(&m, i, &rules[i]);
	}
	if (err < 0) {
		free(m.v);
		return err;
	}
	*ret = m.v;
	*ret_n = m.n;
	return 0;
}

struct crowd {
	uint64_t hash;
	uint32_t rule;
};

static int by_hash(const void *a, const void *b)
{
	const struct crowd *x = a, *y = b;

	return x->hash != y->hash ? x->hash < y->hash ? -1 : 1 : x->rule < y->rule ? -1 : x->rule > y->rule;
}

static uint64_t box_hash(uint64_t h, const struct weir_box *b)
{
	struct weir_box x = *b;
	uint64_t w[sizeof x / 8];

	x.rule = 0;
	memcpy(w, &x, sizeof w);
	for (size_t i = 0; i < sizeof w / 8; i++)
		h = (h ^ w[i]) * 0x9e3779b97f4a7c15ull + (h >> 29);
	return h;
}

int weir_boxes_alike(const struct weir_box *boxes, size_t n, const struct weir_rule *rules, uint32_t n_rules,
		     uint32_t *ret_most, uint32_t *ret_first)
{
	_cleanup_free_ struct crowd *v = calloc(n_rules + 1, sizeof *v);
	size_t n_v = 0, begin = 0;

	*ret_most = *ret_first = 0;
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (rules[boxes[i].rule].flags & WEIR_RF_BOXED)
			continue;
		if (!n_v || v[n_v - 1].rule != boxes[i].rule)
			v[n_v++].rule = boxes[i].rule;
		v[n_v - 1].hash = box_hash(v[n_v - 1].hash, &boxes[i]);
	}
	qsort(v, n_v, sizeof *v, by_hash);
	for (size_t i = 0; i < n_v; i++) {
		if (v[i].hash != v[begin].hash)
			begin = i;
		if (i - begin + 1 > *ret_most) {
			*ret_most = (uint32_t)(i - begin + 1);
			*ret_first = v[begin].rule;
		}
	}
	return 0;
}
