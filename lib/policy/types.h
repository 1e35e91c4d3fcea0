/* SPDX-License-Identifier: Apache-2.0 */
/* All types of the language, in the order in which a reader meets them: for the schema and the reference. */
#pragma once
#include "lib/policy/spec.h"

#define WEIR_TYPES_MAX 128

struct weir_type_list {
	const struct weir_type *v[WEIR_TYPES_MAX];
	size_t n;
};

void weir_types_collect(struct weir_type_list *ret);

/* The three whose words stand in value.c. */
extern const struct weir_type weir_type_protocol, weir_type_icmp, weir_type_icmpv6;

/* Those that several files use. */
extern const struct weir_type weir_type_mode, weir_type_bool, weir_type_name, weir_type_duration, weir_type_amount, weir_type_rule_limit;
