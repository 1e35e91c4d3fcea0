/* SPDX-License-Identifier: Apache-2.0 */
/* A large policy and its image are digested several times on their way to the kernel. FIPS 180-4, section 6.2. */
#include "lib/util/digest.h"

#include <stdbool.h>
#include <stdint.h>

#define BLOCK SHA256_BLOCK_LENGTH

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

static const uint32_t k[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static bool has_instructions(void)
{
	unsigned a, b, c, d, sse;

	if (!__get_cpuid(1, &a, &b, &sse, &d) || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return false;
	return (b >> 29 & 1) && (sse >> 9 & 1) && (sse >> 19 & 1); /* SHA, SSSE3, SSE4.1 */
}

/* The instructions want the state as a, b, e, f and c, d, g, h. */
__attribute__((target("sha,ssse3,sse4.1"))) static void blocks(uint32_t state[8], const uint8_t *p, size_t n)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i t = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
	__m128i u = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
	__m128i abef = _mm_alignr_epi8(t, u, 8), cdgh = _mm_blend_epi16(u, t, 0xf0);

	for (; n; n--, p += BLOCK) {
		__m128i x = abef, y = cdgh, w[4];

		for (int i = 0; i < 4; i++)
			w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p + i), swap);
#pragma GCC unroll 16
		for (int i = 0; i < 16; i++) {
			__m128i m = _mm_add_epi32(w[i & 3], _mm_load_si128((const __m128i *)k + i));

			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, m);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(m, 0x0e));
			if (i >= 12)
				continue;
			m = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
			m = _mm_add_epi32(m, _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
			w[i & 3] = _mm_sha256msg2_epu32(m, w[(i + 3) & 3]);
		}
		abef = _mm_add_epi32(abef, x);
		cdgh = _mm_add_epi32(cdgh, y);
	}
	t = _mm_shuffle_epi32(abef, 0x1b);
	u = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)state, _mm_blend_epi16(t, u, 0xf0));
	_mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(u, t, 8));
}
#else
static bool has_instructions(void)
{
	return false;
}

static void blocks(uint32_t state[8], const uint8_t *p, size_t n)
{
}
#endif

void weir_sha256_update(SHA2_CTX *sha, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t begun = sha->bitcount[0] / 8 % BLOCK, n;

	if (len >= 2 * BLOCK && has_instructions()) {
		n = begun ? BLOCK - begun : 0; /* to the end of a block that has begun */
		SHA256Update(sha, p, n);
		p += n;
		len -= n;
		n = len / BLOCK;
		blocks(sha->state.st32, p, n);
		sha->bitcount[0] += (uint64_t)n * BLOCK * 8;
		p += n * BLOCK;
		len -= n * BLOCK;
	}
	SHA256Update(sha, p, len);
}

void weir_blob_digest(const void *data, size_t size, size_t at, uint8_t ret[32])
{
	static const uint8_t none[32];
	const uint8_t *d = data;
	SHA2_CTX sha;

	SHA256Init(&sha);
	weir_sha256_update(&sha, d, at);
	weir_sha256_update(&sha, none, sizeof none);
	weir_sha256_update(&sha, d + at + 32, size - at - 32);
	SHA256Final(ret, &sha);
}
