/* SPDX-License-Identifier: Apache-2.0 */
/* One packet of a SOCK_SEQPACKET socket, with the fds that travel beside it. */
#pragma once
#include <stddef.h>
#include <sys/types.h>

#define WEIR_PACKET_FDS 8

/* flags: MSG_DONTWAIT or 0. 0 or negative errno. */
int weir_packet_send(int fd, const void *data, size_t size, const int *fds, size_t n, int flags);
/*
 * Its length; 0: the other end is gone. At most `max` fds come with it; they are the caller's, also on failure.
 * -EMSGSIZE: it is longer than that; -E2BIG: it has more fds.
 */
ssize_t weir_packet_read(int fd, void *data, size_t size, int *fds, size_t max, size_t *ret_n, int flags);
