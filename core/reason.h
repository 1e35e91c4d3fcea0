/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once
#include "core/types.h"

enum weir_reason {
#define X(NAME, number, name, meaning) WEIR_REASON_##NAME = number,
#include "core/reason.def"
#undef X
	WEIR_REASON_COUNT = 128, /* room for counters; numbers stay below it */
};

/* The first and last number of the malformed group: one configured verdict, packets.malformed. */
#define WEIR_REASON_MALFORMED_FIRST 16
#define WEIR_REASON_MALFORMED_LAST 63

WEIR_INLINE bool weir_reason_malformed(uint32_t reason)
{
	return reason >= WEIR_REASON_MALFORMED_FIRST && reason <= WEIR_REASON_MALFORMED_LAST;
}
