/* SPDX-License-Identifier: Apache-2.0 */
/* What a policy means: the compiled form asked through the kernel's own evaluation. */
#include <errno.h>

#include "lib/policy/test_compiled.h"
#include "lib/policy/value.h"
#include "lib/util/cleanup.h"

static struct weir_result judge(struct fixture *f, const char *packet)
{
	struct weir_packet_spec s;
	struct weir_facts facts;
	struct weir_result r;

	if (weir_packet_parse(packet, &s, &f->diags) < 0) {
		weir_diags_format(stderr, &f->diags, false);
		fail_msg("%s", packet);
	}
	weir_packet_facts(&f->img, &s, &facts);
	weir_packet_judge(&f->img, &facts, false, &r);
	return r;
}

/* Each line: verdict, name of the rule, packet. */
struct want {
	uint8_t verdict;
	const char *rule, *packet;
};

static void expect(struct fixture *f, const struct want *w, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct weir_result r = judge(f, w[i].packet);
		char name[100];

		weir_rule_name(&f->img, r.enforced_rule, name, sizeof name);
		if (r.enforced_reason == WEIR_REASON_BLOCKLIST)
			snprintf(name, sizeof name, "blocklist");
		if (r.enforced != w[i].verdict || strcmp(name, w[i].rule))
			fail_msg("%s: %s by '%s'", w[i].packet, weir_verdict_name(r.enforced), name);
	}
}
#define EXPECT(f, ...)                                          \
	do {                                                    \
		const struct want wants[] = { __VA_ARGS__ };    \
		expect(f, wants, sizeof wants / sizeof *wants); \
	} while (0)

static void test_failures(void **state)
{
	static const char *const all = "daemon_dead,no_policy,flow_table_full,fragment_lost,ring_full,audit_full,"
				       "hook_missing,unparsable";
	uint32_t bits = 0;
	char bad[32] = "";
	struct fixture f;

	read_policy(&f, "version: 1\nmode: prevent\n");
	compile(&f);
	for (uint32_t i = 0; i < WEIR_FAILURE_COUNT; i++) /* 0 is the default everywhere */
		assert_int_equal(f.img.cfg->failures.choice[i], 0);
	assert_int_equal(f.img.cfg->failures.daemon_after_s, 60);
	done(&f);
	read_policy(&f, "version: 1\nfailures: { daemon_dead: closed, daemon_dead_after: 2m, no_policy: open,\n"
			"  flow_table_full: pass, fragment_lost: pass, ring_full: throttle, audit_full: drop,\n"
			"  hook_missing: refuse }\n");
	compile(&f);
	assert_int_equal(f.img.cfg->failures.choice[WEIR_FAILURE_DAEMON_DEAD], WEIR_DAEMON_CLOSED);
	assert_int_equal(f.img.cfg->failures.choice[WEIR_FAILURE_NO_POLICY], WEIR_NO_POLICY_OPEN);
	assert_int_equal(f.img.cfg->failures.choice[WEIR_FAILURE_TABLE_FULL], WEIR_TABLE_PASS);
	assert_int_equal(f.img.cfg->failures.choice[WEIR_FAILURE_FRAGMENT], WEIR_FRAGMENT_PASS);
	assert_int_equal(f.img.cfg->failures.choice[WEIR_FAILURE_RING_FULL], WEIR_RING_THROTTLE);
	assert_int_equal(f.img.cfg->failures.choice[WEIR_FAILURE_DISK_FULL], WEIR_DISK_DROP);
	assert_int_equal(f.img.cfg->failures.choice[WEIR_FAILURE_HOOK_MISSING], WEIR_HOOK_REFUSE);
	assert_int_equal(f.img.cfg->failures.daemon_after_s, 120);
	done(&f);
	assert_int_equal(weir_failures_parse(all, &bits, bad, sizeof bad), 0);
	assert_int_equal(bits, 0xff);
	assert_int_equal(weir_failures_parse("ring_full", &bits, bad, sizeof bad), 0);
	assert_int_equal(bits, 1u << WEIR_FAILURE_RING_FULL);
	assert_int_equal(weir_failures_parse("ring_full,ring", &bits, bad, sizeof bad), -EINVAL);
	assert_string_equal(bad, "ring");
	assert_int_equal(weir_failures_parse("ring_full,", &bits, bad, sizeof bad), -EINVAL);
	assert_int_equal(weir_failures_parse("", &bits, bad, sizeof bad), -EINVAL);
}

static void test_shuts(void **state)
{
	static const struct {
		const char *text;
		bool shuts;
	} cases[] = {
		{ "mode: prevent\n", true }, /* inbound: drop is the standard */
		{ "mode: detect\n", false },
		{ "", false },
		{ "mode: prevent\ndefault: allow\n", false },
		{ "mode: prevent\ndefault: { inbound: allow, forward: allow }\n", false },
		{ "mode: prevent\ndefault: { inbound: allow, outbound: reject, forward: allow }\n", true },
		{ "mode: prevent\ndefault: { inbound: { action: drop, mode: detect }, forward: allow }\n", false },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[160];
		struct fixture f;

		snprintf(text, sizeof text, "version: 1\n%s", cases[i].text);
		read_policy(&f, text);
		if (weir_policy_shuts(f.p) != cases[i].shuts)
			fail_msg("%s", text);
		compile(&f); /* the image says the same */
		for (int d = 0, n = 0; d < 3; d++) {
			n += f.img.cfg->defaults[d].mode == WEIR_PREVENT &&
			     f.img.cfg->defaults[d].action != WEIR_ACT_ALLOW;
			if (d == 2)
				assert_int_equal(n > 0, cases[i].shuts);
		}
		done(&f);
	}
}

static void test_conditions(void **state)
{
	struct fixture f;

	read_policy(&f, "version: 1\nmode: prevent\ndefault: drop\nrules:\n"
			"  - { name: net, action: allow, from: [10.0.0.0/8, '2001:db8::/32'], protocol: tcp, ports: "
			"[80, 8000-8100] }\n"
			"  - { name: ping, action: allow, icmp: echo-request, direction: inbound }\n"
			"  - { name: pmtu, action: allow, icmp: 3/4 }\n"
			"  - { name: vlan, action: allow, vlan: [1, 2, 3, 4, 5, 6, 7, 8, 9], ports: 7 }\n"
			"  - { name: glob, action: allow, interface: 'veth*', ports: 9 }\n"
			"  - { name: neg, action: allow, direction: outbound, not: { to: 10.0.0.0/8, ports: 25 } }\n"
			"  - { name: gre, action: reject, protocol: gre }\n"
			"  - { name: mark, action: allow, mark: 0x10/0xff, ports: 11 }\n"
			"  - { name: mac, action: allow, mac: '02:00:00:00:00:01', ports: 12 }\n"
			"  - { name: peer, action: reject, peer: 198.51.100.0/24 }\n"
			"  - { name: all6, action: allow, from: '::/0', ports: 13 }\n");
	compile(&f);
	EXPECT(&f, { WEIR_PASS, "net", "tcp 10.255.255.255:1 > 1.1.1.1:80" },
	       { WEIR_DROP, "default inbound", "tcp 11.0.0.0:1 > 1.1.1.1:80" },
	       { WEIR_PASS, "net", "tcp [2001:db8::1]:1 > [2001::1]:8100" },
	       { WEIR_DROP, "default inbound", "tcp [2001:db9::]:1 > [2001::1]:8100" },
	       { WEIR_DROP, "default inbound", "udp 10.0.0.1:1 > 1.1.1.1:80" },
	       { WEIR_DROP, "default inbound", "tcp 10.0.0.1:1 > 1.1.1.1:8101" },
	       { WEIR_PASS, "ping", "icmp 1.2.3.4 > 1.1.1.1 echo-request" },
	       { WEIR_PASS, "ping", "icmpv6 2001::2 > 2001::1 echo-request" },
	       { WEIR_DROP, "default inbound", "icmp 1.2.3.4 > 1.1.1.1 echo-reply" },
	       { WEIR_PASS, "pmtu", "icmp 1.2.3.4 > 1.1.1.1 fragmentation-needed" },
	       { WEIR_PASS, "vlan", "udp 1.2.3.4:1 > 1.1.1.1:7 vlan 9" },
	       { WEIR_PASS, "vlan", "udp 1.2.3.4:1 > 1.1.1.1:7 vlan 100 vlan 3" },
	       { WEIR_DROP, "default inbound", "udp 1.2.3.4:1 > 1.1.1.1:7 vlan 10" },
	       { WEIR_PASS, "glob", "udp 1.2.3.4:1 > 1.1.1.1:9 on veth77" },
	       { WEIR_DROP, "default inbound", "udp 1.2.3.4:1 > 1.1.1.1:9 on eth0" },
	       { WEIR_PASS, "neg", "tcp 1.1.1.1:1 > 10.0.0.1:26 outbound" },
	       { WEIR_PASS, "neg", "tcp 1.1.1.1:1 > 11.0.0.1:25 outbound" },
	       { WEIR_DROP, "default outbound", "tcp 1.1.1.1:1 > 10.0.0.1:25 outbound" },
	       { WEIR_DROP, "default outbound", "icmp 1.1.1.1 > 10.0.0.1 outbound" },
	       { WEIR_REJECT, "gre", "gre 1.1.1.1 > 2.2.2.2 inbound" },
	       { WEIR_PASS, "mark", "tcp 1.1.1.1:1 > 2.2.2.2:11 mark 0x110" },
	       { WEIR_PASS, "mac", "tcp 1.1.1.1:1 > 2.2.2.2:12 mac 02:00:00:00:00:01" },
	       { WEIR_REJECT, "peer", "tcp 198.51.100.1:1 > 2.2.2.2:14" },
	       { WEIR_DROP, "default inbound", "tcp 2.2.2.2:1 > 198.51.100.1:14" },
	       { WEIR_REJECT, "peer", "tcp 2.2.2.2:1 > 198.51.100.1:14 forward in a out b" },
	       { WEIR_PASS, "all6", "tcp [2001::1]:1 > [2001::2]:13" },
	       { WEIR_DROP, "default inbound", "tcp 1.1.1.1:1 > 2.2.2.2:13" },
	       { WEIR_PASS, "nd", "icmpv6 fe80::1 > ff02::1 neighbor-solicitation" },
	       { WEIR_DROP, "default inbound", "icmpv6 fe80::1 > ff02::1 neighbor-solicitation ttl 254" },
	       { WEIR_PASS, "dhcp", "udp 10.0.0.1:67 > 10.0.0.2:68" },
	       { WEIR_PASS, "dhcp", "udp 10.0.0.2:68 > 10.0.0.1:67 outbound" },
	       { WEIR_DROP, "default inbound", "udp 10.0.0.2:68 > 10.0.0.1:67 inbound" });
	done(&f);
}

static void test_groups_add_their_conditions(void **state)
{
	struct fixture f;

	read_policy(
		&f,
		"version: 1\nmode: prevent\ndefault: drop\nsets: { bad: { addresses: 203.0.113.0/24 } }\n"
		"blocklists: [$bad]\nrules:\n"
		"  - group: g\n    when: { direction: inbound, from: 10.0.0.0/8, protocol: [tcp, udp] }\n    rules:\n"
		"      - { name: a, action: allow, from: [10.1.0.0/16, 192.0.2.0/24], ports: 80 }\n"
		"      - { name: b, action: allow, protocol: udp }\n"
		"    otherwise: { action: reject }\n");
	compile(&f);
	EXPECT(&f, { WEIR_PASS, "a", "tcp 10.1.0.1:1 > 1.1.1.1:80" },
	       { WEIR_DROP, "default inbound", "tcp 192.0.2.1:1 > 1.1.1.1:80" }, /* outside the group's network */
	       { WEIR_REJECT, "rule at p.yaml:12", "tcp 10.2.0.1:1 > 1.1.1.1:80" },
	       { WEIR_PASS, "b", "udp 10.2.0.1:1 > 1.1.1.1:99" },
	       { WEIR_DROP, "default outbound", "tcp 10.1.0.1:1 > 1.1.1.1:80 outbound" },
	       { WEIR_DROP, "blocklist", "tcp 203.0.113.9:1 > 1.1.1.1:80" },
	       { WEIR_DROP, "blocklist", "tcp 1.1.1.1:1 > 203.0.113.9:80 outbound" });
	done(&f);
}

/* What an added rule says about lo would never be asked: only the file can take the failsafe entry away. */
static void test_added_rules_and_lo(void **state)
{
	static const char *const files[] = { "version: 1\n", "version: 1\nfailsafe: [ { name: lo, remove: true } ]\n",
					     "version: 1\nrules: [ { action: log, out_interface: lo } ]\n" };
	static const char *const rules[] = { "{\"action\": \"drop\", \"interface\": \"lo\"}",
					     "{\"action\": \"drop\", \"in_interface\": [\"eth0\", \"lo\"]}" };

	for (size_t i = 0; i < 3; i++) {
		struct fixture f;

		read_policy(&f, files[i]);
		for (size_t k = 0; k < 2; k++)
			assert_int_equal(weir_policy_check_rule(f.p, rules[k], &f.diags), i ? 0 : -EINVAL);
		assert_int_equal(f.diags.errors, i ? 0 : 2);
		assert_int_equal(weir_policy_check_rule(f.p, "{\"action\": \"drop\", \"interface\": \"eth0\"}", &f.diags), 0);
		weir_policy_free(f.p);
		weir_diags_free(&f.diags);
	}
}

/* Ports mean tcp and udp only where nobody says a protocol: a group that does has said it for its rules. */
static void test_groups_say_the_protocol_of_ports(void **state)
{
	struct fixture f;

	read_policy(&f, "version: 1\nmode: prevent\ndefault: allow\nrules:\n"
			"  - group: all in the group\n    when: { ports: 80, protocol: [tcp, sctp] }\n"
			"    rules: [ { name: a, action: drop, from: 10.0.0.0/8 } ]\n"
			"  - group: ports in the rule\n    when: { protocol: [udp, sctp, udplite, gre] }\n"
			"    rules: [ { name: b, action: drop, ports: 90 }, { name: c, action: drop, not: { ports: 1-110 } } ]\n"
			"  - group: no protocol\n    when: { ports: 110 }\n    rules: [ { name: d, action: drop } ]\n");
	compile(&f);
	EXPECT(&f, { WEIR_DROP, "a", "tcp 10.0.0.1:1 > 1.1.1.1:80" },
	       { WEIR_DROP, "a", "sctp 10.0.0.1:1 > 1.1.1.1:80" },
	       { WEIR_PASS, "default inbound", "udp 10.0.0.1:1 > 1.1.1.1:80" },
	       { WEIR_DROP, "b", "udp 10.0.0.1:1 > 1.1.1.1:90" },
	       { WEIR_DROP, "b", "sctp 10.0.0.1:1 > 1.1.1.1:90" },
	       { WEIR_DROP, "c", "udplite 10.0.0.1:1 > 1.1.1.1:111" },
	       { WEIR_PASS, "default inbound", "gre 10.0.0.1 > 1.1.1.1" },
	       { WEIR_DROP, "d", "tcp 10.0.0.1:1 > 1.1.1.1:110" },
	       { WEIR_PASS, "default inbound", "sctp 10.0.0.1:1 > 1.1.1.1:110" });
	done(&f);
}

static void test_modes_are_ceilings(void **state)
{
	struct fixture f;
	struct weir_result r;

	read_policy(&f, "version: 1\nmode: prevent\ndefault: { inbound: { action: drop, mode: detect } }\nrules:\n"
			"  - { name: staged, action: drop, ports: 1, mode: detect }\n"
			"  - { name: hard, action: reject, ports: 1 }\n");
	compile(&f);
	r = judge(&f, "tcp 1.1.1.1:1 > 2.2.2.2:1");
	assert_int_equal(r.wanted, WEIR_DROP);
	assert_int_equal(r.wanted_rule, 0);
	assert_int_equal(r.enforced, WEIR_REJECT);
	assert_int_equal(r.enforced_rule, 1);
	r = judge(&f, "tcp 1.1.1.1:1 > 2.2.2.2:2");
	assert_int_equal(r.wanted, WEIR_DROP);
	assert_int_equal(r.enforced, WEIR_PASS);
	f.o.mode_ceiling = WEIR_DETECT;
	compile(&f);
	r = judge(&f, "tcp 1.1.1.1:1 > 2.2.2.2:1");
	assert_int_equal(r.enforced, WEIR_PASS);
	assert_int_equal(f.img.cfg->mode, WEIR_DETECT);
	assert_int_equal(f.img.cfg->proto_features & WEIR_FEAT_XDP_DROP, 0);
	done(&f);
}

static void test_overlay_edits_and_sessions(void **state)
{
	static const char *sessions[] = { "198.51.100.7", "2001:db8:1:2:3::4", "::ffff:192.0.2.1", "fe80::1%eth0" };
	static const uint16_t ports[] = { 22, 2222 };
	struct weir_overlay_rule rules[] = { { 7, "{\"name\": \"mine\", \"action\": \"allow\", \"from\": \"$s\"}", 0 },
					     { 9, "{\"action\": \"reject\", \"ports\": 80}", 0 } };
	struct weir_set_edit edits[] = { { "s", "192.0.2.0/24", false },
					 { "s", "192.0.2.9", true },
					 { "gone", "1.1.1.1", false } };
	struct weir_overlay overlay = { rules, 2, edits, 3 };
	struct fixture f;

	read_policy(&f, "version: 1\nmode: prevent\ndefault: drop\nsets: { s: { addresses: 10.0.0.1 } }\n"
			"rules: [ { name: file, action: allow, ports: 80 } ]\n");
	f.o.overlay = &overlay;
	f.o.session_addrs = sessions;
	f.o.n_session_addrs = 4;
	f.o.sshd_ports = ports;
	f.o.n_sshd_ports = 2;
	compile(&f);
	EXPECT(&f, { WEIR_PASS, "mine", "tcp 10.0.0.1:1 > 1.1.1.1:5" },
	       { WEIR_PASS, "mine", "tcp 192.0.2.8:1 > 1.1.1.1:5" },
	       { WEIR_DROP, "default inbound", "tcp 192.0.2.9:1 > 1.1.1.1:5" },
	       { WEIR_REJECT, "overlay 9", "tcp 3.3.3.3:1 > 1.1.1.1:80" },
	       { WEIR_PASS, "sshd", "tcp 198.51.100.7:1 > 1.1.1.1:2222" },
	       { WEIR_DROP, "default inbound", "tcp 198.51.100.8:1 > 1.1.1.1:22" },
	       { WEIR_PASS, "sshd", "tcp [2001:db8:1:2::]:1 > [2001::1]:22" },
	       { WEIR_PASS, "sshd", "tcp 192.0.2.1:1 > 1.1.1.1:22" },
	       { WEIR_PASS, "sshd", "tcp [fe80::2]:1 > [fe80::9]:22" });
	assert_int_equal(weir_img_rule(&f.img, 0, 0)->overlay_id, 7);
	assert_true(weir_img_rule(&f.img, 0, 0)->flags & WEIR_RF_OVERLAY);
	assert_int_equal(weir_img_rule(&f.img, 0, 2)->overlay_id, 0);
	assert_int_not_equal(weir_policy_check_rule(f.p, "{\"name\": \"file\", \"action\": \"drop\"}", &f.diags), 0);
	assert_int_not_equal(weir_policy_check_rule(f.p, "{\"action\": \"drop\", \"to\": \"$t\"}", &f.diags), 0);
	assert_int_not_equal(weir_policy_check_rule(f.p, "{\"action\": \"drop\", \"to\": \"s\"}", &f.diags), 0);
	assert_string_equal(f.diags.v[f.diags.n - 1].hint, "did you mean $s?");
	assert_int_equal(weir_policy_check_rule(f.p, "{\"action\": \"drop\", \"to\": \"$s\"}", &f.diags), 0);
	done(&f);
}

/* Every address and port at and beside an end of a list is where the list says, against a plain comparison. */
static void test_lists_become_classes_without_loss(void **state)
{
	struct weir_range lists[40][4];
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct fixture f;
	char buf[100];

	srand(7);
	fputs("version: 1\nmode: prevent\nsets:\n", out);
	for (int l = 0; l < 40; l++) {
		fprintf(out, "  s%d: { addresses: [", l);
		for (int i = 0; i < 4; i++) {
			weir_u128 base = i < 3 ? WEIR_V4_LOW + (unsigned)(rand() % 64) * (i == 2 ? 0x4000000u : 1)
					       : ((weir_u128)rand() << 100) + (unsigned)(rand() % 8);

			lists[l][i] = (struct weir_range){ base, base + (unsigned)(rand() % 9) };
			fprintf(out, "%s\"%s\"", i ? ", " : "", weir_range_format(&lists[l][i], buf, sizeof buf));
		}
		fputs("] }\n", out);
	}
	fputs("rules:\n", out);
	for (int l = 0; l < 40; l++)
		fprintf(out, "  - { action: drop, from: $s%d }\n", l);
	fclose(out);
	read_policy(&f, text);
	compile(&f);
	for (int l = 0; l < 40; l++)
		for (int i = 0; i < 4; i++)
			for (int d = -1; d <= 10; d++) {
				weir_u128 a = lists[l][i].lo + (weir_u128)d;
				uint8_t bytes[16];
				uint32_t id;

				if (i < 3 && !weir_u128_is_v4(a))
					continue;
				weir_u128_bytes(a, bytes);
				id = weir_class_addr(&f.img, f.img.cfg, bytes);
				for (int k = 0; k < 40; k++) {
					bool in = false;

					for (int j = 0; j < 4; j++)
						in |= a >= lists[k][j].lo && a <= lists[k][j].hi;
					assert_int_equal(weir_in_list(&f.img, id,
								      weir_img_rule(&f.img, 0, (uint32_t)k)->pos.from),
							 in);
				}
			}
	done(&f);
}

static int findings(const char *rules, const char **ret_first)
{
	static char first[300];
	_cleanup_free_ char *text = NULL;
	struct weir_diags d = { 0 };
	struct fixture f;
	int n;

	assert_true(asprintf(&text,
			     "version: 1\nmode: prevent\ndefault: { inbound: drop, outbound: allow }\nrules:\n%s",
			     rules) > 0);
	read_policy(&f, text);
	n = weir_policy_lint(f.p, &f.o, &d);
	snprintf(first, sizeof first, "%s", d.n ? d.v[0].message : "");
	*ret_first = first;
	weir_diags_free(&d);
	done(&f);
	return n;
}

static void test_lint_finds_what_does_nothing_and_only_that(void **state)
{
	static const struct {
		int n;
		const char *word, *rules;
	} cases[] = {
		{ 1, "'wide' (p.yaml:5)",
		  "  - { name: wide, action: drop, from: 10.0.0.0/8 }\n  - { action: allow, from: 10.1.0.0/16, ports: "
		  "22 }\n" },
		{ 0, "",
		  "  - { action: allow, from: 10.1.0.0/16, ports: 22 }\n  - { action: drop, from: 10.0.0.0/8 }\n" },
		{ 0, "", "  - { action: log, from: 10.0.0.0/8 }\n  - { action: drop, from: 10.1.0.0/16 }\n" },
		{ 0, "", "  - { action: drop, mode: detect, ports: 1 }\n  - { action: drop, ports: 1 }\n" },
		{ 1, "shadowed", "  - { action: drop, ports: 1 }\n  - { action: drop, mode: detect, ports: 1 }\n" },
		{ 0, "",
		  "  - { action: drop, not: { from: 10.0.0.0/8 } }\n  - { action: allow, direction: inbound, from: "
		  "10.1.0.0/16 }\n" },
		{ 1, "shadowed",
		  "  - { action: drop, not: { from: 10.0.0.0/8 } }\n  - { action: allow, from: 11.0.0.0/8 }\n" },
		{ 1, "together",
		  "  - { action: drop, protocol: tcp, ports: 9 }\n  - { action: drop, protocol: udp, ports: 9 }\n  - { "
		  "action: allow, ports: 9 }\n" },
		{ 1, "together",
		  "  - { action: drop, ports: 1-100 }\n  - { action: drop, ports: 101-200 }\n  - { action: allow, "
		  "ports: 50-150 }\n" },
		{ 0, "",
		  "  - { action: drop, ports: 1-100 }\n  - { action: drop, ports: 102-200 }\n  - { action: allow, "
		  "direction: inbound, ports: 50-150 }\n" },
		{ 1, "ineffective", "  - { action: allow, direction: outbound, ports: 443 }\n" },
		{ 0, "",
		  "  - { action: allow, direction: outbound, ports: 443 }\n  - { action: drop, direction: outbound, "
		  "to: 10.0.0.0/8 }\n" },
		{ 0, "", "  - { action: allow, direction: outbound, ports: 443, log: true }\n" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *first;
		int n = findings(cases[i].rules, &first);

		if (n != cases[i].n || !strstr(first, cases[i].word))
			fail_msg("%d findings (%s) in:\n%s", n, first, cases[i].rules);
	}
}

static void test_packets_that_are_none_are_refused(void **state)
{
	static const char *const bad[] = { "",
					   "tcp",
					   "tcp 10.0.0.1 10.0.0.2",
					   "tcp 10.0.0.1:1 > 10.0.0.2",
					   "tcp 10.0.0.1:1 > 10.0.0.2:-1",
					   "icmp 10.0.0.1:0 > 10.0.0.2:0",
					   "tcp 10.0.0.1:1 > [2001::1]:1",
					   "icmp 2001::1 > 2001::2",
					   "icmp 10.0.0.1:1 > 10.0.0.2:1",
					   "foo 10.0.0.1 > 10.0.0.2",
					   "tcp 10.0.0.1:1 > 10.0.0.2:1 sideways",
					   "tcp 10.0.0.1:1 > 10.0.0.2:1 vlan",
					   "tcp 10.0.0.1:1 > 10.0.0.2:1 vlan 1 vlan 2 vlan 3",
					   "tcp 10.0.0.1:1 > 10.0.0.2:1 forward on eth0",
					   "tcp 10.0.0.1:1 > 10.0.0.2:1 on eth*",
					   "--proto tcp --src 10.0.0.1",
					   "--proto tcp --src 10.0.0.1 --dst 10.0.0.2 --prot 1",
					   "tcp 10.0.0.1:70000 > 10.0.0.2:1",
					   "tcp [10.0.0.1:1 > 10.0.0.2:1" };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct weir_packet_spec s;
		struct weir_diags d = { 0 };

		if (weir_packet_parse(bad[i], &s, &d) == 0)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(d.errors, 1);
		weir_diags_free(&d);
	}
}

static void test_explain_names_the_rule_and_the_way_out(void **state)
{
	_cleanup_free_ char *text = NULL;
	struct weir_packet_spec s;
	struct fixture f;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	read_policy(&f, "version: 1\nmode: prevent\nrules: [ { name: no web, action: reject, ports: 80 } ]\n");
	compile(&f);
	assert_int_equal(weir_packet_parse("--proto=tcp --src 10.0.0.1 --dst 10.0.0.2 --port 80 --direction outbound",
					   &s, &f.diags),
			 0);
	weir_explain(out, &f.img, &s, false);
	fclose(out);
	assert_non_null(strstr(text, "\n=> reject  by rule 'no web' (p.yaml:3), reason rule\n"));
	assert_non_null(strstr(text, "\n   fix: weir rule add --dst 10.0.0.2 --port 80 --proto tcp --direction outbound "
				     "--action allow\n"));
	done(&f);
}

static char *explained(const char *policy, const char *packet)
{
	struct weir_packet_spec s;
	struct fixture f;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	read_policy(&f, policy);
	compile(&f);
	assert_int_equal(weir_packet_parse(packet, &s, &f.diags), 0);
	weir_explain(out, &f.img, &s, false);
	fclose(out);
	done(&f);
	return text;
}

static void test_explain_says_whose_allow_it_is_where_nothing_is_blocked(void **state)
{
	static const char watch[] =
		"version: 1\nmode: detect\nrules:\n- { name: ping, action: allow, icmp: echo-request }\n"
		"- { name: no web, action: drop, ports: 80 }\n";
	static const char staged[] =
		"version: 1\nmode: prevent\ndefault: { inbound: drop, outbound: { action: drop, mode: detect } }\n"
		"rules: [ { name: web, action: allow, mode: detect, ports: 80 } ]\n";
	_cleanup_free_ char *ping = explained(watch, "--icmp 8 --src 10.0.0.1 --dst 10.0.0.2");
	_cleanup_free_ char *ping6 = explained(watch, "--icmpv6 128 --src 2001:db8::1 --dst 2001:db8::2");
	_cleanup_free_ char *web = explained(watch, "tcp 10.0.0.1:4000 > 10.0.0.2:80");
	_cleanup_free_ char *in = explained(staged, "tcp 10.0.0.1:4000 > 10.0.0.2:80");
	_cleanup_free_ char *out = explained(staged, "tcp 10.0.0.1:4000 > 10.0.0.2:80 outbound");

	assert_non_null(strstr(ping, "TRUE -> allow\n=> allow  by rule 'ping' (p.yaml:4), reason rule\n"));
	assert_non_null(strstr(ping6, "TRUE -> allow\n=> allow  by rule 'ping' (p.yaml:4), reason rule\n"));
	assert_non_null(strstr(web,
			       "TRUE -> drop, staged: not done\n=> allow  since nothing is blocked in mode detect\n"
			       "   would drop  by rule 'no web' (p.yaml:5), reason rule\n"));
	assert_non_null(strstr(in, "TRUE -> allow, staged: passed over\n"));
	assert_non_null(strstr(in,
			       "=> drop  by default inbound, reason default\n   would allow  by rule 'web' (p.yaml:4), "
			       "reason rule: it is staged (mode detect)\n"));
	assert_non_null(strstr(out, "=> allow  by rule 'web' (p.yaml:4), reason rule\n"));
}

/* Packets have it, rules cannot name it: what opens all other ports is no way out. */
static void test_explain_takes_port_0(void **state)
{
	static const char shut[] = "version: 1\nmode: prevent\ndefault: { inbound: drop }\nrules: []\n";
	_cleanup_free_ char *to = explained(shut, "tcp 10.0.0.1:4000 > 10.0.0.2:0");
	_cleanup_free_ char *from = explained(shut, "udp 10.0.0.1:0 > 10.0.0.2:53");

	assert_non_null(strstr(to, "=> drop  by default inbound, reason default\n"));
	assert_null(strstr(to, "fix:"));
	assert_non_null(strstr(from, "\n   fix: weir rule add --src 10.0.0.1 --port 53 --proto udp --direction inbound "
				     "--action allow\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_shuts),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_groups_add_their_conditions),
		cmocka_unit_test(test_groups_say_the_protocol_of_ports),
		cmocka_unit_test(test_added_rules_and_lo),
		cmocka_unit_test(test_modes_are_ceilings),
		cmocka_unit_test(test_overlay_edits_and_sessions),
		cmocka_unit_test(test_lists_become_classes_without_loss),
		cmocka_unit_test(test_lint_finds_what_does_nothing_and_only_that),
		cmocka_unit_test(test_packets_that_are_none_are_refused),
		cmocka_unit_test(test_explain_names_the_rule_and_the_way_out),
		cmocka_unit_test(test_explain_says_whose_allow_it_is_where_nothing_is_blocked),
		cmocka_unit_test(test_explain_takes_port_0),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
