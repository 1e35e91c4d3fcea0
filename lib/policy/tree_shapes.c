/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In which shapes trees are tried: the members of struct tree_shape in their order. Found by trying some 200 at random on
 * ClassBench's sets and on those of our own generator, with 1,000 to 100,000 rules: the best of these six costs at most a few
 * percent more than the best of all. The first is one that builds nearly always.
 */
#include "lib/policy/tree_build.h"

struct shapes {
	struct tree_shape few[TREE_GOOD_SHAPES], many[TREE_GOOD_SHAPES], last[TREE_LAST_SHAPES];
};
static const struct shapes shapes4 = {
	.few = { { 4, 4, 2, 16, 0.25, 0.1, 0.02, 1, 0.05, 0.03 },
		 { 4, 12, 2, 8, 0.05, 0.1, 0.02, 0.5, 0.02, 0.3 },
		 { 0, 0, 8, 1.5, 0.05, 0.1, 0.3, 0.5, 0.05, 0.03 },
		 { 0, 0, 24, 4, 0.05, 0.5, 0.3, 0.5, 0.02, 0.1 },
		 { 0, 0, 24, 1.5, 0.25, 0.05, 0.3, 0.7, 0.05, 0.1 },
		 { 0, 0, 4, 16, 0.5, 0.2, 0.15, 0.7, 0.02, 0.03 } },
	.many = { { 4, 4, 12, 3, 0.05, 0.1, 0.3, 0.5, 0.05, 0.3 },
		  { 8, 1, 16, 4, 0.25, 0.001, 0.3, 0.5, 0.02, 0.03 },
		  { 4, 4, 4, 8, 0.25, 0.05, 0.5, 0.5, 0.05, 0.03 },
		  { 0, 0, 8, 2, 1, 0.01, 0.08, 0.5, 0.15, 0.1 },
		  { 4, 4, 2, 8, 0.05, 0.001, 0.3, 0.3, 0.02, 0.3 },
		  { 8, 12, 3, 2, 0.25, 0.1, 0.5, 0.5, 0.01, 0.5 } },
	.last = { { 4, 4, 16, 1.5, 1, 0.001, 0.08, 0.5, 0.15, 0.1 },
		  { 8, 8, 64, 1.1, 4, 0.001, 0.08, 0.5, 0.15, 0.1 },
		  { 8, 8, 256, 1.5, 0.5, 0, 0.08, 0.5, 0.15, 0.1 } },
};
static const struct shapes shapes6 = {
	.few = { { 32, 32, 1, 3, 0.05, 0.01, 0.02, 0.5, 0.02, 0.3 },
		 { 0, 0, 1, 4, 0.1, 0.001, 0.08, 1, 0.3, 0.03 },
		 { 16, 16, 2, 1.2, 0.1, 0.5, 0.02, 0.5, 0.02, 0.3 },
		 { 0, 0, 2, 16, 0.05, 0.001, 0.08, 0.5, 0.1, 0.3 },
		 { 16, 32, 1, 1.2, 2, 0.2, 0.02, 0.7, 0.02, 0.1 },
		 { 4, 16, 1, 8, 0.1, 0.2, 0.02, 0.7, 0.05, 0.1 } },
	.many = { { 16, 16, 12, 3, 0.25, 0.001, 0.15, 0.3, 0.05, 0.3 },
		  { 0, 0, 8, 16, 2, 0.001, 0.08, 0.7, 0.05, 0.03 },
		  { 8, 8, 2, 1.2, 0.5, 0.05, 0.5, 1, 0.05, 0.5 },
		  { 24, 24, 6, 8, 0.5, 0.01, 0.3, 0.5, 0.15, 0.1 },
		  { 16, 16, 2, 1.2, 0.1, 0.5, 0.02, 0.5, 0.02, 0.3 },
		  { 16, 40, 2, 1.5, 0.5, 0.2, 0.15, 0.3, 0.15, 0.3 } },
	.last = { { 16, 16, 8, 1.5, 1, 0.001, 0.08, 0.5, 0.15, 0.1 },
		  { 40, 40, 32, 1.1, 4, 0.001, 0.08, 0.5, 0.15, 0.1 },
		  { 40, 40, 128, 1.5, 0.5, 0, 0.08, 0.5, 0.15, 0.1 } },
};

const struct tree_shape *tree_shape_of(const struct tree_boxes *x, uint32_t i)
{
	const struct shapes *s = x->six ? &shapes6 : &shapes4;

	if (i >= TREE_GOOD_SHAPES)
		return &s->last[i - TREE_GOOD_SHAPES];
	return x->n < TREE_MANY ? &s->few[i] : &s->many[i];
}
