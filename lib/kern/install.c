/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A generation: programs plus the maps that they reference, at the exact sizes of the image. It is loaded
 * and filled beside the one in force, then every hook is moved to it by link update. If one hook refuses,
 * all go back. A change that waits for its confirmation goes another way: pending.c.
 */
#include <bpf/btf.h>
#include <sys/utsname.h>

#include "core/memory.h"
#include "lib/kern/internal.h" /* brings the accessors that core/gate.h builds on */

#include "core/gate.h"
#include "lib/kern/kern_test.h"
#include "lib/kern/selftest.h"
#include "net.skel.h"

int weir_gen_prog_fd(const struct weir_gen *g, enum weir_hook_slot slot)
{
	return g->skel ? g->prog[slot] : -1;
}

int weir_gen_map_fd(const struct weir_gen *g, const char *name)
{
	return g->skel ? bpf_object__find_map_fd_by_name(g->skel->obj, name) : -1;
}

uint32_t *weir_gen_late(const struct weir_gen *g)
{
	return g->skel ? (uint32_t *)(uintptr_t)&g->skel->bss->weir_late_used : NULL;
}

int weir_prog_fd(const struct weir_kern *k, enum weir_hook_slot slot)
{
	return k->pending ? weir_root_prog_fd(k, slot) : weir_gen_prog_fd(&k->gen, slot);
}

int weir_kern_prog_fd(struct weir_kern *k, const char *name)
{
	for (int s = 0; s < WEIR_SLOT_COUNT; s++)
		if (k->gen.skel && !strcmp(name, weir_prog_name((enum weir_hook_slot)s)))
			return k->gen.prog[s];
	return -ENOENT;
}

int weir_kern_map_fd(struct weir_kern *k, const char *name)
{
	return weir_gen_map_fd(&k->gen, name);
}

/* A pinned map of another build: of another shape, it is left behind and made anew. */
static void drop_misfit(struct weir_kern *k, int m, const struct bpf_map *map)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof info;
	char path[PATH_MAX];

	if (!bpf_obj_get_info_by_fd(k->shared[m], &info, &len) && info.type == bpf_map__type(map) &&
	    (m != WEIR_M_BUCKETS || info.max_entries >= bpf_map__max_entries(map)) &&
	    info.key_size == bpf_map__key_size(map) && info.value_size == bpf_map__value_size(map))
		return;
	close(k->shared[m]);
	k->shared[m] = -1;
	if (!weir_pins_path(k, path, sizeof path, "maps/%s", weir_shared_names[m]))
		unlink(path);
}

/* Shared maps: those that are pinned already are used, the others will be pinned after loading. */
static int share_maps(struct weir_kern *k, struct weir_net *s, char *why, size_t size)
{
	for (int m = 0; m < WEIR_M_COUNT; m++) {
		struct bpf_map *map = bpf_object__find_map_by_name(s->obj, weir_shared_names[m]);

		if (map && k->shared[m] >= 0)
			drop_misfit(k, m, map);
		if (map && k->shared[m] >= 0 && bpf_map__reuse_fd(map, k->shared[m]))
			return weir_why(why, size, -errno, "map %s: %s", weir_shared_names[m], strerror(errno));
	}
	return 0;
}

/* Maps in the sizes of core/memory.def, of which the policy's compiler knows what they take: all of them, and as they are. */
static int size_maps(struct weir_kern *k, struct weir_net *s, const struct weir_img *img, char *why, size_t size)
{
	static const char *const names[] = {
#define X(ID, map, kind, key, value, entries, what) #map,
#include "core/memory.def"
#undef X
	};
	struct weir_memory mem;
	struct bpf_map *map;

	weir_memory_of(img->h, img->cfg, 1, &mem);
	if (k->o.flows_max)
		mem.map[WEIR_MEM_FLOWS].entries = k->o.flows_max;
	if (k->o.half_max)
		mem.map[WEIR_MEM_HALF].entries = k->o.half_max;
	bpf_object__for_each_map(map, s->obj) {
		const struct weir_memory_map *m = NULL;

		for (uint32_t i = 0; !m && i < WEIR_MEM_COUNT; i++)
			if (!strcmp(bpf_map__name(map), names[i]))
				m = &mem.map[i];
		if (bpf_map__is_internal(map))
			continue;
		if (!m || bpf_map__key_size(map) != m->key || bpf_map__value_size(map) > m->value)
			return weir_why(why, size, -EINVAL, "map %s is not as core/memory.def says", bpf_map__name(map));
		bpf_map__set_max_entries(map, m->entries ? m->entries : 1);
	}
	return 0;
}

static int fill_from(struct bpf_map *map, const void *values, uint32_t count, uint32_t entry)
{
	_cleanup_free_ uint32_t *keys = NULL;
	uint32_t n = count;

	if (!n)
		return 0;
	keys = malloc(n * sizeof *keys);
	if (!keys)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		keys[i] = i;
	if (!bpf_map_update_batch(bpf_map__fd(map), keys, values, &n, NULL))
		return 0;
	for (uint32_t i = 0; i < count; i++) /* a value size that is no multiple of 8 has no batch form */
		if (bpf_map_update_elem(bpf_map__fd(map), &i, (const uint8_t *)values + (size_t)i * entry, BPF_ANY))
			return -errno;
	return 0;
}

/* Copy one section of the image into its map. */
static int fill(struct bpf_map *map, const struct weir_img *img, const struct weir_section *s, uint32_t entry)
{
	return fill_from(map, img->blob + s->off, s->count, entry);
}

static int fill_heads(struct bpf_map *map, const struct weir_img *img)
{
	uint32_t n = img->h->rules.count, lines = (n + WEIR_HEADS - 1) / WEIR_HEADS;
	_cleanup_free_ struct weir_heads *heads = n ? calloc(lines, sizeof *heads) : NULL;

	if (!heads)
		return n ? -ENOMEM : 0;
	for (uint32_t i = 0; i < n; i++)
		heads[i / WEIR_HEADS].v[i % WEIR_HEADS] = *weir_img_head(img, i);
	return fill_from(map, heads, lines, sizeof *heads);
}

/* Minute by minute: a packet costs one look, whatever the windows are. */
static int fill_times(struct bpf_map *map, const struct weir_img *img)
{
	_cleanup_free_ uint64_t *week = img->h->times.count ? malloc(WEIR_WEEK_MINUTES * sizeof *week) : NULL;

	if (!week)
		return img->h->times.count ? -ENOMEM : 0;
	for (uint32_t i = 0; i < WEIR_WEEK_MINUTES; i++)
		week[i] = weir_img_times_at(img, i);
	return fill_from(map, week, WEIR_WEEK_MINUTES, sizeof *week);
}

static int fill_gate(struct bpf_map *map, const struct weir_img *img)
{
	_cleanup_free_ struct weir_gate *g = calloc(1, sizeof *g);
	uint32_t zero = 0;

	if (!g)
		return -ENOMEM;
	weir_gate_make(img, img->cfg, g);
	return bpf_map_update_elem(bpf_map__fd(map), &zero, g, BPF_ANY) ? -errno : 0;
}

static int fill_maps(struct weir_net *s, const struct weir_img *img)
{
	const struct weir_image_header *h = img->h;
	int r = fill(s->maps.weir_rules, img, &h->rules, sizeof(struct weir_rule));

	r = r ? r : fill_heads(s->maps.weir_heads, img);
	r = r ? r : fill(s->maps.weir_failsafe, img, &h->failsafe, sizeof(struct weir_rule));
	r = r ? r : fill_gate(s->maps.weir_gates, img);
	r = r ? r : fill(s->maps.weir_negs, img, &h->negs, sizeof(struct weir_cond));
	r = r ? r : fill(s->maps.weir_spans, img, &h->spans, sizeof(struct weir_span));
	r = r ? r : fill(s->maps.weir_tree, img, &h->tree, sizeof(struct weir_tree_line));
	r = r ? r : fill(s->maps.weir_bounds4, img, &h->bounds4, sizeof(struct weir_bound4));
	r = r ? r : fill(s->maps.weir_bounds6, img, &h->bounds6, sizeof(struct weir_bound6));
	r = r ? r : fill(s->maps.weir_bounds_p, img, &h->bounds_port, sizeof(struct weir_bound4));
	r = r ? r : fill(s->maps.weir_addr_rows, img, &h->addr_rows, 8);
	r = r ? r : fill_times(s->maps.weir_times, img);
	r = r ? r : fill(s->maps.weir_limits, img, &h->limits, sizeof(struct weir_limit));
	r = r ? r : weir_blocks_fill(bpf_map__fd(s->maps.weir_block), img);
	return r ? r : fill(s->maps.weir_port_rows, img, &h->port_rows, 8);
}

static int ephemeral_min(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	int low = 32768;

	if (f && fscanf(f, "%d", &low) != 1)
		low = 32768;
	return low;
}

/*
 * Linux 5.14 was the first whose tunnels show only what was in them. 0 from then on; before it where sk_buff.mac_len lies, in
 * bytes. The kernel's types are 5 MB to read: asked for here and by those kernels alone, not with each generation.
 */
static int mac_len_at(uint32_t *ret)
{
	unsigned int major = 0, minor = 0;
	const struct btf_type *skb;
	struct btf *types;
	struct utsname u;
	int32_t id;
	int r = -ENOENT;

	*ret = 0;
	if (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2 || major > 5 || (major == 5 && minor >= 14))
		return 0;
	types = btf__load_vmlinux_btf();
	if (!types)
		return -errno;
	id = btf__find_by_name_kind(types, "sk_buff", BTF_KIND_STRUCT);
	skb = id < 0 ? NULL : btf__type_by_id(types, (uint32_t)id);
	for (uint16_t i = 0; skb && i < btf_vlen(skb) && r; i++) {
		const char *name = btf__name_by_offset(types, btf_members(skb)[i].name_off);

		if (!name || strcmp(name, "mac_len"))
			continue;
		*ret = btf_member_bit_offset(skb, i) / 8;
		r = 0;
	}
	btf__free(types);
	return r;
}

static int loading_failed(int r, char *why, size_t size)
{
	return weir_why(why, size, r, "loading the programs: %s%s", strerror(-r),
			r == -EPERM ? " (root and CAP_BPF are needed)" : "");
}

static int load(struct weir_kern *k, const struct weir_img *img, struct weir_gen *g, char *why, size_t size)
{
	struct weir_progs_loading *progs;
	struct weir_net *s = g->skel;
	int r = size_maps(k, s, img, why, size), filled;

	r = r ? r : share_maps(k, s, why, size); /* what is there already keeps its size */
	if (r)
		return r;
	r = mac_len_at(&s->rodata->weir_mac_len_at);
	if (r)
		return weir_why(why, size, r, "looking for sk_buff.mac_len in the kernel's BTF: %s", strerror(-r));
	s->rodata->weir_cfg = *img->cfg;
	s->rodata->weir_cfg.hz = k->hz;
	s->rodata->weir_cfg.port_eph_min = (uint32_t)ephemeral_min();
	r = weir_net__load(s);
	if (!r)
		r = weir_progs_begin(s, &progs);
	if (r)
		return loading_failed(r, why, size);
	filled = fill_maps(s, img);
	r = weir_progs_end(progs, g->prog);
	if (r)
		return loading_failed(r, why, size);
	return filled ? weir_why(why, size, filled, "filling the maps: %s", strerror(-filled)) : 0;
}

/* Keep an fd and a pin of each shared map that this generation made. */
static int pin_shared(struct weir_kern *k, struct weir_net *s, char *why, size_t size)
{
	char path[PATH_MAX];

	for (int m = 0; m < WEIR_M_COUNT; m++) {
		int fd = bpf_object__find_map_fd_by_name(s->obj, weir_shared_names[m]), r;

		if (k->shared[m] >= 0 || fd < 0)
			continue;
		r = weir_pins_path(k, path, sizeof path, "maps/%s", weir_shared_names[m]);
		if (!r && bpf_obj_pin(fd, path))
			r = -errno;
		if (r)
			return weir_why(why, size, r, "pinning %s: %s", weir_shared_names[m], strerror(-r));
		k->shared[m] = dup(fd);
		if (k->shared[m] < 0)
			return weir_why(why, size, -errno, "keeping %s: %s", weir_shared_names[m], strerror(errno));
	}
	return 0;
}

/* Move all hooks to where they shall lead. On failure some have moved. */
int weir_hooks_move(struct weir_kern *k, char *why, size_t size)
{
	int r = 0;

	for (size_t n = 0; n < k->n_covers && !r; n++) {
		r = weir_cover_update(k, k->covers[n], why, size);
		if (!k->covers[n]->stuck) /* it went away, the monitor will tell; or it is not covered, and the guard holds it */
			r = 0;
	}
	return r;
}

static int adopt_patterns(struct weir_gen *g, const struct weir_img *img)
{
	uint32_t n = img->h->ifpats.count;

	g->ifpats = calloc(n ? n : 1, sizeof *g->ifpats);
	if (!g->ifpats)
		return -ENOMEM;
	memcpy(g->ifpats, img->blob + img->h->ifpats.off, n * sizeof *g->ifpats);
	for (uint32_t i = 0; i < n; i++)
		g->ifpats[i].glob[sizeof g->ifpats[i].glob - 1] = 0;
	g->n_ifpats = n;
	return 0;
}

void weir_gen_free(struct weir_gen *g)
{
	if (g->skel) {
		weir_progs_close(g->prog);
		weir_net__destroy(g->skel);
	}
	free(g->ifpats);
	*g = (struct weir_gen){ .slot = -1 };
}

int weir_gen_load(struct weir_kern *k, const void *blob, uint32_t size, struct weir_gen *ret,
		  struct weir_kern_health *health, char *why, size_t why_size)
{
	struct weir_gen g = { .slot = -1, .prog = { -1, -1, -1 } };
	struct weir_img img;
	int r;

	if (weir_image_open(&img, blob, size))
		return weir_why(why, why_size, -EINVAL, "not an image of this version");
	g.skel = weir_progs_open(NULL);
	if (!g.skel)
		return weir_why(why, why_size, -errno, "opening the programs: %s", strerror(errno));
	r = load(k, &img, &g, why, why_size);
	if (!r)
		r = pin_shared(k, g.skel, why, why_size);
	if (!r && (r = weir_selftest(k, &g, &img, &g.skel->rodata->weir_cfg, health)))
		weir_why(why, why_size, r, "%s", health->why);
	if (!r)
		r = adopt_patterns(&g, &img);
	if (r) {
		weir_gen_free(&g);
		return r;
	}
	g.cfg = g.skel->rodata->weir_cfg;
	*ret = g;
	return 0;
}

/* The hooks move straight to the new generation; what waited, if anything did, is over with that. */
static int install_final(struct weir_kern *k, struct weir_gen *new, char *why, size_t why_size)
{
	struct weir_gen old = k->gen;
	bool pending = k->pending;
	int r;

	k->gen = *new;
	k->pending = false;
	weir_cover_refresh(k);
	r = weir_hooks_move(k, why, why_size);
	if (!r) {
		weir_gen_free(&old);
		weir_pending_end(k);
		return 0;
	}
	k->gen = old;
	k->pending = pending;
	if (old.skel)
		k->unmoved = weir_hooks_move(k, NULL, 0); /* those that moved go back, if need be later */
	return r;
}

int weir_kern_install(struct weir_kern *k, const struct weir_kern_change *c, char *why, size_t why_size)
{
	struct weir_kern_health health = k->health;
	struct weir_gen new = { .slot = -1 };
	int r = weir_gen_load(k, c->blob, c->size, &new, &health, why, why_size);

	if (r)
		return r;
	r = weir_kern_change_waits(c) ? weir_pending_install(k, &new, c, why, why_size) : install_final(k, &new, why, why_size);
	if (r)
		weir_gen_free(&new);
	else
		k->health = health;
	if (!r && !k->rest) /* who dies before the first second has gone by is dead, too */
		__atomic_store_n(&k->control->alive, weir_kern_now(), __ATOMIC_RELEASE);
	return r;
}

int weir_kern_progs(struct weir_kern *k, struct weir_kern_prog *ret, size_t n)
{
	size_t got = 0;

	for (int s = 0; s < WEIR_SLOT_COUNT && got < n; s++) {
		struct bpf_prog_info info = { 0 };
		uint32_t len = sizeof info;
		int fd = weir_gen_prog_fd(&k->gen, (enum weir_hook_slot)s);
		struct weir_kern_prog *p = &ret[got];

		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len))
			continue;
		*p = (struct weir_kern_prog){ .id = info.id, .insns_verified = info.verified_insns,
					      .insns_xlated = info.xlated_prog_len / 8,
					      .insns_jited_bytes = info.jited_prog_len };
		snprintf(p->name, sizeof p->name, "%s", weir_prog_name((enum weir_hook_slot)s));
		for (size_t c = 0; c < k->n_covers; c++)
			p->attached += k->covers[c]->link[s] >= 0 || k->covers[c]->clsact[s];
		got++;
	}
	return (int)got;
}

void weir_install_free(struct weir_kern *k)
{
	weir_gen_free(&k->gen);
	weir_gen_free(&k->back);
	weir_pending_free(k);
}
