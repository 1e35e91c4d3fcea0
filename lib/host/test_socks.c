/* SPDX-License-Identifier: Apache-2.0 */
/* lib/host/host.h, sockets and their holders: our own, on loopback. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "core/parse.h"
#include "lib/host/host.h"
#include "lib/util/cleanup.h"

static const uint8_t lo4[16] = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 };

static uint16_t bound(int fd)
{
	struct sockaddr_in6 a;
	socklen_t n = sizeof a;

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	return ntohs(a.sin6_port);
}

/* A dual-stack listener, an IPv4 client, and the accepted end. */
struct talk {
	int listener, client, server;
	uint16_t port, client_port;
};

static int talk_open(void **state)
{
	static struct talk t;
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int off = 0;

	t.listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(t.listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(t.listener, (struct sockaddr *)&any, sizeof any) < 0 || listen(t.listener, 1) < 0)
		return -1;
	t.port = bound(t.listener);
	to.sin_port = htons(t.port);
	t.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(t.client, (struct sockaddr *)&to, sizeof to) < 0)
		return -1;
	t.client_port = bound(t.client);
	t.server = accept4(t.listener, NULL, NULL, SOCK_CLOEXEC);
	if (write(t.client, "12345", 5) != 5)
		return -1;
	*state = &t;
	return 0;
}

static int talk_close(void **state)
{
	struct talk *t = *state;

	close(t->client);
	close(t->server);
	close(t->listener);
	return 0;
}

static const struct weir_sock *find(const struct weir_sock *v, size_t n, uint16_t lport, uint16_t rport)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].proto == WEIR_IPPROTO_TCP && v[i].lport == lport && v[i].rport == rport)
			return &v[i];
	fail_msg("no socket %u -> %u", lport, rport);
	return NULL;
}

static void test_read(void **state)
{
	const struct talk *t = *state;
	_cleanup_free_ struct weir_sock *v = NULL;
	const struct weir_sock *s;
	struct weir_tuple a, b;
	uint32_t dir;
	size_t n = 0;

	assert_int_equal(weir_socks_read(&v, &n, NULL), 0);
	s = find(v, n, t->port, 0);
	assert_true(s->listening);
	assert_int_equal(s->family, 0);
	assert_int_equal(s->uid, getuid());
	assert_true(weir_sock_is_open(s, 32768, 60999));
	assert_false(weir_sock_tuple(s, &a, &dir));

	/* an IPv4 conversation of an IPv6 socket is an IPv4 conversation */
	s = find(v, n, t->port, t->client_port);
	assert_int_equal(s->family, 4);
	assert_memory_equal(s->local, lo4, 16);
	assert_true(s->inbound);
	assert_int_equal(s->received, 5);
	assert_true(weir_sock_tuple(s, &a, &dir));
	assert_int_equal(dir, WEIR_DIR_IN);

	s = find(v, n, t->client_port, t->port);
	assert_false(s->inbound);
	assert_true(weir_sock_tuple(s, &b, &dir));
	assert_int_equal(dir, WEIR_DIR_OUT);
	assert_memory_equal(&a, &b, sizeof a); /* both ends tell the same story */
	assert_int_equal(a.sport, t->client_port);
	assert_int_equal(a.zone, 6u << 24);
}

static void test_owner(void **state)
{
	const struct talk *t = *state;
	struct weir_owners *o = NULL;
	struct weir_owner w;
	struct weir_tuple c = { .sport = t->client_port, .dport = t->port, .zone = weir_zone(6, 0, 0) };

	memcpy(c.src, lo4, 16);
	memcpy(c.dst, lo4, 16);
	assert_int_equal(weir_owners_new(60000, &o), 0);
	assert_int_equal(weir_owners_find(o, &c, WEIR_DIR_OUT, &w), -ENOENT);
	assert_int_equal(weir_owners_refresh(o), 1);
	assert_int_equal(weir_owners_refresh(o), 0);
	assert_int_equal(weir_owners_find(o, &c, WEIR_DIR_OUT, &w), 0);
	assert_int_equal(w.pid, getpid());
	assert_string_equal(w.program, "test_socks");
	assert_true(w.unit[0]);
	assert_int_equal(weir_owners_find(o, &c, WEIR_DIR_IN, &w), 0);
	assert_int_equal(weir_owners_find(o, &c, WEIR_DIR_FWD, &w), -ENOENT);
	/* another client: nobody's connection, but our listener's port */
	c.sport = (uint16_t)(c.sport ^ 1);
	assert_int_equal(weir_owners_find(o, &c, WEIR_DIR_OUT, &w), -ENOENT);
	assert_int_equal(weir_owners_find(o, &c, WEIR_DIR_IN, &w), 0);
	assert_int_equal(w.pid, getpid());
	weir_owners_free(o);
}

static void test_seeds(void **state)
{
	const struct talk *t = *state;
	_cleanup_free_ struct weir_seed *v = NULL;
	unsigned found = 0;
	char why[128];
	size_t n = 0;

	assert_int_equal(weir_seeds_read(&v, &n, why, sizeof why), 0);
	for (size_t i = 0; i < n; i++)
		found += v[i].t.sport == t->client_port && v[i].t.dport == t->port;
	assert_int_equal(found, 1); /* one conversation, whichever of its ends is asked */
}

static void test_sshd(void **state)
{
	struct weir_sshd s = { 0 };
	const struct talk *t = *state;

	assert_int_equal(weir_sshd_read(&s), 0);
	for (size_t i = 0; i < s.n_ports; i++)
		assert_int_not_equal(s.ports[i], t->port);
	weir_sshd_free(&s);
	assert_int_equal(s.n_ports, 0);
}

static void test_udp(void **state)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in any = { .sin_family = AF_INET };
	_cleanup_free_ struct weir_sock *v = NULL;
	size_t n = 0, i;
	uint16_t port;

	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
	port = bound(fd);
	assert_int_equal(weir_socks_read(&v, &n, NULL), 0);
	for (i = 0; i < n && (v[i].proto != WEIR_IPPROTO_UDP || v[i].lport != port); i++)
		;
	if (i == n) {
		print_message("skipped: this kernel has no udp_diag\n");
		skip();
	}
	assert_true(v[i].listening);
	assert_false(weir_sock_is_open(&v[i], port, port)); /* as a client would bind */
	assert_true(weir_sock_is_open(&v[i], (uint16_t)(port + 1), 65535));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_read, talk_open, talk_close),
		cmocka_unit_test_setup_teardown(test_owner, talk_open, talk_close),
		cmocka_unit_test_setup_teardown(test_seeds, talk_open, talk_close),
		cmocka_unit_test_setup_teardown(test_sshd, talk_open, talk_close),
		cmocka_unit_test(test_udp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
