/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/block_lines.h"

#include <string.h>

#include "core/block_dense.h"

#define MOVES 500u /* addresses that one may push aside before a table counts as full */

static uint32_t slots_of(const struct block_family *f)
{
	return f->six ? WEIR_BLOCK_SLOTS6 : WEIR_BLOCK_SLOTS4;
}

static weir_u128 slot_get(const struct weir_block_line *l, bool six, uint32_t i)
{
	return six ? (weir_u128)l->w[2 * i] << 64 | l->w[2 * i + 1] : l->d[i];
}

/* Where a byte says which list a place is of; see weir_block_list. */
static uint8_t list_get(const struct block_family *f, uint64_t place)
{
	const struct weir_block_head *h = block_head(f);

	return h->listed ? f->lines[weir_block_list_line(h, f->six) + place / 64].b[place % 64] : 0;
}

static void list_set(const struct block_family *f, uint64_t place, uint8_t list)
{
	const struct weir_block_head *h = block_head(f);
	uint32_t line = weir_block_list_line(h, f->six) + (uint32_t)(place / 64);

	if (h->listed && f->lines[line].b[place % 64] != list && (!f->touch || f->touch(f->data, line)))
		f->lines[line].b[place % 64] = list;
}

struct entry { /* of the table */
	weir_u128 a;
	uint8_t list;
};

static uint64_t place_of(const struct block_family *f, uint32_t line, uint32_t slot)
{
	return weir_block_first_slot(block_head(f)) + (uint64_t)(line - block_head(f)->table) * slots_of(f) + slot;
}

/* Returns what stood there. */
static struct entry slot_set(const struct block_family *f, uint32_t line, uint32_t i, struct entry e)
{
	struct weir_block_line *l = &f->lines[line];
	struct entry old = { slot_get(l, f->six, i), list_get(f, place_of(f, line, i)) };

	if (f->touch && !f->touch(f->data, line))
		return old;
	if (f->six) {
		l->w[2 * i] = (uint64_t)(e.a >> 64);
		l->w[2 * i + 1] = (uint64_t)e.a;
	} else {
		l->d[i] = (uint32_t)e.a;
	}
	if (e.a) /* nobody asks of what list a free slot is */
		list_set(f, place_of(f, line, i), e.list);
	return old;
}

/* The slot of this line in which `a` stands (0: a free one), or -1. */
static int slot_of(const struct block_family *f, uint32_t line, weir_u128 a)
{
	for (uint32_t i = 0; i < slots_of(f); i++)
		if (slot_get(&f->lines[line], f->six, i) == a)
			return (int)i;
	return -1;
}

/* Where in the dense lines an address belongs. */
struct lanes {
	uint32_t line, half, turned;
	uint16_t free;
};

static struct lanes lanes_of(const struct block_family *f, weir_u128 a)
{
	const struct weir_block_head *h = block_head(f);
	uint32_t turned = weir_block_turn4(h, (uint32_t)a), half = weir_block_half(turned, h->dense);

	return (struct lanes){ weir_block_dense(h) + (half >> 1), half, turned, weir_block_lane_free(half, h->dense) };
}

/* The lane in which these 16 bits stand, or -1. */
static int lane_of(const struct block_family *f, const struct lanes *at, uint16_t low)
{
	const uint16_t *lanes = &f->lines[at->line].h[(at->half & 1) * 16];

	for (uint32_t i = 0; i < WEIR_BLOCK_LANES; i++)
		if (lanes[i] == low)
			return (int)i;
	return -1;
}

static void lane_set(const struct block_family *f, const struct lanes *at, uint32_t lane, uint16_t to)
{
	uint16_t *now = &f->lines[at->line].h[(at->half & 1) * 16 + lane];

	if (*now != to && (!f->touch || f->touch(f->data, at->line)))
		*now = to;
}

static bool dense_give(const struct block_family *f, weir_u128 a, uint8_t list)
{
	struct lanes at = lanes_of(f, a);
	int lane = lane_of(f, &at, (uint16_t)at.turned);

	if (lane >= 0)
		list_set(f, (uint64_t)at.half * 16 + (uint32_t)lane, list);
	return lane >= 0;
}

static bool dense_take(const struct block_family *f, weir_u128 a)
{
	struct lanes at = lanes_of(f, a);
	int lane = lane_of(f, &at, (uint16_t)at.turned);

	if (lane >= 0)
		lane_set(f, &at, (uint32_t)lane, at.free);
	return lane >= 0;
}

/* False: its half is full, and says from now on that others stand in the table. */
static bool dense_put(const struct block_family *f, weir_u128 a, uint8_t list)
{
	struct lanes at = lanes_of(f, a);
	int lane = lane_of(f, &at, at.free);

	if (lane < 0) {
		lane_set(f, &at, WEIR_BLOCK_LANES, 1);
		return false;
	}
	lane_set(f, &at, (uint32_t)lane, (uint16_t)at.turned);
	list_set(f, (uint64_t)at.half * 16 + (uint32_t)lane, list);
	return true;
}

void block_dense_clear(const struct block_family *f)
{
	const struct weir_block_head *h = block_head(f);

	for (uint32_t half = 0; half < 2 * h->dense; half++)
		for (uint32_t i = 0; i < WEIR_BLOCK_LANES; i++)
			f->lines[weir_block_dense(h) + half / 2].h[half % 2 * 16 + i] = weir_block_lane_free(half, h->dense);
}

struct places { /* the two lines of an address */
	uint32_t line[2];
	uint64_t hash;
};

static struct places places_of(const struct block_family *f, weir_u128 a)
{
	const struct weir_block_head *h = block_head(f);
	uint64_t x = f->six ? weir_block_hash6(h, (uint64_t)(a >> 64), (uint64_t)a) : weir_block_hash4(h, (uint32_t)a);

	return (struct places){ { h->table + weir_block_place(x, h->n_table), h->table + weir_block_place(x >> 32, h->n_table) },
				x };
}

bool block_table_give(const struct block_family *f, weir_u128 a, uint8_t list)
{
	struct places p = places_of(f, a);

	if (block_head(f)->dense && dense_give(f, a, list))
		return true;
	for (int k = 0; k < 2; k++) {
		int slot = slot_of(f, p.line[k], a);

		if (slot < 0)
			continue;
		list_set(f, place_of(f, p.line[k], (uint32_t)slot), list);
		return true;
	}
	return false;
}

void block_table_take(const struct block_family *f, weir_u128 a)
{
	struct places p = places_of(f, a);

	if (block_head(f)->dense && dense_take(f, a))
		return;
	for (int k = 0; k < 2; k++) {
		int slot = slot_of(f, p.line[k], a);

		if (slot >= 0)
			slot_set(f, p.line[k], (uint32_t)slot, (struct entry){ 0 });
	}
}

static bool line_put(const struct block_family *f, uint32_t line, struct entry e)
{
	int slot = slot_of(f, line, 0);

	if (slot >= 0)
		slot_set(f, line, (uint32_t)slot, e);
	return slot >= 0;
}

static void filter_put(const struct block_family *f, uint64_t hash)
{
	const struct weir_block_head *h = block_head(f);
	uint32_t word, line;
	uint64_t bits;

	if (!h->filter)
		return;
	word = weir_block_filter(hash, h->filter, &bits);
	line = h->table - h->filter + (word >> 3);
	if ((f->lines[line].w[word & 7] & bits) != bits && (!f->touch || f->touch(f->data, line)))
		f->lines[line].w[word & 7] |= bits;
}

/*
 * Into its half of a dense line, else into one of its two lines; when both are full another address moves to its other
 * line, and so on.
 */
bool block_table_put(const struct block_family *f, weir_u128 a, uint8_t list)
{
	struct places p = places_of(f, a);
	struct entry e = { a, list };
	uint32_t at = p.line[0];

	if (block_head(f)->dense && dense_put(f, a, list))
		return true;
	filter_put(f, p.hash);
	if (line_put(f, p.line[0], e) || line_put(f, p.line[1], e))
		return true;
	for (uint32_t i = 0; i < MOVES; i++) {
		e = slot_set(f, at, (i * 7 + (uint32_t)(p.hash >> 20)) % slots_of(f), e);
		p = places_of(f, e.a);
		at = at == p.line[0] ? p.line[1] : p.line[0];
		if (line_put(f, at, e))
			return true;
	}
	return false;
}

uint64_t block_table_places(const struct block_family *f)
{
	return weir_block_first_slot(block_head(f)) + (uint64_t)block_head(f)->n_table * slots_of(f);
}

static weir_u128 dense_at(const struct block_family *f, uint64_t place)
{
	const struct weir_block_head *h = block_head(f);
	uint32_t half = (uint32_t)(place / 16), lane = (uint32_t)(place % 16);

	if (half >= 2 * h->dense || lane == WEIR_BLOCK_LANES)
		return 0;
	return weir_block_lane_addr(h, &f->lines[weir_block_dense(h) + half / 2], half, lane);
}

weir_u128 block_table_at(const struct block_family *f, uint64_t place)
{
	uint64_t dense = weir_block_first_slot(block_head(f)), slot = place - dense;

	if (place < dense)
		return dense_at(f, place);
	return slot_get(&f->lines[block_head(f)->table + slot / slots_of(f)], f->six, (uint32_t)(slot % slots_of(f)));
}

uint8_t block_table_list(const struct block_family *f, uint64_t place)
{
	return list_get(f, place);
}

/* The part of an address that the index is over. */
static uint64_t upper(bool six, weir_u128 a)
{
	return six ? (uint64_t)(a >> 64) : (uint64_t)a;
}

size_t block_bounds_count(bool six, const struct weir_block_spans *wide)
{
	weir_u128 last = six ? ~(weir_u128)0 : 0xffffffffu;

	return wide->n * 2 - (wide->n && wide->v[wide->n - 1].hi == last);
}

static weir_u128 bound_of(const struct weir_block_spans *wide, size_t i)
{
	return i % 2 ? wide->v[i / 2].hi + 1 : wide->v[i / 2].lo;
}

void block_index_shape(struct weir_block_head *h, bool six, const struct weir_block_spans *wide, size_t most)
{
	size_t n = block_bounds_count(six, wide);
	uint64_t width;

	h->base = n ? upper(six, bound_of(wide, 0)) : 0;
	h->shift = 0;
	h->n_index = 0;
	h->n_bounds = (uint32_t)n;
	if (!n)
		return;
	width = upper(six, bound_of(wide, n - 1)) - h->base;
	while (h->shift < 63 && width >> h->shift >= most)
		h->shift++;
	h->n_index = (uint32_t)(width >> h->shift) + 1;
}

static void line_set(const struct block_family *f, uint32_t line, const struct weir_block_line *to)
{
	if (!memcmp(&f->lines[line], to, sizeof *to))
		return;
	if (!f->touch || f->touch(f->data, line))
		f->lines[line] = *to;
}

static void index_put(const struct block_family *f, const struct weir_block_spans *wide)
{
	const struct weir_block_head *h = block_head(f);
	uint32_t k = 0, c = 0;

	for (uint32_t i = 0; i < weir_block_index_lines(h); i++) {
		struct weir_block_line x = { 0 };

		for (; h->n_index && c <= h->n_index && c < (i + 1) * 16; c++) {
			while (k < h->n_bounds &&
			       (c == h->n_index || (upper(f->six, bound_of(wide, k)) - h->base) >> h->shift < c))
				k++;
			x.d[c % 16] = k;
		}
		line_set(f, weir_block_index(h) + i, &x);
	}
}

/* The byte of the first stretch of the bounds. */
static uint64_t first_stretch(const struct block_family *f)
{
	return (uint64_t)weir_block_slot_lines(block_head(f), f->six) * 64;
}

void block_bounds_put(const struct block_family *f, const struct weir_block_spans *wide)
{
	const struct weir_block_head *h = block_head(f);
	uint32_t per = f->six ? 4 : 16;

	for (uint32_t i = 0; i < weir_block_bounds_lines(h, f->six); i++) {
		struct weir_block_line x = { 0 };

		for (uint32_t k = i * per; k < (i + 1) * per && k < h->n_bounds; k++) {
			if (f->six) {
				x.w[k % 4 * 2] = (uint64_t)(bound_of(wide, k) >> 64);
				x.w[k % 4 * 2 + 1] = (uint64_t)bound_of(wide, k);
			} else {
				x.d[k % 16] = (uint32_t)bound_of(wide, k);
			}
		}
		line_set(f, h->bounds + i, &x);
	}
	index_put(f, wide);
	for (uint32_t i = 0; i < wide->n; i++)
		list_set(f, first_stretch(f) + i, wide->v[i].list);
}

static weir_u128 bound_at(const struct block_family *f, uint32_t i)
{
	const struct weir_block_line *l = &f->lines[block_head(f)->bounds + i / (f->six ? 4 : 16)];

	return f->six ? (weir_u128)l->w[i % 4 * 2] << 64 | l->w[i % 4 * 2 + 1] : l->d[i % 16];
}

struct weir_block_span block_bounds_span(const struct block_family *f, uint32_t i)
{
	bool ends = 2 * i + 1 < block_head(f)->n_bounds;

	return (struct weir_block_span){ bound_at(f, 2 * i),
					 ends ? bound_at(f, 2 * i + 1) - 1 : f->six ? ~(weir_u128)0 : 0xffffffffu,
					 list_get(f, first_stretch(f) + i) };
}
