/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader of the kernel's ring of records (BPF_MAP_TYPE_RINGBUF) that needs nothing but the fd of its map: no right,
 * no bpf(2). The layout is the kernel's (Documentation/bpf/ringbuf.rst): a page with the reader's position, which we
 * write, a page with the writers' position, and the data, mapped twice so that no record is cut.
 *
 * The position outlives the reader: who comes after goes on where this one stopped. One reader at a time.
 */
#pragma once
#include <stdint.h>

struct weir_ring;

/*
 * How many records were taken out, over all lives of the reader, in memory that outlives them. The slot whose position
 * is the ring's counts: it is written before the position, so that a life that ends in between is counted exactly.
 */
struct weir_ring_tally {
	struct {
		uint64_t at, n;
	} slot[2];
};

/* Takes the fd. `size`: bytes of data, a power of two. `tally` stays the caller's; NULL: nobody counts. */
int weir_ring_open(int fd, uint32_t size, struct weir_ring_tally *tally, struct weir_ring **ret);
uint64_t weir_ring_taken(const struct weir_ring *r); /* by the tally */
void weir_ring_free(struct weir_ring *r); /* takes NULL */

#define WEIR_RING_TURN 4096 /* records at one call: the rest of the loop has its turn, too */

/* Called with each record that is finished. Returns how many. A callback's record is valid during the call. */
int weir_ring_read(struct weir_ring *r, void (*cb)(const void *record, uint32_t size, void *data), void *data);

/*
 * Several rings, and when to look at them. The programs announce only some of their records (core/wake.h): as long as a
 * look finds something, or something that is not finished, the next one is due WEIR_WAKE_MS later.
 */
struct weir_rings;

int weir_rings_new(struct weir_rings **ret);
void weir_rings_free(struct weir_rings *s); /* takes NULL */
/* As weir_ring_open; the fd must be one of a kernel's ring. -ENOSPC: there are too many. */
int weir_rings_add(struct weir_rings *s, int fd, uint32_t size, struct weir_ring_tally *tally);
int weir_rings_fd(const struct weir_rings *s); /* readable when a look is due; stays ours */
uint64_t weir_rings_taken(const struct weir_rings *s);
int weir_rings_read(struct weir_rings *s, void (*cb)(const void *record, uint32_t size, void *data), void *data);
