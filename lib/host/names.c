/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/host/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/l7/dns.h"

#define NONE UINT32_MAX
#define CHAIN_MAX 16   /* names of one alias chain */
#define LEARN_MAX 64   /* addresses of one answer */

/* An address that a name led to. */
struct entry {
	uint8_t addr[16];
	uint32_t ttl;
	uint64_t learned;
	char *name;
	uint32_t next;          /* in the chain of its bucket */
	uint32_t newer, older;  /* in order of use */
};

struct weir_names {
	struct entry *v;
	uint32_t *buckets;
	uint32_t n, max, n_buckets;
	uint32_t newest, oldest;
	uint64_t seed;
};

/* Seeded, for whoever sends answers chooses the addresses in them. */
static uint64_t mix(uint64_t h, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	return h ^ h >> 32;
}

static uint32_t *bucket(struct weir_names *n, const uint8_t addr[16])
{
	return &n->buckets[mix(n->seed, addr, 16) & (n->n_buckets - 1)];
}

int weir_names_new(size_t max, struct weir_names **ret)
{
	struct weir_names *n;

	if (!max || max > WEIR_NAMES_MAX)
		return -EINVAL;
	n = calloc(1, sizeof *n);
	if (!n)
		return -ENOMEM;
	for (n->n_buckets = 16; n->n_buckets < max; n->n_buckets *= 2)
		;
	n->max = (uint32_t)max;
	n->v = calloc(max, sizeof *n->v);
	n->buckets = malloc(n->n_buckets * sizeof *n->buckets);
	if (!n->v || !n->buckets || getrandom(&n->seed, sizeof n->seed, 0) != sizeof n->seed) {
		weir_names_free(n);
		return -ENOMEM;
	}
	memset(n->buckets, 0xff, n->n_buckets * sizeof *n->buckets);
	n->newest = n->oldest = NONE;
	*ret = n;
	return 0;
}

void weir_names_free(struct weir_names *n)
{
	if (!n)
		return;
	for (uint32_t i = 0; n->v && i < n->n; i++)
		free(n->v[i].name);
	free(n->v);
	free(n->buckets);
	free(n);
}

static void use_unlink(struct weir_names *n, uint32_t i)
{
	struct entry *e = &n->v[i];

	*(e->newer == NONE ? &n->newest : &n->v[e->newer].older) = e->older;
	*(e->older == NONE ? &n->oldest : &n->v[e->older].newer) = e->newer;
}

static void use_first(struct weir_names *n, uint32_t i)
{
	n->v[i].newer = NONE;
	n->v[i].older = n->newest;
	*(n->newest == NONE ? &n->oldest : &n->v[n->newest].newer) = i;
	n->newest = i;
}

static uint32_t find(struct weir_names *n, const uint8_t addr[16])
{
	uint32_t i = *bucket(n, addr);

	while (i != NONE && memcmp(n->v[i].addr, addr, 16))
		i = n->v[i].next;
	return i;
}

/* The slot for a new address: a fresh one, or the one that was not used for longest. */
static uint32_t take_slot(struct weir_names *n)
{
	uint32_t i = n->oldest, *at;

	if (n->n < n->max)
		return n->n++;
	for (at = bucket(n, n->v[i].addr); *at != i; at = &n->v[*at].next)
		;
	*at = n->v[i].next;
	use_unlink(n, i);
	free(n->v[i].name);
	n->v[i].name = NULL;
	return i;
}

static int put(struct weir_names *n, const uint8_t addr[16], const char *name, uint32_t ttl, uint64_t now)
{
	char *copy = strdup(name);
	uint32_t i, *b;

	if (!copy)
		return -ENOMEM;
	i = find(n, addr);
	if (i != NONE) {
		use_unlink(n, i);
		free(n->v[i].name);
	} else {
		i = take_slot(n);
		b = bucket(n, addr);
		memcpy(n->v[i].addr, addr, 16);
		n->v[i].next = *b;
		*b = i;
	}
	n->v[i].name = copy;
	n->v[i].ttl = ttl;
	n->v[i].learned = now;
	use_first(n, i);
	return 0;
}

/* Names that the question leads to, following the aliases in the order in which they stand. */
struct chain {
	char name[CHAIN_MAX][256];
	size_t n;
	uint32_t ttl; /* the smallest so far */
};

static bool chain_has(const struct chain *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++)
		if (!strcmp(c->name[i], name))
			return true;
	return false;
}

static void chain_add(struct chain *c, const char *name)
{
	if (c->n < CHAIN_MAX && strlen(name) < sizeof c->name[0])
		strcpy(c->name[c->n++], name);
}

struct found {
	uint8_t addr[16];
	uint32_t ttl;
};

/* Reads every answer before anything is believed: half a message teaches nothing. */
static int read_answers(struct weir_dns *d, const char *qname, struct found *out, size_t *ret_n)
{
	char owner[WEIR_DNS_TEXT], target[WEIR_DNS_TEXT];
	struct chain c = { .ttl = UINT32_MAX };
	struct weir_dns_answer a;
	enum weir_dns_status s;
	size_t n = 0;

	chain_add(&c, qname);
	while ((s = weir_dns_next(d, &a, owner, target)) == WEIR_DNS_OK) {
		if (!chain_has(&c, owner)) /* an answer to what was not asked */
			continue;
		if (a.type == WEIR_DNS_CNAME) {
			chain_add(&c, target);
			c.ttl = a.ttl < c.ttl ? a.ttl : c.ttl;
		} else if (n < LEARN_MAX) {
			memcpy(out[n].addr, a.addr, 16);
			out[n++].ttl = a.ttl < c.ttl ? a.ttl : c.ttl;
		}
	}
	*ret_n = n;
	return s == WEIR_DNS_END ? 0 : -EBADMSG;
}

int weir_names_learn(struct weir_names *n, const uint8_t *payload, size_t len, uint64_t now)
{
	struct found found[LEARN_MAX];
	char qname[WEIR_DNS_TEXT];
	struct weir_dns d;
	size_t count;
	int e;

	if (len > UINT16_MAX || weir_dns_open(&d, payload, (uint32_t)len, qname) != WEIR_DNS_OK || !d.response ||
	    d.opcode)
		return -EBADMSG;
	if (d.qtype != WEIR_DNS_A && d.qtype != WEIR_DNS_AAAA)
		return 0;
	e = read_answers(&d, qname, found, &count);
	if (e < 0 && !(d.truncated && count)) /* RFC 2181 section 9: what stands in a truncated answer is whole */
		return e;
	for (size_t i = 0; i < count; i++) {
		e = put(n, found[i].addr, qname, found[i].ttl, now);
		if (e < 0)
			return e;
	}
	return (int)count;
}

int weir_names_find(struct weir_names *n, const uint8_t addr[16], uint64_t now, struct weir_name *ret)
{
	uint32_t i = find(n, addr);

	if (i == NONE)
		return -ENOENT;
	use_unlink(n, i);
	use_first(n, i);
	ret->name = n->v[i].name;
	ret->learned = n->v[i].learned;
	ret->ttl = n->v[i].ttl;
	ret->expired = now > n->v[i].learned + n->v[i].ttl;
	return 0;
}

size_t weir_names_count(const struct weir_names *n)
{
	return n->n;
}
