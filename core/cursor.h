/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The only code that moves through a packet. Three ends are kept apart on purpose:
 *   end        what may be touched (in the kernel: data_end; the verifier insists on this compare)
 *   frame_len  what the frame really has (a TC program may see only its linear head)
 *   WEIR_HEAD_MAX  what weir is willing to read before it calls the headers too long
 * The caller pulls min(frame_len, WEIR_HEAD_MAX) bytes, or knows that the parser reads less (weir_plain_head), so running
 * past `end` inside both other limits can only mean a truncated frame.
 */
#pragma once
#include "core/types.h"

#define WEIR_HEAD_MAX 512

/*
 * The same number, and the verifier sees how large it can be. Up to 6.12 it forgets the compare above when
 * clang makes it on a copy: "invalid access to packet, off=0 size=1, R4 offset is outside of the packet".
 */
#ifdef __bpf__
#define WEIR_BOUND(x, mask) asm volatile("%0 &= " #mask : "+r"(x))
#else
#define WEIR_BOUND(x, mask) ((void)0)
#endif

struct weir_cursor {
	const uint8_t *data, *end;
	uint32_t off;       /* bytes taken so far */
	uint32_t frame_len; /* bytes of the whole frame */
};

/* Claim n bytes. NULL: too short (see weir_short). n must be bounded by the caller (<= 2,040). */
WEIR_INLINE const void *weir_take(struct weir_cursor *c, uint32_t n)
{
	uint32_t off = c->off;
	const uint8_t *p;

	if (off > WEIR_HEAD_MAX || off + n > WEIR_HEAD_MAX)
		return 0;
	WEIR_BOUND(off, 1023);
	p = c->data + off;
	if (p + n > c->end)
		return 0;
	c->off = off + n;
	return p;
}
