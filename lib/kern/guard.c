/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pre-cover guard. A BPF netfilter program at PRE_ROUTING and POST_ROUTING where the kernel has it
 * (6.4), else one nftables table with a set of interfaces. Both outlive the daemon and start with lo.
 * `flush` takes them away.
 */
#include <net/if.h>
#include <spawn.h>
#include <sys/wait.h>

#include "lib/kern/internal.h"
#include "guard.skel.h"

#define PF4 2
#define PF6 10
#define PRE_ROUTING 0
#define POST_ROUTING 4
#define PRIORITY (-500) /* before defragmentation (-400) and conntrack (-200) */

extern char **environ;

/* Run nft with a script on its standard input. 0 or -errno. */
static int nft(const char *script)
{
	char *argv[] = { "nft", "-f", "-", NULL };
	posix_spawn_file_actions_t fa;
	int p[2], r, status;
	ssize_t len = (ssize_t)strlen(script);
	pid_t pid;

	if (pipe2(p, 02000000 /* O_CLOEXEC */))
		return -errno;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, p[0], 0);
	posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", 1, 0);
	posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", 1, 0);
	r = posix_spawnp(&pid, "nft", &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(p[0]);
	if (!r && write(p[1], script, (size_t)len) != len)
		r = EIO;
	close(p[1]);
	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EOPNOTSUPP;
}

void weir_guard_remove_nft(void)
{
	nft("table inet weir_guard\ndelete table inet weir_guard\n");
}

bool weir_guard_stands(const char *bpffs)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/links/guard_0", bpffs) < (int)sizeof path && !access(path, F_OK))
		return true;
	return !nft("list table inet weir_guard\n");
}

static int guard_nft(struct weir_kern *k)
{
	char *script = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&script, &size);
	int r;

	if (!f)
		return -ENOMEM;
	fputs("table inet weir_guard\ndelete table inet weir_guard\ntable inet weir_guard {\n"
	      " set covered { type iface_index; elements = { \"lo\"", f);
	for (uint32_t key, *prev = NULL, at = 0; !bpf_map_get_next_key(k->shared[WEIR_M_COVERED], prev, &key);
	     prev = &at) {
		char name[IF_NAMESIZE];

		at = key;
		if (key != 1 && if_indextoname(key, name))
			fprintf(f, ", %u", key);
	}
	fputs(" } }\n"
	      " chain pre { type filter hook prerouting priority -500; policy accept; iif != @covered drop; }\n"
	      " chain post { type filter hook postrouting priority -500; policy accept; oif != @covered drop; }\n}\n", f);
	fclose(f);
	r = nft(script);
	free(script);
	return r;
}

static int guard_bpf(struct weir_kern *k)
{
	static const uint32_t pf[4] = { PF4, PF4, PF6, PF6 };
	static const uint32_t hook[4] = { PRE_ROUTING, POST_ROUTING, PRE_ROUTING, POST_ROUTING };
	struct weir_guard_obj *g = weir_guard_obj__open();
	struct bpf_map *m;
	char path[PATH_MAX];
	int r;

	if (!g)
		return -errno;
	bpf_program__set_type(g->progs.weir_guard, (enum bpf_prog_type)32); /* BPF_PROG_TYPE_NETFILTER */
	bpf_program__set_expected_attach_type(g->progs.weir_guard, (enum bpf_attach_type)45);
	bpf_object__for_each_map(m, g->obj) /* one header names all maps; two are used here */
		bpf_map__set_autocreate(m, false);
	bpf_map__set_autocreate(g->maps.rodata, true);
	bpf_map__set_autocreate(g->maps.weir_covered, true);
	bpf_map__set_autocreate(g->maps.weir_stats, true);
	bpf_map__set_autocreate(g->maps.weir_control, true);
	r = bpf_map__reuse_fd(g->maps.weir_covered, k->shared[WEIR_M_COVERED]);
	if (!r)
		r = bpf_map__reuse_fd(g->maps.weir_stats, k->shared[WEIR_M_STATS]);
	if (!r)
		r = bpf_map__reuse_fd(g->maps.weir_control, k->shared[WEIR_M_CONTROL]);
	if (!r)
		r = weir_guard_obj__load(g);
	for (int i = 0; !r && i < 4; i++) {
		int fd = weir_sys_link_netfilter(bpf_program__fd(g->progs.weir_guard), pf[i], hook[i], PRIORITY);

		if (fd < 0) {
			r = fd;
			break;
		}
		k->guard[i] = fd;
		r = weir_pins_path(k, path, sizeof path, "links/guard_%d", i);
		if (!r && bpf_obj_pin(fd, path))
			r = -errno;
	}
	weir_guard_obj__destroy(g);
	return r;
}

static void guard_off(struct weir_kern *k)
{
	char path[PATH_MAX];

	for (int i = 0; i < 4; i++) {
		if (!weir_pins_path(k, path, sizeof path, "links/guard_%d", i))
			unlink(path);
		if (k->guard[i] >= 0)
			close(k->guard[i]);
		k->guard[i] = -1;
	}
	if (k->guard_nft)
		weir_guard_remove_nft();
	k->guard_nft = k->guard_on = false;
}

/* A guard that an earlier process left pinned. */
static bool guard_take_over(struct weir_kern *k)
{
	char path[PATH_MAX];

	for (int i = 0; i < 4; i++) {
		if (weir_pins_path(k, path, sizeof path, "links/guard_%d", i))
			return false;
		k->guard[i] = bpf_obj_get(path);
		if (k->guard[i] < 0)
			return false;
	}
	return true;
}

int weir_kern_guard(struct weir_kern *k, bool on, char *how, size_t how_size)
{
	int r = 0;

	if (how_size)
		how[0] = 0;
	if (k->shared[WEIR_M_COVERED] < 0)
		return -EINVAL;
	if (!on) {
		guard_off(k);
		return 0;
	}
	if (!k->guard_on && !guard_take_over(k)) {
		guard_off(k);
		r = guard_bpf(k);
		if (r) {
			guard_off(k);
			r = guard_nft(k);
			k->guard_nft = !r;
		}
	}
	k->guard_on = !r;
	if (r)
		return weir_why(how, how_size, r, "neither a BPF netfilter link nor nftables is here: %s", strerror(-r));
	return weir_why(how, how_size, 0, "%s", k->guard_nft ? "nft" : "bpf netfilter");
}

int weir_kern_cover(struct weir_kern *k, uint32_t ifindex, bool covered)
{
	uint32_t one = 1;
	char script[96];

	if (k->shared[WEIR_M_COVERED] < 0)
		return -EINVAL;
	if (covered ? bpf_map_update_elem(k->shared[WEIR_M_COVERED], &ifindex, &one, BPF_ANY) :
		      bpf_map_delete_elem(k->shared[WEIR_M_COVERED], &ifindex) && errno != ENOENT)
		return -errno;
	if (!k->guard_nft)
		return 0;
	snprintf(script, sizeof script, "%s element inet weir_guard covered { %u }\n", covered ? "add" : "delete",
		 ifindex);
	return nft(script);
}
