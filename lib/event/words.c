/* SPDX-License-Identifier: Apache-2.0 */
/* The small words: addresses, protocols, sizes, times. */
#include <arpa/inet.h>
#include <string.h>
#include <time.h>

#include "lib/event/event.h"

const char *weir_addr_text(const uint8_t addr[16], char buf[static WEIR_ADDR_MAX])
{
	if (weir_addr_is_v4(addr))
		inet_ntop(AF_INET, addr + 12, buf, WEIR_ADDR_MAX);
	else
		inet_ntop(AF_INET6, addr, buf, WEIR_ADDR_MAX);
	return buf;
}

const char *weir_addr_port_text(const uint8_t addr[16], uint32_t port, char buf[static WEIR_ADDR_MAX])
{
	char a[WEIR_ADDR_MAX];

	weir_addr_text(addr, a);
	snprintf(buf, WEIR_ADDR_MAX, weir_addr_is_v4(addr) ? "%.45s:%u" : "[%.45s]:%u", a, port & 0xffff);
	return buf;
}

const char *weir_proto_text(uint32_t proto, char buf[static 8])
{
	switch (proto) {
	case WEIR_IPPROTO_ICMP:
		return strcpy(buf, "icmp");
	case WEIR_IPPROTO_IGMP:
		return strcpy(buf, "igmp");
	case WEIR_IPPROTO_TCP:
		return strcpy(buf, "tcp");
	case WEIR_IPPROTO_UDP:
		return strcpy(buf, "udp");
	case WEIR_IPPROTO_ICMPV6:
		return strcpy(buf, "icmpv6");
	case WEIR_IPPROTO_SCTP:
		return strcpy(buf, "sctp");
	case WEIR_IPPROTO_UDPLITE:
		return strcpy(buf, "udplite");
	default:
		snprintf(buf, 8, "%u", proto & 0xff);
		return buf;
	}
}

const char *weir_bytes_text(uint64_t n, char buf[static 8])
{
	static const char units[] = "KMGTPE";
	uint64_t unit = 1000, tenths;
	int u = 0;

	if (n < 1000) {
		snprintf(buf, 8, "%u", (unsigned)n);
		return buf;
	}
	/* the unit in which less than 1,000 remain after rounding: never "1000K" */
	while (u < 5 && n / unit >= 1000 - (n % unit >= unit / 2)) {
		unit *= 1000;
		u++;
	}
	tenths = n / (unit / 10) + (n % (unit / 10) >= unit / 20);
	if (tenths < 100)
		snprintf(buf, 8, "%u.%u%c", (unsigned)(tenths / 10), (unsigned)(tenths % 10), units[u]);
	else
		snprintf(buf, 8, "%u%c", (unsigned)(n / unit + (n % unit >= unit / 2)), units[u]);
	return buf;
}

const char *weir_time_text(uint64_t unix_ns, char buf[static 32])
{
	time_t s = (time_t)(unix_ns / 1000000000u);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(buf, 26, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, 32 - n, ".%03uZ", (unsigned)(unix_ns / 1000000u % 1000));
	return buf;
}

const char *weir_dir_text(uint32_t dir)
{
	return dir == WEIR_DIR_IN  ? "inbound" :
	       dir == WEIR_DIR_OUT ? "outbound" :
	       dir == WEIR_DIR_FWD ? "forward" :
				     "";
}
