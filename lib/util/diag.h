/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a person must read: where, what, and what to do about it. Collected by library code, which never
 * prints; shown by the program.
 */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum weir_severity { WEIR_ERROR, WEIR_WARNING };

struct weir_diag {
	enum weir_severity severity;
	char *file;         /* as the user named it; NULL: no place */
	unsigned line, col; /* from 1; 0: unknown. Columns count bytes. */
	unsigned len;       /* bytes that the caret underlines, at least 1 */
	char *message;      /* no newline, no final period */
	char *hint;         /* NULL: none */
	char *source;       /* the line of the file, for the caret; NULL: none */
};

struct weir_diags {
	struct weir_diag *v;
	size_t n;
	size_t errors;  /* of them with severity WEIR_ERROR */
	size_t dropped; /* past WEIR_DIAGS_MAX only counted; who checks stops at so many errors: it is no total */
};

#define WEIR_DIAGS_MAX 100

/*
 * Add one. An error takes the place of the last warning where there is no other. Out of memory is counted in `dropped`.
 * Returns the entry, to set hint or source, or NULL.
 */
struct weir_diag *weir_diags_add(struct weir_diags *d, enum weir_severity severity, const char *file, unsigned line,
				 unsigned col, unsigned len, const char *fmt, ...)
	__attribute__((format(printf, 7, 8)));
void weir_diag_hint(struct weir_diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void weir_diags_free(struct weir_diags *d);

/*
 * file:line:col: error: message; hint
 *    12 |     action: dorp
 *       |             ^~~~
 * Bytes that a terminal would obey are escaped.
 */
void weir_diags_format(FILE *out, const struct weir_diags *d, bool color);
