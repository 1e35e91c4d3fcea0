/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The self-test of a generation, before any hook leads to it: packets go by BPF_PROG_TEST_RUN through the very
 * programs that will be attached, and each must be judged as the same code judges it here, on the same image. It
 * leaves no trace: no counter, event, flow, note or answer (WEIR_IF_TEST).
 */
#pragma once
#include "lib/kern/internal.h"

/* 0, or -EBADMSG: the programs do not do what the policy says; `h` tells which packet. cfg: as loaded. */
int weir_selftest(struct weir_kern *k, const struct weir_gen *g, const struct weir_img *img,
		  const struct weir_config *cfg, struct weir_kern_health *h);
