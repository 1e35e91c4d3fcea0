/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/wire.h"
#include "tests/bpf/random.h"

static bool one_in(struct weir_random *r, uint32_t n)
{
	return !weir_random(r, n);
}

static uint32_t random_ip4(struct weir_random *r)
{
	static const uint32_t bases[] = { 0x0a000000, 0x0a000000, 0x0a000000, 0x0a000100, 0xc0000200, 0x7f000000 };

	if (one_in(r, 20))
		return one_in(r, 2) ? 0xffffffff : 0xe00000fb;
	return bases[weir_random(r, 6)] + weir_random(r, 7);
}

static void random_ip6(struct weir_random *r, uint8_t a[16])
{
	memset(a, 0, 16);
	if (one_in(r, 12)) {
		memcpy(a, one_in(r, 2) ? "\xfe\x80" : "\xff\x02", 2);
	} else if (one_in(r, 60)) {
		a[10] = a[11] = 0xff;
	} else {
		memcpy(a, "\x20\x01\x0d\xb8", 4);
		a[7] = (uint8_t)weir_random(r, 2);
	}
	a[15] = (uint8_t)weir_random(r, 7);
}

static uint16_t random_port(struct weir_random *r)
{
	static const uint16_t ports[] = { 22, 53, 79, 80, 81, 82, 443, 444, 1023, 1024, 8080, 8081, 40000, 65535 };

	return one_in(r, 40) ? 0 : ports[weir_random(r, sizeof ports / sizeof ports[0])];
}

static void random_l3(struct weir_random *r, struct weir_frame *f, bool v4)
{
	static const uint8_t kinds[] = { 0, 43, 44, 51, 60, 60, 135 };
	uint8_t src[16], dst[16], options[40];
	uint32_t n = 0;

	if (v4) {
		uint16_t frag = one_in(r, 8) ? (uint16_t)(weir_random(r, 4) << 13 | weir_random(r, 6)) : 0;

		if (one_in(r, 8)) {
			n = 4 + 4 * weir_random(r, 10);
			for (uint32_t i = 0; i < n; i++)
				options[i] = one_in(r, 3) ? (uint8_t)weir_random(r, 8) : 1;
			if (one_in(r, 4))
				options[weir_random(r, n)] = one_in(r, 2) ? 131 : 0x94;
		}
		weir_frame_ip4(f, random_ip4(r), random_ip4(r), frag, options, n);
	} else {
		random_ip6(r, src);
		random_ip6(r, dst);
		weir_frame_ip6(f, src, dst);
		for (uint32_t i = one_in(r, 3) ? 1 + weir_random(r, 5) : 0; i > 0; i--) {
			uint8_t kind = kinds[weir_random(r, sizeof kinds)];

			if (kind == 44)
				weir_frame_frag6(f, (uint16_t)(weir_random(r, 5) << 3 | (weir_random(r, 2))), 7);
			else
				weir_frame_ext(f, kind, 8 * (1 + weir_random(r, 4)), (uint8_t)weir_random(r, 3),
					       (uint8_t)weir_random(r, 2));
		}
	}
	f->b[f->l3 + (v4 ? 8 : 7)] = one_in(r, 4) ? 255 : 64;
}

static void random_quote(struct weir_random *r, struct weir_frame *f, bool v4)
{
	struct weir_frame in;

	weir_frame_eth(&in, 0);
	random_l3(r, &in, v4);
	weir_frame_udp(&in, 17, random_port(r), random_port(r));
	weir_frame_end(&in);
	weir_frame_bytes(f, in.b + 14, in.len - 14);
}

static void random_l4(struct weir_random *r, struct weir_frame *f, bool v4)
{
	static const uint8_t flags[] = { 2, 2, 2, 0x12, 0x10, 0x18, 0x11, 4, 0x14, 0xc2, 0, 3, 0x3f };
	static const uint8_t types[] = { 0, 8, 3, 11, 12, 5, 128, 129, 1, 2, 133, 135 };

	switch (weir_random(r, 10)) {
	case 0 ... 3:
		weir_frame_tcp(f, random_port(r), random_port(r), flags[weir_random(r, sizeof flags)], 1, 1);
		if (one_in(r, 4)) {
			f->b[f->l4 + 12] = 0x80;
			weir_frame_bytes(f, NULL, 12);
		}
		break;
	case 4 ... 5:
		weir_frame_udp(f, one_in(r, 6) ? WEIR_IPPROTO_UDPLITE : WEIR_IPPROTO_UDP, random_port(r),
			       random_port(r));
		break;
	case 6 ... 7:
		weir_frame_icmp(f, types[weir_random(r, sizeof types)], (uint8_t)weir_random(r, 5), random_port(r));
		if (one_in(r, 2))
			random_quote(r, f, v4);
		if (one_in(r, 12)) /* of the other family */
			f->b[f->next_at] = v4 ? WEIR_IPPROTO_ICMPV6 : WEIR_IPPROTO_ICMP;
		break;
	case 8:
		weir_frame_sctp(f, random_port(r), random_port(r));
		break;
	default:
		weir_frame_proto(f, one_in(r, 2) ? 50 : 253);
	}
	weir_frame_bytes(f, NULL, weir_random(r, 24));
}

/* Lies: bytes of the headers, lengths, the end. */
static void spoil(struct weir_random *r, struct weir_frame *f)
{
	uint32_t at;

	switch (weir_random(r, 4)) {
	case 0:
		for (uint32_t n = 1 + weir_random(r, 3); n > 0; n--) {
			at = 12 + weir_random(r, f->len - 12);
			f->b[at] = one_in(r, 2) ? (uint8_t)weir_random(r, 256)
						: (uint8_t)(f->b[at] ^ 1 << weir_random(r, 8));
		}
		break;
	case 1:
		if (f->family) {
			at = f->l3 + (f->family == 4 ? 2 : 4);
			weir_put16(f->b + at, weir_be16(f->b + at) + weir_random(r, 9) - 4);
		}
		break;
	case 2:
		if (f->udp)
			weir_put16(f->b + f->udp + 4, weir_random(r, 40));
		break;
	default:
		f->len = 14 + weir_random(r, f->len - 13);
	}
}

void weir_random_frame(struct weir_random *r, struct weir_frame *f)
{
	bool v4 = one_in(r, 2);

	if (one_in(r, 25)) {
		static const uint16_t types[] = { WEIR_ETH_ARP, 0x88cc, 38, WEIR_ETH_QINQ_OLD, 0x8847 };

		weir_frame_eth(f, types[weir_random(r, 5)]);
		weir_frame_bytes(f, NULL, 28 + weir_random(r, 30));
		return;
	}
	weir_frame_eth(f, v4 ? WEIR_ETH_IP4 : WEIR_ETH_IP6);
	f->b[11] = (uint8_t)weir_random(r, 4);
	if (one_in(r, 4))
		for (uint32_t n = 1 + weir_random(r, one_in(r, 5) ? 3 : 2); n > 0; n--)
			weir_frame_vlan(f, one_in(r, 2) ? WEIR_ETH_VLAN : WEIR_ETH_QINQ, (uint16_t)weir_random(r, 8));
	if (one_in(r, 10))
		weir_frame_pppoe(f);
	random_l3(r, f, v4);
	random_l4(r, f, v4);
	weir_frame_end(f);
	if (one_in(r, 4))
		weir_frame_bytes(f, NULL, 1 + weir_random(r, 20)); /* padding */
	if (one_in(r, 4))
		spoil(r, f);
}
