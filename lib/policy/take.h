/* SPDX-License-Identifier: Apache-2.0 */
/* From one node to one value: the functions that the table names. */
#pragma once
#include "lib/policy/spec.h"

#define WEIR_TAKE(NAME) int weir_take_##NAME(struct weir_walk *w, const struct weir_node *n, void *dst)
WEIR_TAKE(version);
WEIR_TAKE(bool);
WEIR_TAKE(name);
WEIR_TAKE(duration);
WEIR_TAKE(patience);
WEIR_TAKE(address);
WEIR_TAKE(plain_address);
WEIR_TAKE(set);
WEIR_TAKE(set_name);
WEIR_TAKE(port);
WEIR_TAKE(proto);
WEIR_TAKE(icmp);
WEIR_TAKE(icmpv6);
WEIR_TAKE(interface);
WEIR_TAKE(interface_key);
WEIR_TAKE(vlan);
WEIR_TAKE(mac);
WEIR_TAKE(mark);
WEIR_TAKE(path);
WEIR_TAKE(time);
WEIR_TAKE(rate);
WEIR_TAKE(amount);
WEIR_TAKE(bits4);
WEIR_TAKE(bits6);
WEIR_TAKE(memory);

#define WEIR_DONE(NAME) int weir_done_##NAME(struct weir_walk *w, const struct weir_node *n, void *dst)
WEIR_DONE(cond);
WEIR_DONE(rule);
WEIR_DONE(group);
WEIR_DONE(failsafe);
WEIR_DONE(set);
WEIR_DONE(limit);
WEIR_DONE(rule_limit);
WEIR_DONE(doc);

/* "$name" to "name", or NULL when it is not one. */
bool weir_set_name_ok(const char *name);
