/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `rule add`, `rule delete` and `set` in front of a compilation. A rule alone is compiled, and takes its place in the image
 * in force (core/late.h). When nobody has edited for a while, or the places are nearly used up, all is compiled again,
 * and the trees know the new rules, too. Addresses of sets that only blocklists name are written into the lines in force
 * (lib/policy/late_sets.c), which are then what a compilation would make; those of files that have changed, too.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/worker/worker.h"
#include "lib/policy/late.h"

#define QUIET_S 30u                    /* so long without an edit, */
#define FULL (WEIR_LATE_MAX / 4u * 3u) /* or so many places in use */

static bool same_edits(const struct weir_overlay *a, const struct weir_overlay *b)
{
	if (a->n_edits != b->n_edits)
		return false;
	for (size_t i = 0; i < a->n_edits; i++)
		if (a->edits[i].remove != b->edits[i].remove || strcmp(a->edits[i].set, b->edits[i].set) ||
		    strcmp(a->edits[i].element, b->edits[i].element))
			return false;
	return true;
}

static bool same_rules(const struct weir_overlay *a, const struct weir_overlay *b)
{
	if (a->n_rules != b->n_rules)
		return false;
	for (size_t i = 0; i < a->n_rules; i++)
		if (a->rules[i].id != b->rules[i].id)
			return false;
	return true;
}

/* Is it the overlay alone that this change is about? */
static bool fits(const struct weir_worker *w, const struct weir_change *c)
{
	return c->overlay && !c->whole && !c->policy && !c->set_ceiling && !c->new_generation && !w->pending.on &&
	       w->img.cfg;
}

/*
 * The filter keeps the bits of what was taken out, and a full half its mark: after as many edits as there are lines all
 * is laid out anew, behind them.
 */
static void sets_age(struct weir_worker *w, size_t lines)
{
	w->lines_edited += lines;
	if (w->lines_edited <= w->img.h->block.count)
		return;
	if (!w->late) /* edits that never rest do not put it off */
		w->late_since = w->ticks;
	w->late = true;
}

/* Addresses of sets: 0, -EAGAIN when all has to be compiled, or why not. */
static int sets_try(struct weir_worker *w, const struct weir_change *c, char *why, size_t why_size)
{
	struct weir_late_sets l;
	int r;

	/* which sets the added rules name, and what the files held, is known to who compiled them */
	if (w->taken || weir_late_sets_put(w->policy, &w->overlay.list, &c->overlay->list, w->blob, &l))
		return -EAGAIN;
	r = c->by ? weir_lockout_check(w, &w->img, NULL, c->by, why, why_size) : 0;
	if (!r && l.sets && weir_port_lines(w->port, &w->img, l.lines.v, l.lines.n))
		r = -EAGAIN;
	if (r)
		weir_late_sets_undo(w->blob, &l);
	else
		sets_age(w, l.lines.n);
	weir_late_sets_free(&l);
	return r;
}

int weir_late_files(struct weir_worker *w, struct weir_policy *p)
{
	struct weir_late_sets l;
	int r = 0;

	if (w->taken || w->pending.on || !w->img.cfg || weir_late_files_put(w->policy, p, &w->overlay.list, w->blob, &l))
		return -EAGAIN;
	if (l.sets && weir_port_lines(w->port, &w->img, l.lines.v, l.lines.n))
		r = -EAGAIN;
	if (r) {
		weir_late_sets_undo(w->blob, &l);
	} else {
		sets_age(w, l.lines.n);
		weir_failures_again(w, p);
		weir_policy_free(w->policy);
		w->policy = p;
	}
	weir_late_sets_free(&l);
	return r;
}

static int rule_try(struct weir_worker *w, const struct weir_change *c, char *why, size_t why_size)
{
	struct weir_compile_options o = { .mode_ceiling = w->has_ceiling ? w->ceiling : WEIR_PREVENT };
	struct weir_late late;
	int r;

	/* a rule that goes asks nothing of the policy, which may not be to be had after a crash */
	if (!w->img.cfg->n_late || (c->overlay->list.n_rules > w->overlay.list.n_rules && !weir_worker_has_policy(w)))
		return -EAGAIN;
	o.overlay = &c->overlay->list;
	if (weir_late_make(w->policy, &o, &w->img, &late))
		return -EAGAIN;
	weir_late_put(w->blob, &late);
	r = c->by ? weir_lockout_check(w, &w->img, NULL, c->by, why, why_size) : 0;
	if (!r && weir_port_late(w->port, &late))
		r = -EAGAIN;
	if (r) {
		weir_late_undo(w->blob, &late);
		return r;
	}
	w->late_since = w->ticks;
	w->late = true;
	return 0;
}

int weir_late_try(struct weir_worker *w, struct weir_change *c, char *why, size_t why_size)
{
	if (!fits(w, c))
		return -EAGAIN;
	if (same_edits(&w->overlay.list, &c->overlay->list))
		return rule_try(w, c, why, why_size);
	return same_rules(&w->overlay.list, &c->overlay->list) ? sets_try(w, c, why, why_size) : -EAGAIN;
}

void weir_late_tick(struct weir_worker *w)
{
	struct weir_change c = { .overlay = &w->overlay, .whole = true };
	struct weir_diags diags = { 0 };
	char why[256] = "";
	int r;

	if (!w->late || w->pending.on || (w->ticks - w->late_since < QUIET_S && w->img.cfg->late_used < FULL))
		return;
	w->late = false; /* what cannot be compiled is tried again after the next edit; what is in force stays */
	r = weir_worker_put(w, &c, &diags, why, sizeof why);
	if (r)
		snprintf(w->late_why, sizeof w->late_why, "the policy with its edits and lists cannot be compiled anew: %.160s",
			 why[0] ? why : diags.n ? diags.v[0].message : strerror(-r));
	weir_diags_free(&diags);
}
