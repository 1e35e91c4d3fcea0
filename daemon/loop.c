/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon/loop.h"

struct weir_source {
	struct weir_loop *loop;
	struct weir_source *next;
	int fd;
	weir_loop_cb cb; /* NULL: deleted, freed at the end of the round */
	void *data;
};

struct weir_loop {
	int fd;
	bool stop;
	struct weir_source *sources;
};

int weir_loop_new(struct weir_loop **ret)
{
	struct weir_loop *l = calloc(1, sizeof *l);

	if (!l)
		return -ENOMEM;
	l->fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->fd < 0) {
		free(l);
		return -errno;
	}
	*ret = l;
	return 0;
}

void weir_loop_free(struct weir_loop *l)
{
	if (!l)
		return;
	for (struct weir_source *s = l->sources, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	close(l->fd);
	free(l);
}

int weir_loop_add(struct weir_loop *l, int fd, uint32_t events, weir_loop_cb cb, void *data, struct weir_source **ret)
{
	struct weir_source *s = calloc(1, sizeof *s);
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (!s)
		return -ENOMEM;
	if (epoll_ctl(l->fd, EPOLL_CTL_ADD, fd, &ev)) {
		free(s);
		return -errno;
	}
	*s = (struct weir_source){ .loop = l, .next = l->sources, .fd = fd, .cb = cb, .data = data };
	l->sources = s;
	if (ret)
		*ret = s;
	return 0;
}

int weir_loop_change(struct weir_source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	return epoll_ctl(s->loop->fd, EPOLL_CTL_MOD, s->fd, &ev) ? -errno : 0;
}

void weir_loop_del(struct weir_source *s)
{
	if (!s || !s->cb)
		return;
	epoll_ctl(s->loop->fd, EPOLL_CTL_DEL, s->fd, NULL);
	s->cb = NULL; /* an event of this round may still point here */
}

static void sweep(struct weir_loop *l)
{
	for (struct weir_source **p = &l->sources; *p;) {
		struct weir_source *s = *p;

		if (s->cb) {
			p = &s->next;
			continue;
		}
		*p = s->next;
		free(s);
	}
}

int weir_loop_once(struct weir_loop *l, int ms)
{
	struct epoll_event ev[32];
	int n = epoll_wait(l->fd, ev, 32, ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		struct weir_source *s = ev[i].data.ptr;

		if (s->cb)
			s->cb(ev[i].events, s->data);
	}
	sweep(l);
	return n;
}

int weir_loop_run(struct weir_loop *l)
{
	int r = 0;

	for (l->stop = false; !l->stop && r >= 0;)
		r = weir_loop_once(l, -1);
	return r < 0 ? r : 0;
}

void weir_loop_stop(struct weir_loop *l)
{
	l->stop = true;
}
