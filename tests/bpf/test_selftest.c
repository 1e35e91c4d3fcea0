/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The self-test of a generation: it passes on sound programs and leaves no trace; programs that were given other
 * tables than the policy's are found, and the generation before stays on the hook. The wrong tables are planted
 * between the image and the kernel: this program stands in front of libbpf's bpf_map_update_batch.
 */
#include "tests/bpf/kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/policy.h"
#include "core/told.h"

static struct weir_runner runner;
static struct weir_imgbuild build;
static int line, failed;
static const char *plant_map; /* name of the map whose content is made wrong */
static uint32_t plant_at;     /* the byte in each entry */
static uint8_t plant_bits;

static void say(bool ok, const char *name, const char *more)
{
	printf("%sok %d - %s%s%s\n", ok ? "" : "not ", ++line, name, *more ? ": " : "", more);
	failed += !ok;
}

int bpf_map_update_batch(int fd, const void *keys, const void *values, __u32 *count,
			 const struct bpf_map_batch_opts *opts)
{
	int (*real)(int, const void *, const void *, __u32 *, const struct bpf_map_batch_opts *) =
		(__typeof__(real))(uintptr_t)dlsym(RTLD_NEXT, "bpf_map_update_batch");
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof info;
	uint8_t *copy;
	int r;

	if (!plant_map || bpf_obj_get_info_by_fd(fd, &info, &len) || strcmp(info.name, plant_map))
		return real(fd, keys, values, count, opts);
	copy = malloc((size_t)info.value_size * *count);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, values, (size_t)info.value_size * *count);
	for (uint32_t i = *count > 1; i < *count; i++) /* the first piece of a table begins at 0, always */
		copy[(size_t)i * info.value_size + plant_at] ^= plant_bits;
	r = real(fd, keys, copy, count, opts);
	free(copy);
	return r;
}

/* Default drop; ssh from one network by the failsafe; a few rules, one that rejects; a blocklist. */
static void *image(uint32_t generation, enum weir_mode mode, uint32_t *size)
{
	struct weir_rule *r;

	weir_imgbuild_init(&build);
	build.cfg.generation = build.cfg.epoch = generation;
	build.cfg.mode = mode;
	build.cfg.essentials = WEIR_ESS_LO | WEIR_ESS_ARP | WEIR_ESS_ICMP_ERRORS | WEIR_ESS_MCAST_REPLIES;
	build.cfg.proto_features = WEIR_FEAT_REJECT | WEIR_FEAT_BLOCKLIST | WEIR_FEAT_XDP_DROP;
	for (int i = 0; i < 3; i++)
		build.cfg.defaults[i] = (struct weir_fixed){ WEIR_ACT_DROP, (uint8_t)mode, 1, 0 };
	build.cfg.blocklist = (struct weir_fixed){ WEIR_ACT_DROP, (uint8_t)mode, 1, 0 };
	build.block = weir_imgbuild_addrs(&build, "203.0.113.0/24", "2001:db8:bad::/48", "198.51.100.77",
					  "2001:db8::77", NULL);
	r = weir_imgbuild_failsafe(&build);
	r->pos.set = WEIR_C_DIR | WEIR_C_PORTS | WEIR_C_FROM;
	r->pos.dirs = WEIR_DIR_IN;
	r->pos.from = weir_imgbuild_addrs(&build, "10.9.0.0/24", "2001:db8:9::/48", NULL);
	r->pos.ports = weir_imgbuild_ports(&build, 22, 22);
	weir_cond_proto(&r->pos, WEIR_IPPROTO_TCP);
	for (int i = 0; i < 4; i++) {
		r = weir_imgbuild_rule(&build, i == 1 ? WEIR_ACT_REJECT : WEIR_ACT_ALLOW);
		r->mode = (uint8_t)mode;
		r->pos.set = WEIR_C_DIR | WEIR_C_PORTS;
		r->pos.dirs = i < 3 ? WEIR_DIR_IN : WEIR_DIR_OUT;
		r->pos.ports = weir_imgbuild_ports(&build, (uint16_t)(80 * i + 53), (uint16_t)(80 * i + 60));
		weir_cond_proto(&r->pos, i == 3 ? WEIR_IPPROTO_UDP : WEIR_IPPROTO_TCP);
	}
	return weir_imgbuild_make(&build, size);
}

static int install(uint32_t generation, enum weir_mode mode, char *why, size_t why_size, double *ms)
{
	struct timespec a, b;
	uint32_t size;
	void *blob = image(generation, mode, &size);
	struct weir_kern_change change = { .blob = blob, .size = size };
	int r;

	clock_gettime(CLOCK_MONOTONIC, &a);
	r = weir_kern_install(runner.kern, &change, why, why_size);
	clock_gettime(CLOCK_MONOTONIC, &b);
	*ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
	free(blob);
	return r;
}

static uint32_t program_on_hook(void)
{
	struct weir_kern_prog v[3] = { 0 };

	return weir_kern_progs(runner.kern, v, 3) > 0 && v[0].attached ? v[0].id : 0;
}

static int count_entries(const char *map)
{
	uint8_t key[256], next[256];
	int n = 0, fd = weir_kern_map_fd(runner.kern, map);

	for (void *prev = NULL; !bpf_map_get_next_key(fd, prev, next) && n < 1 << 20; n++) {
		memcpy(key, next, sizeof key);
		prev = key;
	}
	return n;
}

/* Of an array: values that are not zero. */
static int count_written(const char *map, uint32_t size, uint32_t n)
{
	static const uint8_t zero[256];
	uint8_t value[256];
	int written = 0, fd = weir_kern_map_fd(runner.kern, map);

	for (uint32_t i = 0; i < n; i++)
		written += bpf_map_lookup_elem(fd, &i, value) || memcmp(value, zero, size);
	return written;
}

static void count_flow(const struct weir_flow_key *k, const struct weir_flow *f, bool half, bool expired, void *data)
{
	++*(int *)data;
}

static void no_event(const struct weir_event *e, void *data)
{
	++*(int *)data;
}

/* After an install that nothing but the self-test has sent packets through. */
static void trace(void)
{
	struct weir_counter stats[WEIR_STATS_MAX] = { 0 }, hits[7] = { 0 };
	uint64_t counted = 0, hit = 0;
	int flows = 0, events = 0;

	weir_kern_stats(runner.kern, stats, WEIR_STATS_MAX);
	weir_kern_rule_hits(runner.kern, hits, 7);
	for (int i = 0; i < WEIR_STATS_MAX; i++)
		counted += stats[i].packets;
	for (int i = 0; i < 7; i++)
		hit += hits[i].packets;
	weir_kern_flow_each(runner.kern, count_flow, &flows);
	weir_kern_event_fd(runner.kern);
	weir_kern_event_dispatch(runner.kern, no_event, &events);
	say(!counted, "no counter", "");
	say(!hit, "no hit of a rule", "");
	say(!flows, "no flow", "");
	say(!events, "no event", "");
	say(!count_entries("weir_frags"), "no fragment", "");
	say(!count_entries("weir_askers") && !count_written("weir_told", sizeof(struct weir_told), WEIR_TOLD_SETS), "no question, no report", "");
	say(!count_entries("weir_ifaces"), "nothing is left of the interface of the test", "");
}

static void planted(const char *name, const char *map, uint32_t at, uint8_t bits, enum weir_mode mode)
{
	struct weir_kern_health before, after;
	uint32_t here = program_on_hook();
	char why[256] = "", more[400];
	double ms;
	int r;

	weir_kern_health(runner.kern, &before);
	plant_map = map;
	plant_at = at;
	plant_bits = bits;
	r = install(9, mode, why, sizeof why, &ms);
	plant_map = NULL;
	weir_kern_health(runner.kern, &after);
	snprintf(more, sizeof more, "%s", why);
	say(r == -EBADMSG && !strncmp(why, "self-test: packet '", 19), name, more);
	say(here && program_on_hook() == here, "  the generation before stays on the hook", "");
	say(after.tested == before.tested && !after.failed, "  and is still the one that was tested", "");
}

/* The programs judge otherwise soon after a flood (core/flow.h weir_flow_late), and when the table is full: so does the test. */
static void after_a_flood(void)
{
	int fd = weir_kern_map_fd(runner.kern, "weir_control");
	struct weir_control c;
	uint32_t zero = 0;
	char why[256] = "";
	double ms;
	int r = bpf_map_lookup_elem(fd, &zero, &c);

	say(!r && c.adopt_until <= weir_kern_now(), "nothing is adopted", "");
	c.crowded = weir_kern_now();
	bpf_map_update_elem(fd, &zero, &c, BPF_ANY);
	r = install(4, WEIR_PREVENT, why, sizeof why, &ms);
	say(!r, "sound programs are installed soon after a flood", r ? why : "");
	planted("a rule that does the opposite, soon after a flood", "weir_heads", offsetof(struct weir_heads, v[0].action), WEIR_ACT_DROP,
		WEIR_PREVENT);
	c.crowded = 0;
	c.table_full = weir_kern_now();
	bpf_map_update_elem(fd, &zero, &c, BPF_ANY);
	r = install(5, WEIR_PREVENT, why, sizeof why, &ms);
	say(!r, "and while the table of connections is full", r ? why : "");
	c.table_full = 0;
	bpf_map_update_elem(fd, &zero, &c, BPF_ANY);
}

static void all(void)
{
	struct weir_kern_if lo = { .ifindex = 1, .name = "lo", .arphrd = 772, .flags = IFF_LOOPBACK };
	struct weir_kern_health h;
	char why[256] = "", more[128];
	double ms, again;
	int r = install(1, WEIR_PREVENT, why, sizeof why, &ms);

	say(!r, "sound programs are installed", why);
	if (r)
		return;
	weir_kern_health(runner.kern, &h);
	install(2, WEIR_PREVENT, why, sizeof why, &again);
	snprintf(more, sizeof more, "%u packets, %u failed, in %u us; an install takes %.1f ms", h.tested, h.failed,
		 h.us, again);
	say(h.tested >= 32 && !h.failed, "they were tested", more);
	trace();
	r = weir_kern_attach(runner.kern, &lo, WEIR_XDP_OFF);
	say(!r && program_on_hook(), "a hook leads to them", lo.why);
	planted("a rule that does the opposite", "weir_heads", offsetof(struct weir_heads, v[0].action), WEIR_ACT_DROP,
		WEIR_PREVENT);
	planted("a port that is another one", "weir_bounds_p", 0, 2, WEIR_PREVENT);
	planted("an address that is another one", "weir_bounds4", 1, 1, WEIR_PREVENT);
	planted("an IPv6 address that is another one", "weir_bounds6", 0, 1, WEIR_PREVENT);
	planted("a failsafe entry for another protocol", "weir_failsafe",
		offsetof(struct weir_rule, pos) + offsetof(struct weir_cond, protos), 1 << WEIR_IPPROTO_TCP, WEIR_PREVENT);
	planted("a rule that would do the opposite, in detect", "weir_heads", offsetof(struct weir_heads, v[0].action),
		WEIR_ACT_DROP, WEIR_DETECT);
	r = install(3, WEIR_PREVENT, why, sizeof why, &ms);
	say(!r, "the next sound ones are installed", r ? why : "");
	after_a_flood();
}

int main(void)
{
	int err = weir_runner_open(&runner);

	if (err) {
		weir_runner_close(&runner);
		return err == -EPERM ? 77 : 1;
	}
	all();
	weir_runner_close(&runner);
	printf("1..%d\n", line);
	return failed != 0;
}
