/* SPDX-License-Identifier: Apache-2.0 */
/* Edits of sets put into an image in force: it then holds what one compiled with them holds. */
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

#include "core/draw.h"
#include "core/image_blob.h"
#include "lib/policy/late.h"

#define EDITS 24

static uint64_t seed = 88172645463325252u;
static struct weir_arena arena;

static const char text[] =
	"version: 1\nmode: prevent\n"
	"sets:\n"
	"  bad: { addresses: [10.0.0.0/26, 10.0.0.70, 10.0.0.72, 2001:db8::/126, 2001:db8::9, 255.255.255.250-255.255.255.255] }\n"
	"  worse: { addresses: [10.0.0.60-10.0.0.80, 10.0.1.1, 2001:db8::2-2001:db8::6, 0.0.0.0/30] }\n"
	"  good: { addresses: [10.0.0.64-10.0.0.71, 2001:db8::3] }\n"
	"  idle: { addresses: 10.9.9.9 }\n"
	"  ours: { addresses: 10.0.0.0/24 }\n"
	"blocklists: [$bad, $worse]\n"
	"blocklist_except: [$good, 10.0.0.1]\n"
	"rules: [ { name: ours, action: allow, direction: inbound, from: $ours } ]\n";

/* What `weir set` keeps: an edit of the same element goes, the new one stands last. */
struct edits {
	struct weir_set_edit v[EDITS];
	char element[EDITS][80];
	size_t n;
};

static struct weir_overlay overlay_of(struct edits *e)
{
	for (size_t i = 0; i < e->n; i++)
		e->v[i].element = e->element[i];
	return (struct weir_overlay){ .edits = e->v, .n_edits = e->n };
}

static void forget(struct edits *e, size_t at)
{
	e->n--;
	memmove(&e->v[at], &e->v[at + 1], (e->n - at) * sizeof *e->v);
	memmove(e->element[at], e->element[at + 1], (e->n - at) * sizeof *e->element);
}

static void note(struct edits *e, const char *set, const char *element, bool remove)
{
	for (size_t i = 0; i < e->n; i++)
		if (!strcmp(e->v[i].set, set) && !strcmp(e->element[i], element)) {
			forget(e, i);
			break;
		}
	if (e->n == EDITS)
		return;
	snprintf(e->element[e->n], sizeof *e->element, "%s", element);
	e->v[e->n++] = (struct weir_set_edit){ .set = (char *)set, .remove = remove };
}

static void random_edit(struct edits *e)
{
	static const char *const sets[] = { "bad", "worse", "good", "idle", "gone" };
	uint32_t at = weir_draw_below(&seed, 90), n = weir_draw_below(&seed, 3) ? 0 : weir_draw_below(&seed, 40);
	char element[80];

	if (e->n && !weir_draw_below(&seed, 4)) {
		forget(e, weir_draw_below(&seed, (uint32_t)e->n));
		return;
	}
	if (e->n && !weir_draw_below(&seed, 4)) { /* said again: it stands last */
		struct weir_set_edit again = e->v[at %= (uint32_t)e->n];

		snprintf(element, sizeof element, "%s", e->element[at]);
		note(e, again.set, element, again.remove);
		return;
	}
	if (weir_draw_below(&seed, 3))
		snprintf(element, sizeof element, n ? "10.0.0.%u-10.0.0.%u" : "10.0.0.%u", at, at + n);
	else if (weir_draw_below(&seed, 6))
		snprintf(element, sizeof element, n ? "2001:db8::%x-2001:db8::%x" : "2001:db8::%x", at % 16, at % 16 + n);
	else
		snprintf(element, sizeof element, "%s", weir_draw_below(&seed, 2) ? "0.0.0.0-0.0.0.9" : "2000::/3");
	note(e, sets[weir_draw_below(&seed, 5)], element, weir_draw_below(&seed, 2));
}

static void compile(const struct weir_policy *p, const struct weir_overlay *o, void **ret, uint32_t *ret_size)
{
	struct weir_compile_options opt = { .mode_ceiling = WEIR_PREVENT, .generation = 1, .epoch = 1, .overlay = o };
	struct weir_diags diags = { 0 };

	if (weir_policy_compile(p, &opt, ret, ret_size, &diags))
		fail_msg("%s", diags.n ? diags.v[0].message : "does not compile");
	weir_diags_free(&diags);
}

/* All but how the lines of the blocklists are laid out. */
static void same(const uint8_t *a, const uint8_t *b)
{
	const struct weir_image_header *x = (const void *)a, *y = (const void *)b;
	struct weir_ranges got, want;

	assert_true(weir_block_ok((const void *)(a + x->block.off), x->block.count));
	for (int list = -1; list < 5; list++) {
		got = want = (struct weir_ranges){ 0 };
		assert_int_equal(weir_blocklist_ranges((const void *)(a + x->block.off), x->block.count, list, &arena, &got), 0);
		assert_int_equal(weir_blocklist_ranges((const void *)(b + y->block.off), y->block.count, list, &arena, &want), 0);
		assert_true(weir_ranges_equal(&got, &want));
	}
	assert_int_equal(x->block.off, y->block.off);
	assert_memory_equal(x + 1, y + 1, x->block.off - sizeof *x);
}

static struct weir_policy *policy_of_text(const char *words)
{
	struct weir_diags diags = { 0 };
	struct weir_policy *p;

	if (weir_policy_read_text("policy.yaml", "/", words, strlen(words), &p, &diags))
		fail_msg("%s", diags.n ? diags.v[0].message : "cannot be read");
	weir_diags_free(&diags);
	return p;
}

static struct weir_policy *policy_of(void)
{
	return policy_of_text(text);
}

static void edits_are_what_a_compilation_is(void **unused)
{
	struct weir_policy *p = policy_of();
	uint32_t taken = 0, refused = 0;

	for (uint32_t i = 0; i < 60; i++) {
		struct edits was = { .n = 0 }, now;
		struct weir_overlay o = overlay_of(&was);
		uint32_t size;
		void *blob;

		compile(p, &o, &blob, &size);
		for (uint32_t k = 0; k < 40; k++) {
			struct weir_overlay before = overlay_of(&was), after;
			struct weir_late_sets l;
			void *whole, *copy = malloc(size);
			uint32_t whole_size;
			int err;

			assert_non_null(copy);
			memcpy(copy, blob, size);
			now = was;
			for (uint32_t m = 1 + weir_draw_below(&seed, 4); m; m--)
				random_edit(&now);
			after = overlay_of(&now);
			compile(p, &after, &whole, &whole_size);
			err = weir_late_sets_put(p, &before, &after, blob, &l);
			if (!err) {
				same(blob, whole);
				if (k % 3 == 0) {
					weir_late_sets_undo(blob, &l);
					assert_memory_equal(blob, copy, size);
					weir_late_sets_free(&l);
					assert_int_equal(weir_late_sets_put(p, &before, &after, blob, &l), 0);
				}
				taken++;
				was = now;
			} else {
				assert_int_equal(err, -EAGAIN);
				assert_memory_equal(blob, copy, size);
				refused++;
			}
			weir_late_sets_free(&l);
			free(whole);
			free(copy);
		}
		free(blob);
		weir_arena_reset(&arena);
	}
	print_message("%u taken, %u refused\n", taken, refused);
	assert_true(taken > 2000);
	weir_policy_free(p);
	weir_arena_free(&arena);
}

/* A set that a rule names stands in the rules' own lists, too. */
static void a_set_that_a_rule_names(void **unused)
{
	struct weir_policy *p = policy_of();
	struct edits was = { .n = 0 }, now = { .n = 0 };
	struct weir_overlay before = overlay_of(&was), after;
	struct weir_late_sets l;
	uint32_t size;
	void *blob;

	compile(p, &before, &blob, &size);
	note(&now, "bad", "192.0.2.1", false);
	note(&now, "ours", "192.0.2.1", false);
	after = overlay_of(&now);
	assert_int_equal(weir_late_sets_put(p, &before, &after, blob, &l), -EAGAIN);
	assert_null(l.sets);
	free(blob);
	weir_policy_free(p);
}

/* A rule that is only tried, or does not compile, leaves the set to the blocklists. */
static void a_rule_that_is_refused(void **unused)
{
	static const char one[] = "{\"action\": \"drop\", \"from\": \"$bad\"}";
	struct weir_overlay_rule rules[] = { { .id = 1, .json = (char *)one },
					     { .id = 2, .json = (char *)"{\"action\": \"drop\", \"from\": \"$none\"}" } };
	struct weir_overlay wrong = { .rules = rules, .n_rules = 2 }, after;
	struct weir_policy *p = policy_of();
	struct edits none = { .n = 0 }, now = { .n = 0 };
	struct weir_overlay before = overlay_of(&none);
	struct weir_diags diags = { 0 };
	struct weir_late_sets l;
	uint32_t size;
	void *blob, *other;

	compile(p, &before, &blob, &size);
	assert_int_equal(weir_policy_check_rule(p, one, &diags), 0);
	assert_int_not_equal(weir_policy_compile(p, &(struct weir_compile_options){ .overlay = &wrong }, &other, &size, &diags), 0);
	weir_diags_free(&diags);
	note(&now, "bad", "192.0.2.1", false);
	after = overlay_of(&now);
	assert_int_equal(weir_late_sets_put(p, &before, &after, blob, &l), 0);
	weir_late_sets_free(&l);
	free(blob);
	weir_policy_free(p);
}

/* --- files that change --- */

static char files[2][64]; /* of a blocklist; of one that an exception names, too */

/* Each of some addresses and networks stands in it or does not, at random. */
static void write_file(const char *path)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	for (uint32_t i = 0; i < 90; i++) {
		if (!weir_draw_below(&seed, 3))
			fprintf(f, i % 9 ? "10.0.0.%u\n" : "10.0.0.%u/31\n", i & ~1u);
		if (!weir_draw_below(&seed, 6))
			fprintf(f, i % 9 ? "2001:db8::%x\n" : "2001:db8::%x/127\n", i & ~1u);
	}
	fputs("10.0.2.1\n", f);
	assert_int_equal(fclose(f), 0);
}

static struct weir_policy *again(const struct weir_policy *p)
{
	struct weir_diags diags = { 0 };
	struct weir_policy *now;

	if (weir_policy_again(p, NULL, &now, &diags))
		fail_msg("%s", diags.n ? diags.v[0].message : "cannot be read");
	weir_diags_free(&diags);
	return now;
}

/* Both files, again and again, under some edits; then a file that a rule names, too. */
static void files_are_what_a_compilation_is(void **unused)
{
	struct edits edits = { .n = 0 };
	struct weir_overlay o;
	struct weir_policy *p, *now;
	struct weir_late_sets l;
	char words[600], dir[] = "/tmp/weir-late-XXXXXX";
	uint32_t size, whole_size;
	void *blob, *whole, *copy;

	assert_non_null(mkdtemp(dir));
	for (int i = 0; i < 2; i++) {
		snprintf(files[i], sizeof files[i], "%s/%d.txt", dir, i);
		write_file(files[i]);
	}
	snprintf(words, sizeof words, "version: 1\nmode: prevent\nsets:\n  bad: { addresses: { file: %s } }\n"
		 "  good: { addresses: { file: %s } }\n  worse: { addresses: [10.0.0.60-10.0.0.80, 10.0.1.1] }\n"
		 "  ours: { addresses: { file: %s } }\nblocklists: [$bad, $worse]\nblocklist_except: [$good]\n",
		 files[0], files[1], files[1]);
	p = policy_of_text(words);
	for (int i = 0; i < 20; i++)
		random_edit(&edits);
	o = overlay_of(&edits);
	compile(p, &o, &blob, &size);
	for (int i = 0; i < 300; i++) {
		write_file(files[weir_draw_below(&seed, 2)]);
		now = again(p);
		compile(now, &o, &whole, &whole_size);
		copy = malloc(size);
		assert_non_null(copy);
		memcpy(copy, blob, size);
		if (weir_late_files_put(p, now, &o, blob, &l)) { /* no room: then it is compiled */
			assert_memory_equal(blob, copy, size);
			free(blob);
			blob = whole;
			size = whole_size;
			whole = NULL;
		} else {
			same(blob, whole);
			weir_late_sets_undo(blob, &l);
			assert_memory_equal(blob, copy, size);
			weir_late_sets_free(&l);
			assert_int_equal(weir_late_files_put(p, now, &o, blob, &l), 0);
			weir_late_sets_free(&l);
		}
		free(whole);
		free(copy);
		weir_policy_free(p);
		p = now;
		weir_arena_reset(&arena);
	}
	weir_policy_free(p);
	free(blob);
	strcat(words, "rules: [ { name: ours, action: allow, direction: inbound, from: $ours } ]\n");
	p = policy_of_text(words);
	compile(p, &o, &blob, &size);
	write_file(files[1]);
	now = again(p);
	assert_int_equal(weir_late_files_put(p, now, &o, blob, &l), -EAGAIN);
	weir_policy_free(now);
	weir_policy_free(p);
	free(blob);
	for (int i = 0; i < 2; i++)
		unlink(files[i]);
	rmdir(dir);
	weir_arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edits_are_what_a_compilation_is),
		cmocka_unit_test(a_set_that_a_rule_names),
		cmocka_unit_test(a_rule_that_is_refused),
		cmocka_unit_test(files_are_what_a_compilation_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
