/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What worker and keeper say to each other: one packet of SOCK_SEQPACKET a call, of exactly the size of its kind, and
 * one receipt for each. What is longer travels beside it: images and lists of bans to the keeper, records to the
 * worker, each in a sealed file in memory. Both ends are the same program (/proc/self/exe), so records are the structs
 * of this build; the keeper takes every call as a stranger's all the same.
 */
#pragma once
#include "core/event.h"
#include "core/flow.h"
#include "core/late.h"
#include "lib/kern/kern.h"

#define WEIR_PROTO_MAGIC 0x6b726577u /* "werk" */
#define WEIR_PROTO_VERSION 4u

enum weir_call {
	WEIR_CALL_HELLO = 1, /* the first one, and only the first */
	WEIR_CALL_PING,      /* the worker's loop turns; a new helper's socket may come back */
	WEIR_CALL_READY,     /* it answers clients from now on */
	WEIR_CALL_LIFE,
	WEIR_CALL_BEFORE,
	WEIR_CALL_INSTALL,
	WEIR_CALL_IMAGE,
	WEIR_CALL_CONFIRM,
	WEIR_CALL_REVERT,
	WEIR_CALL_PENDING,
	WEIR_CALL_SEED,
	WEIR_CALL_BANS,
	WEIR_CALL_BAN,
	WEIR_CALL_UNBAN,
	WEIR_CALL_CAUGHT,
	WEIR_CALL_IFS,
	WEIR_CALL_GUARD,
	WEIR_CALL_STATS,
	WEIR_CALL_HITS,
	WEIR_CALL_FLOWS,
	WEIR_CALL_PROGS,
	WEIR_CALL_FEATURES,
	WEIR_CALL_HEALTH,
	WEIR_CALL_RINGS,     /* both maps, and the tally: one struct weir_ring_tally each, which the worker writes */
	WEIR_CALL_END,
	WEIR_CALL_BLOCKS,    /* an image that differs in what the blocklists hold; the result: lines that were written */
	WEIR_CALL_LATE,      /* a rule that comes or goes in the image in force */
	WEIR_CALL_LINES,     /* lines of what the blocklists hold become others in the image in force */
	WEIR_CALL_BUSY,      /* a long piece of work begins: the next call may take its time */
	WEIR_CALL_COUNT,
};

struct weir_call_head {
	uint32_t call, seq; /* seq: comes back in the receipt */
};

struct weir_call_hello {
	struct weir_call_head h;
	uint32_t magic, version, image_version, pad;
};

struct weir_call_blocks { /* fds: the image */
	struct weir_call_head h;
	uint32_t size, pad;
	uint8_t digest[32];
};

struct weir_call_lines { /* fds: n of struct weir_block_change, then n_sets of struct weir_list_info: those of the image */
	struct weir_call_head h;
	uint32_t n, n_sets, epoch, pad;
};
#define WEIR_CALL_LINES_MAX ((size_t)256 << 20) /* bytes */

struct weir_call_late {
	struct weir_call_head h;
	struct weir_late late;
};

struct weir_call_install { /* fds: the image; the one that it goes back to, where back_size says that there is one */
	struct weir_call_head h;
	uint32_t size, back_size;
	uint64_t span, deadline; /* as in struct weir_kern_change */
	uint8_t digest[32], back_digest[32];
};

struct weir_call_seed {
	struct weir_call_head h;
	uint32_t adopt_s, pad;
};

struct weir_wire_ban {
	struct weir_ban_key key;
	uint32_t id;
	uint64_t until_unix;
};
_Static_assert(sizeof(struct weir_wire_ban) == 32, "ABI");

struct weir_call_bans { /* fd: n of struct weir_wire_ban */
	struct weir_call_head h;
	uint32_t n, pad;
};

struct weir_call_ban { /* and unban, which looks at the key only */
	struct weir_call_head h;
	struct weir_wire_ban ban;
};

struct weir_call_some { /* stats, hits, programs, bans by rules: at most so many */
	struct weir_call_head h;
	uint32_t n, pad;
};

enum { WEIR_CALL_END_STOP = 1, WEIR_CALL_END_FLUSH = 2 };
struct weir_call_end {
	struct weir_call_head h;
	uint32_t how, pad;
};

#define WEIR_CALL_SIZE_MAX 1024 /* of any call */
#define WEIR_CALL_FDS_MAX 2

/* How this worker came to be, and who else is there. */
struct weir_life {
	uint32_t restarts, helper_restarts; /* of the worker; of the helper */
	uint32_t installed;                 /* an image of this keeper's life is in force */
	uint32_t sandboxed;                 /* the keeper dropped what it does not need */
	int32_t pid[3];                     /* keeper, worker, helper; 0: none */
	uint32_t rss_kb[3];                 /* resident memory of each */
	char cause[128];                    /* of the last restart; "" */
};

/* The receipt. `records` of `entry` bytes come in a sealed file in memory when entry is not 0. */
struct weir_receipt {
	uint32_t call, seq;
	int32_t result; /* negative errno: the keeper refused, `why` may say it */
	uint32_t records, entry, n_fds;
	union {
		struct weir_kern_pinned before;
		struct weir_kern_pending pending;
		struct weir_kern_health health;
		struct weir_life life;
		struct {
			char how[64], why[128];
		} guard;
		uint32_t ring_size[2];
	};
	char why[512];
};

struct weir_wire_flow {
	struct weir_flow_key key;
	struct weir_flow flow;
	uint32_t half, expired;
};

struct weir_wire_feature {
	char name[32];
	uint32_t have;
	char why[96];
};

#define WEIR_BLOB_MAX (256u << 20) /* bytes of an image */
#define WEIR_CALL_BANS_MAX 65536u
