/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of conversations: SOCK_DESTROY. The kernel looks a socket up as a packet would, and would take a listener
 * where there is no connection; so the sockets are listed first, and each is ended by its own identity (the cookie),
 * which a listener or a later connection with the same ends does not have.
 *
 * Another network namespace is entered by a child process only, one after the other; the caller stays where it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/parse.h"
#include "lib/host/host.h"
#include "lib/host/nl.h"
#include "lib/host/proc.h"
#include "lib/util/cleanup.h"

#define NAMESPACES_MAX 256
#define CHILD_MS 4000 /* what was not reached by then stays */
#define HITS_MAX 4096

#define STATE_TIME_WAIT 6

struct hit {
	struct inet_diag_sockid id;
	uint8_t family, proto;
	size_t kill; /* its index */
};

struct list {
	const struct weir_kill *v;
	size_t n;
	struct hit *hits;
	size_t n_hits, start;
	uint8_t proto;
};

static bool tuple_is(const struct weir_tuple *t, const uint8_t local[16], uint16_t lport, const uint8_t remote[16],
		     uint16_t rport)
{
	return (t->sport == lport && t->dport == rport && weir_addr_equal(t->src, local) &&
		weir_addr_equal(t->dst, remote)) ||
	       (t->sport == rport && t->dport == lport && weir_addr_equal(t->src, remote) &&
		weir_addr_equal(t->dst, local));
}

/* A connection: neither a listener, nor a UDP socket that anybody may send to, nor what has ended already. */
static bool is_connection(uint8_t proto, const struct inet_diag_msg *m)
{
	if (!m->id.idiag_dport || !m->id.idiag_sport)
		return false;
	if (proto != WEIR_IPPROTO_TCP)
		return m->idiag_state == WEIR_SOCK_ESTABLISHED;
	return m->idiag_state != WEIR_SOCK_LISTEN && m->idiag_state != WEIR_SOCK_CLOSE &&
	       m->idiag_state != STATE_TIME_WAIT;
}

static void addr_of(uint8_t ret[16], uint8_t family, const void *from)
{
	if (family == AF_INET)
		weir_map4(ret, from);
	else
		memcpy(ret, from, 16);
}

static int hits_gather(const struct nlmsghdr *h, void *data)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);
	struct list *l = data;
	uint8_t local[16], remote[16];
	uint16_t lport, rport;

	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || mnl_nlmsg_get_payload_len(h) < sizeof *m ||
	    (m->idiag_family != AF_INET && m->idiag_family != AF_INET6) || !is_connection(l->proto, m))
		return 0;
	addr_of(local, m->idiag_family, m->id.idiag_src);
	addr_of(remote, m->idiag_family, m->id.idiag_dst);
	lport = weir_be16((const uint8_t *)&m->id.idiag_sport);
	rport = weir_be16((const uint8_t *)&m->id.idiag_dport);
	for (size_t i = 0; i < l->n && l->n_hits < HITS_MAX; i++)
		if (l->v[i].t.zone >> 24 == l->proto && tuple_is(&l->v[i].t, local, lport, remote, rport))
			l->hits[l->n_hits++] = (struct hit){ m->id, m->idiag_family, l->proto, i };
	return 0;
}

static void hits_forget(void *data)
{
	struct list *l = data;

	l->n_hits = l->start;
}

static int hits_read(struct list *l)
{
	static const uint8_t protos[] = { WEIR_IPPROTO_TCP, WEIR_IPPROTO_UDP };
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	int e = 0;

	for (size_t i = 0; e >= 0 && i < 4; i++) {
		struct weir_nl_req r;
		struct inet_diag_req_v2 *q = weir_nl_request(&r, SOCK_DIAG_BY_FAMILY, sizeof *q);

		q->sdiag_family = families[i % 2];
		q->sdiag_protocol = protos[i / 2];
		q->idiag_states = ~0u;
		l->proto = q->sdiag_protocol;
		l->start = l->n_hits;
		e = weir_nl_dump(NETLINK_SOCK_DIAG, &r, hits_gather, hits_forget, l);
		if (e == -ENOENT || e == -EAFNOSUPPORT || e == -EPROTONOSUPPORT)
			e = 0; /* no udp_diag, no IPv6 */
	}
	return e;
}

static int destroy(const struct hit *hit)
{
	struct weir_nl_req r;
	struct inet_diag_req_v2 *q = weir_nl_request(&r, SOCK_DESTROY, sizeof *q);

	q->sdiag_family = hit->family;
	q->sdiag_protocol = hit->proto;
	q->idiag_states = ~0u;
	q->id = hit->id;
	return weir_nl_ask(NETLINK_SOCK_DIAG, &r);
}

/* In the namespace that we are in. A number of sockets stands above an error, an error above "none here". */
static int kill_here(struct weir_kill *v, size_t n)
{
	_cleanup_free_ struct hit *hits = calloc(HITS_MAX, sizeof *hits);
	struct list l = { .v = v, .n = n, .hits = hits };
	int e = hits ? hits_read(&l) : -ENOMEM;

	for (size_t i = 0; e >= 0 && i < l.n_hits; i++) {
		int32_t *result = &v[hits[i].kill].result;
		int r = destroy(&hits[i]);

		if (!r)
			*result = *result > 0 ? *result + 1 : 1;
		else if (r != -ENOENT && r != -ESTALE && *result <= 0) /* it ended by itself meanwhile */
			*result = r;
	}
	return e;
}

/* The namespaces of all processes but our own, each once. */
static size_t namespaces_open(int fds[NAMESPACES_MAX])
{
	_cleanup_free_ uint32_t *pids = NULL;
	struct stat st;
	ino_t seen[NAMESPACES_MAX + 1];
	size_t n_pids = 0, n = 0;

	if (stat("/proc/self/ns/net", &st) < 0 || weir_proc_pids(&pids, &n_pids) < 0)
		return 0;
	seen[0] = st.st_ino;
	for (size_t i = 0; i < n_pids && n < NAMESPACES_MAX; i++) {
		char path[64];
		size_t k = 0;

		snprintf(path, sizeof path, "/proc/%u/ns/net", pids[i]);
		if (stat(path, &st) < 0)
			continue;
		while (k <= n && seen[k] != st.st_ino)
			k++;
		if (k <= n)
			continue;
		fds[n] = open(path, O_RDONLY | O_CLOEXEC);
		if (fds[n] < 0)
			continue;
		seen[++n] = st.st_ino;
	}
	return n;
}

static void child(struct weir_kill *v, size_t n, int out)
{
	int fds[NAMESPACES_MAX];
	size_t n_fds = namespaces_open(fds);

	for (size_t i = 0; i < n_fds; i++)
		if (!setns(fds[i], CLONE_NEWNET))
			kill_here(v, n);
	for (size_t i = 0; i < n; i++)
		if (write(out, &v[i].result, sizeof v[i].result) != sizeof v[i].result)
			_exit(1);
	_exit(0);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What the child tells of each, in order. */
static int results_read(int fd, struct weir_kill *v, size_t n)
{
	int64_t end = now_ms() + CHILD_MS;

	for (size_t i = 0; i < n; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = end - now_ms();

		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			return -ETIMEDOUT;
		if (read(fd, &v[i].result, sizeof v[i].result) != sizeof v[i].result)
			return -EIO;
	}
	return 0;
}

static int kill_elsewhere(struct weir_kill *v, size_t n)
{
	int fds[2], e;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (!pid)
		child(v, n, fds[1]);
	e = pid < 0 ? -errno : 0;
	close(fds[1]);
	if (!e) {
		e = results_read(fds[0], v, n);
		kill(pid, SIGKILL); /* it has told all, or takes too long */
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(fds[0]);
	return e;
}

int weir_socks_kill(struct weir_kill *v, size_t n)
{
	_cleanup_free_ struct weir_kill *away = calloc(n ? n : 1, sizeof *away);
	size_t n_away = 0;
	int e;

	if (!away)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		v[i].result = -ENOENT;
	e = kill_here(v, n);
	for (size_t i = 0; e >= 0 && i < n; i++)
		if (v[i].dir == WEIR_DIR_FWD)
			away[n_away++] = v[i];
	if (n_away)
		e = kill_elsewhere(away, n_away);
	for (size_t i = 0, k = 0; e >= 0 && n_away && i < n; i++)
		if (v[i].dir == WEIR_DIR_FWD)
			v[i].result = away[k++].result;
	return e < 0 ? e : 0;
}
