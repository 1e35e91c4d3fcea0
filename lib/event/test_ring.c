/* SPDX-License-Identifier: Apache-2.0 */
/* The reader over a ring that is laid out in a file as the kernel lays out its own; the writer is played here. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/event/ring.h"

#define SIZE 4096u
#define BUSY (1u << 31)
#define DISCARD (1u << 30)

struct ring {
	int fd;
	uint8_t *at; /* reader's page, writer's page, data twice */
	size_t page;
	unsigned long written;
	struct weir_ring_tally tally;
};

static int setup(void **state)
{
	struct ring *r = calloc(1, sizeof *r);

	r->page = (size_t)sysconf(_SC_PAGESIZE);
	r->fd = memfd_create("ring", 0);
	if (r->fd < 0 || ftruncate(r->fd, (off_t)(2 * r->page + 2 * SIZE)))
		return -1;
	r->at = mmap(NULL, 2 * r->page + 2 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	*state = r;
	return r->at == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	struct ring *r = *state;

	munmap(r->at, 2 * r->page + 2 * SIZE);
	close(r->fd);
	free(r);
	return 0;
}

static unsigned long *taken(struct ring *r)
{
	return (unsigned long *)r->at;
}

static void poke(struct ring *r, unsigned long at, const void *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t off = (at + i) & (SIZE - 1);

		r->at[2 * r->page + off] = r->at[2 * r->page + SIZE + off] = ((const uint8_t *)v)[i];
	}
}

/* Returns where its head stands. */
static unsigned long put(struct ring *r, const void *v, uint32_t len, uint32_t flags)
{
	unsigned long at = r->written;
	uint32_t head[2] = { len | flags, 0 };

	poke(r, at, head, sizeof head);
	poke(r, at + 8, v, len);
	r->written += 8 + ((len + 7) & ~7u);
	*(unsigned long *)(r->at + r->page) = r->written;
	return at;
}

struct seen {
	uint32_t n, last_len;
	uint64_t sum, last;
};

static void count(const void *record, uint32_t size, void *data)
{
	struct seen *s = data;

	memcpy(&s->last, record, sizeof s->last);
	s->last_len = size;
	s->sum += s->last;
	s->n++;
}

static struct weir_ring *reader(struct ring *r)
{
	struct weir_ring *w = NULL;

	assert_int_equal(weir_ring_open(dup(r->fd), SIZE, &r->tally, &w), 0);
	return w;
}

static void test_wraps(void **state)
{
	struct ring *r = *state;
	struct weir_ring *w = reader(r);
	struct seen s = { 0 };
	uint64_t want = 0, record[5] = { 0 };

	/* a length that fits no power of two: every place of the border is met */
	for (uint64_t i = 1; i <= 1000; i++) {
		record[0] = i;
		want += i;
		put(r, record, 8 + (uint32_t)(i % 33), 0);
		assert_int_equal(weir_ring_read(w, count, &s), 1);
		assert_int_equal(s.last, i);
		assert_int_equal(s.last_len, 8 + i % 33);
	}
	assert_int_equal(s.sum, want);
	assert_int_equal(*taken(r), r->written);
	weir_ring_free(w);
}

static void test_busy_and_discarded(void **state)
{
	struct ring *r = *state;
	struct weir_ring *w = reader(r);
	uint64_t one = 1, two = 2, three = 3;
	uint32_t done = sizeof two;
	struct seen s = { 0 };
	unsigned long at;

	put(r, &one, sizeof one, DISCARD);
	at = put(r, &two, sizeof two, BUSY);
	put(r, &three, sizeof three, 0);
	assert_int_equal(weir_ring_read(w, count, &s), 0); /* no record overtakes one that is being written */
	assert_int_equal(*taken(r), at);
	poke(r, at, &done, sizeof done);
	assert_int_equal(weir_ring_read(w, count, &s), 2);
	assert_int_equal(s.sum, 5);
	weir_ring_free(w);
}

static void test_goes_on_after_a_dead_reader(void **state)
{
	struct ring *r = *state;
	struct weir_ring *w = reader(r);
	struct seen s = { 0 };

	for (uint64_t i = 1; i <= 3; i++)
		put(r, &i, sizeof i, 0);
	assert_int_equal(weir_ring_read(w, count, &s), 3);
	weir_ring_free(w);
	for (uint64_t i = 4; i <= 5; i++)
		put(r, &i, sizeof i, 0);
	w = reader(r);
	s = (struct seen){ 0 };
	assert_int_equal(weir_ring_read(w, count, &s), 2);
	assert_int_equal(s.sum, 9);
	assert_int_equal(weir_ring_taken(w), 5);
	weir_ring_free(w);
	/* one that died between its note and the position: the note does not count, the record comes again */
	r->tally.slot[r->tally.slot[0].at < r->tally.slot[1].at ? 0 : 1].at = r->written + 16;
	r->tally.slot[0].n += r->tally.slot[0].at == r->written + 16;
	r->tally.slot[1].n = r->tally.slot[1].at == r->written + 16 ? 6 : r->tally.slot[1].n;
	put(r, &(uint64_t){ 6 }, 8, 0);
	w = reader(r);
	assert_int_equal(weir_ring_taken(w), 5);
	assert_int_equal(weir_ring_read(w, count, &s), 1);
	assert_int_equal(weir_ring_taken(w), 6);
	weir_ring_free(w);
}

static void test_refuses_a_size_that_is_none(void **state)
{
	struct ring *r = *state;
	struct weir_ring *w = NULL;

	assert_int_equal(weir_ring_open(dup(r->fd), 4097, NULL, &w), -EINVAL);
	assert_int_equal(weir_ring_open(dup(r->fd), 0, NULL, &w), -EINVAL);
	assert_null(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_wraps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_busy_and_discarded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_goes_on_after_a_dead_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses_a_size_that_is_none, setup, teardown),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
