/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/change.h"
#include "cli/client.h"
#include "cli/table.h"

static void show(const struct weir_cli *cli, const json_t *j, bool given)
{
	char rules[32], ranges[32];
	json_int_t added = weir_int(j, "added"), removed = weir_int(j, "removed");

	printf("generation %lld: %s rule%s, %s address range%s, compiled in %lld ms.", weir_int(j, "generation"),
	       weir_count((unsigned long long)weir_int(j, "rules"), rules, sizeof rules),
	       weir_int(j, "rules") == 1 ? "" : "s",
	       weir_count((unsigned long long)weir_int(j, "ranges"), ranges, sizeof ranges),
	       weir_int(j, "ranges") == 1 ? "" : "s", weir_int(j, "ms"));
	if (added || removed)
		printf(" Changes: +%lld rule%s, -%lld rule%s", added, added == 1 ? "" : "s", removed, removed == 1 ? "" : "s");
	putchar('\n');
	if (strcmp(weir_str(j, "mode"), "prevent"))
		printf("%smode detect: nothing is blocked%s\n", weir_paint_begin(WEIR_LOOK, cli->color),
		       weir_paint_end(WEIR_LOOK, cli->color));
	if (strcmp(weir_str(j, "mode"), weir_str(j, "requested")))
		printf("mode %s was asked for with 'weir mode' or --mode; the policy says %s\n", weir_str(j, "requested"),
		       weir_str(j, "mode"));
	if (!weir_bool(j, "kept") && !json_object_get(j, "pending"))
		weir_cli_say("in force until the next %s; weir apply --save %s keeps it\n",
		       strcmp(weir_str(j, "mode"), "prevent") ? "start" : "boot", given ? weir_str(j, "path") : "");
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	bool save = false, console = false;
	struct weir_change_flags f = { 0 };
	const struct weir_opt opts[] = {
		{ "--save", .flag = &save },
		WEIR_CHANGE_OPTS(&f),
		{ "--i-have-console", .flag = &console },
		{ NULL },
	};
	int n = weir_opts_parse(&weir_cmd_apply, opts, argc, argv), status;
	char path[PATH_MAX];
	json_t *args, *j;

	if (n < 0)
		return -n;
	if (n > 1)
		return weir_cli_usage(&weir_cmd_apply, "unexpected word '%s'", argv[2]);
	args = json_pack("{s:b, s:b}", "save", save, "console", console);
	status = weir_change_args(&weir_cmd_apply, cli, &f, args);
	if (status) {
		json_decref(args);
		return status;
	}
	if (n) {
		if (!realpath(argv[1], path)) {
			json_decref(args);
			return weir_cli_error(NULL, "cannot open the policy %s: %s", argv[1], strerror(errno));
		}
		json_object_set_new(args, "path", json_string(path));
	}
	j = weir_ask(cli, "apply", args);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (!cli->json)
		show(cli, j, n);
	status = weir_change_end(cli, j);
	json_decref(j);
	return status;
}

const struct weir_cmd weir_cmd_apply = {
	.name = "apply",
	.args = "[FILE] [--save] " WEIR_CHANGE_ARGS " [--i-have-console]",
	.summary = "put a policy in force, all of it or nothing",
	.help = "Without FILE: policy.yaml of the configuration directory, and the next start takes it as it is now (once it\n"
		"is confirmed). Another file, unless it is saved, is in force until the next boot or weir flush, in mode detect\n"
		"until the next start. When it has errors they are shown and the policy in force is unchanged. It is refused\n"
		"when it would cut the session that you work in, or deny you a new one from there.\n\n"
		"  --save            keep a copy: each start takes it, also after a boot\n" WEIR_CHANGE_HELP
		"  --i-have-console  allow a policy that removes a built-in failsafe entry\n\n"
		"  weir check policy.yaml && sudo weir apply policy.yaml --save\n"
		"  sudo weir apply --confirm 120s\n\n"
		"Exit status: 0 it is in force (or waits for its confirmation); 1 it is not, or it went back.",
	.run = run,
};
