/* SPDX-License-Identifier: Apache-2.0 */
/* What was asked for and is not in force: each a sentence in the list `degraded` of status, which then ends with 3. */
#pragma once
#include "daemon/worker/worker.h"

void weir_degrade(json_t *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* All but the interfaces. Returns what the self-test and the canary frames found. A new reference. */
json_t *weir_honest(struct weir_worker *w, const struct weir_counter *stats, json_t *degraded);
