/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker that an intruder has taken over: any sequence of calls, of any size, with any kind of fd, over the kernel in
 * memory. What must hold whatever it says: the image in force changes only by an install that was answered with 0, that
 * came sealed and with its own digest, after hello; nothing that came along, or was given, stays open.
 *
 * A call is: number, how it is filled (0: as it should be), length (0: the right one), fds (count, kind of each), and
 * sixteen bytes that are laid over what follows the head.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/image_blob.h"
#include "daemon/keeper/turn.h"
#include "lib/kern/kern_fake.h"
#include "lib/policy/policy.h"
#include "lib/util/memfd.h"

#define OVERLAY 16
#define CALL (5 + OVERLAY)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *blob;
static uint32_t blob_size;
static char dir[64] = "/tmp/weir-fuzz-keeper-XXXXXX";

static void expect(bool ok)
{
	if (!ok)
		abort();
}

static void tidy(void)
{
	rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct weir_compile_options o = { .generation = 2, .epoch = 2, .mode_ceiling = WEIR_PREVENT };
	struct weir_policy *p = NULL;
	struct weir_diags d = { 0 };

	expect(!weir_policy_read_text("t", NULL, weir_policy_builtin, strlen(weir_policy_builtin), &p, &d));
	expect(weir_policy_compile(p, &o, &blob, &blob_size, &d) >= 0);
	weir_policy_free(p);
	weir_diags_free(&d);
	expect(mkdtemp(dir) != NULL);
	atexit(tidy);
	return 0;
}

enum { IMAGE, PATCHED, LOOSE, RECORDS, EMPTY, OTHER, FDS_KINDS };

static int fd_of(unsigned kind, const uint8_t *overlay)
{
	uint8_t *copy;
	int fd;

	switch (kind % FDS_KINDS) {
	case IMAGE:
		return weir_memfd_of("f", blob, blob_size);
	case PATCHED:
		copy = malloc(blob_size);
		expect(copy != NULL);
		memcpy(copy, blob, blob_size);
		for (int i = 0; i + 2 < OVERLAY; i += 3)
			copy[(overlay[i] << 8 | overlay[i + 1]) % blob_size] ^= overlay[i + 2];
		fd = weir_memfd_of("f", copy, blob_size);
		free(copy);
		return fd;
	case LOOSE:
		fd = memfd_create("f", MFD_ALLOW_SEALING);
		expect(write(fd, blob, blob_size) == (ssize_t)blob_size);
		fcntl(fd, F_ADD_SEALS, overlay[0] & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)); /* one is missing: F_SEAL_SEAL */
		return fd;
	case RECORDS:
		return weir_memfd_of("f", overlay, OVERLAY);
	case EMPTY:
		return weir_memfd_of("f", NULL, 0);
	default:
		return eventfd(0, 0);
	}
}

/* The body as a worker of good faith would fill it. */
static void fill(uint32_t call, char *msg)
{
	if (call == WEIR_CALL_HELLO) {
		struct weir_call_hello h = { .magic = WEIR_PROTO_MAGIC, .version = WEIR_PROTO_VERSION,
					     .image_version = WEIR_IMAGE_VERSION };

		memcpy(msg, &h, sizeof h);
	} else if (call == WEIR_CALL_INSTALL) {
		struct weir_call_install c = { .size = blob_size };

		memcpy(c.digest, ((struct weir_image_header *)blob)->digest, 32);
		memcpy(msg, &c, sizeof c);
	} else if (call == WEIR_CALL_BLOCKS) {
		struct weir_call_blocks c = { .size = blob_size };

		memcpy(c.digest, ((struct weir_image_header *)blob)->digest, 32);
		memcpy(msg, &c, sizeof c);
	} else if (call == WEIR_CALL_BANS || call == WEIR_CALL_LINES || call == WEIR_CALL_STATS) {
		struct weir_call_some c = { .n = 1 };

		memcpy(msg, &c, sizeof c);
	}
}

static void one(struct weir_serve *s, struct weir_keeper *k, const uint8_t *data)
{
	uint32_t call = data[0], before = weir_kern_fake_of(weir_keeper_kern(k))->installs, changed;
	const struct weir_kind *kind = call < WEIR_CALL_COUNT && weir_kinds[call].run ? &weir_kinds[call] : NULL;
	size_t len = data[2] ? data[2] : kind ? kind->size : sizeof(struct weir_call_head), n = data[3] & 3;
	char msg[WEIR_CALL_SIZE_MAX] = { 0 }, *exact;
	bool greeted = s->greeted;
	int fds[3], ret_fds[WEIR_SERVE_FDS], r;
	struct weir_receipt a;

	fill(call, msg);
	if (data[1]) {
		for (int i = 0; i < OVERLAY; i++)
			msg[sizeof(struct weir_call_head) + ((size_t)i + data[1]) % 120] ^= (char)data[5 + i];
	}
	memcpy(msg, &(struct weir_call_head){ call, 1 }, sizeof(struct weir_call_head));
	for (size_t i = 0; i < n; i++)
		fds[i] = fd_of(data[4] >> (i * 2), data + 5);
	exact = malloc(len);
	expect(exact != NULL);
	memcpy(exact, msg, len);
	r = weir_serve_message(s, exact, len, fds, n, &a, ret_fds);
	free(exact);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	changed = weir_kern_fake_of(weir_keeper_kern(k))->installs - before;
	expect(changed <= 1);
	if (changed)
		expect(!r && !a.result && call == WEIR_CALL_INSTALL && greeted && data[3] & 3);
	if (r)
		return;
	expect(greeted || call == WEIR_CALL_HELLO);
	expect(a.n_fds <= WEIR_SERVE_FDS && memchr(a.why, 0, sizeof a.why));
	for (uint32_t i = 0; i < a.n_fds; i++)
		close(ret_fds[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weir_kern_if eth0 = { .ifindex = 2, .name = "eth0" };
	struct weir_keeper *k;
	struct weir_serve *s;
	char why[128];
	int next = dup(0);

	close(next);
	expect(!weir_keeper_open(&(struct weir_keeper_options){ .runtime_dir = dir }, &k, why, sizeof why));
	weir_keeper_link(k, WEIR_LINK_NEW, &eth0);
	expect(!weir_serve_new(k, &s));
	for (size_t at = 0; at + CALL <= size && at < 64 * CALL; at += CALL) {
		if (data[at] == 0xff)
			weir_serve_begin(s); /* another worker */
		else
			one(s, k, data + at);
	}
	weir_serve_free(s);
	weir_keeper_close(k, true);
	expect(dup(0) == next);
	close(next);
	return 0;
}
