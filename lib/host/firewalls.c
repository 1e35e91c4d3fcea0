/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other firewalls in force: names only, for status. weir never overrides another firewall's drop, so a
 * person who looks for one must be told where else to look. Nothing is asked that would load a module.
 */
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "lib/host/host.h"
#include "lib/host/nl.h"
#include "lib/host/passages.h"
#include "lib/util/cleanup.h"

struct table_list {
	char text[80];
	unsigned n;
	bool firewalld;
};

static const char *family_name(uint8_t family)
{
	switch (family) {
	case 1: /* NFPROTO_INET */
		return "inet";
	case AF_INET:
		return "ip";
	case 3: /* NFPROTO_ARP */
		return "arp";
	case 5: /* NFPROTO_NETDEV */
		return "netdev";
	case 7: /* NFPROTO_BRIDGE */
		return "bridge";
	case AF_INET6:
		return "ip6";
	default:
		return "?";
	}
}

static int tables_gather(const struct nlmsghdr *h, void *data)
{
	const struct nfgenmsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *tb[NFTA_TABLE_NAME + 1];
	struct table_list *l = data;
	char name[48];
	size_t at = strlen(l->text);

	if (h->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE) ||
	    mnl_nlmsg_get_payload_len(h) < sizeof *m)
		return 0;
	weir_nl_attrs(h, sizeof *m, tb, NFTA_TABLE_NAME);
	weir_nl_str(tb[NFTA_TABLE_NAME], name, sizeof name);
	if (!strncmp(name, "weir", 4)) /* the guard's own */
		return 0;
	l->n++;
	l->firewalld |= !strcmp(name, "firewalld");
	snprintf(l->text + at, sizeof l->text - at, "%s%s %s", at ? ", " : "", family_name(m->nfgen_family), name);
	return 0;
}

static void tables_forget(void *data)
{
	*(struct table_list *)data = (struct table_list){ 0 };
}

/* Loaded, or built in: then asking loads nothing. */
bool weir_have_nf_tables(void)
{
	_cleanup_fclose_ FILE *f = NULL;
	struct utsname u;
	char path[128], line[256];

	if (access("/sys/module/nf_tables", F_OK) == 0)
		return true;
	if (uname(&u) < 0)
		return false;
	snprintf(path, sizeof path, "/lib/modules/%.64s/modules.builtin", u.release);
	f = fopen(path, "re");
	if (!f) /* a kernel without modules on disk: it cannot load one either */
		return true;
	while (fgets(line, sizeof line, f))
		if (strstr(line, "/nf_tables.ko"))
			return true;
	return false;
}

/* The tables that the old interface holds in this namespace: "filter nat". False: none. */
static bool legacy_tables(const char *file, char *buf, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen(file, "re");
	char line[64];
	size_t at = 0;

	buf[0] = 0;
	while (f && fgets(line, sizeof line, f) && at < size) {
		line[strcspn(line, "\n")] = 0;
		at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? " " : "", line);
	}
	return buf[0];
}

static bool ufw_is_on(void)
{
	_cleanup_fclose_ FILE *f = fopen("/etc/ufw/ufw.conf", "re");
	char line[128];

	while (f && fgets(line, sizeof line, f))
		if (!strncasecmp(line, "ENABLED=yes", 11))
			return true;
	return false;
}

/* Ports that docker publishes through its proxy. 1: some, 0: none, or negative errno. */
static int docker_ports(char *buf, size_t size)
{
	struct weir_owners *o = NULL;
	const struct weir_sock *v;
	size_t n, at = 0;
	int e = weir_owners_new(0, &o);

	buf[0] = 0;
	if (e >= 0)
		e = weir_owners_refresh(o);
	v = e < 0 ? NULL : weir_owners_socks(o, &n);
	for (size_t i = 0; e >= 0 && i < n && at < size; i++) {
		struct weir_owner w;

		/* a port is published once for each family: one line for both */
		if (!v[i].listening || (i && v[i - 1].listening && v[i - 1].lport == v[i].lport))
			continue;
		if (weir_owners_of(o, &v[i], &w) < 0 || strcmp(w.program, "docker-proxy"))
			continue;
		at += (size_t)snprintf(buf + at, size - at, "%s%u/%s", at ? ", " : "published: ", v[i].lport,
				       v[i].proto == WEIR_IPPROTO_TCP ? "tcp" : "udp");
	}
	weir_owners_free(o);
	return e < 0 ? e : at > 0;
}

static void put(struct weir_firewall *v, size_t *n, const char *name, const char *detail)
{
	if (*n == WEIR_FIREWALLS_MAX)
		return;
	snprintf(v[*n].name, sizeof v->name, "%s", name);
	snprintf(v[*n].detail, sizeof v->detail, "%s", detail);
	++*n;
}

int weir_firewalls_read(struct weir_firewall ret[WEIR_FIREWALLS_MAX], size_t *ret_n)
{
	struct table_list l = { 0 };
	char detail[sizeof ret->detail];
	size_t n = 0;
	int e = 0;

	if (weir_have_nf_tables()) {
		struct weir_nl_req r;
		struct nfgenmsg *m = weir_nl_request(&r, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, sizeof *m);

		e = weir_nl_dump(NETLINK_NETFILTER, &r, tables_gather, tables_forget, &l);
	}
	if (e >= 0 && l.n) {
		snprintf(detail, sizeof detail, "%u %s: %s", l.n, l.n == 1 ? "table" : "tables", l.text);
		put(ret, &n, "nft", detail);
	}
	if (legacy_tables("/proc/net/ip_tables_names", detail, sizeof detail))
		put(ret, &n, "iptables-legacy", detail);
	if (legacy_tables("/proc/net/ip6_tables_names", detail, sizeof detail))
		put(ret, &n, "ip6tables-legacy", detail);
	if (ufw_is_on())
		put(ret, &n, "ufw", "");
	if (l.firewalld)
		put(ret, &n, "firewalld", "");
	e = docker_ports(detail, sizeof detail);
	if (e > 0)
		put(ret, &n, "docker", detail);
	*ret_n = n;
	return e < 0 ? e : 0;
}
