/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/table.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

#define COLUMNS_MAX 16

struct cell {
	char *text;
	enum weir_paint paint;
};

struct weir_table {
	char *names; /* one allocation, cut at '|' */
	const char *name[COLUMNS_MAX];
	bool right[COLUMNS_MAX];
	size_t n_columns;
	struct cell *cells;
	size_t n_cells, space;
};

const char *weir_paint_begin(enum weir_paint paint, bool color)
{
	static const char *const seq[] = { "", "\033[31m", "\033[33m", "\033[2m", "\033[1m" };

	return color ? seq[paint] : "";
}

const char *weir_paint_end(enum weir_paint paint, bool color)
{
	return color && paint != WEIR_PLAIN ? "\033[0m" : "";
}

char *weir_clean(const char *text, bool lines)
{
	size_t left = strlen(text), len;
	char *out = malloc(left * 4 + 1), *o = out;

	for (; out && left; text += len, left -= len) {
		uint32_t rune = 0;

		len = weir_utf8_next(text, left, &rune);
		if (len && (!weir_rune_hostile(rune) || (lines && rune == '\n'))) {
			memcpy(o, text, len);
			o += len;
			continue;
		}
		len = len ? len : 1;
		for (size_t i = 0; i < len; i++)
			o += sprintf(o, "\\x%02x", (uint8_t)text[i]);
	}
	if (out)
		*o = 0;
	return out;
}

void weir_put(FILE *out, const char *text)
{
	_cleanup_free_ char *clean = weir_clean(text, false);

	if (clean)
		fputs(clean, out);
}

struct weir_table *weir_table_new(const char *columns)
{
	struct weir_table *t = calloc(1, sizeof *t);

	if (!t || !(t->names = strdup(columns))) {
		free(t);
		return NULL;
	}
	for (char *save = NULL, *p = strtok_r(t->names, "|", &save); p && t->n_columns < COLUMNS_MAX;
	     p = strtok_r(NULL, "|", &save)) {
		t->right[t->n_columns] = *p == '>';
		t->name[t->n_columns++] = p + (*p == '>');
	}
	return t;
}

void weir_table_cell(struct weir_table *t, enum weir_paint paint, const char *fmt, ...)
{
	char *raw = NULL;
	va_list ap;

	if (!t)
		return;
	if (t->n_cells == t->space) {
		size_t space = t->space ? t->space * 2 : 64;
		struct cell *cells = realloc(t->cells, space * sizeof *cells);

		if (!cells)
			return;
		t->cells = cells;
		t->space = space;
	}
	va_start(ap, fmt);
	if (!fmt || vasprintf(&raw, fmt, ap) < 0)
		raw = NULL;
	va_end(ap);
	t->cells[t->n_cells].text = raw ? weir_clean(raw, false) : NULL;
	t->cells[t->n_cells++].paint = paint;
	free(raw);
}

size_t weir_table_rows(const struct weir_table *t)
{
	return t && t->n_columns ? t->n_cells / t->n_columns : 0;
}

/* Screen cells of UTF-8 text: continuation bytes take none. */
static size_t width(const char *s)
{
	size_t n = 0;

	for (; s && *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void put_cell(const struct weir_table *t, size_t column, const char *text, enum weir_paint paint, size_t room,
		     bool last, bool color)
{
	size_t pad = room > width(text) ? room - width(text) : 0;

	if (t->right[column])
		printf("%*s", (int)pad, "");
	printf("%s%s%s", weir_paint_begin(paint, color), text ? text : "", weir_paint_end(paint, color));
	if (!last)
		printf("%*s", (int)(t->right[column] ? 2 : pad + 2), "");
}

void weir_table_print(struct weir_table *t, bool color)
{
	size_t room[COLUMNS_MAX], rows = weir_table_rows(t);

	if (!t)
		return;
	for (size_t c = 0; c < t->n_columns; c++) {
		room[c] = width(t->name[c]);
		for (size_t r = 0; r < rows; r++) {
			size_t w = width(t->cells[r * t->n_columns + c].text);

			room[c] = w > room[c] ? w : room[c];
		}
	}
	for (size_t c = 0; c < t->n_columns; c++)
		put_cell(t, c, t->name[c], WEIR_BOLD, room[c], c + 1 == t->n_columns, color);
	putchar('\n');
	for (size_t r = 0; r < rows; r++) {
		size_t n = t->n_columns;

		while (n && !width(t->cells[r * t->n_columns + n - 1].text)) /* no blanks at a line's end */
			n--;
		for (size_t c = 0; c < n; c++) {
			const struct cell *x = &t->cells[r * t->n_columns + c];

			put_cell(t, c, x->text, x->paint, room[c], c + 1 == n, color);
		}
		putchar('\n');
	}
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i].text);
	free(t->cells);
	free(t->names);
	free(t);
}

const char *weir_count(unsigned long long n, char *buf, size_t size)
{
	char digits[24];
	size_t len = (size_t)snprintf(digits, sizeof digits, "%llu", n), at = 0;

	for (size_t i = 0; i < len && at + 2 < size; i++) {
		if (i && (len - i) % 3 == 0)
			buf[at++] = ',';
		buf[at++] = digits[i];
	}
	buf[at] = 0;
	return buf;
}

const char *weir_span(unsigned long long s, char *buf, size_t size)
{
	if (s < 120)
		snprintf(buf, size, "%llu s", s);
	else if (s < 7200)
		snprintf(buf, size, "%llu m", s / 60);
	else if (s < 172800)
		snprintf(buf, size, "%llu h", s / 3600);
	else
		snprintf(buf, size, "%llu d", s / 86400);
	return buf;
}

void weir_end_put(const char *addr, long long port, const char *name, char *buf, size_t size)
{
	bool v6 = strchr(addr, ':') != NULL;

	if (*name && port)
		snprintf(buf, size, "%s (%s):%lld", name, addr, port);
	else if (*name)
		snprintf(buf, size, "%s (%s)", name, addr);
	else if (port)
		snprintf(buf, size, v6 ? "[%s]:%lld" : "%s:%lld", addr, port);
	else
		snprintf(buf, size, "%s", addr);
}
