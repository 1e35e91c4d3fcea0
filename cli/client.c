/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/table.h"
#include "daemon/rundir.h"
#include "lib/util/cleanup.h"
#include "lib/util/diag.h"
#include "lib/util/file.h"

#define ANSWER_SECONDS 30 /* the largest policy takes less than one; but others may be served before us */
#define ANSWER_TURNS 4    /* so many times, as long as the daemon was not stopped */
#define AGAIN_TRIES 200
#define AGAIN_MS 50
#define ANSWER_MAX (256u << 20) /* longer than any answer of ours: not ours */

struct weir_conn {
	const struct weir_cli *cli;
	int fd;
	bool json, color, silent; /* silent: it did not answer in time */
	int turns;                /* so many times more it may take that long */
	char *data;
	size_t at, len, space;
};

/* A daemon that is stopped or stuck must not hold us for ever. 0: as long as it takes. */
static void answer_within(int fd, time_t seconds)
{
	struct timeval t = { seconds, 0 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

/* SIGSTOP, or a debugger: then waiting is in vain. */
static bool is_stopped(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	const char *name_end;
	char path[32];
	size_t len;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (weir_file_read(path, 4096, &text, &len))
		return true;
	name_end = strrchr(text, ')');
	return !name_end || len < (size_t)(name_end - text) + 3 || strchr("TtXxZ", name_end[2]);
}

static void complain_silent(const struct weir_cli *cli)
{
	int pid = weir_daemon_pid(cli);
	char hint[128];

	snprintf(hint, sizeof hint, "kill -CONT %d if it was stopped; after kill -9 %d what is enforced stays: weir status", pid,
		 pid);
	weir_cli_error(hint, "weir, pid %d, does not answer", pid);
}

static struct weir_conn *refuse(const struct weir_cli *cli, int error)
{
	bool env = !cli->given && strcmp(cli->runtime_dir, "/run/weir"); /* sudo takes it away */
	char hint[PATH_MAX + 64];

	if (error == EAGAIN) {
		complain_silent(cli);
	} else if (error == EACCES || error == EPERM) {
		weir_cli_error("try it again with sudo", "only root may talk to weir in %s", cli->runtime_dir);
	} else if ((error == ENOENT || error == ECONNREFUSED) && weir_daemon_pid(cli)) {
		weir_cli_error("try it again in a moment", "weir is just starting or ending in %s, pid %d", cli->runtime_dir,
			       weir_daemon_pid(cli));
	} else if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR) {
		if (geteuid() && !access(cli->runtime_dir, F_OK) && access(cli->runtime_dir, X_OK))
			return refuse(cli, EACCES);
		snprintf(hint, sizeof hint, "start it: sudo weir run%s%s", env ? " --runtime-dir " : "",
			 env ? cli->runtime_dir : "");
		weir_cli_error(hint, "weir is not running in %s", cli->runtime_dir);
	} else {
		weir_cli_error(NULL, "cannot reach weir in %s: %s", cli->runtime_dir, strerror(error));
	}
	return NULL;
}

/* NULL: *error says why. */
static struct weir_conn *connect_to(const struct weir_cli *cli, int *error)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	struct weir_conn *c;

	*error = ENAMETOOLONG;
	if ((size_t)snprintf(a.sun_path, sizeof a.sun_path, "%s/control.sock", cli->runtime_dir) >= sizeof a.sun_path)
		return NULL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		answer_within(fd, ANSWER_SECONDS);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) {
		*error = errno;
		return NULL;
	}
	c = calloc(1, sizeof *c);
	if (!c) {
		*error = ENOMEM;
		return NULL;
	}
	*c = (struct weir_conn){ .fd = TAKE_FD(fd), .cli = cli, .json = cli->json,
				 .color = isatty(STDERR_FILENO) && cli->color };
	return c;
}

struct weir_conn *weir_conn_open(const struct weir_cli *cli)
{
	int error;
	struct weir_conn *c = connect_to(cli, &error);

	return c ?: refuse(cli, error);
}

struct weir_conn *weir_conn_again(const struct weir_cli *cli)
{
	struct weir_conn *c = NULL;
	int error;

	for (int i = 0; i < AGAIN_TRIES && weir_daemon_pid(cli) && !(c = connect_to(cli, &error)); i++)
		nanosleep(&(struct timespec){ .tv_nsec = AGAIN_MS * 1000000L }, NULL);
	return c;
}

void weir_conn_close(struct weir_conn *c)
{
	if (!c)
		return;
	close(c->fd);
	free(c->data);
	free(c);
}

static int read_more(struct weir_conn *c)
{
	int error;
	ssize_t n;

	if (c->at) {
		memmove(c->data, c->data + c->at, c->len - c->at);
		c->len -= c->at;
		c->at = 0;
	}
	if (c->len + 65536 > c->space) {
		size_t space = c->space ? c->space * 2 : 131072;
		char *data = space <= ANSWER_MAX ? realloc(c->data, space) : NULL;

		if (!data)
			return -ENOMEM;
		c->data = data;
		c->space = space;
	}
	do {
		n = read(c->fd, c->data + c->len, c->space - c->len);
		error = n < 0 ? errno : 0;
	} while (error == EINTR || (error == EAGAIN && c->turns-- > 0 && !is_stopped(weir_daemon_pid(c->cli))));
	c->silent = error == EAGAIN;
	if (n <= 0)
		return error ? -error : -ECONNRESET;
	c->len += (size_t)n;
	return 0;
}

/* Names of rules, interfaces and programs come back in answers: no command may print them as they are. */
static void make_clean(json_t *j)
{
	const char *key, *text = json_string_value(j);
	_cleanup_free_ char *clean = text ? weir_clean(text, true) : NULL;
	json_t *one;
	size_t i;

	if (clean && strcmp(clean, text))
		json_string_set(j, clean);
	json_array_foreach (j, i, one)
		make_clean(one);
	json_object_foreach (j, key, one)
		make_clean(one);
}

json_t *weir_conn_next(struct weir_conn *c)
{
	size_t looked = 0;

	for (;;) {
		char *from = c->data ? c->data + c->at : NULL;
		char *end = c->len > c->at + looked ? memchr(from + looked, '\n', c->len - c->at - looked) : NULL;

		if (end) {
			json_t *j = json_loadb(from, (size_t)(end - from), 0, NULL);

			c->at += (size_t)(end - from) + 1;
			make_clean(j);
			return j;
		}
		looked = c->len - c->at;
		if (read_more(c))
			return NULL;
	}
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static void show_diags(const json_t *list, bool color)
{
	struct weir_diags d = { 0 };
	const json_t *one;
	size_t i;

	json_array_foreach (list, i, one) {
		const char *file = json_string_value(json_object_get(one, "file"));
		const char *hint = json_string_value(json_object_get(one, "hint"));
		const char *source = json_string_value(json_object_get(one, "source"));
		struct weir_diag *x = weir_diags_add(&d, strcmp(weir_str(one, "severity"), "error") ? WEIR_WARNING : WEIR_ERROR,
						     file, (unsigned)weir_int(one, "line"), (unsigned)weir_int(one, "col"),
						     (unsigned)weir_int(one, "len"), "%s", weir_str(one, "message"));

		if (x && hint)
			weir_diag_hint(x, "%s", hint);
		if (x && source)
			x->source = strdup(source);
	}
	weir_diags_format(stderr, &d, color);
	weir_diags_free(&d);
}

/* Those of the daemon's verbs that leave something as it was not. */
static bool is_change(const char *verb)
{
	static const char *const verbs[] = { "apply", "mode", "confirm", "rollback", "ban add", "ban remove", "set add",
					     "set remove", "set reset", "rule add", "rule delete", "rule clear", "stop", "flush" };
	size_t i = 0;

	while (i < sizeof verbs / sizeof *verbs && strcmp(verbs[i], verb))
		i++;
	return i < sizeof verbs / sizeof *verbs;
}

json_t *weir_conn_ask(struct weir_conn *c, const char *verb, json_t *args)
{
	return weir_conn_ask_within(c, verb, args, ANSWER_SECONDS, NULL);
}

json_t *weir_conn_ask_within(struct weir_conn *c, const char *verb, json_t *args, time_t seconds, bool *silent)
{
	json_t *request = json_pack("{s:s, s:o}", "verb", verb, "args", args ? args : json_object()), *answer, *result;
	_cleanup_free_ char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;

	json_decref(request);
	if (!text) {
		weir_cli_error(NULL, "the arguments are not UTF-8 text");
		return NULL;
	}
	answer_within(c->fd, seconds);
	c->turns = silent ? 0 : ANSWER_TURNS - 1;
	/* a daemon that turns us away says so and hangs up before it reads: its words are still to be read */
	if (!send_all(c->fd, text, strlen(text)))
		send_all(c->fd, "\n", 1);
	answer = weir_conn_next(c);
	c->turns = 0;
	answer_within(c->fd, 0); /* what it says by itself comes when it comes */
	if (silent)
		*silent = !answer;
	if (!answer && silent)
		return NULL;
	if (!answer && c->silent) {
		complain_silent(c->cli);
		return NULL;
	}
	if (!answer) {
		weir_cli_error("weir status", "weir %s before it answered",
			       weir_daemon_pid(c->cli) ? "had to start its worker again" : "ended");
		return NULL;
	}
	if (weir_bool(answer, "ok")) {
		if (is_change(verb))
			weir_cli_changed();
		result = json_incref(json_object_get(answer, "result"));
		show_diags(json_object_get(answer, "diags"), c->color);
	} else {
		const json_t *e = json_object_get(answer, "error");

		result = NULL;
		show_diags(json_object_get(e, "diags"), c->color);
		weir_cli_error(json_string_value(json_object_get(e, "hint")), "%s", weir_str(e, "message"));
		if (c->json)
			weir_cli_json(json_incref(answer));
	}
	json_decref(answer);
	return result;
}

json_t *weir_ask(const struct weir_cli *cli, const char *verb, json_t *args)
{
	struct weir_conn *c = weir_conn_open(cli);
	json_t *j = c ? weir_conn_ask(c, verb, args) : NULL;

	if (!c)
		json_decref(args);
	weir_conn_close(c);
	return j;
}

bool weir_answered_json(const struct weir_cli *cli, json_t *result)
{
	if (cli->json)
		weir_cli_json(result);
	return cli->json;
}

const char *weir_str(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

json_int_t weir_int(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

bool weir_bool(const json_t *j, const char *key)
{
	return json_is_true(json_object_get(j, key));
}

pid_t weir_daemon_pid(const struct weir_cli *cli)
{
	pid_t pid = weir_rundir_owner(cli->runtime_dir);

	return pid > 0 ? pid : 0;
}

const char *weir_start_words(const struct weir_cli *cli)
{
	static const char *const units[] = { "/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
					     "/lib/systemd/system" };
	char path[64];

	if (strcmp(cli->runtime_dir, "/run/weir") || access("/run/systemd/system", F_OK))
		return "sudo weir run";
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		snprintf(path, sizeof path, "%s/weir.service", units[i]);
		if (!access(path, F_OK))
			return "sudo systemctl start weir";
	}
	return "sudo weir run";
}

bool weir_daemon_ended(const struct weir_cli *cli)
{
	for (int i = 0; i < 500 && weir_daemon_pid(cli); i++)
		nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
	return !weir_daemon_pid(cli);
}
