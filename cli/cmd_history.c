/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <time.h>

#include "cli/change.h"
#include "cli/client.h"
#include "cli/table.h"

static void row(struct weir_table *t, const json_t *g, json_int_t in_force)
{
	time_t when = (time_t)weir_int(g, "time");
	const char *via = weir_str(g, "via");
	bool now = weir_int(g, "generation") == in_force;
	char text[32];
	struct tm tm;

	localtime_r(&when, &tm);
	strftime(text, sizeof text, "%F %T", &tm);
	weir_table_cell(t, now ? WEIR_BOLD : WEIR_PLAIN, "%lld", weir_int(g, "generation"));
	weir_table_cell(t, WEIR_PLAIN, "%s", text);
	weir_table_cell(t, WEIR_PLAIN, "%s%s%s", weir_str(g, "user"), *via ? ", " : "", via);
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(g, "mode"));
	weir_table_cell(t, WEIR_PLAIN, "%lld", weir_int(g, "rules"));
	weir_table_cell(t, WEIR_PLAIN, "%.8s", weir_str(g, "sha256"));
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(g, "path"));
	weir_table_cell(t, now ? WEIR_BOLD : WEIR_PLAIN, "%s%s", weir_str(g, "state"), weir_bool(g, "kept") ? "" : " (not kept)");
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	int status = weir_opts_none(&weir_cmd_history, argc, argv);
	struct weir_table *t;
	const json_t *one;
	size_t i;
	json_t *j;

	if (status)
		return status;
	j = weir_ask(cli, "history", NULL);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	t = weir_table_new(">GENERATION|SINCE|BY|MODE|>RULES|SHA256|POLICY|STATE");
	json_array_foreach (json_object_get(j, "generations"), i, one)
		row(t, one, weir_int(j, "in_force"));
	weir_table_print(t, cli->color);
	json_decref(j);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_history = {
	.name = "history",
	.args = "",
	.summary = "the policies that were in force, who put them there, and how they ended",
	.help = "The newest first; the last 32 are listed, the last 16 are kept for weir rollback. Numbers are never used\n"
		"twice. Every change of the policy or the mode is one; edits of rules, sets and bans are not.\n\n"
		"  sudo weir history",
	.run = run,
};
