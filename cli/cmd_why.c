/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "cli/table.h"
#include "lib/event/event.h"

static void line(const char *key, const char *value)
{
	if (*value)
		weir_cli_say("%-9s %s\n", key, value);
}

static void show_verdict(const struct weir_cli *cli, const json_t *j)
{
	const char *verdict = weir_str(j, "verdict"), *would = weir_str(j, "would_be");
	bool stopped = strcmp(verdict, "pass");
	enum weir_paint paint = stopped ? WEIR_STOPPED : strcmp(would, "pass") ? WEIR_LOOK : WEIR_PLAIN;

	printf("%-9s %s%s%s", "verdict", weir_paint_begin(paint, cli->color), verdict, weir_paint_end(paint, cli->color));
	if (strcmp(verdict, would))
		printf(stopped ? " (staged: %s)" : " (mode detect; would be %s)", would);
	if (*weir_str(j, "rule"))
		printf(", by %s", weir_str(j, "rule"));
}

static void show_event(const struct weir_cli *cli, const json_t *j)
{
	json_t *event = json_object_get(j, "event");
	const char *name = weir_str(event, "name"), *hook = weir_str(event, "hook");

	json_object_del(event, "fix"); /* it stands below */
	weir_event_line(stdout, event, cli->color);
	show_verdict(cli, j);
	printf(", reason %s%s%s, generation %lld\n", weir_str(j, "reason"), *hook ? ", hook " : "", hook,
	       weir_int(j, "generation"));
	if (*name)
		printf("%-9s a DNS answer for %s was seen before\n", "evidence", name);
	else
		line("evidence", "address only: no DNS answer for it was seen");
	line("fix", weir_str(j, "fix"));
	line("narrower", weir_str(j, "narrower"));
}

static void show_flow(const struct weir_cli *cli, const json_t *f)
{
	char sent[16], received[16], src[80], dst[80];

	weir_end_put(weir_str(f, "src"), weir_int(f, "sport"), "", src, sizeof src);
	weir_end_put(weir_str(f, "dst"), weir_int(f, "dport"), "", dst, sizeof dst);
	if (*weir_str(f, "program"))
		printf("~%s  ", weir_str(f, "program"));
	if (*weir_str(f, "unit"))
		printf("%s  ", weir_str(f, "unit"));
	printf("%s -> %s  %s %s\n", src, dst, weir_str(f, "protocol"), weir_str(f, "direction"));
	show_verdict(cli, f);
	printf(", reason %s\n", weir_str(f, "reason"));
	printf("%-9s live, %s sent, %s received\n", "flow", weir_bytes_text((uint64_t)weir_int(f, "sent"), sent),
	       weir_bytes_text((uint64_t)weir_int(f, "received"), received));
	if (*weir_str(f, "name"))
		printf("%-9s a DNS answer for %s was seen before\n", "evidence", weir_str(f, "name"));
}

/* "drop, by X"; what is staged beside it or in mode detect, too */
static void show_hypothesis(const json_t *one)
{
	const char *verdict = weir_str(one, "verdict"), *would = weir_str(one, "would_be"), *by = weir_str(one, "would_by");
	bool stopped = strcmp(verdict, "pass");

	printf("%s", stopped ? verdict : would);
	if (!stopped && strcmp(would, "pass"))
		printf(" (mode detect: passes)");
	printf(", by %s", weir_str(one, "rule"));
	if (stopped && strcmp(verdict, would))
		printf(" (staged: %s%s%s)", would, *by ? " by " : "", by);
	putchar('\n');
}

static void show_would(const struct weir_cli *cli, const json_t *list, const char *target)
{
	const json_t *one;
	size_t i;

	printf("nothing was seen of %s: no verdict among the newest 1,000, no live flow\n", target);
	json_array_foreach (list, i, one) {
		const char *out = strcmp(weir_str(one, "direction"), "outbound") ? "from there" : "to there";

		printf("%-9s %s tcp %s, port %lld: ", i ? "" : "would be", weir_str(one, "direction"), out,
		       weir_int(one, "port"));
		show_hypothesis(one);
	}
	line("more", "weir explain FILE --packet 'tcp 10.0.0.1:4000 > 10.0.0.2:443 inbound'");
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	const struct weir_opt opts[] = { { NULL } };
	int n = weir_opts_parse(&weir_cmd_why, opts, argc, argv);
	json_t *j;

	if (n < 0)
		return -n;
	if (n > 1)
		return weir_cli_usage(&weir_cmd_why, "one word, not '%s' too: weir why 192.0.2.1:443", argv[2]);
	if (!n)
		return weir_cli_usage(&weir_cmd_why, "which address? weir why 192.0.2.1:443");
	j = weir_ask(cli, "why", json_pack("{s:s}", "target", argv[1]));
	if (!j)
		return WEIR_EXIT_FAIL;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	if (json_object_get(j, "event"))
		show_event(cli, j);
	else if (json_object_get(j, "flow"))
		show_flow(cli, json_object_get(j, "flow"));
	else
		show_would(cli, json_object_get(j, "would"), weir_str(j, "target"));
	if (weir_bool(j, "banned"))
		line("ban", "the address is banned: weir ban list");
	json_decref(j);
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_why = {
	.name = "why",
	.args = "ADDRESS[:PORT]",
	.summary = "the newest verdict about an address, its rule, and what would allow it",
	.help = "  weir why 192.0.2.1:443\n  weir why '[2001:db8::1]:443'\n\n"
		"Looks among the newest verdicts and flows. When nothing was seen it says what the policy would do.",
	.run = run,
};
