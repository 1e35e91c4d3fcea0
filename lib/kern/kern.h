/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam to the kernel: everything that loads, attaches, pins or reads a map. Behind it only lib/kern
 * sees libbpf. It takes images (flat, checked blobs), never policy text. kern_fake.c implements the same
 * in memory, for tests without rights.
 *
 * All functions return 0 or a count, or a negative errno; what a person should know is in `why` buffers
 * or struct weir_kern_if.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/event.h"
#include "core/flow.h"
#include "core/image.h"

struct weir_kern;

struct weir_kern_options {
	const char *runtime_dir; /* pins go to <runtime_dir>/bpf, a bpffs of weir's own */
	uint32_t flows_max, half_max; /* entries; 0: as the image says */
	/* Opens a program by its number, for one who may not do it himself (CAP_SYS_ADMIN). NULL: weir_kern_prog_open. */
	int (*prog_open)(uint32_t id, void *data);
	void *prog_data;
};

/* Mount bpffs, raise MEMLOCK, probe features, take over pins that are there. -EBUSY: another instance. */
int weir_kern_open(const struct weir_kern_options *o, struct weir_kern **ret, char *why, size_t why_size);

/* An fd of any BPF program of this machine. */
int weir_kern_prog_open(uint32_t id);

/* Release fds; pins stay (enforcement goes on). With `remove` everything that weir ever put is taken away. */
void weir_kern_close(struct weir_kern *k, bool remove);

/* Remove every trace of an instance, also of a dead one: links, pins, guard, clsact filters, the mount. */
int weir_kern_flush(const char *runtime_dir, char *report, size_t report_size);

/* One change of what is in force. Blobs stay the caller's. */
struct weir_kern_change {
	const void *blob; /* the image */
	uint32_t size;
	uint32_t back_size;
	/*
	 * Both 0: it stays. Else it goes back by itself unless confirmed: `span` ns after the moment at which it takes
	 * force, however long it takes to load; or, for a change whose clock runs already, at `deadline`, ns since boot.
	 */
	uint64_t span, deadline;
	/* with one of these: what it goes back to. NULL: what a change that waits already goes back to, else what is in force */
	const void *back;
};

/*
 * Put an image in force: load a new generation of programs and maps (exact sizes), then update every hook
 * by link update. All or nothing: on failure the old one stays in force everywhere. With a span or a deadline every hook is
 * led to a root program first, and one write of the control word puts the new one in force.
 */
int weir_kern_install(struct weir_kern *k, const struct weir_kern_change *c, char *why, size_t why_size);

static inline bool weir_kern_change_waits(const struct weir_kern_change *c)
{
	return c->span || c->deadline;
}

/*
 * Another image whose blocklists alone differ from those of the one in force: they change at one moment, the programs
 * and all else stay. *ret_written: lines of 64 bytes. -EBUSY: a change waits for its confirmation; -E2BIG: there is no
 * room; another errno: this kernel cannot say that no program reads what is to be written. Install it then.
 */
struct weir_img;
int weir_kern_blocks(struct weir_kern *k, const struct weir_img *img, uint32_t *ret_written);

/*
 * Lines of what the blocklists hold become others, at one moment (core/block_line.h): `epoch` is that of the image in force.
 * -ESTALE: it is another one; -EBADMSG: they would not be sound any more, and nothing is changed; else as above.
 */
struct weir_block_change;
struct weir_block_line;
int weir_kern_lines(struct weir_kern *k, uint32_t epoch, const struct weir_block_change *v, uint32_t n);
/* Once in a while, when there is time: what the next call of weir_kern_lines would have to wait for. */
void weir_kern_lines_ready(struct weir_kern *k);
/* What they are now, from the head of IPv4 on: so many as fit. Returns how many. */
int weir_kern_lines_read(struct weir_kern *k, struct weir_block_line *v, uint32_t n);

/*
 * A rule that comes or goes in the image in force; the programs and all else stay. -EBUSY: a change waits for its
 * confirmation; -ESTALE: it is for another image, or its place is not the next one.
 */
struct weir_late;
int weir_kern_late(struct weir_kern *k, const struct weir_late *l);

/* What waits for its confirmation. */
struct weir_kern_pending {
	bool pending;      /* a change waits, and its deadline is still to come */
	uint64_t deadline; /* ns since boot */
	uint32_t generation; /* that decides now, also when nothing waits */
	uint32_t back_generation;
};
void weir_kern_pending(struct weir_kern *k, struct weir_kern_pending *ret);
/* It stays; or it goes back now. -ENOENT: nothing waits (any more). */
int weir_kern_confirm(struct weir_kern *k);
int weir_kern_revert(struct weir_kern *k);
/*
 * To be called at least once a second: what was decided without us (the deadline passed, a command wrote the word)
 * moves the hooks off the root programs. Also the sign of life, unless told otherwise by weir_kern_rest.
 */
enum weir_settled { WEIR_SETTLED_NOTHING, WEIR_SETTLED_CONFIRMED, WEIR_SETTLED_BACK };
enum weir_settled weir_kern_settle(struct weir_kern *k);
/* The end comes on purpose: what is enforced stays as it is, whatever failures.daemon_dead says. */
void weir_kern_rest(struct weir_kern *k);

/* The same on the pins of an instance that no process serves. -ENOENT: nothing waits there. */
int weir_kern_pinned_confirm(const char *runtime_dir);
int weir_kern_pinned_revert(const char *runtime_dir);

enum weir_xdp_mode { WEIR_XDP_AUTO, WEIR_XDP_OFF, WEIR_XDP_NATIVE, WEIR_XDP_GENERIC };

/* One interface as the kernel reports it (lib/host fills it) and as weir covers it. */
struct weir_kern_if {
	uint32_t ifindex, master, link; /* link: parent of a VLAN or macvlan; 0 = none */
	char name[16], kind[16], master_kind[16], driver[32];
	uint32_t mtu, flags;            /* IFF_* */
	uint16_t arphrd, vlan_id;       /* vlan_id: of a VLAN device */
	uint16_t vlan_proto, pad;
	uint8_t mac[6];
	/* filled by weir_kern_attach */
	bool covered;
	bool wanted;      /* filled by the keeper: it is asked to be covered */
	char tc[16];      /* "tcx", "clsact", "" */
	char xdp[16];     /* "native", "generic", "offload", "" */
	char why[128];    /* why not covered, or why this XDP mode */
	char others[128]; /* programs of others on the same hooks, "xdp: foo(12)" */
};

/* A ban that the programs made. */
struct weir_kern_caught {
	struct weir_caught_key key;
	struct weir_caught ban;
};

/* Cover an interface (idempotent; also refreshes what the programs know of it). Fills the result fields. */
int weir_kern_attach(struct weir_kern *k, struct weir_kern_if *i, enum weir_xdp_mode xdp);
int weir_kern_detach(struct weir_kern *k, uint32_t ifindex);

/* The pre-cover guard: packets of interfaces that are not covered are dropped while it is on. */
int weir_kern_guard(struct weir_kern *k, bool on, char *how, size_t how_size); /* how: "bpf netfilter", "nft" */
int weir_kern_cover(struct weir_kern *k, uint32_t ifindex, bool covered);

/* Start the adoption window: mid-stream packets are adopted for `seconds` from now. */
int weir_kern_adopt(struct weir_kern *k, uint32_t seconds);
/* Put a known conversation into the flow table (seeding): t is the originator's view. */
int weir_kern_flow_seed(struct weir_kern *k, const struct weir_tuple *t, uint32_t dir);

int weir_kern_ban_add(struct weir_kern *k, const struct weir_ban_key *key, const struct weir_ban *ban);
int weir_kern_ban_remove(struct weir_kern *k, const struct weir_ban_key *key); /* whoever made it */
int weir_kern_ban_each(struct weir_kern *k, void (*cb)(const struct weir_ban_key *, const struct weir_ban *, void *),
		       void *data);
/* This host's addresses, 16 bytes each: no ban by a rule hits them, nor the whole of their /64. Others go. What does not
 * fit is counted: weir_kern_health. */
int weir_kern_own(struct weir_kern *k, const uint8_t (*v)[16], size_t n);
/* Bans that rules and limits made and that have not ended. At most n; their number, or negative errno. */
int weir_kern_caught(struct weir_kern *k, struct weir_kern_caught *ret, size_t n);

typedef void (*weir_flow_cb)(const struct weir_flow_key *, const struct weir_flow *, bool half, bool expired, void *data);
int weir_kern_flow_each(struct weir_kern *k, weir_flow_cb cb, void *data);

/* WEIR_STATS_MAX counters, summed over CPUs; layout in core/event.h: [reason * 3 + enforced verdict], then stats. */
int weir_kern_stats(struct weir_kern *k, struct weir_counter *ret, size_t n);
/* Hits per rule of the image in force: n_rules entries, then the three defaults (in, out, fwd). */
int weir_kern_rule_hits(struct weir_kern *k, struct weir_counter *ret, size_t n);

/* Events: poll the fd, then call dispatch; the callback sees one record at a time. */
int weir_kern_event_fd(struct weir_kern *k);
int weir_kern_event_dispatch(struct weir_kern *k, void (*cb)(const struct weir_event *, void *), void *data);

/* The rings themselves, for a reader that may not ask the kernel: fds of their maps, which stay ours. */
struct weir_kern_ring {
	int fd;
	uint32_t size; /* bytes of data */
};
enum { WEIR_RING_VERDICTS, WEIR_RING_TELEMETRY, WEIR_RINGS };
int weir_kern_event_rings(struct weir_kern *k, struct weir_kern_ring ret[WEIR_RINGS]);

struct weir_kern_prog {
	char name[16];
	uint32_t id, insns_verified, insns_xlated, insns_jited_bytes, attached;
};
int weir_kern_progs(struct weir_kern *k, struct weir_kern_prog *ret, size_t n);

/* What the programs take the time of day for. */
struct weir_kern_clock {
	uint32_t used;     /* the policy asks for it */
	uint32_t minute;   /* of the local week, see core/clock.h */
	uint64_t ahead_s;  /* so many seconds from now all changes to and from summer time are known */
};

/* Do the programs really run and decide as the same code decides here? */
struct weir_kern_health {
	uint32_t tested, failed;   /* packets of the self-test of the image in force; tested 0: it never ran */
	uint32_t us, pad;          /* microseconds that it took */
	char why[192];             /* the first that failed */
	uint32_t hooks, silent;    /* interfaces that a canary frame was sent out of; hooks that do not run */
	char silent_names[160];    /* "eth0 egress (a test frame did not reach it), ..." */
	char canary_why[64];       /* why no canary could be sent at all */
	uint32_t canary_inode; /* of our own packet socket, which sends them */
	uint32_t unspared;     /* addresses of this host that a ban by a rule may hit: there are too many to tell the programs */
	struct weir_kern_clock clock;
};
void weir_kern_health(struct weir_kern *k, struct weir_kern_health *ret);
/* Send canary frames out of what is covered, unless that was done within so many seconds. */
void weir_kern_canary(struct weir_kern *k, uint32_t older_than_s);

/* What the kernel can do here, found by trying: "tcx", "netfilter link", "ringbuf", ... */
struct weir_kern_feature {
	const char *name;
	bool have;
	char why[96];
};
int weir_kern_features(struct weir_kern *k, const struct weir_kern_feature **ret);

/* Without a live daemon: is something of this instance pinned and attached? Reads pins only. */
struct weir_kern_pinned {
	bool attached;         /* links or filters in the kernel */
	bool guard;            /* the guard stands: what is not covered passes nothing */
	bool pending;          /* a change waits for its confirmation, its deadline is still to come */
	bool settled_back;     /* a change waited and went back, and nobody has cleaned up since */
	uint64_t deadline;     /* of it; ns since boot */
	uint32_t generation, epoch, mode; /* what decides now */
	uint32_t other_generation; /* of the pair that is pinned, the one that does not decide; 0: none */
	uint32_t epoch_max;
	uint32_t n_interfaces;
	struct weir_kern_clock clock;
};
int weir_kern_pinned(const char *runtime_dir, struct weir_kern_pinned *ret);

uint64_t weir_kern_now(void); /* ns since boot */
