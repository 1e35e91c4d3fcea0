/* SPDX-License-Identifier: Apache-2.0 */
/* What no rule can take away: the built-in entries that the policy has not removed, then its own. */
#include <errno.h>
#include <string.h>

#include "lib/policy/build.h"

static bool removed(const struct weir_policy *p, const char *name)
{
	const struct weir_p_rule *r = p->doc.failsafe.v;

	for (uint32_t i = 0; i < p->doc.failsafe.n; i++)
		if (r[i].remove && !strcmp(r[i].name, name))
			return true;
	return false;
}

size_t weir_policy_failsafe_removed(const struct weir_policy *p, const char **ret_names, size_t n)
{
	const struct weir_p_rule *r = p->doc.failsafe.v;
	size_t count = 0;

	for (uint32_t i = 0; i < p->doc.failsafe.n; i++) {
		if (!r[i].remove)
			continue;
		if (count < n)
			ret_names[count] = r[i].name;
		count++;
	}
	return count;
}

static int add(struct weir_build *b, const char *name, struct weir_rule r)
{
	int err = weir_build_string(b, name, &r.name);

	if (!err)
		err = weir_build_string(b, "built in", &r.place);
	if (err < 0)
		return err;
	r.action = WEIR_ACT_ALLOW;
	r.mode = WEIR_PREVENT;
	b->failsafe[b->n_failsafe++] = r;
	return 0;
}

/* Neighbour discovery is only believed from the link itself (RFC 4861), listener reports likewise (RFC 2710). */
static int add_nd(struct weir_build *b)
{
	static const uint8_t nd[] = { 133, 134, 135, 136 }, mld[] = { 130, 131, 132, 143 };
	struct weir_rule r = { .pos = { .set = WEIR_C_FAMILY | WEIR_C_PROTO | WEIR_C_ICMP | WEIR_C_TTL,
					.family = 6,
					.ttl = 255,
					.n_icmp = 4 } };
	int err;

	r.pos.protos[0] = (uint64_t)1 << WEIR_IPPROTO_ICMPV6;
	for (int i = 0; i < 4; i++)
		r.pos.icmp[i] = (struct weir_icmp_match){ 6, nd[i], 0, 255 };
	err = add(b, "nd", r);
	if (err < 0)
		return err;
	for (int i = 0; i < 4; i++)
		r.pos.icmp[i].type = mld[i];
	r.pos.ttl = 1;
	return add(b, "nd", r);
}

static int add_dhcp(struct weir_build *b)
{
	static const struct {
		uint8_t family, dir;
		uint16_t sport, dport;
	} four[] = { { 4, WEIR_DIR_IN, 67, 68 },
		     { 4, WEIR_DIR_OUT, 68, 67 },
		     { 6, WEIR_DIR_IN, 547, 546 },
		     { 6, WEIR_DIR_OUT, 546, 547 } };
	int err = 0;

	for (int i = 0; i < 4 && !err; i++) {
		struct weir_range src = { four[i].sport, four[i].sport }, dst = { four[i].dport, four[i].dport };
		struct weir_ranges s = { 0 }, d = { 0 };
		struct weir_rule r = { .pos = { .set = WEIR_C_FAMILY | WEIR_C_PROTO | WEIR_C_PORTS | WEIR_C_SPORTS |
						       WEIR_C_DIR,
						.family = four[i].family,
						.dirs = four[i].dir } };

		r.pos.protos[0] = (uint64_t)1 << WEIR_IPPROTO_UDP;
		err = weir_ranges_add(&b->arena, &s, src);
		if (!err)
			err = weir_ranges_add(&b->arena, &d, dst);
		if (!err)
			err = weir_build_ports(b, &s, &r.pos.sports);
		if (!err)
			err = weir_build_ports(b, &d, &r.pos.ports);
		if (!err)
			err = add(b, "dhcp", r);
	}
	return err;
}

/* An address as utmp and /proc have it: perhaps with a zone, perhaps IPv4 inside IPv6. IPv6 counts as its /64. */
static bool session_range(const char *text, struct weir_range *ret)
{
	struct weir_why why;
	char copy[64];

	if (!strncasecmp(text, "::ffff:", 7) && strchr(text, '.'))
		text += 7;
	snprintf(copy, sizeof copy, "%s", text);
	copy[strcspn(copy, "%")] = 0;
	if (weir_range_parse(copy, ret, &why) < 0)
		return false;
	if (ret->lo == ret->hi && !weir_u128_is_v4(ret->lo)) {
		ret->lo = ret->lo >> 64 << 64;
		ret->hi = ret->lo | UINT64_MAX;
	}
	return true;
}

/* The ports of sshd, from anywhere. */
static int add_management(struct weir_build *b)
{
	const struct weir_compile_options *o = b->options;
	struct weir_rule r = { .flags = WEIR_RF_REPLY,
			       .pos = { .set = WEIR_C_PROTO | WEIR_C_PORTS | WEIR_C_DIR, .dirs = WEIR_DIR_IN } };
	struct weir_ranges ports = { 0 };
	int err = o->n_sshd_ports ? 0 : weir_ranges_add(&b->arena, &ports, (struct weir_range){ 22, 22 });

	for (size_t i = 0; i < o->n_sshd_ports && !err; i++)
		err = weir_ranges_add(&b->arena, &ports, (struct weir_range){ o->sshd_ports[i], o->sshd_ports[i] });
	r.pos.protos[0] = (uint64_t)1 << WEIR_IPPROTO_TCP;
	if (!err)
		err = weir_ranges_normal(&b->arena, &ports);
	if (!err)
		err = weir_build_ports(b, &ports, &r.pos.ports);
	return err < 0 ? err : add(b, "management ssh", r);
}

static int add_sshd(struct weir_build *b)
{
	const struct weir_compile_options *o = b->options;
	struct weir_ranges from = { 0 }, ports = { 0 };
	struct weir_rule r = { .flags = WEIR_RF_REPLY,
			       .pos = { .set = WEIR_C_FROM | WEIR_C_PROTO | WEIR_C_PORTS | WEIR_C_DIR,
					.dirs = WEIR_DIR_IN } };
	struct weir_range one;
	int err = 0;

	if (o->management)
		return add_management(b);
	for (size_t i = 0; i < o->n_session_addrs && !err; i++)
		if (session_range(o->session_addrs[i], &one))
			err = weir_ranges_add(&b->arena, &from, one);
	for (size_t i = 0; i < o->n_sshd_ports && !err; i++)
		err = weir_ranges_add(&b->arena, &ports, (struct weir_range){ o->sshd_ports[i], o->sshd_ports[i] });
	if (err < 0 || !from.n || !ports.n)
		return err;
	r.pos.protos[0] = (uint64_t)1 << WEIR_IPPROTO_TCP;
	err = weir_ranges_normal(&b->arena, &from);
	if (!err)
		err = weir_ranges_normal(&b->arena, &ports);
	if (!err)
		err = weir_build_addrs(b, &from, &r.pos.from);
	if (!err)
		err = weir_build_ports(b, &ports, &r.pos.ports);
	return err < 0 ? err : add(b, "sshd", r);
}

static int add_own(struct weir_build *b)
{
	struct weir_flat_context c = { .policy = b->policy, .arena = &b->arena, .diags = b->diags, .sets = b->sets };
	struct weir_p_rule *r = b->policy->doc.failsafe.v;
	int err = 0;

	for (uint32_t i = 0; i < b->policy->doc.failsafe.n && !err; i++) {
		struct weir_rule model = { .action = WEIR_ACT_ALLOW, .mode = WEIR_PREVENT, .flags = WEIR_RF_REPLY };
		struct weir_flat_rule f;

		if (r[i].remove)
			continue;
		err = weir_rule_flatten(&c, &r[i], &f);
		if (!err)
			err = weir_build_rule(b, &f, WEIR_TO_FAILSAFE, &model);
	}
	return err;
}

int weir_build_failsafe(struct weir_build *b)
{
	static const struct {
		const char *name;
		uint32_t bit;
	} essentials[] = { { "lo", WEIR_ESS_LO },
			   { "arp", WEIR_ESS_ARP },
			   { "icmp-errors", WEIR_ESS_ICMP_ERRORS },
			   { "multicast-replies", WEIR_ESS_MCAST_REPLIES } };
	static const struct {
		const char *name;
		int (*add)(struct weir_build *b);
	} entries[] = { { "nd", add_nd }, { "dhcp", add_dhcp }, { "sshd", add_sshd } };
	int err = 0;

	for (size_t i = 0; i < sizeof essentials / sizeof *essentials; i++)
		if (!removed(b->policy, essentials[i].name))
			b->config.essentials |= essentials[i].bit;
	if (weir_rule_naming_lo(b->policy, NULL))
		b->config.essentials &= ~(uint32_t)WEIR_ESS_LO;
	for (size_t i = 0; i < sizeof entries / sizeof *entries && !err; i++)
		if (!removed(b->policy, entries[i].name))
			err = entries[i].add(b);
	return err < 0 ? err : add_own(b);
}
