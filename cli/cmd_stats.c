/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "cli/table.h"
#include "lib/event/event.h"

/* The entry of the same reason in an earlier answer. */
static const json_t *before_of(const json_t *before, const char *reason)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(before, "reasons"), i, one)
	{
		if (!strcmp(weir_str(one, "reason"), reason))
			return one;
	}
	return NULL;
}

static json_int_t packets(const json_t *j)
{
	return weir_int(j, "pass") + weir_int(j, "drop") + weir_int(j, "reject");
}

static void number(struct weir_table *t, enum weir_paint paint, json_int_t n)
{
	char text[32];

	weir_table_cell(t, n ? paint : WEIR_DIM, "%s", weir_count((unsigned long long)n, text, sizeof text));
}

static void show(const struct weir_cli *cli, const json_t *now, const json_t *before)
{
	struct weir_table *t = weir_table_new("REASON|>PASS|>DROP|>REJECT|>BYTES|>PACKETS/S");
	double seconds = (double)(weir_int(now, "time_ns") - weir_int(before, "time_ns")) / 1e9;
	const json_t *one, *counters = json_object_get(now, "counters"), *value;
	const char *key;
	char bytes[16];
	size_t i;

	json_array_foreach(json_object_get(now, "reasons"), i, one)
	{
		json_int_t delta = packets(one) - packets(before_of(before, weir_str(one, "reason")));

		weir_table_cell(t, WEIR_PLAIN, "%s", weir_str(one, "reason"));
		number(t, WEIR_PLAIN, weir_int(one, "pass"));
		number(t, WEIR_STOPPED, weir_int(one, "drop"));
		number(t, WEIR_STOPPED, weir_int(one, "reject"));
		weir_table_cell(t, WEIR_PLAIN, "%s", weir_bytes_text((uint64_t)weir_int(one, "bytes"), bytes));
		if (before && seconds > 0 && delta >= 0)
			weir_table_cell(t, WEIR_PLAIN, "%.0f", (double)delta / seconds);
		else
			weir_table_cell(t, WEIR_DIM, "-");
	}
	weir_table_print(t, cli->color);
	putchar('\n');
	t = weir_table_new("COUNTER|>NUMBER");
	json_object_foreach((json_t *)counters, key, value) {
		weir_table_cell(t, WEIR_PLAIN, "%s", key);
		number(t, WEIR_PLAIN, json_integer_value(value));
	}
	weir_table_print(t, cli->color);
}

static int loop(const struct weir_cli *cli, uint64_t interval, long count)
{
	struct weir_conn *c = weir_conn_open(cli);
	json_t *before = NULL, *now = NULL;

	for (long i = 0; c && (!count || i < count); i++) {
		if (i)
			nanosleep(&(struct timespec){ (time_t)interval, 0 }, NULL);
		now = weir_conn_ask(c, "status stats", NULL);
		if (!now)
			break;
		if (cli->json) {
			weir_cli_json_line(now);
		} else {
			if (i)
				putchar('\n');
			show(cli, now, before);
		}
		if (fflush(stdout))
			break;
		json_decref(before);
		before = now;
	}
	json_decref(before);
	weir_conn_close(c);
	return c && now ? WEIR_EXIT_OK : WEIR_EXIT_FAIL;
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	const char *interval = NULL, *count = NULL;
	const struct weir_opt opts[] = { { "--interval", .value = &interval },
					 { "--count", .value = &count },
					 { NULL } };
	int n = weir_opts_parse(&weir_cmd_status_stats, opts, argc, argv);
	uint64_t seconds = 1;
	char *end;
	long times;

	if (n < 0)
		return -n;
	if (n)
		return weir_cli_usage(&weir_cmd_status_stats, "unexpected word '%s'", argv[1]);
	if (interval && weir_seconds_parse(interval, &seconds))
		return weir_cli_usage(&weir_cmd_status_stats, "--interval %s is no time (5s, 1m)", interval);
	times = interval ? 0 : 1;
	if (count) {
		times = strtol(count, &end, 10);
		if (*end || times < 1)
			return weir_cli_usage(&weir_cmd_status_stats, "--count %s is no number from 1", count);
	}
	return loop(cli, seconds, times);
}

const struct weir_cmd weir_cmd_status_stats = {
	.name = "status stats",
	.args = "[--interval 5s] [--count N]",
	.summary = "counters by reason, once or again and again",
	.help = "  --interval T  again every T, with packets per second since the last time, until Ctrl-C\n"
		"  --count N     N times\n\n"
		"  sudo weir status stats --interval 5s --count 12",
	.run = run,
};
