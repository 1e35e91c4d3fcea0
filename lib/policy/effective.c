/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir show effective`: the image back as a policy that can be read, and checked again. Groups are gone,
 * sets are in their place, overlay and built-in failsafe are in it.
 */
#include <stdlib.h>
#include <string.h>

#include "core/image_blob.h"
#include "core/policy.h"
#include "lib/policy/blocklist.h"
#include "lib/policy/daytime.h"
#include "lib/policy/flat.h"

#define SHOWN_MAX 100 /* ranges of one list */

/* A list in words: going through all pieces of the addresses is done once for it, however many rules name it. */
struct words {
	char *text;
	size_t ranges;
};

struct show {
	FILE *out;
	const struct weir_img *img;
	const char *sep; /* in front of the next key of a map */
	struct words lists[WEIR_LISTS_MAX];
};

static void put_key(struct show *s, const char *key)
{
	fprintf(s->out, "%s%s: ", s->sep, key);
	s->sep = ", ";
}

static void put_quoted(FILE *out, const char *s)
{
	putc('"', out);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putc('\\', out);
		putc(*s, out);
	}
	putc('"', out);
}

/* --- lists, read back from the pieces --- */

struct ranges_out {
	FILE *out;
	size_t n;
	struct weir_range last;
	bool open;
};

static void put_range(struct ranges_out *r)
{
	char text[100];

	if (!r->open)
		return;
	r->open = false;
	if (r->n++ < SHOWN_MAX)
		fprintf(r->out, "%s\"%s\"", r->n > 1 ? ", " : "", weir_range_format(&r->last, text, sizeof text));
}

static void take_piece(struct ranges_out *r, weir_u128 lo, weir_u128 hi, bool in)
{
	if (!in) {
		put_range(r);
	} else if (r->open && r->last.hi + 1 == lo && weir_u128_is_v4(r->last.hi) == weir_u128_is_v4(lo)) {
		r->last.hi = hi;
	} else {
		put_range(r);
		r->last = (struct weir_range){ lo, hi };
		r->open = true;
	}
}

static size_t write_addresses(FILE *out, const struct weir_img *img, uint32_t list)
{
	struct ranges_out r = { .out = out };

	for (uint32_t i = 0; i < img->cfg->n_bounds4; i++) {
		const struct weir_bound4 *b = weir_img_bound4(img, i), *next = weir_img_bound4(img, i + 1);

		take_piece(&r, WEIR_V4_LOW | b->low, WEIR_V4_LOW | (next ? next->low - 1 : UINT32_MAX),
			   weir_in_list(img, b->class_id, list));
	}
	put_range(&r);
	for (uint32_t i = 0; i < img->cfg->n_bounds6; i++) {
		const struct weir_bound6 *b = weir_img_bound6(img, i), *next = weir_img_bound6(img, i + 1);
		weir_u128 lo = (weir_u128)b->hi << 64 | b->lo;

		take_piece(&r, lo, next ? ((weir_u128)next->hi << 64 | next->lo) - 1 : ~(weir_u128)0,
			   weir_in_list(img, b->class_id, list));
	}
	put_range(&r);
	return r.n;
}

/* Returns the number of ranges; only the first SHOWN_MAX are written. */
static size_t put_addresses(struct show *s, uint32_t list)
{
	struct words *w = &s->lists[list % WEIR_LISTS_MAX];
	size_t size;
	FILE *f;

	if (!w->text && (f = open_memstream(&w->text, &size))) {
		w->ranges = write_addresses(f, s->img, list);
		fclose(f);
	}
	if (w->text)
		fputs(w->text, s->out);
	return w->ranges;
}

static void put_ports(struct show *s, const char *key, const struct weir_ports *p)
{
	const struct weir_img *img = s->img;
	const char *sep = "";
	uint32_t lo = 0;
	bool open = false;

	put_key(s, key);
	putc('[', s->out);
	if (p->list == WEIR_NO_LIST) {
		fprintf(s->out, p->lo == p->hi ? "%u]" : "%u-%u]", p->lo, p->hi);
		return;
	}
	for (uint32_t i = 0; i <= img->cfg->n_bounds_port; i++) {
		const struct weir_bound4 *b = weir_img_bound_port(img, i);
		bool in = b && weir_in_ports(img, b->low, b->class_id, p);

		if (open && !in) {
			uint32_t hi = b ? b->low - 1 : 65535;

			fprintf(s->out, lo == hi ? "%s%u" : "%s%u-%u", sep, lo, hi);
			sep = ", ";
		}
		if (in && !open)
			lo = b->low;
		open = in;
	}
	putc(']', s->out);
}

/* --- conditions --- */

static void put_list_ref(struct show *s, const char *key, uint32_t list)
{
	const struct weir_list_info *l = weir_img_at(s->img, &s->img->h->lists, list, sizeof *l);
	const struct weir_span *span = list & WEIR_SPAN ? weir_img_span(s->img, list & ~WEIR_SPAN) : NULL;
	const char *name = l ? weir_img_string(s->img, l->name) : "";
	struct ranges_out r = { .out = s->out };

	put_key(s, key);
	if (*name) {
		fputs(name, s->out);
		return;
	}
	putc('[', s->out);
	if (span) {
		r.last = (struct weir_range){ (weir_u128)span->lo_hi << 64 | span->lo_lo,
					      (weir_u128)span->hi_hi << 64 | span->hi_lo };
		r.open = true;
		put_range(&r);
	} else {
		put_addresses(s, list);
	}
	putc(']', s->out);
}

static void put_ifs(struct show *s, const char *key, uint64_t bits)
{
	const char *sep = "";

	put_key(s, key);
	putc('[', s->out);
	for (uint32_t i = 0; i < s->img->h->ifpats.count; i++) {
		const struct weir_ifpat *p = weir_img_at(s->img, &s->img->h->ifpats, i, sizeof *p);

		if (!(bits >> i & 1))
			continue;
		fputs(sep, s->out);
		put_quoted(s->out, p->glob);
		sep = ", ";
	}
	putc(']', s->out);
}

static void put_protos(struct show *s, const struct weir_cond *c)
{
	const char *sep = "";
	char buf[8];

	put_key(s, "protocol");
	putc('[', s->out);
	for (unsigned p = 0; p < 256; p++) {
		if (!(c->protos[p >> 6] >> (p & 63) & 1))
			continue;
		fprintf(s->out, "%s%s", sep, weir_proto_name((uint8_t)p, buf, sizeof buf));
		sep = ", ";
	}
	putc(']', s->out);
}

static void put_icmp(struct show *s, const struct weir_cond *c, uint8_t family)
{
	const char *sep = "";

	for (uint32_t i = 0; i < c->n_icmp; i++) {
		const struct weir_icmp_match *m = &c->icmp[i];

		if (m->family != family)
			continue;
		if (!*sep) {
			put_key(s, family == 4 ? "icmp" : "icmpv6");
			putc('[', s->out);
		}
		fprintf(s->out, m->code_min == m->code_max ? "%s\"%u/%u\"" : "%s%u", sep, m->type, m->code_min);
		sep = ", ";
	}
	if (*sep)
		putc(']', s->out);
}

static void put_dirs(struct show *s, uint8_t dirs)
{
	static const struct {
		uint8_t bit;
		const char *name;
	} words[] = { { WEIR_DIR_IN, "inbound" }, { WEIR_DIR_OUT, "outbound" }, { WEIR_DIR_FWD, "forward" } };
	const char *sep = "";

	put_key(s, "direction");
	putc('[', s->out);
	for (int i = 0; i < 3; i++) {
		if (!(dirs & words[i].bit))
			continue;
		fprintf(s->out, "%s%s", sep, words[i].name);
		sep = ", ";
	}
	putc(']', s->out);
}

static void put_times(struct show *s, const struct weir_times *t)
{
	char text[32];

	put_key(s, "time");
	for (uint32_t i = 0; t && i < WEIR_WINDOWS_MAX && t->w[i].days; i++)
		fprintf(s->out, "%s\"%s\"", i ? ", " : "[", weir_window_text(&t->w[i], text, sizeof text));
	fputs("]", s->out);
}

static void put_cond(struct show *s, const struct weir_cond *c)
{
	if (c->set & WEIR_C_DIR)
		put_dirs(s, c->dirs);
	if (c->set & WEIR_C_FROM)
		put_list_ref(s, "from", c->from);
	if (c->set & WEIR_C_TO)
		put_list_ref(s, "to", c->to);
	if (c->set & WEIR_C_PEER)
		put_list_ref(s, "peer", c->peer);
	if (c->set & WEIR_C_PROTO)
		put_protos(s, c);
	if (c->set & WEIR_C_PORTS)
		put_ports(s, "ports", &c->ports);
	if (c->set & WEIR_C_SPORTS)
		put_ports(s, "source_ports", &c->sports);
	if (c->set & WEIR_C_ICMP) {
		put_icmp(s, c, 4);
		put_icmp(s, c, 6);
	}
	if (c->set & WEIR_C_ANY_IF)
		put_ifs(s, "interface", c->any_if);
	if (c->set & WEIR_C_IN_IF)
		put_ifs(s, "in_interface", c->in_if);
	if (c->set & WEIR_C_OUT_IF)
		put_ifs(s, "out_interface", c->out_if);
	if (c->set & WEIR_C_VLAN)
		put_key(s, "vlan");
	for (uint32_t i = 0; i < c->n_vlan; i++)
		fprintf(s->out, "%s%u%s", i ? ", " : "[", c->vlan[i], i + 1 == c->n_vlan ? "]" : "");
	if (c->set & WEIR_C_MAC)
		put_key(s, "mac");
	for (uint32_t i = 0; i < c->n_mac; i++)
		fprintf(s->out, "%s\"%02x:%02x:%02x:%02x:%02x:%02x\"%s", i ? ", " : "[", (uint8_t)(c->mac[i] >> 40),
			(uint8_t)(c->mac[i] >> 32), (uint8_t)(c->mac[i] >> 24), (uint8_t)(c->mac[i] >> 16),
			(uint8_t)(c->mac[i] >> 8), (uint8_t)c->mac[i], i + 1 == c->n_mac ? "]" : "");
	if (c->set & WEIR_C_TIME)
		put_times(s, weir_img_times(s->img, c->time));
	if (c->set & WEIR_C_MARK) {
		put_key(s, "mark");
		fprintf(s->out, "\"0x%x/0x%x\"", c->mark, c->mark_mask);
	}
	/* only built-in entries have these, and they are shown as comments */
	if (c->set & WEIR_C_FAMILY) {
		put_key(s, "family");
		fprintf(s->out, "IPv%u", c->family);
	}
	if (c->set & WEIR_C_TTL) {
		put_key(s, "hop_limit");
		fprintf(s->out, "%u", c->ttl);
	}
}

/* The conditions of a rule, its `not`, and the end of its map. */
static void put_conds(struct show *s, const struct weir_rule *r)
{
	s->sep = ", ";
	put_cond(s, &r->pos);
	if (r->flags & WEIR_RF_NOT) {
		fputs(", not: { ", s->out);
		s->sep = "";
		put_cond(s, weir_img_neg(s->img, r->neg));
		fputs(" }", s->out);
	}
	fputs(" }", s->out);
}

/* --- the parts of the file --- */

static const char *action_word(uint32_t a)
{
	static const char *const words[] = { "allow", "drop", "reject", "log", "ban" };

	return a < sizeof words / sizeof *words ? words[a] : "?";
}

static void put_fixed(struct show *s, const char *key, const struct weir_fixed *x, const char *pass)
{
	const char *word = x->action == WEIR_ACT_ALLOW ? pass : action_word(x->action);

	fprintf(s->out, "%s: { action: %s", key, word);
	if (x->mode == WEIR_DETECT && s->img->cfg->mode == WEIR_PREVENT)
		fputs(", mode: detect", s->out);
	fprintf(s->out, "%s }", x->log ? ", log: true" : "");
}

static bool has_builtin(struct show *s, const char *name)
{
	for (uint32_t i = 0; i < s->img->cfg->n_failsafe; i++)
		if (!strcmp(weir_img_string(s->img, weir_img_rule(s->img, 1, i)->name), name))
			return true;
	return false;
}

static void begin_failsafe(struct show *s, bool *begun)
{
	fputs(*begun ? "  - " : "failsafe:\n  - ", s->out);
	*begun = true;
}

/* An entry that became several has one name there, and needs one for each here. */
static void put_failsafe_name(struct show *s, uint32_t i)
{
	const char *name = weir_img_string(s->img, weir_img_rule(s->img, 1, i)->name);
	char part[160];
	uint32_t first = i;

	while (first && !strcmp(weir_img_string(s->img, weir_img_rule(s->img, 1, first - 1)->name), name))
		first--;
	snprintf(part, sizeof part, "%s (%u)", name, i - first + 1);
	put_quoted(s->out, first == i ? name : part);
}

/* Built-in entries as comments, removed ones and the policy's own as entries. */
static void put_failsafe(struct show *s)
{
	static const struct {
		const char *name;
		uint32_t bit;
	} builtin[] = { { "lo", WEIR_ESS_LO },
			{ "arp", WEIR_ESS_ARP },
			{ "icmp-errors", WEIR_ESS_ICMP_ERRORS },
			{ "multicast-replies", WEIR_ESS_MCAST_REPLIES },
			{ "nd", 0 },
			{ "dhcp", 0 } };
	const size_t n = sizeof builtin / sizeof *builtin;
	uint32_t ess = s->img->cfg->essentials;
	bool begun = false;

	fputs("\n# built-in failsafe in force:", s->out);
	for (size_t i = 0; i < n; i++)
		if (ess & builtin[i].bit)
			fprintf(s->out, " %s", builtin[i].name);
	putc('\n', s->out);
	for (uint32_t i = 0; i < s->img->cfg->n_failsafe; i++) {
		const struct weir_rule *r = weir_img_rule(s->img, 1, i);

		if (strcmp(weir_img_string(s->img, r->place), "built in"))
			begin_failsafe(s, &begun);
		else
			fputs("#   ", s->out);
		fputs("{ name: ", s->out);
		put_failsafe_name(s, i);
		put_conds(s, r);
		putc('\n', s->out);
	}
	for (size_t i = 0; i < n; i++) {
		if (builtin[i].bit ? ess & builtin[i].bit : has_builtin(s, builtin[i].name))
			continue;
		begin_failsafe(s, &begun);
		fprintf(s->out, "{ name: %s, remove: true }\n", builtin[i].name);
	}
}

/* What the blocklists hold together, without what is excepted. */
static void put_blocklists(struct show *s, bool any)
{
	const struct weir_section *block = &s->img->h->block, *sets = &s->img->h->block_sets;
	struct weir_ranges all = { 0 };
	struct ranges_out out = { .out = s->out };
	struct weir_arena arena = { 0 };

	if (!block->count || weir_blocklist_ranges(weir_img_block_line(s->img, 0), block->count, -1, &arena, &all))
		return;
	fprintf(s->out, "%s  all-blocklists: { addresses: [", any ? "" : "\nsets:\n");
	for (size_t i = 0; i < all.n; i++)
		take_piece(&out, all.v[i].lo, all.v[i].hi, true);
	put_range(&out);
	fputs("] }", s->out);
	if (out.n > SHOWN_MAX)
		fprintf(s->out, " # and %zu more ranges", out.n - SHOWN_MAX);
	fputs("\n  # the blocklists, without what is excepted:", s->out);
	for (uint32_t i = 0; i < sets->count; i++) {
		const struct weir_list_info *l = weir_img_at(s->img, sets, i, sizeof *l);

		fprintf(s->out, " %s", weir_img_string(s->img, l->name));
	}
	fputs("\nblocklists: [$all-blocklists]\n", s->out);
	weir_arena_free(&arena);
}

static void put_sets(struct show *s)
{
	bool any = false;

	for (uint32_t i = 0; i < s->img->h->lists.count; i++) {
		const struct weir_list_info *l = weir_img_at(s->img, &s->img->h->lists, i, sizeof *l);
		const char *name = weir_img_string(s->img, l->name);
		size_t n;

		if (!*name)
			continue;
		fputs(any ? "" : "\nsets:\n", s->out);
		any = true;
		fprintf(s->out, "  %s: { addresses: [", name + 1);
		n = put_addresses(s, i);
		fputs("] }", s->out);
		if (n > SHOWN_MAX)
			fprintf(s->out, " # and %zu more ranges", n - SHOWN_MAX);
		putc('\n', s->out);
	}
	put_blocklists(s, any);
}

static void put_seconds(FILE *out, const char *key, uint32_t seconds)
{
	char text[16];

	if (seconds)
		fprintf(out, ", %s: %s", key, weir_seconds_text(seconds, text, sizeof text));
}

static void put_limit(struct show *s, const struct weir_limit *l)
{
	char rate[48];

	if (!l)
		return;
	fprintf(s->out, ", limit: { rate: %s, per: %s, burst: %llu, action: %s", weir_limit_rate_text(l, rate, sizeof rate),
		l->per_what == WEIR_PER_ALL ? "rule" : weir_limit_per_name(l->per_what), (unsigned long long)l->burst,
		action_word(l->action));
	if (l->per_what == WEIR_PER_PREFIX)
		fprintf(s->out, ", v4: %u, v6: %u", l->bits4, l->bits6);
	fputs(" }", s->out);
}

static void put_rule(struct show *s, const struct weir_rule *r, bool rest)
{
	const char *name = weir_img_string(s->img, r->name), *place = weir_img_string(s->img, r->place);

	fprintf(s->out, "  - { ");
	if (!rest && !weir_rule_unnamed(name)) {
		fputs("name: ", s->out);
		put_quoted(s->out, name);
		fputs(", ", s->out);
	}
	fprintf(s->out, "action: %s", action_word(r->action));
	if (r->mode == WEIR_DETECT && s->img->cfg->mode == WEIR_PREVENT)
		fputs(", mode: detect", s->out);
	if (r->flags & WEIR_RF_LOG)
		fputs(", log: true", s->out);
	put_seconds(s->out, r->action == WEIR_ACT_BAN ? "ban" : "max_duration", r->max_duration);
	put_seconds(s->out, "idle", r->idle);
	if (r->max_bytes)
		fprintf(s->out, ", max_bytes: %llu", (unsigned long long)r->max_bytes);
	put_limit(s, r->limit ? weir_img_limit(s->img, r->limit - 1) : NULL);
	put_conds(s, r);
	fprintf(s->out, " # %s%s\n", place, rest ? ", continued" : "");
}

static void put_failures(FILE *out, const struct weir_failures *f)
{
	fputs("\nfailures:\n", out);
	for (uint32_t i = 0; i < WEIR_FAILURE_COUNT; i++)
		if (i != WEIR_FAILURE_UNPARSABLE)
			fprintf(out, "  %s: %s\n", weir_failure_name(i), weir_failure_choice(i, f->choice[i]));
	fprintf(out, "  daemon_dead_after: %us\n", f->daemon_after_s);
	if (f->simulate)
		fputs("# SIMULATED failures:", out);
	for (uint32_t i = 0; i < WEIR_FAILURE_COUNT; i++)
		if (f->simulate >> i & 1)
			fprintf(out, " %s", weir_failure_name(i));
	fputs(f->simulate ? "\n" : "", out);
}

static void put_limits(struct show *s)
{
	const struct weir_limit *l;
	char rate[48];

	for (uint32_t i = 0; (l = weir_img_limit(s->img, i)) && l->count != WEIR_LIMIT_RULE; i++) {
		fputs(i ? "" : "\nlimits:\n", s->out);
		fputs("  - { name: ", s->out);
		put_quoted(s->out, weir_img_string(s->img, l->name));
		fprintf(s->out, ", per: %s, count: %s, rate: %s, burst: %llu, action: %s", weir_limit_per_name(l->per_what),
			weir_limit_count_name(l->count), weir_limit_rate_text(l, rate, sizeof rate),
			(unsigned long long)l->burst, action_word(l->ban_s ? WEIR_ACT_BAN : l->action));
		put_seconds(s->out, "ban", l->ban_s);
		if (l->per_what == WEIR_PER_PREFIX)
			fprintf(s->out, ", v4: %u, v6: %u", l->bits4, l->bits6);
		if (l->mode == WEIR_DETECT && s->img->cfg->mode == WEIR_PREVENT)
			fputs(", mode: detect", s->out);
		fprintf(s->out, "%s }\n", l->log ? ", log: true" : "");
	}
}

void weir_policy_show_effective(FILE *out, const struct weir_img *img)
{
	static const char *const dirs[] = { "  inbound", "  outbound", "  forward" };
	const struct weir_config *c = img->cfg;
	struct show s = { .out = out, .img = img, .sep = "" };
	uint32_t name = 0;

	fprintf(out, "# weir: the policy in force, generation %u\n# source sha256 ", c->generation);
	for (int i = 0; i < 32; i++)
		fprintf(out, "%02x", img->h->source_digest[i]);
	fprintf(out, "\nversion: 1\nmode: %s\ndefault:\n", weir_mode_name(c->mode));
	for (int i = 0; i < 3; i++) {
		put_fixed(&s, dirs[i], &c->defaults[i], "allow");
		putc('\n', out);
	}
	put_fixed(&s, "on_error", &c->on_error, "pass");
	fputs("\npackets:\n", out);
	put_fixed(&s, "  malformed", &c->malformed, "pass");
	put_fixed(&s, "\n  fragments", &c->fragments, "pass");
	put_fixed(&s, "\n  unknown_l2", &c->unknown_l2, "pass");
	fprintf(out, "\nflows: { idle: %us, established: %s, recheck_unknown: %s, adopt_window: %us }\n", c->idle_s,
		c->established == WEIR_EST_KEEP ? "keep" : c->established == WEIR_EST_KILL ? "kill" : "recheck",
		c->recheck_unknown == WEIR_UNKNOWN_DROP ? "drop" : "keep", c->adopt_s);
	put_failures(out, &c->failures);
	put_failsafe(&s);
	put_sets(&s);
	put_limits(&s);
	fputs("\nrules:\n", out);
	for (uint32_t i = 0; i < c->n_rules; i++) {
		const struct weir_rule *r = weir_img_rule(img, 0, i);

		if (r->flags & WEIR_RF_GONE)
			continue;
		put_rule(&s, r, i && r->name == name);
		name = r->name;
	}
	if (!weir_img_rule_count(img))
		fputs("  []\n", out);
	for (size_t i = 0; i < WEIR_LISTS_MAX; i++)
		free(s.lists[i].text);
}
