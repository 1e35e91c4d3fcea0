/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices in other network namespaces that are this host's business: those that stand on an interface of this one
 * (macvlan, ipvlan, vlan: they were moved away and still use its wire), and physical ones, where this is the namespace
 * of the first process (a VF that was given to a container). Looked for by a child process that enters each namespace.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/host/nl.h"
#include "lib/host/passages.h"
#include "lib/host/proc.h"
#include "lib/util/cleanup.h"

#define SPACES_MAX 512
#define CHILD_MS 4000

struct look {
	int out, home;      /* where records go; our own namespace */
	int32_t home_id;    /* what this namespace calls it; -1: it does not know it */
	bool first;         /* ours is the namespace of the first process */
	char space[48];
};

static int home_gather(const struct nlmsghdr *h, void *data)
{
	const struct nlattr *tb[NETNSA_NSID + 1];

	if (h->nlmsg_type != RTM_NEWNSID)
		return 0;
	weir_nl_attrs(h, sizeof(struct rtgenmsg), tb, NETNSA_NSID);
	*(int32_t *)data = tb[NETNSA_NSID] ? (int32_t)weir_nl_u32(tb[NETNSA_NSID]) : -1;
	return 0;
}

/* The number that the namespace of the caller has for ours. A request, not a dump: asked on a socket of its own. */
static int32_t home_id(int home)
{
	char buf[512] __attribute__((aligned(8)));
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	int32_t id = -1;
	ssize_t n;

	h->nlmsg_type = RTM_GETNSID;
	h->nlmsg_flags = NLM_F_REQUEST;
	mnl_nlmsg_put_extra_header(h, sizeof(struct rtgenmsg));
	mnl_attr_put_u32(h, NETNSA_FD, (uint32_t)home);
	if (nl && mnl_socket_sendto(nl, h, h->nlmsg_len) > 0) {
		n = mnl_socket_recvfrom(nl, buf, sizeof buf);
		if (n > 0 && mnl_nlmsg_ok((struct nlmsghdr *)buf, (int)n))
			home_gather((struct nlmsghdr *)buf, &id);
	}
	if (nl)
		mnl_socket_close(nl);
	return id;
}

static int device_gather(const struct nlmsghdr *h, void *data)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *tb[IFLA_LINK_NETNSID + 1], *info[IFLA_INFO_KIND + 1] = { NULL };
	struct weir_passage p = { 0 };
	struct look *k = data;
	char kind[16] = "";

	if (h->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(h) < sizeof *m)
		return 0;
	weir_nl_attrs(h, sizeof *m, tb, IFLA_LINK_NETNSID);
	if (tb[IFLA_LINKINFO])
		weir_nl_nested(tb[IFLA_LINKINFO], info, IFLA_INFO_KIND);
	weir_nl_str(info[IFLA_INFO_KIND], kind, sizeof kind);
	weir_nl_str(tb[IFLA_IFNAME], p.name, sizeof p.name);
	snprintf(p.space, sizeof p.space, "%s", k->space);
	snprintf(p.detail, sizeof p.detail, "%s", kind);
	if (tb[IFLA_LINK] && tb[IFLA_LINK_NETNSID] && k->home_id >= 0 &&
	    (int32_t)weir_nl_u32(tb[IFLA_LINK_NETNSID]) == k->home_id) {
		if (!strcmp(kind, "veth")) /* its other end is an interface of this namespace, and filtered there */
			return 0;
		p.kind = WEIR_PASSAGE_CHILD;
		p.ifindex = weir_nl_u32(tb[IFLA_LINK]);
	} else if (k->first && !kind[0] && m->ifi_type == ARPHRD_ETHER && !(m->ifi_flags & IFF_LOOPBACK)) {
		p.kind = WEIR_PASSAGE_AWAY;
	} else {
		return 0;
	}
	return write(k->out, &p, sizeof p) == sizeof p ? 0 : -EPIPE;
}

static void forget(void *data)
{
}

static bool look_into(struct look *k, int fd)
{
	struct weir_nl_req r;

	if (setns(fd, CLONE_NEWNET))
		return false;
	k->home_id = home_id(k->home);
	weir_nl_request(&r, RTM_GETLINK, sizeof(struct ifinfomsg));
	return weir_nl_dump(NETLINK_ROUTE, &r, device_gather, forget, k) >= 0;
}

struct seen {
	ino_t v[SPACES_MAX];
	size_t n;
};

/* Once each. */
static bool is_new(struct seen *s, const char *path)
{
	struct stat st;

	if (stat(path, &st) || s->n == SPACES_MAX)
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i] == st.st_ino)
			return false;
	s->v[s->n++] = st.st_ino;
	return true;
}

static void visit(struct look *k, struct weir_passage *sum, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && look_into(k, fd))
		sum->n++;
	else
		sum->uid++; /* in this record: how many could not be looked into */
}

/* Those with a name first, then those of processes. */
static void child(struct look *k)
{
	_cleanup_free_ uint32_t *pids = NULL;
	_cleanup_closedir_ DIR *d = opendir("/run/netns");
	struct weir_passage sum = { .kind = WEIR_PASSAGE_SPACES };
	struct seen seen = { 0 };
	struct stat a, b;
	char path[320];
	size_t n = 0;

	k->first = !stat("/proc/1/ns/net", &a) && !stat("/proc/self/ns/net", &b) && a.st_ino == b.st_ino;
	is_new(&seen, "/proc/self/ns/net");
	for (struct dirent *e; d && (e = readdir(d));) {
		snprintf(path, sizeof path, "/run/netns/%s", e->d_name);
		if (e->d_name[0] == '.' || !is_new(&seen, path))
			continue;
		snprintf(k->space, sizeof k->space, "%.47s", e->d_name);
		visit(k, &sum, path);
	}
	weir_proc_pids(&pids, &n);
	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof path, "/proc/%u/ns/net", pids[i]);
		if (!is_new(&seen, path))
			continue;
		weir_proc_program(pids[i], k->space, sizeof k->space);
		visit(k, &sum, path);
	}
	if (write(k->out, &sum, sizeof sum) != sizeof sum)
		_exit(1);
	_exit(0);
}

/* Until the child's last record. False: it did not come. */
static bool gather(struct weir_passages *l, int fd)
{
	struct weir_passage p, *to;
	struct pollfd f = { .fd = fd, .events = POLLIN };

	while (poll(&f, 1, CHILD_MS) > 0 && read(fd, &p, sizeof p) == sizeof p) {
		to = p.n || p.uid || p.kind != WEIR_PASSAGE_SPACES ? weir_passage_add(l, p.kind) : NULL;
		if (to)
			*to = p;
		if (p.kind == WEIR_PASSAGE_SPACES)
			return true;
	}
	return false;
}

void weir_passages_spaces(struct weir_passages *l)
{
	struct look k = { .home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC) };
	int fds[2];
	pid_t pid;

	if (k.home < 0 || pipe2(fds, O_CLOEXEC)) {
		weir_passage_blind(l, "other namespaces", errno);
		if (k.home >= 0)
			close(k.home);
		return;
	}
	k.out = fds[1];
	pid = fork();
	if (!pid)
		child(&k);
	close(fds[1]);
	if (pid < 0)
		weir_passage_blind(l, "other namespaces", errno);
	else if (!gather(l, fds[0]))
		weir_passage_blind(l, "other namespaces", ETIMEDOUT);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	close(fds[0]);
	close(k.home);
}
