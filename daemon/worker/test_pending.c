/* SPDX-License-Identifier: Apache-2.0 */
/* Changes that wait for their confirmation, over the kernel in memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/worker/test_instance.h"

static const char web_policy[] =
	"version: 1\nmode: prevent\ndefault: { inbound: drop, outbound: allow }\n"
	"rules:\n  - { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }\n";
static const char mail_policy[] =
	"version: 1\nmode: prevent\ndefault: { inbound: drop, outbound: allow }\n"
	"sets: { office: { addresses: [10.1.0.0/16] } }\n"
	"rules:\n  - { name: mail, action: allow, direction: inbound, protocol: tcp, ports: 25 }\n"
	"  - { name: office, action: allow, from: $office }\n";

static json_t *confirm(int seconds)
{
	return json_pack("{s:i}", "confirm", seconds);
}

/* The name of the rule that stands so far from the first. */
static const char *rule(struct fixture *f, uint32_t i)
{
	static char name[128];
	uint32_t at = 0;

	const struct weir_rule *r;

	for (; (r = weir_img_rule(&f->worker->img, 0, at)); at++)
		if (!(r->flags & WEIR_RF_GONE) && !i--)
			return weir_rule_name(&f->worker->img, at, name, sizeof name);
	return "";
}

static void pass(struct fixture *f)
{
	weir_kern_fake_pass(weir_keeper_kern(f->keeper));
	weir_worker_tick(f->worker);
}

static json_t *result(struct fixture *f, const char *verb, json_t *args)
{
	json_t *j = ask(f, verb, args), *r = json_incref(json_object_get(j, "result"));

	if (!r)
		fail_msg("%s", json_dumps(j, 0));
	json_decref(j);
	return r;
}

/* What the history says of a generation. */
static void ended(struct fixture *f, json_int_t generation, const char *how)
{
	json_t *r = result(f, "history", NULL), *one;
	const char *state = "not there";
	size_t i;

	json_array_foreach (json_object_get(r, "generations"), i, one) {
		if (json_integer_value(json_object_get(one, "generation")) == generation)
			state = json_string_value(json_object_get(one, "state"));
	}
	assert_string_equal(state, how);
	json_decref(r);
}

static json_int_t waits(struct fixture *f)
{
	json_t *r = result(f, "status", NULL);
	json_int_t n = json_integer_value(json_object_get(json_object_get(r, "pending"), "back"));

	json_decref(r);
	return n;
}

static void begin(struct fixture *f)
{
	write_policy(f, web_policy);
	start(f, NULL);
	write_policy(f, mail_policy);
}

/* A start as after a reboot: nothing is left in the kernel. */
static void boots_with(struct fixture *f, const char *name)
{
	end(f, true);
	start(f, NULL);
	assert_string_equal(rule(f, 0), name);
}

static void it_goes_back_at_its_deadline(void **state)
{
	struct fixture *f = *state;

	begin(f);
	good(f, "apply", confirm(5));
	assert_string_equal(rule(f, 0), "mail");
	assert_int_equal(f->worker->generation, 2);
	assert_int_equal(waits(f), 1);
	ended(f, 1, "comes back unless confirmed");
	ended(f, 2, "waits for its confirmation");
	weir_worker_tick(f->worker);
	assert_string_equal(rule(f, 0), "mail");
	pass(f);
	assert_string_equal(rule(f, 0), "web");
	assert_int_equal(f->worker->generation, 1);
	assert_int_equal(waits(f), 0);
	ended(f, 1, "in force");
	ended(f, 2, "went back by itself");
	bad(f, "confirm", NULL, "generation 2 went back by itself");
	good(f, "apply", confirm(5));
	assert_int_equal(f->worker->generation, 3); /* a number is not used twice */
	boots_with(f, "web");
	ended(f, 3, "went back by itself");
}

/* Where loading takes long, all the time that was given is still there once the change is in force. */
static void its_clock_starts_in_force(void **state)
{
	struct fixture *f = *state;
	uint64_t from, deadline;

	begin(f);
	fake(f)->load_ms = 400;
	from = weir_kern_now();
	good(f, "apply", confirm(2));
	deadline = f->worker->pending.deadline;
	assert_true(deadline >= from + 2400000000u);
	assert_true(deadline <= weir_kern_now() + 2000000000u);
	assert_true(f->worker->pending.since == deadline - 2000000000u); /* a login from before is no proof */
	good(f, "rule add", json_pack("{s:{s:s, s:s}}", "rule", "action", "drop", "to", "192.0.2.1"));
	assert_true(f->worker->pending.deadline == deadline);
	end(f, false);
	start(f, NULL);
	assert_true(f->worker->pending.deadline == deadline);
	assert_true(f->worker->pending.since == deadline - 2000000000u);
}

/* Killed between the note and the answer: the note says what was meant, the kernel what is. */
static void a_note_does_not_move_the_deadline(void **state)
{
	static const char *const said[] = { "1", "9000000000000000000" };
	struct fixture *f = *state;
	char path[320], text[256];
	uint64_t deadline;

	snprintf(path, sizeof path, "%s/pending.json", f->state);
	begin(f);
	for (int i = 0; i < 2; i++) {
		good(f, "apply", confirm(500));
		deadline = f->worker->pending.deadline;
		snprintf(text, sizeof text, "{\"generation\": %u, \"back\": 1, \"deadline\": %s, \"since\": 1, \"span\": 500, "
			 "\"mode\": false, \"rollback\": false}", f->worker->generation, said[i]);
		end(f, false);
		test_file(path, text);
		start(f, NULL);
		assert_string_equal(rule(f, 0), "mail");
		assert_true(f->worker->pending.deadline == deadline);
		assert_true(f->worker->pending.since == deadline - 500000000000u);
		pass(f);
		assert_string_equal(rule(f, 0), "web");
	}
}

/* What the clock has decided a moment ago is not said to wait, nor in the way of the next change. */
static void it_is_over_when_its_time_is(void **state)
{
	struct fixture *f = *state;

	begin(f);
	good(f, "apply", confirm(5));
	weir_kern_fake_pass(weir_keeper_kern(f->keeper));
	f->worker->pending.deadline = 1;
	assert_int_equal(waits(f), 0);
	ended(f, 2, "went back by itself");
	good(f, "apply", confirm(5));
	weir_kern_fake_pass(weir_keeper_kern(f->keeper));
	f->worker->pending.deadline = 1;
	good(f, "apply", confirm(5));
	assert_int_equal(f->worker->generation, 4);
	assert_int_equal(waits(f), 1);
}

static void confirmed_it_stays_and_boots(void **state)
{
	struct fixture *f = *state;

	begin(f);
	good(f, "apply", confirm(5));
	good(f, "confirm", NULL);
	bad(f, "confirm", NULL, "nothing waits");
	pass(f);
	assert_string_equal(rule(f, 0), "mail");
	ended(f, 1, "replaced");
	ended(f, 2, "in force");
	write_policy(f, web_policy);
	boots_with(f, "mail");
	assert_int_equal(f->worker->generation, 2);
}

static void rollback_takes_it_back_at_once(void **state)
{
	struct fixture *f = *state;

	begin(f);
	good(f, "apply", confirm(5));
	good(f, "rollback", NULL);
	assert_string_equal(rule(f, 0), "web");
	ended(f, 2, "rolled back");
	bad(f, "rollback", NULL, "no generation before 1 is known"); /* what was never confirmed is nowhere to go to */
	boots_with(f, "web");
}

static void a_second_change_is_refused_or_replaces(void **state)
{
	struct fixture *f = *state;
	uint64_t first;

	begin(f);
	good(f, "apply", confirm(5));
	first = f->worker->pending.deadline;
	bad(f, "apply", confirm(5), "generation 2 waits for its confirmation");
	bad(f, "mode", json_pack("{s:s}", "mode", "detect"), "waits for its confirmation");
	bad(f, "rollback", json_pack("{s:i}", "generation", 2), "is in force");
	good(f, "apply", json_pack("{s:i, s:b}", "confirm", 60, "replace", 1));
	assert_int_equal(f->worker->generation, 3);
	assert_int_equal(waits(f), 1); /* where the first would have gone */
	assert_true(f->worker->pending.deadline > first + 50000000000u);
	ended(f, 2, "never confirmed");
	good(f, "mode", json_pack("{s:s, s:b}", "mode", "detect", "replace", 1));
	assert_int_equal(f->worker->pending.span, 60); /* the clock is restarted */
	assert_int_equal(weir_worker_mode(f->worker), WEIR_DETECT);
	assert_true(weir_worker_enforces(f->worker)); /* what comes back does */
	pass(f);
	assert_string_equal(rule(f, 0), "web");
	assert_int_equal(f->worker->generation, 1);
	assert_int_equal(weir_worker_mode(f->worker), WEIR_PREVENT);
	good(f, "apply", json_pack("{s:i}", "confirm", 60));
	good(f, "apply", json_pack("{s:b, s:b}", "no_confirm", 1, "replace", 1));
	assert_int_equal(waits(f), 0);
	boots_with(f, "mail");
}

static void a_mode_waits_like_a_policy(void **state)
{
	struct fixture *f = *state;

	begin(f);
	good(f, "mode", json_pack("{s:s, s:i}", "mode", "detect", "confirm", 9));
	assert_int_equal(weir_worker_mode(f->worker), WEIR_DETECT);
	end(f, true);
	start(f, NULL);
	assert_int_equal(weir_worker_mode(f->worker), WEIR_PREVENT);
	good(f, "mode", json_pack("{s:s, s:i}", "mode", "detect", "confirm", 9));
	good(f, "confirm", NULL);
	end(f, true);
	start(f, NULL);
	assert_int_equal(weir_worker_mode(f->worker), WEIR_DETECT);
}

static void edits_survive_either_way(void **state)
{
	struct fixture *f = *state;
	json_t *drop = json_pack("{s:{s:s, s:s, s:s}}", "rule", "action", "drop", "name", "spy", "to", "192.0.2.1");
	uint64_t deadline;

	begin(f);
	good(f, "apply", confirm(5));
	deadline = f->worker->pending.deadline;
	good(f, "rule add", json_incref(drop));
	assert_int_equal(fake(f)->pairs, 1);
	assert_true(f->worker->pending.deadline == deadline);
	assert_int_equal(f->worker->generation, 2);
	assert_int_equal(f->worker->pending.back.generation, 1);
	assert_true(f->worker->epoch != f->worker->pending.back.epoch);
	assert_string_equal(rule(f, 0), "spy");
	pass(f);
	assert_int_equal(f->worker->generation, 1);
	assert_string_equal(rule(f, 0), "spy");
	assert_string_equal(rule(f, 1), "web");
	good(f, "rule clear", NULL);
	good(f, "apply", confirm(5));
	good(f, "rule add", drop);
	good(f, "confirm", NULL);
	assert_string_equal(rule(f, 0), "spy");
	assert_string_equal(rule(f, 1), "mail");
}

static void a_restart_goes_on_waiting(void **state)
{
	struct fixture *f = *state;
	uint64_t deadline;
	uint32_t epoch;

	begin(f);
	good(f, "apply", confirm(500));
	deadline = f->worker->pending.deadline;
	epoch = f->worker->epoch;
	end(f, false);
	write_policy(f, "version: 1\n");
	start(f, NULL);
	assert_string_equal(rule(f, 0), "mail");
	assert_int_equal(f->worker->generation, 2);
	assert_int_equal(waits(f), 1);
	assert_true(f->worker->pending.deadline == deadline);
	assert_true(f->worker->epoch > epoch);
	pass(f);
	assert_string_equal(rule(f, 0), "web");
	good(f, "apply", confirm(500));
	end(f, false);
	start(f, NULL);
	good(f, "confirm", NULL);
	boots_with(f, "");
}

static void decided_while_nobody_looked(void **state)
{
	struct fixture *f = *state;

	begin(f);
	good(f, "apply", confirm(500));
	weir_kern_fake_pass(weir_keeper_kern(f->keeper));
	end(f, false);
	start(f, NULL);
	assert_string_equal(rule(f, 0), "web");
	assert_int_equal(f->worker->generation, 1);
	ended(f, 2, "went back by itself");
	good(f, "apply", confirm(500));
	assert_int_equal(weir_kern_confirm(weir_keeper_kern(f->keeper)), 0); /* as a command does it by itself */
	end(f, false);
	write_policy(f, web_policy);
	start(f, NULL);
	assert_string_equal(rule(f, 0), "mail");
	assert_int_equal(f->worker->generation, 3);
	ended(f, 3, "in force");
	good(f, "rollback", json_pack("{s:b}", "no_confirm", 1));
	assert_string_equal(rule(f, 0), "web");
	good(f, "apply", confirm(500));
	assert_int_equal(weir_kern_confirm(weir_keeper_kern(f->keeper)), 0); /* before the eyes of a daemon that hung */
	weir_worker_tick(f->worker);
	assert_int_equal(waits(f), 0);
	assert_int_equal(f->worker->generation, 5);
	ended(f, 5, "in force");
	boots_with(f, "web");
}

static void what_cannot_be_noted_is_not_done(void **state)
{
	struct fixture *f = *state;

	begin(f);
	fake(f)->fail_install = -ENOMEM;
	bad(f, "apply", confirm(5), "told to fail");
	fake(f)->fail_install = 0;
	assert_int_equal(waits(f), 0);
	ended(f, 2, "not there");
	good(f, "apply", confirm(5));
	assert_int_equal(f->worker->generation, 2);
	fake(f)->fail_install = -ENOMEM;
	bad(f, "apply", json_pack("{s:i, s:b}", "confirm", 5, "replace", 1), "told to fail");
	fake(f)->fail_install = 0;
	end(f, false);
	start(f, NULL);
	assert_int_equal(waits(f), 1);
	assert_int_equal(f->worker->generation, 2);
}

static void earlier_ones_come_back_by_number(void **state)
{
	struct fixture *f = *state;
	char list[320];

	snprintf(list, sizeof list, "%s/ips.txt", f->etc);
	begin(f);
	good(f, "apply", NULL);
	test_file(list, "192.0.2.1\n");
	write_policy(f, "version: 1\nmode: prevent\nsets: { bad: { addresses: { file: ips.txt } } }\nblocklists: [$bad]\n");
	good(f, "apply", NULL);
	good(f, "rollback", NULL);
	assert_int_equal(f->worker->generation, 4);
	assert_string_equal(rule(f, 0), "mail");
	ended(f, 3, "rolled back");
	good(f, "rollback", json_pack("{s:i, s:i}", "generation", 1, "confirm", 5));
	assert_string_equal(rule(f, 0), "web");
	assert_int_equal(waits(f), 4);
	pass(f);
	assert_string_equal(rule(f, 0), "mail");
	good(f, "rollback", json_pack("{s:i}", "generation", 3));
	test_file(list, "192.0.2.2\n");
	good(f, "rollback", json_pack("{s:i}", "generation", 1));
	bad(f, "rollback", json_pack("{s:i}", "generation", 3), "has changed since");
	bad(f, "rollback", json_pack("{s:i}", "generation", 77), "no generation 77");
	bad(f, "rollback", json_pack("{s:i}", "generation", -1), "no number");
	boots_with(f, "web"); /* it came from the file of the system */
}

static void times_have_bounds(void **state)
{
	struct fixture *f = *state;

	begin(f);
	bad(f, "apply", confirm(3601), "1 hour");
	bad(f, "apply", confirm(-1), "1 second");
	bad(f, "apply", json_pack("{s:i, s:b}", "confirm", 5, "no_confirm", 1), "exclude");
	assert_int_equal(f->worker->generation, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_goes_back_at_its_deadline),
		T(its_clock_starts_in_force),
		T(a_note_does_not_move_the_deadline),
		T(it_is_over_when_its_time_is),
		T(confirmed_it_stays_and_boots),
		T(rollback_takes_it_back_at_once),
		T(a_second_change_is_refused_or_replaces),
		T(a_mode_waits_like_a_policy),
		T(edits_survive_either_way),
		T(a_restart_goes_on_waiting),
		T(decided_while_nobody_looked),
		T(what_cannot_be_noted_is_not_done),
		T(earlier_ones_come_back_by_number),
		T(times_have_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
