/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From boxes to the lines of core/tree.h. The boxes of a family are parted into up to four groups by whether their
 * source and their destination are narrow: a wide box among narrow ones would stand in very many leaves. Where
 * "narrow" begins is tried in several ways, and what costs sampled packets least is kept.
 */
#include "core/draw.h"
#include "lib/policy/tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/tree_build.h"
#include "lib/util/cleanup.h"

struct weir_img {
	const struct weir_tree_line *lines;
	uint32_t n;
};

static inline const struct weir_tree_line *weir_img_tree_line(const struct weir_img *img, uint32_t i)
{
	return i < img->n ? &img->lines[i] : NULL;
}

#include "core/tree.h"

#define GROUPS 4
#define SAMPLES 2048
#define ENOUGH 140 /* looks at each box, and a few more, after which one good shape is enough */
#define FEW_MORE (1u << 22)
#define TRY 60 /* the same for one more shape when there is a good one */

_Static_assert(GROUPS <= WEIR_TREE_ROOTS, "a tree per group");
_Static_assert(WEIR_RULES_MAX < WEIR_TREE_RULES - 1, "each rule has its number");

struct trial {
	struct weir_tree_root roots[WEIR_TREE_ROOTS];
	struct weir_tree_line *lines; /* all as yet, and behind them those of this trial; roots are not filled in */
	uint32_t n, n_roots, depth, leaf, node_lines, leaf_lines;
	uint32_t reached[WEIR_TREE_ROOTS]; /* by how many of the sampled packets */
	uint64_t cost;
};

struct making {
	struct tree_boxes boxes;
	struct weir_tree_line *lines; /* finished; the trial's come behind them */
	uint32_t n;
	uint32_t lines_max, leaf_max;
	uint64_t work, work_max;
	const struct weir_tree_limits *limits;
	struct weir_tree_stats stats;
	struct weir_why *why;
};

static void free_boxes(struct tree_boxes *x)
{
	for (uint32_t i = 0; i < TREE_DIMS; i++) {
		free(x->dim[i].lo);
		free(x->dim[i].hi);
	}
	free(x->rule);
	free(x->dirs);
	memset(x, 0, sizeof *x);
}

/* The smallest prefix around a range. */
static void widen(weir_u128 *lo, weir_u128 *hi)
{
	weir_u128 differ = *lo ^ *hi, mask = 0;

	while (differ & ~mask)
		mask = mask << 1 | 1;
	*lo &= ~mask;
	*hi |= mask;
}

struct weir_box weir_box_cover(const struct weir_box *b)
{
	struct weir_box r = *b;

	if (r.family == 6) {
		widen(&r.src_lo, &r.src_hi);
		widen(&r.dst_lo, &r.dst_hi);
	}
	return r;
}

static bool box_ok(const struct weir_box *b)
{
	bool four = b->family == 4;

	if (four && (!weir_u128_is_v4(b->src_lo) || !weir_u128_is_v4(b->src_hi) || !weir_u128_is_v4(b->dst_lo) ||
		     !weir_u128_is_v4(b->dst_hi)))
		return false;
	return (four || b->family == 6) && b->src_lo <= b->src_hi && b->dst_lo <= b->dst_hi &&
	       b->sport_lo <= b->sport_hi && b->dport_lo <= b->dport_hi && b->proto_lo <= b->proto_hi && b->dirs &&
	       b->dirs <= WEIR_DIR_ANY && b->rule < WEIR_TREE_RULES - 1;
}

/* A column of the boxes; its place in the key. */
static void column(struct tree_boxes *x, uint32_t dim, uint8_t bits, uint8_t word, uint8_t shift)
{
	x->dim[dim].bits = bits;
	x->dim[dim].word = word;
	x->dim[dim].shift = shift;
}

static void put(struct tree_boxes *x, uint32_t dim, uint32_t i, uint64_t lo, uint64_t hi)
{
	x->dim[dim].lo[i] = lo;
	x->dim[dim].hi[i] = hi;
}

static void put_box(struct tree_boxes *x, uint32_t i, const struct weir_box *from)
{
	struct weir_box b = weir_box_cover(from);
	uint32_t at = x->six ? 4 : 2;

	if (x->six) {
		/* a prefix: its low word is everything, or its high word one value */
		put(x, 0, i, (uint64_t)(b.src_lo >> 64), (uint64_t)(b.src_hi >> 64));
		put(x, 1, i, (uint64_t)b.src_lo, (uint64_t)b.src_hi);
		put(x, 2, i, (uint64_t)(b.dst_lo >> 64), (uint64_t)(b.dst_hi >> 64));
		put(x, 3, i, (uint64_t)b.dst_lo, (uint64_t)b.dst_hi);
	} else {
		put(x, 0, i, (uint32_t)b.src_lo, (uint32_t)b.src_hi);
		put(x, 1, i, (uint32_t)b.dst_lo, (uint32_t)b.dst_hi);
	}
	put(x, at, i, b.sport_lo, b.sport_hi);
	put(x, at + 1, i, b.dport_lo, b.dport_hi);
	put(x, at + 2, i, b.proto_lo, b.proto_hi);
	put(x, at + 3, i, b.dirs & WEIR_DIR_IN ? 0 : b.dirs & WEIR_DIR_FWD ? 1 : 2,
	    b.dirs & WEIR_DIR_OUT ? 3 : b.dirs & WEIR_DIR_FWD ? 1 : 0);
	x->rule[i] = b.rule;
	x->dirs[i] = b.dirs;
}

static int by_rule(const void *a, const void *b)
{
	const struct weir_box *x = *(const struct weir_box *const *)a, *y = *(const struct weir_box *const *)b;

	if (x->rule != y->rule)
		return x->rule < y->rule ? -1 : 1;
	return x < y ? -1 : x > y;
}

static int load_boxes(struct tree_boxes *x, const struct weir_box *boxes, size_t n, uint8_t family)
{
	_cleanup_free_ const struct weir_box **sorted = calloc(n + 1, sizeof *sorted);
	uint32_t at;

	memset(x, 0, sizeof *x);
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (boxes[i].family == family)
			sorted[x->n++] = &boxes[i];
	qsort(sorted, x->n, sizeof *sorted, by_rule);
	x->six = family == 6;
	x->n_dims = x->six ? 8 : 6;
	for (uint32_t i = 0; x->six && i < 4; i++)
		column(x, i, 64, (uint8_t)i, 0);
	if (!x->six) {
		column(x, 0, 32, 0, 32);
		column(x, 1, 32, 0, 0);
	}
	at = x->six ? 4 : 2;
	column(x, at, 16, x->six ? 4 : 1, 24);
	column(x, at + 1, 16, x->six ? 4 : 1, 8);
	column(x, at + 2, 8, x->six ? 4 : 1, 0);
	column(x, at + 3, 2, x->six ? 4 : 1, 40);
	x->rule = calloc(x->n + 1, sizeof *x->rule);
	x->dirs = calloc(x->n + 1, sizeof *x->dirs);
	if (!x->rule || !x->dirs)
		return -ENOMEM;
	for (uint32_t d = 0; d < x->n_dims; d++) {
		x->dim[d].lo = calloc(x->n + 1, sizeof *x->dim[d].lo);
		x->dim[d].hi = calloc(x->n + 1, sizeof *x->dim[d].hi);
		if (!x->dim[d].lo || !x->dim[d].hi)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < x->n; i++)
		put_box(x, i, sorted[i]);
	return 0;
}

/* Is the address that begins at this column at least so long a prefix? */
static bool narrow(const struct tree_boxes *x, uint32_t dim, uint32_t i, uint32_t len)
{
	uint64_t span = x->dim[dim].hi[i] - x->dim[dim].lo[i];
	uint32_t bits = x->dim[dim].bits;

	return span <= (UINT64_MAX >> (64 - bits) >> len);
}

/*
 * May the boxes of one group stand among those of another? Where they are wider, each leaf there has a copy of them: as
 * long as there are few of either.
 */
static bool may_join(const struct tree_boxes *x, const uint32_t n[GROUPS], uint32_t group, uint32_t to)
{
	return !(group & ~to) || (uint64_t)n[group] * n[to] <= x->n / 4 + 2048;
}

/* Which group each box belongs to; a group of very few joins the smallest other one, unless that costs more than a tree. */
static int part_boxes(const struct tree_boxes *x, const struct tree_shape *s, uint8_t *group, uint32_t n[GROUPS])
{
	uint32_t few = x->n / 500, to[GROUPS] = { 0, 1, 2, 3 };

	few = few < 8 ? 8 : few > 64 ? 64 : few;
	memset(n, 0, GROUPS * sizeof *n);
	for (uint32_t i = 0; i < x->n; i++) {
		group[i] = s->src_len ? (uint8_t)(!narrow(x, 0, i, s->src_len) * 2 +
						  !narrow(x, x->six ? 2 : 1, i, s->dst_len)) : 0;
		n[group[i]]++;
	}
	for (uint32_t g = 1; g < GROUPS; g++) {
		uint32_t best = GROUPS;

		for (uint32_t k = 0; k < GROUPS; k++)
			if (k != g && n[k] && (best == GROUPS || n[k] <= n[best]))
				best = k;
		if (!n[g] || n[g] > few || best == GROUPS || !may_join(x, n, g, best))
			continue;
		n[best] += n[g];
		n[g] = 0;
		for (uint32_t k = 0; k < GROUPS; k++)
			if (to[k] == g)
				to[k] = best;
	}
	for (uint32_t i = 0; i < x->n; i++)
		group[i] = (uint8_t)to[group[i]];
	return 0;
}

static int by_min(const void *a, const void *b)
{
	const struct weir_tree_root *x = a, *y = b;

	if (x->min != y->min)
		return x->min < y->min ? -1 : 1;
	return x->word < y->word ? -1 : x->word > y->word;
}

/* One tree per group, into the builder's lines. */
static int grow_groups(struct making *m, struct tree_builder *b, struct trial *t)
{
	const struct tree_boxes *x = &m->boxes;
	_cleanup_free_ uint8_t *group = calloc(x->n + 1, 1);
	_cleanup_free_ uint32_t *list = calloc(x->n + 1, sizeof *list);
	uint32_t n[GROUPS];
	int err = group && list ? part_boxes(x, b->shape, group, n) : -ENOMEM;

	for (uint32_t g = 0; !err && g < GROUPS; g++) {
		struct tree_region r = { 0 };
		uint32_t k = 0;
		uint64_t word;

		if (!n[g])
			continue;
		for (uint32_t i = 0; i < x->n; i++)
			if (group[i] == g)
				list[k++] = i;
		for (uint32_t d = 0; d < x->n_dims; d++)
			r.hi[d] = UINT64_MAX >> (64 - x->dim[d].bits);
		b->n_halves = 0; /* no line is shared with another tree: see share_line */
		err = tree_grow(b, list, k, &r, 0, &word);
		if (!err)
			t->roots[t->n_roots++] = (struct weir_tree_root){ word, x->rule[list[0]],
									  x->rule[list[k - 1]] };
	}
	if (!err)
		qsort(t->roots, t->n_roots, sizeof *t->roots, by_min);
	return err;
}

/* What one line of so many costs that is not in the nearest cache: 12 ns per MB, as far as there are caches. */
static uint64_t missing(uint32_t lines)
{
	return (lines < (16u << 20) / 64 ? lines : (16u << 20) / 64) * 12ull / 1024;
}

static uint64_t walk_cost(const struct weir_tree_line *lines, uint32_t n, const struct weir_tree_key *k, uint64_t *word)
{
	const struct weir_img img = { .lines = lines, .n = n };
	uint64_t cost = 30;

	if (*word & WEIR_TREE_PACKED) {
		*word = weir_tree_step_packed(&img, k, *word);
		cost += 145;
	}
	for (; !(*word >> 63); cost += 145)
		*word = weir_tree_word(&img, weir_tree_cell(*word, k));
	return cost;
}

/* The lines of a leaf, up to the one that decides. */
static uint64_t leaf_cost(const struct weir_tree_line *lines, struct weir_tree_key *k, uint64_t word)
{
	uint32_t line = weir_tree_leaf_line(word), end = line + weir_tree_leaf_lines(word);
	uint64_t cost = 210;

	for (; line < end && !weir_tree_line(lines + line, k, k->family == 6); line++)
		cost += 88;
	return cost;
}

/*
 * What core/tree.h would do for a packet, each tree after the other, in 1/15 ns: instructions and, the more the larger
 * the trees are, lines that have to be waited for. Of what stands behind several roots the waiting overlaps in part. The
 * numbers are a fit of what `make bench` printed for 21 sets in two shapes and three kinds of packets.
 */
static uint64_t packet_cost(const struct weir_tree_line *lines, struct trial *t, struct weir_tree_key *k)
{
	uint64_t cost = 0, leaf = missing(t->n);

	k->from = 0;
	k->best = WEIR_TREE_END;
	for (uint32_t i = 0; i < t->n_roots && t->roots[i].min < k->best; i++) {
		uint64_t word = t->roots[i].word;

		t->reached[i]++;
		cost += walk_cost(lines, t->n, k, &word);
		if (!weir_tree_leaf_lines(word) || weir_tree_leaf_rule(word) >= k->best)
			continue;
		cost += leaf_cost(lines, k, word) + leaf;
		leaf = missing(t->n) / 3;
	}
	return cost;
}

/* A packet of these numbers (by column). */
static struct weir_tree_key packet_key(const struct tree_boxes *x, const uint64_t *v)
{
	const uint64_t *fields = v + (x->six ? 4 : 2);
	struct weir_tree_key k = { .sport = (uint32_t)fields[0],
				   .dport = (uint32_t)fields[1],
				   .proto = (uint32_t)fields[2],
				   .dir = fields[3] == 0 ? WEIR_DIR_IN : fields[3] == 1 ? WEIR_DIR_FWD : WEIR_DIR_OUT };

	if (x->six)
		weir_tree_key6(&k, v[0], v[1], v[2], v[3]);
	else
		weir_tree_key4(&k, (uint32_t)v[0], (uint32_t)v[1]);
	return k;
}

/* The mean over packets that fit some box, and over ones mixed from several. */
static uint64_t trial_cost(const struct tree_boxes *x, const struct weir_tree_line *lines, struct trial *t)
{
	uint64_t seed = 0x9e3779b97f4a7c15u, sum = 0;

	for (uint32_t i = 0; i < SAMPLES; i++) {
		uint64_t v[TREE_DIMS] = { 0 };
		uint32_t box = weir_draw_below(&seed, x->n);
		struct weir_tree_key k;

		for (uint32_t d = 0; d < x->n_dims; d++) {
			uint64_t span;

			if (i & 1)
				box = weir_draw_below(&seed, x->n);
			span = x->dim[d].hi[box] - x->dim[d].lo[box];
			v[d] = x->dim[d].lo[box] + (span == UINT64_MAX ? weir_draw(&seed) : weir_draw(&seed) % (span + 1));
		}
		k = packet_key(x, v);
		sum += packet_cost(lines, t, &k);
	}
	return sum / SAMPLES;
}

/* Trees are walked together as long as two thirds of the packets that reach the first of them reach the next one. */
static void join_roots(struct trial *t)
{
	uint32_t first = 0;

	for (uint32_t i = 1; i < t->n_roots; i++) {
		if (t->reached[i] * 3 >= t->reached[first] * 2)
			t->roots[i - 1].max |= WEIR_TREE_MORE;
		else
			first = i;
	}
}

static void trial_free(struct trial *t)
{
	free(t->lines);
	memset(t, 0, sizeof *t);
}

/* Build in this shape. What came before stays in front, so bases need no correction. */
static int try_shape(struct making *m, const struct tree_shape *shape, struct trial *t)
{
	struct tree_builder b = {
		.boxes = &m->boxes, .shape = shape, .limit = m->lines_max, .leaf_limit = m->leaf_max,
		.work = m->work, .work_limit = m->work_max, .limits = m->limits, .why = m->why,
	};
	int err;

	memset(t, 0, sizeof *t);
	b.starts = malloc(sizeof *b.starts << 16);
	b.ends = malloc(sizeof *b.ends << 16);
	err = b.starts && b.ends ? tree_lines_reserve(&b, m->n) : -ENOMEM;
	if (!err)
		memcpy(b.lines, m->lines, m->n * sizeof *b.lines);
	if (!err)
		err = grow_groups(m, &b, t);
	m->work = b.work;
	m->stats.tries++;
	if (!err) {
		t->lines = TAKE_PTR(b.lines);
		t->n = b.n;
		t->depth = b.depth;
		t->leaf = b.leaf;
		t->node_lines = b.node_lines;
		t->leaf_lines = b.leaf_lines;
		t->cost = trial_cost(&m->boxes, t->lines, t);
		join_roots(t);
	}
	free(b.starts);
	free(b.ends);
	free(b.lines);
	free(b.leaves);
	free(b.pool);
	return err;
}

static void keep(struct making *m, struct trial *t)
{
	struct weir_tree_root *roots = (struct weir_tree_root *)(t->lines + (m->boxes.six ? WEIR_TREE_HEAD / 2 : 0));

	memcpy(roots, t->roots, t->n_roots * sizeof *roots);
	free(m->lines);
	m->lines = TAKE_PTR(t->lines);
	m->n = t->n;
	m->stats.trees[m->boxes.six] = t->n_roots;
	m->stats.boxes[m->boxes.six] = m->boxes.n;
	m->stats.depth = t->depth > m->stats.depth ? t->depth : m->stats.depth;
	m->stats.leaf = t->leaf > m->stats.leaf ? t->leaf : m->stats.leaf;
	m->stats.node_lines += t->node_lines;
	m->stats.leaf_lines += t->leaf_lines;
	m->stats.cost = t->cost > m->stats.cost ? t->cost : m->stats.cost;
}

/*
 * How much of the budget shape i for n boxes may use. One that does not end leaves room for those behind it: where the first does not
 * fit, the next ones seldom do, and the last resorts have to find some.
 */
static uint64_t share(uint32_t i, bool found, uint32_t n, uint64_t whole, uint64_t left)
{
	uint64_t s = found ? TRY * (uint64_t)n + FEW_MORE : i == 0 ? whole / 4 : i < TREE_GOOD_SHAPES ? whole * 7 / 100 : i == TREE_GOOD_SHAPES ? left / 2 :
		     i < TREE_SHAPES - 1 ? left - left / 8 : left;

	return s < left ? s : left;
}

/* One tree for many boxes, some wide in one address and some in the other: that it does not fit takes long to find out. */
static bool hopeless(const struct tree_boxes *x, const struct tree_shape *s)
{
	uint32_t wide[2] = { 0, 0 }, len = x->six ? 16 : 4;

	if (s->src_len || x->n < TREE_MANY)
		return false;
	for (uint32_t i = 0; i < x->n; i++) {
		wide[0] += !narrow(x, 0, i, len);
		wide[1] += !narrow(x, x->six ? 2 : 1, i, len);
	}
	return wide[0] > x->n / 500 && wide[1] > x->n / 500;
}

static int make_family(struct making *m)
{
	struct trial best = { 0 }, t;
	struct weir_why first = { 0 };
	uint64_t end = m->work_max, begun = m->work;
	int err = 0;

	for (uint32_t i = 0; i < TREE_SHAPES && m->work < end; i++) {
		if (best.lines && (i >= TREE_GOOD_SHAPES || m->work - begun > ENOUGH * (uint64_t)m->boxes.n + FEW_MORE))
			break;
		if (hopeless(&m->boxes, tree_shape_of(&m->boxes, i)))
			continue;
		m->work_max = m->work + share(i, best.lines, m->boxes.n, end - begun, end - m->work);
		err = try_shape(m, tree_shape_of(&m->boxes, i), &t);
		if (err == -ENOMEM)
			break;
		if (err && !first.message[0]) /* how the best shapes failed says more than how the last resort did */
			first = *m->why;
		if (err)
			continue;
		if (!best.lines || t.cost < best.cost) {
			trial_free(&best);
			best = t;
			t.lines = NULL;
		}
		trial_free(&t);
	}
	m->work_max = end;
	if (best.lines) {
		keep(m, &best);
		err = 0;
	}
	*m->why = first;
	trial_free(&best);
	return err;
}

static int check_boxes(const struct weir_box *boxes, size_t n, struct weir_why *why)
{
	if (n > WEIR_TREE_LINES) {
		snprintf(why->message, sizeof why->message, "%zu boxes are more than a tree can hold (%u)", n,
			 WEIR_TREE_LINES);
		return -E2BIG;
	}
	for (size_t i = 0; i < n; i++)
		if (!box_ok(&boxes[i])) {
			snprintf(why->message, sizeof why->message, "a box of rule %u makes no sense", boxes[i].rule);
			return -EINVAL;
		}
	return 0;
}

int weir_tree_build(const struct weir_box *boxes, size_t n, const struct weir_tree_limits *limits,
		    struct weir_tree *ret, struct weir_why *why)
{
	uint64_t bytes = limits && limits->bytes ? limits->bytes : 128ull * n + (8 << 20);
	struct making m = { .n = WEIR_TREE_HEAD, .limits = limits, .why = why };
	uint64_t work = limits && limits->work ? limits->work : 200ull * n + 80000000;
	int err;

	*why = (struct weir_why){ 0 };
	err = check_boxes(boxes, n, why);
	if (err)
		return err;
	bytes /= sizeof *m.lines;
	m.lines_max = bytes > WEIR_TREE_LINES - 1 ? WEIR_TREE_LINES - 1 : (uint32_t)bytes;
	m.leaf_max = limits && limits->leaf && limits->leaf < WEIR_TREE_LEAF ? limits->leaf : WEIR_TREE_LEAF;
	m.lines = calloc(WEIR_TREE_HEAD, sizeof *m.lines);
	if (!m.lines)
		return -ENOMEM;
	for (uint32_t i = 0; i < 2 * WEIR_TREE_ROOTS; i++)
		((struct weir_tree_root *)m.lines)[i] = (struct weir_tree_root){ 1ull << 63, WEIR_TREE_END, 0 };
	for (uint8_t family = 4; family <= 6 && !err; family = (uint8_t)(family + 2)) {
		err = load_boxes(&m.boxes, boxes, n, family);
		/* by its part of the boxes, and with what the other family left over */
		m.work_max = family == 4 && n ? work * m.boxes.n / n : work;
		if (!err && m.boxes.n)
			err = make_family(&m);
		free_boxes(&m.boxes);
	}
	if (err) {
		free(m.lines);
		return err;
	}
	m.stats.work = m.work;
	*ret = (struct weir_tree){ m.lines, m.n, m.stats };
	*why = (struct weir_why){ 0 };
	return 0;
}

void weir_tree_free(struct weir_tree *t)
{
	free(t->lines);
	*t = (struct weir_tree){ 0 };
}
