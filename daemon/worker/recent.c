/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/worker/recent.h"

int weir_recent_init(struct weir_recent *r)
{
	r->verdicts.v = calloc(WEIR_RECENT_MAX, sizeof *r->verdicts.v);
	r->flows.v = calloc(WEIR_RECENT_MAX, sizeof *r->flows.v);
	if (r->verdicts.v && r->flows.v)
		return 0;
	weir_recent_clear(r);
	return -ENOMEM;
}

static void ring_clear(struct weir_recent_ring *r)
{
	for (size_t i = 0; r->v && i < WEIR_RECENT_MAX; i++)
		json_decref(r->v[i].json);
	free(r->v);
	memset(r, 0, sizeof *r);
}

void weir_recent_clear(struct weir_recent *r)
{
	ring_clear(&r->verdicts);
	ring_clear(&r->flows);
}

struct weir_recent_entry *weir_recent_put(struct weir_recent *r, const struct weir_ev_verdict *ev)
{
	struct weir_recent_ring *ring = ev->h.type == WEIR_EV_FLOW ? &r->flows : &r->verdicts;
	struct weir_recent_entry *e = &ring->v[ring->next];

	json_decref(e->json);
	e->json = NULL;
	e->ev = *ev;
	ring->next = (ring->next + 1) % WEIR_RECENT_MAX;
	if (ring->n < WEIR_RECENT_MAX)
		ring->n++;
	return e;
}

struct weir_recent_entry *weir_recent_at(struct weir_recent_ring *r, size_t i)
{
	if (i >= r->n)
		return NULL;
	return &r->v[(r->next + WEIR_RECENT_MAX - 1 - i) % WEIR_RECENT_MAX];
}
