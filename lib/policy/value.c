/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/policy/spec.h"

const struct weir_proto_row weir_proto_rows[] = {
	{ "tcp", 6 },	     { "udp", 17 },	  { "icmp", 1 },   { "icmpv6", 58 }, { "sctp", 132 },
	{ "udplite", 136 },  { "igmp", 2 },	  { "ipip", 4 },   { "ipv6", 41 },   { "gre", 47 },
	{ "esp", 50 },	     { "ah", 51 },	  { "ospf", 89 },  { "pim", 103 },   { "vrrp", 112 },
	{ "l2tp", 115 },     { "dccp", 33 },	  { "eigrp", 88 }, { "rsvp", 46 },   { "ipcomp", 108 },
	{ "ipv6-icmp", 58 }, { "udp-lite", 136 }, { NULL, 0 },
};

const struct weir_icmp_row weir_icmp_rows[] = {
	{ "echo-request", 8, -1, 128, -1 },
	{ "echo-reply", 0, -1, 129, -1 },
	{ "destination-unreachable", 3, -1, 1, -1 },
	{ "net-unreachable", 3, 0, -1, -1 },
	{ "host-unreachable", 3, 1, -1, -1 },
	{ "protocol-unreachable", 3, 2, -1, -1 },
	{ "port-unreachable", 3, 3, 1, 4 },
	{ "fragmentation-needed", 3, 4, -1, -1 },
	{ "admin-prohibited", 3, 13, 1, 1 },
	{ "no-route", -1, -1, 1, 0 },
	{ "address-unreachable", -1, -1, 1, 3 },
	{ "packet-too-big", -1, -1, 2, -1 },
	{ "time-exceeded", 11, -1, 3, -1 },
	{ "parameter-problem", 12, -1, 4, -1 },
	{ "source-quench", 4, -1, -1, -1 },
	{ "redirect", 5, -1, 137, -1 },
	{ "router-advertisement", 9, -1, 134, -1 },
	{ "router-solicitation", 10, -1, 133, -1 },
	{ "timestamp-request", 13, -1, -1, -1 },
	{ "timestamp-reply", 14, -1, -1, -1 },
	{ "address-mask-request", 17, -1, -1, -1 },
	{ "address-mask-reply", 18, -1, -1, -1 },
	{ "neighbor-solicitation", -1, -1, 135, -1 },
	{ "neighbor-advertisement", -1, -1, 136, -1 },
	{ "mld-query", -1, -1, 130, -1 },
	{ "mld-report", -1, -1, 131, -1 },
	{ "mld-done", -1, -1, 132, -1 },
	{ "mld2-report", -1, -1, 143, -1 },
	{ NULL, 0, 0, 0, 0 },
};

static int refuse(struct weir_why *why, const char *hint, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int refuse(struct weir_why *why, const char *hint, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->message, sizeof why->message, fmt, ap);
	va_end(ap);
	snprintf(why->hint, sizeof why->hint, "%s", hint ? hint : "");
	return -EINVAL;
}

void weir_u128_bytes(weir_u128 a, uint8_t ret[static 16])
{
	for (int i = 15; i >= 0; i--, a >>= 8)
		ret[i] = (uint8_t)a;
}

weir_u128 weir_u128_from(const uint8_t a[static 16])
{
	weir_u128 r = 0;

	for (int i = 0; i < 16; i++)
		r = r << 8 | a[i];
	return r;
}

/* Decimal digits only, no sign, no leading zero: in "010" one program reads 8 and the other 10. */
int weir_number_parse(const char *s, uint32_t min, uint32_t max, uint32_t *ret, struct weir_why *why)
{
	uint64_t v = 0;
	size_t n = strspn(s, "0123456789");

	if (!n || s[n])
		return refuse(why, NULL, "'%.40s' is not a number", s);
	if (s[0] == '0' && n > 1)
		return refuse(why, "write it without the zero: other programs read it as octal",
			      "'%.40s' begins with a zero", s);
	for (size_t i = 0; i < n && v <= UINT32_MAX; i++)
		v = v * 10 + (uint64_t)(s[i] - '0');
	if (v < min || v > max)
		return refuse(why, NULL, "%.20s is not between %u and %u", s, min, max);
	*ret = (uint32_t)v;
	return 0;
}

static int parse_v4(const char *s, weir_u128 *ret, struct weir_why *why)
{
	uint32_t a = 0, octet;
	char part[4];

	for (int i = 0; i < 4; i++) {
		size_t n = strspn(s, "0123456789");

		if (n > 1 && *s == '0')
			return refuse(why, "write 10, not 010: other programs read it as octal",
				      "an IPv4 address with a leading zero");
		if (!n || n > 3 || s[n] != (i < 3 ? '.' : 0))
			return refuse(why, NULL, "not an IPv4 address");
		memcpy(part, s, n);
		part[n] = 0;
		octet = (uint32_t)atoi(part);
		if (octet > 255)
			return refuse(why, NULL, "%u in an IPv4 address: a part goes up to 255", octet);
		a = a << 8 | octet;
		s += n + 1;
	}
	*ret = WEIR_V4_LOW | a;
	return 0;
}

int weir_addr_parse(const char *s, weir_u128 *ret, struct weir_why *why)
{
	uint8_t b[16];
	char v4[INET_ADDRSTRLEN];
	weir_u128 a;

	if (!strchr(s, ':')) {
		struct weir_why inner;

		if (!*s)
			return refuse(why, NULL, "an address is missing");
		if (parse_v4(s, ret, &inner) < 0)
			return refuse(why, inner.hint, "bad address '%.60s': %.80s", s, inner.message);
		return 0;
	}
	if (strchr(s, '%'))
		return refuse(why, "name the interface with 'interface'",
			      "bad address '%.60s': a zone does not belong here", s);
	if (inet_pton(AF_INET6, s, b) != 1)
		return refuse(why, NULL, "bad address '%.60s': not an IPv6 address", s);
	a = weir_u128_from(b);
	if (weir_u128_is_v4(a)) {
		inet_ntop(AF_INET, b + 12, v4, sizeof v4);
		refuse(why, NULL, "bad address '%.60s': IPv4 written as IPv6", s);
		snprintf(why->hint, sizeof why->hint, "write %s", v4);
		return -EINVAL;
	}
	*ret = a;
	return 0;
}

static int parse_cidr(const char *s, const char *slash, struct weir_range *ret, struct weir_why *why)
{
	char addr[64], text[64];
	struct weir_why inner;
	uint32_t bits, width;
	weir_u128 a = 0, mask;

	if ((size_t)(slash - s) >= sizeof addr)
		return refuse(why, NULL, "bad address '%.60s'", s);
	memcpy(addr, s, (size_t)(slash - s));
	addr[slash - s] = 0;
	if (weir_addr_parse(addr, &a, why) < 0)
		return -EINVAL;
	width = weir_u128_is_v4(a) ? 32 : 128;
	if (weir_number_parse(slash + 1, 0, width, &bits, &inner) < 0)
		return refuse(why, strchr(slash, '.') ? "write the number of bits, not a mask" : NULL,
			      "bad prefix '%.60s': %.100s", s, inner.message);
	mask = width - bits == 128 ? ~(weir_u128)0 : ((weir_u128)1 << (width - bits)) - 1;
	if (a & mask & (width == 32 ? 0xffffffffu : ~(weir_u128)0)) {
		refuse(why, NULL, "bad prefix '%.60s': host bits are set", s);
		snprintf(why->hint, sizeof why->hint, "the network is %s/%u; for the one address write %s",
			 weir_addr_format(a & ~mask, text, sizeof text), bits, addr);
		return -EINVAL;
	}
	ret->lo = a;
	ret->hi = a | mask;
	return 0;
}

int weir_range_parse(const char *s, struct weir_range *ret, struct weir_why *why)
{
	const char *slash = strchr(s, '/'), *dash = strchr(s, '-');
	char low[64];

	if (slash)
		return parse_cidr(s, slash, ret, why);
	if (!dash) {
		int err = weir_addr_parse(s, &ret->lo, why);

		ret->hi = ret->lo;
		return err;
	}
	if ((size_t)(dash - s) >= sizeof low)
		return refuse(why, NULL, "bad range '%.60s'", s);
	if ((dash > s && dash[-1] == ' ') || dash[1] == ' ')
		return refuse(why, "write it without blanks: 192.0.2.1-192.0.2.9", "bad range '%.60s'", s);
	memcpy(low, s, (size_t)(dash - s));
	low[dash - s] = 0;
	if (weir_addr_parse(low, &ret->lo, why) < 0 || weir_addr_parse(dash + 1, &ret->hi, why) < 0)
		return -EINVAL;
	if (weir_u128_is_v4(ret->lo) != weir_u128_is_v4(ret->hi))
		return refuse(why, NULL, "bad range '%.90s': one end is IPv4, the other IPv6", s);
	if (ret->lo > ret->hi)
		return refuse(why, "write the lower address first", "empty range '%.90s'", s);
	return 0;
}

/* "80:90" and "80 - 90", as others write a range. */
static bool range_meant(const char *s, struct weir_why *why)
{
	size_t lo = strspn(s, "0123456789");
	const char *sign = s + lo + strspn(s + lo, " "), *hi = sign + (*sign ? 1 + strspn(sign + 1, " ") : 0);
	size_t n = strspn(hi, "0123456789");

	if (!lo || lo > 5 || !n || n > 5 || hi[n] || (*sign != ':' && (*sign != '-' || hi == s + lo + 1)))
		return false;
	refuse(why, NULL, "bad port range '%.40s'", s);
	snprintf(why->hint, sizeof why->hint, "write %.*s-%s", (int)lo, s, hi);
	return true;
}

int weir_ports_parse(const char *s, uint16_t ret[static 2], struct weir_why *why)
{
	const char *dash = strchr(s, '-');
	uint32_t lo, hi;
	char low[16];

	if (range_meant(s, why))
		return -EINVAL;
	if (!dash) {
		if (weir_number_parse(s, 1, 65535, &lo, why) < 0)
			return -EINVAL;
		ret[0] = ret[1] = (uint16_t)lo;
		return 0;
	}
	if (dash == s || (size_t)(dash - s) >= sizeof low)
		return refuse(why, "a range is written 8000-8100", "bad port range '%.40s'", s);
	memcpy(low, s, (size_t)(dash - s));
	low[dash - s] = 0;
	if (weir_number_parse(low, 1, 65535, &lo, why) < 0 || weir_number_parse(dash + 1, 1, 65535, &hi, why) < 0)
		return -EINVAL;
	if (lo > hi)
		return refuse(why, "write the lower port first", "empty range '%.40s'", s);
	ret[0] = (uint16_t)lo;
	ret[1] = (uint16_t)hi;
	return 0;
}

int weir_proto_parse(const char *s, uint8_t *ret, struct weir_why *why)
{
	const char *names[32], *meant;
	uint32_t v, n = 0;

	if (isdigit((unsigned char)*s)) {
		if (weir_number_parse(s, 0, 255, &v, why) < 0)
			return -EINVAL;
		*ret = (uint8_t)v;
		return 0;
	}
	for (const struct weir_proto_row *r = weir_proto_rows; r->name; r++) {
		names[n++] = r->name;
		if (!strcmp(r->name, s)) {
			*ret = r->number;
			return 0;
		}
	}
	names[n] = NULL;
	meant = weir_did_you_mean(s, names);
	refuse(why, "a number from 0 to 255 works too", "unknown protocol '%.40s'", s);
	if (!strcmp(s, "all") || !strcmp(s, "any") || !strcmp(s, "ip"))
		snprintf(why->hint, sizeof why->hint, "leave it away: every protocol is meant then");
	else if (meant)
		snprintf(why->hint, sizeof why->hint, "did you mean '%s'?", meant);
	return -EINVAL;
}

int weir_mac_parse(const char *s, uint64_t *ret, struct weir_why *why)
{
	uint64_t v = 0;
	size_t n = strlen(s);

	for (size_t i = 0; i < 17 && n == 17; i++) {
		char c = (char)tolower((unsigned char)s[i]);

		if (i % 3 == 2 ? c != ':' : !isxdigit((unsigned char)c))
			n = 0;
		else if (i % 3 != 2)
			v = v << 4 | (uint64_t)(isdigit((unsigned char)c) ? c - '0' : c - 'a' + 10);
	}
	if (n != 17)
		return refuse(why, "six bytes: 02:42:ac:11:00:02", "bad MAC address '%.40s'", s);
	*ret = v;
	return 0;
}

static int parse_u32(const char *s, size_t n, uint32_t *ret)
{
	bool hex = n > 2 && s[0] == '0' && s[1] == 'x';
	uint64_t v = 0;
	size_t i = hex ? 2 : 0;

	if (!n || n > 10 || (!hex && s[0] == '0' && n > 1))
		return -EINVAL;
	for (; i < n; i++) {
		char c = (char)tolower((unsigned char)s[i]);

		if (hex ? !isxdigit((unsigned char)c) : !isdigit((unsigned char)c))
			return -EINVAL;
		v = v * (hex ? 16 : 10) + (uint64_t)(isdigit((unsigned char)c) ? c - '0' : c - 'a' + 10);
	}
	if (v > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)v;
	return 0;
}

int weir_mark_parse(const char *s, uint32_t *ret_value, uint32_t *ret_mask, struct weir_why *why)
{
	const char *slash = strchr(s, '/');
	uint32_t v, m = UINT32_MAX;

	if (parse_u32(s, slash ? (size_t)(slash - s) : strlen(s), &v) < 0 ||
	    (slash && parse_u32(slash + 1, strlen(slash + 1), &m) < 0))
		return refuse(why, "a mark is 16, 0x10 or 0x10/0xff", "bad mark '%.40s'", s);
	if (v & ~m)
		return refuse(why, "every bit of the value must be in the mask", "the mark '%.40s' can never match", s);
	*ret_value = v;
	*ret_mask = m;
	return 0;
}

static const struct {
	char unit;
	uint32_t seconds;
} duration_units[] = { { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 } };

/* The seconds of a unit as people write it: "m", "min", "minutes". 0: none. */
static uint32_t unit_seconds(const char *s, size_t n)
{
	static const char *const words[][8] = { { "d", "day", "days" },
						{ "h", "hr", "hrs", "hour", "hours" },
						{ "m", "min", "mins", "minute", "minutes" },
						{ "s", "sec", "secs", "second", "seconds" } };

	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; words[i][k]; k++)
			if (strlen(words[i][k]) == n && !strncasecmp(words[i][k], s, n))
				return duration_units[i].seconds;
	return 0;
}

/* What "1h30m", "1h30", "10 min" mean, in seconds; 0: no idea. *ret_parts: how many numbers. */
static uint64_t duration_meant(const char *s, unsigned *ret_parts)
{
	uint64_t sum = 0;
	uint32_t last = 0;

	for (*ret_parts = 0; *s; ++*ret_parts) {
		size_t n = strspn(s, "0123456789"), word;
		uint64_t v = n && n < 9 ? strtoull(s, NULL, 10) : 0;
		uint32_t unit;

		if (!v)
			return 0;
		s += n + strspn(s + n, " ");
		word = strcspn(s, " 0123456789");
		unit = word ? unit_seconds(s, word) : last > 1 && !*s ? (last == 86400 ? 3600 : last / 60) : 0;
		if (!unit || (last && unit >= last))
			return 0;
		last = unit;
		sum += v * unit;
		s += word;
		s += strspn(s, " ");
	}
	return sum;
}

static int refuse_duration(const char *s, struct weir_why *why)
{
	unsigned parts, i = 0;
	uint64_t meant = duration_meant(s, &parts);

	refuse(why, "a number and s, m, h or d: 60s, 1h", "bad duration '%.40s'", s);
	while (meant && meant % duration_units[i].seconds)
		i++;
	if (meant)
		snprintf(why->hint, sizeof why->hint, "%s %llu%c", parts > 1 ? "one unit: write" : "write",
			 (unsigned long long)(meant / duration_units[i].seconds), duration_units[i].unit);
	return -EINVAL;
}

int weir_duration_parse(const char *s, uint32_t *ret_seconds, struct weir_why *why)
{
	size_t n = strspn(s, "0123456789");
	char number[12];
	uint32_t v;

	if (n && n < sizeof number && s[n] && !s[n + 1]) {
		memcpy(number, s, n);
		number[n] = 0;
		for (size_t i = 0; i < sizeof duration_units / sizeof *duration_units; i++) {
			if (s[n] != duration_units[i].unit)
				continue;
			if (weir_number_parse(number, 1, 86400 * 365 / duration_units[i].seconds, &v, why) < 0)
				return -EINVAL;
			*ret_seconds = v * duration_units[i].seconds;
			return 0;
		}
	}
	return refuse_duration(s, why);
}

static int icmp_number(const char *s, uint8_t family, struct weir_icmp_match *ret, struct weir_why *why)
{
	const char *slash = strchr(s, '/');
	uint32_t type, code = 0;
	char part[8];
	size_t n = slash ? (size_t)(slash - s) : strlen(s);

	if (n >= sizeof part)
		return refuse(why, "a type from 0 to 255, or type/code", "bad ICMP type '%.40s'", s);
	memcpy(part, s, n);
	part[n] = 0;
	if (weir_number_parse(part, 0, 255, &type, why) < 0 ||
	    (slash && weir_number_parse(slash + 1, 0, 255, &code, why) < 0))
		return -EINVAL;
	*ret = (struct weir_icmp_match){ family, (uint8_t)type, (uint8_t)code, (uint8_t)(slash ? code : 255) };
	return 0;
}

int weir_icmp_parse(const char *s, uint8_t family, struct weir_icmp_match ret[static 2], struct weir_why *why)
{
	const char *names[40], *meant;
	uint32_t n = 0;

	memset(ret, 0, 2 * sizeof *ret);
	if (isdigit((unsigned char)*s))
		return icmp_number(s, family, ret, why);
	for (const struct weir_icmp_row *r = weir_icmp_rows; r->name; r++) {
		bool v4 = family == 4 && r->type4 >= 0, v6 = r->type6 >= 0;

		if (family == 6 && !v6)
			continue;
		names[n++] = r->name;
		if (strcmp(r->name, s))
			continue;
		if (v4)
			ret[0] = (struct weir_icmp_match){ 4, (uint8_t)r->type4, (uint8_t)(r->code4 < 0 ? 0 : r->code4),
							   (uint8_t)(r->code4 < 0 ? 255 : r->code4) };
		if (v6)
			ret[v4] =
				(struct weir_icmp_match){ 6, (uint8_t)r->type6, (uint8_t)(r->code6 < 0 ? 0 : r->code6),
							  (uint8_t)(r->code6 < 0 ? 255 : r->code6) };
		return 0;
	}
	names[n] = NULL;
	meant = weir_did_you_mean(s, names);
	refuse(why, "a name like echo-request, a type, or type/code", "unknown %s type '%.40s'",
	       family == 4 ? "ICMP" : "ICMPv6", s);
	if (meant)
		snprintf(why->hint, sizeof why->hint, "did you mean '%s'?", meant);
	return -EINVAL;
}

int weir_ifglob_check(const char *s, struct weir_why *why)
{
	size_t n = strlen(s);

	if (!n || n > 15)
		return refuse(why, NULL, "bad interface name '%.40s': 1 to 15 bytes", s);
	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] == '/' || s[i] == '[' || s[i] == '\\' || (unsigned char)s[i] >= 0x7f)
			return refuse(why, "globs are '*' and '?'", "bad interface name '%.40s'", s);
	if (!strcmp(s, ".") || !strcmp(s, ".."))
		return refuse(why, NULL, "bad interface name '%.40s'", s);
	return 0;
}
