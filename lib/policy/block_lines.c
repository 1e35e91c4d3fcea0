/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/block_lines.h"

#include <string.h>

#define MOVES 500u /* addresses that one may push aside before a table counts as full */

static uint32_t slots_of(const struct block_family *f)
{
	return f->six ? WEIR_BLOCK_SLOTS6 : WEIR_BLOCK_SLOTS4;
}

static weir_u128 slot_get(const struct weir_block_line *l, bool six, uint32_t i)
{
	return six ? (weir_u128)l->w[2 * i] << 64 | l->w[2 * i + 1] : l->d[i];
}

/* Returns what stood there. */
static weir_u128 slot_set(const struct block_family *f, uint32_t line, uint32_t i, weir_u128 a)
{
	struct weir_block_line *l = &f->lines[line];
	weir_u128 old = slot_get(l, f->six, i);

	if (f->touch && !f->touch(f->data, line))
		return old;
	if (f->six) {
		l->w[2 * i] = (uint64_t)(a >> 64);
		l->w[2 * i + 1] = (uint64_t)a;
	} else {
		l->d[i] = (uint32_t)a;
	}
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

bool block_table_has(const struct block_family *f, weir_u128 a)
{
	struct places p = places_of(f, a);

	return slot_of(f, p.line[0], a) >= 0 || slot_of(f, p.line[1], a) >= 0;
}

void block_table_take(const struct block_family *f, weir_u128 a)
{
	struct places p = places_of(f, a);

	for (int k = 0; k < 2; k++) {
		int slot = slot_of(f, p.line[k], a);

		if (slot >= 0)
			slot_set(f, p.line[k], (uint32_t)slot, 0);
	}
}

static bool line_put(const struct block_family *f, uint32_t line, weir_u128 a)
{
	int slot = slot_of(f, line, 0);

	if (slot >= 0)
		slot_set(f, line, (uint32_t)slot, a);
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

/* Into one of its two lines; when both are full another address moves to its other line, and so on. */
bool block_table_put(const struct block_family *f, weir_u128 a)
{
	struct places p = places_of(f, a);
	uint32_t at = p.line[0];

	filter_put(f, p.hash);
	if (line_put(f, p.line[0], a) || line_put(f, p.line[1], a))
		return true;
	for (uint32_t i = 0; i < MOVES; i++) {
		a = slot_set(f, at, (i * 7 + (uint32_t)(p.hash >> 20)) % slots_of(f), a);
		p = places_of(f, a);
		at = at == p.line[0] ? p.line[1] : p.line[0];
		if (line_put(f, at, a))
			return true;
	}
	return false;
}

weir_u128 block_table_at(const struct block_family *f, uint64_t slot)
{
	const struct weir_block_line *l = &f->lines[block_head(f)->table + slot / slots_of(f)];

	return slot_get(l, f->six, (uint32_t)(slot % slots_of(f)));
}

/* The part of an address that the index is over. */
static uint64_t upper(bool six, weir_u128 a)
{
	return six ? (uint64_t)(a >> 64) : (uint64_t)a;
}

void block_index_shape(struct weir_block_head *h, bool six, const weir_u128 *bounds, size_t n, size_t most)
{
	uint64_t wide;

	h->base = n ? upper(six, bounds[0]) : 0;
	h->shift = 0;
	h->n_index = 0;
	h->n_bounds = (uint32_t)n;
	if (!n)
		return;
	wide = upper(six, bounds[n - 1]) - h->base;
	while (h->shift < 63 && wide >> h->shift >= most)
		h->shift++;
	h->n_index = (uint32_t)(wide >> h->shift) + 1;
}

static void line_set(const struct block_family *f, uint32_t line, const struct weir_block_line *to)
{
	if (!memcmp(&f->lines[line], to, sizeof *to))
		return;
	if (!f->touch || f->touch(f->data, line))
		f->lines[line] = *to;
}

static void index_put(const struct block_family *f, const weir_u128 *bounds)
{
	const struct weir_block_head *h = block_head(f);
	uint32_t k = 0, c = 0;

	for (uint32_t i = 0; i < weir_block_index_lines(h); i++) {
		struct weir_block_line x = { 0 };

		for (; h->n_index && c <= h->n_index && c < (i + 1) * 16; c++) {
			while (k < h->n_bounds &&
			       (c == h->n_index || (upper(f->six, bounds[k]) - h->base) >> h->shift < c))
				k++;
			x.d[c % 16] = k;
		}
		line_set(f, h->index + i, &x);
	}
}

void block_bounds_put(const struct block_family *f, const weir_u128 *bounds)
{
	const struct weir_block_head *h = block_head(f);
	uint32_t per = f->six ? 4 : 16;

	for (uint32_t i = 0; i < weir_block_bounds_lines(h, f->six); i++) {
		struct weir_block_line x = { 0 };

		for (uint32_t k = i * per; k < (i + 1) * per && k < h->n_bounds; k++) {
			if (f->six) {
				x.w[k % 4 * 2] = (uint64_t)(bounds[k] >> 64);
				x.w[k % 4 * 2 + 1] = (uint64_t)bounds[k];
			} else {
				x.d[k % 16] = (uint32_t)bounds[k];
			}
		}
		line_set(f, h->bounds + i, &x);
	}
	index_put(f, bounds);
}

weir_u128 block_bound(const struct block_family *f, uint32_t i)
{
	const struct weir_block_line *l = &f->lines[block_head(f)->bounds + i / (f->six ? 4 : 16)];

	return f->six ? (weir_u128)l->w[i % 4 * 2] << 64 | l->w[i % 4 * 2 + 1] : l->d[i % 16];
}
