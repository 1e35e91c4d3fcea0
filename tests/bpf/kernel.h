/* SPDX-License-Identifier: Apache-2.0 */
/* The loaded programs, run on one frame at a time in a network namespace of the test's own. */
#pragma once
#include <linux/bpf.h>

#include "tests/harness/imgbuild.h"

#include "bpf/scratch.h"
#include "lib/kern/kern_test.h"

#define WEIR_RUN_IFINDEX 1     /* lo: where BPF_PROG_TEST_RUN lets every frame appear */
#define WEIR_RUN_IN_IFINDEX 77 /* no device has it; egress sees it as the way in */

struct weir_runner {
	struct weir_kern *kern;
	char dir[64];
	struct weir_scratch *scratch; /* one per possible CPU */
	int cpu, n_cpus;
	bool no_way_in; /* the test run of an old kernel (5.10) cannot say where a packet came in */
	uint32_t seq;	/* of the last packet that was looked at */
};

/* New network and mount namespaces, then weir_kern_open. Prints why not; -EPERM without rights. */
int weir_runner_open(struct weir_runner *r);
int weir_runner_open_flows(struct weir_runner *r, uint32_t flows_max); /* 0: the default */
void weir_runner_close(struct weir_runner *r);
/* Install an image and say what the two interfaces match. */
int weir_runner_install(struct weir_runner *r, const void *blob, uint32_t size, uint32_t pat, uint32_t lower,
			uint32_t pat_in);

/* Let the programs take it for the first seconds of this minute of the week; WEIR_WEEK_MINUTES: they do not know. */
int weir_runner_clock(struct weir_runner *r, uint32_t minute);

struct weir_run {
	const char *prog;
	const void *frame;
	uint32_t len, mark, in_ifindex;
	uint32_t repeat;      /* 0 = 1 */
	int32_t ret;	      /* what the program returned */
	uint32_t duration_ns; /* mean of the repeats */
};
/* 0, or -EINVAL: the kernel does not let a frame this short into the program. */
int weir_runner_run(struct weir_runner *r, struct weir_run *x);
/* What the program left in its working memory, NULL when it did not run. */
const struct weir_scratch *weir_runner_last(struct weir_runner *r);
