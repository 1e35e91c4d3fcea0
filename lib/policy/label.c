/* SPDX-License-Identifier: Apache-2.0 */
/* Names for people: rules, places, reasons, verdicts, and the command that would let a packet by. */
#include <string.h>

#include "core/image_blob.h"
#include "core/reason.h"
#include "lib/policy/flat.h"
#include "lib/util/text.h"

static const struct weir_rule *rule_of(const struct weir_img *img, uint32_t rule)
{
	if (rule >= WEIR_RULE_FAILSAFE && rule < WEIR_RULE_FAILSAFE + WEIR_FAILSAFE_MAX)
		return weir_img_rule(img, 1, rule - WEIR_RULE_FAILSAFE);
	return weir_img_rule(img, 0, rule);
}

static const char *fixed_name(uint32_t rule)
{
	return rule == WEIR_RULE_DEFAULT_IN    ? "default inbound"
	       : rule == WEIR_RULE_DEFAULT_OUT ? "default outbound"
	       : rule == WEIR_RULE_DEFAULT_FWD ? "default forward"
					       : "";
}

static const struct weir_limit *limit_of(const struct weir_img *img, uint32_t rule)
{
	return rule >= WEIR_RULE_LIMIT && rule < WEIR_RULE_FAILSAFE ? weir_img_limit(img, rule - WEIR_RULE_LIMIT) : NULL;
}

bool weir_limit_of_rule(const struct weir_img *img, uint32_t rule)
{
	const struct weir_limit *l = limit_of(img, rule);

	return l && l->rule;
}

const char *weir_blocklist_name(const struct weir_img *img, uint32_t rule)
{
	uint32_t i = rule - WEIR_RULE_BLOCKLIST, n = img->h->block_sets.count;
	const struct weir_list_info *l = NULL;

	if (rule >= WEIR_RULE_BLOCKLIST && rule < WEIR_RULE_LIMIT && (i + 1 < WEIR_BLOCK_LISTS || n <= WEIR_BLOCK_LISTS))
		l = weir_img_at(img, &img->h->block_sets, i, sizeof *l);
	return l ? weir_img_string(img, l->name) : NULL;
}

const char *weir_rule_name(const struct weir_img *img, uint32_t rule, char *buf, size_t size)
{
	const struct weir_rule *r = rule_of(img, rule);
	const struct weir_limit *l = limit_of(img, rule);
	const char *set = weir_blocklist_name(img, rule);

	if (set)
		snprintf(buf, size, "blocklist %s", set);
	else if (rule >= WEIR_RULE_BLOCKLIST && rule < WEIR_RULE_LIMIT)
		snprintf(buf, size, "the other blocklists");
	else
		snprintf(buf, size, "%s",
			 r ? weir_img_string(img, r->name) : l ? weir_img_string(img, l->name) : fixed_name(rule));
	return weir_text_whole(buf);
}

const char *weir_rule_place(const struct weir_img *img, uint32_t rule, char *buf, size_t size)
{
	const struct weir_limit *l = limit_of(img, rule);
	const struct weir_rule *r = rule_of(img, l && l->rule ? l->rule - 1 : rule);

	snprintf(buf, size, "%s", r ? weir_img_string(img, r->place) : "");
	return weir_text_whole(buf);
}

const char *weir_rule_label(const struct weir_img *img, uint32_t rule, uint32_t reason, char *buf, size_t size)
{
	const struct weir_rule *r = rule_of(img, rule);
	const char *name = r ? weir_img_string(img, r->name) : "", *place = r ? weir_img_string(img, r->place) : "";
	const struct weir_limit *l = limit_of(img, rule);

	if (rule >= WEIR_RULE_BLOCKLIST && rule < WEIR_RULE_LIMIT)
		return weir_rule_name(img, rule, buf, size);
	if (l)
		snprintf(buf, size, "limit '%s'", weir_img_string(img, l->name));
	else if (!r && *fixed_name(rule))
		snprintf(buf, size, "%s", fixed_name(rule));
	else if (!r && reason == WEIR_REASON_FAILSAFE)
		snprintf(buf, size, "failsafe");
	else if (!r)
		snprintf(buf, size, "%s", weir_reason_name(reason));
	else if (rule >= WEIR_RULE_FAILSAFE)
		snprintf(buf, size, "failsafe '%s'", name);
	else if (weir_rule_unnamed(name) || !strcmp(name, place))
		snprintf(buf, size, "%s", name);
	else
		snprintf(buf, size, "rule '%s' (%s)", name, place);
	return weir_text_whole(buf);
}

const char *weir_reason_name(uint32_t reason)
{
	switch (reason) {
#define X(NAME, number, name, meaning) \
	case number:                   \
		return name;
#include "core/reason.def"
#undef X
	default:
		return "unknown";
	}
}

const char *weir_verdict_name(uint32_t verdict)
{
	return verdict == WEIR_DROP ? "drop" : verdict == WEIR_REJECT ? "reject" : "pass";
}

const char *weir_mode_name(uint32_t mode)
{
	return mode == WEIR_PREVENT ? "prevent" : "detect";
}

const char *weir_seconds_text(uint32_t seconds, char *buf, size_t size)
{
	static const struct {
		uint32_t s;
		char unit;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	size_t i = 0;

	while (seconds % units[i].s)
		i++;
	snprintf(buf, size, "%u%c", seconds / units[i].s, units[i].unit);
	return buf;
}

/* As a policy says it: 10M. */
static const char *amount_text(uint64_t n, char *buf, size_t size)
{
	static const struct {
		uint64_t times;
		const char *unit;
	} units[] = { { 1u << 30, "GiB" }, { 1000000000, "G" }, { 1u << 20, "MiB" }, { 1000000, "M" },
		      { 1u << 10, "KiB" }, { 1000, "k" },	{ 1, "" } };
	size_t i = 0;

	while (n % units[i].times)
		i++;
	snprintf(buf, size, "%llu%s", (unsigned long long)(n / units[i].times), units[i].unit);
	return buf;
}

const char *weir_bounds_text(uint32_t max_duration, uint32_t idle, uint64_t max_bytes, char *buf, size_t size)
{
	char lasts[16] = "", silent[16] = "", bytes[24] = "";

	if (max_bytes)
		amount_text(max_bytes, bytes, sizeof bytes);
	if (max_duration)
		weir_seconds_text(max_duration, lasts, sizeof lasts);
	if (idle)
		weir_seconds_text(idle, silent, sizeof silent);
	snprintf(buf, size, "%s%s%s%s%s%s%s%s%s", max_duration ? "for " : "", lasts, max_duration ? " at most" : "",
		 max_duration && (idle || max_bytes) ? ", " : "", max_bytes ? bytes : "", max_bytes ? " bytes at most" : "",
		 max_bytes && idle ? ", " : "", idle ? "idle for at most " : "", silent);
	return buf;
}

const char *weir_rule_more(const struct weir_img *img, const struct weir_rule *r, char *buf, size_t size)
{
	const struct weir_limit *l = r->limit ? weir_img_limit(img, r->limit - 1) : NULL;
	char span[16];
	size_t n = 0;

	if (l) {
		n = strlen(weir_limit_text(l, buf, size));
		if (weir_rule_bounds(r) && n < size)
			n += (size_t)snprintf(buf + n, size - n, ", ");
	}
	if (r->action != WEIR_ACT_BAN) {
		if (n < size)
			weir_bounds_text(r->max_duration, r->idle, r->max_bytes, buf + n, size - n);
		return buf;
	}
	snprintf(buf, size, "who opened, for %s", weir_seconds_text(r->max_duration, span, sizeof span));
	return buf;
}
