/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of a policy and of its rules: what they become, and where their buckets stand. */
#include "lib/policy/test_compiled.h"

static void test_limits(void **state)
{
	const struct weir_limit *l;
	struct fixture f;

	read_policy(&f, "version: 1\nmode: prevent\nlimits:\n"
			"  - { name: a, per: source, count: packets, rate: 10k/s, burst: 20k }\n"
			"  - { name: b, per: prefix, count: bytes, rate: 1MiB/s, v4: 16, mode: detect }\n"
			"  - { name: c, per: all, count: connections, rate: 5/m, action: reject, log: true }\n");
	compile(&f);
	assert_int_equal(f.img.cfg->n_limits, 3);
	assert_int_equal(f.img.cfg->limit_counts, 7);
	assert_true(f.img.cfg->proto_features & WEIR_FEAT_REJECT);
	l = weir_img_limit(&f.img, 0);
	assert_true(l->rate == 10000 && l->burst == 20000 && l->bits4 == 32 && l->bits6 == 128 &&
		    l->mode == WEIR_PREVENT);
	assert_int_equal(l->mask, WEIR_LIMIT_LINES / 2 - 1);
	l = weir_img_limit(&f.img, 1);
	assert_true(l->rate == 1 << 20 && l->burst == 1 << 20 && l->bits4 == 16 && l->bits6 == 64 &&
		    l->mode == WEIR_DETECT);
	assert_true(l->first / (l->mask + 1) !=
		    weir_img_limit(&f.img, 0)->first / (l->mask + 1)); /* no line is shared */
	l = weir_img_limit(&f.img, 2);
	assert_true(l->rate == 5 && l->rate_s == 60 && l->burst == 1 && !l->bits4 && !l->bits6 && l->log &&
		    l->first < WEIR_LIMIT_OWN);
	done(&f);
}

/* A limit's buckets stand where they stood, whatever comes before it. */
static void test_limits_stay(void **state)
{
	static const char *const fronts[] = { "", "  - { name: %c, per: all, count: packets, rate: 10k/s }\n",
					      "  - { name: %c, per: prefix, count: packets, rate: 10k/s }\n" };
	uint32_t own = 0, shared = 0, moved = 0;

	for (int i = 0; i < 3; i++)
		for (int letter = 'a'; letter <= (i ? 'j' : 'a'); letter++) {
			const struct weir_limit *one, *many;
			char text[512], front[80];
			struct fixture f;

			snprintf(front, sizeof front, fronts[i], letter);
			snprintf(text, sizeof text,
				 "version: 1\nmode: prevent\nlimits:\n%s"
				 "  - { name: one, per: all, count: connections, rate: 5/m }\n"
				 "  - { name: many, per: source, count: packets, rate: 10k/s }\n"
				 "  - { name: more, per: source, count: packets, rate: 1k/s }\n"
				 "  - { name: most, per: source, count: packets, rate: 1/s }\n",
				 front);
			read_policy(&f, text);
			compile(&f);
			one = weir_img_limit(&f.img, i ? 1 : 0);
			many = weir_img_limit(&f.img, i ? 2 : 1);
			if (!i) {
				own = one->first;
				shared = many->first;
			}
			moved += one->first != own || many->first != shared;
			done(&f);
		}
	assert_int_equal(moved, 0);
}

static void test_rule_limits(void **state)
{
	const struct weir_rule *r;
	const struct weir_limit *l;
	struct fixture f;
	char text[WEIR_BOUNDS_TEXT];

	read_policy(
		&f,
		"version: 1\nmode: prevent\nlimits: [ { name: a, per: source, count: packets, rate: 10k/s } ]\nrules:\n"
		"  - { name: ssh, action: allow, ports: 22, limit: { rate: 10/m, per: source, burst: 5 } }\n"
		"  - { name: dns, action: allow, ports: 53 }\n"
		"  - { name: mail, action: allow, ports: 25, mode: detect, limit: { rate: 1/d, action: reject }, idle: "
		"1h }\n");
	compile(&f);
	assert_int_equal(f.img.cfg->n_limits, 3);
	assert_int_equal(f.img.cfg->limit_counts, 1 | 1 << WEIR_LIMIT_RULE);
	r = weir_img_rule(&f.img, WEIR_RULES, 0);
	l = weir_img_limit(&f.img, r->limit - 1);
	assert_true(r->limit == 2 && l->count == WEIR_LIMIT_RULE && l->per_what == WEIR_PER_SOURCE && l->burst == 5 &&
		    l->bits4 == 32);
	assert_string_equal(weir_img_string(&f.img, l->name), "ssh");
	assert_true(l->first != weir_img_limit(&f.img, 0)->first);
	assert_int_equal(weir_img_rule(&f.img, WEIR_RULES, 1)->limit, 0);
	r = weir_img_rule(&f.img, WEIR_RULES, 2);
	l = weir_img_limit(&f.img, r->limit - 1);
	assert_true(l->per_what == WEIR_PER_ALL && !l->bits4 && !l->bits6 && l->mode == WEIR_DETECT &&
		    l->action == WEIR_ACT_REJECT);
	assert_true(l->burst == 1 && l->first < WEIR_LIMIT_OWN && !l->mask);
	assert_string_equal(weir_rule_more(&f.img, r, text, sizeof text),
			    "1/d connections per rule at most, idle for at most 1h");
	done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_limits_stay),
		cmocka_unit_test(test_rule_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
