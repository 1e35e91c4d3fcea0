/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/live_rows.h"

#include <errno.h>
#include <string.h>

#include "lib/event/event.h"
#include "lib/policy/policy.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

char *weir_live_text(const char *raw, char *buf, size_t size)
{
	char tmp[1024];
	size_t o = 0;

	weir_escape(raw, strlen(raw), tmp, sizeof tmp);
	for (const char *s = tmp; *s && o + 5 <= size; s++) {
		if ((uint8_t)*s < 0x80)
			buf[o++] = *s;
		else
			o += (size_t)snprintf(buf + o, size - o, "\\x%02x", (uint8_t)*s);
	}
	buf[o < size ? o : size - 1] = 0;
	return buf;
}

/* An address that somewhere in the world answers to. */
static bool addr_is_public(const uint8_t a[16])
{
	if (!weir_addr_is_v4(a)) /* 2000::/3; the rest is local, multicast or not given out */
		return a[0] >> 5 == 1;
	return a[12] != 0 && a[12] != 10 && a[12] != 127 && a[12] < 224 && !(a[12] == 172 && a[13] >> 4 == 1) &&
	       !(a[12] == 192 && a[13] == 168) && !(a[12] == 169 && a[13] == 254) && !(a[12] == 100 && a[13] >> 6 == 1);
}

bool weir_live_row_unresolved(const struct weir_live_row *r)
{
	return r->dir == WEIR_DIR_OUT && r->fresh && !r->name[0] && addr_is_public(r->far_end) && r->port != 53;
}

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const uint8_t *)p)[i]) * 0x100000001b3ull;
	return h ^ h >> 29;
}

uint64_t weir_live_row_id(const struct weir_live_row *r)
{
	uint64_t h = mix(0xcbf29ce484222325ull, r->program, strlen(r->program) + 1);

	h = mix(h, r->unit, strlen(r->unit) + 1);
	h = mix(h, r->near_end, 16);
	h = mix(h, r->far_end, 16);
	h = mix(h, &r->port, sizeof r->port);
	return mix(h, (uint8_t[]){ r->proto, r->dir }, 2);
}

static bool row_is(const struct weir_live_row *a, const struct weir_live_row *b)
{
	return a->port == b->port && a->proto == b->proto && a->dir == b->dir && !memcmp(a->far_end, b->far_end, 16) &&
	       !memcmp(a->near_end, b->near_end, 16) && !strcmp(a->program, b->program) && !strcmp(a->unit, b->unit);
}

/* The table that rows are found by while they are gathered. */
struct maker {
	const struct weir_live_input *in;
	struct weir_live_rows *r;
	size_t room;
	uint32_t *slots; /* row + 1; 0 = empty */
	size_t n_slots;
	const char *only_if; /* the one interface that leads out, "" when there are several */
};

static int maker_add(struct maker *m, const struct weir_live_row *row)
{
	struct weir_live_rows *r = m->r;
	size_t i = weir_live_row_id(row) & (m->n_slots - 1);

	for (; m->slots[i]; i = (i + 1) & (m->n_slots - 1)) {
		struct weir_live_row *have = &r->v[m->slots[i] - 1];

		if (!row_is(have, row))
			continue;
		have->bytes += row->bytes;
		have->fresh |= row->fresh;
		if (row->wanted > have->wanted) { /* of several verdicts the hardest is the one to look at */
			have->wanted = row->wanted;
			have->enforced = row->enforced;
			memcpy(have->rule, row->rule, sizeof have->rule);
		}
		return 0;
	}
	if (r->n == m->room) {
		size_t room = m->room ? m->room * 2 : 64;
		struct weir_live_row *v = reallocarray(r->v, room, sizeof *v);

		if (!v)
			return -ENOMEM;
		r->v = v;
		m->room = room;
	}
	r->v[r->n++] = *row;
	m->slots[i] = (uint32_t)r->n;
	return 0;
}

static void row_rule(const struct maker *m, struct weir_live_row *row, uint32_t rule, uint32_t reason)
{
	if (!m->in->img || !*weir_rule_name(m->in->img, rule, row->rule, sizeof row->rule))
		snprintf(row->rule, sizeof row->rule, "%s", weir_reason_name(reason));
}

/* What the policy says about a conversation of which no packet has been judged. */
static void row_judge(const struct maker *m, struct weir_live_row *row, const struct weir_tuple *t)
{
	struct weir_packet_spec s = { .t = *t, .proto = row->proto, .dir = row->dir, .ttl = 64,
				      .family = weir_addr_is_v4(t->dst) ? 4 : 6 };
	bool echo = row->proto == WEIR_IPPROTO_ICMP || row->proto == WEIR_IPPROTO_ICMPV6;
	struct weir_result res;
	struct weir_facts f;

	if (!m->in->img)
		return;
	snprintf(row->dir == WEIR_DIR_OUT ? s.out_if : s.in_if, sizeof s.in_if, "%s", m->only_if);
	if (echo) { /* of ICMP only an echo makes a conversation */
		s.icmp_type = s.family == 4 ? 8 : 128;
		s.has_icmp = 1;
	}
	weir_packet_facts(m->in->img, &s, &f);
	weir_packet_judge(m->in->img, &f, false, &res);
	row->wanted = res.wanted;
	row->enforced = res.enforced;
	row_rule(m, row, res.wanted_rule, res.wanted_reason);
}

static bool addr_is_loopback(const uint8_t a[16])
{
	static const uint8_t lo6[16] = { [15] = 1 };

	return !memcmp(a, lo6, 16) || (weir_addr_is_v4(a) && a[12] == 127);
}

/* False: the host talks to itself, which is no news. */
static bool row_ends(const struct maker *m, struct weir_live_row *row, const struct weir_tuple *t, uint32_t dir)
{
	bool in = dir == WEIR_DIR_IN;
	struct weir_name name;

	row->dir = (uint8_t)dir;
	row->proto = (uint8_t)(t->zone >> 24);
	row->port = t->dport;
	memcpy(row->far_end, in ? t->src : t->dst, 16);
	if (dir == WEIR_DIR_FWD)
		memcpy(row->near_end, t->src, 16);
	else if (addr_is_loopback(row->far_end) || weir_addrs_have(m->in->addrs, m->in->n_addrs, row->far_end))
		return false;
	if (m->in->names && weir_names_find(m->in->names, row->far_end, m->in->now, &name) == 0)
		snprintf(row->name, sizeof row->name, "%s", name.name);
	return true;
}

static void row_owner(struct weir_live_row *row, const struct weir_owner *o)
{
	memcpy(row->program, o->program, sizeof row->program);
	memcpy(row->unit, o->unit, sizeof row->unit);
}

static int add_flow(struct maker *m, const struct weir_live_flow *f)
{
	struct weir_live_row row = { .wanted = f->wanted, .enforced = f->enforced, .bytes = f->bytes, .fresh = f->fresh };
	struct weir_owner owner;

	if (!row_ends(m, &row, &f->t, f->dir))
		return 0;
	if (m->in->owners && weir_owners_find(m->in->owners, &f->t, f->dir, &owner) == 0)
		row_owner(&row, &owner);
	/* a rule number means nothing in another image than its own */
	if (m->in->img && f->epoch != m->in->img->cfg->epoch)
		row_judge(m, &row, &f->t);
	else
		row_rule(m, &row, f->wanted_rule, f->wanted_reason);
	return maker_add(m, &row);
}

static int flow_cmp(const void *a, const void *b)
{
	return memcmp(&((const struct weir_live_flow *)a)->t, &((const struct weir_live_flow *)b)->t,
		      sizeof(struct weir_tuple));
}

/* Sockets of which the kernel has seen no packet yet. `flows` is sorted. */
static int add_socks(struct maker *m, const struct weir_live_flow *flows, size_t n_flows)
{
	const struct weir_sock *v;
	size_t n;

	if (!m->in->owners)
		return 0;
	v = weir_owners_socks(m->in->owners, &n);
	for (size_t i = 0; i < n; i++) {
		struct weir_live_row row = { .bytes = v[i].sent + v[i].received };
		struct weir_live_flow key = { 0 };
		struct weir_owner owner;
		uint32_t dir;
		int e;

		if (v[i].state != WEIR_SOCK_ESTABLISHED || !weir_sock_tuple(&v[i], &key.t, &dir) || !row_ends(m, &row, &key.t, dir) ||
		    (n_flows && bsearch(&key, flows, n_flows, sizeof *flows, flow_cmp)))
			continue;
		weir_owners_of(m->in->owners, &v[i], &owner); /* without a process it still names the user */
		row_owner(&row, &owner);
		row_judge(m, &row, &key.t);
		e = maker_add(m, &row);
		if (e < 0)
			return e;
	}
	return 0;
}

static int row_cmp(const void *a, const void *b)
{
	const struct weir_live_row *x = a, *y = b;
	int c;

	if ((x->wanted != WEIR_PASS) != (y->wanted != WEIR_PASS))
		return x->wanted != WEIR_PASS ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	c = strcmp(x->program, y->program);
	return c ? c : memcmp(x->far_end, y->far_end, 16);
}

static int string_cmp(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int addr_cmp(const void *a, const void *b)
{
	return memcmp(*(const uint8_t *const *)a, *(const uint8_t *const *)b, 16);
}

/* Different programs and different far ends of what goes out. */
static int count_rows(struct weir_live_rows *r)
{
	_cleanup_free_ const char **programs = calloc(r->n + 1, sizeof *programs);
	_cleanup_free_ const uint8_t **ends = calloc(r->n + 1, sizeof *ends);
	size_t np = 0, ne = 0;

	if (!programs || !ends)
		return -ENOMEM;
	for (size_t i = 0; i < r->n; i++) {
		const struct weir_live_row *row = &r->v[i];

		r->unresolved += weir_live_row_unresolved(row);
		if (row->dir != WEIR_DIR_OUT)
			continue;
		ends[ne++] = row->far_end;
		if (row->program[0])
			programs[np++] = row->program;
	}
	qsort(programs, np, sizeof *programs, string_cmp);
	qsort(ends, ne, sizeof *ends, addr_cmp);
	for (size_t i = 0; i < np; i++)
		r->programs += !i || strcmp(programs[i], programs[i - 1]);
	for (size_t i = 0; i < ne; i++)
		r->destinations += !i || memcmp(ends[i], ends[i - 1], 16);
	return 0;
}

static bool is_database(uint16_t port)
{
	static const uint16_t ports[] = { 1433, 1521, 3306, 5432, 5984, 6379, 8086, 9042, 9200, 11211, 27017 };

	for (size_t i = 0; i < sizeof ports / sizeof *ports; i++)
		if (ports[i] == port)
			return true;
	return false;
}

/* Each open port once, whatever the families and addresses that it is bound to. Sockets come sorted by port. */
static void list_open(const struct weir_live_input *in, struct weir_live_rows *r)
{
	uint32_t last = 0;
	size_t n = 0, at = 0;
	const struct weir_sock *v = in->owners ? weir_owners_socks(in->owners, &n) : NULL;

	for (size_t i = 0; i < n; i++) {
		uint32_t id = (uint32_t)v[i].proto << 16 | v[i].lport;
		char program[96], one[128];
		struct weir_owner o;
		size_t len;

		if (!weir_sock_is_open(&v[i], in->eph_min, in->eph_max) || id == last)
			continue;
		last = id;
		r->databases += v[i].proto == WEIR_IPPROTO_TCP && is_database(v[i].lport);
		weir_owners_of(in->owners, &v[i], &o);
		weir_live_text(o.program[0] ? o.program : o.unit, program, sizeof program);
		snprintf(one, sizeof one, "%s%s:%u%s", at ? "  " : "", program, v[i].lport,
			 v[i].proto == WEIR_IPPROTO_TCP ? "" : "/udp");
		len = strlen(one);
		if (at + len + 4 >= sizeof r->open) {
			strcpy(r->open + at, " ..");
			return;
		}
		memcpy(r->open + at, one, len + 1);
		at += len;
	}
}

/* The interface that leads out, when there is only one: then it is known without asking the routes. */
static const char *only_way_out(const struct weir_live_input *in)
{
	const char *name = "";

	for (size_t i = 0; i < in->n_ifs; i++) {
		if (!in->ifs[i].covered || !strcmp(in->ifs[i].name, "lo"))
			continue;
		if (*name)
			return "";
		name = in->ifs[i].name;
	}
	return name;
}

int weir_live_rows_make(const struct weir_live_input *in, const struct weir_live_flow *flows, size_t n_flows,
			struct weir_live_rows *ret)
{
	_cleanup_free_ struct weir_live_flow *sorted = calloc(n_flows + 1, sizeof *sorted);
	_cleanup_free_ uint32_t *slots = NULL;
	struct weir_live_rows r = { 0 };
	struct maker m = { .in = in, .r = &r, .only_if = only_way_out(in) };
	size_t n_socks = 0;
	int e = 0;

	if (in->owners)
		weir_owners_socks(in->owners, &n_socks);
	for (m.n_slots = 64; m.n_slots < (n_flows + n_socks) * 2; m.n_slots *= 2)
		;
	slots = m.slots = calloc(m.n_slots, sizeof *slots);
	if (!sorted || !slots)
		return -ENOMEM;
	if (n_flows)
		memcpy(sorted, flows, n_flows * sizeof *sorted);
	qsort(sorted, n_flows, sizeof *sorted, flow_cmp);
	for (size_t i = 0; !e && i < n_flows; i++)
		e = add_flow(&m, &sorted[i]);
	if (!e)
		e = add_socks(&m, sorted, n_flows);
	if (!e)
		e = count_rows(&r);
	if (e < 0) {
		weir_live_rows_free(&r);
		return e;
	}
	if (r.n)
		qsort(r.v, r.n, sizeof *r.v, row_cmp);
	list_open(in, &r);
	*ret = r;
	return 0;
}

void weir_live_rows_free(struct weir_live_rows *r)
{
	free(r->v);
	*r = (struct weir_live_rows){ 0 };
}
