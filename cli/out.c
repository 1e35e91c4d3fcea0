/* SPDX-License-Identifier: Apache-2.0 */
/* How a command speaks: errors to stderr with what to do next, JSON to stdout. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/table.h"

static void say(const char *fmt, va_list ap)
{
	char *text = NULL;

	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	fputs("weir: error: ", stderr);
	weir_put(stderr, text ? text : fmt);
	putc('\n', stderr);
	free(text);
}

int weir_cli_error(const char *hint, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	if (hint && *hint) {
		fputs("  ", stderr);
		weir_put(stderr, hint);
		putc('\n', stderr);
	}
	return WEIR_EXIT_FAIL;
}

int weir_cli_usage(const struct weir_cmd *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	fprintf(stderr, "usage: weir %s%s%s\n", c->name, *c->args ? " " : "", c->args);
	return WEIR_EXIT_USAGE;
}

void weir_cli_json(json_t *j)
{
	size_t flags = isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT;

	json_dumpf(j, stdout, flags | JSON_ENCODE_ANY);
	putchar('\n');
	json_decref(j);
}
