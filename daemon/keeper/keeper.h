/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part that holds the rights: the kernel programs and their maps. It is asked by a small table of
 * requests, takes images as flat blobs and checks them itself, and never sees a policy, JSON or YAML.
 * It decides which interfaces are covered, and when the guard must stand.
 */
#pragma once
#include "lib/host/host.h"
#include "lib/kern/kern.h"

struct weir_keeper;

struct weir_keeper_options {
	const char *runtime_dir;
	const char *const *interfaces; /* names or globs that are covered, NULL-terminated; NULL: all */
	uint32_t flows_max;            /* 0: the kernel side's default */
	int (*prog_open)(uint32_t id, void *data); /* as in struct weir_kern_options */
	void *prog_data;
	void (*busy)(bool busy); /* a call of the kernel begins, or ends, that may take long; NULL: nobody is told */
};

/* A ban as it is kept: its end is told by the calendar. */
struct weir_keeper_ban {
	struct weir_ban_key key;
	uint32_t id;
	uint64_t until_unix; /* seconds; 0: no end */
};

int weir_keeper_open(const struct weir_keeper_options *o, struct weir_keeper **ret, char *why, size_t why_size);
/* With `remove` nothing stays; else what was enforced goes on. */
void weir_keeper_close(struct weir_keeper *k, bool remove);

/* What was pinned when the keeper opened: the life before this one. */
const struct weir_kern_pinned *weir_keeper_before(const struct weir_keeper *k);

/* What stands now; before the first image: what was pinned when the keeper opened. */
int weir_keeper_stands(const struct weir_keeper *k, struct weir_kern_pinned *ret);

/* An image in force, all or nothing; then every interface anew, since the image says what XDP may do. */
int weir_keeper_install(struct weir_keeper *k, const struct weir_kern_change *c, char *why, size_t why_size);
int weir_keeper_confirm(struct weir_keeper *k); /* -ENOENT: nothing waits */
int weir_keeper_revert(struct weir_keeper *k);
/* Once a second: the sign of life, and what was decided by the clock or by a command that asked nobody. */
enum weir_settled weir_keeper_tick(struct weir_keeper *k);

/* Of the image in force; NULL: none was installed yet. */
const struct weir_config *weir_keeper_config(const struct weir_keeper *k);

/* An interface came, changed or went. */
void weir_keeper_link(struct weir_keeper *k, enum weir_link_event ev, const struct weir_kern_if *i);
/* All interfaces that were told, covered or not. Valid until the next call that changes them. */
const struct weir_kern_if *weir_keeper_ifs(const struct weir_keeper *k, size_t *ret_n);
/* Is this one asked to be covered? */
bool weir_keeper_wants(const struct weir_keeper *k, const struct weir_kern_if *i);

/* The guard before any image: only lo is let through, and what an earlier life covers. */
void weir_keeper_guard_now(struct weir_keeper *k);
/* How the guard stands: "" when it is off; why it does not stand though it should. */
const char *weir_keeper_guard(const struct weir_keeper *k, const char **ret_why);

/*
 * Put the conversations that this host knows of into the flow table and adopt others for adopt_s seconds. Before
 * the first install it waits for it: the table is filled before the first hook judges. Bans likewise.
 */
int weir_keeper_seed(struct weir_keeper *k, uint32_t adopt_s);
int weir_keeper_bans(struct weir_keeper *k, const struct weir_keeper_ban *v, size_t n); /* all of them: others go */
int weir_keeper_ban(struct weir_keeper *k, const struct weir_keeper_ban *b);
int weir_keeper_unban(struct weir_keeper *k, const struct weir_ban_key *key);

/* The kernel's maps, for reading: flows, counters, events, programs, features. */
struct weir_kern *weir_keeper_kern(struct weir_keeper *k);
