/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * When to wake the reader of the rings. A wake-up costs more than writing the record (an interrupt that this CPU sends to
 * itself; on a virtual machine an exit), so few records bring one.
 *
 * The reader promises: as long as a look finds something it looks again WEIR_WAKE_MS later (lib/event/ring.h). So a record
 * less than that behind another of the same CPU needs no wake-up: there is a look behind the earlier one, and either it is
 * behind this one, too, or it found the earlier and another one is due. That all of them fit until then is nobody's promise:
 * each CPU asks with every 64th record how full the ring is.
 */
#pragma once
#include "core/types.h"

#define WEIR_WAKE_MS 20u

enum weir_wake { WEIR_WAKE_NO, WEIR_WAKE_YES, WEIR_WAKE_IF_FULL };

/*
 * For one more record of this CPU. `state`: its own, 0 at first; jiffies of the last record << 6, and below how many since
 * the last question. A pause of 2^26 jiffies, to the tick, is taken for none.
 */
WEIR_INLINE enum weir_wake weir_wake_due(uint32_t *state, uint32_t now, uint32_t hz)
{
	uint32_t was = *state, n = (was + 1) & 63, ticks = (now << 6 >> 6) - (was >> 6);

	ticks &= 0xffffffffu >> 6;
	if (!was || (ticks + 1) * (1000 / WEIR_WAKE_MS) > hz) { /* the first, or it may be that long ago */
		*state = now << 6;
		return WEIR_WAKE_YES;
	}
	*state = now << 6 | n;
	return n ? WEIR_WAKE_NO : WEIR_WAKE_IF_FULL;
}
