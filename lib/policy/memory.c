/* SPDX-License-Identifier: Apache-2.0 */
/* Does a policy fit into the kernel's memory that it may take? The sum is in core/memory.h, the words are here. */
#include "core/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/image_blob.h"
#include "lib/policy/build.h"
#include "lib/util/cleanup.h"

const char *const weir_memory_names[WEIR_MEM_COUNT] = {
#define X(ID, map, kind, key, value, entries, what) [WEIR_MEM_##ID] = #map,
#include "core/memory.def"
#undef X
};

const char *const weir_memory_words[WEIR_MEM_COUNT] = {
#define X(ID, map, kind, key, value, entries, what) [WEIR_MEM_##ID] = what,
#include "core/memory.def"
#undef X
};

void weir_memory_image(const struct weir_img *img, uint32_t cpus, struct weir_memory *ret)
{
	weir_memory_of(img->h, img->cfg, cpus, ret);
}

/* "24.1" */
static void put_mb(FILE *f, uint64_t bytes)
{
	uint64_t tenths = (bytes + 50000) / 100000;

	fprintf(f, "%llu.%llu", (unsigned long long)tenths / 10, (unsigned long long)tenths % 10);
}

/* "rules 100000 x 224 B = 22.4 MB, ...", those that matter; returns the largest. */
static uint32_t put_maps(FILE *f, const struct weir_memory *m, uint32_t from, uint32_t to, uint64_t least)
{
	uint64_t rest = 0;
	uint32_t most = from;

	for (uint32_t i = from; i < to; i++) {
		const struct weir_memory_map *x = &m->map[i];

		most = x->bytes > m->map[most].bytes ? i : most;
		if (x->bytes < least) {
			rest += x->bytes;
			continue;
		}
		if (x->kind == WEIR_MEM_RING)
			fprintf(f, "%s ", weir_memory_words[i]);
		else
			fprintf(f, "%s %u x %llu B = ", weir_memory_words[i], x->entries, (unsigned long long)x->each);
		put_mb(f, x->bytes);
		fputs(" MB, ", f);
	}
	fputs("the rest ", f);
	put_mb(f, rest);
	fputs(" MB", f);
	return most;
}

/* What would make the largest part smaller. */
static const char *remedy(uint32_t most)
{
	switch (most) {
	case WEIR_MEM_BLOCK:
		return "make the blocklists shorter";
	case WEIR_MEM_TREE:
		return "have fewer rules, or ones that overlap less";
	case WEIR_MEM_BOUNDS4:
	case WEIR_MEM_BOUNDS6:
	case WEIR_MEM_ADDR_ROWS:
		return "have fewer or shorter sets (those of 'blocklists' take less than those of rules)";
	case WEIR_MEM_RULES:
	case WEIR_MEM_HEADS:
	case WEIR_MEM_HITS:
	case WEIR_MEM_SPANS:
	case WEIR_MEM_NEGS:
		return "have fewer rules: one may have lists and sets";
	default:
		return NULL;
	}
}

static uint64_t enough_mb(const struct weir_memory *m)
{
	return weir_memory_enough(m->most - m->map[WEIR_MEM_FLOWS].bytes - m->map[WEIR_MEM_TALKS].bytes -
				  m->map[WEIR_MEM_HALF].bytes);
}

static void put_sum(FILE *f, const struct weir_memory *m, bool given, uint32_t *ret_most)
{
	fputs("the policy needs ", f);
	put_mb(f, m->most);
	fprintf(f, " MB of the kernel's memory, and performance.max_memory_mb is %llu%s: ",
		(unsigned long long)(m->limit / 1000000), given ? "" : " where it is not given");
	*ret_most = put_maps(f, m, 0, WEIR_MEM_SHARED, m->most / 100);
	fputs("; together ", f);
	put_mb(f, m->image);
	fputs(" MB, twice since a change is made beside what is in force: ", f);
	put_mb(f, 2 * m->image);
	fputs(" MB; for all images ", f);
	put_maps(f, m, WEIR_MEM_SHARED, WEIR_MEM_COUNT, m->most / 100);
	fputs(": ", f);
	put_mb(f, m->shared);
	fputs(" MB", f);
}

int weir_memory_check(struct weir_build *b, const struct weir_image_header *h)
{
	const struct weir_node *at = weir_node_get(b->policy->doc.node, "performance");
	_cleanup_free_ char *text = NULL;
	const char *less;
	struct weir_memory m;
	struct weir_diag *d;
	uint32_t most;
	size_t len;
	FILE *f;

	weir_memory_of(h, &b->config, b->options->cpus, &m);
	if (m.most <= m.limit || b->options->any_memory)
		return 0;
	f = open_memstream(&text, &len);
	if (!f)
		return -ENOMEM;
	put_sum(f, &m, b->config.memory_mb, &most);
	if (fclose(f))
		return -ENOMEM;
	at = at ? weir_node_get(at, "max_memory_mb") : NULL;
	d = at ? weir_node_error(b->diags, at, "%s", text) :
		 weir_diags_add(b->diags, WEIR_ERROR, b->policy->path, 0, 0, 1, "%s", text);
	less = remedy(most);
	weir_diag_hint(d, "write performance: { max_memory_mb: %llu } or more%s%s", (unsigned long long)enough_mb(&m),
		       less ? ", or " : "", less ? less : "");
	return -EINVAL;
}
