/* SPDX-License-Identifier: Apache-2.0 */
/* Files of addresses that change while they are in force. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/worker/test_listed.h"
#include "lib/state/file.h"

/* What only blocklists name changes at once, with the programs that are there; a broken file changes nothing. */
static void lists_follow_their_files(void **state)
{
	struct fixture *f = *state;
	uint32_t installs;
	char path[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, "192.0.2.1\n");
	write_policy(f, "version: 1\nmode: prevent\nsets: { bad: { addresses: { file: ips.txt } }, ours: { addresses: "
			"10.0.0.1 }, theirs: { addresses: 10.0.0.9 } }\n"
			"blocklists: [$bad]\nblocklist_except: 192.0.2.9\n"
			"rules: [ { name: ours, action: allow, from: $ours } ]\n");
	start(f, NULL);
	good(f, "rule add", json_pack("{s:{s:s, s:s}}", "rule", "action", "drop", "from", "$theirs"));
	installs = fake(f)->installs;
	ticks(f, 3);
	assert_true(listed(f, 1) && !listed(f, 2));
	test_file(path, "192.0.2.1\n192.0.2.2 # new\n192.0.2.9\n");
	ticks(f, 1);
	assert_false(listed(f, 2)); /* somebody may still be writing */
	ticks(f, 1);
	assert_true(listed(f, 1) && listed(f, 2) && !listed(f, 9));
	good(f, "set add", json_pack("{s:s, s:s}", "set", "bad", "element", "192.0.2.3"));
	assert_true(listed(f, 3));
	assert_int_equal(fake(f)->lines, 2); /* and nothing was compiled for it, nor for the file */
	assert_int_equal(fake(f)->blocks, 0);
	assert_int_equal(fake(f)->installs, installs);
	good(f, "set add", json_pack("{s:s, s:s}", "set", "theirs", "element", "10.0.0.5")); /* a rule names it: that is known still */
	assert_int_equal(fake(f)->installs, ++installs);
	test_file(path, "192.0.2.1\n192.0.2.300\n");
	ticks(f, 3);
	assert_true(listed(f, 2) && listed(f, 3));
	degraded(f, "ips.txt:2: bad address '192.0.2.300'");
	test_file(path, "# the download failed\n");
	ticks(f, 3);
	assert_true(listed(f, 2));
	degraded(f, "ips.txt holds no address any more: weir apply takes it");
	assert_int_equal(unlink(path), 0);
	ticks(f, 3);
	assert_true(listed(f, 2));
	degraded(f, "cannot read");
	test_file(path, "192.0.2.4\n");
	ticks(f, 3);
	assert_true(!listed(f, 2) && listed(f, 3) && listed(f, 4));
	degraded(f, NULL);
	assert_int_equal(fake(f)->installs, installs);
	assert_int_equal(f->worker->generation, 1);
	test_file(path, "");
	good(f, "apply", NULL);
	ticks(f, 1);
	assert_true(!listed(f, 4) && listed(f, 3));
	degraded(f, NULL);
	end(f, false); /* and it is kept so */
	start(f, NULL);
	assert_true(!listed(f, 4) && listed(f, 3));
	degraded(f, NULL);
	installs = fake(f)->installs;
	good(f, "set add",
	     json_pack("{s:s, s:s}", "set", "ours", "element", "10.0.0.2")); /* a list of rules: more than that */
	assert_int_equal(fake(f)->installs, installs + 1);
}

/* A file that somebody writes to all the time, as one that bans in an attack, is not waited for without end. */
static void lists_that_never_rest(void **state)
{
	struct fixture *f = *state;
	uint32_t at[2] = { 0 };
	char path[320], text[2048] = "192.0.2.1\n";

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, text);
	write_policy(
		f, "version: 1\nmode: prevent\nsets: { bad: { addresses: { file: ips.txt } } }\nblocklists: [$bad]\n");
	start(f, NULL);
	ticks(f, 3);
	for (uint32_t i = 2; i < 40; i++) {
		snprintf(text + strlen(text), sizeof text - strlen(text), "192.0.2.%u\n", i);
		test_file(path, text);
		ticks(f, 1);
		if (!at[0] && listed(f, 2))
			at[0] = i;
		if (!at[1] && listed(f, 20))
			at[1] = i;
	}
	assert_in_range(at[0], 10, 13);
	assert_in_range(at[1], 20, 33);
}

/* A list of rules is read again, too, whatever became of an included file: that waits for somebody who applies it. */
static void lists_of_rules_follow_as_well(void **state)
{
	struct fixture *f = *state;
	char list[320], part[320];
	uint32_t installs;

	snprintf(list, sizeof list, "%s/ips.txt", f->etc);
	snprintf(part, sizeof part, "%s/part.yaml", f->etc);
	test_file(list, "192.0.2.1\n");
	test_file(part, "rules: [ { name: b, action: allow, ports: 80 } ]\n");
	write_policy(f,
		     "version: 1\nmode: prevent\ninclude: part.yaml\nsets: { ours: { addresses: { file: ips.txt } } }\n"
		     "rules: [ { name: a, action: allow, from: $ours } ]\n");
	start(f, NULL);
	installs = fake(f)->installs;
	test_file(list, "192.0.2.1\n192.0.2.7\n");
	ticks(f, 2);
	assert_int_equal(fake(f)->installs, installs + 1);
	assert_int_equal(fake(f)->blocks, 0);
	test_file(part, "rules: [ { name: b, action: allow, ports: 81 } ]\n");
	test_file(list, "192.0.2.1\n");
	ticks(f, 3);
	assert_int_equal(fake(f)->installs, installs + 2);
	assert_int_equal(weir_img_rule(&f->worker->img, 0, WEIR_LATE_MAX + 1)->pos.ports.lo, 80);
	degraded(f, NULL);
	test_file(part, "rules: [ { name: b\n");
	test_file(list, "192.0.2.2\n");
	ticks(f, 3);
	assert_int_equal(fake(f)->installs, installs + 3);
	degraded(f, NULL);
	test_file(part, "rules: [ { name: b, action: allow, ports: 81 } ]\n");
	good(f, "apply", NULL);
	ticks(f, 1);
	assert_int_equal(weir_img_rule(&f->worker->img, 0, WEIR_LATE_MAX + 1)->pos.ports.lo, 81);
	degraded(f, NULL);
}

/* What hindered it and is not in the file: it is tried again, and less and less often. */
static void what_passes_is_tried_again(void **state)
{
	struct fixture *f = *state;
	uint32_t installs;
	char path[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, "192.0.2.1\n");
	write_policy(f, "version: 1\nmode: prevent\nsets: { ours: { addresses: { file: ips.txt } } }\n"
			"rules: [ { name: a, action: allow, from: $ours } ]\n");
	start(f, NULL);
	ticks(f, 1);
	installs = fake(f)->installs;
	test_file(path, "192.0.2.1\n192.0.2.7\n");
	for (int wait = 60; wait < 300; wait *= 2) { /* the reason tells which try it was */
		fake(f)->fail_install = wait == 60 ? -EIO : wait == 120 ? -ENOMEM : -EPERM;
		ticks(f, wait == 60 ? 3 : 2);
		degraded(f, strerror(-fake(f)->fail_install));
		fake(f)->fail_install = -ENOSPC;
		ticks(f, wait - 2);
		degraded(f, strerror(wait == 60 ? EIO : wait == 120 ? ENOMEM : EPERM));
	}
	fake(f)->fail_install = 0;
	ticks(f, 3);
	assert_int_equal(fake(f)->installs, installs + 1);
	degraded(f, NULL);
	ticks(f, 300);
	assert_int_equal(fake(f)->installs, installs + 1);
}

static size_t edits(const struct fixture *f)
{
	return f->worker->overlay.list.n_edits;
}

/* What takes an edit back leaves no other edit behind, and reset forgets them. */
static void edits_are_taken_back(void **state)
{
	struct fixture *f = *state;
	char path[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, "192.0.2.1\n192.0.2.2\n");
	write_policy(
		f, "version: 1\nmode: prevent\nsets: { bad: { addresses: { file: ips.txt } } }\nblocklists: [$bad]\n");
	start(f, NULL);
	ticks(f, 1);
	good(f, "set add", edit("192.0.2.7"));
	assert_true(listed(f, 7));
	good(f, "set remove", edit("192.0.2.7"));
	assert_false(listed(f, 7));
	assert_int_equal(edits(f), 0);
	test_file(path, "192.0.2.1\n192.0.2.2\n192.0.2.7\n");
	ticks(f, 3);
	assert_true(listed(f, 7)); /* the file counts */
	good(f, "set remove", edit("192.0.2.7"));
	assert_false(listed(f, 7));
	good(f, "set add", edit("192.0.2.7"));
	assert_true(listed(f, 7));
	assert_int_equal(edits(f), 0);

	good(f, "set add", edit("192.0.2.0/28"));
	assert_true(listed(f, 9));
	bad(f, "set remove", edit("192.0.2.0/28"), "weir set reset bad 192.0.2.0/28");
	assert_true(listed(f, 1) && listed(f, 9));
	good(f, "set reset", edit("192.0.2.0/28"));
	assert_true(listed(f, 1) && !listed(f, 9));
	assert_int_equal(edits(f), 0);

	good(f, "set add", edit("192.0.2.1")); /* it is there: what takes it out must take it out */
	good(f, "set remove", edit("192.0.2.1"));
	assert_false(listed(f, 1));
	good(f, "set add", edit("192.0.2.9"));
	good(f, "set reset", json_pack("{s:s}", "set", "bad"));
	assert_true(listed(f, 1) && !listed(f, 9));
	assert_int_equal(edits(f), 0);
	bad(f, "set reset", json_pack("{s:s}", "set", "bad"), "no edit of $bad is kept");

	/* several: all of them, or none */
	good(f, "set add",
	     json_pack("{s:s, s:[sss]}", "set", "bad", "elements", "192.0.2.10", "192.0.2.11", "192.0.2.10"));
	assert_true(listed(f, 10) && listed(f, 11));
	assert_int_equal(edits(f), 2);
	bad(f, "set add",
	    json_pack("{s:s, s:[sss]}", "set", "bad", "elements", "192.0.2.12", "192.0.2.300", "192.0.2.13"),
	    "192.0.2.300");
	assert_false(listed(f, 12) || listed(f, 13));
	bad(f, "set add", json_pack("{s:s, s:[ss]}", "set", "bad", "elements", "192.0.2.10", "192.0.2.11"),
	    "nothing of that changes $bad");
	good(f, "set remove", json_pack("{s:s, s:[ss]}", "set", "bad", "elements", "192.0.2.10", "192.0.2.99"));
	assert_true(!listed(f, 10) && listed(f, 11));
	bad(f, "set add", json_pack("{s:s, s:[si]}", "set", "bad", "elements", "192.0.2.12", 7),
	    "an element is a string");
	bad(f, "set add", json_pack("{s:s, s:[]}", "set", "bad", "elements"), "either 'element' or 'elements'");
	bad(f, "set add", json_pack("{s:s}", "set", "bad"), "either 'element' or 'elements'");
}

static json_t *several(const char *a, const char *b, const char *c)
{
	return json_pack("{s:s, s:[sss]}", "set", "bad", "elements", a, b, c);
}

static json_int_t answer(struct fixture *f, const char *verb, json_t *args, const char *field)
{
	json_t *j = ask(f, verb, args);
	json_int_t n = json_integer_value(json_object_get(json_object_get(j, "result"), field));

	if (!json_is_true(json_object_get(j, "ok")))
		fail_msg("%s: %s", verb, json_dumps(j, 0));
	json_decref(j);
	return n;
}

static void bad_list(struct fixture *f, const char *text)
{
	char path[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, text);
	write_policy(
		f, "version: 1\nmode: prevent\nsets: { bad: { addresses: { file: ips.txt } } }\nblocklists: [$bad]\n");
	start(f, NULL);
	ticks(f, 1);
}

/* One that is named twice is meant once: no edit is left that would defeat the file later. */
static void an_element_named_twice(void **state)
{
	struct fixture *f = *state;

	bad_list(f, "192.0.2.1\n");
	good(f, "set add", edit("192.0.2.20"));
	assert_int_equal(answer(f, "set remove", several("192.0.2.20", "192.0.2.20", "192.0.2.20"), "named"), 1);
	assert_false(listed(f, 20));
	assert_int_equal(edits(f), 0);
	assert_int_equal(answer(f, "set add", several("192.0.2.20", "192.0.2.21", "192.0.2.20"), "changed"), 2);
	bad(f, "set add", several("192.0.2.20", "192.0.2.20", "192.0.2.20"), "192.0.2.20 was added to $bad already");
}

static bool listed6(struct fixture *f)
{
	uint8_t addr[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };

	return weir_block_find(&f->worker->img, addr);
}

/* However it is written, it is one element; also for reset. */
static void an_element_has_many_forms(void **state)
{
	struct fixture *f = *state;

	bad_list(f, "198.51.100.1\n");
	good(f, "set add", edit("192.0.2.7"));
	good(f, "set remove", edit("192.0.2.7/32"));
	assert_int_equal(edits(f), 0);
	good(f, "set add", edit("192.0.2.7-192.0.2.7"));
	assert_true(listed(f, 7));
	bad(f, "set add", edit("192.0.2.7/32"), "192.0.2.7 was added to $bad already");
	good(f, "set add", edit("2001:DB8::1"));
	good(f, "set remove", edit("2001:db8:0::1"));
	assert_false(listed6(f));
	good(f, "set add", edit("2001:DB8::1"));
	assert_true(listed6(f));
	good(f, "set remove", several("2001:db8::1", "2001:DB8::1", "192.0.2.7/32"));
	assert_false(listed6(f) || listed(f, 7));
	assert_int_equal(edits(f), 0);
	good(f, "set add", edit("192.0.2.8-192.0.2.9"));
	assert_true(listed(f, 9));
	good(f, "set reset", edit("192.0.2.8/31"));
	assert_false(listed(f, 9));
	bad(f, "set reset", edit("192.0.2.8-"), "no edit of 192.0.2.8- in $bad is kept");
	good(f, "set remove", edit("::/0"));
	bad(f, "set remove", edit("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "already"); /* IPv4 is not meant */
}

/* Already said is what is so: not what an edit of other addresses was laid over. And nothing is compiled for it. */
static void the_later_word_counts(void **state)
{
	struct fixture *f = *state;
	uint32_t installs;

	bad_list(f, "192.0.2.200\n");
	installs = fake(f)->installs;
	good(f, "set add", edit("192.0.2.0/24"));
	good(f, "set remove", edit("192.0.2.5"));
	good(f, "set add", edit("192.0.2.0/24"));
	assert_true(listed(f, 5) && listed(f, 6));
	bad(f, "set add", edit("192.0.2.0/24"), "already");
	assert_int_equal(edits(f), 2);
	good(f, "set remove", edit("192.0.2.5"));
	assert_false(listed(f, 5));
	assert_int_equal(answer(f, "set add", several("192.0.2.0/24", "198.51.100.7", "192.0.2.5"), "changed"), 3);
	assert_true(listed(f, 5));
	good(f, "set reset", json_pack("{s:s}", "set", "bad"));
	good(f, "set remove", edit("192.0.2.0/24"));
	good(f, "set add", several("192.0.2.1", "192.0.2.2", "192.0.2.200"));
	assert_true(listed(f, 1) && listed(f, 200));
	assert_int_equal(answer(f, "set remove", several("192.0.2.0/24", "198.51.100.7", "198.51.100.8"), "changed"), 3);
	assert_false(listed(f, 1) || listed(f, 200));
	bad(f, "set remove", edit("192.0.2.0/24"), "already");
	bad(f, "set remove", several("192.0.2.0/24", "198.51.100.7", "198.51.100.8"), "nothing of that changes $bad");
	assert_int_equal(fake(f)->installs, installs);
	assert_int_equal(fake(f)->blocks, 0);
	end(f, false);
	start(f, NULL);
	assert_false(listed(f, 1) || listed(f, 200));
	bad(f, "set remove", edit("192.0.2.0/24"), "already");
	good(f, "set reset", json_pack("{s:s}", "set", "bad"));
	assert_true(!listed(f, 1) && listed(f, 200));
}

/* What is taken out and was nowhere is told from what was there, and stays out when a file lists it later. */
static void what_the_set_does_not_hold(void **state)
{
	struct fixture *f = *state;
	char path[320];

	bad_list(f, "192.0.2.1\n192.0.2.2\n192.0.2.64/27\n");
	assert_int_equal(answer(f, "set remove", edit("192.0.2.9"), "absent"), 1);
	bad(f, "set remove", edit("192.0.2.9"), "already");
	assert_int_equal(answer(f, "set remove", edit("192.0.2.1"), "absent"), 0);
	good(f, "set add", edit("192.0.2.7"));
	assert_int_equal(answer(f, "set remove", edit("192.0.2.7"), "absent"), 0); /* taken back */
	assert_int_equal(answer(f, "set remove", edit("192.0.2.0/26"), "absent"), 0); /* a part */
	assert_int_equal(answer(f, "set remove", several("192.0.2.2", "192.0.2.70", "192.0.2.128"), "absent"), 2);
	good(f, "set add", edit("192.0.2.2"));
	assert_true(listed(f, 2));
	assert_int_equal(answer(f, "set remove", several("192.0.2.2", "192.0.2.129", "192.0.2.128"), "absent"), 1);
	good(f, "set add", edit("192.0.2.11"));
	assert_int_equal(answer(f, "set add", edit("192.0.2.10"), "absent"), 0);
	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, "192.0.2.1\n192.0.2.9\n192.0.2.129\n192.0.2.130\n");
	ticks(f, 3);
	assert_true(listed(f, 130) && !listed(f, 9) && !listed(f, 129));
}

/* Of as many edits as may be kept, many are taken back at once: in one pass. */
static void many_edits_are_taken_back(void **state)
{
	enum { SOME = 16000 };
	struct fixture *f = *state;
	json_t *list[4];

	bad_list(f, "192.0.2.1\n");
	for (int k = 0; k < 4; k++) {
		list[k] = json_array();
		for (int i = 0; i < SOME; i++) {
			char text[16];

			snprintf(text, sizeof text, "10.%d.%d.%d", k, i >> 7, (i & 127) * 2);
			json_array_append_new(list[k], json_string(text));
		}
		good(f, "set add", json_pack("{s:s, s:O}", "set", "bad", "elements", list[k]));
	}
	good(f, "set remove", json_pack("{s:s, s:O}", "set", "bad", "elements", list[3]));
	assert_int_equal(edits(f), 3 * SOME);
	for (int k = 0; k < 4; k++)
		json_decref(list[k]);
}

#define PLAIN                                                                                              \
	"version: 1\nmode: prevent\nsets: { bad: { addresses: { file: ips.txt } } }\nblocklists: [$bad]\n" \
	"rules: [ { name: web, action: allow, ports: 80 } ]\n"

static void again(struct fixture *f)
{
	end(f, false);
	start(f, NULL);
}

/* A start that finds a file broken, gone or empty goes on with what it held; once it is sound it counts by itself. */
static void a_start_keeps_what_was_in_force(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = { { "192.0.2.1\n192.0.2.300\n", "ips.txt:2: bad address '192.0.2.300'" },
		    { NULL, "cannot read" },
		    { "# nothing\n", "ips.txt holds no address any more" } };
	struct fixture *f = *state;
	char path[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	test_file(path, "192.0.2.1\n");
	write_policy(f, PLAIN);
	start(f, NULL);
	ticks(f, 1);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		if (bad[i].text)
			test_file(path, bad[i].text);
		else
			assert_int_equal(unlink(path), 0);
		again(f);
		assert_true(listed(f, 1));
		assert_int_equal(f->worker->generation, 1);
		assert_int_equal(weir_img_rule_count(&f->worker->img), 1);
		degraded(f, bad[i].why);
		ticks(f, 3);
		degraded(f, bad[i].why);
		again(f);
		assert_true(listed(f, 1));
		degraded(f, bad[i].why);
		test_file(path, i % 2 ? "192.0.2.1\n192.0.2.2\n" : "192.0.2.1\n");
		ticks(f, 3);
		assert_true(listed(f, 1) && listed(f, 2) == (i % 2 != 0));
		degraded(f, NULL);
	}
}

/* What two workers died of is not read by the third; a file that changes is a new one. */
static void a_list_that_kills(void **state)
{
	struct weir_worker_options o = { .cause = "signal 9, Killed" };
	struct fixture *f = *state;
	char path[320], note[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	snprintf(note, sizeof note, "%s/lists-reading", f->state);
	test_file(path, "192.0.2.1\n");
	write_policy(f, PLAIN);
	start(f, NULL);
	assert_int_equal(access(note, F_OK), -1);
	ticks(f, 1);
	for (int deaths = 1; deaths < 4; deaths++) {
		char text[8];

		test_file(path, "192.0.2.1\n192.0.2.2\n");
		end(f, false);
		snprintf(text, sizeof text, "%d\n", deaths);
		assert_int_equal(weir_state_replace(f->state, "lists-reading", text, strlen(text)), 0);
		start(f, &o);
		assert_int_equal(access(note, F_OK), -1);
		assert_true(listed(f, 1) && listed(f, 2) == (deaths < 2));
		degraded(f, deaths < 2 ? NULL : "workers ended while they read it (signal 9, Killed)");
		ticks(f, 3);
		assert_true(listed(f, 2) == (deaths < 2));
		test_file(path, "192.0.2.1\n192.0.2.3\n");
		ticks(f, 3);
		assert_true(listed(f, 3) && !listed(f, 2));
		degraded(f, NULL);
		ticks(f, 1);
	}
}

static void copies_remove(struct fixture *f, bool damage)
{
	struct dirent *e;
	DIR *d = opendir(f->state);
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d))) {
		if (strncmp(e->d_name, "list-", 5))
			continue;
		n++;
		assert_int_equal(damage ? weir_state_replace(f->state, e->d_name, "WERLIST1 damaged", 16)
					: unlinkat(dirfd(d), e->d_name, 0),
				 0);
	}
	closedir(d);
	assert_int_equal(n, 1);
}

/* Without a copy the rest of the policy goes on; who names a file, or begins with it, is told its mistakes. */
static void a_start_without_a_copy(void **state)
{
	struct fixture *f = *state;
	char path[320];

	snprintf(path, sizeof path, "%s/ips.txt", f->etc);
	for (int damage = 0; damage < 2; damage++) {
		test_file(path, "192.0.2.1\n");
		write_policy(f, PLAIN);
		start(f, NULL);
		ticks(f, 1);
		copies_remove(f, damage);
		test_file(path, "192.0.2.1\n?\n");
		again(f);
		assert_false(listed(f, 1));
		assert_int_equal(weir_img_rule_count(&f->worker->img), 1);
		degraded(f, "ips.txt:2: ");
		degraded(f, "no copy is kept, it counts as empty");
		test_file(path, "192.0.2.1\n");
		ticks(f, 3);
		assert_true(listed(f, 1));
		degraded(f, NULL);
		end(f, false);
	}
	start(f, NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void a_set_of_exceptions_is_listed(void **state)
{
	struct fixture *f = *state;
	json_t *j;
	char *text;

	write_policy(f, "version: 1\nmode: prevent\nsets: { bad: { addresses: 192.0.2.0/24 }, fine: { addresses: "
			"[192.0.2.7, 192.0.2.9] } }\nblocklists: $bad\nblocklist_except: [192.0.2.8, $fine]\nrules: []\n");
	start(f, NULL);
	j = ask(f, "set list", NULL);
	text = json_dumps(j, JSON_COMPACT);
	assert_non_null(strstr(text, "{\"set\":\"fine\",\"ranges\":2}"));
	free(text);
	json_decref(j);
	j = ask(f, "set list", json_pack("{s:s}", "set", "fine"));
	text = json_dumps(j, JSON_COMPACT);
	assert_non_null(strstr(text, "\"elements\":[\"192.0.2.7\",\"192.0.2.9\"]"));
	free(text);
	json_decref(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lists_follow_their_files),   T(lists_that_never_rest), T(lists_of_rules_follow_as_well),
		T(what_passes_is_tried_again), T(edits_are_taken_back),	 T(a_start_keeps_what_was_in_force),
		T(a_start_without_a_copy),     T(a_list_that_kills),	T(an_element_named_twice),
		T(many_edits_are_taken_back),  T(a_set_of_exceptions_is_listed),
		T(an_element_has_many_forms),  T(the_later_word_counts),	T(what_the_set_does_not_hold),
	};

	return cmocka_run_group_tests_name("lists", tests, NULL, NULL);
}
