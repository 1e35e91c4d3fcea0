/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files that must be whole after a crash: written beside their place, synced, renamed. Refuses
 * symbolic links, so that nobody can point us elsewhere.
 */
#pragma once
#include <jansson.h>
#include <stddef.h>

#define WEIR_STATE_FILE_MAX (32u << 20) /* a policy file may be so large */

/* Replace <dir>/<name> as a whole, mode 0600. */
int weir_state_replace(const char *dir, const char *name, const void *data, size_t len);

/* weir_file_read() of <dir>/<name>, with its errors; no symbolic link is followed: -ELOOP. */
int weir_state_read(const char *dir, const char *name, size_t max, char **ret, size_t *ret_len);

/*
 * Read a JSON object. -ENOENT: there is none. A damaged file is renamed to <name>.damaged-<unix time>,
 * told in `note`, and -EBADMSG returned: the caller begins empty and nothing is lost silently.
 */
int weir_json_load(const char *dir, const char *name, json_t **ret, char *note, size_t note_size);
/* -EFBIG: more than WEIR_STATE_FILE_MAX, which could not be read again; what is there stays. */
int weir_json_save(const char *dir, const char *name, const json_t *j);
/* Set a file aside whose JSON is well formed and still not ours. */
void weir_file_set_aside(const char *dir, const char *name, const char *what, char *note, size_t note_size);
