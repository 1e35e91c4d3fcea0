/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of the time of day, as words: "mon-fri 08:00-18:00", "sat-sun", "22:00-06:00". */
#include "lib/policy/daytime.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const day_names[] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" };

int weir_day_parse(const char *s)
{
	for (int d = 0; d < 7; d++)
		if (!strncmp(s, day_names[d], 3))
			return d;
	return -1;
}

static int two_digits(const char *s)
{
	return s[0] >= '0' && s[0] <= '9' && s[1] >= '0' && s[1] <= '9' ? (s[0] - '0') * 10 + s[1] - '0' : -1;
}

int weir_clock_parse(const char *s)
{
	int h = two_digits(s), m = h < 0 || s[2] != ':' ? -1 : two_digits(s + 3);

	return m < 0 || m > 59 || h * 60 + m > 1440 ? -1 : h * 60 + m;
}

static int refuse(struct weir_why *why, const char *message, const char *hint)
{
	snprintf(why->message, sizeof why->message, "%s", message);
	snprintf(why->hint, sizeof why->hint, "%s", hint);
	return -EINVAL;
}

static int refuse_days(struct weir_why *why)
{
	return refuse(why, "expected days like mon-fri",
		      "mon, tue, wed, thu, fri, sat or sun, in small letters, then a blank and times; days apart stand in a list");
}

int weir_window_parse(const char *s, struct weir_window *ret, struct weir_why *why)
{
	struct weir_window t = { .days = 127, .to = 1440 };
	int from, to;

	if (*s && !(*s >= '0' && *s <= '9')) {
		int first = weir_day_parse(s), last = first;

		if (first < 0)
			return refuse_days(why);
		s += 3;
		if (*s == '-') {
			last = weir_day_parse(s + 1);
			if (last < 0)
				return refuse_days(why);
			s += 4;
		}
		t.days = (uint8_t)(1 << last);
		for (int d = first; d != last; d = (d + 1) % 7)
			t.days |= (uint8_t)(1 << d);
		if (*s && *s != ' ')
			return refuse_days(why);
		if (!*s++) {
			*ret = t;
			return 0;
		}
	}
	from = weir_clock_parse(s);
	to = from < 0 || s[5] != '-' ? -1 : weir_clock_parse(s + 6);
	if (to < 0 || s[11] || from == 1440)
		return refuse(why, "expected a time like 08:00-18:00", "hours and minutes with two digits each");
	if (from == to)
		return refuse(why, "this time ends when it begins", "write 00:00-24:00 for the whole day");
	t.from = (uint16_t)from;
	t.to = (uint16_t)to;
	*ret = t;
	return 0;
}

const char *weir_window_text(const struct weir_window *w, char *buf, size_t size)
{
	unsigned first = 0, last, n = (unsigned)__builtin_popcount(w->days & 127);
	char days[16] = "";

	while (first < 7 && !(w->days >> first & 1 && !(w->days >> (first + 6) % 7 & 1)))
		first++;
	last = (first + n + 6) % 7;
	if (first < 7)
		snprintf(days, sizeof days, "%s%s%s", day_names[first], n > 1 ? "-" : "", n > 1 ? day_names[last] : "");
	if (*days && !w->from && w->to == 1440)
		snprintf(buf, size, "%s", days);
	else
		snprintf(buf, size, "%s%s%02u:%02u-%02u:%02u", days, *days ? " " : "", w->from / 60, w->from % 60, w->to / 60,
			 w->to % 60);
	return buf;
}

const char *weir_minute_text(uint32_t minute, char *buf, size_t size)
{
	snprintf(buf, size, "%s %02u:%02u", day_names[minute / 1440 % 7], minute / 60 % 24, minute % 60);
	return buf;
}

uint32_t weir_minute_of(const struct tm *tm)
{
	return (uint32_t)((tm->tm_wday + 6) % 7 * 1440 + tm->tm_hour * 60 + tm->tm_min);
}

bool weir_times_within(const struct weir_times *a, const struct weir_times *b)
{
	/* a stretch that a has and b has not begins where a window of a begins, or where one of b ends */
	for (uint32_t i = 0; i < 2 * WEIR_WINDOWS_MAX; i++) {
		uint32_t at = i % 2 ? b->w[i / 2].to % 1440u : a->w[i / 2].from;

		for (uint32_t m = at; m < WEIR_WEEK_MINUTES; m += 1440)
			if (weir_times_hold(a, m) && !weir_times_hold(b, m))
				return false;
	}
	return true;
}
