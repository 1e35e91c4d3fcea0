/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/host/conntrack.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/host/host.h"
#include "lib/host/nl.h"
#include "lib/util/cleanup.h"

/* ip_conntrack_status, <linux/netfilter/nf_conntrack_common.h> */
#define CT_SEEN_REPLY 2u
#define CT_DYING (1u << 9)
/* enum tcp_conntrack: the only state in which a connection is worth keeping */
#define CT_TCP_ESTABLISHED 3

struct ct_list {
	struct weir_ct *v;
	size_t n, room, more;
};

static bool ct_tuple(const struct nlattr *nest, struct weir_tuple *t)
{
	const struct nlattr *tb[CTA_TUPLE_PROTO + 1], *ip[CTA_IP_V6_DST + 1], *proto[CTA_PROTO_DST_PORT + 1];
	uint16_t sport, dport;
	uint8_t p;

	weir_nl_nested(nest, tb, CTA_TUPLE_PROTO);
	weir_nl_nested(tb[CTA_TUPLE_IP], ip, CTA_IP_V6_DST);
	weir_nl_nested(tb[CTA_TUPLE_PROTO], proto, CTA_PROTO_DST_PORT);
	if (weir_nl_addr(ip[CTA_IP_V4_SRC] ? ip[CTA_IP_V4_SRC] : ip[CTA_IP_V6_SRC], t->src) < 0 ||
	    weir_nl_addr(ip[CTA_IP_V4_DST] ? ip[CTA_IP_V4_DST] : ip[CTA_IP_V6_DST], t->dst) < 0)
		return false;
	p = weir_nl_u8(proto[CTA_PROTO_NUM]);
	if (p != WEIR_IPPROTO_TCP && p != WEIR_IPPROTO_UDP && p != WEIR_IPPROTO_SCTP && p != WEIR_IPPROTO_UDPLITE)
		return false;
	sport = weir_nl_u16(proto[CTA_PROTO_SRC_PORT]);
	dport = weir_nl_u16(proto[CTA_PROTO_DST_PORT]);
	t->sport = weir_be16((const uint8_t *)&sport);
	t->dport = weir_be16((const uint8_t *)&dport);
	t->zone = weir_zone(p, 0, 0);
	return true;
}

/* An entry that TCP has closed, or not opened yet, is no conversation to keep. */
static bool ct_is_live(const struct nlattr *info)
{
	const struct nlattr *tb[CTA_PROTOINFO_TCP + 1], *tcp[CTA_PROTOINFO_TCP_STATE + 1];

	weir_nl_nested(info, tb, CTA_PROTOINFO_TCP);
	weir_nl_nested(tb[CTA_PROTOINFO_TCP], tcp, CTA_PROTOINFO_TCP_STATE);
	return weir_nl_u8(tcp[CTA_PROTOINFO_TCP_STATE]) == CT_TCP_ESTABLISHED;
}

bool weir_ct_parse(const struct nlmsghdr *h, struct weir_ct *ret)
{
	const struct nlattr *tb[CTA_PROTOINFO + 1];
	struct weir_tuple answer;
	uint32_t status;

	if (h->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW))
		return false;
	weir_nl_attrs(h, sizeof(struct nfgenmsg), tb, CTA_PROTOINFO);
	if (!ct_tuple(tb[CTA_TUPLE_ORIG], &ret->orig) || !ct_tuple(tb[CTA_TUPLE_REPLY], &answer))
		return false;
	status = __builtin_bswap32(weir_nl_u32(tb[CTA_STATUS]));
	if (status & CT_DYING)
		return false;
	if (ret->orig.zone >> 24 == WEIR_IPPROTO_TCP && !ct_is_live(tb[CTA_PROTOINFO]))
		return false;
	ret->seen_reply = status & CT_SEEN_REPLY;
	memcpy(ret->reply.src, answer.dst, 16);
	memcpy(ret->reply.dst, answer.src, 16);
	ret->reply.sport = answer.dport;
	ret->reply.dport = answer.sport;
	ret->reply.zone = answer.zone;
	return true;
}

static int ct_gather(const struct nlmsghdr *h, void *data)
{
	struct ct_list *l = data;
	struct weir_ct ct;

	if (!weir_ct_parse(h, &ct))
		return 0;
	if (l->n >= WEIR_CT_MAX) {
		l->more++;
		return 0;
	}
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 256;
		struct weir_ct *v = reallocarray(l->v, room, sizeof *v);

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = ct;
	return 0;
}

static void ct_forget(void *data)
{
	struct ct_list *l = data;

	l->n = l->more = 0;
}

int weir_ct_read(struct weir_ct **ret, size_t *ret_n, char *why, size_t why_size)
{
	struct ct_list l = { 0 };
	struct weir_nl_req r;
	struct nfgenmsg *m;
	int e;

	*why = 0;
	*ret = NULL;
	*ret_n = 0;
	/* asking would make the kernel load the module; where it is not loaded nothing is tracked */
	if (access("/proc/sys/net/netfilter/nf_conntrack_count", F_OK) < 0) {
		snprintf(why, why_size, "connection tracking is not in use");
		return 0;
	}
	m = weir_nl_request(&r, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, sizeof *m);
	m->nfgen_family = AF_UNSPEC;
	m->version = NFNETLINK_V0;
	e = weir_nl_dump(NETLINK_NETFILTER, &r, ct_gather, ct_forget, &l);
	if (e == -ENOMEM) {
		free(l.v);
		return e;
	}
	if (e < 0) {
		snprintf(why, why_size, "connection tracking cannot be read: %s", strerror(-e));
		l.n = 0;
	} else if (l.more) {
		snprintf(why, why_size, "%zu tracked connections beyond the first %d were not read", l.more, WEIR_CT_MAX);
	}
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}
