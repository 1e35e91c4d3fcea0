/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeper, worker and handlers over the kernel in memory.
 */
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "core/reason.h"
#include "daemon/worker/test_instance.h"

static const char prevent_policy[] =
	"version: 1\nmode: prevent\ndefault: { inbound: drop, forward: drop, outbound: allow }\n"
	"sets: { office: { addresses: [10.1.0.0/16] } }\n"
	"rules:\n  - { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }\n"
	"  - { name: no telnet, action: reject, ports: 23 }\n  - { name: office, action: allow, from: $office }\n";
static const char detect_policy[] = "version: 1\ndefault: { inbound: drop, outbound: allow }\n";

static json_int_t number(struct fixture *f, const char *verb, const char *key)
{
	json_t *j = ask(f, verb, NULL);
	json_int_t n = json_integer_value(json_object_get(json_object_get(j, "result"), key));

	json_decref(j);
	return n;
}

static void without_a_policy_it_only_watches(void **state)
{
	struct fixture *f = *state;

	start(f, NULL);
	assert_int_equal(weir_worker_mode(f->worker), WEIR_DETECT);
	assert_int_equal(f->worker->source, WEIR_SOURCE_BUILTIN);
	assert_false(fake(f)->guard);
	assert_int_equal(fake(f)->attached, 1); /* lo is the failsafe's */
	assert_int_equal(fake(f)->seeds + fake(f)->adopt_s, 0);
}

static void in_prevent_the_guard_stands_and_a_window_opens(void **state)
{
	struct fixture *f = *state;
	struct weir_kern_if late = { .ifindex = 7, .name = "veth1" };

	write_policy(f, prevent_policy);
	start(f, NULL);
	assert_int_equal(weir_worker_mode(f->worker), WEIR_PREVENT);
	assert_true(fake(f)->guard);
	assert_int_equal(fake(f)->adopt_s, 60);
	assert_true(weir_kern_fake_covered(weir_keeper_kern(f->keeper), 1));
	assert_true(weir_kern_fake_covered(weir_keeper_kern(f->keeper), 2));
	assert_false(weir_kern_fake_covered(weir_keeper_kern(f->keeper), 7));
	weir_keeper_link(f->keeper, WEIR_LINK_NEW, &late);
	assert_true(weir_kern_fake_covered(weir_keeper_kern(f->keeper), 7));
	weir_keeper_link(f->keeper, WEIR_LINK_GONE, &late);
	assert_false(weir_kern_fake_covered(weir_keeper_kern(f->keeper), 7));
	fake(f)->fail_attach = -EBUSY;
	weir_keeper_link(f->keeper, WEIR_LINK_NEW, &late);
	assert_false(weir_kern_fake_covered(weir_keeper_kern(f->keeper), 7)); /* shut, and status says so */
	json_t *j = ask(f, "status", NULL);
	assert_int_equal(json_array_size(json_object_get(json_object_get(j, "result"), "degraded")), 1);
	json_decref(j);
}

static void a_bad_policy_changes_nothing(void **state)
{
	struct fixture *f = *state;
	uint32_t installs;

	write_policy(f, prevent_policy);
	start(f, NULL);
	installs = fake(f)->installs;
	write_policy(f, "version: 1\nrules: [ { action: dorp } ]\n");
	bad(f, "apply", NULL, "The policy in force (generation 1) is unchanged.");
	bad(f, "apply", NULL, "did you mean 'drop'?");
	assert_int_equal(fake(f)->installs, installs);
	write_policy(f, prevent_policy);
	fake(f)->fail_install = -ENOMEM;
	bad(f, "apply", NULL, "told to fail");
	assert_int_equal(f->worker->generation, 1);
	fake(f)->fail_install = 0;
	good(f, "apply", NULL);
	assert_int_equal(f->worker->generation, 2);
	bad(f, "apply", json_pack("{s:s}", "path", "relative.yaml"), "absolute");
	bad(f, "apply", json_pack("{s:s}", "pth", "/x"), "bad arguments");
}

static void a_failsafe_entry_goes_only_with_a_console(void **state)
{
	struct fixture *f = *state;

	write_policy(f, prevent_policy);
	start(f, NULL);
	write_policy(f, "version: 1\nfailsafe: [ { name: dhcp, remove: true } ]\n");
	bad(f, "apply", NULL, "built-in failsafe entry 'dhcp'");
	good(f, "apply", json_pack("{s:b}", "console", 1));
}

static void changes_are_counted(void **state)
{
	struct fixture *f = *state;
	json_t *j, *r;

	write_policy(f, prevent_policy);
	start(f, NULL);
	write_policy(
		f,
		"version: 1\nmode: prevent\nrules:\n  - { name: web, action: allow, direction: inbound, protocol: tcp, "
		"ports: 80 }\n  - { name: no telnet, action: reject, ports: [23, 24] }\n");
	j = ask(f, "apply", NULL);
	r = json_object_get(j, "result");
	assert_int_equal(json_integer_value(json_object_get(r, "added")), 1);
	assert_int_equal(json_integer_value(json_object_get(r, "removed")), 2);
	json_decref(j);
}

static void overlay_rules_survive_a_restart(void **state)
{
	struct fixture *f = *state;

	write_policy(f, prevent_policy);
	start(f, NULL);
	good(f, "rule add", drop_rule("192.0.2.1"));
	good(f, "rule add", drop_rule("192.0.2.2"));
	good(f, "rule delete", json_pack("{s:s}", "id", "1"));
	assert_int_equal(f->worker->generation, 1); /* an edit is no generation */
	bad(f, "rule add", drop_rule("192.0.2.300"), "192.0.2.300");
	bad(f, "rule delete", json_pack("{s:s}", "id", "1"), "no overlay rule has the id 1");
	bad(f, "rule delete", json_pack("{s:s}", "id", "web"), "policy.yaml:6");
	end(f, false);
	start(f, NULL);
	assert_int_equal(f->worker->overlay.list.n_rules, 1);
	assert_int_equal(f->worker->overlay.list.rules[0].id, 2);
	assert_int_equal(f->worker->generation, 1);
	assert_int_equal(fake(f)->adopt_s, 0); /* a restart opens no window */
	good(f, "rule add", drop_rule("192.0.2.3"));
	assert_non_null(weir_overlay_find(&f->worker->overlay, 3));
	good(f, "rule clear", NULL);
	assert_int_equal(weir_img_rule_count(&f->worker->img), 3);
}

static void a_rule_whose_time_came_goes(void **state)
{
	struct fixture *f = *state;

	write_policy(f, prevent_policy);
	start(f, NULL);
	good(f, "rule add", drop_rule("192.0.2.1"));
	assert_int_equal(weir_img_rule_count(&f->worker->img), 4);
	f->worker->overlay.list.rules[0].expires = 1; /* long ago */
	weir_worker_tick(f->worker);
	assert_int_equal(f->worker->overlay.list.n_rules, 0);
	assert_int_equal(weir_img_rule_count(&f->worker->img), 3);
}

static void what_cannot_be_saved_is_not_in_force(void **state)
{
	struct fixture *f = *state;

	write_policy(f, prevent_policy);
	start(f, NULL);
	f->worker->o.state_dir = "/proc/self/nowhere";
	bad(f, "rule add", drop_rule("192.0.2.1"), "nothing was changed");
	assert_int_equal(weir_img_rule_count(&f->worker->img), 3);
	assert_int_equal(f->worker->overlay.list.n_rules, 0);
}

static void hits_follow_the_rule(void **state)
{
	struct fixture *f = *state;
	uint64_t hits[WEIR_LATE_MAX + 16];
	char moved[sizeof prevent_policy + 80];

	write_policy(f, prevent_policy);
	start(f, NULL);
	weir_kern_fake_hit(weir_keeper_kern(f->keeper), WEIR_LATE_MAX + 1, 5); /* 'no telnet' */
	good(f, "rule add", drop_rule("192.0.2.1"));
	weir_kern_fake_hit(weir_keeper_kern(f->keeper), WEIR_LATE_MAX + 1, 2); /* it stands where it stood */
	weir_worker_hits(f->worker, hits, WEIR_LATE_MAX + 3);
	assert_int_equal(hits[0], 0);
	assert_int_equal(hits[WEIR_LATE_MAX + 1], 7);
	good(f, "rule add", drop_before("192.0.2.2", 1)); /* compiles all: now it stands behind both */
	weir_worker_hits(f->worker, hits, WEIR_LATE_MAX + 5);
	assert_int_equal(hits[WEIR_LATE_MAX + 1], 0);
	assert_int_equal(hits[WEIR_LATE_MAX + 3], 7);
	weir_kern_fake_hit(weir_keeper_kern(f->keeper), f->worker->img.cfg->n_rules, 3); /* the default of inbound */
	good(f, "rule add", drop_before("192.0.2.3", 1));
	weir_worker_hits(f->worker, hits, weir_image_counters(f->worker->img.h));
	assert_int_equal(hits[f->worker->img.cfg->n_rules], 3);
	assert_int_equal(hits[f->worker->img.cfg->n_rules + 1], 0);
	good(f, "rule clear", NULL);
	snprintf(moved, sizeof moved, "# two lines more,\n# and the rule has another place\n%s", prevent_policy);
	write_policy(f, moved);
	good(f, "apply", json_pack("{s:b}", "no_confirm", true));
	weir_worker_hits(f->worker, hits, weir_image_counters(f->worker->img.h));
	assert_int_equal(hits[WEIR_LATE_MAX + 1], 7);
}

static void sets_are_edited_only_as_the_policy_knows_them(void **state)
{
	struct fixture *f = *state;

	write_policy(f, prevent_policy);
	start(f, NULL);
	good(f, "set add", json_pack("{s:s, s:s}", "set", "$office", "element", "198.51.100.7"));
	bad(f, "set add", json_pack("{s:s, s:s}", "set", "offce", "element", "198.51.100.7"), "did you mean 'office'");
	bad(f, "set add", json_pack("{s:s, s:s}", "set", "office", "element", "bla"), "bla");
	bad(f, "set add", json_pack("{s:s, s:s}", "set", "office", "element", "198.51.100.7"), "already");
	json_t *j = ask(f, "set list", json_pack("{s:s}", "set", "office"));
	char *text = json_dumps(j, 0);
	assert_non_null(strstr(text, "\"198.51.100.7\""));
	assert_non_null(strstr(text, "\"10.1.0.0/16\""));
	free(text);
	json_decref(j);
	good(f, "set remove", json_pack("{s:s, s:s}", "set", "office", "element", "10.1.0.0/16"));
	assert_int_equal(f->worker->overlay.list.n_edits, 2);
}

static void bans_are_kept_and_own_addresses_refused(void **state)
{
	struct fixture *f = *state;

	write_policy(f, prevent_policy);
	start(f, NULL);
	for (int i = 0; i < 2; i++) {
		json_t *j = ask(f, "ban add", json_pack("{s:s, s:i}", "address", "192.0.2.9", "for", 3600));

		assert_int_equal(json_is_true(json_object_get(json_object_get(j, "result"), "replaced")), i);
		json_decref(j);
	}
	good(f, "ban add", json_pack("{s:s}", "address", "2001:db8::/32"));
	bad(f, "ban add", json_pack("{s:s}", "address", "127.0.0.1"), "this host");
	bad(f, "ban add", json_pack("{s:s}", "address", "::/0"), "everybody");
	fake(f)->fail_ban = -E2BIG;
	bad(f, "ban add", json_pack("{s:s}", "address", "192.0.2.10"), "did not take");
	assert_int_equal(f->worker->bans.n, 2);
	fake(f)->fail_ban = -E2BIG;
	bad(f, "ban add", json_pack("{s:s}", "address", "192.0.2.9"), "did not take");
	assert_int_equal(f->worker->bans.n, 2);
	assert_int_equal(fake(f)->bans, 2);
	end(f, false);
	start(f, NULL);
	assert_int_equal(f->worker->bans.n, 2);
	assert_int_equal(fake(f)->bans, 2);
	f->worker->bans.v[0].expires = 1;
	weir_worker_tick(f->worker);
	assert_int_equal(fake(f)->bans, 1);
	good(f, "ban remove", json_pack("{s:s}", "address", "2001:db8::/32"));
	bad(f, "ban remove", json_pack("{s:s}", "address", "2001:db8::/32"), "not banned");
	for (int i = 0; i < 2; i++)
		good(f, "ban add", json_pack("{s:s}", "address", i ? "192.0.2.6/31" : "192.0.2.7"));
	good(f, "ban remove", json_pack("{s:s}", "address", "192.0.2.7"));
	bad(f, "ban remove", json_pack("{s:s}", "address", "192.0.2.7"), "192.0.2.6/31 covers it");
}

static void the_mode_is_a_ceiling_and_is_kept(void **state)
{
	struct fixture *f = *state;

	write_policy(f, prevent_policy);
	start(f, NULL);
	good(f, "mode", json_pack("{s:s}", "mode", "detect"));
	assert_int_equal(weir_worker_mode(f->worker), WEIR_DETECT);
	assert_false(fake(f)->guard);
	end(f, true);
	start(f, NULL);
	assert_int_equal(weir_worker_mode(f->worker), WEIR_DETECT);
	good(f, "mode", json_pack("{s:s}", "mode", "prevent"));
	assert_int_equal(weir_worker_mode(f->worker), WEIR_PREVENT);
	assert_int_equal(fake(f)->adopt_s, 60); /* the first enforcement of this life */
	write_policy(f, detect_policy);
	good(f, "apply", NULL);
	assert_int_equal(weir_worker_mode(f->worker), WEIR_DETECT); /* prevent raises nothing */
	assert_int_equal(weir_worker_requested(f->worker), WEIR_PREVENT);
	bad(f, "mode", json_pack("{s:s}", "mode", "loud"), "unknown mode");
}

static void boot_takes_what_was_saved(void **state)
{
	struct fixture *f = *state;
	char other[320], drift[512];

	snprintf(other, sizeof other, "%s/other.yaml", f->etc);
	test_file(other, prevent_policy);
	write_policy(f, detect_policy);
	start(f, NULL);
	good(f, "apply", json_pack("{s:s}", "path", other));
	assert_int_equal(weir_worker_mode(f->worker), WEIR_PREVENT);
	end(f, true);
	start(f, NULL); /* it was not kept */
	assert_int_equal(weir_worker_mode(f->worker), WEIR_DETECT);
	good(f, "apply", json_pack("{s:s, s:b}", "path", other, "save", 1));
	end(f, true);
	start(f, NULL);
	assert_int_equal(weir_worker_mode(f->worker), WEIR_PREVENT);
	assert_int_equal(f->worker->source, WEIR_SOURCE_SAVED);
	assert_string_equal(weir_worker_drift(f->worker, drift, sizeof drift), "");
	good(f, "apply", NULL); /* back to the file, for good */
	end(f, true);
	start(f, NULL);
	assert_int_equal(f->worker->source, WEIR_SOURCE_FILE);
	write_policy(f, prevent_policy);
	assert_non_null(strstr(weir_worker_drift(f->worker, drift, sizeof drift), "differs"));
}

/* Its lists stand beside the file that was applied, which may be gone by the next start. */
static void a_saved_policy_finds_its_lists(void **state)
{
	struct fixture *f = *state;
	char path[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, "192.0.2.1\n");
	snprintf(path, sizeof path, "%s/other.yaml", f->etc);
	test_file(path,
		  "version: 1\nmode: prevent\nsets: { bad: { addresses: { file: ips.txt } } }\nblocklists: [$bad]\n");
	start(f, NULL);
	good(f, "apply", json_pack("{s:s, s:b}", "path", path, "save", 1));
	end(f, true);
	assert_int_equal(unlink(path), 0);
	start(f, NULL);
	assert_int_equal(f->worker->source, WEIR_SOURCE_SAVED);
	assert_int_equal(weir_worker_mode(f->worker), WEIR_PREVENT);
}

static void numbers_go_on(void **state)
{
	struct fixture *f = *state;

	write_policy(f, prevent_policy);
	start(f, NULL);
	good(f, "apply", NULL);
	good(f, "apply", NULL);
	assert_int_equal(number(f, "status", "generation"), 3);
	end(f, false);
	start(f, NULL);
	assert_int_equal(number(f, "status", "generation"), 3); /* the same policy */
	end(f, false);
	write_policy(f, detect_policy);
	start(f, NULL);
	assert_int_equal(number(f, "status", "generation"), 3); /* an edit that nobody applied counts for nothing */
	good(f, "apply", NULL);
	assert_int_equal(number(f, "status", "generation"), 4);
}

/* The file of the system is being edited when the power fails: the host comes up with what was confirmed. */
static void boot_takes_no_unconfirmed_edit(void **state)
{
	static const char *const edits[] = { "version: 1\nrules: [", "", detect_policy };
	struct fixture *f = *state;
	char drift[512];

	write_policy(f, prevent_policy);
	start(f, NULL); /* the first start confirms it */
	for (size_t i = 0; i < 3; i++) {
		end(f, true);
		write_policy(f, edits[i]);
		start(f, NULL);
		assert_int_equal(weir_worker_mode(f->worker), WEIR_PREVENT);
		assert_int_equal(f->worker->source, WEIR_SOURCE_FILE);
		assert_non_null(strstr(weir_worker_drift(f->worker, drift, sizeof drift),
				       i < 2 ? "does not check" : "differs from the file"));
	}
	end(f, true);
	assert_int_equal(unlink(f->policy), 0);
	start(f, NULL);
	assert_int_equal(weir_worker_mode(f->worker), WEIR_PREVENT);
}

static void events_are_kept_and_explained(void **state)
{
	struct fixture *f = *state;
	struct weir_ev_verdict ev = { .h = { .type = WEIR_EV_VERDICT, .size = sizeof ev },
				      .dir = WEIR_DIR_IN,
				      .family = 4,
				      .proto = WEIR_IPPROTO_TCP };
	json_t *j, *r;

	write_policy(f, prevent_policy);
	start(f, NULL);
	ev.h.epoch = f->worker->epoch;
	ev.h.generation = f->worker->generation;
	weir_result_init(&ev.res);
	weir_result_set(&ev.res, WEIR_REJECT, WEIR_REASON_RULE, WEIR_LATE_MAX + 1);
	memcpy(ev.t.src, (uint8_t[16]){ [10] = 0xff, [11] = 0xff, [12] = 198, 51, 100, 7 }, 16);
	memcpy(ev.t.dst, (uint8_t[16]){ [10] = 0xff, [11] = 0xff, [12] = 192, 0, 2, 1 }, 16);
	ev.t.sport = 4000;
	ev.t.dport = 23;
	for (int i = 0; i < WEIR_RECENT_MAX + 5; i++)
		assert_int_equal(weir_kern_fake_event(weir_keeper_kern(f->keeper), &ev, sizeof ev), 0);
	/* nobody looked at the ring meanwhile: the question does */
	j = ask(f, "events", NULL);
	assert_int_equal(json_array_size(json_object_get(json_object_get(j, "result"), "events")), WEIR_RECENT_MAX);
	json_decref(j);
	j = ask(f, "why", json_pack("{s:s}", "target", "198.51.100.7"));
	r = json_object_get(j, "result");
	assert_string_equal(json_string_value(json_object_get(r, "rule")), "rule 'no telnet' (policy.yaml:7)");
	assert_non_null(json_object_get(r, "fix"));
	json_decref(j);
	/* as the live view names it: who came, and what for */
	j = ask(f, "why", json_pack("{s:s}", "target", "198.51.100.7:23"));
	assert_non_null(json_object_get(json_object_get(j, "result"), "event"));
	json_decref(j);
	j = ask(f, "why", json_pack("{s:s}", "target", "198.51.100.7:24"));
	assert_null(json_object_get(json_object_get(j, "result"), "event"));
	json_decref(j);
	j = ask(f, "why", json_pack("{s:s}", "target", "203.0.113.1:443"));
	assert_non_null(json_object_get(json_object_get(j, "result"), "would"));
	json_decref(j);
	bad(f, "why", json_pack("{s:s}", "target", "1.2.3.4:99999"), "no port");
	bad(f, "why", json_pack("{s:s}", "target", "nonsense"), "no address");
}

/* Both are unread when the image changes: one was judged by it, one by the next. */
static void events_are_named_by_the_image_that_judged(void **state)
{
	static const char *const names[] = { "no telnet", "web" };
	struct fixture *f = *state;
	struct weir_ev_verdict ev = { .h = { .type = WEIR_EV_VERDICT, .size = sizeof ev }, .dir = WEIR_DIR_IN, .family = 4 };
	json_t *j;

	write_policy(f, prevent_policy);
	start(f, NULL);
	weir_result_set(&ev.res, WEIR_REJECT, WEIR_REASON_RULE, WEIR_LATE_MAX + 1);
	for (uint32_t i = 0; i < 2; i++) {
		ev.h.epoch = f->worker->epoch + i;
		assert_int_equal(weir_kern_fake_event(weir_keeper_kern(f->keeper), &ev, sizeof ev), 0);
	}
	write_policy(f, "version: 1\nmode: prevent\nrules:\n  - { name: first, action: allow, ports: 22 }\n"
			"  - { name: web, action: reject, ports: 80 }\n");
	good(f, "apply", NULL);
	j = ask(f, "events", NULL);
	for (size_t i = 0; i < 2; i++)
		assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(json_object_get(j, "result"),
												     "events"), i), "rule")), names[i]);
	json_decref(j);
}

static void the_rule_of_the_flow_is(struct fixture *f, const char *rule)
{
	json_t *j = ask(f, "flows", NULL);
	json_t *flow = json_array_get(json_object_get(json_object_get(j, "result"), "flows"), 0);

	assert_string_equal(json_string_value(json_object_get(flow, "rule")), rule);
	json_decref(j);
}

static void a_flow_keeps_no_name_of_another_image(void **state)
{
	struct fixture *f = *state;
	struct weir_tuple t = { .sport = 4000, .dport = 80, .zone = weir_zone(WEIR_IPPROTO_TCP, 0, 0) };
	struct weir_flow flow = { .dir = WEIR_DIR_IN, .wanted_reason = WEIR_REASON_RULE, .wanted_rule = WEIR_LATE_MAX };
	struct weir_flow_key k;

	write_policy(f, prevent_policy);
	start(f, NULL);
	flow.epoch = f->worker->epoch;
	memcpy(t.src, (uint8_t[16]){ [10] = 0xff, [11] = 0xff, [12] = 198, 51, 100, 7 }, 16);
	memcpy(t.dst, (uint8_t[16]){ [10] = 0xff, [11] = 0xff, [12] = 192, 0, 2, 1 }, 16);
	flow.flags = weir_flow_key_of(&t, &k) ? WEIR_FF_ORIG_B : 0;
	assert_int_equal(weir_kern_fake_flow(weir_keeper_kern(f->keeper), &k, &flow), 0);
	the_rule_of_the_flow_is(f, "rule 'web' (policy.yaml:6)");
	good(f, "rule add", json_pack("{s:{s:s, s:i}}", "rule", "action", "drop", "ports", 9));
	the_rule_of_the_flow_is(f, "rule 'web' (policy.yaml:6)"); /* the image took the new one as it is */
	good(f, "rule add", drop_before("192.0.2.1", 1));
	the_rule_of_the_flow_is(f, "a rule of before the last change");
}

static void the_rule_is_shown_as(struct fixture *f, json_t *rule, const char *match)
{
	json_t *j = ask(f, "rule add", json_pack("{s:o}", "rule", rule));

	assert_string_equal(json_string_value(json_object_get(json_object_get(j, "result"), "match")), match);
	json_decref(j);
}

static void a_rule_is_shown_with_all_that_it_says(void **state)
{
	struct fixture *f = *state;

	start(f, NULL);
	the_rule_is_shown_as(f, json_pack("{s:s, s:s}", "action", "drop", "icmp", "3/4"), "icmp icmp type 3 code 4");
	the_rule_is_shown_as(
		f, json_pack("{s:s, s:i, s:s, s:s}", "action", "allow", "ports", 81, "max_bytes", "10M", "idle", "5m"),
		"port 81 tcp,udp; 10M bytes at most, idle for at most 5m");
	the_rule_is_shown_as(f, json_pack("{s:s, s:s}", "action", "allow", "max_bytes", "2GiB"),
			     "everything; 2GiB bytes at most");
	the_rule_is_shown_as(f, json_pack("{s:s, s:i, s:s}", "action", "ban", "ports", 23, "ban", "10m"),
			     "port 23 tcp,udp; who opened, for 10m");
}

static void another_ceiling_is_no_change_of_rules(void **state)
{
	struct fixture *f = *state;
	json_t *j;

	write_policy(f, prevent_policy);
	start(f, NULL);
	j = ask(f, "mode", json_pack("{s:s}", "mode", "detect"));
	assert_true(json_is_true(json_object_get(j, "ok")));
	assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "result"), "added")), 0);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "result"), "removed")), 0);
	json_decref(j);
}

static void times_and_ids_have_bounds(void **state)
{
	struct fixture *f = *state;
	json_int_t bad_times[] = { -1, WEIR_SPAN_MAX + 1ll, INT64_MAX };

	start(f, NULL);
	for (size_t i = 0; i < 3; i++) {
		bad(f, "ban add", json_pack("{s:s, s:I}", "address", "192.0.2.9", "for", bad_times[i]), "10 years");
		bad(f, "rule add", json_pack("{s:{s:s}, s:I}", "rule", "action", "drop", "for", bad_times[i]),
		    "10 years");
	}
	bad(f, "rule add", json_pack("{s:{s:s}, s:I}", "rule", "action", "drop", "before", (json_int_t)1 << 40),
	    "no id");
	good(f, "ban add", json_pack("{s:s, s:i}", "address", "192.0.2.9", "for", WEIR_SPAN_MAX));
}

static void long_words_are_cut_between_characters(void **state)
{
	struct fixture *f = *state;
	char name[64 * 4 + 1] = "", addr[400] = "";
	json_t *j, *rules;

	start(f, NULL);
	for (int i = 0; i < 64; i++) /* as long as a name may be */
		strcat(name, "\xf0\x9f\x98\x80");
	for (int i = 0; i < 199; i++)
		strcat(addr, "\xc3\xa9");
	good(f, "rule add", json_pack("{s:{s:s, s:s}}", "rule", "action", "drop", "name", name));
	j = ask(f, "rule list", NULL);
	rules = json_object_get(json_object_get(j, "result"), "rules");
	assert_int_equal(json_array_size(rules), 1);
	assert_memory_equal(json_string_value(json_object_get(json_array_get(rules, 0), "name")), name, 31 * 4);
	json_decref(j);
	bad(f, "ban add", json_pack("{s:s}", "address", addr), "\xc3\xa9");
}

static void unknown_verbs_and_arguments_are_refused(void **state)
{
	struct fixture *f = *state;

	start(f, NULL);
	bad(f, "frobnicate", NULL, "unknown verb");
	bad(f, "rule add", NULL, "bad arguments");
	bad(f, "rule add", json_pack("{s:i}", "rule", 7), "not added");
	bad(f, "ban add", json_pack("{s:i}", "address", 7), "bad arguments");
	bad(f, "events", json_pack("{s:i}", "count", -1), "negative");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_a_policy_it_only_watches),
		T(in_prevent_the_guard_stands_and_a_window_opens),
		T(a_bad_policy_changes_nothing),
		T(a_failsafe_entry_goes_only_with_a_console),
		T(changes_are_counted),
		T(overlay_rules_survive_a_restart),
		T(a_rule_whose_time_came_goes),
		T(what_cannot_be_saved_is_not_in_force),
		T(hits_follow_the_rule),
		T(sets_are_edited_only_as_the_policy_knows_them),
		T(bans_are_kept_and_own_addresses_refused),
		T(the_mode_is_a_ceiling_and_is_kept),
		T(boot_takes_what_was_saved),
		T(a_saved_policy_finds_its_lists),
		T(numbers_go_on),
		T(boot_takes_no_unconfirmed_edit),
		T(events_are_kept_and_explained),
		T(events_are_named_by_the_image_that_judged),
		T(a_flow_keeps_no_name_of_another_image),
		T(a_rule_is_shown_with_all_that_it_says),
		T(another_ceiling_is_no_change_of_rules),
		T(times_and_ids_have_bounds),
		T(long_words_are_cut_between_characters),
		T(unknown_verbs_and_arguments_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
