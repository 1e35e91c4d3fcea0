/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/pkt.h"
#include "core/wire.h"
#include "tests/bpf/random.h"

uint32_t weir_random(struct weir_random *r, uint32_t n)
{
	r->state ^= r->state << 13;
	r->state ^= r->state >> 7;
	r->state ^= r->state << 17;
	return (uint32_t)(r->state >> 33) % n;
}

static bool one_in(struct weir_random *r, uint32_t n)
{
	return !weir_random(r, n);
}

static const char *const address_pool[] = {
	"0.0.0.0/0",
	"10.0.0.0/8",
	"10.0.0.1",
	"10.0.0.0-10.0.0.3",
	"10.0.0.2-10.0.0.5",
	"10.0.1.0/24",
	"192.0.2.0/24",
	"224.0.0.0/4",
	"255.255.255.255",
	"::/0",
	"2001:db8::/32",
	"2001:db8::1",
	"2001:db8::2-2001:db8::4",
	"fe80::/10",
	"ff00::/8",
	"2001:db8:0:1::/64",
};
static const struct weir_port_range port_pool[] = {
	{ 0, 65535 }, { 80, 80 },    { 22, 22 }, { 1, 1023 },	   { 1024, 65535 },
	{ 79, 81 },   { 443, 8080 }, { 53, 53 }, { 65535, 65535 },
};
#define POOL(p) (sizeof(p) / sizeof((p)[0]))

static struct weir_fixed random_fixed(struct weir_random *r, bool detect, bool reject)
{
	return (struct weir_fixed){ .action = (uint8_t)weir_random(r, reject ? 3 : 2),
				    .mode = detect || one_in(r, 4) ? WEIR_DETECT : WEIR_PREVENT,
				    .log = one_in(r, 4) };
}

static void random_lists(struct weir_random *r, struct weir_imgbuild *b)
{
	uint32_t n = 1 + weir_random(r, 80);

	for (uint32_t i = 0; i < n; i++) {
		uint16_t list = weir_imgbuild_addrs(b, address_pool[weir_random(r, POOL(address_pool))],
						    address_pool[weir_random(r, POOL(address_pool))], NULL);

		if (one_in(r, 10))
			b->addrs[list].n = 0;
	}
	for (uint32_t i = 0; i < POOL(address_pool); i++)
		weir_imgbuild_span(b, strcmp(address_pool[i], "::/0") ? address_pool[i] : "8000::/1");
	n = 1 + weir_random(r, 80);
	for (uint32_t i = 0; i < n; i++) {
		const struct weir_port_range *p = &port_pool[weir_random(r, POOL(port_pool))];

		weir_imgbuild_ports(b, p->lo, p->hi);
	}
}

/* Days and hours that a few minutes of the week tell apart. */
static void random_times(struct weir_random *r, struct weir_imgbuild *b)
{
	b->n_times = one_in(r, 4) ? WEIR_TIMES_MAX : 1 + weir_random(r, 4);
	for (uint32_t i = 0; i < b->n_times; i++)
		for (uint32_t n = weir_random(r, WEIR_WINDOWS_MAX + 1); n > 0; n--)
			b->times[i].w[n - 1] = (struct weir_window){ .days = (uint8_t)weir_random(r, 128),
								     .from = (uint16_t)(weir_random(r, 4) * 360),
								     .to = (uint16_t)(weir_random(r, 5) * 360) };
}

static void random_icmp(struct weir_random *r, struct weir_cond *c)
{
	static const uint8_t types[] = { 0, 1, 2, 3, 8, 11, 128, 129, 133, 255 };

	c->n_icmp = (uint8_t)(1 + weir_random(r, WEIR_ICMP_MAX));
	for (uint32_t i = 0; i < c->n_icmp; i++) {
		uint8_t low = (uint8_t)weir_random(r, 4);

		c->icmp[i] = (struct weir_icmp_match){ one_in(r, 2) ? 4 : 6, types[weir_random(r, sizeof types)], low,
						       one_in(r, 2) ? 255 : low };
	}
}

static uint32_t random_addrs(struct weir_random *r, const struct weir_imgbuild *b)
{
	return one_in(r, 2) ? weir_random(r, b->n_addrs) : WEIR_SPAN | weir_random(r, b->n_spans);
}

static struct weir_ports random_ports(struct weir_random *r, const struct weir_imgbuild *b)
{
	const struct weir_port_range *p = &port_pool[weir_random(r, POOL(port_pool))];

	if (one_in(r, 2))
		return (struct weir_ports){ .list = (uint16_t)weir_random(r, b->n_ports) };
	return (struct weir_ports){ WEIR_NO_LIST, p->lo, p->hi };
}

/* Any conditions, each as likely as `odds` says; their values from the pools. */
static void random_cond(struct weir_random *r, struct weir_imgbuild *b, struct weir_cond *c, uint32_t odds)
{
	static const uint8_t protos[] = { 1, 6, 6, 17, 17, 58, 132, 136, 50, 135, 253 };
	static const uint8_t dirs[] = { 1, 2, 4, 3, 5, 7 };

	for (uint32_t bit = 0; 1u << bit <= WEIR_C_TIME; bit++)
		if (one_in(r, odds))
			c->set |= 1u << bit;
	c->from = random_addrs(r, b);
	c->to = random_addrs(r, b);
	c->peer = random_addrs(r, b);
	c->ports = random_ports(r, b);
	c->sports = random_ports(r, b);
	for (uint32_t n = 1 + weir_random(r, 3); n > 0 && (c->set & WEIR_C_PROTO); n--)
		weir_cond_proto(c, protos[weir_random(r, sizeof protos)]);
	random_icmp(r, c);
	c->n_vlan = (uint8_t)weir_random(r, WEIR_VLAN_MAX + 1);
	for (uint32_t i = 0; i < c->n_vlan; i++)
		c->vlan[i] = (uint16_t)(1 + weir_random(r, 6));
	c->n_mac = (uint8_t)(1 + weir_random(r, WEIR_MAC_MAX));
	for (uint32_t i = 0; i < c->n_mac; i++)
		c->mac[i] = 0x020000000000ull + weir_random(r, 3);
	c->mark_mask = one_in(r, 2) ? 0xff : 1;
	c->mark = weir_random(r, 2) & c->mark_mask;
	c->in_if = 1u << weir_random(r, 4);
	c->out_if = 1u << weir_random(r, 4);
	c->any_if = 1u << weir_random(r, 4);
	c->family = one_in(r, 2) ? 4 : 6;
	c->ttl = one_in(r, 2) ? 64 : 255;
	c->dirs = dirs[weir_random(r, sizeof dirs)];
	c->time = (uint16_t)weir_random(r, b->n_times);
}

static void random_rule(struct weir_random *r, struct weir_imgbuild *b, struct weir_rule *rule, bool detect)
{
	rule->mode = detect || one_in(r, 4) ? WEIR_DETECT : WEIR_PREVENT;
	random_cond(r, b, &rule->pos, 8);
	if (one_in(r, 4)) {
		random_cond(r, b, weir_imgbuild_neg(b, rule), 12);
	}
	if (one_in(r, 5))
		rule->flags |= WEIR_RF_LOG;
}

/* An entry of any kind, or one like those that are built in: a service, DHCP, neighbour discovery. */
static void random_failsafe(struct weir_random *r, struct weir_imgbuild *b)
{
	struct weir_rule *rule = weir_imgbuild_failsafe(b);
	struct weir_cond *c = &rule->pos;
	uint32_t kind = weir_random(r, 4);

	random_cond(r, b, c, kind ? 40 : 6);
	if (kind == 0)
		c->set |= WEIR_C_FROM | WEIR_C_DIR;
	if (kind == 1 || kind == 2) {
		c->set |= WEIR_C_PROTO | WEIR_C_PORTS | WEIR_C_DIR | (kind == 2 ? WEIR_C_SPORTS | WEIR_C_FAMILY : 0);
		weir_cond_proto(c, one_in(r, 2) ? WEIR_IPPROTO_TCP : WEIR_IPPROTO_UDP);
	}
	if (kind == 3)
		c->set |= WEIR_C_ICMP | WEIR_C_TTL | (one_in(r, 2) ? WEIR_C_FAMILY : 0);
	if (one_in(r, 10))
		random_cond(r, b, weir_imgbuild_neg(b, rule), 12);
	rule->flags |= one_in(r, 2) ? WEIR_RF_REPLY : 0;
}

void weir_random_image(struct weir_random *r, struct weir_imgbuild *b)
{
	bool detect = one_in(r, 8);
	uint32_t n = one_in(r, 6) ? 64 + weir_random(r, 400) : weir_random(r, 40);

	weir_imgbuild_init(b);
	b->cfg.mode = detect ? WEIR_DETECT : WEIR_PREVENT;
	b->cfg.essentials = one_in(r, 2) ? WEIR_ESS_ARP : 0;
	b->cfg.proto_features = WEIR_FEAT_REJECT | WEIR_FEAT_XDP_DROP;
	for (int i = 0; i < 3; i++)
		b->cfg.defaults[i] = random_fixed(r, detect, true);
	b->cfg.malformed = random_fixed(r, detect, true);
	b->cfg.fragments = random_fixed(r, detect, false);
	b->cfg.unknown_l2 = random_fixed(r, detect, false);
	b->cfg.on_error = random_fixed(r, detect, false);
	b->cfg.ban = random_fixed(r, detect, false);
	b->cfg.ban.action = WEIR_ACT_DROP;
	b->cfg.blocklist =
		(struct weir_fixed){ WEIR_ACT_DROP, detect || one_in(r, 4) ? WEIR_DETECT : WEIR_PREVENT, 0, 0 };
	random_lists(r, b);
	random_times(r, b);
	if (one_in(r, 2)) {
		b->cfg.proto_features |= WEIR_FEAT_BLOCKLIST;
		b->block = (uint16_t)weir_random(r, b->n_addrs);
	}
	for (uint32_t i = 0; i < n; i++) {
		static const uint8_t actions[] = { WEIR_ACT_ALLOW, WEIR_ACT_ALLOW, WEIR_ACT_DROP, WEIR_ACT_REJECT,
						   WEIR_ACT_LOG, WEIR_ACT_BAN };
		struct weir_rule *rule = weir_imgbuild_rule(b, actions[weir_random(r, sizeof actions)]);

		random_rule(r, b, rule, detect);
		if (n > 64) /* let packets reach the far end */
			rule->pos.set |= WEIR_C_FROM | WEIR_C_TO | WEIR_C_PORTS;
	}
	for (uint32_t i = one_in(r, 3) ? 0 : one_in(r, 8) ? WEIR_FAILSAFE_MAX : weir_random(r, 6); i > 0; i--)
		random_failsafe(r, b);
}
