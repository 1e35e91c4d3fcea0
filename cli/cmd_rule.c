/* SPDX-License-Identifier: Apache-2.0 */
/* rule list, delete, clear, export */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "cli/table.h"

static enum weir_paint paint_of(const char *action, const char *mode)
{
	if (strcmp(action, "drop") && strcmp(action, "reject"))
		return WEIR_PLAIN;
	return strcmp(mode, "prevent") ? WEIR_LOOK : WEIR_STOPPED;
}

static void list_row(struct weir_table *t, const json_t *r)
{
	json_int_t id = weir_int(r, "id"), expires = weir_int(r, "expires"), now = (json_int_t)time(NULL);
	char hits[32], span[32];

	if (id)
		weir_table_cell(t, WEIR_PLAIN, "%lld", id);
	else
		weir_table_cell(t, WEIR_DIM, "%s", weir_str(r, "place"));
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(r, "name"));
	weir_table_cell(t, paint_of(weir_str(r, "action"), weir_str(r, "mode")), "%s", weir_str(r, "action"));
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(r, "mode"));
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(r, "match"));
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_count((unsigned long long)weir_int(r, "hits"), hits, sizeof hits));
	weir_table_cell(t, WEIR_PLAIN, "%s", expires ? weir_span((unsigned long long)(expires > now ? expires - now : 0),
								 span, sizeof span) : "");
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(r, "why"));
}

/* What decides beside the rules: `what` it is, and what it stops. */
static void list_other(struct weir_table *t, const json_t *o, const char *what, const char *name, const char *match)
{
	char hits[32];

	weir_table_cell(t, WEIR_DIM, "-");
	weir_table_cell(t, WEIR_PLAIN, "%s%s", what, name);
	weir_table_cell(t, paint_of(weir_str(o, "action"), weir_str(o, "mode")), "%s", weir_str(o, "action"));
	weir_table_cell(t, WEIR_PLAIN, "%s", strcmp(weir_str(o, "action"), "allow") ? weir_str(o, "mode") : "");
	weir_table_cell(t, WEIR_DIM, "%s", match);
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_count((unsigned long long)weir_int(o, "hits"), hits, sizeof hits));
	weir_table_cell(t, WEIR_PLAIN, "%s", "");
	weir_table_cell(t, WEIR_PLAIN, "%s", "");
}

static int run_list(const struct weir_cli *cli, int argc, char **argv)
{
	int r = weir_opts_none(&weir_cmd_rule_list, argc, argv);
	const json_t *one;
	struct weir_table *t;
	size_t i;
	json_t *j;

	if (r)
		return r;
	j = weir_ask(cli, "rule list", NULL);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	t = weir_table_new("ID|NAME|ACTION|MODE|MATCH|>HITS|EXPIRES|WHY");
	json_array_foreach (json_object_get(j, "rules"), i, one)
		list_row(t, one);
	json_array_foreach (json_object_get(j, "defaults"), i, one)
		list_other(t, one, "default ", weir_str(one, "direction"), "what no rule takes");
	json_array_foreach (json_object_get(j, "limits"), i, one)
		list_other(t, one, "limit ", weir_str(one, "name"), "what comes in above it");
	json_array_foreach (json_object_get(j, "blocklists"), i, one)
		list_other(t, one, *weir_str(one, "set") ? "blocklist $" : "the other blocklists", weir_str(one, "set"), "whom it holds");
	weir_table_print(t, cli->color);
	json_decref(j);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_rule_list = {
	.name = "rule list",
	.args = "",
	.summary = "all rules in the order of evaluation, the defaults, limits and blocklists, and how often each decided",
	.help = "Added rules have an id; rules of the file show where they stand. HITS are the packets that a rule decided, or\n"
		"would decide where it is staged (MODE detect): of a conversation the first, and all that are stopped.\n\n"
		"  sudo weir rule list",
	.run = run_list,
};

static int run_delete(const struct weir_cli *cli, int argc, char **argv)
{
	const char *id = NULL;
	bool force = false;
	const struct weir_opt opts[] = { { "--id", .value = &id }, { "--force", .flag = &force }, { NULL } };
	int n = weir_opts_parse(&weir_cmd_rule_delete, opts, argc, argv);
	json_t *j;

	if (n < 0)
		return -n;
	if (!id && n == 1)
		id = argv[1];
	else if (!id || n)
		return weir_cli_usage(&weir_cmd_rule_delete, "which rule? one id");
	j = weir_ask(cli, "rule delete", json_pack("{s:s, s:b}", "id", id, "force", force));
	if (!j)
		return WEIR_EXIT_FAIL;
	if (!weir_answered_json(cli, j)) {
		printf("rule %lld is deleted\n", weir_int(j, "id"));
		json_decref(j);
	}
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_rule_delete = {
	.name = "rule delete",
	.args = "--id ID | ID [--force]",
	.summary = "delete an added rule",
	.help = "  weir rule delete --id 42\n\n"
		"  --force   although it cuts your own session, or your next one\n\n"
		"Rules of the policy file are edited there; weir never writes into it.",
	.run = run_delete,
};

static int run_clear(const struct weir_cli *cli, int argc, char **argv)
{
	bool force = false;
	const struct weir_opt opts[] = { { "--force", .flag = &force }, { NULL } };
	int n = weir_opts_parse(&weir_cmd_rule_clear, opts, argc, argv);
	json_t *j;

	if (n)
		return n < 0 ? -n : weir_cli_usage(&weir_cmd_rule_clear, "unexpected word '%s'", argv[1]);
	j = weir_ask(cli, "rule clear", json_pack("{s:b}", "force", force));
	if (!j)
		return WEIR_EXIT_FAIL;
	if (!weir_answered_json(cli, j)) {
		printf("%lld added rule%s removed; the policy file's rules stay\n", weir_int(j, "removed"),
		       weir_int(j, "removed") == 1 ? "" : "s");
		json_decref(j);
	}
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_rule_clear = {
	.name = "rule clear",
	.args = "[--force]",
	.summary = "delete all added rules",
	.help = "The rules of the policy file stay. weir rule export shows what would be lost.\n\n"
		"  --force   although it cuts your own session, or your next one\n\n"
		"  sudo weir rule clear",
	.run = run_clear,
};

static int run_export(const struct weir_cli *cli, int argc, char **argv)
{
	int r = weir_opts_none(&weir_cmd_rule_export, argc, argv);
	json_t *j;

	if (r)
		return r;
	j = weir_ask(cli, "rule export", NULL);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (!weir_answered_json(cli, j)) {
		fputs(weir_str(j, "yaml"), stdout);
		json_decref(j);
	}
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_rule_export = {
	.name = "rule export",
	.args = "",
	.summary = "the added rules as YAML, to be moved into the policy file",
	.help = "Changes nothing: weir rule clear takes them out of force when they stand in the file.\n\n"
		"  sudo weir rule export > added.yaml",
	.run = run_export,
};
