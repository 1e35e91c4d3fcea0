/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random policies and random frames that meet: both draw from the same few addresses, ports, tags and
 * interfaces. Everything follows from the seed.
 */
#pragma once
#include "tests/harness/imgbuild.h"
#include "tests/harness/packet.h"

/* Pattern bits of the two interfaces that packets come by: the one they are seen on, the one they came in by. */
#define WEIR_RANDOM_PAT 1u
#define WEIR_RANDOM_LOWER 2u
#define WEIR_RANDOM_PAT_IN 4u

struct weir_random {
	uint64_t state;
};

uint32_t weir_random(struct weir_random *r, uint32_t n); /* below n; n > 0 */
void weir_random_image(struct weir_random *r, struct weir_imgbuild *b);
void weir_random_frame(struct weir_random *r, struct weir_frame *f);
