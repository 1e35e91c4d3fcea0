/* SPDX-License-Identifier: Apache-2.0 */
/* Directories that only their owner may enter. Refuses symbolic links and strangers' directories. */
#pragma once
#include <stddef.h>
#include <sys/types.h>

/*
 * Make `path` a directory of ours: created with 0700, its parents with 0755. -ELOOP: a symbolic link,
 * -EPERM: of another user, -ENOTDIR, -EACCES: others may write into it. `why` says it in words.
 */
int weir_dir_prepare(const char *path, char *why, size_t why_size);
/* The same where it may be this user's already. */
int weir_dir_prepare_for(const char *path, uid_t user, char *why, size_t why_size);
