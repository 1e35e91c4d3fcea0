/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir run` is the keeper: it holds the rights, watches the interfaces, and starts the others. It parses nothing from
 * outside: what it is asked comes as structs of fixed size (daemon/keeper/proto.h) and as images that it checks.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "daemon/crew.h"
#include "daemon/keeper/boot.h"
#include "daemon/keeper/serve.h"
#include "daemon/listen.h"
#include "daemon/loop.h"
#include "daemon/notify.h"
#include "daemon/run.h"
#include "daemon/rundir.h"
#include "daemon/say.h"
#include "daemon/spawner.h"
#include "lib/sandbox/sandbox.h"
#include "lib/util/cleanup.h"
#include "lib/util/dir.h"

#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF 39
#endif
#define KEEPER_CAPS (1ull << CAP_NET_ADMIN | 1ull << CAP_PERFMON | 1ull << CAP_BPF)

struct run {
	const struct weir_run_options *o;
	struct weir_spawner *spawner;
	struct weir_loop *loop;
	struct weir_keeper *keeper;
	struct weir_serve *serve;
	struct weir_crew *crew;
	struct weir_links *links;
	int lock, signals, timer, control, dirs[2]; /* dirs: state and log */
	bool links_stale; /* a report of interfaces failed: all are to be read anew */
	bool keep_pins;   /* this start failed, and what an earlier life enforces must go on */
	bool failed;
	bool pins_private; /* init does not see the pins: they end with the last process of our mount namespace */
	uint32_t end;     /* WEIR_CALL_END_* that a client asked for */
};

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

static void on_timer(uint32_t events, void *data)
{
	struct run *x = data;
	uint64_t n;

	if (read(x->timer, &n, sizeof n) != sizeof n)
		return;
	if (x->links_stale)
		x->links_stale = weir_links_sync(x->links, on_link, x) < 0;
	weir_serve_settled(x->serve, weir_keeper_tick(x->keeper));
	weir_crew_tick(x->crew);
	if (weir_crew_lives(x->crew))
		weir_notify("WATCHDOG=1");
}

static void on_signal(uint32_t events, void *data)
{
	struct run *x = data;
	struct signalfd_siginfo s;

	while (read(x->signals, &s, sizeof s) == sizeof s) {
		if (s.ssi_signo == SIGCHLD)
			weir_crew_reap(x->crew);
		else
			weir_loop_stop(x->loop);
	}
}

/*
 * `ip netns exec` and `unshare -m` make a mount namespace, and what is pinned in it ends with it. The unit of systemd has
 * one, too, and there the host mounts the bpffs.
 */
static void pins_look(struct run *x)
{
	char path[PATH_MAX];
	struct stat here, init;

	if (stat("/proc/1/ns/mnt", &init) || stat("/proc/self/ns/mnt", &here) || init.st_ino == here.st_ino)
		return; /* the same one, or not to be known */
	snprintf(path, sizeof path, "/proc/1/root%s/bpf", x->o->runtime_dir);
	if (stat(path + strlen("/proc/1/root"), &here))
		return;
	x->pins_private = stat(path, &init) || init.st_dev != here.st_dev;
}

static void on_ready(void *data)
{
	struct run *x = data;

	if (x->pins_private && weir_serve_enforces(x->serve))
		weir_say("weir: warning: the pins stand in a mount namespace of their own: enforcement ends with its last process\n"
			 "  into a network namespace: nsenter --net=/run/netns/NAME weir run, not ip netns exec");
	x->keep_pins = false;
	weir_notify("READY=1");
}

static void on_end(uint32_t how, void *data)
{
	struct run *x = data;

	x->end = how;
	weir_loop_stop(x->loop);
}

static void on_failed(const char *why, void *data)
{
	struct run *x = data;

	if (why)
		weir_fail(weir_serve_generation(x->serve) ? "weir cannot go on" : "nothing was started", why);
	x->failed = true;
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
		weir_say("weir: error: there is no interface '%s'", *want);
		weir_say("  ip link shows them; '%s*' waits for one to come", *want);
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

/* Whoever started us without them must not find our sockets at their numbers. */
static int standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
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
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
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
	struct weir_keeper_options o = { .runtime_dir = x->o->runtime_dir, .interfaces = x->o->interfaces,
					 .prog_open = weir_spawner_prog, .prog_data = x->spawner, .busy = weir_notify_busy };
	char why[512] = "";
	int r = weir_keeper_open(&o, &x->keeper, why, sizeof why);

	if (r) {
		weir_fail("cannot use the kernel", why[0] ? why : strerror(-r));
		fputs("  weir doctor looks for the cause\n", stderr);
		return r;
	}
	x->keep_pins = weir_keeper_before(x->keeper)->attached;
	if (x->o->boot && weir_boot_guard(x->keeper, x->o->state_dir, why, sizeof why))
		x->keep_pins = true; /* should this start fail, the host stays shut */
	if (x->o->boot && why[0])
		weir_say("weir: %s", why);
	r = weir_serve_new(x->keeper, &x->serve);
	if (!r)
		r = weir_links_open(&x->links);
	if (!r)
		r = weir_links_sync(x->links, on_link, x);
	if (r < 0) {
		weir_fail("cannot list the interfaces", strerror(-r));
		return r;
	}
	return check_interfaces(x);
}

/* What the worker writes in belongs to it; nobody else may look. */
static int dirs_give(struct run *x)
{
	const char *const dirs[] = { x->o->state_dir, x->o->log_dir };
	struct weir_user to = weir_user_find(WEIR_WORKER_USER, WEIR_WORKER_UID);
	char why[512] = "";

	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		int r = weir_dir_prepare_for(dirs[i], to.uid, why, sizeof why);

		if (!r && (r = weir_sandbox_give(dirs[i], &to)))
			snprintf(why, sizeof why, "cannot give %s to the worker: %s", dirs[i], strerror(-r));
		if (r == -EINVAL || (r == -EPERM && !why[0]))
			r = 0; /* a container without another user: the worker stays who we are */
		if (r == -EROFS) { /* the host is to be guarded all the same; whether it can be read the worker tells */
			weir_say("weir: warning: %s is read-only and cannot be made the worker's", dirs[i]);
			r = 0;
		}
		if (!r && (x->dirs[i] = open(dirs[i], O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0) {
			r = -errno;
			snprintf(why, sizeof why, "cannot open %s: %s", dirs[i], strerror(-r));
		}
		if (r) {
			weir_fail("nothing was started", why);
			return r;
		}
	}
	return 0;
}

/* The last step before somebody else is heard. What took more is done. */
static void rights_drop(struct run *x)
{
	int r = weir_caps_keep(KEEPER_CAPS);

	if (!r && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		r = -errno;
	if (r)
		weir_say("weir: warning: the keeper keeps rights that it does not need: %s", strerror(-r));
	weir_serve_life(x->serve)->sandboxed = !r;
}

static int crew_start(struct run *x)
{
	struct weir_crew_options o = { .loop = x->loop, .spawner = x->spawner, .serve = x->serve,
				       .calls = { on_ready, on_end, on_failed, x } };
	char path[PATH_MAX];
	int r = dirs_give(x);

	if (r)
		return r;
	snprintf(path, sizeof path, "%s/control.sock", x->o->runtime_dir);
	x->control = o.control = weir_listen(path);
	o.state = x->dirs[0];
	o.log = x->dirs[1];
	if (x->control < 0) {
		weir_fail(path, strerror(-x->control));
		return x->control;
	}
	rights_drop(x);
	weir_serve_life(x->serve)->pid[0] = getpid();
	r = weir_loop_add(x->loop, weir_links_fd(x->links), EPOLLIN, on_links, x, NULL);
	if (!r)
		r = weir_crew_new(&o, &x->crew);
	if (!r)
		r = weir_crew_start(x->crew);
	if (r)
		weir_fail("cannot start", strerror(-r));
	return r;
}

static void clients_end(struct run *x)
{
	char path[PATH_MAX];

	if (x->control < 0)
		return;
	close(x->control);
	snprintf(path, sizeof path, "%s/control.sock", x->o->runtime_dir);
	unlink(path);
}

static void say_end(const struct run *x, uint32_t generation, bool remove)
{
	const char *dirs = x->o->given ?: "", *space = x->o->given ? " " : "";

	if (!generation) {
		if (x->keep_pins)
			weir_say("  what an earlier start put in force, or the guard, stays: weir%s%s status", space, dirs);
		if (x->keep_pins)
			weir_say("  the way out: weir%s%s flush, or weir=off on the kernel command line", space, dirs);
		return;
	}
	if (remove) {
		weir_say("weir: ended; nothing stays in the kernel");
		return;
	}
	weir_say("weir: ended; generation %u is still enforced%s", generation,
		 x->pins_private ? ", until the last process of this mount namespace ends" : "");
	weir_say("  watch it again: %s%s%s%s      remove it: weir%s%s flush", x->o->boot ? "systemctl start weir" : "weir",
		 x->o->boot ? "" : space, x->o->boot ? "" : dirs, x->o->boot ? "" : " run", space, dirs);
}

/* In detect nothing may stay; in prevent nothing may stop. */
static void finish(struct run *x)
{
	bool remove = !x->keep_pins && (!x->serve || !weir_serve_enforces(x->serve) || x->end == WEIR_CALL_END_FLUSH);
	uint32_t generation = x->serve ? weir_serve_generation(x->serve) : 0;

	weir_notify("STOPPING=1");
	weir_crew_free(x->crew);
	clients_end(x);
	weir_links_free(x->links);
	weir_serve_free(x->serve);
	if (x->keeper && !remove && generation)
		weir_kern_rest(weir_keeper_kern(x->keeper));
	weir_keeper_close(x->keeper, remove);
	weir_loop_free(x->loop);
	if (x->signals >= 0)
		close(x->signals);
	if (x->timer >= 0)
		close(x->timer);
	if (remove && x->lock >= 0)
		weir_spawner_remove(x->spawner); /* what is left: the mount takes more than we still have */
	weir_spawner_free(x->spawner);
	for (int i = 0; i < 2; i++)
		if (x->dirs[i] >= 0)
			close(x->dirs[i]);
	if (x->lock >= 0)
		close(x->lock);
	say_end(x, generation, remove);
}

int weir_run(const struct weir_run_options *o)
{
	struct run x = { .o = o, .lock = -1, .signals = -1, .timer = -1, .control = -1, .dirs = { -1, -1 } };
	char why[512] = "";
	int r;

	if (o->boot && weir_boot_off()) {
		weir_say("weir: weir=off on the kernel command line: not started, nothing is enforced");
		weir_say("  a boot without it starts weir again; now: weir run");
		return 0;
	}
	r = standard_fds();
	if (!r)
		r = weir_spawner_new(o, &x.spawner);
	if (r)
		return weir_fail("cannot start", strerror(-r));
	x.lock = weir_rundir_open(o->runtime_dir, why, sizeof why);
	if (x.lock < 0) {
		weir_fail(why[0] ? why : strerror(-x.lock), NULL);
		if (x.lock == -EBUSY)
			fputs("  weir status shows it; another --runtime-dir starts a second one\n", stderr);
		weir_spawner_free(x.spawner);
		return 1;
	}
	r = sources_open(&x);
	if (r)
		weir_fail("cannot start", strerror(-r));
	if (!r)
		r = keeper_start(&x);
	if (!r) {
		pins_look(&x);
		r = crew_start(&x);
	}
	if (!r)
		r = weir_loop_run(x.loop);
	finish(&x);
	return r || x.failed ? 1 : 0;
}
