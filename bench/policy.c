/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a large policy costs before it is compiled: YAML alone, reading with all checks, lint. Sets from a generator of
 * our own, or a policy file.
 *
 * policy [-n RULES] [-k KIND] [-s STYLE] [-w FILE] [POLICY]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <yaml.h>

#include "lib/policy/policy.h"
#include "lib/util/cleanup.h"
#include "lib/util/file.h"
#include "tests/harness/policies.h"

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static long rss(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss / 1024;
}

/* libyaml and nothing else: what reading cannot be cheaper than while it is used. */
static double yaml_floor(const char *text, size_t len)
{
	double start = now();
	yaml_parser_t y;
	yaml_event_t e;
	int done = 0;

	yaml_parser_initialize(&y);
	yaml_parser_set_input_string(&y, (const unsigned char *)text, len);
	while (!done && yaml_parser_parse(&y, &e)) {
		done = e.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&y);
	return now() - start;
}

static int measure(const char *name, const char *text, size_t len)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT };
	_cleanup_policy_ struct weir_policy *p = NULL;
	struct weir_diags diags = { 0 };
	_cleanup_free_ void *blob = NULL;
	uint32_t size = 0;
	double t[4];
	long mb;
	int err;

	t[0] = now();
	err = weir_policy_read_text(name, NULL, text, len, &p, &diags);
	t[1] = now();
	mb = rss();
	if (!err)
		err = weir_policy_lint(p, &o, &diags);
	t[2] = now();
	if (err >= 0)
		err = weir_policy_compile(p, &o, &blob, &size, &diags);
	t[3] = now();
	printf("| %-12s %6.1f MB  read %7.1f ms (%ld MB)  lint %7.1f ms (%zu findings)  compile %7.1f ms (%.1f MB)\n", name,
	       (double)len / 1e6, t[1] - t[0], mb, t[2] - t[1], diags.n + diags.dropped, t[3] - t[2], size / 1e6);
	if (err < 0)
		weir_diags_format(stderr, &diags, false);
	weir_diags_free(&diags);
	return err < 0 ? err : 0;
}

static int generate(enum weir_set_kind kind, enum weir_style style, size_t n, char **ret, size_t *ret_len)
{
	struct weir_set s = { 0 };
	FILE *f = open_memstream(ret, ret_len);
	int err = f ? weir_set_make(&s, kind, 0, n, 1) : -ENOMEM;

	if (!err)
		err = weir_policy_write(f, &s, style);
	if (f)
		fclose(f);
	weir_set_free(&s);
	return err;
}

int main(int argc, char **argv)
{
	size_t n = 100000;
	int kind = -1, style = -1, c, err = 0;
	const char *to = NULL;

	while ((c = getopt(argc, argv, "n:k:s:w:")) != -1) {
		if (c == 'n')
			n = strtoul(optarg, NULL, 10);
		for (int i = 0; c == 'k' && i < WEIR_SET_KINDS; i++)
			kind = strcmp(weir_set_names[i], optarg) ? kind : i;
		for (int i = 0; c == 's' && i < WEIR_STYLES; i++)
			style = strcmp(weir_style_names[i], optarg) ? style : i;
		if (c == 'w')
			to = optarg;
	}
	if (optind < argc) {
		_cleanup_free_ char *text = NULL;
		size_t len;

		err = weir_file_read(argv[optind], SIZE_MAX / 2, &text, &len);
		if (!err)
			printf("| yaml alone %.1f ms\n", yaml_floor(text, len));
		return (err ? err : measure(argv[optind], text, len)) < 0;
	}
	for (int k = 0; k < WEIR_SET_KINDS && !err; k++) {
		for (int s = 0; s < WEIR_STYLES && !err; s++) {
			_cleanup_free_ char *text = NULL;
			char name[32];
			size_t len;

			if ((kind >= 0 ? k != kind : k > WEIR_SET_IPC) || (style >= 0 && s != style))
				continue;
			err = generate((enum weir_set_kind)k, (enum weir_style)s, n, &text, &len);
			if (to && !err) {
				_cleanup_fclose_ FILE *f = fopen(to, "we");

				return !f || fwrite(text, 1, len, f) != len;
			}
			snprintf(name, sizeof name, "%s/%s", weir_set_names[k], weir_style_names[s]);
			printf("| %-12s yaml alone %.1f ms\n", name, yaml_floor(text, len));
			measure(name, text, len);
		}
	}
	return err < 0;
}
