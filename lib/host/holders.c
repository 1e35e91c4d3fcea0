/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which process holds which socket: the inodes in the descriptors of every process. It takes the right to look
 * into other processes. The look is bounded in descriptors and in time; on a host that is too large for one pass
 * the next goes on where this one stopped, and what it did not reach keeps the answer of the pass before.
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

struct slot {
	uint32_t inode, pid; /* inode 0: an empty slot */
	uint32_t round;
};

struct weir_holders {
	struct slot *table;
	size_t n, room;
	uint32_t round, resume_pid;
	bool oom;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int weir_holders_new(struct weir_holders **ret)
{
	struct weir_holders *h = calloc(1, sizeof *h);

	if (!h)
		return -ENOMEM;
	*ret = h;
	return 0;
}

void weir_holders_free(struct weir_holders *h)
{
	if (!h)
		return;
	free(h->table);
	free(h);
}

static struct slot *slot_of(struct slot *table, size_t room, uint32_t inode)
{
	size_t i = inode * 2654435761u & (room - 1);

	while (table[i].inode && table[i].inode != inode)
		i = (i + 1) & (room - 1);
	return &table[i];
}

/* A new table without what was not seen in this round or the one before. */
static int holders_rebuild(struct weir_holders *h, size_t room)
{
	struct slot *t = calloc(room, sizeof *t);
	size_t n = 0;

	if (!t)
		return -ENOMEM;
	for (size_t i = 0; i < h->room; i++) {
		if (!h->table[i].inode || h->table[i].round + 1 < h->round)
			continue;
		*slot_of(t, room, h->table[i].inode) = h->table[i];
		n++;
	}
	free(h->table);
	h->table = t;
	h->room = room;
	h->n = n;
	return 0;
}

/*
 * Of several holders the lowest process counts: the parent that opened it, not its workers. But not the
 * first of all, which holds the sockets of services that it starts on demand.
 */
static void holder_add(uint32_t inode, uint32_t pid, void *data)
{
	struct weir_holders *h = data;
	struct slot *s;

	if (!inode || (h->n * 2 >= h->room && holders_rebuild(h, h->room ? h->room * 2 : 1024) < 0)) {
		h->oom |= inode != 0;
		return;
	}
	s = slot_of(h->table, h->room, inode);
	if (s->inode && s->round == h->round && s->pid > 1)
		return;
	h->n += !s->inode;
	*s = (struct slot){ .inode = inode, .pid = pid, .round = h->round };
}

static int holders_scan(struct weir_holders *h)
{
	_cleanup_free_ uint32_t *pids = NULL;
	uint64_t start = now_ms();
	size_t n = 0, fds = 0, i;
	int e = weir_proc_pids(&pids, &n);

	if (e < 0)
		return e;
	if (!h->resume_pid) {
		h->round++;
		e = holders_rebuild(h, h->room ? h->room : 1024);
		if (e < 0)
			return e;
	}
	h->oom = false;
	for (i = 0; i < n; i++) {
		if (pids[i] < h->resume_pid)
			continue;
		if (fds >= FDS_PER_PASS || now_ms() - start > MS_PER_PASS)
			break;
		fds += weir_proc_sockets(pids[i], FDS_PER_PASS, holder_add, h);
	}
	h->resume_pid = i < n ? pids[i] : 0;
	return h->oom ? -ENOMEM : 0;
}

static int by_inode(const void *a, const void *b)
{
	const struct weir_holder *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

int weir_holders_read(struct weir_holders *h, struct weir_holder **ret, size_t *ret_n)
{
	struct weir_holder *v;
	size_t n = 0;
	int e = holders_scan(h);

	if (e < 0)
		return e;
	v = calloc(h->n ? h->n : 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < h->room && n < h->n; i++)
		if (h->table[i].inode)
			v[n++] = (struct weir_holder){ h->table[i].inode, h->table[i].pid };
	qsort(v, n, sizeof *v, by_inode);
	*ret = v;
	*ret_n = n;
	return 0;
}

void weir_process_read(uint32_t pid, struct weir_process *ret)
{
	memset(ret, 0, sizeof *ret);
	weir_proc_program(pid, ret->program, sizeof ret->program);
	weir_proc_unit(pid, ret->unit, sizeof ret->unit);
}
