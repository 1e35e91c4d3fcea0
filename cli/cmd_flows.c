/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "cli/table.h"
#include "lib/event/event.h"

static void row(struct weir_table *t, const json_t *f)
{
	bool in = !strcmp(weir_str(f, "direction"), "inbound");
	const char *name = weir_str(f, "name"), *verdict = weir_str(f, "verdict"), *would = weir_str(f, "would_be");
	enum weir_paint paint = strcmp(verdict, "pass") ? WEIR_STOPPED : strcmp(would, "pass") ? WEIR_LOOK : WEIR_PLAIN;
	char src[320], dst[320], sent[16], received[16], age[32];

	weir_end_put(weir_str(f, "src"), weir_int(f, "sport"), in ? name : "", src, sizeof src);
	weir_end_put(weir_str(f, "dst"), weir_int(f, "dport"), in ? "" : name, dst, sizeof dst);
	weir_table_cell(t, WEIR_PLAIN, "%s%s", *weir_str(f, "program") ? "~" : "", weir_str(f, "program"));
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(f, "unit"));
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(f, "direction"));
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(f, "protocol"));
	weir_table_cell(t, WEIR_PLAIN, "%s", src);
	weir_table_cell(t, WEIR_PLAIN, "%s", dst);
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_bytes_text((uint64_t)weir_int(f, "sent"), sent));
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_bytes_text((uint64_t)weir_int(f, "received"), received));
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_span((unsigned long long)weir_int(f, "age_s"), age, sizeof age));
	weir_table_cell(t, paint, "%s%s", strcmp(verdict, would) ? "would be " : "", would);
	weir_table_cell(t, WEIR_PLAIN, "%s%s%s%s%s", weir_str(f, "rule"), *weir_str(f, "bound") ? " (" : "",
			weir_str(f, "bound"), *weir_str(f, "bound") ? ")" : "", weir_bool(f, "half_open") ? " (half open)" : "");
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	bool all = false;
	const struct weir_opt opts[] = { { "--all", .flag = &all }, { NULL } };
	int n = weir_opts_parse(&weir_cmd_flows, opts, argc, argv);
	const json_t *one, *flows;
	struct weir_table *t;
	json_int_t total;
	size_t i;
	json_t *j;

	if (n < 0)
		return -n;
	if (n)
		return weir_cli_usage(&weir_cmd_flows, "unexpected word '%s'", argv[1]);
	j = weir_ask(cli, "flows", json_pack("{s:b}", "all", all));
	if (!j)
		return WEIR_EXIT_FAIL;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	flows = json_object_get(j, "flows");
	total = weir_int(j, "total");
	t = weir_table_new("PROGRAM|UNIT|DIRECTION|PROTO|FROM|TO|>SENT|>RECEIVED|>AGE|VERDICT|RULE");
	json_array_foreach (flows, i, one)
		row(t, one);
	weir_table_print(t, cli->color);
	if (total > (json_int_t)i)
		printf("and %lld more\n", total - (json_int_t)i);
	json_decref(j);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_flows = {
	.name = "flows",
	.args = "[--all]",
	.summary = "the conversations that are known now",
	.help = "Programs are marked ~: they are looked up from outside, not told by the kernel with the packet.\n\n"
		"  --all  also those that only one side has spoken in\n\n"
		"  sudo weir flows --all",
	.run = run,
};
