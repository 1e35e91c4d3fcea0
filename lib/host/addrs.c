/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The addresses of this host, and the small facts about it that fit nowhere else.
 */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/host/host.h"
#include "lib/host/nl.h"
#include "lib/util/cleanup.h"

struct addr_list {
	uint8_t (*v)[16];
	size_t n, room;
};

static int addrs_gather(const struct nlmsghdr *h, void *data)
{
	const struct nlattr *tb[IFA_LOCAL + 1];
	struct addr_list *l = data;
	uint8_t a[16];

	if (h->nlmsg_type != RTM_NEWADDR)
		return 0;
	weir_nl_attrs(h, sizeof(struct ifaddrmsg), tb, IFA_LOCAL);
	/* of a point-to-point device IFA_ADDRESS is the peer's */
	if (weir_nl_addr(tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS], a) < 0)
		return 0;
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 16;
		uint8_t(*v)[16] = reallocarray(l->v, room, sizeof *v);

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->room = room;
	}
	memcpy(l->v[l->n++], a, sizeof a);
	return 0;
}

static void addrs_forget(void *data)
{
	((struct addr_list *)data)->n = 0;
}

static int addr_cmp(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

int weir_addrs_read(uint8_t (**ret)[16], size_t *ret_n)
{
	struct addr_list l = { 0 };
	struct weir_nl_req r;
	int e;

	weir_nl_request(&r, RTM_GETADDR, sizeof(struct ifaddrmsg));
	e = weir_nl_dump(NETLINK_ROUTE, &r, addrs_gather, addrs_forget, &l);
	if (e < 0) {
		free(l.v);
		return e;
	}
	if (l.n)
		qsort(l.v, l.n, sizeof *l.v, addr_cmp);
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}

bool weir_addrs_have(const uint8_t (*v)[16], size_t n, const uint8_t addr[16])
{
	/* all of 127.0.0.0/8 is this host, whatever is configured */
	if (weir_addr_is_v4(addr) && addr[12] == 127)
		return true;
	return n && bsearch(addr, v, n, sizeof *v, addr_cmp);
}

uint64_t weir_host_boot_ns(void)
{
	struct timespec real, boot;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	return (uint64_t)(real.tv_sec - boot.tv_sec) * 1000000000u + (uint64_t)real.tv_nsec - (uint64_t)boot.tv_nsec;
}

void weir_host_port_range(uint16_t *ret_min, uint16_t *ret_max)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	unsigned min, max;

	*ret_min = 32768;
	*ret_max = 60999;
	if (f && fscanf(f, "%u %u", &min, &max) == 2 && min >= 1 && min <= max && max <= 65535) {
		*ret_min = (uint16_t)min;
		*ret_max = (uint16_t)max;
	}
}

/* Not getpwuid(): a directory service may sit behind the network that is being filtered. */
void weir_host_user(uint32_t uid, char *buf, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen("/etc/passwd", "re");
	struct passwd pw, *p;
	char line[1024];

	while (f && !fgetpwent_r(f, &pw, line, sizeof line, &p)) {
		if (p->pw_uid == uid) {
			snprintf(buf, size, "%s", p->pw_name);
			return;
		}
	}
	snprintf(buf, size, "uid %u", uid);
}
