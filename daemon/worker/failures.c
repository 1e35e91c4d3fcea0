/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/worker/failures.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/worker/api.h"
#include "daemon/worker/honest.h"
#include "lib/state/file.h"
#include "lib/util/cleanup.h"

#define TELL_EVERY_S 60
#define SAVE_AGAIN_S 30
#define RECENT_S 60 /* a failure of the last minute is shown as degraded */

static bool simulates(const struct weir_worker *w, enum weir_failure f)
{
	return w->o.simulate >> f & 1;
}

static uint8_t choice(const struct weir_worker *w, enum weir_failure f)
{
	return w->img.cfg ? w->img.cfg->failures.choice[f] : 0;
}

static void happened(struct weir_worker *w, enum weir_failure f, uint64_t n)
{
	w->failing.count[f] += n;
	w->failing.last[f] = (uint64_t)time(NULL);
}

/* --- no policy --- */

static int text_policy(struct weir_worker *w, const char *name, const char *text)
{
	struct weir_diags diags = { 0 };
	int r = weir_policy_read_text(name, NULL, text, strlen(text), &w->policy, &diags);

	weir_diags_free(&diags);
	if (r)
		return r;
	w->source = WEIR_SOURCE_BUILTIN;
	snprintf(w->path, sizeof w->path, "%s", name);
	return 0;
}

/* Is the file of the system there, and a policy? What it would mean now does not count: it was not applied. */
static bool file_is_policy(const struct weir_worker *w, struct weir_diags *diags)
{
	_cleanup_policy_ struct weir_policy *p = NULL;

	return !simulates(w, WEIR_FAILURE_NO_POLICY) && !weir_policy_read_bare(w->path, &p, diags);
}

static void explain(struct weir_worker *w, bool copy, const struct weir_diags *diags, const char *instead)
{
	const struct weir_diag *d = diags->n ? &diags->v[0] : NULL;
	char place[320] = "";

	if (d)
		snprintf(place, sizeof place, ": %s:%u: %.160s", d->file ? d->file : "?", d->line, d->message);
	snprintf(w->failing.policy_why, sizeof w->failing.policy_why, "%s cannot be read%s; in force: %s",
		 copy ? "the kept copy policy.yaml" : "the policy", simulates(w, WEIR_FAILURE_NO_POLICY) ? " (simulated)" : place, instead);
}

/* The newest generation that was confirmed, and whose text the history still has as it was. */
static int from_history(struct weir_worker *w, char *ret_what, size_t size)
{
	for (size_t i = w->history.n; i--;) {
		const struct weir_gen *g = &w->history.v[i];
		struct weir_diags diags = { 0 };
		char why[128];
		int r = g->confirmed && g->text && g->source != WEIR_SOURCE_BUILTIN ?
				weir_history_policy(w, g, &w->policy, &diags, why, sizeof why) : -ENOENT;

		weir_diags_free(&diags);
		if (r)
			continue;
		w->source = w->origin.boot == WEIR_SOURCE_BUILTIN ? g->source : w->origin.boot;
		snprintf(w->path, sizeof w->path, "%s", g->path);
		snprintf(ret_what, size, "generation %u of the history", g->generation);
		return 0;
	}
	return -ENOENT;
}

/* The policy that stands in: of what was confirmed last, what can be read; else what was chosen for this. */
static int stand_in(struct weir_worker *w, int r, bool builtin, uint8_t what, struct weir_diags *diags)
{
	const bool drill = simulates(w, WEIR_FAILURE_NO_POLICY), last_good = what == WEIR_NO_POLICY_LAST_GOOD;
	const bool copy = r && w->saved_copy;
	char file[sizeof w->path], text[48];

	if (!r && !builtin && w->saved_copy && last_good) {
		explain(w, false, diags, "the copy of what was confirmed last");
		return 0;
	}
	snprintf(file, sizeof file, "%s", w->path);
	weir_policy_free(TAKE_PTR(w->policy));
	if (last_good && !from_history(w, text, sizeof text)) {
		explain(w, copy, diags, text);
		return 0;
	}
	if (r && last_good && !drill && w->source == WEIR_SOURCE_FILE && w->saved_copy &&
	    !weir_policy_read_kept(file, weir_worker_kept_lists(w), &w->policy, diags)) {
		explain(w, copy, diags, file);
		return 0;
	}
	w->failing.management = what != WEIR_NO_POLICY_OPEN;
	explain(w, copy, diags, w->failing.management ? "management access only" : "nothing is blocked");
	return w->failing.management ? text_policy(w, "built-in, management access only", weir_policy_management) :
				       text_policy(w, "built-in", weir_policy_builtin);
}

int weir_failures_policy(struct weir_worker *w, int r, struct weir_diags *diags)
{
	const struct weir_kern_pinned *before = weir_port_before(w->port);
	bool drill = simulates(w, WEIR_FAILURE_NO_POLICY), builtin = !r && w->source == WEIR_SOURCE_BUILTIN;
	bool enforced = w->origin.enforced || (before->attached && before->mode == WEIR_PREVENT);
	uint8_t what = w->origin.no_policy;

	if (w->o.resume ? !r : w->o.policy != NULL)
		return r; /* who names a file is told its mistakes */
	if (!drill) {
		if (!enforced && w->origin.boot == WEIR_SOURCE_BUILTIN)
			return r; /* where nothing was, nothing is missing */
		if (builtin && !w->notes[0][0])
			return 0; /* what was in force was never to be taken by a start */
		if (!r && !builtin && (w->source != WEIR_SOURCE_FILE || file_is_policy(w, diags)))
			return 0;
	}
	if (!enforced && (r || builtin || !w->saved_copy))
		what = WEIR_NO_POLICY_OPEN; /* detect was in force, and detect it stays */
	else if (!enforced)
		what = WEIR_NO_POLICY_LAST_GOOD;
	happened(w, WEIR_FAILURE_NO_POLICY, 1);
	r = stand_in(w, r, builtin, what, diags);
	weir_diags_free(diags);
	w->failing.stand_in = w->policy;
	return r;
}

int weir_failures_lost(struct weir_worker *w, const char *why)
{
	struct weir_diags none = { 0 };
	char stands[sizeof w->failing.policy_why];
	int r;

	happened(w, WEIR_FAILURE_NO_POLICY, 1);
	r = stand_in(w, -ENOENT, true, w->origin.no_policy, &none);
	weir_diags_free(&none);
	w->failing.stand_in = w->policy;
	snprintf(stands, sizeof stands, "%s", strstr(w->failing.policy_why, "; in force: ") ?: "");
	snprintf(w->failing.policy_why, sizeof w->failing.policy_why, "%.160s%.90s", why, stands);
	return r;
}

void weir_failures_again(struct weir_worker *w, const struct weir_policy *p)
{
	if (w->failing.stand_in && w->failing.stand_in == w->policy)
		w->failing.stand_in = p;
}

/* Does another policy than the one of the boot order stand in? What was taken away does so no more. */
static bool stands_in(struct weir_worker *w, const struct weir_policy *p)
{
	const struct weir_policy *s = w->failing.stand_in;

	if (s && w->policy != s && !(w->pending.on && w->pending.back.policy == s))
		w->failing.stand_in = NULL;
	return p && p == w->failing.stand_in;
}

bool weir_failures_management(struct weir_worker *w, const struct weir_policy *p)
{
	return stands_in(w, p) && w->failing.management;
}

/* --- the audit log and the state directory --- */

static int audit_write(struct weir_worker *w, const char *actor, const char *action, const char *detail,
		       const char *result)
{
	return simulates(w, WEIR_FAILURE_DISK_FULL) ? -ENOSPC :
						      weir_audit_write(w->audit, actor, action, detail, result);
}

static void audit_failed(struct weir_worker *w, int r)
{
	snprintf(w->audit_why, sizeof w->audit_why, "%.80s/audit.log: %s%s", w->o.log_name, strerror(-r),
		 simulates(w, WEIR_FAILURE_DISK_FULL) ? " (simulated)" : "");
}

/* It may be writable again: then the first thing that it says is what it missed. */
static int audit_resume(struct weir_worker *w)
{
	char detail[64];
	int r;

	if (!w->audit_why[0])
		return 0;
	snprintf(detail, sizeof detail, "%llu records could not be written", (unsigned long long)w->failing.unwritten);
	r = audit_write(w, "weir", "audit resumed", detail, "ok");
	if (r) {
		audit_failed(w, r);
		return r;
	}
	w->audit_why[0] = 0;
	w->failing.unwritten = 0;
	return 0;
}

void weir_failures_audit(struct weir_worker *w, const char *actor, const char *action, const char *detail,
			 const char *result)
{
	int r = audit_resume(w);

	if (!r)
		r = audit_write(w, actor, action, detail, result);
	if (!r)
		return;
	audit_failed(w, r);
	w->failing.unwritten++;
	happened(w, WEIR_FAILURE_DISK_FULL, 1);
}

int weir_failures_change(struct weir_worker *w, const char *verb, struct weir_reply *rp)
{
	int r;

	/* what takes nothing from whom is left: an end, and the way back */
	if (choice(w, WEIR_FAILURE_DISK_FULL) != WEIR_DISK_REFUSE_CHANGES || !strcmp(verb, "stop") ||
	    !strcmp(verb, "rollback"))
		return 0;
	r = audit_resume(w);
	if (!r)
		r = simulates(w, WEIR_FAILURE_DISK_FULL) ? -ENOSPC : weir_audit_room(w->audit);
	if (!r)
		return 0;
	audit_failed(w, r);
	return weir_reply_fail(rp, r, "make room; failures.audit_full: continue lets changes go on unrecorded",
			       "nothing is changed while the audit log cannot be written: %s", w->audit_why);
}

int weir_failures_saved(struct weir_worker *w, int r)
{
	if (!r)
		return 0;
	snprintf(w->failing.state_why, sizeof w->failing.state_why, "%.80s cannot be written: %s", w->o.state_name,
		 strerror(-r));
	w->failing.unsaved_at = (uint64_t)time(NULL);
	return r;
}

int weir_failures_unsaved(struct weir_worker *w, int r)
{
	weir_failures_saved(w, r);
	return 0;
}

/* What could not be saved is tried again, all of it: nobody remembers which part it was. */
static void save_again(struct weir_worker *w, uint64_t now)
{
	if (!w->failing.state_why[0] || now < w->failing.unsaved_at + SAVE_AGAIN_S)
		return;
	w->failing.unsaved_at = now;
	if (!weir_pending_final_again(w) && !weir_origin_save(w->o.state_dir, &w->origin) &&
	    !weir_overlay_save(w->o.state_dir, &w->overlay) &&
	    !weir_bans_save(w->o.state_dir, &w->bans))
		w->failing.state_why[0] = 0;
}

/* failures.audit_full: drop. The image in force must say what the disk says. */
static void disk_block(struct weir_worker *w)
{
	bool want = w->audit_why[0] && choice(w, WEIR_FAILURE_DISK_FULL) == WEIR_DISK_DROP;
	struct weir_diags diags = { 0 };
	struct weir_change c = { 0 };
	char why[256];

	if (!w->img.cfg || want == (w->img.cfg->block_new != 0))
		return;
	if (weir_worker_put(w, &c, &diags, why, sizeof why))
		snprintf(w->failing.state_why, sizeof w->failing.state_why, "audit_full: drop is not in force: %.100s", why);
	weir_diags_free(&diags);
}

/* --- hooks --- */

static void hooks_look(struct weir_worker *w)
{
	const char *why = "";
	uint32_t missing = 0;
	size_t n;
	const struct weir_kern_if *ifs = weir_port_ifs(w->port, &n);

	for (size_t i = 0; i < n; i++)
		missing += ifs[i].wanted && !ifs[i].covered;
	weir_port_guard(w->port, &why);
	missing += *why != 0;
	if (missing > w->failing.missing)
		happened(w, WEIR_FAILURE_HOOK_MISSING, missing - w->failing.missing);
	w->failing.missing = missing;
}

/* --- counting and telling --- */

void weir_failures_stats(struct weir_worker *w, const struct weir_counter *stats)
{
	const struct weir_counter *s = &stats[WEIR_REASON_COUNT * 3];
	uint64_t now[WEIR_FAILURE_COUNT] = {
		[WEIR_FAILURE_DAEMON_DEAD] = s[WEIR_STAT_FAIL_DAEMON].packets,
		[WEIR_FAILURE_TABLE_FULL] = s[WEIR_STAT_FAIL_TABLE].packets,
		[WEIR_FAILURE_FRAGMENT] = s[WEIR_STAT_FAIL_FRAGMENT].packets,
		[WEIR_FAILURE_RING_FULL] = s[WEIR_STAT_FAIL_RING].packets + s[WEIR_STAT_LOST_VERDICT].packets +
					   s[WEIR_STAT_LOST_TELEMETRY].packets,
	};

	for (uint32_t r = WEIR_REASON_MALFORMED_FIRST; r <= WEIR_REASON_MALFORMED_LAST; r++)
		for (uint32_t v = WEIR_PASS; v <= WEIR_REJECT; v++)
			now[WEIR_FAILURE_UNPARSABLE] += stats[r * 3 + v].packets;
	now[WEIR_FAILURE_UNPARSABLE] += stats[WEIR_REASON_UNKNOWN_L2 * 3 + WEIR_DROP].packets;
	for (uint32_t f = 0; f < WEIR_FAILURE_COUNT; f++) {
		if (now[f] > w->failing.count[f])
			happened(w, (enum weir_failure)f, now[f] - w->failing.count[f]);
	}
}

static const char *choice_name(const struct weir_worker *w, uint32_t f)
{
	const char *name;

	if (f == WEIR_FAILURE_UNPARSABLE)
		return w->img.cfg && w->img.cfg->malformed.action == WEIR_ACT_ALLOW ? "pass" : "drop";
	if (f == WEIR_FAILURE_NO_POLICY && w->failing.policy_why[0])
		return weir_failure_choice(f, w->origin.no_policy);
	name = weir_failure_choice(f, choice(w, (enum weir_failure)f));
	return name ? name : "?";
}

/* The first, and then one record a minute with the number. */
static void tell(struct weir_worker *w, uint64_t now)
{
	struct weir_failing *x = &w->failing;
	char detail[128], result[64];

	for (uint32_t f = 0; f < WEIR_FAILURE_COUNT; f++) {
		if (x->count[f] <= x->told[f] || (x->told_at[f] && now < x->told_at[f] + TELL_EVERY_S))
			continue;
		snprintf(detail, sizeof detail, "%s: %llu, %llu in all%s", weir_failure_name(f),
			 (unsigned long long)(x->count[f] - x->told[f]), (unsigned long long)x->count[f],
			 simulates(w, (enum weir_failure)f) ? ", simulated" : "");
		snprintf(result, sizeof result, "%s", choice_name(w, f));
		x->told_at[f] = now;
		x->told[f] = x->count[f];
		if (f != WEIR_FAILURE_DISK_FULL) /* that is told when it can be written again */
			weir_failures_audit(w, "weir", "failure", detail, result);
	}
}

void weir_failures_put(struct weir_worker *w)
{
	if (stands_in(w, w->policy))
		return;
	w->failing.policy_why[0] = 0;
	w->origin.enforced = w->img.cfg->mode == WEIR_PREVENT;
	w->origin.no_policy = choice(w, WEIR_FAILURE_NO_POLICY);
}

void weir_failures_tick(struct weir_worker *w)
{
	uint64_t now = (uint64_t)time(NULL);

	hooks_look(w);
	audit_resume(w);
	disk_block(w);
	save_again(w, now);
	tell(w, now);
}

json_t *weir_failures_json(const struct weir_worker *w)
{
	json_t *list = json_array();

	for (uint32_t f = 0; f < WEIR_FAILURE_COUNT; f++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:b}", "name", weir_failure_name(f), "choice",
						      choice_name(w, f), "count", (json_int_t)w->failing.count[f], "last",
						      (json_int_t)w->failing.last[f], "simulated",
						      (int)simulates(w, (enum weir_failure)f)));
	return list;
}

const char *weir_failures_simulated(uint32_t bits, char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = 0;
	for (uint32_t f = 0; f < WEIR_FAILURE_COUNT; f++) {
		if (bits >> f & 1 && at < size)
			at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? ", " : "", weir_failure_name(f));
	}
	return buf;
}

void weir_failures_degraded(const struct weir_worker *w, json_t *list)
{
	const struct weir_failing *x = &w->failing;
	uint64_t now = (uint64_t)time(NULL);
	char names[160];

	if (w->o.simulate)
		weir_degrade(list, "SIMULATED failures: %s; start again without --simulate",
			weir_failures_simulated(w->o.simulate, names, sizeof names));
	if (x->policy_why[0])
		weir_degrade(list, "%s", x->policy_why);
	if (w->audit_why[0])
		weir_degrade(list, "audit: %s; %llu record%s not written (audit_full: %s)", w->audit_why,
			(unsigned long long)x->unwritten, x->unwritten == 1 ? "" : "s",
			choice_name(w, WEIR_FAILURE_DISK_FULL));
	if (x->state_why[0])
		weir_degrade(list, "%s", x->state_why);
	if (x->last[WEIR_FAILURE_TABLE_FULL] && now < x->last[WEIR_FAILURE_TABLE_FULL] + RECENT_S)
		weir_degrade(list, "the flow table is full (flow_table_full: %s)", choice_name(w, WEIR_FAILURE_TABLE_FULL));
}
