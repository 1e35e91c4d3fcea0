/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules that come and go while an image is in force. The image is kept as it was installed, with a list of these; only
 * who asks for it (the next worker) needs one with all of them in it.
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

int weir_serve_late_fold(struct weir_serve *s)
{
	_cleanup_memmap_ struct weir_memmap m = { 0 };
	_cleanup_free_ uint8_t *blob = NULL;
	uint8_t digest[32];
	int r, fd;

	if (!s->n_late)
		return 0;
	r = weir_memfd_map(s->image[WEIR_IMAGE_NOW], WEIR_BLOB_MAX, &m);
	if (r)
		return r;
	blob = malloc(m.size);
	if (!blob)
		return -ENOMEM;
	memcpy(blob, m.data, m.size);
	for (size_t i = 0; i < s->n_late; i++)
		weir_late_put(blob, &s->late[i]);
	weir_blob_digest(blob, m.size, offsetof(struct weir_image_header, digest), digest);
	memcpy(((struct weir_image_header *)blob)->digest, digest, sizeof digest);
	fd = weir_memfd_of("weir-image", blob, m.size);
	if (fd < 0)
		return fd;
	close(s->image[WEIR_IMAGE_NOW]);
	s->image[WEIR_IMAGE_NOW] = fd;
	s->n_late = 0;
	return 0;
}
