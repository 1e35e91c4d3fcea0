/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/PID, read with bounds. Private to lib/host. Processes come and go while they are looked at: whatever
 * fails to open is simply not there.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* All processes, ascending. *ret is malloced. */
int weir_proc_pids(uint32_t **ret, size_t *ret_n);
/* /proc/PID/<file>, at most size - 1 bytes, NUL-terminated. Length or negative errno. */
ssize_t weir_proc_read(uint32_t pid, const char *file, char *buf, size_t size);

/* What the descriptors of a process are, as their links say ("socket:[123]", "/dev/ptmx"), cut at 63 bytes. */
typedef void (*weir_proc_link_cb)(const char *fd, const char *link, void *data);
/* Looks at most at `budget` descriptors; returns how many. */
size_t weir_proc_links(uint32_t pid, size_t budget, weir_proc_link_cb cb, void *data);
/* Inodes of the sockets that a process holds. Looks at most at `budget` descriptors; returns how many. */
size_t weir_proc_sockets(uint32_t pid, size_t budget, void (*cb)(uint32_t inode, uint32_t pid, void *data), void *data);

/* What people call it. Pure: comm, the link exe (may be ""), the raw cmdline. */
void weir_proc_program_of(const char *comm, const char *exe, const char *cmdline, size_t len, char *buf, size_t size);
void weir_proc_program(uint32_t pid, char *buf, size_t size);

/* The service or container of a /proc/PID/cgroup text; "" when it is neither (a login session, say). Pure. */
void weir_proc_unit_of(const char *cgroup, char *buf, size_t size);
void weir_proc_unit(uint32_t pid, char *buf, size_t size);
