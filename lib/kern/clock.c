/* SPDX-License-Identifier: Apache-2.0 */
/* The table by which the programs know the local time; see core/clock.h. */
#include "lib/kern/clock.h"

#include <time.h>

#include "core/event.h"
#include "lib/kern/kern.h"

#define AHEAD_S (400 * 86400)
#define LOOK_S 3600 /* no place changes its clock twice in an hour */

static int64_t offset_at(time_t t)
{
	struct tm tm;

	return localtime_r(&t, &tm) ? tm.tm_gmtoff : 0;
}

/* The first second of (low, high] with another offset than `old`. */
static time_t change_between(time_t low, time_t high, int64_t old)
{
	while (high - low > 1) {
		time_t mid = low + (high - low) / 2;

		if (offset_at(mid) == old)
			low = mid;
		else
			high = mid;
	}
	return high;
}

/* 1970-01-01 was a Thursday. Kept in [0, a week), so that the sum is never negative. */
static uint64_t add_of(int64_t real_minus_boot, int64_t offset)
{
	int64_t add = (real_minus_boot + offset + 3 * 86400) % WEIR_WEEK_S;

	return (uint64_t)(add < 0 ? add + WEIR_WEEK_S : add);
}

void weir_clock_make(int64_t now, uint64_t boot_s, struct weir_clock *ret)
{
	int64_t diff = now - (int64_t)boot_s, offset;
	struct weir_clock c = { .n = 1 };
	time_t at = (time_t)now, end = at + AHEAD_S;

	tzset(); /* the zone of the system may be another by now */
	offset = offset_at(at);
	c.step[0].add_s = add_of(diff, offset);
	while (at < end && c.n < WEIR_CLOCK_STEPS) {
		int64_t next = offset_at(at + LOOK_S);

		if (next != offset) {
			time_t when = change_between(at, at + LOOK_S, offset);

			c.step[c.n++] = (struct weir_clock_step){ (uint64_t)(when - diff), add_of(diff, next) };
			offset = next;
		}
		at += LOOK_S;
	}
	c.until_s = (uint64_t)(at - diff);
	*ret = c;
}

void weir_clock_told(const struct weir_control *c, uint64_t boot_s, struct weir_kern_clock *ret)
{
	const struct weir_clock *k = &c->clock[c->clock_at & 1];

	*ret = (struct weir_kern_clock){ .used = c->clock_used, .minute = weir_clock_minute(k, boot_s) };
	ret->ahead_s = k->until_s > boot_s ? k->until_s - boot_s : 0;
}
