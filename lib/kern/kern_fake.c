/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/image_blob.h"
#include "lib/kern/kern_fake.h"
#include "lib/util/cleanup.h"

#define FAKE_MAX 4096

struct fake_ban {
	struct weir_ban_key key;
	struct weir_ban ban;
};

struct fake_flow {
	struct weir_flow_key key;
	struct weir_flow flow;
};

struct fake_if {
	uint32_t ifindex;
	bool attached, covered;
};

struct weir_kern {
	struct weir_kern_fake f;
	struct weir_config cfg; /* of the image in force */
	char pins[PATH_MAX];
	int event_fd;
	struct weir_kern_pinned pinned;
	struct weir_kern_pending waits;
	uint32_t back_mode;
	bool maps; /* they come with the first image, or were pinned */
	struct weir_counter *hits;
	size_t n_hits;
	struct weir_block_line *block; /* from the head of IPv4 on */
	uint32_t n_block;
	struct fake_ban bans[FAKE_MAX];
	size_t n_bans;
	struct fake_flow flows[FAKE_MAX];
	size_t n_flows;
	struct fake_if ifs[FAKE_MAX];
	size_t n_ifs;
	void *events[FAKE_MAX];
	size_t n_events;
};

static int pins_path(const char *runtime_dir, char *ret, size_t size)
{
	return (size_t)snprintf(ret, size, "%s/" WEIR_FAKE_PINS, runtime_dir) < size ? 0 : -ENAMETOOLONG;
}

static void pins_write(struct weir_kern *k)
{
	_cleanup_fclose_ FILE *f = fopen(k->pins, "we");

	if (f)
		fprintf(f, "%u %u %u %u %u %u %u %" PRIu64 "\n", k->pinned.generation, k->pinned.epoch, k->pinned.mode,
			k->pinned.n_interfaces, k->pinned.epoch_max, k->waits.back_generation, k->back_mode,
			k->waits.pending ? k->waits.deadline : 0);
}

int weir_kern_pinned(const char *runtime_dir, struct weir_kern_pinned *ret)
{
	struct weir_kern_pinned p = { 0 };
	_cleanup_fclose_ FILE *f = NULL;
	uint32_t back = 0, back_mode = 0;
	char path[PATH_MAX];
	int r = pins_path(runtime_dir, path, sizeof path);

	if (r)
		return r;
	f = fopen(path, "re");
	if (f && fscanf(f, "%u %u %u %u %u %u %u %" SCNu64, &p.generation, &p.epoch, &p.mode, &p.n_interfaces, &p.epoch_max,
			&back, &back_mode, &p.deadline) == 8)
		p.attached = p.n_interfaces;
	p.other_generation = back;
	p.pending = p.deadline && weir_kern_now() < p.deadline;
	p.settled_back = p.deadline && !p.pending;
	if (p.settled_back) {
		p.other_generation = p.generation;
		p.generation = back;
		p.mode = back_mode;
	}
	*ret = p;
	return 0;
}

int weir_kern_open(const struct weir_kern_options *o, struct weir_kern **ret, char *why, size_t why_size)
{
	struct weir_kern *k = calloc(1, sizeof *k);
	int r = k ? pins_path(o->runtime_dir, k->pins, sizeof k->pins) : -ENOMEM;

	if (!r)
		r = weir_kern_pinned(o->runtime_dir, &k->pinned);
	if (!r && (k->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		r = -errno;
	if (r) {
		free(k);
		snprintf(why, why_size, "%s", strerror(-r));
		return r;
	}
	k->maps = k->pinned.attached;
	k->pinned.n_interfaces = 0; /* counted again as they are attached */
	*ret = k;
	return 0;
}

int weir_kern_prog_open(uint32_t id)
{
	return -ENOENT;
}

void weir_kern_close(struct weir_kern *k, bool remove)
{
	if (!k)
		return;
	if (remove)
		unlink(k->pins);
	close(k->event_fd);
	for (size_t i = 0; i < k->n_events; i++)
		free(k->events[i]);
	free(k->hits);
	free(k->block);
	free(k);
}

int weir_kern_flush(const char *runtime_dir, char *report, size_t report_size)
{
	char path[PATH_MAX];
	int r = pins_path(runtime_dir, path, sizeof path);

	if (r)
		return r;
	snprintf(report, report_size, unlink(path) ? "" : "fake pins");
	return 0;
}

static void block_keep(struct weir_kern *k, const struct weir_img *img)
{
	uint32_t n = img->h->block.count;

	free(k->block);
	k->block = n ? malloc(n * sizeof *k->block) : NULL;
	k->n_block = k->block ? n - 1 : 0;
	if (k->block)
		memcpy(k->block, weir_img_block_line(img, 1), k->n_block * sizeof *k->block);
}

int weir_kern_lines(struct weir_kern *k, uint32_t epoch, const struct weir_block_change *v, uint32_t n)
{
	struct weir_block_line *next;
	bool ok = true;

	if (k->waits.pending)
		return -EBUSY;
	if (epoch != k->cfg.epoch)
		return -ESTALE;
	next = k->n_block ? malloc(k->n_block * sizeof *next) : NULL;
	if (!next)
		return -EBADMSG;
	memcpy(next, k->block, k->n_block * sizeof *next);
	for (uint32_t i = 0; i < n && ok; i++) {
		ok = v[i].at < k->n_block;
		if (ok)
			next[v[i].at] = v[i].line;
	}
	ok = ok && weir_block_set_ok(next, k->n_block);
	if (ok) {
		struct weir_block_line *last = k->block;

		k->block = next;
		next = last;
		k->f.lines++;
	}
	free(next);
	return ok ? 0 : -EBADMSG;
}

void weir_kern_lines_ready(struct weir_kern *k)
{
}

int weir_kern_lines_read(struct weir_kern *k, struct weir_block_line *v, uint32_t n)
{
	n = n < k->n_block ? n : k->n_block;
	memcpy(v, k->block, n * sizeof *v);
	return (int)n;
}

int weir_kern_blocks(struct weir_kern *k, const struct weir_img *img, uint32_t *ret_written)
{
	if (k->waits.pending)
		return -EBUSY;
	block_keep(k, img);
	k->f.blocks++;
	*ret_written = img->h->block.count;
	return 0;
}

int weir_kern_late(struct weir_kern *k, const struct weir_late *l)
{
	if (k->waits.pending)
		return -EBUSY;
	if (!weir_late_ok(&k->cfg, k->cfg.late_used, l))
		return -ESTALE;
	k->cfg.late_used += l->add != WEIR_RULE_NONE;
	k->f.lates++;
	return 0;
}

int weir_kern_install(struct weir_kern *k, const struct weir_kern_change *c, char *why, size_t why_size)
{
	struct weir_counter *hits;
	bool waits = weir_kern_change_waits(c);
	struct weir_img img, back;
	int r = k->f.fail_install;

	if (r) {
		snprintf(why, why_size, "the fake was told to fail: %s", strerror(-r));
		return r;
	}
	if (weir_image_open(&img, c->blob, c->size)) {
		snprintf(why, why_size, "not an image");
		return -EINVAL;
	}
	if (c->back && weir_image_open(&back, c->back, c->back_size)) {
		snprintf(why, why_size, "not an image to go back to");
		return -EINVAL;
	}
	hits = calloc(weir_image_counters(img.h), sizeof *hits);
	if (!hits)
		return -ENOMEM;
	nanosleep(&(struct timespec){ .tv_nsec = k->f.load_ms * 1000000l }, NULL);
	free(k->hits);
	k->hits = hits;
	k->n_hits = weir_image_counters(img.h);
	if (waits && c->back) {
		k->waits.back_generation = back.cfg->generation;
		k->back_mode = back.cfg->mode;
		k->f.pairs++;
	} else if (waits && !k->waits.pending) {
		k->waits.back_generation = k->pinned.generation;
		k->back_mode = k->pinned.mode;
	}
	if (k->pinned.epoch_max < img.cfg->epoch)
		k->pinned.epoch_max = img.cfg->epoch;
	if (c->back && k->pinned.epoch_max < back.cfg->epoch)
		k->pinned.epoch_max = back.cfg->epoch;
	k->waits.pending = waits;
	k->waits.deadline = c->span ? weir_kern_now() + c->span : c->deadline;
	k->waits.generation = img.cfg->generation;
	k->cfg = *img.cfg;
	block_keep(k, &img);
	k->pinned.generation = img.cfg->generation;
	k->pinned.epoch = img.cfg->epoch;
	k->pinned.mode = img.cfg->mode;
	k->f.installs++;
	k->maps = true;
	if (k->pinned.n_interfaces)
		pins_write(k);
	return 0;
}

void weir_kern_pending(struct weir_kern *k, struct weir_kern_pending *ret)
{
	bool over = k->waits.pending && weir_kern_now() >= k->waits.deadline;

	*ret = over ? (struct weir_kern_pending){ 0 } : k->waits;
	ret->generation = over ? k->waits.back_generation : k->pinned.generation;
}

int weir_kern_confirm(struct weir_kern *k)
{
	struct weir_kern_pending p;

	weir_kern_pending(k, &p);
	if (!p.pending)
		return -ENOENT;
	k->waits = (struct weir_kern_pending){ 0 };
	pins_write(k);
	return 0;
}

static void go_back(struct weir_kern *k)
{
	k->pinned.generation = k->waits.back_generation;
	k->pinned.mode = k->back_mode;
	k->waits = (struct weir_kern_pending){ 0 };
	pins_write(k);
}

int weir_kern_revert(struct weir_kern *k)
{
	struct weir_kern_pending p;

	weir_kern_pending(k, &p);
	if (!p.pending)
		return -ENOENT;
	go_back(k);
	return 0;
}

enum weir_settled weir_kern_settle(struct weir_kern *k)
{
	if (!k->waits.pending || weir_kern_now() < k->waits.deadline)
		return WEIR_SETTLED_NOTHING;
	go_back(k);
	return WEIR_SETTLED_BACK;
}

void weir_kern_rest(struct weir_kern *k)
{
}

int weir_kern_pinned_confirm(const char *runtime_dir)
{
	return -ENOENT;
}

int weir_kern_pinned_revert(const char *runtime_dir)
{
	return -ENOENT;
}

void weir_kern_health(struct weir_kern *k, struct weir_kern_health *ret)
{
	*ret = (struct weir_kern_health){ .tested = 1 };
}

void weir_kern_canary(struct weir_kern *k, uint32_t older_than_s)
{
}

static struct fake_if *if_of(struct weir_kern *k, uint32_t ifindex)
{
	size_t i = 0;

	while (i < k->n_ifs && k->ifs[i].ifindex != ifindex)
		i++;
	if (i == k->n_ifs) {
		if (i == FAKE_MAX)
			return NULL;
		k->ifs[k->n_ifs++] = (struct fake_if){ .ifindex = ifindex };
	}
	return &k->ifs[i];
}

int weir_kern_attach(struct weir_kern *k, struct weir_kern_if *i, enum weir_xdp_mode xdp)
{
	struct fake_if *x = if_of(k, i->ifindex);
	int r = x ? k->f.fail_attach : -ENOSPC;

	i->covered = !r;
	snprintf(i->tc, sizeof i->tc, "%s", r ? "" : "tcx");
	snprintf(i->xdp, sizeof i->xdp, "%s", r || xdp != WEIR_XDP_NATIVE ? "" : "native");
	snprintf(i->why, sizeof i->why, r ? "attach refused (%s)" : "%s", r ? strerror(-r) : "");
	i->others[0] = 0;
	if (r)
		return r;
	if (!x->attached) {
		k->f.attached++;
		k->pinned.n_interfaces++;
	}
	x->attached = true;
	pins_write(k);
	return 0;
}

int weir_kern_detach(struct weir_kern *k, uint32_t ifindex)
{
	struct fake_if *x = if_of(k, ifindex);

	if (!x || !x->attached)
		return -ENOENT;
	x->attached = false;
	k->f.attached--;
	k->pinned.n_interfaces--;
	pins_write(k);
	return 0;
}

int weir_kern_guard(struct weir_kern *k, bool on, char *how, size_t how_size)
{
	if (!k->maps)
		return -EINVAL;
	k->f.guard = on;
	k->f.guards++;
	snprintf(how, how_size, "fake");
	return 0;
}

int weir_kern_cover(struct weir_kern *k, uint32_t ifindex, bool covered)
{
	struct fake_if *x = if_of(k, ifindex);

	if (!k->maps)
		return -EINVAL;
	if (!x)
		return -ENOSPC;
	x->covered = covered;
	k->f.covers++;
	return 0;
}

bool weir_kern_fake_covered(struct weir_kern *k, uint32_t ifindex)
{
	struct fake_if *x = if_of(k, ifindex);

	return x && x->covered;
}

int weir_kern_adopt(struct weir_kern *k, uint32_t seconds)
{
	if (!k->maps)
		return -EINVAL;
	k->f.adopt_s = seconds;
	return 0;
}

int weir_kern_flow_seed(struct weir_kern *k, const struct weir_tuple *t, uint32_t dir)
{
	if (!k->maps)
		return -EINVAL;
	k->f.seeds++;
	return 0;
}

static struct fake_ban *ban_of(struct weir_kern *k, const struct weir_ban_key *key)
{
	for (size_t i = 0; i < k->n_bans; i++) {
		if (!memcmp(&k->bans[i].key, key, sizeof *key))
			return &k->bans[i];
	}
	return NULL;
}

int weir_kern_ban_add(struct weir_kern *k, const struct weir_ban_key *key, const struct weir_ban *ban)
{
	struct fake_ban *b = ban_of(k, key);

	if (k->f.fail_ban)
		return k->f.fail_ban;
	if (!k->maps)
		return -EINVAL;
	if (!b) {
		if (k->n_bans == FAKE_MAX)
			return -ENOSPC;
		b = &k->bans[k->n_bans++];
	}
	*b = (struct fake_ban){ *key, *ban };
	k->f.bans = (uint32_t)k->n_bans;
	return 0;
}

int weir_kern_ban_remove(struct weir_kern *k, const struct weir_ban_key *key)
{
	struct fake_ban *b = ban_of(k, key);

	if (!b)
		return -ENOENT;
	*b = k->bans[--k->n_bans];
	k->f.bans = (uint32_t)k->n_bans;
	return 0;
}

int weir_kern_ban_each(struct weir_kern *k, void (*cb)(const struct weir_ban_key *, const struct weir_ban *, void *),
		       void *data)
{
	for (size_t i = 0; i < k->n_bans; i++)
		cb(&k->bans[i].key, &k->bans[i].ban, data);
	return (int)k->n_bans;
}

int weir_kern_own(struct weir_kern *k, const uint8_t (*v)[16], size_t n)
{
	return 0;
}

int weir_kern_caught(struct weir_kern *k, struct weir_kern_caught *ret, size_t n)
{
	return 0;
}

int weir_kern_flow_each(struct weir_kern *k, weir_flow_cb cb, void *data)
{
	for (size_t i = 0; i < k->n_flows; i++)
		cb(&k->flows[i].key, &k->flows[i].flow, false, false, data);
	return (int)k->n_flows;
}

int weir_kern_stats(struct weir_kern *k, struct weir_counter *ret, size_t n)
{
	memset(ret, 0, n * sizeof *ret);
	return (int)n;
}

int weir_kern_rule_hits(struct weir_kern *k, struct weir_counter *ret, size_t n)
{
	if (n > k->n_hits)
		n = k->n_hits;
	if (n)
		memcpy(ret, k->hits, n * sizeof *ret);
	return (int)n;
}

int weir_kern_event_fd(struct weir_kern *k)
{
	return k->event_fd;
}

int weir_kern_event_dispatch(struct weir_kern *k, void (*cb)(const struct weir_event *, void *), void *data)
{
	size_t n = k->n_events;
	eventfd_t seen;

	eventfd_read(k->event_fd, &seen);
	k->n_events = 0;
	for (size_t i = 0; i < n; i++) {
		cb(k->events[i], data);
		free(k->events[i]);
	}
	return (int)n;
}

int weir_kern_event_rings(struct weir_kern *k, struct weir_kern_ring ret[WEIR_RINGS])
{
	return -EINVAL; /* its records are no kernel's */
}

int weir_kern_progs(struct weir_kern *k, struct weir_kern_prog *ret, size_t n)
{
	if (n)
		ret[0] = (struct weir_kern_prog){ .name = "fake", .id = 1, .attached = k->f.attached };
	return 1;
}

int weir_kern_features(struct weir_kern *k, const struct weir_kern_feature **ret)
{
	static const struct weir_kern_feature fake[] = { { "kernel", false, "this is a fake in memory" } };

	*ret = fake;
	return 1;
}

uint64_t weir_kern_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct weir_kern_fake *weir_kern_fake_of(struct weir_kern *k)
{
	return &k->f;
}

int weir_kern_fake_event(struct weir_kern *k, const void *record, uint32_t size)
{
	void *copy = k->n_events < FAKE_MAX ? malloc(size) : NULL;

	if (!copy)
		return -ENOSPC;
	memcpy(copy, record, size);
	k->events[k->n_events++] = copy;
	return eventfd_write(k->event_fd, 1) ? -errno : 0;
}

int weir_kern_fake_flow(struct weir_kern *k, const struct weir_flow_key *key, const struct weir_flow *flow)
{
	if (k->n_flows == FAKE_MAX)
		return -ENOSPC;
	k->flows[k->n_flows++] = (struct fake_flow){ *key, *flow };
	return 0;
}

void weir_kern_fake_hit(struct weir_kern *k, uint32_t rule, uint64_t packets)
{
	if (rule < k->n_hits)
		k->hits[rule].packets += packets;
}

void weir_kern_fake_pass(struct weir_kern *k)
{
	if (k->waits.pending)
		k->waits.deadline = 1;
	pins_write(k);
}
