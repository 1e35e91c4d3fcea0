/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of the control socket. Errors of the daemon are shown here, in one way for all commands. */
#pragma once
#include <time.h>

#include "cli/cmd.h"

struct weir_conn;

/* Connect, or say why not and what to do. NULL on failure. */
struct weir_conn *weir_conn_open(const struct weir_cli *cli);
/* Once more, after the daemon hung up: when it listens again. NULL, without a word: it ended, or 10 s have passed. */
struct weir_conn *weir_conn_again(const struct weir_cli *cli);
void weir_conn_close(struct weir_conn *c);
/*
 * Ask and wait for the answer. Takes the reference of args (NULL: none). Returns the result as a new
 * reference, or NULL after the error was shown: message, hint, diags in the format of `weir check`.
 */
json_t *weir_conn_ask(struct weir_conn *c, const char *verb, json_t *args);
/* The same, but who does not answer in time, or ends meanwhile, is only told in *silent. */
json_t *weir_conn_ask_within(struct weir_conn *c, const char *verb, json_t *args, time_t seconds, bool *silent);
/* The next line of a stream, a new reference; NULL at its end. */
json_t *weir_conn_next(struct weir_conn *c);

/* Connect, ask once, close. */
json_t *weir_ask(const struct weir_cli *cli, const char *verb, json_t *args);
/* The same for a command that has nothing more to say in JSON: prints the result when asked to. */
bool weir_answered_json(const struct weir_cli *cli, json_t *result);

/* Fields of a result, with a value for what is missing. */
const char *weir_str(const json_t *j, const char *key);
json_int_t weir_int(const json_t *j, const char *key);
bool weir_bool(const json_t *j, const char *key);

/* Is a daemon there? Its pid, or 0. */
pid_t weir_daemon_pid(const struct weir_cli *cli);
/* The command that starts this instance (again): the unit's, where the system has one. */
const char *weir_start_words(const struct weir_cli *cli);
/* After it said that it ends: wait until it has let go of everything. False: it has not in 10 s. */
bool weir_daemon_ended(const struct weir_cli *cli);
