/* SPDX-License-Identifier: Apache-2.0 */
/* What a policy takes of the kernel's memory, and when it is refused for that. What the kernel says: tests/e2e. */
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
#include "core/memory.h"
#include "lib/policy/policy.h"
#include "lib/util/cleanup.h"

#define ADDRESSES 300000u

static char dir[] = "/tmp/weir-test-memory-XXXXXX";

struct made {
	struct weir_policy *policy;
	struct weir_diags diags;
	void *blob;
	struct weir_img img;
	int err;
};

static struct made make(uint32_t cpus, const char *text)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT, .cpus = cpus };
	struct made m = { 0 };
	uint32_t size;

	m.err = weir_policy_read_text("p.yaml", dir, text, strlen(text), &m.policy, &m.diags);
	if (!m.err)
		m.err = weir_policy_compile(m.policy, &o, &m.blob, &size, &m.diags);
	if (!m.err)
		assert_int_equal(weir_image_open(&m.img, m.blob, size), 0);
	return m;
}

static void drop(struct made *m)
{
	weir_policy_free(m->policy);
	weir_diags_free(&m->diags);
	free(m->blob);
}

static struct weir_memory memory_of(const char *text, uint32_t cpus)
{
	struct made m = make(cpus, text);
	struct weir_memory mem;

	assert_int_equal(m.err, 0);
	weir_memory_image(&m.img, cpus, &mem);
	drop(&m);
	return mem;
}

static void test_the_sum_is_that_of_its_parts(void **state)
{
	struct weir_memory m = memory_of("version: 1\nrules: [ { name: a, action: drop, ports: 1 } ]", 2), many;
	uint64_t sum[2] = { 0 };

	for (uint32_t i = 0; i < WEIR_MEM_COUNT; i++) {
		assert_true(m.map[i].bytes >= m.map[i].entries * m.map[i].each);
		assert_non_null(weir_memory_names[i]);
		assert_non_null(weir_memory_words[i]);
		sum[i >= WEIR_MEM_SHARED] += m.map[i].bytes;
	}
	assert_int_equal(m.image, sum[0]);
	assert_int_equal(m.shared, sum[1]);
	assert_int_equal(m.most, 2 * sum[0] + sum[1]);
	assert_int_equal(m.limit, 1024000000);
	assert_int_equal(m.map[WEIR_MEM_RULES].entries, 1);
	assert_int_equal(m.map[WEIR_MEM_FLOWS].entries, 65536);
	assert_int_equal(m.map[WEIR_MEM_HALF].entries, 16384);
	assert_int_equal(m.map[WEIR_MEM_BUCKETS].entries, 1);
	many = memory_of("version: 1\nlimits: [ { name: l, per: source, count: packets, rate: 1/s } ]\n", 64);
	assert_int_equal(many.map[WEIR_MEM_HITS].entries, 4);
	assert_int_equal(many.map[WEIR_MEM_HITS].each, 8 + 64 * 16);
	assert_true(many.map[WEIR_MEM_BUCKETS].bytes > 4000000);
}

static void test_flows_take_a_part(void **state)
{
	uint32_t last = WEIR_FLOWS_MIN;

	assert_int_equal(weir_memory_flows(0), WEIR_FLOWS);
	assert_int_equal(weir_memory_flows(16), WEIR_FLOWS_MIN);
	assert_int_equal(weir_memory_flows(64), 16384);
	assert_int_equal(weir_memory_flows(1024), 262144);
	assert_int_equal(weir_memory_flows(1000000), WEIR_FLOWS_MAX);
	for (uint32_t mb = 16; mb < 20000; mb++) {
		uint32_t n = weir_memory_flows(mb);

		assert_true(n >= last && !(n & (n - 1)));
		assert_true(n == WEIR_FLOWS_MIN || n * 3 / 2 * 400ull <= mb * 157284ull);
		assert_true(n == WEIR_FLOWS_MAX || 2 * n * 3 / 2 * 400ull > mb * 157284ull);
		last = n;
	}
}

/* The number behind `what`, which stands in the text. */
static double number(const char *text, const char *what)
{
	const char *at = strstr(text, what);

	assert_non_null(at);
	return strtod(at + strlen(what), NULL);
}

static void test_too_much_is_refused_with_the_sum(void **state)
{
	static const char policy[] = "version: 1\nsets: { bad: { addresses: { file: bad.txt } } }\nblocklists: [$bad]\n"
				     "performance:\n  max_memory_mb: %u\n";
	char text[256], path[64];
	double whole, list, twice, image;
	const char *message;
	struct made m;
	FILE *f;

	snprintf(path, sizeof path, "%s/bad.txt", dir);
	f = fopen(path, "we");
	assert_non_null(f);
	for (uint32_t i = 0; i < ADDRESSES; i++)
		fprintf(f, "10.%u.%u.%u\n", i * 2 >> 16, i * 2 >> 8 & 255, i * 2 & 255);
	fclose(f);
	snprintf(text, sizeof text, policy, 24);
	m = make(2, text);
	assert_int_equal(m.err, -EINVAL);
	assert_null(m.blob);
	assert_int_equal(m.diags.n, 1);
	assert_int_equal(m.diags.v[0].line, 5);
	message = m.diags.v[0].message;
	whole = number(message, "needs ");
	assert_true(whole > 24 && number(message, "max_memory_mb is ") == 24);
	list = number(message, "blocklists ") * 64 / 1e6;
	assert_true(list > ADDRESSES * 2 * 4 / 1e6 && list < number(strstr(message, "blocklists "), "= ") + 0.06);
	image = number(message, "together ");
	twice = number(message, "what is in force: ");
	assert_true(twice > 2 * image - 0.11 && twice < 2 * image + 0.11);
	assert_true(whole > twice + number(message, "for all images ") && image > list);
	assert_non_null(strstr(m.diags.v[0].hint, "or make the blocklists shorter"));
	snprintf(text, sizeof text, policy, (unsigned int)number(m.diags.v[0].hint, "max_memory_mb: "));
	drop(&m);
	m = make(2, text); /* what the hint says is enough */
	assert_int_equal(m.err, 0);
	drop(&m);
	unlink(path);
}

static void test_what_is_no_number_of_mb(void **state)
{
	static const char *const bad[] = { "0", "15", "-1", "1000001", "512MB", "1.5", "[512]", "yes" };
	struct made m;
	char text[100];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(text, sizeof text, "version: 1\nperformance: { max_memory_mb: %s }\n", bad[i]);
		m = make(1, text);
		assert_int_equal(m.err, -EINVAL);
		assert_int_equal(m.diags.v[0].line, 2);
		drop(&m);
	}
	m = make(1, "version: 1\nperformance: { max_memory_mb: 64 }\n");
	assert_int_equal(m.err, 0);
	assert_int_equal(m.img.cfg->memory_mb, 64);
	drop(&m);
}

/* What a refusal says is enough is enough, also where the tables of flows have just doubled. */
static void test_enough(void **state)
{
	for (uint64_t rest = 15000000; rest < 16000000000ull; rest += rest / 4000) {
		uint64_t mb = weir_memory_enough(rest), flows = weir_memory_flows((uint32_t)mb) * 3ull / 2 * 400;

		assert_true(rest + flows <= mb * 1000000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_sum_is_that_of_its_parts),
		cmocka_unit_test(test_flows_take_a_part),
		cmocka_unit_test(test_enough),
		cmocka_unit_test(test_too_much_is_refused_with_the_sum),
		cmocka_unit_test(test_what_is_no_number_of_mb),
	};
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return r;
}
