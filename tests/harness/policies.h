/* SPDX-License-Identifier: Apache-2.0 */
/* Large policies for tests and measurements: the boxes of a set (rulesets.h) as rules of the language. */
#pragma once
#include <stdio.h>

#include "tests/harness/rulesets.h"

enum weir_style {
	WEIR_STYLE_FLOW,  /* a rule to a line: - { name: r1, action: allow, ... } */
	WEIR_STYLE_BLOCK, /* a key to a line */
	WEIR_STYLE_JSON,  /* one object, as a program would write it */
	WEIR_STYLES,
};
extern const char *const weir_style_names[WEIR_STYLES];

/* Deterministic: the same set and style give the same bytes. -EIO when `out` failed. */
int weir_policy_write(FILE *out, const struct weir_set *s, enum weir_style style);
