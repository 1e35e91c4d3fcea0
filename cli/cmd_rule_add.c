/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flags become a rule in the policy language; what they may hold is judged by the same code that
 * checks the file, in the daemon, against its sets.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/opts.h"
#include "cli/table.h"

struct flags {
	const char *src, *dst, *peer, *port, *source_port, *proto, *action, *name, *mode, *direction, *interface,
		*in_interface, *out_interface, *vlan, *icmp, *icmpv6, *mac, *mark, *time, *max_duration, *idle, *max_bytes, *limit,
		*per, *burst, *ban, *why, *span, *before;
	bool log, force;
};

/* One word is a scalar, words with commas are a list. Plain numbers are numbers, as in YAML. */
static json_t *scalar(const char *s, size_t len)
{
	char text[24];

	if (len && len < 17 && strspn(s, "0123456789") >= len && (len == 1 || *s != '0')) {
		snprintf(text, sizeof text, "%.*s", (int)len, s);
		return json_integer(strtoll(text, NULL, 10));
	}
	return json_stringn(s, len);
}

static json_t *value(const char *s)
{
	json_t *list;

	if (!strchr(s, ','))
		return scalar(s, strlen(s));
	list = json_array();
	for (;;) {
		size_t len = strcspn(s, ",");

		json_array_append_new(list, scalar(s, len));
		if (!s[len])
			return list;
		s += len + 1;
	}
}

static void put(json_t *rule, const char *key, const char *s)
{
	if (s)
		json_object_set_new(rule, key, value(s));
}

static json_t *limit_of(const struct flags *f)
{
	json_t *l = json_object();

	put(l, "rate", f->limit);
	put(l, "per", f->per);
	put(l, "burst", f->burst);
	return l;
}

static json_t *rule_of(const struct flags *f)
{
	json_t *r = json_object();

	/* names stay whole, whatever they hold */
	if (f->name)
		json_object_set_new(r, "name", json_string(f->name));
	put(r, "action", f->action);
	put(r, "mode", f->mode);
	put(r, "direction", f->direction);
	put(r, "from", f->src);
	put(r, "to", f->dst);
	put(r, "peer", f->peer);
	put(r, "ports", f->port);
	put(r, "source_ports", f->source_port);
	put(r, "protocol", f->proto);
	put(r, "icmp", f->icmp);
	put(r, "icmpv6", f->icmpv6);
	put(r, "interface", f->interface);
	put(r, "in_interface", f->in_interface);
	put(r, "out_interface", f->out_interface);
	put(r, "vlan", f->vlan);
	put(r, "mac", f->mac);
	put(r, "mark", f->mark);
	put(r, "time", f->time);
	put(r, "max_duration", f->max_duration);
	put(r, "idle", f->idle);
	put(r, "max_bytes", f->max_bytes);
	put(r, "ban", f->ban);
	if (f->limit || f->per || f->burst)
		json_object_set_new(r, "limit", limit_of(f));
	if (f->log)
		json_object_set_new(r, "log", json_true());
	return r;
}

#define BEATS_MAX 100 /* the daemon names no more */

static int show(const struct weir_cli *cli, json_t *j, const struct flags *f)
{
	const json_t *beats = json_object_get(j, "beats"), *one;
	size_t i;

	if (weir_answered_json(cli, j))
		return WEIR_EXIT_OK;
	if (!weir_bool(j, "blocking") && (!strcmp(weir_str(j, "action"), "drop") || !strcmp(weir_str(j, "action"), "reject")))
		printf("rule %lld: %s %s: %srecorded, NOT blocking%s (mode detect)\n", weir_int(j, "id"),
		       weir_str(j, "action"), weir_str(j, "match"), weir_paint_begin(WEIR_LOOK, cli->color),
		       weir_paint_end(WEIR_LOOK, cli->color));
	else
		printf("rule %lld: %s %s: in force\n", weir_int(j, "id"), weir_str(j, "action"), weir_str(j, "match"));
	json_array_foreach (beats, i, one) {
		if (i == 5) {
			weir_cli_say("  and %s%zu more: weir rule list\n", json_array_size(beats) >= BEATS_MAX ? "at least " : "",
			       json_array_size(beats) - i);
			break;
		}
		printf("  beats %s\n", json_string_value(one));
	}
	weir_cli_say("  undo: weir rule delete --id %lld\n", weir_int(j, "id"));
	json_decref(j);
	return WEIR_EXIT_OK;
}

static int ask(const struct weir_cli *cli, const struct flags *f)
{
	json_t *args = json_object(), *j;
	uint64_t seconds = 0;
	char *end;

	if (f->span) {
		if (weir_seconds_parse(f->span, &seconds)) {
			json_decref(args);
			return weir_cli_usage(&weir_cmd_rule_add, "--for %s is no time (90s, 5m, 1h, 2d)", f->span);
		}
		json_object_set_new(args, "for", json_integer((json_int_t)seconds));
	}
	if (f->before) {
		json_object_set_new(args, "before", json_integer(strtol(f->before, &end, 10)));
		if (!*f->before || *end) {
			json_decref(args);
			return weir_cli_usage(&weir_cmd_rule_add, "--before %s is no id: weir rule list", f->before);
		}
	}
	if (f->why)
		json_object_set_new(args, "why", json_string(f->why));
	if (f->force)
		json_object_set_new(args, "force", json_true());
	json_object_set_new(args, "rule", rule_of(f));
	j = weir_ask(cli, "rule add", args);
	return j ? show(cli, j, f) : WEIR_EXIT_FAIL;
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	struct flags f = { 0 };
	const struct weir_opt opts[] = {
		{ "--src", .value = &f.src },
		{ "--dst", .value = &f.dst },
		{ "--peer", .value = &f.peer },
		{ "--port", .value = &f.port },
		{ "--source-port", .value = &f.source_port },
		{ "--proto", .value = &f.proto },
		{ "--action", .value = &f.action },
		{ "--name", .value = &f.name },
		{ "--why", .value = &f.why },
		{ "--mode", .value = &f.mode },
		{ "--for", .value = &f.span },
		{ "--before", .value = &f.before },
		{ "--direction", .value = &f.direction },
		{ "--interface", .value = &f.interface },
		{ "--in-interface", .value = &f.in_interface },
		{ "--out-interface", .value = &f.out_interface },
		{ "--vlan", .value = &f.vlan },
		{ "--icmp", .value = &f.icmp },
		{ "--icmpv6", .value = &f.icmpv6 },
		{ "--mac", .value = &f.mac },
		{ "--mark", .value = &f.mark },
		{ "--time", .value = &f.time },
		{ "--max-duration", .value = &f.max_duration },
		{ "--idle", .value = &f.idle },
		{ "--max-bytes", .value = &f.max_bytes },
		{ "--limit", .value = &f.limit },
		{ "--per", .value = &f.per },
		{ "--burst", .value = &f.burst },
		{ "--ban", .value = &f.ban },
		{ "--log", .flag = &f.log },
		{ "--force", .flag = &f.force },
		{ "--from", .value = &f.src }, /* as the policy has them */
		{ "--to", .value = &f.dst },
		{ "--ports", .value = &f.port },
		{ "--source-ports", .value = &f.source_port },
		{ "--protocol", .value = &f.proto },
		{ NULL },
	};
	int n = weir_opts_parse(&weir_cmd_rule_add, opts, argc, argv);

	if (n < 0)
		return -n;
	if (n)
		return weir_cli_usage(&weir_cmd_rule_add, "unexpected word '%s'", argv[1]);
	if (!f.action)
		return weir_cli_usage(&weir_cmd_rule_add, "--action is missing: allow, drop, reject, log or ban");
	return ask(cli, &f);
}

const struct weir_cmd weir_cmd_rule_add = {
	.name = "rule add",
	.args = "--action allow|drop|reject|log|ban [--src A] [--dst A] [--port P] [--proto P] ...",
	.summary = "add a rule in front of the policy file's rules",
	.help = "  weir rule add --src 192.168.1.0/24 --dst 10.0.0.5 --port 80 --proto tcp --action drop\n\n"
		"  --src A --dst A       who opens, who is asked: addresses, networks, ranges, $sets\n"
		"  --peer A              the remote end, whoever opens\n"
		"  --port P              of the one who is asked: 80, 8000-8100\n"
		"  --source-port P       of the one who opens\n"
		"  --proto P             tcp, udp, icmp, 47 ...\n"
		"  --icmp T --icmpv6 T   echo-request, 3/4 ...\n"
		"  --direction D         inbound, outbound, forward\n"
		"  --interface I --in-interface I --out-interface I --vlan N --mac M --mark V/M\n"
		"  --time T              when it began: 'mon-fri 08:00-18:00'\n"
		"  --limit 10/m --per source --burst 5    how many new connections an allow lets in\n"
		"  --max-duration 1h --idle 10m --max-bytes 10M    bounds of each connection that it allows\n"
		"  --ban 1h              with --action ban: for how long who opens is banned\n"
		"  --name N --why TEXT   what lists and events call it, and your reason\n"
		"  --mode detect         report only\n"
		"  --log                 an event each time\n"
		"  --for 1h              ends by itself (s, m, h, d)\n"
		"  --before ID           stands before that rule; else last of the added ones\n"
		"  --force               although it cuts your own session, or your next one\n\n"
		"Values may be lists: --port 80,443. The policy's own words are understood, too: --from, --to, --ports,\n"
		"--source-ports, --protocol. Added rules are kept over a restart; weir rule export prints them as YAML for\n"
		"the policy file.",
	.run = run,
};
