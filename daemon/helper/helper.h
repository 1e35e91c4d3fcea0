/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper: a small process that may look into other processes and namespaces, and end their sockets. The worker,
 * which has no rights, asks it by a small table of requests of fixed size (ask.h); answers are fixed records in a
 * sealed memfd, or an open file. It parses /proc, sshd's titles and sock_diag, nothing that comes from the network.
 *
 * A worker that an intruder has taken over can ask for all of it, so this is what he gains by the helper:
 * - files: see weir_helper_open. Never a device, /proc, or a secret that a file of a common kind could be.
 * - names of processes, and who holds which socket; which other firewalls there are;
 * - the end of any TCP connection or connected UDP socket of this host and its containers. Not of listeners.
 * He gains no way to write, run, signal or trace anything.
 *
 * All names are raw text from outside (see lib/host/host.h). Negative errno on failure; -EPIPE: the helper is gone;
 * -ETIMEDOUT: it did not answer in 10 s.
 */
#pragma once
#include <sys/types.h>

#include "lib/host/host.h"

struct weir_helper; /* the asking end */

/* In the same process, with its rights and without the bounds of weir_helper_open: for tests. */
int weir_helper_new_local(struct weir_helper **ret);
/* Over a socket (SOCK_SEQPACKET) to a helper process; takes the fd. */
int weir_helper_new_fd(int fd, struct weir_helper **ret);
/* Another helper process stands behind fd, which is taken; the old one is forgotten. */
void weir_helper_renew(struct weir_helper *h, int fd);
void weir_helper_free(struct weir_helper *h); /* takes NULL */

/* What root said, and nobody who asks later can widen. Either may be NULL. */
struct weir_helper_options {
	const char *config_dir;
	const char *policy; /* of the command line: its folder is served like config_dir */
};
/* The process: serves until the other end closes. Drops what it does not need. Returns an exit status. */
int weir_helper_main(int fd, const struct weir_helper_options *o);

/*
 * Open a regular file for reading: policies, their includes and lists. Returns an fd; links are followed. Served are
 *  1. files that everybody on this host may read (opened without any right, so the kernel itself judges);
 *  2. files below config_dir and below the folder of the policy on the command line;
 *  3. files that root owns and nobody else may write, whose name ends as those of policies do: .yaml .yml .list
 *     .netset .ipset .txt. This is for `weir apply /root/new.yaml`: who asked for it, and with what right, only the
 *     worker knows. So it is no bound against a worker that was taken over: that one can read root's other files of
 *     such names (netplan keeps Wi-Fi keys in one). `.json`, `.conf`, `.key`, names without an ending are not served.
 * Never what is no regular file or lies on a file system of the kernel (/proc, /sys, ...). -EACCES: none of these.
 */
int weir_helper_open(struct weir_helper *h, const char *path);
/* The files that a pattern with * ? [] names and weir_helper_open would serve, sorted; free each and the list. */
#define WEIR_HELPER_PATHS_MAX 1024
int weir_helper_list(struct weir_helper *h, const char *pattern, char ***ret, size_t *ret_n);

/* Who holds the sockets, and what a process is called; as weir_holders_read and weir_process_read. */
int weir_helper_holders(struct weir_helper *h, struct weir_holder **ret, size_t *ret_n);
int weir_helper_process(struct weir_helper *h, uint32_t pid, struct weir_process *ret);

/* Login sessions and ports of sshd; free with weir_sshd_free. */
int weir_helper_sshd(struct weir_helper *h, struct weir_sshd *ret);
int weir_helper_firewalls(struct weir_helper *h, struct weir_firewall ret[WEIR_FIREWALLS_MAX], size_t *ret_n);

/* Ways past the hooks: weir_passages_read. */
int weir_helper_passages(struct weir_helper *h, struct weir_passage **ret, size_t *ret_n);

/* What stands of the helper's own sandbox; in the same process nothing does. */
struct weir_sandbox;
int weir_helper_sandbox(struct weir_helper *h, struct weir_sandbox *ret);

/* Over which connections the user of this process works here: weir_sessions_read. */
int weir_helper_sessions(struct weir_helper *h, pid_t pid, struct weir_session ret[WEIR_SESSIONS_MAX]);
/* End conversations: weir_socks_kill. Any number; an error says that not all were asked for. */
int weir_helper_kill(struct weir_helper *h, struct weir_kill *v, size_t n);

/*
 * Let lib/util/file.h and `owners` go through it, from now on; `h` must outlive them. NULL: directly again. One helper
 * for a process.
 */
void weir_helper_use(struct weir_helper *h, struct weir_owners *owners);
