/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/change.h"

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	int status = weir_opts_none(&weir_cmd_confirm, argc, argv);

	return status ? status : weir_confirm(cli);
}

const struct weir_cmd weir_cmd_confirm = {
	.name = "confirm",
	.args = "",
	.summary = "keep a change that would go back by itself",
	.help = "After weir apply --confirm. It says whether somebody could log in anew since the change: the session that\n"
		"you are in proves little. Root may confirm with weir dead or hanging, too.\n\n"
		"  sudo weir confirm",
	.run = run,
};
