/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One command, one file, one const entry. The table in cli/main.c makes help, completion and the man page.
 * A command prints its result to stdout and its errors to stderr, and returns an exit status.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>

enum {
	WEIR_EXIT_OK = 0,       /* all that was asked is so */
	WEIR_EXIT_FAIL = 1,     /* it could not be done; said why */
	WEIR_EXIT_USAGE = 2,    /* the command line is wrong */
	WEIR_EXIT_PARTIAL = 3,  /* something asked for is not in force (status) */
	WEIR_EXIT_STOPPED = 4,  /* not running, still enforcing (status) */
	WEIR_EXIT_OFF = 5,      /* not running, not enforcing */
	WEIR_EXIT_UNTOLD = 6,   /* the change was made; stdout could not take what there was to say about it */
};

struct weir_cli {
	const char *config_dir, *runtime_dir, *state_dir, *log_dir; /* never NULL, never with a final slash */
	const char *given; /* those of them that options chose, as they are typed; NULL: none */
	bool json;  /* --output json */
	bool color; /* stdout is a terminal and NO_COLOR is not set */
};

struct weir_cmd {
	const char *name;    /* "check"; two words for a sub-command: "rule add" */
	const char *args;    /* "FILE [--strict]" */
	const char *summary; /* one line */
	const char *help;    /* paragraphs, options, an example; may be NULL */
	int (*run)(const struct weir_cli *cli, int argc, char **argv); /* argv[0] is the command's last word */
	bool hidden;
};

extern const struct weir_cmd weir_cmd_check, weir_cmd_lint, weir_cmd_explain, weir_cmd_schema, weir_cmd_init;
extern const struct weir_cmd weir_cmd_run, weir_cmd_apply, weir_cmd_status, weir_cmd_status_show, weir_cmd_status_stats, weir_cmd_status_coverage;
extern const struct weir_cmd weir_cmd_flows, weir_cmd_events, weir_cmd_why, weir_cmd_mode, weir_cmd_features;
extern const struct weir_cmd weir_cmd_rule_add, weir_cmd_rule_list, weir_cmd_rule_delete, weir_cmd_rule_clear;
extern const struct weir_cmd weir_cmd_rule_export, weir_cmd_ban_add, weir_cmd_ban_list, weir_cmd_ban_remove;
extern const struct weir_cmd weir_cmd_set_add, weir_cmd_set_remove, weir_cmd_set_reset, weir_cmd_set_list;
extern const struct weir_cmd weir_cmd_confirm, weir_cmd_rollback, weir_cmd_history;
extern const struct weir_cmd weir_cmd_show_effective, weir_cmd_doctor, weir_cmd_stop, weir_cmd_flush;

/* The directories that the command line chose, as options: what hints propose to type carries them, too. NULL: none. */
void weir_cli_given(const char *options);
/* A text in which "weir status" has become "weir --runtime-dir DIR status". The caller frees it; NULL: no memory. */
char *weir_cli_carry(const char *text);
/* "weir: error: ..." and, with a hint, a second line; to stderr. Returns WEIR_EXIT_FAIL. */
int weir_cli_error(const char *hint, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The command line is wrong: says what, shows the usage line. Returns WEIR_EXIT_USAGE. */
int weir_cli_usage(const struct weir_cmd *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* From here on something is not as it was: should stdout fail, the exit status tells that. */
void weir_cli_changed(void);
/* The end of a command: a full disk or a closed pipe must not look like success. The exit status. */
int weir_cli_end(int status);
/* Print a JSON value to stdout, one line per call (pretty when stdout is a terminal), and free it. */
void weir_cli_json(json_t *j);
/* On one line, as streams do. In both everything beyond ASCII is written as \uXXXX: no terminal obeys it. */
void weir_cli_json_line(const json_t *j);
/* A JSON string of any bytes: what is no UTF-8, and what a terminal would obey, becomes \xNN. */
json_t *weir_cli_text(const char *text);
/* For people, on stdout: paths and names come from outside, so everything but line breaks is escaped. */
void weir_cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
