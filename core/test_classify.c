/* SPDX-License-Identifier: Apache-2.0 */
/* Matching: the class search against brute force, every condition against its three values, and the iterator. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/draw.h"
#include "tests/harness/imgbuild.h" /* brings the accessors that core/classify.h builds on */

#include "core/policy.h"

static struct weir_imgbuild b;
static struct weir_img img;
static void *blob;
static uint32_t size;
static uint64_t seed = 0x2545f4914f6cdd1dull;

static uint32_t rnd(uint32_t n)
{
	return weir_draw_below(&seed, n);
}

static void build(void)
{
	free(blob);
	blob = weir_imgbuild_make(&b, &size);
	assert_int_equal(weir_image_open(&img, blob, size), 0);
}

static struct weir_facts facts(const char *src, const char *dst, uint8_t proto, uint16_t sport, uint16_t dport)
{
	struct weir_facts f = { .t = { .sport = sport, .dport = dport },
				.dir = WEIR_DIR_IN,
				.proto = proto,
				.family = strchr(src, ':') ? 6 : 4 };

	f.known = WEIR_K_PORTS | WEIR_K_ICMP | WEIR_K_MAC | WEIR_K_VLAN | WEIR_K_TTL | WEIR_K_IN_IF | WEIR_K_MARK;
	if (f.family == 6) {
		assert_int_equal(inet_pton(AF_INET6, src, f.t.src), 1);
		assert_int_equal(inet_pton(AF_INET6, dst, f.t.dst), 1);
	} else {
		f.t.src[10] = f.t.src[11] = f.t.dst[10] = f.t.dst[11] = 0xff;
		assert_int_equal(inet_pton(AF_INET, src, f.t.src + 12), 1);
		assert_int_equal(inet_pton(AF_INET, dst, f.t.dst + 12), 1);
	}
	weir_classify_prepare(&img, img.cfg, &f);
	return f;
}

static bool in_range(const struct weir_addr_range *r, const uint8_t a[16])
{
	return weir_addr_is_v4(a) == weir_addr_is_v4(r->lo) && memcmp(a, r->lo, 16) >= 0 && memcmp(a, r->hi, 16) <= 0;
}

static void random_addr(uint8_t a[16], bool v4)
{
	memset(a, 0, 16);
	if (v4)
		a[10] = a[11] = 0xff;
	else
		a[0] = (uint8_t)rnd(3) * 0x7f; /* ends of the space are drawn as well */
	a[7] = v4 ? 0 : (uint8_t)rnd(2);
	for (int i = 12; i < 16; i++)
		a[i] = (uint8_t)(rnd(4) ? rnd(3) * 0x7f + rnd(2) : rnd(256)); /* few values: bounds are hit */
}

static void check_address(const uint8_t a[16])
{
	uint32_t c = weir_class_addr(&img, img.cfg, a);

	for (uint32_t i = 0; i < b.n_addrs; i++) {
		bool want = false;

		for (uint32_t j = 0; j < b.addrs[i].n; j++)
			want |= in_range(&b.addrs[i].r[j], a);
		assert_int_equal(weir_in_list(&img, c, i), want);
	}
}

static void class_search_is_brute_force(void **state)
{
	for (int round = 0; round < 60; round++) {
		weir_imgbuild_init(&b);
		b.n_addrs = rnd(WEIR_IMGBUILD_LISTS);
		b.n_ports = rnd(WEIR_IMGBUILD_LISTS);
		for (uint32_t i = 0; i < b.n_addrs; i++) {
			b.addrs[i].n = rnd(WEIR_IMGBUILD_RANGES);
			for (uint32_t j = 0; j < b.addrs[i].n; j++) {
				struct weir_addr_range *r = &b.addrs[i].r[j];
				bool v4 = rnd(2);

				random_addr(r->lo, v4);
				do
					random_addr(r->hi, v4);
				while (memcmp(r->hi, r->lo, 16) < 0);
			}
		}
		for (uint32_t i = 0; i < b.n_ports; i++) {
			b.ports[i].n = 1;
			b.ports[i].r[0].lo = (uint16_t)rnd(65536);
			b.ports[i].r[0].hi = (uint16_t)(b.ports[i].r[0].lo + rnd(65536u - b.ports[i].r[0].lo));
		}
		build();
		for (int k = 0; k < 400; k++) {
			uint8_t a[16];

			random_addr(a, k & 1);
			check_address(a);
		}
		for (uint32_t i = 0; i < b.n_ports; i++)
			for (int d = -1; d <= 1; d++) {
				uint32_t port = (uint32_t)(b.ports[i].r[0].hi + d) & 0xffff;
				uint32_t c = weir_class_port(&img, img.cfg->n_bounds_port, port);

				struct weir_ports list = { .list = (uint16_t)i };
				struct weir_ports one = { WEIR_NO_LIST, b.ports[i].r[0].lo, b.ports[i].r[0].hi };
				bool in = port >= one.lo && port <= one.hi;

				assert_int_equal(weir_in_ports(&img, port, c, &list), in);
				assert_int_equal(weir_in_ports(&img, port, c, &one), in);
			}
	}
}

/* The largest tables that an image may hold: the search has steps enough. */
static void class_search_at_its_bound(void **state)
{
	struct weir_image_header h = { .bounds4 = { sizeof h, WEIR_BOUNDS_MAX } };
	uint8_t *big = calloc(1, sizeof h + WEIR_BOUNDS_MAX * sizeof(struct weir_bound4));
	struct weir_bound4 *bound = (void *)(big + sizeof h);
	struct weir_img huge = { .blob = big, .h = (void *)big };

	assert_non_null(big);
	memcpy(big, &h, sizeof h);
	for (uint32_t i = 0; i < WEIR_BOUNDS_MAX; i++)
		bound[i] = (struct weir_bound4){ i * 16384, i };
	for (uint32_t i = 0; i < WEIR_BOUNDS_MAX; i++) {
		assert_int_equal(weir_class4(&huge, WEIR_BOUNDS_MAX, i * 16384), i);
		assert_int_equal(weir_class4(&huge, WEIR_BOUNDS_MAX, i * 16384 + 16383), i);
	}
	free(big);
}

/* One condition at a time: a fact that fits, one that does not, one that is not known. */
static void three_values_of_each_condition(void **state)
{
	static const struct {
		uint32_t cond, fact;
	} v[] = {
		{ WEIR_C_FROM, 0 },
		{ WEIR_C_TO, 0 },
		{ WEIR_C_PEER, 0 },
		{ WEIR_C_PROTO, 0 },
		{ WEIR_C_FAMILY, 0 },
		{ WEIR_C_DIR, 0 },
		{ WEIR_C_PORTS, WEIR_K_PORTS },
		{ WEIR_C_SPORTS, WEIR_K_PORTS },
		{ WEIR_C_VLAN, WEIR_K_VLAN },
		{ WEIR_C_MAC, WEIR_K_MAC },
		{ WEIR_C_MARK, WEIR_K_MARK },
		{ WEIR_C_IN_IF, WEIR_K_IN_IF },
		{ WEIR_C_TTL, WEIR_K_TTL },
		{ WEIR_C_TIME, WEIR_K_TIME },
	};
	struct weir_cond c = { 0 };
	struct weir_facts yes, no;
	uint64_t no_in_if = 2;

	weir_imgbuild_init(&b);
	c.from = c.peer = weir_imgbuild_addrs(&b, "10.0.0.1", NULL);
	c.to = weir_imgbuild_addrs(&b, "10.0.0.2", NULL);
	c.ports = weir_imgbuild_ports(&b, 80, 80);
	c.sports = weir_imgbuild_ports(&b, 1000, 1000);
	weir_cond_proto(&c, 6);
	c.family = 4;
	c.dirs = WEIR_DIR_IN;
	c.n_vlan = c.n_mac = 1;
	c.vlan[0] = 5;
	c.mac[0] = 0x020000000001;
	c.mark = 8;
	c.mark_mask = 0xf;
	c.in_if = 1;
	c.ttl = 255;
	c.time = 63;
	build();
	yes = facts("10.0.0.1", "10.0.0.2", 6, 1000, 80);
	yes.vlan[1] = 5;
	yes.mac = c.mac[0];
	yes.mark = 0x18;
	yes.in_if = 1;
	yes.ttl = 255;
	yes.times = 1ull << 63;
	yes.known |= WEIR_K_TIME;
	no = facts("2001:db8::1", "2001:db8::2", 17, 1001, 81);
	no.dir = WEIR_DIR_OUT;
	no.vlan[0] = 4;
	no.mark = 9;
	no.in_if = no_in_if;
	no.times = ~(1ull << 63);
	no.known |= WEIR_K_TIME;
	for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
		struct weir_facts dark = no;

		c.set = v[i].cond;
		assert_int_equal(weir_cond_eval(&img, &c, &yes, UINT32_MAX), WEIR_TRUE);
		assert_int_equal(weir_cond_eval(&img, &c, &no, UINT32_MAX), WEIR_FALSE);
		assert_int_equal(weir_cond_eval(&img, &c, &no, ~v[i].cond), WEIR_TRUE); /* folded away */
		dark.known &= ~v[i].fact;
		assert_int_equal(weir_cond_eval(&img, &c, &dark, UINT32_MAX), v[i].fact ? WEIR_UNKNOWN : WEIR_FALSE);
	}
}

/* pos AND NOT neg, for all nine pairs. PORTS gives the values of pos, TTL those of neg. */
static void kleene_table(void **state)
{
	static const uint8_t want[3][3] = {
		/* [pos][neg] */
		[WEIR_FALSE] = { WEIR_FALSE, WEIR_FALSE, WEIR_FALSE },
		[WEIR_TRUE] = { WEIR_TRUE, WEIR_FALSE, WEIR_UNKNOWN },
		[WEIR_UNKNOWN] = { WEIR_UNKNOWN, WEIR_FALSE, WEIR_UNKNOWN },
	};
	struct weir_rule *r;
	struct weir_cond *group;

	weir_imgbuild_init(&b);
	r = weir_imgbuild_rule(&b, WEIR_ACT_DROP);
	group = weir_imgbuild_neg(&b, r);
	r->pos.set = WEIR_C_PORTS;
	r->pos.ports = weir_imgbuild_ports(&b, 80, 80);
	group->set = WEIR_C_TTL;
	group->ttl = 255;
	build();
	for (int pos = 0; pos < 3; pos++)
		for (int neg = 0; neg < 3; neg++) {
			struct weir_facts f = facts("10.0.0.1", "10.0.0.2", 6, 1, pos == WEIR_FALSE ? 81 : 80);

			f.ttl = neg == WEIR_FALSE ? 64 : 255;
			f.known &= ~(uint32_t)((pos == WEIR_UNKNOWN ? WEIR_K_PORTS : 0) |
					       (neg == WEIR_UNKNOWN ? WEIR_K_TTL : 0));
			assert_int_equal(weir_rule_eval(&img, img.cfg, WEIR_RULES, 0, r, &f), want[pos][neg]);
		}
	/* AND: one FALSE outweighs what is not known, whichever comes first */
	struct weir_cond c = { .set = WEIR_C_PORTS | WEIR_C_TTL, .ports = r->pos.ports, .ttl = 255 };
	struct weir_facts f = facts("10.0.0.1", "10.0.0.2", 6, 1, 80);

	f.known &= ~(uint32_t)WEIR_K_PORTS;
	assert_int_equal(weir_cond_eval(&img, &c, &f, UINT32_MAX), WEIR_FALSE);
	f.known = WEIR_K_PORTS;
	f.t.dport = 81;
	weir_classify_prepare(&img, img.cfg, &f);
	assert_int_equal(weir_cond_eval(&img, &c, &f, UINT32_MAX), WEIR_FALSE);
}

static void absent_facts_are_false(void **state)
{
	struct weir_cond any_port = { .set = WEIR_C_PORTS }, any_sport = { .set = WEIR_C_SPORTS };
	struct weir_cond reply = { .set = WEIR_C_ICMP, .n_icmp = 2, .icmp = { { 4, 0, 0, 255 }, { 6, 129, 0, 255 } } };
	struct weir_facts f;

	weir_imgbuild_init(&b);
	any_port.ports = any_sport.sports = weir_imgbuild_ports(&b, 0, 65535);
	build();
	f = facts("10.0.0.1", "10.0.0.2", WEIR_IPPROTO_ICMP, 80, 80); /* an echo with the identifier 80 */
	assert_int_equal(weir_cond_eval(&img, &any_port, &f, UINT32_MAX), WEIR_FALSE);
	assert_int_equal(weir_cond_eval(&img, &any_sport, &f, UINT32_MAX), WEIR_FALSE);
	assert_int_equal(weir_cond_eval(&img, &reply, &f, UINT32_MAX), WEIR_TRUE);
	f.known &= ~(uint32_t)(WEIR_K_PORTS | WEIR_K_ICMP); /* a later fragment of it */
	assert_int_equal(weir_cond_eval(&img, &any_port, &f, UINT32_MAX), WEIR_FALSE);
	assert_int_equal(weir_cond_eval(&img, &reply, &f, UINT32_MAX), WEIR_UNKNOWN);
	f = facts("10.0.0.1", "10.0.0.2", WEIR_IPPROTO_TCP, 80, 80); /* icmp_type is 0 in it, as in an echo reply */
	assert_int_equal(weir_cond_eval(&img, &reply, &f, UINT32_MAX), WEIR_FALSE);
	f = facts("::1", "::2", WEIR_IPPROTO_ICMPV6, 0, 0);
	f.icmp_type = 129;
	assert_int_equal(weir_cond_eval(&img, &reply, &f, UINT32_MAX), WEIR_TRUE);
}

static void peers_and_translated_addresses(void **state)
{
	struct weir_cond c = { .set = WEIR_C_PEER }, to = { .set = WEIR_C_TO };
	struct weir_facts f;

	weir_imgbuild_init(&b);
	c.peer = to.to = weir_imgbuild_addrs(&b, "10.0.0.2", NULL);
	build();
	f = facts("10.0.0.1", "10.0.0.2", 6, 1, 2);
	assert_int_equal(weir_cond_eval(&img, &c, &f, UINT32_MAX), WEIR_FALSE); /* inbound: the peer is the source */
	f.dir = WEIR_DIR_OUT;
	assert_int_equal(weir_cond_eval(&img, &c, &f, UINT32_MAX), WEIR_TRUE);
	f = facts("10.0.0.2", "10.0.0.1", 6, 1, 2);
	f.dir = WEIR_DIR_FWD; /* either end */
	assert_int_equal(weir_cond_eval(&img, &c, &f, UINT32_MAX), WEIR_TRUE);
	assert_int_equal(weir_cond_eval(&img, &to, &f, UINT32_MAX), WEIR_FALSE);
	f.has_orig = 1;
	memcpy(f.orig.dst, f.t.src, 16);
	weir_classify_prepare(&img, img.cfg, &f);
	assert_int_equal(weir_cond_eval(&img, &to, &f, UINT32_MAX), WEIR_TRUE);
}

static void interfaces(void **state)
{
	struct weir_cond any = { .set = WEIR_C_ANY_IF, .any_if = 4 }, in = { .set = WEIR_C_IN_IF, .in_if = 4 };
	struct weir_facts f;

	weir_imgbuild_init(&b);
	build();
	f = facts("10.0.0.1", "10.0.0.2", 6, 1, 2);
	f.in_lower = 4; /* the parent of a VLAN device: only with a VLAN named */
	assert_int_equal(weir_cond_eval(&img, &in, &f, UINT32_MAX), WEIR_FALSE);
	in.set |= WEIR_C_VLAN;
	in.n_vlan = 1;
	in.vlan[0] = f.vlan[0] = 9;
	assert_int_equal(weir_cond_eval(&img, &in, &f, UINT32_MAX), WEIR_TRUE);
	assert_int_equal(weir_cond_eval(&img, &any, &f, UINT32_MAX), WEIR_FALSE);
	f.known &= ~(uint32_t)WEIR_K_IN_IF; /* XDP: an interface it has, but which? */
	assert_int_equal(weir_cond_eval(&img, &any, &f, UINT32_MAX), WEIR_UNKNOWN);
	f.known |= WEIR_K_IN_IF;
	f.dir = WEIR_DIR_FWD; /* where it will leave is not known yet */
	assert_int_equal(weir_cond_eval(&img, &any, &f, UINT32_MAX), WEIR_UNKNOWN);
	f.known |= WEIR_K_OUT_IF;
	assert_int_equal(weir_cond_eval(&img, &any, &f, UINT32_MAX), WEIR_FALSE);
	f.out_if = 4;
	assert_int_equal(weir_cond_eval(&img, &any, &f, UINT32_MAX), WEIR_TRUE);
}

/* In rule order, across stretches, past what is skipped. */
static void iterator(void **state)
{
	struct weir_facts f;
	uint32_t at = 0;

	weir_imgbuild_init(&b);
	for (int i = 0; i < 300; i++) {
		struct weir_rule *r = weir_imgbuild_rule(&b, i % 4 == 3 ? WEIR_ACT_LOG : WEIR_ACT_DROP);

		r->pos.set = WEIR_C_FAMILY;
		r->pos.family = i % 67 ? 6 : 4;
		r->mode = i == 67 ? WEIR_DETECT : WEIR_PREVENT;
	}
	build();
	f = facts("10.0.0.1", "10.0.0.2", 6, 1, 2);
	for (int i = 0; i < 300; i += 67) {
		assert_int_equal(weir_classify_next(&img, img.cfg, WEIR_RULES, &f, at, 0), i);
		at = (uint32_t)i + 1;
	}
	assert_int_equal(weir_classify_next(&img, img.cfg, WEIR_RULES, &f, at, 0), WEIR_SCAN_END);
	assert_int_equal(weir_classify_next(&img, img.cfg, WEIR_RULES, &f, 1, WEIR_SKIP_DETECT), 134);
	assert_int_equal(weir_classify_next(&img, img.cfg, WEIR_RULES, &f, 1, WEIR_SKIP_LOG | WEIR_SKIP_DETECT), 134);
	b.rules[134].action = WEIR_ACT_LOG;
	build();
	assert_int_equal(weir_classify_next(&img, img.cfg, WEIR_RULES, &f, 68, WEIR_SKIP_LOG), 201);
}

/* Every byte of a small image set to a few values: refused, or all lookups stay inside (the sanitizer watches). */
static void hostile_images(void **state)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	struct weir_rule *r;
	uint32_t refused = 0;
	struct weir_facts f;
	uint8_t *copy;

	weir_imgbuild_init(&b);
	r = weir_imgbuild_rule(&b, WEIR_ACT_DROP);
	r->pos.set = WEIR_C_FROM | WEIR_C_PORTS | WEIR_C_ICMP | WEIR_C_VLAN | WEIR_C_MAC;
	r->pos.from = weir_imgbuild_addrs(&b, "10.0.0.0/8", "2001:db8::/32", NULL);
	r->pos.ports = weir_imgbuild_ports(&b, 1, 9);
	b.n_ifpats = 1;
	build();
	f = facts("10.0.0.1", "10.0.0.2", 6, 1, 2);
	copy = malloc(size);
	assert_non_null(copy);
	for (uint32_t i = 0; i < size; i++)
		for (size_t k = 0; k < sizeof values; k++) {
			struct weir_img bad;
			struct weir_result res;

			memcpy(copy, blob, size);
			copy[i] = values[k];
			if (weir_image_open(&bad, copy, size)) {
				refused++;
				continue;
			}
			weir_result_init(&res);
			weir_classify_prepare(&bad, bad.cfg, &f);
			weir_judge_rules(&bad, bad.cfg, &f, false, &res);
		}
	assert_true(refused > size / 8);
	for (uint32_t n = 0; n < size; n++) {
		struct weir_img bad;
		uint8_t *exact = malloc(n ? n : 1);

		assert_non_null(exact);
		memcpy(exact, blob, n);
		assert_int_equal(weir_image_open(&bad, exact, n), -1);
		free(exact);
	}
	free(copy);
}

/* What a search trusts is checked when the image is opened. */
static void tables_out_of_order(void **state)
{
	struct weir_bound4 *b4;
	struct weir_bound6 *b6;
	struct weir_img bad;

	weir_imgbuild_init(&b);
	weir_imgbuild_addrs(&b, "10.0.0.0/8", "11.0.0.0/8", "2001:db8::/32", NULL);
	build();
	b4 = (void *)((uint8_t *)blob + img.h->bounds4.off);
	b4[0].low = 1;
	assert_int_equal(weir_image_open(&bad, blob, size), -1);
	b4[0].low = 0;
	b4[2].low = b4[1].low;
	assert_int_equal(weir_image_open(&bad, blob, size), -1);
	b4[2].low++;
	assert_int_equal(weir_image_open(&bad, blob, size), 0);
	b4[2].class_id = img.cfg->n_addr_rows;
	assert_int_equal(weir_image_open(&bad, blob, size), -1);
	build();
	b6 = (void *)((uint8_t *)blob + img.h->bounds6.off);
	b6[2].hi = b6[1].hi;
	b6[2].lo = b6[1].lo;
	assert_int_equal(weir_image_open(&bad, blob, size), -1);
}

static int done(void **state)
{
	free(blob);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(class_search_is_brute_force),
		cmocka_unit_test(class_search_at_its_bound),
		cmocka_unit_test(three_values_of_each_condition),
		cmocka_unit_test(kleene_table),
		cmocka_unit_test(absent_facts_are_false),
		cmocka_unit_test(peers_and_translated_addresses),
		cmocka_unit_test(interfaces),
		cmocka_unit_test(iterator),
		cmocka_unit_test(hostile_images),
		cmocka_unit_test(tables_out_of_order),
	};

	return cmocka_run_group_tests_name("core/classify", tests, NULL, done);
}
