/* SPDX-License-Identifier: Apache-2.0 */
/* The helper process: one request, one answer, until the worker's end closes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/helper/answer.h"
#include "lib/sandbox/sandbox.h"
#include "lib/util/cleanup.h"

static int records_seal(const void *v, size_t size)
{
	_cleanup_close_ int fd = memfd_create("weir-answer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	for (size_t at = 0; at < size;) {
		ssize_t n = write(fd, (const char *)v + at, size - at);

		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int answer_send(int fd, const struct weir_answer_head *head, int carry)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec io = { (void *)head, sizeof *head };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };

	if (carry >= 0) {
		m.msg_control = control.buf;
		m.msg_controllen = sizeof control.buf;
		control.h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof carry),
					      .cmsg_level = SOL_SOCKET,
					      .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.h), &carry, sizeof carry);
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int serve(int fd, struct weir_answerer *by, const struct weir_ask *ask)
{
	const struct weir_ask_type *t = weir_ask_type(ask->kind);
	struct weir_answer_head head = { .kind = ask->kind, .seq = ask->seq };
	struct weir_answer a;
	int r;

	weir_answer(by, ask, &a);
	if (a.result >= 0 && t->record) {
		if (a.n > WEIR_ANSWER_MAX / t->record)
			a.n = WEIR_ANSWER_MAX / t->record;
		head.n = (uint32_t)a.n;
		head.size = t->record;
		a.fd = records_seal(a.records, a.n * t->record);
		if (a.fd < 0)
			a.result = a.fd;
	}
	head.result = a.result;
	r = answer_send(fd, &head, a.fd);
	free(a.records);
	weir_closep(&a.fd);
	return r;
}

static int serve_all(int fd, struct weir_answerer *by)
{
	_cleanup_free_ struct weir_ask *ask = malloc(sizeof *ask);
	_cleanup_free_ char *buf = malloc(sizeof *ask + 1);
	int r = ask && buf ? 0 : -ENOMEM;

	while (!r) {
		ssize_t n = recv(fd, buf, sizeof *ask + 1, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		if (!weir_ask_parse(buf, (size_t)n, ask))
			r = serve(fd, by, ask);
		else /* the same program does not write such a thing: whoever did gets no second try */
			r = -EBADMSG;
	}
	return r;
}

static char *folder_of(const char *path)
{
	char *real = path ? realpath(path, NULL) : NULL;
	char *slash = real ? strrchr(real, '/') : NULL;

	if (!slash || slash == real) { /* a policy in / must not open everything */
		free(real);
		return NULL;
	}
	*slash = 0;
	return real;
}

int weir_helper_main(int fd, const struct weir_helper_options *o)
{
	struct weir_answerer by = { .bounded = true };
	int r;

	by.dirs[0] = o->config_dir ? realpath(o->config_dir, NULL) : NULL;
	if (by.dirs[0] && !by.dirs[0][1]) { /* "/" */
		free(by.dirs[0]);
		by.dirs[0] = NULL;
	}
	by.dirs[1] = folder_of(o->policy);
	r = weir_sandbox_helper(&by.sandbox);
	if (!r)
		r = serve_all(fd, &by);
	weir_answerer_clear(&by);
	return r < 0 && r != -EPIPE && r != -ECONNRESET ? 1 : 0;
}
