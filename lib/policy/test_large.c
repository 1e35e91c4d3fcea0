/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As many rules as there may be. Nothing here looks at a clock: what compares each rule with each would not end before
 * the test is stopped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/image_blob.h"
#include "lib/policy/model.h"
#include "lib/util/cleanup.h"
#include "tests/harness/policies.h"

#define N WEIR_RULES_MAX

static char *text_of(enum weir_style style, size_t n, size_t *ret_len)
{
	struct weir_set s;
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_len);

	assert_int_equal(weir_set_make(&s, WEIR_SET_ACL, 0, n, 7), 0);
	assert_int_equal(weir_policy_write(f, &s, style), 0);
	fclose(f);
	weir_set_free(&s);
	return text;
}

static struct weir_policy *read_text(const char *text, size_t len, struct weir_diags *diags)
{
	struct weir_policy *p = NULL;

	*diags = (struct weir_diags){ 0 };
	weir_policy_read_text("large.yaml", NULL, text, len, &p, diags);
	if (!p)
		weir_diags_format(stderr, diags, false);
	return p;
}

static void test_each_style_is_read_and_means_the_same(void **state)
{
	size_t sum[WEIR_STYLES] = { 0 };

	for (int s = 0; s < WEIR_STYLES; s++) {
		_cleanup_policy_ struct weir_policy *p = NULL;
		_cleanup_free_ char *text = NULL;
		struct weir_diags diags;
		size_t len;

		text = text_of((enum weir_style)s, N, &len);
		p = read_text(text, len, &diags);
		assert_non_null(p);
		assert_int_equal(p->n_rules, N);
		assert_int_equal(diags.n, 0);
		for (size_t i = 0; i < p->n_rules; i++) {
			const struct weir_p_addr *a = p->rules[i]->pos.from.v;

			sum[s] = sum[s] * 31 + (size_t)a->range.hi + p->rules[i]->action + p->rules[i]->pos.ports.n;
		}
	}
	assert_int_equal(sum[0], sum[1]);
	assert_int_equal(sum[0], sum[2]);
}

static void test_one_rule_too_many_is_refused_with_its_place(void **state)
{
	_cleanup_free_ char *text = NULL;
	struct weir_policy *p = NULL;
	struct weir_diags diags = { 0 };
	size_t len;

	text = text_of(WEIR_STYLE_FLOW, N + 1, &len);
	assert_int_equal(weir_policy_read_text("large.yaml", NULL, text, len, &p, &diags), -22);
	assert_int_equal(diags.n, 1);
	assert_non_null(strstr(diags.v[0].message, "at most"));
	weir_diags_free(&diags);
}

/* Each rule twice under its name: 100 are told, and how many there are is not made up. */
static void test_many_errors_stay_readable(void **state)
{
	_cleanup_free_ char *text = NULL, *shown = NULL;
	struct weir_diags diags = { 0 };
	struct weir_policy *p = NULL;
	size_t len, size;
	FILE *f = open_memstream(&text, &len);

	fputs("version: 1\nrules:\n", f);
	for (uint32_t i = 0; i < N; i++)
		fprintf(f, "  - { name: r%u, action: allow, ports: %u }\n", i % (N / 2), 1 + i % 60000);
	fclose(f);
	assert_int_equal(weir_policy_read_text("large.yaml", NULL, text, len, &p, &diags), -22);
	assert_int_equal(diags.n, WEIR_DIAGS_MAX);
	assert_non_null(strstr(diags.v[0].message, "the name 'r0' is taken by the rule at large.yaml:3"));
	assert_int_equal(diags.v[0].line, 3 + N / 2);
	f = open_memstream(&shown, &size);
	weir_diags_format(f, &diags, false);
	fclose(f);
	assert_true(size < 100000);
	weir_diags_free(&diags);
	/* and where every rule is wrong by itself */
	for (char *at = text; (at = strstr(at, "allow")); at += 5)
		memcpy(at, "alolw", 5);
	assert_int_equal(weir_policy_read_text("large.yaml", NULL, text, len, &p, &diags), -22);
	assert_int_equal(diags.n, WEIR_DIAGS_MAX);
	assert_non_null(strstr(diags.v[99].message, "unknown action 'alolw'"));
	assert_int_equal(diags.v[99].line, 102);
	weir_diags_free(&diags);
}

/* Warnings that are too many to be shown are no reason to refuse, or to stop reading. */
static void test_many_warnings_refuse_nothing(void **state)
{
	char dir[] = "/tmp/weir-test-XXXXXX", path[64];
	_cleanup_policy_ struct weir_policy *p = NULL;
	_cleanup_free_ char *text = NULL;
	struct weir_diags diags = { 0 };
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fputs("version: 1\ninclude: [", f);
	for (int i = 0; i < 120; i++)
		fprintf(f, "none%d*.yaml, ", i);
	fputs("a.yaml]\n", f);
	fclose(f);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/a.yaml", dir);
	f = fopen(path, "we");
	fputs("rules: [ { name: x, action: allow } ]\n", f);
	fclose(f);
	assert_int_equal(weir_policy_read_text("p.yaml", dir, text, len, &p, &diags), 0);
	assert_int_equal(p->n_rules, 1);
	assert_int_equal(diags.n + diags.dropped, 120);
	weir_diags_free(&diags);
	unlink(path);
	rmdir(dir);
}

static void put_addresses(FILE *f, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		fprintf(f, "%s10.%u.%u.%u", i ? ", " : "", i >> 15, i >> 7 & 255, i << 1 & 255);
}

/* Rules that share a set of many addresses, a group with such a list: neither is gone through for each rule. */
static void test_a_long_list_is_not_read_for_each_rule(void **state)
{
	_cleanup_policy_ struct weir_policy *p = NULL;
	_cleanup_free_ char *text = NULL;
	struct weir_diags diags;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fputs("version: 1\nsets:\n  many: { addresses: [", f);
	put_addresses(f, 100000);
	fputs("] }\nrules:\n  - group: g\n    when: { from: [", f);
	put_addresses(f, 50000);
	fputs("] }\n    rules:\n", f);
	for (uint32_t i = 0; i < N / 2; i++)
		fprintf(f, "      - { name: g%u, action: drop, from: 10.0.%u.0/24, ports: %u }\n", i, i & 255,
			1 + i % 60000);
	for (uint32_t i = 0; i < N / 2; i++)
		fprintf(f, "  - { name: r%u, action: allow, from: $many, ports: %u }\n", i, 1 + i % 60000);
	fclose(f);
	p = read_text(text, len, &diags);
	assert_non_null(p);
	assert_int_equal(p->n_rules, N);
}

/* What rules spell out each for itself has to lie in memory side by side. */
static void test_rules_that_spell_out_too_much_are_named(void **state)
{
	_cleanup_policy_ struct weir_policy *p = NULL;
	_cleanup_free_ char *text = NULL;
	struct weir_diags diags = { 0 };
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fputs("version: 1\nsets:\n  many: { addresses: [", f);
	put_addresses(f, 200000);
	fputs("] }\nrules:\n", f);
	for (uint32_t i = 0; i < 1000; i++)
		fprintf(f, "  - { name: r%u, action: allow, from: [$many, 192.0.2.1], ports: %u }\n", i, 1 + i);
	fclose(f);
	assert_int_equal(weir_policy_read_text("large.yaml", NULL, text, len, &p, &diags), -22);
	assert_int_equal(diags.n, 1);
	assert_non_null(strstr(diags.v[0].message, "the rules spell out more than 33 million ranges"));
	assert_true(diags.v[0].line > 10 && diags.v[0].line < 1000);
	weir_diags_free(&diags);
}

static int compile(enum weir_set_kind kind, size_t n, struct weir_img *ret, void **ret_blob, struct weir_diags *diags)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT, .late = kind == WEIR_SET_SAME };
	_cleanup_policy_ struct weir_policy *p = NULL;
	_cleanup_free_ char *text = NULL;
	struct weir_set s;
	uint32_t size = 0;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int r;

	assert_int_equal(weir_set_make(&s, kind, 0, n, 7), 0);
	assert_int_equal(weir_policy_write(f, &s, WEIR_STYLE_FLOW), 0);
	fclose(f);
	weir_set_free(&s);
	p = read_text(text, len, diags);
	assert_non_null(p);
	r = weir_policy_compile(p, &o, ret_blob, &size, diags);
	if (!r)
		assert_int_equal(weir_image_open(ret, *ret_blob, size), 0);
	return r;
}

/* As many rules as there may be have trees; rules that lie all over each other are refused with the reason. */
static void test_many_rules_are_compiled_or_refused(void **state)
{
	struct weir_diags diags = { 0 };
	struct weir_img img;
	void *blob = NULL;

	assert_int_equal(compile(WEIR_SET_ACL, N, &img, &blob, &diags), 0);
	assert_int_equal(img.cfg->n_rules, N);
	assert_true(img.cfg->tree_lines > N / 2);
	assert_true(img.size < 64u << 20);
	free(blob);
	blob = NULL;
	assert_int_equal(compile(WEIR_SET_SAME, N, &img, &blob, &diags), -22);
	assert_null(blob);
	assert_int_equal(diags.n, 1);
	assert_non_null(strstr(diags.v[0].message, "rules overlap so much"));
	assert_non_null(strstr(diags.v[0].message, " at most): rule 'rule "));
	assert_non_null(strstr(diags.v[0].message, "(large.yaml:"));
	assert_non_null(diags.v[0].hint);
	weir_diags_free(&diags);
	assert_int_equal(compile(WEIR_SET_WIDE, N, &img, &blob, &diags), -22);
	assert_non_null(strstr(diags.v[0].message, "the widest: rule 'rule "));
	weir_diags_free(&diags);
	/* few need no tree */
	assert_int_equal(compile(WEIR_SET_SAME, WEIR_LINEAR_MAX, &img, &blob, &diags), 0);
	assert_int_equal(img.cfg->n_rules, WEIR_LINEAR_MAX + WEIR_LATE_MAX); /* places for late ones come on top */
	free(blob);
}

/* Lists that rules share make many boxes of each: of very many rules they are taken together. */
static void test_boxes_of_all_rules_together_are_bounded(void **state)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT };
	_cleanup_policy_ struct weir_policy *p = NULL;
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ void *blob = NULL;
	struct weir_diags diags;
	struct weir_img img;
	uint32_t size = 0;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fputs("version: 1\nsets:\n  s: { addresses: [", f);
	for (int i = 0; i < 8; i++)
		fprintf(f, "%s%d.0.0.0/8", i ? ", " : "", 1 + 2 * i);
	fputs("] }\nrules:\n", f);
	for (uint32_t i = 0; i < N; i++)
		fprintf(f, "  - { name: r%u, action: drop, from: $s, to: 10.%u.%u.0/25, ports: [%u, 100, 200, 300] }\n", i,
			i >> 8 & 255, i & 255, 1 + i % 50);
	fclose(f);
	p = read_text(text, len, &diags);
	assert_non_null(p);
	assert_int_equal(weir_policy_compile(p, &o, &blob, &size, &diags), 0);
	assert_int_equal(weir_image_open(&img, blob, size), 0);
	assert_true(img.cfg->tree_lines > N / 2);
	assert_true(img.cfg->tree_lines < 4 * N);
}

/* A thousand rules that a tree cannot tell apart are taken, and it is said what they cost. */
static void test_rules_that_differ_in_macs_alone_are_told(void **state)
{
	for (uint32_t n = 120; n <= 1000; n += 880) {
		struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT };
		_cleanup_policy_ struct weir_policy *p = NULL;
		_cleanup_free_ char *text = NULL;
		_cleanup_free_ void *blob = NULL;
		struct weir_diags diags = { 0 };
		uint32_t size = 0;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		fputs("version: 1\nrules:\n", f);
		for (uint32_t i = 0; i < n; i++)
			fprintf(f, "  - { name: r%u, action: allow, mac: \"02:00:00:00:%02x:%02x\", ports: 80 }\n  - { name: s%u, action: "
				"allow, mac: \"02:00:00:00:00:01\", ports: %u }\n", i, i >> 8, i & 255, i, 1000 + i);
		fclose(f);
		p = read_text(text, len, &diags);
		assert_non_null(p);
		assert_int_equal(weir_policy_compile(p, &o, &blob, &size, &diags), 0);
		assert_int_equal(diags.n, n > 128);
		if (diags.n)
			assert_non_null(strstr(diags.v[0].message, "slow: 1000 rules, the first is rule 'r0'"));
		weir_diags_free(&diags);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_style_is_read_and_means_the_same),
		cmocka_unit_test(test_one_rule_too_many_is_refused_with_its_place),
		cmocka_unit_test(test_many_errors_stay_readable),
		cmocka_unit_test(test_many_warnings_refuse_nothing),
		cmocka_unit_test(test_a_long_list_is_not_read_for_each_rule),
		cmocka_unit_test(test_rules_that_spell_out_too_much_are_named),
		cmocka_unit_test(test_many_rules_are_compiled_or_refused),
		cmocka_unit_test(test_rules_that_differ_in_macs_alone_are_told),
		cmocka_unit_test(test_boxes_of_all_rules_together_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
