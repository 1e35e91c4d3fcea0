/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How every program here measures and what it prints: one row per series, for people and for bench/run.py alike.
 *
 *   | group | name | unit | median | min | max | n |
 *   | group | name | unit | missing | why |
 */
#pragma once
#include <stdint.h>

#define WEIR_BENCH_ROUNDS_MAX 101

/* Nanoseconds of CPU of this thread: other processes move it little. */
double weir_bench_cpu(void);

/*
 * BPF_PROG_TEST_RUN of an XDP or TC program, `repeat` times in one call: nanoseconds of CPU per run, negative when
 * it failed or did not return `want`.
 */
double weir_bench_run(int fd, const void *frame, uint32_t len, uint32_t repeat, int32_t want);

/* v: n figures of one series, at least one; sorts them. */
void weir_bench_row(const char *group, const char *name, const char *unit, double *v, uint32_t n);
void weir_bench_missing(const char *group, const char *name, const char *unit, const char *why);
