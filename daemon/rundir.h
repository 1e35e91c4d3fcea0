/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime directory: one daemon each, found there by every other command. Its lock is held for the
 * daemon's life; the kernel lets go of it however the daemon ends.
 */
#pragma once
#include <stddef.h>
#include <sys/types.h>

/*
 * Prepare and lock. Returns the fd that holds the lock, or negative errno with the reason in why.
 * -EBUSY: another daemon runs there.
 */
int weir_rundir_open(const char *path, char *why, size_t why_size);
/* 0: nobody runs there; else his pid; -EACCES: may not look. */
pid_t weir_rundir_owner(const char *path);
/* Remove what a daemon put there, and the directory when it made that, and nothing else is in it. Returns how many things went. */
int weir_rundir_clear(const char *path);
