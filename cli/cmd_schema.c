/* SPDX-License-Identifier: Apache-2.0 */
/* weir schema: the language for editors and other programs; --reference: for people. */
#include <string.h>

#include "cli/cmd.h"
#include "lib/policy/policy.h"

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	if (argc == 1)
		weir_policy_schema(stdout);
	else if (argc == 2 && !strcmp(argv[1], "--reference"))
		weir_policy_reference(stdout);
	else
		return weir_cli_usage(&weir_cmd_schema, "unknown option '%s'", argv[1]);
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
