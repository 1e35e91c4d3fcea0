/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can one packet match both rules? Cheap and on the safe side: it may say yes where a condition that is not
 * looked at (interface, mark, a negated group) keeps them apart.
 */
#include "daemon/worker/worker.h"

static bool lists_meet(uint32_t rows, uint64_t (*word)(const struct weir_img *, uint32_t, uint32_t),
		       const struct weir_img *img, uint32_t a, uint32_t b)
{
	for (uint32_t row = 0; row < rows; row++) {
		if (word(img, row, a >> 6) >> (a & 63) & word(img, row, b >> 6) >> (b & 63) & 1)
			return true;
	}
	return false;
}

static bool addrs_meet(const struct weir_img *img, bool both, uint32_t a, uint32_t b)
{
	return !both || lists_meet(img->cfg->n_addr_rows, weir_img_addr_word, img, a, b);
}

static bool ports_meet(const struct weir_img *img, bool both, uint32_t a, uint32_t b)
{
	return !both || lists_meet(img->cfg->n_port_rows, weir_img_port_word, img, a, b);
}

bool weir_rules_overlap(const struct weir_img *img, const struct weir_rule *a, const struct weir_rule *b)
{
	const struct weir_cond *x = &a->pos, *y = &b->pos;
	uint32_t both = x->set & y->set;
	bool proto = !(both & WEIR_C_PROTO);

	for (int i = 0; i < 4; i++)
		proto |= (x->protos[i] & y->protos[i]) != 0;
	if (!proto || ((both & WEIR_C_DIR) && !(x->dirs & y->dirs)) ||
	    ((both & WEIR_C_FAMILY) && x->family != y->family))
		return false;
	return addrs_meet(img, both & WEIR_C_FROM, x->from, y->from) && addrs_meet(img, both & WEIR_C_TO, x->to, y->to) &&
	       ports_meet(img, both & WEIR_C_PORTS, x->ports, y->ports) &&
	       ports_meet(img, both & WEIR_C_SPORTS, x->sports, y->sports);
}
