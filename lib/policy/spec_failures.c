/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the language's table that says what happens when weir itself fails; and its words for people. */
#include <errno.h>
#include <string.h>

#include "lib/policy/model.h"
#include "lib/policy/spec.h"
#include "lib/policy/take.h"

static const struct weir_word daemon_words[] = {
	{ "keep", WEIR_DAEMON_KEEP + 1 },
	{ "open", WEIR_DAEMON_OPEN + 1 },
	{ "closed", WEIR_DAEMON_CLOSED + 1 },
	{ "fail_open", .instead = "open" },
	{ "fail_closed", .instead = "closed" },
	{ "pass", .instead = "open" },
	{ "drop", .instead = "closed" },
	{ NULL },
};
static const struct weir_word no_policy_words[] = {
	{ "last_good", WEIR_NO_POLICY_LAST_GOOD + 1 },
	{ "management", WEIR_NO_POLICY_MANAGEMENT + 1 },
	{ "open", WEIR_NO_POLICY_OPEN + 1 },
	{ NULL },
};
static const struct weir_word table_words[] = {
	{ "drop_new", WEIR_TABLE_DROP_NEW + 1 },
	{ "pass", WEIR_TABLE_PASS + 1 },
	{ "drop_all", WEIR_TABLE_DROP_ALL + 1 },
	{ "drop", .instead = "drop_new" },
	{ NULL },
};
static const struct weir_word fragment_words[] = {
	{ "drop", WEIR_FRAGMENT_DROP + 1 },
	{ "pass", WEIR_FRAGMENT_PASS + 1 },
	{ NULL },
};
static const struct weir_word ring_words[] = {
	{ "count", WEIR_RING_COUNT + 1 },
	{ "throttle", WEIR_RING_THROTTLE + 1 },
	{ NULL },
};
static const struct weir_word audit_words[] = {
	{ "refuse_changes", WEIR_DISK_REFUSE_CHANGES + 1 },
	{ "continue", WEIR_DISK_CONTINUE + 1 },
	{ "drop", WEIR_DISK_DROP + 1 },
	{ "refuse", .instead = "refuse_changes" },
	{ NULL },
};
static const struct weir_word hook_words[] = {
	{ "degrade", WEIR_HOOK_DEGRADE + 1 },
	{ "refuse", WEIR_HOOK_REFUSE + 1 },
	{ NULL },
};

#define WORD(ID, NAME, WORDS, DOC)                                                       \
	{                                                                                \
		.id = ID, .name = NAME, .shape = WEIR_T_WORD, .words = WORDS, .doc = DOC \
	}
static const struct weir_type t_daemon =
	WORD("daemon-dead", "keep, open or closed", daemon_words,
	     "`keep`: what is enforced goes on. `open`: every packet passes, banned ones too. `closed`: only the "
	     "failsafe passes.");
static const struct weir_type t_no_policy =
	WORD("no-policy", "last_good, management or open", no_policy_words,
	     "`last_good`: the copy of what was confirmed last, else management. `management`: what this host opens, ssh "
	     "and the failsafe. `open`: nothing is blocked.");
static const struct weir_type t_table =
	WORD("table-full", "drop_new, pass or drop_all", table_words,
	     "`drop_new`: the flow that found no room is dropped, live ones go on. `pass`: packets without a flow are judged "
	     "one by one, as either side's. `drop_all`: for a second only live flows and the failsafe pass.");
static const struct weir_type t_fragment =
	WORD("fragment-lost", "drop or pass", fragment_words, "What a forwarded later fragment without its first gets.");
static const struct weir_type t_ring =
	WORD("ring-full", "count or throttle", ring_words,
	     "`count`: records that find no room are counted. `throttle`: below an eighth of room, each remote address gets "
	     "one record a second, so that a flood of one does not hide the others.");
static const struct weir_type t_audit =
	WORD("audit-full", "refuse_changes, continue or drop", audit_words,
	     "`refuse_changes`: no change until it can be written again. `continue`: changes go on unrecorded, counted. "
	     "`drop`: new flows are dropped but the failsafe's.");
static const struct weir_type t_hook =
	WORD("hook-missing", "degrade or refuse", hook_words,
	     "`degrade`: weir works with what is covered, and `weir status` names the rest. `refuse`: it does not start, or "
	     "does not take the change.");
static const struct weir_type t_patience = {
	.id = "patience",
	.name = "a duration like 60s",
	.shape = WEIR_T_SCALAR,
	.take = weir_take_patience,
	.schema = "{\"type\":\"string\",\"pattern\":\"^([5-9]s|[1-9][0-9]+s|[1-9][0-9]*[mhd])$\"}",
	.doc = "A duration of 5 seconds or more.",
};

#define F(NAME, FAILURE, TYPE, DOC, EXAMPLE)                                                                     \
	{                                                                                                        \
		NAME, &TYPE, offsetof(struct weir_p_doc, failures.choice) + WEIR_FAILURE_##FAILURE, 0, DOC, EXAMPLE \
	}
static const struct weir_key failures_keys[] = {
	F("daemon_dead", DAEMON_DEAD, t_daemon, "weir's processes died or hang. Absent: `keep`.", "keep"),
	{ "daemon_dead_after", &t_patience, offsetof(struct weir_p_doc, failures.daemon_after), 0,
	  "Without a sign of life for so long, it counts as dead. Absent: `60s`.", "60s" },
	F("no_policy", NO_POLICY, t_no_policy,
	  "At a start the policy is missing or damaged, and one was in force before. Absent: `last_good`.", "last_good"),
	F("flow_table_full", TABLE_FULL, t_table, "The table of flows takes no new one. Absent: `drop_new`.", "drop_new"),
	F("fragment_lost", FRAGMENT, t_fragment,
	  "A later fragment is to be forwarded, and its first was not seen. Absent: `drop`.", "drop"),
	F("ring_full", RING_FULL, t_ring, "Events come faster than they are read. Absent: `count`.", "throttle"),
	F("audit_full", DISK_FULL, t_audit, "audit.log cannot be written: the disk is full. Absent: `refuse_changes`.",
	  "refuse_changes"),
	F("hook_missing", HOOK_MISSING, t_hook,
	  "An interface cannot be covered, or the guard cannot stand. Absent: `degrade`.", "refuse"),
	{ NULL },
};
const struct weir_type weir_type_failures = {
	.id = "failures",
	.name = "failures",
	.shape = WEIR_T_MAP,
	.keys = failures_keys,
	.doc = "What happens when a part of weir fails. Under mode detect nothing is dropped, whatever stands here. Packets "
	       "that cannot be parsed are a failure, too: `packets.malformed` and `packets.unknown_l2`.",
};

static const struct weir_key *key_of(uint32_t failure)
{
	for (const struct weir_key *k = failures_keys; k->name; k++)
		if (k->off == offsetof(struct weir_p_doc, failures.choice) + failure)
			return k;
	return NULL;
}

const char *weir_failure_name(uint32_t failure)
{
	const struct weir_key *k = key_of(failure);

	return failure == WEIR_FAILURE_UNPARSABLE ? "unparsable" : k ? k->name : NULL;
}

const char *weir_failure_choice(uint32_t failure, uint32_t choice)
{
	const struct weir_key *k = key_of(failure);

	for (const struct weir_word *w = k ? k->type->words : NULL; w && w->name; w++)
		if (!w->instead && w->value == choice + 1)
			return w->name;
	return NULL;
}

int weir_failures_parse(const char *text, uint32_t *ret, char *ret_bad, size_t bad_size)
{
	uint32_t bits = 0;

	do {
		size_t n = strcspn(text, ",");
		uint32_t i = 0;

		while (i < WEIR_FAILURE_COUNT &&
		       (strlen(weir_failure_name(i)) != n || strncmp(weir_failure_name(i), text, n)))
			i++;
		if (i == WEIR_FAILURE_COUNT) {
			snprintf(ret_bad, bad_size, "%.*s", (int)n, text);
			return -EINVAL;
		}
		bits |= 1u << i;
		text += n;
	} while (*text++ == ',');
	*ret = bits;
	return 0;
}
