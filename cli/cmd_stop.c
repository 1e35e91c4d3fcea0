/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/change.h"
#include "cli/client.h"

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	int status = weir_opts_none(&weir_cmd_stop, argc, argv);
	struct weir_conn *c;
	char left[16];
	json_t *j;

	if (status)
		return status;
	if (!weir_daemon_pid(cli) && !geteuid()) {
		weir_cli_error("weir flush removes what is still enforced; weir status shows it",
			       "weir is not running in %s", cli->runtime_dir);
		return WEIR_EXIT_FAIL;
	}
	c = weir_conn_open(cli);
	j = c ? weir_conn_ask(c, "stop", NULL) : NULL;
	if (j)
		json_decref(weir_conn_next(c)); /* the daemon hangs up when it is done */
	weir_conn_close(c);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (!weir_daemon_ended(cli)) { /* so that 'weir run' may follow at once */
		json_decref(j);
		return weir_cli_error("weir status", "weir was told to stop and has not ended in 10 s");
	}
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	if (json_object_get(j, "pending"))
		weir_cli_say("A change waits: it goes back to generation %lld in %s, also without weir; weir confirm keeps it.\n",
		       weir_int(json_object_get(j, "pending"), "back"),
		       weir_clock(weir_int(json_object_get(j, "pending"), "seconds"), left, sizeof left));
	if (weir_bool(j, "enforcing"))
		weir_cli_say("weir stopped. Generation %lld is still enforced on %lld interface%s.\n"
		       "  watch it again: %s      remove it: sudo weir flush\n",
		       weir_int(j, "generation"), weir_int(j, "interfaces"), weir_int(j, "interfaces") == 1 ? "" : "s",
		       weir_start_words(cli));
	else
		weir_cli_say("weir stopped. It was in mode detect: nothing stays in the kernel.\n  start it again: %s\n",
		       weir_start_words(cli));
	json_decref(j);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_stop = {
	.name = "stop",
	.args = "",
	.summary = "end the daemon; what is enforced stays enforced",
	.help = "In detect nothing stays in the kernel. In prevent the policy stays in force without the daemon:\n"
		"weir run takes it up again, weir flush removes it.\n\n"
		"  sudo weir stop",
	.run = run,
};
