/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/host/host.h, interfaces: real devices in a network namespace of our own. Skips (77) where one cannot be
 * made.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "lib/host/host.h"
#include "lib/util/cleanup.h"

struct seen {
	unsigned news, changes, gone;
	struct weir_kern_if last;
};

static void count(enum weir_link_event ev, const struct weir_kern_if *i, void *data)
{
	struct seen *s = data;

	s->news += ev == WEIR_LINK_NEW;
	s->changes += ev == WEIR_LINK_CHANGED;
	s->gone += ev == WEIR_LINK_GONE;
	s->last = *i;
}

static void run(const char *cmd)
{
	if (system(cmd))
		fail_msg("failed: %s", cmd);
}

static void linksp_free(struct weir_links **l)
{
	weir_links_free(*l);
}

static const struct weir_kern_if *by_name(const struct weir_kern_if *v, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(v[i].name, name))
			return &v[i];
	fail_msg("no interface %s", name);
	return NULL;
}

static void test_kinds(void **state)
{
	_cleanup_free_ struct weir_kern_if *v = NULL;
	const struct weir_kern_if *i, *br;
	size_t n = 0;

	run("ip link add k0 mtu 1400 type veth peer name k1");
	run("ip link add kbr type bridge && ip link set k1 master kbr");
	assert_int_equal(weir_links_read(&v, &n), 0);
	i = by_name(v, n, "lo");
	assert_int_equal(i->arphrd, 772);
	i = by_name(v, n, "k0");
	assert_string_equal(i->kind, "veth");
	assert_string_equal(i->driver, "veth");
	assert_int_equal(i->mtu, 1400);
	assert_int_equal(i->link, 0); /* the other end of a pair is not what it stands on */
	br = by_name(v, n, "kbr");
	assert_string_equal(br->kind, "bridge");
	i = by_name(v, n, "k1");
	assert_int_equal(i->master, br->ifindex);
	assert_string_equal(i->master_kind, "bridge");
	run("ip link del k0 && ip link del kbr");
}

/* Devices that stand on another. */
static void test_stacked(void **state)
{
	_cleanup_free_ struct weir_kern_if *v = NULL;
	const struct weir_kern_if *i;
	size_t n = 0;

	run("ip link add s0 type veth peer name s1");
	if (system("ip link add link s0 name s0.7 type vlan proto 802.1ad id 7 2>/dev/null") ||
	    system("ip link add link s0 name smv type macvlan 2>/dev/null")) {
		print_message("skipped: this kernel has no vlan or no macvlan devices\n");
		run("ip link del s0");
		skip();
	}
	assert_int_equal(weir_links_read(&v, &n), 0);
	i = by_name(v, n, "s0.7");
	assert_string_equal(i->kind, "vlan");
	assert_int_equal(i->vlan_id, 7);
	assert_int_equal(i->vlan_proto, 0x88a8);
	assert_int_equal(i->link, by_name(v, n, "s0")->ifindex);
	i = by_name(v, n, "smv");
	assert_string_equal(i->kind, "macvlan");
	assert_int_equal(i->link, by_name(v, n, "s0")->ifindex);
	run("ip link del s0");
}

static void test_monitor(void **state)
{
	_cleanup_(linksp_free) struct weir_links *l = NULL;
	struct seen s = { 0 };

	assert_int_equal(weir_links_open(&l), 0);
	assert_int_equal(weir_links_sync(l, count, &s), 0);
	assert_true(s.news >= 1);
	s = (struct seen){ 0 };
	run("ip link add m0 type veth peer name m1");
	assert_int_equal(weir_links_dispatch(l, count, &s), 0);
	assert_int_equal(s.news, 2);
	assert_int_equal(s.gone, 0);

	s = (struct seen){ 0 };
	run("ip link set m0 name renamed");
	assert_int_equal(weir_links_dispatch(l, count, &s), 0);
	assert_int_equal(s.changes, 1);
	assert_string_equal(s.last.name, "renamed");

	/* leaving a bridge sends a DELLINK of the bridge family: the device lives */
	run("ip link add mbr type bridge && ip link set m1 master mbr");
	assert_int_equal(weir_links_dispatch(l, count, &s), 0);
	s = (struct seen){ 0 };
	run("ip link set m1 nomaster");
	assert_int_equal(weir_links_dispatch(l, count, &s), 0);
	assert_int_equal(s.gone, 0);
	assert_true(s.changes >= 1);

	/* what does not matter is not told twice */
	s = (struct seen){ 0 };
	run("ip link set m1 alias hello && ip link set m1 txqueuelen 7");
	assert_int_equal(weir_links_dispatch(l, count, &s), 0);
	assert_int_equal(s.news + s.changes + s.gone, 0);

	run("ip link del renamed && ip link del mbr");
	assert_int_equal(weir_links_dispatch(l, count, &s), 0);
	assert_int_equal(s.gone, 3);
	assert_int_equal(weir_links_dispatch(l, count, &s), 0);
}

/* A process in a network namespace of its own, until *ret_go is closed. */
static pid_t other_namespace(int *ret_go)
{
	int ready[2], go[2];
	pid_t child;
	char c;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		close(go[1]);
		if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		_exit(read(go[0], &c, 1) != 0);
	}
	close(ready[1]);
	close(go[0]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	*ret_go = go[1];
	return child;
}

static void test_namespace_move(void **state)
{
	_cleanup_(linksp_free) struct weir_links *l = NULL;
	struct seen s = { 0 };
	pid_t child;
	char cmd[64];
	int go = -1;

	assert_int_equal(weir_links_open(&l), 0);
	run("ip link add n0 type veth peer name n1");
	assert_int_equal(weir_links_sync(l, count, &s), 0);
	s = (struct seen){ 0 };
	child = other_namespace(&go);
	snprintf(cmd, sizeof cmd, "ip link set n1 netns %d", (int)child);
	run(cmd);
	assert_int_equal(weir_links_dispatch(l, count, &s), 0);
	assert_int_equal(s.gone, 1);
	assert_string_equal(s.last.name, "n1");
	close(go);
	assert_int_equal(waitpid(child, NULL, 0), child);
	/* its end takes n1 away, and with it n0; that happens when the kernel comes to it */
	while (s.gone < 2) {
		struct pollfd p = { .fd = weir_links_fd(l), .events = POLLIN };

		assert_int_equal(poll(&p, 1, 30000), 1);
		assert_int_equal(weir_links_dispatch(l, count, &s), 0);
	}
	assert_string_equal(s.last.name, "n0");
}

static void test_overrun(void **state)
{
	_cleanup_(linksp_free) struct weir_links *l = NULL;
	struct seen s = { 0 };
	int small = 4096;

	assert_int_equal(weir_links_open(&l), 0);
	assert_int_equal(setsockopt(weir_links_fd(l), SOL_SOCKET, SO_RCVBUFFORCE, &small, sizeof small), 0);
	assert_int_equal(weir_links_sync(l, count, &s), 0);
	s = (struct seen){ 0 };
	run("for i in 1 2 3 4 5 6 7 8 9; do ip link add o$i type bridge; done; ip link del o3; ip link set o4 mtu 1300");
	assert_int_equal(weir_links_dispatch(l, count, &s), 0);
	assert_true(weir_links_overruns(l) >= 1);
	assert_int_equal(s.news - s.gone, 8);
	run("for i in 1 2 4 5 6 7 8 9; do ip link del o$i; done");
	assert_int_equal(weir_links_dispatch(l, count, &s), 0);
	assert_int_equal(s.news - s.gone, 0);
}

static void test_addrs(void **state)
{
	_cleanup_free_ uint8_t(*v)[16] = NULL;
	const uint8_t *a = (const uint8_t *)"\0\0\0\0\0\0\0\0\0\0\xff\xff\12\5\6\7";
	size_t n = 0;

	run("ip link add a0 type bridge && ip addr add 10.5.6.7/24 dev a0");
	assert_int_equal(weir_addrs_read(&v, &n), 0);
	assert_true(weir_addrs_have((const uint8_t(*)[16])v, n, a));
	assert_false(weir_addrs_have((const uint8_t(*)[16])v, n, (const uint8_t *)"\0\0\0\0\0\0\0\0\0\0\xff\xff\12\5\6\10"));
	assert_true(weir_addrs_have(NULL, 0, (const uint8_t *)"\0\0\0\0\0\0\0\0\0\0\xff\xff\177\1\2\3"));
	run("ip link del a0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_stacked),
		cmocka_unit_test(test_monitor),
		cmocka_unit_test(test_namespace_move),
		cmocka_unit_test(test_overrun),
		cmocka_unit_test(test_addrs),
	};

	if (unshare(CLONE_NEWNET) < 0) {
		printf("skip: a network namespace cannot be made: %s\n", strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
