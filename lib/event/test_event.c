/* SPDX-License-Identifier: Apache-2.0 */
/* lib/event/event.h: records become objects, objects become lines, and hostile names stay text. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/parse.h"
#include "lib/event/event.h"
#include "lib/policy/policy.h"
#include "lib/util/cleanup.h"

static const char policy[] = "version: 1\n"
			     "mode: detect\n"
			     "default: { inbound: drop }\n"
			     "sets: { bad: { addresses: [198.51.100.0/24] }, worse: { addresses: [203.0.113.0/24] } }\n"
			     "\n" /* rules are told by their lines */
			     "blocklists: [$bad, $worse]\n"
			     "rules:\n"
			     "  - { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }\n"
			     "  - { name: no telnet, action: reject, direction: outbound, protocol: tcp, ports: 23 }\n"
			     "  - { name: few, action: allow, protocol: udp, ports: 90, limit: { rate: 1/h } }\n"
			     "limits: [{ name: all, per: all, count: packets, rate: 1k/s }]\n";

static void *blob;
static struct weir_img img;

static int compile(const struct weir_overlay *overlay, void **ret_blob, struct weir_img *ret)
{
	_cleanup_policy_ struct weir_policy *p = NULL;
	const struct weir_compile_options o = { .generation = 7, .mode_ceiling = WEIR_PREVENT, .overlay = overlay };
	struct weir_diags d = { 0 };
	uint32_t size;
	int e = weir_policy_read_text("policy.yaml", NULL, policy, strlen(policy), &p, &d);

	if (!e)
		e = weir_policy_compile(p, &o, ret_blob, &size, &d);
	if (e)
		weir_diags_format(stderr, &d, false);
	weir_diags_free(&d);
	return e ? e : weir_image_open(ret, *ret_blob, size);
}

static int setup(void **state)
{
	return compile(NULL, &blob, &img);
}

static int teardown(void **state)
{
	free(blob);
	return 0;
}

static void addr(uint8_t out[16], const char *s)
{
	uint8_t v4[4];

	if (inet_pton(AF_INET, s, v4) == 1)
		weir_map4(out, v4);
	else
		assert_int_equal(inet_pton(AF_INET6, s, out), 1);
}

static struct weir_ev_verdict event(const char *src, unsigned sport, const char *dst, unsigned dport, uint8_t dir)
{
	struct weir_ev_verdict ev = {
		.h = { .time = 1500000000, .type = WEIR_EV_VERDICT, .generation = 7 },
		.t = { .sport = (uint16_t)sport, .dport = (uint16_t)dport, .zone = weir_zone(6, 0, 0) },
		.len = 74, .flow_id = 0xffffffffffffffff, .hook = WEIR_HOOK_TC_IN, .dir = dir, .proto = 6,
		.family = strchr(src, ':') ? 6 : 4, .tcp_flags = 2,
	};

	addr(ev.t.src, src);
	addr(ev.t.dst, dst);
	ev.res.log_rule = WEIR_RULE_NONE;
	return ev;
}

static void judged(struct weir_ev_verdict *ev, uint32_t rule, uint8_t reason, uint8_t wanted, uint8_t enforced)
{
	ev->res.wanted_rule = ev->res.enforced_rule = rule;
	ev->res.wanted_reason = ev->res.enforced_reason = reason;
	ev->res.wanted = wanted;
	ev->res.enforced = enforced;
}

static const char *str(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "(none)";
}

static char *line_of(const json_t *j)
{
	char *got = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&got, &n);

	weir_event_line(f, j, false);
	fclose(f);
	return got;
}

static void expect_line(const json_t *j, const char *want)
{
	_cleanup_free_ char *got = line_of(j);

	assert_string_equal(got, want);
}

static void test_would_drop(void **state)
{
	struct weir_ev_verdict ev = event("192.0.2.9", 4000, "10.0.0.2", 5432, WEIR_DIR_IN);
	const struct weir_owner owner = { .pid = 812, .program = "postgres", .unit = "postgresql.service" };
	const struct weir_event_words w = { .img = &img, .in_if = "eth0", .owner = &owner, .boot_ns = 1767323045000000000 };
	json_t *j;

	judged(&ev, WEIR_RULE_DEFAULT_IN, WEIR_REASON_DEFAULT, WEIR_DROP, WEIR_PASS);
	ev.suppressed = 3;
	j = weir_event_json(&ev, &w);
	assert_non_null(j);
	assert_string_equal(str(j, "time"), "2026-01-02T03:04:06.500Z");
	assert_string_equal(str(j, "event"), "verdict");
	assert_string_equal(str(j, "verdict"), "pass");
	assert_string_equal(str(j, "would"), "drop");
	assert_string_equal(str(j, "action"), "passed");
	assert_string_equal(str(j, "reason"), "default");
	assert_string_equal(str(j, "rule"), "default inbound");
	assert_string_equal(str(j, "place"), "(none)");
	assert_string_equal(str(j, "direction"), "inbound");
	assert_string_equal(str(json_object_get(j, "src"), "address"), "192.0.2.9");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "dst"), "port")), 5432);
	assert_string_equal(str(j, "flow"), "18446744073709551615");
	assert_int_equal(json_integer_value(json_object_get(j, "pid")), 812);
	assert_string_equal(str(j, "fix"), "weir rule add --src 192.0.2.9 --port 5432 --proto tcp --direction inbound --action allow");
	expect_line(j, "03:04:06.500  would drop    inbound   tcp        192.0.2.9:4000 -> 10.0.0.2:5432              "
		       "default inbound  eth0  ~postgres (postgresql.service)  (3 more like it)\n"
		       "              fix: weir rule add --src 192.0.2.9 --port 5432 --proto tcp --direction inbound "
		       "--action allow\n");
	json_decref(j);
}

static void test_rule_with_place(void **state)
{
	struct weir_ev_verdict ev = event("2001:db8::5", 40000, "2001:db8::1", 23, WEIR_DIR_OUT);
	const struct weir_event_words w = { .img = &img, .out_if = "eth0", .name = "old.example" };
	json_t *j;

	judged(&ev, 1, WEIR_REASON_RULE, WEIR_REJECT, WEIR_REJECT);
	j = weir_event_json(&ev, &w);
	assert_string_equal(str(j, "verdict"), "reject");
	assert_string_equal(str(j, "would"), "(none)");
	assert_string_equal(str(j, "action"), "rejected");
	assert_string_equal(str(j, "rule"), "no telnet");
	assert_string_equal(str(j, "place"), "policy.yaml:9");
	expect_line(j, "00:00:01.500  reject        outbound  tcp        [2001:db8::5]:40000 -> [2001:db8::1]:23      "
		       "no telnet (policy.yaml:9)  eth0  old.example\n"
		       "              fix: weir rule add --dst 2001:db8::1 --port 23 --proto tcp --direction outbound "
		       "--action allow\n");
	json_decref(j);
}

static void test_fix_blocklist(void **state)
{
	struct weir_ev_verdict ev = event("198.51.100.7", 1, "10.0.0.2", 80, WEIR_DIR_IN);
	const struct weir_event_words w = { .img = &img };
	json_t *j;

	judged(&ev, WEIR_RULE_BLOCKLIST, WEIR_REASON_BLOCKLIST, WEIR_DROP, WEIR_PASS);
	j = weir_event_json(&ev, &w);
	assert_string_equal(str(j, "reason"), "blocklist");
	assert_string_equal(str(j, "rule"), "blocklist $bad");
	assert_string_equal(str(j, "fix"), "weir set remove bad 198.51.100.7");
	json_decref(j);
	/* the end that this list has, not the other one, which another list has */
	ev = event("198.51.100.7", 1, "203.0.113.9", 80, WEIR_DIR_FWD);
	judged(&ev, WEIR_RULE_BLOCKLIST + 1, WEIR_REASON_BLOCKLIST, WEIR_DROP, WEIR_PASS);
	j = weir_event_json(&ev, &w);
	assert_string_equal(str(j, "rule"), "blocklist $worse");
	assert_string_equal(str(j, "fix"), "weir set remove worse 203.0.113.9");
	json_decref(j);
	/* taken out since: no command does anything, least of all one about this host's own address */
	ev = event("192.0.2.77", 1, "203.0.113.9", 80, WEIR_DIR_FWD);
	judged(&ev, WEIR_RULE_BLOCKLIST, WEIR_REASON_BLOCKLIST, WEIR_DROP, WEIR_DROP);
	j = weir_event_json(&ev, &w);
	assert_string_equal(str(j, "fix"), "(none)");
	json_decref(j);
}

static void expect_fix(const struct weir_ev_verdict *ev, const struct weir_event_words *w, const char *want)
{
	json_t *j = weir_event_json(ev, w);

	assert_string_equal(str(j, "fix"), want);
	json_decref(j);
}

static void test_fix(void **state)
{
	struct weir_ev_verdict ev = event("10.0.0.1", 1, "10.0.0.2", 80, WEIR_DIR_FWD);
	struct weir_event_words w = { .img = &img };

	judged(&ev, WEIR_RULE_DEFAULT_FWD, WEIR_REASON_DEFAULT, WEIR_DROP, WEIR_DROP);
	expect_fix(&ev, &w, "weir rule add --src 10.0.0.1 --dst 10.0.0.2 --port 80 --proto tcp --direction forward "
			    "--action allow");
	ev.proto = WEIR_IPPROTO_ICMP;
	ev.icmp_type = 8;
	expect_fix(&ev, &w, "weir rule add --src 10.0.0.1 --dst 10.0.0.2 --icmp 8/0 --direction forward "
			    "--action allow");
	ev.dir = WEIR_DIR_IN;
	judged(&ev, WEIR_RULE_NONE, WEIR_REASON_BAN, WEIR_DROP, WEIR_DROP);
	expect_fix(&ev, &w, "weir ban remove 10.0.0.1");
	w.ban = "10.0.0.0/24"; /* what is not banned itself cannot be unbanned */
	expect_fix(&ev, &w, "weir ban remove 10.0.0.0/24");
	judged(&ev, WEIR_RULE_NONE, WEIR_REASON_TCP_FLAGS, WEIR_DROP, WEIR_DROP);
	expect_fix(&ev, &w, "(none)");
	judged(&ev, 0, WEIR_REASON_RULE, WEIR_PASS, WEIR_PASS);
	expect_fix(&ev, &w, "(none)");
}

/* Behind the added rule that dropped it, an added allow would change nothing. */
static void test_fix_of_an_added_rule(void **state)
{
	struct weir_overlay_rule rule = { .id = 3, .json = "{\"action\": \"drop\", \"ports\": 81}" };
	const struct weir_overlay overlay = { .rules = &rule, .n_rules = 1 };
	struct weir_ev_verdict ev = event("10.0.0.1", 1, "10.0.0.2", 81, WEIR_DIR_IN);
	_cleanup_free_ void *other = NULL;
	struct weir_img added;
	const struct weir_event_words w = { .img = &added };

	assert_int_equal(compile(&overlay, &other, &added), 0);
	judged(&ev, 0, WEIR_REASON_RULE, WEIR_DROP, WEIR_DROP);
	expect_fix(&ev, &w, "weir rule add --src 10.0.0.1 --port 81 --proto tcp --direction inbound --before 3 "
			    "--action allow");
	judged(&ev, 1, WEIR_REASON_RULE, WEIR_DROP, WEIR_DROP);
	expect_fix(&ev, &w, "weir rule add --src 10.0.0.1 --port 81 --proto tcp --direction inbound --action allow");
	ev.t.dport = 0; /* no rule can name it, and one without ports would open all others */
	expect_fix(&ev, &w, "(none)");
}

/* A rule before the one whose limit is used up lets it in; of a limit that counts all packets no rule is asked. */
static void test_fix_of_a_limit(void **state)
{
	struct weir_overlay_rule rule = {
		.id = 3, .json = "{\"action\": \"allow\", \"protocol\": \"udp\", \"ports\": 91, \"limit\": {\"rate\": \"1/h\"}}"
	};
	const struct weir_overlay overlay = { .rules = &rule, .n_rules = 1 };
	struct weir_ev_verdict ev = event("10.0.0.1", 1, "10.0.0.2", 90, WEIR_DIR_IN);
	_cleanup_free_ void *other = NULL;
	_cleanup_free_ char *line = NULL;
	struct weir_event_words w = { .img = &img };
	struct weir_img added;
	json_t *j;

	ev.proto = WEIR_IPPROTO_UDP;
	judged(&ev, WEIR_RULE_LIMIT, WEIR_REASON_LIMIT, WEIR_DROP, WEIR_DROP);
	expect_fix(&ev, &w, "(none)");
	judged(&ev, WEIR_RULE_LIMIT + 1, WEIR_REASON_LIMIT, WEIR_DROP, WEIR_DROP);
	expect_fix(&ev, &w, "weir rule add --src 10.0.0.1 --port 90 --proto udp --direction inbound --action allow");
	j = weir_event_json(&ev, &w);
	line = line_of(j);
	assert_non_null(strstr(line, "  limit few (policy.yaml:10)"));
	json_decref(j);
	assert_int_equal(compile(&overlay, &other, &added), 0);
	w.img = &added;
	judged(&ev, WEIR_RULE_LIMIT + 1, WEIR_REASON_LIMIT, WEIR_DROP, WEIR_DROP);
	expect_fix(&ev, &w, "weir rule add --src 10.0.0.1 --port 90 --proto udp --direction inbound --before 3 --action allow");
}

/* A staged rule stands in front, and somebody else decides: he is named, and the other beside him. */
static void test_staged(void **state)
{
	struct weir_ev_verdict ev = event("10.0.0.1", 1, "10.0.0.2", 81, WEIR_DIR_IN);
	const struct weir_event_words w = { .img = &img };
	_cleanup_free_ char *line = NULL;
	json_t *j;

	judged(&ev, WEIR_RULE_DEFAULT_IN, WEIR_REASON_DEFAULT, WEIR_DROP, WEIR_DROP);
	ev.res.wanted = WEIR_PASS;
	ev.res.wanted_reason = WEIR_REASON_RULE;
	ev.res.wanted_rule = 0;
	j = weir_event_json(&ev, &w);
	assert_string_equal(str(j, "verdict"), "drop");
	assert_string_equal(str(j, "reason"), "default");
	assert_string_equal(str(j, "rule"), "default inbound");
	assert_string_equal(str(j, "would"), "pass");
	assert_string_equal(str(j, "would_by"), "web");
	assert_string_equal(str(j, "fix"), "weir rule add --src 10.0.0.1 --port 81 --proto tcp --direction inbound --action allow");
	line = line_of(j);
	assert_non_null(strstr(line, "  drop  "));
	assert_non_null(strstr(line, "  default inbound  (staged: pass by web)"));
	json_decref(j);
}

static void test_hostile(void **state)
{
	struct weir_ev_verdict ev = event("10.0.0.1", 1, "10.0.0.2", 80, WEIR_DIR_OUT);
	struct weir_owner owner = { .program = "\033[2J\xe2\x80\xaegnp\n" };
	const struct weir_event_words w = { .img = &img, .in_if = "a\x07" "b", .name = "\xff\\x", .owner = &owner };
	_cleanup_free_ char *got = NULL;
	size_t n = 0;
	json_t *j;
	FILE *f;

	judged(&ev, WEIR_RULE_DEFAULT_OUT, WEIR_REASON_DEFAULT, WEIR_PASS, WEIR_PASS);
	j = weir_event_json(&ev, &w);
	assert_string_equal(str(j, "program"), "\\x1b[2J\\xe2\\x80\\xaegnp\\x0a");
	assert_string_equal(str(j, "in_interface"), "a\\x07b");
	assert_string_equal(str(j, "name"), "\\xff\\\\x");
	/* an object that did not come from us either */
	json_object_set_new(j, "rule", json_string("x\033]0;owned\007"));
	f = open_memstream(&got, &n);
	weir_event_line(f, j, false);
	fclose(f);
	for (size_t i = 0; i + 1 < n; i++)
		assert_true((uint8_t)got[i] >= 0x20 && got[i] != 0x7f);
	json_decref(j);
	/* and one that lacks everything */
	j = json_object();
	f = fopen("/dev/null", "w");
	weir_event_line(f, j, true);
	fclose(f);
	json_decref(j);
}

static void test_words(void **state)
{
	static const struct {
		uint64_t n;
		const char *want;
	} sizes[] = { { 0, "0" }, { 999, "999" }, { 1000, "1.0K" }, { 3149, "3.1K" }, { 9949, "9.9K" }, { 9999, "10K" }, { 10000, "10K" },
		      { 310400, "310K" }, { 999499, "999K" }, { 999500, "1.0M" }, { 1000000, "1.0M" }, { 1200000, "1.2M" },
		      { 999999999, "1.0G" }, { UINT64_MAX, "18E" } };
	char buf[WEIR_ADDR_MAX];
	uint8_t a[16];

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		assert_string_equal(weir_bytes_text(sizes[i].n, buf), sizes[i].want);
	addr(a, "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff");
	assert_string_equal(weir_addr_port_text(a, 65535, buf), "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535");
	assert_string_equal(weir_proto_text(47, buf), "47");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_would_drop),
		cmocka_unit_test(test_rule_with_place),
		cmocka_unit_test(test_fix),
		cmocka_unit_test(test_fix_of_an_added_rule),
		cmocka_unit_test(test_fix_of_a_limit),
		cmocka_unit_test(test_staged),
		cmocka_unit_test(test_fix_blocklist),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_words),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, setup, teardown);
}
