/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet parser over hostile bytes. The first three bytes of the input choose the device (Ethernet, or
 * none in front of IPv4, IPv6 or something else) and the VLAN tag beside the frame; the rest is the frame, in
 * a buffer of exactly its size, so that one byte read too far is an error and not luck. What the programs in
 * the kernel rely on afterwards is asserted: offsets inside the frame, one meaning per field.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool ok)
{
	if (!ok)
		abort();
}

static void check_packet(const struct weir_pkt *p, enum weir_reason reason, uint32_t len)
{
	expect(reason < WEIR_REASON_COUNT);
	expect(p->l3_off <= len && p->l4_off <= len);
	if (reason == WEIR_REASON_NOT_IP || reason == WEIR_REASON_UNKNOWN_L2)
		expect(!p->family && !(p->has & WEIR_HAS_PORTS));
	if (reason != WEIR_REASON_NONE)
		return;
	expect(p->family == 4 || p->family == 6);
	expect(p->l4_off > p->l3_off);
	expect(p->ip_len >= p->payload_len && p->l3_off + p->ip_len <= len);
	expect(weir_addr_is_v4(p->t.src) == (p->family == 4) && weir_addr_is_v4(p->t.dst) == (p->family == 4));
	if (p->frag == WEIR_FRAG_LATER)
		expect(!(p->has & (WEIR_HAS_PORTS | WEIR_HAS_ICMP | WEIR_HAS_INNER)));
	expect(!(p->has & WEIR_HAS_PORTS) || !(p->has & WEIR_HAS_ICMP));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t device[4] = { 0, WEIR_ETH_IP4, WEIR_ETH_IP6, WEIR_ETH_PPPOE };
	struct weir_pkt first = { 0 }, again = { 0 };
	struct weir_cursor c;
	uint32_t meta, len;
	enum weir_reason reason;
	uint8_t *frame;

	if (size < 3)
		return -1;
	meta = data[0] & 4 ? WEIR_META_TAG | (uint32_t)data[1] << 8 | data[2] : 0;
	len = (uint32_t)size - 3;
	frame = malloc(len ? len : 1);
	if (!frame)
		return -1;
	memcpy(frame, data + 3, len);
	c = (struct weir_cursor){ .data = frame, .end = frame + len, .frame_len = len };
	reason = weir_parse(&c, &first, device[data[0] & 3], meta);
	check_packet(&first, reason, len);
	/* the same bytes mean the same */
	c = (struct weir_cursor){ .data = frame, .end = frame + len, .frame_len = len };
	expect(weir_parse(&c, &again, device[data[0] & 3], meta) == reason);
	expect(!memcmp(&first, &again, sizeof first));
	free(frame);
	return 0;
}
