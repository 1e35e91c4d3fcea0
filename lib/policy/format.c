/* SPDX-License-Identifier: Apache-2.0 */
/* Back to words: the shortest text that value.c reads as the same value. */
#include <arpa/inet.h>
#include <stdio.h>

#include "lib/policy/value.h"

const char *weir_addr_format(weir_u128 a, char *buf, size_t size)
{
	uint8_t b[16];

	weir_u128_bytes(a, b);
	if (weir_u128_is_v4(a))
		inet_ntop(AF_INET, b + 12, buf, (socklen_t)size);
	else
		inet_ntop(AF_INET6, b, buf, (socklen_t)size);
	return buf;
}

const char *weir_range_format(const struct weir_range *r, char *buf, size_t size)
{
	char lo[INET6_ADDRSTRLEN], hi[INET6_ADDRSTRLEN];
	weir_u128 span = r->hi - r->lo;
	int width = weir_u128_is_v4(r->lo) ? 32 : 128, bits = 0;

	weir_addr_format(r->lo, lo, sizeof lo);
	while (bits < width && (span >> bits & 1))
		bits++;
	if (span == 0)
		snprintf(buf, size, "%s", lo);
	else if ((bits == 128 || !(span >> bits)) && !(r->lo & span))
		snprintf(buf, size, "%s/%d", lo, width - bits);
	else
		snprintf(buf, size, "%s-%s", lo, weir_addr_format(r->hi, hi, sizeof hi));
	return buf;
}

const char *weir_proto_name(uint8_t proto, char *buf, size_t size)
{
	for (const struct weir_proto_row *r = weir_proto_rows; r->name; r++)
		if (r->number == proto)
			return r->name;
	snprintf(buf, size, "%u", proto);
	return buf;
}

/* code -1: of any code */
const char *weir_icmp_name(uint8_t family, uint8_t type, int code, char *buf, size_t size)
{
	for (const struct weir_icmp_row *r = weir_icmp_rows; r->name; r++)
		if ((family == 4 ? r->type4 : r->type6) == type && (family == 4 ? r->code4 : r->code6) == code)
			return r->name;
	if (code < 0)
		snprintf(buf, size, "%u", type);
	else
		snprintf(buf, size, "%u/%d", type, code);
	return buf;
}
