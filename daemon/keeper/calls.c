/* SPDX-License-Identifier: Apache-2.0 */
/* What the keeper does for each call, and the table of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/image_blob.h"
#include "daemon/keeper/turn.h"
#include "lib/event/ring.h"
#include "lib/util/cleanup.h"
#include "lib/util/digest.h"
#include "lib/util/memfd.h"

#define SEED_MAX_S 86400u
#define PROGS_MAX 256u

static int refuse(struct weir_turn *t, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int refuse(struct weir_turn *t, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->ret->why, sizeof t->ret->why, fmt, ap);
	va_end(ap);
	return r;
}

/* Give records along. */
static int records_give(struct weir_turn *t, int fd, size_t n, size_t entry)
{
	if (fd < 0)
		return fd;
	t->ret_fds[0] = fd;
	t->ret->n_fds = 1;
	t->ret->records = (uint32_t)n;
	t->ret->entry = (uint32_t)entry;
	return (int)n;
}

static int records_copy(struct weir_turn *t, const void *v, size_t n, size_t entry)
{
	return records_give(t, weir_memfd_of("weir-records", v, n * entry), n, entry);
}

static int do_hello(struct weir_turn *t)
{
	const struct weir_call_hello *c = t->msg;

	if (c->magic != WEIR_PROTO_MAGIC || c->version != WEIR_PROTO_VERSION || c->image_version != WEIR_IMAGE_VERSION)
		return refuse(t, -EPROTONOSUPPORT, "the worker speaks another version");
	t->s->greeted = true;
	return 0;
}

static int do_ping(struct weir_turn *t)
{
	if (t->s->helper >= 0)
		t->ret_fds[t->ret->n_fds++] = TAKE_FD(t->s->helper);
	return 0;
}

static int do_ready(struct weir_turn *t)
{
	t->s->ready = true;
	return 0;
}

static int do_busy(struct weir_turn *t)
{
	t->s->busy = true;
	return 0;
}

/* Resident memory as the kernel tells it. */
static uint32_t rss_kb(int32_t pid)
{
	_cleanup_fclose_ FILE *f = NULL;
	unsigned long size, rss = 0;
	char path[32];

	if (pid <= 0)
		return 0;
	snprintf(path, sizeof path, "/proc/%d/statm", pid);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%lu %lu", &size, &rss) != 2)
		return 0;
	return (uint32_t)(rss * (unsigned long)sysconf(_SC_PAGESIZE) / 1024);
}

static int do_life(struct weir_turn *t)
{
	struct weir_life *l = &t->ret->life;

	*l = t->s->life;
	l->installed = weir_keeper_config(t->s->keeper) != NULL;
	for (int i = 0; i < 3; i++)
		l->rss_kb[i] = rss_kb(l->pid[i]);
	return 0;
}

/* For a worker that is started again it is what stands now: its own life before. */
static int do_before(struct weir_turn *t)
{
	return weir_keeper_stands(t->s->keeper, &t->ret->before);
}

static bool digest_fits(const struct weir_memmap *m, const uint8_t want[32])
{
	const struct weir_image_header *h = m->data;
	uint8_t digest[32];

	if (memcmp(h->digest, want, 32))
		return false;
	weir_blob_digest(m->data, m->size, offsetof(struct weir_image_header, digest), digest);
	return !memcmp(digest, want, 32);
}

/* An image as it comes: nobody can change it any more, and it is the one that was meant, of our version and sound. */
static int image_take(struct weir_turn *t, int fd, uint32_t size, const uint8_t digest[32], struct weir_memmap *ret)
{
	struct weir_image_header h;
	struct weir_img img;
	int r = weir_memfd_map(fd, WEIR_BLOB_MAX, ret);

	if (r)
		return refuse(t, r, r == -EPERM ? "the image can still be changed" : "the image cannot be taken: %s",
			      strerror(-r));
	if (ret->size != size || ret->size < sizeof h)
		return refuse(t, -EBADMSG, "the image has another size than was said");
	memcpy(&h, ret->data, sizeof h);
	if (h.magic != WEIR_IMAGE_MAGIC || h.version != WEIR_IMAGE_VERSION)
		return refuse(t, -EPROTONOSUPPORT, "the image is of version %u, not %u", h.version, WEIR_IMAGE_VERSION);
	if (!digest_fits(ret, digest))
		return refuse(t, -EBADMSG, "the image has another digest than was said");
	if (weir_image_open(&img, ret->data, size))
		return refuse(t, -EBADMSG, "the compiled policy is damaged");
	return 0;
}

static void image_keep(struct weir_serve *s, int which, int fd, const struct weir_memmap *m)
{
	struct weir_img img;

	weir_serve_image_drop(s, which);
	if (weir_image_open(&img, m->data, (uint32_t)m->size))
		return; /* it was looked at before */
	s->image[which] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	s->mode[which] = img.cfg->mode;
	s->generation[which] = img.cfg->generation;
}

/* What the next worker is told to be in force. */
static void images_note(struct weir_turn *t, bool waits, const struct weir_memmap *now, const struct weir_memmap *back)
{
	struct weir_serve *s = t->s;

	if (waits && t->n_fds > 1) {
		image_keep(s, WEIR_IMAGE_BACK, t->fds[1], back);
	} else if (waits && s->image[WEIR_IMAGE_BACK] < 0) {
		s->image[WEIR_IMAGE_BACK] = TAKE_FD(s->image[WEIR_IMAGE_NOW]);
		s->mode[WEIR_IMAGE_BACK] = s->mode[WEIR_IMAGE_NOW];
		s->generation[WEIR_IMAGE_BACK] = s->generation[WEIR_IMAGE_NOW];
	} else if (!waits) {
		weir_serve_image_drop(s, WEIR_IMAGE_BACK);
	}
	image_keep(s, WEIR_IMAGE_NOW, t->fds[0], now);
}

static int do_install(struct weir_turn *t)
{
	const struct weir_call_install *c = t->msg;
	_cleanup_memmap_ struct weir_memmap now = { 0 }, back = { 0 };
	struct weir_kern_change change = { .span = c->span, .deadline = c->deadline };
	int r;

	if (t->n_fds != (c->back_size ? 2u : 1u))
		return refuse(t, -EBADMSG, "%zu images came, another number was said", t->n_fds);
	r = image_take(t, t->fds[0], c->size, c->digest, &now);
	if (!r && c->back_size)
		r = image_take(t, t->fds[1], c->back_size, c->back_digest, &back);
	if (r)
		return r;
	if (weir_kern_change_waits(&change)) /* what is in force may be what it goes back to */
		r = weir_serve_late_fold(t->s);
	if (r)
		return refuse(t, r, "what is in force cannot be kept: %s", strerror(-r));
	change.blob = now.data;
	change.size = c->size;
	change.back = back.data;
	change.back_size = c->back_size;
	r = weir_keeper_install(t->s->keeper, &change, t->ret->why, sizeof t->ret->why);
	if (r >= 0)
		images_note(t, weir_kern_change_waits(&change), &now, &back);
	return r;
}

/* Is it the image in force, but for what the blocklists hold? */
static int blocks_check(struct weir_turn *t, const struct weir_img *img)
{
	_cleanup_memmap_ struct weir_memmap m = { 0 };
	struct weir_img now;
	int r = weir_serve_late_fold(t->s);

	if (!r)
		r = weir_memfd_map(t->s->image[WEIR_IMAGE_NOW], WEIR_BLOB_MAX, &m);
	if (r)
		return r;
	if (weir_image_open(&now, m.data, (uint32_t)m.size) || !weir_image_blocks_only(&now, img))
		return refuse(t, -ESTALE, "more than the blocklists differs from what is in force");
	return 0;
}

static int do_blocks(struct weir_turn *t)
{
	const struct weir_call_blocks *c = t->msg;
	_cleanup_memmap_ struct weir_memmap now = { 0 };
	uint32_t written = 0;
	struct weir_img img;
	int r = t->s->image[WEIR_IMAGE_BACK] >= 0 ? -EBUSY : image_take(t, t->fds[0], c->size, c->digest, &now);

	if (!r && weir_image_open(&img, now.data, c->size))
		r = -EBADMSG;
	if (!r)
		r = blocks_check(t, &img);
	if (!r)
		r = weir_kern_blocks(weir_keeper_kern(t->s->keeper), &img, &written);
	if (r)
		return r;
	image_keep(t->s, WEIR_IMAGE_NOW, t->fds[0], &now);
	return (int)written;
}

static int do_lines(struct weir_turn *t)
{
	const struct weir_call_lines *c = t->msg;
	_cleanup_memmap_ struct weir_memmap m = { 0 };
	int r = t->s->image[WEIR_IMAGE_BACK] >= 0 ? -EBUSY : weir_memfd_map(t->fds[0], WEIR_CALL_LINES_MAX, &m);

	return r ? r : weir_serve_lines(t->s, c, m.data, m.size);
}

static int do_late(struct weir_turn *t)
{
	const struct weir_call_late *c = t->msg;

	return t->s->image[WEIR_IMAGE_BACK] >= 0 ? -EBUSY : weir_serve_late(t->s, &c->late);
}

static int do_image(struct weir_turn *t)
{
	int r = weir_serve_late_fold(t->s);

	if (r)
		return r;
	for (int i = WEIR_IMAGE_NOW; i <= WEIR_IMAGE_BACK; i++) {
		int fd = t->s->image[i] < 0 ? -1 : fcntl(t->s->image[i], F_DUPFD_CLOEXEC, 3);

		if (fd >= 0)
			t->ret_fds[t->ret->n_fds++] = fd;
		else if (i == WEIR_IMAGE_NOW)
			return -ENOENT;
	}
	return 0;
}

static int do_confirm(struct weir_turn *t)
{
	int r = weir_keeper_confirm(t->s->keeper);

	if (!r)
		weir_serve_image_drop(t->s, WEIR_IMAGE_BACK);
	return r;
}

static int do_revert(struct weir_turn *t)
{
	int r = weir_keeper_revert(t->s->keeper);

	if (!r)
		weir_serve_went_back(t->s);
	return r;
}

static int do_pending(struct weir_turn *t)
{
	weir_kern_pending(weir_keeper_kern(t->s->keeper), &t->ret->pending);
	return 0;
}

static int do_seed(struct weir_turn *t)
{
	const struct weir_call_seed *c = t->msg;

	return c->adopt_s > SEED_MAX_S ? -EINVAL : weir_keeper_seed(t->s->keeper, c->adopt_s);
}

static bool ban_take(const struct weir_wire_ban *b, struct weir_keeper_ban *ret)
{
	*ret = (struct weir_keeper_ban){ .key = b->key, .id = b->id, .until_unix = b->until_unix };
	return b->key.prefixlen <= 128;
}

static int do_bans(struct weir_turn *t)
{
	const struct weir_call_bans *c = t->msg;
	_cleanup_memmap_ struct weir_memmap m = { 0 };
	_cleanup_free_ struct weir_keeper_ban *v = NULL;
	const struct weir_wire_ban *from;
	int r = weir_memfd_map(t->fds[0], WEIR_CALL_BANS_MAX * sizeof *from, &m);

	if (r)
		return r;
	if (m.size != (size_t)c->n * sizeof *from)
		return -EBADMSG;
	v = calloc(c->n ? c->n : 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	from = m.data;
	for (uint32_t i = 0; i < c->n; i++) {
		if (!ban_take(&from[i], &v[i]))
			return -EINVAL;
	}
	return weir_keeper_bans(t->s->keeper, v, c->n);
}

static int do_ban(struct weir_turn *t)
{
	const struct weir_call_ban *c = t->msg;
	struct weir_keeper_ban b;

	return ban_take(&c->ban, &b) ? weir_keeper_ban(t->s->keeper, &b) : -EINVAL;
}

static int do_unban(struct weir_turn *t)
{
	const struct weir_call_ban *c = t->msg;
	struct weir_keeper_ban b;

	return ban_take(&c->ban, &b) ? weir_keeper_unban(t->s->keeper, &b.key) : -EINVAL;
}

static int do_caught(struct weir_turn *t)
{
	const struct weir_call_some *c = t->msg;
	_cleanup_free_ struct weir_kern_caught *v = NULL;
	int n;

	if (c->n > WEIR_CALL_BANS_MAX)
		return -EINVAL;
	v = calloc(c->n ? c->n : 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	n = weir_kern_caught(weir_keeper_kern(t->s->keeper), v, c->n);
	return n < 0 ? n : records_copy(t, v, (size_t)n, sizeof *v);
}

static int do_ifs(struct weir_turn *t)
{
	size_t n;
	const struct weir_kern_if *v = weir_keeper_ifs(t->s->keeper, &n);

	return records_copy(t, v, n, sizeof *v);
}

static int do_guard(struct weir_turn *t)
{
	const char *why, *how = weir_keeper_guard(t->s->keeper, &why);

	snprintf(t->ret->guard.how, sizeof t->ret->guard.how, "%s", how);
	snprintf(t->ret->guard.why, sizeof t->ret->guard.why, "%s", why);
	return 0;
}

static int counters(struct weir_turn *t, size_t most, int (*read)(struct weir_kern *, struct weir_counter *, size_t))
{
	const struct weir_call_some *c = t->msg;
	_cleanup_free_ struct weir_counter *v = NULL;
	int n;

	if (c->n > most)
		return -EINVAL;
	v = calloc(c->n ? c->n : 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	n = read(weir_keeper_kern(t->s->keeper), v, c->n);
	return n < 0 ? n : records_copy(t, v, (size_t)n, sizeof *v);
}

static int do_stats(struct weir_turn *t)
{
	return counters(t, WEIR_STATS_MAX, weir_kern_stats);
}

static int do_hits(struct weir_turn *t)
{
	return counters(t, WEIR_RULES_MAX + 3 + WEIR_LIMITS_MAX + WEIR_BLOCK_LISTS, weir_kern_rule_hits);
}

struct flows {
	struct weir_wire_flow v[64];
	size_t n, total;
	int fd, error;
};

static void flows_flush(struct flows *f)
{
	size_t len = f->n * sizeof *f->v;

	if (len && !f->error && write(f->fd, f->v, len) != (ssize_t)len)
		f->error = errno ? -errno : -EIO;
	f->n = 0;
}

static void flow_one(const struct weir_flow_key *k, const struct weir_flow *flow, bool half, bool expired, void *data)
{
	struct flows *f = data;

	if (f->n == sizeof f->v / sizeof *f->v)
		flows_flush(f);
	f->v[f->n++] = (struct weir_wire_flow){ .key = *k, .flow = *flow, .half = half, .expired = expired };
	f->total++;
}

/* They go straight into the file: the whole table twice in memory would be much. */
static int do_flows(struct weir_turn *t)
{
	struct flows f = { .fd = weir_memfd_new("weir-flows") };
	int r = f.fd < 0 ? f.fd : weir_kern_flow_each(weir_keeper_kern(t->s->keeper), flow_one, &f);

	if (r >= 0) {
		flows_flush(&f);
		r = f.error ? f.error : weir_memfd_seal(f.fd);
	}
	if (r < 0) {
		if (f.fd >= 0)
			close(f.fd);
		return r;
	}
	return records_give(t, f.fd, f.total, sizeof *f.v);
}

static int do_progs(struct weir_turn *t)
{
	const struct weir_call_some *c = t->msg;
	struct weir_kern_prog *v;
	int n;

	if (c->n > PROGS_MAX)
		return -EINVAL;
	v = calloc(c->n ? c->n : 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	n = weir_kern_progs(weir_keeper_kern(t->s->keeper), v, c->n);
	if (n >= 0)
		n = records_copy(t, v, (uint32_t)n < c->n ? (uint32_t)n : c->n, sizeof *v);
	free(v);
	return n;
}

static int do_features(struct weir_turn *t)
{
	const struct weir_kern_feature *f = NULL;
	struct weir_wire_feature v[32] = { 0 };
	int n = weir_kern_features(weir_keeper_kern(t->s->keeper), &f);

	for (int i = 0; i < n && i < 32; i++) {
		snprintf(v[i].name, sizeof v[i].name, "%s", f[i].name);
		v[i].have = f[i].have;
		snprintf(v[i].why, sizeof v[i].why, "%s", f[i].why);
	}
	return n < 0 ? n : records_copy(t, v, n < 32 ? (size_t)n : 32, sizeof *v);
}

static int do_health(struct weir_turn *t)
{
	weir_kern_health(weir_keeper_kern(t->s->keeper), &t->ret->health);
	return 0;
}

/* What the workers count in: of a length that stays, with bytes that do not. */
static int tally_make(void)
{
	int fd = weir_memfd_new("weir-tally");

	if (fd >= 0 && (ftruncate(fd, WEIR_RINGS * (off_t)sizeof(struct weir_ring_tally)) ||
			fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))) {
		close(fd);
		fd = -errno;
	}
	return fd;
}

static int do_rings(struct weir_turn *t)
{
	struct weir_kern_ring v[WEIR_RINGS];
	int r = weir_kern_event_rings(weir_keeper_kern(t->s->keeper), v);

	for (int i = 0; i < WEIR_RINGS && !r; i++) {
		int fd = fcntl(v[i].fd, F_DUPFD_CLOEXEC, 3);

		if (fd < 0)
			return -errno;
		t->ret_fds[t->ret->n_fds++] = fd;
		t->ret->ring_size[i] = v[i].size;
	}
	if (!r && t->s->tally < 0)
		t->s->tally = tally_make();
	if (!r && t->s->tally >= 0)
		t->ret_fds[t->ret->n_fds++] = fcntl(t->s->tally, F_DUPFD_CLOEXEC, 3);
	return r;
}

static int do_end(struct weir_turn *t)
{
	const struct weir_call_end *c = t->msg;

	if (c->how != WEIR_CALL_END_STOP && c->how != WEIR_CALL_END_FLUSH)
		return -EINVAL;
	t->s->end = c->how;
	return 0;
}

#define GREETED (WEIR_AT_HELLO | WEIR_AT_IMAGE)
#define PLAIN(what, when, run) { what, sizeof(struct weir_call_head), 0, 0, when, run }

const struct weir_kind weir_kinds[WEIR_CALL_COUNT] = {
	[WEIR_CALL_HELLO] = { "hello", sizeof(struct weir_call_hello), 0, 0, WEIR_AT_START, do_hello },
	[WEIR_CALL_PING] = PLAIN("ping", GREETED, do_ping),
	[WEIR_CALL_READY] = PLAIN("ready", WEIR_AT_IMAGE, do_ready),
	[WEIR_CALL_BUSY] = PLAIN("busy", GREETED, do_busy),
	[WEIR_CALL_LIFE] = PLAIN("life", GREETED, do_life),
	[WEIR_CALL_BEFORE] = PLAIN("before", GREETED, do_before),
	[WEIR_CALL_INSTALL] = { "install", sizeof(struct weir_call_install), 1, 2, GREETED, do_install },
	[WEIR_CALL_IMAGE] = PLAIN("image", WEIR_AT_IMAGE, do_image),
	[WEIR_CALL_CONFIRM] = PLAIN("confirm", WEIR_AT_IMAGE, do_confirm),
	[WEIR_CALL_REVERT] = PLAIN("revert", WEIR_AT_IMAGE, do_revert),
	[WEIR_CALL_PENDING] = PLAIN("pending", GREETED, do_pending),
	[WEIR_CALL_SEED] = { "seed", sizeof(struct weir_call_seed), 0, 0, GREETED, do_seed },
	[WEIR_CALL_BANS] = { "bans", sizeof(struct weir_call_bans), 1, 1, GREETED, do_bans },
	[WEIR_CALL_BAN] = { "ban", sizeof(struct weir_call_ban), 0, 0, WEIR_AT_IMAGE, do_ban },
	[WEIR_CALL_UNBAN] = { "unban", sizeof(struct weir_call_ban), 0, 0, WEIR_AT_IMAGE, do_unban },
	[WEIR_CALL_CAUGHT] = { "bans by rules", sizeof(struct weir_call_some), 0, 0, GREETED, do_caught },
	[WEIR_CALL_IFS] = PLAIN("interfaces", GREETED, do_ifs),
	[WEIR_CALL_GUARD] = PLAIN("guard", GREETED, do_guard),
	[WEIR_CALL_STATS] = { "stats", sizeof(struct weir_call_some), 0, 0, GREETED, do_stats },
	[WEIR_CALL_HITS] = { "hits", sizeof(struct weir_call_some), 0, 0, GREETED, do_hits },
	[WEIR_CALL_FLOWS] = PLAIN("flows", GREETED, do_flows),
	[WEIR_CALL_PROGS] = { "programs", sizeof(struct weir_call_some), 0, 0, GREETED, do_progs },
	[WEIR_CALL_FEATURES] = PLAIN("features", GREETED, do_features),
	[WEIR_CALL_HEALTH] = PLAIN("health", GREETED, do_health),
	[WEIR_CALL_RINGS] = PLAIN("rings", WEIR_AT_IMAGE, do_rings),
	[WEIR_CALL_END] = { "end", sizeof(struct weir_call_end), 0, 0, GREETED, do_end },
	[WEIR_CALL_BLOCKS] = { "blocks", sizeof(struct weir_call_blocks), 1, 1, WEIR_AT_IMAGE, do_blocks },
	[WEIR_CALL_LINES] = { "lines", sizeof(struct weir_call_lines), 1, 1, WEIR_AT_IMAGE, do_lines },
	[WEIR_CALL_LATE] = { "late rule", sizeof(struct weir_call_late), 0, 0, WEIR_AT_IMAGE, do_late },
};
