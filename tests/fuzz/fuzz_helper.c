/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests that the helper takes, from a worker that may say anything, in a buffer of exactly its size. What the
 * answering side relies on is asserted: a kind of the table, the size of its kind, a path that ends and is absolute,
 * counts within their arrays, conversations with ports and a protocol.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/helper/ask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool ok)
{
	if (!ok)
		abort();
}

static void check_kills(const struct weir_ask_kills *k)
{
	expect(k->n && k->n <= WEIR_ASK_KILLS);
	for (uint32_t i = 0; i < k->n; i++) {
		uint32_t proto = k->v[i].t.zone >> 24;

		expect(proto == WEIR_IPPROTO_TCP || proto == WEIR_IPPROTO_UDP);
		expect(k->v[i].t.sport && k->v[i].t.dport);
		expect(k->v[i].dir == WEIR_DIR_IN || k->v[i].dir == WEIR_DIR_OUT || k->v[i].dir == WEIR_DIR_FWD);
	}
}

/* Requests are as long as their kind says, which chance does not meet: the input's end is repeated or cut. */
static void one(const uint8_t *data, size_t size, size_t len)
{
	struct weir_ask *a = malloc(sizeof *a);
	uint8_t *exact = malloc(len ? len : 1);

	expect(a && exact);
	for (size_t i = 0; i < len; i++)
		exact[i] = i < size ? data[i] : size ? data[size - 1] : 0;
	if (weir_ask_parse(exact, len, a) == 0) {
		const struct weir_ask_type *t = weir_ask_type(a->kind);

		expect(t && len == WEIR_ASK_HEAD + t->size && !memcmp(a, exact, len));
		if (a->kind == WEIR_ASK_OPEN || a->kind == WEIR_ASK_LIST)
			expect(a->path.path[0] == '/' &&
			       strnlen(a->path.path, sizeof a->path.path) < sizeof a->path.path);
		if (a->kind == WEIR_ASK_PROCESS || a->kind == WEIR_ASK_SESSIONS)
			expect(a->pid.pid && a->pid.pid <= INT_MAX);
		if (a->kind == WEIR_ASK_KILL)
			check_kills(&a->kills);
	}
	free(exact);
	free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct weir_ask_type *t;
	uint32_t kind = 0;

	one(data, size, size);
	if (size >= sizeof kind)
		memcpy(&kind, data, sizeof kind);
	t = weir_ask_type(kind);
	if (t)
		one(data, size, WEIR_ASK_HEAD + t->size);
	return 0;
}
