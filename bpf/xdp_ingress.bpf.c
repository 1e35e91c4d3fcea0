/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * XDP: an accelerator. Drops early what TC would drop whatever it knows besides: malformed frames, and
 * sources that are banned, listed or above a limit, and that no failsafe entry could admit. It never allows, and it does
 * not use what it cannot know: VLAN tags that the hardware took off, marks, processes, directions.
 * Sees ingress only. Minimum kernel 5.10.
 */
#include "bpf/gate.h"
#include "bpf/lists.h"
#include "core/plain.h"

/* The entries of the failsafe, one after the other: could one of them admit it? */
__noinline int weir_xdp_admitted(uint32_t opens)
{
	struct weir_scratch *s = weir_scratch_get();
	const struct weir_config *cfg = weir_config();

	if (!s)
		return 1;
	/* inbound or forward, interface, MAC and mark unknown: a candidate that is only UNKNOWN is a doubt, too */
	for (uint32_t dir = WEIR_DIR_IN; dir <= WEIR_DIR_FWD; dir += WEIR_DIR_FWD - WEIR_DIR_IN) {
		weir_facts_init(&s->facts, &s->pkt, dir);
		s->facts.known = WEIR_K_PORTS | WEIR_K_ICMP | WEIR_K_TTL;
		weir_prepare();
		if (weir_classify_next(0, cfg, WEIR_FAILSAFE, &s->facts, 0, 0) != WEIR_SCAN_END)
			return 1;
		if (opens)
			continue;
		weir_reverse();
		if (weir_classify_next(0, cfg, WEIR_FAILSAFE, &s->facts, 0, WEIR_SKIP_ONE_WAY) != WEIR_SCAN_END)
			return 1;
	}
	return 0;
}

/* Could a stage before the lists let it pass? When in doubt, TC decides. */
WEIR_INLINE bool weir_xdp_doubt(struct weir_scratch *s)
{
	bool opens = weir_opens(&s->pkt);

	if (s->pkt.vlan[0] || s->pkt.frag || (s->pkt.has & WEIR_HAS_INNER)) /* or an ICMP error about a flow */
		return true;
	if (weir_asked(s->pkt.proto)) {
		s->asker.port = s->pkt.t.dport;
		weir_copy16(s->asker.addr, s->pkt.t.dst);
		if (bpf_map_lookup_elem(&weir_askers, &s->asker))
			return true;
	}
	return weir_gate_open(&s->pkt, WEIR_DIR_IN | WEIR_DIR_FWD, opens) && weir_xdp_admitted(opens);
}

/* A packet of the self-test? It is run at lo, which has the number 1 in every namespace. */
WEIR_INLINE bool weir_xdp_testing(const struct weir_scratch *s)
{
	const struct weir_iface *i;
	uint32_t key = 1;

	if (s->ifindex != key)
		return false;
	i = bpf_map_lookup_elem(&weir_ifaces, &key);
	return i && (i->flags & WEIR_IF_TEST);
}

/*
 * It is a limit that stops it, so TC never sees it: what the limits before that one count of it is taken here, and where one
 * of them finds its own bucket empty, that one decides, as at TC.
 */
WEIR_INLINE void weir_xdp_charge(struct weir_scratch *s)
{
	if (s->res.enforced_reason != WEIR_REASON_LIMIT || s->res.enforced_rule == WEIR_RULE_LIMIT || weir_xdp_testing(s))
		return;
	s->res2 = s->res;
	weir_result_init(&s->res);
	if (!weir_limit_stage(WEIR_LIMIT_FLOOD)) /* a token came in between: it was refused all the same */
		s->res = s->res2;
}

/* Is a bucket of its source empty? Then TC would drop it, too; not a bridge's, whose port has just taken this packet's token. */
WEIR_INLINE bool weir_xdp_limited(struct weir_scratch *s)
{
	const struct weir_iface *i;

	if (!weir_limit_here(s))
		return false;
	i = bpf_map_lookup_elem(&weir_ifaces, &s->ifindex);
	if (i)
		s->ifflags = i->flags & WEIR_IF_BRIDGE;
	return weir_limit_here(s) && !weir_xdp_testing(s) && weir_limit_stage(WEIR_LIMIT_FLOOD | WEIR_LIMIT_PEEK);
}

/* Is there a ban of a rule or a limit in force? */
WEIR_INLINE bool weir_xdp_catches(const struct weir_control *ctl)
{
	return ctl->caught_until && ctl->caught_until > bpf_ktime_get_boot_ns();
}

/* Is there a ban of its source? Whatever it says, its say is first. */
WEIR_INLINE bool weir_xdp_banned(struct weir_scratch *s, const struct weir_plain *p)
{
	s->ban_key.prefixlen = 128;
	weir_plain_source(p, s->ban_key.addr);
	return bpf_map_lookup_elem(&weir_bans, &s->ban_key);
}

/*
 * A flood comes from listed sources in plain packets, of which nothing has to be kept. Whatever could have its say before
 * the blocklists, or must be told, leaves the packet to the way of all others: a ban, an entry of the failsafe for these
 * ports, an answer to a multicast query. The number of the list, from 1; 0: in none; -1: not to be decided here.
 */
WEIR_INLINE int weir_xdp_plain_list(const struct xdp_md *ctx, struct weir_scratch *s, const struct weir_control *ctl)
{
	const struct weir_config *cfg = weir_config();
	const struct weir_fixed *x = &cfg->blocklist;
	const struct weir_gate *g;
	struct weir_plain p;
	int list;

	if (!(cfg->proto_features & WEIR_FEAT_BLOCKLIST) || x->action != WEIR_ACT_DROP || x->mode != WEIR_PREVENT || x->log)
		return -1;
	g = weir_xdp_catches(ctl) ? 0 : weir_gate_get();
	if (!g)
		return -1;
	if (!weir_plain((const uint8_t *)(long)ctx->data, (const uint8_t *)(long)ctx->data_end, ctx->data_end - ctx->data, &p))
		return -1;
	/* first of all: what is asked of the packet then is asked while a large list is waited for */
	list = (int)(p.six ? weir_block_find6(0, p.hi, p.lo) : weir_block_find4(0, (uint32_t)p.lo));
	if (!list)
		return 0;
	if ((cfg->n_failsafe && weir_gate_near(g, p.proto, p.six, p.sport, p.dport, p.opens)) || weir_asked(p.proto))
		return -1;
	return ctl->edit && weir_xdp_banned(s, &p) ? -1 : list; /* edit 0: no ban was ever set */
}

/* It is stopped: count it, unless it is one of the self-test. */
WEIR_INLINE int weir_xdp_drop(const struct weir_scratch *s)
{
	if (weir_xdp_testing(s))
		return XDP_DROP;
	if (s->ban_s)
		weir_catch();
	weir_count_result(s);
	weir_count_hit(s);
	return XDP_DROP;
}

/* The same for what weir_xdp_plain_list found, of which all this is known beforehand. */
WEIR_INLINE int weir_xdp_drop_plain(struct weir_scratch *s, uint32_t list)
{
	weir_result_set(&s->res, WEIR_DROP, WEIR_REASON_BLOCKLIST, WEIR_RULE_BLOCKLIST + list);
	if (!weir_xdp_testing(s)) {
		weir_count(WEIR_REASON_BLOCKLIST * 3 + WEIR_DROP, 1, s->len);
		weir_hit(weir_counter_list(weir_config(), list), 1, s->len);
	}
	return XDP_DROP;
}

SEC("xdp")
int weir_xdp_in(struct xdp_md *ctx)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_control *ctl = weir_control_get();
	const struct weir_config *cfg = weir_config();
	struct weir_cursor c;
	int list;

	if (!s || !ctl || cfg->mode == WEIR_DETECT)
		return XDP_PASS;
	if (cfg->failures.choice[WEIR_FAILURE_DAEMON_DEAD] == WEIR_DAEMON_OPEN &&
	    weir_daemon_dead(cfg, ctl->alive, bpf_ktime_get_boot_ns()))
		return XDP_PASS;
	s->hook = WEIR_HOOK_XDP;
	s->ifindex = s->in_ifindex = ctx->ingress_ifindex;
	s->len = ctx->data_end - ctx->data;
	s->segs = 1;
	s->seq++;
	list = weir_xdp_plain_list(ctx, s, ctl);
	if (list > 0)
		return weir_xdp_drop_plain(s, (uint32_t)list - 1);
	__builtin_memset(&s->pkt, 0, sizeof s->pkt);
	c.data = (const uint8_t *)(long)ctx->data;
	c.end = (const uint8_t *)(long)ctx->data_end;
	c.off = 0;
	c.frame_len = s->len;
	s->ifflags = s->mark = 0;
	s->edit = ctl->edit;
	s->caught = weir_xdp_catches(ctl);
	s->time = 0;
	s->ban_s = 0;
	s->facts.dir = 0;
	weir_result_init(&s->res);
	s->parsed = weir_parse(&c, &s->pkt, 0, 0);
	if (weir_reason_malformed(s->parsed)) {
		weir_judge_unparsed(cfg, s->parsed, &s->res);
		if (s->res.enforced == WEIR_PASS)
			return XDP_PASS;
	} else if (s->parsed != WEIR_REASON_NONE || !(weir_stage_lists(s, list == 0) || weir_xdp_limited(s)) ||
		   weir_xdp_doubt(s)) {
		return XDP_PASS;
	}
	if (s->res.enforced == WEIR_PASS || s->res.enforced == WEIR_REJECT)
		return XDP_PASS;
	weir_xdp_charge(s);
	weir_xdp_drop(s);
	if (s->res.log && !weir_xdp_testing(s)) {
		weir_flow_key_of(&s->pkt.t, &s->key);
		weir_tell(s, 0);
	}
	return XDP_DROP;
}
