/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line for people, from the JSON object of an event: what a client got over a socket is all it needs.
 * Every string in it has been escaped when the object was made; a control byte that another party put in becomes
 * '?'.
 */
#include <string.h>
#include <time.h>

#include "lib/event/event.h"

#define RED "\033[31m"
#define YELLOW "\033[33m"
#define DIM "\033[2m"
#define RESET "\033[0m"

/* A member as text, fit for a terminal; "" when it is absent. */
static const char *text(const json_t *j, const char *key, char *buf, size_t size)
{
	const char *s = json_string_value(json_object_get(j, key));
	size_t o = 0;

	*buf = 0;
	for (; s && *s && o + 1 < size; s++) {
		/* backslashes are ours already; whatever a terminal obeys cannot come from weir */
		if ((uint8_t)*s < 0x20 || *s == 0x7f)
			buf[o++] = '?';
		else
			buf[o++] = *s;
	}
	buf[o] = 0;
	return buf;
}

static void end_text(const json_t *event, const char *key, char *buf, size_t size)
{
	const json_t *end = json_object_get(event, key), *port = json_object_get(end, "port");
	char addr[64];

	text(end, "address", addr, sizeof addr);
	if (!port)
		snprintf(buf, size, "%s", addr);
	else
		snprintf(buf, size, strchr(addr, ':') ? "[%s]:%d" : "%s:%d", addr, (int)json_integer_value(port));
}

/* Local time of day with ms, from the RFC 3339 text. */
static void clock_text(const json_t *event, char buf[static 16])
{
	const char *s = json_string_value(json_object_get(event, "time"));
	struct tm tm = { 0 }, local;
	int ms = 0;
	time_t t;

	*buf = 0;
	if (!s || sscanf(s, "%d-%d-%dT%d:%d:%d.%3d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
			 &tm.tm_sec, &ms) < 6)
		return;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	t = timegm(&tm);
	localtime_r(&t, &local);
	snprintf(buf, 16, "%02u:%02u:%02u.%03u", (unsigned)local.tm_hour % 100, (unsigned)local.tm_min % 100,
		 (unsigned)local.tm_sec % 100, (unsigned)ms % 1000);
}

static void verdict_text(const json_t *event, char buf[static 16], const char **ret_color)
{
	char verdict[16], would[16];

	text(event, "verdict", verdict, sizeof verdict);
	text(event, "would", would, sizeof would);
	*ret_color = strcmp(verdict, "pass") ? RED : *would ? YELLOW : "";
	if (*would && !strcmp(verdict, "pass")) /* what was stopped was stopped, whatever a staged rule would have done */
		snprintf(buf, 16, "would %.9s", would);
	else
		snprintf(buf, 16, "%s", verdict);
}

static void proto_text(const json_t *event, char buf[static 16])
{
	const json_t *icmp = json_object_get(event, "icmp");
	char proto[10];

	if (!*text(event, "protocol", proto, sizeof proto))
		text(event, "ethertype", proto, sizeof proto);
	if (icmp && strlen(proto) <= 6)
		snprintf(buf, 16, "%s %u/%u", proto, (unsigned)json_integer_value(json_object_get(icmp, "type")) & 255,
			 (unsigned)json_integer_value(json_object_get(icmp, "code")) & 255);
	else
		snprintf(buf, 16, "%s", proto);
}

/* By what: the rule with its place, else the reason. */
static void by_text(const json_t *event, char *buf, size_t size)
{
	char rule[128], place[128], reason[32];
	const char *what;

	text(event, "rule", rule, sizeof rule);
	text(event, "place", place, sizeof place);
	text(event, "reason", reason, sizeof reason);
	what = *rule && !strcmp(reason, "limit") ? "limit " : ""; /* it has the name of its rule, which lets in */
	if (!*rule)
		strcpy(rule, reason);
	if (*place && strcmp(place, rule))
		snprintf(buf, size, "%s%s (%s)", what, rule, place);
	else
		snprintf(buf, size, "%s%s", what, rule);
}

static void who_put(FILE *out, const json_t *event)
{
	char program[256], unit[256], name[512];

	text(event, "name", name, sizeof name);
	text(event, "program", program, sizeof program);
	text(event, "unit", unit, sizeof unit);
	if (*name)
		fprintf(out, "  %s", name);
	if (*program)
		fprintf(out, "  ~%s", program);
	if (*program && *unit)
		fprintf(out, " (%s)", unit);
}

static void iface_put(FILE *out, const json_t *event)
{
	char in[64], outif[64];

	text(event, "in_interface", in, sizeof in);
	text(event, "out_interface", outif, sizeof outif);
	if (*in && *outif && strcmp(in, outif))
		fprintf(out, "  %s > %s", in, outif);
	else if (*in || *outif)
		fprintf(out, "  %s", *in ? in : outif);
}

void weir_event_line_header(FILE *out, bool color)
{
	fprintf(out, "%s%-12s  %-12s  %-8s  %-9s  %-43s  %s%s\n", color ? DIM : "", "TIME", "VERDICT", "WAY", "PROTOCOL",
		"FROM -> TO", "BY", color ? RESET : "");
}

void weir_event_line(FILE *out, const json_t *event, bool color)
{
	char when[16], verdict[16], way[16], proto[16], src[80], dst[80], ends[168], by[300], fix[256], log[160];
	json_int_t suppressed = json_integer_value(json_object_get(event, "suppressed"));
	const char *on = "";

	clock_text(event, when);
	if (*text(event, "message", by, sizeof by)) { /* of weir itself: no packet */
		fprintf(out, "%-12s  %s%s%s\n", when, color ? YELLOW : "", by, color ? RESET : "");
		return;
	}
	verdict_text(event, verdict, &on);
	text(event, "direction", way, sizeof way);
	proto_text(event, proto);
	end_text(event, "src", src, sizeof src);
	end_text(event, "dst", dst, sizeof dst);
	snprintf(ends, sizeof ends, *src || *dst ? "%s -> %s" : "%s%s", src, dst);
	by_text(event, by, sizeof by);
	fprintf(out, "%-12s  %s%-12s%s  %-8s  %-9s  %-43s  %s", when, color ? on : "", verdict, color && *on ? RESET : "",
		way, proto, ends, by);
	iface_put(out, event);
	who_put(out, event);
	/* a rule with action log only looks: the one that decided stands in its column */
	if (*text(event, "log", log, sizeof log) && strcmp(log, json_string_value(json_object_get(event, "rule")) ?: ""))
		fprintf(out, "  logged by %s", log);
	if (*text(event, "would_by", log, sizeof log))
		fprintf(out, "  (staged: %s by %s)", json_string_value(json_object_get(event, "would")) ?: "the same", log);
	if (suppressed > 0)
		fprintf(out, "  (%lld more like it)", (long long)suppressed);
	fputc('\n', out);
	if (*text(event, "fix", fix, sizeof fix))
		fprintf(out, "%s%14sfix: %s%s\n", color ? DIM : "", "", fix, color ? RESET : "");
}
