/* SPDX-License-Identifier: Apache-2.0 */
/* One rule more, or one less, in an image that is in force: what weir_late_put of core/image_blob.h then does. */
#pragma once
#include "core/image_blob.h"
#include "lib/policy/policy.h"

/*
 * What to change in `img` so that it has the overlay of `o`, whose edits of sets it has already. -EAGAIN: that is not
 * one rule less, or one more at the end; or the image lacks what the rule refers to, or a place for it. Then all has to
 * be compiled. Also -ENOMEM, -EINVAL.
 */
int weir_late_make(const struct weir_policy *p, const struct weir_compile_options *o, const struct weir_img *img,
		   struct weir_late *ret);
