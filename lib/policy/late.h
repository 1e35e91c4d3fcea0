/* SPDX-License-Identifier: Apache-2.0 */
/* What changes in an image that is in force, without compiling it again. */
#pragma once
#include "core/image_blob.h"
#include "lib/policy/blocklist.h"
#include "lib/policy/policy.h"

/*
 * One rule more, or one less, which weir_late_put of core/image_blob.h then puts there. What to change in `img` so that it has the overlay of `o`, whose edits of sets it has already. -EAGAIN: that is not
 * one rule less, or one more at the end; or the image lacks what the rule refers to, or a place for it. Then all has to
 * be compiled. Also -ENOMEM, -EINVAL.
 */
int weir_late_make(const struct weir_policy *p, const struct weir_compile_options *o, const struct weir_img *img,
		   struct weir_late *ret);

/* What changes of sets changed in an image: what stood there before. */
struct weir_late_sets {
	struct weir_block_patch lines;
	struct weir_list_info *sets; /* all of block_sets; NULL: nothing changed */
	uint32_t n_sets;
};

/*
 * The blob has the edits of `was`, and gets those of `now`; nothing else of the two is looked at. Its digest is not made
 * anew. -EAGAIN: a rule names one of the sets, or there is no room: then all has to be compiled, and nothing is changed.
 */
int weir_late_sets_put(const struct weir_policy *p, const struct weir_overlay *was, const struct weir_overlay *now,
		       uint8_t *blob, struct weir_late_sets *ret);
/*
 * The blob is of `was`, compiled, and becomes one of `now`, which is the same text with the files of addresses as they stand
 * now (weir_policy_again). Else as above; also -EAGAIN: very many addresses differ.
 */
int weir_late_files_put(const struct weir_policy *was, const struct weir_policy *now, const struct weir_overlay *o,
			uint8_t *blob, struct weir_late_sets *ret);
void weir_late_sets_undo(uint8_t *blob, const struct weir_late_sets *l);
void weir_late_sets_free(struct weir_late_sets *l);
