/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TC before Linux 6.6: a filter on the clsact qdisc, which is no link and has nothing to pin. What is ours is
 * remembered by pins: links/clsact_IFINDEX_HOOK of the program for a filter, links/qdisc_IFINDEX where weir
 * also made the qdisc. The qdisc goes when the last filter has gone, weir's or another's.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "lib/kern/internal.h"

static const char *hook_name(enum weir_hook_slot slot)
{
	return slot == WEIR_SLOT_IN ? "in" : "out";
}

static void pin_name(char path[static PATH_MAX], const char *bpffs, const char *what, uint32_t ifindex, const char *hook)
{
	int n = snprintf(path, PATH_MAX, "%s/links/%s_%u%s%s", bpffs, what, ifindex, *hook ? "_" : "", hook);

	if (n < 0 || n >= PATH_MAX)
		path[0] = 0;
}

static int pin(const char *path, int prog)
{
	unlink(path);
	return bpf_obj_pin(prog, path) ? -errno : 0;
}

int weir_clsact_attach(struct weir_kern *k, uint32_t ifindex, enum weir_hook_slot slot)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, o, .prog_fd = weir_prog_fd(k, slot), .handle = WEIR_CLSACT_HANDLE, .priority = WEIR_CLSACT_PRIORITY,
		    .flags = BPF_TC_F_REPLACE);
	char path[PATH_MAX];
	int r = bpf_tc_hook_create(&hook);

	if (!r) {
		pin_name(path, k->bpffs, "qdisc", ifindex, "");
		r = pin(path, k->shared[WEIR_M_CONTROL]); /* a mark only: a program would keep its generation alive */
	}
	if (r && r != -EEXIST)
		return r;
	hook.attach_point = slot == WEIR_SLOT_IN ? BPF_TC_INGRESS : BPF_TC_EGRESS;
	r = bpf_tc_attach(&hook, &o);
	if (r)
		return r;
	pin_name(path, k->bpffs, "clsact", ifindex, hook_name(slot));
	return pin(path, weir_prog_fd(k, slot));
}

/* Is any filter left on one side of the qdisc? When the kernel does not say: yes. */
static bool filters_left(uint32_t ifindex, uint32_t parent)
{
	struct {
		struct nlmsghdr h;
		struct tcmsg t;
	} q = { .h = { .nlmsg_len = sizeof q, .nlmsg_type = RTM_GETTFILTER, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.t = { .tcm_ifindex = (int)ifindex, .tcm_parent = parent } };
	_Alignas(struct nlmsghdr) char buf[16384];
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct timeval patience = { .tv_sec = 2 };
	ssize_t n;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) || send(fd, &q, sizeof q, 0) < 0)
		return true;
	n = recv(fd, buf, sizeof buf, 0);
	return n < (ssize_t)sizeof(struct nlmsghdr) || ((struct nlmsghdr *)buf)->nlmsg_type != NLMSG_DONE;
}

static void qdisc_remove(const char *bpffs, uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	char path[PATH_MAX];

	pin_name(path, bpffs, "qdisc", ifindex, "");
	if (access(path, F_OK) || filters_left(ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)) ||
	    filters_left(ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)))
		return;
	bpf_tc_hook_destroy(&hook);
	unlink(path);
}

int weir_clsact_detach(const char *bpffs, uint32_t ifindex, enum weir_hook_slot slot)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
		    .attach_point = slot == WEIR_SLOT_IN ? BPF_TC_INGRESS : BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, o, .handle = WEIR_CLSACT_HANDLE, .priority = WEIR_CLSACT_PRIORITY);
	char path[PATH_MAX];
	int r = bpf_tc_detach(&hook, &o);

	pin_name(path, bpffs, "clsact", ifindex, hook_name(slot));
	unlink(path);
	qdisc_remove(bpffs, ifindex);
	return r;
}

int weir_clsact_remove_all(const char *bpffs)
{
	_cleanup_closedir_ DIR *d = NULL;
	char path[PATH_MAX];
	int n = 0;

	if (snprintf(path, sizeof path, "%s/links", bpffs) >= (int)sizeof path)
		return 0;
	d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		uint32_t ifindex;
		char hook[4];

		if (sscanf(e->d_name, "clsact_%u_%3s", &ifindex, hook) == 2)
			n += !weir_clsact_detach(bpffs, ifindex, strcmp(hook, "in") ? WEIR_SLOT_OUT : WEIR_SLOT_IN);
	}
	return n;
}
