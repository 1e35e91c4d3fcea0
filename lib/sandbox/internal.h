/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "lib/sandbox/sandbox.h"

/* Note what is missing; the first one is kept. */
void weir_sandbox_lacks(struct weir_sandbox *s, const char *what);
