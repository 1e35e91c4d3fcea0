/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a packet costs in the programs as they are loaded, whole. Each run is another packet (bench/traffic.bpf.c); what
 * making it costs, and calling an empty program, is subtracted but for the floors. Needs root; without it exit
 * status 77.
 *
 * bench_packet [-r ROUNDS] [-f FLOWS,...] TRAFFIC.o ACCOUNTING.o
 */
#include "tests/bpf/kernel.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/measure.h"
#include "bench/traffic.h"
#include "core/wire.h"
#include "tests/harness/packet.h"

#define HERE 0x0a000001u
#define THERE 0x0b000000u /* flows come from here on */
#define PASS (-1)

struct bench {
	struct weir_runner runner;
	struct bpf_object *o;
	struct weir_bench_head *heads;
	uint32_t rounds;
	struct weir_frame frame;
};

static int prog(const struct bench *b, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(b->o, name));
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, 4);
}

/* Packet i of the trace; what the header's checksum covers besides stands in the frame. */
static void head(struct bench *b, uint32_t i, uint32_t src, uint16_t sport, uint16_t dport)
{
	struct weir_bench_head *h = &b->heads[i];

	put32(h->src, src);
	put32(h->dst, HERE);
	h->sport[0] = (uint8_t)(sport >> 8);
	h->sport[1] = (uint8_t)sport;
	h->dport[0] = (uint8_t)(dport >> 8);
	h->dport[1] = (uint8_t)dport;
}

static void tcp(struct bench *b, uint8_t flags, uint32_t seq, uint32_t ack)
{
	struct weir_frame *f = &b->frame;

	weir_frame_eth(f, WEIR_ETH_IP4);
	weir_frame_ip4(f, THERE, HERE, 0, NULL, 0);
	weir_frame_tcp(f, 40000, 443, flags, seq, ack);
	weir_frame_bytes(f, NULL, 100);
	weir_frame_end(f);
}

static double run(struct bench *b, bool xdp, int next, uint32_t repeat, int32_t want)
{
	uint32_t zero = 0;
	int map = bpf_object__find_map_fd_by_name(b->o, xdp ? "next_xdp" : "next_tc");

	if (bpf_map_update_elem(map, &zero, &next, BPF_ANY))
		return -1;
	return weir_bench_run(prog(b, xdp ? "rotate_xdp" : "rotate_tc"), b->frame.b, b->frame.len, repeat, want);
}

/* Without what `less` takes; negative: all of it. */
static int row_less(struct bench *b, const char *group, const char *name, bool xdp, int next, int32_t want, int less)
{
	double v[WEIR_BENCH_ROUNDS_MAX];
	uint32_t repeat = WEIR_BENCH_HEADS;

	if (run(b, xdp, next, repeat, want) > 1000) /* also warms up */
		repeat /= 16;
	for (uint32_t i = 0; i < b->rounds; i++) {
		double base = less >= 0 ? run(b, xdp, less, repeat, xdp ? 1 : PASS) : 0;

		v[i] = run(b, xdp, next, repeat, want);
		if (v[i] < 0 || base < 0) {
			fprintf(stderr, "%s: did not return %d: %s\n", name, want, strerror(errno));
			return -1;
		}
		v[i] -= base;
	}
	weir_bench_row(group, name, "ns", v, b->rounds);
	return 0;
}

static int row(struct bench *b, const char *group, const char *name, bool xdp, int next, int32_t want, bool net)
{
	return row_less(b, group, name, xdp, next, want, net ? prog(b, xdp ? "drop_xdp" : "pass_tc") : -1);
}

/* B8, with so many flows that take turns. */
static int accounting(struct bench *b, const char *path, uint32_t n)
{
	static const char *const used[] = { "bench_flows", "weir_scratch", "weir_stats", "weir_hits" };
	struct bpf_object *o = bpf_object__open_file(path, NULL);
	struct bpf_map *map;
	char name[64];
	int r = o ? 0 : -1;

	if (!o)
		return r;
	bpf_object__for_each_map(map, o) {
		bool keep = bpf_map__is_internal(map);

		for (size_t i = 0; i < sizeof used / sizeof *used; i++)
			keep |= !strcmp(bpf_map__name(map), used[i]);
		bpf_map__set_autocreate(map, keep);
	}
	for (uint32_t i = 0; i < WEIR_BENCH_HEADS; i++)
		head(b, i, THERE + (uint32_t)((uint64_t)i * 2654435761u % n), 20000, 443);
	r = bpf_object__load(o);
	snprintf(name, sizeof name, "statistics and flow accounting, %u flows", n);
	if (!r)
		r = row_less(b, n == 1 ? "B8" : "growth", name, false, bpf_program__fd(bpf_object__find_program_by_name(o, "noted_tc")), PASS,
			     bpf_program__fd(bpf_object__find_program_by_name(o, "settled_tc")));
	bpf_object__close(o);
	return r;
}

static int floors(struct bench *b)
{
	static const struct {
		const char *name, *prog;
		bool xdp, alone;
	} floor[] = {
		{ "bare XDP_DROP, one packet again and again", "drop_xdp", true, true },
		{ "XDP_DROP of the next packet", "drop_xdp", true, false },
		{ "empty TC program, next packet", "pass_tc", false, false },
	};
	double v[WEIR_BENCH_ROUNDS_MAX];
	int r = 0;

	tcp(b, WEIR_TCP_SYN, 1, 0);
	for (uint32_t i = 0; i < WEIR_BENCH_HEADS; i++)
		head(b, i, THERE + i * 2654435761u % 0x1000000u, (uint16_t)(1024 + i % 60000), 443);
	for (uint32_t i = 0; i < 3 && !r; i++) {
		const char *p = floor[i].prog;

		for (uint32_t n = 0; floor[i].alone && n < b->rounds; n++)
			v[n] = weir_bench_run(prog(b, p), b->frame.b, b->frame.len, WEIR_BENCH_HEADS, 1);
		if (floor[i].alone)
			weir_bench_row("floors", floor[i].name, "ns", v, b->rounds);
		else
			r = row(b, "floors", floor[i].name, floor[i].xdp, prog(b, p), floor[i].xdp ? 1 : PASS, false);
	}
	return r ? r : row(b, "floors", "parse only, at XDP, net", true, prog(b, "parse_xdp"), 1, true);
}

/* n rules over addresses, protocol and ports, of which only the last fits the packets. */
static int install(struct bench *b, uint32_t n, uint32_t test_flags)
{
	static struct weir_imgbuild build;
	struct weir_ports ports;
	uint16_t listed;
	uint32_t size;
	void *blob;
	int err;

	weir_imgbuild_init(&build);
	build.cfg.defaults[0].action = WEIR_ACT_DROP;
	build.cfg.test_flags = test_flags;
	ports = weir_imgbuild_ports(&build, 443, 443);
	listed = weir_imgbuild_addrs(&build, "192.0.2.0/24", NULL);
	build.cfg.proto_features = WEIR_FEAT_BLOCKLIST | WEIR_FEAT_XDP_DROP;
	build.block = listed;
	weir_imgbuild_addrs(&build, "198.51.100.0/24", NULL);
	weir_imgbuild_addrs(&build, "10.0.0.0/7", NULL);
	for (uint32_t i = 0; i < n; i++) {
		struct weir_rule *r = weir_imgbuild_rule(&build, WEIR_ACT_ALLOW);

		r->pos.set = WEIR_C_FROM | WEIR_C_PORTS;
		r->pos.from = listed + (i + 1 < n ? 1u : 2u);
		r->pos.ports = ports;
		weir_cond_proto(&r->pos, WEIR_IPPROTO_TCP);
	}
	blob = weir_imgbuild_make(&build, &size);
	err = weir_runner_install(&b->runner, blob, size, 1, 0, 0);
	free(blob);
	return err;
}

/* Flow i of all that are known. */
static uint32_t flow_source(uint32_t i)
{
	return THERE + i / 16;
}

static uint16_t flow_port(uint32_t i)
{
	return (uint16_t)(20000 + i % 16);
}

static int flows(struct bench *b, uint32_t from, uint32_t n)
{
	char name[64];
	int r = 0;

	for (uint32_t i = from; i < n && !r; i++) {
		struct weir_tuple t = { .sport = flow_port(i), .dport = 443,
					.zone = (uint32_t)WEIR_IPPROTO_TCP << 24 };

		memset(t.src + 10, 0xff, 2);
		memset(t.dst + 10, 0xff, 2);
		put32(t.src + 12, flow_source(i));
		put32(t.dst + 12, HERE);
		r = weir_kern_flow_seed(b->runner.kern, &t, WEIR_DIR_IN);
	}
	if (r)
		return r;
	for (uint32_t i = 0; i < WEIR_BENCH_HEADS; i++) {
		uint32_t f = (uint32_t)((uint64_t)i * 2654435761u % n);

		head(b, i, flow_source(f), flow_port(f), 443);
	}
	tcp(b, WEIR_TCP_ACK, 101, 501);
	snprintf(name, sizeof name, "TC, established flow, %u flows", n);
	return row(b, n == 1 ? "B5" : "growth", name, false, weir_kern_prog_fd(b->runner.kern, "weir_tc_in"), PASS, true);
}

static int bench(struct bench *b, const char *list, const char *accounts)
{
	uint32_t known = 0;

	if (floors(b) || accounting(b, accounts, 1) || accounting(b, accounts, WEIR_BENCH_FLOWS) || install(b, 10, 0))
		return -1;
	for (char *p = (char *)list; *p; p += *p == ',') {
		uint32_t n = (uint32_t)strtoul(p, &p, 10);

		if (!n || n < known || flows(b, known, n))
			return -1;
		known = n;
	}
	tcp(b, WEIR_TCP_SYN, 1, 0);
	for (uint32_t i = 0; i < WEIR_BENCH_HEADS; i++)
		head(b, i, THERE + i, (uint16_t)(1024 + i % 60000), 443);
	if (install(b, 10, WEIR_TEST_NO_FLOW) || row(b, "whole", "TC, new flow, 10 rules, the last fits", false,
						     weir_kern_prog_fd(b->runner.kern, "weir_tc_in"), PASS, true))
		return -1;
	for (uint32_t i = 0; i < WEIR_BENCH_HEADS; i++)
		head(b, i, 0xc0000200u + i % 256, (uint16_t)(1024 + i % 60000), 443);
	return row(b, "whole", "XDP, drop by a blocklist of one prefix", true,
		   weir_kern_prog_fd(b->runner.kern, "weir_xdp_in"), 1, true);
}

int main(int argc, char **argv)
{
	static struct bench b = { .rounds = 11 };
	const char *list = "1,1000,65536,1000000";
	int opt, err;

	while ((opt = getopt(argc, argv, "r:f:")) >= 0) {
		if (opt == 'r')
			b.rounds = (uint32_t)atoi(optarg);
		else if (opt == 'f')
			list = optarg;
		else
			return 2;
	}
	if (optind + 2 != argc || !b.rounds || b.rounds > WEIR_BENCH_ROUNDS_MAX) {
		fprintf(stderr, "usage: %s [-r ROUNDS up to %d] [-f FLOWS,...] TRAFFIC.o ACCOUNTING.o\n", argv[0],
			WEIR_BENCH_ROUNDS_MAX);
		return 2;
	}
	err = weir_runner_open_flows(&b.runner, 1u << 21);
	if (err) {
		weir_runner_close(&b.runner);
		return err == -EPERM ? 77 : 1;
	}
	b.o = bpf_object__open_file(argv[optind], NULL);
	if (!b.o || bpf_object__load(b.o)) {
		fprintf(stderr, "%s: %s\n", argv[optind], strerror(errno));
		err = 1;
	} else {
		b.heads = mmap(NULL, WEIR_BENCH_HEADS * sizeof *b.heads, PROT_READ | PROT_WRITE, MAP_SHARED,
			       bpf_object__find_map_fd_by_name(b.o, "heads"), 0);
		err = b.heads == MAP_FAILED ? -errno : bench(&b, list, argv[optind + 1]);
	}
	bpf_object__close(b.o);
	weir_runner_close(&b.runner);
	return err ? 1 : 0;
}
