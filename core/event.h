/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel tells user space. One fixed header, a typed body. Two rings: verdicts (drops, rejects,
 * what would have been, log lines), and telemetry (new flows, DNS answers), so that a flood of the second
 * never costs one of the first. Every record that does not fit is counted: generated = delivered + lost.
 */
#pragma once
#include "core/clock.h"
#include "core/facts.h"
#include "core/reason.h"
#include "core/result.h"
#include "core/wire.h"

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
	/* failures, each with the behaviour that the policy chose (failures:) */
	WEIR_STAT_FAIL_DAEMON,    /* packets judged while the daemon was dead, and the policy says what then */
	WEIR_STAT_FAIL_TABLE,     /* flows that a table refused */
	WEIR_STAT_FAIL_FRAGMENT,  /* later fragments whose first one is not known */
	WEIR_STAT_FAIL_RING,      /* records that were held back because a ring was nearly full (throttle) */
	WEIR_STAT_FAIL_STUB,      /* a root program found no generation in its slot */
	WEIR_STAT_CANARY,         /* own test frames that reached a hook: it runs */
	WEIR_STAT_COUNT = 32,
};
#define WEIR_STATS_MAX (WEIR_REASON_COUNT * 3 + WEIR_STAT_COUNT)

struct weir_counter {
	uint64_t packets, bytes;
};

/*
 * Which of two generations decides. While a change waits for its confirmation every hook leads to a root program
 * that reads this one word, written and read as a whole: until `deadline` (milliseconds since boot) the generation
 * in slot `now` decides, then the one in slot `back`, whoever is still alive. 0: the hooks lead straight to their
 * programs. A word whose deadline is WEIR_WORD_NEVER is settled; somebody has still to move the hooks.
 *
 *   63..24 deadline    15..8 slot now    7..0 slot back
 */
#define WEIR_WORD_NEVER 0xffffffffffull
#define WEIR_GEN_SLOTS 4 /* two that wait, and two that an edit puts in their place */

WEIR_INLINE uint64_t weir_word_make(uint64_t deadline_ms, uint32_t now, uint32_t back)
{
	return deadline_ms << 24 | (uint64_t)(now & 0xff) << 8 | (back & 0xff);
}

WEIR_INLINE uint64_t weir_word_deadline(uint64_t word)
{
	return word >> 24;
}

/* The slots of the two as such. */
WEIR_INLINE uint32_t weir_word_now(uint64_t word)
{
	return (uint32_t)(word >> 8) & 0xff;
}

WEIR_INLINE uint32_t weir_word_back(uint64_t word)
{
	return (uint32_t)word & 0xff;
}

WEIR_INLINE uint32_t weir_word_slot(uint64_t word, uint64_t now_ms)
{
	return now_ms < weir_word_deadline(word) ? (uint32_t)(word >> 8) & 0xff : (uint32_t)word & 0xff;
}

/* Shared, changeable state for all programs: weir_control[0], mapped by the keeper, who writes it field by field. */
struct weir_control {
	uint64_t word;        /* see above */
	uint64_t alive;       /* the keeper's last sign of life, ns since boot; UINT64_MAX: it was ended on purpose */
	uint64_t adopt_until; /* ns since boot; mid-stream packets are adopted until then */
	uint32_t edit;    /* raised by every change of bans, blocklists and single rules: flows are judged again */
	uint32_t flags;
	uint32_t generation, epoch, mode, guard;                     /* of what was put in force last; guard: it needs one */
	uint32_t back_generation, back_epoch, back_mode, back_guard; /* with a word: of what it goes back to */
	uint32_t epoch_max;   /* the highest epoch that any image had: never used again */
	/* with a word: the slot of what it goes back to, also after the word was settled; else WEIR_GEN_SLOTS */
	uint32_t back_slot;
	uint64_t table_full;  /* written by the programs: ns since boot of the last flow that a table refused */
	uint64_t canary;      /* the secret of the keeper's test frames; 0: there are none */
	uint32_t back_idle_s, pad; /* with a word: how long flows of what it goes back to may be silent */
	uint64_t limit_seed;  /* secret of the buckets' keys; written once */
	uint64_t caught_until; /* written by the programs: when the last ban of theirs ends, ns since boot */
	uint32_t asked;        /* written by the programs: jiffies of the last multicast query of this host, 0: none */
	uint32_t ifaces;       /* raised by every change of what is known of interfaces, behind the change */
	uint64_t crowded;      /* written by the programs: ns since boot when half-open flows were pushed out last within seconds */
	struct weir_clock clock[2]; /* the time of day: two, so that the other one is written */
	uint32_t clock_at;          /* which is read */
	uint32_t clock_used;        /* the newest image has windows of the time of day */
};
_Static_assert(sizeof(struct weir_control) == 360, "ABI");

/* Does the word still say that one of two decides, and the other may? Not when it is settled or left over. */
WEIR_INLINE bool weir_control_waits(const struct weir_control *c, uint64_t word)
{
	return word && weir_word_deadline(word) != WEIR_WORD_NEVER && c->back_slot < WEIR_GEN_SLOTS;
}

/*
 * A test frame: sent out of a covered interface now and then, counted and dropped by the program at its egress, in
 * every mode. The secret is the first thing behind the header of the link.
 */
#define WEIR_CANARY_TYPE 0x88b5u /* IEEE 802 local experimental EtherType 1 */
#define WEIR_CANARY_LEN 46u      /* a whole frame on Ethernet */

/* Bans: an LPM trie over 128-bit addresses (IPv4 mapped). */
struct weir_ban_key {
	uint32_t prefixlen; /* of 128 */
	uint8_t addr[16];
};

/*
 * Bans that the programs make, for a rule or a limit. A map that forgets the oldest, so that no flood can fill it and none
 * takes the place of a ban that a person made. The source address; of IPv6 its /64, for the rest costs an attacker nothing.
 * Where this host lives itself, and among link-local addresses, it is the address alone: the /64 holds its neighbours.
 */
struct weir_caught_key {
	uint8_t addr[16];
};

#define WEIR_OWN_MAX 4096 /* addresses of this host and their networks that no ban by a rule hits */

struct weir_caught {
	uint64_t until;       /* ns since boot */
	uint32_t rule, epoch; /* what banned it, as an event of that epoch would name it */
};

WEIR_INLINE void weir_caught_key(const uint8_t addr[16], struct weir_caught_key *ret)
{
	__builtin_memcpy(ret->addr, addr, 16);
	if (!weir_addr_is_v4(addr))
		__builtin_memset(ret->addr + 8, 0, 8);
}

/* Does the key stand for an address, not for a /64? An address whose last half is zero is never caught alone. */
WEIR_INLINE bool weir_caught_alone(const uint8_t addr[16])
{
	return weir_addr_is_v4(addr) || weir_be64(addr + 8);
}

/*
 * No stranger has it: unspecified, loopback, multicast, broadcast. Of IPv6 all of ::/64, where the first two stand. The
 * host's own addresses are in a map.
 */
WEIR_INLINE bool weir_caught_never(const uint8_t addr[16])
{
	if (weir_addr_is_v4(addr))
		return !addr[12] || addr[12] == 127 || addr[12] >= 224;
	return addr[0] == 0xff || !weir_be64(addr);
}

WEIR_INLINE bool weir_caught_link_local(const uint8_t addr[16])
{
	return addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80;
}

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
	WEIR_IF_BRIDGE = 512,    /* a bridge: what it receives came in by one of its ports */
	WEIR_IF_TEST = 256,      /* lo, before the first hook leads here: packets of the self-test leave no trace */
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
