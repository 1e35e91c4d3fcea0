/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets and the processes that hold them, for whoever may not look into processes himself: the sockets are
 * asked of sock_diag, which tells anybody, the holders of a source that may be another process.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/host/host.h"
#include "lib/util/cleanup.h"

#define KNOWN 1024 /* slots of the cache of process and user names */

struct known_proc {
	uint32_t pid;
	struct weir_process p;
};

struct known_user {
	uint32_t uid;
	bool set;
	char name[32];
};

struct weir_owners {
	struct weir_sock *socks; /* sorted by sock_cmp */
	size_t n_socks;
	struct weir_holder *holders; /* by inode */
	size_t n_holders;
	struct weir_owners_source source;
	struct weir_holders *own; /* where no source is set */
	uint32_t every_ms;
	uint64_t read_at; /* 0: never */
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

void weir_owners_ask(struct weir_owners *o, const struct weir_owners_source *source)
{
	o->source = *source;
}

void weir_owners_free(struct weir_owners *o)
{
	if (!o)
		return;
	free(o->socks);
	free(o->holders);
	weir_holders_free(o->own);
	free(o);
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

static int holders_ask(struct weir_owners *o, struct weir_holder **ret, size_t *ret_n)
{
	int e = 0;

	if (o->source.holders)
		return o->source.holders(ret, ret_n, o->source.data);
	if (!o->own)
		e = weir_holders_new(&o->own);
	return e < 0 ? e : weir_holders_read(o->own, ret, ret_n);
}

int weir_owners_refresh(struct weir_owners *o)
{
	struct weir_holder *h = NULL;
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
	e = holders_ask(o, &h, &n);
	if (e < 0)
		return e;
	free(o->holders);
	o->holders = h;
	o->n_holders = n;
	return 1;
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

static const struct weir_process *proc_known(struct weir_owners *o, uint32_t pid)
{
	struct known_proc *p = &o->procs[pid % KNOWN];

	if (p->pid != pid) {
		p->pid = pid;
		if (!o->source.process)
			weir_process_read(pid, &p->p);
		else if (o->source.process(pid, &p->p, o->source.data) < 0)
			memset(&p->p, 0, sizeof p->p);
	}
	return &p->p;
}

static uint32_t holder_of(const struct weir_owners *o, uint32_t inode)
{
	size_t lo = 0, hi = o->n_holders;

	while (inode && lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (o->holders[mid].inode == inode)
			return o->holders[mid].pid;
		if (o->holders[mid].inode < inode)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

int weir_owners_of(struct weir_owners *o, const struct weir_sock *s, struct weir_owner *ret)
{
	uint32_t pid = holder_of(o, s->inode);
	const struct weir_process *p;

	memset(ret, 0, sizeof *ret);
	ret->uid = s->uid;
	snprintf(ret->unit, sizeof ret->unit, "%s", user_name(o, s->uid));
	if (!pid)
		return -ENOENT;
	p = proc_known(o, pid);
	if (!p->program[0])
		return -ENOENT; /* it has ended since */
	ret->pid = pid;
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
