/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/event/ring.h"

#include <errno.h>
#include <linux/types.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/wake.h"

/* The head of a record: its length with two flags, and an offset that is the kernel's own affair. */
#define HEAD 8u
#define BUSY (1u << 31)
#define DISCARD (1u << 30)

struct weir_ring {
	int fd;
	uint32_t mask;
	size_t page, data_size;
	_Atomic unsigned long *taken, *written; /* positions, in bytes since ever */
	const uint8_t *data;
	struct weir_ring_tally *tally, own;
	uint64_t n;
};

/* What the readers before us took: the slot that fits. None does at the very first. */
static void tally_read(struct weir_ring *r)
{
	unsigned long at = atomic_load_explicit(r->taken, memory_order_relaxed);

	for (int i = 0; i < 2; i++) {
		if (r->tally->slot[i].at == at)
			r->n = r->tally->slot[i].n;
	}
}

static void tally_write(struct weir_ring *r, unsigned long at)
{
	int other = r->tally->slot[0].at < r->tally->slot[1].at ? 0 : 1; /* the older one */

	r->tally->slot[other].n = r->n;
	atomic_signal_fence(memory_order_seq_cst); /* in this order, wherever we are killed */
	r->tally->slot[other].at = at;
	atomic_signal_fence(memory_order_seq_cst);
}

int weir_ring_open(int fd, uint32_t size, struct weir_ring_tally *tally, struct weir_ring **ret)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct weir_ring *r = calloc(1, sizeof *r);
	int e = -ENOMEM;

	if (!r)
		goto fail;
	e = -EINVAL;
	if (size < page || size & (size - 1))
		goto fail;
	*r = (struct weir_ring){ .fd = fd, .mask = size - 1, .page = page, .data_size = page + 2 * (size_t)size };
	r->taken = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (r->taken == MAP_FAILED) {
		e = -errno;
		goto fail;
	}
	r->written = mmap(NULL, r->data_size, PROT_READ, MAP_SHARED, fd, (off_t)page);
	if (r->written == MAP_FAILED) {
		e = -errno;
		munmap(r->taken, page);
		goto fail;
	}
	r->data = (const uint8_t *)r->written + page;
	r->tally = tally ? tally : &r->own;
	tally_read(r);
	*ret = r;
	return 0;
fail:
	free(r);
	close(fd);
	return e;
}

void weir_ring_free(struct weir_ring *r)
{
	if (!r)
		return;
	munmap(r->taken, r->page);
	munmap((void *)r->written, r->data_size);
	close(r->fd);
	free(r);
}

uint64_t weir_ring_taken(const struct weir_ring *r)
{
	return r->n;
}

int weir_ring_read(struct weir_ring *r, void (*cb)(const void *record, uint32_t size, void *data), void *data)
{
	unsigned long at = atomic_load_explicit(r->taken, memory_order_relaxed);
	int n = 0;

	while (n < WEIR_RING_TURN && at < atomic_load_explicit(r->written, memory_order_acquire)) {
		const uint8_t *head = r->data + (at & r->mask);
		uint32_t len = atomic_load_explicit((const _Atomic uint32_t *)head, memory_order_acquire);

		if (len & BUSY)
			break; /* its writer is not done: no record overtakes it */
		if (!(len & DISCARD)) {
			cb(head + HEAD, len, data);
			n++;
			r->n++;
		}
		at += HEAD + (((len & ~DISCARD) + 7u) & ~7ul);
		tally_write(r, at);
		/* after the callback: a reader that dies in it leaves the record to the next */
		atomic_store_explicit(r->taken, at, memory_order_release);
	}
	return n;
}

#define RINGS_MAX 2

struct weir_rings {
	struct weir_ring *ring[RINGS_MAX];
	int n, epoll, again;
};

static int watch(const struct weir_rings *s, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };

	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

int weir_rings_new(struct weir_rings **ret)
{
	struct weir_rings *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return -ENOMEM;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->again = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	r = s->epoll < 0 || s->again < 0 ? -errno : watch(s, s->again);
	if (r) {
		weir_rings_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void weir_rings_free(struct weir_rings *s)
{
	if (!s)
		return;
	for (int i = 0; i < s->n; i++)
		weir_ring_free(s->ring[i]);
	if (s->epoll >= 0)
		close(s->epoll);
	if (s->again >= 0)
		close(s->again);
	free(s);
}

int weir_rings_add(struct weir_rings *s, int fd, uint32_t size, struct weir_ring_tally *tally)
{
	int r;

	if (s->n == RINGS_MAX) {
		close(fd);
		return -ENOSPC;
	}
	r = weir_ring_open(fd, size, tally, &s->ring[s->n]);
	return r ? r : watch(s, s->ring[s->n++]->fd);
}

int weir_rings_fd(const struct weir_rings *s)
{
	return s->epoll;
}

uint64_t weir_rings_taken(const struct weir_rings *s)
{
	uint64_t n = 0;

	for (int i = 0; i < s->n; i++)
		n += weir_ring_taken(s->ring[i]);
	return n;
}

/* Also a record whose writer is not done. */
static bool waiting(const struct weir_ring *r)
{
	return atomic_load_explicit(r->taken, memory_order_relaxed) < atomic_load_explicit(r->written, memory_order_acquire);
}

int weir_rings_read(struct weir_rings *s, void (*cb)(const void *record, uint32_t size, void *data), void *data)
{
	struct itimerspec when = { 0 };
	bool more = false;
	int n = 0;

	for (int i = 0; i < s->n; i++) {
		n += weir_ring_read(s->ring[i], cb, data);
		more |= waiting(s->ring[i]);
	}
	if (n || more)
		when.it_value.tv_nsec = WEIR_WAKE_MS * 1000000l;
	timerfd_settime(s->again, 0, &when, NULL); /* setting it anew makes it unreadable */
	return n;
}
