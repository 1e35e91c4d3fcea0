/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data that goes from one process to another as a whole: a file in memory that nobody can change any more, neither
 * its bytes nor its length, so that what was checked is what is used.
 */
#pragma once
#include <stddef.h>
#include <sys/types.h>

/* Empty, to be written and then sealed. Returns an fd. */
int weir_memfd_new(const char *name);
int weir_memfd_seal(int fd);
/* The bytes of `data`, sealed. Returns an fd. */
int weir_memfd_of(const char *name, const void *data, size_t size);

struct weir_memmap {
	const void *data; /* NULL when it is empty */
	size_t size;
};
/*
 * Look into one that came from elsewhere. -EPERM: it can still be changed; -EFBIG: more than `max` bytes; -EINVAL:
 * no file in memory at all. The fd stays the caller's and need not live as long as the map.
 */
int weir_memfd_map(int fd, size_t max, struct weir_memmap *ret);
void weir_memfd_unmap(struct weir_memmap *m);
#define _cleanup_memmap_ __attribute__((cleanup(weir_memfd_unmap)))
