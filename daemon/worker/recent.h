/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The newest verdicts and the newest flows, 1,000 of each. A record becomes JSON when somebody looks, or
 * before the image that explains it goes: a flood that nobody watches costs a copy each.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/event.h"

#define WEIR_RECENT_MAX 1000

struct weir_recent_entry {
	struct weir_ev_verdict ev;
	json_t *json; /* NULL: not yet looked at */
};

struct weir_recent_ring {
	struct weir_recent_entry *v; /* WEIR_RECENT_MAX */
	size_t next, n;
};

struct weir_recent {
	struct weir_recent_ring verdicts, flows;
};

int weir_recent_init(struct weir_recent *r);
void weir_recent_clear(struct weir_recent *r);
struct weir_recent_entry *weir_recent_put(struct weir_recent *r, const struct weir_ev_verdict *ev);
/* The i-th newest of a ring, 0 = the newest; NULL past the end. */
struct weir_recent_entry *weir_recent_at(struct weir_recent_ring *r, size_t i);
