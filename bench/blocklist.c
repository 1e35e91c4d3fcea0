/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a probe of a blocklist costs in the kernel: CPU time of BPF_PROG_TEST_RUN over
 * addresses that change with every run, less that of a program that only takes the address. Needs root; without it
 * exit status 77.
 *
 * bench_blocklist PROGRAM.o GROUP ADDRESSES PREFIXES...
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/blocklist.h"
#include "bench/measure.h"
#include "core/draw.h"
#include "lib/policy/blocklist.h"

struct weir_img;
static inline const struct weir_block_line *weir_img_block_line(const struct weir_img *img, uint32_t i);
#include "core/blocklist.h"

#define ROUNDS 11

static const struct weir_blocklist *list;

static inline const struct weir_block_line *weir_img_block_line(const struct weir_img *img, uint32_t i)
{
	(void)img;
	return i < list->n ? &list->lines[i] : NULL;
}

static uint64_t seed = 88172645463325252u;

static uint64_t rnd(void)
{
	return weir_draw(&seed);
}

static int program(struct bpf_object *o, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(o, name));
}

static double run(int fd)
{
	static unsigned char frame[64];

	return weir_bench_run(fd, frame, sizeof frame, WEIR_BENCH_ADDRS, 1);
}

static uint64_t hits_of(struct bpf_object *o)
{
	uint64_t v[2] = { 0 }; /* at, hits: whichever stands where, `at` is counted too */
	uint32_t zero = 0;

	bpf_map_lookup_elem(bpf_map__fd(bpf_object__find_map_by_name(o, ".bss")), &zero, v);
	return v[0] + v[1];
}

/* One trace; the hits of the kernel against those of the same probe here. */
static int measure(struct bpf_object *o, const char *group, const char *name, bool six, uint64_t want)
{
	int fds[] = { program(o, "base"), program(o, six ? "probe6" : "probe4") };
	double ns[2], net[ROUNDS];
	uint64_t before, after;

	for (int r = 0; r < ROUNDS; r++) {
		for (int i = 0; i < 2; i++) {
			before = hits_of(o);
			ns[i] = run(fds[i]);
			if (ns[i] < 0)
				return -EIO;
			after = hits_of(o);
		}
		if (after - before != want + WEIR_BENCH_ADDRS) {
			printf("%s: %llu hits in the kernel, wanted %llu\n", name,
			       (unsigned long long)(after - before - WEIR_BENCH_ADDRS), (unsigned long long)want);
			return -EPROTO;
		}
		net[r] = ns[1] - ns[0];
	}
	weir_bench_row(group, name, "ns", net, ROUNDS);
	return 0;
}

static int load(const char *object, struct bpf_object **ret)
{
	struct bpf_object *o = bpf_object__open_file(object, NULL);
	struct bpf_map *lines = o ? bpf_object__find_map_by_name(o, "lines") : NULL;
	int err;

	if (!lines || bpf_map__set_max_entries(lines, list->n) || bpf_object__load(o)) {
		bpf_object__close(o);
		return -EINVAL;
	}
	err = 0;
	for (uint32_t i = 0; i < list->n && !err; i++)
		err = bpf_map_update_elem(bpf_map__fd(lines), &i, &list->lines[i], 0);
	*ret = o;
	return err;
}

static weir_u128 random_addr(bool six)
{
	if (six)
		return ((weir_u128)rnd() << 64 | rnd()) >> 3 | (weir_u128)1 << 125; /* 2000::/3 */
	return WEIR_V4_LOW | (uint32_t)rnd();
}

/* `hit`: every address of the trace is listed. Else random ones. */
static int row(struct bpf_object *o, const char *group, const char *name, bool six, const struct weir_ranges *hit)
{
	int fd = bpf_map__fd(bpf_object__find_map_by_name(o, "trace")), err = 0;
	uint64_t want = 0;

	for (uint32_t i = 0; i < WEIR_BENCH_ADDRS && !err; i++) {
		weir_u128 a = hit ? hit->v[rnd() % hit->n].lo : random_addr(six);
		struct weir_bench_addr x = { .hi = six ? (uint64_t)(a >> 64) : 0,
					     .lo = six ? (uint64_t)a : (uint32_t)a };

		want += six ? weir_block_list6(NULL, x.hi, x.lo) : weir_block_list4(NULL, (uint32_t)x.lo);
		err = bpf_map_update_elem(fd, &i, &x, 0);
	}
	return err ? err : measure(o, group, name, six, want);
}

static int bench(const char *object, const char *group, bool six, uint32_t addresses, uint32_t prefixes)
{
	static const uint64_t key[2] = { 0x0123456789abcdefu, 0xfedcba9876543211u };
	struct weir_ranges block = { 0 };
	struct weir_arena arena = { 0 };
	struct weir_block_spans spans = { 0 };
	struct weir_blocklist b = { 0 };
	struct bpf_object *o = NULL;
	struct weir_why why;
	char name[64];
	int err = 0;

	for (uint32_t i = 0; i < addresses + prefixes && !err; i++) {
		weir_u128 a = random_addr(six), wide = 0;

		if (i >= addresses)
			wide = six ? ((weir_u128)1 << (64 + rnd() % 24)) - 1 : ((weir_u128)1 << (3 + rnd() % 9)) - 1;
		err = weir_ranges_add(&arena, &block, (struct weir_range){ a & ~wide, a | wide });
	}
	err = err ? err : weir_ranges_normal(&arena, &block);
	err = err ? err : weir_block_spans_of(&block, 0, &spans);
	err = err ? err : weir_blocklist_build(&spans, false, key, &b, &why);
	weir_block_spans_free(&spans);
	list = &b;
	err = err ? err : load(object, &o);
	for (int hit = 0; hit < 2 && !err; hit++) {
		snprintf(name, sizeof name, "blocklist, IPv%u, %u addresses%s, %s", six ? 6 : 4, addresses,
			 prefixes ? " + prefixes" : "", hit ? "listed" : "random");
		err = row(o, group, name, six, hit ? &block : NULL);
	}
	bpf_object__close(o);
	weir_blocklist_free(&b);
	weir_arena_free(&arena);
	return err;
}

int main(int argc, char **argv)
{
	int err = 0;

	if (argc < 5) {
		fprintf(stderr, "usage: %s PROGRAM.o GROUP ADDRESSES PREFIXES...\n", argv[0]);
		return 2;
	}
	if (geteuid()) {
		printf("needs root: loads programs\n");
		return 77;
	}
	for (int i = 4; i < argc; i++) {
		for (int six = 0; six < 2 && !err; six++)
			err = bench(argv[1], argv[2], six, (uint32_t)strtoul(argv[3], NULL, 10),
				    (uint32_t)strtoul(argv[i], NULL, 10));
	}
	if (err)
		fprintf(stderr, "%s\n", strerror(-err));
	return err ? 1 : 0;
}
