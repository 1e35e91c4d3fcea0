/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/diag.h"

#include <stdlib.h>
#include <string.h>

#include "lib/util/text.h"

static void diag_free(struct weir_diag *x)
{
	free(x->file);
	free(x->message);
	free(x->hint);
	free(x->source);
}

/* The last one, if there is any. */
static void drop_warning(struct weir_diags *d)
{
	size_t i = d->n;

	while (i && d->v[i - 1].severity == WEIR_ERROR)
		i--;
	if (!i)
		return;
	diag_free(&d->v[i - 1]);
	memmove(&d->v[i - 1], &d->v[i], (d->n - i) * sizeof *d->v);
	d->n--;
	d->dropped++;
}

struct weir_diag *weir_diags_add(struct weir_diags *d, enum weir_severity severity, const char *file, unsigned line,
				 unsigned col, unsigned len, const char *fmt, ...)
{
	struct weir_diag *v, *x;
	va_list ap;
	int r;

	if (severity == WEIR_ERROR)
		d->errors++;
	if (d->n >= WEIR_DIAGS_MAX && severity == WEIR_ERROR)
		drop_warning(d);
	if (d->n >= WEIR_DIAGS_MAX)
		goto dropped;
	v = realloc(d->v, (d->n + 1) * sizeof *v);
	if (!v)
		goto dropped;
	d->v = v;
	x = &v[d->n];
	*x = (struct weir_diag){ .severity = severity, .line = line, .col = col, .len = len ? len : 1 };
	va_start(ap, fmt);
	r = vasprintf(&x->message, fmt, ap);
	va_end(ap);
	if (r < 0)
		goto dropped;
	x->file = file ? strdup(file) : NULL;
	d->n++;
	return x;
dropped:
	d->dropped++;
	return NULL;
}

void weir_diag_hint(struct weir_diag *d, const char *fmt, ...)
{
	va_list ap;

	if (!d)
		return;
	free(d->hint);
	va_start(ap, fmt);
	if (vasprintf(&d->hint, fmt, ap) < 0)
		d->hint = NULL;
	va_end(ap);
}

void weir_diags_free(struct weir_diags *d)
{
	for (size_t i = 0; i < d->n; i++)
		diag_free(&d->v[i]);
	free(d->v);
	*d = (struct weir_diags){ 0 };
}

static void put(FILE *out, const char *s)
{
	weir_text_put(out, s, strlen(s));
}

/* The line and, below it, the caret. Tabs stay tabs in both, so that they stand under each other. */
static void put_source(FILE *out, const struct weir_diag *x, bool color)
{
	size_t n = strlen(x->source), at = x->col ? x->col - 1 : 0, width, end;

	fprintf(out, "%5u | ", x->line);
	weir_text_put(out, x->source, n);
	fputs("\n      | ", out);
	if (at > n)
		at = n;
	end = at + x->len < n ? at + x->len : n;
	for (size_t i = 0; i < at;) {
		size_t step = weir_utf8_next(x->source + i, n - i, NULL);

		step = step ? step : 1;
		if (x->source[i] == '\t')
			putc('\t', out);
		else
			fprintf(out, "%*s", (int)weir_text_put(NULL, x->source + i, step), "");
		i += step;
	}
	width = weir_text_put(NULL, x->source + at, end - at);
	fputs(color ? "\x1b[1;31m^" : "^", out);
	for (size_t i = 1; i < width; i++)
		putc('~', out);
	fputs(color ? "\x1b[0m\n" : "\n", out);
}

void weir_diags_format(FILE *out, const struct weir_diags *d, bool color)
{
	for (size_t i = 0; i < d->n; i++) {
		const struct weir_diag *x = &d->v[i];
		const char *on = !color ? "" : x->severity == WEIR_ERROR ? "\x1b[1;31m" : "\x1b[1;33m";

		if (x->file) {
			put(out, x->file);
			if (x->line)
				fprintf(out, ":%u:%u", x->line, x->col ? x->col : 1);
			fputs(": ", out);
		}
		fprintf(out, "%s%s:%s ", on, x->severity == WEIR_ERROR ? "error" : "warning", color ? "\x1b[0m" : "");
		put(out, x->message);
		if (x->hint) {
			fputs("; ", out);
			put(out, x->hint);
		}
		putc('\n', out);
		if (x->source && x->line)
			put_source(out, x, color);
	}
	if (d->dropped)
		fprintf(out, "There are more: these are the first %zu.\n", d->n);
}
