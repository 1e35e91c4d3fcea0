/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the language's table that is about what weir may take of the machine. */
#include <errno.h>

#include "lib/policy/model.h"
#include "lib/policy/spec.h"
#include "lib/policy/take.h"

static const struct weir_type t_memory = {
	.name = "a number of MB from 16",
	.shape = WEIR_T_SCALAR,
	.take = weir_take_memory,
	.schema = "{\"type\":\"integer\",\"minimum\":16,\"maximum\":1000000}",
};

static const struct weir_key performance_keys[] = {
	{ "max_memory_mb", &t_memory, offsetof(struct weir_p_doc, memory_mb), 0,
	  "What weir's maps may take of the kernel's memory, in MB of 1,000,000 bytes. A policy that needs more is "
	  "refused, and the sum is shown. What an image has of its own counts twice: a change is made beside what is in "
	  "force. A start takes what was in force before all the same, and says so: lists, added rules and addresses of sets "
	  "may have grown where there was room. Absent: `1024`, and 65,536 flows; with a number, as many flows as 16 % of it hold, from 4,096 to "
	  "1,048,576. The table of flows takes its size when weir first starts after the machine, or after `weir flush`.",
	  "512" },
	{ NULL },
};
const struct weir_type weir_type_performance = {
	.id = "performance",
	.name = "performance",
	.shape = WEIR_T_MAP,
	.keys = performance_keys,
	.doc = "What weir may take of the machine.",
};

int weir_take_memory(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_why why;

	if (n->scalar == WEIR_INT && !weir_number_parse(n->text, 16, 1000000, dst, &why))
		return 0;
	weir_diag_hint(weir_node_error(w->diags, n, "expected a number of MB from 16 to 1000000"),
		       "a number alone: 512");
	return -EINVAL;
}
