/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/policy_file.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/util/cpus.h"

void weir_policy_file_open(struct weir_policy_file *f, const char *path)
{
	/* as the daemon does: what fits here fits there */
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT, .late = true, .cpus = weir_cpus_possible() };
	int err;

	f->path = path;
	err = weir_policy_read(path, &f->policy, &f->diags);
	if (!err)
		err = weir_policy_compile(f->policy, &o, &f->blob, &f->size, &f->diags);
	if (err < 0)
		return;
	if (weir_image_open(&f->img, f->blob, f->size) < 0) { /* the compiler and core disagree: ours to mend */
		weir_diags_add(&f->diags, WEIR_ERROR, path, 0, 0, 1,
			       "internal error: the compiled policy does not open");
		free(f->blob);
		f->blob = NULL;
	}
}

void weir_policy_file_close(struct weir_policy_file *f)
{
	weir_policy_free(f->policy);
	weir_diags_free(&f->diags);
	free(f->blob);
}

void weir_policy_file_complain(const struct weir_policy_file *f, const struct weir_cli *cli)
{
	size_t warnings = f->diags.n + f->diags.dropped - f->diags.errors;

	weir_diags_format(stderr, &f->diags, cli->color && isatty(STDERR_FILENO));
	if (f->diags.errors)
		fprintf(stderr, "%s%zu error%s. The policy in force is unchanged.\n", f->diags.dropped ? "At least " : "",
			f->diags.errors, f->diags.errors == 1 ? "" : "s");
	else if (warnings)
		fprintf(stderr, "%zu warning%s.\n", warnings, warnings == 1 ? "" : "s");
}

json_t *weir_diags_json(const struct weir_diags *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->n; i++) {
		const struct weir_diag *x = &d->v[i];

		json_array_append_new(list, json_pack("{s:s, s:o*, s:i, s:i, s:o, s:o*}", "severity",
						      x->severity == WEIR_ERROR ? "error" : "warning", "file",
						      x->file ? weir_cli_text(x->file) : NULL, "line", (int)x->line,
						      "col", (int)x->col, "message", weir_cli_text(x->message), "hint",
						      x->hint ? weir_cli_text(x->hint) : NULL));
	}
	return list;
}

json_t *weir_policy_file_json(const struct weir_policy_file *f)
{
	return json_pack("{s:b, s:o, s:i, s:o}", "ok", f->blob != NULL, "file", weir_cli_text(f->path), "errors",
			 (int)f->diags.errors, "messages", weir_diags_json(&f->diags));
}
