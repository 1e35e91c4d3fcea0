/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/rundir.h"
#include "daemon/spawner.h"
#include "lib/kern/kern.h"
#include "lib/util/cleanup.h"
#include "lib/util/packet.h"

enum order { ORDER_START, ORDER_SIGNAL, ORDER_PROG, ORDER_REMOVE };

struct message {
	uint32_t order, arg;
	int32_t pid, pad;
};

struct weir_spawner {
	int fd;
	pid_t pid;
};

/* In the new process: the sockets to their places, everything else closed, and the program again. */
static void become(const struct weir_run_options *o, enum weir_role role, const int *fds, size_t n)
{
	struct weir_role_line line;
	int high[WEIR_ROLE_FDS];
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (size_t i = 0; i < n; i++) {
		high[i] = fcntl(fds[i], F_DUPFD, 64);
		if (high[i] < 0)
			_exit(126);
	}
	for (size_t i = 0; i < n; i++) {
		if (dup2(high[i], WEIR_FD_FIRST + (int)i) < 0)
			_exit(126);
	}
	syscall(SYS_close_range, WEIR_FD_FIRST + (unsigned)n, ~0u, 0);
	weir_role_line(role, o, &line);
	execv("/proc/self/exe", line.argv);
	_exit(127);
}

/* A child of our parent, so that it learns of its end and nobody else. */
static pid_t start(const struct weir_run_options *o, uint32_t role, const int *fds, size_t n)
{
	pid_t pid;

	if (role >= WEIR_ROLES)
		return -EINVAL;
	pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		become(o, (enum weir_role)role, fds, n);
	return pid < 0 ? -errno : pid;
}

/* Those that we started last: nobody else is signalled, whoever asks. */
#define STARTED 16
static pid_t started[STARTED];

static pid_t start_noted(const struct weir_run_options *o, uint32_t role, const int *fds, size_t n)
{
	static unsigned next;
	pid_t pid = start(o, role, fds, n);

	if (pid > 0)
		started[next++ % STARTED] = pid;
	return pid;
}

static int signal_one(pid_t pid, int sig)
{
	for (int i = 0; i < STARTED; i++) {
		if (pid > 0 && started[i] == pid)
			return kill(pid, sig) ? -errno : 0;
	}
	return -EPERM;
}

static int remove_all(const struct weir_run_options *o)
{
	char report[256] = "";
	int r = weir_kern_flush(o->runtime_dir, report, sizeof report);

	weir_rundir_clear(o->runtime_dir);
	return r;
}

static void obey(int fd, const struct weir_run_options *o)
{
	int fds[WEIR_ROLE_FDS], prog;
	struct message m;
	int32_t result;
	size_t n;

	for (;;) {
		ssize_t len = weir_packet_read(fd, &m, sizeof m, fds, WEIR_ROLE_FDS, &n, 0);

		if (len <= 0)
			_exit(0);
		prog = -1;
		result = len != sizeof m ? -EINVAL :
			 m.order == ORDER_START ? start_noted(o, m.arg, fds, n) :
			 m.order == ORDER_SIGNAL ? signal_one(m.pid, (int)m.arg) :
			 m.order == ORDER_PROG ? (prog = weir_kern_prog_open(m.arg)) :
			 m.order == ORDER_REMOVE ? remove_all(o) : -EINVAL;
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
		weir_packet_send(fd, &result, sizeof result, &prog, prog >= 0, 0);
		if (prog >= 0)
			close(prog);
	}
}

int weir_spawner_new(const struct weir_run_options *o, struct weir_spawner **ret)
{
	struct weir_spawner *s = calloc(1, sizeof *s);
	int pair[2];

	if (!s)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		free(s);
		return -errno;
	}
	s->fd = pair[0];
	s->pid = fork();
	if (!s->pid) {
		/* what ends the keeper ends us by our socket: a signal to the whole group is not for us */
		signal(SIGINT, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		prctl(PR_SET_NAME, "weir-spawner", 0, 0, 0);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		close(pair[0]);
		obey(pair[1], o);
	}
	close(pair[1]);
	if (s->pid < 0) {
		int r = -errno;

		close(s->fd);
		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void weir_spawner_free(struct weir_spawner *s)
{
	if (!s)
		return;
	close(s->fd);
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(s);
}

pid_t weir_spawner_pid(const struct weir_spawner *s)
{
	return s->pid;
}

/* *ret_fd may be NULL. */
static int order(struct weir_spawner *s, const struct message *m, const int *fds, size_t n, int *ret_fd)
{
	int got[WEIR_ROLE_FDS], r = weir_packet_send(s->fd, m, sizeof *m, fds, n, 0);
	int32_t result = -EPIPE;
	size_t n_got = 0;

	if (!r && weir_packet_read(s->fd, &result, sizeof result, got, WEIR_ROLE_FDS, &n_got, 0) != sizeof result)
		r = -EPIPE;
	for (size_t i = 0; i < n_got; i++) {
		if (ret_fd && !i)
			*ret_fd = got[0];
		else
			close(got[i]);
	}
	return r ? r : result;
}

pid_t weir_spawner_start(struct weir_spawner *s, enum weir_role role, const int *fds, size_t n)
{
	return order(s, &(struct message){ ORDER_START, role, 0, 0 }, fds, n, NULL);
}

int weir_spawner_signal(struct weir_spawner *s, pid_t child, int sig)
{
	return child > 0 ? order(s, &(struct message){ ORDER_SIGNAL, (uint32_t)sig, child, 0 }, NULL, 0, NULL) : -ESRCH;
}

int weir_spawner_remove(struct weir_spawner *s)
{
	return order(s, &(struct message){ ORDER_REMOVE, 0, 0, 0 }, NULL, 0, NULL);
}

int weir_spawner_prog(uint32_t id, void *spawner)
{
	int fd = -1, r = order(spawner, &(struct message){ ORDER_PROG, id, 0, 0 }, NULL, 0, &fd);

	return r < 0 ? r : fd >= 0 ? fd : -ENOENT;
}
