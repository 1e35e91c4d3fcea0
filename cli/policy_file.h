/* SPDX-License-Identifier: Apache-2.0 */
/* A policy file on a command line: read, compiled, and what there was to say about it. */
#pragma once
#include <jansson.h>

#include "cli/cmd.h"
#include "core/image_blob.h"
#include "lib/policy/policy.h"

struct weir_policy_file {
	const char *path;
	struct weir_policy *policy; /* NULL: refused */
	struct weir_diags diags;
	void *blob; /* NULL: refused */
	uint32_t size;
	struct weir_img img;
};

/* Never fails by itself: look at blob, and show the diags. */
void weir_policy_file_open(struct weir_policy_file *f, const char *path);
void weir_policy_file_close(struct weir_policy_file *f);
#define _cleanup_policy_file_ __attribute__((cleanup(weir_policy_file_close)))

/* Errors and warnings to stderr, and their number. */
void weir_policy_file_complain(const struct weir_policy_file *f, const struct weir_cli *cli);
/* {"ok":..,"errors":n,"messages":[{file,line,col,severity,message,hint}]} */
json_t *weir_policy_file_json(const struct weir_policy_file *f);
json_t *weir_diags_json(const struct weir_diags *d);
