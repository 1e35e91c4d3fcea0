/* SPDX-License-Identifier: Apache-2.0 */
/* The asking end: over a socket, or by a call where there is no helper process. */
#include "daemon/helper/helper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "daemon/helper/answer.h"
#include "lib/util/cleanup.h"
#include "lib/util/file.h"

#define WAIT_S 10

struct weir_helper {
	int fd; /* -1: here, or gone */
	bool local;
	uint32_t seq;
	struct weir_answerer here;
	struct weir_ask ask; /* the request that is being made */
};

static struct weir_helper *helper_new(void)
{
	struct weir_helper *h = calloc(1, sizeof *h);

	if (h)
		h->fd = -1;
	return h;
}

int weir_helper_new_local(struct weir_helper **ret)
{
	struct weir_helper *h = helper_new();

	if (!h)
		return -ENOMEM;
	h->local = true;
	*ret = h;
	return 0;
}

int weir_helper_new_fd(int fd, struct weir_helper **ret)
{
	struct weir_helper *h = helper_new();

	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	weir_helper_renew(h, fd);
	*ret = h;
	return 0;
}

void weir_helper_renew(struct weir_helper *h, int fd)
{
	struct timeval wait = { .tv_sec = WAIT_S };

	weir_closep(&h->fd);
	h->fd = fd;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
}

void weir_helper_free(struct weir_helper *h)
{
	if (!h)
		return;
	weir_closep(&h->fd);
	weir_answerer_clear(&h->here);
	free(h);
}

/* One answer with its fd, if any. A packet of another size is none. */
static int answer_receive(int fd, struct weir_answer_head *ret, int *ret_fd)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec io = { ret, sizeof *ret };
	struct msghdr m = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof control.buf
	};
	const struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*ret_fd = -1;
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return !n ? -EPIPE : n == sizeof *ret ? 0 : -EBADMSG;
}

static int records_read(int fd, const struct weir_answer_head *head, uint32_t record, void **ret)
{
	size_t size = (size_t)head->n * record;
	_cleanup_free_ char *v = NULL;
	struct stat st;

	if (head->size != record || head->n > WEIR_ANSWER_MAX / record || fstat(fd, &st) < 0 ||
	    st.st_size != (off_t)size)
		return -EBADMSG;
	v = malloc(size ? size : 1);
	if (!v)
		return -ENOMEM;
	for (size_t at = 0; at < size;) {
		ssize_t n = pread(fd, v + at, size - at, (off_t)at);

		if (n <= 0)
			return -EBADMSG;
		at += (size_t)n;
	}
	*ret = TAKE_PTR(v);
	return 0;
}

static int ask_far(struct weir_helper *h, const struct weir_ask_type *t, struct weir_answer *ret)
{
	struct weir_answer_head head;
	_cleanup_close_ int fd = -1;
	int r;

	h->ask.seq = ++h->seq;
	if (h->fd < 0)
		return -EPIPE;
	if (send(h->fd, &h->ask, WEIR_ASK_HEAD + t->size, MSG_NOSIGNAL) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
	do { /* what answers an earlier request came too late */
		weir_closep(&fd);
		r = answer_receive(h->fd, &head, &fd);
	} while (!r && head.seq != h->seq);
	if (r == -EPIPE) {
		close(h->fd);
		h->fd = -1;
	}
	if (r < 0)
		return r;
	if (head.kind != h->ask.kind)
		return -EBADMSG;
	ret->result = head.result;
	if (head.result < 0)
		return head.result;
	if (fd < 0)
		return -EBADMSG;
	if (t->record) {
		ret->n = head.n;
		return records_read(fd, &head, t->record, &ret->records);
	}
	ret->fd = TAKE_FD(fd);
	return 0;
}

static int ask(struct weir_helper *h, enum weir_ask_kind kind, struct weir_answer *ret)
{
	const struct weir_ask_type *t = weir_ask_type(kind);

	*ret = (struct weir_answer){ .fd = -1 };
	h->ask.kind = kind;
	if (!t->sound(&h->ask))
		return -EINVAL;
	if (!h->local)
		return ask_far(h, t, ret);
	weir_answer(&h->here, &h->ask, ret);
	return ret->result;
}

static int ask_path(struct weir_helper *h, enum weir_ask_kind kind, const char *path, struct weir_answer *ret)
{
	_cleanup_free_ char *cwd = *path == '/' ? NULL : getcwd(NULL, 0);

	*ret = (struct weir_answer){ .fd = -1 };
	memset(&h->ask.path, 0, sizeof h->ask.path); /* nothing else of ours goes along */
	if ((size_t)snprintf(h->ask.path.path, sizeof h->ask.path.path, "%s%s%s", cwd ? cwd : "", cwd ? "/" : "",
			     path) >= sizeof h->ask.path.path)
		return -ENAMETOOLONG;
	return ask(h, kind, ret);
}

int weir_helper_open(struct weir_helper *h, const char *path)
{
	struct weir_answer a;
	int r = ask_path(h, WEIR_ASK_OPEN, path, &a);

	return r < 0 ? r : a.fd;
}

int weir_helper_list(struct weir_helper *h, const char *pattern, char ***ret, size_t *ret_n)
{
	struct weir_answer a;
	int r = ask_path(h, WEIR_ASK_LIST, pattern, &a);
	struct weir_ask_path *v = a.records;
	char **list = r < 0 ? NULL : calloc(a.n + 1, sizeof *list);

	if (r >= 0 && !list)
		r = -ENOMEM;
	for (size_t i = 0; r >= 0 && i < a.n; i++) {
		list[i] = strndup(v[i].path, sizeof v->path - 1);
		r = list[i] ? r : -ENOMEM;
	}
	free(v);
	if (r < 0) {
		for (size_t i = 0; list && i < a.n; i++)
			free(list[i]);
		free(list);
		return r;
	}
	*ret = list;
	*ret_n = a.n;
	return 0;
}

int weir_helper_holders(struct weir_helper *h, struct weir_holder **ret, size_t *ret_n)
{
	struct weir_answer a;
	int r = ask(h, WEIR_ASK_HOLDERS, &a);

	if (r < 0)
		return r;
	*ret = a.records;
	*ret_n = a.n;
	return 0;
}

int weir_helper_process(struct weir_helper *h, uint32_t pid, struct weir_process *ret)
{
	struct weir_answer a;
	int r;

	h->ask.pid.pid = pid;
	r = ask(h, WEIR_ASK_PROCESS, &a);
	if (r >= 0 && a.n != 1)
		r = -EBADMSG;
	if (r >= 0) {
		*ret = *(struct weir_process *)a.records;
		ret->program[sizeof ret->program - 1] = ret->unit[sizeof ret->unit - 1] = 0;
	}
	free(a.records);
	return r < 0 ? r : 0;
}

int weir_helper_sshd(struct weir_helper *h, struct weir_sshd *ret)
{
	struct weir_answer a;
	int r = ask(h, WEIR_ASK_SSHD, &a);
	struct weir_ask_ssh *v = a.records;
	struct weir_sshd s = { 0 };

	if (r < 0)
		return r;
	s.ports = calloc(a.n + 1, sizeof *s.ports);
	s.addrs = calloc(a.n + 1, sizeof *s.addrs);
	r = s.ports && s.addrs ? 0 : -ENOMEM;
	for (size_t i = 0; !r && i < a.n; i++) {
		if (v[i].port) {
			s.ports[s.n_ports++] = v[i].port;
			continue;
		}
		s.addrs[s.n_addrs] = strndup(v[i].addr, sizeof v->addr - 1);
		if (s.addrs[s.n_addrs])
			s.n_addrs++;
		else
			r = -ENOMEM;
	}
	free(v);
	if (r)
		weir_sshd_free(&s);
	else
		*ret = s;
	return r;
}

int weir_helper_sandbox(struct weir_helper *h, struct weir_sandbox *ret)
{
	struct weir_answer a;
	int r = ask(h, WEIR_ASK_SANDBOX, &a);

	if (r >= 0 && a.n != 1)
		r = -EBADMSG;
	if (r >= 0) {
		*ret = *(struct weir_sandbox *)a.records;
		ret->why[sizeof ret->why - 1] = 0;
	}
	free(a.records);
	return r < 0 ? r : 0;
}

int weir_helper_firewalls(struct weir_helper *h, struct weir_firewall ret[WEIR_FIREWALLS_MAX], size_t *ret_n)
{
	struct weir_answer a;
	int r = ask(h, WEIR_ASK_FIREWALLS, &a);

	if (r >= 0 && a.n > WEIR_FIREWALLS_MAX)
		r = -EBADMSG;
	if (r >= 0) {
		memcpy(ret, a.records, a.n * sizeof *ret);
		*ret_n = a.n;
	}
	for (size_t i = 0; r >= 0 && i < a.n; i++)
		ret[i].name[sizeof ret->name - 1] = ret[i].detail[sizeof ret->detail - 1] = 0;
	free(a.records);
	return r < 0 ? r : 0;
}

int weir_helper_passages(struct weir_helper *h, struct weir_passage **ret, size_t *ret_n)
{
	struct weir_answer a;
	int r = ask(h, WEIR_ASK_PASSAGES, &a);
	struct weir_passage *v = a.records;

	if (r < 0)
		return r;
	for (size_t i = 0; i < a.n; i++)
		v[i].name[sizeof v->name - 1] = v[i].detail[sizeof v->detail - 1] = v[i].space[sizeof v->space - 1] = 0;
	*ret = v;
	*ret_n = a.n;
	return 0;
}

int weir_helper_sessions(struct weir_helper *h, pid_t pid, struct weir_session ret[WEIR_SESSIONS_MAX])
{
	struct weir_answer a;
	int r;

	h->ask.pid.pid = (uint32_t)pid;
	r = ask(h, WEIR_ASK_SESSIONS, &a);
	if (r >= 0 && a.n > WEIR_SESSIONS_MAX)
		r = -EBADMSG;
	if (r >= 0)
		memcpy(ret, a.records, a.n * sizeof *ret);
	for (size_t i = 0; r >= 0 && i < a.n; i++)
		ret[i].program[sizeof ret->program - 1] = 0;
	free(a.records);
	return r < 0 ? r : (int)a.n;
}

int weir_helper_kill(struct weir_helper *h, struct weir_kill *v, size_t n)
{
	for (size_t i = 0; i < n; i += WEIR_ASK_KILLS) {
		size_t some = n - i < WEIR_ASK_KILLS ? n - i : WEIR_ASK_KILLS;
		struct weir_answer a;
		int r;

		memset(&h->ask.kills, 0, sizeof h->ask.kills);
		h->ask.kills.n = (uint32_t)some;
		memcpy(h->ask.kills.v, v + i, some * sizeof *v);
		r = ask(h, WEIR_ASK_KILL, &a);
		if (r >= 0 && a.n != some)
			r = -EBADMSG;
		for (size_t k = 0; r >= 0 && k < some; k++)
			v[i + k].result = ((struct weir_kill *)a.records)[k].result;
		free(a.records);
		if (r < 0)
			return r;
	}
	return 0;
}

static int file_open(const char *path, void *data)
{
	return weir_helper_open(data, path);
}

static int file_list(const char *pattern, char ***ret, size_t *ret_n, void *data)
{
	return weir_helper_list(data, pattern, ret, ret_n);
}

static int owners_holders(struct weir_holder **ret, size_t *ret_n, void *data)
{
	return weir_helper_holders(data, ret, ret_n);
}

static int owners_process(uint32_t pid, struct weir_process *ret, void *data)
{
	return weir_helper_process(data, pid, ret);
}

void weir_helper_use(struct weir_helper *h, struct weir_owners *owners)
{
	weir_file_ask(h && !h->local ? &(struct weir_file_source){ file_open, file_list, h } : NULL);
	if (owners)
		weir_owners_ask(owners, h ? &(struct weir_owners_source){ owners_holders, owners_process, h }
					  : &(struct weir_owners_source){ 0 });
}
