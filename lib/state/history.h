/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was in force, and how it ended: the last generations, in <state-dir>/history.json, and the policy text of
 * the newest of them, in <state-dir>/generation-N.yaml, so that one can be put in force again. Numbers are never
 * used twice, also not that of a generation that the list has forgotten.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/state/origin.h"

#define WEIR_HISTORY_MAX 32
#define WEIR_HISTORY_TEXTS 16

enum weir_gen_end {
	WEIR_GEN_IN_FORCE,
	WEIR_GEN_WAITING,         /* in force, and goes back by itself unless confirmed */
	WEIR_GEN_SUSPENDED,       /* what a change that waits goes back to */
	WEIR_GEN_REPLACED,
	WEIR_GEN_ROLLED_BACK,     /* by somebody */
	WEIR_GEN_WENT_BACK,       /* by itself: its deadline passed */
	WEIR_GEN_NEVER_CONFIRMED, /* another change took its place while it waited, or weir ended meanwhile */
};

struct weir_gen {
	uint32_t generation;
	uint64_t time, ended;      /* unix seconds; ended 0: it has not */
	uint32_t uid, pid;         /* who put it in force */
	char via[96];              /* "ssh from 192.0.2.1"; "": not over the network */
	char path[PATH_MAX];       /* of the policy; raw */
	enum weir_policy_source source;
	uint8_t digest[32], lists[32]; /* of the policy and of its lists */
	enum weir_mode mode;       /* that was in effect */
	bool has_ceiling;
	enum weir_mode ceiling;
	uint32_t rules;
	enum weir_gen_end end;
	bool confirmed;            /* it was in force for good */
	bool text;                 /* its policy is kept */
};

struct weir_history {
	struct weir_gen *v; /* oldest first */
	size_t n;
	uint32_t last;      /* the highest number that was ever used */
};

void weir_history_clear(struct weir_history *h);
/* Missing or damaged (set aside, told in note): empty. */
int weir_history_load(const char *state_dir, struct weir_history *ret, char *note, size_t note_size);
int weir_history_save(const char *state_dir, const struct weir_history *h);

/*
 * Add one with its text and save; forgets what is too old. What is in force or waits is never forgotten. On failure
 * the list is as it was, but for what was too old.
 */
int weir_history_add(const char *state_dir, struct weir_history *h, const struct weir_gen *g, const char *text,
		     size_t len);
/* Take back what was added last, since it did not come into force. `last`: the highest number before it. */
void weir_history_drop(const char *state_dir, struct weir_history *h, uint32_t last);
struct weir_gen *weir_history_find(const struct weir_history *h, uint32_t generation);
void weir_history_end(struct weir_gen *g, enum weir_gen_end end, uint64_t now);
/* The generation that was in force for good before this one; NULL: none is known. */
struct weir_gen *weir_history_previous(const struct weir_history *h, uint32_t generation);
/* Its policy text, malloced. -ENOENT: it is not kept (any more). */
int weir_history_text(const char *state_dir, const struct weir_gen *g, char **ret, size_t *ret_len);

const char *weir_gen_end_name(enum weir_gen_end e);
