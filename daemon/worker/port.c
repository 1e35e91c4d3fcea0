/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/worker/port.h"

struct weir_port {
	struct weir_keeper *keeper;
};

int weir_port_new_local(struct weir_keeper *k, struct weir_port **ret)
{
	struct weir_port *p = calloc(1, sizeof *p);

	if (!p)
		return -ENOMEM;
	p->keeper = k;
	*ret = p;
	return 0;
}

void weir_port_free(struct weir_port *p)
{
	free(p);
}

const struct weir_kern_pinned *weir_port_before(struct weir_port *p)
{
	return weir_keeper_before(p->keeper);
}

int weir_port_install(struct weir_port *p, const struct weir_kern_change *c, char *why, size_t why_size)
{
	return weir_keeper_install(p->keeper, c, why, why_size);
}

int weir_port_confirm(struct weir_port *p)
{
	return weir_keeper_confirm(p->keeper);
}

int weir_port_revert(struct weir_port *p)
{
	return weir_keeper_revert(p->keeper);
}

void weir_port_pending(struct weir_port *p, struct weir_kern_pending *ret)
{
	weir_kern_pending(weir_keeper_kern(p->keeper), ret);
}

int weir_port_seed(struct weir_port *p, uint32_t adopt_s)
{
	return weir_keeper_seed(p->keeper, adopt_s);
}

int weir_port_bans(struct weir_port *p, const struct weir_keeper_ban *v, size_t n)
{
	return weir_keeper_bans(p->keeper, v, n);
}

int weir_port_ban(struct weir_port *p, const struct weir_keeper_ban *b)
{
	return weir_keeper_ban(p->keeper, b);
}

int weir_port_unban(struct weir_port *p, const struct weir_ban_key *key)
{
	return weir_keeper_unban(p->keeper, key);
}

const struct weir_kern_if *weir_port_ifs(struct weir_port *p, size_t *ret_n)
{
	return weir_keeper_ifs(p->keeper, ret_n);
}

const char *weir_port_if_name(struct weir_port *p, uint32_t ifindex)
{
	return weir_keeper_if_name(p->keeper, ifindex);
}

const char *weir_port_guard(struct weir_port *p, const char **ret_why)
{
	return weir_keeper_guard(p->keeper, ret_why);
}

int weir_port_stats(struct weir_port *p, struct weir_counter *ret, size_t n)
{
	return weir_kern_stats(weir_keeper_kern(p->keeper), ret, n);
}

int weir_port_rule_hits(struct weir_port *p, struct weir_counter *ret, size_t n)
{
	return weir_kern_rule_hits(weir_keeper_kern(p->keeper), ret, n);
}

int weir_port_flow_each(struct weir_port *p, weir_flow_cb cb, void *data)
{
	return weir_kern_flow_each(weir_keeper_kern(p->keeper), cb, data);
}

int weir_port_progs(struct weir_port *p, struct weir_kern_prog *ret, size_t n)
{
	return weir_kern_progs(weir_keeper_kern(p->keeper), ret, n);
}

int weir_port_features(struct weir_port *p, const struct weir_kern_feature **ret)
{
	return weir_kern_features(weir_keeper_kern(p->keeper), ret);
}

void weir_port_health(struct weir_port *p, struct weir_kern_health *ret)
{
	weir_kern_health(weir_keeper_kern(p->keeper), ret);
}

int weir_port_event_fd(struct weir_port *p)
{
	return weir_kern_event_fd(weir_keeper_kern(p->keeper));
}

int weir_port_event_dispatch(struct weir_port *p, void (*cb)(const struct weir_event *, void *), void *data)
{
	return weir_kern_event_dispatch(weir_keeper_kern(p->keeper), cb, data);
}
