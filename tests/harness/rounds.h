/* SPDX-License-Identifier: Apache-2.0 */
/* How often a test tries the same kind of thing. */
#pragma once
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define WEIR_UNDER_SANITIZERS 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define WEIR_UNDER_SANITIZERS 1
#endif
#ifndef WEIR_UNDER_SANITIZERS
#define WEIR_UNDER_SANITIZERS 0
#endif

static inline bool weir_long_run(void)
{
	const char *l = getenv("WEIR_TEST_LONG");

	return l && !strcmp(l, "1");
}

/*
 * `often`, or `more` in the long run. Sanitizers make a round nine times slower, and a quarter of them shows what they look
 * for; what only many rounds show, the same test shows without them.
 */
static inline unsigned weir_rounds(unsigned often, unsigned more)
{
	return weir_long_run() ? more : WEIR_UNDER_SANITIZERS ? (often + 3) / 4 : often;
}
