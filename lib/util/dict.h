/* SPDX-License-Identifier: Apache-2.0 */
/* What has this name? A table of a size that is known before it is filled; names and values are the caller's. */
#pragma once
#include <stddef.h>

#include "lib/util/arena.h"

struct weir_dict {
	struct weir_dict_slot *slots;
	size_t mask;
};

/* Room for n names. -ENOMEM. */
int weir_dict_init(struct weir_arena *a, struct weir_dict *t, size_t n);
/* The value under a name, or NULL; also when nothing was ever put in. */
void *weir_dict_find(const struct weir_dict *t, const char *name);
/* NULL, or what has the name already: that stays. */
void *weir_dict_put(struct weir_dict *t, const char *name, void *value);
