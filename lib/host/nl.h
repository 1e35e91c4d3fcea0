/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink dumps, on top of libmnl: one request, all answers. Private to lib/host.
 */
#pragma once
#include <libmnl/libmnl.h>
#include <stdint.h>

#define WEIR_NL_BUF 65536 /* sock_diag and ctnetlink answer in pages of up to 32 KiB */

struct weir_nl_req {
	struct nlmsghdr *h;
	char buf[512] __attribute__((aligned(8)));
};

/* A dump request of this type; `size` bytes of zeroed family header are returned. */
void *weir_nl_request(struct weir_nl_req *r, uint16_t type, size_t size);

/*
 * Send the request on a socket of its own and give each answer to cb. A table that changed while it was read
 * (NLM_F_DUMP_INTR) is read again: `again` is called first, to forget what was gathered. Negative errno on
 * failure: the kernel's answer, -EINTR when the table never held still, or what cb returned.
 */
typedef int (*weir_nl_cb)(const struct nlmsghdr *h, void *data);
int weir_nl_dump(int bus, struct weir_nl_req *r, weir_nl_cb cb, void (*again)(void *data), void *data);

/* The attributes of a message or nest, by type; those above max are skipped. Types must be validated on use. */
void weir_nl_attrs(const struct nlmsghdr *h, size_t header, const struct nlattr **tb, uint16_t max);
void weir_nl_nested(const struct nlattr *nest, const struct nlattr **tb, uint16_t max);
/* Typed reads that answer 0 or "" where the attribute is absent or too short. */
uint32_t weir_nl_u32(const struct nlattr *a);
uint16_t weir_nl_u16(const struct nlattr *a); /* as it stands: byte order is the caller's */
uint8_t weir_nl_u8(const struct nlattr *a);
void weir_nl_str(const struct nlattr *a, char *buf, size_t size);
/* A mapped address from 4 or 16 bytes; -EINVAL when the attribute is neither. */
int weir_nl_addr(const struct nlattr *a, uint8_t ret[16]);
/* Send one request that asks for an acknowledgement; what the kernel answered, 0 or negative errno. */
int weir_nl_ask(int bus, struct weir_nl_req *r);
