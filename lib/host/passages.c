/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/host/passages.h"

#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/xdp_diag.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/host/nl.h"
#include "lib/util/cleanup.h"

struct weir_passage *weir_passage_add(struct weir_passages *l, enum weir_passage_kind kind)
{
	struct weir_passage *v;

	if (l->n == WEIR_PASSAGES_MAX)
		return NULL;
	if (!(l->n & (l->n - 1))) {
		v = realloc(l->v, (l->n ? l->n * 2 : 1) * sizeof *v);
		if (!v)
			return NULL;
		l->v = v;
	}
	v = &l->v[l->n++];
	memset(v, 0, sizeof *v);
	v->kind = kind;
	return v;
}

void weir_passage_blind(struct weir_passages *l, const char *what, int err)
{
	struct weir_passage *p = weir_passage_add(l, WEIR_PASSAGE_BLIND);

	if (!p)
		return;
	snprintf(p->name, sizeof p->name, "%s", what);
	snprintf(p->detail, sizeof p->detail, "%s", strerror(err < 0 ? -err : err));
}

static bool is_one(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");

	return f && fgetc(f) == '1';
}

/* Does this host route? One interface is enough: then its name is told. */
static void forwarding(struct weir_passages *l, uint32_t family)
{
	char path[320];
	_cleanup_closedir_ DIR *d = NULL;
	struct weir_passage *p;

	snprintf(path, sizeof path, "/proc/sys/net/ipv%u/conf", family);
	d = opendir(path);
	if (!d) {
		if (errno != ENOENT) /* ENOENT: the kernel has no such family */
			weir_passage_blind(l, path, errno);
		return;
	}
	snprintf(path, sizeof path, "/proc/sys/net/ipv%u/conf/all/forwarding", family);
	if (is_one(path)) {
		p = weir_passage_add(l, WEIR_PASSAGE_FORWARD);
		if (p) {
			p->n = family;
			strcpy(p->name, "all");
		}
		return;
	}
	for (struct dirent *e; (e = readdir(d));) {
		snprintf(path, sizeof path, "/proc/sys/net/ipv%u/conf/%s/forwarding", family, e->d_name);
		if (e->d_name[0] == '.' || !strcmp(e->d_name, "default") || !is_one(path))
			continue;
		p = weir_passage_add(l, WEIR_PASSAGE_FORWARD);
		if (p) {
			p->n = family;
			snprintf(p->name, sizeof p->name, "%.31s", e->d_name);
		}
		return;
	}
}

static void packet_sockets(struct weir_passages *l)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/net/packet", "re");
	unsigned proto, ifindex, uid, inode;
	struct weir_passage *p;
	char line[256];

	if (!f) {
		if (errno != ENOENT)
			weir_passage_blind(l, "packet sockets", errno);
		return;
	}
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%*s %*u %*u %x %u %*u %*u %u %u", &proto, &ifindex, &uid, &inode) != 4)
			continue;
		p = weir_passage_add(l, WEIR_PASSAGE_PACKET);
		if (!p)
			return;
		p->n = proto;
		p->ifindex = ifindex;
		p->uid = uid;
		p->inode = inode;
	}
}

static uint32_t lines(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char line[512];
	uint32_t n = 0;

	while (f && fgets(line, sizeof line, f))
		n += strchr(line, '\n') != NULL;
	return n ? n - 1 : 0; /* the first is the heading */
}

static void raw_sockets(struct weir_passages *l)
{
	uint32_t n = lines("/proc/net/raw") + lines("/proc/net/raw6");
	struct weir_passage *p = n ? weir_passage_add(l, WEIR_PASSAGE_RAW) : NULL;

	if (p)
		p->n = n;
}

static int xdp_gather(const struct nlmsghdr *h, void *data)
{
	const struct nlattr *tb[XDP_DIAG_MAX + 1];
	const struct xdp_diag_info *info;
	struct weir_passage *p;

	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || mnl_nlmsg_get_payload_len(h) < sizeof(struct xdp_diag_msg))
		return 0;
	weir_nl_attrs(h, sizeof(struct xdp_diag_msg), tb, XDP_DIAG_MAX);
	p = weir_passage_add(data, WEIR_PASSAGE_XDP);
	if (!p)
		return 0;
	p->n = 1;
	p->inode = ((const struct xdp_diag_msg *)mnl_nlmsg_get_payload(h))->xdiag_ino;
	p->uid = weir_nl_u32(tb[XDP_DIAG_UID]);
	info = tb[XDP_DIAG_INFO] ? mnl_attr_get_payload(tb[XDP_DIAG_INFO]) : NULL;
	if (info && mnl_attr_get_payload_len(tb[XDP_DIAG_INFO]) >= sizeof *info)
		p->ifindex = info->ifindex;
	return 0;
}

static void forget_xdp(void *data)
{
	struct weir_passages *l = data;

	while (l->n && l->v[l->n - 1].kind == WEIR_PASSAGE_XDP)
		l->n--;
}

/* A kernel without xdp_diag still counts them. */
static bool xdp_counted(struct weir_passages *l)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/net/protocols", "re");
	struct weir_passage *p;
	char line[512], name[64];
	int n;

	if (!f)
		return false;
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%63s %*d %d", name, &n) != 2 || strcmp(name, "XDP"))
			continue;
		p = n > 0 ? weir_passage_add(l, WEIR_PASSAGE_XDP) : NULL;
		if (p)
			p->n = (uint32_t)n;
		return true;
	}
	return true; /* the kernel has no such sockets */
}

static void xdp_sockets(struct weir_passages *l)
{
	struct weir_nl_req r;
	struct xdp_diag_req *q = weir_nl_request(&r, SOCK_DIAG_BY_FAMILY, sizeof *q);
	int e;

	q->sdiag_family = AF_XDP;
	q->xdiag_show = XDP_SHOW_INFO;
	e = weir_nl_dump(NETLINK_SOCK_DIAG, &r, xdp_gather, forget_xdp, l);
	if (e < 0 && !xdp_counted(l))
		weir_passage_blind(l, "AF_XDP sockets", e);
}

static int prog_gather(const struct nlmsghdr *h, void *data)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *tb[IFLA_XDP + 1], *x[IFLA_XDP_MAX + 1];
	struct weir_passage *p;

	if (h->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(h) < sizeof *m)
		return 0;
	weir_nl_attrs(h, sizeof *m, tb, IFLA_XDP);
	if (!tb[IFLA_XDP])
		return 0;
	weir_nl_nested(tb[IFLA_XDP], x, IFLA_XDP_MAX);
	p = weir_nl_u8(x[IFLA_XDP_ATTACHED]) ? weir_passage_add(data, WEIR_PASSAGE_XDP_PROG) : NULL;
	if (p) {
		p->ifindex = (uint32_t)m->ifi_index;
		p->n = weir_nl_u32(x[IFLA_XDP_PROG_ID]);
	}
	return 0;
}

static void forget_progs(void *data)
{
	struct weir_passages *l = data;

	while (l->n && l->v[l->n - 1].kind == WEIR_PASSAGE_XDP_PROG)
		l->n--;
}

static void xdp_programs(struct weir_passages *l)
{
	struct weir_nl_req r;
	int e;

	weir_nl_request(&r, RTM_GETLINK, sizeof(struct ifinfomsg));
	e = weir_nl_dump(NETLINK_ROUTE, &r, prog_gather, forget_progs, l);
	if (e < 0)
		weir_passage_blind(l, "XDP programs", e);
}

/* Tables of iptables-legacy: reading their rules would take a lock and a library of their own. */
static void legacy(struct weir_passages *l, const char *path, const char *family)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char line[64];

	while (f && fgets(line, sizeof line, f)) {
		struct weir_passage *p;

		line[strcspn(line, "\n")] = 0;
		if (strcmp(line, "nat") && strcmp(line, "mangle"))
			continue;
		p = weir_passage_add(l, WEIR_PASSAGE_LEGACY);
		if (p)
			snprintf(p->name, sizeof p->name, "%s %.16s", family, line);
	}
}

int weir_passages_read(struct weir_passage **ret, size_t *ret_n)
{
	struct weir_passages l = { 0 };

	forwarding(&l, 4);
	forwarding(&l, 6);
	weir_passages_nft(&l);
	legacy(&l, "/proc/net/ip_tables_names", "iptables");
	legacy(&l, "/proc/net/ip6_tables_names", "ip6tables");
	packet_sockets(&l);
	raw_sockets(&l);
	xdp_sockets(&l);
	xdp_programs(&l);
	weir_passages_spaces(&l);
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}
