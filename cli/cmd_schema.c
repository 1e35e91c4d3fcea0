/* SPDX-License-Identifier: Apache-2.0 */
/* weir schema: the language for editors and other programs; --reference: for people. */
#include <stdio.h>

#include "cli/opts.h"
#include "lib/policy/policy.h"

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	bool reference = false;
	const struct weir_opt opts[] = { { "--reference", .flag = &reference }, { NULL } };
	int n = weir_opts_parse(&weir_cmd_schema, opts, argc, argv);

	if (n)
		return n < 0 ? -n : weir_cli_usage(&weir_cmd_schema, "unexpected word '%s'", argv[1]);
	if (reference)
		weir_policy_reference(stdout);
	else
		weir_policy_schema(stdout);
	return ferror(stdout) ? WEIR_EXIT_FAIL : WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_schema = {
	.name = "schema",
	.args = "[--reference]",
	.summary = "print the JSON Schema of the policy language",
	.help = "JSON Schema, draft 2020-12, made from the same table that reads policies: for editors and other "
		"programs.\n"
		"  --reference   the same as a page of Markdown\n"
		"  weir schema > policy.schema.json",
	.run = run,
};
