/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which process holds which socket: the inodes of sock_diag, looked up in the descriptors of every process.
 * The look is bounded in descriptors and in time; on a host that is too large for one pass the next refresh
 * goes on where this one stopped, and what it did not reach keeps the answer of the pass before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/host/host.h"
#include "lib/host/proc.h"
#include "lib/util/cleanup.h"

#define FDS_PER_PASS 262144
#define MS_PER_PASS 200
#define KNOWN 1024 /* slots of the cache of process and user names */

struct holder {
	uint32_t inode, pid; /* inode 0: an empty slot */
	uint32_t round;
};

struct known_proc {
	uint32_t pid;
	char program[64], unit[64];
};

struct known_user {
	uint32_t uid;
	bool set;
	char name[32];
};

struct weir_owners {
	struct weir_sock *socks; /* sorted by sock_cmp */
	size_t n_socks;
	struct holder *table;
	size_t n_holders, room;
	uint32_t round, resume_pid;
	uint32_t every_ms;
	uint64_t read_at; /* 0: never */
	bool oom;
	struct known_proc procs[KNOWN];
	struct known_user users[64];
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int weir_owners_new(uint32_t every_ms, struct weir_owners **ret)
{
	struct weir_owners *o = calloc(1, sizeof *o);

	if (!o)
		return -ENOMEM;
	o->every_ms = every_ms;
	*ret = o;
	return 0;
}

void weir_owners_free(struct weir_owners *o)
{
	if (!o)
		return;
	free(o->socks);
	free(o->table);
	free(o);
}

static struct holder *holder_slot(struct holder *table, size_t room, uint32_t inode)
{
	size_t i = inode * 2654435761u & (room - 1);

	while (table[i].inode && table[i].inode != inode)
		i = (i + 1) & (room - 1);
	return &table[i];
}

/* A new table without what was not seen in this round or the one before. */
static int holders_rebuild(struct weir_owners *o, size_t room)
{
	struct holder *t = calloc(room, sizeof *t);
	size_t n = 0;

	if (!t)
		return -ENOMEM;
	for (size_t i = 0; i < o->room; i++) {
		if (!o->table[i].inode || o->table[i].round + 1 < o->round)
			continue;
		*holder_slot(t, room, o->table[i].inode) = o->table[i];
		n++;
	}
	free(o->table);
	o->table = t;
	o->room = room;
	o->n_holders = n;
	return 0;
}

/*
 * Of several holders the lowest process counts: the parent that opened it, not its workers. But not the
 * first of all, which holds the sockets of services that it starts on demand.
 */
static void holder_add(uint32_t inode, uint32_t pid, void *data)
{
	struct weir_owners *o = data;
	struct holder *h;

	if (!inode || (o->n_holders * 2 >= o->room && holders_rebuild(o, o->room ? o->room * 2 : 1024) < 0)) {
		o->oom |= inode != 0;
		return;
	}
	h = holder_slot(o->table, o->room, inode);
	if (h->inode && h->round == o->round && h->pid > 1)
		return;
	o->n_holders += !h->inode;
	*h = (struct holder){ .inode = inode, .pid = pid, .round = o->round };
}

static int holders_scan(struct weir_owners *o)
{
	_cleanup_free_ uint32_t *pids = NULL;
	uint64_t start = now_ms();
	size_t n = 0, fds = 0, i;
	int e = weir_proc_pids(&pids, &n);

	if (e < 0)
		return e;
	if (!o->resume_pid) {
		o->round++;
		e = holders_rebuild(o, o->room ? o->room : 1024);
		if (e < 0)
			return e;
	}
	o->oom = false;
	for (i = 0; i < n; i++) {
		if (pids[i] < o->resume_pid)
			continue;
		if (fds >= FDS_PER_PASS || now_ms() - start > MS_PER_PASS)
			break;
		fds += weir_proc_sockets(pids[i], FDS_PER_PASS, holder_add, o);
	}
	o->resume_pid = i < n ? pids[i] : 0;
	return o->oom ? -ENOMEM : 0;
}

/* Connections of one local port stand together, by remote end; what listens there stands before them. */
static int sock_cmp(const void *a, const void *b)
{
	const struct weir_sock *x = a, *y = b;
	int c;

	if (x->proto != y->proto)
		return x->proto < y->proto ? -1 : 1;
	if (x->lport != y->lport)
		return x->lport < y->lport ? -1 : 1;
	if (x->rport != y->rport)
		return x->rport < y->rport ? -1 : 1;
	c = memcmp(x->remote, y->remote, 16);
	return c ? c : memcmp(x->local, y->local, 16);
}

int weir_owners_refresh(struct weir_owners *o)
{
	struct weir_sock *v = NULL;
	uint64_t now = now_ms();
	size_t n = 0;
	int e;

	if (o->read_at && now - o->read_at < o->every_ms)
		return 0;
	e = weir_socks_read(&v, &n, NULL);
	if (e < 0)
		return e;
	if (n)
		qsort(v, n, sizeof *v, sock_cmp);
	free(o->socks);
	o->socks = v;
	o->n_socks = n;
	o->read_at = now ? now : 1;
	memset(o->procs, 0, sizeof o->procs);
	e = holders_scan(o);
	return e < 0 ? e : 1;
}

const struct weir_sock *weir_owners_socks(const struct weir_owners *o, size_t *ret_n)
{
	*ret_n = o->n_socks;
	return o->socks;
}

static const char *user_name(struct weir_owners *o, uint32_t uid)
{
	struct known_user *u = &o->users[uid % (sizeof o->users / sizeof *o->users)];

	if (!u->set || u->uid != uid) {
		u->uid = uid;
		u->set = true;
		weir_host_user(uid, u->name, sizeof u->name);
	}
	return u->name;
}

static const struct known_proc *proc_known(struct weir_owners *o, uint32_t pid)
{
	struct known_proc *p = &o->procs[pid % KNOWN];

	if (p->pid != pid) {
		p->pid = pid;
		weir_proc_program(pid, p->program, sizeof p->program);
		weir_proc_unit(pid, p->unit, sizeof p->unit);
	}
	return p;
}

int weir_owners_of(struct weir_owners *o, const struct weir_sock *s, struct weir_owner *ret)
{
	const struct holder *h = o->room && s->inode ? holder_slot(o->table, o->room, s->inode) : NULL;
	const struct known_proc *p;

	memset(ret, 0, sizeof *ret);
	ret->uid = s->uid;
	snprintf(ret->unit, sizeof ret->unit, "%s", user_name(o, s->uid));
	if (!h || !h->inode)
		return -ENOENT;
	p = proc_known(o, h->pid);
	if (!p->program[0])
		return -ENOENT; /* it has ended since */
	ret->pid = h->pid;
	memcpy(ret->program, p->program, sizeof ret->program);
	if (p->unit[0])
		memcpy(ret->unit, p->unit, sizeof ret->unit);
	return 0;
}

/* The first socket that does not stand before `key`. */
static size_t socks_lower(const struct weir_owners *o, const struct weir_sock *key)
{
	size_t lo = 0, hi = o->n_socks;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (sock_cmp(&o->socks[mid], key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool sock_takes(const struct weir_sock *s, const uint8_t local[16])
{
	static const uint8_t zero[16];

	if (!memcmp(s->local, local, 16))
		return true;
	if (weir_addr_is_v4(s->local))
		return weir_addr_is_v4(local) && !memcmp(s->local + 12, zero, 4);
	return !memcmp(s->local, zero, 16) && (s->family == 0 || !weir_addr_is_v4(local));
}

int weir_owners_find(struct weir_owners *o, const struct weir_tuple *t, uint32_t dir, struct weir_owner *ret)
{
	bool in = dir == WEIR_DIR_IN;
	struct weir_sock key = { .proto = (uint8_t)(t->zone >> 24) };
	size_t i;

	if (dir != WEIR_DIR_IN && dir != WEIR_DIR_OUT)
		return -ENOENT;
	memcpy(key.local, in ? t->dst : t->src, 16);
	memcpy(key.remote, in ? t->src : t->dst, 16);
	key.lport = in ? t->dport : t->sport;
	key.rport = in ? t->sport : t->dport;
	i = socks_lower(o, &key);
	if (i < o->n_socks && !sock_cmp(&o->socks[i], &key))
		return weir_owners_of(o, &o->socks[i], ret);
	memset(key.local, 0, 16);
	memset(key.remote, 0, 16);
	key.rport = 0;
	for (i = socks_lower(o, &key); i < o->n_socks; i++) {
		const struct weir_sock *s = &o->socks[i];

		if (s->proto != key.proto || s->lport != key.lport || s->rport)
			break;
		/* a connection that TCP opened here is never a listener's */
		if (s->listening && (in || s->proto != WEIR_IPPROTO_TCP) && sock_takes(s, in ? t->dst : t->src))
			return weir_owners_of(o, s, ret);
	}
	return -ENOENT;
}
