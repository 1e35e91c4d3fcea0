/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The accessors of core/classify.h over a flat blob: user space, tests, browser. weir_image_open checks
 * everything that the accessors rely on, so that a hostile blob can be refused but never misread.
 */
#pragma once
#include "core/image.h"
#include "core/late.h"
#include "core/reason.h"
#include "core/tree_line.h"

struct weir_img {
	const uint8_t *blob;
	uint32_t size;
	const struct weir_image_header *h;
	const struct weir_config *cfg;
};

/* Must what is not covered yet be held back? A drop default that is enforced has no meaning otherwise. */
WEIR_INLINE bool weir_config_guarded(const struct weir_config *c)
{
	for (int d = 0; d < 3; d++)
		if (c->mode == WEIR_PREVENT && c->defaults[d].mode == WEIR_PREVENT &&
		    (c->defaults[d].action == WEIR_ACT_DROP || c->defaults[d].action == WEIR_ACT_REJECT))
			return true;
	return false;
}

WEIR_INLINE const void *weir_img_at(const struct weir_img *img, const struct weir_section *s, uint32_t i, uint32_t size)
{
	return i < s->count ? img->blob + s->off + (uint64_t)i * size : 0;
}

static inline const struct weir_rule *weir_img_rule(const struct weir_img *img, uint32_t which, uint32_t i)
{
	return weir_img_at(img, which ? &img->h->failsafe : &img->h->rules, i, sizeof(struct weir_rule));
}

static inline const struct weir_rule_head *weir_img_head(const struct weir_img *img, uint32_t i)
{
	const struct weir_rule *r = weir_img_rule(img, 0, i);

	return r ? &r->head : 0;
}

/* Part `i` of a section, or NULL behind its end. */
#define WEIR_IMG_AT(name, section, type)                                       \
	static inline const type *name(const struct weir_img *img, uint32_t i) \
	{                                                                      \
		return weir_img_at(img, &img->h->section, i, sizeof(type));    \
	}

WEIR_IMG_AT(weir_img_neg, negs, struct weir_cond)
WEIR_IMG_AT(weir_img_span, spans, struct weir_span)
WEIR_IMG_AT(weir_img_tree_line, tree, struct weir_tree_line)
WEIR_IMG_AT(weir_img_bound4, bounds4, struct weir_bound4)
WEIR_IMG_AT(weir_img_bound6, bounds6, struct weir_bound6)
WEIR_IMG_AT(weir_img_bound_port, bounds_port, struct weir_bound4)
WEIR_IMG_AT(weir_img_limit, limits, struct weir_limit)
WEIR_IMG_AT(weir_img_times, times, struct weir_times)
WEIR_IMG_AT(weir_img_block_line, block, struct weir_block_line)
#undef WEIR_IMG_AT

/* How many rules there are, without those that are gone. */
static inline uint32_t weir_img_rule_count(const struct weir_img *img)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < img->cfg->n_rules; i++)
		n += !(weir_img_rule(img, 0, i)->flags & WEIR_RF_GONE);
	return n;
}

/* The lists of windows that hold in this minute of the week, a bit each. */
static inline uint64_t weir_img_times_at(const struct weir_img *img, uint32_t minute)
{
	uint64_t bits = 0;

	for (uint32_t i = 0; i < img->h->times.count; i++)
		bits |= (uint64_t)weir_times_hold(weir_img_times(img, i), minute) << i;
	return bits;
}

static inline uint32_t weir_img_late_used(const struct weir_img *img)
{
	return img->cfg->late_used;
}

static inline uint64_t weir_img_addr_word(const struct weir_img *img, uint32_t row, uint32_t word)
{
	const uint64_t *w = word < img->cfg->row_words_addr
				    ? weir_img_at(img, &img->h->addr_rows, row * img->cfg->row_words_addr + word, 8)
				    : 0;
	return w ? *w : 0;
}

static inline uint64_t weir_img_port_word(const struct weir_img *img, uint32_t row, uint32_t word)
{
	const uint64_t *w = word < img->cfg->row_words_port
				    ? weir_img_at(img, &img->h->port_rows, row * img->cfg->row_words_port + word, 8)
				    : 0;
	return w ? *w : 0;
}

static inline const char *weir_img_string(const struct weir_img *img, uint32_t off)
{
	return off < img->h->strings.count ? (const char *)img->blob + img->h->strings.off + off : "";
}

static inline bool weir_section_ok(const struct weir_section *s, uint32_t entry, uint32_t total, uint32_t max)
{
	return s->count <= max && s->off % 8 == 0 && s->off >= sizeof(struct weir_image_header) &&
	       (uint64_t)s->off + (uint64_t)s->count * entry <= total;
}

/* A table of pieces that a search can trust: from 0, ascending, each with a row. */
static inline bool weir_bounds4_ok(const struct weir_bound4 *b, uint32_t n, uint32_t rows)
{
	for (uint32_t i = 0; i < n; i++)
		if (b[i].class_id >= rows || (i ? b[i].low <= b[i - 1].low : b[i].low != 0))
			return false;
	return true;
}

static inline bool weir_bounds6_ok(const struct weir_bound6 *b, uint32_t n, uint32_t rows)
{
	for (uint32_t i = 0; i < n; i++) {
		if (b[i].class_id >= rows)
			return false;
		if (i ? b[i].hi < b[i - 1].hi || (b[i].hi == b[i - 1].hi && b[i].lo <= b[i - 1].lo) :
			b[i].hi || b[i].lo)
			return false;
	}
	return true;
}

/* No range of IPv6 reaches over the place of IPv4. */
static inline bool weir_spans_ok(const struct weir_span *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		bool four = !s[i].lo_hi && s[i].lo_lo >> 32 == 0xffff, four_end = !s[i].hi_hi && s[i].hi_lo >> 32 == 0xffff;
		bool under = !s[i].lo_hi && s[i].lo_lo >> 32 < 0xffff, under_end = !s[i].hi_hi && s[i].hi_lo >> 32 < 0xffff;

		if (s[i].lo_hi > s[i].hi_hi || (s[i].lo_hi == s[i].hi_hi && s[i].lo_lo > s[i].hi_lo) ||
		    four != four_end || under != under_end)
			return false;
	}
	return true;
}

static inline bool weir_rules_ok(const struct weir_rule *r, uint32_t n, const struct weir_image_header *h)
{
	for (uint32_t i = 0; i < n; i++)
		if (!weir_cond_ok(&r[i].pos) || ((r[i].flags & WEIR_RF_NOT) && r[i].neg >= h->negs.count) ||
		    r[i].action > WEIR_ACT_BAN || r[i].mode > WEIR_PREVENT || r[i].name >= h->strings.count ||
		    r[i].place >= h->strings.count || r[i].limit > h->limits.count)
			return false;
	return true;
}

static inline bool weir_fixed_ok(const struct weir_fixed *x)
{
	return x->action <= WEIR_ACT_REJECT && x->mode <= WEIR_PREVENT;
}

static inline bool weir_config_ok(const struct weir_config *c)
{
	for (int i = 0; i < 3; i++)
		if (!weir_fixed_ok(&c->defaults[i]))
			return false;
	for (int i = 0; i < WEIR_FAILURE_COUNT; i++)
		if (c->failures.choice[i] > 2)
			return false;
	return c->mode <= WEIR_PREVENT && c->block_new < WEIR_REASON_COUNT && c->established <= WEIR_EST_KILL && weir_fixed_ok(&c->malformed) &&
	       weir_fixed_ok(&c->fragments) && weir_fixed_ok(&c->unknown_l2) && weir_fixed_ok(&c->on_error) &&
	       weir_fixed_ok(&c->blocklist) && weir_fixed_ok(&c->ban);
}

/* What the sections hold, once their frames are known to be sound. */
static inline bool weir_image_content_ok(const uint8_t *blob, const struct weir_image_header *h,
					 const struct weir_config *c)
{
	const struct weir_ifpat *ifpats = (const void *)(blob + h->ifpats.off);
	const struct weir_list_info *lists = (const void *)(blob + h->lists.off);
	const struct weir_ifxdp *xdp = (const void *)(blob + h->xdp.off);
	const struct weir_limit *limits = (const void *)(blob + h->limits.off);
	const struct weir_times *times = (const void *)(blob + h->times.off);
	const struct weir_cond *negs = (const void *)(blob + h->negs.off);
	const struct weir_list_info *block_sets = (const void *)(blob + h->block_sets.off);

	for (uint32_t i = 0; i < h->ifpats.count; i++)
		if (ifpats[i].glob[sizeof ifpats[i].glob - 1])
			return false;
	for (uint32_t i = 0; i < h->xdp.count; i++)
		if (xdp[i].glob[sizeof xdp[i].glob - 1] || xdp[i].mode > 3)
			return false;
	for (uint32_t i = 0; i < h->limits.count; i++)
		if (!weir_limit_ok(&limits[i]) || limits[i].name >= h->strings.count)
			return false;
	for (uint32_t i = 0; i < h->times.count; i++)
		if (!weir_times_ok(&times[i]))
			return false;
	for (uint32_t i = 0; i < h->lists.count; i++)
		if (lists[i].name >= h->strings.count)
			return false;
	for (uint32_t i = 0; i < h->negs.count; i++)
		if (!weir_cond_ok(&negs[i]))
			return false;
	for (uint32_t i = 0; i < h->block_sets.count; i++)
		if (block_sets[i].name >= h->strings.count)
			return false;
	return weir_config_ok(c) && weir_block_ok((const void *)(blob + h->block.off), h->block.count) &&
	       weir_spans_ok((const void *)(blob + h->spans.off), h->spans.count) &&
	       weir_rules_ok((const void *)(blob + h->rules.off), c->n_rules, h) &&
	       weir_rules_ok((const void *)(blob + h->failsafe.off), c->n_failsafe, h) &&
	       weir_bounds4_ok((const void *)(blob + h->bounds4.off), c->n_bounds4, c->n_addr_rows) &&
	       weir_bounds6_ok((const void *)(blob + h->bounds6.off), c->n_bounds6, c->n_addr_rows) &&
	       weir_bounds4_ok((const void *)(blob + h->bounds_port.off), c->n_bounds_port, c->n_port_rows);
}

/*
 * Do two images that were opened differ in what the blocklists hold, and in nothing else? Their sections stand last in
 * a blob; all before them is compared as it is.
 */
static inline bool weir_image_blocks_only(const struct weir_img *a, const struct weir_img *b)
{
	struct weir_image_header x = *a->h, y = *b->h;

	if (x.block.count < 3 || y.block.count < 3 || x.block_sets.off != y.block_sets.off || x.block.off != y.block.off)
		return false;
	x.size = y.size = x.block.count = y.block.count = 0;
	__builtin_memset(x.digest, 0, sizeof x.digest);
	__builtin_memset(y.digest, 0, sizeof y.digest);
	return !__builtin_memcmp(&x, &y, sizeof x) && !__builtin_memcmp(a->h + 1, b->h + 1, x.block_sets.off - sizeof x);
}

/* The places that are kept for later are there. */
static inline bool weir_late_places_ok(const struct weir_config *c, const struct weir_image_header *h)
{
	uint64_t n = c->n_late;

	return n <= WEIR_LATE_MAX && c->late_used <= n && c->late + n <= h->rules.count &&
	       c->late_negs + n <= h->negs.count && c->late_spans + n * WEIR_LATE_SPANS <= h->spans.count &&
	       c->late_strings <= h->strings.count;
}

/* As weir_image_open, also of an image that is to get its trees yet. */
static inline int weir_image_open_bare(struct weir_img *img, const void *blob, uint32_t size)
{
	const struct weir_image_header *h = blob;
	const struct weir_config *c;

	if (size < sizeof *h || h->magic != WEIR_IMAGE_MAGIC || h->version != WEIR_IMAGE_VERSION || h->size != size)
		return -1;
	if (!weir_section_ok(&h->config, sizeof *c, size, 1) || h->config.count != 1 ||
	    !weir_section_ok(&h->rules, sizeof(struct weir_rule), size, WEIR_RULES_MAX) ||
	    !weir_section_ok(&h->failsafe, sizeof(struct weir_rule), size, WEIR_FAILSAFE_MAX) ||
	    !weir_section_ok(&h->negs, sizeof(struct weir_cond), size, WEIR_RULES_MAX + WEIR_FAILSAFE_MAX) ||
	    !weir_section_ok(&h->spans, sizeof(struct weir_span), size, WEIR_SPANS_MAX) ||
	    !weir_section_ok(&h->tree, sizeof(struct weir_tree_line), size, WEIR_TREE_LINES) ||
	    !weir_section_ok(&h->bounds4, sizeof(struct weir_bound4), size, WEIR_BOUNDS_MAX) ||
	    !weir_section_ok(&h->bounds6, sizeof(struct weir_bound6), size, WEIR_BOUNDS_MAX) ||
	    !weir_section_ok(&h->bounds_port, sizeof(struct weir_bound4), size, 65536) ||
	    !weir_section_ok(&h->addr_rows, 8, size, UINT32_MAX / 8) ||
	    !weir_section_ok(&h->port_rows, 8, size, UINT32_MAX / 8) ||
	    !weir_section_ok(&h->xdp, sizeof(struct weir_ifxdp), size, WEIR_IFXDP_MAX) ||
	    !weir_section_ok(&h->ifpats, sizeof(struct weir_ifpat), size, WEIR_IFPAT_MAX) ||
	    !weir_section_ok(&h->lists, sizeof(struct weir_list_info), size, WEIR_LISTS_MAX) ||
	    !weir_section_ok(&h->times, sizeof(struct weir_times), size, WEIR_TIMES_MAX) ||
	    !weir_section_ok(&h->limits, sizeof(struct weir_limit), size, WEIR_LIMITS_MAX) ||
	    !weir_section_ok(&h->block_sets, sizeof(struct weir_list_info), size, WEIR_LISTS_MAX) ||
	    !weir_section_ok(&h->block, sizeof(struct weir_block_line), size, WEIR_BLOCK_LINES) ||
	    !weir_section_ok(&h->strings, 1, size, size) || !h->strings.count)
		return -1;
	if (((const uint8_t *)blob)[h->strings.off + h->strings.count - 1])
		return -1;
	c = (const void *)((const uint8_t *)blob + h->config.off);
	if (c->n_rules != h->rules.count || c->n_failsafe != h->failsafe.count || c->n_limits != h->limits.count ||
	    c->tree_lines != h->tree.count || (h->tree.count && h->tree.count < WEIR_TREE_HEAD) ||
	    c->n_bounds4 != h->bounds4.count ||
	    c->n_bounds6 != h->bounds6.count || c->n_bounds_port != h->bounds_port.count || !c->n_bounds4 ||
	    !c->n_bounds6 || !c->n_bounds_port || !c->row_words_addr || !c->row_words_port ||
	    c->row_words_addr > WEIR_ROW_WORDS || c->row_words_port > WEIR_ROW_WORDS ||
	    (uint64_t)c->n_addr_rows * c->row_words_addr != h->addr_rows.count ||
	    (uint64_t)c->n_port_rows * c->row_words_port != h->port_rows.count || !weir_late_places_ok(c, h) ||
	    !weir_image_content_ok(blob, h, c))
		return -1;
	img->blob = blob;
	img->size = size;
	img->h = h;
	img->cfg = c;
	return 0;
}

/*
 * 0, or -1: not an image of this version, or one whose parts do not fit together; many rules without trees are one.
 * `blob` must be 8-aligned.
 */
static inline int weir_image_open(struct weir_img *img, const void *blob, uint32_t size)
{
	int r = weir_image_open_bare(img, blob, size);

	return !r && !img->cfg->tree_lines && img->cfg->n_rules - img->cfg->n_late > WEIR_LINEAR_MAX ? -1 : r;
}

static inline struct weir_config *weir_late_config(void *blob)
{
	const struct weir_image_header *h = blob;

	return (void *)((uint8_t *)blob + h->config.off);
}

static inline struct weir_rule *weir_late_rules(void *blob)
{
	const struct weir_image_header *h = blob;

	return (void *)((uint8_t *)blob + h->rules.off);
}

/* Makes the change, which weir_late_ok took, in an image that was opened. Its digest is that of before. */
static inline void weir_late_put(void *blob, const struct weir_late *l)
{
	const struct weir_image_header *h = blob;
	struct weir_rule *rules = weir_late_rules(blob), *r = &rules[l->add];
	struct weir_config *c = weir_late_config(blob);

	if (l->gone != WEIR_RULE_NONE) {
		rules[l->gone].flags |= WEIR_RF_GONE;
		return;
	}
	__builtin_memcpy((uint8_t *)blob + h->spans.off + (uint64_t)weir_late_span(c, l->add) * sizeof *l->spans, l->spans,
			 sizeof l->spans);
	((struct weir_cond *)((uint8_t *)blob + h->negs.off))[weir_late_neg(c, l->add)] = l->neg;
	*r = l->rule;
	r->name = r->place = 0;
	if (c->late_strings + l->n_text < h->strings.count) { /* the last byte stays the end of the last text */
		__builtin_memcpy((uint8_t *)blob + h->strings.off + c->late_strings, l->text, l->n_text);
		r->name = c->late_strings + l->rule.name;
		r->place = c->late_strings + l->rule.place;
		c->late_strings += l->n_text;
	}
	c->late_used++;
}

/* Takes back what was put last. */
static inline void weir_late_undo(void *blob, const struct weir_late *l)
{
	struct weir_rule *rules = weir_late_rules(blob);

	if (l->gone != WEIR_RULE_NONE) {
		rules[l->gone].flags &= (uint8_t)~WEIR_RF_GONE;
		return;
	}
	if (rules[l->add].name)
		weir_late_config(blob)->late_strings = rules[l->add].name - l->rule.name;
	rules[l->add] = (struct weir_rule){ .flags = WEIR_RF_GONE | WEIR_RF_OVERLAY };
	weir_late_config(blob)->late_used--;
}
