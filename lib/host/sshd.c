/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Management access by ssh. What is found here gets a way in that no rule can close, so it is read with
 * care: a listener counts only when root opened the socket, and an address only when somebody has logged in
 * from it. A connection that has not proved itself yet is a stranger's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/host/host.h"
#include "lib/host/proc.h"
#include "lib/util/cleanup.h"

#define SSHD_PORTS_MAX 16
#define SSHD_ADDRS_MAX 256

/* What the holder of a socket is. */
enum {
	SSH_SERVER = 1,
	SSH_SESSION = 2, /* it has logged somebody in */
	SSH_INIT = 4,    /* the first process, which listens for sshd under socket activation */
};

struct ssh_sock {
	uint32_t inode, what;
};

struct ssh_socks {
	struct ssh_sock *v;
	size_t n, room;
	uint32_t what; /* of the process that is being looked at */
	bool oom;
};

/* "sshd: user@pts/0" after the login; "sshd: user [priv]", "sshd: [accepted]" and their like before it. */
static bool sshd_logged_in(uint32_t pid)
{
	char title[256];
	ssize_t n = weir_proc_read(pid, "cmdline", title, sizeof title);

	while (n > 0 && (title[n - 1] == 0 || title[n - 1] == ' '))
		title[--n] = 0;
	return n > 0 && !strncmp(title, "sshd", 4) && strchr(title, '@') && title[n - 1] != ']';
}

/* dropbear writes no title: it has logged somebody in when it runs something for him. */
static bool dropbear_logged_in(uint32_t pid)
{
	char file[48], children[16];

	snprintf(file, sizeof file, "task/%u/children", pid);
	return weir_proc_read(pid, file, children, sizeof children) > 0;
}

static void ssh_sock_add(uint32_t inode, uint32_t pid, void *data)
{
	struct ssh_socks *l = data;

	if (l->n == l->room) {
		struct ssh_sock *v = reallocarray(l->v, l->room ? l->room * 2 : 32, sizeof *v);

		if (!v) {
			l->oom = true;
			return;
		}
		l->v = v;
		l->room = l->room ? l->room * 2 : 32;
	}
	l->v[l->n++] = (struct ssh_sock){ inode, l->what };
}

static uint32_t ssh_what(uint32_t pid)
{
	char comm[32];
	ssize_t len = weir_proc_read(pid, "comm", comm, sizeof comm);

	if (len <= 0)
		return 0;
	comm[strcspn(comm, "\n")] = 0;
	if (pid == 1)
		return SSH_INIT;
	if (!strcmp(comm, "dropbear"))
		return SSH_SERVER | (dropbear_logged_in(pid) ? SSH_SESSION : 0);
	if (!strcmp(comm, "sshd"))
		return SSH_SERVER | (sshd_logged_in(pid) ? SSH_SESSION : 0);
	if (!strcmp(comm, "sshd-session")) /* holds the connection since OpenSSH 9.8 */
		return sshd_logged_in(pid) ? SSH_SESSION : 0;
	return 0;
}

static int ssh_scan(struct ssh_socks *l)
{
	_cleanup_free_ uint32_t *pids = NULL;
	size_t n = 0;
	int e = weir_proc_pids(&pids, &n);

	for (size_t i = 0; i < n; i++) {
		l->what = ssh_what(pids[i]);
		if (l->what)
			weir_proc_sockets(pids[i], 4096, ssh_sock_add, l);
	}
	return e < 0 ? e : l->oom ? -ENOMEM : 0;
}

static bool ssh_has(const struct ssh_socks *l, uint32_t inode, uint32_t what)
{
	for (size_t i = 0; i < l->n; i++)
		if (inode && l->v[i].inode == inode && (l->v[i].what & what))
			return true;
	return false;
}

static bool port_known(const struct weir_sshd *s, uint16_t port)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i] == port)
			return true;
	return false;
}

static void sshd_port(struct weir_sshd *s, uint16_t port)
{
	if (s->n_ports < SSHD_PORTS_MAX && !port_known(s, port))
		s->ports[s->n_ports++] = port;
}

static int sshd_addr(struct weir_sshd *s, const uint8_t addr[16])
{
	char buf[INET6_ADDRSTRLEN + 4];
	uint8_t net[16];

	if (weir_addr_is_v4(addr)) {
		inet_ntop(AF_INET, addr + 12, buf, sizeof buf);
	} else {
		/* privacy addresses change within a network while a session lasts */
		memcpy(net, addr, 8);
		memset(net + 8, 0, 8);
		inet_ntop(AF_INET6, net, buf, INET6_ADDRSTRLEN);
		strcat(buf, "/64");
	}
	for (size_t i = 0; i < s->n_addrs; i++)
		if (!strcmp(s->addrs[i], buf))
			return 0;
	if (s->n_addrs == SSHD_ADDRS_MAX)
		return 0;
	s->addrs[s->n_addrs] = strdup(buf);
	if (!s->addrs[s->n_addrs])
		return -ENOMEM;
	s->n_addrs++;
	return 0;
}

void weir_sshd_free(struct weir_sshd *s)
{
	for (size_t i = 0; i < s->n_addrs; i++)
		free(s->addrs[i]);
	free(s->addrs);
	free(s->ports);
	*s = (struct weir_sshd){ 0 };
}

static bool is_session(const struct ssh_socks *l, const struct weir_sock *k)
{
	return k->proto == WEIR_IPPROTO_TCP && k->state == WEIR_SOCK_ESTABLISHED && k->inbound && ssh_has(l, k->inode, SSH_SESSION);
}

/* The first process listens for many; it does so for sshd on 22, and where a login session came in. */
static bool is_ssh_port(const struct ssh_socks *l, const struct weir_sock *k, const struct weir_sock *socks, size_t n)
{
	if (k->proto != WEIR_IPPROTO_TCP || !k->listening || k->uid != 0)
		return false;
	if (ssh_has(l, k->inode, SSH_SERVER))
		return true;
	if (!ssh_has(l, k->inode, SSH_INIT))
		return false;
	for (size_t i = 0; i < n; i++)
		if (socks[i].lport == k->lport && is_session(l, &socks[i]))
			return true;
	return k->lport == 22;
}

static int sshd_fill(struct weir_sshd *s, const struct ssh_socks *l, const struct weir_sock *socks, size_t n)
{
	static const uint8_t lo6[16] = { [15] = 1 };

	for (size_t i = 0; i < n; i++)
		if (is_ssh_port(l, &socks[i], socks, n))
			sshd_port(s, socks[i].lport);
	for (size_t i = 0; i < n; i++) {
		const struct weir_sock *k = &socks[i];
		int e;

		if (!is_session(l, k) || !port_known(s, k->lport) || !memcmp(k->remote, lo6, 16) ||
		    (weir_addr_is_v4(k->remote) && k->remote[12] == 127))
			continue;
		e = sshd_addr(s, k->remote);
		if (e < 0)
			return e;
	}
	return 0;
}

int weir_sshd_read(struct weir_sshd *ret)
{
	struct weir_sshd s = { .ports = calloc(SSHD_PORTS_MAX, sizeof *s.ports),
			       .addrs = calloc(SSHD_ADDRS_MAX, sizeof *s.addrs) };
	_cleanup_free_ struct weir_sock *socks = NULL;
	struct ssh_socks l = { 0 };
	size_t n = 0;
	int e;

	if (!s.ports || !s.addrs)
		e = -ENOMEM;
	else
		e = weir_socks_read(&socks, &n, NULL);
	if (e >= 0)
		e = ssh_scan(&l);
	if (e >= 0)
		e = sshd_fill(&s, &l, socks, n);
	free(l.v);
	if (e < 0) {
		weir_sshd_free(&s);
		return e;
	}
	*ret = s;
	return 0;
}
