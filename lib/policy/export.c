/* SPDX-License-Identifier: Apache-2.0 */
/* The overlay as YAML, ready to be put into a policy: `weir rule export`. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "lib/policy/model.h"

/* Can this text stand plain, and mean the same string? Only what is surely harmless. */
static bool plain(const char *s)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ$/";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ$/0123456789._-";
	static const char *const words[] = { "true", "false", "null", "yes", "no", "on", "off", "y", "n", NULL };

	if (!*s || !strchr(letters, *s) || strspn(s, rest) != strlen(s))
		return false;
	for (const char *const *w = words; *w; w++)
		if (!strcasecmp(*w, s))
			return false;
	return true;
}

static void put_node(FILE *out, const struct weir_node *n)
{
	const char *sep = "";

	if (n->kind == WEIR_SCALAR) {
		if (n->scalar != WEIR_STRING || plain(n->text)) {
			fputs(n->text, out);
			return;
		}
		putc('"', out);
		for (const char *s = n->text; *s; s++) {
			if (*s == '"' || *s == '\\')
				putc('\\', out);
			putc(*s, out);
		}
		putc('"', out);
		return;
	}
	fputs(n->kind == WEIR_MAP ? "{ " : "[", out);
	for (const struct weir_node *c = n->child; c; c = c->next, sep = ", ") {
		fputs(sep, out);
		if (n->kind == WEIR_MAP)
			fprintf(out, "%s: ", c->key->text);
		put_node(out, c);
	}
	fputs(n->kind == WEIR_MAP ? " }" : "]", out);
}

int weir_policy_export(FILE *out, const struct weir_overlay *o)
{
	fputs(o->n_rules ? "rules:\n" : "rules: []\n", out);
	for (size_t i = 0; i < o->n_rules; i++) {
		const struct weir_overlay_rule *r = &o->rules[i];
		struct weir_arena a = { .limit = 16 << 20 };
		struct weir_source s = { .text = r->json, .len = strlen(r->json) };
		struct weir_diags diags = { 0 };
		struct weir_node *root;
		time_t t = (time_t)r->expires;
		char until[32] = "";
		struct tm tm;
		int err = weir_yaml_read(&a, &s, &root, &diags);

		if (!err) {
			fputs("  - ", out);
			put_node(out, root);
			if (r->expires && gmtime_r(&t, &tm))
				strftime(until, sizeof until, ", until %Y-%m-%dT%H:%M:%SZ", &tm);
			fprintf(out, " # overlay %u%s\n", r->id, until);
		}
		weir_diags_free(&diags);
		weir_arena_free(&a);
		if (err < 0)
			return err;
	}
	return ferror(out) ? -EIO : 0;
}
