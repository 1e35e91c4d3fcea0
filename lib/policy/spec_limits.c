/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the language's table that is about limits, and how their words are read. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/policy/model.h"
#include "lib/policy/spec.h"
#include "lib/policy/take.h"
#include "lib/policy/types.h"

static const struct weir_word per_words[] = {
	{ "source", WEIR_PER_SOURCE + 1 }, { "prefix", WEIR_PER_PREFIX + 1 }, { "all", WEIR_PER_ALL + 1 },
	{ "src", .instead = "source" },	   { "subnet", .instead = "prefix" }, { "global", .instead = "all" },
	{ "ip", .instead = "source" },	   { "network", .instead = "prefix" },
	{ "rule", .instead = "per: all, or a 'limit' in the rule" }, { "destination", .later = true }, { NULL },
};
static const struct weir_word rule_per_words[] = {
	{ "rule", WEIR_PER_ALL + 1 },	   { "source", WEIR_PER_SOURCE + 1 }, { "prefix", WEIR_PER_PREFIX + 1 },
	{ "all", .instead = "rule" },	   { "src", .instead = "source" },    { "subnet", .instead = "prefix" },
	{ "global", .instead = "rule" },   { "destination", .later = true },  { NULL },
};
static const struct weir_word rule_action_words[] = {
	{ "drop", WEIR_ACT_DROP + 1 },	{ "reject", WEIR_ACT_REJECT + 1 },	       { "deny", .instead = "drop" },
	{ "block", .instead = "drop" }, { "ban", .instead = "action: drop; a limit of 'limits' can ban" }, { NULL },
};
static const struct weir_word count_words[] = {
	{ "packets", WEIR_LIMIT_PACKETS + 1 },
	{ "bytes", WEIR_LIMIT_BYTES + 1 },
	{ "connections", WEIR_LIMIT_CONNECTIONS + 1 },
	{ "flows", .instead = "connections" },
	{ "packet", .instead = "packets" },
	{ NULL },
};
static const struct weir_word action_words[] = {
	{ "drop", WEIR_ACT_DROP + 1 },	 { "reject", WEIR_ACT_REJECT + 1 }, { "ban", WEIR_ACT_BAN + 1 },
	{ "deny", .instead = "drop" },	 { "block", .instead = "drop" },    { NULL },
};

#define WORD(ID, NAME, WORDS, DOC)                                                       \
	{                                                                                \
		.id = ID, .name = NAME, .shape = WEIR_T_WORD, .words = WORDS, .doc = DOC \
	}
static const struct weir_type t_per =
	WORD("limit-per", "source, prefix or all", per_words,
	     "`source`: each source address has a bucket of its own. `prefix`: each network of sources, `/24` of IPv4 and "
	     "`/64` of IPv6 if `v4` and `v6` do not say otherwise. `all`: one bucket for all sources together.");
static const struct weir_type t_count =
	WORD("limit-count", "packets, bytes or connections", count_words,
	     "`packets` (each segment of what the network card or the kernel put together counts), `bytes` of IP packets, or "
	     "`connections`: packets that would begin a flow.");
static const struct weir_type t_action = WORD("limit-action", "drop, reject or ban", action_words,
					      "What is above the rate is dropped silently, or rejected; `ban`: dropped, and its source is banned for a while.");
static const struct weir_type t_rate = {
	.id = "rate",
	.name = "a rate like 10k/s",
	.shape = WEIR_T_SCALAR,
	.take = weir_take_rate,
	.schema = "{\"type\":\"string\",\"pattern\":\"^[1-9][0-9]{0,15}([kMG]|[KMG]iB)?/[smhd]$\"}",
	.doc = "A number, `k` (1,000), `M`, `G`, `KiB` (1,024), `MiB` or `GiB` if you like, then `/s`, `/m`, `/h` or `/d`; "
	       "10G a second at most.",
};
const struct weir_type weir_type_amount = {
	.id = "amount",
	.name = "a number like 20k",
	.shape = WEIR_T_SCALAR,
	.take = weir_take_amount,
	.schema = "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000000000000},"
		  "{\"type\":\"string\",\"pattern\":\"^[1-9][0-9]{0,15}([kMG]|[KMG]iB)$\"}]}",
	.doc = "A number; `k`, `M`, `G`, `KiB`, `MiB` and `GiB` as in a rate; 1000000G at most.",
};
static const struct weir_type t_bits4 = { .name = "a length from 1 to 32", .shape = WEIR_T_SCALAR, .take = weir_take_bits4,
					  .schema = "{\"type\":\"integer\",\"minimum\":1,\"maximum\":32}" };
static const struct weir_type t_bits6 = { .name = "a length from 1 to 128", .shape = WEIR_T_SCALAR, .take = weir_take_bits6,
					  .schema = "{\"type\":\"integer\",\"minimum\":1,\"maximum\":128}" };

#define L(FIELD, TYPE, FLAGS, DOC, EXAMPLE)                                               \
	{                                                                                 \
#FIELD, &TYPE, offsetof(struct weir_p_limit, FIELD), FLAGS, DOC, EXAMPLE \
	}
static const struct weir_key limit_keys[] = {
	L(name, weir_type_name, WEIR_KEY_NEEDED, "What messages, events and counters call it. Unique.", "flood"),
	L(per, t_per, WEIR_KEY_NEEDED, "Who shares a bucket.", "source"),
	L(count, t_count, WEIR_KEY_NEEDED, "What is counted.", "packets"),
	L(rate, t_rate, WEIR_KEY_NEEDED, "How much is let through in the long run.", "10k/s"),
	L(burst, weir_type_amount, 0,
	  "How much a bucket holds: so much passes at once after a quiet time. Absent: what the rate gives in a second, at "
	  "least 1; at least 64 KiB of bytes. What the network device puts together (up to 64 KiB of a TCP stream) passes whole or "
	  "not at all: with a burst below that, bulk TCP stays far below the rate.",
	  "20k"),
	L(action, t_action, 0, "Absent: `drop`.", "drop"),
	L(ban, weir_type_duration, 0, "With `action: ban`: for how long. Absent: `1h`.", "10m"),
	L(mode, weir_type_mode, 0, "`detect` stages this limit alone: it is reported, not done.", "detect"),
	L(log, weir_type_bool, 0, "Write an event each time that it drops (once a second for each flow).", "true"),
	L(v4, t_bits4, 0, "With `per: prefix`: bits of an IPv4 source that count. Absent: 24.", "24"),
	L(v6, t_bits6, 0, "With `per: prefix`: bits of an IPv6 source that count. Absent: 64.", "64"),
	{ NULL },
};
static const struct weir_type t_rule_per =
	WORD("rule-limit-per", "rule, source or prefix", rule_per_words,
	     "`rule`: one bucket for all that the rule lets in. `source` and `prefix` as in [limit-per](#limit-per).");
static const struct weir_type t_rule_action = WORD("rule-limit-action", "drop or reject", rule_action_words,
						   "What is above the rate is dropped silently, or rejected.");
static const struct weir_key rule_limit_keys[] = {
	L(rate, t_rate, WEIR_KEY_NEEDED, "How many connections the rule lets in, in the long run.", "10/m"),
	L(per, t_rule_per, 0, "Who shares a bucket. Absent: `rule`.", "source"),
	L(burst, weir_type_amount, 0,
	  "How many at once after a quiet time. Absent: what the rate gives in a second, at least 1.", "5"),
	L(action, t_rule_action, 0, "Absent: `drop`.", "reject"),
	L(v4, t_bits4, 0, "As in a limit.", "24"),
	L(v6, t_bits6, 0, "As in a limit.", "64"),
	{ NULL },
};
const struct weir_type weir_type_rule_limit = {
	.id = "rule-limit",
	.name = "a limit of a rule",
	.shape = WEIR_T_MAP,
	.size = sizeof(struct weir_p_limit),
	.keys = rule_limit_keys,
	.done = weir_done_rule_limit,
	.doc = "How many new connections the rule lets in. What is above the rate is stopped here, no later rule is asked; "
	       "open connections are not counted. 64 limits in all, those of `limits` included.",
};
static const struct weir_type t_limit = {
	.id = "limit",
	.name = "a limit",
	.shape = WEIR_T_MAP,
	.keys = limit_keys,
	.done = weir_done_limit,
	.doc = "A bound on what comes in, with token buckets that all CPUs share: none has a share of its own, so the rate holds "
	       "however packets are spread over them. The table of sources is bounded: a new one takes the place of the one that "
	       "owes least, so those above their rate stay in it. Packets and bytes are counted as they come in, also those of "
	       "flows that were allowed long ago; connections when they are about to be judged. What the failsafe admits is not "
	       "counted. All limits are asked in their order, and the first that is used up decides. At most 64, those of rules "
	       "included.",
};
const struct weir_type weir_type_limits = {
	.name = "a list of limits",
	.shape = WEIR_T_LIST,
	.of = &t_limit,
	.size = sizeof(struct weir_p_limit),
	.max = WEIR_LIMITS_MAX,
	.empty = true,
};

static int refuse(struct weir_walk *w, const struct weir_node *n, const char *message, const char *hint)
{
	struct weir_diag *d = weir_node_error(w->diags, n, "%s", message);

	if (hint)
		weir_diag_hint(d, "%s", hint);
	return -EINVAL;
}

#define AMOUNT_MAX 1000000000000000ull /* 1000000G: what is said with fewer digits is shown with no more */
#define AMOUNT_DIGITS 16

/* "10k", up to `end`; returns what follows, or NULL. */
static const char *amount(const char *s, uint64_t *ret)
{
	static const struct {
		const char *word;
		uint64_t times;
	} units[] = { { "KiB", 1u << 10 }, { "MiB", 1u << 20 }, { "GiB", 1u << 30 }, { "k", 1000 },
		      { "M", 1000000 },	   { "G", 1000000000 } };
	size_t n = strspn(s, "0123456789");
	uint64_t v = 0;

	if (!n || n > AMOUNT_DIGITS || *s == '0')
		return NULL;
	for (size_t i = 0; i < n; i++)
		v = v * 10 + (uint64_t)(s[i] - '0');
	s += n;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (!strncmp(s, units[i].word, strlen(units[i].word))) {
			v = v > UINT64_MAX / units[i].times ? UINT64_MAX : v * units[i].times;
			s += strlen(units[i].word);
			break;
		}
	*ret = v;
	return s;
}

/* What was meant by an amount, and by the time behind it: "5 MB / sec". */
struct meant {
	const char *digits, *unit;
	int n_digits, n_unit;
	bool blank;
	char time[3]; /* "/s", or "" */
};

/* The letter of "sec", "minutes" ...; 0: no such word. */
static char time_letter(const char *word)
{
	static const char *const words[] = { "s",    "sec", "secs", "second", "seconds", "m",	"min", "mins", "minute", "minutes",
					     "h",    "hr",  "hour", "hours",  "d",	 "day", "days" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strcasecmp(word, words[i]))
			return words[i][0];
	return 0;
}

/* False: nothing that this knows. */
static bool guess(const char *s, bool rate, struct meant *m)
{
	*m = (struct meant){ .digits = s, .n_digits = (int)strspn(s, "0123456789") };
	s += m->n_digits;
	m->blank = strchr(s, ' ');
	s += strspn(s, " ");
	m->unit = s;
	m->n_unit = (int)strcspn(s, " /");
	s += m->n_unit;
	s += strspn(s, " ");
	if (rate && *s == '/') {
		m->time[0] = '/';
		m->time[1] = time_letter(s + 1 + strspn(s + 1, " "));
		s = m->time[1] ? "" : s;
	}
	return m->n_digits && m->digits[0] != '0' && !*s && rate == (m->time[0] == '/');
}

static bool unit_is(const struct meant *m, const char *unit)
{
	return (size_t)m->n_unit == strlen(unit) && !strncasecmp(m->unit, unit, strlen(unit));
}

/* The digits are a number, and one that nobody can mean. False: they are not, and the rest of the text is to blame. */
static bool refuse_number(struct weir_walk *w, const struct weir_node *n, bool rate)
{
	size_t digits = strspn(n->text, "0123456789"), zeros = strspn(n->text, "0");
	bool whole = !n->text[digits] || !strchr(".,xXo", n->text[digits]); /* 0.5 and 0x10 are something else */
	struct weir_diag *d;

	if (!whole)
		return false;
	if (digits > AMOUNT_DIGITS) {
		d = weir_node_error(w->diags, n, "more than any machine does");
		weir_diag_hint(d, rate ? "leave the limit out" : "leave it out: there is no bound then");
	} else if (digits && zeros == digits) {
		d = weir_node_error(w->diags, n, "0 would let nothing through");
		weir_diag_hint(d, rate ? "to stop all of it write a rule that drops" : "write 1 or more, or leave it out");
	} else if (zeros) {
		d = weir_node_error(w->diags, n, "a number with a leading zero");
		weir_diag_hint(d, "write %s", n->text + zeros);
	}
	return zeros || digits > AMOUNT_DIGITS;
}

/* Not a number with a unit. MB means either of two things, so it is refused and both are named. */
static int refuse_amount(struct weir_walk *w, const struct weir_node *n, bool rate, const char *message, const char *hint)
{
	static const char *const units[] = { "k", "M", "G", "KiB", "MiB", "GiB" };
	const char *unit = NULL;
	struct weir_diag *d;
	struct meant m;

	if ((n->scalar == WEIR_STRING || n->scalar == WEIR_INT) && refuse_number(w, n, rate))
		return -EINVAL;
	d = weir_node_error(w->diags, n, "%s", message);
	if (n->scalar != WEIR_STRING || !guess(n->text, rate, &m)) {
		weir_diag_hint(d, "%s", hint);
		return -EINVAL;
	}
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if ((size_t)m.n_unit == strlen(units[i]) && !strncmp(m.unit, units[i], strlen(units[i])))
			unit = units[i];
	if (!m.n_unit || unit_is(&m, "B") || unit_is(&m, "byte") || unit_is(&m, "bytes"))
		unit = "";
	if (unit)
		weir_diag_hint(d, "%swrite %.*s%s%s", m.blank ? "no blank: " : "", m.n_digits, m.digits, unit, m.time);
	else if (unit_is(&m, "kB") || unit_is(&m, "MB") || unit_is(&m, "GB") || unit_is(&m, "K")) {
		char c = (char)(m.unit[0] & ~0x20); /* as a capital */

		char what[24];

		snprintf(what, sizeof what, "%.*s", m.n_unit, m.unit);
		weir_diag_hint(d, "%s: write %.*s%c%s or %.*s%ciB%s",
			       !m.blank ? what : m.n_unit == 1 ? "no blank" : "no blank and no B", m.n_digits, m.digits, c == 'K' ? 'k' : c, m.time, m.n_digits, m.digits, c, m.time);
	} else {
		weir_diag_hint(d, "%s", hint);
	}
	return -EINVAL;
}

int weir_take_rate(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	static const char units[] = "smhd";
	static const uint32_t seconds[] = { 1, 60, 3600, 86400 };
	struct weir_p_rate r = { 0 };
	const char *rest = n->scalar == WEIR_STRING ? amount(n->text, &r.n) : NULL, *unit;

	if (n->scalar == WEIR_INT)
		return refuse(w, n, "a rate without a time", "write /s, /m, /h or /d behind it: 100/s");
	if (!rest || rest[0] != '/' || !rest[1] || rest[2] || !(unit = strchr(units, rest[1])))
		return refuse_amount(w, n, true, "expected a rate like 10k/s",
				     "a number, k, M, G, KiB, MiB or GiB, and /s, /m, /h or /d");
	r.seconds = seconds[unit - units];
	if (r.n / r.seconds > 10000000000ull)
		return refuse(w, n, "more than 10G a second", "leave the limit out");
	*(struct weir_p_rate *)dst = r;
	return 0;
}

int weir_take_amount(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	uint64_t v = 0;
	const char *rest = n->scalar == WEIR_STRING || n->scalar == WEIR_INT ? amount(n->text, &v) : NULL;

	if (!rest || *rest || (n->scalar == WEIR_STRING && n->text[strspn(n->text, "0123456789")] == 0))
		return refuse_amount(w, n, false, "expected a number like 20k",
				     "a number, and k, M, G, KiB, MiB or GiB if you like");
	if (v > AMOUNT_MAX)
		return refuse(w, n, "more than 1000000G", "leave it out: there is no bound then");
	*(uint64_t *)dst = v;
	return 0;
}

static int take_bits(struct weir_walk *w, const struct weir_node *n, uint32_t max, uint32_t *ret)
{
	struct weir_why why;

	if (n->scalar != WEIR_INT || weir_number_parse(n->text, 1, max, ret, &why) < 0)
		return refuse(w, n, max == 32 ? "expected a length from 1 to 32" : "expected a length from 1 to 128", NULL);
	return 0;
}

int weir_take_bits4(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	return take_bits(w, n, 32, dst);
}

int weir_take_bits6(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	return take_bits(w, n, 128, dst);
}

int weir_done_rule_limit(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_p_limit *l = dst;

	l->count = WEIR_LIMIT_RULE + 1;
	l->per = l->per ? l->per : WEIR_PER_ALL + 1;
	return weir_done_limit(w, n, dst);
}

int weir_done_limit(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_p_limit *l = dst;
	struct weir_limit x = { .rate = l->rate.n, .rate_s = l->rate.seconds };

	l->node = n;
	if ((l->v4 || l->v6) && l->per != WEIR_PER_PREFIX + 1)
		return refuse(w, weir_node_get(n, l->v4 ? "v4" : "v6"), "a length without 'per: prefix'", "write per: prefix");
	if (l->ban && l->action != WEIR_ACT_BAN + 1)
		return refuse(w, weir_node_get(n, "ban"), "'ban' without 'action: ban'", "write action: ban");
	if (l->action == WEIR_ACT_BAN + 1 && l->per == WEIR_PER_ALL + 1)
		return refuse(w, weir_node_get(n, "action"), "a ban of who came last, of all together",
			      "write per: source or per: prefix");
	if (!l->burst) {
		l->burst = l->rate.n / l->rate.seconds;
		if (l->count == WEIR_LIMIT_BYTES + 1 && l->burst < 65536)
			l->burst = 65536;
		if (!l->burst)
			l->burst = 1;
	}
	x.burst = l->burst;
	x.count = l->count - 1;
	if (!weir_limit_make(&x) && !weir_node_get(n, "burst"))
		return refuse(w, weir_node_get(n, "rate"),
			      "a limit of bytes without a burst holds 64KiB, which take more than 13 days to fill at this rate",
			      "write a higher rate, or a burst");
	if (!weir_limit_make(&x))
		return refuse(w, weir_node_get(n, "burst") ?: n, "a burst that takes more than 13 days to fill at this rate",
			      "write a smaller burst");
	return 0;
}
