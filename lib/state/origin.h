/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was in force last, for the next boot and for the next number: <state-dir>/origin.json.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/image.h"

/* Where the policy in force came from. */
enum weir_policy_source {
	WEIR_SOURCE_BUILTIN, /* none was found: detect */
	WEIR_SOURCE_FILE,    /* <config-dir>/policy.yaml */
	WEIR_SOURCE_SAVED,   /* applied with --save: the copy in the state directory */
	WEIR_SOURCE_OTHER,   /* applied or started with, not kept for the next boot */
};

/* Must nothing pass at the next boot before the policy is in force? And should weir not start then at all? */
enum weir_boot_guard {
	WEIR_BOOT_GUARD_NONE,   /* the policy enforces no drop default */
	WEIR_BOOT_GUARD_CLOSED, /* it stays shut */
	WEIR_BOOT_GUARD_OPEN,   /* failures.no_policy says so */
};

struct weir_origin {
	enum weir_policy_source boot; /* what the next start takes: BUILTIN (nothing was confirmed), FILE or SAVED */
	char path[4096];       /* the file that the saved copy came from, as it was given; "" otherwise */
	uint32_t generation;   /* the last that was in force */
	uint8_t digest[32];    /* SHA-256 of the policy text of that generation */
	bool has_mode;
	enum weir_mode mode;   /* the ceiling that `weir mode` set */
	enum weir_boot_guard guard; /* of the policy that the next start takes, the ceiling aside */
	bool enforced;         /* it was in mode prevent */
	uint8_t no_policy;     /* WEIR_NO_POLICY_*: what it said should happen when it cannot be read */
};

const char *weir_source_name(enum weir_policy_source s);

/* Missing or damaged (set aside, told in note): all zero. */
int weir_origin_load(const char *state_dir, struct weir_origin *ret, char *note, size_t note_size);
/*
 * Beside it <state-dir>/boot-guard, for the keeper, which reads no JSON: "closed" or "open" where the guard is wanted,
 * the ceiling counted in; no such file: it is not.
 */
int weir_origin_save(const char *state_dir, const struct weir_origin *o);

void weir_hex(const uint8_t *bytes, size_t n, char *ret); /* 2n + 1 bytes */
