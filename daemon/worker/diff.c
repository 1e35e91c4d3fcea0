/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many rules of the file came and went between two images. A rule is the same when it says the same:
 * the numbers of its lists are replaced by what the lists hold, and its place does not count.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/worker/worker.h"

/* Eight bytes at a time. Nobody gains by a collision here, it would only miscount a line on a screen. */
static uint64_t mix(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = len;

		memcpy(&word, p + i, len - i < 8 ? len - i : 8);
		h = (h ^ word) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	return h;
}

#define HASH_START 0xcbf29ce484222325ull

struct hashes {
	uint64_t addr[WEIR_LISTS_MAX], port[WEIR_LISTS_MAX];
};

typedef uint64_t (*word_fn)(const struct weir_img *img, uint32_t row, uint32_t word);

/* One cut of the space: every list whose membership changes here takes it in. */
static void cut(const struct weir_img *img, word_fn word, uint32_t words, uint32_t row, uint64_t *last, uint64_t *h,
		const void *at, size_t len)
{
	for (uint32_t i = 0; i < words; i++) {
		uint64_t now = word(img, row, i), changed = now ^ last[i];

		last[i] = now;
		for (; changed; changed &= changed - 1) {
			uint32_t list = i * 64 + (uint32_t)__builtin_ctzll(changed);

			h[list] = mix(h[list], at, len);
		}
	}
}

static void hash_lists(const struct weir_img *img, struct hashes *h)
{
	uint64_t last[WEIR_ROW_WORDS] = { 0 };
	const struct weir_config *c = img->cfg;

	for (size_t i = 0; i < WEIR_LISTS_MAX; i++)
		h->addr[i] = h->port[i] = HASH_START;
	for (uint32_t i = 0; i < c->n_bounds4; i++) {
		const struct weir_bound4 *b = weir_img_bound4(img, i);

		cut(img, weir_img_addr_word, c->row_words_addr, b->class_id, last, h->addr, &b->low, sizeof b->low);
	}
	memset(last, 0, sizeof last);
	for (uint32_t i = 0; i < c->n_bounds6; i++) {
		const struct weir_bound6 *b = weir_img_bound6(img, i);

		cut(img, weir_img_addr_word, c->row_words_addr, b->class_id, last, h->addr, b, 16);
	}
	memset(last, 0, sizeof last);
	for (uint32_t i = 0; i < c->n_bounds_port; i++) {
		const struct weir_bound4 *b = weir_img_bound_port(img, i);

		cut(img, weir_img_port_word, c->row_words_port, b->class_id, last, h->port, &b->low, sizeof b->low);
	}
}

static uint64_t interfaces(const struct weir_img *img, uint64_t bits)
{
	uint64_t h = HASH_START;

	for (uint32_t i = 0; i < img->h->ifpats.count; i++) {
		if (bits >> i & 1)
			h = mix(h, weir_img_at(img, &img->h->ifpats, i, sizeof(struct weir_ifpat)), 16);
	}
	return h;
}

static uint64_t hash_addrs(const struct weir_img *img, const struct hashes *lists, uint32_t ref)
{
	const struct weir_span *s = ref & WEIR_SPAN ? weir_img_span(img, ref & ~WEIR_SPAN) : NULL;

	return s ? mix(HASH_START, s, sizeof *s) : lists->addr[ref % WEIR_LISTS_MAX];
}

static uint64_t hash_ports(const struct hashes *lists, const struct weir_ports *p)
{
	return p->list == WEIR_NO_LIST ? mix(HASH_START, p, sizeof *p) : lists->port[p->list % WEIR_LISTS_MAX];
}

static uint64_t hash_cond(const struct weir_img *img, const struct hashes *lists, const struct weir_cond *from)
{
	struct weir_cond c = *from;
	const struct weir_times *times = c.set & WEIR_C_TIME ? weir_img_times(img, c.time) : NULL;
	uint64_t refs[9] = {
		c.set & WEIR_C_FROM ? hash_addrs(img, lists, c.from) : 0,
		c.set & WEIR_C_TO ? hash_addrs(img, lists, c.to) : 0,
		c.set & WEIR_C_PEER ? hash_addrs(img, lists, c.peer) : 0,
		c.set & WEIR_C_PORTS ? hash_ports(lists, &c.ports) : 0,
		c.set & WEIR_C_SPORTS ? hash_ports(lists, &c.sports) : 0,
		interfaces(img, c.in_if),
		interfaces(img, c.out_if),
		interfaces(img, c.any_if),
		times ? mix(HASH_START, times, sizeof *times) : 0,
	};

	c.from = c.to = c.peer = 0;
	c.ports = c.sports = (struct weir_ports){ 0 };
	c.in_if = c.out_if = c.any_if = c.time = 0;
	return mix(mix(HASH_START, &c, sizeof c), refs, sizeof refs);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* A sorted list of what the file's rules say, their modes only when asked; NULL without memory. */
static uint64_t *hash_rules(const struct weir_img *img, bool modes, size_t *ret_n)
{
	struct hashes *lists = malloc(sizeof *lists);
	uint64_t *v = lists ? calloc(img->cfg->n_rules + 1, sizeof *v) : NULL;
	size_t n = 0;

	if (v)
		hash_lists(img, lists);
	for (uint32_t i = 0; v && i < img->cfg->n_rules; i++) {
		const struct weir_rule *r = weir_img_rule(img, 0, i);
		const char *name = weir_img_string(img, r->name);
		const struct weir_limit *l;
		uint64_t h;

		if (r->flags & WEIR_RF_OVERLAY)
			continue;
		h = mix(hash_cond(img, lists, &r->pos), name, strlen(name));
		h = mix(h, (uint8_t[]){ r->action, modes ? r->mode : 0, r->flags }, 3);
		h = mix(h, (uint64_t[]){ r->max_duration, r->idle, r->max_bytes }, 24);
		if (r->limit && (l = weir_img_limit(img, r->limit - 1)))
			h = mix(h, (uint64_t[]){ l->rate, l->rate_s, l->burst, l->per_what, l->action, l->bits4, l->bits6 }, 56);
		if (r->flags & WEIR_RF_NOT)
			h ^= hash_cond(img, lists, weir_img_neg(img, r->neg)) * 3;
		v[n++] = h;
	}
	free(lists);
	if (v)
		qsort(v, n, sizeof *v, compare);
	*ret_n = n;
	return v;
}

void weir_rules_diff(const struct weir_img *old, const struct weir_img *now, uint32_t *ret_added,
		     uint32_t *ret_removed)
{
	size_t n, m, i = 0, j = 0;
	/* under another ceiling every rule has another mode, and none was written anew */
	bool modes = old->cfg->mode == now->cfg->mode;
	uint64_t *a = hash_rules(old, modes, &n), *b = hash_rules(now, modes, &m);

	while (a && b && (i < n || j < m)) {
		if (j == m || (i < n && a[i] < b[j])) {
			++*ret_removed;
			i++;
		} else if (i == n || b[j] < a[i]) {
			++*ret_added;
			j++;
		} else {
			i++;
			j++;
		}
	}
	free(a);
	free(b);
}
