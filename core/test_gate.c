/* SPDX-License-Identifier: Apache-2.0 */
/* The gate of the failsafe against its entries, one by one: it may leave too many, never too few, and few it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/draw.h"
#include "tests/harness/imgbuild.h" /* brings the accessors that core/classify.h builds on */

#include "core/policy.h"

static struct weir_imgbuild b;
static struct weir_gate gate;
static struct weir_img img;
static void *blob;
static uint64_t seed = 0x2545f4914f6cdd1dull;

static uint32_t rnd(uint32_t n)
{
	return weir_draw_below(&seed, n);
}

static void build(void)
{
	uint32_t size;

	free(blob);
	blob = weir_imgbuild_make(&b, &size);
	assert_int_equal(weir_image_open(&img, blob, size), 0);
	memset(&gate, 0, sizeof gate);
	weir_gate_make(&img, img.cfg, &gate);
}

static const uint16_t edges[] = { 0, 1, 21, 22, 23, 255, 256, 257, 511, 512, 1023, 1024, 8080, 65279, 65280, 65535 };
static const uint8_t protos[] = { 0, 1, 6, 17, 50, 58, 63, 64, 132, 136, 255 };
static const uint8_t types[] = { 0, 3, 8, 128, 129, 133, 255 };

#define ANY(v) ((v)[rnd(sizeof(v) / sizeof((v)[0]))])

static struct weir_ports random_ports(void)
{
	uint16_t x = ANY(edges), y = ANY(edges);

	if (rnd(2))
		return (struct weir_ports){ WEIR_NO_LIST, x, y }; /* the wrong way round: no port at all */
	return weir_imgbuild_ports(&b, x < y ? x : y, x < y ? y : x);
}

static void random_entry(void)
{
	struct weir_rule *r = weir_imgbuild_failsafe(&b);
	struct weir_cond *c = &r->pos;
	static const uint16_t conds[] = { WEIR_C_DIR, WEIR_C_FAMILY, WEIR_C_PROTO, WEIR_C_PORTS, WEIR_C_SPORTS, WEIR_C_ICMP,
					  WEIR_C_TTL };

	for (uint32_t i = 0; i < sizeof conds / sizeof conds[0]; i++)
		c->set |= rnd(3) ? 0 : conds[i];
	c->dirs = (uint8_t)rnd(8);
	c->family = rnd(2) ? 4 : 6;
	c->ttl = 255;
	c->ports = random_ports();
	c->sports = random_ports();
	c->n_icmp = (uint8_t)(1 + rnd(3));
	for (uint32_t i = 0; i < c->n_icmp; i++)
		c->icmp[i] = (struct weir_icmp_match){ rnd(2) ? 4 : 6, ANY(types), 0, 255 };
	for (uint32_t n = rnd(4); n > 0 && (c->set & WEIR_C_PROTO); n--)
		weir_cond_proto(c, ANY(protos));
	if (rnd(2))
		r->flags |= WEIR_RF_REPLY;
}

static struct weir_pkt random_packet(void)
{
	return (struct weir_pkt){ .proto = ANY(protos), .family = rnd(2) ? 4 : 6, .icmp_type = ANY(types), .ttl = rnd(2) ? 255 : 64,
				  .t = { .sport = ANY(edges), .dport = ANY(edges) } };
}

/* Every entry that matches is left; weir_gate_admits says so for the packet and for what it answers. */
static void compare(const struct weir_pkt *p, uint32_t dir, uint64_t *left, uint64_t *right)
{
	bool admits = weir_gate_admits(&gate, p, dir, false), opens = weir_gate_admits(&gate, p, dir, true);
	struct weir_facts f;

	for (uint32_t way = 0; way < 2; way++) {
		uint64_t may;

		if (!way) {
			weir_facts_init(&f, p, dir);
			weir_classify_prepare(&img, img.cfg, &f);
		} else {
			weir_facts_reverse(&f);
		}
		may = weir_gate_facts(&gate, &f);
		*left += (uint64_t)__builtin_popcountll(may);
		for (uint32_t i = 0; i < img.cfg->n_failsafe; i++) {
			const struct weir_rule *r = weir_img_rule(&img, WEIR_FAILSAFE, i);

			if (weir_rule_eval(&img, img.cfg, WEIR_FAILSAFE, i, r, &f) == WEIR_FALSE)
				continue;
			assert_true(may >> i & 1);
			*right += 1;
			if (!way)
				assert_true(admits && opens);
			else if (r->flags & WEIR_RF_REPLY)
				assert_true(admits);
		}
	}
}

static void test_never_too_few(void **state)
{
	uint64_t left = 0, right = 0;

	for (uint32_t n = 0; n < 300; n++) {
		weir_imgbuild_init(&b);
		for (uint32_t i = rnd(8) ? 1 + rnd(6) : WEIR_FAILSAFE_MAX; i > 0; i--)
			random_entry();
		build();
		for (uint32_t i = 0; i < 400; i++) {
			struct weir_pkt p = random_packet();

			compare(&p, 1u << rnd(3), &left, &right);
		}
	}
	assert_true(right > 10000);
	assert_true(left < 2 * right); /* too many are hop limits, codes, and ranges of ports by their bytes */
}

static struct weir_pkt packet(uint8_t proto, uint16_t sport, uint16_t dport)
{
	return (struct weir_pkt){ .proto = proto, .family = 4, .ttl = 64, .t = { .sport = sport, .dport = dport } };
}

static void service(uint8_t proto, uint32_t dirs, uint16_t port, uint8_t flags)
{
	struct weir_rule *r = weir_imgbuild_failsafe(&b);

	r->flags = flags;
	r->pos.set = WEIR_C_PROTO | WEIR_C_PORTS | WEIR_C_DIR;
	r->pos.dirs = (uint8_t)dirs;
	r->pos.ports = (struct weir_ports){ WEIR_NO_LIST, port, port };
	weir_cond_proto(&r->pos, proto);
}

static void test_single_ports_are_exact(void **state)
{
	weir_imgbuild_init(&b);
	service(WEIR_IPPROTO_TCP, WEIR_DIR_IN, 22, WEIR_RF_REPLY);
	service(WEIR_IPPROTO_UDP, WEIR_DIR_IN, 68, 0);
	build();
	for (uint32_t port = 0; port < 65536; port++) {
		struct weir_pkt in = packet(WEIR_IPPROTO_TCP, 4000, (uint16_t)port), back = packet(WEIR_IPPROTO_TCP, (uint16_t)port, 4000);
		struct weir_pkt udp = packet(WEIR_IPPROTO_UDP, 4000, (uint16_t)port), udp_back = packet(WEIR_IPPROTO_UDP, (uint16_t)port, 4000);

		assert_int_equal(weir_gate_admits(&gate, &in, WEIR_DIR_IN | WEIR_DIR_FWD, true), port == 22);
		assert_false(weir_gate_admits(&gate, &in, WEIR_DIR_OUT, true));
		assert_int_equal(weir_gate_admits(&gate, &back, WEIR_DIR_OUT, false), port == 22);
		assert_false(weir_gate_admits(&gate, &back, WEIR_DIR_OUT, true));
		assert_false(weir_gate_admits(&gate, &back, WEIR_DIR_IN | WEIR_DIR_FWD, false));
		assert_int_equal(weir_gate_admits(&gate, &udp, WEIR_DIR_IN, false), port == 68);
		assert_false(weir_gate_admits(&gate, &udp_back, WEIR_DIR_OUT, false)); /* admits no replies */
	}
}

static void test_lowest(void **state)
{
	for (uint32_t i = 0; i < 64; i++) {
		uint64_t above = i < 63 ? ~(uint64_t)0 << (i + 1) : 0;

		assert_int_equal(weir_gate_lowest((uint64_t)1 << i), i);
		assert_int_equal(weir_gate_lowest((uint64_t)1 << i | above), i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_too_few),
		cmocka_unit_test(test_single_ports_are_exact),
		cmocka_unit_test(test_lowest),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	free(blob);
	return r;
}
