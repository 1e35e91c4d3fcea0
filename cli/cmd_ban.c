/* SPDX-License-Identifier: Apache-2.0 */
/* ban add, list, remove */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "cli/table.h"

static int run_add(const struct weir_cli *cli, int argc, char **argv)
{
	const char *span = NULL, *why = NULL;
	bool force = false;
	const struct weir_opt opts[] = {
		{ "--for", .value = &span }, { "--why", .value = &why }, { "--force", .flag = &force }, { NULL },
	};
	int n = weir_opts_parse(&weir_cmd_ban_add, opts, argc, argv);
	uint64_t seconds = 0;
	json_t *args, *j;

	if (n < 0)
		return -n;
	if (n != 1)
		return n ? weir_cli_usage(&weir_cmd_ban_add, "one address at a time, not '%s' too", argv[2]) :
			   weir_cli_usage(&weir_cmd_ban_add, "which address?");
	if (span && weir_seconds_parse(span, &seconds))
		return weir_cli_usage(&weir_cmd_ban_add, "--for %s is no time (90s, 5m, 1h, 2d)", span);
	args = json_pack("{s:s, s:I, s:b}", "address", argv[1], "for", (json_int_t)seconds, "force", force);
	if (args && why)
		json_object_set_new(args, "why", json_string(why));
	j = weir_ask(cli, "ban add", args);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	if (weir_bool(j, "blocking"))
		printf("%s is banned%s%s%s\n", weir_str(j, "address"), span ? " for " : "", span ? span : "",
		       span && !span[strspn(span, "0123456789")] ? " s" : "");
	else
		printf("%s: %srecorded, NOT blocking%s (mode detect)\n", weir_str(j, "address"),
		       weir_paint_begin(WEIR_LOOK, cli->color), weir_paint_end(WEIR_LOOK, cli->color));
	if (weir_bool(j, "replaced"))
		puts("  it was banned before: its end and its reason are those of now");
	weir_cli_say("  undo: weir ban remove %s\n", weir_str(j, "address"));
	json_decref(j);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_ban_add = {
	.name = "ban add",
	.args = "ADDRESS|NETWORK [--for 1h] [--why TEXT] [--force]",
	.summary = "drop everything to and from an address, before any rule",
	.help = "Bans are kept over a restart. This host's own addresses and everybody (0.0.0.0/0, ::/0) are refused.\n"
		"Failsafe access stands before bans: weir show effective.\n\n"
		"  --for 1h     ends by itself (s, m, h, d)\n"
		"  --why TEXT   your reason\n"
		"  --force      although it cuts your own session, or your next one\n\n"
		"  sudo weir ban add 192.0.2.0/24 --for 1h --why 'password guessing'",
	.run = run_add,
};

static int run_list(const struct weir_cli *cli, int argc, char **argv)
{
	int status = weir_opts_none(&weir_cmd_ban_list, argc, argv);
	json_int_t now = (json_int_t)time(NULL);
	struct weir_table *t;
	const json_t *one;
	size_t i;
	json_t *j;

	if (status)
		return status;
	j = weir_ask(cli, "ban list", NULL);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	t = weir_table_new("ID|ADDRESS|EXPIRES|WHY");
	json_array_foreach (json_object_get(j, "bans"), i, one) {
		json_int_t expires = weir_int(one, "expires");
		char span[32];

		char id[24];

		snprintf(id, sizeof id, "%lld", weir_int(one, "id"));
		weir_table_cell(t, WEIR_PLAIN, "%s", weir_bool(one, "by_rule") ? "" : id);
		weir_table_cell(t, weir_bool(j, "blocking") ? WEIR_STOPPED : WEIR_LOOK, "%s", weir_str(one, "address"));
		weir_table_cell(t, WEIR_PLAIN, "%s",
				expires ? weir_span((unsigned long long)(expires > now ? expires - now : 0), span,
						    sizeof span) : "never");
		weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "why"));
	}
	weir_table_print(t, cli->color);
	if (i && !weir_bool(j, "blocking"))
		puts("\nmode detect: bans are recorded, NOT blocking");
	json_decref(j);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_ban_list = {
	.name = "ban list",
	.args = "",
	.summary = "the banned addresses",
	.help = "What ends by itself shows when; bans that a rule or a limit made have no ID, and name it.\n"
		"In mode detect bans are recorded and do not block.\n\n"
		"  sudo weir ban list",
	.run = run_list,
};

static int run_remove(const struct weir_cli *cli, int argc, char **argv)
{
	const struct weir_opt opts[] = { { NULL } };
	int n = weir_opts_parse(&weir_cmd_ban_remove, opts, argc, argv);
	json_t *j;

	if (n < 0)
		return -n;
	if (n != 1)
		return weir_cli_usage(&weir_cmd_ban_remove, "which address? one of weir ban list");
	j = weir_ask(cli, "ban remove", json_pack("{s:s}", "address", argv[1]));
	if (!j)
		return WEIR_EXIT_FAIL;
	if (!weir_answered_json(cli, j)) {
		if (*weir_str(j, "covered_by"))
			weir_cli_say("the ban of %s is lifted; %s still covers it: weir ban remove %s\n", weir_str(j, "address"),
			       weir_str(j, "covered_by"), weir_str(j, "covered_by"));
		else
			printf("%s is not banned any more\n", weir_str(j, "address"));
		json_decref(j);
	}
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_ban_remove = {
	.name = "ban remove",
	.args = "ADDRESS|NETWORK",
	.summary = "lift a ban",
	.help = "Takes the address or network as it was banned, not one inside of it; names what still covers it.\n\n"
		"  sudo weir ban remove 192.0.2.0/24",
	.run = run_remove,
};
