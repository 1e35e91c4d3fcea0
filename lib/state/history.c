/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/state/file.h"
#include "lib/state/history.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

#define HISTORY_FILE "history.json"
#define TEXT_MAX_PATH 40

static const char *const end_names[] = {
	[WEIR_GEN_IN_FORCE] = "in force",
	[WEIR_GEN_WAITING] = "waits for its confirmation",
	[WEIR_GEN_SUSPENDED] = "comes back unless confirmed",
	[WEIR_GEN_REPLACED] = "replaced",
	[WEIR_GEN_ROLLED_BACK] = "rolled back",
	[WEIR_GEN_WENT_BACK] = "went back by itself",
	[WEIR_GEN_NEVER_CONFIRMED] = "never confirmed",
};
#define N_ENDS (sizeof end_names / sizeof *end_names)

const char *weir_gen_end_name(enum weir_gen_end e)
{
	return end_names[e];
}

static bool lives(const struct weir_gen *g)
{
	return g->end == WEIR_GEN_IN_FORCE || g->end == WEIR_GEN_WAITING || g->end == WEIR_GEN_SUSPENDED;
}

static const char *text_name(uint32_t generation, char buf[static TEXT_MAX_PATH])
{
	snprintf(buf, TEXT_MAX_PATH, "generation-%u.yaml", generation);
	return buf;
}

void weir_history_clear(struct weir_history *h)
{
	free(h->v);
	memset(h, 0, sizeof *h);
}

static int unhex(const char *text, uint8_t ret[static 32])
{
	if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
		return -EBADMSG;
	for (size_t i = 0; i < 32; i++)
		sscanf(text + 2 * i, "%2hhx", &ret[i]);
	return 0;
}

static bool is_mode(const char *s)
{
	return !strcmp(s, "detect") || !strcmp(s, "prevent");
}

static int gen_from_json(const json_t *j, struct weir_gen *g)
{
	const char *via = "", *path = "", *source = "", *digest = "", *lists = "", *mode = "", *ceiling = NULL, *end = "";
	json_int_t generation = 0, time = 0, ended = 0, uid = 0, pid = 0, rules = 0;
	int text = 0, confirmed = 0, s = 0, e = 0;

	if (json_unpack((json_t *)j, "{s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s?s, s:I, s:s, s:b, s:b}",
			"generation", &generation, "time", &time, "ended", &ended, "uid", &uid, "pid", &pid, "via",
			&via, "path", &path, "source", &source, "digest", &digest, "lists", &lists, "mode", &mode,
			"ceiling", &ceiling, "rules", &rules, "end", &end, "confirmed", &confirmed,
			"text", &text))
		return -EBADMSG;
	while (s <= WEIR_SOURCE_OTHER && strcmp(weir_source_name((enum weir_policy_source)s), source))
		s++;
	while (e < (int)N_ENDS && strcmp(end_names[e], end))
		e++;
	if (s > WEIR_SOURCE_OTHER || e == (int)N_ENDS || generation < 1 || generation > UINT32_MAX || time < 0 ||
	    ended < 0 || !is_mode(mode) || (ceiling && !is_mode(ceiling)) || strlen(path) >= sizeof g->path ||
	    unhex(digest, g->digest) || unhex(lists, g->lists))
		return -EBADMSG;
	g->generation = (uint32_t)generation;
	g->time = (uint64_t)time;
	g->ended = (uint64_t)ended;
	g->uid = (uint32_t)uid;
	g->pid = (uint32_t)pid;
	snprintf(g->via, sizeof g->via, "%s", via);
	strcpy(g->path, path);
	g->source = (enum weir_policy_source)s;
	g->mode = strcmp(mode, "prevent") ? WEIR_DETECT : WEIR_PREVENT;
	g->has_ceiling = ceiling;
	g->ceiling = ceiling && !strcmp(ceiling, "prevent") ? WEIR_PREVENT : WEIR_DETECT;
	g->rules = (uint32_t)rules;
	g->end = (enum weir_gen_end)e;
	g->confirmed = confirmed;
	g->text = text;
	return 0;
}

static int from_json(const json_t *j, struct weir_history *h)
{
	const json_t *list = json_object_get(j, "generations"), *one;
	json_int_t last = json_integer_value(json_object_get(j, "last"));
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > WEIR_HISTORY_MAX || last < 0 || last > UINT32_MAX)
		return -EBADMSG;
	h->last = (uint32_t)last;
	h->v = calloc(json_array_size(list) + 1, sizeof *h->v);
	if (!h->v)
		return -ENOMEM;
	json_array_foreach (list, i, one) {
		if (gen_from_json(one, &h->v[i]) || h->v[i].generation > h->last ||
		    (i && h->v[i].generation <= h->v[i - 1].generation))
			return -EBADMSG;
		h->n++;
	}
	return 0;
}

int weir_history_load(const char *state_dir, struct weir_history *ret, char *note, size_t note_size)
{
	struct weir_history h = { 0 };
	json_t *j = NULL;
	int r = weir_json_load(state_dir, HISTORY_FILE, &j, note, note_size);

	if (r != -EBADMSG)
		note[0] = 0;
	if (!r) {
		r = from_json(j, &h);
		if (r)
			weir_history_clear(&h);
		if (r == -EBADMSG)
			weir_file_set_aside(state_dir, HISTORY_FILE, "not what weir writes", note, note_size);
		json_decref(j);
	}
	if (r && r != -ENOENT && r != -EBADMSG)
		return r;
	*ret = h;
	return 0;
}

/* Names of programs and files may be any bytes, JSON takes text only. */
static json_t *text_json(const char *s)
{
	char out[4 * PATH_MAX + 1];
	json_t *j = json_string(s);

	return j ? j : json_string(weir_escape(s, strlen(s), out, sizeof out));
}

static json_t *gen_json(const struct weir_gen *g)
{
	char digest[65], lists[65];
	json_t *j;

	weir_hex(g->digest, 32, digest);
	weir_hex(g->lists, 32, lists);
	j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:s, s:s, s:s, s:s, s:I, s:s, s:b, s:b}", "generation",
		      (json_int_t)g->generation, "time", (json_int_t)g->time, "ended", (json_int_t)g->ended, "uid",
		      (json_int_t)g->uid, "pid", (json_int_t)g->pid, "via", text_json(g->via), "path",
		      text_json(g->path), "source", weir_source_name(g->source), "digest", digest, "lists", lists, "mode",
		      g->mode == WEIR_PREVENT ? "prevent" : "detect", "rules", (json_int_t)g->rules, "end",
		      end_names[g->end], "confirmed", (int)g->confirmed, "text", (int)g->text);
	if (j && g->has_ceiling)
		json_object_set_new(j, "ceiling", json_string(g->ceiling == WEIR_PREVENT ? "prevent" : "detect"));
	return j;
}

int weir_history_save(const char *state_dir, const struct weir_history *h)
{
	json_t *list = json_array(), *j;
	int r;

	for (size_t i = 0; i < h->n; i++)
		json_array_append_new(list, gen_json(&h->v[i]));
	r = json_array_size(list) == h->n ? 0 : -ENOMEM;
	j = json_pack("{s:I, s:o}", "last", (json_int_t)h->last, "generations", list);
	if (!r)
		r = j ? weir_json_save(state_dir, HISTORY_FILE, j) : -ENOMEM;
	json_decref(j);
	return r;
}

static void text_forget(const char *state_dir, struct weir_gen *g)
{
	char name[TEXT_MAX_PATH], path[PATH_MAX];

	if (!g->text)
		return;
	snprintf(path, sizeof path, "%s/%s", state_dir, text_name(g->generation, name));
	unlink(path);
	g->text = false;
}

static void prune(const char *state_dir, struct weir_history *h)
{
	size_t texts = 0;

	for (size_t i = h->n; i-- > 0;) {
		if (h->v[i].text && ++texts > WEIR_HISTORY_TEXTS && !lives(&h->v[i]))
			text_forget(state_dir, &h->v[i]);
	}
	for (size_t i = 0; i < h->n && h->n > WEIR_HISTORY_MAX; i++) {
		if (lives(&h->v[i]))
			continue;
		text_forget(state_dir, &h->v[i]);
		memmove(&h->v[i], &h->v[i + 1], (h->n - i - 1) * sizeof *h->v);
		h->n--;
		i--;
	}
}

int weir_history_add(const char *state_dir, struct weir_history *h, const struct weir_gen *g, const char *text,
		     size_t len)
{
	char name[TEXT_MAX_PATH];
	struct weir_gen *v = realloc(h->v, (h->n + 1) * sizeof *v);
	uint32_t last = h->last;
	int r;

	if (!v)
		return -ENOMEM;
	h->v = v;
	v[h->n] = *g;
	r = text ? weir_state_replace(state_dir, text_name(g->generation, name), text, len) : 0;
	if (r)
		return r;
	v[h->n++].text = text;
	if (g->generation > h->last)
		h->last = g->generation;
	prune(state_dir, h);
	r = weir_history_save(state_dir, h);
	if (r)
		weir_history_drop(state_dir, h, last);
	return r;
}

void weir_history_drop(const char *state_dir, struct weir_history *h, uint32_t last)
{
	if (!h->n)
		return;
	text_forget(state_dir, &h->v[--h->n]);
	h->last = last;
	weir_history_save(state_dir, h);
}

struct weir_gen *weir_history_find(const struct weir_history *h, uint32_t generation)
{
	for (size_t i = 0; i < h->n; i++) {
		if (h->v[i].generation == generation)
			return &h->v[i];
	}
	return NULL;
}

void weir_history_end(struct weir_gen *g, enum weir_gen_end end, uint64_t now)
{
	if (!g)
		return;
	g->end = end;
	g->ended = lives(g) ? 0 : now;
}

struct weir_gen *weir_history_previous(const struct weir_history *h, uint32_t generation)
{
	struct weir_gen *best = NULL;

	/* of two that ended in the same second the newer one */
	for (size_t i = 0; i < h->n; i++) {
		struct weir_gen *g = &h->v[i];

		if (g->generation == generation || !g->confirmed || lives(g))
			continue;
		if (!best || g->ended >= best->ended)
			best = g;
	}
	return best;
}

int weir_history_text(const char *state_dir, const struct weir_gen *g, char **ret, size_t *ret_len)
{
	char name[TEXT_MAX_PATH];

	return g->text ? weir_state_read(state_dir, text_name(g->generation, name), WEIR_STATE_FILE_MAX, ret, ret_len) :
			 -ENOENT;
}
