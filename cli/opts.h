/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of one command, from a table. "--name value" and "--name=value" are the same; options and
 * operands may be mixed; "--" ends the options. An unknown option is refused with the nearest known one.
 */
#pragma once
#include <stdint.h>

#include "cli/cmd.h"

struct weir_opt {
	const char *name;   /* with the dashes; NULL ends the table */
	const char **value; /* takes a value ... */
	bool *flag;         /* ... or none */
	const char **list;  /* ... or may be repeated: a NULL-terminated array of WEIR_OPT_LIST_MAX + 1 */
};

#define WEIR_OPT_LIST_MAX 64

/*
 * Takes the options out of argv, so that argv[1..] are the operands. Returns their number, or
 * -WEIR_EXIT_USAGE after it said what is wrong.
 */
int weir_opts_parse(const struct weir_cmd *c, const struct weir_opt *o, int argc, char **argv);

/* The same for a command that takes neither options nor words: 0, or the exit status after it said so. */
int weir_opts_none(const struct weir_cmd *c, int argc, char **argv);

/* The nearest of `words` (NULL-terminated), or NULL when none is near. */
const char *weir_nearest(const char *word, const char *const *words);

/* "90", "90s", "5m", "1h", "2d" to seconds. -EINVAL for what is none, zero or over ten years. */
int weir_seconds_parse(const char *text, uint64_t *ret);
