/* SPDX-License-Identifier: Apache-2.0 */
/* weir lint: rules that do nothing. A finding is no error of the language, so check accepts it. */
#include "cli/opts.h"
#include "cli/policy_file.h"

static void show(const char *path, const struct weir_diags *d)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct weir_diag *x = &d->v[i];

		if (x->line)
			weir_cli_say("%s:%u:%u: %s\n", x->file, x->line, x->col, x->message);
		else
			weir_cli_say("%s: %s\n", x->file ? x->file : "policy", x->message);
	}
	if (d->n)
		printf("%zu finding%s.\n", d->n + d->dropped, d->n + d->dropped == 1 ? "" : "s");
	else
		weir_cli_say("%s: nothing found.\n", path);
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	_cleanup_policy_file_ struct weir_policy_file f = { 0 };
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT };
	struct weir_diags findings = { 0 };
	const struct weir_opt opts[] = { { NULL } };
	int n = weir_opts_parse(&weir_cmd_lint, opts, argc, argv), status;

	if (n < 0)
		return -n;
	if (n != 1)
		return n ? weir_cli_usage(&weir_cmd_lint, "one file at a time, not '%s' too", argv[2])
			 : weir_cli_usage(&weir_cmd_lint, "which file?");
	weir_policy_file_open(&f, argv[1]);
	if (!f.blob) {
		if (cli->json)
			weir_cli_json(weir_policy_file_json(&f));
		else
			weir_policy_file_complain(&f, cli);
		return WEIR_EXIT_FAIL;
	}
	n = weir_policy_lint(f.policy, &o, &findings);
	status = n ? WEIR_EXIT_FAIL : WEIR_EXIT_OK;
	if (n < 0)
		status = weir_cli_error(NULL, "out of memory");
	else if (cli->json)
		weir_cli_json(json_pack("{s:o, s:i, s:o}", "file", weir_cli_text(argv[1]), "findings", n, "messages",
					weir_diags_json(&findings)));
	else
		show(argv[1], &findings);
	weir_diags_free(&findings);
	return status;
}

const struct weir_cmd weir_cmd_lint = {
	.name = "lint",
	.args = "FILE",
	.summary = "find rules of a policy that can match nothing or change nothing",
	.help = "Finds rules that others in front of them take all of, an allow where the default allows the same,\n"
		"and sets that are empty or never named. Exit status 0: nothing found. 1: something was.\n"
		"Where very many rules lie over each other it stops looking, and says at which rule.\n"
		"  weir lint policy.yaml",
	.run = run,
};
