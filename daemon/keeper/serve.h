/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper's answers to one worker: a table of calls, each with its size, what comes along, and when it is allowed.
 * Who breaks the rules of the protocol is not argued with: he is cut off, and another worker is started.
 */
#pragma once
#include "daemon/keeper/keeper.h"
#include "daemon/keeper/proto.h"

struct weir_serve;

#define WEIR_SERVE_FDS 3 /* that a receipt may carry */

int weir_serve_new(struct weir_keeper *k, struct weir_serve **ret);
void weir_serve_free(struct weir_serve *s);

/* A worker begins: nothing that the last one said counts for it. */
void weir_serve_begin(struct weir_serve *s);

/*
 * One call. 0: the receipt and its fds are to be sent; the fds of the receipt are the caller's then. Negative: the
 * worker broke the protocol, weir_serve_why says how. The fds that came stay the caller's in any case.
 */
int weir_serve_message(struct weir_serve *s, const void *msg, size_t len, const int *fds, size_t n_fds,
		       struct weir_receipt *ret, int ret_fds[WEIR_SERVE_FDS]);
const char *weir_serve_why(const struct weir_serve *s);

/* The same over a socket: one call that waits there. Negative: the worker hung up (-EPIPE) or is to be cut off. */
int weir_serve_read(struct weir_serve *s, int fd);

/* What the worker told. */
bool weir_serve_ready(const struct weir_serve *s);
uint64_t weir_serve_calls(const struct weir_serve *s); /* so far: it lives */
bool weir_serve_busy(const struct weir_serve *s);      /* since its last call, with something that takes long */
uint32_t weir_serve_end(const struct weir_serve *s);   /* WEIR_CALL_END_*; 0: it did not ask for the end */

/* Another helper stands behind this socket, which is taken over: the worker fetches it with its next ping. */
void weir_serve_helper(struct weir_serve *s, int fd);
/* Does what is in force, or what it would go back to, stop anything? And which generation is it; 0: none. */
bool weir_serve_enforces(const struct weir_serve *s);
uint32_t weir_serve_generation(const struct weir_serve *s);

/* What is told to it; filled by the one who starts it. */
struct weir_life *weir_serve_life(struct weir_serve *s);
/* Once a second, after the keeper's tick said what was decided by the clock. */
void weir_serve_settled(struct weir_serve *s, enum weir_settled how);
