/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's view of the keeper: what it may ask of the part that holds the rights, and what it may read.
 * Calls wait for their answer. Negative errno: the keeper refused (`why` says it), or it is gone (-EPIPE).
 */
#pragma once
#include "daemon/keeper/keeper.h"
#include "daemon/keeper/proto.h"

struct weir_port;

/* A keeper in the same process: for tests. */
int weir_port_new_local(struct weir_keeper *k, struct weir_port **ret);
void weir_port_next(struct weir_port *p); /* unit tests: another worker uses it from now on */
/* Over a socket to a keeper process; takes the fd. */
int weir_port_new_fd(int fd, struct weir_port **ret);
void weir_port_free(struct weir_port *p); /* takes NULL */
int weir_port_fd(const struct weir_port *p); /* readable only when the keeper is gone; -1: in the same process */

/* The loop turns. *ret_helper: the socket of a new helper, or -1. */
int weir_port_ping(struct weir_port *p, int *ret_helper);
int weir_port_busy(struct weir_port *p);  /* what begins now may take long: silence until the next call is no hang */
int weir_port_ready(struct weir_port *p); /* clients are answered from now on */
int weir_port_end(struct weir_port *p, bool flush);
int weir_port_life(struct weir_port *p, struct weir_life *ret);
/*
 * The image that a worker before this one put in force, and the one that it goes back to (NULL: none waits), malloced.
 * -ENOENT: none yet.
 */
int weir_port_image(struct weir_port *p, void **ret, uint32_t *ret_size, void **ret_back, uint32_t *ret_back_size);

/* What was pinned when the keeper began: the life before this one. */
const struct weir_kern_pinned *weir_port_before(struct weir_port *p);

/* `meanwhile` (NULL: nothing) is run while the keeper works, and must leave the port alone. */
int weir_port_install(struct weir_port *p, const struct weir_kern_change *c, void (*meanwhile)(void *), void *data, char *why,
		      size_t why_size);
/* What is in force with other blocklists, at once; the number of lines that were written. Negative: install it. */
int weir_port_blocks(struct weir_port *p, const void *blob, uint32_t size);
/* Lines of what the blocklists of `img` hold, which were changed in it: `changed` has what stood there before. */
int weir_port_lines(struct weir_port *p, const struct weir_img *img, const struct weir_block_change *changed, size_t n);
/* What is in force with one rule more or less, at once. Negative: install it. */
int weir_port_late(struct weir_port *p, const struct weir_late *l);
/* -ENOENT: nothing waits for a confirmation. */
int weir_port_confirm(struct weir_port *p);
int weir_port_revert(struct weir_port *p);
void weir_port_pending(struct weir_port *p, struct weir_kern_pending *ret);

/* Before the first install both wait for it: the maps are filled before the first hook judges. */
int weir_port_seed(struct weir_port *p, uint32_t adopt_s);
int weir_port_bans(struct weir_port *p, const struct weir_keeper_ban *v, size_t n); /* all of them: others go */
int weir_port_ban(struct weir_port *p, const struct weir_keeper_ban *b);
int weir_port_unban(struct weir_port *p, const struct weir_ban_key *key);
int weir_port_caught(struct weir_port *p, struct weir_kern_caught *ret, size_t n); /* by rules and limits */

/* All interfaces, covered or not. Valid until the next call. */
const struct weir_kern_if *weir_port_ifs(struct weir_port *p, size_t *ret_n);
const char *weir_port_if_name(struct weir_port *p, uint32_t ifindex); /* NULL: unknown */
const char *weir_port_guard(struct weir_port *p, const char **ret_why);

int weir_port_stats(struct weir_port *p, struct weir_counter *ret, size_t n);
int weir_port_rule_hits(struct weir_port *p, struct weir_counter *ret, size_t n);
int weir_port_flow_each(struct weir_port *p, weir_flow_cb cb, void *data);
int weir_port_progs(struct weir_port *p, struct weir_kern_prog *ret, size_t n);
int weir_port_features(struct weir_port *p, const struct weir_kern_feature **ret);
void weir_port_health(struct weir_port *p, struct weir_kern_health *ret);

/* Records that were taken out of the rings, by all workers of this keeper. */
uint64_t weir_port_event_taken(const struct weir_port *p);
int weir_port_event_fd(struct weir_port *p);
int weir_port_event_dispatch(struct weir_port *p, void (*cb)(const struct weir_event *, void *), void *data);
