/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpf(2) where libbpf 1.1 has no words for it: tcx links with a place in the chain (Linux 6.6), netfilter
 * links (6.4); and the kernel's tick, which BPF programs count time in.
 */
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/kern/internal.h"

/* BPF_LINK_CREATE as in include/uapi/linux/bpf.h of Linux 6.18, the members used here. */
struct link_create {
	uint32_t prog_fd, target, attach_type, flags;
	union {
		struct {
			uint32_t relative, pad;
			uint64_t expected_revision;
		} tcx;
		struct {
			uint32_t pf, hook;
			int32_t priority;
			uint32_t flags;
		} netfilter;
		uint8_t room[48];
	};
};

#define F_BEFORE (1u << 3) /* BPF_F_BEFORE; without a relative program: first in the chain */
#define ATTACH_NETFILTER 45

static int link_create(struct link_create *a)
{
	int fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, a, sizeof *a);

	return fd < 0 ? -errno : fd;
}

/* What an older kernel lacks, for tests on a newer one: WEIR_TEST_WITHOUT="tcx netfilter". */
static bool without(const char *what)
{
	const char *list = getenv("WEIR_TEST_WITHOUT");

	return list && strstr(list, what);
}

int weir_sys_link_tcx(int prog_fd, uint32_t ifindex, uint32_t attach_type)
{
	struct link_create a = { .prog_fd = (uint32_t)prog_fd, .target = ifindex, .attach_type = attach_type,
				 .flags = F_BEFORE };

	return without("tcx") ? -EINVAL : link_create(&a);
}

bool weir_sys_has_netfilter(void)
{
	const struct bpf_insn accept[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
					   { .code = BPF_JMP | BPF_EXIT } };
	LIBBPF_OPTS(bpf_prog_load_opts, o, .expected_attach_type = (enum bpf_attach_type)ATTACH_NETFILTER);
	int fd = without("netfilter") ? -1 :
					bpf_prog_load((enum bpf_prog_type)32, "weir_probe", "GPL", accept, 2, &o); /* NETFILTER */

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int weir_sys_link_netfilter(int prog_fd, uint32_t pf, uint32_t hook, int32_t priority)
{
	struct link_create a = { .prog_fd = (uint32_t)prog_fd, .attach_type = ATTACH_NETFILTER };

	a.netfilter.pf = pf;
	a.netfilter.hook = hook;
	a.netfilter.priority = priority;
	return without("netfilter") ? -EINVAL : link_create(&a);
}

/* BPF_PROG_QUERY */
struct prog_query {
	uint32_t target, attach_type, query_flags, attach_flags;
	uint64_t prog_ids;
	uint32_t prog_cnt, pad;
	uint64_t prog_attach_flags, link_ids, link_attach_flags, revision;
};

/* Programs attached by tcx, in their order. *n: room, then count. */
int weir_sys_query(uint32_t ifindex, uint32_t attach_type, uint32_t *ret_ids, uint32_t *n)
{
	struct prog_query q = { .target = ifindex, .attach_type = attach_type, .prog_ids = (uintptr_t)ret_ids,
				.prog_cnt = *n };

	if (syscall(SYS_bpf, BPF_PROG_QUERY, &q, sizeof q) < 0)
		return -errno;
	*n = q.prog_cnt;
	return 0;
}

/* CONFIG_HZ: the coarse clocks advance once a tick. */
uint32_t weir_sys_hz(void)
{
	struct timespec ts;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &ts) || ts.tv_sec || ts.tv_nsec <= 0)
		return 250;
	return (uint32_t)((1000000000 + ts.tv_nsec / 2) / ts.tv_nsec);
}

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* jiffies64 when the monotonic clock stood at zero: /proc/timer_list tells it; else as the kernel starts it. */
uint64_t weir_sys_jiffies_base(uint32_t hz)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/timer_list", "re");
	unsigned long long j;
	char line[256];

	for (int i = 0; f && i < 20000 && fgets(line, sizeof line, f); i++)
		if (sscanf(line, "jiffies: %llu", &j) == 1)
			return j - monotonic_ns() / (1000000000u / hz);
	return (uint64_t)(uint32_t)(-300 * (int32_t)hz);
}

uint64_t weir_kern_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int weir_why(char *why, size_t size, int err, const char *fmt, ...)
{
	va_list ap;

	if (why && size) {
		va_start(ap, fmt);
		vsnprintf(why, size, fmt, ap);
		va_end(ap);
	}
	return err;
}
