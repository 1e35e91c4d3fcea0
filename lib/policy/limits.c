/* SPDX-License-Identifier: Apache-2.0 */
/* The policy's limits become buckets: their costs, and where in the kernel's table they stand. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/policy/build.h"

/* The same number for the same limit in each image, so that an edit elsewhere leaves the buckets where they are. */
static uint32_t identity(const struct weir_p_limit *p)
{
	uint32_t h = 2166136261u;

	for (const char *s = p->said ? "" : p->name; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	h ^= (uint32_t)(p->said ^ p->said >> 32);
	return (h ^ (uint32_t)p->per << 4 ^ p->count) * 16777619u;
}

/* What a bucket owes is kept as time: of another rate it would be more or less. So with another rate or burst all begin anew. */
static uint32_t buckets_id(const struct weir_p_limit *p, uint32_t h)
{
	const uint64_t more[] = { p->rate.n, p->rate.seconds, p->burst };

	for (size_t i = 0; i < sizeof more / sizeof *more; i++)
		h = (h ^ (uint32_t)(more[i] ^ more[i] >> 32)) * 16777619u;
	return h;
}

static uint8_t mode(const struct weir_build *b, const struct weir_p_limit *p)
{
	return p->mode && p->mode - 1u < b->config.mode ? (uint8_t)(p->mode - 1) : (uint8_t)b->config.mode;
}

const char *weir_limit_per_name(uint32_t per)
{
	return per == WEIR_PER_ALL ? "all" : per == WEIR_PER_PREFIX ? "prefix" : "source";
}

const char *weir_limit_count_name(uint32_t count)
{
	return count == WEIR_LIMIT_BYTES ? "bytes" : count == WEIR_LIMIT_CONNECTIONS ? "connections" : "packets";
}

const char *weir_limit_rate_text(const struct weir_limit *l, char *buf, size_t size)
{
	const char *unit = l->rate_s == 86400 ? "d" : l->rate_s == 3600 ? "h" : l->rate_s == 60 ? "m" : "s";

	snprintf(buf, size, "%llu/%s", (unsigned long long)l->rate, unit);
	return buf;
}

/* Is `first` asked before `l`, of the same buckets, and lets no more through? */
static bool never_reached(const struct weir_limit *l, const struct weir_limit *first)
{
	return l->count != WEIR_LIMIT_RULE && l->count == first->count && l->per_what == first->per_what && l->bits4 == first->bits4 &&
	       l->bits6 == first->bits6 && first->mode >= l->mode && first->per >= l->per && first->burst <= l->burst;
}

int weir_limits_lint(const struct weir_build *b)
{
	const struct weir_p_limit *p = b->policy->doc.limits.v;
	int found = 0;

	for (uint32_t i = 0; i < b->n_limits; i++)
		for (uint32_t k = 0; k < i; k++)
			if (never_reached(&b->limits[i], &b->limits[k])) {
				weir_node_warn(b->diags, p[i].node, "shadowed: limit '%s' can never be reached, '%s' before it "
					       "lets less through", p[i].name, p[k].name);
				found++;
				break;
			}
	return found;
}

int weir_build_rule_limit(struct weir_build *b, const struct weir_p_rule *r, uint8_t mode, uint32_t *ret)
{
	struct weir_p_limit *p;
	uint32_t n = b->policy->doc.limits.n + b->n_rule_limits;

	if (!r->limit)
		return 0;
	if (n == WEIR_LIMITS_MAX)
		return weir_build_tell(b, "a rule for all of them can have one limit for all", "more than %d limits, those of rules included",
				       WEIR_LIMITS_MAX);
	p = weir_arena_alloc(&b->arena, sizeof *p);
	if (!p)
		return -ENOMEM;
	*p = *r->limit;
	p->name = r->name;
	p->said = weir_rule_said(r);
	p->mode = (uint8_t)(mode + 1);
	p->log = r->log;
	b->rule_limits[b->n_rule_limits++] = p;
	*ret = n + 1;
	return 0;
}

static const struct weir_p_limit *limit_at(const struct weir_build *b, uint32_t i)
{
	const struct weir_values *v = &b->policy->doc.limits;

	return i < v->n ? (const struct weir_p_limit *)v->v + i : b->rule_limits[i - v->n];
}

/*
 * A free one of so many places, a power of two, by the limit's own number: what stands before it in the policy does not
 * move it. By the number's highest bits, so that with twice as many places half of what was in one stays where it is.
 */
static uint32_t take_place(uint64_t *taken, uint32_t places, uint32_t id)
{
	uint32_t at = (uint32_t)((uint64_t)id * places >> 32);

	while (taken[at / 64] >> (at & 63) & 1)
		at = (at + 1) & (places - 1);
	taken[at / 64] |= 1ull << (at & 63);
	return at;
}

/* The lines of the table: one each for those of one bucket, and what lies behind in equal parts. */
struct lines {
	uint64_t own[WEIR_LIMIT_OWN / 64], parts[(WEIR_LIMITS_MAX + 63) / 64];
	uint32_t part; /* lines of a part */
};

static int build_limit(struct weir_build *b, const struct weir_p_limit *p, uint32_t i, struct lines *lines)
{
	struct weir_limit *l = &b->limits[i];
	bool all = p->per == WEIR_PER_ALL + 1;
	int err;

	*l = (struct weir_limit){ .rate = p->rate.n,
				  .rate_s = p->rate.seconds,
				  .burst = p->burst,
				  .id = buckets_id(p, identity(p)),
				  .mask = all ? 0 : lines->part - 1,
				  .count = p->count - 1,
				  .per_what = p->per - 1,
				  .action = p->action && p->action - 1 != WEIR_ACT_BAN ? p->action - 1 : WEIR_ACT_DROP,
				  .ban_s = p->action != WEIR_ACT_BAN + 1 ? 0 : p->ban ? p->ban : WEIR_BAN_S,
				  .mode = mode(b, p),
				  .log = p->log };
	if (all) {
		l->first = take_place(lines->own, WEIR_LIMIT_OWN, identity(p));
	} else {
		l->first = WEIR_LIMIT_OWN + lines->part * take_place(lines->parts, WEIR_LIMIT_LINES / lines->part, identity(p));
		l->bits4 = p->per == WEIR_PER_SOURCE + 1 ? 32 : (uint8_t)(p->v4 ? p->v4 : 24);
		l->bits6 = p->per == WEIR_PER_SOURCE + 1 ? 128 : (uint8_t)(p->v6 ? p->v6 : 64);
	}
	if (!weir_limit_make(l))
		return weir_build_tell(b, NULL, "limit '%s' holds too much", p->name);
	err = weir_build_string(b, p->name, &l->name);
	if (err < 0)
		return err;
	b->config.limit_counts |= 1u << l->count;
	if (l->action == WEIR_ACT_REJECT)
		b->config.proto_features |= WEIR_FEAT_REJECT;
	return 0;
}

int weir_build_limits(struct weir_build *b)
{
	uint32_t n = b->policy->doc.limits.n + b->n_rule_limits, shared = 0;
	struct lines lines = { .part = WEIR_LIMIT_LINES };

	for (uint32_t i = 0; i < n; i++)
		shared += limit_at(b, i)->per != WEIR_PER_ALL + 1;
	while (shared && lines.part > WEIR_LIMIT_LINES / shared)
		lines.part /= 2;
	for (uint32_t i = 0; i < n; i++) {
		int err = build_limit(b, limit_at(b, i), i, &lines);

		if (err < 0)
			return err;
	}
	b->n_limits = n;
	for (uint32_t i = 0; i < b->n_rules; i++) {
		struct weir_limit *l = b->rules[i].limit ? &b->limits[b->rules[i].limit - 1] : NULL;

		if (l && !l->rule)
			l->rule = i + 1;
	}
	return 0;
}

const char *weir_limit_text(const struct weir_limit *l, char *buf, size_t size)
{
	char rate[48];

	snprintf(buf, size, "%s connections per %s at most", weir_limit_rate_text(l, rate, sizeof rate),
		 l->per_what == WEIR_PER_ALL ? "rule" : weir_limit_per_name(l->per_what));
	return buf;
}
