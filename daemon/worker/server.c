/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/listen.h"
#include "daemon/worker/server.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

struct buffer {
	char *data;
	size_t at, len, space; /* [at, len) is unread */
};

struct weir_client {
	struct weir_server *server;
	struct weir_client *next;
	struct weir_source *source;
	int fd;
	uid_t uid;
	pid_t pid;
	struct buffer in, out;
	bool follows, closing, dead; /* closing: after the last byte; dead: at the end of this callback */
};

struct weir_server {
	struct weir_loop *loop;
	struct weir_source *source;
	struct weir_server_calls calls;
	struct weir_server_counts counts;
	struct weir_client *clients;
	size_t n_clients;
	int fd;
	bool busy; /* inside a client's callback: nobody is buried */
	char *path;
};

static int buffer_room(struct buffer *b, size_t more)
{
	size_t need, space;
	char *data;

	if (b->at) {
		memmove(b->data, b->data + b->at, b->len - b->at);
		b->len -= b->at;
		b->at = 0;
	}
	need = b->len + more;
	if (need <= b->space)
		return 0;
	for (space = b->space ? b->space : 4096; space < need;)
		space *= 2;
	data = realloc(b->data, space);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->space = space;
	return 0;
}

static size_t unread(const struct buffer *b)
{
	return b->len - b->at;
}

static void client_free(struct weir_client *c)
{
	weir_loop_del(c->source);
	close(c->fd);
	free(c->in.data);
	free(c->out.data);
	free(c);
}

static void reap(struct weir_server *s)
{
	for (struct weir_client **p = &s->clients; *p;) {
		struct weir_client *c = *p;

		if (!c->dead) {
			p = &c->next;
			continue;
		}
		*p = c->next;
		s->n_clients--;
		client_free(c);
	}
}

/* Write what the socket takes. */
static void flush(struct weir_client *c)
{
	struct buffer *b = &c->out;

	while (!c->dead && unread(b)) {
		ssize_t n = send(c->fd, b->data + b->at, unread(b), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			c->dead = true;
			return;
		}
		b->at += (size_t)n;
	}
	if (!unread(b) && c->closing)
		c->dead = true;
	/* with an answer still on its way the next request waits in the socket; a hang-up is told regardless */
	if (!c->dead && c->source)
		weir_loop_change(c->source, unread(b) ? EPOLLOUT : EPOLLIN);
}

static void put(struct weir_client *c, const char *text, size_t len)
{
	if (c->dead)
		return;
	if (buffer_room(&c->out, len + 1)) {
		c->dead = true;
		return;
	}
	memcpy(c->out.data + c->out.len, text, len);
	c->out.data[c->out.len + len] = '\n';
	c->out.len += len + 1;
	flush(c);
}

json_t *weir_words_json(const char *s)
{
	json_t *j = json_string(s);
	char text[PATH_MAX];

	return j ? j : json_string(weir_escape(s, strlen(s), text, sizeof text));
}

json_t *weir_error_json(const char *message, const char *hint)
{
	json_t *e = json_pack("{s:o}", "message", weir_words_json(message));

	if (hint && *hint)
		json_object_set_new(e, "hint", weir_words_json(hint));
	return json_pack("{s:b, s:o}", "ok", 0, "error", e);
}

void weir_client_send(struct weir_client *c, json_t *answer)
{
	_cleanup_free_ char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	static const char none[] = "{\"ok\":false,\"error\":{\"message\":\"out of memory\"}}";

	json_decref(answer);
	put(c, text ? text : none, text ? strlen(text) : sizeof none - 1);
}

void weir_client_follow(struct weir_client *c)
{
	c->follows = true;
}

void weir_client_actor(const struct weir_client *c, uid_t *ret_uid, pid_t *ret_pid)
{
	*ret_uid = c->uid;
	*ret_pid = c->pid;
}

bool weir_server_followed(const struct weir_server *s)
{
	for (const struct weir_client *c = s ? s->clients : NULL; c; c = c->next) {
		if (c->follows && !c->dead)
			return true;
	}
	return false;
}

void weir_server_stream(struct weir_server *s, const json_t *j)
{
	_cleanup_free_ char *text = json_dumps(j, JSON_COMPACT);

	if (!text)
		return;
	for (struct weir_client *c = s->clients; c; c = c->next) {
		if (!c->follows || c->dead)
			continue;
		if (unread(&c->out) > WEIR_SERVER_BACKLOG) {
			s->counts.cut++;
			c->dead = true;
			continue;
		}
		put(c, text, strlen(text));
	}
	if (!s->busy)
		reap(s);
}

static void bad(struct weir_client *c, const char *message)
{
	c->server->counts.bad++;
	weir_client_send(c, weir_error_json(message, "one JSON object per line: {\"verb\": \"status\"}"));
}

static void take_line(struct weir_client *c, const char *line, size_t len)
{
	json_error_t e;
	json_t *j = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e);

	if (!json_is_object(j)) {
		json_decref(j);
		bad(c, "the request is no JSON object");
		return;
	}
	c->server->counts.requests++;
	c->server->calls.request(c, j, c->server->calls.data);
	json_decref(j);
}

/* Every complete line, as long as the answers leave. */
static void take_lines(struct weir_client *c)
{
	while (!c->dead && !c->closing && !unread(&c->out)) {
		char *from = c->in.data + c->in.at, *end = memchr(from, '\n', unread(&c->in));

		if (!end) {
			if (unread(&c->in) >= WEIR_SERVER_REQUEST) {
				c->closing = true;
				bad(c, "the request is longer than 1 MiB");
			}
			return;
		}
		c->in.at += (size_t)(end - from) + 1;
		if (end > from)
			take_line(c, from, (size_t)(end - from));
	}
}

static void on_client(uint32_t events, void *data)
{
	struct weir_client *c = data;
	struct weir_server *s = c->server;

	s->busy = true;
	if (events & EPOLLOUT)
		flush(c);
	if (events & EPOLLHUP) {
		/* Who went away decides nothing: what he asked for may have been settled without us, in the kernel. */
		c->dead = true;
	} else if (!c->dead && (events & EPOLLIN)) {
		ssize_t n = buffer_room(&c->in, 16384) ? -1 :
				    recv(c->fd, c->in.data + c->in.len, 16384, MSG_DONTWAIT);

		if (n > 0)
			c->in.len += (size_t)n;
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			c->dead = true; /* a request without its newline was never finished */
	} else if (events & EPOLLERR) {
		c->dead = true;
	}
	if (!c->dead)
		take_lines(c);
	s->busy = false;
	reap(s);
}

static int client_add(struct weir_server *s, int fd, const struct ucred *who)
{
	struct weir_client *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return -ENOMEM;
	*c = (struct weir_client){ .server = s, .fd = fd, .uid = who->uid, .pid = who->pid };
	r = weir_loop_add(s->loop, fd, EPOLLIN, on_client, c, &c->source);
	if (r) {
		free(c);
		return r;
	}
	c->next = s->clients;
	s->clients = c;
	s->n_clients++;
	s->counts.clients++;
	return 0;
}

static void turn_away(int fd, const char *message, const char *hint)
{
	json_t *j = weir_error_json(message, hint);
	_cleanup_free_ char *text = json_dumps(j, JSON_COMPACT);

	json_decref(j);
	if (text) {
		/* if it does not fit at once, nobody is there who reads */
		send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
		send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
}

static void on_accept(uint32_t events, void *data)
{
	struct weir_server *s = data;
	_cleanup_close_ int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred who;
	socklen_t len = sizeof who;

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len))
		return;
	if (who.uid != 0 && who.uid != geteuid()) {
		s->counts.refused++;
		turn_away(fd, "only root may talk to weir", "sudo weir ...");
		if (s->calls.refused)
			s->calls.refused(who.uid, who.pid, s->calls.data);
		return;
	}
	if (s->n_clients >= WEIR_SERVER_CLIENTS) {
		s->counts.refused++;
		turn_away(fd, "too many clients (64)", "end some, for example weir events --follow");
		return;
	}
	if (!client_add(s, fd, &who))
		fd = -1;
}

int weir_server_new(struct weir_loop *l, int fd, const struct weir_server_calls *calls, struct weir_server **ret)
{
	struct weir_server *s = calloc(1, sizeof *s);
	int r;

	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	*s = (struct weir_server){ .loop = l, .calls = *calls, .fd = fd };
	r = weir_loop_add(l, s->fd, EPOLLIN, on_accept, s, &s->source);
	if (r) {
		weir_server_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int weir_server_open(struct weir_loop *l, const char *path, const struct weir_server_calls *calls,
		     struct weir_server **ret)
{
	struct weir_server *s;
	int fd = weir_listen(path), r;

	if (fd < 0)
		return fd;
	r = weir_server_new(l, fd, calls, &s);
	if (r)
		return r;
	s->path = strdup(path);
	*ret = s;
	return 0;
}

void weir_server_free(struct weir_server *s)
{
	if (!s)
		return;
	for (struct weir_client *c = s->clients, *next; c; c = next) {
		next = c->next;
		flush(c);
		client_free(c);
	}
	weir_loop_del(s->source);
	if (s->fd >= 0) {
		close(s->fd);
		if (s->path)
			unlink(s->path);
	}
	free(s->path);
	free(s);
}

const struct weir_server_counts *weir_server_counts(const struct weir_server *s)
{
	return &s->counts;
}
