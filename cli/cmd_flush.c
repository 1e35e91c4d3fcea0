/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "daemon/rundir.h"
#include "lib/kern/kern.h"

/* The daemon removes what it holds. Returns 1 when it did, 0 when there is none, -1 after a message. */
static int end_daemon(const struct weir_cli *cli)
{
	struct weir_conn *c;
	json_t *j;

	if (!weir_daemon_pid(cli))
		return 0;
	c = weir_conn_open(cli);
	j = c ? weir_conn_ask(c, "flush", NULL) : NULL;
	if (j)
		json_decref(weir_conn_next(c)); /* it hangs up first ... */
	weir_conn_close(c);
	json_decref(j);
	if (!j)
		return -1;
	weir_daemon_ended(cli); /* ... and lets go of its lock when it is done */
	return 1;
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	int status = weir_opts_none(&weir_cmd_flush, argc, argv), ended, files, r;
	char report[1024] = "";

	if (status)
		return status;
	if (geteuid())
		return weir_cli_error("sudo weir flush", "weir needs root to remove its programs");
	ended = end_daemon(cli);
	if (ended < 0)
		return WEIR_EXIT_FAIL;
	if (weir_daemon_pid(cli))
		return weir_cli_error("weir status", "the daemon (pid %d) did not end in 10 s", weir_daemon_pid(cli));
	r = weir_kern_flush(cli->runtime_dir, report, sizeof report); /* also after a daemon: whatever it left */
	if (r < 0)
		return weir_cli_error(NULL, "cannot remove everything: %s", report[0] ? report : strerror(-r));
	if (!strcmp(report, "nothing was attached"))
		report[0] = 0;
	files = weir_rundir_clear(cli->runtime_dir);
	if (ended || report[0] || files)
		weir_cli_changed();
	if (cli->json) {
		weir_cli_json(json_pack("{s:b, s:s, s:i}", "daemon_ended", ended, "removed", report, "files", files));
		return WEIR_EXIT_OK;
	}
	if (!ended && !report[0] && !files)
		weir_cli_say("nothing of weir was in force in %s\n", cli->runtime_dir);
	else
		weir_cli_say("removed: %s%s%s\n  nothing is enforced any more. start again: %s\n",
			     ended ? "the daemon and all that it held" : "", ended && report[0] ? ", " : "",
			     report[0] ? report
			     : ended   ? ""
				       : "the runtime directory",
			     weir_start_words(cli));
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_flush = {
	.name = "flush",
	.args = "",
	.summary = "end weir and remove everything that it put into the kernel",
	.help = "Works with the daemon dead, too. The policy files, the state directory and audit.log stay.\n\n"
		"  sudo weir flush",
	.run = run,
};
