/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flows.established: kill. What the policy in force denies of the conversations that live is ended at its sockets, so
 * that both sides know at once. Only of a policy that is there to stay, and only where it enforces.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "daemon/worker/api.h"
#include "lib/event/event.h"

#define KILL_AUDIT_MAX 100

struct condemned {
	struct weir_worker *w;
	struct weir_kill *v;
	size_t n, room;
};

static void interface_set(struct weir_worker *w, uint32_t ifindex, char to[static 16])
{
	const char *name = weir_port_if_name(w->port, ifindex);

	snprintf(to, 16, "%s", name ? name : "");
}

void weir_flow_facts_of(struct weir_worker *w, const struct weir_img *img, const struct weir_flow_key *k,
			const struct weir_flow *f, struct weir_facts *ret)
{
	struct weir_packet_spec s = { .dir = f->dir, .ttl = 64 };

	weir_flow_tuple(k, f->flags, &s.t);
	s.proto = (uint8_t)(s.t.zone >> 24);
	s.family = weir_addr_is_v4(s.t.src) ? 4 : 6;
	s.vlan[0] = s.t.zone >> 12 & 0xfff;
	s.vlan[1] = s.t.zone & 0xfff;
	if (f->dir != WEIR_DIR_OUT)
		interface_set(w, f->in_ifindex, s.in_if);
	if (f->dir != WEIR_DIR_IN)
		interface_set(w, f->out_ifindex, s.out_if);
	if (s.proto == WEIR_IPPROTO_ICMP || s.proto == WEIR_IPPROTO_ICMPV6) {
		s.has_icmp = 1;
		s.icmp_type = s.proto == WEIR_IPPROTO_ICMP ? 8 : 128; /* of ICMP only an echo is a conversation */
	}
	weir_packet_facts(img, &s, ret);
	ret->known &= ~(uint32_t)WEIR_K_MARK; /* nobody kept it */
	if (!(f->flags & WEIR_FF_NAT))
		return;
	weir_flow_tuple(&f->peer, f->flags & WEIR_FF_PEER_B ? WEIR_FF_ORIG_B : 0, &ret->orig);
	ret->has_orig = 1;
	weir_classify_prepare(img, img->cfg, ret);
}

static const uint8_t *remote_of(const struct weir_tuple *t, uint32_t dir)
{
	return dir == WEIR_DIR_OUT ? t->dst : t->src;
}

bool weir_flow_hangs_on_unknown(const struct weir_img *img, const struct weir_facts *f, const struct weir_result *res)
{
	uint32_t at = 0, c;

	if (res->enforced_reason != WEIR_REASON_RULE && res->enforced_reason != WEIR_REASON_DEFAULT)
		return false;
	while ((c = weir_classify_next(img, img->cfg, WEIR_RULES, f, at, 0)) != WEIR_SCAN_END) {
		if (c & WEIR_CAND_UNKNOWN)
			return true;
		if (WEIR_CAND_INDEX(c) == res->enforced_rule)
			return false;
		at = WEIR_CAND_INDEX(c) + 1;
	}
	return false;
}

static void condemn(const struct weir_flow_key *k, const struct weir_flow *f, bool half, bool expired, void *data)
{
	struct condemned *x = data;
	struct weir_result res;
	struct weir_facts facts;
	bool banned;

	if (expired)
		return;
	weir_flow_facts_of(x->w, &x->w->img, k, f, &facts);
	banned = weir_worker_banned(x->w, NULL, remote_of(&facts.t, f->dir)) ||
		 (f->dir == WEIR_DIR_FWD && weir_worker_banned(x->w, NULL, facts.t.dst));
	weir_flow_judge(&x->w->img, &facts, banned, &res);
	if (res.enforced == WEIR_PASS)
		return;
	if (x->w->img.cfg->recheck_unknown == WEIR_UNKNOWN_KEEP && weir_flow_hangs_on_unknown(&x->w->img, &facts, &res))
		return;
	if (x->n == x->room) {
		size_t room = x->room ? x->room * 2 : 64;
		struct weir_kill *v = reallocarray(x->v, room, sizeof *v);

		if (!v)
			return;
		x->v = v;
		x->room = room;
	}
	x->v[x->n++] = (struct weir_kill){ .t = facts.t, .dir = f->dir };
}

static void audit(struct weir_worker *w, const struct weir_kill *k)
{
	char src[WEIR_ADDR_MAX], dst[WEIR_ADDR_MAX], proto[8], detail[192];

	snprintf(detail, sizeof detail, "%s %s port %u -> %s port %u", weir_proto_text(k->t.zone >> 24, proto),
		 weir_addr_text(k->t.src, src), k->t.sport, weir_addr_text(k->t.dst, dst), k->t.dport);
	weir_api_audit(w, 0, getpid(), "conversation ended", detail,
		       k->result > 0 ? "ok" : k->result == -EOPNOTSUPP ? "the kernel cannot end sockets" : strerror(-k->result));
}

uint32_t weir_worker_kill(struct weir_worker *w)
{
	struct condemned x = { .w = w };
	uint32_t ended = 0, told = 0;
	char detail[96];

	if (!w->img.cfg || w->pending.on || weir_worker_mode(w) != WEIR_PREVENT ||
	    w->img.cfg->established != WEIR_EST_KILL)
		return 0;
	weir_port_flow_each(w->port, condemn, &x);
	if (x.n && weir_helper_kill(w->helper, x.v, x.n) < 0)
		x.n = 0;
	for (size_t i = 0; i < x.n; i++) {
		ended += x.v[i].result > 0;
		if (x.v[i].result != -ENOENT && x.v[i].result && told++ < KILL_AUDIT_MAX)
			audit(w, &x.v[i]);
	}
	if (told > KILL_AUDIT_MAX) {
		snprintf(detail, sizeof detail, "%u in all, %d of them above", ended, KILL_AUDIT_MAX);
		weir_api_audit(w, 0, getpid(), "conversations ended", detail, "ok");
	}
	free(x.v);
	return ended;
}
