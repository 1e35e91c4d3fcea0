/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change that waits for its confirmation. Two generations stand in slots of the pinned program arrays, every hook
 * leads to a root program, and one word in the control map says which slot decides until when (core/event.h). The
 * word is the truth: a command may write it, and the clock makes it mean something else, while no process lives.
 * What is here only loads, points hooks and cleans up behind the decision.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/kern/clock.h"
#include "lib/kern/internal.h"
#include "root.skel.h"

/* A packet on its way may have read the word of a moment ago: what it named is emptied that much later. */
#define GRACE_NS 1000000000ull

static uint64_t now_ms(void)
{
	return weir_kern_now() / 1000000;
}

uint64_t weir_control_word(const struct weir_control *c)
{
	return __atomic_load_n(&c->word, __ATOMIC_ACQUIRE);
}

/* Is somebody still to decide, and time left for it? */
static bool word_waits(uint64_t word)
{
	uint64_t deadline = weir_word_deadline(word);

	return word && deadline != WEIR_WORD_NEVER && now_ms() < deadline;
}

static void word_set(struct weir_control *c, uint64_t word)
{
	__atomic_store_n(&c->word, word, __ATOMIC_SEQ_CST);
}

#define CLOCK_AGE_S 60

/*
 * The programs' clock: once a minute, since the zone may be another by now, and at once when the clock was set. A change of
 * a second is drift, not a clock that was set; of that the next minute takes care.
 */
static void renew_clock(struct weir_kern *k)
{
	struct weir_control *c = k->control;
	uint64_t boot = weir_kern_now() / 1000000000;
	int64_t now = (int64_t)time(NULL), diff = now - (int64_t)boot;
	uint32_t other = ~c->clock_at & 1;

	if (k->clock_made && boot - k->clock_made < CLOCK_AGE_S && diff - k->clock_diff <= 1 && k->clock_diff - diff <= 1)
		return;
	weir_clock_make(now, boot, &c->clock[other]);
	__atomic_store_n(&c->clock_at, other, __ATOMIC_RELEASE);
	k->clock_made = boot ? boot : 1;
	k->clock_diff = diff;
}

int weir_control_open(struct weir_kern *k)
{
	void *m = mmap(NULL, sizeof *k->control, PROT_READ | PROT_WRITE, MAP_SHARED, k->shared[WEIR_M_CONTROL], 0);

	if (m == MAP_FAILED)
		return -errno;
	k->control = m;
	if (!k->control->limit_seed && getrandom(&k->control->limit_seed, sizeof k->control->limit_seed, 0) < 0)
		return -errno;
	renew_clock(k); /* before the first packet is judged */
	return 0;
}

static void epoch_used(struct weir_control *c, const struct weir_config *cfg)
{
	if (cfg->epoch > c->epoch_max)
		c->epoch_max = cfg->epoch;
}

static void tell_back(struct weir_control *c, const struct weir_gen *back)
{
	c->back_mode = back->cfg.mode;
	c->back_guard = weir_config_guarded(&back->cfg);
	c->back_epoch = back->cfg.epoch;
	c->back_generation = back->cfg.generation;
	c->back_idle_s = back->cfg.idle_s;
	epoch_used(c, &back->cfg);
	__atomic_store_n(&c->back_slot, (uint32_t)back->slot, __ATOMIC_RELEASE);
}

/* For who finds the pins later, and for the guard. */
void weir_control_tell(struct weir_kern *k)
{
	struct weir_control *c = k->control;
	const struct weir_config *now = &k->gen.cfg;

	if (k->back.skel)
		tell_back(c, &k->back);
	c->mode = now->mode;
	c->clock_used = (now->conds_used & WEIR_C_TIME) != 0;
	c->guard = weir_config_guarded(now);
	c->epoch = now->epoch;
	epoch_used(c, now);
	__atomic_store_n(&c->generation, now->generation, __ATOMIC_RELEASE);
}

int weir_root_prog_fd(const struct weir_kern *k, enum weir_hook_slot slot)
{
	const struct bpf_program *p[WEIR_SLOT_COUNT] = { NULL };

	if (!k->root)
		return -1;
	p[WEIR_SLOT_IN] = k->root->progs.weir_root_in;
	p[WEIR_SLOT_OUT] = k->root->progs.weir_root_out;
	p[WEIR_SLOT_XDP] = k->root->progs.weir_root_xdp;
	return bpf_program__fd(p[slot]);
}

static int root_load(struct weir_kern *k, char *why, size_t why_size)
{
	struct weir_root_obj *o;
	struct bpf_map *m;
	int r = 0;

	if (k->root)
		return 0;
	o = weir_root_obj__open();
	if (!o)
		return weir_why(why, why_size, -errno, "opening the root programs: %s", strerror(errno));
	bpf_object__for_each_map(m, o->obj) { /* one header names all maps; the shared ones that are used are there */
		int s = 0;

		while (s < WEIR_M_COUNT && strcmp(weir_shared_names[s], bpf_map__name(m)))
			s++;
		bpf_map__set_autocreate(m, m == o->maps.rodata);
		if (s == WEIR_M_CONTROL || s == WEIR_M_STATS || s == WEIR_M_GENS_TC || s == WEIR_M_GENS_XDP) {
			bpf_map__set_autocreate(m, true);
			r = r ? r : bpf_map__reuse_fd(m, k->shared[s]);
		}
	}
	if (!r)
		r = weir_root_obj__load(o);
	if (r) {
		weir_root_obj__destroy(o);
		return weir_why(why, why_size, r, "loading the root programs: %s", strerror(-r));
	}
	k->root = o;
	return 0;
}

static void slot_clear(const struct weir_kern *k, uint32_t slot)
{
	uint32_t in = slot * 2, out = slot * 2 + 1;

	bpf_map_delete_elem(k->shared[WEIR_M_GENS_TC], &in);
	bpf_map_delete_elem(k->shared[WEIR_M_GENS_TC], &out);
	bpf_map_delete_elem(k->shared[WEIR_M_GENS_XDP], &slot);
}

static int slot_fill(const struct weir_kern *k, const struct weir_gen *g, uint32_t slot)
{
	uint32_t in = slot * 2, out = slot * 2 + 1;
	int fd[WEIR_SLOT_COUNT];

	for (int s = 0; s < WEIR_SLOT_COUNT; s++)
		fd[s] = weir_gen_prog_fd(g, (enum weir_hook_slot)s);
	if (bpf_map_update_elem(k->shared[WEIR_M_GENS_TC], &in, &fd[WEIR_SLOT_IN], BPF_ANY) ||
	    bpf_map_update_elem(k->shared[WEIR_M_GENS_TC], &out, &fd[WEIR_SLOT_OUT], BPF_ANY))
		return -errno;
	if (fd[WEIR_SLOT_XDP] >= 0 && bpf_map_update_elem(k->shared[WEIR_M_GENS_XDP], &slot, &fd[WEIR_SLOT_XDP], BPF_ANY))
		return -errno;
	return 0;
}

/* The hooks lead straight to k->gen. What still reads the word is led to `slot`, where the same stands; -1: as it was. */
static void word_over(struct weir_kern *k, int slot)
{
	weir_control_tell(k);
	if (slot >= 0)
		word_set(k->control, weir_word_make(WEIR_WORD_NEVER, (uint32_t)slot, (uint32_t)slot));
	__atomic_store_n(&k->control->back_slot, WEIR_GEN_SLOTS, __ATOMIC_RELEASE);
	k->stale_at = weir_kern_now();
}

/* A slot that neither the word nor a generation of ours uses. Of four at most two are. */
static int slot_take(const struct weir_kern *k, int besides)
{
	uint64_t word = weir_control_word(k->control);

	for (int s = 0; s < WEIR_GEN_SLOTS; s++) {
		bool used = s == besides || s == k->gen.slot || s == k->back.slot ||
			    (word && ((uint32_t)s == weir_word_now(word) || (uint32_t)s == weir_word_back(word)));

		if (!used)
			return s;
	}
	return -ENOSPC;
}

/* Put a generation into a free slot of the arrays. */
static int slot_give(struct weir_kern *k, struct weir_gen *g, int besides)
{
	int slot = slot_take(k, besides), r;

	if (slot < 0)
		return slot;
	r = slot_fill(k, g, (uint32_t)slot);
	if (!r)
		g->slot = slot;
	return r;
}

/* Of a new change the clock starts here, where it takes force: no time is lost to what loading it took. */
static uint64_t deadline_of(const struct weir_kern_change *c)
{
	return c->span ? weir_kern_now() + c->span : c->deadline;
}

/*
 * The last step. A command may have decided about the pair that waited while the new one was made, and told its user
 * so: that stands, and nothing is written.
 */
static int word_begin(struct weir_kern *k, const uint64_t *waited, const struct weir_kern_change *c, char *why,
		      size_t why_size)
{
	uint64_t seen = waited ? *waited : 0, word;

	weir_control_tell(k);
	word = weir_word_make(deadline_of(c) / 1000000, (uint32_t)k->gen.slot, (uint32_t)k->back.slot);
	if (!waited)
		word_set(k->control, word);
	else if (!__atomic_compare_exchange_n(&k->control->word, &seen, word, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return weir_why(why, why_size, -ECANCELED, "what waited for its confirmation was decided meanwhile");
	return 0;
}

/*
 * The three steps that can fail come first, and until the word is written the packets see nothing of them: the new
 * generations stand in slots that nobody reads, and the hooks lead where the old word, or a word that names only the
 * generation in force, sends them.
 */
int weir_pending_install(struct weir_kern *k, struct weir_gen *new, const struct weir_kern_change *c, char *why,
			 size_t why_size)
{
	struct weir_gen back = { .slot = -1 }, old_gen = k->gen, old_back = k->back;
	struct weir_kern_health health = { 0 };
	bool on_root = k->pending, waited = on_root && k->back.skel, own_back = c->back;
	uint64_t word = weir_control_word(k->control);
	int r = root_load(k, why, why_size);

	/* an edit of a pair, and there is none any more; or one whose end is written already */
	if (!r && k->gen.skel && (waited ? weir_word_deadline(word) == WEIR_WORD_NEVER : own_back))
		r = weir_why(why, why_size, -ECANCELED, "what waited for its confirmation was decided meanwhile");
	if (!r && own_back)
		r = weir_gen_load(k, c->back, c->back_size, &back, &health, why, why_size);
	else if (!r)
		back = waited ? k->back : k->gen;
	if (!r && !back.skel)
		r = weir_why(why, why_size, -EINVAL, "there is nothing yet that the change could go back to");
	if (!r && back.slot < 0)
		r = slot_give(k, &back, -1);
	if (!r)
		r = slot_give(k, new, back.slot);
	if (r) {
		if (back.slot >= 0 && back.slot != old_gen.slot && back.slot != old_back.slot)
			slot_clear(k, (uint32_t)back.slot);
		if (own_back)
			weir_gen_free(&back);
		return *why ? r : weir_why(why, why_size, r, "%s", strerror(-r));
	}
	if (!on_root && k->gen.skel) { /* to whom the hooks are led while they move, whatever an earlier life left there */
		tell_back(k->control, &back);
		word_set(k->control, weir_word_make(WEIR_WORD_NEVER, (uint32_t)back.slot, (uint32_t)back.slot));
	}
	k->back = back;
	k->gen = *new;
	k->pending = true;
	weir_cover_refresh(k);
	r = weir_hooks_move(k, why, why_size);
	if (!r)
		r = word_begin(k, waited ? &word : NULL, c, why, why_size);
	if (r) {
		k->gen = old_gen;
		k->back = old_back;
		k->pending = on_root;
		if (waited)
			weir_control_tell(k);
		k->gen.slot = on_root ? old_gen.slot : -1;
		k->unmoved = weir_hooks_move(k, NULL, 0);
		if (!on_root && !k->unmoved)
			word_over(k, back.slot);
		slot_clear(k, (uint32_t)new->slot);
		if (own_back)
			weir_gen_free(&back);
		return r;
	}
	k->unmoved = false;
	k->stale_at = weir_kern_now(); /* slots that nobody is sent to any more */
	if (waited)
		weir_gen_free(&old_gen);
	if (own_back)
		weir_gen_free(waited ? &old_back : &old_gen);
	return 0;
}

/* Links that an earlier life left on interfaces that this one was not asked to cover: their programs are of then. */
static void links_sweep(struct weir_kern *k)
{
	_cleanup_closedir_ DIR *d = NULL;
	char path[PATH_MAX];

	if (weir_pins_path(k, path, sizeof path, "links"))
		return;
	d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		uint32_t ifindex;
		size_t n = 0;
		char hook[5];
		bool filter = sscanf(e->d_name, "clsact_%u_%4[a-z]", &ifindex, hook) == 2;

		if ((!filter && sscanf(e->d_name, "%4[a-z]_%u", hook, &ifindex) != 2) ||
		    (strcmp(hook, "in") && strcmp(hook, "out") && strcmp(hook, "xdp")))
			continue;
		while (n < k->n_covers && k->covers[n]->i.ifindex != ifindex)
			n++;
		if (n < k->n_covers)
			continue;
		if (filter)
			weir_clsact_detach(k->bpffs, ifindex, strcmp(hook, "in") ? WEIR_SLOT_OUT : WEIR_SLOT_IN);
		else
			unlinkat(dirfd(d), e->d_name, 0);
	}
}

/* Nobody has been sent there for a while. */
static void tidy(struct weir_kern *k)
{
	if (!k->stale_at || weir_kern_now() < k->stale_at + GRACE_NS || k->unmoved || (!k->pending && !k->swept))
		return;
	if (!k->pending) /* while links of an earlier life may lead to its root programs it stays: they are taken over one by one */
		word_set(k->control, 0);
	for (int s = 0; s < WEIR_GEN_SLOTS; s++)
		if (s != k->gen.slot && s != k->back.slot)
			slot_clear(k, (uint32_t)s);
	k->stale_at = 0;
}

void weir_pending_end(struct weir_kern *k)
{
	bool own = k->back.slot >= 0; /* what waited until now is over with what was just installed */
	uint64_t word = weir_control_word(k->control);
	int slot = k->gen.slot >= 0 ? k->gen.slot : own ? (int)weir_word_slot(word, now_ms()) : -1;

	weir_gen_free(&k->back);
	k->pending = k->unmoved = false;
	k->gen.slot = -1;
	word_over(k, slot);
}

/* Move the hooks off the root programs. One that refuses stays there and is sent to the right slot: tried again. */
static void lead_straight(struct weir_kern *k)
{
	bool on_root = k->pending;

	k->pending = false;
	k->unmoved = weir_hooks_move(k, NULL, 0);
	k->pending = k->unmoved && on_root;
	if (k->unmoved)
		weir_control_tell(k);
	else
		weir_pending_end(k);
}

/* The word is written for good: lead the hooks straight to what won. */
static void settle_on(struct weir_kern *k, bool stays)
{
	struct weir_gen lost;

	if (stays) {
		lost = k->back;
	} else {
		lost = k->gen;
		k->gen = k->back;
	}
	k->back = (struct weir_gen){ .slot = -1 };
	lead_straight(k);
	weir_gen_free(&lost);
}

void weir_kern_pending(struct weir_kern *k, struct weir_kern_pending *ret)
{
	uint64_t word = weir_control_word(k->control), deadline = weir_word_deadline(word);

	*ret = (struct weir_kern_pending){ .generation = k->gen.cfg.generation };
	if (k->pending && k->back.skel && weir_word_slot(word, now_ms()) != (uint32_t)k->gen.slot)
		ret->generation = k->back.cfg.generation; /* it has gone back; the hooks are still to be moved */
	if (!k->pending || !k->back.skel || deadline == WEIR_WORD_NEVER || now_ms() >= deadline)
		return;
	ret->pending = true;
	ret->deadline = deadline * 1000000;
	ret->generation = k->gen.cfg.generation;
	ret->back_generation = k->back.cfg.generation;
}

/* Write how it ends, unless it has ended already. */
static int word_settle(struct weir_control *c, bool stays)
{
	uint64_t word = weir_control_word(c), settled;
	uint32_t slot;

	do {
		if (!word_waits(word))
			return -ENOENT;
		slot = stays ? weir_word_now(word) : weir_word_back(word);
		settled = weir_word_make(WEIR_WORD_NEVER, slot, slot);
	} while (!__atomic_compare_exchange_n(&c->word, &word, settled, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return 0;
}

int weir_kern_confirm(struct weir_kern *k)
{
	int r = k->pending && k->back.skel ? word_settle(k->control, true) : -ENOENT;

	if (!r)
		settle_on(k, true);
	return r;
}

int weir_kern_revert(struct weir_kern *k)
{
	int r = k->pending && k->back.skel ? word_settle(k->control, false) : -ENOENT;

	if (!r)
		settle_on(k, false);
	return r;
}

/* How it ended, if it has: what the clock decided is written down, so that a late command cannot say otherwise. */
static enum weir_settled word_decided(struct weir_kern *k)
{
	uint32_t slot = (uint32_t)k->back.slot;
	uint64_t word = weir_control_word(k->control), back = weir_word_make(WEIR_WORD_NEVER, slot, slot);

	do {
		if (weir_word_deadline(word) == WEIR_WORD_NEVER)
			return (int)weir_word_now(word) == k->gen.slot ? WEIR_SETTLED_CONFIRMED : WEIR_SETTLED_BACK;
		if (now_ms() < weir_word_deadline(word))
			return WEIR_SETTLED_NOTHING;
	} while (!__atomic_compare_exchange_n(&k->control->word, &word, back, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return WEIR_SETTLED_BACK;
}

enum weir_settled weir_kern_settle(struct weir_kern *k)
{
	bool waits = k->pending && k->back.skel;
	enum weir_settled how = waits ? word_decided(k) : WEIR_SETTLED_NOTHING;

	renew_clock(k);
	if (!k->rest)
		__atomic_store_n(&k->control->alive, weir_kern_now(), __ATOMIC_RELEASE);
	if (k->gen.skel && !k->swept) { /* a round after the first install every interface has had its turn */
		k->swept = k->covered_once;
		k->covered_once = true;
		if (k->swept)
			links_sweep(k);
	}
	if (how != WEIR_SETTLED_NOTHING)
		settle_on(k, how == WEIR_SETTLED_CONFIRMED);
	else if (k->unmoved && waits)
		k->unmoved = weir_hooks_move(k, NULL, 0);
	else if (k->unmoved)
		lead_straight(k);
	tidy(k);
	return how;
}

void weir_kern_rest(struct weir_kern *k)
{
	k->rest = true;
	__atomic_store_n(&k->control->alive, UINT64_MAX, __ATOMIC_RELEASE);
}

void weir_pending_free(struct weir_kern *k)
{
	if (k->root)
		weir_root_obj__destroy(k->root);
	k->root = NULL;
	if (k->control)
		munmap(k->control, sizeof *k->control);
	k->control = NULL;
}

/* The control map of an instance, found by its pin. */
static int pinned_settle(const char *runtime_dir, bool stays)
{
	_cleanup_close_ int fd = -1;
	struct weir_control *c;
	char path[PATH_MAX];
	int r;

	if (!weir_pins_exist(runtime_dir))
		return -ENOENT;
	if (snprintf(path, sizeof path, "%s/bpf/maps/weir_control", runtime_dir) >= (int)sizeof path)
		return -ENAMETOOLONG;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c == MAP_FAILED)
		return -errno;
	r = c->back_slot < WEIR_GEN_SLOTS ? word_settle(c, stays) : -ENOENT;
	munmap(c, sizeof *c);
	return r;
}

int weir_kern_pinned_confirm(const char *runtime_dir)
{
	return pinned_settle(runtime_dir, true);
}

int weir_kern_pinned_revert(const char *runtime_dir)
{
	return pinned_settle(runtime_dir, false);
}
