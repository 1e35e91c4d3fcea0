/* SPDX-License-Identifier: Apache-2.0 */
/* The last step: everything laid out in one blob, as core/image.h describes it, and sealed by its digest. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/block_line.h"
#include "core/image_blob.h"
#include "lib/policy/boxes.h"
#include "lib/policy/build.h"
#include "lib/util/cleanup.h"
#include "lib/util/digest.h"

static void build_freep(struct weir_build **b)
{
	weir_build_free(*b);
}

struct bounds {
	struct weir_bound4 *v4, *port;
	struct weir_bound6 *v6;
	uint32_t n4, n6, n_port;
};

/* Pieces of the address space, IPv4 apart from IPv6. A piece that continues its neighbour's class is left out. */
static int make_bounds(struct weir_build *b, struct bounds *ret)
{
	const struct weir_space *a = &b->addr_space, *p = &b->port_space;
	struct bounds r = { 0 };

	r.v4 = weir_arena_array(&b->arena, a->n, sizeof *r.v4);
	r.v6 = weir_arena_array(&b->arena, a->n, sizeof *r.v6);
	r.port = weir_arena_array(&b->arena, p->n, sizeof *r.port);
	if (!r.v4 || !r.v6 || !r.port)
		return -ENOMEM;
	for (size_t i = 0; i < a->n; i++) {
		uint32_t id = a->class_id[i];

		if (weir_u128_is_v4(a->at[i])) {
			if (!r.n4 || r.v4[r.n4 - 1].class_id != id)
				r.v4[r.n4++] = (struct weir_bound4){ (uint32_t)a->at[i], id };
		} else if (!r.n6 || r.v6[r.n6 - 1].class_id != id) {
			r.v6[r.n6++] = (struct weir_bound6){ (uint64_t)(a->at[i] >> 64), (uint64_t)a->at[i], id, 0 };
		}
	}
	for (size_t i = 0; i < p->n && p->at[i] <= 65535; i++)
		if (!r.n_port || r.port[r.n_port - 1].class_id != p->class_id[i])
			r.port[r.n_port++] = (struct weir_bound4){ (uint32_t)p->at[i], p->class_id[i] };
	if (r.n4 > WEIR_BOUNDS_MAX || r.n6 > WEIR_BOUNDS_MAX)
		return weir_build_tell(
			b, "name fewer addresses, or whole networks",
			"the lists cut the %s addresses into %u pieces, at most %u (an address that stands alone "
			"makes two)",
			r.n4 > WEIR_BOUNDS_MAX ? "IPv4" : "IPv6", r.n4 > WEIR_BOUNDS_MAX ? r.n4 : r.n6,
			WEIR_BOUNDS_MAX);
	*ret = r;
	return 0;
}

/* As they are told: what is IPv6 below IPv4 and above it is one range, though two of a set in normal form. */
static uint32_t told_ranges(const struct weir_ranges *r)
{
	bool below = false, above = false;

	for (size_t i = 0; i < r->n; i++) {
		below |= r->v[i].hi == WEIR_V4_LOW - 1;
		above |= r->v[i].lo == WEIR_V4_HIGH + 1;
	}
	return (uint32_t)r->n - (below && above);
}

static int make_lists(struct weir_build *b, struct weir_list_info **ret)
{
	struct weir_list_info *l = weir_arena_array(&b->arena, b->addrs.n, sizeof *l);
	int err = 0;

	for (uint32_t i = 0; l && i < b->addrs.n && !err; i++) {
		err = weir_build_string(b, b->addrs.names[i], &l[i].name);
		l[i].ranges = told_ranges(&b->addrs.v[i]);
	}
	if (!l)
		return -ENOMEM;
	*ret = l;
	return err;
}

/* How XDP is used, by name: the exceptions first, the policy's own word for all others last. */
static int make_xdp(struct weir_build *b, struct weir_ifxdp **ret, uint32_t *ret_n)
{
	const struct weir_p_doc *d = &b->policy->doc;
	const struct weir_p_interface *i = d->interfaces.v;
	struct weir_ifxdp *v = weir_arena_array(&b->arena, d->interfaces.n + 1, sizeof *v);

	if (!v)
		return -ENOMEM;
	for (uint32_t k = 0; k < d->interfaces.n; k++) { /* a later word of the same name wins */
		struct weir_ifxdp *x = &v[d->interfaces.n - 1 - k];

		snprintf(x->glob, sizeof x->glob, "%s", i[k].name);
		x->mode = i[k].xdp ? i[k].xdp - 1u : 0;
	}
	snprintf(v[d->interfaces.n].glob, sizeof v->glob, "*");
	v[d->interfaces.n].mode = d->xdp ? d->xdp - 1u : 0;
	*ret = v;
	*ret_n = d->interfaces.n + 1;
	return 0;
}

void weir_image_seal(void *blob, size_t size)
{
	uint8_t digest[32];

	weir_blob_digest(blob, size, offsetof(struct weir_image_header, digest), digest);
	memcpy(((struct weir_image_header *)blob)->digest, digest, sizeof digest);
}

struct part {
	struct weir_section *section;
	const void *data;
	size_t count, size;
	size_t more; /* entries of zeros behind them */
};

/* How many of each there are, for those who only read the numbers. */
static void count(struct weir_build *b, const struct bounds *bounds)
{
	struct weir_config *c = &b->config;

	c->n_rules = b->n_rules;
	c->n_failsafe = b->n_failsafe;
	c->n_limits = b->n_limits;
	c->n_bounds4 = bounds->n4;
	c->n_bounds6 = bounds->n6;
	c->n_bounds_port = bounds->n_port;
	c->n_addr_rows = b->addr_space.n_rows;
	c->n_port_rows = b->port_space.n_rows;
	c->row_words_addr = b->addr_space.words;
	c->row_words_port = b->port_space.words;
	if (!c->n_late)
		return;
	c->late_negs = b->n_negs;
	c->late_spans = b->span_index.n;
	c->late_strings = (uint32_t)b->n_strings;
}

static int assemble(struct weir_build *b, void **ret_blob, uint32_t *ret_size)
{
	struct weir_image_header h = { .magic = WEIR_IMAGE_MAGIC, .version = WEIR_IMAGE_VERSION };
	struct weir_config *c = &b->config;
	struct weir_list_info *lists = NULL;
	struct weir_ifxdp *xdp = NULL;
	uint32_t n_xdp = 0;
	_cleanup_free_ uint8_t *blob = NULL;
	size_t size = (sizeof h + 7) & ~(size_t)7, late = b->config.n_late;
	struct bounds bounds = { 0 };
	int err;

	err = make_bounds(b, &bounds);
	if (!err)
		err = make_lists(b, &lists);
	if (!err)
		err = make_xdp(b, &xdp, &n_xdp);
	if (err < 0)
		return err;
	count(b, &bounds);
	memcpy(h.source_digest, b->policy->digest, sizeof h.source_digest);
	struct part parts[] = {
		{ &h.config, c, 1, sizeof *c },
		{ &h.rules, b->rules, b->n_rules, sizeof *b->rules },
		{ &h.failsafe, b->failsafe, b->n_failsafe, sizeof *b->failsafe },
		{ &h.negs, b->negs, b->n_negs, sizeof *b->negs, late },
		{ &h.spans, b->spans, b->span_index.n, sizeof *b->spans, late * WEIR_LATE_SPANS },
		{ &h.bounds4, bounds.v4, bounds.n4, sizeof *bounds.v4 },
		{ &h.bounds6, bounds.v6, bounds.n6, sizeof *bounds.v6 },
		{ &h.bounds_port, bounds.port, bounds.n_port, sizeof *bounds.port },
		{ &h.addr_rows, b->addr_space.rows, (size_t)b->addr_space.n_rows * b->addr_space.words, 8 },
		{ &h.port_rows, b->port_space.rows, (size_t)b->port_space.n_rows * b->port_space.words, 8 },
		{ &h.xdp, xdp, n_xdp, sizeof *xdp },
		{ &h.ifpats, b->ifpats, b->n_ifpats, sizeof *b->ifpats },
		{ &h.lists, lists, b->addrs.n, sizeof *lists },
		{ &h.limits, b->limits, b->n_limits, sizeof *b->limits },
		{ &h.times, b->times, b->n_times, sizeof *b->times },
		{ &h.strings, b->strings, b->n_strings, 1, late * WEIR_LATE_TEXT },
		{ &h.tree, NULL, 0, sizeof(struct weir_tree_line) },
		/* last: the only ones that change without a new generation of programs, see weir_image_blocks_only */
		{ &h.block_sets, b->block_sets, b->n_block_sets, sizeof *b->block_sets },
		{ &h.block, b->block.lines, b->block.n, sizeof *b->block.lines },
	};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		*parts[i].section = (struct weir_section){ (uint32_t)size, (uint32_t)(parts[i].count + parts[i].more) };
		size = (size + (parts[i].count + parts[i].more) * parts[i].size + 7) & ~(size_t)7;
		if (size > UINT32_MAX / 2)
			return weir_build_tell(b, "use fewer lists, or shorter ones",
					       "the compiled policy is larger than 2 GiB");
	}
	h.size = (uint32_t)size;
	blob = calloc(1, size);
	if (!blob)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (parts[i].count)
			memcpy(blob + parts[i].section->off, parts[i].data, parts[i].count * parts[i].size);
	memcpy(blob, &h, sizeof h);
	*ret_size = (uint32_t)size;
	*ret_blob = TAKE_PTR(blob);
	return 0;
}

/* The trees into the blob, which has the room, in front of what the blocklists hold: that stands last. */
static void put_trees(uint8_t *blob, uint32_t size, const struct weir_tree *tree)
{
	struct weir_image_header *h = (void *)blob;
	struct weir_section *s = &h->config;
	uint32_t at = h->block_sets.off, bytes = tree->n * (uint32_t)sizeof *tree->lines;
	size_t n = (sizeof *h - offsetof(struct weir_image_header, config)) / sizeof *s;

	memmove(blob + at + bytes, blob + at, size - at);
	memcpy(blob + at, tree->lines, bytes);
	for (size_t i = 0; i < n; i++)
		if (s[i].off >= at)
			s[i].off += bytes;
	h->tree = (struct weir_section){ at, tree->n };
	h->size = size + bytes;
	((struct weir_config *)(blob + h->config.off))->tree_lines = tree->n;
}

#define CROWD 128u /* so many rules that only one after the other tells apart are worth a word */

/* What no tree can help with is said: it costs each packet that comes there. */
static int warn_of_crowd(const struct weir_img *img, const struct weir_box *boxes, size_t n, const struct weir_rule *rules,
			 struct weir_why *why)
{
	uint32_t most, first;
	char name[200];
	int r = weir_boxes_alike(boxes, n, rules, img->cfg->n_rules, &most, &first);

	why->message[0] = 0;
	if (r || most < CROWD)
		return r;
	snprintf(why->message, sizeof why->message, "slow: %u rules, the first is %s, differ only in MAC addresses, VLANs, interfaces, "
		 "marks or 'not': a packet to which their addresses and ports fit is compared with one after the other", most,
		 weir_rule_label(img, first, WEIR_REASON_RULE, name, sizeof name));
	snprintf(why->hint, sizeof why->hint, "say addresses or ports too, or several MAC addresses in one rule");
	return 0;
}

int weir_image_add_trees(void **blob, uint32_t *size, struct weir_why *why)
{
	_cleanup_free_ struct weir_box *boxes = NULL;
	struct weir_image_header *h = *blob;
	struct weir_tree_limits limits = { .label = weir_rule_label };
	struct weir_tree tree = { 0 };
	struct weir_img img;
	uint32_t n_rules, n_linear;
	uint64_t whole;
	size_t n = 0;
	void *more;
	int r;

	if (weir_image_open_bare(&img, *blob, *size) || h->tree.count)
		return -EINVAL;
	n_rules = img.cfg->n_rules;
	n_linear = n_rules - img.cfg->n_late;
	limits.img = &img;
	r = weir_boxes_make(&img, (struct weir_rule *)((uint8_t *)*blob + h->rules.off), &boxes, &n);
	if (!r && n_rules)
		r = weir_tree_build(boxes, n, &limits, &tree, why);
	if (!r)
		r = warn_of_crowd(&img, boxes, n, (const struct weir_rule *)((uint8_t *)*blob + h->rules.off), why);
	whole = *size + (uint64_t)tree.n * sizeof *tree.lines;
	if (!r && whole > UINT32_MAX / 2) {
		snprintf(why->message, sizeof why->message, "with its trees the compiled policy is larger than 2 GiB");
		r = -E2BIG;
	}
	if (!r && tree.n) {
		more = realloc(*blob, whole);
		r = more ? 0 : -ENOMEM;
		if (more) {
			put_trees(more, *size, &tree);
			*blob = more;
			*size = (uint32_t)whole;
		}
	}
	weir_tree_free(&tree);
	if (r == -E2BIG && n_linear <= WEIR_LINEAR_MAX) {
		why->message[0] = 0;
		r = 0;
	}
	if (!r)
		weir_image_seal(*blob, *size);
	return r;
}

int weir_policy_compile(const struct weir_policy *p, const struct weir_compile_options *o, void **ret_blob,
			uint32_t *ret_size, struct weir_diags *diags)
{
	_cleanup_(build_freep) struct weir_build *b = calloc(1, sizeof *b);
	_cleanup_free_ bool *ruled = weir_ruled_keep(p);
	_cleanup_free_ void *blob = NULL;
	struct weir_why why = { 0 };
	uint32_t size = 0;
	int err;

	if (!b || !ruled)
		return -ENOMEM;
	b->policy = p;
	b->options = o;
	b->diags = diags;
	err = weir_build_make(b);
	if (!err)
		err = assemble(b, &blob, &size);
	if (!err)
		err = weir_image_add_trees(&blob, &size, &why);
	if (!err && *why.message)
		weir_diag_hint(weir_diags_add(diags, WEIR_WARNING, p->path, 0, 0, 1, "%s", why.message), "%s", why.hint);
	if (err == -E2BIG || (err == -EINVAL && *why.message))
		err = weir_build_tell(b, *why.hint ? why.hint : NULL, "%s", why.message);
	if (!err)
		err = weir_memory_check(b, blob);
	if (!err) {
		*ret_blob = TAKE_PTR(blob);
		*ret_size = size;
	}
	if (err == -ENOMEM)
		weir_diags_add(diags, WEIR_ERROR, p->path, 0, 0, 1, "out of memory");
	if (err)
		weir_ruled_back(p, TAKE_PTR(ruled));
	return err;
}
