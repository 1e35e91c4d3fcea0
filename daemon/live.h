/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live view of `weir run`: what this machine talks to, with what weir does, or would do, about it. The
 * picture is a pure function of what is put in: begin, add interfaces, sockets and flows, draw. The run loop
 * does that once a second on a terminal. In a pipe the whole picture comes once, then one line per new flow.
 */
#pragma once
#include <stdbool.h>
#include <stdio.h>

#include "core/flow.h"
#include "core/image_blob.h"
#include "lib/host/host.h"
#include "lib/host/names.h"

struct weir_live;

struct weir_live_options {
	FILE *out;
	int tty;       /* fd of the terminal that `out` is; -1: none, print lines */
	bool color;    /* a terminal, and NO_COLOR is not set */
	const char *version;
};

/* What one picture is made from. Pointers stay the caller's and need to live only during the call. */
struct weir_live_input {
	const struct weir_img *img;         /* in force */
	enum weir_mode mode;                /* effective ceiling */
	const struct weir_kern_if *ifs;
	size_t n_ifs;
	struct weir_owners *owners;         /* refreshed by the caller */
	struct weir_names *names;
	const uint8_t (*addrs)[16];         /* this host's addresses, sorted */
	size_t n_addrs;
	uint16_t eph_min, eph_max;
	uint64_t now;                       /* the clock of `names`, seconds */
	uint64_t lost;                      /* events lost so far */
	uint64_t plain_dns;                 /* DNS answers seen over plain UDP */
};

int weir_live_new(const struct weir_live_options *o, struct weir_live **ret);
void weir_live_free(struct weir_live *l); /* leaves the terminal as it was, the last picture on it */

/* A flow of the kernel's table for the next picture; its signature fits weir_kern_flow_each. data: the view. */
void weir_live_flow(const struct weir_flow_key *k, const struct weir_flow *f, bool half, bool expired, void *data);
/* Draw everything added since the last picture (terminal), or print what is new (pipe). 0 or negative errno. */
int weir_live_draw(struct weir_live *l, const struct weir_live_input *in);
/* SIGWINCH came. */
void weir_live_resized(struct weir_live *l);
