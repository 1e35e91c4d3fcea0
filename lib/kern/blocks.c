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
		return fd < 0 ? -ENOENT : -EBADF;
	m = mmap(NULL, (size_t)info.max_entries * sizeof **ret, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		return -ENOMEM;
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

struct places { /* of the generation in force, mapped */
	struct weir_block_line *lines;
	uint32_t room, half, base, other; /* lines in all, and of a place; the first line of what is asked, and of the other place */
};

static int places_open(struct weir_kern *k, struct places *ret)
{
	int r = k->pending || !k->gen.skel ? -EBUSY : 0;

	r = r ? r : blocks_map(weir_gen_map_fd(&k->gen, "weir_block"), &ret->lines, &ret->room);
	if (r)
		return r;
	ret->half = (ret->room - 1) / 2;
	ret->base = (uint32_t)ret->lines[0].w[0];
	ret->other = ret->base == 1 ? 1 + ret->half : 1;
	return 0;
}

static void places_close(struct places *p)
{
	munmap(p->lines, (size_t)p->room * sizeof *p->lines);
}

/* Nobody reads the other place from here on. */
static int other_settle(struct weir_kern *k)
{
	if (k->gen.turned && syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0)) /* in the kernel: synchronize_rcu */
		return -errno;
	k->gen.turned = false;
	return 0;
}

/* Nobody reads it, and it holds what is asked. */
static int other_alike(struct weir_kern *k, const struct places *p)
{
	uint64_t used = weir_block_used(&p->lines[p->base]);
	int r = used > p->half ? -EBADMSG : k->gen.alike ? 0 : other_settle(k); /* -EBADMSG: no set was ever put there */

	if (!r && !k->gen.alike)
		blocks_write(p->lines, p->other, &p->lines[p->base], (uint32_t)used);
	k->gen.alike = !r;
	return r;
}

/* The other place is asked. A conversation with what is listed now ends, whatever its flow was told. */
static void other_ask(struct weir_kern *k, struct places *p)
{
	__atomic_store_n(&p->lines[0].w[0], p->other, __ATOMIC_RELEASE);
	k->gen.turned = true;
	k->gen.alike = false;
	weir_kern_edited(k);
}

int weir_kern_blocks(struct weir_kern *k, const struct weir_img *img, uint32_t *ret_written)
{
	uint32_t n = img->h->block.count;
	struct places p;
	int r = places_open(k, &p);

	if (r)
		return r;
	r = !n || n - 1 > p.half ? -E2BIG : other_settle(k);
	if (!r) {
		k->gen.alike = false;
		*ret_written = blocks_write(p.lines, p.other, weir_img_block_line(img, 1), n - 1);
		other_ask(k, &p);
	}
	places_close(&p);
	return r;
}

/* The changes into the place that is not asked. */
static int other_write(struct places *p, const struct weir_block_change *v, uint32_t n)
{
	uint64_t used = weir_block_used(&p->lines[p->base]);

	for (uint32_t i = 0; i < n; i++) {
		if (v[i].at >= used)
			return -EBADMSG;
		p->lines[p->other + v[i].at] = v[i].line;
	}
	return weir_block_set_ok(&p->lines[p->other], (uint32_t)used) ? 0 : -EBADMSG;
}

int weir_kern_lines(struct weir_kern *k, uint32_t epoch, const struct weir_block_change *v, uint32_t n)
{
	struct places p;
	int r = places_open(k, &p);

	if (r)
		return r;
	r = epoch != k->gen.cfg.epoch ? -ESTALE : other_alike(k, &p);
	if (!r) {
		r = other_write(&p, v, n);
		k->gen.alike = false;
	}
	if (!r)
		other_ask(k, &p);
	places_close(&p);
	return r;
}

void weir_kern_lines_ready(struct weir_kern *k)
{
	struct places p;

	if (!k->gen.turned || places_open(k, &p))
		return;
	other_alike(k, &p);
	places_close(&p);
}

int weir_kern_lines_read(struct weir_kern *k, struct weir_block_line *v, uint32_t n)
{
	struct places p;
	uint64_t used;
	int r = places_open(k, &p);

	if (r)
		return r;
	used = weir_block_used(&p.lines[p.base]);
	n = n < used ? n : (uint32_t)used;
	if (n <= p.half)
		memcpy(v, &p.lines[p.base], n * sizeof *v);
	r = n <= p.half ? (int)n : -EBADMSG;
	places_close(&p);
	return r;
}
