/* SPDX-License-Identifier: Apache-2.0 */
/* The table as JSON Schema (draft 2020-12). */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/policy.h"
#include "lib/policy/spec.h"
#include "lib/policy/types.h"
#include "lib/policy/value.h"
#include "lib/util/cleanup.h"

static void put_string(FILE *f, const char *s)
{
	putc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putc('\\', f);
		putc(*s, f);
	}
	putc('"', f);
}

static void put_body(FILE *f, const struct weir_type *t, const char *doc);

/* A type where it is used: a reference when it has a definition of its own. */
static void put_use(FILE *f, const struct weir_type *t, const char *doc)
{
	if (!t->id) {
		put_body(f, t, doc);
		return;
	}
	fputc('{', f);
	if (doc) {
		fputs("\"description\":", f);
		put_string(f, doc);
		fputc(',', f);
	}
	fprintf(f, "\"$ref\":\"#/$defs/%s\"}", t->id);
}

static void put_keys(FILE *f, const struct weir_key *keys, const char **sep)
{
	for (const struct weir_key *k = keys; k && k->name; k++) {
		if (k->flags & WEIR_KEY_LATER)
			continue;
		fputs(*sep, f);
		put_string(f, k->name);
		fputc(':', f);
		put_use(f, k->type, k->doc);
		*sep = ",";
	}
}

static void put_map(FILE *f, const struct weir_type *t)
{
	const char *sep = "";

	fputs("\"type\":\"object\",\"properties\":{", f);
	put_keys(f, t->keys, &sep);
	put_keys(f, t->more, &sep);
	fputs("},\"additionalProperties\":false", f);
	sep = ",\"required\":[";
	for (const struct weir_key *k = t->keys; k && k->name; k++) {
		if (!(k->flags & WEIR_KEY_NEEDED))
			continue;
		fputs(sep, f);
		put_string(f, k->name);
		sep = ",";
	}
	if (sep[1] == 0)
		fputc(']', f);
	if (t->schema)
		fprintf(f, ",%s", t->schema);
}

static void put_words(FILE *f, const struct weir_type *t)
{
	const char *sep = "";

	fputs("\"enum\":[", f);
	for (const struct weir_word *w = t->words; w->name; w++) {
		if (w->later || w->instead)
			continue;
		fputs(sep, f);
		put_string(f, w->name);
		sep = ",";
	}
	fputc(']', f);
}

static void put_array(FILE *f, const struct weir_type *t)
{
	fprintf(f, "{\"type\":\"array\",\"minItems\":%d,\"maxItems\":%u,\"items\":", t->empty ? 0 : 1,
		t->max ? t->max : 1024);
	put_use(f, t->of, NULL);
	fputc('}', f);
}

/* Protocols and ICMP types: a number, or one of the names that value.c knows. */
static void put_names(FILE *f, const struct weir_type *t)
{
	const char *sep = "";

	fputs("\"anyOf\":[{\"type\":\"integer\",\"minimum\":0,\"maximum\":255},{\"enum\":[", f);
	if (t == &weir_type_protocol) {
		for (const struct weir_proto_row *r = weir_proto_rows; r->name; r++, sep = ",")
			fprintf(f, "%s\"%s\"", sep, r->name);
		fputs("]}]", f);
		return;
	}
	for (const struct weir_icmp_row *r = weir_icmp_rows; r->name; r++) {
		if (t == &weir_type_icmpv6 && r->type6 < 0)
			continue;
		fprintf(f, "%s\"%s\"", sep, r->name);
		sep = ",";
	}
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
	fputs("]},{\"type\":\"string\",\"pattern\":\"^" BYTE "/" BYTE "$\"}]", f);
}

static void put_body(FILE *f, const struct weir_type *t, const char *doc)
{
	fputc('{', f);
	if (doc) {
		fputs("\"description\":", f);
		put_string(f, doc);
		fputc(',', f);
	}
	switch (t->shape) {
	case WEIR_T_SCALAR:
		if (t->schema)
			fprintf(f, "%.*s", (int)strlen(t->schema) - 2, t->schema + 1);
		else
			put_names(f, t);
		break;
	case WEIR_T_WORD:
		put_words(f, t);
		break;
	case WEIR_T_LIST:
		fputs("\"anyOf\":[", f);
		if (t->one) {
			put_use(f, t->of, NULL);
			fputc(',', f);
		}
		put_array(f, t);
		fputc(']', f);
		break;
	case WEIR_T_MAP:
		put_map(f, t);
		break;
	case WEIR_T_NAMED:
		fprintf(f,
			"\"type\":\"object\",\"maxProperties\":%u,\"propertyNames\":{\"pattern\":\"%s\"},"
			"\"additionalProperties\":",
			t->max ? t->max : 1024, t->schema);
		put_use(f, t->of, NULL);
		break;
	case WEIR_T_EITHER:
		fputs(t->by ? "\"if\":{\"type\":\"object\",\"required\":[" : "\"anyOf\":[", f);
		if (t->by) {
			put_string(f, t->by);
			fputs("]},\"then\":", f);
			put_use(f, t->alt, NULL);
			fputs(",\"else\":", f);
			put_use(f, t->of, NULL);
		} else {
			put_use(f, t->of, NULL);
			fputc(',', f);
			put_use(f, t->alt, NULL);
			fputc(']', f);
		}
		break;
	}
	fputc('}', f);
}

/* --- which types there are --- */

static void collect(struct weir_type_list *l, const struct weir_type *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i] == t)
			return;
	if (l->n == WEIR_TYPES_MAX)
		return;
	l->v[l->n++] = t;
	for (const struct weir_key *k = t->keys; k && k->name; k++)
		collect(l, k->type);
	for (const struct weir_key *k = t->more; k && k->name; k++)
		collect(l, k->type);
	collect(l, t->of);
	collect(l, t->alt);
}

void weir_types_collect(struct weir_type_list *ret)
{
	ret->n = 0;
	collect(ret, &weir_type_policy);
	collect(ret, &weir_type_included);
}

void weir_policy_schema(FILE *out)
{
	_cleanup_free_ char *text = NULL, *pretty = NULL;
	struct weir_type_list types;
	const char *sep = "";
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	json_t *j;

	if (!f)
		return;
	fputs("{\"$schema\":\"https://json-schema.org/draft/2020-12/"
	      "schema\",\"$id\":\"urn:weir:policy:1\",\"title\":\"weir "
	      "policy\",\"$ref\":\"#/$defs/policy\",\"$defs\":{",
	      f);
	weir_types_collect(&types);
	for (size_t i = 0; i < types.n; i++) {
		if (!types.v[i]->id)
			continue;
		fprintf(f, "%s\"%s\":", sep, types.v[i]->id);
		put_body(f, types.v[i], types.v[i]->doc);
		sep = ",";
	}
	fputs("}}", f);
	fclose(f);
	j = text ? json_loads(text, 0, NULL) : NULL;
	pretty = j ? json_dumps(j, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
	json_decref(j);
	if (pretty)
		fprintf(out, "%s\n", pretty);
}
