/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text from outside: decode it strictly, compare it kindly, and never let it talk to a terminal.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Bytes of the character at s (at most n bytes are there), 0 when it is not well-formed UTF-8 (RFC 3629:
 * no overlong form, no surrogate). *ret_rune is optional.
 */
size_t weir_utf8_next(const char *s, size_t n, uint32_t *ret_rune);

/* How many bytes at s are printable ASCII, the space included: nothing about them has to be looked at closely. */
size_t weir_text_plain(const char *s, size_t n);

/*
 * Control characters (C0, DEL, C1), what is invisible or reorders a line, line separators, the byte order mark:
 * what may not stand in a file or on a screen.
 */
bool weir_rune_hostile(uint32_t rune);

/*
 * Text from the network, from processes and from files, made fit for a terminal, a log and JSON: one line, valid
 * UTF-8, nothing hostile. Bytes that do not pass become \xNN, a backslash becomes \\, so that the result is
 * unambiguous. `out` is NUL-terminated and never cut inside a character or an escape; four times n, plus one, is
 * always enough. Returns `out`.
 */
char *weir_escape(const char *in, size_t n, char *out, size_t size);

/* Drops a character that the end of its buffer cut in two. Returns s. */
char *weir_text_whole(char *s);

/* Write n bytes; what a terminal would obey, and what is not UTF-8, comes out as \xNN. Returns the columns
 * that it takes; with out NULL it only counts them. */
size_t weir_text_put(FILE *out, const char *s, size_t n);

/* The edits (insert, delete, replace, swap of neighbours) from a to b, letters alike; at most `limit` + 1. */
unsigned weir_text_distance(const char *a, const char *b, unsigned limit);

/* `*` and `?` over the whole of s. */
bool weir_glob_match(const char *glob, const char *s);
