/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bpf/oracle.h"

#include <string.h>

static enum weir_reason parse(const struct weir_oracle_in *in, struct weir_pkt *p)
{
	struct weir_cursor c = { .data = in->frame,
				 .frame_len = in->len,
				 .end = in->frame + (in->len < WEIR_HEAD_MAX ? in->len : WEIR_HEAD_MAX) };

	memset(p, 0, sizeof *p);
	return weir_parse(&c, p, 0, 0);
}

static void gather(const struct weir_img *img, const struct weir_oracle_in *in, const struct weir_pkt *p, uint32_t dir,
		   struct weir_facts *f)
{
	bool out = in->hook == WEIR_HOOK_TC_OUT;

	weir_facts_init(f, p, dir);
	if (out)
		f->mac = 0; /* this host's own, or one that nobody noted */
	if (dir == WEIR_DIR_FWD)
		f->known &= ~(uint32_t)WEIR_K_MAC;
	f->mark = in->mark;
	f->in_if = in->in_if;
	f->out_if = in->out_if;
	*(out ? &f->out_lower : &f->in_lower) = in->lower;
	f->known |= WEIR_K_MARK | WEIR_K_IN_IF | WEIR_K_OUT_IF;
	if (in->minute < WEIR_WEEK_MINUTES && p->frag != WEIR_FRAG_LATER)
		weir_classify_time(img, f, in->minute);
	weir_classify_prepare(img, img->cfg, f);
}

/* Not known, and not its first packet: refused, or in the adoption window judged as either side's. */
static void adopt(const struct weir_img *img, const struct weir_oracle_in *in, struct weir_facts *f,
		  struct weir_result *res)
{
	const struct weir_fixed refuse = { WEIR_ACT_DROP, (uint8_t)img->cfg->mode, 0, 0 };
	struct weir_result first;

	if (!in->adopting) {
		weir_result_fixed(res, &refuse, WEIR_REASON_NO_FLOW, WEIR_RULE_NONE);
		return;
	}
	weir_judge_rules(img, img->cfg, f, weir_result_staged(res), res);
	if (res->wanted == WEIR_PASS && res->enforced == WEIR_PASS)
		return;
	first = *res;
	weir_result_init(res);
	weir_facts_reverse(f);
	weir_judge_rules(img, img->cfg, f, false, res);
	if (res->enforced != WEIR_PASS || (res->wanted != WEIR_PASS && first.enforced == WEIR_PASS))
		*res = first;
}

static bool midstream(const struct weir_oracle_in *in, const struct weir_pkt *p, uint32_t dir)
{
	if (p->proto == WEIR_IPPROTO_TCP)
		return (p->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) != WEIR_TCP_SYN;
	if (!in->adopting || (p->has & WEIR_HAS_MCAST))
		return false;
	if (p->has & WEIR_HAS_ECHO)
		return p->icmp_type == 0 || p->icmp_type == 129;
	return p->proto == WEIR_IPPROTO_UDP && dir != WEIR_DIR_OUT && p->t.dport >= in->port_eph_min;
}

/* A later fragment, its first unknown: this host puts it together or not at all; nobody forwards it. */
static void later(const struct weir_img *img, bool in, struct weir_result *res)
{
	const struct weir_fixed refuse = { WEIR_ACT_DROP, (uint8_t)img->cfg->mode, 0, 0 };

	if (!in) {
		weir_result_fixed(res, &refuse, WEIR_REASON_FRAG_NO_FIRST, WEIR_RULE_NONE);
		return;
	}
	weir_result_pass(res, WEIR_REASON_FLOW, WEIR_RULE_NONE);
}

static bool banned(const struct weir_oracle_in *in, const uint8_t addr[16])
{
	uint32_t bits = in->ban ? in->ban->prefixlen : 0;

	for (uint32_t i = 0; i < bits; i++)
		if ((in->ban->addr[i / 8] ^ addr[i / 8]) & 0x80 >> i % 8)
			return false;
	return in->ban;
}

/* Bans, then blocklists, of the packet's remote end. True when it goes no further. */
static bool listed(const struct weir_img *img, const struct weir_oracle_in *in, const struct weir_facts *f,
		   struct weir_result *res)
{
	bool ingress = in->hook == WEIR_HOOK_TC_IN;

	if (banned(in, ingress ? f->t.src : f->t.dst)) {
		struct weir_fixed x = img->cfg->ban;

		if (in->ban_mode == WEIR_DETECT)
			x.mode = WEIR_DETECT;
		weir_result_fixed(res, &x, WEIR_REASON_BAN, WEIR_RULE_NONE);
		if (res->enforced != WEIR_PASS)
			return true;
	}
	return weir_judge_blocklist(img, img->cfg, ingress ? f->t.src : f->t.dst, res);
}

void weir_oracle_tc(const struct weir_img *img, const struct weir_oracle_in *in, struct weir_result *res)
{
	const struct weir_config *cfg = img->cfg;
	bool ingress = in->hook == WEIR_HOOK_TC_IN, opens;
	uint32_t dir = ingress ? WEIR_DIR_IN : in->forward ? WEIR_DIR_FWD : WEIR_DIR_OUT;
	struct weir_facts f;
	struct weir_pkt p;

	weir_result_init(res);
	if (weir_judge_unparsed(cfg, parse(in, &p), res) || weir_judge_fragment(cfg, p.frag, res))
		return;
	gather(img, in, &p, dir, &f);
	opens = p.proto == WEIR_IPPROTO_TCP && (p.tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == WEIR_TCP_SYN;
	if (p.frag != WEIR_FRAG_LATER && weir_judge_failsafe(img, cfg, &f, opens, res))
		return;
	if (listed(img, in, &f, res))
		return;
	if (p.frag == WEIR_FRAG_LATER)
		later(img, ingress, res);
	else if (midstream(in, &p, dir))
		adopt(img, in, &f, res);
	else
		weir_judge_rules(img, cfg, &f, weir_result_staged(res), res);
}

/* Entry by entry: could one of the failsafe admit it, whatever its direction, interface, MAC address and mark? */
static bool doubted(const struct weir_img *img, const struct weir_pkt *p)
{
	static const uint8_t dirs[] = { WEIR_DIR_IN, WEIR_DIR_FWD };
	bool opens = p->proto == WEIR_IPPROTO_TCP && (p->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == WEIR_TCP_SYN;
	struct weir_facts f;

	if (p->frag || p->vlan[0] || (p->has & WEIR_HAS_INNER)) /* an ICMP error may be one of a known flow */
		return true;
	for (size_t i = 0; i < sizeof dirs; i++) {
		weir_facts_init(&f, p, dirs[i]);
		f.known = WEIR_K_PORTS | WEIR_K_ICMP | WEIR_K_TTL;
		weir_classify_prepare(img, img->cfg, &f);
		if (weir_classify_next(img, img->cfg, WEIR_FAILSAFE, &f, 0, 0) != WEIR_SCAN_END)
			return true;
		weir_facts_reverse(&f);
		if (!opens && weir_classify_next(img, img->cfg, WEIR_FAILSAFE, &f, 0, WEIR_SKIP_ONE_WAY) != WEIR_SCAN_END)
			return true;
	}
	return false;
}

enum weir_oracle_xdp weir_oracle_xdp(const struct weir_img *img, const struct weir_oracle_in *in,
				     const struct weir_result *tc)
{
	struct weir_pkt p;
	enum weir_reason r = parse(in, &p);

	if (tc->enforced != WEIR_DROP)
		return WEIR_XDP_MUST_PASS;
	if (weir_reason_malformed(r))
		return WEIR_XDP_MUST_DROP;
	if (tc->enforced_reason == WEIR_REASON_BLOCKLIST || tc->enforced_reason == WEIR_REASON_BAN)
		return doubted(img, &p) ? WEIR_XDP_MUST_PASS : WEIR_XDP_MUST_DROP;
	return WEIR_XDP_MAY_DROP;
}
