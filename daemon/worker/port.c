/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/image_blob.h"
#include "daemon/keeper/serve.h"
#include "daemon/worker/port.h"
#include "lib/event/ring.h"
#include "lib/util/cleanup.h"
#include "lib/util/memfd.h"
#include "lib/util/packet.h"

#define NAMES_EVERY_NS 1000000000u /* so old may the name of an interface be */

struct weir_port {
	struct weir_serve *serve; /* in the same process */
	struct weir_keeper *keeper;
	int fd;                   /* or over this socket; -1 */
	uint32_t seq;
	struct weir_kern_pinned before;
	bool before_known;
	struct weir_kern_if *ifs;
	size_t n_ifs;
	uint64_t ifs_at;
	struct weir_kern_feature *features;
	struct weir_wire_feature *features_text;
	char guard_how[64], guard_why[128];
	struct weir_rings *rings;
	struct weir_ring_tally *tally; /* WEIR_RINGS of them, shared with the workers before and after; NULL */
};

/* What a call brought back. */
struct got {
	struct weir_receipt r;
	int fds[WEIR_SERVE_FDS];
};

static void got_clear(struct got *g)
{
	for (uint32_t i = 0; i < g->r.n_fds; i++)
		if (g->fds[i] >= 0)
			close(g->fds[i]);
}
#define _cleanup_got_ __attribute__((cleanup(got_clear)))

static int receipt_read(struct weir_port *p, struct got *g)
{
	size_t n;
	ssize_t len = weir_packet_read(p->fd, &g->r, sizeof g->r, g->fds, WEIR_SERVE_FDS, &n, 0);
	bool whole = len == sizeof g->r && n == g->r.n_fds;

	g->r.n_fds = (uint32_t)n;
	return whole ? 0 : -EPIPE;
}

/* Ask and wait. What the keeper said, or -EPIPE. */
static int ask_send(struct weir_port *p, struct weir_call_head *msg, uint32_t call, size_t size, const int *fds, size_t n_fds,
		    struct got *g)
{
	memset(g, 0, sizeof *g);
	msg->call = call;
	msg->seq = ++p->seq;
	if (p->serve)
		return weir_serve_message(p->serve, msg, size, fds, n_fds, &g->r, g->fds);
	return weir_packet_send(p->fd, msg, size, fds, n_fds, 0) ? -EPIPE : 0;
}

static int ask_hear(struct weir_port *p, uint32_t call, struct got *g)
{
	int r = p->serve ? 0 : receipt_read(p, g);

	if (!r && !p->serve && (g->r.call != call || g->r.seq != p->seq))
		r = -EPIPE;
	return r ? r : g->r.result;
}

static int ask(struct weir_port *p, struct weir_call_head *msg, uint32_t call, size_t size, const int *fds, size_t n_fds,
	       struct got *g)
{
	int r = ask_send(p, msg, call, size, fds, n_fds, g);

	return r ? r : ask_hear(p, call, g);
}

static int ask_plain(struct weir_port *p, uint32_t call, struct got *g)
{
	struct weir_call_head h = { 0 };

	return ask(p, &h, call, sizeof h, NULL, 0, g);
}

static int tell(struct weir_port *p, struct weir_call_head *msg, uint32_t call, size_t size)
{
	_cleanup_got_ struct got g;

	return ask(p, msg, call, size, NULL, 0, &g);
}

/* The same with `data` in a sealed file beside it. */
static int tell_data(struct weir_port *p, struct weir_call_head *msg, uint32_t call, size_t size, const char *name,
		     const void *data, size_t bytes)
{
	_cleanup_close_ int fd = weir_memfd_of(name, data, bytes);
	_cleanup_got_ struct got g = { 0 };

	return fd < 0 ? fd : ask(p, msg, call, size, &fd, 1, &g);
}

static int tell_plain(struct weir_port *p, uint32_t call)
{
	struct weir_call_head h = { 0 };

	return tell(p, &h, call, sizeof h);
}

/* The records that came along, or -EBADMSG. Their number. */
static int records_map(const struct got *g, size_t entry, struct weir_memmap *ret)
{
	int r = g->r.n_fds == 1 && g->r.entry == entry ? weir_memfd_map(g->fds[0], (size_t)1 << 31, ret) : -EBADMSG;

	if (r)
		return r;
	if (ret->size != g->r.records * entry) {
		weir_memfd_unmap(ret);
		return -EBADMSG;
	}
	return (int)g->r.records;
}

static int greet(struct weir_port *p)
{
	struct weir_call_hello h = { .magic = WEIR_PROTO_MAGIC, .version = WEIR_PROTO_VERSION,
				     .image_version = WEIR_IMAGE_VERSION };

	return tell(p, &h.h, WEIR_CALL_HELLO, sizeof h);
}

static int port_new(struct weir_keeper *k, int fd, struct weir_port **ret)
{
	struct weir_port *p = calloc(1, sizeof *p);
	int r = p ? 0 : -ENOMEM;

	if (p) {
		p->fd = fd;
		p->keeper = k;
		if (k)
			r = weir_serve_new(k, &p->serve);
		if (!r)
			r = greet(p);
	} else if (fd >= 0) {
		close(fd);
	}
	if (r) {
		weir_port_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int weir_port_new_local(struct weir_keeper *k, struct weir_port **ret)
{
	return port_new(k, -1, ret);
}

void weir_port_next(struct weir_port *p)
{
	p->before_known = false;
}

int weir_port_new_fd(int fd, struct weir_port **ret)
{
	return port_new(NULL, fd, ret);
}

void weir_port_free(struct weir_port *p)
{
	if (!p)
		return;
	weir_rings_free(p->rings);
	if (p->tally)
		munmap(p->tally, WEIR_RINGS * sizeof *p->tally);
	if (p->fd >= 0)
		close(p->fd);
	weir_serve_free(p->serve);
	free(p->ifs);
	free(p->features);
	free(p->features_text);
	free(p);
}

int weir_port_fd(const struct weir_port *p)
{
	return p->fd;
}

int weir_port_ping(struct weir_port *p, int *ret_helper)
{
	_cleanup_got_ struct got g;
	int r = ask_plain(p, WEIR_CALL_PING, &g);

	*ret_helper = !r && g.r.n_fds ? TAKE_FD(g.fds[0]) : -1;
	return r;
}

/* Calls that say nothing but themselves. */
#define TELL(name, call)                    \
	int name(struct weir_port *p)       \
	{                                   \
		return tell_plain(p, call); \
	}
TELL(weir_port_busy, WEIR_CALL_BUSY)
TELL(weir_port_ready, WEIR_CALL_READY)
TELL(weir_port_confirm, WEIR_CALL_CONFIRM)
TELL(weir_port_revert, WEIR_CALL_REVERT)

int weir_port_end(struct weir_port *p, bool flush)
{
	struct weir_call_end c = { .how = flush ? WEIR_CALL_END_FLUSH : WEIR_CALL_END_STOP };

	return tell(p, &c.h, WEIR_CALL_END, sizeof c);
}

int weir_port_life(struct weir_port *p, struct weir_life *ret)
{
	_cleanup_got_ struct got g;
	int r = ask_plain(p, WEIR_CALL_LIFE, &g);

	if (!r)
		*ret = g.r.life;
	return r;
}

const struct weir_kern_pinned *weir_port_before(struct weir_port *p)
{
	_cleanup_got_ struct got g = { 0 };

	if (p->before_known)
		return &p->before;
	p->before_known = !ask_plain(p, WEIR_CALL_BEFORE, &g);
	if (p->before_known)
		p->before = g.r.before;
	return &p->before;
}

int weir_port_install(struct weir_port *p, const struct weir_kern_change *c, void (*meanwhile)(void *), void *data, char *why,
		      size_t why_size)
{
	struct weir_call_install m = { .size = c->size, .back_size = c->back ? c->back_size : 0, .span = c->span,
				       .deadline = c->deadline };
	_cleanup_close_ int now = weir_memfd_of("weir-image", c->blob, c->size), back = -1;
	_cleanup_got_ struct got g = { 0 };
	int r;

	if (now < 0)
		return now;
	if (m.back_size && (back = weir_memfd_of("weir-image", c->back, c->back_size)) < 0)
		return back;
	if (c->size >= sizeof(struct weir_image_header))
		memcpy(m.digest, ((const struct weir_image_header *)c->blob)->digest, 32);
	if (m.back_size >= sizeof(struct weir_image_header))
		memcpy(m.back_digest, ((const struct weir_image_header *)c->back)->digest, 32);
	r = ask_send(p, &m.h, WEIR_CALL_INSTALL, sizeof m, (int[]){ now, back }, m.back_size ? 2 : 1, &g);
	if (!r && meanwhile)
		meanwhile(data);
	if (!r)
		r = ask_hear(p, WEIR_CALL_INSTALL, &g);
	if (r < 0)
		snprintf(why, why_size, "%s", g.r.why[0] || r != -EPIPE ? g.r.why : "the keeper is gone");
	return r;
}

int weir_port_blocks(struct weir_port *p, const void *blob, uint32_t size)
{
	struct weir_call_blocks m = { .size = size };

	memcpy(m.digest, ((const struct weir_image_header *)blob)->digest, 32);
	return tell_data(p, &m.h, WEIR_CALL_BLOCKS, sizeof m, "weir-image", blob, size);
}

int weir_port_lines(struct weir_port *p, const struct weir_img *img, const struct weir_block_change *changed, size_t n)
{
	struct weir_call_lines m = { .n = (uint32_t)n, .n_sets = img->h->block_sets.count, .epoch = img->cfg->epoch };
	size_t lines = n * sizeof *changed, sets = m.n_sets * sizeof(struct weir_list_info);
	_cleanup_free_ uint8_t *data = lines + sets <= WEIR_CALL_LINES_MAX ? malloc(lines + sets + 1) : NULL;
	struct weir_block_change *v = (void *)data;

	if (!data || !m.n_sets)
		return data ? -EINVAL : -ENOMEM;
	for (size_t i = 0; i < n; i++)
		v[i] = (struct weir_block_change){ changed[i].at, *weir_img_block_line(img, 1 + (uint32_t)changed[i].at) };
	memcpy(data + lines, weir_img_at(img, &img->h->block_sets, 0, sizeof(struct weir_list_info)), sets);
	return tell_data(p, &m.h, WEIR_CALL_LINES, sizeof m, "weir-lines", data, lines + sets);
}

int weir_port_late(struct weir_port *p, const struct weir_late *l)
{
	struct weir_call_late m = { .late = *l };

	return tell(p, &m.h, WEIR_CALL_LATE, sizeof m);
}

static int image_copy(int fd, void **ret, uint32_t *ret_size)
{
	_cleanup_memmap_ struct weir_memmap m = { 0 };
	int r = weir_memfd_map(fd, WEIR_BLOB_MAX, &m);
	void *copy;

	if (r)
		return r;
	copy = malloc(m.size ? m.size : 1);
	if (!copy)
		return -ENOMEM;
	if (m.size)
		memcpy(copy, m.data, m.size);
	*ret = copy;
	*ret_size = (uint32_t)m.size;
	return 0;
}

int weir_port_image(struct weir_port *p, void **ret, uint32_t *ret_size, void **ret_back, uint32_t *ret_back_size)
{
	_cleanup_free_ void *now = NULL;
	_cleanup_got_ struct got g;
	uint32_t size = 0;
	int r = ask_plain(p, WEIR_CALL_IMAGE, &g);

	if (r)
		return r;
	if (!g.r.n_fds)
		return -EBADMSG;
	r = image_copy(g.fds[0], &now, &size);
	*ret_back = NULL;
	*ret_back_size = 0;
	if (!r && g.r.n_fds > 1)
		r = image_copy(g.fds[1], ret_back, ret_back_size);
	if (r)
		return r;
	*ret = TAKE_PTR(now);
	*ret_size = size;
	return 0;
}

void weir_port_pending(struct weir_port *p, struct weir_kern_pending *ret)
{
	_cleanup_got_ struct got g;

	*ret = (struct weir_kern_pending){ 0 };
	if (!ask_plain(p, WEIR_CALL_PENDING, &g))
		*ret = g.r.pending;
}

int weir_port_seed(struct weir_port *p, uint32_t adopt_s)
{
	struct weir_call_seed c = { .adopt_s = adopt_s };

	return tell(p, &c.h, WEIR_CALL_SEED, sizeof c);
}

static struct weir_wire_ban wire_ban(const struct weir_keeper_ban *b)
{
	return (struct weir_wire_ban){ .key = b->key, .id = b->id, .until_unix = b->until_unix };
}

int weir_port_bans(struct weir_port *p, const struct weir_keeper_ban *v, size_t n)
{
	_cleanup_free_ struct weir_wire_ban *wire = n ? calloc(n, sizeof *wire) : NULL;
	struct weir_call_bans c = { .n = (uint32_t)n };

	if (n && !wire)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		wire[i] = wire_ban(&v[i]);
	return tell_data(p, &c.h, WEIR_CALL_BANS, sizeof c, "weir-bans", wire, n * sizeof *wire);
}

int weir_port_ban(struct weir_port *p, const struct weir_keeper_ban *b)
{
	struct weir_call_ban c = { .ban = wire_ban(b) };

	return tell(p, &c.h, WEIR_CALL_BAN, sizeof c);
}

int weir_port_unban(struct weir_port *p, const struct weir_ban_key *key)
{
	struct weir_call_ban c = { .ban.key = *key };

	return tell(p, &c.h, WEIR_CALL_UNBAN, sizeof c);
}

/* -EPIPE or the like: what was known stays. */
static int ifs_read(struct weir_port *p)
{
	_cleanup_memmap_ struct weir_memmap m = { 0 };
	_cleanup_got_ struct got g;
	struct weir_kern_if *v;
	int r = ask_plain(p, WEIR_CALL_IFS, &g);

	if (r >= 0)
		r = records_map(&g, sizeof *v, &m);
	if (r < 0)
		return r;
	v = malloc(m.size ? m.size : 1);
	if (!v)
		return -ENOMEM;
	if (m.size)
		memcpy(v, m.data, m.size);
	free(p->ifs);
	p->ifs = v;
	p->n_ifs = m.size / sizeof *v;
	p->ifs_at = weir_kern_now();
	return 0;
}

const struct weir_kern_if *weir_port_ifs(struct weir_port *p, size_t *ret_n)
{
	ifs_read(p);
	*ret_n = p->n_ifs;
	return p->ifs;
}

const char *weir_port_if_name(struct weir_port *p, uint32_t ifindex)
{
	if (!ifindex)
		return NULL;
	/* asked for every event: a second old will do */
	if (p->serve || !p->ifs || weir_kern_now() - p->ifs_at > NAMES_EVERY_NS)
		ifs_read(p);
	for (size_t i = 0; p->ifs && i < p->n_ifs; i++) {
		if (p->ifs[i].ifindex == ifindex)
			return p->ifs[i].name;
	}
	return NULL;
}

const char *weir_port_guard(struct weir_port *p, const char **ret_why)
{
	_cleanup_got_ struct got g;

	if (!ask_plain(p, WEIR_CALL_GUARD, &g)) {
		memcpy(p->guard_how, g.r.guard.how, sizeof p->guard_how);
		memcpy(p->guard_why, g.r.guard.why, sizeof p->guard_why);
	}
	*ret_why = p->guard_why;
	return p->guard_how;
}

/* At most n records of a kind, copied. Their number. */
static int ask_some(struct weir_port *p, uint32_t call, void *ret, size_t n, size_t entry)
{
	struct weir_call_some c = { .n = (uint32_t)n };
	_cleanup_memmap_ struct weir_memmap m = { 0 };
	_cleanup_got_ struct got g;
	int r = ask(p, &c.h, call, sizeof c, NULL, 0, &g);

	if (r >= 0)
		r = records_map(&g, entry, &m);
	if (r > 0 && (size_t)r > n)
		r = -EBADMSG;
	if (r > 0)
		memcpy(ret, m.data, (size_t)r * entry);
	return r;
}

#define SOME(name, call, type)                                   \
	int name(struct weir_port *p, type *ret, size_t n)       \
	{                                                        \
		return ask_some(p, call, ret, n, sizeof *ret);   \
	}
SOME(weir_port_stats, WEIR_CALL_STATS, struct weir_counter)
SOME(weir_port_rule_hits, WEIR_CALL_HITS, struct weir_counter)
SOME(weir_port_caught, WEIR_CALL_CAUGHT, struct weir_kern_caught)
SOME(weir_port_progs, WEIR_CALL_PROGS, struct weir_kern_prog)

int weir_port_flow_each(struct weir_port *p, weir_flow_cb cb, void *data)
{
	_cleanup_memmap_ struct weir_memmap m = { 0 };
	const struct weir_wire_flow *v;
	_cleanup_got_ struct got g;
	int r = ask_plain(p, WEIR_CALL_FLOWS, &g);

	if (r >= 0)
		r = records_map(&g, sizeof *v, &m);
	v = m.data;
	for (int i = 0; i < r; i++)
		cb(&v[i].key, &v[i].flow, v[i].half, v[i].expired, data);
	return r;
}

int weir_port_features(struct weir_port *p, const struct weir_kern_feature **ret)
{
	_cleanup_memmap_ struct weir_memmap m = { 0 };
	struct weir_wire_feature *text;
	struct weir_kern_feature *v;
	_cleanup_got_ struct got g;
	int r = ask_plain(p, WEIR_CALL_FEATURES, &g);

	if (r >= 0)
		r = records_map(&g, sizeof *text, &m);
	if (r <= 0)
		return r;
	text = malloc(m.size);
	v = calloc((size_t)r, sizeof *v);
	if (!text || !v) {
		free(text);
		free(v);
		return -ENOMEM;
	}
	memcpy(text, m.data, m.size);
	for (int i = 0; i < r; i++) {
		v[i].name = text[i].name;
		v[i].have = text[i].have;
		memcpy(v[i].why, text[i].why, sizeof v[i].why);
	}
	free(p->features);
	free(p->features_text);
	p->features = v;
	p->features_text = text;
	*ret = v;
	return r;
}

void weir_port_health(struct weir_port *p, struct weir_kern_health *ret)
{
	_cleanup_got_ struct got g;

	*ret = (struct weir_kern_health){ 0 };
	if (!ask_plain(p, WEIR_CALL_HEALTH, &g))
		*ret = g.r.health;
}

/* The rings are read here, by their memory: the keeper is not asked for a record. */
static int rings_open(struct weir_port *p)
{
	_cleanup_got_ struct got g;
	int r = ask_plain(p, WEIR_CALL_RINGS, &g);

	if (r)
		return r;
	if (g.r.n_fds < WEIR_RINGS)
		return -EBADMSG;
	if (g.r.n_fds > WEIR_RINGS) {
		void *m = mmap(NULL, WEIR_RINGS * sizeof *p->tally, PROT_READ | PROT_WRITE, MAP_SHARED, g.fds[WEIR_RINGS], 0);

		p->tally = m == MAP_FAILED ? NULL : m;
	}
	r = weir_rings_new(&p->rings);
	for (int i = 0; !r && i < WEIR_RINGS; i++)
		r = weir_rings_add(p->rings, TAKE_FD(g.fds[i]), g.r.ring_size[i], p->tally ? &p->tally[i] : NULL);
	return r;
}

int weir_port_event_fd(struct weir_port *p)
{
	int r = p->serve ? weir_kern_event_fd(weir_keeper_kern(p->keeper)) : !p->rings ? rings_open(p) : 0;

	return p->serve || r ? r : weir_rings_fd(p->rings);
}

uint64_t weir_port_event_taken(const struct weir_port *p)
{
	return p->rings ? weir_rings_taken(p->rings) : 0;
}

struct to_event {
	void (*cb)(const struct weir_event *, void *);
	void *data;
};

static void event_one(const void *record, uint32_t size, void *data)
{
	const struct weir_event *e = record;
	struct to_event *to = data;

	if (size >= sizeof *e && e->size <= size)
		to->cb(e, to->data);
}

int weir_port_event_dispatch(struct weir_port *p, void (*cb)(const struct weir_event *, void *), void *data)
{
	struct to_event to = { cb, data };

	if (p->serve)
		return weir_kern_event_dispatch(weir_keeper_kern(p->keeper), cb, data);
	return p->rings ? weir_rings_read(p->rings, event_one, &to) : 0;
}
