/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What finding a rule costs in user space, and what building the trees costs: sets from a generator of our own and
 * the ClassBench files named on the command line. The keys are ready made; another one each time, so nothing is learned.
 *
 * classifier [-n RULES] [-v VERIFIED] [FILE...]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/rulesets.h"
#include "lib/util/cleanup.h"

struct weir_img {
	const struct weir_tree_line *lines;
	uint32_t n;
};

static inline const struct weir_tree_line *weir_img_tree_line(const struct weir_img *img, uint32_t i)
{
	return i < img->n ? &img->lines[i] : NULL;
}

#include "core/tree.h"

#define KEYS (1u << 17)
#define ROUNDS 9

static volatile uint32_t sink;

static double now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double measure(const struct weir_img *img, struct weir_tree_key *keys)
{
	double ns[ROUNDS];

	for (int r = 0; r < ROUNDS; r++) {
		double start = now(CLOCK_THREAD_CPUTIME_ID);
		uint32_t sum = 0;

		for (uint32_t i = 0; i < KEYS; i++)
			sum += weir_tree_next(img, &keys[i], 0);
		ns[r] = (now(CLOCK_THREAD_CPUTIME_ID) - start) / KEYS;
		sink = sum;
	}
	qsort(ns, ROUNDS, sizeof *ns, by_value);
	return ns[ROUNDS / 2];
}

static int run(const char *name, const struct weir_set *s, uint32_t verified)
{
	_cleanup_free_ struct weir_tree_key *keys = malloc(KEYS * sizeof *keys);
	struct weir_tree t;
	struct weir_why why;
	struct weir_img img;
	double start, ms;
	uint64_t seed = 88172645463325252ull;
	struct weir_oracle *oracle = weir_oracle_new(s);
	int err;

	start = now(CLOCK_THREAD_CPUTIME_ID);
	err = keys && oracle ? weir_tree_build(s->v, s->n, NULL, &t, &why) : -ENOMEM;

	ms = (now(CLOCK_THREAD_CPUTIME_ID) - start) / 1e6;
	if (err) {
		printf("%-24s %7zu %7.0f  refused: %s\n", name, s->n, ms, err == -ENOMEM ? "no memory" : why.message);
		weir_oracle_free(oracle);
		return 0;
	}
	img = (struct weir_img){ t.lines, t.n };
	printf("%-24s %7zu %7.0f %7.2f %5u %5u %5u %6.2f", name, s->n, ms, t.n * 64 / 1e6, t.stats.trees[0] + t.stats.trees[1],
	       t.stats.depth, t.stats.leaf, (double)t.stats.cost / 15);
	for (int kind = 0; kind < WEIR_TRACE_KINDS; kind++) {
		uint32_t wrong = 0;

		for (uint32_t i = 0; i < KEYS; i++)
			weir_trace_key(s, (enum weir_trace_kind)kind, &seed, &keys[i]);
		for (uint32_t i = 0; i < verified && i < KEYS; i++) {
			uint32_t want = WEIR_TREE_END;

			weir_oracle_find(oracle, &keys[i], &want, 1);
			wrong += weir_tree_next(&img, &keys[i], 0) != want;
		}
		printf(" %8.1f", measure(&img, keys));
		if (wrong) {
			printf("  %u of %u wrong (%s)\n", wrong, verified, weir_trace_names[kind]);
			err = 1;
		}
	}
	printf("\n");
	fflush(stdout);
	weir_tree_free(&t);
	weir_oracle_free(oracle);
	return err;
}

int main(int argc, char **argv)
{
	uint32_t n = 100000, verified = 100000;
	int opt, err = 0;

	while ((opt = getopt(argc, argv, "n:v:")) >= 0) {
		if (opt != 'n' && opt != 'v') {
			fprintf(stderr, "usage: %s [-n RULES] [-v VERIFIED] [FILE...]\n", argv[0]);
			return 2;
		}
		*(opt == 'n' ? &n : &verified) = (uint32_t)strtoul(optarg, NULL, 10);
	}
	printf("%-24s %7s %7s %7s %5s %5s %5s %6s %8s %8s %8s\n", "ns of CPU per packet", "rules", "ms", "MB", "trees",
	       "depth", "leaf", "cost", "match", "mixed", "random");
	for (int i = optind; i < argc; i++) {
		const char *slash = strrchr(argv[i], '/');
		struct weir_set s;
		int r = weir_set_read(&s, argv[i]);

		if (r)
			fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
		err |= r ? r : run(slash ? slash + 1 : argv[i], &s, verified);
		weir_set_free(&s);
	}
	for (int i = 0; n && i < WEIR_SET_KINDS * 2; i++) {
		uint8_t family = i & 1 ? 6 : 4;
		struct weir_set s;
		char name[32];
		int r = weir_set_make(&s, (enum weir_set_kind)(i / 2), family, n, 1);

		snprintf(name, sizeof name, "%s, IPv%u", weir_set_names[i / 2], family);
		err |= r ? r : run(name, &s, verified);
		weir_set_free(&s);
	}
	return err ? 1 : 0;
}
