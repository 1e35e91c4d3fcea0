/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DNS reader over hostile bytes, in a buffer of exactly its size. What its users rely on is asserted: it
 * ends, it stays inside, and every name that it gives out is plain text within its bound.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/l7/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool ok)
{
	if (!ok)
		abort();
}

static void check_name(const char *s)
{
	size_t n = strnlen(s, WEIR_DNS_TEXT);

	expect(n && n < WEIR_DNS_TEXT);
	for (size_t i = 0; i < n; i++)
		expect(s[i] > 0x20 && s[i] < 0x7f && !(s[i] >= 'A' && s[i] <= 'Z'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char qname[WEIR_DNS_TEXT], owner[WEIR_DNS_TEXT], target[WEIR_DNS_TEXT];
	struct weir_dns_answer a;
	struct weir_dns d;
	uint32_t steps = 0;
	uint8_t *exact;

	if (size > 65535)
		return 0;
	exact = malloc(size ? size : 1);
	expect(exact);
	memcpy(exact, data, size);
	if (weir_dns_open(&d, exact, (uint32_t)size, qname) == WEIR_DNS_OK) {
		check_name(qname);
		while (weir_dns_next(&d, &a, owner, target) == WEIR_DNS_OK) {
			expect(d.off <= d.len && ++steps <= size / 11);
			check_name(owner);
			if (a.type == WEIR_DNS_CNAME)
				check_name(target);
			else
				expect(a.type == WEIR_DNS_A || a.type == WEIR_DNS_AAAA);
		}
	}
	free(exact);
	return 0;
}
