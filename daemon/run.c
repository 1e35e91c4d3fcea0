/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon/keeper/boot.h"
#include "daemon/live.h"
#include "daemon/loop.h"
#include "daemon/notify.h"
#include "daemon/run.h"
#include "daemon/rundir.h"
#include "daemon/worker/worker.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

struct run {
	const struct weir_run_options *o;
	struct weir_loop *loop;
	struct weir_keeper *keeper;
	struct weir_port *port;
	struct weir_worker *worker;
	struct weir_links *links;
	struct weir_live *live;
	int lock, signals, timer;
	bool links_stale; /* a report of interfaces failed: all are to be read anew */
	bool keep_pins; /* this start failed, and what an earlier life enforces must go on */
};

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A line on stderr. Paths and interfaces have names from outside: a terminal obeys none of them. */
static void say(const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (text)
		weir_text_put(stderr, text, strlen(text));
	putc('\n', stderr);
}

static int fail(const char *what, const char *why)
{
	say("weir: error: %s%s%s", what, why && *why ? ": " : "", why ? why : "");
	return 1;
}

static void on_link(enum weir_link_event ev, const struct weir_kern_if *i, void *data)
{
	struct run *x = data;

	weir_keeper_link(x->keeper, ev, i);
}

static void on_links(uint32_t events, void *data)
{
	struct run *x = data;

	if (weir_links_dispatch(x->links, on_link, x) < 0)
		x->links_stale = true;
}

static void on_events(uint32_t events, void *data)
{
	struct run *x = data;

	weir_port_event_dispatch(x->port, weir_worker_event, x->worker);
}

static uint64_t lost_events(struct run *x)
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

static void draw(struct run *x)
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
	struct run *x = data;
	uint64_t n;

	if (read(x->timer, &n, sizeof n) != sizeof n)
		return;
	if (x->links_stale)
		x->links_stale = weir_links_sync(x->links, on_link, x) < 0;
	weir_keeper_tick(x->keeper);
	weir_notify("WATCHDOG=1");
	weir_worker_tick(x->worker);
	draw(x);
}

static void on_signal(uint32_t events, void *data)
{
	struct run *x = data;
	struct signalfd_siginfo s;

	while (read(x->signals, &s, sizeof s) == sizeof s) {
		if (s.ssi_signo == SIGWINCH) {
			if (x->live)
				weir_live_resized(x->live);
		} else {
			weir_loop_stop(x->loop);
		}
	}
}

static void on_end(void *data)
{
	struct run *x = data;

	weir_loop_stop(x->loop);
}

/* An interface named by the user must be there; a glob may wait for one. */
static int check_interfaces(const struct run *x)
{
	size_t n;
	const struct weir_kern_if *ifs = weir_keeper_ifs(x->keeper, &n);

	for (const char *const *want = x->o->interfaces; want && *want; want++) {
		size_t i = 0;

		if (strpbrk(*want, "*?["))
			continue;
		while (i < n && strcmp(ifs[i].name, *want))
			i++;
		if (i < n)
			continue;
		say("weir: error: there is no interface '%s'", *want);
		say("  ip link shows them; '%s*' waits for one to come", *want);
		return -ENODEV;
	}
	return 0;
}

/* Every covered interface holds links open: the usual 1,024 descriptors end at some hundred interfaces. */
static void fds_raise(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l))
		return;
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l); /* if not, an interface that gets none is told as not covered */
}

static int sources_open(struct run *x)
{
	struct itimerspec every = { { 1, 0 }, { 1, 0 } };
	sigset_t set;
	int r;

	fds_raise();
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN); /* whoever reads our picture may go away, the host is still ours to guard */
	x->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	x->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (x->signals < 0 || x->timer < 0 || timerfd_settime(x->timer, 0, &every, NULL))
		return -errno;
	r = weir_loop_new(&x->loop);
	if (!r)
		r = weir_loop_add(x->loop, x->signals, EPOLLIN, on_signal, x, NULL);
	if (!r)
		r = weir_loop_add(x->loop, x->timer, EPOLLIN, on_timer, x, NULL);
	return r;
}

static int keeper_start(struct run *x)
{
	struct weir_keeper_options o = { .runtime_dir = x->o->runtime_dir, .interfaces = x->o->interfaces };
	char why[512] = "";
	int r = weir_keeper_open(&o, &x->keeper, why, sizeof why);

	if (r) {
		fail("cannot use the kernel", why[0] ? why : strerror(-r));
		fputs("  weir doctor looks for the cause\n", stderr);
		return r;
	}
	x->keep_pins = weir_keeper_before(x->keeper)->attached;
	if (x->o->boot && weir_boot_guard(x->keeper, x->o->state_dir, why, sizeof why))
		x->keep_pins = true; /* should this start fail, the host stays shut */
	if (x->o->boot && why[0])
		say("weir: %s", why);
	r = weir_links_open(&x->links);
	if (!r)
		r = weir_links_sync(x->links, on_link, x);
	if (r < 0) {
		fail("cannot list the interfaces", strerror(-r));
		return r;
	}
	return check_interfaces(x);
}

static int worker_start(struct run *x)
{
	const struct weir_run_options *o = x->o;
	struct weir_worker_options wo = { o->config_dir, o->runtime_dir, o->state_dir, o->log_dir,
					  o->policy,     o->has_mode,    o->mode,      .simulate = o->simulate };
	struct weir_diags diags = { 0 };
	char why[512] = "", path[PATH_MAX];
	int r = weir_port_new_local(x->keeper, &x->port);

	if (!r)
		r = weir_worker_open(&wo, x->port, &x->worker, &diags, why, sizeof why);
	if (!r)
		r = weir_worker_start(x->worker, &diags, why, sizeof why);
	weir_diags_format(stderr, &diags, o->color);
	if (r) {
		fail("nothing was started", why[0] ? why : diags.n ? "the policy has errors" : strerror(-r));
		weir_diags_free(&diags);
		return r;
	}
	weir_diags_free(&diags);
	x->keep_pins = false;
	x->worker->on_end = on_end;
	x->worker->on_end_data = x;
	snprintf(path, sizeof path, "%s/control.sock", o->runtime_dir);
	r = weir_worker_listen(x->worker, x->loop, path);
	if (r)
		fail(path, strerror(-r));
	return r;
}

static int loop_start(struct run *x)
{
	struct weir_live_options lo = { .out = stdout, .tty = isatty(STDOUT_FILENO) ? STDOUT_FILENO : -1,
					.color = x->o->color, .version = WEIR_VERSION };
	int r = weir_loop_add(x->loop, weir_links_fd(x->links), EPOLLIN, on_links, x, NULL);

	if (!r)
		r = weir_loop_add(x->loop, weir_port_event_fd(x->port), EPOLLIN, on_events, x, NULL);
	if (!r && x->o->live)
		r = weir_live_new(&lo, &x->live);
	if (r)
		fail("cannot start", strerror(-r));
	return r;
}

static void say_ready(const struct run *x)
{
	const struct weir_worker *w = x->worker;
	char simulated[160];
	size_t n, covered = 0;
	const struct weir_kern_if *ifs = weir_keeper_ifs(x->keeper, &n);

	for (size_t i = 0; i < n; i++)
		covered += ifs[i].covered;
	for (size_t i = 0; i < sizeof w->notes / sizeof *w->notes; i++) {
		if (w->notes[i][0])
			say("weir: warning: %s", w->notes[i]);
	}
	if (w->failing.policy_why[0])
		say("weir: warning: %s", w->failing.policy_why);
	if (x->o->simulate)
		say("weir: warning: this start SIMULATES failures; they stay in force until the next start or weir flush");
	say("weir: ready: generation %u (%s), mode %s, %zu interface%s covered, pid %d%s%s", w->generation, w->path,
	    weir_mode_name(weir_worker_mode(w)), covered, covered == 1 ? "" : "s", getpid(),
	    x->o->simulate ? ", SIMULATED failures: " : "",
	    weir_failures_simulated(x->o->simulate, simulated, sizeof simulated));
	weir_notify("READY=1");
}

/* In detect nothing may stay; in prevent nothing may stop. */
static void finish(struct run *x)
{
	bool enforcing = x->worker && x->worker->img.cfg && weir_worker_enforces(x->worker);
	bool remove = !x->keep_pins && (!enforcing || x->worker->end == WEIR_END_FLUSH);
	uint32_t generation = x->worker ? x->worker->generation : 0;
	bool ran = x->worker && x->worker->img.cfg;

	weir_notify("STOPPING=1");
	weir_live_free(x->live);
	weir_worker_free(x->worker);
	weir_port_free(x->port);
	weir_links_free(x->links);
	weir_keeper_close(x->keeper, remove);
	weir_loop_free(x->loop);
	if (x->signals >= 0)
		close(x->signals);
	if (x->timer >= 0)
		close(x->timer);
	if (remove && x->lock >= 0)
		weir_rundir_clear(x->o->runtime_dir);
	if (x->lock >= 0)
		close(x->lock);
	if (!ran) {
		if (x->keep_pins)
			fputs("  what an earlier start put in force, or the guard, stays: weir status\n"
			      "  the way out: weir flush, or weir=off on the kernel command line\n",
			      stderr);
		return;
	}
	if (remove)
		fputs("weir: ended; nothing stays in the kernel\n", stderr);
	else
		fprintf(stderr,
			"weir: ended; generation %u is still enforced\n  watch it again: %s      remove it: weir flush\n",
			generation, x->o->boot ? "systemctl start weir" : "weir run");
}

int weir_run(const struct weir_run_options *o)
{
	struct run x = { .o = o, .lock = -1, .signals = -1, .timer = -1 };
	char why[512] = "";
	int r;

	if (o->boot && weir_boot_off()) {
		say("weir: weir=off on the kernel command line: not started, nothing is enforced");
		say("  a boot without it starts weir again; now: weir run");
		return 0;
	}
	x.lock = weir_rundir_open(o->runtime_dir, why, sizeof why);
	if (x.lock < 0) {
		fail(why[0] ? why : strerror(-x.lock), NULL);
		if (x.lock == -EBUSY)
			fputs("  weir status shows it; another --runtime-dir starts a second one\n", stderr);
		return 1;
	}
	r = sources_open(&x);
	if (r)
		fail("cannot start", strerror(-r));
	if (!r)
		r = keeper_start(&x);
	if (!r)
		r = worker_start(&x);
	if (!r)
		r = loop_start(&x);
	if (!r) {
		say_ready(&x);
		draw(&x);
		r = weir_loop_run(x.loop);
	}
	finish(&x);
	return r ? 1 : 0;
}
