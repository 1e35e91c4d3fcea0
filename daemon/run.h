/* SPDX-License-Identifier: Apache-2.0 */
/* `weir run`: the keeper, with worker and helper beside it, until a signal, `stop` or `flush` ends it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "core/types.h"

struct weir_run_options {
	const char *config_dir, *runtime_dir, *state_dir, *log_dir;
	const char *given;                   /* those of them that options chose, as they are typed; NULL: none */
	const char *policy;                  /* absolute, or NULL: the boot order */
	bool has_mode;
	enum weir_mode mode;
	const char *const *interfaces;       /* names or globs, NULL-terminated; NULL: all */
	bool boot;                           /* the system's own start: the guard first; weir=off is obeyed */
	bool live;                           /* show what the host talks to */
	bool color;
	uint32_t simulate;                   /* failures that are only played: bit per enum weir_failure */
};

/* Speaks to stdout and stderr: it is the foreground program. Returns an exit status. */
int weir_run(const struct weir_run_options *o);
