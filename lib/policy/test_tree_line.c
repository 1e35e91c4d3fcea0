/* SPDX-License-Identifier: Apache-2.0 */
/* One box, or a few, against every value that matters: the ends of each field, and what stands next to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness/rulesets.h"

struct weir_img {
	const struct weir_tree_line *lines;
	uint32_t n;
};

static inline const struct weir_tree_line *weir_img_tree_line(const struct weir_img *img, uint32_t i)
{
	return i < img->n ? &img->lines[i] : NULL;
}

#include "core/tree.h"

static void check_few(const struct weir_box *b, uint32_t n, const struct weir_tree *t, weir_u128 src, weir_u128 dst,
		      struct weir_tree_key k)
{
	struct weir_img img = { t->lines, t->n };
	uint32_t want = WEIR_TREE_END;

	if (b->family == 4)
		weir_tree_key4(&k, (uint32_t)src, (uint32_t)dst);
	else
		weir_tree_key6(&k, (uint64_t)(src >> 64), (uint64_t)src, (uint64_t)(dst >> 64), (uint64_t)dst);
	for (uint32_t i = 0; i < n; i++)
		if (b[i].rule < want && weir_box_holds(&b[i], &k))
			want = b[i].rule;
	assert_int_equal(weir_tree_next(&img, &k, 0), want);
}

static struct weir_tree tree_of(const struct weir_box *b, uint32_t n)
{
	struct weir_tree t;
	struct weir_why why;

	assert_int_equal(weir_tree_build(b, n, NULL, &t, &why), 0);
	return t;
}

static struct weir_box any_box(uint8_t family, uint32_t rule)
{
	struct weir_box b = { .src_hi = ~(weir_u128)0,
			      .dst_hi = ~(weir_u128)0,
			      .sport_hi = 65535,
			      .dport_hi = 65535,
			      .proto_hi = 255,
			      .dirs = WEIR_DIR_ANY,
			      .family = family,
			      .rule = rule };

	if (family == 4) {
		b.src_lo = b.dst_lo = WEIR_V4_LOW;
		b.src_hi = b.dst_hi = WEIR_V4_HIGH;
	}
	return b;
}

/* Ports and protocol share a word: none of them may reach into its neighbour, whatever that holds. */
static void test_lanes(void **state)
{
	static const uint16_t ranges[][2] = { { 0, 0 },	    { 0, 65535 }, { 65535, 65535 },
					      { 0, 65534 }, { 1, 65535 }, { 255, 256 } };
	static const uint8_t protos[][2] = { { 0, 0 }, { 0, 255 }, { 255, 255 }, { 1, 254 } };
	static const uint32_t ports[] = { 0, 1, 254, 255, 256, 257, 65534, 65535 }, proto[] = { 0, 1, 254, 255 };

	for (uint32_t c = 0; c < 2 * 6 * 6 * 4; c++) {
		struct weir_box b = any_box(c & 1 ? 6 : 4, 5);
		struct weir_tree t;

		b.sport_lo = ranges[c / 2 % 6][0];
		b.sport_hi = ranges[c / 2 % 6][1];
		b.dport_lo = ranges[c / 12 % 6][0];
		b.dport_hi = ranges[c / 12 % 6][1];
		b.proto_lo = protos[c / 72][0];
		b.proto_hi = protos[c / 72][1];
		t = tree_of(&b, 1);
		for (uint32_t p = 0; p < 8 * 8 * 4; p++)
			check_few(&b, 1, &t, WEIR_V4_LOW | 7, WEIR_V4_LOW | 9,
				  (struct weir_tree_key){ .sport = ports[p / 4 % 8],
							  .dport = ports[p / 32],
							  .proto = proto[p % 4],
							  .dir = WEIR_DIR_FWD });
		weir_tree_free(&t);
	}
}

static void test_directions(void **state)
{
	for (uint32_t dirs = 1; dirs <= WEIR_DIR_ANY; dirs++)
		for (uint8_t family = 4; family <= 6; family = (uint8_t)(family + 2)) {
			struct weir_box b = any_box(family, 5);
			struct weir_tree t;

			b.dirs = (uint8_t)dirs;
			t = tree_of(&b, 1);
			for (uint32_t dir = WEIR_DIR_IN; dir <= WEIR_DIR_FWD; dir <<= 1)
				check_few(&b, 1, &t, WEIR_V4_LOW | 7, WEIR_V4_LOW | 9,
					  (struct weir_tree_key){
						  .sport = 65535, .dport = 65535, .proto = 255, .dir = dir });
			weir_tree_free(&t);
		}
}

static void prefix_around(weir_u128 a, uint32_t ignored, weir_u128 *lo, weir_u128 *hi)
{
	weir_u128 mask = ignored >= 128 ? ~(weir_u128)0 : ((weir_u128)1 << ignored) - 1;

	*lo = a & ~mask;
	*hi = a | mask;
}

/* Prefixes of all lengths: their ends, and what is next to them. */
static void test_prefixes(void **state)
{
	for (uint32_t c = 0; c <= 32 + 1 + 128; c++) {
		uint8_t family = c <= 32 ? 4 : 6;
		uint32_t ignored = c <= 32 ? c : c - 33;
		weir_u128 low = family == 4 ? WEIR_V4_LOW : 0, high = family == 4 ? WEIR_V4_HIGH : ~(weir_u128)0;
		weir_u128 a =
			family == 4 ? low | 0xa5c3960fu : (weir_u128)0xa5c3960f5a3c69f0u << 64 | 0x96f0a5c35a693c0fu;
		struct weir_box b = any_box(family, 5);
		struct weir_tree t;

		prefix_around(a, ignored, &b.src_lo, &b.src_hi);
		prefix_around(a ^ 1, ignored / 2, &b.dst_lo, &b.dst_hi);
		t = tree_of(&b, 1);
		for (uint32_t i = 0; i < 16; i++) {
			const weir_u128 src[] = { b.src_lo, b.src_hi, b.src_lo - (b.src_lo != low),
						  b.src_hi + (b.src_hi != high) };
			const weir_u128 dst[] = { b.dst_lo, b.dst_hi, b.dst_lo - 1, b.dst_hi + 1 };

			check_few(&b, 1, &t, src[i % 4], dst[i / 4], (struct weir_tree_key){ .dir = WEIR_DIR_IN });
		}
		weir_tree_free(&t);
	}
}

/* A range and a prefix in one line, either of them first. */
static void test_range_beside_prefix(void **state)
{
	for (uint32_t turn = 0; turn < 2; turn++) {
		struct weir_box b[2] = { any_box(4, WEIR_TREE_RULES - 3 + turn),
					 any_box(4, WEIR_TREE_RULES - 2 - turn) };
		struct weir_tree t;

		b[0].src_lo = WEIR_V4_LOW | 3; /* 3 to 20 */
		b[0].src_hi = WEIR_V4_LOW | 20;
		b[1].src_lo = WEIR_V4_LOW | 16; /* 16 to 31 */
		b[1].src_hi = WEIR_V4_LOW | 31;
		b[1].dst_hi = WEIR_V4_LOW;
		t = tree_of(b, 2);
		for (uint32_t i = 0; i < 80; i++)
			check_few(b, 2, &t, WEIR_V4_LOW | i / 2, WEIR_V4_LOW | (i & 1),
				  (struct weir_tree_key){ .dir = WEIR_DIR_IN });
		weir_tree_free(&t);
	}
}

/* Trees that are walked together: some are, and the last of them says that none follows. */
static void test_joined(void **state)
{
	struct weir_set s;
	struct weir_tree t;
	const struct weir_tree_root *r;
	uint32_t n = 0;

	assert_int_equal(weir_set_make(&s, WEIR_SET_FW, 4, 20000, 1), 0);
	t = tree_of(s.v, (uint32_t)s.n);
	r = (const struct weir_tree_root *)t.lines;
	for (uint32_t i = 0; i < t.stats.trees[0]; i++)
		n += r[i].max & WEIR_TREE_MORE ? 1 : 0;
	assert_true(t.stats.trees[0] > 1);
	assert_true(n > 0);
	assert_false(r[t.stats.trees[0] - 1].max & WEIR_TREE_MORE);
	weir_tree_free(&t);
	weir_set_free(&s);
}

/* Of two trees that are walked together the second has nothing below what is found already: the first still counts. */
static void test_joined_in_part(void **state)
{
	static const struct weir_tree_root place[3] = { { 0, 1, 10 }, { 0, 4, 10 | WEIR_TREE_MORE }, { 0, 8, 10 } };
	static const uint32_t rules[3] = { 6, 4, 9 };
	struct weir_tree all = tree_of(&(struct weir_box){ 0 }, 0);
	struct weir_tree_root *r;

	all.lines = realloc(all.lines, (WEIR_TREE_HEAD + 3) * sizeof *all.lines);
	assert_non_null(all.lines);
	all.n = WEIR_TREE_HEAD + 3;
	r = (struct weir_tree_root *)all.lines;
	for (uint32_t i = 0; i < 3; i++) {
		struct weir_box b = any_box(4, rules[i]);
		struct weir_tree one = tree_of(&b, 1);

		r[i] = place[i];
		r[i].word = ((const struct weir_tree_root *)one.lines)->word + i;
		all.lines[WEIR_TREE_HEAD + i] = one.lines[WEIR_TREE_HEAD];
		weir_tree_free(&one);
	}
	check_few((struct weir_box[]){ any_box(4, 4) }, 1, &all, WEIR_V4_LOW, WEIR_V4_LOW,
		  (struct weir_tree_key){ .dir = 1 });
	weir_tree_free(&all);
}

/* The very ends of every field, one value at a time. */
static void test_edges(void **state)
{
	struct weir_box b = { .src_lo = WEIR_V4_LOW,
			      .src_hi = WEIR_V4_HIGH,
			      .dst_lo = WEIR_V4_LOW | 0x0a000001,
			      .dst_hi = WEIR_V4_LOW | 0x0a000006,
			      .sport_hi = 65535,
			      .dport_lo = 65535,
			      .dport_hi = 65535,
			      .proto_hi = 255,
			      .dirs = WEIR_DIR_IN | WEIR_DIR_OUT,
			      .family = 4,
			      .rule = 5 };
	struct weir_tree_key k = { .sport = 0, .dport = 65535, .proto = 255, .dir = WEIR_DIR_OUT };
	struct weir_tree t;
	struct weir_why why;
	struct weir_img img;

	assert_int_equal(weir_tree_build(&b, 1, NULL, &t, &why), 0);
	img = (struct weir_img){ t.lines, t.n };
	for (uint32_t d = 0x0a000000; d <= 0x0a000007; d++) {
		weir_tree_key4(&k, 0xffffffff, d);
		assert_int_equal(weir_tree_next(&img, &k, 0), d >= 0x0a000001 && d <= 0x0a000006 ? 5 : WEIR_TREE_END);
	}
	weir_tree_key4(&k, 0, 0x0a000001);
	assert_int_equal(weir_tree_next(&img, &k, 5), 5);
	assert_int_equal(weir_tree_next(&img, &k, 6), WEIR_TREE_END);
	k.dir = WEIR_DIR_FWD;
	weir_tree_key4(&k, 0, 0x0a000001);
	assert_int_equal(weir_tree_next(&img, &k, 0), WEIR_TREE_END);
	k.dir = WEIR_DIR_IN;
	k.dport = 65534;
	weir_tree_key4(&k, 0, 0x0a000001);
	assert_int_equal(weir_tree_next(&img, &k, 0), WEIR_TREE_END);
	weir_tree_free(&t);
}

/* Facts to key: the same as the numbers themselves. */
static void test_key(void **state)
{
	struct weir_facts f = { .t = { .src = { [10] = 0xff, 0xff, 10, 0, 0, 1 },
				       .dst = { [10] = 0xff, 0xff, 192, 0, 2, 7 },
				       .sport = 1234,
				       .dport = 443 },
				.proto = 6,
				.dir = WEIR_DIR_FWD,
				.family = 4 };
	struct weir_tree_key k = { 0 };

	weir_tree_key_make(&k, &f, f.t.src, f.t.dst);
	assert_int_equal(k.family, 4);
	assert_int_equal(k.w[0], 0x0a000001c0000207u);
	assert_int_equal(k.w[1], 6 | 443 << 8 | 1234ull << 24 | 1ull << 40);
	assert_int_equal(k.lanes, 6 | 443 << 9 | 1234ull << 26);
	assert_int_equal(k.dirs, (uint64_t)WEIR_DIR_FWD << 43);
	f.family = 6;
	f.t.dst[0] = 0x20;
	weir_tree_key_make(&k, &f, f.t.dst, f.t.src); /* turned, as another view of the packet */
	assert_int_equal(k.family, 6);
	assert_int_equal(k.w[0], 0x2000000000000000u);
	assert_int_equal(k.w[1], 0xffffc0000207u);
	assert_int_equal(k.w[2], 0);
	assert_int_equal(k.w[3], 0xffff0a000001u);
	assert_int_equal(k.w[4], 6 | 443 << 8 | 1234ull << 24 | 1ull << 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key),	 cmocka_unit_test(test_edges),
		cmocka_unit_test(test_lanes),	 cmocka_unit_test(test_directions),
		cmocka_unit_test(test_prefixes), cmocka_unit_test(test_range_beside_prefix),
		cmocka_unit_test(test_joined),	 cmocka_unit_test(test_joined_in_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
