/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlay: rules and set edits made at run time, kept in <state-dir>/overlay.json. Evaluated before
 * the file's rules, in list order. Ids are never reused, also not after a clear or a restart.
 *
 * An edit is made on a copy, so that a policy that does not compile leaves no half-made list behind.
 */
#pragma once
#include "lib/policy/policy.h"

#define WEIR_OVERLAY_RULES_MAX 512
#define WEIR_OVERLAY_EDITS_MAX 65536

struct weir_overlay_store {
	struct weir_overlay list;
	uint32_t next_id; /* from 1 */
	uint64_t changes; /* that were ever saved; with those of the bans it is the number of the edit */
};

void weir_overlay_store_clear(struct weir_overlay_store *s); /* free the content */
int weir_overlay_store_copy(const struct weir_overlay_store *s, struct weir_overlay_store *ret);

/* Missing file: empty. A damaged one: empty too, set aside and told in `note` (else note[0] = 0). */
int weir_overlay_load(const char *state_dir, struct weir_overlay_store *ret, char *note, size_t note_size);
int weir_overlay_save(const char *state_dir, const struct weir_overlay_store *s);

/* Add a rule; `before` an id, or 0 for last. -ENOENT: no such id; -ENOSPC: full. */
int weir_overlay_add(struct weir_overlay_store *s, const char *json, const char *why, uint64_t expires,
		     uint32_t before, uint32_t *ret_id);
int weir_overlay_delete(struct weir_overlay_store *s, uint32_t id);
const struct weir_overlay_rule *weir_overlay_find(const struct weir_overlay_store *s, uint32_t id);
/* Remove what ended at or before `now` (unix seconds). Returns how many. */
size_t weir_overlay_expire(struct weir_overlay_store *s, uint64_t now);
/* The nearest end of a rule, 0 when none has one. */
uint64_t weir_overlay_next_expiry(const struct weir_overlay_store *s);

/* What the last edit of each element says. -ENOMEM. */
enum weir_edited { WEIR_EDITED_NOT, WEIR_EDITED_IN, WEIR_EDITED_OUT };
int weir_overlay_look(const struct weir_overlay_store *s, const char *set, const char *const *elements, size_t n,
		      enum weir_edited *ret);
/* Forget the edits of these elements, all in one pass. -ENOMEM. */
int weir_overlay_forget(struct weir_overlay_store *s, const char *set, const char *const *elements, size_t n);
/* Note an edit of each, which takes the place of earlier ones of that element and stands last. -ENOSPC: some are noted. */
int weir_overlay_edit(struct weir_overlay_store *s, const char *set, const char *const *elements, size_t n, bool remove);
/* Forget the edits of a set, or (element not NULL) that one. Returns how many. */
size_t weir_overlay_reset(struct weir_overlay_store *s, const char *set, const char *element);
