/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's end, asked by a worker that does not keep to the rules. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sha2.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/image_blob.h"
#include "daemon/keeper/serve.h"
#include "lib/kern/kern_fake.h"
#include "lib/policy/policy.h"
#include "lib/util/memfd.h"

struct fixture {
	char dir[64];
	struct weir_keeper *keeper;
	struct weir_serve *serve;
	void *blob;
	uint32_t size;
	struct weir_receipt got;
	int fds[WEIR_SERVE_FDS];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct weir_compile_options o = { .generation = 3, .epoch = 4, .mode_ceiling = WEIR_PREVENT };
	struct weir_kern_if eth0 = { .ifindex = 2, .name = "eth0" };
	struct weir_policy *p = NULL;
	struct weir_diags d = { 0 };
	char why[128];

	snprintf(f->dir, sizeof f->dir, "/tmp/weir-serve-XXXXXX");
	if (!mkdtemp(f->dir) ||
	    weir_keeper_open(&(struct weir_keeper_options){ .runtime_dir = f->dir }, &f->keeper, why, sizeof why) ||
	    weir_serve_new(f->keeper, &f->serve) ||
	    weir_policy_read_text("t", NULL, weir_policy_builtin, strlen(weir_policy_builtin), &p, &d) ||
	    weir_policy_compile(p, &o, &f->blob, &f->size, &d) < 0)
		return -1;
	weir_keeper_link(f->keeper, WEIR_LINK_NEW, &eth0);
	weir_policy_free(p);
	weir_diags_free(&d);
	*state = f;
	return 0;
}

static void drop(struct fixture *f)
{
	for (uint32_t i = 0; i < f->got.n_fds; i++)
		close(f->fds[i]);
	f->got.n_fds = 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	drop(f);
	weir_serve_free(f->serve);
	weir_keeper_close(f->keeper, true);
	rmdir(f->dir);
	free(f->blob);
	free(f);
	return 0;
}

static int say(struct fixture *f, void *msg, uint32_t call, size_t size, const int *fds, size_t n)
{
	struct weir_call_head h = { call, 7 };

	memcpy(msg, &h, sizeof h);
	drop(f);
	return weir_serve_message(f->serve, msg, size, fds, n, &f->got, f->fds);
}

static int plain(struct fixture *f, uint32_t call)
{
	struct weir_call_head h = { 0 };

	return say(f, &h, call, sizeof h, NULL, 0);
}

static void hello(struct fixture *f)
{
	struct weir_call_hello h = { .magic = WEIR_PROTO_MAGIC, .version = WEIR_PROTO_VERSION,
				     .image_version = WEIR_IMAGE_VERSION };

	assert_int_equal(say(f, &h, WEIR_CALL_HELLO, sizeof h, NULL, 0), 0);
	assert_int_equal(f->got.result, 0);
	assert_int_equal(f->got.seq, 7);
}

static struct weir_call_install call_of(const struct fixture *f)
{
	struct weir_call_install c = { .size = f->size };

	memcpy(c.digest, ((struct weir_image_header *)f->blob)->digest, 32);
	return c;
}

/* What the keeper says to an image in this file; nothing may have come into force unless it says 0. */
static int install(struct fixture *f, struct weir_call_install *c, int fd)
{
	uint32_t before = weir_kern_fake_of(weir_keeper_kern(f->keeper))->installs;

	assert_int_equal(say(f, c, WEIR_CALL_INSTALL, sizeof *c, &fd, 1), 0);
	close(fd);
	assert_int_equal(weir_kern_fake_of(weir_keeper_kern(f->keeper))->installs - before, f->got.result ? 0 : 1);
	return f->got.result;
}

static void test_order(void **state)
{
	struct fixture *f = *state;
	struct weir_call_install c = call_of(f);

	for (uint32_t call = WEIR_CALL_PING; call < WEIR_CALL_COUNT; call++)
		assert_true(plain(f, call) < 0); /* hello comes first */
	hello(f);
	assert_true(plain(f, WEIR_CALL_CONFIRM) < 0); /* of what? nothing was put in force */
	assert_non_null(strstr(weir_serve_why(f->serve), "out of order"));
	assert_true(plain(f, WEIR_CALL_READY) < 0);
	assert_true(plain(f, WEIR_CALL_IMAGE) < 0);
	assert_int_equal(install(f, &c, weir_memfd_of("t", f->blob, f->size)), 0);
	assert_int_equal(plain(f, WEIR_CALL_READY), 0);
	assert_true(weir_serve_ready(f->serve));
	assert_int_equal(plain(f, WEIR_CALL_BUSY), 0);
	assert_true(weir_serve_busy(f->serve));
	assert_int_equal(plain(f, WEIR_CALL_PING), 0);
	assert_false(weir_serve_busy(f->serve)); /* whatever it says next ends that */
	assert_true(plain(f, WEIR_CALL_HELLO) < 0); /* nobody begins twice */
	weir_serve_begin(f->serve);
	assert_false(weir_serve_ready(f->serve));
	assert_true(plain(f, WEIR_CALL_READY) < 0);
	hello(f);
	assert_int_equal(plain(f, WEIR_CALL_IMAGE), 0); /* the next one is told what is in force */
	assert_int_equal(f->got.n_fds, 1);
}

static void test_shape(void **state)
{
	struct fixture *f = *state;
	char msg[WEIR_CALL_SIZE_MAX + 8] = { 0 };
	int fds[3] = { 0, 0, 0 };

	hello(f);
	assert_true(say(f, msg, 0, 8, NULL, 0) < 0);
	assert_true(say(f, msg, WEIR_CALL_COUNT, 8, NULL, 0) < 0);
	assert_true(say(f, msg, UINT32_MAX, 8, NULL, 0) < 0);
	for (uint32_t call = WEIR_CALL_PING; call < WEIR_CALL_COUNT; call++) {
		assert_true(say(f, msg, call, sizeof msg, NULL, 0) < 0);
		assert_true(weir_serve_message(f->serve, msg, 7, NULL, 0, &f->got, f->fds) < 0);
		assert_true(say(f, msg, call, 9, NULL, 0) < 0);
	}
	assert_true(say(f, msg, WEIR_CALL_PING, sizeof(struct weir_call_head), fds, 1) < 0);
	assert_true(say(f, msg, WEIR_CALL_INSTALL, sizeof(struct weir_call_install), fds, 0) < 0);
	assert_true(say(f, msg, WEIR_CALL_INSTALL, sizeof(struct weir_call_install), fds, 3) < 0);
}

static void test_hello_of_another_version(void **state)
{
	struct weir_call_hello h[] = {
		{ .magic = 1, .version = WEIR_PROTO_VERSION, .image_version = WEIR_IMAGE_VERSION },
		{ .magic = WEIR_PROTO_MAGIC, .version = WEIR_PROTO_VERSION + 1, .image_version = WEIR_IMAGE_VERSION },
		{ .magic = WEIR_PROTO_MAGIC, .version = WEIR_PROTO_VERSION, .image_version = WEIR_IMAGE_VERSION - 1 },
	};

	for (int i = 0; i < 3; i++)
		assert_true(say(*state, &h[i], WEIR_CALL_HELLO, sizeof h[i], NULL, 0) < 0);
	assert_true(plain(*state, WEIR_CALL_PING) < 0);
}

/* Sealed by the fingers of the caller: `seals`. */
static int loose(const struct fixture *f, int seals)
{
	int fd = memfd_create("t", MFD_ALLOW_SEALING);

	assert_int_equal(write(fd, f->blob, f->size), f->size);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void test_image_that_can_change(void **state)
{
	struct fixture *f = *state;
	struct weir_call_install c = call_of(f);
	int all = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	hello(f);
	assert_int_equal(install(f, &c, loose(f, 0)), -EPERM);
	assert_int_equal(install(f, &c, loose(f, all & ~F_SEAL_WRITE)), -EPERM);
	assert_int_equal(install(f, &c, loose(f, all & ~F_SEAL_SHRINK)), -EPERM);
	assert_int_equal(install(f, &c, loose(f, all & ~F_SEAL_GROW)), -EPERM);
	assert_int_equal(install(f, &c, loose(f, all & ~F_SEAL_SEAL)), -EPERM);
	assert_true(install(f, &c, open("/dev/zero", O_RDONLY)) < 0);
	assert_true(install(f, &c, open("/proc/self/exe", O_RDONLY)) < 0);
	assert_int_equal(install(f, &c, loose(f, all)), 0);
}

static void digest_again(struct weir_image_header *h, uint32_t size)
{
	SHA2_CTX sha;

	memset(h->digest, 0, 32);
	SHA256Init(&sha);
	SHA256Update(&sha, (uint8_t *)h, size);
	SHA256Final(h->digest, &sha);
}

static void test_image_that_is_another(void **state)
{
	struct fixture *f = *state;
	struct weir_call_install c = call_of(f);
	struct weir_image_header *h = f->blob;

	hello(f);
	c.digest[3] ^= 1;
	assert_int_equal(install(f, &c, weir_memfd_of("t", f->blob, f->size)), -EBADMSG);
	c = call_of(f);
	((uint8_t *)f->blob)[f->size - 2] ^= 1;
	assert_int_equal(install(f, &c, weir_memfd_of("t", f->blob, f->size)), -EBADMSG);
	((uint8_t *)f->blob)[f->size - 2] ^= 1;
	assert_int_equal(install(f, &c, weir_memfd_of("t", f->blob, f->size - 8)), -EBADMSG);
	assert_int_equal(install(f, &c, weir_memfd_of("t", NULL, 0)), -EBADMSG);
	h->version--;
	digest_again(h, f->size);
	c = call_of(f);
	assert_int_equal(install(f, &c, weir_memfd_of("t", f->blob, f->size)), -EPROTONOSUPPORT);
	h->version++;
	h->rules.count = 7; /* well said, and still nonsense */
	digest_again(h, f->size);
	c = call_of(f);
	assert_int_equal(install(f, &c, weir_memfd_of("t", f->blob, f->size)), -EBADMSG);
}

/* The image of a policy with a blocklist, in a sealed file. */
static int blocked(const char *addresses, const char *rest, uint32_t generation, struct weir_call_blocks *ret)
{
	struct weir_compile_options o = { .generation = generation, .epoch = 4, .mode_ceiling = WEIR_PREVENT };
	struct weir_policy *p = NULL;
	struct weir_diags d = { 0 };
	char text[256];
	void *blob;
	int fd;

	snprintf(text, sizeof text, "version: 1\nmode: prevent\nblocklists: $bad\nsets: { bad: { addresses: [%s] } }\n%s",
		 addresses, rest);
	assert_int_equal(weir_policy_read_text("t", NULL, text, strlen(text), &p, &d), 0);
	*ret = (struct weir_call_blocks){ 0 };
	assert_int_equal(weir_policy_compile(p, &o, &blob, &ret->size, &d), 0);
	memset(((struct weir_image_header *)blob)->source_digest, 0, 32); /* the text is not what this is about */
	weir_image_seal(blob, ret->size);
	memcpy(ret->digest, ((struct weir_image_header *)blob)->digest, 32);
	fd = weir_memfd_of("t", blob, ret->size);
	free(blob);
	weir_policy_free(p);
	weir_diags_free(&d);
	return fd;
}

static int blocks(struct fixture *f, struct weir_call_blocks *c, int fd)
{
	uint32_t before = weir_kern_fake_of(weir_keeper_kern(f->keeper))->blocks;

	assert_int_equal(say(f, c, WEIR_CALL_BLOCKS, sizeof *c, &fd, 1), 0);
	close(fd);
	assert_int_equal(weir_kern_fake_of(weir_keeper_kern(f->keeper))->blocks - before, f->got.result < 0 ? 0 : 1);
	return f->got.result;
}

/* Other blocklists for the image in force, and nothing else under that name. */
static void test_blocks(void **state)
{
	struct fixture *f = *state;
	struct weir_call_install image = { 0 };
	struct weir_call_blocks c;
	struct weir_memmap m = { 0 };
	int fd;

	hello(f);
	fd = blocked("192.0.2.1", "", 3, &c);
	assert_true(say(f, &c, WEIR_CALL_BLOCKS, sizeof c, &fd, 1) < 0); /* of what? */
	close(fd);
	weir_serve_begin(f->serve);
	hello(f);
	fd = blocked("192.0.2.1", "", 3, &c);
	image.size = c.size;
	memcpy(image.digest, c.digest, 32);
	assert_int_equal(install(f, &image, fd), 0);
	fd = blocked("192.0.2.1, 192.0.2.2, 2001:db8::/32", "", 3, &c);
	assert_true(blocks(f, &c, fd) > 0);
	assert_int_equal(plain(f, WEIR_CALL_IMAGE), 0); /* the next worker is told */
	assert_int_equal(weir_memfd_map(f->fds[0], 1 << 20, &m), 0);
	assert_memory_equal(((const struct weir_image_header *)m.data)->digest, c.digest, 32);
	weir_memfd_unmap(&m);
	fd = blocked("192.0.2.1", "rules: [ { name: all, action: allow } ]\n", 3, &c);
	assert_int_equal(blocks(f, &c, fd), -ESTALE);
	fd = blocked("192.0.2.1", "", 4, &c);
	assert_int_equal(blocks(f, &c, fd), -ESTALE);
	fd = blocked("192.0.2.1", "", 3, &c);
	c.digest[0] ^= 1;
	assert_int_equal(blocks(f, &c, fd), -EBADMSG);
	image = call_of(f); /* one without blocklists */
	assert_int_equal(install(f, &image, weir_memfd_of("t", f->blob, f->size)), 0);
	fd = blocked("192.0.2.1", "", 3, &c);
	assert_int_equal(blocks(f, &c, fd), -ESTALE);
	image.deadline = weir_kern_now() + 60000000000u;
	assert_int_equal(install(f, &image, weir_memfd_of("t", f->blob, f->size)), 0);
	fd = blocked("192.0.2.1", "", 3, &c);
	assert_int_equal(blocks(f, &c, fd), -EBUSY);
}

static int lines(struct fixture *f, uint32_t n, uint32_t n_sets, uint32_t epoch, uint64_t at, size_t bytes)
{
	struct weir_call_lines c = { .n = n, .n_sets = n_sets, .epoch = epoch };
	struct {
		struct weir_block_change v;
		struct weir_list_info set;
	} data = { .v = { .at = at }, .set = { .ranges = 77 } };
	int fd = weir_memfd_of("t", &data, bytes);

	assert_int_equal(say(f, &c, WEIR_CALL_LINES, sizeof c, &fd, 1), 0);
	close(fd);
	return f->got.result;
}

/* Lines of the blocklists in force become others; what is no such thing changes nothing. */
static void test_lines(void **state)
{
	struct fixture *f = *state;
	struct weir_call_install image = { 0 };
	size_t whole = sizeof(struct weir_block_change) + sizeof(struct weir_list_info);
	struct weir_memmap m = { 0 };
	const struct weir_image_header *h;
	struct weir_call_blocks c;
	int fd;

	hello(f);
	fd = blocked("192.0.2.1", "", 3, &c);
	image.size = c.size;
	memcpy(image.digest, c.digest, 32);
	assert_int_equal(install(f, &image, fd), 0);
	assert_int_equal(lines(f, 1, 1, 4, 2, whole), 0);
	assert_int_equal(plain(f, WEIR_CALL_IMAGE), 0); /* the next worker is told */
	assert_int_equal(weir_memfd_map(f->fds[0], 1 << 20, &m), 0);
	h = m.data;
	assert_memory_not_equal(h->digest, c.digest, 32);
	assert_int_equal(((const struct weir_list_info *)((const char *)m.data + h->block_sets.off))->ranges, 77);
	weir_memfd_unmap(&m);
	assert_int_equal(lines(f, 1, 1, 5, 2, whole), -ESTALE);
	assert_int_equal(lines(f, 1, 1, 4, 1u << 20, whole), -EBADMSG);
	assert_int_equal(lines(f, 1, 1, 4, UINT64_MAX, whole), -EBADMSG);
	assert_int_equal(lines(f, 2, 1, 4, 2, whole), -EBADMSG);
	assert_int_equal(lines(f, UINT32_MAX, 1, 4, 2, whole), -EBADMSG);
	assert_int_equal(lines(f, 1, 0, 4, 2, whole - sizeof(struct weir_list_info)), -EBADMSG);
	assert_int_equal(lines(f, 1, UINT32_MAX, 4, 2, whole), -EBADMSG);
	assert_int_equal(lines(f, 0, 1, 4, 2, 0), -EBADMSG);
	image = call_of(f);
	image.deadline = weir_kern_now() + 60000000000u;
	assert_int_equal(install(f, &image, weir_memfd_of("t", f->blob, f->size)), 0);
	assert_int_equal(lines(f, 1, 1, 4, 2, whole), -EBUSY);
}

static void test_bans(void **state)
{
	struct fixture *f = *state;
	struct weir_wire_ban b = { .key.prefixlen = 129 };
	struct weir_call_bans c = { .n = 1 };
	struct weir_call_ban one = { .ban = b };
	struct weir_call_install image = call_of(f);
	int fd = weir_memfd_of("t", &b, sizeof b);

	hello(f);
	assert_int_equal(say(f, &c, WEIR_CALL_BANS, sizeof c, &fd, 1), 0);
	assert_int_equal(f->got.result, -EINVAL);
	c.n = 2;
	assert_int_equal(say(f, &c, WEIR_CALL_BANS, sizeof c, &fd, 1), 0);
	assert_int_equal(f->got.result, -EBADMSG);
	close(fd);
	assert_int_equal(install(f, &image, weir_memfd_of("t", f->blob, f->size)), 0);
	assert_int_equal(say(f, &one, WEIR_CALL_BAN, sizeof one, NULL, 0), 0);
	assert_int_equal(f->got.result, -EINVAL);
	assert_int_equal(weir_kern_fake_of(weir_keeper_kern(f->keeper))->bans, 0);
}

static void test_ends_as_asked_only(void **state)
{
	struct fixture *f = *state;
	struct weir_call_end c = { .how = 3 };

	hello(f);
	assert_int_equal(say(f, &c, WEIR_CALL_END, sizeof c, NULL, 0), 0);
	assert_int_equal(f->got.result, -EINVAL);
	assert_int_equal(weir_serve_end(f->serve), 0);
	c.how = WEIR_CALL_END_FLUSH;
	assert_int_equal(say(f, &c, WEIR_CALL_END, sizeof c, NULL, 0), 0);
	assert_int_equal(weir_serve_end(f->serve), WEIR_CALL_END_FLUSH);
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Over a socket: too many fds, too long, and nothing stays open behind it. */
static void test_socket(void **state)
{
	struct fixture *f = *state;
	struct weir_call_hello h = { { WEIR_CALL_HELLO, 1 }, WEIR_PROTO_MAGIC, WEIR_PROTO_VERSION, WEIR_IMAGE_VERSION, 0 };
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
	struct iovec v = { &h, sizeof h };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control };
	char longer[4096] = { 0 };
	struct cmsghdr *c;
	int s[2], before;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	before = count_fds();
	for (size_t n = 1; n <= 16; n++) {
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		*c = (struct cmsghdr){ CMSG_LEN(n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		assert_int_equal(sendmsg(s[0], &m, 0), sizeof h); /* sixteen times fd 0 */
		assert_int_equal(weir_serve_read(f->serve, s[1]), -EPROTO);
		assert_int_equal(count_fds(), before);
	}
	assert_int_equal(send(s[0], longer, sizeof longer, 0), sizeof longer);
	assert_int_equal(weir_serve_read(f->serve, s[1]), -EPROTO);
	assert_int_equal(send(s[0], &h, sizeof h, 0), sizeof h);
	assert_int_equal(weir_serve_read(f->serve, s[1]), 0);
	assert_int_equal(recv(s[0], &f->got, sizeof f->got, 0), sizeof f->got);
	close(s[0]);
	assert_int_equal(weir_serve_read(f->serve, s[1]), -EPIPE);
	close(s[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(x) cmocka_unit_test_setup_teardown(test_##x, setup, teardown)
		T(order), T(shape), T(hello_of_another_version), T(image_that_can_change), T(image_that_is_another), T(blocks), T(lines),
		T(bans),
		T(ends_as_asked_only), T(socket),
	};

	return cmocka_run_group_tests_name("serve", tests, NULL, NULL);
}
