/* SPDX-License-Identifier: Apache-2.0 */
/* The trees of an image against the same image without them: every candidate, in its order, for facts of all kinds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "lib/policy/boxes.h"
#include "tests/bpf/random.h"

static struct weir_random r = { 0x9e3779b97f4a7c15ull };
static struct weir_imgbuild build;

static void random_addr(uint8_t family, uint8_t a[16])
{
	static const char *const four = "\x0a\x00\x00\x01" "\x0a\x00\x00\x04" "\x0a\x00\x01\x09" "\xc0\x00\x02\x07" "\xe0\x00\x00\x05"
					"\xff\xff\xff\xff" "\x2a\x00\x01\x01";
	static const uint8_t heads[][2] = { { 0x20, 0x01 }, { 0xfe, 0x80 }, { 0xff, 0x02 } };

	memset(a, 0, 16);
	if (family == 4) {
		a[10] = a[11] = 0xff;
		memcpy(a + 12, four + weir_random(&r, 7) * 4, 4);
		return;
	}
	memcpy(a, heads[weir_random(&r, 3)], 2);
	if (a[0] == 0x20) {
		a[2] = 0x0d;
		a[3] = 0xb8;
		a[7] = (uint8_t)weir_random(&r, 2);
	}
	a[15] = (uint8_t)weir_random(&r, 6);
}

static struct weir_facts random_facts(const struct weir_img *img)
{
	static const uint8_t protos[] = { 1, 6, 6, 6, 17, 17, 58, 132, 136, 50, 200 };
	static const uint16_t ports[] = { 0, 22, 53, 79, 80, 81, 443, 1024, 8080, 65535 };
	struct weir_facts f = { .family = weir_random(&r, 2) ? 4 : 6,
				.proto = protos[weir_random(&r, sizeof protos)],
				.dir = (uint8_t)(1u << weir_random(&r, 3)),
				.has_orig = weir_random(&r, 4) == 0,
				.times = r.state,
				.known = UINT32_MAX,
				.ttl = weir_random(&r, 2) ? 64 : 255,
				.in_if = weir_random(&r, 16),
				.out_if = weir_random(&r, 16),
				.mac = 0x020000000000ull + weir_random(&r, 3),
				.mark = weir_random(&r, 4),
				.vlan = { (uint16_t)weir_random(&r, 7) } };

	if (weir_random(&r, 6) == 0)
		f.known &= ~(uint32_t)WEIR_K_PORTS;
	if (weir_random(&r, 6) == 0)
		f.known &= ~(uint32_t)(WEIR_K_IN_IF | WEIR_K_MAC | WEIR_K_TIME);
	random_addr(f.family, f.t.src);
	random_addr(f.family, f.t.dst);
	f.orig = f.t;
	if (f.has_orig && weir_random(&r, 2))
		random_addr(f.family, f.orig.src);
	if (f.has_orig && weir_random(&r, 2))
		random_addr(f.family, f.orig.dst);
	f.t.sport = f.orig.sport = ports[weir_random(&r, 10)];
	f.t.dport = f.orig.dport = ports[weir_random(&r, 10)];
	weir_classify_prepare(img, img->cfg, &f);
	return f;
}

/* Returns how many candidates there were. */
static uint64_t compare(const struct weir_img *plain, const struct weir_img *trees)
{
	static const uint32_t skips[] = { 0, 0, WEIR_SKIP_DETECT, WEIR_SKIP_LOG, WEIR_SKIP_UNKNOWN };
	struct weir_facts f = random_facts(plain);
	uint32_t skip = skips[weir_random(&r, 5)], at = 0;
	uint64_t n = 0;

	for (;; n++) {
		uint32_t want = weir_classify_next(plain, plain->cfg, WEIR_RULES, &f, at, skip);
		uint32_t got = weir_classify_next(trees, trees->cfg, WEIR_RULES, &f, at, skip);

		assert_int_equal(got, want);
		if (want == WEIR_SCAN_END)
			return n;
		at = WEIR_CAND_INDEX(want) + 1;
	}
}

static void trees_find_what_a_scan_finds(void **state)
{
	uint64_t found = 0, with_trees = 0, boxed = 0, asked = 0;

	for (int i = 0; i < 120; i++) {
		struct weir_why why = { 0 };
		struct weir_img plain, trees;
		uint32_t size, tree_size;
		void *blob, *copy;

		weir_random_image(&r, &build);
		blob = weir_imgbuild_make(&build, &size);
		copy = malloc(size);
		assert_non_null(copy);
		memcpy(copy, blob, size);
		tree_size = size;
		assert_int_equal(weir_image_add_trees(&copy, &tree_size, &why), 0);
		assert_int_equal(weir_image_open(&plain, blob, size), 0);
		assert_int_equal(weir_image_open(&trees, copy, tree_size), 0);
		with_trees += trees.cfg->tree_lines != 0;
		for (uint32_t k = 0; k < trees.cfg->n_rules; k++)
			boxed += (weir_img_rule(&trees, WEIR_RULES, k)->flags & WEIR_RF_BOXED) != 0;
		for (int k = 0; k < 3000; k++, asked++)
			found += compare(&plain, &trees);
		free(copy);
		free(blob);
	}
	print_message("%lu of 120 with trees, %lu rules that boxes say whole, %lu candidates for %lu packets\n", with_trees,
		      boxed, found, asked);
	assert_true(with_trees > 80 && boxed > 100 && found > asked);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(trees_find_what_a_scan_finds) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
