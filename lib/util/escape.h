/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text from the network, from processes and from files, made fit for a terminal, a log and JSON: one line,
 * valid UTF-8, nothing that a terminal obeys or that reorders what a person reads. Bytes that do not pass
 * become \xNN, a backslash becomes \\, so that the result is unambiguous.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Length of the well-formed UTF-8 character at s (RFC 3629), 0 if there is none. */
static inline size_t weir_utf8_len(const uint8_t *s, size_t left, uint32_t *ret_cp)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
	uint32_t cp;

	if (!n || n > left)
		return 0;
	cp = n == 1 ? s[0] : s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		cp = cp << 6 | (s[i] & 0x3f);
	}
	if (cp < least[n] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	*ret_cp = cp;
	return n;
}

/* Control characters (C0, DEL, C1), line separators, direction overrides and isolates, byte order mark. */
static inline int weir_cp_is_hostile(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x200e || cp == 0x200f || cp == 0x061c ||
	       (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff ||
	       (cp >= 0xfff9 && cp <= 0xfffb);
}

/*
 * Escape n bytes of `in` into `out` (always NUL-terminated, never cut inside a character or an escape).
 * Four times n, plus one, is always enough. Returns `out`.
 */
static inline char *weir_escape(const char *in, size_t n, char *out, size_t size)
{
	const uint8_t *s = (const uint8_t *)in;
	size_t o = 0;

	for (size_t i = 0; i < n && size;) {
		uint32_t cp = 0;
		size_t len = weir_utf8_len(s + i, n - i, &cp), need;
		char tmp[20];

		if (len && !weir_cp_is_hostile(cp) && cp != '\\') {
			need = (size_t)snprintf(tmp, sizeof tmp, "%.*s", (int)len, (const char *)s + i);
		} else if (len == 1 && cp == '\\') {
			need = (size_t)snprintf(tmp, sizeof tmp, "\\\\");
		} else {
			len = len ? len : 1;
			need = 0;
			for (size_t k = 0; k < len; k++)
				need += (size_t)snprintf(tmp + need, sizeof tmp - need, "\\x%02x", s[i + k]);
		}
		if (o + need + 1 > size)
			break;
		for (size_t k = 0; k < need; k++)
			out[o++] = tmp[k];
		i += len;
	}
	if (size)
		out[o] = 0;
	return out;
}
