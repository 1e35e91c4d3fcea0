/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker as a process: no rights from its first breath, its sockets at fixed numbers, the live view on the
 * standard output of the one who typed `weir run`. It ends when the keeper hangs up, whatever the reason.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon/live.h"
#include "daemon/loop.h"
#include "daemon/role.h"
#include "daemon/say.h"
#include "daemon/worker/api.h"
#include "daemon/worker/worker.h"
#include "lib/sandbox/sandbox.h"
#include "lib/util/cleanup.h"
#include "lib/util/cpus.h"
#include "lib/util/version.h"

/* The last dot: what leads there is no link then, and those are refused. */
#define STATE_BY_FD "/proc/self/fd/6/."
#define LOG_BY_FD "/proc/self/fd/7/."

struct work {
	const struct weir_run_options *o;
	struct weir_loop *loop;
	struct weir_port *port;
	struct weir_helper *helper;
	struct weir_worker *worker;
	struct weir_live *live;
	struct weir_life life;
	struct weir_sandbox sandbox;
	const char *state_dir, *log_dir;
	uint32_t cpus;
	int signals, timer;
};

static void on_events(uint32_t events, void *data)
{
	struct work *x = data;

	weir_port_event_dispatch(x->port, weir_worker_event, x->worker);
}

/* It speaks only when it is asked: this is its end. */
static void on_keeper(uint32_t events, void *data)
{
	struct work *x = data;

	weir_loop_stop(x->loop);
}

static void on_end(void *data)
{
	struct work *x = data;

	weir_port_end(x->port, x->worker->end == WEIR_END_FLUSH);
}

static uint64_t lost_events(struct work *x)
{
	struct weir_counter stats[WEIR_STATS_MAX] = { 0 };

	weir_port_stats(x->port, stats, WEIR_STATS_MAX);
	return stats[WEIR_REASON_COUNT * 3 + WEIR_STAT_LOST_VERDICT].packets +
	       stats[WEIR_REASON_COUNT * 3 + WEIR_STAT_LOST_TELEMETRY].packets;
}

/* Is the picture taken? A pager that waits, or Ctrl-S, must not hold the daemon: the next one will do. */
static bool writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) != 0;
}

static void draw(struct work *x)
{
	_cleanup_free_ uint8_t(*addrs)[16] = NULL;
	struct weir_live_input in;

	if (!x->live || !writable(STDOUT_FILENO))
		return;
	in = (struct weir_live_input){
		.img = &x->worker->img,
		.mode = weir_worker_mode(x->worker),
		.owners = x->worker->owners,
		.names = x->worker->names,
		.now = (uint64_t)time(NULL),
		.lost = lost_events(x),
		.plain_dns = x->worker->plain_dns,
	};
	weir_addrs_read(&addrs, &in.n_addrs);
	in.addrs = (const uint8_t(*)[16])addrs;
	in.ifs = weir_port_ifs(x->port, &in.n_ifs);
	weir_host_port_range(&in.eph_min, &in.eph_max);
	weir_owners_refresh(x->worker->owners);
	weir_port_flow_each(x->port, weir_live_flow, x->live);
	weir_live_draw(x->live, &in);
}

static void on_timer(uint32_t events, void *data)
{
	struct work *x = data;
	uint64_t n;
	int fd;

	if (read(x->timer, &n, sizeof n) != sizeof n)
		return;
	weir_port_ping(x->port, &fd);
	if (fd >= 0)
		weir_helper_renew(x->helper, fd);
	weir_worker_tick(x->worker);
	draw(x);
}

static void on_signal(uint32_t events, void *data)
{
	struct work *x = data;
	struct signalfd_siginfo s;

	while (read(x->signals, &s, sizeof s) == sizeof s) {
		if (x->live)
			weir_live_resized(x->live);
	}
}

static int sources_open(struct work *x)
{
	struct itimerspec every = { { 1, 0 }, { 1, 0 } };
	sigset_t set;
	int r;

	/* INT, TERM and HUP go to all of us; the keeper is the one who answers to them */
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN); /* whoever reads our picture may go away, the host is still ours to guard */
	x->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	x->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (x->signals < 0 || x->timer < 0 || timerfd_settime(x->timer, 0, &every, NULL))
		return -errno;
	r = weir_loop_new(&x->loop);
	if (!r)
		r = weir_loop_add(x->loop, weir_port_fd(x->port), EPOLLIN | EPOLLRDHUP, on_keeper, x, NULL);
	if (!r)
		r = weir_loop_add(x->loop, x->signals, EPOLLIN, on_signal, x, NULL);
	if (!r)
		r = weir_loop_add(x->loop, x->timer, EPOLLIN, on_timer, x, NULL);
	return r;
}

/* Before anything is read: from here on a mistake of ours is a mistake without rights. */
static int sandbox_enter(struct work *x)
{
	struct weir_sandbox_dir dirs[] = { { STATE_BY_FD, true }, { LOG_BY_FD, true } };
	int r;

	x->cpus = weir_cpus_possible(); /* afterwards /sys is out of reach */
	r = weir_sandbox_worker(dirs, sizeof dirs / sizeof *dirs, &x->sandbox);
	if (r)
		weir_fail("the worker cannot give its rights up", strerror(-r));
	/* by name where it can be reached so */
	x->state_dir = access(x->o->state_dir, W_OK) ? STATE_BY_FD : x->o->state_dir;
	x->log_dir = access(x->o->log_dir, W_OK) ? LOG_BY_FD : x->o->log_dir;
	return r;
}

static int start(struct work *x)
{
	const struct weir_run_options *o = x->o;
	struct weir_worker_options wo = { .config_dir = o->config_dir, .runtime_dir = o->runtime_dir,
					  .state_dir = x->state_dir, .log_dir = x->log_dir,
					  .state_name = o->state_dir, .log_name = o->log_dir, .policy = o->policy,
					  .has_mode = o->has_mode, .mode = o->mode, .simulate = o->simulate, .resume = x->life.installed,
					  .cause = x->life.cause[0] ? x->life.cause : NULL,
					  .helper = x->helper, .cpus = x->cpus };
	struct weir_diags diags = { 0 };
	char why[512] = "";
	int r = weir_worker_open(&wo, x->port, &x->worker, &diags, why, sizeof why);

	if (!r)
		r = weir_worker_start(x->worker, &diags, why, sizeof why);
	weir_diags_format(stderr, &diags, o->color);
	if (r)
		weir_fail(x->life.installed ? "the worker cannot go on" : "nothing was started",
			  why[0] ? why : diags.n ? "the policy has errors" : strerror(-r));
	weir_diags_free(&diags);
	if (r)
		return r;
	x->worker->sandbox = &x->sandbox;
	x->worker->on_end = on_end;
	x->worker->on_end_data = x;
	return weir_worker_listen(x->worker, x->loop, WEIR_FD_CONTROL);
}

static int watch(struct work *x)
{
	struct weir_live_options lo = { .out = stdout, .tty = isatty(STDOUT_FILENO) ? STDOUT_FILENO : -1,
					.color = x->o->color, .version = weir_version() };
	int fd = weir_port_event_fd(x->port), r = fd < 0 ? fd : weir_loop_add(x->loop, fd, EPOLLIN, on_events, x, NULL);

	if (!r && x->o->live)
		r = weir_live_new(&lo, &x->live);
	if (!r)
		r = weir_port_ready(x->port);
	if (r)
		weir_fail("cannot start", strerror(-r));
	return r;
}

static void say_ready(const struct work *x)
{
	const struct weir_worker *w = x->worker;
	char simulated[160];
	size_t n, covered = 0;
	const struct weir_kern_if *ifs = weir_port_ifs(x->port, &n);

	for (size_t i = 0; i < n; i++)
		covered += ifs[i].covered;
	for (size_t i = 0; i < sizeof w->notes / sizeof *w->notes; i++) {
		if (w->notes[i][0])
			weir_say("weir: warning: %s", w->notes[i]);
	}
	if (w->failing.policy_why[0])
		weir_say("weir: warning: %s", w->failing.policy_why);
	if (w->lists.why[0])
		weir_say("weir: warning: %s", w->lists.why);
	if (w->late_why[0])
		weir_say("weir: warning: %s", w->late_why);
	if (x->o->simulate)
		weir_say("weir: warning: this start SIMULATES failures; they stay in force until the next start or weir flush");
	weir_say("weir: %s: generation %u (%s), mode %s, %zu interface%s covered, pid %d%s%s",
		 x->life.installed ? "watching again" : "ready", w->generation, w->path, weir_mode_name(weir_worker_mode(w)),
		 covered, covered == 1 ? "" : "s", x->life.pid[0], x->o->simulate ? ", SIMULATED failures: " : "",
		 weir_failures_simulated(x->o->simulate, simulated, sizeof simulated));
	if (x->life.installed)
		weir_api_audit(x->worker, 0, x->life.pid[0], "worker started again", x->life.cause, "ok");
}

static void finish(struct work *x)
{
	weir_live_free(x->live);
	weir_worker_free(x->worker);
	weir_helper_free(x->helper);
	weir_port_free(x->port);
	weir_loop_free(x->loop);
	if (x->signals >= 0)
		close(x->signals);
	if (x->timer >= 0)
		close(x->timer);
}

int weir_worker_main(const struct weir_run_options *o)
{
	struct work x = { .o = o, .signals = -1, .timer = -1 };
	int r = sandbox_enter(&x);

	if (!r)
		r = weir_helper_new_fd(WEIR_FD_HELPER, &x.helper);
	if (!r)
		r = weir_port_new_fd(WEIR_FD_KEEPER, &x.port);
	if (!r)
		r = weir_port_life(x.port, &x.life);
	if (!r)
		r = sources_open(&x);
	if (!r)
		r = start(&x);
	if (!r)
		r = watch(&x);
	if (!r) {
		say_ready(&x);
		draw(&x);
		r = weir_loop_run(x.loop);
	}
	finish(&x);
	return r ? 1 : 0;
}
