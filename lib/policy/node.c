/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/node.h"

#include <stdlib.h>
#include <string.h>

#include "lib/util/cleanup.h"
#include "lib/util/text.h"

const struct weir_node *weir_node_get(const struct weir_node *map, const char *key)
{
	for (const struct weir_node *c = map && map->kind == WEIR_MAP ? map->child : NULL; c; c = c->next)
		if (c->key->text[0] == key[0] && !strcmp(c->key->text, key))
			return c;
	return NULL;
}

const char *weir_node_kind(const struct weir_node *n)
{
	static const char *const scalars[] = { "a string", "nothing", "true or false", "a number",
					       "a number with a fraction" };

	return n->kind == WEIR_MAP ? "a map" : n->kind == WEIR_LIST ? "a list" : scalars[n->scalar];
}

/* The bytes of a line, without its end. */
static const char *line_of(const struct weir_source *s, unsigned line, size_t *ret_len)
{
	const char *p = s->text, *end = s->text + s->len, *nl;

	while (--line && (nl = memchr(p, '\n', (size_t)(end - p))))
		p = nl + 1;
	nl = memchr(p, '\n', (size_t)(end - p));
	*ret_len = (size_t)((nl ? nl : end) - p);
	if (*ret_len && p[*ret_len - 1] == '\r')
		--*ret_len;
	return p;
}

#define SHOWN_MAX 240 /* bytes of a line that are shown */

static struct weir_diag *place(struct weir_diag *d, const struct weir_source *s, unsigned col, unsigned len)
{
	const char *text;
	size_t n, at = 0;

	if (!d)
		return NULL;
	text = line_of(s, d->line, &n);
	for (; col && at < n; col--) {
		size_t step = weir_utf8_next(text + at, n - at, NULL);

		at += step ? step : 1;
	}
	d->col = (unsigned)at + 1;
	d->len = len ? len : 1;
	if (n <= SHOWN_MAX)
		d->source = strndup(text, n);
	return d;
}

static struct weir_diag *add(struct weir_diags *d, enum weir_severity severity, const struct weir_source *s,
			     unsigned line, unsigned col, unsigned len, const char *key, const char *fmt, va_list ap)
{
	_cleanup_free_ char *message = NULL;

	if (vasprintf(&message, fmt, ap) < 0)
		message = NULL;
	if (!s || !s->name)
		return weir_diags_add(d, severity, NULL, 0, 0, 1, "%s%s%s", key ? key : "", key ? ": " : "",
				      message ? message : fmt);
	return place(weir_diags_add(d, severity, s->name, line, 1, len, "%s", message ? message : fmt), s, col, len);
}

struct weir_diag *weir_source_diag(struct weir_diags *d, enum weir_severity severity, const struct weir_source *s,
				   unsigned line, unsigned col, unsigned len, const char *fmt, ...)
{
	struct weir_diag *x;
	va_list ap;

	va_start(ap, fmt);
	x = add(d, severity, s, line, col, len, NULL, fmt, ap);
	va_end(ap);
	return x;
}

struct weir_diag *weir_node_diag(struct weir_diags *d, enum weir_severity severity, const struct weir_node *n,
				 const char *fmt, ...)
{
	struct weir_diag *x;
	va_list ap;

	va_start(ap, fmt);
	x = add(d, severity, n->source, n->line, n->col, n->len, n->key ? n->key->text : NULL, fmt, ap);
	va_end(ap);
	return x;
}
