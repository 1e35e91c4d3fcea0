/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/dict.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

struct weir_dict_slot {
	uint64_t hash;
	const char *name; /* NULL: free */
	void *value;
};

/* Another number in each process, so that nobody can write names that all meet in one place. */
static uint64_t salt(void)
{
	const void *at = (const void *)getauxval(AT_RANDOM);
	uint64_t r = 0x9e3779b97f4a7c15u;

	if (at)
		memcpy(&r, at, sizeof r);
	return r;
}

static uint64_t hash_of(const char *s)
{
	uint64_t h = salt(), w;
	size_t n = strlen(s);

	for (; n; s += sizeof w, n -= sizeof w) {
		w = n;
		memcpy(&w, s, n < sizeof w ? n : sizeof w);
		h = (h ^ w) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
		if (n <= sizeof w)
			break;
	}
	return h;
}

int weir_dict_init(struct weir_arena *a, struct weir_dict *t, size_t n)
{
	size_t room = 16;

	while (room < n * 2)
		room *= 2;
	t->slots = weir_arena_array(a, room, sizeof *t->slots);
	t->mask = room - 1;
	return t->slots ? 0 : -ENOMEM;
}

static struct weir_dict_slot *slot_of(const struct weir_dict *t, const char *name, uint64_t hash)
{
	size_t at = hash & t->mask;

	while (t->slots[at].name && (t->slots[at].hash != hash || strcmp(t->slots[at].name, name)))
		at = (at + 1) & t->mask;
	return &t->slots[at];
}

void *weir_dict_find(const struct weir_dict *t, const char *name)
{
	return t->slots ? slot_of(t, name, hash_of(name))->value : NULL;
}

void *weir_dict_put(struct weir_dict *t, const char *name, void *value)
{
	uint64_t hash = hash_of(name);
	struct weir_dict_slot *s = slot_of(t, name, hash);

	if (s->name)
		return s->value;
	*s = (struct weir_dict_slot){ hash, name, value };
	return NULL;
}
