/* SPDX-License-Identifier: Apache-2.0 */
/* status, with the daemon alive or dead. The exit status answers without a word. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/change.h"
#include "cli/client.h"
#include "cli/table.h"
#include "lib/kern/kern.h"
#include "lib/policy/daytime.h"

#define PATIENCE_S 8 /* a worker is started again in a second or two */

/* Is anything still held back? The guard alone does that, too. */
static int dead_status(const struct weir_kern_pinned *p)
{
	return p->guard || (p->attached && p->mode == WEIR_PREVENT) ? WEIR_EXIT_STOPPED : WEIR_EXIT_OFF;
}

/* A change that waits, whoever is alive. */
static void show_pending(const struct weir_cli *cli, long long back, long long seconds)
{
	char left[16];

	printf("%s%-12s in force now; goes back to generation %lld in %s%s", weir_paint_begin(WEIR_LOOK, cli->color), "waits", back,
	       weir_clock(seconds, left, sizeof left), weir_paint_end(WEIR_LOOK, cli->color));
	weir_cli_say("   weir confirm keeps it, weir rollback takes it back\n");
}

static long long seconds_left(const struct weir_kern_pinned *p)
{
	uint64_t now = weir_kern_now();

	return p->deadline > now ? (long long)((p->deadline - now + 999999999u) / 1000000000u) : 0;
}

/* What the programs take the time of day for, and for how long that holds without a daemon. */
static void show_clock(const char *local, unsigned long long ahead_s)
{
	char span[32];

	printf("%-12s %s for the rules with a time; changes to and from summer time are known for %s, with weir or without\n",
	       "time of day", local, weir_span(ahead_s, span, sizeof span));
}

static void dead_json(const struct weir_kern_pinned *p, int status)
{
	json_t *j = json_pack("{s:b, s:b, s:b, s:I, s:I, s:i}", "running", 0, "enforcing", status == WEIR_EXIT_STOPPED,
			      "guard", (int)p->guard, "generation", (json_int_t)p->generation, "interfaces", (json_int_t)p->n_interfaces,
			      "exit_status", status);
	char text[16];

	if (p->clock.used)
		json_object_set_new(j, "clock", json_pack("{s:s, s:I}", "local", weir_minute_text(p->clock.minute, text, sizeof text),
							  "ahead_s", (json_int_t)p->clock.ahead_s));
	if (p->pending)
		json_object_set_new(j, "pending",
				    json_pack("{s:I, s:I, s:I}", "generation", (json_int_t)p->generation, "back",
					      (json_int_t)p->other_generation, "seconds", (json_int_t)seconds_left(p)));
	weir_cli_json(j);
}

static int dead(const struct weir_cli *cli)
{
	struct weir_kern_pinned p = { 0 };
	int r = weir_kern_pinned(cli->runtime_dir, &p), status;
	char text[16];

	if (r < 0) {
		if (geteuid())
			return weir_cli_error("sudo weir status",
					      "weir is not running in %s; only root may see what it left",
					      cli->runtime_dir);
		return weir_cli_error(NULL, "cannot look into %s: %s", cli->runtime_dir, strerror(-r));
	}
	status = dead_status(&p);
	if (cli->json) {
		dead_json(&p, status);
		return status;
	}
	if (status == WEIR_EXIT_STOPPED && !p.attached) {
		weir_cli_say("weir is not running in %s. ", cli->runtime_dir);
		printf("The guard %sSHUTS%s every interface but lo: a start failed before its policy was in force.\n",
		       weir_paint_begin(WEIR_STOPPED, cli->color), weir_paint_end(WEIR_STOPPED, cli->color));
		weir_cli_say("  start it: %s      remove it: sudo weir flush\n", weir_start_words(cli));
	} else if (status == WEIR_EXIT_STOPPED) {
		weir_cli_say("weir is not running in %s. ", cli->runtime_dir);
		printf("Generation %u is still %sENFORCING%s on %u interface%s.\n",
		       p.generation, weir_paint_begin(WEIR_STOPPED, cli->color),
		       weir_paint_end(WEIR_STOPPED, cli->color), p.n_interfaces, p.n_interfaces == 1 ? "" : "s");
		weir_cli_say("  watch it again: %s      remove it: sudo weir flush\n", weir_start_words(cli));
	} else {
		weir_cli_say("weir is not running in %s, nothing is enforced%s.\n  start it: %s\n",
			     cli->runtime_dir,
			     p.attached ? " (what a dead start left only watches: weir flush removes it)" : "",
			     weir_start_words(cli));
	}
	if (status == WEIR_EXIT_STOPPED && p.clock.used && p.clock.minute < WEIR_WEEK_MINUTES)
		show_clock(weir_minute_text(p.clock.minute, text, sizeof text), p.clock.ahead_s);
	if (p.pending)
		show_pending(cli, p.other_generation, seconds_left(&p));
	else if (p.settled_back)
		printf("generation %u was not confirmed in time: generation %u is in force again\n", p.other_generation,
		       p.generation);
	return status;
}

/* Also while a worker is started again. *silent: nobody answered, and nothing was said about it. */
static json_t *ask_patiently(const struct weir_cli *cli, bool *silent)
{
	time_t now = time(NULL), until = now + PATIENCE_S;
	json_t *j = NULL;

	*silent = false;
	for (; now < until; now = time(NULL)) {
		struct weir_conn *c = weir_conn_open(cli);

		if (!c)
			return NULL;
		j = weir_conn_ask_within(c, "status", NULL, until - now, silent);
		weir_conn_close(c);
		if (j || !*silent || !weir_daemon_pid(cli))
			return j;
		nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
	}
	return NULL;
}

/* The keeper lives, but nobody answers for it: what the kernel has is what counts. */
static int without_worker(const struct weir_cli *cli)
{
	struct weir_kern_pinned p = { 0 };
	int pid = weir_daemon_pid(cli), status = weir_kern_pinned(cli->runtime_dir, &p) < 0 ? WEIR_EXIT_FAIL : WEIR_EXIT_PARTIAL;
	bool enforcing = p.attached && p.mode == WEIR_PREVENT;

	if (cli->json) {
		weir_cli_json(json_pack("{s:b, s:b, s:i, s:b, s:I, s:I, s:i}", "running", 1, "answers", 0, "pid", pid, "enforcing",
					(int)enforcing, "generation", (json_int_t)p.generation, "interfaces",
					(json_int_t)p.n_interfaces, "exit_status", status));
		return status;
	}
	weir_cli_say("weir runs in %s, pid %d, but does not answer. ", cli->runtime_dir, pid);
	printf("Generation %u is %s%s%s on %u interface%s.\n"
	       "  a worker that died is started again; the output of weir run (journalctl -u weir) says why it did\n"
	       "  kill -CONT %d if it was stopped; after kill -9 %d what is enforced stays\nexit status %d\n",
	       p.generation, weir_paint_begin(WEIR_STOPPED, cli->color),
	       enforcing ? "ENFORCING" : "in force and stops nothing", weir_paint_end(WEIR_STOPPED, cli->color), p.n_interfaces,
	       p.n_interfaces == 1 ? "" : "s", pid, pid, status);
	return status;
}

/* "eth0 xdp native + tcx", "veth (4) tcx": equal ones of a kind in one word. */
static void describe(const json_t *i, char *buf, size_t size)
{
	const char *tc = weir_str(i, "tc"), *xdp = weir_str(i, "xdp"), *why = weir_str(i, "why");

	if (weir_bool(i, "blocked"))
		snprintf(buf, size, "BLOCKED by the guard: %s", why);
	else if (weir_bool(i, "covered"))
		snprintf(buf, size, "%s%s%s%s%s%s%s", *xdp ? "xdp " : "", xdp, *xdp && *tc ? " + " : "", tc,
			 *why ? " (" : "", why, *why ? ")" : "");
	else
		snprintf(buf, size, weir_bool(i, "wanted") ? "NOT COVERED: %s" : "%s", why);
}

static void show_interfaces(const struct weir_cli *cli, const json_t *list)
{
	const json_t *one, *other;
	size_t i, k;

	json_array_foreach(list, i, one)
	{
		char text[256], next[256];
		bool shown = false, bad = weir_bool(one, "wanted") && !weir_bool(one, "covered");
		size_t same = 0;

		describe(one, text, sizeof text);
		json_array_foreach(list, k, other)
		{
			if (strcmp(weir_str(other, "kind"), weir_str(one, "kind")) || !*weir_str(one, "kind"))
				continue;
			describe(other, next, sizeof next);
			if (strcmp(next, text))
				continue;
			shown |= k < i;
			same++;
		}
		if (same > 2 && shown)
			continue;
		printf("%-12s %s", i ? "" : "interfaces", weir_paint_begin(bad ? WEIR_LOOK : WEIR_PLAIN, cli->color));
		if (same > 2)
			printf("%s (%zu)  %s", weir_str(one, "kind"), same, text);
		else
			printf("%s  %s", weir_str(one, "name"), text);
		printf("%s%s%s\n", weir_paint_end(bad ? WEIR_LOOK : WEIR_PLAIN, cli->color),
		       *weir_str(one, "others") ? "   beside " : "", weir_str(one, "others"));
	}
}

static void show_drops(const json_t *drops)
{
	const json_t *one;
	json_int_t seconds = weir_int(drops, "seconds");
	size_t i;

	printf("      drops %lld in %lld s", weir_int(drops, "packets"), seconds);
	json_array_foreach(json_object_get(drops, "reasons"), i, one)
		printf("%s%s %lld", i ? ", " : " (", weir_str(one, "reason"), weir_int(one, "packets"));
	if (i)
		putchar(')');
}

static const char *plural(const json_t *j, const char *key)
{
	return weir_int(j, key) == 1 ? "" : "s";
}

static const char *origin_text(const char *origin)
{
	static const struct {
		const char *name, *text;
	} known[] = {
		{ "builtin", "built in: no policy was found that could be read" },
		{ "file", "of the configuration directory, as applied last; taken at each start" },
		{ "saved", "saved by weir apply --save, taken at each start" },
		{ "other", "not taken at the next boot: weir apply --save keeps it" },
	};

	for (size_t i = 0; i < 4; i++) {
		if (!strcmp(known[i].name, origin))
			return known[i].text;
	}
	return origin;
}

static void show_head(const struct weir_cli *cli, const json_t *j)
{
	bool prevent = !strcmp(weir_str(j, "mode"), "prevent");
	bool proven = weir_bool(json_object_get(j, "health"), "proven"); /* by the self-test of the programs */
	enum weir_paint paint = prevent && proven ? WEIR_STOPPED : WEIR_LOOK;
	const char *drift = weir_str(j, "drift");
	char up[32];

	printf("weir %s   generation %lld (%s, sha256 %.8s..)   mode %s   up %s   %s%s%s\n", weir_str(j, "version"),
	       weir_int(j, "generation"), weir_str(j, "path"), weir_str(j, "sha256"), weir_str(j, "mode"),
	       weir_span((unsigned long long)weir_int(j, "up"), up, sizeof up), weir_paint_begin(paint, cli->color),
	       !prevent ? "DETECT: nothing is blocked" :
	       proven   ? "ENFORCING" :
			  "NOT PROVEN to enforce", weir_paint_end(paint, cli->color));
	printf("%-12s %s%s%s\n", "policy", origin_text(weir_str(j, "origin")), *drift ? "; " : "", drift);
	if (weir_int(j, "overlay_rules") || weir_int(j, "bans") || weir_int(j, "set_edits"))
		printf("%-12s %lld rule%s, %lld ban%s, %lld set edit%s\n", "added", weir_int(j, "overlay_rules"),
		       plural(j, "overlay_rules"), weir_int(j, "bans"), plural(j, "bans"), weir_int(j, "set_edits"),
		       plural(j, "set_edits"));
}

/* Those that happened, with what was chosen for them: "ring_full 12 (count), 3 m ago". */
static void show_failures(const struct weir_cli *cli, const json_t *list)
{
	const json_t *one;
	size_t i, shown = 0;

	json_array_foreach(list, i, one)
	{
		json_int_t last = weir_int(one, "last");
		bool simulated = weir_bool(one, "simulated");
		char count[32], ago[32];

		if (!weir_int(one, "count") && !simulated)
			continue;
		printf("%-12s %s%s %s (%s)", shown++ ? "" : "failures",
		       weir_paint_begin(simulated ? WEIR_LOOK : WEIR_PLAIN, cli->color), weir_str(one, "name"),
		       weir_count((unsigned long long)weir_int(one, "count"), count, sizeof count), weir_str(one, "choice"));
		if (last)
			printf(", %s ago", weir_span((unsigned long long)(time(NULL) > last ? time(NULL) - last : 0), ago,
						     sizeof ago));
		printf("%s%s\n", simulated ? ", SIMULATED" : "",
		       weir_paint_end(simulated ? WEIR_LOOK : WEIR_PLAIN, cli->color));
	}
}

static void show_restarts(const json_t *p)
{
	json_int_t n = weir_int(p, "restarts"), helper = weir_int(p, "helper_restarts");

	if (n)
		printf("%-12s the worker was started again %lld time%s, last after: %s\n", "processes", n, n == 1 ? "" : "s",
		       weir_str(p, "cause"));
	if (helper)
		printf("%-12s the helper was started again %lld time%s\n", n ? "" : "processes", helper, helper == 1 ? "" : "s");
}

static void show_rest(const struct weir_cli *cli, const json_t *j)
{
	const json_t *one, *flows = json_object_get(j, "flows"), *events = json_object_get(j, "events");
	const json_t *clock = json_object_get(json_object_get(j, "health"), "clock");
	char live[32], half[32], lost[32];
	size_t i;

	if (*weir_str(j, "guard"))
		printf("%-12s new interfaces wait for their hooks (%s)\n", "guard", weir_str(j, "guard"));
	json_array_foreach(json_object_get(j, "firewalls"), i, one)
		printf("%-12s %s%s%s\n", i ? "" : "beside weir", weir_str(one, "name"),
		       *weir_str(one, "detail") ? ": " : "", weir_str(one, "detail"));
	printf("%-12s %s live, %s half open", "flows",
	       weir_count((unsigned long long)weir_int(flows, "live"), live, sizeof live),
	       weir_count((unsigned long long)weir_int(flows, "half_open"), half, sizeof half));
	show_drops(json_object_get(j, "drops"));
	printf("      events lost %s\n", weir_count((unsigned long long)weir_int(events, "lost"), lost, sizeof lost));
	if (*weir_str(clock, "local"))
		show_clock(weir_str(clock, "local"), (unsigned long long)weir_int(clock, "ahead_s"));
	show_restarts(json_object_get(j, "processes"));
	show_failures(cli, json_object_get(j, "failures"));
	json_array_foreach(json_object_get(j, "degraded"), i, one)
		printf("%-12s %s%s%s\n", i ? "" : "degraded", weir_paint_begin(WEIR_LOOK, cli->color),
		       json_string_value(one), weir_paint_end(WEIR_LOOK, cli->color));
	if (i)
		puts("exit status 3");
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	const struct weir_opt opts[] = { { NULL } };
	int n = weir_opts_parse(&weir_cmd_status, opts, argc, argv), status;
	bool silent;
	json_t *j;

	if (n < 0)
		return -n;
	if (n)
		return weir_cli_usage(&weir_cmd_status, "unexpected word '%s'; did you mean 'show', 'stats' or 'coverage'?",
				      argv[1]);
	if (!weir_daemon_pid(cli) && !(geteuid() && !access(cli->runtime_dir, F_OK)))
		return dead(cli);
	j = ask_patiently(cli, &silent);
	if (!j)
		return !silent ? WEIR_EXIT_FAIL : weir_daemon_pid(cli) ? without_worker(cli) : dead(cli);
	status = json_array_size(json_object_get(j, "degraded")) ? WEIR_EXIT_PARTIAL : WEIR_EXIT_OK;
	if (cli->json) {
		json_object_set_new(j, "running", json_true());
		json_object_set_new(j, "exit_status", json_integer(status));
		weir_cli_json(j);
		return status;
	}
	show_head(cli, j);
	if (json_object_get(j, "pending"))
		show_pending(cli, weir_int(json_object_get(j, "pending"), "back"),
			     weir_int(json_object_get(j, "pending"), "seconds"));
	show_interfaces(cli, json_object_get(j, "interfaces"));
	show_rest(cli, j);
	json_decref(j);
	return status;
}

#define STATUS_HELP                                                                                              \
	"Exit status: 0 all that was asked is in force; 3 something asked for is not, named under 'degraded';\n" \
	"4 not running, still enforcing; 5 not running, not enforcing. Works with the daemon dead, too.\n\n"         \
	"  sudo weir status --output json"

const struct weir_cmd weir_cmd_status = {
	.name = "status",
	.args = "",
	.summary = "what is in force, where, and what is not",
	.help = STATUS_HELP,
	.run = run,
};

const struct weir_cmd weir_cmd_status_show = {
	.name = "status show",
	.args = "",
	.summary = "the same as weir status",
	.help = STATUS_HELP,
	.run = run,
};
