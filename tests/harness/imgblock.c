/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lines of a small blocklist, without the code of lib/policy: single addresses in a table, the rest in bounds, and which
 * of several lists each is of.
 */
#include <stdlib.h>
#include <string.h>

#include "core/pkt.h"
#include "tests/harness/imgbuild.h"

#define BOUNDS (2 * WEIR_IMGBUILD_RANGES)
#define FILTER 1u
#define TABLE 5u /* lines: so many that addresses share them, and that both places of one are used */

typedef unsigned __int128 addr_num;

struct family {
	addr_num bounds[BOUNDS], exact[WEIR_IMGBUILD_RANGES];
	uint32_t n_bounds, n_exact;
};

static addr_num num_of(const uint8_t a[16], bool v4)
{
	return v4 ? weir_be32(a + 12) : (addr_num)weir_be64(a) << 64 | weir_be64(a + 8);
}

static int by_low(const void *x, const void *y)
{
	const struct weir_addr_range *a = x, *b = y;

	return memcmp(a->lo, b->lo, 16);
}

/* Ranges that touch become one; a border between them would be two bounds at one place. */
static void gather(const struct weir_addr_list *l, bool v4, struct family *f)
{
	struct weir_addr_range r[WEIR_IMGBUILD_RANGES];
	addr_num last = v4 ? 0xffffffffu : ~(addr_num)0;

	memcpy(r, l->r, sizeof r);
	qsort(r, l->n, sizeof *r, by_low);
	for (uint32_t i = 0; i < l->n; i++) {
		addr_num lo = num_of(r[i].lo, v4), hi = num_of(r[i].hi, v4);

		if (weir_addr_is_v4(r[i].lo) != v4)
			continue;
		while (i + 1 < l->n && weir_addr_is_v4(r[i + 1].lo) == v4 &&
		       (hi == last || num_of(r[i + 1].lo, v4) <= hi + 1)) {
			i++;
			hi = num_of(r[i].hi, v4) > hi ? num_of(r[i].hi, v4) : hi;
		}
		if (lo == hi && lo) {
			f->exact[f->n_exact++] = lo;
			continue;
		}
		f->bounds[f->n_bounds++] = lo;
		if (hi != last)
			f->bounds[f->n_bounds++] = hi + 1;
	}
}

static void put(struct weir_block_line *l, const struct weir_block_head *h, bool v4, addr_num a)
{
	uint64_t bits, hash = v4 ? weir_block_hash4(h, (uint32_t)a) : weir_block_hash6(h, (uint64_t)(a >> 64), (uint64_t)a);

	uint32_t word = weir_block_filter(hash, h->filter, &bits);

	l[h->table - h->filter + word / 8].w[word % 8] |= bits;
	for (int way = 0; way < 2; way++) {
		struct weir_block_line *at = &l[h->table + weir_block_place(way ? hash : hash >> 32, h->n_table)];

		for (uint32_t i = 0; i < (v4 ? WEIR_BLOCK_SLOTS4 : WEIR_BLOCK_SLOTS6); i++) {
			if (v4 ? at->d[i] : at->w[2 * i] | at->w[2 * i + 1])
				continue;
			if (v4) {
				at->d[i] = (uint32_t)a;
			} else {
				at->w[2 * i] = (uint64_t)(a >> 64);
				at->w[2 * i + 1] = (uint64_t)a;
			}
			return;
		}
	}
	abort();
}

/* Each place is of some list: whatever asks has to name the same. Returns the first line that is free. */
static uint32_t lay_lists(struct weir_block_line *l, struct weir_block_head *h, bool v4)
{
	uint32_t at = weir_block_list_line(h, !v4);

	h->listed = 1;
	for (uint32_t i = 0; i < weir_block_list_lines(h, !v4) * 64; i++)
		l[at + i / 64].b[i % 64] = (uint8_t)(i * 7 % WEIR_IMGBLOCK_LISTS);
	return at + (uint32_t)weir_block_list_lines(h, !v4);
}

/* One cell of the index that is as wide as the space; `at`: the first line that is free. */
static uint32_t lay(struct weir_block_line *l, const struct family *f, bool v4, uint32_t at)
{
	struct weir_block_head *h = &l[!v4].head;

	*h = (struct weir_block_head){ .key = { 0x1234567, 0x89abcdef }, .shift = 63 };
	h->filter = f->n_exact ? FILTER : 0;
	h->table = at + h->filter;
	h->n_table = f->n_exact ? TABLE : 0;
	at = h->table + h->n_table;
	for (uint32_t i = 0; i < f->n_exact; i++)
		put(l, h, v4, f->exact[i]);
	h->n_bounds = h->bounds_room = f->n_bounds;
	h->bounds = at;
	if (!f->n_bounds)
		return lay_lists(l, h, v4);
	at++; /* of the index */
	h->n_index = h->index_room = 2;
	h->bounds = at;
	l[weir_block_index(h)].d[2] = f->n_bounds;
	for (uint32_t i = 0; i < f->n_bounds; i++) {
		uint64_t *w = &l[at + i / 4].w[i % 4 * 2];

		if (v4) {
			l[at + i / 16].d[i % 16] = (uint32_t)f->bounds[i];
			continue;
		}
		w[0] = (uint64_t)(f->bounds[i] >> 64);
		w[1] = (uint64_t)f->bounds[i];
	}
	for (uint32_t i = 0; i < f->n_bounds; i++)
		l[weir_block_index(h)].d[1] += !((uint64_t)(v4 ? f->bounds[i] : f->bounds[i] >> 64) >> 63);
	return lay_lists(l, h, v4);
}

uint32_t weir_imgblock_make(const struct weir_addr_list *l, struct weir_block_line *to)
{
	struct family v4 = { .n_bounds = 0 }, v6 = { .n_bounds = 0 };
	uint32_t at;

	memset(to, 0, WEIR_IMGBLOCK_LINES * sizeof *to);
	gather(l, true, &v4);
	gather(l, false, &v6);
	to[0].w[0] = 1;
	at = lay(to + 1, &v4, true, 2);
	return 1 + lay(to + 1, &v6, false, at);
}
