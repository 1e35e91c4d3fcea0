/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the image says of the interfaces of a packet or a flow. */
#pragma once
#include "bpf/image_maps.h"

WEIR_INLINE void weir_iface_facts(struct weir_facts *f, uint32_t in, uint32_t out)
{
	const struct weir_iface *i;

	if (in) {
		i = bpf_map_lookup_elem(&weir_ifaces, &in);
		if (i) {
			f->in_if = i->pat;
			f->in_lower = i->lower;
		}
		f->known |= WEIR_K_IN_IF;
	}
	if (out) {
		i = bpf_map_lookup_elem(&weir_ifaces, &out);
		if (i) {
			f->out_if = i->pat;
			f->out_lower = i->lower;
		}
		f->known |= WEIR_K_OUT_IF;
	}
	/* an inbound packet has no way out, an outbound one no way in: known, and matching nothing */
	if (f->dir != WEIR_DIR_FWD)
		f->known |= WEIR_K_IN_IF | WEIR_K_OUT_IF;
}
