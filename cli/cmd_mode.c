/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/change.h"
#include "cli/client.h"

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	struct weir_change_flags f = { 0 };
	const struct weir_opt opts[] = { WEIR_CHANGE_OPTS(&f), { NULL } };
	int n = weir_opts_parse(&weir_cmd_mode, opts, argc, argv), status, ended;
	json_t *j, *args = NULL;

	if (n < 0)
		return -n;
	if (n > 1 || (n && strcmp(argv[1], "detect") && strcmp(argv[1], "prevent")))
		return weir_cli_usage(&weir_cmd_mode, "unknown mode '%s' (detect, prevent)", argv[n > 1 ? 2 : 1]);
	if (n) {
		args = json_pack("{s:s}", "mode", argv[1]);
		status = weir_change_args(&weir_cmd_mode, cli, &f, args);
		if (status) {
			json_decref(args);
			return status;
		}
	}
	j = weir_ask(cli, n ? "mode" : "mode show", args);
	if (!j)
		return WEIR_EXIT_FAIL;
	status = strcmp(weir_str(j, "mode"), weir_str(j, "requested")) ? WEIR_EXIT_PARTIAL : WEIR_EXIT_OK;
	if (weir_answered_json(cli, j))
		return status;
	printf("requested %s, effective %s\n", weir_str(j, "requested"), weir_str(j, "mode"));
	if (status)
		weir_cli_say("the policy says mode: %s (%s); the softest counts. Change it there, then: weir apply\n",
		       weir_str(j, "policy_mode"), weir_str(j, "path"));
	else if (n)
		printf("generation %lld\n", weir_int(j, "generation"));
	ended = weir_change_end(cli, j);
	json_decref(j);
	return ended ? ended : status;
}

const struct weir_cmd weir_cmd_mode = {
	.name = "mode",
	.args = "[detect|prevent] " WEIR_CHANGE_ARGS,
	.summary = "show or set whether weir only watches or also blocks",
	.help = "The mode is a ceiling: the softest of this, the policy, the group and the rule counts. It is kept over a\n"
		"restart. Exit status 3 when the policy is softer than what was asked for.\n\n" WEIR_CHANGE_HELP "\n"
		"  sudo weir mode prevent",
	.run = run,
};
