/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covering an interface: TC in both directions (tcx link, else a clsact filter), XDP where it has
 * something to drop early. Links are pinned at once. Programs of others are neither removed nor moved; they
 * are reported.
 */
#include <fnmatch.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>

#include "lib/kern/internal.h"

/* What native XDP carries in one page: 4,096 less headroom (256), tail (320) and the Ethernet header. */
#define XDP_NATIVE_MTU 3506u

static const char *const slot_names[WEIR_SLOT_COUNT] = { "in", "out", "xdp" };

/* Devices that hand packets over without a link-layer header (the kernel's dev_is_mac_header_xmit). */
static bool no_mac_header(uint16_t arphrd)
{
	switch (arphrd) {
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
	case ARPHRD_IP6GRE:
	case ARPHRD_VOID:
	case ARPHRD_NONE:
	case ARPHRD_RAWIP:
	case ARPHRD_PPP:
		return true;
	default:
		return false;
	}
}

static struct weir_cover *find(const struct weir_kern *k, uint32_t ifindex)
{
	for (size_t n = 0; n < k->n_covers; n++)
		if (k->covers[n]->i.ifindex == ifindex)
			return k->covers[n];
	return NULL;
}

static uint64_t pattern_bits(const struct weir_gen *g, const char *name)
{
	uint64_t bits = 0;

	for (uint32_t n = 0; n < g->n_ifpats; n++)
		if (!fnmatch(g->ifpats[n].glob, name, 0))
			bits |= 1ull << n;
	return bits;
}

/* Tags and parents' names of a VLAN device, following its parents; two tags at most, outer first. */
static void vlan_chain(const struct weir_kern *k, const struct weir_gen *g, const struct weir_cover *c,
		       struct weir_iface *out)
{
	for (int depth = 0; c && depth < 2 && c->i.vlan_id; depth++) {
		const struct weir_cover *parent = find(k, c->i.link);

		out->vlan[1] = out->vlan[0];
		out->vlan[0] = c->i.vlan_id;
		if (parent)
			out->lower |= pattern_bits(g, parent->i.name);
		c = parent;
	}
}

/* Devices that send through others of this host. */
static bool stands_on_others(const char *kind)
{
	static const char *const upper[] = { "vlan", "bridge", "bond", "team", "macvlan", "ipvlan", "ppp", NULL };

	for (const char *const *u = upper; *u; u++)
		if (!strcmp(*u, kind))
			return true;
	return false;
}

static bool ends_pppoe(const struct weir_kern *k)
{
	for (size_t n = 0; n < k->n_covers; n++)
		if (k->covers[n]->i.arphrd == ARPHRD_PPP)
			return true;
	return false;
}

/* A macvlan of this namespace on the device. Its frames carry an address of their own. */
static bool carries_macvlan(const struct weir_kern *k, uint32_t ifindex)
{
	for (size_t n = 0; n < k->n_covers; n++)
		if (k->covers[n]->i.link == ifindex && !strcmp(k->covers[n]->i.kind, "macvlan"))
			return true;
	return false;
}

static void refresh(struct weir_kern *k, const struct weir_gen *g)
{
	int ifaces = weir_gen_map_fd(g, "weir_ifaces");
	uint32_t pppoe = ends_pppoe(k) ? WEIR_IF_PPPOE : 0;

	for (size_t n = 0; ifaces >= 0 && n < k->n_covers; n++) {
		const struct weir_cover *c = k->covers[n];
		struct weir_iface v = { .pat = pattern_bits(g, c->i.name), .flags = pppoe };

		if (stands_on_others(c->i.kind) || c->i.arphrd == ARPHRD_PPP)
			v.flags |= WEIR_IF_UPPER;

		if (!strcmp(c->i.kind, "bridge"))
			v.flags |= WEIR_IF_BRIDGE;
		if (!strcmp(c->i.master_kind, "bridge"))
			v.flags |= WEIR_IF_BRIDGE_PORT;
		else if (!strcmp(c->i.master_kind, "bond") || !strcmp(c->i.master_kind, "team"))
			v.flags |= WEIR_IF_SLAVE;
		if (no_mac_header(c->i.arphrd))
			v.flags |= WEIR_IF_L3;
		if (carries_macvlan(k, c->i.ifindex))
			v.flags |= WEIR_IF_MACVLAN;
		if (c->i.flags & IFF_LOOPBACK)
			v.flags |= WEIR_IF_LO;
		vlan_chain(k, g, c, &v);
		if (v.vlan[0])
			v.flags |= WEIR_IF_VLAN;
		bpf_map_update_elem(ifaces, &c->i.ifindex, &v, BPF_ANY);
		if (c->i.vlan_id && c->i.link) {
			struct weir_vlan_key key = { c->i.link, c->i.vlan_id };

			bpf_map_update_elem(k->shared[WEIR_M_VLANS], &key, &c->i.ifindex, BPF_ANY);
		}
	}
}

/* What programs know of an interface from packets before is no longer true. */
static void changed(struct weir_kern *k)
{
	__atomic_add_fetch(&k->control->ifaces, 1, __ATOMIC_RELEASE);
}

void weir_cover_refresh(struct weir_kern *k)
{
	refresh(k, &k->gen);
	if (k->back.skel) /* it may decide again at any moment */
		refresh(k, &k->back);
	changed(k);
}

static int link_ifindex(int fd, uint32_t *ret)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof info;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*ret = info.xdp.ifindex; /* tcx has it at the same place */
	return 0;
}

/* The pinned link of an earlier process, if it still holds this interface. */
static int link_take_over(struct weir_kern *k, uint32_t ifindex, enum weir_hook_slot slot)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	uint32_t at = 0;

	if (weir_pins_path(k, path, sizeof path, "links/%s_%u", slot_names[slot], ifindex))
		return -ENAMETOOLONG;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	if (link_ifindex(fd, &at) || at != ifindex) { /* of an interface that is gone */
		unlink(path);
		return -ENOENT;
	}
	return TAKE_FD(fd);
}

static int link_pin(struct weir_kern *k, int fd, uint32_t ifindex, enum weir_hook_slot slot)
{
	char path[PATH_MAX];
	int r = weir_pins_path(k, path, sizeof path, "links/%s_%u", slot_names[slot], ifindex);

	if (r)
		return r;
	unlink(path);
	return bpf_obj_pin(fd, path) ? -errno : 0;
}

static void slot_remove(struct weir_kern *k, struct weir_cover *c, enum weir_hook_slot slot)
{
	char path[PATH_MAX];

	if (c->clsact[slot])
		weir_clsact_detach(k->bpffs, c->i.ifindex, slot);
	c->clsact[slot] = false;
	if (!weir_pins_path(k, path, sizeof path, "links/%s_%u", slot_names[slot], c->i.ifindex))
		unlink(path);
	if (c->link[slot] >= 0)
		close(c->link[slot]);
	c->link[slot] = -1;
}

/* One TC direction: the link of before, a new tcx link, or a clsact filter. */
static int tc_slot(struct weir_kern *k, struct weir_cover *c, enum weir_hook_slot slot)
{
	int prog = weir_prog_fd(k, slot), fd, r;

	if (c->clsact[slot])
		return weir_clsact_attach(k, c->i.ifindex, slot);
	if (c->link[slot] >= 0 && !bpf_link_update(c->link[slot], prog, NULL))
		return 0;
	if (c->link[slot] >= 0 && errno != ENOLINK)
		return -errno;
	if (c->link[slot] >= 0) /* somebody detached it, or the device is going */
		slot_remove(k, c, slot);
	fd = link_take_over(k, c->i.ifindex, slot);
	if (fd >= 0) {
		c->link[slot] = fd;
		return bpf_link_update(fd, prog, NULL) ? -errno : 0;
	}
	fd = weir_sys_link_tcx(prog, c->i.ifindex,
			       slot == WEIR_SLOT_IN ? WEIR_BPF_TCX_INGRESS : WEIR_BPF_TCX_EGRESS);
	if (fd >= 0) {
		c->link[slot] = fd;
		return link_pin(k, fd, c->i.ifindex, slot);
	}
	if (fd == -ENODEV)
		return fd;
	r = weir_clsact_attach(k, c->i.ifindex, slot); /* before 6.6 */
	if (!r)
		c->clsact[slot] = true;
	return r;
}

/* Could a generation drop anything early? While a change waits, either of the two may decide. */
static bool prevents(const struct weir_kern *k)
{
	return k->gen.cfg.mode == WEIR_PREVENT || (k->back.skel && k->back.cfg.mode == WEIR_PREVENT);
}

static bool drops_early(const struct weir_gen *g)
{
	return g->skel && g->cfg.mode == WEIR_PREVENT &&
	       (g->cfg.proto_features & (WEIR_FEAT_BLOCKLIST | WEIR_FEAT_XDP_DROP));
}

/* What XDP shall be here, with the reason. */
static enum weir_xdp_mode xdp_choose(const struct weir_kern *k, struct weir_cover *c)
{
	static const char *const none[] = { "veth", "bridge", "tun", "vlan", "macvlan", "ipvlan", "bond", "team",
					    "wireguard", "dummy", "ifb", NULL };
	bool useful = drops_early(&k->gen) || drops_early(&k->back);

	/* not even when asked: the program would read an Ethernet header where there is none */
	if (c->xdp_asked != WEIR_XDP_AUTO && prevents(k) && c->xdp_asked != WEIR_XDP_OFF &&
	    !no_mac_header(c->i.arphrd))
		return c->xdp_asked;
	if (c->xdp_asked == WEIR_XDP_OFF)
		weir_why(c->i.why, sizeof c->i.why, 0, "xdp: off in the policy");
	else if (!prevents(k))
		weir_why(c->i.why, sizeof c->i.why, 0, "xdp: not in mode detect");
	else if (!useful)
		weir_why(c->i.why, sizeof c->i.why, 0, "xdp: nothing to drop early");
	else if ((c->i.flags & IFF_LOOPBACK) || no_mac_header(c->i.arphrd))
		weir_why(c->i.why, sizeof c->i.why, 0, "xdp: not on this kind of device");
	else if (c->i.mtu > XDP_NATIVE_MTU)
		weir_why(c->i.why, sizeof c->i.why, 0, "xdp: MTU %u is more than a native program gets (%u)", c->i.mtu,
			 XDP_NATIVE_MTU);
	else if (!strcmp(c->i.master_kind, "bridge"))
		weir_why(c->i.why, sizeof c->i.why, 0, "xdp: a bridge port");
	else {
		for (const char *const *n = none; *n; n++)
			if (!strcmp(*n, c->i.kind))
				return weir_why(c->i.why, sizeof c->i.why, WEIR_XDP_OFF,
						"xdp: costs more than it saves on %s (set it in the policy to force it)",
						*n);
		return WEIR_XDP_AUTO;
	}
	return WEIR_XDP_OFF;
}

static int xdp_link(struct weir_kern *k, struct weir_cover *c, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, o, .flags = flags);
	int fd = bpf_link_create(weir_prog_fd(k, WEIR_SLOT_XDP), (int)c->i.ifindex, BPF_XDP, &o);

	if (fd < 0)
		return -errno;
	c->link[WEIR_SLOT_XDP] = fd;
	return link_pin(k, fd, c->i.ifindex, WEIR_SLOT_XDP);
}

/* XDP is an accelerator: whatever goes wrong here is told, never fatal. */
static void xdp_slot(struct weir_kern *k, struct weir_cover *c)
{
	enum weir_xdp_mode m;
	int r = -EOPNOTSUPP, fd;

	c->i.why[0] = 0;
	m = weir_prog_fd(k, WEIR_SLOT_XDP) < 0 ? WEIR_XDP_OFF : xdp_choose(k, c);
	if (c->link[WEIR_SLOT_XDP] < 0) {
		fd = link_take_over(k, c->i.ifindex, WEIR_SLOT_XDP);
		if (fd >= 0) {
			c->link[WEIR_SLOT_XDP] = fd;
			snprintf(c->i.xdp, sizeof c->i.xdp, "taken over");
		}
	}
	if (m == WEIR_XDP_OFF) {
		slot_remove(k, c, WEIR_SLOT_XDP);
		c->i.xdp[0] = 0;
		return;
	}
	if (c->link[WEIR_SLOT_XDP] >= 0) {
		if (!bpf_link_update(c->link[WEIR_SLOT_XDP], weir_prog_fd(k, WEIR_SLOT_XDP), NULL))
			return;
		slot_remove(k, c, WEIR_SLOT_XDP);
	}
	c->i.xdp[0] = 0;
	if (m != WEIR_XDP_GENERIC) {
		r = xdp_link(k, c, XDP_FLAGS_DRV_MODE);
		if (!r)
			snprintf(c->i.xdp, sizeof c->i.xdp, "native");
	}
	if (r && r != -EBUSY && r != -EEXIST && m != WEIR_XDP_NATIVE) {
		int native = r;

		r = xdp_link(k, c, XDP_FLAGS_SKB_MODE);
		if (!r) {
			snprintf(c->i.xdp, sizeof c->i.xdp, "generic");
			if (m == WEIR_XDP_AUTO)
				weir_why(c->i.why, sizeof c->i.why, 0, "xdp: the driver refused native mode (%s)",
					 strerror(-native));
		}
	}
	if (r == -EBUSY || r == -EEXIST)
		weir_why(c->i.why, sizeof c->i.why, 0, "xdp: another program is attached; it stays, TC filters all");
	else if (r)
		weir_why(c->i.why, sizeof c->i.why, 0, "xdp: refused (%s); TC filters all", strerror(-r));
}

int weir_kern_prog_open(uint32_t id)
{
	int fd = bpf_prog_get_fd_by_id(id);

	return fd < 0 ? -errno : fd;
}

static void name_program(const struct weir_kern *k, char *buf, size_t size, const char *hook, uint32_t id)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof info;
	_cleanup_close_ int fd = k->o.prog_open ? k->o.prog_open(id, k->o.prog_data) : weir_kern_prog_open(id);
	size_t at = strlen(buf);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) || !strncmp(info.name, "weir_", 5))
		return;
	snprintf(buf + at, size - at, "%s%s: %s (%u)", at ? ", " : "", hook, info.name[0] ? info.name : "unnamed", id);
}

/* Programs of others on the hooks that weir uses. */
static void find_others(const struct weir_kern *k, struct weir_cover *c)
{
	static const struct {
		uint32_t type;
		const char *name;
	} hooks[] = { { WEIR_BPF_TCX_INGRESS, "tcx ingress" }, { WEIR_BPF_TCX_EGRESS, "tcx egress" } };
	LIBBPF_OPTS(bpf_xdp_query_opts, x);

	c->i.others[0] = 0;
	if (!bpf_xdp_query((int)c->i.ifindex, 0, &x) && x.prog_id)
		name_program(k, c->i.others, sizeof c->i.others, "xdp", x.prog_id);
	for (size_t h = 0; h < sizeof hooks / sizeof *hooks; h++) {
		uint32_t ids[16], n = 16;

		if (weir_sys_query(c->i.ifindex, hooks[h].type, ids, &n))
			continue;
		for (uint32_t i = 0; i < n && i < 16; i++)
			name_program(k, c->i.others, sizeof c->i.others, hooks[h].name, ids[i]);
	}
	for (uint32_t point = BPF_TC_INGRESS; point <= BPF_TC_EGRESS; point <<= 1) {
		LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)c->i.ifindex, .attach_point = point);

		/* the usual places of a first filter */
		for (uint32_t prio = 1; prio <= 49152; prio += 49151) {
			LIBBPF_OPTS(bpf_tc_opts, o, .handle = 1, .priority = prio);

			if (!bpf_tc_query(&hook, &o) && o.prog_id)
				name_program(k, c->i.others, sizeof c->i.others,
					     point == BPF_TC_INGRESS ? "tc ingress" : "tc egress", o.prog_id);
		}
	}
}

/* Bring every hook of an interface to the programs of the generation in force. */
int weir_cover_update(struct weir_kern *k, struct weir_cover *c, char *why, size_t size)
{
	int r = 0;

	c->stuck = false;
	for (enum weir_hook_slot s = WEIR_SLOT_IN; s <= WEIR_SLOT_OUT; s++) {
		int err = tc_slot(k, c, s);

		c->stuck |= err && err != -ENODEV && (c->link[s] >= 0 || c->clsact[s]);
		r = r ? r : err;
	}
	c->i.covered = !r;
	if (r) {
		c->i.tc[0] = 0;
		weir_why(c->i.why, sizeof c->i.why, 0, "attach refused (%s)", strerror(-r));
		return weir_why(why, size, r, "%s: attach refused (%s)", c->i.name, strerror(-r));
	}
	snprintf(c->i.tc, sizeof c->i.tc, "%s", c->clsact[WEIR_SLOT_IN] ? "clsact" : "tcx");
	xdp_slot(k, c);
	find_others(k, c);
	return 0;
}

void weir_cover_free(struct weir_cover *c)
{
	for (int s = 0; s < WEIR_SLOT_COUNT; s++)
		if (c->link[s] >= 0)
			close(c->link[s]);
	free(c);
}

void weir_cover_remove(struct weir_kern *k, struct weir_cover *c)
{
	for (int s = 0; s < WEIR_SLOT_COUNT; s++)
		slot_remove(k, c, (enum weir_hook_slot)s);
}

/* What the caller knows of the interface replaces what was known; what weir knows stays. */
static void cover_describe(struct weir_cover *c, const struct weir_kern_if *i)
{
	struct weir_kern_if old = c->i;

	c->i = *i;
	c->i.covered = old.covered;
	memcpy(c->i.tc, old.tc, sizeof old.tc);
	memcpy(c->i.xdp, old.xdp, sizeof old.xdp);
	memcpy(c->i.why, old.why, sizeof old.why);
	memcpy(c->i.others, old.others, sizeof old.others);
}

int weir_kern_attach(struct weir_kern *k, struct weir_kern_if *i, enum weir_xdp_mode xdp)
{
	struct weir_cover *c = find(k, i->ifindex), **grown;
	int r;

	if (!k->gen.skel)
		return -EINVAL;
	if (!c) {
		if (k->n_covers >= WEIR_COVERS_MAX)
			return -ENOSPC;
		grown = realloc(k->covers, (k->n_covers + 1) * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		k->covers = grown;
		c = calloc(1, sizeof *c);
		if (!c)
			return -ENOMEM;
		for (int s = 0; s < WEIR_SLOT_COUNT; s++)
			c->link[s] = -1;
		k->covers[k->n_covers++] = c;
	}
	cover_describe(c, i);
	c->xdp_asked = xdp;
	weir_cover_refresh(k); /* the programs must know the interface before they see its packets */
	r = weir_cover_update(k, c, NULL, 0);
	*i = c->i;
	return r;
}

int weir_kern_detach(struct weir_kern *k, uint32_t ifindex)
{
	int ifaces = weir_gen_map_fd(&k->gen, "weir_ifaces"), back = weir_gen_map_fd(&k->back, "weir_ifaces");

	for (size_t n = 0; n < k->n_covers; n++) {
		struct weir_cover *c = k->covers[n];
		struct weir_vlan_key key = { c->i.link, c->i.vlan_id };

		if (c->i.ifindex != ifindex)
			continue;
		weir_cover_remove(k, c);
		if (c->i.vlan_id)
			bpf_map_delete_elem(k->shared[WEIR_M_VLANS], &key);
		if (ifaces >= 0)
			bpf_map_delete_elem(ifaces, &ifindex);
		if (back >= 0)
			bpf_map_delete_elem(back, &ifindex);
		changed(k);
		weir_cover_free(c);
		k->covers[n] = k->covers[--k->n_covers];
		return 0;
	}
	return -ENOENT;
}
