/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness/policies.h"

#include <errno.h>
#include <string.h>

const char *const weir_style_names[] = { "flow", "block", "json" };

struct writer {
	FILE *out;
	enum weir_style style;
	const char *sep; /* in front of the next key of the rule */
};

static void key(struct writer *w, const char *name)
{
	static const char *const next[] = { ", ", "\n    ", "," };

	fprintf(w->out, w->style == WEIR_STYLE_JSON ? "%s\"%s\":" : "%s%s: ", w->sep, name);
	w->sep = next[w->style];
}

static void word(struct writer *w, const char *name, const char *value)
{
	key(w, name);
	fprintf(w->out, w->style == WEIR_STYLE_JSON || strpbrk(value, ":") ? "\"%s\"" : "%s", value);
}

static void address(struct writer *w, const char *name, weir_u128 lo, weir_u128 hi)
{
	struct weir_range r = { lo, hi };
	char text[100];

	word(w, name, weir_range_format(&r, text, sizeof text));
}

static void ports(struct writer *w, const char *name, uint16_t lo, uint16_t hi)
{
	char text[16];

	if (!lo && hi == 65535)
		return;
	key(w, name);
	lo = lo ? lo : 1; /* the language knows no port 0 */
	hi = hi ? hi : 1;
	snprintf(text, sizeof text, lo == hi ? "%u" : "%u-%u", lo, hi);
	fprintf(w->out, lo != hi && w->style == WEIR_STYLE_JSON ? "\"%s\"" : "%s", text);
}

static void rule(struct writer *w, const struct weir_box *b, size_t i)
{
	static const char *const begin[] = { "  - { ", "  - ", "{" }, *const end[] = { " }\n", "\n", "}" };
	static const char *const dirs[] = { NULL, "inbound", "outbound", NULL, "forward", NULL, NULL, NULL };
	static const char *const actions[] = { "allow", "drop", "allow", "reject" };
	bool tcp_udp = b->proto_lo != b->proto_hi || b->proto_lo == 6 || b->proto_lo == 17;
	char text[32];

	fputs(begin[w->style], w->out);
	w->sep = "";
	snprintf(text, sizeof text, "rule %zu", i + 1);
	word(w, "name", text);
	word(w, "action", actions[(i ^ i >> 3) & 3]);
	if (dirs[b->dirs & 7])
		word(w, "direction", dirs[b->dirs & 7]);
	if (b->proto_lo == b->proto_hi)
		word(w, "protocol", b->proto_lo == 1 && b->family == 6 ? "icmpv6" :
				    weir_proto_name(b->proto_lo, text, sizeof text));
	address(w, "from", b->src_lo, b->src_hi);
	address(w, "to", b->dst_lo, b->dst_hi);
	if (tcp_udp) {
		ports(w, "ports", b->dport_lo, b->dport_hi);
		ports(w, "source_ports", b->sport_lo, b->sport_hi);
	}
	fputs(end[w->style], w->out);
}

int weir_policy_write(FILE *out, const struct weir_set *s, enum weir_style style)
{
	struct writer w = { .out = out, .style = style };

	fputs(style == WEIR_STYLE_JSON ? "{\"version\":1,\"mode\":\"prevent\",\"rules\":[\n" :
					 "version: 1\nmode: prevent\nrules:\n", out);
	for (size_t i = 0; i < s->n; i++) {
		if (i && style == WEIR_STYLE_JSON)
			fputs(",\n", out);
		rule(&w, &s->v[i], i);
	}
	if (style == WEIR_STYLE_JSON)
		fputs("\n]}\n", out);
	return ferror(out) ? -EIO : 0;
}
