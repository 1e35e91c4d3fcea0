/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interfaces, by RTM_GETLINK and the multicast group of link changes. The table of what has been reported
 * is kept sorted by index; every message and every full read is compared with it, so that the caller sees
 * differences and nothing else.
 */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/host/host.h"
#include "lib/host/nl.h"
#include "lib/util/cleanup.h"

#define LINKS_RCVBUF (1 << 20) /* a thousand interfaces may come at once */
#define LINKS_TURN 256         /* datagrams of one dispatch: others want their turn, and poll calls again */

struct link_table {
	struct weir_kern_if *v;
	size_t n, room;
};

struct weir_links {
	struct mnl_socket *nl;
	struct link_table t;
	uint64_t overruns;
	char buf[WEIR_NL_BUF];
};

static int table_by_index(const void *a, const void *b)
{
	const struct weir_kern_if *x = a, *y = b;

	return x->ifindex < y->ifindex ? -1 : x->ifindex > y->ifindex;
}

/* The entry, or where it belongs. */
static size_t table_find(const struct link_table *t, uint32_t ifindex, bool *found)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (t->v[mid].ifindex < ifindex)
			lo = mid + 1;
		else
			hi = mid;
	}
	*found = lo < t->n && t->v[lo].ifindex == ifindex;
	return lo;
}

static int table_insert(struct link_table *t, size_t at, const struct weir_kern_if *i)
{
	if (t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 32;
		struct weir_kern_if *v = reallocarray(t->v, room, sizeof *v);

		if (!v)
			return -ENOMEM;
		t->v = v;
		t->room = room;
	}
	memmove(t->v + at + 1, t->v + at, (t->n - at) * sizeof *t->v);
	t->v[at] = *i;
	t->n++;
	return 0;
}

static void table_remove(struct link_table *t, size_t at)
{
	t->n--;
	memmove(t->v + at, t->v + at + 1, (t->n - at) * sizeof *t->v);
}

/* The driver's name, asked in our own namespace: /sys may be another's. */
static void link_driver(struct weir_kern_if *i)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq req = { .ifr_data = (void *)&info };

	if (fd < 0)
		return;
	memcpy(req.ifr_name, i->name, sizeof req.ifr_name);
	if (ioctl(fd, SIOCETHTOOL, &req) < 0)
		return;
	memcpy(i->driver, info.driver, sizeof i->driver);
	i->driver[sizeof i->driver - 1] = 0;
}

static void link_info(const struct nlattr *nest, struct weir_kern_if *i)
{
	const struct nlattr *tb[IFLA_INFO_SLAVE_DATA + 1], *vlan[IFLA_VLAN_PROTOCOL + 1];

	weir_nl_nested(nest, tb, IFLA_INFO_SLAVE_DATA);
	weir_nl_str(tb[IFLA_INFO_KIND], i->kind, sizeof i->kind);
	weir_nl_str(tb[IFLA_INFO_SLAVE_KIND], i->master_kind, sizeof i->master_kind);
	if (strcmp(i->kind, "vlan") || !tb[IFLA_INFO_DATA])
		return;
	weir_nl_nested(tb[IFLA_INFO_DATA], vlan, IFLA_VLAN_PROTOCOL);
	i->vlan_id = weir_nl_u16(vlan[IFLA_VLAN_ID]) & 0xfff;
	i->vlan_proto = (uint16_t)__builtin_bswap16(weir_nl_u16(vlan[IFLA_VLAN_PROTOCOL]));
}

/* Whether IFLA_LINK names what the device stands on; of a pair it names the other end. */
static bool link_is_stacked(const struct weir_kern_if *i)
{
	return strcmp(i->kind, "veth") && strcmp(i->kind, "netkit") && strcmp(i->kind, "vxcan");
}

/*
 * One message. False: none of ours. Messages of the bridge family speak of ports (their DELLINK means "left
 * the bridge", the device lives), those of wireless events carry a name and nothing else.
 */
static bool link_parse(const struct nlmsghdr *h, struct weir_kern_if *i)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *tb[IFLA_LINK_NETNSID + 1];

	if ((h->nlmsg_type != RTM_NEWLINK && h->nlmsg_type != RTM_DELLINK) ||
	    mnl_nlmsg_get_payload_len(h) < sizeof *m || m->ifi_family != AF_UNSPEC || m->ifi_index <= 0)
		return false;
	weir_nl_attrs(h, sizeof *m, tb, IFLA_LINK_NETNSID);
	if (tb[IFLA_WIRELESS] || !tb[IFLA_IFNAME])
		return false;
	memset(i, 0, sizeof *i);
	i->ifindex = (uint32_t)m->ifi_index;
	i->flags = m->ifi_flags;
	i->arphrd = m->ifi_type;
	weir_nl_str(tb[IFLA_IFNAME], i->name, sizeof i->name);
	i->mtu = weir_nl_u32(tb[IFLA_MTU]);
	i->master = weir_nl_u32(tb[IFLA_MASTER]);
	if (tb[IFLA_ADDRESS] && mnl_attr_get_payload_len(tb[IFLA_ADDRESS]) == sizeof i->mac)
		memcpy(i->mac, mnl_attr_get_payload(tb[IFLA_ADDRESS]), sizeof i->mac);
	link_info(tb[IFLA_LINKINFO], i);
	if (tb[IFLA_LINK] && !tb[IFLA_LINK_NETNSID] && link_is_stacked(i) && weir_nl_u32(tb[IFLA_LINK]) != i->ifindex)
		i->link = weir_nl_u32(tb[IFLA_LINK]);
	return true;
}

static int links_gather(const struct nlmsghdr *h, void *data)
{
	struct link_table *t = data;
	struct weir_kern_if i;
	bool found;
	size_t at;

	if (!link_parse(h, &i) || h->nlmsg_type != RTM_NEWLINK)
		return 0;
	at = table_find(t, i.ifindex, &found);
	if (found) {
		t->v[at] = i;
		return 0;
	}
	return table_insert(t, at, &i);
}

static void links_forget(void *data)
{
	((struct link_table *)data)->n = 0;
}

int weir_links_read(struct weir_kern_if **ret, size_t *ret_n)
{
	struct link_table t = { 0 };
	struct weir_nl_req r;
	struct ifinfomsg *m = weir_nl_request(&r, RTM_GETLINK, sizeof *m);
	int e;

	m->ifi_family = AF_UNSPEC;
	/* counters of every interface are most of the answer, and nothing is done with them */
	mnl_attr_put_u32(r.h, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	e = weir_nl_dump(NETLINK_ROUTE, &r, links_gather, links_forget, &t);
	if (e < 0) {
		free(t.v);
		return e;
	}
	for (size_t i = 0; i < t.n; i++)
		link_driver(&t.v[i]);
	*ret = t.v;
	*ret_n = t.n;
	return 0;
}

int weir_links_open(struct weir_links **ret)
{
	struct weir_links *l = calloc(1, sizeof *l);
	int size = LINKS_RCVBUF, e;

	if (!l)
		return -ENOMEM;
	l->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!l->nl || mnl_socket_bind(l->nl, RTMGRP_LINK, MNL_SOCKET_AUTOPID) < 0) {
		e = -errno;
		weir_links_free(l);
		return e;
	}
	/* a larger queue is a wish; what it cannot hold is read anew */
	if (setsockopt(mnl_socket_get_fd(l->nl), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
		setsockopt(mnl_socket_get_fd(l->nl), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	*ret = l;
	return 0;
}

void weir_links_free(struct weir_links *l)
{
	if (!l)
		return;
	if (l->nl)
		mnl_socket_close(l->nl);
	free(l->t.v);
	free(l);
}

int weir_links_fd(const struct weir_links *l)
{
	return mnl_socket_get_fd(l->nl);
}

uint64_t weir_links_overruns(const struct weir_links *l)
{
	return l->overruns;
}

static bool link_is_same(const struct weir_kern_if *a, const struct weir_kern_if *b)
{
	/* of the flags only those that change what weir does: carrier and promiscuity come and go */
	const uint32_t flags = IFF_UP | IFF_LOOPBACK | IFF_POINTOPOINT | IFF_NOARP | IFF_SLAVE | IFF_MASTER;

	return !strcmp(a->name, b->name) && !strcmp(a->kind, b->kind) && a->master == b->master &&
	       !strcmp(a->master_kind, b->master_kind) && a->link == b->link && a->mtu == b->mtu &&
	       !((a->flags ^ b->flags) & flags) && a->arphrd == b->arphrd && a->vlan_id == b->vlan_id &&
	       a->vlan_proto == b->vlan_proto && !memcmp(a->mac, b->mac, sizeof a->mac);
}

static void links_gone(struct weir_links *l, size_t at, weir_link_cb cb, void *data)
{
	struct weir_kern_if i = l->t.v[at];

	table_remove(&l->t, at);
	cb(WEIR_LINK_GONE, &i, data);
}

/* What is known meets what is told. An index whose kind changed is another device that took it over. */
static int links_seen(struct weir_links *l, struct weir_kern_if *i, weir_link_cb cb, void *data)
{
	bool found;
	size_t at = table_find(&l->t, i->ifindex, &found);
	int e;

	if (found && (strcmp(l->t.v[at].kind, i->kind) || l->t.v[at].arphrd != i->arphrd)) {
		links_gone(l, at, cb, data);
		found = false;
	}
	if (found && link_is_same(&l->t.v[at], i))
		return 0;
	link_driver(i);
	if (found) {
		l->t.v[at] = *i;
		cb(WEIR_LINK_CHANGED, i, data);
		return 0;
	}
	e = table_insert(&l->t, at, i);
	if (e < 0)
		return e;
	cb(WEIR_LINK_NEW, i, data);
	return 0;
}

int weir_links_sync(struct weir_links *l, weir_link_cb cb, void *data)
{
	_cleanup_free_ struct weir_kern_if *v = NULL;
	size_t n = 0, at = 0;
	int e = weir_links_read(&v, &n);

	if (e < 0)
		return e;
	while (at < l->t.n) {
		if (bsearch(&l->t.v[at], v, n, sizeof *v, table_by_index))
			at++;
		else
			links_gone(l, at, cb, data);
	}
	for (size_t i = 0; i < n; i++) {
		e = links_seen(l, &v[i], cb, data);
		if (e < 0)
			return e;
	}
	return 0;
}

static int links_message(struct weir_links *l, const struct nlmsghdr *h, weir_link_cb cb, void *data)
{
	struct weir_kern_if i;
	bool found;
	size_t at;

	if (!link_parse(h, &i))
		return 0;
	if (h->nlmsg_type == RTM_NEWLINK)
		return links_seen(l, &i, cb, data);
	at = table_find(&l->t, i.ifindex, &found);
	if (found)
		links_gone(l, at, cb, data);
	return 0;
}

int weir_links_dispatch(struct weir_links *l, weir_link_cb cb, void *data)
{
	bool lost = false;

	for (int turn = 0; lost || turn < LINKS_TURN; turn++) {
		ssize_t n = mnl_socket_recvfrom(l->nl, l->buf, sizeof l->buf);
		const struct nlmsghdr *h = (const void *)l->buf;
		int left, e;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) {
			l->overruns++;
			lost = true;
			continue;
		}
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			return n ? -errno : -EIO;
		if (lost)
			continue; /* what follows a gap is older than the full read below, and may mislead it */
		left = (int)n;
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			e = links_message(l, h, cb, data);
			if (e < 0)
				return e;
		}
	}
	return lost ? weir_links_sync(l, cb, data) : 0;
}
