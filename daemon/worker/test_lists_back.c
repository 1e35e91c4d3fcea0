/* SPDX-License-Identifier: Apache-2.0 */
/* Files of addresses that change around what goes back, dies and starts again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/worker/test_listed.h"

static void goes_back(struct fixture *f, bool clock)
{
	if (clock) {
		weir_kern_fake_pass(weir_keeper_kern(f->keeper));
		ticks(f, 1);
	} else {
		good(f, "rollback", NULL);
	}
	assert_int_equal(f->worker->generation, 1);
}

/* What a file holds does not hang on which policy stands: what was read while a change waited holds for both. */
static void a_change_that_goes_back_keeps_the_lists(void **state)
{
	struct fixture *f = *state;
	char path[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, "192.0.2.1\n192.0.2.3\n");
	write_policy(f, PLAIN);
	start(f, NULL);
	ticks(f, 2);
	for (uint8_t i = 0; i < 4; i++) {
		char text[32];

		if (i < 2) {
			write_policy(f, i ? PLAIN "# C\n" : PLAIN "# B\n");
			good(f, "apply", json_pack("{s:i}", "confirm", 100));
		} else { /* one policy for both */
			good(f, "mode", json_pack("{s:s, s:i}", "mode", "detect", "confirm", 100));
		}
		snprintf(text, sizeof text, "192.0.2.1\n192.0.2.%u\n", 10 + i);
		test_file(path, text);
		ticks(f, 3);
		assert_true(listed(f, 10 + i) && !listed(f, 9 + i) && !listed(f, 3));
		goes_back(f, i & 1);
		assert_true(listed(f, 10 + i) && !listed(f, 9 + i) && !listed(f, 3));
		ticks(f, 3);
		assert_true(listed(f, 10 + i) && !listed(f, 9 + i) && !listed(f, 3));
		degraded(f, NULL);
	}
}

/* Where what comes back cannot have them, it says so when it stands again, and has them once they are sound. */
static void what_came_back_reads_them_again(void **state)
{
	struct fixture *f = *state;
	char path[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, "192.0.2.1\n");
	write_policy(f, PLAIN);
	start(f, NULL);
	ticks(f, 2);
	write_policy(f, "version: 1\nmode: prevent\nsets: { bad: { addresses: { file: ips.txt } } }\n"
			"rules: [ { name: web, action: allow, ports: 80, from: $bad } ]\n");
	good(f, "apply", json_pack("{s:i}", "confirm", 100));
	test_file(path, "192.0.2.2\n0.0.0.0/0\n"); /* a blocklist is not for everybody, a rule may be */
	ticks(f, 3);
	degraded(f, NULL);
	goes_back(f, false);
	ticks(f, 3);
	assert_true(listed(f, 1) && !listed(f, 2));
	degraded(f, "ips.txt:2: every IPv4 address");
	test_file(path, "192.0.2.2\n");
	ticks(f, 3);
	assert_true(listed(f, 2) && !listed(f, 1));
	degraded(f, NULL);
}

/* Sound, and more than the lists of rules may hold. */
static void too_large(const char *path)
{
	const uint32_t n = 140000;
	char *text = malloc(n * 20), *at = text;

	assert_non_null(text);
	for (uint32_t i = 0; i < n; i++)
		at += sprintf(at, "50.%u.%u.%u\n", i * 2 >> 16, i * 2 >> 8 & 255, i * 2 & 255);
	test_file(path, text);
	free(text);
}

#define RULED                                                                                              \
	"version: 1\nmode: prevent\nsets: { bad: { addresses: { file: ips.txt } }, many: { addresses: { file: " \
	"many.txt } } }\nblocklists: [$bad]\nrules: [ { name: web, action: allow, ports: 80, from: $many } ]\n"

/* A worker that goes on where one died says what it cannot have, edits are made, and a sound file counts. */
static void a_worker_that_goes_on(void **state)
{
	struct fixture *f = *state;
	char path[320], many[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	snprintf(many, sizeof many, "%s/many.txt", f->etc);
	test_file(path, "192.0.2.1\n");
	test_file(many, "198.51.100.1\n");
	write_policy(f, RULED);
	start(f, NULL);
	ticks(f, 2);
	too_large(many);
	ticks(f, 3);
	degraded(f, "addresses");
	for (uint8_t i = 2; i < 4; i++) {
		char element[32];

		worker_dies(f);
		ticks(f, 3);
		degraded(f, "addresses");
		ticks(f, 70);
		degraded(f, "addresses");
		snprintf(element, sizeof element, "192.0.2.%u", i);
		good(f, "set add", edit(element));
		assert_true(listed(f, 1) && listed(f, i));
		degraded(f, "addresses");
	}
	test_file(many, "198.51.100.2\n");
	test_file(path, "192.0.2.9\n");
	ticks(f, 3);
	degraded(f, NULL);
	assert_true(listed(f, 9) && listed(f, 2) && !listed(f, 1));
	worker_dies(f);
	ticks(f, 3);
	degraded(f, NULL);
	assert_true(listed(f, 9) && listed(f, 2) && !listed(f, 1));
	end(f, false);
	test_file(path, "192.0.2.8\n"); /* nobody looks: the start takes it as it is */
	start(f, NULL);
	ticks(f, 2);
	too_large(many);
	ticks(f, 3);
	worker_dies(f);
	degraded(f, "many.txt");
	good(f, "set add", edit("192.0.2.4"));
	ticks(f, 3);
	degraded(f, "addresses");
	assert_true(listed(f, 8) && listed(f, 4) && !listed(f, 9));
}

/* A file changed while no worker looked, and a change waited: both of the pair get it. */
static void a_pair_that_goes_on(void **state)
{
	struct fixture *f = *state;
	char path[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, "192.0.2.1\n");
	write_policy(f, PLAIN);
	start(f, NULL);
	ticks(f, 2);
	for (uint8_t i = 2; i < 4; i++) {
		char text[32];

		write_policy(f, i == 2 ? PLAIN "# B\n" : PLAIN "# C\n");
		good(f, "apply", json_pack("{s:i}", "confirm", 100));
		snprintf(text, sizeof text, "192.0.2.%u\n", i);
		test_file(path, text);
		worker_dies(f);
		assert_true(f->worker->pending.on && listed(f, i - 1));
		if (i == 2) {
			ticks(f, 3);
			assert_true(listed(f, i) && !listed(f, i - 1));
			goes_back(f, false);
			assert_true(listed(f, i) && !listed(f, i - 1));
		} else {
			goes_back(f, false);
			assert_true(listed(f, i - 1) && !listed(f, i));
		}
		ticks(f, 3);
		assert_true(listed(f, i) && !listed(f, i - 1));
		degraded(f, NULL);
	}
}

/* A file that is sound and that the policy cannot hold takes it away no more than a broken one. */
static void a_start_with_one_too_large(void **state)
{
	struct fixture *f = *state;
	char path[320], many[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	snprintf(many, sizeof many, "%s/many.txt", f->etc);
	test_file(path, "192.0.2.1\n");
	test_file(many, "198.51.100.1\n");
	write_policy(f, RULED);
	start(f, NULL);
	ticks(f, 2);
	for (int i = 0; i < 3; i++) {
		if (i != 1)
			too_large(many);
		end(f, i != 2); /* a reboot, twice; then a restart */
		start(f, NULL);
		assert_int_equal(f->worker->generation, 1);
		assert_true(listed(f, 1) && weir_img_rule_count(&f->worker->img) == 1);
		degraded(f, "many.txt: ");
		degraded(f, "at most 262144");
		good(f, "set add", edit("192.0.2.5"));
		ticks(f, 70);
		degraded(f, "at most 262144");
		assert_true(listed(f, 1) && listed(f, 5));
		good(f, "set reset", json_pack("{s:s}", "set", "bad"));
		if (!i)
			continue;
		test_file(many, "198.51.100.2\n");
		ticks(f, 3);
		degraded(f, NULL);
		ticks(f, 2);
	}
	too_large(many);
	bad(f, "apply", NULL, "at most 262144"); /* who asks for it is told */
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* A blocklist from each of three files, 192.0.2.1 to 192.0.2.3, in force. */
static void three_files(struct fixture *f, char path[3][320])
{
	for (int i = 0; i < 3; i++) {
		char text[32];

		snprintf(path[i], sizeof path[i], "%s/l%d.txt", f->etc, i + 1);
		snprintf(text, sizeof text, "192.0.2.%d\n", i + 1);
		test_file(path[i], text);
	}
	write_policy(f, "version: 1\nmode: prevent\nsets: { a: { addresses: { file: l1.txt } }, b: { addresses: { file: l2.txt } }, "
			"c: { addresses: { file: l3.txt } } }\nblocklists: [$a, $b, $c]\n");
	start(f, NULL);
}

/* One broken file is named, and costs the others nothing; nor is it read and put again and again. */
static void one_broken_file_among_others(void **state)
{
	struct fixture *f = *state;
	char path[3][320];
	uint32_t lines;

	three_files(f, path);
	test_file(path[0], "192.0.2.300\n");
	test_file(path[1], "192.0.2.2\n192.0.2.12\n");
	ticks(f, 3);
	assert_true(listed(f, 1) && listed(f, 2) && listed(f, 12) && listed(f, 3));
	degraded(f, "l1.txt:1: bad address '192.0.2.300'");
	lines = fake(f)->lines;
	ticks(f, 200); /* tried again */
	assert_int_equal(fake(f)->lines, lines);
	test_file(path[2], "# nothing\n");
	test_file(path[1], "192.0.2.22\n");
	ticks(f, 3);
	assert_true(listed(f, 1) && !listed(f, 2) && listed(f, 22) && listed(f, 3));
	degraded(f, "l1.txt:1: bad address '192.0.2.300': 300 in an IPv4 address: a part goes up to 255 (and 1 more)");
	end(f, false); /* a start does the same, from its copies */
	start(f, NULL);
	assert_true(listed(f, 1) && !listed(f, 2) && listed(f, 22) && listed(f, 3));
	degraded(f, "l1.txt:1: bad address '192.0.2.300': 300 in an IPv4 address: a part goes up to 255 (and 1 more)");
	test_file(path[0], "192.0.2.31\n");
	ticks(f, 3);
	assert_true(!listed(f, 1) && listed(f, 31) && listed(f, 22) && listed(f, 3));
	degraded(f, "l3.txt holds no address any more: weir apply takes it");
	test_file(path[2], "192.0.2.33\n");
	ticks(f, 3);
	assert_true(listed(f, 31) && listed(f, 33) && !listed(f, 3));
	degraded(f, NULL);
}

/* Sound, and the policy cannot stand with it: it costs itself alone, whatever else changes beside it. */
static void one_unfit_file_among_others(void **state)
{
	struct fixture *f = *state;
	char path[3][320];

	three_files(f, path);
	test_file(path[0], "0.0.0.0/1\n128.0.0.0/1\n"); /* together for everybody */
	ticks(f, 3);
	degraded(f, "l1.txt: with it the policy cannot be put in force: ");
	assert_true(listed(f, 1) && listed(f, 2) && listed(f, 3) && !listed(f, 99));
	test_file(path[1], "192.0.2.12\n");
	test_file(path[2], "192.0.2.300\n");
	ticks(f, 3);
	assert_true(listed(f, 1) && !listed(f, 2) && listed(f, 12) && listed(f, 3) && !listed(f, 99));
	degraded(f, "l1.txt: with it the policy cannot be put in force: ");
	degraded(f, "(and 1 more)");
	test_file(path[2], "192.0.2.33\n");
	ticks(f, 3);
	assert_true(listed(f, 1) && listed(f, 12) && listed(f, 33) && !listed(f, 3) && !listed(f, 99));
	test_file(path[0], "192.0.2.31\n");
	ticks(f, 3);
	assert_true(!listed(f, 1) && listed(f, 31) && listed(f, 12) && listed(f, 33));
	degraded(f, NULL);
}

/* What waits names no file, or others than what it goes back to: that has its own lists of today all the same. */
static void a_change_that_names_no_file(void **state)
{
	struct fixture *f = *state;
	char path[320], text[32];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, "192.0.2.1\n");
	write_policy(f, PLAIN);
	start(f, NULL);
	for (uint8_t i = 0; i < 2; i++) {
		write_policy(f, "version: 1\nmode: prevent\n");
		good(f, "apply", json_pack("{s:i}", "confirm", 100));
		snprintf(text, sizeof text, "192.0.2.1\n192.0.2.%u\n", 10 + i);
		test_file(path, text);
		ticks(f, 3);
		goes_back(f, i);
		assert_true(listed(f, 1) && listed(f, 10 + i) && !listed(f, 9 + i));
		ticks(f, 3);
		degraded(f, NULL);
	}
}

/* So it is when a file of what waits is broken meanwhile. */
static void a_change_with_a_broken_file(void **state)
{
	struct fixture *f = *state;
	char path[320], other[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	snprintf(other, sizeof other, "%s/other.txt", f->etc);
	test_file(path, "192.0.2.1\n");
	test_file(other, "192.0.2.200\n");
	write_policy(f, PLAIN);
	start(f, NULL);
	write_policy(f, "version: 1\nmode: prevent\nsets: { more: { addresses: { file: other.txt } } }\nblocklists: [$more]\n");
	good(f, "apply", json_pack("{s:i}", "confirm", 100));
	test_file(other, "192.0.2.300\n");
	ticks(f, 3);
	degraded(f, "other.txt:1: bad address '192.0.2.300'");
	test_file(path, "192.0.2.12\n");
	ticks(f, 3);
	goes_back(f, false);
	assert_true(!listed(f, 1) && listed(f, 12));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_change_that_goes_back_keeps_the_lists),
		T(what_came_back_reads_them_again),
		T(a_worker_that_goes_on),
		T(a_pair_that_goes_on),
		T(a_start_with_one_too_large),
		T(one_broken_file_among_others),
		T(one_unfit_file_among_others),
		T(a_change_that_names_no_file),
		T(a_change_with_a_broken_file),
	};

	return cmocka_run_group_tests_name("lists that come back", tests, NULL, NULL);
}
