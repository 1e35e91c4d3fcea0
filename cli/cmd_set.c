/* SPDX-License-Identifier: Apache-2.0 */
/* set add, remove, reset, list */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "cli/table.h"

/* Several: "3 of 5 elements are taken out of $bad; 1 was not in it, ...; the others were so already" */
static void edited_several(const json_t *j, json_int_t named)
{
	json_int_t changed = weir_int(j, "changed"), absent = weir_int(j, "absent");

	printf("%lld of %lld elements are %s $%s", (long long)(changed - absent), (long long)named,
	       weir_bool(j, "removed") ? "taken out of" : "put into", weir_str(j, "set"));
	if (absent == 1)
		printf("; 1 was not in it, and stays out though a file of it may list it later");
	else if (absent)
		printf("; %lld were not in it, and stay out though a file of it may list them later", (long long)absent);
	puts(changed == named ? "" : "; the others were so already");
}

static void edited(const json_t *j, const char *element)
{
	json_int_t named = weir_int(j, "named"); /* an element that was given twice counts once */

	if (named != 1)
		edited_several(j, named);
	else if (weir_int(j, "absent"))
		printf("%s was not in $%s, and stays out though a file of it may list it later\n", element, weir_str(j, "set"));
	else
		printf("%s is %s $%s\n", element, weir_bool(j, "removed") ? "taken out of" : "in", weir_str(j, "set"));
}

static int edit(const struct weir_cli *cli, const struct weir_cmd *c, int argc, char **argv)
{
	bool force = false;
	const struct weir_opt opts[] = { { "--force", .flag = &force }, { NULL } };
	int n = weir_opts_parse(c, opts, argc, argv);
	json_t *j, *elements;

	if (n < 0)
		return -n;
	if (n < 2)
		return weir_cli_usage(c, "a set and an element: %s office 192.0.2.7", c->name);
	elements = json_array();
	for (int i = 2; i <= n; i++)
		json_array_append_new(elements, json_string(argv[i]));
	j = weir_ask(cli, c->name, json_pack("{s:s, s:o, s:b}", "set", argv[1], "elements", elements, "force", force));
	if (!j)
		return WEIR_EXIT_FAIL;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	edited(j, argv[2]);
	json_decref(j);
	return WEIR_EXIT_OK;
}

static int run_add(const struct weir_cli *cli, int argc, char **argv)
{
	return edit(cli, &weir_cmd_set_add, argc, argv);
}

const struct weir_cmd weir_cmd_set_add = {
	.name = "set add",
	.args = "SET ADDRESS|NETWORK|RANGE... [--force]",
	.summary = "put elements into a set of the policy",
	.help = "Edits are kept over a restart, on top of what the policy file says. Several elements take force at one moment,\n"
		"or, where one of them is refused, none.\n\n"
		"  --force   although it cuts your own session, or your next one\n\n"
		"  sudo weir set add office 192.0.2.7\n"
		"  grep -v '^#' scanners.txt | sudo xargs weir set add bad",
	.run = run_add,
};

static int run_remove(const struct weir_cli *cli, int argc, char **argv)
{
	return edit(cli, &weir_cmd_set_remove, argc, argv);
}

const struct weir_cmd weir_cmd_set_remove = {
	.name = "set remove",
	.args = "SET ADDRESS|NETWORK|RANGE... [--force]",
	.summary = "take elements out of a set of the policy",
	.help = "An element of the policy file is left out of the set, as long as this edit is kept; the file stays. What was\n"
		"added by 'weir set add' and is nowhere in the file is forgotten. What the set does not hold stays out, should a\n"
		"file list it later. Several take force at one moment, or none does.\n\n"
		"  --force   although it cuts your own session, or your next one\n\n"
		"  sudo weir set remove office 192.0.2.7",
	.run = run_remove,
};

static int run_reset(const struct weir_cli *cli, int argc, char **argv)
{
	bool force = false;
	const struct weir_opt opts[] = { { "--force", .flag = &force }, { NULL } };
	int n = weir_opts_parse(&weir_cmd_set_reset, opts, argc, argv);
	json_int_t edits;
	json_t *j;

	if (n < 0)
		return -n;
	if (n < 1 || n > 2)
		return weir_cli_usage(&weir_cmd_set_reset, "a set, and at most one element: set reset office 192.0.2.7");
	j = weir_ask(cli, "set reset", json_pack("{s:s, s:s*, s:b}", "set", argv[1], "element", n > 1 ? argv[2] : NULL, "force",
						 force));
	if (!j)
		return WEIR_EXIT_FAIL;
	if (!weir_answered_json(cli, j)) {
		edits = weir_int(j, "forgotten");
		printf("%lld edit%s of $%s forgotten\n", (long long)edits, edits == 1 ? "" : "s", weir_str(j, "set"));
		json_decref(j);
	}
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_set_reset = {
	.name = "set reset",
	.args = "SET [ADDRESS|NETWORK|RANGE] [--force]",
	.summary = "forget edits of a set",
	.help = "What the policy and its files say counts again: for one element that was given to 'weir set add' or\n"
		"'weir set remove' (192.0.2.8/31 is 192.0.2.8-192.0.2.9, too), or without it for all of the set.\n\n"
		"  --force   although it cuts your own session, or your next one\n\n"
		"  sudo weir set reset office 192.0.2.7",
	.run = run_reset,
};

static void list_one(const json_t *j)
{
	const json_t *one, *set = json_array_get(json_object_get(j, "sets"), 0);
	const json_t *elements = json_object_get(set, "elements");
	char more[32];
	size_t i;

	json_array_foreach (elements, i, one)
		puts(json_string_value(one));
	if ((json_int_t)json_array_size(elements) < weir_int(set, "ranges"))
		printf("and %s more\n",
		       weir_count((unsigned long long)(weir_int(set, "ranges") - (json_int_t)json_array_size(elements)), more,
				  sizeof more));
}

static void list_all(const struct weir_cli *cli, const json_t *j)
{
	struct weir_table *t = weir_table_new("SET|>RANGES|>EDITS|>HITS");
	const json_t *one, *e, *hits;
	size_t i, k;

	json_array_foreach (json_object_get(j, "sets"), i, one) {
		size_t edits = 0;
		char n[32];

		json_array_foreach (json_object_get(j, "edits"), k, e)
			edits += !strcmp(weir_str(e, "set"), weir_str(one, "set"));
		weir_table_cell(t, WEIR_PLAIN, "$%s", weir_str(one, "set"));
		weir_table_cell(t, WEIR_PLAIN, "%s",
				weir_count((unsigned long long)weir_int(one, "ranges"), n, sizeof n));
		weir_table_cell(t, WEIR_PLAIN, "%zu", edits);
		hits = json_object_get(one, "hits");
		weir_table_cell(t, WEIR_PLAIN, "%s",
				hits ? weir_count((unsigned long long)json_integer_value(hits), n, sizeof n) : "-");
	}
	weir_table_print(t, cli->color);
}

static int run_list(const struct weir_cli *cli, int argc, char **argv)
{
	const struct weir_opt opts[] = { { NULL } };
	int n = weir_opts_parse(&weir_cmd_set_list, opts, argc, argv);
	json_t *j;

	if (n < 0)
		return -n;
	if (n > 1)
		return weir_cli_usage(&weir_cmd_set_list, "unexpected word '%s'", argv[2]);
	j = weir_ask(cli, "set list", n ? json_pack("{s:s}", "set", argv[1]) : NULL);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	if (n)
		list_one(j);
	else
		list_all(cli, j);
	json_decref(j);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_set_list = {
	.name = "set list",
	.args = "[SET]",
	.summary = "the sets in force, or what one holds",
	.help = "Without SET: how many ranges each one holds, how many edits were made at run time, and, of a blocklist, how many\n"
		"packets it stopped, or conversations it would have in mode detect. Of several that hold an address the first\n"
		"counts.\n\n"
		"  sudo weir set list office",
	.run = run_list,
};
