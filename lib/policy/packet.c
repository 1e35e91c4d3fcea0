/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet as a person writes it, in two forms:
 *
 *   tcp 10.0.0.1:4000 > 10.0.0.2:1500 inbound on eth0 vlan 10 mark 0x1 mac 02:.. ttl 64 at sat 22:30 fragment
 *   --proto tcp --src 10.0.0.1 --sport 4000 --dst 10.0.0.2 --port 1500 --direction inbound --interface eth0
 *
 * Both end in the same setters, one per word.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "lib/policy/daytime.h"
#include "lib/policy/policy.h"
#include "lib/policy/value.h"

struct packet {
	struct weir_packet_spec s;
	const char *text;
	struct weir_diags *diags;
	bool proto, src, dst, sport, dport, dir, ttl;
	const char *icmp, *on; /* taken in at the end, when family and direction are known */
	char words[4096];
	char *word[64]; /* NUL-terminated, in words, at the same offsets as in text */
	size_t n;
};

static int refuse(struct packet *p, const char *word, const char *message, const char *hint)
{
	unsigned at = word ? (unsigned)(word - p->words) : 0;
	struct weir_diag *d = weir_diags_add(p->diags, WEIR_ERROR, "packet", 1, at + 1,
					     word ? (unsigned)strlen(word) : 1, "%s", message);

	if (d)
		d->source = strdup(p->text);
	if (hint && *hint)
		weir_diag_hint(d, "%s", hint);
	return -EINVAL;
}

static int refuse_why(struct packet *p, const char *word, const struct weir_why *why)
{
	return refuse(p, word, why->message, why->hint);
}

/* --- setters: one word, one fact --- */

static int set_proto(struct packet *p, const char *w)
{
	struct weir_why why;

	if (weir_proto_parse(w, &p->s.proto, &why) < 0)
		return refuse_why(p, w, &why);
	p->proto = true;
	return 0;
}

static int set_addr(struct packet *p, const char *w, const char *text, uint8_t to[static 16])
{
	struct weir_why why;
	weir_u128 a;
	uint8_t family;

	if (weir_addr_parse(text, &a, &why) < 0)
		return refuse_why(p, w, &why);
	family = weir_u128_is_v4(a) ? 4 : 6;
	if (p->s.family && p->s.family != family)
		return refuse(p, w, "one address is IPv4, the other IPv6", NULL);
	p->s.family = family;
	weir_u128_bytes(a, to);
	return 0;
}

static int set_number(struct packet *p, const char *w, const char *text, uint32_t min, uint32_t max, uint32_t *ret)
{
	struct weir_why why;

	return weir_number_parse(text, min, max, ret, &why) < 0 ? refuse_why(p, w, &why) : 0;
}

static int set_src(struct packet *p, const char *w)
{
	p->src = true;
	return set_addr(p, w, w, p->s.t.src);
}

static int set_dst(struct packet *p, const char *w)
{
	p->dst = true;
	return set_addr(p, w, w, p->s.t.dst);
}

static int set_sport(struct packet *p, const char *w)
{
	uint32_t v;
	int err = set_number(p, w, w, 0, 65535, &v); /* no rule can name port 0, but packets have it */

	if (!err)
		p->s.t.sport = (uint16_t)v;
	p->sport = true;
	return err;
}

static int set_dport(struct packet *p, const char *w)
{
	uint32_t v;
	int err = set_number(p, w, w, 0, 65535, &v);

	if (!err)
		p->s.t.dport = (uint16_t)v;
	p->dport = true;
	return err;
}

static int set_direction(struct packet *p, const char *w)
{
	uint8_t d = !strcmp(w, "inbound")    ? WEIR_DIR_IN
		    : !strcmp(w, "outbound") ? WEIR_DIR_OUT
		    : !strcmp(w, "forward")  ? WEIR_DIR_FWD
					     : 0;

	if (!d)
		return refuse(p, w, "unknown direction", "inbound, outbound or forward");
	if (p->dir)
		return refuse(p, w, "a second direction", NULL);
	p->s.dir = d;
	p->dir = true;
	return 0;
}

static int set_name(struct packet *p, const char *w, char to[static 16])
{
	struct weir_why why;

	if (weir_ifglob_check(w, &why) < 0)
		return refuse_why(p, w, &why);
	if (strpbrk(w, "*?"))
		return refuse(p, w, "a packet has one interface, not a glob", NULL);
	snprintf(to, 16, "%s", w);
	return 0;
}

static int set_in(struct packet *p, const char *w)
{
	return set_name(p, w, p->s.in_if);
}

static int set_out(struct packet *p, const char *w)
{
	return set_name(p, w, p->s.out_if);
}

static int set_on(struct packet *p, const char *w)
{
	char name[16];

	p->on = w;
	return set_name(p, w, name);
}

static int set_vlan(struct packet *p, const char *w)
{
	uint32_t v;
	int err = set_number(p, w, w, 1, 4094, &v);

	if (err < 0)
		return err;
	if (p->s.vlan[1])
		return refuse(p, w, "more than two VLAN tags", NULL);
	p->s.vlan[p->s.vlan[0] != 0] = (uint16_t)v;
	return 0;
}

static int set_mark(struct packet *p, const char *w)
{
	struct weir_why why;
	uint32_t mask;

	if (weir_mark_parse(w, &p->s.mark, &mask, &why) < 0)
		return refuse_why(p, w, &why);
	p->s.has_mark = 1;
	return 0;
}

static int set_mac(struct packet *p, const char *w)
{
	struct weir_why why;
	uint64_t mac;

	if (weir_mac_parse(w, &mac, &why) < 0)
		return refuse_why(p, w, &why);
	for (int i = 5; i >= 0; i--, mac >>= 8)
		p->s.mac[i] = (uint8_t)mac;
	p->s.has_mac = 1;
	return 0;
}

static int set_ttl(struct packet *p, const char *w)
{
	uint32_t v;
	int err = set_number(p, w, w, 0, 255, &v);

	if (!err) {
		p->s.ttl = (uint8_t)v;
		p->ttl = true;
	}
	return err;
}

/* A day, a time or both; what is left out is as now. */
static int set_at(struct packet *p, const char *w)
{
	int day = weir_day_parse(w), minute = weir_clock_parse(w);

	if (!p->s.has_minute) {
		time_t now = time(NULL);
		struct tm tm;

		p->s.has_minute = 1;
		p->s.minute = localtime_r(&now, &tm) ? weir_minute_of(&tm) : 0;
	}
	if (minute >= 0 && minute < 1440 && !w[5])
		p->s.minute = p->s.minute / 1440 * 1440 + (uint32_t)minute;
	else if (day >= 0 && !w[3])
		p->s.minute = (uint32_t)day * 1440 + p->s.minute % 1440;
	else
		return refuse(p, w, "expected a day or a time", "write: at sat, at 09:30, or at sat 22:30");
	return 0;
}

static int set_icmp(struct packet *p, const char *w)
{
	p->icmp = w;
	return 0;
}

static int set_icmpv6(struct packet *p, const char *w)
{
	p->s.proto = WEIR_IPPROTO_ICMPV6;
	p->proto = true;
	return set_icmp(p, w);
}

static const struct setter {
	const char *word, *flag; /* in the sentence; as an option */
	int (*set)(struct packet *p, const char *w);
} setters[] = {
	{ NULL, "--proto", set_proto },
	{ NULL, "--src", set_src },
	{ NULL, "--dst", set_dst },
	{ NULL, "--sport", set_sport },
	{ NULL, "--source-port", set_sport },
	{ NULL, "--port", set_dport },
	{ NULL, "--dport", set_dport },
	{ NULL, "--direction", set_direction },
	{ "on", "--interface", set_on },
	{ "in", "--in-interface", set_in },
	{ "out", "--out-interface", set_out },
	{ "vlan", "--vlan", set_vlan },
	{ "mark", "--mark", set_mark },
	{ "mac", "--mac", set_mac },
	{ "ttl", "--ttl", set_ttl },
	{ "at", "--at", set_at },
	{ "type", "--icmp", set_icmp },
	{ NULL, "--icmpv6", set_icmpv6 },
};

/* The value at word *i; behind `at` a day may have its time with it. */
static int set_word(struct packet *p, const struct setter *s, const char *value, size_t *i)
{
	int err = s->set(p, value);

	if (!err && s->set == set_at && weir_day_parse(value) >= 0 && *i + 1 < p->n && p->word[*i + 1][0] >= '0' &&
	    p->word[*i + 1][0] <= '9')
		err = s->set(p, p->word[++*i]);
	return err;
}

/* 'addr', 'addr:port', '[v6]:port' */
static int endpoint(struct packet *p, const char *w, uint8_t addr[static 16], uint16_t *ret_port, bool *ret_given)
{
	char copy[80];
	char *port = NULL, *text = copy;
	uint32_t v;

	if (strlen(w) >= sizeof copy)
		return refuse(p, w, "bad address", NULL);
	strcpy(copy, w);
	if (*copy == '[') {
		char *end = strchr(copy, ']');

		if (!end || (end[1] && end[1] != ':'))
			return refuse(p, w, "bad address", "[2001:db8::1]:443");
		text++;
		port = end[1] ? end + 2 : NULL;
		*end = 0;
	} else if (strchr(copy, ':') && strchr(copy, ':') == strrchr(copy, ':')) {
		port = strchr(copy, ':');
		*port++ = 0;
	}
	if (set_addr(p, w, text, addr) < 0)
		return -EINVAL;
	if (!port)
		return 0;
	if (set_number(p, w, port, 0, 65535, &v) < 0)
		return -EINVAL;
	*ret_port = (uint16_t)v;
	*ret_given = true;
	return 0;
}

static const char sentence[] = "write: tcp 10.0.0.1:4000 > 10.0.0.2:1500 inbound on eth0";

static int read_sentence(struct packet *p)
{
	size_t i = 4;

	if (p->n < 4 || strcmp(p->word[2], ">"))
		return refuse(p, p->n > 2 ? p->word[2] : NULL, "not a packet", sentence);
	if (set_proto(p, p->word[0]) < 0 || endpoint(p, p->word[1], p->s.t.src, &p->s.t.sport, &p->sport) < 0 ||
	    endpoint(p, p->word[3], p->s.t.dst, &p->s.t.dport, &p->dport) < 0)
		return -EINVAL;
	p->src = p->dst = true;
	for (; i < p->n; i++) {
		const struct setter *s = NULL;

		for (size_t k = 0; k < sizeof setters / sizeof *setters; k++)
			if (setters[k].word && !strcmp(setters[k].word, p->word[i]))
				s = &setters[k];
		if (s && i + 1 == p->n)
			return refuse(p, p->word[i], "a value is missing behind it", NULL);
		if (s) {
			i++;
			if (set_word(p, s, p->word[i], &i) < 0)
				return -EINVAL;
		} else if (!strcmp(p->word[i], "fragment")) {
			p->s.frag = WEIR_FRAG_LATER;
		} else if ((p->s.proto == WEIR_IPPROTO_ICMP || p->s.proto == WEIR_IPPROTO_ICMPV6) && !p->icmp &&
			   strcmp(p->word[i], "inbound") && strcmp(p->word[i], "outbound") &&
			   strcmp(p->word[i], "forward")) {
			p->icmp = p->word[i];
		} else if (set_direction(p, p->word[i]) < 0) {
			return -EINVAL;
		}
	}
	return 0;
}

static int read_flags(struct packet *p)
{
	for (size_t i = 0; i < p->n; i++) {
		char *w = p->word[i], *value = strchr(w, '=');
		const struct setter *s = NULL;

		if (!strcmp(w, "--fragment")) {
			p->s.frag = WEIR_FRAG_LATER;
			continue;
		}
		if (value)
			*value++ = 0;
		for (size_t k = 0; k < sizeof setters / sizeof *setters; k++)
			if (!strcmp(setters[k].flag, w))
				s = &setters[k];
		if (!s)
			return refuse(p, w, "unknown option of a packet",
				      "--proto --src --sport --dst --port --direction --interface --icmp --icmpv6 "
				      "--vlan --mark --mac --ttl --at");
		if (!value && i + 1 == p->n)
			return refuse(p, w, "a value is missing behind it", NULL);
		if (!value)
			value = p->word[++i];
		if (set_word(p, s, value, &i) < 0)
			return -EINVAL;
	}
	if (p->icmp && !p->proto) { /* a type names its protocol, as it does in a rule */
		p->s.proto = p->s.family == 6 ? WEIR_IPPROTO_ICMPV6 : WEIR_IPPROTO_ICMP;
		p->proto = true;
	}
	if (!p->proto || !p->src || !p->dst)
		return refuse(p, NULL, "a packet needs --proto, --src and --dst", NULL);
	return 0;
}

/* An ICMP message by itself says which hop limit is honest: neighbour discovery 255, listener reports 1. */
static uint8_t usual_ttl(const struct weir_packet_spec *s)
{
	if (s->family != 6 || s->proto != WEIR_IPPROTO_ICMPV6)
		return 64;
	if (s->icmp_type >= 133 && s->icmp_type <= 137)
		return 255;
	return (s->icmp_type >= 130 && s->icmp_type <= 132) || s->icmp_type == 143 ? 1 : 64;
}

static int finish_icmp(struct packet *p)
{
	struct weir_icmp_match m[2];
	const char *w = p->icmp ? p->icmp : "echo-request";
	struct weir_why why;

	if (weir_icmp_parse(w, p->s.family, m, &why) < 0)
		return p->icmp ? refuse_why(p, w, &why) : -EINVAL;
	if (m[0].family != p->s.family)
		m[0] = m[1];
	if (m[0].family != p->s.family)
		return refuse(p, p->icmp, "this family has no such ICMP type", NULL);
	p->s.icmp_type = m[0].type;
	p->s.icmp_code = m[0].code_min;
	p->s.has_icmp = 1;
	return 0;
}

static int finish(struct packet *p)
{
	struct weir_packet_spec *s = &p->s;
	bool icmp = s->proto == WEIR_IPPROTO_ICMP || s->proto == WEIR_IPPROTO_ICMPV6;

	if (!s->dir)
		s->dir = WEIR_DIR_IN;
	if (icmp && (s->proto == WEIR_IPPROTO_ICMP) != (s->family == 4))
		return refuse(p, p->word[0], "this ICMP does not go with these addresses", "IPv4: icmp, IPv6: icmpv6");
	if (p->icmp && !icmp)
		return refuse(p, p->icmp, "only ICMP has a type", NULL);
	if (icmp && finish_icmp(p) < 0)
		return -EINVAL;
	if ((p->sport || p->dport) && !weir_proto_has_ports(s->proto))
		return refuse(p, p->word[0], "this protocol has no ports", NULL);
	if (!s->frag && weir_proto_has_ports(s->proto) && !p->dport)
		return refuse(p, NULL, "the port of the destination is missing", sentence);
	if (!s->frag && weir_proto_has_ports(s->proto) && !p->sport)
		s->t.sport = 40000; /* any of the ephemeral ports */
	if (p->on && s->dir == WEIR_DIR_FWD)
		return refuse(p, p->on, "a forwarded packet has two interfaces", "write 'in eth0 out eth1'");
	if (p->on)
		snprintf(s->dir == WEIR_DIR_OUT ? s->out_if : s->in_if, sizeof s->in_if, "%s", p->on);
	if (!p->ttl)
		s->ttl = usual_ttl(s);
	s->t.zone = weir_zone(s->proto, s->vlan[0], s->vlan[1]);
	return 0;
}

int weir_packet_parse(const char *text, struct weir_packet_spec *ret, struct weir_diags *diags)
{
	struct packet p = { .text = text, .diags = diags };
	int err;

	if (strlen(text) >= sizeof p.words)
		return refuse(&p, NULL, "too long for a packet", NULL);
	strcpy(p.words, text);
	for (char *w = p.words; *w;) {
		w += strspn(w, " \t\n");
		if (!*w)
			break;
		if (p.n == sizeof p.word / sizeof *p.word)
			return refuse(&p, w, "too many words for a packet", NULL);
		p.word[p.n++] = w;
		w += strcspn(w, " \t\n");
		if (*w)
			*w++ = 0;
	}
	if (!p.n)
		return refuse(&p, NULL, "no packet stands here", sentence);
	err = !strncmp(p.word[0], "--", 2) ? read_flags(&p) : read_sentence(&p);
	if (!err)
		err = finish(&p);
	if (err < 0)
		return err;
	*ret = p.s;
	return 0;
}
