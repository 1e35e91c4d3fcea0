/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that differ, sent through a device as fast as this CPU makes them: nanoseconds of CPU for one, with making it,
 * the device and whatever takes it at the other end. That end runs in this thread, or in the kernel's ksoftirqd of this
 * CPU, whose time is added. Needs root.
 *
 * bench_live [-r ROUNDS] [-n FRAMES] [-c CPU] [-s SCHEDSTAT-FD] [-m MAC] -t TRACE TRAFFIC.o DEVICE GROUP NAME
 *
 * TRACE holds lines of SOURCE DESTINATION PORT, IPv4 and UDP. DEVICE `none`: frames are made and dropped.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/measure.h"
#include "bench/traffic.h"
#include "core/wire.h"
#include "tests/harness/packet.h"

#define BATCH 64u

struct live {
	struct bpf_object *o;
	struct weir_frame frame;
	uint32_t rounds, frames;
	int schedstat;
};

/* What ksoftirqd of this CPU has used so far. */
static double softirq_now(const struct live *l)
{
	char text[64] = "";

	if (l->schedstat < 0 || pread(l->schedstat, text, sizeof text - 1, 0) <= 0)
		return 0;
	return strtod(text, NULL);
}

static uint32_t sum16(const uint8_t *p, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static int read_trace(struct live *l, const char *path)
{
	struct weir_bench_head *heads = mmap(NULL, WEIR_BENCH_HEADS * sizeof *heads, PROT_READ | PROT_WRITE, MAP_SHARED,
					     bpf_object__find_map_fd_by_name(l->o, "heads"), 0);
	char src[16], dst[16];
	unsigned port;
	uint32_t n = 0;
	FILE *f = fopen(path, "re");

	if (!f || heads == MAP_FAILED) {
		if (f)
			fclose(f);
		return f ? -ENOMEM : -errno;
	}
	while (n < WEIR_BENCH_HEADS && fscanf(f, "%15s %15s %u", src, dst, &port) == 3) {
		struct weir_bench_head *h = &heads[n];
		uint32_t sum;

		if (inet_pton(AF_INET, src, h->src) != 1 || inet_pton(AF_INET, dst, h->dst) != 1)
			break;
		weir_put16(h->sport, 1024 + n % 60000);
		weir_put16(h->dport, port);
		memcpy(l->frame.b + 26, h->src, 8);
		memset(l->frame.b + 24, 0, 2);
		sum = sum16(l->frame.b + 14, 20);
		sum = (sum & 0xffff) + (sum >> 16);
		weir_put16(h->sum, ~(sum + (sum >> 16)) & 0xffff);
		n++;
	}
	fclose(f);
	if (!n)
		return -EINVAL;
	for (uint32_t i = n; i < WEIR_BENCH_HEADS; i++)
		heads[i] = heads[i % n];
	return 0;
}

static double send_frames(struct live *l, int fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = l->frame.b, .data_size_in = l->frame.len, .repeat = (int)l->frames,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);
	double start = weir_bench_cpu() + softirq_now(l);

	if (bpf_prog_test_run_opts(fd, &o))
		return -1;
	return (weir_bench_cpu() + softirq_now(l) - start) / l->frames;
}

static int measure(struct live *l, const char *device, const char *group, const char *name)
{
	bool nowhere = !strcmp(device, "none");
	int fd = bpf_program__fd(bpf_object__find_program_by_name(l->o, nowhere ? "send_nowhere" : "send_xdp"));
	double v[WEIR_BENCH_ROUNDS_MAX];

	send_frames(l, fd);
	for (uint32_t i = 0; i < l->rounds; i++) {
		v[i] = send_frames(l, fd);
		if (v[i] < 0) {
			fprintf(stderr, "%s: %s\n", name, strerror(errno));
			return -1;
		}
	}
	weir_bench_row(group, name, "ns", v, l->rounds);
	return 0;
}

static int load(struct live *l, const char *object, const char *device)
{
	uint32_t index = strcmp(device, "none") ? if_nametoindex(device) : 0;
	struct bpf_map *m;
	size_t size;
	void *v;

	if (!index && strcmp(device, "none"))
		return -ENODEV;
	l->o = bpf_object__open_file(object, NULL);
	m = l->o ? bpf_object__find_map_by_name(l->o, ".rodata") : NULL;
	v = m ? (void *)(uintptr_t)bpf_map__initial_value(m, &size) : NULL;
	if (!v || size < sizeof index)
		return -EINVAL;
	memcpy(v, &index, sizeof index); /* `out`, the only constant */
	return bpf_object__load(l->o);
}

int main(int argc, char **argv)
{
	static struct live l = { .rounds = 7, .frames = 200000, .schedstat = -1 };
	const char *trace = NULL;
	cpu_set_t set;
	int opt, err;

	weir_frame_eth(&l.frame, WEIR_ETH_IP4);
	weir_frame_ip4(&l.frame, 0, 0, 0, NULL, 0);
	weir_frame_udp(&l.frame, WEIR_IPPROTO_UDP, 1024, 80);
	weir_frame_bytes(&l.frame, NULL, 18);
	weir_frame_end(&l.frame);
	memset(l.frame.b + 40, 0, 2); /* no checksum of UDP: its ports change */
	while ((opt = getopt(argc, argv, "r:n:c:s:m:t:")) >= 0) {
		if (opt == 'r' || opt == 'n')
			*(opt == 'r' ? &l.rounds : &l.frames) = (uint32_t)strtoul(optarg, NULL, 10);
		else if (opt == 's')
			l.schedstat = atoi(optarg);
		else if (opt == 't')
			trace = optarg;
		else if (opt == 'm')
			for (int i = 0; i < 6; i++)
				l.frame.b[i] = (uint8_t)strtoul(optarg + 3 * i, NULL, 16);
		else if (opt == 'c') {
			CPU_ZERO(&set);
			CPU_SET((size_t)atoi(optarg), &set);
			sched_setaffinity(0, sizeof set, &set);
		}
	}
	if (optind + 4 != argc || !trace || !l.rounds || l.rounds > WEIR_BENCH_ROUNDS_MAX || !l.frames) {
		fprintf(stderr, "usage: %s [-r ROUNDS] [-n FRAMES] [-c CPU] [-s FD] [-m MAC] -t TRACE TRAFFIC.o DEVICE GROUP NAME\n",
			argv[0]);
		return 2;
	}
	err = load(&l, argv[optind], argv[optind + 1]);
	err = err ? err : read_trace(&l, trace);
	if (err)
		fprintf(stderr, "%s, %s, %s: %s\n", argv[optind], argv[optind + 1], trace, strerror(-err));
	else
		err = measure(&l, argv[optind + 1], argv[optind + 2], argv[optind + 3]);
	bpf_object__close(l.o);
	return err ? 1 : 0;
}
