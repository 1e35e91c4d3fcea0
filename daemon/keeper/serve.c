/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/keeper/turn.h"
#include "lib/util/cleanup.h"
#include "lib/util/packet.h"

void weir_serve_image_drop(struct weir_serve *s, int which)
{
	if (s->image[which] >= 0)
		close(s->image[which]);
	s->image[which] = -1;
	if (which == WEIR_IMAGE_NOW)
		weir_serve_late_drop(s);
}

void weir_serve_went_back(struct weir_serve *s)
{
	if (s->image[WEIR_IMAGE_BACK] < 0)
		return;
	weir_serve_image_drop(s, WEIR_IMAGE_NOW);
	s->image[WEIR_IMAGE_NOW] = TAKE_FD(s->image[WEIR_IMAGE_BACK]);
	s->mode[WEIR_IMAGE_NOW] = s->mode[WEIR_IMAGE_BACK];
	s->generation[WEIR_IMAGE_NOW] = s->generation[WEIR_IMAGE_BACK];
}

int weir_serve_new(struct weir_keeper *k, struct weir_serve **ret)
{
	struct weir_serve *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->keeper = k;
	s->image[WEIR_IMAGE_NOW] = s->image[WEIR_IMAGE_BACK] = s->helper = s->tally = -1;
	*ret = s;
	return 0;
}

void weir_serve_free(struct weir_serve *s)
{
	if (!s)
		return;
	weir_serve_image_drop(s, WEIR_IMAGE_NOW);
	weir_serve_image_drop(s, WEIR_IMAGE_BACK);
	weir_serve_helper(s, -1);
	if (s->tally >= 0)
		close(s->tally);
	free(s->late);
	free(s);
}

void weir_serve_begin(struct weir_serve *s)
{
	s->greeted = s->ready = s->busy = false;
	s->end = 0;
	s->why[0] = 0;
	weir_serve_helper(s, -1); /* it got its own with its start */
}

void weir_serve_helper(struct weir_serve *s, int fd)
{
	if (s->helper >= 0)
		close(s->helper);
	s->helper = fd;
}

bool weir_serve_enforces(const struct weir_serve *s)
{
	return (s->image[WEIR_IMAGE_NOW] >= 0 && s->mode[WEIR_IMAGE_NOW] == WEIR_PREVENT) ||
	       (s->image[WEIR_IMAGE_BACK] >= 0 && s->mode[WEIR_IMAGE_BACK] == WEIR_PREVENT);
}

uint32_t weir_serve_generation(const struct weir_serve *s)
{
	return s->image[WEIR_IMAGE_NOW] >= 0 ? s->generation[WEIR_IMAGE_NOW] : 0;
}

void weir_serve_settled(struct weir_serve *s, enum weir_settled how)
{
	if (how == WEIR_SETTLED_BACK)
		weir_serve_went_back(s);
	else if (how == WEIR_SETTLED_CONFIRMED)
		weir_serve_image_drop(s, WEIR_IMAGE_BACK);
}

static int broken(struct weir_serve *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int broken(struct weir_serve *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->why, sizeof s->why, fmt, ap);
	va_end(ap);
	return -EPROTO;
}

static uint32_t standing(const struct weir_serve *s)
{
	return !s->greeted ? WEIR_AT_START : weir_keeper_config(s->keeper) ? WEIR_AT_IMAGE : WEIR_AT_HELLO;
}

int weir_serve_message(struct weir_serve *s, const void *msg, size_t len, const int *fds, size_t n_fds,
		       struct weir_receipt *ret, int ret_fds[WEIR_SERVE_FDS])
{
	_Alignas(8) char copy[WEIR_CALL_SIZE_MAX];
	struct weir_turn t = { s, copy, fds, n_fds, ret, ret_fds };
	struct weir_call_head h;
	const struct weir_kind *k;

	memset(ret, 0, sizeof *ret);
	if (len < sizeof h || len > sizeof copy)
		return broken(s, "a call of %zu bytes", len);
	memcpy(copy, msg, len);
	memcpy(&h, copy, sizeof h);
	k = h.call < WEIR_CALL_COUNT ? &weir_kinds[h.call] : NULL;
	if (!k || !k->run)
		return broken(s, "call %u is unknown", h.call);
	if (len != k->size)
		return broken(s, "call '%s' of %zu bytes, not %u", k->name, len, k->size);
	if (n_fds < k->fds_min || n_fds > k->fds_max)
		return broken(s, "call '%s' with %zu fds", k->name, n_fds);
	if (!(k->allowed & standing(s)))
		return broken(s, "call '%s' out of order", k->name);
	s->calls++;
	s->busy = false;
	ret->call = h.call;
	ret->seq = h.seq;
	ret->result = k->run(&t);
	if (h.call == WEIR_CALL_HELLO && ret->result)
		return broken(s, "%s", ret->why);
	return 0;
}

int weir_serve_read(struct weir_serve *s, int fd)
{
	int fds[WEIR_CALL_FDS_MAX], out[WEIR_SERVE_FDS];
	char msg[WEIR_CALL_SIZE_MAX];
	struct weir_receipt a = { 0 };
	size_t n;
	ssize_t len = weir_packet_read(fd, msg, sizeof msg, fds, WEIR_CALL_FDS_MAX, &n, MSG_DONTWAIT);
	int r;

	if (len == -EAGAIN)
		return 0;
	if (len == -EMSGSIZE || len == -E2BIG)
		r = broken(s, len == -E2BIG ? "too many fds" : "a call that is too long");
	else if (len <= 0)
		r = -EPIPE;
	else
		r = weir_serve_message(s, msg, (size_t)len, fds, n, &a, out);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	if (r)
		return r;
	/* who asks reads the answer before he asks again: it fits, or he does not keep to that */
	r = weir_packet_send(fd, &a, sizeof a, out, a.n_fds, MSG_DONTWAIT);
	for (uint32_t i = 0; i < a.n_fds; i++)
		close(out[i]);
	return r == -EAGAIN ? broken(s, "it does not read its answers") : r ? -EPIPE : 0;
}

const char *weir_serve_why(const struct weir_serve *s)
{
	return s->why;
}

bool weir_serve_ready(const struct weir_serve *s)
{
	return s->ready;
}

bool weir_serve_busy(const struct weir_serve *s)
{
	return s->busy;
}

uint64_t weir_serve_calls(const struct weir_serve *s)
{
	return s->calls;
}

uint32_t weir_serve_end(const struct weir_serve *s)
{
	return s->end;
}

struct weir_life *weir_serve_life(struct weir_serve *s)
{
	return &s->life;
}
