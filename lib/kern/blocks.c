/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the blocklists hold, in the kernel: core/block_line.h. Behind line 0 there is room for it twice. A change is
 * written into the place that no program asks, where a line differs from what stood there before; then one store says
 * that it is asked from now on. A program reads that word once for each question, so it never sees half of a change.
 * Who has read the old word may go on in the old place: it is written again only after all of those have ended.
 */
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/kern/internal.h"

static int blocks_map(int fd, struct weir_block_line **ret, uint32_t *ret_n)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof info;
	void *m;

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len))
		return fd < 0 ? -ENOENT : -errno;
	m = mmap(NULL, (size_t)info.max_entries * sizeof **ret, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		return -errno;
	*ret = m;
	*ret_n = info.max_entries;
	return 0;
}

/* Bring the place at `base` up to date. Returns how many lines had to be written. */
static uint32_t blocks_write(struct weir_block_line *lines, uint32_t base, const struct weir_block_line *from, uint32_t n)
{
	uint32_t written = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (!memcmp(&lines[base + i], &from[i], sizeof *from))
			continue;
		lines[base + i] = from[i];
		written++;
	}
	return written;
}

int weir_blocks_fill(int fd, const struct weir_img *img)
{
	uint32_t n = img->h->block.count, room;
	struct weir_block_line *lines;
	int r = n ? blocks_map(fd, &lines, &room) : 0;

	if (r || !n)
		return r;
	if (n - 1 <= (room - 1) / 2) {
		blocks_write(lines, 1, weir_img_block_line(img, 1), n - 1);
		__atomic_store_n(&lines[0].w[0], 1, __ATOMIC_RELEASE);
	} else {
		r = -E2BIG;
	}
	munmap(lines, (size_t)room * sizeof *lines);
	return r;
}

int weir_kern_blocks(struct weir_kern *k, const struct weir_img *img, uint32_t *ret_written)
{
	uint32_t n = img->h->block.count, room, half, base, other;
	struct weir_block_line *lines;
	int r;

	if (k->pending || !k->gen.skel)
		return -EBUSY;
	r = blocks_map(weir_gen_map_fd(&k->gen, "weir_block"), &lines, &room);
	if (r)
		return r;
	half = (room - 1) / 2;
	base = (uint32_t)lines[0].w[0];
	other = base == 1 ? 1 + half : 1;
	if (!n || n - 1 > half)
		r = -E2BIG;
	else if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0)) /* in the kernel: synchronize_rcu */
		r = -errno;
	if (!r) {
		*ret_written = blocks_write(lines, other, weir_img_block_line(img, 1), n - 1);
		__atomic_store_n(&lines[0].w[0], other, __ATOMIC_RELEASE);
		weir_kern_edited(k); /* a conversation with what is listed now ends, whatever its flow was told */
	}
	munmap(lines, (size_t)room * sizeof *lines);
	return r;
}
