/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/kern/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/block_dense.h"
#include "core/classify.h"
#include "core/pkt.h"
#include "core/wire.h"
#include "lib/util/cleanup.h"

#define RULES_PROBED 64u /* rules of which a packet is made, spread over all */
#define EDGES_PROBED 12u /* borders of each table of bounds, likewise */

static const char *const hook_words[WEIR_PROBE_HOOKS] = { "in", "out", "forward" };
static const uint8_t hook_dirs[WEIR_PROBE_HOOKS] = { WEIR_DIR_IN, WEIR_DIR_OUT, WEIR_DIR_FWD };

static uint8_t *append(struct weir_probe *p, uint32_t n)
{
	uint8_t *at = p->b + p->len;

	memset(at, 0, n);
	p->len += n;
	return at;
}

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static void put_l2(struct weir_probe *p, const struct weir_probe_spec *s, uint16_t type)
{
	static const uint8_t ends[12] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 };
	uint8_t *h = append(p, 14);

	memcpy(h, ends, sizeof ends);
	for (int i = 0; s->mac && i < 6; i++)
		h[6 + i] = (uint8_t)(s->mac >> (40 - 8 * i));
	put16(h + 12, s->vlan ? WEIR_ETH_VLAN : type);
	if (!s->vlan)
		return;
	h = append(p, 4);
	put16(h, s->vlan);
	put16(h + 2, type);
}

static void put_l4(struct weir_probe *p, const struct weir_probe_spec *s)
{
	uint8_t *h;

	switch (s->proto) {
	case WEIR_IPPROTO_TCP:
		h = append(p, 20);
		h[12] = 0x50;
		h[13] = s->tcp_flags ? s->tcp_flags : WEIR_TCP_SYN;
		break;
	case WEIR_IPPROTO_UDP:
	case WEIR_IPPROTO_UDPLITE:
		h = append(p, 16);
		put16(h + 4, 16);
		break;
	case WEIR_IPPROTO_SCTP:
		h = append(p, 16);
		break;
	case WEIR_IPPROTO_ICMP:
	case WEIR_IPPROTO_ICMPV6:
		h = append(p, 16);
		h[0] = s->icmp_type;
		h[1] = s->icmp_code;
		put16(h + 4, 7);
		return;
	default:
		append(p, 16);
		return;
	}
	put16(h, s->sport);
	put16(h + 2, s->dport);
}

static void put_ip4(struct weir_probe *p, const struct weir_probe_spec *s)
{
	uint32_t at = p->len;
	uint8_t *h = append(p, 20);

	h[0] = 0x45;
	put16(h + 4, 77);
	put16(h + 6, s->frag == WEIR_FRAG_FIRST ? 0x2000 : s->frag == WEIR_FRAG_LATER ? 8 : 0);
	h[8] = s->ttl ? s->ttl : 64;
	h[9] = s->proto;
	memcpy(h + 12, s->src + 12, 4);
	memcpy(h + 16, s->dst + 12, 4);
	put_l4(p, s);
	put16(p->b + at + 2, p->len - at);
}

static void put_ip6(struct weir_probe *p, const struct weir_probe_spec *s)
{
	uint32_t at = p->len;
	uint8_t *h = append(p, 40);

	h[0] = 0x60;
	h[6] = s->frag ? 44 : s->proto;
	h[7] = s->ttl ? s->ttl : 64;
	memcpy(h + 8, s->src, 16);
	memcpy(h + 24, s->dst, 16);
	if (s->frag) {
		h = append(p, 8);
		h[0] = s->proto;
		put16(h + 2, s->frag == WEIR_FRAG_FIRST ? 1 : 8 << 3);
		put16(h + 6, 77);
	}
	put_l4(p, s);
	put16(p->b + at + 4, p->len - at - 40);
}

static const char *proto_word(uint8_t proto, char buf[static 16])
{
	switch (proto) {
	case WEIR_IPPROTO_TCP:
		return "tcp";
	case WEIR_IPPROTO_UDP:
		return "udp";
	case WEIR_IPPROTO_ICMP:
		return "icmp";
	case WEIR_IPPROTO_ICMPV6:
		return "icmpv6";
	case WEIR_IPPROTO_SCTP:
		return "sctp";
	}
	snprintf(buf, 16, "protocol %u", proto);
	return buf;
}

static void name(struct weir_probe *p, const struct weir_probe_spec *s)
{
	char proto[16], port[24] = "";

	if (s->proto == WEIR_IPPROTO_ICMP || s->proto == WEIR_IPPROTO_ICMPV6)
		snprintf(port, sizeof port, " type %u", s->icmp_type);
	else if (s->dport)
		snprintf(port, sizeof port, " to port %u", s->dport);
	snprintf(p->what, sizeof p->what, "%s %s%s%s%s%s", proto_word(s->proto, proto), hook_words[s->hook], port,
		 s->family == 6 ? ", IPv6" : "", s->vlan ? ", VLAN" : "",
		 s->frag == WEIR_FRAG_FIRST ? ", first fragment" :
		 s->frag == WEIR_FRAG_LATER ? ", later fragment" :
					      "");
}

static void build(struct weir_probe *p, const struct weir_probe_spec *s)
{
	p->len = 0;
	p->hook = s->hook;
	p->mark = s->mark;
	p->pat = s->pat;
	name(p, s);
	put_l2(p, s, s->family == 6 ? WEIR_ETH_IP6 : WEIR_ETH_IP4);
	if (s->family == 6)
		put_ip6(p, s);
	else
		put_ip4(p, s);
}

/* Two ends that no list is likely to hold: of the networks that RFC 5737 and RFC 3849 keep for examples. */
static void plain(struct weir_probe_spec *s, enum weir_probe_hook hook, uint8_t family, uint8_t proto)
{
	*s = (struct weir_probe_spec){ .hook = hook, .family = family, .proto = proto, .sport = 40001, .dport = 40002 };
	memcpy(s->src, family == 4 ? "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\7" : "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\7", 16);
	memcpy(s->dst, family == 4 ? "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\7" : "\x20\1\xd\xb8\0\1\0\0\0\0\0\0\0\0\0\7", 16);
	if (proto == WEIR_IPPROTO_ICMP || proto == WEIR_IPPROTO_ICMPV6)
		s->icmp_type = family == 4 ? 8 : 128;
}

struct giver {
	weir_probe_cb cb;
	void *data;
	struct weir_probe p;
};

static int give(struct giver *g, const struct weir_probe_spec *s)
{
	build(&g->p, s);
	return g->cb(&g->p, g->data);
}

/* Every protocol, family and hook; fragments, tags, packets from the middle of a conversation. */
static int give_kinds(struct giver *g)
{
	struct weir_probe_spec s;
	int r = 0;

	for (int i = 0; i < WEIR_PROBE_HOOKS * 2 && !r; i++) {
		enum weir_probe_hook hook = (enum weir_probe_hook)(i / 2);
		uint8_t family = i % 2 ? 6 : 4;

		plain(&s, hook, family, WEIR_IPPROTO_TCP);
		r = give(g, &s);
		s.tcp_flags = WEIR_TCP_ACK;
		r = r ? r : give(g, &s);
		plain(&s, hook, family, WEIR_IPPROTO_UDP);
		r = r ? r : give(g, &s);
		s.vlan = 4094;
		r = r ? r : give(g, &s);
		s.vlan = 0;
		s.frag = WEIR_FRAG_FIRST;
		r = r ? r : give(g, &s);
		s.frag = WEIR_FRAG_LATER;
		r = r ? r : give(g, &s);
		plain(&s, hook, family, family == 4 ? WEIR_IPPROTO_ICMP : WEIR_IPPROTO_ICMPV6);
		r = r ? r : give(g, &s);
		plain(&s, hook, family, 253); /* RFC 3692: for experiments */
		r = r ? r : give(g, &s);
	}
	return r;
}

/* A sound UDP packet, one byte of which is made a lie. */
static int give_lie(struct giver *g, enum weir_probe_hook hook, uint8_t family, uint32_t at, uint8_t value, const char *what)
{
	struct weir_probe_spec s;

	plain(&s, hook, family, WEIR_IPPROTO_UDP);
	build(&g->p, &s);
	g->p.b[at] = value;
	snprintf(g->p.what, sizeof g->p.what, "%s %s", what, hook_words[hook]);
	return g->cb(&g->p, g->data);
}

static int give_lies(struct giver *g)
{
	int r = 0;

	for (int i = 0; i < 2 && !r; i++) {
		enum weir_probe_hook h = (enum weir_probe_hook)i;

		r = give_lie(g, h, 4, 14, 0x44, "IPv4 with a header of 16 bytes");
		r = r ? r : give_lie(g, h, 4, 16, 0x40, "IPv4 longer than its frame");
		r = r ? r : give_lie(g, h, 4, 26, 0xe0, "IPv4 from a multicast address");
		r = r ? r : give_lie(g, h, 4, 39, 3, "UDP with a length of 3");
		r = r ? r : give_lie(g, h, 6, 14, 0x40, "IPv6 that says version 4");
		r = r ? r : give_lie(g, h, 6, 18, 0x40, "IPv6 longer than its frame");
		r = r ? r : give_lie(g, h, 4, 12, 0x88, "a frame of an unknown EtherType");
		r = r ? r : give_lie(g, h, 4, 13, 0x06, "ARP");
	}
	return r;
}

/* The first address of each list in both families, and the first port of each list of ports. */
struct firsts {
	const struct weir_img *img;
	const void *a4[WEIR_LISTS_MAX], *a6[WEIR_LISTS_MAX], *port[WEIR_LISTS_MAX]; /* bounds */
};

static void note_row(uint64_t word, uint32_t w, const void *bound, const void **firsts)
{
	for (; word; word &= word - 1) {
		uint32_t list = w * 64 + (uint32_t)__builtin_ctzll(word);

		if (!firsts[list])
			firsts[list] = bound;
	}
}

static void find_firsts(const struct weir_img *img, struct firsts *f)
{
	const struct weir_config *c = img->cfg;

	f->img = img;
	for (uint32_t i = 0; i < c->n_bounds4; i++)
		for (uint32_t w = 0; w < c->row_words_addr; w++)
			note_row(weir_img_addr_word(img, weir_img_bound4(img, i)->class_id, w), w, weir_img_bound4(img, i),
				 f->a4);
	for (uint32_t i = 0; i < c->n_bounds6; i++)
		for (uint32_t w = 0; w < c->row_words_addr; w++)
			note_row(weir_img_addr_word(img, weir_img_bound6(img, i)->class_id, w), w, weir_img_bound6(img, i),
				 f->a6);
	for (uint32_t i = 0; i < c->n_bounds_port; i++)
		for (uint32_t w = 0; w < c->row_words_port; w++)
			note_row(weir_img_port_word(img, weir_img_bound_port(img, i)->class_id, w), w,
				 weir_img_bound_port(img, i), f->port);
}

static void set4(uint8_t a[16], uint32_t low)
{
	memset(a, 0, 10);
	a[10] = a[11] = 0xff;
	put16(a + 12, low >> 16);
	put16(a + 14, low);
}

static void set6(uint8_t a[16], uint64_t hi, uint64_t lo)
{
	for (int i = 0; i < 8; i++) {
		a[i] = (uint8_t)(hi >> (56 - 8 * i));
		a[8 + i] = (uint8_t)(lo >> (56 - 8 * i));
	}
}

static void take_addr(const struct firsts *f, uint32_t list, uint8_t family, uint8_t a[16])
{
	const struct weir_span *s = list & WEIR_SPAN ? weir_img_span(f->img, list & ~WEIR_SPAN) : NULL;

	if (s && (!s->lo_hi && s->lo_lo >> 32 == 0xffff) == (family == 4))
		set6(a, s->lo_hi, s->lo_lo);
	if (list >= WEIR_LISTS_MAX)
		return;
	if (family == 4 && f->a4[list]) {
		set4(a, ((const struct weir_bound4 *)f->a4[list])->low);
	} else if (family == 6 && f->a6[list]) {
		const struct weir_bound6 *b = f->a6[list];

		set6(a, b->hi, b->lo);
	}
}

static uint16_t take_port(const struct firsts *f, const struct weir_ports *p, uint16_t otherwise)
{
	const struct weir_bound4 *b = p->list < WEIR_LISTS_MAX ? f->port[p->list] : NULL;

	if (p->list == WEIR_NO_LIST)
		return p->lo;
	return b ? (uint16_t)b->low : otherwise;
}

static uint8_t cond_proto(const struct weir_cond *c, uint8_t family)
{
	uint8_t wanted[] = { WEIR_IPPROTO_TCP, WEIR_IPPROTO_UDP, family == 4 ? WEIR_IPPROTO_ICMP : WEIR_IPPROTO_ICMPV6,
			     WEIR_IPPROTO_SCTP };

	if (c->set & WEIR_C_ICMP)
		return wanted[2];
	if (!(c->set & WEIR_C_PROTO))
		return WEIR_IPPROTO_TCP;
	for (uint32_t i = 0; i < sizeof wanted; i++)
		if (c->protos[wanted[i] >> 6] >> (wanted[i] & 63) & 1)
			return wanted[i];
	for (uint32_t n = 0; n < 256; n++)
		if (c->protos[n >> 6] >> (n & 63) & 1)
			return (uint8_t)n;
	return WEIR_IPPROTO_TCP;
}

/* A packet that the condition should take, as far as one can be made. Whether it does, others say. */
static void of_cond(const struct weir_cond *c, const struct firsts *f, enum weir_probe_hook hook, uint8_t family,
		    struct weir_probe_spec *s)
{
	plain(s, hook, family, cond_proto(c, family));
	for (uint32_t i = 0; (c->set & WEIR_C_ICMP) && i < c->n_icmp; i++) {
		if (c->icmp[i].family != family)
			continue;
		s->icmp_type = c->icmp[i].type;
		s->icmp_code = c->icmp[i].code_min;
		break;
	}
	if (c->set & WEIR_C_PORTS)
		s->dport = take_port(f, &c->ports, s->dport);
	if (c->set & WEIR_C_SPORTS)
		s->sport = take_port(f, &c->sports, s->sport);
	if (c->set & WEIR_C_FROM)
		take_addr(f, c->from, family, s->src);
	if (c->set & WEIR_C_TO)
		take_addr(f, c->to, family, s->dst);
	if (c->set & WEIR_C_PEER)
		take_addr(f, c->peer, family, hook == WEIR_PROBE_OUT ? s->dst : s->src);
	if ((c->set & WEIR_C_VLAN) && c->n_vlan)
		s->vlan = c->vlan[0] & 0xfff;
	if ((c->set & WEIR_C_MAC) && c->n_mac)
		s->mac = c->mac[0];
	if (c->set & WEIR_C_MARK)
		s->mark = c->mark;
	if (c->set & WEIR_C_TTL)
		s->ttl = c->ttl;
	s->pat = (c->set & WEIR_C_IN_IF ? c->in_if : 0) | (c->set & WEIR_C_OUT_IF ? c->out_if : 0) |
		 (c->set & WEIR_C_ANY_IF ? c->any_if : 0);
}

static int give_rules(struct giver *g, const struct weir_img *img, uint32_t which, const struct firsts *f)
{
	uint32_t n = which == WEIR_RULES ? img->cfg->n_rules : img->cfg->n_failsafe;
	uint32_t step = n / RULES_PROBED + 1;
	struct weir_probe_spec s;
	int r = 0;

	for (uint32_t i = 0; i < n && !r; i += step) {
		const struct weir_cond *c = &weir_img_rule(img, which, i)->pos;

		for (int h = 0; h < WEIR_PROBE_HOOKS && !r; h++) {
			if ((c->set & WEIR_C_DIR) && !(c->dirs & hook_dirs[h]))
				continue;
			for (uint8_t family = 4; family <= 6 && !r; family += 2) {
				if ((c->set & WEIR_C_FAMILY) && c->family != family)
					continue;
				of_cond(c, f, (enum weir_probe_hook)h, family, &s);
				r = give(g, &s);
			}
			if (!(c->set & WEIR_C_DIR)) /* one direction stands for all */
				break;
		}
	}
	return r;
}

/* Both sides of the borders of the tables: the last address before it, the first behind it. */
static int give_edges(struct giver *g, const struct weir_img *img)
{
	const struct weir_config *c = img->cfg;
	struct weir_probe_spec s;
	int r = 0;

	for (uint32_t i = 1; i < c->n_bounds4 && !r; i += c->n_bounds4 / EDGES_PROBED + 1) {
		for (uint32_t before = 0; before < 2 && !r; before++) {
			plain(&s, before ? WEIR_PROBE_OUT : WEIR_PROBE_IN, 4, WEIR_IPPROTO_TCP);
			set4(before ? s.dst : s.src, weir_img_bound4(img, i)->low - before);
			r = give(g, &s);
		}
	}
	for (uint32_t i = 1; i < c->n_bounds6 && !r; i += c->n_bounds6 / EDGES_PROBED + 1) {
		const struct weir_bound6 *b = weir_img_bound6(img, i);

		for (uint32_t before = 0; before < 2 && !r; before++) {
			plain(&s, before ? WEIR_PROBE_OUT : WEIR_PROBE_IN, 6, WEIR_IPPROTO_UDP);
			set6(before ? s.dst : s.src, b->hi - (before && !b->lo), b->lo - before);
			r = give(g, &s);
		}
	}
	for (uint32_t i = 1; i < c->n_bounds_port && !r; i += c->n_bounds_port / EDGES_PROBED + 1) {
		for (uint32_t before = 0; before < 2 && !r; before++) {
			plain(&s, before ? WEIR_PROBE_OUT : WEIR_PROBE_IN, 4, before ? WEIR_IPPROTO_UDP : WEIR_IPPROTO_TCP);
			s.dport = (uint16_t)(weir_img_bound_port(img, i)->low - before);
			r = give(g, &s);
		}
	}
	return r;
}

static int give_listed(struct giver *g, bool six, uint32_t way, uint64_t hi, uint64_t lo)
{
	struct weir_probe_spec s;

	plain(&s, way ? WEIR_PROBE_OUT : WEIR_PROBE_IN, six ? 6 : 4, WEIR_IPPROTO_UDP);
	if (six)
		set6(way ? s.dst : s.src, hi, lo);
	else
		set4(way ? s.dst : s.src, (uint32_t)lo);
	return give(g, &s);
}

/* Of the dense lines of IPv4, if there are any. By odd steps: either half of a line, and both ways. */
static int give_dense(struct giver *g, const struct weir_img *img, const struct weir_block_head *h)
{
	int r = 0;

	for (uint32_t i = 0; i < 2 * h->dense && !r; i += (2 * h->dense / EDGES_PROBED + 1) | 1) {
		const struct weir_block_line *l = weir_img_block_line(img, 1 + weir_block_dense(h) + i / 2);

		r = give_listed(g, false, i & 1, 0, weir_block_lane_addr(h, l, i, i % WEIR_BLOCK_LANES));
	}
	return r;
}

/* What the blocklists hold: lines of the tables, and both sides of borders. */
static int give_blocked(struct giver *g, const struct weir_img *img)
{
	int r = 0;

	for (uint32_t f = 0; img->h->block.count && f < 2 && !r; f++) {
		const struct weir_block_head *h = &weir_img_block_line(img, 1 + f)->head;

		r = give_dense(g, img, h);
		for (uint32_t i = 0; i < h->n_table && !r; i += (h->n_table / EDGES_PROBED + 1) | 1) {
			const struct weir_block_line *l = weir_img_block_line(img, 1 + h->table + i);

			r = give_listed(g, f, i & 1, l->w[0], f ? l->w[1] : l->d[0]);
		}
		for (uint32_t i = 0; i < h->n_bounds && !r; i += h->n_bounds / EDGES_PROBED + 1) {
			const struct weir_block_line *l = weir_img_block_line(img, 1 + h->bounds + i / (f ? 4 : 16));
			uint64_t hi = l->w[i % 4 * 2], lo = f ? l->w[i % 4 * 2 + 1] : l->d[i % 16];

			r = give_listed(g, f, 0, hi, lo);
			r = r ? r : give_listed(g, f, 1, hi - !lo, lo - 1);
		}
	}
	return r;
}

int weir_probes_each(const struct weir_img *img, weir_probe_cb cb, void *data)
{
	_cleanup_free_ struct firsts *f = calloc(1, sizeof *f);
	struct giver g = { .cb = cb, .data = data };
	int r;

	if (!f)
		return -ENOMEM;
	find_firsts(img, f);
	r = give_kinds(&g);
	r = r ? r : give_lies(&g);
	r = r ? r : give_rules(&g, img, WEIR_FAILSAFE, f);
	r = r ? r : give_rules(&g, img, WEIR_RULES, f);
	r = r ? r : give_blocked(&g, img);
	return r ? r : give_edges(&g, img);
}
