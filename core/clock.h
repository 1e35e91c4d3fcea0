/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The time of day, where nobody knows a calendar. The kernel programs have seconds since boot; a small table says what to
 * add to get the local minute of the week, from which second on. It reaches over the next changes to and from summer time,
 * so it goes on to be right when nobody renews it. A clock that is set is noticed by who renews it.
 */
#pragma once
#include "core/types.h"

/* Unrolled, this loop wants more of the stack than five calls in a row leave (6.18: "combined stack size ... Too large"). */
#ifdef __clang__
#define WEIR_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define WEIR_ROLLED
#endif

#define WEIR_CLOCK_STEPS 6     /* now, and the next five changes: more than a year wherever there is summer time */
#define WEIR_WEEK_MINUTES 10080u
#define WEIR_WEEK_S 604800

struct weir_clock_step {
	uint64_t from_s; /* since boot */
	uint64_t add_s;  /* + seconds since boot = local seconds since a Monday, 00:00 */
};

struct weir_clock {
	struct weir_clock_step step[WEIR_CLOCK_STEPS]; /* ascending; the first is from 0 on */
	uint64_t until_s;                              /* since boot: no change is unknown before; then it goes on as it was */
	uint32_t n, pad;                               /* 0: nobody knows the time */
};

/* A time of day on some days of the week. `to` not after `from`: until `to` of the next day. */
struct weir_window {
	uint8_t days; /* bit 0 Monday; 0: none */
	uint8_t pad;
	uint16_t from, to; /* minutes since 00:00; to: up to 1440, not included */
	uint16_t pad1;
};

#define WEIR_WINDOWS_MAX 8
#define WEIR_TIMES_MAX 64 /* different lists of windows in an image */

struct weir_times {
	struct weir_window w[WEIR_WINDOWS_MAX];
};
_Static_assert(sizeof(struct weir_times) == 64, "ABI");

/* The local minute of the week, 0 = Monday 00:00; WEIR_WEEK_MINUTES: unknown. */
WEIR_INLINE uint32_t weir_clock_minute(const struct weir_clock *c, uint64_t boot_s)
{
	uint64_t add = 0;

	if (!c->n)
		return WEIR_WEEK_MINUTES;
	WEIR_ROLLED
	for (uint32_t i = 0; i < WEIR_CLOCK_STEPS; i++)
		if (i < c->n && boot_s >= c->step[i].from_s)
			add = c->step[i].add_s;
	return (uint32_t)((boot_s + add) % WEIR_WEEK_S / 60);
}

/* Is this minute in one of the windows? The programs do not ask: they have a table of all minutes of the week. */
static inline bool weir_times_hold(const struct weir_times *t, uint32_t minute)
{
	uint32_t day = minute / 1440 % 7, m = minute % 1440, before = (day + 6) % 7;

	for (uint32_t i = 0; i < WEIR_WINDOWS_MAX; i++) {
		const struct weir_window *w = &t->w[i];
		bool over = w->to <= w->from;

		if ((w->days >> day & 1) && m >= w->from && (m < w->to || over))
			return true;
		if (over && (w->days >> before & 1) && m < w->to)
			return true;
	}
	return false;
}

static inline bool weir_times_ok(const struct weir_times *t)
{
	for (uint32_t i = 0; i < WEIR_WINDOWS_MAX; i++)
		if (t->w[i].days > 127 || t->w[i].from > 1439 || t->w[i].to > 1440)
			return false;
	return true;
}
