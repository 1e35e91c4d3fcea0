/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeds and other firewalls, with the kernel's own connection tracking: a translated connection in a network
 * namespace of our own has two faces. Skips (77) without namespaces, nft or NAT.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "core/parse.h"
#include "lib/host/conntrack.h"
#include "lib/host/host.h"
#include "lib/util/cleanup.h"

static int talk(int type, uint16_t listen_port, uint16_t to_port, int fds[3])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(listen_port) };
	char c;

	fds[0] = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	fds[1] = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	if (bind(fds[0], (struct sockaddr *)&a, sizeof a) < 0 || listen(fds[0], 1) < 0)
		return -errno;
	a.sin_port = htons(to_port);
	inet_pton(AF_INET, "10.9.8.1", &a.sin_addr);
	if (connect(fds[1], (struct sockaddr *)&a, sizeof a) < 0)
		return -errno;
	fds[2] = accept4(fds[0], NULL, NULL, SOCK_CLOEXEC);
	/* tracking must have seen the third step of the handshake: what it carries has arrived */
	return write(fds[1], "x", 1) == 1 && read(fds[2], &c, 1) == 1 && write(fds[2], "y", 1) == 1 &&
	       read(fds[1], &c, 1) == 1 ? 0 : -EIO;
}

static void test_two_faces(void **state)
{
	_cleanup_free_ struct weir_seed *v = NULL;
	unsigned asked = 0, real = 0;
	char why[128];
	size_t n = 0;
	int fds[3];

	assert_int_equal(talk(SOCK_STREAM, 8080, 80, fds), 0);
	assert_int_equal(weir_seeds_read(&v, &n, why, sizeof why), 0);
	assert_string_equal(why, "");
	for (size_t i = 0; i < n; i++) {
		asked += v[i].t.dport == 80 && v[i].dir == WEIR_DIR_OUT;
		real += v[i].t.dport == 8080;
		assert_int_equal(v[i].t.zone, 6u << 24);
	}
	assert_int_equal(asked, 1); /* as the client sees it */
	assert_true(real >= 1);     /* as it is behind the translation */
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

static void test_closed_is_no_seed(void **state)
{
	_cleanup_free_ struct weir_ct *v = NULL;
	char why[128], c;
	size_t n = 0;
	int fds[3];

	assert_int_equal(talk(SOCK_STREAM, 8081, 8081, fds), 0);
	close(fds[1]);
	assert_int_equal(read(fds[2], &c, 1), 0);
	close(fds[2]);
	close(fds[0]);
	assert_int_equal(weir_ct_read(&v, &n, why, sizeof why), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_not_equal(v[i].orig.dport, 8081);
}

static void test_firewalls(void **state)
{
	struct weir_firewall v[WEIR_FIREWALLS_MAX];
	size_t n = 0, nft = 0;

	assert_int_equal(weir_firewalls_read(v, &n), 0);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(v[i].name, "nft"))
			continue;
		nft++;
		assert_string_equal(v[i].detail, "1 table: ip nat"); /* weir's own is not another's */
	}
	assert_int_equal(nft, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_faces),
		cmocka_unit_test(test_closed_is_no_seed),
		cmocka_unit_test(test_firewalls),
	};

	if (unshare(CLONE_NEWNET) < 0) {
		printf("skip: a network namespace cannot be made: %s\n", strerror(errno));
		return 77;
	}
	if (system("ip link set lo up && ip addr add 10.9.8.1/32 dev lo && nft -f - <<'X'\n"
		   "table inet weir_guard { }\n"
		   "table ip nat {\n"
		   "  chain out { type nat hook output priority -100; tcp dport 80 redirect to :8080; }\n"
		   "  chain in { type nat hook input priority 100; }\n"
		   "}\nX")) {
		printf("skip: nft cannot make a NAT rule here\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
