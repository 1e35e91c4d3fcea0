/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What finding a rule costs in the kernel: CPU time of BPF_PROG_TEST_RUN over packets that change with every run,
 * less that of a program that only takes the packet. Needs root; without it exit status 77.
 *
 * bench_classifier_kernel [-g GROUP] [-k KIND] [-f 4|6] [-n RULES] [-r ROUNDS] PROGRAM.o [FILE...]
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/classifier.h"
#include "bench/measure.h"
#include "lib/util/cleanup.h"
#include "tests/harness/rulesets.h"

#define CHECKED 32

struct bench {
	const char *object, *group;
	uint32_t rounds;
	struct bpf_object *o;
	int base[2], tree[2], trace[2], results; /* of IPv4, of IPv6 */
};

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
	for (int six = 0; six <= 1; six++) {
		b->base[six] = bpf_program__fd(bpf_object__find_program_by_name(b->o, six ? "base6" : "base4"));
		b->tree[six] = bpf_program__fd(bpf_object__find_program_by_name(b->o, six ? "tree6" : "tree4"));
		b->trace[six] = bpf_object__find_map_fd_by_name(b->o, six ? "trace6" : "trace4");
	}
	b->results = bpf_object__find_map_fd_by_name(b->o, "results");
	return err;
}

/* All packets of the trace, twice. */
static double run(int fd)
{
	static unsigned char frame[64];

	return weir_bench_run(fd, frame, sizeof frame, 2 * WEIR_BENCH_KEYS, 1);
}

static int packet_put(const struct bench *b, uint32_t i, const struct weir_tree_key *k)
{
	struct weir_bench_packet4 p4 = { .src = (uint32_t)(k->w[0] >> 32), .dst = (uint32_t)k->w[0],
					 .sport = (uint16_t)k->sport, .dport = (uint16_t)k->dport,
					 .proto = (uint8_t)k->proto, .dir = (uint8_t)k->dir };
	struct weir_bench_packet6 p6 = { .addr = { k->w[0], k->w[1], k->w[2], k->w[3] },
					 .sport = p4.sport, .dport = p4.dport, .proto = p4.proto, .dir = p4.dir };

	return k->family == 4 ? bpf_map_update_elem(b->trace[0], &i, &p4, 0)
			      : bpf_map_update_elem(b->trace[1], &i, &p6, 0);
}

/* One trace; verdicts against the linear oracle, which takes longer than all that is measured: one of CHECKED. */
static int measure(struct bench *b, const char *name, const struct weir_oracle *oracle,
		   const struct weir_tree_key *keys)
{
	double net[WEIR_BENCH_ROUNDS_MAX];
	int six = keys[0].family == 6; /* a set is of one family */
	uint32_t wrong = 0;

	for (uint32_t i = 0; i < WEIR_BENCH_KEYS; i++)
		if (packet_put(b, i, &keys[i]))
			return -errno;
	for (uint32_t r = 0; r < b->rounds; r++) {
		double base = run(b->base[six]), tree = run(b->tree[six]);

		if (base < 0 || tree < 0)
			return -EIO;
		net[r] = tree - base;
	}
	for (uint32_t i = 0; i < WEIR_BENCH_KEYS; i += CHECKED) {
		uint32_t got, want;

		if (bpf_map_lookup_elem(b->results, &i, &got))
			return -errno;
		if (!weir_oracle_find(oracle, &keys[i], &want, 1))
			want = WEIR_TREE_END;
		wrong += got != want;
	}
	if (wrong) {
		fprintf(stderr, "%s: %u of %u verdicts are wrong\n", name, wrong, WEIR_BENCH_KEYS / CHECKED);
		return -EPROTO;
	}
	weir_bench_row(b->group, name, "ns", net, b->rounds);
	return 0;
}

static int bench_set(struct bench *b, const char *name, const struct weir_set *s)
{
	_cleanup_free_ struct weir_tree_key *keys = malloc(WEIR_BENCH_KEYS * sizeof *keys);
	struct weir_oracle *oracle = weir_oracle_new(s);
	uint64_t seed = 88172645463325252ull;
	struct weir_tree t = { 0 };
	struct weir_why why;
	int err = keys && oracle ? weir_tree_build(s->v, s->n, NULL, &t, &why) : -ENOMEM;

	char title[80];

	if (err == -E2BIG) {
		snprintf(title, sizeof title, "%s, %zu rules", name, s->n);
		weir_bench_missing(b->group, title, "ns", why.message);
		weir_oracle_free(oracle);
		return 0;
	}
	err = err ? err : load(b, &t);
	for (int kind = 0; kind < WEIR_TRACE_KINDS && !err; kind++) {
		for (uint32_t i = 0; i < WEIR_BENCH_KEYS; i++)
			weir_trace_key(s, (enum weir_trace_kind)kind, &seed, &keys[i]);
		snprintf(title, sizeof title, "%s, %zu rules, %s", name, s->n, weir_trace_names[kind]);
		err = measure(b, title, oracle, keys);
	}
	if (err)
		fprintf(stderr, "%s: %s\n", name, strerror(-err));
	bpf_object__close(b->o);
	b->o = NULL;
	weir_oracle_free(oracle);
	weir_tree_free(&t);
	return err;
}

static int usage(const char *me)
{
	fprintf(stderr, "usage: %s [-g GROUP] [-k KIND] [-f 4|6] [-n RULES] [-r ROUNDS up to %d] PROGRAM.o [FILE...]\n",
		me, WEIR_BENCH_ROUNDS_MAX);
	return 2;
}

int main(int argc, char **argv)
{
	static const uint8_t families[] = { 4, 6 };
	static const enum weir_set_kind kinds[] = { WEIR_SET_ACL,    WEIR_SET_FW,    WEIR_SET_IPC,
						    WEIR_SET_CB_ACL, WEIR_SET_CB_FW, WEIR_SET_CB_IPC };
	struct bench b = { .rounds = 11, .group = "B1" };
	const char *kind = NULL;
	uint32_t n = 100000;
	int opt, family = 0, err = 0;

	while ((opt = getopt(argc, argv, "g:k:f:n:r:")) >= 0) {
		if (opt == 'g')
			b.group = optarg;
		else if (opt == 'k')
			kind = optarg;
		else if (opt == 'f')
			family = atoi(optarg);
		else if (opt == 'n' || opt == 'r')
			*(opt == 'n' ? &n : &b.rounds) = (uint32_t)strtoul(optarg, NULL, 10);
		else
			return usage(argv[0]);
	}
	if (optind >= argc || !b.rounds || b.rounds > WEIR_BENCH_ROUNDS_MAX)
		return usage(argv[0]);
	if (geteuid()) {
		printf("needs root: loads programs\n");
		return 77;
	}
	b.object = argv[optind];
	for (int i = optind + 1; i < argc; i++) {
		const char *slash = strrchr(argv[i], '/');
		struct weir_set s;
		int r = weir_set_read(&s, argv[i]);

		err |= r ? r : bench_set(&b, slash ? slash + 1 : argv[i], &s);
		weir_set_free(&s);
	}
	for (int i = 0; n && i < (int)(sizeof kinds / sizeof *kinds) * 2; i++) {
		struct weir_set s;
		char name[32];
		int r;

		if ((kind && strcmp(kind, weir_set_names[kinds[i / 2]])) || (family && family != families[i & 1]))
			continue;
		r = weir_set_make(&s, kinds[i / 2], families[i & 1], n, 1);
		snprintf(name, sizeof name, "%s, IPv%u", weir_set_names[kinds[i / 2]], families[i & 1]);
		err |= r ? r : bench_set(&b, name, &s);
		weir_set_free(&s);
	}
	return err ? 1 : 0;
}
