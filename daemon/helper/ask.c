/* SPDX-License-Identifier: Apache-2.0 */
/* The table of requests, and what makes one sound. Nothing here touches the system: tests/fuzz runs it alone. */
#include "daemon/helper/ask.h"

#include <errno.h>
#include <string.h>

#include "lib/sandbox/sandbox.h"

static bool path_sound(const struct weir_ask *a)
{
	return a->path.path[0] == '/' && memchr(a->path.path, 0, sizeof a->path.path);
}

static bool pid_sound(const struct weir_ask *a)
{
	return a->pid.pid && a->pid.pid <= INT_MAX;
}

static bool kills_sound(const struct weir_ask *a)
{
	if (!a->kills.n || a->kills.n > WEIR_ASK_KILLS)
		return false;
	for (uint32_t i = 0; i < a->kills.n; i++) {
		const struct weir_kill *k = &a->kills.v[i];
		uint32_t proto = k->t.zone >> 24;

		if ((proto != WEIR_IPPROTO_TCP && proto != WEIR_IPPROTO_UDP) || !k->t.sport || !k->t.dport ||
		    (k->dir != WEIR_DIR_IN && k->dir != WEIR_DIR_OUT && k->dir != WEIR_DIR_FWD))
			return false;
	}
	return true;
}

static bool always(const struct weir_ask *a)
{
	return true;
}

static const struct weir_ask_type types[WEIR_ASK_COUNT] = {
	[WEIR_ASK_OPEN] = { "open", sizeof(struct weir_ask_path), 0, path_sound },
	[WEIR_ASK_LIST] = { "list", sizeof(struct weir_ask_path), sizeof(struct weir_ask_path), path_sound },
	[WEIR_ASK_HOLDERS] = { "holders", 0, sizeof(struct weir_holder), always },
	[WEIR_ASK_PROCESS] = { "process", sizeof(struct weir_ask_pid), sizeof(struct weir_process), pid_sound },
	[WEIR_ASK_SSHD] = { "sshd", 0, sizeof(struct weir_ask_ssh), always },
	[WEIR_ASK_FIREWALLS] = { "firewalls", 0, sizeof(struct weir_firewall), always },
	[WEIR_ASK_SESSIONS] = { "sessions", sizeof(struct weir_ask_pid), sizeof(struct weir_session), pid_sound },
	[WEIR_ASK_KILL] = { "kill", sizeof(struct weir_ask_kills), sizeof(struct weir_kill), kills_sound },
	[WEIR_ASK_PASSAGES] = { "passages", 0, sizeof(struct weir_passage), always },
	[WEIR_ASK_SANDBOX] = { "sandbox", 0, sizeof(struct weir_sandbox), always },
};

const struct weir_ask_type *weir_ask_type(uint32_t kind)
{
	return kind < WEIR_ASK_COUNT ? &types[kind] : NULL;
}

int weir_ask_parse(const void *buf, size_t len, struct weir_ask *ret)
{
	const struct weir_ask_type *t;
	uint32_t kind;

	if (len < WEIR_ASK_HEAD || len > sizeof *ret)
		return -EBADMSG;
	memcpy(&kind, buf, sizeof kind);
	t = weir_ask_type(kind);
	if (!t || len != WEIR_ASK_HEAD + t->size)
		return -EBADMSG;
	memcpy(ret, buf, len);
	return t->sound(ret) ? 0 : -EBADMSG;
}
