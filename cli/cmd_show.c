/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/client.h"
#include "cli/opts.h"

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	int status = weir_opts_none(&weir_cmd_show_effective, argc, argv);
	json_t *j;

	if (status)
		return status;
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
	.help = "Failsafe entries that weir adds stand there with their reason. The page is a policy itself: weir check.\n\n"
		"  sudo weir show effective > effective.yaml",
	.run = run,
};
