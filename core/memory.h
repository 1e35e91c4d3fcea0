/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How much of the kernel's memory an image takes, before anything is loaded: each map of core/memory.def with what the
 * kernel adds to an entry (x86-64 and arm64, Linux 5.10 to 7.2). Programs are not counted.
 */
#pragma once
#include "core/event.h"
#include "core/flow.h"
#include "core/gate_table.h"
#include "core/told.h"
#include "core/tree_line.h"

#define WEIR_MEMORY_MB 1024u /* performance.max_memory_mb, if the policy does not say; an MB is 1,000,000 bytes */
#define WEIR_FLOWS 65536u    /* promoted flows, if the policy does not say how much memory there is */
#define WEIR_FLOWS_MIN 4096u
#define WEIR_FLOWS_MAX (1u << 20)
#define WEIR_BLOCKS_SPARE 64u /* lines that a blocklist may grow by at least before a larger map is needed */

/* Entries of the map for so many lines of blocklists: line 0, and twice the others with room to grow. */
WEIR_INLINE uint32_t weir_blocks_room(uint32_t lines)
{
	uint32_t one = lines ? lines - 1 + lines / 8 + WEIR_BLOCKS_SPARE : 0;

	return 1 + 2 * one;
}

enum weir_memory_id {
#define X(ID, map, kind, key, value, entries, what) WEIR_MEM_##ID,
#include "core/memory.def"
#undef X
	WEIR_MEM_COUNT,
	WEIR_MEM_SHARED = WEIR_MEM_VLANS,
};

enum weir_memory_kind {
	WEIR_MEM_ARRAY,
	WEIR_MEM_MMAPPED,
	WEIR_MEM_PER_CPU,
	WEIR_MEM_HASH,
	WEIR_MEM_LRU,
	WEIR_MEM_TRIE,
	WEIR_MEM_RING,
};

struct weir_memory_map {
	uint32_t kind, key, value, entries;
	uint64_t each;  /* bytes that an entry takes, all in all */
	uint64_t bytes; /* of the whole map */
};

struct weir_memory {
	struct weir_memory_map map[WEIR_MEM_COUNT];
	uint64_t image;  /* of the maps that each image has of its own */
	uint64_t shared;
	uint64_t most;   /* with a second image beside it: so is each change made */
	uint64_t limit;
};

#define WEIR_MEM_PAGE 4096u
#define WEIR_MEM_HASHED 48u /* what stands before the key of an entry of a hash table */
#define WEIR_MEM_BUCKET 16u

WEIR_INLINE uint64_t weir_memory_up(uint64_t x, uint64_t to)
{
	return (x + to - 1) / to * to;
}

#define WEIR_MEMORY_FLOWS_MB (1048576u / 20 * 3) /* bytes of an MB that the tables of flows may take: 15 % of a MiB */

/* That of half-open flows and that of flows without a handshake have a quarter of the entries of the first. */
WEIR_INLINE uint32_t weir_memory_flows(uint32_t mb)
{
	uint64_t each = WEIR_MEM_HASHED + sizeof(struct weir_flow_key) + sizeof(struct weir_flow) + WEIR_MEM_BUCKET;
	uint64_t fit = (uint64_t)mb * WEIR_MEMORY_FLOWS_MB / (each + each / 2);
	uint32_t n = WEIR_FLOWS_MAX;

	while (n > WEIR_FLOWS_MIN && n > fit)
		n /= 2;
	return mb ? n : WEIR_FLOWS;
}

/* The MB with which all fits: `rest`, bytes of everything else, and as many flows as there are with so much. */
WEIR_INLINE uint64_t weir_memory_enough(uint64_t rest)
{
	return rest / (1000000 - WEIR_MEMORY_FLOWS_MB) + 1;
}

WEIR_INLINE uint32_t weir_memory_pow2(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static inline void weir_memory_fill(struct weir_memory_map *m, uint32_t cpus)
{
	uint64_t key = weir_memory_up(m->key, 8), value = weir_memory_up(m->value, 8);

	switch (m->kind) {
	case WEIR_MEM_PER_CPU:
		m->each = 8 + value * cpus;
		break;
	case WEIR_MEM_HASH:
	case WEIR_MEM_LRU:
		m->each = WEIR_MEM_HASHED + key + value;
		break;
	case WEIR_MEM_TRIE: /* and a node where two of them part */
		m->each = 2 * weir_memory_up(40 + m->key - 4 + m->value, 96);
		break;
	case WEIR_MEM_RING:
		m->each = 1;
		break;
	default:
		m->each = value;
	}
	m->bytes = m->entries * m->each;
	if (m->kind == WEIR_MEM_HASH || m->kind == WEIR_MEM_LRU) /* a hash map keeps an entry aside for each CPU */
		m->bytes += (uint64_t)weir_memory_pow2(m->entries) * WEIR_MEM_BUCKET +
			    (m->kind == WEIR_MEM_HASH ? cpus * m->each : 0);
	m->bytes = weir_memory_up(m->bytes, WEIR_MEM_PAGE) + (m->kind == WEIR_MEM_RING ? 5 : 1) * WEIR_MEM_PAGE;
}

/* `cpus`: those that the machine may have, also ones that are not there now. */
static inline void weir_memory_of(const struct weir_image_header *h, const struct weir_config *c, uint32_t cpus,
				  struct weir_memory *ret)
{
	const struct weir_memory_map maps[] = {
#define X(ID, map, kind, key, value, entries, what) { WEIR_MEM_##kind, key, value, entries, 0, 0 },
#include "core/memory.def"
#undef X
	};

	ret->image = ret->shared = 0;
	for (uint32_t i = 0; i < WEIR_MEM_COUNT; i++) {
		ret->map[i] = maps[i];
		weir_memory_fill(&ret->map[i], cpus ? cpus : 1);
		if (i < WEIR_MEM_SHARED)
			ret->image += ret->map[i].bytes;
		else
			ret->shared += ret->map[i].bytes;
	}
	ret->most = ret->shared + 2 * ret->image;
	ret->limit = (c->memory_mb ? c->memory_mb : WEIR_MEMORY_MB) * 1000000ull;
}
