/* SPDX-License-Identifier: Apache-2.0 */
/* Below the seam, for tests and benches that run the loaded programs themselves. */
#pragma once
#include "lib/kern/kern.h"

/* "weir_tc_in", "weir_tc_out", "weir_xdp_in"; any map by its name. The fd stays the library's. */
int weir_kern_prog_fd(struct weir_kern *k, const char *name);
int weir_kern_map_fd(struct weir_kern *k, const char *name);
