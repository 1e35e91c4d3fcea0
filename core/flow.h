/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows: the key, what is kept for each, and the steps of their life. Three tables use it: `half`, small, for
 * what only one side has spoken in; `flows`, where only TCP gets whose handshake has numbers that fit; and `talks` for what
 * has no handshake, once it was answered: hosts answer forged sources, too, and a flood of those must not push out a live
 * connection.
 */
#pragma once
#include "core/facts.h"
#include "core/image.h"
#include "core/reason.h"
#include "core/wire.h"

/* The two ends in a fixed order (lower address, then lower port, first): both directions find one entry. */
struct weir_flow_key {
	uint8_t a[16], b[16];
	uint16_t aport, bport;
	uint32_t zone; /* as in struct weir_tuple */
};
_Static_assert(sizeof(struct weir_flow_key) == 40, "ABI");

/* weir_flow_half.flags: what this side has sent */
enum {
	WEIR_FH_SEEN = 1,
	WEIR_FH_SYN = 2,    /* originator: SYN; responder: a SYN-ACK that fits it */
	WEIR_FH_FIN = 4,
	WEIR_FH_RST = 8,
	WEIR_FH_ACK = 16,   /* last_ack is real */
	WEIR_FH_SENT = 32,  /* sent_to is real */
};

/* One direction's share; each runs on its own CPU, so each has its own cache line. */
struct weir_flow_half {
	uint64_t packets, bytes; /* bytes of IP packets */
	uint32_t last;           /* jiffies, low 32 bits */
	uint32_t next_seq;       /* TCP: sequence number after the SYN */
	uint32_t flags;
	uint32_t last_ack;       /* TCP: the newest acknowledgement that this side sent */
	uint32_t sent_to;        /* TCP: sequence number behind what this side sent without a gap */
	uint32_t pad0;
	uint64_t pad[3];
};
_Static_assert(sizeof(struct weir_flow_half) == 64, "ABI");

/* weir_flow.flags */
enum {
	WEIR_FF_ORIG_B = 1,   /* end b of the key opened it */
	WEIR_FF_ADOPTED = 2,  /* older than the firewall */
	WEIR_FF_KEPT = 4,     /* not allowed by the policy in force, kept by flows.established */
	WEIR_FF_NAT = 8,      /* peer holds the key of its other face */
	WEIR_FF_ICMP_ERR = 16,
	WEIR_FF_PEER_B = 32,  /* end b of that key opened it: translation may change the order of the ends */
	WEIR_FF_FAR = 64,     /* the rules judged the other face, and will again: ports are translated, too */
	WEIR_FF_LISTED = 128, /* a ban or a blocklist stops what the rules had let in */
};

/* weir_flow.bound */
enum {
	WEIR_FB_STAGED = 1, /* the rule is in mode detect: told, not done */
	WEIR_FB_BYTES = 2,  /* a packet came that did not fit into max_bytes: no other will */
};

/*
 * In the tables it stands behind 48 bytes of the kernel's and the key: its first 40 bytes end a line of the cache with the
 * key's end, each half has a line, and an entry is six lines. So a packet of a settled flow touches the key, what is asked
 * of every packet, and the half of its own direction.
 */
struct weir_flow {
	uint32_t epoch, edit;  /* image epoch and edit number that judged it last */
	uint8_t dir, flags, enforced, enforced_reason;
	uint8_t bound, wanted, wanted_reason, family; /* bound: WEIR_FB_* */
	uint32_t idle;         /* seconds, 0: as all flows; this and the next two from the rule that let it in */
	uint32_t max_duration; /* seconds, 0: none */
	uint64_t max_bytes;    /* both directions together, 0: none */
	uint32_t wanted_rule, enforced_rule;
	/* seldom asked for */
	uint64_t id;
	uint64_t created;      /* ns since boot */
	uint32_t generation;   /* that judged it last */
	uint32_t in_ifindex, out_ifindex;
	uint32_t orig_iif;
	uint32_t class_id, module; /* reserved: QoS class, inspector */
	uint64_t process;          /* reserved: process identity */
	uint32_t kept_by;          /* with WEIR_FF_KEPT: what would have denied it, see weir_rejudge */
	uint32_t pad;
	struct weir_flow_key peer; /* with WEIR_FF_NAT: the other face of a translated flow */
	uint64_t pad1[4];
	struct weir_flow_half half[2]; /* [0] a->b, [1] b->a */
};
_Static_assert(offsetof(struct weir_flow, id) == 40 && offsetof(struct weir_flow, half) == 168 && sizeof(struct weir_flow) == 296,
	       "ABI, and lines of the cache");

/* Returns 0 when the packet runs from end a to end b, else 1. */
WEIR_INLINE uint32_t weir_flow_key_of(const struct weir_tuple *t, struct weir_flow_key *k)
{
	uint64_t sh = weir_be64(t->src), sl = weir_be64(t->src + 8);
	uint64_t dh = weir_be64(t->dst), dl = weir_be64(t->dst + 8);
	bool swap = sh != dh ? sh > dh : sl != dl ? sl > dl : t->sport > t->dport;

	k->zone = t->zone;
	if (swap) {
		weir_copy16(k->a, t->dst);
		weir_copy16(k->b, t->src);
		k->aport = t->dport;
		k->bport = t->sport;
		return 1;
	}
	weir_copy16(k->a, t->src);
	weir_copy16(k->b, t->dst);
	k->aport = t->sport;
	k->bport = t->dport;
	return 0;
}

/* The originator's tuple back from key and flow. */
WEIR_INLINE void weir_flow_tuple(const struct weir_flow_key *k, uint32_t flags, struct weir_tuple *t)
{
	bool b = flags & WEIR_FF_ORIG_B;

	weir_copy16(t->src, b ? k->b : k->a);
	weir_copy16(t->dst, b ? k->a : k->b);
	t->sport = b ? k->bport : k->aport;
	t->dport = b ? k->aport : k->bport;
	t->zone = k->zone;
}

/* Index of the originator's half. */
WEIR_INLINE uint32_t weir_flow_orig(const struct weir_flow *f)
{
	return f->flags & WEIR_FF_ORIG_B ? 1 : 0;
}

/* Is it this host that sends from end `side`? */
WEIR_INLINE bool weir_flow_ours(const struct weir_flow *f, uint32_t side)
{
	return f->dir == WEIR_DIR_IN ? (side & 1) != weir_flow_orig(f) :
				       f->dir == WEIR_DIR_OUT && (side & 1) == weir_flow_orig(f);
}

#define WEIR_HALF_TCP_S 60   /* a handshake may take that long (Linux: 6 SYN retries span 63 s) */
#define WEIR_HALF_OTHER_S 30
#define WEIR_CLOSED_S 30     /* after both FIN or a RST; whoever goes on to speak takes a RST back, a FIN stays */
#define WEIR_UDP_S 180
#define WEIR_LIFE_MIN_S 30   /* the least of them all */
#define WEIR_CROWD 4000u     /* flows that a CPU begins in a second: the half-open ones are pushed out before they prove themselves */
#define WEIR_CROWD_S 10      /* so long after it the last packet of a handshake may find nothing of the first */
#define WEIR_END_WINDOW (1u << 20) /* sequence numbers from what was acknowledged, in which a FIN is believed */

enum { WEIR_LATE_ACK = 1, WEIR_LATE_ANSWER = 2 };

/*
 * A packet of a handshake whose first was pushed out by a flood since: the last is judged as its sender's conversation, the
 * answer as the other side's. The stack that it reaches knows whether it asked for it, by its own table or by a cookie, and
 * resets all others; a reset proves no flow. `crowded`: when that happened last, ns since boot; 0: never.
 */
WEIR_INLINE uint32_t weir_flow_late(const struct weir_pkt *p, uint32_t dir, uint64_t crowded, uint64_t now)
{
	uint32_t flags = p->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK | WEIR_TCP_FIN | WEIR_TCP_RST);

	if (!crowded || dir == WEIR_DIR_OUT || (int64_t)(now - crowded) >= WEIR_CROWD_S * 1000000000ll)
		return 0;
	return flags == WEIR_TCP_ACK ? WEIR_LATE_ACK : flags == (WEIR_TCP_SYN | WEIR_TCP_ACK) ? WEIR_LATE_ANSWER : 0;
}

/* Seconds without a packet after which the entry counts as gone. */
WEIR_INLINE uint32_t weir_flow_timeout(const struct weir_flow *f, uint32_t proto, bool half, uint32_t idle_s)
{
	uint32_t s = idle_s;
	uint32_t both = f->half[0].flags & f->half[1].flags, any = f->half[0].flags | f->half[1].flags;

	if (half)
		s = proto == WEIR_IPPROTO_TCP ? WEIR_HALF_TCP_S : WEIR_HALF_OTHER_S;
	else if (proto != WEIR_IPPROTO_TCP)
		s = WEIR_UDP_S;
	else if ((both & WEIR_FH_FIN) || (any & WEIR_FH_RST))
		s = WEIR_CLOSED_S;
	return s < idle_s ? s : idle_s;
}

/*
 * Bounds. An allow rule may say how long a flow may last, how long it may be silent and how many bytes it may have. A
 * flow carries them itself, so they hold whatever becomes of the rule, of the daemon, or of the policy that it is kept
 * against. Silence is a bound of the entry's life; the other two deny it, for as long as anybody goes on to send.
 */
WEIR_INLINE uint32_t weir_flow_idle_of(const struct weir_flow *f, uint32_t idle_s)
{
	return f->idle && !(f->bound & WEIR_FB_STAGED) && f->idle < idle_s ? f->idle : idle_s;
}

WEIR_INLINE bool weir_flow_bounded(const struct weir_flow *f)
{
	return f->max_duration || f->max_bytes || f->idle;
}

/* Had the rules let it in when they were asked last, whatever stops it since? */
WEIR_INLINE bool weir_flow_let_in(const struct weir_flow *f)
{
	return f->enforced == WEIR_PASS || f->enforced_reason == WEIR_REASON_FLOW_BOUND || (f->flags & WEIR_FF_LISTED);
}

/* Take over the bounds of a rule; NULL: it has none. */
WEIR_INLINE void weir_flow_bind(struct weir_flow *f, const struct weir_rule *r, bool staged)
{
	uint64_t bytes = r ? r->max_bytes : 0;

	f->bound = (uint8_t)((staged ? WEIR_FB_STAGED : 0) | (bytes && bytes <= f->max_bytes ? f->bound & WEIR_FB_BYTES : 0));
	f->max_bytes = bytes;
	f->max_duration = r ? r->max_duration : 0;
	f->idle = r ? r->idle : 0;
}

/* Is this packet, of `bytes`, beyond a bound of its flow? */
WEIR_INLINE bool weir_flow_over(struct weir_flow *f, uint64_t bytes, uint64_t now_ns)
{
	if (f->max_duration && now_ns > f->created && now_ns - f->created > f->max_duration * 1000000000ull)
		return true;
	if (!f->max_bytes)
		return false;
	if (f->half[0].bytes + f->half[1].bytes + bytes > f->max_bytes)
		f->bound |= WEIR_FB_BYTES;
	return f->bound & WEIR_FB_BYTES;
}

WEIR_INLINE bool weir_flow_closing(const struct weir_flow *f)
{
	return (f->half[0].flags & f->half[1].flags & WEIR_FH_FIN) ||
	       ((f->half[0].flags | f->half[1].flags) & WEIR_FH_RST);
}

/*
 * Who opened says that it is over: a FIN or RST of numbers that the other end waits for. Beyond a bound nobody hears it, but
 * a SYN after it opens another conversation of the same ends. Without it a SYN is one more packet of the bounded one.
 */
WEIR_INLINE void weir_flow_stopped(struct weir_flow *f, const struct weir_pkt *p, uint32_t side, uint32_t now)
{
	struct weir_flow_half *me = &f->half[side & 1];
	const struct weir_flow_half *you = &f->half[~side & 1];

	me->last = now;
	if (p->proto != WEIR_IPPROTO_TCP || !(p->tcp_flags & (WEIR_TCP_FIN | WEIR_TCP_RST)))
		return;
	if ((you->flags & WEIR_FH_ACK) && p->seq - you->last_ack <= WEIR_END_WINDOW)
		me->flags |= p->tcp_flags & WEIR_TCP_RST ? WEIR_FH_RST : WEIR_FH_FIN;
}

/* Does a SYN of who opened it find the conversation over? */
WEIR_INLINE bool weir_flow_left(const struct weir_flow *f)
{
	if (f->enforced_reason == WEIR_REASON_FLOW_BOUND)
		return weir_flow_closing(f) || (f->half[weir_flow_orig(f)].flags & (WEIR_FH_FIN | WEIR_FH_RST));
	return weir_flow_closing(f) || f->enforced != WEIR_PASS;
}

/*
 * Another CPU may have written a moment that is still to come here: 0 then. Only a few seconds of the 32 bits
 * are given to that, or an entry would be young again after half their range (24 days at 1,000 Hz).
 */
WEIR_INLINE uint32_t weir_jiffies_since(uint32_t then, uint32_t now, uint32_t hz)
{
	return then - now <= 8 * hz ? 0 : now - then;
}

/*
 * Did this side speak so lately that the entry lives, whatever its state? It spares a look at the other half, which another
 * CPU writes.
 */
WEIR_INLINE bool weir_flow_young(const struct weir_flow *f, uint32_t side, uint32_t idle_s, uint32_t now, uint32_t hz)
{
	const struct weir_flow_half *me = &f->half[side & 1];
	uint32_t s = idle_s < WEIR_LIFE_MIN_S ? idle_s : WEIR_LIFE_MIN_S;

	return (me->flags & WEIR_FH_SEEN) && weir_jiffies_since(me->last, now, hz) < (s + 1) * hz;
}

WEIR_INLINE bool weir_flow_expired(const struct weir_flow *f, uint32_t proto, bool half, uint32_t idle_s,
				   uint32_t now, uint32_t hz)
{
	uint32_t rate = hz ? hz : 1;
	uint32_t age0 = weir_jiffies_since(f->half[0].last, now, rate);
	uint32_t age1 = weir_jiffies_since(f->half[1].last, now, rate);
	uint32_t age = !(f->half[0].flags & WEIR_FH_SEEN) ? age1 : !(f->half[1].flags & WEIR_FH_SEEN) ? age0 :
		       age0 < age1 ? age0 : age1;

	if (!f->epoch) /* seeded from what the kernel knew, not judged yet */
		return false;
	return age / rate > weir_flow_timeout(f, proto, half, idle_s);
}

/*
 * Where this side has come to. A segment counts that goes on from there, or from what the other end says that it waits for
 * (behind a gap): one who cannot see the conversation does not move it. The other half is read where that is needed only.
 */
WEIR_INLINE uint32_t weir_flow_sent(struct weir_flow_half *me, const struct weir_flow_half *you, const struct weir_pkt *p,
				    uint32_t flags)
{
	uint32_t len = p->payload_len + !!(p->tcp_flags & WEIR_TCP_SYN) + !!(p->tcp_flags & WEIR_TCP_FIN);

	if ((flags & WEIR_FH_SENT) && me->sent_to - p->seq > len &&
	    (!(you->flags & WEIR_FH_ACK) || you->last_ack - p->seq > len))
		return flags;
	me->sent_to = p->seq + len;
	return flags | WEIR_FH_SENT;
}

/*
 * RFC 5961: the receiver believes a RST at the very number that it waits for, and answers others with an acknowledgement
 * that the sender answers with the right one. So a blind RST cuts the life of no flow short.
 */
WEIR_INLINE bool weir_flow_resets(const struct weir_flow_half *me, const struct weir_flow_half *you, const struct weir_pkt *p)
{
	return !(you->flags & WEIR_FH_ACK) || p->seq == you->last_ack || ((me->flags & WEIR_FH_SENT) && p->seq == me->sent_to);
}

/* One packet of a flow that is let through: counts it and steps the state. `side` is 0 for a->b. */
WEIR_INLINE void weir_flow_step(struct weir_flow *f, const struct weir_pkt *p, uint32_t side, uint32_t now,
				uint32_t packets)
{
	struct weir_flow_half *me = &f->half[side & 1];
	const struct weir_flow_half *you = &f->half[~side & 1];
	bool orig = (side & 1) == weir_flow_orig(f);
	uint32_t flags = me->flags | WEIR_FH_SEEN, tcp = p->tcp_flags;

	me->packets += packets;
	me->bytes += p->ip_len;
	me->last = now;
	if (p->proto != WEIR_IPPROTO_TCP) {
		me->flags = flags;
		return;
	}
	if ((tcp & (WEIR_TCP_SYN | WEIR_TCP_FIN | WEIR_TCP_RST | WEIR_TCP_ACK)) == WEIR_TCP_ACK) { /* nearly all: the short way */
		me->flags = weir_flow_sent(me, you, p, flags & ~(uint32_t)WEIR_FH_RST) | WEIR_FH_ACK;
		me->last_ack = p->ack;
		return;
	}
	if (tcp & WEIR_TCP_RST) {
		if (weir_flow_resets(me, you, p))
			flags |= WEIR_FH_RST;
	} else {
		/* whoever goes on to speak has not reset */
		if (!(tcp & WEIR_TCP_SYN))
			flags &= ~(uint32_t)WEIR_FH_RST;
		else if (!(tcp & WEIR_TCP_ACK))
			flags &= ~(uint32_t)WEIR_FH_ACK; /* a new connection of the same ends begins */
		if ((tcp & WEIR_TCP_FIN) && (!(you->flags & WEIR_FH_ACK) || p->seq - you->last_ack <= WEIR_END_WINDOW))
			flags |= WEIR_FH_FIN;
		flags = weir_flow_sent(me, you, p, flags);
		if (tcp & WEIR_TCP_ACK) {
			me->last_ack = p->ack;
			flags |= WEIR_FH_ACK;
		}
	}
	if (orig && (tcp & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == WEIR_TCP_SYN) {
		me->next_seq = p->seq + 1;
		flags |= WEIR_FH_SYN;
	} else if (!orig && (tcp & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == (WEIR_TCP_SYN | WEIR_TCP_ACK) &&
		   (f->flags & WEIR_FF_ADOPTED || p->ack - you->next_seq <= 65535)) {
		/* the acknowledged bytes beyond the SYN are TCP fast open data */
		me->next_seq = p->seq + 1;
		flags |= WEIR_FH_SYN;
	}
	me->flags = flags;
}

/* After that step: has a half-open flow proved itself, and belongs into the table of promoted flows? */
WEIR_INLINE bool weir_flow_proved(const struct weir_flow *f, const struct weir_pkt *p, uint32_t side)
{
	const struct weir_flow_half *me = &f->half[side & 1], *you = &f->half[~side & 1];
	bool orig = (side & 1) == weir_flow_orig(f);
	uint32_t tcp = p->tcp_flags;

	if (p->proto != WEIR_IPPROTO_TCP)
		return you->flags & WEIR_FH_SEEN;
	if (f->flags & WEIR_FF_ADOPTED) /* a RST is how a host answers what it knows nothing of: forged ones, too */
		return (you->flags & WEIR_FH_SEEN) && !(tcp & WEIR_TCP_RST) && !((me->flags | you->flags) & WEIR_FH_RST);
	return orig && !(tcp & (WEIR_TCP_SYN | WEIR_TCP_RST)) && (tcp & WEIR_TCP_ACK) && (you->flags & WEIR_FH_SYN) &&
	       (me->flags & WEIR_FH_SYN) && p->ack - you->next_seq <= you->bytes; /* nothing is acknowledged that was not sent */
}
