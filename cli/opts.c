/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/opts.h"
#include "lib/util/text.h"

const char *weir_nearest(const char *word, const char *const *words)
{
	unsigned most = (unsigned)strlen(word) / 3 + 1; /* farther than that is a different word */
	const char *best = NULL;
	size_t len = strlen(word);

	for (size_t i = 0; len > 3 && words[i]; i++) { /* cut short: there it begins alike and goes on */
		if (!strncmp(word, words[i], len))
			return words[i];
	}
	for (; *words && most; words++) {
		unsigned d = weir_text_distance(word, *words, most);

		if (d > most || (best && d == most))
			continue;
		best = *words;
		most = d;
	}
	return best;
}

int weir_seconds_parse(const char *text, uint64_t *ret)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	const uint64_t most = 10ull * 365 * 86400;
	uint64_t n = 0, unit = 1;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (uint64_t)(*p - '0');
		if (n > most)
			return -EINVAL;
	}
	if (p == text)
		return -EINVAL;
	if (*p) {
		size_t i = 0;

		while (i < 4 && units[i].unit != *p)
			i++;
		if (i == 4 || p[1])
			return -EINVAL;
		unit = units[i].seconds;
	}
	if (!n || n > most / unit)
		return -EINVAL;
	*ret = n * unit;
	return 0;
}

static const struct weir_opt *find(const struct weir_opt *o, const char *word, size_t len)
{
	for (; o->name; o++) {
		if (strlen(o->name) == len && !memcmp(o->name, word, len))
			return o;
	}
	return NULL;
}

static int unknown(const struct weir_cmd *c, const struct weir_opt *o, const char *word, size_t len)
{
	const char *names[64] = { NULL }, *near;
	char name[41]; /* longer ones are near to none */
	size_t n = 0;

	for (; o->name && n < 63; o++)
		names[n++] = o->name;
	snprintf(name, sizeof name, "%.*s", (int)len, word);
	near = weir_nearest(name, names);
	if (near)
		weir_cli_usage(c, "unknown option '%s'; did you mean '%s'?", name, near);
	else
		weir_cli_usage(c, "unknown option '%s'", name);
	return -WEIR_EXIT_USAGE;
}

/* One option at argv[*i]; moves *i past its value. */
static int take(const struct weir_cmd *c, const struct weir_opt *table, int argc, char **argv, int *i)
{
	const char *word = argv[*i], *value = strchr(word, '=');
	size_t len = value ? (size_t)(value - word) : strlen(word);
	const struct weir_opt *o = find(table, word, len);

	if (!o)
		return unknown(c, table, word, len);
	if (o->flag) {
		if (value) {
			weir_cli_usage(c, "option '%s' takes no value", o->name);
			return -WEIR_EXIT_USAGE;
		}
		*o->flag = true;
		return 0;
	}
	if (value) {
		value++;
	} else if (*i + 1 < argc) {
		value = argv[++*i];
	} else {
		weir_cli_usage(c, "option '%s' needs a value", o->name);
		return -WEIR_EXIT_USAGE;
	}
	if (o->value) {
		if (*o->value) {
			weir_cli_usage(c, "option '%s' is given twice", o->name);
			return -WEIR_EXIT_USAGE;
		}
		*o->value = value;
		return 0;
	}
	for (int n = 0; n < WEIR_OPT_LIST_MAX; n++) {
		if (!o->list[n]) {
			o->list[n] = value;
			return 0;
		}
	}
	weir_cli_usage(c, "option '%s' is given more than %d times", o->name, WEIR_OPT_LIST_MAX);
	return -WEIR_EXIT_USAGE;
}

int weir_opts_parse(const struct weir_cmd *c, const struct weir_opt *o, int argc, char **argv)
{
	int n = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--")) {
			while (++i < argc)
				argv[++n] = argv[i];
			break;
		}
		if (argv[i][0] == '-' && argv[i][1]) {
			int r = take(c, o, argc, argv, &i);

			if (r < 0)
				return r;
			continue;
		}
		argv[++n] = argv[i];
	}
	argv[n + 1] = NULL;
	return n;
}

int weir_opts_none(const struct weir_cmd *c, int argc, char **argv)
{
	const struct weir_opt opts[] = { { NULL } };
	int n = weir_opts_parse(c, opts, argc, argv);

	return n > 0 ? weir_cli_usage(c, "unexpected word '%s'", argv[1]) : -n;
}
