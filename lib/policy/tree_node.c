/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes and leaves: lines are taken from one array, the same leaf is stored once, every limit is asked here. */
#include "lib/policy/tree_build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/reason.h"
#include "lib/util/cleanup.h"

#define EMPTY_LEAF (1ull << 63 | (uint64_t)(WEIR_TREE_RULES - 1) << 37)

int tree_lines_reserve(struct tree_builder *b, uint32_t more)
{
	if (more > b->limit || b->n > b->limit - more) {
		snprintf(b->why->message, sizeof b->why->message,
			 "the decision tree needs more than its %llu kB: too many rules overlap",
			 (unsigned long long)b->limit * sizeof *b->lines / 1000);
		tree_refuse_widest(b);
		return -E2BIG;
	}
	if (b->n + more > b->room) {
		uint32_t room = (b->n + more) * 2;
		struct weir_tree_line *p = realloc(b->lines, room * sizeof *p);

		if (!p)
			return -ENOMEM;
		b->lines = p;
		b->room = room;
	}
	memset(b->lines + b->n, 0, more * sizeof *b->lines);
	b->n += more;
	return 0;
}

/* Room for 2^width words; small nodes share a line. */
static int take_words(struct tree_builder *b, uint32_t width, uint32_t *ret_base)
{
	uint32_t words = 1u << width;
	int err;

	if (words < 8) {
		uint32_t at = (b->part + words - 1) & ~(words - 1);

		if (at + words > b->part_end) {
			err = tree_lines_reserve(b, 1);
			if (err)
				return err;
			b->node_lines++;
			at = (b->n - 1) * 8;
			b->part_end = at + 8;
		}
		b->part = at + words;
		*ret_base = at;
		return 0;
	}
	err = tree_lines_reserve(b, words / 8);
	if (err)
		return err;
	b->node_lines += words / 8;
	*ret_base = (b->n - words / 8) * 8;
	return 0;
}

/* Where the ports begin among the columns of a box: behind the addresses. */
static uint32_t ports_at(const struct tree_boxes *x)
{
	return x->six ? 4 : 2;
}

static uint64_t above(const struct tree_boxes *x, uint32_t i)
{
	const struct tree_dim *d = x->dim + ports_at(x);

	return weir_tree_lanes((uint32_t)(65535 - d[0].hi[i]), (uint32_t)(65535 - d[1].hi[i]),
			       (uint32_t)(255 - d[2].hi[i])) |
	       (uint64_t)(~x->dirs[i] & WEIR_DIR_ANY) << WEIR_TREE_DIRS_AT;
}

static uint64_t below(const struct tree_boxes *x, uint32_t i)
{
	const struct tree_dim *d = x->dim + ports_at(x);

	return weir_tree_lanes((uint32_t)d[0].lo[i] + 65535, (uint32_t)d[1].lo[i] + 65535, (uint32_t)d[2].lo[i] + 255) |
	       (uint64_t)x->rule[i] << WEIR_TREE_RULE_AT;
}

/* A span of a prefix: ones at the end, and where it begins none of them is set. */
static bool is_prefix(uint64_t lo, uint64_t span)
{
	return !(span & (span + 1)) && !(lo & span);
}

static void put4(const struct tree_boxes *x, uint32_t i, struct weir_tree_box4 *e)
{
	const struct tree_dim *d = x->dim;
	uint64_t src = d[0].hi[i] - d[0].lo[i], dst = d[1].hi[i] - d[1].lo[i];
	bool prefixes = is_prefix(d[0].lo[i], src) && is_prefix(d[1].lo[i], dst);

	*e = (struct weir_tree_box4){
		.addr = d[0].lo[i] << 32 | d[1].lo[i],
		.mask = ~(src << 32 | dst),
		.below = below(x, i),
		.above = above(x, i) | (prefixes ? 0 : WEIR_TREE_RANGE),
	};
}

/* Which bits of the word count in which a prefix ends; is_long: it is the low one. */
static uint64_t mask6(const struct tree_dim *high, const struct tree_dim *low, uint32_t i, bool *is_long)
{
	*is_long = high->lo[i] == high->hi[i] && low->hi[i] - low->lo[i] != UINT64_MAX;
	return *is_long ? ~(low->hi[i] - low->lo[i]) : ~(high->hi[i] - high->lo[i]);
}

static void put6(const struct tree_boxes *x, uint32_t i, struct weir_tree_box6 *e)
{
	const struct tree_dim *d = x->dim;
	bool src_long, dst_long;

	*e = (struct weir_tree_box6){
		.addr = { d[0].lo[i], d[1].lo[i], d[2].lo[i], d[3].lo[i] },
		.mask = { mask6(&d[0], &d[1], i, &src_long), mask6(&d[2], &d[3], i, &dst_long) },
		.above = above(x, i),
		.below = below(x, i),
	};
	e->above |= (uint64_t)src_long << WEIR_TREE_SRC_LONG_AT | (uint64_t)dst_long << WEIR_TREE_DST_LONG_AT;
}

static uint64_t list_hash(const uint32_t *list, uint32_t n)
{
	uint64_t h = n;

	for (uint32_t i = 0; i < n; i++) {
		h = (h ^ list[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 31;
	}
	return h;
}

/* The place of the leaf with these boxes, or the free one where it belongs. */
static struct tree_leaf *leaf_find(struct tree_builder *b, const uint32_t *list, uint32_t n)
{
	uint32_t mask = b->leaves_size - 1;

	for (uint32_t at = (uint32_t)list_hash(list, n) & mask;; at = (at + 1) & mask) {
		struct tree_leaf *l = &b->leaves[at];

		if (!l->n || (l->n == n && !memcmp(b->pool + l->first, list, n * sizeof *list)))
			return l;
	}
}

static int leaf_room(struct tree_builder *b, uint32_t n)
{
	if (b->n_pool + n > b->pool_room) {
		uint32_t room = (b->n_pool + n) * 2;
		uint32_t *p = realloc(b->pool, room * sizeof *p);

		if (!p)
			return -ENOMEM;
		b->pool = p;
		b->pool_room = room;
	}
	if (b->n_leaves * 2 >= b->leaves_size) {
		uint32_t size = b->leaves_size ? b->leaves_size * 2 : 1024, old = b->leaves_size;
		_cleanup_free_ struct tree_leaf *before = b->leaves;

		b->leaves = calloc(size, sizeof *b->leaves);
		if (!b->leaves)
			return -ENOMEM;
		b->leaves_size = size;
		for (uint32_t i = 0; i < old; i++)
			if (before[i].n)
				*leaf_find(b, b->pool + before[i].first, before[i].n) = before[i];
	}
	return 0;
}

#define LABEL 96

static const char *label(const struct tree_builder *b, uint32_t rule, char buf[LABEL])
{
	if (b->limits && b->limits->label)
		return b->limits->label(b->limits->img, rule, WEIR_REASON_RULE, buf, LABEL);
	snprintf(buf, LABEL, "rule %u", rule);
	return buf;
}

static void hint(struct tree_builder *b)
{
	snprintf(b->why->hint, sizeof b->why->hint,
		 "name fewer addresses or ports in each, or make one rule of many: a rule may have lists and sets");
}

/* The boxes stand in the order of their rules, of which each may have several. */
static int refuse_leaf(struct tree_builder *b, const uint32_t *list, uint32_t n)
{
	const uint32_t *rule = b->boxes->rule;
	uint32_t rules = 1, second = n - 1;
	char first[LABEL], next[LABEL], last[LABEL];

	for (uint32_t i = n - 1; i; i--)
		if (rule[list[i]] != rule[list[i - 1]]) {
			rules++;
			second = i;
		}
	snprintf(b->why->message, sizeof b->why->message,
		 "%u rules overlap so much that one packet would be compared with all of them (%u comparisons, %u at "
		 "most): "
		 "%s, %s ... %s",
		 rules, n, b->leaf_limit * (b->boxes->six ? 1 : 2), label(b, rule[list[0]], first),
		 label(b, rule[list[second]], next), label(b, rule[list[n - 1]], last));
	hint(b);
	return -E2BIG;
}

void tree_refuse_widest(struct tree_builder *b)
{
	const struct tree_boxes *x = b->boxes;
	_cleanup_free_ uint32_t *copies = calloc(x->rule[x->n - 1] + 1, sizeof *copies);
	size_t at = strlen(b->why->message), room = sizeof b->why->message;
	char name[LABEL];

	for (uint32_t i = 0; copies && i < b->n_pool; i++)
		copies[x->rule[b->pool[i]]]++;
	for (int k = 0; copies && k < 3; k++) {
		uint32_t most = 0;

		for (uint32_t i = 0; i <= x->rule[x->n - 1]; i++)
			most = copies[i] > copies[most] ? i : most;
		if (!copies[most] || at >= room)
			break;
		at += (size_t)snprintf(b->why->message + at, room - at, "%s%s (in %u leaves)", k ? ", " : "; the widest: ",
				       label(b, most, name), copies[most]);
		copies[most] = 0;
	}
	hint(b);
}

/*
 * A box alone takes the free half of the last line of another leaf of its tree. What stands beside it there finds
 * nothing that is not so, and keeps nothing back: a box that holds a packet stands in the packet's own leaf, too. For
 * the same reason the order of the two does not count: when both hold a packet, the lower one was met before. A box of
 * another tree would be none of that. Only where no search goes by the first rule of a line (weir_tree_skip): in short
 * leaves.
 */
static bool share_line(struct tree_builder *b, uint32_t box, uint32_t *ret_line)
{
	if (b->boxes->six || !b->n_halves)
		return false;
	*ret_line = b->halves[--b->n_halves];
	put4(b->boxes, box, (struct weir_tree_box4 *)(b->lines + *ret_line) + 1);
	return true;
}

static void offer_half(struct tree_builder *b, uint32_t line)
{
	if (b->n_halves < TREE_HALVES)
		b->halves[b->n_halves++] = line;
}

/* The boxes into lines of their own, the last of which may have room. */
static int fill_lines(struct tree_builder *b, const uint32_t *list, uint32_t n, uint32_t lines, uint32_t *ret_line)
{
	struct weir_tree_line *at;
	int err = tree_lines_reserve(b, lines);

	if (err)
		return err;
	b->leaf_lines += lines;
	*ret_line = b->n - lines;
	at = b->lines + *ret_line;
	for (uint32_t i = 0; i < n; i++) {
		if (b->boxes->six)
			put6(b->boxes, list[i], (struct weir_tree_box6 *)at + i);
		else
			put4(b->boxes, list[i], (struct weir_tree_box4 *)at + i);
	}
	if (b->boxes->six || n % 2 == 0)
		return 0;
	((struct weir_tree_box4 *)at)[n].above = WEIR_TREE_FREE;
	if (lines <= WEIR_TREE_SHORT)
		offer_half(b, b->n - 1);
	return 0;
}

static int make_leaf(struct tree_builder *b, const uint32_t *list, uint32_t n, uint32_t depth, uint64_t *ret_word)
{
	uint32_t lines = b->boxes->six ? n : (n + 1) / 2;
	struct tree_leaf *l;
	int err;

	if (depth > b->depth)
		b->depth = depth;
	if (n > b->leaf)
		b->leaf = n;
	if (!n) {
		*ret_word = EMPTY_LEAF;
		return 0;
	}
	if (lines > b->leaf_limit)
		return refuse_leaf(b, list, n);
	err = leaf_room(b, n);
	if (err)
		return err;
	l = leaf_find(b, list, n);
	if (!l->n) {
		uint32_t line;

		if (n > 1 || !share_line(b, list[0], &line))
			err = fill_lines(b, list, n, lines, &line);
		if (err)
			return err;
		*l = (struct tree_leaf){ 1ull << 63 | (uint64_t)b->boxes->rule[list[0]] << 37 | (uint64_t)lines << 26 | line,
					 b->n_pool, n };
		memcpy(b->pool + b->n_pool, list, n * sizeof *list);
		b->n_pool += n;
		b->n_leaves++;
	}
	*ret_word = l->word;
	return 0;
}

/* Does no box of the list tell the values of two neighbouring cells apart? */
static bool same_cells(const struct tree_builder *b, const struct tree_cut *c, const struct tree_region *r,
		       const uint32_t *list, uint32_t n, uint64_t lo, uint64_t hi)
{
	const struct tree_dim *d = &b->boxes->dim[c->dim];

	for (uint32_t i = 0; i < n; i++) {
		uint64_t a = d->lo[list[i]], z = d->hi[list[i]];

		if ((a > lo || z < hi) && (a > r->lo[c->dim] || z < r->hi[c->dim]))
			return false;
	}
	return true;
}

/* The boxes of every cell: those of cell i stand at at[i]. */
static int share_out(struct tree_builder *b, const struct tree_cut *c, const uint32_t *list, uint32_t n,
		     const struct tree_region *r, uint32_t **ret_at, uint32_t **ret_lists)
{
	uint32_t cells = 1u << c->width, first, last;
	_cleanup_free_ uint32_t *at = calloc(cells + 2, sizeof *at);
	uint32_t *lists;

	if (!at)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		tree_cut_cells(b, c, r, list[i], &first, &last);
		for (uint32_t k = first; k <= last; k++)
			at[k + 2]++;
	}
	for (uint32_t k = 2; k < cells + 2; k++)
		at[k] += at[k - 1];
	lists = malloc((at[cells + 1] + 1) * sizeof *lists);
	if (!lists)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		tree_cut_cells(b, c, r, list[i], &first, &last);
		for (uint32_t k = first; k <= last; k++)
			lists[at[k + 1]++] = list[i];
	}
	b->work += at[cells] + cells;
	*ret_at = TAKE_PTR(at);
	*ret_lists = lists;
	return 0;
}

/* The words of a table that is being made: apart, or at `base` among the lines (which may move). */
struct table {
	uint64_t *apart;
	uint32_t base;
};

static void put_word(struct tree_builder *b, const struct table *t, uint32_t i, uint64_t word)
{
	if (t->apart)
		t->apart[i] = word;
	else
		((uint64_t *)b->lines)[t->base + i] = word;
}

static int grow_cells(struct tree_builder *b, const struct tree_cut *c, const uint32_t *list, uint32_t n,
		      struct tree_region *r, uint32_t depth, const struct table *t)
{
	_cleanup_free_ uint32_t *at = NULL, *lists = NULL;
	uint64_t word = 0, lo = r->lo[c->dim], hi = r->hi[c->dim], run = 0;
	int err = share_out(b, c, list, n, r, &at, &lists);

	for (uint32_t i = 0; !err && i < 1u << c->width; i++) {
		uint32_t *l = lists + at[i], len = at[i + 1] - at[i];
		uint64_t low = c->base + ((uint64_t)i << c->shift), high = low + ((1ull << c->shift) - 1);

		if (i && len == at[i] - at[i - 1] && !memcmp(l, lists + at[i - 1], len * sizeof *l) &&
		    same_cells(b, c, r, l, len, run, high)) {
			put_word(b, t, i, word);
			continue;
		}
		run = low;
		r->lo[c->dim] = low;
		r->hi[c->dim] = high;
		err = tree_grow(b, l, len, r, depth + 1, &word);
		r->lo[c->dim] = lo;
		r->hi[c->dim] = hi;
		if (!err)
			put_word(b, t, i, word);
	}
	return err;
}

/* Most cells are leaves that fit: what costs one more look is seldom looked at. */
static bool worth_packing(const uint64_t *words, uint32_t n)
{
	uint32_t fit = 0;

	for (uint32_t i = 0; i < n; i++)
		fit += weir_tree_pack(words[i]) != 0;
	return fit >= n - n / TREE_PACKED_REST;
}

/* Cells of 32 bits; what does not fit stands in a word of its own, once for neighbours that share it. */
static int put_packed(struct tree_builder *b, const uint64_t *words, uint32_t width, uint32_t *ret_base)
{
	uint32_t n = 1u << width, base, last = 0;
	int err = take_words(b, width - 1, &base);

	for (uint32_t i = 0; !err && i < n; i++) {
		uint32_t cell = weir_tree_pack(words[i]);

		if (!cell && i && words[i] == words[i - 1]) {
			cell = last;
		} else if (!cell) {
			err = take_words(b, 0, &cell);
			if (err)
				break;
			((uint64_t *)b->lines)[cell] = words[i];
		}
		last = cell;
		((uint64_t *)b->lines)[base + i / 2] |= (uint64_t)cell << (i & 1) * 32;
	}
	*ret_base = base * 2;
	return err;
}

/* The table of a root: what is below it comes first, then it is known how it is best laid. */
static int grow_root(struct tree_builder *b, const struct tree_cut *c, const uint32_t *list, uint32_t n,
		     struct tree_region *r, uint32_t *ret_base, uint64_t *ret_flag)
{
	_cleanup_free_ uint64_t *words = calloc(1ull << c->width, sizeof *words);
	struct table t = { .apart = words };
	int err = words ? grow_cells(b, c, list, n, r, 0, &t) : -ENOMEM;

	if (err)
		return err;
	*ret_flag = worth_packing(words, 1u << c->width) ? WEIR_TREE_PACKED : 0;
	if (*ret_flag)
		return put_packed(b, words, c->width, ret_base);
	err = take_words(b, c->width, ret_base);
	if (!err)
		memcpy((uint64_t *)b->lines + *ret_base, words, sizeof *words << c->width);
	return err;
}

int tree_grow(struct tree_builder *b, const uint32_t *list, uint32_t n, struct tree_region *r, uint32_t depth,
	      uint64_t *ret_word)
{
	const struct tree_dim *d;
	struct tree_cut c;
	struct table t = { 0 };
	uint64_t flag = 0;
	int err;

	if (n <= b->shape->leaf || depth >= WEIR_TREE_DEPTH || !tree_cut_choose(b, list, n, r, &c))
		return make_leaf(b, list, n, depth, ret_word);
	if (b->work > b->work_limit) {
		snprintf(b->why->message, sizeof b->why->message,
			 "building the decision tree takes too long: too many rules overlap");
		tree_refuse_widest(b);
		return -E2BIG;
	}
	if (!depth && c.width >= TREE_PACKED_WIDTH) {
		err = grow_root(b, &c, list, n, r, &t.base, &flag);
	} else {
		err = take_words(b, c.width, &t.base);
		err = err ? err : grow_cells(b, &c, list, n, r, depth, &t);
	}
	if (err)
		return err;
	d = &b->boxes->dim[c.dim];
	*ret_word = t.base | (uint64_t)(64 - c.width - d->shift - c.shift) << 32 | (uint64_t)(64 - c.width) << 38 |
		    (uint64_t)d->word << 44 | flag;
	return 0;
}
