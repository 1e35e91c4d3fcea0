/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What apply, mode and rollback have in common: a change that may wait for its confirmation, and how one is confirmed
 * or taken back, also when no weir answers.
 */
#pragma once
#include "cli/cmd.h"
#include "cli/opts.h"

struct weir_change_flags {
	const char *confirm;
	bool no_confirm, force, replace;
};

/* For the table of options of such a command. */
#define WEIR_CHANGE_OPTS(f)                                                                           \
	{ "--confirm", .value = &(f)->confirm }, { "--no-confirm", .flag = &(f)->no_confirm },        \
		{ "--force", .flag = &(f)->force }, { "--replace", .flag = &(f)->replace }
#define WEIR_CHANGE_ARGS "[--confirm TIME|--no-confirm] [--replace] [--force]"
#define WEIR_CHANGE_HELP                                                                             \
	"  --confirm TIME    it goes back by itself after this time (1s to 1h), also with weir dead, unless\n"   \
	"                    'weir confirm' is said; on a terminal Enter keeps it, Ctrl-C goes back\n"        \
	"  --no-confirm      it stays. Over the network one of the two is needed, or a terminal (then: 120s)\n" \
	"  --replace         take the place of a change that waits; what it goes back to stays the same\n"     \
	"  --force           although it cuts your own session, or your next one\n"

/* The flags as arguments of a request. 0, or an exit status after it said what is wrong. */
int weir_change_args(const struct weir_cmd *c, const struct weir_cli *cli, const struct weir_change_flags *f,
		     json_t *args);
/* What is said of every change that was made; on a terminal it waits with the person. Returns an exit status. */
int weir_change_end(const struct weir_cli *cli, const json_t *result);

/* Keep what waits, or take it back; say so. Return an exit status. */
int weir_confirm(const struct weir_cli *cli);
int weir_take_back(const struct weir_cli *cli, json_t *args);

/* "01:58" */
const char *weir_clock(long long seconds, char *buf, size_t size);
