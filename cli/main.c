/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir: one binary. Takes the options that every command knows out of the command line, finds the command
 * in the table, runs it. Refuses what it does not know, with the nearest word that it does.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/help.h"
#include "cli/opts.h"
#include "daemon/role.h"
#include "lib/util/version.h"

const struct weir_cmd *const weir_commands[] = {
	&weir_cmd_run,
	&weir_cmd_status,
	&weir_cmd_status_show,
	&weir_cmd_status_coverage,
	&weir_cmd_status_stats,
	&weir_cmd_flows,
	&weir_cmd_events,
	&weir_cmd_why,
	&weir_cmd_init,
	&weir_cmd_check,
	&weir_cmd_lint,
	&weir_cmd_explain,
	&weir_cmd_schema,
	&weir_cmd_apply,
	&weir_cmd_confirm,
	&weir_cmd_rollback,
	&weir_cmd_history,
	&weir_cmd_mode,
	&weir_cmd_show_effective,
	&weir_cmd_rule_add,
	&weir_cmd_rule_list,
	&weir_cmd_rule_delete,
	&weir_cmd_rule_clear,
	&weir_cmd_rule_export,
	&weir_cmd_ban_add,
	&weir_cmd_ban_list,
	&weir_cmd_ban_remove,
	&weir_cmd_set_add,
	&weir_cmd_set_remove,
	&weir_cmd_set_reset,
	&weir_cmd_set_list,
	&weir_cmd_features,
	&weir_cmd_doctor,
	&weir_cmd_stop,
	&weir_cmd_flush,
	&weir_cmd_completion,
	&weir_cmd_commands,
	&weir_cmd_man,
	NULL,
};

static const struct {
	const char *option, *env, *standard;
	size_t field;
} dirs[] = {
	{ "--config-dir", "WEIR_CONFIG_DIR", "/etc/weir", offsetof(struct weir_cli, config_dir) },
	{ "--runtime-dir", "WEIR_RUNTIME_DIR", "/run/weir", offsetof(struct weir_cli, runtime_dir) },
	{ "--state-dir", "WEIR_STATE_DIR", "/var/lib/weir", offsetof(struct weir_cli, state_dir) },
	{ "--log-dir", "WEIR_LOG_DIR", "/var/log/weir", offsetof(struct weir_cli, log_dir) },
};
#define N_DIRS (sizeof dirs / sizeof *dirs)

struct globals {
	const char *dir[N_DIRS], *output;
	bool no_color, help, version;
};

static const char **dir_of(struct weir_cli *cli, size_t i)
{
	return (const char **)((char *)cli + dirs[i].field);
}

/* Absolute, without a final slash: the daemon and its clients must mean the same directory. */
static const char *dir_clean(const char *dir)
{
	char *out = NULL, *cwd = NULL;
	size_t n;

	if (*dir != '/')
		cwd = getcwd(NULL, 0);
	if (*dir == '/' ? asprintf(&out, "%s", dir) < 0 : asprintf(&out, "%s/%s", cwd ? cwd : "", dir) < 0)
		out = NULL;
	free(cwd);
	for (n = out ? strlen(out) : 0; n > 1 && out[n - 1] == '/'; n--)
		out[n - 1] = 0;
	return out; /* lives as long as the process */
}

/* Is argv[i] `name`, or `name=value`, or `name value`? Sets *value and moves *i past it. */
static bool take_value(const char *name, int argc, char **argv, int *i, const char **value, bool *missing)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) || (argv[*i][n] && argv[*i][n] != '='))
		return false;
	if (argv[*i][n])
		*value = argv[*i] + n + 1;
	else if (*i + 1 < argc)
		*value = argv[++*i];
	else
		*missing = true;
	return true;
}

/* Takes the global options out of argv. Returns the new argc, or -1 after a message. */
static int take_globals(int argc, char **argv, struct globals *g)
{
	int n = 1;

	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];
		bool missing = false, taken = true;

		if (!strcmp(word, "--")) {
			while (i < argc)
				argv[n++] = argv[i++];
			break;
		}
		if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
			g->help = true;
		} else if (!strcmp(word, "--version")) {
			g->version = true;
		} else if (!strcmp(word, "--no-color")) {
			g->no_color = true;
		} else if (!take_value("--output", argc, argv, &i, &g->output, &missing) &&
			   !take_value("-o", argc, argv, &i, &g->output, &missing)) {
			size_t d = 0;

			while (d < N_DIRS && !take_value(dirs[d].option, argc, argv, &i, &g->dir[d], &missing))
				d++;
			taken = d < N_DIRS;
		}
		if (missing) {
			weir_cli_error("weir --help lists the options", "option '%s' needs a value", word);
			return -1;
		}
		if (!taken)
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	return n;
}

/* For hints: a directory that was chosen here is to be chosen again. */
static void carry_dirs(const struct globals *g, struct weir_cli *cli)
{
	char *all = NULL;
	size_t len;
	FILE *f = open_memstream(&all, &len);

	for (size_t i = 0; f && i < N_DIRS; i++) {
		const char *dir = *dir_of(cli, i), *quote = strpbrk(dir, " \t\"$&;()<>|*?[") ? "'" : "";

		if (g->dir[i])
			fprintf(f, "%s%s %s%s%s", ftell(f) ? " " : "", dirs[i].option, quote, dir, quote);
	}
	if (f && !fclose(f) && len)
		weir_cli_given(cli->given = all);
	else
		free(all);
}

static int globals_to_cli(const struct globals *g, struct weir_cli *cli)
{
	const char *no_color = getenv("NO_COLOR");

	for (size_t i = 0; i < N_DIRS; i++) {
		const char *env = getenv(dirs[i].env);
		const char *dir = g->dir[i] ? g->dir[i] : env && *env ? env : dirs[i].standard;

		if (!*dir || !(*dir_of(cli, i) = dir_clean(dir))) {
			weir_cli_error(NULL, "%s needs a directory", dirs[i].option);
			return WEIR_EXIT_USAGE;
		}
	}
	carry_dirs(g, cli);
	cli->color = isatty(STDOUT_FILENO) && !g->no_color && !(no_color && *no_color);
	if (g->output && strcmp(g->output, "json") && strcmp(g->output, "table")) {
		weir_cli_error("table or json", "unknown output '%s'", g->output);
		return WEIR_EXIT_USAGE;
	}
	cli->json = g->output && !strcmp(g->output, "json");
	return WEIR_EXIT_OK;
}

/* The longest name that the first words make. *words: how many it took. */
static const struct weir_cmd *find_command(int argc, char **argv, int *words)
{
	const struct weir_cmd *one = NULL;

	for (const struct weir_cmd *const *c = weir_commands; *c; c++) {
		const char *space = strchr((*c)->name, ' ');
		size_t n = space ? (size_t)(space - (*c)->name) : strlen((*c)->name);

		if (strlen(argv[1]) != n || strncmp(argv[1], (*c)->name, n))
			continue;
		if (!space)
			one = *c;
		else if (argc > 2 && !strcmp(argv[2], space + 1)) {
			*words = 2;
			return *c;
		}
	}
	*words = 1;
	return one;
}

/* What the same is called elsewhere; a word that is only spelt alike may be the opposite. */
static const struct {
	const char *word, *command;
} elsewhere[] = {
	{ "unban", "ban remove" }, { "block", "ban add" }, { "start", "run" },	 { "load", "apply" },
	{ "reload", "apply" },	   { "log", "events" },	   { "logs", "events" }, { "test", "check" },
	{ "validate", "check" },   { "list", "rule list" },
};
static const char *const verbs[][8] = {
	{ "remove", "delete", "rm", "del", "erase", "unban", NULL },
	{ "add", "new", "append", "insert", "create", NULL },
	{ "list", "ls", "show", "get", "print", NULL },
	{ "clear", "flush", "reset", NULL },
};

static bool same_verb(const char *a, const char *b)
{
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
		bool has_a = false, has_b = false;

		for (const char *const *v = verbs[i]; *v; v++) {
			has_a |= !strcmp(*v, a);
			has_b |= !strcmp(*v, b);
		}
		if (has_a && has_b)
			return true;
	}
	return false;
}

/* The command of this group that was meant, or NULL; `all` gets the words of the group. */
static const char *nearest_in_group(const char *group, const char *word, char *all, size_t size)
{
	const char *names[16] = { NULL }, *verb, *near;
	size_t n = 0, used = 0, len = strlen(group);

	for (const struct weir_cmd *const *c = weir_commands; *c && n < 15; c++) {
		if (strncmp((*c)->name, group, len) || (*c)->name[len] != ' ')
			continue;
		verb = (*c)->name + len + 1;
		if (same_verb(word, verb))
			return (*c)->name;
		names[n++] = verb;
		used += (size_t)snprintf(all + used, used < size ? size - used : 0, "%s%s", used ? ", " : "", verb);
	}
	near = weir_nearest(word, names);
	return near ? near - len - 1 : NULL; /* it is the end of a command's name */
}

/* The nearest command to what was typed: both words, then the first alone among commands and words of groups. */
static const char *nearest_command(int argc, char **argv)
{
	static const char *const groups[] = { "rule", "ban", "set", "show" }; /* status is a command, too */
	const char *names[64] = { NULL }, *near = NULL;
	char both[64];
	size_t n = 0;

	for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
		if (!strcmp(argv[1], elsewhere[i].word))
			return elsewhere[i].command;
	}
	for (const struct weir_cmd *const *c = weir_commands; *c && n < 58; c++) {
		if (!(*c)->hidden)
			names[n++] = (*c)->name;
	}
	if (argc > 2) {
		snprintf(both, sizeof both, "%s %s", argv[1], argv[2]);
		near = weir_nearest(both, names);
	}
	if (near)
		return near;
	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
		names[n++] = groups[i];
	return weir_nearest(argv[1], names);
}

static int unknown_command(int argc, char **argv)
{
	bool group = weir_is_group(argv[1]);
	char hint[128] = "weir --help lists the commands", all[64] = "";
	const char *near = group && argc > 2 ? nearest_in_group(argv[1], argv[2], all, sizeof all) :
					       nearest_command(argc, argv);

	if (argc < 3 && weir_help_group(stdout, argv[1]))
		return WEIR_EXIT_USAGE;
	if (near)
		snprintf(hint, sizeof hint, "did you mean 'weir %s'?", near);
	else if (*all)
		snprintf(hint, sizeof hint, "weir %s takes one of these: %s", argv[1], all);
	if (argc > 2 && group)
		weir_cli_error(hint, "unknown command '%s %s'", argv[1], argv[2]);
	else
		weir_cli_error(hint, "unknown command '%s'", argv[1]);
	return WEIR_EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static struct weir_cli cli; /* holds what lives as long as the process */
	struct globals g = { 0 };
	const struct weir_cmd *c;
	int words, r;

	r = weir_role_main(argc, argv); /* a process of `weir run`: not of a command line that anybody types */
	if (r >= 0)
		return r;
	argc = take_globals(argc, argv, &g);
	if (argc < 0)
		return WEIR_EXIT_USAGE;
	r = globals_to_cli(&g, &cli);
	if (r != WEIR_EXIT_OK)
		return r;
	if (g.version) {
		printf("weir %s\n", weir_version());
		return weir_cli_end(WEIR_EXIT_OK);
	}
	if (argc < 2 || (argc == 2 && !strcmp(argv[1], "help"))) {
		weir_help(stdout);
		return weir_cli_end(WEIR_EXIT_OK);
	}
	if (argc > 2 && !strcmp(argv[1], "help")) {
		g.help = true;
		argv++;
		argc--;
	}
	if (argv[1][0] == '-') {
		weir_cli_error("weir --help lists the options", "unknown option '%s'", argv[1]);
		return WEIR_EXIT_USAGE;
	}
	c = find_command(argc, argv, &words);
	if (c && g.help) {
		weir_help_command(stdout, c);
		return weir_cli_end(WEIR_EXIT_OK);
	}
	if (g.help && weir_help_group(stdout, argv[1]))
		return weir_cli_end(WEIR_EXIT_OK);
	if (!c)
		return unknown_command(argc, argv);
	return weir_cli_end(c->run(&cli, argc - words, argv + words));
}
