/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int weir_packet_send(int fd, const void *data, size_t size, const int *fds, size_t n, int flags)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(WEIR_PACKET_FDS * sizeof(int))] = { 0 };
	struct iovec v = { (void *)data, size };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (n > WEIR_PACKET_FDS)
		return -E2BIG;
	if (n) {
		struct cmsghdr *c;

		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	while (sendmsg(fd, &m, MSG_NOSIGNAL | flags) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static size_t fds_take(struct msghdr *m, int *fds, size_t max, int *ret_more)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (n < max) {
				fds[n++] = fd;
			} else {
				close(fd);
				*ret_more = 1;
			}
		}
	}
	return n;
}

ssize_t weir_packet_read(int fd, void *data, size_t size, int *fds, size_t max, size_t *ret_n, int flags)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(WEIR_PACKET_FDS * sizeof(int))];
	struct iovec v = { data, size };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int more = 0;
	ssize_t len;

	*ret_n = 0;
	do
		len = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | flags);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		return -errno;
	*ret_n = fds_take(&m, fds, max, &more);
	if (more || m.msg_flags & MSG_CTRUNC)
		return -E2BIG;
	return m.msg_flags & MSG_TRUNC ? -EMSGSIZE : len;
}
