/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/notify.h"
#include "lib/util/cleanup.h"

#define BUSY_USEC "60000000"

void weir_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	size_t len = path ? strlen(path) : 0;

	if (len < 2 || len >= sizeof a.sun_path || (*path != '/' && *path != '@'))
		return;
	memcpy(a.sun_path, path, len);
	if (*path == '@') /* the abstract namespace */
		a.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a,
		       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

void weir_notify_busy(bool busy)
{
	const char *usec = getenv("WATCHDOG_USEC"); /* what the unit says */
	char state[64];

	if (!usec)
		return;
	snprintf(state, sizeof state, "WATCHDOG=1\nWATCHDOG_USEC=%.20s", busy ? BUSY_USEC : usec);
	weir_notify(state);
}
