/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/help.h"
#include "lib/util/version.h"

const char weir_options_help[] =
	"Options of every command, before or after it:\n"
	"  -o, --output table|json   how results are printed\n"
	"      --no-color            no colour (also: NO_COLOR, or output that is no terminal)\n"
	"      --config-dir DIR      policy and lists            /etc/weir       WEIR_CONFIG_DIR\n"
	"      --runtime-dir DIR     socket and pins             /run/weir       WEIR_RUNTIME_DIR\n"
	"      --state-dir DIR       what outlives a reboot      /var/lib/weir   WEIR_STATE_DIR\n"
	"      --log-dir DIR         audit.log                   /var/log/weir   WEIR_LOG_DIR\n"
	"  -h, --help                this help, or that of a command\n"
	"      --version             the version\n";

const char weir_exit_help[] =
	"Exit status: 0 done; 1 it could not be done, the message says why; 2 the command line is wrong;\n"
	"6 the change was made, and only what there was to say about it could not be written.\n"
	"'weir status' also: 3 something asked for is not in force; 4 not running, still enforcing;\n"
	"5 not running, not enforcing.\n";

void weir_help(FILE *out)
{
	fprintf(out, "weir %s: what this host talks to, and what it may\n\nusage: weir COMMAND [ARGUMENTS]\n\n",
		weir_version());
	for (const struct weir_cmd *const *c = weir_commands; *c; c++) {
		if (!(*c)->hidden)
			fprintf(out, "  %-16s %s\n", (*c)->name, (*c)->summary);
	}
	fprintf(out, "\n%s\n%s\nBegin: sudo weir run        then: weir COMMAND --help\n", weir_options_help, weir_exit_help);
}

void weir_help_command(FILE *out, const struct weir_cmd *c)
{
	fprintf(out, "weir %s: %s\n\nusage: weir %s%s%s\n", c->name, c->summary, c->name, *c->args ? " " : "", c->args);
	if (c->help)
		fprintf(out, "\n%s%s", c->help, c->help[strlen(c->help) - 1] == '\n' ? "" : "\n");
	fprintf(out, "\nOptions of every command: weir --help\n");
}

static bool in_group(const struct weir_cmd *c, const char *word)
{
	size_t n = strlen(word);

	return !strncmp(c->name, word, n) && c->name[n] == ' ';
}

bool weir_is_group(const char *word)
{
	const struct weir_cmd *const *c = weir_commands;

	while (*c && !in_group(*c, word))
		c++;
	return *c;
}

bool weir_help_group(FILE *out, const char *word)
{
	bool any = false;

	for (const struct weir_cmd *const *c = weir_commands; *c; c++) {
		if (!in_group(*c, word))
			continue;
		if (!any)
			fprintf(out, "usage: weir %s COMMAND\n\n", word);
		any = true;
		fprintf(out, "  weir %s%s%s\n      %s\n", (*c)->name, *(*c)->args ? " " : "", (*c)->args, (*c)->summary);
	}
	return any;
}

/* The options that a command's usage line and help name. Calls put once for each. */
static void each_option(const struct weir_cmd *c, void (*put)(const char *word, int len))
{
	const char *seen[64];
	size_t n = 0;

	for (int part = 0; part < 2; part++) {
		const char *p = part ? c->help : c->args;

		while (p && (p = strstr(p, "--"))) {
			size_t len = 2, i = 0;

			while (islower((unsigned char)p[len]) || p[len] == '-' || isdigit((unsigned char)p[len]))
				len++;
			while (i < n && (strncmp(seen[i], p, len) || islower((unsigned char)seen[i][len])))
				i++;
			if (len > 2 && i == n && n < 64) {
				seen[n++] = p;
				put(p, (int)len);
			}
			p += len;
		}
	}
}

static void put_word(const char *word, int len)
{
	printf(" %.*s", len, word);
}

static const char global_words[] = "--output --no-color --config-dir --runtime-dir --state-dir --log-dir --help";

static void complete_bash(void)
{
	puts("# bash completion for weir, made from its table of commands. Use: source <(weir completion bash)\n"
	     "_weir() {\n"
	     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words='' w key=''\n"
	     "\tfor w in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
	     "\t\t[[ $w == -* ]] || key+=\"${key:+ }$w\"\n"
	     "\tdone\n"
	     "\tcase $prev in\n"
	     "\t--output|-o) COMPREPLY=($(compgen -W 'table json' -- \"$cur\")); return;;\n"
	     "\t--*-dir) COMPREPLY=($(compgen -d -- \"$cur\")); return;;\n"
	     "\t--mode) COMPREPLY=($(compgen -W 'detect prevent' -- \"$cur\")); return;;\n"
	     "\tesac\n"
	     "\tcase $key in\n"
	     "\t'') words='");
	for (const struct weir_cmd *const *c = weir_commands; *c; c++) {
		const char *space = strchr((*c)->name, ' ');
		int len = space ? (int)(space - (*c)->name) : (int)strlen((*c)->name);
		bool again = false;

		/* a group's word once: groups stand together in the table */
		if (space && c > weir_commands && !strncmp(c[-1]->name, (*c)->name, (size_t)len))
			again = c[-1]->name[len] == ' ' || !c[-1]->name[len];
		if (!(*c)->hidden && !again)
			put_word((*c)->name, len);
	}
	puts("';;");
	for (const struct weir_cmd *const *c = weir_commands; *c; c++) {
		const char *space = strchr((*c)->name, ' ');

		if ((*c)->hidden)
			continue;
		printf("\t'%s'*) words=\"$words %s", (*c)->name, global_words);
		each_option(*c, put_word);
		printf("\";;&\n");
		if (space)
			printf("\t'%.*s') words+=' %s';;&\n", (int)(space - (*c)->name), (*c)->name, space + 1);
	}
	puts("\tesac\n"
	     "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	     "\t[[ $cur != -* && ${#COMPREPLY[@]} == 0 ]] && COMPREPLY=($(compgen -f -- \"$cur\"))\n"
	     "}\n"
	     "complete -o filenames -F _weir weir");
}

static int run_completion(const struct weir_cli *cli, int argc, char **argv)
{
	if (argc != 2 || strcmp(argv[1], "bash"))
		return weir_cli_usage(&weir_cmd_completion, "which shell? bash is the one that is known");
	complete_bash();
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_completion = {
	.name = "completion",
	.args = "bash",
	.summary = "print completion for a shell: source <(weir completion bash)",
	.help = "Commands, options and their values, made from the same table as this help.\n\n"
		"  source <(weir completion bash)",
	.run = run_completion,
};

static int run_commands(const struct weir_cli *cli, int argc, char **argv)
{
	json_t *list = json_array();

	for (const struct weir_cmd *const *c = weir_commands; *c; c++) {
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", (*c)->name, "args", (*c)->args,
						      "summary", (*c)->summary, "help", (*c)->help ? (*c)->help : "",
						      "hidden", (int)(*c)->hidden));
	}
	weir_cli_json(list);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_commands = {
	.name = "__commands",
	.args = "",
	.summary = "the table of commands as JSON",
	.run = run_commands,
	.hidden = true,
};
