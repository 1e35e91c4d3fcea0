/* SPDX-License-Identifier: Apache-2.0 */
/* How a command speaks: errors to stderr with what to do next, JSON to stdout. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/table.h"
#include "lib/util/cleanup.h"

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

static const char *given;

void weir_cli_given(const char *options)
{
	given = options;
}

/* Is it the first word of a command that the directories matter to? */
static bool takes_dirs(const char *word)
{
	static const char *const words[] = { "run", "status", "flows", "events", "why", "apply", "confirm", "rollback", "history",
					     "mode", "show", "rule", "ban", "set", "features", "doctor", "stop", "flush" };
	size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyz"), i = 0;

	while (i < sizeof words / sizeof *words && (strlen(words[i]) != n || strncmp(words[i], word, n)))
		i++;
	return i < sizeof words / sizeof *words;
}

char *weir_cli_carry(const char *text)
{
	char *out = NULL;
	size_t len;
	FILE *f = given ? open_memstream(&out, &len) : NULL;
	const char *at;

	if (!f)
		return strdup(text);
	for (const char *from = text; (at = strstr(from, "weir ")); text = from = at + 5) {
		bool whole = at == text || !strchr("/.-_abcdefghijklmnopqrstuvwxyz", at[-1]);

		fprintf(f, "%.*s", (int)(at + 5 - text), text);
		if (whole && takes_dirs(at + 5))
			fprintf(f, "%s ", given);
	}
	fputs(text, f);
	if (!fclose(f))
		return out;
	free(out);
	return NULL;
}

int weir_cli_error(const char *hint, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	if (hint && *hint) {
		_cleanup_free_ char *whole = weir_cli_carry(hint);

		fputs("  ", stderr);
		weir_put(stderr, whole ? whole : hint);
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

static bool changed;

void weir_cli_changed(void)
{
	changed = true;
	signal(SIGPIPE, SIG_IGN); /* whoever reads may be gone: that is to be told, too */
}

int weir_cli_end(int status)
{
	const char *why;

	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	why = errno ? strerror(errno) : "not all could be written";
	if (changed)
		weir_cli_error("weir status shows what is in force", "stdout: %s; the change was made", why);
	else
		weir_cli_error(NULL, "stdout: %s", why);
	if (status != WEIR_EXIT_OK)
		return status;
	return changed ? WEIR_EXIT_UNTOLD : WEIR_EXIT_FAIL;
}

void weir_cli_say(const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL, *whole = NULL, *clean = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	whole = text ? weir_cli_carry(text) : NULL;
	clean = whole ? weir_clean(whole, true) : NULL;
	if (clean)
		fputs(clean, stdout);
}

json_t *weir_cli_text(const char *text)
{
	_cleanup_free_ char *clean = weir_clean(text, true);

	return clean ? json_string(clean) : NULL;
}

static void dump(const json_t *j, size_t flags)
{
	_cleanup_free_ char *text = j ? json_dumps(j, flags | JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;

	if (!text) {
		weir_cli_error(NULL, "cannot write the answer as JSON");
		return;
	}
	for (const char *p = text; *p; p++) {
		if (*p == 0x7f) /* ASCII, and still not for a terminal */
			fputs("\\u007f", stdout);
		else
			putchar(*p);
	}
	putchar('\n');
}

void weir_cli_json(json_t *j)
{
	dump(j, isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT);
	json_decref(j);
}

void weir_cli_json_line(const json_t *j)
{
	dump(j, JSON_COMPACT);
}
