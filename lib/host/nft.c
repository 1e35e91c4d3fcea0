/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statements of nftables rules that move packets to another way: translation, redirection to a local program, offload.
 * iptables-nft writes the same tables, with targets by name. Only what a rule does is read, not to what it applies.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/host/nl.h"
#include "lib/host/passages.h"

static const char *family_word(uint8_t family)
{
	static const char *const words[] = { [1] = "inet", [2] = "ip", [3] = "arp", [5] = "netdev", [7] = "bridge", [10] = "ip6" };

	return family < sizeof words / sizeof *words && words[family] ? words[family] : "?";
}

/* The word for what an expression does; NULL: nothing that matters here. */
static const char *word_of(const struct nlattr *expr)
{
	static const char *const plain[][2] = { { "redir", "redirect" }, { "tproxy", "tproxy" }, { "masq", "snat" },
						{ "flow_offload", "flowtable" }, { "queue", "queue" } };
	static const char *const targets[][2] = { { "DNAT", "dnat" }, { "REDIRECT", "redirect" }, { "TPROXY", "tproxy" },
						  { "MASQUERADE", "snat" }, { "SNAT", "snat" }, { "NFQUEUE", "queue" } };
	const struct nlattr *tb[NFTA_EXPR_DATA + 1], *data[NFTA_NAT_TYPE + 1], *target[NFTA_TARGET_NAME + 1];
	char name[32];

	weir_nl_nested(expr, tb, NFTA_EXPR_DATA);
	weir_nl_str(tb[NFTA_EXPR_NAME], name, sizeof name);
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
		if (!strcmp(name, plain[i][0]))
			return plain[i][1];
	if (!tb[NFTA_EXPR_DATA])
		return NULL;
	if (!strcmp(name, "nat")) {
		weir_nl_nested(tb[NFTA_EXPR_DATA], data, NFTA_NAT_TYPE);
		return ntohl(weir_nl_u32(data[NFTA_NAT_TYPE])) == NFT_NAT_DNAT ? "dnat" : "snat";
	}
	if (strcmp(name, "target"))
		return NULL;
	weir_nl_nested(tb[NFTA_EXPR_DATA], target, NFTA_TARGET_NAME);
	weir_nl_str(target[NFTA_TARGET_NAME], name, sizeof name);
	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
		if (!strcmp(name, targets[i][0]))
			return targets[i][1];
	return NULL;
}

/* Rules of one table that do the same are one passage. */
static void note(struct weir_passages *l, const char *word, uint8_t family, const char *table, const char *chain)
{
	struct weir_passage *p;
	char place[sizeof p->detail];
	size_t prefix;

	snprintf(place, sizeof place, "%s %.24s %.24s", family_word(family), table, chain);
	prefix = strlen(family_word(family)) + 1 + strnlen(table, 24) + 1;
	for (size_t i = 0; i < l->n; i++) {
		p = &l->v[i];
		if (p->kind == WEIR_PASSAGE_NFT && !strcmp(p->name, word) && !strncmp(p->detail, place, prefix)) {
			p->n++;
			return;
		}
	}
	p = weir_passage_add(l, WEIR_PASSAGE_NFT);
	if (!p)
		return;
	p->n = 1;
	snprintf(p->name, sizeof p->name, "%s", word);
	memcpy(p->detail, place, sizeof place);
}

static int rule_gather(const struct nlmsghdr *h, void *data)
{
	const struct nfgenmsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *tb[NFTA_RULE_EXPRESSIONS + 1], *expr;
	char table[64], chain[64];

	if (h->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE) || mnl_nlmsg_get_payload_len(h) < sizeof *m)
		return 0;
	weir_nl_attrs(h, sizeof *m, tb, NFTA_RULE_EXPRESSIONS);
	weir_nl_str(tb[NFTA_RULE_TABLE], table, sizeof table);
	weir_nl_str(tb[NFTA_RULE_CHAIN], chain, sizeof chain);
	if (!tb[NFTA_RULE_EXPRESSIONS] || !strncmp(table, "weir", 4))
		return 0;
	mnl_attr_for_each_nested(expr, tb[NFTA_RULE_EXPRESSIONS])
	{
		const char *word = word_of(expr);

		if (word)
			note(data, word, m->nfgen_family, table, chain);
	}
	return 0;
}

static int flowtable_gather(const struct nlmsghdr *h, void *data)
{
	const struct nfgenmsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *tb[NFTA_FLOWTABLE_FLAGS + 1];
	char table[64], name[64];

	if (h->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWFLOWTABLE) || mnl_nlmsg_get_payload_len(h) < sizeof *m)
		return 0;
	weir_nl_attrs(h, sizeof *m, tb, NFTA_FLOWTABLE_FLAGS);
	weir_nl_str(tb[NFTA_FLOWTABLE_TABLE], table, sizeof table);
	weir_nl_str(tb[NFTA_FLOWTABLE_NAME], name, sizeof name);
	if (ntohl(weir_nl_u32(tb[NFTA_FLOWTABLE_FLAGS])) & NFT_FLOWTABLE_HW_OFFLOAD)
		note(data, "flowtable hw", m->nfgen_family, table, name);
	return 0;
}

static void forget(void *data)
{
	struct weir_passages *l = data;

	while (l->n && l->v[l->n - 1].kind == WEIR_PASSAGE_NFT)
		l->n--;
}

static void forget_none(void *data)
{
}

static int dump(struct weir_passages *l, uint16_t type, weir_nl_cb cb)
{
	struct weir_nl_req r;

	weir_nl_request(&r, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), sizeof(struct nfgenmsg));
	/* what the rules said stays when the flowtables are read again: a count may be too high then, no passage is lost */
	return weir_nl_dump(NETLINK_NETFILTER, &r, cb, type == NFT_MSG_GETRULE ? forget : forget_none, l);
}

void weir_passages_nft(struct weir_passages *l)
{
	int e;

	if (!weir_have_nf_tables())
		return;
	e = dump(l, NFT_MSG_GETRULE, rule_gather);
	if (e >= 0)
		e = dump(l, NFT_MSG_GETFLOWTABLE, flowtable_gather);
	if (e == -EOPNOTSUPP || e == -EINVAL) /* a kernel without flowtables */
		e = 0;
	if (e < 0)
		weir_passage_blind(l, "nftables rules", e);
}
