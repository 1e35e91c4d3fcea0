/* SPDX-License-Identifier: Apache-2.0 */
/* status coverage: what is filtered, what is not, and why. Exit status 3: something that passes is not. */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "cli/table.h"

/* Interfaces of one kind that are all the same but for their name are one line. */
static bool same(const json_t *a, const json_t *b)
{
	static const char *const keys[] = { "kind", "filtered", "by", "why" };

	for (size_t i = 0; i < 4; i++) {
		if (strcmp(weir_str(a, keys[i]), weir_str(b, keys[i])))
			return false;
	}
	return true;
}

static void show_row(struct weir_table *t, const json_t *one, size_t like)
{
	const char *filtered = weir_str(one, "filtered"), *by = weir_str(one, "by");
	bool open = !strcmp(filtered, "no") || !strcmp(filtered, "bans only"), blocked = !strcmp(filtered, "blocked");

	if (like > 2)
		weir_table_cell(t, WEIR_PLAIN, "%s (%zu)", weir_str(one, "kind"), like);
	else
		weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "path"));
	weir_table_cell(t, open || !strcmp(filtered, "unknown") ? WEIR_LOOK : blocked ? WEIR_STOPPED : WEIR_PLAIN, "%s",
			!strcmp(filtered, "no") ? "NO" : blocked ? "BLOCKED" : !strcmp(filtered, "bans only") ? "by bans only" : filtered);
	weir_table_cell(t, WEIR_PLAIN, "%s", by);
	weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "why"));
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	int status = weir_opts_none(&weir_cmd_status_coverage, argc, argv);
	struct weir_table *t;
	const json_t *list, *one, *other;
	size_t i, k;
	json_t *j;

	if (status)
		return status;
	j = weir_ask(cli, "status coverage", NULL);
	if (!j)
		return WEIR_EXIT_FAIL;
	status = weir_int(j, "open") ? WEIR_EXIT_PARTIAL : WEIR_EXIT_OK;
	if (weir_answered_json(cli, j))
		return status;
	list = json_object_get(j, "paths");
	t = weir_table_new("PATH|FILTERED|BY|WHY, AND WHAT TO DO");
	json_array_foreach (list, i, one) {
		size_t like = 0;
		bool shown = false;

		json_array_foreach (list, k, other) {
			if (!same(one, other))
				continue;
			shown |= k < i;
			like++;
		}
		if (like <= 2 || !shown)
			show_row(t, one, like);
	}
	weir_table_print(t, cli->color);
	if (strcmp(weir_str(j, "mode"), "prevent"))
		puts("\nmode detect: nothing is blocked; 'yes' is what prevent would filter");
	if (status)
		printf("\n%lld not filtered      exit status 3\n", weir_int(j, "open"));
	json_decref(j);
	return status;
}

const struct weir_cmd weir_cmd_status_coverage = {
	.name = "status coverage",
	.args = "",
	.summary = "every way that packets take here, and whether it is filtered",
	.help = "Interfaces, forwarded and published traffic, sockets that go past the hooks, other namespaces. Each row\n"
		"was found by looking; what could not be looked at is 'unknown'. Exit status 3: something that passes\n"
		"is not filtered.\n\n"
		"  sudo weir status coverage\n"
		"  sudo weir status coverage --output json",
	.run = run,
};
