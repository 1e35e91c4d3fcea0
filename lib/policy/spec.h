/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The language as a table. Every key of a policy stands once in spec.c, with its type, its words for
 * people and an example; the walker, the JSON Schema and the reference are three readings of that table.
 */
#pragma once
#include "lib/policy/node.h"

struct weir_policy;

struct weir_walk {
	struct weir_arena *arena;
	struct weir_diags *diags;
	unsigned rules; /* seen so far, groups and includes counted through */
	const struct weir_node *root;	  /* of the main file; NULL: the rule is added to `policy` */
	const struct weir_policy *policy;
	const struct weir_key *key; /* whose value is being read */
};

enum weir_shape {
	WEIR_T_SCALAR, /* read by take() */
	WEIR_T_WORD,   /* one of words, lands as uint8_t */
	WEIR_T_LIST,   /* lands as struct weir_values */
	WEIR_T_MAP,    /* of keys */
	WEIR_T_NAMED,  /* a map of free names; lands as struct weir_values, each beginning with its name */
	WEIR_T_EITHER, /* `alt` for a map (with `by`: for a map that has that key), else `of` */
};

struct weir_word {
	const char *name;
	uint8_t value;
	bool later;	     /* a word of a later version */
	const char *instead; /* what people write who mean another word; with a blank in it: more than a word */
};

struct weir_values {
	const struct weir_node *node; /* NULL: the key is absent */
	void *v;
	uint32_t n;
};

struct weir_type {
	const char *id;	  /* "duration": name of the definition in schema and reference; NULL: written in place */
	const char *name; /* "a duration like 60s" */
	enum weir_shape shape;
	const char *schema; /* SCALAR: its JSON Schema. MAP: what the schema can say across keys */
	const char *doc;
	const struct weir_word *words;
	const struct weir_type *of, *alt;
	size_t alt_off;
	const char *by;
	const struct weir_key *keys, *more; /* MAP: more = a second table, its offsets counted from more_off */
	size_t more_off;
	size_t size;  /* LIST, NAMED: bytes of an element. MAP: lands behind a pointer, in so many bytes; 0: in place */
	uint32_t max; /* LIST, NAMED: elements; 0 = 1024 */
	bool one;     /* LIST: a value alone is a list of one */
	bool empty;   /* LIST, NAMED: may be empty */
	int (*take)(struct weir_walk *w, const struct weir_node *n, void *dst);
	int (*done)(struct weir_walk *w, const struct weir_node *n, void *dst); /* MAP: checks across keys */
};

enum {
	WEIR_KEY_NEEDED = 1,
	WEIR_KEY_LATER = 2, /* "not in this version": neither in the schema nor in the reference */
};

struct weir_key {
	const char *name;
	const struct weir_type *type;
	size_t off;
	unsigned flags;
	const char *doc, *example;
};

extern const struct weir_type weir_type_policy, weir_type_included, weir_type_rule, weir_type_failures, weir_type_limits,
	weir_type_performance;

/* Read n as type into dst. Errors are told; -EINVAL when there was one. */
int weir_walk(struct weir_walk *w, const struct weir_type *t, const struct weir_node *n, void *dst);

/* May this key stand under the 'not' of a rule? */
bool weir_key_takes_not(const char *key);

/* The one of `names` (NULL-terminated) that was probably meant, or NULL. */
const char *weir_did_you_mean(const char *word, const char *const *names);
