/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests own the namespaces: lo there is the only device and forwards nothing, so every destination is
 * local and ingress always means inbound. All mounts and pins end with the process.
 */
#include "tests/bpf/kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int weir_runner_open(struct weir_runner *r)
{
	return weir_runner_open_flows(r, 0);
}

int weir_runner_open_flows(struct weir_runner *r, uint32_t flows_max)
{
	struct weir_kern_options o = { .runtime_dir = r->dir, .flows_max = flows_max };
	char why[512] = "";
	cpu_set_t set;
	int err;

	*r = (struct weir_runner){ .dir = "/tmp/weir-test-XXXXXX" };
	if (geteuid() || unshare(CLONE_NEWNET | CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		printf("needs root, to make namespaces and to load programs\n");
		return -EPERM;
	}
	/* one CPU: the programs' working memory is per CPU, and times are comparable */
	r->cpu = sched_getcpu();
	CPU_ZERO(&set);
	CPU_SET(r->cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
	r->n_cpus = libbpf_num_possible_cpus();
	r->scratch = r->n_cpus > 0 ? calloc((size_t)r->n_cpus, (sizeof *r->scratch + 7) & ~7ul) : NULL;
	if (!r->scratch || !mkdtemp(r->dir))
		return -ENOMEM;
	err = weir_kern_open(&o, &r->kern, why, sizeof why);
	if (err)
		printf("weir_kern_open: %s: %s\n", strerror(-err), why);
	return err;
}

void weir_runner_close(struct weir_runner *r)
{
	if (r->kern)
		weir_kern_close(r->kern, true);
	if (r->dir[0])
		rmdir(r->dir);
	free(r->scratch);
}

int weir_runner_install(struct weir_runner *r, const void *blob, uint32_t size, uint32_t pat, uint32_t lower,
			uint32_t pat_in)
{
	struct weir_iface here = { .pat = pat, .lower = lower }, in = { .pat = pat_in };
	uint32_t here_index = WEIR_RUN_IFINDEX, in_index = WEIR_RUN_IN_IFINDEX;
	struct bpf_map_info info = { 0 };
	uint32_t info_len = sizeof info;
	char why[512] = "";
	struct weir_kern_change change = { .blob = blob, .size = size };
	uint8_t frame[64] = { [12] = 0x88, [13] = 0xb6 };
	struct weir_run probe = { .prog = "weir_tc_out", .frame = frame, .len = sizeof frame,
				  .in_ifindex = WEIR_RUN_IN_IFINDEX };
	int fd, err = weir_kern_install(r->kern, &change, why, sizeof why);

	if (err) {
		printf("weir_kern_install: %s: %s\n", strerror(-err), why);
		return err;
	}
	fd = weir_kern_map_fd(r->kern, "weir_scratch");
	if (bpf_obj_get_info_by_fd(fd, &info, &info_len) || info.value_size != sizeof *r->scratch) {
		printf("the working memory has %u bytes in the kernel, %zu here\n", info.value_size,
		       sizeof *r->scratch);
		return -EPROTO;
	}
	fd = weir_kern_map_fd(r->kern, "weir_ifaces");
	if (bpf_map_update_elem(fd, &here_index, &here, BPF_ANY) || bpf_map_update_elem(fd, &in_index, &in, BPF_ANY))
		return -errno;
	r->no_way_in = weir_runner_run(r, &probe) != 0;
	weir_runner_last(r); /* each generation counts anew, and has been tested */
	return 0;
}

int weir_runner_clock(struct weir_runner *r, uint32_t minute)
{
	uint64_t boot = weir_kern_now() / 1000000000;
	int fd = weir_kern_map_fd(r->kern, "weir_control");
	struct weir_control c;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(fd, &zero, &c))
		return -errno;
	for (int i = 0; i < 2; i++) {
		c.clock[i] = (struct weir_clock){ .n = minute < WEIR_WEEK_MINUTES };
		c.clock[i].step[0].add_s = (minute * 60ull + 2 * WEIR_WEEK_S - boot % WEIR_WEEK_S) % WEIR_WEEK_S;
	}
	return bpf_map_update_elem(fd, &zero, &c, BPF_ANY) ? -errno : 0;
}

int weir_runner_run(struct weir_runner *r, struct weir_run *x)
{
	struct __sk_buff skb = { .mark = x->mark, .ingress_ifindex = x->in_ifindex };
	char out[4608];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = x->frame, .data_size_in = x->len, .data_out = out,
		    .data_size_out = sizeof out, .repeat = x->repeat ? (int)x->repeat : 1);

	if (strcmp(x->prog, "weir_xdp_in")) {
		o.ctx_in = &skb;
		o.ctx_size_in = sizeof skb;
	}
	if (bpf_prog_test_run_opts(weir_kern_prog_fd(r->kern, x->prog), &o))
		return -errno;
	x->ret = (int32_t)o.retval;
	x->duration_ns = o.duration;
	return 0;
}

const struct weir_scratch *weir_runner_last(struct weir_runner *r)
{
	size_t stride = (sizeof *r->scratch + 7) & ~7ul;
	const struct weir_scratch *last = (const void *)((const char *)r->scratch + (size_t)r->cpu * stride);
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(weir_kern_map_fd(r->kern, "weir_scratch"), &zero, r->scratch) || last->seq == r->seq)
		return NULL;
	r->seq = last->seq;
	return last;
}
