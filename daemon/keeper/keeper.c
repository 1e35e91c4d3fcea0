/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/image_blob.h"
#include "daemon/keeper/keeper.h"
#include "lib/util/cleanup.h"

#define CANARY_S 60 /* seconds between looks whether the hooks run */

/* What the keeper has to know of an image. */
struct view {
	struct weir_config cfg; /* generation 0: none */
	struct weir_ifxdp *xdp; /* first match by name wins; none: auto */
	size_t n_xdp;
};

struct weir_keeper {
	struct weir_kern *kern;
	struct weir_keeper_options o;
	struct weir_kern_pinned before;
	struct weir_kern_if *ifs;
	size_t n_ifs;
	struct view now;  /* put in force last */
	struct view back; /* what it goes back to while it waits for its confirmation */
	bool seed_wanted; /* waits for the first image: then before any hook */
	uint32_t adopt_s;
	struct weir_keeper_ban *bans; /* likewise */
	size_t n_bans;
	uint8_t (*own)[16]; /* this host's addresses, as the kernel was told */
	size_t n_own;
	bool installed, guard_wanted, guard_on;
	char guard_how[64], guard_why[128];
};

int weir_keeper_open(const struct weir_keeper_options *o, struct weir_keeper **ret, char *why, size_t why_size)
{
	struct weir_kern_options ko = { .runtime_dir = o->runtime_dir, .flows_max = o->flows_max, .prog_open = o->prog_open,
				      .prog_data = o->prog_data };
	struct weir_keeper *k = calloc(1, sizeof *k);
	int r;

	if (!k)
		return -ENOMEM;
	k->o = *o;
	r = weir_kern_pinned(o->runtime_dir, &k->before);
	if (r) /* nothing readable there: nothing before */
		memset(&k->before, 0, sizeof k->before);
	r = weir_kern_open(&ko, &k->kern, why, why_size);
	if (r) {
		free(k);
		return r;
	}
	*ret = k;
	return 0;
}

void weir_keeper_close(struct weir_keeper *k, bool remove)
{
	if (!k)
		return;
	if (!remove && k->installed) /* a start that failed says nothing about the life before it */
		weir_kern_rest(k->kern);
	weir_kern_close(k->kern, remove);
	free(k->ifs);
	free(k->now.xdp);
	free(k->back.xdp);
	free(k->bans);
	free(k->own);
	free(k);
}

/* Whom no ban by a rule may hit. Addresses that cannot be read now are told by a later tick. */
static void own_tell(struct weir_keeper *k)
{
	_cleanup_free_ uint8_t(*v)[16] = NULL;
	size_t n = 0;

	if (weir_addrs_read(&v, &n) < 0 || (k->own && n == k->n_own && !memcmp(v, k->own, n * sizeof *v)) ||
	    weir_kern_own(k->kern, (const uint8_t(*)[16])v, n))
		return;
	free(k->own);
	k->own = TAKE_PTR(v);
	k->n_own = n;
}

const struct weir_kern_pinned *weir_keeper_before(const struct weir_keeper *k)
{
	return &k->before;
}

int weir_keeper_stands(const struct weir_keeper *k, struct weir_kern_pinned *ret)
{
	int r = 0;

	if (!k->installed)
		*ret = k->before;
	else if (!(r = weir_kern_pinned(k->o.runtime_dir, ret)))
		ret->attached = true; /* also where there is no interface to attach to */
	return r;
}

bool weir_keeper_wants(const struct weir_keeper *k, const struct weir_kern_if *i)
{
	/* lo passes by the failsafe; a policy that names it takes that entry away, and then it is filtered: by either of two */
	bool lo_passes = (k->now.cfg.essentials & WEIR_ESS_LO) &&
			 (!k->back.cfg.generation || (k->back.cfg.essentials & WEIR_ESS_LO));

	if (!strcmp(i->name, "lo") && k->installed && lo_passes)
		return false;
	if (!k->o.interfaces)
		return true;
	for (const char *const *g = k->o.interfaces; *g; g++) {
		if (!fnmatch(*g, i->name, 0))
			return true;
	}
	return false;
}

static enum weir_xdp_mode xdp_of(const struct weir_keeper *k, const char *name)
{
	for (size_t i = 0; i < k->now.n_xdp; i++) {
		if (!fnmatch(k->now.xdp[i].glob, name, 0))
			return (enum weir_xdp_mode)k->now.xdp[i].mode;
	}
	return WEIR_XDP_AUTO;
}

/*
 * Covered means: its packets are judged, or nobody asked for that. An interface that was asked for and
 * could not be attached is not covered, and the guard keeps it shut.
 */
static void cover(struct weir_keeper *k, struct weir_kern_if *i)
{
	int r;

	i->wanted = weir_keeper_wants(k, i);
	if (!i->wanted) {
		if (i->covered)
			weir_kern_detach(k->kern, i->ifindex);
		i->covered = false;
		i->tc[0] = i->xdp[0] = i->others[0] = 0;
		snprintf(i->why, sizeof i->why, strcmp(i->name, "lo") ? "not asked for" : "failsafe");
		weir_kern_cover(k->kern, i->ifindex, true);
		return;
	}
	if (k->now.cfg.failures.simulate >> WEIR_FAILURE_HOOK_MISSING & 1) {
		weir_kern_detach(k->kern, i->ifindex);
		i->tc[0] = i->xdp[0] = i->others[0] = 0;
		snprintf(i->why, sizeof i->why, "attach refused (simulated)");
		r = -EPERM;
	} else {
		r = weir_kern_attach(k->kern, i, xdp_of(k, i->name));
	}
	if (r && !i->why[0])
		snprintf(i->why, sizeof i->why, "attach refused (%s)", strerrorname_np(-r));
	i->covered = !r;
	weir_kern_cover(k->kern, i->ifindex, !r);
}

static void guard_set(struct weir_keeper *k, bool on)
{
	int r;

	k->guard_wanted = on;
	if (on == k->guard_on && (on || !k->before.attached))
		return;
	r = weir_kern_guard(k->kern, on, k->guard_how, sizeof k->guard_how);
	if (r && on) {
		snprintf(k->guard_why, sizeof k->guard_why, "%s", k->guard_how[0] ? k->guard_how : strerror(-r));
		return;
	}
	k->guard_on = on;
	if (!on)
		k->guard_how[0] = 0;
}

/*
 * What is here already was open until now: only what comes later must wait for its hooks. Where an earlier
 * life left the guard standing, what came meanwhile waits too.
 */
static void guard_raise(struct weir_keeper *k, bool first)
{
	bool stands = first && k->before.attached && k->before.mode == WEIR_PREVENT;

	for (size_t i = 0; !stands && i < k->n_ifs; i++)
		weir_kern_cover(k->kern, k->ifs[i].ifindex, true);
	guard_set(k, true);
}

void weir_keeper_guard_now(struct weir_keeper *k)
{
	guard_set(k, true);
}

static int seed_now(struct weir_keeper *k, uint32_t adopt_s)
{
	_cleanup_free_ struct weir_seed *v = NULL;
	char why[160] = "";
	size_t n = 0;
	int first = 0, r;

	r = adopt_s ? weir_kern_adopt(k->kern, adopt_s) : 0;
	weir_seeds_read(&v, &n, why, sizeof why); /* what could not be read is met by the adoption window */
	for (size_t i = 0; i < n; i++) {
		int s = weir_kern_flow_seed(k->kern, &v[i].t, v[i].dir);

		if (s < 0 && s != -EEXIST && !first)
			first = s;
	}
	return r ? r : first;
}

int weir_keeper_seed(struct weir_keeper *k, uint32_t adopt_s)
{
	if (k->installed)
		return seed_now(k, adopt_s);
	k->seed_wanted = true;
	k->adopt_s = adopt_s;
	return 0;
}

/* The maps are there, no hook judges yet: what must be in them before the first packet. */
static void fill_maps(struct weir_keeper *k)
{
	if (k->seed_wanted)
		seed_now(k, k->adopt_s);
	k->seed_wanted = false;
	own_tell(k);
	weir_keeper_bans(k, k->bans, k->n_bans);
	free(TAKE_PTR(k->bans));
	k->n_bans = 0;
}

static int view_of(const struct weir_img *img, struct view *ret)
{
	uint32_t n = img->h->xdp.count;
	struct weir_ifxdp *v = n ? calloc(n, sizeof *v) : NULL;

	if (n && !v)
		return -ENOMEM;
	if (n)
		memcpy(v, img->blob + img->h->xdp.off, n * sizeof *v);
	*ret = (struct view){ .cfg = *img->cfg, .xdp = v, .n_xdp = n };
	return 0;
}

static void view_free(struct view *v)
{
	free(v->xdp);
	*v = (struct view){ 0 };
}

static int image_view(const void *blob, uint32_t size, struct view *ret, char *why, size_t why_size)
{
	struct weir_img img;

	if (weir_image_open(&img, blob, size)) {
		snprintf(why, why_size, "the compiled policy is damaged");
		return -EBADMSG;
	}
	return view_of(&img, ret);
}

static void cover_all(struct weir_keeper *k)
{
	for (size_t i = 0; i < k->n_ifs; i++)
		cover(k, &k->ifs[i]);
}

/*
 * The guard for what is in force. While a change waits it must stand for either of the two; the kernel's own guard
 * knows which of them decides, nftables does not: there it stands only when both want it.
 */
static void guard_follow(struct weir_keeper *k, bool first)
{
	bool now = weir_config_guarded(&k->now.cfg), back = k->back.cfg.generation && weir_config_guarded(&k->back.cfg);
	bool waits = k->back.cfg.generation;

	if (!now && !back) {
		guard_set(k, false);
		return;
	}
	if (!k->guard_on)
		guard_raise(k, first);
	if (waits && now != back && k->guard_on && !strcmp(k->guard_how, "nft"))
		guard_set(k, false);
}

/* What an install leaves behind as the way back. */
static int back_view(struct weir_keeper *k, const struct weir_kern_change *c, struct view *ret, char *why, size_t why_size)
{
	*ret = (struct view){ 0 };
	if (!weir_kern_change_waits(c))
		return 0;
	if (c->back)
		return image_view(c->back, c->back_size, ret, why, why_size);
	*ret = k->back.cfg.generation ? k->back : k->now;
	if (ret->n_xdp) {
		struct weir_ifxdp *v = malloc(ret->n_xdp * sizeof *v);

		if (!v)
			return -ENOMEM;
		memcpy(v, ret->xdp, ret->n_xdp * sizeof *v);
		ret->xdp = v;
	}
	return 0;
}

/* failures.hook_missing: refuse. What is asked for must be covered, and the guard must stand where one is needed. */
static int hooks_stand(const struct weir_keeper *k, const struct weir_config *cfg, char *why, size_t size)
{
	if (cfg->failures.choice[WEIR_FAILURE_HOOK_MISSING] != WEIR_HOOK_REFUSE)
		return 0;
	for (size_t i = 0; i < k->n_ifs; i++) {
		if (!k->ifs[i].wanted || k->ifs[i].covered)
			continue;
		snprintf(why, size, "%s cannot be covered: %s (failures.hook_missing: refuse)", k->ifs[i].name, k->ifs[i].why);
		return -EHOSTDOWN;
	}
	if (!k->guard_wanted || k->guard_on)
		return 0;
	snprintf(why, size, "the guard for new interfaces does not stand: %s (failures.hook_missing: refuse)", k->guard_why);
	return -EHOSTDOWN;
}

int weir_keeper_install(struct weir_keeper *k, const struct weir_kern_change *c, char *why, size_t why_size)
{
	bool first = !k->installed, raised = false;
	struct view now = { 0 }, back = { 0 };
	int r = image_view(c->blob, c->size, &now, why, why_size);

	if (!r)
		r = back_view(k, c, &back, why, why_size);
	if (!r && !first && !k->guard_on && !weir_kern_change_waits(c) && weir_config_guarded(&now.cfg)) {
		guard_raise(k, false);
		raised = true;
	}
	/* with the hooks of the image in force: nothing is moved when one of them is not there */
	if (!r && !first)
		r = hooks_stand(k, &now.cfg, why, why_size);
	if (!r && k->o.busy)
		k->o.busy(true); /* the verifier reads all programs */
	if (!r)
		r = weir_kern_install(k->kern, c, why, why_size);
	if (k->o.busy)
		k->o.busy(false);
	if (r) {
		if (raised)
			guard_set(k, false);
		view_free(&now);
		view_free(&back);
		return r;
	}
	view_free(&k->now);
	view_free(&k->back);
	k->now = now;
	k->back = back;
	k->installed = true;
	if (first)
		fill_maps(k);
	if (!k->guard_on) /* the first image brought the maps that it needs; nothing is attached yet */
		guard_follow(k, first);
	cover_all(k);
	guard_follow(k, false);
	return first ? hooks_stand(k, &k->now.cfg, why, why_size) : 0;
}

/* It is decided which of the two stays. */
static void settled(struct weir_keeper *k, bool stays)
{
	if (!stays) {
		view_free(&k->now);
		k->now = k->back;
		k->back = (struct view){ 0 };
	}
	view_free(&k->back);
	guard_follow(k, false);
	cover_all(k);
}

int weir_keeper_confirm(struct weir_keeper *k)
{
	int r = weir_kern_confirm(k->kern);

	if (!r)
		settled(k, true);
	return r;
}

int weir_keeper_revert(struct weir_keeper *k)
{
	int r = weir_kern_revert(k->kern);

	if (!r)
		settled(k, false);
	return r;
}

enum weir_settled weir_keeper_tick(struct weir_keeper *k)
{
	enum weir_settled s = weir_kern_settle(k->kern);

	if (s != WEIR_SETTLED_NOTHING)
		settled(k, s == WEIR_SETTLED_CONFIRMED);
	weir_kern_canary(k->kern, CANARY_S);
	weir_kern_lines_ready(k->kern);
	if (k->installed)
		own_tell(k);
	return s;
}

const struct weir_config *weir_keeper_config(const struct weir_keeper *k)
{
	return k->installed ? &k->now.cfg : NULL;
}

static struct weir_kern_if *if_of(const struct weir_keeper *k, uint32_t ifindex)
{
	for (size_t i = 0; i < k->n_ifs; i++) {
		if (k->ifs[i].ifindex == ifindex)
			return &k->ifs[i];
	}
	return NULL;
}

/* The host's view is new, what weir did with the interface stays. */
static void if_update(struct weir_kern_if *to, const struct weir_kern_if *from)
{
	struct weir_kern_if old = *to;

	*to = *from;
	to->covered = old.covered;
	memcpy(to->tc, old.tc, sizeof to->tc);
	memcpy(to->xdp, old.xdp, sizeof to->xdp);
	memcpy(to->why, old.why, sizeof to->why);
	memcpy(to->others, old.others, sizeof to->others);
}

void weir_keeper_link(struct weir_keeper *k, enum weir_link_event ev, const struct weir_kern_if *i)
{
	struct weir_kern_if *have = if_of(k, i->ifindex), *v;

	if (ev == WEIR_LINK_GONE) {
		if (!have)
			return;
		weir_kern_cover(k->kern, i->ifindex, false); /* the index may come again as another device */
		weir_kern_detach(k->kern, i->ifindex);
		memmove(have, have + 1, (size_t)(k->ifs + k->n_ifs - have - 1) * sizeof *have);
		k->n_ifs--;
		return;
	}
	if (!have) {
		v = realloc(k->ifs, (k->n_ifs + 1) * sizeof *v);
		if (!v)
			return; /* not covered: the guard holds it */
		k->ifs = v;
		have = &v[k->n_ifs++];
		*have = *i;
		have->covered = false;
	} else {
		if_update(have, i);
	}
	if (k->installed)
		cover(k, have);
}

const struct weir_kern_if *weir_keeper_ifs(const struct weir_keeper *k, size_t *ret_n)
{
	*ret_n = k->n_ifs;
	return k->ifs;
}

const char *weir_keeper_guard(const struct weir_keeper *k, const char **ret_why)
{
	*ret_why = k->guard_wanted && !k->guard_on ? k->guard_why : "";
	return k->guard_on ? k->guard_how : "";
}

int weir_keeper_ban(struct weir_keeper *k, const struct weir_keeper_ban *ban)
{
	struct weir_ban b = { .id = ban->id, .mode = WEIR_PREVENT };
	uint64_t now = (uint64_t)time(NULL), until = ban->until_unix;

	if (until)
		b.until = weir_kern_now() + (until > now ? until - now : 0) * 1000000000u;
	return weir_kern_ban_add(k->kern, &ban->key, &b);
}

int weir_keeper_unban(struct weir_keeper *k, const struct weir_ban_key *key)
{
	return weir_kern_ban_remove(k->kern, key);
}

struct key_list {
	struct weir_ban_key *v;
	size_t n;
};

static void collect(const struct weir_ban_key *key, const struct weir_ban *ban, void *data)
{
	struct key_list *l = data;
	struct weir_ban_key *v = realloc(l->v, (l->n + 1) * sizeof *v);

	if (!v)
		return;
	l->v = v;
	v[l->n++] = *key;
}

static int key_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct weir_ban_key));
}

int weir_keeper_bans(struct weir_keeper *k, const struct weir_keeper_ban *v, size_t n)
{
	struct key_list have = { 0 }, want = { 0 }; /* a map must not change under the walk */
	int first = 0;

	if (!k->installed) {
		struct weir_keeper_ban *copy = n ? malloc(n * sizeof *copy) : NULL;

		if (n && !copy)
			return -ENOMEM;
		if (n)
			memcpy(copy, v, n * sizeof *copy);
		free(k->bans);
		k->bans = copy;
		k->n_bans = n;
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		int r = weir_keeper_ban(k, &v[i]);

		collect(&v[i].key, NULL, &want);
		first = first ? first : r;
	}
	if (want.n)
		qsort(want.v, want.n, sizeof *want.v, key_compare);
	weir_kern_ban_each(k->kern, collect, &have);
	for (size_t i = 0; i < have.n; i++) {
		if (!want.n || !bsearch(&have.v[i], want.v, want.n, sizeof *want.v, key_compare))
			weir_kern_ban_remove(k->kern, &have.v[i]);
	}
	free(have.v);
	free(want.v);
	return first;
}

struct weir_kern *weir_keeper_kern(struct weir_keeper *k)
{
	return k->kern;
}
