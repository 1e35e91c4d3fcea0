/* SPDX-License-Identifier: Apache-2.0 */
/* What the table of calls and the one who reads them share. Private to serve.c and calls.c. */
#pragma once
#include "daemon/keeper/serve.h"

/* Where a session stands; a call is allowed in some of them. */
enum { WEIR_AT_START = 1, WEIR_AT_HELLO = 2, WEIR_AT_IMAGE = 4 }; /* connected; greeted, no image in force; one in force */

enum { WEIR_IMAGE_NOW, WEIR_IMAGE_BACK };

struct weir_serve {
	struct weir_keeper *keeper;
	struct weir_life life;
	bool greeted, ready, busy;
	uint32_t end;
	uint64_t calls;
	struct weir_late *late; /* changes of the first one, which it lacks yet */
	size_t n_late;
	struct weir_list_info *sets; /* of what its blocklists are made since lines of it became others; NULL: none did */
	uint32_t n_sets;
	int image[2]; /* sealed: what is in force, and what it goes back to; -1 */
	uint32_t mode[2], generation[2]; /* of both */
	int helper; /* the socket of a new helper, to be fetched; -1 */
	int tally;  /* of the rings, for all workers; -1: none yet */
	char why[160];
};

struct weir_turn { /* one call on its way */
	struct weir_serve *s;
	const void *msg;
	const int *fds;
	size_t n_fds;
	struct weir_receipt *ret;
	int *ret_fds;
};

struct weir_kind {
	const char *name;
	uint16_t size;
	uint8_t fds_min, fds_max;
	uint8_t allowed; /* WEIR_AT_* */
	int (*run)(struct weir_turn *t); /* what the receipt says; it is sent in any case */
};

extern const struct weir_kind weir_kinds[WEIR_CALL_COUNT];

void weir_serve_image_drop(struct weir_serve *s, int which);
void weir_serve_went_back(struct weir_serve *s);
/* late.c: a rule that comes or goes, lines that change; the image in force with all of that, under a digest of its own. */
int weir_serve_late(struct weir_serve *s, const struct weir_late *l);
int weir_serve_lines(struct weir_serve *s, const struct weir_call_lines *c, const void *data, size_t size);
int weir_serve_late_fold(struct weir_serve *s);
void weir_serve_late_drop(struct weir_serve *s); /* the image in force has none of it */
