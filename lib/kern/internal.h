/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of lib/kern share. Nobody else includes it. */
#pragma once
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/image_blob.h"
#include "lib/kern/kern.h"
#include "lib/util/cleanup.h"

struct weir_net;      /* net.skel.h, only in install.c and progs.c */
struct weir_root_obj; /* root.skel.h, only in pending.c */
struct ring_buffer;

/* Shared maps in the order of their pins; see bpf/maps.h. */
enum weir_shared {
	WEIR_M_VLANS,
	WEIR_M_FLOWS,
	WEIR_M_TALKS,
	WEIR_M_HALF,
	WEIR_M_FRAGS,
	WEIR_M_ASKERS,
	WEIR_M_TOLD,
	WEIR_M_NOTES,
	WEIR_M_BANS,
	WEIR_M_CAUGHT,
	WEIR_M_OWN,
	WEIR_M_CONTROL,
	WEIR_M_STATS,
	WEIR_M_LOCAL,
	WEIR_M_VERDICTS,
	WEIR_M_TELEMETRY,
	WEIR_M_COVERED,
	WEIR_M_BUCKETS,
	WEIR_M_GENS_TC,
	WEIR_M_GENS_XDP,
	WEIR_M_COUNT,
};
extern const char *const weir_shared_names[WEIR_M_COUNT];

enum weir_hook_slot { WEIR_SLOT_IN, WEIR_SLOT_OUT, WEIR_SLOT_XDP, WEIR_SLOT_COUNT };

/* An interface that is covered, or that was asked for. */
struct weir_cover {
	struct weir_kern_if i;
	int link[WEIR_SLOT_COUNT];      /* fds; -1: none, or a clsact filter */
	bool clsact[WEIR_SLOT_COUNT];   /* attached as a filter, not as a link */
	enum weir_xdp_mode xdp_asked;
	bool stuck;                     /* a hook that is there would not lead where it shall */
	enum { WEIR_CANARY_UNSENT, WEIR_CANARY_HEARD, WEIR_CANARY_SILENT } canary; /* what became of the last test frame */
};

#define WEIR_COVERS_MAX 4096

/* A generation: its programs with their maps, and what the hooks' side has to know of its image. */
struct weir_gen {
	struct weir_net *skel; /* the maps, and no programs; NULL: no generation */
	int prog[WEIR_SLOT_COUNT]; /* where there is a skel */
	struct weir_config cfg;
	struct weir_ifpat *ifpats;
	uint32_t n_ifpats;
	int slot;              /* in the program arrays; -1: in none */
	bool turned;           /* the place of the blocklists that is not asked may still be read, */
	bool alike;            /* or it is not, and holds what the other one does */
};

struct weir_kern {
	char *runtime_dir;
	char bpffs[PATH_MAX];      /* <runtime_dir>/bpf */
	struct weir_kern_options o;
	int shared[WEIR_M_COUNT];  /* fds of pinned maps, -1 before the first install */
	struct weir_control *control; /* mapped; what the programs read */
	struct weir_gen gen;       /* put in force last; no skel before the first install */
	struct weir_gen back;      /* while a change waits: what it goes back to */
	bool pending;              /* the hooks lead, or shall lead, to the root programs */
	bool rest;                 /* no more signs of life */
	bool unmoved;              /* some hooks lead elsewhere than they shall */
	bool covered_once, swept;  /* after the first install every interface has had its turn */
	uint64_t stale_at;         /* since then the word or slots lead to what is over: to be cleared; 0: they do not */
	struct weir_root_obj *root; /* loaded with the first change that waits */
	struct weir_cover **covers;
	size_t n_covers;
	struct ring_buffer *rings;
	void (*event_cb)(const struct weir_event *, void *);
	void *event_data;
	int guard[4];              /* netfilter links; -1 */
	bool guard_on, guard_nft;
	uint64_t clock_made;       /* seconds since boot; 0: never */
	int64_t clock_diff;        /* of the calendar and the seconds since boot, then */
	uint32_t hz;
	uint64_t jiffies_base;     /* jiffies64 at monotonic zero */
	uint32_t unspared; /* as in struct weir_kern_health */
	struct weir_kern_health health; /* the self-test of the image in force; what canary.c found last */
	int canary_fd;             /* -1: none */
	uint64_t canary, canary_at; /* the secret; when test frames were sent last */
	struct weir_kern_feature features[8];
	int n_features;
};

/* "what: reason" into a caller's buffer; returns err. */
int weir_why(char *why, size_t size, int err, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* pins.c */
int weir_pins_mount(struct weir_kern *k, char *why, size_t size);
int weir_pins_path(const struct weir_kern *k, char *path, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
bool weir_pins_exist(const char *runtime_dir);

/* sys.c: what libbpf 1.1 does not know: tcx order, netfilter links */
int weir_sys_link_tcx(int prog_fd, uint32_t ifindex, uint32_t attach_type);
bool weir_sys_has_netfilter(void); /* by loading such a program */
int weir_sys_link_netfilter(int prog_fd, uint32_t pf, uint32_t hook, int32_t priority);
int weir_sys_query(uint32_t ifindex, uint32_t attach_type, uint32_t *ret_ids, uint32_t *n);
uint32_t weir_sys_hz(void);
uint64_t weir_sys_jiffies_base(uint32_t hz);

#define WEIR_BPF_TCX_INGRESS 46
#define WEIR_BPF_TCX_EGRESS 47

/* progs.c */
const char *weir_prog_name(enum weir_hook_slot slot);
struct weir_net *weir_progs_open(const char *name); /* with this one program, NULL: with none. NULL: errno */
/* On the maps of what is loaded, which may be filled meanwhile. What begins must end; the fds are the caller's then. */
struct weir_progs_loading;
int weir_progs_begin(const struct weir_net *maps, struct weir_progs_loading **ret);
int weir_progs_end(struct weir_progs_loading *l, int fd[WEIR_SLOT_COUNT]);
void weir_progs_close(int fd[WEIR_SLOT_COUNT]);

/* install.c */
int weir_prog_fd(const struct weir_kern *k, enum weir_hook_slot slot); /* where the hooks shall lead now */
int weir_gen_load(struct weir_kern *k, const void *blob, uint32_t size, struct weir_gen *ret,
		  struct weir_kern_health *health, char *why, size_t why_size);
void weir_gen_free(struct weir_gen *g);
int weir_gen_prog_fd(const struct weir_gen *g, enum weir_hook_slot slot);
int weir_gen_map_fd(const struct weir_gen *g, const char *name);
int weir_hooks_move(struct weir_kern *k, char *why, size_t size);
void weir_install_free(struct weir_kern *k);

void weir_kern_edited(struct weir_kern *k); /* flows are judged again at their next packet */

/* install.c: how many late rules the programs look at, mapped; NULL: no generation is loaded. */
uint32_t *weir_gen_late(const struct weir_gen *g);

/* blocks.c */
int weir_blocks_fill(int fd, const struct weir_img *img);

/* pending.c */
int weir_control_open(struct weir_kern *k);
void weir_control_tell(struct weir_kern *k);
uint64_t weir_control_word(const struct weir_control *c);
int weir_root_prog_fd(const struct weir_kern *k, enum weir_hook_slot slot);
int weir_pending_install(struct weir_kern *k, struct weir_gen *new, const struct weir_kern_change *c, char *why,
			 size_t why_size);
void weir_pending_end(struct weir_kern *k); /* the hooks lead to k->gen: forget the rest */
void weir_pending_free(struct weir_kern *k);

/* attach.c */
int weir_cover_update(struct weir_kern *k, struct weir_cover *c, char *why, size_t size);
void weir_cover_refresh(struct weir_kern *k); /* rewrite weir_ifaces and weir_vlans */
void weir_cover_free(struct weir_cover *c);
void weir_cover_remove(struct weir_kern *k, struct weir_cover *c); /* detach and unpin */

/* kern.c */
int weir_sum_counter(int fd, uint32_t index, struct weir_counter *ret); /* of a per-CPU array */

/* canary.c */
void weir_canary_open(struct weir_kern *k);

/* clsact.c */
#define WEIR_CLSACT_HANDLE 0x7765u
#define WEIR_CLSACT_PRIORITY 1u
int weir_clsact_attach(struct weir_kern *k, uint32_t ifindex, enum weir_hook_slot slot);
int weir_clsact_detach(const char *bpffs, uint32_t ifindex, enum weir_hook_slot slot);
int weir_clsact_remove_all(const char *bpffs); /* returns how many filters */

/* guard.c */
void weir_guard_remove_nft(void);
bool weir_guard_stands(const char *bpffs);
