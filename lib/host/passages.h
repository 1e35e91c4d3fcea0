/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/host: what the readers of passages share. */
#pragma once
#include "lib/host/host.h"

struct weir_passages {
	struct weir_passage *v;
	size_t n;
};

/* NULL: no room, or too many. The record is zeroed but for its kind. */
struct weir_passage *weir_passage_add(struct weir_passages *l, enum weir_passage_kind kind);
/* Something could not be looked at. */
void weir_passage_blind(struct weir_passages *l, const char *what, int err);

void weir_passages_nft(struct weir_passages *l);    /* nft.c */
void weir_passages_spaces(struct weir_passages *l); /* spaces.c */
bool weir_have_nf_tables(void);                     /* firewalls.c */
