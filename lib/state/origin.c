/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/state/file.h"
#include "lib/state/origin.h"
#include "lib/util/cleanup.h"

#define ORIGIN_FILE "origin.json"
#define GUARD_FILE "boot-guard"

static const char *const names[] = { "builtin", "file", "saved", "other" };
static const char *const guards[] = { "none", "closed", "open" };

static const char *const no_policy_names[] = {
	[WEIR_NO_POLICY_LAST_GOOD] = "last_good",
	[WEIR_NO_POLICY_MANAGEMENT] = "management",
	[WEIR_NO_POLICY_OPEN] = "open",
};

const char *weir_source_name(enum weir_policy_source s)
{
	return names[s];
}

void weir_hex(const uint8_t *bytes, size_t n, char *ret)
{
	for (size_t i = 0; i < n; i++)
		sprintf(ret + 2 * i, "%02x", bytes[i]);
	ret[2 * n] = 0;
}

static int unhex(const char *text, uint8_t *ret, size_t n)
{
	if (strlen(text) != 2 * n || strspn(text, "0123456789abcdef") != 2 * n)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		sscanf(text + 2 * i, "%2hhx", &ret[i]);
	return 0;
}

static int from_json(const json_t *j, struct weir_origin *o)
{
	const char *source = NULL, *path = "", *digest = NULL, *mode = NULL, *no_policy = no_policy_names[0],
		   *guard = guards[0];
	json_int_t generation = 0;
	int enforced = 0;

	if (json_unpack((json_t *)j, "{s:s, s?s, s:I, s:s, s?s, s?b, s?s, s?s}", "boot", &source, "path", &path, "generation",
			&generation, "digest", &digest, "mode", &mode, "enforced", &enforced, "no_policy", &no_policy,
			"guard", &guard))
		return -EBADMSG;
	while (strcmp(no_policy_names[o->no_policy], no_policy)) {
		if (o->no_policy++ == WEIR_NO_POLICY_OPEN)
			return -EBADMSG;
	}
	o->enforced = enforced;
	if (generation < 0 || generation > UINT32_MAX || strlen(path) >= sizeof o->path ||
	    unhex(digest, o->digest, sizeof o->digest))
		return -EBADMSG;
	while (strcmp(names[o->boot], source)) {
		if (o->boot == WEIR_SOURCE_SAVED)
			return -EBADMSG;
		o->boot++;
	}
	while (strcmp(guards[o->guard], guard)) {
		if (o->guard++ == WEIR_BOOT_GUARD_OPEN)
			return -EBADMSG;
	}
	if (mode && strcmp(mode, "detect") && strcmp(mode, "prevent"))
		return -EBADMSG;
	o->has_mode = mode;
	o->mode = mode && !strcmp(mode, "prevent") ? WEIR_PREVENT : WEIR_DETECT;
	o->generation = (uint32_t)generation;
	strcpy(o->path, path);
	return 0;
}

int weir_origin_load(const char *state_dir, struct weir_origin *ret, char *note, size_t note_size)
{
	struct weir_origin o = { 0 };
	json_t *j = NULL;
	int r = weir_json_load(state_dir, ORIGIN_FILE, &j, note, note_size);

	if (r != -EBADMSG)
		note[0] = 0;
	if (!r) {
		r = from_json(j, &o);
		if (r) {
			memset(&o, 0, sizeof o);
			weir_file_set_aside(state_dir, ORIGIN_FILE, "not what weir writes", note, note_size);
		}
		json_decref(j);
	}
	if (r && r != -ENOENT && r != -EBADMSG)
		return r;
	*ret = o;
	return 0;
}

/* Is it this word already? What did not change is not written again. */
static bool guard_is(const char *state_dir, const char *word)
{
	_cleanup_free_ char *have = NULL;
	size_t len;

	return !weir_state_read(state_dir, GUARD_FILE, 16, &have, &len) && len == strlen(word) && !memcmp(have, word, len);
}

static int guard_save(const char *state_dir, enum weir_boot_guard guard)
{
	char path[PATH_MAX];

	if (guard != WEIR_BOOT_GUARD_NONE)
		return guard_is(state_dir, guards[guard]) ?
			       0 :
			       weir_state_replace(state_dir, GUARD_FILE, guards[guard], strlen(guards[guard]));
	if (snprintf(path, sizeof path, "%s/" GUARD_FILE, state_dir) >= (int)sizeof path)
		return -ENAMETOOLONG;
	return unlink(path) && errno != ENOENT ? -errno : 0;
}

int weir_origin_save(const char *state_dir, const struct weir_origin *o)
{
	enum weir_boot_guard guard = o->has_mode && o->mode == WEIR_DETECT ? WEIR_BOOT_GUARD_NONE : o->guard;
	char digest[65];
	json_t *j;
	int r;

	weir_hex(o->digest, 32, digest);
	j = json_pack("{s:s, s:s, s:I, s:s, s:b, s:s}", "boot", names[o->boot], "path", o->path, "generation",
		      (json_int_t)o->generation, "digest", digest, "enforced", (int)o->enforced, "no_policy",
		      no_policy_names[o->no_policy]);
	if (j && o->has_mode)
		json_object_set_new(j, "mode", json_string(o->mode == WEIR_PREVENT ? "prevent" : "detect"));
	if (j)
		json_object_set_new(j, "guard", json_string(guards[o->guard]));
	r = j ? 0 : -ENOMEM;
	if (!r && guard != WEIR_BOOT_GUARD_NONE) /* should it end between the two, the guard is the one to be there */
		r = guard_save(state_dir, guard);
	if (!r)
		r = weir_json_save(state_dir, ORIGIN_FILE, j);
	if (!r && guard == WEIR_BOOT_GUARD_NONE)
		r = guard_save(state_dir, guard);
	json_decref(j);
	return r;
}
