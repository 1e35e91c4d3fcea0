/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host looks like: interfaces, sockets and who holds them, login sessions, tracked connections,
 * other firewalls. Read from netlink and /proc of the caller's network namespace; nothing here changes
 * anything or needs a file of weir. (The kernel may load its own sock_diag modules when it is asked.)
 *
 * Names that come from processes, units and devices are hostile text: they are kept raw here (NUL-terminated,
 * cut at their size) and must go through weir_escape() (lib/util/text.h) before a person or a log sees them.
 *
 * Addresses are 16 bytes, IPv4 mapped (::ffff:a.b.c.d), also for the IPv4 traffic of a dual-stack socket.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/pkt.h"
#include "lib/kern/kern.h" /* struct weir_kern_if, which is filled here; no function of it is called */

/*
 * Interfaces. Open, sync once (everything is reported as new), then poll the fd and dispatch. Reports come
 * only for what weir cares about (name, kind, master, parent, MTU, flags, MAC): repeats are swallowed. A
 * rename is a change; a device that moves to another namespace is gone here. When the kernel had to throw
 * messages away (ENOBUFS), dispatch reads everything anew and reports the difference.
 */
struct weir_links;

enum weir_link_event { WEIR_LINK_NEW, WEIR_LINK_CHANGED, WEIR_LINK_GONE };
typedef void (*weir_link_cb)(enum weir_link_event ev, const struct weir_kern_if *i, void *data);

int weir_links_open(struct weir_links **ret);
void weir_links_free(struct weir_links *l);     /* takes NULL */
int weir_links_fd(const struct weir_links *l);  /* stays ours */
/* 0 or negative errno: then some differences were not told yet, and the next sync tells them. */
int weir_links_sync(struct weir_links *l, weir_link_cb cb, void *data);
int weir_links_dispatch(struct weir_links *l, weir_link_cb cb, void *data);
uint64_t weir_links_overruns(const struct weir_links *l); /* how often messages were lost */

/* The interfaces of now, sorted by index. *ret is malloced. */
int weir_links_read(struct weir_kern_if **ret, size_t *ret_n);

/* The addresses of this host, 16 bytes each, sorted. *ret is malloced. */
int weir_addrs_read(uint8_t (**ret)[16], size_t *ret_n);
bool weir_addrs_have(const uint8_t (*v)[16], size_t n, const uint8_t addr[16]);

/* States of a socket as sock_diag numbers them (TCP_ESTABLISHED ... of the kernel, which UDP borrows). */
enum weir_sock_state {
	WEIR_SOCK_ESTABLISHED = 1, /* UDP: connected */
	WEIR_SOCK_SYN_SENT = 2,
	WEIR_SOCK_SYN_RECV = 3,
	WEIR_SOCK_FIN_WAIT1 = 4,
	WEIR_SOCK_FIN_WAIT2 = 5,
	WEIR_SOCK_CLOSE = 7, /* UDP: not connected */
	WEIR_SOCK_CLOSE_WAIT = 8,
	WEIR_SOCK_LAST_ACK = 9,
	WEIR_SOCK_LISTEN = 10,
	WEIR_SOCK_CLOSING = 11,
};

/* One TCP or UDP socket, as sock_diag tells it. */
struct weir_sock {
	uint8_t local[16], remote[16]; /* unbound or not connected: all zero behind the family's prefix */
	uint16_t lport, rport;
	uint8_t proto, family;         /* WEIR_IPPROTO_*; 4 or 6 of the traffic; 0: both (a v6 wildcard) */
	uint8_t state;                 /* enum weir_sock_state */
	bool listening;                /* TCP: listen; UDP: bound, not connected */
	bool inbound;                  /* connected: the other side opened it */
	uint32_t uid, inode, ifindex;  /* ifindex: bound to this device, 0 = any */
	uint64_t sent, received;       /* payload bytes; 0 where the kernel does not count them (UDP) */
};

#define WEIR_SOCKS_MAX 262144 /* sockets that are kept; more are counted in *ret_more */

/* All of them; direction of the connected ones set. *ret is malloced; ret_more may be NULL. */
int weir_socks_read(struct weir_sock **ret, size_t *ret_n, size_t *ret_more);

/* The conversation of a connected socket from its originator's view, and its direction. False: none. */
bool weir_sock_tuple(const struct weir_sock *s, struct weir_tuple *ret, uint32_t *ret_dir);

/* Listening where the world could reach it: not loopback; UDP only below `eph_min` (clients bind above). */
bool weir_sock_is_open(const struct weir_sock *s, uint16_t eph_min, uint16_t eph_max);

/* Who holds a socket, from /proc: a look from outside and therefore a guess, shown with `~`. */
struct weir_owner {
	uint32_t pid, uid;
	char program[64]; /* "sshd"; of an interpreter with its script: "python3 x.py" */
	char unit[64];    /* "nginx.service", "container 0123456789ab", else the user's name */
};

/* Who holds the socket with this inode. Of several holders the one that opened it, as far as that can be told. */
struct weir_holder {
	uint32_t inode, pid;
};
struct weir_process {
	char program[64], unit[64]; /* as in struct weir_owner; "": not there, or of no unit */
};
/* Read with the rights to look into other processes; on a large host a read may take several rounds. */
struct weir_holders;
int weir_holders_new(struct weir_holders **ret);
void weir_holders_free(struct weir_holders *h); /* takes NULL */
int weir_holders_read(struct weir_holders *h, struct weir_holder **ret, size_t *ret_n); /* malloced, by inode */
void weir_process_read(uint32_t pid, struct weir_process *ret);

/* Sockets and their holders, read together and kept for `every_ms`. */
struct weir_owners;
int weir_owners_new(uint32_t every_ms, struct weir_owners **ret);
/* Ask somebody else about holders and processes, from the next refresh on. */
struct weir_owners_source {
	int (*holders)(struct weir_holder **ret, size_t *ret_n, void *data); /* as weir_holders_read */
	int (*process)(uint32_t pid, struct weir_process *ret, void *data);
	void *data;
};
void weir_owners_ask(struct weir_owners *o, const struct weir_owners_source *source);
void weir_owners_free(struct weir_owners *o);
/* Read again if what is known is older than every_ms. 1: read, 0: still fresh, or negative errno. */
int weir_owners_refresh(struct weir_owners *o);
const struct weir_sock *weir_owners_socks(const struct weir_owners *o, size_t *ret_n);
/* The holder of one of these sockets. -ENOENT: no process seen; then only uid and unit (the user) are set. */
int weir_owners_of(struct weir_owners *o, const struct weir_sock *s, struct weir_owner *ret);
/* The holder at this end of a conversation in direction `dir`; a listening socket counts. Forwarded: -ENOENT. */
int weir_owners_find(struct weir_owners *o, const struct weir_tuple *t, uint32_t dir, struct weir_owner *ret);

/* Management access: what the failsafe `sshd` of a policy is made from. Addresses: "10.0.0.5", "2001:db8::/64". */
struct weir_sshd {
	uint16_t *ports;
	size_t n_ports;
	char **addrs; /* of login sessions: an unauthenticated connection does not count */
	size_t n_addrs;
};
int weir_sshd_read(struct weir_sshd *ret);
void weir_sshd_free(struct weir_sshd *s);

/*
 * Over which connections somebody works here: those that came in and are held by his process, its ancestors, or an
 * sshd of the same login session (sudo, su, screen and tmux hide them from the environment). A connection from
 * loopback counts only where an sshd holds it. Not found: mosh (its socket knows no remote end), run0 and machinectl
 * shell (children of the first process), and agents that call out to be told what to do.
 */
struct weir_session {
	struct weir_tuple t; /* the conversation as its originator sees it: from = he, to = this host */
	uint32_t pid;        /* that holds the socket */
	char program[64];
};
#define WEIR_SESSIONS_MAX 8
/* Number of sessions (0: a local console), at most WEIR_SESSIONS_MAX, or negative errno. */
int weir_sessions_read(uint32_t pid, struct weir_session ret[WEIR_SESSIONS_MAX]);

/* One conversation whose sockets shall end (SOCK_DESTROY: Linux 4.5, UDP 4.9). */
struct weir_kill {
	struct weir_tuple t; /* originator's view */
	uint32_t dir;        /* WEIR_DIR_* */
	int32_t result;      /* out: number of sockets that ended; -EOPNOTSUPP: the kernel cannot; -ENOENT: no socket here */
};
/*
 * TCP connections and connected UDP sockets with exactly these ends, in either orientation; never a listener. Forwarded
 * conversations are looked for in the other network namespaces of this host's processes, too, from a child process.
 */
int weir_socks_kill(struct weir_kill *v, size_t n);

/* Conversations that are older than weir, to be put into the flow table. */
struct weir_seed {
	struct weir_tuple t;
	uint32_t dir;
};
/*
 * Established TCP and connected UDP sockets, and what connection tracking knows: both faces of NAT. *ret is
 * malloced. `why` says what could not be asked ("" when nothing); it is no failure.
 */
int weir_seeds_read(struct weir_seed **ret, size_t *ret_n, char *why, size_t why_size);

/* Other firewalls in force, names only. */
struct weir_firewall {
	char name[24];    /* "nft", "iptables-legacy", "ip6tables-legacy", "ufw", "firewalld", "docker" */
	char detail[104]; /* "3 tables: inet filter, ip nat, ..." ; raw text */
};
#define WEIR_FIREWALLS_MAX 8
int weir_firewalls_read(struct weir_firewall ret[WEIR_FIREWALLS_MAX], size_t *ret_n);

/*
 * Ways that packets take on this host beside its interfaces, and what may lead them past a filter at TC. Each is
 * found by looking; what could not be looked at is told, too (WEIR_PASSAGE_BLIND).
 */
enum weir_passage_kind {
	WEIR_PASSAGE_BLIND,   /* name: what; detail: why not */
	WEIR_PASSAGE_FORWARD, /* n: 4 or 6: this host routes that family; name: "all" or one interface that does */
	WEIR_PASSAGE_NFT,     /* a statement; name: "dnat", "redirect", "tproxy", "flowtable", "flowtable hw", "snat", ... */
			      /* n: rules that have it; detail: the first place, "ip nat prerouting" */
	WEIR_PASSAGE_LEGACY,  /* an iptables-legacy table `name` that nobody can read without changing it */
	WEIR_PASSAGE_PACKET,  /* a packet socket: inode, uid, ifindex (0: all); n: its EtherType, 3 all, 0 it only sends */
	WEIR_PASSAGE_XDP,     /* AF_XDP sockets: n; ifindex where the kernel tells it (0: it does not) */
	WEIR_PASSAGE_XDP_PROG,/* an XDP program on ifindex; n: its id */
	WEIR_PASSAGE_RAW,     /* raw IP sockets: n */
	WEIR_PASSAGE_CHILD,   /* a device in another namespace that stands on ifindex; name, detail: kind; space */
	WEIR_PASSAGE_AWAY,    /* a physical device in another namespace: name, space */
	WEIR_PASSAGE_SPACES,  /* n: other network namespaces that were looked into */
};
struct weir_passage {
	uint32_t kind, ifindex, inode, uid, n, pad;
	char name[32], detail[64];
	char space[48]; /* whose namespace: "name" of ip netns, or a program in it */
};
#define WEIR_PASSAGES_MAX 4096
/* *ret is malloced. */
int weir_passages_read(struct weir_passage **ret, size_t *ret_n);

/* Unix time in ns of CLOCK_BOOTTIME 0: add the time of an event. */
uint64_t weir_host_boot_ns(void);
/* /proc/sys/net/ipv4/ip_local_port_range; 32768 and 60999 when it cannot be read. */
void weir_host_port_range(uint16_t *ret_min, uint16_t *ret_max);
/* User name from /etc/passwd alone, else "uid 1234". Raw. */
void weir_host_user(uint32_t uid, char *buf, size_t size);
