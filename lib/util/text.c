/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/util/text.h"

#include <ctype.h>
#include <string.h>

size_t weir_utf8_next(const char *s, size_t n, uint32_t *ret_rune)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const uint8_t *b = (const uint8_t *)s;
	uint32_t r;
	size_t len;

	if (!n)
		return 0;
	len = b[0] < 0x80 ? 1 : b[0] >> 5 == 6 ? 2 : b[0] >> 4 == 14 ? 3 : b[0] >> 3 == 30 ? 4 : 0;
	if (!len || len > n)
		return 0;
	r = len == 1 ? b[0] : b[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if (b[i] >> 6 != 2)
			return 0;
		r = r << 6 | (b[i] & 0x3fu);
	}
	if (r < least[len] || r > 0x10ffff || (r >= 0xd800 && r <= 0xdfff))
		return 0;
	if (ret_rune)
		*ret_rune = r;
	return len;
}

size_t weir_text_plain(const char *s, size_t n)
{
	const uint64_t ones = UINT64_MAX / 255;
	size_t i = 0;

	for (; n - i >= 8; i += 8) { /* eight at a time: is one below 0x20, or 0x7f and above? */
		uint64_t w;

		memcpy(&w, s + i, 8);
		if (((w - ones * 0x20) | (w + ones) | w) & ones * 0x80)
			break;
	}
	while (i < n && s[i] >= 0x20 && s[i] < 0x7f)
		i++;
	return i;
}

bool weir_rune_hostile(uint32_t r)
{
	return r < 0x20 || (r >= 0x7f && r <= 0x9f) || r == 0x061c || (r >= 0x200b && r <= 0x200f) ||
	       (r >= 0x2028 && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) || r == 0xfeff || (r >= 0xfff9 && r <= 0xfffb);
}

char *weir_escape(const char *in, size_t n, char *out, size_t size)
{
	size_t at = 0, step;

	for (size_t i = 0; i < n && size; i += step) {
		const char *piece = in + i;
		uint32_t rune = 0;
		size_t len = weir_utf8_next(in + i, n - i, &rune), need = len;
		char hex[4 * 4 + 1]; /* \xNN for each byte of a character */

		step = len ? len : 1;
		if (len && rune == '\\') {
			piece = "\\\\";
			need = 2;
		} else if (!len || weir_rune_hostile(rune)) {
			piece = hex;
			need = 0;
			for (size_t k = 0; k < step; k++)
				need += (size_t)sprintf(hex + need, "\\x%02x", (uint8_t)in[i + k]);
		}
		if (at + need + 1 > size)
			break;
		memcpy(out + at, piece, need);
		at += need;
	}
	if (size)
		out[at] = 0;
	return out;
}

char *weir_text_whole(char *s)
{
	size_t n = strlen(s), more = 0;

	while (more < 3 && more < n && ((uint8_t)s[n - 1 - more] & 0xc0) == 0x80)
		more++;
	if (more < n && (uint8_t)s[n - 1 - more] >= 0xc0 && !weir_utf8_next(s + n - 1 - more, more + 1, NULL))
		s[n - 1 - more] = 0;
	return s;
}

size_t weir_text_put(FILE *out, const char *s, size_t n)
{
	size_t cols = 0;

	for (size_t i = 0; i < n;) {
		uint32_t r = 0;
		size_t len = weir_utf8_next(s + i, n - i, &r);

		if (len && (r == '\t' || !weir_rune_hostile(r))) {
			if (out)
				fwrite(s + i, 1, len, out);
			cols++;
		} else {
			len = len ? len : 1;
			for (size_t k = 0; out && k < len; k++)
				fprintf(out, "\\x%02x", (uint8_t)s[i + k]);
			cols += 4 * len;
		}
		i += len;
	}
	return cols;
}

#define WORD_MAX 40

unsigned weir_text_distance(const char *a, const char *b, unsigned limit)
{
	unsigned row[3][WORD_MAX + 1], *two = row[0], *one = row[1], *now = row[2];
	size_t la = strlen(a), lb = strlen(b);

	if (la > WORD_MAX || lb > WORD_MAX || la > lb + limit || lb > la + limit)
		return limit + 1;
	for (size_t j = 0; j <= lb; j++)
		one[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *spare = two;

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
			unsigned best = one[j - 1] + (ca != cb);

			best = one[j] + 1 < best ? one[j] + 1 : best;
			best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
			if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
			    cb == tolower((unsigned char)a[i - 2]) && two[j - 2] + 1 < best)
				best = two[j - 2] + 1;
			now[j] = best;
		}
		two = one;
		one = now;
		now = spare;
	}
	return one[lb] <= limit ? one[lb] : limit + 1;
}

bool weir_glob_match(const char *glob, const char *s)
{
	const char *star = NULL, *from = NULL;

	while (*s) {
		if (*glob == '*') {
			star = ++glob;
			from = s;
		} else if (*glob == '?' || *glob == *s) {
			glob++;
			s++;
		} else if (star) {
			glob = star;
			s = ++from;
		} else {
			return false;
		}
	}
	while (*glob == '*')
		glob++;
	return !*glob;
}
