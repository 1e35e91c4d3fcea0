/* SPDX-License-Identifier: Apache-2.0 */
/* Is an edit of a set one that the compiler could follow? Asked before it is kept. */
#include <errno.h>
#include <string.h>

#include "lib/policy/model.h"
#include "lib/policy/policy.h"
#include "lib/policy/value.h"
#include "lib/util/text.h"

static const char *nearest_set(const struct weir_policy *p, const char *name)
{
	const char *best = NULL;
	unsigned least = 3;

	for (size_t i = 0; i < p->n_sets; i++) {
		unsigned d = weir_text_distance(name, p->sets[i]->name, least);

		if (d < least) {
			least = d;
			best = p->sets[i]->name;
		}
	}
	return best;
}

int weir_policy_check_edit(const struct weir_policy *p, const char *set, const char *element, bool remove,
			   struct weir_diags *diags)
{
	const struct weir_p_set *s = weir_policy_set(p, set);
	struct weir_range r;
	struct weir_why why;
	struct weir_diag *d;

	if (!s) {
		const char *near = nearest_set(p, set);

		d = weir_diags_add(diags, WEIR_ERROR, NULL, 0, 0, 0, "the policy has no set '%s'", set);
		if (d && near)
			weir_diag_hint(d, "did you mean '%s'?", near);
		return -EINVAL;
	}
	if (weir_range_parse(element, &r, &why) < 0 || (!remove && weir_set_blocks(p, s) && weir_range_everybody(&r, &why))) {
		d = weir_diags_add(diags, WEIR_ERROR, NULL, 0, 0, 0, "%s", why.message);
		if (d && why.hint[0])
			weir_diag_hint(d, "%s", why.hint);
		return -EINVAL;
	}
	return 0;
}

const char *weir_policy_element(const char *text, char buf[static WEIR_ELEMENT_SIZE])
{
	struct weir_range r, back;
	struct weir_why why;

	if (weir_range_parse(text, &r, &why) < 0)
		return text;
	weir_range_format(&r, buf, WEIR_ELEMENT_SIZE);
	/* another text must mean the same, whatever the formatter makes of it */
	return weir_range_parse(buf, &back, &why) < 0 || back.lo != r.lo || back.hi != r.hi ? text : buf;
}
