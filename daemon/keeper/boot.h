/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first moments after the machine came up: the operator's way out, and a guard that stands before a policy is read.
 * What is read here is one word each; nothing is parsed.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "daemon/keeper/keeper.h"

/* weir=off is one of the words of /proc/cmdline. */
bool weir_boot_off(void);

/*
 * As early as can be: where the policy that will be in force shuts what it does not name (<state_dir>/boot-guard),
 * raise the guard. No interface passes IP packets then until it is covered; lo does. 1: it stands and stays, whatever
 * becomes of this start; 0: no, or only until this start fails. said: for the operator; "" = nothing.
 */
int weir_boot_guard(struct weir_keeper *k, const char *state_dir, char *said, size_t size);
