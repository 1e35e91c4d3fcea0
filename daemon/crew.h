/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker and helper as the keeper has them: started, heard, watched, started again. What is enforced does not depend on
 * either of them.
 */
#pragma once
#include "daemon/keeper/serve.h"
#include "daemon/loop.h"
#include "daemon/spawner.h"

struct weir_crew;

struct weir_crew_calls {
	void (*ready)(void *data);            /* the first worker answers clients */
	void (*end)(uint32_t how, void *data); /* WEIR_CALL_END_*: it was asked for */
	/* There was never a worker, and there will be none; NULL: it has said why itself. */
	void (*failed)(const char *why, void *data);
	void *data;
};

struct weir_crew_options {
	struct weir_loop *loop;
	struct weir_spawner *spawner;
	struct weir_serve *serve;
	int control, state, log; /* where clients connect; directories; stay the caller's */
	struct weir_crew_calls calls;
};

int weir_crew_new(const struct weir_crew_options *o, struct weir_crew **ret);
/* The first of them. */
int weir_crew_start(struct weir_crew *c);
void weir_crew_reap(struct weir_crew *c); /* SIGCHLD */
void weir_crew_tick(struct weir_crew *c); /* once a second */
/* Does everything turn that should? What the service manager's watchdog is told. */
bool weir_crew_lives(const struct weir_crew *c);
/* Hang up, wait for them, end those that do not end. */
void weir_crew_free(struct weir_crew *c);
