/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file as a tree that remembers where everything stood. Made by the reader, which refuses whatever is
 * YAML but no plain data (aliases, anchors, tags, directives, several documents, values over more than one
 * line, control characters); read by the walker, which knows the keys.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "lib/util/arena.h"
#include "lib/util/diag.h"

#define WEIR_FILE_MAX (32u << 20) /* the most rules, of 250 bytes each */
#define WEIR_LIST_FILE_MAX (128u << 20) /* of addresses */
#define WEIR_DEPTH_MAX 64
#define WEIR_NODES_MAX 3000000u /* 20 to a rule */

struct weir_source {
	const char *name; /* as the user named it; NULL: no file, messages name the key instead */
	const char *text;
	size_t len;
};

enum weir_kind { WEIR_SCALAR, WEIR_LIST, WEIR_MAP };

/* What a plain scalar is, by the core schema of YAML 1.2: yes and 22:30 are strings. */
enum weir_scalar { WEIR_STRING, WEIR_NULL, WEIR_BOOL, WEIR_INT, WEIR_FLOAT };

/* A large policy has millions of them. */
struct weir_node {
	const struct weir_source *source;
	union {
		const char *text;	 /* of a scalar, NUL-terminated, no control characters */
		struct weir_node *child; /* of a list or map */
	};
	struct weir_node *key; /* a scalar, when this is the value of a map */
	struct weir_node *next;
	uint32_t n;	    /* children */
	uint32_t line, col; /* col counts characters, from 0: libyaml's way; converted when shown */
	uint16_t len;
	uint8_t kind : 2, scalar : 3, quoted : 1;
};

/* Parse text into *ret. 0, -EINVAL (told in diags), -ENOMEM. */
int weir_yaml_read(struct weir_arena *a, const struct weir_source *source, struct weir_node **ret,
		   struct weir_diags *diags);

/* The value under a key, or NULL. */
const struct weir_node *weir_node_get(const struct weir_node *map, const char *key);

/* "a string", "a number", "a list", ... */
const char *weir_node_kind(const struct weir_node *n);

/* A message with the place of n and its line of text. */
struct weir_diag *weir_node_diag(struct weir_diags *d, enum weir_severity severity, const struct weir_node *n,
				 const char *fmt, ...) __attribute__((format(printf, 4, 5)));
#define weir_node_error(d, n, ...) weir_node_diag(d, WEIR_ERROR, n, __VA_ARGS__)
#define weir_node_warn(d, n, ...) weir_node_diag(d, WEIR_WARNING, n, __VA_ARGS__)

/* The same for a place that is no node: line from 1, col in characters from 0. */
struct weir_diag *weir_source_diag(struct weir_diags *d, enum weir_severity severity, const struct weir_source *s,
				   unsigned line, unsigned col, unsigned len, const char *fmt, ...)
	__attribute__((format(printf, 7, 8)));
