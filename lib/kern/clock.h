/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "core/clock.h"

struct weir_control;
struct weir_kern_clock;

/* What the clock says (seconds since 1970, seconds since boot) and what is known of the zone (TZ, /etc/localtime). */
void weir_clock_make(int64_t now, uint64_t boot_s, struct weir_clock *ret);
/* What the programs make of it now. */
void weir_clock_told(const struct weir_control *c, uint64_t boot_s, struct weir_kern_clock *ret);
