/* SPDX-License-Identifier: Apache-2.0 */
/* The time of day in the policy and on screens; what it means stands in core/clock.h. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "core/clock.h"
#include "lib/policy/value.h"

/* "mon-fri 08:00-18:00", strictly. -EINVAL: *why is filled. */
int weir_window_parse(const char *s, struct weir_window *ret, struct weir_why *why);
/* The same back, as it is read; into buf, which it returns. */
const char *weir_window_text(const struct weir_window *w, char *buf, size_t size);

/* What s begins with: "mon" is 0; "08:30" is 510, up to "24:00". -1: with none. */
int weir_day_parse(const char *s);
int weir_clock_parse(const char *s);

/* "sat 22:30", of a minute of the week. */
const char *weir_minute_text(uint32_t minute, char *buf, size_t size);
uint32_t weir_minute_of(const struct tm *tm);

/* Is each minute of a one of b? */
bool weir_times_within(const struct weir_times *a, const struct weir_times *b);
