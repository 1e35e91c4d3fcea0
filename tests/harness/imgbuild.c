/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness/imgbuild.h"

#include <arpa/inet.h>
#include <sha2.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/pkt.h"

static const struct weir_fixed drop = { .action = WEIR_ACT_DROP, .mode = WEIR_PREVENT };
static const struct weir_fixed allow = { .action = WEIR_ACT_ALLOW, .mode = WEIR_PREVENT };

void weir_imgbuild_init(struct weir_imgbuild *b)
{
	memset(b, 0, sizeof *b);
	b->cfg = (struct weir_config){
		.generation = 1,
		.epoch = 1,
		.mode = WEIR_PREVENT,
		.essentials = WEIR_ESS_ARP,
		.defaults = { allow, allow, allow },
		.malformed = drop,
		.fragments = allow,
		.unknown_l2 = allow,
		.on_error = drop,
		.blocklist = drop,
		.ban = drop,
		.idle_s = 3600,
	};
	b->block = WEIR_NO_LIST;
}

static void parse_addr(const char *text, uint8_t out[16], int *ret_bits)
{
	memset(out, 0, 16);
	if (strchr(text, ':')) {
		*ret_bits = 128;
		if (inet_pton(AF_INET6, text, out) != 1)
			abort();
	} else {
		*ret_bits = 32;
		out[10] = out[11] = 0xff;
		if (inet_pton(AF_INET, text, out + 12) != 1)
			abort();
	}
}

static void parse_range(const char *text, struct weir_addr_range *r)
{
	char copy[128], *mark;
	int bits;

	if (strlen(text) >= sizeof copy)
		abort();
	strcpy(copy, text);
	mark = strpbrk(copy, "/-");
	if (mark && *mark == '-') {
		*mark = 0;
		parse_addr(copy, r->lo, &bits);
		parse_addr(mark + 1, r->hi, &bits);
		return;
	}
	if (mark)
		*mark = 0;
	parse_addr(copy, r->lo, &bits);
	memcpy(r->hi, r->lo, 16);
	for (int bit = mark ? 128 - bits + atoi(mark + 1) : 128; bit < 128; bit++) {
		r->lo[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
		r->hi[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	}
}

uint16_t weir_imgbuild_addrs(struct weir_imgbuild *b, ...)
{
	struct weir_addr_list *l = &b->addrs[b->n_addrs];
	const char *text;
	va_list ap;

	if (b->n_addrs >= WEIR_IMGBUILD_LISTS)
		abort();
	va_start(ap, b);
	while ((text = va_arg(ap, const char *))) {
		if (l->n >= WEIR_IMGBUILD_RANGES)
			abort();
		parse_range(text, &l->r[l->n++]);
	}
	va_end(ap);
	return (uint16_t)b->n_addrs++;
}

uint32_t weir_imgbuild_span(struct weir_imgbuild *b, const char *range)
{
	struct weir_addr_range r;

	if (b->n_spans >= WEIR_IMGBUILD_LISTS)
		abort();
	parse_range(range, &r);
	b->spans[b->n_spans] = (struct weir_span){ weir_be64(r.lo), weir_be64(r.lo + 8), weir_be64(r.hi), weir_be64(r.hi + 8) };
	return WEIR_SPAN | b->n_spans++;
}

struct weir_ports weir_imgbuild_ports(struct weir_imgbuild *b, uint16_t lo, uint16_t hi)
{
	struct weir_port_list *l = &b->ports[b->n_ports];

	if (b->n_ports >= WEIR_IMGBUILD_LISTS)
		abort();
	l->r[l->n++] = (struct weir_port_range){ lo, hi };
	return (struct weir_ports){ .list = (uint16_t)b->n_ports++ };
}

struct weir_rule *weir_imgbuild_rule(struct weir_imgbuild *b, uint8_t action)
{
	struct weir_rule *r = &b->rules[b->n_rules++];

	if (b->n_rules > WEIR_LINEAR_MAX)
		abort();
	r->action = action;
	r->mode = WEIR_PREVENT;
	return r;
}

struct weir_rule *weir_imgbuild_failsafe(struct weir_imgbuild *b)
{
	struct weir_rule *r = &b->failsafe[b->n_failsafe++];

	if (b->n_failsafe > WEIR_FAILSAFE_MAX)
		abort();
	r->mode = WEIR_PREVENT;
	return r;
}

struct weir_cond *weir_imgbuild_neg(struct weir_imgbuild *b, struct weir_rule *r)
{
	r->flags |= WEIR_RF_NOT;
	r->neg = b->n_negs;
	return &b->negs[b->n_negs++];
}

/* 128-bit numbers, most significant byte first: addresses as they are compared. */
typedef unsigned __int128 addr_num;

static addr_num num_of(const uint8_t a[16])
{
	return (addr_num)weir_be64(a) << 64 | weir_be64(a + 8);
}

static int by_value(const void *a, const void *b)
{
	const addr_num x = *(const addr_num *)a, y = *(const addr_num *)b;

	return x < y ? -1 : x > y;
}

/* Where any list of this family begins, or has just ended; sorted, each once, from 0. */
static uint32_t cut(const struct weir_imgbuild *b, bool v4, addr_num *cuts)
{
	const addr_num base = v4 ? (addr_num)0xffff << 32 : 0, last = v4 ? base | 0xffffffff : ~(addr_num)0;
	uint32_t n = 0, kept = 1;

	cuts[n++] = base;
	for (uint32_t i = 0; i < b->n_addrs; i++)
		for (uint32_t j = 0; j < b->addrs[i].n; j++) {
			const struct weir_addr_range *r = &b->addrs[i].r[j];

			if (weir_addr_is_v4(r->lo) != v4)
				continue;
			cuts[n++] = num_of(r->lo);
			if (num_of(r->hi) != last)
				cuts[n++] = num_of(r->hi) + 1;
		}
	qsort(cuts, n, sizeof *cuts, by_value);
	for (uint32_t i = 1; i < n; i++)
		if (cuts[i] != cuts[kept - 1])
			cuts[kept++] = cuts[i];
	return kept;
}

static void fill_addr_row(const struct weir_imgbuild *b, addr_num a, bool v4, uint64_t *row)
{
	for (uint32_t i = 0; i < b->n_addrs; i++)
		for (uint32_t j = 0; j < b->addrs[i].n; j++) {
			const struct weir_addr_range *r = &b->addrs[i].r[j];

			if (weir_addr_is_v4(r->lo) == v4 && a >= num_of(r->lo) && a <= num_of(r->hi))
				row[i / 64] |= 1ull << i % 64;
		}
}

static bool port_in(const struct weir_port_list *l, uint32_t port)
{
	for (uint32_t j = 0; j < l->n; j++)
		if (port >= l->r[j].lo && port <= l->r[j].hi)
			return true;
	return false;
}

/* A blob that grows; sections begin at multiples of 8. */
struct grow {
	uint8_t *b;
	uint32_t len;
};

static void *grow_section(struct grow *g, struct weir_section *s, uint32_t entry, uint32_t count)
{
	uint32_t at = g->len, n = (entry * count + 7) & ~7u;

	g->len += n;
	if (g->len > 1u << 24)
		abort();
	memset(g->b + at, 0, n);
	*s = (struct weir_section){ at, count };
	return g->b + at;
}

static void add_addresses(const struct weir_imgbuild *b, struct grow *g, struct weir_image_header *h,
			  struct weir_config *cfg)
{
	const size_t most = 2 * WEIR_IMGBUILD_LISTS * WEIR_IMGBUILD_RANGES + 1;
	addr_num *c4 = calloc(most, sizeof *c4), *c6 = calloc(most, sizeof *c6);
	struct weir_bound4 *b4;
	struct weir_bound6 *b6;
	uint64_t *rows;

	if (!c4 || !c6)
		abort();
	cfg->n_bounds4 = cut(b, true, c4);
	cfg->n_bounds6 = cut(b, false, c6);
	cfg->row_words_addr = b->n_addrs / 64 + 1;
	cfg->n_addr_rows = cfg->n_bounds4 + cfg->n_bounds6;
	b4 = grow_section(g, &h->bounds4, sizeof *b4, cfg->n_bounds4);
	b6 = grow_section(g, &h->bounds6, sizeof *b6, cfg->n_bounds6);
	rows = grow_section(g, &h->addr_rows, 8, cfg->n_addr_rows * cfg->row_words_addr);
	for (uint32_t i = 0; i < cfg->n_bounds4; i++, rows += cfg->row_words_addr) {
		b4[i] = (struct weir_bound4){ (uint32_t)c4[i], i };
		fill_addr_row(b, c4[i], true, rows);
	}
	for (uint32_t i = 0; i < cfg->n_bounds6; i++, rows += cfg->row_words_addr) {
		b6[i] = (struct weir_bound6){ (uint64_t)(c6[i] >> 64), (uint64_t)c6[i], cfg->n_bounds4 + i, 0 };
		fill_addr_row(b, c6[i], false, rows);
	}
	free(c4);
	free(c6);
}

static void add_ports(const struct weir_imgbuild *b, struct grow *g, struct weir_image_header *h,
		      struct weir_config *cfg)
{
	uint8_t *cuts = calloc(65537, 1);
	struct weir_bound4 *bound;
	uint64_t *rows;
	uint32_t n = 0;

	if (!cuts)
		abort();
	cuts[0] = 1;
	for (uint32_t i = 0; i < b->n_ports; i++)
		for (uint32_t j = 0; j < b->ports[i].n; j++)
			cuts[b->ports[i].r[j].lo] = cuts[b->ports[i].r[j].hi + 1] = 1;
	for (uint32_t p = 0; p < 65536; p++)
		n += cuts[p];
	cfg->n_bounds_port = cfg->n_port_rows = n;
	cfg->row_words_port = b->n_ports / 64 + 1;
	bound = grow_section(g, &h->bounds_port, sizeof *bound, n);
	rows = grow_section(g, &h->port_rows, 8, n * cfg->row_words_port);
	for (uint32_t p = 0, k = 0; p < 65536; p++) {
		if (!cuts[p])
			continue;
		for (uint32_t i = 0; i < b->n_ports; i++)
			if (port_in(&b->ports[i], p))
				rows[k * cfg->row_words_port + i / 64] |= 1ull << i % 64;
		bound[k] = (struct weir_bound4){ p, k };
		k++;
	}
	free(cuts);
}

void *weir_imgbuild_make(const struct weir_imgbuild *b, uint32_t *ret_size)
{
	struct grow g = { malloc(1u << 24), sizeof(struct weir_image_header) };
	struct weir_image_header *h = (void *)g.b;
	struct weir_block_line lines[WEIR_IMGBLOCK_LINES];
	struct weir_config *cfg;
	uint32_t n_lines = 0;
	struct weir_img img;
	SHA2_CTX sha;

	if (!g.b)
		abort();
	memset(h, 0, sizeof *h);
	cfg = grow_section(&g, &h->config, sizeof *cfg, 1);
	*cfg = b->cfg;
	cfg->n_rules = b->n_rules;
	cfg->n_failsafe = b->n_failsafe;
	for (uint32_t i = 0; i < b->n_rules; i++)
		cfg->conds_used |= b->rules[i].pos.set;
	for (uint32_t i = 0; i < b->n_failsafe; i++)
		cfg->conds_used |= b->failsafe[i].pos.set;
	for (uint32_t i = 0; i < b->n_negs; i++)
		cfg->conds_used |= b->negs[i].set;
	memcpy(grow_section(&g, &h->rules, sizeof b->rules[0], b->n_rules), b->rules, b->n_rules * sizeof b->rules[0]);
	memcpy(grow_section(&g, &h->failsafe, sizeof b->failsafe[0], b->n_failsafe), b->failsafe,
	       b->n_failsafe * sizeof b->failsafe[0]);
	memcpy(grow_section(&g, &h->negs, sizeof b->negs[0], b->n_negs), b->negs, b->n_negs * sizeof b->negs[0]);
	memcpy(grow_section(&g, &h->spans, sizeof b->spans[0], b->n_spans), b->spans, b->n_spans * sizeof b->spans[0]);
	grow_section(&g, &h->tree, sizeof(struct weir_tree_line), 0);
	add_addresses(b, &g, h, cfg);
	add_ports(b, &g, h, cfg);
	memcpy(grow_section(&g, &h->ifpats, sizeof b->ifpats[0], b->n_ifpats), b->ifpats,
	       b->n_ifpats * sizeof b->ifpats[0]);
	grow_section(&g, &h->xdp, sizeof(struct weir_ifxdp), 0);
	cfg->n_limits = b->n_limits;
	for (uint32_t i = 0; i < b->n_limits; i++)
		cfg->limit_counts |= 1u << b->limits[i].count;
	memcpy(grow_section(&g, &h->limits, sizeof b->limits[0], b->n_limits), b->limits, b->n_limits * sizeof b->limits[0]);
	memcpy(grow_section(&g, &h->times, sizeof b->times[0], b->n_times), b->times, b->n_times * sizeof b->times[0]);
	grow_section(&g, &h->lists, sizeof(struct weir_list_info), b->n_addrs);
	if (b->block != WEIR_NO_LIST)
		n_lines = weir_imgblock_make(&b->addrs[b->block], lines);
	grow_section(&g, &h->block_sets, sizeof(struct weir_list_info), n_lines ? WEIR_IMGBLOCK_LISTS : 0);
	memcpy(grow_section(&g, &h->block, sizeof lines[0], n_lines), lines, n_lines * sizeof lines[0]);
	grow_section(&g, &h->strings, 1, 1);
	h->magic = WEIR_IMAGE_MAGIC;
	h->version = WEIR_IMAGE_VERSION;
	h->size = g.len;
	SHA256Init(&sha);
	SHA256Update(&sha, g.b, g.len);
	SHA256Final(h->digest, &sha);
	if (weir_image_open(&img, g.b, g.len))
		abort();
	*ret_size = g.len;
	return realloc(g.b, g.len);
}
