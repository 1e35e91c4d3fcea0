/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is spoken between worker and helper: one packet of SOCK_SEQPACKET a request, of the size that its kind has; one
 * packet back, with an fd where there is one. Both ends are the same program. The helper takes every request as a
 * stranger's.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/host/host.h"

enum weir_ask_kind {
	WEIR_ASK_OPEN,
	WEIR_ASK_LIST,
	WEIR_ASK_HOLDERS,
	WEIR_ASK_PROCESS,
	WEIR_ASK_SSHD,
	WEIR_ASK_FIREWALLS,
	WEIR_ASK_SESSIONS,
	WEIR_ASK_KILL,
	WEIR_ASK_PASSAGES,
	WEIR_ASK_SANDBOX,
	WEIR_ASK_COUNT,
};

struct weir_ask_path {
	char path[PATH_MAX]; /* absolute */
};
struct weir_ask_pid {
	uint32_t pid;
};
#define WEIR_ASK_KILLS 64
struct weir_ask_kills {
	uint32_t n;
	struct weir_kill v[WEIR_ASK_KILLS];
};

/* A request: the head, then as many bytes as its kind has. */
struct weir_ask {
	uint32_t kind, seq;
	union {
		struct weir_ask_path path;
		struct weir_ask_pid pid;
		struct weir_ask_kills kills;
	};
};
#define WEIR_ASK_HEAD offsetof(struct weir_ask, path)

/* One entry of what weir_sshd holds. */
struct weir_ask_ssh {
	uint16_t port; /* 0: an address */
	char addr[62];
};

/* The answer. An fd comes along when it is an open file (size 0), or `n` records of `size` bytes in a sealed memfd. */
struct weir_answer_head {
	uint32_t kind, seq;
	int32_t result; /* negative errno: nothing else counts */
	uint32_t n, size;
};
#define WEIR_ANSWER_MAX (64u << 20) /* bytes of records */

struct weir_ask_type {
	const char *name;
	uint32_t size;	 /* of the request behind its head */
	uint32_t record; /* of the answer; 0: an open file */
	bool (*sound)(const struct weir_ask *a);
};
const struct weir_ask_type *weir_ask_type(uint32_t kind); /* NULL: there is none */

/* Pure. -EBADMSG: not a request of its kind, byte for byte; *ret is filled where 0. */
int weir_ask_parse(const void *buf, size_t len, struct weir_ask *ret);
