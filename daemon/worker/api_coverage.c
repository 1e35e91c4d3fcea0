/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status coverage: every way that packets can take on this host, whether it is filtered and by which hook. A row is
 * there because something was found by looking; what could not be looked at is a row, too ("unknown").
 *
 *   filtered: yes | bans only | blocked | failsafe (passes, as the policy says) | off (nothing can pass) | no | unknown
 */
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/worker/api.h"
#include "lib/event/event.h"
#include "lib/util/cleanup.h"

struct report {
	struct weir_worker *w;
	json_t *rows;
	const struct weir_kern_if *ifs;
	size_t n;
	const char *guard;
	struct weir_kern_health health;
	struct weir_passage *passages;
	size_t n_passages;
	struct weir_holder *holders; /* by inode */
	size_t n_holders;
	uint32_t open;               /* rows that are not filtered */
	char tc[16];                 /* what stands at most interfaces: tcx or clsact */
};

static void row(struct report *r, const char *kind, const char *filtered, const char *by, const char *path, const char *fmt,
		...) __attribute__((format(printf, 6, 7)));

static void row(struct report *r, const char *kind, const char *filtered, const char *by, const char *path, const char *fmt, ...)
{
	char why[384];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	r->open += !strcmp(filtered, "no") || !strcmp(filtered, "bans only");
	json_array_append_new(r->rows, json_pack("{s:o, s:s, s:s, s:s, s:o}", "path", weir_text_json(path), "kind", kind,
						 "filtered", filtered, "by", by, "why", weir_text_json(why)));
}

static const struct weir_kern_if *if_of(const struct report *r, uint32_t ifindex)
{
	for (size_t i = 0; i < r->n; i++) {
		if (r->ifs[i].ifindex == ifindex)
			return &r->ifs[i];
	}
	return NULL;
}

static const char *name_of(const struct report *r, uint32_t ifindex)
{
	const struct weir_kern_if *i = if_of(r, ifindex);

	return i ? i->name : "?";
}

/* Devices whose packets come out of others of this host, or go into them. */
static bool is_tunnel(const char *kind)
{
	static const char *const v[] = { "gre", "gretap", "ip6gre", "ip6gretap", "erspan", "sit", "ipip", "ip6tnl", "vti",
					 "vti6", "xfrm", "vxlan", "geneve", "wireguard", "tun", "ppp", "gtp", "bareudp",
					 "amt", NULL };

	for (const char *const *k = v; *k; k++) {
		if (!strcmp(*k, kind))
			return true;
	}
	return false;
}

/* What is judged where, in words. */
static void covered_words(const struct report *r, const struct weir_kern_if *i, char *buf, size_t size)
{
	if (!(i->flags & IFF_UP))
		snprintf(buf, size, "down");
	else if (!strcmp(i->master_kind, "bridge"))
		snprintf(buf, size, "what is bridged is judged here, what is for this host at %s", name_of(r, i->master));
	else if (!strcmp(i->master_kind, "bond") || !strcmp(i->master_kind, "team"))
		snprintf(buf, size, "judged at %s; bans and malformed frames here", name_of(r, i->master));
	else if (i->vlan_id)
		snprintf(buf, size, "tag %u of %s, judged here", i->vlan_id, name_of(r, i->link));
	else if (is_tunnel(i->kind))
		snprintf(buf, size, "what is inside; the packets around it at the device that carries them");
	else if (!strcmp(i->kind, "veth"))
		snprintf(buf, size, "this end; also what the namespace at the other end sends");
	else
		buf[0] = 0;
}

/* Was a fault found at a hook of this interface? The fault, up to the next one. */
static bool faulty(const struct report *r, const struct weir_kern_if *i, char *buf, size_t size)
{
	size_t len = strlen(i->name);

	for (const char *at = r->health.silent_names; (at = strstr(at, i->name)); at += len) {
		if ((at != r->health.silent_names && at[-1] != ' ') || at[len] != ' ')
			continue;
		snprintf(buf, size, "%.*s", (int)(strcspn(at, ")") - len), at + len + 1);
		return true;
	}
	return false;
}

static void interface_row(struct report *r, const struct weir_kern_if *i)
{
	char by[48], why[160], fault[96];
	const char *kind = *i->kind ? i->kind : i->flags & IFF_LOOPBACK ? "loopback" : "ethernet";

	if (!i->wanted && (i->flags & IFF_LOOPBACK)) {
		row(r, kind, "failsafe", "", i->name, "loopback passes; a rule that names lo makes it filtered");
		return;
	}
	if (!i->wanted) {
		row(r, kind, "no", "", i->name, "--interface leaves it out");
		return;
	}
	if (!i->covered) {
		row(r, kind, *r->guard ? "blocked" : "no", *r->guard ? "guard" : "", i->name, "%s", i->why);
		return;
	}
	if (faulty(r, i, fault, sizeof fault)) {
		row(r, kind, "no", i->tc, i->name, "%s: start weir again to attach it anew", fault);
		return;
	}
	snprintf(by, sizeof by, "%s%s%s", i->tc, *i->xdp ? " + xdp " : "", i->xdp);
	covered_words(r, i, why, sizeof why);
	row(r, kind, "yes", by, i->name, "%s", why);
}

/* The first interface that can carry traffic of others and is not filtered; NULL: all are. */
static const struct weir_kern_if *gap(const struct report *r, const char *master_kind)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct weir_kern_if *x = &r->ifs[i];

		if ((x->flags & IFF_LOOPBACK) || !(x->flags & IFF_UP) || x->covered || *r->guard)
			continue;
		if (!*master_kind || !strcmp(x->master_kind, master_kind))
			return x;
	}
	return NULL;
}

static const struct weir_passage *passage(const struct report *r, enum weir_passage_kind kind, uint32_t n)
{
	for (size_t i = 0; i < r->n_passages; i++) {
		if (r->passages[i].kind == kind && (!n || r->passages[i].n == n))
			return &r->passages[i];
	}
	return NULL;
}

static bool routes(const struct report *r, uint32_t family)
{
	return passage(r, WEIR_PASSAGE_FORWARD, family);
}

static void forward_rows(struct report *r)
{
	const struct weir_kern_if *open = gap(r, "");
	bool bridge = false;

	for (uint32_t family = 4; family <= 6; family += 2) {
		const char *path = family == 4 ? "forwarded IPv4" : "forwarded IPv6";

		if (!routes(r, family))
			row(r, "forward", "off", "", path, "this host does not route it");
		else if (open)
			row(r, "forward", "no", "", path, "what comes and goes by %s only; the rest is filtered", open->name);
		else
			row(r, "forward", "yes", r->tc, path, "at the egress of the device that it leaves by, after translation");
	}
	for (size_t i = 0; i < r->n; i++)
		bridge |= !strcmp(r->ifs[i].master_kind, "bridge");
	open = gap(r, "bridge");
	if (bridge)
		row(r, "bridge", open ? "no" : "yes", open ? "" : r->tc, "bridged frames",
		    open ? "what the port %s lets in and out is not seen" : "%s, by rules for forward",
		    open ? open->name : "at the ports");
}

/* A statement of netfilter. */
static void nft_row(struct report *r, const struct weir_passage *p)
{
	bool any = routes(r, 4) || routes(r, 6);
	char path[160];

	snprintf(path, sizeof path, "%s of nft (%s, %u rule%s)", p->name, p->detail, p->n, p->n == 1 ? "" : "s");
	if (!strcmp(p->name, "dnat"))
		row(r, "published", "yes", r->tc, path, "published ports: judged as inbound at the port that was asked for, or as forwarded; %s",
		    "what a rule turns from another host's address to this one is not, only its answers");
	else if (!strcmp(p->name, "redirect") || !strcmp(p->name, "tproxy"))
		row(r, "redirect", any ? "no" : "yes", any ? "" : r->tc, path,
		    any ? "what is on its way to another host and is taken by a program here: only %s judged"
			: "this host does not route: all of it is judged as inbound%s",
		    any ? "its answers are" : "");
	else if (!strcmp(p->name, "flowtable"))
		row(r, "offload", "yes", r->tc, path, "the software path still passes the hooks at TC");
	else if (!strcmp(p->name, "flowtable hw"))
		row(r, "offload", "no", "", path, "the network card forwards by itself what is in this table");
}

static int by_inode(const void *key, const void *record)
{
	uint32_t a = *(const uint32_t *)key, b = ((const struct weir_holder *)record)->inode;

	return a < b ? -1 : a > b;
}

static void packet_row(struct report *r, const struct weir_passage *p)
{
	const struct weir_holder *h = r->n_holders ? bsearch(&p->inode, r->holders, r->n_holders, sizeof *h, by_inode) : NULL;
	struct weir_process who = { 0 };
	char path[160];

	if (p->inode == r->health.canary_inode)
		return;
	if (h)
		weir_helper_process(r->w->helper, h->pid, &who);
	snprintf(path, sizeof path, "packet socket of %s%s%s", *who.program ? who.program : "a program that is not seen",
		 p->ifindex ? " on " : "", p->ifindex ? name_of(r, p->ifindex) : "");
	row(r, "packet socket", "no", "", path,
	    "%s what it sends past the queues (PACKET_QDISC_BYPASS; the kernel does not tell whether it does) no hook sees",
	    p->n ? "it reads what TC drops;" : "it only sends;");
}

static void xdp_row(struct report *r, const struct weir_passage *p)
{
	const struct weir_kern_if *i = if_of(r, p->ifindex);
	char path[96];

	if (p->kind == WEIR_PASSAGE_XDP) {
		snprintf(path, sizeof path, "AF_XDP sockets (%u)%s%s", p->n, p->ifindex ? " on " : "",
			 p->ifindex ? name_of(r, p->ifindex) : "");
		row(r, "af_xdp", "no", "", path, "they send and receive at the driver, past every hook");
		return;
	}
	if (!i || *i->xdp) /* ours */
		return;
	snprintf(path, sizeof path, "XDP program %u on %s", p->n, i->name);
	row(r, "foreign program", "no", "", path, "another's: what it answers or redirects itself weir never sees; %s",
	    "what it lets pass is filtered at TC");
}

static void passage_row(struct report *r, const struct weir_passage *p)
{
	char path[192];

	switch ((enum weir_passage_kind)p->kind) {
	case WEIR_PASSAGE_BLIND:
		row(r, "blind", "unknown", "", p->name, "could not be looked at: %s", p->detail);
		return;
	case WEIR_PASSAGE_NFT:
		nft_row(r, p);
		return;
	case WEIR_PASSAGE_LEGACY:
		snprintf(path, sizeof path, "%.9s-legacy, table %s", p->name, strchr(p->name, ' ') ? strchr(p->name, ' ') + 1 : "");
		row(r, "redirect", "unknown", "", path, "its rules cannot be read here: look for REDIRECT and TPROXY in them");
		return;
	case WEIR_PASSAGE_PACKET:
		packet_row(r, p);
		return;
	case WEIR_PASSAGE_XDP:
	case WEIR_PASSAGE_XDP_PROG:
		xdp_row(r, p);
		return;
	case WEIR_PASSAGE_RAW:
		snprintf(path, sizeof path, "raw IP sockets (%u)", p->n);
		row(r, "raw", "yes", r->tc, path, "what they send is judged at egress, what they read came by ingress");
		return;
	case WEIR_PASSAGE_CHILD:
		snprintf(path, sizeof path, "%s (%s on %s) in %s", p->name, p->detail, name_of(r, p->ifindex), p->space);
		row(r, "moved away", "bans only", r->tc, path, "its packets are not this host's: rules do not hold for them");
		return;
	case WEIR_PASSAGE_AWAY:
		snprintf(path, sizeof path, "%s in %s", p->name, p->space);
		row(r, "moved away", "no", "", path, "a network card of another namespace: run weir there, too");
		return;
	case WEIR_PASSAGE_SPACES:
		snprintf(path, sizeof path, "other network namespaces (%u)", p->n + p->uid);
		row(r, "namespaces", p->uid ? "unknown" : "yes", r->tc, path,
		    p->uid ? "%u of them could not be looked into" : "what leaves them by this host's devices is filtered there",
		    p->uid);
		return;
	case WEIR_PASSAGE_FORWARD:
		return;
	}
}

/* Firewalls that are believed to cover more than they do. */
static void firewall_rows(struct report *r)
{
	struct weir_firewall fw[WEIR_FIREWALLS_MAX];
	const char *ports = NULL;
	size_t n = 0;
	bool ufw = false;

	if (weir_helper_firewalls(r->w->helper, fw, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		ufw |= !strcmp(fw[i].name, "ufw");
		if (!strcmp(fw[i].name, "docker"))
			ports = fw[i].detail;
	}
	if (ports)
		row(r, "published", "yes", r->tc, "ports of docker", "%s; judged as inbound or forwarded%s", ports,
		    ufw ? "; ufw does not cover them" : "");
	else if (ufw)
		row(r, "firewall", "yes", r->tc, "what ufw lets pass", "ports that docker publishes go past ufw, not past weir");
}

static void new_row(struct report *r)
{
	const char *why;

	weir_port_guard(r->w->port, &why);
	if (*r->guard)
		row(r, "new", "blocked", r->guard, "new interfaces", "until their hooks stand");
	else if (*why)
		row(r, "new", "no", "", "new interfaces", "the guard does not stand: %s; they pass until their hooks stand", why);
	else
		row(r, "new", "yes", r->tc, "new interfaces", "as soon as the kernel tells of them; no default drops anything");
}

static int do_coverage(struct weir_worker *w, const struct weir_request *rq, struct weir_reply *rp)
{
	struct report r = { .w = w, .rows = json_array() };
	const char *why;
	int e = weir_helper_passages(w->helper, &r.passages, &r.n_passages);

	weir_port_health(w->port, &r.health);
	r.ifs = weir_port_ifs(w->port, &r.n);
	r.guard = weir_port_guard(w->port, &why);
	for (size_t i = 0; i < r.n && !*r.tc; i++)
		snprintf(r.tc, sizeof r.tc, "%s", r.ifs[i].tc);
	if (passage(&r, WEIR_PASSAGE_PACKET, 0) && weir_helper_holders(w->helper, &r.holders, &r.n_holders) < 0)
		r.n_holders = 0;
	for (size_t i = 0; i < r.n; i++)
		interface_row(&r, &r.ifs[i]);
	new_row(&r);
	if (e < 0)
		row(&r, "blind", "unknown", "", "everything beside the interfaces", "could not be looked at: %s", strerror(-e));
	else
		forward_rows(&r);
	for (size_t i = 0; i < r.n_passages; i++)
		passage_row(&r, &r.passages[i]);
	firewall_rows(&r);
	free(r.passages);
	free(r.holders);
	rp->result = json_pack("{s:o, s:I, s:s}", "paths", r.rows, "open", (json_int_t)r.open, "mode",
			       weir_mode_name(weir_worker_mode(w)));
	return 0;
}

const struct weir_handler weir_handlers_coverage[] = {
	{ "status coverage", WEIR_RIGHT_READ, do_coverage },
	{ NULL },
};
