/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One DNS message (RFC 1035), read without a copy and without trust. The caller reads the header and the
 * question, then asks for one answer after the other; what is not an address or an alias is walked over.
 *
 * Bounds: a name is at most 255 bytes on the wire, a compression pointer may only point to before the name
 * it stands in and every further one to before the last (so it ends), and nothing is read past `len`.
 * A name becomes text: lowercase, no final dot, "." for the root; dots and backslashes within a label and
 * whatever is not printable ASCII as \DDD (RFC 4343 section 2.1), so that the text is unambiguous and safe.
 */
#pragma once
#include "core/types.h"

enum weir_dns_status {
	WEIR_DNS_OK = 0,
	WEIR_DNS_END,       /* no further answer */
	WEIR_DNS_TRUNCATED, /* the message ends inside what it announced */
	WEIR_DNS_NAME,      /* a name that is too long, points forward, or has a reserved label type */
	WEIR_DNS_COUNT,     /* not exactly one question (RFC 9619) */
	WEIR_DNS_RDATA,     /* an address of the wrong size, an alias that ends past its record */
};

/* 63 x 4 characters per full label, dots between: 253 bytes of name grow to at most this, NUL included. */
#define WEIR_DNS_TEXT 1012

#define WEIR_DNS_A 1
#define WEIR_DNS_CNAME 5
#define WEIR_DNS_AAAA 28

#define WEIR_DNS_POINTERS 126 /* no sound name needs more than its labels */

struct weir_dns {
	const uint8_t *msg;
	uint32_t len, off; /* off: what is read next */
	uint16_t id, qtype, answers_left;
	uint8_t response, truncated, opcode, rcode;
};

struct weir_dns_answer {
	uint16_t type;    /* WEIR_DNS_A, _AAAA or _CNAME */
	uint32_t ttl;     /* RFC 2181 section 8: the top bit means 0 */
	uint8_t addr[16]; /* A: mapped */
};

/* One octet of a label as text. Returns the new length, or 0: it does not fit. */
WEIR_INLINE uint32_t weir_dns_octet(char *text, uint32_t n, uint32_t size, uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		c = (uint8_t)(c + 32);
	if (c > 0x20 && c < 0x7f && c != '.' && c != '\\') {
		if (n + 2 > size)
			return 0;
		text[n] = (char)c;
		return n + 1;
	}
	if (n + 5 > size)
		return 0;
	text[n] = '\\';
	text[n + 1] = (char)('0' + c / 100);
	text[n + 2] = (char)('0' + c / 10 % 10);
	text[n + 3] = (char)('0' + c % 10);
	return n + 4;
}

/*
 * The name at *off, which moves behind it (behind the first pointer, where there is one). `text` has room for
 * WEIR_DNS_TEXT characters and is valid only when WEIR_DNS_OK is returned.
 */
static inline enum weir_dns_status weir_dns_name(const struct weir_dns *d, uint32_t *off, char *text)
{
	uint32_t at = *off, limit = *off, wire = 1, n = 0, jumps = 0;
	bool jumped = false;

	for (;;) {
		uint32_t l;

		if (at >= d->len)
			return WEIR_DNS_TRUNCATED;
		l = d->msg[at++];
		if (l >= 0xc0) {
			uint32_t to;

			if (at >= d->len)
				return WEIR_DNS_TRUNCATED;
			to = (l & 0x3f) << 8 | d->msg[at++];
			if (!jumped)
				*off = at;
			jumped = true;
			/* strictly before everything read so far: a loop is impossible */
			if (to >= limit || to < 12 || ++jumps > WEIR_DNS_POINTERS)
				return WEIR_DNS_NAME;
			at = limit = to;
			continue;
		}
		if (l > 63)
			return WEIR_DNS_NAME;
		if (!l)
			break;
		wire += l + 1;
		if (wire > 255)
			return WEIR_DNS_NAME;
		if (l > d->len - at)
			return WEIR_DNS_TRUNCATED;
		if (n)
			text[n++] = '.';
		for (uint32_t i = 0; i < l; i++) {
			n = weir_dns_octet(text, n, WEIR_DNS_TEXT, d->msg[at++]);
			if (!n)
				return WEIR_DNS_NAME;
		}
	}
	if (!n)
		text[n++] = '.';
	text[n] = 0;
	if (!jumped)
		*off = at;
	return WEIR_DNS_OK;
}

/* Header and question. `qname` has room for WEIR_DNS_TEXT characters. */
static inline enum weir_dns_status weir_dns_open(struct weir_dns *d, const uint8_t *msg, uint32_t len, char *qname)
{
	enum weir_dns_status s;

	if (len < 12)
		return WEIR_DNS_TRUNCATED;
	d->msg = msg;
	d->len = len;
	d->off = 12;
	d->id = weir_be16(msg);
	d->response = msg[2] >> 7;
	d->opcode = msg[2] >> 3 & 15;
	d->truncated = msg[2] >> 1 & 1;
	d->rcode = msg[3] & 15;
	d->answers_left = weir_be16(msg + 6);
	d->qtype = 0;
	if (weir_be16(msg + 4) != 1)
		return WEIR_DNS_COUNT;
	s = weir_dns_name(d, &d->off, qname);
	if (s != WEIR_DNS_OK)
		return s;
	if (d->len - d->off < 4)
		return WEIR_DNS_TRUNCATED;
	d->qtype = weir_be16(msg + d->off);
	d->off += 4;
	return WEIR_DNS_OK;
}

/*
 * The next A, AAAA or CNAME of the answer section, class IN. `owner` and, for an alias, `target` have room for
 * WEIR_DNS_TEXT characters each. Call until it returns something else than WEIR_DNS_OK.
 */
static inline enum weir_dns_status weir_dns_next(struct weir_dns *d, struct weir_dns_answer *a, char *owner,
						 char *target)
{
	while (d->answers_left) {
		enum weir_dns_status s;
		uint32_t class_id, size, data, end;

		s = weir_dns_name(d, &d->off, owner);
		if (s != WEIR_DNS_OK)
			return s;
		if (d->len - d->off < 10)
			return WEIR_DNS_TRUNCATED;
		a->type = weir_be16(d->msg + d->off);
		class_id = weir_be16(d->msg + d->off + 2);
		a->ttl = weir_be32(d->msg + d->off + 4);
		size = weir_be16(d->msg + d->off + 8);
		data = d->off + 10;
		if (size > d->len - data)
			return WEIR_DNS_TRUNCATED;
		end = data + size;
		d->off = end;
		d->answers_left--;
		if (a->ttl >> 31)
			a->ttl = 0;
		if (class_id != 1)
			continue;
		if (a->type == WEIR_DNS_A || a->type == WEIR_DNS_AAAA) {
			uint32_t want = a->type == WEIR_DNS_A ? 4 : 16;

			if (size != want)
				return WEIR_DNS_RDATA;
			for (uint32_t i = 0; i < 16 - want; i++)
				a->addr[i] = i < 10 ? 0 : 0xff;
			for (uint32_t i = 0; i < want; i++)
				a->addr[16 - want + i] = d->msg[data + i];
			return WEIR_DNS_OK;
		}
		if (a->type == WEIR_DNS_CNAME) {
			s = weir_dns_name(d, &data, target);
			if (s != WEIR_DNS_OK)
				return s;
			return data == end ? WEIR_DNS_OK : WEIR_DNS_RDATA;
		}
	}
	return WEIR_DNS_END;
}
