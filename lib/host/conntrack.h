/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's connection tracking table, by ctnetlink. Private to lib/host.
 */
#pragma once
#include <libmnl/libmnl.h>
#include <stdbool.h>

#include "core/pkt.h"

struct weir_ct {
	struct weir_tuple orig;  /* as the first packet came in */
	struct weir_tuple reply; /* as the answers come, turned round: the other face where NAT is at work */
	bool seen_reply;
};

#define WEIR_CT_MAX 262144

/* Live entries of TCP, UDP, UDP-Lite and SCTP. `why`: no table, and why; that is no failure. */
int weir_ct_read(struct weir_ct **ret, size_t *ret_n, char *why, size_t why_size);

/* One message; false when it is none of these. Pure. */
bool weir_ct_parse(const struct nlmsghdr *h, struct weir_ct *ret);
