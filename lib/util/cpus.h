/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

/* CPUs that this machine may have: maps hold a value for each, also for those that are not there now. At least 1. */
uint32_t weir_cpus_possible(void);
