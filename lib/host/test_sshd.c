/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/host/sshd.c: whose address gets a way in. Processes that look like sshd in each of its stages, in a
 * network namespace of our own; skips (77) where one cannot be made. The program starts itself anew to play
 * them; a player holds one descriptor and ends with its standard input.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "lib/host/host.h"
#include "lib/util/cleanup.h"

struct player {
	pid_t pid;
	int stop; /* closed: the player ends */
};

/* A process with this title and name that holds `fd`; back when it plays. */
static struct player play(const char *title, const char *comm, int fd)
{
	struct player p = { .stop = -1 };
	int stop[2], ready[2];
	char c;

	assert_int_equal(pipe2(stop, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	p.pid = fork();
	assert_true(p.pid >= 0);
	if (!p.pid) {
		dup2(stop[0], 0);
		dup2(ready[1], 1);
		fcntl(fd, F_SETFD, 0);
		execl("/proc/self/exe", title, "play", comm, NULL);
		_exit(127);
	}
	close(stop[0]);
	close(ready[1]);
	p.stop = stop[1];
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return p;
}

static void end(struct player *p)
{
	close(p->stop);
	assert_int_equal(waitpid(p->pid, NULL, 0), p->pid);
}

static int listen_on(uint16_t port)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* A connection from `from` to `port`; the accepted end. */
static int connect_from(int listener, const char *from, uint16_t port, int *ret_client)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 }, to = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), got;

	assert_int_equal(inet_pton(AF_INET6, from, &a.sin6_addr), 1);
	to.sin6_addr = a.sin6_addr;
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	got = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(got >= 0);
	*ret_client = fd;
	return got;
}

static bool has_addr(const struct weir_sshd *s, const char *addr)
{
	for (size_t i = 0; i < s->n_addrs; i++)
		if (!strcmp(s->addrs[i], addr))
			return true;
	return false;
}

static void test_sessions(void **state)
{
	int listener = listen_on(2222), other = listen_on(2223), client[4], conn[4];
	static const char *const from[] = { "::ffff:10.9.9.1", "::ffff:10.9.9.2", "2001:db8:5::77", "::ffff:10.9.9.3" };
	static const char *const title[] = { "sshd: admin@pts/0", "sshd: admin [priv]", "sshd: admin@notty", "editor@home" };
	static const char *const comm[] = { "sshd", "sshd", "sshd-session", "vi" };
	struct player p[4], server, fake;
	struct weir_sshd s;

	server = play("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", "sshd", listener);
	fake = play("httpd", "httpd", other);
	for (int i = 0; i < 4; i++) {
		conn[i] = connect_from(listener, from[i], 2222, &client[i]);
		p[i] = play(title[i], comm[i], conn[i]);
	}
	assert_int_equal(weir_sshd_read(&s), 0);
	assert_int_equal(s.n_ports, 1);
	assert_int_equal(s.ports[0], 2222);
	assert_int_equal(s.n_addrs, 2);
	assert_true(has_addr(&s, "10.9.9.1"));
	assert_true(has_addr(&s, "2001:db8:5::/64")); /* the network, since privacy addresses change */
	weir_sshd_free(&s);
	for (int i = 0; i < 4; i++) {
		end(&p[i]);
		close(conn[i]);
		close(client[i]);
	}
	end(&server);
	end(&fake);
	close(listener);
	close(other);
}

/* Anybody may call a program sshd; only root's socket opens a port. */
static void test_user_cannot_open_a_port(void **state)
{
	struct weir_sshd s;
	struct player p;
	int fd;

	assert_int_equal(seteuid(65534), 0);
	fd = listen_on(2224);
	assert_int_equal(seteuid(0), 0);
	p = play("sshd: x@y", "sshd", fd);
	assert_int_equal(weir_sshd_read(&s), 0);
	assert_int_equal(s.n_ports, 0);
	weir_sshd_free(&s);
	end(&p);
	close(fd);
}

static int play_main(const char *comm)
{
	char c;

	prctl(PR_SET_NAME, comm);
	if (write(1, "", 1) != 1)
		return 1;
	return read(0, &c, 1) != 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_user_cannot_open_a_port),
	};

	if (argc == 3 && !strcmp(argv[1], "play"))
		return play_main(argv[2]);
	if (unshare(CLONE_NEWNET) < 0) {
		printf("skip: a network namespace cannot be made: %s\n", strerror(errno));
		return 77;
	}
	/* on lo: a device whose carrier comes and goes may not have the addresses yet when they are used */
	if (system("ip link set lo up && for i in 1 2 3; do ip addr add 10.9.9.$i/32 dev lo; done && "
		   "ip addr add 2001:db8:5::77/128 dev lo nodad && "
		   /* the kernel goes on with an IPv6 address on its own time */
		   "timeout 10 sh -c 'until ip -6 route show table local | grep -q 2001:db8:5::77; do sleep 0.01; done'")) {
		printf("skip: addresses cannot be set up\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
