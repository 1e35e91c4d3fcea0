/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fragments: the later ones of a datagram follow their first, and count towards the bounds of its flow in whatever order
 * they come. What comes before its first is added up and counted with it.
 */
#include "bpf/fragment.h"

WEIR_INLINE bool weir_frag_kept(const struct weir_scratch *s)
{
	return !(weir_config()->test_flags & WEIR_TEST_NO_FLOW) && !(s->ifflags & WEIR_IF_TEST);
}

/* The live entry of the packet's datagram, or NULL. */
WEIR_INLINE struct weir_frag *weir_frag_find(const struct weir_scratch *s)
{
	struct weir_frag *f = bpf_map_lookup_elem(&weir_frags, &s->fkey);

	return f && weir_jiffies_since(f->last, s->now, weir_config()->hz) <= 60 * weir_config()->hz ? f : 0;
}

__noinline int weir_frag_first(void)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_frag *f;

	if (!s || !weir_frag_kept(s) || weir_simulates(weir_config(), WEIR_FAILURE_FRAGMENT))
		return WEIR_FRAG_UNKNOWN;
	f = weir_frag_find(s);
	return !f || f->early ? WEIR_FRAG_UNKNOWN : f->denied ? WEIR_FRAG_DENIED : f->admitted ? WEIR_FRAG_ADMITTED : WEIR_FRAG_PASSED;
}

/* Before its first: remember how much. */
WEIR_INLINE int weir_frag_early(struct weir_scratch *s)
{
	struct weir_frag fresh = { .last = s->now, .early = 1, .bytes = s->pkt.ip_len };
	struct weir_frag *f;

	if (!weir_frag_kept(s))
		return 0;
	f = weir_frag_find(s);
	if (f && f->early)
		__sync_fetch_and_add(&f->bytes, s->pkt.ip_len);
	else if (!f)
		bpf_map_update_elem(&weir_frags, &s->fkey, &fresh, BPF_ANY);
	return 0;
}

__noinline int weir_frag_count(uint32_t first)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_flow_half *h;
	struct weir_frag *f;
	struct weir_flow *w;
	int half = 0;

	if (!s)
		return 0;
	if (first == WEIR_FRAG_UNKNOWN)
		return weir_frag_early(s);
	f = weir_frag_find(s);
	if (!f || f->denied || first == WEIR_FRAG_DENIED)
		return 0;
	s->key = f->key;
	s->side = f->side;
	w = weir_flow_at(&s->key, false);
	if (!w) {
		half = 1;
		w = weir_flow_at(&s->key, true);
	}
	if (!w)
		return 0;
	if ((w->max_duration || w->max_bytes) &&
	    weir_flow_over(w, s->pkt.ip_len, w->max_duration ? bpf_ktime_get_boot_ns() : 0)) {
		if (!(w->bound & WEIR_FB_STAGED))
			f->denied = 1;
		return half + 1;
	}
	h = &w->half[s->side & 1];
	h->packets += s->segs;
	h->bytes += s->pkt.ip_len;
	h->last = s->now;
	return 0;
}

__noinline int weir_frag_gather(void)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_frag *f;

	if (!s || !weir_frag_kept(s))
		return 0;
	f = weir_frag_find(s);
	if (f && f->early)
		s->pkt.ip_len += f->bytes;
	return 0;
}

/*
 * Of two firsts with one identification the stack keeps that which came first. A sender who may use two flows must not
 * have the bytes of the bounded one counted as the other's.
 */
__noinline int weir_frag_remember(uint32_t what)
{
	uint8_t bounded = what & 1;
	struct weir_scratch *s = weir_scratch_get();
	struct weir_frag *old, f = { 0 };

	if (!s || s->pkt.frag != WEIR_FRAG_FIRST || !weir_frag_kept(s))
		return 0;
	old = weir_frag_find(s);
	f.last = s->now;
	f.denied = s->res.enforced != WEIR_PASS;
	f.bounded = bounded;
	f.admitted = (what & 2) || s->res.enforced_reason == WEIR_REASON_FAILSAFE;
	if (old && old->bounded && !old->denied && !f.denied && !bounded)
		return 0;
	f.side = (uint8_t)weir_flow_key_of(&s->pkt.t, &f.key);
	bpf_map_update_elem(&weir_frags, &s->fkey, &f, BPF_ANY);
	return 0;
}

__noinline int weir_frag_begun(void)
{
	struct weir_scratch *s = weir_scratch_get();
	struct weir_frag *f;

	if (!s || !weir_frag_kept(s))
		return 0;
	f = weir_frag_find(s);
	if (f)
		f->bounded = 1;
	return s->pkt.ip_len > s->flow.max_bytes;
}
