/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel of the tests: lib/kern/kern.h in memory, and the strings to pull on it. What a real kernel
 * would keep behind the daemon's back (attached, generation, interfaces) is a file in the runtime
 * directory, so that restart, stop and flush can be tried across processes.
 */
#pragma once
#include "lib/kern/kern.h"

#define WEIR_FAKE_PINS "fake-pins"

struct weir_kern_fake {
	/* what it was told */
	uint32_t installs, pairs, blocks, lines, lates, attached, guards, covers, adopt_s, seeds, bans;
	bool guard;
	uint32_t load_ms; /* how long an install takes until it is in force */
	/* what it shall answer: 0, or the next call fails with this */
	int fail_install, fail_attach, fail_ban;
};

/* The state of the instance; written and read freely by a test. */
struct weir_kern_fake *weir_kern_fake_of(struct weir_kern *k);
/* A record as the ring would deliver it. */
int weir_kern_fake_event(struct weir_kern *k, const void *record, uint32_t size);
int weir_kern_fake_flow(struct weir_kern *k, const struct weir_flow_key *key, const struct weir_flow *flow);
/* The time of a change that waits is over: its deadline is past now. */
void weir_kern_fake_pass(struct weir_kern *k);
void weir_kern_fake_hit(struct weir_kern *k, uint32_t rule, uint64_t packets);
bool weir_kern_fake_covered(struct weir_kern *k, uint32_t ifindex);
