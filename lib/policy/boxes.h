/* SPDX-License-Identifier: Apache-2.0 */
/* From an image without trees to one with them. */
#pragma once
#include "lib/policy/tree.h"

struct weir_img;
struct weir_rule;

/*
 * The boxes of the image's rules; free *ret. `rules`: the same rules, in which WEIR_RF_BOXED is set or taken away.
 * -ENOMEM.
 */
int weir_boxes_make(const struct weir_img *img, struct weir_rule *rules, struct weir_box **ret, size_t *ret_n);

/*
 * The most rules that lie in the same boxes and are told apart only by what no box says, a MAC address or a mark: each of
 * them is asked about a packet there. *ret_first: one of them. -ENOMEM.
 */
int weir_boxes_alike(const struct weir_box *boxes, size_t n, const struct weir_rule *rules, uint32_t n_rules,
		     uint32_t *ret_most, uint32_t *ret_first);

/*
 * Gives the image its trees and seals it anew. *blob may move. Few rules that no tree takes stay without, and are asked
 * one after the other. -E2BIG with `why`; -ENOMEM; -EINVAL: no image, or one that has trees. Then it is as it was.
 * 0: why->message is a warning, or "".
 */
int weir_image_add_trees(void **blob, uint32_t *size, struct weir_why *why);
