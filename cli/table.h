/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aligned columns on a terminal and in a pipe. Cells are copied; bytes that a terminal would obey are
 * shown as \xNN, so that a process name or a host name cannot paint the screen.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum weir_paint { WEIR_PLAIN, WEIR_STOPPED, WEIR_LOOK, WEIR_DIM, WEIR_BOLD };

struct weir_table;

/* `columns`: names separated by '|'; a name that begins with '>' is aligned to the right. NULL: no memory. */
struct weir_table *weir_table_new(const char *columns);
/* A cell of the current row; NULL is shown as "". The row ends with its last column. */
void weir_table_cell(struct weir_table *t, enum weir_paint paint, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
size_t weir_table_rows(const struct weir_table *t);
/* Print and free. */
void weir_table_print(struct weir_table *t, bool color);

/* The escape sequence that begins a colour, "" without colour; weir_paint_end ends it. */
const char *weir_paint_begin(enum weir_paint paint, bool color);
const char *weir_paint_end(enum weir_paint paint, bool color);
/*
 * A malloced copy without anything that a terminal obeys: such bytes become \xNN; line breaks stay with
 * `lines`. A backslash stays as it is: what the daemon sends may be escaped already. NULL: no memory.
 */
char *weir_clean(const char *text, bool lines);
/* Print in that way, on one line. */
void weir_put(FILE *out, const char *text);

/* "1,204" */
const char *weir_count(unsigned long long n, char *buf, size_t size);
/* "3 d", "58 m": a duration for a person */
const char *weir_span(unsigned long long seconds, char *buf, size_t size);
/* "10.0.0.1:80", "[2001:db8::1]:80", "name (10.0.0.1):80": one end of a conversation; port 0 and name "" are left out
 */
void weir_end_put(const char *addr, long long port, const char *name, char *buf, size_t size);
