/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "lib/state/bans.h"
#include "lib/state/file.h"
#include "lib/util/cleanup.h"

#define BANS_FILE "bans.json"

static int prefix_parse(const char *text, unsigned max, unsigned *ret)
{
	unsigned n = 0;

	if (!*text || strlen(text) > 3 || (text[0] == '0' && text[1]))
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		n = n * 10 + (unsigned)(*text - '0');
	}
	if (n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

/* Zero what stands behind the prefix. Returns true when something did. */
static bool mask(uint8_t addr[16], unsigned bits)
{
	bool any = false;

	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = bits >= (i + 1) * 8 ? 8 : bits > i * 8 ? bits - i * 8 : 0;
		uint8_t m = (uint8_t)(0xff00 >> keep);

		any |= (addr[i] & (uint8_t)~m) != 0;
		addr[i] &= m;
	}
	return any;
}

int weir_ban_key_parse(const char *text, struct weir_ban_key *ret, char *why, size_t why_size)
{
	const char *slash = strchr(text, '/');
	struct weir_ban_key k = { 0 };
	char addr[64], shown[64];
	unsigned bits;
	bool v4;

	snprintf(addr, sizeof addr, "%.*s", slash ? (int)(slash - text) : (int)strlen(text), text);
	v4 = inet_pton(AF_INET, addr, k.addr + 12) == 1;
	if (v4) {
		k.addr[10] = k.addr[11] = 0xff;
	} else if (inet_pton(AF_INET6, addr, k.addr) != 1) {
		snprintf(why, why_size, "'%s' is no address or CIDR", text);
		return -EINVAL;
	}
	bits = v4 ? 32 : 128;
	if (slash && prefix_parse(slash + 1, bits, &bits)) {
		snprintf(why, why_size, "'%s': the prefix is a number from 1 to %d", text, v4 ? 32 : 128);
		return -EINVAL;
	}
	k.prefixlen = bits + (v4 ? 96 : 0);
	if (mask(k.addr, k.prefixlen)) {
		snprintf(why, why_size, "'%s' has bits behind its prefix; %s is what it would cover", text,
			 weir_ban_key_format(&k, shown, sizeof shown));
		return -EINVAL;
	}
	if (!bits) {
		snprintf(why, why_size, "'%s' is everybody: a ban would cut all traffic; use the policy's default", text);
		return -EINVAL;
	}
	if (!memcmp(k.addr, (uint8_t[16]){ 0 }, 16) ||
	    (v4 && !memcmp(k.addr + 12, (uint8_t[4]){ 0 }, 4))) {
		snprintf(why, why_size, bits == (v4 ? 32 : 128) ? "'%s' is the unspecified address" :
			 "'%s' holds the unspecified address; ban what lies behind it", text);
		return -EINVAL;
	}
	*ret = k;
	return 0;
}

const char *weir_ban_key_format(const struct weir_ban_key *k, char *buf, size_t size)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool v4 = k->prefixlen >= 96 && !memcmp(k->addr, mapped, 12);
	unsigned bits = v4 ? k->prefixlen - 96 : k->prefixlen;
	char a[INET6_ADDRSTRLEN];

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? k->addr + 12 : k->addr, a, sizeof a);
	if (bits == (v4 ? 32 : 128))
		snprintf(buf, size, "%s", a);
	else
		snprintf(buf, size, "%s/%u", a, bits);
	return buf;
}

bool weir_ban_key_covers(const struct weir_ban_key *k, const uint8_t addr[16])
{
	uint8_t a[16];

	memcpy(a, addr, 16);
	mask(a, k->prefixlen);
	return !memcmp(a, k->addr, 16);
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return !a || !b ? 0 : a > b ? a : b;
}

static bool key_within(const struct weir_ban_key *wide, const struct weir_ban_key *k)
{
	return wide->prefixlen <= k->prefixlen && weir_ban_key_covers(wide, k->addr);
}

bool weir_bans_within(const struct weir_bans *b, const struct weir_ban_key *k)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->v[i].key.prefixlen > k->prefixlen && key_within(k, &b->v[i].key))
			return true;
	}
	return false;
}

uint64_t weir_bans_end(const struct weir_bans *b, const struct weir_ban_key *k)
{
	uint64_t end = 1;

	for (size_t i = 0; i < b->n; i++) {
		if (key_within(&b->v[i].key, k))
			end = later(end, b->v[i].expires);
	}
	return end;
}

const struct weir_ban_entry *weir_bans_around(const struct weir_bans *b, const struct weir_ban_key *k, uint64_t now)
{
	const struct weir_ban_entry *found = NULL;

	for (size_t i = 0; i < b->n; i++) {
		const struct weir_ban_entry *e = &b->v[i];

		if ((!e->expires || e->expires > now) && key_within(&e->key, k) &&
		    (!found || e->key.prefixlen > found->key.prefixlen))
			found = e;
	}
	return found;
}

/* By address, the wider first: what covers an entry stands before it. */
static int wider_first(const void *a, const void *b)
{
	const struct weir_ban_entry *x = *(const struct weir_ban_entry *const *)a;
	const struct weir_ban_entry *y = *(const struct weir_ban_entry *const *)b;
	int r = memcmp(x->key.addr, y->key.addr, 16);

	return r ? r : (x->key.prefixlen > y->key.prefixlen) - (x->key.prefixlen < y->key.prefixlen);
}

int weir_bans_ends(const struct weir_bans *b, uint64_t *ret)
{
	_cleanup_free_ const struct weir_ban_entry **v = calloc(b->n + 1, sizeof *v);
	const struct weir_ban_entry *around[129]; /* nested networks: each longer than that before it */
	size_t depth = 0;

	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < b->n; i++)
		v[i] = &b->v[i];
	qsort(v, b->n, sizeof *v, wider_first);
	for (size_t i = 0; i < b->n; i++) {
		while (depth && !key_within(&around[depth - 1]->key, &v[i]->key))
			depth--;
		ret[v[i] - b->v] = depth ? later(ret[around[depth - 1] - b->v], v[i]->expires) : v[i]->expires;
		around[depth++] = v[i];
	}
	return 0;
}

void weir_bans_clear(struct weir_bans *b)
{
	for (size_t i = 0; i < b->n; i++)
		free(b->v[i].why);
	free(b->v);
	memset(b, 0, sizeof *b);
}

static struct weir_ban_entry *find(struct weir_bans *b, const struct weir_ban_key *k)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->v[i].key.prefixlen == k->prefixlen && !memcmp(b->v[i].key.addr, k->addr, 16))
			return &b->v[i];
	}
	return NULL;
}

int weir_bans_add(struct weir_bans *b, const struct weir_ban_key *k, uint64_t expires, const char *why,
		  const struct weir_ban_entry **ret)
{
	struct weir_ban_entry *e = find(b, k), *v;
	char *copy;

	if (!e && (b->n >= WEIR_BANS_MAX || b->next_id == UINT32_MAX))
		return -ENOSPC;
	copy = strdup(why ? why : "");
	if (!copy)
		return -ENOMEM;
	if (!e) {
		v = realloc(b->v, (b->n + 1) * sizeof *v);
		if (!v) {
			free(copy);
			return -ENOMEM;
		}
		b->v = v;
		e = &v[b->n++];
		*e = (struct weir_ban_entry){ .key = *k, .id = b->next_id++ };
	}
	free(e->why);
	e->why = copy;
	e->expires = expires;
	b->changes++;
	*ret = e;
	return 0;
}

static void remove_at(struct weir_bans *b, size_t i)
{
	free(b->v[i].why);
	memmove(b->v + i, b->v + i + 1, (b->n - i - 1) * sizeof *b->v);
	b->n--;
}

int weir_bans_remove(struct weir_bans *b, const struct weir_ban_key *k)
{
	struct weir_ban_entry *e = find(b, k);

	if (!e)
		return -ENOENT;
	remove_at(b, (size_t)(e - b->v));
	b->changes++;
	return 0;
}

size_t weir_bans_expire(struct weir_bans *b, uint64_t now, void (*gone)(const struct weir_ban_key *, void *),
			void *data)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n;) {
		if (!b->v[i].expires || b->v[i].expires > now) {
			i++;
			continue;
		}
		if (gone)
			gone(&b->v[i].key, data);
		remove_at(b, i);
		n++;
	}
	b->changes += n;
	return n;
}

static int from_json(struct weir_bans *b, const json_t *j)
{
	json_int_t next = json_integer_value(json_object_get(j, "next_id"));
	json_int_t changes = json_integer_value(json_object_get(j, "changes"));
	const json_t *list = json_object_get(j, "bans"), *one;
	char why[128];
	size_t i;

	if (json_integer_value(json_object_get(j, "version")) != 1 || next < 1 || next > UINT32_MAX ||
	    changes < 0 || !json_is_array(list))
		return -EBADMSG;
	json_array_foreach (list, i, one) {
		const char *addr = NULL, *reason = "";
		json_int_t id = 0, expires = 0;
		const struct weir_ban_entry *e;
		struct weir_ban_key k;
		int r;

		if (json_unpack((json_t *)one, "{s:I, s:s, s?I, s?s}", "id", &id, "address", &addr, "expires", &expires,
				"why", &reason) ||
		    id < 1 || id >= next || expires < 0 || weir_ban_key_parse(addr, &k, why, sizeof why))
			return -EBADMSG;
		b->next_id = (uint32_t)id;
		r = weir_bans_add(b, &k, (uint64_t)expires, reason, &e);
		if (r)
			return r;
	}
	b->next_id = (uint32_t)next;
	b->changes = (uint64_t)changes;
	return 0;
}

int weir_bans_load(const char *state_dir, struct weir_bans *ret, char *note, size_t note_size)
{
	struct weir_bans b = { .next_id = 1 };
	json_t *j = NULL;
	int r = weir_json_load(state_dir, BANS_FILE, &j, note, note_size);

	if (r != -EBADMSG)
		note[0] = 0;
	if (!r) {
		r = from_json(&b, j);
		if (r) {
			weir_bans_clear(&b);
			b.next_id = 1;
			if (r != -ENOMEM)
				weir_file_set_aside(state_dir, BANS_FILE, "not what weir writes", note, note_size);
		}
		json_decref(j);
	}
	if (r && r != -ENOENT && r != -EBADMSG && r != -ENOSPC)
		return r;
	*ret = b;
	return 0;
}

int weir_bans_save(const char *state_dir, const struct weir_bans *b)
{
	json_t *list = json_array(), *j;
	char addr[64];
	int r;

	for (size_t i = 0; i < b->n; i++) {
		const struct weir_ban_entry *e = &b->v[i];

		json_array_append_new(list, json_pack("{s:I, s:s, s:I, s:s}", "id", (json_int_t)e->id, "address",
						      weir_ban_key_format(&e->key, addr, sizeof addr), "expires",
						      (json_int_t)e->expires, "why", e->why));
	}
	j = json_pack("{s:i, s:I, s:I, s:o}", "version", 1, "next_id", (json_int_t)b->next_id, "changes",
		      (json_int_t)b->changes, "bans", list);
	r = j && json_array_size(list) == b->n ? weir_json_save(state_dir, BANS_FILE, j) : -ENOMEM;
	json_decref(j);
	return r;
}
