/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small words of the language, read strictly from text: addresses, ports, protocols, ICMP types.
 * Used by the walker, by lists from files, and by packets on a command line.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/image.h"

/* Addresses as numbers: IPv4 stands at ::ffff:0:0/96, as everywhere in weir. */
__extension__ typedef unsigned __int128 weir_u128;
#define WEIR_V4_LOW ((weir_u128)0xffff << 32)
#define WEIR_V4_HIGH (WEIR_V4_LOW | 0xffffffffu)

struct weir_range {
	weir_u128 lo, hi; /* both within it */
};

struct weir_why { /* what is wrong with a word; hint may be "" */
	char message[400], hint[120];
};

static inline bool weir_u128_is_v4(weir_u128 a)
{
	return a >= WEIR_V4_LOW && a <= WEIR_V4_HIGH;
}

void weir_u128_bytes(weir_u128 a, uint8_t ret[static 16]);
weir_u128 weir_u128_from(const uint8_t a[static 16]);

/* All return 0, or -EINVAL with *why filled. */
int weir_addr_parse(const char *s, weir_u128 *ret, struct weir_why *why);
int weir_range_parse(const char *s, struct weir_range *ret, struct weir_why *why); /* address, CIDR or a-b */
int weir_number_parse(const char *s, uint32_t min, uint32_t max, uint32_t *ret, struct weir_why *why);
int weir_ports_parse(const char *s, uint16_t ret[static 2], struct weir_why *why); /* "80" or "80-90" */
int weir_proto_parse(const char *s, uint8_t *ret, struct weir_why *why);	   /* name or number */
int weir_mac_parse(const char *s, uint64_t *ret, struct weir_why *why);
int weir_mark_parse(const char *s, uint32_t *ret_value, uint32_t *ret_mask, struct weir_why *why);
int weir_duration_parse(const char *s, uint32_t *ret_seconds, struct weir_why *why); /* "60s", "1h" */
/* family 4: names of both families, numbers of ICMP; 6: of ICMPv6 only. ret[i].family 0 = unused. */
int weir_icmp_parse(const char *s, uint8_t family, struct weir_icmp_match ret[static 2], struct weir_why *why);
int weir_ifglob_check(const char *s, struct weir_why *why);

/* Into buf; returns buf. */
const char *weir_addr_format(weir_u128 a, char *buf, size_t size);
const char *weir_range_format(const struct weir_range *r, char *buf, size_t size); /* shortest: address, CIDR, a-b */
const char *weir_proto_name(uint8_t proto, char *buf, size_t size);
const char *weir_icmp_name(uint8_t family, uint8_t type, int code, char *buf, size_t size);

struct weir_proto_row {
	const char *name;
	uint8_t number;
};
struct weir_icmp_row {
	const char *name;
	int16_t type4, code4, type6, code6; /* -1: none, or any code */
};
extern const struct weir_proto_row weir_proto_rows[]; /* ends with name NULL; the first of a number is its name */
extern const struct weir_icmp_row weir_icmp_rows[];
