/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: one JSON object per line in, JSON lines out. Only the transport: it knows nothing of
 * what is asked. Clients are root or the daemon's own user (SO_PEERCRED). Everything is bounded: clients,
 * the length of a request, what a slow reader may leave unread. A client's next request is not read before
 * its last answer has left.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "daemon/loop.h"

#define WEIR_SERVER_CLIENTS 64
#define WEIR_SERVER_REQUEST (1u << 20)
#define WEIR_SERVER_BACKLOG (1u << 20) /* of a stream: unread bytes after which its reader is cut */

struct weir_server;
struct weir_client;

struct weir_server_calls {
	/* A complete request. It answers by weir_client_send, at once or later. */
	void (*request)(struct weir_client *c, const json_t *request, void *data);
	/* Somebody without the right knocked. */
	void (*refused)(uid_t uid, pid_t pid, void *data);
	void *data;
};

struct weir_server_counts {
	uint64_t clients, requests, refused, bad, cut; /* cut: slow readers */
};

/* On a socket that listens already: it is taken over, its name is not. */
int weir_server_new(struct weir_loop *l, int fd, const struct weir_server_calls *calls, struct weir_server **ret);
/* Replaces a socket that a dead daemon left: the caller holds the lock of the directory. */
int weir_server_open(struct weir_loop *l, const char *path, const struct weir_server_calls *calls,
		     struct weir_server **ret);
void weir_server_free(struct weir_server *s); /* answers that fit into the socket still leave */
const struct weir_server_counts *weir_server_counts(const struct weir_server *s);

/* One line to the client; takes the reference. NULL is told as out of memory. */
void weir_client_send(struct weir_client *c, json_t *answer);
/* From now on this client gets the stream. */
void weir_client_follow(struct weir_client *c);
void weir_client_actor(const struct weir_client *c, uid_t *ret_uid, pid_t *ret_pid);

/* Does anybody follow? Then send him this; the reference stays the caller's. */
bool weir_server_followed(const struct weir_server *s);
void weir_server_stream(struct weir_server *s, const json_t *j);

/* Text that should be UTF-8, as it is; what is not (the name of a file may be anything) is escaped. */
json_t *weir_words_json(const char *s);

/* {"ok": false, "error": {"message":..., "hint":...}} */
json_t *weir_error_json(const char *message, const char *hint);
