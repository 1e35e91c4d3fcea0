/* SPDX-License-Identifier: Apache-2.0 */
/* weir init: a commented policy to begin with. Never overwrites a file. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/opts.h"
#include "lib/policy/policy.h"
#include "lib/util/cleanup.h"

static int written(const struct weir_cli *cli, const char *profile, const char *path)
{
	weir_cli_changed();
	if (cli->json)
		weir_cli_json(json_pack("{s:s, s:o}", "profile", profile, "file", weir_cli_text(path)));
	else
		weir_cli_say("%s: the profile '%s', in mode detect. Read it, then:\n  weir check %s && weir apply %s\n",
			     path, profile, path, path);
	return WEIR_EXIT_OK;
}

static int print(const struct weir_cli *cli, const char *profile)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	FILE *f;
	int r;

	if (!cli->json)
		return weir_policy_profile(stdout, profile) < 0 ? weir_cli_error(NULL, "cannot write") : WEIR_EXIT_OK;
	f = open_memstream(&text, &size);
	if (!f)
		return weir_cli_error(NULL, "out of memory");
	r = weir_policy_profile(f, profile);
	if (fclose(f) || r < 0)
		return weir_cli_error(NULL, "out of memory");
	weir_cli_json(json_pack("{s:s, s:s}", "profile", profile, "yaml", text));
	return WEIR_EXIT_OK;
}

static int write_file(const struct weir_cli *cli, const char *profile, const char *path)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	_cleanup_fclose_ FILE *f = NULL;
	int error;

	if (fd < 0)
		return weir_cli_error(errno == EEXIST ? "weir never overwrites a policy: choose another name" : NULL,
				      "cannot write %s: %s", path, strerror(errno));
	f = fdopen(fd, "w");
	if (f)
		TAKE_FD(fd);
	if (!f || weir_policy_profile(f, profile) < 0 || fflush(f) || fsync(fileno(f))) {
		error = errno;
		unlink(path); /* ours: half a policy helps nobody, and is in the way of the next try */
		return weir_cli_error("nothing is left of it: make room, or choose another place", "cannot write %s: %s", path,
				      strerror(error));
	}
	return written(cli, profile, path);
}

static int run(const struct weir_cli *cli, int argc, char **argv)
{
	const char *profile = NULL;
	const struct weir_opt opts[] = { { "--profile", .value = &profile }, { NULL } };
	int n = weir_opts_parse(&weir_cmd_init, opts, argc, argv);
	bool known = false;

	if (n < 0)
		return -n;
	if (n > 1)
		return weir_cli_usage(&weir_cmd_init, "one file at a time, not '%s' too", argv[2]);
	for (size_t i = 0; profile && weir_policy_profiles[i]; i++)
		known |= !strcmp(profile, weir_policy_profiles[i]);
	if (!known)
		return weir_cli_usage(&weir_cmd_init,
				      profile ? "unknown profile '%s' (laptop, server, router, containers, agent)"
					      : "which profile? (laptop, server, router, containers, agent)",
				      profile);
	return n ? write_file(cli, profile, argv[1]) : print(cli, profile);
}

const struct weir_cmd weir_cmd_init = {
	.name = "init",
	.args = "--profile laptop|server|router|containers|agent [FILE]",
	.summary = "write a commented policy to begin with",
	.help = "Prints the profile, or writes it to FILE, which must not exist. It is in mode detect: nothing is "
		"blocked\n"
		"until you change that.\n"
		"  weir init --profile server /etc/weir/policy.yaml",
	.run = run,
};
