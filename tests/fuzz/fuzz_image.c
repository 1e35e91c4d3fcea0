/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile images: weir_image_open refuses, or everything behind it reads inside the blob. Random bytes rarely
 * get past a header, so the first byte of the input chooses between the bytes as they are and a small valid
 * image to which the input is applied as patches. What opens is used as the daemon uses it: every accessor up
 * to and past its end, and a packet judged through all stages. The blob is malloc'ed at its exact size.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/image_blob.h"
#include "core/policy.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static union {
	struct weir_image_header h;
	uint8_t bytes[4096];
	uint64_t align;
} base;
static uint32_t base_size;

static void *base_add(struct weir_section *s, uint32_t entry, uint32_t count)
{
	void *at = base.bytes + base_size;

	*s = (struct weir_section){ .off = base_size, .count = count };
	base_size += (entry * count + 7) & ~7u;
	if (base_size > sizeof base)
		abort();
	return at;
}

/* One tree per family: a node over the protocol's lowest bit, both its words the same leaf. */
static void base_tree(void)
{
	struct weir_tree_line *t = base_add(&base.h.tree, sizeof *t, WEIR_TREE_HEAD + 2);

	memset(t, 0, (WEIR_TREE_HEAD + 2) * sizeof *t);
	for (uint32_t i = 0; i < WEIR_TREE_HEAD; i++)
		for (uint32_t k = 1; k < 8; k += 2)
			t[i].w[k] = WEIR_TREE_END;
	for (uint32_t i = 0; i < WEIR_TREE_HEAD; i += WEIR_TREE_HEAD / 2) {
		t[i].w[0] = WEIR_TREE_HEAD * 8 | 63ull << 32 | 63ull << 38 | (i ? 4ull : 1ull) << 44;
		t[i].w[1] = 1ull << 32;
	}
	t[WEIR_TREE_HEAD + 1].w[3] = t[WEIR_TREE_HEAD + 1].w[7] = weir_tree_lanes(65535, 65535, 255); /* anything */
	t[WEIR_TREE_HEAD].w[0] = t[WEIR_TREE_HEAD].w[1] = 1ull << 63 | 1ull << 26 | (WEIR_TREE_HEAD + 1);
}

/* In each family one address in a table of one line, and a network that an index of one cell names. */
static void base_block(struct weir_section *s)
{
	struct weir_block_line *l = base_add(s, sizeof *l, 9);

	l->w[0] = 1;
	l++;
	for (uint32_t f = 0; f < 2; f++) {
		l[f].head = (struct weir_block_head){ .key = { 1, 2 }, .table = 2 + 3 * f, .n_table = 1,
						      .n_index = 1, .index_room = 2, .bounds = 4 + 3 * f, .n_bounds = 2,
						      .bounds_room = 2, .shift = 63 };
		l[3 + 3 * f].d[1] = 2;
	}
	l[2].d[0] = 0x0a000001;
	l[4].d[0] = 0xc0000200;
	l[4].d[1] = 0xc0000300;
	l[5].w[0] = l[7].w[0] = 0x20010db800000000;
	l[5].w[1] = 1;
	l[7].w[2] = 0x20010db800000001;
}

/* Two rules, one failsafe entry, two classes of everything, one list. */
static void base_fill(void)
{
	struct weir_image_header *h = &base.h;
	struct weir_config *cfg;
	struct weir_rule *r;
	struct weir_bound4 *b4;
	struct weir_bound6 *b6;
	struct weir_cond *neg;
	struct weir_limit *l;
	uint64_t *row;

	base_size = sizeof *h;
	cfg = base_add(&h->config, sizeof *cfg, 1);
	r = base_add(&h->rules, sizeof *r, 2);
	r[0] = (struct weir_rule){
		.pos = { .set = WEIR_C_FROM | WEIR_C_PORTS | WEIR_C_ANY_IF, .any_if = 1 },
		.neg = 0,
		.action = WEIR_ACT_REJECT,
		.mode = WEIR_PREVENT,
		.flags = WEIR_RF_NOT | WEIR_RF_LOG
	};
	r[1] = (struct weir_rule){ .pos = { .set = WEIR_C_PEER | WEIR_C_TO | WEIR_C_SPORTS | WEIR_C_DIR,
					    .dirs = WEIR_DIR_ANY },
				   .action = WEIR_ACT_DROP,
				   .mode = WEIR_DETECT };
	neg = base_add(&h->negs, sizeof *neg, 1);
	neg[0] = (struct weir_cond){ .set = WEIR_C_ICMP | WEIR_C_VLAN | WEIR_C_MAC | WEIR_C_TIME, .n_icmp = 1, .n_vlan = 1, .n_mac = 1 };
	r[1].pos.to = WEIR_SPAN;
	((struct weir_span *)base_add(&h->spans, sizeof(struct weir_span), 1))->hi_lo = 7;
	base_tree();
	r = base_add(&h->failsafe, sizeof *r, 1);
	r[0] = (struct weir_rule){ .pos = { .set = WEIR_C_FROM | WEIR_C_TTL, .ttl = 255 }, .flags = WEIR_RF_REPLY };
	b4 = base_add(&h->bounds4, sizeof *b4, 2);
	b4[1] = (struct weir_bound4){ .low = 0x0a000000, .class_id = 1 };
	b6 = base_add(&h->bounds6, sizeof *b6, 2);
	b6[1] = (struct weir_bound6){ .hi = 0x20010db800000000, .class_id = 1 };
	b4 = base_add(&h->bounds_port, sizeof *b4, 2);
	b4[1] = (struct weir_bound4){ .low = 1024, .class_id = 1 };
	row = base_add(&h->addr_rows, 8, 2);
	row[1] = 1;
	row = base_add(&h->port_rows, 8, 2);
	row[1] = 1;
	memcpy(base_add(&h->ifpats, sizeof(struct weir_ifpat), 1), "eth*", 5);
	base_add(&h->xdp, sizeof(struct weir_ifxdp), 0);
	base_add(&h->lists, sizeof(struct weir_list_info), 1);
	l = base_add(&h->limits, sizeof *l, 1);
	l[0] = (struct weir_limit){ .rate = 10, .rate_s = 1, .burst = 5, .action = WEIR_ACT_DROP };
	weir_limit_make(&l[0]);
	base_add(&h->times, sizeof(struct weir_times), 1);
	base_add(&h->block_sets, sizeof(struct weir_list_info), 1);
	base_block(&h->block);
	base_add(&h->strings, 1, 8);
	*cfg = (struct weir_config){ .n_rules = 2,
				     .n_failsafe = 1,
				     .n_limits = 1,
				     .tree_lines = WEIR_TREE_HEAD + 2,
				     .n_bounds4 = 2,
				     .n_bounds6 = 2,
				     .n_bounds_port = 2,
				     .n_addr_rows = 2,
				     .n_port_rows = 2,
				     .row_words_addr = 1,
				     .row_words_port = 1,
				     .conds_used = UINT32_MAX,
				     .proto_features = WEIR_FEAT_BLOCKLIST };
	h->magic = WEIR_IMAGE_MAGIC;
	h->version = WEIR_IMAGE_VERSION;
	h->size = base_size;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct weir_img img;

	base_fill();
	if (weir_image_open(&img, &base, base_size))
		abort(); /* the layout changed: this target would fuzz nothing */
	return 0;
}

static volatile uint64_t sink;

static void use_bytes(const void *p, size_t n)
{
	for (size_t i = 0; p && i < n; i++)
		sink += ((const uint8_t *)p)[i];
}

static uint32_t few(uint32_t n)
{
	return n < 300 ? n + 2 : 300;
}

static void use_accessors(const struct weir_img *img)
{
	const struct weir_image_header *h = img->h;

	for (uint32_t which = 0; which < 2; which++)
		for (uint32_t i = 0; i < few(h->rules.count); i++) {
			const struct weir_rule *r = weir_img_rule(img, which, i);

			use_bytes(r, sizeof *r);
			if (r)
				sink += strlen(weir_img_string(img, r->name)) + strlen(weir_img_string(img, r->place));
		}
	for (uint32_t i = 0; i < few(h->bounds4.count); i++)
		use_bytes(weir_img_bound4(img, i), sizeof(struct weir_bound4));
	for (uint32_t i = 0; i < few(h->bounds6.count); i++)
		use_bytes(weir_img_bound6(img, i), sizeof(struct weir_bound6));
	for (uint32_t i = 0; i < few(h->bounds_port.count); i++)
		use_bytes(weir_img_bound_port(img, i), sizeof(struct weir_bound4));
	for (uint32_t i = 0; i < few(h->addr_rows.count); i++)
		sink += weir_img_addr_word(img, i, i) + weir_img_addr_word(img, UINT32_MAX - i, 0);
	for (uint32_t i = 0; i < few(h->port_rows.count); i++)
		sink += weir_img_port_word(img, i, i) + weir_img_port_word(img, UINT32_MAX - i, 0);
	for (uint32_t i = 0; i < few(h->block.count); i++)
		use_bytes(weir_img_block_line(img, i), sizeof(struct weir_block_line));
	for (uint32_t i = 0; i < few(h->times.count); i++)
		use_bytes(weir_img_times(img, i), sizeof(struct weir_times));
	sink += strlen(weir_img_string(img, h->strings.count - 1)) + strlen(weir_img_string(img, UINT32_MAX));
}

static void judge(const struct weir_img *img, const uint8_t *data, size_t size)
{
	struct weir_result res;
	struct weir_facts f;

	memset(&f, 0, sizeof f);
	memcpy(&f.t, data, size < sizeof f.t ? size : sizeof f.t);
	f.dir = WEIR_DIR_IN;
	f.known = size ? data[size - 1] : 0;
	f.family = weir_addr_is_v4(f.t.src) ? 4 : 6;
	f.proto = size > 1 ? data[size - 2] : 0;
	if (size > 2 && data[size - 3] & 1)
		weir_classify_time(img, &f, data[size - 3] * 41u % WEIR_WEEK_MINUTES);
	weir_classify_prepare(img, img->cfg, &f);
	weir_result_init(&res);
	sink += weir_judge_failsafe(img, img->cfg, &f, false, &res);
	sink += weir_judge_blocklist(img, img->cfg, f.t.src, &res);
	sink += weir_block_list4(img, weir_be32(f.t.dst)) + weir_block_list6(img, weir_be64(f.t.dst), weir_be64(f.t.dst + 8));
	weir_judge_rules(img, img->cfg, &f, false, &res);
	if (res.enforced > WEIR_REJECT || res.wanted > WEIR_REJECT)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool raw = size && data[0] & 1;
	size_t blob_size = raw ? size - 1 : base_size;
	struct weir_img img;
	uint8_t *blob;

	blob = malloc(blob_size ? blob_size : 1);
	if (!blob)
		return -1;
	if (raw) {
		memcpy(blob, data + 1, blob_size);
	} else {
		memcpy(blob, &base, base_size);
		for (size_t i = 1; i + 6 <= size; i += 6) /* offset, then four bytes that are put there */
			memcpy(blob + ((size_t)(data[i] << 8 | data[i + 1]) % (base_size - 3)), data + i + 2, 4);
	}
	if (!weir_image_open(&img, blob, (uint32_t)blob_size)) {
		use_accessors(&img);
		judge(&img, data, size);
	}
	free(blob);
	return 0;
}
