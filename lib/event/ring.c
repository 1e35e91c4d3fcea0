/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/event/ring.h"

#include <errno.h>
#include <linux/types.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

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

int weir_ring_fd(const struct weir_ring *r)
{
	return r->fd;
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
