/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules that come and go, and addresses of blocklists, while an image is in force. The image is kept as it was installed;
 * the rules stand in a list, the addresses in the kernel. Only who asks for it (the next worker) needs one with all of that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/image_blob.h"
#include "daemon/keeper/turn.h"
#include "lib/util/cleanup.h"
#include "lib/util/digest.h"
#include "lib/util/memfd.h"

#define LATE_MAX 1024u /* the overlay's rules, and the places */

int weir_serve_late(struct weir_serve *s, const struct weir_late *l)
{
	struct weir_late *more;
	int r;

	if (s->n_late == LATE_MAX)
		return -ENOSPC;
	more = realloc(s->late, (s->n_late + 1) * sizeof *more);
	if (!more)
		return -ENOMEM;
	s->late = more;
	r = weir_kern_late(weir_keeper_kern(s->keeper), l);
	if (!r)
		s->late[s->n_late++] = *l;
	return r;
}

int weir_serve_lines(struct weir_serve *s, const struct weir_call_lines *c, const void *data, size_t size)
{
	const struct weir_block_change *v = data;
	size_t lines = c->n * sizeof *v, sets = c->n_sets * sizeof *s->sets;
	struct weir_list_info *copy;
	int r;

	if (!c->n_sets || c->n_sets > WEIR_LISTS_MAX || size != lines + sets)
		return -EBADMSG;
	copy = malloc(sets);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, (const uint8_t *)data + lines, sets);
	/* none: a set holds now what another one holds besides */
	r = c->n ? weir_kern_lines(weir_keeper_kern(s->keeper), c->epoch, v, c->n) : 0;
	if (r) {
		free(copy);
		return r;
	}
	free(s->sets);
	s->sets = copy;
	s->n_sets = c->n_sets;
	return 0;
}

void weir_serve_late_drop(struct weir_serve *s)
{
	free(s->sets);
	s->sets = NULL;
	s->n_sets = 0;
	s->n_late = 0;
}

/* What the blocklists hold now: the kernel knows. The names of the sets stay those of the image. */
static int fold_lines(const struct weir_serve *s, uint8_t *blob)
{
	struct weir_image_header *h = (void *)blob;
	struct weir_list_info *sets = (void *)(blob + h->block_sets.off);
	struct weir_block_line *lines = (void *)(blob + h->block.off);
	int n = h->block.count ? weir_kern_lines_read(weir_keeper_kern(s->keeper), lines + 1, h->block.count - 1) : 0;

	for (uint32_t i = 0; i < s->n_sets && i < h->block_sets.count; i++)
		sets[i].ranges = s->sets[i].ranges;
	return n < 0 ? n : 0;
}

static int fold(struct weir_serve *s, uint8_t *blob, size_t size)
{
	uint8_t digest[32];
	int r = s->sets ? fold_lines(s, blob) : 0;

	for (size_t i = 0; i < s->n_late; i++)
		weir_late_put(blob, &s->late[i]);
	weir_blob_digest(blob, size, offsetof(struct weir_image_header, digest), digest);
	memcpy(((struct weir_image_header *)blob)->digest, digest, sizeof digest);
	return r;
}

int weir_serve_late_fold(struct weir_serve *s)
{
	_cleanup_memmap_ struct weir_memmap m = { 0 };
	_cleanup_free_ uint8_t *blob = NULL;
	int r, fd;

	if (!s->n_late && !s->sets)
		return 0;
	r = weir_memfd_map(s->image[WEIR_IMAGE_NOW], WEIR_BLOB_MAX, &m);
	if (r)
		return r;
	blob = malloc(m.size);
	if (!blob)
		return -ENOMEM;
	memcpy(blob, m.data, m.size);
	r = fold(s, blob, m.size);
	if (r)
		return r;
	fd = weir_memfd_of("weir-image", blob, m.size);
	if (fd < 0)
		return fd;
	close(s->image[WEIR_IMAGE_NOW]);
	s->image[WEIR_IMAGE_NOW] = fd;
	weir_serve_late_drop(s);
	return 0;
}
