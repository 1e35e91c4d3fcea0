/* SPDX-License-Identifier: Apache-2.0 */
/* A rule's conditions in words, read back from the image, so that a list shows what is really in force. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/worker/worker.h"
#include "lib/event/event.h"
#include "lib/policy/daytime.h"
#include "lib/util/text.h"

#define RANGES_SHOWN 2 /* of an inline list; the rest is counted */

struct words {
	char *at;
	size_t room;
	size_t len;
	json_t *list; /* not NULL: ranges go here, one string each, and not into the text */
	size_t most;  /* ranges that are told */
};

static void say(struct words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct words *w, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(w->at + w->len, w->room - w->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		w->len = w->len + (size_t)n < w->room ? w->len + (size_t)n : w->room - 1;
}

static void say_v4(struct words *w, uint32_t low, uint32_t high)
{
	struct in_addr a = { htonl(low) }, b = { htonl(high) };
	char text[INET_ADDRSTRLEN];
	uint32_t size = high - low + 1; /* 0: everything */

	inet_ntop(AF_INET, &a, text, sizeof text);
	say(w, "%s", text);
	if (size == 1)
		return;
	if (!(size & (size - 1)) && !(low & (size - 1))) {
		say(w, "/%d", size ? 32 - __builtin_ctz(size) : 0);
	} else {
		inet_ntop(AF_INET, &b, text, sizeof text);
		say(w, "-%s", text);
	}
}

static void addr6(uint64_t hi, uint64_t lo, uint8_t ret[16])
{
	for (int i = 0; i < 8; i++) {
		ret[i] = (uint8_t)(hi >> (56 - 8 * i));
		ret[8 + i] = (uint8_t)(lo >> (56 - 8 * i));
	}
}

static void say_v6(struct words *w, uint64_t hi, uint64_t lo, uint64_t ehi, uint64_t elo)
{
	uint8_t a[16], b[16];
	char text[INET6_ADDRSTRLEN];
	unsigned same = 0;
	bool cidr = true;

	addr6(hi, lo, a);
	addr6(ehi, elo, b);
	while (same < 128 && !((a[same / 8] ^ b[same / 8]) >> (7 - same % 8) & 1))
		same++;
	for (unsigned i = same; i < 128; i++)
		cidr &= !(a[i / 8] >> (7 - i % 8) & 1) && (b[i / 8] >> (7 - i % 8) & 1);
	inet_ntop(AF_INET6, a, text, sizeof text);
	say(w, "%s", text);
	if (same == 128)
		return;
	if (cidr) {
		say(w, "/%u", same);
	} else {
		inet_ntop(AF_INET6, b, text, sizeof text);
		say(w, "-%s", text);
	}
}

static bool has_list(const struct weir_img *img, uint32_t class_id, uint32_t list)
{
	return weir_img_addr_word(img, class_id, list >> 6) >> (list & 63) & 1;
}

/* A range was written to the text: in a list it becomes an entry, else it is parted from the next. */
static void range_done(struct words *w)
{
	if (w->list) {
		json_array_append_new(w->list, json_string(w->at));
		w->at[0] = 0;
		w->len = 0;
	} else {
		say(w, ",");
	}
}

/* The IPv4 ranges of a list; returns how many there are. */
static uint32_t say_list4(struct words *w, const struct weir_img *img, uint32_t list)
{
	uint32_t found = 0, n = img->cfg->n_bounds4;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t from = weir_img_bound4(img, i)->low, to;

		if (!has_list(img, weir_img_bound4(img, i)->class_id, list))
			continue;
		while (i + 1 < n && has_list(img, weir_img_bound4(img, i + 1)->class_id, list))
			i++;
		to = i + 1 < n ? weir_img_bound4(img, i + 1)->low - 1 : UINT32_MAX;
		if (found++ < w->most) {
			say_v4(w, from, to);
			range_done(w);
		}
	}
	return found;
}

static uint32_t say_list6(struct words *w, const struct weir_img *img, uint32_t list, uint32_t found)
{
	uint32_t n = img->cfg->n_bounds6;

	for (uint32_t i = 0; i < n; i++) {
		const struct weir_bound6 *from = weir_img_bound6(img, i), *next;
		uint64_t hi = UINT64_MAX, lo = UINT64_MAX;

		if (!has_list(img, from->class_id, list))
			continue;
		while (i + 1 < n && has_list(img, weir_img_bound6(img, i + 1)->class_id, list))
			i++;
		next = i + 1 < n ? weir_img_bound6(img, i + 1) : NULL;
		if (next) {
			lo = next->lo - 1;
			hi = next->hi - (next->lo ? 0 : 1);
		}
		if (found++ < w->most) {
			say_v6(w, from->hi, from->lo, hi, lo);
			range_done(w);
		}
	}
	return found;
}

static void say_addrs(struct words *w, const struct weir_img *img, const char *what, uint32_t list)
{
	const struct weir_list_info *info = weir_img_at(img, &img->h->lists, list, sizeof *info);
	const char *name = info ? weir_img_string(img, info->name) : "";
	const struct weir_span *s = list & WEIR_SPAN ? weir_img_span(img, list & ~WEIR_SPAN) : NULL;
	uint32_t n;

	say(w, "%s ", what);
	if (s && !s->lo_hi && s->lo_lo >> 32 == 0xffff) {
		say_v4(w, (uint32_t)s->lo_lo, (uint32_t)s->hi_lo);
		say(w, " ");
		return;
	}
	if (s) {
		say_v6(w, s->lo_hi, s->lo_lo, s->hi_hi, s->hi_lo);
		say(w, " ");
		return;
	}
	if (*name) {
		say(w, "%s ", name);
		return;
	}
	n = say_list4(w, img, list);
	n = say_list6(w, img, list, n);
	if (w->len && w->at[w->len - 1] == ',')
		w->at[--w->len] = 0;
	say(w, n > RANGES_SHOWN ? " and %u more " : " ", n - RANGES_SHOWN);
}

json_t *weir_list_json(const struct weir_img *img, uint32_t list, size_t most)
{
	char text[128] = "";
	struct words w = { .at = text, .room = sizeof text, .list = json_array(), .most = most };

	say_list6(&w, img, list, say_list4(&w, img, list));
	return w.list;
}

static void say_ports(struct words *w, const struct weir_img *img, const char *what, const struct weir_ports *p)
{
	uint32_t found = 0, n = img->cfg->n_bounds_port, list = p->list;

	say(w, "%s ", what);
	if (list == WEIR_NO_LIST) {
		say(w, p->hi > p->lo ? "%u-%u " : "%u ", p->lo, p->hi);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t from = weir_img_bound_port(img, i)->low, to;

		if (!(weir_img_port_word(img, weir_img_bound_port(img, i)->class_id, list >> 6) >> (list & 63) & 1))
			continue;
		while (i + 1 < n && (weir_img_port_word(img, weir_img_bound_port(img, i + 1)->class_id, list >> 6) >>
				     (list & 63) & 1))
			i++;
		to = i + 1 < n ? weir_img_bound_port(img, i + 1)->low - 1 : 65535;
		say(w, to > from ? "%s%u-%u" : "%s%u", found++ ? "," : "", from, to);
	}
	say(w, " ");
}

static void say_protos(struct words *w, const struct weir_cond *c)
{
	char text[8];
	int n = 0;

	for (uint32_t p = 0; p < 256; p++) {
		if (c->protos[p >> 6] >> (p & 63) & 1)
			say(w, "%s%s", n++ ? "," : "", weir_proto_text(p, text));
	}
	say(w, " ");
}

static void say_interfaces(struct words *w, const struct weir_img *img, const char *what, uint64_t bits)
{
	int n = 0;

	say(w, "%s ", what);
	for (uint32_t i = 0; i < img->h->ifpats.count; i++) {
		const struct weir_ifpat *p = weir_img_at(img, &img->h->ifpats, i, sizeof *p);

		if (bits >> i & 1)
			say(w, "%s%.16s", n++ ? "," : "", p->glob);
	}
	say(w, " ");
}

static void say_times(struct words *w, const struct weir_times *t)
{
	char text[32];

	for (uint32_t i = 0; t && i < WEIR_WINDOWS_MAX && t->w[i].days; i++)
		say(w, "%s%s", i ? ", " : "", weir_window_text(&t->w[i], text, sizeof text));
	say(w, " ");
}

static void say_l2(struct words *w, const struct weir_img *img, const struct weir_cond *c)
{
	if (c->set & WEIR_C_IN_IF)
		say_interfaces(w, img, "in", c->in_if);
	if (c->set & WEIR_C_OUT_IF)
		say_interfaces(w, img, "out", c->out_if);
	if (c->set & WEIR_C_ANY_IF)
		say_interfaces(w, img, "on", c->any_if);
	for (uint32_t i = 0; (c->set & WEIR_C_VLAN) && i < c->n_vlan && i < WEIR_VLAN_MAX; i++)
		say(w, "vlan %u ", c->vlan[i]);
	for (uint32_t i = 0; (c->set & WEIR_C_MAC) && i < c->n_mac && i < WEIR_MAC_MAX; i++) {
		uint64_t m = c->mac[i];

		say(w, "mac %02x:%02x:%02x:%02x:%02x:%02x ", (unsigned)(m >> 40 & 255), (unsigned)(m >> 32 & 255),
		    (unsigned)(m >> 24 & 255), (unsigned)(m >> 16 & 255), (unsigned)(m >> 8 & 255), (unsigned)(m & 255));
	}
	if (c->set & WEIR_C_TIME)
		say_times(w, weir_img_times(img, c->time));
	if (c->set & WEIR_C_MARK)
		say(w, "mark 0x%x/0x%x ", c->mark, c->mark_mask);
}

static void say_icmp(struct words *w, const struct weir_icmp_match *m)
{
	say(w, "icmp%s type %u", m->family == 6 ? "v6" : "", m->type);
	if (m->code_min == m->code_max)
		say(w, " code %u", m->code_min);
	else if (m->code_min || m->code_max != 255)
		say(w, " code %u-%u", m->code_min, m->code_max);
	say(w, " ");
}

static void say_cond(struct words *w, const struct weir_img *img, const struct weir_cond *c)
{
	if ((c->set & WEIR_C_DIR) && c->dirs != WEIR_DIR_ANY) {
		for (uint32_t d = WEIR_DIR_IN; d <= WEIR_DIR_FWD; d <<= 1) {
			if (c->dirs & d)
				say(w, "%s ", weir_dir_text(d));
		}
	}
	if (c->set & WEIR_C_FROM)
		say_addrs(w, img, "from", c->from);
	if (c->set & WEIR_C_TO)
		say_addrs(w, img, "to", c->to);
	if (c->set & WEIR_C_PEER)
		say_addrs(w, img, "peer", c->peer);
	if (c->set & WEIR_C_PORTS)
		say_ports(w, img, "port", &c->ports);
	if (c->set & WEIR_C_SPORTS)
		say_ports(w, img, "source port", &c->sports);
	if (c->set & WEIR_C_PROTO)
		say_protos(w, c);
	if (c->set & WEIR_C_FAMILY)
		say(w, "ipv%u ", c->family);
	for (uint32_t i = 0; (c->set & WEIR_C_ICMP) && i < c->n_icmp && i < WEIR_ICMP_MAX; i++)
		say_icmp(w, &c->icmp[i]);
	say_l2(w, img, c);
}

const char *weir_rule_match(const struct weir_img *img, const struct weir_rule *r, char *buf, size_t size)
{
	struct words w = { .at = buf, .room = size, .most = RANGES_SHOWN };
	char bounds[WEIR_BOUNDS_TEXT];

	buf[0] = 0;
	say_cond(&w, img, &r->pos);
	if (r->flags & WEIR_RF_NOT) {
		say(&w, "not ( ");
		say_cond(&w, img, weir_img_neg(img, r->neg));
		say(&w, ") ");
	}
	if (w.len && buf[w.len - 1] == ' ')
		buf[--w.len] = 0;
	if (!w.len)
		say(&w, "everything");
	if (*weir_rule_more(img, r, bounds, sizeof bounds))
		say(&w, "; %s", bounds);
	return weir_text_whole(buf);
}
