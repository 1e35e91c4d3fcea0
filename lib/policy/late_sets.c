/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets that blocklists alone name change while an image is in force, by edits or because their files did: which addresses
 * that is about, what the blocklists hold of those now, and that into the lines of the image. All else of a million
 * addresses is left alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/build.h"
#include "lib/policy/late.h"

#define WINDOW_MAX (1u << 16) /* pieces: for more than that all may as well be laid out anew */

struct work {
	const struct weir_policy *before, *policy; /* the same text, with what the files held and hold; most often one policy */
	struct weir_arena arena;
	struct weir_ranges window; /* what the change is about, of all sets together */
	bool *about;		   /* beside policy->sets: is it one of theirs? */
};

/* --- which edits are new, and which are gone --- */

static char *edit_key(struct weir_arena *a, const struct weir_set_edit *e)
{
	size_t n = strlen(e->set) + strlen(e->element) + 3;
	char *key = weir_arena_alloc(a, n);

	if (key)
		snprintf(key, n, "%c%s %s", e->remove ? '-' : '+', e->set, e->element);
	return key;
}

static int keys_of(struct weir_arena *a, const struct weir_overlay *o, char ***ret, struct weir_dict *ret_dict)
{
	char **keys = weir_arena_array(a, o->n_edits + 1, sizeof *keys);
	int err = keys ? weir_dict_init(a, ret_dict, o->n_edits + 1) : -ENOMEM;

	for (size_t i = 0; i < o->n_edits && !err; i++) {
		keys[i] = edit_key(a, &o->edits[i]);
		err = keys[i] ? 0 : -ENOMEM;
		if (!err)
			weir_dict_put(ret_dict, keys[i], keys[i]);
	}
	*ret = keys;
	return err;
}

static int note(struct work *w, const struct weir_set_edit *e)
{
	struct weir_p_set *s = weir_policy_set(w->policy, e->set);
	struct weir_range r;
	struct weir_why why;
	int err;

	if (!s)
		return 0; /* an edit that is kept of a set that the policy has no more */
	if (s->ruled)
		return -EAGAIN;
	w->about[s->number] = true;
	err = weir_range_parse(e->element, &r, &why);
	return err ? err : weir_ranges_add(&w->arena, &w->window, r);
}

/*
 * The last one counts. So an edit that both have and that stands elsewhere (it was said again) is one that differs, too:
 * what no such edit is about has the same ones over it in the same order.
 */
static int differing(struct work *w, const struct weir_overlay *was, const struct weir_overlay *now)
{
	struct weir_dict olds, news, moved;
	char **old, **new;
	size_t i = 0, k = 0;
	int err = keys_of(&w->arena, was, &old, &olds);

	err = err ? err : keys_of(&w->arena, now, &new, &news);
	err = err ? err : weir_dict_init(&w->arena, &moved, was->n_edits + 1);
	while (!err && (i < was->n_edits || k < now->n_edits)) {
		if (i < was->n_edits && k < now->n_edits && !strcmp(old[i], new[k])) {
			i++;
			k++;
		} else if (i < was->n_edits && !weir_dict_find(&news, old[i])) {
			err = note(w, &was->edits[i++]);
		} else if (k < now->n_edits && !weir_dict_find(&olds, new[k])) {
			err = note(w, &now->edits[k++]);
		} else if (k < now->n_edits && weir_dict_find(&moved, new[k])) {
			k++;
		} else if (i < was->n_edits) {
			weir_dict_put(&moved, old[i], old[i]);
			err = note(w, &was->edits[i++]);
		} else {
			err = -EAGAIN;
		}
	}
	return err ? err : weir_ranges_normal(&w->arena, &w->window);
}

/* --- what files hold that they did not, and the other way round --- */

static int file_changed(struct work *w, const struct weir_p_set *was, const struct weir_p_set *now)
{
	struct weir_ranges gone, come;
	int err;

	if (weir_ranges_equal(&was->ranges, &now->ranges))
		return 0;
	if (was->ruled)
		return -EAGAIN;
	w->about[now->number] = true;
	err = weir_ranges_minus(&w->arena, &was->ranges, &now->ranges, &gone);
	err = err ? err : weir_ranges_minus(&w->arena, &now->ranges, &was->ranges, &come);
	if (!err && w->window.n + gone.n + come.n > WINDOW_MAX)
		return -EAGAIN;
	err = err ? err : weir_ranges_or(&w->arena, &w->window, &gone, &w->window);
	return err ? err : weir_ranges_or(&w->arena, &w->window, &come, &w->window);
}

static int files_changed(struct work *w)
{
	const struct weir_policy *was = w->before, *now = w->policy;
	int err = was->n_sets == now->n_sets ? 0 : -EAGAIN;

	for (size_t i = 0; i < now->n_sets && !err; i++)
		err = strcmp(was->sets[i]->name, now->sets[i]->name) ? -EAGAIN : file_changed(w, was->sets[i], now->sets[i]);
	return err;
}

/* --- what is to be held --- */

/* A set or a range, within the window. */
static int one_now(struct work *w, const struct weir_p_addr *a, const struct weir_overlay *o, struct weir_ranges *ret)
{
	const struct weir_p_set *s = a->set ? weir_policy_set(w->policy, a->set) : NULL;
	struct weir_ranges one = { 0 };
	struct weir_why why;
	int err;

	if (a->set && !s)
		return -EAGAIN;
	err = s ? weir_set_now(&w->arena, s, o, &w->window, &one, &why) : weir_ranges_add(&w->arena, &one, a->range);
	if (!err && !s)
		err = weir_ranges_normal(&w->arena, &one);
	return err ? err : weir_ranges_and(&w->arena, &one, &w->window, ret);
}

static int except_now(struct work *w, const struct weir_overlay *o, struct weir_ranges *ret)
{
	const struct weir_values *v = &w->policy->doc.blocklist_except;
	int err = 0;

	for (uint32_t i = 0; i < v->n && !err; i++) {
		struct weir_ranges one;

		err = one_now(w, (const struct weir_p_addr *)v->v + i, o, &one);
		err = err ? err : weir_ranges_or(&w->arena, ret, &one, ret);
	}
	return err;
}

/* What of the window the blocklists are to hold; the first that has an address has it. */
static int held_now(struct work *w, const struct weir_overlay *o, struct weir_block_spans *ret)
{
	const struct weir_values *v = &w->policy->doc.blocklists;
	struct weir_ranges one, except = { 0 };
	struct weir_block_spans all = { 0 };
	int err = except_now(w, o, &except);

	for (uint32_t i = 0; i < v->n && !err; i++) {
		struct weir_block_spans next = { 0 }, both = { 0 };

		err = one_now(w, (const struct weir_p_addr *)v->v + i, o, &one);
		err = err ? err : weir_block_spans_of(&one, weir_block_list_number(i), &next);
		err = err ? err : weir_block_spans_over(&all, &next, &both);
		weir_block_spans_free(&next);
		weir_block_spans_free(&all);
		all = both;
	}
	*ret = (struct weir_block_spans){ 0 };
	err = err ? err : weir_block_spans_minus(&all, &except, ret);
	weir_block_spans_free(&all);
	return err;
}

/* With the addresses beside each piece: there what grows together and what is torn apart shows. */
static int widen(struct work *w, struct weir_ranges *ret)
{
	int err = 0;

	for (size_t i = 0; i < w->window.n && !err; i++) {
		struct weir_range r = w->window.v[i];

		/* the places of IPv4 and IPv6 never grow together */
		r.lo -= r.lo && r.lo != WEIR_V4_LOW && r.lo != WEIR_V4_HIGH + 1;
		r.hi += r.hi != ~(weir_u128)0 && r.hi != WEIR_V4_HIGH && r.hi != WEIR_V4_LOW - 1;
		err = weir_ranges_add(&w->arena, ret, r);
	}
	return err ? err : weir_ranges_normal(&w->arena, ret);
}

/* How many ranges each set has, for people. */
static int count_sets(struct work *w, const struct weir_overlay *was, const struct weir_overlay *now, const char *strings,
		      struct weir_list_info *sets, uint32_t n)
{
	struct weir_ranges around = { 0 }, before, after;
	struct weir_why why;
	int err = widen(w, &around);

	for (uint32_t i = 0; i < n && !err; i++) {
		const char *name = strings + sets[i].name;
		const struct weir_p_set *s = weir_policy_set(w->policy, name + (*name == '$'));

		if (!s || !w->about[s->number])
			continue;
		err = weir_set_now(&w->arena, w->before->sets[s->number], was, &around, &before, &why);
		err = err ? err : weir_set_now(&w->arena, s, now, &around, &after, &why);
		if (!err)
			sets[i].ranges += (uint32_t)(after.n - before.n);
	}
	return err;
}

/* --- into the image --- */

static int put(struct work *w, const struct weir_overlay *was, const struct weir_overlay *now, uint8_t *blob,
	       struct weir_late_sets *ret)
{
	struct weir_image_header *h = (void *)blob;
	struct weir_list_info *sets = (void *)(blob + h->block_sets.off);
	struct weir_block_spans held;
	int err;

	if (!w->policy->doc.blocklists.n)
		return 0;
	ret->sets = calloc(h->block_sets.count + 1, sizeof *ret->sets);
	if (!ret->sets)
		return -ENOMEM;
	ret->n_sets = h->block_sets.count;
	memcpy(ret->sets, sets, ret->n_sets * sizeof *sets);
	err = held_now(w, now, &held);
	err = err ? err : weir_blocklist_edit((void *)(blob + h->block.off), h->block.count, &w->window, &held, &ret->lines);
	weir_block_spans_free(&held);
	if (!err)
		err = count_sets(w, was, now, (const char *)blob + h->strings.off, sets, ret->n_sets);
	if (err)
		weir_late_sets_undo(blob, ret);
	return err;
}

/* A quarter of a family at once: whether the blocklists are for everybody then is seen by whoever compiles all of them. */
static bool huge(const struct weir_ranges *r)
{
	for (size_t i = 0; i < r->n; i++) {
		bool four = r->v[i].lo >= WEIR_V4_LOW && r->v[i].hi <= WEIR_V4_HIGH;

		if (r->v[i].hi - r->v[i].lo >= (weir_u128)1 << (four ? 30 : 126))
			return true;
	}
	return false;
}

static int put_all(const struct weir_policy *before, const struct weir_policy *p, const struct weir_overlay *was,
		   const struct weir_overlay *now, uint8_t *blob, struct weir_late_sets *ret)
{
	struct work w = { .before = before, .policy = p, .arena = { .limit = (size_t)1 << 30 } };
	int err;

	*ret = (struct weir_late_sets){ 0 };
	w.about = weir_arena_array(&w.arena, p->n_sets + 1, sizeof *w.about);
	err = !w.about ? -ENOMEM : before == p ? differing(&w, was, now) : files_changed(&w);
	if (!err && huge(&w.window))
		err = -EAGAIN;
	if (!err && w.window.n)
		err = put(&w, was, now, blob, ret);
	if (err)
		weir_late_sets_free(ret);
	weir_arena_free(&w.arena);
	return err;
}

int weir_late_sets_put(const struct weir_policy *p, const struct weir_overlay *was, const struct weir_overlay *now,
		       uint8_t *blob, struct weir_late_sets *ret)
{
	return put_all(p, p, was, now, blob, ret);
}

int weir_late_files_put(const struct weir_policy *was, const struct weir_policy *now, const struct weir_overlay *o,
			uint8_t *blob, struct weir_late_sets *ret)
{
	int err = put_all(was, now, o, o, blob, ret);

	for (size_t i = 0; i < now->n_sets && !err; i++)
		now->sets[i]->ruled = was->sets[i]->ruled;
	return err;
}

void weir_late_sets_undo(uint8_t *blob, const struct weir_late_sets *l)
{
	const struct weir_image_header *h = (void *)blob;

	weir_blocklist_undo((void *)(blob + h->block.off), &l->lines);
	if (l->n_sets)
		memcpy(blob + h->block_sets.off, l->sets, l->n_sets * sizeof *l->sets);
}

void weir_late_sets_free(struct weir_late_sets *l)
{
	weir_block_patch_free(&l->lines);
	free(l->sets);
	*l = (struct weir_late_sets){ 0 };
}
