/* SPDX-License-Identifier: Apache-2.0 */
/* weir explain: what happens to a packet under a policy, step by step. Needs no daemon and no right. */
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/policy_file.h"
#include "lib/util/cleanup.h"

/* Options that describe a packet become its text, as if they had stood in --packet. */
static int gather(int argc, char **argv, const char **ret_path, const char **ret_text, char **ret_flags)
{
	size_t size = 0;
	FILE *f = open_memstream(ret_flags, &size);
	bool flags = false;

	if (!f)
		return weir_cli_error(NULL, "out of memory");
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (!strcmp(a, "--packet") && i + 1 < argc) {
			*ret_text = argv[++i];
		} else if (!strncmp(a, "--packet=", 9)) {
			*ret_text = a + 9;
		} else if (a[0] == '-' && a[1] == '-') {
			fprintf(f, "%s ", a);
			if (!strchr(a, '=') && strcmp(a, "--fragment") && i + 1 < argc)
				fprintf(f, "%s ", argv[++i]);
			flags = true;
		} else if (*ret_path) {
			fclose(f);
			return *ret_text && !strchr(*ret_text, ' ') ?
				       weir_cli_usage(&weir_cmd_explain, "the packet is one word for the shell: put it in quotes") :
				       weir_cli_usage(&weir_cmd_explain, "one file at a time, not '%s' too", a);
		} else {
			*ret_path = a;
		}
	}
	fclose(f);
	if (!*ret_path)
		return weir_cli_usage(&weir_cmd_explain, "which file?");
	if (*ret_text && flags)
		return weir_cli_usage(&weir_cmd_explain, "either --packet or single options, not both");
	if (!*ret_text && !flags)
		return weir_cli_usage(&weir_cmd_explain, "which packet?");
	if (flags)
		*ret_text = *ret_flags;
	return 0;
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	_cleanup_policy_file_ struct weir_policy_file f = { 0 };
	_cleanup_free_ char *flags = NULL, *text = NULL;
	const char *path = NULL, *packet = NULL;
	struct weir_packet_spec spec;
	int err = gather(argc, argv, &path, &packet, &flags);

	if (err)
		return err;
	weir_policy_file_open(&f, path);
	if (f.blob && weir_packet_parse(packet, &spec, &f.diags) < 0) {
		weir_diags_format(stderr, &f.diags, cli->color);
		return WEIR_EXIT_USAGE;
	}
	if (f.diags.n)
		weir_policy_file_complain(&f, cli);
	if (!f.blob)
		return WEIR_EXIT_FAIL;
	if (!cli->json) {
		weir_explain(stdout, &f.img, &spec, cli->color);
		return WEIR_EXIT_OK;
	}
	text = weir_explain_json(&f.img, &spec);
	if (!text)
		return weir_cli_error(NULL, "out of memory");
	weir_cli_json(json_loads(text, 0, NULL));
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_explain = {
	.name = "explain",
	.args = "FILE --packet 'tcp 10.0.0.1:4000 > 10.0.0.2:1500 inbound'",
	.summary = "show step by step what a policy does with a packet",
	.help = "The verdict comes from the same code that the kernel runs. The packet is a sentence:\n"
		"  PROTO SRC[:PORT] > DST[:PORT] [inbound|outbound|forward] [on IF | in IF out IF]\n"
		"  [vlan ID [vlan ID]] [mark N] [mac ADDR] [ttl N] [at sat 22:30] [fragment]; for ICMP a type\n"
		"  Without a direction it comes in.\n"
		"or single options: --proto --src --sport --dst --port --direction --interface --in-interface\n"
		"  --out-interface --icmp --icmpv6 --vlan --mark --mac --ttl --at --fragment\n"
		"  weir explain policy.yaml --packet 'udp [2001:db8::1]:5353 > [2001:db8::2]:53 inbound on eth0'\n"
		"  weir explain policy.yaml --proto tcp --src 10.0.0.1 --dst 10.0.0.2 --port 443",
	.run = run,
};
