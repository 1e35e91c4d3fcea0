/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel programs must decide, from the stage functions of core/policy.h over the flat image. A
 * packet stands alone here: no flow is known, none is kept (WEIR_TEST_NO_FLOW).
 */
#pragma once
#include "tests/harness/imgbuild.h"

#include "core/event.h"
#include "core/parse.h"
#include "core/policy.h"

struct weir_oracle_in {
	const uint8_t *frame;
	uint32_t len;
	uint32_t hook; /* WEIR_HOOK_* */
	uint32_t mark;
	uint32_t in_if, out_if;		/* pattern bits; 0 = does not apply */
	uint32_t lower;			/* of the interface that it is seen on */
	bool forward;			/* at egress: it came in by an interface */
	const struct weir_ban_key *ban; /* NULL = none */
	uint32_t ban_mode;
	bool adopting; /* the adoption window is open */
	uint32_t port_eph_min;
	uint32_t minute; /* of the local week; WEIR_WEEK_MINUTES: nobody knows */
};

void weir_oracle_tc(const struct weir_img *img, const struct weir_oracle_in *in, struct weir_result *res);

enum weir_oracle_xdp {
	WEIR_XDP_MUST_PASS, /* TC would not drop it, or something that XDP can not know might speak for it */
	WEIR_XDP_MAY_DROP,  /* TC drops it: either */
	WEIR_XDP_MUST_DROP, /* TC drops it, and nothing that XDP can not know could speak for it */
};
/* `tc`: what TC ingress decides on the same frame. */
enum weir_oracle_xdp weir_oracle_xdp(const struct weir_img *img, const struct weir_oracle_in *in,
				     const struct weir_result *tc);
