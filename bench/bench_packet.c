/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one packet costs in the programs. Each case runs a frame many times through BPF_PROG_TEST_RUN, with an
 * empty program of the same hook right before it, and takes the CPU time of this thread: other processes move
 * it little. `ratio` is case by empty program, `net` their difference per packet.
 *
 * bench_packet EMPTY.o [SAMPLES]
 */
#include "tests/bpf/kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/wire.h"
#include "tests/harness/packet.h"

#define REPEAT 20000u
#define SAMPLES_MAX 1000

struct bench {
	struct weir_runner runner;
	int empty_tc, empty_xdp;
	uint32_t samples;
};

static uint64_t cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Nanoseconds of CPU for one packet, or a negative number. */
static double run(int fd, const struct weir_frame *f, int32_t want)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = f->b, .data_size_in = f->len, .repeat = (int)REPEAT);
	uint64_t start = cpu_now();

	if (bpf_prog_test_run_opts(fd, &o) || (int32_t)o.retval != want)
		return -1;
	return (double)(cpu_now() - start) / REPEAT;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* One line of the table. */
static int measure(struct bench *b, const char *name, const char *prog, int32_t want, const struct weir_frame *f)
{
	bool xdp = !strcmp(prog, "weir_xdp_in");
	int empty = xdp ? b->empty_xdp : b->empty_tc, fd = weir_kern_prog_fd(b->runner.kern, prog);
	static double ns[SAMPLES_MAX], floor_ns[SAMPLES_MAX];
	uint32_t n = b->samples;

	run(empty, f, xdp ? 1 : -1); /* warm up */
	run(fd, f, want);
	for (uint32_t i = 0; i < n; i++) {
		floor_ns[i] = run(empty, f, xdp ? 1 : -1);
		ns[i] = run(fd, f, want);
		if (ns[i] < 0 || floor_ns[i] < 0) {
			printf("%s: did not return %d: %s\n", name, want, strerror(errno));
			return -1;
		}
	}
	qsort(ns, n, sizeof *ns, by_value);
	qsort(floor_ns, n, sizeof *floor_ns, by_value);
	printf("%-34s %4u %9.1f %9.1f %9.1f %9.1f %8.1f %7.2f\n", name, n, ns[n / 2], ns[0], ns[n - 1], floor_ns[n / 2],
	       ns[n / 2] - floor_ns[n / 2], ns[n / 2] / floor_ns[n / 2]);
	return 0;
}

/* n rules over addresses, protocol and ports, of which only the last fits the frame. */
static int install(struct bench *b, uint32_t n, uint32_t test_flags)
{
	static struct weir_imgbuild build;
	uint16_t ports, listed;
	uint32_t size;
	void *blob;
	int err;

	weir_imgbuild_init(&build);
	build.cfg.defaults[0].action = WEIR_ACT_DROP;
	build.cfg.test_flags = test_flags;
	ports = weir_imgbuild_ports(&build, 443, 443);
	listed = weir_imgbuild_addrs(&build, "192.0.2.0/24", NULL);
	build.cfg.proto_features = WEIR_FEAT_BLOCKLIST | WEIR_FEAT_XDP_DROP;
	build.cfg.blocklist_list = listed;
	weir_imgbuild_addrs(&build, "198.51.100.0/24", NULL);
	weir_imgbuild_addrs(&build, "10.0.0.0/8", NULL);
	for (uint32_t i = 0; i < n; i++) {
		struct weir_rule *r = weir_imgbuild_rule(&build, WEIR_ACT_ALLOW);

		r->pos.set = WEIR_C_FROM | WEIR_C_PORTS;
		r->pos.from = (uint16_t)(listed + (i + 1 < n ? 1 : 2));
		r->pos.ports = ports;
		weir_cond_proto(&r->pos, WEIR_IPPROTO_TCP);
	}
	blob = weir_imgbuild_make(&build, &size);
	err = weir_runner_install(&b->runner, blob, size, 1, 0, 0);
	free(blob);
	return err;
}

static void tcp(struct weir_frame *f, uint32_t src, uint8_t flags, uint32_t seq, uint32_t ack)
{
	weir_frame_eth(f, WEIR_ETH_IP4);
	weir_frame_ip4(f, src, 0x0a000001, 0, NULL, 0);
	weir_frame_tcp(f, 40000, 443, flags, seq, ack);
	weir_frame_bytes(f, NULL, 100);
	weir_frame_end(f);
}

/* SYN, SYN-ACK, ACK through the programs: the flow is then a promoted one. */
static int shake_hands(struct bench *b)
{
	static struct weir_frame f;
	struct weir_run x = { .prog = "weir_tc_in", .frame = f.b };
	int r;

	tcp(&f, 0x0a000002, WEIR_TCP_SYN, 100, 0);
	x.len = f.len;
	r = weir_runner_run(&b->runner, &x);
	weir_frame_eth(&f, WEIR_ETH_IP4);
	weir_frame_ip4(&f, 0x0a000001, 0x0a000002, 0, NULL, 0);
	weir_frame_tcp(&f, 443, 40000, WEIR_TCP_SYN | WEIR_TCP_ACK, 500, 101);
	weir_frame_end(&f);
	x.prog = "weir_tc_out";
	x.len = f.len;
	r = r ? r : weir_runner_run(&b->runner, &x);
	tcp(&f, 0x0a000002, WEIR_TCP_ACK, 101, 501);
	x.prog = "weir_tc_in";
	x.len = f.len;
	r = r ? r : weir_runner_run(&b->runner, &x);
	return r || x.ret != -1 ? -1 : 0;
}

static int bench(struct bench *b)
{
	static const uint32_t rules[] = { 10, 1000 };
	static struct weir_frame f;
	char name[64];

	printf("%-34s %4s %9s %9s %9s %9s %8s %7s\n", "ns of CPU per packet", "n", "median", "min", "max", "empty",
	       "net", "ratio");
	if (install(b, 10, 0) || shake_hands(b))
		return -1;
	tcp(&f, 0x0a000002, WEIR_TCP_ACK, 101, 501);
	if (measure(b, "tc, established flow", "weir_tc_in", -1, &f))
		return -1;
	for (int i = 0; i < 2; i++) {
		if (install(b, rules[i], WEIR_TEST_NO_FLOW))
			return -1;
		tcp(&f, 0x0a000003, WEIR_TCP_SYN, 1, 0);
		snprintf(name, sizeof name, "tc, new flow, %u rules, last fits", rules[i]);
		if (measure(b, name, "weir_tc_in", -1, &f))
			return -1;
	}
	tcp(&f, 0xc0000205, WEIR_TCP_SYN, 1, 0);
	return measure(b, "xdp, drop by blocklist", "weir_xdp_in", 1, &f);
}

int main(int argc, char **argv)
{
	struct bench b = { .samples = argc > 2 ? (uint32_t)atoi(argv[2]) : 21 };
	struct bpf_object *o;
	int err;

	if (argc < 2 || !b.samples || b.samples > SAMPLES_MAX) {
		fprintf(stderr, "usage: %s EMPTY.o [SAMPLES up to %d]\n", argv[0], SAMPLES_MAX);
		return 2;
	}
	err = weir_runner_open(&b.runner);
	if (err) {
		weir_runner_close(&b.runner);
		return err == -EPERM ? 77 : 1;
	}
	o = bpf_object__open_file(argv[1], NULL);
	if (!o || bpf_object__load(o)) {
		printf("%s: %s\n", argv[1], strerror(errno));
		err = 1;
	} else {
		b.empty_tc = bpf_program__fd(bpf_object__find_program_by_name(o, "empty_tc"));
		b.empty_xdp = bpf_program__fd(bpf_object__find_program_by_name(o, "empty_xdp"));
		err = bench(&b);
	}
	bpf_object__close(o);
	weir_runner_close(&b.runner);
	return err ? 1 : 0;
}
