/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where to cut a node. For every number of the key: the smallest aligned block that holds each box which does not
 * hold all of the region anyhow (common prefixes cost nothing), and for every width how the boxes would spread.
 * The starts and ends of the boxes are counted once at the finest width; those of a coarser one are their sums.
 */
#include "lib/policy/tree_build.h"

#include <stdlib.h>
#include <string.h>

#define WIDTH_MAX 16
#define MANY 64 /* boxes for which a table may be larger than they are: there are few such nodes */

uint32_t tree_log2(uint64_t x)
{
	uint32_t whole, part = 0;
	uint64_t m;

	if (x < 2)
		return 0;
	whole = 63 - (uint32_t)__builtin_clzll(x);
	m = x << (63 - whole) >> 32; /* 1.0 is 2^31 */
	for (int i = 0; i < 8; i++) {
		m = m * m >> 31;
		part <<= 1;
		if (m >> 32) {
			m >>= 1;
			part |= 1;
		}
	}
	return whole << 8 | part;
}

/* The same, remembered: most numbers of boxes are small. */
static uint32_t log2_of(uint64_t x)
{
	static uint16_t small[4096];

	if (x >= 4096)
		return tree_log2(x);
	if (!small[x])
		small[x] = (uint16_t)tree_log2(x);
	return small[x];
}

/* q * log2(q / leaf), and 0 for what fits into a leaf. */
static double halvings(uint64_t q, uint32_t leaf)
{
	return q <= leaf ? 0 : (double)q * (log2_of(q) - log2_of(leaf)) / 256;
}

struct spread {
	uint64_t lo, hi;   /* of the boxes that do not hold the whole region, clipped to it */
	uint32_t n, whole; /* those, and the others */
};

static struct spread look(const struct tree_dim *d, const uint32_t *list, uint32_t n, uint64_t lo, uint64_t hi)
{
	struct spread s = { UINT64_MAX, 0, 0, 0 };

	for (uint32_t i = 0; i < n; i++) {
		uint64_t a = d->lo[list[i]], z = d->hi[list[i]];

		if (a <= lo && z >= hi)
			continue;
		a = a < lo ? lo : a;
		z = z > hi ? hi : z;
		s.lo = a < s.lo ? a : s.lo;
		s.hi = z > s.hi ? z : s.hi;
		s.n++;
	}
	s.whole = n - s.n;
	return s;
}

static uint32_t bits_of(uint64_t x)
{
	return x ? 64 - (uint32_t)__builtin_clzll(x) : 0;
}

/* The bits that differ within the block, at least enough to tell one value from its neighbours. */
static uint32_t block_bits(const struct spread *s, uint64_t lo, uint64_t hi)
{
	uint32_t top = bits_of(s->lo ^ s->hi), room = bits_of(lo ^ hi);

	if (!top)
		top = 4;
	return top < room ? top : room;
}

static void count(const struct tree_builder *b, const struct tree_dim *d, const uint32_t *list, uint32_t n,
		  const struct tree_region *r, uint32_t dim, uint32_t shift, uint32_t width)
{
	uint64_t lo = r->lo[dim], hi = r->hi[dim], mask = (1ull << width) - 1;

	memset(b->starts, 0, sizeof *b->starts << width);
	memset(b->ends, 0, sizeof *b->ends << width);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t a = d->lo[list[i]], z = d->hi[list[i]];

		if (a <= lo && z >= hi)
			continue;
		a = a < lo ? lo : a;
		z = z > hi ? hi : z;
		b->starts[a >> shift & mask]++;
		b->ends[z >> shift & mask]++;
	}
}

/* Half as many cells. */
static void merge(const struct tree_builder *b, uint32_t cells)
{
	for (uint32_t i = 0; i < cells / 2; i++) {
		b->starts[i] = b->starts[2 * i] + b->starts[2 * i + 1];
		b->ends[i] = b->ends[2 * i] + b->ends[2 * i + 1];
	}
}

/*
 * What cells of this width would cost, in levels; negative: not worth it, or not allowed. Neighbouring cells with
 * the same boxes share what is below them and count as one: that is what lets a table of ports be wide.
 */
static double weigh(const struct tree_builder *b, const struct spread *s, uint32_t n, uint32_t width)
{
	const struct tree_shape *shape = b->shape;
	double left = 0, sum = 0, squares = 0, cost;
	uint32_t inside = s->whole, edge = 1;

	for (uint32_t i = 0; i < 1u << width; i++) {
		inside += b->starts[i];
		if (edge | b->starts[i] | b->ends[i]) {
			sum += inside;
			squares += (double)inside * inside;
			left += halvings(inside, shape->leaf);
		}
		edge = b->starts[i] | b->ends[i];
		inside -= b->ends[i];
	}
	if (sum > shape->copies * n + shape->spare * b->boxes->n + 64 || n - squares / sum < 2)
		return -1;
	left /= sum;
	if (left > halvings(n, shape->leaf) / n - shape->gain)
		return -1;
	cost = sum > n ? (double)(tree_log2((uint64_t)(sum * 64 / n)) - 6 * 256) / 256 : 0;
	return shape->left * left + shape->copy_cost * cost * (sum / (sum + shape->spare * b->boxes->n)) +
	       shape->table * (double)(1u << width) / (n >= MANY ? n + shape->table_all * b->boxes->n : n);
}

int tree_cut_choose(struct tree_builder *b, const uint32_t *list, uint32_t n, const struct tree_region *r,
		    struct tree_cut *ret)
{
	double best = 1e9;

	for (uint32_t dim = 0; dim < b->boxes->n_dims; dim++) {
		const struct tree_dim *d = &b->boxes->dim[dim];
		struct spread s = look(d, list, n, r->lo[dim], r->hi[dim]);
		uint32_t top, width;

		b->work += n;
		if (!s.n)
			continue;
		top = block_bits(&s, r->lo[dim], r->hi[dim]);
		width = bits_of(n >= MANY ? 16ull * n : 4ull * n + 16) - 1;
		width = width > top ? top : width;
		width = width > WIDTH_MAX ? WIDTH_MAX : width;
		if (!width)
			continue;
		b->work += n + (1u << width) / 2;
		count(b, d, list, n, r, dim, top - width, width);
		for (; width; width--) {
			double cost = weigh(b, &s, n, width);

			if (cost >= 0 && cost < best) {
				best = cost;
				*ret = (struct tree_cut){ dim, width, top - width,
							  top < 64 ? s.lo >> top << top : 0 };
			}
			merge(b, 1u << width);
		}
	}
	return best < 1e9;
}

void tree_cut_cells(const struct tree_builder *b, const struct tree_cut *c, const struct tree_region *r, uint32_t box,
		    uint32_t *ret_first, uint32_t *ret_last)
{
	const struct tree_dim *d = &b->boxes->dim[c->dim];
	uint64_t lo = r->lo[c->dim], hi = r->hi[c->dim], a = d->lo[box], z = d->hi[box];
	uint64_t mask = (1ull << c->width) - 1;

	if (a <= lo && z >= hi) {
		*ret_first = 0;
		*ret_last = (uint32_t)mask;
		return;
	}
	a = a < lo ? lo : a;
	z = z > hi ? hi : z;
	*ret_first = (uint32_t)(a >> c->shift & mask);
	*ret_last = (uint32_t)(z >> c->shift & mask);
}
