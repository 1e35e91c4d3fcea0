/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a part of weir fails: what was chosen for it (failures of the policy), how often it happened, who is told.
 * What the programs do by themselves is only read here; what needs the worker is done here: the audit log that cannot
 * be written, the state that cannot be saved, the policy that is not there.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/event.h"
#include "core/image.h"
#include "lib/util/diag.h"

struct weir_policy;
struct weir_worker;
struct weir_reply;

struct weir_failing {
	uint64_t count[WEIR_FAILURE_COUNT];
	uint64_t last[WEIR_FAILURE_COUNT];    /* unix seconds; 0: not in this life */
	uint64_t told[WEIR_FAILURE_COUNT];    /* the count that the audit log knows */
	uint64_t told_at[WEIR_FAILURE_COUNT];
	uint64_t unwritten;  /* records that the audit log did not take, since it last took one */
	uint64_t unsaved_at; /* unix seconds of the last try to save the state */
	bool final, final_mode; /* what the next start takes could not be written, ... */
	int final_boot;      /* ... with these of struct weir_pending */
	const struct weir_policy *stand_in; /* the policy that stands in for one that could not be read; only compared */
	bool management;     /* it is the built-in one for management access */
	uint32_t missing;    /* interfaces that are asked for and not covered, and the guard when it does not stand */
	char policy_why[256], state_why[160]; /* "": nothing */
};

/*
 * The policy of the boot order was chosen with result r (its errors in diags). Nothing to read where there was a
 * policy before: the one that stands in. 0, or r when the start must be refused.
 */
int weir_failures_policy(struct weir_worker *w, int r, struct weir_diags *diags);
/*
 * What is enforced cannot be taken up again, as `why` says, and the start would only look: as if there were no policy to
 * read. 0, or why not even the one that stands in is to be had.
 */
int weir_failures_lost(struct weir_worker *w, const char *why);
/* Write one audit record, or note why not. */
void weir_failures_audit(struct weir_worker *w, const char *actor, const char *action, const char *detail,
			 const char *result);
/* May something be changed now? Negative: refused, the reply says why. */
int weir_failures_change(struct weir_worker *w, const char *verb, struct weir_reply *rp);
/* Something was saved to the state directory with result r, which it returns. */
int weir_failures_saved(struct weir_worker *w, int r);
/* Likewise, but what is done goes on all the same: 0. */
int weir_failures_unsaved(struct weir_worker *w, int r);
/* Is this policy, about to be compiled, the one for management access? */
void weir_failures_again(struct weir_worker *w, const struct weir_policy *p); /* the policy in force, with its files read again */
bool weir_failures_management(struct weir_worker *w, const struct weir_policy *p);
/* Another image is in force. */
void weir_failures_put(struct weir_worker *w);
/* Once a second. */
void weir_failures_tick(struct weir_worker *w);
/* What counters of the kernel say. */
void weir_failures_stats(struct weir_worker *w, const struct weir_counter *stats);

/* [{"name", "choice", "count", "last", "simulated"}] of all. */
json_t *weir_failures_json(const struct weir_worker *w);
/* What is not as it should be right now, appended to a list of strings. */
void weir_failures_degraded(const struct weir_worker *w, json_t *list);
/* "daemon_dead, ring_full": what is simulated; "" = nothing. */
const char *weir_failures_simulated(uint32_t bits, char *buf, size_t size);
