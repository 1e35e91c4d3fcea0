/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is known of a datagram in fragments. fragment.bpf.c */
#pragma once
#include "bpf/flow_table.h"

enum { WEIR_FRAG_UNKNOWN, WEIR_FRAG_PASSED, WEIR_FRAG_DENIED, WEIR_FRAG_ADMITTED }; /* the last: by the failsafe */

int weir_frag_first(void);              /* what became of the packet's first fragment */
int weir_frag_count(uint32_t first);    /* a later one: 1, 2 beyond a bound of its flow, promoted or half-open; else 0 */
int weir_frag_gather(void);             /* a first one: what came before it counts with it */
int weir_frag_remember(uint32_t what);     /* a first one was judged, the result is set; 1: it has bounds, 2: the failsafe's */
int weir_frag_begun(void);              /* a first one began s->flow: is it beyond its bound at once? */
