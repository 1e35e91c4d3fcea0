/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Values of the programs' own maps, and the working memory of one packet. Global functions on 5.10 take
 * scalars and the context only, so what they share stands in a per-CPU map instead of on the stack.
 */
#pragma once
#ifdef __bpf__
#include "bpf/vmlinux.h"
#endif /* user space brings the kernel's own <linux/bpf.h> */

#include "core/event.h"
#include "core/flow.h"
#include "core/limit.h"
#include "core/pkt.h"
#include "core/tree_line.h"

struct weir_frag_key {
	uint8_t src[16], dst[16];
	uint32_t id, zone;
};

/* What the later fragments of a datagram are judged by. */
struct weir_frag {
	uint32_t last;  /* jiffies */
	uint8_t denied;
	uint8_t early;  /* its first has not been seen yet: only bytes counts */
	uint8_t side;   /* of the datagram within its flow */
	uint8_t bounded; /* that flow has max_bytes */
	uint32_t bytes; /* of IP packets that came before the first */
	uint8_t admitted; /* by the failsafe: no list and no limit is asked */
	uint8_t pad[3];
	struct weir_flow_key key; /* of that flow */
};

#ifdef __bpf__
/* Three buckets in one line of the cache, and what keeps CPUs apart that take from them. */
struct weir_limit_line {
	struct bpf_spin_lock lock;
	uint32_t pad;
	struct weir_limit_slot slot[WEIR_LIMIT_WAYS];
	uint64_t pad1;
};
_Static_assert(sizeof(struct weir_limit_line) == 64, "one line");
#endif

struct weir_asker {
	uint8_t addr[16];
	uint32_t port;
};

/* skb->tc_index: 0 nothing, 1..16383 a note of an ingress, 16384..32767 one of an egress or of weir's own packet */
#define WEIR_NOTES 32768u
#define WEIR_NOTES_IN 16384u

/*
 * INGRESS: how the packet came in. OWN: built by weir, seen by its own hook next; OWN_ON: that happened, it may
 * be forwarded yet. JUDGED: let through at the egress of a device that stands on others. LOST, in the scratch map
 * only: there was one, and its place has been taken.
 */
enum { WEIR_NOTE_NONE, WEIR_NOTE_INGRESS, WEIR_NOTE_OWN, WEIR_NOTE_OWN_ON, WEIR_NOTE_JUDGED, WEIR_NOTE_LOST };

struct weir_note {
	struct weir_tuple t; /* of the packet as it came in, before any translation */
	uint32_t ifindex;    /* it came in by; for OWN: the device that it will pass */
	uint32_t kind;
	uint32_t hash, stamp; /* INGRESS: the packet's own hash, and what it carries in the meantime */
	uint8_t smac[6];
	uint16_t vlan[2];
	uint16_t pad;
};

struct weir_local {
	uint32_t note;     /* next note of this CPU */
	uint32_t tokens;   /* rejects that may still be sent */
	uint32_t refilled; /* jiffies of the last refill */
	uint32_t wake;     /* see weir_wake_due */
	uint64_t flow_id;
	uint32_t began, began_at; /* flows that this CPU began since then (jiffies), for a second */
};

/* An interface that a hook saw, as of that number in struct weir_control. */
struct weir_iface_seen {
	uint32_t ifindex, as_of;
	struct weir_iface v;
};

struct weir_scratch {
	struct weir_pkt pkt;
	uint32_t parsed; /* enum weir_reason of the parser */
	struct weir_facts facts;
	struct weir_result res, res2;
	struct weir_flow flow; /* an entry under construction */
	struct weir_flow_key key, okey;
	struct weir_frag_key fkey;
	struct bpf_fib_lookup fib; /* too large for the stacks of five calls in a row */
	struct weir_ban_key ban_key;
	struct weir_caught_key caught_key;
	struct weir_vlan_key vlan_key;
	struct weir_asker asker;
	struct weir_note note; /* what ingress knew, copied; kind NONE when nothing */
	uint64_t flow_id;      /* of a flow that has just begun */
	uint64_t time;         /* ns since boot, 0: nobody asked yet; see weir_time */
	struct weir_iface_seen seen[8]; /* four of TC ingress, four of TC egress; they outlive the packet */
	uint32_t now;          /* jiffies */
	uint32_t hook;         /* WEIR_HOOK_* */
	uint32_t ifindex, in_ifindex, mark, len, segs, ifflags;
	uint32_t side;         /* of the packet within its flow */
	uint32_t edit;         /* ban edit number, read once */
	uint32_t refused;      /* a table did not take the packet's flow */
	uint32_t caught;       /* there is a ban of a rule or a limit in force */
	uint32_t ban_s, ban_rule; /* the packet's source shall be banned for so long, by this; 0: not */
	struct weir_tree_key tree_key;
	uint32_t scan_from;    /* the rule at which a search goes on */
	uint32_t scan_late;    /* what it found among the rules that came later */
	uint32_t seq;          /* counts packets: a test sees that the program really ran */
#ifdef WEIR_OTHER_BUILD
	uint64_t other[2];     /* the tests' second build: a shared map of another shape */
#endif
};

enum {
	WEIR_TEST_NO_FLOW = 2, /* neither look up nor store flows and fragments */
};
