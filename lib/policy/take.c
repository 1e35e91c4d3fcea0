/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/policy/take.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/policy/daytime.h"
#include "lib/policy/model.h"

/* Refuse a scalar that is not of the kind asked for; the message names the kind that was found. */
static int want(struct weir_walk *w, const struct weir_node *n, enum weir_scalar kind, const char *what)
{
	struct weir_diag *d;

	if (n->scalar == kind)
		return 0;
	d = weir_node_error(w->diags, n, "expected %s, found %s", what, weir_node_kind(n));
	if (kind == WEIR_INT && n->quoted && n->source->name && n->text[0] && !n->text[strspn(n->text, "0123456789")])
		weir_diag_hint(d, "take the quotes away");
	else if (!strcmp(what, "a name") && n->scalar != WEIR_NULL)
		weir_diag_hint(d, "quote it: \"%s\"", n->text);
	else if (kind == WEIR_BOOL && (!strcmp(n->text, "yes") || !strcmp(n->text, "on")))
		weir_diag_hint(d, "write true");
	else if (kind == WEIR_BOOL && (!strcmp(n->text, "no") || !strcmp(n->text, "off")))
		weir_diag_hint(d, "write false");
	return -EINVAL;
}

static int refuse(struct weir_walk *w, const struct weir_node *n, const struct weir_why *why)
{
	struct weir_diag *d = weir_node_error(w->diags, n, "%s", why->message);

	if (why->hint[0])
		weir_diag_hint(d, "%s", why->hint);
	return -EINVAL;
}

static int refuse_text(struct weir_walk *w, const struct weir_node *n, const char *message, const char *hint)
{
	struct weir_diag *d = weir_node_error(w->diags, n, "%s", message);

	if (hint)
		weir_diag_hint(d, "%s", hint);
	return -EINVAL;
}

/* "80,443", as command lines have it. */
static int refuse_commas(struct weir_walk *w, const struct weir_node *n)
{
	weir_diag_hint(weir_node_error(w->diags, n, "a list without brackets"), "write [%s]", n->text);
	return -EINVAL;
}

int weir_take_version(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	if (want(w, n, WEIR_INT, "the number 1") < 0)
		return -EINVAL;
	if (strcmp(n->text, "1")) {
		weir_diag_hint(weir_node_error(w->diags, n, "version %s is not known", n->text),
			       "this weir reads version 1");
		return -EINVAL;
	}
	*(uint32_t *)dst = 1;
	return 0;
}

int weir_take_bool(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	if (want(w, n, WEIR_BOOL, "true or false") < 0)
		return -EINVAL;
	*(bool *)dst = tolower((unsigned char)n->text[0]) == 't';
	return 0;
}

int weir_take_name(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	size_t len = strlen(n->text), runes = 0;

	if (want(w, n, WEIR_STRING, "a name") < 0)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		runes += ((unsigned char)n->text[i] & 0xc0) != 0x80;
	if (!len)
		return refuse_text(w, n, "an empty name", NULL);
	if (runes > 64)
		return refuse_text(w, n, "a name of more than 64 characters", NULL);
	if (n->text[0] == ' ' || n->text[len - 1] == ' ')
		return refuse_text(w, n, "a name that begins or ends with a space", NULL);
	if (!strncmp(n->text, "rule at ", 8))
		return refuse_text(w, n, "'rule at ...' is what weir calls rules without a name",
				   "choose another name");
	*(const char **)dst = n->text;
	return 0;
}

int weir_take_duration(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_why why;

	if (n->scalar == WEIR_INT)
		return refuse_text(w, n, "a duration without a unit", "write s, m, h or d behind it: 60s");
	if (want(w, n, WEIR_STRING, "a duration like 60s") < 0)
		return -EINVAL;
	return weir_duration_parse(n->text, dst, &why) < 0 ? refuse(w, n, &why) : 0;
}

/* A sign of life comes every second: what is shorter than a few of them would fail by itself. */
int weir_take_patience(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	int r = weir_take_duration(w, n, dst);

	if (r)
		return r;
	return *(uint32_t *)dst < 5 ? refuse_text(w, n, "shorter than 5 seconds", "write 5s or more") : 0;
}

bool weir_set_name_ok(const char *s)
{
	size_t n = strlen(s);

	return n >= 1 && n <= 63 && (isalpha((unsigned char)*s) || *s == '_') &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

static int take_set_text(struct weir_walk *w, const struct weir_node *n, struct weir_p_addr *a)
{
	if (!weir_set_name_ok(n->text + 1))
		return refuse_text(w, n, "bad name of a set",
				   "'$', a letter, then letters, digits, '_', '.', '-', 63 at most");
	a->set = n->text + 1;
	return 0;
}

/* Would a person read this as a name of a host? Its last part has a letter then. */
static bool looks_like_name(const char *s)
{
	const char *dot = strrchr(s, '.');
	bool letter = false;

	for (const char *p = s; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr(".-_*", *p))
			return false;
	for (const char *p = dot; p && *p; p++)
		letter |= isalpha((unsigned char)*p);
	return letter;
}

/* Does the file that is read, or the policy that a rule is added to, have a set of this name? */
static bool is_set(const struct weir_walk *w, const char *name)
{
	const struct weir_node *sets = w->root && w->root->kind == WEIR_MAP ? weir_node_get(w->root, "sets") : NULL;

	if (sets && sets->kind == WEIR_MAP && weir_node_get(sets, name))
		return true;
	return w->policy && weir_policy_set(w->policy, name);
}

/* "10.0.0.1:22", "[::1]:22", as command lines have it. */
static bool has_port(const char *s)
{
	const char *colon = strrchr(s, ':');

	if (!colon || (colon != strchr(s, ':') && colon[-1] != ']'))
		return false;
	return colon[1] && !colon[1 + strspn(colon + 1, "0123456789")];
}

static int take_addr(struct weir_walk *w, const struct weir_node *n, struct weir_p_addr *a, bool plain)
{
	struct weir_why why;

	if (want(w, n, WEIR_STRING, "an address") < 0)
		return -EINVAL;
	a->node = n;
	if (n->text[0] == '$')
		return plain ? refuse_text(w, n, "a set cannot hold another set", "name both where they are used")
			     : take_set_text(w, n, a);
	if (!strcmp(n->text, "any")) {
		a->any = true;
		return plain ? refuse_text(w, n, "'any' is no address", "write [0.0.0.0/0, \"::/0\"]") : 0;
	}
	if (strchr(n->text, ','))
		return refuse_commas(w, n);
	if (looks_like_name(n->text)) {
		weir_diag_hint(weir_node_error(w->diags, n, "the name '%s': not in this version", n->text),
			       "write its addresses");
		return -EINVAL;
	}
	if (weir_range_parse(n->text, &a->range, &why) == 0)
		return 0;
	if (!plain && is_set(w, n->text))
		snprintf(why.hint, sizeof why.hint, "did you mean $%s?", n->text);
	else if (has_port(n->text))
		snprintf(why.hint, sizeof why.hint, "the port goes into 'ports'");
	return refuse(w, n, &why);
}

int weir_take_address(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	return take_addr(w, n, dst, false);
}

int weir_take_plain_address(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	return take_addr(w, n, dst, true);
}

static int refuse_no_set(struct weir_walk *w, const struct weir_node *n)
{
	struct weir_diag *d = weir_node_error(w->diags, n, "expected a set like $name");

	if (weir_set_name_ok(n->text))
		weir_diag_hint(d, "write $%s", n->text);
	else
		weir_diag_hint(d, "give the addresses a name under 'sets'");
	return -EINVAL;
}

int weir_take_set(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_p_addr *a = dst;

	if (want(w, n, WEIR_STRING, "a set like $name") < 0)
		return -EINVAL;
	a->node = n;
	if (n->text[0] != '$')
		return refuse_no_set(w, n);
	return take_set_text(w, n, a);
}

int weir_take_set_name(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	if (n->scalar == WEIR_STRING && weir_set_name_ok(n->text))
		return 0;
	return refuse_text(w, n, "bad name of a set",
			   n->text[0] == '$' ? "the '$' stands only where the set is used"
					     : "a letter, then letters, digits, '_', '.', '-', 63 at most");
}

int weir_take_port(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_p_ports *p = dst;
	struct weir_why why;
	uint16_t range[2];

	if (n->scalar == WEIR_STRING && !strcmp(n->text, "any")) {
		*p = (struct weir_p_ports){ 0, 65535 };
		return 0;
	}
	if (n->scalar == WEIR_STRING && strchr(n->text, ','))
		return refuse_commas(w, n);
	if (n->scalar == WEIR_STRING && isalpha((unsigned char)n->text[0]))
		return refuse_text(w, n, "expected a port, found a name", "write its number");
	if (n->scalar == WEIR_STRING && (n->source->name || n->text[0] != '0') && !n->text[strspn(n->text, "0123456789")])
		return want(w, n, WEIR_INT, "a port");
	if (n->scalar != WEIR_INT && n->scalar != WEIR_STRING)
		return want(w, n, WEIR_INT, "a port");
	if (n->scalar == WEIR_INT && n->text[0] == '-')
		return refuse_text(w, n, "a port is a number from 1 to 65535", NULL);
	if (weir_ports_parse(n->text, range, &why) < 0)
		return refuse(w, n, &why);
	*p = (struct weir_p_ports){ range[0], range[1] };
	return 0;
}

int weir_take_proto(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_why why;

	if (n->scalar != WEIR_INT && want(w, n, WEIR_STRING, "a protocol") < 0)
		return -EINVAL;
	if (n->quoted && isdigit((unsigned char)n->text[0]))
		return want(w, n, WEIR_INT, "a protocol");
	return weir_proto_parse(n->text, dst, &why) < 0 ? refuse(w, n, &why) : 0;
}

static int take_icmp(struct weir_walk *w, const struct weir_node *n, struct weir_p_icmp *dst, uint8_t family)
{
	struct weir_why why;

	if (n->scalar != WEIR_INT && want(w, n, WEIR_STRING, "an ICMP type") < 0)
		return -EINVAL;
	if (n->quoted && isdigit((unsigned char)n->text[0]) && !strchr(n->text, '/'))
		return want(w, n, WEIR_INT, "an ICMP type");
	return weir_icmp_parse(n->text, family, dst->m, &why) < 0 ? refuse(w, n, &why) : 0;
}

int weir_take_icmp(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	return take_icmp(w, n, dst, 4);
}

int weir_take_icmpv6(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	return take_icmp(w, n, dst, 6);
}

int weir_take_interface(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_why why;

	if (want(w, n, WEIR_STRING, "an interface name") < 0)
		return -EINVAL;
	if (weir_ifglob_check(n->text, &why) < 0)
		return refuse(w, n, &why);
	*(const char **)dst = n->text;
	return 0;
}

int weir_take_interface_key(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	const char *name;

	return weir_take_interface(w, n, &name);
}

int weir_take_vlan(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_why why;

	if (want(w, n, WEIR_INT, "a VLAN id") < 0)
		return -EINVAL;
	return weir_number_parse(n->text, 1, 4094, dst, &why) < 0 ? refuse(w, n, &why) : 0;
}

int weir_take_mac(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_why why;

	if (want(w, n, WEIR_STRING, "a MAC address") < 0)
		return -EINVAL;
	return weir_mac_parse(n->text, dst, &why) < 0 ? refuse(w, n, &why) : 0;
}

int weir_take_mark(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_p_mark *m = dst;
	struct weir_why why;

	if (n->scalar != WEIR_INT && want(w, n, WEIR_STRING, "a mark") < 0)
		return -EINVAL;
	if (weir_mark_parse(n->text, &m->value, &m->mask, &why) < 0)
		return refuse(w, n, &why);
	m->set = true;
	return 0;
}

int weir_take_time(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	struct weir_why why;

	if (want(w, n, WEIR_STRING, "a time like \"mon-fri 08:00-18:00\"") < 0)
		return -EINVAL;
	return weir_window_parse(n->text, dst, &why) < 0 ? refuse(w, n, &why) : 0;
}

int weir_take_path(struct weir_walk *w, const struct weir_node *n, void *dst)
{
	if (want(w, n, WEIR_STRING, "a path") < 0)
		return -EINVAL;
	if (!n->text[0] || strlen(n->text) > 1000)
		return refuse_text(w, n, "a path of 1 to 1000 bytes", NULL);
	*(const char **)dst = n->text;
	return 0;
}
