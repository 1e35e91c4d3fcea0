/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Over which connections somebody works here. He is followed three ways, for each hides him from the others:
 * the ancestors of his process (sudo, su); who holds the other side of a terminal that one of them sits at (screen,
 * tmux, script: their server is nobody's child, but it has the terminals of its users open); and the login session
 * that the kernel's audit gave him (a daemonised process). Then it is a matter of whose sockets these are.
 */
#include "lib/host/session.h"

#include <errno.h>
#include <string.h>

#include "lib/host/conntrack.h"
#include "lib/host/host.h"
#include "lib/host/proc.h"
#include "lib/util/cleanup.h"

#define CHAIN_MAX 128 /* ancestors of one process */
#define PEOPLE_MAX 512
#define TERMINALS_MAX 4096
#define INODES_MAX 8192
#define FDS_MAX 4096 /* of one process */
#define UNSET UINT32_MAX

struct person {
	uint32_t pid, tty;
	bool server; /* of terminals: screen, tmux */
};

/* The side of a terminal that its keeper holds. */
struct terminal {
	uint32_t pid, tty;
};

struct inode {
	uint32_t inode, pid;
};

struct search {
	struct person people[PEOPLE_MAX];
	struct terminal terminals[TERMINALS_MAX];
	struct inode inodes[INODES_MAX];
	size_t n_people, n_terminals, n_inodes;
};

int weir_session_stat_parse(const char *stat, uint32_t *ret_parent, uint32_t *ret_tty)
{
	/* the name in parentheses may hold anything, also parentheses */
	const char *s = strrchr(stat, ')');
	unsigned parent;
	int tty;

	if (!s || sscanf(s + 1, " %*c %u %*d %*d %d", &parent, &tty) != 2)
		return -EBADMSG;
	*ret_parent = parent;
	*ret_tty = (uint32_t)tty;
	return 0;
}

uint32_t weir_session_tty(uint32_t n)
{
	return (n & 0xff) | 136u << 8 | (n & ~0xffu) << 12; /* as /proc/PID/stat has it: 136 is a pts */
}

bool weir_session_is_sshd(const char *comm)
{
	return !strncmp(comm, "sshd", 4) || !strcmp(comm, "dropbear");
}

bool weir_session_is_server(const char *comm)
{
	static const char *const known[] = { "tmux: server", "screen", "SCREEN", "dtach", "abduco", "zellij" };

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(comm, known[i]))
			return true;
	return false;
}

static bool comm_of(uint32_t pid, char comm[32])
{
	ssize_t n = weir_proc_read(pid, "comm", comm, 32);

	comm[n > 0 ? strcspn(comm, "\n") : 0] = 0;
	return n > 0;
}

static bool has(const struct search *s, uint32_t pid)
{
	for (size_t i = 0; i < s->n_people; i++)
		if (s->people[i].pid == pid)
			return true;
	return false;
}

/* The process and its ancestors; the first of all is everybody's. */
static void people_add(struct search *s, uint32_t pid, bool ancestors)
{
	char stat[512], comm[32];

	for (int i = 0; pid > 1 && i < CHAIN_MAX && s->n_people < PEOPLE_MAX && !has(s, pid); i++) {
		struct person *p = &s->people[s->n_people];
		uint32_t parent;

		if (weir_proc_read(pid, "stat", stat, sizeof stat) <= 0 ||
		    weir_session_stat_parse(stat, &parent, &p->tty) < 0 || !comm_of(pid, comm))
			return;
		p->pid = pid;
		p->server = weir_session_is_server(comm);
		s->n_people++;
		if (!ancestors)
			return;
		pid = parent;
	}
}

struct fds {
	struct search *s;
	uint32_t pid;
};

/* The keeper's side has one name for all terminals; which it is stands in its fdinfo. */
static void master_add(const char *fd, const char *link, void *data)
{
	const struct fds *x = data;
	char file[64], info[512];
	const char *index;
	unsigned n;

	if ((strcmp(link, "/dev/ptmx") && strcmp(link, "/dev/pts/ptmx")) || x->s->n_terminals == TERMINALS_MAX)
		return;
	snprintf(file, sizeof file, "fdinfo/%.16s", fd);
	if (weir_proc_read(x->pid, file, info, sizeof info) <= 0)
		return;
	index = strstr(info, "tty-index:");
	if (index && sscanf(index + 10, "%u", &n) == 1)
		x->s->terminals[x->s->n_terminals++] = (struct terminal){ x->pid, weir_session_tty(n) };
}

static void terminals_read(struct search *s, const uint32_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct fds x = { s, pids[i] };

		weir_proc_links(pids[i], FDS_MAX, master_add, &x);
	}
}

static void keeper_add(struct search *s, uint32_t tty)
{
	for (size_t i = 0; tty && i < s->n_terminals; i++)
		if (s->terminals[i].tty == tty)
			people_add(s, s->terminals[i].pid, true);
}

/* A terminal that a server of terminals draws on. */
static void slave_follow(const char *fd, const char *link, void *data)
{
	const struct fds *x = data;
	unsigned n;
	int end = 0;

	if (sscanf(link, "/dev/pts/%u%n", &n, &end) == 1 && !link[end])
		keeper_add(x->s, weir_session_tty(n));
}

static void people_follow(struct search *s)
{
	/* the list grows while it is gone through */
	for (size_t i = 0; i < s->n_people; i++) {
		struct fds x = { s, s->people[i].pid };

		keeper_add(s, s->people[i].tty);
		if (s->people[i].server)
			weir_proc_links(x.pid, FDS_MAX, slave_follow, &x);
	}
}

static uint32_t audit_of(uint32_t pid)
{
	char text[32];
	unsigned id;

	return weir_proc_read(pid, "sessionid", text, sizeof text) > 0 && sscanf(text, "%u", &id) == 1 ? id : UNSET;
}

/* Every sshd of the login session. */
static void audit_follow(struct search *s, uint32_t pid, const uint32_t *pids, size_t n)
{
	uint32_t id = audit_of(pid);
	char comm[32];

	for (size_t i = 0; id != UNSET && i < n; i++)
		if (audit_of(pids[i]) == id && comm_of(pids[i], comm) && weir_session_is_sshd(comm))
			people_add(s, pids[i], false);
}

static void inode_add(uint32_t inode, uint32_t pid, void *data)
{
	struct search *s = data;

	if (s->n_inodes < INODES_MAX)
		s->inodes[s->n_inodes++] = (struct inode){ inode, pid };
}

static const struct weir_sock *sock_of(const struct weir_sock *v, size_t n, uint32_t inode)
{
	for (size_t i = 0; inode && i < n; i++)
		if (v[i].inode == inode)
			return &v[i];
	return NULL;
}

static bool is_loopback(const uint8_t a[16])
{
	static const uint8_t lo6[16] = { [15] = 1 };

	return !memcmp(a, lo6, 16) || (weir_addr_is_v4(a) && a[12] == 127);
}

/* An sshd that listens on this port by itself forwards it for its user: others come in there. */
static bool forwards(const struct search *s, uint32_t pid, uint16_t port, const struct weir_sock *v, size_t n)
{
	for (size_t i = 0; i < s->n_inodes; i++) {
		const struct weir_sock *k = s->inodes[i].pid == pid ? sock_of(v, n, s->inodes[i].inode) : NULL;

		if (k && k->proto == WEIR_IPPROTO_TCP && k->listening && k->lport == port)
			return true;
	}
	return false;
}

static size_t sessions_fill(const struct search *s, const struct weir_sock *v, size_t n_v,
			    struct weir_session ret[WEIR_SESSIONS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_inodes && n < WEIR_SESSIONS_MAX; i++) {
		const struct weir_sock *k = sock_of(v, n_v, s->inodes[i].inode);
		struct weir_session *x = &ret[n];
		uint32_t dir, pid = s->inodes[i].pid;
		char comm[32];
		size_t known = 0;

		memset(x, 0, sizeof *x);
		if (!k || k->proto != WEIR_IPPROTO_TCP || k->state != WEIR_SOCK_ESTABLISHED || !k->inbound ||
		    !weir_sock_tuple(k, &x->t, &dir) || !comm_of(pid, comm))
			continue;
		if (weir_session_is_sshd(comm) ? forwards(s, pid, k->lport, v, n_v) : is_loopback(k->remote))
			continue;
		while (known < n && !weir_tuple_equal(&ret[known].t, &x->t))
			known++;
		if (known < n)
			continue; /* sshd's two processes hold the same socket */
		x->pid = pid;
		weir_proc_program(pid, x->program, sizeof x->program);
		n++;
	}
	return n;
}

/*
 * Where netfilter translates (a port that is redirected to sshd's), packets name another address or port than the
 * socket does. The hooks see the packets. Without the table the socket's names are all that is known.
 */
static void sessions_untranslate(struct weir_session *v, size_t n)
{
	_cleanup_free_ struct weir_ct *ct = NULL;
	size_t n_ct = 0;
	char why[160];

	if (!n || weir_ct_read(&ct, &n_ct, why, sizeof why) < 0)
		return;
	for (size_t k = 0; k < n; k++) {
		for (size_t i = 0; i < n_ct; i++) {
			if (!weir_tuple_equal(&ct[i].reply, &v[k].t))
				continue;
			v[k].t = ct[i].orig;
			break;
		}
	}
}

int weir_sessions_read(uint32_t pid, struct weir_session ret[WEIR_SESSIONS_MAX])
{
	_cleanup_free_ struct search *s = calloc(1, sizeof *s);
	_cleanup_free_ uint32_t *pids = NULL;
	_cleanup_free_ struct weir_sock *v = NULL;
	size_t n_pids = 0, n = 0;
	int e;

	if (!s)
		return -ENOMEM;
	people_add(s, pid, true);
	if (!s->n_people)
		return -ESRCH;
	e = weir_proc_pids(&pids, &n_pids);
	if (e >= 0)
		e = weir_socks_read(&v, &n, NULL);
	if (e < 0)
		return e;
	terminals_read(s, pids, n_pids);
	people_follow(s);
	audit_follow(s, pid, pids, n_pids);
	for (size_t i = 0; i < s->n_people; i++)
		weir_proc_sockets(s->people[i].pid, FDS_MAX, inode_add, s);
	n = sessions_fill(s, v, n, ret);
	sessions_untranslate(ret, n);
	return (int)n;
}
