/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/change.h"
#include "cli/client.h"

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	struct weir_change_flags f = { 0 };
	bool console = false;
	const struct weir_opt opts[] = { WEIR_CHANGE_OPTS(&f), { "--i-have-console", .flag = &console }, { NULL } };
	int n = weir_opts_parse(&weir_cmd_rollback, opts, argc, argv), status;
	unsigned long generation = 0;
	json_t *args;
	char *end;

	if (n < 0)
		return -n;
	if (n > 1)
		return weir_cli_usage(&weir_cmd_rollback, "unexpected word '%s'", argv[2]);
	if (n) {
		errno = 0;
		generation = strtoul(argv[1], &end, 10);
		if (*argv[1] < '0' || *argv[1] > '9' || *end || errno || !generation || generation > UINT32_MAX)
			return weir_cli_usage(&weir_cmd_rollback, "'%s' is no number of a generation: weir history", argv[1]);
	}
	args = json_pack("{s:b}", "console", console);
	if (generation)
		json_object_set_new(args, "generation", json_integer((json_int_t)generation));
	status = weir_change_args(&weir_cmd_rollback, cli, &f, args);
	if (status) {
		json_decref(args);
		return status;
	}
	if (!generation)
		return weir_take_back(cli, args);
	/* only a daemon can make a policy of a number */
	if (!weir_daemon_pid(cli) && !geteuid()) {
		json_decref(args);
		return weir_cli_error("start it: sudo weir run", "weir is not running in %s: nobody reads its history",
				      cli->runtime_dir);
	}
	return weir_take_back(cli, args);
}

const struct weir_cmd weir_cmd_rollback = {
	.name = "rollback",
	.args = "[GENERATION] " WEIR_CHANGE_ARGS " [--i-have-console]",
	.summary = "go back: a change that waits at once, else to an earlier policy",
	.help = "A change that waits for its confirmation is taken back at once; root can do that with weir dead or hanging.\n"
		"When none waits, the policy that was in force before, or that of GENERATION (weir history), is applied anew:\n"
		"with the same checks as weir apply. A policy is refused when a file that it includes, or takes addresses\n"
		"from, has changed since.\n\n" WEIR_CHANGE_HELP
		"  --i-have-console  allow a policy that removes a built-in failsafe entry\n\n"
		"  sudo weir rollback\n"
		"  sudo weir rollback 7 --confirm 120s",
	.run = run,
};
