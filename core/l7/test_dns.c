/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/l7/dns.h: messages as they come, and messages made to hurt. Each is handed over in a buffer of exactly
 * its size, so that the sanitizer build sees a byte read too far.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/l7/dns.h"

struct msg {
	uint8_t b[2048];
	uint32_t n;
};

static void put(struct msg *m, const void *p, uint32_t n)
{
	memcpy(m->b + m->n, p, n);
	m->n += n;
}

static void put16(struct msg *m, uint32_t v)
{
	put(m, (uint8_t[]){ (uint8_t)(v >> 8), (uint8_t)v }, 2);
}

static void put_header(struct msg *m, uint32_t questions, uint32_t answers)
{
	m->n = 0;
	put16(m, 0x1234);
	put16(m, 0x8180);
	put16(m, questions);
	put16(m, answers);
	put16(m, 0);
	put16(m, 0);
}

static void put_name(struct msg *m, const char *name)
{
	while (*name) {
		uint8_t l = (uint8_t)strcspn(name, ".");

		put(m, &l, 1);
		put(m, name, l);
		name += l + (name[l] == '.');
	}
	put(m, "", 1);
}

static void put_question(struct msg *m, const char *name, uint32_t type)
{
	put_name(m, name);
	put16(m, type);
	put16(m, 1);
}

static void put_record(struct msg *m, uint32_t owner, uint32_t type, uint32_t ttl, const void *data, uint32_t len)
{
	put16(m, 0xc000 | owner);
	put16(m, type);
	put16(m, 1);
	put16(m, ttl >> 16);
	put16(m, ttl);
	put16(m, len);
	put(m, data, len);
}

/* Read all of it from a buffer that ends where the message ends. */
static enum weir_dns_status read_all(const struct msg *m, uint32_t len, char *qname, uint32_t *answers)
{
	uint8_t *exact = malloc(len ? len : 1);
	char owner[WEIR_DNS_TEXT], target[WEIR_DNS_TEXT];
	struct weir_dns_answer a;
	enum weir_dns_status s;
	struct weir_dns d;

	assert_non_null(exact);
	memcpy(exact, m->b, len);
	*answers = 0;
	s = weir_dns_open(&d, exact, len, qname);
	while (s == WEIR_DNS_OK) {
		s = weir_dns_next(&d, &a, owner, target);
		if (s == WEIR_DNS_OK)
			++*answers;
	}
	free(exact);
	return s;
}

static void test_answer(void **state)
{
	char qname[WEIR_DNS_TEXT], owner[WEIR_DNS_TEXT], target[WEIR_DNS_TEXT];
	struct weir_dns_answer a;
	struct weir_dns d = { 0 };
	struct msg m;
	uint32_t at;

	put_header(&m, 1, 4);
	put_question(&m, "WWW.Example.com", WEIR_DNS_A);
	put_record(&m, 12, WEIR_DNS_CNAME, 300, "\3cdn\300\020", 6); /* 0xc010: example.com */
	at = m.n - 6;
	put_record(&m, at, 16, 60, "\3txt", 4); /* TXT is walked over */
	put_record(&m, at, WEIR_DNS_A, 0x80000001, "\300\0\2\1", 4);
	put_record(&m, at, WEIR_DNS_AAAA, 7, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	assert_int_equal(weir_dns_open(&d, m.b, m.n, qname), WEIR_DNS_OK);
	assert_string_equal(qname, "www.example.com");
	assert_int_equal(d.id, 0x1234);
	assert_int_equal(d.response, 1);
	assert_int_equal(d.qtype, WEIR_DNS_A);
	assert_int_equal(weir_dns_next(&d, &a, owner, target), WEIR_DNS_OK);
	assert_int_equal(a.type, WEIR_DNS_CNAME);
	assert_string_equal(owner, "www.example.com");
	assert_string_equal(target, "cdn.example.com");
	assert_int_equal(a.ttl, 300);
	assert_int_equal(weir_dns_next(&d, &a, owner, target), WEIR_DNS_OK);
	assert_string_equal(owner, "cdn.example.com");
	assert_int_equal(a.ttl, 0);
	assert_memory_equal(a.addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\300\0\2\1", 16);
	assert_int_equal(weir_dns_next(&d, &a, owner, target), WEIR_DNS_OK);
	assert_int_equal(a.type, WEIR_DNS_AAAA);
	assert_int_equal(weir_dns_next(&d, &a, owner, target), WEIR_DNS_END);
}

static void test_text(void **state)
{
	char qname[WEIR_DNS_TEXT];
	uint32_t answers;
	struct msg m;

	put_header(&m, 1, 0);
	put(&m, "\6a.\\\n \377\0", 8);
	put16(&m, 1);
	put16(&m, 1);
	assert_int_equal(read_all(&m, m.n, qname, &answers), WEIR_DNS_END);
	assert_string_equal(qname, "a\\046\\092\\010\\032\\255");

	put_header(&m, 1, 0);
	put_question(&m, "", 1);
	assert_int_equal(read_all(&m, m.n, qname, &answers), WEIR_DNS_END);
	assert_string_equal(qname, ".");

	/* the longest name there is, of bytes that take four characters each */
	put_header(&m, 1, 0);
	for (int i = 0; i < 4; i++) {
		uint8_t l = i < 3 ? 63 : 61, odd[63] = { 0 };

		put(&m, &l, 1);
		put(&m, odd, l);
	}
	put(&m, "\0\0\1\0\1", 5);
	assert_int_equal(read_all(&m, m.n, qname, &answers), WEIR_DNS_END);
	assert_int_equal(strlen(qname), 250 * 4 + 3);
}

static void test_every_prefix(void **state)
{
	char qname[WEIR_DNS_TEXT];
	uint32_t answers;
	struct msg m;

	put_header(&m, 1, 2);
	put_question(&m, "www.example.com", WEIR_DNS_A);
	put_record(&m, 12, WEIR_DNS_CNAME, 300, "\3cdn\300\020", 6);
	put_record(&m, 12, WEIR_DNS_A, 60, "\300\0\2\1", 4);
	for (uint32_t len = 0; len < m.n; len++)
		assert_int_equal(read_all(&m, len, qname, &answers), WEIR_DNS_TRUNCATED);
	assert_int_equal(read_all(&m, m.n, qname, &answers), WEIR_DNS_END);
	assert_int_equal(answers, 2);
}

static void expect_question(const void *name, uint32_t len, enum weir_dns_status want)
{
	char qname[WEIR_DNS_TEXT];
	uint32_t answers;
	struct msg m;

	put_header(&m, 1, 0);
	put(&m, name, len);
	put(&m, "\0\1\0\1", 4);
	assert_int_equal(read_all(&m, m.n, qname, &answers), want);
}

static void test_hostile_names(void **state)
{
	uint8_t deep[300];

	expect_question("\300\14", 2, WEIR_DNS_NAME);     /* points to itself */
	expect_question("\1a\300\14", 4, WEIR_DNS_NAME);  /* points to its own start */
	expect_question("\300\16\1a\0", 5, WEIR_DNS_NAME); /* points forward */
	expect_question("\300\0", 2, WEIR_DNS_NAME);      /* points into the header */
	expect_question("\100a\0", 3, WEIR_DNS_NAME);     /* label type 01, RFC 2673: never used */
	expect_question("\200a\0", 3, WEIR_DNS_NAME);     /* label type 10: reserved */
	expect_question("\77a\0", 3, WEIR_DNS_TRUNCATED);
	/* 256 bytes of name: one more than allowed */
	for (size_t i = 0; i < sizeof deep; i += 2) {
		deep[i] = 1;
		deep[i + 1] = 'a';
	}
	deep[254] = 0;
	expect_question(deep, 255, WEIR_DNS_END);
	deep[254] = 1;
	deep[256] = 0;
	expect_question(deep, 257, WEIR_DNS_NAME);
}

static void test_pointer_chain_ends(void **state)
{
	char qname[WEIR_DNS_TEXT], owner[WEIR_DNS_TEXT], target[WEIR_DNS_TEXT];
	struct weir_dns_answer a;
	struct weir_dns d;
	struct msg m;
	uint32_t start;

	/* a staircase of pointers, each to the one before: longer than any name needs */
	put_header(&m, 1, 2);
	put_question(&m, "a", 1);
	start = m.n + 12;
	put16(&m, 0xc00c);
	put16(&m, 10);
	put16(&m, 1);
	put16(&m, 0);
	put16(&m, 0);
	put16(&m, 600);
	for (uint32_t i = 0; i < 300; i++)
		put16(&m, 0xc000 | (i ? start + 2 * (i - 1) : 12));
	put_record(&m, start + 2 * 299, WEIR_DNS_A, 1, "\1\2\3\4", 4);
	assert_int_equal(weir_dns_open(&d, m.b, m.n, qname), WEIR_DNS_OK);
	assert_int_equal(weir_dns_next(&d, &a, owner, target), WEIR_DNS_NAME);
}

static void test_hostile_records(void **state)
{
	char qname[WEIR_DNS_TEXT];
	uint32_t answers;
	struct msg m;

	put_header(&m, 1, 1);
	put_question(&m, "a", 1);
	put_record(&m, 12, WEIR_DNS_A, 1, "\1\2\3\4\5", 5);
	assert_int_equal(read_all(&m, m.n, qname, &answers), WEIR_DNS_RDATA);
	put_header(&m, 1, 1);
	put_question(&m, "a", 1);
	put_record(&m, 12, WEIR_DNS_CNAME, 1, "\1b\0x", 4); /* ends before its record does */
	assert_int_equal(read_all(&m, m.n, qname, &answers), WEIR_DNS_RDATA);
	put_header(&m, 1, 1);
	put_question(&m, "a", 1);
	put_record(&m, 12, WEIR_DNS_CNAME, 1, "\1b", 2); /* runs past its record */
	put(&m, "\0", 1);
	assert_int_equal(read_all(&m, m.n, qname, &answers), WEIR_DNS_RDATA);
	put_header(&m, 1, 65535); /* announces what is not there */
	put_question(&m, "a", 1);
	assert_int_equal(read_all(&m, m.n, qname, &answers), WEIR_DNS_TRUNCATED);
	put_header(&m, 2, 0);
	put_question(&m, "a", 1);
	assert_int_equal(read_all(&m, m.n, qname, &answers), WEIR_DNS_COUNT);
	put_header(&m, 0, 0);
	assert_int_equal(read_all(&m, m.n, qname, &answers), WEIR_DNS_COUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_every_prefix),
		cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_pointer_chain_ends),
		cmocka_unit_test(test_hostile_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
