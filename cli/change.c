/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/change.h"
#include "cli/client.h"
#include "cli/table.h"
#include "lib/kern/kern.h"

#define SILENCE_SECONDS 4 /* who waits for a deadline must not wait for a daemon that hangs */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	interrupted = 1;
}

const char *weir_clock(long long seconds, char *buf, size_t size)
{
	unsigned s = seconds < 0 ? 0 : seconds > 359999 ? 359999 : (unsigned)seconds;

	snprintf(buf, size, "%02u:%02u", s / 60 % 10000, s % 60);
	return buf;
}

static bool at_terminal(const struct weir_cli *cli)
{
	return !cli->json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

int weir_change_args(const struct weir_cmd *c, const struct weir_cli *cli, const struct weir_change_flags *f,
		     json_t *args)
{
	uint64_t seconds = 0;

	if (f->confirm && f->no_confirm)
		return weir_cli_usage(c, "--confirm and --no-confirm exclude each other");
	if (f->confirm && (weir_seconds_parse(f->confirm, &seconds) || seconds > 3600))
		return weir_cli_usage(c, "--confirm %s is no time from 1s to 1h (90s, 5m)", f->confirm);
	if (seconds)
		json_object_set_new(args, "confirm", json_integer((json_int_t)seconds));
	json_object_set_new(args, "no_confirm", json_boolean(f->no_confirm));
	json_object_set_new(args, "force", json_boolean(f->force));
	json_object_set_new(args, "replace", json_boolean(f->replace));
	json_object_set_new(args, "terminal", json_boolean(at_terminal(cli)));
	return 0;
}

static int refuse_dead(const struct weir_cli *cli, int r)
{
	if (r == -ENOENT)
		return weir_cli_error("weir status shows what is in force", "nothing waits for a confirmation in %s",
				      cli->runtime_dir);
	if (geteuid())
		return weir_cli_error("try it again with sudo", "weir does not answer in %s; only root may decide without it",
				      cli->runtime_dir);
	return weir_cli_error(NULL, "cannot reach what weir pinned in %s: %s", cli->runtime_dir, strerror(-r));
}

/* Nobody answers: the word is in the kernel, and root may write it. */
static int decide_dead(const struct weir_cli *cli, bool keep)
{
	const char *state = weir_daemon_pid(cli) ? "weir does not answer" : "weir is not running";
	struct weir_kern_pinned p = { 0 };
	uint32_t generation;
	int r = weir_kern_pinned(cli->runtime_dir, &p);

	if (!r && !p.pending)
		r = -ENOENT;
	generation = keep ? p.generation : p.other_generation;
	if (!r)
		r = keep ? weir_kern_pinned_confirm(cli->runtime_dir) : weir_kern_pinned_revert(cli->runtime_dir);
	if (r)
		return refuse_dead(cli, r);
	weir_cli_changed();
	if (cli->json) {
		weir_cli_json(json_pack("{s:I, s:b}", "generation", (json_int_t)generation, "running", 0));
		return WEIR_EXIT_OK;
	}
	weir_cli_say("generation %u %s. %s: it was decided in the kernel\n", generation,
		     keep ? "stays in force" : "is in force again", state);
	return WEIR_EXIT_OK;
}

/*
 * The answer, or NULL: then *status says how it ended. While a change waits for its end, a daemon that hangs is not
 * waited for either.
 */
static json_t *ask_or_decide(const struct weir_cli *cli, const char *verb, json_t *args, bool keep, int *status)
{
	struct weir_kern_pinned p = { 0 };
	struct weir_conn *c = NULL;
	bool silent = false, waits;
	json_t *j = NULL;

	if (!weir_daemon_pid(cli) && !(geteuid() && !access(cli->runtime_dir, F_OK))) {
		json_decref(args);
		*status = decide_dead(cli, keep);
		return NULL;
	}
	waits = !json_object_get(args, "generation") && !weir_kern_pinned(cli->runtime_dir, &p) && p.pending;
	c = weir_conn_open(cli);
	if (!c)
		json_decref(args);
	else if (waits)
		j = weir_conn_ask_within(c, verb, args, SILENCE_SECONDS, &silent);
	else
		j = weir_conn_ask(c, verb, args);
	weir_conn_close(c);
	*status = j ? WEIR_EXIT_OK : silent ? decide_dead(cli, keep) : WEIR_EXIT_FAIL;
	return j;
}

static void say_killed(const json_t *j)
{
	long long n = weir_int(j, "killed");

	if (n)
		printf("%lld conversation%s that it denies %s ended (established: kill)\n", n, n == 1 ? "" : "s",
		       n == 1 ? "was" : "were");
}

int weir_confirm(const struct weir_cli *cli)
{
	int status;
	json_t *j = ask_or_decide(cli, "confirm", NULL, true, &status);
	const char *login;

	if (!j)
		return status;
	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	login = weir_str(j, "new_login");
	printf("generation %lld stays in force\n", weir_int(j, "generation"));
	say_killed(j);
	if (!strcmp(login, "here"))
		puts("a new login from where you are was let in meanwhile");
	else if (!strcmp(login, "elsewhere"))
		puts("a new login was let in meanwhile, not from where you are");
	else
		printf("%sno new login was seen since the change:%s try one before you close this session\n",
		       weir_paint_begin(WEIR_LOOK, cli->color), weir_paint_end(WEIR_LOOK, cli->color));
	json_decref(j);
	return WEIR_EXIT_OK;
}

int weir_take_back(const struct weir_cli *cli, json_t *args)
{
	int status;
	json_t *j = ask_or_decide(cli, "rollback", args, false, &status);

	if (!j)
		return status;
	if (!weir_bool(j, "waited")) {
		if (!cli->json)
			printf("generation %lld: the policy of generation %lld again\n", weir_int(j, "generation"), weir_int(j, "of"));
		status = weir_change_end(cli, j);
	} else if (!cli->json) {
		printf("generation %lld is in force again, mode %s\n", weir_int(j, "generation"), weir_str(j, "mode"));
	} else {
		weir_cli_json(json_incref(j));
	}
	json_decref(j);
	return status;
}

static long long seconds_to(const struct timespec *end)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return end->tv_sec - now.tv_sec + (end->tv_nsec > now.tv_nsec);
}

static int went_back(const struct weir_cli *cli, long long back)
{
	struct weir_kern_pinned p;

	/* the kernel has decided; whether a daemon knows it yet is no matter */
	if (!weir_kern_pinned(cli->runtime_dir, &p) && !p.pending && p.generation)
		back = p.generation;
	printf("\nit went back by itself: generation %lld is in force\n", back);
	return WEIR_EXIT_FAIL;
}

/* Enter keeps it, Ctrl-C goes back, the end of the time too. Whoever loses his terminal decides nothing. */
static int wait_with(const struct weir_cli *cli, long long back, long long seconds)
{
	struct sigaction act = { .sa_handler = on_interrupt }, before;
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	struct timespec end;
	char line[256], left[16];

	clock_gettime(CLOCK_BOOTTIME, &end);
	end.tv_sec += seconds;
	interrupted = 0;
	sigaction(SIGINT, &act, &before);
	while (!interrupted && (seconds = seconds_to(&end)) > 0) {
		printf("\rin force now; goes back to generation %lld in %s.   Enter keeps it, Ctrl-C goes back. ", back,
		       weir_clock(seconds, left, sizeof left));
		fflush(stdout);
		if (poll(&in, 1, 1000) <= 0)
			continue;
		if (read(STDIN_FILENO, line, sizeof line) <= 0 && !interrupted) {
			sigaction(SIGINT, &before, NULL);
			return WEIR_EXIT_OK;
		}
		if (interrupted)
			break;
		sigaction(SIGINT, &before, NULL);
		return weir_confirm(cli);
	}
	sigaction(SIGINT, &before, NULL);
	if (!interrupted)
		return went_back(cli, back);
	putchar('\n');
	weir_take_back(cli, NULL);
	return WEIR_EXIT_FAIL;
}

int weir_change_end(const struct weir_cli *cli, const json_t *j)
{
	const json_t *p = json_object_get(j, "pending");
	long long back = weir_int(p, "back"), seconds = weir_int(p, "seconds");
	char left[16];

	if (cli->json) {
		weir_cli_json(json_incref((json_t *)j));
		return WEIR_EXIT_OK;
	}
	if (*weir_str(j, "session"))
		puts(weir_str(j, "session"));
	say_killed(j);
	if (!p)
		return WEIR_EXIT_OK;
	if (at_terminal(cli))
		return wait_with(cli, back, seconds);
	weir_cli_say("in force now; goes back to generation %lld in %s\n  keep it: sudo weir confirm      take it back: sudo weir "
	       "rollback\n",
	       back, weir_clock(seconds, left, sizeof left));
	return WEIR_EXIT_OK;
}
