/* SPDX-License-Identifier: Apache-2.0 */
/* Lines on stderr. Paths and interfaces have names from outside: a terminal obeys none of them. */
#pragma once

void weir_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "weir: error: what: why"; why may be NULL. Returns 1. */
int weir_fail(const char *what, const char *why);
