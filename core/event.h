/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel tells user space. One fixed header, a typed body. Two rings: verdicts (drops, rejects,
 * what would have been, log lines), and telemetry (new flows, DNS answers), so that a flood of the second
 * never costs one of the first. Every record that does not fit is counted: generated = delivered + lost.
 */
#pragma once
#include "core/facts.h"
#include "core/reason.h"
#include "core/result.h"

enum weir_event_type {
	WEIR_EV_VERDICT = 1, /* ring verdicts; struct weir_ev_verdict */
	WEIR_EV_FLOW = 2,    /* ring telemetry; the same body: a new flow was judged */
	WEIR_EV_DNS = 3,     /* ring telemetry; struct weir_ev_dns */
};

enum { WEIR_HOOK_XDP = 1, WEIR_HOOK_TC_IN = 2, WEIR_HOOK_TC_OUT = 3, WEIR_HOOK_GUARD = 4 };

struct weir_event {
	uint64_t time;       /* ns since boot, CLOCK_BOOTTIME */
	uint32_t type, size; /* size of the whole record */
	uint32_t epoch, generation;
};

struct weir_ev_verdict {
	struct weir_event h;
	struct weir_tuple t;    /* the originator's view where a direction is known, else the packet's */
	struct weir_tuple orig; /* before NAT; all zero when there was none */
	struct weir_result res;
	uint32_t ifindex, in_ifindex, out_ifindex;
	uint32_t len;           /* bytes of the frame */
	uint64_t flow_id;       /* 0 = no flow */
	uint32_t suppressed;    /* like events since the last one of this flow */
	uint16_t vlan[2];
	uint8_t hook, dir, proto, family;
	uint8_t icmp_type, icmp_code, tcp_flags, from_responder;
	uint8_t smac[6], dmac[6];
	uint16_t ethertype, pad0;
};

#define WEIR_DNS_MAX 512 /* bytes of payload that are looked at, RFC 1035 section 4.2.1 */

struct weir_ev_dns {
	struct weir_event h;
	struct weir_tuple t;    /* of the packet: server to client */
	uint32_t len, pad;      /* bytes in data */
	uint8_t data[WEIR_DNS_MAX];
};

/* Shared counters beside the reasons: index into the statistics map after WEIR_REASON_COUNT * 3. */
enum weir_stat {
	WEIR_STAT_EV_VERDICT, /* records handed to a ring */
	WEIR_STAT_EV_TELEMETRY,
	WEIR_STAT_LOST_VERDICT, /* records that a full ring refused */
	WEIR_STAT_LOST_TELEMETRY,
	WEIR_STAT_SUPPRESSED, /* repeats of one flow within a second: counted in the next record */
	WEIR_STAT_FLOW_NEW,
	WEIR_STAT_FLOW_PROMOTED,
	WEIR_STAT_FLOW_ADOPTED,
	WEIR_STAT_FLOW_FAST, /* packets of settled flows, the short path */
	WEIR_STAT_ERROR,     /* map operations that failed */
	WEIR_STAT_REJECT_SENT,
	WEIR_STAT_REJECT_LIMITED,
	WEIR_STAT_GUARD, /* packets that the guard dropped */
	WEIR_STAT_COUNT = 32,
};
#define WEIR_STATS_MAX (WEIR_REASON_COUNT * 3 + WEIR_STAT_COUNT)

struct weir_counter {
	uint64_t packets, bytes;
};

/* One word of shared, changeable state for all programs: weir_control[0]. */
struct weir_control {
	uint32_t ban_edit;    /* raised by every change of the ban map */
	uint32_t flags;
	uint64_t adopt_until; /* ns since boot; mid-stream packets are adopted until then */
	uint32_t generation, epoch, mode, pad; /* of the image in force: for who finds the pins later */
	uint64_t reserved[4];
};
_Static_assert(sizeof(struct weir_control) == 64, "ABI");

/* Bans: an LPM trie over 128-bit addresses (IPv4 mapped). */
struct weir_ban_key {
	uint32_t prefixlen; /* of 128 */
	uint8_t addr[16];
};

struct weir_ban {
	uint64_t until; /* ns since boot, CLOCK_BOOTTIME; 0 = no end */
	uint32_t id, mode; /* enum weir_mode, ceiling not applied */
};

/* What the programs know of an interface: map weir_ifaces, key ifindex. */
enum {
	WEIR_IF_BRIDGE_PORT = 1, /* frames to this host are judged at the bridge */
	WEIR_IF_L3 = 2,          /* no Ethernet header */
	WEIR_IF_LO = 4,
	WEIR_IF_SLAVE = 8,       /* member of a bond or team: judged at the master */
	WEIR_IF_UPPER = 16,      /* stands on other devices: what it sends they need not judge */
	WEIR_IF_VLAN = 128,      /* a VLAN device: what it stands for is the first of a packet's tags */
	WEIR_IF_MACVLAN = 64,    /* a macvlan of this host stands on it: frames to its address are judged there */
	WEIR_IF_PPPOE = 32,      /* PPPoE ends on this host: its sessions are judged at the ppp device */
};

struct weir_iface {
	uint64_t pat, lower; /* pattern bits: own name; parents of a VLAN device */
	uint16_t vlan[2];    /* the tags that this device stands for, outer first */
	uint32_t flags;
};

/* Map weir_vlans: a tag on a parent that a VLAN device takes; judged there. Value: its ifindex. */
struct weir_vlan_key {
	uint32_t ifindex;
	uint32_t vid;
};
