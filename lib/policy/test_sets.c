/* SPDX-License-Identifier: Apache-2.0 */
/* Sets from files, and what the blocklists make of them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "lib/policy/policy.h"
#include "lib/policy/value.h"

struct made {
	struct weir_policy *policy;
	struct weir_diags diags;
	void *blob;
	uint32_t size;
	struct weir_img img;
};

static char dir[] = "/tmp/weir-test-sets-XXXXXX";

static void write_bytes(const char *name, const char *text, size_t n)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	fclose(f);
}

static void write_file(const char *name, const char *text)
{
	write_bytes(name, text, strlen(text));
}

static int read_policy(struct made *m, const char *text)
{
	char path[128];

	*m = (struct made){ 0 };
	write_file("policy.yaml", text);
	snprintf(path, sizeof path, "%s/policy.yaml", dir);
	return weir_policy_read(path, &m->policy, &m->diags);
}

static void compile(struct made *m, const struct weir_overlay *overlay)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT, .generation = 1, .epoch = 1, .overlay = overlay };

	free(m->blob);
	if (weir_policy_compile(m->policy, &o, &m->blob, &m->size, &m->diags))
		fail_msg("%s", m->diags.n ? m->diags.v[0].message : "does not compile");
	assert_int_equal(weir_image_open(&m->img, m->blob, m->size), 0);
}

static void make(struct made *m, const char *text)
{
	if (read_policy(m, text))
		fail_msg("%s:%u: %s", m->diags.v[0].file, m->diags.v[0].line, m->diags.v[0].message);
	compile(m, NULL);
}

static void drop(struct made *m)
{
	weir_policy_free(m->policy);
	weir_diags_free(&m->diags);
	free(m->blob);
	*m = (struct made){ 0 };
}

static void listed(const struct made *m, const char *text, bool want)
{
	struct weir_why why;
	uint8_t addr[16];
	weir_u128 a;

	assert_int_equal(weir_addr_parse(text, &a, &why), 0);
	weir_u128_bytes(a, addr);
	if (weir_block_find(&m->img, addr) != want)
		fail_msg("%s is %slisted", text, want ? "not " : "");
}

#define POLICY(rest) "version: 1\nmode: prevent\nsets: { bad: { addresses: { file: bad.txt } }, ours: { addresses: " \
		     "[192.0.2.8, 203.0.113.0/25] } }\nblocklists: [$bad]\n" rest

static void test_files(void **state)
{
	struct made m;

	(void)state;
	write_file("bad.txt", "\xef\xbb\xbf# a feed, with whatever such feeds have\r\n192.0.2.7\r\n\r\n  192.0.2.7  # again\n"
			      "203.0.113.0/24\n203.0.113.128/25\n203.0.113.77\n198.51.100.10-198.51.100.12\t\n"
			      "2001:db8::1\n2001:DB8::1\n2001:db8:1::/48\n0.0.0.0\n255.255.255.255");
	make(&m, POLICY(""));
	listed(&m, "192.0.2.7", true);
	listed(&m, "192.0.2.6", false);
	listed(&m, "192.0.2.8", false);
	listed(&m, "203.0.113.0", true);
	listed(&m, "203.0.113.255", true);
	listed(&m, "203.0.112.255", false);
	listed(&m, "203.0.114.0", false);
	listed(&m, "198.51.100.9", false);
	listed(&m, "198.51.100.12", true);
	listed(&m, "198.51.100.13", false);
	listed(&m, "2001:db8::1", true);
	listed(&m, "2001:db8::2", false);
	listed(&m, "2001:db8:1:ffff::", true);
	listed(&m, "2001:db8:2::", false);
	listed(&m, "0.0.0.0", true);
	listed(&m, "0.0.0.1", false);
	listed(&m, "255.255.255.255", true);
	drop(&m);
	write_file("bad.txt", "; Spamhaus DROP List 2026/11/23\n198.18.7.0/24 ; SBL1 # both\n198.18.9.1 # ; both\n;\n 198.18.9.3;\n");
	make(&m, POLICY(""));
	listed(&m, "198.18.7.255", true);
	listed(&m, "198.18.9.1", true);
	listed(&m, "198.18.9.2", false);
	listed(&m, "198.18.9.3", true);
	drop(&m);
}

static void test_broken_line(void **state)
{
	struct made m;

	(void)state;
	write_file("bad.txt", "# one\n192.0.2.7\r\n\n192.0.2.300 # no\n192.0.2.8\n10.0.0.1/8\n");
	assert_int_equal(read_policy(&m, POLICY("")), -EINVAL);
	assert_int_equal(m.diags.n, 2);
	assert_non_null(strstr(m.diags.v[0].file, "/bad.txt"));
	assert_int_equal(m.diags.v[0].line, 4);
	assert_int_equal(m.diags.v[1].line, 6);
	assert_string_equal(m.diags.v[0].source, "192.0.2.300 # no");
	drop(&m);
	write_bytes("bad.txt", "192.0.2.7\n1\0009\0002\000\n", 17); /* as a text in UTF-16 has them */
	assert_int_equal(read_policy(&m, POLICY("")), -EINVAL);
	assert_string_equal(m.diags.v[0].message, "not an address: a byte 0 in a text");
	assert_int_equal(m.diags.v[0].line, 2);
	drop(&m);
	assert_int_equal(read_policy(&m, POLICY("blocklist_except: [$nobody]\n")), -EINVAL);
	drop(&m);
	write_file("bad.txt", "192.0.2.7\n0.0.0.0/0\n128.0.0.0/1\n::/0\n::/64\n");
	assert_int_equal(read_policy(&m, POLICY("")), -EINVAL);
	assert_int_equal(m.diags.n, 3);
	assert_non_null(strstr(m.diags.v[2].message, "it holds ::ffff:0:0/96"));
	assert_int_equal(m.diags.v[0].line, 2);
	assert_non_null(strstr(m.diags.v[0].message, "every IPv4 address"));
	assert_non_null(strstr(m.diags.v[1].message, "every IPv6 address"));
	drop(&m);
	assert_int_equal(read_policy(&m, "version: 1\nsets: { all: { addresses: { file: bad.txt } } }\n"), 0); /* no blocklist */
	drop(&m);
	write_file("bad.txt", "192.0.2.7\n");
	make(&m, POLICY(""));
	assert_int_equal(weir_policy_check_edit(m.policy, "bad", "0.0.0.0-255.255.255.255", false, &m.diags), -EINVAL);
	assert_int_equal(weir_policy_check_edit(m.policy, "bad", "0.0.0.0/0", true, &m.diags), 0);
	assert_int_equal(weir_policy_check_edit(m.policy, "ours", "::/0", false, &m.diags), 0);
	drop(&m);
	assert_int_equal(read_policy(&m, POLICY("blocklist_except: any\n")), -EINVAL);
	assert_non_null(strstr(m.diags.v[0].message, "every address"));
	drop(&m);
}

static void test_except(void **state)
{
	struct weir_packet_spec s = { .dir = WEIR_DIR_IN };
	struct weir_result res;
	struct weir_facts f;
	struct made m;

	(void)state;
	write_file("bad.txt", "192.0.2.0/24\n203.0.113.9\n2001:db8::/32\n");
	make(&m, POLICY("blocklist_except: [$ours, 2001:db8:7::/48]\nrules: [ { name: in, action: allow } ]\n"));
	listed(&m, "192.0.2.7", true);
	listed(&m, "192.0.2.8", false);
	listed(&m, "192.0.2.9", true);
	listed(&m, "203.0.113.9", false);
	listed(&m, "2001:db8:6:ffff::", true);
	listed(&m, "2001:db8:7::1", false);
	listed(&m, "2001:db8:8::", true);
	assert_int_equal(weir_packet_parse("tcp 192.0.2.8:1 > 198.51.100.1:80 inbound", &s, &m.diags), 0);
	weir_packet_facts(&m.img, &s, &f);
	weir_packet_judge(&m.img, &f, false, &res);
	assert_int_equal(res.enforced_reason, WEIR_REASON_RULE);
	assert_int_equal(weir_packet_parse("tcp 192.0.2.9:1 > 198.51.100.1:80 inbound", &s, &m.diags), 0);
	weir_packet_facts(&m.img, &s, &f);
	weir_packet_judge(&m.img, &f, false, &res);
	assert_int_equal(res.enforced_reason, WEIR_REASON_BLOCKLIST);
	drop(&m);
}

static void count(const char *range, void *data)
{
	(void)range;
	++*(int *)data;
}

static void test_edits(void **state)
{
	struct weir_set_edit edits[] = { { "bad", "198.51.100.1", false }, { "bad", "192.0.2.0/28", true },
					 { "bad", "192.0.2.3", false },	   { "nowhere", "192.0.2.9", false } };
	struct weir_overlay o = { .edits = edits, .n_edits = 4 };
	struct made m;
	int n = 0;

	(void)state;
	write_file("bad.txt", "192.0.2.0/24\n");
	make(&m, POLICY(""));
	listed(&m, "192.0.2.3", true);
	compile(&m, &o);
	listed(&m, "198.51.100.1", true);
	listed(&m, "192.0.2.2", false);
	listed(&m, "192.0.2.3", true);
	listed(&m, "192.0.2.4", false);
	listed(&m, "192.0.2.16", true);
	assert_int_equal(weir_policy_set_each(m.policy, &o, "bad", count, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(weir_policy_set_each(m.policy, &o, "none", count, &n), -ENOENT);
	drop(&m);
}

static int verdict(const struct made *m, const char *packet)
{
	struct weir_diags diags = { 0 };
	struct weir_packet_spec s;
	struct weir_facts f;
	struct weir_result r;

	assert_int_equal(weir_packet_parse(packet, &s, &diags), 0);
	weir_packet_facts(&m->img, &s, &f);
	weir_packet_judge(&m->img, &f, false, &r);
	return r.enforced;
}

/*
 * What is taken out of a set leaves rules that match nothing, and no mistake: refused, the edit would leave the address
 * let in. What the file itself spells so is one.
 */
static void test_edits_that_leave_nothing(void **state)
{
	static const char rules[] = "version: 1\nmode: prevent\nsets:\n"
				    "  office: { addresses: [10.1.0.0/16, \"2001:db8::/32\"] }\n"
				    "  site: { addresses: [10.1.0.0/16, 10.2.0.0/16] }\n  feed: { addresses: { file: feed.txt } }\n"
				    "rules:\n  - { name: a, action: allow, from: $office, to: 192.0.2.1 }\n"
				    "  - { name: b, action: allow, from: $office, icmp: 8 }\n"
				    "  - { group: g, when: { from: $site }, rules: [ { name: c, action: allow, from: 10.1.7.0/24 } ] }\n"
				    "  - { name: d, action: allow, from: $feed, to: 192.0.2.3 }\n"
				    "  - { group: h, when: { to: 192.0.2.4 }, rules: [ { name: e, action: allow, to: $feed } ] }\n";
	static const char office[] = "tcp 10.1.0.9:1 > 192.0.2.1:80", site[] = "tcp 10.1.7.9:1 > 192.0.2.2:80";
	struct weir_set_edit edits[] = { { "office", "10.1.0.0/16", true }, { "site", "10.1.0.0/16", true } };
	struct weir_overlay o = { .edits = edits, .n_edits = 2 };
	struct made m;

	(void)state;
	write_file("feed.txt", "2001:db8::7\n"); /* somebody else's: today it names nothing of IPv4 */
	make(&m, rules);
	assert_int_equal(verdict(&m, office), WEIR_PASS);
	assert_int_equal(verdict(&m, "icmp 10.1.0.9 > 192.0.2.2"), WEIR_PASS);
	assert_int_equal(verdict(&m, site), WEIR_PASS);
	compile(&m, &o);
	assert_int_equal(verdict(&m, office), WEIR_DROP);
	assert_int_equal(verdict(&m, "icmp 10.1.0.9 > 192.0.2.2"), WEIR_DROP);
	assert_int_equal(verdict(&m, site), WEIR_DROP);
	assert_int_equal(verdict(&m, "tcp [2001:db8::7]:1 > [2001:db8::1]:80"), WEIR_DROP);
	drop(&m);
	write_file("feed.txt", "198.51.100.7\n192.0.2.4\n");
	make(&m, rules);
	assert_int_equal(verdict(&m, "tcp 198.51.100.7:1 > 192.0.2.3:80"), WEIR_PASS);
	assert_int_equal(verdict(&m, "tcp 203.0.113.1:1 > 192.0.2.4:80"), WEIR_PASS);
	drop(&m);
	assert_int_equal(read_policy(&m, "version: 1\nsets: { six: { addresses: \"2001:db8::1\" } }\n"
					 "rules: [ { action: allow, from: $six, to: 192.0.2.1 } ]\n"), -EINVAL);
	drop(&m);
}

static uint32_t rnd(uint32_t *state, uint32_t n)
{
	*state = *state * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(*state >> 4) * n >> 28);
}

/* Edits that lie over each other any way: for each address the last one that holds it counts, else the file. */
static void test_edits_over_each_other(void **state)
{
	enum { N = 40 };
	struct weir_set_edit edits[N];
	struct weir_overlay o = { .edits = edits, .n_edits = N };
	char text[N][64], addr[32];
	uint32_t lo[N], hi[N], seed = 7;
	struct made m;

	(void)state;
	write_file("bad.txt", "192.0.2.10-192.0.2.60\n192.0.2.100-192.0.2.200\n");
	make(&m, POLICY("blocklist_except: 203.0.113.1\n"));
	for (int turn = 0; turn < 200; turn++) {
		for (int i = 0; i < N; i++) {
			lo[i] = rnd(&seed, 256);
			hi[i] = lo[i] + rnd(&seed, turn % 2 ? 8 : 256 - lo[i]);
			hi[i] = hi[i] > 255 ? 255 : hi[i];
			snprintf(text[i], sizeof text[i], "192.0.2.%u-192.0.2.%u", lo[i], hi[i]);
			edits[i] = (struct weir_set_edit){ .set = (char *)"bad", .element = text[i], .remove = rnd(&seed, 2) };
		}
		compile(&m, &o);
		for (uint32_t x = 0; x < 256; x++) {
			bool want = (x >= 10 && x <= 60) || (x >= 100 && x <= 200);

			for (int i = 0; i < N; i++)
				want = lo[i] <= x && x <= hi[i] ? !edits[i].remove : want;
			snprintf(addr, sizeof addr, "192.0.2.%u", x);
			listed(&m, addr, want);
		}
	}
	/* all of IPv6 is not IPv4, and the highest address ends it */
	edits[0] = (struct weir_set_edit){ .set = (char *)"bad", .element = (char *)"::/0", .remove = false };
	edits[1] = (struct weir_set_edit){ .set = (char *)"bad", .element = (char *)"2001:db8::/32", .remove = true };
	o.n_edits = 2;
	compile(&m, &o);
	listed(&m, "192.0.2.9", false);
	listed(&m, "192.0.2.10", true);
	listed(&m, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true);
	listed(&m, "::1", true);
	listed(&m, "2001:db8::1", false);
	listed(&m, "2001:db9::", true);
	drop(&m);
}

/* As many edits as may be, in bounded memory and time. */
static void test_all_edits(void **state)
{
	enum { N = 65536 };
	struct weir_set_edit *edits = calloc(N, sizeof *edits);
	char (*text)[32] = calloc(N, sizeof *text);
	struct weir_overlay o = { .edits = edits, .n_edits = N };
	struct made m;
	int n = 0;

	(void)state;
	assert_true(edits && text);
	write_file("bad.txt", "10.0.0.0\n");
	make(&m, POLICY(""));
	for (uint32_t i = 0; i < N; i++) {
		uint32_t k = i * 40503u % N; /* in no order */

		snprintf(text[i], sizeof text[i], "10.%u.%u.%u", k >> 14, k >> 6 & 255, (k & 63) * 4);
		edits[i] = (struct weir_set_edit){ .set = (char *)"bad", .element = text[i], .remove = k % 8 == 0 };
	}
	compile(&m, &o);
	assert_int_equal(weir_policy_set_each(m.policy, &o, "bad", count, &n), 0);
	assert_int_equal(n, N / 8 * 7);
	listed(&m, "10.0.0.0", false);
	listed(&m, "10.3.255.252", true);
	listed(&m, "10.3.255.253", false);
	drop(&m);
	free(edits);
	free(text);
}

/* More than the pieces of the rules' lists may be; lists that rules name as well stay where they are. */
static void test_many(void **state)
{
	char path[128], text[64];
	struct made m;
	FILE *f;

	(void)state;
	snprintf(path, sizeof path, "%s/bad.txt", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	for (uint32_t i = 0; i < 300000; i++)
		fprintf(f, "10.%u.%u.%u\n", i >> 15, i >> 7 & 255, (i & 127) * 2);
	fclose(f);
	make(&m, POLICY("rules: [ { name: ours, action: allow, direction: inbound, from: $ours } ]\n"));
	assert_int_equal(m.img.h->lists.count, 1);
	assert_int_equal(m.img.h->block_sets.count, 1);
	for (uint32_t i = 0; i < 300000; i += 77) {
		snprintf(text, sizeof text, "10.%u.%u.%u", i >> 15, i >> 7 & 255, (i & 127) * 2);
		listed(&m, text, true);
		snprintf(text, sizeof text, "10.%u.%u.%u", i >> 15, i >> 7 & 255, (i & 127) * 2 + 1);
		listed(&m, text, false);
	}
	drop(&m);
}

static bool warned(const char *text, const char *what)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT };
	bool found = false;
	struct made m;

	assert_int_equal(read_policy(&m, text), 0);
	assert_true(weir_policy_lint(m.policy, &o, &m.diags) >= 0);
	for (size_t i = 0; i < m.diags.n; i++)
		found |= strstr(m.diags.v[i].message, what) != NULL;
	drop(&m);
	return found;
}

static void test_lint(void **state)
{
	(void)state;
	write_file("bad.txt", "192.0.2.0/24\n203.0.113.0/24\n");
	assert_true(warned(POLICY("rules: [ { name: a, action: allow, direction: inbound, from: $ours } ]\n"),
			   "the blocklists stop all"));
	assert_true(warned(POLICY("rules: [ { name: a, action: drop, direction: outbound, to: 192.0.2.7 } ]\n"),
			   "the blocklists stop all"));
	assert_true(warned(POLICY("rules: [ { name: a, action: drop, direction: outbound, peer: 192.0.2.7 } ]\n"),
			   "the blocklists stop all"));
	assert_false(warned(POLICY("rules: [ { name: a, action: drop, direction: outbound, from: 192.0.2.7 } ]\n"),
			    "the blocklists stop all"));
	assert_false(warned(POLICY("blocklist_except: 192.0.2.8\n"
				   "rules: [ { name: a, action: allow, direction: inbound, from: $ours } ]\n"),
			    "the blocklists stop all"));
	assert_false(warned(POLICY("blocklist_except: $ours\n"), "ineffective"));
	assert_true(warned(POLICY("blocklist_except: [$ours, 198.51.100.7]\n"), "no blocklist holds"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files), cmocka_unit_test(test_broken_line), cmocka_unit_test(test_except),
		cmocka_unit_test(test_edits_that_leave_nothing),
		cmocka_unit_test(test_edits), cmocka_unit_test(test_many),	  cmocka_unit_test(test_lint),
		cmocka_unit_test(test_edits_over_each_other), cmocka_unit_test(test_all_edits),
	};
	char path[128];
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, i ? "policy.yaml" : "bad.txt");
		unlink(path);
	}
	rmdir(dir);
	return r;
}
