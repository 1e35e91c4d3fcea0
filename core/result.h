/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What an evaluation ends in. On its own, because records and screens speak of results without evaluating
 * anything: core/policy.h needs the accessors of an image, this does not.
 */
#pragma once
#include "core/types.h"

struct weir_result {
	uint32_t wanted_rule, enforced_rule; /* index, or WEIR_RULE_* */
	uint32_t log_rule;                   /* the first rule that asked for a log line, or a ban, or WEIR_RULE_NONE */
	uint8_t wanted, enforced;            /* enum weir_verdict */
	uint8_t wanted_reason, enforced_reason;
	uint8_t log;
	uint8_t ban; /* log_rule bans who opened */
	uint8_t pad[2];
};
