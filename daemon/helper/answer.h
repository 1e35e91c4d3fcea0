/* SPDX-License-Identifier: Apache-2.0 */
/* What the helper does for a request, in whichever process that is. Private to this folder. */
#pragma once
#include "daemon/helper/ask.h"
#include "daemon/helper/helper.h"
#include "lib/sandbox/sandbox.h"

struct weir_answerer {
	bool bounded;  /* files only as weir_helper_open says */
	char *dirs[2]; /* real paths, or NULL */
	struct weir_sandbox sandbox;
	struct weir_holders *holders;
};

struct weir_answer {
	int result;    /* negative errno; kind sessions: >= 0 */
	int fd;	       /* an open file, or -1 */
	void *records; /* malloced */
	size_t n;
};

void weir_answer(struct weir_answerer *by, const struct weir_ask *a, struct weir_answer *ret);
void weir_answerer_clear(struct weir_answerer *by);

/* files.c */
int weir_answer_open(const struct weir_answerer *by, const char *path);
int weir_answer_list(const struct weir_answerer *by, const char *pattern, struct weir_ask_path **ret, size_t *ret_n);
bool weir_answer_name_fits(const char *path); /* does it end as names of policies do? */
