/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a record of the kernel to words. One way only: the record and what the host knows about it become a
 * JSON object; the line for people is made from that object, so a screen and a file can never disagree, and
 * a client that got the object over a socket prints the same line. All text in it has been escaped.
 */
#pragma once
#include <jansson.h>
#include <stdio.h>

#include "core/event.h"
#include "core/image_blob.h"
#include "lib/host/host.h"
#include "lib/policy/policy.h"

/* What turns numbers into words. Everything may be NULL or zero: then the words are missing. */
struct weir_event_words {
	const char *ban;       /* the ban that covers it, as it was made; NULL: that of the address alone */
	const struct weir_img *img;     /* the image that judged */
	const char *in_if, *out_if;     /* names of in_ifindex (or ifindex) and out_ifindex; raw */
	const char *name;               /* asked before the remote address was spoken to; raw */
	const struct weir_owner *owner; /* the local process; raw */
	uint64_t boot_ns;               /* weir_host_boot_ns() */
};

/* A new reference, or NULL: out of memory. ev->h.type is WEIR_EV_VERDICT or WEIR_EV_FLOW. */
json_t *weir_event_json(const struct weir_ev_verdict *ev, const struct weir_event_words *w);

/* Who decided, where `wanted` is told: who stopped it, if somebody did, whatever something staged would have done. */
struct weir_result weir_event_told(const struct weir_result *res);

/* The packet as weir_fix_rule() takes it. */
struct weir_packet_spec weir_event_packet(const struct weir_ev_verdict *ev);

/* The id of the added rule (weir rule add) that decided; 0: another one did. */
unsigned weir_event_added_rule(const json_t *event);

/* One aligned line, and below it the `fix:` line where something was, or would have been, stopped. */
void weir_event_line(FILE *out, const json_t *event, bool color);
/* The line that stands above them. */
void weir_event_line_header(FILE *out, bool color);

/* "10.0.0.1", "2001:db8::1" of a 16-byte address; "10.0.0.1:80", "[2001:db8::1]:80" with a port. */
#define WEIR_ADDR_MAX 56
const char *weir_addr_text(const uint8_t addr[16], char buf[static WEIR_ADDR_MAX]);
const char *weir_addr_port_text(const uint8_t addr[16], uint32_t port, char buf[static WEIR_ADDR_MAX]);
/* "tcp", "udp", "icmp", "icmpv6", "sctp", else the number. */
const char *weir_proto_text(uint32_t proto, char buf[static 8]);
/* "380", "3.1K", "1.2M" */
const char *weir_bytes_text(uint64_t n, char buf[static 8]);
/* "2026-01-02T03:04:05.678Z" from unix ns */
const char *weir_time_text(uint64_t unix_ns, char buf[static 32]);
const char *weir_dir_text(uint32_t dir); /* inbound, outbound, forward, "" */
