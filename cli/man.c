/* SPDX-License-Identifier: Apache-2.0 */
/* weir(8), from the same table as the help. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/help.h"
#include "lib/util/version.h"

/* Text as it is: no word of it is a request of roff's. */
static void put(const char *text, int len)
{
	bool begin = true;

	for (int i = 0; i < len; i++) {
		char c = text[i];

		if (begin && (c == '.' || c == '\''))
			fputs("\\&", stdout);
		if (c == '\\')
			fputs("\\e", stdout);
		else if (c == '-')
			fputs("\\-", stdout);
		else if (c == '\'')
			fputs("\\(aq", stdout);
		else if (c == '`')
			fputs("\\(ga", stdout);
		else if (c == '^')
			fputs("\\(ha", stdout);
		else if (c == '~')
			fputs("\\(ti", stdout);
		else
			putchar(c);
		begin = c == '\n';
	}
}

static void put_all(const char *text)
{
	put(text, (int)strlen(text));
}

/* Lines that stand as they are: tables, commands. Lines of prose are filled. */
static void put_help(const char *text)
{
	bool plain = false;

	while (*text) {
		int len = (int)strcspn(text, "\n");
		bool indented = *text == ' ';

		if (indented != plain && len)
			puts((plain = indented) ? ".nf" : ".fi");
		if (!len)
			puts(plain && text[1] == ' ' ? "" : ".sp");
		else
			put(text, len);
		if (len)
			putchar('\n');
		text += len + (text[len] == '\n');
	}
	if (plain)
		puts(".fi");
}

static void put_command(const struct weir_cmd *c)
{
	printf(".SS \"weir ");
	put_all(c->name);
	printf("\"\n.B weir ");
	put_all(c->name);
	putchar('\n');
	put_all(c->args);
	printf("%s.PP\n", *c->args ? "\n" : "");
	putchar(toupper((unsigned char)c->summary[0]));
	put_all(c->summary + 1);
	puts(".");
	if (c->help) {
		puts(".PP");
		put_help(c->help);
	}
}

static const char boot_text[] =
	".SH \"THE START OF THE SYSTEM\"\n"
	"The unit\n.B weir.service\nruns\n.B weir run \\-\\-boot\nbefore the network is configured. What was confirmed last is in "
	"force again;\nwhere that policy enforces a default of drop, nothing but lo passes until it is.\n"
	".B systemctl stop weir\nand\n.B weir stop\nend the process and keep enforcing;\n.B weir flush\nremoves everything "
	"until the next start.\n.PP\nThe way out, when a host cannot be reached:\n.B weir=off\non the kernel command line of the "
	"boot loader starts nothing;\n.B weir flush\non the console opens a running system.\n";

static const char files_text[] =
	".SH FILES\n"
	".TP\n.I /etc/weir/policy.yaml\nthe policy; none is installed: weir only watches until there is one\n"
	".TP\n.I /var/lib/weir\nwhat outlives a reboot: the policy confirmed last, rules and bans that were added\n"
	".TP\n.I /var/log/weir/audit.log\nwho changed what\n"
	".TP\n.I /run/weir\nthe control socket, and the pins that keep enforcing without the process\n";

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	if (argc > 1)
		return weir_cli_usage(&weir_cmd_man, "unexpected word '%s'", argv[1]);
	printf(".TH WEIR 8 \"\" \"weir %s\" \"System administration\"\n"
	       ".SH NAME\nweir \\- see what this host talks to, and stop what it must not\n"
	       ".SH SYNOPSIS\n.B weir\n.I COMMAND\n[ARGUMENTS]\n"
	       ".SH DESCRIPTION\nweir is a host firewall on eBPF. It shows what a machine talks to, with a verdict on each "
	       "flow and the rule that gave it,\nand, where a policy in mode prevent says so, stops the rest in the kernel.\n"
	       ".SH COMMANDS\n",
	       weir_version());
	for (const struct weir_cmd *const *c = weir_commands; *c; c++) {
		if (!(*c)->hidden)
			put_command(*c);
	}
	puts(".SH OPTIONS\n.nf");
	put_all(weir_options_help);
	puts(".fi\n.SH \"EXIT STATUS\"\n.nf");
	put_all(weir_exit_help);
	puts(".fi");
	fputs(boot_text, stdout);
	fputs(files_text, stdout);
	puts(".SH \"SEE ALSO\"\n.BR nft (8),\n.BR bpftool (8),\n.BR systemd (1)");
	return WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_man = {
	.name = "__man",
	.args = "",
	.summary = "the manual page weir(8)",
	.run = run,
	.hidden = true,
};
