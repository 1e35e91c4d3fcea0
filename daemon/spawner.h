/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper gives its rights up, and what it starts needs some to become another user. So a fork of its first moments
 * keeps them, and does four things when it is told: start a role (a child of the keeper, not its own), send one of them
 * a signal, open a BPF program by its number, remove everything at the end. It hears only the keeper, in structs of
 * fixed size, and reads nothing else.
 */
#pragma once
#include <sys/types.h>

#include "daemon/role.h"

struct weir_spawner;

/* Early: before there are locks, maps and threads that it would share. */
int weir_spawner_new(const struct weir_run_options *o, struct weir_spawner **ret);
void weir_spawner_free(struct weir_spawner *s); /* takes NULL; it ends */
pid_t weir_spawner_pid(const struct weir_spawner *s);

/* A pid, which is a child of the caller, or negative errno. The fds stay the caller's. */
pid_t weir_spawner_start(struct weir_spawner *s, enum weir_role role, const int *fds, size_t n);
/* To a child that was not waited for: its number cannot be another's. */
int weir_spawner_signal(struct weir_spawner *s, pid_t child, int sig);
/* Everything that weir put into the kernel, and what it put into the runtime directory. */
int weir_spawner_remove(struct weir_spawner *s);
/* An fd of a BPF program: the kernel asks for CAP_SYS_ADMIN. Fits struct weir_kern_options. */
int weir_spawner_prog(uint32_t id, void *spawner);
