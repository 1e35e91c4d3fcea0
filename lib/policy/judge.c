/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle: the evaluation of core/policy.h over a flat image, for packets that a person describes. */
#include <string.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "lib/policy/policy.h"
#include "lib/util/text.h"

static uint64_t pattern_bits(const struct weir_img *img, const char *name)
{
	uint64_t bits = 0;

	for (uint32_t i = 0; *name && i < img->h->ifpats.count; i++) {
		const struct weir_ifpat *p = weir_img_at(img, &img->h->ifpats, i, sizeof *p);

		if (weir_glob_match(p->glob, name))
			bits |= (uint64_t)1 << i;
	}
	return bits;
}

void weir_packet_facts(const struct weir_img *img, const struct weir_packet_spec *s, struct weir_facts *ret)
{
	struct weir_pkt p = { .t = s->t,
			      .family = s->family,
			      .proto = s->proto,
			      .icmp_type = s->icmp_type,
			      .icmp_code = s->icmp_code,
			      .ttl = s->ttl,
			      .frag = s->frag };

	memcpy(p.vlan, s->vlan, sizeof p.vlan);
	memcpy(p.smac, s->mac, sizeof p.smac);
	p.has = s->has_mac ? WEIR_HAS_MAC : 0;
	weir_facts_init(ret, &p, s->dir);
	ret->mark = s->mark;
	ret->known |= WEIR_K_MARK;
	ret->in_if = pattern_bits(img, s->in_if);
	ret->out_if = pattern_bits(img, s->out_if);
	/* the side that a direction does not have is known to be absent; the other only when it was named */
	if (s->in_if[0] || s->dir == WEIR_DIR_OUT)
		ret->known |= WEIR_K_IN_IF;
	if (s->out_if[0] || s->dir == WEIR_DIR_IN)
		ret->known |= WEIR_K_OUT_IF;
	if (s->has_minute)
		weir_classify_time(img, ret, s->minute);
	weir_classify_prepare(img, img->cfg, ret);
}

/* A forwarded packet meets the lists twice: by its source as it comes in, by its destination as it leaves. */
static bool judge_lists(const struct weir_img *img, const struct weir_facts *f, bool banned, struct weir_result *res)
{
	if (banned) {
		weir_result_fixed(res, &img->cfg->ban, WEIR_REASON_BAN, WEIR_RULE_NONE);
		if (res->enforced != WEIR_PASS)
			return true;
	}
	if (f->dir != WEIR_DIR_OUT && weir_judge_blocklist(img, img->cfg, f->t.src, res))
		return true;
	return f->dir != WEIR_DIR_IN && weir_judge_blocklist(img, img->cfg, f->t.dst, res);
}

static void judge(const struct weir_img *img, const struct weir_facts *f, bool opens, bool banned,
		  struct weir_result *ret)
{
	struct weir_facts facts = *f;

	weir_result_init(ret);
	if (weir_judge_failsafe(img, img->cfg, &facts, opens, ret))
		return;
	if (judge_lists(img, f, banned, ret))
		return;
	weir_judge_rules(img, img->cfg, f, weir_result_staged(ret), ret);
}

void weir_packet_judge(const struct weir_img *img, const struct weir_facts *f, bool banned, struct weir_result *ret)
{
	/* TCP that is described by its two ends opens a connection; everything else may be an answer */
	judge(img, f, f->proto == WEIR_IPPROTO_TCP, banned, ret);
}

void weir_flow_judge(const struct weir_img *img, const struct weir_facts *f, bool banned, struct weir_result *ret)
{
	judge(img, f, false, banned, ret);
}
