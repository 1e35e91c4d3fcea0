/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets for the self-test: of every kind, and from the image's own bounds, so that its rules are hit. Built as
 * bytes, without the parser; what they mean is for the programs and for the oracle to say.
 */
#pragma once
#include "core/image_blob.h"

enum weir_probe_hook { WEIR_PROBE_IN, WEIR_PROBE_OUT, WEIR_PROBE_FWD, WEIR_PROBE_HOOKS };

/* What a probe is built from; zero: of no importance. */
struct weir_probe_spec {
	enum weir_probe_hook hook;
	uint8_t family, proto, ttl, tcp_flags, icmp_type, icmp_code;
	uint8_t frag;                 /* WEIR_FRAG_* */
	uint8_t src[16], dst[16];
	uint16_t sport, dport, vlan;
	uint32_t mark;
	uint64_t mac, pat;            /* source address; bits of interface patterns */
};

struct weir_probe {
	uint8_t b[160];
	uint32_t len, mark;
	enum weir_probe_hook hook;
	uint64_t pat;
	char what[72];                /* "tcp in to port 22" */
};

typedef int (*weir_probe_cb)(const struct weir_probe *p, void *data);

/* Every probe of this image; ends early with what the callback returns when that is not 0. */
int weir_probes_each(const struct weir_img *img, weir_probe_cb cb, void *data);
