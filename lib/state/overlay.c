/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "lib/state/file.h"
#include "lib/state/overlay.h"
#include "lib/util/cleanup.h"
#include "lib/util/dict.h"

#define OVERLAY_FILE "overlay.json"
#define ARENA_MAX    ((size_t)64 << 20)

static void rule_free(struct weir_overlay_rule *r)
{
	free(r->json);
	free(r->why);
}

static void edit_free(struct weir_set_edit *e)
{
	free(e->set);
	free(e->element);
}

void weir_overlay_store_clear(struct weir_overlay_store *s)
{
	for (size_t i = 0; i < s->list.n_rules; i++)
		rule_free(&s->list.rules[i]);
	for (size_t i = 0; i < s->list.n_edits; i++)
		edit_free(&s->list.edits[i]);
	free(s->list.rules);
	free(s->list.edits);
	memset(s, 0, sizeof *s);
}

static int rule_put(struct weir_overlay *o, size_t at, const struct weir_overlay_rule *from)
{
	struct weir_overlay_rule copy = { .id = from->id, .expires = from->expires, .unfit = from->unfit }, *v;

	if (o->n_rules >= WEIR_OVERLAY_RULES_MAX)
		return -ENOSPC;
	copy.json = strdup(from->json);
	copy.why = from->why ? strdup(from->why) : NULL;
	v = copy.json && !copy.why == !from->why ? realloc(o->rules, (o->n_rules + 1) * sizeof *v) : NULL;
	if (!v) {
		rule_free(&copy);
		return -ENOMEM;
	}
	o->rules = v;
	memmove(v + at + 1, v + at, (o->n_rules - at) * sizeof *v);
	v[at] = copy;
	o->n_rules++;
	return 0;
}

static int edit_put(struct weir_overlay *o, const char *set, const char *element, bool remove)
{
	struct weir_set_edit e = { .remove = remove }, *v;

	if (o->n_edits >= WEIR_OVERLAY_EDITS_MAX)
		return -ENOSPC;
	e.set = strdup(set);
	e.element = strdup(element);
	v = o->edits; /* room for the next power of two, whatever was forgotten since */
	if (!(o->n_edits & (o->n_edits - 1)))
		v = realloc(v, (o->n_edits ? 2 * o->n_edits : 1) * sizeof *v);
	if (v)
		o->edits = v;
	v = e.set && e.element ? v : NULL;
	if (!v) {
		edit_free(&e);
		return -ENOMEM;
	}
	v[o->n_edits++] = e;
	return 0;
}

int weir_overlay_store_copy(const struct weir_overlay_store *s, struct weir_overlay_store *ret)
{
	struct weir_overlay_store c = { .next_id = s->next_id, .changes = s->changes };
	int r = 0;

	for (size_t i = 0; !r && i < s->list.n_rules; i++)
		r = rule_put(&c.list, i, &s->list.rules[i]);
	for (size_t i = 0; !r && i < s->list.n_edits; i++)
		r = edit_put(&c.list, s->list.edits[i].set, s->list.edits[i].element, s->list.edits[i].remove);
	if (r) {
		weir_overlay_store_clear(&c);
		return r;
	}
	*ret = c;
	return 0;
}

/* One stored rule or edit into the list; ids must be new and below next_id. */
static int rule_from_json(struct weir_overlay_store *s, const json_t *j)
{
	_cleanup_free_ char *text = NULL;
	json_int_t id = 0, expires = 0;
	const char *why = NULL;
	json_t *rule = NULL;

	if (json_unpack((json_t *)j, "{s:I, s?I, s:o, s?s}", "id", &id, "expires", &expires, "rule", &rule, "why",
			&why) ||
	    !json_is_object(rule) || id < 1 || id >= (json_int_t)s->next_id || expires < 0 ||
	    weir_overlay_find(s, (uint32_t)id))
		return -EBADMSG;
	text = json_dumps(rule, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	return rule_put(&s->list, s->list.n_rules,
			&(struct weir_overlay_rule){ .id = (uint32_t)id, .json = text, .expires = (uint64_t)expires,
						     .why = (char *)why });
}

static int edit_from_json(struct weir_overlay_store *s, const json_t *j)
{
	const char *set = NULL, *element = NULL;
	char text[WEIR_ELEMENT_SIZE];
	int remove = 0;

	if (json_unpack((json_t *)j, "{s:s, s:s, s:b}", "set", &set, "element", &element, "remove", &remove))
		return -EBADMSG;
	/* as it was given, in a file of before there was one way to write it */
	return edit_put(&s->list, set, weir_policy_element(element, text), remove);
}

static int store_from_json(struct weir_overlay_store *s, const json_t *j)
{
	const json_t *rules = json_object_get(j, "rules"), *edits = json_object_get(j, "sets"), *one;
	json_int_t next = json_integer_value(json_object_get(j, "next_id"));
	json_int_t changes = json_integer_value(json_object_get(j, "changes"));
	size_t i;
	int r;

	if (json_integer_value(json_object_get(j, "version")) != 1 || next < 1 || next > UINT32_MAX ||
	    changes < 0 || !json_is_array(rules) || !json_is_array(edits))
		return -EBADMSG;
	s->next_id = (uint32_t)next;
	s->changes = (uint64_t)changes;
	json_array_foreach (rules, i, one) {
		r = rule_from_json(s, one);
		if (r)
			return r;
	}
	json_array_foreach (edits, i, one) {
		r = edit_from_json(s, one);
		if (r)
			return r;
	}
	return 0;
}

int weir_overlay_load(const char *state_dir, struct weir_overlay_store *ret, char *note, size_t note_size)
{
	struct weir_overlay_store s = { .next_id = 1 };
	json_t *j = NULL;
	int r = weir_json_load(state_dir, OVERLAY_FILE, &j, note, note_size);

	if (r != -EBADMSG)
		note[0] = 0;
	if (!r) {
		r = store_from_json(&s, j);
		if (r) {
			weir_overlay_store_clear(&s);
			s.next_id = 1;
			if (r != -ENOMEM)
				weir_file_set_aside(state_dir, OVERLAY_FILE, "not what weir writes", note, note_size);
		}
		json_decref(j);
	}
	if (r && r != -ENOENT && r != -EBADMSG && r != -ENOSPC)
		return r;
	*ret = s;
	return 0;
}

int weir_overlay_save(const char *state_dir, const struct weir_overlay_store *s)
{
	json_t *rules = json_array(), *edits = json_array(), *j;
	int r;

	for (size_t i = 0; i < s->list.n_rules; i++) {
		const struct weir_overlay_rule *x = &s->list.rules[i];

		json_array_append_new(rules, json_pack("{s:I, s:I, s:o, s:s*}", "id", (json_int_t)x->id, "expires",
						       (json_int_t)x->expires, "rule", json_loads(x->json, 0, NULL),
						       "why", x->why));
	}
	for (size_t i = 0; i < s->list.n_edits; i++) {
		const struct weir_set_edit *e = &s->list.edits[i];

		json_array_append_new(edits, json_pack("{s:s, s:s, s:b}", "set", e->set, "element", e->element, "remove",
						       (int)e->remove));
	}
	j = json_pack("{s:i, s:I, s:I, s:o, s:o}", "version", 1, "next_id", (json_int_t)s->next_id, "changes",
		      (json_int_t)s->changes, "rules", rules, "sets", edits);
	if (!j || json_array_size(rules) != s->list.n_rules || json_array_size(edits) != s->list.n_edits)
		r = -ENOMEM;
	else
		r = weir_json_save(state_dir, OVERLAY_FILE, j);
	json_decref(j);
	return r;
}

static size_t index_of(const struct weir_overlay_store *s, uint32_t id)
{
	size_t i = 0;

	while (i < s->list.n_rules && s->list.rules[i].id != id)
		i++;
	return i;
}

const struct weir_overlay_rule *weir_overlay_find(const struct weir_overlay_store *s, uint32_t id)
{
	size_t i = index_of(s, id);

	return i < s->list.n_rules ? &s->list.rules[i] : NULL;
}

int weir_overlay_add(struct weir_overlay_store *s, const char *json, const char *why, uint64_t expires,
		     uint32_t before, uint32_t *ret_id)
{
	struct weir_overlay_rule rule = { .id = s->next_id, .json = (char *)json, .expires = expires, .why = (char *)why };
	size_t at = before ? index_of(s, before) : s->list.n_rules;
	int r;

	if (before && at == s->list.n_rules)
		return -ENOENT;
	if (s->next_id == UINT32_MAX)
		return -ENOSPC;
	r = rule_put(&s->list, at, &rule);
	if (r)
		return r;
	*ret_id = s->next_id++;
	return 0;
}

static void remove_at(struct weir_overlay *o, size_t i)
{
	rule_free(&o->rules[i]);
	memmove(o->rules + i, o->rules + i + 1, (o->n_rules - i - 1) * sizeof *o->rules);
	o->n_rules--;
}

int weir_overlay_delete(struct weir_overlay_store *s, uint32_t id)
{
	size_t i = index_of(s, id);

	if (i == s->list.n_rules)
		return -ENOENT;
	remove_at(&s->list, i);
	return 0;
}

size_t weir_overlay_expire(struct weir_overlay_store *s, uint64_t now)
{
	size_t n = 0;

	for (size_t i = 0; i < s->list.n_rules;) {
		if (s->list.rules[i].expires && s->list.rules[i].expires <= now) {
			remove_at(&s->list, i);
			n++;
		} else {
			i++;
		}
	}
	return n;
}

uint64_t weir_overlay_next_expiry(const struct weir_overlay_store *s)
{
	uint64_t next = 0;

	for (size_t i = 0; i < s->list.n_rules; i++) {
		uint64_t e = s->list.rules[i].expires;

		if (e && (!next || e < next))
			next = e;
	}
	return next;
}

/* What stands under the text of each element: there may be many, and many edits. */
static int elements_dict(struct weir_arena *a, const char *const *elements, size_t n, enum weir_edited *values,
			 struct weir_dict *ret)
{
	int r = weir_dict_init(a, ret, n + 1);

	for (size_t i = 0; !r && i < n; i++)
		weir_dict_put(ret, elements[i], &values[i]);
	return r;
}

int weir_overlay_look(const struct weir_overlay_store *s, const char *set, const char *const *elements, size_t n,
		      enum weir_edited *ret)
{
	const struct weir_overlay *o = &s->list;
	struct weir_arena arena = { .limit = ARENA_MAX };
	struct weir_dict wanted;
	int r;

	memset(ret, 0, n * sizeof *ret); /* WEIR_EDITED_NOT */
	r = elements_dict(&arena, elements, n, ret, &wanted);
	for (size_t i = 0; !r && i < o->n_edits; i++) {
		const struct weir_set_edit *e = &o->edits[i];
		enum weir_edited *x = strcmp(e->set, set) ? NULL : weir_dict_find(&wanted, e->element);

		if (x)
			*x = e->remove ? WEIR_EDITED_OUT : WEIR_EDITED_IN;
	}
	weir_arena_free(&arena);
	return r;
}

int weir_overlay_forget(struct weir_overlay_store *s, const char *set, const char *const *elements, size_t n)
{
	struct weir_overlay *o = &s->list;
	struct weir_arena arena = { .limit = ARENA_MAX };
	enum weir_edited *any = n ? calloc(n, sizeof *any) : NULL;
	struct weir_dict gone;
	size_t out = 0;
	int r = any ? elements_dict(&arena, elements, n, any, &gone) : n ? -ENOMEM : 0;

	if (!r && n) {
		for (size_t i = 0; i < o->n_edits; i++) {
			if (strcmp(o->edits[i].set, set) || !weir_dict_find(&gone, o->edits[i].element))
				o->edits[out++] = o->edits[i];
			else
				edit_free(&o->edits[i]);
		}
		o->n_edits = out;
	}
	weir_arena_free(&arena);
	free(any);
	return r;
}

int weir_overlay_edit(struct weir_overlay_store *s, const char *set, const char *const *elements, size_t n, bool remove)
{
	int r = weir_overlay_forget(s, set, elements, n);

	for (size_t i = 0; !r && i < n; i++)
		r = edit_put(&s->list, set, elements[i], remove);
	return r;
}

size_t weir_overlay_reset(struct weir_overlay_store *s, const char *set, const char *element)
{
	struct weir_overlay *o = &s->list;
	size_t out = 0, n = o->n_edits;

	for (size_t i = 0; i < n; i++) {
		if (strcmp(o->edits[i].set, set) || (element && strcmp(o->edits[i].element, element)))
			o->edits[out++] = o->edits[i];
		else
			edit_free(&o->edits[i]);
	}
	o->n_edits = out;
	return n - out;
}
