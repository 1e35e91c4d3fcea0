/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes that wait for their confirmation, in the kernel: datagrams over lo of a namespace of our own say which of
 * two images decides. "open" lets them pass, "shut" drops them. One line of TAP for each step.
 */
#include "tests/bpf/kernel.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull

static struct weir_runner runner;
static struct weir_imgbuild build;
static int line, failed, listener, sender;
static uint32_t epoch;
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

	say(!put(31, false, deadline, true) && !arrives(), "shut, waits");
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

int main(void)
{
	int r = weir_runner_open(&runner);

	setvbuf(stdout, NULL, _IOLBF, 0);

	if (r)
		return r == -EPERM ? 77 : 1;
	sockets();
	test_goes_back();
	test_confirm_and_revert();
	test_edits();
	test_again_at_once();
	test_dead();
	test_restart_while_waiting();
	test_empty_slot();
	test_detect();
	printf("1..%d\n", line);
	weir_runner_close(&runner);
	return failed ? 1 : 0;
}
