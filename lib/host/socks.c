/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets of this network namespace, by sock_diag. An IPv6 socket that speaks IPv4 (dual stack) shows mapped
 * addresses; they are what struct weir_tuple holds for IPv4, so nothing special is left to do about them.
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/parse.h"
#include "lib/host/host.h"
#include "lib/host/nl.h"
#include "lib/util/cleanup.h"

struct sock_list {
	struct weir_sock *v;
	size_t n, room, more;
	size_t start, start_more; /* where this dump began: what `forget` goes back to */
	uint8_t proto;
};

static void sock_addr(uint8_t ret[16], uint8_t family, const void *from)
{
	if (family == AF_INET)
		weir_map4(ret, from);
	else
		memcpy(ret, from, 16);
}

static bool addr_is_any(const uint8_t a[16])
{
	static const uint8_t zero[16];

	return !memcmp(a, zero, 16) || (weir_addr_is_v4(a) && !memcmp(a + 12, zero, 4));
}

static void sock_bytes(const struct nlattr *info, struct weir_sock *s)
{
	struct tcp_info ti = { 0 };
	size_t n = info ? mnl_attr_get_payload_len(info) : 0;

	/* older kernels send a shorter structure; what is missing stays 0 */
	memcpy(&ti, info ? mnl_attr_get_payload(info) : &ti, n < sizeof ti ? n : sizeof ti);
	s->sent = ti.tcpi_bytes_acked ? ti.tcpi_bytes_acked - 1 : 0; /* the SYN counts as a byte */
	s->received = ti.tcpi_bytes_received;
}

static int socks_gather(const struct nlmsghdr *h, void *data)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *tb[INET_DIAG_SKV6ONLY + 1];
	struct sock_list *l = data;
	struct weir_sock *s;

	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || mnl_nlmsg_get_payload_len(h) < sizeof *m ||
	    (m->idiag_family != AF_INET && m->idiag_family != AF_INET6))
		return 0;
	if (l->n >= WEIR_SOCKS_MAX) {
		l->more++;
		return 0;
	}
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 256;
		struct weir_sock *v = reallocarray(l->v, room, sizeof *v);

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->room = room;
	}
	s = &l->v[l->n++];
	memset(s, 0, sizeof *s);
	weir_nl_attrs(h, sizeof *m, tb, INET_DIAG_SKV6ONLY);
	sock_addr(s->local, m->idiag_family, m->id.idiag_src);
	sock_addr(s->remote, m->idiag_family, m->id.idiag_dst);
	s->lport = weir_be16((const uint8_t *)&m->id.idiag_sport);
	s->rport = weir_be16((const uint8_t *)&m->id.idiag_dport);
	s->proto = l->proto;
	s->state = m->idiag_state;
	s->uid = m->idiag_uid;
	s->inode = m->idiag_inode;
	s->ifindex = m->id.idiag_if;
	s->family = weir_addr_is_v4(s->local) ? 4 : 6;
	if (m->idiag_family == AF_INET6 && s->family == 6 && addr_is_any(s->local) && !weir_nl_u8(tb[INET_DIAG_SKV6ONLY]))
		s->family = 0;
	if (l->proto == WEIR_IPPROTO_TCP)
		s->listening = s->state == WEIR_SOCK_LISTEN;
	else
		s->listening = s->state == WEIR_SOCK_CLOSE && s->lport && !s->rport;
	sock_bytes(tb[INET_DIAG_INFO], s);
	return 0;
}

static void socks_forget(void *data)
{
	struct sock_list *l = data;

	l->n = l->start;
	l->more = l->start_more;
}

/* What listens, by protocol and port: enough to tell who opened a connection. */
struct port_sets {
	uint64_t tcp[1024], udp[1024];
};

static uint64_t *port_set(struct port_sets *p, uint8_t proto)
{
	return proto == WEIR_IPPROTO_TCP ? p->tcp : p->udp;
}

/*
 * sock_diag does not say who opened a connection. A local port that something listens on was asked for; the
 * kernel does not hand out such a port to a client unless it binds to it on purpose. Where the listener is
 * gone the ports themselves must tell: a service here, a client's port there.
 */
static bool sock_is_inbound(const struct weir_sock *s, struct port_sets *p, uint16_t eph_min, uint16_t eph_max)
{
	if (s->listening || !s->rport || s->state == WEIR_SOCK_SYN_SENT)
		return false;
	if (s->state == WEIR_SOCK_SYN_RECV || (port_set(p, s->proto)[s->lport >> 6] >> (s->lport & 63) & 1))
		return true;
	return (s->lport < eph_min || s->lport > eph_max) && s->rport >= eph_min && s->rport <= eph_max;
}

static int socks_direct(struct weir_sock *v, size_t n)
{
	_cleanup_free_ struct port_sets *p = calloc(1, sizeof *p);
	uint16_t eph_min, eph_max;

	if (!p)
		return -ENOMEM;
	weir_host_port_range(&eph_min, &eph_max);
	for (size_t i = 0; i < n; i++)
		if (v[i].listening)
			port_set(p, v[i].proto)[v[i].lport >> 6] |= 1ull << (v[i].lport & 63);
	for (size_t i = 0; i < n; i++)
		v[i].inbound = sock_is_inbound(&v[i], p, eph_min, eph_max);
	return 0;
}

int weir_socks_read(struct weir_sock **ret, size_t *ret_n, size_t *ret_more)
{
	static const uint8_t protos[] = { WEIR_IPPROTO_TCP, WEIR_IPPROTO_UDP, WEIR_IPPROTO_UDPLITE };
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	struct sock_list l = { 0 };
	int e = 0;

	for (size_t i = 0; i < sizeof protos * sizeof families; i++) {
		struct weir_nl_req r;
		struct inet_diag_req_v2 *q = weir_nl_request(&r, SOCK_DIAG_BY_FAMILY, sizeof *q);

		q->sdiag_family = families[i % 2];
		q->sdiag_protocol = protos[i / 2];
		q->idiag_states = ~0u;
		q->idiag_ext = q->sdiag_protocol == WEIR_IPPROTO_TCP ? 1 << (INET_DIAG_INFO - 1) : 0;
		l.proto = q->sdiag_protocol;
		l.start = l.n;
		l.start_more = l.more;
		e = weir_nl_dump(NETLINK_SOCK_DIAG, &r, socks_gather, socks_forget, &l);
		if (e == -ENOENT || e == -EAFNOSUPPORT || e == -EPROTONOSUPPORT)
			e = 0; /* a kernel without udp_diag or IPv6: then there is nothing to tell */
		if (e < 0)
			break;
	}
	if (e >= 0)
		e = socks_direct(l.v, l.n);
	if (e < 0) {
		free(l.v);
		return e;
	}
	*ret = l.v;
	*ret_n = l.n;
	if (ret_more)
		*ret_more = l.more;
	return 0;
}

bool weir_sock_tuple(const struct weir_sock *s, struct weir_tuple *ret, uint32_t *ret_dir)
{
	if (s->listening || !s->rport || !s->lport || addr_is_any(s->remote) || addr_is_any(s->local))
		return false;
	memcpy(ret->src, s->inbound ? s->remote : s->local, 16);
	memcpy(ret->dst, s->inbound ? s->local : s->remote, 16);
	ret->sport = s->inbound ? s->rport : s->lport;
	ret->dport = s->inbound ? s->lport : s->rport;
	ret->zone = weir_zone(s->proto, 0, 0);
	*ret_dir = s->inbound ? WEIR_DIR_IN : WEIR_DIR_OUT;
	return true;
}

bool weir_sock_is_open(const struct weir_sock *s, uint16_t eph_min, uint16_t eph_max)
{
	static const uint8_t lo6[16] = { [15] = 1 };

	if (!s->listening || !memcmp(s->local, lo6, 16) || (weir_addr_is_v4(s->local) && s->local[12] == 127))
		return false;
	return s->proto == WEIR_IPPROTO_TCP || s->lport < eph_min || s->lport > eph_max;
}
