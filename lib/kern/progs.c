/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs of a generation. The kernel verifies one in 30 to 100 ms, and programs of one object one after the other: so
 * each has an object of its own, on the maps of the generation, and a thread, and they are verified beside each other, and
 * while the maps are filled.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/kern/internal.h"
#include "net.skel.h"

static const char *const prog_names[WEIR_SLOT_COUNT] = { "weir_tc_in", "weir_tc_out", "weir_xdp_in" };

/* One program on its way into the kernel. */
struct load {
	const struct weir_net *maps; /* loaded: has the maps, and no programs */
	const char *name;
	pthread_t thread;
	bool beside; /* the thread was made */
	int fd;      /* of the program, or a negative errno */
};

struct weir_progs_loading {
	struct load v[WEIR_SLOT_COUNT];
};

const char *weir_prog_name(enum weir_hook_slot slot)
{
	return prog_names[slot];
}

struct weir_net *weir_progs_open(const char *name)
{
	struct weir_net *s = weir_net__open();
	struct bpf_program *p;

	if (!s)
		return NULL;
	bpf_object__for_each_program(p, s->obj)
		bpf_program__set_autoload(p, name && !strcmp(bpf_program__name(p), name));
	return s;
}

static int share(const struct weir_net *from, const struct weir_net *to)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, to->obj)
		if (bpf_map__reuse_fd(map, bpf_object__find_map_fd_by_name(from->obj, bpf_map__name(map))))
			return -errno;
	return 0;
}

static void *load(void *data)
{
	struct load *l = data;
	struct weir_net *s = weir_progs_open(l->name);

	if (!s) {
		l->fd = -errno;
		return NULL;
	}
	l->fd = share(l->maps, s);
	if (!l->fd)
		l->fd = weir_net__load(s);
	if (!l->fd) {
		l->fd = dup(bpf_program__fd(bpf_object__find_program_by_name(s->obj, l->name)));
		l->fd = l->fd < 0 ? -errno : l->fd;
	}
	weir_net__destroy(s);
	return NULL;
}

int weir_progs_begin(const struct weir_net *maps, struct weir_progs_loading **ret)
{
	struct weir_progs_loading *l = calloc(1, sizeof *l);

	if (!l)
		return -ENOMEM;
	for (int i = WEIR_SLOT_COUNT - 1; i >= 0; i--) {
		l->v[i] = (struct load){ .maps = maps, .name = prog_names[i] };
		l->v[i].beside = !pthread_create(&l->v[i].thread, NULL, load, &l->v[i]);
	}
	*ret = l;
	return 0;
}

int weir_progs_end(struct weir_progs_loading *l, int fd[WEIR_SLOT_COUNT])
{
	int r = 0;

	for (int i = 0; i < WEIR_SLOT_COUNT; i++) {
		struct load *p = &l->v[i];

		if (p->beside)
			pthread_join(p->thread, NULL);
		else
			load(p);
		fd[i] = p->fd < 0 ? -1 : p->fd;
		r = !r && p->fd < 0 ? p->fd : r;
	}
	free(l);
	if (r)
		weir_progs_close(fd);
	return r;
}

void weir_progs_close(int fd[WEIR_SLOT_COUNT])
{
	for (int i = 0; i < WEIR_SLOT_COUNT; i++) {
		if (fd[i] >= 0)
			close(fd[i]);
		fd[i] = -1;
	}
}
