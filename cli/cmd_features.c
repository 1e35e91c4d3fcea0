/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "cli/table.h"

static void show_programs(const struct weir_cli *cli, const json_t *list)
{
	struct weir_table *t = weir_table_new("PROGRAM|>ID|>INSTRUCTIONS|>VERIFIED|>JITED BYTES|>ATTACHED");
	const json_t *one;
	size_t i;

	json_array_foreach (list, i, one) {
		static const char *const keys[] = { "id", "instructions", "verified", "jited_bytes", "attached" };
		char n[32];

		weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "name"));
		for (int k = 0; k < 5; k++)
			weir_table_cell(t, WEIR_PLAIN, "%s",
					weir_count((unsigned long long)weir_int(one, keys[k]), n, sizeof n));
	}
	weir_table_print(t, cli->color);
}

/* The maps that matter, and the sum. */
static void show_memory(const struct weir_cli *cli, const json_t *memory)
{
	struct weir_table *t = weir_table_new("MEMORY OF THE KERNEL|>ENTRIES|>BYTES EACH|>BYTES|FOR");
	const json_t *one;
	char n[32];
	size_t i;

	json_array_foreach (json_object_get(memory, "maps"), i, one) {
		static const char *const keys[] = { "entries", "each", "bytes" };

		if (weir_int(one, "bytes") < 1 << 18)
			continue;
		weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "what"));
		for (int k = 0; k < 3; k++)
			weir_table_cell(t, WEIR_PLAIN, "%s",
					weir_count((unsigned long long)weir_int(one, keys[k]), n, sizeof n));
		weir_table_cell(t, WEIR_DIM, "%s", weir_bool(one, "shared") ? "all images" : "this image");
	}
	weir_table_print(t, cli->color);
	printf("\nmaps take %lld MB, with a change beside what is in force %lld MB; at most %lld MB "
	       "(performance.max_memory_mb)\n",
	       (weir_int(memory, "image") + weir_int(memory, "shared") + 999999) / 1000000,
	       (weir_int(memory, "most") + 999999) / 1000000, weir_int(memory, "limit") / 1000000);
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	int status = weir_opts_none(&weir_cmd_features, argc, argv);
	struct weir_table *t;
	const json_t *one;
	size_t i;
	json_t *j;

	if (status)
		return status;
	j = weir_ask(cli, "features", NULL);
	if (!j)
		return WEIR_EXIT_FAIL;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	t = weir_table_new("KERNEL FEATURE|HERE|WHY");
	json_array_foreach (json_object_get(j, "kernel"), i, one) {
		weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "name"));
		weir_table_cell(t, weir_bool(one, "have") ? WEIR_PLAIN : WEIR_LOOK, "%s",
				weir_bool(one, "have") ? "yes" : "no");
		weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "why"));
	}
	weir_table_print(t, cli->color);
	putchar('\n');
	show_programs(cli, json_object_get(j, "programs"));
	putchar('\n');
	show_memory(cli, json_object_get(j, "memory"));
	fputs("\nfolded away, since the policy does not use it: ", stdout);
	json_array_foreach (json_object_get(j, "folded_away"), i, one)
		printf("%s%s", i ? ", " : "", json_string_value(one));
	puts(i ? "" : "nothing");
	json_decref(j);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_features = {
	.name = "features",
	.args = "",
	.summary = "what this kernel can do, the programs and memory in it, what the policy made unnecessary",
	.help = "A policy that does not use something is loaded without its code: that is folded away.\n\n"
		"  sudo weir features",
	.run = run,
};
