/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bans and their file <state-dir>/bans.json. Ends are kept as wall-clock time, since a ban must survive
 * a reboot; the kernel is told the end on its own clock. Refuses addresses that no stranger can have.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "core/event.h"

#define WEIR_BANS_MAX 65536

struct weir_ban_entry {
	struct weir_ban_key key;
	uint32_t id;
	uint64_t expires; /* unix seconds; 0 = no end */
	char *why;        /* never NULL */
};

struct weir_bans {
	struct weir_ban_entry *v;
	size_t n;
	uint32_t next_id; /* from 1 */
	uint64_t changes; /* of this list, ever */
};

/* "192.0.2.1", "192.0.2.0/24", "2001:db8::/32". Refuses bits behind the prefix; `why` says what. */
int weir_ban_key_parse(const char *text, struct weir_ban_key *ret, char *why, size_t why_size);
const char *weir_ban_key_format(const struct weir_ban_key *k, char *buf, size_t size);
/* Does the key cover this address (16 bytes, v4 mapped)? */
bool weir_ban_key_covers(const struct weir_ban_key *k, const uint8_t addr[16]);

void weir_bans_clear(struct weir_bans *b);
int weir_bans_load(const char *state_dir, struct weir_bans *ret, char *note, size_t note_size);
int weir_bans_save(const char *state_dir, const struct weir_bans *b);

/* Add, or change the end and reason of one that is there. *ret points into b until the next change. */
int weir_bans_add(struct weir_bans *b, const struct weir_ban_key *k, uint64_t expires, const char *why,
		  const struct weir_ban_entry **ret);
int weir_bans_remove(struct weir_bans *b, const struct weir_ban_key *k);
/*
 * The kernel asks the narrowest entry that covers an address, and that one only. So it is told the latest end of all that
 * cover its network: ret[i] for b->v[i], unix seconds, 0 = no end; n of them. -ENOMEM.
 */
int weir_bans_ends(const struct weir_bans *b, uint64_t *ret);
/* The same for one key. */
uint64_t weir_bans_end(const struct weir_bans *b, const struct weir_ban_key *k);
/* Is there a narrower one within this network? */
bool weir_bans_within(const struct weir_bans *b, const struct weir_ban_key *k);
/* The narrowest one that covers this network and has not ended, its own included; NULL: none. */
const struct weir_ban_entry *weir_bans_around(const struct weir_bans *b, const struct weir_ban_key *k, uint64_t now);
/* Forget what ended; `gone` is called for each. Returns how many. */
size_t weir_bans_expire(struct weir_bans *b, uint64_t now, void (*gone)(const struct weir_ban_key *, void *),
			void *data);
