/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/opts.h"
#include "daemon/run.h"
#include "lib/policy/policy.h"

static int no_failure(const char *bad)
{
	const char *names[WEIR_FAILURE_COUNT + 1] = { NULL }, *near;

	for (uint32_t i = 0; i < WEIR_FAILURE_COUNT; i++)
		names[i] = weir_failure_name(i);
	near = weir_nearest(bad, names);
	return weir_cli_usage(&weir_cmd_run, near ? "unknown failure '%s'; did you mean '%s'?" : "unknown failure '%s'", bad,
			      near);
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	const char *policy = NULL, *mode = NULL, *simulate = NULL, *interfaces[WEIR_OPT_LIST_MAX + 1] = { NULL };
	bool no_live = false, boot = false;
	const struct weir_opt opts[] = {
		{ "--policy", .value = &policy },
		{ "--mode", .value = &mode },
		{ "--interface", .list = interfaces },
		{ "--no-live", .flag = &no_live },
		{ "--boot", .flag = &boot },
		{ "--simulate", .value = &simulate },
		{ NULL },
	};
	int n = weir_opts_parse(&weir_cmd_run, opts, argc, argv);
	struct weir_run_options o = { .config_dir = cli->config_dir, .runtime_dir = cli->runtime_dir,
				      .state_dir = cli->state_dir, .log_dir = cli->log_dir, .given = cli->given, .color = cli->color };
	char path[PATH_MAX], bad[32];

	if (n < 0)
		return -n;
	if (n)
		return weir_cli_usage(&weir_cmd_run, "unexpected word '%s'", argv[1]);
	if (mode && strcmp(mode, "detect") && strcmp(mode, "prevent"))
		return weir_cli_usage(&weir_cmd_run, "unknown mode '%s' (detect, prevent)", mode);
	if (simulate && weir_failures_parse(simulate, &o.simulate, bad, sizeof bad))
		return no_failure(bad);
	if (geteuid())
		return weir_cli_error("sudo weir run", "weir needs root to watch the network");
	if (policy && !realpath(policy, path))
		return weir_cli_error("weir init writes one", "cannot open the policy %s: %m", policy);
	o.policy = policy ? path : NULL;
	o.has_mode = mode;
	o.mode = mode && !strcmp(mode, "prevent") ? WEIR_PREVENT : WEIR_DETECT;
	o.interfaces = interfaces[0] ? interfaces : NULL;
	o.boot = boot;
	o.live = !no_live && !boot;
	return weir_run(&o);
}

const struct weir_cmd weir_cmd_run = {
	.name = "run",
	.args = "[--policy FILE] [--mode detect|prevent] [--interface NAME]... [--no-live] [--boot] [--simulate NAME,...]",
	.summary = "start weir here and show what this host talks to",
	.help = "Without --policy: what is still enforced, also when it was not saved (weir stop, a crash); else the policy\n"
		"that was confirmed last, else policy.yaml of the configuration directory, else a built-in one that only\n"
		"watches.\n\n"
		"  --policy FILE     this policy\n"
		"  --mode MODE       a ceiling: detect softens a policy that says prevent; prevent raises nothing\n"
		"  --interface NAME  cover only this one; may be repeated and may be a glob: 'eth*'\n"
		"  --no-live         no picture of the traffic\n"
		"  --boot            the start of the system (weir.service): where the policy that was confirmed last\n"
		"                    enforces a default of drop, no interface passes IP packets until it is in force, also\n"
		"                    when this start fails; weir=off on the kernel command line starts nothing. No picture\n"
		"  --simulate NAMES  behave as if these parts of weir had failed, for tests and drills: daemon_dead,\n"
		"                    no_policy, flow_table_full, fragment_lost, ring_full, audit_full, hook_missing,\n"
		"                    unparsable; what happens then says failures: in the policy\n\n"
		"Ctrl-C in detect leaves no trace. In prevent the policy stays in force without the daemon;\n"
		"weir flush removes it.\n\n"
		"  sudo weir run --policy policy.yaml --interface 'eth*'",
	.run = run,
};
