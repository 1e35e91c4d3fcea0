/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "lib/event/event.h"

#define STAMP 40          /* a time as text */
#define ANSWER_SECONDS 10
#define WORKERS_MAX 5     /* that end before they answer */

static int show(const struct weir_cli *cli, const json_t *event)
{
	if (cli->json)
		weir_cli_json_line(event);
	else
		weir_event_line(stdout, event, cli->color);
	return fflush(stdout); /* whoever follows wants it now, and a closed pipe must end us */
}

/* What there is to show; *last becomes when the newest of it was. */
static int show_new(const struct weir_cli *cli, const json_t *event, char last[static STAMP])
{
	int r = show(cli, event);

	snprintf(last, STAMP, "%s", weir_str(event, "time"));
	return r;
}

static struct weir_conn *ask_to_follow(const struct weir_cli *cli, json_t **ret)
{
	struct weir_conn *c = weir_conn_again(cli);
	bool silent;

	*ret = c ? weir_conn_ask_within(c, "events", json_pack("{s:b}", "follow", true), ANSWER_SECONDS, &silent) : NULL;
	return c;
}

/*
 * The daemon hung up: its worker began anew, or we read too slowly for it. As long as it lives, go on with what is newer than
 * the last that was shown. NULL: it ended.
 */
static struct weir_conn *follow_again(const struct weir_cli *cli, struct weir_conn *c, char last[static STAMP])
{
	json_t *j = NULL;
	const json_t *one;
	size_t i;

	for (int n = 0; n < WORKERS_MAX && !j; n++) {
		weir_conn_close(c);
		c = ask_to_follow(cli, &j);
		if (!c)
			return NULL;
	}
	fprintf(stderr, "weir: the events were cut off here, since its worker began anew or this reader was too slow: some may be "
			"missing\n");
	json_array_foreach (json_object_get(j, "events"), i, one) {
		if (strcmp(weir_str(one, "time"), last) > 0)
			show_new(cli, one, last);
	}
	json_decref(j);
	return c;
}

static int follow(const struct weir_cli *cli, struct weir_conn **c, char last[static STAMP])
{
	for (; *c; *c = follow_again(cli, *c, last)) {
		json_t *event;

		while ((event = weir_conn_next(*c))) {
			int r = show_new(cli, event, last);

			json_decref(event);
			if (r)
				return WEIR_EXIT_OK;
		}
	}
	return weir_cli_error("weir status", "the stream ended: weir stopped");
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	bool following = false, flows = false;
	const char *count = NULL;
	const struct weir_opt opts[] = {
		{ "--follow", .flag = &following },
		{ "--flows", .flag = &flows },
		{ "--count", .value = &count },
		{ NULL },
	};
	int n = weir_opts_parse(&weir_cmd_events, opts, argc, argv), status = WEIR_EXIT_OK;
	json_t *args, *j;
	struct weir_conn *c;
	const json_t *one;
	long newest = 1000;
	char *end, last[STAMP] = "";
	size_t i;

	if (n < 0)
		return -n;
	if (n)
		return weir_cli_usage(&weir_cmd_events, "unexpected word '%s'", argv[1]);
	if (count) {
		newest = strtol(count, &end, 10);
		if (*end || newest < 0 || !*count)
			return weir_cli_usage(&weir_cmd_events, "--count %s is no number", count);
	}
	args = json_pack("{s:b, s:b, s:I}", "follow", following, "flows", flows, "count", (json_int_t)newest);
	c = weir_conn_open(cli);
	j = c ? weir_conn_ask(c, "events", args) : NULL;
	if (!c)
		json_decref(args);
	if (!j) {
		weir_conn_close(c);
		return WEIR_EXIT_FAIL;
	}
	if (!cli->json)
		weir_event_line_header(stdout, cli->color);
	json_array_foreach (json_object_get(j, "events"), i, one)
		show_new(cli, one, last);
	if (following) {
		fflush(stdout);
		status = follow(cli, &c, last);
	}
	json_decref(j);
	weir_conn_close(c);
	return status;
}

const struct weir_cmd weir_cmd_events = {
	.name = "events",
	.args = "[--follow] [--count N] [--flows]",
	.summary = "what was stopped, would have been, or asked to be logged",
	.help = "The newest 1,000 are kept. With --output json each line is one event.\n\n"
		"  --follow   go on with new ones until Ctrl-C, also when weir's worker begins anew\n"
		"  --count N  begin with the newest N\n"
		"  --flows    the newest flows instead, also those that passed\n\n"
		"  sudo weir events --follow --count 20",
	.run = run,
};
