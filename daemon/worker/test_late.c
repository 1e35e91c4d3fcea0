/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that come and go while an image is in force. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "daemon/worker/test_instance.h"

static const char prevent_policy[] =
	"version: 1\nmode: prevent\ndefault: { inbound: drop, forward: drop, outbound: allow }\n"
	"rules:\n  - { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }\n"
	"  - { name: mail, action: allow, direction: inbound, protocol: tcp, ports: 25 }\n"
	"  - { name: no telnet, action: reject, ports: 23 }\n";

/* Rules that come and go in the image in force; after a while of quiet it is compiled with all of them. */
static void a_rule_comes_without_the_others(void **state)
{
	struct fixture *f = *state;
	uint32_t installs;

	write_policy(f, prevent_policy);
	start(f, NULL);
	installs = fake(f)->installs;
	good(f, "rule add", drop_rule("192.0.2.1"));
	good(f, "rule add", json_pack("{s:{s:s, s:s, s:s, s:i}}", "rule", "action", "reject", "to", "2001:db8::/32", "protocol",
				      "tcp", "ports", 25));
	good(f, "rule delete", json_pack("{s:s}", "id", "1"));
	assert_int_equal(fake(f)->installs, installs);
	assert_int_equal(fake(f)->lates, 3);
	assert_int_equal(weir_img_rule_count(&f->worker->img), 4);
	for (int i = 0; i < 40; i++)
		weir_worker_tick(f->worker);
	assert_int_equal(fake(f)->installs, installs + 1);
	assert_int_equal(fake(f)->lates, 3);
	assert_int_equal(f->worker->img.cfg->late_used, 0);
	assert_int_equal(weir_img_rule_count(&f->worker->img), 4);
	good(f, "rule delete", json_pack("{s:s}", "id", "2")); /* one that was compiled with all */
	assert_int_equal(fake(f)->installs, installs + 1);
	assert_int_equal(weir_img_rule_count(&f->worker->img), 3);
}

/* What the programs do not look at, and what needs more than one place. */
static void a_rule_that_needs_more_is_compiled_with_all(void **state)
{
	struct fixture *f = *state;
	static const char *const rules[] = {
		"{\"action\":\"drop\",\"ports\":[1,3]}", "{\"action\":\"drop\",\"to\":[\"192.0.2.1\",\"192.0.2.9\"]}",
		"{\"action\":\"drop\",\"in_interface\":\"eth7\"}", "{\"action\":\"drop\",\"mark\":7}",
		"{\"action\":\"allow\",\"ports\":9,\"max_duration\":\"1h\"}",
	};

	write_policy(f, prevent_policy);
	start(f, NULL);
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		uint32_t installs = fake(f)->installs;

		good(f, "rule add", json_pack("{s:o}", "rule", json_loads(rules[i], 0, NULL)));
		assert_int_equal(fake(f)->installs, installs + 1);
		assert_int_equal(weir_img_rule_count(&f->worker->img), 4 + i);
	}
	assert_int_equal(fake(f)->lates, 0);
}

/* The places are used up, or nearly: then all is compiled. Nothing is lost on the way. */
static void more_rules_than_places(void **state)
{
	struct fixture *f = *state;
	uint32_t installs;
	char addr[32];

	write_policy(f, prevent_policy);
	start(f, NULL);
	installs = fake(f)->installs;
	for (int i = 0; i < 150; i++) {
		snprintf(addr, sizeof addr, "192.0.2.%d", i);
		good(f, "rule add", drop_rule(addr));
		if (i == 70) /* by then one was compiled with all in front */
			assert_int_equal(fake(f)->installs, installs + 1);
		if (i > 70)
			weir_worker_tick(f->worker);
	}
	assert_int_equal(weir_img_rule_count(&f->worker->img), 153);
	assert_true(fake(f)->installs > installs + 1 && fake(f)->installs < installs + 5);
	end(f, false);
	start(f, NULL);
	assert_int_equal(weir_img_rule_count(&f->worker->img), 153);
}

/* A worker that takes over from one that died is told of what came since the last installation. */
static void the_next_worker_has_them_too(void **state)
{
	struct fixture *f = *state;
	void *blob, *back;
	uint32_t size, back_size;
	struct weir_img img;

	write_policy(f, prevent_policy);
	start(f, NULL);
	good(f, "rule add", drop_rule("192.0.2.1"));
	good(f, "rule add", drop_rule("192.0.2.2"));
	good(f, "rule delete", json_pack("{s:s}", "id", "1"));
	assert_int_equal(weir_port_image(f->worker->port, &blob, &size, &back, &back_size), 0);
	assert_int_equal(weir_image_open(&img, blob, size), 0);
	assert_int_equal(weir_img_rule_count(&img), 4);
	assert_int_equal(img.cfg->late_used, 2);
	assert_string_equal(weir_img_string(&img, weir_img_rule(&img, 0, 1)->name), "overlay 2");
	free(blob);
	free(back);
}

static bool listed(const struct weir_img *img, uint8_t last)
{
	uint8_t addr[16] = { [10] = 0xff, 0xff, 192, 0, 2, last };

	return weir_block_find(img, addr);
}

static json_t *elements(uint32_t first, uint32_t n)
{
	json_t *list = json_array();
	char text[32];

	for (uint32_t i = first; i < first + n; i++) {
		snprintf(text, sizeof text, "192.0.2.%u", i);
		json_array_append_new(list, json_string(text));
	}
	return json_pack("{s:s, s:o}", "set", "bad", "elements", list);
}

static json_int_t ranges_of(struct fixture *f)
{
	json_t *j = ask(f, "set list", NULL);
	json_int_t n = json_integer_value(json_object_get(json_array_get(json_object_get(json_object_get(j, "result"), "sets"), 0),
							  "ranges"));

	json_decref(j);
	return n;
}

/* Addresses of a set that only blocklists name: they stand in the lines in force, and nothing is compiled for them. */
static void addresses_come_without_a_compilation(void **state)
{
	struct fixture *f = *state;
	uint32_t installs, size, back_size;
	const char *text = "version: 1\nmode: prevent\ndefault: { inbound: drop, forward: drop, outbound: allow }\n"
			   "sets: { bad: { addresses: [192.0.2.1, 192.0.2.3, 192.0.2.5, 198.51.100.0/24] } }\n"
			   "blocklists: $bad\nblocklist_except: 192.0.2.12\n";
	void *blob, *back;
	struct weir_img img;

	write_policy(f, text);
	start(f, NULL);
	installs = fake(f)->installs;
	assert_int_equal(ranges_of(f), 4);
	good(f, "set add", elements(2, 1));
	assert_int_equal(ranges_of(f), 3);
	good(f, "set add", elements(10, 4));
	good(f, "set remove", elements(1, 1));
	assert_true(listed(&f->worker->img, 2) && listed(&f->worker->img, 13) && listed(&f->worker->img, 5));
	assert_true(!listed(&f->worker->img, 1) && !listed(&f->worker->img, 12) && !listed(&f->worker->img, 14));
	assert_int_equal(ranges_of(f), 4);
	assert_int_equal(fake(f)->lines, 3);
	assert_int_equal(weir_port_image(f->worker->port, &blob, &size, &back, &back_size), 0);
	assert_int_equal(weir_image_open(&img, blob, size), 0); /* what the next worker is told */
	assert_true(listed(&img, 2) && listed(&img, 13) && !listed(&img, 1) && !listed(&img, 12));
	free(blob);
	free(back);
	good(f, "set remove", elements(10, 4)); /* takes back what was added */
	good(f, "set reset", json_pack("{s:s}", "set", "bad"));
	good(f, "set add", elements(12, 1)); /* excepted: no line changes, and the keeper is told how many ranges there are */
	assert_int_equal(weir_port_image(f->worker->port, &blob, &size, &back, &back_size), 0);
	assert_int_equal(weir_image_open(&img, blob, size), 0);
	assert_int_equal(((const struct weir_list_info *)weir_img_at(&img, &img.h->block_sets, 0, sizeof(struct weir_list_info)))->ranges, 5);
	free(blob);
	free(back);
	good(f, "set remove", elements(12, 1));
	assert_true(listed(&f->worker->img, 1) && !listed(&f->worker->img, 2) && !listed(&f->worker->img, 10));
	assert_int_equal(ranges_of(f), 4);
	assert_int_equal(fake(f)->installs, installs);
	assert_int_equal(fake(f)->blocks, 0);
	for (int i = 0; i < 60; i++) /* many: they are laid out anew, when there is time */
		good(f, i & 1 ? "set remove" : "set add", elements(30, 20));
	assert_int_equal(fake(f)->blocks, 0);
	for (int i = 0; i < 40; i++) { /* whoever goes on editing does not put it off */
		good(f, i & 1 ? "set remove" : "set add", elements(30, 20));
		weir_worker_tick(f->worker);
	}
	assert_int_equal(fake(f)->blocks, 1);
	assert_int_equal(fake(f)->installs, installs);
	good(f, "set add", elements(20, 3));
	end(f, false);
	start(f, NULL);
	assert_true(listed(&f->worker->img, 22) && !listed(&f->worker->img, 10));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_rule_comes_without_the_others),
		T(a_rule_that_needs_more_is_compiled_with_all),
		T(more_rules_than_places),
		T(addresses_come_without_a_compilation), T(the_next_worker_has_them_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
