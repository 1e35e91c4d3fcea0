/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks a helper process, which it starts in its sandbox, as the worker would:
 *
 *   weir-ask sessions PID                               one line each: FROM PORT TO PORT PID PROGRAM
 *   weir-ask kill in|out|forward tcp|udp FROM PORT TO PORT   the number of sockets, or minus an errno
 *
 * Exit 0: it answered; 1: it did not.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/parse.h"
#include "daemon/helper/helper.h"

static const char *text_of(const uint8_t a[16], char buf[64])
{
	return weir_addr_is_v4(a) ? inet_ntop(AF_INET, a + 12, buf, 64) : inet_ntop(AF_INET6, a, buf, 64);
}

static int addr_of(const char *text, uint8_t ret[16])
{
	uint8_t v4[4];

	if (inet_pton(AF_INET, text, v4) == 1)
		weir_map4(ret, v4);
	else if (inet_pton(AF_INET6, text, ret) != 1)
		return -EINVAL;
	return 0;
}

static int sessions(struct weir_helper *h, const char *pid)
{
	struct weir_session v[WEIR_SESSIONS_MAX];
	int n = weir_helper_sessions(h, atoi(pid), v);

	for (int i = 0; i < n; i++) {
		char from[64], to[64];

		printf("%s %u %s %u %u %s\n", text_of(v[i].t.src, from), v[i].t.sport, text_of(v[i].t.dst, to),
		       v[i].t.dport, v[i].pid, v[i].program);
	}
	return n < 0 ? n : 0;
}

static int kill_one(struct weir_helper *h, char **a)
{
	struct weir_kill k = { .dir = !strcmp(a[0], "in")    ? WEIR_DIR_IN
				      : !strcmp(a[0], "out") ? WEIR_DIR_OUT
							     : WEIR_DIR_FWD };
	int r = addr_of(a[2], k.t.src);

	if (!r)
		r = addr_of(a[4], k.t.dst);
	k.t.sport = (uint16_t)atoi(a[3]);
	k.t.dport = (uint16_t)atoi(a[5]);
	k.t.zone = weir_zone(!strcmp(a[1], "udp") ? WEIR_IPPROTO_UDP : WEIR_IPPROTO_TCP, 0, 0);
	if (!r)
		r = weir_helper_kill(h, &k, 1);
	if (!r)
		printf("%d\n", k.result);
	return r;
}

int main(int argc, char **argv)
{
	struct weir_helper_options o = { 0 };
	struct weir_helper *h;
	int fds[2], r, status;
	pid_t pid;

	if (!(argc == 3 && !strcmp(argv[1], "sessions")) && !(argc == 8 && !strcmp(argv[1], "kill")))
		return 2;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return 1;
	pid = fork();
	if (!pid) {
		close(fds[0]);
		_exit(weir_helper_main(fds[1], &o));
	}
	close(fds[1]);
	r = weir_helper_new_fd(fds[0], &h);
	if (!r) {
		r = argc == 3 ? sessions(h, argv[2]) : kill_one(h, argv + 2);
		weir_helper_free(h);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		fprintf(stderr, "the helper ended with status %d\n", status);
	if (r)
		fprintf(stderr, "%s\n", strerror(-r));
	return r ? 1 : 0;
}
