/* SPDX-License-Identifier: Apache-2.0 */
/* An image in which rules came and went, against one that was compiled with all of them: the same word on every packet. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/draw.h"
#include "core/image_blob.h"
#include "core/policy.h"
#include "lib/policy/late.h"
#include "tests/harness/rounds.h"

#define OVERLAY_MAX 40

static uint64_t state = 0x2545f4914f6cdd1dull;

static uint32_t random_below(uint32_t n)
{
	return weir_draw_below(&state, n);
}

static const char *const addrs[][4] = { { "10.0.0.0/8", "10.1.2.3", "$office", "$both" },
					{ "2001:db8::/32", "2001:db8::1", "2001:db8::/63", "$both" } };
static const char *const actions[] = { "allow", "drop", "reject", "log", "drop" };

static void random_rule(char *buf, size_t size, bool json)
{
	const char *q = json ? "\"" : "";
	const char *const *family = addrs[random_below(2)];
	char more[200] = "";
	size_t n = 0;

	if (random_below(2))
		n += (size_t)snprintf(more + n, sizeof more - n, ", %sfrom%s: \"%s\"", q, q, family[random_below(4)]);
	if (random_below(2))
		n += (size_t)snprintf(more + n, sizeof more - n, ", %sto%s: \"%s\"", q, q, family[random_below(4)]);
	if (random_below(2))
		n += (size_t)snprintf(more + n, sizeof more - n, ", %sprotocol%s: \"%s\", %sports%s: %u", q, q,
				      random_below(2) ? "tcp" : "udp", q, q, 79 + random_below(4));
	if (random_below(3) == 0)
		n += (size_t)snprintf(more + n, sizeof more - n, ", %sdirection%s: \"%s\"", q, q,
				      random_below(2) ? "inbound" : "outbound");
	if (random_below(3) == 0)
		n += (size_t)snprintf(more + n, sizeof more - n, ", %snot%s: { %sfrom%s: \"%s\", %sports%s: 80 }", q, q, q, q,
				      family[random_below(4)], q, q);
	snprintf(buf, size, "{ %saction%s: \"%s\"%s }", q, q, actions[random_below(5)], more);
}

struct bench {
	struct weir_policy *policy;
	struct weir_overlay_rule rules[OVERLAY_MAX];
	struct weir_overlay overlay;
	struct weir_img late; /* changed step by step */
	void *blob;
	uint32_t last_id;
};

static void *compiled(const struct bench *b, bool late, struct weir_img *ret)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT, .generation = 1, .epoch = 7, .overlay = &b->overlay,
					  .late = late };
	struct weir_diags diags = { 0 };
	uint32_t size;
	void *blob;

	if (weir_policy_compile(b->policy, &o, &blob, &size, &diags))
		fail_msg("%s", diags.n ? diags.v[0].message : "does not compile");
	assert_int_equal(weir_image_open(ret, blob, size), 0);
	weir_diags_free(&diags);
	return blob;
}

static void begin(struct bench *b, int n_rules)
{
	static char text[65536], rule[400];
	struct weir_diags diags = { 0 };
	size_t n;

	*b = (struct bench){ .overlay = { .rules = b->rules } };
	n = (size_t)snprintf(text, sizeof text, "version: 1\nmode: prevent\ndefault: { inbound: drop }\nsets:\n"
			     "  office: { addresses: [10.1.0.0/16, 10.3.0.0/16] }\n  both: { addresses: [10.9.9.9, \"2001:db8::/64\"] }\n"
			     "rules:\n  - { action: drop, from: $office, to: $both }\n");
	for (int i = 0; i < n_rules; i++) {
		random_rule(rule, sizeof rule, false);
		n += (size_t)snprintf(text + n, sizeof text - n, "  - %s\n", rule);
	}
	if (weir_policy_read_text("t", NULL, text, n, &b->policy, &diags))
		fail_msg("%s", diags.n ? diags.v[0].message : "is not read");
	weir_diags_free(&diags);
}

static void end(struct bench *b)
{
	for (size_t i = 0; i < b->overlay.n_rules; i++)
		free(b->rules[i].json);
	free(b->blob);
	weir_policy_free(b->policy);
}

static void add(struct bench *b)
{
	char json[400];

	random_rule(json, sizeof json, true);
	b->rules[b->overlay.n_rules++] = (struct weir_overlay_rule){ .id = ++b->last_id, .json = strdup(json) };
}

static void take(struct bench *b, size_t at)
{
	free(b->rules[at].json);
	memmove(b->rules + at, b->rules + at + 1, (--b->overlay.n_rules - at) * sizeof *b->rules);
}

static int change(struct bench *b)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT, .overlay = &b->overlay };
	struct weir_late late;
	int r = weir_late_make(b->policy, &o, &b->late, &late);

	if (!r)
		weir_late_put(b->blob, &late);
	return r;
}

static struct weir_facts random_facts(void)
{
	static const uint8_t four[][4] = { { 10, 1, 2, 3 }, { 10, 2, 0, 1 }, { 10, 3, 1, 1 }, { 10, 9, 9, 9 }, { 192, 0, 2, 1 } };
	struct weir_facts f = { .family = random_below(2) ? 4 : 6, .proto = random_below(2) ? 6 : 17,
				.dir = random_below(2) ? WEIR_DIR_IN : WEIR_DIR_OUT, .known = UINT32_MAX, .ttl = 64 };

	for (int i = 0; i < 2; i++) {
		uint8_t *a = i ? f.t.dst : f.t.src;

		memset(a, 0, 16);
		if (f.family == 4) {
			a[10] = a[11] = 0xff;
			memcpy(a + 12, four[random_below(5)], 4);
		} else {
			memcpy(a, "\x20\x01\x0d\xb8", 4);
			a[7] = (uint8_t)random_below(2);
			a[15] = (uint8_t)random_below(3);
		}
	}
	f.t.sport = f.orig.sport = 4000;
	f.t.dport = f.orig.dport = (uint16_t)(78 + random_below(6));
	f.orig = f.t;
	return f;
}

static void judge(const struct weir_img *img, const struct weir_facts *from, struct weir_result *ret)
{
	struct weir_facts f = *from;

	weir_classify_prepare(img, img->cfg, &f);
	weir_result_init(ret);
	weir_judge_rules(img, img->cfg, &f, false, ret);
}

/* Returns on how many packets a rule of the overlay decided. */
static int compare(const struct bench *b, int packets)
{
	struct weir_img whole;
	void *blob = compiled(b, false, &whole);
	char x[400], y[400];
	int decided = 0;

	for (int i = 0; i < packets; i++) {
		struct weir_facts f = random_facts();
		struct weir_result got, want;

		judge(&b->late, &f, &got);
		judge(&whole, &f, &want);
		assert_int_equal(got.enforced, want.enforced);
		assert_int_equal(got.wanted, want.wanted);
		assert_int_equal(got.log, want.log);
		assert_string_equal(weir_rule_label(&b->late, got.enforced_rule, got.enforced_reason, x, sizeof x),
				    weir_rule_label(&whole, want.enforced_rule, want.enforced_reason, y, sizeof y));
		if (want.log)
			assert_string_equal(weir_rule_label(&b->late, got.log_rule, WEIR_REASON_RULE, x, sizeof x),
					    weir_rule_label(&whole, want.log_rule, WEIR_REASON_RULE, y, sizeof y));
		decided += strstr(y, "overlay") != NULL;
	}
	free(blob);
	return decided;
}

static void rules_come_and_go(void **unused)
{
	int decided = 0, steps = 0, whole = 0, rounds = (int)weir_rounds(6, 60);

	for (int round = 0; round < rounds; round++) {
		struct bench b;

		begin(&b, round & 1 ? 5 : 300);
		for (int i = 0; i < round % 4; i++)
			add(&b);
		b.blob = compiled(&b, true, &b.late);
		for (int i = 0; i < 30; i++) {
			int r;

			if (b.overlay.n_rules == OVERLAY_MAX || (b.overlay.n_rules && random_below(3) == 0))
				take(&b, random_below((uint32_t)b.overlay.n_rules));
			else
				add(&b);
			r = change(&b);
			if (r == -EAGAIN) {
				free(b.blob);
				b.blob = compiled(&b, true, &b.late);
				whole++;
			} else {
				assert_int_equal(r, 0);
				steps++;
			}
			decided += compare(&b, 300);
		}
		end(&b);
	}
	print_message("%d changes without the others, %d with; a rule of the overlay decided on %d packets\n", steps, whole, decided);
	assert_true(steps > 15 * rounds && decided > 800 * rounds);
}

static void what_is_more_than_one_change(void **unused)
{
	struct bench b;

	begin(&b, 3);
	add(&b);
	add(&b);
	b.blob = compiled(&b, true, &b.late);
	assert_int_equal(change(&b), -EAGAIN); /* nothing */
	add(&b);
	add(&b);
	assert_int_equal(change(&b), -EAGAIN); /* two */
	take(&b, 3);
	take(&b, 0);
	assert_int_equal(change(&b), -EAGAIN); /* one came, one went */
	end(&b);
}

/* The first rule that anybody adds to a new machine. */
static void to_a_policy_without_rules(void **unused)
{
	struct bench b = { .overlay = { .rules = b.rules } };
	struct weir_diags diags = { 0 };

	assert_int_equal(weir_policy_read_text("t", NULL, "version: 1\n", 11, &b.policy, &diags), 0);
	b.blob = compiled(&b, true, &b.late);
	b.rules[b.overlay.n_rules++] = (struct weir_overlay_rule){ .id = 1, .json = strdup("{\"action\":\"drop\",\"ports\":7}") };
	assert_int_equal(change(&b), 0);
	end(&b);
}

/* As the keeper would see them from a worker that was taken over. */
static void hostile_changes(void **unused)
{
	struct weir_late good = { 0 }, l;
	struct weir_config c;
	struct bench b;

	begin(&b, 3);
	b.blob = compiled(&b, true, &b.late);
	b.rules[b.overlay.n_rules++] = (struct weir_overlay_rule){ .id = 1, .json = strdup("{\"action\":\"drop\",\"ports\":7}") };
	assert_int_equal(weir_late_make(b.policy, &(struct weir_compile_options){ .mode_ceiling = WEIR_PREVENT,
				       .overlay = &b.overlay }, &b.late, &good), 0);
	c = *b.late.cfg;
	assert_true(weir_late_ok(&c, 0, &good));
	assert_false(weir_late_ok(&c, 1, &good)); /* its place is taken */
#define WRONG(change)                             \
	do {                                      \
		l = good;                         \
		change;                           \
		assert_false(weir_late_ok(&c, 0, &l)); \
	} while (0)
	WRONG(l.epoch++);
	c.tree_lines = 0; /* every rule is asked, also while it is written */
	assert_false(weir_late_ok(&c, 0, &good));
	c.tree_lines = b.late.cfg->tree_lines;
	WRONG(l.add++);
	WRONG(l.gone = 0);
	WRONG(l.add = WEIR_RULE_NONE);
	WRONG(l.rule.action = WEIR_ACT_BAN + 1);
	WRONG(l.rule.mode = 9);
	WRONG(l.rule.flags |= WEIR_RF_BOXED);
	WRONG(l.rule.flags = 0);
	WRONG(l.rule.pos.set |= WEIR_C_MARK);
	WRONG(l.rule.pos.n_mac = WEIR_MAC_MAX + 1);
	WRONG(l.rule.flags |= WEIR_RF_NOT; l.rule.neg = 0xffff);
	WRONG(l.rule.action = WEIR_ACT_ALLOW; l.rule.idle = 9);
	WRONG(l.n_text = 0);
	WRONG(l.n_text = sizeof l.text + 1);
	WRONG(l.text[l.n_text - 1] = 'x');
	WRONG(l.rule.name = l.n_text);
	l = (struct weir_late){ .epoch = c.epoch, .add = WEIR_RULE_NONE, .gone = c.n_rules };
	assert_false(weir_late_ok(&c, 0, &l));
	l.gone--;
	assert_true(weir_late_ok(&c, 0, &l));
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_come_and_go),
		cmocka_unit_test(what_is_more_than_one_change),
		cmocka_unit_test(to_a_policy_without_rules),
		cmocka_unit_test(hostile_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
