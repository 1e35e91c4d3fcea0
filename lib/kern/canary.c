/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do the hooks run? A program can be loaded, attached and pinned, and still never see a packet (a foreign program ahead
 * of it ends the chain, a link was detached, a qdisc was removed, the kernel ignores the hook). So one small frame with
 * a secret is sent out of each covered interface now and then; the egress program counts it and drops it, in every
 * mode. Sending is synchronous: the count has grown when the call returns, or the hook does not run. Nothing can
 * be received on purpose, so for ingress and XDP the kernel is asked whether the program still stands there.
 */
#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/kern/clock.h"
#include "lib/kern/internal.h"

static const char *const slot_words[WEIR_SLOT_COUNT] = { "ingress", "egress", "XDP" };

/* The socket needs CAP_NET_RAW to be made, nothing to be used. It receives nothing. */
void weir_canary_open(struct weir_kern *k)
{
	struct stat st;

	k->canary_fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (k->canary_fd < 0)
		weir_why(k->health.canary_why, sizeof k->health.canary_why, 0, "no packet socket (%s)", strerror(errno));
	if (k->canary_fd >= 0 && !fstat(k->canary_fd, &st))
		k->health.canary_inode = (uint32_t)st.st_ino;
	if (getrandom(&k->canary, sizeof k->canary, 0) != sizeof k->canary || !k->canary)
		k->canary = weir_kern_now() | 1;
}

static uint64_t seen(const struct weir_kern *k)
{
	struct weir_counter c = { 0 };

	weir_sum_counter(k->shared[WEIR_M_STATS], WEIR_REASON_COUNT * 3 + WEIR_STAT_CANARY, &c);
	return c.packets;
}

static void send_one(const struct weir_kern *k, struct weir_cover *c)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(WEIR_CANARY_TYPE),
				  .sll_ifindex = (int)c->i.ifindex, .sll_halen = 6 };
	uint8_t frame[WEIR_CANARY_LEN] = { 0 };
	uint64_t before = seen(k);

	c->canary = WEIR_CANARY_UNSENT;
	if (!(c->i.flags & IFF_UP))
		return;
	memcpy(frame, &k->canary, sizeof k->canary);
	memcpy(frame + 8, "weir", 4);
	memcpy(to.sll_addr, c->i.mac, 6); /* should it ever leave: to ourselves */
	/* ENOBUFS: it was dropped, as it should be; else it was not sent at all, or somebody let it go */
	if (sendto(k->canary_fd, frame, sizeof frame, 0, (struct sockaddr *)&to, sizeof to) < 0 && errno != ENOBUFS)
		return;
	c->canary = seen(k) != before ? WEIR_CANARY_HEARD : WEIR_CANARY_SILENT;
}

void weir_kern_canary(struct weir_kern *k, uint32_t older_than_s)
{
	uint64_t now = weir_kern_now();

	if (k->canary_fd < 0 || !k->gen.skel || now < k->canary_at + older_than_s * 1000000000ull)
		return;
	__atomic_store_n(&k->control->canary, k->canary, __ATOMIC_RELEASE);
	for (size_t n = 0; n < k->n_covers; n++) {
		if (k->covers[n]->i.covered)
			send_one(k, k->covers[n]);
	}
	k->canary_at = weir_kern_now();
}

/* What is wrong at a hook where our program should stand; NULL: nothing that the kernel tells. */
static const char *fault(const struct weir_cover *c, enum weir_hook_slot slot)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)c->i.ifindex,
		    .attach_point = slot == WEIR_SLOT_IN ? BPF_TC_INGRESS : BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, o, .handle = WEIR_CLSACT_HANDLE, .priority = WEIR_CLSACT_PRIORITY);
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof info, ids[16], n = 16;

	if (c->clsact[slot])
		return bpf_tc_query(&hook, &o) || !o.prog_id ? "the filter is gone" : NULL;
	if (c->link[slot] < 0 || bpf_obj_get_info_by_fd(c->link[slot], &info, &len))
		return NULL;
	if (info.xdp.ifindex != c->i.ifindex) /* detached behind our back: it lives on without a device; tcx as xdp */
		return "the program was detached";
	if (slot != WEIR_SLOT_XDP &&
	    !weir_sys_query(c->i.ifindex, slot == WEIR_SLOT_IN ? WEIR_BPF_TCX_INGRESS : WEIR_BPF_TCX_EGRESS, ids, &n) && n &&
	    ids[0] != info.prog_id)
		return "another program runs before it";
	return NULL;
}

static void add(struct weir_kern_health *h, const char *name, const char *hook, const char *what)
{
	size_t at = strlen(h->silent_names);

	h->silent++;
	snprintf(h->silent_names + at, sizeof h->silent_names - at, "%s%s %s (%s)", at ? ", " : "", name, hook, what);
}

void weir_kern_health(struct weir_kern *k, struct weir_kern_health *ret)
{
	struct weir_kern_health *h = &k->health;

	weir_kern_canary(k, 1);
	h->hooks = h->silent = 0;
	h->unspared = k->unspared;
	h->silent_names[0] = 0;
	for (size_t n = 0; n < k->n_covers; n++) {
		const struct weir_cover *c = k->covers[n];

		if (!c->i.covered)
			continue;
		h->hooks += c->canary != WEIR_CANARY_UNSENT;
		for (int s = 0; s < WEIR_SLOT_COUNT; s++) {
			const char *what = fault(c, (enum weir_hook_slot)s);

			if (!what && s == WEIR_SLOT_OUT && c->canary == WEIR_CANARY_SILENT)
				what = "a test frame did not reach it";
			if (what)
				add(h, c->i.name, slot_words[s], what);
		}
	}
	weir_clock_told(k->control, weir_kern_now() / 1000000000, &h->clock);
	*ret = *h;
}
