/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes that wait for their confirmation, in the kernel: datagrams over lo of a namespace of our own say which of
 * two images decides. "open" lets them pass, "shut" drops them. One line of TAP for each step.
 * This file is long because one life of a kernel is told from beginning to end, each step on the one before.
 */
#include "tests/bpf/kernel.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull

static struct weir_runner runner;
static struct weir_imgbuild build;
static int line, failed, listener, sender;
static uint32_t epoch, idle_s = 3600;
static uint64_t slowest = 200 * MS; /* of all installs: a deadline must outlast a few of them */

static void say(bool ok, const char *name)
{
	printf("%sok %d - %s\n", ok ? "" : "not ", ++line, name);
	failed += !ok;
}

static void *image(uint32_t generation, bool open, uint32_t mode, uint32_t *size)
{
	weir_imgbuild_init(&build);
	build.cfg.generation = generation;
	build.cfg.epoch = ++epoch;
	build.cfg.mode = mode;
	build.cfg.essentials = WEIR_ESS_ARP;
	build.cfg.established = WEIR_EST_RECHECK;
	build.cfg.idle_s = idle_s;
	for (int i = 0; i < 3; i++)
		build.cfg.defaults[i] = (struct weir_fixed){ .action = open ? WEIR_ACT_ALLOW : WEIR_ACT_DROP,
							     .mode = (uint8_t)mode };
	return weir_imgbuild_make(&build, size);
}

/* deadline_ms from now; 0: none. `back`: -1 what is there, else an image that is open or not. */
static int put(uint32_t generation, bool open, uint64_t deadline, int back)
{
	struct weir_kern_change c = { .deadline = deadline };
	void *blob = image(generation, open, WEIR_PREVENT, &c.size), *old = NULL;
	uint64_t from = weir_kern_now();
	char why[256] = "";
	int r;

	c.blob = blob;
	if (back >= 0)
		c.back = old = image(generation - 1, back, WEIR_PREVENT, &c.back_size);
	r = weir_kern_install(runner.kern, &c, why, sizeof why);
	if (r)
		printf("# install: %s: %s\n", strerror(-r), why);
	free(blob);
	free(old);
	if (weir_kern_now() - from > slowest)
		slowest = weir_kern_now() - from;
	return r;
}

/* Soon, and still later than the next installs take on this machine at this hour. */
static uint64_t soon(void)
{
	return weir_kern_now() + 4 * slowest;
}

static uint64_t in_ms(uint64_t ms)
{
	return weir_kern_now() + ms * MS;
}

static int cover_lo(void)
{
	struct weir_kern_if lo = { .ifindex = 1, .name = "lo", .flags = IFF_UP | IFF_LOOPBACK, .arphrd = 772, .mtu = 65536 };

	return weir_kern_attach(runner.kern, &lo, WEIR_XDP_AUTO);
}

/* Does a datagram arrive? Over lo it has, or never will, when send returns. */
static bool arrives(void)
{
	char buf[16];

	while (recv(listener, buf, sizeof buf, MSG_DONTWAIT) > 0)
		;
	send(sender, "x", 1, 0);
	return recv(listener, buf, sizeof buf, MSG_DONTWAIT) == 1;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

/* Nobody does anything: the kernel alone opens again, not before the deadline, and then at once. */
static void opens_by_itself(uint64_t deadline, const char *name)
{
	uint64_t at = 0;

	while (weir_kern_now() < deadline + 5000 * MS) {
		uint64_t now = weir_kern_now();

		if (arrives()) {
			at = now;
			break;
		}
		nap();
	}
	say(at && at + 20 * MS >= deadline, name);
}

static bool pends(uint32_t generation, uint32_t back)
{
	struct weir_kern_pending p;

	weir_kern_pending(runner.kern, &p);
	return p.pending && p.generation == generation && p.back_generation == back;
}

static void sockets(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	socklen_t len = sizeof a;

	listener = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (ioctl(listener, SIOCSIFFLAGS, &ifr) || bind(listener, (struct sockaddr *)&a, len) ||
	    getsockname(listener, (struct sockaddr *)&a, &len) || connect(sender, (struct sockaddr *)&a, len))
		perror("# sockets");
}

static void test_goes_back(void)
{
	uint64_t deadline;

	say(!put(1, true, 0, -1) && !cover_lo() && arrives(), "an open image, final");
	deadline = soon();
	say(!put(2, false, deadline, -1) && pends(2, 1), "a shut one waits");
	say(!arrives(), "and decides until its deadline");
	opens_by_itself(deadline, "then the old one decides, with nobody's help");
	say(weir_kern_confirm(runner.kern) == -ENOENT, "too late to confirm");
	say(weir_kern_settle(runner.kern) == WEIR_SETTLED_BACK && arrives() && !pends(2, 1), "the hooks are moved back");
	say(weir_kern_settle(runner.kern) == WEIR_SETTLED_NOTHING && arrives(), "once");
}

/* What it takes to load is not taken from the time to confirm: the clock starts with the switch, at the end. */
static void test_clock(void)
{
	struct weir_kern_change c = { .span = 60000 * MS };
	uint64_t from, in_force, began;
	struct weir_kern_pending p;
	char why[256] = "";
	void *blob;

	for (int i = 0; i < 2; i++) { /* the hooks are to be led to the root programs; they are led there */
		blob = image((uint32_t)(60 + i), true, WEIR_PREVENT, &c.size);
		c.blob = blob;
		from = weir_kern_now();
		say(!weir_kern_install(runner.kern, &c, why, sizeof why), i ? "replaced" : "one that waits for a time");
		in_force = weir_kern_now();
		weir_kern_pending(runner.kern, &p);
		began = p.deadline - c.span;
		printf("# install %llu ms, the clock began after %lld ms\n", (unsigned long long)(in_force - from) / MS,
		       ((long long)began - (long long)from) / (long long)MS);
		say(p.pending && began > from + (in_force - from) / 2 && began <= in_force, "its clock starts where it takes force");
		free(blob);
	}
	say(!weir_kern_revert(runner.kern), "taken back");
}

static void test_confirm_and_revert(void)
{
	uint64_t deadline = soon();

	say(!put(3, false, deadline, -1) && !weir_kern_confirm(runner.kern) && !arrives(), "confirmed");
	while (weir_kern_now() < deadline + 50 * MS)
		nap();
	say(!arrives() && weir_kern_settle(runner.kern) == WEIR_SETTLED_NOTHING && !arrives(), "and it stays past the deadline");
	say(!put(4, true, in_ms(60000), -1) && arrives(), "an open one waits");
	say(!weir_kern_revert(runner.kern) && !arrives(), "taken back");
	say(weir_kern_revert(runner.kern) == -ENOENT && weir_kern_confirm(runner.kern) == -ENOENT, "nothing waits any more");
}

static void test_edits(void)
{
	uint64_t deadline = in_ms(60000);

	say(!put(5, true, 0, -1) && arrives(), "open, final");
	say(!put(6, false, deadline, -1) && !arrives(), "shut, waits");
	for (int i = 0; i < 5; i++)
		say(!put(6, false, deadline, true) && pends(6, 5) && !arrives(), "an edit replaces both");
	deadline = soon();
	say(!put(6, false, deadline, true) && !arrives(), "the last one, with another deadline");
	opens_by_itself(deadline, "the edited old one decides after the deadline");
	weir_kern_settle(runner.kern);
	say(!put(7, false, in_ms(60000), -1) && !put(8, true, in_ms(60000), -1) && pends(8, 6 - 1), "replaced, with the first way back");
	say(arrives(), "the newer decides");
	say(!put(9, false, 0, -1) && !arrives() && !pends(9, 5), "a final one ends the waiting");
}

/* The process is gone, with all that it held open. */
/* A command that asks nobody decides while an edit, or what shall replace the change, is being made. */
static void test_decided_meanwhile(void)
{
	say(!put(5, true, 0, -1) && !put(6, false, in_ms(60000), -1) && !arrives(), "shut, waits");
	say(!weir_kern_pinned_revert(runner.dir) && arrives(), "a command takes it back");
	say(put(6, false, in_ms(60000), true) == -ECANCELED && arrives(), "an edit does not make it wait again");
	say(put(7, false, in_ms(60000), -1) == -ECANCELED && arrives(), "nothing can replace it");
	say(weir_kern_settle(runner.kern) == WEIR_SETTLED_BACK && arrives(), "settled");
	say(put(6, false, in_ms(60000), true) == -ECANCELED && arrives(), "nor does an edit that comes later");
	say(!put(7, true, in_ms(60000), -1) && !weir_kern_pinned_confirm(runner.dir), "a command confirms");
	say(put(7, true, in_ms(60000), false) == -ECANCELED && weir_kern_settle(runner.kern) == WEIR_SETTLED_CONFIRMED &&
	    arrives(), "an edit does not take it back");
}

static void die(void)
{
	weir_kern_close(runner.kern, false);
	runner.kern = NULL;
}

static bool born(void)
{
	struct weir_kern_options o = { .runtime_dir = runner.dir };
	char why[256] = "";

	return !weir_kern_open(&o, &runner.kern, why, sizeof why);
}

/* One change after the other, faster than the keeper tidies up. */
static void test_again_at_once(void)
{
	die();
	say(born() && !put(10, true, 0, -1) && !cover_lo() && arrives(), "born again, open");
	say(!put(11, false, in_ms(60000), -1) && !weir_kern_confirm(runner.kern) && !arrives(), "shut, confirmed at once");
	say(!put(12, true, in_ms(60000), -1) && arrives(), "open, waits");
	for (int i = 0; i < 4; i++)
		weir_kern_settle(runner.kern);
	say(arrives() && pends(12, 11), "and it goes on to wait");
	say(!put(13, false, 0, -1) && !put(14, true, in_ms(60000), -1) && arrives() && pends(14, 13), "a final one, another that waits");
	for (int i = 0; i < 3; i++)
		weir_kern_settle(runner.kern);
	say(arrives() && pends(14, 13) && !weir_kern_revert(runner.kern) && !arrives(), "taken back to the final one");
}

static void test_dead(void)
{
	struct weir_kern_pinned p;
	uint64_t deadline;

	say(!put(20, true, 0, -1), "open, final");
	deadline = soon();
	say(!put(21, false, deadline, -1) && !arrives(), "shut, waits");
	die();
	say(!arrives(), "with nobody alive it is in force");
	say(!weir_kern_pinned(runner.dir, &p) && p.pending && p.generation == 21 && p.other_generation == 20 && p.attached,
	    "the pins tell of it");
	opens_by_itself(deadline, "with nobody alive it goes back");
	say(!weir_kern_pinned(runner.dir, &p) && !p.pending && p.settled_back && p.generation == 20 && p.epoch_max == epoch,
	    "the pins tell that it went back");
	say(weir_kern_pinned_confirm(runner.dir) == -ENOENT, "a command comes too late to confirm");
	say(born() && arrives(), "born again");
	say(!put(22, true, 0, -1) && arrives() && !cover_lo() && arrives(), "hooks taken over");
	for (int i = 0; i < 3; i++)
		weir_kern_settle(runner.kern);
	say(arrives() && !weir_kern_pinned(runner.dir, &p) && p.generation == 22 && !p.other_generation, "and tidied up");

	deadline = in_ms(60000);
	say(!put(23, false, deadline, -1), "shut, waits");
	die();
	say(!weir_kern_pinned_confirm(runner.dir) && !weir_kern_pinned(runner.dir, &p) && !p.pending && p.generation == 23 &&
		    !p.settled_back && !arrives(),
	    "confirmed by a command, with nobody alive");
	say(weir_kern_pinned_revert(runner.dir) == -ENOENT, "what is confirmed cannot be taken back");
	say(born() && !put(24, false, 0, -1) && !cover_lo() && !arrives(), "born again");

	say(!put(25, true, deadline, -1) && arrives(), "open, waits");
	die();
	say(!weir_kern_pinned_revert(runner.dir) && !arrives() && !weir_kern_pinned(runner.dir, &p) && p.settled_back &&
		    p.generation == 24,
	    "taken back by a command, with nobody alive");
	say(born() && !put(26, true, 0, -1) && !cover_lo() && arrives(), "born again");
}

/* The keeper is started again in the middle: the same pair, the same deadline, and no moment of another verdict. */
static void test_restart_while_waiting(void)
{
	struct weir_kern_pinned p;
	uint64_t deadline = soon() + 4 * slowest;

	say(!put(31, false, deadline, -1) && !arrives(), "shut, waits");
	die();
	say(!weir_kern_pinned(runner.dir, &p) && p.pending && !arrives() && born() && !arrives(), "died and born again");
	say(!put(31, false, p.deadline, true) && !arrives() && !cover_lo() && !arrives() && pends(31, 30), "taken over");
	for (int i = 0; i < 3; i++)
		weir_kern_settle(runner.kern);
	say(!arrives() && pends(31, 30), "still waiting");
	opens_by_itself(deadline, "and it goes back at the old deadline");
	say(weir_kern_settle(runner.kern) == WEIR_SETTLED_BACK && arrives(), "settled");
}

/* Somebody emptied the slot: what the kernel does then is the policy's choice of mode. */
static void test_empty_slot(void)
{
	struct weir_counter before[WEIR_STATS_MAX], now[WEIR_STATS_MAX];
	const size_t stub = WEIR_REASON_COUNT * 3 + WEIR_STAT_FAIL_STUB;
	char path[128];
	int fd;

	say(!put(40, true, 0, -1) && !put(41, true, in_ms(60000), -1) && arrives(), "open, waits");
	snprintf(path, sizeof path, "%s/bpf/maps/weir_gens_tc", runner.dir);
	fd = bpf_obj_get(path);
	for (uint32_t i = 0; i < WEIR_GEN_SLOTS * 2; i++)
		bpf_map_delete_elem(fd, &i);
	close(fd);
	weir_kern_stats(runner.kern, before, WEIR_STATS_MAX);
	say(!arrives(), "in prevent nothing passes");
	weir_kern_stats(runner.kern, now, WEIR_STATS_MAX);
	say(now[stub].packets > before[stub].packets, "and it is counted");
	say(!weir_kern_revert(runner.kern) && arrives(), "taken back");
}

static void test_detect(void)
{
	struct weir_kern_change c = { .deadline = in_ms(60000) };
	void *blob = image(43, false, WEIR_DETECT, &c.size);
	char path[128], why[256];
	int fd;

	c.blob = blob;
	say(!put(42, false, 0, -1) && !arrives(), "shut, final");
	say(!weir_kern_install(runner.kern, &c, why, sizeof why) && arrives(), "one that only looks waits");
	snprintf(path, sizeof path, "%s/bpf/maps/weir_gens_tc", runner.dir);
	fd = bpf_obj_get(path);
	for (uint32_t i = 0; i < WEIR_GEN_SLOTS * 2; i++)
		bpf_map_delete_elem(fd, &i);
	close(fd);
	say(arrives(), "in detect everything passes, whatever fails");
	say(!weir_kern_revert(runner.kern) && !arrives(), "taken back");
	free(blob);
}

/* Rounds as the keeper makes them, until what is over is tidied up. */
static bool rounds(int n)
{
	bool quiet = true;

	for (int i = 0; i < n; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 600000000 }, NULL);
		quiet &= weir_kern_settle(runner.kern) == WEIR_SETTLED_NOTHING;
	}
	return quiet;
}

static int pin_open(const char *name)
{
	char path[128];

	snprintf(path, sizeof path, "%s/bpf/%s", runner.dir, name);
	return bpf_obj_get(path);
}

static int slots_used(void)
{
	int fd = pin_open("maps/weir_gens_tc"), n = 0;
	uint32_t id;

	for (uint32_t i = 0; i < WEIR_GEN_SLOTS * 2; i++)
		n += !bpf_map_lookup_elem(fd, &i, &id);
	close(fd);
	return n;
}

/* The first rounds of a life sweep up behind an earlier one: not what waits now. */
static void test_soon_after_start(void)
{
	say(!put(1, true, 0, -1) && !cover_lo() && arrives(), "a new life, open");
	say(!put(2, false, in_ms(60000), -1) && !arrives(), "a shut one waits at once");
	say(rounds(4) && pends(2, 1) && !arrives(), "still, after the first rounds");
	say(slots_used() == 4, "two generations are kept");
	say(!weir_kern_revert(runner.kern) && arrives() && rounds(3) && arrives(), "taken back");
	say(slots_used() == 0, "and nothing is kept");
}

static atomic_bool flood_on;
static atomic_ulong flood_sent, flood_lost;

static void *flood(void *none)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof all);
	sched_setaffinity(0, sizeof all, &all);
	while (atomic_load(&flood_on)) {
		if (send(sender, "f", 1, 0) < 0 && errno == ENOBUFS)
			atomic_fetch_add(&flood_lost, 1);
		atomic_fetch_add(&flood_sent, 1);
	}
	return none;
}

/* Packets on their way while hooks, slots and the word change: none may find an empty slot. */
static void test_under_flood(void)
{
	struct weir_counter before[WEIR_STATS_MAX], now[WEIR_STATS_MAX];
	const size_t stub = WEIR_REASON_COUNT * 3 + WEIR_STAT_FAIL_STUB;
	pthread_t t;
	bool ok = !put(50, true, 0, -1);

	weir_kern_stats(runner.kern, before, WEIR_STATS_MAX);
	atomic_store(&flood_on, true);
	pthread_create(&t, NULL, flood, NULL);
	for (uint32_t i = 0; i < 8; i++) {
		ok &= !put(51 + 2 * i, true, in_ms(60000), -1) && !put(51 + 2 * i, true, in_ms(60000), true);
		ok &= i % 2 ? !weir_kern_confirm(runner.kern) : !weir_kern_revert(runner.kern);
		if (i % 4 == 3)
			rounds(2);
	}
	atomic_store(&flood_on, false);
	pthread_join(t, NULL);
	weir_kern_stats(runner.kern, now, WEIR_STATS_MAX);
	say(ok && atomic_load(&flood_sent) > 1000, "changes, edits, confirmed and taken back, under a flood");
	say(now[stub].packets == before[stub].packets && !atomic_load(&flood_lost), "no packet was lost");
}

static atomic_int late_answer;

static void *confirm_late(void *deadline)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof all);
	sched_setaffinity(0, sizeof all, &all);
	while (weir_kern_now() + 40000 < *(uint64_t *)deadline)
		;
	atomic_store(&late_answer, weir_kern_pinned_confirm(runner.dir));
	return NULL;
}

/* A command confirms at the very deadline, while the clock is being asked: both say the same. */
static void test_at_the_deadline(void)
{
	int fd = pin_open("maps/weir_control"), agreed = 0, yes = 0;
	struct weir_control *c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	put(70, true, 0, -1);
	for (uint32_t i = 0; c != MAP_FAILED && i < 20; i++) {
		enum weir_settled how;
		uint64_t deadline;
		pthread_t t;

		if (put(71 + i, i % 2, in_ms(60000), -1))
			continue;
		deadline = (in_ms(4) / MS) * MS;
		c->word = weir_word_make(deadline / MS, weir_word_now(c->word), weir_word_back(c->word));
		pthread_create(&t, NULL, confirm_late, &deadline);
		while ((how = weir_kern_settle(runner.kern)) == WEIR_SETTLED_NOTHING)
			;
		pthread_join(t, NULL);
		agreed += (how == WEIR_SETTLED_CONFIRMED) == !atomic_load(&late_answer);
		yes += how == WEIR_SETTLED_CONFIRMED;
	}
	printf("# %d of 20 confirmed in time\n", yes);
	say(agreed == 20, "confirmed at the deadline: what was answered holds");
	munmap(c, sizeof *c);
	close(fd);
}

static bool has_links(void)
{
	int fd = pin_open("links/in_1");

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool detach_link(const char *name)
{
	int fd = pin_open(name), r = fd < 0 ? -1 : bpf_link_detach(fd);

	close(fd);
	return !r;
}

/* Somebody detached the links; a device goes away before anybody tells. Neither stops a change. */
static void test_hooks_that_went(void)
{
	struct weir_kern_if x = { .name = "wr0", .kind = "veth", .flags = IFF_UP, .arphrd = 1, .mtu = 1500 };

	say(!put(100, false, 0, -1) && !arrives(), "shut");
	if (has_links()) /* what hangs on clsact is no link */
		say(detach_link("links/in_1") && detach_link("links/out_1") && arrives(), "links detached by another");
	say(!put(101, false, in_ms(60000), -1) && !arrives(), "a change brings them back");
	say(!weir_kern_confirm(runner.kern) && !arrives(), "confirmed");
	if (system("ip link add wr0 type veth peer wr1"))
		printf("# no device\n");
	x.ifindex = if_nametoindex("wr0");
	say(x.ifindex && !put(102, true, in_ms(60000), -1) && !weir_kern_attach(runner.kern, &x, WEIR_XDP_AUTO), "a new device while one waits");
	say(!system("ip link del wr0"), "which goes away");
	say(!weir_kern_confirm(runner.kern) && arrives(), "before anybody is told: confirmed");
	say(!put(103, false, in_ms(60000), -1) && rounds(4) && pends(103, 102) && !arrives(), "the next one waits, and goes on waiting");
	say(!weir_kern_revert(runner.kern) && arrives() && !weir_kern_detach(runner.kern, x.ifindex), "taken back");
}

/* An interface that this life does not cover any more is let go of, wherever its hooks led. */
static void test_let_go(void)
{
	say(!put(110, true, 0, -1) && !put(111, false, in_ms(60000), -1) && !arrives(), "shut, waits");
	die();
	say(born() && !put(112, false, 0, -1) && rounds(4) && arrives(), "born again without that interface: it is open");
	say(slots_used() == 0 && !cover_lo() && !arrives(), "and covered again");
}

static void flow_one(const struct weir_flow_key *key, const struct weir_flow *f, bool half, bool expired, void *data)
{
	if (!half && key->zone >> 24 == IPPROTO_UDP)
		*(uint64_t *)data += f->id;
}

static uint64_t flow_ids(void)
{
	uint64_t sum = 0;

	weir_kern_flow_each(runner.kern, flow_one, &sum);
	return sum;
}

/* What waits has a shorter patience with silent flows: they are there after it went back. */
static void test_idle_flows(void)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	uint64_t id;
	char b;

	say(!put(120, true, 0, -1) && arrives(), "open");
	getsockname(sender, (struct sockaddr *)&a, &len);
	sendto(listener, "r", 1, 0, (struct sockaddr *)&a, len);
	id = recv(sender, &b, 1, MSG_DONTWAIT) == 1 ? flow_ids() : 0;
	idle_s = 1;
	say(id && !put(121, true, in_ms(60000), -1), "a conversation; an image waits that forgets it after a second");
	idle_s = 3600;
	rounds(5);
	say(arrives() && flow_ids() == id, "it is not forgotten");
	say(!weir_kern_revert(runner.kern) && arrives() && flow_ids() == id, "nor after going back");
}

static int fds_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	closedir(d);
	return n;
}

static uint32_t prog_id(void)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof info;

	return bpf_obj_get_info_by_fd(weir_kern_prog_fd(runner.kern, "weir_tc_in"), &info, &len) ? 0 : info.id;
}

static int still_there(const uint32_t *ids, int n)
{
	int there = 0;

	for (int i = 0; i < n; i++) {
		int fd = bpf_prog_get_fd_by_id(ids[i]);

		there += fd >= 0;
		if (fd >= 0)
			close(fd);
	}
	return there;
}

static void test_leaves_nothing(void)
{
	enum { MANY = 200 };
	int n = getenv("WEIR_TEST_LONG") ? MANY : 12, fds, left = n;
	uint32_t ids[MANY];

	say(!put(130, true, 0, -1) && rounds(3), "open");
	fds = fds_open();
	for (int i = 0; i < n; i++) {
		put(131 + (uint32_t)i, true, in_ms(60000), -1);
		if (i % 3 == 0)
			put(131 + (uint32_t)i, true, in_ms(60000), true);
		ids[i] = prog_id();
		if (i % 2)
			weir_kern_confirm(runner.kern);
		else
			weir_kern_revert(runner.kern);
	}
	say(!put(400, true, 0, -1) && rounds(3) && fds_open() == fds, "many changes keep no file open");
	for (uint64_t until = in_ms(10000); left && weir_kern_now() < until; nap()) /* freed when the kernel finds time */
		left = still_there(ids, n);
	printf("# %d of %d are left\n", left, n);
	say(!left && ids[0], "and no program");
}

int main(void)
{
	int r = weir_runner_open(&runner);

	setvbuf(stdout, NULL, _IOLBF, 0);

	if (r)
		return r == -EPERM ? 77 : 1;
	sockets();
	test_soon_after_start();
	test_goes_back();
	test_clock();
	test_confirm_and_revert();
	test_edits();
	test_decided_meanwhile();
	test_again_at_once();
	test_dead();
	test_restart_while_waiting();
	test_empty_slot();
	test_detect();
	test_under_flood();
	test_at_the_deadline();
	test_hooks_that_went();
	test_let_go();
	test_idle_flows();
	test_leaves_nothing();
	printf("1..%d\n", line);
	weir_runner_close(&runner);
	return failed ? 1 : 0;
}
