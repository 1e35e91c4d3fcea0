/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a policy: refused with a message, or compiled into an image that opens, whose shown form is a
 * policy again.
 */
#include <stdlib.h>

#include "core/image_blob.h"
#include "lib/policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weir_compile_options o = { .mode_ceiling = WEIR_PREVENT };
	struct weir_policy *p = NULL, *again = NULL;
	struct weir_diags diags = { 0 };
	struct weir_img img;
	void *blob = NULL;
	char *text = NULL;
	uint32_t n;
	size_t len;
	FILE *f;

	if (weir_policy_read_text("fuzz", NULL, (const char *)data, size, &p, &diags) < 0) {
		if (!diags.errors)
			abort(); /* refused without a word */
		goto out;
	}
	if (weir_policy_compile(p, &o, &blob, &n, &diags) < 0)
		goto out;
	if (weir_image_open(&img, blob, n) < 0 || weir_policy_lint(p, &o, &diags) < 0)
		abort();
	f = open_memstream(&text, &len);
	weir_policy_show_effective(f, &img);
	fclose(f);
	if (weir_policy_read_text("shown", NULL, text, len, &again, &diags) < 0)
		abort();
out:
	weir_policy_free(p);
	weir_policy_free(again);
	weir_diags_free(&diags);
	free(blob);
	free(text);
	return 0;
}
