/* SPDX-License-Identifier: Apache-2.0 */
/* A worker dies in the midst of a change: it is in force and written down, or neither, and what is listed is true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/worker/test_listed.h"

#define HEAD "version: 1\nmode: prevent\ndefault: { inbound: drop, forward: drop, outbound: allow }\n"
#define WEB HEAD "sets: { bad: { addresses: 192.0.2.1 } }\nblocklists: [$bad]\nrules:\n" \
		 "  - { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }\n"
#define MAIL HEAD "rules:\n  - { name: mail, action: allow, direction: inbound, protocol: tcp, ports: 25 }\n"

static const char *in_state(const struct fixture *f, const char *name)
{
	static char path[400];

	snprintf(path, sizeof path, "%s/%s", f->state, name);
	return path;
}

static void put_state(const struct fixture *f, const char *name, const char *text)
{
	test_file(in_state(f, name), text);
}

static const char *first_rule(const struct fixture *f)
{
	return weir_img_string(&f->worker->img, weir_img_rule(&f->worker->img, 0, f->worker->img.cfg->n_rules - 1)->name);
}

/* As the disk was when the worker died: the kernel had the edit already. */
static void an_edit_that_was_not_written_down(void **state)
{
	struct fixture *f = *state;

	write_policy(f, WEB);
	start(f, NULL);
	for (int i = 0; i < 3; i++) {
		if (i == 1)
			good(f, "set add", edit("192.0.2.7"));
		else
			good(f, "rule add", drop_rule("192.0.2.9"));
		assert_int_equal(access(in_state(f, "edit-begun"), F_OK), -1);
		unlink(in_state(f, "overlay.json"));
		put_state(f, "edit-begun", i == 2 ? "2\n" : "");
		worker_dies(f);
		assert_int_equal(f->worker->overlay.list.n_rules + f->worker->overlay.list.n_edits, 0);
		if (i < 2) {
			assert_int_equal(weir_img_rule_count(&f->worker->img), 1);
			assert_true(listed(f, 1) && !listed(f, 7));
			assert_int_equal(access(in_state(f, "edit-begun"), F_OK), -1);
			degraded(f, NULL);
		}
	}
	degraded(f, "an edit that was cut short"); /* of which two died is not tried again by itself */
	good(f, "rule add", drop_rule("192.0.2.10"));
	degraded(f, NULL);
	assert_int_equal(weir_img_rule_count(&f->worker->img), 2);
}

/* While an edit waits for nothing and a change for its confirmation, both of the pair are put right. */
static void beside_a_change_that_waits(void **state)
{
	struct fixture *f = *state;

	write_policy(f, WEB);
	start(f, NULL);
	write_policy(f, WEB "# B\n");
	good(f, "apply", json_pack("{s:i}", "confirm", 100));
	good(f, "set add", edit("192.0.2.7"));
	unlink(in_state(f, "overlay.json"));
	put_state(f, "edit-begun", "");
	worker_dies(f);
	assert_true(f->worker->pending.on && listed(f, 1) && !listed(f, 7));
	good(f, "rollback", NULL);
	assert_true(listed(f, 1) && !listed(f, 7));
}

/* Its time came while no worker lived. */
static void a_rule_that_expired(void **state)
{
	struct fixture *f = *state;

	write_policy(f, WEB);
	start(f, NULL);
	good(f, "rule add", drop_rule("192.0.2.9"));
	put_state(f, "overlay.json", "{\"version\": 1, \"next_id\": 2, \"changes\": 1, \"sets\": [], \"rules\": [{\"id\": 1, "
				     "\"expires\": 5, \"rule\": {\"action\": \"drop\", \"to\": \"192.0.2.9\"}}]}");
	worker_dies(f);
	ticks(f, 1);
	assert_int_equal(weir_img_rule_count(&f->worker->img), 1);
	assert_int_equal(f->worker->overlay.list.n_rules, 0);
	worker_dies(f);
	assert_int_equal(weir_img_rule_count(&f->worker->img), 1);
}

static void next_start_takes_mail(struct fixture *f)
{
	end(f, true);
	start(f, NULL);
	assert_string_equal(first_rule(f), "mail");
	end(f, true);
}

/* What is in force is what the next start takes, although whoever put it there could not say so. */
static void a_change_that_was_not_written_down(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++) {
		write_policy(f, WEB);
		start(f, NULL);
		if (i)
			good(f, "apply", NULL);
		write_policy(f, MAIL);
		if (i == 1)
			good(f, "apply", json_pack("{s:i}", "confirm", 100));
		mkdir(in_state(f, ".policy.yaml.new"), 0700);
		bad(f, i == 1 ? "confirm" : "apply", NULL, "in force, but not saved");
		rmdir(in_state(f, ".policy.yaml.new"));
		assert_string_equal(first_rule(f), "mail");
		if (i < 2)
			worker_dies(f);
		assert_string_equal(first_rule(f), "mail");
		if (i == 2) { /* nobody lives, the machine does */
			end(f, false);
			start(f, NULL);
			assert_string_equal(first_rule(f), "mail");
		}
		next_start_takes_mail(f);
	}
	start(f, NULL);
}

/* The disk has room again, and nobody has to say so. */
static void a_copy_that_is_made_later(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 4; i++) {
		write_policy(f, WEB);
		start(f, NULL);
		good(f, "apply", NULL);
		write_policy(f, MAIL);
		mkdir(in_state(f, ".policy.yaml.new"), 0700);
		bad(f, "apply", NULL, "in force, but not saved");
		if (i == 1)
			worker_dies(f); /* it goes on all the same */
		if (i == 2) { /* this one is not to be taken by the next start */
			write_policy(f, WEB);
			good(f, "apply", json_pack("{s:i}", "confirm", 100));
		}
		if (i == 3) { /* nor does a start hang on it */
			end(f, false);
			start(f, NULL);
		}
		degraded(f, "cannot be written");
		rmdir(in_state(f, ".policy.yaml.new"));
		f->worker->failing.unsaved_at = 0;
		ticks(f, 1);
		if (i == 2) {
			degraded(f, "cannot be written");
			good(f, "rollback", NULL);
			f->worker->failing.unsaved_at = 0;
			ticks(f, 1);
		}
		assert_int_equal(f->worker->failing.state_why[0], 0);
		next_start_takes_mail(f);
	}
	start(f, NULL);
}

/* And what was never in force leaves nothing. */
static void a_change_that_was_not_in_force(void **state)
{
	struct fixture *f = *state;

	write_policy(f, WEB);
	start(f, NULL);
	put_state(f, "pending.json", "{\"generation\": 2, \"back\": 1, \"deadline\": 5, \"since\": 5, \"span\": 0, \"boot\": \"file\", "
				     "\"mode\": false, \"rollback\": false}");
	worker_dies(f);
	assert_int_equal(f->worker->generation, 1);
	assert_int_equal(access(in_state(f, "pending.json"), F_OK), -1);
	write_policy(f, MAIL);
	end(f, true);
	start(f, NULL);
	assert_string_equal(first_rule(f), "web");
}

/* Edits are of what is in force. Where that cannot be read again, another policy does not come in its place by one. */
static void an_edit_of_what_cannot_be_read(void **state)
{
	struct fixture *f = *state;
	char path[320];

	snprintf(path, sizeof path, "%s/more.yaml", f->etc);
	test_file(path, "rules: [ { name: web, action: allow, direction: inbound, ports: 80 } ]\n");
	write_policy(f, HEAD "include: more.yaml\n");
	start(f, NULL);
	good(f, "rule add", drop_rule("192.0.2.9"));
	test_file(path, "rules: [ { name: not applied, action: allow, direction: inbound, ports: 81 } ]\n");
	worker_dies(f);
	degraded(f, "cannot be read again");
	bad(f, "rule add", drop_rule("192.0.2.1"), "cannot be read again");
	bad(f, "mode", json_pack("{s:s}", "mode", "detect"), "cannot be read again");
	assert_string_equal(first_rule(f), "web");
	good(f, "rule delete", json_pack("{s:s}", "id", "1")); /* that asks nothing of it */
	assert_int_equal(weir_img_rule_count(&f->worker->img), 1);
	assert_string_equal(first_rule(f), "web");
	good(f, "apply", NULL);
	assert_string_equal(first_rule(f), "not applied");
	good(f, "rule add", drop_rule("192.0.2.1"));
}

static uint32_t rules_of(const struct fixture *f)
{
	return weir_img_rule_count(&f->worker->img);
}

/* An added rule that names what is there no more does not keep the rest from standing at a start. */
static void a_rule_that_fits_no_more(void **state)
{
	static const char office[] = "sets: { office: { addresses: 192.0.2.0/24 } }\n";
	struct fixture *f = *state;
	char path[320];

	snprintf(path, sizeof path, "%s/more.yaml", f->etc);
	test_file(path, office);
	write_policy(f, MAIL "include: more.yaml\n");
	start(f, NULL);
	good(f, "rule add", json_pack("{s:{s:s, s:s}}", "rule", "action", "drop", "from", "$office"));
	good(f, "rule add", drop_rule("192.0.2.1"));
	for (int i = 0; i < 3; i++) {
		test_file(path, i ? "rules: [ broken" : "sets: { others: { addresses: 192.0.2.0/24 } }\n");
		end(f, i != 1); /* the last two times management stands in for what cannot be read */
		start(f, NULL);
		assert_true(i ? strstr(f->worker->path, "management") != NULL : !strcmp(first_rule(f), "mail"));
		degraded(f, "rule 1 that was added does not fit");
		assert_int_equal(f->worker->overlay.list.n_rules, 2 + i);
		worker_dies(f);
		good(f, "rule add", drop_rule("192.0.2.2"));
		degraded(f, "rule 1 that was added does not fit");
		bad(f, "apply", NULL, i ? "more.yaml" : "unknown set");
		test_file(path, office);
		good(f, "apply", NULL);
		assert_int_equal(rules_of(f), 4 + i);
		assert_false(f->worker->overlay.list.rules[0].unfit);
	}
	end(f, true);
	start(f, NULL);
	assert_int_equal(rules_of(f), 6);
	test_file(path, "sets: { others: { addresses: 192.0.2.0/24 } }\n");
	end(f, true);
	start(f, NULL);
	assert_int_equal(rules_of(f), 5);
	good(f, "rule delete", json_pack("{s:s}", "id", "1"));
	assert_int_equal(f->worker->overlay.list.n_rules, 4);
	assert_int_equal(rules_of(f), 5);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_edit_that_was_not_written_down),
		T(beside_a_change_that_waits),
		T(a_rule_that_expired),
		T(a_change_that_was_not_written_down),
		T(a_copy_that_is_made_later),
		T(a_change_that_was_not_in_force),
		T(an_edit_of_what_cannot_be_read),
		T(a_rule_that_fits_no_more),
	};

	return cmocka_run_group_tests_name("changes that are cut short", tests, NULL, NULL);
}
