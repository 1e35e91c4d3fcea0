/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which entries of the failsafe could admit a packet? Nearly always none, and that is to cost a few loads and no scan: all
 * that XDP drops waits for the answer. A bit for each entry. A table for each field of the packet has, for each of its
 * values, the entries that do not rule it out; what stands in all of them has to be looked at. Of a port each byte is a
 * field of its own, so a range may let more by than it holds. Addresses, interfaces, marks, hop limits and negated groups
 * rule out nothing here.
 *
 * Made from the entries by whoever installs an image; the programs only read it.
 */
#pragma once
#include "core/image.h"

struct weir_gate {
	uint64_t proto[256], icmp[256]; /* IP protocol; ICMP type */
	uint64_t sport[2][256], dport[2][256]; /* of the port: the low byte, the high byte */
	uint64_t family[2];             /* IPv4, IPv6 */
	uint64_t dir[8];                /* by WEIR_DIR_*, several of them together */
	uint64_t answers[8];            /* the same for a packet that answers what they admit */
};
_Static_assert(WEIR_FAILSAFE_MAX <= 64, "a bit for each entry");
