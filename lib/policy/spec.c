/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of the language. What stands here is what is accepted, what the schema publishes and what the
 * reference says; nothing of a policy is known anywhere else.
 */
#include "lib/policy/spec.h"

#include "lib/policy/model.h"
#include "lib/policy/take.h"
#include "lib/policy/types.h"

#define SCALAR(ID, NAME, TAKE, SCHEMA, DOC)                                                                \
	{                                                                                                  \
		.id = ID, .name = NAME, .shape = WEIR_T_SCALAR, .take = TAKE, .schema = SCHEMA, .doc = DOC \
	}
#define LIST(OF, NAME, TYPE, ...)                                                               \
	{                                                                                       \
		.name = NAME, .shape = WEIR_T_LIST, .of = OF, .size = sizeof(TYPE), __VA_ARGS__ \
	}

/* The parts of patterns. */
#define OCTET "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define V4 "(" OCTET "\\\\.){3}" OCTET
#define V6 "[0-9A-Fa-f:]*:[0-9A-Fa-f:]*(\\\\.[0-9.]+|[0-9]+(\\\\.[0-9]+){3})?"
#define ADDRESS                                                                              \
	"^(any|\\\\$[A-Za-z_][A-Za-z0-9_.-]{0,62}|" V4 "(/(3[0-2]|[12]?[0-9])|-" V4 ")?|" V6 \
	"(/(12[0-8]|1[01][0-9]|[1-9]?[0-9])|-" V6 ")?)$"
#define DAY "(mon|tue|wed|thu|fri|sat|sun)"
#define CLOCK "([01][0-9]|2[0-3]):[0-5][0-9]"
#define CLOCK_END "(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)"
#define PORT "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"

/* --- words --- */

static const struct weir_word mode_words[] = {
	{ "detect", WEIR_DETECT + 1 },		{ "prevent", WEIR_PREVENT + 1 },
	{ "enforce", 0, .instead = "prevent" }, { "block", 0, .instead = "prevent" },
	{ "monitor", 0, .instead = "detect" },	{ NULL },
};
static const struct weir_word action_words[] = {
	{ "allow", WEIR_ACT_ALLOW + 1 },  { "drop", WEIR_ACT_DROP + 1 },  { "reject", WEIR_ACT_REJECT + 1 },
	{ "log", WEIR_ACT_LOG + 1 },	  { "redirect", .later = true },  { "limit", .instead = "action: allow, and limit: { rate: 10/m } beside it" },
	{ "inspect", .later = true },	  { "class", .later = true },	  { "ban", WEIR_ACT_BAN + 1 },
	{ "accept", .instead = "allow" }, { "pass", .instead = "allow" }, { "permit", .instead = "allow" },
	{ "deny", .instead = "drop" },	  { "block", .instead = "drop" }, { NULL },
};
static const struct weir_word default_words[] = {
	{ "allow", WEIR_ACT_ALLOW + 1 },   { "drop", WEIR_ACT_DROP + 1 },
	{ "reject", WEIR_ACT_REJECT + 1 }, { "accept", .instead = "allow" },
	{ "pass", .instead = "allow" },	   { "deny", .instead = "drop" },
	{ "block", .instead = "drop" },	   { NULL },
};
static const struct weir_word pass_words[] = {
	{ "drop", WEIR_ACT_DROP + 1 },
	{ "pass", WEIR_ACT_ALLOW + 1 },
	{ "allow", .instead = "pass" },
	{ NULL },
};
static const struct weir_word direction_words[] = {
	{ "inbound", WEIR_DIR_IN },	     { "outbound", WEIR_DIR_OUT },	    { "forward", WEIR_DIR_FWD },
	{ "in", .instead = "inbound" },	     { "out", .instead = "outbound" },	    { "ingress", .instead = "inbound" },
	{ "egress", .instead = "outbound" }, { "forwarded", .instead = "forward" }, { NULL },
};
static const struct weir_word established_words[] = {
	{ "keep", WEIR_EST_KEEP + 1 },
	{ "recheck", WEIR_EST_RECHECK + 1 },
	{ "kill", WEIR_EST_KILL + 1 },
	{ NULL },
};
static const struct weir_word unknown_words[] = { { "keep", 1 }, { "drop", 2 }, { NULL } };
static const struct weir_word xdp_words[] = {
	{ "auto", 1 }, { "off", 2 }, { "native", 3 }, { "generic", 4 }, { NULL },
};

#define WORD(ID, NAME, WORDS, DOC)                                                       \
	{                                                                                \
		.id = ID, .name = NAME, .shape = WEIR_T_WORD, .words = WORDS, .doc = DOC \
	}

const struct weir_type weir_type_mode = WORD("mode", "a mode", mode_words,
					    "`detect` only watches and reports; `prevent` does it. A ceiling: the "
					    "softest of command line, policy, group and "
					    "rule counts.");
static const struct weir_type t_action = WORD("action", "an action", action_words,
					      "`allow`, `drop` (silently; also for a program of this host, as if the network had lost it: it waits, where `reject` tells it at once) and `reject` (with a TCP reset or an ICMP "
					      "error) end the evaluation; `log` writes an "
					      "event and goes on, `ban` bans who opened for a while and goes on.");
static const struct weir_type t_default =
	WORD("verdict", "a verdict", default_words, "What happens when no rule matched.");
static const struct weir_type t_pass =
	WORD("drop-or-pass", "drop or pass", pass_words, "`drop`, or `pass` to the rules.");
static const struct weir_type t_direction = WORD(
	"direction", "a direction", direction_words,
	"`inbound`: to an address of this host. `outbound`: from a socket of this host. `forward`: routed or bridged "
	"through it.");
static const struct weir_type t_established =
	WORD("established", "keep, recheck or kill", established_words,
	     "What becomes of flows that are open when the policy changes: `keep` them as they were judged; `recheck`: "
	     "judge them by the new one; `kill`: the same, and end the sockets of those that it denies, once the change "
	     "is there to stay.");
static const struct weir_type t_unknown = WORD("recheck-unknown", "keep or drop", unknown_words,
					       "An open flow whose verdict hangs on what only its first packet showed "
					       "(MAC address, mark, hop limit), when the policy changes: `keep`: it goes on, "
					       "if a rule that asks for that may have let it in; `drop`: such a rule does not "
					       "let it in again.");
static const struct weir_type t_xdp =
	WORD("xdp", "auto, off, native or generic", xdp_words,
	     "How drops may be done early, in the driver. `auto` chooses by itself and says why.");

/* --- scalars --- */

static const struct weir_type t_version =
	SCALAR("version", "the number 1", weir_take_version, "{\"const\":1}", "The version of the language: 1.");
const struct weir_type weir_type_bool =
	SCALAR("boolean", "true or false", weir_take_bool, "{\"type\":\"boolean\"}",
	       "`true` or `false`. `yes`, `no`, `on` and `off` are strings and refused here.");
const struct weir_type weir_type_name = SCALAR(
	"name", "a name", weir_take_name,
	"{\"type\":\"string\",\"pattern\":\"^[^ \\\\u0000-\\\\u001f\\\\u007f]([^\\\\u0000-\\\\u001f\\\\u007f]{0,62}[^ "
	"\\\\u0000-\\\\u001f\\\\u007f])?$\",\"not\":{\"pattern\":\"^rule at \"}}",
	"1 to 64 characters. Names of rules are unique.");
const struct weir_type weir_type_duration = SCALAR("duration", "a duration like 60s", weir_take_duration,
						  "{\"type\":\"string\",\"pattern\":\"^[1-9][0-9]*[smhd]$\"}",
						  "A number and `s`, `m`, `h` or `d`; a year at most.");
static const struct weir_type t_address = SCALAR(
	"address", "an address", weir_take_address, "{\"type\":\"string\",\"pattern\":\"" ADDRESS "\"}",
	"`192.0.2.1`, `192.0.2.0/24`, `192.0.2.10-192.0.2.20`, `2001:db8::/32`, `$name` of a set, or `any`. Host bits "
	"of a network must be zero; leading zeros are refused.");
static const struct weir_type t_plain_address =
	SCALAR("set-address", "an address", weir_take_plain_address,
	       "{\"allOf\":[{\"$ref\":\"#/$defs/address\"},{\"not\":{\"pattern\":\"^([$]|any$)\"}}]}",
	       "An address, a network or a range; no set in a set, and not `any`.");
static const struct weir_type t_set_ref =
	SCALAR("set-name", "a set like $name", weir_take_set,
	       "{\"type\":\"string\",\"pattern\":\"^\\\\$[A-Za-z_][A-Za-z0-9_.-]{0,62}$\"}",
	       "`$name` of a set of this policy.");
static const struct weir_type t_port = SCALAR("port", "a port", weir_take_port,
					      "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1,\"maximum\":65535},{"
					      "\"type\":\"string\",\"pattern\":\"^(any|" PORT "-" PORT ")$\"}]}",
					      "A number from 1 to 65535, a range `8000-8100`, or `any`.");
const struct weir_type weir_type_protocol =
	SCALAR("protocol", "a protocol", weir_take_proto, NULL, "A name or a number from 0 to 255.");
const struct weir_type weir_type_icmp =
	SCALAR("icmp", "an ICMP type", weir_take_icmp, NULL,
	       "A name (of ICMP and, where it has it, of ICMPv6 too), a type of ICMP from 0 to 255, or `\"3/4\"`: type "
	       "and code.");
const struct weir_type weir_type_icmpv6 =
	SCALAR("icmpv6", "an ICMPv6 type", weir_take_icmpv6, NULL,
	       "A name, a type of ICMPv6 from 0 to 255, or `\"1/4\"`: type and code.");
static const struct weir_type t_interface =
	SCALAR("interface", "an interface name", weir_take_interface,
	       "{\"type\":\"string\",\"pattern\":\"^[!-.0-Z^-~\\\\]]{1,15}$\",\"not\":{\"enum\":[\".\",\"..\"]}}",
	       "A name or a glob: `eth0`, `veth*`.");
static const struct weir_type t_vlan =
	SCALAR("vlan", "a VLAN id", weir_take_vlan, "{\"type\":\"integer\",\"minimum\":1,\"maximum\":4094}",
	       "1 to 4094: the frame carries this tag, outer or inner.");
static const struct weir_type t_mac =
	SCALAR("mac", "a MAC address", weir_take_mac,
	       "{\"type\":\"string\",\"pattern\":\"^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$\"}",
	       "`02:42:ac:11:00:02`, the source of the frame as it came in.");
static const struct weir_type t_mark =
	SCALAR("mark", "a mark", weir_take_mark,
	       "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":0,\"maximum\":4294967295},{\"type\":\"string\","
	       "\"pattern\":\"^(0x[0-9a-"
	       "fA-F]{1,8}|0|[1-9][0-9]{0,9})(/(0x[0-9a-fA-F]{1,8}|0|[1-9][0-9]{0,9}))?$\"}]}",
	       "`16`, `0x10`, or `0x10/0xff`: value and mask of the packet's mark.");
static const struct weir_type t_time =
	SCALAR("time", "a time like \"mon-fri 08:00-18:00\"", weir_take_time,
	       "{\"type\":\"string\",\"pattern\":\"^((" DAY "(-" DAY ")?)( " CLOCK "-" CLOCK_END ")?|" CLOCK "-" CLOCK_END ")$\"}",
	       "Local time: `\"mon-fri 08:00-18:00\"`, `\"sat-sun\"` (all day) or `\"22:00-06:00\"` (each day; until the next "
	       "morning). The second time is not included; `24:00` is the end of the day.");
static const struct weir_type t_path =
	SCALAR("path", "a path", weir_take_path, "{\"type\":\"string\",\"minLength\":1,\"maxLength\":1000}",
	       "A path, seen from the folder of the policy file.");

/* --- lists: where one value does, it may stand alone --- */

static const struct weir_type t_directions =
	LIST(&t_direction, "a direction or a list of them", uint8_t, .one = true, .max = 3);
static const struct weir_type t_addresses =
	LIST(&t_address, "an address or a list of them", struct weir_p_addr, .one = true, .max = 100000);
static const struct weir_type t_set_list =
	LIST(&t_plain_address, "a list of addresses", struct weir_p_addr, .one = true, .empty = true, .max = 1000000);
static const struct weir_type t_set_refs =
	LIST(&t_set_ref, "a list of sets", struct weir_p_addr, .one = true, .empty = true);
static const struct weir_type t_ports = LIST(&t_port, "a port or a list of them", struct weir_p_ports, .one = true);
static const struct weir_type t_protos =
	LIST(&weir_type_protocol, "a protocol or a list of them", uint8_t, .one = true, .max = 256);
static const struct weir_type t_icmps =
	LIST(&weir_type_icmp, "an ICMP type or a list of them", struct weir_p_icmp, .one = true, .max = 256);
static const struct weir_type t_icmpv6s =
	LIST(&weir_type_icmpv6, "an ICMPv6 type or a list of them", struct weir_p_icmp, .one = true, .max = 256);
static const struct weir_type t_interfaces =
	LIST(&t_interface, "an interface or a list of them", const char *, .one = true, .max = 63);
static const struct weir_type t_vlans = LIST(&t_vlan, "a VLAN id or a list of them", uint32_t, .one = true, .max = 256);
static const struct weir_type t_macs =
	LIST(&t_mac, "a MAC address or a list of them", uint64_t, .one = true, .max = 256);
static const struct weir_type t_times =
	LIST(&t_time, "a time or a list of them", struct weir_window, .one = true, .max = WEIR_WINDOWS_MAX);
static const struct weir_type t_paths =
	LIST(&t_path, "a list of paths", const char *, .one = true, .empty = true, .max = 256);

/* --- conditions --- */

#define LATER(NAME)                                   \
	{                                             \
		.name = NAME, .flags = WEIR_KEY_LATER \
	}
#define C(FIELD, TYPE, DOC, EXAMPLE)                                                \
	{                                                                           \
#FIELD, &TYPE, offsetof(struct weir_p_cond, FIELD), 0, DOC, EXAMPLE \
	}

static const struct weir_key cond_keys[] = {
	C(direction, t_directions, "Which way the connection was opened. Absent: every way.", "inbound"),
	C(from, t_addresses, "Who opened the connection.", "[10.1.0.0/16, $office]"),
	C(to, t_addresses, "Who was asked.", "192.0.2.10"),
	C(peer, t_addresses, "The remote end, whoever opened; on `forward` either end.", "198.51.100.0/24"),
	C(ports, t_ports, "The port that was asked. Without `protocol` it means tcp and udp.", "[80, 443, 8000-8100]"),
	C(source_ports, t_ports, "The port of who opened. Without `protocol` it means tcp and udp.", "1024-65535"),
	C(protocol, t_protos, "The IP protocol.", "tcp"),
	C(icmp, t_icmps, "Type, or type and code, of an ICMP message; a name means both families.", "echo-request"),
	C(icmpv6, t_icmpv6s, "Type, or type and code, of an ICMPv6 message.", "packet-too-big"),
	C(interface, t_interfaces, "The interface that it came in by, or leaves by.", "[eth0, wlan*]"),
	C(in_interface, t_interfaces, "The interface that it came in by.", "eth0"),
	C(out_interface, t_interfaces, "The interface that it leaves by.", "wg0"),
	C(vlan, t_vlans, "A VLAN tag of the frame.", "10"),
	C(mac, t_macs, "The source MAC address of the frame as it came in.", "02:42:ac:11:00:02"),
	C(mark, t_mark, "The mark that the kernel or another program put on the packet.", "0x10/0xff"),
	C(time, t_times, "When the connection began, in local time.", "\"mon-fri 08:00-18:00\""),
	LATER("tls"), LATER("http"), LATER("dns"), LATER("ssh"),
	LATER("quic"), LATER("app"), LATER("process"), LATER("user"), LATER("unit"),
	LATER("container"), LATER("cgroup"), LATER("names"), LATER("module"), LATER("evidence"),
	{ NULL },
};
#undef C

static const struct weir_type t_not = {
	.id = "conditions",
	.name = "conditions",
	.shape = WEIR_T_MAP,
	.size = sizeof(struct weir_p_cond),
	.keys = cond_keys,
	.done = weir_done_cond,
	.schema = "\"minProperties\":1",
	.doc = "All that are given must hold. A list in a condition holds when one of its entries does.",
};

static const struct weir_key when_keys[] = {
	{ .name = "not", .flags = WEIR_KEY_LATER },
	{ NULL },
};
static const struct weir_type t_when = {
	.name = "conditions",
	.shape = WEIR_T_MAP,
	.keys = when_keys,
	.more = cond_keys,
	.done = weir_done_cond,
	.schema = "\"minProperties\":1",
};

/* --- rules --- */

#define R(NAME, FIELD, TYPE, FLAGS, DOC, EXAMPLE)                                     \
	{                                                                             \
		NAME, &TYPE, offsetof(struct weir_p_rule, FIELD), FLAGS, DOC, EXAMPLE \
	}
#define RULE_LATER                                                                                                 \
	LATER("redirect"), LATER("inspect"), LATER("class"), LATER("qos"), LATER("if_unknown")
#define RULE_BOUNDS                                                                                                         \
	R("max_duration", max_duration, weir_type_duration, 0, "With `allow`: a connection that lasts longer is stopped.", "1h"),   \
		R("idle", idle, weir_type_duration, 0,                                                                              \
		  "With `allow`: without a packet for so long, a connection is forgotten, if it is not sooner.", "10m"),    \
		R("max_bytes", max_bytes, weir_type_amount, 0,                                                              \
		  "With `allow`: IP packets of so many bytes pass, both directions together; the connection is stopped with " \
		  "the first that does not fit.", "10M"),                                                                  \
		R("limit", limit, weir_type_rule_limit, 0, "With `allow`: how many new connections the rule lets in.",       \
		  "{ rate: 10/m, per: source }"),                                                                          \
		R("ban", ban, weir_type_duration, 0, "With `action: ban`: for how long. Absent: `1h`.", "10m")

static const struct weir_key rule_keys[] = {
	R("name", name, weir_type_name, 0, "What messages, events and counters call it. Unique.", "web"),
	R("action", action, t_action, WEIR_KEY_NEEDED, "What is done when the rule matches.", "allow"),
	R("mode", mode, weir_type_mode, 0, "`detect` stages this rule alone: it is reported, not done.", "detect"),
	R("log", log, weir_type_bool, 0, "Write an event each time that the rule decides.", "true"),
	R("not", neg, t_not, 0, "Conditions that must not hold together.", "{ from: $office }"),
	RULE_BOUNDS,
	RULE_LATER,
	{ NULL },
};
const struct weir_type weir_type_rule = {
	.id = "rule",
	.name = "a rule",
	.shape = WEIR_T_MAP,
	.keys = rule_keys,
	.more = cond_keys,
	.more_off = offsetof(struct weir_p_rule, pos),
	.done = weir_done_rule,
	.doc = "What matches, and what is done with it. Besides these keys it takes all conditions; without a "
	       "condition it "
	       "matches everything.",
};
static const struct weir_key otherwise_keys[] = {
	R("action", action, t_action, WEIR_KEY_NEEDED, "What is done with what no rule of the group took.", "drop"),
	R("mode", mode, weir_type_mode, 0, "As in a rule.", "detect"),
	R("log", log, weir_type_bool, 0, "As in a rule.", "true"),
	RULE_BOUNDS,
	RULE_LATER,
	{ NULL },
};
static const struct weir_type t_otherwise = {
	.id = "otherwise",
	.name = "otherwise",
	.shape = WEIR_T_MAP,
	.keys = otherwise_keys,
	.done = weir_done_rule,
	.doc = "The last rule of a group: only the group's `when` is its condition.",
};
static const struct weir_type t_group_rules =
	LIST(&weir_type_rule, "a list of rules", struct weir_p_rule, .empty = true, .max = WEIR_RULES_MAX);

#define G(NAME, FIELD, TYPE, FLAGS, DOC, EXAMPLE)                                      \
	{                                                                              \
		NAME, &TYPE, offsetof(struct weir_p_group, FIELD), FLAGS, DOC, EXAMPLE \
	}
static const struct weir_key group_keys[] = {
	G("group", name, weir_type_name, WEIR_KEY_NEEDED, "The name of the group.", "from outside"),
	G("mode", mode, weir_type_mode, 0, "A ceiling for all rules of the group.", "detect"),
	G("when", when, t_when, 0, "Conditions that are added to every rule of the group.",
	  "{ direction: inbound, interface: eth0 }"),
	G("rules", rules, t_group_rules, 0, "The rules, top to bottom.",
	  "[ { name: web, action: allow, ports: 443 } ]"),
	G("otherwise", otherwise, t_otherwise, 0, "What happens to what `when` holds for and no rule took.",
	  "{ action: drop, log: true }"),
	{ NULL },
};
static const struct weir_type t_group = {
	.id = "group",
	.name = "a group",
	.shape = WEIR_T_MAP,
	.size = sizeof(struct weir_p_group),
	.keys = group_keys,
	.done = weir_done_group,
	.schema = "\"anyOf\":[{\"required\":[\"rules\"]},{\"required\":[\"otherwise\"]}]",
	.doc = "Rules that share conditions. Groups do not nest.",
};
static const struct weir_type t_entry = {
	.name = "a rule or a group",
	.shape = WEIR_T_EITHER,
	.of = &weir_type_rule,
	.alt = &t_group,
	.by = "group",
	.alt_off = offsetof(struct weir_p_entry, group),
};
static const struct weir_type t_rules =
	LIST(&t_entry, "a list of rules", struct weir_p_entry, .empty = true, .max = WEIR_RULES_MAX);

static const struct weir_key failsafe_keys[] = {
	R("name", name, weir_type_name, WEIR_KEY_NEEDED,
	  "Its name; the built-in ones are `lo`, `arp`, `nd`, `dhcp`, `icmp-errors`, "
	  "`multicast-replies` and `sshd`.",
	  "ssh"),
	R("remove", remove, weir_type_bool, 0,
	  "`true` takes a built-in entry away. `weir apply` then wants `--i-have-console`.", "true"),
	{ NULL },
};
static const struct weir_type t_failsafe = {
	.id = "failsafe-entry",
	.name = "a failsafe entry",
	.shape = WEIR_T_MAP,
	.keys = failsafe_keys,
	.more = cond_keys,
	.more_off = offsetof(struct weir_p_rule, pos),
	.done = weir_done_failsafe,
	.schema = "\"minProperties\":2,\"if\":{\"required\":[\"remove\"]},\"then\":{\"maxProperties\":2,\"properties\":"
		  "{\"remove\":{\"const\":true},\"name\":{\"enum\":[\"lo\",\"arp\",\"nd\",\"dhcp\",\"icmp-errors\","
		  "\"multicast-replies\",\"sshd\"]}}},\"else\":{\"properties\":{\"name\":{\"not\":{\"enum\":[\"lo\","
		  "\"arp\","
		  "\"nd\",\"dhcp\",\"icmp-errors\",\"multicast-replies\",\"sshd\"]}}}}",
	.doc = "What no rule, ban or blocklist can stop: always allowed, and its replies too. Takes conditions, like a "
	       "rule.",
};
static const struct weir_type t_failsafes =
	LIST(&t_failsafe, "a list of failsafe entries", struct weir_p_rule, .empty = true, .max = 48);

/* --- the rest of the file --- */

#define F(NAME, FIELD, TYPE, DOC, EXAMPLE)                                         \
	{                                                                          \
		NAME, &TYPE, offsetof(struct weir_p_fixed, FIELD), 0, DOC, EXAMPLE \
	}
static const struct weir_key staged_keys[] = {
	{ "action", &t_default, offsetof(struct weir_p_fixed, action), WEIR_KEY_NEEDED, "The verdict.", "drop" },
	F("mode", mode, weir_type_mode, "`detect` stages this default alone.", "detect"),
	F("log", log, weir_type_bool, "Write an event each time that it decides.", "true"),
	{ NULL },
};
static const struct weir_type t_staged = { .id = "staged-verdict",
					   .name = "a verdict",
					   .shape = WEIR_T_MAP,
					   .keys = staged_keys,
					   .doc = "A verdict with its own mode and log." };
static const struct weir_type t_default_dir = {
	.name = "a verdict", .shape = WEIR_T_EITHER, .of = &t_default, .alt = &t_staged
};

#define D(NAME, FIELD, DOC, EXAMPLE)                                                           \
	{                                                                                      \
		NAME, &t_default_dir, offsetof(struct weir_p_defaults, FIELD), 0, DOC, EXAMPLE \
	}
static const struct weir_key defaults_keys[] = {
	D("inbound", in, "Absent: `drop`.", "drop"),
	D("outbound", out, "Absent: `allow`.", "{ action: drop, mode: detect, log: true }"),
	D("forward", fwd, "Absent: `drop`.", "drop"),
	{ NULL },
};
static const struct weir_type t_defaults_map = { .id = "defaults",
						 .name = "a verdict, or one for each direction",
						 .shape = WEIR_T_MAP,
						 .keys = defaults_keys,
						 .doc = "The verdict of each direction when no rule matched." };
static const struct weir_type t_defaults = {
	.name = "a verdict, or one for each direction", .shape = WEIR_T_EITHER, .of = &t_default, .alt = &t_defaults_map
};

static const struct weir_key pass_keys[] = {
	{ "action", &t_pass, offsetof(struct weir_p_fixed, action), WEIR_KEY_NEEDED, "What is done.", "drop" },
	F("mode", mode, weir_type_mode, "`detect` stages it alone.", "detect"),
	F("log", log, weir_type_bool, "Write an event each time.", "true"),
	{ NULL },
};
static const struct weir_type t_pass_map = { .id = "staged-drop",
					     .name = "drop or pass",
					     .shape = WEIR_T_MAP,
					     .keys = pass_keys,
					     .doc = "`drop` or `pass` with its own mode and log." };
static const struct weir_type t_pass_any = {
	.name = "drop or pass", .shape = WEIR_T_EITHER, .of = &t_pass, .alt = &t_pass_map
};

#define P(FIELD, TYPE, DOC, EXAMPLE)                                               \
	{                                                                          \
#FIELD, &TYPE, offsetof(struct weir_p_doc, FIELD), 0, DOC, EXAMPLE \
	}
static const struct weir_key packets_keys[] = {
	P(malformed, t_pass_any, "Packets that break their own format. Absent: `drop`.", "drop"),
	P(fragments, t_pass_any, "Fragments of IP packets. Absent: `pass`.", "pass"),
	P(unknown_l2, t_pass_any, "Frames that carry neither IP nor ARP. Absent: `pass`.", "pass"),
	{ NULL },
};
static const struct weir_type t_packets = { .id = "packets",
					    .name = "packets",
					    .shape = WEIR_T_MAP,
					    .keys = packets_keys,
					    .doc = "Kinds of packets that are judged before any rule." };

static const struct weir_key flows_keys[] = {
	P(idle, weir_type_duration, "Without a packet for so long, a connection is forgotten. Absent: `1h`.", "1h"),
	P(established, t_established, "Absent: `recheck`.", "recheck"),
	P(recheck_unknown, t_unknown, "Absent: `keep`.", "keep"),
	P(adopt_window, weir_type_duration,
	  "For so long after the first start, connections that are older than weir are taken over "
	  "if a rule allows them. Absent: `60s`.",
	  "60s"),
	P(unparsable, t_pass, "What a flow gets that a condition on its content cannot read. Absent: `drop`.", "drop"),
	{ NULL },
};
static const struct weir_type t_flows = {
	.id = "flows", .name = "flows", .shape = WEIR_T_MAP, .keys = flows_keys, .doc = "How connections live."
};

static const struct weir_key file_keys[] = {
	{ "file", &t_path, offsetof(struct weir_p_set, file) - offsetof(struct weir_p_set, addresses), WEIR_KEY_NEEDED,
	  "One address, network or range a line; `#` or `;` begins a comment.", "lists/ips.txt" },
	{ NULL },
};
static const struct weir_type t_file = {
	.id = "address-file",
	.name = "a file",
	.shape = WEIR_T_MAP,
	.keys = file_keys,
	.doc = "A list that stands in a file of its own, looked up beside the policy."
};
static const struct weir_type t_set_addresses = {
	.name = "addresses, or a file of them", .shape = WEIR_T_EITHER, .of = &t_set_list, .alt = &t_file
};
static const struct weir_key set_keys[] = {
	{ "addresses", &t_set_addresses, offsetof(struct weir_p_set, addresses), 0,
	  "The addresses, or `{ file: ... }`.", "[10.1.0.0/16, 2001:db8::/32]" },
	LATER("names"),
	{ NULL },
};
static const struct weir_type t_set = { .id = "set",
					.name = "a set",
					.shape = WEIR_T_MAP,
					.keys = set_keys,
					.done = weir_done_set,
					.schema = "\"required\":[\"addresses\"]",
					.doc = "Addresses with a name, used as `$name`." };
static const struct weir_type t_sets = { .name = "a map of sets",
					 .shape = WEIR_T_NAMED,
					 .of = &t_set,
					 .size = sizeof(struct weir_p_set),
					 .take = weir_take_set_name,
					 .empty = true,
					 .schema = "^[A-Za-z_][A-Za-z0-9_.-]{0,62}$" };

static const struct weir_key interface_keys[] = {
	{ "xdp", &t_xdp, offsetof(struct weir_p_interface, xdp), WEIR_KEY_NEEDED, "Overrides the policy's `xdp` here.",
	  "off" },
	{ NULL },
};
static const struct weir_type t_interface_map = { .id = "interface-options",
						  .name = "options of an interface",
						  .shape = WEIR_T_MAP,
						  .keys = interface_keys,
						  .doc = "What one interface has of its own." };
static const struct weir_type t_interface_options = { .name = "a map of interfaces",
						      .shape = WEIR_T_NAMED,
						      .of = &t_interface_map,
						      .size = sizeof(struct weir_p_interface),
						      .take = weir_take_interface_key,
						      .empty = true,
						      .schema = "^[!-.0-Z^-~\\\\]]{1,15}$" };

static const struct weir_key policy_keys[] = {
	{ "version", &t_version, offsetof(struct weir_p_doc, version), WEIR_KEY_NEEDED, "The version of the language.",
	  "1" },
	P(mode, weir_type_mode, "Absent: `detect`.", "prevent"),
	{ "default", &t_defaults, offsetof(struct weir_p_doc, defaults), 0,
	  "The verdict when no rule matched: one for all directions, or one for each.",
	  "{ inbound: drop, outbound: allow }" },
	P(failsafe, t_failsafes, "Added to the built-in failsafe.",
	  "[ { name: ssh, direction: inbound, protocol: tcp, ports: 22, from: 10.9.0.0/24 } ]"),
	P(on_error, t_pass_any, "When something fails in the kernel while a packet is judged. Absent: `drop`.", "drop"),
	{ "packets", &t_packets, 0, 0, "Kinds of packets that are judged before any rule.",
	  "{ malformed: drop, fragments: pass }" },
	{ "flows", &t_flows, 0, 0, "How connections live.", "{ idle: 1h, established: recheck }" },
	{ "failures", &weir_type_failures, 0, 0, "What happens when a part of weir fails.",
	  "{ daemon_dead: keep, flow_table_full: drop_new }" },
	{ "performance", &weir_type_performance, 0, 0, "What weir may take of the machine.", "{ max_memory_mb: 512 }" },
	P(xdp, t_xdp, "How drops may be done early. Absent: `auto`.", "auto"),
	P(interfaces, t_interface_options, "What single interfaces have of their own.", "{ eth0: { xdp: native } }"),
	P(include, t_paths,
	  "Files with more rules and sets, in the order of their names; their rules follow the file's own. "
	  "They cannot include again. What the daemon reads and not everybody may read must stand in the configuration "
	  "directory, or be root's and named `.yaml`, `.yml`, `.list`, `.netset`, `.ipset` or `.txt`.",
	  "[policy.d/*.yaml]"),
	P(sets, t_sets, "Addresses with a name.", "{ office: { addresses: [10.1.0.0/16, 2001:db8::/32] } }"),
	P(blocklists, t_set_refs,
	  "Sets whose addresses are stopped before any rule, both ways. They may hold millions: no rule has to be found for "
	  "them. Together they may not hold every address of IPv4 or of IPv6, in however many lines: that is what `default` says.",
	  "[$bad-ips]"),
	P(blocklist_except, t_addresses,
	  "What no blocklist stops, whatever it holds: such packets go on to the limits and rules. A ban still holds.",
	  "[$partners, 192.0.2.7]"),
	P(limits, weir_type_limits, "How much of what comes in is let through, by source or together.",
	  "[ { name: flood, per: source, count: packets, rate: 10k/s, burst: 20k } ]"),
	P(rules, t_rules, "Top to bottom, the first that matches decides.",
	  "[ { name: web, action: allow, ports: 443 } ]"),
	LATER("dns"),
	LATER("detections"),
	LATER("qos"),
	LATER("modules"),
	LATER("forward"),
	LATER("features"),
	LATER("adaptive"),
	LATER("learning"),
	LATER("monitoring"),
	LATER("threat_detection"),
	LATER("response"),
	LATER("telemetry"),
	LATER("api"),
	LATER("fleet"),
	{ NULL },
};
const struct weir_type weir_type_policy = {
	.id = "policy",
	.name = "a policy",
	.shape = WEIR_T_MAP,
	.keys = policy_keys,
	.done = weir_done_doc,
	.doc = "The whole file.",
};

static const struct weir_key included_keys[] = {
	{ "version", &t_version, offsetof(struct weir_p_doc, version), 0, "As in the policy.", "1" },
	P(sets, t_sets, "More sets.", "{ office: { addresses: 10.1.0.0/16 } }"),
	P(rules, t_rules, "More rules.", "[ { name: web, action: allow, ports: 443 } ]"),
	{ NULL },
};
const struct weir_type weir_type_included = {
	.id = "included",
	.name = "an included file",
	.shape = WEIR_T_MAP,
	.keys = included_keys,
	.done = weir_done_doc,
	.doc = "A file that `include` names.",
};
