/* SPDX-License-Identifier: Apache-2.0 */
/* Life and data of an instance: open, close, flows, bans, counters, events. */
#include <sys/resource.h>
#include <time.h>

#include "lib/kern/internal.h"

const char *const weir_shared_names[WEIR_M_COUNT] = {
	[WEIR_M_VLANS] = "weir_vlans",         [WEIR_M_FLOWS] = "weir_flows",
	[WEIR_M_TALKS] = "weir_talks",         [WEIR_M_HALF] = "weir_half",
	[WEIR_M_FRAGS] = "weir_frags",
	[WEIR_M_ASKERS] = "weir_askers",       [WEIR_M_TOLD] = "weir_told",
	[WEIR_M_NOTES] = "weir_notes",         [WEIR_M_BANS] = "weir_bans",
	[WEIR_M_CAUGHT] = "weir_caught",       [WEIR_M_OWN] = "weir_own",
	[WEIR_M_CONTROL] = "weir_control",     [WEIR_M_STATS] = "weir_stats",
	[WEIR_M_LOCAL] = "weir_local",         [WEIR_M_VERDICTS] = "weir_verdicts",
	[WEIR_M_TELEMETRY] = "weir_telemetry", [WEIR_M_COVERED] = "weir_covered",
	[WEIR_M_BUCKETS] = "weir_buckets",
	[WEIR_M_GENS_TC] = "weir_gens_tc",     [WEIR_M_GENS_XDP] = "weir_gens_xdp",
};

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (getenv("WEIR_DEBUG_LIBBPF") && level <= LIBBPF_WARN)
		return vfprintf(stderr, fmt, ap);
	return 0;
}

/* Take over the shared maps that an earlier process pinned. A map of another shape is left behind: flows
 * are then learned anew. */
static int take_over(struct weir_kern *k)
{
	char path[PATH_MAX];

	for (int m = 0; m < WEIR_M_COUNT; m++) {
		int r = weir_pins_path(k, path, sizeof path, "maps/%s", weir_shared_names[m]);

		if (r)
			return r;
		k->shared[m] = bpf_obj_get(path);
	}
	return 0;
}

static bool fits(int fd, uint32_t type, uint32_t value, uint32_t entries, uint32_t flags)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof info;

	return !bpf_obj_get_info_by_fd(fd, &info, &len) && info.type == type && info.key_size == sizeof(uint32_t) &&
	       info.value_size == value && info.max_entries == entries && info.map_flags == flags;
}

/*
 * What must be there before anything is installed: the guard may stand by itself and needs its maps, the control
 * words are mapped by us, the arrays of generations are no generation's. lo is let through.
 */
static int first_maps(struct weir_kern *k)
{
	static const struct {
		enum weir_shared m;
		enum bpf_map_type type;
		uint32_t value, entries, flags;
	} maps[] = { { WEIR_M_COVERED, BPF_MAP_TYPE_HASH, sizeof(uint32_t), 4096, 0 },
		     { WEIR_M_STATS, BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct weir_counter), WEIR_STATS_MAX, 0 },
		     { WEIR_M_CONTROL, BPF_MAP_TYPE_ARRAY, sizeof(struct weir_control), 1, BPF_F_MMAPABLE },
		     { WEIR_M_GENS_TC, BPF_MAP_TYPE_PROG_ARRAY, sizeof(uint32_t), WEIR_GEN_SLOTS * 2, 0 },
		     { WEIR_M_GENS_XDP, BPF_MAP_TYPE_PROG_ARRAY, sizeof(uint32_t), WEIR_GEN_SLOTS, 0 } };
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
		LIBBPF_OPTS(bpf_map_create_opts, o, .map_flags = maps[i].flags);
		enum weir_shared m = maps[i].m;
		int r;

		if (k->shared[m] >= 0 && fits(k->shared[m], maps[i].type, maps[i].value, maps[i].entries, maps[i].flags))
			continue;
		if (k->shared[m] >= 0) { /* of another build; what uses it goes on until it is replaced */
			close(k->shared[m]);
			k->shared[m] = -1;
			if (!weir_pins_path(k, path, sizeof path, "maps/%s", weir_shared_names[m]))
				unlink(path);
		}
		k->shared[m] = bpf_map_create(maps[i].type, weir_shared_names[m], sizeof(uint32_t), maps[i].value,
					      maps[i].entries, &o);
		r = k->shared[m] < 0 ? -errno : weir_pins_path(k, path, sizeof path, "maps/%s", weir_shared_names[m]);
		if (!r && bpf_obj_pin(k->shared[m], path))
			r = -errno;
		if (r)
			return r;
	}
	return weir_kern_cover(k, 1, true);
}

int weir_kern_open(const struct weir_kern_options *o, struct weir_kern **ret, char *why, size_t why_size)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct weir_kern *k = calloc(1, sizeof *k);
	int r;

	if (!k)
		return -ENOMEM;
	libbpf_set_print(quiet);
	setrlimit(RLIMIT_MEMLOCK, &unlimited); /* before 5.11 maps are charged to it */
	k->o = *o;
	k->runtime_dir = strdup(o->runtime_dir);
	for (int i = 0; i < 4; i++)
		k->guard[i] = -1;
	for (int m = 0; m < WEIR_M_COUNT; m++)
		k->shared[m] = -1;
	weir_canary_open(k);
	k->gen.slot = k->back.slot = -1;
	k->hz = weir_sys_hz();
	k->jiffies_base = weir_sys_jiffies_base(k->hz);
	r = k->runtime_dir ? weir_pins_mount(k, why, why_size) : -ENOMEM;
	if (!r)
		r = take_over(k);
	if (!r && ((r = first_maps(k)) || (r = weir_control_open(k))))
		weir_why(why, why_size, r, "making maps: %s", strerror(-r));
	if (r) {
		weir_kern_close(k, false);
		return r;
	}
	*ret = k;
	return 0;
}

void weir_kern_close(struct weir_kern *k, bool remove)
{
	char report[256];

	if (!k)
		return;
	for (size_t n = 0; n < k->n_covers; n++) {
		if (remove)
			weir_cover_remove(k, k->covers[n]);
		weir_cover_free(k->covers[n]);
	}
	free(k->covers);
	if (remove && k->shared[WEIR_M_COVERED] >= 0)
		weir_kern_guard(k, false, NULL, 0);
	for (int i = 0; i < 4; i++)
		if (k->guard[i] >= 0)
			close(k->guard[i]);
	if (k->canary_fd >= 0)
		close(k->canary_fd);
	ring_buffer__free(k->rings);
	weir_install_free(k);
	for (int m = 0; m < WEIR_M_COUNT; m++)
		if (k->shared[m] >= 0)
			close(k->shared[m]);
	if (remove)
		weir_kern_flush(k->runtime_dir, report, sizeof report);
	free(k->runtime_dir);
	free(k);
}

int weir_kern_adopt(struct weir_kern *k, uint32_t seconds)
{
	__atomic_store_n(&k->control->adopt_until, weir_kern_now() + seconds * 1000000000ull, __ATOMIC_RELEASE);
	return 0;
}

void weir_kern_edited(struct weir_kern *k)
{
	uint32_t edit = k->control->edit + 1;

	__atomic_store_n(&k->control->edit, edit ? edit : 1, __ATOMIC_RELEASE); /* 0 says that no ban was ever set */
}

static uint32_t jiffies_now(const struct weir_kern *k)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint32_t)(k->jiffies_base +
			  ((uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec) / (1000000000u / k->hz));
}

int weir_kern_flow_seed(struct weir_kern *k, const struct weir_tuple *t, uint32_t dir)
{
	struct weir_flow f = { .dir = (uint8_t)dir, .flags = WEIR_FF_ADOPTED, .created = weir_kern_now() };
	struct weir_flow_key key = { 0 };

	int fd = k->shared[t->zone >> 24 == WEIR_IPPROTO_TCP ? WEIR_M_FLOWS : WEIR_M_TALKS];

	if (fd < 0)
		return -EINVAL;
	if (weir_flow_key_of(t, &key))
		f.flags |= WEIR_FF_ORIG_B;
	f.family = weir_addr_is_v4(t->src) ? 4 : 6;
	f.half[0].last = f.half[1].last = jiffies_now(k);
	f.half[0].flags = f.half[1].flags = WEIR_FH_SEEN;
	if (bpf_map_update_elem(fd, &key, &f, BPF_NOEXIST))
		return errno == EEXIST ? 0 : -errno;
	return 0;
}

int weir_kern_ban_add(struct weir_kern *k, const struct weir_ban_key *key, const struct weir_ban *ban)
{
	if (k->shared[WEIR_M_BANS] < 0)
		return -EINVAL;
	if (bpf_map_update_elem(k->shared[WEIR_M_BANS], key, ban, BPF_ANY))
		return -errno;
	weir_kern_edited(k);
	return 0;
}

int weir_kern_ban_remove(struct weir_kern *k, const struct weir_ban_key *key)
{
	struct weir_caught_key caught;
	bool freed = false;

	if (k->shared[WEIR_M_BANS] < 0)
		return -EINVAL;
	weir_caught_key(key->addr, &caught);
	if (key->prefixlen == 128 || (key->prefixlen == 64 && !weir_addr_is_v4(key->addr)))
		freed = !bpf_map_delete_elem(k->shared[WEIR_M_CAUGHT], &caught);
	if (key->prefixlen == 128 && !bpf_map_delete_elem(k->shared[WEIR_M_CAUGHT], key->addr))
		freed = true;
	if (bpf_map_delete_elem(k->shared[WEIR_M_BANS], key))
		return freed && errno == ENOENT ? 0 : -errno;
	weir_kern_edited(k);
	return 0;
}

int weir_kern_own(struct weir_kern *k, const uint8_t (*v)[16], size_t n)
{
	struct weir_caught_key key, next;
	int fd = k->shared[WEIR_M_OWN];
	uint32_t one = 1;
	bool more;

	if (fd < 0)
		return -EINVAL;
	more = !bpf_map_get_next_key(fd, NULL, &next);
	while (more) {
		bool have = false;

		key = next;
		more = !bpf_map_get_next_key(fd, &key, &next);
		for (size_t i = 0; i < n && !have; i++)
			have = !memcmp(key.addr, v[i], weir_caught_alone(key.addr) ? 16 : 8);
		if (!have)
			bpf_map_delete_elem(fd, &key);
	}
	k->unspared = 0;
	for (size_t i = 0; i < n; i++) {
		bool full;

		memcpy(key.addr, v[i], 16);
		full = bpf_map_update_elem(fd, &key, &one, BPF_ANY);
		weir_caught_key(v[i], &key);
		k->unspared += bpf_map_update_elem(fd, &key, &one, BPF_ANY) || full;
	}
	return 0;
}

int weir_kern_caught(struct weir_kern *k, struct weir_kern_caught *ret, size_t n)
{
	struct weir_kern_caught *c = ret;
	struct weir_caught_key next, at;
	uint64_t now = weir_kern_now();

	if (k->shared[WEIR_M_CAUGHT] < 0)
		return 0;
	for (const void *prev = NULL; c < ret + n && !bpf_map_get_next_key(k->shared[WEIR_M_CAUGHT], prev, &next);) {
		at = next;
		prev = &at;
		c->key = at;
		if (!bpf_map_lookup_elem(k->shared[WEIR_M_CAUGHT], &at, &c->ban) && c->ban.until > now)
			c++;
	}
	return (int)(c - ret);
}

int weir_kern_ban_each(struct weir_kern *k, void (*cb)(const struct weir_ban_key *, const struct weir_ban *, void *),
		       void *data)
{
	struct weir_ban_key key, next;
	struct weir_ban ban;
	int n = 0;

	if (k->shared[WEIR_M_BANS] < 0)
		return 0;
	for (void *prev = NULL; !bpf_map_get_next_key(k->shared[WEIR_M_BANS], prev, &next) && n < 1 << 20; n++) {
		key = next;
		prev = &key;
		if (!bpf_map_lookup_elem(k->shared[WEIR_M_BANS], &key, &ban))
			cb(&key, &ban, data);
	}
	return n;
}

#define BATCH 1024u

static int flow_table(struct weir_kern *k, int fd, bool half, weir_flow_cb cb, void *data)
{
	_cleanup_free_ struct weir_flow_key *keys = malloc(BATCH * sizeof *keys);
	_cleanup_free_ struct weir_flow *flows = malloc(BATCH * sizeof *flows);
	uint32_t now = jiffies_now(k);
	uint8_t at[64], next[64];
	bool first = true;
	int total = 0, r;

	if (!keys || !flows)
		return -ENOMEM;
	if (fd < 0)
		return 0;
	do {
		uint32_t n = BATCH;

		r = bpf_map_lookup_batch(fd, first ? NULL : at, next, keys, flows, &n, NULL) ? -errno : 0;
		if (r && r != -ENOENT)
			return r;
		for (uint32_t i = 0; i < n; i++)
			cb(&keys[i], &flows[i], half,
			   weir_flow_expired(&flows[i], keys[i].zone >> 24, half,
					     weir_flow_idle_of(&flows[i], k->gen.cfg.idle_s), now, k->hz), data);
		total += (int)n;
		memcpy(at, next, sizeof at);
		first = false;
	} while (!r && total < 1 << 22);
	return total;
}

int weir_kern_flow_each(struct weir_kern *k, weir_flow_cb cb, void *data)
{
	static const enum weir_shared tables[] = { WEIR_M_FLOWS, WEIR_M_TALKS, WEIR_M_HALF };
	int sum = 0;

	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		int n = flow_table(k, k->shared[tables[i]], tables[i] == WEIR_M_HALF, cb, data);

		if (n < 0)
			return n;
		sum += n;
	}
	return sum;
}

int weir_sum_counter(int fd, uint32_t index, struct weir_counter *ret)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct weir_counter *v = cpus > 0 ? calloc((size_t)cpus, sizeof *v) : NULL;

	if (!v)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &index, v))
		return -errno;
	for (int c = 0; c < cpus; c++) {
		ret->packets += v[c].packets;
		ret->bytes += v[c].bytes;
	}
	return 0;
}

#define COUNTERS_AT_ONCE 512u

/*
 * Entries of a per-CPU array from `first` on, up to n of them, for each a counter of each CPU. How many there are to be had
 * at once: one before Linux 5.13; 0 behind the end.
 */
static int read_counters(int fd, uint32_t first, uint32_t n, struct weir_counter *v)
{
	uint32_t before = first - 1, last, got = n, keys[COUNTERS_AT_ONCE];

	if (!bpf_map_lookup_batch(fd, first ? &before : NULL, &last, keys, v, &got, NULL) || (errno == ENOENT && got))
		return (int)got;
	if (!bpf_map_lookup_elem(fd, &first, v))
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

/* Sum a per-CPU array of counters. */
static int sum_counters(int fd, struct weir_counter *ret, size_t n)
{
	int cpus = libbpf_num_possible_cpus(), got = 1;
	_cleanup_free_ struct weir_counter *v = NULL;
	size_t done = 0;

	if (cpus < 1 || fd < 0)
		return -EINVAL;
	v = calloc((size_t)cpus * COUNTERS_AT_ONCE, sizeof *v);
	if (!v)
		return -ENOMEM;
	memset(ret, 0, n * sizeof *ret);
	for (; done < n && got > 0; done += (size_t)(got > 0 ? got : 0)) {
		size_t left = n - done;

		got = read_counters(fd, (uint32_t)done, left < COUNTERS_AT_ONCE ? (uint32_t)left : COUNTERS_AT_ONCE, v);
		for (int i = 0; i < got * cpus; i++) {
			ret[done + (size_t)(i / cpus)].packets += v[i].packets;
			ret[done + (size_t)(i / cpus)].bytes += v[i].bytes;
		}
	}
	return got < 0 ? got : (int)done;
}

int weir_kern_stats(struct weir_kern *k, struct weir_counter *ret, size_t n)
{
	return sum_counters(k->shared[WEIR_M_STATS], ret, n);
}

int weir_kern_rule_hits(struct weir_kern *k, struct weir_counter *ret, size_t n)
{
	return sum_counters(weir_gen_map_fd(&k->gen, "weir_hits"), ret, n);
}

static int event_one(void *ctx, void *data, size_t size)
{
	struct weir_kern *k = ctx;
	const struct weir_event *e = data;

	if (size >= sizeof *e && e->size <= size && k->event_cb)
		k->event_cb(e, k->event_data);
	return 0;
}

int weir_kern_event_fd(struct weir_kern *k)
{
	if (k->shared[WEIR_M_VERDICTS] < 0)
		return -EINVAL;
	if (!k->rings) {
		k->rings = ring_buffer__new(k->shared[WEIR_M_VERDICTS], event_one, k, NULL);
		if (!k->rings)
			return -errno;
		if (ring_buffer__add(k->rings, k->shared[WEIR_M_TELEMETRY], event_one, k))
			return -EINVAL;
	}
	return ring_buffer__epoll_fd(k->rings);
}

int weir_kern_event_dispatch(struct weir_kern *k, void (*cb)(const struct weir_event *, void *), void *data)
{
	if (!k->rings)
		return 0;
	k->event_cb = cb;
	k->event_data = data;
	return ring_buffer__consume(k->rings);
}

int weir_kern_event_rings(struct weir_kern *k, struct weir_kern_ring ret[WEIR_RINGS])
{
	static const enum weir_shared maps[WEIR_RINGS] = { WEIR_M_VERDICTS, WEIR_M_TELEMETRY };

	for (int i = 0; i < WEIR_RINGS; i++) {
		struct bpf_map_info info = { 0 };
		uint32_t len = sizeof info;
		int fd = k->shared[maps[i]];

		if (fd < 0)
			return -EINVAL;
		if (bpf_obj_get_info_by_fd(fd, &info, &len))
			return -errno;
		ret[i] = (struct weir_kern_ring){ fd, info.max_entries };
	}
	return 0;
}

static void feature(struct weir_kern *k, const char *name, bool have, const char *why)
{
	struct weir_kern_feature *f = &k->features[k->n_features++];

	f->name = name;
	f->have = have;
	snprintf(f->why, sizeof f->why, "%s", why);
}

/* Found by trying, or by what is in use. Never by the kernel's version. */
int weir_kern_features(struct weir_kern *k, const struct weir_kern_feature **ret)
{
	uint32_t ids[4], n = 4;
	bool tcx = !weir_sys_query(1, WEIR_BPF_TCX_INGRESS, ids, &n);
	bool netfilter = k->guard_on ? !k->guard_nft : weir_sys_has_netfilter();
	const char *guard = netfilter ? "the guard is off; it would use it" : "the guard is off; it would use nftables";

	if (k->guard_on)
		guard = netfilter ? "the guard is on" : "nftables is used for the guard";
	k->n_features = 0;
	feature(k, "btf", !access("/sys/kernel/btf/vmlinux", R_OK), "type information for relocations");
	feature(k, "ringbuf", libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL) == 1, "events");
	feature(k, "tcx", tcx, tcx ? "links that no qdisc change removes" : "clsact filters are used instead");
	feature(k, "xdp", libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_XDP, NULL) == 1, "early drops");
	feature(k, "netfilter link", netfilter, guard);
	*ret = k->features;
	return k->n_features;
}
