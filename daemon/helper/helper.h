/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper: a small process that may look into other processes and namespaces, and end their sockets. The worker,
 * which has no rights, asks it by a small table of requests of fixed size; answers are fixed records in a sealed
 * memfd. It parses /proc, sshd's configuration and sock_diag, nothing that comes from the network.
 *
 * All names are raw text from outside (see lib/host/host.h). Negative errno on failure; -EPIPE: the helper is gone.
 */
#pragma once
#include <sys/types.h>

#include "lib/host/host.h"

struct weir_helper; /* the asking end */

/* In the same process, with its rights: for tests. */
int weir_helper_new_local(struct weir_helper **ret);
/* Over a socket to a helper process; takes the fd. */
int weir_helper_new_fd(int fd, struct weir_helper **ret);
void weir_helper_free(struct weir_helper *h); /* takes NULL */

/* The process: serves until the other end closes. Drops what it does not need. Returns an exit status. */
int weir_helper_main(int fd);

/* Open a regular file for reading, as root: policies, their includes and lists. Returns an fd. */
int weir_helper_open(struct weir_helper *h, const char *path);

/* Login sessions and ports of sshd; free with weir_sshd_free. */
int weir_helper_sshd(struct weir_helper *h, struct weir_sshd *ret);

/* Over which connection somebody works here: found through the sockets of his process, of its ancestors, and of the
 * login session that they belong to (sudo, screen and su hide it from the environment). */
struct weir_session {
	struct weir_tuple t;  /* the conversation as its originator sees it: from = he, to = this host */
	uint32_t pid;         /* that holds the socket */
	char program[64];
};
#define WEIR_SESSIONS_MAX 8
/* Number of sessions (0: a local console), at most WEIR_SESSIONS_MAX. */
int weir_helper_sessions(struct weir_helper *h, pid_t pid, struct weir_session ret[WEIR_SESSIONS_MAX]);

/* One conversation whose sockets shall end (SOCK_DESTROY, Linux 4.5), in this namespace or any other of this host. */
struct weir_kill {
	struct weir_tuple t; /* originator's view */
	uint32_t dir;        /* WEIR_DIR_* */
	int32_t result;      /* out: number of sockets that ended; -EOPNOTSUPP: the kernel cannot; -ENOENT: no socket here */
};
int weir_helper_kill(struct weir_helper *h, struct weir_kill *v, size_t n);
