/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The words that every room shares. core/ is pure: it is compiled by gcc, by clang for BPF and by
 * clang for wasm32, always freestanding, so only the compiler's own headers may be named here.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the kernel all of it is one function, as the verifier sees it; elsewhere the compiler knows better. */
#ifdef __bpf__
#define WEIR_INLINE static inline __attribute__((always_inline))
#else
#define WEIR_INLINE static inline
#endif

/*
 * What stands in memory must be read again. In the kernel that memory is a map value, of which the verifier
 * remembers nothing: so many paths become one at such a place, and its work stays linear.
 */
#define WEIR_REREAD() __asm__ volatile("" : : : "memory")

/* Three-valued logic (Kleene). UNKNOWN is a condition over a fact that has not been seen yet. */
enum weir_tri { WEIR_FALSE = 0, WEIR_TRUE = 1, WEIR_UNKNOWN = 2 };

/* Directions as bits, so that a rule can name several of them. */
enum {
	WEIR_DIR_IN = 1,  /* to an address of this host */
	WEIR_DIR_OUT = 2, /* from a socket of this host */
	WEIR_DIR_FWD = 4, /* through this host: routed or bridged */
	WEIR_DIR_ANY = 7,
};

/* Ordered from soft to hard. */
enum weir_verdict { WEIR_PASS = 0, WEIR_DROP = 1, WEIR_REJECT = 2 };

enum weir_mode { WEIR_DETECT = 0, WEIR_PREVENT = 1 };

#define WEIR_IPPROTO_ICMP 1
#define WEIR_IPPROTO_IGMP 2
#define WEIR_IPPROTO_TCP 6
#define WEIR_IPPROTO_UDP 17
#define WEIR_IPPROTO_ICMPV6 58
#define WEIR_IPPROTO_SCTP 132
#define WEIR_IPPROTO_UDPLITE 136

/*
 * Bytes on the wire, at any address. clang makes a load of every byte of what need not be aligned; the kernels read whole
 * words anywhere but on the stack, so for BPF it is told that they are. Nothing on a stack may come here.
 */
#if defined(__bpf__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
typedef uint16_t __attribute__((may_alias)) weir_any16;
typedef uint32_t __attribute__((may_alias)) weir_any32;
typedef uint64_t __attribute__((may_alias)) weir_any64;

WEIR_INLINE uint16_t weir_be16(const uint8_t *b)
{
	return __builtin_bswap16(*(const weir_any16 *)b);
}

WEIR_INLINE uint32_t weir_be32(const uint8_t *b)
{
	return __builtin_bswap32(*(const weir_any32 *)b);
}

WEIR_INLINE uint64_t weir_be64(const uint8_t *b)
{
	return __builtin_bswap64(*(const weir_any64 *)b);
}

WEIR_INLINE void weir_put64(uint8_t *to, uint64_t x)
{
	*(weir_any64 *)to = __builtin_bswap64(x);
}

WEIR_INLINE void weir_copy16(uint8_t *to, const uint8_t *from)
{
	weir_any64 *t = (weir_any64 *)to;
	const weir_any64 *f = (const weir_any64 *)from;
	uint64_t lo = f[0], hi = f[1];

	t[0] = lo;
	t[1] = hi;
}

WEIR_INLINE void weir_copy6(uint8_t *to, const uint8_t *from)
{
	*(weir_any32 *)to = *(const weir_any32 *)from;
	*(weir_any16 *)(to + 4) = *(const weir_any16 *)(from + 4);
}
/* An IPv4 address at its place in the IPv6 ones. */
WEIR_INLINE void weir_map4(uint8_t *to, const uint8_t *from)
{
	weir_any64 *t = (weir_any64 *)to;

	t[0] = 0;
	t[1] = (uint64_t)*(const weir_any32 *)from << 32 | 0xffff0000u;
}
#else
WEIR_INLINE uint16_t weir_be16(const uint8_t b[static 2])
{
	return (uint16_t)((uint16_t)b[0] << 8 | b[1]);
}

WEIR_INLINE uint32_t weir_be32(const uint8_t b[static 4])
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

WEIR_INLINE uint64_t weir_be64(const uint8_t b[static 8])
{
	return (uint64_t)weir_be32(b) << 32 | weir_be32(b + 4);
}

WEIR_INLINE void weir_put64(uint8_t to[static 8], uint64_t x)
{
	for (int i = 8; i-- > 0; x >>= 8)
		to[i] = (uint8_t)x;
}

WEIR_INLINE void weir_copy16(uint8_t to[static 16], const uint8_t from[static 16])
{
	__builtin_memcpy(to, from, 16);
}

WEIR_INLINE void weir_copy6(uint8_t to[static 6], const uint8_t from[static 6])
{
	__builtin_memcpy(to, from, 6);
}

WEIR_INLINE void weir_map4(uint8_t out[static 16], const uint8_t in[static 4])
{
	__builtin_memset(out, 0, 10);
	out[10] = out[11] = 0xff;
	__builtin_memcpy(out + 12, in, 4);
}
#endif
