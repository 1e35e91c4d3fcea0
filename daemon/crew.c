/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/crew.h"
#include "daemon/say.h"
#include "lib/util/cleanup.h"

#define SILENT_MAX_S 10      /* a worker that says nothing so long is ended */
#define SILENT_BUSY_S 60     /* one that is still starting, or said that it reads or compiles: large ones take their time */
#define WITHOUT_MAX_S 60     /* then the service manager may try what we could not */
#define DELAY_MIN_MS 100
#define DELAY_MAX_MS 5000
#define SOUND_MS 1000        /* who lived so long did not fail at its start */
#define FIRST_TRIES 5
#define END_MS 5000

struct weir_crew {
	struct weir_crew_options o;
	struct weir_source *source, *restart_source;
	int fd;             /* to the worker; -1 */
	int restart;        /* timer */
	pid_t worker, helper;
	uint64_t since_ms;  /* the worker's start */
	uint32_t delay_ms, tries, silent, without;
	uint64_t calls;     /* heard so far */
	bool ready;         /* this worker is */
	bool was_ready;     /* some worker was */
	char cause[96];     /* why we ended it ourselves */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void pair_close(int v[2])
{
	for (int i = 0; i < 2; i++)
		if (v[i] >= 0)
			close(v[i]);
}

static void hang_up(struct weir_crew *c)
{
	weir_loop_del(c->source);
	c->source = NULL;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void kill_worker(struct weir_crew *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void kill_worker(struct weir_crew *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->cause, sizeof c->cause, fmt, ap);
	va_end(ap);
	hang_up(c);
	weir_spawner_signal(c->o.spawner, c->worker, SIGKILL);
}

static void on_worker(uint32_t events, void *data)
{
	struct weir_crew *c = data;
	int r = weir_serve_read(c->o.serve, c->fd);

	if (r == -EPIPE) {
		hang_up(c); /* its end follows */
		return;
	}
	if (r < 0) {
		weir_say("weir: warning: the worker broke the protocol: %s", weir_serve_why(c->o.serve));
		kill_worker(c, "it broke the protocol: %.70s", weir_serve_why(c->o.serve));
		return;
	}
	if (!c->ready && weir_serve_ready(c->o.serve)) {
		c->ready = true;
		c->without = 0;
		if (!c->was_ready)
			c->o.calls.ready(c->o.calls.data);
		c->was_ready = true;
	}
	if (weir_serve_end(c->o.serve))
		c->o.calls.end(weir_serve_end(c->o.serve), c->o.calls.data);
}

/* *ret_fd: the worker's end. */
static int helper_start(struct weir_crew *c, int *ret_fd)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	pid = weir_spawner_start(c->o.spawner, WEIR_ROLE_HELPER, &pair[1], 1);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return pid;
	}
	c->helper = pid;
	weir_serve_life(c->o.serve)->pid[2] = pid;
	*ret_fd = pair[0];
	return 0;
}

int weir_crew_start(struct weir_crew *c)
{
	int keeper[2] = { -1, -1 }, helper = -1, fds[WEIR_ROLE_FDS], r;
	struct weir_life *life = weir_serve_life(c->o.serve);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, keeper))
		return -errno;
	r = helper_start(c, &helper);
	fds[WEIR_FD_KEEPER - WEIR_FD_FIRST] = keeper[1];
	fds[WEIR_FD_HELPER - WEIR_FD_FIRST] = helper;
	fds[WEIR_FD_CONTROL - WEIR_FD_FIRST] = c->o.control;
	fds[WEIR_FD_STATE - WEIR_FD_FIRST] = c->o.state;
	fds[WEIR_FD_LOG - WEIR_FD_FIRST] = c->o.log;
	if (!r)
		r = weir_spawner_start(c->o.spawner, WEIR_ROLE_WORKER, fds, WEIR_ROLE_FDS);
	if (helper >= 0)
		close(helper);
	if (r > 0) {
		c->worker = r;
		c->fd = TAKE_FD(keeper[0]);
		c->since_ms = now_ms();
		c->silent = 0;
		c->calls = weir_serve_calls(c->o.serve);
		c->ready = false;
		c->cause[0] = 0;
		life->pid[1] = c->worker;
		weir_serve_begin(c->o.serve);
		r = weir_loop_add(c->o.loop, c->fd, EPOLLIN, on_worker, c, &c->source);
	}
	pair_close(keeper);
	return r;
}

static void restart_later(struct weir_crew *c)
{
	struct itimerspec at = { { 0, 0 }, { c->delay_ms / 1000, (long)(c->delay_ms % 1000) * 1000000 } };

	timerfd_settime(c->restart, 0, &at, NULL);
	c->delay_ms = c->delay_ms * 2 < DELAY_MAX_MS ? c->delay_ms * 2 : DELAY_MAX_MS;
}

static void on_restart(uint32_t events, void *data)
{
	struct weir_crew *c = data;
	uint64_t n;
	int r;

	if (read(c->restart, &n, sizeof n) != sizeof n || c->worker)
		return;
	r = weir_crew_start(c);
	if (r < 0) {
		weir_say("weir: warning: no worker can be started: %s", strerror(-r));
		restart_later(c);
	}
}

int weir_crew_new(const struct weir_crew_options *o, struct weir_crew **ret)
{
	struct weir_crew *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return -ENOMEM;
	c->o = *o;
	c->fd = -1;
	c->delay_ms = DELAY_MIN_MS;
	c->restart = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	r = c->restart < 0 ? -errno : weir_loop_add(o->loop, c->restart, EPOLLIN, on_restart, c, &c->restart_source);
	if (r) {
		weir_crew_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static void words_of(int status, char *buf, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(buf, size, "signal %d, %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(buf, size, "exit status %d", WEXITSTATUS(status));
}

static void worker_gone(struct weir_crew *c, int status)
{
	struct weir_life *life = weir_serve_life(c->o.serve);
	bool sound = c->ready && now_ms() - c->since_ms >= SOUND_MS, said = WIFEXITED(status) && WEXITSTATUS(status) == 1;
	char how[64];

	hang_up(c);
	c->worker = life->pid[1] = 0;
	c->ready = false;
	words_of(status, how, sizeof how);
	snprintf(life->cause, sizeof life->cause, "%s", c->cause[0] ? c->cause : how);
	if (!c->was_ready && (said || ++c->tries >= FIRST_TRIES)) {
		c->o.calls.failed(said ? NULL : life->cause, c->o.calls.data);
		return;
	}
	life->restarts++;
	if (sound)
		c->delay_ms = DELAY_MIN_MS;
	weir_say("weir: warning: the worker ended (%s); what is enforced stays, another one is started", life->cause);
	restart_later(c);
}

void weir_crew_reap(struct weir_crew *c)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == c->worker) {
			worker_gone(c, status);
		} else if (pid == c->helper) {
			c->helper = weir_serve_life(c->o.serve)->pid[2] = 0;
		} else if (pid == weir_spawner_pid(c->o.spawner)) {
			c->o.calls.failed("the spawner ended: no worker could be started again", c->o.calls.data);
			return;
		}
	}
}

/* A helper that died: not more than one a second. */
static void helper_again(struct weir_crew *c)
{
	int fd = -1, r;

	if (!c->worker || c->helper || !c->ready)
		return;
	r = helper_start(c, &fd);
	if (r) {
		weir_say("weir: warning: no helper can be started: %s", strerror(-r));
		return;
	}
	weir_serve_life(c->o.serve)->helper_restarts++;
	weir_serve_helper(c->o.serve, fd);
}

static uint32_t silent_max(const struct weir_crew *c)
{
	return c->ready && !weir_serve_busy(c->o.serve) ? SILENT_MAX_S : SILENT_BUSY_S;
}

void weir_crew_tick(struct weir_crew *c)
{
	uint64_t calls = weir_serve_calls(c->o.serve);

	c->without = c->ready ? 0 : c->without + 1;
	c->silent = calls != c->calls ? 0 : c->silent + 1;
	c->calls = calls;
	if (c->worker && c->fd >= 0 && c->silent > silent_max(c))
		kill_worker(c, "it said nothing for %u s", c->silent);
	helper_again(c);
}

bool weir_crew_lives(const struct weir_crew *c)
{
	return c->silent <= silent_max(c) && c->without <= WITHOUT_MAX_S;
}

/* Is this child's end still to come, after at most so many milliseconds? */
static bool still_there(pid_t pid, uint32_t ms)
{
	uint64_t until = now_ms() + ms;

	while (pid > 0 && !waitpid(pid, NULL, WNOHANG)) {
		if (now_ms() > until)
			return true;
		nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
	}
	return false;
}

static void end(struct weir_crew *c, pid_t pid)
{
	if (still_there(pid, END_MS)) {
		weir_spawner_signal(c->o.spawner, pid, SIGKILL);
		still_there(pid, END_MS);
	}
}

void weir_crew_free(struct weir_crew *c)
{
	if (!c)
		return;
	hang_up(c);
	end(c, c->worker);
	weir_serve_helper(c->o.serve, -1);
	end(c, c->helper);
	weir_loop_del(c->restart_source);
	if (c->restart >= 0)
		close(c->restart);
	free(c);
}
