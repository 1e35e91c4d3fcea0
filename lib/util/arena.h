/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that lives and dies together: what is read from one policy. Zeroed, 16-aligned, freed at once.
 * Growth is bounded by the limit that the owner sets; past it, and when memory ends, NULL.
 */
#pragma once
#include <stddef.h>

struct weir_arena {
	struct weir_arena_block *top;
	size_t used, limit; /* bytes in all; limit 0 = none */
};

void *weir_arena_alloc(struct weir_arena *a, size_t size);
void *weir_arena_array(struct weir_arena *a, size_t n, size_t size);  /* NULL also when n * size overflows */
char *weir_arena_text(struct weir_arena *a, const char *s, size_t n); /* a copy with a NUL behind it */
void weir_arena_free(struct weir_arena *a);
/* Empty, but the first block stays: for what is done again and again. Returns what the others took. */
size_t weir_arena_reset(struct weir_arena *a);
