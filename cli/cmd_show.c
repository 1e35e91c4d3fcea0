/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/client.h"
#include "cli/opts.h"

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	const struct weir_opt opts[] = { { NULL } };
	int n = weir_opts_parse(&weir_cmd_show_effective, opts, argc, argv);
	json_t *j;

	if (n < 0)
		return -n;
	if (n)
		return weir_cli_usage(&weir_cmd_show_effective, "unexpected word '%s'", argv[1]);
	j = weir_ask(cli, "show effective", NULL);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	fputs(weir_str(j, "yaml"), stdout);
	json_decref(j);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_show_effective = {
	.name = "show effective",
	.args = "",
	.summary = "the policy in force with everything that weir added, as YAML",
	.run = run,
};
