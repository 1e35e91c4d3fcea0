/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit.log: who changed what, when, with what result. For people: one record, one line, "time actor action
 * details result". 0600, only ever appended to, opened anew when it was rotated away. A record that could
 * not be written is the caller's to report: the failure comes back, it is never swallowed.
 */
#pragma once
#include <stddef.h>

struct weir_audit;

/*
 * Opens or creates <log_dir>/audit.log. Refuses what is not a regular file of our own (symlinks, fifos). A disk that
 * is full, read-only or broken is no refusal: then each record fails until it can be written again.
 */
int weir_audit_open(const char *log_dir, struct weir_audit **ret);
void weir_audit_free(struct weir_audit *a);

/* Is there room for a few more records? 0, or why not; where nobody can tell: 0. */
int weir_audit_room(struct weir_audit *a);

/*
 * actor: "root (uid 0, pid 812)"; action: "apply"; detail: "generation 8 from policy.yaml"; result: "ok" or what went
 * wrong. Each is escaped. 0, or negative errno: nothing (or not all) was written.
 */
int weir_audit_write(struct weir_audit *a, const char *actor, const char *action, const char *detail,
		     const char *result);
