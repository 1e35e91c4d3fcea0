/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/policy/spec.h"
#include "lib/policy/types.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

#define LIST_MAX 1024
#define KEYS_MAX 64

const char *weir_did_you_mean(const char *word, const char *const *names)
{
	unsigned best = (unsigned)strlen(word) / 3 + 1;
	const char *found = NULL;

	if (best > 3)
		best = 3;
	for (size_t i = 0; strlen(word) >= 3 && names[i]; i++) { /* cut short */
		if (!strncasecmp(word, names[i], strlen(word)))
			return names[i];
	}
	for (; *names; names++) {
		unsigned d = weir_text_distance(word, *names, best);

		if (d <= best && d < strlen(*names)) {
			found = *names;
			best = d ? d - 1 : 0;
			if (!d)
				break;
		}
	}
	return found;
}

static int wrong_kind(struct weir_walk *w, const struct weir_type *t, const struct weir_node *n)
{
	struct weir_diag *d = weir_node_error(w->diags, n, "expected %s, found %s", t->name, weir_node_kind(n));

	if (t == &weir_type_rule_limit && n->kind == WEIR_SCALAR && strchr(n->text, '/'))
		weir_diag_hint(d, "write { rate: %s }", n->text);
	else if (w->key && w->key->example && n->source->name)
		weir_diag_hint(d, "write %s: %s", w->key->name, w->key->example);
	return -EINVAL;
}

/* "an action" is an action; what has no name of its own is a word. */
static const char *noun(const struct weir_type *t)
{
	return !strncmp(t->name, "a ", 2) ? t->name + 2 : !strncmp(t->name, "an ", 3) ? t->name + 3 : "word";
}

static int walk_word(struct weir_walk *w, const struct weir_type *t, const struct weir_node *n, uint8_t *dst)
{
	const char *names[KEYS_MAX], *meant;
	_cleanup_free_ char *all = NULL;
	size_t count = 0, size = 0;
	_cleanup_fclose_ FILE *f = NULL;
	struct weir_diag *d;

	if (n->kind != WEIR_SCALAR || n->scalar == WEIR_NULL)
		return wrong_kind(w, t, n);
	for (const struct weir_word *x = t->words; x->name; x++) {
		if (x->name[0] != n->text[0] || strcmp(x->name, n->text)) {
			if (!x->later && !x->instead && count + 1 < KEYS_MAX)
				names[count++] = x->name;
			continue;
		}
		if (x->later) {
			weir_node_error(w->diags, n, "'%s': not in this version", n->text);
			return -EINVAL;
		}
		if (!x->instead && n->scalar == WEIR_STRING) {
			*dst = x->value;
			return 0;
		}
		if (x->instead) {
			weir_diag_hint(weir_node_error(w->diags, n, "unknown %s '%s'", noun(t), n->text),
				       strchr(x->instead, ' ') ? "write %s" : "write '%s'", x->instead);
			return -EINVAL;
		}
	}
	names[count] = NULL;
	f = open_memstream(&all, &size);
	for (size_t i = 0; f && i < count; i++)
		fprintf(f, "%s%s", i ? ", " : "", names[i]);
	if (f)
		fflush(f);
	meant = weir_did_you_mean(n->text, names);
	d = weir_node_error(w->diags, n, "unknown %s '%s' (%s)", noun(t), n->text, all ? all : "");
	if (meant)
		weir_diag_hint(d, "did you mean '%s'?", meant);
	return -EINVAL;
}

static int walk_list(struct weir_walk *w, const struct weir_type *t, const struct weir_node *n, struct weir_values *dst)
{
	uint32_t max = t->max ? t->max : LIST_MAX, count = n->kind == WEIR_LIST ? n->n : 1, i = 0;
	const struct weir_node *c = n->kind == WEIR_LIST ? n->child : n;
	int err = 0;

	if (n->kind != WEIR_LIST && (!t->one || (n->kind == WEIR_SCALAR && n->scalar == WEIR_NULL)))
		return wrong_kind(w, t, n);
	if (!count && !t->empty) {
		weir_diag_hint(weir_node_error(w->diags, n, "an empty list"), "take the key away, or name something");
		return -EINVAL;
	}
	if (count > max) {
		weir_node_error(w->diags, n, "%u entries, at most %u", count, max);
		return -EINVAL;
	}
	dst->node = n;
	dst->v = weir_arena_array(w->arena, count, t->size);
	if (!dst->v) {
		weir_node_error(w->diags, n, "out of memory");
		return -ENOMEM;
	}
	for (; i < count; c = c->next, i++) {
		if (weir_walk(w, t->of, c, (char *)dst->v + i * t->size) < 0)
			err = -EINVAL;
		if (w->diags->errors > WEIR_DIAGS_MAX)
			return -EINVAL; /* enough was said */
	}
	dst->n = count;
	return err;
}

static int walk_named(struct weir_walk *w, const struct weir_type *t, const struct weir_node *n,
		      struct weir_values *dst)
{
	uint32_t max = t->max ? t->max : LIST_MAX;
	int err = 0;

	if (n->kind != WEIR_MAP)
		return wrong_kind(w, t, n);
	if (n->n > max) {
		weir_node_error(w->diags, n, "%u entries, at most %u", n->n, max);
		return -EINVAL;
	}
	dst->node = n;
	dst->v = weir_arena_array(w->arena, n->n, t->size);
	if (!dst->v)
		return -ENOMEM;
	for (const struct weir_node *c = n->child; c; c = c->next) {
		char *at = (char *)dst->v + dst->n * t->size;

		for (const struct weir_node *b = n->child; b != c; b = b->next) {
			if (strcmp(b->key->text, c->key->text))
				continue;
			weir_node_error(w->diags, c->key, "'%s' stands here twice, first in line %u", c->key->text,
					b->key->line);
			err = -EINVAL;
			break;
		}
		/* the name is checked by the type whose `take` stands beside the shape */
		if (t->take && t->take(w, c->key, at) < 0)
			err = -EINVAL;
		*(const char **)at = c->key->text;
		if (weir_walk(w, t->of, c, at) < 0)
			err = -EINVAL;
		if (w->diags->errors > WEIR_DIAGS_MAX)
			return -EINVAL;
		dst->n++;
	}
	return err;
}

static const struct weir_key *find(const struct weir_key *keys, const char *name)
{
	for (; keys && keys->name; keys++)
		if (keys->name[0] == name[0] && !strcmp(keys->name, name))
			return keys;
	return NULL;
}

bool weir_key_takes_not(const char *key)
{
	const struct weir_key *neg = find(weir_type_rule.keys, "not"), *k = neg ? find(neg->type->keys, key) : NULL;

	return k && !(k->flags & WEIR_KEY_LATER);
}

/* What the same is called elsewhere: what is only spelt alike means something else. */
static const char *elsewhere(const char *key, const char *const *names)
{
	static const char *const words[][2] = {
		{ "src", "from" },	  { "source", "from" },	    { "saddr", "from" },	 { "dst", "to" },
		{ "destination", "to" },  { "daddr", "to" },	    { "sport", "source_ports" }, { "dport", "ports" },
		{ "iif", "in_interface" }, { "oif", "out_interface" }, { "for", "ban" },
		{ "input", "inbound" },	  { "output", "outbound" }, { "forwarded", "forward" },	 { "policy", "default" },
	};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		for (const char *const *n = names; !strcmp(key, words[i][0]) && *n; n++)
			if (!strcmp(*n, words[i][1]))
				return *n;
	return NULL;
}

/* The key of this map in whose own map it has its place. */
static const char *below(const struct weir_type *t, const char *key)
{
	for (const struct weir_key *k = t->keys; k && k->name; k++) {
		const struct weir_type *in = k->flags & WEIR_KEY_LATER ? NULL : k->type;
		const struct weir_key *there = in ? find(in->keys, key) ?: in->alt ? find(in->alt->keys, key) : NULL : NULL;

		if (there && !(there->flags & WEIR_KEY_LATER))
			return k->name;
	}
	return NULL;
}

static int unknown_key(struct weir_walk *w, const struct weir_type *t, const struct weir_node *key)
{
	const char *names[KEYS_MAX], *meant;
	struct weir_diag *d;
	size_t n = 0;

	for (const struct weir_key *k = t->keys; k && k->name && n + 1 < KEYS_MAX; k++)
		if (!(k->flags & WEIR_KEY_LATER))
			names[n++] = k->name;
	for (const struct weir_key *k = t->more; k && k->name && n + 1 < KEYS_MAX; k++)
		if (!(k->flags & WEIR_KEY_LATER))
			names[n++] = k->name;
	names[n] = NULL;
	d = weir_node_error(w->diags, key, "unknown key '%s' in %s", key->text, t->name);
	meant = elsewhere(key->text, names) ?: weir_did_you_mean(key->text, names);
	if (!strcmp(key->text, "<<"))
		weir_diag_hint(d, "merge keys are not accepted; write it out");
	else if (!key->quoted && strchr(key->text, ':'))
		weir_diag_hint(d, "a blank has to follow the ':'");
	else if (below(t, key->text))
		weir_diag_hint(d, "it has its place in '%s': write %s: { %s: ... }", below(t, key->text), below(t, key->text),
			       key->text);
	else if (meant)
		weir_diag_hint(d, "did you mean '%s'?", meant);
	return -EINVAL;
}

/* "!22", as other firewalls have it: what was quoted to be no tag of YAML. A name of an interface may begin so. */
static bool refuse_not(struct weir_walk *w, const struct weir_node *n, const char *key)
{
	const struct weir_node *c = n->kind == WEIR_LIST ? n->child : n;
	struct weir_diag *d;

	if (!weir_key_takes_not(key) || strstr(key, "interface"))
		return false;
	while (c && (c->kind != WEIR_SCALAR || c->text[0] != '!'))
		c = n->kind == WEIR_LIST ? c->next : NULL;
	if (!c)
		return false;
	d = weir_node_error(w->diags, c, "'!' does not turn '%s' round", key);
	weir_diag_hint(d, "%s not: { %s: %s }", c->source->name ? "write" : "such a rule goes into the policy file, with", key,
		       c->text + strspn(c->text, "! "));
	return true;
}

static int walk_map(struct weir_walk *w, const struct weir_type *t, const struct weir_node *n, char *dst)
{
	const struct weir_node *seen[2][KEYS_MAX] = { { NULL } };
	const struct weir_key *outer = w->key;
	int err = 0;

	if (n->kind != WEIR_MAP)
		return wrong_kind(w, t, n);
	for (const struct weir_node *c = n->child; c; c = c->next) {
		const struct weir_key *k = find(t->keys, c->key->text);
		bool more = !k;

		if (w->diags->errors > WEIR_DIAGS_MAX)
			return -EINVAL;
		if (!k)
			k = find(t->more, c->key->text);
		if (!k) {
			err = unknown_key(w, t, c->key);
			continue;
		}
		if (k->flags & WEIR_KEY_LATER) {
			weir_node_error(w->diags, c->key, "%s: not in this version", k->name);
			err = -EINVAL;
			continue;
		}
		const struct weir_node **s = &seen[more][k - (more ? t->more : t->keys)];
		if (*s) {
			weir_node_error(w->diags, c->key, "'%s' stands here twice, first in line %u", k->name,
					(*s)->line);
			err = -EINVAL;
			continue;
		}
		*s = c->key;
		if (refuse_not(w, c, k->name)) {
			err = -EINVAL;
			continue;
		}
		w->key = k;
		if (weir_walk(w, k->type, c, dst + (more ? t->more_off : 0) + k->off) < 0)
			err = -EINVAL;
		w->key = outer;
	}
	for (const struct weir_key *k = t->keys; k && k->name; k++) {
		if (!(k->flags & WEIR_KEY_NEEDED) || seen[0][k - t->keys])
			continue;
		weir_diag_hint(weir_node_error(w->diags, n, "'%s' is missing in %s", k->name, t->name), "add '%s: %s'",
			       k->name, k->example);
		err = -EINVAL;
	}
	return err < 0 || !t->done ? err : t->done(w, n, dst);
}

static int walk_apart(struct weir_walk *w, const struct weir_type *t, const struct weir_node *n, void **dst)
{
	*dst = weir_arena_alloc(w->arena, t->size);
	if (*dst)
		return walk_map(w, t, n, *dst);
	weir_node_error(w->diags, n, "out of memory");
	return -ENOMEM;
}

int weir_walk(struct weir_walk *w, const struct weir_type *t, const struct weir_node *n, void *dst)
{
	bool alt;

	switch (t->shape) {
	case WEIR_T_SCALAR:
		return n->kind == WEIR_SCALAR ? t->take(w, n, dst) : wrong_kind(w, t, n);
	case WEIR_T_WORD:
		return walk_word(w, t, n, dst);
	case WEIR_T_LIST:
		return walk_list(w, t, n, dst);
	case WEIR_T_MAP:
		return t->size ? walk_apart(w, t, n, dst) : walk_map(w, t, n, dst);
	case WEIR_T_NAMED:
		return walk_named(w, t, n, dst);
	case WEIR_T_EITHER:
		alt = n->kind == WEIR_MAP && (!t->by || weir_node_get(n, t->by));
		return weir_walk(w, alt ? t->alt : t->of, n, (char *)dst + (alt ? t->alt_off : 0));
	}
	return -EINVAL;
}
