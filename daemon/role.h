/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of `weir run`. All are this program: the keeper is what the user started; helper and worker are the
 * same file, executed again with `--role=...` and with their sockets at fixed numbers.
 */
#pragma once
#include "daemon/run.h"

enum weir_role { WEIR_ROLE_WORKER, WEIR_ROLE_HELPER, WEIR_ROLES };

enum {
	WEIR_FD_FIRST = 3,
	WEIR_FD_SERVED = 3,  /* helper: the worker that it serves */
	WEIR_FD_KEEPER = 3,  /* worker: */
	WEIR_FD_HELPER = 4,
	WEIR_FD_CONTROL = 5, /* where clients connect; the keeper made it, so they wait while a worker is started */
	WEIR_FD_STATE = 6,   /* its directories: their names may lie below one that only root may enter */
	WEIR_FD_LOG = 7,
};
#define WEIR_ROLE_FDS 5
#define WEIR_ROLE_ARGS 16

/* The command line of a role, from the user's; argv of WEIR_ROLE_ARGS, text for what has to be written. */
struct weir_role_line {
	char *argv[WEIR_ROLE_ARGS];
	char flags[64];
};
void weir_role_line(enum weir_role role, const struct weir_run_options *o, struct weir_role_line *ret);

/* Is it one? Then its exit status, else -1. Refused unless the sockets are there. */
int weir_role_main(int argc, char **argv);
/* daemon/worker/main.c */
int weir_worker_main(const struct weir_run_options *o);
