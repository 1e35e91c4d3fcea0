/* SPDX-License-Identifier: Apache-2.0 */
/* The table as a page for people: docs/policy.md. */
#include <string.h>

#include "lib/policy/policy.h"
#include "lib/policy/spec.h"
#include "lib/policy/types.h"
#include "lib/policy/value.h"

extern const char weir_policy_reference_head[], weir_policy_reference_tail[]; /* reference-head.md, reference-tail.md */

/* What a key takes, as a link where there is a section for it. */
static void put_takes(FILE *out, const struct weir_type *t)
{
	switch (t->shape) {
	case WEIR_T_LIST:
		put_takes(out, t->of);
		fputs(t->one ? ", or a list" : " (a list)", out);
		break;
	case WEIR_T_NAMED:
		fputs("names, each with ", out);
		put_takes(out, t->of);
		break;
	case WEIR_T_EITHER:
		put_takes(out, t->of);
		fputs(", or ", out);
		put_takes(out, t->alt);
		break;
	default:
		if (t->id)
			fprintf(out, "[%s](#%s)", t->id, t->id);
		else if (t->shape == WEIR_T_MAP)
			fputs("[conditions](#conditions)", out);
		else
			fputs(t->name, out);
	}
}

static void put_keys(FILE *out, const struct weir_type *t)
{
	fputs("\n| key | takes | meaning | example |\n|---|---|---|---|\n", out);
	for (const struct weir_key *k = t->keys; k->name; k++) {
		if (k->flags & WEIR_KEY_LATER)
			continue;
		fprintf(out, "| `%s`%s | ", k->name, k->flags & WEIR_KEY_NEEDED ? " (needed)" : "");
		put_takes(out, k->type);
		fprintf(out, " | %s | `%s: %s` |\n", k->doc, k->name, k->example);
	}
	if (t->more)
		fputs("\nAnd all [conditions](#conditions).\n", out);
}

static void put_words(FILE *out, const struct weir_type *t)
{
	const char *sep = "\nOne of ";

	for (const struct weir_word *w = t->words; w->name; w++) {
		if (w->later || w->instead)
			continue;
		fprintf(out, "%s`%s`", sep, w->name);
		sep = ", ";
	}
	fputs(".\n", out);
}

static void put_names(FILE *out, const struct weir_type *t)
{
	const char *sep = "\nNames: ";

	if (t == &weir_type_protocol) {
		for (const struct weir_proto_row *r = weir_proto_rows; r->name; r++, sep = ", ")
			fprintf(out, "%s`%s` (%u)", sep, r->name, r->number);
		fputs(".\n", out);
		return;
	}
	for (const struct weir_icmp_row *r = weir_icmp_rows; r->name; r++) {
		int type = t == &weir_type_icmpv6 ? r->type6 : r->type4,
		    code = t == &weir_type_icmpv6 ? r->code6 : r->code4;

		if (t == &weir_type_icmpv6 && type < 0)
			continue;
		fprintf(out, "%s`%s`", sep, r->name);
		if (type >= 0)
			fprintf(out, code >= 0 ? " (%d/%d" : " (%d", type, code);
		if (t != &weir_type_icmpv6 && r->type6 >= 0) {
			fprintf(out, "%sv6 %d", type >= 0 ? ", " : " (", r->type6);
			if (r->code6 >= 0)
				fprintf(out, "/%d", r->code6);
		}
		fputs(")", out);
		sep = ", ";
	}
	fputs(".\n", out);
}

static void put_section(FILE *out, const struct weir_type *t)
{
	fprintf(out, "\n### %s\n\n%s\n", t->id, t->doc);
	if (t->shape == WEIR_T_MAP)
		put_keys(out, t);
	else if (t->shape == WEIR_T_WORD)
		put_words(out, t);
	else if (!t->schema)
		put_names(out, t);
}

void weir_policy_reference(FILE *out)
{
	struct weir_type_list types;

	weir_types_collect(&types);
	fputs(weir_policy_reference_head, out);
	fputs("\n## Keys\n", out);
	for (size_t i = 0; i < types.n; i++)
		if (types.v[i]->id && types.v[i]->shape == WEIR_T_MAP)
			put_section(out, types.v[i]);
	fputs("\n## Values\n", out);
	for (size_t i = 0; i < types.n; i++)
		if (types.v[i]->id && types.v[i]->shape != WEIR_T_MAP)
			put_section(out, types.v[i]);
	fputs(weir_policy_reference_tail, out);
}
