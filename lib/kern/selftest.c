/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is expected is worked out by core/ over the flat image; what the program found stands in its working memory,
 * which no other generation shares. What the policy chose for failures is not tested where it hangs on the moment (a
 * dead daemon, a drill), nor are limits, which hang on what came before: WEIR_IF_TEST passes both by. Before Linux 5.11
 * a test cannot say by which interface a packet came, so nothing is forwarded there; marks likewise where the kernel
 * refuses them.
 */
#include "lib/kern/selftest.h"

#include "bpf/scratch.h"
#include "core/parse.h"
#include "core/policy.h"
#include "lib/kern/probe.h"

#define LO 1u
#define STATELESS_S 60 /* as in bpf/decide.bpf.c */
#define TRIES 3 /* a ban may end, the adoption window close, between the two judgements */

struct run {
	struct weir_kern *k;
	const struct weir_img *img;
	const struct weir_config *cfg;
	struct weir_kern_health *h;
	int prog[WEIR_PROBE_HOOKS], xdp, ifaces, scratch, cpus;
	bool marks, ways; /* what this kernel's test run can say of a packet */
	uint8_t *memory;  /* the working memory of every CPU */
	size_t stride;
	uint32_t *seq;
};

/* Does the test run of this kernel take a context of this kind? */
static bool takes(int prog, struct __sk_buff *skb)
{
	uint8_t frame[64] = { [12] = 0x88, [13] = 0xb6 };
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = sizeof frame, .ctx_in = skb,
		    .ctx_size_in = sizeof *skb, .repeat = 1);

	return !bpf_prog_test_run_opts(prog, &o);
}

static int run_prog(const struct run *t, int prog, const struct weir_probe *p, bool tc, uint32_t *ret)
{
	struct __sk_buff skb = { .mark = p->mark, .ingress_ifindex = p->hook == WEIR_PROBE_FWD ? LO : 0 };
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = p->b, .data_size_in = p->len, .repeat = 1);

	if (tc && (skb.mark || skb.ingress_ifindex)) {
		o.ctx_in = &skb;
		o.ctx_size_in = sizeof skb;
	}
	if (bpf_prog_test_run_opts(prog, &o))
		return -errno;
	*ret = o.retval;
	return 0;
}

/* The working memory of the CPU that has just judged a packet. NULL: none has. */
static const struct weir_scratch *judged(struct run *t)
{
	const struct weir_scratch *found = NULL;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(t->scratch, &zero, t->memory))
		return NULL;
	for (int c = 0; c < t->cpus; c++) {
		const struct weir_scratch *s = (const void *)(t->memory + (size_t)c * t->stride);

		if (s->seq != t->seq[c])
			found = s;
		t->seq[c] = s->seq;
	}
	return found;
}

static void facts(const struct run *t, const struct weir_probe *p, const struct weir_pkt *pkt, struct weir_facts *f)
{
	weir_facts_init(f, pkt,
			p->hook == WEIR_PROBE_IN    ? WEIR_DIR_IN
			: p->hook == WEIR_PROBE_OUT ? WEIR_DIR_OUT
						    : WEIR_DIR_FWD);
	if (p->hook != WEIR_PROBE_IN)
		f->mac = 0;
	if (p->hook == WEIR_PROBE_FWD)
		f->known &= ~(uint32_t)WEIR_K_MAC;
	f->mark = p->mark;
	f->in_if = p->hook != WEIR_PROBE_OUT ? p->pat : 0;
	f->out_if = p->hook != WEIR_PROBE_IN ? p->pat : 0;
	f->known |= WEIR_K_MARK | WEIR_K_IN_IF | WEIR_K_OUT_IF;
	weir_classify_prepare(t->img, t->cfg, f);
}

static void control(const struct run *t, struct weir_control *c)
{
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(t->k->shared[WEIR_M_CONTROL], &zero, c))
		memset(c, 0, sizeof *c);
}

/* Bans, then blocklists, as at stage 3. */
static bool listed(const struct run *t, const struct weir_probe *p, const struct weir_facts *f, bool bans,
		   struct weir_result *res)
{
	bool in = p->hook == WEIR_PROBE_IN;
	struct weir_ban_key key = { .prefixlen = 128 };
	struct weir_fixed x = t->cfg->ban;
	struct weir_ban b;

	memcpy(key.addr, in ? f->t.src : f->t.dst, 16);
	if (bans && !bpf_map_lookup_elem(t->k->shared[WEIR_M_BANS], &key, &b) && (!b.until || b.until > weir_kern_now())) {
		if (b.mode == WEIR_DETECT)
			x.mode = WEIR_DETECT;
		weir_result_fixed(res, &x, WEIR_REASON_BAN, WEIR_RULE_NONE);
		if (res->enforced != WEIR_PASS)
			return true;
	}
	return weir_judge_blocklist(t->img, t->cfg, key.addr, res);
}

/* From the middle of a conversation that nobody knows: refused, or as either side's while the window is open. */
static void adopt(const struct run *t, struct weir_facts *f, bool open, struct weir_result *res)
{
	const struct weir_fixed refuse = { WEIR_ACT_DROP, (uint8_t)t->cfg->mode, 0, 0 };
	struct weir_result first;

	if (!open) {
		weir_result_fixed(res, &refuse, WEIR_REASON_NO_FLOW, WEIR_RULE_NONE);
		return;
	}
	weir_judge_rules(t->img, t->cfg, f, weir_result_staged(res), res);
	if (res->wanted == WEIR_PASS && res->enforced == WEIR_PASS)
		return;
	first = *res;
	weir_result_init(res);
	weir_facts_reverse(f);
	weir_judge_rules(t->img, t->cfg, f, false, res);
	if (res->enforced != WEIR_PASS || (res->wanted != WEIR_PASS && first.enforced == WEIR_PASS))
		*res = first;
}

/* From a handshake whose first packet a flood may have pushed out: as its sender's, or as what the other side asked for. */
static bool late(const struct run *t, struct weir_facts *f, uint32_t what, struct weir_result *res)
{
	const struct weir_result before = *res;

	if (!what)
		return false;
	if (what == WEIR_LATE_ANSWER)
		weir_facts_reverse(f);
	weir_judge_rules(t->img, t->cfg, f, weir_result_staged(res), res);
	if (what == WEIR_LATE_ACK || res->enforced == WEIR_PASS)
		return true;
	weir_facts_reverse(f);
	*res = before;
	return false;
}

static bool midstream(const struct run *t, const struct weir_pkt *p, uint32_t dir, bool open)
{
	if (p->proto == WEIR_IPPROTO_TCP)
		return (p->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) != WEIR_TCP_SYN;
	if (!open || (p->has & WEIR_HAS_MCAST))
		return false;
	if (p->has & WEIR_HAS_ECHO)
		return p->icmp_type == 0 || p->icmp_type == 129;
	return p->proto == WEIR_IPPROTO_UDP && dir != WEIR_DIR_OUT && p->t.dport >= t->cfg->port_eph_min;
}

static void later(const struct run *t, const struct weir_probe *p, struct weir_result *res)
{
	if (p->hook == WEIR_PROBE_IN)
		weir_result_pass(res, WEIR_REASON_FLOW, WEIR_RULE_NONE);
	else
		weir_judge_lost(t->cfg, res);
}

/* What the policy says. Returns the parser's word. */
static enum weir_reason expect(const struct run *t, const struct weir_probe *p, struct weir_result *res)
{
	struct weir_cursor c = { .data = p->b, .end = p->b + p->len, .frame_len = p->len };
	struct weir_pkt pkt = { 0 };
	enum weir_reason parsed = weir_parse(&c, &pkt, 0, 0);
	uint64_t now = weir_kern_now();
	struct weir_control ctl;
	struct weir_facts f;
	bool open, opens;

	weir_result_init(res);
	if (weir_judge_unparsed(t->cfg, parsed, res) || weir_judge_fragment(t->cfg, pkt.frag, res))
		return parsed;
	control(t, &ctl);
	open = ctl.adopt_until > now || (t->cfg->failures.choice[WEIR_FAILURE_TABLE_FULL] == WEIR_TABLE_PASS &&
					 weir_table_full(ctl.table_full, now, STATELESS_S));
	facts(t, p, &pkt, &f);
	opens = pkt.proto == WEIR_IPPROTO_TCP && (pkt.tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == WEIR_TCP_SYN;
	if (pkt.frag != WEIR_FRAG_LATER && weir_judge_failsafe(t->img, t->cfg, &f, opens, res))
		return parsed;
	if (listed(t, p, &f, ctl.edit, res))
		return parsed;
	if (pkt.frag == WEIR_FRAG_LATER)
		later(t, p, res);
	else if (weir_judge_blocked(t->cfg, ctl.table_full, now, res))
		return parsed;
	else if (!midstream(t, &pkt, f.dir, open))
		weir_judge_rules(t->img, t->cfg, &f, weir_result_staged(res), res);
	else if (open || pkt.proto != WEIR_IPPROTO_TCP || !late(t, &f, weir_flow_late(&pkt, f.dir, ctl.crowded, now), res))
		adopt(t, &f, open, res);
	return parsed;
}

static const char *verdict_word(uint32_t v, bool past)
{
	static const char *const words[][2] = { { "pass", "passed" }, { "drop", "dropped" }, { "reject", "rejected" } };

	return words[v > WEIR_REJECT ? WEIR_DROP : v][past];
}

static int failed(struct run *t, const struct weir_probe *p, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int failed(struct run *t, const struct weir_probe *p, const char *fmt, ...)
{
	char how[72];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(how, sizeof how, fmt, ap);
	va_end(ap);
	t->h->failed++;
	snprintf(t->h->why, sizeof t->h->why, "self-test: packet '%s' was %s", p->what, how);
	return -EBADMSG;
}

/* One packet through one TC program. 1: the two judgements differ, and may be asked again. */
static int try_tc(struct run *t, const struct weir_probe *p, bool last)
{
	const struct weir_scratch *s;
	struct weir_result want;
	uint32_t ret = 0;
	int r;

	expect(t, p, &want);
	r = run_prog(t, t->prog[p->hook], p, true, &ret);
	if (r)
		return failed(t, p, "not run: %s", strerror(-r));
	s = judged(t);
	if (s && !memcmp(&s->res, &want, sizeof want) && (ret == UINT32_MAX) == (want.enforced == WEIR_PASS))
		return 0;
	if (!last)
		return 1;
	if (!s)
		return failed(t, p, "not judged: the program did not run");
	if ((ret == UINT32_MAX) != (want.enforced == WEIR_PASS))
		return failed(t, p, "%s by the programs, the policy says %s", ret == UINT32_MAX ? "passed" : "dropped",
			      verdict_word(want.enforced, false));
	if (s->res.wanted != want.wanted)
		return failed(t, p, "to be %s for the programs, the policy says %s", verdict_word(s->res.wanted, true),
			      verdict_word(want.wanted, false));
	return failed(t, p, "%s for reason %u, rule %#x; the policy says reason %u, rule %#x",
		      verdict_word(want.enforced, true), s->res.enforced_reason, s->res.enforced_rule, want.enforced_reason,
		      want.enforced_rule);
}

/* XDP may drop what TC would drop, and must where nothing else has to be known. */
static int try_xdp(struct run *t, const struct weir_probe *p, bool last)
{
	struct weir_result want;
	enum weir_reason parsed = expect(t, p, &want);
	bool must = weir_reason_malformed(parsed) && want.enforced == WEIR_DROP && t->cfg->mode == WEIR_PREVENT &&
		    t->cfg->failures.choice[WEIR_FAILURE_DAEMON_DEAD] != WEIR_DAEMON_OPEN;
	uint32_t ret = 0;
	int r = run_prog(t, t->xdp, p, false, &ret);

	if (r)
		return failed(t, p, "not run at XDP: %s", strerror(-r));
	judged(t);
	if (ret == XDP_DROP ? want.enforced == WEIR_DROP : ret == XDP_PASS && !must)
		return 0;
	if (!last)
		return 1;
	return failed(t, p, "%s at XDP, the policy says %s", ret == XDP_DROP ? "dropped" : "passed",
		      verdict_word(want.enforced, false));
}

static int try(const struct weir_probe *p, void *data)
{
	struct weir_iface lo = { .pat = p->pat, .flags = WEIR_IF_TEST };
	struct run *t = data;
	uint32_t key = LO;
	int r = 1;

	if ((p->hook == WEIR_PROBE_FWD && !t->ways) || (p->mark && !t->marks))
		return 0;
	if (bpf_map_update_elem(t->ifaces, &key, &lo, BPF_ANY))
		return -errno;
	t->h->tested++;
	for (int n = 1; n <= TRIES && r > 0; n++)
		r = try_tc(t, p, n == TRIES);
	if (r || p->hook != WEIR_PROBE_IN)
		return r;
	r = 1;
	for (int n = 1; n <= TRIES && r > 0; n++)
		r = try_xdp(t, p, n == TRIES);
	return r;
}

int weir_selftest(struct weir_kern *k, const struct weir_gen *g, const struct weir_img *img,
		  const struct weir_config *cfg, struct weir_kern_health *h)
{
	struct run t = { .k = k, .img = img, .cfg = cfg, .h = h, .cpus = libbpf_num_possible_cpus() };
	struct __sk_buff marked = { .mark = 1 }, forwarded = { .ingress_ifindex = LO };
	_cleanup_free_ uint8_t *memory = NULL;
	_cleanup_free_ uint32_t *seq = NULL;
	struct weir_iface test = { .flags = WEIR_IF_TEST };
	uint64_t began = weir_kern_now();
	uint32_t key = LO;
	int r;

	h->tested = h->failed = 0;
	h->why[0] = 0;
	t.prog[WEIR_PROBE_IN] = weir_gen_prog_fd(g, WEIR_SLOT_IN);
	t.prog[WEIR_PROBE_OUT] = t.prog[WEIR_PROBE_FWD] = weir_gen_prog_fd(g, WEIR_SLOT_OUT);
	t.xdp = weir_gen_prog_fd(g, WEIR_SLOT_XDP);
	t.ifaces = weir_gen_map_fd(g, "weir_ifaces");
	t.scratch = weir_gen_map_fd(g, "weir_scratch");
	t.stride = (sizeof(struct weir_scratch) + 7) & ~7ul;
	memory = t.cpus > 0 ? calloc((size_t)t.cpus, t.stride) : NULL;
	seq = t.cpus > 0 ? calloc((size_t)t.cpus, sizeof *seq) : NULL;
	if (!memory || !seq)
		return -ENOMEM;
	t.memory = memory;
	t.seq = seq;
	if (bpf_map_update_elem(t.ifaces, &key, &test, BPF_ANY))
		return -errno;
	t.marks = takes(t.prog[WEIR_PROBE_OUT], &marked);
	t.ways = takes(t.prog[WEIR_PROBE_OUT], &forwarded);
	judged(&t);
	r = weir_probes_each(img, try, &t);
	bpf_map_delete_elem(t.ifaces, &key);
	h->us = (uint32_t)((weir_kern_now() - began) / 1000);
	if (r && !h->failed) {
		h->failed++;
		snprintf(h->why, sizeof h->why, "self-test: %s", strerror(-r));
	}
	return r;
}
