/* SPDX-License-Identifier: Apache-2.0 */
/* The policy's limits become buckets: their costs, and where in the kernel's table they stand. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/policy/build.h"

/* The same number for the same limit in each image, so that an edit elsewhere leaves the buckets as they are. */
static uint32_t identity(const struct weir_p_limit *p)
{
	uint32_t h = 2166136261u;

	for (const char *s = p->name; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return (h ^ (uint32_t)p->per << 4 ^ p->count) * 16777619u;
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
	return l->count == first->count && l->per_what == first->per_what && l->bits4 == first->bits4 &&
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

int weir_build_limits(struct weir_build *b)
{
	const struct weir_values *v = &b->policy->doc.limits;
	const struct weir_p_limit *p = v->v;
	uint32_t shared = 0, lines = WEIR_LIMIT_LINES, at = WEIR_LIMITS_MAX;

	for (uint32_t i = 0; i < v->n; i++)
		shared += p[i].per != WEIR_PER_ALL + 1;
	while (shared && lines > WEIR_LIMIT_LINES / shared)
		lines /= 2;
	for (uint32_t i = 0; i < v->n; i++) {
		struct weir_limit *l = &b->limits[i];
		bool all = p[i].per == WEIR_PER_ALL + 1;
		int err;

		*l = (struct weir_limit){ .rate = p[i].rate.n,
					  .rate_s = p[i].rate.seconds,
					  .burst = p[i].burst,
					  .id = identity(&p[i]),
					  .first = all ? i : at,
					  .mask = all ? 0 : lines - 1,
					  .count = p[i].count - 1,
					  .per_what = p[i].per - 1,
					  .action = p[i].action && p[i].action - 1 != WEIR_ACT_BAN ? p[i].action - 1 : WEIR_ACT_DROP,
					  .ban_s = p[i].action != WEIR_ACT_BAN + 1 ? 0 : p[i].ban ? p[i].ban : WEIR_BAN_S,
					  .mode = mode(b, &p[i]),
					  .log = p[i].log };
		if (!all) {
			at += lines;
			l->bits4 = p[i].per == WEIR_PER_SOURCE + 1 ? 32 : (uint8_t)(p[i].v4 ? p[i].v4 : 24);
			l->bits6 = p[i].per == WEIR_PER_SOURCE + 1 ? 128 : (uint8_t)(p[i].v6 ? p[i].v6 : 64);
		}
		if (!weir_limit_make(l))
			return weir_build_tell(b, NULL, "limit '%s' holds too much", p[i].name);
		err = weir_build_string(b, p[i].name, &l->name);
		if (err < 0)
			return err;
		b->config.limit_counts |= 1u << l->count;
		if (l->action == WEIR_ACT_REJECT)
			b->config.proto_features |= WEIR_FEAT_REJECT;
	}
	b->n_limits = v->n;
	return 0;
}
