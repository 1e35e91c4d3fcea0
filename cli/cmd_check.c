/* SPDX-License-Identifier: Apache-2.0 */
/* weir check: is this file a policy? Reads and compiles it; touches nothing that is in force. */
#include "cli/opts.h"
#include "cli/policy_file.h"
#include "core/memory.h"
#include "lib/util/cpus.h"

/* "2,200 ranges in 3 blocklists, ", or "" */
static const char *blocked(const struct weir_img *img, char *buf, size_t size)
{
	const struct weir_list_info *l;
	uint32_t n = img->h->block_sets.count;
	uint64_t ranges = 0;

	for (uint32_t i = 0; (l = weir_img_at(img, &img->h->block_sets, i, sizeof *l)); i++)
		ranges += l->ranges;
	buf[0] = 0;
	if (n)
		snprintf(buf, size, "%llu range%s in %u blocklist%s, ", (unsigned long long)ranges, ranges == 1 ? "" : "s", n,
			 n == 1 ? "" : "s");
	return buf;
}

static void say_ok(const struct weir_policy_file *f)
{
	const struct weir_config *c = f->img.cfg;
	uint32_t lists = f->img.h->lists.count, rules = weir_img_rule_count(&f->img);
	struct weir_memory m;
	char text[64];

	weir_memory_image(&f->img, weir_cpus_possible(), &m);
	weir_cli_say("%s: ok: %u rule%s, %u address list%s, %smode %s, compiled to %u bytes. Its maps take %llu of %llu MB.\n",
		     f->path, rules, rules == 1 ? "" : "s", lists, lists == 1 ? "" : "s",
		     blocked(&f->img, text, sizeof text), weir_mode_name(c->mode), f->size,
		     (unsigned long long)(m.most + 999999) / 1000000, (unsigned long long)m.limit / 1000000);
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	_cleanup_policy_file_ struct weir_policy_file f = { 0 };
	bool strict = false, warned;
	const struct weir_opt opts[] = { { "--strict", .flag = &strict }, { NULL } };
	int n = weir_opts_parse(&weir_cmd_check, opts, argc, argv);
	json_t *j;

	if (n < 0)
		return -n;
	if (n != 1)
		return n ? weir_cli_usage(&weir_cmd_check, "one file at a time, not '%s' too", argv[2])
			 : weir_cli_usage(&weir_cmd_check, "which file?");
	weir_policy_file_open(&f, argv[1]);
	warned = strict && f.blob && f.diags.n;
	if (cli->json) {
		j = weir_policy_file_json(&f);
		if (warned) {
			json_object_set_new(j, "ok", json_false());
			json_object_set_new(j, "refused_for", json_string("warnings"));
		}
		weir_cli_json(j);
	} else {
		weir_policy_file_complain(&f, cli);
		if (warned)
			fprintf(stderr, "%s: refused because of %s: --strict takes warnings for errors\n", f.path,
				f.diags.n == 1 ? "the warning" : "the warnings");
		else if (f.blob)
			say_ok(&f);
	}
	return !f.blob || warned ? WEIR_EXIT_FAIL : WEIR_EXIT_OK;
}

const struct weir_cmd weir_cmd_check = {
	.name = "check",
	.args = "FILE [--strict]",
	.summary = "say whether a file is a policy, and if not, where and why",
	.help = "Reads FILE with its includes and sets, and compiles it. Nothing in force is touched.\n"
		"  --strict   warnings count as errors\n"
		"Exit status 0: it is one. 1: it is not.\n"
		"  weir check /etc/weir/policy.yaml",
	.run = run,
};
