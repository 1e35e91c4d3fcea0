/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counting and telling. The only place that reserves ring space: what does not fit is counted, so that
 * generated = delivered + lost holds for each ring.
 */
#pragma once
#include "bpf/image_maps.h"
#include "core/wake.h"

WEIR_INLINE void weir_count(uint32_t index, uint64_t packets, uint64_t bytes)
{
	uint32_t key = index;
	struct weir_counter *c = bpf_map_lookup_elem(&weir_stats, &key);

	if (c) {
		c->packets += packets;
		c->bytes += bytes;
	}
}

WEIR_INLINE void weir_stat(uint32_t stat)
{
	weir_count(WEIR_REASON_COUNT * 3 + stat, 1, 0);
}

WEIR_INLINE void weir_count_result(const struct weir_scratch *s)
{
	uint32_t verdict = s->res.enforced > WEIR_REJECT ? WEIR_DROP : s->res.enforced;

	weir_count((uint32_t)(s->res.enforced_reason & (WEIR_REASON_COUNT - 1)) * 3 + verdict, s->segs, s->len);
}

/* `counter`: see weir_counter_of. */
WEIR_INLINE void weir_hit(uint32_t counter, uint32_t packets, uint32_t bytes)
{
	struct weir_counter *c = bpf_map_lookup_elem(&weir_hits, &counter);

	if (c) {
		c->packets += packets;
		c->bytes += bytes;
	}
}

WEIR_INLINE void weir_hit_rule(const struct weir_scratch *s, uint32_t rule)
{
	uint32_t counter = weir_counter_of(weir_config(), rule);

	if (counter != WEIR_RULE_NONE)
		weir_hit(counter, s->segs, s->len);
}

/*
 * One hit for what the policy wants applied: a rule, a default, a limit, a blocklist; where that is staged one for what
 * really decided, too, but for the default that stands behind a mode of detect. And one for the rule that logs or bans
 * beside them. What goes beyond a bound of its flow no rule has met again.
 */
WEIR_INLINE void weir_count_hit(const struct weir_scratch *s)
{
	const struct weir_result *r = &s->res;
	bool decided = r->enforced != WEIR_PASS || weir_config()->mode == WEIR_PREVENT || r->wanted_rule == WEIR_RULE_NONE;

	if (r->wanted_reason == WEIR_REASON_FLOW_BOUND)
		return;
	weir_hit_rule(s, r->wanted_rule);
	if (decided && r->enforced_rule != r->wanted_rule)
		weir_hit_rule(s, r->enforced_rule);
	if (r->log_rule != r->wanted_rule && r->log_rule != r->enforced_rule)
		weir_hit_rule(s, r->log_rule);
}

/* When the packet came, in ns since boot: the time that its judge read, if he did. */
WEIR_INLINE uint64_t weir_time(const struct weir_scratch *s)
{
	return s->time ? s->time : bpf_ktime_get_boot_ns();
}

WEIR_INLINE void weir_event_fill(struct weir_ev_verdict *e, const struct weir_scratch *s, uint32_t type,
				 uint32_t suppressed, uint64_t flow_id)
{
	const struct weir_pkt *p = &s->pkt;

	__builtin_memset(e, 0, sizeof *e);
	e->h.time = weir_time(s);
	e->h.type = type;
	e->h.size = sizeof *e;
	e->h.epoch = weir_config()->epoch;
	e->h.generation = weir_config()->generation;
	if (s->facts.dir) {
		e->t = s->facts.t;
		if (s->facts.has_orig)
			e->orig = s->facts.orig;
		e->from_responder = !weir_addr_equal(e->t.src, p->t.src);
	} else {
		e->t = p->t;
	}
	e->res = s->res;
	e->ifindex = s->ifindex;
	e->in_ifindex = s->in_ifindex;
	e->out_ifindex = s->hook == WEIR_HOOK_TC_OUT ? s->ifindex : 0;
	e->len = s->len;
	e->flow_id = flow_id;
	e->suppressed = suppressed;
	e->vlan[0] = p->vlan[0];
	e->vlan[1] = p->vlan[1];
	e->hook = (uint8_t)s->hook;
	e->dir = s->facts.dir;
	e->proto = p->proto;
	e->family = p->family;
	e->icmp_type = p->icmp_type;
	e->icmp_code = p->icmp_code;
	e->tcp_flags = p->tcp_flags;
	__builtin_memcpy(e->smac, p->smac, 6);
	__builtin_memcpy(e->dmac, p->dmac, 6);
	e->ethertype = p->ethertype;
}

/* The drill of a full ring: where it is only counted there is no room; where it is throttled there is little. */
WEIR_INLINE bool weir_ring_closed(void)
{
	return weir_simulates(weir_config(), WEIR_FAILURE_RING_FULL) &&
	       weir_config()->failures.choice[WEIR_FAILURE_RING_FULL] != WEIR_RING_THROTTLE;
}

enum { WEIR_RING_VERDICTS, WEIR_RING_TELEMETRY };

/* Bytes that wait for the reader, and how many there is room for. */
WEIR_INLINE void weir_ring_fill(uint32_t ring, uint64_t *used, uint64_t *size)
{
	if (ring == WEIR_RING_VERDICTS) {
		*used = bpf_ringbuf_query(&weir_verdicts, BPF_RB_AVAIL_DATA);
		*size = bpf_ringbuf_query(&weir_verdicts, BPF_RB_RING_SIZE);
	} else {
		*used = bpf_ringbuf_query(&weir_telemetry, BPF_RB_AVAIL_DATA);
		*size = bpf_ringbuf_query(&weir_telemetry, BPF_RB_RING_SIZE);
	}
}

/* May a record about this packet's remote end be written to that ring? report.bpf.c */
int weir_ring_admits(uint32_t ring);

WEIR_INLINE bool weir_ring_held(uint32_t ring)
{
	return weir_config()->failures.choice[WEIR_FAILURE_RING_FULL] == WEIR_RING_THROTTLE && !weir_ring_admits(ring);
}

/* How to hand a record over. A quarter of the ring is enough to wake its reader: he has the rest to come in time. */
WEIR_INLINE uint64_t weir_announce(uint32_t ring)
{
	uint32_t zero = 0, wake = WEIR_WAKE_YES;
	struct weir_local *l = bpf_map_lookup_elem(&weir_local, &zero);
	uint64_t used, size;

	if (l)
		wake = weir_wake_due(&l->wake, (uint32_t)bpf_jiffies64(), weir_config()->hz);
	if (wake == WEIR_WAKE_IF_FULL) {
		weir_ring_fill(ring, &used, &size);
		wake = used > size / 4;
	}
	return wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

WEIR_INLINE void weir_emit_verdict(const struct weir_scratch *s, uint32_t suppressed, uint64_t flow_id)
{
	struct weir_ev_verdict *e;

	if (weir_ring_held(WEIR_RING_VERDICTS))
		return;
	e = weir_ring_closed() ? 0 : bpf_ringbuf_reserve(&weir_verdicts, sizeof *e, 0);
	if (!e) {
		weir_stat(WEIR_STAT_LOST_VERDICT);
		return;
	}
	weir_event_fill(e, s, WEIR_EV_VERDICT, suppressed, flow_id);
	bpf_ringbuf_submit(e, weir_announce(WEIR_RING_VERDICTS));
	weir_stat(WEIR_STAT_EV_VERDICT);
}

WEIR_INLINE void weir_emit_flow(const struct weir_scratch *s, uint64_t flow_id)
{
	struct weir_ev_verdict *e;

	if (weir_ring_held(WEIR_RING_TELEMETRY))
		return;
	e = weir_ring_closed() ? 0 : bpf_ringbuf_reserve(&weir_telemetry, sizeof *e, 0);
	if (!e) {
		weir_stat(WEIR_STAT_LOST_TELEMETRY);
		return;
	}
	weir_event_fill(e, s, WEIR_EV_FLOW, 0, flow_id);
	bpf_ringbuf_submit(e, weir_announce(WEIR_RING_TELEMETRY));
	weir_stat(WEIR_STAT_EV_TELEMETRY);
}

/* May this conversation be reported now? See weir_told_due. */
WEIR_INLINE uint32_t weir_report_due(const struct weir_flow_key *key)
{
	uint64_t hash = weir_told_hash(key);
	uint32_t at = weir_told_set(hash);
	struct weir_told *set = bpf_map_lookup_elem(&weir_told, &at);

	return set ? weir_told_due(set, hash, key, (uint32_t)bpf_jiffies64(), weir_config()->hz) : 1;
}

/* Tell of a verdict that is no plain pass, or count that it was held back. */
WEIR_INLINE void weir_tell(const struct weir_scratch *s, uint64_t flow_id)
{
	uint32_t due = weir_report_due(&s->key);

	if (due)
		weir_emit_verdict(s, due - 1, flow_id);
	else
		weir_stat(WEIR_STAT_SUPPRESSED);
}

/* A copy of a DNS answer for the name table; only watched, never waited for. */
WEIR_INLINE void weir_emit_dns(struct __sk_buff *skb, const struct weir_scratch *s)
{
	const struct weir_pkt *p = &s->pkt;
	struct weir_ev_dns *e;
	uint32_t len = p->payload_len;

	if (p->proto != WEIR_IPPROTO_UDP || p->t.sport != 53 || p->frag == WEIR_FRAG_LATER || len < 12)
		return;
	if (s->ifflags & WEIR_IF_TEST)
		return;
	if (len > WEIR_DNS_MAX)
		len = WEIR_DNS_MAX;
	if (weir_ring_held(WEIR_RING_TELEMETRY))
		return;
	e = weir_ring_closed() ? 0 : bpf_ringbuf_reserve(&weir_telemetry, sizeof *e, 0);
	if (!e) {
		weir_stat(WEIR_STAT_LOST_TELEMETRY);
		return;
	}
	__builtin_memset(&e->h, 0, sizeof e->h);
	e->h.time = bpf_ktime_get_boot_ns();
	e->h.type = WEIR_EV_DNS;
	e->h.size = sizeof *e;
	e->t = p->t;
	e->len = len;
	e->pad = 0;
	/* 5.10 wants to see the upper bound next to the call */
	asm volatile("" : "+r"(len));
	if (len > WEIR_DNS_MAX || len < 12 || bpf_skb_load_bytes(skb, p->l4_off + 8u, e->data, len)) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return;
	}
	bpf_ringbuf_submit(e, weir_announce(WEIR_RING_TELEMETRY));
	weir_stat(WEIR_STAT_EV_TELEMETRY);
}
