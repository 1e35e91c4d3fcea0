/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/arena.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 65536

struct weir_arena_block {
	struct weir_arena_block *below;
	size_t size, used;
	_Alignas(16) unsigned char bytes[];
};

void *weir_arena_alloc(struct weir_arena *a, size_t size)
{
	struct weir_arena_block *b = a->top;
	void *p;

	if (size > (size_t)1 << 40)
		return NULL;
	size = (size + 15) & ~(size_t)15;
	if (!b || b->size - b->used < size) {
		size_t want = size > BLOCK ? size : BLOCK;

		if (a->limit && a->used + want > a->limit)
			return NULL;
		b = calloc(1, sizeof *b + want);
		if (!b)
			return NULL;
		b->size = want;
		b->below = a->top;
		a->top = b;
		a->used += want;
	}
	p = b->bytes + b->used;
	b->used += size;
	return p;
}

void *weir_arena_array(struct weir_arena *a, size_t n, size_t size)
{
	size_t total;

	return __builtin_mul_overflow(n, size, &total) ? NULL : weir_arena_alloc(a, total);
}

char *weir_arena_text(struct weir_arena *a, const char *s, size_t n)
{
	char *p = weir_arena_alloc(a, n + 1);

	if (p)
		memcpy(p, s, n);
	return p;
}

void weir_arena_free(struct weir_arena *a)
{
	while (a->top) {
		struct weir_arena_block *b = a->top;

		a->top = b->below;
		free(b);
	}
	a->used = 0;
}

size_t weir_arena_reset(struct weir_arena *a)
{
	struct weir_arena_block *b;
	size_t freed = 0;

	while ((b = a->top) && b->below) {
		a->top = b->below;
		freed += b->size;
		free(b);
	}
	a->used -= freed;
	if (b) {
		memset(b->bytes, 0, b->used);
		b->used = 0;
	}
	return freed;
}
