/* SPDX-License-Identifier: Apache-2.0 */
/* From a file to a policy: read, walk, follow the includes, load the sets, put the rules in a row, check. */
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/flat.h"
#include "lib/policy/model.h"
#include "lib/util/cleanup.h"
#include "lib/util/digest.h"
#include "lib/util/file.h"

#define ARENA_MAX ((size_t)768 << 20)
#define INCLUDES_MAX 256

#define FILE_LARGE "it is larger than 32 MiB"

const char *weir_policy_file_trouble(int err, const char *most)
{
	return err == -EPIPE && weir_file_asks() ? "the process that opens files for weir has ended; weir status tells whether it is back"
	       : err == -EISDIR	? "it is a directory"
	       : err == -ENODEV ? "it is a device, a FIFO or a socket, not a file"
	       : err == -EFBIG	? most
	       : err == -EACCES && weir_file_asks()
		       ? "only some may read it, and it neither stands in the configuration directory nor is named .yaml or .txt"
				: strerror(-err);
}

/* `at` is the node that names the file; NULL: the user did. */
static int read_source(struct weir_policy *p, const char *path, const char *name, const struct weir_node *at,
		       struct weir_source **ret, struct weir_diags *diags)
{
	_cleanup_free_ char *text = NULL;
	struct weir_source *s;
	size_t len;
	int err = weir_file_read(path, WEIR_FILE_MAX, &text, &len);

	if (err < 0) {
		if (at)
			weir_node_error(diags, at, "cannot read '%s': %s", path, weir_policy_file_trouble(err, FILE_LARGE));
		else
			weir_diags_add(diags, WEIR_ERROR, name, 0, 0, 1, "cannot read it: %s", weir_policy_file_trouble(err, FILE_LARGE));
		return err;
	}
	s = weir_arena_alloc(&p->arena, sizeof *s);
	if (s) {
		s->name = weir_arena_text(&p->arena, name, strlen(name));
		s->text = weir_arena_text(&p->arena, text, len);
		s->len = len;
	}
	if (!s || !s->name || !s->text)
		return -ENOMEM;
	*ret = s;
	return 0;
}

/* A path of the policy, seen from its folder. */
char *weir_policy_beside(struct weir_arena *a, const char *dir, const char *path)
{
	_cleanup_free_ char *joined = NULL;

	if (path[0] == '/')
		return weir_arena_text(a, path, strlen(path));
	if (asprintf(&joined, "%s/%s", dir, path) < 0)
		return NULL;
	return weir_arena_text(a, joined, strlen(joined));
}

/* --- files --- */

struct files {
	struct weir_p_doc *docs;
	struct weir_source *sources[INCLUDES_MAX + 1];
	size_t n;
};

static int parse(struct weir_policy *p, struct weir_walk *w, const struct weir_source *s, const struct weir_type *t,
		 struct weir_p_doc *ret)
{
	struct weir_node *root;
	int err = weir_yaml_read(&p->arena, s, &root, w->diags);

	if (err < 0)
		return err;
	if (!w->root) /* the main file: most sets stand there */
		w->root = root;
	return weir_walk(w, t, root, ret);
}

static int include_one(struct weir_policy *p, struct weir_walk *w, struct files *f, const struct weir_node *at,
		       const char *path)
{
	int err;

	for (size_t i = 0; i < f->n; i++) {
		if (strcmp(f->sources[i]->name, path))
			continue;
		weir_node_error(w->diags, at, "'%s' is read already", path);
		return -EINVAL;
	}
	if (f->n > INCLUDES_MAX) {
		weir_node_error(w->diags, at, "more than %d included files", INCLUDES_MAX);
		return -EINVAL;
	}
	err = read_source(p, path, path, at, &f->sources[f->n], w->diags);
	if (err < 0)
		return err;
	f->n++;
	return parse(p, w, f->sources[f->n - 1], &weir_type_included, &f->docs[f->n - 1]);
}

/* What another policy read already: its files may say something else by now. */
static int include_same(struct weir_policy *p, struct weir_walk *w, struct files *f)
{
	int bad = 0;

	for (; f->n < p->old->n_sources; f->n++) {
		const struct weir_source *from = p->old->sources[f->n];
		struct weir_source *s = weir_arena_alloc(&p->arena, sizeof *s);
		int r;

		if (s) {
			*s = (struct weir_source){ .name = weir_arena_text(&p->arena, from->name, strlen(from->name)),
						   .text = weir_arena_text(&p->arena, from->text, from->len),
						   .len = from->len };
		}
		if (!s || !s->name || !s->text)
			return -ENOMEM;
		f->sources[f->n] = s;
		r = parse(p, w, s, &weir_type_included, &f->docs[f->n]);
		bad = r < 0 ? r : bad;
	}
	return bad;
}

static int include(struct weir_policy *p, struct weir_walk *w, struct files *f)
{
	const struct weir_values *list = &f->docs[0].include;
	const char *const *paths = list->v;
	const struct weir_node *at = !list->node		     ? NULL
				     : list->node->kind == WEIR_LIST ? list->node->child
								     : list->node;
	int bad = 0;

	for (uint32_t i = 0; at && i < list->n; i++, at = at->next) {
		char *pattern, **found = NULL;
		size_t n = 0;
		int r;

		if (!p->dir) {
			weir_node_error(w->diags, at, "an include has no place here: the policy itself is no file");
			return -EINVAL;
		}
		pattern = weir_policy_beside(&p->arena, p->dir, paths[i]);
		if (!pattern)
			return -ENOMEM;
		r = weir_file_list(pattern, &found, &n); /* sorted by name */
		if (r == -ENOENT && strpbrk(paths[i], "*?[")) {
			weir_node_warn(w->diags, at, "no file matches '%s'", paths[i]);
			continue;
		}
		if (r) {
			weir_node_error(w->diags, at, "cannot read '%s': %s", pattern,
					r == -ENOENT ? strerror(ENOENT) : "the folder cannot be read");
			bad = -EINVAL;
			continue;
		}
		for (size_t k = 0; k < n; k++) {
			r = include_one(p, w, f, at, found[k]);
			bad = r < 0 ? r : bad;
		}
		weir_file_list_free(found, n);
	}
	return bad;
}

/* --- rules --- */

static int collect(struct weir_policy *p, struct files *f)
{
	size_t rules = 0, sets = 0;

	for (size_t d = 0; d < f->n; d++) {
		struct weir_p_entry *e = f->docs[d].rules.v;

		sets += f->docs[d].sets.n;
		for (uint32_t i = 0; i < f->docs[d].rules.n; i++)
			rules += e[i].group ? e[i].group->rules.n + 1 : 1;
	}
	p->rules = weir_arena_array(&p->arena, rules, sizeof *p->rules);
	p->sets = weir_arena_array(&p->arena, sets, sizeof *p->sets);
	if (!p->rules || !p->sets)
		return -ENOMEM;
	for (size_t d = 0; d < f->n; d++) {
		struct weir_p_entry *e = f->docs[d].rules.v;
		struct weir_p_set *s = f->docs[d].sets.v;

		for (uint32_t i = 0; i < f->docs[d].sets.n; i++) {
			s[i].number = (uint32_t)p->n_sets;
			p->sets[p->n_sets++] = &s[i];
		}
		for (uint32_t i = 0; i < f->docs[d].rules.n; i++) {
			struct weir_p_group *g = e[i].group;
			struct weir_p_rule *r = g ? g->rules.v : NULL;

			if (!g) {
				p->rules[p->n_rules++] = &e[i].rule;
				continue;
			}
			for (uint32_t k = 0; k < g->rules.n; k++) {
				r[k].group = g;
				p->rules[p->n_rules++] = &r[k];
			}
			if (g->otherwise.node) {
				g->otherwise.group = g;
				p->rules[p->n_rules++] = &g->otherwise;
			}
		}
	}
	return 0;
}

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* "policy.yaml:26" and, for a rule without a name, "rule at policy.yaml:26", with the column where two share a line. */
static int place_rule(struct weir_policy *p, struct weir_p_rule *r, bool twin)
{
	const struct weir_node *n = r->node;
	_cleanup_free_ char *place = NULL, *name = NULL;

	if (asprintf(&place, "%s:%u", base(n->source->name), n->line) < 0)
		return -ENOMEM;
	r->place = weir_arena_text(&p->arena, place, strlen(place));
	if (!r->place)
		return -ENOMEM;
	if (r->name)
		return 0;
	if (asprintf(&name, twin ? "rule at %s:%u" : "rule at %s", place, n->col + 1) < 0)
		return -ENOMEM;
	r->name = weir_arena_text(&p->arena, name, strlen(name));
	return r->name ? 0 : -ENOMEM;
}

static bool same_line(const struct weir_p_rule *a, const struct weir_p_rule *b)
{
	return a->node->source == b->node->source && a->node->line == b->node->line;
}

static int place_rules(struct weir_policy *p)
{
	struct weir_p_rule *fs = p->doc.failsafe.v;
	int err = 0;

	for (size_t i = 0; i < p->n_rules && !err; i++)
		err = place_rule(p, p->rules[i],
				 (i && same_line(p->rules[i], p->rules[i - 1])) ||
					 (i + 1 < p->n_rules && same_line(p->rules[i], p->rules[i + 1])));
	for (uint32_t i = 0; i < p->doc.failsafe.n && !err; i++)
		err = place_rule(p, &fs[i], false);
	return err;
}

static int read_all(struct weir_policy *p, struct weir_source *main, struct weir_diags *diags)
{
	struct weir_walk w = { .arena = &p->arena, .diags = diags };
	struct files f = { .sources = { main }, .n = 1 };
	SHA2_CTX sha;
	int err;

	f.docs = weir_arena_array(&p->arena, INCLUDES_MAX + 1, sizeof *f.docs);
	if (!f.docs)
		return -ENOMEM;
	err = parse(p, &w, main, &weir_type_policy, &f.docs[0]);
	if (err < 0)
		return err;
	err = p->old ? include_same(p, &w, &f) : include(p, &w, &f);
	if (err < 0)
		return err;
	p->doc = f.docs[0];
	p->main = main;
	p->n_sources = f.n;
	p->sources = weir_arena_array(&p->arena, f.n, sizeof *p->sources);
	if (!p->sources)
		return -ENOMEM;
	memcpy(p->sources, f.sources, f.n * sizeof *p->sources);
	SHA256Init(&sha);
	for (size_t i = 0; i < f.n; i++)
		weir_sha256_update(&sha, f.sources[i]->text, f.sources[i]->len);
	SHA256Final(p->digest, &sha);
	err = collect(p, &f);
	if (!err)
		err = place_rules(p);
	for (size_t i = 0; i < p->n_sets && !err; i++)
		err = weir_set_load(p, p->sets[i], diags);
	if (err < 0)
		return err;
	return weir_policy_check(p, diags);
}

static int read_policy(struct weir_policy *p, const char *path, const char *name, const char *text, size_t len,
		       struct weir_diags *diags)
{
	struct weir_source *s;
	int err;

	p->arena.limit = ARENA_MAX;
	p->path = strdup(name);
	if (!p->path)
		return -ENOMEM;
	if (path) {
		err = read_source(p, path, name, NULL, &s, diags);
		if (err < 0)
			return err;
	} else {
		if (len > WEIR_FILE_MAX) {
			weir_diags_add(diags, WEIR_ERROR, name, 0, 0, 1, "larger than 32 MiB");
			return -EFBIG;
		}
		s = weir_arena_alloc(&p->arena, sizeof *s);
		if (!s)
			return -ENOMEM;
		s->name = p->path;
		s->text = weir_arena_text(&p->arena, text, len);
		s->len = len;
		if (!s->text)
			return -ENOMEM;
	}
	err = read_all(p, s, diags);
	if (err == -ENOMEM)
		weir_diags_add(diags, WEIR_ERROR, name, 0, 0, 1, "out of memory");
	return err < 0 && diags->errors ? -EINVAL : err;
}

static int read_path(const char *path, bool bare, const struct weir_list_keep *keep, struct weir_policy **ret, struct weir_diags *diags)
{
	_cleanup_policy_ struct weir_policy *p = calloc(1, sizeof *p);
	_cleanup_free_ char *copy = strdup(path);
	int err;

	if (!p || !copy)
		return -ENOMEM;
	p->bare = bare;
	p->dir = strdup(dirname(copy));
	if (!p->dir)
		return -ENOMEM;
	p->keep = keep;
	err = read_policy(p, path, path, NULL, 0, diags);
	p->keep = NULL;
	if (err < 0)
		return err;
	*ret = TAKE_PTR(p);
	return 0;
}

int weir_policy_read(const char *path, struct weir_policy **ret, struct weir_diags *diags)
{
	return read_path(path, false, NULL, ret, diags);
}

int weir_policy_read_kept(const char *path, const struct weir_list_keep *keep, struct weir_policy **ret, struct weir_diags *diags)
{
	return read_path(path, false, keep, ret, diags);
}

int weir_policy_read_bare(const char *path, struct weir_policy **ret, struct weir_diags *diags)
{
	return read_path(path, true, NULL, ret, diags);
}

int weir_policy_read_text(const char *name, const char *dir, const char *text, size_t len, struct weir_policy **ret,
			  struct weir_diags *diags)
{
	return weir_policy_read_text_kept(name, dir, text, len, NULL, ret, diags);
}

/* `old`, `held`, `keep`: as in struct weir_policy. */
static int read_text(const char *name, const char *dir, const char *text, size_t len, const struct weir_policy *old,
		     const char *const *held, const struct weir_list_keep *keep, struct weir_policy **ret,
		     struct weir_diags *diags)
{
	_cleanup_policy_ struct weir_policy *p = calloc(1, sizeof *p);
	int err;

	if (!p)
		return -ENOMEM;
	p->dir = dir ? strdup(dir) : NULL;
	if (dir && !p->dir)
		return -ENOMEM;
	p->keep = keep;
	p->old = old;
	p->held = held;
	err = read_policy(p, NULL, name, text, len, diags);
	p->keep = NULL;
	p->old = NULL;
	p->held = NULL;
	if (err < 0)
		return err;
	*ret = TAKE_PTR(p);
	return 0;
}

int weir_policy_read_text_kept(const char *name, const char *dir, const char *text, size_t len,
			       const struct weir_list_keep *keep, struct weir_policy **ret, struct weir_diags *diags)
{
	return read_text(name, dir, text, len, NULL, NULL, keep, ret, diags);
}

int weir_policy_again(const struct weir_policy *p, const char *const *held, struct weir_policy **ret,
		      struct weir_diags *diags)
{
	return read_text(p->path, p->dir, p->main->text, p->main->len, p, held, NULL, ret, diags);
}

void weir_policy_free(struct weir_policy *p)
{
	if (!p)
		return;
	weir_arena_free(&p->arena);
	free(p->path);
	free(p->dir);
	free(p);
}

enum weir_mode weir_policy_mode(const struct weir_policy *p)
{
	return p->doc.mode ? p->doc.mode - 1 : WEIR_DETECT;
}

const uint8_t *weir_policy_digest(const struct weir_policy *p)
{
	return p->digest;
}

const char *weir_policy_text(const struct weir_policy *p, size_t *ret_len)
{
	*ret_len = p->main->len;
	return p->main->text;
}

bool weir_policy_alone(const struct weir_policy *p)
{
	return !p->doc.include.node;
}

const uint8_t *weir_policy_lists_digest(const struct weir_policy *p)
{
	return p->lists;
}
