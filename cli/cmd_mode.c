/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/opts.h"

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	const struct weir_opt opts[] = { { NULL } };
	int n = weir_opts_parse(&weir_cmd_mode, opts, argc, argv), status = WEIR_EXIT_OK;
	json_t *j;

	if (n < 0)
		return -n;
	if (n > 1 || (n && strcmp(argv[1], "detect") && strcmp(argv[1], "prevent")))
		return weir_cli_usage(&weir_cmd_mode, "unknown mode '%s' (detect, prevent)", argv[n > 1 ? 2 : 1]);
	j = n ? weir_ask(cli, "mode", json_pack("{s:s}", "mode", argv[1])) : weir_ask(cli, "mode show", NULL);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (strcmp(weir_str(j, "mode"), weir_str(j, "requested")))
		status = WEIR_EXIT_PARTIAL;
	if (weir_answered_json(cli, j))
		return status;
	printf("requested %s, effective %s\n", weir_str(j, "requested"), weir_str(j, "mode"));
	if (status)
		printf("the policy says mode: %s (%s); the softest counts. Change it there, then: weir apply\n",
		       weir_str(j, "policy_mode"), weir_str(j, "path"));
	else if (n)
		printf("generation %lld\n", weir_int(j, "generation"));
	json_decref(j);
	return status;
}

const struct weir_cmd weir_cmd_mode = {
	.name = "mode",
	.args = "[detect|prevent]",
	.summary = "show or set whether weir only watches or also blocks",
	.help = "The mode is a ceiling: the softest of this, the policy, the group and the rule counts. It is kept over a\n"
		"restart. Exit status 3 when the policy is softer than what was asked for.\n\n"
		"  sudo weir mode prevent",
	.run = run,
};
