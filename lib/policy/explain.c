/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a packet, step by step, from the same evaluation that the kernel runs. The steps are
 * gathered once and shown twice, as lines and as JSON.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/image_blob.h"
#include "core/parse.h"
#include "core/policy.h"
#include "lib/policy/daytime.h"
#include "lib/policy/policy.h"
#include "lib/policy/value.h"
#include "lib/util/cleanup.h"
#include "lib/util/text.h"

struct step {
	const char *name;
	char text[512];
};

struct steps {
	struct step v[6];
	size_t n;
	json_t *rules; /* those that are not FALSE: label, truth, outcome */
	struct weir_result res;
	bool lo, under_wish; /* nothing but a staged default lets it by: who wants that says more */
};

static void say(struct steps *s, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void say(struct steps *s, const char *name, const char *fmt, ...)
{
	struct step *v = &s->v[s->n++];
	va_list ap;

	v->name = name;
	va_start(ap, fmt);
	vsnprintf(v->text, sizeof v->text, fmt, ap);
	va_end(ap);
}

/* Buckets are not known here: which limits the packet would be counted in. What this host sends is in none. */
static void say_limits(struct steps *s, const struct weir_img *img, const struct weir_packet_spec *spec)
{
	char text[400] = "", rate[48];
	const struct weir_limit *l;
	size_t at = 0;

	for (uint32_t i = 0; spec->dir != WEIR_DIR_OUT && (l = weir_img_limit(img, i)); i++)
		if (at < sizeof text && l->count != WEIR_LIMIT_RULE)
			at += (size_t)snprintf(text + at, sizeof text - at, "%s'%s' (%s %s per %s%s)", at ? ", " : "",
					       weir_img_string(img, l->name), weir_limit_rate_text(l, rate, sizeof rate),
					       weir_limit_count_name(l->count), weir_limit_per_name(l->per_what),
					       l->mode == WEIR_DETECT ? ", staged" : "");
	say(s, "limits", "%s%s", at ? "passes while it is below " : "none", weir_text_whole(text));
}

static const char *action_name(uint32_t action)
{
	static const char *const names[] = { "allow", "drop", "reject", "log", "ban" };

	return action < 5 ? names[action] : "?";
}

static const char *verdict_word(uint32_t verdict)
{
	return verdict == WEIR_PASS ? "allow" : weir_verdict_name(verdict);
}

/* The facts that a condition asks for and nobody has named. */
static void unknown_facts(const struct weir_img *img, const struct weir_rule *r, const struct weir_facts *f, char *buf,
			  size_t size)
{
	static const struct {
		uint32_t conds, fact;
		const char *name;
	} facts[] = {
		{ WEIR_C_PORTS | WEIR_C_SPORTS, WEIR_K_PORTS, "ports" },
		{ WEIR_C_ICMP, WEIR_K_ICMP, "icmp type" },
		{ WEIR_C_MAC, WEIR_K_MAC, "mac" },
		{ WEIR_C_TIME, WEIR_K_TIME, "time" },
		{ WEIR_C_IN_IF | WEIR_C_ANY_IF, WEIR_K_IN_IF, "incoming interface" },
		{ WEIR_C_OUT_IF | WEIR_C_ANY_IF, WEIR_K_OUT_IF, "outgoing interface" },
	};
	uint32_t set = r->pos.set | (r->flags & WEIR_RF_NOT ? weir_img_neg(img, r->neg)->set : 0);
	size_t n = 0;

	*buf = 0;
	for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
		if ((set & facts[i].conds) && !(f->known & facts[i].fact) && n < size)
			n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? ", " : "", facts[i].name);
}

static void say_default(struct steps *s, const struct weir_img *img, uint8_t dir)
{
	const struct weir_fixed *d = &img->cfg->defaults[weir_dir_index(dir)];
	const char *label = dir == WEIR_DIR_IN	  ? "default inbound"
			    : dir == WEIR_DIR_OUT ? "default outbound"
						  : "default forward";
	bool staged = d->mode == WEIR_DETECT && d->action;

	s->under_wish = staged && s->res.wanted == s->res.enforced;
	json_array_append_new(
		s->rules,
		json_pack("{s:s, s:s, s:s, s:o}", "rule", label, "truth", "true", "action", action_name(d->action),
			  "text", json_sprintf("-> %s%s", action_name(d->action), staged ? ", staged: not done" : "")));
}

/* It fits, and not now: who asks why is told. */
static void say_untimely(struct steps *s, const struct weir_img *img, uint32_t i, const struct weir_facts *f)
{
	const struct weir_rule *r = weir_img_rule(img, WEIR_RULES, i);
	struct weir_facts ever = *f;
	char label[160];

	ever.known &= ~(uint32_t)WEIR_K_TIME;
	if (!((r->pos.set | (r->flags & WEIR_RF_NOT ? weir_img_neg(img, r->neg)->set : 0)) & WEIR_C_TIME) ||
	    weir_rule_eval(img, img->cfg, WEIR_RULES, i, r, &ever) == WEIR_FALSE)
		return;
	json_array_append_new(s->rules,
			      json_pack("{s:s, s:s, s:s, s:o}", "rule",
					weir_rule_label(img, i, WEIR_REASON_RULE, label, sizeof label), "truth", "false", "action",
					action_name(r->action), "text",
					json_sprintf("FALSE: not at this time, else -> %s", action_name(r->action))));
}

/* Every rule that is not FALSE, or is it only for its time, up to the one that ends the enforced walk; where nothing is enforced, the wished one.
 */
static void walk_rules(struct steps *s, const struct weir_img *img, const struct weir_facts *f)
{
	bool watching = img->cfg->mode == WEIR_DETECT;
	uint32_t n = img->cfg->n_rules;

	s->rules = json_array();
	for (uint32_t i = 0; i < n; i++) {
		const struct weir_rule *r = weir_img_rule(img, WEIR_RULES, i);
		enum weir_tri t = weir_rule_eval(img, img->cfg, WEIR_RULES, i, r, f);
		char label[160], unknown[160], text[256], bounds[WEIR_BOUNDS_TEXT];
		bool on = r->action == WEIR_ACT_LOG || r->action == WEIR_ACT_BAN, allows = r->action == WEIR_ACT_ALLOW || on;
		bool ends = !on && !(t == WEIR_UNKNOWN && allows);
		const char *staged = r->mode != WEIR_DETECT || !ends	       ? ""
				     : watching && r->action == WEIR_ACT_ALLOW ? ""
				     : r->action == WEIR_ACT_ALLOW	       ? ", staged: passed over"
									       : ", staged: not done";

		if (t == WEIR_FALSE) {
			say_untimely(s, img, i, f);
			continue;
		}
		unknown_facts(img, r, f, unknown, sizeof unknown);
		weir_rule_more(img, r, bounds, sizeof bounds);
		if (t == WEIR_TRUE)
			snprintf(text, sizeof text, "TRUE -> %s%s%s%s", action_name(r->action), *bounds ? ", " : "", bounds,
				 staged);
		else
			snprintf(text, sizeof text, "UNKNOWN: %s -> %s%s", unknown,
				 allows ? "does not match" : action_name(r->action), staged);
		json_array_append_new(s->rules,
				      json_pack("{s:s, s:s, s:s, s:s}", "rule",
						weir_rule_label(img, i, WEIR_REASON_RULE, label, sizeof label), "truth",
						t == WEIR_TRUE ? "true" : "unknown", "action", action_name(r->action),
						"text", text));
		if (watching && t == WEIR_TRUE && r->action == WEIR_ACT_ALLOW)
			s->under_wish = s->res.wanted == s->res.enforced;
		if (ends && (r->mode == WEIR_PREVENT || (watching && t == WEIR_TRUE)))
			return;
	}
	say_default(s, img, f->dir);
}

/* The time of day is that of the question, where the packet names none. */
static void say_packet(struct steps *s, const struct weir_img *img, const struct weir_packet_spec *spec, struct weir_facts *f)
{
	const char *form = spec->frag ? "a later fragment: it has no ports" : "well formed";
	time_t now = time(NULL);
	uint32_t minute = spec->minute;
	struct tm tm;
	char text[16];

	if (!(img->cfg->conds_used & WEIR_C_TIME) || (!spec->has_minute && !localtime_r(&now, &tm))) {
		say(s, "packet", "%s", form);
		return;
	}
	if (!spec->has_minute)
		minute = weir_minute_of(&tm);
	weir_classify_time(img, f, minute);
	say(s, "packet", "%s; at %s%s", form, weir_minute_text(minute, text, sizeof text), spec->has_minute ? "" : ", as it is now");
}

/* The stages in the order of core/policy.h; each that decides is the last line. */
static void judge(struct steps *s, const struct weir_img *img, const struct weir_packet_spec *spec)
{
	struct weir_result staged;
	struct weir_facts f;
	char label[160];

	weir_packet_facts(img, spec, &f);
	weir_result_init(&s->res);
	if (weir_judge_fragment(img->cfg, spec->frag, &s->res)) {
		say(s, "packet", "a fragment, and packets.fragments says drop");
		return;
	}
	say_packet(s, img, spec, &f);
	s->lo = (img->cfg->essentials & WEIR_ESS_LO) && (!strcmp(spec->in_if, "lo") || !strcmp(spec->out_if, "lo"));
	if (s->lo) {
		weir_result_set(&s->res, WEIR_PASS, WEIR_REASON_FAILSAFE, WEIR_RULE_NONE);
		say(s, "failsafe", "yes: lo");
		return;
	}
	staged = s->res;
	weir_packet_judge(img, &f, false, &s->res);
	if (weir_result_staged(&staged)) { /* what a fragment verdict in mode detect wanted stays wanted */
		s->res.wanted = staged.wanted;
		s->res.wanted_reason = staged.wanted_reason;
		s->res.wanted_rule = staged.wanted_rule;
	}
	if (s->res.enforced_reason == WEIR_REASON_FAILSAFE) {
		say(s, "failsafe", "yes: %s",
		    weir_rule_label(img, s->res.enforced_rule, WEIR_REASON_FAILSAFE, label, sizeof label));
		return;
	}
	say(s, "failsafe", "no");
	if (s->res.wanted_reason == WEIR_REASON_BLOCKLIST) {
		say(s, "bans, blocklists", "yes: the remote address stands in %s%s",
		    weir_rule_label(img, s->res.wanted_rule, WEIR_REASON_BLOCKLIST, label, sizeof label),
		    s->res.enforced == WEIR_PASS ? ", staged: not done" : "");
		if (s->res.enforced_reason == WEIR_REASON_BLOCKLIST)
			return;
	} else {
		say(s, "bans, blocklists", "no");
	}
	say_limits(s, img, spec);
	if ((spec->proto == WEIR_IPPROTO_ICMP || spec->proto == WEIR_IPPROTO_ICMPV6) &&
	    weir_icmp_is_error(spec->family, spec->icmp_type) && (img->cfg->essentials & WEIR_ESS_ICMP_ERRORS))
		say(s, "flow", "new (of a known flow it would pass, by failsafe 'icmp-errors')");
	else
		say(s, "flow", "new");
	walk_rules(s, img, &f);
}

/* --- the command that would let it by --- */

static void fix_blocklist(FILE *out, const struct weir_img *img, const struct weir_packet_spec *s, uint32_t list)
{
	bool at_src = s->dir != WEIR_DIR_OUT && weir_block_find(img, s->t.src) == list - WEIR_RULE_BLOCKLIST + 1;
	bool at_dst = s->dir != WEIR_DIR_IN && weir_block_find(img, s->t.dst) == list - WEIR_RULE_BLOCKLIST + 1;
	const char *set = weir_blocklist_name(img, list);
	char addr[64];

	if (set && (at_src || at_dst)) /* neither: it was taken out since */
		fprintf(out, "weir set remove %s %s", set + 1,
			weir_addr_format(weir_u128_from(at_src ? s->t.src : s->t.dst), addr, sizeof addr));
}

/* The ends that a rule would name: who came in, who was asked, both where it only passes through. */
int weir_fix_rule(FILE *out, const struct weir_packet_spec *s, unsigned before, bool narrow)
{
	static const char *const dirs[] = {
		[WEIR_DIR_IN] = "inbound", [WEIR_DIR_OUT] = "outbound", [WEIR_DIR_FWD] = "forward"
	};
	char addr[64], name[48];

	if (weir_proto_has_ports(s->proto) && !s->frag && !s->t.dport) /* a rule without ports would open all of them */
		return -ENOENT;
	fputs("weir rule add", out);
	if (s->dir != WEIR_DIR_OUT || narrow)
		fprintf(out, " --src %s", weir_addr_format(weir_u128_from(s->t.src), addr, sizeof addr));
	if (s->dir != WEIR_DIR_IN || narrow)
		fprintf(out, " --dst %s", weir_addr_format(weir_u128_from(s->t.dst), addr, sizeof addr));
	if (s->proto == WEIR_IPPROTO_ICMP || s->proto == WEIR_IPPROTO_ICMPV6)
		fprintf(out, " --%s %u/%u", s->proto == WEIR_IPPROTO_ICMP ? "icmp" : "icmpv6", s->icmp_type, s->icmp_code);
	else if (weir_proto_has_ports(s->proto) && s->t.dport)
		fprintf(out, " --port %u", s->t.dport);
	if (s->proto != WEIR_IPPROTO_ICMP && s->proto != WEIR_IPPROTO_ICMPV6)
		fprintf(out, " --proto %s", weir_proto_name(s->proto, name, sizeof name));
	/* without it, what lets one in to this host would let him through it, too */
	fprintf(out, " --direction %s", dirs[s->dir]);
	if (before) /* behind an added rule that stops it an allow would change nothing */
		fprintf(out, " --before %u", before);
	fprintf(out, "%s --action allow", narrow ? " --for 1h" : "");
	return 0;
}

int weir_packet_fix(FILE *out, const struct weir_img *img, const struct weir_packet_spec *s,
		    const struct weir_result *r)
{
	uint32_t reason = r->wanted_reason;
	char addr[64];

	if (reason == WEIR_REASON_BLOCKLIST) {
		fix_blocklist(out, img, s, r->wanted_rule);
		return 0;
	}
	if (reason == WEIR_REASON_BAN) {
		fprintf(out, "weir ban remove %s",
			weir_addr_format(weir_u128_from(s->dir == WEIR_DIR_OUT ? s->t.dst : s->t.src), addr,
					 sizeof addr));
		return 0;
	}
	if (reason != WEIR_REASON_RULE && reason != WEIR_REASON_DEFAULT)
		return -ENOENT;
	return weir_fix_rule(out, s, r->wanted_rule < img->cfg->n_rules ? weir_img_rule(img, 0, r->wanted_rule)->overlay_id : 0,
			     false);
}

static char *fix_text(const struct weir_img *img, const struct weir_packet_spec *s, const struct weir_result *r)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	FILE *f;
	int err;

	if (r->wanted == WEIR_PASS)
		return NULL;
	f = open_memstream(&text, &size);
	if (!f)
		return NULL;
	err = weir_packet_fix(f, img, s, r);
	fclose(f);
	return err < 0 || !text || !*text ? NULL : TAKE_PTR(text);
}

/* --- two ways to show it --- */

static const char *by(const struct weir_img *img, const struct steps *s, uint32_t rule, uint32_t reason, char *buf,
		      size_t size)
{
	if (s->lo)
		snprintf(buf, size, "failsafe 'lo'");
	else
		weir_rule_label(img, rule, reason, buf, size);
	return buf;
}

static void put_by(FILE *out, const struct weir_img *img, const struct steps *s, uint32_t rule, uint32_t reason)
{
	char label[160];

	by(img, s, rule, reason, label, sizeof label);
	fputs("  by ", out);
	weir_text_put(out, label, strlen(label));
	fprintf(out, ", reason %s", weir_reason_name(reason));
}

static void conclude(FILE *out, const struct weir_img *img, const struct steps *s, bool color)
{
	const struct weir_result *r = &s->res;
	bool watching = img->cfg->mode == WEIR_DETECT, differ = r->wanted != r->enforced;

	fprintf(out, "=> %s%s%s", color ? r->enforced ? "\x1b[1;31m" : "\x1b[1;32m" : "", verdict_word(r->enforced),
		color ? "\x1b[0m" : "");
	if (watching && differ)
		fputs("  since nothing is blocked in mode detect", out);
	else if (s->under_wish)
		put_by(out, img, s, r->wanted_rule, r->wanted_reason);
	else
		put_by(out, img, s, r->enforced_rule, r->enforced_reason);
	putc('\n', out);
	if (!differ)
		return;
	fprintf(out, "   would %s", verdict_word(r->wanted));
	put_by(out, img, s, r->wanted_rule, r->wanted_reason);
	fputs(watching ? "\n" : ": it is staged (mode detect)\n", out);
}

int weir_explain(FILE *out, const struct weir_img *img, const struct weir_packet_spec *spec, bool color)
{
	struct steps s = { 0 };
	_cleanup_free_ char *fix = NULL;
	const struct weir_result *r = &s.res;
	size_t width = 18, i;
	json_t *row;

	judge(&s, img, spec);
	json_array_foreach(s.rules, i, row)
	{
		size_t n = strlen(json_string_value(json_object_get(row, "rule")));

		width = n + 2 > width && n < 60 ? n + 2 : width;
	}
	for (i = 0; i < s.n; i++)
		fprintf(out, "%zu %-*s%s\n", i + 1, (int)width, s.v[i].name, s.v[i].text);
	json_array_foreach(s.rules, i, row)
	{
		const char *rule = json_string_value(json_object_get(row, "rule"));
		size_t cols;

		fputs(i ? "  " : "6 ", out);
		cols = weir_text_put(out, rule, strlen(rule));
		fprintf(out, "%*s%s\n", cols < width ? (int)(width - cols) : 1, "",
			json_string_value(json_object_get(row, "text")));
	}
	json_decref(s.rules);
	conclude(out, img, &s, color);
	fix = fix_text(img, spec, r);
	if (fix)
		fprintf(out, "   fix: %s\n", fix);
	return 0;
}

static json_t *verdict_json(const struct weir_img *img, const struct steps *s, uint32_t verdict, uint32_t rule,
			    uint32_t reason)
{
	char name[160], place[160];

	weir_rule_name(img, rule, name, sizeof name);
	return json_pack("{s:s, s:s, s:s, s:s}", "verdict", verdict_word(verdict), "reason", weir_reason_name(reason),
			 "rule", s->lo ? "lo" : name, "place", weir_rule_place(img, rule, place, sizeof place));
}

char *weir_explain_json(const struct weir_img *img, const struct weir_packet_spec *spec)
{
	struct steps s = { 0 };
	const struct weir_result *r = &s.res;
	_cleanup_free_ char *fix = NULL;
	json_t *j, *steps = json_array();
	char *text;

	judge(&s, img, spec);
	for (size_t i = 0; i < s.n; i++)
		json_array_append_new(steps, json_pack("{s:s, s:s}", "step", s.v[i].name, "text", s.v[i].text));
	fix = fix_text(img, spec, r);
	j = json_pack("{s:o, s:o, s:o, s:o, s:s*}", "steps", steps, "rules", s.rules ? s.rules : json_array(), "wanted",
		      verdict_json(img, &s, r->wanted, r->wanted_rule, r->wanted_reason), "enforced",
		      verdict_json(img, &s, r->enforced, r->enforced_rule, r->enforced_reason), "fix", fix);
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	return text;
}
