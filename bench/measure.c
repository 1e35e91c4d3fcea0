/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/measure.h"

#include <bpf/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double weir_bench_cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

double weir_bench_run(int fd, const void *frame, uint32_t len, uint32_t repeat, int32_t want)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = len, .repeat = (int)repeat);
	double start = weir_bench_cpu();

	if (bpf_prog_test_run_opts(fd, &o) || (int32_t)o.retval != want)
		return -1;
	return (weir_bench_cpu() - start) / repeat;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

void weir_bench_row(const char *group, const char *name, const char *unit, double *v, uint32_t n)
{
	qsort(v, n, sizeof *v, by_value);
	printf("| %-6s | %-46s | %-6s | %10.2f | %10.2f | %10.2f | %3u |\n", group, name, unit, v[n / 2], v[0],
	       v[n - 1], n);
	fflush(stdout);
}

void weir_bench_missing(const char *group, const char *name, const char *unit, const char *why)
{
	printf("| %-6s | %-46s | %-6s | missing | %s |\n", group, name, unit, why);
	fflush(stdout);
}
