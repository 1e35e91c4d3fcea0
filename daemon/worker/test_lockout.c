/* SPDX-License-Identifier: Apache-2.0 */
/* Who works over the network, and what is done to conversations that live, over the kernel and the helper in memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/worker/test_instance.h"

#define NO_SSHD "failsafe: [ { name: sshd, remove: true } ]\n"
#define HEAD "version: 1\nmode: prevent\ndefault: { inbound: drop, outbound: allow }\n"

static const char open_policy[] =
	HEAD NO_SSHD "rules:\n  - { name: ssh, action: allow, direction: inbound, protocol: tcp, ports: 22 }\n";
static const char closed_policy[] =
	HEAD NO_SSHD "rules:\n  - { name: web, action: allow, direction: inbound, protocol: tcp, ports: 80 }\n";

static void address(uint8_t to[16], uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	memcpy(to, (uint8_t[16]){ [10] = 0xff, [11] = 0xff, a, b, c, d }, 16);
}

/* Over ssh from 10.0.0.5. */
static void begin(struct fixture *f, const char *policy)
{
	struct weir_session *s;

	assert_int_equal(weir_helper_new_local(&f->helper), 0);
	s = &f->helper->sessions[0];
	f->helper->n_sessions = 1;
	f->helper->ssh_port = 22;
	address(s->t.src, 10, 0, 0, 5);
	address(s->t.dst, 10, 0, 0, 1);
	s->t.sport = 51000;
	s->t.dport = 22;
	s->t.zone = weir_zone(WEIR_IPPROTO_TCP, 0, 0);
	strcpy(s->program, "sshd: joe");
	write_policy(f, policy);
	start(f, NULL);
}

static void flow(struct fixture *f, const struct weir_tuple *t, uint64_t created)
{
	struct weir_flow x = { .dir = WEIR_DIR_IN, .in_ifindex = 2, .created = created, .epoch = 1 };
	struct weir_flow_key k;

	x.flags = weir_flow_key_of(t, &k) ? WEIR_FF_ORIG_B : 0;
	assert_int_equal(weir_kern_fake_flow(weir_keeper_kern(f->keeper), &k, &x), 0);
}

static json_t *terms(const char *a, const char *b)
{
	json_t *j = json_pack("{s:b}", "console", 1);

	if (a)
		json_object_set_new(j, a, json_true());
	if (b)
		json_object_set_new(j, b, json_true());
	return j;
}

/* Refused before anybody is asked, and no trace of it stays: neither here nor in the kernel. */
static void an_address_of_a_list_that_cuts_oneself_off(void **state)
{
	struct fixture *f = *state;
	uint32_t size;
	void *before;

	begin(f,
	      HEAD NO_SSHD "sets: { bad: { addresses: 192.0.2.1 } }\nblocklists: $bad\n"
			   "rules:\n  - { name: ssh, action: allow, direction: inbound, protocol: tcp, ports: 22 }\n");
	size = f->worker->img.h->size;
	before = malloc(size);
	assert_non_null(before);
	memcpy(before, f->worker->blob, size);
	bad(f, "set add", json_pack("{s:s, s:s}", "set", "bad", "element", "10.0.0.0/28"),
	    "this would cut your session (ssh from 10.0.0.5)");
	assert_memory_equal(before, f->worker->blob, size);
	assert_int_equal(fake(f)->lines, 0);
	good(f, "set add", json_pack("{s:s, s:s}", "set", "bad", "element", "10.0.0.16/28"));
	good(f, "set add", json_pack("{s:s, s:s, s:b}", "set", "bad", "element", "10.0.0.5", "force", 1));
	assert_int_equal(fake(f)->lines, 2);
	free(before);
}

static void who_would_cut_himself_off_is_refused(void **state)
{
	struct fixture *f = *state;

	begin(f, open_policy);
	write_policy(f, closed_policy);
	bad(f, "apply", terms("no_confirm", NULL), "this would cut your session (ssh from 10.0.0.5): default inbound");
	bad(f, "apply", terms("terminal", NULL), "allow 10.0.0.5 to port 22 first");
	assert_int_equal(f->worker->generation, 1);
	write_policy(f, HEAD NO_SSHD "flows: { established: keep }\n");
	bad(f, "apply", terms("no_confirm", NULL), "your session (ssh from 10.0.0.5) would stay, but a new connection");
	write_policy(f, HEAD NO_SSHD "rules:\n  - { name: away, action: reject, from: 10.0.0.0/8 }\n"
				     "  - { name: ssh, action: allow, ports: 22 }\n");
	bad(f, "apply", terms("no_confirm", NULL), "rule 'away' (policy.yaml:6)");
	write_policy(f, closed_policy);
	good(f, "apply", terms("no_confirm", "force"));
	assert_int_equal(f->worker->generation, 2);
}

/* Whoever sees it hold now is told why it does not count. */
static void an_allow_of_some_hours_does_not_count(void **state)
{
	struct fixture *f = *state;

	begin(f, open_policy);
	write_policy(f, HEAD NO_SSHD "rules:\n  - { name: hours, action: allow, direction: inbound, protocol: tcp, ports: 22, "
				     "time: 'mon-sun 00:00-23:59' }\n");
	bad(f, "apply", terms("no_confirm", NULL),
	    "default inbound; rule 'hours' (policy.yaml:6) holds only at some times, and does not count here");
	assert_int_equal(f->worker->generation, 1);
}

static void nobody_is_locked_out_where_nothing_is_blocked(void **state)
{
	struct fixture *f = *state;
	json_t *j;

	begin(f, open_policy);
	write_policy(f, "version: 1\ndefault: { inbound: drop }\n" NO_SSHD);
	good(f, "apply", terms(NULL, NULL)); /* and nothing waits */
	assert_false(f->worker->pending.on);
	write_policy(f, open_policy);
	good(f, "apply", terms("no_confirm", NULL));
	good(f, "mode", json_pack("{s:s}", "mode", "detect"));
	write_policy(f, closed_policy);
	good(f, "apply", terms(NULL, NULL));
	bad(f, "mode", json_pack("{s:s, s:b}", "mode", "prevent", "no_confirm", 1), "cut your session");
	j = json_pack("{s:s, s:b, s:b}", "mode", "prevent", "no_confirm", 1, "force", 1);
	good(f, "mode", j);
}

static void from_the_network_it_waits(void **state)
{
	struct fixture *f = *state;

	begin(f, open_policy);
	bad(f, "apply", terms(NULL, NULL), "not at a terminal");
	good(f, "apply", terms("terminal", NULL));
	assert_true(f->worker->pending.on);
	assert_int_equal(f->worker->pending.span, 120);
	good(f, "confirm", NULL);
	f->helper->n_sessions = 0;
	good(f, "apply", terms(NULL, NULL));
	assert_false(f->worker->pending.on);
	f->helper->n_sessions = -EPIPE;
	bad(f, "apply", terms("no_confirm", NULL), "cannot tell over which connection");
	good(f, "apply", terms("no_confirm", "force"));
}

static void the_failsafe_lets_him_in(void **state)
{
	struct fixture *f = *state;
	json_t *j;

	begin(f, open_policy);
	f->helper->ssh_addr = "10.0.0.5";
	write_policy(f, HEAD);
	j = ask(f, "apply", terms("no_confirm", NULL));
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(j, "result"), "session")),
		"your session (ssh from 10.0.0.5) stays; a new login from there would be allowed by failsafe 'sshd'");
	json_decref(j);
}

static void the_interface_he_came_by_counts(void **state)
{
	struct fixture *f = *state;

	begin(f, open_policy);
	write_policy(f, HEAD NO_SSHD "rules:\n  - { name: ssh, action: allow, in_interface: eth0, ports: 22 }\n");
	good(f, "apply", terms("no_confirm", NULL)); /* not known: eth0 may be it */
	write_policy(f, HEAD NO_SSHD "rules:\n  - { name: ssh, action: allow, in_interface: eth9, ports: 22 }\n");
	bad(f, "apply", terms("no_confirm", NULL), "cut your session");
	flow(f, &f->helper->sessions[0].t, 1);
	write_policy(f, HEAD NO_SSHD "rules:\n  - { name: ssh, action: allow, in_interface: eth0, ports: 22 }\n");
	good(f, "apply", terms("no_confirm", NULL));
}

static void edits_are_looked_at_too(void **state)
{
	struct fixture *f = *state;
	json_t *drop = json_pack("{s:{s:s, s:i}}", "rule", "action", "drop", "ports", 22);

	begin(f, HEAD NO_SSHD "sets: { us: { addresses: [10.0.0.0/24] } }\nrules:\n"
			      "  - { name: ssh, action: allow, from: $us, ports: 22 }\n");
	bad(f, "rule add", json_incref(drop), "cut your session");
	bad(f, "ban add", json_pack("{s:s}", "address", "10.0.0.0/16"), "cut your session (ssh from 10.0.0.5): ban");
	bad(f, "set remove", json_pack("{s:s, s:s}", "set", "us", "element", "10.0.0.0/24"), "default inbound");
	assert_int_equal(f->worker->overlay.list.n_rules + f->worker->overlay.list.n_edits + f->worker->bans.n, 0);
	good(f, "ban add", json_pack("{s:s}", "address", "10.7.0.0/16"));
	good(f, "rule add", json_pack("{s:{s:s, s:i}}", "rule", "action", "allow", "ports", 22));
	good(f, "set remove", json_pack("{s:s, s:s}", "set", "us", "element", "10.0.0.0/24"));
	bad(f, "rule delete", json_pack("{s:s}", "id", "1"), "cut your session");
	bad(f, "rule clear", NULL, "cut your session");
	json_object_set_new(drop, "force", json_true());
	good(f, "rule add", drop);
}

/* An edit while a change waits: what comes back must not cut him off either. */
static void edits_are_looked_at_both_ways(void **state)
{
	struct fixture *f = *state;

	begin(f, HEAD NO_SSHD "sets: { us: { addresses: [10.0.0.0/24] } }\nrules:\n"
			      "  - { name: ssh, action: allow, from: $us, ports: 22 }\n");
	write_policy(f, HEAD NO_SSHD
		     "sets: { us: { addresses: [10.0.0.0/24] } }\nrules:\n"
		     "  - { name: ssh, action: allow, ports: 22 }\n  - { name: us, action: allow, from: $us }\n");
	good(f, "apply", json_pack("{s:i, s:b}", "confirm", 60, "console", 1));
	bad(f, "set remove", json_pack("{s:s, s:s}", "set", "us", "element", "10.0.0.0/24"), "cut your session");
	assert_int_equal(f->worker->overlay.list.n_edits, 0);
}

static void confirm_tells_of_a_new_login(void **state)
{
	static const char *const words[] = { "none", "none", "none", "elsewhere", "here" };
	struct fixture *f = *state;
	struct weir_tuple t;
	json_t *j;

	begin(f, open_policy);
	for (int i = 0; i < 5; i++) {
		t = f->helper->sessions[0].t;
		t.sport = (uint16_t)(52000 + i);
		good(f, "apply", terms("terminal", NULL));
		if (i == 2)
			t.dport = 80; /* no management */
		if (i == 3)
			address(t.src, 10, 0, 0, 6);
		if (i)
			flow(f, &t, i == 1 ? 1 : weir_kern_now());
		j = ask(f, "confirm", NULL);
		assert_string_equal(json_string_value(json_object_get(json_object_get(j, "result"), "new_login")),
				    words[i]);
		json_decref(j);
	}
}

static void kill_ends_what_is_denied_once_it_is_final(void **state)
{
	struct fixture *f = *state;
	struct weir_tuple t;
	json_t *j;

	begin(f, open_policy);
	f->helper->kill_result = 2;
	t = f->helper->sessions[0].t;
	flow(f, &t, 1); /* stays */
	for (int i = 0; i < 120; i++) {
		t.dport = 80;
		t.sport = (uint16_t)(40000 + i);
		flow(f, &t, 1);
	}
	f->helper->n_sessions = 0;
	write_policy(f, HEAD NO_SSHD
		     "flows: { established: kill }\nrules:\n  - { name: ssh, action: allow, ports: 22 }\n");
	good(f, "apply", json_pack("{s:i, s:b}", "confirm", 60, "console", 1));
	assert_int_equal(f->helper->n_killed, 0);
	j = ask(f, "confirm", NULL);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "result"), "killed")), 120);
	json_decref(j);
	assert_int_equal(f->helper->n_killed, 120);
	assert_int_equal(f->helper->killed[0].t.dport, 80);
	assert_int_equal(f->helper->killed[0].dir, WEIR_DIR_IN);
	f->helper->n_killed = 0;
	good(f, "mode", json_pack("{s:s}", "mode", "detect"));
	assert_int_equal(f->helper->n_killed, 0);
	good(f, "mode", json_pack("{s:s}", "mode", "prevent"));
	assert_int_equal(f->helper->n_killed, 120);
}

static void kill_spares_what_nobody_knows(void **state)
{
	struct fixture *f = *state;
	struct weir_tuple t;
	const char *rules =
		"rules:\n  - { name: marked, action: allow, mark: 7 }\n  - { name: ssh, action: allow, ports: 22 }\n";
	char policy[600];

	begin(f, open_policy);
	f->helper->kill_result = 1;
	f->helper->n_sessions = 0;
	t = f->helper->sessions[0].t;
	t.dport = 80;
	flow(f, &t, 1);
	for (int i = 0; i < 2; i++) {
		snprintf(policy, sizeof policy, HEAD NO_SSHD "flows: { established: kill, recheck_unknown: %s }\n%s",
			 i ? "drop" : "keep", rules);
		write_policy(f, policy);
		good(f, "apply", terms(NULL, NULL));
		assert_int_equal(f->helper->n_killed, i);
	}
}

/* A mark, as a MAC address, is not known of a conversation that lives: what the kernel does then is what is told. */
static void a_mark_nobody_kept(void **state)
{
	struct fixture *f = *state;
	char policy[400];

	begin(f, open_policy);
	for (int i = 0; i < 2; i++) {
		snprintf(policy, sizeof policy,
			 HEAD NO_SSHD "flows: { recheck_unknown: %s }\n"
				      "rules:\n  - { name: ssh, action: allow, ports: 22 }\n",
			 i ? "drop" : "keep");
		write_policy(f, policy);
		good(f, "apply", terms("no_confirm", NULL));
		if (i)
			bad(f, "rule add", json_pack("{s:{s:s, s:i}}", "rule", "action", "drop", "mark", 7),
			    "cut your session");
		else
			good(f, "rule add", json_pack("{s:{s:s, s:i}}", "rule", "action", "drop", "mark", 7));
		bad(f, "rule add", json_pack("{s:{s:s, s:s}}", "rule", "action", "drop", "mac", "02:00:00:00:00:09"),
		    i ? "cut your session" : "a new connection from there to port 22 would be denied");
		good(f, "rule clear", NULL);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_address_of_a_list_that_cuts_oneself_off),
		T(who_would_cut_himself_off_is_refused),
		T(an_allow_of_some_hours_does_not_count),
		T(nobody_is_locked_out_where_nothing_is_blocked),
		T(from_the_network_it_waits),
		T(the_failsafe_lets_him_in),
		T(the_interface_he_came_by_counts),
		T(edits_are_looked_at_too),
		T(edits_are_looked_at_both_ways),
		T(confirm_tells_of_a_new_login),
		T(kill_ends_what_is_denied_once_it_is_final),
		T(kill_spares_what_nobody_knows),
		T(a_mark_nobody_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
