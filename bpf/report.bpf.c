/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A verdict is counted and told; how much of it while a ring is nearly full. */
#include "bpf/limit.h"
#include "bpf/stages.h"

/*
 * failures.ring_full: throttle. While less than an eighth of a ring is free, one remote end gets one record a second.
 * A function of its own: inlined, it would grow the frame of the hooks themselves. Uses s->okey.
 */
__noinline int weir_ring_admits(uint32_t ring)
{
	struct weir_scratch *s = weir_scratch_get();
	uint64_t used, size;

	if (!s)
		return 0;
	weir_ring_fill(ring, &used, &size);
	if (!weir_simulates(weir_config(), WEIR_FAILURE_RING_FULL) && used <= size / 8 * 7)
		return 1;
	__builtin_memset(&s->okey, 0, sizeof s->okey);
	__builtin_memcpy(s->okey.a, s->hook == WEIR_HOOK_TC_OUT ? s->pkt.t.dst : s->pkt.t.src, 16);
	s->okey.zone = 0xfffffff0u + ring; /* of no conversation: a number above all protocols */
	if (weir_report_due(&s->okey))
		return 1;
	weir_stat(WEIR_STAT_FAIL_RING);
	return 0;
}

/* A verdict stands: count it, tell it. `id`: the flow, 0 for none. */
__noinline int weir_report(uint64_t id)
{
	struct weir_scratch *s = weir_scratch_get();

	if (!s)
		return 0;
	if (s->ifflags & WEIR_IF_TEST)
		return s->res.enforced;
	if (s->ban_s)
		weir_catch();
	weir_count_result(s);
	weir_count_hit(s);
	if (id)
		weir_emit_flow(s, id);
	if (s->res.enforced != WEIR_PASS || s->res.wanted != WEIR_PASS || s->res.log)
		weir_tell(s, id);
	return s->res.enforced;
}
