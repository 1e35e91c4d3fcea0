/* SPDX-License-Identifier: Apache-2.0 */
/* What is made from the table of commands: help, completion, the machine-readable list. */
#pragma once
#include "cli/cmd.h"

extern const struct weir_cmd *const weir_commands[]; /* NULL-terminated, in the order of the help */

void weir_help(FILE *out);
void weir_help_command(FILE *out, const struct weir_cmd *c);
/* All commands that begin with this word, for "weir rule". False when there is none. */
bool weir_help_group(FILE *out, const char *word);
bool weir_is_group(const char *word);
extern const struct weir_cmd weir_cmd_completion, weir_cmd_commands, weir_cmd_man;
extern const char weir_options_help[], weir_exit_help[]; /* the parts that every command shares */
