/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What finding a rule costs in the kernel: CPU time of BPF_PROG_TEST_RUN over packets that change with every run,
 * less that of a program that only takes the packet. Needs root; without it exit status 77.
 *
 * bench_classifier_kernel [-n RULES] [-r ROUNDS] PROGRAM.o [FILE...]
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/classifier.h"
#include "lib/util/cleanup.h"
#include "tests/harness/rulesets.h"

#define ROUNDS_MAX 99

struct bench {
	const char *object;
	uint32_t rounds;
	struct bpf_object *o;
	int base, tree, trace, results;
};

static double cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static int load(struct bench *b, const struct weir_tree *t)
{
	struct bpf_map *lines;
	int fd, err;

	b->o = bpf_object__open_file(b->object, NULL);
	lines = b->o ? bpf_object__find_map_by_name(b->o, "lines") : NULL;
	if (!lines || bpf_map__set_max_entries(lines, t->n))
		return -EINVAL;
	err = bpf_object__load(b->o);
	if (err)
		return err;
	fd = bpf_map__fd(lines);
	for (uint32_t i = 0; i < t->n && !err; i++)
		err = bpf_map_update_elem(fd, &i, &t->lines[i], 0);
	b->base = bpf_program__fd(bpf_object__find_program_by_name(b->o, "base"));
	b->tree = bpf_program__fd(bpf_object__find_program_by_name(b->o, "tree"));
	b->trace = bpf_object__find_map_fd_by_name(b->o, "trace");
	b->results = bpf_object__find_map_fd_by_name(b->o, "results");
	return err;
}

/* All packets of the trace once. */
static double run(int fd)
{
	static unsigned char frame[64];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = sizeof frame, .repeat = WEIR_BENCH_KEYS);
	double start = cpu_now();

	if (bpf_prog_test_run_opts(fd, &o) || o.retval != 1)
		return -1;
	return (cpu_now() - start) / WEIR_BENCH_KEYS;
}

static int trace_put(struct bench *b, const struct weir_tree_key *keys)
{
	int err = 0;

	for (uint32_t i = 0; i < WEIR_BENCH_KEYS && !err; i++) {
		const struct weir_tree_key *k = &keys[i];
		struct weir_bench_packet p = { .sport = (uint16_t)k->sport, .dport = (uint16_t)k->dport,
					       .proto = (uint8_t)k->proto, .dir = (uint8_t)k->dir,
					       .family = (uint8_t)k->family };

		if (k->family == 4) {
			p.addr[0] = k->src;
			p.addr[2] = k->dst;
		} else {
			memcpy(p.addr, k->w, sizeof p.addr);
		}
		err = bpf_map_update_elem(b->trace, &i, &p, 0);
	}
	return err;
}

/* Medians of one trace; every verdict against the linear oracle. */
static int measure(struct bench *b, const struct weir_oracle *oracle, const struct weir_tree_key *keys)
{
	double base[ROUNDS_MAX], tree[ROUNDS_MAX];
	uint32_t wrong = 0;

	if (trace_put(b, keys))
		return -errno;
	for (uint32_t r = 0; r < b->rounds; r++) {
		base[r] = run(b->base);
		tree[r] = run(b->tree);
		if (base[r] < 0 || tree[r] < 0)
			return -EIO;
	}
	for (uint32_t i = 0; i < WEIR_BENCH_KEYS; i++) {
		uint32_t got, want;

		if (bpf_map_lookup_elem(b->results, &i, &got))
			return -errno;
		if (!weir_oracle_find(oracle, &keys[i], &want, 1))
			want = WEIR_TREE_END;
		wrong += got != want;
	}
	qsort(base, b->rounds, sizeof *base, by_value);
	qsort(tree, b->rounds, sizeof *tree, by_value);
	printf(" %8.1f (%5.1f)", tree[b->rounds / 2] - base[b->rounds / 2], tree[0] - base[0]);
	if (wrong)
		printf(" %u WRONG", wrong);
	fflush(stdout);
	return wrong ? -EPROTO : 0;
}

static int bench_set(struct bench *b, const char *name, const struct weir_set *s)
{
	_cleanup_free_ struct weir_tree_key *keys = malloc(WEIR_BENCH_KEYS * sizeof *keys);
	struct weir_oracle *oracle = weir_oracle_new(s);
	uint64_t seed = 88172645463325252ull;
	struct weir_tree t = { 0 };
	struct weir_why why;
	int err = keys && oracle ? weir_tree_build(s->v, s->n, NULL, &t, &why) : -ENOMEM;

	printf("%-20s %7zu", name, s->n);
	if (err == -E2BIG) {
		printf(" refused: %s\n", why.message);
		weir_oracle_free(oracle);
		return 0;
	}
	err = err ? err : load(b, &t);
	for (int kind = 0; kind < WEIR_TRACE_KINDS && !err; kind++) {
		for (uint32_t i = 0; i < WEIR_BENCH_KEYS; i++)
			weir_trace_key(s, (enum weir_trace_kind)kind, &seed, &keys[i]);
		err = measure(b, oracle, keys);
	}
	printf("%s%s\n", err ? " " : "", err ? strerror(-err) : "");
	bpf_object__close(b->o);
	b->o = NULL;
	weir_oracle_free(oracle);
	weir_tree_free(&t);
	return err;
}

int main(int argc, char **argv)
{
	static const uint8_t families[] = { 4, 6 };
	struct bench b = { .rounds = 11 };
	uint32_t n = 100000;
	int opt, err = 0;

	while ((opt = getopt(argc, argv, "n:r:")) >= 0)
		*(opt == 'n' ? &n : &b.rounds) = (uint32_t)strtoul(optarg, NULL, 10);
	if (optind >= argc || !b.rounds || b.rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: %s [-n RULES] [-r ROUNDS up to %d] PROGRAM.o [FILE...]\n", argv[0], ROUNDS_MAX);
		return 2;
	}
	if (geteuid()) {
		printf("needs root: loads programs\n");
		return 77;
	}
	b.object = argv[optind];
	printf("%-20s %7s %16s %16s %16s\n", "ns, median (min)", "rules", "match", "mixed", "random");
	for (int i = optind + 1; i < argc; i++) {
		const char *slash = strrchr(argv[i], '/');
		struct weir_set s;
		int r = weir_set_read(&s, argv[i]);

		err |= r ? r : bench_set(&b, slash ? slash + 1 : argv[i], &s);
		weir_set_free(&s);
	}
	for (int i = 0; n && i < 6; i++) {
		struct weir_set s;
		char name[32];
		int r = weir_set_make(&s, (enum weir_set_kind)(i / 2), families[i & 1], n, 1);

		snprintf(name, sizeof name, "%s, IPv%u", weir_set_names[i / 2], families[i & 1]);
		err |= r ? r : bench_set(&b, name, &s);
		weir_set_free(&s);
	}
	return err ? 1 : 0;
}
