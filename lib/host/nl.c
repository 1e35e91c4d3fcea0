/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/host/nl.h"

#include <errno.h>
#include <string.h>

#include "core/parse.h"
#include "lib/util/cleanup.h"

static void nl_closep(struct mnl_socket **s)
{
	if (*s)
		mnl_socket_close(*s);
}

void *weir_nl_request(struct weir_nl_req *r, uint16_t type, size_t size)
{
	memset(r, 0, sizeof *r);
	r->h = mnl_nlmsg_put_header(r->buf);
	r->h->nlmsg_type = type;
	r->h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	return mnl_nlmsg_put_extra_header(r->h, size);
}

/* One datagram of answers. 1: the dump is complete, 0: more to come. */
static int dump_page(const char *buf, size_t len, uint32_t seq, uint32_t port, bool *interrupted, weir_nl_cb cb,
		     void *data)
{
	const struct nlmsghdr *h = (const void *)buf;
	int left = (int)len, r;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		if (!mnl_nlmsg_seq_ok(h, seq) || !mnl_nlmsg_portid_ok(h, port))
			continue;
		if (h->nlmsg_flags & NLM_F_DUMP_INTR)
			*interrupted = true;
		if (h->nlmsg_type == NLMSG_DONE) {
			/* a dump that fails half-way says so here (since Linux 4.14) */
			if (mnl_nlmsg_get_payload_len(h) >= sizeof(int)) {
				memcpy(&r, mnl_nlmsg_get_payload(h), sizeof r);
				if (r < 0)
					return r;
			}
			return 1;
		}
		if (h->nlmsg_type == NLMSG_ERROR) {
			if (mnl_nlmsg_get_payload_len(h) < sizeof(struct nlmsgerr))
				return -EBADMSG;
			r = ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
			return r < 0 ? r : 1;
		}
		if (h->nlmsg_type < NLMSG_MIN_TYPE)
			continue;
		r = cb(h, data);
		if (r < 0)
			return r;
	}
	return 0;
}

static int dump_once(int bus, struct weir_nl_req *r, weir_nl_cb cb, void *data, bool *interrupted)
{
	_cleanup_(nl_closep) struct mnl_socket *s = mnl_socket_open2(bus, SOCK_CLOEXEC);
	_cleanup_free_ char *buf = malloc(WEIR_NL_BUF);
	static uint32_t seq;
	int done = 0;

	if (!s)
		return -errno;
	if (!buf)
		return -ENOMEM;
	if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	r->h->nlmsg_seq = ++seq;
	if (mnl_socket_sendto(s, r->h, r->h->nlmsg_len) < 0)
		return -errno;
	while (!done) {
		ssize_t n = mnl_socket_recvfrom(s, buf, WEIR_NL_BUF);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		done = dump_page(buf, (size_t)n, r->h->nlmsg_seq, mnl_socket_get_portid(s), interrupted, cb, data);
		if (done < 0)
			return done;
	}
	return 0;
}

int weir_nl_dump(int bus, struct weir_nl_req *r, weir_nl_cb cb, void (*again)(void *data), void *data)
{
	for (int tries = 0; tries < 5; tries++) {
		bool interrupted = false;
		int e;

		if (tries)
			again(data);
		e = dump_once(bus, r, cb, data, &interrupted);
		if (e < 0 || !interrupted)
			return e;
	}
	return -EINTR;
}

static int ask_never(const struct nlmsghdr *h, void *data)
{
	return 0;
}

int weir_nl_ask(int bus, struct weir_nl_req *r)
{
	bool interrupted = false;

	r->h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	return dump_once(bus, r, ask_never, NULL, &interrupted); /* an acknowledgement ends it as it ends a dump */
}

void weir_nl_attrs(const struct nlmsghdr *h, size_t header, const struct nlattr **tb, uint16_t max)
{
	const struct nlattr *a;

	memset(tb, 0, sizeof *tb * (max + 1u));
	if (mnl_nlmsg_get_payload_len(h) < header)
		return;
	mnl_attr_for_each(a, h, (unsigned int)header)
		if (mnl_attr_get_type(a) <= max)
			tb[mnl_attr_get_type(a)] = a;
}

void weir_nl_nested(const struct nlattr *nest, const struct nlattr **tb, uint16_t max)
{
	const struct nlattr *a;

	memset(tb, 0, sizeof *tb * (max + 1u));
	if (!nest)
		return;
	mnl_attr_for_each_nested(a, nest)
		if (mnl_attr_get_type(a) <= max)
			tb[mnl_attr_get_type(a)] = a;
}

uint32_t weir_nl_u32(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) >= 4 ? mnl_attr_get_u32(a) : 0;
}

uint16_t weir_nl_u16(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) >= 2 ? mnl_attr_get_u16(a) : 0;
}

uint8_t weir_nl_u8(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) >= 1 ? mnl_attr_get_u8(a) : 0;
}

void weir_nl_str(const struct nlattr *a, char *buf, size_t size)
{
	size_t n = a ? mnl_attr_get_payload_len(a) : 0;

	n = n < size ? n : size - 1;
	if (n)
		memcpy(buf, mnl_attr_get_payload(a), n);
	buf[n] = 0;
}

int weir_nl_addr(const struct nlattr *a, uint8_t ret[16])
{
	size_t n = a ? mnl_attr_get_payload_len(a) : 0;

	if (n == 4)
		weir_map4(ret, mnl_attr_get_payload(a));
	else if (n == 16)
		memcpy(ret, mnl_attr_get_payload(a), 16);
	else
		return -EINVAL;
	return 0;
}
